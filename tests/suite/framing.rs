//! From bytes to replies: however a conversation is cut into writes, the answer is the same.
//!
//! Owns what is promised about lines: LF, CR LF, CR NUL and telnet; half-close; the limit on a line's length and flat
//! memory below it; netcat, and a client that reads a reply by one recv. The last part needs no socket: it feeds a
//! `LineBuffer` and a `Shard` arbitrary bytes and looks at every byte that would reach a terminal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Client, GUARD, Guarded, HELP, NO_USERS, Server, all_cows, connect_narrow, count_of, message, say_bytes,
};
use cowchat::cows::Herd;
use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;
use cowchat::ids::{ConnectionId, ShardId};
use cowchat::metrics::{CoreMetrics, Metrics};
use cowchat::protocol::line::LineBuffer;
use cowchat::shard::{Outcome, Rules, Shard, ShardContext};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use unicode_segmentation::UnicodeSegmentation;

/// The limit that the script is written for: short, so that its over-long line can be cut everywhere too.
const SCRIPT_FLAGS: [&str; 2] = ["--line-bytes-max", "40"];

/// A line with its end as it is sent, and all that it brings.
struct Turn {
    sent: Vec<u8>,
    brings: Vec<u8>,
}

/// A line that brings these, each line of which ends as it does.
fn turn(sent: impl Into<Vec<u8>>, brings: &str) -> Turn {
    let (sent, brings) = (sent.into(), format!("{brings}\n"));
    let crlf = sent.ends_with(b"\r\n") || sent.ends_with(b"\r\0");
    let brings = if crlf { brings.replace('\n', "\r\n") } else { brings };
    Turn { sent, brings: brings.into_bytes() }
}

/// A line by which tux says something to itself.
fn soliloquy(sent: &[u8], text: &str) -> Turn {
    turn(sent, &format!("Sent to tux\n{}", message("tux", true, text).trim_end_matches('\n')))
}

/// The same for a client that speaks telnet: every line ends in CR LF, after these commands.
fn telnet(sent: &[u8], answers: &[u8], brings: &str) -> Turn {
    Turn { sent: sent.to_vec(), brings: [answers, brings.as_bytes(), b"\r\n"].concat() }
}

/// A conversation of one client, alone on its server. The last line ends with the stream.
fn script() -> Vec<Turn> {
    const WHO: &str = "Registered users: tux";
    vec![
        turn("help\n", HELP),
        turn("login tux\r\n", "Logged in as tux"),
        turn("\n", HELP),
        turn(" \t \r\n", HELP),
        turn("  who\t\n", WHO),
        turn("who\r\0", WHO),
        turn("who\rt\0u\x07x\n", WHO),
        turn("whi\x08o\n", WHO),
        turn("login\x15who\x0bt\n", WHO),
        turn(b"\xff\xff\n", "error: unknown command \u{fffd} (try help)"),
        turn("\x1b[31mwho\x1b[0m\n", WHO),
        soliloquy(b"say tux 'hi there'\n", "hi there"),
        soliloquy(b"say tux it's ok\r\n", "it's ok"),
        soliloquy(b"say tux \xc3(\xd0\xbf\xff\xff\n", "\u{fffd}(п\u{fffd}"),
        turn("yield  moo\n", "Sent to 0 cows"),
        turn("login mew\n", "error: you are already logged in as tux"),
        turn("say mew hi\n", "error: cow mew is not logged in"),
        turn("say\n", "error: usage: say COW TEXT"),
        turn("x".repeat(40) + "\r\n", &format!("error: unknown command {} (try help)", "x".repeat(40))),
        turn("x".repeat(41) + "\r\n", "error: line too long (max 40 bytes)"),
        turn("привет мир\n", "error: unknown command привет (try help)"),
        turn(b"\xff\xfa\x18 never ended\n", HELP),
        turn(b"\xff\xfd\n", HELP),
        telnet(b"\xff\xfb\x1fw\xff\xf1ho\xff\xfa\x18\0\rxterm\xff\xf0 t\n", b"\xff\xfe\x1f", WHO),
        telnet(b"wi\xff\xf7ho\xff\xfd\x06\n", b"\xff\xfc\x06", WHO),
        telnet(b"\xff\xfb\x1f\xff\xf6login\xff\xf8who\r\n", b"* the server is here\r\n", WHO),
        telnet(b"who", b"", WHO),
    ]
}

