//! What a scrape says: counters that follow what users do, health and readiness; and that no scrape delays a core.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::*;

/// More connections than the server answers at once (`limits::SCRAPES_AT_ONCE`).
const MANY: usize = 100;

struct Scraped {
    server: Server,
    metrics: SocketAddr,
}

impl Scraped {
    fn with(flags: &[&str]) -> Scraped {
        Scraped::of(Server::with(&[&["--metrics", "127.0.0.1:0"], flags].concat()))
    }

    fn of(server: Server) -> Scraped {
        let metrics = server.log_event("metrics_served", &[]).field("address").parse().expect("an address");
        Scraped { server, metrics }
    }

    /// The status and the body of the answer to a GET.
    fn get(&self, path: &str) -> (u16, String) {
        answer(ask(self.metrics, path))
    }

    /// All samples: name with labels, and value.
    fn samples(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        samples.map(sample).collect()
    }

    fn wait_for(&self, name: &str, value: f64) {
        let is_so = || self.samples().get(name) == Some(&value);
        wait_until(is_so, &format!("{name} does not become {value}"));
    }
}

fn ask(metrics: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(metrics).expect("it listens");
    stream.set_read_timeout(Some(GUARD)).expect("an open socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: cow\r\n\r\n").expect("it reads");
    stream
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and its end");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn counters_follow_what_users_do() {
    let scraped = Scraped::with(&[]);
    let server = &scraped.server;
    let (mut tux, mut cow) = (server.login_on(0, "tux"), server.login_on(1, "cow"));
    assert_eq!(tux.ask("say"), "error: usage: say COW TEXT");
    tux.expect_said(&mut cow);
    let mut guest = server.connect();
    for (line, refused) in
        [("login tux", "error: cow tux is already taken"), ("moo", "error: unknown command moo (try help)")]
    {
        assert_eq!(guest.ask(line), refused);
    }
    guest.ask("login emu");
    let name = server.name_of(&guest);
    guest.quit();
    server.log_event("closed", &[("connection", &name)]);
    for (name, value) in [
        ("cowchat_connections_open", 2.0),
        ("cowchat_connections_ended_total{reason=\"quit\"}", 1.0),
        ("cowchat_connections_refused_total{reason=\"server_full\"}", 0.0),
        ("cowchat_cows_taken", 2.0),
        ("cowchat_cows", 24.0),
        ("cowchat_logins_total{result=\"logged_in\"}", 2.0),
        ("cowchat_logins_total{result=\"taken\"}", 1.0),
        ("cowchat_logins_total{result=\"no_such_cow\"}", 1.0),
        ("cowchat_lines_total{command=\"say\"}", 1.0),
        ("cowchat_lines_total{command=\"login\"}", 4.0),
        ("cowchat_lines_total{command=\"none\"}", 2.0),
        ("cowchat_says_total", 1.0),
        ("cowchat_deliveries_total", 1.0),
        ("cowchat_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        scraped.wait_for(name, value);
    }
    let samples = scraped.samples();
    assert!(samples["cowchat_written_bytes_total"] > 100.0);
    assert_eq!(samples["cowchat_connections_accepted_total"] - samples["cowchat_connections_open"], {
        let ended = samples.iter().filter(|(name, _)| name.starts_with("cowchat_connections_ended_total"));
        ended.map(|(_, value)| value).sum::<f64>()
    });
}

#[test]
fn one_line_in_a_few_is_timed_until_its_message_is_written() {
    let scraped = Scraped::with(&[]);
    let (mut tux, mut cow) = (scraped.server.login_on(0, "tux"), scraped.server.login_on(1, "cow"));
    for _ in 0..64 {
        tux.expect_said(&mut cow);
    }
    // A say that comes while another is timed is not: at least one of 64 is.
    let count = || scraped.samples()["cowchat_delivery_delay_seconds_count"];
    wait_until(|| count() >= 1.0, "no message is timed");
    let samples = scraped.samples();
    assert_eq!(
        samples["cowchat_delivery_delay_seconds_bucket{le=\"+Inf\"}"],
        samples["cowchat_delivery_delay_seconds_count"]
    );
    assert!(samples["cowchat_delivery_delay_seconds_sum"] > 0.0);
}

#[test]
fn a_server_is_ready_until_it_drains() {
    let mut scraped = Scraped::with(&[]);
    assert_eq!(scraped.get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(scraped.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, text) = scraped.get("/");
    assert_eq!((status, text.as_str()), (404, "try /metrics, /healthz or /readyz\n"));
    // It does not close its end: the drain waits for it.
    let client = scraped.server.login("tux");
    scraped.server.signal("TERM");
    scraped.server.log_event("draining", &[]);
    assert_eq!(scraped.get("/readyz"), (503, "draining\n".to_owned()));
    drop(client);
    assert!(scraped.server.wait().success());
}

#[test]
fn a_taken_port_is_refused_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let Err(said) = Server::try_with("127.0.0.1:0", &["--metrics", &address]) else { panic!("it started") };
    let told = format!("cowchat: cannot serve metrics on {address}: address already in use");
    assert!(said.contains(&told) && said.contains("choose another --metrics"), "{said}");
}

#[test]
fn scrapes_that_are_not_read_delay_nothing() {
    let scraped = Scraped::with(&[]);
    let (mut tux, mut cow) = (scraped.server.login_on(0, "tux"), scraped.server.login_on(1, "cow"));
    let silent: Vec<_> = (0..MANY / 2).map(|_| TcpStream::connect(scraped.metrics).expect("it listens")).collect();
    let unread: Vec<_> = (0..MANY / 2).map(|_| ask(scraped.metrics, "/metrics")).collect();
    for _ in 0..20 {
        tux.expect_said(&mut cow);
    }
    drop(silent);
    for stream in unread {
        assert_eq!(answer(stream).0, 200);
    }
}

#[test]
fn a_hundred_scrapes_at_once_during_a_flood_are_all_answered() {
    let scraped = Scraped::with(&[]);
    let (mut tux, mut cow) = (scraped.server.login_on(0, "tux"), scraped.server.login_on(1, "cow"));
    let scrapes: Vec<_> = (0..MANY).map(|_| ask(scraped.metrics, "/metrics")).collect();
    for _ in 0..200 {
        tux.expect_said(&mut cow);
    }
    for stream in scrapes {
        let (status, text) = answer(stream);
        assert!(status == 200 && text.ends_with('\n'), "{text}");
    }
    scraped.wait_for("cowchat_says_total", 200.0);
}

/// The names of metrics in a text.
pub fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cowchat_")).map(str::to_owned).collect()
}

#[test]
fn the_documents_have_the_names_that_a_server_says() {
    let (_, text) = Scraped::with(&[]).get("/metrics");
    let mut helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let said: BTreeSet<String> = helps.by_ref().map(str::to_owned).collect();
    let page = include_str!("../../docs/OPERATING.md");
    let (_, section) = page.split_once("\n| metric | labels | what |\n").expect("the table");
    let table = section.lines().take_while(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    assert_eq!(names_in(&table), said);
    for (file, text) in
        [("grafana.json", include_str!("../../ci/grafana.json")), ("alerts.yml", include_str!("../../ci/alerts.yml"))]
    {
        let unknown: Vec<_> =
            names_in(text).into_iter().filter(|name| !said.contains(name.trim_end_matches("_bucket"))).collect();
        assert_eq!(unknown, [""; 0], "{file}");
    }
    serde_json::from_str::<serde_json::Value>(include_str!("../../ci/grafana.json")).expect("JSON");
}

impl Client {
    /// Says something to `cow`, and waits until it has that.
    fn expect_said(&mut self, cow: &mut Client) {
        assert_eq!(self.ask("say cow moo"), "Sent to cow");
        cow.expect_message("tux", true, "moo");
    }
}
