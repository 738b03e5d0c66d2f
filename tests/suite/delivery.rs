//! Messages on their way: whole, in order, once, to their receivers, and never at the cost of another connection.

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;

use crate::support::{
    Client, GUARD, NO_USERS, ROOMY, SENDQ_BYTES_MIN, Server, all_cows, connect_narrow, count_of, message, numbered,
    picture, wait_until,
};

/// What one client reads: replies to its own lines, and messages.
#[derive(Debug, PartialEq)]
enum Read {
    Reply(String),
    Message { from: String, private: bool, text: String },
}

/// Reads one reply or one whole message of a one-line bubble, which must be charasay's to the byte.
fn read(client: &mut Client) -> Read {
    let line = client.read_line();
    let Some((from, rest)) = line.split_once(" says") else { return Read::Reply(line) };
    let private = rest == " to you:";
    client.read_line();
    let middle = client.read_line();
    let text = middle.strip_prefix("<  ").and_then(|rest| rest.strip_suffix("  >")).expect("a bubble of one line");
    let drawn = picture(from, text);
    let body = drawn.splitn(3, '\n').nth(2).expect("three lines of bubble");
    client.expect(body);
    Read::Message { from: from.to_owned(), private, text: text.to_owned() }
}

/// A client sends `count` lines, in turn a say to the next in the ring and a yield, and reads what is due to it: a reply
/// for each, and numbered messages from each of the others.
fn talk(mut client: Client, me: usize, cows: &[&str], count: usize) {
    let neighbour = cows[(me + 1) % cows.len()];
    let line = |n: usize| match n % 2 {
        0 => format!("say {neighbour} {n}\n"),
        _ => format!("yield {n}\n"),
    };
    let lines: String = (0..count).map(line).collect();
    let mut sender = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || sender.write_all(lines.as_bytes()).expect("the server reads"));
        let before = cows[(me + cows.len() - 1) % cows.len()];
        let yields = count / 2;
        let due = count + (cows.len() - 1) * yields + (count - yields);
        let mut last: HashMap<String, usize> = HashMap::new();
        for _ in 0..due {
            let Read::Message { from, private, text } = read(&mut client) else { continue };
            let number: usize = text.parse().expect("a number");
            assert_eq!(private, number.is_multiple_of(2), "{from}'s {number}");
            assert!(!private || from == before, "{from}'s {number} is not for {}", cows[me]);
            let previous = last.insert(from.clone(), number);
            assert!(previous < Some(number), "{from}'s {number} comes after {previous:?}");
            // The neighbour's messages come without a gap, those of the others are every second one.
            let expected = if from == before { previous.map_or(0, |n| n + 1) } else { previous.map_or(1, |n| n + 2) };
            assert_eq!(number, expected, "{} has missed some of {from}'s", cows[me]);
        }
        assert_eq!(client.ask("quit"), "Goodbye.", "nothing more is due");
    });
}

#[test]
fn says_and_yields_arrive_once_and_in_order_across_cores() {
    let server = Server::with(&["--sendq-bytes-max", ROOMY]);
    let cows = ["chocobo", "clefairy", "eevee", "flareon", "growlithe", "piplup", "psyduck", "tux"];
    let clients: Vec<Client> = cows.iter().enumerate().map(|(n, cow)| server.login_on(n % 2, cow)).collect();
    thread::scope(|scope| {
        for (me, client) in clients.into_iter().enumerate() {
            scope.spawn(move || talk(client, me, &cows, 100));
        }
    });
}

