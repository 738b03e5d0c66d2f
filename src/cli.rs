//! The command line, as clap reads it. Each flag's help has its unit and default, and names the environment variable that
//! sets it, too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

pub use values::LineRate;
use values::{
    CONNECTIONS_PER_ADDRESS_ALLOWED, DAY, DRAIN_TIMEOUT_MIN, LINE_BYTES_ALLOWED, MAILBOX_FRAMES_ALLOWED,
    SENDQ_BYTES_ALLOWED, address, art, bubble, bytes, cow, level, log_format, or_off, rate, seconds_or_off, show_bytes,
    show_rate, show_time, switch, time, time_format, whole,
};

use crate::cows::bubble::BubbleKind;
use crate::events::Level;
use crate::limits;
use crate::log::Format;
use crate::policy::networks::Networks;
use crate::protocol::art::Art;

#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod ctl;
mod doctor;
mod generate;
mod reasons;
mod values;

#[cfg(feature = "cluster")]
pub use cluster::{BrokerUrl, ClusterArgs};
pub use config::ConfigArgs;
pub use ctl::{ControlCommand, CtlArgs};
pub use doctor::DoctorArgs;
pub use generate::GenerateArgs;
pub use reasons::{REASONS, Reason};

/// A chat server where everybody is a cow.
#[derive(Debug, Parser)]
#[command(
    name = "cowchat",
    version,
    about,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Cli {
    /// What the program does.
    #[command(subcommand)]
    pub mode: Mode,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Chat with a server; in a pipe, lines from stdin go to it and its output goes to stdout
    Connect(ConnectArgs),
    /// Ask a running server of this machine: its counters and connections, or to close some
    Ctl(CtlArgs),
    /// Show how a server would be configured, and by what; check a configuration file, or write one
    Config(ConfigArgs),
    /// Check what this machine allows a server, with the command that mends what is wrong
    Doctor(DoctorArgs),
    /// Write man pages or completions, for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Flags of `cowchat serve`.
#[derive(Debug, Clone, Args)]
// A value such as -1 is a wrong value of its flag, not an unknown flag.
#[command(allow_negative_numbers = true)]
pub struct ServeArgs {
    /// Read flags from this TOML file, each under its name without dashes; a flag or a variable wins over it
    #[arg(long, value_name = "FILE", env = "COWCHAT_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address and port to listen on, IPv4 or IPv6 (as `[::1]:1337`); port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", env = "COWCHAT_LISTEN", default_value = "127.0.0.1:1337", value_parser = address)]
    pub listen: SocketAddr,

    /// Cores to run on, each a thread [default: one for each CPU that the process may use, or fewer if locked memory or
    /// descriptors are short]
    #[arg(long, value_name = "N", env = "COWCHAT_CORES", value_parser = whole::<usize>(1..=limits::CORES_MAX))]
    pub cores: Option<usize>,

    /// Whether each core stays on one CPU; auto pins if there are as many cores as CPUs
    #[arg(long, value_name = "WHEN", env = "COWCHAT_PIN", default_value = "auto", value_enum)]
    pub pin: Pin,

    /// Leave out the line above each message that names its sender
    #[arg(long, env = "COWCHAT_NO_HEADER", value_parser = switch)]
    pub no_header: bool,

    /// Default picture style for clients that have not sent `art`: in colour, in characters, one little cow for all, or
    /// none
    #[arg(long, value_name = "ART", env = "COWCHAT_ART", default_value = Art::default().name(), value_parser = art())]
    pub art: Art,

    /// The frame around a text
    #[arg(long, value_name = "KIND", env = "COWCHAT_BUBBLE", default_value = BubbleKind::NAMES[0], value_parser = bubble())]
    pub bubble: BubbleKind,

    /// Where texts in bubbles are wrapped, in columns (10 to 400)
    #[arg(long, value_name = "COLUMNS", env = "COWCHAT_WIDTH", default_value_t = limits::BUBBLE_COLUMNS, value_parser = whole::<usize>(limits::BUBBLE_COLUMNS_ALLOWED))]
    pub width: usize,

    /// How often each cow exists: tux, tux#2 ... tux#N (1 to 1048576)
    #[arg(long, value_name = "N", env = "COWCHAT_HERD", default_value_t = 1, value_parser = whole::<u32>(1..=limits::HERD_SIZE_MAX))]
    pub herd: u32,

    /// Messages to all that `history` can show, kept by each core (0 to 10000, 1 MiB at most; 0 is off)
    #[arg(long, value_name = "N", env = "COWCHAT_HISTORY", default_value_t = 0, value_parser = whole::<usize>(0..=limits::HISTORY_MESSAGES_MAX))]
    pub history: usize,

    /// Greet each new connection with this file (64 KiB at most)
    #[arg(long, value_name = "FILE", env = "COWCHAT_MOTD")]
    pub motd: Option<PathBuf>,

    /// Add the cows of this directory's `.cow` and `.chara` files, which are read and never run; may be given several
    /// times, or with several directories and `:` between them
    #[arg(long, value_name = "DIR", env = "COWCHAT_COW_DIR", value_delimiter = ':')]
    pub cow_dir: Vec<PathBuf>,

    /// Longest input line, in bytes (16 to 64KiB)
    #[arg(long, value_name = "BYTES", env = "COWCHAT_LINE_BYTES_MAX", default_value = show_bytes(limits::LINE_BYTES_MAX), value_parser = bytes::<usize>(LINE_BYTES_ALLOWED))]
    pub line_bytes_max: usize,

    /// Messages of other senders that may wait for one connection, in bytes (56KiB to 1GiB); a connection that is further
    /// behind for 100 ms, or twice as far at any time, is cut
    #[arg(long, value_name = "BYTES", env = "COWCHAT_SENDQ_BYTES_MAX", default_value = show_bytes(limits::SENDQ_BYTES_MAX), value_parser = bytes::<usize>(SENDQ_BYTES_ALLOWED))]
    pub sendq_bytes_max: usize,

    /// How long messages of other senders may wait for a connection that takes nothing before it is cut, as 10s or 2m (1s to
    /// 1day)
    #[arg(long, value_name = "TIME", env = "COWCHAT_SENDQ_STALL", default_value = show_time(limits::SENDQ_STALL), value_parser = time(limits::SENDQ_STALL_MIN))]
    pub sendq_stall: Duration,

    /// What may wait for all connections together, in bytes: messages, replies and input. A message that waits for several
    /// connections counts once, and a history has room of its own. Beyond it the connection with the longest queue is cut
    /// [default: a quarter of the memory that the process may have]
    #[arg(long, value_name = "BYTES", env = "COWCHAT_QUEUES_BYTES_TOTAL", value_parser = bytes::<u64>(1..=usize::MAX))]
    pub queues_bytes_total: Option<u64>,

    /// Time without a line after which a connection that is not logged in is closed, in whole seconds as 90s or 10m (1s to
    /// 1day), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_LOGIN_TIMEOUT", default_value = show_time(limits::LOGIN_TIMEOUT), value_parser = seconds_or_off(DAY))]
    pub login_timeout: TimeOrOff,

    /// Addresses that may stay without logging in: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_LOGIN_EXEMPT", default_value = limits::LOOPBACK)]
    pub login_exempt: Networks,

    /// Time without a line after which a connection that is logged in is closed, in whole seconds as 90s or 10m (1s to
    /// 1day), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_IDLE_TIMEOUT", default_value = "off", value_parser = seconds_or_off(DAY))]
    pub idle_timeout: TimeOrOff,

    /// Time without a message to others after which a connection that is logged in is closed while fewer than one cow in
    /// eight is free, in whole seconds as 90s or 10m (1s to 1day), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_SCARCE_IDLE", default_value = show_time(limits::SCARCE_IDLE), value_parser = seconds_or_off(DAY))]
    pub scarce_idle: TimeOrOff,

    /// Lines of one connection that run as fast as they come (1 to 1000000). A line counts as one, and one more for each
    /// 512 bytes of it, 100 receivers of a yield and 16 KiB of its reply; bytes outside of lines count, too
    #[arg(long, value_name = "LINES", env = "COWCHAT_FLOOD_BURST", default_value_t = limits::FLOOD_BURST, value_parser = whole::<u32>(1..=limits::FLOOD_LINES_MAX))]
    pub flood_burst: u32,

    /// Lines of one connection after those of --flood-burst, a second or a minute, as 5/s or 30/m (1/m to 1000000/s); a
    /// connection that sends more is not read until there is room
    #[arg(long, value_name = "RATE", env = "COWCHAT_FLOOD_RATE", default_value = show_rate(limits::FLOOD_RATE), value_parser = rate)]
    pub flood_rate: LineRate,

    /// Addresses whose lines are not counted: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_FLOOD_EXEMPT", default_value = limits::LOOPBACK)]
    pub flood_exempt: Networks,

    /// Connections over all cores [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", env = "COWCHAT_CONNECTIONS_MAX", value_parser = whole::<u64>(1..=usize::MAX))]
    pub connections_max: Option<u64>,

    /// Connections of one IPv4 address, or of one IPv6 network of 64 bits, over all cores (1 to 1048576) [default: 64, but
    /// no more than half of --connections-max]
    #[arg(long, value_name = "N", env = "COWCHAT_CONNECTIONS_PER_ADDRESS", value_parser = whole::<usize>(CONNECTIONS_PER_ADDRESS_ALLOWED))]
    pub connections_per_address: Option<usize>,

    /// Cows that the connections of one address may hold together (1 to 67108864) [default: half of all, at least 8]
    #[arg(long, value_name = "N", env = "COWCHAT_COWS_PER_ADDRESS", value_parser = whole::<u32>(1..=limits::HERD_COWS_MAX))]
    pub cows_per_address: Option<u32>,

    /// Connections of one address that are served, a second or a minute, as 2/s or 30/m, after 20 at once, or off; a
    /// connection that comes sooner waits for its turn. Addresses of --flood-exempt are exempt from this, too
    #[arg(long, value_name = "RATE", env = "COWCHAT_CONNECT_RATE", default_value = show_rate(limits::CONNECT_RATE), value_parser = or_off(rate))]
    pub connect_rate: RateOrOff,

    /// Addresses whose connections, cows and messages are not counted together, and whose sessions may be silent while cows
    /// are scarce: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_ADDRESS_EXEMPT", default_value = limits::LOOPBACK)]
    pub address_exempt: Networks,

    /// Time without a byte after which the kernel asks whether the peer is still there, in whole seconds as 90s or 10m (1s
    /// to 32767s), or off; three questions without an answer, a sixth of that apart, end the connection
    #[arg(long, value_name = "TIME", env = "COWCHAT_KEEPALIVE", default_value = show_time(limits::KEEPALIVE), value_parser = seconds_or_off(limits::KEEPALIVE_MAX))]
    pub keepalive: TimeOrOff,

    /// How long the peer may leave sent bytes unacknowledged, as 30s or 5m (5s to 1day), or off; a peer that acknowledges and
    /// does not read may stay
    #[arg(long, value_name = "TIME", env = "COWCHAT_USER_TIMEOUT", default_value = show_time(limits::USER_TIMEOUT), value_parser = or_off(time(limits::USER_TIMEOUT_MIN)))]
    pub user_timeout: TimeOrOff,

    /// Messages of other cores that may wait for one core before their senders are throttled, in frames (1 to 1048576)
    #[arg(long, value_name = "N", env = "COWCHAT_MAILBOX_FRAMES", default_value_t = limits::MAILBOX_FRAMES, value_parser = whole::<usize>(MAILBOX_FRAMES_ALLOWED))]
    pub mailbox_frames: usize,

    /// A Unix socket for `cowchat ctl`; only the server's user, and root, may connect
    #[arg(long, value_name = "PATH", env = "COWCHAT_CONTROL")]
    pub control: Option<PathBuf>,

    /// How long a shutdown may take, as 10s, 500ms or 2m (1ms to 1day)
    #[arg(long, value_name = "TIME", env = "COWCHAT_DRAIN_TIMEOUT", default_value = show_time(limits::DRAIN_TIMEOUT), value_parser = time(DRAIN_TIMEOUT_MIN))]
    pub drain_timeout: Duration,

    /// Answer /metrics (Prometheus), /healthz and /readyz over HTTP on this address and port, which should not be public
    #[arg(long, value_name = "ADDR:PORT", env = "COWCHAT_METRICS", value_parser = address)]
    pub metrics: Option<SocketAddr>,

    /// Least important events to log to stderr
    #[arg(long, value_name = "LEVEL", env = "COWCHAT_LOG", default_value = "info", value_parser = level())]
    pub log: Level,

    /// How to log them: in logfmt, or as a JSON object a line
    #[arg(long, value_name = "FORMAT", env = "COWCHAT_LOG_FORMAT", default_value = "text", value_parser = log_format())]
    pub log_format: Format,

    /// How it is part of a cluster.
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// A time, or `None` for `off`. An alias, since clap takes an `Option` for a flag that may be left out.
pub type TimeOrOff = Option<Duration>;

/// A rate, or `None` for `off`.
pub type RateOrOff = Option<LineRate>;

/// Whether cores are pinned to CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[expect(missing_docs, reason = "clap would show a comment as help, and the flag's says it")]
pub enum Pin {
    Auto,
    On,
    Off,
}

/// Arguments of `cowchat connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// Where the server listens: a host, and a port unless it is 1337
    #[arg(value_name = "HOST[:PORT]", env = "COWCHAT_CONNECT", default_value = "127.0.0.1:1337")]
    pub address: String,

    /// Log in as this cow, and again after each new connection
    #[arg(long, value_name = "COW", env = "COWCHAT_COW", value_parser = cow, help_heading = AT_TERMINAL)]
    pub cow: Option<String>,

    /// Use colours; auto does unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", env = "COWCHAT_COLOR", default_value = "auto", help_heading = AT_TERMINAL)]
    pub color: ColorChoice,

    /// The time before each message, as in strftime(3)
    #[arg(long, value_name = "FORMAT", env = "COWCHAT_TIME", default_value = "%H:%M", value_parser = time_format(), help_heading = AT_TERMINAL)]
    pub time: String,

    /// Show no times
    #[arg(long, env = "COWCHAT_NO_TIME", value_parser = switch, help_heading = AT_TERMINAL)]
    pub no_time: bool,

    /// Ring no bell; without this flag a private message rings it, and one that names your cow
    #[arg(long, env = "COWCHAT_NO_BELL", value_parser = switch, help_heading = AT_TERMINAL)]
    pub no_bell: bool,

    /// Keep no typed lines in the state directory for the next time; lines to one cow are never kept
    #[arg(long, env = "COWCHAT_NO_HISTORY", value_parser = switch, help_heading = AT_TERMINAL)]
    pub no_history: bool,

    /// Do not show when cows join and leave
    #[arg(long, env = "COWCHAT_QUIET", value_parser = switch, help_heading = AT_TERMINAL)]
    pub quiet: bool,

    /// Append all that is shown to this file, without pictures and colours
    #[arg(long, value_name = "FILE", env = "COWCHAT_CONNECT_LOG", help_heading = AT_TERMINAL)]
    pub log: Option<PathBuf>,
}

/// In a pipe these flags have no effect.
const AT_TERMINAL: &str = "At a terminal";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A flag as a row of the documentation has it: with the name of its value, and its default.
    fn documented(arg: &clap::Arg) -> Option<(String, String)> {
        let long = arg.get_long()?;
        let takes_value = arg.get_action().takes_values();
        let value =
            arg.get_value_names().filter(|_| takes_value).map_or_else(String::new, |names| format!(" {}", names[0]));
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let in_help = help.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']').to_owned());
        let default = match arg.get_default_values() {
            _ if !takes_value => "off".to_owned(),
            [default] => format!("`{}`", default.to_string_lossy()),
            _ => in_help.unwrap_or_else(|| "none".to_owned()),
        };
        Some((format!("`--{long}{value}`"), default))
    }

    #[test]
    fn each_default_has_a_reason_in_the_order_of_the_help() {
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").expect("a subcommand");
        let flags = serve.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "config"));
        let has_no_default = |arg: &clap::Arg| arg.get_action().takes_values() && arg.get_default_values().is_empty();
        let flags = flags.map(|arg| (arg.get_long().unwrap_or_default(), has_no_default(arg)));
        let reasons = REASONS.iter().map(|reason| (reason.flag, reason.example.is_some()));
        assert_eq!(reasons.collect::<Vec<_>>(), flags.collect::<Vec<_>>());
    }

    #[test]
    fn each_flag_has_one_row_in_the_documentation_in_order() {
        let mut command = Cli::command();
        // It also asserts that the command line is consistent.
        command.build();
        let page = include_str!("../docs/OPERATING.md");
        let mut tables = page.split("| flag | default | what |\n|---|---|---|\n").skip(1);
        for name in ["serve", "connect", "ctl"] {
            let command = command.find_subcommand(name).expect("a subcommand");
            let is_own = |arg: &&clap::Arg| arg.get_id() != "help" && !is_of_cluster(arg);
            let flags = command.get_arguments().filter(is_own).filter_map(documented);
            let table = tables.next().expect("a table of flags for each subcommand");
            assert_eq!(rows(table), flags.collect::<Vec<_>>(), "{name}");
        }
        let (_, table) = page.split_once("| flag of a cluster | default | what |\n|---|---|---|\n").expect("a table");
        let serve = command.find_subcommand("serve").expect("a subcommand");
        let flags: Vec<_> = serve.get_arguments().filter(is_of_cluster).filter_map(documented).collect();
        assert_eq!(flags, if cfg!(feature = "cluster") { rows(table) } else { Vec::new() });
    }

    fn is_of_cluster(arg: &&clap::Arg) -> bool {
        arg.get_long().is_some_and(|name| name == "node" || name.starts_with("cluster"))
    }

    /// Flags and defaults in the rows that `table` begins with.
    fn rows(table: &str) -> Vec<(String, String)> {
        let rows = table.lines().take_while(|line| line.starts_with('|')).map(|line| {
            let mut cells = line.split('|').map(|cell| cell.trim().to_owned()).skip(1);
            (cells.next().expect("a flag"), cells.next().expect("a default"))
        });
        rows.collect()
    }
}
