//! A core's beat.
//!
//! glommio 0.9.0 can park with runnable tasks queued: a wake-up that comes while it prepares to sleep is
//! lost, and the core hangs until something else happens. The beat is that something else. It costs 50
//! to 65 us, so it slows down when nothing goes on.

use std::rc::Rc;
use std::time::Instant;

use glommio::timer::Timer;

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
        if !core.is_draining() {
            if effects::tell_untold(&core) {
                core.unflushed.flush_soon();
            }
            waited = look_for_newcomers(&core, &listener, waited);
        }
        let now = Instant::now();
        if now >= housekeeping {
            housekeeping = now + HOUSEKEEPING;
            cut_the_stalled(&core, now);
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

/// Ends connections that have taken nothing for too long of what waits for them.
fn cut_the_stalled(core: &Core, now: Instant) {
    for (_, connection) in core.connections().iter() {
        let Some(since) = connection.stalled_since() else { continue };
        let stalled = now.saturating_duration_since(since);
        match connection.ending() {
            None if stalled >= core.settings.sendq_stall => core.end(connection, CloseReason::Stalled.into()),
            Some(_) if stalled >= LAST_OUTPUT_STALL => {
                connection.abandon();
                core.log.emit(Event::Abandoned { connection: connection.name });
            }
            _ => {}
        }
    }
}
