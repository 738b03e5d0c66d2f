//! Whatever a client does, or is done to it: the others talk on, its cow is free, nothing is left of it.
//!
//! Owns the promises' table of faults. Each row is tried from both cores of one server, between two bystanders, one on
//! each core, that talk to each other meanwhile and afterwards: nothing is lost, nothing comes twice. What a row's own
//! client must see is proven in the file with that theme (framing.rs for bytes, delivery.rs for readers, ownership.rs for
//! cows, start.rs for limits, shutdown.rs for ends); here it is about what such a client leaves behind. Last come the
//! faults that need a server of their own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, GUARD, LAST_LINE, ROOMY, SENDQ_BYTES_MIN, Server, all_cows, message, restore_limit, set_soft_limit,
    wait_until,
};
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;

/// A fault: what the client does, alone on its connection, and why that ends then, as the log says.
struct Fault {
    name: &'static str,
    act: Act,
    ends: &'static [End],
}

/// Fields of the event `closed`.
type End = &'static [(&'static str, &'static str)];

enum Act {
    /// Logs in as mew, sends these bytes, by which it says this text to both bystanders, and quits.
    Says(&'static [u8], &'static str),
    /// Anything else.
    Does(fn(&mut Stage, Client)),
}

const fn says(name: &'static str, bytes: &'static [u8], text: &'static str) -> Fault {
    Fault { name, act: Act::Says(bytes, text), ends: QUIT }
}

const fn does(name: &'static str, act: fn(&mut Stage, Client), ends: &'static [End]) -> Fault {
    Fault { name, act: Act::Does(act), ends }
}

const QUIT: &[End] = &[&[("cow", "mew"), ("reason", "quit")]];
const END: &[End] = &[&[("cow", "mew"), ("reason", "end_of_input")]];
const RESET: &[End] = &[&[("reason", "read_failed"), ("error", "connection reset")]];
const CUT: &[End] = &[&[("cow", "mew"), ("reason", "slow_consumer")]];
/// The two kernels decide which of these it is.
const GONE: &[End] =
    &[END[0], &[("cow", "mew"), ("reason", "read_failed")], &[("cow", "mew"), ("reason", "write_failed")]];

const TABLE: [Fault; 19] = [
    does("RST (SO_LINGER 0)", |_, client| client.logged_in("mew").reset(), RESET),
    does("RST in the middle of a line", resets_in_a_line, RESET),
    does("half-open", vanishes, CUT),
    does("slow writer before login", writes_slowly, QUIT),
    does("never-reading", never_reads, CUT),
    does("byte at a time", sends_single_bytes, QUIT),
    says("NUL", b"y\0ield a\0b\0\n\0", "ab"),
    says("invalid UTF-8", b"yield \xc3(\xd0\xbf\xf0\x9f\n", "\u{fffd}(п\u{fffd}"),
    says("lone CR", b"\ryield a\rb\n", "a b"),
    says("CRLF", b"yield ab\r\n", "ab"),
    says("telnet IAC", b"\xff\xfb\x1fyie\xff\xf1ld a\xff\xfa\x18\0\rx\xff\xf0b\n", "ab"),
    says("unterminated SB", b"yield ab\xff\xfa\x18 never ended\n", "ab"),
    says("escape sequences", b"yield a\x1b[31mb\x1b]0;title\x07\n", "ab"),
    says("unterminated escape sequence", b"yield ab\x1b[\n", "ab["),
    does("FIN right after a command", ends_after_a_command, END),
    does("gone right after a command", goes_after_a_command, GONE),
    does("disconnect while being delivered to", resets_while_delivered_to, GONE),
    does("disconnect with output pending", resets_with_output_pending, GONE),
    does("login race", races, &[&[("reason", "quit")]]),
];

