//! The unit that is shipped, `ci/cowchat.service`: that the server can live with what it forbids, and that
//! its times and limits fit the server's own. `ci/unit.sh` asks systemd what it thinks of it. And the profile for
//! containers, `ci/seccomp.json`: that it allows what the server calls.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Client, Scratch, Server, bpf, confine, connect_narrow, cowchat, serve, wait_until, without_terminal,
};
use clap::Parser;
use cowchat::cli::{Cli, Mode};
use cowchat::limits::{DESCRIPTORS_MIN, DRAIN_TIMEOUT, LOG_WAIT_MAX, STALL_NOTICED, WATCH_INTERVAL};

const UNIT: &str = include_str!("../../ci/cowchat.service");

/// The seccomp profile for containers.
const PROFILE: &str = include_str!("../../ci/seccomp.json");

/// A system call's name, behind `SYS_`, and its number.
type Call = (&'static str, libc::c_long);

macro_rules! calls {
    ($($call:ident)*) => { &[$((stringify!($call), libc::$call)),*] };
}

/// What the server and its libc call, by the set of systemd's that it is in. Those without a set are named in
/// the unit. `@default` is always allowed.
const CALLS: &[(&str, &[Call])] = &[
    (
        "@default",
        calls![SYS_brk SYS_clock_gettime SYS_clock_nanosleep SYS_execve SYS_exit SYS_exit_group SYS_futex SYS_getpid
        SYS_getrandom SYS_gettid SYS_mmap SYS_mprotect SYS_munmap SYS_restart_syscall SYS_rt_sigreturn SYS_sched_yield
        SYS_set_robust_list SYS_set_tid_address],
    ),
    ("@basic-io", calls![SYS_close SYS_lseek SYS_pread64 SYS_read SYS_readv SYS_write SYS_writev]),
    (
        "@file-system",
        calls![SYS_faccessat SYS_fchmod SYS_fcntl SYS_fstat SYS_getdents64 SYS_newfstatat SYS_openat SYS_readlinkat
        SYS_statfs SYS_statx SYS_unlinkat],
    ),
    ("@io-event", calls![SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2 SYS_ppoll]),
    (
        "@network-io",
        calls![SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt SYS_listen
        SYS_recvfrom SYS_recvmsg SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setsockopt SYS_shutdown SYS_socket
        SYS_socketpair],
    ),
    ("@signal", calls![SYS_rt_sigaction SYS_rt_sigprocmask SYS_sigaltstack]),
    (
        "",
        calls![SYS_clone SYS_clone3 SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_ioctl SYS_madvise
        SYS_membarrier SYS_mremap SYS_prctl SYS_prlimit64 SYS_rseq SYS_sched_getaffinity SYS_sched_setaffinity
        SYS_sysinfo SYS_tgkill SYS_uname],
    ),
];

/// What only the oldest of architectures still has.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(&str, &[Call])] = &[
    ("@default", calls![SYS_arch_prctl]),
    ("@file-system", calls![SYS_access SYS_readlink SYS_unlink]),
    ("@io-event", calls![SYS_epoll_wait SYS_poll]),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(&str, &[Call])] = &[];

/// All words of a setting, which may have several lines.
fn words(setting: &str) -> Vec<&'static str> {
    let values = UNIT.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).collect()
}

/// The only word of a setting.
fn word(setting: &str) -> &'static str {
    let words = words(setting);
    assert_eq!(words.len(), 1, "{setting} in the unit");
    words[0]
}

fn seconds(setting: &str) -> Duration {
    let number = word(setting).strip_suffix('s').and_then(|number| number.parse().ok());
    Duration::from_secs(number.unwrap_or_else(|| panic!("{setting} is in seconds")))
}

/// The calls that the unit allows, as far as the table knows them.
fn allowed() -> Vec<libc::c_long> {
    let mut allowed = Vec::new();
    let words = words("SystemCallFilter");
    for (set, calls) in CALLS.iter().chain(OLD_CALLS) {
        let by_set = *set == "@default" || words.contains(set);
        let by_name = |name: &str| words.iter().any(|&word| name.strip_prefix("SYS_") == Some(word));
        allowed.extend(calls.iter().filter(|(name, _)| by_set || by_name(name)).map(|(_, number)| number));
    }
    allowed
}

