//! A message: what a user says, and its drawings, one for each rendering.
//!
//! A message is drawn at most once in each rendering, however many cores and receivers there are. The sender's core draws
//! what it knows to be wanted; a receiver's core draws the rest. A core takes one reference to a drawing, and its
//! receivers share that one without atomics.

use std::fmt::Write;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::rendering::Rendering;
use crate::cows::{Breed, CowId, Herd, small};
use crate::faults::{self, Point};
use crate::held_bytes::HeldBytes;
use crate::protocol::art::Art;
use crate::protocol::name::Name;
use crate::protocol::reply::Header;

/// Why writing to a string never fails.
pub(super) const INTO_MEMORY: &str = "writing to memory does not fail";

/// The name of a cow.
pub fn name(herd: &Herd, cow: CowId) -> Name<'_> {
    Name { breed: herd.name(cow.breed()), number: cow.number() }
}

/// The picture of this breed in this art, if that has pictures: all that stands below a bubble, without an LF at its end.
pub(super) fn body(herd: &Herd, breed: Breed, art: Art) -> Option<&str> {
    match art {
        Art::Color => Some(herd.colour(breed)),
        Art::Half => Some(herd.half(breed)),
        Art::Plain => Some(herd.plain(breed)),
        Art::Small => Some(small::BODY),
        Art::Off => None,
    }
}

/// How messages look on this server.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'h> {
    /// Names and pictures.
    pub herd: &'h Herd,
    /// Whether messages begin with a line that names the sender.
    pub header: bool,
}

/// What a user says, and which cow it is; not drawn.
#[derive(Debug, Clone)]
pub struct MessageBody {
    sender: CowId,
    text: Box<str>,
    _held: HeldBytes,
}

impl MessageBody {
    /// The block in this rendering; without a picture if drawing that panics: a fault in drawing what one user has sent
    /// must not end the session of another.
    pub fn draw_or_spell(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw(drawing, private, rendering)));
        drawn.unwrap_or_else(|_| self.draw(drawing, private, Rendering { art: Art::Off, ..rendering }))
    }

    fn draw(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        rendering.end_lines(self.draw_lines(drawing, private, rendering))
    }

    fn draw_lines(&self, drawing: Drawing<'_>, private: bool, rendering: Rendering) -> String {
        let herd = drawing.herd;
        let header = Header { name: name(herd, self.sender), private };
        let tag = rendering.tag();
        let Some(body) = body(herd, self.sender.breed(), rendering.art) else {
            let mut block = with_room_for(self.text.len());
            write!(block, "{tag}{header} ").expect(INTO_MEMORY);
            block.push_str(&self.text);
            block.push('\n');
            return block;
        };
        faults::at(Point::Draw, self.text.as_bytes());
        let bubble = herd.bubble().lay_out(&self.text);
        let mut block = with_room_for(bubble.bytes() + body.len());
        if drawing.header || rendering.tagged {
            writeln!(block, "{tag}{header}").expect(INTO_MEMORY);
        }
        bubble.draw_into(&mut block);
        block.push_str(body);
        block.push('\n');
        block
    }

    /// What is said.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The cow that says it.
    pub fn sender(&self) -> CowId {
        self.sender
    }

    /// The bytes of memory that it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<MessageBody>() + self.text.len()
    }
}

/// Bytes that a receiver of `text_bytes` from `sender` gets at most, in any rendering. A bubble takes three times the bytes of
/// its text at most: around words of six columns in lines of ten.
pub fn bytes_at_most(herd: &Herd, sender: CowId, text_bytes: usize) -> usize {
    let body = Art::ALL.into_iter().filter_map(|art| body(herd, sender.breed(), art)).map(str::len).max();
    Header::BYTES_MAX + 3 * text_bytes + body.unwrap_or_default()
}

/// A block with room for a header, this many bytes and an LF: drawing is mostly copying, and growing would copy again.
fn with_room_for(bytes: usize) -> String {
    String::with_capacity(Header::BYTES_MAX + bytes + 1)
}

/// What a user says to others, and its drawings so far.
#[derive(Debug)]
pub struct Message {
    body: MessageBody,
    private: bool,
    /// When its line was read, if it is timed.
    read_at: Option<Duration>,
    blocks: [OnceLock<Block>; Rendering::COUNT],
    _held: HeldBytes,
}

impl Message {
    /// `text`, sanitized, from `sender`, to one cow or to all; not drawn yet. `read_at` has it timed.
    pub fn new(sender: CowId, text: &str, private: bool, read_at: Option<Duration>) -> Arc<Self> {
        let body = MessageBody { sender, text: text.into(), _held: HeldBytes::new(text.len()) };
        let held = HeldBytes::new(size_of::<Message>());
        Arc::new(Message { body, private, read_at, blocks: Default::default(), _held: held })
    }

    /// What is said.
    pub fn body(&self) -> &MessageBody {
        &self.body
    }

    /// When its line was read, by the server's time, if the message is timed.
    pub fn read_at(&self) -> Option<Duration> {
        self.read_at
    }

    /// Bytes that a receiver gets: of the largest drawing so far, or an upper bound before the first.
    pub fn bytes_at_most(&self, drawing: Drawing<'_>) -> usize {
        let drawn = self.blocks.iter().filter_map(|block| block.get().map(|block| block.len()));
        drawn.max().unwrap_or_else(|| bytes_at_most(drawing.herd, self.body.sender, self.body.text.len()))
    }

    /// The block in this rendering, drawn now if it is not yet. A panic in drawing is the caller's.
    pub fn draw(&self, drawing: Drawing<'_>, rendering: Rendering) -> &Block {
        self.block(rendering, || self.body.draw(drawing, self.private, rendering))
    }

    /// This core's reference to the block in this rendering, drawn by [`MessageBody::draw_or_spell`] if it is not yet.
    pub fn payload(&self, drawing: Drawing<'_>, rendering: Rendering) -> Payload {
        let block = self.block(rendering, || self.body.draw_or_spell(drawing, self.private, rendering));
        Payload(Rc::new(block.clone()))
    }

    /// The block in this rendering, by `draw` if there is none. Two cores may draw at the same time, and the first to end
    /// wins: no core waits for another.
    fn block(&self, rendering: Rendering, draw: impl FnOnce() -> String) -> &Block {
        let block = &self.blocks[rendering.index()];
        if block.get().is_none() {
            let _ = block.set(draw().into());
        }
        block.get().expect("it is set")
    }
}

/// A message in one rendering, shared by all cores. An `Arc<[u8]>` would copy the bytes once more.
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
