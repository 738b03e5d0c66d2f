//! A client's input as it arrives: replies, and messages that are known byte by byte but for their token.
//!
//! Before a run one message of each cow and of each text is fetched ([`Gallery::learn`]). Later messages differ from these
//! in the token alone, so a delivery is recognized by its first line, compared whole and skipped at the speed of `memcmp`:
//! the clients must cost less than the server. Pure, for `tests/stampede.rs`.

use super::texts::Texts;
use super::token::{TOKEN_BYTES, Token};

/// Most bytes before a token: a name, ` says to you:`, and the top of a bubble of 40 columns.
const HEAD_BYTES_MAX: usize = 256;

/// What follows the sender's name in the header of a message to one cow, and of one to all.
const TO_ONE: &[u8] = b" says to you:";
const TO_ALL: &[u8] = b" says:";

/// How the replies begin that a workload can get.
const REPLIES: [&[u8]; 7] = [b"Sent to ", b"Logged in as ", b"Goodbye.", b"error: ", b"commands: ", b"Art is ", b"* "];

/// What a client finds in its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Delivery(Token),
    /// `Sent to 20 cows`.
    Sent(u32),
    /// Any other reply that is no error.
    Reply,
    /// An error, or a last line.
    Refused,
}

/// The input is neither a reply nor a message as it was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

/// What a message has before and after its token, without its header.
#[derive(Debug, Clone)]
struct Around {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The messages of all cows, as this server draws them: a header, the bubble of a text, and the body of a cow.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    /// By text.
    bubbles: Vec<Around>,
    /// By cow.
    bodies: Vec<Vec<u8>>,
    /// Whether a message begins with the sender's name.
    has_header: bool,
    names: Vec<String>,
    texts: Texts,
    /// Texts that only one client says.
    own: Vec<OwnText>,
}

/// The text that one client always says.
#[derive(Debug, Clone)]
struct OwnText {
    sender: usize,
    rest: Vec<u8>,
    /// With the body.
    around: Around,
}

impl Gallery {
    /// For clients of these names, of which client `i` is drawn like cow `i % cows`. `of_first` is what the first cow gets
    /// when it says all `texts` to itself; `of_others` is the first text of each other cow to itself.
    pub fn learn(
        names: Vec<String>,
        texts: Texts,
        of_first: &[Vec<u8>],
        of_others: &[Vec<u8>],
    ) -> Result<Gallery, Garbled> {
        let has_header =
            of_first.first().zip(names.first()).is_some_and(|(block, name)| block.starts_with(name.as_bytes()));
        let split = |block: &[u8], cow: usize| around(block, has_header.then(|| &*names[cow]));
        let mut bubbles = of_first.iter().map(|block| split(block, 0)).collect::<Result<Vec<_>, _>>()?;
        // The common end of a cow's messages is its body, or a little more, which makes no difference.
        let body = bubbles.iter().map(|bubble| &bubble.after[..]).reduce(common_end).ok_or(Garbled)?.to_vec();
        bubbles.iter_mut().for_each(|bubble| bubble.after.truncate(bubble.after.len() - body.len()));
        let mut bodies = vec![body];
        for (index, block) in of_others.iter().enumerate() {
            let Around { before, after } = split(block, index + 1)?;
            let body = after.strip_prefix(&bubbles[0].after[..]).filter(|_| before == bubbles[0].before);
            bodies.push(body.ok_or(Garbled)?.to_vec());
        }
        Ok(Gallery { bubbles, bodies, has_header, names, texts, own: Vec::new() })
    }

    /// From now on client `sender` says `rest` after each token. `block` is what it gets when it says that to itself.
    pub fn learn_own(&mut self, sender: usize, rest: Vec<u8>, block: &[u8]) -> Result<(), Garbled> {
        let around = around(block, self.has_header.then(|| &*self.names[sender]))?;
        self.own.push(OwnText { sender, rest, around });
        Ok(())
    }

    /// The names of all clients.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What follows `token` in its text.
    pub fn rest(&self, token: Token) -> &[u8] {
        match self.own_text(token) {
            Some(own) => &own.rest,
            None => self.texts.rest(self.texts.index(token)),
        }
    }

    fn own_text(&self, token: Token) -> Option<&OwnText> {
        self.own.iter().find(|own| own.sender == token.sender)
    }

    /// The length of the message with this token.
    pub fn block_bytes(&self, token: Token) -> usize {
        let (before, after) = self.pieces(token);
        before.iter().chain(&after).map(|piece| piece.len()).sum::<usize>() + TOKEN_BYTES
    }

