//! The limits, seen through sockets: floods, silence, crowds from one address, dead peers, and queues that are too large
//! together.
//!
//! Every client here is on loopback, which is exempt by default, so a flag ends the exemption. Times are the server's: a
//! test waits for what comes of them, and only asserts that it did not come too soon.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, GUARD, NO_USERS, ROOMY, SENDQ_BYTES_MIN, Server, all_cows, connect_from, connect_narrow, count_of, message,
    numbered, say_bytes, wait_until,
};
use cowchat::limits::CONNECT_BURST;
use socket2::SockRef;

const TOO_MANY: &str = "error: too many connections from your address\n";

#[test]
fn a_flooder_gets_its_burst_and_rate_and_delays_no_other() {
    let (burst, rate, lines) = (10, 20, 50);
    let flags = ["--flood-burst", "10", "--flood-rate", "20/s", "--flood-exempt", "127.0.0.1"];
    let server = Server::with(&flags);
    let mut flooder = connect_from(2, server.address);
    let mut bystander = server.connect_on(server.core_of(&flooder)).logged_in("tux");
    let began = Instant::now();
    flooder.send_raw("who tux\n".repeat(lines).as_bytes());
    let answered = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for n in 1..=lines {
                assert_eq!(flooder.read_line(), "Registered users: tux");
                let allowed = f64::from(burst) + f64::from(rate) * began.elapsed().as_secs_f64();
                // The last line may have driven the bucket below zero.
                assert!((n - 1) as f64 <= allowed, "{n} lines where {allowed} are allowed");
            }
        });
        let mut answered = 0;
        while !flood.is_finished() {
            assert_eq!(bystander.ask("who"), "Registered users: tux");
            answered += 1;
        }
        answered
    });
    // If each question waited for a line of the flooder, there would be no more questions than lines.
    assert!(answered > 2 * lines, "{answered} questions were answered during {lines} lines");
}

#[test]
fn a_line_that_would_wait_too_long_is_refused_and_quit_is_not() {
    let server = Server::with(&["--flood-burst", "1", "--flood-rate", "1/m", "--flood-exempt", "none"]);
    let mut client = server.connect();
    // The first empties the bucket, the second drives it below zero.
    client.send_raw(b"who\nwho\nlogin tux\n12 who\n\n13 quit\nwho\n");
    assert_eq!(client.read_line(), NO_USERS);
    assert_eq!(client.read_line(), NO_USERS);
    for refusal in ["error: slow down", "12 error: slow down", "error: slow down", "13 Goodbye."] {
        assert_eq!(client.read_line(), refusal);
    }
    assert_eq!(client.read_to_end(), "");
    assert!(server.log_events("logged_in", &[]).is_empty(), "what was refused was not done");
    let mut server = server;
    server.signal("TERM");
    server.wait();
    server.log_event("stopped", &[("ended_quit", "1")]);
}

#[test]
fn a_yield_costs_a_line_more_for_each_hundred_receivers() {
    let flags = ["--flood-burst", "2", "--flood-rate", "1/s", "--flood-exempt", "127.0.0.1", "--herd", "200"];
    let server = Server::with(&flags);
    let mut yielder = connect_from(2, server.address).logged_in("ferris");
    let mut receivers: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    receivers.iter_mut().for_each(|client| client.send("login tux#"));
    receivers.iter_mut().for_each(|client| assert!(client.read_line().starts_with("Logged in as tux")));
    let began = Instant::now();
    yielder.send_raw(b"yield moo\nwho ferris\n");
    assert_eq!(yielder.read_line(), "Sent to 200 cows");
    assert_eq!(yielder.read_line(), "Registered users: ferris");
    // Of a burst of two it has spent three: one must come back before the bucket is at zero.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn bytes_cost_as_much_as_lines_whether_they_are_in_one_or_not() {
    let flags = ["--flood-burst", "1", "--flood-rate", "100/s", "--flood-exempt", "none"];
    let server = Server::with(&flags);
    let text = "x".repeat(4000);
    for (bytes, lines) in [
        // Each of the eight counts as eight.
        (format!("{text}\n").repeat(8).into_bytes(), 8 * 8),
        (format!("{}\n", text.repeat(16)).into_bytes(), 16 * 4000 / 512),
        ([&b"\xff\xf1".repeat(32_000)[..], b"\n"].concat(), 64_000 / 512),
    ] {
        let mut client = server.connect();
        let began = Instant::now();
        client.send_raw(&bytes);
        client.send("who");
        while client.read_line().trim_end() != NO_USERS {}
        // But for the burst, and for what is rounded.
        let least = Duration::from_millis(10) * (lines - 4);
        assert!(began.elapsed() >= least, "{:?} of {least:?}", began.elapsed());
    }
}