/// Ends what `command` starts at the first system call that the unit forbids.
#[cfg(feature = "cluster")]
pub fn as_in_the_unit(command: &mut Command) {
    kill_at_any_but(command, &allowed());
}

/// Ends what `command` starts at the first system call that is not one of these. That is stricter than the
/// unit, where such a call fails, so that none goes unnoticed.
fn kill_at_any_but(command: &mut Command, calls: &[libc::c_long]) {
    let mut program = vec![bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for &call in calls {
        program.push(bpf(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32));
        program.push(bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    }
    program.push(bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS));
    confine(command, program);
}

#[test]
fn a_server_needs_no_system_call_that_the_unit_forbids() {
    let files = Scratch::new();
    let motd = files.put("motd", "Moo!\n");
    files.put("plain.cow", "$the_cow = <<EOC;\n  $thoughts\n  (oo)\nEOC\n");
    let notify = std::os::unix::net::UnixDatagram::bind(files.join("notify")).expect("a directory of the test's own");
    let control = files.join("control.sock");
    // A dead server's, which it replaces.
    drop(std::os::unix::net::UnixListener::bind(&control).expect("a directory of the test's own"));
    let text = format!("herd = 21\nhistory = 9\nmetrics = '127.0.0.1:0'\ncontrol = '{}'\n", control.display());
    let config = files.put("cowchat.toml", &text);
    let mut command = serve(&["--cores", "2", "--config", &config, "--motd", &motd, "--cow-dir", files.path()]);
    without_terminal(&mut command);
    command.env("NOTIFY_SOCKET", files.join("notify")).env("WATCHDOG_USEC", "500000");
    kill_at_any_but(&mut command, &allowed());
    let mut server = Server::started(command);
    let login = |core, cow: &str| {
        let mut client = server.connect_on(core);
        client.expect("Moo!\n");
        client.logged_in(cow)
    };
    // Enough on each core that the ring for sends is used.
    let mut receivers: Vec<Client> = (2..=21).map(|number| login(number % 2, &format!("tux#{number}"))).collect();
    let mut sender = login(0, "plain#2");
    for text in ["hi", "hi again"] {
        assert_eq!(sender.ask(&format!("yield {text}")), "Sent to 20 cows");
        for receiver in &mut receivers {
            let mut line = receiver.read_line();
            while !line.contains("(oo)") {
                line = receiver.read_line();
            }
        }
    }
    for line in ["who", "cows", "notify on", "history", "art small", "help", "nonsense", "say ferris moo"] {
        receivers[2].send(line);
    }
    receivers.remove(0).reset();
    receivers.remove(0).half_close();
    let metrics = server.log_event("metrics_served", &[]);
    let mut scrape = TcpStream::connect(metrics.field("address")).expect("it listens");
    scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: cow\r\n\r\n").expect("it reads");
    assert!(std::io::read_to_string(scrape).expect("it answers").contains("cowchat_says_total"));
    for request in [&["stats"][..], &["log", "info"], &["notice", "moo"], &["kick", "tux#21"]] {
        let asked = cowchat().arg("ctl").arg("--control").arg(&control).args(request).output();
        let asked = asked.expect("the binary runs");
        assert!(asked.status.success(), "{request:?}: {asked:?}");
    }
    sender.expect("* notice: moo\n");
    // One that does not read, until it is cut.
    let mut never_reading = connect_narrow(server.address);
    never_reading.expect("Moo!\n");
    let _never_reading = never_reading.logged_in("ferris");
    // To that one alone: on a busy machine the others would be cut, too.
    let long = format!("say ferris {}", "x".repeat(3900));
    std::thread::scope(|scope| {
        for mut receiver in receivers {
            scope.spawn(move || receiver.read_to_end());
        }
        let is_cut = || {
            let reply = sender.ask(&long);
            assert!(["Sent to ferris", "error: cow ferris is not logged in"].contains(&reply.as_str()), "{reply}");
            !server.log_events("closed", &[("cow", "ferris"), ("reason", "slow_consumer")]).is_empty()
        };
        wait_until(is_cut, "ferris is not cut");
        let mut signs = [0; 4096];
        let length = notify.recv(&mut signs).expect("it is ready");
        assert!(signs[..length].starts_with(b"READY=1\n"));
        server.signal("HUP");
        server.log_event("reloaded", &[]);
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "it ends well");
    });
}

