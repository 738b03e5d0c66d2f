//! How the program was called: its flags ([`crate::cli`]), and which of them an environment variable has set.
//!
//! An empty variable sets nothing. An error in a variable names the variable, not its flag. A variable that begins with
//! `COWCHAT_` and is no flag's gets a warning.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::last_words;

/// How all variables of the program begin.
const VARIABLE_PREFIX: &str = "COWCHAT_";

/// The variable that arms faults in a build for tests (`faults.rs`), which is no flag.
const FAULTS_VARIABLE: &str = "COWCHAT_FAULTS";

/// From this likeness on, of 1, an unknown variable counts as a misspelt one.
const ALIKE: f64 = 0.8;

/// How the program was called: flags, and the variables that set some of them.
#[derive(Debug)]
pub struct Invocation {
    /// The flags.
    pub cli: Cli,
    /// Flags that a variable has set, each with its variable.
    set_by_variable: Vec<(String, String)>,
}

/// Why the program does not run: a wrong flag or variable, or `--help` or `--version`.
#[derive(Debug)]
pub struct Usage(clap::Error);

/// A variable that begins like one of the program and is none.
#[derive(Debug, Clone)]
pub struct UnknownVariable {
    pub(super) name: String,
    /// The variable that it looks like, if there is one.
    pub(super) nearest: Option<String>,
}

impl Invocation {
    /// Reads the process's arguments and environment.
    ///
    /// # Errors
    /// What clap says instead.
    pub fn read() -> Result<Self, Usage> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let mut command = Cli::command().mut_subcommands(|sub| sub.mut_args(unset_if_empty));
        // clap panics over the name of an argument of a subcommand that it has not built.
        command.build();
        let matches = command.try_get_matches_from_mut(&arguments);
        let named = |error| Usage(named_by_variable(error, &command, &arguments));
        let matches = matches.map_err(named)?;
        let cli = Cli::from_arg_matches(&matches).map_err(named)?;
        Ok(Invocation { cli, set_by_variable: set_by_variable(&command, &matches) })
    }

    /// A text about flags, with the variable's name for each flag that a variable has set.
    pub fn by_their_names(&self, text: &str) -> String {
        let set = self.set_by_variable.iter();
        set.fold(text.to_owned(), |text, (flag, variable)| replace_word(&text, flag, variable))
    }

    /// Variables that look like the program's own and set nothing.
    pub fn unknown_variables(&self) -> Vec<UnknownVariable> {
        let command = Cli::command();
        let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
        let known: Vec<String> = args.filter_map(variable).chain([FAULTS_VARIABLE.to_owned()]).collect();
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let unknown = names.filter(|name| name.starts_with(VARIABLE_PREFIX) && !known.contains(name));
        let nearest = |name: &str| {
            let of_name = &name[VARIABLE_PREFIX.len()..];
            let likeness =
                known.iter().map(|known| (strsim::jaro_winkler(of_name, &known[VARIABLE_PREFIX.len()..]), known));
            let best = likeness.max_by(|(one, _), (other, _)| one.total_cmp(other));
            best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known.clone())
        };
        unknown.map(|name| UnknownVariable { nearest: nearest(&name), name }).collect()
    }
}

impl Usage {
    /// Prints it: help and version on stdout, which is waited for; errors on stderr, which is waited for a second only.
    /// Control characters of a wrong argument do not reach the terminal.
    pub fn show(self) -> ExitCode {
        let code = ExitCode::from(u8::try_from(self.0.exit_code()).unwrap_or(2));
        if self.0.use_stderr() {
            last_words::say(move || self.print());
        } else {
            self.print();
        }
        code
    }

    fn print(&self) {
        let text = self.0.render().to_string();
        // A closed stderr takes nothing.
        let _ = if text.contains(|c: char| c.is_control() && c != '\n') {
            text.lines().try_for_each(|line| writeln!(io::stderr(), "{}", without_controls(line)))
        } else {
            // To a terminal in colour.
            self.0.print()
        };
    }
}

/// `text` with its control characters as escapes that a terminal shows.
pub fn without_controls(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// `text` with `word` replaced where it is a word of its own, with punctuation around it at most.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let is_punctuation = |c: char| !c.is_alphanumeric() && !"-_/.".contains(c);
    let replace = |each: &str| match each.trim_matches(is_punctuation) == word {
        true => each.replace(word, by),
        false => each.to_owned(),
    };
    text.split(' ').map(replace).collect::<Vec<_>>().join(" ")
}

/// The variable that sets a flag.
fn variable(arg: &Arg) -> Option<String> {
    arg.get_env().and_then(OsStr::to_str).map(str::to_owned)
}

/// `COWCHAT_HERD=` in an environment file sets nothing.
fn unset_if_empty(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None::<&'static str>) } else { arg }
}

/// `error`, with the variable instead of the flag if the flag was not given.
fn named_by_variable(mut error: clap::Error, command: &clap::Command, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg) else { return error };
    let mut args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let Some(arg) = args.find(|arg| arg.to_string() == *about) else { return error };
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let is_given = |argument: &OsString| {
        argument
            .to_str()
            .and_then(|argument| argument.strip_prefix(&flag))
            .is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'=')))
    };
    let is_set = arg.get_env().is_some_and(|variable| std::env::var_os(variable).is_some());
    if let Some(variable) = variable(arg).filter(|_| is_set && !arguments.iter().any(is_given)) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    error
}

/// Each flag that its variable has set, with that variable.
fn set_by_variable(command: &clap::Command, matches: &ArgMatches) -> Vec<(String, String)> {
    let Some((name, matches)) = matches.subcommand() else { return Vec::new() };
    let args = command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let set = args.filter(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::EnvVariable));
    set.filter_map(|arg| Some((format!("--{}", arg.get_long()?), variable(arg)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flag_that_is_a_word_gets_its_variables_name() {
        let text = |text: &str| replace_word(text, "--log", "COWCHAT_LOG");
        assert_eq!(
            text("--log is wrong (--log, or --login-timeout)"),
            "COWCHAT_LOG is wrong (COWCHAT_LOG, or --login-timeout)"
        );
        assert_eq!(text("the file /x--log, --log/x and moo--log"), "the file /x--log, --log/x and moo--log");
    }
}
