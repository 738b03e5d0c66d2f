//! Logins and leaves, told to the sessions that asked for notices: to no other, soon, and never too often.
//!
//! A session gets ten lines a second, so a test in which more happens waits for the summary that comes a second later. It
//! waits for the line, and no test says when that must come.

use std::thread;
use std::time::Instant;

use crate::support::{Client, LAST_LINE, SENDQ_BYTES_MIN, Server, connect_narrow, message};

/// A user on that core, with notices on.
fn subscriber(server: &Server, core: usize, cow: &str) -> Client {
    let mut client = server.login_on(core, cow);
    assert_eq!(client.ask("notify on"), "Notices are on");
    client
}

/// One on each core; neither is told of the other's login.
fn subscribers(server: &Server, cows: [&str; 2]) -> [Client; 2] {
    let mut cores = 0..;
    let mut subscribers = cows.map(|cow| server.login_on(cores.next().expect("a core"), cow));
    subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.ask("notify on"), "Notices are on"));
    subscribers
}

#[test]
fn every_login_and_way_to_leave_is_told_on_both_cores() {
    let ways: [fn(Client); 3] = [Client::quit, |client| client.half_close(), Client::reset];
    for core in [0, 1] {
        let server = Server::start();
        let mut subscribers = [subscriber(&server, core, "tux"), subscriber(&server, core, "aya")];
        // aya is not told of its own login.
        subscribers[0].expect("* aya has joined\n");
        for way in ways {
            let mew = server.login_on(0, "mew");
            subscribers.iter_mut().for_each(|subscriber| subscriber.expect("* mew has joined\n"));
            way(mew);
            subscribers.iter_mut().for_each(|subscriber| subscriber.expect("* mew has left\n"));
        }
        subscribers.iter_mut().for_each(|subscriber| assert_eq!(subscriber.ask("who"), "Registered users: aya, tux"));
    }
}

#[test]
fn a_slow_consumer_that_is_cut_has_left() {
    let server = Server::with(&["--sendq-bytes-max", SENDQ_BYTES_MIN]);
    let mut subscribers = subscribers(&server, ["tux", "aya"]);
    let _slow = connect_narrow(server.address).logged_in("kirby");
    subscribers.iter_mut().for_each(|subscriber| subscriber.expect("* kirby has joined\n"));
    let mut talker = server.login("mew");
    subscribers.iter_mut().for_each(|subscriber| subscriber.expect("* mew has joined\n"));
    // Many times what the kernel and twice the limit take.
    assert!((0..10_000).any(|_| talker.ask("say kirby moo") != "Sent to kirby"), "it is not cut");
    subscribers.iter_mut().for_each(|subscriber| subscriber.expect("* kirby has left\n"));
}

#[test]
fn notices_are_off_until_asked_for_and_off_again_when_asked() {
    for core in [0, 1] {
        let server = Server::start();
        let mut witness = subscriber(&server, core, "aya");
        let mut tux = server.login_on(core, "tux");
        witness.expect("* tux has joined\n");
        let mew = server.login_on(0, "mew");
        // What aya is told is queued for all of its core at once.
        witness.expect("* mew has joined\n");
        assert_eq!(tux.ask("notify on"), "Notices are on");
        assert_eq!(tux.ask("notify on"), "Notices are on");
        mew.quit();
        witness.expect("* mew has left\n");
        tux.expect("* mew has left\n");
        assert_eq!(tux.ask("notify off"), "Notices are off");
        let mew = server.login_on(1, "mew");
        witness.expect("* mew has joined\n");
        assert_eq!(tux.ask("who"), "Registered users: aya, mew, tux");
        for bad in ["notify", "notify maybe", "notify on off", "notify On"] {
            assert_eq!(tux.ask(bad), "error: usage: notify on|off");
        }
        mew.quit();
        assert_eq!(tux.ask("who"), "Registered users: aya, tux");
    }
}

#[test]
fn guests_neither_get_notices_nor_cause_any() {
    let server = Server::start();
    for core in [0, 1] {
        let mut witness = subscriber(&server, core, "aya");
        let mut guest = server.connect_on(core);
        assert_eq!(guest.ask("notify on"), "error: login first");
        assert_eq!(guest.ask("notify maybe"), "error: login first");
        server.connect_on(0).quit();
        server.connect_on(1).reset();
        assert_eq!(server.connect_on(core).ask("login aya"), "error: cow aya is already taken");
        let mew = server.login_on(core, "mew");
        witness.expect("* mew has joined\n");
        assert_eq!(guest.ask("who"), "Registered users: aya, mew", "nothing before");
        mew.quit();
        witness.expect("* mew has left\n");
        witness.quit();
    }
}

#[test]
fn no_user_is_told_of_itself() {
    let server = Server::start();
    for core in [0, 1] {
        let mut client = server.connect_on(core);
        client.send_raw(b"login tux\nnotify on\nwho\nquit\n");
        assert_eq!(
            client.read_to_end(),
            "Logged in as tux\nNotices are on\nRegistered users: tux\nGoodbye.\n",
            "neither of its login nor of its leave"
        );
    }
}

#[test]
fn the_next_connection_has_notices_off() {
    let server = Server::start();
    for core in [0, 1] {
        for _ in 0..5 {
            subscriber(&server, core, "tux").quit();
        }
        // More than there were before, so that the server uses their places again.
        let cows = ["cow", "eevee", "ferris", "kirby", "mew", "nemo", "pikachu", "psyduck", "togepi", "tux"];
        let mut clients: Vec<Client> = cows.iter().map(|cow| server.login_on(core, cow)).collect();
        let mut witness = subscriber(&server, core, "aya");
        clients.remove(0).quit();
        witness.expect("* cow has left\n");
        for client in &mut clients {
            assert!(client.ask("who").starts_with("Registered users: aya, "));
        }
        clients.into_iter().for_each(Client::quit);
        // Told in a second at the latest, as names or as numbers.
        let mut left = 0;
        while left < cows.len() - 1 {
            left += read_notice(&mut witness).1;
        }
        witness.quit();
    }
}

