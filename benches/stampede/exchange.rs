//! Clients that talk: who says what to whom and when, and what came of it.
//!
//! `fanout`, `say`, `mix`, `slow` and `flood` are one thing with different numbers ([`Script`]). A message is
//! under way until everybody who is to have it has it; then its sender, or in a conversation its receiver, says
//! the next: the load is closed, so the server is never asked for more than it gives; unless the script has a
//! pace. Latency is from just before the write of a line, or from when it was due, to just after the read that
//! completes it, for each receiver.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::crowd::{After, Crowd};
use crate::ledger::{Faults, Ledger};
use crate::wire::{Gallery, Item, Token};

/// Nothing has come for so long: it will not come.
const STALL: Duration = Duration::from_secs(5);

/// Longest wait in epoll, so that clock and progress bar go on.
const TICK: Duration = Duration::from_millis(50);

/// What a crowd does.
#[derive(Debug, Clone)]
pub struct Script {
    /// All who are registered and read.
    pub clients: usize,
    /// The first so many of them speak.
    pub senders: usize,
    /// Messages that a sender has under way.
    pub window: usize,
    /// A sender's messages are so far apart instead, whoever has got the last ones.
    pub pace: Option<Duration>,
    /// Clients 2i and 2i+1 talk to each other; `answer`: in turns.
    pub paired: bool,
    /// See `paired`.
    pub answer: bool,
    /// Lines in a hundred that go to everybody.
    pub yields: u32,
    /// Registered clients beside these that may or may not be there at any moment.
    pub others: usize,
    /// Clients after these, by their names, that are not part of the crowd and may yield what they like.
    pub strangers: usize,
}

impl Script {
    /// Senders yield, one message each at a time, and nobody answers or just listens.
    pub fn to_all(senders: usize) -> Script {
        Script {
            clients: senders,
            senders,
            window: 1,
            pace: None,
            paired: false,
            answer: false,
            yields: 100,
            others: 0,
            strangers: 0,
        }
    }

    /// Each client has a partner, and they talk.
    pub fn pairs(clients: usize, yields: u32) -> Script {
        Script { senders: clients, clients, paired: true, yields, ..Script::to_all(clients) }
    }

    fn lanes(&self) -> usize {
        let to_all = if self.yields > 0 { self.clients * self.senders } else { 0 };
        self.clients + to_all
    }

    /// Deliveries of one yield.
    fn audience(&self) -> usize {
        self.clients - 1
    }
}

struct Flight {
    sent_at: Instant,
    /// Who has not got it.
    left: usize,
}

/// What one sender said.
#[derive(Default)]
struct Said {
    number: u32,
    yielded: u32,
    /// Under way, by number; the first of them is `landed + 1`.
    flights: VecDeque<Flight>,
    landed: u32,
}

/// What was counted since the last [`Exchange::reset`].
pub struct Tally {
    /// Messages received.
    pub deliveries: u64,
    /// Of each delivery, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Received from strangers, in bytes.
    pub strange_bytes: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally { deliveries: 0, latency: histogram(), strange_bytes: 0 }
    }
}

