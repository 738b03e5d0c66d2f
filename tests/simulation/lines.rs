//! What the simulated users do: a line, what it should be answered with, and what the model makes of it.

use std::collections::BTreeSet;

use cowchat::cows::small;
use cowchat::ids::ConnectionId;
use cowchat::protocol::art::Art;
use cowchat::protocol::line::{Line, LineTooLong};
use cowchat::shard::{Effects, Forward, Outcome, Presence};

use crate::words::{name_of, reply, text_of, tokens_of, without_id};
use crate::world::{COWS, HERD_SIZE, HISTORY, Place, SessionId, Token, World};

const HELP: &str = "commands: who, cows, login COW, say COW TEXT, yield TEXT, quit";

/// A connection with more than this unread executes no line: `limits::SENDQ_OWN_BYTES`, for short replies.
const OWN_BYTES_MAX: usize = 2_000;

impl World {
    /// A connection sends a line, unless its last one still waits, or its replies, or its core is to end.
    pub fn line(&mut self, place: Place) {
        if self.drains[place.0].has_begun() {
            return;
        }
        let now = self.now;
        let connection = self.connection(place);
        let wire = &connection.wire;
        let is_silent = connection.timers.is_silent(now);
        if is_silent || connection.waiting.is_some() || wire.is_closing() || wire.waiting_bytes() > OWN_BYTES_MAX {
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
                let line = Line { bytes: Err(LineTooLong { start: b"moo" }), crlf: false };
                let effects = self.shards[place.0].on_line(ConnectionId::new(place.1), line);
                assert_eq!(effects.reply, b"error: line too long (max 100 bytes)\n");
                self.connection(place).wire.push_reply(&effects.reply);
            }
            91..98 => {
                let effects = self.answered(place, "quit", "Goodbye.");
                let left = session.map(|session| self.id_of(self.sessions[session].cow));
                assert_eq!(effects.outcome, Outcome::Quit(left));
                self.end_session(place);
                self.connection(place).wire.end();
                if let Some(cow) = left {
                    self.tell(place.0, Presence::Left(cow));
                }
            }
            98..99 => self.show(place, cow),
            _ => self.expect_reply(place, "", HELP),
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
        self.record_login(place, cow, &effects, session.is_none() && holder.is_none());
    }

    fn login_lowest(&mut self, place: Place, session: Option<SessionId>, breed: usize) {
        let lowest = (breed * HERD_SIZE..(breed + 1) * HERD_SIZE).find(|&cow| self.holder(cow).is_none());
        let expected = match (session, lowest) {
            (Some(mine), _) => format!("error: you are already logged in as {}", name_of(self.sessions[mine].cow)),
            (None, None) => format!("error: every cow{breed} is taken"),
            (None, Some(cow)) => format!("Logged in as {}", name_of(cow)),
        };
        let effects = self.answered(place, &format!("login cow{breed}#"), &expected);
        self.record_login(place, lowest.unwrap_or(0), &effects, session.is_none() && lowest.is_some());
    }

    fn record_login(&mut self, place: Place, cow: usize, effects: &Effects, expected: bool) {
        if !expected {
            assert_eq!(effects.outcome, Outcome::Unchanged);
            return;
        }
        let id = self.id_of(cow);
        assert_eq!(effects.outcome, Outcome::LoggedIn(id));
        self.register(place, cow);
        self.tell(place.0, Presence::Joined(id));
    }

    fn art(&mut self, place: Place) {
        let art = Art::ALL[self.random.usize(..Art::ALL.len())];
        self.expect_reply(place, &format!("art {}", art.name()), &format!("Art is {}", art.name()));
        self.connection(place).rendering.art = art;
    }

    fn show(&mut self, place: Place, cow: usize) {
        let named = Some(Art::ALL[self.random.usize(..Art::ALL.len())]).filter(|_| self.random.bool());
        let line = named.map_or(String::new(), |art| format!(" {}", art.name()));
        let effects = self.execute(place, &format!("show {}{line}", name_of(cow)));
        let connection = self.connection(place);
        connection.wire.push_reply(&effects.reply);
        let picture = match named.unwrap_or(connection.rendering.art) {
            Art::Color => "COLOUR\n",
            Art::Half => "HALF\n",
            Art::Plain => "PLAIN\n",
            Art::Small => &format!("{}\n", small::BODY),
            Art::Off => "",
        };
        let lines = match picture.lines().count() {
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        };
        let text = std::str::from_utf8(&effects.reply).expect("replies are UTF-8");
        assert_eq!(without_id(text), format!("{}: {lines}\n{picture}", name_of(cow)));
        assert!(matches!(effects.forward, Forward::Nowhere) && effects.local.is_none(), "it sends nothing");
    }

