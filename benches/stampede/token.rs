//! The token in each text, by which a delivery is counted: its sender and its number. Of fixed length, so two messages with
//! the same text and cow differ in the token alone. Pure, for `tests/stampede.rs`.

/// `@SSSSSS.NNNNNNNNN.YYYYYYYYY`: sender, number, number among the sender's yields.
pub const TOKEN_BYTES: usize = 27;

/// Identifies a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The sender's index among the clients.
    pub sender: usize,
    /// The number among all messages of the sender, from 1.
    pub number: u32,
    /// The number among the sender's yields, from 1; 0 for a message to one cow.
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

    /// The token at the front of `bytes`.
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
