//! What travels between cores, and what reaches a socket in the end.
//!
//! A message is drawn at most once in each form that somebody wants it in, however many cores and receivers
//! there are: by the core that it comes from, as far as that knows what is wanted. A core takes one reference
//! to a drawing, and its receivers share that without atomics.

use std::fmt::Write;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::cows::{CowId, Herd, small};
use crate::directory::Owner;
use crate::faults::{self, Point};
use crate::held::HeldBytes;
use crate::protocol::art::Art;
use crate::protocol::reply::{Header, PUSHED};

use super::{Change, InFlight, name};

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
        /// Counts it while it is on its way from another core.
        in_flight: Option<InFlight>,
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

/// Why writing to a string never fails.
pub(super) const INTO_MEMORY: &str = "writing to memory does not fail";

/// How a connection wants what others send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// How messages are drawn.
    pub art: Art,
    /// It has sent a request id: what is not a reply begins with an id of 0, and every message has a header.
    pub numbered: bool,
    /// It ends lines with CR LF, and so do those that it is sent.
    pub crlf: bool,
}

impl Form {
    /// How many forms there are.
    pub const COUNT: usize = Art::ALL.len() * 4;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Form> {
        let rest = [(false, false), (false, true), (true, false), (true, true)];
        Art::ALL.into_iter().flat_map(move |art| rest.map(|(numbered, crlf)| Form { art, numbered, crlf }))
    }

    /// Its place among them.
    pub fn index(self) -> usize {
        self.art as usize * 4 + usize::from(self.numbered) * 2 + usize::from(self.crlf)
    }

    /// A form in which nothing is asked for but an art.
    pub fn of(art: Art) -> Self {
        Form { art, numbered: false, crlf: false }
    }

    /// `lines`, each ended by LF, as they are sent in this form.
    pub(super) fn end_lines(self, lines: String) -> String {
        if self.crlf { lines.replace('\n', "\r\n") } else { lines }
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

/// Who said what.
#[derive(Debug, Clone)]
pub struct Said {
    sender: CowId,
    text: Box<str>,
    _held: HeldBytes,
}

impl Said {
    /// The whole block in this form.
    ///
    /// If the picture fails it comes without one: a fault in drawing what one user has sent must not end the session
    /// of another.
    pub fn draw_or_spell(&self, drawing: Drawing<'_>, to_you: bool, form: Form) -> String {
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw(drawing, to_you, form)));
        drawn.unwrap_or_else(|_| self.draw(drawing, to_you, Form { art: Art::Off, ..form }))
    }

    /// The whole block in this form.
    fn draw(&self, drawing: Drawing<'_>, to_you: bool, form: Form) -> String {
        form.end_lines(self.draw_lines(drawing, to_you, form))
    }

    fn draw_lines(&self, drawing: Drawing<'_>, to_you: bool, form: Form) -> String {
        let herd = drawing.herd;
        let header = Header { name: name(herd, self.sender), private: to_you };
        let pushed = if form.numbered { PUSHED } else { "" };
        let body = match form.art {
            Art::Color => herd.colour(self.sender.breed()),
            Art::Plain => herd.plain(self.sender.breed()),
            Art::Small => small::BODY,
            Art::Off => {
                let mut block = with_room_for(self.text.len());
                write!(block, "{pushed}{header} ").expect(INTO_MEMORY);
                block.push_str(&self.text);
                block.push('\n');
                return block;
            }
        };
        faults::at(Point::Draw, self.text.as_bytes());
        let bubble = herd.bubble().lay_out(&self.text);
        let mut block = with_room_for(bubble.bytes() + body.len());
        if drawing.header || form.numbered {
            writeln!(block, "{pushed}{header}").expect(INTO_MEMORY);
        }
        bubble.draw_into(&mut block);
        block.push_str(body);
        block.push('\n');
        block
    }

    /// Bytes of the whole block, at most, in whatever form. A bubble around words of six columns in lines of ten takes three
    /// times as many as its text, and nothing takes more.
    fn bytes_at_most(&self, herd: &Herd) -> usize {
        Header::BYTES_MAX + 3 * self.text.len() + herd.colour(self.sender.breed()).len()
    }

    /// Bytes of memory that it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Said>() + self.text.len()
    }
}

/// A block with room for a header, this many bytes and an LF: drawing is mostly copying, and once is enough.
fn with_room_for(bytes: usize) -> String {
    String::with_capacity(Header::BYTES_MAX + bytes + 1)
}

/// What somebody says to others, and its drawings once there are some.
#[derive(Debug)]
pub struct Message {
    said: Said,
    to_you: bool,
    blocks: [OnceLock<Block>; Form::COUNT],
    _held: HeldBytes,
}

impl Message {
    /// `text`, sanitized, said by `sender`, to one cow or to all; not yet drawn.
    pub fn new(sender: CowId, text: &str, to_you: bool) -> Arc<Self> {
        let said = Said { sender, text: text.into(), _held: HeldBytes::new(text.len()) };
        let held = HeldBytes::new(size_of::<Message>());
        Arc::new(Message { said, to_you, blocks: Default::default(), _held: held })
    }

    /// What was said.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Bytes that a receiver gets of it: of the largest drawing so far. One that is not drawn yet is estimated, upwards.
    pub fn bytes_at_most(&self, drawing: Drawing<'_>) -> usize {
        let drawn = self.blocks.iter().filter_map(|block| block.get().map(|block| block.len()));
        drawn.max().unwrap_or_else(|| self.said.bytes_at_most(drawing.herd))
    }

    /// The message in this form, drawn now if nobody has yet. A fault in that is the caller's.
    pub fn draw(&self, drawing: Drawing<'_>, form: Form) -> &Block {
        self.block(form, || self.said.draw(drawing, self.to_you, form))
    }

    /// This core's reference to the message in this form, by [`Said::draw_or_spell`] if nobody has drawn it yet.
    pub fn payload(&self, drawing: Drawing<'_>, form: Form) -> Payload {
        let block = self.block(form, || self.said.draw_or_spell(drawing, self.to_you, form));
        Payload(Rc::new(block.clone()))
    }

    /// The drawing in this form, by `draw` if there is none. Two cores may draw at the same time, and the first to be
    /// done wins: no core waits for another.
    fn block(&self, form: Form, draw: impl FnOnce() -> String) -> &Block {
        let block = &self.blocks[form.index()];
        if block.get().is_none() {
            let _ = block.set(draw().into());
        }
        block.get().expect("it is set")
    }
}

/// The bytes of a block, shared by all cores. An `Arc<[u8]>` would copy them once more to get there.
#[derive(Debug, Clone)]
pub struct Block(Arc<BlockBytes>);

#[derive(Debug)]
struct BlockBytes {
    bytes: Vec<u8>,
    _held: HeldBytes,
}

impl From<String> for Block {
    fn from(block: String) -> Self {
        let bytes = block.into_bytes();
        let held = HeldBytes::new(size_of::<BlockBytes>() + bytes.capacity());
        Block(Arc::new(BlockBytes { bytes, _held: held }))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
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
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
