//! What goes over the wire, as a client sees it: a token in every text, and blocks known byte by byte.
//!
//! Before a run one message of each cow and of each text is fetched ([`Gallery::learn`]). All further messages
//! differ from these in the token alone, which is of fixed length, so a delivery is found by its first line, compared
//! whole and skipped at the speed of `memcmp`: the clients must cost less than the server. Pure, for
//! `tests/stampede.rs`.

use crate::texts::Texts;

/// `@SSSSSS.NNNNNNNNN.YYYYYYYYY`: sender, number, number among its yields.
pub const TOKEN_BYTES: usize = 27;

/// Longest first lines before a token: a name, ` says to you:`, and the top of a bubble of 40 columns.
const PROLOGUE_BYTES_MAX: usize = 256;

/// What follows the sender's name in a message to one cow, and in one to all.
const PRIVATELY: &[u8] = b" says to you:";
const TO_ALL: &[u8] = b" says:";

/// First words of all replies that a workload can see.
const REPLIES: [&[u8]; 7] = [b"Sent to ", b"Logged in as ", b"Goodbye.", b"error: ", b"commands: ", b"Art is ", b"* "];

/// Who says it, and the how-manieth thing that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Place among the clients.
    pub sender: usize,
    /// Number among all that the sender says, from 1.
    pub number: u32,
    /// Number among what it says to everybody, from 1; 0 when this is for one cow alone.
    pub yielded: u32,
}

impl Token {
    /// As it stands in a text.
    pub fn bytes(self) -> [u8; TOKEN_BYTES] {
        let mut bytes = *b"@000000.000000000.000000000";
        let sender = u32::try_from(self.sender).unwrap_or(u32::MAX);
        for (value, last) in [(sender, 6), (self.number, 16), (self.yielded, 26)] {
            let (mut value, mut at) = (value, last);
            while value > 0 && bytes[at].is_ascii_digit() {
                bytes[at] = b'0' + (value % 10) as u8;
                value /= 10;
                at -= 1;
            }
        }
        bytes
    }

    /// Reads one from the front of `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<Token> {
        let bytes = bytes.first_chunk::<TOKEN_BYTES>()?;
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0u32, |value, &digit| {
                digit.is_ascii_digit().then(|| value.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
            })
        };
        if (bytes[0], bytes[7], bytes[17]) != (b'@', b'.', b'.') {
            return None;
        }
        Some(Token { sender: number(1, 7)? as usize, number: number(8, 17)?, yielded: number(18, 27)? })
    }
}

/// What a client finds in its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A message, whole.
    Delivery(Token),
    /// `Sent to 20 cows`.
    Heard(u32),
    /// Any other reply, but for errors.
    Reply,
    /// An error, or a last line.
    Refused,
}

/// Input that is neither a reply nor a message as it was learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

/// What stands around the token in a message's bubble.
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
    named: bool,
    names: Vec<String>,
    texts: Texts,
    /// Of the clients that always say a text of their own.
    own: Vec<OwnText>,
}

/// A text that only one client says.
#[derive(Debug, Clone)]
struct OwnText {
    sender: usize,
    rest: Vec<u8>,
    /// The body, too.
    around: Around,
}

impl Gallery {
    /// For clients of these names, of whom client `i` is drawn like cow `i % cows`, from what was said: by the first cow
    /// to itself all `texts`, by each other cow the first of them.
    ///
    /// # Errors
    /// When these are not messages that differ in text and cow alone.
    pub fn learn(
        names: Vec<String>,
        texts: Texts,
        of_first: &[Vec<u8>],
        of_others: &[Vec<u8>],
    ) -> Result<Gallery, Garbled> {
        let named = of_first.first().zip(names.first()).is_some_and(|(block, name)| block.starts_with(name.as_bytes()));
        let split = |block: &[u8], cow: usize| around(block, named.then(|| &*names[cow]));
        let mut bubbles = of_first.iter().map(|block| split(block, 0)).collect::<Result<Vec<_>, _>>()?;
        // What all messages of a cow end with is its body, or a little more, which makes no difference.
        let body = bubbles.iter().map(|bubble| &bubble.after[..]).reduce(common_end).ok_or(Garbled)?.to_vec();
        bubbles.iter_mut().for_each(|bubble| bubble.after.truncate(bubble.after.len() - body.len()));
        let mut bodies = vec![body];
        for (place, block) in of_others.iter().enumerate() {
            let Around { before, after } = split(block, place + 1)?;
            let body = after.strip_prefix(&bubbles[0].after[..]).filter(|_| before == bubbles[0].before);
            bodies.push(body.ok_or(Garbled)?.to_vec());
        }
        Ok(Gallery { bubbles, bodies, named, names, texts, own: Vec::new() })
    }