/// `COWCHAT_TALKERS` says how many talkers there are (default 8), and `COWCHAT_NUMBERS` how many lines each sends (default
/// 320): in turn a `say` to the next one and a `yield`, and at most 32 before all have read those.
#[test]
fn numbered_messages_arrive_once_in_order_and_none_is_lost() {
    const AHEAD: usize = 32;
    let (talkers, lines) = (count_of("COWCHAT_TALKERS", 8), count_of("COWCHAT_NUMBERS", 320).next_multiple_of(AHEAD));
    let server = Server::with(&["--art", "off", "--herd", &talkers.to_string()]);
    let name = |n: usize| numbered("tux", n + 1);
    let number = |cow: &str| cow.strip_prefix("tux#").map_or(0, |n| n.parse::<usize>().expect("a number") - 1);
    // The kernel gives each connection to a core.
    let clients: Vec<Client> = (0..talkers).map(|n| server.login(&name(n))).collect();
    // How much of each talker's has been read. The reader of the last of its 32 lines lets the talker go on.
    let read: Vec<AtomicUsize> = (0..talkers).map(|_| AtomicUsize::new(0)).collect();
    let (all_read, goes_on): (Vec<_>, Vec<_>) = (0..talkers).map(|_| mpsc::channel()).unzip();
    thread::scope(|scope| {
        for ((me, mut client), goes_on) in clients.into_iter().enumerate().zip(goes_on) {
            let mut sender = client.writer();
            let neighbour = name((me + 1) % talkers);
            scope.spawn(move || {
                for first in (0..lines).step_by(AHEAD) {
                    let line = |n: usize| match n % 2 {
                        0 => format!("say {neighbour} {n}\n"),
                        _ => format!("yield {n}\n"),
                    };
                    let lines: String = (first..first + AHEAD).map(line).collect();
                    sender.write_all(lines.as_bytes()).expect("the server reads");
                    goes_on.recv_timeout(GUARD).expect("all of it is read");
                }
            });
            let (all_read, read) = (&all_read, &read);
            scope.spawn(move || {
                let before = (me + talkers - 1) % talkers;
                // Of that one all lines, of the others what they yield.
                let mut next: Vec<usize> = (0..talkers).map(|from| usize::from(from != before)).collect();
                for _ in 0..2 * lines + (talkers - 2) * lines / 2 {
                    let line = client.read_line();
                    let Some((from, said)) = line.split_once(" says") else {
                        assert!(line.starts_with("Sent to "), "{line}");
                        continue;
                    };
                    let from = number(from);
                    let private = next[from].is_multiple_of(2);
                    let expected = format!("{}: {}", if private { " to you" } else { "" }, next[from]);
                    assert_eq!(said, expected, "what {} reads of {}", name(me), name(from));
                    next[from] += if from == before { 1 } else { 2 };
                    if (read[from].fetch_add(1, Relaxed) + 1).is_multiple_of(AHEAD / 2 * talkers) {
                        all_read[from].send(()).expect("it waits for that");
                    }
                }
                assert_eq!(client.ask("quit"), "Goodbye.", "nothing more is due");
            });
        }
    });
    let messages: usize = read.into_iter().map(AtomicUsize::into_inner).sum();
    println!("figure: {talkers} talkers, {lines} lines each, {messages} messages, none lost, repeated or out of order");
}

#[test]
fn full_mailboxes_throttle_and_neither_deadlock_nor_drop() {
    let server = Server::with(&["--sendq-bytes-max", ROOMY, "--mailbox-frames", "1"]);
    let cows = ["eevee", "piplup", "psyduck", "togepi"];
    let clients: Vec<Client> = cows.iter().enumerate().map(|(n, cow)| server.login_on(n % 2, cow)).collect();
    thread::scope(|scope| {
        for (me, client) in clients.into_iter().enumerate() {
            scope.spawn(move || talk(client, me, &cows, 300));
        }
    });
}

