//! Writing what turns have queued: one write per connection, however many turns queued for it.
//!
//! The end of a turn does not write: it schedules the core's flusher, a task that runs after every task that can run now.
//! So replies ride with deliveries, and messages of many senders leave together. If output has waited for longer than a
//! turn may take, the end of a turn writes some of it. A turn that has queued much waits until that is written, so no
//! sender queues faster than sockets take it; replies of other turns are written before.

use std::rc::Rc;
use std::time::Instant;

use crate::events::Event;
use crate::limits::{RING_SENDS, RING_SENDS_WORTH};
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;
use crate::net::delivery::batch::{Failure, Sent, guarded};
use crate::net::delivery::presence;

/// The flusher of a core.
pub(crate) async fn run(core: Rc<Core>) {
    // Without a ring it works too, at a higher cost.
    if !core.batch.borrow_mut().has_ring() {
        core.log.emit(Event::NoSendRing { shard: core.id });
    }
    loop {
        core.dirty.wanted().await;
        if let Some(pause) = core.dirty.batching_window() {
            core.reactor.sleep(pause).await;
        }
        flush(&core).await;
    }
}

/// Ends a turn: what it has queued is written soon, by the flusher.
pub(crate) fn end_turn(core: &Core) {
    if core.dirty.is_overdue() {
        write_some(core, RING_SENDS);
        core.dirty.restart_clock();
    }
    core.dirty.schedule_flush();
}

/// The same for a turn that may have queued much: if that is overdue, waits until all of it is written.
pub(crate) async fn end_large_turn(core: &Rc<Core>) {
    if core.dirty.is_overdue() { flush(core).await } else { core.dirty.schedule_flush() }
}

/// The same for a turn of `connection` that has queued little: its replies do not wait for what other turns queued for many.
pub(crate) fn end_small_turn(core: &Core, connection: &Connection) {
    if core.dirty.len() >= RING_SENDS {
        write_alone(core, connection);
    }
    end_turn(core);
}

pub(crate) fn write_alone(core: &Core, connection: &Connection) {
    let written = core.critical(|| guarded(|| connection.write_now()));
    written.unwrap_or_else(|failure| end(core, connection, failure));
}

/// Writes all that is queued now, one write per connection, and yields now and then. Several tasks may flush at once; each
/// connection is written to by one of them.
pub(crate) async fn flush(core: &Rc<Core>) {
    presence::broadcast_presence(core);
    let (mut left, began, timed) = (core.dirty.len(), Instant::now(), core.take_timed());
    let mut all = Written::default();
    while left > 0 {
        let written = write_some(core, left.min(RING_SENDS));
        if written.connections == 0 {
            // Another flush has written them.
            break;
        }
        left -= written.connections;
        all.connections += written.connections;
        all.shared += written.shared;
        if left > 0 {
            core.reactor.yield_now().await;
        }
    }
    if let Some(read_at) = timed {
        core.record_delay(read_at);
    }
    core.batch.borrow_mut().clear();
    core.dirty.restart_clock();
    core.dirty.batch_after(all.connections, all.shared, began);
}

#[derive(Debug, Clone, Copy, Default)]
struct Written {
    connections: usize,
    /// Of these: connections that waited for the same several messages as others.
    shared: usize,
}

/// Writes what was queued for the first `most` connections.
fn write_some(core: &Core, most: usize) -> Written {
    let connections: Vec<_> = std::iter::from_fn(|| core.dirty.next()).take(most).collect();
    // Critical: a connection out of the list and not written to would wait for its next message.
    let sent = core.critical(|| {
        if connections.len() >= RING_SENDS_WORTH {
            return core.batch.borrow_mut().send(&connections);
        }
        let mut sent = Sent::default();
        connections.iter().for_each(|connection| sent.record(connection, || connection.write_now()));
        sent
    });
    if sent.has_lost_ring {
        core.log.emit(Event::NoSendRing { shard: core.id });
    }
    for (connection, failure) in sent.failed {
        end(core, &connection, failure);
    }
    Written { connections: connections.len(), shared: sent.shared }
}

/// A failed write ends that connection and no other.
fn end(core: &Core, connection: &Connection, failure: Failure) {
    match failure {
        Failure::Error(error) => core.end(connection, Close::of_write(error)),
        Failure::Fault(panic) => core.end_by_fault(connection, &*panic),
    }
}
