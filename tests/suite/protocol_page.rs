//! The protocol page is true: its tables of lines and replies and its transcripts are run against a server, and its reasons
//! are those of the code. The table of commands is compared in `src/protocol/command.rs`; no test reads the prose.

use std::collections::HashMap;

use crate::support::{Client, Server, picture};
use cowchat::close_reason::CloseReason;
use cowchat::limits::LOGIN_TIMEOUT;
use cowchat::protocol::refusal::Refusal;

const PAGE: &str = include_str!("../../src/protocol/PROTOCOL.md");

/// A row of a table: the sender, its line and the reply.
struct Row {
    who: &'static str,
    sends: &'static str,
    gets: String,
}

/// The tables' rows by the flags of their server: those that the page names last before.
fn tables() -> Vec<(Vec<&'static str>, Vec<Row>)> {
    let mut tables: Vec<(Vec<&str>, Vec<Row>)> = Vec::new();
    for line in PAGE.lines() {
        if let Some((_, command)) = line.split_once("`cowchat serve") {
            let flags = command.split('`').next().expect("code ends").split_whitespace();
            tables.push((flags.collect(), Vec::new()));
        }
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let (who, sends, gets) = match row.split(" | ").collect::<Vec<_>>()[..] {
            [who, sends, gets] => (who, sends, gets),
            // The table of commands.
            [_, _, _, _] => continue,
            _ => panic!("not a row: {row}"),
        };
        let code = |cell: &'static str| cell.strip_prefix('`')?.strip_suffix('`');
        // Neither the head of a table nor the table of reasons is in code quotes.
        let (Some(sends), Some(gets)) = (code(sends), code(gets)) else { continue };
        // A table escapes bars.
        let row = Row { who, sends, gets: gets.replace("\\|", "|") };
        tables.last_mut().expect("a table is for a server").1.push(row);
    }
    tables
}

/// The transcripts, each as its lines: the client, `>` or `<`, and the text.
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
fn every_row_of_a_table_gets_its_reply() {
    let tables = tables();
    let rows: Vec<usize> = tables.iter().map(|(_, rows)| rows.len()).collect();
    assert!(rows.len() == 2 && rows.iter().all(|&rows| rows > 25), "the page has its tables: {rows:?} rows");
    for (flags, rows) in tables {
        let server = Server::with(&flags);
        let _ferris = server.login("ferris");
        for Row { who, sends, gets } in rows {
            let mut client = server.connect();
            if who == "tux" {
                client = client.logged_in("tux");
            }
            client.send_raw(&[unescape(sends), b"\nhelp\n".to_vec()].concat());
            let expected = String::from_utf8(unescape(&gets)).expect("replies are UTF-8");
            assert_eq!(client.read_line(), expected, "{who} sends {sends:?}");
            if !expected.ends_with("Goodbye.") {
                assert!(client.read_line().starts_with("commands: "), "exactly one line answers {sends:?}");
            }
            client.half_close();
            assert_eq!(client.read_to_end(), "", "{who} sends {sends:?}");
        }
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
                ('>', _, _) => client.send_raw(&[unescape(text), b"\n".to_vec()].concat()),
                (_, "(end)", _) => assert_eq!(client.read_to_end(), "", "{name}"),
                (_, _, Some((cow, said))) => client.expect(&picture(cow, said)),
                _ => assert_eq!(
                    client.read_line_bytes().escape_ascii().to_string(),
                    unescape(text).escape_ascii().to_string(),
                    "{name}"
                ),
            }
        }
    }
}

#[test]
fn every_close_reason_is_in_its_table_with_its_last_line() {
    let (_, section) = PAGE.split_once("# How a connection ends").expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<(&str, &str)> = rows
        .map(|row| match row.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>()[..] {
            [reason, _, last_line] => (reason, last_line),
            _ => panic!("not a row: {row}"),
        })
        .collect();
    let reasons = CloseReason::ALL.map(|reason| {
        let last_line = reason.last_line(LOGIN_TIMEOUT);
        (reason.key(), last_line.map_or("none".to_owned(), |line| format!("`{}`", line.trim_end())))
    });
    assert_eq!(rows.len(), reasons.len());
    for ((reason, last_line), row) in reasons.into_iter().zip(rows) {
        assert_eq!(row.0, reason);
        let reply = row.1.strip_prefix("none but `").and_then(|reply| reply.strip_suffix('`'));
        let is_its_reply = match reason {
            "quit" => reply == Some("Goodbye."),
            "wrong_protocol" => reply == Some(&format!("error: {}", Refusal::Foreign)),
            _ => false,
        };
        assert!(row.1 == last_line || is_its_reply, "{row:?}");
    }
}

#[test]
fn every_command_of_the_page_has_a_line_and_its_reply() {
    let tables = tables();
    let commands = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let words: Vec<&str> = commands.filter_map(|usage| usage.split([' ', '`', ',']).next()).collect();
    assert!(words.len() >= 10, "{words:?}");
    for word in words {
        let mut rows = tables.iter().flat_map(|(_, rows)| rows);
        assert!(rows.any(|row| row.sends.starts_with(word)), "{word}");
    }
}
