//! A client in a pseudo-terminal: its keys, its window and its end.
//!
//! Nothing here sleeps: a wait ends with the chunk of output that makes it true.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::screen::{Display, Screen};
use super::{GUARD, Guarded, Scratch, Server};

/// A key, as xterm sends it.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Up,
    Down,
    Home,
    End,
    Ctrl(char),
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        match self {
            Key::Enter => b"\r".to_vec(),
            Key::Tab => b"\t".to_vec(),
            Key::Backspace => b"\x7f".to_vec(),
            Key::Delete => b"\x1b[3~".to_vec(),
            Key::Left => b"\x1b[D".to_vec(),
            Key::Up => b"\x1b[A".to_vec(),
            Key::Down => b"\x1b[B".to_vec(),
            Key::Home => b"\x1b[H".to_vec(),
            Key::End => b"\x1b[F".to_vec(),
            Key::Ctrl(letter) => vec![letter as u8 & 0x1f],
        }
    }
}

/// Keys arrive by lines, are echoed, and some are signals.
const COOKED: LocalModes = LocalModes::ICANON.union(LocalModes::ECHO).union(LocalModes::ISIG);

/// `cowchat connect` in a terminal of its own, killed when this is dropped.
pub struct Terminal {
    client: Guarded,
    /// The side of the terminal's window.
    keyboard: File,
    display: Arc<Display>,
    reader: JoinHandle<()>,
    /// Its state directory.
    pub home: Scratch,
    mode_before: String,
}

impl Terminal {
    /// A client in a window of this many columns and rows.
    pub fn start(address: SocketAddr, flags: &[&str], size: (u16, u16)) -> Terminal {
        Terminal::with_env(address, flags, size, &[])
    }

    /// The same with more variables in its environment.
    pub fn with_env(address: SocketAddr, flags: &[&str], size: (u16, u16), env: &[(&str, &str)]) -> Terminal {
        let address = address.to_string();
        Terminal::run(env!("CARGO_BIN_EXE_cowchat"), &[&["connect", &address], flags].concat(), size, env)
    }

