//! The loop that drains a core's inbox.
//!
//! It also sends frames that waited for room elsewhere: the same wake-up announces both. It never waits to send across
//! cores, nor for a socket, so two cores with full mailboxes still empty them: they cannot deadlock.

use std::rc::Rc;

use super::{apply, flush};
use crate::limits::TURN_FRAMES;
use crate::net::core::Core;
use crate::net::delivery::mesh::Inbox;
use crate::net::turn::Turn;
use crate::shard::Frame;

/// Delivers what other cores send, in the order in which it came.
pub(crate) async fn run(core: Rc<Core>, inbox: Inbox) {
    let mut notifications = core.reactor.notifications();
    loop {
        notifications.notified().await;
        core.outbox.send_all();
        while !inbox.is_empty() {
            take_turn(&core, &inbox);
            core.mesh.announce_room();
            core.outbox.send_all();
            if inbox.is_empty() {
                flush::end_large_turn(&core).await;
            } else {
                flush::flush(&core).await;
                core.reactor.yield_now().await;
            }
        }
    }
}

fn take_turn(core: &Rc<Core>, inbox: &Inbox) {
    let mut turn = Turn::of(TURN_FRAMES);
    while let Ok(frame) = inbox.try_recv() {
        match frame {
            Frame::End => core.ended.set(core.ended.get() + 1),
            Frame::Entered(owner, answer) => apply::entered(core, &mut turn, owner, answer),
            frame => apply::deliver(core, frame).mark(&mut turn),
        }
        if turn.step() {
            return;
        }
    }
}
