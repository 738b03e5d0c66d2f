//! What is said in the simulated world, and how it is read back: every message's text names the message.

use cowchat::protocol::art::Art;
use cowchat::shard::{Effects, Rendering};

use crate::world::{HERD_SIZE, Token};

/// The one line that a reply is, without the line's id.
pub fn reply(effects: &Effects) -> &str {
    let text = without_id(std::str::from_utf8(&effects.reply).expect("replies are UTF-8"));
    text.strip_suffix('\n').filter(|line| !line.contains('\n')).expect("exactly one line")
}

/// A reply without its line's id, if it has one: no reply begins with a digit of its own.
pub fn without_id(reply: &str) -> &str {
    let rest = reply.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() < reply.len() { rest.strip_prefix(' ').expect("a blank after the id") } else { reply }
}

/// A message's text names it.
pub fn text_of((session, number): Token) -> String {
    format!("<{session}:{number}>")
}

/// What a cow of the model is called.
pub fn name_of(cow: usize) -> String {
    let (breed, number) = (cow / HERD_SIZE, cow % HERD_SIZE + 1);
    if number == 1 { format!("cow{breed}") } else { format!("cow{breed}#{number}") }
}

/// Tokens are read from this rendering, whatever the receivers asked for.
pub const RENDERING_OF_TOKENS: Rendering = Rendering { art: Art::Off, tagged: false, crlf: false };

/// The message is in the rendering that its receiver asked for.
pub fn check_rendering(block: &[u8], rendering: Rendering, token: Token) {
    let text = std::str::from_utf8(block).expect("messages are UTF-8");
    assert_eq!(tokens_of(text), [token]);
    assert_eq!(text.starts_with("0 cow"), rendering.tagged, "{text}");
    let is = |what: &str| text.contains(what);
    match rendering.art {
        Art::Color => assert!(is("COLOUR") && is("<  <"), "{text}"),
        Art::Half => assert!(is("HALF") && is("<  <"), "{text}"),
        Art::Plain => assert!(is("PLAIN") && is("<  <"), "{text}"),
        Art::Small => assert!(is(",n___n,") && is("<  <"), "{text}"),
        Art::Off => assert!(text.lines().count() == 1 && !is("<  <"), "{text}"),
    }
}

/// The message that a block is.
pub fn token_of(payload: &[u8]) -> Token {
    let tokens = tokens_of(std::str::from_utf8(payload).expect("messages are UTF-8"));
    assert_eq!(tokens.len(), 1, "one message has one token");
    tokens[0]
}

/// The messages in some output, in order.
pub fn tokens_of(text: &str) -> Vec<Token> {
    let number = |digits: &str| digits.parse().ok();
    let inside = text.split('<').filter_map(|rest| rest.split_once('>')?.0.split_once(':'));
    inside.filter_map(|(session, count)| Some((number(session)?, number(count)?))).collect()
}
