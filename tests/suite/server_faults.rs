//! The server's own faults: what ends with a panic, and which sessions a stalled core delays.
//!
//! A panic in what concerns one session ends that session; a panic in what all share ends the process, which names the
//! core. A core that stalls delays its own sessions and the senders that wait for room in its mailbox. The faults are
//! those of `src/faults.rs`; a build without debug assertions has none.

use std::fs;
use std::process::Command;

use crate::support::{Client, Scratch, Server, cores, serve};

/// A server with these faults and flags.
fn server_with(faults: &str, flags: &[&str]) -> Server {
    let mut command = serve(&[&["--cores", &cores()], flags].concat());
    command.env("COWCHAT_FAULTS", faults);
    Server::started(command)
}

/// Each says something to the other, and reads what the other says.
fn talk(aya: &mut Client, cow: &mut Client) {
    assert_eq!(aya.ask("say cow moo"), "Sent to cow");
    cow.expect_message("aya", true, "moo");
    assert_eq!(cow.ask("say aya moo"), "Sent to aya");
    aya.expect_message("cow", true, "moo");
}

#[test]
fn without_debug_assertions_there_are_no_faults() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/faults.rs");
    let main = format!("#[path = {source:?}] mod faults; fn main() {{ faults::at(faults::Point::Line, b\"boom\"); }}");
    let files = Scratch::new();
    let (source, program) = (files.put("main.rs", main), files.join("main"));
    for (assertions, has_faults) in [("on", true), ("off", false)] {
        let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        compile.args(["--edition", "2024", "-A", "warnings", "-C", &format!("debug-assertions={assertions}"), "-o"]);
        assert!(compile.arg(&program).arg(&source).status().expect("rustc runs").success());
        let run = Command::new(&program).env("COWCHAT_FAULTS", "line:boom").output().expect("it runs");
        assert_eq!(run.status.success(), !has_faults, "debug assertions {assertions}");
        let program = fs::read(&program).expect("it was written");
        assert_eq!(program.windows(14).any(|part| part == b"COWCHAT_FAULTS"), has_faults);
    }
}

/// The same of the whole server, where the tests are built as a release is.
#[cfg(not(debug_assertions))]
#[test]
fn a_release_does_not_know_the_word_that_arms_them() {
    let server = server_with("read,line,draw,leave,deliver,write", &[]);
    let (mut aya, mut cow) = (server.login_on(0, "aya"), server.login_on(1, "cow"));
    talk(&mut aya, &mut cow);
    aya.quit();
    cow.quit();
}

#[cfg(debug_assertions)]
mod armed {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use socket2::SockRef;

    use super::{server_with, talk};
    use crate::support::{
        Client, GUARD, Guarded, LAST_LINE, NO_USERS, Server, count_of, full_pipe, message, say_bytes, serve, wait_until,
    };

    // Faults of one session.

