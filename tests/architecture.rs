//! The layout is a rule: what may import what, and which words a room may use, held over the sources.
//!
//! Owns DESIGN.md's "a folder is an import rule". Files are read as tokens, so comments, texts and
//! `#[cfg(test)]` items do not count; each rule is a function from a file to its violations, and is tried on
//! a few lines that break it before it is asked about the project.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use cowchat::cli::Cli;

/// Each room (a folder or file of src/) and the rooms that it may import. Downwards only.
const MAY_IMPORT: [(&str, &[&str]); 23] = [
    ("main", &["allocator", "boot", "cli", "client", "last_words", "log", "panics"]),
    ("lib", &[]),
    (
        "boot",
        &[
            "cli",
            "close_reason",
            "cows",
            "directory",
            "events",
            "ids",
            "last_words",
            "limits",
            "log",
            "metrics",
            "net",
            "panics",
            "policy",
            "protocol",
            "runtime",
            "shard",
        ],
    ),
    ("cli", &["cows", "limits", "policy", "protocol"]),
    (
        "net",
        &[
            "close_reason",
            "cows",
            "directory",
            "events",
            "faults",
            "held",
            "ids",
            "limits",
            "log",
            "metrics",
            "panics",
            "policy",
            "protocol",
            "runtime",
            "shard",
        ],
    ),
    ("shard", &["allocator", "cows", "directory", "faults", "held", "ids", "limits", "metrics", "protocol"]),
    ("events", &["close_reason", "ids"]),
    ("last_words", &["limits"]),
    ("log", &["events", "limits"]),
    ("panics", &["events", "log"]),
    ("metrics", &["close_reason", "ids"]),
    // `explored` is in tests/claims/, which compiles the directory with it.
    ("directory", &["allocator", "cows", "explored", "ids", "limits"]),
    ("close_reason", &["protocol"]),
    ("ids", &["limits"]),
    ("allocator", &["last_words"]),
    ("protocol", &["limits"]),
    ("cows", &["limits"]),
    ("policy", &["close_reason", "ids", "limits"]),
    ("runtime", &["limits"]),
    ("limits", &[]),
    // Pure where it matters: nothing at all in a release build.
    ("faults", &[]),
    ("held", &[]),
    // Knows nothing of the server but where it listens.
    ("client", &[]),
];

/// Rooms of functions and values: no sockets, files, threads, clocks, waiting.
const PURE: [&str; 6] = ["protocol", "cows", "shard", "directory", "close_reason", "ids"];

/// What the pure rooms do without. A part of a path, or all of it.
const IMPURE: [&str; 9] = [
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::io::stdin",
    "Instant",
    "SystemTime",
];

/// Crates that only one room may know.
const OWNED_CRATES: [(&str, &str); 5] =
    [("glommio", "runtime"), ("flume", "net"), ("charasay", "cows"), ("shuttle", "directory"), ("sd_notify", "boot")];

// Reading.

/// A word or a sign of a source file, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
    }
}

/// One file of the project.
struct Source {
    /// From the package's root.
    path: String,
    text: String,
    /// All of it.
    tokens: Vec<Token>,
    /// Without what is compiled for tests only.
    shipped: Vec<Token>,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let tokens = tokens(text);
        let shipped = without_tests(&tokens);
        Source { path: path.to_owned(), text: text.to_owned(), tokens, shipped }
    }

    /// The module's place in the crate: `["net", "connection"]`.
    fn module(&self) -> Vec<&str> {
        let place = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        place.trim_end_matches("/mod").split('/').collect()
    }

    /// The folder or top-level file that it belongs to.
    fn room(&self) -> &str {
        self.module()[0]
    }

    fn is_in_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Splits Rust into words and signs. Comments are dropped; what stands in quotes is one token, `"`.
fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let rest = &characters[at..];
        let (length, token) = match rest {
            ['/', '/', ..] => (rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), None),
            ['/', '*', ..] => (block_comment(rest), None),
            ['"', ..] => (quoted(rest, '"'), Some("\"".to_owned())),
            ['\'', '\\', ..] | ['\'', _, '\'', ..] => (quoted(rest, '\''), Some("\"".to_owned())),
            [first, ..] if first.is_alphanumeric() || *first == '_' => {
                let length = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                let word: String = rest[..length].iter().collect();
                let hashes = rest[length..].iter().take_while(|&&c| c == '#').count();
                match (word.as_str(), rest.get(length + hashes)) {
                    ("r" | "br" | "cr", Some('"')) => {
                        (length + hashes + raw(&rest[length + hashes..], hashes), Some("\"".to_owned()))
                    }
                    _ => (length, Some(word)),
                }
            }
            [':', ':', ..] => (2, Some("::".to_owned())),
            [first, ..] => (1, (!first.is_whitespace()).then(|| first.to_string())),
            [] => unreachable!("the loop ends before"),
        };
        tokens.extend(token.map(|text| Token { text, line }));
        line += rest[..length].iter().filter(|&&c| c == '\n').count();
        at += length;
    }
    tokens
}

/// The length of a text in quotes with escapes.
fn quoted(text: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of a raw text from its first quote to its last hash.
fn raw(text: &[char], hashes: usize) -> usize {
    let is_end = |at: &usize| text[*at] == '"' && text[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (1..text.len()).find(is_end).map_or(text.len(), |at| at + 1 + hashes)
}

fn block_comment(text: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match &text[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Leaves out each item under `#[cfg(test)]`: up to its `;` or the end of its braces.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let mut shipped = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if texts[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            at += 7;
            let mut depth = 0;
            while at < tokens.len() {
                match texts[at] {
                    "{" | "(" | "[" => depth += 1,
                    "}" | ")" | "]" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 && matches!(texts[at - 1], ";" | "}") {
                    break;
                }
            }
        } else {
            shipped.push(tokens[at].clone());
            at += 1;
        }
    }
    shipped
}

/// Every path in the code, with braces multiplied out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tokens: &[Token]) -> Vec<(Vec<&str>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = if tokens[at].is_word() { path(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads the path at `at`, adds it behind `prefix`, and returns where it ends.
fn path<'t>(tokens: &'t [Token], mut at: usize, prefix: &[&'t str], found: &mut Vec<(Vec<&'t str>, usize)>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at).filter(|token| token.is_word() || token.text == "*") {
        path.push(&token.text);
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token.text == "{") {
            at += 1;
            while at < tokens.len() && tokens[at].text != "}" {
                at = match tokens[at].text.as_str() {
                    "as" => at + 2,
                    "," => at + 1,
                    _ => self::path(tokens, at, &path, found).max(at + 1),
                };
            }
            return at + 1;
        }
    }
    found.push((path, line));
    at
}

/// The rooms that a file imports, each with the line.
fn imports(source: &Source) -> Vec<(String, usize)> {
    let module = source.module();
    // main.rs and lib.rs are at the root, everybody else stands in a module of its own.
    let home = if matches!(module[..], ["main" | "lib"]) { &[][..] } else { &module[..] };
    let mut imports = Vec::new();
    for (path, line) in paths(&source.shipped) {
        let supers = path.iter().take_while(|&&part| part == "super").count();
        let target = match path[0] {
            "crate" | "cowchat" => path.get(1).copied(),
            "super" => home[..home.len().saturating_sub(supers)].first().or(path.get(supers)).copied(),
            _ => None,
        };
        // `pub(crate)` and a lone `super` name no room.
        imports.extend(target.filter(|&room| room != source.room()).map(|room| (room.to_owned(), line)));
    }
    imports
}

// The rules. Each gives its violations, a line of text for each.

