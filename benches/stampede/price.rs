//! What single lines cost the server, and what flood control charges for them: the most expensive inputs there are.
//!
//! An exempt client sends a line again and again, the next when the last one is answered. The cost of the line, divided by
//! its price in lines and multiplied by the rate, is what a client under the limits can take of a core. The same for bytes
//! that are in no line, and for a line that comes byte by byte.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cowchat::limits::{FLOOD_RATE, FLOOD_READ_BYTES, HISTORY_MESSAGES_MAX, LINE_BYTES_MAX};
use cowchat::policy::flood::Price;
use serde_json::json;

use super::cli::Common;
use super::comparison::Comparison;
use super::crowd::connect;
use super::report::Report;
use super::script::Script;
use super::stopwatch::Stopwatch;
use super::target::Target;
use super::texts::DEAREST;

/// Cows of each breed: `who` and `cows` look at all of them.
const HERD: &str = "--herd 1048576";

/// Messages of a history that a reply does not hold.
const HISTORY_FILL: usize = 100;

/// Texts that take long to make safe or to draw, or that become long, as the piece that they repeat.
const TEXTS: [(&str, &[u8]); 10] = [
    ("ASCII", b"moo "),
    ("Cyrillic", "\u{43c}\u{443} ".as_bytes()),
    ("ideographs", "\u{725b}".as_bytes()),
    ("families", "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} ".as_bytes()),
    ("marks", "e\u{301}\u{302}\u{303}\u{304}".as_bytes()),
    ("ligatures", "\u{644}\u{627}".as_bytes()),
    ("variants", DEAREST),
    ("conjuncts", "\u{915}\u{94d}".as_bytes()),
    ("escapes", b"\x1b[31m\x1b]0;x\x07m"),
    ("invalid bytes", b"\xff."),
];

/// Bytes that are in no line, as the piece that they repeat.
const WASTE: [(&str, &[u8]); 2] = [("telnet commands", b"\xff\xf1"), ("a line without end", b"x")];

/// Bytes of these that are sent at once.
const WASTE_BYTES: usize = 1 << 20;

/// Bytes of a line that come one by one, and the pause after each.
const TRICKLE_BYTES: u32 = 1000;
const TRICKLE_PAUSE: Duration = Duration::from_micros(400);

/// `help` lines that are measured, since one ends each reply.
const HELPS: u32 = 2000;

/// Lines that get a reply.
const QUESTIONS: [&str; 10] =
    ["", "help all", "who", "who x", "cows", "login x", "say x x", "art color", "show mew", "history"];

/// Prints a row for each input, the last for yields to `receivers`.
#[expect(clippy::disallowed_methods, reason = "a byte comes by itself only after a pause")]
pub fn run(report: &mut Report, common: &Common, receivers: usize) -> anyhow::Result<()> {
    let mut common = common.clone();
    common.server_args = format!("{HERD} --history {HISTORY_MESSAGES_MAX} {}", common.server_args).trim().to_owned();
    let comparison = Comparison::prepare(&common, receivers + 2)?;
    let server = comparison.server();
    let me = &comparison.gallery.names()[receivers + 1];
    report.say(&format!("\nprice: of a core that one client may take at {FLOOD_RATE} lines a second\n"));
    report.say(&format!("{:<44}{:>12}{:>10}{:>12}", "line", "us", "in lines", "of a core"));
    let mut asker = Asker::new(server, comparison.run_time(), me)?;
    for (name, piece) in TEXTS {
        let text = repeated(piece, LINE_BYTES_MAX - me.len() - "say  ".len());
        let to_all = [b"yield ", &text[..]].concat();
        (0..HISTORY_FILL / TEXTS.len()).try_for_each(|_| asker.ask(&to_all).map(drop))?;
        let (cost, price) = asker.measure(&[b"say ", me.as_bytes(), b" ", &text].concat())?;
        row(report, &common, &format!("say, {} bytes, {name}", text.len()), cost, price)?;
    }
    for (name, piece) in WASTE {
        let cost = asker.cost_of(1, |asker| asker.ask(&repeated(piece, WASTE_BYTES)).map(drop))?;
        row(report, &common, &format!("{WASTE_BYTES} bytes, {name}"), cost, Price::of_waste(WASTE_BYTES))?;
    }
    let cost = asker.cost_of(TRICKLE_BYTES, |asker| {
        asker.stream.write_all(b"x")?;
        std::thread::sleep(TRICKLE_PAUSE);
        Ok(())
    })?;
    row(report, &common, "a byte of a line, which comes alone", cost, Price::of_waste(FLOOD_READ_BYTES))?;
    asker.ask(b"")?;
    // `who` lists these clients.
    let script = Script { clients: receivers + 1, ..Script::to_all(1) };
    let mut exchange = comparison.exchange(server, &script)?;
    for line in QUESTIONS {
        let (cost, price) = asker.measure(line.as_bytes())?;
        row(report, &common, &format!("{line:?}"), cost, price)?;
    }
    asker.ask(b"quit").ok();
    let cost = comparison.measure(server, &mut exchange)?.server.cpu_ns as f64 / 1000.0;
    let yields = exchange.tally().deliveries as f64 / receivers as f64;
    let bytes = common.texts().context("price takes --text, not --texts")?;
    let name = format!("yield of {bytes} bytes to {receivers}");
    row(report, &common, &name, cost / yields, Price::of_line(bytes, receivers, 0))?;
    report.add_faults(exchange.finish()?);
    report.say_load();
    Ok(())
}