#[test]
fn a_message_is_what_charasay_draws_around_any_text() {
    let server = Server::start();
    let mut tux = server.login_on(0, "tux");
    for (core, cow) in [(0, "mew"), (1, "kirby")] {
        let mut receiver = server.login_on(core, cow);
        for (text, lines) in [
            ("hi there", "hi there"),
            (
                "a somewhat longer message, which does not fit into forty columns and is wrapped",
                "a somewhat longer message, which does\nnot fit into forty columns and is\nwrapped",
            ),
            ("  leading blanks", "  leading blanks"),
            ("it's ok", "it's ok"),
            ("wide 世界 and combining e\u{301}", "wide 世界 and combining e\u{301}"),
            ("世界".repeat(15).as_str(), &format!("{}\n{}", "世界".repeat(10), "世界".repeat(5))),
            (
                "see https://example.org/a/very/long/path/that/is-cut-at-the-width now",
                "see\nhttps://example.org/a/very/long/path/tha\nt/is-cut-at-the-width now",
            ),
            (
                "onewordthatislongerthanfortycolumnsandmustbebrokensomewhereinbetween",
                "onewordthatislongerthanfortycolumnsandmu\nstbebrokensomewhereinbetween",
            ),
            (
                "Вчера забор у реки опять упал, и половина из нас пошла посмотреть.",
                "Вчера забор у реки опять упал, и\nполовина из нас пошла посмотреть.",
            ),
        ] {
            assert_eq!(tux.ask(&format!("say {cow} {text}")), format!("Sent to {cow}"));
            receiver.expect_message("tux", true, lines);
        }
    }
}

#[test]
fn a_message_is_ascii_when_its_text_is() {
    let server = Server::start();
    for cow in all_cows() {
        let mut client = server.connect().logged_in(cow);
        assert_eq!(client.ask(&format!("say {cow} ~moo~")), format!("Sent to {cow}"));
        let block = client.read_bytes(message(cow, true, "~moo~").len());
        assert!(block.is_ascii(), "{cow}");
    }
}

#[test]
fn a_say_to_oneself_comes_between_its_reply_and_the_next() {
    let server = Server::start();
    for core in [0, 1] {
        let mut client = server.login_on(core, "tux");
        client.send_raw(b"say tux one\nwho\nsay tux two\nwho\n");
        for text in ["one", "two"] {
            assert_eq!(client.read_line(), "Sent to tux");
            client.expect_message("tux", true, text);
            assert_eq!(client.read_line(), "Registered users: tux");
        }
        assert_eq!(client.ask("quit"), "Goodbye.");
    }
}

#[test]
fn a_yield_counts_and_reaches_the_others_on_every_core() {
    let server = Server::start();
    let mut clients: Vec<Client> = vec![server.login_on(0, "tux")];
    assert_eq!(clients[0].ask("yield hello"), "Sent to 0 cows");
    for (n, cow) in ["mew", "nemo", "aya", "cow"].into_iter().enumerate() {
        clients.push(server.login_on(n % 2, cow));
        let cows = if n == 0 { "1 cow".to_owned() } else { format!("{} cows", n + 1) };
        assert_eq!(clients[0].ask("yield moo"), format!("Sent to {cows}"));
        for client in &mut clients[1..] {
            client.expect_message("tux", false, "moo");
        }
    }
    assert_eq!(clients[0].ask("who"), "Registered users: aya, cow, mew, nemo, tux", "nothing came back");
}

#[test]
fn through_a_small_window_every_message_arrives_whole() {
    let server = Server::with(&["--sendq-bytes-max", ROOMY]);
    let mut receiver = connect_narrow(server.address).logged_in("mew");
    let mut near = server.login_on(0, "tux");
    let mut far = server.login_on(1, "aya");
    let expected: String = (0..20)
        .map(|n| {
            assert_eq!(near.ask(&format!("say mew {n}")), "Sent to mew");
            assert_eq!(far.ask(&format!("say mew {n}")), "Sent to mew");
            message("tux", true, &n.to_string()) + &message("aya", true, &n.to_string())
        })
        .collect();
    // Both senders' messages come in some order; each is whole, and each sender's are in order.
    let (mut next_near, mut next_far, mut length) = (0, 0, 0);
    while length < expected.len() {
        let Read::Message { from, text, .. } = read(&mut receiver) else { panic!("a message") };
        let next = if from == "tux" { &mut next_near } else { &mut next_far };
        assert_eq!(text, next.to_string());
        *next += 1;
        length += message(&from, true, &text).len();
    }
    assert_eq!((next_near, next_far), (20, 20));
}

