//! What happens outside of the chat's own thread: keys, connections, lines of the server, signals. A thread waits for each
//! and tells it; one writes to the server.
//!
//! The end of a connection is the last event of its thread, and only then another one is made: no line of an old connection
//! follows a new one.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use crossterm::event;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::address::Address;
use super::error::ClientError;

/// Events that may wait. The threads that send them wait, too, so a server is read as fast as the terminal shows.
const EVENTS_MAX: usize = 256;

/// Bytes of one line of the server at most. The longest has a text of 64 KiB whose invalid bytes are three each. A longer one
/// is cut into several.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Batches of lines that may wait, beside the kernel's buffers, for a server that does not read.
const BATCHES_MAX: usize = 64;

/// Something that has happened.
pub(super) enum Event {
    /// A key, a paste, or another size of the window.
    Terminal(event::Event),
    /// Reading the terminal failed.
    TerminalGone(io::Error),
    /// There is a connection.
    Connected(TcpStream),
    /// A line of the server, without its LF.
    Line(Vec<u8>),
    /// The connection has ended, or could not be made.
    Disconnected(ClientError),
    /// The process was stopped, and goes on.
    Continued,
    /// A signal asks the client to end.
    Stop,
}

/// Where events arrive, in the order in which they were told.
pub(super) struct Events {
    sender: SyncSender<Event>,
    receiver: Receiver<Event>,
    must_stop: Arc<AtomicBool>,
}

/// A connection to the server, written by a thread of its own.
pub(super) struct Connection {
    stream: TcpStream,
    batches: SyncSender<String>,
}

impl Connection {
    /// Sends `lines`, without waiting. Returns false if too many wait already.
    pub(super) fn send(&self, lines: String) -> bool {
        self.batches.try_send(lines).is_ok()
    }

    /// Ends it.
    pub(super) fn close(&self) {
        // One that is closed already needs no more.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Its threads end then, whatever the server does.
        self.close();
    }
}

/// Tells an interactive client of signals.
#[derive(Clone)]
pub struct Handle {
    must_stop: Arc<AtomicBool>,
    events: SyncSender<Event>,
}

impl Handle {
    /// Has the client leave its terminal as it was, and end.
    pub fn stop(&self) {
        self.must_stop.store(true, Ordering::Relaxed);
        // If so many events wait that this one finds no room, the client does not sleep.
        let _ = self.events.try_send(Event::Stop);
    }

    /// The process was stopped, and its shell has changed the terminal's mode.
    pub fn resume(&self) {
        // A client that has ended needs no event.
        let _ = self.events.send(Event::Continued);
    }
}

impl Events {
    pub(super) fn new() -> Self {
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        Events { sender, receiver, must_stop: Arc::default() }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle { must_stop: Arc::clone(&self.must_stop), events: self.sender.clone() }
    }

    /// Waits for the next event, until `deadline` if there is one; `None` if it is over.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<Event> {
        match deadline {
            // `self` has a sender, so the channel is open.
            None => self.receiver.recv().ok(),
            Some(at) => self.receiver.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
        }
    }

    /// The next event that has already happened.
    pub(super) fn next_now(&self) -> Option<Event> {
        // It does not stand behind the others.
        if self.must_stop.load(Ordering::Relaxed) { Some(Event::Stop) } else { self.receiver.try_recv().ok() }
    }

    /// Tells what happens at the terminal from now on, and its end. crossterm does not tell the end: it tries again for ever.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn watch_terminal(&self) -> io::Result<()> {
        let events = self.sender.clone();
        spawn("terminal", move || {
            let stdin = io::stdin();
            // Without a flag it waits for a hangup or an error.
            while poll(&mut [PollFd::new(&stdin, PollFlags::empty())], None) == Err(Errno::INTR) {}
            let _ = events.send(Event::TerminalGone(io::Error::new(io::ErrorKind::BrokenPipe, "it is gone")));
        })?;
        let events = self.sender.clone();
        spawn("keys", move || {
            loop {
                let (event, is_last) = match event::read() {
                    Ok(event) => (Event::Terminal(event), false),
                    Err(error) => (Event::TerminalGone(error), true),
                };
                // The client has ended.
                if events.send(event).is_err() || is_last {
                    return;
                }
            }
        })
    }

    /// Connects, and tells how that has ended.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn connect(&self, address: &Address) -> io::Result<()> {
        let (address, events) = (address.clone(), self.sender.clone());
        spawn("connect", move || {
            let event = address.connect().map_or_else(Event::Disconnected, Event::Connected);
            // The client has ended.
            let _ = events.send(event);
        })
    }

    /// Tells the lines that arrive on `stream`, and its end. Writes what the connection is given.
    ///
    /// # Errors
    /// When a thread cannot be started, or no descriptor is free.
    pub(super) fn watch_server(&self, stream: TcpStream, address: &Address) -> io::Result<Connection> {
        let (batches, to_write) = sync_channel::<String>(BATCHES_MAX);
        let (reader, mut writer) = (stream.try_clone()?, stream.try_clone()?);
        spawn("writer", move || {
            // A connection that fails is told by the thread that reads.
            while to_write.recv().is_ok_and(|lines| writer.write_all(lines.as_bytes()).is_ok()) {}
        })?;
        let (address, events) = (address.to_string(), self.sender.clone());
        spawn("reader", move || {
            let error = read_lines(reader, |line| events.send(Event::Line(line)).is_ok());
            // The client has ended.
            let _ = events.send(Event::Disconnected(ClientError::Broken { address, error }));
        })?;
        Ok(Connection { stream, batches })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// Gives each line of `stream` to `tell` until that returns false. Returns why there are no more.
fn read_lines(stream: TcpStream, tell: impl Fn(Vec<u8>) -> bool) -> io::Error {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"),
            Ok(_) => {
                line.pop_if(|last| *last == b'\n');
                if !tell(line) {
                    return io::ErrorKind::BrokenPipe.into();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
