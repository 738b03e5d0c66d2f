//! Several shards in one thread, with mailboxes of any size and no kernel, driven by a seed.
//!
//! Every step is one thing that can happen: a line, a frame taken from a mailbox, a forward that finds room
//! at last, a connection that ends. After each step the world is held against a reference model, which knows
//! nothing of claims, owners or frames:
//!
//! - I1: no two live sessions hold the same cow, and the directory says what the model says;
//! - I4, I5: what one session sends another arrives in order, `say` and `yield` mixed, and never twice;
//! - I6: what was acknowledged is delivered unless its receiver has left, and to nobody else;
//! - I8: who is not registered neither sends nor receives;
//! - I20: full mailboxes never deadlock and never drop anything;
//! - everybody gets what is sent in the form that he asked for, his history in the order of what his core
//!   delivered, and notices, if he wants them, at no more than their pace.
//!
//! `COWCHAT_SIM_SEEDS` and `COWCHAT_SIM_STEPS` say how much, `COWCHAT_SIM_SEED` runs the one seed that a
//! failure has named.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cowchat::cows::Herd;
use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;
use cowchat::directory::{ConnectionId, ShardId};
use cowchat::limits::NOTICES_A_SECOND;
use cowchat::metrics::{CoreMetrics, Counter, Metrics};
use cowchat::protocol::command::Art;
use cowchat::protocol::line::LineTooLong;
use cowchat::shard::{Change, Common, Delivery, Effects, Form, Forward, Frame, Outcome, Rules, Shard, name};

/// Connections per core, breeds and cows of each, mailbox frames at most: few enough that everything collides.
const CONNECTIONS: usize = 5;
const BREEDS: usize = 3;
const HERD_SIZE: usize = 2;
const COWS: usize = BREEDS * HERD_SIZE;
const MAILBOX_MAX: usize = 4;

/// Messages that each core keeps.
const HISTORY: usize = 5;

/// A registered stretch of a connection's life; numbered over the whole run, never used again.
type SessionId = usize;

/// A message as the model knows it: who sent it, as which number of his.
type Token = (SessionId, usize);

/// One connection: its core and its place there.
type Place = (usize, usize);

struct Connection {
    session: Option<SessionId>,
    form: Form,
    listening: bool,
    /// A line whose forwards have not all found room.
    waiting: Option<Waiting>,
}

impl Default for Connection {
    fn default() -> Self {
        let form = Form { art: Art::Color, numbered: false };
        Connection { session: None, form, listening: false, waiting: None }
    }
}

struct Waiting {
    forwards: VecDeque<(usize, Frame)>,
    effects: Effects,
    /// The message that the line sends, and to whom.
    sends: Option<(Token, BTreeSet<SessionId>)>,
}

/// What the model knows of a session, also after it has ended.
struct Session {
    cow: usize,
    live: bool,
    place: Place,
    sent: usize,
    /// The last number received from each sender.
    received: HashMap<SessionId, usize>,
}

