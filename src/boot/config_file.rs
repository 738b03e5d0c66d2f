//! The file of `--config`: TOML, one value for each flag of `cowchat serve`, under the flag's name without its dashes.
//!
//! A value of the file becomes the default of its flag, so a flag and a variable win over it, and the flag's own parser
//! checks it. An error names the file, the line and the column.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, CommandFactory};
use toml_edit::{Document, Item, Value};

use super::files;
use super::flag_text::{nearest, of_another_build, one_line, without_controls};
use crate::cli::Cli;
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// The subcommand whose flags the file sets.
pub(super) const SUBCOMMAND: &str = "serve";

/// The flag that names the file, which the file itself cannot set.
const OWN_FLAG: &str = "config";

/// What a file sets.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    flag: String,
    /// As the flag would be given; several for a flag that may be given several times.
    values: Vec<String>,
    /// From 1.
    line: usize,
}

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}", without_controls(.0))]
pub struct ConfigFileError(String);

impl ConfigFile {
    /// Reads and checks a file. Blocks as long as a disk does.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let bytes = files::read(path, CONFIG_FILE_BYTES_MAX)
            .map_err(|error| ConfigFileError(format!("the configuration file {} {error}", path.display())))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
            wrong(path, &before, at, "it is not UTF-8: save the file as UTF-8")
        })?;
        let settings = settings(path, &text)?;
        Ok(ConfigFile { path: path.to_owned(), settings })
    }

    /// `command`, with the file's values as defaults.
    pub(super) fn as_defaults(&self, command: Command) -> Command {
        command.mut_subcommand(SUBCOMMAND, |mut serve| {
            for Setting { flag, values, .. } in &self.settings {
                let id = serve.get_arguments().find(|arg| arg.get_long() == Some(flag)).map(|arg| arg.get_id().clone());
                if let Some(id) = id {
                    serve = serve.mut_arg(id, |arg| arg.default_values(values.clone()));
                }
            }
            serve
        })
    }

    /// The flags that it sets, each with where it does so, as `FILE:LINE`.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, String)> {
        let place = |setting: &Setting| format!("{}:{}", self.path.display(), setting.line);
        self.settings.iter().map(move |setting| (setting.flag.as_str(), place(setting)))
    }
}

/// The flags that a file may set: not clap's own.
pub(super) fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let serve = command.find_subcommand(SUBCOMMAND).expect("the program's own subcommand");
    let is_own = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
    serve.get_arguments().filter(is_own).filter(|arg| arg.get_long().is_some_and(|flag| flag != OWN_FLAG))
}

fn settings(path: &Path, text: &str) -> Result<Vec<Setting>, ConfigFileError> {
    // Without the environment: a wrong variable does not make the file wrong.
    let mut command = Cli::command().mut_subcommands(|sub| sub.mut_args(|arg| arg.env(None::<&'static str>)));
    command.build();
    let document = Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let advice = match error.message() {
            "duplicate key" => "remove one of them",
            _ => "write lines of TOML such as herd = 3 or art = \"small\"",
        };
        wrong(path, text, at, &format!("{}: {advice}", error.message().replace('\n', ", ")))
    })?;
    let mut settings = Vec::new();
    for (key, item) in document.as_table().iter() {
        let at = document.as_table().key(key).and_then(toml_edit::Key::span).map_or(0, |span| span.start);
        let Some(arg) = flags(&command).find(|arg| arg.get_long() == Some(key)) else {
            // Its variable may stand here, as in an environment file.
            let like = key.to_lowercase().replacen("cowchat_", "", 1);
            let advice = match (of_another_build(&like), nearest(&like, flags(&command).filter_map(Arg::get_long))) {
                (Some(advice), _) => advice.to_owned(),
                (None, Some(flag)) => format!("did you mean {flag:?}?"),
                (None, None) => "cowchat serve --help has all flags, which are the keys".to_owned(),
            };
            return Err(wrong(path, text, at, &format!("unknown key {key:?}: {advice}")));
        };
        let at_value = item.span().map_or(at, |span| span.start);
        let is_switch = !arg.get_action().takes_values();
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let values = values(item, is_switch, is_list)
            .map_err(|expected| wrong(path, text, at_value, &format!("{key} is {expected}")))?;
        if !is_switch {
            for value in &values {
                let given = ["cowchat".to_owned(), SUBCOMMAND.to_owned(), format!("--{key}={value}")];
                command.clone().try_get_matches_from(given).map_err(|mut error| {
                    error.insert(ContextKind::InvalidArg, ContextValue::String(key.to_owned()));
                    wrong(path, text, at_value, &one_line(error))
                })?;
            }
        }
        settings.push(Setting { flag: key.to_owned(), values, line: place(text, at).0 });
    }
    Ok(settings)
}

/// The values of a key as its flag takes them, or what the key expects.
fn values(item: &Item, is_switch: bool, is_list: bool) -> Result<Vec<String>, &'static str> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        _ => None,
    };
    match item {
        Item::Value(Value::Boolean(on)) if is_switch => Ok(vec![on.value().to_string()]),
        _ if is_switch => Err("true or false"),
        Item::Value(Value::Array(array)) if is_list => {
            array.iter().map(scalar).collect::<Option<_>>().ok_or("a list of texts in quotes")
        }
        Item::Value(value) => Ok(vec![scalar(value).ok_or("a text in quotes, or a whole number")?]),
        _ => Err("a value and no table"),
    }
}

