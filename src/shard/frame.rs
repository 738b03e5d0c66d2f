//! What travels between cores, and what reaches a socket in the end.
//!
//! A message is drawn at most once in each form that somebody wants it in, however many cores and receivers
//! there are: by the core that it comes from, as far as that knows what is wanted. A core takes one reference
//! to a drawing, and its receivers share that without atomics.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::cows::{CowId, Herd, small};
use crate::directory::Owner;
use crate::faults::{self, Point};
use crate::protocol::command::Art;
use crate::protocol::reply::{Header, PUSHED};

use super::{Change, name};

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
    /// Who has come or gone, for those who want to know.
    Notice(Change),
    /// The sending core is shutting down and will send nothing more.
    End,
}

/// How a connection wants what others send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// How messages are drawn.
    pub art: Art,
    /// It has sent a request id: what is not a reply begins with an id of 0, and every message has a header.
    pub numbered: bool,
}

impl Form {
    /// How many forms there are.
    pub const COUNT: usize = Art::ALL.len() * 2;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Form> {
        Art::ALL.into_iter().flat_map(|art| [false, true].map(|numbered| Form { art, numbered }))
    }

    /// Its place among them.
    pub fn index(self) -> usize {
        self.art as usize * 2 + usize::from(self.numbered)
    }
}

/// How messages look on this server.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'h> {
    /// Names and pictures.
    pub herd: &'h Herd,
    /// Whether messages begin with a line that says from whom they are.
    pub header: bool,
}

/// Who said what, and the bubble around it once that is drawn: most of the work.
#[derive(Debug)]
pub struct Said {
    sender: CowId,
    text: Box<str>,
    bubble: OnceLock<Box<str>>,
}

impl Said {
    fn bubble(&self, herd: &Herd) -> &str {
        self.bubble.get_or_init(|| {
            faults::at(Point::Draw, self.text.as_bytes());
            herd.bubble(&self.text).into()
        })
    }

    /// The whole block in this form.
    pub fn draw(&self, drawing: Drawing<'_>, to_you: bool, form: Form) -> String {
        let herd = drawing.herd;
        let header = Header { name: name(herd, self.sender), to_you };
        let pushed = if form.numbered { PUSHED } else { "" };
        let body = match form.art {
            Art::Color => herd.colour(self.sender.breed()),
            Art::Plain => herd.plain(self.sender.breed()),
            Art::Small => small::BODY,
            Art::Off => return format!("{pushed}{header} {}\n", self.text),
        };
        let bubble = self.bubble(herd);
        // Exactly as long as it gets: drawing a message is mostly copying it, and once is enough.
        let header = if drawing.header || form.numbered { format!("{pushed}{header}\n") } else { String::new() };
        [&header, bubble, body, "\n"].concat()
    }

    /// Bytes that it takes, its bubble included, which is drawn for that if it was not yet.
    pub fn size_bytes(&self, herd: &Herd) -> usize {
        size_of::<Said>() + self.text.len() + self.bubble(herd).len()
    }
}

/// What somebody says to others, and its drawings once there are some.
#[derive(Debug)]
pub struct Message {
    said: Arc<Said>,
    to_you: bool,
    blocks: [OnceLock<Block>; Form::COUNT],
}

impl Message {
    /// `text`, sanitized, said by `sender`, to one cow or to all; not yet drawn.
    pub fn new(sender: CowId, text: &str, to_you: bool) -> Arc<Self> {
        let said = Arc::new(Said { sender, text: text.into(), bubble: OnceLock::new() });
        Arc::new(Message { said, to_you, blocks: Default::default() })
    }

    /// What was said.
    pub fn said(&self) -> &Arc<Said> {
        &self.said
    }

    /// The message in this form, drawn now if nobody has yet.
    pub fn draw(&self, drawing: Drawing<'_>, form: Form) -> &Block {
        self.blocks[form.index()].get_or_init(|| self.said.draw(drawing, self.to_you, form).into())
    }

    /// This core's reference to the message in this form.
    ///
    /// If it can not be drawn it comes without a picture: who receives is not to suffer from a fault that is
    /// in what somebody else has sent.
    pub fn payload(&self, drawing: Drawing<'_>, form: Form) -> Payload {
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw(drawing, form)));
        let block = drawn.unwrap_or_else(|_| self.draw(drawing, Form { art: Art::Off, ..form }));
        Payload(Rc::new(block.clone()))
    }
}

/// The bytes of a block, shared by all cores. An `Arc<[u8]>` would copy them once more to get there.
#[derive(Debug, Clone)]
pub struct Block(Arc<Box<[u8]>>);

impl From<String> for Block {
    fn from(block: String) -> Self {
        Block(Arc::new(block.into_bytes().into()))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// This core's reference to a block, shared by its receivers here.
#[derive(Debug, Clone)]
pub struct Payload(Rc<Block>);

impl From<String> for Payload {
    fn from(block: String) -> Self {
        Payload(Rc::new(block.into()))
    }
}

impl Payload {
    /// Whether both are the same block, not just equal ones.
    pub fn is(&self, other: &Payload) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// This reference's share of the block's bytes, rounded up: all references to a block, on this core and
    /// on others, share it equally.
    pub fn share_bytes(&self) -> usize {
        self.len().div_ceil(Rc::strong_count(&self.0) * Arc::strong_count(&self.0.0))
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
