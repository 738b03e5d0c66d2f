//! Cuts connections that read too slowly: those over the limit of their send queue for longer than the grace, and the
//! largest ones while all together hold more than the memory budget. Stalled peers are `policy::upkeep`'s.

use std::rc::Rc;

use crate::close_reason::CloseReason;
use crate::held_bytes;
use crate::limits::{SENDQ_GRACE, VISITED_AT_ONCE};
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;

/// Ends connections that have been over the limit of their send queue for too long; at most one check late.
pub(super) async fn cut(core: &Rc<Core>) {
    let all = core.over_limit.take();
    for some in all.chunks(VISITED_AT_ONCE) {
        some.iter().for_each(|connection| cut_if_slow(core, connection));
        core.reactor.yield_now().await;
    }
    let stays = |connection: &Rc<Connection>| {
        // A closing connection is its own task's.
        connection.is_listed_as_over.set(connection.is_over() && connection.closing().is_none());
        connection.is_listed_as_over.get()
    };
    core.over_limit.borrow_mut().extend(all.into_iter().filter(stays));
}

fn cut_if_slow(core: &Core, connection: &Connection) {
    if connection.is_over_for(SENDQ_GRACE)
        // The socket may have had room for a while.
        && let Err(error) = connection.write_again()
    {
        core.end(connection, Close::of_write(error));
    } else if connection.is_over_for(SENDQ_GRACE) {
        core.end(connection, CloseReason::SlowConsumer.into());
    }
}

/// Cuts the connections with the largest loads while more is held for all together than may be, but none that takes all of it now:
/// what was queued in this turn is not written yet.
pub(super) fn keep_budget(core: &Core) {
    if !core.account.publish(held_bytes::balance()) {
        return;
    }
    let connections = core.connections();
    let loads = connections.iter().map(|(_, connection)| (connection, connection.load())).collect();
    for connection in core.account.to_cut(loads, core.now()) {
        if connection.closing().is_some() {
            core.discard_output(connection);
        } else if let Err(error) = connection.write_again() {
            core.end(connection, Close::of_write(error));
        } else if connection.load() > 0 {
            core.end(connection, CloseReason::QueuesFull.into());
        }
    }
}
