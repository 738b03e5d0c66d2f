//! Applies what a shard decided: forward, reply, deliver.
//!
//! Queueing to all receivers is one step, and so keeps the order; `flush` writes afterwards, in slices, so accepting and
//! reading never wait long.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures_lite::FutureExt;

use crate::close_reason::CloseReason;
use crate::cows::CowId;
use crate::directory::Owner;
use crate::ids::ShardId;
use crate::limits::{CLUSTER_LOGIN_WAIT, SAY_POLL_MAX, SAY_POLL_MIN, SAY_WAIT_MAX};
use crate::metrics::Counter;
use crate::net::cluster;
use crate::net::connection::{Close, Connection, throttle};
use crate::net::core::Core;
use crate::net::delivery::fanout::{self, Delivered};
use crate::net::delivery::{flush, presence};
use crate::net::turn::Turn;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::Reply;
use crate::protocol::telnet::Answer;
use crate::shard::{Effects, Entered, Forward, Frame, InFlight, Outcome, PendingLogin, Presence, Shard};

/// Whether a line's effects are done.
pub(crate) enum Applied<'a> {
    Done(Outcome),
    /// They wait for a receiver that is far behind, or for room in a mailbox. Boxed: that is rare, and an idle connection
    /// pays nothing for it. The error: the connection ended meanwhile, the rest was not done and is not acknowledged.
    Waits(Pin<Box<dyn Future<Output = Result<Outcome, Close>> + 'a>>),
}

/// Applies the effects of one line of `connection`: forwards, then acknowledges, then delivers here and marks `turn`.
pub(crate) fn apply<'a>(
    core: &'a Rc<Core>,
    connection: &'a Rc<Connection>,
    turn: &'a mut Turn,
    mut effects: Effects,
) -> Applied<'a> {
    if let Some(login) = effects.pending {
        return Applied::Waits(Box::pin(enter(core, connection, turn, login)));
    }
    let forwarded = std::mem::take(&mut effects.forward);
    if let Some(receiver) = effects.receiver.filter(|&receiver| core.shards.backlogs.is_long(receiver)) {
        return Applied::Waits(Box::pin(async move {
            let epoch = core.entering.epoch();
            catch_up(core, connection, receiver).await?;
            let frames = frames(core, forwarded, Some(receiver)).collect();
            if cluster::is_over(core, epoch) || !forward(core, connection, frames).await? {
                return Ok(refuse(core, connection));
            }
            Ok(finish(core, connection, turn, effects))
        }));
    }
    let mut frames = frames(core, forwarded, effects.receiver);
    while let Some((to, frame)) = frames.next() {
        if let Err(frame) = core.outbox.try_forward(to, frame) {
            let waiting: Vec<_> = std::iter::once((to, frame)).chain(frames).collect();
            return Applied::Waits(Box::pin(async move {
                if !forward(core, connection, waiting).await? {
                    return Ok(refuse(core, connection));
                }
                Ok(finish(core, connection, turn, effects))
            }));
        }
    }
    Applied::Done(finish(core, connection, turn, effects))
}

/// Frames and their target cores. A `say` to `receiver` counts as in flight from now on.
fn frames(core: &Core, forward: Forward, receiver: Option<CowId>) -> impl Iterator<Item = (ShardId, Frame)> + use<> {
    let (one, others) = match forward {
        Forward::Nowhere => (None, None),
        Forward::To(shard, mut frame) => {
            if let Frame::Say { in_flight, .. } = &mut frame {
                *in_flight = receiver.map(|receiver| InFlight::new(&core.shards.backlogs, receiver));
            }
            (Some((shard, frame)), None)
        }
        Forward::ToOthers(frame, left_out) => {
            let others = core.mesh.others().filter(move |shard| Some(*shard) != left_out);
            (None, Some(others.map(move |shard| (shard, frame.clone()))))
        }
    };
    one.into_iter().chain(others.into_iter().flatten())
}

/// What is left of a line when everything is forwarded.
fn finish(core: &Rc<Core>, connection: &Rc<Connection>, turn: &mut Turn, effects: Effects) -> Outcome {
    queue_own(core, connection, effects.reply);
    if let Some(frame) = effects.local {
        deliver(core, frame).mark(turn);
    }
    match effects.outcome {
        Outcome::LoggedIn(cow) => {
            core.record_login(connection, cow);
            core.record_presence(Presence::Joined(cow));
            // Before any message of the new session.
            presence::broadcast_presence(core);
            for say in core.with_shard(|shard| shard.take_early(connection.id)) {
                deliver(core, say).mark(turn);
            }
        }
        Outcome::Quit(Some(cow)) => core.record_presence(Presence::Left(cow)),
        Outcome::Quit(None) | Outcome::Unchanged | Outcome::Foreign => {}
    }
    effects.outcome
}

/// Waits until a login is entered in the cluster, or is not: for [`CLUSTER_LOGIN_WAIT`] at most.
async fn enter(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    turn: &mut Turn,
    pending: Box<PendingLogin>,
) -> Result<Outcome, Close> {
    let _waiting = LineWaits::new(core);
    // What this turn has queued so far does not wait.
    flush::end_turn(core);
    let login = core.entering.begin(connection, pending);
    let too_late = async {
        core.reactor.sleep(CLUSTER_LOGIN_WAIT).await;
        None
    };
    let answered = async { Some(login.outcome().await) };
    let outcome = connection.until_closed_or(answered.or(too_late)).await?;
    Ok(match (outcome, login.take()) {
        (Some(outcome), _) => outcome,
        (None, Some(pending)) => {
            let end = |shard: &mut Shard| shard.on_entered(connection.id, *pending, Entered::OutOfReach);
            let effects = core.with_shard(end);
            finish(core, connection, turn, effects)
        }
        // It has ended in the same turn.
        (None, None) => login.outcome().await,
    })
}

