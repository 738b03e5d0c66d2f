//! What comes of a line of the server.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::gallery::breed_of;
use super::{Arriving, Asked, Conversation, Effect, HISTORY_MESSAGES, LOGIN_AGAIN, Past, Stage};
use crate::client::input::Input;
use crate::client::item::Item;
use crate::client::names::count;
use crate::client::picture::{Picture, colours_only};
use crate::protocol::art::Art;
use crate::protocol::refusal::TRY_AGAIN;
use crate::protocol::reply::{ADDRESS_IS_BANNED, CLUSTER_LOST, SERVER_IS_FULL, TOO_MANY_FROM_ADDRESS};
use crate::protocol::server_line::{Answer, Incoming, ServerLine};
use crate::protocol::text::sanitize;

/// Bytes before the first answer to keep: a greeting has 64 KiB, and a CR for each LF.
const GREETING_BYTES_MAX: usize = 128 * 1024;

/// Lines of a picture at most: one of 32 KiB has fewer.
const PICTURE_LINES_MAX: usize = 32 * 1024;

/// Bytes of a picture at most.
const PICTURE_BYTES_MAX: usize = 1024 * 1024;

/// Messages of a history at most.
const HISTORY_MAX: usize = 10_000;

/// Messages of others and of the user to remember: a history that is not asked for has [`HISTORY_MESSAGES`].
const SEEN_MAX: usize = 2 * HISTORY_MESSAGES;

/// How a session's last line begins when the server ends it as idle.
const CLOSED: &str = "* closed: ";