#[test]
fn after_every_fault_others_talk_on_and_nothing_is_left() {
    let mut stage = Stage::new();
    for Fault { name, act, ends } in &TABLE {
        for core in [0, 1] {
            let client = stage.server.connect_narrow_on(core);
            let connection = stage.server.name_of(&client);
            match act {
                Act::Says(bytes, text) => say(&mut stage, client, bytes, text),
                Act::Does(act) => act(&mut stage, client),
            }
            let closed = stage.server.log_event("closed", &[("connection", &connection)]);
            assert!(ends.iter().any(|end| closed.is("closed", end)), "{name}, core {core}: {closed:?}");
            stage.assert_unharmed(&format!("{name}, core {core}"));
        }
    }
    let mut server = stage.end();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log_events("internal_fault", &[]).is_empty(), "{:?}", server.log());
}

/// A server, and two users that have nothing to do with the faults of others.
struct Stage {
    server: Server,
    /// aya, on core 0, and cow, on core 1.
    near: Client,
    far: Client,
    /// How many texts the two have said.
    said: u32,
    /// What the server has open when only these two are there.
    descriptors: usize,
}

impl Stage {
    fn new() -> Stage {
        Stage::on(Server::with(&["--sendq-bytes-max", SENDQ_BYTES_MIN]))
    }

    fn on(server: Server) -> Stage {
        let mut others = Vec::new();
        let mut on_core = |core| loop {
            let client = server.connect();
            if server.core_of(&client) == core {
                return client;
            }
            others.push(client);
        };
        let (near, far) = (on_core(0).logged_in("aya"), on_core(1).logged_in("cow"));
        let descriptors = server.descriptors() - others.len();
        drop(others);
        let mut stage = Stage { server, near, far, said: 0, descriptors };
        stage.assert_unharmed("nothing");
        stage
    }

    /// The bystanders talk: what each says, the other reads, and nothing between.
    fn talk(&mut self) {
        for _ in 0..2 {
            self.said += 1;
            let text = self.said.to_string();
            assert_eq!(self.near.ask(&format!("say cow {text}")), "Sent to cow");
            self.far.expect_message("aya", true, &text);
            assert_eq!(self.far.ask(&format!("say aya {text}")), "Sent to aya");
            self.near.expect_message("cow", true, &text);
        }
    }

    /// What must hold once a faulty client is gone.
    fn assert_unharmed(&mut self, fault: &str) {
        for bystander in [&mut self.near, &mut self.far] {
            assert_eq!(bystander.ask("who"), "Registered users: aya, cow", "after {fault}");
        }
        self.talk();
        let text = self.said.to_string();
        assert_eq!(self.near.ask(&format!("yield {text}")), "Sent to 1 cow", "after {fault}");
        self.far.expect_message("aya", false, &text);
        self.server.login("mew").quit();
        let is_closed = || self.server.descriptors() == self.descriptors;
        wait_until(is_closed, &format!("after {fault} there are not {} descriptors", self.descriptors));
    }

    /// Nothing has come to the bystanders that they have not read, and they leave.
    fn end(self) -> Server {
        self.near.quit();
        self.far.quit();
        self.server
    }

    /// One bystander yields until mew, which is logged in, is cut. Returns what mew was sent.
    fn yield_until_cut(&mut self) -> String {
        const YIELDS_MAX: u32 = 10_000;
        // A user that came after mew comes after it in a delivery, too.
        let mut late = [self.server.login_on(0, "kirby"), self.server.login_on(1, "nemo")];
        let mut sent = String::new();
        for number in 0.. {
            assert!(number < YIELDS_MAX, "it is never cut");
            let reply = self.near.ask(&format!("yield {number}"));
            let message = message("aya", false, &number.to_string());
            for receiver in late.iter_mut().chain([&mut self.far]) {
                receiver.expect(&message);
            }
            if reply == "Sent to 3 cows" {
                break;
            }
            assert_eq!(reply, "Sent to 4 cows");
            sent += &message;
        }
        late.into_iter().for_each(Client::quit);
        sent
    }
}

// What the rows do.

fn say(stage: &mut Stage, client: Client, bytes: &[u8], text: &str) {
    let mut client = client.logged_in("mew");
    client.send_raw(bytes);
    // A client that speaks telnet has its answers before that, and lines that end in CR LF.
    let reply = client.read_line_bytes();
    assert!(reply.trim_ascii_end().ends_with(b"Sent to 2 cows"), "{}", bytes.escape_ascii());
    stage.near.expect_message("mew", false, text);
    stage.far.expect_message("mew", false, text);
    client.send("quit");
    assert_eq!(client.read_line().trim_end(), "Goodbye.", "{}", bytes.escape_ascii());
    client.read_to_end();
}

