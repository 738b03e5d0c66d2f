//! `cowchat connect` is a netcat for this server: what comes on stdin is sent, what the server says is printed
//! at once and byte for byte, and the exit code says whether there was a server to talk to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{ChildStdin, ChildStdout, Command};

use crate::support::{Guarded, LAST_LINE, Server, all_cows, cowchat, message};

const NO_USERS_LINE: &str = "Registered users: (none)\n";

fn connect_to(address: SocketAddr) -> Command {
    let mut command = cowchat();
    command.args(["connect", &address.to_string()]);
    command
}

/// A running client, its stdin and its stdout.
fn talk(server: &Server) -> (Guarded, ChildStdin, BufReader<ChildStdout>) {
    let mut client = Guarded::spawn(&mut connect_to(server.address));
    let stdin = client.child.stdin.take().expect("piped");
    let stdout = BufReader::new(client.child.stdout.take().expect("piped"));
    (client, stdin, stdout)
}

/// What a client prints and says on stderr, and its exit code, when it is given `input` and then the end.
fn run(command: &mut Command, input: &[u8]) -> (String, String, Option<i32>) {
    let mut client = Guarded::spawn(command);
    let mut stdin = client.child.stdin.take().expect("piped");
    let mut stdout = client.child.stdout.take().expect("piped");
    let mut stderr = client.child.stderr.take().expect("piped");
    let (mut printed, mut complaint) = (String::new(), String::new());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A client without a server does not read.
            let _ = stdin.write_all(input);
        });
        scope.spawn(|| stderr.read_to_string(&mut complaint).expect("text"));
        stdout.read_to_string(&mut printed).expect("text");
    });
    (printed, complaint, client.wait())
}

fn line(stdout: &mut impl BufRead) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    line
}

#[test]
fn piped_lines_are_answered_and_the_end_of_input_ends_it() {
    let server = Server::start();
    let (printed, complaint, code) = run(&mut connect_to(server.address), b"who\nlogin tux\nwho\n");
    assert_eq!(printed, format!("{NO_USERS_LINE}Logged in as tux\nRegistered users: tux\n"));
    assert_eq!((complaint.as_str(), code), ("", Some(0)));
}

#[test]
fn a_last_line_without_lf_is_answered_too() {
    let server = Server::start();
    assert_eq!(run(&mut connect_to(server.address), b"who"), (NO_USERS_LINE.to_owned(), String::new(), Some(0)));
}

#[test]
fn no_input_at_all_is_no_error() {
    let server = Server::start();
    assert_eq!(run(&mut connect_to(server.address), b""), (String::new(), String::new(), Some(0)));
}

#[test]
fn more_lines_than_any_buffer_holds_are_all_answered() {
    let server = Server::start();
    let (printed, complaint, code) = run(&mut connect_to(server.address), "who\n".repeat(50_000).as_bytes());
    assert_eq!((complaint.as_str(), code), ("", Some(0)));
    assert!(printed == NO_USERS_LINE.repeat(50_000), "{} lines", printed.lines().count());
}

#[test]
fn the_address_can_come_from_the_environment() {
    let server = Server::start();
    let mut command = cowchat();
    command.arg("connect").env("COWCHAT_CONNECT", server.address.to_string());
    assert_eq!(run(&mut command, b"who\n"), (NO_USERS_LINE.to_owned(), String::new(), Some(0)));
}

#[test]
fn output_is_printed_at_once_while_stdin_stays_open() {
    let server = Server::start();
    let (_client, mut stdin, mut stdout) = talk(&server);
    stdin.write_all(b"login tux\n").expect("the client reads");
    assert_eq!(line(&mut stdout), "Logged in as tux\n");
    // Also what this side has not asked for.
    assert_eq!(server.login("ferris").ask("say tux hi"), "Sent to tux");
    assert_eq!(line(&mut stdout), "ferris says to you:\n");
}

