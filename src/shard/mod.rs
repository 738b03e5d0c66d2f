//! One core's logic, pure: `(state, event) -> effects`.
//!
//! A [`Shard`] knows who is registered on its core and decides what every line and every frame means.
//! It never waits, never writes to a socket and has no clock but the times that it is told; what is to be
//! done about a line comes back as [`Effects`], and `net::delivery::apply` does it. That is why the simulation in
//! `tests/` can run any number of shards in one thread and look at them after every step.
//!
//! Invariants worth naming:
//! - A session holds exactly one claim, and a claim belongs to exactly one session.
//! - What a `say` and a `yield` bring to this core, from here or from elsewhere, passes
//!   [`Shard::on_frame`]: there is one delivery lane, and who is not registered *then* gets nothing.

mod backlogs;
mod demand;
mod execution;
mod frame;
mod history;
mod presence;
mod roster;

use std::cell::OnceCell;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

pub use backlogs::{Backlogs, InFlight};
pub use demand::Demand;
pub use frame::{Drawing, Frame, Message, MessageBody, Payload, Rendering};
pub use presence::Presence;
pub use roster::Receiver;

use crate::cows::{CowId, Herd};
use crate::directory::{Claims, Directory, NoMemory, Quota};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::LINE_BYTES_MAX;
use crate::metrics::{CoreMetrics, Counter};
use crate::protocol::art::Art;
use crate::protocol::command::{Command, Standing};
use crate::protocol::foreign;
use crate::protocol::line::Line;
use crate::protocol::name::Name;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{HERE, Notice, PUSHED, Reply};
use crate::protocol::request_id::split_id;
use crate::protocol::telnet::Answer;
use crate::protocol::text::sanitize;
use execution::Execution;
use history::History;
use presence::Notices;
use roster::Roster;

/// What a shard needs to know of how the server was started.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether messages begin with a line that says from whom they are.
    pub header: bool,
    /// How messages are drawn for who has not asked for anything else.
    pub art: Art,
    /// Messages to everybody that are kept; 0 for none.
    pub history_messages: usize,
    /// Longest line in bytes, as the refusal of a longer one names it.
    pub line_bytes_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { header: true, art: Art::default(), history_messages: 0, line_bytes_max: LINE_BYTES_MAX }
    }
}

/// What all shards of a server share.
#[derive(Debug, Clone)]
pub struct ShardContext {
    /// The names and pictures.
    pub herd: Arc<Herd>,
    /// Who owns which cow.
    pub directory: Arc<Directory>,
    /// What is wanted on which core.
    pub demand: Arc<Demand>,
    /// Which cows are far behind.
    pub backlogs: Arc<Backlogs>,
    /// How the server was started.
    pub rules: Rules,
}

impl ShardContext {
    /// Nobody registered yet on any of `shards` cores.
    ///
    /// # Errors
    /// When there is no memory for the herd.
    pub fn new(herd: Arc<Herd>, shards: usize, rules: Rules) -> Result<Self, NoMemory> {
        let directory = Directory::new(herd.breeds().len(), herd.size(), shards)?;
        let backlogs = Backlogs::new(herd.breeds().len(), herd.size())?;
        Ok(ShardContext { herd, directory, demand: Demand::new(shards), backlogs, rules })
    }

    fn drawing(&self) -> Drawing<'_> {
        Drawing { herd: &self.herd, header: self.rules.header }
    }
}

/// How a cow of the herd is called.
pub fn name(herd: &Herd, cow: CowId) -> Name<'_> {
    Name { breed: herd.name(cow.breed()), number: cow.number() }
}

/// One core's state.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    context: ShardContext,
    roster: Roster,
    history: History,
    notices: Notices,
    metrics: CoreMetrics,
}

/// What is to be done about one line, in the order of the fields.
#[derive(Debug)]
pub struct Effects {
    /// The receiver of a `say`: while that is far behind, all else may wait.
    pub receiver: Option<CowId>,
    /// Then, and this step may wait, too: to the other cores.
    pub forward: Forward,
    /// Then to the one who sent the line: exactly one line, LF included, and behind `History:` its blocks.
    pub reply: Vec<u8>,
    /// Then to the receivers on this core, by [`Shard::on_frame`].
    pub local: Option<Frame>,
    /// What has become of the one who sent the line.
    pub outcome: Outcome,
    /// How many others a `yield` is for: what flood control charges for.
    pub receivers: usize,
    /// Bytes that each receiver gets, at most.
    pub message_bytes: usize,
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
    Quit(Option<CowId>),
    /// A client of another protocol, which has been told so; its connection ends.
    Foreign,
}