    /// On each core in turn a user sends `line`, and no other notices.
    fn assert_it_ends_one_session(fault: &str, line: &str) {
        let mut server = server_with(fault, &[]);
        let (mut aya, mut cow) = (server.login_on(0, "aya"), server.login_on(1, "cow"));
        for core in [0, 1] {
            let mut faulty = server.login_on(core, "mew");
            let name = server.name_of(&faulty);
            faulty.send(line);
            assert_eq!(faulty.read_until_cut(), b"", "{fault}");
            let told = server.log_event("internal_fault", &[("level", "ERROR"), ("connection", &name)]);
            let panic = told.field("panic");
            // The panic in drawing quotes what was said, which the log never does.
            let is_literal = !fault.starts_with("draw");
            assert_eq!(panic.starts_with("a fault on purpose at "), is_literal, "{panic}");
            assert_eq!(panic.starts_with("its message is not shown"), !is_literal, "{panic}");
            let thread = format!("core-{core}");
            let panicked = server.log_event("panicked", &[("level", "ERROR"), ("thread", &thread), ("panic", panic)]);
            assert!(panicked.field("at").starts_with("src/faults.rs:"), "{panicked:?}");
            let closed = [("connection", name.as_str()), ("cow", "mew"), ("reason", "internal_fault")];
            server.log_event("closed", &closed);
            assert_eq!(aya.ask("who"), "Registered users: aya, cow", "{fault}");
            server.login_on(1 - core, "mew").quit();
            talk(&mut aya, &mut cow);
        }
        aya.quit();
        cow.quit();
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "{fault}");
        server.log_event("mishaps", &[("faults", "2")]);
        let quotes = server.log().into_iter().filter(|line| line.contains("boom") || line.contains("panicked at"));
        assert_eq!(quotes.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn a_panic_over_what_was_read_ends_one_session() {
        assert_it_ends_one_session("read:boom", "boom");
    }

    #[test]
    fn a_panic_over_a_line_ends_one_session() {
        assert_it_ends_one_session("line:boom", "boom");
    }

    #[test]
    fn a_panic_in_drawing_ends_the_session_of_the_sender() {
        for line in ["say aya boom", "say cow boom", "say mew boom", "yield boom"] {
            assert_it_ends_one_session("draw:boom", line);
        }
    }

    #[test]
    fn a_panic_in_writing_ends_the_session_of_the_receiver() {
        assert_it_ends_one_session("write:boom", "boom");
    }

    #[test]
    fn a_panic_in_writing_last_output_ends_no_other_session() {
        let mut server = server_with("write:boom", &["--drain-timeout", "10m"]);
        let (mut aya, mut cow) = (server.login_on(0, "aya"), server.login_on(1, "cow"));
        for core in [0, 1] {
            let mut faulty = server.login_on(core, "mew");
            let name = server.name_of(&faulty);
            faulty.send_raw(b"boom\nquit\n");
            assert_eq!(faulty.read_until_cut(), b"");
            let closed = server.log_event("closed", &[("connection", &name)]);
            assert!(closed.is("closed", &[("cow", "mew"), ("reason", "quit")]), "{closed:?}");
            server.log_event("internal_fault", &[("connection", &name)]);
            talk(&mut aya, &mut cow);
        }
        aya.quit();
        cow.quit();
        // Nothing may be left of them, or the drain waits.
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
    }

    #[test]
    fn a_session_that_panics_delays_nothing_said_before() {
        let server = server_with("line:boom", &[]);
        let (mut aya, mut cow) = (server.login_on(0, "aya"), server.login_on(1, "cow"));
        for core in [0, 1] {
            let mut faulty = server.login_on(core, "mew");
            // One write, so that nothing is flushed before the fault.
            faulty.send_raw(b"say aya one\nsay cow two\nboom\nyield three\n");
            faulty.read_until_cut();
            aya.expect_message("mew", true, "one");
            cow.expect_message("mew", true, "two");
            talk(&mut aya, &mut cow);
        }
        aya.quit();
        cow.quit();
    }

    #[test]
    fn what_cannot_be_drawn_on_arrival_comes_without_a_picture() {
        let mut server = server_with("draw:boom", &[]);
        for core in [0, 1] {
            let (mut aya, mut cow) = (server.login_on(core, "aya"), server.login_on(1 - core, "cow"));
            // With two ways of drawing on the other core, the sender's core leaves it to that.
            let mut plain = server.login_on(1 - core, "mew");
            assert_eq!(plain.ask("art plain"), "Art is plain");
            assert_eq!(aya.ask("say cow boom"), "Sent to cow");
            cow.expect("aya says to you: boom\n");
            talk(&mut aya, &mut cow);
            [aya, cow, plain].into_iter().for_each(Client::quit);
        }
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        assert!(server.log_events("internal_fault", &[]).is_empty(), "{:?}", server.log());
    }

    #[test]
    fn a_panic_with_an_unread_log_ends_one_session() {
        for cores in ["1", "2"] {
            let mut command = serve(&["--cores", cores]);
            command.env("COWCHAT_FAULTS", "line:boom,draw:crash");
            // Its log is stuck from the first line on.
            let (_unread, full) = full_pipe();
            let mut server = Guarded::spawn_with_stderr(&mut command, full.into());
            let address = server.read_announcement();
            // Enough that each of two cores has some.
            let herd = ["aya", "cow", "ferris", "kirby", "nemo", "tux", "togepi", "clefairy"];
            let mut herd = herd.map(|cow| Client::connect(address).logged_in(cow));
            for line in ["boom", "say aya crash", "boom", "yield crash"] {
                let mut faulty = Client::connect(address).logged_in("mew");
                faulty.send(line);
                assert_eq!(faulty.read_until_cut(), b"", "{line}");
                for cow in &mut herd {
                    assert_eq!(cow.ask("who mew"), NO_USERS, "{line}, on {cores} cores");
                }
            }
            herd.into_iter().for_each(Client::quit);
            server.signal("TERM");
            assert_eq!(server.wait(), Some(0), "on {cores} cores");
        }
    }

    // Faults of a core.

    /// mew, on `core`, does something that ends the process, which must name the core `broken`. Returns how long that took.
    fn assert_it_ends_the_process(fault: &str, core: usize, broken: usize, act: fn(&mut Client)) -> Duration {
        let mut server = server_with(fault, &[]);
        let mut faulty = server.login_on(core, "mew");
        let mut others =
            [server.login_on(0, "aya"), server.login_on(1, "cow"), server.connect_on(0), server.connect_on(1)];
        let began = Instant::now();
        act(&mut faulty);
        assert_eq!(server.wait().code(), Some(1), "{fault}");
        let took = began.elapsed();
        for client in others.iter_mut().chain([&mut faulty]) {
            // A message may have come before the end, which all see.
            client.read_until_cut();
        }
        let log = server.log();
        let last = log.last().expect("a log");
        assert!(last.starts_with(&format!("cowchat: core {broken} panicked: a fault on purpose")), "{last}");
        took
    }

    #[test]
    fn a_core_that_fails_with_an_unread_log_ends_the_process() {
        let mut command = serve(&["--cores", "2"]);
        command.env("COWCHAT_FAULTS", "leave");
        let (_unread, full) = full_pipe();
        let mut server = Guarded::spawn_with_stderr(&mut command, full.into());
        let address = server.read_announcement();
        let mut other = Client::connect(address).logged_in("aya");
        let mut faulty = Client::connect(address).logged_in("mew");
        faulty.send("quit");
        assert_eq!(server.wait(), Some(1));
        for client in [&mut other, &mut faulty] {
            assert_eq!(client.read_until_cut(), b"");
        }
    }

    fn print_slowest(ends: &[Duration]) {
        let slowest = ends.iter().max().expect("some");
        println!(
            "figure: {} processes ended {:.0} ms after the fault at most",
            ends.len(),
            slowest.as_secs_f64() * 1e3
        );
    }

    #[test]
    fn a_panic_that_leaves_the_roster_half_changed_ends_the_process() {
        let mut ends = Vec::new();
        for core in [0, 1] {
            ends.push(assert_it_ends_the_process("leave", core, core, |mew| mew.send("quit")));
            ends.push(assert_it_ends_the_process("leave", core, core, |mew| mew.half_close()));
        }
        print_slowest(&ends);
    }

    #[test]
    fn a_panic_in_the_middle_of_a_delivery_ends_the_process() {
        let mut ends = Vec::new();
        for core in [0, 1] {
            let acts: [fn(&mut Client); 2] = [|mew| mew.send("say aya boom"), |mew| mew.send("say cow boom")];
            for (receivers, act) in acts.into_iter().enumerate() {
                ends.push(assert_it_ends_the_process("deliver:boom", core, receivers, act));
            }
        }
        print_slowest(&ends);
    }

    #[test]
    fn a_panic_of_a_core_in_a_drain_is_no_orderly_end() {
        for core in [0, 1] {
            // The only user leaves when it is told of the end.
            let mut server = server_with("leave", &[]);
            let mut faulty = server.login_on(core, "mew");
            server.signal("TERM");
            faulty.read_until_cut();
            assert_eq!(server.wait().code(), Some(1));
            let log = server.log();
            let last = log.last().expect("a log");
            assert!(last.starts_with(&format!("cowchat: core {core} panicked: ")), "{last}");
        }
    }

    // A core that stalls.

    /// Where a core that stalls says so, and waits.
    struct Stalls(TcpListener);

    impl Stalls {
        fn new() -> Stalls {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            SockRef::from(&listener).set_read_timeout(Some(GUARD)).expect("a TCP socket");
            Stalls(listener)
        }

        /// The fault by which a core that executes a line with this word stalls.
        fn fault(&self, word: &str) -> String {
            format!("line:{word}@{}", self.0.local_addr().expect("a bound socket"))
        }

        /// Waits until a core has stalled, which it does until the stream is dropped.
        fn begin(&self) -> TcpStream {
            self.0.accept().expect("a core stalls").0
        }
    }

    /// The next that `client` reads: each of these once and whole, the first two in this order.
    fn expect_all(client: &mut Client, pieces: &[String]) {
        let output = client.read_bytes(pieces.iter().map(String::len).sum());
        let output = String::from_utf8(output).expect("the server speaks UTF-8");
        let mut rest = output.clone();
        for piece in pieces {
            assert_eq!(rest.matches(piece.as_str()).count(), 1, "{piece:?} in {output}");
            rest = rest.replacen(piece, "", 1);
        }
        assert!(output.find(&pieces[0]) < output.find(&pieces[1]), "{output}");
    }

    #[test]
    fn a_stalled_core_delays_its_sessions_and_waiting_senders() {
        const WHO: &str = "Registered users: aya, cow, kirby, mew, nemo, tux";
        for stalled in [0, 1] {
            let stalls = Stalls::new();
            let mut server = server_with(&stalls.fault("boom"), &["--mailbox-frames", "1"]);
            let others = ["aya", "cow", "mew", "nemo"].map(|cow| server.login_on(1 - stalled, cow));
            let [mut tux, mut kirby] = ["tux", "kirby"].map(|cow| server.login_on(stalled, cow));
            let [mut aya, mut cow, mut mew, mut nemo] = others;
            tux.send("say kirby boom");
            let stall = stalls.begin();
            server.log_event("core_stalled", &[("core", &stalled.to_string())]);
            assert_eq!(mew.ask("say kirby one"), "Sent to kirby", "there is room for one");
            mew.send("say kirby two");
            nemo.send("yield three");
            kirby.send("who");
            for _ in 0..20 {
                talk(&mut aya, &mut cow);
                assert_eq!(aya.ask("who"), WHO);
            }
            // Their own core would have answered them by now.
            for client in [&mut mew, &mut nemo, &mut tux, &mut kirby, &mut aya, &mut cow] {
                client.expect_silence();
            }
            drop(stall);
            server.log_event("core_recovered", &[("core", &stalled.to_string())]);
            let [one, two] = ["one", "two"].map(|text| message("mew", true, text));
            let (boom, three) = (message("tux", true, "boom"), message("nemo", false, "three"));
            expect_all(&mut kirby, &[one, two, boom, three.clone(), format!("{WHO}\n")]);
            expect_all(&mut tux, &["Sent to kirby\n".to_owned(), three.clone()]);
            assert_eq!(nemo.read_line(), "Sent to 5 cows");
            // In whatever order there was room for these two.
            let output = mew.read_bytes(three.len() + "Sent to kirby\n".len());
            let output = String::from_utf8(output).expect("the server speaks UTF-8");
            assert!(
                output == format!("Sent to kirby\n{three}") || output == format!("{three}Sent to kirby\n"),
                "{output}"
            );
            aya.expect(&three);
            cow.expect(&three);
            talk(&mut aya, &mut cow);
            [aya, cow, mew, nemo, tux, kirby].into_iter().for_each(Client::quit);
            server.signal("TERM");
            assert_eq!(server.wait().code(), Some(0));
            // A machine that is busy otherwise may have kept a core waiting once more.
            let counted = server.log_events("core_stalled", &[]).len().to_string();
            server.log_event("mishaps", &[("faults", "0"), ("stalls", &counted)]);
        }
    }

    #[test]
    fn with_room_in_its_mailbox_a_stalled_core_delays_no_other() {
        const MESSAGES: usize = 50;
        for stalled in [0, 1] {
            let stalls = Stalls::new();
            let server = server_with(&stalls.fault("boom"), &["--mailbox-frames", "100"]);
            let [mut aya, mut cow] = ["aya", "cow"].map(|cow| server.login_on(1 - stalled, cow));
            let [mut tux, mut kirby] = ["tux", "kirby"].map(|cow| server.login_on(stalled, cow));
            tux.send("yield boom");
            let stall = stalls.begin();
            for number in 0..MESSAGES {
                assert_eq!(aya.ask("yield moo"), "Sent to 3 cows", "{number}");
                cow.expect_message("aya", false, "moo");
                assert_eq!(cow.ask("say tux moo"), "Sent to tux", "{number}");
            }
            kirby.expect_silence();
            drop(stall);
            assert_eq!(tux.read_line(), "Sent to 3 cows");
            kirby.expect_message("tux", false, "boom");
            for _ in 0..MESSAGES {
                tux.expect_message("aya", false, "moo");
                tux.expect_message("cow", true, "moo");
                kirby.expect_message("aya", false, "moo");
            }
            aya.expect_message("tux", false, "boom");
            cow.expect_message("tux", false, "boom");
            [aya, cow, tux, kirby].into_iter().for_each(Client::quit);
        }
    }

    /// How often that core has come to rest: its thread gave up its CPU by itself.
    fn rests(server: &Server, core: usize) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server runs");
        let name = format!("Name:\tcore-{core}\n");
        let status =
            |thread: std::io::Result<fs::DirEntry>| fs::read_to_string(thread.ok()?.path().join("status")).ok();
        let status = threads.filter_map(status).find(|status| status.starts_with(&name)).expect("the core runs");
        let rests = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        rests.and_then(|rests| rests.trim().parse().ok()).expect("a number")
    }