#[test]
fn a_new_connection_inherits_the_debt_of_its_address() {
    let flood = ["--flood-burst", "1", "--flood-rate", "4/s", "--flood-exempt", "none"];
    // A connection that is not read yet is not silent.
    let server = Server::with(&[&flood[..], &["--login-timeout", "1s", "--login-exempt", "none"]].concat());
    let mut client = server.connect();
    let began = Instant::now();
    // It counts as eight, which takes two seconds.
    assert!(client.ask(&"x".repeat(4000)).starts_with("error: unknown command x"));
    client.half_close();
    assert_eq!(client.read_to_end(), "");
    for _ in 0..3 {
        // Several connections have no more than one.
        assert_eq!(server.connect().ask("who"), NO_USERS);
    }
    assert!(began.elapsed() >= Duration::from_millis(1700), "{:?}", began.elapsed());
}

#[test]
fn an_address_that_connects_too_fast_is_served_at_its_rate() {
    // A connection that waits for its turn is not silent.
    let timeout = ["--login-timeout", "1s", "--login-exempt", "none"];
    let server = Server::with(&[&["--flood-exempt", "none", "--flood-burst", "1000"], &timeout[..]].concat());
    let before = server.descriptors();
    let began = Instant::now();
    let accepted = |count| wait_until(|| server.descriptors() >= before + count, "not all are accepted");
    let mut clients: Vec<Client> = (0..CONNECT_BURST + 6).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("who"));
    accepted(clients.len());
    let gone: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    accepted(clients.len() + gone.len());
    gone.into_iter().for_each(Client::reset);
    for (number, client) in (1..).zip(&mut clients) {
        assert_eq!(client.read_line(), NO_USERS);
        let waited = Duration::from_millis(500) * u32::saturating_sub(number, CONNECT_BURST);
        assert!(began.elapsed() >= waited, "the {number}th after {:?}", began.elapsed());
    }
    server.log_event("unserved", &[("address", "127.0.0.1")]);
    assert_eq!(server.log_events("accepted", &[]).len(), clients.len());
}

/// Whether the server has read all that this client has sent, by the kernel's table (proc_net_tcp in its documentation).
fn is_read(client: &Client) -> bool {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(address) => format!("{:08X}:{:04X}", u32::from(*address.ip()).swap_bytes(), address.port()),
        SocketAddr::V6(_) => panic!("an IPv4 client"),
    };
    let stream = client.stream();
    let [ours, theirs] = [stream.local_addr(), stream.peer_addr()].map(|address| hex(address.expect("connected")));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let queues = |local: &str, remote: &str| {
        let ends = format!("{local} {remote} ");
        let row = table.lines().find(|row| row.contains(&ends)).expect("a connection");
        row.split_whitespace().nth(4).expect("its queues").to_owned()
    };
    queues(&ours, &theirs).starts_with("00000000:") && queues(&theirs, &ours).ends_with(":00000000")
}

#[test]
fn bytes_that_come_one_by_one_cost_more_than_their_line() {
    let server = Server::with(&["--flood-burst", "10", "--flood-rate", "1/m", "--flood-exempt", "none"]);
    let mut client = server.connect();
    // Each costs an eighth of a line and a little: of the burst, one line is left.
    for _ in 0..72 {
        client.send_raw(b" ");
        while !is_read(&client) {}
    }
    client.send_raw(&b"who\n".repeat(3));
    let replies = [(); 3].map(|()| client.read_line());
    assert_eq!([&replies[0], &replies[2]], [NO_USERS, "error: slow down"], "{replies:?}");
}

