//! What an operator sees: the announcement, the help, the errors about wrong flags and about a machine that lacks something,
//! the limits on connections, and the log.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;

use crate::support::{
    Client, Guarded, LAST_LINE, LogLine, NO_USERS, ROOMY, SENDQ_BYTES_MIN, Scratch, Server, connect_narrow, cowchat,
    forbid, full_pipe, kib_of, picture, restore_limit, serve, set_soft_limit, under, wait_until,
};
use cowchat::limits::{DESCRIPTORS_MIN, DESCRIPTORS_RESERVED, MOTD_BYTES_MAX};
use rustix::fs::fstat;
use rustix::process::Resource;
use rustix::thread::{
    CapabilitySet, CpuSet, remove_capability_from_bounding_set, sched_getaffinity, sched_setaffinity,
};

const FULL: &str = "error: server is full\n";

/// What the program prints instead of starting, without the exit code, which must be this one.
fn refusal(command: Command, code: i32) -> String {
    let Err(said) = Server::spawn(command) else { panic!("it starts") };
    assert!(!said.contains("panicked"), "{said}");
    let refused = said.strip_suffix(&format!(" (exit status: {code})"));
    refused.unwrap_or_else(|| panic!("not exit code {code}: {said}")).to_owned()
}

/// A new client, unless it is told that the server is full.
fn knock(server: &Server) -> Option<Client> {
    let mut client = server.connect();
    client.send("who");
    let reply = client.read_line();
    if reply.starts_with("Registered users: ") {
        return Some(client);
    }
    assert_eq!((reply + "\n").as_str(), FULL);
    assert_eq!(client.read_to_end(), "");
    None
}

/// A new client, as soon as there is room for one.
fn knock_until_there_is_room(server: &Server) -> Client {
    let mut client = None;
    let is_in = || {
        client = knock(server);
        client.is_some()
    };
    wait_until(is_in, "there is no room any more");
    client.expect("it is in")
}

