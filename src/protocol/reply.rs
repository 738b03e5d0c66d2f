//! What the server sends, to the byte: replies, notices, the headers of messages, and last lines.
//!
//! A [`Reply`] displays as one line without its LF; a refusal begins with `error: `. No other room spells out such a text.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::art::Art;
use super::command::{Extensions, write_help, write_help_all};
use super::name::Name;
use super::refusal::Refusal;
use crate::limits::FREE_RUNS_MAX;

/// The answer to one input line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To `help` and a blank line.
    Commands,
    /// To `help all`.
    AllCommands(Extensions),
    /// To `who`: registered names, sorted.
    Registered {
        /// At most [`crate::limits::WHO_NAMES_MAX`] names.
        names: Vec<Name<'a>>,
        /// How many more matched.
        more: usize,
    },
    /// To `cows`: the free names, sorted.
    Available(Vec<Free<'a>>),
    /// To `login`.
    LoggedIn(Name<'a>),
    /// To `say`: the receiver.
    SentTo(Name<'a>),
    /// To `yield`: how many receivers.
    SentToCows(usize),
    /// To `quit`.
    Goodbye,
    /// To `art`.
    ArtIs(Art),
    /// To `show`: the cow, and how many lines of its picture follow.
    Picture(Name<'a>, usize),
    /// To `notify`.
    NoticesAre(bool),
    /// To `history`: how many messages follow.
    History(usize),
    /// To a line that was refused.
    Refused(Refusal<'a>),
}

/// An item of the list that `cows` gives: free names of one breed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Free<'a> {
    /// The first cow, which has the breed's own name.
    First(&'a str),
    /// The cows with these numbers, from 2.
    Run(&'a str, RangeInclusive<u32>),
    /// More cows than are listed.
    More(&'a str),
}

impl<'a> Free<'a> {
    /// The free cows of `breed` by the runs of their numbers: [`FREE_RUNS_MAX`] at most, then [`Free::More`]. The first cow is a
    /// run by itself, since its name has no number.
    pub fn list(breed: &'a str, runs: impl Iterator<Item = RangeInclusive<u32>>) -> impl Iterator<Item = Free<'a>> {
        let items = runs.flat_map(move |run| {
            let first = (*run.start() == 1).then_some(Free::First(breed));
            let rest = *run.start().max(&2)..=*run.end();
            first.into_iter().chain((!rest.is_empty()).then_some(Free::Run(breed, rest)))
        });
        items.take(FREE_RUNS_MAX + 1).enumerate().map(
            move |(place, free)| {
                if place < FREE_RUNS_MAX { free } else { Free::More(breed) }
            },
        )
    }
}

impl Display for Free<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Free::First(breed) => f.write_str(breed),
            Free::Run(breed, run) if run.start() == run.end() => write!(f, "{breed}#{}", run.start()),
            Free::Run(breed, run) => write!(f, "{breed}#{}-{}", run.start(), run.end()),
            Free::More(breed) => write!(f, "{breed}#..."),
        }
    }
}

impl Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Commands => write_help(f),
            Reply::AllCommands(extensions) => write_help_all(f, *extensions),
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
            Reply::ArtIs(art) => write!(f, "Art is {}", art.name()),
            Reply::Picture(cow, 1) => write!(f, "{cow}: 1 line"),
            Reply::Picture(cow, lines) => write!(f, "{cow}: {lines} lines"),
            Reply::NoticesAre(on) => write!(f, "Notices are {}", if *on { "on" } else { "off" }),
            Reply::History(1) => f.write_str("History: 1 message"),
            Reply::History(count) => write!(f, "History: {count} messages"),
            Reply::Refused(refusal) => write!(f, "error: {refusal}"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, names: &[impl Display]) -> fmt::Result {
    f.write_str(title)?;
    let Some((first, rest)) = names.split_first() else {
        return f.write_str("(none)");
    };
    first.fmt(f)?;
    for name in rest {
        f.write_str(", ")?;
        name.fmt(f)?;
    }
    Ok(())
}

/// The first line of a message, without its LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The sender.
    pub name: Name<'a>,
    /// Whether the message is for one receiver only.
    pub private: bool,
}

impl Header<'_> {
    /// The most bytes of a header with the tag before it and the character after it: a breed has 32, a number 10.
    pub const BYTES_MAX: usize = PUSHED.len() + 32 + 1 + 10 + " says to you:".len() + 1;
}

impl Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} says{}:", self.name, if self.private { " to you" } else { "" })
    }
}

/// A line about sessions that began or ended, without its LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A session of this cow has begun.
    Joined(Name<'a>),
    /// The session of this cow has ended.
    Left(Name<'a>),
    /// Several sessions, as numbers only.
    Several {
        /// How many have begun.
        joined: u32,
        /// How many have ended.
        left: u32,
    },
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Joined(cow) => write!(f, "* {cow} has joined"),
            Notice::Left(cow) => write!(f, "* {cow} has left"),
            Notice::Several { joined, left } => write!(f, "* {joined} more joined, {left} more left"),
        }
    }
}

/// The tag before all that is not a reply, for a connection that has sent a request id.
pub const PUSHED: &str = "0 ";

/// The answer to telnet's AYT.
pub const HERE: &str = "* the server is here\n";

/// The last line of every connection when the server shuts down.
pub const SHUTTING_DOWN: &str = "* the server is shutting down\n";

/// The last line of a session that has sent no line for too long.
pub const CLOSED_IDLE: &str = "* closed: idle\n";

/// The last line of a session that was silent for long while few cows were free.
pub const CLOSED_SCARCE: &str = "* closed: idle, and cows are scarce\n";

/// The last line of a connection that an operator closes without another text.
pub const CLOSED_KICKED: &str = "* closed: kicked\n";

/// The last line of a connection whose network an operator bans.
pub const CLOSED_BANNED: &str = "* closed: banned\n";

/// The last line of a guest that has sent no line for `time`.
pub fn closed_not_logged_in(time: Duration) -> String {
    format!("* closed: not logged in for {} s\n", time.as_secs())
}

/// A notice to each user of a server that has lost its cluster, which may have given the user's cow to others.
pub const CLUSTER_LOST: &str = "* lost the cluster, please log in again\n";

/// The only line for a new connection when there is no room.
pub const SERVER_IS_FULL: &str = "error: server is full\n";

/// The only line for a new connection whose address has too many.
pub const TOO_MANY_FROM_ADDRESS: &str = "error: too many connections from your address\n";

/// The only line for a new connection from a network that is banned.
pub const ADDRESS_IS_BANNED: &str = "error: your address is banned\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_names_are_listed_as_three_runs_at_most() {
        let free = |runs: &[RangeInclusive<u32>]| {
            Reply::Available(Free::list("tux", runs.iter().cloned()).collect()).to_string()
        };
        assert_eq!(free(&[1..=1]), "Available cow names: tux");
        assert_eq!(free(&[1..=1, 4..=4, 7..=19]), "Available cow names: tux, tux#4, tux#7-19");
        assert_eq!(free(&[1..=9]), "Available cow names: tux, tux#2-9");
        assert_eq!(free(&[2..=3, 5..=5, 7..=7]), "Available cow names: tux#2-3, tux#5, tux#7");
        assert_eq!(free(&[2..=3, 5..=5, 7..=7, 9..=9]), "Available cow names: tux#2-3, tux#5, tux#7, tux#...");
        assert_eq!(free(&[1..=2, 4..=4, 6..=6]), "Available cow names: tux, tux#2, tux#4, tux#...");
        assert_eq!(free(&[]), "Available cow names: (none)");
    }
}