    /// What the message with this token has before and after it, in pieces.
    pub fn pieces(&self, token: Token) -> ([&[u8]; 3], [&[u8]; 2]) {
        let (Around { before, after }, body) = match self.own_text(token) {
            Some(own) => (&own.around, &b""[..]),
            None => (&self.bubbles[self.texts.index(token)], &self.bodies[token.sender % self.bodies.len()][..]),
        };
        let (name, says) = match (self.has_header, token.yielded) {
            (false, _) => (&b""[..], &b""[..]),
            (true, 0) => (self.names[token.sender].as_bytes(), TO_ONE),
            (true, _) => (self.names[token.sender].as_bytes(), TO_ALL),
        };
        ([name, says, before], [after, body])
    }

    /// The mean length over all texts of a message of the first cow to itself.
    pub fn mean_block_bytes(&self) -> usize {
        let around = |bubble: &Around| bubble.before.len() + bubble.after.len();
        let bubbles = self.bubbles.iter().map(around).sum::<usize>() / self.bubbles.len();
        let head = if self.has_header { self.names[0].len() + TO_ONE.len() } else { 0 };
        head + bubbles + TOKEN_BYTES + self.bodies[0].len()
    }

    /// The first item of `input` and its length, or `None` while it is incomplete.
    pub fn next(&self, input: &[u8]) -> Result<Option<(Item, usize)>, Garbled> {
        let Some(&first) = input.first() else { return Ok(None) };
        if REPLIES.iter().any(|reply| reply[0] == first && reply.iter().zip(input).all(|(a, b)| a == b)) {
            let Some(end) = memchr::memchr(b'\n', input) else { return Ok(None) };
            return Ok(Some((reply(&input[..end]), end + 1)));
        }
        let head = &input[..input.len().min(HEAD_BYTES_MAX + TOKEN_BYTES)];
        let Some(at) = memchr::memchr(b'@', head) else {
            return if head.len() > HEAD_BYTES_MAX { Err(Garbled) } else { Ok(None) };
        };
        if input.len() < at + TOKEN_BYTES {
            return Ok(None);
        }
        let token = Token::parse(&input[at..]).filter(|token| token.sender < self.names.len()).ok_or(Garbled)?;
        let (before, after) = self.pieces(token);
        if at != before.iter().map(|piece| piece.len()).sum::<usize>() {
            return Err(Garbled);
        }
        let length = at + TOKEN_BYTES + after.iter().map(|piece| piece.len()).sum::<usize>();
        if input.len() < length {
            return Ok(None);
        }
        let is_whole = is_made_of(&input[..at], before) && is_made_of(&input[at + TOKEN_BYTES..length], after);
        if is_whole { Ok(Some((Item::Delivery(token), length))) } else { Err(Garbled) }
    }
}

/// Splits `block`, which the cow `name` says to itself, at its token; without the header, if `name` says that it has one.
fn around(block: &[u8], name: Option<&str>) -> Result<Around, Garbled> {
    let head = name.map_or_else(Vec::new, |name| [name.as_bytes(), TO_ONE].concat());
    let rest = block.strip_prefix(&head[..]).ok_or(Garbled)?;
    let at = memchr::memchr(b'@', rest).filter(|&at| Token::parse(&rest[at..]).is_some()).ok_or(Garbled)?;
    Ok(Around { before: rest[..at].to_vec(), after: rest[at + TOKEN_BYTES..].to_vec() })
}

/// Whether `bytes` are these pieces in a row.
fn is_made_of<const N: usize>(mut bytes: &[u8], pieces: [&[u8]; N]) -> bool {
    pieces.into_iter().all(|piece| {
        let rest = bytes.strip_prefix(piece);
        bytes = rest.unwrap_or_default();
        rest.is_some()
    })
}

/// The end that both have in common.
fn common_end<'b>(one: &'b [u8], other: &'b [u8]) -> &'b [u8] {
    let equal = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    &one[one.len() - equal..]
}

fn reply(line: &[u8]) -> Item {
    if line.starts_with(b"error: ") || line.starts_with(b"* ") {
        return Item::Refused;
    }
    let sent = line.strip_prefix(b"Sent to ").and_then(|rest| {
        let number = rest.strip_suffix(b" cows").or_else(|| rest.strip_suffix(b" cow"))?;
        std::str::from_utf8(number).ok()?.parse().ok()
    });
    sent.map_or(Item::Reply, Item::Sent)
}