    /// A program with these arguments in a window of its own.
    pub fn run(program: &str, arguments: &[&str], size: (u16, u16), env: &[(&str, &str)]) -> Terminal {
        let home = Scratch::new();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is this process's own");
        tcsetwinsize(&master, window(size)).expect("a terminal");
        // When the leader of a terminal's session ends, the kernel drops what the terminal has not read. So no process
        // has it as its controlling terminal.
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let slave = slave.expect("the other side");
        let side = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // Tests that nohup has started ignore SIGHUP, and so would the client.
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["--default-signal=HUP", program])
            .args(arguments)
            .current_dir(home.path())
            .env_clear()
            .stdin(side())
            .stdout(side())
            .stderr(side());
        let usual = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("XDG_STATE_HOME", home.path())];
        command.envs(usual).envs(env.iter().copied());
        let keyboard = File::from(master);
        let mode_before = mode(&keyboard);
        let child = command.spawn().expect("the binary runs");
        let display = Arc::new(Display::new(size));
        let output = keyboard.try_clone().expect("a descriptor");
        // Not joined in the end: another child of this process may have inherited the terminal, which ends later then.
        let reader = std::thread::spawn({
            let display = Arc::clone(&display);
            move || display.show(output)
        });
        Terminal { client: Guarded::over(child), keyboard, display, reader, home, mode_before }
    }

    /// A client in a window of 80x24 that is connected to `server`.
    pub fn at(server: &Server, flags: &[&str]) -> Terminal {
        Terminal::start(server.address, flags, (80, 24)).connected()
    }

    /// Waits until it says where it is.
    pub fn connected(self) -> Terminal {
        // In a narrow window the line wraps.
        self.wait_for(|screen| screen.all_rows().concat().contains("/help"));
        self
    }

    /// Logs in by hand.
    pub fn logged_in(mut self, cow: &str) -> Terminal {
        self.enter(&format!("login {cow}"));
        self.wait_for(|screen| screen.has(&format!("Logged in as {cow}")) && screen.typed() == format!("{cow}> "));
        self
    }

    /// Types this, and presses no key after it.
    pub fn type_in(&mut self, text: &str) {
        self.send(text.as_bytes());
    }

    /// Types a line, and Enter.
    pub fn enter(&mut self, line: &str) {
        self.send(&[line.as_bytes(), &Key::Enter.bytes()].concat());
    }

    /// Presses a key.
    pub fn press(&mut self, key: Key) {
        self.send(&key.bytes());
    }

    /// The same, and waits until the client has drawn something.
    pub fn press_and_wait(&mut self, key: Key) {
        let chunks = self.screen().chunks;
        self.press(key);
        self.wait_for(|screen| screen.chunks > chunks);
    }

    /// Presses a key, again after each answer of the client, until it is so.
    #[track_caller]
    pub fn press_until(&mut self, key: Key, is_so: impl Fn(&Screen) -> bool) -> Screen {
        let deadline = Instant::now() + GUARD;
        let mut screen = self.screen();
        while !is_so(&screen) {
            assert!(Instant::now() < deadline, "{key:?} does not help\n{}", screen.shown());
            self.press(key);
            let chunks = screen.chunks;
            screen = self.wait_for(|screen| screen.chunks > chunks);
        }
        screen
    }

    /// Pastes text, as a terminal does for a program that has asked for brackets: LF becomes CR.
    pub fn paste(&mut self, text: &str) {
        self.send(format!("\x1b[200~{}\x1b[201~", text.replace('\n', "\r")).as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).and_then(|()| self.keyboard.flush()).expect("a terminal takes keys");
    }

    /// Gives the window this many columns and rows.
    pub fn resize(&self, size: (u16, u16)) {
        self.display.resize(size);
        tcsetwinsize(&self.keyboard, window(size)).expect("a terminal");
        // The kernel tells only the processes whose controlling terminal it is.
        self.signal("WINCH");
    }

    /// What is shown now.
    pub fn screen(&self) -> Screen {
        self.display.screen()
    }

    /// Waits until the screen, between two updates, is so.
    #[track_caller]
    pub fn wait_for(&self, is_so: impl Fn(&Screen) -> bool) -> Screen {
        self.display.wait_for(is_so)
    }

    /// Waits for a row that has `text`.
    #[track_caller]
    pub fn wait_for_text(&self, text: &str) -> Screen {
        self.wait_for(|screen| screen.has(text))
    }

    /// Waits for the prompt and the typed line, blanks at its end included.
    #[track_caller]
    pub fn wait_for_typed(&self, line: &str) -> Screen {
        self.wait_for(|screen| screen.typed() == line)
    }

    /// Sends a signal, by its name as `kill` knows it.
    pub fn signal(&self, name: &str) {
        self.client.signal(name);
    }

    /// Waits for its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.client.wait()
    }

    /// Waits for its end, which must be this exit code in a terminal as it was before.
    #[track_caller]
    pub fn expect_end(&mut self, code: i32) -> Screen {
        let exited = self.wait();
        assert_eq!(exited, Some(code), "{}", self.screen().shown());
        assert_eq!(mode(&self.keyboard), self.mode_before, "the terminal's mode is as before");
        self.wait_for(|screen| !screen.brackets_pastes())
    }

    /// Gives the terminal the mode in which a shell leaves it to its programs.
    pub fn reset_mode(&self) {
        let mut mode = tcgetattr(&self.keyboard).expect("a terminal");
        mode.local_modes |= COOKED;
        tcsetattr(&self.keyboard, OptionalActions::Now, &mode).expect("a terminal");
    }

    /// Whether it has such a mode.
    pub fn is_cooked(&self) -> bool {
        tcgetattr(&self.keyboard).expect("a terminal").local_modes.intersects(COOKED)
    }

    /// Closes the terminal, as a window that is closed does. Returns the client.
    pub fn hang_up(mut self) -> Guarded {
        self.display.close();
        // The answer ends the read that goes on, so that this side is closed everywhere.
        self.type_in("x");
        self.reader.join().expect("no panic");
        self.client
    }
}

fn window((columns, rows): (u16, u16)) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// What tcgetattr(3) tells.
fn mode(terminal: &File) -> String {
    format!("{:?}", tcgetattr(terminal).expect("a terminal"))
}
