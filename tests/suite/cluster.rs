//! Several servers with one herd, on a NATS server of the test's own: promises C1 to C8 of tests/RELIABILITY.md.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster_security::certificates;
use crate::metrics::names_in;
use crate::support::*;

/// The lease of these nodes, in seconds: short, and yet a busy machine renews it in time.
const TTL: &str = "4s";

/// A NATS server with JetStream, on any free port.
pub struct Broker {
    process: Guarded,
    scratch: Scratch,
    pub port: u16,
}

impl Broker {
    fn start() -> Broker {
        Broker::with(&[])
    }

    /// With these flags of its own.
    pub fn with(flags: &[&str]) -> Broker {
        let scratch = Scratch::new();
        let (process, port) = Broker::run(&scratch, -1, flags);
        Broker { process, scratch, port }
    }

    fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// With what the killed one has stored.
    fn restart(&mut self) {
        (self.process, _) = Broker::run(&self.scratch, i32::from(self.port), &[]);
    }

    fn run(scratch: &Scratch, port: i32, flags: &[&str]) -> (Guarded, u16) {
        let ports = scratch.join("ports");
        let _ = fs::remove_dir_all(&ports);
        fs::create_dir(&ports).expect("a directory of the test's own");
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(scratch.join("store"));
        command.arg("--ports_file_dir").arg(&ports).args(flags).stderr(Stdio::null());
        let process = Guarded::spawn(&mut command);
        let mut text = String::new();
        let is_written = || {
            let file = fs::read_dir(&ports).expect("it is there").flatten().next();
            text = file.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).unwrap_or_default();
            text.ends_with('}') || text.ends_with("}\n")
        };
        wait_until(is_written, "the broker does not say where it listens (install nats-server)");
        let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let url = said["nats"][0].as_str().or(said["tls"][0].as_str()).expect("an address").to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        (process, port)
    }

    /// What JetStream answers to a request for this.
    fn ask(&self, what: &str) -> serde_json::Value {
        ask_jetstream((Ipv4Addr::LOCALHOST, self.port), what)
    }

    /// The flags of a node with this name.
    fn flags(&self, node: &str) -> Vec<String> {
        let url = format!("nats://127.0.0.1:{}", self.port);
        let flags = ["--cluster", &url, "--node", node, "--cluster-ttl", TTL, "--cluster-renew", "500ms"];
        flags.map(str::to_owned).to_vec()
    }

    fn node_with(&self, node: &str, flags: &[&str]) -> Server {
        let own = self.flags(node);
        let own: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let server = Server::with(&own);
        server.log_event("cluster_reached", &[("node", node)]);
        server
    }

    fn node(&self, node: &str) -> Server {
        self.node_with(node, &[])
    }

    /// Nodes that know each other.
    fn nodes(&self, names: &[&str], flags: &[&str]) -> Vec<Server> {
        let nodes: Vec<_> = names.iter().map(|name| self.node_with(name, flags)).collect();
        for (node, name) in nodes.iter().zip(names) {
            names.iter().filter(|other| *other != name).for_each(|other| {
                node.log_event("node_joined", &[("node", other)]);
            });
        }
        nodes
    }
}

/// Three NATS servers that keep three copies, by the manual's configuration, each on an address of its own.
struct Brokers {
    processes: Vec<(String, Guarded)>,
    addresses: [Ipv4Addr; 3],
    _scratch: Scratch,
}

/// Where they listen for clients.
const BROKERS_PORT: u16 = 4222;