#[test]
fn a_throttled_connection_is_not_read_and_frees_its_cow() {
    let server = Server::with(&["--flood-burst", "1", "--flood-rate", "1/m", "--flood-exempt", "none"]);
    // Each from its own address, which has no debt yet.
    let in_debt = |last: u8, cow: &str| {
        let mut client = connect_from(last, server.address).logged_in(cow);
        assert_eq!(client.ask("who x"), NO_USERS);
        client
    };
    let mut waiting = in_debt(21, "mew");
    waiting.send("who");
    drop(in_debt(22, "tux"));
    server.log_event("closed", &[("cow", "tux"), ("reason", "end_of_input")]);
    // A reset is seen by a read, or by the end of the last write.
    in_debt(23, "ferris").reset();
    server.log_event("closed", &[("cow", "ferris")]);
    // With a line that is not read, and with one that is read and waits.
    let mut unread = in_debt(24, "kirby");
    unread.send("who");
    unread.reset();
    server.log_event("closed", &[("cow", "kirby")]);
    let mut read = connect_from(25, server.address);
    read.send_raw(b"login nemo\nwho x\nwho\n");
    assert_eq!([read.read_line(), read.read_line()], ["Logged in as nemo", NO_USERS]);
    read.reset();
    server.log_event("closed", &[("cow", "nemo")]);
    // All that took less than the minute that each of them was to wait.
    waiting.expect_silence();
    assert_eq!(connect_from(26, server.address).ask("who"), "Registered users: mew");
}

#[test]
fn lines_before_a_half_close_are_executed_at_their_rate() {
    let server = Server::with(&["--flood-burst", "2", "--flood-rate", "10/s", "--flood-exempt", "none"]);
    let mut client = server.connect();
    client.send_raw(b"login tux\nwho\nwho\nwho\nsay tux moo");
    client.half_close();
    let registered = "Registered users: tux\n";
    let expected = format!("Logged in as tux\n{}Sent to tux\n{}", registered.repeat(3), message("tux", true, "moo"));
    assert_eq!(client.read_to_end(), expected);
}

#[test]
fn time_in_which_the_server_is_stopped_does_not_count() {
    let flags = ["--idle-timeout", "5s", "--login-timeout", "5s", "--sendq-stall", "5s", "--sendq-bytes-max", ROOMY];
    let server = Server::with(&[&flags[..], &["--login-exempt", "none"]].concat());
    let elsewhere = Server::with(&flags);
    let mut users = [server.login_on(0, "mew"), server.login_on(1, "tux")];
    let mut guests = [server.connect_on(0), server.connect_on(1)];
    let mut slow = connect_narrow(server.address).logged_in("kirby");
    let sent = say_bytes(&mut users[0], "mew", "kirby", 400_000);
    let mut clock = elsewhere.login("aya");
    server.signal("STOP");
    for client in users.iter_mut().chain(&mut guests) {
        client.send("who");
    }
    // All of it that has arrived. The rest comes when the server goes on, and finds that its peer has read.
    slow.stream().set_read_timeout(Some(Duration::from_millis(1))).expect("a TCP socket");
    let mut got = slow.read_until_cut();
    slow.stream().set_read_timeout(Some(GUARD)).expect("a TCP socket");
    // A connection that was silent on another server for as long is closed.
    assert_eq!(clock.read_to_end(), "* closed: idle\n");
    server.signal("CONT");
    for client in users.iter_mut().chain(&mut guests) {
        assert_eq!(client.read_line(), "Registered users: kirby, mew, tux");
    }
    got.extend(slow.read_bytes(sent.len() - got.len()));
    assert_eq!(String::from_utf8(got).expect("the server speaks UTF-8"), sent);
}

/// Reads to the end of a connection to which nothing is due but its last line, and keeps it busy meanwhile.
fn last_line(client: &mut Client, mut meanwhile: impl FnMut(&mut TcpStream)) -> String {
    let mut stream = client.writer();
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a TCP socket");
    let mut line = Vec::new();
    let deadline = Instant::now() + GUARD;
    loop {
        assert!(Instant::now() < deadline, "it is not closed");
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8(line).expect("the server speaks UTF-8"),
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => meanwhile(&mut stream),
            Err(error) => panic!("FIN, not {error}"),
        }
    }
}