#[test]
fn the_announcement_is_all_that_is_ever_written_to_stdout() {
    let mut server = Guarded::spawn(&mut serve(&["--cores", "2"]));
    let mut stdout = BufReader::new(server.child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    let port = line.strip_prefix("listening on 127.0.0.1:").and_then(|rest| rest.split_once(" ("));
    let (port, limits) = port.unwrap_or_else(|| panic!("not an announcement: {line}"));
    assert!(limits.starts_with("2 cores, 24 cows, 1 of each, "), "{line}");
    assert!(limits.ends_with(" connections, 64 of an address)\n"), "{line}");
    let port: u16 = port.parse().unwrap_or_else(|_| panic!("not an announcement: {line}"));
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).logged_in("tux");
    assert_eq!(client.ask("yield hi"), "Sent to 0 cows");
    server.signal("TERM");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn one_core_is_announced_in_the_singular() {
    let server = Server::started(serve(&["--cores", "1"]));
    assert!(server.announcement.starts_with(&format!("listening on {} (1 core, ", server.address)));
    assert_eq!(server.connect().ask("who"), NO_USERS);
}

#[test]
fn it_serves_on_ipv6_too() {
    let server = Server::try_with("[::1]:0", &[]).unwrap_or_else(|said| panic!("it did not start: {said}"));
    assert!(server.announcement.starts_with("listening on [::1]:"), "{}", server.announcement);
    let client = server.login("tux");
    assert!(client.local().ip().is_ipv6() && !server.name_of(&client).is_empty(), "the log has its address");
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    let server = Server::start();
    let mut second = cowchat();
    second.args(["serve", "--listen", &server.address.to_string()]);
    let said = refusal(second, 1);
    assert!(
        said.starts_with(&format!("cowchat: cannot listen on {}: address already in use", server.address)),
        "{said}"
    );
    assert!(said.contains("choose another --listen"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(server.connect().ask("who"), NO_USERS, "the first goes on");
}

#[test]
fn of_two_servers_started_together_exactly_one_serves() {
    for _ in 0..5 {
        // An address that no other test uses, so that none takes the port in between.
        let free = TcpListener::bind("127.0.17.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound socket");
        drop(free);
        let (both, address) = (Barrier::new(2), address.to_string());
        let start = || {
            both.wait();
            Server::try_with(&address, &[])
        };
        let results = std::thread::scope(|scope| {
            [scope.spawn(start), scope.spawn(start)].map(|thread| thread.join().expect("no panic"))
        });
        let ([Ok(server), Err(said)] | [Err(said), Ok(server)]) = results else { panic!("not exactly one serves") };
        assert!(said.contains("address already in use") && said.ends_with(" (exit status: 1)"), "{said}");
        let _clients = [server.login_on(0, "tux"), server.login_on(1, "ferris")];
    }
}

#[test]
fn an_address_of_another_machine_is_named_as_such() {
    let mut command = cowchat();
    // No machine has an address of 192.0.2.0/24 (RFC 5737). Nothing is sent there.
    command.args(["serve", "--listen", "192.0.2.1:0"]);
    let said = refusal(command, 1);
    assert!(said.contains("192.0.2.1:0") && said.contains("this machine does not have that address"), "{said}");
}

#[test]
fn without_a_subcommand_it_shows_how_it_is_used() {
    let said = refusal(cowchat(), 2);
    assert!(said.contains("Usage: cowchat <COMMAND>"), "{said}");
    for subcommand in ["serve", "connect"] {
        assert!(said.lines().any(|line| line.trim_start().starts_with(subcommand)), "{subcommand} is not in:\n{said}");
    }
}

#[test]
fn wrong_flags_are_named_together_with_the_fix() {
    let number = "use a whole number from";
    let size = "use a number of bytes";
    let table: &[(&[&str], &str, &str)] = &[
        (&["--listen", "localhost"], "--listen", "use an IP address and a port, such as 127.0.0.1:1337"),
        (&["--listen", "1.2.3.4"], "--listen", "use an IP address and a port"),
        (&["--listen", "127.0.0.1:65536"], "--listen", "use an IP address and a port"),
        (&["--listen", "[fe80::1]:1337"], "--listen", "needs its interface's number, as in [fe80::1%2]:1337"),
        (&["--cores", "0"], "--cores", "use a whole number from 1 to 1024"),
        (&["--pin", "yes"], "--pin", "possible values: auto, on, off"),
        (&["--pin", "on", "--cores", "1024"], "--pin on", "needs a CPU for each core"),
        (&["--cores", "1025"], "--cores", number),
        (&["--cores", "x"], "--cores", number),
        (&["--cores"], "--cores", "a value is required"),
        (
            &["--line-bytes-max", "0"],
            "--line-bytes-max",
            "use a number of bytes such as 262144 or 256KiB, from 16 to 64KiB",
        ),
        (&["--line-bytes-max", "15"], "--line-bytes-max", size),
        (&["--line-bytes-max", "65537"], "--line-bytes-max", size),
        (&["--sendq-bytes-max", "1"], "--sendq-bytes-max", "256KiB, from 56KiB to 1GiB"),
        (&["--sendq-bytes-max", "55KiB"], "--sendq-bytes-max", size),
        (&["--sendq-bytes-max", "2GB"], "--sendq-bytes-max", size),
        (&["--sendq-bytes-max", "12x"], "--sendq-bytes-max", size),
        (&["--sendq-stall", "5"], "--sendq-stall", "such as 10s or 2m"),
        (&["--mailbox-frames", "0"], "--mailbox-frames", "use a whole number from 1 to 1048576"),
        (&["--mailbox-frames", "1048577"], "--mailbox-frames", number),
        (&["--drain-timeout", "10"], "--drain-timeout", "such as 10s or 2m"),
        (&["--drain-timeout", "0s"], "--drain-timeout", "from 1ms to 1day"),
        (&["--queues-bytes-total", "0"], "--queues-bytes-total", "such as 262144 or 256KiB, from 1"),
        (&["--queues-bytes-total", "262143"], "--queues-bytes-total", "is less than --sendq-bytes-max 262144"),
        (
            &["--login-timeout", "600"],
            "--login-timeout",
            "use whole seconds such as 90s or 10m, from 1s to 1day, or off",
        ),
        (&["--login-timeout", "1500ms"], "--login-timeout", "use whole seconds"),
        (&["--login-exempt", "localhost"], "--login-exempt", "use networks and addresses with commas between, such as"),
        (&["--idle-timeout", "0s"], "--idle-timeout", "from 1s to 1day, or off"),
        (&["--scarce-idle", "1"], "--scarce-idle", "from 1s to 1day, or off"),
        (&["--cows-per-address", "0"], "--cows-per-address", "use a whole number from 1 to 67108864"),
        (&["--flood-burst", "0"], "--flood-burst", "use a whole number from 1 to 1000000"),
        (&["--flood-rate", "5"], "--flood-rate", "such as 5/s or 30/m"),
        (&["--flood-rate", "0/m"], "--flood-rate", "(1/m to 1000000/s)"),
        (&["--flood-exempt", "10.0.0.0/33"], "--flood-exempt", "10.0.0.0/8,2001:db8::/32,192.0.2.1, or none"),
        (&["--connections-per-address", "0"], "--connections-per-address", "use a whole number from 1 to 1048576"),
        (&["--connect-rate", "2"], "--connect-rate", "such as 5/s or 30/m (1/m to 1000000/s), or off"),
        (&["--address-exempt", "none,::1"], "--address-exempt", "use networks and addresses"),
        (&["--sendq-stall", "999ms"], "--sendq-stall", "from 1s to 1day"),
        (&["--keepalive", "32768s"], "--keepalive", "from 1s to 9h6m7s, or off"),
        (&["--user-timeout", "4s"], "--user-timeout", "from 5s to 1day, or off"),
        (&["--connections-max", "0"], "--connections-max", "use a whole number from 1"),
        (&["--connections-max", "999999999"], "--connections-max", "sudo prlimit --pid $$ --nofile="),
        (&["--herd", "0"], "--herd", "use a whole number from 1 to 1048576"),
        (&["--herd", "1048577"], "--herd", number),
        (&["--herd", "1048576", "--cow-dir", "/usr/share/cowsay/cows"], "--herd", "is too large: ask for a smaller"),
        (&["--width", "9"], "--width", "use a whole number from 10 to 400"),
        (&["--width", "401"], "--width", number),
        (&["--history", "10001"], "--history", "use a whole number from 0 to 10000"),
        (&["--history", "-1"], "--history", number),
        (&["--art", "colour"], "--art", "possible values: color, half, plain, small, off"),
        (&["--bubble", "square"], "--bubble", "possible values: cowsay, ascii, round, unicode, think"),
        (&["--motd", "/nosuch"], "--motd", "/nosuch, cannot be read: No such file"),
        (&["--motd", "/"], "--motd", "/, is no regular file"),
        (&["--motd", "/dev/zero"], "--motd", "/dev/zero, is no regular file"),
        (&["--motd", "/proc/self/status"], "--motd", "/proc/self/status, is a file of /proc: give one that is stored"),
        (&["--log", "loud"], "--log", "possible values: error, warn, info"),
        (&["--nosuch"], "--nosuch", "--help"),
        (&["nosuch"], "nosuch", "--help"),
    ];
    for (flags, name, fix) in table {
        let mut command = cowchat();
        command.arg("serve").args(*flags);
        let said = refusal(command, 2);
        assert!(said.contains(name), "{flags:?}: {name} is not named in:\n{said}");
        assert!(said.contains(fix), "{flags:?}: {fix:?} is not in:\n{said}");
        assert!(said.starts_with("cowchat: ") && said.lines().count() == 1, "{flags:?}: {said}");
    }
}

#[test]
fn wrong_usage_of_each_subcommand_is_one_line() {
    for (arguments, told) in [
        ("moo", "unrecognized subcommand 'moo'; see cowchat --help"),
        ("doctr", "unrecognized subcommand 'doctr'; a similar subcommand exists: 'doctor'; see cowchat --help"),
        (
            "serve --hurd",
            "unexpected argument '--hurd' found; a similar argument exists: '--herd'; see cowchat serve --help",
        ),
        (
            "serve --no-header=1",
            "unexpected value '1' for '--no-header' found; no more were expected; see cowchat serve",
        ),
        (
            "serve --herd 1 --herd 2",
            "the argument '--herd <N>' cannot be used multiple times; see cowchat serve --help",
        ),
        (
            "serve --art blue",
            "invalid value 'blue' for '--art <ART>' [possible values: color, half, plain, small, off]",
        ),
        ("connect --cow", "a value is required for '--cow <COW>' but none was supplied"),
        ("connect --nosuch", "unexpected argument '--nosuch' found; see cowchat connect --help"),
        ("connect a b", "unexpected argument 'b' found; see cowchat connect --help"),
        ("connect --color re\nd", "invalid value 're\\nd' for '--color <WHEN>' [possible values: auto, always, never]"),
        ("ctl moo", "unrecognized subcommand 'moo'; see cowchat ctl --help"),
        ("ctl --control", "a value is required for '--control <PATH>' but none was supplied"),
        ("ctl kick", "the following required arguments were not provided: <COW|ADDRESS>; see cowchat ctl kick --help"),
        ("ctl notice", "the following required arguments were not provided: <TEXT>...; see cowchat ctl notice --help"),
        ("ctl log loud", "invalid value 'loud' for '<LEVEL>' [possible values: error, warn, info]"),
        ("doctor --connections", "a value is required for '--connections <N>' but none was supplied"),
        (
            "doctor --jsno",
            "unexpected argument '--jsno' found; a similar argument exists: '--json'; see cowchat doctor --help",
        ),
        ("doctor moo", "unexpected argument 'moo' found; see cowchat doctor --help"),
        ("config --check", "a value is required for '--check <FILE>' but none was supplied"),
        (
            "config --check a --herd 4",
            "the argument '--check <FILE>' cannot be used with '[SERVE FLAGS]...'; see cowchat config --help",
        ),
        (
            "config --check a --defaults",
            "the argument '--check <FILE>' cannot be used with '--defaults'; see cowchat config",
        ),
        ("config --herd 4 --check a", "--check and --defaults take no flags of serve: give them alone"),
        ("config --herd 4 --defaults", "--check and --defaults take no flags of serve: give them alone"),
        (
            "config --hurd 4",
            "unexpected argument '--hurd' found; a similar argument exists: '--herd'; see cowchat serve",
        ),
        ("config --herd", "a value is required for '--herd <N>' but none was supplied"),
    ] {
        let mut command = cowchat();
        command.args(arguments.split(' '));
        let said = refusal(command, 2);
        assert!(said.starts_with(&format!("cowchat: {told}")), "{arguments}: {said}");
        assert!(said.lines().count() == 1 && !said.contains('\u{1b}'), "{arguments}: {said}");
    }
}

#[cfg(not(feature = "cluster"))]
#[test]
fn a_build_without_a_cluster_says_so() {
    const ADVICE: &str = "this build has no cluster, build it with cargo build --release --features cluster";
    let files = Scratch::new();
    let file = files.put("a.toml", "cluster-ttl = \"30s\"\n");
    for (arguments, told) in [
        (["serve", "--cluster", "nats://u:secret@h"], "unknown flag --cluster".to_owned()),
        (["serve", "--node=a", "--herd=2"], "unknown flag --node".to_owned()),
        (["serve", "--cluster-\n", "--herd=2"], "unknown flag --cluster-\\n".to_owned()),
        (["config", "--check", &file], format!("{file}:1:1: unknown key \"cluster-ttl\"")),
    ] {
        let mut command = cowchat();
        command.args(arguments);
        assert_eq!(refusal(command, 2), format!("cowchat: {told}: {ADVICE}"));
    }
    let mut command = cowchat();
    command.arg("serve").env("COWCHAT_CLUSTER_TTL", "").env("COWCHAT_CLUSTER", "nats://u:secret@h");
    assert_eq!(refusal(command, 2), format!("cowchat: unknown variable COWCHAT_CLUSTER: {ADVICE}"));
}

#[test]
fn both_ends_of_each_range_are_allowed() {
    let least = [
        ["--cores", "1"],
        ["--width", "10"],
        ["--herd", "1"],
        ["--history", "0"],
        ["--connections-max", "1"],
        ["--connect-rate", "1/m"],
        ["--line-bytes-max", "16"],
        ["--sendq-bytes-max", SENDQ_BYTES_MIN],
        ["--queues-bytes-total", SENDQ_BYTES_MIN],
        ["--mailbox-frames", "1"],
        ["--login-timeout", "1s"],
        ["--idle-timeout", "1s"],
        ["--flood-burst", "1"],
        ["--flood-rate", "1/m"],
        ["--flood-exempt", ""],
        ["--connections-per-address", "1"],
        ["--cows-per-address", "1"],
        ["--scarce-idle", "1s"],
        ["--keepalive", "1s"],
        ["--user-timeout", "5s"],
    ];
    // Without the highest --cores, which needs 512 MiB of locked memory, and --connections-max, which needs descriptors.
    let most = [
        ["--width", "400"],
        ["--herd", "1048576"],
        ["--history", "10000"],
        ["--connect-rate", "1000000/s"],
        ["--line-bytes-max", "65536"],
        ["--sendq-bytes-max", "1GiB"],
        ["--queues-bytes-total", "18446744073709551615"],
        ["--mailbox-frames", "1048576"],
        ["--login-timeout", "off"],
        ["--idle-timeout", "24h"],
        ["--flood-burst", "1000000"],
        ["--flood-rate", "1000000/s"],
        ["--flood-exempt", "0.0.0.0/0,::/0"],
        ["--connections-per-address", "1048576"],
        ["--cows-per-address", "67108864"],
        ["--scarce-idle", "off"],
        ["--keepalive", "32767s"],
        ["--user-timeout", "1440m"],
    ];
    let times =
        [["--sendq-stall", "1s", "--drain-timeout", "1ms"], ["--sendq-stall", "1440m", "--drain-timeout", "1440m"]];
    for (flags, times) in [&least[..], &most].into_iter().zip(times) {
        let server = Server::started(serve(&[&flags.concat()[..], &times].concat()));
        assert_eq!(server.connect().ask("who"), NO_USERS);
    }
}

#[test]
fn flags_can_be_set_by_environment_variables() {
    let files = Scratch::new();
    let motd = files.put("motd", "moo\n");
    let mut command = cowchat();
    command.arg("serve").envs([
        ("COWCHAT_LISTEN", "127.0.0.1:0"),
        ("COWCHAT_CORES", "1"),
        ("COWCHAT_NO_HEADER", "1"),
        ("COWCHAT_MOTD", &motd),
        ("COWCHAT_LINE_BYTES_MAX", "16"),
        ("COWCHAT_CONNECTIONS_MAX", "2"),
        ("COWCHAT_LOG", "error"),
    ]);
    let mut server = Server::started(command);
    assert!(server.announcement.contains("(1 core, "), "{}", server.announcement);
    let [mut ferris, mut tux] = ["ferris", "tux"].map(|cow| {
        let mut client = server.connect();
        client.expect("moo\n");
        client.logged_in(cow)
    });
    assert_eq!(server.connect().read_to_end(), FULL);
    assert_eq!(ferris.ask("yield 89012345678"), "error: line too long (max 16 bytes)");
    assert_eq!(ferris.ask("say tux hi"), "Sent to tux");
    tux.expect(&picture("ferris", "hi"));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.log(), [""; 0]);
}

#[test]
fn a_flag_wins_over_its_environment_variable() {
    let mut command = serve(&["--cores", "1"]);
    command.env("COWCHAT_CORES", "2").env("COWCHAT_LISTEN", "192.0.2.1:0");
    assert!(Server::started(command).announcement.contains("(1 core, "));
}

#[test]
fn an_empty_environment_variable_sets_nothing() {
    let mut command = serve(&[]);
    let names = flags_in_help().into_keys().map(|flag| format!("COWCHAT_{}", flag.to_uppercase().replace('-', "_")));
    command.envs(names.map(|name| (name, "")));
    assert!(Server::started(command).announcement.contains(" 24 cows, 1 of each, "));
}

#[test]
fn a_wrong_environment_variable_is_refused_by_its_own_name() {
    for (variable, value, flag, fix) in [
        ("COWCHAT_CORES", "zero", "--cores", "use a whole number from 1 to 1024"),
        ("COWCHAT_ART", "blue", "--art", "possible values: color, half, plain, small, off"),
        ("COWCHAT_NO_HEADER", "maybe", "--no-header", "true or false"),
        ("COWCHAT_MOTD", "/nosuch", "--motd", "No such file"),
        ("COWCHAT_QUEUES_BYTES_TOTAL", "1", "--queues-bytes-total", "ask for at least that"),
    ] {
        let mut command = serve(&[]);
        command.env(variable, value);
        let said = refusal(command, 2);
        assert!(said.contains(variable) && said.contains(fix) && !said.contains(flag), "{said}");
    }
    // The error names the one of the two that was given.
    let mut command = serve(&["--cores", "zero"]);
    command.env("COWCHAT_CORES", "1");
    let said = refusal(command, 2);
    assert!(said.contains("--cores") && !said.contains("COWCHAT_CORES"), "{said}");
}

#[test]
fn an_unknown_cowchat_variable_is_warned_about() {
    let mut command = serve(&[]);
    command.envs([
        ("COWCHAT_HERDS", "9"),
        ("COWCHAT_XYZZY", ""),
        ("COWCHAT_LOGIN_TIMEOUT", "1m"),
        ("COWCHAT_CONNECT", ""),
    ]);
    let mut server = Server::started(command);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let unknown = |name, nearest| server.log_event("unknown_variable", &[("name", name), ("nearest", nearest)]);
    unknown("COWCHAT_HERDS", "COWCHAT_HERD");
    unknown("COWCHAT_XYZZY", "");
    assert_eq!(server.log_events("unknown_variable", &[]).len(), 2, "{:?}", server.log());
}

#[test]
fn what_a_wrong_flag_holds_does_not_reach_the_terminal() {
    let escape = "\x1b]0;moo\x07\u{9b}2J";
    let motd = format!("/{escape}");
    for flags in [&["--art", escape][..], &[escape], &["--listen", escape], &["--motd", &motd], &["--cow-dir", &motd]] {
        let mut command = cowchat();
        command.arg("serve").args(flags);
        let said = refusal(command, 2);
        // What is left of it stands there as text.
        assert!(said.contains("\\u{9b}2J"), "{said:?}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn no_error_tells_its_cause_twice() {
    let listen = |address| {
        let mut command = cowchat();
        command.args(["serve", "--listen", address]);
        command
    };
    let cause = "Operation not permitted (os error 1)";
    for (mut command, call, said) in [
        (serve(&[]), libc::SYS_socketpair, format!("cowchat: cannot start: {cause}")),
        (serve(&[]), libc::SYS_bind, format!("cowchat: cannot listen on 127.0.0.1:0: {cause}")),
        (
            listen("127.0.0.1:80"),
            libc::SYS_bind,
            format!(
                "cowchat: cannot listen on 127.0.0.1:80: {cause} (ports below 1024 need privileges; choose another \
                 --listen)"
            ),
        ),
    ] {
        forbid(&mut command, call, libc::EPERM);
        assert_eq!(refusal(command, 1), said);
    }
}

/// Starts `command` on one CPU only.
fn on_one_cpu(command: Command) -> Server {
    // In a thread that ends, since what it starts inherits its CPUs.
    let start = move || {
        let allowed = sched_getaffinity(None).expect("a thread may ask");
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu)).expect("it runs on one");
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one).expect("it runs there already");
        Server::started(command)
    };
    std::thread::spawn(start).join().expect("it starts")
}

#[test]
fn more_cores_than_cpus_work_and_are_warned_about() {
    let server = on_one_cpu(serve(&["--cores", "3"]));
    assert!(server.announcement.contains("(3 cores, "), "{}", server.announcement);
    server.log_event("unpinned", &[("level", "WARN"), ("cores", "3"), ("cpus", "1")]);
    let mut receivers = [server.login_on(0, "tux"), server.login_on(1, "cow"), server.login_on(2, "mew")];
    assert_eq!(server.login("ferris").ask("yield hi"), "Sent to 3 cows");
    for receiver in &mut receivers {
        receiver.expect_message("ferris", false, "hi");
    }
}

/// The CPUs that the thread of core 0 may run on, and those of the process.
fn cpus_of(server: &Server) -> [String; 2] {
    let allowed = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("the kernel says").trim().to_owned()
    };
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a child of this process");
    let mut tasks = tasks.map(|task| task.expect("an entry").path());
    let is_core =
        |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("core"));
    let core = tasks.find(is_core).expect("a core has a thread");
    [core.join("status"), format!("/proc/{}/status", server.pid()).into()]
        .map(|path: PathBuf| allowed(std::fs::read_to_string(path).expect("a child of this process")))
}