/// Holds the script's conversation in these pieces, one write each. All replies to the pieces so far are read before the
/// next is sent, so the server has read the beginning of a line by itself.
fn converse(server: &Server, script: &[Turn], pieces: &[&[u8]]) {
    let mut client = server.connect();
    let (last, complete) = script.split_last().expect("a script has lines");
    let mut turns = complete.iter();
    let mut ahead = 0;
    let mut next = turns.next();
    for piece in pieces {
        client.send_raw(piece);
        ahead += piece.len();
        while let Some(turn) = next.filter(|turn| turn.sent.len() <= ahead) {
            let brought = client.read_bytes(turn.brings.len());
            assert_eq!(
                String::from_utf8_lossy(&brought),
                String::from_utf8_lossy(&turn.brings),
                "{} brings this when the script is sent in pieces of {:?} bytes",
                turn.sent.escape_ascii(),
                pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>()
            );
            ahead -= turn.sent.len();
            next = turns.next();
        }
    }
    client.half_close();
    assert_eq!(client.read_to_end().into_bytes(), last.brings, "after {} pieces", pieces.len());
}

fn all_bytes(script: &[Turn]) -> Vec<u8> {
    script.iter().flat_map(|turn| turn.sent.iter().copied()).collect()
}

#[test]
fn lines_that_arrive_together_with_urgent_data_are_all_answered() {
    let server = Server::start();
    let mut client = server.connect();
    client.ask("who");
    // All of it is there when the server reads; its read ends before the urgent byte.
    server.signal("STOP");
    client.send("who");
    socket2::SockRef::from(client.stream()).send_out_of_band(b" ").expect("a TCP socket");
    client.send_raw(b"who\nwho\n");
    server.signal("CONT");
    for _ in 0..3 {
        assert_eq!(client.read_line(), NO_USERS);
    }
}

#[test]
fn the_urgent_byte_of_telnets_synch_is_part_of_its_command() {
    let server = Server::start();
    let mut client = server.connect();
    client.send_raw(b"w\xff");
    socket2::SockRef::from(client.stream()).send_out_of_band(b"\xf2").expect("a TCP socket");
    client.send_raw(b"ho\n");
    assert_eq!(client.read_line(), "Registered users: (none)\r");
}

#[test]
fn a_conversation_is_the_same_however_it_is_split() {
    let (server, script) = (Server::with(&SCRIPT_FLAGS), script());
    let bytes = all_bytes(&script);
    converse(&server, &script, &[&bytes]);
    converse(&server, &script, &script.iter().map(|turn| &turn.sent[..]).collect::<Vec<_>>());
    converse(&server, &script, &bytes.chunks(1).collect::<Vec<_>>());
    // The reply to the first line shows that all of the first piece was read: it came in one segment.
    let first = script[0].sent.len();
    for at in first..bytes.len() {
        converse(&server, &script, &[&bytes[..at], &bytes[at..]]);
    }
}

#[test]
fn five_hundred_pipelined_lines_get_one_reply_each_in_order() {
    let server = Server::start();
    let mut tux = server.login("tux");
    let cows: Vec<&str> = all_cows().into_iter().filter(|&cow| cow != "tux").collect();
    let table = [
        turn("who\n", "Registered users: tux"),
        turn("cows\r\n", &format!("Available cow names: {}", cows.join(", "))),
        turn("\n", HELP),
        turn("foo bar\n", "error: unknown command foo (try help)"),
        turn("yield moo\n", "Sent to 0 cows"),
        turn("say mew hi\r\0", "error: cow mew is not logged in"),
        soliloquy(b"say tux hi\n", "hi"),
        turn("login mew\n", "error: you are already logged in as tux"),
        turn("x".repeat(4001) + "\n", "error: line too long (max 4000 bytes)"),
    ];
    let mut random = fastrand::Rng::with_seed(500);
    let turns: Vec<&Turn> = (0..500).map(|_| &table[random.usize(..table.len())]).collect();
    let input: Vec<u8> = turns.iter().flat_map(|turn| turn.sent.iter().copied()).collect();
    let mut writer = tux.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&input).expect("the server reads"));
        for turn in &turns {
            assert_eq!(tux.read_bytes(turn.brings.len()), turn.brings, "{}", turn.sent.escape_ascii());
        }
    });
    tux.half_close();
    assert_eq!(tux.read_to_end(), "", "and nothing else");
}

