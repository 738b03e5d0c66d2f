//! What a typed line asks for: a command, with or without `/`, or text for every user.
//!
//! Text becomes a `yield` or `say` that the server reads as exactly this text.

use crate::protocol::art::Art;
use crate::protocol::command::words;

/// A typed line, its words borrowed from the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input<'a> {
    /// A blank line.
    Nothing,
    /// Text for every user.
    Text(&'a str),
    /// `/r TEXT`: text for the sender of the last private message.
    Answer(&'a str),
    /// `login COW`.
    Login(&'a str),
    /// `show COW`.
    Show(&'a str),
    /// `art`, and the style: `None` lets each message be drawn as it fits.
    Art(Option<Art>),
    /// `notify on|off`.
    Notify(bool),
    /// `help`.
    Help,
    /// `quit`.
    Quit,
    /// Any other command of the protocol, which the server reads.
    Command(String),
    /// It is not sent: why.
    Refused(String),
}

/// The words after `/` that the protocol does not have, and what they stand for in it.
pub(super) const ALIASES: [(&str, &str); 2] = [("name", "login"), ("exit", "quit")];

/// The word after `/` that answers the last private message.
pub(super) const ANSWER: &str = "r";

impl<'a> Input<'a> {
    /// Reads a line as it was typed.
    pub(super) fn parse(typed: &'a str) -> Self {
        if let Some(text) = typed.strip_prefix(' ') {
            return if text.trim().is_empty() { Input::Nothing } else { Input::Text(text) };
        }
        let (word, rest) = typed.split_once(' ').unwrap_or((typed, ""));
        let lower = word.to_ascii_lowercase();
        if let Some(word) = lower.strip_prefix('/') {
            if word == ANSWER {
                return text_of(rest).map_or_else(|| Input::Refused("usage: /r TEXT".to_owned()), Input::Answer);
            }
            let alias = ALIASES.into_iter().find_map(|(alias, word_of)| (alias == word).then_some(word_of));
            return Input::command(alias.unwrap_or(word), rest).unwrap_or_else(|| {
                Input::Refused(format!("no command /{word} (try /help; a blank before the line sends it as text)"))
            });
        }
        if typed.trim().is_empty() {
            return Input::Nothing;
        }
        match Input::command(&lower, rest).unwrap_or(Input::Text(typed)) {
            Input::Quit if !rest.trim().is_empty() => {
                Input::Refused("type quit alone to leave, or a blank before the line to send it as text".to_owned())
            }
            input => input,
        }
    }

    /// The command that begins with `word`; `None` if none does.
    fn command(word: &str, rest: &'a str) -> Option<Self> {
        let words_after = rest.trim();
        if !words().any(|known| known == word) {
            return None;
        }
        Some(match (word, words_after) {
            ("quit", _) => Input::Quit,
            ("help", "") => Input::Help,
            ("login", cow) if is_word(cow) => Input::Login(cow),
            ("show", cow) if is_word(cow) => Input::Show(cow),
            ("notify", "on") => Input::Notify(true),
            ("notify", "off") => Input::Notify(false),
            ("art", "auto") => Input::Art(None),
            ("art", style) => match Art::from_name(style) {
                Some(art) => Input::Art(Some(art)),
                None => Input::Refused(format!("usage: art auto|{}", Art::ALL.map(Art::name).join("|"))),
            },
            _ => Input::Command(if rest.is_empty() { word.to_owned() } else { format!("{word} {rest}") }),
        })
    }

    /// Whether the line is for one user, so that it must not outlive this session.
    pub(super) fn is_private(typed: &str) -> bool {
        match Input::parse(typed) {
            // It may be a mistyped one.
            Input::Answer(_) | Input::Refused(_) => true,
            Input::Command(line) => line.starts_with("say ") || line == "say",
            _ => false,
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(' ')
}

fn text_of(rest: &str) -> Option<&str> {
    (!rest.trim().is_empty()).then_some(rest)
}

/// TEXT such that the server, which drops a pair of quotes around all of it, reads `text`.
pub(super) fn quoted(text: &str) -> String {
    let dropped = |quote: char| {
        let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        inside.is_some_and(|inside| !inside.contains(quote))
    };
    match text {
        _ if !dropped('"') && !dropped('\'') => text.to_owned(),
        _ if !text.contains('\'') => format!("'{text}'"),
        _ if !text.contains('"') => format!("\"{text}\""),
        // With a blank before it the text does not begin with a quote.
        _ => format!(" {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::{Command, Standing};
    use crate::protocol::name::Name;

    #[test]
    fn commands_have_a_slash_or_not_and_the_rest_is_text() {
        let command = |line: &str| Input::Command(line.to_owned());
        for (typed, input) in [
            ("", Input::Nothing),
            ("   ", Input::Nothing),
            ("hello there", Input::Text("hello there")),
            (" who is there", Input::Text("who is there")),
            (" /who", Input::Text("/who")),
            ("who", command("who")),
            ("/who fer", command("who fer")),
            ("WHO", command("who")),
            ("say tux  hi ", command("say tux  hi ")),
            ("/SAY tux hi", command("say tux hi")),
            ("/yield hi", command("yield hi")),
            ("login tux", Input::Login("tux")),
            ("/NAME tux", Input::Login("tux")),
            ("login", command("login")),
            ("login a b", command("login a b")),
            ("/EXIT", Input::Quit),
            ("quit", Input::Quit),
            ("/quit now", Input::Quit),
            ("/help", Input::Help),
            ("help all", command("help all")),
            ("show tux", Input::Show("tux")),
            ("art half", Input::Art(Some(Art::Half))),
            ("/art auto", Input::Art(None)),
            ("notify on", Input::Notify(true)),
            ("/r yes", Input::Answer("yes")),
            ("whois tux", Input::Text("whois tux")),
            ("12 who", Input::Text("12 who")),
        ] {
            assert_eq!(Input::parse(typed), input, "{typed:?}");
        }
        for refused in ["/", "/foo bar", "/r", "/r  ", "art blue", "art", "quit smoking"] {
            assert!(matches!(Input::parse(refused), Input::Refused(_)), "{refused}");
        }
    }

    #[test]
    fn only_lines_to_one_user_are_private() {
        for private in ["say tux hi", "/say tux hi", "/r hi", "SAY tux hi", "/sya tux hi"] {
            assert!(Input::is_private(private), "{private}");
        }
        for public in ["hello", "/yield hi", "who", " say tux hi", "login tux"] {
            assert!(!Input::is_private(public), "{public}");
        }
    }

    #[test]
    fn the_server_reads_exactly_the_text_that_was_typed() {
        let standing = Standing::Registered(Name { breed: "tux", number: 1 });
        for text in ["hi", "\"hi\"", "'hi'", "it's", "'a' b 'c'", "\"", "say \"hi\"", " x"] {
            let line = format!("yield {}", quoted(text));
            assert_eq!(Command::parse(&line, standing), Ok(Command::Yield(text)), "{text}");
        }
        assert_eq!(quoted("\"it's\""), " \"it's\"", "both kinds: a blank more");
    }
}
