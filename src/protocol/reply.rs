//! What the server says back: every reply line of the protocol, to the byte.
//!
//! A [`Reply`] displays as one line without its LF. Refusals begin with `error: `. Nothing else in the
//! project spells a reply out.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::art::Art;
use super::name::Name;
use super::text::echo;
use crate::limits::FREE_RUNS_MAX;

/// The answer to one input line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To `help` and to a blank line.
    Commands,
    /// To `help all`.
    AllCommands(Extensions),
    /// To `who`: the registered names, sorted, and how many more there are.
    Registered {
        /// At most [`crate::limits::WHO_NAMES_MAX`] names.
        names: Vec<Name<'a>>,
        /// Names that matched beyond those.
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
    /// To `notify`.
    NoticesAre(bool),
    /// To `history`: how many messages follow the line.
    History(usize),
    /// The command was refused.
    Refused(Refusal<'a>),
}

/// What this server knows beyond the seven commands, for `help all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// Cows of each breed.
    pub herd_size: u32,
    /// Whether there is a history.
    pub history: bool,
}

/// Free names of one breed, as `cows` lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Free<'a> {
    /// The cow with the breed's own name.
    First(&'a str),
    /// Cows with these numbers, from 2.
    Run(&'a str, RangeInclusive<u32>),
    /// More than are listed.
    More(&'a str),
}

impl<'a> Free<'a> {
    /// The free cows of `breed` by the runs of their numbers: [`FREE_RUNS_MAX`] at most, and whether there are
    /// more. The first cow's name has no number, so it is a run by itself.
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

/// Why a line was refused; each text says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Refusal<'a> {
    #[error("login first")]
    LoginFirst,
    #[error("you are already logged in as {0}")]
    AlreadyLoggedIn(Name<'a>),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("no cow named {} (try cows)", echo(.0))]
    NoSuchCow(&'a str),
    #[error("cow {0} is already taken")]
    Taken(Name<'a>),
    #[error("every {0} is taken")]
    EveryTaken(&'a str),
    #[error("too many cows from your address (max {0})")]
    TooManyCows(u32),
    #[error("cow {0} is not logged in")]
    NotLoggedIn(Name<'a>),
    #[error("history is off")]
    HistoryIsOff,
    #[error("unknown command {} (try help)", echo(.0))]
    UnknownCommand(&'a str),
    #[error("id too long")]
    IdTooLong,
    #[error("line too long (max {0} bytes)")]
    LineTooLong(usize),
    #[error("slow down")]
    SlowDown,
    #[error("this is a chat for nc, not for HTTP or TLS")]
    Foreign,
}

impl Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Commands => f.write_str(HELP),
            Reply::AllCommands(extensions) => extensions.fmt(f),
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
            Reply::NoticesAre(on) => write!(f, "Notices are {}", if *on { "on" } else { "off" }),
            Reply::History(1) => f.write_str("History: 1 message"),
            Reply::History(count) => write!(f, "History: {count} messages"),
            Reply::Refused(refusal) => write!(f, "error: {refusal}"),
        }
    }
}

impl Display for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("commands: who [PREFIX], cows, login COW, ")?;
        if self.herd_size > 1 {
            write!(f, "login COW# (the lowest free of {}), ", self.herd_size)?;
        }
        f.write_str("say COW TEXT, yield TEXT, quit, help, help all, art color|plain|small|off, notify on|off, ")?;
        if self.history {
            f.write_str("history [N], ")?;
        }
        f.write_str("ID COMMAND (1 to 18 digits, the reply begins with them)")
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

/// From whom a message is: its first line, without an LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Who says it.
    pub name: Name<'a>,
    /// To one cow, or to everybody.
    pub to_you: bool,
}

impl Header<'_> {
    /// Bytes that one has at most, what stands before it and the character after it included: a request id of 0, a breed
    /// of 32, a number of 10.
    pub const BYTES_MAX: usize = PUSHED.len() + 32 + 1 + 10 + " says to you:".len() + 1;
}

impl Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} says{}:", self.name, if self.to_you { " to you" } else { "" })
    }
}

/// Who has come or gone: a line without its LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Somebody has become this cow.
    Joined(Name<'a>),
    /// Somebody is this cow no more.
    Left(Name<'a>),
    /// More than are told one by one.
    Several {
        /// How many have joined.
        joined: u32,
        /// How many have left.
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

/// Stands before whatever is not a reply, for those who number their lines.
pub const PUSHED: &str = "0 ";

/// The reply to `help`, and to a blank line.
pub const HELP: &str = "commands: who, cows, login COW, say COW TEXT, yield TEXT, quit";

/// What a telnet client is told that asks whether anybody is there.
pub const HERE: &str = "* the server is here\n";

/// What a connection is told last when the server shuts down.
pub const SHUTTING_DOWN: &str = "* the server is shutting down\n";

/// What a registered user is told last who has sent no line for too long.
pub const CLOSED_IDLE: &str = "* closed: idle\n";

/// The last line of one that was silent for long while few cows were free.
pub const CLOSED_SCARCE: &str = "* closed: idle, and cows are scarce\n";

/// What somebody is told last who has not logged in and sent no line for `time`.
pub fn closed_not_logged_in(time: Duration) -> String {
    format!("* closed: not logged in for {} s\n", time.as_secs())
}

/// What a newcomer is told when there is no room.
pub const SERVER_IS_FULL: &str = "error: server is full\n";

/// What a newcomer is told whose address has as many connections as one may have.
pub const TOO_MANY_FROM_ADDRESS: &str = "error: too many connections from your address\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> Name<'static> {
        Name { breed: "x", number }
    }

    #[test]
    fn lists_are_joined_by_commas_or_say_none() {
        assert_eq!(Reply::Available(vec![]).to_string(), "Available cow names: (none)");
        let who = |numbers: &[u32]| {
            Reply::Registered { names: numbers.iter().copied().map(name).collect(), more: 0 }.to_string()
        };
        assert_eq!(who(&[]), "Registered users: (none)");
        assert_eq!(who(&[1]), "Registered users: x");
        assert_eq!(who(&[1, 2]), "Registered users: x, x#2");
    }

    #[test]
    fn who_counts_those_that_are_not_listed() {
        let who = Reply::Registered { names: vec![name(1), name(2)], more: 98_998 };
        assert_eq!(who.to_string(), "Registered users: x, x#2 ... and 98998 more (who PREFIX)");
    }

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

    #[test]
    fn help_all_names_what_is_switched_on() {
        let help = |herd_size, history| Reply::AllCommands(Extensions { herd_size, history }).to_string();
        assert!(!help(1, false).contains('#') && !help(1, false).contains("history"));
        assert!(
            help(9, true).contains(", login COW# (the lowest free of 9), ")
                && help(9, true).contains(", history [N], ")
        );
    }

    #[test]
    fn one_cow_is_not_cows() {
        assert_eq!(Reply::SentToCows(0).to_string(), "Sent to 0 cows");
        assert_eq!(Reply::SentToCows(1).to_string(), "Sent to 1 cow");
        assert_eq!(Reply::SentToCows(12).to_string(), "Sent to 12 cows");
    }
}
