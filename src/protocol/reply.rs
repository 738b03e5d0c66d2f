//! What the server says back: every reply line of the protocol, to the byte.
//!
//! A [`Reply`] displays as one line without its LF. Refusals begin with `error: `. Nothing else in the
//! project spells a reply out.

use std::fmt;

use super::text::echo;
use crate::limits::WHO_NAMES_MAX;

/// The answer to one input line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To `help` and to a blank line.
    Commands,
    /// To `who`: the registered names, sorted, and how many more there are.
    Registered {
        /// At most [`WHO_NAMES_MAX`] names.
        names: Vec<&'a str>,
        /// Names that matched beyond those.
        more: usize,
    },
    /// To `cows`: the free names, sorted.
    Available(Vec<&'a str>),
    /// To `login`.
    LoggedIn(&'a str),
    /// To `say`: the receiver.
    SentTo(&'a str),
    /// To `yield`: how many receivers.
    SentToCows(usize),
    /// To `quit`.
    Goodbye,
    /// The command was refused.
    Refused(Refusal<'a>),
}

/// Why a line was refused; each text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Refusal<'a> {
    #[error("login first")]
    LoginFirst,
    #[error("you are already logged in as {0}")]
    AlreadyLoggedIn(&'a str),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("no cow named {} (try cows)", echo(.0))]
    NoSuchCow(&'a str),
    #[error("cow {0} is already taken")]
    Taken(&'a str),
    #[error("cow {0} is not logged in")]
    NotLoggedIn(&'a str),
    #[error("unknown command {} (try help)", echo(.0))]
    UnknownCommand(&'a str),
    #[error("line too long (max {0} bytes)")]
    LineTooLong(usize),
}

impl<'a> Reply<'a> {
    /// To `who`: the first [`WHO_NAMES_MAX`] of `names`, the rest counted.
    pub fn registered(mut names: impl Iterator<Item = &'a str>) -> Self {
        let listed = names.by_ref().take(WHO_NAMES_MAX).collect();
        Reply::Registered { names: listed, more: names.count() }
    }
}

impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Commands => f.write_str(HELP),
            Reply::Registered { names, more } => {
                list(f, "Registered users: ", names)?;
                match more {
                    0 => Ok(()),
                    _ => write!(f, " ... and {more} more (who PREFIX)"),
                }
            }
            Reply::Available(names) => list(f, "Available cow names: ", names),
            Reply::LoggedIn(cow) => write!(f, "Logged in as {cow}"),
            Reply::SentTo(cow) => write!(f, "Sent to {cow}"),
            Reply::SentToCows(1) => f.write_str("Sent to 1 cow"),
            Reply::SentToCows(count) => write!(f, "Sent to {count} cows"),
            Reply::Goodbye => f.write_str("Goodbye."),
            Reply::Refused(refusal) => write!(f, "error: {refusal}"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, names: &[&str]) -> fmt::Result {
    f.write_str(title)?;
    let Some((first, rest)) = names.split_first() else {
        return f.write_str("(none)");
    };
    f.write_str(first)?;
    for name in rest {
        f.write_str(", ")?;
        f.write_str(name)?;
    }
    Ok(())
}

/// The reply to `help`, and to a blank line.
pub const HELP: &str = "commands: who, cows, login COW, say COW TEXT, yield TEXT, quit";

/// What a connection is told last when the server shuts down.
pub const SHUTTING_DOWN: &str = "* the server is shutting down\n";

/// What a newcomer is told when there is no room.
pub const SERVER_IS_FULL: &str = "error: server is full\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_by_commas_or_say_none() {
        assert_eq!(Reply::Available(vec![]).to_string(), "Available cow names: (none)");
        assert_eq!(Reply::registered(["a"].into_iter()).to_string(), "Registered users: a");
        assert_eq!(Reply::registered(["a", "b"].into_iter()).to_string(), "Registered users: a, b");
    }

    #[test]
    fn who_lists_a_thousand_names_and_counts_the_rest() {
        let who = |count| Reply::registered(std::iter::repeat_n("x", count)).to_string();
        assert!(who(1000).ends_with("x, x"));
        assert!(who(1001).ends_with("x, x ... and 1 more (who PREFIX)"));
        assert!(who(99_998).ends_with(" ... and 98998 more (who PREFIX)"));
    }

    #[test]
    fn one_cow_is_not_cows() {
        assert_eq!(Reply::SentToCows(0).to_string(), "Sent to 0 cows");
        assert_eq!(Reply::SentToCows(1).to_string(), "Sent to 1 cow");
        assert_eq!(Reply::SentToCows(12).to_string(), "Sent to 12 cows");
    }
}
