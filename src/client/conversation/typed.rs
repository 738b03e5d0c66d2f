//! What comes of a typed line.

use std::time::Duration;

use super::{Asked, Conversation, Effect, Stage, in_lines};
use crate::client::input::{Input, quoted};
use crate::client::item::Item;
use crate::protocol::command::{Command, Standing};
use crate::protocol::name::Name;

/// Some session: the client reads its own commands as any session's.
const ANY_SESSION: Standing<'_> = Standing::Registered(Name { breed: "", number: 1 });

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
        // Enter connects at once; after a session that was closed for its silence any line does.
        if self.stage == Stage::Offline && (std::mem::take(&mut self.is_closed_idle) || line.trim().is_empty()) {
            self.effect(Effect::ConnectAfter(Duration::ZERO));
        }
        match Input::parse(line) {
            Input::Nothing => {}
            // The second one does not wait for the lines before it, as the first does.
            Input::Quit if self.stage == Stage::Offline || self.typed.iter().any(|line| is_quit(line)) => {
                self.leave(now)
            }
            Input::Help | Input::Art(_) | Input::Refused(_) => {
                self.show_typed(line);
                self.execute(line, now);
            }
            Input::Login(cow) if self.stage == Stage::Offline => {
                self.show_typed(line);
                self.cow = Some(cow.to_owned());
                self.status(format!("{cow} logs in when there is a connection"));
            }
            input if self.login_again.is_some() && !matches!(input, Input::Login(_) | Input::Quit) => {
                self.waiting.push_back(line.to_owned());
            }
            _ if self.stage == Stage::Offline => {
                if self.waiting.is_empty() {
                    self.status("there is no connection: lines wait for the next login. Ctrl-C drops them".to_owned());
                }
                self.waiting.push_back(line.to_owned());
            }
            _ => {
                self.typed.push_back(line.to_owned());
                self.send_typed(now);
            }
        }
    }

    /// The user wants to leave. The second time the client does not wait for the server.
    pub(in crate::client) fn leave(&mut self, now: Duration) {
        match self.drop_typed() {
            0 => {}
            dropped => self.status(format!("{} not sent", in_lines(dropped))),
        }
        if matches!(self.stage, Stage::Offline | Stage::Greeting) || self.leaving_since.is_some() {
            return self.stop();
        }
        self.leaving_since = Some(now);
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
            && self.past.is_none()
            && !self.asked.iter().any(|(_, asked)| asked.holds_typed())
        {
            let Some(line) = self.typed.pop_front() else { return };
            self.show_typed(&line);
            self.execute(&line, now);
        }
    }

    fn show_typed(&mut self, line: &str) {
        let item = Item::Typed { prompt: self.prompt_of_sent(), text: line.to_owned() };
        self.show(item);
    }

    fn execute(&mut self, line: &str, now: Duration) {
        // A server without ids decides itself whether a guest may speak.
        let may_say = self.is_registered || self.stage == Stage::Untagged;
        match Input::parse(line) {
            Input::Nothing => {}
            Input::Quit => self.leave(now),
            Input::Text(_) | Input::Answer(_) if !may_say => {
                self.show(Item::Problem(
                    "no cow hears you yet: type login and a cow's name (Tab lists the free ones)".to_owned(),
                ));
            }
            Input::Text(text) => self.ask(&format!("yield {}", quoted(text)), Asked::Said(text.to_owned())),
            Input::Answer(text) => match &self.last_private {
                Some(cow) => self.ask(&format!("say {cow} {}", quoted(text)), Asked::Typed),
                None => self.show(Item::Problem("no cow has written to you alone yet".to_owned())),
            },
            Input::Show(cow) if self.stage == Stage::Tagged => {
                self.ask(&format!("show {cow} color"), Asked::Show(cow.to_owned()));
            }
            Input::Show(cow) => self.ask(&format!("show {cow}"), Asked::Typed),
            Input::Login(cow) => {
                self.login_again = None;
                self.ask(&format!("login {cow}"), Asked::Typed);
            }
            Input::Notify(on) => {
                self.is_quiet = !on;
                self.ask(if on { "notify on" } else { "notify off" }, Asked::Typed);
            }
            Input::Command(line) => {
                let asked = match Command::parse(&line, ANY_SESSION) {
                    Ok(Command::Yield(text)) => Asked::Said(text.to_owned()),
                    _ => Asked::Typed,
                };
                self.ask(&line, asked);
            }
            Input::Art(Some(art)) if self.stage == Stage::Untagged => {
                self.ask(&format!("art {}", art.name()), Asked::Typed)
            }
            Input::Help => HELP.lines().for_each(|line| self.status(line.to_owned())),
            Input::Art(art) => {
                self.art = art;
                self.status(format!("pictures: {}", art.map_or("as they fit", |art| art.name())));
            }
            Input::Refused(text) => self.show(Item::Problem(text)),
        }
    }
}

fn is_quit(line: &str) -> bool {
    Input::parse(line) == Input::Quit
}