impl Brokers {
    fn start() -> Brokers {
        let page = include_str!("../../docs/OPERATING.md");
        let (_, config) = page.split_once("```text\nserver_name: nats1\n").expect("a configuration of three");
        let (config, _) = config.split_once("```").expect("its end");
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let own = ((std::process::id() << 3) + STARTED.fetch_add(1, Ordering::Relaxed)) << 2;
        let addresses = [0, 1, 2].map(|n| Ipv4Addr::from(0x7f00_0000 | (1 << 23) | (own & 0x007f_ffff) | n));
        let scratch = certificates(&addresses);
        let start = |n: usize| {
            let name = format!("nats{}", n + 1);
            let config = config.replace("listen: 10.0.0.1:", &format!("listen: {}:", addresses[n]));
            let at = |config: String, (n, address): (i32, &Ipv4Addr)| {
                config.replace(&format!("10.0.0.{n}"), &address.to_string())
            };
            let config = (1..).zip(&addresses).fold(config, at).replace("/etc/nats", scratch.path());
            let config = config.replace("/var/lib/nats", &format!("{}/{name}", scratch.path()));
            let config = scratch.put(&format!("{name}.conf"), format!("server_name: {name}\n{config}"));
            let mut command = Command::new("nats-server");
            command.args(["-c", &config]).stderr(Stdio::null());
            (name, Guarded::spawn(&mut command))
        };
        Brokers { processes: (0..3).map(start).collect(), addresses, _scratch: scratch }
    }

    fn node(&self, name: &str) -> Server {
        let urls = self.addresses.map(|address| format!("nats://{address}:{BROKERS_PORT}")).join(",");
        let flags = ["--cluster", &urls, "--node", name, "--cluster-replicas", "3", "--art", "off"];
        let server = Server::with(&flags);
        server.log_event("cluster_reached", &[("node", name)]);
        server
    }

    /// The broker that leads the store.
    fn leader(&self) -> usize {
        let said = ask_jetstream((self.addresses[0], BROKERS_PORT), "STREAM.INFO.KV_cowchat");
        let leader = said["cluster"]["leader"].as_str().unwrap_or_else(|| panic!("no leader: {said}"));
        self.processes.iter().position(|(name, _)| name == leader).expect("one of the three")
    }
}

fn ask_jetstream(broker: (Ipv4Addr, u16), what: &str) -> serde_json::Value {
    let stream = TcpStream::connect(broker).expect("it listens");
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines().map_while(Result::ok);
    let ask = format!("CONNECT {{\"verbose\":false}}\r\nSUB here 1\r\nPUB $JS.API.{what} here 0\r\n\r\n");
    (&stream).write_all(ask.as_bytes()).expect("it reads");
    let answer = lines.find(|line| line.starts_with('{')).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

/// Waits until `client` hears of these users, and no others.
fn expect_users(client: &mut Client, users: &str) {
    let expected = format!("Registered users: {users}");
    wait_until(|| client.ask("who") == expected, &format!("not {expected}"));
}

/// A login that may have to be tried again, while a record is on its way.
fn login_at_last(server: &Server, cow: &str) -> Client {
    let mut client = server.connect();
    wait_until(|| client.ask(&format!("login {cow}")) == format!("Logged in as {cow}"), "it stays taken");
    client
}

#[test]
fn two_servers_are_one_herd() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let mut watcher = nodes[0].login("nemo");
    assert_eq!(watcher.ask("notify on"), "Notices are on");
    let mut tux = nodes[1].login("tux");
    watcher.expect("* tux has joined\n");
    expect_users(&mut tux, "nemo, tux");
    let mut late = nodes[0].connect();
    assert_eq!(late.ask("login tux"), "error: cow tux is already taken");
    assert_eq!(watcher.ask("say tux hi there"), "Sent to tux");
    assert_eq!(tux.read_line(), "nemo says to you: hi there");
    assert_eq!(tux.ask("yield hi all"), "Sent to 1 cow");
    assert_eq!(watcher.read_line(), "tux says: hi all");
    tux.quit();
    watcher.expect("* tux has left\n");
    let mut tux = login_at_last(&nodes[0], "tux");
    expect_users(&mut tux, "nemo, tux");
}

