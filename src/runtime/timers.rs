//! A core's timers: which task is woken when.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// One timer: its time, and a number that no other timer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Instant,
    number: u64,
}

/// The timers that tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    made: u64,
}

impl Timers {
    /// When the next timer is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(key, _)| key.at)
    }

    /// Wakes the tasks whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().at <= now
        {
            first.remove().wake();
        }
    }

    fn key(&mut self, at: Instant) -> Key {
        self.made += 1;
        Key { at, number: self.made }
    }

    /// How many tasks wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Ends at its time. Dropped before that, it leaves no timer behind.
#[derive(Debug)]
pub(crate) struct Sleep {
    timers: Rc<RefCell<Timers>>,
    key: Key,
}

impl Sleep {
    pub(super) fn until(at: Instant, timers: &Rc<RefCell<Timers>>) -> Self {
        let key = timers.borrow_mut().key(at);
        Sleep { timers: Rc::clone(timers), key }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.at {
            return Poll::Ready(());
        }
        self.timers.borrow_mut().waiting.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // Dropped with nothing borrowed: it may be the last to keep a task, and with it other timers.
        let _waker = self.timers.borrow_mut().waiting.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Records its number when it is woken.
    struct Sleeper(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.1.lock().expect("no panic").push(self.0);
        }
    }

    #[test]
    fn timers_fire_when_they_are_due_and_in_that_order() {
        let (mut timers, woken, began) = (Timers::default(), Arc::default(), Instant::now());
        let after = |millis| began + Duration::from_millis(millis);
        for millis in [30, 10, 40, 20, 10] {
            let key = timers.key(after(millis));
            timers.waiting.insert(key, Arc::new(Sleeper(millis, Arc::clone(&woken))).into());
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
