//! One core's logic, pure: `(state, event) -> effects`.
//!
//! A [`Shard`] knows who is registered on its core and decides what every line and every frame means.
//! It never waits, never writes to a socket and has no clock; what is to be done about a line comes back
//! as [`Effects`], and `net::effects` does it. That is why the simulation in `tests/` can run any number
//! of shards in one thread and look at them after every step.
//!
//! Invariants worth naming:
//! - A session holds exactly one claim, and a claim belongs to exactly one session.
//! - What a `say` and a `yield` bring to this core, from here or from elsewhere, passes
//!   [`Shard::on_frame`]: there is one delivery lane, and who is not registered *then* gets nothing.

mod frame;
mod roster;

use std::io::Write;
use std::sync::Arc;

pub use frame::{Audience, Frame, Message, Payload};

use crate::cows::{CowId, Herd};
use crate::directory::{Claims, ConnectionId, Directory, Owner, ShardId};
use crate::metrics::{CoreMetrics, Counter};
use crate::protocol::command::{Command, Standing};
use crate::protocol::line::LineTooLong;
use crate::protocol::reply::{Refusal, Reply};
use crate::protocol::text::sanitize;
use roster::Roster;

/// What a shard needs to know of how the server was started.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether messages begin with a line that says from whom they are.
    pub header: bool,
    /// Longest line in bytes, as the refusal of a longer one names it.
    pub line_bytes_max: usize,
}

/// One core's state.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    herd: Arc<Herd>,
    rules: Rules,
    roster: Roster,
    metrics: CoreMetrics,
}

/// What is to be done about one line, in the order of the fields.
#[derive(Debug)]
pub struct Effects {
    /// First, and the only step that may wait: to the other cores.
    pub forward: Forward,
    /// Then to the one who sent the line: always exactly one line, LF included.
    pub reply: Vec<u8>,
    /// Then to the receivers on this core, by [`Shard::on_frame`].
    pub local: Option<Frame>,
    /// What has become of the one who sent the line.
    pub outcome: Outcome,
}

/// Where a frame has to go beyond its own core.
#[derive(Debug)]
pub enum Forward {
    /// Nowhere.
    Nowhere,
    /// To the core of one receiver.
    To(ShardId, Frame),
    /// To every other core.
    ToOthers(Frame),
}

/// What a line has made of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same as before.
    Unchanged,
    /// Registered as this cow.
    LoggedIn(CowId),
    /// Gone; the cow, if there was one, is free.
    Quit,
}

/// A message and those on this core who get it.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// What they get.
    pub payload: Payload,
    /// The one who sent it, if that is a connection of this core.
    pub author: Option<ConnectionId>,
    candidates: &'a [ConnectionId],
    to_author: bool,
}

impl Delivery<'_> {
    /// Every receiver, once.
    pub fn receivers(&self) -> impl Iterator<Item = ConnectionId> {
        let passed_over = if self.to_author { None } else { self.author };
        self.candidates.iter().copied().filter(move |receiver| Some(*receiver) != passed_over)
    }
}

impl Shard {
    /// The shard `id` of a server with this `herd`, nobody registered.
    pub fn new(id: ShardId, herd: Arc<Herd>, directory: Arc<Directory>, rules: Rules, metrics: CoreMetrics) -> Self {
        let roster = Roster::new(Claims::new(directory, id));
        Shard { id, herd, rules, roster, metrics }
    }

    /// The cow that `connection` is registered as.
    pub fn cow(&self, connection: ConnectionId) -> Option<CowId> {
        self.roster.owner_and_cow(connection).map(|(_, cow)| cow)
    }

    /// Those registered on this core, in no particular order.
    pub fn registered(&self) -> &[ConnectionId] {
        self.roster.registered()
    }

    /// Whether a panic has left the shard half changed.
    pub fn is_broken(&self) -> bool {
        self.roster.is_broken()
    }

    /// Decides what one line of `from` means. A claim or a release that it asks for is done on return.
    pub fn on_line(&mut self, from: ConnectionId, line: Result<&[u8], LineTooLong>) -> Effects {
        self.metrics.add(Counter::Lines, 1);
        let mut turn = Turn {
            id: self.id,
            herd: &self.herd,
            roster: &mut self.roster,
            metrics: &self.metrics,
            header: self.rules.header,
            from,
            forward: Forward::Nowhere,
            local: None,
            outcome: Outcome::Unchanged,
        };
        let safe;
        let reply = match line {
            Err(LineTooLong) => Err(Refusal::LineTooLong(self.rules.line_bytes_max)),
            Ok(bytes) => {
                safe = sanitize(bytes);
                Command::parse(&safe, turn.standing()).and_then(|command| turn.execute(command))
            }
        };
        let reply = reply.unwrap_or_else(Reply::Refused);
        let mut bytes = Vec::with_capacity(32);
        writeln!(bytes, "{reply}").expect("writing to memory does not fail");
        Effects { forward: turn.forward, reply: bytes, local: turn.local, outcome: turn.outcome }
    }

