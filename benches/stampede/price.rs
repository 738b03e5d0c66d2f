//! What single lines cost the server, and what flood control charges for them: the most expensive inputs there are.
//!
//! A client that is exempt sends a line again and again, the next when the last one is answered. Its cost, divided by its
//! price in lines and multiplied by the rate, is what a client that is not exempt can take of a core.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, bail};
use cowchat::limits::{FLOOD_RATE, HISTORY_MESSAGES_MAX, LINE_BYTES_MAX};
use cowchat::net::flood::Price;
use serde_json::json;

use crate::cli::Common;
use crate::crowd::connect;
use crate::exchange::{Exchange, Script};
use crate::report::Report;
use crate::talk::{Field, Stopwatch, gather, seconds};

/// Cows of each breed: `who` and `cows` look at all of them.
const HERD: &str = "--herd 1048576";

/// Messages that fill a history more than a reply can hold.
const HISTORY_FILL: usize = 100;

/// Texts that take long to make safe or to draw, by the piece that they repeat.
const TEXTS: [(&str, &str); 8] = [
    ("ASCII", "moo "),
    ("Cyrillic", "\u{43c}\u{443} "),
    ("ideographs", "\u{725b}"),
    ("families", "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} "),
    ("marks", "e\u{301}\u{302}\u{303}\u{304}"),
    ("ligatures", "\u{644}\u{627}"),
    ("conjuncts", "\u{915}\u{94d}"),
    ("escapes", "\u{1b}[31m\u{1b}]0;x\u{7}m"),
];

/// Lines that ask for something.
const QUESTIONS: [&str; 9] = ["", "help all", "who", "who x", "cows", "login x", "say x x", "art color", "history"];

/// Prints a row for each input, at last for yields to `receivers`.
///
/// # Errors
/// When the server can not be measured.
pub fn run(report: &mut Report, common: &Common, receivers: usize) -> anyhow::Result<()> {
    let mut common = common.clone();
    common.server_args = format!("{HERD} --history {HISTORY_MESSAGES_MAX} {}", common.server_args).trim().to_owned();
    let field = Field::prepare(&common, receivers + 2)?;
    let me = &field.gallery.names()[receivers + 1];
    report.say(&format!("\nprice: of a core that one client may take at {FLOOD_RATE} lines a second\n"));
    report.say(&format!("{:<44}{:>12}{:>10}{:>12}", "line", "us", "in lines", "of a core"));
    let mut asker = Asker::new(field.targets[0].address, me)?;
    for (name, piece) in TEXTS {
        let text = repeated(piece, LINE_BYTES_MAX - me.len() - "say  ".len());
        (0..HISTORY_FILL / TEXTS.len()).try_for_each(|_| asker.ask(&format!("yield {text}")).map(drop))?;
        let (cost, price) = asker.measure(&field, &common, &format!("say {me} {text}"))?;
        row(report, &common, &format!("say, {} bytes, {name}", text.len()), cost, price)?;
    }
    // `who` lists them all.
    let script = Script { clients: receivers + 1, ..Script::to_all(1) };
    let crowd = gather(&field.targets[0], &field, script.clients)?;
    for line in QUESTIONS {
        let (cost, price) = asker.measure(&field, &common, line)?;
        row(report, &common, &format!("{line:?}"), cost, price)?;
    }
    asker.ask("quit").ok();
    let mut exchange = Exchange::new(crowd, &field.gallery, &script);
    let stopwatch = Stopwatch::start(&field.targets[0])?;
    exchange.drive(Instant::now() + seconds(common.seconds), &mut || {})?;
    exchange.land(&mut || {})?;
    let cost = stopwatch.stop(&field.targets[0])?.server.cpu_ns as f64 / 1000.0;
    let yields = exchange.tally().deliveries as f64 / receivers as f64;
    let bytes = common.texts().context("price takes --text, not --texts")?;
    let name = format!("yield of {bytes} bytes to {receivers}");
    row(report, &common, &name, cost / yields, Price::of_line(bytes, receivers, 0))?;
    let (faults, complaint) = exchange.finish()?;
    report.faults = report.faults.plus(faults);
    complaint.iter().for_each(|complaint| report.say(complaint));
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

/// As many whole characters of `piece`, again and again, as fit into `bytes`.
fn repeated(piece: &str, bytes: usize) -> String {
    let mut text = piece.repeat(bytes / piece.len() + 1);
    text.truncate(text.floor_char_boundary(bytes));
    text.trim_end().to_owned()
}

/// A client that asks one thing after the other.
struct Asker {
    stream: TcpStream,
    input: BufReader<TcpStream>,
    asked: u64,
}

impl Asker {
    fn new(address: SocketAddr, cow: &str) -> anyhow::Result<Asker> {
        let stream = connect(address)?;
        let mut asker = Asker { input: BufReader::new(stream.try_clone()?), stream, asked: 0 };
        asker.ask(&format!("login {cow}"))?;
        Ok(asker)
    }

    /// Sends a line and reads until all that it brought has come. Returns the bytes of its reply.
    fn ask(&mut self, line: &str) -> anyhow::Result<usize> {
        self.asked += 2;
        let (id, last) = (format!("{} ", self.asked), format!("{} ", self.asked + 1));
        // What the line brings is over where the reply to another begins.
        self.stream.write_all(format!("{id}{line}\n{last}help\n").as_bytes())?;
        let (mut reply_bytes, mut is_reply, mut input) = (0, false, Vec::new());
        loop {
            input.clear();
            if self.input.read_until(b'\n', &mut input)? == 0 {
                bail!("the server closed the connection after {line:?}");
            }
            if input.starts_with(last.as_bytes()) {
                return Ok(reply_bytes);
            }
            // A message to oneself is no reply; the blocks of a history are, and follow one.
            is_reply |= input.starts_with(id.as_bytes());
            reply_bytes += if is_reply { input.len() } else { 0 };
        }
    }

    /// CPU time of the server for a line in microseconds, and its price.
    fn measure(&mut self, field: &Field, common: &Common, line: &str) -> anyhow::Result<(f64, Price)> {
        let reply_bytes = self.ask(line)?;
        let reply_bytes = if line.starts_with("say") { 0 } else { reply_bytes };
        let stopwatch = Stopwatch::start(&field.targets[0])?;
        let (until, mut count) = (Instant::now() + seconds(common.seconds), 0);
        while Instant::now() < until {
            self.ask(line)?;
            count += 1;
        }
        let cost = stopwatch.stop(&field.targets[0])?.server.cpu_ns as f64 / 1000.0 / f64::from(count);
        Ok((cost, Price::of_line(line.len(), 0, reply_bytes)))
    }
}
