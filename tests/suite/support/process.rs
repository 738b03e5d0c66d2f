//! Processes: how the program is started, what its process is allowed, and what it leaves.

#![expect(unsafe_code, reason = "a child is changed between fork and exec, and a descriptor is borrowed")]

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::{GUARD, count_of, wait_until};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, ioctl_tiocsctty, prlimit, setsid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

/// On how many cores servers run: 2, or as many as `COWCHAT_TEST_CORES` says.
pub fn cores() -> String {
    count_of("COWCHAT_TEST_CORES", 2).to_string()
}

/// The program under test: the one that cargo has built, or that of `COWCHAT_TEST_PROGRAM` (`ci/deb-test.sh`).
pub fn cowchat() -> Command {
    let program = std::env::var_os("COWCHAT_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_cowchat").into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWCHAT_")) {
        command.env_remove(name);
    }
    // The tests may run in a service, whose manager must not take their servers for it.
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

/// `cowchat serve` on any free port, with these flags.
pub fn serve(flags: &[&str]) -> Command {
    let mut command = cowchat();
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
    command
}

/// Starts `command` without a controlling terminal, as a service manager does.
pub fn without_terminal(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call; it takes no lock and no memory.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
}

/// Starts `command` with a controlling terminal of its own, which closes when the descriptor does.
pub fn at_a_terminal(command: &mut Command) -> OwnedFd {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let window = openpt(flags).expect("a pseudo-terminal");
    grantpt(&window).and_then(|()| unlockpt(&window)).expect("it is this process's own");
    let terminal = ioctl_tiocgptpeer(&window, flags).expect("the other side");
    let lead_session = move || {
        setsid()?;
        Ok(ioctl_tiocsctty(&terminal)?)
    };
    // SAFETY: between fork and exec the closure makes two system calls; it takes no lock and no memory.
    unsafe { command.pre_exec(lead_session) };
    window
}

/// Starts `command` bound to the modes of files even as root.
pub fn without_override(command: &mut Command) {
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    let drop_capability = || {
        // Fails for a user that has no capabilities, and then there is nothing to drop.
        // SAFETY: the call reads two numbers.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) };
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call; it takes no lock and no memory.
    unsafe { command.pre_exec(drop_capability) };
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

/// Makes this system call fail so in what `command` starts, as a container's seccomp profile does.
pub fn forbid(command: &mut Command, system_call: libc::c_long, errno: i32) {
    let program = vec![
        // The system call's number; io_uring came late enough to have the same one everywhere.
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        bpf(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, system_call as u32),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        bpf(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    confine(command, program);
}

/// One instruction of such a program.
pub fn bpf(code: u32, jump_if: u8, jump_else: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_if, jf: jump_else, k: value }
}

/// `command`, in a shell that has set a limit first.
pub fn under(ulimit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, _) in command.get_envs() {
        shell.env_remove(name);
    }
    shell
}

/// Sets a soft limit of a child's.
pub fn set_soft_limit(pid: i32, resource: Resource, soft: u64) {
    let limit = Rlimit { current: Some(soft), maximum: getrlimit(resource).maximum };
    prlimit(Pid::from_raw(pid), resource, limit).expect("a child of this process");
}

/// Gives a child the limit that this process has.
pub fn restore_limit(pid: i32, resource: Resource) {
    prlimit(Pid::from_raw(pid), resource, getrlimit(resource)).expect("a child of this process");
}

/// A figure from a process's /proc/PID/status, in KiB.
pub fn kib_of(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a known field");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

/// Sends a signal, by its name as `kill` knows it. After STOP the process stands still.
pub(super) fn kill(pid: i32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "kill -s {name}");
    // Its state follows its name, which is in parentheses.
    let stands_still = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "));
    if name == "STOP" {
        wait_until(stands_still, "it goes on");
    }
}

/// The address in a server's announcement.
pub(super) fn announced(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.split(' ').next()?.parse().ok()
}

/// A child process, killed when this is dropped, and after [`GUARD`], so that a wait for its output ends then.
pub struct Guarded {
    pub child: Child,
    _over: mpsc::Sender<()>,
}

impl Guarded {
    /// Starts `command` with a pipe to each of its standard streams.
    pub fn spawn(command: &mut Command) -> Guarded {
        Guarded::spawn_with_stderr(command, Stdio::piped())
    }

    /// The same with this stderr.
    pub fn spawn_with_stderr(command: &mut Command, stderr: Stdio) -> Guarded {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        Guarded::over(piped.spawn().expect("the binary runs"))
    }

    /// A child that runs already.
    pub fn over(child: Child) -> Guarded {
        let (sender, over) = mpsc::channel();
        let pid = child.id().to_string();
        thread::spawn(move || {
            if over.recv_timeout(GUARD) == Err(mpsc::RecvTimeoutError::Timeout) {
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
        announced(&line).unwrap_or_else(|| panic!("not an announcement: {line:?}"))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends a signal, by its name as `kill` knows it.
    pub fn signal(&self, name: &str) {
        kill(self.pid(), name);
    }

    /// Waits for its exit code; `None` if a signal has ended it, as the guard's does.
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

/// A pipe that takes no byte more until its reader reads.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("a pipe");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).expect("a pipe");
    (reader, writer)
}

/// A directory of one test's own, removed with all that is in it when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the directory for tests can be written");
        Scratch(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("the target directory is UTF-8")
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and returns its path.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.join(name), text).expect("a directory of the test's own");
        format!("{}/{name}", self.path())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
