//! The command line, as clap reads it. Every flag has its unit and default in its help, and can also be
//! set by an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cows::bubble::Bubble;
use crate::limits;
use crate::policy::networks::Networks;
use crate::protocol::art::Art;

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
    /// Talk to a server: lines from stdin go there, whatever it says goes to stdout
    Connect(ConnectArgs),
}

/// Flags of `cowchat serve`.
#[derive(Debug, Args)]
// So that -1 is refused by the flag that it is for.
#[command(allow_negative_numbers = true)]
pub struct ServeArgs {
    /// Address and port to listen on, IPv4 or IPv6 (as `[::1]:1337`); port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", env = "COWCHAT_LISTEN", default_value = "127.0.0.1:1337", value_parser = parse_listen)]
    pub listen: SocketAddr,

    /// Cores to run on, each a thread [default: as many as the process may use CPUs, or fewer if locked memory or
    /// descriptors do not allow so many]
    #[arg(long, value_name = "N", env = "COWCHAT_CORES", value_parser = parse_cores)]
    pub cores: Option<usize>,

    /// Whether each core is pinned to a CPU: auto does it if there are as many cores as CPUs, since another server
    /// would choose the same ones
    #[arg(long, value_name = "WHEN", env = "COWCHAT_PIN", default_value = "auto", value_enum)]
    pub pin: Pin,

    /// Deliver messages without the line that says from whom they are
    #[arg(long, env = "COWCHAT_NO_HEADER", value_parser = parse_switch)]
    pub no_header: bool,

    /// How messages are drawn for who has not chosen by `art`: in colour, in characters, one little cow for
    /// all, or not at all
    #[arg(long, value_name = "ART", env = "COWCHAT_ART", default_value = Art::default().name(), value_parser = art_parser())]
    pub art: Art,

    /// What speech bubbles look like
    #[arg(long, value_name = "KIND", env = "COWCHAT_BUBBLE", default_value = Bubble::NAMES[0], value_parser = Bubble::NAMES)]
    pub bubble: String,

    /// Where texts in bubbles are wrapped, in columns (10 to 400)
    #[arg(long, value_name = "COLUMNS", env = "COWCHAT_WIDTH", default_value_t = limits::BUBBLE_COLUMNS, value_parser = parse_width)]
    pub width: usize,

    /// How often each cow exists: tux, tux#2 ... tux#N (1 to 1048576)
    #[arg(long, value_name = "N", env = "COWCHAT_HERD", default_value_t = 1, value_parser = parse_herd)]
    pub herd: u32,

    /// Messages to everybody that `history` can show, kept by each core (0 to 10000, 1 MiB at most; 0 is off)
    #[arg(long, value_name = "N", env = "COWCHAT_HISTORY", default_value_t = 0, value_parser = parse_history)]
    pub history: usize,

    /// Greet everybody who connects with this file (at most 64 KiB)
    #[arg(long, value_name = "FILE", env = "COWCHAT_MOTD")]
    pub motd: Option<PathBuf>,

    /// Add the cows of this directory's `.cow` and `.chara` files, which are read and never run; may be given
    /// several times, or several directories with `:` between them
    #[arg(long, value_name = "DIR", env = "COWCHAT_COW_DIR", value_delimiter = ':')]
    pub cow_dir: Vec<PathBuf>,

    /// Longest input line, in bytes (16 to 65536)
    #[arg(long, value_name = "BYTES", env = "COWCHAT_LINE_BYTES_MAX", default_value_t = limits::LINE_BYTES_MAX, value_parser = parse_line_bytes)]
    pub line_bytes_max: usize,

    /// Other people's messages that may wait for one connection, in bytes (57344 to 1 GiB); one that
    /// is further behind for 100 ms, or twice as far at all, is cut
    #[arg(long, value_name = "BYTES", env = "COWCHAT_SENDQ_BYTES_MAX", default_value_t = limits::SENDQ_BYTES_MAX, value_parser = parse_sendq_bytes)]
    pub sendq_bytes_max: usize,

    /// Time that they may wait while the connection takes nothing at all, as 10s or 2m (1s or more)
    #[arg(long, value_name = "TIME", env = "COWCHAT_SENDQ_STALL", default_value = "10s", value_parser = parse_stall)]
    pub sendq_stall: Duration,

    /// What may wait for all connections together, in bytes: messages, of which one that waits for several counts once,
    /// replies and input; a history has room beside that. Beyond it the largest queue goes first, its connection is cut [default: a
    /// quarter of the memory that the process may have]
    #[arg(long, value_name = "BYTES", env = "COWCHAT_QUEUES_BYTES_TOTAL", value_parser = parse_queues_bytes)]
    pub queues_bytes_total: Option<u64>,

