//! The shutdown: everything acknowledged is delivered, each peer gets a last line, and none sees a reset.
//!
//! 1. Ignore new handshakes, empty the accept queue, end the listener; without a free descriptor, as soon as there is one.
//! 2. Execute no more lines; lines that wait for a mailbox finish.
//! 3. Send every other core an end frame: nothing follows it.
//! 4. When all cores have: the last line to every connection, flushed, then FIN.
//! 5. Linger until each peer's end (`connection::close`), and close.
//!
//! `boot::running` ends the process at the deadline. The other cores wait for a stalled core until a part of the time is
//! left, so its peers alone lose their last line.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::accept::empty_and_end;
use super::delivery::{apply, flush};
use crate::close_reason::CloseReason;
use crate::limits::{DRAIN_GRACE_PART, DRAIN_LAST_PART, HANDSHAKE_GRACE};
use crate::net::core::Core;
use crate::runtime::listener::Listening;
use crate::shard::Frame;

/// How often a step checks whether it is done. A drain happens once, so simple beats quick.
const POLL: Duration = Duration::from_millis(1);

/// Drains one core of a server that drains since `began`; returns when its last connection is closed.
pub(crate) async fn run(core: &Rc<Core>, listener: &Listening, began: Instant) {
    core.draining.set(true);
    listener.ignore_new_handshakes();
    let timeout = core.limits().drain_timeout;
    core.reactor.sleep(grace(timeout)).await;
    let mut is_closed = empty_and_end(listener, core);
    let wait_max = (timeout - timeout / DRAIN_LAST_PART).saturating_sub(began.elapsed());
    nothing_more_comes(core).or(core.reactor.sleep(wait_max)).await;
    // No connection opens meanwhile: the listener is empty, or without a descriptor, and then refuses each that waits.
    core.visit_all(|connection| apply::tell_and_end(core, connection, CloseReason::Shutdown)).await;
    until(core, || {
        is_closed = is_closed || empty_and_end(listener, core);
        is_closed && core.connections().is_empty() && core.refusing.get() == 0
    })
    .await;
    // These still hold sockets of connections that are over.
    core.over_limit.take();
    flush::flush(core).await;
}

/// How long a drain with this timeout waits for handshakes under way.
fn grace(timeout: Duration) -> Duration {
    HANDSHAKE_GRACE.min(timeout / DRAIN_GRACE_PART)
}

/// Sends each other core the end frame, and waits for theirs.
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
        core.reactor.sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::{Cow, Herd};
    use crate::events::Level;
    use crate::ids::ShardId;
    use crate::limits::{DRAIN_TIMEOUT, VISITED_AT_ONCE};
    use crate::log::{Format, LogWriter};
    use crate::metrics::Metrics;
    use crate::net::core::CoreContext;
    use crate::net::delivery::mesh::Mesh;
    use crate::policy::addresses::Addresses;
    use crate::policy::admission::Admitted;
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
        let limits = Limits { sendq_bytes_max: 1 << 16, queues_bytes_total: 1 << 20, ..Limits::of_tests() };
        let cow = Cow { name: "tux".to_owned(), colour: String::new(), half: String::new(), plain: String::new() };
        let herd = Arc::new(Herd::new(vec![cow], 1, Bubble::default()).expect("a herd"));
        let (mesh, _inbox) = Mesh::build(1, 1).expect("a descriptor").remove(0);
        let context = CoreContext {
            shards: shard::ShardContext::new(herd, 1, Rules::default()).expect("memory"),
            metrics: Metrics::new(1),
            log: LogWriter::start(Level::Error, Format::Text).expect("a thread").log(),
            began: Instant::now(),
            addresses: Addresses::new(1, Networks::default(), None),
            budget: Budget::new(limits.queues_bytes_total, 1),
            limits: Arc::new(limits),
            motd: None,
        };
        Core::new(ShardId::new(0), context, mesh, Rc::clone(reactor))
    }

    #[test]
    fn last_lines_reach_all_connections_while_some_close() {
        const COUNT: usize = VISITED_AT_ONCE + 50;
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
            core.visit_all(|connection| apply::tell_and_end(&core, connection, CloseReason::Shutdown)).await;
            reactor.yield_now().await;
            let told = told.borrow();
            assert!(told.windows(2).all(|two| two[1] - two[0] <= VISITED_AT_ONCE), "{told:?}");
            assert_eq!(told.last(), Some(&COUNT));
            assert!(core.connections().is_empty());
        };
        block_on(remote_waker, Progress::default(), main).expect("io_uring");
    }

    #[test]
    fn handshakes_take_a_small_part_of_a_drain() {
        assert_eq!(grace(DRAIN_TIMEOUT), HANDSHAKE_GRACE);
        for millis in [1, 2, 49, 50, 51, 500, 1000] {
            let timeout = Duration::from_millis(millis);
            let before_the_last_lines = timeout - timeout / DRAIN_LAST_PART;
            assert!(grace(timeout) * 4 < before_the_last_lines, "of {timeout:?}");
        }
    }
}