/// The cluster has answered to the login with this claim, which may have ended.
pub(crate) fn entered(core: &Rc<Core>, turn: &mut Turn, owner: Owner, answer: Entered) {
    let Some((login, pending)) = core.entering.take(owner) else { return };
    let connection = &login.connection;
    if connection.closing().is_some() {
        return;
    }
    let answer = if cluster::is_over(core, login.epoch) { Entered::OutOfReach } else { answer };
    let mut effects = core.with_shard(|shard| shard.on_entered(connection.id, *pending, answer));
    match effects.pending.take() {
        // Another cow of the breed.
        Some(next) => core.entering.wait(login, next),
        None => login.end(finish(core, connection, turn, effects)),
    }
}

/// Refuses a line whose sender has lost its session while the line waited.
fn refuse(core: &Core, connection: &Rc<Connection>) -> Outcome {
    let line = format!("{}\n", Reply::Refused(Refusal::LoginFirst));
    let line = core.with_shard(|shard| shard.server_line(connection.id, &line));
    queue_own(core, connection, line.into_bytes());
    Outcome::Unchanged
}

/// Waits while the receiver of a `say` is far behind, for [`SAY_WAIT_MAX`] at most, so that it has had time to read. If it
/// did not catch up, no `say` waits for it again before it has. The sender is not read meanwhile.
async fn catch_up(core: &Rc<Core>, connection: &Connection, receiver: CowId) -> Result<(), Close> {
    let _waiting = LineWaits::new(core);
    flush::end_turn(core);
    core.metrics.add(Counter::ReceiverWaits, 1);
    // Most receivers were only not written to yet in this turn.
    connection.until_closed_or(core.reactor.yield_now()).await?;
    let (began, mut pause) = (core.now(), SAY_POLL_MIN);
    let catch_ups = core.shards.backlogs.catch_ups(receiver);
    // A receiver on another core shows its backlog but does not wake this core.
    while core.shards.backlogs.is_long(receiver) && !core.is_draining() {
        let left = SAY_WAIT_MAX.saturating_sub(core.now().saturating_sub(began));
        if left.is_zero() {
            core.shards.backlogs.mark_waited(receiver, catch_ups);
            break;
        }
        connection.until_closed_or(core.reactor.sleep(pause.min(left))).await?;
        pause = (2 * pause).min(SAY_POLL_MAX);
    }
    Ok(())
}

/// Hands over frames that found no room, one after the other, as room comes; `false` if the sender's session has ended
/// meanwhile with the lease of this server.
async fn forward(core: &Rc<Core>, connection: &Connection, frames: Vec<(ShardId, Frame)>) -> Result<bool, Close> {
    let (_waiting, epoch) = (LineWaits::new(core), core.entering.epoch());
    // What this turn has queued so far does not wait.
    flush::end_turn(core);
    for (to, frame) in frames {
        if let Err(frame) = core.outbox.try_forward(to, frame) {
            core.metrics.add(Counter::MailboxWaits, 1);
            connection.until_closed_or(core.outbox.forward(to, frame)).await?;
            if cluster::is_over(core, epoch) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Counts a line that waits, for a receiver or for room, so that a drain knows when the last one is done.
struct LineWaits<'c>(&'c Core);

impl<'c> LineWaits<'c> {
    fn new(core: &'c Core) -> Self {
        core.lines_waiting.set(core.lines_waiting.get() + 1);
        LineWaits(core)
    }
}

impl Drop for LineWaits<'_> {
    fn drop(&mut self) {
        self.0.lines_waiting.set(self.0.lines_waiting.get() - 1);
    }
}

/// Delivers what a frame brings to its receivers on this core.
pub(crate) fn deliver(core: &Rc<Core>, frame: Frame) -> Delivered {
    if matches!(frame, Frame::Presence(_)) {
        // A cow that was left here and taken elsewhere: first it leaves, then it joins.
        presence::broadcast_presence(core);
    }
    let read_at = frame.read_at();
    let delivered = fanout::deliver(core, |shard, now| shard.on_frame(frame, now)).unwrap_or_default();
    if delivered.receivers > 0 {
        core.time_until_flushed(read_at);
    }
    delivered
}

/// Ends a connection that has not ended yet, with its last line if there is one for this reason. The caller flushes.
pub(crate) fn tell_and_end(core: &Core, connection: &Rc<Connection>, reason: CloseReason) {
    tell_and_end_with(core, connection, reason, core.last_line(reason).as_deref());
}

/// The same, with this last line.
pub(crate) fn tell_and_end_with(
    core: &Core,
    connection: &Rc<Connection>,
    reason: CloseReason,
    last_line: Option<&str>,
) {
    if connection.closing().is_some() {
        return;
    }
    if let Some(last_line) = last_line {
        let last_line = core.with_shard(|shard| shard.server_line(connection.id, last_line));
        queue_own(core, connection, last_line.into_bytes());
    }
    core.end(connection, reason.into());
}

pub(crate) fn answer(core: &Core, connection: &Rc<Connection>, answer: Answer) {
    let bytes = core.with_shard(|shard| shard.on_telnet(connection.id, &answer));
    throttle::charge_waste(core, connection, bytes.len());
    queue_own(core, connection, bytes);
}

/// Queues a reply, a greeting or a last line.
pub(crate) fn queue_own(core: &Core, connection: &Rc<Connection>, bytes: Vec<u8>) {
    connection.push_reply(bytes);
    core.dirty.add(connection);
}
