//! A crowd that follows a script: sends, receives, and judges what comes.
//!
//! A message is in flight until all its receivers have it; then its sender, or where they answer its receiver, sends the
//! next one. So the load is closed: the server is never asked for more than it delivers, unless the script has a pace.
//! Latency is counted for each receiver from just before the write of a line, or from when it was due, to just after the
//! read that completes the message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::crowd::{After, Crowd};
use super::figures::{Figures, histogram};
use super::ledger::{Faults, Ledger};
use super::script::Script;
use super::token::Token;
use super::wire::{Gallery, Item};

/// After this long without news, what is missing will not come.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The longest wait in epoll, so that the clock is read now and then.
const TICK: Duration = Duration::from_millis(50);

struct InFlight {
    sent_at: Instant,
    /// Receivers that do not have it yet.
    missing: usize,
}

/// What one sender has said.
#[derive(Default)]
struct Said {
    number: u32,
    yielded: u32,
    /// By number; the first is `completed + 1`.
    in_flight: VecDeque<InFlight>,
    completed: u32,
}

/// What is counted since the last [`Exchange::reset`].
pub struct Tally {
    /// Messages received.
    pub deliveries: u64,
    /// Of each delivery, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Bytes received from strangers.
    pub stranger_bytes: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally { deliveries: 0, latency: histogram(), stranger_bytes: 0 }
    }
}

