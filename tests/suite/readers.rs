//! Readers of ordinary speed beside senders that are much faster: what others say at once costs a reader neither its
//! connection nor a message.
//!
//! A reader takes a number of bytes a second, through a small window: what it has not taken waits in the server.

use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, GUARD, NO_USERS, Server, all_cows, connect_from, connect_narrow, count_of, message};
use cowchat::limits::{CONNECT_BURST, SENDQ_BYTES_MAX, SENDQ_OVERRUN};

/// Only clients from 127.0.0.1 are exempt from any limit.
const READERS_ARE_EXEMPT: [&str; 4] = ["--flood-exempt", "127.0.0.1/32", "--address-exempt", "127.0.0.1/32"];

/// The last message that a reader waits for.
const THE_END: &str = "the end";

/// Messages that [`SENDERS`] yield each: with the largest pictures 100 of them are 1.1 MB.
const LINES: usize = 5;
const SENDERS: usize = CONNECT_BURST as usize;

/// Reads `megabits` a second until [`THE_END`] or the connection's; gives back what it has read.
fn read_slowly(client: &Client, megabits: u64) -> String {
    let (mut began, rate) = (Instant::now(), megabits * 1_000_000 / 8);
    let mut stream = client.writer();
    let mut got = Vec::new();
    while let Some(piece) = read_piece(&mut stream) {
        if got.is_empty() {
            began = Instant::now();
        }
        got.extend(piece);
        let tail = got.len().saturating_sub(8192);
        if got[tail..].windows(THE_END.len()).any(|part| part == THE_END.as_bytes()) {
            break;
        }
        let due = began + Duration::from_micros(got.len() as u64 * 1_000_000 / rate);
        while let left = due.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            thread::park_timeout(left);
        }
    }
    String::from_utf8(got).expect("the server speaks UTF-8")
}

/// What has come, `None` at the end of the connection, in whatever way.
fn read_piece(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut piece = vec![0; 4096];
    let count = std::io::Read::read(stream, &mut piece).ok().filter(|&count| count > 0)?;
    piece.truncate(count);
    Some(piece)
}

/// Has a reader at each of these speeds take all that comes until [`THE_END`].
fn start_readers(server: &Server, speeds: &[(&'static str, u64)]) -> Vec<Receiver<String>> {
    let start = |&(cow, megabits): &(&'static str, u64)| {
        let client = connect_narrow(server.address).logged_in(cow);
        let (sender, all) = mpsc::channel();
        thread::spawn(move || sender.send(read_slowly(&client, megabits)));
        all
    };
    speeds.iter().map(start).collect()
}

#[test]
fn what_one_address_says_at_once_cuts_no_reader() {
    let server = Server::with(&[&READERS_ARE_EXEMPT[..], &["--cows-per-address", "20"]].concat());
    let lines = count_of("COWCHAT_BURST_LINES", LINES);
    let speeds = [("mew", 1), ("kirby", 5), ("ferris", 50)];
    let readers = start_readers(&server, &speeds);
    let names = all_cows().into_iter().filter(|name| speeds.iter().all(|(reader, _)| reader != name));
    let mut senders: Vec<Client> =
        names.take(SENDERS).map(|cow| connect_from(2, server.address).logged_in(cow)).collect();
    // They get each other's messages, too, as single lines.
    senders.iter_mut().for_each(|sender| assert_eq!(sender.ask("art off"), "Art is off"));
    let text = "moo ".repeat(120);
    let yields = format!("yield {text}\n").repeat(lines);
    thread::scope(|scope| {
        for sender in &mut senders {
            let yields = &yields;
            scope.spawn(move || {
                sender.send_raw(yields.as_bytes());
                let mut acknowledged = 0;
                while acknowledged < lines {
                    acknowledged += usize::from(sender.read_line().starts_with("Sent to "));
                }
            });
        }
    });
    senders[0].send(&format!("yield {THE_END}"));
    for (reader, (cow, megabits)) in readers.iter().zip(speeds) {
        let got = reader.recv_timeout(2 * GUARD).expect("it reads to the end");
        let messages = got.lines().filter(|line| line.ends_with(" says:")).count();
        assert!(got.len() > lines * SENDERS * 2 * text.len(), "it was much");
        assert_eq!(messages, lines * SENDERS + 1, "{cow} at {megabits} Mbit/s has not got all");
    }
    assert!(server.log_events("closed", &[("reason", "slow_consumer")]).is_empty(), "no reader is cut");
    println!("figure: readers of 1, 5 and 50 Mbit/s got all {} messages of {SENDERS} connections", lines * SENDERS);
}

/// Has tux say more to ferris than a send queue ever holds, as fast as the server takes it. A new ferris reads all of it.
fn say_much(server: &Server, tux: &mut Client) {
    let whole = message("tux", true, "moo");
    let count = 3 * SENDQ_OVERRUN * SENDQ_BYTES_MAX / whole.len();
    let [reader] = start_readers(server, &[("ferris", 20)]).try_into().expect("one");
    tux.send_raw("say ferris moo\n".repeat(count).as_bytes());
    tux.send(&format!("say ferris {THE_END}"));
    for n in 0..=count {
        assert_eq!(tux.read_line(), "Sent to ferris", "message {n}");
    }
    let got = reader.recv_timeout(GUARD).expect("it reads to the end");
    assert!(got.starts_with(&whole.repeat(count)), "all of them, in order");
}

#[test]
fn a_say_waits_for_a_receiver_that_reads_and_loses_nothing() {
    let server = Server::start();
    for core in [0, 1] {
        let mut tux = server.login_on(core, "tux");
        say_much(&server, &mut tux);
        tux.quit();
        server.log_event("closed", &[("cow", "ferris")]);
    }
}

#[test]
fn the_backlog_of_a_cow_ends_with_its_holder() {
    let server = Server::start();
    let mut last = connect_narrow(server.address).logged_in("ferris");
    let mut tux = server.login_on(server.core_of(&last), "tux");
    // More than half a queue beside what the kernel takes, and less than a whole one.
    let count = 340_000 / message("tux", true, "moo").len();
    tux.send_raw("say ferris moo\n".repeat(count).as_bytes());
    (0..count).for_each(|_| assert_eq!(tux.read_line(), "Sent to ferris"));
    last.half_close();
    server.log_event("closed", &[("cow", "ferris"), ("reason", "end_of_input")]);
    // It takes some more, and resets.
    last.read_bytes(70_000);
    (0..10).for_each(|_| assert_eq!(tux.ask("who ferris"), NO_USERS, "its core has looked"));
    last.reset();
    say_much(&server, &mut tux);
}
