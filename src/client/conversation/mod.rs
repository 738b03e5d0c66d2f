//! The client's side of one chat: what each line of the server and each typed line means. Pure: it returns effects, and
//! time is told.
//!
//! - Each connection begins with `art off` under a request id. A server that repeats the id tells replies, messages and
//!   notices apart; the lines of any other server are shown as they are.
//! - One line of the user's at a time waits for its reply, so a paste goes out at the rate that the server allows.
//! - A message waits for its sender's picture, [`PICTURE_WAIT_MAX`] at most. All items keep their order.

mod received;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::item::Item;
use super::names::{Names, wanted};
use super::picture::Picture;
use crate::protocol::art::Art;

/// How long a message waits for its sender's picture. If the server throttles, the answer comes later, and the message is
/// drawn with the small cow.
const PICTURE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a server may take to answer the first line: as long as a connection may take.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Messages to ask for after a login.
const HISTORY_MESSAGES: usize = 20;

/// First pause before connecting again; each pause doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause before connecting again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to do, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Show it above the typed line.
    Show(Item),
    /// Send this line, which has no LF.
    Send(String),
    /// Put this line, which was typed, back into the editor.
    Keep(String),
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

/// What the user wants from the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    /// The cow to log in as.
    pub(super) cow: Option<String>,
    /// Joins and leaves are not shown.
    pub(super) quiet: bool,
}

/// Where the client stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There is no connection.
    Offline,
    /// The first line is not answered yet.
    Greeting,
    /// The server answers request ids.
    Tagged,
    /// The server does not.
    Untagged,
}

/// What a reply answers that is on its way.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    /// `art off`, the first line.
    Greeting,
    /// Free names, for the line that says where the client is.
    Welcome,
    /// Free names, after a login that was refused.
    Alternatives,
    /// Names, for a completion.
    Names,
    /// A login of the client's own.
    Login,
    /// The picture of this breed, for messages.
    Picture(String),
    /// The picture of this cow, for the user.
    Show(String),
    /// The user does not see the answer.
    Silent,
    /// A line that the user typed.
    Typed,
}

/// What the client knows of a breed's picture.
#[derive(Debug)]
enum Known {
    Asked,
    Picture(Rc<Picture>),
    /// The server has none.
    Nothing,
}

/// The lines of a picture that are on their way.
#[derive(Debug)]
struct Arriving {
    asked: Asked,
    body: String,
    lines_missing: usize,
}

/// What the client knows of the chat.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Where the server is.
    place: String,
    wishes: Wishes,
    standing: Standing,
    /// The name that the server has given, also while there is no connection.
    cow: Option<String>,
    /// The server has accepted the login on this connection.
    is_registered: bool,
    /// The sender of the last private message.
    last_private: Option<String>,
    names: Names,
    art: Option<Art>,
    last_id: u64,
    asked: VecDeque<(u64, Asked)>,
    /// Lines of the user's that wait for the reply to the line before.
    typed: VecDeque<String>,
    pictures: HashMap<String, Known>,
    arriving: Option<Arriving>,
    /// Messages from before that follow.
    past: usize,
    /// They were asked for: once is enough, however often the client connects.
    has_past: bool,
    /// Items that wait for a picture, or behind one that does, and since when.
    held: VecDeque<Item>,
    held_since: Duration,
    /// What the server has said before it answered the first line.
    greeting: Vec<String>,
    /// Why the server has no room for this connection.
    turned_away: Option<String>,
    connected_since: Duration,
    /// A chat has answered at this address.
    is_known: bool,
    /// The server has closed the session for its silence: the user asks for the next one.
    is_put_out: bool,
    is_leaving: bool,
    pause: Duration,
    effects: Vec<Effect>,
}

impl Conversation {
    pub(super) fn new(place: String, wishes: Wishes) -> Self {
        Conversation {
            place,
            wishes,
            standing: Standing::Offline,
            cow: None,
            is_registered: false,
            last_private: None,
            names: Names::default(),
            art: None,
            last_id: 0,
            asked: VecDeque::new(),
            typed: VecDeque::new(),
            pictures: HashMap::new(),
            arriving: None,
            past: 0,
            has_past: false,
            held: VecDeque::new(),
            held_since: Duration::ZERO,
            greeting: Vec::new(),
            turned_away: None,
            connected_since: Duration::ZERO,
            is_known: false,
            is_put_out: false,
            is_leaving: false,
            pause: PAUSE_MIN,
            effects: Vec::new(),
        }
    }

    /// What there is to do since the last call.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// How the user wants messages drawn; `None`: as they fit.
    pub(super) fn art(&self) -> Option<Art> {
        self.art
    }