#[test]
fn lf_ends_a_line_inside_any_telnet_sequence() {
    let server = Server::start();
    let mut client = server.connect();
    for sequence in
        [&b"\xff"[..], b"\xff\xfb", b"\xff\xfe", b"\xff\xfa", b"\xff\xfa\x18\0", b"\xff\xfa\x18\xff", b"\xff\xfa\r\0"]
    {
        client.send_raw(&[b"who", sequence, b"\ncows x\n"].concat());
        assert_eq!(client.read_line(), NO_USERS, "{}", sequence.escape_ascii());
        assert!(client.read_line().starts_with("Available cow names: aya, "), "{}", sequence.escape_ascii());
    }
}

#[test]
fn a_nul_or_a_lone_cr_ends_no_line() {
    let server = Server::start();
    let mut client = server.connect();
    client.send_raw(b"w\0ho\rx\r\r\n\0\n\r\n");
    client.expect(&format!("Registered users: (none)\r\n{HELP}\n{HELP}\r\n"));
    client.half_close();
    assert_eq!(client.read_to_end(), "");
}

// Half-close.

#[test]
fn a_last_line_without_lf_is_executed_at_half_close() {
    let server = Server::start();
    let none = "Registered users: (none)\n";
    let cases: [(&[u8], String); 8] = [
        (b"who", none.to_owned()),
        (b"who\r", none.to_owned()),
        (b"who\xff\xfa\x18", none.to_owned()),
        (b"who\nwho", none.repeat(2)),
        (b"who\n", none.to_owned()),
        (b"   ", format!("{HELP}\n")),
        (b"", String::new()),
        (b"login tux\nwho", "Logged in as tux\nRegistered users: tux\n".to_owned()),
    ];
    for (sent, gets) in cases {
        let mut client = server.connect();
        client.send_raw(sent);
        client.half_close();
        assert_eq!(client.read_to_end(), gets, "{}", sent.escape_ascii());
    }
}

#[test]
fn a_last_line_is_held_to_the_limit_too() {
    let server = Server::start();
    for (length, gets) in [
        (4000, format!("error: unknown command {} (try help)\n", "x".repeat(64))),
        (4001, "error: line too long (max 4000 bytes)\n".to_owned()),
        (100_000, "error: line too long (max 4000 bytes)\n".to_owned()),
    ] {
        let mut client = server.connect();
        client.send_raw(&vec![b'x'; length]);
        client.half_close();
        assert_eq!(client.read_to_end(), gets, "{length} bytes");
    }
}

#[test]
fn everything_pending_is_written_before_the_connection_closes() {
    let server = Server::start();
    let mut client = server.connect();
    client.send_raw(&b"cows\n".repeat(2000));
    client.send_raw(b"who");
    client.half_close();
    let cows = format!("Available cow names: {}\n", all_cows().join(", "));
    for _ in 0..2000 {
        client.expect(&cows);
    }
    assert_eq!(client.read_to_end(), "Registered users: (none)\n");
}

#[test]
fn peers_that_have_half_closed_and_do_not_read_cost_no_cpu() {
    const TICKS_MAX: u64 = 50;
    let server = Server::with(&["--sendq-stall", "3s"]);
    let ended = connect_narrow(server.address).logged_in("tux");
    // On the same core, so that what it says is queued for tux when it reads the reply.
    let mut mew = server.login_on(server.core_of(&ended), "mew");
    // It fits a send queue, and is more than the kernel holds for a narrow client.
    const BYTES: usize = 240_000;
    // One is throttled by its own replies, so that its end is not even read; the end of the other is.
    let mut throttled = connect_narrow(server.address);
    throttled.send_raw(&b"cows\n".repeat(2000));
    throttled.half_close();
    say_bytes(&mut mew, "mew", "tux", BYTES);
    ended.half_close();
    let before = server.cpu_ticks();
    // The clock of this test: another connection takes nothing for 3 s.
    let _stalled = connect_narrow(server.address).logged_in("ferris");
    say_bytes(&mut mew, "mew", "ferris", BYTES);
    server.log_event("closed", &[("cow", "ferris"), ("reason", "stalled")]);
    let ticks = server.cpu_ticks() - before;
    assert!(ticks < TICKS_MAX, "waiting for sockets took {ticks} ticks of 10 ms in some 3 s");
}

