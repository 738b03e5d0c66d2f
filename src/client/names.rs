//! What Tab completes: commands, and the names that the server has told lately.

use std::time::Duration;

use super::input::ALIASES;
use crate::protocol::art::Art;
use crate::protocol::command::words;

/// How old a list of names may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Names of one run (`tux#2-5000`) to offer.
const RUN_NAMES_MAX: u32 = 20;

/// Where the names of a completion come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Commands, and registered names.
    FirstWord,
    /// Commands after `/`.
    Slash,
    Free,
    Registered,
    All,
    Arts,
    OnOff,
    HelpAll,
}

/// What the server has told of names, and when.
#[derive(Debug, Default)]
pub(super) struct Names {
    free: List,
    registered: List,
}

#[derive(Debug, Default)]
struct List {
    names: Vec<String>,
    told: Option<Duration>,
}

impl List {
    fn is_fresh(&self, now: Duration) -> bool {
        self.told.is_some_and(|told| now.saturating_sub(told) < AGE_MAX)
    }
}

/// What the word that ends at the cursor may become: where it begins, and from which names.
pub(super) fn wanted(before_cursor: &str) -> (usize, Source) {
    let start = before_cursor.rfind(' ').map_or(0, |blank| blank + 1);
    let Some((command, rest)) = before_cursor.split_once(' ') else {
        return (start, if before_cursor.starts_with('/') { Source::Slash } else { Source::FirstWord });
    };
    let is_first_argument = !rest.trim_start().contains(' ');
    let command = command.trim_start_matches('/').to_ascii_lowercase();
    let source = match command.as_str() {
        "login" | "name" if is_first_argument => Source::Free,
        "show" if is_first_argument => Source::All,
        "art" if is_first_argument => Source::Arts,
        "notify" if is_first_argument => Source::OnOff,
        "help" if is_first_argument => Source::HelpAll,
        _ => Source::Registered,
    };
    (start, source)
}

impl Names {
    /// The lines to send, so that names from `source` are fresh.
    pub(super) fn stale(&self, source: Source, now: Duration) -> Vec<&'static str> {
        let (free, registered) = match source {
            Source::Free => (true, false),
            Source::All => (true, true),
            Source::FirstWord | Source::Registered => (false, true),
            _ => (false, false),
        };
        let lists = [(free, &self.free, "cows"), (registered, &self.registered, "who")];
        lists.into_iter().filter(|(wanted, list, _)| *wanted && !list.is_fresh(now)).map(|(_, _, line)| line).collect()
    }

    /// The reply to `cows`.
    pub(super) fn tell_free(&mut self, names: &[&str], now: Duration) {
        self.free = List { names: names.iter().flat_map(|name| expanded(name)).collect(), told: Some(now) };
    }

    /// The reply to `who`.
    pub(super) fn tell_registered(&mut self, names: &[&str], now: Duration) {
        self.registered = List { names: names.iter().map(|name| (*name).to_owned()).collect(), told: Some(now) };
    }

    /// The names that are known count as told now: the server does not tell them.
    pub(super) fn keep(&mut self, now: Duration) {
        (self.free.told, self.registered.told) = (Some(now), Some(now));
    }

    /// The names from `source` that begin with `prefix`, sorted.
    pub(super) fn matching(&self, source: Source, prefix: &str) -> Vec<String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut names: Vec<String> = match source {
            Source::FirstWord => words().map(str::to_owned).chain(self.registered.names.iter().cloned()).collect(),
            Source::Slash => {
                let words = words().chain(ALIASES.iter().map(|(alias, _)| *alias)).chain(["r"]);
                words.map(|word| format!("/{word}")).collect()
            }
            Source::Free => self.free.names.clone(),
            Source::Registered => self.registered.names.clone(),
            Source::All => self.free.names.iter().chain(&self.registered.names).cloned().collect(),
            Source::Arts => own(&Art::ALL.map(Art::name)).into_iter().chain(["auto".to_owned()]).collect(),
            Source::OnOff => own(&["on", "off"]),
            Source::HelpAll => own(&["all"]),
        };
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        names.dedup();
        names
    }
}

/// How many cows an item of the reply to `cows` stands for; `None` if it does not say.
pub(super) fn count(item: &str) -> Option<usize> {
    match run(item) {
        Some((_, first, last)) => Some(last.abs_diff(first) as usize + 1),
        None if item.ends_with("#...") => None,
        None => Some(1),
    }
}

/// The names that an item of the reply to `cows` stands for, or some of many.
fn expanded(item: &str) -> Vec<String> {
    if let Some((breed, first, last)) = run(item) {
        let last = last.min(first.saturating_add(RUN_NAMES_MAX - 1));
        return (first..=last).map(|number| format!("{breed}#{number}")).collect();
    }
    vec![item.strip_suffix("...").unwrap_or(item).to_owned()]
}

/// `tux#2-20` as its breed and both numbers.
fn run(item: &str) -> Option<(&str, u32, u32)> {
    let (breed, numbers) = item.rsplit_once('#')?;
    let (first, last) = numbers.split_once('-')?;
    Some((breed, first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_before_the_cursor_say_what_is_completed() {
        for (line, wants) in [
            ("lo", (0, Source::FirstWord)),
            ("/lo", (0, Source::Slash)),
            ("login fe", (6, Source::Free)),
            ("/NAME fe", (6, Source::Free)),
            ("say ", (4, Source::Registered)),
            ("say tux hello fer", (14, Source::Registered)),
            ("hello fer", (6, Source::Registered)),
            ("show x", (5, Source::All)),
            ("art ", (4, Source::Arts)),
            ("login tux again", (10, Source::Registered)),
        ] {
            assert_eq!(wanted(line), wants, "{line}");
        }
    }

    #[test]
    fn lists_are_asked_for_when_they_are_a_second_old() {
        let mut names = Names::default();
        let second = Duration::from_secs(1);
        assert_eq!(names.stale(Source::All, second), ["cows", "who"]);
        names.tell_free(&["aya", "tux#2-4", "tux#..."], second);
        assert_eq!(names.stale(Source::Free, second + second / 2), [""; 0]);
        assert_eq!(names.stale(Source::Free, second + second), ["cows"]);
        assert_eq!(names.stale(Source::Arts, second), [""; 0]);
        assert_eq!(names.matching(Source::Free, "tux"), ["tux#", "tux#2", "tux#3", "tux#4"]);
        names.tell_registered(&["ferris", "aya"], second);
        assert_eq!(names.matching(Source::All, "a"), ["aya"], "each name once");
        assert_eq!(names.matching(Source::Slash, "/n"), ["/name", "/notify"]);
    }

    #[test]
    fn runs_of_free_names_count_as_their_cows() {
        assert_eq!(["aya", "tux#4", "tux#2-20", "tux#..."].map(count), [Some(1), Some(1), Some(19), None]);
        assert_eq!(expanded("tux#2-5000").len(), RUN_NAMES_MAX as usize);
    }
}