fn resets_in_a_line(stage: &mut Stage, mut client: Client) {
    client.send_raw(b"login me");
    stage.talk();
    client.reset();
}

fn vanishes(stage: &mut Stage, client: Client) {
    let client = client.logged_in("mew");
    client.drop_incoming();
    stage.yield_until_cut();
}

fn writes_slowly(stage: &mut Stage, mut client: Client) {
    for piece in ["lo", "gin", " ", "mew"] {
        client.send_raw(piece.as_bytes());
        stage.talk();
    }
    assert_eq!(stage.near.ask("who"), "Registered users: aya, cow", "it has said nothing yet");
    client.send_raw(b"\n");
    assert_eq!(client.read_line(), "Logged in as mew");
    client.quit();
}

fn never_reads(stage: &mut Stage, client: Client) {
    let mut client = client.logged_in("mew");
    let sent = stage.yield_until_cut();
    let got = client.read_until_cut();
    assert!(sent.as_bytes().starts_with(&got), "{} bytes are a prefix of {}", got.len(), sent.len());
}

fn sends_single_bytes(stage: &mut Stage, mut client: Client) {
    for byte in b"login mew\r\nwho\r\nsay cow moo\r\nquit\r\n" {
        client.send_raw(&[*byte]);
    }
    let answers = "Logged in as mew\r\nRegistered users: aya, cow, mew\r\nSent to cow\r\nGoodbye.\r\n";
    assert_eq!(client.read_to_end(), answers);
    stage.far.expect_message("mew", true, "moo");
}

fn ends_after_a_command(stage: &mut Stage, mut client: Client) {
    client.send_raw(b"login mew\nsay cow moo");
    client.half_close();
    assert_eq!(client.read_to_end(), "Logged in as mew\nSent to cow\n");
    stage.far.expect_message("mew", true, "moo");
}

fn goes_after_a_command(stage: &mut Stage, mut client: Client) {
    client.send_raw(b"login mew\nsay cow moo\n");
    drop(client);
    stage.far.expect_message("mew", true, "moo");
}

fn resets_while_delivered_to(stage: &mut Stage, client: Client) {
    const MESSAGES: usize = 10;
    let mut client = client.logged_in("mew");
    stage.near.send_raw(&b"say mew moo\n".repeat(MESSAGES));
    client.expect_message("aya", true, "moo");
    client.reset();
    let replies: Vec<String> = (0..MESSAGES).map(|_| stage.near.read_line()).collect();
    let (sent, refused) = replies.split_at(replies.iter().filter(|&reply| reply == "Sent to mew").count());
    assert!(!sent.is_empty() && sent.iter().all(|reply| reply == "Sent to mew"), "{replies:?}");
    assert!(refused.iter().all(|reply| reply == "error: cow mew is not logged in"), "{replies:?}");
}

fn resets_with_output_pending(stage: &mut Stage, client: Client) {
    let mut client = client.logged_in("mew");
    // Far more replies than the kernel holds for it: the server reads no further, and only a write meets the end.
    client.send_raw(&b"cows\n".repeat(2000));
    assert!(client.read_line().starts_with("Available cow names: "));
    stage.talk();
    client.reset();
}

fn races(stage: &mut Stage, client: Client) {
    let mut racers: Vec<Client> = (0..19).map(|n| stage.server.connect_on(n % 2)).collect();
    racers.push(client);
    racers.iter_mut().for_each(|racer| racer.send("login mew"));
    stage.talk();
    let answers: Vec<String> = racers.iter_mut().map(Client::read_line).collect();
    let count = |answer: &str| answers.iter().filter(|&other| other == answer).count();
    assert_eq!((count("Logged in as mew"), count("error: cow mew is already taken")), (1, 19), "{answers:?}");
    racers.into_iter().for_each(Client::quit);
}