#[test]
fn a_silent_guest_is_told_so_and_closed() {
    let server = Server::with(&["--login-timeout", "2s", "--login-exempt", "127.0.0.1"]);
    let mut exempt = server.connect();
    let mut registered = connect_from(2, server.address).logged_in("tux");
    let mut silent = connect_from(2, server.address);
    let began = Instant::now();
    assert_eq!(silent.ask("who"), "Registered users: tux");
    let mut trickling = connect_from(2, server.address);
    let mut talking = connect_from(2, server.address);
    thread::scope(|scope| {
        let silence = scope.spawn(|| {
            let said = last_line(&mut silent, |_| {});
            assert!(began.elapsed() >= Duration::from_secs(2), "not before its time");
            said
        });
        // Bytes are not lines.
        let trickle = scope.spawn(|| last_line(&mut trickling, |stream| drop(stream.write_all(b"x"))));
        while !silence.is_finished() || !trickle.is_finished() {
            assert_eq!(talking.ask("who"), "Registered users: tux", "a client that sends lines stays");
        }
        for thread in [silence, trickle] {
            assert_eq!(thread.join().expect("no panic"), "* closed: not logged in for 2 s\n");
        }
    });
    server.log_event("closed", &[("reason", "not_logged_in")]);
    assert_eq!(registered.ask("who"), "Registered users: tux");
    assert_eq!(exempt.ask("who"), "Registered users: tux");
}

#[test]
fn a_guest_that_reads_no_replies_is_closed_like_a_silent_one() {
    let server = Server::with(&["--login-timeout", "2s", "--login-exempt", "none"]);
    let began = Instant::now();
    let guest = connect_narrow(server.address);
    let asker = guest.writer();
    thread::scope(|scope| {
        // It ends when the server closes.
        let asking = scope.spawn(move || while (&asker).write_all(b"cows\n").is_ok() {});
        server.log_event("closed", &[("reason", "not_logged_in")]);
        assert!(began.elapsed() >= Duration::from_secs(2), "not before its time");
        guest.stream().shutdown(Shutdown::Both).expect("a connected socket");
        asking.join().expect("no panic");
    });
}

#[test]
fn an_idle_user_is_told_so_and_frees_its_cow() {
    let server = Server::with(&["--idle-timeout", "1s"]);
    let mut guest = server.connect();
    // This one has asked for much and reads nothing: its own replies wait, so it is not idle.
    let mut reading_later = connect_narrow(server.address).logged_in("mew");
    let asker = reading_later.writer();
    let questions = "cows\n".repeat(5_000);
    thread::scope(|scope| {
        scope.spawn(move || (&asker).write_all(questions.as_bytes()).expect("the server reads on"));
        for core in [0, 1] {
            let mut idle = server.login_on(core, "tux");
            let mut tagged = server.connect_on(core);
            assert_eq!(tagged.ask("1 login ferris"), "1 Logged in as ferris");
            assert_eq!(idle.read_to_end(), "* closed: idle\n");
            assert_eq!(tagged.read_to_end(), "0 * closed: idle\n");
            assert_eq!(server.log_event("closed", &[("cow", "tux")]).field("reason"), "idle");
        }
        for _ in 0..5_000 {
            assert!(reading_later.read_line().starts_with("Available cow names: "));
        }
    });
    assert_eq!(guest.ask("who tux"), NO_USERS, "a guest may stay");
}

#[test]
fn the_cow_quota_of_an_address_holds_over_all_cores() {
    let server = Server::with(&["--cows-per-address", "3", "--address-exempt", "127.0.0.1"]);
    let mut exempt: Vec<Client> = ["aya", "ferris", "kirby", "mew"].map(|cow| server.login(cow)).into();
    let guests = || (0..8).map(|_| connect_from(2, server.address)).collect::<Vec<Client>>();
    let (mut holders, mut guests) = (Vec::new(), guests());
    let too_many = "error: too many cows from your address (max 3)";
    for cow in ["tux", "seaking", "psyduck"] {
        let mut holder = guests.pop().expect("there are more");
        assert_eq!(holder.ask("login aya"), "error: cow aya is already taken", "which takes nothing of the quota");
        assert_eq!(holder.ask("login nobody"), "error: no cow named nobody (try cows)");
        holders.push(holder.logged_in(cow));
    }
    for guest in &mut guests {
        assert_eq!(guest.ask("login cow"), too_many);
    }
    drop(connect_from(3, server.address).logged_in("cow"));
    server.log_event("closed", &[("cow", "cow")]);
    let mut leaving = holders.remove(0);
    assert_eq!(leaving.ask("quit"), "Goodbye.");
    assert_eq!(guests[0].ask("login cow"), "Logged in as cow");
    assert_eq!(guests[1].ask("login tux"), too_many);
    // Also after a reset.
    holders.remove(0).reset();
    server.log_event("closed", &[("cow", "seaking")]);
    assert_eq!(guests[1].ask("login tux"), "Logged in as tux");
    exempt.iter_mut().for_each(|client| assert!(client.ask("who").contains("aya")));
}

