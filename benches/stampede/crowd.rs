//! Many netcat-like clients on one thread: sockets, epoll, and bytes cut into items.
//!
//! The set-up blocks, one batch of clients at a time; from then on nothing does. epoll is level-triggered, and each event
//! costs one read of up to [`SCRATCH_BYTES`], so a client costs one system call a delivery at most. The beginning of an
//! incomplete item waits in its client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::epoll::EventFlags;

use super::poll::Poll;
use super::token::Token;
use super::wire::{Gallery, Item};

/// One read takes at most this: 14 colour messages.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Clients that connect before the first of them is waited for: the accept queue of one core has room for them.
const BATCH: usize = 4000;

/// The longest wait for anything during the set-up.
pub const SET_UP_MAX: Duration = Duration::from_secs(10);

struct Client {
    stream: TcpStream,
    /// The beginning of an incomplete item.
    unread: Vec<u8>,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

/// How a read ended.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// The connection is open.
    Open,
    /// The server closed it.
    Ended,
    /// It was reset, or brought what no server should send; the text says what.
    Broken(String),
}

/// All clients of a run.
pub struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    /// The first refusal that a client read.
    pub refusal: Option<String>,
}

impl Crowd {
    /// Connects `count` clients, in turn to each of the addresses. Client `i` sends the first text of `first(i)` and waits for a line that begins with the
    /// second.
    pub fn assemble(
        addresses: &[SocketAddr],
        count: usize,
        first: impl Fn(usize) -> (String, String),
    ) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd {
            poll: Poll::new(1024)?,
            clients: Vec::with_capacity(count),
            scratch: vec![0; SCRATCH_BYTES],
            refusal: None,
        };
        while crowd.clients.len() < count {
            let from = crowd.clients.len();
            for number in from..count.min(from + BATCH) {
                let mut stream = connect(addresses[number % addresses.len()])
                    .with_context(|| format!("client {number} of {count}"))?;
                stream.write_all(first(number).0.as_bytes())?;
                crowd.clients.push(Client { stream, unread: Vec::new(), unsent: Vec::new() });
            }
            for number in from..crowd.clients.len() {
                let stream = &mut crowd.clients[number].stream;
                let line = read_line(stream).with_context(|| format!("client {number} of {count}"))?;
                if !line.starts_with(&first(number).1) {
                    bail!("client {number} sent {:?} and got {line:?}", first(number).0);
                }
                stream.set_nonblocking(true)?;
                crowd.poll.add(stream, number, EventFlags::IN)?;
            }
        }
        Ok(crowd)
    }

    /// Waits for clients that can be read, and sends what others have not sent yet.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<(usize, EventFlags)>) -> io::Result<()> {
        self.poll.wait(Some(timeout), ready)?;
        for &(number, flags) in ready.iter() {
            if flags.contains(EventFlags::OUT) {
                let unsent = std::mem::take(&mut self.clients[number].unsent);
                self.poll.modify(&self.clients[number].stream, number, EventFlags::IN)?;
                self.send(number, &unsent)?;
            }
        }
        Ok(())
    }

    /// Reads once, and appends all whole items to `items`.
    pub fn read(&mut self, number: usize, gallery: &Gallery, items: &mut Vec<Item>) -> After {
        let client = &mut self.clients[number];
        let count = match client.stream.read(&mut self.scratch) {
            Ok(0) if client.unread.is_empty() => return After::Ended,
            Ok(0) => return After::Broken("the connection ended inside a message".to_owned()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return After::Open;
            }
            Err(error) => return After::Broken(error.to_string()),
        };
        let glued = !client.unread.is_empty();
        if glued {
            client.unread.extend_from_slice(&self.scratch[..count]);
        }
        let input = if glued { &client.unread[..] } else { &self.scratch[..count] };
        let mut at = 0;
        loop {
            match gallery.next(&input[at..]) {
                Ok(Some((item, length))) => {
                    if item == Item::Refused && self.refusal.is_none() {
                        self.refusal = Some(String::from_utf8_lossy(&input[at..at + length]).trim().to_owned());
                    }
                    items.push(item);
                    at += length;
                }
                Ok(None) => break,
                Err(_) => {
                    let start = String::from_utf8_lossy(&input[at..input.len().min(at + 80)]).into_owned();
                    return After::Broken(format!("not a message as it was learned: {start:?}"));
                }
            }
        }
        if glued {
            client.unread.drain(..at);
            if client.unread.is_empty() {
                // Thousands of idle clients keep no buffer.
                client.unread = Vec::new();
            }
        } else {
            client.unread.extend_from_slice(&self.scratch[at..count]);
        }
        After::Open
    }

    /// Sends a line; what the socket does not take is sent when it can.
    pub fn send(&mut self, number: usize, bytes: &[u8]) -> io::Result<()> {
        let client = &mut self.clients[number];
        let mut taken = 0;
        while client.unsent.is_empty() && taken < bytes.len() {
            match client.stream.write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let flags = EventFlags::IN | EventFlags::OUT;
                    self.poll.modify(&client.stream, number, flags)?;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        client.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Stops watching a client.
    pub fn forget(&mut self, number: usize) {
        let _ = self.poll.delete(&self.clients[number].stream);
    }
}

/// Waits until the server at this address says that so many users are registered.
pub fn wait_for_users(address: SocketAddr, users: usize) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let began = Instant::now();
    while began.elapsed() < SET_UP_MAX {
        stream.write_all(b"who\n")?;
        let line = read_line(&mut stream)?;
        let named = line.matches(", ").count() + 1;
        // `Registered users: cow, ... and 1936 more (who PREFIX)`
        let more = line.split(" ... and ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        if named + more.unwrap_or(0) == users {
            return Ok(());
        }
    }
    bail!("the server at {address} does not learn of {users} users");
}

/// A blocking connection that sends at once and waits no longer than [`SET_UP_MAX`].
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, SET_UP_MAX)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SET_UP_MAX))?;
    Ok(stream)
}

/// Reads one line, without its LF, and nothing after it.
pub fn read_line(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        if stream.read(&mut byte)? == 0 {
            bail!("the server closed the connection after {:?}", String::from_utf8_lossy(&line));
        }
        line.push(byte[0]);
    }
    line.pop();
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Logs in as `cow`, says these texts to itself, each after `token`, and returns the messages as they came.
pub fn fetch_blocks(address: SocketAddr, cow: &str, token: Token, rests: &[&[u8]]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut stream = connect(address).context("no server listens there")?;
    stream.write_all(format!("login {cow}\n").as_bytes())?;
    let reply = read_line(&mut stream)?;
    if reply != format!("Logged in as {cow}") {
        bail!("{cow} must be free: {reply}");
    }
    let blocks = rests.iter().map(|rest| {
        stream.write_all(&[b"say ", cow.as_bytes(), b" ", &token.bytes(), rest, b"\nhelp\n"].concat())?;
        let reply = read_line(&mut stream)?;
        if reply != format!("Sent to {cow}") {
            bail!("{cow} cannot talk to itself: {reply}");
        }
        let mut block = Vec::new();
        // The message ends where the reply to `help` begins.
        loop {
            let line = read_line(&mut stream)?;
            if line.starts_with("commands: ") {
                return Ok(block);
            }
            block.extend_from_slice(line.as_bytes());
            block.push(b'\n');
        }
    });
    let blocks = blocks.collect::<anyhow::Result<Vec<_>>>()?;
    stream.write_all(b"quit\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(blocks)
}