/// A crowd and its conversation.
pub struct Exchange<'a> {
    crowd: Crowd,
    gallery: &'a Gallery,
    script: &'a Script,
    ledger: Ledger,
    said: Vec<Said>,
    under_way: usize,
    replies_due: usize,
    ends_due: usize,
    tally: Tally,
    broken: u64,
    /// What went wrong first, in words.
    pub complaint: Option<String>,
    /// Receivers of the last yield, as the server counted them.
    pub heard: usize,
    random: fastrand::Rng,
    last_news: Instant,
    /// How long a silence may be.
    pub patience: Duration,
    items: Vec<Item>,
    line: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// For a crowd whose client `i` is logged in under name `i` of the gallery.
    pub fn new(crowd: Crowd, gallery: &'a Gallery, script: &'a Script) -> Exchange<'a> {
        Exchange {
            crowd,
            gallery,
            script,
            ledger: Ledger::new(script.lanes()),
            said: (0..script.senders).map(|_| Said::default()).collect(),
            under_way: 0,
            replies_due: 0,
            ends_due: 0,
            tally: Tally::new(),
            broken: 0,
            complaint: None,
            heard: 0,
            random: fastrand::Rng::with_seed(1),
            last_news: Instant::now(),
            patience: STALL,
            items: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Begins what has not begun, keeps it up until `until`, and calls `tick` now and then.
    pub fn drive(&mut self, until: Instant, tick: &mut dyn FnMut()) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.under_way == 0 && self.script.pace.is_none() {
            let step = if self.script.answer { 2 } else { 1 };
            for sender in (0..self.script.senders).step_by(step) {
                (0..self.script.window).try_for_each(|_| self.speak(sender, now))?;
            }
        }
        self.last_news = now;
        let (mut due, mut turns) = (now, (0..self.script.senders).cycle());
        while Instant::now() < until && !self.is_silent() {
            let mut wait_until = until;
            if let Some(pace) = self.script.pace {
                // Evenly apart: all at once they would wait for each other.
                while due <= Instant::now() {
                    turns.next().map_or(Ok(()), |sender| self.speak(sender, due))?;
                    due += pace / u32::try_from(self.script.senders.max(1))?;
                }
                wait_until = due.min(until);
            }
            self.turn(true, wait_until.saturating_duration_since(Instant::now()), tick)?;
        }
        Ok(())
    }

    /// Says nothing more and waits for what is under way.
    pub fn land(&mut self, tick: &mut dyn FnMut()) -> anyhow::Result<()> {
        while (self.under_way > 0 || self.replies_due > 0) && !self.is_silent() {
            self.turn(false, TICK, tick)?;
        }
        Ok(())
    }

    /// Counts from here on. What was wrong before stays wrong.
    pub fn reset(&mut self) {
        self.tally = Tally::new();
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Everybody quits and reads to the end, where a repeated delivery would show, too.
    pub fn finish(mut self) -> anyhow::Result<(Faults, Option<String>)> {
        for client in 0..self.script.clients {
            if let Err(error) = self.crowd.send(client, b"quit\n") {
                self.fault(&format!("client {client} cannot quit: {error}"));
            }
        }
        self.replies_due += self.script.clients;
        self.ends_due = self.script.clients;
        self.last_news = Instant::now();
        while self.ends_due > 0 && !self.is_silent() {
            self.turn(false, TICK, &mut || {})?;
        }
        if self.replies_due > 0 {
            self.fault(&format!("{} lines were not answered", self.replies_due));
        }
        let Script { clients, senders, paired, .. } = *self.script;
        let sent = |lane: usize| match lane.checked_sub(clients) {
            None if paired => self.said[lane ^ 1].number,
            None => 0,
            Some(lane) => {
                let (receiver, sender) = (lane / senders, lane % senders);
                let is_apart = receiver != sender && !(paired && receiver == sender ^ 1);
                if is_apart { self.said[sender].yielded } else { 0 }
            }
        };
        let faults = self.ledger.settle(sent);
        Ok((faults.plus(Faults { broken: self.broken, ..Faults::default() }), self.complaint))
    }

    fn is_silent(&self) -> bool {
        self.last_news.elapsed() > self.patience
    }

    fn turn(&mut self, goes_on: bool, wait: Duration, tick: &mut dyn FnMut()) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        self.crowd.wait(wait.min(TICK), &mut ready)?;
        for (client, _) in ready {
            self.read(client, goes_on)?;
        }
        tick();
        Ok(())
    }

    fn read(&mut self, client: usize, goes_on: bool) -> anyhow::Result<()> {
        let mut items = std::mem::take(&mut self.items);
        let after = self.crowd.read(client, self.gallery, &mut items);
        let now = Instant::now();
        // What strangers yield is no sign that what is missing will come.
        let is_strange = |item: &Item| matches!(item, Item::Delivery(token) if self.is_strange(*token));
        if items.is_empty() || after != After::Open || !items.iter().all(is_strange) {
            self.last_news = now;
        }
        for item in items.drain(..) {
            match item {
                Item::Delivery(token) if self.is_strange(token) => {
                    self.tally.strange_bytes += self.gallery.block_bytes(token) as u64;
                }
                Item::Delivery(token) => self.receive(client, token, now, goes_on)?,
                Item::Heard(count) => {
                    self.replies_due = self.replies_due.saturating_sub(1);
                    self.heard = count as usize;
                    let least = self.script.audience();
                    if !(least..=least + self.script.others).contains(&self.heard) {
                        self.fault(&format!("sent to {count} cows instead of {least}"));
                    }
                }
                Item::Reply => self.replies_due = self.replies_due.saturating_sub(1),
                Item::Refused => {
                    self.replies_due = self.replies_due.saturating_sub(1);
                    let refusal = self.crowd.refusal.clone().unwrap_or_default();
                    self.fault(&format!("client {client} was told {refusal:?}"));
                }
            }
        }
        self.items = items;
        match after {
            After::Open => return Ok(()),
            After::Ended if self.ends_due > 0 => {}
            After::Ended => self.fault(&format!("the server closed the connection of client {client}")),
            After::Broken(why) => self.fault(&format!("client {client}: {why}")),
        }
        self.ends_due = self.ends_due.saturating_sub(1);
        self.crowd.forget(client);
        Ok(())
    }

    /// Whether it is of a stranger: compared byte for byte as all messages, and not counted.
    fn is_strange(&self, token: Token) -> bool {
        let Script { clients, strangers, .. } = *self.script;
        (clients..clients + strangers).contains(&token.sender)
    }

    fn receive(&mut self, client: usize, token: Token, now: Instant, goes_on: bool) -> anyhow::Result<()> {
        let Script { clients, senders, paired, answer, yields, .. } = *self.script;
        let (lane, number) = if paired && token.sender == client ^ 1 {
            (client, token.number)
        } else {
            (clients + client * senders + token.sender, token.yielded)
        };
        let flight = self.said.get_mut(token.sender).and_then(|said| {
            let at = token.number.checked_sub(said.landed + 1);
            at.and_then(|at| said.flights.get_mut(at as usize))
        });
        if token.sender >= senders || (lane >= clients && (yields == 0 || number == 0)) {
            self.fault(&format!("client {client} got what is not for it: {token:?}"));
            return Ok(());
        }
        if !self.ledger.note(lane, number) {
            self.complain(&format!("client {client} got a second time: {token:?}"));
            return Ok(());
        }
        let Some(flight) = flight else {
            self.fault(&format!("client {client} got what nobody said: {token:?}"));
            return Ok(());
        };
        self.tally.deliveries += 1;
        let latency = now.saturating_duration_since(flight.sent_at).as_nanos();
        self.tally.latency.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
        flight.left = flight.left.saturating_sub(1);
        if flight.left == 0 {
            self.under_way -= 1;
            let said = &mut self.said[token.sender];
            while said.flights.front().is_some_and(|first| first.left == 0) {
                said.flights.pop_front();
                said.landed += 1;
            }
            if goes_on && self.script.pace.is_none() {
                self.speak(if answer { client } else { token.sender }, Instant::now())?;
            }
        }
        Ok(())
    }

    /// `sender` says the next thing, which was due `at` some moment.
    fn speak(&mut self, sender: usize, at: Instant) -> anyhow::Result<()> {
        let to_all = self.script.yields > 0 && self.random.u32(0..100) < self.script.yields;
        let said = &mut self.said[sender];
        said.number += 1;
        said.yielded += u32::from(to_all);
        let token = Token { sender, number: said.number, yielded: if to_all { said.yielded } else { 0 } };
        self.line.clear();
        if to_all {
            self.line.extend_from_slice(b"yield ");
        } else {
            self.line.extend_from_slice(b"say ");
            self.line.extend_from_slice(self.gallery.names()[sender ^ 1].as_bytes());
            self.line.push(b' ');
        }
        self.line.extend_from_slice(&token.bytes());
        self.line.extend_from_slice(self.gallery.rest(token));
        self.line.push(b'\n');
        let left = if to_all { self.script.audience() } else { 1 };
        said.flights.push_back(Flight { sent_at: at, left });
        self.under_way += 1;
        self.replies_due += 1;
        if let Err(error) = self.crowd.send(sender, &self.line) {
            self.fault(&format!("client {sender} can not send: {error}"));
        }
        Ok(())
    }

    fn fault(&mut self, what: &str) {
        self.broken += 1;
        self.complain(what);
    }

    fn complain(&mut self, what: &str) {
        self.complaint.get_or_insert_with(|| what.to_owned());
    }
}

/// Nanoseconds up to a minute, to 3 digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in order, 3 digits")
}
