//! GNU telnet in a pseudo-terminal: what its user types, and that what the server says is shown.
//!
//! Telnet's own side of the protocol, as Debian's `telnet` speaks it, which discards all output from an interrupt until
//! the server answers its timing mark.

use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout, Command};

use crate::support::{Guarded, Server};

/// A telnet in a terminal, which `script` provides.
struct Terminal {
    _process: Guarded,
    keyboard: ChildStdin,
    screen: ChildStdout,
    /// What was shown and not yet waited for.
    shown: String,
}

impl Terminal {
    fn telnet(server: &Server) -> Terminal {
        let telnet = Command::new("telnet").arg("--version").output();
        telnet.expect("telnet is not installed: apt-get install telnet (ci/check.sh does)");
        let (host, port) = (server.address.ip(), server.address.port());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &format!("telnet {host} {port}"), "/dev/null"]);
        let mut process = Guarded::spawn(script.env("TERM", "dumb").env("LC_ALL", "C.UTF-8"));
        let keyboard = process.child.stdin.take().expect("piped");
        let screen = process.child.stdout.take().expect("piped");
        let mut terminal = Terminal { _process: process, keyboard, screen, shown: String::new() };
        terminal.wait_for("Escape character is");
        terminal
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Reads what is shown until this is.
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let mut bytes = [0; 4096];
            let count = self.screen.read(&mut bytes).expect("the terminal is there");
            assert!(count > 0, "telnet ended; it showed {:?} and not {text:?}", self.shown);
            self.shown += &String::from_utf8_lossy(&bytes[..count]);
        }
        let (_, rest) = self.shown.split_once(text).expect("it is there");
        self.shown = rest.to_owned();
    }
}

#[test]
fn after_an_interrupt_its_user_still_sees_what_the_server_says() {
    let server = Server::start();
    let mut telnet = Terminal::telnet(&server);
    telnet.types("login tux\n");
    telnet.wait_for("Logged in as tux\r\n");
    for _ in 0..2 {
        telnet.types("\x03");
        telnet.types("who\n");
        telnet.wait_for("Registered users: tux\r\n");
    }
}

#[test]
fn a_russian_sentence_does_not_silence_it() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    assert_eq!(ferris.ask("art off"), "Art is off");
    let mut telnet = Terminal::telnet(&server);
    telnet.types("login tux\n");
    telnet.wait_for("Logged in as tux\r\n");
    telnet.types("say ferris яблоко у реки, Ü и σ\n");
    telnet.wait_for("Sent to ferris\r\n");
    let received = ferris.read_line();
    assert!(received.starts_with("tux says to you: ") && received.contains("блоко"), "{received}");
    telnet.types("who\n");
    telnet.wait_for("Registered users: ferris, tux\r\n");
}