#[test]
fn a_slow_consumer_is_cut_with_a_prefix_and_delays_no_other() {
    let server = Server::with(&["--sendq-bytes-max", SENDQ_BYTES_MIN]);
    for core in [0, 1] {
        let mut slow = connect_narrow(server.address).logged_in("mew");
        let mut tux = server.login_on(core, "tux");
        let mut witness = server.login_on(core, "aya");
        let mut sent = String::new();
        // Many times what the kernel and twice the limit take.
        let cut = (0..10_000).find(|n| {
            let reply = tux.ask(&format!("say mew {n}"));
            match reply.as_str() {
                "Sent to mew" => sent += &message("tux", true, &n.to_string()),
                _ => assert_eq!(reply, "error: cow mew is not logged in"),
            }
            assert_eq!(tux.ask(&format!("say aya {n}")), "Sent to aya");
            witness.expect_message("tux", true, &n.to_string());
            reply != "Sent to mew"
        });
        assert!(cut > Some(5), "it was cut only after its queue was full");
        server.log_event("closed", &[("cow", "mew"), ("reason", "slow_consumer")]);
        let got = slow.read_until_cut();
        assert!(sent.as_bytes().starts_with(&got), "{} bytes of {} are a prefix", got.len(), sent.len());
        let again = server.login("mew");
        for mut client in [tux, witness, again] {
            client.send("quit");
            client.read_to_end();
        }
    }
}

#[test]
fn pipelined_lines_are_all_answered_through_a_small_window() {
    let server = Server::start();
    let mut client = connect_narrow(server.address);
    let mut sender = client.writer();
    let lines = "who\n".repeat(20_000);
    thread::scope(|scope| {
        scope.spawn(move || sender.write_all(lines.as_bytes()).expect("the server reads on"));
        for n in 0..20_000 {
            assert_eq!(client.read_line(), NO_USERS, "reply {n}");
        }
        assert_eq!(client.ask("quit"), "Goodbye.");
        assert_eq!(client.read_to_end(), "");
    });
}

#[test]
fn a_stalled_reader_is_cut_for_messages_and_not_for_replies() {
    let server = Server::with(&["--sendq-stall", "1s", "--sendq-bytes-max", ROOMY]);
    // Both read nothing any more: one has its own replies to read, the other messages.
    let mut own = connect_narrow(server.address).logged_in("aya");
    let asker = own.writer();
    let lines = "cows\n".repeat(5_000);
    thread::scope(|scope| {
        scope.spawn(move || (&mut &asker).write_all(lines.as_bytes()).expect("the server reads on"));
        let _stalled = connect_narrow(server.address).logged_in("mew");
        let mut tux = server.login("tux");
        for n in 0..200 {
            let reply = tux.ask(&format!("say mew {n}"));
            assert!(reply == "Sent to mew" || reply == "error: cow mew is not logged in", "{reply}");
        }
        assert_eq!(server.log_event("closed", &[("cow", "mew")]).field("reason"), "stalled");
        for _ in 0..5_000 {
            assert!(own.read_line().starts_with("Available cow names: "));
        }
        assert_eq!(own.ask("quit"), "Goodbye.");
    });
}

#[test]
fn a_slow_reader_that_quits_and_types_on_gets_all_replies() {
    let server = Server::start();
    let mut witness = server.login("tux");
    let mut reader = connect_narrow(server.address).logged_in("ferris");
    // So many bytes that the kernel takes them at once, and the peer's does not.
    let reply = "Registered users: ferris, tux\n";
    let count = 60_000 / reply.len();
    reader.send_raw(("who\n".repeat(count) + "quit\n").as_bytes());
    wait_until_free(&mut witness, "ferris");
    // A connection whose peer has acknowledged all output lingers for a moment. The second begins when the first is over,
    // so the reader's moment would be over by then.
    for mut witness in [witness, server.login("kirby")] {
        let open = server.descriptors();
        assert_eq!(witness.ask("quit"), "Goodbye.");
        assert_eq!(witness.read_to_end(), "");
        server.wait_for_descriptors(open - 1);
    }
    let got = reader.read_to_end_while_typing();
    assert!(got == reply.repeat(count) + "Goodbye.\n", "{} of {count} replies", got.matches('\n').count());
}