    /// Time without a line after which a connection that is not logged in is closed, in whole seconds as 600s
    /// or 10m (1s to 24 hours), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_LOGIN_TIMEOUT", default_value = "600s", value_parser = parse_seconds_or_off)]
    pub login_timeout: TimeOrOff,

    /// Addresses that may stay without logging in: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_LOGIN_EXEMPT", default_value = limits::LOOPBACK)]
    pub login_exempt: Networks,

    /// Time without a line after which a connection that is logged in is closed, in whole seconds as 600s or
    /// 10m (1s to 24 hours), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_IDLE_TIMEOUT", default_value = "off", value_parser = parse_seconds_or_off)]
    pub idle_timeout: TimeOrOff,

    /// Time without a word to others after which a connection that is logged in is closed while fewer than one cow in
    /// eight is free, in whole seconds as 600s or 60m (1s to 24 hours), or off
    #[arg(long, value_name = "TIME", env = "COWCHAT_SCARCE_IDLE", default_value = "60m", value_parser = parse_seconds_or_off)]
    pub scarce_idle: TimeOrOff,

    /// Lines of one connection that are executed as fast as they come (1 to 1000000); a line counts as one, and one
    /// more for each 512 bytes of it, 100 receivers of a yield and 16 KiB of its reply; bytes in no line count, too
    #[arg(long, value_name = "LINES", env = "COWCHAT_FLOOD_BURST", default_value_t = limits::FLOOD_BURST, value_parser = parse_burst)]
    pub flood_burst: u32,

    /// Lines of one connection beyond those, a second or a minute, as 5/s or 30/m (1/m to 1000000/s): until
    /// there is room it is not read
    #[arg(long, value_name = "RATE", env = "COWCHAT_FLOOD_RATE", default_value = "5/s", value_parser = parse_rate)]
    pub flood_rate: LineRate,

    /// Addresses whose lines are not counted: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_FLOOD_EXEMPT", default_value = limits::LOOPBACK)]
    pub flood_exempt: Networks,

    /// Connections in all, over all cores [default: what the descriptor limit allows]
    #[arg(long, value_name = "N", env = "COWCHAT_CONNECTIONS_MAX", value_parser = parse_connections)]
    pub connections_max: Option<u64>,

    /// Connections of one IPv4 address, or of one IPv6 network of 64 bits, over all cores (1 to 1048576) [default: 64, but no
    /// more than half of --connections-max]
    #[arg(long, value_name = "N", env = "COWCHAT_CONNECTIONS_PER_ADDRESS", value_parser = parse_per_address)]
    pub connections_per_address: Option<usize>,

    /// Cows that the connections of one address may hold together (1 to 67108864) [default: half of all, at least 8]
    #[arg(long, value_name = "N", env = "COWCHAT_COWS_PER_ADDRESS", value_parser = parse_cows)]
    pub cows_per_address: Option<u32>,

    /// Connections of one address that are served, a second or a minute, as 2/s or 30/m, when 20 have come at once, or
    /// off; one that comes sooner waits for its turn. Who is exempt from flood control is exempt from this, too
    #[arg(long, value_name = "RATE", env = "COWCHAT_CONNECT_RATE", default_value = "2/s", value_parser = parse_rate_or_off)]
    pub connect_rate: RateOrOff,

    /// Addresses whose connections, cows and messages are not counted together, and whose sessions may be silent while cows
    /// are scarce: networks and addresses with commas between, or none
    #[arg(long, value_name = "NETS", env = "COWCHAT_ADDRESS_EXEMPT", default_value = limits::LOOPBACK)]
    pub address_exempt: Networks,

    /// Time without a byte after which a peer is asked whether it is still there, in whole seconds as 60s (1s
    /// to 32767s), or off; three questions without an answer, a sixth of that apart, end the connection
    #[arg(long, value_name = "TIME", env = "COWCHAT_KEEPALIVE", default_value = "60s", value_parser = parse_keepalive)]
    pub keepalive: TimeOrOff,

    /// Time that what was sent may stay unacknowledged until the peer counts as gone, as 30s or 5m (5s to 24
    /// hours), or off; one that answers and merely does not read is never gone
    #[arg(long, value_name = "TIME", env = "COWCHAT_USER_TIMEOUT", default_value = "30s", value_parser = parse_user_timeout)]
    pub user_timeout: TimeOrOff,

    /// Messages of other cores that may wait for one core before their senders are throttled, in frames
    /// (1 to 1048576)
    #[arg(long, value_name = "N", env = "COWCHAT_MAILBOX_FRAMES", default_value_t = limits::MAILBOX_FRAMES, value_parser = parse_mailbox)]
    pub mailbox_frames: usize,

