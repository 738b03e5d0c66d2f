//! What comes of a line of the server.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::{Arriving, Asked, Conversation, Effect, HISTORY_MESSAGES, Known, PAUSE_MIN, Standing};
use crate::client::item::Item;
use crate::client::names::count;
use crate::client::picture::{Picture, colours_only};
use crate::protocol::art::Art;
use crate::protocol::reply::{SERVER_IS_FULL, TOO_MANY_FROM_ADDRESS};
use crate::protocol::server_line::{Answer, Incoming, ServerLine};
use crate::protocol::text::sanitize;

/// Pictures to keep. A server has a few dozen breeds.
const PICTURES_MAX: usize = 1000;

/// Lines before the first answer to keep: a greeting has 64 KiB.
const GREETING_LINES_MAX: usize = 1000;

/// How the last line of a session begins that the server ends for its silence.
const PUT_OUT: &str = "* closed: ";

impl Conversation {
    /// The server has sent a line, without its LF.
    pub(in crate::client) fn on_line(&mut self, line: &[u8], now: Duration) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(arriving) = self.arriving.take() {
            return self.on_picture_line(arriving, line);
        }
        let safe = sanitize(line);
        match (self.standing, ServerLine::parse(&safe)) {
            (Standing::Greeting, ServerLine::Reply { id, answer }) if id == self.last_id => {
                self.settle(Answer::parse(answer) == Answer::ArtIs(Art::Off.name()));
            }
            (Standing::Greeting, _) => self.on_greeting(line, &safe),
            (Standing::Tagged, ServerLine::Reply { id, answer }) => self.on_reply(id, answer, now),
            (Standing::Tagged, ServerLine::Message(message)) => self.on_message(message, now),
            (Standing::Tagged, ServerLine::Notice(notice)) => {
                self.is_put_out |= notice.starts_with(PUT_OUT);
                self.show(Item::Notice(notice.to_owned()));
            }
            _ => {
                self.learn(&Answer::parse(&safe), now);
                self.show(Item::Raw(colours_only(line)));
            }
        }
    }

    /// A line before the answer to the first one.
    fn on_greeting(&mut self, line: &[u8], safe: &str) {
        if [SERVER_IS_FULL, TOO_MANY_FROM_ADDRESS].iter().any(|text| text.trim_end() == safe) {
            self.turned_away = safe.strip_prefix("error: ").map(str::to_owned);
        } else if safe.starts_with("error") {
            // A server without ids takes the id for a command.
            self.settle(false);
        } else if self.greeting.len() < GREETING_LINES_MAX {
            self.greeting.push(colours_only(line));
        }
    }

    /// It is a chat, with request ids or without.
    fn settle(&mut self, is_tagged: bool) {
        self.asked.clear();
        (self.is_known, self.pause) = (true, PAUSE_MIN);
        for line in std::mem::take(&mut self.greeting) {
            self.show(Item::Raw(line));
        }
        if is_tagged {
            self.standing = Standing::Tagged;
            self.ask("cows", Asked::Welcome);
        } else {
            self.standing = Standing::Untagged;
            self.status(format!("{} knows no request ids, so its lines are shown as they come", self.place));
        }
        if let Some(cow) = self.cow.take().or_else(|| self.wishes.cow.clone()) {
            self.ask(&format!("login {cow}"), Asked::Login);
        }
        self.send_typed();
    }

    fn on_reply(&mut self, id: u64, text: &str, now: Duration) {
        // Replies come in order.
        while self.asked.front().is_some_and(|(asked_id, _)| *asked_id < id) {
            self.asked.pop_front();
        }
        if self.asked.front().is_none_or(|(asked_id, _)| *asked_id != id) {
            return self.show(Item::Raw(format!("{id} {text}")));
        }
        let Some((_, asked)) = self.asked.pop_front() else { return };
        let answer = Answer::parse(text);
        self.learn(&answer, now);
        match (asked, answer) {
            (asked, Answer::Picture(lines_missing)) => {
                let arriving = Arriving { asked, body: String::new(), lines_missing };
                if lines_missing > 0 { self.arriving = Some(arriving) } else { self.on_picture(arriving) }
            }
            (Asked::Typed | Asked::Silent, Answer::History(messages)) if messages > 0 => self.past = messages,
            (Asked::Welcome, Answer::Available(names)) => self.welcome(&names),
            (Asked::Alternatives, Answer::Available(names)) => self.status(format!("free: {}", names.join(", "))),
            (Asked::Names, answer) => {
                if !matches!(answer, Answer::Available(_) | Answer::Registered(..)) {
                    self.names.keep(now);
                }
                if !self.is_asked(&Asked::Names) {
                    self.effects.push(Effect::Complete);
                }
            }
            (Asked::Login, Answer::Refused(refusal)) => {
                self.show(Item::Refusal(refusal.to_owned()));
                self.ask("cows", Asked::Alternatives);
            }
            (Asked::Picture(breed), _) => self.on_body(&breed, None),
            (Asked::Typed | Asked::Show(_), Answer::Refused(refusal)) => self.show(Item::Refusal(refusal.to_owned())),
            (Asked::Typed | Asked::Login, _) => self.show(Item::Reply(text.to_owned())),
            _ => {}
        }
        self.send_typed();
    }

    /// Takes from an answer what it says, for whatever line it is.
    fn learn(&mut self, answer: &Answer<'_>, now: Duration) {
        match answer {
            Answer::Available(names) => self.names.tell_free(names, now),
            Answer::Registered(names, _) => self.names.tell_registered(names, now),
            Answer::LoggedIn(cow) => {
                self.cow = Some((*cow).to_owned());
                self.is_registered = true;
                if self.standing == Standing::Tagged {
                    if !self.wishes.quiet {
                        self.ask("notify on", Asked::Silent);
                    }
                    if !std::mem::replace(&mut self.has_past, true) {
                        self.ask(&format!("history {HISTORY_MESSAGES}"), Asked::Silent);
                    }
                }
            }
            _ => {}
        }
    }

    fn welcome(&mut self, names: &[&str]) {
        let known: usize = names.iter().filter_map(|name| count(name)).sum();
        let more = if names.iter().any(|name| count(name).is_none()) { "more than " } else { "" };
        let are = if known == 1 { "cow is" } else { "cows are" };
        self.status(format!("{}: {more}{known} {are} free. login COW to join (Tab lists them), /help", self.place));
    }

    fn on_message(&mut self, message: Incoming<'_>, now: Duration) {
        let Incoming { sender, private, text } = message;
        let (sender, text) = (sender.to_owned(), text.to_owned());
        if self.past > 0 {
            self.past -= 1;
            return self.show(Item::Past { sender, text });
        }
        if private {
            self.last_private = Some(sender.clone());
        }
        if private || self.cow.as_deref().is_some_and(|cow| mentions(&text, cow)) {
            self.effects.push(Effect::Bell);
        }
        let breed = breed_of(&sender).to_owned();
        let is_drawn = !matches!(self.art, Some(Art::Small | Art::Off));
        let picture = match self.pictures.get(&breed) {
            Some(Known::Picture(picture)) => Some(Rc::clone(picture)),
            Some(Known::Nothing) => None,
            _ if !is_drawn => None,
            known => {
                if known.is_none() {
                    if self.pictures.len() >= PICTURES_MAX {
                        self.pictures.clear();
                    }
                    self.ask(&format!("show {breed} color"), Asked::Picture(breed.clone()));
                    self.pictures.insert(breed, Known::Asked);
                }
                if self.held.is_empty() {
                    self.held_since = now;
                }
                return self.held.push_back(Item::Message { sender, private, text, picture: None });
            }
        };
        self.show(Item::Message { sender, private, text, picture });
    }

    fn on_picture_line(&mut self, mut arriving: Arriving, line: &[u8]) {
        arriving.body.push_str(&colours_only(line));
        arriving.lines_missing -= 1;
        if arriving.lines_missing > 0 {
            arriving.body.push('\n');
            self.arriving = Some(arriving);
        } else {
            self.on_picture(arriving);
        }
    }

    fn on_picture(&mut self, Arriving { asked, body, .. }: Arriving) {
        let picture = (!body.is_empty()).then(|| Rc::new(Picture::new(body)));
        match (asked, picture) {
            (Asked::Picture(breed), picture) => self.on_body(&breed, picture),
            (Asked::Show(name), Some(picture)) => {
                self.pictures.insert(breed_of(&name).to_owned(), Known::Picture(Rc::clone(&picture)));
                self.show(Item::Cow { name, picture });
            }
            (_, Some(picture)) => picture.colour().lines().for_each(|line| self.show(Item::Raw(line.to_owned()))),
            (_, None) => {}
        }
        self.send_typed();
    }

    /// The picture of `breed` has come, or there is none: shows the messages that waited for it.
    fn on_body(&mut self, breed: &str, picture: Option<Rc<Picture>>) {
        for item in &mut self.held {
            if let Item::Message { sender, picture: missing, .. } = item
                && breed_of(sender) == breed
            {
                missing.clone_from(&picture);
            }
        }
        self.pictures.insert(breed.to_owned(), picture.map_or(Known::Nothing, Known::Picture));
        let ready = self.held.iter().take_while(|item| !is_awaited(&self.pictures, item)).count();
        self.effects.extend(self.held.drain(..ready).map(Effect::Show));
    }
}

/// Whether `item` is a message whose picture is on its way.
fn is_awaited(pictures: &HashMap<String, Known>, item: &Item) -> bool {
    let Item::Message { sender, .. } = item else { return false };
    matches!(pictures.get(breed_of(sender)), Some(Known::Asked))
}

fn breed_of(name: &str) -> &str {
    name.split_once('#').map_or(name, |(breed, _)| breed)
}

/// Whether `cow` is a word of `text`.
fn mentions(text: &str, cow: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '#' | '-' | '_');
    text.split(|character| !is_part(character)).any(|word| word.eq_ignore_ascii_case(cow))
}
