//! `cowchat config`: what is in force and why, whether a file is right, and a file with every default.

use std::ffi::OsStr;
use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};

use super::config_file::{ConfigFile, flags};
use super::flag_text::{variable, without_controls};
use crate::cli::{Cli, REASONS};

/// Columns of a comment in the file of defaults.
const COLUMNS: usize = 96;

/// Why writing to a string never fails.
const INTO_MEMORY: &str = "writing to memory does not fail";

/// Each value in force as a line of a file, with its source as a comment.
pub(super) fn in_force(command: &Command, matches: &ArgMatches, file: &ConfigFile) -> String {
    let lines: Vec<(String, String)> = flags(command).map(|arg| line(arg, matches, file)).collect();
    let width = lines.iter().map(|(setting, _)| setting.len()).max().unwrap_or_default();
    lines.into_iter().map(|(setting, source)| format!("{setting:width$}  # {source}\n")).collect()
}

fn line(arg: &Arg, matches: &ArgMatches, file: &ConfigFile) -> (String, String) {
    let (id, flag) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
    let raw: Vec<&OsStr> = matches.get_raw(id).into_iter().flatten().collect();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => format!("--{flag}"),
        Some(ValueSource::EnvVariable) => variable(arg).unwrap_or_default(),
        _ => file.places().find(|(set, _)| *set == flag).map_or_else(|| "default".to_owned(), |(_, place)| place),
    };
    let source = without_controls(&source);
    let Some(values) = raw.iter().map(|value| value.to_str()).collect::<Option<Vec<&str>>>() else {
        return (format!("# {flag} = {raw:?}"), format!("{source}: not UTF-8, so a file cannot set it"));
    };
    let is_switch = !arg.get_action().takes_values();
    let value = match values.as_slice() {
        _ if is_switch => matches.get_flag(id).to_string(),
        [] => return (format!("# {flag} ="), in_help(arg).unwrap_or_else(|| "none".to_owned())),
        values if matches!(arg.get_action(), ArgAction::Append) => {
            format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
        }
        [value, ..] => toml(value),
    };
    if arg.is_hide_env_values_set() && value.contains('@') {
        return (format!("# {flag} ="), format!("{source}: with a user or a token, and not shown for that"));
    }
    (format!("{flag} = {value}"), source)
}

/// A value as TOML: a whole number is one if it is written as one, and anything else is a text.
fn toml(value: &str) -> String {
    let number = value.parse::<i64>().map(|number| number.to_string());
    number.ok().filter(|number| number == value).unwrap_or_else(|| text(value))
}

/// A text of TOML on one line, whatever it holds.
fn text(value: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", value.chars().map(escaped).collect::<String>())
}

/// The default that only the help tells.
fn in_help(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, rest) = help.split_once("[default: ")?;
    Some(rest.split(']').next().unwrap_or(rest).to_owned())
}

/// A file that sets nothing: every flag with what it means, its default and why, as comments. A line that begins with `#`
/// and a name is TOML without the `#`.
pub fn defaults() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = "# cowchat serve --config FILE. A flag wins over its variable, that over this file.\n\
                    # Take the # from a line to set it.\n"
        .to_owned();
    for arg in flags(&command) {
        let flag = arg.get_long().unwrap_or_default();
        text.push('\n');
        let reason = REASONS.iter().find(|reason| reason.flag == flag).expect("a test sees that each flag has one");
        let default = match arg.get_default_values() {
            _ if !arg.get_action().takes_values() => "false".to_owned(),
            [default] => default.to_string_lossy().into_owned(),
            _ => in_help(arg).unwrap_or_else(|| "none".to_owned()),
        };
        let value = match reason.example {
            Some(example) => example.to_owned(),
            None if arg.get_action().takes_values() => toml(&default),
            None => default.clone(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (what, _) = help.split_once(" [default: ").unwrap_or((&help, ""));
        let example = reason.example.map(|_| "For example:");
        for part in [what, &format!("Default: {default}, since {}.", reason.text)].into_iter().chain(example) {
            for line in wrapped(part) {
                writeln!(text, "# {line}").expect(INTO_MEMORY);
            }
        }
        writeln!(text, "#{flag} = {value}").expect(INTO_MEMORY);
    }
    text
}

/// `text` in lines of at most [`COLUMNS`], broken at blanks.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::config_file::SUBCOMMAND;

    #[test]
    fn a_value_is_read_back_as_it_was() {
        for value in ["7", "-7", "007", "+7", "a\nb", "'\"\\", "\u{1b}\u{7f}\u{9b}\t", "é🐄", "", "9223372036854775808"]
        {
            let line = format!("key = {}", toml(value));
            assert!(!line.contains(char::is_control), "{line:?}");
            let document = toml_edit::Document::parse(line.as_str()).unwrap_or_else(|error| panic!("{line}: {error}"));
            let read = match document.as_table().get("key").and_then(toml_edit::Item::as_value) {
                Some(toml_edit::Value::Integer(number)) => number.value().to_string(),
                Some(toml_edit::Value::String(text)) => text.value().clone(),
                other => panic!("{line}: {other:?}"),
            };
            assert_eq!(read, value);
        }
    }

    #[test]
    fn the_defaults_name_every_flag_and_are_right() {
        let text = defaults();
        let mut command = Cli::command();
        command.build();
        let matches = command.clone().try_get_matches_from(["cowchat", SUBCOMMAND]).expect("no flag is required");
        let (_, serve) = matches.subcommand().expect("serve");
        for (arg, reason) in flags(&command).zip(REASONS) {
            let set = match reason.example {
                Some(example) => format!("{} = {example}", reason.flag),
                None => line(arg, serve, &ConfigFile::default()).0,
            };
            assert!(text.lines().any(|line| line == format!("#{set}")), "{set} is not in: {text}");
        }
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')));
    }
}