#[test]
fn a_core_is_pinned_if_the_server_uses_every_cpu_or_is_told_to() {
    let cpus = sched_getaffinity(None).expect("a thread may ask").count();
    for (pin, is_pinned) in [("auto", cpus == 1), ("on", true), ("off", cpus == 1)] {
        let [core, process] = cpus_of(&Server::started(serve(&["--cores", "1", "--pin", pin])));
        assert_eq!(core.parse::<usize>().is_ok(), is_pinned, "--pin {pin}: {core}");
        assert!(is_pinned || core == process, "--pin {pin}: {core} of {process}");
    }
    let one = on_one_cpu(serve(&[]));
    assert!(cpus_of(&one)[0].parse::<usize>().is_ok());
}

#[test]
fn where_pinning_is_forbidden_cores_run_without_and_say_so() {
    let mut command = serve(&["--cores", "1", "--pin", "on"]);
    forbid(&mut command, libc::SYS_sched_setaffinity, libc::EPERM);
    let server = Server::started(command);
    assert_eq!(server.login("tux").ask("yield hi"), "Sent to 0 cows");
    let error = "Operation not permitted (os error 1)";
    server.log_event("pin_failed", &[("level", "WARN"), ("core", "0"), ("error", error)]);
}

#[test]
fn by_default_there_are_as_many_cores_as_cpus_and_no_warning() {
    let mut server = on_one_cpu(serve(&[]));
    assert!(server.announcement.contains("(1 core, "), "{}", server.announcement);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.log().iter().any(|line| line.contains(" WARN ")), "{:?}", server.log());
}