fn imports_only_what_it_may(source: &Source) -> Vec<String> {
    if !source.is_in_src() {
        return Vec::new();
    }
    let Some((room, may)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room()) else {
        return vec![source.at(1, &format!("{} is a room that the table does not know", source.room()))];
    };
    let forbidden = imports(source).into_iter().filter(|(import, _)| !may.contains(&import.as_str()));
    forbidden.map(|(import, line)| source.at(line, &format!("{room} may not import {import}"))).collect()
}

fn names_only_its_own_crates(source: &Source) -> Vec<String> {
    let foreign = source.shipped.iter().filter_map(|token| {
        let (name, owner) = OWNED_CRATES.iter().find(|(name, _)| token.text == *name)?;
        (source.room() != *owner).then(|| source.at(token.line, &format!("only {owner} may know {name}")))
    });
    if source.is_in_src() { foreign.collect() } else { Vec::new() }
}

fn is_pure_where_it_should_be(source: &Source) -> Vec<String> {
    if !source.is_in_src() || !PURE.contains(&source.room()) {
        return Vec::new();
    }
    let paths = paths(&source.shipped).into_iter().filter_map(|(path, line)| {
        let path = format!("::{}::", path.join("::"));
        let impure = IMPURE.iter().find(|impure| path.contains(&format!("::{impure}::")))?;
        Some(source.at(line, &format!("{} is pure and does without {impure}", source.room())))
    });
    let waits = source.shipped.iter().filter(|token| matches!(token.text.as_str(), "async" | "await"));
    let waits = waits.map(|token| source.at(token.line, &format!("{} is pure and never waits", source.room())));
    paths.chain(waits).collect()
}

/// What the kernel or the language gives only so, and each in one place: descriptors and rings, an allocator, the mask of
/// signals.
fn is_unsafe_only_where_it_has_to_be(source: &Source) -> Vec<String> {
    if !source.is_in_src() || ["runtime", "allocator"].contains(&source.room()) || source.path == "src/boot/signals.rs"
    {
        return Vec::new();
    }
    let found = source.tokens.iter().filter(|token| token.text == "unsafe");
    found.map(|token| source.at(token.line, "unsafe code belongs into runtime, allocator or boot/signals")).collect()
}

fn opens_by_saying_what_it_owns(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//! ") || source.text.starts_with("#![doc = include_str!(");
    if opens { Vec::new() } else { vec![source.at(1, "a file opens with //! and what it owns")] }
}

/// No `unwrap` in what is shipped; nothing unfinished and nothing ignored anywhere.
fn is_finished(source: &Source) -> Vec<String> {
    let find = |tokens: &[Token], words: &[&str], what: &str| {
        let windows = tokens.windows(words.len());
        let found = windows.filter(|window| window.iter().map(|token| token.text.as_str()).eq(words.iter().copied()));
        found.map(|window| source.at(window[0].line, what)).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if source.is_in_src() {
        found.extend(find(
            &source.shipped,
            &[".", "unwrap", "(", ")"],
            "an expect names the invariant, an unwrap does not",
        ));
    }
    found.extend(find(&source.tokens, &["todo", "!"], "unfinished"));
    found.extend(find(&source.tokens, &["unimplemented", "!"], "unfinished"));
    found.extend(find(&source.tokens, &["#", "[", "ignore"], "a test is run or removed"));
    found
}

/// Tests wait for events, and cores never sleep. One exception: a start waits for what another process still
/// holds, before the core runs.
fn does_not_sleep(source: &Source) -> Vec<String> {
    if source.path == "src/runtime/retry.rs" {
        return Vec::new();
    }
    let sleeps = paths(&source.tokens).into_iter().filter(|(path, _)| path.ends_with(&["thread", "sleep"]));
    sleeps.map(|(_, line)| source.at(line, "wait for an event instead of sleeping")).collect()
}

/// Flags that cannot be set by the environment variable of their name.
fn flags_without_variable(command: &clap::Command) -> Vec<String> {
    let own = command
        .get_arguments()
        .filter(|flag| !flag.is_global_set() && !matches!(flag.get_id().as_str(), "help" | "version"));
    let lacking = own.filter_map(|flag| {
        let name = flag.get_long()?;
        let variable = format!("COWCHAT_{}", name.to_uppercase().replace('-', "_"));
        (flag.get_env() != Some(variable.as_ref()))
            .then(|| format!("{} --{name} has no {variable}", command.get_name()))
    });
    lacking.chain(command.get_subcommands().flat_map(flags_without_variable)).collect()
}

/// A way from a room back to itself, if there is one.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(imports: &BTreeMap<String, BTreeSet<String>>, way: &mut Vec<String>) -> bool {
        let here = way.last().expect("a way begins somewhere").clone();
        imports.get(&here).into_iter().flatten().any(|next| {
            let closes = way.contains(next);
            way.push(next.clone());
            closes || walk(imports, way) || way.pop().is_none()
        })
    }
    imports.keys().find_map(|room| {
        let mut way = vec![room.clone()];
        walk(imports, &mut way).then_some(way)
    })
}

