//! The floor: the least that a server pays, to compare with in the same minute on the same machine.
//!
//! One thread, bare epoll, no cores, no limits, no sanitizing, no wrapping: a message is joined from ready-made pieces. It
//! speaks just enough of the protocol (`login`, `say`, `yield`, `quit`, `help`) for the clients to see no difference. One
//! kind writes each message to each receiver at once; the other joins what a turn brings for a receiver into one write.
//! With a [`Fault`] it misbehaves once, to show that the clients find out.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;

use anyhow::Context;
use rustix::event::epoll::EventFlags;
use slab::Slab;

use super::cli::Fault;
use super::poll::Poll;
use super::token::Token;
use super::wire::Gallery;

/// The number of the listener in epoll; connections have those of the slab.
const LISTENER: usize = usize::MAX - 1;

/// Connections that may wait to be accepted: as many as cowchat allows.
const BACKLOG: i32 = 4096;

/// One read takes at most this.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The delivery at which the floor misbehaves, if it does.
const FAULTY_DELIVERY: u64 = 100;

struct Conn {
    stream: TcpStream,
    /// The index of its name.
    name: Option<usize>,
    /// What this turn brings, as ranges of the arena.
    pieces: Vec<Range<usize>>,
    /// What the socket did not take.
    send_queue: Vec<u8>,
    /// A line without its end.
    unread: Vec<u8>,
}

struct Floor {
    coalesce: bool,
    fault: Option<Fault>,
    gallery: Gallery,
    names: HashMap<Vec<u8>, usize>,
    owners: Vec<Option<usize>>,
    conns: Slab<Conn>,
    registered: Vec<usize>,
    poll: Poll,
    /// All that this turn writes.
    arena: Vec<u8>,
    dirty: Vec<usize>,
    ended: Vec<usize>,
    deliveries: u64,
    held: Option<(usize, Vec<u8>)>,
}

