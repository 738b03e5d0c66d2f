//! Many cows of a breed: which names there are then, which login gets which, and how they are listed.
//!
//! Owns what `--herd` promises to clients over both cores: each name belongs to one user at a time, `login tux#`
//! gives a free one, also among many that come and go, and lists stay short and in order.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;

use crate::support::{Client, Server, all_cows, ask_at_once, numbered, picture};

/// A server with this many cows of each breed.
fn herd(size: usize) -> Server {
    Server::with(&["--herd", &size.to_string()])
}

/// A client on that core that has asked for any tux while no other login ran, and got this one.
fn login_lowest(server: &Server, core: usize, expected: &str) -> Client {
    let mut client = server.connect_on(core);
    assert_eq!(client.ask("login tux#"), format!("Logged in as {expected}"));
    client
}

/// New clients, half on each core, ask for any tux at the same moment; what each was told.
fn race(server: &Server, count: usize) -> (Vec<Client>, Vec<String>) {
    let mut clients: Vec<Client> = (0..count).map(|n| server.connect_on(n % 2)).collect();
    let answers = ask_at_once(&mut clients, |_| "login tux#".to_owned());
    (clients, answers)
}

/// The numbers of the cows that were given, each of which must have been given once.
fn numbers_given(answers: &[String]) -> BTreeSet<usize> {
    let mut given = BTreeSet::new();
    for name in answers.iter().filter_map(|answer| answer.strip_prefix("Logged in as ")) {
        let number = if name == "tux" { 1 } else { name["tux#".len()..].parse().expect("a number") };
        assert!(given.insert(number), "{name} was given twice");
        assert_eq!(name, numbered("tux", number), "the one spelling of it");
    }
    given
}

// Names.

#[test]
fn a_numbered_cow_has_one_spelling_and_none_is_past_the_last() {
    let server = herd(3);
    let mut guest = server.connect_on(0);
    let no_names = ["tux#0", "tux#1", "tux#01", "tux#02", "tux#x", "tux#2x", "tux#+2", "tux#-2", "tux#2#", "tux##"];
    let too_large = ["tux#4", "tux#4294967296", "tux#4294967298", "tux#99999999999999999999"];
    for name in no_names.into_iter().chain(too_large).chain(["nosuch#", "nosuch#2", "Tux#2", "#", "#2"]) {
        assert_eq!(guest.ask(&format!("login {name}")), format!("error: no cow named {name} (try cows)"));
    }
    let mut first = server.login_on(1, "tux");
    for name in no_names.into_iter().chain(too_large).chain(["tux#", "nosuch#2"]) {
        assert_eq!(first.ask(&format!("say {name} hi")), format!("error: no cow named {name} (try cows)"));
    }
    assert_eq!(first.ask("say tux#3 hi"), "error: cow tux#3 is not logged in");
    let mut last = guest.logged_in("tux#3");
    assert_eq!(first.ask("login tux#2"), "error: you are already logged in as tux");
    assert_eq!(last.ask("login tux#"), "error: you are already logged in as tux#3");
    assert_eq!(server.connect().ask("login tux#3"), "error: cow tux#3 is already taken");
}

#[test]
fn a_herd_of_one_has_no_cow_with_a_number() {
    for flags in [&[][..], &["--herd", "1"]] {
        let server = Server::with(flags);
        let mut client = server.connect();
        for name in ["tux#", "tux#1", "tux#2"] {
            assert_eq!(client.ask(&format!("login {name}")), format!("error: no cow named {name} (try cows)"));
        }
        assert_eq!(client.ask("cows"), format!("Available cow names: {}", all_cows().join(", ")));
        assert!(!client.ask("help all").contains('#'));
        assert!(server.announcement.contains(" cores, 24 cows, 1 of each, "), "{}", server.announcement);
        let client = client.logged_in("tux");
        assert_eq!(server.connect().ask("login tux#"), "error: no cow named tux# (try cows)");
        drop(client);
    }
}

#[test]
fn numbered_cows_are_counted_and_named_in_log_and_help() {
    let server = herd(9);
    assert!(server.announcement.contains(" cores, 216 cows, 9 of each, "), "{}", server.announcement);
    let mut client = server.login("tux#9");
    assert!(client.ask("help all").contains(", login COW# (the lowest free of 9), "));
    assert_eq!(server.log_event("logged_in", &[]).field("cow"), "tux#9");
    client.quit();
    server.log_event("closed", &[("cow", "tux#9"), ("reason", "quit")]);
}

// Which login gets which.