#[test]
fn every_connection_is_greeted_with_the_motd() {
    let longest = "m".repeat(MOTD_BYTES_MAX - 1) + "\n";
    let table = [
        ("with-lf", "Moo!\nBe kind.\n", "Moo!\nBe kind.\n"),
        ("without-lf", "Moo!\nBe kind.", "Moo!\nBe kind.\n"),
        ("empty", "", ""),
        ("longest", &longest, &longest),
    ];
    let files = Scratch::new();
    for (name, text, greeting) in table {
        let server = Server::with(&["--motd", &files.put(name, text)]);
        for mut client in [server.connect(), server.connect()] {
            client.expect(greeting);
            assert_eq!(client.ask("who"), NO_USERS, "{name}");
        }
    }
    let motd = files.put("too-long", [b'm'; MOTD_BYTES_MAX + 1]);
    let said = refusal(serve(&["--motd", &motd]), 2);
    assert!(said.contains("--motd") && said.contains("is larger than 65536 bytes: make it smaller"), "{said}");
}

#[test]
fn a_pipe_is_no_motd() {
    let files = Scratch::new();
    let pipe = format!("{}/pipe", files.path());
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    // It has a writer, so that a reader which opens it goes on.
    let _writer = Guarded::spawn(Command::new("sh").args(["-c", "echo moo > \"$0\"", &pipe]));
    let said = refusal(serve(&["--motd", &pipe]), 2);
    assert!(said.ends_with(&format!("{pipe}, is no regular file: give one, or a link to one")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn where_io_uring_is_forbidden_one_line_says_what_to_change() {
    for system_call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        let mut command = serve(&[]);
        forbid(&mut command, system_call, libc::EPERM);
        let said = refusal(command, 2);
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in ["io_uring is forbidden", "seccomp", "kernel.io_uring_disabled=0"] {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
}

#[test]
fn where_there_is_no_io_uring_one_line_says_what_has_it() {
    let mut command = serve(&[]);
    forbid(&mut command, libc::SYS_io_uring_setup, libc::ENOSYS);
    let said = refusal(command, 2);
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["there is no io_uring here", "Linux 5.13", "CONFIG_IO_URING", "seccomp"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(!said.contains("forbidden"), "{said}");
}

#[test]
fn a_client_needs_no_io_uring() {
    let server = Server::start();
    let mut command = cowchat();
    command.args(["connect", &server.address.to_string()]);
    forbid(&mut command, libc::SYS_io_uring_setup, libc::EPERM);
    let mut client = Guarded::spawn(&mut command);
    drop(client.child.stdin.take());
    assert_eq!(client.wait(), Some(0));
}

#[test]
fn a_limit_that_is_too_low_to_start_is_named() {
    let too_few = (DESCRIPTORS_MIN - 1).to_string();
    for (ulimit, fix) in [
        ("-n 64", "prlimit --pid $$ --nofile=96 "),
        (&format!("-n {too_few}"), "prlimit --pid $$ --nofile=96 "),
        ("-l 100", "prlimit --pid $$ --memlock=1048576 "),
        ("-l 511", "prlimit --pid $$ --memlock=1048576 "),
    ] {
        let said = refusal(under(ulimit, &serve(&["--cores", "2"])), 2);
        assert!(said.contains(fix), "under ulimit {ulimit}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // More cores need more descriptors for themselves.
    let said = refusal(under("-n 128", &serve(&["--cores", "12"])), 2);
    assert!(said.contains(" --nofile=") && said.contains("fewer --cores"), "{said}");
}

/// Does `act` on a thread without CAP_IPC_LOCK, so that a limit on what it starts holds for root, too.
fn limited<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| {
        let act = threads.spawn(|| {
            // Another user than root has it no more.
            let _ = remove_capability_from_bounding_set(CapabilitySet::IPC_LOCK);
            act()
        });
        act.join().expect("it did not panic")
    })
}

#[test]
fn too_little_memlock_for_all_cores_is_named_or_starts_fewer() {
    let command = under("-l 512", &serve(&["--cores", "16"]));
    // Kernels that do not count rings have it start.
    if let Err(said) = limited(|| Server::spawn(command)) {
        let advice = said.lines().last().expect("it says something");
        assert!(advice.contains("the rings of 16 cores") && advice.contains(" --memlock=8388608 "), "{said}");
        assert!(advice.ends_with("(exit status: 2)"), "{said}");
    }
    let wanted = std::thread::available_parallelism().expect("it runs on some").get();
    let few = limited(|| Server::started(under("-l 700", &serve(&[]))));
    assert_eq!(few.login("tux").ask("yield hi"), "Sent to 0 cows");
    if !few.announcement.contains(&format!("({wanted} core")) {
        let fewer = few.log_event("fewer_cores", &[("level", "WARN"), ("wanted", &wanted.to_string())]);
        assert!(fewer.field("lacking").contains(&format!(" --memlock={} ", wanted * 512 * 1024)), "{fewer:?}");
    }
}

#[test]
fn a_low_soft_limit_is_raised_as_far_as_it_may() {
    let usual = Server::started(serve(&["--cores", "2"]));
    let raised = Server::started(under("-Sn 96 && ulimit -Sl 512", &serve(&["--cores", "2"])));
    let limits = |server: &Server| server.announcement.split_once(" (").map(|(_, limits)| limits.to_owned());
    assert_eq!(limits(&raised), limits(&usual));
    let of_raised = std::fs::read_to_string(format!("/proc/{}/limits", raised.pid())).expect("a child of this process");
    for name in ["Max open files", "Max locked memory"] {
        let line = of_raised.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says");
        let [soft, hard] = line.split_whitespace().collect::<Vec<_>>()[..2] else { panic!("{line}") };
        assert_eq!(soft, hard, "{name}");
    }
}

#[test]
fn too_few_descriptors_for_all_cores_start_fewer() {
    // Twenty CPUs need 64 and 16 times 12, and some for users; a machine with fewer has enough.
    let server = Server::started(under("-n 96", &serve(&[])));
    let wanted = std::thread::available_parallelism().expect("it runs on some").get();
    assert!(server.announcement.contains(&format!("({} core", wanted.min(4))), "{}", server.announcement);
    if wanted > 4 {
        let fewer = server.log_event("fewer_cores", &[("cores", "4"), ("wanted", &wanted.to_string())]);
        assert!(fewer.field("lacking").contains(" --nofile="), "{fewer:?}");
    }
}

/// With `sessions` connections a new one is refused, the others notice nothing, and one that leaves makes room.
fn assert_it_fills_and_empties(server: &Server, sessions: usize) {
    let mut clients: Vec<Client> = (0..sessions).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("who"), NO_USERS);
    }
    for round in 0..20 {
        let mut late = server.connect();
        if round % 2 == 1 {
            // What it has sent must not turn the refusal into a reset.
            late.send_raw(b"who\nlogin tux\n");
        }
        assert_eq!(late.read_to_end(), FULL);
    }
    server.log_event("refused", &[("reason", "server_full")]);
    for client in &mut clients {
        assert_eq!(client.ask("who"), NO_USERS, "nothing came between, and nobody has logged in");
    }
    for _ in 0..3 {
        clients.swap_remove(0).quit();
        clients.push(knock_until_there_is_room(server));
        assert_eq!(server.connect().read_to_end(), FULL, "there was room for exactly one");
    }
}

#[test]
fn beyond_connections_max_a_new_connection_is_refused() {
    assert_it_fills_and_empties(&Server::with(&["--connections-max", "3"]), 3);
}

#[test]
fn the_reserve_holds_refused_connections_that_stay() {
    let server = Server::started(serve(&["--cores", "3", "--connections-max", "1"]));
    let mut only = server.connect();
    assert_eq!(only.ask("who"), NO_USERS);
    let mut most = 0;
    let refuse = || {
        let mut late = server.connect();
        assert_eq!(late.read_line() + "\n", FULL);
        most = most.max(server.descriptors());
        late
    };
    let _staying: Vec<Client> = std::iter::repeat_with(refuse).take(100).collect();
    let possible = usize::try_from(DESCRIPTORS_RESERVED).expect("a small number") + 1;
    assert!(most <= possible, "{most} descriptors, {possible} with one connection");
}

#[test]
fn what_the_descriptors_allow_is_the_limit_on_connections() {
    for limit in [DESCRIPTORS_MIN, 128] {
        let server = Server::started(under(&format!("-n {limit}"), &serve(&["--cores", "2"])));
        assert_it_fills_and_empties(&server, usize::try_from(limit - DESCRIPTORS_RESERVED).expect("a small number"));
    }
}

#[test]
fn the_log_has_every_login_and_close_and_no_message() {
    let mut server = Server::start();
    let [quitting, leaving, mut crashing, staying] = [(); 4].map(|()| server.connect());
    let names = [&quitting, &leaving, &crashing, &staying].map(|client| server.name_of(client));
    let (mut quitting, mut leaving) = (quitting.logged_in("tux"), leaving.logged_in("ferris"));
    let mut staying = staying.logged_in("cow");
    for receiver in [&mut leaving, &mut staying] {
        assert_eq!(receiver.ask("art off"), "Art is off");
    }
    assert_eq!(quitting.ask("say ferris haystack"), "Sent to ferris");
    assert_eq!(quitting.ask("yield haystack"), "Sent to 2 cows");
    // On another core they may be on their way for a while.
    assert_eq!(leaving.read_line(), "tux says to you: haystack");
    assert_eq!([&mut leaving, &mut staying].map(|it| it.read_line()), ["tux says: haystack"; 2]);
    for line in ["haystack", "say haystack haystack", "login haystack", &"haystack ".repeat(1000)] {
        assert!(quitting.ask(line).starts_with("error: "));
        assert!(crashing.ask(line).starts_with("error: "));
    }
    assert_eq!(quitting.ask("quit"), "Goodbye.");
    leaving.half_close();
    leaving.read_to_end();
    crashing.reset();
    let closed = |connection: &str, cow, reason, error| {
        let fields = [("connection", connection), ("cow", cow), ("reason", reason), ("error", error)];
        server.log_event("closed", &fields);
    };
    server.log_event("logged_in", &[("connection", &names[0]), ("cow", "tux")]);
    closed(&names[0], "tux", "quit", "");
    closed(&names[1], "ferris", "end_of_input", "");
    closed(&names[2], "", "read_failed", "connection reset");
    server.signal("TERM");
    assert!(staying.read_to_end().ends_with(LAST_LINE));
    assert_eq!(server.wait().code(), Some(0));
    server.log_event("closed", &[("connection", &names[3]), ("cow", "cow"), ("reason", "shutdown")]);
    let stopped = server.log_event("stopped", &[]).text;
    let counts = "connections=4 says=1 yields=1 deliveries=3 stale_frames=0 ended_quit=1 ended_end_of_input=1 \
                  ended_read_failed=1 ended_shutdown=1";
    assert!(stopped.ends_with(&format!(" event=stopped {counts}")), "{stopped}");
    assert!(!server.log().iter().any(|line| line.contains("haystack")), "{:?}", server.log());
}

#[test]
fn each_json_line_is_an_object_and_the_journal_gets_priorities() {
    let (mut log, stderr) = std::io::pipe().expect("a pipe");
    let journal = fstat(&stderr).expect("a pipe");
    let mut command = serve(&["--log-format", "json"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", journal.st_dev, journal.st_ino));
    let mut server = Guarded::spawn_with_stderr(&mut command, stderr.into());
    drop(command);
    let address = server.read_announcement();
    assert_eq!(Client::connect(address).ask("quit"), "Goodbye.");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("text");
    let objects = text.lines().map(|line| {
        let json = line.strip_prefix("<6>").unwrap_or_else(|| panic!("no priority: {line}"));
        serde_json::from_str::<serde_json::Value>(json).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let events: Vec<_> = objects.map(|object| (object["event"].clone(), object["connections"].clone())).collect();
    let keys = ["accepted", "closed", "draining", "stopped"];
    assert_eq!(events.iter().map(|(event, _)| event).collect::<Vec<_>>(), keys, "{text}");
    assert_eq!(events[3].1, 1, "counts are numbers");
}

#[test]
fn only_events_of_the_level_asked_for_are_logged() {
    for level in ["error", "warn"] {
        let mut server = Server::with(&["--log", level]);
        assert_eq!(server.login("tux").ask("quit"), "Goodbye.");
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(server.log(), [""; 0], "--log {level}");
    }
}

#[test]
fn an_unread_stderr_delays_an_error_for_a_second_only() {
    // A port without a listener.
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let unused = unused.to_string();
    let table: [(&[&str], i32); 6] = [
        (&[], 2),
        (&["serve", "--nosuch"], 2),
        (&["serve", "--art", "\x1b[31m"], 2),
        (&["serve", "--motd", "/nosuch"], 2),
        (&["serve", "--listen", "192.0.2.1:0"], 1),
        (&["connect", &unused], 1),
    ];
    for (arguments, code) in table {
        let (_unread, full) = full_pipe();
        let mut process = Guarded::spawn_with_stderr(cowchat().args(arguments), full.into());
        assert_eq!(process.wait(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_log_that_outgrows_its_file_loses_lines_and_tells_how_many() {
    const CLIENTS: usize = 40;
    const LIMIT: usize = 2000;
    let files = Scratch::new();
    let log = PathBuf::from(files.put("log", ""));
    let stderr = File::options().append(true).open(&log).expect("it was created here");
    let mut server = Guarded::spawn_with_stderr(&mut serve(&["--cores", "2"]), stderr.into());
    let address = server.read_announcement();
    set_soft_limit(server.pid(), Resource::Fsize, LIMIT as u64);
    let come_and_go = || (0..CLIENTS / 2).for_each(|_| Client::connect(address).logged_in("tux").quit());
    come_and_go();
    let is_full = || log.metadata().expect("it was created here").len() >= LIMIT as u64;
    wait_until(is_full, "the log does not fill its limit");
    come_and_go();
    restore_limit(server.pid(), Resource::Fsize);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let text = std::fs::read_to_string(&log).expect("it was created here");
    let lost_of = |line: &str| {
        let line = LogLine::new(line.to_owned());
        line.is("log_lines_lost", &[]).then(|| line.field("lines").parse::<usize>().expect("a number"))
    };
    let (told, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| lost_of(line).is_some());
    let lost: usize = told.into_iter().filter_map(lost_of).sum();
    assert!(lost > 0, "{text}");
    assert!(lines.iter().all(|line| line.starts_with("20") && line.matches("Z  INFO ").count() <= 1), "{text}");
    assert!(lines.last().is_some_and(|line| line.contains(" event=stopped connections=40 ")), "{text}");
    // Three lines of each, and two of the end. Where the file was full a line was torn, and is one of the lost. A core that
    // was kept waiting logs more.
    let torn = usize::from(text.as_bytes()[LIMIT - 1] != b'\n');
    if !text.contains(" event=mishaps ") {
        assert_eq!(lines.len() - torn + lost, 3 * CLIENTS + 2, "{text}");
    }
}

#[test]
fn a_herd_for_which_there_is_no_memory_is_named_with_the_fix() {
    // Slots and words of 24 million cows take 288 MiB.
    for limit in ["-v 60000", "-v 170000", "-v 204000"] {
        let mut command = under(limit, &serve(&["--cores", "1", "--herd", "1048576"]));
        command.env("RUST_BACKTRACE", "1");
        let said = refusal(command, 2);
        assert!(said.starts_with("cowchat: there is no memory for a herd of 25165824 cows, 288 MiB: "), "{said}");
        assert!(said.contains("ask for a smaller --herd, or give the process more memory (`ulimit -v`"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn with_however_little_memory_it_serves_or_ends() {
    // With less an unoptimized program has no stack left even for --version: how much less depends on the build.
    let shows_its_version = |kib: &u32| {
        let mut version = cowchat();
        version.arg("--version");
        under(&format!("-v {kib}"), &version).output().expect("a shell").status.success()
    };
    let least = (16_000..200_000).step_by(2_000).find(shows_its_version).expect("it is a small program");
    for kib in (least..200_000).step_by(8_000) {
        let mut command = under(&format!("-v {kib}"), &serve(&["--cores", "2"]));
        command.env("RUST_BACKTRACE", "1");
        match Server::spawn(command) {
            Ok(mut server) => {
                server.signal("TERM");
                let code = server.wait().code();
                // At the very bound there is memory to start, but not to drain.
                let ran_out = server.log().last().is_some_and(|line| line.starts_with("cowchat: out of memory: "));
                assert_eq!(code, Some(i32::from(ran_out)), "{kib} KiB: {:?}", server.log());
            }
            // glibc ends a process in which it cannot register a thread's own memory, in its own words.
            Err(said) if said.starts_with("Fatal glibc error: ") && said.contains("out of memory") => {}
            Err(said) => {
                let code = [1, 2].into_iter().find(|code| said.ends_with(&format!(" (exit status: {code})")));
                assert!(code.is_some(), "{kib} KiB: {said}");
                assert!(said.lines().any(|line| line.starts_with("cowchat: ")), "{kib} KiB: {said}");
            }
        }
    }
}

#[test]
fn out_of_memory_it_ends_at_once_with_its_log_read_or_not() {
    for is_read in [true, false] {
        let mut command = serve(&["--cores", "2", "--sendq-bytes-max", ROOMY, "--sendq-stall", "10m"]);
        command.args(["--queues-bytes-total", "1099511627776"]);
        // With one arena the allocator has no reserve for each thread.
        command.env("RUST_BACKTRACE", "1").env("MALLOC_ARENA_MAX", "1");
        let (mut log, stderr) = if is_read { std::io::pipe().expect("a pipe") } else { full_pipe() };
        let mut server = Guarded::spawn_with_stderr(&mut command, stderr.into());
        drop(command);
        let address = server.read_announcement();
        // What this peer does not read takes memory.
        let _unread = connect_narrow(address).logged_in("kirby");
        let sender = Client::connect(address).logged_in("nemo");
        set_soft_limit(server.pid(), Resource::As, 1024 * kib_of(server.pid(), "VmSize"));
        let says = format!("say kirby {}\n", "moo ".repeat(900)).repeat(100);
        let sent = (0..100).try_for_each(|_| (&mut sender.stream()).write_all(says.as_bytes()));
        assert!(sent.is_err(), "it had the memory");
        assert_eq!(server.wait(), Some(1), "its log is read: {is_read}");
        if is_read {
            let mut text = String::new();
            log.read_to_string(&mut text).expect("text");
            let last = text.lines().last().expect("a log");
            assert!(last.starts_with("cowchat: out of memory: "), "{text}");
        }
    }
}

/// Each flag of `cowchat serve --help` with its text, on one line.
fn flags_in_help() -> HashMap<String, String> {
    let output = cowchat().args(["serve", "--help"]).output().expect("the binary runs");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let help = String::from_utf8(output.stdout).expect("text");
    let flags = help.split("\n      --").skip(1).map(|flag| flag.split("\n  -").next().expect("a flag"));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    flags.map(|flag| (flag.split([' ', '\n']).next().expect("a name").to_owned(), words(flag))).collect()
}

#[test]
fn the_help_names_unit_default_and_variable_of_every_flag() {
    let mut flags = flags_in_help();
    let mut expect = |flag: &str, texts: &[&str]| {
        let help = flags.remove(flag).unwrap_or_else(|| panic!("no --{flag}"));
        // The value of --cluster, which may have a password, is not shown.
        let end = if flag == "cluster" { "]" } else { "=]" };
        let variable = format!("[env: COWCHAT_{}{end}", flag.to_uppercase().replace('-', "_"));
        for text in texts.iter().copied().chain([variable.as_str()]) {
            assert!(help.contains(text), "{text:?} is not in: --{help}");
        }
    };
    expect("config", &["<FILE>", "TOML"]);
    expect("listen", &["[default: 127.0.0.1:1337]", "port 0 picks a free one"]);
    expect("cores", &["[default: one for each CPU that the process may use, or fewer if"]);
    expect("pin", &["[default: auto]", "[possible values: auto, on, off]"]);
    expect("no-header", &[]);
    expect("art", &["[default: color]", "[possible values: color, half, plain, small, off]"]);
    expect("bubble", &["[default: cowsay]", "[possible values: cowsay, ascii, round, unicode, think]"]);
    expect("width", &["in columns", "[default: 40]"]);
    expect("herd", &["<N>", "[default: 1]"]);
    expect("history", &["<N>", "[default: 0]"]);
    expect("motd", &["<FILE>", "64 KiB"]);
    expect("cow-dir", &["<DIR>", "several times"]);
    expect("line-bytes-max", &["<BYTES>", "in bytes", "[default: 4000]"]);
    expect("sendq-bytes-max", &["<BYTES>", "in bytes", "[default: 256KiB]"]);
    expect("sendq-stall", &["<TIME>", "1s to 1day", "[default: 10s]"]);
    expect(
        "queues-bytes-total",
        &["<BYTES>", "in bytes", "[default: a quarter of the memory that the process may have]"],
    );
    expect("login-timeout", &["<TIME>", "10m", "or off", "[default: 10m]"]);
    expect("login-exempt", &["<NETS>", "or none", "[default: 127.0.0.0/8,::1]"]);
    expect("idle-timeout", &["<TIME>", "10m", "[default: off]"]);
    expect("flood-burst", &["<LINES>", "100 receivers", "[default: 10]"]);
    expect("flood-rate", &["<RATE>", "30/m", "[default: 5/s]"]);
    expect("flood-exempt", &["<NETS>", "or none", "[default: 127.0.0.0/8,::1]"]);
    expect("connections-per-address", &["<N>", "64 bits", "[default: 64, but no more than half of --connections-max]"]);
    expect("cows-per-address", &["<N>", "[default: half of all, at least 8]"]);
    expect("scarce-idle", &["<TIME>", "one cow in eight", "or off", "[default: 1h]"]);
    expect("connect-rate", &["<RATE>", "30/m", "or off", "[default: 2/s]"]);
    expect("address-exempt", &["<NETS>", "or none", "[default: 127.0.0.0/8,::1]"]);
    expect("keepalive", &["<TIME>", "32767s", "or off", "[default: 1m]"]);
    expect("user-timeout", &["<TIME>", "5m", "or off", "[default: 30s]"]);
    expect("connections-max", &["[default: what the descriptor limit allows]"]);
    expect("mailbox-frames", &["[default: 4096]"]);
    expect("control", &["<PATH>", "`cowchat ctl`"]);
    expect("drain-timeout", &["<TIME>", "500ms", "[default: 10s]"]);
    expect("metrics", &["<ADDR:PORT>", "Prometheus"]);
    expect("log", &["[default: info]", "[possible values: error, warn, info]"]);
    expect("log-format", &["<FORMAT>", "[default: text]", "[possible values: text, json]"]);
    if cfg!(feature = "cluster") {
        expect("cluster", &["<URLS>", "nats://10.0.0.1:4222"]);
        expect("node", &["<NAME>", "1 to 32"]);
        expect("cluster-credentials", &["<FILE>"]);
        expect("cluster-ca", &["<FILE>", "certificates"]);
        expect("cluster-certificate", &["<FILE>", "key"]);
        expect("cluster-ttl", &["<TIME>", "2s to 1day", "[default: 30s]"]);
        expect("cluster-renew", &["<TIME>", "100ms to 1day", "[default: 5s]"]);
        expect("cluster-replicas", &["<N>", "1 to 5", "[default: 1]"]);
    }
    assert!(flags.is_empty(), "flags that this test does not know: {:?}", flags.keys());
}