// The limit on a line.

#[test]
fn a_line_of_the_limit_passes_and_one_byte_more_gets_one_error() {
    for (flags, limit) in [(&[][..], 4000), (&["--line-bytes-max", "16"][..], 16)] {
        let server = Server::with(flags);
        let mut client = server.connect();
        let unknown = format!("error: unknown command {} (try help)", "x".repeat(limit.min(64)));
        let too_long = format!("error: line too long (max {limit} bytes)");
        assert_eq!(client.ask(&"x".repeat(limit)), unknown);
        assert_eq!(client.ask(&"x".repeat(limit + 1)), too_long);
        assert_eq!(client.ask("who"), NO_USERS, "the session lives on");
        // Counted in bytes, without CR, LF and telnet's commands.
        let echoed = "é".repeat(64.min(limit / 2));
        assert_eq!(client.ask(&"é".repeat(limit / 2)), format!("error: unknown command {echoed} (try help)"));
        assert_eq!(client.ask(&("é".repeat(limit / 2) + "x")), too_long);
        assert_eq!(client.ask(&("x".repeat(limit) + "\r")), unknown.clone() + "\r");
        let too_long = too_long + "\r";
        assert_eq!(client.ask(&("x".repeat(limit) + "\r\r")), too_long, "only the CR before the LF is dropped");
        client.send_raw(&[b"\xff\xf1\xff\xfc\x01", "x".repeat(limit).as_bytes(), b"\xff\xfa--\xff\xf0\n"].concat());
        assert_eq!(client.read_line(), unknown + "\r");
        client.half_close();
        assert_eq!(client.read_to_end(), "", "one error each");
    }
}

#[test]
fn the_longest_text_arrives_whole() {
    let server = Server::start();
    let (mut tux, mut mew) = (server.login("tux"), server.login("mew"));
    let text = "mooo ".repeat(1000)[..4000 - "say mew ".len()].to_owned();
    assert!(!text.ends_with(' '), "blanks around a line do not count");
    assert_eq!(tux.ask(&format!("say mew {text}")), "Sent to mew");
    mew.expect_message("tux", true, &text);
}

#[test]
fn the_error_about_a_long_line_waits_for_its_lf() {
    let server = Server::start();
    let mut client = server.connect();
    let mut witness = server.connect_on(server.core_of(&client));
    client.send_raw(&[b'x'; 5000]);
    // The witness is answered by the same core, after that core could have answered the long line.
    for _ in 0..10 {
        assert_eq!(witness.ask("who"), NO_USERS);
    }
    client.expect_silence();
    client.send_raw(b"\n");
    assert_eq!(client.read_line(), "error: line too long (max 4000 bytes)");
    assert_eq!(client.ask("who"), NO_USERS);
}

/// `COWCHAT_ENDLESS_MB` says how long the lines are (default 20).
#[test]
fn a_line_without_an_end_leaves_the_memory_flat() {
    const GROWTH_MAX_KIB: u64 = 4096;
    let megabytes = count_of("COWCHAT_ENDLESS_MB", 20);
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(client.ask("who"), NO_USERS);
    for (opening, answer) in [(&b""[..], "error: line too long (max 4000 bytes)"), (b"\xff\xfa", HELP)] {
        let before = [server.kib_of("VmRSS"), server.kib_of("VmHWM")];
        client.send_raw(opening);
        for _ in 0..megabytes {
            client.send_raw(&vec![b'x'; 1 << 20]);
        }
        client.send_raw(b"\n");
        assert_eq!(client.read_line(), answer);
        // The peak shows what the server held while the line came in, even if it has been given back since.
        for (before, field) in before.into_iter().zip(["VmRSS", "VmHWM"]) {
            let after = server.kib_of(field);
            assert!(after < before + GROWTH_MAX_KIB, "{field} grew from {before} to {after} KiB");
        }
    }
    assert_eq!(client.ask("who"), NO_USERS);
}

