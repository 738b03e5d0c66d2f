//! What a service manager is told through `NOTIFY_SOCKET`: that the server is ready, lives while every core does, and stops.
//! And that no manager can delay a server.

#![expect(unsafe_code, reason = "a thread is stopped by ptrace")]

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::support::{GUARD, Scratch, Server, serve, set_soft_limit, without_terminal};
use rustix::process::Resource;

/// A watchdog timeout so short that the server sends a sign of life whenever its supervisor has looked at the cores.
const IMPATIENT: &str = "500000";

const LIVES: &str = "WATCHDOG=1\n";

/// The socket of a service manager at a path.
struct Socket {
    path: PathBuf,
    socket: Arc<UnixDatagram>,
    _files: Scratch,
}

impl Socket {
    fn bind() -> Socket {
        let files = Scratch::new();
        let path = files.join("notify");
        let socket = Arc::new(UnixDatagram::bind(&path).expect("a directory of the test's own"));
        Socket { path, socket, _files: files }
    }
}

/// Reads what comes through a socket, so that there is always room in it.
struct Listening {
    socket: Arc<UnixDatagram>,
    told: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl Listening {
    fn to(socket: &Arc<UnixDatagram>) -> Listening {
        let (sender, told) = mpsc::channel();
        let reading = Arc::clone(socket);
        let read = move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reading.recv(&mut buffer) {
                let _ = sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        };
        Listening { socket: Arc::clone(socket), told, reader: Some(std::thread::spawn(read)) }
    }

    fn next(&self) -> String {
        self.told.recv_timeout(GUARD).expect("the server has something to say")
    }

    /// All that has been sent until now and was not taken yet.
    fn rest(mut self) -> Vec<String> {
        self.end();
        self.told.try_iter().collect()
    }

    /// The reader reads what is there, and then the end.
    fn end(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

/// A server that is told of this socket, and of a watchdog if there is one.
fn started(notify_socket: &OsStr, watchdog_usec: Option<&str>) -> Server {
    let mut command = serve(&["--cores", "2"]);
    without_terminal(&mut command);
    command.env("NOTIFY_SOCKET", notify_socket).envs(watchdog_usec.map(|usec| ("WATCHDOG_USEC", usec)));
    Server::started(command)
}

/// What a manager is told when the server accepts.
fn ready(server: &Server) -> String {
    format!("READY=1\nSTATUS={}", server.announcement)
}

fn assert_it_ends_when_asked_to(mut server: Server) {
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// Asserts that this manager is told all of a server's life, in order.
fn assert_it_is_told_all(name: &OsStr, socket: &Arc<UnixDatagram>) {
    let listening = Listening::to(socket);
    let server = started(name, Some(IMPATIENT));
    assert_eq!(listening.next(), ready(&server));
    let _client = server.login("tux");
    for _ in 0..3 {
        assert_eq!(listening.next(), LIVES);
    }
    assert_it_ends_when_asked_to(server);
    let mut rest = listening.rest();
    rest.retain(|said| said != LIVES);
    assert_eq!(rest, ["STOPPING=1\nSTATUS=SIGTERM: draining 1 connections\n"], "and nothing after that");
}

#[test]
fn a_manager_is_told_that_the_server_is_ready_lives_and_stops() {
    let socket = Socket::bind();
    assert_it_is_told_all(socket.path.as_os_str(), &socket.socket);
}

#[test]
fn a_socket_with_an_abstract_name_is_as_good() {
    let name = format!("cowchat-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let socket = Arc::new(UnixDatagram::bind_addr(&address).expect("a free name"));
    assert_it_is_told_all(OsStr::new(&format!("@{name}")), &socket);
}

/// A core whose thread is held as a debugger holds it, until this is dropped.
struct Stalled {
    _end: Sender<()>,
}

impl Stalled {
    fn core(server: &Server, core: usize) -> Stalled {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a child of this process");
        let threads = threads.map(|entry| entry.expect("an entry").path());
        let named = |path: &PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == format!("core-{core}\n"))
        };
        let ids = threads.filter(named).filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        // What the core's thread has started itself has its name, and came later.
        let thread: libc::pid_t = ids.min().expect("a thread of that name");
        let (holding, is_held) = mpsc::channel();
        let (end, until_dropped) = mpsc::channel::<()>();
        // What a thread traces goes on when that thread ends.
        std::thread::spawn(move || {
            trace(libc::PTRACE_SEIZE, thread);
            // Anywhere but in its ring it may hold a lock, and then the supervisor would stall, too.
            loop {
                trace(libc::PTRACE_INTERRUPT, thread);
                // SAFETY: a null pointer asks for no status.
                let stopped = unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
                assert_eq!(stopped, thread, "{}", std::io::Error::last_os_error());
                if is_in_its_ring(thread) {
                    break;
                }
                trace(libc::PTRACE_CONT, thread);
            }
            let _ = holding.send(());
            let _ = until_dropped.recv();
        });
        is_held.recv_timeout(GUARD).expect("a core parks now and then");
        Stalled { _end: end }
    }
}

/// One request about a thread that is traced, or will be.
fn trace(request: libc::c_uint, thread: libc::pid_t) {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests here reads or writes this process's memory.
    let result = unsafe { libc::ptrace(request, thread, none, none) };
    assert_eq!(result, 0, "a child may be traced: {}", std::io::Error::last_os_error());
}

/// Whether a stopped thread is in io_uring_enter.
fn is_in_its_ring(thread: libc::pid_t) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{thread}/syscall")).expect("it is traced");
    call.split(' ').next() == Some(&libc::SYS_io_uring_enter.to_string())
}

#[test]
fn a_manager_is_told_when_a_reload_begins_and_ends() {
    let socket = Socket::bind();
    let listening = Listening::to(&socket.socket);
    let server = started(socket.path.as_os_str(), None);
    assert_eq!(listening.next(), ready(&server));
    for _ in 0..3 {
        server.signal("HUP");
        let reloading = listening.next();
        let began = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("it reloads, and says since when");
        assert!(began.trim_end().parse::<u64>().is_ok_and(|began| began > 0), "{began}");
        assert_eq!(listening.next(), ready(&server));
    }
    assert_it_ends_when_asked_to(server);
}

#[test]
fn with_a_stalled_core_no_signs_of_life_are_sent() {
    let socket = Socket::bind();
    let listening = Listening::to(&socket.socket);
    let server = started(socket.path.as_os_str(), Some(IMPATIENT));
    assert_eq!(listening.next(), ready(&server));
    assert_eq!(listening.next(), LIVES);
    let one = Stalled::core(&server, 1);
    server.log_event("core_stalled", &[("core", "1")]);
    // All that the supervisor sends while it misses core 1 but not yet core 0, which takes a second, lies between the two
    // lines of the log. A word sent before the first may still be under way.
    let mark = UnixDatagram::unbound().expect("a descriptor");
    mark.send_to(b"core 1 is stalled", &socket.path).expect("room");
    let zero = Stalled::core(&server, 0);
    server.log_event("core_stalled", &[("core", "0")]);
    mark.send_to(b"core 0 is stalled", &socket.path).expect("room");
    while listening.next() != "core 1 is stalled" {}
    assert_eq!(listening.next(), "core 0 is stalled");
    drop((zero, one));
    assert_eq!(listening.next(), LIVES, "both cores make progress again");
    assert_it_ends_when_asked_to(server);
}

#[test]
fn a_manager_without_a_watchdog_gets_no_signs_of_life() {
    let socket = Socket::bind();
    let listening = Listening::to(&socket.socket);
    let server = started(socket.path.as_os_str(), None);
    // Until a core is missed, the supervisor has looked a few times and found all well.
    let _one = Stalled::core(&server, 1);
    server.log_event("core_stalled", &[("core", "1")]);
    assert_eq!(listening.rest(), [ready(&server)]);
}

#[test]
fn out_of_descriptors_signs_of_life_are_still_sent() {
    let socket = Socket::bind();
    let listening = Listening::to(&socket.socket);
    let server = started(socket.path.as_os_str(), Some(IMPATIENT));
    assert_eq!(listening.next(), ready(&server));
    set_soft_limit(server.pid(), Resource::Nofile, 3);
    // One may have been under way.
    for _ in 0..4 {
        assert_eq!(listening.next(), LIVES);
    }
}

#[test]
fn a_manager_that_does_not_listen_delays_nothing() {
    let full = Socket::bind();
    let sender = UnixDatagram::unbound().expect("a descriptor");
    sender.set_nonblocking(true).expect("a socket");
    while sender.send_to(b"moo", &full.path).is_ok() {}
    let missing = OsString::from("/nosuch/notify");
    let too_long = OsString::from("/".repeat(200));
    for name in [full.path.as_os_str(), &missing, &too_long, OsStr::new("")] {
        let server = started(name, Some(IMPATIENT));
        let _client = server.login("tux");
        assert_it_ends_when_asked_to(server);
    }
}
