//! The connections of a core that have something to be written, and when the next flush is due.
//!
//! Where many connections wait for several messages at once, flushes take a quarter of a core's time: messages that arrive
//! in a batching window leave in the same writes, which under load saves more time than it takes. Single messages do not
//! wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::limits::{BATCHING_FLUSHES, BATCHING_MAX, RING_SENDS, TURN_TIME};
use crate::net::connection::Connection;

/// Connections with queued output that no flush has written yet, in the order of queueing.
#[derive(Debug, Default)]
pub(crate) struct DirtyList {
    connections: RefCell<VecDeque<Rc<Connection>>>,
    /// Since when the first of them has waited.
    since: Cell<Option<Instant>>,
    /// The end of the batching window: a large flush waits for more until then.
    batching_until: Cell<Option<Instant>>,
    wanted: Cell<bool>,
    flusher: RefCell<Option<Waker>>,
}

impl DirtyList {
    /// Something was queued for this connection.
    pub(crate) fn add(&self, connection: &Rc<Connection>) {
        if !connection.is_dirty.replace(true) {
            if self.since.get().is_none() {
                self.since.set(Some(Instant::now()));
            }
            self.connections.borrow_mut().push_back(Rc::clone(connection));
        }
    }

    /// Takes the first one out.
    pub(crate) fn next(&self) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        let connection = connections.pop_front()?;
        connection.is_dirty.set(false);
        if connections.is_empty() {
            self.since.set(None);
        }
        Some(connection)
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Much of the list is written: what is left waits from now on.
    pub(crate) fn restart_clock(&self) {
        self.since.set((self.len() > 0).then(Instant::now));
    }

    /// Whether the first one has waited for longer than a turn may take, and no batching window is open.
    pub(crate) fn is_overdue(&self) -> bool {
        self.since.get().is_some_and(|since| since.elapsed() >= TURN_TIME) && self.batching_window().is_none()
    }

    /// How much of the batching window is left, if a large flush would begin now.
    pub(crate) fn batching_window(&self) -> Option<Duration> {
        let until = self.batching_until.get().filter(|_| self.len() >= RING_SENDS)?;
        until.checked_duration_since(Instant::now())
    }

    /// Opens a batching window after a flush that began at `began` and has shared messages for most connections of many.
    pub(crate) fn batch_after(&self, connections: usize, shared: usize, began: Instant) {
        if connections >= RING_SENDS && shared > connections / 2 {
            let window = (began.elapsed() * BATCHING_FLUSHES).min(BATCHING_MAX);
            self.batching_until.set(Some(Instant::now() + window));
        }
    }

    /// Has the flusher run after every task that can run now.
    pub(crate) fn schedule_flush(&self) {
        self.wanted.set(true);
        if let Some(flusher) = self.flusher.borrow_mut().take() {
            flusher.wake();
        }
    }

    pub(crate) async fn wanted(&self) {
        poll_fn(|cx| {
            if self.wanted.take() {
                return Poll::Ready(());
            }
            *self.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
