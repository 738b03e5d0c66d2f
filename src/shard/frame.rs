//! What travels between cores, and what reaches a socket in the end.
//!
//! A message is drawn at most once in each rendering, however many cores and receivers
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

use super::{InFlight, Presence, name};

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
    Presence(Presence),
    /// The sending core is shutting down and will send nothing more.
    End,
}

/// Why writing to a string never fails.
pub(super) const INTO_MEMORY: &str = "writing to memory does not fail";

/// How a connection wants what others send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendering {
    /// How messages are drawn.
    pub art: Art,
    /// It has sent a request id: what is not a reply begins with an id of 0, and every message has a header.
    pub tagged: bool,
    /// It ends lines with CR LF, and so do those that it is sent.
    pub crlf: bool,
}

impl Rendering {
    /// How many renderings there are.
    pub const COUNT: usize = Art::ALL.len() * 4;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Rendering> {
        let rest = [(false, false), (false, true), (true, false), (true, true)];
        Art::ALL.into_iter().flat_map(move |art| rest.map(|(tagged, crlf)| Rendering { art, tagged, crlf }))
    }

    /// Its place among them.
    pub fn index(self) -> usize {
        self.art as usize * 4 + usize::from(self.tagged) * 2 + usize::from(self.crlf)
    }

    /// A rendering in which nothing is asked for but an art.
    pub fn of(art: Art) -> Self {
        Rendering { art, tagged: false, crlf: false }
    }

    /// `lines`, each ended by LF, as they are sent in this rendering.
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
pub struct MessageBody {
    sender: CowId,
    text: Box<str>,
    _held: HeldBytes,
}

impl MessageBody {
    /// The whole block in this rendering.
    ///
    /// If the picture fails it comes without one: a fault in drawing what one user has sent must not end the session
    /// of another.
    pub fn draw_or_spell(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw(drawing, private, rendering)));
        drawn.unwrap_or_else(|_| self.draw(drawing, private, Rendering { art: Art::Off, ..rendering }))
    }

    /// The whole block in this rendering.
    fn draw(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        rendering.end_lines(self.draw_lines(drawing, private, rendering))
    }

    fn draw_lines(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        let herd = drawing.herd;
        let header = Header { name: name(herd, self.sender), private };
        let pushed = if rendering.tagged { PUSHED } else { "" };
        let body = match rendering.art {
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
        if drawing.header || rendering.tagged {
            writeln!(block, "{pushed}{header}").expect(INTO_MEMORY);
        }
        bubble.draw_into(&mut block);
        block.push_str(body);
        block.push('\n');
        block
    }

    /// Bytes of the whole block, at most, in whatever rendering. A bubble around words of six columns in lines of ten takes three
    /// times as many as its text, and nothing takes more.
    fn bytes_at_most(&self, herd: &Herd) -> usize {
        Header::BYTES_MAX + 3 * self.text.len() + herd.colour(self.sender.breed()).len()
    }

    /// Bytes of memory that it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<MessageBody>() + self.text.len()
    }
}

/// A block with room for a header, this many bytes and an LF: drawing is mostly copying, and once is enough.
fn with_room_for(bytes: usize) -> String {
    String::with_capacity(Header::BYTES_MAX + bytes + 1)
}

/// What somebody says to others, and its drawings once there are some.
#[derive(Debug)]
pub struct Message {
    said: MessageBody,
    private: bool,
    blocks: [OnceLock<Block>; Rendering::COUNT],
    _held: HeldBytes,
}

impl Message {
    /// `text`, sanitized, said by `sender`, to one cow or to all; not yet drawn.
    pub fn new(sender: CowId, text: &str, private: bool) -> Arc<Self> {
        let said = MessageBody { sender, text: text.into(), _held: HeldBytes::new(text.len()) };
        let held = HeldBytes::new(size_of::<Message>());
        Arc::new(Message { said, private, blocks: Default::default(), _held: held })
    }

    /// What was said.
    pub fn said(&self) -> &MessageBody {
        &self.said
    }

    /// Bytes that a receiver gets of it: of the largest drawing so far. One that is not drawn yet is estimated, upwards.
    pub fn bytes_at_most(&self, drawing: Drawing<'_>) -> usize {
        let drawn = self.blocks.iter().filter_map(|block| block.get().map(|block| block.len()));
        drawn.max().unwrap_or_else(|| self.said.bytes_at_most(drawing.herd))
    }

    /// The message in this rendering, drawn now if nobody has yet. A fault in that is the caller's.
    pub fn draw(&self, drawing: Drawing<'_>, rendering: Rendering) -> &Block {
        self.block(rendering, || self.said.draw(drawing, self.private, rendering))
    }

    /// This core's reference to the message in this rendering, by [`MessageBody::draw_or_spell`] if nobody has drawn it yet.
    pub fn payload(&self, drawing: Drawing<'_>, rendering: Rendering) -> Payload {
        let block = self.block(rendering, || self.said.draw_or_spell(drawing, self.private, rendering));
        Payload(Rc::new(block.clone()))
    }

    /// The drawing in this rendering, by `draw` if there is none. Two cores may draw at the same time, and the first to be
    /// done wins: no core waits for another.
    fn block(&self, rendering: Rendering, draw: impl FnOnce() -> String) -> &Block {
        let block = &self.blocks[rendering.index()];
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