/// Something for users of this core, and who gets it.
#[derive(Debug)]
pub struct Delivery<'a> {
    content: Content,
    /// The one who sent it, if that is a connection of this core.
    pub author: Option<ConnectionId>,
    candidates: &'a [Receiver],
    to_whom: ToWhom,
    drawing: Drawing<'a>,
    /// This core's references, by rendering.
    payloads: [OnceCell<Payload>; Rendering::COUNT],
}

#[derive(Debug)]
enum Content {
    Message(Arc<Message>),
    /// A notice, without its LF.
    Line(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToWhom {
    /// The candidates, even if one of them is the author.
    Anybody,
    NotAuthor,
    Subscribers,
}

impl Delivery<'_> {
    /// Every receiver, once.
    pub fn receivers(&self) -> impl Iterator<Item = Receiver> {
        let receives = move |receiver: &Receiver| match self.to_whom {
            ToWhom::Anybody => true,
            ToWhom::NotAuthor => Some(receiver.connection) != self.author,
            ToWhom::Subscribers => receiver.subscribed,
        };
        self.candidates.iter().copied().filter(receives)
    }

    /// What the receivers with this rendering get.
    pub fn payload(&self, rendering: Rendering) -> &Payload {
        self.payloads[rendering.index()].get_or_init(|| match &self.content {
            Content::Message(message) => message.payload(self.drawing, rendering),
            Content::Line(line) => pushed(rendering, &format!("{line}\n")).into(),
        })
    }
}

/// A line of the server's own, ending in LF, in this rendering.
fn pushed(rendering: Rendering, line: &str) -> String {
    rendering.end_lines(format!("{}{line}", if rendering.tagged { PUSHED } else { "" }))
}

impl Shard {
    /// The shard `id` of a server, nobody registered.
    pub fn new(id: ShardId, context: ShardContext, metrics: CoreMetrics) -> Self {
        let claims = Claims::new(Arc::clone(&context.directory), id);
        let default_rendering = Rendering::of(context.rules.art);
        let roster = Roster::new(id, claims, Arc::clone(&context.demand), default_rendering);
        let history = History::new(context.rules.history_messages);
        Shard { id, context, roster, history, notices: Notices::default(), metrics }
    }

    /// The cow that `connection` is registered as.
    pub fn cow(&self, connection: ConnectionId) -> Option<CowId> {
        self.roster.owner_and_cow(connection).map(|(_, cow)| cow)
    }

    /// Those registered on this core, in no particular order.
    pub fn registered(&self) -> &[Receiver] {
        self.roster.registered()
    }

    /// Whether a panic has left the shard half changed.
    pub fn is_poisoned(&self) -> bool {
        self.roster.is_poisoned()
    }

    /// Decides what one line of `from` means. A claim or a release that it asks for is done on return.
    pub fn on_line(&mut self, from: ConnectionId, line: Line<'_>) -> Effects {
        self.on_line_within(from, line, None)
    }

    /// The same, and a `login` counts towards `quota`.
    pub fn on_line_within(&mut self, from: ConnectionId, line: Line<'_>, quota: Option<Quota<'_>>) -> Effects {
        self.metrics.add(Counter::Lines, 1);
        self.answer(from, line, false, quota)
    }

    /// Refuses a line that came too soon; nothing else comes of it.
    pub fn on_line_too_soon(&mut self, from: ConnectionId, line: Line<'_>) -> Effects {
        self.metrics.add(Counter::LinesTooSoon, 1);
        self.answer(from, line, true, None)
    }