fn row(report: &mut Report, common: &Common, name: &str, cost_us: f64, price: Price) -> anyhow::Result<()> {
    let lines = price.in_lines();
    let share = cost_us / lines * f64::from(FLOOD_RATE) / 1e6;
    report.say(&format!("{name:<44}{cost_us:>12.1}{lines:>10.2}{:>10.3} %", share * 100.0));
    let parameters = json!({ "workload": "price", "line": name, "cores": common.cores });
    report.line(&parameters, &json!({ "server_cpu_us": cost_us, "price_lines": lines, "share_of_a_core": share }))
}

/// `piece`, repeated as often as it fits into `bytes`.
fn repeated(piece: &[u8], bytes: usize) -> Vec<u8> {
    piece.repeat(bytes / piece.len())
}

/// A client that sends one line after the other.
struct Asker<'a> {
    server: &'a Target,
    /// How long a line is measured.
    run_time: Duration,
    stream: TcpStream,
    input: BufReader<TcpStream>,
    asked: u64,
    /// CPU time of the server for the line that ends a reply, in microseconds.
    help_us: f64,
}

impl<'a> Asker<'a> {
    fn new(server: &'a Target, run_time: Duration, cow: &str) -> anyhow::Result<Asker<'a>> {
        let stream = connect(server.address)?;
        let input = BufReader::new(stream.try_clone()?);
        let mut asker = Asker { server, run_time, stream, input, asked: 0, help_us: 0.0 };
        asker.ask(format!("login {cow}").as_bytes())?;
        // Each question is a `help` here, and is followed by another.
        asker.help_us = asker.cost_of(HELPS, |asker| asker.ask(b"help").map(drop))? / 2.0;
        Ok(asker)
    }

    /// Sends a line and reads all that it brings. Returns the bytes of its reply.
    fn ask(&mut self, line: &[u8]) -> anyhow::Result<usize> {
        self.asked += 2;
        let (id, last) = (format!("{} ", self.asked), format!("{} ", self.asked + 1));
        // What the line brings ends where the reply to the next line begins.
        self.stream.write_all(&[id.as_bytes(), line, b"\n", last.as_bytes(), b"help\n"].concat())?;
        let (mut reply_bytes, mut is_reply, mut input) = (0, false, Vec::new());
        loop {
            input.clear();
            if self.input.read_until(b'\n', &mut input)? == 0 {
                bail!("the server closed the connection after {:?}", String::from_utf8_lossy(line));
            }
            if input.starts_with(last.as_bytes()) {
                return Ok(reply_bytes);
            }
            // A message to the client itself is no reply; the blocks of a history are, and follow one.
            is_reply |= input.starts_with(id.as_bytes());
            reply_bytes += if is_reply { input.len() } else { 0 };
        }
    }

    /// CPU time of the server for a line in microseconds, and its price.
    fn measure(&mut self, line: &[u8]) -> anyhow::Result<(f64, Price)> {
        let reply_bytes = self.ask(line)?;
        let reply_bytes = if line.starts_with(b"say") { 0 } else { reply_bytes };
        let until = Instant::now() + self.run_time;
        let stopwatch = Stopwatch::start(self.server)?;
        let mut count = 0;
        while Instant::now() < until {
            self.ask(line)?;
            count += 1;
        }
        let cost = stopwatch.stop(self.server)?.server.cpu_ns as f64 / 1000.0 / f64::from(count) - self.help_us;
        Ok((cost, Price::of_line(line.len(), 0, reply_bytes)))
    }

    /// CPU time of the server for one of `count` acts, in microseconds.
    fn cost_of(&mut self, count: u32, mut act: impl FnMut(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<f64> {
        let stopwatch = Stopwatch::start(self.server)?;
        (0..count).try_for_each(|_| act(self))?;
        Ok(stopwatch.stop(self.server)?.server.cpu_ns as f64 / 1000.0 / f64::from(count))
    }
}
