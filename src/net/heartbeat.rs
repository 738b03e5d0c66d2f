//! A core's beat: it shows that the core runs, and does what has to be done now and then.

use std::rc::Rc;
use std::time::Instant;

use super::core::Core;
use super::effects;
use crate::events::{CloseReason, Event};
use crate::limits::{HEARTBEAT, HOUSEKEEPING, LAST_OUTPUT_STALL, SENDQ_GRACE};
use crate::metrics::Counter;

/// Beats for as long as the core lives.
pub(super) async fn run(core: Rc<Core>) {
    let mut housekeeping = Instant::now() + HOUSEKEEPING;
    loop {
        core.reactor.sleep(HEARTBEAT).await;
        core.metrics.add(Counter::Beats, 1);
        cut_the_slow(&core);
        if !core.is_draining() && effects::tell_untold(&core) {
            core.unflushed.flush_soon();
        }
        let now = Instant::now();
        if now >= housekeeping {
            housekeeping = now + HOUSEKEEPING;
            cut_the_stalled(&core, now);
        }
    }
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
        // One that ends is over when its task is; what then still waits for it must not keep it here.
        connection.is_over() && connection.ending().is_none()
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
