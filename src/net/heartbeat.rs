//! A core's beat.
//!
//! glommio 0.9.0 can park with runnable tasks queued: a wake-up that comes while it prepares to sleep is
//! lost, and the core hangs until something else happens. The beat is that something else. It costs 50
//! to 65 us, so it slows down when nothing goes on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use super::connection::Connection;
use super::core::Core;
use super::effects;
use super::listener::ListenerHandle;
use crate::events::{CloseReason, Event};
use crate::limits::{
    HEARTBEAT_BUSY, HEARTBEAT_BUSY_BEATS, HEARTBEAT_IDLE, HOUSEKEEPING, LAST_OUTPUT_STALL, SENDQ_GRACE,
};
use crate::metrics::Counter;

/// Beats for as long as the core lives.
pub(super) async fn run(core: Rc<Core>, listener: Rc<ListenerHandle>) {
    let mut busy_beats = HEARTBEAT_BUSY_BEATS;
    let mut housekeeping = Instant::now() + HOUSEKEEPING;
    let mut waited = None;
    loop {
        let pause = if busy_beats > 0 { HEARTBEAT_BUSY } else { HEARTBEAT_IDLE };
        Timer::new(pause).await;
        core.metrics.add(Counter::Beats, 1);
        busy_beats = if core.take_activity() { HEARTBEAT_BUSY_BEATS } else { busy_beats.saturating_sub(1) };
        cut_the_slow(&core);
        keep_the_budget(&core);
        if !core.is_draining() {
            if effects::tell_untold(&core) {
                core.unflushed.flush_soon();
            }
            waited = look_for_newcomers(&core, &listener, waited);
        }
        let now = Instant::now();
        if now >= housekeeping {
            housekeeping = now + HOUSEKEEPING;
            look_after_all(&core, now);
        }
    }
}

/// Takes in newcomers who have waited since the last beat while nobody was accepted. Returns how many were
/// accepted so far if any wait now.
///
/// An accept that waits in the ring is not always woken: seen once, in some sixty runs of the tests, with one
/// connection in the accept queue, the accept pending and the core otherwise well.
fn look_for_newcomers(core: &Rc<Core>, listener: &ListenerHandle, waited: Option<u64>) -> Option<u64> {
    let waits = listener.has_waiting().then(|| listener.accepted());
    if waits.is_some() && waits == waited {
        core.metrics.add(Counter::AcceptsMissed, 1);
        core.log.emit(Event::AcceptMissed { shard: core.id });
        listener.take_in_waiting(core);
    }
    waits
}

/// Ends connections that have been over the limit of their send queue for too long; at most a beat late.
fn cut_the_slow(core: &Core) {
    core.over_limit.borrow_mut().retain(|connection| {
        if connection.is_over_for(SENDQ_GRACE) {
            // Nobody may have offered the socket anything for a while. An error shows again when it is flushed.
            let _ = connection.write_again();
        }
        if connection.is_over_for(SENDQ_GRACE) {
            core.end(connection, CloseReason::SlowConsumer.into());
        }
        connection.is_over()
    });
}

/// Cuts those for whom most waits while more waits for all together than may.
fn keep_the_budget(core: &Core) {
    if !core.account.may_be_over() {
        return;
    }
    let connections = core.connections();
    let loads = connections.iter().map(|(_, connection)| (connection, connection.load())).collect();
    for connection in core.account.to_cut(loads, core.now()) {
        match connection.ending() {
            None => core.end(connection, CloseReason::QueuesFull.into()),
            Some(_) => give_up(core, connection),
        }
    }
}

/// Looks at each connection: one that is stalled, silent or gone is ended.
fn look_after_all(core: &Rc<Core>, now: Instant) {
    let clock = core.now();
    for (_, connection) in core.connections().iter() {
        cut_if_stalled(core, connection, now);
        if !core.is_draining() {
            close_if_silent(core, connection, clock);
        }
        if let Some(timeout) = core.settings.user_timeout {
            connection.watch_peer(timeout);
        }
    }
    core.unflushed.flush_soon();
}

/// Ends a connection that has taken nothing for too long of what waits for it.
fn cut_if_stalled(core: &Core, connection: &Connection, now: Instant) {
    let Some(since) = connection.stalled_since() else { return };
    let stalled = now.saturating_duration_since(since);
    match connection.ending() {
        None if stalled >= core.settings.sendq_stall => core.end(connection, CloseReason::Stalled.into()),
        Some(_) if stalled >= LAST_OUTPUT_STALL => give_up(core, connection),
        _ => {}
    }
}

/// Gives up what still waits for a connection that ends.
fn give_up(core: &Core, connection: &Connection) {
    connection.abandon();
    core.log.emit(Event::Abandoned { connection: connection.name });
}

/// Ends a connection that has sent no line for too long.
fn close_if_silent(core: &Core, connection: &Rc<Connection>, now: Duration) {
    let (time, reason) = match connection.cow() {
        Some(_) => (core.settings.idle_timeout, CloseReason::Idle),
        None if connection.may_look_on => return,
        None => (core.settings.login_timeout, CloseReason::NotLoggedIn),
    };
    if time.is_some_and(|time| connection.silence.is_for(time, now)) {
        effects::tell_and_end(core, connection, reason);
    }
}
