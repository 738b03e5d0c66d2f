//! One task per connection: it reads, and has lines executed.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;

use super::close::{close, count_written};
use super::throttle::{self, Charge, Permission};
use super::{Close, Connection};
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::{SENDQ_OWN_BYTES, TURN_LINES};
use crate::net::cluster;
use crate::net::core::Core;
use crate::net::delivery::apply::{self, Applied};
use crate::net::delivery::flush;
use crate::net::turn::Turn;
use crate::protocol::line::{Line, LineBuffer};
use crate::shard::Outcome;

/// Serves one connection from its first byte to its close.
pub(crate) async fn run(core: Rc<Core>, connection: Rc<Connection>) {
    if let Err(panic) = AssertUnwindSafe(serve(&core, &connection)).catch_unwind().await {
        if core.is_poisoned() {
            std::panic::resume_unwind(panic);
        }
        core.end_by_fault(&connection, &*panic);
        connection.set_received_bytes(0);
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
            core.log.emit(Event::Accepted { connection: connection.name(), peer: connection.peer() });
            run(core, connection).await;
        }
        Err(reason) => {
            core.end(&connection, reason);
            close(&core, &connection).await;
            core.forget(&connection);
        }
    }
}

async fn serve(core: &Rc<Core>, connection: &Rc<Connection>) {
    let ended = serve_lines(core, connection).await;
    core.end(connection, ended.map_or_else(|close| close, Close::from));
    close(core, connection).await;
}

/// Executes lines until there is a reason to end.
async fn serve_lines(core: &Rc<Core>, connection: &Rc<Connection>) -> Result<CloseReason, Close> {
    if let Some(motd) = core.motd() {
        apply::queue_own(core, connection, motd.to_vec());
        flush::end_small_turn(core, connection);
    }
    let mut lines = LineBuffer::new(core.shards.rules.line_bytes_max);
    // A turn goes on over reads: a connection whose input never ends must yield, too.
    let mut turn = Turn::of(TURN_LINES);
    let mut open = true;
    loop {
        while let Some((line, charge)) = next_allowed(core, connection, &mut lines).await? {
            connection.lines.set(connection.lines.get().saturating_add(1));
            let effects = throttle::execute(core, connection, line, charge);
            let outcome = match apply::apply(core, connection, &mut turn, effects) {
                Applied::Done(outcome) => outcome,
                Applied::Waits(rest) => rest.await?,
            };
            match outcome {
                Outcome::Quit(_) => return Ok(CloseReason::Quit),
                Outcome::Foreign => return Ok(CloseReason::WrongProtocol),
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
            // The drain ends every connection at the same moment, with a last line.
            connection.until_closed_or(std::future::pending::<()>()).await?;
        }
        if !open {
            return Ok(CloseReason::EndOfInput);
        }
        // A TLS handshake has no lines that would end.
        if connection.cow.get().is_none() && lines.begins_like_tls() {
            lines.finish();
            continue;
        }
        if throttle::is_in_debt(core, connection) {
            Box::pin(throttle::until_it_may_send(core, connection)).await?;
        }
        connection.idle.resume(core.now());
        connection.set_received_bytes(lines.capacity_bytes());
        let read = connection.read(&core.read_buffer, &mut lines).await?;
        throttle::charge_read(core, connection, read.wasted, lines.has_line());
        connection.set_received_bytes(lines.capacity_bytes());
        open = read.open;
        if !open {
            lines.finish();
        }
        if read.waited {
            turn = Turn::of(TURN_LINES);
        } else if turn.step() {
            core.reactor.yield_now().await;
            turn = Turn::of(TURN_LINES);
        }
    }
}

/// The next line that may be executed now, and what it costs; `None` if there is none, or the server drains.
/// Answers telnet commands on the way.
async fn next_allowed<'l>(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    lines: &'l mut LineBuffer,
) -> Result<Option<(Line<'l>, Charge)>, Close> {
    while lines.has_more() {
        if lines.has_line() {
            connection.idle.pause();
        }
        // Waits are boxed: they are rare, and an idle connection pays nothing for them.
        if connection.queued_bytes() > SENDQ_OWN_BYTES {
            Box::pin(make_room(core, connection)).await?;
            continue;
        }
        if let Some(close) = connection.closing() {
            return Err(close);
        }
        // Checked after every wait: a line executed after the end frames would be acknowledged and lost.
        if core.is_draining() {
            break;
        }
        cluster::check(core);
        if let Some(answer) = lines.next_answer() {
            apply::answer(core, connection, answer);
            continue;
        }
        match throttle::permission(core, connection, lines) {
            Permission::Now(charge) => return Ok(lines.next_line().map(|line| (line, charge))),
            Permission::After(wait) => Box::pin(throttle::pause(core, connection, wait)).await?,
            Permission::AfterAddress => Box::pin(throttle::until_address_may_say_more(core, connection)).await?,
        }
    }
    Ok(None)
}

/// Waits while more than [`SENDQ_OWN_BYTES`] wait to be written: a connection with so much output executes no line.
///
/// # Errors
/// When the connection ends before that, or has ended in a write: it must not log in again.
async fn make_room(core: &Core, connection: &Connection) -> Result<(), Close> {
    flush::write_alone(core, connection);
    // What this turn has queued so far does not wait.
    flush::end_turn(core);
    if connection.cow.get().is_none() {
        // A guest that does not read its replies counts as silent.
        connection.idle.resume(core.now());
    }
    connection.has_room(SENDQ_OWN_BYTES).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_idle_connection_keeps_is_small() {
        fn task_bytes<F>(_: impl FnOnce(Rc<Core>, Rc<Connection>) -> F) -> usize {
            size_of::<F>()
        }
        // 352 and 280 when this was written: the limit of 1.5 KiB for each connection has to hold the executor's
        // and the reactor's part, too.
        assert!(task_bytes(run) <= 352, "its task: {} bytes", task_bytes(run));
        assert!(size_of::<Connection>() <= 280, "its state: {} bytes", size_of::<Connection>());
    }
}
