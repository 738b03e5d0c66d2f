//! One safe line to one command, or to the reason why it is refused.
//!
//! `COMMANDS` is the only list of commands. [`Command::parse`] asks a row in a fixed order: is there one, which standing
//! does it need, do the words fit its usage. `help`, flood control and the protocol page's table take theirs from the same
//! rows. What a command does is decided by the shard.

use std::fmt;

use super::art::Art;
use super::name::Name;
use super::refusal::Refusal;
use super::request_id::split_id;
use super::text::{is_blank, sanitize};

/// A line that asks for something, its words borrowed from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `help`, or a blank line.
    Help,
    /// `help all`.
    HelpAll,
    /// `who [PREFIX]`; an empty prefix matches every name.
    Who(&'a str),
    /// `cows`.
    Cows,
    /// `login COW`; a COW that ends in `#` stands for a free one of its breed.
    Login(&'a str),
    /// `say COW TEXT`.
    Say(&'a str, &'a str),
    /// `yield TEXT`.
    Yield(&'a str),
    /// `quit`.
    Quit,
    /// `art color|half|plain|small|off`.
    Art(Art),
    /// `show COW [ART]`; without an art the connection's own.
    Show(&'a str, Option<Art>),
    /// `notify on|off`.
    Notify(bool),
    /// `history [N]`; without a number all that there is.
    History(Option<usize>),
}

/// What a connection is, as far as commands care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Not logged in.
    Guest,
    /// A session: logged in as this cow.
    Registered(Name<'a>),
}

/// How flood control treats a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// It is executed however many lines came before.
    Exempt,
    /// It counts as a line.
    Line,
    /// It also counts as what an address says, and waits for a receiver that is behind.
    Speech,
}

/// What this server has beyond the defaults, for `help all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// Cows of each breed.
    pub herd_size: u32,
    /// Whether there is a history.
    pub history: bool,
}

/// The standing that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Any,
    Guest,
    Session,
}

/// Which line lists a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// `help`, without what is optional, and `help all`.
    Help,
    /// `help all`.
    All,
    /// `help all` of a server with `--history`.
    History,
}

/// How many commands there are.
pub const COUNT: usize = 11;

/// A row of the command table.
struct Row {
    word: &'static str,
    /// Its forms, as `help all` and a usage error show them.
    usage: &'static str,
    gate: Gate,
    listed: Listed,
    throttle: Throttle,
    /// The command from what follows its word and a blank; `None` is a usage error.
    parse: for<'a> fn(&'a str) -> Option<Command<'a>>,
}

/// Every command, in the order of `help all`.
#[rustfmt::skip]
const COMMANDS: [Row; COUNT] = {
    use {Gate::*, Listed::*, Throttle::*};
    [
        row("who",     "who [PREFIX]",                          Any,     Help,    Line,   parse_who),
        row("cows",    "cows",                                  Any,     Help,    Line,   |_| Some(Command::Cows)),
        row("login",   "login COW",                             Guest,   Help,    Line,   parse_login),
        row("say",     "say COW TEXT",                          Session, Help,    Speech, parse_say),
        row("yield",   "yield TEXT",                            Session, Help,    Speech, parse_yield),
        row("quit",    "quit",                                  Any,     Help,    Exempt, |_| Some(Command::Quit)),
        row("help",    "help, help all",                        Any,     All,     Line,   parse_help),
        row("art",     "art color|half|plain|small|off",        Any,     All,     Line,   parse_art),
        row("show",    "show COW [color|half|plain|small|off]", Any,     All,     Line,   parse_show),
        row("notify",  "notify on|off",                         Session, All,     Line,   parse_notify),
        row("history", "history [N]",                           Session, History, Line,   parse_history),
    ]
};

const fn row(
    word: &'static str,
    usage: &'static str,
    gate: Gate,
    listed: Listed,
    throttle: Throttle,
    parse: for<'a> fn(&'a str) -> Option<Command<'a>>,
) -> Row {
    Row { word, usage, gate, listed, throttle, parse }
}

impl Row {
    /// The row of a sanitized line without its id, and what follows the word and a blank.
    fn of(line: &str) -> Result<(&'static Row, &str), Refusal<'_>> {
        let line = line.trim_matches(' ');
        let (word, rest) = line.split_once(' ').unwrap_or((if line.is_empty() { "help" } else { line }, ""));
        let row = COMMANDS.iter().find(|row| row.word.eq_ignore_ascii_case(word));
        Ok((row.ok_or(Refusal::UnknownCommand(word))?, rest))
    }
}

impl<'a> Command<'a> {
    /// Its place among [`words`].
    pub fn place(&self) -> usize {
        match self {
            Command::Who(_) => 0,
            Command::Cows => 1,
            Command::Login(_) => 2,
            Command::Say(..) => 3,
            Command::Yield(_) => 4,
            Command::Quit => 5,
            Command::Help | Command::HelpAll => 6,
            Command::Art(_) => 7,
            Command::Show(..) => 8,
            Command::Notify(_) => 9,
            Command::History(_) => 10,
        }
    }

