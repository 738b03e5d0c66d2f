//! Texts about flags: errors of clap in one line, misspelt names, control characters.

use std::ffi::OsStr;

use clap::Arg;

/// From this likeness on, of 1, an unknown variable counts as a misspelt one.
const ALIKE: f64 = 0.8;

/// An error without the advice after it.
pub(super) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    without_controls(first.strip_prefix("error: ").unwrap_or(first))
}

/// The one of `known` that `name` looks like, if there is one.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = likeness.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known)
}

/// `text` with its control characters as escapes that a terminal shows.
pub fn without_controls(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// The variable that sets a flag.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    arg.get_env().and_then(OsStr::to_str).map(str::to_owned)
}
