//! Housekeeping: what a core does at intervals. A core at rest shows by it that it makes progress.

use std::rc::Rc;

use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::held;
use crate::limits::{HEARTBEAT, HOUSEKEEPING, SENDQ_GRACE, UNSERVED_TOLD_EVERY, VISITED_AT_ONCE};
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;
use crate::net::delivery::{apply, presence};
use crate::policy::upkeep::{Condition, Verdict, verdict};

/// Beats for as long as the core lives.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.reactor.sleep(HEARTBEAT).await;
        cut_the_slow(&core).await;
        keep_the_budget(&core);
        if !core.is_draining() && presence::broadcast_pending(&core) {
            core.dirty.schedule_flush();
        }
    }
}

/// Looks at every connection once a second. With many of them that takes longer than a beat.
pub(crate) async fn visit_connections(core: Rc<Core>) {
    let mut rounds = 0_u64;
    loop {
        core.reactor.sleep(HOUSEKEEPING).await;
        core.visit_all(|connection| look_at(&core, connection)).await;
        rounds += 1;
        if core.id.index() == 0 && rounds.is_multiple_of(UNSERVED_TOLD_EVERY) {
            for (address, connections) in core.addresses.take_unserved() {
                core.log.emit(Event::Unserved { address, connections });
            }
        }
    }
}

/// Ends connections that have been over the limit of their send queue for too long; at most a beat late.
async fn cut_the_slow(core: &Rc<Core>) {
    let all = core.over_limit.take();
    for some in all.chunks(VISITED_AT_ONCE) {
        some.iter().for_each(|connection| cut_if_slow(core, connection));
        core.reactor.yield_now().await;
    }
    let stays = |connection: &Rc<Connection>| {
        // The task of one that closes takes care of it.
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

/// Cuts the connections with the largest loads while more is held for all together than may be.
fn keep_the_budget(core: &Core) {
    if !core.account.publish(held::balance()) {
        return;
    }
    let connections = core.connections();
    let loads = connections.iter().map(|(_, connection)| (connection, connection.load())).collect();
    for connection in core.account.to_cut(loads, core.now()) {
        match connection.closing() {
            None => core.end(connection, CloseReason::QueuesFull.into()),
            Some(_) => core.discard_output(connection),
        }
    }
}

/// Ends a connection that is stalled, silent or gone.
fn look_at(core: &Core, connection: &Rc<Connection>) {
    connection.socket.watch.recheck_readable();
    let condition = Condition {
        is_closing: connection.closing().is_some(),
        is_registered: connection.cow.get().is_some(),
        login_exempt: connection.login_exempt,
        is_counted: connection.shared.is_some(),
        idle: &connection.idle,
        quiet: &connection.quiet,
        stalled_since: connection.stalled_since(),
        is_gone: core.limits.user_timeout.is_some_and(|timeout| connection.is_gone(timeout)),
    };
    match verdict(&core.limits, condition, core.now(), || core.lacks_cows()) {
        Verdict::Keep => {}
        Verdict::Discard => core.discard_output(connection),
        // The drain ends every connection at the same moment.
        Verdict::Close(reason) if core.is_draining() && reason.is_orderly() => {}
        Verdict::Close(reason) => apply::tell_and_end(core, connection, reason),
    }
}