    /// From now on client `sender` always says `rest` after the token, which it has said to itself in `block`.
    ///
    /// # Errors
    /// When that is no message of this client.
    pub fn learn_own(&mut self, sender: usize, rest: Vec<u8>, block: &[u8]) -> Result<(), Garbled> {
        let around = around(block, self.named.then(|| &*self.names[sender]))?;
        self.own.push(OwnText { sender, rest, around });
        Ok(())
    }

    /// Names of all clients.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What follows the token in the text that has it.
    pub fn rest(&self, token: Token) -> &[u8] {
        match self.own_text(token) {
            Some(own) => &own.rest,
            None => self.texts.rest(self.texts.index(token)),
        }
    }

    fn own_text(&self, token: Token) -> Option<&OwnText> {
        self.own.iter().find(|own| own.sender == token.sender)
    }

    /// The length of the message that has this token.
    pub fn block_bytes(&self, token: Token) -> usize {
        let (before, after) = self.pieces(token);
        before.iter().chain(&after).map(|piece| piece.len()).sum::<usize>() + TOKEN_BYTES
    }

    /// What stands before and after the token in the message that has it, in pieces.
    pub fn pieces(&self, token: Token) -> ([&[u8]; 3], [&[u8]; 2]) {
        let (Around { before, after }, body) = match self.own_text(token) {
            Some(own) => (&own.around, &b""[..]),
            None => (&self.bubbles[self.texts.index(token)], &self.bodies[token.sender % self.bodies.len()][..]),
        };
        let (name, says) = match (self.named, token.yielded) {
            (false, _) => (&b""[..], &b""[..]),
            (true, 0) => (self.names[token.sender].as_bytes(), PRIVATELY),
            (true, _) => (self.names[token.sender].as_bytes(), TO_ALL),
        };
        ([name, says, before], [after, body])
    }

    /// The bytes of a message in the mean over all texts, of the first cow to itself.
    pub fn mean_block_bytes(&self) -> usize {
        let around = |bubble: &Around| bubble.before.len() + bubble.after.len();
        let bubbles = self.bubbles.iter().map(around).sum::<usize>() / self.bubbles.len();
        let head = if self.named { self.names[0].len() + PRIVATELY.len() } else { 0 };
        head + bubbles + TOKEN_BYTES + self.bodies[0].len()
    }

    /// The first item of `input` and its length, or `None` when more has to come first.
    ///
    /// # Errors
    /// When it is nothing that this server should send.
    pub fn next(&self, input: &[u8]) -> Result<Option<(Item, usize)>, Garbled> {
        let Some(&first) = input.first() else { return Ok(None) };
        if REPLIES.iter().any(|reply| reply[0] == first && reply.iter().zip(input).all(|(a, b)| a == b)) {
            let Some(end) = memchr::memchr(b'\n', input) else { return Ok(None) };
            return Ok(Some((reply(&input[..end]), end + 1)));
        }
        let prologue = &input[..input.len().min(PROLOGUE_BYTES_MAX + TOKEN_BYTES)];
        let Some(at) = memchr::memchr(b'@', prologue) else {
            return if prologue.len() > PROLOGUE_BYTES_MAX { Err(Garbled) } else { Ok(None) };
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

/// What stands around the token in `block`, apart from the header, which has the name of the cow that says it to itself.
fn around(block: &[u8], name: Option<&str>) -> Result<Around, Garbled> {
    let head = name.map_or_else(Vec::new, |name| [name.as_bytes(), PRIVATELY].concat());
    let rest = block.strip_prefix(&head[..]).ok_or(Garbled)?;
    let at = memchr::memchr(b'@', rest).filter(|&at| Token::parse(&rest[at..]).is_some()).ok_or(Garbled)?;
    Ok(Around { before: rest[..at].to_vec(), after: rest[at + TOKEN_BYTES..].to_vec() })
}

/// Whether `bytes` are these pieces, one after the other.
fn is_made_of<const N: usize>(mut bytes: &[u8], pieces: [&[u8]; N]) -> bool {
    pieces.into_iter().all(|piece| {
        let rest = bytes.strip_prefix(piece);
        bytes = rest.unwrap_or_default();
        rest.is_some()
    })
}

/// What both end with.
fn common_end<'b>(one: &'b [u8], other: &'b [u8]) -> &'b [u8] {
    let equal = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    &one[one.len() - equal..]
}

fn reply(line: &[u8]) -> Item {
    if line.starts_with(b"error: ") || line.starts_with(b"* ") {
        return Item::Refused;
    }
    let heard = line.strip_prefix(b"Sent to ").and_then(|rest| {
        let number = rest.strip_suffix(b" cows").or_else(|| rest.strip_suffix(b" cow"))?;
        std::str::from_utf8(number).ok()?.parse().ok()
    });
    heard.map_or(Item::Reply, Item::Heard)
}
