//! A netcat-like client.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::{GUARD, message};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

/// A connection, and what has come of it and was not read.
pub struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).expect("the server accepts"))
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(GUARD)).expect("a TCP socket");
        stream.set_write_timeout(Some(GUARD)).expect("a TCP socket");
        Client { input: BufReader::new(stream) }
    }

    pub fn logged_in(mut self, cow: &str) -> Client {
        assert_eq!(self.ask(&format!("login {cow}")), format!("Logged in as {cow}"));
        self
    }

    pub fn local(&self) -> SocketAddr {
        self.stream().local_addr().expect("a connected socket")
    }

    pub fn stream(&self) -> &TcpStream {
        self.input.get_ref()
    }

    /// Its socket once more, for a thread that writes.
    pub fn writer(&self) -> TcpStream {
        self.stream().try_clone().expect("a descriptor")
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("the server reads");
    }

    /// Sends one line.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\n").as_bytes());
    }

    /// Sends one line and reads one.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.read_line()
    }

    /// The next line, without its LF.
    pub fn read_line(&mut self) -> String {
        String::from_utf8(self.read_line_bytes()).expect("the server speaks UTF-8")
    }

    /// The next line, which may hold telnet commands, without its LF.
    pub fn read_line_bytes(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).expect("the server answers");
        assert_eq!(line.pop(), Some(b'\n'), "the connection ended after {:?}", String::from_utf8_lossy(&line));
        line
    }

    /// Exactly the next `count` bytes.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.input.read_exact(&mut bytes).expect("that many bytes");
        bytes
    }

    /// Reads the next bytes, which must be these.
    pub fn expect(&mut self, expected: &str) {
        let got = self.read_bytes(expected.len());
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    /// Reads the next message, which must be this one.
    pub fn expect_message(&mut self, from: &str, private: bool, text: &str) {
        self.expect(&message(from, private, text));
    }

    /// Everything until the connection ends, in whatever way.
    pub fn read_until_cut(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // What was read before an error is kept.
        let _ = self.input.read_to_end(&mut rest);
        rest
    }

    /// Asserts that nothing has come that was not read.
    pub fn expect_silence(&mut self) {
        assert_eq!(self.input.buffer(), b"");
        self.stream().set_nonblocking(true).expect("a TCP socket");
        let early = self.stream().peek(&mut [0]).map_err(|error| error.kind());
        self.stream().set_nonblocking(false).expect("a TCP socket");
        assert_eq!(early, Err(ErrorKind::WouldBlock));
    }

    /// Leaves by `quit`.
    pub fn quit(mut self) {
        assert_eq!(self.ask("quit"), "Goodbye.");
        assert_eq!(self.read_to_end(), "");
    }

    /// Everything until the server's end. A reset fails the test.
    pub fn read_to_end(&mut self) -> String {
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).expect("FIN, not RST");
        String::from_utf8(rest).expect("the server speaks UTF-8")
    }

    /// The same in small pieces, with a line sent after each.
    pub fn read_to_end_while_typing(&mut self) -> String {
        let mut rest = Vec::new();
        let mut piece = [0; 512];
        loop {
            match self.input.read(&mut piece).expect("FIN, not RST") {
                0 => return String::from_utf8(rest).expect("the server speaks UTF-8"),
                count => rest.extend_from_slice(&piece[..count]),
            }
            // Once all of it is here the server may close: nothing is lost any more, and the next read tells.
            let _ = self.stream().write_all(b"who\n");
        }
    }

    /// Sends no more lines.
    pub fn half_close(&self) {
        self.stream().shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Closes by RST, as a crashed peer's kernel does.
    pub fn reset(self) {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// From now on the client's kernel drops whatever arrives, as if the cable had been pulled: it acknowledges nothing
    /// and answers no probe.
    pub fn drop_incoming(&self) {
        // Classic BPF, linux/filter.h: BPF_RET | BPF_K, keep 0 bytes.
        let keep_nothing = [SockFilter::new(0x06, 0, 0, 0)];
        SockRef::from(self.stream()).attach_filter(&keep_nothing).expect("a filter of one's own socket");
    }
}

/// A client with a receive buffer so small that what it does not read soon waits in the server.
pub fn connect_narrow(address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a TCP socket");
    socket.connect(&address.into()).expect("the server accepts");
    Client::over(socket.into())
}

/// A client whose own address is the loopback address `127.0.0.last`.
pub fn connect_from(last: u8, address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).expect("an address of this machine");
    socket.connect(&address.into()).expect("the server accepts");
    Client::over(socket.into())
}

/// All clients send their lines at the same moment; what each was told.
pub fn ask_at_once(clients: &mut [Client], line: impl Fn(usize) -> String) -> Vec<String> {
    let start = Barrier::new(clients.len());
    thread::scope(|scope| {
        let ask = |client: &mut Client, line: &str| {
            start.wait();
            client.ask(line)
        };
        let numbers = clients.iter_mut().enumerate();
        let racers: Vec<_> = numbers
            .map(|(n, client)| {
                let line = line(n);
                scope.spawn(move || ask(client, &line))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    })
}

/// `sender`, whose cow is `from`, says messages of this many bytes in all to `cow`; what they are.
pub fn say_bytes(sender: &mut Client, from: &str, cow: &str, bytes: usize) -> String {
    let message = message(from, true, "moo");
    let count = bytes / message.len();
    sender.send_raw(format!("say {cow} moo\n").repeat(count).as_bytes());
    sender.expect(&format!("Sent to {cow}\n").repeat(count));
    message.repeat(count)
}
