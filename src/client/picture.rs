//! A cow's picture in all its forms, from the lines of the server.

use crate::cows::half::halve;
use crate::cows::plain::shade;
use crate::cows::sgr::{Token, size, tokens};
use crate::cows::small;
use crate::protocol::art::Art;
use crate::protocol::text::sanitize;

/// A picture in one form: what stands below a bubble, without an LF at its end, and how many columns and rows it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form {
    body: String,
    size: (usize, usize),
}

/// The forms of one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    colour: Form,
    half: Form,
    plain: Form,
}

impl Form {
    fn new(body: String) -> Self {
        let size = size(&body);
        Form { body, size }
    }
}

impl Picture {
    /// The picture of this body, which is in colour and has passed [`colours_only`].
    pub(super) fn new(colour: String) -> Self {
        let [half, plain] = [halve(&colour), shade(&colour)].map(Form::new);
        Picture { colour: Form::new(colour), half, plain }
    }

    /// The body in this style, and its columns and rows; `None` for [`Art::Off`]. Without a picture there is the small cow.
    pub(super) fn form(picture: Option<&Self>, art: Art) -> Option<(&str, (usize, usize))> {
        let form = match art {
            Art::Off => return None,
            Art::Small => return Some((small::BODY, size(small::BODY))),
            Art::Color => &picture?.colour,
            Art::Half => &picture?.half,
            Art::Plain => &picture?.plain,
        };
        Some((&form.body, form.size))
    }

    /// The lines of the server.
    pub(super) fn colour(&self) -> &str {
        &self.colour.body
    }
}

/// A line of a server without what could move the cursor or hide: of its control characters only those of colours stay.
pub(super) fn colours_only(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut safe = String::with_capacity(line.len());
    let mut text = String::new();
    for token in tokens(&line) {
        match token {
            Token::Character(character) => text.push(character),
            Token::Sgr(parameters) => {
                safe += &sanitize(std::mem::take(&mut text).as_bytes());
                safe.extend(["\x1b[", parameters, "m"]);
            }
        }
    }
    safe + &sanitize(text.as_bytes())
}

/// The same without colours.
pub(super) fn without_colours(text: &str) -> String {
    let characters = tokens(text).filter_map(|token| match token {
        Token::Character(character) => Some(character),
        Token::Sgr(_) => None,
    });
    characters.collect()
}