struct World {
    random: fastrand::Rng,
    common: Common,
    metrics: Arc<Metrics>,
    shards: Vec<Shard>,
    mailboxes: Vec<VecDeque<Frame>>,
    mailbox_frames: usize,
    pump_percent: u8,
    connections: BTreeMap<Place, Connection>,
    sessions: Vec<Session>,
    /// To whom each private message was sent; a message to everybody has none.
    private: HashMap<Token, SessionId>,
    /// Acknowledged messages, and who was to get them when they were accepted.
    acknowledged: Vec<(Token, BTreeSet<SessionId>)>,
    delivered: BTreeSet<(Token, SessionId)>,
    frames_sent: usize,
    frames_taken: usize,
    now: Duration,
    /// By core: the last messages to everybody, as it delivered them.
    history: Vec<VecDeque<Token>>,
    /// By core: when notices were told, and by core and other core what found no room.
    told: Vec<Vec<Duration>>,
    untold: HashMap<(usize, usize), Change>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let cores = random.usize(1..=4);
        let cow = |n| Cow { name: format!("cow{n}"), colour: "COLOUR".to_owned(), plain: "PLAIN".to_owned() };
        let herd = Herd::new((0..BREEDS).map(cow).collect(), HERD_SIZE as u32, Bubble::default());
        let rules = Rules { line_bytes_max: 100, history_messages: HISTORY, ..Rules::default() };
        let common = Common::new(Arc::new(herd.expect("distinct names")), cores, rules);
        let metrics = Metrics::new(cores);
        let shard = |n| {
            let id = ShardId::new(n);
            Shard::new(id, common.clone(), CoreMetrics::new(Arc::clone(&metrics), id))
        };
        World {
            mailbox_frames: random.usize(1..=MAILBOX_MAX),
            pump_percent: random.u8(2..40),
            shards: (0..cores).map(shard).collect(),
            mailboxes: vec![VecDeque::new(); cores],
            random,
            common,
            metrics,
            connections: BTreeMap::new(),
            sessions: Vec::new(),
            private: HashMap::new(),
            acknowledged: Vec::new(),
            delivered: BTreeSet::new(),
            frames_sent: 0,
            frames_taken: 0,
            now: Duration::ZERO,
            history: vec![VecDeque::new(); cores],
            told: vec![Vec::new(); cores],
            untold: HashMap::new(),
        }
    }

    fn step(&mut self) {
        let core = self.random.usize(..self.shards.len());
        let place = (core, self.random.usize(..CONNECTIONS));
        // Often nothing for hundreds of events, so that notices pile up.
        self.now += Duration::from_millis(if self.random.u8(..) < 8 { self.random.u64(..700) } else { 0 });
        // Lazy pumps keep frames in the mailboxes for long enough to grow stale.
        match self.random.u8(..100) {
            pump if pump < self.pump_percent => self.pump(core),
            0..60 => self.go_on(place),
            60..63 => self.close(place),
            _ => self.line(place),
        }
        self.check();
    }

    /// A connection sends a line, unless its last one still waits.
    fn line(&mut self, place: Place) {
        let connection = self.connections.entry(place).or_default();
        if connection.waiting.is_some() {
            return;
        }
        let session = connection.session;
        let cow = self.random.usize(..COWS);
        match self.random.u8(..100) {
            0..20 => self.login(place, session, cow),
            20..30 => self.login_lowest(place, session, cow / HERD_SIZE),
            30..50 => self.say(place, session, cow),
            50..68 => self.yield_to_all(place, session),
            68..72 => self.expect_reply(place, "who", &self.list("Registered users: ", true)),
            72..76 => self.expect_reply(place, "cows", &self.list("Available cow names: ", false)),
            76..80 => self.art(place),
            80..83 => self.notify(place, session),
            83..87 => self.history(place, session),
            87..88 => self.expect_reply(place, "moo \u{202e}\x1b[31m", "error: unknown command moo (try help)"),
            88..89 => self.expect_reply(
                place,
                "login cow0#1",
                &match session {
                    Some(mine) => format!("error: you are already logged in as {}", name_of(self.sessions[mine].cow)),
                    None => "error: no cow named cow0#1 (try cows)".to_owned(),
                },
            ),
            89..90 => self.expect_reply(
                place,
                "say cow0",
                if session.is_some() { "error: usage: say COW TEXT" } else { "error: login first" },
            ),
            90..91 => {
                let line = Err(LineTooLong { start: b"moo" });
                let effects = self.shards[place.0].on_line(ConnectionId::new(place.1), line);
                assert_eq!(effects.reply, b"error: line too long (max 100 bytes)\n");
            }
            91..98 => {
                let effects = self.answered(place, "quit", "Goodbye.");
                let left = session.map(|session| self.id_of(self.sessions[session].cow));
                assert_eq!(effects.outcome, Outcome::Quit(left));
                self.end_session(place);
                if let Some(cow) = left {
                    self.tell(place.0, Change::Left(cow));
                }
            }
            _ => self.expect_reply(place, "", cowchat::protocol::reply::HELP),
        }
    }

    fn login(&mut self, place: Place, session: Option<SessionId>, cow: usize) {
        let holder = self.holder(cow);
        let name = name_of(cow);
        let expected = match (session, holder) {
            (Some(mine), _) => format!("error: you are already logged in as {}", name_of(self.sessions[mine].cow)),
            (None, Some(_)) => format!("error: cow {name} is already taken"),
            (None, None) => format!("Logged in as {name}"),
        };
        let effects = self.answered(place, &format!("login {name}"), &expected);
        self.note_login(place, cow, &effects, session.is_none() && holder.is_none());
    }

    fn login_lowest(&mut self, place: Place, session: Option<SessionId>, breed: usize) {
        let lowest = (breed * HERD_SIZE..(breed + 1) * HERD_SIZE).find(|&cow| self.holder(cow).is_none());
        let expected = match (session, lowest) {
            (Some(mine), _) => format!("error: you are already logged in as {}", name_of(self.sessions[mine].cow)),
            (None, None) => format!("error: every cow{breed} is taken"),
            (None, Some(cow)) => format!("Logged in as {}", name_of(cow)),
        };
        let effects = self.answered(place, &format!("login cow{breed}#"), &expected);
        self.note_login(place, lowest.unwrap_or(0), &effects, session.is_none() && lowest.is_some());
    }

    fn note_login(&mut self, place: Place, cow: usize, effects: &Effects, expected: bool) {
        if !expected {
            assert_eq!(effects.outcome, Outcome::Unchanged);
            return;
        }
        let id = self.id_of(cow);
        assert_eq!(effects.outcome, Outcome::LoggedIn(id));
        self.connections.entry(place).or_default().session = Some(self.sessions.len());
        self.sessions.push(Session { cow, live: true, place, sent: 0, received: HashMap::new() });
        self.tell(place.0, Change::Joined(id));
    }

    fn art(&mut self, place: Place) {
        let art = Art::ALL[self.random.usize(..Art::ALL.len())];
        self.expect_reply(place, &format!("art {}", art.name()), &format!("Art is {}", art.name()));
        self.connections.entry(place).or_default().form.art = art;
    }

    fn notify(&mut self, place: Place, session: Option<SessionId>) {
        let on = self.random.u8(..3) > 0;
        let word = if on { "on" } else { "off" };
        let expected = if session.is_some() { format!("Notices are {word}") } else { "error: login first".to_owned() };
        self.expect_reply(place, &format!("notify {word}"), &expected);
        if session.is_some() {
            self.connections.entry(place).or_default().listening = on;
        }
    }

    fn history(&mut self, place: Place, session: Option<SessionId>) {
        if session.is_none() {
            self.expect_reply(place, "history", "error: login first");
            return;
        }
        let wanted = self.random.usize(..HISTORY + 2);
        let effects = self.execute(place, &format!("history {wanted}"));
        let kept = &self.history[place.0];
        let expected: Vec<Token> = kept.iter().skip(kept.len().saturating_sub(wanted)).copied().collect();
        let text = String::from_utf8(effects.reply).expect("replies are UTF-8");
        let (line, blocks) = text.split_once('\n').expect("a line");
        let messages = if expected.len() == 1 { "message" } else { "messages" };
        assert_eq!(line, format!("History: {} {messages}", expected.len()));
        assert_eq!(tokens_of(blocks), expected);
    }

    fn say(&mut self, place: Place, session: Option<SessionId>, cow: usize) {
        let name = name_of(cow);
        let Some(mine) = session else {
            self.expect_reply(place, &format!("say {name} hi"), "error: login first");
            return;
        };
        let Some(receiver) = self.holder(cow) else {
            let expected = format!("error: cow {name} is not logged in");
            self.expect_reply(place, &format!("say {name} hi"), &expected);
            return;
        };
        let token = self.next_token(mine);
        self.private.insert(token, receiver);
        let effects = self.execute(place, &format!("say {name} {}", text_of(token)));
        assert_eq!(reply(&effects), format!("Sent to {name}"));
        self.apply(place, effects, Some((token, BTreeSet::from([receiver]))));
    }

    fn yield_to_all(&mut self, place: Place, session: Option<SessionId>) {
        let Some(mine) = session else {
            self.expect_reply(place, "yield hi", "error: login first");
            return;
        };
        let token = self.next_token(mine);
        let others: BTreeSet<_> = self.live().filter(|&other| other != mine).collect();
        let effects = self.execute(place, &format!("yield {}", text_of(token)));
        let plural = if others.len() == 1 { "" } else { "s" };
        assert_eq!(reply(&effects), format!("Sent to {} cow{plural}", others.len()));
        self.apply(place, effects, Some((token, others)));
    }

    fn next_token(&mut self, session: SessionId) -> Token {
        self.sessions[session].sent += 1;
        (session, self.sessions[session].sent)
    }

    /// Has a line executed; now and then with a request id, which its reply then begins with.
    fn execute(&mut self, place: Place, line: &str) -> Effects {
        let id = format!("{} ", self.random.u64(..1_000_000_000_000_000_000));
        let numbered = self.random.u8(..20) == 0;
        let id = if numbered { id } else { String::new() };
        let mut effects = self.shards[place.0].on_line(ConnectionId::new(place.1), Ok((id.clone() + line).as_bytes()));
        assert!(effects.reply.starts_with(id.as_bytes()), "the reply has the line's id");
        effects.reply.drain(..id.len());
        self.connections.entry(place).or_default().form.numbered |= numbered;
        effects
    }

    /// Executes a line that sends nothing.
    fn expect_reply(&mut self, place: Place, line: &str, expected: &str) {
        self.answered(place, line, expected);
    }

    /// The same for a line that may change who is registered.
    fn answered(&mut self, place: Place, line: &str, expected: &str) -> Effects {
        let effects = self.execute(place, line);
        assert_eq!(reply(&effects), expected, "to {line:?}");
        assert!(matches!(effects.forward, Forward::Nowhere) && effects.local.is_none(), "{line:?} sends something");
        assert_eq!(matches!(effects.outcome, Outcome::Quit(_)), line == "quit");
        effects
    }

    fn id_of(&self, cow: usize) -> cowchat::cows::CowId {
        let id = self.common.herd.find(&format!("cow{}", cow / HERD_SIZE), (cow % HERD_SIZE) as u32 + 1);
        id.expect("a cow of the herd")
    }

    /// What `net::effects::tell_changes` does: to other cores if there is room, later as a number otherwise.
    fn tell(&mut self, core: usize, change: Change) {
        for other in (0..self.shards.len()).filter(|&other| other != core) {
            if self.common.wants.has_listeners(ShardId::new(other)) {
                let change = self.untold.remove(&(core, other)).map_or(change, |untold| untold.and(change));
                if self.mailboxes[other].len() < self.mailbox_frames {
                    self.mailboxes[other].push_back(Frame::Notice(change));
                    self.frames_sent += 1;
                } else {
                    self.untold.insert((core, other), change);
                }
            }
        }
        let delivered = self.shards[core].on_change(change, self.now).map(|delivery| received(&delivery));
        if let Some(delivered) = delivered {
            self.check_notice(core, &delivered);
        }
    }

    /// What `net::effects::apply` does: forward, waiting for room; then acknowledge; then deliver here.
    fn apply(&mut self, place: Place, mut effects: Effects, sends: Option<(Token, BTreeSet<SessionId>)>) {
        let others = (0..self.shards.len()).filter(|&core| core != place.0);
        let forwards = match std::mem::replace(&mut effects.forward, Forward::Nowhere) {
            Forward::Nowhere => VecDeque::new(),
            Forward::To(shard, frame) => VecDeque::from([(shard.index(), frame)]),
            Forward::ToOthers(frame) => others.map(|core| (core, frame.clone())).collect(),
        };
        self.connections.entry(place).or_default().waiting = Some(Waiting { forwards, effects, sends });
        self.go_on(place);
    }

    /// Hands over as many frames of the waiting line as there is room for; finishes it after the last.
    fn go_on(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(&place) else { return };
        let Some(mut waiting) = connection.waiting.take() else { return };
        while let Some((core, frame)) = waiting.forwards.pop_front() {
            if self.mailboxes[core].len() == self.mailbox_frames {
                waiting.forwards.push_front((core, frame));
                connection.waiting = Some(waiting);
                return;
            }
            self.mailboxes[core].push_back(frame);
            self.frames_sent += 1;
        }
        self.acknowledged.extend(waiting.sends);
        if let Some(frame) = waiting.effects.local {
            self.deliver(place.0, frame);
        }
    }

    fn pump(&mut self, core: usize) {
        for _ in 0..self.random.usize(1..=MAILBOX_MAX) {
            let Some(frame) = self.mailboxes[core].pop_front() else { return };
            self.frames_taken += 1;
            self.deliver(core, frame);
        }
    }

    fn deliver(&mut self, core: usize, frame: Frame) {
        let is_notice = matches!(frame, Frame::Notice(_));
        let Some(delivery) = self.shards[core].on_frame(frame, self.now) else { return };
        let delivered = received(&delivery);
        if is_notice {
            return self.check_notice(core, &delivered);
        }
        let token = token_of(delivery.payload(FORM_OF_TOKENS));
        if !self.private.contains_key(&token) {
            let kept = &mut self.history[core];
            kept.push_back(token);
            if kept.len() > HISTORY {
                kept.pop_front();
            }
        }
        for (receiver, block) in delivered {
            let connection = self.connections.get(&(core, receiver)).expect("I8: a connection");
            check_form(&block, connection.form, token);
            let session = connection.session.expect("I8: only a registered connection receives");
            assert_eq!(self.sessions[session].place, (core, receiver));
            match self.private.get(&token) {
                Some(&meant) => assert_eq!(session, meant, "I6: a private message reaches the session it was for"),
                None => assert_ne!(session, token.0, "a yield does not come back"),
            }
            assert!(self.delivered.insert((token, session)), "I5: {token:?} arrives twice");
            let last = self.sessions[session].received.insert(token.0, token.1);
            assert!(last < Some(token.1), "I4: {token:?} arrives after {last:?}");
        }
    }

    /// All who listen get it, nobody else, and not too often.
    fn check_notice(&mut self, core: usize, delivered: &[(usize, Vec<u8>)]) {
        let on_core = self.connections.iter().filter(|((at, _), _)| *at == core);
        let listening = on_core.filter(|(_, connection)| connection.session.is_some() && connection.listening);
        let expected: BTreeSet<usize> = listening.map(|((_, place), _)| *place).collect();
        assert_eq!(delivered.iter().map(|(receiver, _)| *receiver).collect::<BTreeSet<_>>(), expected);
        for (receiver, block) in delivered {
            let line = std::str::from_utf8(block).expect("notices are UTF-8");
            let numbered = self.connections[&(core, *receiver)].form.numbered;
            let line = line.strip_prefix(if numbered { "0 * " } else { "* " }).expect("how a notice begins");
            assert!(["has joined\n", "has left\n", "more left\n"].iter().any(|end| line.ends_with(end)), "{line}");
        }
        self.told[core].push(self.now);
        let told = &self.told[core];
        if let Some(before) = told.len().checked_sub(NOTICES_A_SECOND + 1) {
            assert!(self.now - told[before] >= Duration::from_secs(1), "a storm of notices");
        }
    }

    /// A connection ends; a line of it that still waits is never acknowledged.
    fn close(&mut self, place: Place) {
        let left = self.shards[place.0].on_close(ConnectionId::new(place.1));
        self.shards[place.0].on_forget(ConnectionId::new(place.1));
        let session = self.connections.get(&place).and_then(|connection| connection.session);
        assert_eq!(left, session.map(|session| self.id_of(self.sessions[session].cow)));
        self.end_session(place);
        self.connections.remove(&place);
        if let Some(cow) = left {
            self.tell(place.0, Change::Left(cow));
        }
    }

    fn end_session(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(&place) else { return };
        connection.listening = false;
        if let Some(session) = connection.session.take() {
            self.sessions[session].live = false;
        }
    }

    fn live(&self) -> impl Iterator<Item = SessionId> + use<'_> {
        (0..self.sessions.len()).filter(|&session| self.sessions[session].live)
    }

    fn holder(&self, cow: usize) -> Option<SessionId> {
        self.live().find(|&session| self.sessions[session].cow == cow)
    }

    fn list(&self, title: &str, taken: bool) -> String {
        let cows = (0..COWS).filter(|&cow| self.holder(cow).is_some() == taken);
        let names: Vec<String> = cows.map(name_of).collect();
        title.to_owned() + &if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
    }

    /// The world is as the model says.
    fn check(&self) {
        let mut held = BTreeSet::new();
        for session in self.live() {
            let Session { cow, place, .. } = self.sessions[session];
            assert!(held.insert(cow), "I1: {} is held twice", name_of(cow));
            let id = self.id_of(cow);
            let owner = self.common.directory.owner(id).expect("I1: a live session's cow is taken");
            assert_eq!((owner.shard().index(), owner.connection().index()), place, "I1: who owns {}", name_of(cow));
            assert_eq!(self.shards[place.0].cow(ConnectionId::new(place.1)), Some(id));
        }
        for cow in 0..COWS {
            let (id, directory) = (self.id_of(cow), &self.common.directory);
            assert_eq!(name(&self.common.herd, id).to_string(), name_of(cow));
            assert_eq!(directory.owner(id).is_some(), held.contains(&cow), "I3: {}", name_of(cow));
            assert_eq!(directory.is_taken(id), held.contains(&cow), "I3: {}", name_of(cow));
        }
        assert_eq!(self.common.directory.claimed(), held.len());
        for form in Form::all() {
            let users = self.connections.values().filter(|user| user.session.is_some() && user.form == form);
            assert_eq!(self.common.wants.users_anywhere(form) as usize, users.count());
        }
        let registered: usize = self.shards.iter().map(|shard| shard.registered().len()).sum();
        assert_eq!(registered, held.len());
        assert!(self.mailboxes.iter().all(|mailbox| mailbox.len() <= self.mailbox_frames));
    }

    /// No more lines: everything that waits gets through, and what was acknowledged has arrived.
    fn drain(&mut self) {
        let frames =
            self.connections.len() * self.shards.len() + self.mailboxes.iter().map(VecDeque::len).sum::<usize>();
        for _ in 0..=frames {
            (0..self.shards.len()).for_each(|core| self.pump(core));
            let places: Vec<Place> = self.connections.keys().copied().collect();
            places.into_iter().for_each(|place| self.go_on(place));
            self.check();
        }
        assert!(
            self.connections.values().all(|connection| connection.waiting.is_none()),
            "I20: somebody waits forever"
        );
        assert!(self.mailboxes.iter().all(VecDeque::is_empty), "I20: something is never taken");
        assert_eq!(self.frames_sent, self.frames_taken, "I20: nothing is dropped");
        for (token, receivers) in &self.acknowledged {
            for &receiver in receivers {
                let arrived = self.delivered.contains(&(*token, receiver));
                assert!(arrived || !self.sessions[receiver].live, "I6: {token:?} was acknowledged and is lost");
            }
        }
    }
}

