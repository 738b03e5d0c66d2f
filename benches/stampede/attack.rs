//! The flooder of `flood`: what one address does to a server, on one thread that sleeps while it is throttled.
//!
//! All its connections come from [`FLOODER`], so the server limits them and not the talkers. Standing connections log in
//! and send the same lines again and again, as fast as the socket takes them; those of a burst wait until all of them
//! are logged in. A reconnecting one sends all its lines at once and resets when it is done or throttled: a new
//! connection might not be. Everything that comes is read and thrown away, but for the first words of replies: these say
//! how many lines were executed.
//!
//! A connection ends by RST: at a FIN the server would execute what is left, at its rate, beside the next run.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cowchat::limits::{CONNECT_WAIT_MAX, CONNECTIONS_PER_ADDRESS, LINE_BYTES_MAX};
use rustix::event::epoll::EventFlags;

use crate::cli::FloodKind;
use crate::crowd::Poll;
use crate::procfs::thread_cpu_ns;
use crate::texts::DEAREST;
use crate::wire::{Gallery, TOKEN_BYTES, Token};

/// Where the flooder comes from.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Names for standing connections, and behind them those that reconnecting ones take in turns: the last one's may be
/// taken for a moment after its reset.
const STANDING_NAMES: usize = CONNECTIONS_PER_ADDRESS;
const RECONNECTING_NAMES: usize = 16;

/// Names that the flooder needs.
pub const NAMES: usize = STANDING_NAMES + RECONNECTING_NAMES;

/// Yields of a reconnecting one. With the login they are a burst, were there no receivers.
const RECONNECTING_YIELDS: usize = 9;

/// How long a reconnecting one waits until a yield of it is executed: its address may connect twice a second, and has two
/// lines executed in 0.4 s.
const ADMISSION_MAX: Duration = Duration::from_secs(2);

/// A reconnecting one of which a yield was executed, and then none for so long, is throttled: a new one might not be.
const QUIET: Duration = Duration::from_millis(50);

/// Before a place that was refused or cut is taken again.
const REOPEN: Duration = Duration::from_millis(100);

/// Until all standing connections are logged in. The server serves them at `--connect-rate`: 64 in 22 s, or in 32 s
/// after a run before.
const READY_MAX: Duration = CONNECT_WAIT_MAX.saturating_mul(3);

/// Longest wait in epoll, so that the thread begins and ends when it should.
const TICK: Duration = Duration::from_millis(50);

/// Bytes of lines that a connection offers its socket at a time.
const OFFER_BYTES: usize = 16 * 1024;

/// Kernel send buffer of a connection: what one address keeps on its way need not be megabytes for each.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// One read takes at most this.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What a standing connection, or a series of reconnecting ones, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Says short lines to itself.
    Lines,
    /// Yields the longest lines of the dearest text.
    Expensive,
    /// Yields as the talkers say.
    Yields,
    /// Logs in, yields, quits, and again.
    Reconnecting,
}

impl Role {
    /// All of a kind of flood, which are no more than one address may hold.
    fn of_kind(kind: FloodKind) -> Vec<Role> {
        use Role::{Expensive, Lines, Reconnecting, Yields};
        match kind {
            FloodKind::Lines => vec![Lines],
            FloodKind::Reconnect => vec![Reconnecting],
            FloodKind::Expensive => vec![Expensive],
            FloodKind::Many | FloodKind::Burst => vec![Yields; CONNECTIONS_PER_ADDRESS],
            FloodKind::All => {
                // One place is for the reconnecting one that the server has not seen go.
                let mut roles = vec![Yields; CONNECTIONS_PER_ADDRESS - 1];
                roles[..3].copy_from_slice(&[Lines, Expensive, Reconnecting]);
                roles
            }
        }
    }

    fn is_standing(self) -> bool {
        self != Role::Reconnecting
    }
}

/// What the flooder has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deeds {
    /// Lines that the server executed, logins among them.
    pub executed: u64,
    /// Lines that it answered by an error.
    pub refused: u64,
    /// Connections opened.
    pub opened: u64,
    /// Standing connections that the server ended.
    pub cut: u64,
    /// CPU time of the thread.
    pub cpu_ns: u64,
}

