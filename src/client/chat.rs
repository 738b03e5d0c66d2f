//! The loop of the client at a terminal: events in, effects out.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event;
use socket2::{SockRef, TcpKeepalive};

use super::conversation::{Conversation, Effect, Wishes};
use super::drawing::{Abilities, Drawing};
use super::editor::{Editor, Key};
use super::error::ClientError;
use super::events::{Event, Events};
use super::files::{History, Transcript};
use super::item::Item;
use super::options::Options;
use super::screen::Screen;

/// Events to take in before the screen is drawn again: more than arrive between two frames of a terminal.
const EVENTS_DRAWN_TOGETHER: usize = 100;

/// How long the server may take nothing of a line. The client waits, since one line at a time is on its way.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a connection is silent before the kernel asks the server's machine whether it is still there, and how often it
/// asks then: nine times. So a network that is gone is told after two minutes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);

/// See [`KEEPALIVE_TIME`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Chats until the user leaves.
///
/// # Errors
/// When the first connection fails or leads to no chat, or the terminal is gone.
pub(super) fn run(options: Options, events: Events) -> Result<(), ClientError> {
    let stream = options.address.connect()?;
    let open =
        |path: &PathBuf| Transcript::open(path).map_err(|error| ClientError::Transcript { path: path.clone(), error });
    let transcript = options.log.as_ref().map(open).transpose()?;
    let abilities = Abilities { color: has_color(options.color), utf8: has_utf8() };
    let history = if options.history { History::load() } else { Ok(History::in_memory()) };
    let (history, trouble) = history.map_or_else(|trouble| (History::in_memory(), Some(trouble)), |it| (it, None));
    let wishes = Wishes { cow: options.cow.clone(), quiet: options.quiet };
    let mut chat = Chat {
        screen: Screen::new(abilities).map_err(ClientError::Terminal)?,
        abilities,
        conversation: Conversation::new(options.address.to_string(), wishes),
        editor: Editor::new(history),
        transcript,
        events,
        server: None,
        connect_at: None,
        is_connecting: false,
        began: Instant::now(),
        out: String::new(),
        options,
    };
    chat.report(trouble);
    chat.events.watch_terminal().map_err(ClientError::Terminal)?;
    chat.connected(stream)?;
    chat.run()
}