#[test]
fn an_idle_connection_keeps_nothing_of_the_lines_it_has_sent() {
    const CLIENTS: usize = 300;
    const GROWTH_MAX_KIB: u64 = 1200;
    let server = Server::start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    let mut ask_all = |lines: &[u8], answers: usize| {
        for client in &mut clients {
            client.send_raw(lines);
            (0..answers).for_each(|_| assert!(client.read_line().starts_with("error: unknown command x")));
        }
    };
    ask_all(b"x\n", 1);
    let before = server.kib_of("VmRSS");
    // As much as one read brings: 16 KiB, of which 300 clients would make 4800.
    ask_all(&("x".repeat(3999) + "\n").repeat(4).into_bytes(), 4);
    let after = server.kib_of("VmRSS");
    assert!(after < before + GROWTH_MAX_KIB, "VmRSS grew from {before} to {after} KiB");
}

// Clients of others.

/// A running netcat.
struct Netcat {
    process: Guarded,
    output: ChildStdout,
}

impl Netcat {
    /// OpenBSD's netcat with these flags before the server's address, and its stdin.
    fn start(server: &Server, flags: &[&str]) -> (Netcat, ChildStdin) {
        let help = Command::new("nc").arg("-h").output();
        let help = help.expect("nc is not installed: apt-get install netcat-openbsd (ci/check.sh does)");
        assert!(
            String::from_utf8_lossy(&help.stderr).contains("OpenBSD"),
            "this nc is another one: apt-get install netcat-openbsd (ci/check.sh does)"
        );
        let (host, port) = (server.address.ip().to_string(), server.address.port().to_string());
        let mut process = Guarded::spawn(Command::new("nc").args(flags).args([host, port]));
        let stdin = process.child.stdin.take().expect("piped");
        let output = process.child.stdout.take().expect("piped");
        (Netcat { process, output }, stdin)
    }

    /// The next bytes that it prints, which must be these.
    fn expect(&mut self, expected: &str) {
        let mut printed = vec![0; expected.len()];
        self.output.read_exact(&mut printed).unwrap_or_else(|error| panic!("nc prints no {expected:?}: {error}"));
        assert_eq!(String::from_utf8_lossy(&printed), expected);
    }

    /// All that it still prints until it ends, and how it ends.
    fn end(mut self) -> (String, ExitStatus) {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).expect("nc prints what the server says");
        (printed, self.process.child.wait().expect("a child can be waited for"))
    }
}

#[test]
fn netcat_pipes_commands_through_and_ends() {
    let server = Server::start();
    let to_self = format!("Sent to tux\n{}", message("tux", true, "hi there"));
    for (commands, prints) in [
        ("who", "Registered users: (none)\n".to_owned()),
        ("login tux\nsay tux hi there\nwho\n", format!("Logged in as tux\n{to_self}Registered users: tux\n")),
        ("login tux\r\nquit\r\nwho\r\n", "Logged in as tux\r\nGoodbye.\r\n".to_owned()),
        ("", String::new()),
    ] {
        let (netcat, mut stdin) = Netcat::start(&server, &["-N"]);
        stdin.write_all(commands.as_bytes()).expect("nc reads");
        drop(stdin);
        let (printed, status) = netcat.end();
        assert_eq!(printed, prints, "{commands:?}");
        assert!(status.success(), "{commands:?}: {status}");
    }
}

#[test]
fn an_interactive_netcat_logs_in_gets_a_message_and_quits() {
    let server = Server::start();
    let (mut netcat, mut stdin) = Netcat::start(&server, &[]);
    let mut ferris = server.login("ferris");
    stdin.write_all(b"login tux\n").expect("nc reads");
    netcat.expect("Logged in as tux\n");
    assert_eq!(ferris.ask("say tux hi there"), "Sent to tux");
    netcat.expect(&message("ferris", true, "hi there"));
    stdin.write_all(b"yield moo\n").expect("nc reads");
    netcat.expect("Sent to 1 cow\n");
    ferris.expect_message("tux", false, "moo");
    stdin.write_all(b"quit\n").expect("nc reads");
    netcat.expect("Goodbye.\n");
    assert_eq!(ferris.ask("who"), "Registered users: ferris");
    // Ctrl-D: this netcat reads its stdin to the end even when the server has closed.
    drop(stdin);
    let (printed, status) = netcat.end();
    assert_eq!((printed.as_str(), status.success()), ("", true));
}