    #[test]
    fn in_a_drain_messages_of_a_stalled_core_precede_last_lines() {
        // The other core looks a thousand times a second whether this one has sent its end, and rests in between. Before
        // that, while handshakes end, it rests only as often as its housekeeping runs.
        const RESTS: u64 = 50;
        for stalled in [0, 1] {
            let stalls = Stalls::new();
            let mut server = server_with(&stalls.fault("boom"), &["--drain-timeout", "10m"]);
            let mut tux = server.login_on(stalled, "tux");
            let mut aya = server.login_on(1 - stalled, "aya");
            tux.send("say aya boom");
            let stall = stalls.begin();
            server.signal("TERM");
            server.log_event("draining", &[("cause", "SIGTERM")]);
            let before = rests(&server, 1 - stalled);
            wait_until(|| rests(&server, 1 - stalled) >= before + RESTS, "the other core does not wait");
            aya.expect_silence();
            drop(stall);
            assert_eq!(tux.read_to_end(), format!("Sent to aya\n{LAST_LINE}"));
            assert_eq!(aya.read_to_end(), message("tux", true, "boom") + LAST_LINE);
            drop((tux, aya));
            assert_eq!(server.wait().code(), Some(0));
        }
    }

    #[test]
    fn a_stalled_core_keeps_no_last_line_from_other_cores() {
        // With room in its mailbox, and with a sender that waits for that.
        for (stalled, frames) in [(0, "4096"), (1, "1")] {
            let stalls = Stalls::new();
            let flags = ["--mailbox-frames", frames, "--drain-timeout", "6s"];
            let mut server = server_with(&stalls.fault("boom"), &flags);
            let mut tux = server.login_on(stalled, "tux");
            let mut guest = server.connect_on(1 - stalled);
            let [mut aya, mut cow] = ["aya", "cow"].map(|cow| server.login_on(1 - stalled, cow));
            tux.send("say tux boom");
            let stall = stalls.begin();
            assert_eq!(aya.ask("say tux one"), "Sent to tux", "there is room for one");
            if frames == "1" {
                aya.send("say tux two");
            }
            assert_eq!(cow.ask("who aya"), "Registered users: aya");
            server.signal("TERM");
            for client in [&mut guest, &mut aya, &mut cow] {
                assert_eq!(client.read_to_end(), LAST_LINE, "core {stalled} is stalled");
            }
            assert_eq!(server.wait().code(), Some(0));
            server.log_event("drain_timed_out", &[]);
            drop(stall);
        }
    }

