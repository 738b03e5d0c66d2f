//! How a server ends: what was acknowledged is delivered, every connection is told, none sees a reset, and whatever clients
//! or signals do, it ends. That the next one finds port and cows free is in client_faults.rs.
//!
//! A client here never closes before it has seen the server's end, so each drain waits its full second for those. No test
//! says how long anything may take.

#![expect(unsafe_code, reason = "a child is changed between fork and exec")]

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

use crate::support::{
    Client, GUARD, Guarded, LAST_LINE, NO_USERS, ROOMY, Server, all_cows, at_a_terminal, connect_narrow, cores,
    count_of, message, numbered, say_bytes, serve, set_soft_limit,
};
use rustix::process::Resource;

/// Flags with which no queue gets too full or too old, and a drain has time.
const PATIENT: [&str; 6] = ["--sendq-bytes-max", ROOMY, "--sendq-stall", "10m", "--drain-timeout", "10m"];

/// A client that does not read, with 1 MB for it at the server: several times what the kernel's buffers take.
fn client_that_never_reads(server: &Server) -> Client {
    let client = connect_narrow(server.address).logged_in("kirby");
    say_bytes(&mut server.login("nemo"), "nemo", "kirby", 1 << 20);
    client
}

/// `message` with each of `numbers` in the place of the zeros in its text; charasay is too slow to draw them all.
fn messages(from: &str, private: bool, numbers: std::ops::Range<u32>) -> String {
    let template = message(from, private, "message 00000");
    numbers.map(|number| template.replace("message 00000", &format!("message {number:05}"))).collect()
}

/// A server with the terminal that it runs at, as one that is typed at a shell.
fn server_at_a_terminal() -> (Server, OwnedFd) {
    let mut command = serve(&[&["--cores", &cores()], &PATIENT[..]].concat());
    let terminal = at_a_terminal(&mut command);
    (Server::started(command), terminal)
}

fn assert_it_drained(server: &mut Server) {
    assert_eq!(server.wait().code(), Some(0));
    server.log_event("stopped", &[]);
    assert!(server.log_events("drain_timed_out", &[]).is_empty(), "the drain did not need its deadline");
}

#[test]
fn every_connection_gets_the_last_line_and_then_the_end() {
    for signal in ["TERM", "INT", "HUP"] {
        let (mut server, _terminal) = server_at_a_terminal();
        let clients = [
            server.connect_on(0),
            server.login_on(0, "tux"),
            server.login_on(0, "ferris"),
            server.connect_on(1),
            server.login_on(1, "cow"),
            server.login_on(1, "mew"),
        ];
        server.signal(signal);
        for mut client in clients {
            assert_eq!(client.read_to_end(), LAST_LINE, "SIG{signal}");
        }
        assert_it_drained(&mut server);
        server.log_event("draining", &[("cause", &format!("SIG{signal}"))]);
        server.log_event("closed", &[("cow", "tux"), ("reason", "shutdown")]);
    }
}

#[test]
fn a_server_without_clients_just_ends() {
    for cores in [1, 2] {
        let mut server = server_on_cores(cores);
        server.signal("TERM");
        assert_it_drained(&mut server);
    }
}

#[test]
fn acknowledged_messages_precede_last_lines_across_cores() {
    for (from, to) in [(0, 1), (1, 0), (0, 0)] {
        let mut server = Server::with(&PATIENT);
        let mut receiver = server.login_on(to, "tux");
        let mut sender = server.login_on(from, "ferris");
        // Says, and in the end yields, so that the signal meets both on their way.
        let lines = |words: &str, numbers: std::ops::Range<u32>| -> String {
            numbers.map(|number| format!("{words} message {number:05}\n")).collect()
        };
        sender.send_raw((lines("say tux", 0..1500) + &lines("yield", 1500..2000)).as_bytes());
        sender.expect(&("Sent to tux\n".repeat(1500) + &"Sent to 1 cow\n".repeat(500)));
        server.signal("TERM");
        let expected = messages("ferris", true, 0..1500) + &messages("ferris", false, 1500..2000) + LAST_LINE;
        let got = receiver.read_to_end();
        assert!(got == expected, "from core {from} to {to}: {} of {} bytes", got.len(), expected.len());
        assert_eq!(sender.read_to_end(), LAST_LINE);
        assert_it_drained(&mut server);
    }
}