impl Deeds {
    /// What was done since `earlier`.
    pub fn since(self, earlier: Deeds) -> Deeds {
        Deeds {
            executed: self.executed - earlier.executed,
            refused: self.refused - earlier.refused,
            opened: self.opened - earlier.opened,
            cut: self.cut - earlier.cut,
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
        }
    }
}

/// What the thread and its owner tell each other.
#[derive(Debug, Default)]
struct Shared {
    is_ready: AtomicBool,
    is_on: AtomicBool,
    is_over: AtomicBool,
    thread: AtomicU32,
    executed: AtomicU64,
    refused: AtomicU64,
    opened: AtomicU64,
    cut: AtomicU64,
}

/// A flood under way, until this is dropped.
pub struct Flooder {
    shared: Arc<Shared>,
    started: Instant,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Flooder {
    /// Opens the connections, from where names from `first_name` on are the flooder's. Each begins when it is logged in, or,
    /// in a burst, all of them on [`Flooder::begin`].
    pub fn start(server: SocketAddr, kind: FloodKind, gallery: &Gallery, first_name: usize) -> Flooder {
        let shared = Arc::new(Shared::default());
        shared.is_on.store(kind != FloodKind::Burst, Ordering::Relaxed);
        let thread = std::thread::spawn({
            let (shared, gallery) = (Arc::clone(&shared), gallery.clone());
            move || Mob::new(server, kind, gallery, first_name, shared)?.run()
        });
        Flooder { shared, started: Instant::now(), thread: Some(thread) }
    }

    /// Whether all standing connections were logged in at once.
    ///
    /// # Errors
    /// When it has failed, or the server does not let all of them in for [`READY_MAX`].
    pub fn is_ready(&mut self) -> anyhow::Result<bool> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        if self.shared.is_ready.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if self.started.elapsed() > READY_MAX {
            bail!("not all its connections were let in for {READY_MAX:?}");
        }
        Ok(false)
    }

    /// Lets the connections of a burst begin.
    pub fn begin(&self) {
        self.shared.is_on.store(true, Ordering::Relaxed);
    }

    /// What it has done.
    ///
    /// # Errors
    /// When its thread has ended.
    pub fn deeds(&self) -> anyhow::Result<Deeds> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { executed, refused, opened, cut, thread, .. } = &*self.shared;
        let cpu_ns = thread_cpu_ns(thread.load(Ordering::Relaxed)).context("its thread has ended")?;
        Ok(Deeds { executed: of(executed), refused: of(refused), opened: of(opened), cut: of(cut), cpu_ns })
    }

    /// Resets all connections.
    ///
    /// # Errors
    /// When it had failed before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| bail!("panicked")))
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// The name of the flooder that yields the dearest text, if one does in this kind of flood, and what follows the token
/// in that.
pub fn expensive(kind: FloodKind, gallery: &Gallery, first_name: usize) -> Option<(usize, Vec<u8>)> {
    let place = Role::of_kind(kind).iter().position(|&role| role == Role::Expensive)?;
    let name = &gallery.names()[first_name + place];
    // As long as it can be said to itself, too.
    let room = LINE_BYTES_MAX - "say  ".len() - name.len() - TOKEN_BYTES - 1;
    let rest = [b" ", &DEAREST.repeat(room / DEAREST.len())[..]].concat();
    Some((first_name + place, rest))
}

/// The token of all that the flooder of this name yields.
pub fn token(name: usize) -> Token {
    Token { sender: name, number: 1, yielded: 1 }
}

/// All connections, on their thread.
struct Mob {
    server: SocketAddr,
    shared: Arc<Shared>,
    gallery: Gallery,
    first_name: usize,
    poll: Poll,
    places: Vec<Place>,
    scratch: Vec<u8>,
    is_on: bool,
}

/// A role, and the connection that plays it, if there is one.
struct Place {
    role: Role,
    connection: Option<Connection>,
    /// When it is opened, or given up.
    due: Instant,
    /// Connections so far.
    round: usize,
}

