//! What the tests share: a server process of one's own, and netcat-like clients.
//!
//! A [`Server`] runs the real binary on 2 cores or more and port 0, and is gone when it is dropped. Nothing here
//! sleeps: clients wait for bytes, and what has no bytes is waited for in the server's log. The guards only
//! turn a hang into a failure.

#![expect(unsafe_code, reason = "a child is changed between fork and exec")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::log_line::LogLine;
use charasay::bubbles::BubbleType;
use charasay::{Chara, format_character};
use rustix::io::ioctl_fionbio;

/// After this long a wait counts as a hang. No test passes or fails by how long anything takes below it.
pub const GUARD: Duration = Duration::from_secs(60);

/// The smallest `--sendq-bytes-max` that can be asked for.
pub const SENDQ_BYTES_MIN: &str = "57344";

/// The reply to `help`, and to a blank line.
pub const HELP: &str = "commands: who, cows, login COW, say COW TEXT, yield TEXT, quit";

/// How many there are to be of something: `ci/soak.sh` says by this variable, and else so many.
pub fn count_of(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().expect("a number"))
}

/// On how many cores servers run: 2, or as many as `COWCHAT_TEST_CORES` says.
pub fn cores() -> String {
    count_of("COWCHAT_TEST_CORES", 2).to_string()
}

/// The program under test.
pub fn cowchat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowchat"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWCHAT_")) {
        command.env_remove(name);
    }
    // Whoever runs the tests as a service is not to hear of their servers.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    // Under nohup it is ignored, and a server would ignore it, too.
    let heed_hangups = || {
        // SAFETY: the call reads two numbers.
        let before = unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        if before == libc::SIG_ERR { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes one system call; it takes no lock and no memory.
    unsafe { command.pre_exec(heed_hangups) };
    command
}

/// Has the kernel ask `program`, in the BPF of seccomp(2), about each system call of what `command` starts.
pub fn confine(command: &mut Command, program: Vec<libc::sock_filter>) {
    let install = move || {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: both calls only read their arguments, and `filter` points to `program`, which is alive.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it takes no lock and no memory.
    unsafe { command.pre_exec(install) };
}

/// One instruction of such a program.
pub fn bpf(code: u32, jump_if: u8, jump_else: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_if, jf: jump_else, k: value }
}

/// A running server.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its first line on stdout.
    pub announcement: String,
    log: Arc<Log>,
    log_reader: Option<JoinHandle<()>>,
    exited: Option<ExitStatus>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<LogLine>, bool)>,
    more: Condvar,
}

impl Server {
    /// A server with the defaults on 2 cores, or as many as `COWCHAT_TEST_CORES` says.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// A server with some more flags.
    pub fn with(flags: &[&str]) -> Server {
        Server::try_with("127.0.0.1:0", flags).unwrap_or_else(|output| panic!("the server did not start: {output}"))
    }

    /// A server on this address, or what it said instead of starting.
    pub fn try_with(listen: &str, flags: &[&str]) -> Result<Server, String> {
        let mut command = cowchat();
        command.args(["serve", "--listen", listen, "--cores", &cores()]).args(flags);
        Server::spawn(command)
    }

