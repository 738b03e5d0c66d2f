//! One safe line to one command, or to the reason why it is refused.
//!
//! The table says for each command who may call it, how it is used and how its words are read;
//! [`Command::parse`] asks those questions in that order, once, for all of them.

use super::art::Art;
use super::name::Name;
use super::reply::Refusal;
use super::text::is_blank;
use crate::limits::ID_DIGITS_MAX;

/// A line that asks for something, its words borrowed from the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `help`, or a blank line.
    Help,
    /// `help all`.
    HelpAll,
    /// `who [PREFIX]`; an empty prefix matches everybody.
    Who(&'a str),
    /// `cows`.
    Cows,
    /// `login COW`, where a COW that ends in `#` stands for the lowest free one of its breed.
    Login(&'a str),
    /// `say COW TEXT`.
    Say(&'a str, &'a str),
    /// `yield TEXT`.
    Yield(&'a str),
    /// `quit`.
    Quit,
    /// `art color|plain|small|off`.
    Art(Art),
    /// `notify on|off`.
    Notify(bool),
    /// `history [N]`; without a number as many as there are.
    History(Option<usize>),
}

/// What the one who sent the line is, as far as commands care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Connected, and nobody yet.
    Guest,
    /// Registered as this cow.
    Registered(Name<'a>),
}

/// Who may call a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Anybody,
    Guest,
    Registered,
}

/// A row of the command table.
struct Row {
    word: &'static str,
    caller: Caller,
    usage: &'static str,
    /// The command from what follows its word, or `None` if that is not how it is used.
    read: for<'a> fn(&'a str) -> Option<Command<'a>>,
}

const COMMANDS: [Row; 10] = [
    Row { word: "help", caller: Caller::Anybody, usage: "help", read: read_help },
    Row { word: "who", caller: Caller::Anybody, usage: "who [PREFIX]", read: read_who },
    Row { word: "cows", caller: Caller::Anybody, usage: "cows", read: |_| Some(Command::Cows) },
    Row { word: "login", caller: Caller::Guest, usage: "login COW", read: read_login },
    Row { word: "say", caller: Caller::Registered, usage: "say COW TEXT", read: read_say },
    Row { word: "yield", caller: Caller::Registered, usage: "yield TEXT", read: read_yield },
    Row { word: "quit", caller: Caller::Anybody, usage: "quit", read: |_| Some(Command::Quit) },
    Row { word: "art", caller: Caller::Anybody, usage: "art color|plain|small|off", read: read_art },
    Row { word: "notify", caller: Caller::Registered, usage: "notify on|off", read: read_notify },
    Row { word: "history", caller: Caller::Registered, usage: "history [N]", read: read_history },
];

/// Takes the request id off a sanitized line, if its first word is one: 1 to [`ID_DIGITS_MAX`] digits.
///
/// # Errors
/// When there are more digits than that.
pub fn split_id(line: &str) -> Result<(Option<&str>, &str), Refusal<'_>> {
    let line = line.trim_matches(' ');
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((None, line));
    }
    if word.len() > ID_DIGITS_MAX { Err(Refusal::IdTooLong) } else { Ok((Some(word), rest)) }
}

impl<'a> Command<'a> {
    /// Reads a sanitized `line`, its id taken off, sent by one of the given standing.
    ///
    /// # Errors
    /// The first that applies: an unknown command, who may call it, its usage.
    pub fn parse(line: &'a str, standing: Standing<'a>) -> Result<Self, Refusal<'a>> {
        let line = line.trim_matches(' ');
        if line.is_empty() {
            return Ok(Command::Help);
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let Some(row) = COMMANDS.iter().find(|row| row.word.eq_ignore_ascii_case(word)) else {
            return Err(Refusal::UnknownCommand(word));
        };
        match (row.caller, standing) {
            (Caller::Registered, Standing::Guest) => return Err(Refusal::LoginFirst),
            (Caller::Guest, Standing::Registered(cow)) => return Err(Refusal::AlreadyLoggedIn(cow)),
            _ => {}
        }
        (row.read)(rest).ok_or(Refusal::Usage(row.usage))
    }
}

