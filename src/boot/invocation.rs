//! How the program was called: its flags ([`crate::cli`]), and which of them an environment variable or a file has set.
//!
//! An empty variable sets nothing. An error names the variable or the line of the file that sets a value, not its flag. A
//! variable that begins with `COWCHAT_` and is no flag's gets a warning.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, CommandFactory, FromArgMatches};

use super::config_file::{ConfigFile, ConfigFileError, SUBCOMMAND};
use super::config_page;
use super::flag_text::{nearest, of_another_build, one_line, variable, without_controls};
use crate::cli::{Cli, ConfigArgs, Mode};
use crate::last_words;

/// How all variables of the program begin.
const VARIABLE_PREFIX: &str = "COWCHAT_";

/// The variable that arms faults in a build for tests (`faults.rs`), which is no flag.
const FAULTS_VARIABLE: &str = "COWCHAT_FAULTS";

/// Flags, and the variables that set some of them.
#[derive(Debug)]
pub struct Invocation {
    /// The flags.
    pub cli: Cli,
    /// Flags that a variable has set, each with its variable.
    set_by_variable: Vec<(String, String)>,
    /// Keys that the file has set, each with its place.
    set_by_file: Vec<(String, String)>,
}

/// Why the program does not run: a wrong flag or variable, or `--help` or `--version`.
#[derive(Debug, thiserror::Error)]
pub enum Usage {
    /// It shows help or the version instead.
    #[error("only help is asked for")]
    Help(clap::Error),
    /// A flag or a variable is wrong: one line that says what to do.
    #[error("{0}")]
    Wrong(String),
    /// The file of `--config` is wrong.
    #[error(transparent)]
    File(#[from] ConfigFileError),
}

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
        Invocation::of(std::env::args_os().collect()).map(|(invocation, _)| invocation)
    }

    /// Of these arguments and the process's environment; and the text of `cowchat config` with the same flags.
    fn of(arguments: Vec<OsString>) -> Result<(Self, String), Usage> {
        let unbuilt = Cli::command().mut_subcommands(|sub| sub.mut_args(unset_if_empty));
        // clap panics over the name of an argument of a subcommand that it has not built.
        let mut command = unbuilt.clone();
        command.build();
        let set_by_variable = set_by_variable(&command, &arguments);
        let parse = |command: &clap::Command| {
            let matches = command.clone().try_get_matches_from(&arguments);
            let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
            parsed.map_err(|error| Usage::of(error, &arguments, &set_by_variable))
        };
        let (mut cli, mut matches) = parse(&command)?;
        let mut file = ConfigFile::default();
        if let Mode::Serve(args) = &cli.mode
            && let Some(path) = &args.config
        {
            file = ConfigFile::read(path)?;
            // A built command would take one flag for another after that.
            let mut with_defaults = file.as_defaults(unbuilt);
            with_defaults.build();
            (cli, matches) = parse(&with_defaults)?;
        }
        if let Mode::Serve(_) = &cli.mode {
            refuse_variables_of_another_build()?;
        }
        let (mut page, mut set_by_file) = (String::new(), Vec::new());
        if let (Mode::Serve(_), Some((_, serve))) = (&cli.mode, matches.subcommand()) {
            page = config_page::in_force(&command, serve, &file);
            let in_force = |key: &str| serve.value_source(&key.replace('-', "_")) == Some(ValueSource::DefaultValue);
            let places = file.places().filter(|(key, _)| in_force(key));
            set_by_file = places.map(|(key, place)| (key.to_owned(), place)).collect();
        }
        Ok((Invocation { cli, set_by_variable, set_by_file }, page))
    }

    /// What `cowchat config` prints.
    ///
    /// # Errors
    /// When the flags, a variable or the file are wrong.
    pub fn config_page(args: &ConfigArgs) -> Result<String, Usage> {
        if args.defaults {
            return Ok(config_page::defaults());
        }
        if let Some(path) = &args.check {
            ConfigFile::read(path)?;
            return Ok(format!("{}: ok\n", without_controls(&path.display().to_string())));
        }
        let texts = args.flags.iter().filter_map(|flag| flag.to_str());
        if texts.map(|flag| flag.split('=').next()).any(|flag| matches!(flag, Some("--check" | "--defaults"))) {
            return Err(Usage::Wrong("--check and --defaults take no flags of serve: give them alone".to_owned()));
        }
        let serve = ["cowchat", SUBCOMMAND].map(OsString::from).into_iter();
        Invocation::of(serve.chain(args.flags.iter().cloned()).collect()).map(|(_, page)| page)
    }

    /// A text about flags, with the variable's name for each flag that a variable has set, and behind the place in the
    /// file if the file has set one of them.
    pub fn by_their_names(&self, text: &str) -> String {
        let set = self.set_by_variable.iter();
        let text = set.fold(text.to_owned(), |text, (flag, variable)| replace_word(&text, flag, variable));
        let named = |text: &str, key: &str| replace_word(text, &format!("--{key}"), key);
        let place = self.set_by_file.iter().find(|(key, _)| named(&text, key) != text).map(|(_, place)| place);
        let told = self.set_by_file.iter().fold(text.clone(), |text, (key, _)| named(&text, key));
        place.map_or(told.clone(), |place| format!("{place}: {told}"))
    }

    /// Variables that look like the program's own and set nothing.
    pub fn unknown_variables(&self) -> Vec<UnknownVariable> {
        let command = Cli::command();
        let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
        let known: Vec<String> = args.filter_map(variable).chain([FAULTS_VARIABLE.to_owned()]).collect();
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let unknown = names.filter(|name| name.starts_with(VARIABLE_PREFIX) && !known.contains(name));
        let nearest = |name: &str| {
            let known = known.iter().map(|known| &known[VARIABLE_PREFIX.len()..]);
            nearest(&name[VARIABLE_PREFIX.len()..], known).map(|near| format!("{VARIABLE_PREFIX}{near}"))
        };
        unknown.map(|name| UnknownVariable { nearest: nearest(&name), name }).collect()
    }
}