#[test]
fn a_login_alone_gets_the_lowest_free_cow() {
    let server = herd(4);
    let first = login_lowest(&server, 0, "tux");
    let second = login_lowest(&server, 1, "tux#2");
    let _third = login_lowest(&server, 0, "tux#3");
    second.quit();
    let _second = login_lowest(&server, 0, "tux#2");
    let _fourth = login_lowest(&server, 1, "tux#4");
    let mut late = [server.connect_on(0), server.connect_on(1)];
    for (core, late) in late.iter_mut().enumerate() {
        assert_eq!(late.ask("login tux#"), "error: every tux is taken");
        assert_eq!(late.ask("login tux#4"), "error: cow tux#4 is already taken");
        assert_eq!(late.ask("login tux"), "error: cow tux is already taken");
        assert_eq!(late.ask("login mew#"), format!("Logged in as {}", numbered("mew", core + 1)), "another breed");
    }
    first.quit();
    login_lowest(&server, 1, "tux");
}

#[test]
fn as_many_clients_as_cows_share_out_the_herd() {
    let server = herd(200);
    let (clients, answers) = race(&server, 200);
    assert_eq!(numbers_given(&answers), (1..=200).collect(), "each exactly once");
    for core in [0, 1] {
        assert_eq!(server.connect_on(core).ask("login tux#"), "error: every tux is taken");
    }
    let all: Vec<String> = (1..=200).map(|number| numbered("tux", number)).collect();
    assert_eq!(server.connect().ask("who"), format!("Registered users: {}", all.join(", ")));
    drop(clients);
}

#[test]
fn of_twice_as_many_clients_as_cows_half_get_in() {
    let server = herd(100);
    let (_clients, answers) = race(&server, 200);
    assert_eq!(numbers_given(&answers), (1..=100).collect(), "each exactly once");
    assert_eq!(answers.iter().filter(|&answer| answer == "error: every tux is taken").count(), 100);
}

#[test]
fn no_login_is_refused_while_cows_stay_free() {
    const HOLDERS: usize = 70;
    const GUESTS: usize = 8;
    let server = herd(200);
    let holders: Vec<Client> =
        (1..=HOLDERS).map(|number| login_lowest(&server, number % 2, &numbered("tux", number))).collect();
    let held = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..GUESTS {
            scope.spawn(|| {
                for _ in 0..40 {
                    let mut client = server.connect();
                    let answer = client.ask("login tux#");
                    let number = *numbers_given(&[answer]).first().expect("more than a hundred stay free");
                    assert!(number > HOLDERS, "tux#{number} is held throughout");
                    assert!(held.lock().expect("no panic").insert(number), "tux#{number} is held already");
                    assert!(held.lock().expect("no panic").remove(&number), "tux#{number} was held by one");
                    client.quit();
                }
            });
        }
    });
    for core in [0, 1] {
        let logins = server.log_events("logged_in", &[]);
        let there = logins.iter().filter(|login| login.field("connection").starts_with(&format!("{core}.")));
        assert!(there.count() > HOLDERS / 2, "guests came to core {core}, too");
    }
    login_lowest(&server, 0, &numbered("tux", HOLDERS + 1)).quit();
    drop(holders);
}

#[test]
fn a_say_to_a_numbered_cow_reaches_no_other_of_its_breed() {
    let server = herd(10);
    let block = |header: &str, text: &str| format!("{header}\n{}", picture("tux", text));
    let mut first = server.login_on(0, "tux");
    let mut seventh = server.login_on(1, "tux#7");
    for core in [0, 1] {
        let mut tenth = server.login_on(core, "tux#10");
        assert_eq!(tenth.ask("say tux#7 hi"), "Sent to tux#7");
        seventh.expect(&block("tux#10 says to you:", "hi"));
        assert_eq!(seventh.ask("say tux#10 moo"), "Sent to tux#10");
        tenth.expect(&block("tux#7 says to you:", "moo"));
        assert_eq!(seventh.ask("yield hi all"), "Sent to 2 cows");
        for other in [&mut first, &mut tenth] {
            other.expect(&block("tux#7 says:", "hi all"));
        }
        assert_eq!(seventh.ask("say tux first"), "Sent to tux");
        first.expect(&block("tux#7 says to you:", "first"));
        tenth.quit();
    }
    assert_eq!(first.ask("who"), "Registered users: tux, tux#7", "and nothing else came");
    assert_eq!(seventh.ask("who"), "Registered users: tux, tux#7", "and nothing else came");
}

// Lists.

/// `cows`' answer in a herd of 9 when what is free of tux reads like this, and of every other breed all is.
fn available(tux: &str) -> String {
    let free = |breed: &str| match breed {
        "tux" => tux.to_owned(),
        _ => format!("{breed}, {breed}#2-9"),
    };
    let breeds: Vec<String> = all_cows().into_iter().map(free).filter(|free| !free.is_empty()).collect();
    format!("Available cow names: {}", breeds.join(", "))
}

