//! Writing what turns have queued: one write per connection, however many turns queued for it.
//!
//! A turn that ends does not write: it asks the core's flusher to, a task that runs when everybody who can run
//! now has had his turn. So replies ride with deliveries, and messages of many senders leave together. When
//! what waits to be written has waited for longer than a turn may take, a turn's end writes it all itself.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::connection::{Connection, Ending};
use super::core::Core;
use super::effects;
use super::reactor::breathe;
use crate::events::CloseReason;
use crate::limits::{TURN_SENDS, TURN_TIME};

/// Connections that something was queued for and nothing was written to yet.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    connections: RefCell<std::collections::VecDeque<Rc<Connection>>>,
    /// Since when the first of them has waited.
    since: Cell<Option<Instant>>,
    wanted: Cell<bool>,
    flusher: RefCell<Option<Waker>>,
}

impl Unflushed {
    /// Something was queued for this connection.
    pub(super) fn add(&self, connection: &Rc<Connection>) {
        if !connection.is_unflushed.replace(true) {
            if self.since.get().is_none() {
                self.since.set(Some(Instant::now()));
            }
            self.connections.borrow_mut().push_back(Rc::clone(connection));
        }
    }

    fn next(&self) -> Option<Rc<Connection>> {
        let connection = self.connections.borrow_mut().pop_front();
        match &connection {
            Some(connection) => connection.is_unflushed.set(false),
            None => self.since.set(None),
        }
        connection
    }

    fn is_due(&self) -> bool {
        self.since.get().is_some_and(|since| since.elapsed() >= TURN_TIME)
    }

    /// Has the flusher run when all who can run now have run.
    fn flush_soon(&self) {
        self.wanted.set(true);
        if let Some(flusher) = self.flusher.borrow_mut().take() {
            flusher.wake();
        }
    }

    async fn wanted(&self) {
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

/// The flusher of a core.
pub(super) async fn run(core: Rc<Core>) {
    loop {
        core.unflushed.wanted().await;
        flush(&core).await;
    }
}

/// Ends a turn: what it has queued is written soon, by the flusher, or now if it has waited for too long.
pub(super) async fn end_turn(core: &Rc<Core>) {
    if core.unflushed.is_due() { flush(core).await } else { core.unflushed.flush_soon() }
}

/// Writes all that was queued before, one write per connection, and lets the reactor poll now and then.
/// Several tasks may flush at once; each connection is written to by one of them.
pub(super) async fn flush(core: &Rc<Core>) {
    effects::tell_changes(core);
    let mut sends = 0;
    while let Some(connection) = core.unflushed.next() {
        if let Err(error) = connection.write_now() {
            core.end(&connection, Ending { reason: CloseReason::WriteFailed, error: Some(error.kind()) });
        }
        sends += 1;
        if sends % TURN_SENDS == 0 {
            breathe().await;
        }
    }
}