    /// Decides who on this core gets what a frame brings; `None` if nobody does.
    ///
    /// A `say` whose claim has ended meanwhile is dropped and counted: the cow may be somebody else by now.
    pub fn on_frame(&self, frame: Frame) -> Option<Delivery<'_>> {
        let (message, author, candidates, to_author) = match frame {
            Frame::Say { message, author, to } => {
                let Some(receiver) = self.roster.holder(to) else {
                    self.metrics.add(Counter::StaleFrames, 1);
                    return None;
                };
                (message, author, receiver, true)
            }
            Frame::Yield { message, author } => (message, author, self.roster.registered(), false),
            Frame::End => return None,
        };
        let author = (author.shard() == self.id).then(|| author.connection());
        if candidates.is_empty() || (!to_author && candidates.len() == 1 && author == Some(candidates[0])) {
            return None;
        }
        let payload = message.payload(&self.herd, self.rules.header);
        Some(Delivery { payload, author, candidates, to_author })
    }

    /// `connection` is closed, for whatever reason: its cow, if it had one, is free on return. Safe to call
    /// twice.
    pub fn on_close(&mut self, connection: ConnectionId) {
        self.roster.leave(connection);
    }
}

/// One line being executed: the shard's parts side by side, and what has been decided so far.
struct Turn<'s> {
    id: ShardId,
    herd: &'s Herd,
    roster: &'s mut Roster,
    metrics: &'s CoreMetrics,
    header: bool,
    from: ConnectionId,
    forward: Forward,
    local: Option<Frame>,
    outcome: Outcome,
}

impl<'s> Turn<'s> {
    fn standing(&self) -> Standing<'s> {
        match self.roster.owner_and_cow(self.from) {
            Some((_, cow)) => Standing::Registered(self.herd.name(cow)),
            None => Standing::Guest,
        }
    }

    fn execute<'a>(&mut self, command: Command<'a>) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        match command {
            Command::Help => Ok(Reply::Commands),
            Command::Who(prefix) => Ok(self.who(prefix)),
            Command::Cows => Ok(self.cows()),
            Command::Login(name) => self.login(name),
            Command::Say(name, text) => self.say(name, text),
            Command::Yield(text) => self.yield_to_all(text),
            Command::Quit => Ok(self.quit()),
        }
    }

    fn who(&self, prefix: &str) -> Reply<'s> {
        let (herd, directory) = (self.herd, self.roster.directory());
        let taken = herd.ids().filter(|&cow| directory.owner(cow).is_some());
        Reply::registered(taken.map(|cow| herd.name(cow)).filter(|name| name.starts_with(prefix)))
    }

    fn cows(&self) -> Reply<'s> {
        let (herd, directory) = (self.herd, self.roster.directory());
        let free = herd.ids().filter(|&cow| directory.owner(cow).is_none());
        Reply::Available(free.map(|cow| herd.name(cow)).collect())
    }

    fn login<'a>(&mut self, name: &'a str) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        let cow = self.herd.find(name).ok_or(Refusal::NoSuchCow(name))?;
        if !self.roster.join(self.from, cow) {
            return Err(Refusal::Taken(self.herd.name(cow)));
        }
        self.outcome = Outcome::LoggedIn(cow);
        Ok(Reply::LoggedIn(self.herd.name(cow)))
    }

    fn say<'a>(&mut self, name: &'a str, text: &str) -> Result<Reply<'a>, Refusal<'a>>
    where
        's: 'a,
    {
        let (author, sender) = self.sender()?;
        let cow = self.herd.find(name).ok_or(Refusal::NoSuchCow(name))?;
        let to = self.roster.directory().owner(cow).ok_or(Refusal::NotLoggedIn(self.herd.name(cow)))?;
        self.metrics.add(Counter::Says, 1);
        let frame = Frame::Say { message: self.message(sender, text, Audience::Private), author, to };
        if to.shard() == self.id {
            self.local = Some(frame);
        } else {
            self.forward = Forward::To(to.shard(), frame);
        }
        Ok(Reply::SentTo(self.herd.name(cow)))
    }

    fn yield_to_all<'a>(&mut self, text: &str) -> Result<Reply<'a>, Refusal<'a>> {
        let (author, sender) = self.sender()?;
        let others = self.roster.directory().claimed().saturating_sub(1);
        self.metrics.add(Counter::Yields, 1);
        if others == 0 {
            return Ok(Reply::SentToCows(0));
        }
        let frame = Frame::Yield { message: self.message(sender, text, Audience::Everybody), author };
        self.forward = Forward::ToOthers(frame.clone());
        self.local = Some(frame);
        Ok(Reply::SentToCows(others))
    }

    fn quit(&mut self) -> Reply<'s> {
        self.roster.leave(self.from);
        self.outcome = Outcome::Quit;
        Reply::Goodbye
    }

    /// A message, drawn here and now: drawing costs the one who sends, and a fault in it ends his session
    /// instead of a core that many depend on.
    fn message(&self, sender: CowId, text: &str, audience: Audience) -> Arc<Message> {
        let message = Message::new(sender, text, audience);
        message.draw(self.herd, self.header);
        message
    }

    /// The claim and the cow of the one who sent the line.
    fn sender<'a>(&self) -> Result<(Owner, CowId), Refusal<'a>> {
        self.roster.owner_and_cow(self.from).ok_or(Refusal::LoginFirst)
    }
}