    #[test]
    fn beside_a_stalled_core_the_others_keep_the_budget() {
        const MIB: usize = 1 << 20;
        let flags = ["--queues-bytes-total", "4194304", "--sendq-bytes-max", "4194304", "--sendq-stall", "10m"];
        for stalled in [0, 1] {
            let stalls = Stalls::new();
            let server = server_with(&stalls.fault("boom"), &flags);
            let narrow_on = |core, cow| server.connect_narrow_on(core).logged_in(cow);
            let [mut mew, mut cow] =
                [(1 - stalled, "mew"), (stalled, "cow")].map(|(core, cow)| server.login_on(core, cow));
            // These read nothing.
            let _there = ["kirby", "nemo"].map(|cow| narrow_on(stalled, cow));
            let _here = ["tux", "aya", "ferris"].map(|cow| narrow_on(1 - stalled, cow));
            // Over the budget, so that the core tells of its largest queue.
            say_bytes(&mut mew, "mew", "kirby", 10 * MIB / 4);
            say_bytes(&mut mew, "mew", "nemo", 8 * MIB / 4);
            server.log_event("closed", &[("cow", "kirby"), ("reason", "queues_full")]);
            cow.send("boom");
            let stall = stalls.begin();
            // Smaller ones, and with what waits there over the budget again.
            say_bytes(&mut mew, "mew", "tux", 5 * MIB / 4);
            say_bytes(&mut mew, "mew", "aya", MIB);
            say_bytes(&mut mew, "mew", "ferris", MIB);
            server.log_event("closed", &[("cow", "tux"), ("reason", "queues_full")]);
            drop(stall);
        }
    }

