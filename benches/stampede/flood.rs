//! One who sends as fast as his socket takes it, beside pairs that talk: he gets his rate, and they do not wait.
//!
//! He comes from another address than everybody else, so that the server counts his lines and not theirs. He
//! says something to himself, as dear as any other message, and reads all that comes, on a thread of its own
//! that sleeps while his socket takes no more. What the talkers say is due at fixed times, and that is when
//! latency begins: a server that keeps them waiting does not look quick.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::epoll::EventFlags;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::crowd::{PATIENCE, Poll, read_line};
use crate::exchange::{Exchange, Script};
use crate::report::{Figures, Report, median};
use crate::talk::{Field, Stopwatch, WARM_UP, gather, seconds, undisturbed_and_disturbed};

/// Where he comes from.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Has the server count his lines, and nobody else's.
const COUNT_HIM_ONLY: &str = "--flood-exempt 127.0.0.1/32";

/// Lines that he offers his socket at a time.
const LINES: usize = 1000;

/// Longest wait for his socket, so that he ends when he is to.
const TICK: Duration = Duration::from_millis(50);

/// One reading of his takes at most so many bytes.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The flags with the one that tells the server of him, unless it is told about floods already.
pub fn flags(common: &Common) -> Common {
    let mut common = common.clone();
    if !common.server_args.contains("--flood-exempt") {
        common.server_args = format!("{} {COUNT_HIM_ONLY}", common.server_args).trim().to_owned();
    }
    common
}

/// Alternates runs without and with him; medians as a table.
///
/// # Errors
/// When the server can not be measured, or ends the flooder.
pub fn run(
    report: &mut Report,
    common: &Common,
    script: &Script,
    field: &Field,
    parameters: &Value,
) -> anyhow::Result<()> {
    let runs = undisturbed_and_disturbed(report, common, parameters, |pair, flooded| {
        // A name of his own for each pair: the last one's may be taken for a moment after he went.
        let name = flooded.then(|| &*field.gallery.names()[script.clients + pair]);
        once(common, script, field, name)
    })?;
    report.table(&format!("flood: {} who talk, and one who floods", script.clients), "delivery", &runs);
    let ratio =
        |at: usize| median(runs.iter().map(|both| both[0].latency_us()[at] / both[1].latency_us()[at]).collect());
    let rate = |both: &Vec<Figures>| both[0].more["flooder_executed"].as_f64().map(|lines| lines / both[0].seconds);
    report.say(&format!(
        "p50 of the talkers {:.2} and p99 {:.2} times that without; {:.1} lines a second of the flooder executed",
        ratio(0),
        ratio(1),
        median(runs.iter().filter_map(rate).collect()),
    ));
    Ok(())
}

fn once(common: &Common, script: &Script, field: &Field, flooder: Option<&str>) -> anyhow::Result<Figures> {
    let target = &field.targets[0];
    let mut exchange = Exchange::new(gather(target, field, script.clients)?, &field.gallery, script);
    let flooder = flooder.map(|name| Flooder::start(target.address, name)).transpose()?;
    exchange.drive(Instant::now() + seconds(common.seconds * WARM_UP), &mut || {})?;
    exchange.land(&mut || {})?;
    exchange.reset();
    let executed = || flooder.as_ref().map_or(0, |flooder| flooder.executed.load(Ordering::Relaxed));
    let before = executed();
    let stopwatch = Stopwatch::start(target)?;
    exchange.drive(Instant::now() + seconds(common.seconds), &mut || {})?;
    exchange.land(&mut || {})?;
    let figures = stopwatch.stop(target)?;
    let more = json!({ "flooder_executed": executed() - before });
    let label = if flooder.is_some() { "one floods" } else { "nobody floods" };
    if let Some(flooder) = flooder {
        flooder.stop().context("the flooder")?;
    }
    let (events, latency) = (exchange.tally().deliveries, exchange.tally().latency.clone());
    let (faults, complaint) = exchange.finish()?;
    Ok(Figures { target: label, events, latency, faults, complaint, more, ..figures })
}

/// He who floods, until this is dropped.
struct Flooder {
    is_over: Arc<AtomicBool>,
    /// Lines of his that were executed so far.
    executed: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Flooder {
    /// Logs in and begins.
    ///
    /// # Errors
    /// When he is not let in.
    fn start(server: SocketAddr, name: &str) -> anyhow::Result<Flooder> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((FLOODER, 0)).into())?;
        socket.connect(&server.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("login {name}\n").as_bytes())?;
        let reply = read_line(&mut stream)?;
        if reply != format!("Logged in as {name}") {
            bail!("the flooder was told {reply:?}");
        }
        stream.set_nonblocking(true)?;
        // He goes by RST: at a FIN the server would execute what he has sent, at his rate, beside the next run.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let (is_over, executed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (name, is_over, executed) = (name.to_owned(), Arc::clone(&is_over), Arc::clone(&executed));
            move || flood(&stream, &name, &is_over, &executed)
        });
        Ok(Flooder { is_over, executed, thread: Some(thread) })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the server had ended it before.
    fn stop(mut self) -> anyhow::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| bail!("panicked")))
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn flood(mut stream: &TcpStream, name: &str, is_over: &AtomicBool, executed: &AtomicU64) -> anyhow::Result<()> {
    let lines = format!("say {name} moo\n").repeat(LINES).into_bytes();
    let reply = format!("Sent to {name}").into_bytes();
    let mut poll = Poll::new(1)?;
    poll.add(stream, 0, EventFlags::IN | EventFlags::OUT)?;
    let (mut ready, mut taken) = (Vec::new(), 0);
    // The beginning of a line whose end has not come.
    let (mut unread, mut scratch) = (Vec::new(), vec![0; SCRATCH_BYTES]);
    while !is_over.load(Ordering::Relaxed) {
        poll.wait(Some(TICK), &mut ready)?;
        let Some(&(_, flags)) = ready.first() else { continue };
        if flags.contains(EventFlags::OUT) {
            taken = (taken + now_or_zero(stream.write(&lines[taken..]))?) % lines.len();
        }
        if flags.contains(EventFlags::IN) {
            let count = stream.read(&mut scratch);
            if matches!(count, Ok(0)) {
                bail!("the server closed his connection");
            }
            unread.extend_from_slice(&scratch[..now_or_zero(count)?]);
            let whole = unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let replies = unread[..whole].split(|&byte| byte == b'\n').filter(|line| **line == reply).count();
            executed.fetch_add(replies as u64, Ordering::Relaxed);
            unread.drain(..whole);
        }
    }
    Ok(())
}

/// How much went at once; nothing is no error.
fn now_or_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}