#[test]
fn the_cow_quota_of_an_address_holds_for_any_cow_of_a_breed() {
    let server = Server::with(&["--herd", "2", "--cows-per-address", "1", "--address-exempt", "127.0.0.1"]);
    let _holders = ["tux", "tux#2"].map(|cow| server.login(cow));
    let mut guests = [2, 2].map(|last| connect_from(last, server.address));
    assert_eq!(guests[0].ask("login tux#"), "error: every tux is taken", "which takes nothing of the quota");
    assert_eq!(guests[0].ask("login nobody#"), "error: no cow named nobody# (try cows)");
    assert_eq!(guests[0].ask("login cow#"), "Logged in as cow");
    for name in ["cow#", "cow#2", "mew"] {
        assert_eq!(guests[1].ask(&format!("login {name}")), "error: too many cows from your address (max 1)");
    }
    assert_eq!(guests[0].ask("quit"), "Goodbye.");
    assert_eq!(guests[1].ask("login mew#"), "Logged in as mew");
}

#[test]
fn while_cows_are_scarce_a_silent_user_makes_room() {
    let server = Server::with(&["--scarce-idle", "2s", "--address-exempt", "127.0.0.1"]);
    let cows = all_cows();
    // In the end two of 24 are free.
    let mut exempt: Vec<Client> = cows[..20].iter().map(|cow| server.login(cow)).collect();
    let mut talking = connect_from(2, server.address).logged_in(cows[20]);
    assert_eq!(talking.ask("art off"), "Art is off");
    let began = Instant::now();
    let mut quiet = connect_from(3, server.address).logged_in(cows[21]);
    let (word, command) = (format!("{} says to you: moo", cows[20]), format!("say {} moo", cows[0]));
    assert_eq!(exempt[0].ask("art off"), "Art is off");
    thread::scope(|scope| {
        // These lines say nothing to others.
        let silence = scope.spawn(|| last_line(&mut quiet, |stream| drop(stream.write_all(b"who mew\n"))));
        while !silence.is_finished() {
            assert_eq!(talking.ask(&command), format!("Sent to {}", cows[0]));
            assert_eq!(exempt[0].read_line(), word);
        }
        let said = silence.join().expect("no panic");
        assert!(said.ends_with("* closed: idle, and cows are scarce\n"), "{said}");
    });
    assert!(began.elapsed() >= Duration::from_secs(2), "not before its time");
    assert_eq!(server.log_event("closed", &[("cow", cows[21])]).field("reason"), "cows_scarce");
    // With three free the others stay.
    assert_eq!(talking.ask(&command), format!("Sent to {}", cows[0]));
    assert!(exempt.iter_mut().skip(1).all(|client| client.ask("who mew").starts_with("Registered users: ")));
}

/// A new client from 127.0.0.last, unless its address has too many.
fn knock(last: u8, server: &Server) -> Option<Client> {
    let mut client = connect_from(last, server.address);
    client.send("who");
    let reply = client.read_line() + "\n";
    if reply == format!("{NO_USERS}\n") {
        return Some(client);
    }
    assert_eq!(reply, TOO_MANY);
    assert_eq!(client.read_to_end(), "");
    None
}

#[test]
fn the_connection_quota_of_an_address_holds_over_all_cores() {
    let server = Server::with(&["--connections-per-address", "3", "--address-exempt", "127.0.0.3"]);
    for last in [1, 2] {
        let mut clients: Vec<Client> = (0..3).map(|_| knock(last, &server).expect("room")).collect();
        // More often than there are cores.
        for _ in 0..10 {
            assert!(knock(last, &server).is_none(), "one too many from 127.0.0.{last}");
        }
        let peer = format!("127.0.0.{last}:");
        let refused = server.log_line(|line| line.is("refused", &[]) && line.field("peer").starts_with(&peer));
        assert_eq!(refused.expect("it is in the log").field("reason"), "address_full");
        for _ in 0..2 {
            clients.remove(0).quit();
            // The server forgets it a moment after its end.
            wait_until(
                || {
                    clients.extend(knock(last, &server));
                    clients.len() == 3
                },
                "there is no room again",
            );
            assert!(knock(last, &server).is_none(), "there was room for exactly one");
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("who"), NO_USERS));
    }
    let exempt: Vec<Client> = (0..10).map(|_| knock(3, &server).expect("exempt")).collect();
    drop(exempt);
}

