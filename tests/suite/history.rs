//! What was said to all, shown to a user that asks: how much of it, in which order, and to which connection.

use crate::support::{Client, ROOMY, Server, message, picture};

/// Replies of at most this many bytes, and messages; `limits` has the reasons.
const BYTES_MAX: usize = 128 * 1024;
const MESSAGES_MAX: usize = 50;

fn history(messages: usize) -> Server {
    Server::with(&["--history", &messages.to_string()])
}

/// Yields, and has the answer.
fn say_to_all(client: &mut Client, text: &str) {
    let reply = client.ask(&format!("yield {text}"));
    assert!(reply.starts_with("Sent to "), "{reply}");
}

/// Asks by `line`, and must get these messages, each drawn as a whole.
fn expect_history(client: &mut Client, line: &str, blocks: &[String]) {
    let messages = if blocks.len() == 1 { "message" } else { "messages" };
    assert_eq!(client.ask(line), format!("History: {} {messages}", blocks.len()), "{line}");
    blocks.iter().for_each(|block| client.expect(block));
    // And nothing after them.
    assert_eq!(client.ask("nosuch"), "error: unknown command nosuch (try help)");
}

fn one_line(from: &str, text: impl std::fmt::Display) -> String {
    format!("{from} says: {text}\n")
}

#[test]
fn there_is_no_history_unless_the_server_keeps_one() {
    for flags in [&[][..], &["--history", "0"]] {
        let server = Server::with(flags);
        let mut client = server.connect();
        for line in ["history", "history 3", "history x"] {
            assert_eq!(client.ask(line), "error: login first");
        }
        let mut client = client.logged_in("tux");
        say_to_all(&mut client, "hi");
        for line in ["history", "history 0", "history 3"] {
            assert_eq!(client.ask(line), "error: history is off");
        }
        assert_eq!(client.ask("history x"), "error: usage: history [N]");
        assert!(!client.ask("help all").contains("history"));
    }
    let server = history(1);
    assert!(server.connect().ask("help all").contains(", history [N], "));
}

#[test]
fn history_has_all_yields_oldest_first_and_nothing_private() {
    let server = history(100);
    for core in [0, 1] {
        let mut guest = server.connect_on(core);
        for line in ["history", "history 3", "history x"] {
            assert_eq!(guest.ask(line), "error: login first");
        }
    }
    let mut tux = server.login_on(0, "tux");
    expect_history(&mut tux, "history", &[]);
    say_to_all(&mut tux, "alone");
    expect_history(&mut tux, "history", &[message("tux", false, "alone")]);
    let mut mew = server.login_on(0, "mew");
    assert_eq!(tux.ask("say mew secret"), "Sent to mew");
    mew.expect_message("tux", true, "secret");
    assert_eq!(mew.ask("say mew note"), "Sent to mew");
    mew.expect_message("mew", true, "note");
    say_to_all(&mut mew, "moo");
    tux.expect_message("mew", false, "moo");
    say_to_all(&mut tux, "'it has  quotes'");
    mew.expect_message("tux", false, "it has  quotes");
    let expected =
        [message("tux", false, "alone"), message("mew", false, "moo"), message("tux", false, "it has  quotes")];
    let mut late = server.login_on(0, "kirby");
    // The user that has said it may have left.
    assert_eq!(tux.ask("quit"), "Goodbye.");
    for client in [&mut mew, &mut late] {
        expect_history(client, "history", &expected);
        expect_history(client, "history 2", &expected[1..]);
    }
}

#[test]
fn history_comes_in_the_art_and_with_the_id_of_its_request() {
    let server = Server::with(&["--history", "9", "--herd", "2", "--no-header"]);
    let mut client = server.login("tux#2");
    say_to_all(&mut client, "hi");
    expect_history(&mut client, "history", &[picture("tux", "hi")]);
    assert_eq!(client.ask("art off"), "Art is off");
    expect_history(&mut client, "history", &[one_line("tux#2", "hi")]);
    say_to_all(&mut client, "moo");
    assert_eq!(client.ask("art color"), "Art is color");
    expect_history(&mut client, "history", &[picture("tux", "hi"), picture("tux", "moo")]);
    // The reply has the line's id, and no message one of its own.
    assert_eq!(client.ask("7 history 2"), "7 History: 2 messages");
    for text in ["hi", "moo"] {
        client.expect(&format!("0 tux#2 says:\n{}", picture("tux", text)));
    }
    assert_eq!(client.ask("art off"), "Art is off");
    assert_eq!(client.ask("8 history 1"), "8 History: 1 message");
    client.expect("0 tux#2 says: moo\n");
    assert_eq!(client.ask("9 history x"), "9 error: usage: history [N]");
}

