//! One core's logic, pure: `(state, event) -> effects`.
//!
//! A [`Shard`] knows the sessions of its core. It never waits, never writes to a socket, and knows only the times that it
//! is told. So the simulation in `tests/` runs any number of shards in one thread and checks them after each step.
//!
//! - `line`: from a line to its [`Effects`]; `execution`: what each command does; `effects`: also the [`Frame`]s
//! - `delivery`: what arrives, from other cores or from here, and which sessions get it
//! - `message`: where a message is drawn; `rendering`: how a connection wants it
//! - `roster`: the sessions; `history`, `presence`: what is kept for `history` and for notices
//! - `demand`, `backlogs`: what cores know of each other's sessions
//! - `cluster`: what a shard asks of other servers; `early`: what is said to a cow before they have answered
//!
//! A session holds exactly one claim, and a claim belongs to exactly one session.

mod backlogs;
mod cluster;
mod delivery;
mod demand;
mod early;
mod effects;
mod execution;
mod history;
mod line;
mod message;
mod presence;
mod rendering;
mod roster;

use std::sync::Arc;
use std::time::Duration;

pub use backlogs::{Backlogs, InFlight};
pub use cluster::{Cluster, Entered, PendingLogin, Reach};
pub use delivery::Delivery;
pub use demand::Demand;
pub use effects::{Effects, Forward, Frame, Outcome};
pub use message::{Drawing, Message, MessageBody, Payload, bytes_at_most, name};
pub use presence::Presence;
pub use rendering::Rendering;
pub use roster::Receiver;

use crate::cows::{CowId, Herd};
use crate::directory::{Claims, Directory, NoMemory};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::LINE_BYTES_MAX;
use crate::metrics::{CoreMetrics, Counter};
use crate::protocol::art::Art;
use crate::protocol::reply::HERE;
use crate::protocol::telnet::Answer;
use history::History;
use presence::Notices;
use roster::Roster;

/// The flags that a shard knows.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether messages begin with a line that names the sender.
    pub header: bool,
    /// The art of a connection that has not sent `art`.
    pub art: Art,
    /// Messages to all that are kept; 0 for none.
    pub history_messages: usize,
    /// Longest line in bytes, as the refusal of a longer one names it.
    pub line_bytes_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { header: true, art: Art::default(), history_messages: 0, line_bytes_max: LINE_BYTES_MAX }
    }
}

/// What all shards of a server share.
#[derive(Debug, Clone)]
pub struct ShardContext {
    /// The names and pictures.
    pub herd: Arc<Herd>,
    /// The owner of each cow.
    pub directory: Arc<Directory>,
    /// How many users of each core want what.
    pub demand: Arc<Demand>,
    /// Which cows are far behind.
    pub backlogs: Arc<Backlogs>,
    /// The other servers, if there are any.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// The flags.
    pub rules: Rules,
}

impl ShardContext {
    /// No session yet on any of `shards` cores, and no cluster.
    pub fn new(herd: Arc<Herd>, shards: usize, rules: Rules) -> Result<Self, NoMemory> {
        let directory = Directory::new(herd.breeds().len(), herd.size(), shards)?;
        let backlogs = Backlogs::new(herd.breeds().len(), herd.size())?;
        Ok(ShardContext { herd, directory, demand: Demand::new(shards), backlogs, cluster: None, rules })
    }

    fn drawing(&self) -> Drawing<'_> {
        Drawing { herd: &self.herd, header: self.rules.header }
    }
}

/// One core's state.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    context: ShardContext,
    roster: Roster,
    history: History,
    notices: Notices,
    metrics: CoreMetrics,
    /// When the line that comes next was read, if its message is timed.
    read_at: Option<Duration>,
}

impl Shard {
    /// The shard `id` of a server, without sessions.
    pub fn new(id: ShardId, context: ShardContext, metrics: CoreMetrics) -> Self {
        let claims = Claims::new(Arc::clone(&context.directory), id);
        let roster = Roster::new(id, claims, Arc::clone(&context.demand), Rendering::of(context.rules.art));
        let history = History::new(context.rules.history_messages);
        Shard { id, context, roster, history, notices: Notices::default(), metrics, read_at: None }
    }

    /// Has the message of the next line timed: it was read at `read_at`, by the server's time.
    pub fn time_next(&mut self, read_at: Duration) {
        self.read_at = Some(read_at);
    }

    /// The cow that `connection` is registered as.
    pub fn cow(&self, connection: ConnectionId) -> Option<CowId> {
        self.roster.owner_and_cow(connection).map(|(_, cow)| cow)
    }

    /// The sessions of this core, in no particular order.
    pub fn registered(&self) -> &[Receiver] {
        self.roster.registered()
    }

    /// Whether a panic has left the shard inconsistent.
    pub fn is_poisoned(&self) -> bool {
        self.roster.is_poisoned()
    }

    /// `connection` is closed: on return its cow, if it had one, is free. A second call changes nothing and returns `None`.
    pub fn on_close(&mut self, connection: ConnectionId) -> Option<CowId> {
        let unheard = self.roster.early.end(connection).len();
        self.metrics.add(Counter::StaleFrames, unheard as u64);
        self.roster.leave(connection)
    }

    /// What was said to `connection` while its login waited for the cluster, for [`Shard::on_frame`]: to be called when the login
    /// has succeeded.
    pub fn take_early(&mut self, connection: ConnectionId) -> Vec<Frame> {
        self.roster.early.end(connection)
    }

    /// Ends all sessions, and returns them.
    pub fn log_out_all(&mut self) -> Vec<(ConnectionId, CowId)> {
        let connections: Vec<_> = self.roster.registered().iter().map(|receiver| receiver.connection).collect();
        let end = |connection| Some((connection, self.roster.leave(connection)?));
        connections.into_iter().filter_map(end).collect()
    }

    /// Another connection may use the place of `connection` from now on.
    pub fn on_forget(&mut self, connection: ConnectionId) {
        self.roster.forget(connection);
    }

    /// `connection` speaks telnet: its lines end in CR LF from now on. Returns what to send it.
    pub fn on_telnet(&mut self, connection: ConnectionId, answer: &Answer) -> Vec<u8> {
        let rendering = Rendering { crlf: true, ..self.roster.rendering(connection) };
        self.roster.set_rendering(connection, rendering);
        answer.bytes(&rendering.server_line(HERE))
    }

    /// A line of the server's own, ended by LF, as `connection` wants it.
    pub fn server_line(&self, connection: ConnectionId, line: &str) -> String {
        self.roster.rendering(connection).server_line(line)
    }
}

/// A herd of `size` cows of each of these names.
#[cfg(test)]
fn herd_of(names: &[&str], size: u32) -> Herd {
    use crate::cows::bubble::Bubble;
    use crate::cows::herd::Cow;
    let cow = |name: &&str| Cow {
        name: (*name).to_owned(),
        colour: "C".to_owned(),
        half: "H".to_owned(),
        plain: "P".to_owned(),
    };
    Herd::new(names.iter().map(cow).collect(), size, Bubble::default()).expect("distinct names")
}