#[test]
fn an_ipv4_address_mapped_into_ipv6_counts_as_ipv4() {
    let flags = ["--connections-per-address", "1", "--address-exempt", "127.0.0.2"];
    let server = Server::try_with("[::ffff:127.0.0.1]:0", &flags).expect("it starts");
    let port = server.address.port();
    let connect = |last| connect_from(last, (Ipv4Addr::LOCALHOST, port).into());
    let mut exempt = [connect(2), connect(2)];
    exempt.iter_mut().for_each(|client| assert_eq!(client.ask("who"), NO_USERS));
    let mut counted = connect(1);
    assert_eq!(counted.ask("who"), NO_USERS);
    let peer = format!("[::ffff:127.0.0.1]:{}", counted.local().port());
    server.log_event("accepted", &[("peer", &peer)]);
    assert_eq!(connect(1).read_to_end(), TOO_MANY);
}

#[test]
fn loopback_is_exempt_unless_a_flag_says_otherwise() {
    let server = Server::with(&["--connections-per-address", "1", "--flood-burst", "1", "--flood-rate", "1/m"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        (0..100).for_each(|_| assert_eq!(client.ask("who"), NO_USERS));
    }
    let server = Server::with(&["--connections-per-address", "1", "--address-exempt", "none"]);
    let _client = knock(1, &server).expect("the first");
    assert!(knock(1, &server).is_none());
}

/// A user of that cow dies without a word; waits until the server has noticed that it does not acknowledge a message.
fn lose_a_peer(server: &Server, cow: &str, sender: &mut Client) {
    let gone = server.login(cow);
    gone.drop_incoming();
    assert_eq!(sender.ask(&format!("say {cow} are you there?")), format!("Sent to {cow}"));
    assert_eq!(server.log_event("closed", &[("cow", cow)]).field("reason"), "peer_gone");
    drop(server.login(cow));
}

#[test]
fn a_peer_is_gone_if_it_acks_nothing_and_not_if_it_reads_none() {
    let server = Server::with(&["--user-timeout", "5s", "--keepalive", "off"]);
    // Its window closes long before the others die, and stays closed until they are gone.
    let mut reader = connect_narrow(server.address).logged_in("mew");
    let asker = reader.writer();
    let questions = "cows\n".repeat(5_000);
    thread::scope(|scope| {
        scope.spawn(move || (&asker).write_all(questions.as_bytes()).expect("the server reads on"));
        // The server waits as long for each, so the reader has had twice that time.
        let mut sender = server.login("ferris");
        lose_a_peer(&server, "tux", &mut sender);
        lose_a_peer(&server, "cow", &mut sender);
        for n in 0..5_000 {
            assert!(reader.read_line().starts_with("Available cow names: "), "reply {n}");
        }
        assert_eq!(reader.ask("quit"), "Goodbye.");
    });
}

#[test]
fn a_slow_reader_with_a_small_window_is_not_gone() {
    const QUESTIONS: usize = 20_000;
    const A_SECOND: usize = 17;
    const TIMES: usize = 8 * A_SECOND;
    let bytes_at_once = |reader| 256 + 64 * reader;
    // The replies to a client that is not exempt are the clock by which the others read: for longer than it takes until a
    // peer is gone, and not always at the moments at which the server looks.
    let rate = format!("{A_SECOND}/s");
    let flags = ["--flood-exempt", "127.0.0.1", "--flood-burst", "1", "--flood-rate", &rate];
    let server = Server::with(&[&["--user-timeout", "5s", "--keepalive", "off"][..], &flags].concat());
    let mut readers: Vec<Client> = (0..24).map(|_| connect_narrow(server.address)).collect();
    let streams: Vec<_> = readers.iter().map(|reader| reader.writer()).collect();
    thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(move || {
                let mut stream = stream;
                // A reader that is cut notices that where it reads.
                let _ = stream.write_all("who\n".repeat(QUESTIONS).as_bytes());
            });
        }
        let mut clock = knock(2, &server).expect("there is room");
        for _ in 0..TIMES {
            assert_eq!(clock.ask("who"), NO_USERS);
            for (n, mut stream) in streams.iter().enumerate() {
                // Not by the client's buffer, which reads ahead.
                stream.read_exact(&mut vec![0; bytes_at_once(n)]).expect("a reader stays");
            }
        }
        for (n, reader) in readers.iter_mut().enumerate() {
            reader.read_bytes(QUESTIONS * (NO_USERS.len() + 1) - TIMES * bytes_at_once(n));
            assert_eq!(reader.ask("who"), NO_USERS);
        }
    });
}

