//! One write to each of many connections, by one system call where that is possible.
//!
//! What goes wrong with a connection is returned, not acted on.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use crate::limits::RUNS_MAX;
use crate::net::connection::Connection;
use crate::net::connection::send_queue::SendQueue;
use crate::runtime::send_batch::{SendBatch, SendOp};
use crate::shard::Payload;

/// Why a connection could not be written to.
pub(crate) enum Failure {
    Error(io::Error),
    /// A panic, which concerns this connection only.
    Fault(Box<dyn Any + Send>),
}

/// Writes to one connection, and catches a panic.
pub(crate) fn guarded(write: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(write)).map_err(Failure::Fault)?.map_err(Failure::Error)
}

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Sent {
    /// Connections that were sent the bytes of a shared run.
    pub(crate) shared: usize,
    pub(crate) failed: Vec<(Rc<Connection>, Failure)>,
    /// The ring has failed; another one is set up later.
    pub(crate) has_lost_ring: bool,
}

impl Sent {
    pub(crate) fn record(&mut self, connection: &Rc<Connection>, write: impl FnOnce() -> io::Result<()>) {
        if let Err(failure) = guarded(write) {
            self.failed.push((Rc::clone(connection), failure));
        }
    }
}

/// Writes to many connections by one system call.
#[derive(Default)]
pub(crate) struct Batch {
    ring: SendBatch,
    runs: Vec<Run>,
}

/// Messages that wait for several connections, in this order and nothing between them: copied together once.
struct Run {
    messages: Vec<Payload>,
    /// All of them, one after the other; empty until a second connection has the same run.
    shared_bytes: Vec<u8>,
}

/// How a connection of a batch is written to.
enum WritePlan {
    /// All its pieces in one vectored write: no other connection waits for the same.
    Vectored,
    /// Its one piece.
    Single,
    /// The bytes of this run, which it shares.
    Shared(usize),
}

/// What was offered to a connection's socket, and what became of that.
struct Offered<'c> {
    connection: &'c Rc<Connection>,
    bytes: usize,
    sent: Option<io::Result<usize>>,
}

impl Batch {
    /// Whether there is a ring for sends. Tries to build one, but not at once after one was lost.
    pub(crate) fn has_ring(&mut self) -> bool {
        self.ring.is_ready(Instant::now())
    }

    /// Writes to all of `connections`, each by one write.
    pub(crate) fn send(&mut self, connections: &[Rc<Connection>]) -> Sent {
        let (now, mut outcome) = (Instant::now(), Sent::default());
        if !self.ring.is_ready(now) {
            connections.iter().for_each(|connection| outcome.record(connection, || connection.write_now()));
            return outcome;
        }
        let offers: Vec<_> = connections.iter().map(|connection| connection.offer()).collect();
        let plans: Vec<WritePlan> =
            offers.iter().map(|offer| self.plan(offer.as_ref().map(|(queue, _)| &**queue))).collect();
        let mut sends: Vec<SendOp<'_>> = Vec::with_capacity(offers.len());
        let mut offered = Vec::with_capacity(offers.len());
        let mut vectored = Vec::new();
        for ((connection, offer), plan) in connections.iter().zip(&offers).zip(plans) {
            let Some((queue, socket)) = offer else { continue };
            let bytes = match plan {
                WritePlan::Vectored => {
                    vectored.push(connection);
                    continue;
                }
                WritePlan::Single => queue.head(),
                WritePlan::Shared(run) => {
                    outcome.shared += 1;
                    &self.runs[run].shared_bytes
                }
            };
            sends.push((socket.descriptor(), bytes));
            offered.push(Offered { connection, bytes: bytes.len(), sent: None });
        }
        outcome.has_lost_ring =
            self.ring.send_all(&sends, now, |place, sent| offered[place].sent = Some(sent)).is_err();
        drop(sends);
        drop(offers);
        for Offered { connection, bytes, sent } in offered {
            // What a failed ring has not done is done without it.
            outcome.record(connection, || {
                sent.map_or_else(|| connection.write_now(), |sent| connection.record_sent(bytes, sent))
            });
        }
        vectored.into_iter().for_each(|connection| outcome.record(connection, || connection.write_now()));
        outcome
    }

    /// Forgets the runs: a flush is over.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    fn plan(&mut self, queue: Option<&SendQueue>) -> WritePlan {
        let Some(queue) = queue.filter(|queue| queue.pieces() > 0) else { return WritePlan::Vectored };
        if queue.pieces() == 1 {
            return WritePlan::Single;
        }
        let Some(messages) = queue.messages() else { return WritePlan::Vectored };
        let pieces = queue.pieces();
        let same = |run: &Run| {
            let pairs = || run.messages.iter().zip(queue.messages().into_iter().flatten());
            run.messages.len() == pieces && pairs().all(|(ours, theirs)| ours.is(theirs))
        };
        let Some(at) = self.runs.iter().position(same) else {
            // An unshared run makes room: messages of a pair must not keep out what all share. Shared runs stay in their
            // places, since sends of this batch name them by these.
            let run = Run { messages: messages.cloned().collect(), shared_bytes: Vec::new() };
            if self.runs.len() < RUNS_MAX {
                self.runs.push(run);
            } else if let Some(single) = self.runs.iter_mut().find(|run| run.shared_bytes.is_empty()) {
                *single = run;
            }
            return WritePlan::Vectored;
        };
        let run = &mut self.runs[at];
        if run.shared_bytes.is_empty() {
            let whole = run.messages.iter().map(|message| message.len()).sum();
            run.shared_bytes.reserve_exact(whole);
            run.messages.iter().for_each(|message| run.shared_bytes.extend_from_slice(message));
        }
        WritePlan::Shared(at)
    }
}
