//! The protocol's page is true: its tables and its conversation are run against a server.

mod support;

use std::collections::HashMap;

use support::{Client, Server, picture};

const PAGE: &str = include_str!("../src/protocol/PROTOCOL.md");

/// The rows of the command table: who sends, what, and gets which reply.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.filter_map(|row| {
        let [who, sends, gets] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("not a row: {row}") };
        // The head of the table is not in code quotes.
        Some((who, sends.strip_prefix('`')?.strip_suffix('`')?, gets.strip_prefix('`')?.strip_suffix('`')?))
    });
    cells.collect()
}

/// The blocks of a conversation, each as its lines: whose, `>` or `<`, and what.
fn conversations() -> Vec<Vec<(&'static str, char, &'static str)>> {
    let blocks = PAGE.split("```text\n").skip(1).map(|block| block.split("```").next().expect("an end"));
    let conversations = blocks.filter(|block| block.starts_with("a> "));
    conversations.map(|block| block.lines().map(turn).collect()).collect()
}

fn turn(line: &'static str) -> (&'static str, char, &'static str) {
    let (name, rest) = line.split_at(line.find(['>', '<']).expect("a> or a<"));
    (name, rest.chars().next().expect("> or <"), rest[1..].strip_prefix(' ').expect("one blank"))
}

/// Bytes as the page writes them: `\t`, `\r` and `\x1b` stand for one byte each.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, length) = match (byte, after.first()) {
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'x')) => {
                let digits = std::str::from_utf8(&after[1..3]).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("hexadecimal"), 4)
            }
            _ => (byte, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[test]
fn every_row_of_the_table_gets_the_reply_that_stands_beside_it() {
    let rows = rows();
    assert!(rows.len() > 40, "the page has a table: {} rows", rows.len());
    let server = Server::start();
    let _ferris = server.login("ferris");
    for (who, sends, gets) in rows {
        let mut client = server.connect();
        if who == "tux" {
            client = client.logged_in("tux");
        }
        client.send_raw(&[unescape(sends), b"\nhelp\n".to_vec()].concat());
        let expected = String::from_utf8(unescape(gets)).expect("replies are UTF-8");
        assert_eq!(client.read_line(), expected, "{who} sends {sends:?}");
        if expected != "Goodbye." {
            assert!(client.read_line().starts_with("commands: "), "exactly one line answers {sends:?}");
        }
        client.half_close();
        assert_eq!(client.read_to_end(), "", "{who} sends {sends:?}");
    }
}

#[test]
fn every_conversation_goes_as_it_is_written() {
    let conversations = conversations();
    assert!(!conversations.is_empty(), "the page has a conversation");
    for conversation in conversations {
        let server = Server::start();
        let mut clients: HashMap<&str, Client> = HashMap::new();
        for (name, direction, text) in conversation {
            let client = clients.entry(name).or_insert_with(|| server.connect());
            let drawing = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')?.split_once(": "));
            match (direction, text, drawing) {
                ('>', _, _) => client.send(text),
                (_, "(end)", _) => assert_eq!(client.read_to_end(), "", "{name}"),
                (_, _, Some((cow, said))) => client.expect(&picture(cow, said)),
                _ => assert_eq!(client.read_line(), text, "{name}"),
            }
        }
    }
}

#[test]
fn the_page_names_every_command_and_its_usage() {
    for usage in cowchat::protocol::reply::HELP.trim_start_matches("commands: ").split(", ") {
        let word = usage.split(' ').next().expect("a word");
        assert!(rows().iter().any(|(_, sends, _)| sends.starts_with(word)), "{word} is in the table");
    }
}
