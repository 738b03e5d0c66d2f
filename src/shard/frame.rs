//! What travels between cores, and what reaches a socket in the end.
//!
//! A message is drawn once, by the core that it comes from, however many cores and receivers there are; a core takes one reference to the drawing, and its receivers share that without atomics.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::cows::{CowId, Herd};
use crate::directory::Owner;

/// What one core tells another.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A private message, meant for the claim `to` and nobody else.
    Say {
        /// What is said.
        message: Arc<Message>,
        /// The claim of the one who says it.
        author: Owner,
        /// The claim that the receiver had when it was said.
        to: Owner,
    },
    /// A message for everybody registered but its author.
    Yield {
        /// What is said.
        message: Arc<Message>,
        /// The claim of the one who says it.
        author: Owner,
    },
    /// The sending core is shutting down and will send nothing more.
    End,
}

/// Whom a message is for, as its first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One cow: `tux says to you:`.
    Private,
    /// All of them: `tux says:`.
    Everybody,
}

/// What somebody says, and its drawing once there is one.
#[derive(Debug)]
pub struct Message {
    sender: CowId,
    text: Box<str>,
    audience: Audience,
    block: OnceLock<Arc<[u8]>>,
}

impl Message {
    /// `text`, sanitized, said by `sender`; not yet drawn.
    pub fn new(sender: CowId, text: &str, audience: Audience) -> Arc<Self> {
        Arc::new(Message { sender, text: text.into(), audience, block: OnceLock::new() })
    }

    /// The message as it is delivered, drawn now if nobody has yet.
    pub fn draw(&self, herd: &Herd, header: bool) -> &Arc<[u8]> {
        self.block.get_or_init(|| self.drawn(herd, header).into_bytes().into())
    }

    /// This core's reference to the message as it is delivered.
    pub fn payload(&self, herd: &Herd, header: bool) -> Payload {
        Payload(Rc::new(Arc::clone(self.draw(herd, header))))
    }

    fn drawn(&self, herd: &Herd, header: bool) -> String {
        let picture = herd.draw(self.sender, &self.text);
        if !header {
            return picture;
        }
        let sender = herd.name(self.sender);
        match self.audience {
            Audience::Private => format!("{sender} says to you:\n{picture}"),
            Audience::Everybody => format!("{sender} says:\n{picture}"),
        }
    }
}

/// A message block as bytes, shared by its receivers on one core.
#[derive(Debug, Clone)]
pub struct Payload(Rc<Arc<[u8]>>);

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
