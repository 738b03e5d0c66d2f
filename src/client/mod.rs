//! `cowchat connect`: at a terminal a line editor that draws the messages itself, in a pipe a client like netcat.
//!
//! It knows `protocol` and `cows`, and nothing of the server. One thread owns the terminal and the state; others
//! wait for keys and for the server, and send it events.
//!
//! - [`conversation`]: pure; what each line of the server and each typed line means
//! - [`drawing`]: pure; how that looks in a window
//! - [`chat`]: the loop between terminal and connection
//! - [`pipe`]: the client in a pipe

mod address;
mod chat;
mod conversation;
mod drawing;
mod editor;
mod error;
mod events;
mod files;
mod input;
mod item;
mod line;
mod names;
mod options;
mod picture;
mod pipe;
mod screen;

pub use address::Address;
pub use error::ClientError;
use events::Events;
pub use events::Handle;
pub use options::Options;

/// A client that has not connected yet.
#[derive(Debug)]
pub struct Client {
    options: Options,
    events: Option<Events>,
}

impl Client {
    /// At a terminal it is interactive, if both stdin and stdout are one that can move its cursor.
    pub fn new(options: Options) -> Self {
        Client { options, events: screen::is_at_terminal().then(Events::new) }
    }

    /// What tells an interactive client of signals; `None` in a pipe.
    pub fn handle(&self) -> Option<Handle> {
        self.events.as_ref().map(Events::handle)
    }

    /// Gives the terminal of an interactive client the mode that it had, for a process that must end at once.
    pub fn restore_terminal() {
        screen::restore();
    }

    /// Talks to the server until the user leaves, or in a pipe until the server closes the connection.
    ///
    /// # Errors
    /// When there is no such server, or stdin, stdout or a file fails.
    pub fn run(self) -> Result<(), ClientError> {
        match self.events {
            Some(events) => chat::run(self.options, events),
            None => pipe::run(&self.options.address),
        }
    }
}
