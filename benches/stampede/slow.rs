//! Clients that never read, beside others that do: the others must get everything, at the same speed.
//!
//! A stalled client has a small receive buffer, logs in and reads nothing more. When the server cuts it, what
//! did arrive is read: it has to be a prefix of what was sent, whole messages without a gap and at most a piece
//! of the next. Then another takes its place, so that all through the run there is somebody who stalls.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::crowd::{PATIENCE, Poll, read_line};
use crate::exchange::{Exchange, Script};
use crate::report::{Figures, Report, median};
use crate::talk::{Field, Stopwatch, gather, seconds, undisturbed_and_disturbed};
use crate::target::Target;
use crate::wire::{Gallery, Item};

/// How often the run looks whether somebody was cut: times until a cut are as exact as this.
const SLICE: Duration = Duration::from_millis(2);

/// A receive buffer that a message fills.
const RECEIVE_BUFFER_BYTES: usize = 4096;

struct Stalled {
    stream: TcpStream,
    since: Instant,
}

/// Those who do not read.
struct Stalls<'a> {
    target: &'a Target,
    gallery: &'a Gallery,
    names: &'a [String],
    poll: Poll,
    present: Vec<Option<Stalled>>,
    cut_after_ms: Vec<f64>,
    received_bytes: Vec<f64>,
    broken: u64,
    complaint: Option<String>,
}

/// Alternates runs without and with `stalled` clients; medians as a table.
///
/// # Errors
/// When the server can not be measured.
pub fn run(
    report: &mut Report,
    common: &Common,
    script: &Script,
    field: &Field,
    parameters: &Value,
) -> anyhow::Result<()> {
    let Script { clients, others, .. } = *script;
    let runs = undisturbed_and_disturbed(report, common, parameters, |_, stalled| {
        once(common, script, field, if stalled { others } else { 0 })
    })?;
    let title = format!("slow: {} receivers, and {others} that never read", clients - 1);
    report.table(&title, "delivery", &runs);
    let of_all = |key: &str| {
        let values = runs.iter().flatten().filter_map(|figures| figures.more[key].as_f64());
        median(values.filter(|value| *value > 0.0).collect())
    };
    report.say(&format!(
        "cut after {:.0} ms and {:.0} bytes in its hands; p99 of the others {:.2} times that without",
        of_all("cut_after_ms"),
        of_all("received_bytes"),
        median(runs.iter().map(|both| both[0].latency_us()[1] / both[1].latency_us()[1]).collect())
    ));
    Ok(())
}

fn once(common: &Common, script: &Script, field: &Field, stalled: usize) -> anyhow::Result<Figures> {
    let target = &field.targets[0];
    let mut exchange = Exchange::new(gather(target, field, script.clients)?, &field.gallery, script);
    let mut stalls = Stalls {
        target,
        gallery: &field.gallery,
        names: &field.gallery.names()[script.clients..][..stalled],
        poll: Poll::new(64)?,
        present: (0..stalled).map(|_| None).collect(),
        cut_after_ms: Vec::new(),
        received_bytes: Vec::new(),
        broken: 0,
        complaint: None,
    };
    let stopwatch = Stopwatch::start(target)?;
    let until = Instant::now() + seconds(common.seconds);
    while Instant::now() < until {
        stalls.replace()?;
        exchange.drive(until.min(Instant::now() + SLICE), &mut || {})?;
        stalls.look()?;
    }
    exchange.land(&mut || {})?;
    let figures = stopwatch.stop(target)?;
    let (events, latency) = (exchange.tally().deliveries, exchange.tally().latency.clone());
    let (mut faults, complaint) = exchange.finish()?;
    if stalled > 0 && stalls.cut_after_ms.is_empty() {
        stalls.blame("nobody was cut: run it for longer, or with a larger window".to_owned());
    }
    faults.broken += stalls.broken;
    let more = json!({
        "cuts": stalls.cut_after_ms.len(),
        "cut_after_ms": median(stalls.cut_after_ms),
        "received_bytes": median(stalls.received_bytes),
    });
    let label = if stalled == 0 { "all read" } else { "some never read" };
    let complaint = complaint.or(stalls.complaint);
    Ok(Figures { target: label, events, latency, faults, complaint, more, ..figures })
}

impl Stalls<'_> {
    /// Lets somebody take each empty place. A name may be taken for a moment after a cut.
    fn replace(&mut self) -> anyhow::Result<()> {
        for place in 0..self.present.len() {
            if self.present[place].is_some() {
                continue;
            }
            let domain = socket2::Domain::for_address(self.target.address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            socket.connect(&self.target.address.into())?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(format!("login {}\n", self.names[place]).as_bytes())?;
            if !read_line(&mut stream)?.starts_with("Logged in as ") {
                continue;
            }
            stream.set_nonblocking(true)?;
            // A reset is always reported.
            self.poll.add(&stream, place, EventFlags::RDHUP)?;
            self.present[place] = Some(Stalled { stream, since: Instant::now() });
        }
        Ok(())
    }

    /// Sees who was cut, and what had arrived there.
    fn look(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        self.poll.wait(Some(Duration::ZERO), &mut ready)?;
        for (place, _) in ready {
            let Some(Stalled { mut stream, since }) = self.present[place].take() else { continue };
            self.cut_after_ms.push(since.elapsed().as_secs_f64() * 1000.0);
            let mut got = Vec::new();
            // It ends by a reset, after what had arrived.
            let _ = stream.read_to_end(&mut got);
            self.received_bytes.push(got.len() as f64);
            self.check_prefix(&got);
        }
        Ok(())
    }

    /// Whole messages, each sender's without a gap, then nothing or a piece of one.
    fn check_prefix(&mut self, mut got: &[u8]) {
        let mut last = vec![None; self.gallery.names().len()];
        loop {
            match self.gallery.next(got) {
                Ok(Some((Item::Delivery(token), length))) => {
                    if last[token.sender].is_some_and(|last| token.yielded != last + 1) {
                        self.blame(format!("one who does not read got {token:?} after {:?}", last[token.sender]));
                    }
                    last[token.sender] = Some(token.yielded);
                    got = &got[length..];
                }
                Ok(Some((item, _))) => return self.blame(format!("one who does not read got {item:?}")),
                Ok(None) => return,
                Err(_) => return self.blame("what one who does not read got is not a prefix".to_owned()),
            }
        }
    }

    fn blame(&mut self, what: String) {
        self.broken += 1;
        self.complaint.get_or_insert(what);
    }
}
