//! Doing what a shard decided: forward, reply, deliver.
//!
//! Order lives in the queues: queueing to all receivers is one step that nothing can come between, and
//! writing happens afterwards (`flush`), in slices, so that accepting and reading never wait long.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::ids::ShardId;
use crate::limits::{SAY_WAIT_LOOKS, SAY_WAIT_MAX};
use crate::metrics::Counter;
use crate::net::connection::throttle;
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;
use crate::net::delivery::fanout::{Delivered, queue_to_all, settle_outflow};
use crate::net::delivery::flush;
use crate::net::delivery::presence;
use crate::net::turn::Turn;
use crate::protocol::telnet::Answer;
use crate::shard::{Effects, Forward, Frame, InFlight, Outcome, Presence};

/// What has become of a line's effects.
pub(crate) enum Applied<'a> {
    /// They are done.
    Done(Outcome),
    /// They wait for a receiver that is far behind, or for room in another core's mailbox. That is rare, so what it takes
    /// is not kept for every connection. Its error is that the connection ended meanwhile: the rest was not done then,
    /// and nobody is told that it was.
    Waits(Pin<Box<dyn Future<Output = Result<Outcome, Close>> + 'a>>),
}

/// Does all that one line of `connection` asks for: forwards, then acknowledges, then delivers here, of which
/// `turn` takes note.
pub(crate) fn apply<'a>(
    core: &'a Rc<Core>,
    connection: &'a Rc<Connection>,
    turn: &'a mut Turn,
    mut effects: Effects,
) -> Applied<'a> {
    let forwarded = std::mem::replace(&mut effects.forward, Forward::Nowhere);
    if let Some(receiver) = effects.receiver.filter(|&receiver| core.common.backlogs.is_long(receiver)) {
        return Applied::Waits(Box::pin(async move {
            catch_up(core, connection, receiver).await?;
            forward(core, connection, frames(core, forwarded, Some(receiver)).collect()).await?;
            Ok(finish(core, connection, turn, effects))
        }));
    }
    let mut frames = frames(core, forwarded, effects.receiver);
    while let Some((to, frame)) = frames.next() {
        if let Err(frame) = core.outbox.try_forward(to, frame) {
            let waiting: Vec<_> = std::iter::once((to, frame)).chain(frames).collect();
            return Applied::Waits(Box::pin(async move {
                forward(core, connection, waiting).await?;
                Ok(finish(core, connection, turn, effects))
            }));
        }
    }
    Applied::Done(finish(core, connection, turn, effects))
}

/// Frames, and the cores that they are for. A `say` to `receiver` counts from now on as on its way.
fn frames(core: &Core, forward: Forward, receiver: Option<CowId>) -> impl Iterator<Item = (ShardId, Frame)> + use<> {
    let (one, others) = match forward {
        Forward::Nowhere => (None, None),
        Forward::To(shard, Frame::Say { message, author, to, .. }) => {
            let in_flight = receiver.map(|receiver| InFlight::new(&core.common.backlogs, receiver));
            (Some((shard, Frame::Say { message, author, to, in_flight })), None)
        }
        Forward::To(shard, frame) => (Some((shard, frame)), None),
        Forward::ToOthers(frame) => (None, Some(core.mesh.others().map(move |shard| (shard, frame.clone())))),
    };
    one.into_iter().chain(others.into_iter().flatten())
}

/// All that is left of a line when everything is forwarded.
fn finish(core: &Rc<Core>, connection: &Rc<Connection>, turn: &mut Turn, effects: Effects) -> Outcome {
    queue_own(core, connection, effects.reply);
    if let Some(frame) = effects.local {
        deliver(core, frame).mark(turn);
    }
    match effects.outcome {
        Outcome::LoggedIn(cow) => {
            core.record_login(connection, cow);
            core.record_presence(Presence::Joined(cow));
            // Before anything that the newcomer says.
            presence::broadcast_presence(core);
        }
        Outcome::Quit(Some(cow)) => core.record_presence(Presence::Left(cow)),
        Outcome::Quit(None) | Outcome::Unchanged | Outcome::Foreign => {}
    }
    effects.outcome
}