    /// What stands before the typed line.
    pub(super) fn prompt(&self) -> String {
        let cow = self.cow.as_deref().unwrap_or_default();
        match self.standing {
            Standing::Offline if cow.is_empty() => "(offline)> ".to_owned(),
            Standing::Offline => format!("{cow} (offline)> "),
            _ if self.is_registered => format!("{cow}> "),
            _ => "> ".to_owned(),
        }
    }

    /// There is a connection now.
    pub(super) fn connected(&mut self, now: Duration) {
        self.standing = Standing::Greeting;
        self.connected_since = now;
        self.greeting.clear();
        self.is_put_out = false;
        self.ask("art off", Asked::Greeting);
    }

    /// The connection has ended, or could not be made: why.
    pub(super) fn disconnected(&mut self, reason: &str) {
        self.let_go();
        let before = std::mem::replace(&mut self.standing, Standing::Offline);
        if self.is_leaving {
            return self.effects.push(Effect::Exit);
        }
        if before == Standing::Greeting && !self.is_known {
            return self.fail();
        }
        let is_unanswered = self.asked.drain(..).any(|(_, asked)| asked == Asked::Typed);
        (self.arriving, self.past, self.is_registered) = (None, 0, false);
        let place = &self.place;
        match before {
            // It was said when the connection ended.
            Standing::Offline => {}
            _ if self.is_put_out => self.status(format!("{place} has ended the session. Enter connects again")),
            _ => {
                let reason = self.turned_away.take().unwrap_or_else(|| reason.to_owned());
                self.status(format!("{place} has gone away: {reason}. Connecting again"));
            }
        }
        if is_unanswered {
            self.status("the last line was sent, but not answered".to_owned());
        }
        if !self.typed.is_empty() {
            self.status(format!("{} lines wait for the next login. Ctrl-C drops them", self.typed.len()));
        }
        if !self.is_put_out {
            self.effects.push(Effect::ConnectAfter(self.pause));
            self.pause = (2 * self.pause).min(PAUSE_MAX);
        }
    }

    /// The first connection leads to no chat.
    fn fail(&mut self) {
        let said = self.greeting.first().cloned().map_or(Failure::Silent, Failure::NoChat);
        self.effects.push(Effect::Fail(self.turned_away.take().map_or(said, Failure::TurnedAway)));
    }

    /// When [`Conversation::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let greeting = (self.standing == Standing::Greeting).then(|| self.connected_since + GREETING_WAIT_MAX);
        let held = (!self.held.is_empty()).then(|| self.held_since + PICTURE_WAIT_MAX);
        greeting.into_iter().chain(held).min()
    }

    /// It is `now`.
    pub(super) fn on_time(&mut self, now: Duration) {
        if !self.held.is_empty() && now >= self.held_since + PICTURE_WAIT_MAX {
            self.let_go();
        }
        if self.standing == Standing::Greeting && now >= self.connected_since + GREETING_WAIT_MAX {
            if self.is_known { self.effects.push(Effect::Close) } else { self.fail() }
        }
    }

    /// What the word before the cursor may become, and where it begins. `None`: the names are on their way, and
    /// [`Effect::Complete`] comes with them.
    pub(super) fn complete(&mut self, before_cursor: &str, now: Duration) -> Option<(usize, Vec<String>)> {
        let (start, source) = wanted(before_cursor);
        let stale = if self.standing == Standing::Tagged { self.names.stale(source, now) } else { Vec::new() };
        if !stale.is_empty() {
            if !self.is_asked(&Asked::Names) {
                stale.into_iter().for_each(|line| self.ask(line, Asked::Names));
            }
            return None;
        }
        Some((start, self.names.matching(source, &before_cursor[start..])))
    }

    fn is_asked(&self, what: &Asked) -> bool {
        self.asked.iter().any(|(_, asked)| asked == what)
    }

    fn ask(&mut self, line: &str, asked: Asked) {
        if self.standing == Standing::Untagged {
            return self.effects.push(Effect::Send(line.to_owned()));
        }
        self.last_id += 1;
        self.effects.push(Effect::Send(format!("{} {line}", self.last_id)));
        self.asked.push_back((self.last_id, asked));
    }

    fn status(&mut self, text: String) {
        self.show(Item::Status(text));
    }

    /// Shows `item` after all that is held.
    fn show(&mut self, item: Item) {
        if self.held.is_empty() { self.effects.push(Effect::Show(item)) } else { self.held.push_back(item) }
    }

    /// Shows all that is held, without the pictures that have not come.
    fn let_go(&mut self) {
        self.effects.extend(self.held.drain(..).map(Effect::Show));
    }
}