// The project.

/// All Rust files of a folder of the package.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_str().expect("a name in UTF-8");
                sources.push(Source::new(name, &fs::read_to_string(&path).expect("a readable file")));
            }
        }
    }
    sources
}

/// Asserts that no file of src and tests breaks `rule`.
fn everything_keeps(rule: impl Fn(&Source) -> Vec<String>) {
    let sources: Vec<Source> = ["src", "tests"].into_iter().flat_map(sources).collect();
    assert!(sources.len() > 30, "the files are found: {}", sources.len());
    let violations: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn every_room_imports_only_what_lies_below_it() {
    everything_keeps(imports_only_what_it_may);
}

#[test]
fn no_import_leads_back_to_where_it_started() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources("src") {
        found.entry(source.room().to_owned()).or_default().extend(imports(&source).into_iter().map(|(room, _)| room));
    }
    assert_eq!(circle(&found), None);
    let allowed =
        MAY_IMPORT.iter().map(|(room, may)| ((*room).to_owned(), may.iter().map(|to| (*to).to_owned()).collect()));
    assert_eq!(circle(&allowed.collect()), None, "nor does the table allow it");
}

#[test]
fn each_outside_crate_with_a_room_of_its_own_is_named_only_there() {
    everything_keeps(names_only_its_own_crates);
}

#[test]
fn the_pure_rooms_know_no_socket_file_thread_or_clock() {
    everything_keeps(is_pure_where_it_should_be);
}

#[test]
fn unsafe_code_is_only_where_it_has_to_be() {
    everything_keeps(is_unsafe_only_where_it_has_to_be);
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    everything_keeps(opens_by_saying_what_it_owns);
}

#[test]
fn nothing_is_unwrapped_unfinished_or_ignored() {
    everything_keeps(is_finished);
}

#[test]
fn nothing_sleeps() {
    everything_keeps(does_not_sleep);
}

/// Tests that the page of promises names and that do not exist: `file::test`, where a file without a folder is
/// one of tests/suite/ or tests/, or all of a folder there.
fn proofs_that_are_none(page: &str) -> Vec<String> {
    let quoted = page.split('`').skip(1).step_by(2).filter_map(|code| Some((code, code.split_once("::")?)));
    let missing = quoted.filter(|(_, (file, test))| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let places = ["", "tests/suite/", "tests/"].map(|folder| format!("{folder}{file}"));
        let one = places.iter().filter_map(|place| fs::read_to_string(root.join(format!("{place}.rs"))).ok());
        let all = places.iter().filter(|place| root.join(place).is_dir()).flat_map(|place| sources(place));
        !one.chain(all.map(|source| source.text)).any(|text| text.contains(&format!("fn {test}(")))
    });
    missing.map(|(code, _)| code.to_owned()).collect()
}

