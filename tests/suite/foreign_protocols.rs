//! Clients of other protocols: before login they are refused, and nothing that they send is executed.

use crate::support::{NO_USERS, Server};

const REFUSED: &str = "error: this is a chat for nc, not for HTTP or TLS";

/// What a page can make a browser send: the body is lines of its choice.
const POST: &str = "POST / HTTP/1.1\r\nHost: 127.0.0.1:1337\r\nContent-Length: 24\r\n\r\nlogin mew\r\nyield x\r\n";

/// A handshake's beginning: a record of 512 bytes, and its first ones.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03login mew\n";

#[test]
fn a_web_page_neither_logs_in_nor_speaks() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let requests = [
        POST.to_owned(),
        POST.replace("\r\n", "\n"),
        POST.replacen("POST / HTTP/1.1\r\n", "", 1),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nlogin mew\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\nlogin mew\n", "x".repeat(10_000)),
        "OPTIONS * HTTP/1.1\nlogin mew\n".to_owned(),
        "login mew HTTP/1.1\nlogin mew\n".to_owned(),
        "user-agent: curl\nlogin mew\n".to_owned(),
    ];
    for request in &requests {
        for split in [0, 1, request.len() / 2] {
            let mut client = server.connect();
            let name = server.name_of(&client);
            let (first, rest) = request.split_at(split);
            client.send_raw(first.as_bytes());
            client.send_raw(rest.as_bytes());
            let said = client.read_to_end();
            assert_eq!(said.trim_end(), REFUSED, "{request:?}");
            assert_eq!(said.ends_with("\r\n"), request.contains("\r\n"), "{request:?}");
            server.log_event("closed", &[("connection", &name), ("reason", "wrong_protocol")]);
        }
    }
    assert_eq!(ferris.ask("who"), "Registered users: ferris");
    ferris.expect_silence();
}

#[test]
fn a_tls_handshake_is_refused_before_a_line_ends() {
    let server = Server::start();
    for length in [2, 9, CLIENT_HELLO.len()] {
        let mut client = server.connect();
        let name = server.name_of(&client);
        client.send_raw(&CLIENT_HELLO[..1]);
        client.send_raw(&CLIENT_HELLO[1..length]);
        assert_eq!(client.read_to_end(), REFUSED.to_owned() + "\n");
        server.log_event("closed", &[("connection", &name), ("reason", "wrong_protocol")]);
    }
    assert_eq!(server.connect().ask("who"), NO_USERS);
}

#[test]
fn after_a_login_such_lines_are_text() {
    let server = Server::start();
    let mut tux = server.login("tux");
    assert_eq!(tux.ask("Host: x"), "error: unknown command Host: (try help)");
    assert_eq!(tux.ask("GET / HTTP/1.1"), "error: unknown command GET (try help)");
    assert_eq!(tux.ask("yield GET / HTTP/1.1"), "Sent to 0 cows");
    tux.send_raw(CLIENT_HELLO);
    assert!(tux.read_line().starts_with("error: unknown command "));
    assert_eq!(tux.ask("who"), "Registered users: tux");
}