/// A crowd and its conversation.
pub struct Exchange<'a> {
    crowd: Crowd,
    gallery: &'a Gallery,
    script: &'a Script,
    ledger: Ledger,
    said: Vec<Said>,
    in_flight: usize,
    replies_due: usize,
    ends_due: usize,
    tally: Tally,
    broken: u64,
    /// The first fault, in words.
    pub complaint: Option<String>,
    random: fastrand::Rng,
    last_news: Instant,
    /// How long nothing may come while something is due.
    pub silence_max: Duration,
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
            in_flight: 0,
            replies_due: 0,
            ends_due: 0,
            tally: Tally::new(),
            broken: 0,
            complaint: None,
            random: fastrand::Rng::with_seed(1),
            last_news: Instant::now(),
            silence_max: SILENCE_MAX,
            items: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Talks until `until`, from the beginning or where it stopped.
    pub fn drive(&mut self, until: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.in_flight == 0 && self.script.pace.is_none() {
            let step = if self.script.answer { 2 } else { 1 };
            for sender in (0..self.script.senders).step_by(step) {
                (0..self.script.window).for_each(|_| self.send_next(sender, now));
            }
        }
        self.last_news = now;
        let (mut due, mut turns) = (now, (0..self.script.senders).cycle());
        while Instant::now() < until && !self.is_silent() {
            let mut wait_until = until;
            if let Some(pace) = self.script.pace {
                // Spread evenly: messages that are all due at once would wait for each other.
                while due <= Instant::now() {
                    turns.next().into_iter().for_each(|sender| self.send_next(sender, due));
                    due += pace / u32::try_from(self.script.senders.max(1))?;
                }
                wait_until = due.min(until);
            }
            self.turn(true, wait_until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Sends no more, and waits for what is in flight.
    pub fn drain(&mut self) -> anyhow::Result<()> {
        while (self.in_flight > 0 || self.replies_due > 0) && !self.is_silent() {
            self.turn(false, TICK)?;
        }
        Ok(())
    }

    /// Counts from here on. Faults stay.
    pub fn reset(&mut self) {
        self.tally = Tally::new();
    }

    /// What is counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends the conversation, and adds to what was measured what was counted.
    pub fn figures(self, measured: Figures) -> anyhow::Result<Figures> {
        let (events, latency) = (self.tally.deliveries, self.tally.latency.clone());
        let (faults, complaint) = self.finish()?;
        Ok(Figures { events, latency, faults, complaint, ..measured })
    }

    /// All clients quit and read to the end, where a repeated delivery would show. Returns the faults, and the first in words.
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
            self.turn(false, TICK)?;
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
        let faults = self.ledger.faults(sent);
        Ok((faults.plus(Faults { broken: self.broken, ..Faults::default() }), self.complaint))
    }

    fn is_silent(&self) -> bool {
        self.last_news.elapsed() > self.silence_max
    }

    fn turn(&mut self, sends: bool, wait: Duration) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        self.crowd.wait(wait.min(TICK), &mut ready)?;
        ready.into_iter().for_each(|(client, _)| self.read(client, sends));
        Ok(())
    }

    fn read(&mut self, client: usize, sends: bool) {
        let mut items = std::mem::take(&mut self.items);
        let after = self.crowd.read(client, self.gallery, &mut items);
        let now = Instant::now();
        // A stranger's yield is no sign that what is missing will come.
        let is_strange = |item: &Item| matches!(item, Item::Delivery(token) if self.script.is_stranger(token.sender));
        if items.is_empty() || after != After::Open || !items.iter().all(is_strange) {
            self.last_news = now;
        }
        for item in items.drain(..) {
            self.take(client, item, now, sends);
        }
        self.items = items;
        match after {
            After::Open => return,
            After::Ended if self.ends_due > 0 => {}
            After::Ended => self.fault(&format!("the server closed the connection of client {client}")),
            After::Broken(why) => self.fault(&format!("client {client}: {why}")),
        }
        self.ends_due = self.ends_due.saturating_sub(1);
        self.crowd.forget(client);
    }

    fn take(&mut self, client: usize, item: Item, now: Instant, sends: bool) {
        match item {
            // Compared byte for byte like all messages, and not counted.
            Item::Delivery(token) if self.script.is_stranger(token.sender) => {
                self.tally.stranger_bytes += self.gallery.block_bytes(token) as u64;
                return;
            }
            Item::Delivery(token) => return self.receive(client, token, now, sends),
            Item::Sent(count) => {
                let least = self.script.audience();
                if !(least..=least + self.script.others).contains(&(count as usize)) {
                    self.fault(&format!("sent to {count} cows instead of {least}"));
                }
            }
            Item::Reply => {}
            Item::Refused => {
                let refusal = self.crowd.refusal.clone().unwrap_or_default();
                self.fault(&format!("client {client} got {refusal:?}"));
            }
        }
        self.replies_due = self.replies_due.saturating_sub(1);
    }

    fn receive(&mut self, client: usize, token: Token, now: Instant, sends: bool) {
        let Script { clients, senders, paired, answer, yields, .. } = *self.script;
        let (lane, number) = if paired && token.sender == client ^ 1 {
            (client, token.number)
        } else {
            (self.script.yield_lane(client, token.sender), token.yielded)
        };
        if token.sender >= senders || (lane >= clients && (yields == 0 || number == 0)) {
            return self.fault(&format!("client {client} got a message for another client: {token:?}"));
        }
        if !self.ledger.record(lane, number) {
            return self.complain(&format!("client {client} got a second time: {token:?}"));
        }
        let said = &mut self.said[token.sender];
        let index = token.number.checked_sub(said.completed + 1);
        let Some(message) = index.and_then(|index| said.in_flight.get_mut(index as usize)) else {
            return self.fault(&format!("client {client} got what no client said: {token:?}"));
        };
        self.tally.deliveries += 1;
        let latency = now.saturating_duration_since(message.sent_at).as_nanos();
        self.tally.latency.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
        message.missing = message.missing.saturating_sub(1);
        if message.missing == 0 {
            self.in_flight -= 1;
            while said.in_flight.front().is_some_and(|first| first.missing == 0) {
                said.in_flight.pop_front();
                said.completed += 1;
            }
            if sends && self.script.pace.is_none() {
                self.send_next(if answer { client } else { token.sender }, Instant::now());
            }
        }
    }

    /// Sends the next message of `sender`, which was due at `due`.
    fn send_next(&mut self, sender: usize, due: Instant) {
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
        let missing = if to_all { self.script.audience() } else { 1 };
        said.in_flight.push_back(InFlight { sent_at: due, missing });
        self.in_flight += 1;
        self.replies_due += 1;
        if let Err(error) = self.crowd.send(sender, &self.line) {
            self.fault(&format!("client {sender} cannot send: {error}"));
        }
    }

    fn fault(&mut self, what: &str) {
        self.broken += 1;
        self.complain(what);
    }

    fn complain(&mut self, what: &str) {
        self.complaint.get_or_insert_with(|| what.to_owned());
    }
}
