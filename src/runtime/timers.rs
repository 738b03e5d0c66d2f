//! A core's timers: which task is woken when.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// A timer's time, and a number that no other timer has.
type Key = (Instant, u64);

/// The timers that tasks wait for.
#[derive(Default)]
pub(super) struct Timers {
    pub(super) waiting: BTreeMap<Key, Waker>,
    made: u64,
}

impl Timers {
    /// When the next timer is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Wakes the tasks whose time has come.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
    }
}

/// Ends at its time. Dropped before that, it leaves no timer behind.
pub(crate) struct Sleep {
    timers: Rc<RefCell<Timers>>,
    key: Key,
}

impl Sleep {
    pub(super) fn until(at: Instant, timers: Rc<RefCell<Timers>>) -> Self {
        timers.borrow_mut().made += 1;
        let key = (at, timers.borrow().made);
        Sleep { timers, key }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.0 {
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
