//! What goes over the wire, as a client sees it: a token in every text, and blocks known byte by byte.
//!
//! Before a run one message of each cow is fetched ([`Gallery::learn`]). All further messages of that cow
//! differ in the token alone, which is of fixed length, so a delivery is found by its first line, compared
//! whole and skipped at the speed of `memcmp`: the clients must cost less than the server. Pure, for
//! `tests/stampede.rs`.

/// `@SSSSSS.NNNNNNNNN.YYYYYYYYY`: sender, number, number among its yields.
pub const TOKEN_BYTES: usize = 27;

/// Longest first lines before a token: a name, ` says to you:`, and the top of a bubble of 40 columns.
const PROLOGUE_BYTES_MAX: usize = 256;

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

/// The rest of a text of `bytes` bytes that begins with a token; nothing when the token is all.
pub fn padding(bytes: usize) -> Vec<u8> {
    let mut padding: Vec<u8> = b" moo".iter().copied().cycle().take(bytes.saturating_sub(TOKEN_BYTES)).collect();
    if let Some(last) = padding.last_mut() {
        // A blank at the end of a line would not count.
        *last = b'o';
    }
    padding
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

/// How one cow's message looks, without the sender's name at its front.
#[derive(Debug, Clone)]
struct Shape {
    rest: Vec<u8>,
    token_at: usize,
}

/// The messages of all cows, as this server draws them.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    /// For each cow: for one, for everybody.
    cows: Vec<[Shape; 2]>,
    /// Whether a message begins with the sender's name.
    named: bool,
    names: Vec<String>,
}

impl Gallery {
    /// An empty one, for clients of these names; client `i` is drawn like cow `i % cows`.
    pub fn new(names: Vec<String>) -> Gallery {
        Gallery { names, ..Gallery::default() }
    }

    /// Takes what the next cow in order said to itself.
    ///
    /// # Errors
    /// When there is no token in it.
    pub fn learn(&mut self, name: &str, block: &[u8]) -> Result<(), Garbled> {
        self.named = block.starts_with(name.as_bytes());
        let rest = if self.named { &block[name.len()..] } else { block };
        let to_all = match rest.strip_prefix(b" says to you:") {
            Some(rest) => [b" says:", rest].concat(),
            None => rest.to_vec(),
        };
        let shape = |rest: Vec<u8>| {
            let token_at = memchr::memchr(b'@', &rest).filter(|&at| Token::parse(&rest[at..]).is_some());
            token_at.map(|token_at| Shape { rest, token_at }).ok_or(Garbled)
        };
        self.cows.push([shape(rest.to_vec())?, shape(to_all)?]);
        Ok(())
    }

    /// Names of all clients.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The block in which `sender` says something, and the token's place in it.
    pub fn block(&self, sender: usize, to_all: bool) -> (Vec<u8>, usize) {
        let shape = &self.cows[sender % self.cows.len()][usize::from(to_all)];
        let name = if self.named { self.names[sender].as_bytes() } else { b"" };
        ([name, &shape.rest].concat(), name.len() + shape.token_at)
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
        let shape = &self.cows[token.sender % self.cows.len()][usize::from(token.yielded > 0)];
        let name = if self.named { self.names[token.sender].as_bytes() } else { b"" };
        let length = name.len() + shape.rest.len();
        if at != name.len() + shape.token_at {
            return Err(Garbled);
        }
        if input.len() < length {
            return Ok(None);
        }
        let (before, after) = (&shape.rest[..shape.token_at], &shape.rest[shape.token_at + TOKEN_BYTES..]);
        let is_whole =
            input.starts_with(name) && input[name.len()..at] == *before && input[at + TOKEN_BYTES..length] == *after;
        if is_whole { Ok(Some((Item::Delivery(token), length))) } else { Err(Garbled) }
    }
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