fn read_help(rest: &str) -> Option<Command<'_>> {
    let all = rest.trim_start_matches(' ').split(' ').next() == Some("all");
    Some(if all { Command::HelpAll } else { Command::Help })
}

fn read_art(rest: &str) -> Option<Command<'_>> {
    Art::from_name(rest.trim_matches(' ')).map(Command::Art)
}

fn read_notify(rest: &str) -> Option<Command<'_>> {
    match rest.trim_matches(' ') {
        "on" => Some(Command::Notify(true)),
        "off" => Some(Command::Notify(false)),
        _ => None,
    }
}

fn read_history(rest: &str) -> Option<Command<'_>> {
    let count = rest.trim_matches(' ');
    if count.is_empty() {
        return Some(Command::History(None));
    }
    // However large: there is a most that anybody gets.
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Command::History(Some(count.parse().unwrap_or(usize::MAX))))
}

fn read_who(rest: &str) -> Option<Command<'_>> {
    let prefix = rest.trim_matches(' ');
    (!prefix.contains(' ')).then_some(Command::Who(prefix))
}

fn read_login(rest: &str) -> Option<Command<'_>> {
    let cow = rest.trim_matches(' ');
    (!cow.is_empty() && !cow.contains(' ')).then_some(Command::Login(cow))
}

fn read_say(rest: &str) -> Option<Command<'_>> {
    let (cow, text) = rest.trim_start_matches(' ').split_once(' ')?;
    Some(Command::Say(cow, read_text(text)?))
}

fn read_yield(rest: &str) -> Option<Command<'_>> {
    Some(Command::Yield(read_text(rest)?))
}

/// TEXT, which began after exactly one blank: out of its pair of quotes, and not blank.
fn read_text(text: &str) -> Option<&str> {
    let text = unquote(text, '"').or_else(|| unquote(text, '\'')).unwrap_or(text);
    (!is_blank(text)).then_some(text)
}

