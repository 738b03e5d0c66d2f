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

use super::accept::empty_and_end;
use super::delivery::{apply, flush};
use crate::close_reason::CloseReason;
use crate::limits::{DRAIN_GRACE_PART, DRAIN_LAST_PART, HANDSHAKE_GRACE, LOOKED_AFTER_AT_ONCE};
use crate::net::core::Core;
use crate::runtime::listener::Listening;
use crate::shard::Frame;

/// How often a step looks whether it is done. A drain happens once, so simple beats quick.
const LOOK: Duration = Duration::from_millis(1);

/// Drains one core of a server that drains since `began`; returns when its last connection is closed.
pub(crate) async fn run(core: &Rc<Core>, listener: &Listening, began: Instant) {
    core.start_draining();
    listener.ignore_new_handshakes();
    let timeout = core.limits.drain_timeout;
    core.reactor.sleep(grace(timeout)).await;
    let mut is_deaf = empty_and_end(listener, core);
    let patience = (timeout - timeout / DRAIN_LAST_PART).saturating_sub(began.elapsed());
    nothing_more_comes(core).or(core.reactor.sleep(patience)).await;
    tell_all(core).await;
    until(core, || {
        is_deaf = is_deaf || empty_and_end(listener, core);
        is_deaf && core.connection_count() == 0 && core.refusing.get() == 0
    })
    .await;
    // What still keeps sockets of connections that are over.
    core.over_limit.take();
    flush::flush(core).await;
}

/// How long handshakes under way are waited for, of the time that a drain has.
fn grace(timeout: Duration) -> Duration {
    HANDSHAKE_GRACE.min(timeout / DRAIN_GRACE_PART)
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

/// Ends every connection with its last line, some at a time: in between they write it and close, and all other tasks run.
/// No connection is opened meanwhile: the listener is empty, or it has no descriptor to spare and gives the last line to
/// each connection that waits by itself.
async fn tell_all(core: &Rc<Core>) {
    let mut slots = 0;
    while slots < core.connections().capacity() {
        for slot in slots..slots + LOOKED_AFTER_AT_ONCE {
            if let Some(connection) = core.connections().get(slot) {
                apply::tell_and_end(core, connection, CloseReason::Shutdown);
            }
        }
        slots += LOOKED_AFTER_AT_ONCE;
        core.dirty.schedule_flush();
        core.reactor.yield_now().await;
    }
}

async fn until(core: &Core, mut done: impl FnMut() -> bool) {
    while !done() {
        core.reactor.sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::{Cow, Herd};
    use crate::events::Level;
    use crate::ids::ShardId;
    use crate::limits::DRAIN_TIMEOUT;
    use crate::log::LogWriter;
    use crate::metrics::Metrics;
    use crate::net::core::CoreContext;
    use crate::net::delivery::mesh::Mesh;
    use crate::policy::addresses::Addresses;
    use crate::policy::admission::Admitted;
    use crate::policy::flood::Rate;
    use crate::policy::limits::Limits;
    use crate::policy::memory_budget::Budget;
    use crate::policy::networks::Networks;
    use crate::runtime::executor::block_on;
    use crate::runtime::progress::Progress;
    use crate::runtime::reactor::Reactor;
    use crate::runtime::remote_waker::RemoteWaker;
    use crate::runtime::socket::Socket;
    use crate::shard::{self, Rules};
    use std::cell::RefCell;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    /// The only core of a server that has one cow.
    fn core(reactor: &Rc<Reactor>) -> Rc<Core> {
        let limits = Limits {
            sendq_bytes_max: 1 << 16,
            sendq_stall: DRAIN_TIMEOUT,
            queues_bytes_total: 1 << 20,
            login_timeout: None,
            login_exempt: Networks::default(),
            idle_timeout: None,
            scarce_idle: None,
            cows_per_address: 1,
            flood: Rate::new(1, 1, DRAIN_TIMEOUT),
            message_rate: Rate::new(1, 1, DRAIN_TIMEOUT),
            flood_exempt: Networks::default(),
            connections_max: 1000,
            connections_per_address: 1,
            connect_rate: None,
            address_exempt: Networks::default(),
            user_timeout: None,
            drain_timeout: DRAIN_TIMEOUT,
        };
        let cow = Cow { name: "tux".to_owned(), colour: String::new(), plain: String::new() };
        let herd = Arc::new(Herd::new(vec![cow], 1, Bubble::default()).expect("a herd"));
        let (mesh, _inbox) = Mesh::build(1, 1).expect("a descriptor").remove(0);
        let context = CoreContext {
            shards: shard::ShardContext::new(herd, 1, Rules::default()).expect("memory"),
            metrics: Metrics::new(1),
            log: LogWriter::start(Level::Error).expect("a thread").log(),
            began: Instant::now(),
            addresses: Addresses::new(1, Networks::default(), None),
            budget: Budget::new(limits.queues_bytes_total, 1),
            limits: Arc::new(limits),
            motd: None,
        };
        Core::new(ShardId::new(0), context, mesh, Rc::clone(reactor))
    }

    #[test]
    fn last_lines_are_told_some_at_a_time_and_to_every_connection_while_others_close() {
        const COUNT: usize = LOOKED_AFTER_AT_ONCE + 50;
        let remote_waker = Arc::new(RemoteWaker::new().expect("a descriptor"));
        let main = async |reactor: Rc<Reactor>| {
            let core = core(&reactor);
            for _ in 0..COUNT {
                let (ours, _) = UnixStream::pair().expect("descriptors");
                core.open(Socket::new(&reactor, ours.into()), None, Admitted::unknown());
            }
            let told = Rc::new(RefCell::new(vec![0]));
            let (telling, closing) = (Rc::clone(&told), Rc::clone(&core));
            reactor.spawn(async move {
                loop {
                    telling.borrow_mut().push(closing.metrics.all().ended(CloseReason::Shutdown) as usize);
                    let all: Vec<_> =
                        closing.connections().iter().map(|(_, connection)| Rc::clone(connection)).collect();
                    all.iter().filter(|one| one.closing().is_some()).for_each(|one| closing.forget(one));
                    closing.reactor.yield_now().await;
                }
            });
            tell_all(&core).await;
            reactor.yield_now().await;
            let told = told.borrow();
            assert!(told.windows(2).all(|two| two[1] - two[0] <= LOOKED_AFTER_AT_ONCE), "{told:?}");
            assert_eq!(told.last(), Some(&COUNT));
            assert_eq!(core.connection_count(), 0);
        };
        block_on(remote_waker, Progress::default(), main).expect("io_uring");
    }

    #[test]
    fn handshakes_take_a_small_part_of_a_short_drain_and_no_more_than_a_round_trip_of_a_long_one() {
        assert_eq!(grace(DRAIN_TIMEOUT), HANDSHAKE_GRACE);
        for millis in [1, 2, 49, 50, 51, 500, 1000] {
            let timeout = Duration::from_millis(millis);
            let before_the_last_lines = timeout - timeout / DRAIN_LAST_PART;
            assert!(grace(timeout) * 4 < before_the_last_lines, "of {timeout:?}");
        }
    }
}