#[test]
fn each_node_draws_as_its_users_want() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &[]);
    let (mut sender, mut receiver) = (nodes[0].login("nemo"), nodes[1].login("tux"));
    expect_users(&mut sender, "nemo, tux");
    assert_eq!(sender.ask("say tux hi there"), "Sent to tux");
    receiver.expect_message("nemo", true, "hi there");
    assert_eq!(sender.ask("yield hi all"), "Sent to 1 cow");
    receiver.expect_message("nemo", false, "hi all");
}

#[test]
fn a_scrape_has_the_figures_of_the_cluster() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--metrics", "127.0.0.1:0"]);
    let (mut sender, mut receiver) = (nodes[0].login("nemo"), nodes[1].login("tux"));
    expect_users(&mut sender, "nemo, tux");
    assert_eq!(sender.ask("say tux hi there"), "Sent to tux");
    receiver.expect_message("nemo", true, "hi there");
    let scrape = |server: &Server| {
        let address = server.log_event("metrics_served", &[]).field("address").to_owned();
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: cow\r\n\r\n").expect("it reads");
        std::io::read_to_string(stream).expect("it answers")
    };
    let is_so = |server: &Server, line: &str| scrape(server).lines().any(|found| found == line);
    for (server, line) in [
        (&nodes[0], "cowchat_cluster_sent_total 1"),
        (&nodes[0], "cowchat_cluster_in_reach 1.0"),
        (&nodes[1], "cowchat_cluster_received_total 1"),
        (&nodes[1], "cowchat_cluster_other_nodes 1.0"),
        (&nodes[1], "cowchat_cluster_missed_total 0"),
    ] {
        wait_until(|| is_so(server, line), &format!("no {line}"));
    }
    let page = include_str!("../../docs/OPERATING.md");
    let text = scrape(&nodes[0]);
    let names =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with("cowchat_cluster_"));
    let names: BTreeSet<&str> = names.collect();
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [&""; 0], "not in docs/OPERATING.md");
    let alerts = names_in(include_str!("../../ci/alerts-cluster.yml"));
    let unknown: Vec<_> = alerts.iter().filter(|name| !names.contains(name.as_str())).collect();
    assert_eq!(unknown, [""; 0], "alerts-cluster.yml");
}

#[test]
fn of_many_logins_of_one_cow_one_wins() {
    const COWS: usize = 50;
    let clients = count_of("COWCHAT_CLUSTER_CLIENTS", 2000);
    let broker = Broker::start();
    let flags = ["--herd", "50", "--connections-per-address", "2000"];
    let nodes = broker.nodes(&["a", "b", "c"], &flags);
    let mut all: Vec<Client> = (0..clients).map(|place| nodes[place % 3].connect()).collect();
    let number = |place: usize| place / 3 % COWS + 1;
    let name = |place: usize| if number(place) == 1 { "tux".to_owned() } else { format!("tux#{}", number(place)) };
    let replies = ask_at_once(&mut all, |place| format!("login {}", name(place)));
    let mut winners: Vec<String> = Vec::new();
    for (place, reply) in replies.into_iter().enumerate() {
        let cow = name(place);
        match reply {
            reply if reply == format!("Logged in as {cow}") => winners.push(cow),
            reply => assert_eq!(reply, format!("error: cow {cow} is already taken")),
        }
    }
    let count = winners.len();
    winners.sort();
    winners.dedup();
    assert_eq!((count, winners.len()), (COWS, COWS), "each cow has one winner");
}

#[test]
fn a_login_of_any_cow_finds_the_free_one() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--herd", "8"]);
    let mut clients: Vec<Client> = (0..8).map(|place| nodes[place % 2].connect()).collect();
    let mut replies = ask_at_once(&mut clients, |_| "login tux#".to_owned());
    replies.sort();
    let expected: Vec<_> = std::iter::once("Logged in as tux".to_owned())
        .chain((2..=8).map(|number| format!("Logged in as tux#{number}")))
        .collect();
    assert_eq!(replies, expected);
    let mut late = nodes[1].connect();
    assert_eq!(late.ask("login tux#"), "error: every tux is taken");
}

