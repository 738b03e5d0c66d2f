//! Flood control of one connection: asks its bucket, and waits where it says so.
//!
//! A throttled connection is not read: its input stays in the kernel's buffer and does not wake the core. The last bytes
//! that were read may hold lines, and these wait here. A reset closes the connection at once, so its cow is free. Lines
//! before a half-close are executed at their rate.
//!
//! A bucket of its own holds a connection's lines. Another one, which all connections of an address share, holds the bytes
//! that one receiver gets of their messages.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;

use crate::limits::{FLOOD_READ_BYTES, SENDQ_MESSAGE_BYTES_MIN};
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;
use crate::net::delivery::flush;
use crate::policy::flood::{Pace, Price, SharedBucket};
use crate::protocol::command::Throttle;
use crate::protocol::line::{Line, LineBuffer};
use crate::shard::{Effects, bytes_at_most};

/// Whether the next line may be executed.
pub(crate) enum Permission {
    /// Now.
    Now(Charge),
    /// It waits for this long, since its connection has sent too much.
    After(Duration),
    /// It waits until its address may say more.
    AfterAddress,
}

/// What a line costs.
#[derive(Clone, Copy)]
pub(crate) enum Charge {
    /// Its price. This many bytes are reserved of what its address may send, and settled when it is executed.
    Line { reserved: usize },
    /// Nothing: it comes much too soon, and is refused.
    TooSoon,
}

pub(crate) fn permission(core: &Core, connection: &Connection, lines: &LineBuffer) -> Permission {
    // One that is too long is refused, whatever it begins with.
    let line = lines.peek().and_then(|line| line.bytes.ok()).unwrap_or_default();
    match pace(core, connection) {
        Pace::Now => permission_of_address(core, connection, line),
        // `quit` never waits.
        _ if Throttle::of(line) == Throttle::Exempt => Permission::Now(Charge::Line { reserved: 0 }),
        Pace::After(wait) => Permission::After(wait),
        Pace::TooSoon => Permission::Now(Charge::TooSoon),
    }
}

/// The messages of an address are bounded together; lines that send none do not wait for them.
fn permission_of_address(core: &Core, connection: &Connection, line: &[u8]) -> Permission {
    let (Some(bucket), Some(cow)) = (messages(connection), connection.cow.get()) else {
        return Permission::Now(Charge::Line { reserved: 0 });
    };
    if Throttle::of(line) != Throttle::Speech {
        return Permission::Now(Charge::Line { reserved: 0 });
    }
    // An invalid byte becomes a character of three.
    let estimate = bytes_at_most(&core.shards.herd, cow, 3 * line.len());
    let may_go = bucket.try_take(core.server_time(), core.limits().message_rate, Price::of_message(estimate));
    if may_go { Permission::Now(Charge::Line { reserved: estimate }) } else { Permission::AfterAddress }
}

/// What the messages of its address are charged to, unless the address is exempt.
fn messages(connection: &Connection) -> Option<&SharedBucket> {
    connection.shared.as_ref().map(|shared| &shared.messages)
}

/// Waits until the connection's address may say more, as far as that is known: another connection may be quicker.
pub(crate) async fn until_address_may_say_more(core: &Rc<Core>, connection: &Connection) -> Result<(), Close> {
    while let Some(wait) =
        messages(connection).map(|bucket| bucket.load().wait(core.server_time(), core.limits().message_rate))
        && !wait.is_zero()
    {
        pause(core, connection, wait).await?;
    }
    Ok(())
}

/// Waits for `time`. The output of earlier lines does not wait.
pub(crate) async fn pause(core: &Rc<Core>, connection: &Connection, time: Duration) -> Result<(), Close> {
    flush::end_turn(core);
    let until = core.server_time() + time;
    while let left = until.saturating_sub(core.server_time())
        && !left.is_zero()
    {
        wait_beside(core, connection, left).await?;
    }
    Ok(())
}

/// Executes or refuses a line that has its [`permission`], and charges for it.
pub(crate) fn execute(core: &Core, connection: &Connection, line: Line<'_>, charged: Charge) -> Effects {
    let Charge::Line { reserved } = charged else {
        return core.with_shard(|shard| shard.on_line_too_soon(connection.id, line));
    };
    let effects = core.on_line(connection, line);
    if effects.receivers > 0 || effects.receiver.is_some() {
        connection.quiet.restart(core.now());
    }
    charge(core, connection, || Price::of_line(line.start().len(), effects.receivers, effects.reply.len()));
    if reserved > 0
        && let Some(bucket) = messages(connection)
    {
        let bytes = if effects.message_bytes > 0 { effects.message_bytes.max(SENDQ_MESSAGE_BYTES_MIN) } else { 0 };
        bucket.settle(core.limits().message_rate, Price::of_message(reserved), Price::of_message(bytes));
    }
    effects
}

/// Charges for a read of which these bytes are in no line, and which has ended a line or not.
pub(crate) fn charge_read(core: &Core, connection: &Connection, wasted_bytes: usize, has_line: bool) {
    let bytes = wasted_bytes + if has_line { 0 } else { FLOOD_READ_BYTES };
    charge_waste(core, connection, bytes);
}

/// Charges for bytes that are in no line, read or sent.
pub(crate) fn charge_waste(core: &Core, connection: &Connection, bytes: usize) {
    if bytes > 0 {
        charge(core, connection, || Price::of_waste(bytes));
    }
}

fn charge(core: &Core, connection: &Connection, price: impl FnOnce() -> Price) {
    let mut bucket = connection.bucket.get();
    if !bucket.is_exempt() {
        bucket.charge(core.server_time(), core.limits().flood, price());
        connection.bucket.set(bucket);
    }
}

fn pace(core: &Core, connection: &Connection) -> Pace {
    let bucket = connection.bucket.get();
    // An exempt bucket needs no time.
    if bucket.is_exempt() { Pace::Now } else { bucket.pace(core.server_time(), core.limits().flood) }
}

/// Whether the connection has to wait before it is read.
pub(crate) fn is_in_debt(core: &Core, connection: &Connection) -> bool {
    pace(core, connection) != Pace::Now
}

/// Waits until the debt is paid, or the peer has half-closed and all its input is read.
pub(crate) async fn until_it_may_send(core: &Core, connection: &Connection) -> Result<(), Close> {
    loop {
        let wait = connection.bucket.get().wait(core.server_time(), core.limits().flood);
        if wait.is_zero() || connection.socket.is_at_eof().map_err(Close::of_read)? {
            return Ok(());
        }
        wait_beside(core, connection, wait).await?;
    }
}

/// Waits for `time`, or until the kernel says something of the connection's end.
async fn wait_beside(core: &Core, connection: &Connection, time: Duration) -> Result<(), Close> {
    if let Some(error) = connection.socket.take_error() {
        return Err(Close::of_read(error));
    }
    connection.until_closed_or(connection.socket.hangup_changes().or(core.reactor.sleep(time))).await
}