// Faults of a crowd and of the machine.

#[test]
fn ten_thousand_connections_are_served_and_leave_nothing() {
    const WISHED: u64 = 10_000;
    const THREADS: u64 = 8;
    const ANSWER: &[u8] = b"Registered users: aya, cow\n";
    let mut stage = Stage::new();
    // The tests beside this one need some descriptors, too.
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = WISHED.min(allowed.saturating_sub(500)) / THREADS;
    let address = stage.server.address;
    let storm = move || {
        let mut clients: Vec<_> = (0..each).map(|_| TcpStream::connect(address).expect("it accepts")).collect();
        for client in &mut clients {
            client.set_read_timeout(Some(GUARD)).expect("a TCP socket");
            client.write_all(b"who\n").expect("the server reads");
        }
        for client in &mut clients {
            let mut answer = [0; ANSWER.len()];
            client.read_exact(&mut answer).expect("the server answers");
            assert_eq!(answer.escape_ascii().to_string(), ANSWER.escape_ascii().to_string());
        }
        clients
    };
    let storms: Vec<_> = (0..THREADS).map(|_| thread::spawn(storm)).collect();
    while !storms.iter().all(|storm| storm.is_finished()) {
        stage.talk();
    }
    let clients: Vec<_> = storms.into_iter().flat_map(|storm| storm.join().expect("all are served")).collect();
    // All are connected at this moment; half of them close by FIN, half by RST.
    for client in clients.iter().step_by(2) {
        SockRef::from(client).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }
    drop(clients);
    stage.assert_unharmed("the storm");
    stage.end();
}

#[test]
fn out_of_descriptors_the_bystanders_talk_on_and_no_core_spins() {
    const WINDOW: Duration = Duration::from_secs(3);
    const TICKS_MAX: u64 = 15; // 5 % of one core
    let mut stage = Stage::new();
    let pid = stage.server.pid();
    set_soft_limit(pid, Resource::Nofile, stage.descriptors as u64);
    // A few still find a number below that which is free. Then enough are refused that some come to each core.
    let mut more = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        let mut late = stage.server.connect();
        let answer = late.ask("who");
        if answer == "Registered users: aya, cow" {
            more.push(late);
        } else {
            assert_eq!((answer.as_str(), late.read_to_end()), ("error: server is full", String::new()));
            refused += 1;
        }
        stage.talk();
    }
    for core in [0, 1] {
        stage.server.log_event("accept_failed", &[("core", &core.to_string())]);
    }
    // A core cannot even get the descriptor again that it reserves for refusals: new connections wait.
    set_soft_limit(pid, Resource::Nofile, 3);
    let mut waiting: Vec<Client> = (0..20).map(|_| stage.server.connect()).collect();
    waiting.iter_mut().for_each(|late| late.send("who"));
    stage.talk();
    let began = stage.server.cpu_ticks();
    // For this long no client does anything.
    stage.near.stream().set_read_timeout(Some(WINDOW)).expect("a TCP socket");
    let nothing = stage.near.stream().peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
    stage.near.stream().set_read_timeout(Some(GUARD)).expect("a TCP socket");
    let ticks = stage.server.cpu_ticks() - began;
    assert!(ticks < TICKS_MAX, "waiting for descriptors took {ticks} ticks of 10 ms in 3 s");
    stage.talk();
    restore_limit(pid, Resource::Nofile);
    let freed = Instant::now();
    drop(more);
    for mut late in waiting {
        let answer = late.read_line();
        assert!(["Registered users: aya, cow", "error: server is full"].contains(&answer.as_str()), "{answer}");
    }
    let deadline = Instant::now() + GUARD;
    for core in [0, 1] {
        // Only a core that accepts knows that it can.
        while stage.server.log_events("accept_recovered", &[("core", &core.to_string())]).is_empty() {
            assert!(Instant::now() < deadline, "core {core} never accepts again");
            // It is told that the server is full, or closes by itself.
            let mut late = stage.server.connect();
            late.half_close();
            late.read_to_end();
        }
    }
    let (load, back) = (ticks as f64 / WINDOW.as_secs_f64(), freed.elapsed().as_secs_f64() * 1e3);
    println!("figure: {load:.1} % of a core without any, all cores accept {back:.0} ms after there are some");
    stage.assert_unharmed("EMFILE");
    stage.end();
}