/// A client in a few lines of Python: `s.sendall(msg)`, then `print(s.recv(1024).rstrip().decode())`.
fn recv_client(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let mut socket = TcpStream::connect(address).expect("the server accepts");
    socket.set_read_timeout(Some(GUARD)).expect("a TCP socket");
    let mut ask = |line: &&str| {
        socket.write_all(format!("{line}\n").as_bytes()).expect("the server reads");
        let mut buffer = [0; 1024];
        let count = socket.read(&mut buffer).expect("the server answers");
        std::str::from_utf8(&buffer[..count]).expect("whole characters").trim_end().to_owned()
    };
    lines.iter().map(&mut ask).collect()
}

#[test]
fn a_reply_arrives_whole_for_a_client_with_one_recv() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let long = "x".repeat(5000);
    let table = [
        ("who", "Registered users: ferris"),
        ("say ferris hi", "error: login first"),
        ("login ferris", "error: cow ferris is already taken"),
        ("login nosuch", "error: no cow named nosuch (try cows)"),
        ("login tux", "Logged in as tux"),
        ("who", "Registered users: ferris, tux"),
        (
            "cows",
            &format!("Available cow names: {}", all_cows().join(", ").replace("ferris, ", "").replace("tux, ", "")),
        ),
        ("say ferris hi there", "Sent to ferris"),
        ("yield good morning", "Sent to 1 cow"),
        ("say mew hi", "error: cow mew is not logged in"),
        ("", HELP),
        ("help", HELP),
        (&long, "error: line too long (max 4000 bytes)"),
        ("привет", "error: unknown command привет (try help)"),
        ("quit", "Goodbye."),
    ];
    let printed = recv_client(server.address, &table.map(|(line, _)| line));
    assert_eq!(printed, table.map(|(_, reply)| reply));
    ferris.expect_message("tux", true, "hi there");
    ferris.expect_message("tux", false, "good morning");
}

// Without a socket: any bytes at all.

/// What a line brought: a reply, or a message and its receivers.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Reply(Vec<u8>),
    Message {
        to: Vec<usize>,
        block: Vec<u8>,
    },
    /// Telnet's own: a command, or the line that answers "are you there".
    Telnet(Vec<u8>),
}

/// A shard with ferris, which only reads, and a connection that feeds it bytes.
struct Stage {
    shard: Shard,
    lines: LineBuffer,
    told: Vec<Told>,
    over: bool,
}

impl Stage {
    const FEEDER: usize = 0;
    const FERRIS: usize = 1;
    const LINE_BYTES_MAX: usize = 64;

    fn new(line_bytes_max: usize) -> Stage {
        let body = || "    \\\n     \\  (a cow)".to_owned();
        let cow = |name: &str| Cow { name: name.to_owned(), colour: body(), half: body(), plain: body() };
        let herd = Herd::new(vec![cow("ferris"), cow("tux")], 2, Bubble::default()).expect("two breeds");
        let core = ShardId::new(0);
        let context =
            ShardContext::new(Arc::new(herd), 1, Rules { line_bytes_max, history_messages: 2, ..Rules::default() })
                .expect("memory");
        let shard = Shard::new(core, context, CoreMetrics::new(Metrics::new(1), core));
        let mut stage = Stage { shard, lines: LineBuffer::new(line_bytes_max), told: Vec::new(), over: false };
        let effects = stage.shard.on_line(ConnectionId::new(Stage::FERRIS), (&b"login ferris"[..]).into());
        assert_eq!(effects.reply, b"Logged in as ferris\n");
        stage
    }

    /// All that these chunks and then the stream's end bring.
    fn all_told(chunks: &[&[u8]]) -> Vec<Told> {
        let mut stage = Stage::new(Stage::LINE_BYTES_MAX);
        for chunk in chunks {
            stage.lines.feed(chunk);
            stage.execute();
        }
        stage.lines.finish();
        stage.execute();
        stage.told
    }