#[test]
fn messages_between_nodes_come_once_and_in_order() {
    let messages = count_of("COWCHAT_CLUSTER_MESSAGES", 10_000);
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off", "--sendq-bytes-max", ROOMY]);
    let (mut sender, mut receiver) = (nodes[0].login("nemo"), nodes[1].login("tux"));
    expect_users(&mut sender, "nemo, tux");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..messages {
                let private = number % 2 == 0;
                let line = if private { format!("say tux {number}") } else { format!("yield {number}") };
                let wanted = if private { "Sent to tux" } else { "Sent to 1 cow" };
                wait_until(
                    || {
                        let reply = sender.ask(&line);
                        assert!(reply == wanted || reply == "error: the cluster is too slow, try again", "{reply}");
                        reply == wanted
                    },
                    "it stays too slow",
                );
            }
        });
        for number in 0..messages {
            let whom = if number % 2 == 0 { " to you" } else { "" };
            assert_eq!(receiver.read_line(), format!("nemo says{whom}: {number}"));
        }
    });
}

#[test]
fn a_say_travels_to_its_receivers_server_alone() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let (mut sender, mut receiver) = (nodes[0].login("nemo"), nodes[1].login("tux"));
    expect_users(&mut sender, "nemo, tux");
    let stream = TcpStream::connect(("127.0.0.1", broker.port)).expect("it listens");
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines().map_while(Result::ok);
    (&stream).write_all(b"CONNECT {\"verbose\":false}\r\nSUB cowchat.> 1\r\nPING\r\n").expect("it reads");
    assert!(lines.any(|line| line == "PONG"), "it has subscribed");
    let mut subject = || lines.find_map(|line| Some(line.strip_prefix("MSG ")?.split(' ').next()?.to_owned()));
    assert_eq!(sender.ask("say tux hi"), "Sent to tux");
    assert_eq!(subject().as_deref(), Some("cowchat.messages.b"));
    assert_eq!(receiver.read_line(), "nemo says to you: hi");
    assert_eq!(receiver.ask("yield hi all"), "Sent to 1 cow");
    assert_eq!(subject().as_deref(), Some("cowchat.messages"));
}

#[test]
fn a_killed_nodes_cows_are_free_after_its_lease() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &[]);
    let [a, b] = nodes.try_into().unwrap_or_else(|_| panic!("two nodes"));
    let _tux = a.login("tux");
    let mut watcher = b.login("nemo");
    expect_users(&mut watcher, "nemo, tux");
    a.signal("KILL");
    let mut late = b.connect();
    assert_eq!(late.ask("login tux"), "error: cow tux is already taken");
    b.log_event("node_left", &[("node", "a"), ("cause", "lapsed")]);
    assert_eq!(late.ask("login tux"), "Logged in as tux");
}

#[test]
fn a_drained_nodes_cows_are_free_at_once() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let [mut a, b] = nodes.try_into().unwrap_or_else(|_| panic!("two nodes"));
    let mut tux = a.login("tux");
    let mut watcher = b.login("nemo");
    expect_users(&mut watcher, "nemo, tux");
    assert_eq!(tux.ask("yield the last words"), "Sent to 1 cow");
    a.signal("TERM");
    assert_eq!(watcher.read_line(), "tux says: the last words");
    b.log_event("node_left", &[("node", "a"), ("cause", "left")]);
    let mut late = b.connect();
    assert_eq!(late.ask("login tux"), "Logged in as tux");
    // Not when the last client has read its last line.
    drop(tux);
    assert_eq!(a.wait().code(), Some(0));
}

