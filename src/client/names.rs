//! What Tab completes: commands, and the names that the server has told lately.

use std::time::Duration;

use super::input::{ALIASES, ANSWER};
use crate::protocol::art::Art;
use crate::protocol::command::words;
use crate::protocol::name::{Name, Prefix};

/// How old a list of names may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Names of one run (`tux#2-5000`) to offer.
const RUN_NAMES_MAX: usize = 20;

/// Names to offer.
const NAMES_MAX: usize = 10_000;

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
    /// The prefix that was asked for.
    prefix: String,
    /// No name with that prefix is missing.
    is_complete: bool,
    told: Option<Duration>,
}

impl List {
    /// Whether it has the names that begin with `prefix` and is at most [`AGE_MAX`] old.
    fn has(&self, prefix: &str, now: Duration) -> bool {
        let has_all = prefix.starts_with(&self.prefix) && self.is_complete || prefix == self.prefix;
        has_all && self.told.is_some_and(|told| now.saturating_sub(told) < AGE_MAX)
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
        "show" => Source::Arts,
        "notify" if is_first_argument => Source::OnOff,
        "help" if is_first_argument => Source::HelpAll,
        _ => Source::Registered,
    };
    (start, source)
}

impl Names {
    /// The lines to send, so that the names from `source` with this prefix are known.
    pub(super) fn stale(&self, source: Source, prefix: &str, now: Duration) -> Vec<String> {
        let (free, registered) = match source {
            Source::Free => (true, false),
            Source::All => (true, true),
            // A command needs no names.
            Source::FirstWord => (false, !words().any(|word| word.starts_with(prefix))),
            Source::Registered => (false, true),
            _ => (false, false),
        };
        let free = (free && !self.free.has(prefix, now)).then(|| "cows".to_owned());
        let who = || format!("who {prefix}").trim_end().to_owned();
        free.into_iter().chain((registered && !self.registered.has(prefix, now)).then(who)).collect()
    }

    /// The reply to `cows`.
    pub(super) fn set_free(&mut self, items: &[&str], now: Duration) {
        let names = items.iter().take(NAMES_MAX).map(|item| (*item).to_owned()).collect();
        self.free = List { names, prefix: String::new(), is_complete: true, told: Some(now) };
    }