fn reply(effects: &Effects) -> &str {
    let text = std::str::from_utf8(&effects.reply).expect("replies are UTF-8");
    text.strip_suffix('\n').filter(|line| !line.contains('\n')).expect("exactly one line")
}

/// A message's text names it.
fn text_of((session, number): Token) -> String {
    format!("<{session}:{number}>")
}

/// What a cow of the model is called.
fn name_of(cow: usize) -> String {
    let (breed, number) = (cow / HERD_SIZE, cow % HERD_SIZE + 1);
    if number == 1 { format!("cow{breed}") } else { format!("cow{breed}#{number}") }
}

/// Every message has one of these, whoever gets it.
const FORM_OF_TOKENS: Form = Form { art: Art::Off, numbered: false };

/// Who gets a delivery, and which bytes.
fn received(delivery: &Delivery<'_>) -> Vec<(usize, Vec<u8>)> {
    delivery.receivers().map(|to| (to.connection.index(), delivery.payload(to.form).to_vec())).collect()
}

/// The message is in the form that its receiver asked for.
fn check_form(block: &[u8], form: Form, token: Token) {
    let text = std::str::from_utf8(block).expect("messages are UTF-8");
    assert_eq!(tokens_of(text), [token]);
    assert_eq!(text.starts_with("0 cow"), form.numbered, "{text}");
    let is = |what: &str| text.contains(what);
    match form.art {
        Art::Color => assert!(is("COLOUR") && is("<  <"), "{text}"),
        Art::Plain => assert!(is("PLAIN") && is("<  <"), "{text}"),
        Art::Small => assert!(is(",n___n,") && is("<  <"), "{text}"),
        Art::Off => assert!(text.lines().count() == 1 && !is("<  <"), "{text}"),
    }
}