#[test]
fn a_node_that_was_stopped_never_speaks_as_its_old_cows() {
    let broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let (mut old, mut watcher) = (nodes[0].login("tux"), nodes[1].login("nemo"));
    let mut local = nodes[0].login("kirby");
    expect_users(&mut watcher, "kirby, nemo, tux");
    nodes[0].signal("STOP");
    nodes[1].log_event("node_left", &[("node", "a"), ("cause", "lapsed")]);
    let mut new = nodes[1].connect();
    assert_eq!(new.ask("login tux"), "Logged in as tux");
    // It finds this when it goes on.
    old.send("yield I am tux");
    nodes[0].signal("CONT");
    assert_eq!(old.read_line(), "* lost the cluster, please log in again");
    assert_eq!(old.read_line(), "error: login first");
    local.expect("* lost the cluster, please log in again\n");
    nodes[0].log_event("cluster_lost", &[]);
    wait_until(|| local.ask("login kirby") == "Logged in as kirby", "it does not join again");
    assert_eq!(old.ask("login tux"), "error: cow tux is already taken");
    expect_users(&mut new, "kirby, nemo, tux");
    assert_eq!(new.ask("yield no, I am"), "Sent to 2 cows");
    // The old one's words would have come first.
    assert_eq!(watcher.read_line(), "tux says: no, I am");
    assert_eq!(local.read_line(), "tux says: no, I am");
}

#[test]
fn without_a_broker_users_of_one_server_go_on() {
    let mut broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let (mut tux, mut near, mut far) = (nodes[0].login("tux"), nodes[0].login("kirby"), nodes[1].login("nemo"));
    expect_users(&mut tux, "kirby, nemo, tux");
    broker.kill();
    nodes[0].log_event("cluster_unreached", &[]);
    nodes[1].log_event("cluster_unreached", &[]);
    assert_eq!(tux.ask("say kirby hi"), "Sent to kirby");
    assert_eq!(near.read_line(), "tux says to you: hi");
    assert_eq!(tux.ask("say nemo hi"), "error: cow nemo is out of reach");
    assert_eq!(tux.ask("yield moo"), "Sent to 1 cow");
    assert_eq!(near.read_line(), "tux says: moo");
    let mut late = nodes[0].connect();
    assert_eq!(late.ask("login cow"), "error: the cluster is out of reach, try again");
    broker.restart();
    for node in &nodes {
        wait_until(|| node.log_events("cluster_reached", &[]).len() == 2, "it does not say that it is back");
    }
    wait_until(|| late.ask("login cow") == "Logged in as cow", "the cluster stays out of reach");
    wait_until(|| tux.ask("say nemo hi again") == "Sent to nemo", "nemo stays out of reach");
    assert_eq!(far.read_line(), "tux says to you: hi again");
}

#[test]
fn the_loss_of_the_leading_broker_ends_no_session() {
    let brokers = Brokers::start();
    let nodes = ["a", "b"].map(|name| brokers.node(name));
    let (mut tux, mut far) = (nodes[0].login("tux"), nodes[1].login("nemo"));
    expect_users(&mut tux, "nemo, tux");
    let (_, leader) = &brokers.processes[brokers.leader()];
    leader.signal("KILL");
    let mut late = nodes[0].connect();
    wait_until(|| late.ask("login kirby") == "Logged in as kirby", "no other leads");
    // What was said while a server looked for another broker may be lost, and `Sent` says only that this server had one.
    let mut other = nodes[1].connect();
    wait_until(|| other.ask("login aya") == "Logged in as aya", "its server stays out of reach");
    wait_until(|| tux.ask("say nemo hi") == "Sent to nemo", "nemo stays out of reach");
    assert_eq!(far.read_line(), "tux says to you: hi");
    expect_users(&mut far, "aya, kirby, nemo, tux");
    assert!(nodes.iter().all(|node| node.log_events("cluster_lost", &[]).is_empty()));
}