impl Conversation {
    /// The server has sent a line, without its LF.
    pub(in crate::client) fn on_line(&mut self, line: &[u8], now: Duration) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(arriving) = self.arriving.take() {
            return self.on_picture_line(arriving, line, now);
        }
        let safe = sanitize(line);
        match (self.stage, ServerLine::parse(&safe)) {
            (Stage::Greeting, ServerLine::Reply { id, answer }) if id == self.last_id => {
                self.settle(Answer::parse(answer) == Answer::ArtIs(Art::Off.name()), now);
            }
            (Stage::Greeting, _) => self.on_greeting(line, &safe, now),
            (Stage::Tagged, ServerLine::Reply { id, answer }) => self.on_reply(id, answer, now),
            (Stage::Tagged, ServerLine::Message(message)) => self.on_message(message, now),
            (Stage::Tagged, ServerLine::Notice(notice)) => {
                self.is_closed_idle |= notice.starts_with(CLOSED);
                self.show(Item::Notice(notice.to_owned()));
                if notice == CLUSTER_LOST.trim_end() {
                    self.is_registered = false;
                    self.log_in();
                }
            }
            _ => {
                self.learn(&Answer::parse(&safe), now);
                self.show(Item::Raw(colours_only(line)));
                self.send_typed(now);
            }
        }
    }

    /// A line before the answer to the first one.
    fn on_greeting(&mut self, line: &[u8], safe: &str, now: Duration) {
        let id = self.last_id.to_string();
        if [SERVER_IS_FULL, TOO_MANY_FROM_ADDRESS, ADDRESS_IS_BANNED].iter().any(|text| text.trim_end() == safe) {
            self.turned_away = safe.strip_prefix("error: ").map(str::to_owned);
        } else if safe.split(' ').any(|word| word == id) {
            // A server without ids takes the id for a command.
            self.settle(false, now);
        } else if self.greeting_bytes < GREETING_BYTES_MAX {
            self.greeting_bytes += line.len() + 1;
            self.greeting.push(colours_only(line));
        }
    }

    /// It is a chat, with request ids or without.
    pub(super) fn settle(&mut self, is_tagged: bool, now: Duration) {
        self.asked.clear();
        let is_back = std::mem::replace(&mut self.is_known, true) && self.cow.is_some();
        for line in std::mem::take(&mut self.greeting) {
            self.show(Item::Raw(line));
        }
        if is_tagged {
            self.stage = Stage::Tagged;
            if is_back {
                self.status(format!("{} is back", self.place));
            } else {
                self.ask("cows", Asked::Welcome);
            }
        } else {
            self.stage = Stage::Untagged;
            self.status(format!("{} knows no request ids, so its lines are shown as they come", self.place));
        }
        self.log_in();
        self.send_typed(now);
    }

    fn on_reply(&mut self, id: u64, text: &str, now: Duration) {
        let Some(at) = self.asked.iter().position(|(asked_id, _)| *asked_id == id) else {
            return self.show(Item::Raw(format!("{id} {text}")));
        };
        // Replies come in order: those before have been lost.
        for (_, asked) in self.asked.drain(..at) {
            if let Asked::Picture(breed) = asked {
                self.gallery.forget(&breed);
            }
        }
        let Some((_, asked)) = self.asked.pop_front() else { return };
        let answer = Answer::parse(text);
        self.learn(&answer, now);
        match (asked, answer) {
            (asked, Answer::Picture(lines_missing)) if lines_missing <= PICTURE_LINES_MAX => {
                let arriving = Arriving { asked, body: String::new(), lines_missing };
                if lines_missing == 0 {
                    return self.on_picture(arriving, now);
                }
                (self.arriving, self.block_since) = (Some(arriving), now);
            }
            (asked @ (Asked::Typed | Asked::Past), Answer::History(missing @ 1..=HISTORY_MAX)) => {
                self.past = Some(Past { is_typed: asked == Asked::Typed, messages: Vec::new(), missing });
                self.block_since = now;
            }
            (Asked::Welcome, Answer::Available(names)) => self.welcome(&names),
            (Asked::Alternatives, Answer::Available(names)) => self.status(format!("free: {}", names.join(", "))),
            (Asked::Names(prefix), answer) => {
                match answer {
                    Answer::Available(_) => {}
                    Answer::Registered(names, more) => self.names.set_registered(&names, prefix, more == 0, now),
                    _ => self.names.keep(now),
                }
                if !self.asked.iter().any(|(_, asked)| matches!(asked, Asked::Names(_))) {
                    self.effect(Effect::Complete);
                }
            }
            (Asked::Login, Answer::Refused(refusal)) => {
                let was_told = self.login_again.take().is_some();
                if refusal.ends_with(TRY_AGAIN) {
                    self.login_again = Some(now + LOGIN_AGAIN);
                    if !was_told {
                        self.show(Item::Refusal(refusal.to_owned()));
                        let cow = self.cow.as_deref().unwrap_or_default();
                        self.status(format!(
                            "{cow} logs in as soon as it can. Other lines wait for that, and Ctrl-C drops them"
                        ));
                    }
                } else {
                    self.cow = None;
                    self.show(Item::Refusal(refusal.to_owned()));
                    self.ask("cows", Asked::Alternatives);
                }
                // What was typed before the refusal waits, too, but for another login.
                let (logins, others) =
                    self.typed.drain(..).partition(|line| matches!(Input::parse(line), Input::Login(_)));
                self.typed = logins;
                self.waiting.extend::<VecDeque<String>>(others);
            }
            (Asked::Picture(breed), _) => self.gallery.learn(&breed, None),
            (Asked::Typed | Asked::Said(_) | Asked::Show(_), Answer::Refused(refusal)) => {
                self.show(Item::Refusal(refusal.to_owned()));
                if refusal.starts_with("usage: ") {
                    self.status("to send such a line as text, type a blank before it".to_owned());
                }
            }
            (Asked::Said(said), _) => {
                self.show(Item::Reply(text.to_owned()));
                if let Some(cow) = self.cow.clone() {
                    // The server trims it.
                    self.see(cow, said.trim_end().to_owned());
                }
            }
            (Asked::Typed | Asked::Show(_) | Asked::Login, _) => self.show(Item::Reply(text.to_owned())),
            _ => {}
        }
        self.send_typed(now);
    }

    /// Takes from an answer what it says, for whatever line it is.
    fn learn(&mut self, answer: &Answer<'_>, now: Duration) {
        match answer {
            Answer::Available(names) => self.names.set_free(names, now),
            Answer::LoggedIn(cow) => {
                self.cow = Some((*cow).to_owned());
                (self.is_registered, self.login_again) = (true, None);
                if self.stage == Stage::Tagged {
                    if !self.is_quiet {
                        self.ask("notify on", Asked::Unseen);
                    }
                    self.ask(&format!("history {HISTORY_MESSAGES}"), Asked::Past);
                }
                self.waiting.append(&mut self.typed);
                std::mem::swap(&mut self.waiting, &mut self.typed);
            }
            _ => {}
        }
    }

    fn welcome(&mut self, names: &[&str]) {
        let known: usize = names.iter().filter_map(|name| count(name)).sum();
        let more = if names.iter().any(|name| count(name).is_none()) { "more than " } else { "" };
        let are = if known == 1 { "cow is" } else { "cows are" };
        let next = if self.cow.is_none() { ". login COW to join (Tab lists them)" } else { "" };
        self.status(format!("{}: {more}{known} {are} free{next}, /help", self.place));
    }

    fn on_message(&mut self, message: Incoming<'_>, now: Duration) {
        let Incoming { sender, private, text } = message;
        let (sender, text) = (sender.to_owned(), text.to_owned());
        if let Some(past) = &mut self.past {
            past.messages.push((sender, text));
            past.missing -= 1;
            if past.missing == 0 {
                self.show_past();
                self.send_typed(now);
            }
            return;
        }
        if private {
            self.last_private = Some(sender.clone());
        } else {
            self.see(sender.clone(), text.clone());
        }
        if private || self.cow.as_deref().is_some_and(|cow| mentions(&text, cow)) {
            self.effect(Effect::Bell);
        }
        if matches!(self.art, Some(Art::Small | Art::Off)) {
            return self.show(Item::Message { sender, private, text, picture: None });
        }
        let breed = breed_of(&sender).to_owned();
        if self.gallery.show_message(sender, private, text, now) {
            self.ask(&format!("show {breed} color"), Asked::Picture(breed));
        }
    }

    /// The server does not send all that it has announced.
    pub(super) fn give_up_blocks(&mut self, now: Duration) {
        self.show_past();
        match self.arriving.take() {
            Some(Arriving { asked: Asked::Picture(breed), .. }) => self.gallery.forget(&breed),
            Some(arriving) => self.on_picture(arriving, now),
            None => {}
        }
    }

    /// Shows the messages from before; of those that the user has not asked for, the ones that were not shown yet.
    fn show_past(&mut self) {
        let Some(Past { is_typed, messages, .. }) = self.past.take() else { return };
        // Each was seen as often as it is remembered, wherever it stands: cores keep histories of their own.
        let mut seen = self.seen.clone();
        for (sender, text) in messages {
            let before = seen.iter().position(|(name, said)| *name == sender && *said == text);
            match before.filter(|_| !is_typed) {
                Some(at) => drop(seen.remove(at)),
                None => {
                    if !is_typed {
                        self.see(sender.clone(), text.clone());
                    }
                    self.show(Item::Past { sender, text });
                }
            }
        }
    }

    /// Remembers a message to all that is on the screen.
    fn see(&mut self, sender: String, text: String) {
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((sender, text));
    }

    fn on_picture_line(&mut self, mut arriving: Arriving, line: &[u8], now: Duration) {
        if arriving.body.len() < PICTURE_BYTES_MAX {
            arriving.body.push_str(&colours_only(line));
            arriving.body.push('\n');
        }
        arriving.lines_missing -= 1;
        if arriving.lines_missing > 0 {
            self.arriving = Some(arriving);
        } else {
            self.on_picture(arriving, now);
        }
    }

    fn on_picture(&mut self, Arriving { asked, mut body, .. }: Arriving, now: Duration) {
        body.pop();
        let picture = (!body.is_empty()).then(|| Rc::new(Picture::new(body)));
        match (asked, picture) {
            (Asked::Picture(breed), picture) => self.gallery.learn(&breed, picture),
            (Asked::Show(name), Some(picture)) => {
                self.gallery.learn(breed_of(&name), Some(Rc::clone(&picture)));
                self.show(Item::Cow { name, picture });
            }
            (_, Some(picture)) => picture.colour().lines().for_each(|line| self.show(Item::Raw(line.to_owned()))),
            (_, None) => {}
        }
        self.send_typed(now);
    }
}

/// Whether `cow` is a word of `text`.
fn mentions(text: &str, cow: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '#' | '-' | '_' | '.');
    let mut words = text.split(|character| !is_part(character));
    words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(cow))
}
