//! What is measured: our own server, another build, one that runs already, or a floor. What we start ends by Drop.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::cli::{Common, Fault, name};
use super::crowd::{SET_UP_MAX, fetch_blocks};
use super::procfs::Usage;
use super::texts::Texts;
use super::token::Token;
use super::wire::Gallery;

/// Of what has no address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Lines of the server's log that are shown when there are faults.
const LOG_LINES_SHOWN: usize = 12;

/// A process to be measured.
#[derive(Debug)]
pub struct Target {
    /// `server`, `other server`, `floor, one write` or `floor, coalescing`.
    pub label: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// The process whose CPU time counts.
    pub pid: u32,
    /// What belongs to it: other servers of a cluster, and the broker, which listens nowhere for clients.
    more: Vec<Target>,
    /// Where the broker of a cluster listens for servers.
    pub broker: Option<SocketAddr>,
    child: Option<Child>,
    log: Option<PathBuf>,
}

/// Names of `count` clients: the first of each breed, then the second of each, and so on.
pub fn names(count: usize) -> Vec<String> {
    let mut cows = charasay::BUILTIN_CHARA.to_vec();
    // The first sender is `cow`, whose picture is of middle size.
    cows.sort_by_key(|&cow| cow != "cow");
    let of_client = |index: usize| match index / cows.len() {
        0 => cows[index].to_owned(),
        round => format!("{}#{}", cows[index % cows.len()], round + 1),
    };
    (0..count).map(of_client).collect()
}

/// The server that the flags ask for, with names for this many clients.
pub fn server(common: &Common, clients: usize) -> anyhow::Result<Target> {
    if let (Some(address), Some(pid)) = (common.addr, common.pid) {
        return Ok(Target { label: "server", address, pid, more: Vec::new(), broker: None, child: None, log: None });
    }
    start_server("server", Path::new(env!("CARGO_BIN_EXE_cowchat")), common, clients)
}

/// Another build of the server, with the same flags.
pub fn other_server(binary: &Path, common: &Common, clients: usize) -> anyhow::Result<Target> {
    start_server("other server", binary, common, clients)
}

fn start_server(label: &'static str, binary: &Path, common: &Common, clients: usize) -> anyhow::Result<Target> {
    let log = format!("stampede-{}-{}.log", std::process::id(), label.replace(' ', "-"));
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(log);
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWCHAT_")) {
        command.env_remove(name);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--cores", &common.cores.to_string()]);
    let rounds = clients.div_ceil(charasay::BUILTIN_CHARA.len());
    if rounds > 1 && !common.server_args.contains("--herd") {
        command.args(["--herd", &rounds.to_string()]);
    }
    command.args(common.server_args.split_whitespace());
    command.stdin(Stdio::null()).stderr(File::create(&log).context("the server's log")?);
    start(label, command, None, Some(log))
}

/// A floor that delivers what `recipe` describes.
pub fn floor(coalesce: bool, fault: Option<Fault>, recipe: &Value) -> anyhow::Result<Target> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").args(coalesce.then_some("--coalesce"));
    command.args(fault.map(|fault| format!("--fault={}", name(&fault)))).stdin(Stdio::piped());
    start(if coalesce { "floor, coalescing" } else { "floor, one write" }, command, Some(recipe), None)
}

fn start(
    label: &'static str,
    mut command: Command,
    stdin: Option<&Value>,
    log: Option<PathBuf>,
) -> anyhow::Result<Target> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("the {label} cannot run"))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        pipe.write_all(text.to_string().as_bytes())?;
    }
    let mut announcement = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut announcement)?;
    let address =
        announcement.strip_prefix("listening on ").and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let pid = child.id();
    let (address, is_there) = (address.unwrap_or(NOWHERE), address.is_some());
    let target = Target { label, address, pid, more: Vec::new(), broker: None, child: Some(child), log };
    if !is_there {
        bail!("the {label} did not start: {announcement}\n{}", target.log_end());
    }
    Ok(target)
}