#[test]
fn every_proof_of_a_promise_exists() {
    let page = include_str!("RELIABILITY.md");
    assert_eq!(page.lines().filter(|line| line.starts_with("| I")).count(), 25, "one row for each promise");
    assert_eq!(proofs_that_are_none(page), [""; 0]);
    assert_eq!(proofs_that_are_none("`start::no_such_test` and `attic::x`, `src/limits::y` and `--flag`").len(), 3);
    assert_eq!(proofs_that_are_none("`claims::no_such_test` and `simulation::shards_keep_their_promises`").len(), 2);
}

/// Features add up over all that is built together, so one that replaced the atomics would do so for a server, too.
#[test]
fn no_feature_makes_the_server_another_one() {
    let manifest = include_str!("../Cargo.toml");
    assert!(!manifest.lines().any(|line| line == "[features]" || line.starts_with("shuttle")));
}

#[test]
fn every_flag_can_be_set_by_the_environment() {
    assert_eq!(flags_without_variable(&Cli::command()), [""; 0]);
}

// That the rules can fail.

/// How often `rule` is broken by a file at `path` with this text.
fn broken(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let broken = |path, text| broken(imports_only_what_it_may, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use crate::net::mesh::Mesh;"), 1);
    assert_eq!(broken("src/shard/mod.rs", "use crate::{limits, net::{mesh, pump}, events as log};"), 3);
    assert_eq!(broken("src/shard/mod.rs", "fn f(mesh: &crate::net::mesh::Mesh) {}"), 1);
    assert_eq!(broken("src/shard/mod.rs", "use super::net;"), 1);
    assert_eq!(broken("src/shard/roster.rs", "use super::super::server::run;"), 1);
    assert_eq!(broken("src/directory/mod.rs", "use super::{shard::Frame, cows::CowId};"), 1);
    assert_eq!(broken("src/limits.rs", "use crate::*;"), 1);
    assert_eq!(broken("src/main.rs", "use cowchat::net;"), 1);
    assert_eq!(broken("src/attic.rs", ""), 1, "a room that nobody has thought about");
}

#[test]
fn what_is_allowed_is_no_violation() {
    let broken = |path, text| broken(imports_only_what_it_may, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use crate::cows::{CowId, Herd};\nuse crate::shard::Frame;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "mod roster;\nuse roster::Roster;\npub use frame::Frame;"), 0);
    assert_eq!(broken("src/net/pump.rs", "use super::core::Core;\npub(super) fn run() {}\npub(crate) fn end() {}"), 0);
    assert_eq!(broken("src/cows/art.rs", "use super::bubble;\nuse self::inner::Ink;"), 0);
    assert_eq!(
        broken("src/cows/art.rs", "//! [`crate::net`]\n/* use crate::net; */ const A: &str = \"crate::net\";"),
        0
    );
    assert_eq!(broken("src/cows/art.rs", "#[cfg(test)]\nmod tests {\n    use crate::protocol::text;\n}"), 0);
    assert_eq!(broken("src/cows/art.rs", "#[cfg(test)]\nmod tests {}\nuse crate::protocol::text;"), 1);
    assert_eq!(broken("tests/simulation.rs", "use cowchat::shard::Shard;"), 0);
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).expect("b and c"), ["a", "b", "c", "b"]);
}

