//! A running server: the real binary on 2 cores or more and port 0, killed when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::process::{announced, cores, cowchat, kib_of, kill};
use super::{Client, GUARD, LogLine, connect_narrow, serve, wait_until};

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
        Server::started(serve(&[&["--cores", &cores()], flags].concat()))
    }

    /// A server on this address, or what it said instead of starting.
    pub fn try_with(listen: &str, flags: &[&str]) -> Result<Server, String> {
        let mut command = cowchat();
        command.args(["serve", "--listen", listen, "--cores", &cores()]).args(flags);
        Server::spawn(command)
    }

    /// The server that `command` starts.
    pub fn started(command: Command) -> Server {
        Server::spawn(command).unwrap_or_else(|said| panic!("the server did not start: {said}"))
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
        let Some(address) = announced(&announcement) else {
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
        self.on_core(core, || self.connect())
    }

    /// A new client that the given core serves, with little room for what it does not read.
    pub fn connect_narrow_on(&self, core: usize) -> Client {
        self.on_core(core, || connect_narrow(self.address))
    }

    /// Connects until the kernel has given this core the connection.
    fn on_core(&self, core: usize, connect: impl Fn() -> Client) -> Client {
        let deadline = Instant::now() + GUARD;
        while Instant::now() < deadline {
            let client = connect();
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
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a child of this process").count()
    }

    /// Waits until it has closed descriptors so far that at most `count` are open.
    pub fn wait_for_descriptors(&self, count: usize) {
        wait_until(|| self.descriptors() <= count, &format!("more than {count} descriptors stay open"));
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
        kill(self.pid(), name);
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
