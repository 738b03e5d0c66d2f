//! The client's side of one chat: what each line of the server and each typed line means. Pure: it returns effects, and
//! time is told.
//!
//! - Each connection begins with `art off` under a request id. A server that repeats the id tells replies, messages and
//!   notices apart; the lines of any other server are shown as they are.
//! - One line of the user's at a time waits for its reply, so a paste goes out at the rate that the server allows.
//! - A message waits for its sender's picture, for a second at most. All items keep their order.

mod gallery;
mod received;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::VecDeque;
use std::time::Duration;

use gallery::Gallery;

use super::item::Item;
use super::names::{Names, wanted};
use crate::protocol::art::Art;

/// How long a server may take to answer the first line: as long as a connection may take.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Messages to ask for after a login.
const HISTORY_MESSAGES: usize = 20;

/// How long the lines of a picture or the messages of a history may take, together.
const BLOCK_WAIT_MAX: Duration = GREETING_WAIT_MAX;

/// How long the server may take to answer `quit`.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(2);

/// First pause before connecting again; each pause doubles, until a connection has lasted for the longest one.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// How often to log in again where the server cannot tell yet who has the cow.
const LOGIN_AGAIN: Duration = Duration::from_secs(2);

/// Longest pause before connecting again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to do, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Show it above the typed line.
    Show(Item),
    /// Send this line, which has no LF.
    Send(String),
    /// The names that a completion waits for have arrived.
    Complete,
    /// Ring the bell.
    Bell,
    /// Connect, after this time.
    ConnectAfter(Duration),
    /// End the connection.
    Close,
    /// End the client: it was asked to.
    Exit,
    /// End the client: there is no chat.
    Fail(Failure),
}

/// Why there is no chat at an address.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// It answers otherwise: the first line that it said.
    NoChat(String),
    /// It says nothing.
    Silent,
    /// It has no room, as it says.
    TurnedAway(String),
}

/// Where the client stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is no connection.
    Offline,
    /// The first line is not answered yet.
    Greeting,
    /// The server answers request ids.
    Tagged,
    /// The server does not.
    Untagged,
}

/// What a line asked for whose reply is on its way.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    /// Free names, for the line that says where the client is.
    Welcome,
    /// Free names, after a login that was refused.
    Alternatives,
    /// Names that begin so, for a completion.
    Names(String),
    /// A login of the client's own.
    Login,
    /// The picture of this breed, for messages.
    Picture(String),
    /// The picture of this cow, for the user.
    Show(String),
    /// The messages from before, after a login.
    Past,
    /// `art off` or `notify on`: the user does not see the reply.
    Unseen,
    /// A line that the user typed.
    Typed,
    /// This text, typed for every user.
    Said(String),
}

impl Asked {
    /// Whether the user's next line waits for the reply.
    fn holds_typed(&self) -> bool {
        matches!(self, Asked::Login | Asked::Past | Asked::Show(_) | Asked::Typed | Asked::Said(_))
    }
}

/// The lines of a picture that are on their way.
#[derive(Debug)]
struct Arriving {
    asked: Asked,
    body: String,
    lines_missing: usize,
}

/// Messages from before that are on their way.
#[derive(Debug)]
struct Past {
    /// The user has asked for them. Otherwise those that were seen before are left out.
    is_typed: bool,
    /// Sender and text.
    messages: Vec<(String, String)>,
    missing: usize,
}

/// What the client knows of the chat.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Where the server is.
    place: String,
    /// Joins and leaves are not shown.
    is_quiet: bool,
    stage: Stage,
    /// The name to log in as on the next connection: the last one that the server has given.
    cow: Option<String>,
    /// When to log in again: the server could not tell who has the cow.
    login_again: Option<Duration>,
    /// The server has accepted the login on this connection.
    is_registered: bool,
    /// The sender of the last private message.
    last_private: Option<String>,
    /// Sender and text of the last messages to all, as many as a history may repeat.
    seen: VecDeque<(String, String)>,
    names: Names,
    art: Option<Art>,
    last_id: u64,
    asked: VecDeque<(u64, Asked)>,
    /// Lines of the user's that wait for the reply to the line before.
    typed: VecDeque<String>,
    /// Lines of the user's that wait for the next login.
    waiting: VecDeque<String>,
    gallery: Gallery,
    arriving: Option<Arriving>,
    past: Option<Past>,
    /// Since when one of the two is.
    block_since: Duration,
    /// What the server has said before it answered the first line.
    greeting: Vec<String>,
    greeting_bytes: usize,
    /// Why the server has no room for this connection.
    turned_away: Option<String>,
    connected_since: Duration,
    /// A chat has answered at this address.
    is_known: bool,
    /// The server has closed the session for its silence: the user asks for the next one.
    is_closed_idle: bool,
    leaving_since: Option<Duration>,
    pause: Duration,
    effects: Vec<Effect>,
}