    /// Time that a shutdown may take, as 10s, 500ms or 2m
    #[arg(long, value_name = "TIME", env = "COWCHAT_DRAIN_TIMEOUT", default_value = "10s", value_parser = parse_time)]
    pub drain_timeout: Duration,

    /// Least important events to log to stderr
    #[arg(long, value_name = "LEVEL", env = "COWCHAT_LOG", default_value = "info", value_parser = ["error", "warn", "info"])]
    pub log: String,
}

/// A time, or `None` for `off`. An alias, since clap takes an `Option` for a flag that may be left out.
pub type TimeOrOff = Option<Duration>;

/// Whether cores are pinned to CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[expect(missing_docs, reason = "clap would show a comment as help, and the flag's says it")]
pub enum Pin {
    Auto,
    On,
    Off,
}

/// A rate, or `None` for `off`.
pub type RateOrOff = Option<LineRate>;

/// So many lines in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRate {
    /// At least one.
    pub lines: u32,
    /// A second or a minute.
    pub per: Duration,
}

/// Arguments of `cowchat connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// Where the server listens: host and port
    #[arg(value_name = "ADDR", env = "COWCHAT_CONNECT", default_value = "127.0.0.1:1337")]
    pub address: String,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "use an IP address and a port, such as 127.0.0.1:1337, 0.0.0.0:1337 or [::1]:1337".to_owned())?;
    if lacks_scope(&address) {
        return Err(NEEDS_SCOPE.to_owned());
    }
    Ok(address)
}

/// What to do about [`lacks_scope`].
const NEEDS_SCOPE: &str =
    "a link-local address needs its interface's number, as in [fe80::1%2]:1337 (`ip link` shows the numbers)";

/// Whether this address means another machine on each interface and does not say which (RFC 4007).
fn lacks_scope(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local() && address.scope_id() == 0)
}

/// What a flag without a value is set to by its environment variable.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("use 1 or 0, true or false, yes or no, on or off".to_owned()),
    }
}

fn art_parser() -> impl TypedValueParser<Value = Art> {
    let names = PossibleValuesParser::new(Art::ALL.map(Art::name));
    names.map(|name| Art::from_name(&name).unwrap_or_default())
}

fn parse_width(text: &str) -> Result<usize, String> {
    let [least, most] = limits::BUBBLE_COLUMNS_ALLOWED;
    parse_range(text, least, most)
}

fn parse_herd(text: &str) -> Result<u32, String> {
    parse_range(text, 1, limits::HERD_SIZE_MAX).map(|size| size as u32)
}

fn parse_history(text: &str) -> Result<usize, String> {
    parse_range(text, 0, limits::HISTORY_MESSAGES_MAX)
}

fn parse_cores(text: &str) -> Result<usize, String> {
    parse_range(text, 1, limits::CORES_MAX)
}

/// However many; the descriptor limit has the last word.
fn parse_connections(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "use a whole number from 1".to_owned())
}

fn parse_line_bytes(text: &str) -> Result<usize, String> {
    parse_range(text, 16, 65_536)
}

fn parse_sendq_bytes(text: &str) -> Result<usize, String> {
    parse_range(text, limits::SENDQ_BYTES_MIN, 1 << 30)
}

fn parse_queues_bytes(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "use a whole number of bytes, from 1".to_owned())
}

fn parse_burst(text: &str) -> Result<u32, String> {
    parse_range(text, 1, limits::FLOOD_LINES_MAX).map(|lines| lines as u32)
}

fn parse_rate(text: &str) -> Result<LineRate, String> {
    let per = match text.split_once('/') {
        Some((lines, "s")) => Some((lines, Duration::from_secs(1))),
        Some((lines, "m")) => Some((lines, Duration::from_mins(1))),
        _ => None,
    };
    let rate = per.and_then(|(lines, per)| Some(LineRate { lines: parse_burst(lines).ok()?, per }));
    rate.ok_or_else(|| "use a whole number a second or a minute, such as 5/s or 30/m (1/m to 1000000/s)".to_owned())
}

fn parse_rate_or_off(text: &str) -> Result<RateOrOff, String> {
    if text == "off" {
        return Ok(None);
    }
    parse_rate(text).map(Some).map_err(|advice| advice + ", or off")
}

fn parse_per_address(text: &str) -> Result<usize, String> {
    parse_range(text, 1, 1 << 20)
}

fn parse_cows(text: &str) -> Result<u32, String> {
    parse_range(text, 1, limits::HERD_COWS_MAX).map(|cows| cows as u32)
}

fn parse_mailbox(text: &str) -> Result<usize, String> {
    parse_range(text, 1, 1 << 20)
}

fn parse_range(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("use a whole number from {least} to {most}"))
}