#[test]
fn after_the_last_line_nothing_is_answered() {
    let mut server = Server::start();
    let mut clients =
        [server.connect_on(0), server.login_on(0, "tux"), server.connect_on(1), server.login_on(1, "cow")];
    server.signal("TERM");
    for client in &mut clients {
        client.expect(LAST_LINE);
        client.send_raw(b"who\nlogin ferris\nyield hi\nquit\n");
    }
    for client in &mut clients {
        assert_eq!(client.read_to_end(), "");
    }
    assert_it_drained(&mut server);
    assert!(server.log_events("logged_in", &[("cow", "ferris")]).is_empty(), "no line is executed");
}

#[test]
fn a_client_with_unread_input_sees_the_end_and_no_reset() {
    let mut server = Server::with(&PATIENT);
    let mut client = connect_narrow(server.address).logged_in("tux");
    // The replies are 50 times as long as the lines, and the server reads no further while they wait.
    client.send_raw("cows\n".repeat(20_000).as_bytes());
    let reply = client.read_line();
    server.signal("TERM");
    let rest = client.read_to_end();
    let replies = rest.strip_suffix(LAST_LINE).expect("the last line is the last").lines();
    assert!(replies.clone().all(|line| line == reply), "every reply is whole");
    assert!(replies.count() < 19_000, "lines were left unread");
    assert_it_drained(&mut server);
}

#[test]
fn a_slow_reader_that_types_gets_all_and_the_last_line() {
    // The kernel takes this many bytes at once, and the peer's does not.
    let count = 60_000 / message("tux", true, "message 00000").len() as u32;
    for core in [0, 1] {
        let mut server = Server::with(&PATIENT);
        let mut reader = connect_narrow(server.address).logged_in("ferris");
        let mut sender = server.login_on(core, "tux");
        let mut other = server.connect_on(1 - core);
        let open = server.descriptors();
        for number in 0..count {
            assert_eq!(sender.ask(&format!("say ferris message {number:05}")), "Sent to ferris");
        }
        server.signal("TERM");
        // A connection whose peer has acknowledged all output lingers for a moment, on either core.
        for witness in [&mut sender, &mut other] {
            assert_eq!(witness.read_to_end(), LAST_LINE);
        }
        server.wait_for_descriptors(open - 2);
        let got = reader.read_to_end_while_typing();
        let expected = messages("tux", true, 0..count) + LAST_LINE;
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        assert_it_drained(&mut server);
    }
}

#[test]
fn a_client_that_never_reads_delays_a_drain_to_its_timeout() {
    let mut flags = PATIENT;
    flags[5] = "500ms";
    let mut server = Server::with(&flags);
    let _unread = client_that_never_reads(&server);
    let mut witness = server.login("tux");
    server.signal("TERM");
    assert_eq!(witness.read_to_end(), LAST_LINE, "the others do not wait for it");
    assert_eq!(server.wait().code(), Some(0));
    server.log_event("drain_timed_out", &[]);
    server.log_event("stopped", &[]);
}

#[test]
fn a_drain_shorter_than_its_peers_leaves_no_output_pending() {
    // No client closes before the server does, which would wait for a second.
    let mut server = Server::with(&["--drain-timeout", "700ms"]);
    let mut clients =
        [server.connect_on(0), server.login_on(0, "tux"), server.connect_on(1), server.login_on(1, "cow")];
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.read_to_end(), LAST_LINE);
    }
    assert_it_drained(&mut server);
}

