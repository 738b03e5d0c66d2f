//! Tells tasks that another thread has woken their core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// How many wake-ups a core has had, and the tasks that wait for the next one.
#[derive(Default)]
pub(super) struct WakeUps {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl WakeUps {
    pub(super) fn record(&self) {
        self.count.set(self.count.get() + 1);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// One task's view of its core's wake-ups.
pub struct Notifications {
    wake_ups: Rc<WakeUps>,
    /// The count that the task has seen. None at first: something may have been left before the task began.
    seen: Option<u64>,
}

impl Notifications {
    pub(super) fn new(wake_ups: Rc<WakeUps>) -> Self {
        Notifications { wake_ups, seen: None }
    }

    /// Waits for a wake-up since the last call; several count as one. The first call returns at once.
    pub async fn notified(&mut self) {
        poll_fn(|cx| {
            let count = self.wake_ups.count.get();
            if self.seen.replace(count) != Some(count) {
                return Poll::Ready(());
            }
            let mut waiting = self.wake_ups.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
