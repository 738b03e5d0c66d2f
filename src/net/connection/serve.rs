//! One task per connection: it reads, has lines executed, and closes.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;

use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::{LAST_OUTPUT_STALL, LINGER, LINGER_LOOK, SENDQ_OWN_BYTES, TURN_LINES};
use crate::metrics::Counter;
use crate::net::connection::throttle::{self, Admission};
use crate::net::connection::{Connection, Ending};
use crate::net::core::Core;
use crate::net::delivery::apply::{self, Applied};
use crate::net::delivery::flush;
use crate::net::turn::Turn;
use crate::protocol::line::LineBuffer;
use crate::runtime::socket::Socket;
use crate::shard::Outcome;

/// Serves one connection from its first byte to its close.
pub(crate) async fn run(core: Rc<Core>, connection: Rc<Connection>) {
    if let Err(panic) = AssertUnwindSafe(serve(&core, &connection)).catch_unwind().await {
        if core.is_broken() {
            std::panic::resume_unwind(panic);
        }
        core.end_by_fault(&connection, &*panic);
        connection.note_received(0);
        count_written(&core, &connection);
        // What its lines have queued for others until then.
        flush::end_turn(&core);
    }
    core.forget(&connection);
}

/// Serves one connection after this time, since its address connects too often.
pub(crate) async fn run_later(core: Rc<Core>, connection: Rc<Connection>, wait: Duration) {
    match throttle::pause(&core, &connection, wait).await {
        Ok(()) => {
            connection.is_served.set(true);
            core.log.emit(Event::Accepted { connection: connection.name, peer: connection.socket().peer() });
            run(core, connection).await;
        }
        Err(ending) => {
            core.end(&connection, ending);
            close(&core, &connection).await;
            core.forget(&connection);
        }
    }
}

async fn serve(core: &Rc<Core>, connection: &Rc<Connection>) {
    let ending = match serve_lines(core, connection).await {
        Ok(reason) => reason.into(),
        Err(ending) => ending,
    };
    core.end(connection, ending);
    close(core, connection).await;
}

/// Executes lines until there is a reason to end.
async fn serve_lines(core: &Rc<Core>, connection: &Rc<Connection>) -> Result<CloseReason, Ending> {
    if let Some(motd) = &core.motd {
        apply::queue_own(core, connection, motd.to_vec());
        flush::end_small_turn(core, connection);
    }
    let mut lines = LineBuffer::new(core.common.rules.line_bytes_max);
    let mut open = true;
    // It goes on over reads: a connection whose input never ends must let others run, too.
    let mut turn = Turn::of(TURN_LINES);
    loop {
        while lines.has_more() {
            may_go_on(core, connection, &lines).await?;
            // Asked after every wait: a line executed once the other cores have been told that nothing more
            // will come would be acknowledged and lost.
            if core.is_draining() {
                break;
            }
            if let Some(answer) = lines.next_answer() {
                apply::answer(core, connection, answer);
                continue;
            }
            // To wait is rare, so what it takes is not kept for every connection.
            let reserved = match throttle::admit(core, connection, &lines) {
                Admission::Now(reserved) => reserved,
                Admission::After(wait) => {
                    Box::pin(throttle::pause(core, connection, wait)).await?;
                    continue;
                }
                Admission::AfterOthers => {
                    Box::pin(throttle::until_address_may_say_more(core, connection)).await?;
                    continue;
                }
            };
            let Some(line) = lines.next_line() else { break };
            let effects = throttle::execute(core, connection, line, reserved);
            let outcome = match apply::apply(core, connection, &mut turn, effects) {
                Applied::Done(outcome) => outcome,
                Applied::Waits(rest) => rest.await?,
            };
            match outcome {
                Outcome::Quit(_) => return Ok(CloseReason::Quit),
                Outcome::Foreign => return Ok(CloseReason::Foreign),
                Outcome::Unchanged | Outcome::LoggedIn(_) => {}
            }
            if turn.step() {
                if turn.is_large() {
                    flush::flush(core).await;
                } else {
                    flush::end_small_turn(core, connection);
                }
                core.reactor.yield_now().await;
                turn = Turn::of(TURN_LINES);
            }
        }
        if turn.is_large() {
            flush::end_large_turn(core).await;
        } else {
            flush::end_small_turn(core, connection);
        }
        if core.is_draining() {
            // The drain ends everybody at the same moment, with a last line.
            connection.attend(std::future::pending::<()>()).await?;
        }
        if !open {
            return Ok(CloseReason::EndOfInput);
        }
        // A TLS handshake has no lines that would end.
        if connection.cow().is_none() && lines.begins_like_tls() {
            lines.finish();
            continue;
        }
        if throttle::is_in_debt(core, connection) {
            Box::pin(throttle::until_it_may_send(core, connection)).await?;
        }
        connection.silence.begin(core.now());
        connection.note_received(lines.capacity_bytes());
        let read = connection.read(&core.read_buffer, &mut lines).await?;
        throttle::charge_read(core, connection, read.wasted, lines.has_line());
        connection.note_received(lines.capacity_bytes());
        open = read.open;
        if read.waited {
            turn = Turn::of(TURN_LINES);
        } else if turn.step() {
            core.reactor.yield_now().await;
            turn = Turn::of(TURN_LINES);
        }
        if !open {
            lines.finish();
        }
    }
}