/// A new user of that cow that asks and asks and reads nothing, until it cannot ask either: the server has no room for
/// more replies and has stopped reading.
fn login_and_stop_reading(server: &Server, cow: &str) -> Client {
    // Ten times what both kernels keep and the server reads before it notices.
    const TAKEN_MAX: usize = 2 << 20;
    let client = connect_narrow(server.address).logged_in(cow);
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a TCP socket");
    SockRef::from(stream).set_send_buffer_size(16 << 10).expect("a TCP socket");
    let questions = "cows\n".repeat(5_000);
    let mut taken = 0;
    let refused = loop {
        assert!(taken <= TAKEN_MAX, "a client that reads no reply is read: {taken} bytes of questions");
        match stream.write(questions.as_bytes()) {
            Ok(count) => taken += count,
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(refused, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{refused:?}");
    client
}

#[test]
fn a_connection_that_does_not_read_replies_is_not_read() {
    let server = Server::start();
    let _there = login_and_stop_reading(&server, "mew");
    let _also_there = login_and_stop_reading(&server, "tux");
    for core in [0, 1] {
        assert_eq!(server.connect_on(core).ask("who"), "Registered users: mew, tux", "no other waits for them");
    }
}

#[test]
fn a_closed_window_is_gone_only_if_its_peer_is() {
    let server = Server::with(&["--user-timeout", "5s", "--keepalive", "off"]);
    // Closed so much longer than the others' that its kernel is probed only every six seconds.
    let _stays = login_and_stop_reading(&server, "mew");
    for _ in 0..3 {
        let gone = login_and_stop_reading(&server, "tux");
        gone.drop_incoming();
        let closed = server.log_event("closed", &[("connection", &server.name_of(&gone))]);
        assert!(closed.is("closed", &[("cow", "tux"), ("reason", "peer_gone")]), "{closed:?}");
        assert_eq!(server.connect().ask("who"), "Registered users: mew");
    }
}

#[test]
fn an_idle_peer_that_answers_no_probe_is_gone() {
    let server = Server::with(&["--keepalive", "1s", "--user-timeout", "off"]);
    let mut stays = server.login("ferris");
    let gone = server.login("tux");
    gone.drop_incoming();
    assert_eq!(server.log_event("closed", &[("cow", "tux")]).field("reason"), "peer_gone");
    assert_eq!(stays.ask("who"), "Registered users: ferris", "a peer whose kernel answers probes stays");
}

#[test]
fn over_the_budget_the_largest_queue_goes_first() {
    const MIB: usize = 1 << 20;
    // Each may have as much as all together, so that none is cut for its own size.
    let flags = ["--queues-bytes-total", "4194304", "--sendq-bytes-max", "4194304", "--sendq-stall", "10m"];
    let server = Server::with(&[&flags[..], &["--herd", "20"]].concat());
    let mut sender = server.login("mew");
    // Only the sender reads. These share what they get: 8 MiB by length, half a MiB of memory.
    let sharers: Vec<Client> =
        (1..=16).map(|n| connect_narrow(server.address).logged_in(&numbered("tux", n))).collect();
    let yields = MIB / 2 / message("mew", false, "moo").len();
    sender.send_raw("yield moo\n".repeat(yields).as_bytes());
    sender.expect(&"Sent to 16 cows\n".repeat(yields));
    // These share nothing. On whichever core they are, the one that is further behind is cut.
    let larger = connect_narrow(server.address).logged_in("kirby");
    let mut smaller = connect_narrow(server.address).logged_in("nemo");
    say_bytes(&mut sender, "mew", "kirby", 3 * MIB);
    let expected = say_bytes(&mut sender, "mew", "nemo", 2 * MIB);
    assert_eq!(server.log_event("closed", &[("reason", "queues_full")]).field("cow"), "kirby");
    smaller.expect(&expected);
    assert_eq!(smaller.ask("who kirby"), NO_USERS);
    assert_eq!(server.log_events("closed", &[]).len(), 1, "and no other");
    drop((sharers, larger));
}

/// `COWCHAT_FULL_QUEUES` says how many queues there are (default 100). No message is shared, and the sender has a rate: over
/// the budget may be what it queues until the cores have counted.
#[test]
fn however_many_queues_are_full_they_keep_the_budget() {
    const KIB: usize = 1 << 10;
    // What the sender queues in half a second, and as much for the allocator and all that is not a message.
    const SLACK_KIB: u64 = 48 << 10;
    let count = count_of("COWCHAT_FULL_QUEUES", 100);
    let budget = count * 128 * KIB;
    let (total, herd) = (budget.to_string(), count.to_string());
    let flags =
        ["--queues-bytes-total", &total, "--herd", &herd, "--sendq-bytes-max", "4194304", "--sendq-stall", "10m"];
    let throttle =
        ["--flood-exempt", "none", "--flood-burst", "1000", "--flood-rate", "20000/s", "--connect-rate", "off"];
    let server = Server::with(&[&flags[..], &throttle].concat());
    let mut sender = server.login("mew");
    let cows: Vec<String> = (1..=count).map(|n| numbered("tux", n)).collect();
    let _readers: Vec<Client> = cows.iter().map(|cow| connect_narrow(server.address).logged_in(cow)).collect();
    let before = server.kib_of("VmRSS");
    let says = 32 * KIB / message("mew", true, "moo").len();
    let cuts = || server.log_events("closed", &[("reason", "queues_full")]).len();
    let mut sent = 0;
    // The kernel takes some of it, but not most of 1 MiB for each.
    while cuts() < count.div_ceil(20) {
        assert!(sent < count * 1024 * KIB, "none is cut");
        for cow in &cows {
            sender.send_raw(format!("say {cow} moo\n").repeat(says).as_bytes());
            (0..says).for_each(|_| assert!(["Sent to", "error: "].contains(&&sender.read_line()[..7])));
        }
        sent += count * 32 * KIB;
    }
    let (peak, budget) = (server.kib_of("VmHWM") - before, budget as u64 / 1024);
    println!("figure: {count} full queues: {peak} KiB above {before} KiB, budget {budget} KiB, {} cut", cuts());
    assert!(peak <= budget + SLACK_KIB, "{peak} KiB with a budget of {budget} KiB");
    assert!(peak >= budget / 2, "the queues were not full: {peak} KiB of {budget} KiB");
    assert_eq!(sender.ask("who mew"), "Registered users: mew");
}

#[test]
fn unread_replies_count_towards_the_budget() {
    let server = Server::with(&["--queues-bytes-total", SENDQ_BYTES_MIN, "--sendq-bytes-max", SENDQ_BYTES_MIN]);
    let guest = connect_narrow(server.address);
    let asker = guest.writer();
    thread::scope(|scope| {
        // It ends when the server closes.
        let asking = scope.spawn(move || while (&asker).write_all(b"cows\n").is_ok() {});
        server.log_event("closed", &[("reason", "queues_full")]);
        asking.join().expect("no panic");
    });
    assert_eq!(server.connect().ask("who"), NO_USERS);
}

#[test]
fn a_full_queue_is_cut_even_if_no_more_is_said() {
    const MIB: usize = 1 << 20;
    // Long lines, so that all of it is queued in a moment, and only a few when it is too much already.
    let flags = ["--art", "off", "--line-bytes-max", "65536", "--sendq-bytes-max", "1048576", "--sendq-stall", "10m"];
    let server = Server::with(&flags);
    for core in [0, 1] {
        let reader = connect_narrow(server.address).logged_in("mew");
        let mut sender = server.login_on(core, "tux");
        // The kernel takes less than half a MiB of it; twice the limit would cut the reader at once.
        let text = "moo ".repeat(15_000);
        let says = MIB * 3 / 2 / text.len();
        sender.send_raw(format!("say mew {text}\n").repeat(says).as_bytes());
        for _ in 0..says {
            let reply = sender.read_line();
            // On a slow machine the reader has been cut by now.
            assert!(reply == "Sent to mew" || reply == "error: cow mew is not logged in", "{reply}");
        }
        let closed = server.log_event("closed", &[("connection", &server.name_of(&reader))]);
        assert!(closed.is("closed", &[("cow", "mew"), ("reason", "slow_consumer")]), "{closed:?}");
        assert_eq!(sender.ask("who"), "Registered users: tux");
        sender.quit();
    }
}