fn token_of(payload: &[u8]) -> Token {
    let tokens = tokens_of(std::str::from_utf8(payload).expect("messages are UTF-8"));
    assert_eq!(tokens.len(), 1, "one message has one token");
    tokens[0]
}

/// The messages in some output, in order.
fn tokens_of(text: &str) -> Vec<Token> {
    let number = |digits: &str| digits.parse().ok();
    let inside = text.split('<').filter_map(|rest| rest.split_once('>')?.0.split_once(':'));
    inside.filter_map(|(session, count)| Some((number(session)?, number(count)?))).collect()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number: {value}")))
}

/// What a run of one seed has seen, to show that it saw anything.
struct Tally {
    delivered: usize,
    stale: u64,
}

fn simulate(seed: u64, steps: u64) -> Tally {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        world.drain();
        Tally { delivered: world.delivered.len(), stale: world.metrics.total(Counter::StaleFrames) }
    });
    outcome.unwrap_or_else(|panic| {
        eprintln!("seed {seed} fails; COWCHAT_SIM_SEED={seed} COWCHAT_SIM_STEPS={steps} runs it again");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn shards_keep_their_promises_for_every_seed() {
    let steps = from_environment("COWCHAT_SIM_STEPS").unwrap_or(2_000);
    let seeds = match from_environment("COWCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("COWCHAT_SIM_SEEDS").unwrap_or(50),
    };
    let count = seeds.end - seeds.start;
    let tallies: Vec<Tally> = seeds.map(|seed| simulate(seed, steps)).collect();
    let delivered: usize = tallies.iter().map(|tally| tally.delivered).sum();
    let stale: u64 = tallies.iter().map(|tally| tally.stale).sum();
    println!("{count} seeds of {steps} steps: {delivered} deliveries, {stale} dropped as stale");
    assert!(count < 10 || (delivered > 1_000 && stale > 10), "a simulation in which nothing happens proves nothing");
}
