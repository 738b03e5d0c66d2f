//! Flood control of one connection: asks its bucket, and waits where it says so.
//!
//! A throttled connection is not read: its input stays in the kernel's buffer and does not wake the core. The last bytes
//! that were read may hold lines, and these wait here. A reset closes the connection at once, so its cow is free. A peer
//! that half-closes has said all that it will, and that has its turn.
//!
//! A bucket of its own holds a connection's lines. Another one, which all connections of an address share, holds the bytes
//! that one receiver gets of their messages.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::connection::{Connection, Ending};
use super::core::{Core, Settings};
use super::flush;
use crate::limits::FLOOD_READ_BYTES;
use crate::policy::flood::{Pace, Price, SharedBucket};
use crate::protocol::line::{Line, LineBuffer};
use crate::shard::{Effects, Shard};

/// How long the next of `lines` has to wait, if it has to.
pub(super) fn wait(core: &Core, connection: &Connection, lines: &LineBuffer) -> Option<Duration> {
    let is_line = |is_it: fn(&[u8]) -> bool| lines.peek().is_some_and(is_it);
    match pace(core, connection) {
        // What others of its address say must not keep it from a look around.
        Pace::Now => Some(address_wait(core, connection)).filter(|wait| !wait.is_zero() && is_line(Shard::is_said)),
        Pace::After(wait) => (!is_line(Shard::is_free)).then_some(wait),
        // It is refused.
        Pace::TooSoon => None,
    }
}

/// Where it counts what the connection sends to others, unless its address is exempt.
fn messages(connection: &Connection) -> Option<&SharedBucket> {
    connection.shared.as_ref().map(|shared| &shared.messages)
}

/// How long the connection's address has to wait before it may send more to others.
fn address_wait(core: &Core, connection: &Connection) -> Duration {
    let Settings { addresses, message_rate, .. } = &core.settings;
    messages(connection).map_or(Duration::ZERO, |bucket| bucket.wait(addresses.now(), *message_rate))
}

/// Waits for so long. What came of lines before is not to wait with them.
///
/// # Errors
/// When the connection ends before that.
pub(super) async fn pause(core: &Rc<Core>, connection: &Connection, time: Duration) -> Result<(), Ending> {
    flush::end_turn(core);
    let until = Instant::now() + time;
    while let left = until.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        wait_beside(core, connection, left).await?;
    }
    Ok(())
}

/// Has a line executed that has not to wait, or refused if it comes much too soon. Nobody has to wait to
/// quit.
pub(super) fn execute(core: &Core, connection: &Connection, line: Line<'_>) -> Effects {
    if pace(core, connection) != Pace::Now && !line.bytes.is_ok_and(Shard::is_free) {
        return core.with_shard(|shard| shard.on_line_too_soon(connection.id, line));
    }
    let effects = core.on_line(connection, line);
    if effects.receivers > 0 || effects.receiver.is_some() {
        connection.quiet.restart(core.clock());
    }
    charge(core, connection, || Price::of_line(line.start().len(), effects.receivers, effects.reply.len()));
    if effects.message_bytes > 0
        && let Some(bucket) = messages(connection)
    {
        let Settings { addresses, message_rate, .. } = &core.settings;
        bucket.charge(addresses.now(), *message_rate, Price::of_message(effects.message_bytes));
    }
    effects
}

/// Charges for a read of which these bytes are in no line, and which has ended a line or not.
pub(super) fn charge_read(core: &Core, connection: &Connection, wasted_bytes: usize, has_line: bool) {
    let bytes = wasted_bytes + if has_line { 0 } else { FLOOD_READ_BYTES };
    charge_waste(core, connection, bytes);
}

/// Charges for bytes that are in no line, read or sent.
pub(super) fn charge_waste(core: &Core, connection: &Connection, bytes: usize) {
    if bytes > 0 {
        charge(core, connection, || Price::of_waste(bytes));
    }
}

fn charge(core: &Core, connection: &Connection, price: impl FnOnce() -> Price) {
    let mut bucket = connection.bucket.get();
    if !bucket.is_exempt() {
        bucket.charge(core.now(), core.settings.flood, price());
        connection.bucket.set(bucket);
    }
}

fn pace(core: &Core, connection: &Connection) -> Pace {
    let bucket = connection.bucket.get();
    // Who is exempt need not look at the clock.
    if bucket.is_exempt() { Pace::Now } else { bucket.pace(core.now(), core.settings.flood) }
}

/// Whether the connection has to wait before it is read.
pub(super) fn is_in_debt(core: &Core, connection: &Connection) -> bool {
    pace(core, connection) != Pace::Now
}

/// Waits until it has not, or has ended and sends no more.
///
/// # Errors
/// When the connection ends before that.
pub(super) async fn until_it_may_send(core: &Core, connection: &Connection) -> Result<(), Ending> {
    loop {
        let wait = connection.bucket.get().wait(core.now(), core.settings.flood);
        if wait.is_zero() || connection.socket().has_ended().map_err(Ending::of_read)? {
            return Ok(());
        }
        wait_beside(core, connection, wait).await?;
    }
}

/// Waits for so long, or until the kernel says something of the connection's end.
///
/// # Errors
/// When the connection ends before that, or is broken off.
async fn wait_beside(core: &Core, connection: &Connection, time: Duration) -> Result<(), Ending> {
    if let Some(error) = connection.socket().failure() {
        return Err(Ending::of_read(error));
    }
    connection.attend(connection.socket().ends_further().or(core.reactor.sleep(time))).await
}