/// Whether to use colours: as the user says, or unless NO_COLOR is set and not empty.
fn has_color(choice: clap::ColorChoice) -> bool {
    match choice {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// Whether the terminal's characters are UTF-8: the first of the locale's variables that is set decides.
fn has_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

/// The state of the client at a terminal.
struct Chat {
    screen: Screen,
    abilities: Abilities,
    conversation: Conversation,
    editor: Editor,
    transcript: Option<Transcript>,
    options: Options,
    events: Events,
    /// Writes to the server.
    server: Option<TcpStream>,
    /// When to connect again.
    connect_at: Option<Instant>,
    is_connecting: bool,
    /// The conversation counts time from here.
    began: Instant,
    /// What is printed above the typed line with the next drawing.
    out: String,
}

impl Chat {
    fn run(mut self) -> Result<(), ClientError> {
        loop {
            for _ in 0..EVENTS_DRAWN_TOGETHER {
                if self.carry_out()? {
                    return Ok(());
                }
                let Some(event) = self.events.next_now() else { break };
                self.on_event(event)?;
            }
            self.draw()?;
            let deadlines = self.conversation.deadline().map(|at| self.began + at).into_iter().chain(self.connect_at);
            match self.events.next(deadlines.min()) {
                Some(event) => self.on_event(event)?,
                None => self.on_time()?,
            }
        }
    }

    fn draw(&mut self) -> Result<(), ClientError> {
        let (out, prompt) = (std::mem::take(&mut self.out), self.conversation.prompt());
        self.screen.draw(&out, &prompt, self.editor.line()).map_err(ClientError::Terminal)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn on_event(&mut self, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Terminal(event) => self.on_key(event)?,
            Event::TerminalGone(error) => return Err(ClientError::Terminal(error)),
            Event::Connected(stream) => self.connected(stream)?,
            Event::Line(line) => self.conversation.on_line(&line, self.now()),
            Event::Disconnected(error) => {
                (self.server, self.is_connecting) = (None, false);
                self.conversation.disconnected(&error.reason());
            }
            Event::Stop => {
                self.conversation.leave();
                // A signal does not wait for the server.
                self.conversation.leave();
            }
        }
        Ok(())
    }

    fn on_key(&mut self, event: event::Event) -> Result<(), ClientError> {
        match self.editor.key(event) {
            None => {}
            Some(Key::Lines(lines)) => lines.iter().for_each(|line| self.typed(line)),
            Some(Key::Complete) => self.complete(),
            Some(Key::Interrupt(was_empty)) => match self.conversation.drop_typed() {
                0 if was_empty => self.show(&Item::Status("Ctrl-D or /quit leaves".to_owned())),
                0 => {}
                dropped => self.show(&Item::Status(format!("{dropped} lines were not sent"))),
            },
            Some(Key::Leave) => self.conversation.leave(),
            Some(Key::Clear) => self.screen.clear().map_err(ClientError::Terminal)?,
            Some(Key::Suspend) => self.screen.suspend().map_err(ClientError::Terminal)?,
        }
        Ok(())
    }

    fn typed(&mut self, line: &str) {
        if !line.trim().is_empty() {
            let trouble = self.editor.remember(line);
            self.report(trouble.err());
        }
        self.conversation.on_typed(line);
    }

    fn complete(&mut self) {
        let now = self.now();
        match self.conversation.complete(self.editor.line().before_cursor(), now) {
            None => self.editor.await_names(),
            Some((start, names)) => {
                if let Some(list) = self.editor.offer(start, &names) {
                    self.show(&Item::Status(list));
                }
            }
        }
    }

    fn on_time(&mut self) -> Result<(), ClientError> {
        self.conversation.on_time(self.now());
        if self.connect_at.is_some_and(|at| at <= Instant::now()) {
            self.connect_at = None;
            if !std::mem::replace(&mut self.is_connecting, true) {
                self.events.connect(&self.options.address).map_err(ClientError::Terminal)?;
            }
        }
        Ok(())
    }

    fn connected(&mut self, stream: TcpStream) -> Result<(), ClientError> {
        let broken = |error| ClientError::Broken { address: self.options.address.to_string(), error };
        stream.set_write_timeout(Some(SEND_WAIT_MAX)).map_err(broken)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(broken)?;
        self.server = Some(stream.try_clone().map_err(broken)?);
        self.events.watch_server(stream, &self.options.address).map_err(broken)?;
        self.is_connecting = false;
        self.conversation.connected(self.now());
        Ok(())
    }

    /// Does what the conversation asks for. Returns whether it is over.
    fn carry_out(&mut self) -> Result<bool, ClientError> {
        loop {
            let effects = self.conversation.take_effects();
            if effects.is_empty() {
                return Ok(false);
            }
            let (mut lines, mut is_over) = (String::new(), false);
            for effect in effects {
                match effect {
                    Effect::Show(item) => self.show(&item),
                    Effect::Send(line) => lines += &(line + "\n"),
                    Effect::Keep(line) => self.editor.line().set(&line),
                    Effect::Complete if self.editor.takes_names() => self.complete(),
                    Effect::Complete => {}
                    Effect::Bell if self.options.bell => self.screen.ring().map_err(ClientError::Terminal)?,
                    Effect::Bell => {}
                    Effect::ConnectAfter(pause) => {
                        // From half of it to all of it, so that the users of one server do not come back at one moment.
                        let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                        self.connect_at = Some(Instant::now() + pause);
                    }
                    Effect::Close => self.close(),
                    Effect::Exit => is_over = true,
                    Effect::Fail(failure) => return Err(ClientError::of(failure, &self.options.address.to_string())),
                }
            }
            if let Some(mut server) = self.server.as_ref()
                && server.write_all(lines.as_bytes()).is_err()
            {
                // The thread that reads says so.
                self.close();
            }
            if is_over {
                // No typed line stands below what is left.
                self.editor.line().set("");
                let out = std::mem::take(&mut self.out);
                self.screen.draw(&out, "", self.editor.line()).map_err(ClientError::Terminal)?;
                return Ok(true);
            }
        }
    }

    fn close(&self) {
        if let Some(server) = &self.server {
            // One that is closed already needs no more.
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Shows what has failed, if it has.
    fn report(&mut self, trouble: Option<String>) {
        if let Some(trouble) = trouble {
            self.show(&Item::Problem(trouble));
        }
    }

    fn show(&mut self, item: &Item) {
        let prompt = self.conversation.prompt();
        let time = self.options.time.as_deref();
        let time = time.map(|format| jiff::ZonedDateTime::now().strftime(format).to_string());
        let drawing = Drawing {
            abilities: self.abilities,
            window: self.screen.window(),
            art: self.conversation.art(),
            prompt: &prompt,
            time: time.as_deref().unwrap_or_default(),
        };
        self.out += &drawing.draw(item);
        if let Some(transcript) = &mut self.transcript {
            let trouble = transcript.append(&item.transcript()).err();
            self.report(trouble);
        }
    }
}
