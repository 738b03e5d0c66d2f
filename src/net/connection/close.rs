//! The end of a connection: the peer gets the last byte, whatever it still sends.

use std::future::poll_fn;
use std::rc::Rc;

use futures_lite::FutureExt;

use super::Connection;
use crate::close_reason::CloseReason;
use crate::limits::{LAST_OUTPUT_STALL, LINGER, LINGER_POLL, TURN_LINES};
use crate::metrics::Counter;
use crate::net::core::Core;
use crate::net::delivery::flush;
use crate::net::turn::Turn;
use crate::runtime::socket::Socket;

/// Writes what is left, half-closes, and lingers until the peer has all of it.
pub(super) async fn close(core: &Rc<Core>, connection: &Connection) {
    let Some(close) = connection.closing() else { return };
    // Lines that were not executed are gone.
    connection.set_received_bytes(0);
    flush::end_turn(core);
    let is_written = async || connection.write_last().is_ok() && connection.is_written().await.is_ok();
    let written = close.reason.is_orderly() && is_written().await;
    count_written(core, connection);
    if connection.discarded.get() || close.reason.is_cut() {
        connection.socket.reset_on_close();
    } else if written {
        connection.socket.finish();
        // A peer that half-closed sends nothing more, so close() cannot reset it.
        if close.reason != CloseReason::EndOfInput {
            // Boxed: short for most connections, and no idle one pays for it.
            Box::pin(linger_close(core, connection)).await;
        }
    }
}

/// Counts once that all of the connection's output is written or given up.
pub(super) fn count_written(core: &Core, connection: &Connection) {
    if !connection.is_counted_written.replace(true) {
        core.metrics.add(Counter::Written, 1);
    }
}

/// Reads and discards until the peer's end: while the peer takes what it was sent, and for [`LINGER`] after that. If it
/// takes nothing for [`LAST_OUTPUT_STALL`], the rest is given up.
async fn linger_close(core: &Rc<Core>, connection: &Connection) {
    let socket = &connection.socket;
    let arrived = async {
        if all_acked(core, connection).await {
            core.reactor.sleep(LINGER).await;
        } else {
            core.discard_output(connection);
            socket.reset_on_close();
        }
    };
    discard(core, socket).or(arrived).await;
}

/// Waits until the peer has acknowledged everything, our FIN included; `false` if the peer stops acknowledging, or the output was given up.
async fn all_acked(core: &Core, connection: &Connection) -> bool {
    let mut left = u32::MAX;
    let mut since = core.now();
    loop {
        // Most peers have ended before the first poll.
        core.reactor.sleep(LINGER_POLL).await;
        let now_left = connection.socket.unacknowledged_bytes();
        if now_left == 0 {
            return true;
        }
        if now_left < left {
            (left, since) = (now_left, core.now());
        } else if connection.discarded.get() || core.now().saturating_sub(since) >= LAST_OUTPUT_STALL {
            return false;
        }
    }
}

/// Reads and discards until the peer's end, for [`LINGER`] at most.
pub(crate) async fn linger(core: &Core, socket: &Socket) {
    discard(core, socket).or(core.reactor.sleep(LINGER)).await;
}

/// Reads and discards until the peer's end.
async fn discard(core: &Core, socket: &Socket) {
    let mut read = poll_fn(|cx| {
        let mut buffer = core.read_buffer.borrow_mut();
        socket.poll_read(cx, &mut buffer)
    });
    let mut turn = Turn::of(TURN_LINES);
    while let Ok(1..) = (&mut read).await {
        if turn.step() {
            core.reactor.yield_now().await;
            turn = Turn::of(TURN_LINES);
        }
    }
}
