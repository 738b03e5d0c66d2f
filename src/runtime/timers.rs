//! When which task is to be woken.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// One timer: its time, and a number that no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) at: Instant,
    number: u64,
}

/// The timers that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    made: u64,
}

impl Timers {
    /// A timer of one's own, not set yet.
    pub(super) fn key(&mut self, at: Instant) -> Key {
        self.made += 1;
        Key { at, number: self.made }
    }

    /// Has `waker` woken when it is time.
    pub(super) fn set(&mut self, key: Key, waker: &Waker) {
        self.waiting.insert(key, waker.clone());
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// When the next is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(key, _)| key.at)
    }

    /// Wakes those whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().at <= now
        {
            first.remove().wake();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Says when it is woken, by its number.
    struct Sleeper(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.1.lock().expect("no panic").push(self.0);
        }
    }

    #[test]
    fn all_whose_time_has_come_are_woken_in_the_order_of_their_times() {
        let (mut timers, woken, began) = (Timers::default(), Arc::default(), Instant::now());
        let after = |millis| began + Duration::from_millis(millis);
        for millis in [30, 10, 40, 20, 10] {
            let key = timers.key(after(millis));
            timers.set(key, &Arc::new(Sleeper(millis, Arc::clone(&woken))).into());
        }
        for (now, first, so_far) in [
            (9, Some(10), &[][..]),
            (10, Some(20), &[10, 10]),
            (39, Some(40), &[10, 10, 20, 30]),
            (50, None, &[10, 10, 20, 30, 40]),
        ] {
            timers.fire(after(now));
            assert_eq!((timers.first(), &woken.lock().expect("no panic")[..]), (first.map(after), so_far), "at {now}");
        }
    }
}