/// Waits until the connection may execute a line: while more than [`SENDQ_OWN_BYTES`] wait to be written,
/// it may not.
///
/// # Errors
/// When the connection ends before that, or has ended in a write: it must not become anybody again.
async fn may_go_on(core: &Core, connection: &Connection, lines: &LineBuffer) -> Result<(), Ending> {
    if lines.has_line() {
        connection.silence.end();
    }
    if connection.queued_bytes() > SENDQ_OWN_BYTES {
        flush::write_alone(core, connection);
        // Nobody else has to wait for what this turn has queued so far.
        flush::end_turn(core);
        if connection.cow().is_none() {
            // A guest that does not read its replies is as good as silent.
            connection.silence.begin(core.now());
        }
    }
    connection.has_room(SENDQ_OWN_BYTES).await?;
    if lines.has_line() {
        connection.silence.end();
    }
    Ok(())
}

/// Writes what is left, says that there will be no more, and sees to it that the peer gets all of it.
async fn close(core: &Rc<Core>, connection: &Rc<Connection>) {
    let Some(ending) = connection.ending() else { return };
    // The lines that it has not had executed are gone.
    connection.note_received(0);
    flush::end_turn(core);
    let is_written = async || connection.write_last().is_ok() && connection.is_written().await.is_ok();
    let written = ending.reason.is_orderly() && is_written().await;
    count_written(core, connection);
    if connection.is_abandoned() || ending.reason.is_cut() {
        connection.socket().reset_on_close();
    } else if written {
        connection.socket().finish();
        // Who has ended himself sends nothing that could be answered by a reset.
        if ending.reason != CloseReason::EndOfInput {
            // Over soon for most, and not to be kept for every connection.
            Box::pin(see_off(core, connection)).await;
        }
    }
}

/// Counts once that nothing of the connection waits to be written any more.
fn count_written(core: &Core, connection: &Connection) {
    if !connection.is_counted_written.replace(true) {
        core.metrics.add(Counter::Written, 1);
    }
}

/// Reads and throws away until the peer's end: while it takes what it was sent, and for [`LINGER`] after that.
/// If it takes nothing for [`LAST_OUTPUT_STALL`], the rest is given up.
async fn see_off(core: &Rc<Core>, connection: &Connection) {
    let socket = connection.socket();
    let arrived = async {
        if is_taken(core, connection).await {
            core.reactor.sleep(LINGER).await;
        } else {
            core.give_up(connection);
            socket.reset_on_close();
        }
    };
    discard(core, socket).or(arrived).await;
}

/// Waits until the peer's kernel has all that was sent, our FIN included; `false` if it stops taking any, or was
/// given up.
async fn is_taken(core: &Core, connection: &Connection) -> bool {
    let mut left = u32::MAX;
    let mut since = core.now();
    loop {
        // Most peers have ended by then, and need not be asked.
        core.reactor.sleep(LINGER_LOOK).await;
        let now_left = connection.socket().unacknowledged_bytes();
        if now_left == 0 {
            return true;
        }
        if now_left < left {
            (left, since) = (now_left, core.now());
        } else if connection.is_abandoned() || core.now().saturating_sub(since) >= LAST_OUTPUT_STALL {
            return false;
        }
    }
}

/// Reads and throws away until the peer's end, for [`LINGER`] at most.
pub(crate) async fn linger(core: &Core, socket: &Socket) {
    discard(core, socket).or(core.reactor.sleep(LINGER)).await;
}

/// Reads and throws away until the peer's end.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_idle_connection_keeps_is_small() {
        fn task_bytes<F>(_: impl FnOnce(Rc<Core>, Rc<Connection>) -> F) -> usize {
            size_of::<F>()
        }
        // 368 and 280 when this was written: the limit of 1.5 KiB for each connection has to hold the executor's
        // and the reactor's part, too.
        assert!(task_bytes(run) <= 368, "its task: {} bytes", task_bytes(run));
        assert!(size_of::<Connection>() <= 280, "its state: {} bytes", size_of::<Connection>());
    }
}
