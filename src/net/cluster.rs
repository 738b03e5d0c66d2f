//! A core as a part of a cluster: what the bridge tells it, and the end of all sessions when the cluster is lost.

use std::rc::Rc;

use super::core::Core;
use crate::events::Event;
use crate::protocol::reply::CLUSTER_LOST;
use crate::shard::Presence;

/// Ends all sessions at once if the cluster may have given their cows to others: their connections go on as guests. To be called
/// before a line is executed, and when the bridge says so.
pub fn check(core: &Rc<Core>) {
    let Some(cluster) = &core.shards.cluster else { return };
    if !core.entering.change_epoch(cluster.epoch()) {
        return;
    }
    for (connection, cow) in core.with_shard(|shard| shard.log_out_all()) {
        core.record_presence(Presence::Left(cow));
        let connection = core.connections().get(connection.index()).map(Rc::clone);
        let Some(connection) = connection else { continue };
        core.log.emit(Event::LoggedOut { connection: connection.name(), cow: core.cow_of(&connection) });
        connection.log_out();
        let line = core.with_shard(|shard| shard.server_line(connection.id, CLUSTER_LOST));
        connection.push_reply(line.into_bytes());
        core.dirty.add(&connection);
    }
    core.dirty.schedule_flush();
}

/// Whether the sessions of this epoch are over.
pub(crate) fn is_over(core: &Rc<Core>, epoch: u64) -> bool {
    check(core);
    core.entering.epoch() != epoch
}
