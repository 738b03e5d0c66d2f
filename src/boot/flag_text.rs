//! Texts about flags: errors of clap in one line, misspelt names, control characters.

use std::ffi::OsStr;

use clap::Arg;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// From this likeness on, of 1, an unknown variable counts as a misspelt one.
const ALIKE: f64 = 0.8;

/// An error with what to do about it, without clap's page around it.
pub(super) fn one_line(mut error: clap::Error) -> String {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(advice) = of_another_build(flag.trim_start_matches('-'))
    {
        return without_controls(&format!("unknown flag {flag}: {advice}"));
    }
    // That an unknown flag may be passed as a value does not help.
    error.remove(ContextKind::Suggested);
    // A line end in an argument must not look like one of clap's.
    let texts = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(text) => Some((kind, ContextValue::String(without_login(&without_controls(text))))),
        _ => None,
    });
    for (kind, text) in texts.collect::<Vec<_>>() {
        error.insert(kind, text);
    }
    let usage = error.remove(ContextKind::Usage).map(|usage| usage.to_string()).unwrap_or_default();
    let page = error.render().to_string();
    let lines =
        page.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let text = lines.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ");
    let text = without_controls(text.strip_prefix("error: ").unwrap_or(&text));
    if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return text;
    }
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let program: Vec<&str> = words.take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    let program = if program.is_empty() { "cowchat".to_owned() } else { program.join(" ") };
    format!("{text}; see {} --help", without_controls(&program))
}

/// `text` without what follows the scheme of a URL, which may have a password; of a part of a URL nothing.
fn without_login(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://..."),
        None if text.contains('@') => "...".to_owned(),
        None => text.to_owned(),
    }
}

/// What to do about a flag, without its dashes, that only a build with the feature `cluster` has, if this is none.
pub(super) fn of_another_build(flag: &str) -> Option<&'static str> {
    let is_of_a_cluster = flag == "node" || flag == "cluster" || flag.starts_with("cluster-");
    (is_of_a_cluster && cfg!(not(feature = "cluster")))
        .then_some("this build has no cluster, build it with cargo build --release --features cluster")
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
