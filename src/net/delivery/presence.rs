//! Notices of cows that come and go, to sessions that subscribed: on this core at once, on others as mailboxes have room.

use std::rc::Rc;

use crate::ids::ShardId;
use crate::net::core::Core;
use crate::net::delivery::fanout;
use crate::shard::{Frame, Presence, Shard};

/// Tells subscribers, here and on other cores, which cows have come and gone. Never waits: what a full mailbox does not
/// take is sent later, as a number.
pub(crate) fn broadcast_presence(core: &Rc<Core>) {
    loop {
        let Some(change) = core.changes.borrow_mut().pop_front() else { return };
        for other in core.mesh.others().filter(|&other| core.shards.demand.has_subscribers(other)) {
            send_presence(core, other, change);
        }
        fanout::deliver(core, |shard, now| shard.on_presence(change, now));
    }
}

fn send_presence(core: &Core, other: ShardId, change: Presence) {
    let mut pending = core.pending.borrow_mut();
    if pending.len() <= other.index() {
        pending.resize(other.index() + 1, None);
    }
    let change = pending[other.index()].take().map_or(change, |pending| pending.and(change));
    if core.mesh.try_forward(other, Frame::Presence(change)).is_err() {
        pending[other.index()] = Some(change);
    }
}

/// Sends what waited for room in a mailbox, or for its second to be over. To be called now and then; returns whether
/// anything was queued here.
pub(crate) fn broadcast_pending(core: &Rc<Core>) -> bool {
    for other in core.mesh.others() {
        let pending = core.pending.borrow_mut().get_mut(other.index()).and_then(Option::take);
        if let Some(change) = pending {
            send_presence(core, other, change);
        }
    }
    fanout::deliver(core, Shard::on_tick).is_some()
}