/// Listens on a free port, prints it as one line on stdout, and serves until it is killed.
pub fn run(gallery: Gallery, coalesce: bool, fault: Option<Fault>) -> anyhow::Result<()> {
    let listener = listen().context("the floor cannot listen")?;
    let names = gallery.names().iter().enumerate().map(|(at, name)| (name.clone().into_bytes(), at)).collect();
    let mut floor = Floor {
        coalesce,
        fault,
        names,
        owners: vec![None; gallery.names().len()],
        gallery,
        conns: Slab::new(),
        registered: Vec::new(),
        poll: Poll::new(1024)?,
        arena: Vec::new(),
        dirty: Vec::new(),
        ended: Vec::new(),
        deliveries: 0,
        held: None,
    };
    floor.poll.add(&listener, LISTENER, EventFlags::IN)?;
    println!("listening on {}", listener.local_addr()?);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut ready = Vec::new();
    loop {
        floor.poll.wait(None, &mut ready)?;
        for &(number, flags) in &ready {
            if number == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                let send_queue = std::mem::take(&mut floor.conns[number].send_queue);
                floor.poll.modify(&floor.conns[number].stream, number, EventFlags::IN)?;
                floor.conns[number].write(&floor.poll, number, &[IoSlice::new(&send_queue)]);
            }
            if flags != EventFlags::OUT {
                floor.read(number, &mut scratch);
            }
        }
        floor.end_turn();
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn stage(arena: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    arena.extend_from_slice(bytes);
    arena.len() - bytes.len()..arena.len()
}

impl Conn {
    /// Writes, and queues what the socket does not take. A broken connection shows when it is read.
    fn write(&mut self, poll: &Poll, number: usize, slices: &[IoSlice<'_>]) {
        let mut taken = 0;
        if self.send_queue.is_empty() {
            taken = match slices {
                [one] => self.stream.write(one).unwrap_or(0),
                many => self.stream.write_vectored(many).unwrap_or(0),
            };
            if taken == slices.iter().map(|slice| slice.len()).sum::<usize>() {
                return;
            }
            let _ = poll.modify(&self.stream, number, EventFlags::IN | EventFlags::OUT);
        }
        for slice in slices {
            let skipped = taken.min(slice.len());
            taken -= skipped;
            self.send_queue.extend_from_slice(&slice[skipped..]);
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let entry = self.conns.vacant_entry();
                    self.poll.add(&stream, entry.key(), EventFlags::IN)?;
                    let (send_queue, unread) = (Vec::new(), Vec::new());
                    entry.insert(Conn { stream, name: None, pieces: Vec::new(), send_queue, unread });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the floor cannot accept"),
            }
        }
    }

    fn read(&mut self, number: usize, scratch: &mut [u8]) {
        let count = match self.conns[number].stream.read(scratch) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            _ => return self.ended.push(number),
        };
        let mut input = std::mem::take(&mut self.conns[number].unread);
        let mut rest = if input.is_empty() {
            &scratch[..count]
        } else {
            input.extend_from_slice(&scratch[..count]);
            &input[..]
        };
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line(number, &rest[..end]);
            rest = &rest[end + 1..];
        }
        self.conns[number].unread = rest.to_vec();
    }

    fn line(&mut self, number: usize, line: &[u8]) {
        if let Some(text) = line.strip_prefix(b"yield ") {
            let count = self.registered.len() - 1;
            self.reply(number, format!("Sent to {count} {}\n", if count == 1 { "cow" } else { "cows" }).as_bytes());
            let block = self.draw(text);
            for at in 0..self.registered.len() {
                let receiver = self.registered[at];
                if receiver != number {
                    self.deliver(receiver, block.clone());
                }
            }
        } else if let Some(rest) = line.strip_prefix(b"say ") {
            let name = &rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())];
            let Some(receiver) = self.names.get(name).and_then(|&name| self.owners[name]) else {
                return self.reply(number, b"error: not logged in\n");
            };
            self.reply(number, &[b"Sent to ", name, b"\n"].concat());
            let block = self.draw(&rest[(name.len() + 1).min(rest.len())..]);
            self.deliver(receiver, block);
        } else if let Some(cow) = line.strip_prefix(b"login ") {
            let free = self.names.get(cow).copied().filter(|&name| self.owners[name].is_none());
            let Some(name) = free else { return self.reply(number, b"error: taken\n") };
            self.owners[name] = Some(number);
            self.conns[number].name = Some(name);
            self.registered.push(number);
            self.reply(number, &[b"Logged in as ", cow, b"\n"].concat());
        } else if line == b"quit" {
            self.log_out(number);
            self.reply(number, b"Goodbye.\n");
            self.ended.push(number);
        } else {
            self.reply(number, b"commands: login, say, yield, quit\n");
        }
    }

    /// Puts the message with this text into the arena; nothing if the text has no token.
    fn draw(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.arena.len();
        if let Some(token) = Token::parse(text).filter(|token| token.sender < self.gallery.names().len()) {
            let (before, after) = self.gallery.pieces(token);
            before.into_iter().for_each(|piece| self.arena.extend_from_slice(piece));
            self.arena.extend_from_slice(&token.bytes());
            after.into_iter().for_each(|piece| self.arena.extend_from_slice(piece));
        }
        from..self.arena.len()
    }

    fn deliver(&mut self, receiver: usize, block: Range<usize>) {
        self.deliveries += 1;
        match self.fault.filter(|_| self.deliveries == FAULTY_DELIVERY) {
            None => {
                self.put(receiver, block);
                if let Some((_, held)) = self.held.take_if(|(held_for, _)| *held_for == receiver) {
                    self.reply(receiver, &held);
                }
            }
            Some(Fault::Lose) => {}
            Some(Fault::Repeat) => (0..2).for_each(|_| self.put(receiver, block.clone())),
            Some(Fault::Reorder) => self.held = Some((receiver, self.arena[block].to_vec())),
            Some(Fault::Break) => {
                let mut broken = self.arena[block].to_vec();
                broken.truncate(broken.len() - 2);
                self.reply(receiver, &broken);
            }
        }
    }

    fn reply(&mut self, number: usize, bytes: &[u8]) {
        let bytes = stage(&mut self.arena, bytes);
        self.put(number, bytes);
    }

    /// Writes these bytes of the arena, now or at the end of the turn.
    fn put(&mut self, receiver: usize, bytes: Range<usize>) {
        let conn = &mut self.conns[receiver];
        if !self.coalesce {
            return conn.write(&self.poll, receiver, &[IoSlice::new(&self.arena[bytes])]);
        }
        if conn.pieces.is_empty() {
            self.dirty.push(receiver);
        }
        match conn.pieces.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => conn.pieces.push(bytes),
        }
    }

    /// Writes what the turn brings, and closes what has ended.
    fn end_turn(&mut self) {
        for number in self.dirty.drain(..) {
            let conn = &mut self.conns[number];
            let pieces = std::mem::take(&mut conn.pieces);
            // The kernel takes 1024 slices at once.
            for pieces in pieces.chunks(1024) {
                let slices: Vec<IoSlice<'_>> =
                    pieces.iter().map(|piece| IoSlice::new(&self.arena[piece.clone()])).collect();
                conn.write(&self.poll, number, &slices);
            }
        }
        self.arena.clear();
        while let Some(number) = self.ended.pop() {
            self.log_out(number);
            self.conns.try_remove(number);
        }
    }

    fn log_out(&mut self, number: usize) {
        let name = self.conns.get_mut(number).and_then(|conn| conn.name.take());
        if let Some(name) = name {
            self.owners[name] = None;
            self.registered.retain(|&other| other != number);
        }
    }
}
