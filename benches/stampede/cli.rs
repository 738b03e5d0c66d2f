//! The command line: a workload, and the flags of all workloads.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Many netcat-like clients against a real server; each delivery is counted
#[derive(Debug, Parser)]
#[command(name = "stampede", bin_name = "cargo bench --bench stampede --", max_term_width = 100)]
pub struct Cli {
    /// What the clients do; without one, this help
    #[command(subcommand)]
    pub workload: Option<Workload>,
    /// Flags of all workloads
    #[command(flatten)]
    pub common: Common,
}

/// Flags of all workloads.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Measure a server that runs already, whose process is --pid
    #[arg(long, global = true, value_name = "ADDR:PORT", requires = "pid")]
    pub addr: Option<SocketAddr>,
    /// The process of the server at --addr, for its CPU time
    #[arg(long, global = true, value_name = "PID", requires = "addr")]
    pub pid: Option<u32>,
    /// Cores of a server that is started
    #[arg(long, global = true, value_name = "N", default_value_t = 2)]
    pub cores: usize,
    /// More flags for `cowchat serve`, in one word, such as "--log warn --no-header"
    #[arg(long, global = true, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub server_args: String,
    /// How long a run is measured, in seconds, after a tenth of that to warm up
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 2.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Runs of each target, in turns; the table has their medians
    #[arg(long, global = true, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Run the same against two floors: bare epoll servers, one with a write for each message, one with a write for each
    /// receiver and turn (not for idle, slow, flood and price)
    #[arg(long, global = true)]
    pub floor: bool,
    /// Run the same against another build of the server, such as the commit before
    #[arg(long, global = true, value_name = "BINARY")]
    pub against: Option<PathBuf>,
    /// Run the same on so many servers of a cluster, each with --cores, over which the clients are spread in turn; the CPU time
    /// of the NATS server counts. It needs nats-server, and the feature `cluster` (fanout, say, mix, storm)
    #[arg(long, global = true, value_name = "SERVERS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(2..=32))]
    pub cluster: Option<u32>,
    /// Length of all texts in bytes; the first 27 are the token by which a message is counted
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 36, value_parser = clap::value_parser!(u32).range(27..=4000))]
    text: u32,
    /// Texts like those of a chat instead, the same in each run: half of them have up to 40 bytes, one in ten 150, one in
    /// a hundred 500; one in twenty is not ASCII
    #[arg(long, global = true, value_name = "KIND", conflicts_with = "text")]
    texts: Option<Kind>,
    /// Print each run as a line of JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Append each run as a line of JSON to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// A kind of texts.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Chat,
}

impl Common {
    /// Bytes of a text, or `None` for those of a chat.
    pub fn texts(&self) -> Option<usize> {
        self.texts.is_none().then_some(self.text as usize)
    }
}

/// What the clients do.
#[derive(Debug, Clone, Subcommand)]
pub enum Workload {
    /// Senders yield, all others receive
    Fanout {
        /// Clients that only listen; several numbers, such as 5,10,20, are run one after the other
        #[arg(long, value_name = "N", default_value = "20", value_delimiter = ',')]
        receivers: Vec<usize>,
        /// Clients that yield, and receive what the others yield
        #[arg(long, value_name = "N", default_value_t = 1)]
        senders: usize,
        /// Messages that each sender has in flight: the next is sent when all clients have received one. Keep
        /// senders x window x 4.6 KB below --sendq-bytes-max, or the server cuts clients that read too slowly
        #[arg(long, value_name = "N", default_value_t = 1)]
        window: usize,
        /// Messages a second and sender instead, whether or not the last ones have arrived. Latency is from when a message
        /// is due, so a server that falls behind does not look quick
        #[arg(long, value_name = "N", conflicts_with = "window", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: Option<u32>,
        /// Draw cost and latency against the number of receivers as this SVG
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
    },
    /// Pairs talk: one says, the other says back
    Say {
        /// Pairs of clients
        #[arg(long, value_name = "N", default_value_t = 10)]
        pairs_of_cows: usize,
    },
    /// Pairs talk, and one line in a hundred is a yield
    Mix {
        /// Clients, an even number
        #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=19_000))]
        clients: u32,
        /// Lines in a hundred that are yields
        #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
        yields: u32,
    },
    /// Connect, log in, quit, and again
    Storm {
        /// Clients at a time
        #[arg(long, value_name = "N", default_value_t = 20)]
        clients: usize,
    },
    /// Connections that do nothing: memory of each, CPU of the server at rest
    Idle {
        /// Connections
        #[arg(long, value_name = "N", default_value_t = 1000)]
        clients: usize,
        /// Log all of them in, and end with one yield to all
        #[arg(long)]
        registered: bool,
    },
    /// Fan-out beside clients that never read, and the same without them
    Slow {
        /// Clients that listen
        #[arg(long, value_name = "N", default_value_t = 20)]
        receivers: usize,
        /// Clients that never read; when one is cut, another takes its slot
        #[arg(long, value_name = "N", default_value_t = 1)]
        stalled: usize,
        /// Messages that the sender has in flight
        #[arg(long, value_name = "N", default_value_t = 1)]
        window: usize,
    },
    /// Pairs talk beside an address that floods, and the same without it. The flooder comes from 127.0.0.2 and the talkers
    /// from 127.0.0.1; the server has its default limits, from which only 127.0.0.1 is exempt. A server at --addr needs the
    /// same flags: --flood-exempt, --address-exempt and --login-exempt 127.0.0.1/32
    Flood {
        /// What the flooder does
        #[arg(long, value_name = "KIND", default_value = "lines")]
        kind: FloodKind,
        /// Pairs of clients; each says things to the other
        #[arg(long, value_name = "N", default_value_t = 50)]
        pairs_of_cows: usize,
        /// Messages a second of each, whether or not the last ones have arrived; latency is from when a message is due
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
    },
    /// What the most expensive lines cost, and what flood control charges for them
    Price {
        /// Receivers of a yield
        #[arg(long, value_name = "N", default_value_t = 1000)]
        receivers: usize,
    },
    /// Show that a server that loses, repeats, reorders or breaks one delivery fails a run
    SelfTest,
    /// The floor, as a process of its own; reads from stdin what it delivers
    #[command(hide = true)]
    Floor {
        /// Join what one turn brings for a receiver
        #[arg(long)]
        coalesce: bool,
        /// Misbehave once
        #[arg(long)]
        fault: Option<Fault>,
    },
}

/// What one address does to flood a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FloodKind {
    /// One connection says short lines to itself, as fast as its socket takes them
    Lines,
    /// One connection after the other: each sends a login, 9 yields and a quit at once, and resets when it has all replies
    /// or is throttled: nothing for 50 ms after its last yield, or for 2 s before its first
    Reconnect,
    /// One connection yields lines of 4,000 bytes, of the text that takes longest to draw
    Expensive,
    /// 64 connections, as many as one address may have, yield as fast as the server reads. Each run begins when all are
    /// logged in, which takes 22 to 32 s at the default --connect-rate
    Many,
    /// The same connections, but they wait for each other before their first yield
    Burst,
    /// All of these at once except the burst, 63 connections together
    All,
}

/// How a floor misbehaves once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A delivery never comes
    Lose,
    /// A delivery comes twice
    Repeat,
    /// A delivery comes after the next one
    Reorder,
    /// A delivery lacks its last two bytes
    Break,
}

/// A value as the command line names it.
pub fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "use a number of seconds from 0.05 to 3600".to_owned())
}