impl Usage {
    fn of(error: clap::Error, arguments: &[OsString], set_by_variable: &[(String, String)]) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Usage::Help(error),
            ErrorKind::InvalidUtf8 => {
                let is_odd = |text: &OsString| text.to_str().is_none();
                let arguments =
                    arguments.iter().filter(|argument| is_odd(argument)).map(|argument| format!("{argument:?}"));
                let variables = set_by_variable.iter().map(|(_, variable)| variable.clone());
                let variables = variables.filter(|variable| std::env::var_os(variable).as_ref().is_some_and(is_odd));
                let odd: Vec<String> = arguments.chain(variables).collect();
                Usage::Wrong(format!("only a path may be other than UTF-8: change {}", odd.join(" or ")))
            }
            _ => Usage::Wrong(one_line(named_by_variable(error, set_by_variable))),
        }
    }

    /// Prints it: help and version on stdout, which is waited for; errors on stderr, which is waited for a second only.
    pub fn show(self) -> ExitCode {
        // A closed stderr takes nothing.
        match self {
            Usage::Help(help) if !help.use_stderr() => {
                _ = help.print();
                return ExitCode::SUCCESS;
            }
            Usage::Help(help) => last_words::say(move || _ = help.print()),
            error => last_words::say(move || _ = writeln!(io::stderr(), "cowchat: {error}")),
        }
        ExitCode::from(2)
    }
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

/// `COWCHAT_HERD=` in an environment file sets nothing.
fn unset_if_empty(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None::<&'static str>) } else { arg }
}

/// Not only a warning, as other unknown variables get: the server would run apart from those that it should share with.
fn refuse_variables_of_another_build() -> Result<(), Usage> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    for name in set.filter_map(|(name, _)| name.into_string().ok()) {
        let flag = name.strip_prefix(VARIABLE_PREFIX).map(|name| name.to_lowercase().replace('_', "-"));
        if let Some(advice) = flag.and_then(|flag| of_another_build(&flag)) {
            return Err(Usage::Wrong(without_controls(&format!("unknown variable {name}: {advice}"))));
        }
    }
    Ok(())
}

/// Each flag that its variable sets, with that variable: the flag itself is not given.
fn set_by_variable(command: &clap::Command, arguments: &[OsString]) -> Vec<(String, String)> {
    let is_given = |flag: &str| {
        let mut rests = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix(flag));
        rests.any(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let args = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let flags = args.filter_map(|arg| Some((format!("--{}", arg.get_long()?), variable(arg)?)));
    flags.filter(|(flag, variable)| std::env::var_os(variable).is_some() && !is_given(flag)).collect()
}

/// `error`, with the variable instead of the flag that it sets.
fn named_by_variable(mut error: clap::Error, set: &[(String, String)]) -> clap::Error {
    if let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg)
        && let Some((_, variable)) = set.iter().find(|(flag, _)| about.split(' ').next() == Some(flag.as_str()))
    {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable.clone()));
    }
    error
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