#[test]
fn free_cows_are_listed_in_three_runs_of_each_breed_at_most() {
    let server = herd(9);
    let mut witnesses = [server.connect_on(0), server.connect_on(1)];
    let mut cows_are = |tux: &str| {
        for witness in &mut witnesses {
            assert_eq!(witness.ask("cows"), available(tux));
        }
    };
    let mut users = Vec::new();
    cows_are("tux, tux#2-9");
    for (name, free) in [
        ("tux#3", "tux, tux#2, tux#4-9"),
        ("tux#2", "tux, tux#4-9"),
        ("tux#5", "tux, tux#4, tux#6-9"),
        ("tux#6", "tux, tux#4, tux#7-9"),
        // Three runs are told, a fourth is hinted at.
        ("tux#8", "tux, tux#4, tux#7, tux#..."),
        ("tux", "tux#4, tux#7, tux#9"),
        ("tux#9", "tux#4, tux#7"),
        ("tux#4", "tux#7"),
        ("tux#7", ""),
    ] {
        users.push(server.login_on(users.len() % 2, name));
        cows_are(free);
    }
    // A breed without a free cow is not listed, and is listed again with one.
    users.swap_remove(2).quit();
    cows_are("tux#5");
}

#[test]
fn users_are_listed_by_breed_and_then_by_number() {
    let server = herd(200);
    let names = ["tux#10", "mew#3", "tux#2", "tux", "tux#100", "mew", "tux#19", "cow"];
    let _users: Vec<Client> = names.iter().enumerate().map(|(n, name)| server.login_on(n % 2, name)).collect();
    for core in [0, 1] {
        let mut guest = server.connect_on(core);
        for (prefix, expected) in [
            ("", "cow, mew, mew#3, tux, tux#2, tux#10, tux#19, tux#100"),
            ("tux", "tux, tux#2, tux#10, tux#19, tux#100"),
            ("t", "tux, tux#2, tux#10, tux#19, tux#100"),
            ("tux#", "tux#2, tux#10, tux#19, tux#100"),
            ("tux#1", "tux#10, tux#19, tux#100"),
            ("tux#10", "tux#10, tux#100"),
            ("tux#2", "tux#2"),
            ("tux#3", "(none)"),
            ("tux#0", "(none)"),
            ("tux#02", "(none)"),
            ("tux#2#", "(none)"),
            ("tux#99999999999999999999", "(none)"),
            ("tu#", "(none)"),
            ("#", "(none)"),
            ("mew#3", "mew#3"),
        ] {
            assert_eq!(guest.ask(&format!("who {prefix}")), format!("Registered users: {expected}"), "who {prefix}");
        }
    }
}

/// As many new users, with numbers from `first` on: they all ask before the first answer is read.
fn fill(server: &Server, first: usize, count: usize) -> Vec<TcpStream> {
    let ask = |number| {
        let mut stream = TcpStream::connect(server.address).expect("the server accepts");
        stream.write_all(format!("login {}\n", numbered("tux", number)).as_bytes()).expect("the server reads");
        stream
    };
    let streams: Vec<TcpStream> = (first..first + count).map(ask).collect();
    for (number, stream) in (first..).zip(&streams) {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("the server answers");
        assert_eq!(answer, format!("Logged in as {}\n", numbered("tux", number)));
    }
    streams
}

#[test]
fn who_lists_a_thousand_users_and_counts_the_rest() {
    let server = herd(1100);
    let names = |numbers: std::ops::Range<usize>| -> String {
        let names: Vec<String> = numbers.map(|number| numbered("tux", number)).collect();
        format!("Registered users: {}", names.join(", "))
    };
    let mut guest = server.connect();
    let _thousand = fill(&server, 1, 1000);
    assert_eq!(guest.ask("who"), names(1..1001), "exactly as many as are listed");
    let _another = fill(&server, 1001, 1);
    assert_eq!(guest.ask("who"), names(1..1001) + " ... and 1 more (who PREFIX)");
    assert_eq!(guest.ask("who tux#"), names(2..1002), "a thousand that match");
    let _rest = fill(&server, 1002, 99);
    for core in [0, 1] {
        let mut guest = server.connect_on(core);
        assert_eq!(guest.ask("who"), names(1..1001) + " ... and 100 more (who PREFIX)");
        assert_eq!(guest.ask("who tux#"), names(2..1002) + " ... and 99 more (who PREFIX)");
        assert_eq!(guest.ask("who tux#110"), "Registered users: tux#110, tux#1100");
        assert_eq!(guest.ask("login tux#"), "error: every tux is taken");
    }
}
