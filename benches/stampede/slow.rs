//! Clients that never read, beside others that do: the others get everything, at the same speed.
//!
//! A stalled client has a small receive buffer, logs in and reads no more. When the server cuts it, what did arrive is
//! read: it must be a prefix of what was sent, whole messages without a gap and at most a piece of the next. Then another
//! takes its slot, so a client is stalled throughout the run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use serde_json::json;

use super::cli::Common;
use super::comparison::Comparison;
use super::crowd::{SET_UP_MAX, read_line};
use super::figures::{Figures, latency_ratio, median};
use super::poll::Poll;
use super::report::Report;
use super::script::Script;
use super::stopwatch::Stopwatch;
use super::target::Target;
use super::wire::{Gallery, Item};

/// How often the run looks for cuts: the time until a cut is as exact as this.
const SLICE: Duration = Duration::from_millis(2);

/// A receive buffer that one message fills.
const RECEIVE_BUFFER_BYTES: usize = 4096;

/// Runs `script` with and without its `others`, which never read, and prints a table.
pub fn run(report: &mut Report, common: &Common, script: &Script) -> anyhow::Result<()> {
    let comparison = Comparison::prepare(common, script.clients + script.others)?;
    let parameters = comparison.parameters("slow", script);
    let runs = comparison.with_and_without(report, &parameters, |is_stalled| {
        once(&comparison, script, if is_stalled { script.others } else { 0 })
    })?;
    let title = format!("slow: {} receivers, and {} that never read", script.audience(), script.others);
    report.table(&title, "delivery", &runs);
    let of_all = |key: &str| {
        let values = runs.iter().flatten().filter_map(|figures| figures.more[key].as_f64());
        median(values.filter(|value| *value > 0.0).collect())
    };
    report.say(&format!(
        "cut after {:.0} ms with {:.0} bytes received; p99 of the others {:.2} times that without",
        of_all("cut_after_ms"),
        of_all("received_bytes"),
        latency_ratio(&runs, 1),
    ));
    comparison.explain_faults(report);
    Ok(())
}

fn once(comparison: &Comparison, script: &Script, stalled: usize) -> anyhow::Result<Figures> {
    let server = comparison.server();
    let mut exchange = comparison.exchange(server, script)?;
    let mut stalls = Stalls {
        server,
        gallery: &comparison.gallery,
        names: &comparison.gallery.names()[script.clients..][..stalled],
        poll: Poll::new(64)?,
        slots: (0..stalled).map(|_| None).collect(),
        cut_after_ms: Vec::new(),
        received_bytes: Vec::new(),
        broken: 0,
        complaint: None,
    };
    let stopwatch = Stopwatch::start(server)?;
    let until = Instant::now() + comparison.run_time();
    while Instant::now() < until {
        stalls.fill_slots()?;
        exchange.drive(until.min(Instant::now() + SLICE))?;
        stalls.take_cut()?;
    }
    exchange.drain()?;
    let measured = stopwatch.stop(server)?;
    let mut figures = exchange.figures(measured)?;
    if stalled > 0 && stalls.cut_after_ms.is_empty() {
        stalls.fault("no client was cut: run it for longer, or with a larger window".to_owned());
    }
    figures.target = if stalled == 0 { "all read" } else { "some never read" };
    figures.faults.broken += stalls.broken;
    figures.complaint = figures.complaint.or(stalls.complaint);
    figures.more = json!({
        "cuts": stalls.cut_after_ms.len(),
        "cut_after_ms": median(stalls.cut_after_ms),
        "received_bytes": median(stalls.received_bytes),
    });
    Ok(figures)
}

struct Stalled {
    stream: TcpStream,
    since: Instant,
}

/// The clients that never read.
struct Stalls<'a> {
    server: &'a Target,
    gallery: &'a Gallery,
    names: &'a [String],
    poll: Poll,
    slots: Vec<Option<Stalled>>,
    cut_after_ms: Vec<f64>,
    received_bytes: Vec<f64>,
    broken: u64,
    complaint: Option<String>,
}

impl Stalls<'_> {
    /// Puts a client into each empty slot. A name may stay taken for a moment after a cut.
    fn fill_slots(&mut self) -> anyhow::Result<()> {
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_some() {
                continue;
            }
            let domain = socket2::Domain::for_address(self.server.address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            socket.connect(&self.server.address.into())?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(SET_UP_MAX))?;
            stream.write_all(format!("login {}\n", self.names[slot]).as_bytes())?;
            if !read_line(&mut stream)?.starts_with("Logged in as ") {
                continue;
            }
            stream.set_nonblocking(true)?;
            // A reset is reported whatever is asked for.
            self.poll.add(&stream, slot, EventFlags::RDHUP)?;
            self.slots[slot] = Some(Stalled { stream, since: Instant::now() });
        }
        Ok(())
    }

    /// Takes the clients that were cut, and checks what they had received.
    fn take_cut(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        self.poll.wait(Some(Duration::ZERO), &mut ready)?;
        for (slot, _) in ready {
            let Some(Stalled { mut stream, since }) = self.slots[slot].take() else { continue };
            self.cut_after_ms.push(since.elapsed().as_secs_f64() * 1000.0);
            let mut received = Vec::new();
            // The reset comes after what had arrived.
            let _ = stream.read_to_end(&mut received);
            self.received_bytes.push(received.len() as f64);
            self.check_prefix(&received);
        }
        Ok(())
    }

    /// Whether `received` is whole messages, each sender's without a gap, and at most a piece of one.
    fn check_prefix(&mut self, mut received: &[u8]) {
        let mut last = vec![None; self.gallery.names().len()];
        loop {
            match self.gallery.next(received) {
                Ok(Some((Item::Delivery(token), length))) => {
                    if last[token.sender].is_some_and(|last| token.yielded != last + 1) {
                        self.fault(format!("a stalled client got {token:?} after {:?}", last[token.sender]));
                    }
                    last[token.sender] = Some(token.yielded);
                    received = &received[length..];
                }
                Ok(Some((item, _))) => return self.fault(format!("a stalled client got {item:?}")),
                Ok(None) => return,
                Err(_) => return self.fault("what a stalled client got is not a prefix".to_owned()),
            }
        }
    }

    fn fault(&mut self, what: String) {
        self.broken += 1;
        self.complaint.get_or_insert(what);
    }
}
