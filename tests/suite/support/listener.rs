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

    /// The next client that connects, seen from the server's side.
    pub fn accept(&self) -> Client {
        Client::over(self.0.accept().expect("a client connects").0)
    }

    /// The next client, which has sent its first line.
    pub fn accept_greeted(&self) -> Client {
        let mut peer = self.accept();
        assert_eq!(peer.read_line(), "1 art off");
        peer
    }

    /// The next client, which has found a chat where tux is free.
    pub fn accept_chat(&self) -> Client {
        let mut peer = self.accept_greeted();
        peer.send("1 Art is off");
        assert_eq!(peer.read_line(), "2 cows");
        peer.send("2 Available cow names: tux");
        peer
    }

    /// The next client, which has found a chat without request ids.
    pub fn accept_without_ids(&self) -> Client {
        let mut peer = self.accept_greeted();
        peer.send("error: unknown command 1");
        peer
    }
}