/// A broker that looks at revisions before it agrees with the others lets both win, in about every third round.
#[test]
fn of_two_logins_at_three_brokers_one_wins() {
    let brokers = Brokers::start();
    let nodes = ["a", "b"].map(|name| brokers.node(name));
    nodes[0].log_event("node_joined", &[("node", "b")]);
    nodes[1].log_event("node_joined", &[("node", "a")]);
    let mut users = [nodes[0].connect(), nodes[1].connect()];
    for _ in 0..count_of("COWCHAT_CLUSTER_RACES", 40) {
        let replies = ask_at_once(&mut users, |_| "login tux".to_owned());
        let winner = replies.iter().position(|reply| reply == "Logged in as tux").expect("one of them");
        assert_eq!(replies[1 - winner], "error: cow tux is already taken");
        users[winner] = nodes[winner].connect();
        users.iter_mut().for_each(|user| expect_users(user, "(none)"));
    }
    assert!(nodes.iter().all(|node| node.log_events("cluster_lost", &[]).is_empty()));
}

#[test]
fn a_say_to_a_login_that_waits_arrives() {
    const TRIES: usize = 100;
    let broker = Broker::start();
    let node = broker.node_with("a", &["--art", "off", "--herd", &TRIES.to_string()]);
    let mut aya = node.login("aya#2");
    let mut cows = (2..=TRIES).map(|number| format!("tux#{number}"));
    let arrives = || {
        let cow = cows.next().expect("one of so many logins succeeds");
        let mut user = node.connect();
        broker.process.signal("STOP");
        user.send(&format!("login {cow}"));
        // Until the login has its claim.
        let is_sent = (0..TRIES).any(|_| aya.ask(&format!("say {cow} hi")) == format!("Sent to {cow}"));
        broker.process.signal("CONT");
        // On a busy machine that may be too late.
        let is_early = is_sent && user.read_line() == format!("Logged in as {cow}");
        assert!(!is_early || user.read_line() == "aya#2 says to you: hi");
        is_early
    };
    wait_until(arrives, "no message comes while a login waits");
}

#[test]
fn a_broker_that_has_lost_its_store_is_joined_again() {
    let mut broker = Broker::start();
    let nodes = broker.nodes(&["a", "b"], &["--art", "off"]);
    let (mut tux, mut far) = (nodes[0].login("tux"), nodes[1].login("nemo"));
    expect_users(&mut tux, "nemo, tux");
    broker.kill();
    fs::remove_dir_all(broker.scratch.join("store")).expect("it was there");
    broker.restart();
    tux.expect("* lost the cluster, please log in again\n");
    far.expect("* lost the cluster, please log in again\n");
    wait_until(|| tux.ask("login tux") == "Logged in as tux", "it stays out of reach");
    wait_until(|| far.ask("login nemo") == "Logged in as nemo", "it stays out of reach");
    expect_users(&mut tux, "nemo, tux");
    assert_eq!(tux.ask("say nemo hi"), "Sent to nemo");
    assert_eq!(far.read_line(), "tux says to you: hi");
}

#[test]
fn a_reconnection_leaves_nothing_at_the_broker() {
    let mut broker = Broker::start();
    let node = broker.node("a");
    for round in 1..=3 {
        broker.kill();
        broker.restart();
        wait_until(|| node.log_events("cluster_reached", &[]).len() > round, "it does not come back");
    }
    let watches = || broker.ask("CONSUMER.NAMES.KV_cowchat")["total"].as_u64();
    wait_until(|| watches() == Some(1), "it watches more than once");
}

#[test]
fn a_drain_waits_for_no_broker() {
    let broker = Broker::start();
    let mut server = broker.node_with("a", &["--drain-timeout", "60s"]);
    let mut tux = server.login("tux");
    let mut late = server.connect();
    broker.process.signal("STOP");
    late.send("login nemo");
    // Its login is asked for by then.
    expect_users(&mut tux, "nemo, tux");
    server.signal("TERM");
    assert_eq!(late.read_line(), "error: the cluster is out of reach, try again");
    tux.expect(LAST_LINE);
    drop((tux, late));
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log_events("drain_timed_out", &[]).is_empty());
    broker.process.signal("CONT");
}