/// One client of each kind that is in the middle of a line, and reads what it is told.
fn crowd(server: &Server) -> Vec<Client> {
    let unfinished: [&[u8]; 8] =
        [b"", b"login", b"\xff\xfa\x18 never ended", b"\xff", b"say cow \x1b[", b"\r", b"\xc3", &[b'x'; 5000]];
    let begun = |bytes: &&[u8]| {
        let mut client = server.connect();
        client.send_raw(bytes);
        client
    };
    unfinished.iter().map(begun).collect()
}

#[test]
fn sigterm_under_load_sends_last_lines_and_ends_in_order() {
    let Stage { mut server, near, far, .. } = Stage::new();
    let mut clients = crowd(&server);
    clients.extend([near, far]);
    server.signal("TERM");
    for mut client in clients {
        assert_eq!(client.read_to_end(), LAST_LINE);
    }
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log_events("drain_timed_out", &[]).is_empty(), "{:?}", server.log());
}

/// On an address that no other test uses, so that none takes the port while no server has it.
fn server_on(address: &str) -> Server {
    let patient = ["--sendq-bytes-max", ROOMY, "--sendq-stall", "10m", "--drain-timeout", "10m"];
    Server::try_with(address, &patient).unwrap_or_else(|said| panic!("no server on {address}: {said}"))
}

#[test]
fn after_sigkill_under_load_the_next_server_is_unharmed() {
    let Stage { mut server, mut near, mut far, .. } = Stage::on(server_on("127.0.20.1:0"));
    let address = server.address;
    let mut clients = crowd(&server);
    server.signal("KILL");
    assert_eq!(server.wait().code(), None, "no server can do anything about it");
    for client in clients.iter_mut().chain([&mut near, &mut far]) {
        assert_eq!(client.read_until_cut(), b"");
    }
    let mut stage = Stage::on(server_on(&address.to_string()));
    assert_eq!(stage.server.address, address);
    drop(clients);
    stage.assert_unharmed("SIGKILL");
    stage.end();
}

/// Yields without end and reads what comes, until the server has ended.
fn flood(stream: &TcpStream, going: &mpsc::Sender<()>) {
    let lines = b"yield moo\n".repeat(32);
    let mut input = BufReader::new(stream).lines();
    while (&mut &*stream).write_all(&lines).is_ok() {
        for _ in 0..32 {
            let is_reply = |line: &io::Result<String>| line.as_ref().map_or(true, |line| line.starts_with("Sent to "));
            if !matches!(input.find(is_reply), Some(Ok(_))) {
                return;
            }
        }
        let _ = going.send(());
    }
}

#[test]
fn servers_killed_under_load_free_their_port_and_cows() {
    let mut server = server_on("127.0.20.2:0");
    let address = server.address.to_string();
    let free = format!("Available cow names: {}", all_cows().join(", "));
    for round in 0..20 {
        assert_eq!(server.connect().ask("cows"), free, "round {round}");
        let users: Vec<Client> = all_cows().into_iter().map(|cow| server.login(cow)).collect();
        let (going, gone) = mpsc::channel();
        // Every fifth ends by SIGTERM, under the same load.
        let signal = if round % 5 == 4 { "TERM" } else { "KILL" };
        thread::scope(|scope| {
            for user in &users {
                let going = going.clone();
                scope.spawn(move || flood(user.stream(), &going));
            }
            for _ in 0..24 {
                gone.recv_timeout(GUARD).expect("the flood goes on");
            }
            server.signal(signal);
        });
        assert_eq!(server.wait().code(), (signal == "TERM").then_some(0), "round {round}");
        // None of the clients has closed: its kernel knows of a connection to this port.
        server = server_on(&address);
        assert_eq!(server.address.to_string(), address, "round {round}");
        drop(users);
    }
    assert_eq!(server.connect().ask("cows"), free);
}