/// Waits while the receiver of a `say` is far behind, for [`SAY_WAIT_MAX`] at most: the message comes to a reader that has
/// had time to read. If that was in vain, no `say` waits for it again before it has caught up; if it has, and others were
/// quicker, this message goes all the same. Meanwhile the sender is not read.
async fn catch_up(core: &Rc<Core>, connection: &Connection, receiver: CowId) -> Result<(), Close> {
    let _waiting = Waiting::new(core);
    flush::end_turn(core);
    core.metrics.add(Counter::ReceiverWaits, 1);
    // Most have only not been written to yet in this turn.
    connection.until_closed_or(core.reactor.yield_now()).await?;
    let (began, mut pause) = (core.now(), SAY_WAIT_LOOKS[0]);
    let catch_ups = core.common.backlogs.catch_ups(receiver);
    // The receiver may be on another core, which tells of its backlog but does not wake this one.
    while core.common.backlogs.is_long(receiver) && !core.is_draining() {
        let left = SAY_WAIT_MAX.saturating_sub(core.now().saturating_sub(began));
        if left.is_zero() {
            core.common.backlogs.mark_waited(receiver, catch_ups);
            break;
        }
        connection.until_closed_or(core.reactor.sleep(pause.min(left))).await?;
        pause = (2 * pause).min(SAY_WAIT_LOOKS[1]);
    }
    Ok(())
}

/// Hands over frames that did not find room, one after the other, as room comes.
async fn forward(core: &Rc<Core>, connection: &Connection, frames: Vec<(ShardId, Frame)>) -> Result<(), Close> {
    let _waiting = Waiting::new(core);
    // Nobody else has to wait for what this turn has queued so far.
    flush::end_turn(core);
    for (to, frame) in frames {
        if let Err(frame) = core.outbox.try_forward(to, frame) {
            core.metrics.add(Counter::MailboxWaits, 1);
            connection.until_closed_or(core.outbox.forward(to, frame)).await?;
        }
    }
    Ok(())
}

/// A line that waits, for a receiver or for room in a mailbox: counted, so that a drain knows when the last one is done.
struct Waiting<'c>(&'c Core);

impl<'c> Waiting<'c> {
    fn new(core: &'c Core) -> Self {
        core.lines_waiting.set(core.lines_waiting.get() + 1);
        Waiting(core)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lines_waiting.set(self.0.lines_waiting.get() - 1);
    }
}

/// Queues what a frame brings for everybody on this core who is to have it.
pub(crate) fn deliver(core: &Rc<Core>, frame: Frame) -> Delivered {
    let now = if matches!(frame, Frame::Presence(_)) {
        // Whoever has taken a cow elsewhere that was left here comes after the one who left it.
        presence::broadcast_presence(core);
        core.now()
    } else {
        Duration::ZERO
    };
    let outflow = core.with_shard(|shard| shard.on_frame(frame, now).map(|delivery| queue_to_all(core, &delivery)));
    outflow.map_or_else(Delivered::default, |outflow| settle_outflow(core, outflow))
}

/// Ends a connection that has not ended yet, with its last line if there is one for this reason. Whoever
/// calls this flushes.
pub(crate) fn tell_and_end(core: &Core, connection: &Rc<Connection>, reason: CloseReason) {
    if connection.closing().is_some() {
        return;
    }
    if let Some(last_line) = core.last_line(reason) {
        let last_line = core.with_shard(|shard| shard.pushed(connection.id, &last_line));
        queue_own(core, connection, last_line.into_bytes());
    }
    core.end(connection, reason.into());
}

/// Answers telnet commands.
pub(crate) fn answer(core: &Core, connection: &Rc<Connection>, answer: Answer) {
    let bytes = core.with_shard(|shard| shard.on_telnet(connection.id, &answer));
    throttle::charge_waste(core, connection, bytes.len());
    queue_own(core, connection, bytes);
}

/// Queues bytes of the connection's own: a reply, a greeting, a last line.
pub(crate) fn queue_own(core: &Core, connection: &Rc<Connection>, bytes: Vec<u8>) {
    connection.push_reply(bytes);
    core.dirty.add(connection);
}
