//! Which cows are far behind: one word for each, shared by all cores.
//!
//! The core that a cow's holder is on tells when much waits for it, and a sender on any core looks before it says more to
//! that cow. What is on its way from another core counts, too: a sender may be faster than that core looks. It is a hint: a
//! reader may see it a moment late, and one that is wrong costs a short wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::allocator::may_fail;
use crate::cows::CowId;
use crate::directory::NoMemory;
use crate::limits::SAYS_IN_FLIGHT_MAX;

/// The bits of a word: whether much waits; whether it was waited for in vain; how often the cow has caught up; and how many
/// messages are on their way from other cores.
const IS_LONG: u32 = 1 << 31;
const WAITED: u32 = 1 << 30;
const CATCH_UP: u32 = 1 << 16;
const CATCH_UPS: u32 = WAITED - CATCH_UP;
const IN_FLIGHT: u32 = CATCH_UP - 1;

/// Whether a message should wait.
fn is_long(word: u32) -> bool {
    word & WAITED == 0 && (word & IS_LONG != 0 || word & IN_FLIGHT >= SAYS_IN_FLIGHT_MAX)
}

/// The words of all cows.
#[derive(Debug)]
pub struct Backlogs {
    words: Box<[AtomicU32]>,
    /// Cows of each breed.
    size: u32,
}

impl Backlogs {
    /// No cow of `breeds` of `size` is behind.
    ///
    /// # Errors
    /// When there is no memory for this many cows.
    pub fn new(breeds: usize, size: u32) -> Result<Arc<Self>, NoMemory> {
        let cows = breeds * size as usize;
        // A herd may be much larger than its users are many: zeros take no memory until they are touched.
        let words = may_fail(|| bytemuck::try_zeroed_slice_box(cows));
        Ok(Arc::new(Backlogs { words: words.map_err(|()| NoMemory { cows })?, size }))
    }

    /// Whether a message to the holder of `cow` should wait.
    pub fn is_long(&self, cow: CowId) -> bool {
        is_long(self.word(cow).load(Ordering::Relaxed))
    }

    /// How often the holder of `cow` has caught up, in a number that comes round again.
    pub fn catch_ups(&self, cow: CowId) -> u32 {
        self.word(cow).load(Ordering::Relaxed) & CATCH_UPS
    }

    /// A message has waited long enough. If the holder of `cow` has not caught up since it had done so `catch_ups` times, that
    /// was in vain, and no other message waits until it has.
    pub fn mark_waited(&self, cow: CowId, catch_ups: u32) {
        let waited = |word| (is_long(word) && word & CATCH_UPS == catch_ups).then_some(word | WAITED);
        let _ = self.word(cow).fetch_update(Ordering::Relaxed, Ordering::Relaxed, waited);
    }

    /// To be called on the core of the cow's holder when it changes whether much waits there.
    pub fn set(&self, cow: CowId, is_long: bool) {
        if is_long {
            self.word(cow).fetch_or(IS_LONG, Ordering::Relaxed);
        } else {
            let caught_up = |word: u32| {
                let catch_ups = word.wrapping_add(CATCH_UP) & CATCH_UPS;
                Some(word & IN_FLIGHT | catch_ups)
            };
            let _ = self.word(cow).fetch_update(Ordering::Relaxed, Ordering::Relaxed, caught_up);
        }
    }

    fn word(&self, cow: CowId) -> &AtomicU32 {
        &self.words[cow.breed().index() * self.size as usize + cow.number() as usize - 1]
    }
}

/// A message to one cow on its way to another core, until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    backlogs: Arc<Backlogs>,
    cow: CowId,
}

impl InFlight {
    /// One more is on its way to `cow`.
    pub fn new(backlogs: &Arc<Backlogs>, cow: CowId) -> Self {
        backlogs.word(cow).fetch_add(1, Ordering::Relaxed);
        InFlight { backlogs: Arc::clone(backlogs), cow }
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        InFlight::new(&self.backlogs, self.cow)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let word = self.backlogs.word(self.cow);
        let before = word.fetch_sub(1, Ordering::Relaxed);
        if before & (IS_LONG | WAITED | IN_FLIGHT) == WAITED | 1 {
            word.fetch_and(!WAITED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::Herd;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::Cow;

    #[test]
    fn each_cow_has_a_word_of_its_own() {
        let cow = |name: &str| Cow { name: name.to_owned(), colour: String::new(), plain: String::new() };
        let herd = Herd::new(["a", "b", "c"].map(cow).into(), 50, Bubble::default()).expect("three breeds");
        let cows: Vec<CowId> =
            herd.breeds().flat_map(|breed| (1..=herd.size()).map(move |number| breed.cow(number))).collect();
        let backlogs = Backlogs::new(3, 50).expect("memory");
        for &cow in &cows {
            backlogs.set(cow, true);
            let long: Vec<CowId> = cows.iter().copied().filter(|&cow| backlogs.is_long(cow)).collect();
            assert_eq!(long, [cow]);
            backlogs.set(cow, false);
        }
    }

    fn of_one_cow() -> (Arc<Backlogs>, CowId) {
        let cow = Cow { name: "a".to_owned(), colour: String::new(), plain: String::new() };
        let herd = Herd::new(vec![cow], 1, Bubble::default()).expect("a breed");
        (Backlogs::new(1, 1).expect("memory"), herd.find("a", 1).expect("a cow"))
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived() {
        let (backlogs, cow) = of_one_cow();
        let mut flights: Vec<InFlight> = (1..SAYS_IN_FLIGHT_MAX).map(|_| InFlight::new(&backlogs, cow)).collect();
        assert!(!backlogs.is_long(cow));
        flights.push(flights[0].clone());
        assert!(backlogs.is_long(cow));
        backlogs.set(cow, true);
        drop(flights);
        assert!(backlogs.is_long(cow), "much waits for it where it is");
        backlogs.set(cow, false);
        assert!(!backlogs.is_long(cow));
    }

    #[test]
    fn it_is_waited_for_once_until_it_has_caught_up() {
        let (backlogs, cow) = of_one_cow();
        backlogs.set(cow, true);
        let before = backlogs.catch_ups(cow);
        backlogs.set(cow, false);
        backlogs.set(cow, true);
        backlogs.mark_waited(cow, before);
        assert!(backlogs.is_long(cow), "it has caught up meanwhile");
        backlogs.mark_waited(cow, backlogs.catch_ups(cow));
        assert!(!backlogs.is_long(cow));
        backlogs.set(cow, false);
        backlogs.set(cow, true);
        assert!(backlogs.is_long(cow));
        backlogs.set(cow, false);
        let fly = || (0..SAYS_IN_FLIGHT_MAX).map(|_| InFlight::new(&backlogs, cow)).collect::<Vec<_>>();
        let flights = fly();
        backlogs.mark_waited(cow, backlogs.catch_ups(cow));
        assert!(!backlogs.is_long(cow));
        drop(flights);
        let _flights = fly();
        assert!(backlogs.is_long(cow), "the others have arrived meanwhile");
    }
}
