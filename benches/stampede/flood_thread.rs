//! What the flooder does to a server: all connections of one address, on one thread that sleeps while it is throttled.
//!
//! All of them come from [`FLOODER`], so the server limits them and not the talkers. Standing connections log in and send
//! the same lines again and again, as fast as the socket takes them; those of a burst wait until all are logged in. A
//! reconnecting one sends all its lines at once and resets when it is done or throttled, since a new connection might not
//! be. Input is read and dropped, but for the first words of replies, which say how many lines were executed.
//!
//! A connection ends by RST: after a FIN the server would execute the remaining lines, at its rate, beside the next run.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cowchat::limits::CONNECTIONS_PER_ADDRESS;
use rustix::event::epoll::EventFlags;

use super::cli::FloodKind;
use super::flood_role::Role;
use super::poll::Poll;
use super::wire::Gallery;

/// The flooder's address.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long a reconnecting connection waits for its first yield to be executed: its address may connect twice a second, and
/// gets two lines executed in 0.4 s.
const ADMISSION_MAX: Duration = Duration::from_secs(2);

/// A reconnecting connection whose last yield was executed this long ago is throttled.
const QUIET: Duration = Duration::from_millis(50);

/// The pause before the slot of a refused or cut connection is filled again.
const REOPEN: Duration = Duration::from_millis(100);

/// The longest wait in epoll, so that the thread begins and ends when it should.
const TICK: Duration = Duration::from_millis(50);

/// Kernel send buffer of a connection: one address need not have megabytes in flight on each.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// One read takes at most this.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What the thread and its owner share.
#[derive(Debug, Default)]
pub struct Shared {
    /// All standing connections were logged in at the same time.
    pub is_ready: AtomicBool,
    /// Standing connections that are logged in may send their lines.
    pub may_flood: AtomicBool,
    /// The thread ends.
    pub is_over: AtomicBool,
    /// The thread's id.
    pub thread: AtomicU32,
    /// Lines that the server executed, logins among them.
    pub executed: AtomicU64,
    /// Lines that it answered by an error.
    pub refused: AtomicU64,
    /// Connections opened.
    pub opened: AtomicU64,
    /// Standing connections that the server ended.
    pub cut: AtomicU64,
}

/// Floods until it is over. Names from `first_name` on are the flooder's.
pub fn flood(
    server: SocketAddr,
    kind: FloodKind,
    gallery: Gallery,
    first_name: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let slots = Role::of_kind(kind).into_iter().map(Slot::new).collect();
    let (poll, scratch) = (Poll::new(CONNECTIONS_PER_ADDRESS)?, vec![0; SCRATCH_BYTES]);
    Flood { server, shared, gallery, first_name, poll, slots, scratch, may_flood: false }.run()
}

struct Flood {
    server: SocketAddr,
    shared: Arc<Shared>,
    gallery: Gallery,
    first_name: usize,
    poll: Poll,
    slots: Vec<Slot>,
    scratch: Vec<u8>,
    may_flood: bool,
}

/// A role, and the connection that plays it, if there is one.
struct Slot {
    role: Role,
    connection: Option<Connection>,
    /// When its next connection is opened.
    due: Instant,
    /// Connections so far.
    round: usize,
}

struct Connection {
    stream: TcpStream,
    /// What it sends again and again.
    lines: Vec<u8>,
    taken: usize,
    replies: Replies,
    is_logged_in: bool,
}

impl Slot {
    fn new(role: Role) -> Slot {
        Slot { role, connection: None, due: Instant::now(), round: 0 }
    }

    fn is_logged_in(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_logged_in)
    }

    /// Ends its connection, and rests for `pause`.
    fn rest(&mut self, pause: Duration) {
        self.connection = None;
        self.due = Instant::now() + pause;
    }
}

