//! What a request does: reads the counters, or asks each core in turn, a slice of its connections at a time.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::exposition::is_refusal;
use crate::cli::ControlCommand;
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::CLOSED_KEPT;
use crate::log::Log;
use crate::metrics::{Counter, Metrics};
use crate::net::core::Core;
use crate::net::operator::{self, Network, Target};
use crate::net::worker::CoreHandle;
use crate::protocol::text::sanitize;

/// How long a core may take for one slice.
const CORE_TIMEOUT: Duration = Duration::from_secs(5);

/// By the names of their metrics (`exposition`), without `cowchat_`.
const COUNTERS: [(&str, Counter); 11] = [
    ("connections_accepted_total", Counter::Accepted),
    ("accept_failures_total", Counter::AcceptFailures),
    ("lines_total", Counter::Lines),
    ("lines_too_soon_total", Counter::LinesTooSoon),
    ("says_total", Counter::Says),
    ("yields_total", Counter::Yields),
    ("deliveries_total", Counter::Deliveries),
    ("written_bytes_total", Counter::BytesWritten),
    ("stale_frames_total", Counter::StaleFrames),
    ("core_stalls_total", Counter::Stalls),
    ("faults_total", Counter::Faults),
];

/// The ways to a server that requests take.
pub struct Handles {
    /// All its cores.
    pub cores: Vec<CoreHandle>,
    /// Their counters.
    pub metrics: Arc<Metrics>,
    /// Where it logs.
    pub log: Log,
    /// Asks for a drain.
    pub drain: Box<dyn Fn() + Send + Sync>,
}

impl Handles {
    /// Does what a client asks. The error is one line.
    pub(super) fn answer(&self, command: ControlCommand) -> Result<Value, String> {
        match command {
            ControlCommand::Stats => self.stats(),
            ControlCommand::Who => {
                let mut all = Vec::new();
                self.of_each_slice(operator::who, |some| all.extend(some))?;
                Ok(Value::Array(all.iter().map(row).collect()))
            }
            ControlCommand::Kick { whom, text } => {
                let (target, text) = (Target::of(&whom), text.join(" "));
                let text =
                    if text.trim().is_empty() { "kicked".to_owned() } else { sanitize(text.as_bytes()).into_owned() };
                let mut kicked = 0;
                let kick = move |core: &Rc<Core>, slot| operator::kick(core, slot, &target, &text);
                self.of_each_slice(kick, |some| kicked += some)?;
                if kicked == 0 { Err(format!("no connection of {whom}")) } else { Ok(json!({ "kicked": kicked })) }
            }
            ControlCommand::Ban { network, time } => self.ban(&network, time),
            ControlCommand::Unban { network } => {
                let network: Network = network.parse().map_err(|error| format!("{network}: {error}"))?;
                if !self.of_first(move |core| operator::unban(core, network))? {
                    return Err(format!("no ban of {network}: cowchat ctl bans lists them"));
                }
                self.log.emit(Event::Unbanned { network: network.to_string() });
                Ok(json!({ "unbanned": network.to_string() }))
            }
            ControlCommand::Bans => Ok(self.of_first(operator::bans)?.iter().map(ban_row).collect()),
            ControlCommand::Notice { text } => {
                let text = sanitize(text.join(" ").as_bytes()).into_owned();
                if text.trim().is_empty() {
                    return Err("an empty notice".to_owned());
                }
                let mut told = 0;
                self.of_each_slice(move |core, slot| operator::notice(core, slot, &text), |some| told += some)?;
                Ok(json!({ "told": told }))
            }
            ControlCommand::Closed => self.closed(),
            ControlCommand::Drain => {
                (self.drain)();
                Ok(json!({ "draining": self.metrics.open() }))
            }
            ControlCommand::Log { level } => {
                self.log.set_level(level);
                Ok(json!({ "log": level.name() }))
            }
        }
    }

    fn ban(&self, network: &str, time: Option<Duration>) -> Result<Value, String> {
        let network: Network = network.parse().map_err(|error| format!("{network}: {error}"))?;
        self.of_first(move |core| operator::ban(core, network, time))?.map_err(|error| error.to_string())?;
        // From here on each core refuses the network. So what is open now is all that there is to close.
        let mut closed = 0;
        self.of_each_slice(move |core, slot| operator::end_banned(core, slot, network), |some| closed += some)?;
        let seconds = time.map(|time| time.as_secs());
        self.log.emit(Event::Banned { network: network.to_string(), seconds, connections: closed });
        Ok(json!({ "banned": network.to_string(), "closed": closed }))
    }