#[test]
fn a_message_is_printed_byte_for_byte() {
    let server = Server::start();
    for cow in all_cows() {
        let (_client, mut stdin, mut stdout) = talk(&server);
        let receiver = if cow == "tux" { "ferris" } else { "tux" };
        stdin.write_all(format!("login {receiver}\n").as_bytes()).expect("the client reads");
        assert_eq!(line(&mut stdout), format!("Logged in as {receiver}\n"));
        let text = "grüß 牛, moo moo moo moo moo moo moo moo moo moo moo moo";
        let mut sender = server.login(cow);
        assert_eq!(sender.ask(&format!("say {receiver} {text}")), format!("Sent to {receiver}"));
        assert_eq!(sender.ask("quit"), "Goodbye.");
        let expected = message(cow, true, text);
        let mut printed = vec![0; expected.len()];
        stdout.read_exact(&mut printed).expect("that many bytes");
        assert_eq!(String::from_utf8_lossy(&printed), expected);
        stdin.write_all(b"quit\n").expect("the client reads");
        assert_eq!(line(&mut stdout), "Goodbye.\n");
    }
}

#[test]
fn it_ends_when_the_server_closes_though_stdin_is_still_open() {
    let server = Server::start();
    let (mut client, mut stdin, mut stdout) = talk(&server);
    stdin.write_all(b"quit\n").expect("the client reads");
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).expect("text");
    assert_eq!(printed, "Goodbye.\n");
    assert_eq!(client.wait(), Some(0));
    drop(stdin);
}

#[test]
fn the_servers_last_line_is_printed_before_it_ends() {
    let server = Server::start();
    let (mut client, mut stdin, mut stdout) = talk(&server);
    stdin.write_all(b"who\n").expect("the client reads");
    assert_eq!(line(&mut stdout), NO_USERS_LINE);
    server.signal("TERM");
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).expect("text");
    assert_eq!(printed, LAST_LINE);
    assert_eq!(client.wait(), Some(0));
    drop(stdin);
}

#[test]
fn without_a_server_it_says_so_and_what_to_do() {
    // An address that no other test uses, so that no server takes the port once it is free.
    let listener = TcpListener::bind("127.0.18.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let (printed, complaint, code) = run(&mut connect_to(address), b"who\n");
    assert_eq!((printed.as_str(), code), ("", Some(1)));
    assert!(complaint.starts_with(&format!("cowchat: cannot connect to {address}: ")), "{complaint}");
    assert!(complaint.contains("`cowchat serve` starts one"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[test]
fn a_wrong_address_is_named_with_a_right_one() {
    // A part of a name has 63 bytes at most, so no name server is asked for this one.
    let unknown = format!("{}:1337", "x".repeat(64));
    for address in ["127.0.0.1:cow", "127.0.0.1:", "", &unknown] {
        let (printed, complaint, code) = run(cowchat().args(["connect", address]), b"who\n");
        assert_eq!((printed.as_str(), code), ("", Some(1)), "{address:?}");
        assert!(complaint.starts_with(&format!("cowchat: cannot find {address}: ")), "{complaint}");
        assert!(complaint.contains("give host and port, such as 127.0.0.1:1337"), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
}

#[test]
fn a_second_address_is_refused_with_the_usage() {
    let (said, complaint, code) = run(cowchat().args(["connect", "127.0.0.1:1", "127.0.0.1:2"]), b"");
    assert_eq!((said.as_str(), code), ("", Some(2)), "{complaint}");
    assert!(complaint.contains("unexpected argument '127.0.0.1:2'"), "{complaint}");
}

#[test]
fn a_reader_of_stdout_that_has_seen_enough_is_no_error() {
    let server = Server::start();
    let (mut client, mut stdin, stdout) = talk(&server);
    drop(stdout);
    stdin.write_all(b"who\n").expect("the client reads");
    let mut complaint = String::new();
    client.child.stderr.take().expect("piped").read_to_string(&mut complaint).expect("text");
    assert_eq!(complaint, "");
    assert_eq!(client.wait(), Some(0));
    drop(stdin);
}
