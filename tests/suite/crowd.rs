//! Five hundred netcat-like clients at once: 24 are cows, the others stay guests.
//!
//! Owns what only many clients on both cores can show: each is answered, exactly as many get in as there are cows, each
//! user reads what all others say and no guest reads any of it, and all see the end.

use std::collections::HashMap;
use std::thread;

use crate::support::{Client, Server, all_cows, picture};

const CLIENTS: usize = 500;
const THREADS: usize = 10;
const MESSAGES: usize = 5;

/// Room for everything that the cows say in one send queue: a client sends all it has before it reads.
const PATIENT: [&str; 4] = ["--sendq-bytes-max", "16777216", "--sendq-stall", "10m"];

/// What one of the cows reads: a reply to each of its own messages, and each message of every other cow, in the order in
/// which that cow said them.
fn read_all(client: &mut Client, me: &str, cows: &[&'static str]) {
    let mut replies = 0;
    let mut got: HashMap<&str, usize> = HashMap::new();
    for _ in 0..MESSAGES * cows.len() {
        let line = client.read_line();
        if line == format!("Sent to {} cows", cows.len() - 1) {
            replies += 1;
            continue;
        }
        let from = line.strip_suffix(" says:").unwrap_or_else(|| panic!("{me} reads {line:?}"));
        let from = cows.iter().find(|&&cow| cow == from).expect("a cow");
        let number = got.entry(from).or_default();
        client.expect(&picture(from, &format!("message {number}")));
        *number += 1;
    }
    assert_eq!(replies, MESSAGES, "{me} has a reply to each message");
    assert_eq!(got.remove(me), None, "{me} does not read its own");
    assert_eq!(got.len(), cows.len() - 1, "{me} reads all others");
    assert!(got.values().all(|&count| count == MESSAGES), "{me}: {got:?}");
}

/// Does the same for each share in its own thread, and waits for all.
fn in_parallel<T: Send, U: Send>(shares: Vec<T>, act: impl Fn(T) -> U + Sync) -> Vec<U> {
    thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || act(share))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// A client asks all its questions before it reads an answer.
fn ask_all_at_once(client: &mut Client, wish: &str) {
    client.send_raw(format!("who\ncows\nlogin {wish}\n").as_bytes());
}

/// Whether it got the cow that it asked for.
fn is_in(client: &mut Client, wish: &str) -> bool {
    assert!(client.read_line().starts_with("Registered users: "));
    assert!(client.read_line().starts_with("Available cow names: "));
    let answer = client.read_line();
    assert!(
        answer == format!("Logged in as {wish}") || answer == format!("error: cow {wish} is already taken"),
        "{answer}"
    );
    answer.starts_with("Logged in")
}

#[test]
fn in_a_crowd_of_500_cows_get_all_messages_and_guests_none() {
    let mut server = Server::with(&PATIENT);
    let cows = all_cows();

    let clients = in_parallel((0..THREADS).collect(), |thread| {
        let wishes = (thread..CLIENTS).step_by(THREADS).map(|n| cows[n % cows.len()]);
        wishes.map(|wish| (wish, server.connect())).collect::<Vec<_>>()
    });
    let sorted = in_parallel(clients, |mut clients| {
        clients.iter_mut().for_each(|(wish, client)| ask_all_at_once(client, wish));
        clients.into_iter().map(|(wish, mut client)| (is_in(&mut client, wish), wish, client)).collect::<Vec<_>>()
    });
    let (mut users, mut guests) = (Vec::new(), Vec::new());
    for (is_in, cow, client) in sorted.into_iter().flatten() {
        if is_in { users.push((cow, client)) } else { guests.push(client) }
    }
    users.sort_by_key(|(cow, _)| *cow);
    assert!(users.iter().map(|(cow, _)| cow).eq(&cows), "every cow is taken once");

    let mut clients = in_parallel(users, |(cow, mut client)| {
        (0..MESSAGES).for_each(|number| client.send(&format!("yield message {number}")));
        read_all(&mut client, cow, &cows);
        client
    });
    clients.append(&mut guests);
    assert_eq!(clients.len(), CLIENTS);
    for client in &mut clients {
        assert_eq!(client.ask("who"), format!("Registered users: {}", cows.join(", ")), "and nothing before it");
    }
    let on_core_0 = clients.iter().filter(|client| server.core_of(client) == 0).count();
    assert!((1..CLIENTS).contains(&on_core_0), "both cores serve some: {on_core_0} of {CLIENTS} are on core 0");

    clients.iter_mut().for_each(|client| client.send("quit"));
    for client in &mut clients {
        assert_eq!(client.read_to_end(), "Goodbye.\n");
    }
    assert_eq!(server.connect().ask("cows"), format!("Available cow names: {}", cows.join(", ")));

    server.signal("TERM");
    assert!(server.wait().success());
    let count = |key: &str, fields: &[(&str, &str)]| server.log_events(key, fields).len();
    // And the one that asked whether all cows are free.
    assert_eq!((count("accepted", &[]), count("closed", &[])), (CLIENTS + 1, CLIENTS + 1));
    assert_eq!((count("logged_in", &[]), count("closed", &[("reason", "quit")])), (cows.len(), CLIENTS));
    let yields = MESSAGES * cows.len();
    let deliveries = yields * (cows.len() - 1);
    let stopped = server.log_event("stopped", &[("says", "0"), ("stale_frames", "0")]);
    for (name, number) in [("connections", CLIENTS + 1), ("yields", yields), ("deliveries", deliveries)] {
        assert_eq!(stopped.field(name), number.to_string(), "{name}");
    }
}