/// The servers of a cluster, and its broker, with names for this many clients.
pub fn cluster(common: &Common, servers: u32, clients: usize) -> anyhow::Result<Target> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("stampede-{}-broker", std::process::id()));
    // What a broker of an earlier process of this number has left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder)?;
    let mut command = Command::new("nats-server");
    command.args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"]).arg(&folder).arg("--ports_file_dir").arg(&folder);
    let child = command.stderr(Stdio::null()).spawn().context("install nats-server")?;
    let broker = Target {
        label: "broker",
        address: NOWHERE,
        pid: child.id(),
        more: Vec::new(),
        broker: None,
        child: Some(child),
        log: None,
    };
    let url = broker_url(&folder)?;
    let node = |number: u32| {
        let mut common = common.clone();
        common.server_args = format!("{} --cluster {url} --node n{number}", common.server_args);
        let label = if number == 1 { "cluster" } else { "another server" };
        start_server(label, Path::new(env!("CARGO_BIN_EXE_cowchat")), &common, clients)
    };
    let mut first = node(1)?;
    first.more = (2..=servers).map(node).collect::<anyhow::Result<_>>()?;
    first.more.push(broker);
    first.broker = Some(url.trim_start_matches("nats://").parse().context("the broker's address")?);
    Ok(first)
}

/// Where the broker listens, which it writes into this folder.
fn broker_url(folder: &Path) -> anyhow::Result<String> {
    let began = Instant::now();
    while began.elapsed() < SET_UP_MAX {
        let mut files = fs::read_dir(folder)?.flatten().map(|file| file.path());
        let ports = files.find(|path| path.extension().is_some_and(|extension| extension == "ports"));
        let said = ports.and_then(|path| serde_json::from_str::<Value>(&fs::read_to_string(path).ok()?).ok());
        if let Some(url) = said.as_ref().and_then(|said| said["nats"][0].as_str()) {
            return Ok(url.to_owned());
        }
        std::thread::yield_now();
    }
    bail!("nats-server does not start")
}

impl Target {
    /// Where clients connect, in turn.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        std::iter::once(self).chain(&self.more).map(|target| target.address).filter(|place| *place != NOWHERE).collect()
    }

    /// What the broker of a cluster has used.
    pub fn broker_usage(&self) -> anyhow::Result<Usage> {
        self.more.iter().filter(|target| target.address == NOWHERE).map(|broker| Usage::of(broker.pid)).sum()
    }

    /// What its processes have used.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let usages = std::iter::once(self).chain(&self.more).map(|target| Usage::of(target.pid));
        usages.sum::<anyhow::Result<Usage>>()
    }

    /// The last lines of its log, indented.
    pub fn log_end(&self) -> String {
        let log = self.log.as_ref().and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" event=accepted ")).collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        shown.iter().map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(log) = &self.log {
            let _ = fs::remove_file(log);
        }
    }
}

/// What a floor needs: names and texts, and how the server at `address` draws them. Texts are of `bytes`, or those of a
/// chat.
pub fn recipe(address: SocketAddr, names: &[String], bytes: Option<usize>) -> anyhow::Result<Value> {
    let cows = names.len().min(charasay::BUILTIN_CHARA.len());
    let texts = texts(bytes);
    let rests: Vec<&[u8]> = (0..texts.count()).map(|index| texts.rest(index)).collect();
    let fetch = |name: &String, rests: &[&[u8]]| {
        let blocks = fetch_blocks(address, name, Token { sender: 0, number: 0, yielded: 0 }, rests)?.into_iter();
        blocks.map(|block| Ok(String::from_utf8(block)?)).collect::<anyhow::Result<Vec<_>>>()
    };
    let of_first = fetch(&names[0], &rests)?;
    let of_others = names[1..cows].iter().map(|name| fetch(name, &rests[..1])).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "names": names, "text_bytes": bytes, "of_first": of_first, "of_others": of_others.concat() }))
}

fn texts(bytes: Option<usize>) -> Texts {
    bytes.map_or_else(Texts::of_a_chat, Texts::of_bytes)
}

/// The gallery that a recipe describes.
pub fn gallery(recipe: &Value) -> anyhow::Result<Gallery> {
    let list = |key: &str| recipe[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let blocks = |key: &str| list(key).map(String::into_bytes).collect::<Vec<_>>();
    let texts = texts(recipe["text_bytes"].as_u64().map(|bytes| bytes as usize));
    let learned = Gallery::learn(list("names").collect(), texts, &blocks("of_first"), &blocks("of_others"));
    learned.map_err(|_| anyhow::anyhow!("messages differ in more than text and cow: {}", recipe["of_first"][0]))
}