    /// Executes a line, or refuses it if it came too soon.
    fn answer(&mut self, from: ConnectionId, line: Line<'_>, too_soon: bool, quota: Option<Quota<'_>>) -> Effects {
        let safe = sanitize(line.start());
        let id = split_id(&safe);
        let rendering = self.roster.rendering(from);
        let rendering =
            Rendering { tagged: rendering.tagged || matches!(id, Ok((Some(_), _))), crlf: line.crlf, ..rendering };
        self.roster.set_rendering(from, rendering);
        let line_bytes_max = self.context.rules.line_bytes_max;
        let mut execution = Execution::new(self, from, quota);
        let is_foreign = || line.is_tls() || foreign::is_http(&safe, line.bytes.is_ok());
        let reply = match (line.bytes, &id) {
            _ if execution.standing() == Standing::Guest && is_foreign() => execution.turn_away(),
            _ if too_soon => Err(Refusal::SlowDown),
            (Err(_), _) => Err(Refusal::LineTooLong(line_bytes_max)),
            (Ok(_), Err(refusal)) => Err(refusal.clone()),
            (Ok(_), Ok((_, line))) => {
                Command::parse(line, execution.standing()).and_then(|command| execution.execute(command))
            }
        };
        let reply = reply.unwrap_or_else(Reply::Refused);
        let mut text = String::with_capacity(32);
        let end = if line.crlf { "\r\n" } else { "\n" };
        let written = match id {
            Ok((Some(id), _)) => write!(text, "{id} {reply}{end}"),
            _ => write!(text, "{reply}{end}"),
        };
        written.expect(frame::INTO_MEMORY);
        let Execution { receiver, forward, local, outcome, blocks, receivers, message_bytes, .. } = execution;
        blocks.iter().for_each(|block| text.push_str(block));
        Effects { receiver, forward, reply: text.into_bytes(), local, outcome, receivers, message_bytes }
    }

    /// Decides who on this core gets what a frame brings at `now`, a time that only grows; `None` if nobody
    /// does.
    ///
    /// A `say` whose claim has ended meanwhile is dropped and counted: the cow may be somebody else by now.
    pub fn on_frame(&mut self, frame: Frame, now: Duration) -> Option<Delivery<'_>> {
        let (message, author, to) = match frame {
            Frame::Say { message, author, to, .. } => (message, author, Some(to)),
            Frame::Yield { message, author } => (message, author, None),
            Frame::Presence(change) => return self.on_presence(self.as_told_late(change), now),
            Frame::End => return None,
        };
        let (candidates, to_whom) = match to {
            Some(to) => {
                let Some(receiver) = self.roster.holder(to) else {
                    self.metrics.add(Counter::StaleFrames, 1);
                    return None;
                };
                (receiver, ToWhom::Anybody)
            }
            None => {
                self.history.record(message.said());
                (self.roster.registered(), ToWhom::NotAuthor)
            }
        };
        let author = (author.shard() == self.id).then(|| author.connection());
        Some(self.delivery(Content::Message(message), author, candidates, to_whom))
    }

