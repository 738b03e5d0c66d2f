//! Connect, login, quit, see the end, and again: what a newcomer costs.
//!
//! Each of some slots is one client at a time, under a name of its own, which has to be free again as soon as
//! the server says goodbye. Connecting blocks (on loopback it does not wait, unless the server's queue of
//! newcomers is full), everything after it goes by epoll. Latency is from before `connect` to the login's reply.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;

use crate::crowd::{Poll, connect};
use crate::exchange::histogram;
use crate::ledger::Faults;
use crate::target::Target;

/// Nothing has come for so long: it will not come.
const STALL: Duration = Duration::from_secs(5);

/// One client.
struct Guest {
    stream: TcpStream,
    began: Instant,
    input: Vec<u8>,
    welcomed: bool,
}

/// A storm under way.
pub struct Storm<'a> {
    target: &'a Target,
    names: &'a [String],
    poll: Poll,
    guests: Vec<Option<Guest>>,
    /// Rounds that went as they should.
    pub rounds: u64,
    /// From connect to being logged in.
    pub latency: Histogram<u64>,
    /// What did not.
    pub faults: Faults,
    /// What went wrong first.
    pub complaint: Option<String>,
}

impl<'a> Storm<'a> {
    /// One guest for each name.
    pub fn new(target: &'a Target, names: &'a [String]) -> io::Result<Storm<'a>> {
        let guests = names.iter().map(|_| None).collect();
        let (latency, faults) = (histogram(), Faults::default());
        Ok(Storm { target, names, poll: Poll::new(1024)?, guests, rounds: 0, latency, faults, complaint: None })
    }

    /// Sends guests until `until`, and waits for the last to leave.
    pub fn rage(&mut self, until: Instant, tick: &mut dyn FnMut()) -> anyhow::Result<()> {
        self.rounds = 0;
        self.latency.reset();
        for slot in 0..self.names.len() {
            self.enter(slot)?;
        }
        let (mut ready, mut last_news) = (Vec::new(), Instant::now());
        while self.guests.iter().any(Option::is_some) {
            self.poll.wait(Some(Duration::from_millis(50)), &mut ready)?;
            if !ready.is_empty() {
                last_news = Instant::now();
            } else if last_news.elapsed() > STALL {
                self.faults.lost += self.guests.iter().flatten().count() as u64;
                self.complaint.get_or_insert_with(|| "somebody waits for ever".to_owned());
                break;
            }
            for &(slot, _) in &ready {
                let goes_on = last_news < until;
                self.attend(slot, goes_on)?;
            }
            tick();
        }
        Ok(())
    }

    fn enter(&mut self, slot: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut stream = connect(self.target.address)?;
        stream.set_nonblocking(true)?;
        self.poll.add(&stream, slot, EventFlags::IN)?;
        stream.write_all(format!("login {}\n", self.names[slot]).as_bytes())?;
        self.guests[slot] = Some(Guest { stream, began, input: Vec::new(), welcomed: false });
        Ok(())
    }

    fn attend(&mut self, slot: usize, goes_on: bool) -> anyhow::Result<()> {
        let Some(guest) = &mut self.guests[slot] else { return Ok(()) };
        let mut buffer = [0; 1024];
        let ended = match guest.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                guest.input.extend_from_slice(&buffer[..count]);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => true,
        };
        if !guest.welcomed && guest.input.ends_with(b"\n") {
            guest.welcomed = true;
            let nanos = guest.began.elapsed().as_nanos();
            self.latency.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
            guest.stream.write_all(b"quit\n")?;
        }
        if !ended {
            return Ok(());
        }
        let heard = String::from_utf8_lossy(&guest.input);
        if heard == format!("Logged in as {}\nGoodbye.\n", self.names[slot]) {
            self.rounds += 1;
        } else {
            self.faults.broken += 1;
            self.complaint.get_or_insert_with(|| format!("{} heard {heard:?}", self.names[slot]));
        }
        self.guests[slot] = None;
        if goes_on { self.enter(slot) } else { Ok(()) }
    }
}