#[test]
fn a_number_says_how_many_and_what_is_no_number_is_refused() {
    let server = Server::with(&["--history", "100", "--art", "off"]);
    let mut client = server.login("tux");
    let all: Vec<String> = (0..60).map(|n| one_line("tux", n)).collect();
    (0..49).for_each(|n| say_to_all(&mut client, &n.to_string()));
    expect_history(&mut client, "history", &all[..49]);
    (49..60).for_each(|n| say_to_all(&mut client, &n.to_string()));
    let last = |count: usize| &all[60 - count..];
    for (count, expected) in [("0", 0), ("00", 0), ("1", 1), ("007", 7), ("49", 49), ("50", 50), ("51", 50)] {
        expect_history(&mut client, &format!("history {count}"), last(expected));
    }
    for line in ["history".to_owned(), " HISTORY  50 ".to_owned(), format!("history {}", "9".repeat(100))] {
        expect_history(&mut client, &line, last(MESSAGES_MAX));
    }
    for bad in ["-1", "+1", "x", "1x", "1.5", "1 2", "0x10", "١"] {
        assert_eq!(client.ask(&format!("history {bad}")), "error: usage: history [N]", "{bad}");
    }
}

#[test]
fn no_more_is_kept_than_the_server_was_asked_to_keep() {
    for kept in [1, 3] {
        let server = Server::with(&["--history", &kept.to_string(), "--art", "off"]);
        let mut client = server.login("tux");
        let all: Vec<String> = (0..5).map(|n| one_line("tux", n)).collect();
        for n in 0..5 {
            say_to_all(&mut client, &n.to_string());
            let first = (n + 1_usize).saturating_sub(kept);
            expect_history(&mut client, "history", &all[first..=n]);
        }
    }
}

#[test]
fn a_reply_has_as_many_messages_as_fit_into_128_kib() {
    let server = history(100);
    let mut client = server.login("tux");
    let text = |n: usize| format!("{n} {}", "moo ".repeat(990)).trim_end().to_owned();
    let blocks: Vec<String> = (10..50).map(|n| message("tux", false, &text(n))).collect();
    (10..50).for_each(|n| say_to_all(&mut client, &text(n)));
    let fitting = BYTES_MAX / blocks[0].len();
    assert!(fitting < blocks.len() && blocks.iter().all(|block| block.len() == blocks[0].len()));
    expect_history(&mut client, "history", &blocks[blocks.len() - fitting..]);
    expect_history(&mut client, "history 2", &blocks[blocks.len() - 2..]);
    // By what it takes in the asker's art.
    assert_eq!(client.ask("art off"), "Art is off");
    let fitting = BYTES_MAX / one_line("tux", text(10)).len();
    let lines: Vec<String> = (10..50).map(|n| one_line("tux", text(n))).collect();
    expect_history(&mut client, "history", &lines[lines.len() - fitting..]);
}

#[test]
fn both_cores_remember_what_was_said_on_either() {
    let server = Server::with(&["--history", "100", "--art", "off"]);
    let mut users = [server.login_on(0, "tux"), server.login_on(1, "mew")];
    let mut expected = Vec::new();
    for n in 0..20 {
        let (sender, receiver) = (n % 2, 1 - n % 2);
        say_to_all(&mut users[sender], &n.to_string());
        expected.push(one_line(["tux", "mew"][sender], n));
        users[receiver].expect(&expected[n]);
    }
    let late = [server.login_on(0, "aya"), server.login_on(1, "cow")];
    for client in users.iter_mut().chain(&mut late.into_iter().collect::<Vec<_>>()) {
        expect_history(client, "history", &expected);
    }
}

#[test]
fn history_has_the_order_that_users_of_the_core_saw() {
    let server = Server::with(&["--history", "100", "--art", "off", "--sendq-bytes-max", ROOMY]);
    let mut talkers = [server.login_on(0, "tux"), server.login_on(1, "mew"), server.login_on(1, "kirby")];
    let mut witnesses = [server.login_on(0, "aya"), server.login_on(1, "cow")];
    // All at once, and more than a reply has.
    let lines: String = (0..40).map(|n| format!("yield {n}\n")).collect();
    talkers.iter_mut().for_each(|talker| talker.send_raw(lines.as_bytes()));
    for witness in &mut witnesses {
        let seen: Vec<String> = (0..3 * 40).map(|_| witness.read_line() + "\n").collect();
        expect_history(witness, "history", &seen[seen.len() - MESSAGES_MAX..]);
    }
}