    fn execute(&mut self) {
        while !self.over && self.lines.has_more() {
            if let Some(answer) = self.lines.next_answer() {
                let bytes = self.shard.on_telnet(ConnectionId::new(Stage::FEEDER), &answer);
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let is_command = rest[0] == 0xff;
                    let end =
                        if is_command { 3 } else { 1 + rest.iter().position(|byte| *byte == b'\n').expect("a line") };
                    let (first, after) = rest.split_at(end);
                    self.told.push(Told::Telnet(first.to_vec()));
                    rest = after;
                }
                continue;
            }
            let line = self.lines.next_line().expect("if there is no answer there is a line");
            let effects = self.shard.on_line(ConnectionId::new(Stage::FEEDER), line);
            self.told.push(Told::Reply(effects.reply));
            self.over = matches!(effects.outcome, Outcome::Quit(_) | Outcome::Foreign);
            let delivery = effects.local.and_then(|frame| self.shard.on_frame(frame, Duration::ZERO));
            let Some(delivery) = delivery.filter(|delivery| delivery.receivers().next().is_some()) else { continue };
            let to = delivery.receivers().map(|receiver| receiver.connection.index()).collect();
            let rendering = delivery.receivers().next().expect("one at least").rendering;
            self.told.push(Told::Message { to, block: delivery.payload(rendering).to_vec() });
        }
    }

    /// What ferris gets when tux says these bytes; `None` if they are refused as blank.
    fn delivered(text: &[u8]) -> Option<String> {
        let mut stage = Stage::new(1 << 20);
        for line in [b"login tux\nsay ferris ", text, b"\n"] {
            stage.lines.feed(line);
        }
        stage.execute();
        match <[Told; 3]>::try_from(stage.told) {
            Ok([_, Told::Reply(reply), Told::Message { to, block }]) => {
                assert_eq!((reply.as_slice(), to.as_slice()), (&b"Sent to ferris\n"[..], &[Stage::FERRIS][..]));
                Some(String::from_utf8(block).expect("a message is UTF-8"))
            }
            Ok(told) => panic!("{told:?}"),
            Err(told) => {
                assert_eq!(told[1..], [Told::Reply(b"error: usage: say COW TEXT\n".to_vec())]);
                None
            }
        }
    }
}

/// Whether a character turns the direction of text, takes no room, or is there for machines only.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Nothing but characters that show, blanks and LF; and within a grapheme of other scripts or an emoji what shapes that.
fn is_harmless(block: &str) -> bool {
    let shows = |character: char| character == '\n' || !(character.is_control() || is_hidden(character));
    let shapes = |character: char| matches!(character, '\u{200c}' | '\u{200d}' | '\u{e0030}'..='\u{e007f}');
    block.graphemes(true).all(|grapheme| {
        // The signs © and ® are pictures that a joiner may join with others.
        let is_shaped = grapheme.starts_with(|base| matches!(base, '©' | '®' | '\u{300}'..) && shows(base));
        grapheme.chars().all(|character| shows(character) || is_shaped && shapes(character))
    })
}

/// The same with LF where every line ends in CR LF.
fn with_lf(lines: &[u8]) -> String {
    let lines = std::str::from_utf8(lines).expect("it is UTF-8");
    if lines.ends_with("\r\n") { lines.replace("\r\n", "\n") } else { lines.to_owned() }
}

/// Pieces of which something happens: commands, ends of lines, telnet, escapes, what hides, and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let commands = concat!(
        "login tux\n|login ferris\n|say ferris |say tux |yield |who\n|cows\r\n|help\n|quit\n|login tux|WHO |say|'|\"| |\t|",
        "login tux#\n|login ferris#\n|say ferris#2 |who tux#|help all\n|art off\n|art small\n|art plain\n|art half\n|art |show tux\n|show tux off\n|show ferris#2 small\r\n|show |",
        "notify on\n|notify |history\n|history 1\n|12 |007 |123456789012345678 |1234567890123456789 "
    );
    let command = one_of(commands);
    let end = select(vec![&b"\n"[..], b"\r\n", b"\r\0", b"\r", b"\0"]).prop_map(<[u8]>::to_vec);
    let telnet = select(vec![
        &b"\xff\xff"[..],
        b"\xff\xfb\x01",
        b"\xff\xfd\x06",
        b"\xff\xf6",
        b"\xff\xf7",
        b"\xff\xf8",
        b"\xff\xfa\x18",
        b"\xff\xf0",
        b"\xff",
        b"\xff\xf1",
    ]);
    prop_oneof![
        4 => command,
        3 => end,
        1 => telnet.prop_map(<[u8]>::to_vec),
        3 => hostile(),
        1 => Just(vec![b'x'; 50]),
    ]
}

/// One of the pieces between the bars.
fn one_of(pieces: &'static str) -> impl Strategy<Value = Vec<u8>> {
    select(pieces.split('|').collect::<Vec<_>>()).prop_map(|piece| piece.as_bytes().to_vec())
}

