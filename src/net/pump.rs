//! The loop that drains a core's inbox.
//!
//! It never waits to send across cores, nor for a socket, so two cores whose mailboxes are both full
//! still empty them: there is no deadlock to be had.

use std::rc::Rc;

use super::core::Core;
use super::mesh::Inbox;
use super::reactor::{Turn, breathe};
use super::{effects, flush};
use crate::limits::TURN_FRAMES;
use crate::shard::Frame;

/// Delivers what other cores send, in the order in which it came, until all senders are gone.
pub(super) async fn run(core: Rc<Core>, inbox: Inbox) {
    while let Ok(frame) = inbox.recv_async().await {
        core.note_activity();
        let mut turn = Turn::of(TURN_FRAMES);
        let mut next = Some(frame);
        while let Some(frame) = next {
            match frame {
                Frame::End => core.ended.set(core.ended.get() + 1),
                frame => {
                    if effects::deliver(&core, frame) {
                        turn.end();
                    }
                }
            }
            next = if turn.step() { None } else { inbox.try_recv().ok() };
        }
        if inbox.is_empty() {
            flush::end_turn(&core).await;
        } else {
            flush::flush(&core).await;
            breathe().await;
        }
    }
}
