//! What a client reads: a line of the server to a value. The inverse of [`super::reply`] for a client that sends request ids
//! and has chosen `art off`.
//!
//! A line that is none of these is [`ServerLine::Untagged`], or an answer that is [`Answer::Other`]: a client shows it as it
//! is, so a newer server stays usable.

use super::reply::PUSHED;

/// A line from a server that has seen a request id of this client. Without its LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerLine<'a> {
    /// The reply to the line with this id.
    Reply {
        /// As the client sent it.
        id: u64,
        /// What follows the id.
        answer: &'a str,
    },
    /// A message, in `art off`.
    Message(Incoming<'a>),
    /// A notice or last line, without its tag: it begins with `* `.
    Notice(&'a str),
    /// Anything else: a greeting, or the lines of a picture.
    Untagged(&'a str),
}

/// A message of another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// The sender's name.
    pub sender: &'a str,
    /// Whether it is for this client only.
    pub private: bool,
    /// What was said.
    pub text: &'a str,
}

/// A reply that a client acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To `who`: the names, and how many more there are.
    Registered(Vec<&'a str>, usize),
    /// To `cows`: names, and runs of names as `tux#2-20` and `tux#...`.
    Available(Vec<&'a str>),
    /// To `login`: the cow's name.
    LoggedIn(&'a str),
    /// To `show`: as many lines of a picture follow.
    Picture(usize),
    /// To `history`: as many messages follow.
    History(usize),
    /// To `art`: the style's name.
    ArtIs(&'a str),
    /// To `quit`.
    Goodbye,
    /// A refusal, without `error: `.
    Refused(&'a str),
    /// Any other.
    Other(&'a str),
}

impl<'a> ServerLine<'a> {
    /// Reads a sanitized line.
    pub fn parse(line: &'a str) -> Self {
        if let Some(pushed) = line.strip_prefix(PUSHED) {
            return match Incoming::parse(pushed) {
                Some(message) => ServerLine::Message(message),
                None if pushed.starts_with("* ") => ServerLine::Notice(pushed),
                None => ServerLine::Untagged(pushed),
            };
        }
        let id = line.split_once(' ').and_then(|(id, answer)| {
            let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
            Some((is_number.then(|| id.parse().ok())??, answer))
        });
        id.map_or(ServerLine::Untagged(line), |(id, answer)| ServerLine::Reply { id, answer })
    }
}

impl<'a> Incoming<'a> {
    /// Reads a message in `art off`, without its tag.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (sender, rest) = line.split_once(" says")?;
        let is_name = !sender.is_empty() && !sender.contains(' ');
        let (private, rest) = rest.strip_prefix(" to you").map_or((false, rest), |rest| (true, rest));
        let text = rest.strip_prefix(": ").filter(|_| is_name)?;
        Some(Incoming { sender, private, text })
    }
}

impl<'a> Answer<'a> {
    /// Reads a reply without its id.
    pub fn parse(answer: &'a str) -> Self {
        let count = |rest: &str, unit: &str| {
            let number = rest.strip_suffix('s').unwrap_or(rest).strip_suffix(unit)?.strip_suffix(' ')?;
            number.parse::<usize>().ok()
        };
        let parsed = if let Some(names) = answer.strip_prefix("Registered users: ") {
            let (names, more) = names.split_once(" ... and ").unwrap_or((names, ""));
            let more = more.split(' ').next().and_then(|more| more.parse().ok());
            Some(Answer::Registered(list(names), more.unwrap_or(0)))
        } else if let Some(names) = answer.strip_prefix("Available cow names: ") {
            Some(Answer::Available(list(names)))
        } else if let Some(cow) = answer.strip_prefix("Logged in as ") {
            Some(Answer::LoggedIn(cow))
        } else if let Some(refusal) = answer.strip_prefix("error: ") {
            Some(Answer::Refused(refusal))
        } else if let Some(art) = answer.strip_prefix("Art is ") {
            Some(Answer::ArtIs(art))
        } else if answer == "Goodbye." {
            Some(Answer::Goodbye)
        } else {
            answer.split_once(": ").and_then(|(what, rest)| match what {
                "History" => count(rest, "message").map(Answer::History),
                _ if !what.contains(' ') => count(rest, "line").map(Answer::Picture),
                _ => None,
            })
        };
        parsed.unwrap_or(Answer::Other(answer))
    }
}

fn list(names: &str) -> Vec<&str> {
    if names == "(none)" { Vec::new() } else { names.split(", ").collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::art::Art;
    use crate::protocol::name::Name;
    use crate::protocol::refusal::Refusal;
    use crate::protocol::reply::{Free, Header, Notice, Reply};

    const TUX: Name<'_> = Name { breed: "tux", number: 1 };
    const SECOND: Name<'_> = Name { breed: "tux", number: 2 };

    #[test]
    fn what_the_server_writes_is_read_again() {
        let free = vec![Free::First("aya"), Free::Run("tux", 2..=9), Free::More("tux")];
        for (reply, answer) in [
            (Reply::Registered { names: vec![TUX, SECOND], more: 0 }, Answer::Registered(vec!["tux", "tux#2"], 0)),
            (Reply::Registered { names: vec![TUX], more: 7 }, Answer::Registered(vec!["tux"], 7)),
            (Reply::Registered { names: vec![], more: 0 }, Answer::Registered(vec![], 0)),
            (Reply::Available(free), Answer::Available(vec!["aya", "tux#2-9", "tux#..."])),
            (Reply::Available(vec![]), Answer::Available(vec![])),
            (Reply::LoggedIn(SECOND), Answer::LoggedIn("tux#2")),
            (Reply::History(1), Answer::History(1)),
            (Reply::History(20), Answer::History(20)),
            (Reply::ArtIs(Art::Off), Answer::ArtIs("off")),
            (Reply::Goodbye, Answer::Goodbye),
            (Reply::Refused(Refusal::LoginFirst), Answer::Refused("login first")),
            (Reply::SentToCows(2), Answer::Other("Sent to 2 cows")),
        ] {
            assert_eq!(Answer::parse(&reply.to_string()), answer, "{reply:?}");
        }
    }

    #[test]
    fn a_message_is_read_with_its_sender_and_text() {
        for (name, private, text) in [(TUX, false, "hi"), (SECOND, true, "tux says to you: hi"), (TUX, false, " x ")] {
            let line = format!("{PUSHED}{} {text}", Header { name, private });
            let sender = name.to_string();
            let message = Incoming { sender: &sender, private, text };
            assert_eq!(ServerLine::parse(&line), ServerLine::Message(message));
        }
        let notice = format!("{PUSHED}{}", Notice::Joined(TUX));
        assert_eq!(ServerLine::parse(&notice), ServerLine::Notice("* tux has joined"));
    }

    #[test]
    fn ids_are_whole_words_of_digits() {
        assert_eq!(ServerLine::parse("12 Sent to tux"), ServerLine::Reply { id: 12, answer: "Sent to tux" });
        for untagged in ["hello there", "12", "+1 x", "-1 x", "1x y", "", "99999999999999999999999 x", " 1 x"] {
            assert_eq!(ServerLine::parse(untagged), ServerLine::Untagged(untagged));
        }
    }
}