    /// The server that `command` starts, or what it said instead of starting.
    pub fn spawn(mut command: Command) -> Result<Server, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let log_reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        let mut announcement = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut announcement).expect("stdout is text");
        let address = announcement.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let Some(address) = address else {
            let status = child.wait().expect("it has ended");
            log_reader.join().expect("the log can be read");
            let lines = texts(&log.lines.lock().expect("no panic").0).join("\n");
            return Err(format!("{announcement}{lines} ({status})"));
        };
        Ok(Server { child, address, announcement, log, log_reader: Some(log_reader), exited: None })
    }

    /// A new client.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A new client that the given core serves.
    pub fn connect_on(&self, core: usize) -> Client {
        let deadline = Instant::now() + GUARD;
        while Instant::now() < deadline {
            let client = self.connect();
            if self.core_of(&client) == core {
                return client;
            }
        }
        panic!("the kernel gives core {core} no connection");
    }

    /// What the log calls `client`.
    pub fn name_of(&self, client: &Client) -> String {
        self.log_event("accepted", &[("peer", &client.local().to_string())]).field("connection").to_owned()
    }

    /// The core that serves `client`.
    pub fn core_of(&self, client: &Client) -> usize {
        let name = self.name_of(client);
        name.split('.').next().and_then(|core| core.parse().ok()).expect("a core's number")
    }

    /// A new client, logged in.
    pub fn login(&self, cow: &str) -> Client {
        self.connect().logged_in(cow)
    }

    /// A new client on the given core, logged in.
    pub fn login_on(&self, core: usize, cow: &str) -> Client {
        self.connect_on(core).logged_in(cow)
    }

    /// Waits for an event of this key with these fields.
    pub fn log_event(&self, key: &str, fields: &[(&str, &str)]) -> LogLine {
        let found = self.log_line(|line| line.is(key, fields));
        // Not under the lock: Drop reads the log, too.
        found.unwrap_or_else(|| panic!("no event={key} with {fields:?} in the log"))
    }

    /// The events of this key with these fields so far.
    pub fn log_events(&self, key: &str, fields: &[(&str, &str)]) -> Vec<LogLine> {
        let mut lines = self.log.lines.lock().expect("no panic").0.clone();
        lines.retain(|line| line.is(key, fields));
        lines
    }

    /// Waits for such a line of the log; `None` if the log ends without.
    pub fn log_line(&self, is_it: impl Fn(&LogLine) -> bool) -> Option<LogLine> {
        let deadline = Instant::now() + GUARD;
        let mut lines = self.log.lines.lock().expect("no panic");
        let mut seen = 0;
        loop {
            if let Some(line) = lines.0[seen..].iter().find(|line| is_it(line)) {
                return Some(line.clone());
            }
            seen = lines.0.len();
            if lines.1 || Instant::now() >= deadline {
                return None;
            }
            lines = self.log.more.wait_timeout(lines, GUARD).expect("no panic").0;
        }
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        texts(&self.log.lines.lock().expect("no panic").0)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("one's own child").count()
    }

    /// Waits until it has closed so many descriptors that at most `count` are open.
    pub fn wait_for_descriptors(&self, count: usize) {
        let deadline = Instant::now() + GUARD;
        while self.descriptors() > count {
            assert!(Instant::now() < deadline, "{} descriptors instead of {count}", self.descriptors());
            std::thread::yield_now();
        }
    }

    /// A figure from its /proc/PID/status, in KiB.
    pub fn kib_of(&self, field: &str) -> u64 {
        kib_of(self.pid(), field)
    }

    /// CPU time that it has used, in ticks of 1/100 s.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server runs");
        let fields = stat.rsplit(')').next().expect("fields after the name").split_whitespace();
        // Fields 14 and 15 of proc(5): utime and stime; the third is the first here.
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum()
    }

    /// Sends a signal, by its name as `kill` knows it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + GUARD;
        self.log.wait_for_end(deadline);
        let status = self.child.wait().expect("a child can be waited for");
        self.exited = Some(status);
        status
    }
}

/// A figure from a process's /proc/PID/status, in KiB.
pub fn kib_of(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a known field");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("the server's log ends:\n{}", log[log.len().saturating_sub(40)..].join("\n"));
        }
    }
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| line.text.clone()).collect()
}

impl Log {
    fn read(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.lines.lock().expect("no panic").0.push(LogLine::new(line));
            self.more.notify_all();
        }
        self.lines.lock().expect("no panic").1 = true;
        self.more.notify_all();
    }

    /// Waits until stderr is closed, which it is when the process has ended.
    fn wait_for_end(&self, deadline: Instant) {
        let mut lines = self.lines.lock().expect("no panic");
        while !lines.1 {
            if Instant::now() >= deadline {
                drop(lines);
                panic!("the server does not end");
            }
            lines = self.more.wait_timeout(lines, Duration::from_secs(1)).expect("no panic").0;
        }
    }
}