/// What stands between two `quote`s that hold all of `text` and no third one.
fn unquote(text: &str, quote: char) -> Option<&str> {
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inside.contains(quote)).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::super::reply::HELP;
    use super::*;

    const TUX: Name<'static> = Name { breed: "tux", number: 1 };

    fn as_guest(line: &str) -> Result<Command<'_>, Refusal<'_>> {
        Command::parse(line, Standing::Guest)
    }

    fn as_tux(line: &str) -> Result<Command<'_>, Refusal<'_>> {
        Command::parse(line, Standing::Registered(TUX))
    }

    #[test]
    fn each_command_is_read() {
        assert_eq!(as_guest("who"), Ok(Command::Who("")));
        assert_eq!(as_guest("who fer"), Ok(Command::Who("fer")));
        assert_eq!(as_guest("cows"), Ok(Command::Cows));
        assert_eq!(as_guest("login tux"), Ok(Command::Login("tux")));
        assert_eq!(as_tux("say sheep hi there"), Ok(Command::Say("sheep", "hi there")));
        assert_eq!(as_tux("yield hi there"), Ok(Command::Yield("hi there")));
        assert_eq!(as_guest("quit"), Ok(Command::Quit));
        assert_eq!(as_guest("help"), Ok(Command::Help));
        assert_eq!(as_guest("help all"), Ok(Command::HelpAll));
        assert_eq!(as_guest("art plain"), Ok(Command::Art(Art::Plain)));
        assert_eq!(as_tux("notify on"), Ok(Command::Notify(true)));
        assert_eq!(as_tux("notify off"), Ok(Command::Notify(false)));
        assert_eq!(as_tux("history"), Ok(Command::History(None)));
        assert_eq!(as_tux("history 3"), Ok(Command::History(Some(3))));
        assert_eq!(as_tux("history 99999999999999999999999"), Ok(Command::History(Some(usize::MAX))));
    }

    #[test]
    fn what_a_switch_or_a_count_does_not_know_is_a_usage_error() {
        for line in ["art", "art blue", "art Plain", "art plain off"] {
            assert_eq!(as_guest(line), Err(Refusal::Usage("art color|plain|small|off")), "{line}");
        }
        for line in ["notify", "notify maybe", "notify on off"] {
            assert_eq!(as_tux(line), Err(Refusal::Usage("notify on|off")), "{line}");
        }
        for line in ["history -1", "history x", "history 1 2", "history +1", "history 1.5"] {
            assert_eq!(as_tux(line), Err(Refusal::Usage("history [N]")), "{line}");
        }
        assert_eq!(as_guest("notify"), Err(Refusal::LoginFirst));
        assert_eq!(as_guest("history x"), Err(Refusal::LoginFirst));
    }

    #[test]
    fn an_id_is_a_first_word_of_up_to_eighteen_digits() {
        assert_eq!(split_id("12 cows"), Ok((Some("12"), "cows")));
        assert_eq!(split_id("  007  say a b "), Ok((Some("007"), " say a b")));
        assert_eq!(split_id("12"), Ok((Some("12"), "")));
        assert_eq!(split_id("123456789012345678 who"), Ok((Some("123456789012345678"), "who")));
        assert_eq!(split_id("1234567890123456789 who"), Err(Refusal::IdTooLong));
        assert_eq!(split_id(&"1".repeat(100)), Err(Refusal::IdTooLong));
        for none in ["", "  ", "who", "12x who", "-1 who", "١ who", "who 12"] {
            assert_eq!(split_id(none), Ok((None, none.trim())), "{none}");
        }
    }

    #[test]
    fn the_table_and_the_help_line_name_the_same_usages() {
        let listed: Vec<&str> = HELP.strip_prefix("commands: ").expect("how it begins").split(", ").collect();
        let usages: Vec<&str> = COMMANDS[1..7].iter().map(|row| row.usage).collect();
        assert_eq!(listed, usages.iter().map(|usage| usage.trim_end_matches(" [PREFIX]")).collect::<Vec<_>>());
    }

    #[test]
    fn the_command_word_is_taken_in_any_case_and_a_cow_as_written() {
        assert_eq!(as_guest("LoGiN Tux"), Ok(Command::Login("Tux")));
    }

    #[test]
    fn blanks_around_a_line_and_between_words_do_not_count() {
        assert_eq!(as_guest("   "), Ok(Command::Help));
        assert_eq!(as_guest("  login   tux  "), Ok(Command::Login("tux")));
        assert_eq!(as_tux("say   sheep hi "), Ok(Command::Say("sheep", "hi")));
    }

    #[test]
    fn text_begins_after_exactly_one_blank() {
        assert_eq!(as_tux("say sheep   hi"), Ok(Command::Say("sheep", "  hi")));
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
    fn extra_words_are_ignored_by_cows_quit_and_help_only() {
        assert_eq!(as_guest("cows please"), Ok(Command::Cows));
        assert_eq!(as_guest("quit now then"), Ok(Command::Quit));
        assert_eq!(as_guest("help me"), Ok(Command::Help));
        assert_eq!(as_guest("who a b"), Err(Refusal::Usage("who [PREFIX]")));
        assert_eq!(as_guest("login a b"), Err(Refusal::Usage("login COW")));
    }

    #[test]
    fn blank_text_is_a_usage_error() {
        for line in ["say", "say sheep", "say sheep ", "say sheep ''", "say sheep \"  \"", "say sheep \u{3000}"] {
            assert_eq!(as_tux(line), Err(Refusal::Usage("say COW TEXT")), "{line:?}");
        }
        assert_eq!(as_tux("yield"), Err(Refusal::Usage("yield TEXT")));
        assert_eq!(as_tux("yield ''"), Err(Refusal::Usage("yield TEXT")));
    }

    #[test]
    fn who_may_call_is_asked_before_the_usage() {
        assert_eq!(as_guest("say"), Err(Refusal::LoginFirst));
        assert_eq!(as_guest("yield"), Err(Refusal::LoginFirst));
        assert_eq!(as_tux("login"), Err(Refusal::AlreadyLoggedIn(TUX)));
        assert_eq!(as_tux("login tux"), Err(Refusal::AlreadyLoggedIn(TUX)));
    }

    #[test]
    fn anything_else_is_unknown() {
        assert_eq!(as_guest("foo bar"), Err(Refusal::UnknownCommand("foo")));
    }
}