    /// How long it takes until aya has read the reply, and cow the message; the p99 of this many.
    fn p99_of_talk(aya: &mut Client, cow: &mut Client, messages: usize) -> Duration {
        let mut taken = Vec::new();
        for _ in 0..messages {
            let began = Instant::now();
            assert_eq!(aya.ask("say cow moo"), "Sent to cow");
            cow.expect_message("aya", true, "moo");
            taken.push(began.elapsed());
        }
        taken.sort_unstable();
        taken[messages * 99 / 100]
    }

    /// How long a message between the others takes, with and without a stalled core, is printed and fails nothing.
    /// `COWCHAT_STALLS` says how often that is compared (default 2), and `COWCHAT_STALL_MESSAGES` by how many messages
    /// (default 100).
    #[test]
    fn sessions_apart_from_a_stalled_core_do_not_notice() {
        let (times, messages) = (count_of("COWCHAT_STALLS", 2), count_of("COWCHAT_STALL_MESSAGES", 100));
        let mut ratios = Vec::new();
        for time in 0..times {
            let (stalled, other) = (time % 2, 1 - time % 2);
            let stalls = Stalls::new();
            let server = server_with(&stalls.fault("boom"), &["--mailbox-frames", "1"]);
            let mut tux = server.login_on(stalled, "tux");
            let [mut mew, mut aya, mut cow] = ["mew", "aya", "cow"].map(|cow| server.login_on(other, cow));
            // The first round is for what a server does only once.
            p99_of_talk(&mut aya, &mut cow, messages / 10);
            let calm = p99_of_talk(&mut aya, &mut cow, messages);
            tux.send("say tux boom");
            let stall = stalls.begin();
            mew.send_raw(b"say tux one\nsay tux two\n");
            assert_eq!(mew.read_line(), "Sent to tux", "there is room for one");
            ratios.push(p99_of_talk(&mut aya, &mut cow, messages).as_secs_f64() / calm.as_secs_f64());
            mew.expect_silence();
            drop(stall);
            assert_eq!(mew.read_line(), "Sent to tux");
            [mew, aya, cow].into_iter().for_each(Client::quit);
        }
        ratios.sort_unstable_by(f64::total_cmp);
        let median = ratios[times / 2];
        println!("figure: p99 of {messages} messages of the others {median:.2} times that without (median of {times})");
    }
}
