//! Connect, log in, quit, see the end, and again: what a new connection costs.
//!
//! Each slot is one client at a time, under a name of its own, which must be free again when the server says goodbye.
//! Connecting blocks (on loopback it does not wait, unless the server's accept queue is full), everything after it goes by
//! epoll. Latency is from before `connect` to the reply to the login.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;
use serde_json::json;

use super::cli::Common;
use super::comparison::Comparison;
use super::crowd::connect;
use super::figures::{Figures, histogram};
use super::ledger::Faults;
use super::poll::Poll;
use super::report::Report;
use super::stopwatch::Stopwatch;
use super::target::Target;

/// After this long without news, what is missing will not come.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Measures `clients` at a time on all targets, and prints a table.
pub fn run(report: &mut Report, common: &Common, clients: usize) -> anyhow::Result<()> {
    let comparison = Comparison::prepare(common, clients)?;
    let parameters = json!({
        "workload": "storm",
        "clients": clients,
        "cores": common.cores,
        "server_args": common.server_args,
    });
    let runs = comparison.in_pairs(report, &parameters, |target| {
        let mut storm = Storm::new(target, comparison.gallery.names())?;
        storm.rage(Instant::now() + comparison.warm_up_time())?;
        let stopwatch = Stopwatch::start(target)?;
        storm.rage(Instant::now() + comparison.run_time())?;
        let measured = stopwatch.stop(target)?;
        let Storm { rounds, latency, faults, complaint, .. } = storm;
        Ok(Figures { events: rounds, latency, faults, complaint, ..measured })
    })?;
    report.table(&format!("storm: {clients} at a time connect, log in, quit"), "login", &runs);
    comparison.explain_faults(report);
    Ok(())
}

struct Client {
    stream: TcpStream,
    began: Instant,
    input: Vec<u8>,
    is_logged_in: bool,
}

struct Storm<'a> {
    /// Where clients connect, in turn.
    addresses: Vec<SocketAddr>,
    names: &'a [String],
    poll: Poll,
    slots: Vec<Option<Client>>,
    /// Clients that did all they should.
    rounds: u64,
    /// From connect to being logged in.
    latency: Histogram<u64>,
    faults: Faults,
    /// The first fault, in words.
    complaint: Option<String>,
}

impl<'a> Storm<'a> {
    fn new(target: &Target, names: &'a [String]) -> io::Result<Storm<'a>> {
        let slots = names.iter().map(|_| None).collect();
        let (latency, faults) = (histogram(), Faults::default());
        let addresses = target.addresses();
        Ok(Storm { addresses, names, poll: Poll::new(1024)?, slots, rounds: 0, latency, faults, complaint: None })
    }

    /// Fills each slot again and again until `until`, and waits for the last clients to end.
    fn rage(&mut self, until: Instant) -> anyhow::Result<()> {
        self.rounds = 0;
        self.latency.reset();
        for slot in 0..self.names.len() {
            self.enter(slot)?;
        }
        let (mut ready, mut last_news) = (Vec::new(), Instant::now());
        while self.slots.iter().any(Option::is_some) {
            self.poll.wait(Some(Duration::from_millis(50)), &mut ready)?;
            if !ready.is_empty() {
                last_news = Instant::now();
            } else if last_news.elapsed() > SILENCE_MAX {
                self.faults.lost += self.slots.iter().flatten().count() as u64;
                self.complaint.get_or_insert_with(|| "a client waits in vain".to_owned());
                break;
            }
            for &(slot, _) in &ready {
                self.read(slot, last_news < until)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, slot: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut stream = connect(self.addresses[slot % self.addresses.len()])?;
        stream.set_nonblocking(true)?;
        self.poll.add(&stream, slot, EventFlags::IN)?;
        stream.write_all(format!("login {}\n", self.names[slot]).as_bytes())?;
        self.slots[slot] = Some(Client { stream, began, input: Vec::new(), is_logged_in: false });
        Ok(())
    }

    fn read(&mut self, slot: usize, is_refilled: bool) -> anyhow::Result<()> {
        let Some(client) = &mut self.slots[slot] else { return Ok(()) };
        let mut buffer = [0; 1024];
        let ended = match client.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                client.input.extend_from_slice(&buffer[..count]);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => true,
        };
        if !client.is_logged_in && client.input.ends_with(b"\n") {
            client.is_logged_in = true;
            let nanos = client.began.elapsed().as_nanos();
            self.latency.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
            client.stream.write_all(b"quit\n")?;
        }
        if !ended {
            return Ok(());
        }
        let input = String::from_utf8_lossy(&client.input);
        if input == format!("Logged in as {}\nGoodbye.\n", self.names[slot]) {
            self.rounds += 1;
        } else {
            self.faults.broken += 1;
            self.complaint.get_or_insert_with(|| format!("{} got {input:?}", self.names[slot]));
        }
        self.slots[slot] = None;
        if is_refilled { self.enter(slot) } else { Ok(()) }
    }
}
