//! From a line to its effects: made safe, refused or executed, and answered.

use std::fmt::Write;

use super::Shard;
use super::cluster::{Entered, PendingLogin};
use super::effects::{Effects, Outcome};
use super::execution::Execution;
use super::message::INTO_MEMORY;
use super::rendering::Rendering;
use crate::directory::Quota;
use crate::ids::ConnectionId;
use crate::metrics::{Counter, LoginResult};
use crate::protocol::command::{Command, Standing};
use crate::protocol::foreign;
use crate::protocol::line::Line;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::Reply;
use crate::protocol::request_id::split_id;
use crate::protocol::text::sanitize;

impl Shard {
    /// Decides what one line of `from` means. On return, the claim or release that it asks for is done.
    pub fn on_line(&mut self, from: ConnectionId, line: Line<'_>) -> Effects {
        self.on_line_within(from, line, None)
    }

    /// The same, and a `login` counts towards `quota`.
    pub fn on_line_within(&mut self, from: ConnectionId, line: Line<'_>, quota: Option<Quota<'_>>) -> Effects {
        self.metrics.add(Counter::Lines, 1);
        self.answer(from, line, false, quota)
    }

    /// Refuses a line that came too soon: its command has no effect, but its id and line end count, and a client of another
    /// protocol is told so.
    pub fn on_line_too_soon(&mut self, from: ConnectionId, line: Line<'_>) -> Effects {
        self.metrics.add(Counter::LinesTooSoon, 1);
        self.answer(from, line, true, None)
    }

    fn answer(&mut self, from: ConnectionId, line: Line<'_>, too_soon: bool, quota: Option<Quota<'_>>) -> Effects {
        let safe = sanitize(line.start());
        let id = split_id(&safe);
        let rendering = self.roster.rendering(from);
        let tagged = rendering.tagged || matches!(id, Ok((Some(_), _)));
        self.roster.set_rendering(from, Rendering { tagged, crlf: line.crlf, ..rendering });
        let line_bytes_max = self.context.rules.line_bytes_max;
        let mut execution = Execution::new(self, from, quota);
        let is_foreign = || line.is_tls() || foreign::is_http(&safe, line.bytes.is_ok());
        let mut place = None;
        let reply = match (line.bytes, &id) {
            _ if execution.standing() == Standing::Guest && is_foreign() => {
                execution.effects.outcome = Outcome::Foreign;
                Err(Refusal::Foreign)
            }
            _ if too_soon => Err(Refusal::SlowDown),
            (Err(_), _) => Err(Refusal::LineTooLong(line_bytes_max)),
            (Ok(_), Err(refusal)) => Err(refusal.clone()),
            (Ok(_), Ok((_, line))) => Command::parse(line, execution.standing()).and_then(|command| {
                place = Some(command.place());
                execution.execute(command)
            }),
        };
        if !too_soon {
            execution.metrics.add_line(place);
        }
        let id = id.ok().and_then(|(id, _)| id);
        execution.end(place, reply, id, line.crlf)
    }

    /// The cluster has answered to the login of `from` that waits.
    pub fn on_entered(&mut self, from: ConnectionId, mut login: PendingLogin, entered: Entered) -> Effects {
        let (id, crlf) = (login.id.take(), login.crlf);
        let mut execution = Execution::new(self, from, None);
        let reply = execution.end_login(login, entered);
        execution.end(Some(Command::Login("").place()), reply, id.as_deref(), crlf)
    }
}

impl Execution<'_> {
    /// Everything that the line does: what was decided, and the reply to it.
    fn end(
        mut self,
        place: Option<usize>,
        reply: Result<Reply<'_>, Refusal<'_>>,
        id: Option<&str>,
        crlf: bool,
    ) -> Effects {
        if let Some(login) = &mut self.effects.pending {
            (login.id, login.crlf) = (id.map(Box::from), crlf);
            return self.effects;
        }
        if let Some(result) = login_result(place, &reply) {
            self.metrics.add_login(result);
        }
        let reply = reply.unwrap_or_else(Reply::Refused);
        let mut text = String::with_capacity(32);
        let end = if crlf { "\r\n" } else { "\n" };
        let written = match id {
            Some(id) => write!(text, "{id} {reply}{end}"),
            None => write!(text, "{reply}{end}"),
        };
        written.expect(INTO_MEMORY);
        self.blocks.iter().for_each(|block| text.push_str(block));
        Effects { reply: text.into_bytes(), ..self.effects }
    }
}

/// What came of a line that asked for a login.
fn login_result(place: Option<usize>, reply: &Result<Reply<'_>, Refusal<'_>>) -> Option<LoginResult> {
    let is_login = || place == Some(Command::Login("").place());
    match reply {
        Ok(Reply::LoggedIn(_)) => Some(LoginResult::LoggedIn),
        Err(Refusal::Taken(_) | Refusal::EveryTaken(_)) => Some(LoginResult::Taken),
        Err(Refusal::TooManyCows(_)) => Some(LoginResult::TooManyCows),
        Err(Refusal::AlreadyLoggedIn(_)) => Some(LoginResult::AlreadyLoggedIn),
        Err(Refusal::ClusterOutOfReach) => Some(LoginResult::OutOfReach),
        Err(Refusal::NoSuchCow(_)) if is_login() => Some(LoginResult::NoSuchCow),
        _ => None,
    }
}