    /// Reads a sanitized `line` without its id, sent by a connection of this standing.
    ///
    /// # Errors
    /// The first that applies: an unknown command, the wrong standing, the usage.
    pub fn parse(line: &'a str, standing: Standing<'a>) -> Result<Self, Refusal<'a>> {
        let (row, rest) = Row::of(line)?;
        match (row.gate, standing) {
            (Gate::Session, Standing::Guest) => return Err(Refusal::LoginFirst),
            (Gate::Guest, Standing::Registered(cow)) => return Err(Refusal::AlreadyLoggedIn(cow)),
            _ => {}
        }
        (row.parse)(rest).ok_or(Refusal::Usage(row.usage))
    }
}

impl Throttle {
    /// How flood control treats a line as it arrived, before it is executed. One that cannot be executed counts as a line.
    pub fn of(line: &[u8]) -> Throttle {
        let line = sanitize(line);
        let row = split_id(&line).and_then(|(_, line)| Row::of(line)).ok();
        row.filter(|(row, rest)| (row.parse)(rest).is_some()).map_or(Throttle::Line, |(row, _)| row.throttle)
    }
}

/// The first words of all commands, in lower case.
pub fn words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|row| row.word)
}

/// The reply to `help`.
pub(super) fn write_help(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("commands: ")?;
    for (place, row) in COMMANDS.iter().filter(|row| row.listed == Listed::Help).enumerate() {
        let form = row.usage.split_once(" [").map_or(row.usage, |(form, _)| form);
        write!(f, "{}{form}", if place == 0 { "" } else { ", " })?;
    }
    Ok(())
}

/// The reply to `help all`.
pub(super) fn write_help_all(f: &mut fmt::Formatter<'_>, extensions: Extensions) -> fmt::Result {
    f.write_str("commands: ")?;
    for row in COMMANDS.iter().filter(|row| row.listed != Listed::History || extensions.history) {
        write!(f, "{}, ", row.usage)?;
        if row.word == "login" && extensions.herd_size > 1 {
            write!(f, "login COW# (the lowest free of {}), ", extensions.herd_size)?;
        }
    }
    f.write_str("ID COMMAND (1 to 18 digits, the reply begins with them)")
}

fn parse_who(rest: &str) -> Option<Command<'_>> {
    let prefix = rest.trim_matches(' ');
    (!prefix.contains(' ')).then_some(Command::Who(prefix))
}

fn parse_login(rest: &str) -> Option<Command<'_>> {
    let cow = rest.trim_matches(' ');
    (!cow.is_empty() && !cow.contains(' ')).then_some(Command::Login(cow))
}

fn parse_say(rest: &str) -> Option<Command<'_>> {
    let (cow, text) = rest.trim_start_matches(' ').split_once(' ')?;
    Some(Command::Say(cow, parse_text(text)?))
}

fn parse_yield(rest: &str) -> Option<Command<'_>> {
    parse_text(rest).map(Command::Yield)
}

fn parse_help(rest: &str) -> Option<Command<'_>> {
    let all = rest.trim_start_matches(' ').split(' ').next() == Some("all");
    Some(if all { Command::HelpAll } else { Command::Help })
}

fn parse_art(rest: &str) -> Option<Command<'_>> {
    Art::from_name(rest.trim_matches(' ')).map(Command::Art)
}

fn parse_show(rest: &str) -> Option<Command<'_>> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    match (words.next()?, words.next(), words.next()) {
        (cow, None, _) => Some(Command::Show(cow, None)),
        (cow, Some(art), None) => Some(Command::Show(cow, Some(Art::from_name(art)?))),
        _ => None,
    }
}

fn parse_notify(rest: &str) -> Option<Command<'_>> {
    match rest.trim_matches(' ') {
        "on" => Some(Command::Notify(true)),
        "off" => Some(Command::Notify(false)),
        _ => None,
    }
}

fn parse_history(rest: &str) -> Option<Command<'_>> {
    let count = rest.trim_matches(' ');
    if count.is_empty() {
        return Some(Command::History(None));
    }
    // A number beyond all that is kept asks for all.
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Command::History(Some(count.parse().unwrap_or(usize::MAX))))
}