    fn closed(&self) -> Result<Value, String> {
        let mut closed = Vec::new();
        for core in &self.cores {
            closed.extend(ask(core, operator::closed)?);
        }
        closed.sort_by_key(|ended| ended.at);
        let last = closed.len().saturating_sub(CLOSED_KEPT);
        Ok(closed[last..].iter().map(ended_row).collect())
    }

    /// Has the first core do `act`, for what all cores share.
    fn of_first<T: Send + 'static>(&self, act: impl FnOnce(&Rc<Core>) -> T + Send + 'static) -> Result<T, String> {
        ask(self.cores.first().ok_or("the server has no core")?, act)
    }

    fn stats(&self) -> Result<Value, String> {
        let mut stats = Map::new();
        stats.insert("connections_open".to_owned(), self.metrics.open().into());
        let (cows_taken, cows) = self.of_first(operator::cows)?;
        stats.insert("cows_taken".to_owned(), cows_taken.into());
        stats.insert("cows".to_owned(), cows.into());
        stats.extend(COUNTERS.map(|(key, counter)| (key.to_owned(), self.metrics.total(counter).into())));
        stats.insert("log_lines_lost_total".to_owned(), self.log.lines_lost().into());
        for (key, refused) in [("connections_refused_total", true), ("connections_ended_total", false)] {
            let reasons = CloseReason::ALL.into_iter().filter(|&reason| is_refusal(reason) == refused);
            let counts =
                reasons.map(|reason| (reason.key(), self.metrics.ended(reason))).filter(|(_, count)| *count > 0);
            stats.insert(key.to_owned(), counts.map(|(key, count)| (key.to_owned(), Value::from(count))).collect());
        }
        Ok(Value::Object(stats))
    }

    /// Has every core do `act` from slot to slot of its connections, until it returns `None`.
    fn of_each_slice<T: Send + 'static>(
        &self,
        act: impl Fn(&Rc<Core>, usize) -> Option<(T, usize)> + Send + Sync + 'static,
        mut take: impl FnMut(T),
    ) -> Result<(), String> {
        let act = Arc::new(act);
        for core in &self.cores {
            let mut slot = 0;
            loop {
                let act = Arc::clone(&act);
                let Some((some, next)) = ask(core, move |core| act(core, slot))? else { break };
                take(some);
                slot = next;
            }
        }
        Ok(())
    }
}

/// Has a core do `act`, and waits for what that returns.
fn ask<T: Send + 'static>(core: &CoreHandle, act: impl FnOnce(&Rc<Core>) -> T + Send + 'static) -> Result<T, String> {
    match core.ask(act).recv_timeout(CORE_TIMEOUT) {
        Ok(reply) => reply.map_err(|fault| fault.to_string()),
        Err(RecvTimeoutError::Disconnected) => Err("the server is shutting down".to_owned()),
        Err(RecvTimeoutError::Timeout) => Err("a core does not answer".to_owned()),
    }
}

fn ban_row(ban: &operator::Banned) -> Value {
    json!({
        "network": ban.network,
        "left_seconds": ban.left.map(|left| left.as_secs()),
        "refused": ban.refused,
    })
}

fn ended_row(ended: &operator::Ended) -> Value {
    json!({
        "time": humantime::format_rfc3339_millis(ended.at).to_string(),
        "connection": ended.connection,
        "cow": ended.cow,
        "address": ended.address.map(|address| address.to_string()),
        "age_seconds": ended.age.as_secs(),
        "reason": ended.reason.key(),
    })
}

fn row(who: &operator::Who) -> Value {
    json!({
        "cow": who.cow,
        "connection": who.connection,
        "address": who.address.map(|address| address.to_string()),
        "age_seconds": who.age.as_secs(),
        "idle_seconds": who.idle.map(|idle| idle.as_secs()),
        "queued_bytes": who.queued_bytes,
        "lines": who.lines,
    })
}