    /// The reply to `who PREFIX`, and whether it has all names.
    pub(super) fn set_registered(&mut self, names: &[&str], prefix: String, is_complete: bool, now: Duration) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.registered = List { names, prefix, is_complete, told: Some(now) };
    }

    /// The server does not tell names now: those that are known must do, for as long as others would.
    pub(super) fn keep(&mut self, now: Duration) {
        for list in [&mut self.free, &mut self.registered] {
            (list.told, list.prefix, list.is_complete) = (Some(now), String::new(), true);
        }
    }

    /// The names from `source` that begin with `prefix`, sorted.
    pub(super) fn matching(&self, source: Source, prefix: &str) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut names: Vec<String> = match source {
            Source::FirstWord => words().map(str::to_owned).chain(self.registered.names.iter().cloned()).collect(),
            Source::Slash => {
                let words = words().chain(ALIASES.iter().map(|(alias, _)| *alias)).chain([ANSWER]);
                words.map(|word| format!("/{word}")).collect()
            }
            Source::Free => self.free(prefix),
            Source::Registered => self.registered.names.clone(),
            Source::All => self.free(prefix).into_iter().chain(self.registered.names.iter().cloned()).collect(),
            Source::Arts => owned(&Art::ALL.map(Art::name)).into_iter().chain(["auto".to_owned()]).collect(),
            Source::OnOff => owned(&["on", "off"]),
            Source::HelpAll => owned(&["all"]),
        };
        names.retain(|name| name.starts_with(prefix));
        names.sort_by(|one, other| order(one).cmp(&order(other)));
        names.dedup();
        names
    }

    /// The free cows whose names begin with `prefix`, some of each run.
    fn free(&self, prefix: &str) -> Vec<String> {
        self.free.names.iter().flat_map(|item| matching(item, prefix)).collect()
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

/// The names that an item of the reply to `cows` stands for and that begin with `prefix`, or some of many.
fn matching(item: &str, prefix: &str) -> Vec<String> {
    let Some((breed, first, last)) = run(item) else {
        return vec![item.strip_suffix("...").unwrap_or(item).to_owned()];
    };
    let numbers = Prefix::new(prefix).numbers_of(breed, last).flatten().filter(|number| *number >= first);
    let mut names: Vec<String> =
        numbers.take(RUN_NAMES_MAX + 1).map(|number| Name { breed, number }.to_string()).collect();
    if names.len() > RUN_NAMES_MAX {
        // Those that are left out may agree on less than these.
        names.truncate(RUN_NAMES_MAX);
        names.push(format!("{breed}#"));
    }
    names
}

/// Names are listed by breed and number, and other words by their letters.
fn order(name: &str) -> (&str, u32) {
    Name::parse(name).map_or((name, 0), |Name { breed, number }| (breed, number))
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
            ("show tux ", (9, Source::Arts)),
            ("login tux again", (10, Source::Registered)),
        ] {
            assert_eq!(wanted(line), wants, "{line}");
        }
    }

    #[test]
    fn lists_are_asked_for_when_they_are_a_second_old() {
        let mut names = Names::default();
        let second = Duration::from_secs(1);
        assert_eq!(names.stale(Source::All, "", second), ["cows", "who"]);
        names.set_free(&["aya", "tux#2-4", "tux#..."], second);
        assert_eq!(names.stale(Source::Free, "t", second + second / 2), [""; 0]);
        assert_eq!(names.stale(Source::Free, "t", second + second), ["cows"]);
        assert_eq!(names.stale(Source::Arts, "", second), [""; 0]);
        assert_eq!(names.matching(Source::Free, "tux"), ["tux#2", "tux#3", "tux#4", "tux#"]);
        names.set_registered(&["ferris", "aya"], String::new(), true, second);
        assert_eq!(names.matching(Source::All, "a"), ["aya"], "each name once");
        assert_eq!(names.matching(Source::Slash, "/n"), ["/name", "/notify"]);
    }

    #[test]
    fn of_many_names_those_with_the_prefix_are_asked_for() {
        let (mut names, now) = (Names::default(), Duration::ZERO);
        assert_eq!(names.stale(Source::Registered, "tu", now), ["who tu"]);
        names.set_registered(&["tux"], "tu".to_owned(), true, now);
        assert_eq!(names.stale(Source::Registered, "tux", now), [""; 0], "it has all that begin with tu");
        assert_eq!(names.stale(Source::Registered, "f", now), ["who f"]);
        names.set_registered(&["tux"], "t".to_owned(), false, now);
        assert_eq!(names.stale(Source::Registered, "t", now), [""; 0]);
        assert_eq!(names.stale(Source::Registered, "tu", now), ["who tu"], "it has some of them");
        assert_eq!(names.stale(Source::FirstWord, "l", now), [""; 0], "login is a command");
        assert_eq!(names.stale(Source::FirstWord, "x", now), ["who x"]);
    }

    #[test]
    fn runs_of_free_names_count_as_their_cows() {
        assert_eq!(["aya", "tux#4", "tux#2-20", "tux#..."].map(count), [Some(1), Some(1), Some(19), None]);
        assert_eq!(matching("tux#2-5000", "t").len(), RUN_NAMES_MAX + 1);
        assert!(matching("tux#100-5000", "tux#").contains(&"tux#".to_owned()), "not all of them begin with tux#1");
        assert_eq!(
            matching("tux#2-5000", "tux#499"),
            [
                "tux#499", "tux#4990", "tux#4991", "tux#4992", "tux#4993", "tux#4994", "tux#4995", "tux#4996",
                "tux#4997", "tux#4998", "tux#4999"
            ]
        );
    }
}