#[test]
fn a_short_drain_ends_in_order_and_counts_missing_last_lines() {
    for timeout in ["1ms", "5ms", "45ms"] {
        let mut server = Server::with(&["--drain-timeout", timeout]);
        let clients =
            [server.connect_on(0), server.login_on(0, "tux"), server.connect_on(1), server.login_on(1, "cow")];
        server.signal("TERM");
        let told = clients.map(|mut client| client.read_to_end()).into_iter().filter(|last| {
            assert!(last.is_empty() || last == LAST_LINE, "{last:?}");
            !last.is_empty()
        });
        let untold = 4 - told.count();
        assert_eq!(server.wait().code(), Some(0));
        let timed_out = server.log_events("drain_timed_out", &[]);
        let pending = timed_out.first().map_or(0, |event| event.field("connections").parse().expect("a number"));
        assert!(untold <= pending, "{untold} without the last line, {pending} said to be, in {timeout}");
    }
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    for (first, second, code) in
        [("TERM", "TERM", 143), ("INT", "INT", 130), ("INT", "TERM", 143), ("HUP", "TERM", 143)]
    {
        let (mut server, _terminal) = server_at_a_terminal();
        let _unread = client_that_never_reads(&server);
        let mut witness = server.login("tux");
        server.signal(first);
        server.log_event("draining", &[("cause", &format!("SIG{first}"))]);
        assert_eq!(witness.read_to_end(), LAST_LINE);
        server.signal(second);
        assert_eq!(server.wait().code(), Some(code), "SIG{first}, then SIG{second}");
    }
}

#[test]
fn signals_blocked_at_the_start_stop_it_nevertheless() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut command = serve(&[&["--cores", "2"], &PATIENT[..]].concat());
        let _terminal = at_a_terminal(&mut command);
        let block = || {
            let mut all = std::mem::MaybeUninit::uninit();
            // SAFETY: the first call initializes the set, and the second reads it.
            let failed = unsafe {
                libc::sigfillset(all.as_mut_ptr());
                libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) != 0
            };
            if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        // SAFETY: between fork and exec the closure makes one system call; it takes no lock and no memory.
        unsafe { command.pre_exec(block) };
        let mut server = Server::started(command);
        let mut client = server.login("tux");
        server.signal(signal);
        assert_eq!(client.read_to_end(), LAST_LINE, "SIG{signal}");
        assert_it_drained(&mut server);
    }
}

#[test]
fn a_second_hangup_does_not_cut_a_drain_short() {
    let (mut server, _terminal) = server_at_a_terminal();
    let mut client = server.login("tux");
    let silent = client_that_never_reads(&server);
    server.signal("HUP");
    server.log_event("draining", &[]);
    server.signal("HUP");
    assert!(client.read_to_end().ends_with(LAST_LINE));
    silent.reset();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_whose_terminal_closes_drains() {
    let (mut server, terminal) = server_at_a_terminal();
    let mut client = server.login("tux");
    drop(terminal);
    assert_eq!(client.read_to_end(), LAST_LINE);
    assert_it_drained(&mut server);
    server.log_event("draining", &[("cause", "SIGHUP")]);
}

#[test]
fn a_server_that_was_told_to_outlive_its_terminal_does() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP && exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_cowchat"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--cores", "2"]);
    let mut server = Server::started(command);
    server.signal("HUP");
    // What comes after it is still served.
    assert_eq!(server.login("tux").ask("yield hi"), "Sent to 0 cows");
    server.signal("TERM");
    assert_it_drained(&mut server);
    assert_eq!(server.log_event("draining", &[]).field("cause"), "SIGTERM");
}