impl Flood {
    fn run(mut self) -> anyhow::Result<()> {
        self.shared.thread.store(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(), Ordering::Relaxed);
        let mut events = Vec::new();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            if !self.may_flood && self.shared.may_flood.load(Ordering::Relaxed) {
                self.may_flood = true;
                (0..self.slots.len()).try_for_each(|number| self.start_writing(number))?;
            }
            let now = Instant::now();
            (0..self.slots.len()).try_for_each(|number| self.open_if_due(number, now))?;
            if self.slots.iter().all(|slot| slot.is_logged_in() || !slot.role.is_standing()) {
                self.shared.is_ready.store(true, Ordering::Relaxed);
            }
            let due = self.slots.iter().filter(|slot| self.opens_by_time(slot)).map(|slot| slot.due).min();
            let wait = due.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
            self.poll.wait(Some(wait), &mut events)?;
            for &(number, flags) in &events {
                if flags.contains(EventFlags::OUT) {
                    self.write(number)?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(number)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the slot's next connection is opened when it is due. A reconnecting one comes after all standing ones: it
    /// would wait behind them.
    fn opens_by_time(&self, slot: &Slot) -> bool {
        if slot.role.is_standing() { slot.connection.is_none() } else { self.shared.is_ready.load(Ordering::Relaxed) }
    }

    fn open_if_due(&mut self, number: usize, now: Instant) -> anyhow::Result<()> {
        let slot = &self.slots[number];
        if slot.due > now || !self.opens_by_time(slot) {
            return Ok(());
        }
        self.slots[number].connection = None;
        self.open(number, now)
    }

    fn open(&mut self, number: usize, now: Instant) -> anyhow::Result<()> {
        let Slot { role, round, .. } = self.slots[number];
        let (first, lines) = role.sends(&self.gallery, self.first_name + role.name(number, round));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((FLOODER, 0)).into())?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&self.server.into()).context("it cannot connect")?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        // The buffer of a new socket takes it all. That the server has refused the connection shows in the next read.
        if let Err(error) = stream.write_all(&first)
            && !is_end(&error)
        {
            return Err(error.into());
        }
        self.poll.add(&stream, number, EventFlags::IN)?;
        self.shared.opened.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { stream, lines, taken: 0, replies: Replies::default(), is_logged_in: false };
        self.slots[number] =
            Slot { role, connection: Some(connection), due: now + ADMISSION_MAX, round: round.wrapping_add(1) };
        Ok(())
    }

    /// Lets a standing connection that is logged in send its lines.
    fn start_writing(&self, number: usize) -> io::Result<()> {
        match &self.slots[number] {
            Slot { role, connection: Some(connection), .. } if role.is_standing() && connection.is_logged_in => {
                self.poll.modify(&connection.stream, number, EventFlags::IN | EventFlags::OUT)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, number: usize) -> io::Result<()> {
        let Some(Connection { stream, lines, taken, .. }) = &mut self.slots[number].connection else { return Ok(()) };
        match stream.write(&lines[*taken..]) {
            Ok(count) => *taken = (*taken + count) % lines.len(),
            // An end shows in the next read.
            Err(error) if is_not_now(&error) || is_end(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[number];
        let Some(connection) = &mut slot.connection else { return Ok(()) };
        let count = match connection.stream.read(&mut self.scratch) {
            Ok(0) => return self.ended(number),
            Ok(count) => count,
            Err(error) if is_not_now(&error) => return Ok(()),
            Err(error) if is_end(&error) => return self.ended(number),
            Err(error) => return Err(error.into()),
        };
        let (executed, refused) = connection.replies.count(&self.scratch[..count]);
        self.shared.executed.fetch_add(executed, Ordering::Relaxed);
        self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        let Replies { has_login, executed: in_all, .. } = connection.replies;
        let is_new = has_login && !std::mem::replace(&mut connection.is_logged_in, has_login);
        if !slot.role.is_standing() {
            // More than its login is executed, so it yields.
            if executed > 0 && in_all > 1 {
                slot.due = Instant::now() + QUIET;
            }
        } else if refused > 0 && !has_login {
            // Its name is still taken.
            slot.rest(REOPEN);
        } else if is_new && self.may_flood {
            self.start_writing(number)?;
        }
        Ok(())
    }

    /// The server has ended a connection.
    fn ended(&mut self, number: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[number];
        let was_logged_in = slot.is_logged_in();
        // A refused connection does not come back in the same moment.
        slot.rest(if slot.role == Role::Reconnecting && was_logged_in { Duration::ZERO } else { REOPEN });
        if slot.role.is_standing() && was_logged_in {
            if slot.role == Role::Lines {
                bail!("the server closed the connection that says short lines");
            }
            self.shared.cut.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What the beginnings of lines say.
#[derive(Debug, Default)]
struct Replies {
    has_login: bool,
    executed: u64,
    /// The beginning of the line that has not ended.
    beginning: Vec<u8>,
}

impl Replies {
    /// The part of a line that is looked at.
    const BEGINNING_BYTES: usize = 8;

    /// Counts replies in `input`. Returns how many lines it says were executed and refused.
    fn count(&mut self, input: &[u8]) -> (u64, u64) {
        let (mut executed, mut refused, mut from) = (0, 0, 0);
        for end in memchr::memchr_iter(b'\n', input) {
            self.extend(&input[from..end]);
            match &self.beginning[..] {
                b"Sent to " | b"Goodbye." => executed += 1,
                b"Logged i" => (executed, self.has_login) = (executed + 1, true),
                beginning if beginning.starts_with(b"error: ") => refused += 1,
                _ => {}
            }
            self.beginning.clear();
            from = end + 1;
        }
        self.extend(&input[from..]);
        self.executed += executed;
        (executed, refused)
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = Self::BEGINNING_BYTES - self.beginning.len();
        self.beginning.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The server has ended the connection.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
