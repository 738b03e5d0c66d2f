//! A server that a test plays by hand: it takes a client's lines, and answers what the test says.

use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

use super::{Client, GUARD};

/// A port at which clients are awaited.
pub struct Listener(TcpListener);

impl Listener {
    pub fn new() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // For accept(2), too.
        SockRef::from(&listener).set_read_timeout(Some(GUARD)).expect("a TCP socket");
        Listener(listener)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    /// The next client that connects, which has sent its first line.
    pub fn accept(&self) -> Peer {
        let client = Client::over(self.0.accept().expect("a client connects").0);
        let mut peer = Peer { client, id: String::new() };
        assert_eq!(peer.read_command(), "art off");
        peer
    }

    /// The next client, which has found a chat where tux is free.
    pub fn accept_chat(&self) -> Peer {
        let mut peer = self.accept();
        peer.reply("Art is off");
        assert_eq!(peer.read_command(), "cows");
        peer.reply("Available cow names: tux");
        peer
    }

    /// The next client, which has found a chat without request ids.
    pub fn accept_without_ids(&self) -> Client {
        let Peer { mut client, id } = self.accept();
        client.send(&format!("error: unknown command {id}"));
        client
    }
}

/// A client that sends request ids, seen from the server's side.
pub struct Peer {
    pub client: Client,
    /// Of the last line.
    id: String,
}

impl Peer {
    /// The next line without its id.
    pub fn read_command(&mut self) -> String {
        let line = self.client.read_line();
        let (id, command) = line.split_once(' ').expect("an id and a command");
        assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()), "{line}");
        id.clone_into(&mut self.id);
        command.to_owned()
    }

    /// The reply to the last line.
    pub fn reply(&mut self, reply: &str) {
        let line = format!("{} {reply}", self.id);
        self.client.send(&line);
    }
}