/// A netcat-like client.
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
    pub fn expect_message(&mut self, from: &str, to_you: bool, text: &str) {
        self.expect(&message(from, to_you, text));
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

    /// Leaves as one should.
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

    /// The same for one who reads in small pieces, and types a line after each.
    pub fn read_to_end_while_typing(&mut self) -> String {
        let mut rest = Vec::new();
        let mut piece = [0; 512];
        loop {
            match self.input.read(&mut piece).expect("FIN, not RST") {
                0 => return String::from_utf8(rest).expect("the server speaks UTF-8"),
                count => rest.extend_from_slice(&piece[..count]),
            }
            // Once all of it is here the server may go, but nothing is lost any more; the next read tells.
            let _ = self.stream().write_all(b"who\n");
        }
    }

    /// Says that no more lines will come.
    pub fn half_close(&self) {
        self.stream().shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Closes by RST, as a crashed peer's kernel would.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }
}

/// A message as it is delivered with the header on.
pub fn message(from: &str, to_you: bool, text: &str) -> String {
    let header = if to_you { "says to you" } else { "says" };
    format!("{from} {header}:\n{}", picture(from, text))
}

/// `text` in lines as a server fills them, joined by LF: for texts without wide characters, whose words stand one blank
/// apart. Lines that it has already stay.
pub fn filled(text: &str, columns: usize) -> String {
    let width = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        for (at, word) in line.split(' ').enumerate() {
            match lines.last_mut().filter(|last| at > 0 && width(last) + 1 + width(word) <= columns) {
                Some(last) => *last += &format!(" {word}"),
                None if word.is_empty() => lines.push(String::new()),
                None => {
                    let characters: Vec<char> = word.chars().collect();
                    lines.extend(characters.chunks(columns).map(String::from_iter));
                }
            }
        }
    }
    lines.join("\n")
}

/// What charasay itself draws around the text in its lines, and the LF after it.
pub fn picture(cow: &str, text: &str) -> String {
    static DRAWN: LazyLock<Mutex<HashMap<(String, String), String>>> = LazyLock::new(Mutex::default);
    let mut drawn = DRAWN.lock().expect("no panic");
    let entry = drawn.entry((cow.to_owned(), text.to_owned()));
    entry
        .or_insert_with(|| {
            let chara = Chara::Builtin(cow.to_owned());
            format_character(&filled(text, 40), &chara, 40, BubbleType::Cowsay).expect("charasay draws") + "\n"
        })
        .clone()
}

/// Names of all cows, sorted.
pub fn all_cows() -> Vec<&'static str> {
    charasay::BUILTIN_CHARA.to_vec()
}

/// A child process, ended when this is dropped, and after [`GUARD`]: who waits for its output gets its end then.
pub struct Guarded {
    pub child: Child,
    _over: std::sync::mpsc::Sender<()>,
}

impl Guarded {
    /// Starts `command` with a pipe to each of its standard streams.
    pub fn spawn(command: &mut Command) -> Guarded {
        Guarded::spawn_with_stderr(command, Stdio::piped())
    }

    /// The same with this stderr.
    pub fn spawn_with_stderr(command: &mut Command, stderr: Stdio) -> Guarded {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let child = piped.spawn().expect("the binary runs");
        let (sender, over) = std::sync::mpsc::channel();
        let pid = child.id().to_string();
        std::thread::spawn(move || {
            if over.recv_timeout(GUARD) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
            }
        });
        Guarded { child, _over: sender }
    }

    /// Reads where it listens from its stdout, if it is a server.
    pub fn read_announcement(&mut self) -> SocketAddr {
        let mut line = String::new();
        let stdout = self.child.stdout.take().expect("piped, and not read before");
        BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        address.unwrap_or_else(|| panic!("not an announcement: {line:?}"))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends a signal, by its name as `kill` knows it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success(), "kill -s {name}");
    }

    /// Waits for its exit code; `None` if a signal has ended it, as the guard's would.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe into which not one byte more goes until somebody reads it.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("a pipe");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).expect("a pipe");
    (reader, writer)
}

/// A client with so small a receive buffer that what it does not read soon waits in the server.
pub fn connect_narrow(address: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a TCP socket");
    socket.connect(&address.into()).expect("the server accepts");
    Client::over(socket.into())
}
