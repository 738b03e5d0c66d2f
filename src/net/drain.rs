//! The way out: everything acknowledged is delivered, everybody is told, and nobody sees a reset.
//!
//! 1. Ignore newcomers, empty the accept queue, then end the listener; without a descriptor for who waits, as soon
//!    as there is one.
//! 2. Execute no more lines; those that wait for a mailbox finish.
//! 3. Tell every other core that nothing more will come from here.
//! 4. When all have said so: the last line to everybody, flushed, then FIN.
//! 5. Read and discard until each peer's end, while it takes what it was sent and for a second after, and close.
//!
//! The deadline is the supervisor's: it ends the process when it has passed (`server`). So that a core which stands
//! still takes the last line from its own users only, the others wait for it until a part of the time is left.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::core::Core;
use super::listener::Listening;
use super::{effects, flush};
use crate::events::CloseReason;
use crate::limits::{DRAIN_LAST_PART, HANDSHAKE_GRACE};
use crate::shard::Frame;

/// How often a step looks whether it is done. A drain happens once, so simple beats quick.
const LOOK: Duration = Duration::from_millis(1);

/// Drains one core of a server that drains since `began`; returns when its last connection is closed.
pub(super) async fn run(core: &Rc<Core>, listener: &Listening, began: Instant) {
    core.start_draining();
    listener.ignore_newcomers();
    core.reactor.sleep(HANDSHAKE_GRACE).await;
    let mut is_deaf = listener.empty_and_end(core);
    let timeout = core.settings.drain_timeout;
    let patience = (timeout - timeout / DRAIN_LAST_PART).saturating_sub(began.elapsed());
    nothing_more_comes(core).or(core.reactor.sleep(patience)).await;
    for (_, connection) in core.connections().iter() {
        effects::tell_and_end(core, connection, CloseReason::Shutdown);
    }
    flush::flush(core).await;
    until(core, || {
        is_deaf = is_deaf || listener.empty_and_end(core);
        is_deaf && core.connection_count() == 0 && core.refusing.get() == 0
    })
    .await;
    // What still keeps sockets of connections that are over.
    core.over_limit.take();
    flush::flush(core).await;
}

/// Tells the others that nothing more will come from here, and waits until all of them have said the same.
async fn nothing_more_comes(core: &Rc<Core>) {
    until(core, || core.lines_waiting.get() == 0).await;
    let others: Vec<_> = core.mesh.others().collect();
    for &other in &others {
        core.outbox.forward(other, Frame::End).await;
    }
    until(core, || core.ended.get() == others.len()).await;
}

async fn until(core: &Core, mut done: impl FnMut() -> bool) {
    while !done() {
        core.reactor.sleep(LOOK).await;
    }
}