#[test]
fn a_call_that_is_missing_in_the_unit_would_be_noticed() {
    for missing in [libc::SYS_io_uring_setup, libc::SYS_sched_setaffinity] {
        let mut calls = allowed();
        calls.retain(|&call| call != missing);
        let mut command = serve(&["--cores", "2"]);
        kill_at_any_but(&mut command, &calls);
        let Err(said) = Server::spawn(command) else { panic!("it starts without system call {missing}") };
        assert!(said.contains(&format!("(signal: {}", libc::SIGSYS)), "{said}");
    }
}

#[test]
fn the_sets_of_calls_are_those_of_systemd() {
    for (set, calls) in CALLS.iter().chain(OLD_CALLS).filter(|(set, _)| !set.is_empty()) {
        let Ok(output) = Command::new("systemd-analyze").args(["syscall-filter", set]).output() else {
            // Only systemd knows, and the table seldom changes.
            return;
        };
        let members = String::from_utf8(output.stdout).expect("text");
        for (name, _) in *calls {
            let is_member = members.lines().any(|line| Some(line.trim()) == name.strip_prefix("SYS_"));
            assert!(is_member, "{name} is not in {set}");
        }
    }
}

#[test]
fn the_container_profile_allows_what_the_server_calls() {
    let profile: serde_json::Value = serde_json::from_str(PROFILE).expect("the profile is JSON");
    let rules = profile["syscalls"].as_array().expect("a list of rules");
    let allowed = |call: &str| {
        let names = rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW").map(|rule| &rule["names"]);
        names.filter_map(|names| names.as_array()).flatten().any(|name| name == call)
    };
    let calls = CALLS.iter().chain(OLD_CALLS).flat_map(|(_, calls)| *calls);
    let names = calls.map(|(name, _)| name.trim_start_matches("SYS_"));
    // libc makes threads by clone where clone3 fails with ENOSYS, as it does in the profile.
    let missing: Vec<_> = names.filter(|&name| name != "clone3" && !allowed(name)).collect();
    assert!(missing.is_empty(), "add {missing:?} to ci/seccomp.json");
}

#[test]
fn its_times_and_limits_fit_the_servers_own() {
    assert!(seconds("TimeoutStopSec") > DRAIN_TIMEOUT + LOG_WAIT_MAX, "a drain may take its time");
    assert!(seconds("WatchdogSec") / 2 > STALL_NOTICED + WATCH_INTERVAL, "a stall is logged before it is fatal");
    assert!(word("LimitNOFILE").parse::<u64>().expect("a number") > DESCRIPTORS_MIN);
    assert_eq!(word("Type"), "notify");
    assert_eq!(words("ExecReload"), ["/bin/kill", "-HUP", "$MAINPID"], "README: a reload");
    assert_eq!(word("RestartPreventExitStatus"), "2", "main.rs: something has to be changed first");
    assert!(Cli::try_parse_from(words("ExecStart")).is_ok(), "it can be started like that");
    let manifest = include_str!("../../Cargo.toml");
    let file = words("ExecStart")[3].strip_prefix('/').and_then(|path| path.strip_suffix("cowchat.toml"));
    let folder = file.expect("the file of --config");
    assert!(manifest.contains(&format!("[\"ci/deb/cowchat.toml\", \"{folder}\"")), "the package has that file");
    let control = format!("control = \"/run/{}/control.sock\"", word("RuntimeDirectory"));
    assert!(include_str!("../../ci/deb/cowchat.toml").contains(&control), "the service may make its socket there");
    let ctl = Cli::try_parse_from(["cowchat", "ctl", "stats"]).expect("its own default");
    assert!(matches!(ctl.mode, Mode::Ctl(args) if control.contains(args.control.to_str().expect("text"))));
}