impl Place {
    fn new(role: Role) -> Place {
        Place { role, connection: None, due: Instant::now(), round: 0 }
    }

    /// Without a connection until then.
    fn rest(&mut self, until: Instant) {
        self.connection = None;
        self.due = until;
    }
}

struct Connection {
    stream: TcpStream,
    /// What it sends again and again.
    lines: Vec<u8>,
    taken: usize,
    replies: Replies,
    is_logged_in: bool,
}

impl Mob {
    fn new(
        server: SocketAddr,
        kind: FloodKind,
        gallery: Gallery,
        first_name: usize,
        shared: Arc<Shared>,
    ) -> io::Result<Mob> {
        let places = Role::of_kind(kind).into_iter().map(Place::new).collect();
        let (poll, scratch) = (Poll::new(CONNECTIONS_PER_ADDRESS)?, vec![0; SCRATCH_BYTES]);
        Ok(Mob { server, shared, gallery, first_name, poll, places, scratch, is_on: false })
    }

    fn run(mut self) -> anyhow::Result<()> {
        self.shared.thread.store(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(), Ordering::Relaxed);
        let mut events = Vec::new();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            if !self.is_on && self.shared.is_on.load(Ordering::Relaxed) {
                self.is_on = true;
                (0..self.places.len()).try_for_each(|number| self.let_loose(number))?;
            }
            let now = Instant::now();
            (0..self.places.len()).try_for_each(|number| self.look_at(number, now))?;
            let standing = |place: &&Place| place.role.is_standing();
            let is_in = |place: &Place| place.connection.as_ref().is_some_and(|connection| connection.is_logged_in);
            if !self.shared.is_ready.load(Ordering::Relaxed) && self.places.iter().filter(standing).all(is_in) {
                self.shared.is_ready.store(true, Ordering::Relaxed);
            }
            let due = self.places.iter().filter(|place| self.is_timed(place)).map(|place| place.due).min();
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

    /// Whether something happens to a place by its time alone.
    fn is_timed(&self, place: &Place) -> bool {
        match place.role {
            // Before that, it would wait for its turn behind the standing ones.
            Role::Reconnecting => self.shared.is_ready.load(Ordering::Relaxed),
            _ => place.connection.is_none(),
        }
    }

    /// Opens or gives up what is due.
    fn look_at(&mut self, number: usize, now: Instant) -> anyhow::Result<()> {
        let place = &self.places[number];
        if place.due > now || !self.is_timed(place) {
            return Ok(());
        }
        self.places[number].connection = None;
        self.open(number, now)
    }

    fn open(&mut self, number: usize, now: Instant) -> anyhow::Result<()> {
        let Place { role, round, .. } = self.places[number];
        let name = self.first_name
            + match role {
                Role::Reconnecting => STANDING_NAMES + round % RECONNECTING_NAMES,
                _ => number,
            };
        let login = format!("login {}\n", self.gallery.names()[name]).into_bytes();
        let (first, lines) = match role {
            Role::Reconnecting => (self.session(&login, name), Vec::new()),
            _ => {
                let line = self.line(role, name);
                (login, line.repeat(OFFER_BYTES.div_ceil(line.len())))
            }
        };
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((FLOODER, 0)).into())?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&self.server.into()).context("it cannot connect")?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        // A new socket's buffer takes it all; one that was refused already is seen when it is read.
        if let Err(error) = stream.write_all(&first)
            && !is_end(&error)
        {
            return Err(error.into());
        }
        self.poll.add(&stream, number, EventFlags::IN)?;
        self.shared.opened.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { stream, lines, taken: 0, replies: Replies::default(), is_logged_in: false };
        self.places[number] =
            Place { role, connection: Some(connection), due: now + ADMISSION_MAX, round: round.wrapping_add(1) };
        Ok(())
    }

    /// The line that a standing connection repeats.
    fn line(&self, role: Role, name: usize) -> Vec<u8> {
        match role {
            Role::Lines => format!("say {} moo\n", self.gallery.names()[name]).into_bytes(),
            _ => {
                let token = token(name);
                [b"yield ", &token.bytes()[..], self.gallery.rest(token), b"\n"].concat()
            }
        }
    }

    /// All that a reconnecting one sends.
    fn session(&self, login: &[u8], name: usize) -> Vec<u8> {
        [login, &self.line(Role::Reconnecting, name).repeat(RECONNECTING_YIELDS), b"quit\n"].concat()
    }

    /// Has a standing connection that is logged in send its lines.
    fn let_loose(&self, number: usize) -> io::Result<()> {
        match &self.places[number] {
            Place { role, connection: Some(connection), .. } if role.is_standing() && connection.is_logged_in => {
                self.poll.modify(&connection.stream, number, EventFlags::IN | EventFlags::OUT)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, number: usize) -> io::Result<()> {
        let Some(Connection { stream, lines, taken, .. }) = &mut self.places[number].connection else { return Ok(()) };
        match stream.write(&lines[*taken..]) {
            Ok(count) => *taken = (*taken + count) % lines.len(),
            Err(error) if is_not_now(&error) => {}
            // The next reading tells.
            Err(error) if is_end(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(connection) = &mut self.places[number].connection else { return Ok(()) };
        let count = match connection.stream.read(&mut self.scratch) {
            Ok(0) => return self.ended(number),
            Ok(count) => count,
            Err(error) if is_not_now(&error) => return Ok(()),
            Err(error) if is_end(&error) => return self.ended(number),
            Err(error) => return Err(error.into()),
        };
        let before = connection.replies.clone();
        connection.replies.count(&self.scratch[..count]);
        let after = &connection.replies;
        let (logins, executed, refused) =
            (after.logins, after.executed - before.executed, after.refused - before.refused);
        // The login and a yield.
        let has_yielded = after.executed > 1;
        self.shared.executed.fetch_add(executed, Ordering::Relaxed);
        self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        let was_logged_in = std::mem::replace(&mut connection.is_logged_in, logins > 0);
        let place = &mut self.places[number];
        match place.role {
            Role::Reconnecting if has_yielded && executed > 0 => place.due = Instant::now() + QUIET,
            Role::Reconnecting => {}
            // Its name was taken still.
            _ if refused > 0 && logins == 0 => place.rest(Instant::now() + REOPEN),
            _ if logins > 0 && !was_logged_in && self.is_on => self.let_loose(number)?,
            _ => {}
        }
        Ok(())
    }

    /// The server has ended a connection.
    fn ended(&mut self, number: usize) -> anyhow::Result<()> {
        let place = &mut self.places[number];
        let was_logged_in = place.connection.as_ref().is_some_and(|connection| connection.is_logged_in);
        // One that was refused does not come back in the same moment.
        let pause = if place.role == Role::Reconnecting && was_logged_in { Duration::ZERO } else { REOPEN };
        place.rest(Instant::now() + pause);
        if place.role.is_standing() && was_logged_in {
            if place.role == Role::Lines {
                bail!("the server closed the connection that says short lines");
            }
            self.shared.cut.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What is found at the beginnings of lines.
#[derive(Debug, Clone, Default)]
struct Replies {
    logins: u64,
    executed: u64,
    refused: u64,
    /// How the line that has not ended begins.
    beginning: Vec<u8>,
}

impl Replies {
    /// As much of a line as is looked at.
    const BEGINNING_BYTES: usize = 8;

    fn count(&mut self, input: &[u8]) {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', input) {
            self.begin(&input[from..end]);
            match &self.beginning[..] {
                b"Sent to " | b"Goodbye." => self.executed += 1,
                b"Logged i" => (self.executed, self.logins) = (self.executed + 1, self.logins + 1),
                beginning if beginning.starts_with(b"error: ") => self.refused += 1,
                _ => {}
            }
            self.beginning.clear();
            from = end + 1;
        }
        self.begin(&input[from..]);
    }

    fn begin(&mut self, piece: &[u8]) {
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