#[test]
fn a_receiver_that_closes_during_a_message_harms_no_other() {
    let server = Server::with(&["--sendq-bytes-max", ROOMY]);
    let mut tux = server.login_on(0, "tux");
    for n in 0..20 {
        let receiver = server.login_on(n % 2, "mew");
        for _ in 0..20 {
            tux.send("say mew moo");
        }
        receiver.reset();
        for _ in 0..20 {
            let reply = tux.read_line();
            assert!(reply == "Sent to mew" || reply == "error: cow mew is not logged in", "{reply}");
        }
        wait_until_free(&mut tux, "mew");
    }
    assert_eq!(tux.ask("who"), "Registered users: tux");
}

#[test]
fn a_receiver_that_closes_with_a_full_queue_leaves_nothing() {
    let server = Server::with(&["--sendq-bytes-max", SENDQ_BYTES_MIN, "--herd", "2"]);
    let mut talker = server.login("tux");
    let before = server.descriptors();
    for messages in (20..60).step_by(2) {
        let reader = connect_narrow(server.address).logged_in("ferris");
        talker.send_raw("yield moo\n".repeat(messages).as_bytes());
        (0..messages).for_each(|_| drop(talker.read_line()));
        // Unless it has been cut by now.
        let _ = reader.stream().shutdown(Shutdown::Write);
        wait_until_free(&mut talker, "ferris");
        reader.reset();
    }
    server.wait_for_descriptors(before);
}

/// Asks until the cow is free.
fn wait_until_free(client: &mut Client, cow: &str) {
    wait_until(|| client.ask(&format!("who {cow}")) == NO_USERS, &format!("{cow} is not free"));
}

/// Ends a connection, also when a test fails, so that a thread that writes to it ends.
struct Ended<'c>(&'c Client);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = self.0.stream().shutdown(Shutdown::Both);
    }
}

#[test]
fn endless_input_does_not_keep_a_core_from_others() {
    let server = Server::start();
    // Lines so long that one read has fewer than a turn allows, and an endless line.
    for flood in [format!("say {}\n", "x".repeat(296)).repeat(200), "x".repeat(60_000)] {
        let flooder = server.connect();
        let mut victim = server.connect_on(server.core_of(&flooder));
        thread::scope(|scope| {
            let _ended = Ended(&flooder);
            scope.spawn(|| while flooder.stream().write_all(flood.as_bytes()).is_ok() {});
            scope.spawn(|| std::io::copy(&mut flooder.stream(), &mut std::io::sink()));
            for n in 0..200 {
                assert_eq!(victim.ask("who"), NO_USERS, "question {n}");
            }
        });
    }
}

#[test]
fn a_message_longer_than_the_send_queue_reaches_a_reader() {
    let server = Server::with(&["--line-bytes-max", "65536", "--sendq-bytes-max", SENDQ_BYTES_MIN]);
    let mut tux = server.login("tux");
    for core in [0, 1] {
        let mut mew = server.login_on(core, "mew");
        let text = "moo ".repeat(12_000).trim_end().to_owned();
        assert_eq!(tux.ask(&format!("say mew {text}")), "Sent to mew");
        mew.expect_message("tux", true, &text);
        mew.quit();
    }
}

#[test]
fn a_paste_of_64_lines_cuts_no_reader() {
    let server = Server::start();
    // Largest pictures, and 64 of them are twice what a send queue holds.
    let mut mew = server.login_on(0, "mew");
    let readers: Vec<Client> =
        ["aya", "cow", "kirby", "tux"].iter().enumerate().map(|(n, cow)| server.login_on(n % 2, cow)).collect();
    thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                for n in 0..64 {
                    reader.expect_message("mew", false, &n.to_string());
                }
            });
        }
        mew.send_raw((0..64).map(|n| format!("yield {n}\n")).collect::<String>().as_bytes());
        (0..64).for_each(|_| assert_eq!(mew.read_line(), "Sent to 4 cows"));
    });
}