    /// Tells what had to wait to those who listen for it, if it is time to; to be called now and then.
    pub fn on_tick(&mut self, now: Duration) -> Option<Delivery<'_>> {
        let change = self.notices.tell(now)?;
        Some(self.telling(change))
    }

    /// `connection` is closed, for whatever reason: its cow, if it had one, is free on return. Safe to call
    /// twice; returns the cow once.
    pub fn on_close(&mut self, connection: ConnectionId) -> Option<CowId> {
        self.roster.leave(connection)
    }

    /// The place of `connection` may be used by another one from now on.
    pub fn on_forget(&mut self, connection: ConnectionId) {
        self.roster.forget(connection);
    }

    /// What is sent to `connection`, which speaks telnet and has lines end in CR LF from now on.
    pub fn on_telnet(&mut self, connection: ConnectionId, answer: &Answer) -> Vec<u8> {
        let rendering = Rendering { crlf: true, ..self.roster.rendering(connection) };
        self.roster.set_rendering(connection, rendering);
        answer.bytes(&pushed(rendering, HERE))
    }

    /// A line of the server's own, ending in LF, as it is sent to `connection`.
    pub fn pushed(&self, connection: ConnectionId, line: &str) -> String {
        pushed(self.roster.rendering(connection), line)
    }

    /// A change on another core, as it can be told here: the leaver's cow may belong to somebody by now whose
    /// coming was told before, on a core that was quicker. Who is named last as gone has to be gone, so such a
    /// leaver only counts.
    fn as_told_late(&self, change: Presence) -> Presence {
        match change {
            Presence::Left(cow) if self.context.directory.owner(cow).is_some() => {
                Presence::Several { joined: 0, left: 1 }
            }
            change => change,
        }
    }

    /// Decides who on this core hears of a change at `now`. Changes on this core come in their order.
    pub fn on_presence(&mut self, change: Presence, now: Duration) -> Option<Delivery<'_>> {
        if !self.context.demand.has_subscribers(self.id) {
            self.notices.forget();
            return None;
        }
        let change = self.notices.take_in(change, now)?;
        Some(self.telling(change))
    }

    fn telling(&self, change: Presence) -> Delivery<'_> {
        let herd = &self.context.herd;
        let notice = match change {
            Presence::Joined(cow) => Notice::Joined(name(herd, cow)),
            Presence::Left(cow) => Notice::Left(name(herd, cow)),
            Presence::Several { joined, left } => Notice::Several { joined, left },
        };
        self.delivery(Content::Line(notice.to_string()), None, self.roster.registered(), ToWhom::Subscribers)
    }

    fn delivery<'a>(
        &'a self,
        content: Content,
        author: Option<ConnectionId>,
        candidates: &'a [Receiver],
        to_whom: ToWhom,
    ) -> Delivery<'a> {
        let drawing = self.context.drawing();
        Delivery { content, author, candidates, to_whom, drawing, payloads: Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::Cow;
    use crate::metrics::Metrics;
    use crate::protocol::line::LineTooLong;

    #[test]
    fn a_line_that_comes_too_soon_is_refused_with_its_id_and_nothing_comes_of_it() {
        let cow = |name: &str| Cow { name: name.to_owned(), colour: "C".to_owned(), plain: "P".to_owned() };
        let herd = Herd::new(vec![cow("tux")], 1, Bubble::default()).expect("a cow");
        let core = ShardId::new(0);
        let metrics = CoreMetrics::new(Metrics::new(1), core);
        let mut shard =
            Shard::new(core, ShardContext::new(Arc::new(herd), 1, Rules::default()).expect("memory"), metrics.clone());
        let user = ConnectionId::new(0);
        for (line, reply) in [
            (&b"login tux"[..], "error: slow down\n"),
            (b"12 login tux", "12 error: slow down\n"),
            (b"quit", "error: slow down\n"),
            (b"", "error: slow down\n"),
        ] {
            let effects = shard.on_line_too_soon(user, line.into());
            assert_eq!(String::from_utf8(effects.reply).expect("ASCII"), reply);
            assert!(matches!((effects.outcome, effects.forward), (Outcome::Unchanged, Forward::Nowhere)));
        }
        let too_long = Line { bytes: Err(LineTooLong { start: b"7 x" }), crlf: true };
        assert_eq!(shard.on_line_too_soon(user, too_long).reply, b"7 error: slow down\r\n");
        assert_eq!(shard.cow(user), None);
        assert_eq!((metrics.all().total(Counter::Lines), metrics.all().total(Counter::LinesTooSoon)), (0, 5));
    }

    #[test]
    fn whose_cow_is_taken_again_by_the_time_that_it_is_told_is_not_named_as_gone() {
        let cow = |name: &str| Cow { name: name.to_owned(), colour: "C".to_owned(), plain: "P".to_owned() };
        let herd = Herd::new(vec![cow("tux"), cow("aya")], 1, Bubble::default()).expect("two cows");
        let context = ShardContext::new(Arc::new(herd), 2, Rules::default()).expect("memory");
        let metrics = Metrics::new(2);
        let mut shards = [0, 1]
            .map(|at| (ShardId::new(at), CoreMetrics::new(Arc::clone(&metrics), ShardId::new(at))))
            .map(|(id, metrics)| Shard::new(id, context.clone(), metrics));
        let [listener, user] = [0, 1].map(ConnectionId::new);
        let told = |shard: &mut Shard, change| {
            let delivery = shard.on_frame(Frame::Presence(change), Duration::ZERO).expect("somebody listens");
            let receiver = delivery.receivers().next().expect("the listener");
            String::from_utf8(delivery.payload(receiver.rendering).to_vec()).expect("ASCII")
        };
        for line in [b"login aya".as_slice(), b"notify on"] {
            shards[1].on_line(listener, line.into());
        }
        let Outcome::LoggedIn(tux) = shards[0].on_line(user, (&b"login tux"[..]).into()).outcome else {
            panic!("free")
        };
        assert_eq!(shards[0].on_close(user), Some(tux));
        assert_eq!(told(&mut shards[1], Presence::Left(tux)), "* tux has left\n");
        // Somebody has come before that is told.
        shards[1].on_line(user, (&b"login tux"[..]).into());
        assert_eq!(told(&mut shards[1], Presence::Joined(tux)), "* tux has joined\n");
        assert_eq!(told(&mut shards[1], Presence::Left(tux)), "* 0 more joined, 1 more left\n");
        // On the core where he left nothing can have come between.
        let delivery = shards[1].on_presence(Presence::Left(tux), Duration::ZERO).expect("somebody listens");
        let rendering = delivery.receivers().next().expect("the listener").rendering;
        assert_eq!(&**delivery.payload(rendering), b"* tux has left\n");
    }
}
