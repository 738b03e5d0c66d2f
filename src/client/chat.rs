//! The loop of the client at a terminal: events in, effects out.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossterm::event;
use socket2::{SockRef, TcpKeepalive};

use super::conversation::{Conversation, Effect, in_lines};
use super::drawing::{Abilities, Drawing};
use super::editor::{Editor, Key};
use super::error::ClientError;
use super::events::{Connection, Event, Events};
use super::files::{History, Transcript};
use super::item::Item;
use super::options::Options;
use super::screen::Screen;

/// Events to take in before the screen is drawn again: more than arrive while a terminal shows one picture.
const EVENTS_DRAWN_TOGETHER: usize = 100;

/// Ids of lines begin above this, so that no line of a greeting begins with one.
const IDS_FROM: u64 = 1_337_000_000;

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
    let open =
        |path: &PathBuf| Transcript::open(path).map_err(|error| ClientError::Transcript { path: path.clone(), error });
    let transcript = options.log.as_ref().map(open).transpose()?;
    let abilities = Abilities { colour: has_colour(options.color), utf8: has_utf8() };
    let history = if options.history { History::load() } else { Ok(History::in_memory()) };
    let (history, trouble) = history.map_or_else(|trouble| (History::in_memory(), Some(trouble)), |it| (it, None));
    let mut chat = Chat {
        screen: Screen::new(abilities).map_err(ClientError::Terminal)?,
        abilities,
        conversation: Conversation::new(options.address.to_string(), options.cow.clone(), options.quiet, IDS_FROM),
        editor: Editor::new(history),
        transcript,
        events,
        server: None,
        has_connected: false,
        connect_at: None,
        is_connecting: false,
        rings: false,
        began: Instant::now(),
        out: String::new(),
        options,
    };
    chat.report(trouble);
    chat.events.watch_terminal().map_err(ClientError::Terminal)?;
    chat.connect()?;
    chat.run()
}

/// Whether to use colours: as the user says, or unless NO_COLOR is set and not empty, or the terminal is one of DEC's, which
/// have none.
fn has_colour(choice: clap::ColorChoice) -> bool {
    match choice {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => {
            let has_none = std::env::var("TERM").is_ok_and(|term| term.starts_with("vt"));
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !has_none
        }
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
    server: Option<Connection>,
    /// There was a connection: from now on the client connects again.
    has_connected: bool,
    /// When to connect again.
    connect_at: Option<Instant>,
    is_connecting: bool,
    /// The bell rings with the next drawing.
    rings: bool,
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
            if let Some(event) = self.events.next(deadlines.min()) {
                self.on_event(event)?;
            }
            // Also while events never end.
            self.on_time()?;
        }
    }

    fn draw(&mut self) -> Result<(), ClientError> {
        let (mut out, prompt) = (std::mem::take(&mut self.out), self.conversation.prompt());
        if std::mem::take(&mut self.rings) {
            out.push('\x07');
        }
        self.screen.draw(&out, &prompt, self.editor.line()).map_err(ClientError::Terminal)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn on_event(&mut self, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Terminal(event) => self.on_key(event)?,
            Event::TerminalGone(error) => return Err(ClientError::Terminal(error)),
            Event::Connected(stream) => {
                if let Err(error) = self.connected(stream) {
                    self.on_event(Event::Disconnected(error))?;
                }
            }
            Event::Line(line) => self.conversation.on_line(&line, self.now()),
            Event::Disconnected(error) if !self.has_connected => return Err(error),
            Event::Disconnected(error) => {
                (self.server, self.is_connecting) = (None, false);
                self.conversation.disconnected(&error.reason(), self.now());
            }
            Event::Continued => self.screen.resume().map_err(ClientError::Terminal)?,
            Event::Stop => self.conversation.stop(),
        }
        Ok(())
    }

    fn on_key(&mut self, event: event::Event) -> Result<(), ClientError> {
        if !matches!(event, event::Event::Resize(..)) {
            self.type_held();
        }
        match self.editor.key(event) {
            None => {}
            Some(Key::Lines(lines)) => self.type_lines(&lines),
            Some(Key::Complete) => self.complete(),
            Some(Key::Full) => {
                self.show(&Item::Problem("the line is full: what is beyond its end is left out".to_owned()))
            }
            Some(Key::Interrupt { was_empty }) => match self.conversation.drop_typed() {
                0 if was_empty => self.show(&Item::Status("Ctrl-D or /quit leaves".to_owned())),
                0 => {}
                dropped => self.show(&Item::Status(format!("{} not sent", in_lines(dropped)))),
            },
            Some(Key::Leave) => self.conversation.leave(self.now()),
            Some(Key::Clear) => self.screen.clear().map_err(ClientError::Terminal)?,
            Some(Key::Suspend) => self.screen.suspend().map_err(ClientError::Terminal)?,
        }
        Ok(())
    }

    fn type_lines(&mut self, lines: &[String]) {
        for line in lines {
            self.editor.remember(line.trim_end());
            self.conversation.on_typed(line, self.now());
        }
        let trouble = self.editor.save();
        self.report(trouble.err());
    }

    /// Takes in the line whose Enter has waited for a completion.
    fn type_held(&mut self) {
        if let Some(line) = self.editor.take_held() {
            self.type_lines(&[line]);
        }
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
        if self.connect_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.connect()?;
        }
        Ok(())
    }

    /// Connects in the background, if it does not yet.
    fn connect(&mut self) -> Result<(), ClientError> {
        if !std::mem::replace(&mut self.is_connecting, true) {
            self.events.connect(&self.options.address).map_err(ClientError::Terminal)?;
        }
        Ok(())
    }

    fn connected(&mut self, stream: TcpStream) -> Result<(), ClientError> {
        let broken = |error| ClientError::Broken { address: self.options.address.to_string(), error };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(broken)?;
        self.server = Some(self.events.watch_server(stream, &self.options.address).map_err(broken)?);
        (self.has_connected, self.is_connecting, self.connect_at) = (true, false, None);
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
                    Effect::Complete => {
                        if self.editor.takes_names() {
                            self.complete();
                        }
                        self.type_held();
                    }
                    Effect::Bell => self.rings |= self.options.bell,
                    Effect::ConnectAfter(pause) => {
                        // From half of it to all of it, so that the users of one server do not come back at one moment.
                        let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                        self.connect_at = Some(Instant::now() + pause);
                    }
                    Effect::Close => self.close(),
                    Effect::Exit => is_over = true,
                    Effect::Fail(failure) => {
                        return Err(ClientError::of(failure, &self.options.address.to_string()));
                    }
                }
            }
            if !lines.is_empty() && self.server.as_ref().is_some_and(|server| !server.send(lines)) {
                // The server does not read.
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

    /// Ends the connection. The thread that reads tells the end.
    fn close(&self) {
        if let Some(server) = &self.server {
            server.close();
        }
    }

    /// Shows what has failed, if it has.
    fn report(&mut self, trouble: Option<String>) {
        if let Some(trouble) = trouble {
            self.show(&Item::Problem(trouble));
        }
    }

    fn show(&mut self, item: &Item) {
        let time = self.options.time.as_deref();
        let time = time.map(|format| jiff::ZonedDateTime::now().strftime(format).to_string());
        let drawing = Drawing {
            abilities: self.abilities,
            window: self.screen.window(),
            art: self.conversation.art(),
            time: time.as_deref().unwrap_or_default(),
        };
        self.out += &drawing.draw(item);
        if let Some(transcript) = &mut self.transcript {
            let trouble = transcript.append(&item.transcript()).err();
            self.report(trouble);
        }
    }
}