    fn notify(&mut self, place: Place, session: Option<SessionId>) {
        let on = self.random.u8(..3) > 0;
        let word = if on { "on" } else { "off" };
        let expected = if session.is_some() { format!("Notices are {word}") } else { "error: login first".to_owned() };
        self.expect_reply(place, &format!("notify {word}"), &expected);
        if session.is_some() {
            self.connection(place).subscribed = on;
        }
    }

    fn history(&mut self, place: Place, session: Option<SessionId>) {
        if session.is_none() {
            self.expect_reply(place, "history", "error: login first");
            return;
        }
        let wanted = self.random.usize(..HISTORY + 2);
        let effects = self.execute(place, &format!("history {wanted}"));
        self.connection(place).wire.push_reply(&effects.reply);
        let kept = &self.history[place.0];
        let expected: Vec<Token> = kept.iter().skip(kept.len().saturating_sub(wanted)).copied().collect();
        let text = String::from_utf8(effects.reply).expect("replies are UTF-8");
        let (line, blocks) = without_id(&text).split_once('\n').expect("a line");
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
        self.apply(place, effects, (token, BTreeSet::from([receiver])));
    }

    fn yield_to_all(&mut self, place: Place, session: Option<SessionId>) {
        let Some(mine) = session else {
            self.expect_reply(place, "yield hi", "error: login first");
            return;
        };
        let token = self.next_token(mine);
        let others: BTreeSet<_> = self.live.iter().copied().filter(|&other| other != mine).collect();
        let effects = self.execute(place, &format!("yield {}", text_of(token)));
        let plural = if others.len() == 1 { "" } else { "s" };
        assert_eq!(reply(&effects), format!("Sent to {} cow{plural}", others.len()));
        self.apply(place, effects, (token, others));
    }

    fn next_token(&mut self, session: SessionId) -> Token {
        self.sessions[session].sent += 1;
        (session, self.sessions[session].sent)
    }

    /// Has a line executed; now and then with a request id, which its reply then begins with.
    fn execute(&mut self, place: Place, line: &str) -> Effects {
        let id = format!("{} ", self.random.u64(..1_000_000_000_000_000_000));
        let tagged = self.random.u8(..20) == 0;
        let id = if tagged { id } else { String::new() };
        let effects = self.shards[place.0].on_line(ConnectionId::new(place.1), (id.clone() + line).as_bytes().into());
        assert!(effects.reply.starts_with(id.as_bytes()), "the reply has the line's id");
        let now = self.now;
        let connection = self.connection(place);
        connection.rendering.tagged |= tagged;
        connection.timers.line_begins();
        if matches!(effects.forward, Forward::Nowhere) && effects.local.is_none() {
            connection.timers.line_ends(now, false);
        }
        if matches!(effects.outcome, Outcome::LoggedIn(_)) {
            connection.timers.message(now);
        }
        effects
    }

    /// Executes a line that sends nothing.
    fn expect_reply(&mut self, place: Place, line: &str, expected: &str) {
        self.answered(place, line, expected);
    }

    /// The same for a line that may change which cows are taken.
    fn answered(&mut self, place: Place, line: &str, expected: &str) -> Effects {
        let effects = self.execute(place, line);
        assert_eq!(reply(&effects), expected, "to {line:?}");
        assert!(matches!(effects.forward, Forward::Nowhere) && effects.local.is_none(), "{line:?} sends something");
        assert_eq!(matches!(effects.outcome, Outcome::Quit(_)), line == "quit");
        self.connection(place).wire.push_reply(&effects.reply);
        effects
    }

    fn list(&self, title: &str, taken: bool) -> String {
        let cows = (0..COWS).filter(|&cow| self.holder(cow).is_some() == taken);
        let names: Vec<String> = cows.map(name_of).collect();
        title.to_owned() + &if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
    }
}
