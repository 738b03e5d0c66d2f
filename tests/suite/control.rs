//! What an operator asks by `cowchat ctl`, and what the control socket stands.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Output;

use clap::CommandFactory;
use cowchat::cli::Cli;
use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;

use crate::support::{Guarded, Scratch, Server, connect_from, cores, cowchat, serve, wait_until, without_override};

/// A server with a control socket.
struct Controlled {
    server: Server,
    path: PathBuf,
    _scratch: Scratch,
}

impl Controlled {
    fn start() -> Controlled {
        Controlled::with_faults("")
    }

    /// One with these faults armed.
    fn with_faults(faults: &str) -> Controlled {
        let scratch = Scratch::new();
        let path = scratch.join("socket");
        let mut command = serve(&["--cores", &cores(), "--control", path.to_str().expect("UTF-8")]);
        command.env("COWCHAT_FAULTS", faults);
        Controlled { server: Server::started(command), path, _scratch: scratch }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = cowchat();
        command.arg("ctl").arg("--control").arg(&self.path).args(args);
        command.output().expect("the binary runs")
    }

    /// What a command prints that succeeds.
    fn ctl(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same in JSON.
    fn json(&self, args: &[&str]) -> Value {
        let line = self.ctl(&[&["--json"], args].concat());
        serde_json::from_str::<Value>(&line).expect("JSON")["ok"].clone()
    }
}

/// The one line that a failed command says on stderr.
fn complaint(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn stats_are_the_sums_over_all_cores() {
    let controlled = Controlled::start();
    let mut clients = [0, 1].map(|core| controlled.server.login_on(core, ["tux", "clefairy"][core]));
    assert!(clients[0].ask("who").contains("clefairy"));
    let stats = controlled.json(&["stats"]);
    assert_eq!(stats["cows_taken"], 2, "{stats}");
    assert_eq!(stats["cows"], 24, "{stats}");
    assert!(stats["lines_total"].as_u64() >= Some(3), "{stats}");
    assert!(stats["connections_open"].as_u64() >= Some(2), "{stats}");
    let table = controlled.ctl(&["stats"]);
    assert!(table.lines().any(|line| line.starts_with("cows_taken ") && line.ends_with("  2")), "{table}");
}

#[test]
fn stats_have_the_names_of_the_metrics() {
    let controlled = Controlled::start();
    controlled.server.login("tux").quit();
    wait_until(|| controlled.ctl(&["stats"]).contains("\nconnections_ended_total.quit  1\n"), "no quit is counted");
    let page = include_str!("../../docs/OPERATING.md");
    for (name, _) in controlled.json(&["stats"]).as_object().expect("names") {
        assert!(page.contains(&format!("\n| `cowchat_{name}` |")), "{name} is no metric of OPERATING");
    }
}

#[test]
fn who_lists_the_connections_of_all_cores() {
    let controlled = Controlled::start();
    let clients = [0, 1].map(|core| controlled.server.login_on(core, ["tux", "clefairy"][core]));
    let who = controlled.json(&["who"]);
    for (client, cow) in clients.iter().zip(["tux", "clefairy"]) {
        let rows = who.as_array().expect("rows");
        let row = rows.iter().find(|row| row["cow"] == cow).unwrap_or_else(|| panic!("{cow} is not in {who}"));
        assert_eq!(row["address"], client.local().to_string());
        assert_eq!(row["connection"], controlled.server.name_of(client));
        assert!(row["lines"].as_u64() >= Some(1), "{row}");
    }
    let table = controlled.ctl(&["who"]);
    let heading: Vec<&str> = table.lines().next().expect("a heading").split_whitespace().collect();
    let columns = ["cow", "connection", "address", "age_seconds", "idle_seconds", "queued_bytes", "lines"];
    assert_eq!(heading, columns, "the order of OPERATING");
    assert!(table.contains("\nclefairy  "), "{table}");
}

#[test]
fn who_counts_the_lines_and_seconds_of_a_connection() {
    let controlled = Controlled::start();
    let mut client = controlled.server.login("tux");
    let row = || controlled.json(&["who"]).as_array().expect("rows").iter().find(|row| row["cow"] == "tux").cloned();
    let lines = || row().expect("tux is there")["lines"].as_u64().expect("a number");
    let before = lines();
    for _ in 0..3 {
        client.ask("who");
    }
    assert_eq!(lines(), before + 3);
    wait_until(|| row().expect("tux is there")["age_seconds"].as_u64() >= Some(1), "it gets no older");
}

#[test]
fn a_kicked_cow_reads_why_and_is_free() {
    let controlled = Controlled::start();
    for (core, target_is_cow) in [(0, true), (1, false)] {
        let mut client = controlled.server.login_on(core, "tux");
        let local = client.local().to_string();
        let target = if target_is_cow { "TUX" } else { &local };
        let text: &[&str] = if target_is_cow { &[] } else { &["be", "\x1b[2Jkind"] };
        assert_eq!(controlled.json(&[&["kick", target], text].concat())["kicked"], 1);
        let last_line = if target_is_cow { "* closed: kicked\n" } else { "* closed: be kind\n" };
        assert_eq!(client.read_to_end(), last_line);
        controlled.server.log_event("closed", &[("cow", "tux"), ("reason", "kicked")]);
    }
    assert!(complaint(&controlled.run(&["kick", "tux"]), 1).contains("no connection of tux"));
}

#[test]
fn closed_lists_how_connections_ended_newest_last() {
    let controlled = Controlled::start();
    let mut expected = Vec::new();
    for (n, (cow, reason)) in [("tux", "quit"), ("clefairy", "read_failed"), ("ferris", "kicked")].iter().enumerate() {
        let mut client = controlled.server.login_on(n % 2, cow);
        expected.push([(*cow).to_owned(), (*reason).to_owned(), client.local().to_string()]);
        match *reason {
            "quit" => client.quit(),
            "kicked" => {
                controlled.json(&["kick", cow]);
                client.read_to_end();
            }
            _ => client.reset(),
        }
        controlled.server.log_event("closed", &[("cow", cow), ("reason", reason)]);
    }
    let closed = controlled.json(&["closed"]);
    let rows: Vec<&Value> = closed.as_array().expect("rows").iter().filter(|row| !row["cow"].is_null()).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seen: Vec<[String; 3]> =
        rows.iter().map(|row| ["cow", "reason", "address"].map(|key| text(&row[key]))).collect();
    // A connection that was reset has its address, too.
    assert_eq!(seen, expected);
    assert!(rows.iter().all(|row| row["age_seconds"].is_u64() && row["connection"].is_string()), "{closed}");
    let time = rows[0]["time"].as_str().expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
    let table = controlled.ctl(&["closed"]);
    assert!(table.starts_with("time ") && table.trim_end().ends_with("  kicked"), "{table}");
}

#[test]
fn closed_has_a_thousand_of_all_cores_together() {
    let controlled = Controlled::start();
    let ends = || controlled.json(&["closed"]).as_array().expect("rows").clone();
    for _ in 0..1100 {
        controlled.server.connect().quit();
    }
    wait_until(|| ends().len() == 1000, "they are too few or too many");
    let ends = ends();
    let times: Vec<&str> = ends.iter().map(|row| row["time"].as_str().expect("a time")).collect();
    assert!(times.is_sorted(), "newest last");
    let cores: Vec<&str> = ends.iter().map(|row| &row["connection"].as_str().expect("a name")[..2]).collect();
    assert!(cores.contains(&"0.") && cores.contains(&"1."));
}

#[test]
fn a_ban_closes_what_is_open_and_refuses_what_comes() {
    let controlled = Controlled::start();
    let address = controlled.server.address;
    let mut banned = [connect_from(9, address), connect_from(9, address)];
    let mut other = connect_from(8, address);
    for client in &mut banned {
        assert!(client.ask("who").starts_with("Registered users"));
    }
    assert!(other.ask("login tux").contains("tux"));
    assert_eq!(controlled.json(&["ban", "::ffff:127.0.0.9", "1h"])["closed"], 2);
    for client in &mut banned {
        assert_eq!(client.read_to_end(), "* closed: banned\n");
    }
    // The kernel spreads them over the cores.
    for _ in 0..16 {
        assert_eq!(connect_from(9, address).read_to_end(), "error: your address is banned\n");
    }
    assert!(other.ask("who").contains("tux"));
    let bans = controlled.json(&["bans"]);
    assert_eq!(bans[0]["network"], "127.0.0.9/32", "{bans}");
    assert_eq!(bans[0]["refused"], 16, "{bans}");
    assert!(bans[0]["left_seconds"].as_u64() > Some(3500), "{bans}");
    let fields = [("network", "127.0.0.9/32"), ("seconds", "3600"), ("connections", "2")];
    controlled.server.log_event("banned", &fields);
    assert_eq!(controlled.json(&["unban", "127.0.0.9"])["unbanned"], "127.0.0.9/32");
    controlled.server.log_event("unbanned", &[("network", "127.0.0.9/32")]);
    assert!(connect_from(9, address).ask("who").contains("tux"));
    assert_eq!(controlled.ctl(&["bans"]), "");
}

#[test]
fn wrong_bans_are_refused_in_a_line() {
    let controlled = Controlled::start();
    assert!(complaint(&controlled.run(&["unban", "192.0.2.1"]), 1).contains("no ban of 192.0.2.1/32"));
    for wrong in [&["ban", "tux"][..], &["ban", "10.0.0.0/33"], &["ban", "10.0.0.0/8", "soon"], &["unban", ""]] {
        assert_eq!(controlled.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_notice_reaches_guests_and_sessions_of_all_cores() {
    let controlled = Controlled::start();
    let [mut session, mut guest] = [controlled.server.login_on(0, "tux"), controlled.server.connect_on(1)];
    let told = controlled.json(&["notice", "back", "at\t5"])["told"].as_u64();
    assert!(told >= Some(2), "{told:?}");
    assert_eq!(session.read_line(), "* notice: back at 5");
    assert_eq!(guest.read_line(), "* notice: back at 5");
}

#[test]
fn a_request_that_panics_ends_nothing_but_itself() {
    let controlled = Controlled::with_faults("notice:boom");
    let mut clients = [0, 1].map(|core| controlled.server.login_on(core, ["tux", "clefairy"][core]));
    let said = complaint(&controlled.run(&["notice", "boom"]), 1);
    assert!(said.contains("a bug of the server ended the request"), "{said}");
    let fault = controlled.server.log_event("internal_fault", &[]);
    assert!(!fault.text.contains("connection="), "{fault:?}");
    assert_eq!(controlled.json(&["stats"])["faults_total"], 1);
    assert!(controlled.json(&["notice", "moo"])["told"].as_u64() >= Some(2));
    for client in &mut clients {
        assert_eq!(client.read_line(), "* notice: moo");
    }
}

#[test]
fn a_request_that_leaves_the_roster_half_changed_ends_all() {
    let mut controlled = Controlled::with_faults("leave");
    let _tux = controlled.server.login("tux");
    complaint(&controlled.run(&["kick", "tux"]), 1);
    assert_eq!(controlled.server.wait().code(), Some(1));
}

#[test]
fn a_drain_ends_the_server_and_removes_the_socket() {
    let Controlled { mut server, path, _scratch } = Controlled::start();
    let mut client = server.login("tux");
    let controlled = Controlled { server: Server::start(), path: path.clone(), _scratch: Scratch::new() };
    controlled.ctl(&["drain"]);
    assert_eq!(client.read_to_end(), "* the server is shutting down\n");
    assert!(server.wait().success());
    assert!(!path.exists(), "a clean end removes the socket");
    assert!(complaint(&controlled.run(&["who"]), 1).contains("cannot reach a server"));
}

#[test]
fn the_log_level_changes_while_the_server_runs() {
    let controlled = Controlled::start();
    assert_eq!(controlled.json(&["log", "error"])["log"], "error");
    controlled.server.login("tux").quit();
    assert_eq!(controlled.json(&["log", "info"])["log"], "info");
    controlled.server.login("clefairy");
    controlled.server.log_event("logged_in", &[("cow", "clefairy")]);
    assert!(controlled.server.log_events("logged_in", &[("cow", "tux")]).is_empty());
    assert_eq!(controlled.run(&["log", "loud"]).status.code(), Some(2));
}

#[test]
fn only_the_owner_may_connect_to_the_control_socket() {
    let controlled = Controlled::start();
    let mode = fs::metadata(&controlled.path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn ctl_without_rights_on_the_socket_says_so_in_a_line() {
    let controlled = Controlled::start();
    fs::set_permissions(&controlled.path, fs::Permissions::from_mode(0o000)).expect("the test's own file");
    let mut command = cowchat();
    command.arg("ctl").arg("--control").arg(&controlled.path).arg("who");
    without_override(&mut command);
    let said = complaint(&command.output().expect("the binary runs"), 1);
    assert!(said.contains("only the server's user and root may"), "{said}");
}

#[test]
fn a_server_waits_while_another_replaces_a_dead_socket() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    drop(UnixListener::bind(&path).expect("a free path"));
    let lock = fs::File::create(scratch.join("socket.lock")).expect("a directory of the test's own");
    fcntl_lock(&lock, FlockOperation::LockExclusive).expect("no other has it");
    let mut second = Guarded::spawn(&mut serve(&["--control", path.to_str().expect("UTF-8")]));
    let pid = second.pid().to_string();
    // "1: -> POSIX  ADVISORY  WRITE 4711 ...", see proc(5).
    let waits = |line: &str| line.contains("->") && line.split_whitespace().any(|word| word == pid);
    wait_until(|| fs::read_to_string("/proc/locks").expect("Linux").lines().any(waits), "it does not wait");
    fs::remove_file(&path).expect("the dead socket");
    let _first = UnixListener::bind(&path).expect("a free path");
    drop(lock);
    let said = std::io::read_to_string(second.child.stderr.take().expect("piped")).expect("text");
    assert!(said.contains("another server has it"), "{said}");
    assert_eq!(second.wait(), Some(1));
    UnixStream::connect(&path).expect("the first server's socket is still there");
    assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 1, "the lock is gone");
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let flags = ["--control", path.to_str().expect("UTF-8")];
    drop(UnixListener::bind(&path).expect("a free path"));
    let _first = Server::with(&flags);
    let second = serve(&flags).output().expect("the binary runs");
    assert!(complaint(&second, 1).contains("another server has it"));
    UnixStream::connect(&path).expect("the first server's socket is still there");
}

#[test]
fn a_path_that_cannot_be_a_socket_is_refused_in_a_line() {
    let scratch = Scratch::new();
    let file = scratch.put("file", "precious");
    let missing = format!("{}/nosuch/socket", scratch.path());
    for (path, reason) in [(&file, "no socket"), (&missing, "directory does not exist")] {
        let output = serve(&["--control", path]).output().expect("the binary runs");
        assert!(complaint(&output, 1).contains(reason), "{path}");
    }
    assert_eq!(fs::read_to_string(file).expect("still there"), "precious");
}

#[test]
fn wrong_requests_get_an_error_and_stop_nothing() {
    let controlled = Controlled::start();
    for wrong in ["", "{}", "moo", r#"{"command":"moo"}"#, &"x".repeat(100_000)] {
        let mut client = UnixStream::connect(&controlled.path).expect("it listens");
        // The server need not read all of it.
        let _ = client.write_all(format!("{wrong}\n").as_bytes());
    }
    wait_until(|| controlled.run(&["stats"]).status.success(), "the socket serves no more");
    assert_eq!(controlled.run(&["moo"]).status.code(), Some(2));
    assert_eq!(controlled.run(&["notice", ""]).status.code(), Some(1));
}

#[test]
fn silent_control_clients_delay_no_message() {
    let controlled = Controlled::start();
    let [mut tux, mut clefairy] = [0, 1].map(|core| controlled.server.login_on(core, ["tux", "clefairy"][core]));
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut client = UnixStream::connect(&controlled.path).expect("it listens");
        if n % 2 == 0 {
            // It may be refused before.
            let _ = client.write_all(b"{\"command\":\"who\"}\n");
        }
        silent.push(client);
        tux.send(&format!("say clefairy {n}"));
        clefairy.expect_message("tux", true, &n.to_string());
    }
}

#[test]
fn each_control_command_is_in_the_table_of_operating() {
    let command = Cli::command();
    let ctl = command.find_subcommand("ctl").expect("a subcommand");
    let page = include_str!("../../docs/OPERATING.md");
    let (_, table) = page.split_once("| command | what it does |\n|---|---|\n").expect("a table");
    let row = |line: &str| line.split(['`', ' ']).nth(2).expect("a command").to_owned();
    let rows: Vec<String> = table.lines().take_while(|line| line.starts_with('|')).map(row).collect();
    let commands: Vec<&str> = ctl.get_subcommands().map(|command| command.get_name()).collect();
    assert_eq!(rows, commands);
}