/// TEXT, which began after exactly one blank: without its pair of quotes; `None` if it is blank.
fn parse_text(text: &str) -> Option<&str> {
    let text = unquoted(text, '"').or_else(|| unquoted(text, '\'')).unwrap_or(text);
    (!is_blank(text)).then_some(text)
}

/// What stands between two `quote`s that hold all of `text` and no third one.
fn unquoted(text: &str, quote: char) -> Option<&str> {
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inside.contains(quote)).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_the_place_of_its_word() {
        let registered = Standing::Registered(Name { breed: "tux", number: 1 });
        for (place, row) in COMMANDS.iter().enumerate() {
            let standing = if row.gate == Gate::Session { registered } else { Standing::Guest };
            let rest = ["", " tux", " tux moo", " off"].into_iter();
            let mut commands = rest.filter_map(|rest| {
                Command::parse(&format!("{}{rest}", row.word), standing).ok().map(|command| command.place())
            });
            assert_eq!(commands.next(), Some(place), "{}", row.word);
        }
    }

    fn as_tux(line: &str) -> Result<Command<'_>, Refusal<'_>> {
        Command::parse(line, Standing::Registered(Name { breed: "tux", number: 1 }))
    }

    #[test]
    fn the_page_lists_exactly_the_rows_of_the_table() {
        let (_, section) =
            include_str!("PROTOCOL.md").split_once("\n| usage | ").expect("the page has a table of commands");
        let rows = section.lines().skip(2).take_while(|line| line.starts_with("| "));
        // The last column is prose.
        let page: Vec<&str> = rows.map(|row| row.rsplitn(2, " | ").last().expect("columns")).collect();
        let table = COMMANDS.map(|row| {
            let standing = match row.gate {
                Gate::Any => "any",
                Gate::Guest => "guest",
                Gate::Session => "session",
            };
            let listed = match row.listed {
                Listed::Help => "`help`",
                Listed::All => "`help all`",
                Listed::History => "`help all`, with `--history`",
            };
            format!("| `{}` | {standing} | {listed}", row.usage.replace('|', "\\|"))
        });
        assert_eq!(page, table);
    }

    #[test]
    fn quit_is_exempt_and_say_and_yield_are_speech() {
        for line in ["quit", " QUIT ", "quit at last", "12 quit", "q\0uit"] {
            assert_eq!(Throttle::of(line.as_bytes()), Throttle::Exempt, "{line}");
        }
        for line in ["say tux hi", "say tux quit", " YIELD hi", "12 yield hi"] {
            assert_eq!(Throttle::of(line.as_bytes()), Throttle::Speech, "{line}");
        }
        for line in ["", "who", "quits", "login tux", "say tux", "say", "yield ''", "moo", "12", "12 12 quit"] {
            assert_eq!(Throttle::of(line.as_bytes()), Throttle::Line, "{line}");
        }
    }

    #[test]
    fn text_begins_after_exactly_one_blank() {
        assert_eq!(as_tux("say   sheep   hi "), Ok(Command::Say("sheep", "  hi")));
        assert_eq!(as_tux("yield   hi"), Ok(Command::Yield("  hi")));
    }

    #[test]
    fn one_pair_of_quotes_around_all_of_the_text_is_dropped() {
        assert_eq!(as_tux("yield \"hi there\""), Ok(Command::Yield("hi there")));
        assert_eq!(as_tux("yield 'hi'"), Ok(Command::Yield("hi")));
        assert_eq!(as_tux("yield 'it\"s'"), Ok(Command::Yield("it\"s")));
        for kept in ["it's ok", "'a' b 'c'", "\"a\" \"b\"", "'hi\"", "'", " 'hi'"] {
            assert_eq!(as_tux(&format!("yield {kept}")), Ok(Command::Yield(kept)));
        }
    }

    #[test]
    fn words_that_do_not_fit_the_usage_are_refused() {
        for (usage, lines) in [
            ("art color|half|plain|small|off", &["art Plain", "art plain off"][..]),
            ("show COW [color|half|plain|small|off]", &["show", "show tux Plain", "show tux off off"]),
            ("notify on|off", &["notify on off"]),
            ("history [N]", &["history +1", "history 1.5"]),
            ("say COW TEXT", &["say sheep ", "say sheep ''", "say sheep \u{3000}"]),
        ] {
            for line in lines {
                assert_eq!(as_tux(line), Err(Refusal::Usage(usage)), "{line:?}");
            }
        }
    }
}