#[test]
fn after_the_last_line_new_connections_are_refused() {
    let server = Server::with(&PATIENT);
    let _unread = client_that_never_reads(&server);
    let mut witnesses = [server.connect_on(0), server.connect_on(1)];
    server.signal("TERM");
    for witness in &mut witnesses {
        assert_eq!(witness.read_to_end(), LAST_LINE);
    }
    // Enough that the kernel asks both cores' listeners.
    for _ in 0..20 {
        let refused = TcpStream::connect(server.address).expect_err("it does not listen");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

fn server_on_cores(cores: usize) -> Server {
    Server::started(serve(&[&["--cores", &cores.to_string()], &PATIENT[..]].concat()))
}

#[test]
fn a_connection_not_yet_accepted_gets_the_last_line() {
    for round in 0..20 {
        let mut server = server_on_cores(1 + round % 2);
        // With and without something else to do.
        let busy = (round % 4 < 2).then(|| {
            let mut client = server.login("tux");
            client.send_raw("say tux moo\n".repeat(10_000).as_bytes());
            client.read_line();
            client
        });
        // The kernel shakes hands for a process that is stopped, and the signal finds all of them waiting.
        server.signal("STOP");
        let lates: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        server.signal("TERM");
        server.signal("CONT");
        for mut late in lates {
            assert_eq!(late.read_to_end(), LAST_LINE, "{} cores, busy: {}", 1 + round % 2, busy.is_some());
        }
        drop(busy);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_connection_waiting_for_a_descriptor_gets_the_last_line() {
    let mut server = Server::with(&PATIENT);
    let mut users = [server.login_on(0, "tux"), server.login_on(1, "ferris")];
    let open = server.descriptors() as u64;
    // More than a core turns away at once, so that the drain finds some of them waiting.
    server.signal("STOP");
    let lates: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    set_soft_limit(server.pid(), Resource::Nofile, open);
    server.signal("TERM");
    server.signal("CONT");
    for mut late in lates {
        let last = late.read_to_end();
        assert!(last == LAST_LINE || last == "error: server is full\n", "{last:?}");
    }
    for user in &mut users {
        assert_eq!(user.read_to_end(), LAST_LINE);
    }
    assert_it_drained(&mut server);
}

/// Connects and asks until that is refused; every connection that there is then must get the last line.
fn crowd(address: SocketAddr) {
    let mut waiting = VecDeque::new();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => waiting.push_back(Client::over(stream)),
            // A listener that ends while it shakes hands says so by a reset.
            Err(error) if [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&error.kind()) => break,
            Err(error) => panic!("neither accepted nor refused: {error}"),
        }
        waiting.back_mut().expect("it has just come").send("who");
        // Never more than the kernel lets wait: those it drops would know nothing of the end.
        if waiting.len() > 20 {
            let mut first = waiting.pop_front().expect("21 wait");
            match first.read_line().as_str() {
                NO_USERS => {}
                last => {
                    assert_eq!(last, LAST_LINE.trim_end());
                    assert_eq!(first.read_to_end(), "");
                }
            }
        }
    }
    for mut client in waiting {
        let got = client.read_to_end();
        assert_eq!(got.strip_prefix("Registered users: (none)\n").unwrap_or(&got), LAST_LINE);
    }
}

#[test]
fn connecting_as_a_drain_begins_brings_last_line_or_refusal() {
    // Each takes a second: a handshake that the drain ignores is tried again after that.
    for round in 0..6 {
        let cores = 1 + round % 2;
        let mut server = server_on_cores(cores);
        let address = server.address;
        let crowds: Vec<_> = (0..4).map(|_| std::thread::spawn(move || crowd(address))).collect();
        server.log_event("accepted", &[("connection", "0.200")]);
        server.signal("TERM");
        for crowd in crowds {
            assert!(crowd.join().is_ok(), "one of the crowd saw no orderly end, on {cores} cores");
        }
        assert_it_drained(&mut server);
    }
}

/// What one client of the flood has seen.
struct Seen {
    /// Its own lines that were acknowledged.
    acknowledged: usize,
    /// Messages received, by the sender in their header.
    received: HashMap<String, usize>,
}

/// Sends this many lines, reads until they are answered, and so on until the server ends it.
fn flood(client: &Client, lines: usize, acknowledgement: &str, going: &mpsc::Sender<()>) -> Seen {
    let mut seen = Seen { acknowledged: 0, received: HashMap::new() };
    let mut input = BufReader::new(client.stream());
    let yields = "yield moo\n".repeat(lines);
    let mut last = String::new();
    loop {
        // After the drain has begun lines are discarded; the read below tells how it ended.
        let _: io::Result<()> = client.stream().write_all(yields.as_bytes());
        for _ in 0..lines {
            loop {
                let before = std::mem::take(&mut last);
                let count = input.read_line(&mut last).expect("FIN, not RST");
                if count == 0 {
                    assert_eq!(before, LAST_LINE);
                    return seen;
                }
                if let Some(from) = last.strip_suffix(" says:\n") {
                    *seen.received.entry(from.to_owned()).or_default() += 1;
                } else if last == acknowledgement || last == "error: login first\n" {
                    seen.acknowledged += 1;
                    break;
                }
            }
        }
        // The test may be over for this one's peers already.
        let _ = going.send(());
    }
}

/// One client in four is a user, the others are guests. `COWCHAT_DRAIN_CLIENTS` says how many clients there are (default
/// 100); more than that have fewer lines under way, since what these bring grows with the square of the users.
#[test]
fn a_drain_under_load_delivers_all_that_was_acknowledged() {
    let clients = count_of("COWCHAT_DRAIN_CLIENTS", 100);
    let (herd, lines) = (clients.div_ceil(100), (3200 / clients).max(1));
    let mut server = Server::with(&[&PATIENT[..], &["--herd", &herd.to_string()]].concat());
    let cows = herds_of(herd);
    let users: Vec<Client> = cows.iter().map(|cow| server.login(cow)).collect();
    let guests: Vec<Client> = (cows.len()..clients).map(|_| server.connect()).collect();
    let acknowledgement = format!("Sent to {} cows\n", cows.len() - 1);
    let (going, gone) = mpsc::channel();
    let (seen, drained) = std::thread::scope(|scope| {
        let floods: Vec<_> = users
            .iter()
            .chain(&guests)
            .map(|client| {
                let (going, acknowledgement) = (going.clone(), &acknowledgement);
                scope.spawn(move || flood(client, lines, acknowledgement, &going))
            })
            .collect();
        for _ in 0..2 * clients {
            gone.recv_timeout(GUARD).expect("the flood goes on");
        }
        let began = Instant::now();
        server.signal("TERM");
        let seen: Vec<Seen> = floods.into_iter().map(|flood| flood.join().expect("an orderly end")).collect();
        (seen, began.elapsed())
    });
    assert_it_drained(&mut server);
    for (receiver, got) in cows.iter().zip(&seen) {
        for (sender, sent) in cows.iter().zip(&seen).filter(|(sender, _)| *sender != receiver) {
            let received = got.received.get(sender).copied().unwrap_or_default();
            assert_eq!(received, sent.acknowledged, "{receiver} got {received} messages of {sender}");
        }
    }
    assert!(seen[cows.len()..].iter().all(|guest| guest.received.is_empty()), "guests get none");
    let messages: usize = seen.iter().flat_map(|seen| seen.received.values()).sum();
    println!(
        "figure: {clients} clients, {messages} messages, all had the end {:.1} s after the signal",
        drained.as_secs_f64()
    );
}

/// The names of all cows of a herd of this size.
fn herds_of(size: usize) -> Vec<String> {
    (1..=size).flat_map(|n| all_cows().into_iter().map(move |cow| numbered(cow, n))).collect()
}

#[test]
fn an_unread_log_stops_neither_the_server_nor_its_end() {
    let mut server = Guarded::spawn(&mut serve(&["--cores", "2", "--drain-timeout", "2s"]));
    let address = server.read_announcement();
    // Three lines of some 80 bytes each: more than the pipe of its stderr holds.
    for _ in 0..600 {
        let mut client = Client::connect(address).logged_in("tux");
        assert_eq!(client.ask("quit"), "Goodbye.");
    }
    let mut last = Client::connect(address).logged_in("tux");
    server.signal("TERM");
    assert_eq!(last.read_to_end(), LAST_LINE);
    assert_eq!(server.wait(), Some(0));
}