#[test]
fn a_login_is_told_before_all_it_says_and_a_leave_after() {
    let server = Server::start();
    let mut tux = subscriber(&server, 0, "tux");
    for core in [0, 1] {
        let mut mew = server.connect_on(core);
        mew.send_raw(b"login mew\nsay tux hi\nyield moo\nsay tux bye\nquit\n");
        tux.expect("* mew has joined\n");
        tux.expect_message("mew", true, "hi");
        tux.expect_message("mew", false, "moo");
        tux.expect_message("mew", true, "bye");
        tux.expect("* mew has left\n");
        assert_eq!(mew.read_to_end(), "Logged in as mew\nSent to tux\nSent to 1 cow\nSent to tux\nGoodbye.\n");
    }
}

#[test]
fn notices_begin_with_zero_after_an_id_and_number_the_cow() {
    let server = Server::with(&["--herd", "9", "--no-header"]);
    for core in [0, 1] {
        let mut tux = server.login_on(core, "tux");
        assert_eq!(tux.ask("1 notify on"), "1 Notices are on");
        let mut mew = server.login_on(0, "mew#2");
        assert_eq!(mew.ask("yield hi"), "Sent to 1 cow");
        mew.quit();
        let message = message("mew", false, "hi").replacen("mew", "mew#2", 1);
        tux.expect(&format!("0 * mew#2 has joined\n0 {message}0 * mew#2 has left\n"));
        tux.quit();
    }
}

#[test]
fn a_drain_is_no_matter_of_notices() {
    let mut server = Server::with(&["--herd", "20"]);
    let mut subscribers = subscribers(&server, ["tux", "aya"]);
    // All have been told of all logins before the end begins.
    let cows = ["mew", "mew#2", "mew#3", "mew#4", "mew#5", "mew#6", "mew#7", "mew#8"];
    let clients: Vec<Client> = cows.iter().enumerate().map(|(n, cow)| server.login_on(n % 2, cow)).collect();
    for subscriber in &mut subscribers {
        cows.iter().for_each(|cow| subscriber.expect(&format!("* {cow} has joined\n")));
    }
    server.signal("TERM");
    for mut client in subscribers.into_iter().chain(clients) {
        assert_eq!(client.read_to_end(), LAST_LINE);
    }
    assert_eq!(server.wait().code(), Some(0));
}

// Storms.

/// The next notice: how many have joined and left by it, and the cow that it names.
fn read_notice(client: &mut Client) -> (usize, usize, Option<String>) {
    let line = client.read_line();
    let notice = line.strip_prefix("* ").unwrap_or_else(|| panic!("no notice: {line}"));
    if let Some(name) = notice.strip_suffix(" has joined") {
        return (1, 0, Some(name.to_owned()));
    }
    if let Some(name) = notice.strip_suffix(" has left") {
        return (0, 1, Some(name.to_owned()));
    }
    let numbers = notice.strip_suffix(" more left").and_then(|rest| rest.split_once(" more joined, "));
    let (joined, left) = numbers.unwrap_or_else(|| panic!("no notice: {line}"));
    (joined.parse().expect("a number"), left.parse().expect("a number"), None)
}

/// Reads notices until this many have joined and left: each is counted once, and the lines are not too many.
fn read_storm(subscriber: &mut Client, began: Instant, [joined, left, named_min]: [usize; 3]) {
    let (mut sums, mut lines, mut names) = ((0, 0), 0, Vec::new());
    while sums != (joined, left) {
        let (more_joined, more_left, name) = read_notice(subscriber);
        sums = (sums.0 + more_joined, sums.1 + more_left);
        assert!(sums.0 <= joined && sums.1 <= left, "{sums:?} of {joined} and {left}");
        lines += 1;
        names.extend(name.map(|name| (name, more_joined)));
    }
    // As many seconds as have begun since before the first could be told.
    let seconds = 1 + usize::try_from(began.elapsed().as_secs()).expect("not so long");
    assert!(lines <= 10 * seconds, "{lines} lines in {seconds} s");
    assert!(lines < joined + left, "some were told as numbers");
    assert!(names.len() >= named_min, "the first ones by name: {names:?}");
    let named = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), named, "no cow is named twice");
}

#[test]
fn a_storm_is_told_in_ten_lines_a_second_and_counts_each_once() {
    const STORM: usize = 300;
    let server = Server::with(&["--herd", "300"]);
    let mut subscribers = subscribers(&server, ["aya", "aya#2"]);
    let mut clients: Vec<Client> = (0..STORM).map(|_| server.connect()).collect();
    // When they leave, the lines of that second may have been used up.
    for (line, storm) in [("login tux#", [STORM, 0, 10]), ("quit", [0, STORM, 0])] {
        let began = Instant::now();
        clients.iter_mut().for_each(|client| client.send(line));
        thread::scope(|scope| {
            for subscriber in &mut subscribers {
                scope.spawn(move || read_storm(subscriber, began, storm));
            }
        });
        for client in &mut clients {
            let reply = client.read_line();
            assert!(reply.starts_with("Logged in as tux") || reply == "Goodbye.", "{reply}");
        }
    }
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.ask("who"), "Registered users: aya, aya#2", "and nothing more is told");
    }
}
