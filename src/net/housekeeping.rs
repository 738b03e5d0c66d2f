//! Housekeeping: what a core does at intervals. A core at rest shows by it that it makes progress.

use std::rc::Rc;

use crate::events::Event;
use crate::limits::{CONNECTION_CHECK_INTERVAL, QUEUE_CHECK_INTERVAL, UNSERVED_TOLD_EVERY};
use crate::net::connection::Connection;
use crate::net::core::Core;
use crate::net::delivery::{apply, presence};
use crate::net::slow_consumers;
use crate::policy::upkeep::{Condition, Verdict, are_scarce, verdict};

/// Checks the queues, and tells pending notices, for as long as the core lives.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.reactor.sleep(QUEUE_CHECK_INTERVAL).await;
        slow_consumers::cut(&core).await;
        slow_consumers::keep_budget(&core);
        core.metrics.set_mailbox_frames(core.mesh.waiting());
        if !core.is_draining() && presence::broadcast_pending(&core) {
            core.dirty.schedule_flush();
        }
    }
}

/// Looks at every connection once a second. With many of them that takes longer than a check of the queues.
pub(crate) async fn visit_connections(core: Rc<Core>) {
    let mut rounds = 0_u64;
    loop {
        core.reactor.sleep(CONNECTION_CHECK_INTERVAL).await;
        core.visit_all(|connection| look_at(&core, connection)).await;
        rounds += 1;
        if core.id.index() == 0 && rounds.is_multiple_of(UNSERVED_TOLD_EVERY) {
            for (address, connections) in core.addresses.take_unserved() {
                core.log.emit(Event::Unserved { address, connections });
            }
        }
    }
}

/// Ends a connection that is stalled, silent or gone.
fn look_at(core: &Core, connection: &Rc<Connection>) {
    connection.socket.watch.recheck_readable();
    let condition = Condition {
        is_closing: connection.closing().is_some(),
        is_draining: core.is_draining(),
        is_registered: connection.cow.get().is_some(),
        login_exempt: connection.login_exempt,
        is_counted: connection.shared.is_some(),
        idle: &connection.idle,
        quiet: &connection.quiet,
        stalled_since: connection.stalled_since(),
        is_gone: core.limits().user_timeout.is_some_and(|timeout| connection.is_gone(timeout)),
    };
    let are_cows_scarce = || are_scarce(core.shards.directory.claimed(), core.shards.herd.len());
    match verdict(&core.limits(), condition, core.now(), are_cows_scarce) {
        Verdict::Keep => {}
        Verdict::Discard => core.discard_output(connection),
        Verdict::Close(reason) => apply::tell_and_end(core, connection, reason),
    }
}
