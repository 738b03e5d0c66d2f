//! How many cows the connections of one address may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A limit on cows, and the count that its connections share.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'a> {
    /// Cows held now.
    pub held: &'a Arc<AtomicU32>,
    /// Cows that may be held.
    pub cows_max: u32,
}

impl Quota<'_> {
    /// Counts one cow more until the permit is dropped; `None` if that is too many.
    pub fn take(self) -> Option<CowPermit> {
        let more = |held| Some(held + 1).filter(|&held| held <= self.cows_max);
        // The count publishes nothing else, so its steps need no order.
        let taken = self.held.fetch_update(Relaxed, Relaxed, more);
        taken.is_ok().then(|| CowPermit(Arc::clone(self.held)))
    }
}

/// One cow of a [`Quota`], given back when dropped.
#[derive(Debug)]
pub struct CowPermit(Arc<AtomicU32>);

impl Drop for CowPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_never_exceeded_and_comes_back() {
        let held = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let quota = Quota { held: &held, cows_max: 3 };
                        let permits: Vec<CowPermit> = std::iter::from_fn(|| quota.take()).collect();
                        assert!(permits.len() <= 3 && held.load(Relaxed) <= 3);
                    }
                });
            }
        });
        assert_eq!(held.load(Relaxed), 0);
    }
}