#[test]
fn a_crate_outside_its_room_is_seen() {
    let broken = |path, text| broken(names_only_its_own_crates, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use flume::Sender;\nuse glommio::timer;"), 2);
    assert_eq!(broken("src/net/mesh.rs", "use flume::Sender;\nuse glommio::timer;\nuse charasay::Chara;"), 2);
    assert_eq!(broken("src/boot/server.rs", "let name = charasay::BUILTIN_CHARA[0];"), 1);
    assert_eq!(broken("src/limits.rs", "//! Why glommio and flume need this.\nconst WHY: &str = \"glommio\";"), 0);
}

#[test]
fn a_clock_in_a_pure_room_is_seen() {
    let broken = |path, text| broken(is_pure_where_it_should_be, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use std::time::Instant;"), 1);
    assert_eq!(broken("src/cows/art.rs", "use std::{fs, net::TcpStream};"), 2);
    assert_eq!(broken("src/directory/mod.rs", "let id = std::thread::current();"), 1);
    assert_eq!(broken("src/protocol/line.rs", "async fn next() { read().await }"), 2);
    assert_eq!(broken("src/net/core.rs", "use std::time::Instant;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "use std::time::Duration;\nuse std::io::Write;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "#[cfg(test)]\nmod tests { use std::thread; }"), 0);
}

#[test]
fn the_other_rules_can_fail_too() {
    assert_eq!(broken(is_unsafe_only_where_it_has_to_be, "src/cows/art.rs", "//! Of art.\nunsafe { f() }"), 1);
    assert_eq!(broken(is_unsafe_only_where_it_has_to_be, "src/runtime/socket.rs", "unsafe { f() }"), 0);
    assert_eq!(broken(is_unsafe_only_where_it_has_to_be, "src/allocator.rs", "unsafe { f() }"), 0);
    assert_eq!(broken(is_unsafe_only_where_it_has_to_be, "src/cows/art.rs", "//! unsafe\n// unsafe"), 0);

    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "use std::fs;\n//! late"), 1);
    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "//! A thing.\n"), 0);
    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "#![doc = include_str!(\"A.md\")]\n"), 0);

    let unwrap = "fn f() { g().unwrap() }\n#[cfg(test)]\nfn h() { g().unwrap() }";
    assert_eq!(broken(is_finished, "src/a.rs", unwrap), 1);
    assert_eq!(broken(is_finished, "src/a.rs", "g().unwrap_or(0); let text = \".unwrap()\";"), 0);
    assert_eq!(broken(is_finished, "src/a.rs", "fn f() { todo!() }\nfn g() { unimplemented!(\"later\") }"), 2);
    assert_eq!(broken(is_finished, "tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() { todo!() }"), 2);

    assert_eq!(broken(does_not_sleep, "tests/a.rs", "std::thread::sleep(SECOND);"), 1);
    assert_eq!(broken(does_not_sleep, "tests/a.rs", "use std::thread::{self, sleep};"), 1);
    assert_eq!(broken(does_not_sleep, "src/net/core.rs", "thread::sleep(SECOND);"), 1);
    assert_eq!(broken(does_not_sleep, "src/runtime/retry.rs", "std::thread::sleep(PAUSE);"), 0);
}

#[test]
fn a_flag_without_its_variable_is_seen() {
    let flag = |name: &'static str| clap::Arg::new(name).long(name);
    let named = |name: &'static str, variable: &'static str| flag(name).env(variable);
    let serve = clap::Command::new("serve").arg(flag("cores")).arg(named("drain-timeout", "COWCHAT_DRAIN_TIMEOUT"));
    let command = clap::Command::new("cowchat").subcommand(serve.arg(named("log", "LOG")));
    assert_eq!(
        flags_without_variable(&command),
        ["serve --cores has no COWCHAT_CORES", "serve --log has no COWCHAT_LOG"]
    );
}

#[test]
fn quotes_comments_and_lifetimes_are_read_as_rust_reads_them() {
    let texts = |text| tokens(text).into_iter().map(|token| token.text).collect::<Vec<_>>();
    assert_eq!(texts("a \"b // c\" d // e\nf"), ["a", "\"", "d", "f"]);
    assert_eq!(texts("a /* b /* c */ d */ e"), ["a", "e"]);
    assert_eq!(texts(r##"r#"a " b"# c br"d" e"##), ["\"", "c", "\"", "e"]);
    assert_eq!(texts(r#"'"' a '\'' b "\"" c"#), ["\"", "a", "\"", "b", "\"", "c"]);
    assert_eq!(texts("&'a str::<T>"), ["&", "'", "a", "str", "::", "<", "T", ">"]);
}
