//! What the clients say after the token: always the same, or texts like those of a chat.
//!
//! A text follows from its token, so sender, receiver and floor agree on it. Pure, for `tests/stampede.rs`.

use super::token::{TOKEN_BYTES, Token};

/// Repeated, the text that takes longest to draw of all that `price` tries: each letter has a variant.
pub const DEAREST: &[u8] = "\u{627}\u{fe0f}".as_bytes();

/// Different texts of a chat: the rarest kind, one in a hundred, comes twice.
const CHAT_TEXTS: usize = 200;

/// The chat is the same in each run.
const SEED: u64 = 12;

const WORDS: &str = "the a and but we you it is was not hay grass fence river meadow cow yesterday tomorrow \
                     really? yes, no, fine https://example.com/cows ok";
const CYRILLIC: &str = "вчера забор у реки опять упал, и мы";
const IDEOGRAPHS: &str = "昨日 川の 柵が また 倒れた。 草";
const EMOJI: &str = "moo 🐄 🌾🌾 👍🏽 yes ❤\u{fe0f}";

/// The texts of a run.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// What follows the token.
    rests: Vec<Vec<u8>>,
}

impl Texts {
    /// One text of `bytes` bytes, the token included.
    pub fn of_bytes(bytes: usize) -> Texts {
        let mut rest: Vec<u8> = b" moo".iter().copied().cycle().take(bytes.saturating_sub(TOKEN_BYTES)).collect();
        if let Some(last) = rest.last_mut() {
            // The server drops a blank at the end of a line.
            *last = b'o';
        }
        Texts { rests: vec![rest] }
    }

    /// Texts like those of a chat: half of them have up to 40 bytes, one in ten 150, one in a hundred 500; one in twenty
    /// is not ASCII.
    pub fn of_a_chat() -> Texts {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut rests: Vec<Vec<u8>> = (0..CHAT_TEXTS)
            .map(|index| {
                let bytes = match index {
                    0..2 => 500,
                    2..22 => 150,
                    _ => random.usize(29..=51),
                };
                let words = match (index % 20, index / 20 % 3) {
                    (1, 0) => CYRILLIC,
                    (1, 1) => IDEOGRAPHS,
                    (1, _) => EMOJI,
                    _ => WORDS,
                };
                rest(bytes - TOKEN_BYTES, words, &mut random)
            })
            .collect();
        random.shuffle(&mut rests);
        Texts { rests }
    }

    /// The number of different texts.
    pub fn count(&self) -> usize {
        self.rests.len()
    }

    /// The index of the text that belongs to `token`.
    pub fn index(&self, token: Token) -> usize {
        (token.sender.wrapping_mul(7) + token.number as usize) % self.rests.len()
    }

    /// What follows the token in the text of this index.
    pub fn rest(&self, index: usize) -> &[u8] {
        &self.rests[index]
    }
}

/// A blank and some of `words`, of `bytes` bytes.
fn rest(bytes: usize, words: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    let words: Vec<&str> = words.split(' ').collect();
    let mut rest = String::new();
    while rest.len() < bytes {
        rest.push(' ');
        rest.push_str(words[random.usize(..words.len())]);
    }
    rest.truncate(rest.floor_char_boundary(bytes));
    let mut rest = rest.trim_end().to_owned().into_bytes();
    rest.resize(bytes, b'.');
    rest
}
