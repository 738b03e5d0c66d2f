//! The command line: a workload and what goes for all of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Many netcat-like clients against a real server, and every delivery is counted
#[derive(Debug, Parser)]
#[command(name = "stampede", bin_name = "cargo bench --bench stampede --", max_term_width = 100)]
pub struct Cli {
    /// What the clients do; without one, this help
    #[command(subcommand)]
    pub workload: Option<Workload>,
    /// Goes for all workloads
    #[command(flatten)]
    pub common: Common,
}

/// Flags of all workloads.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// A server that runs, instead of one of our own; its CPU time is read by --pid
    #[arg(long, global = true, value_name = "ADDR:PORT", requires = "pid")]
    pub addr: Option<SocketAddr>,
    /// Its process
    #[arg(long, global = true, value_name = "PID", requires = "addr")]
    pub pid: Option<u32>,
    /// Cores of our own server
    #[arg(long, global = true, value_name = "N", default_value_t = 2)]
    pub cores: usize,
    /// More flags for `cowchat serve`, in one word, as "--log warn --no-header"
    #[arg(long, global = true, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub server_args: String,
    /// Time that one run is measured for, in seconds, after a tenth of it to warm up
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 2.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Runs of each target, alternating; medians of them are printed
    #[arg(long, global = true, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Run the same against two floors: bare epoll servers, one with a write for each message, one with a
    /// write for each receiver and turn (not for idle, slow, flood and price)
    #[arg(long, global = true)]
    pub floor: bool,
    /// Run the same against another build of the server, too: the commit before, for example
    #[arg(long, global = true, value_name = "BINARY")]
    pub against: Option<PathBuf>,
    /// Text of a message in bytes; the first 27 are the token by which it is counted
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 36, value_parser = clap::value_parser!(u32).range(27..=4000))]
    text: u32,
    /// Texts like those of a chat instead, the same in each run: half of them have up to 40 bytes, one in ten 150, one in
    /// a hundred 500; one in twenty is not ASCII
    #[arg(long, global = true, value_name = "KIND", conflicts_with = "text")]
    texts: Option<Kind>,
    /// Print each run as a line of JSON instead of the table
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
    /// Senders yield, everybody else receives
    Fanout {
        /// Clients that only listen; several numbers, as 5,10,20, are run one after the other
        #[arg(long, value_name = "N", default_value = "20", value_delimiter = ',')]
        receivers: Vec<usize>,
        /// Clients that yield, and hear each other
        #[arg(long, value_name = "N", default_value_t = 1)]
        senders: usize,
        /// Messages that each sender has under way: the next is sent when everybody has got one. Keep
        /// senders x window x 4.6 KB below --sendq-bytes-max, or the server cuts who reads too slowly
        #[arg(long, value_name = "N", default_value_t = 1)]
        window: usize,
        /// Messages a second and sender instead, whoever has got the last ones. Latency is from when a message
        /// was due, so who falls behind does not look quick
        #[arg(long, value_name = "N", conflicts_with = "window", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: Option<u32>,
        /// Draw cost and latency against the number of receivers into this SVG
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
    /// Connect, login, quit, and again
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
        /// Clients that do not; a cut one is followed by the next
        #[arg(long, value_name = "N", default_value_t = 1)]
        stalled: usize,
        /// Messages that the sender has under way
        #[arg(long, value_name = "N", default_value_t = 1)]
        window: usize,
    },
    /// Pairs talk beside an address that floods, and the same without it. The flooder comes from 127.0.0.2 and
    /// the talkers from 127.0.0.1; the server runs with its default limits, from which only 127.0.0.1 is exempt.
    /// A server of --addr needs the same: --flood-exempt, --address-exempt and --login-exempt 127.0.0.1/32
    Flood {
        /// What the flooder does
        #[arg(long, value_name = "KIND", default_value = "lines")]
        kind: FloodKind,
        /// Pairs of clients; each says things to the other
        #[arg(long, value_name = "N", default_value_t = 50)]
        pairs_of_cows: usize,
        /// Messages a second of each, whether or not the last ones have arrived; latency is from when a message was due
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
    },
    /// What the most expensive lines cost, and what flood control charges for them
    Price {
        /// Receivers of a yield
        #[arg(long, value_name = "N", default_value_t = 1000)]
        receivers: usize,
    },
    /// Show that a server that loses, repeats, reorders or breaks one delivery is found out
    SelfTest,
    /// The floor, as a process of its own; reads what it is to deliver from stdin
    #[command(hide = true)]
    Floor {
        /// Join what one turn brings for a receiver
        #[arg(long)]
        coalesce: bool,
        /// Misbehave once: lose, repeat, reorder or break
        #[arg(long)]
        fault: Option<String>,
    },
}

/// What one address does to flood a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FloodKind {
    /// One connection says short lines to itself, as fast as its socket takes them
    Lines,
    /// One connection after the other: each sends a login, 9 yields and a quit at once, and resets when it has all
    /// replies, or is throttled: nothing for 50 ms since its last yield, or for 2 s before its first
    Reconnect,
    /// One connection yields lines of 4,000 bytes, of the text that takes longest to draw
    Expensive,
    /// As many connections as one address may hold, 64, all yield as fast as they are let. Each run with them begins
    /// when all are logged in, which takes 22 to 32 s at the default --connect-rate
    Many,
    /// The same connections, but they wait for each other before their first yield
    Burst,
    /// All of these at once but for the burst, 63 connections together
    All,
}

impl FloodKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            FloodKind::Lines => "lines",
            FloodKind::Reconnect => "reconnect",
            FloodKind::Expensive => "expensive",
            FloodKind::Many => "many",
            FloodKind::Burst => "burst",
            FloodKind::All => "all",
        }
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "use a number of seconds from 0.05 to 3600".to_owned())
}