/// A time with its unit: `ms`, `s` or `m`; at most a day.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    let time = digits.parse::<u32>().ok().map(|count| Duration::from_millis(u64::from(count) * milliseconds));
    time.filter(|time| (Duration::from_millis(1)..=Duration::from_hours(24)).contains(time))
        .ok_or_else(|| "use a whole number and a unit, such as 10s, 500ms or 2m (1ms to 24 hours)".to_owned())
}

fn parse_stall(text: &str) -> Result<Duration, String> {
    let time = parse_time(text).ok().filter(|time| *time >= limits::SENDQ_STALL_MIN);
    time.ok_or_else(|| "use a whole number and a unit, such as 10s or 2m (1s to 24 hours)".to_owned())
}

/// A time of whole seconds, or `off`.
fn parse_seconds_or_off(text: &str) -> Result<TimeOrOff, String> {
    let is_right = |time: &Duration| time.subsec_nanos() == 0;
    parse_time_or_off(text, is_right, "use whole seconds or minutes, such as 600s or 10m (1s to 24 hours), or off")
}

fn parse_keepalive(text: &str) -> Result<TimeOrOff, String> {
    let is_right = |time: &Duration| time.subsec_nanos() == 0 && *time <= limits::KEEPALIVE_MAX;
    parse_time_or_off(text, is_right, "use whole seconds or minutes, such as 60s or 2m (1s to 32767s), or off")
}

fn parse_user_timeout(text: &str) -> Result<TimeOrOff, String> {
    let is_right = |time: &Duration| *time >= limits::USER_TIMEOUT_MIN;
    parse_time_or_off(text, is_right, "use a whole number and a unit, such as 30s or 5m (5s to 24 hours), or off")
}

fn parse_time_or_off(text: &str, is_right: impl Fn(&Duration) -> bool, advice: &str) -> Result<TimeOrOff, String> {
    if text == "off" {
        return Ok(None);
    }
    parse_time(text).ok().filter(is_right).map(Some).ok_or_else(|| advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "-1s", "1.5s", "10h", "0s", "1441m", "99999999999s", "10 s", "10é"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_off_or_within_its_bounds() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        assert_eq!(parse_seconds_or_off("off"), Ok(None));
        assert_eq!(parse_seconds_or_off("1s"), seconds(1));
        assert_eq!(parse_seconds_or_off("2000ms"), seconds(2));
        assert_eq!(parse_keepalive("32767s"), seconds(32_767));
        assert_eq!(parse_user_timeout("5s"), seconds(5));
        for bad in ["", "Off", "0", "0s", "1500ms", "1", "1441m"] {
            assert!(parse_seconds_or_off(bad).is_err(), "{bad}");
        }
        assert!(parse_keepalive("32768s").is_err() && parse_keepalive("500ms").is_err());
        assert!(parse_user_timeout("4999ms").is_err());
    }

    #[test]
    fn a_rate_is_lines_a_second_or_a_minute() {
        let rate = |lines, seconds| Ok(LineRate { lines, per: Duration::from_secs(seconds) });
        assert_eq!(parse_rate("5/s"), rate(5, 1));
        assert_eq!(parse_rate("1/m"), rate(1, 60));
        assert_eq!(parse_rate("1000000/s"), rate(1_000_000, 1));
        for bad in ["", "5", "/s", "0/s", "5/h", "5/", "1000001/s", "-1/s", "5 /s", "5/s/s"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_switch_is_set_by_any_usual_word() {
        assert!(["1", "true", "TRUE", "yes", "on"].iter().all(|word| parse_switch(word) == Ok(true)));
        assert!(["", "0", "false", "No", "off"].iter().all(|word| parse_switch(word) == Ok(false)));
        assert!(["2", "maybe", " 1"].iter().all(|word| parse_switch(word).is_err()));
    }

    #[test]
    fn defaults_are_the_limits() {
        let Mode::Serve(args) = Cli::parse_from(["cowchat", "serve"]).mode else { panic!("serve") };
        assert_eq!(args.sendq_stall, limits::SENDQ_STALL);
        assert_eq!(args.drain_timeout, limits::DRAIN_TIMEOUT);
        assert_eq!(args.login_timeout, Some(limits::LOGIN_TIMEOUT));
        assert_eq!(args.idle_timeout, None);
        assert_eq!(args.scarce_idle, Some(limits::SCARCE_IDLE));
        assert_eq!(args.flood_rate, LineRate { lines: limits::FLOOD_RATE, per: Duration::from_secs(1) });
        let connect_rate = LineRate { lines: limits::CONNECT_RATE, per: Duration::from_secs(1) };
        assert_eq!(args.connect_rate, Some(connect_rate));
        assert_eq!(args.keepalive, Some(limits::KEEPALIVE));
        assert_eq!(args.user_timeout, Some(limits::USER_TIMEOUT));
    }
}