#[test]
fn a_server_starts_before_its_broker() {
    let mut broker = Broker::start();
    broker.kill();
    let flags = broker.flags("a");
    let server = Server::with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tux = server.connect();
    assert_eq!(tux.ask("login tux"), "error: the cluster is out of reach, try again");
    broker.restart();
    server.log_event("cluster_reached", &[]);
    assert_eq!(tux.ask("login tux"), "Logged in as tux");
}

#[test]
fn a_stopped_broker_holds_up_no_local_chat() {
    let broker = Broker::start();
    let flags = ["--art", "off", "--sendq-bytes-max", ROOMY, "--mailbox-frames", "64"];
    let nodes = broker.nodes(&["a", "b"], &flags);
    let (mut tux, mut near, mut far) = (nodes[0].login("tux"), nodes[0].login("kirby"), nodes[1].login("nemo"));
    expect_users(&mut tux, "kirby, nemo, tux");
    broker.process.signal("STOP");
    // A bridge that gets no processor for a moment is too slow, too: then there is room once more.
    let mut fill = |command: &str| {
        let is_sent = |number: &u32| {
            let reply = tux.ask(&format!("{command} {number} {}", "moo ".repeat(900)));
            assert!(reply.starts_with("Sent to ") || reply == "error: the cluster is too slow, try again", "{reply}");
            reply.starts_with("Sent to ")
        };
        (0..).take_while(is_sent).count()
    };
    let (says, yields) = (fill("say nemo"), fill("yield"));
    assert_eq!(tux.ask("say kirby still here"), "Sent to kirby");
    for number in 0..yields {
        assert!(near.read_line().starts_with(&format!("tux says: {number} ")), "{number} is lost");
    }
    assert_eq!(near.read_line(), "tux says to you: still here");
    broker.process.signal("CONT");
    for number in 0..says {
        assert!(far.read_line().starts_with(&format!("tux says to you: {number} ")), "{number} is lost");
    }
    for number in 0..yields {
        assert!(far.read_line().starts_with(&format!("tux says: {number} ")), "{number} is lost");
    }
}

#[test]
fn a_node_with_another_herd_is_refused() {
    let broker = Broker::start();
    let _first = broker.node("a");
    let mut flags = broker.flags("b");
    flags.extend(["--herd", "2"].map(str::to_owned));
    let said = Server::try_with("127.0.0.1:0", &flags.iter().map(String::as_str).collect::<Vec<_>>()).err();
    let said = said.expect("it does not start");
    assert!(said.contains("node b has 48 cows, 2 of each, but node a has 24 cows, 1 of each"), "{said}");
    assert!(said.ends_with("(exit status: 2)"), "{said}");
}

#[test]
fn a_second_node_of_a_name_is_refused() {
    let broker = Broker::start();
    let first = broker.node("a");
    let flags = broker.flags("a");
    let said = Server::try_with("127.0.0.1:0", &flags.iter().map(String::as_str).collect::<Vec<_>>()).err();
    let said = said.expect("it does not start");
    assert!(said.contains("there is a node a already"), "{said}");
    assert!(said.ends_with("(exit status: 2)"), "{said}");
    assert_eq!(first.connect().ask("login tux"), "Logged in as tux");
}

#[test]
fn a_node_takes_its_name_over_after_a_crash() {
    let broker = Broker::start();
    let first = broker.node("a");
    let _tux = first.login("tux");
    first.signal("KILL");
    let second = broker.node("a");
    second.log_event("node_left", &[("node", "a"), ("cause", "lapsed")]);
    assert_eq!(second.connect().ask("login tux"), "Logged in as tux");
}