impl Conversation {
    /// No connection yet to the server at `place`. Each connection logs in as `cow`. Ids begin above `last_id`: no line of a
    /// greeting begins with such a number.
    pub(super) fn new(place: String, cow: Option<String>, is_quiet: bool, last_id: u64) -> Self {
        Conversation {
            place,
            stage: Stage::Offline,
            cow,
            is_quiet,
            login_again: None,
            is_registered: false,
            last_private: None,
            seen: VecDeque::new(),
            names: Names::default(),
            art: None,
            last_id,
            asked: VecDeque::new(),
            typed: VecDeque::new(),
            waiting: VecDeque::new(),
            gallery: Gallery::default(),
            arriving: None,
            past: None,
            block_since: Duration::ZERO,
            greeting: Vec::new(),
            greeting_bytes: 0,
            turned_away: None,
            connected_since: Duration::ZERO,
            is_known: false,
            is_closed_idle: false,
            leaving_since: None,
            pause: PAUSE_MIN,
            effects: Vec::new(),
        }
    }

    /// What there is to do since the last call.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        self.let_out();
        std::mem::take(&mut self.effects)
    }

    /// How the user wants messages drawn; `None`: as they fit.
    pub(super) fn art(&self) -> Option<Art> {
        self.art
    }

    /// What stands before the typed line.
    pub(super) fn prompt(&self) -> String {
        let is_named = self.is_registered || (self.stage == Stage::Offline && self.is_known);
        let cow = self.cow.clone().filter(|_| is_named);
        let state = match self.stage {
            Stage::Offline | Stage::Greeting if !self.is_known => Some("(connecting)".to_owned()),
            Stage::Offline => Some("(offline)".to_owned()),
            _ => None,
        };
        let unsent = self.typed.len() + self.waiting.len();
        let unsent = (unsent > 0).then(|| format!("({unsent} unsent)"));
        let words: Vec<String> = [cow, state, unsent].into_iter().flatten().collect();
        words.join(" ") + "> "
    }

    /// What stands before a line that was typed, when it is shown.
    fn prompt_of_sent(&self) -> String {
        format!("{}> ", self.cow.as_deref().filter(|_| self.is_registered).unwrap_or_default())
    }

    /// There is a connection now.
    pub(super) fn connected(&mut self, now: Duration) {
        self.stage = Stage::Greeting;
        self.connected_since = now;
        (self.greeting, self.greeting_bytes) = (Vec::new(), 0);
        self.is_closed_idle = false;
        self.ask("art off", Asked::Unseen);
    }

    /// The connection has ended, or could not be made: why.
    pub(super) fn disconnected(&mut self, reason: &str, now: Duration) {
        self.gallery.forget_asked();
        let before = std::mem::replace(&mut self.stage, Stage::Offline);
        if self.leaving_since.is_some() {
            return self.effect(Effect::Exit);
        }
        if before == Stage::Greeting && !self.is_known {
            return self.fail();
        }
        let is_of_user = |asked| matches!(asked, Asked::Typed | Asked::Said(_) | Asked::Show(_));
        let is_unanswered = self.asked.drain(..).any(|(_, asked)| is_of_user(asked));
        (self.arriving, self.past, self.is_registered, self.login_again) = (None, None, false, None);
        self.waiting.append(&mut self.typed);
        let place = &self.place;
        match before {
            // It was said when the chat ended.
            Stage::Offline | Stage::Greeting => {}
            _ if self.is_closed_idle => self.status(format!("{place} has ended the session. Enter connects again")),
            _ => {
                self.status(format!("{place} has gone away: {reason}. Connecting again"));
                if !self.waiting.is_empty() {
                    let waiting = in_lines(self.waiting.len());
                    self.status(format!("until the next login {waiting} will wait. Ctrl-C drops them"));
                }
            }
        }
        if is_unanswered {
            self.status("the last line was sent, but not answered".to_owned());
        }
        if before != Stage::Offline && now >= self.connected_since + PAUSE_MAX {
            self.pause = PAUSE_MIN;
        }
        if !self.is_closed_idle {
            self.effect(Effect::ConnectAfter(self.pause));
            self.pause = (2 * self.pause).min(PAUSE_MAX);
        }
    }

    /// The first connection leads to no chat.
    fn fail(&mut self) {
        let said = self.greeting.first().cloned().map_or(Failure::Silent, Failure::NoChat);
        let failure = self.turned_away.take().map_or(said, Failure::TurnedAway);
        self.effect(Effect::Fail(failure));
    }

    /// When [`Conversation::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let greeting = (self.stage == Stage::Greeting).then(|| self.connected_since + GREETING_WAIT_MAX);
        let leaving = self.leaving_since.map(|since| since + LEAVE_WAIT_MAX);
        let has_block = self.arriving.is_some() || self.past.is_some();
        let block = has_block.then(|| self.block_since + BLOCK_WAIT_MAX);
        greeting.into_iter().chain(leaving).chain(block).chain(self.login_again).chain(self.gallery.deadline()).min()
    }

    /// It is `now`.
    pub(super) fn on_time(&mut self, now: Duration) {
        self.gallery.on_time(now);
        if now >= self.block_since + BLOCK_WAIT_MAX {
            self.give_up_blocks(now);
        }
        if self.login_again.is_some_and(|at| now >= at) {
            self.login_again = Some(now + LOGIN_AGAIN);
            self.log_in();
        }
        if self.leaving_since.is_some_and(|since| now >= since + LEAVE_WAIT_MAX) {
            self.effect(Effect::Exit);
        }
        if self.stage == Stage::Greeting && now >= self.connected_since + GREETING_WAIT_MAX {
            match self.is_known {
                // A server that refuses the first line without repeating it.
                _ if self.greeting.iter().any(|line| line.starts_with("error: ")) => self.settle(false, now),
                true => self.effect(Effect::Close),
                false => self.fail(),
            }
        }
    }

    /// What the word before the cursor may become, and where it begins. `None`: the names are on their way, and
    /// [`Effect::Complete`] comes with them.
    pub(super) fn complete(&mut self, before_cursor: &str, now: Duration) -> Option<(usize, Vec<String>)> {
        let (start, source) = wanted(before_cursor);
        let prefix = &before_cursor[start..];
        let stale = if self.stage == Stage::Tagged { self.names.stale(source, prefix, now) } else { Vec::new() };
        if stale.is_empty() {
            return Some((start, self.names.matching(source, prefix)));
        }
        if !self.asked.iter().any(|(_, asked)| matches!(asked, Asked::Names(_))) {
            stale.into_iter().for_each(|line| self.ask(&line, Asked::Names(prefix.to_owned())));
        }
        None
    }

    /// Logs in as the cow that it had, or was to have.
    fn log_in(&mut self) {
        if let Some(cow) = self.cow.clone()
            && !self.asked.iter().any(|(_, asked)| *asked == Asked::Login)
        {
            self.ask(&format!("login {cow}"), Asked::Login);
        }
    }

    fn ask(&mut self, line: &str, asked: Asked) {
        if self.stage == Stage::Untagged {
            return self.effect(Effect::Send(line.to_owned()));
        }
        self.last_id += 1;
        self.effect(Effect::Send(format!("{} {line}", self.last_id)));
        self.asked.push_back((self.last_id, asked));
    }

    fn status(&mut self, text: String) {
        self.show(Item::Status(text));
    }

    fn show(&mut self, item: Item) {
        self.gallery.show(item);
    }

    /// Adds an effect after all that is shown before.
    fn effect(&mut self, effect: Effect) {
        self.let_out();
        self.effects.push(effect);
    }

    fn let_out(&mut self) {
        self.effects.extend(self.gallery.take_ready().into_iter().map(Effect::Show));
    }
}

/// `count` lines, in words.
pub(super) fn in_lines(count: usize) -> String {
    format!("{count} line{}", if count == 1 { "" } else { "s" })
}