fn wrong(path: &Path, text: &str, at: usize, what: &str) -> ConfigFileError {
    let (line, column) = place(text, at);
    ConfigFileError(format!("{}:{line}:{column}: {what}", path.display()))
}

/// Line and column of a byte, from 1; the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (1 + before.matches('\n').count(), 1 + line.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let settings = settings(Path::new("a.toml"), text).map_err(|error| error.to_string())?;
        Ok(settings.into_iter().map(|setting| (setting.flag, setting.values)).collect())
    }

    #[test]
    fn a_file_sets_flags_by_their_names() {
        let text = "herd = 3\nflood-rate = \"30/m\" # slow\nno-header = true\ncow-dir = [\"/a\", \"/b\"]\n";
        let set = |flag: &str, values: &[&str]| (flag.to_owned(), values.iter().map(|&value| value.into()).collect());
        let expected = [
            set("herd", &["3"]),
            set("flood-rate", &["30/m"]),
            set("no-header", &["true"]),
            set("cow-dir", &["/a", "/b"]),
        ];
        assert_eq!(read(text).expect("a good file"), expected);
        assert_eq!(read("# nothing\n").expect("a good file"), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        for (text, told) in [
            ("\nflod-rate = \"5/s\"\n", "a.toml:2:1: unknown key \"flod-rate\": did you mean \"flood-rate\"?"),
            ("config = \"b.toml\"\n", "a.toml:1:1: unknown key \"config\": "),
            ("help = true\n", "a.toml:1:1: unknown key \"help\": "),
            ("version = true\n", "a.toml:1:1: unknown key \"version\": "),
            ("herd = 0\n", "a.toml:1:8: invalid value '0' for 'herd': "),
            ("art = 'color'\nherd =  \"moo\"", "a.toml:2:9: invalid value 'moo' for 'herd': "),
            ("art = 'blue'\n", "a.toml:1:7: invalid value 'blue' for 'art' [possible values: color, half, "),
            ("motd = ''\n", "a.toml:1:8: a value is required for 'motd' but none was supplied"),
            ("herd = 1.5\n", "a.toml:1:8: herd is a text in quotes, or a whole number"),
            ("no-header = 1\n", "a.toml:1:13: no-header is true or false"),
            ("cow-dir = [1.5]\n", "a.toml:1:11: cow-dir is a list of texts in quotes"),
            ("herd = [1]\n", "a.toml:1:8: herd is a text in quotes, or a whole number"),
            ("[serve]\nherd = 1\n", "a.toml:1:2: unknown key \"serve\": "),
            ("herd = 1\nherd = 2\n", "a.toml:2:1: duplicate key: remove one of them"),
            (
                "COWCHAT_FLOOD_RATE = 1\n",
                "a.toml:1:1: unknown key \"COWCHAT_FLOOD_RATE\": did you mean \"flood-rate\"?",
            ),
            ("listen = 0.0.0.0:1337\n", "a.toml:1:13: invalid float, expected nothing: write lines of TOML such as "),
            ("herd = \n", "a.toml:1:8: "),
            ("\u{feff}herd = 2\r\nwidth = 5\r\n", "a.toml:2:9: invalid value '5' for 'width': "),
            ("herd = {a = 1}\n", "a.toml:1:8: herd is a text in quotes, or a whole number"),
            ("herd.a = 1\n", "a.toml:1:1: herd is a value and no table"),
            ("herd = 1979-05-27\n", "a.toml:1:8: herd is a text in quotes, or a whole number"),
            ("herd = 99999999999999999999\n", "a.toml:1:8: integer number overflowed: "),
            ("\"\\u001b🐄\" = 1\n", "a.toml:1:1: unknown key \"\\u{1b}🐄\": "),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(told) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
