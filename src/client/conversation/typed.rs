//! What comes of a typed line.

use std::time::Duration;

use super::{Asked, Conversation, Effect, Stage, lines};
use crate::client::input::{Input, quoted};
use crate::client::item::Item;

/// What `/help` shows: half a screen of 24 lines.
const HELP: &str = "\
login COW       become that cow; cows and Tab list the free ones
TEXT            goes to all other cows; a blank before it sends any text
say COW TEXT    goes to that cow alone; /r TEXT answers the last one
who, cows       the cows that are taken, and the free ones
show COW        its picture; art auto|color|half|plain|small|off
history N       the last messages; notify on|off for joins and leaves
quit            Ctrl-D, too; Ctrl-C clears the line
Tab completes, Up and Down recall lines, and / may stand before a command";

impl Conversation {
    /// The user has typed a line, without its LF.
    pub(in crate::client) fn on_typed(&mut self, line: &str, now: Duration) {
        match Input::parse(line) {
            Input::Nothing if self.stage == Stage::Offline => self.effect(Effect::ConnectAfter(Duration::ZERO)),
            Input::Nothing => {}
            Input::Quit if self.stage == Stage::Offline => self.stop(),
            Input::Help | Input::Art(_) | Input::Refused(_) => {
                self.show(Item::Typed(line.to_owned()));
                self.execute(line, now);
            }
            Input::Login(cow) if self.stage == Stage::Offline => {
                self.show(Item::Typed(line.to_owned()));
                self.cow = Some(cow.to_owned());
                self.status(format!("{cow} logs in when there is a connection"));
            }
            _ if self.stage == Stage::Offline => {
                self.waiting.push_back(line.to_owned());
                self.status("there is no connection: the line waits for the next login. Ctrl-C drops it".to_owned());
            }
            _ => {
                self.typed.push_back(line.to_owned());
                self.send_typed(now);
            }
        }
    }

    /// The user wants to leave. The second time the client does not wait for the server.
    pub(in crate::client) fn leave(&mut self, now: Duration) {
        if self.stage == Stage::Offline || self.leaving_since.is_some() {
            return self.stop();
        }
        self.leaving_since = Some(now);
        match self.drop_typed() {
            0 => {}
            dropped => self.status(format!("{} not sent", lines(dropped))),
        }
        self.ask("quit", Asked::Typed);
    }

    /// The client must end at once.
    pub(in crate::client) fn stop(&mut self) {
        self.effect(Effect::Exit);
    }

    /// Drops the lines that wait. Returns how many there were.
    pub(in crate::client) fn drop_typed(&mut self) -> usize {
        self.typed.drain(..).chain(self.waiting.drain(..)).count()
    }

    /// Sends what was typed, until a line has to wait for its reply.
    pub(super) fn send_typed(&mut self, now: Duration) {
        let is_settled = |stage| matches!(stage, Stage::Tagged | Stage::Untagged);
        while is_settled(self.stage)
            && self.arriving.is_none()
            && !self.is_asked(&Asked::Typed)
            && !self.is_asked(&Asked::Login)
        {
            let Some(line) = self.typed.pop_front() else { return };
            self.show(Item::Typed(line.clone()));
            self.execute(&line, now);
        }
    }

    fn execute(&mut self, line: &str, now: Duration) {
        // Whether a guest may say it, only a server without ids knows.
        let may_say = self.is_registered || self.stage == Stage::Untagged;
        match Input::parse(line) {
            Input::Nothing => {}
            Input::Quit => self.leave(now),
            Input::Text(_) | Input::Answer(_) if !may_say => {
                self.show(Item::Problem(
                    "nobody hears you yet: type login and a cow's name (Tab lists the free ones)".to_owned(),
                ));
            }
            Input::Text(text) => {
                self.last_public = self.cow.clone().map(|cow| (cow, text.to_owned()));
                self.ask(&format!("yield {}", quoted(text)), Asked::Typed);
            }
            Input::Answer(text) => match &self.last_private {
                Some(cow) => self.ask(&format!("say {cow} {}", quoted(text)), Asked::Typed),
                None => self.show(Item::Problem("no cow has written to you alone yet".to_owned())),
            },
            Input::Show(cow) if self.stage == Stage::Tagged => {
                self.ask(&format!("show {cow} color"), Asked::Show(cow.to_owned()));
            }
            Input::Show(cow) => self.ask(&format!("show {cow}"), Asked::Typed),
            Input::Login(cow) => self.ask(&format!("login {cow}"), Asked::Typed),
            Input::Notify(on) => {
                self.wishes.quiet = !on;
                self.ask(if on { "notify on" } else { "notify off" }, Asked::Typed);
            }
            Input::Command(line) => self.ask(&line, Asked::Typed),
            Input::Help => HELP.lines().for_each(|line| self.status(line.to_owned())),
            Input::Art(art) => {
                self.art = art;
                self.status(format!("pictures: {}", art.map_or("as they fit", |art| art.name())));
            }
            Input::Refused(text) => self.show(Item::Problem(text)),
        }
    }
}