/// Text that means harm, and any bytes.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let known = one_of(concat!(
        "\x1b[31m|\x1b[|\x1b]0;title\x07|\x1b]|\x1bP|\x1b\\|\x1b|\u{9b}31m|\u{9d}|\u{85}|\x7f|\x08|\x15|\x0b|",
        "👩\u{200d}👧|🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}|می\u{200c}شود|क\u{94d}\u{200d}ष|\u{200c}|",
        "\u{202e}|\u{2066}|\u{200b}|\u{200d}|\u{feff}|\u{e0041}|\u{301}|\u{fe0f}|\u{2028}|\u{3000}|\u{a0}|",
        "世界|😀|привет|e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}|-/|moo "
    ));
    prop_oneof![
        2 => known,
        1 => any::<char>().prop_map(|character| character.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 1..6),
    ]
}

proptest! {
    // PROPTEST_CASES asks for more: 100,000 of each take 18 s.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), ..Default::default() })]

    #[test]
    fn any_bytes_in_any_chunks_bring_the_same_and_one_line_each(
        pieces in proptest::collection::vec(piece(), 0..24),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let input = pieces.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(input.len());
        let mut from = 0;
        let chunks: Vec<&[u8]> = cuts.iter().map(|&to| &input[std::mem::replace(&mut from, to)..to]).collect();

        let whole = Stage::all_told(&[&input]);
        prop_assert_eq!(&Stage::all_told(&chunks), &whole);
        prop_assert_eq!(&Stage::all_told(&input.chunks(1).collect::<Vec<_>>()), &whole);
        for told in &whole {
            match told {
                Told::Reply(reply) => {
                    let text = with_lf(reply);
                    let text = text.strip_suffix('\n').expect("a reply ends in LF");
                    prop_assert!(is_harmless(text), "{text:?}");
                    // Only a history and a picture have more than their line.
                    let (line, blocks) = text.split_once('\n').unwrap_or((text, ""));
                    prop_assert!(!line.trim().is_empty(), "{text:?}");
                    prop_assert!(blocks.is_empty() || line.contains("History: ") || line.ends_with(" lines"), "{text:?}");
                }
                Told::Message { block, .. } => {
                    let block = with_lf(block);
                    prop_assert!(is_harmless(&block) && !block.trim().is_empty(), "{block:?}");
                }
                Told::Telnet(answer) => {
                    let is_refusal = matches!(answer[..], [0xff, 0xfc | 0xfe, _]);
                    prop_assert!(is_refusal || answer.ends_with(b"* the server is here\r\n"), "{answer:?}");
                }
            }
        }
    }

    #[test]
    fn no_text_reaches_another_terminal_as_more_than_text(
        pieces in proptest::collection::vec(hostile(), 1..30)
    ) {
        // An LF or a CR NUL would end the line, and what telnet says is not text.
        // An erased line would not be a message.
        let text: Vec<u8> = pieces.concat().into_iter().filter(|byte| !b"\n\r\xff\x15\x08\x7f".contains(byte)).collect();
        let Some(block) = Stage::delivered(&text) else { return Ok(()) };
        prop_assert!(is_harmless(&block), "{block:?}");
        prop_assert!(block.starts_with("tux says to you:\n _"), "{block:?}");
        prop_assert!(block.ends_with("\n    \\\n     \\  (a cow)\n"), "{block:?}");
    }

    #[test]
    fn a_message_of_printable_ascii_is_pure_ascii(text in "[ -~]{0,100}[0-9A-Za-z][ -~]{0,100}") {
        let block = Stage::delivered(text.as_bytes()).expect("not blank");
        prop_assert!(block.is_ascii(), "{block:?}");
    }
}

#[test]
fn the_sieve_for_harmless_text_lets_nothing_else_through() {
    assert!(is_harmless("tux says:\n <  hi, привет 世界 e\u{301} \u{fffd}  >\n"));
    assert!(is_harmless("\u{a9}\u{200d}\u{1f469}") && !is_harmless("a\u{200d}\u{1f469}"));
    for harm in ["\x1b", "\r", "\t", "\x7f", "\0", "\u{9b}", "\u{202e}", "\u{200b}", "\u{feff}", "\u{e0041}"] {
        assert!(!is_harmless(harm), "{harm:?}");
    }
}
