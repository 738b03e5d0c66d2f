//! The layout is a rule: which file may import which, and what a pure folder may name, held over the sources.
//!
//! A room is a folder or a top-level file of src/. Files are read as tokens, by the lexer of proc-macro2, so comments and
//! texts do not count, nor does what stands under `#[cfg(test)]`. Each rule is a function from a file to its violations,
//! and is tried on a few lines that break it. What a lint can hold, a lint holds: Cargo.toml, clippy.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use cowchat::cli::Cli;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::UseTree;

/// Each room of src/, and the rooms that it may import besides [`ANY_MAY_IMPORT`]. Downwards only.
#[rustfmt::skip]
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["allocator", "boot", "cli", "client", "last_words", "log", "ops", "panics"]),
    ("lib", &[]),
    ("boot", &["bridge", "cli", "cluster", "close_reason", "cows", "directory", "events", "ids", "last_words", "log", "metrics", "net",
               "ops", "panics", "policy", "protocol", "runtime", "shard"]),
    ("bridge", &["cluster", "cows", "directory", "events", "ids", "log", "net", "panics", "shard"]),
    ("cluster", &["cows", "directory", "events", "ids", "protocol", "shard"]),
    ("ops", &["cli", "close_reason", "cluster", "events", "ids", "log", "metrics", "net", "protocol"]),
    ("cli", &["cluster", "cows", "events", "log", "policy", "protocol"]),
    ("net", &["close_reason", "cows", "directory", "events", "ids", "log", "metrics", "panics", "policy", "protocol",
              "runtime", "shard"]),
    ("shard", &["allocator", "cows", "directory", "ids", "metrics", "protocol"]),
    ("events", &["close_reason", "ids"]),
    ("last_words", &[]),
    ("log", &["events"]),
    ("panics", &["events", "log"]),
    ("metrics", &["close_reason", "ids", "protocol"]),
    // `explored` is in tests/claims/, which compiles the directory with it.
    ("directory", &["allocator", "cows", "explored", "ids"]),
    ("close_reason", &["protocol"]),
    ("ids", &[]),
    ("allocator", &["last_words"]),
    ("protocol", &[]),
    ("cows", &[]),
    ("policy", &["close_reason", "ids"]),
    ("runtime", &[]),
    ("limits", &[]),
    ("faults", &[]),
    ("held_bytes", &[]),
    // Knows nothing of the server but its protocol.
    ("client", &["cows", "protocol"]),
];

/// These import nothing but each other.
const ANY_MAY_IMPORT: &[&str] = &["limits", "faults", "held_bytes"];

/// Rooms of functions and values: no sockets, files, threads, clocks, waiting.
const PURE: &[&str] = &["protocol", "cows", "cluster", "shard", "directory", "policy", "close_reason", "ids"];

/// What the pure rooms do without: a run of parts in a path.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["std", "os"],
    &["stdin"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["Instant"],
    &["ToSocketAddrs"],
    &["SystemTime"],
    &["async"],
    &["await"],
    &["rustix"],
    &["libc"],
    &["socket2"],
    &["io_uring"],
    &["glommio"],
    &["flume"],
];

/// Crates that only some rooms may know.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("glommio", &["runtime"]),
    ("io_uring", &["runtime"]),
    ("flume", &["net"]),
    ("charasay", &["cows"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("shuttle", &["directory"]),
    ("prometheus_client", &["ops"]),
    ("hyper", &["ops"]),
    ("async_nats", &["bridge"]),
    ("tokio", &["bridge", "ops"]),
    ("sd_notify", &["boot"]),
    ("signal_hook", &["boot"]),
    ("crossterm", &["client"]),
    ("rustyline", &["client"]),
    ("etcetera", &["client"]),
];

/// Lines of code in a file of src/ at most, tests apart.
const CODE_LINES_MAX: usize = 300;

/// From `pub use` to `pub use` at most. More is a function that has the name of its module.
const HOPS_MAX: usize = 8;

/// Characters of a test's name at most.
const TEST_NAME_MAX: usize = 60;

// Reading.

type Words = Vec<String>;

/// One file of the project, and what it names outside of its tests.
#[derive(Default)]
struct File {
    /// From the package's root.
    path: String,
    text: String,
    /// Where it stands in the crate: `["crate", "net", "accept"]`; `["main"]` is a crate of its own.
    module: Words,
    /// Every path as it is written, and its line, but for those of `use`.
    paths: Vec<(Words, usize)>,
    /// The paths of `use`, by what they give a name to, and of those the public ones.
    names: BTreeMap<String, (Words, usize)>,
    exports: BTreeMap<String, Words>,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let place = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs").trim_end_matches("/mod");
        let root = if place == "main" { "the binary" } else { "crate" };
        let below = place.split('/').filter(|part| !matches!(*part, "lib" | "main"));
        let module = std::iter::once(root).chain(below).map(str::to_owned).collect();
        let mut file = File { path: path.to_owned(), text: text.to_owned(), module, ..File::default() };
        if !path.ends_with("/tests.rs") {
            file.read(text.parse().unwrap_or_else(|error| panic!("{path}: {error}")), 0);
        }
        file
    }

    /// Notes each path in `tokens`, which stand in `depth` modules within the file.
    fn read(&mut self, tokens: TokenStream, depth: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_sign = |at: usize, sign| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == sign);
        let is_word = |at: usize, word| matches!(tokens.get(at), Some(TokenTree::Ident(i)) if i == word);
        let is_body = |at| matches!(tokens.get(at), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Brace);
        let end_of = |at: usize, is_end: &dyn Fn(usize) -> bool| (at..tokens.len()).find(|at| is_end(*at));
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(attribute) if attribute.to_string() == "[cfg (test)]" => {
                    at = end_of(at, &|at| is_sign(at, ';') || is_body(at)).unwrap_or(tokens.len());
                }
                TokenTree::Group(group) => {
                    let is_module = at > 1 && is_word(at - 2, "mod");
                    self.read(group.stream(), depth + usize::from(is_module));
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = end_of(at, &|at| is_sign(at, ';')).unwrap_or(tokens.len() - 1);
                    let is_public = at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(_) | TokenTree::Group(_));
                    // What is no item is the `use<..>` of a type.
                    if let Ok(item) = syn::parse2::<syn::ItemUse>(tokens[at..=end].iter().cloned().collect()) {
                        self.read_use(&item.tree, &[], is_public, depth);
                        at = end;
                    }
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    while is_sign(at + 1, ':') && is_sign(at + 2, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.paths.extend(leaving(path, depth).map(|path| (path, word.span().start().line)));
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Notes the paths of `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
    fn read_use(&mut self, tree: &UseTree, before: &[String], is_public: bool, depth: usize) {
        let joined = |last: &dyn ToString| [before, &[last.to_string()]].concat();
        let (name, path, span) = match tree {
            UseTree::Path(path) => return self.read_use(&path.tree, &joined(&path.ident), is_public, depth),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.read_use(tree, before, is_public, depth));
            }
            UseTree::Name(name) if name.ident == "self" => (before.last().cloned(), before.to_vec(), name.ident.span()),
            UseTree::Name(name) => (Some(name.ident.to_string()), joined(&name.ident), name.ident.span()),
            UseTree::Rename(name) => (Some(name.rename.to_string()), joined(&name.ident), name.ident.span()),
            UseTree::Glob(glob) => (Some(before.join("::") + "::*"), joined(&"*"), glob.star_token.spans[0]),
        };
        if let (Some(name), Some(path)) = (name, leaving(path, depth)) {
            self.names.insert(name.clone(), (path.clone(), span.start().line));
            self.exports.extend(is_public.then_some((name, path)));
        }
    }

    /// The folder or top-level file of src/ that it belongs to.
    fn room(&self) -> &str {
        self.path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    fn tests(&self) -> Vec<&str> {
        let after = self.text.split("#[test]\n").skip(1);
        after.filter_map(|text| text.split("fn ").nth(1)?.split('(').next()).collect()
    }

    /// Lines that are neither blank nor a comment, up to the tests.
    fn code_lines(&self) -> usize {
        let code = self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().lines().map(str::trim);
        code.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
    }
}

/// `path`, if it can lead out of its file: in a module within the file one `super` leads to the file itself.
fn leaving(path: Words, depth: usize) -> Option<Words> {
    let up = path.iter().take_while(|part| matches!(part.as_str(), "super" | "self")).count();
    match (depth, up) {
        (0, _) | (_, 0) => Some(path),
        (depth, up) => (up > depth).then(|| path[depth..].to_vec()),
    }
}

/// The files of src/, and what each path in them leads to.
struct Project {
    files: Vec<File>,
    modules: BTreeMap<Words, usize>,
}

impl Project {
    fn new(files: Vec<File>) -> Project {
        let modules = files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect();
        Project { files, modules }
    }

    fn of(files: &[(&str, &str)]) -> Project {
        Project::new(files.iter().map(|(path, text)| File::new(path, text)).collect())
    }

    /// `path`, as `file` writes it, from the root of the crate, if it is in there; else from a crate outside.
    fn absolute(&self, file: &File, path: &[String]) -> Words {
        let above = path.iter().take_while(|part| *part == "super").count();
        let inside = [&file.module[..], &path[..1]].concat();
        match path[0].as_str() {
            "crate" | "cowchat" => [&["crate".to_owned()], &path[1..]].concat(),
            "self" => [&file.module, &path[1..]].concat(),
            "super" => [&file.module[..file.module.len().saturating_sub(above)], &path[above..]].concat(),
            // A variable may have the name of a module.
            _ if path.len() > 1 && self.modules.contains_key(&inside) => [&file.module, path].concat(),
            _ => path.to_vec(),
        }
    }

    /// Every path of `file`, absolute, and its line: first those of `use`, then the others.
    fn paths(&self, file: &File) -> [Vec<(Words, usize)>; 2] {
        let names = file.names.values().map(|(path, line)| (self.absolute(file, path), *line));
        let others = file.paths.iter().map(|(path, line)| match file.names.get(&path[0]) {
            Some((named, _)) => ([&self.absolute(file, named), &path[1..]].concat(), *line),
            None => (self.absolute(file, path), *line),
        });
        [names.collect(), others.collect()]
    }

    /// The file in which `path` is defined, and whether it is the file's module itself. Names that a file has by `use`
    /// lead on to where they are from.
    fn file_of(&self, path: &[String], hops: usize) -> Option<(&File, bool)> {
        let (length, at) = (1..=path.len()).rev().find_map(|n| Some((n, *self.modules.get(&path[..n])?)))?;
        let file = &self.files[at];
        let named = path.get(length).and_then(|name| file.names.get(name)).filter(|_| hops < HOPS_MAX);
        let leads = |named: &[String]| [&self.absolute(file, named), &path[length + 1..]].concat();
        named.and_then(|(named, _)| self.file_of(&leads(named), hops + 1)).or(Some((file, length == path.len())))
    }

    /// Which files each file imports. `mod` is no import, nor is `pub use` or the name of a module alone: what is
    /// reached through them is.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let of = |file: &File| {
            let [uses, others] = self.paths(file);
            let exports: Vec<Words> = file.exports.values().map(|path| self.absolute(file, path)).collect();
            let named = uses.iter().filter(|(path, _)| !exports.contains(path)).chain(&others);
            let used = named.filter_map(|(path, _)| self.file_of(path, 0)).filter(|(_, is_module)| !is_module);
            used.map(|(to, _)| to.path.as_str()).filter(|to| *to != file.path).collect()
        };
        self.files.iter().map(|file| (file.path.as_str(), of(file))).collect()
    }

    /// The groups of files that import each other, in whatever number of steps.
    fn circles(&self) -> BTreeSet<Vec<&str>> {
        let imports = self.imports();
        let reached = |from| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(file) = next.pop() {
                next.extend(imports[file].iter().filter(|to| reached.insert(**to)));
            }
            reached
        };
        let reach: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (*file, reached(file))).collect();
        let circle = |from: &&str| reach[*from].iter().filter(|to| reach[**to].contains(*from)).copied().collect();
        reach.keys().map(circle).filter(|circle: &Vec<&str>| !circle.is_empty()).collect()
    }
}

// The rules. Each gives its violations, a line of text for each.

fn imports_only_what_it_may(project: &Project, file: &File) -> Vec<String> {
    let Some((room, may)) = MAY_IMPORT.iter().find(|(room, _)| *room == file.room()) else {
        return vec![file.at(1, &format!("{} is a room that the table does not know", file.room()))];
    };
    let paths = project.paths(file).into_iter().flatten().filter(|(path, _)| path[0] == "crate" && path.len() > 1);
    let forbidden = paths.filter(|(path, _)| {
        let to = path[1].as_str();
        to != *room && !may.contains(&to) && !ANY_MAY_IMPORT.contains(&to)
    });
    let told = forbidden.map(|(path, line)| file.at(line, &format!("{room} may not import {}", path[1])));
    told.collect::<BTreeSet<_>>().into_iter().collect()
}

fn names_only_its_own_crates(project: &Project, file: &File) -> Vec<String> {
    let foreign = project.paths(file).into_iter().flatten().filter_map(|(path, line)| {
        let (name, owners) = OWNED_CRATES.iter().find(|(name, _)| path[0] == *name)?;
        let told = || file.at(line, &format!("only {} may know {name}", owners.join(" and ")));
        (!owners.contains(&file.room())).then(told)
    });
    foreign.collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_pure_where_it_should_be(project: &Project, file: &File) -> Vec<String> {
    if !PURE.contains(&file.room()) {
        return Vec::new();
    }
    let impure = project.paths(file).into_iter().flatten().filter_map(|(path, line)| {
        let is_in = |impure: &&&[&str]| path.windows(impure.len()).any(|part| part == **impure);
        let what = IMPURE.iter().find(is_in)?.join("::");
        Some(file.at(line, &format!("{} does without {what}", file.room())))
    });
    impure.collect::<BTreeSet<_>>().into_iter().collect()
}

fn opens_by_saying_what_it_owns(_: &Project, file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//! ") || file.text.starts_with("#![doc = include_str!(");
    if opens { Vec::new() } else { vec![file.at(1, "a file opens with //! and what it owns")] }
}

fn has_no_ignored_test(_: &Project, file: &File) -> Vec<String> {
    let ignored = file.text.lines().enumerate().filter(|(_, line)| line.trim().starts_with("#[ignore"));
    ignored.map(|(at, _)| file.at(at + 1, "a test is run or removed")).collect()
}

fn is_short_enough(_: &Project, file: &File) -> Vec<String> {
    let lines = file.code_lines();
    if lines > CODE_LINES_MAX && !file.path.ends_with("/tests.rs") {
        vec![file.at(1, &format!("{lines} lines of code are too many"))]
    } else {
        Vec::new()
    }
}

fn names_its_tests_briefly(_: &Project, file: &File) -> Vec<String> {
    let long = file.tests().into_iter().filter(|name| name.len() > TEST_NAME_MAX);
    long.map(|name| file.at(1, &format!("{name} has {} characters", name.len()))).collect()
}

/// Tests that the page of promises names and that do not exist: `place::test`, where a place is a file or all of a
/// folder, and is in tests/suite/ or tests/ if its own folder is not named.
fn proofs_that_are_none<'p>(page: &'p str, files: &[File]) -> Vec<&'p str> {
    let quoted = page.split('`').skip(1).step_by(2).filter_map(|code| Some((code, code.split_once("::")?)));
    let missing = quoted.filter(|(_, (place, test))| {
        let places = ["", "tests/suite/", "tests/"].map(|folder| format!("{folder}{place}"));
        let is_in = |file: &&File| {
            let rest = |place: &String| file.path.strip_prefix(place).is_some_and(|rest| rest.starts_with(['.', '/']));
            places.iter().any(rest)
        };
        !files.iter().filter(is_in).any(|file| file.tests().contains(test))
    });
    missing.map(|(code, _)| code).collect()
}

/// Words of a script that look like the beginning of a test's name, and are not.
fn tests_that_are_none<'s>(script: &'s str, files: &[File]) -> Vec<&'s str> {
    let words = script.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let names: Vec<&str> = files.iter().flat_map(File::tests).collect();
    let is_none = |word: &&str| word.matches('_').count() > 2 && !names.iter().any(|name| name.starts_with(word));
    words.filter(is_none).collect()
}

/// Flags that cannot be set by the environment variable of their name, or that of their command and name.
fn flags_without_variable(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter(|flag| !flag.is_global_set());
    let lacking = own.filter_map(|flag| {
        let name = flag.get_long().filter(|name| !matches!(*name, "help" | "version"))?;
        let variable = |name: &str| format!("COWCHAT_{}", name.to_uppercase().replace('-', "_"));
        let variables = [variable(name), variable(&format!("{} {name}", command.get_name())).replace(' ', "_")];
        let has_one = variables.iter().any(|variable| flag.get_env() == Some(variable.as_ref()));
        (!has_one).then(|| format!("{} --{name}", command.get_name()))
    });
    lacking.chain(command.get_subcommands().flat_map(flags_without_variable)).collect()
}

// The project.

/// All Rust files of some folders of the package.
fn files(folders: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_str().expect("a name in UTF-8");
                files.push(File::new(name, &fs::read_to_string(&path).expect("a readable file")));
            }
        }
    }
    assert!(files.len() > 30, "the files are found: {}", files.len());
    files
}

/// Asserts that no file of these folders breaks `rule`.
fn all_keep(folders: &[&str], rule: impl Fn(&Project, &File) -> Vec<String>) {
    let project = Project::new(files(folders));
    let violations: Vec<String> = project.files.iter().flat_map(|file| rule(&project, file)).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

const SRC: &[&str] = &["src"];
const EVERYWHERE: &[&str] = &["src", "tests", "benches"];

#[test]
fn every_room_imports_only_what_lies_below_it() {
    all_keep(SRC, imports_only_what_it_may);
}

#[test]
fn no_import_leads_back_to_its_file() {
    let project = Project::new(files(SRC));
    assert_eq!(project.circles(), BTreeSet::<Vec<&str>>::new());
}

#[test]
fn an_owned_crate_is_named_in_its_room_only() {
    all_keep(SRC, names_only_its_own_crates);
}

#[test]
fn pure_rooms_know_no_socket_file_thread_or_clock() {
    all_keep(SRC, is_pure_where_it_should_be);
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    all_keep(EVERYWHERE, opens_by_saying_what_it_owns);
}

#[test]
fn no_test_is_ignored() {
    all_keep(EVERYWHERE, has_no_ignored_test);
}

#[test]
fn no_file_is_too_long() {
    all_keep(SRC, is_short_enough);
}

#[test]
fn every_test_has_a_short_name() {
    all_keep(EVERYWHERE, names_its_tests_briefly);
}

#[test]
fn every_proof_of_a_promise_exists() {
    let (page, files) = (include_str!("RELIABILITY.md"), files(EVERYWHERE));
    assert_eq!(page.lines().filter(|line| line.starts_with("| I")).count(), 28, "one row for each promise");
    assert_eq!(page.lines().filter(|line| line.starts_with("| C")).count(), 9, "and of a cluster");
    assert_eq!(proofs_that_are_none(page, &files), [""; 0]);
    let wrong = "`start::no_such_test`, `attic::x`, `src/limits::y`, `claims::z`, `--flag`";
    assert_eq!(proofs_that_are_none(wrong, &files).len(), 4);
    assert_eq!(tests_that_are_none(include_str!("../ci/soak.sh"), &files), [""; 0]);
    assert_eq!(tests_that_are_none("a_b $no_test_has_this COWCHAT_A_B_C_D", &files), ["no_test_has_this"]);
}

/// Features add up over all that is built together: one that replaced the atomics would do so for a server, too.
#[test]
fn no_feature_makes_the_server_another_one() {
    let manifest = include_str!("../Cargo.toml");
    let (_, features) = manifest.split_once("\n[features]\n").expect("there are some");
    let (features, _) = features.split_once("\n[").expect("more than features");
    let features = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    // It adds flags, and a thread if they are given.
    assert_eq!(features.collect::<Vec<_>>(), ["cluster"]);
    assert!(!manifest.lines().any(|line| line.starts_with("shuttle")));
}

#[test]
fn every_flag_can_be_set_by_the_environment() {
    assert_eq!(flags_without_variable(&Cli::command()), [""; 0]);
    let flag = |name: &'static str| clap::Arg::new(name).long(name);
    let command = clap::Command::new("serve").arg(flag("cores")).arg(flag("a").env("COWCHAT_A"));
    assert_eq!(flags_without_variable(&command.arg(flag("log").env("LOG"))), ["serve --cores", "serve --log"]);
}

// That the rules can fail.

/// How often `rule` is broken by a file at `path` with this text.
fn broken(rule: fn(&Project, &File) -> Vec<String>, path: &str, text: &str) -> usize {
    let project = Project::of(&[(path, text)]);
    rule(&project, &project.files[0]).len()
}

#[test]
fn a_forbidden_import_is_seen_however_it_is_written() {
    let broken = |path, text| broken(imports_only_what_it_may, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use crate::net::mesh::Mesh;"), 1);
    assert_eq!(broken("src/shard/mod.rs", "use crate::{limits,\nnet::{mesh,\npump},\nevents as log};"), 3);
    assert_eq!(broken("src/shard/mod.rs", "fn f(mesh: &crate::net::mesh::Mesh) {}"), 1);
    assert_eq!(broken("src/shard/mod.rs", "fn f() { assert!(crate::net::is_well(1)); }"), 1);
    assert_eq!(broken("src/shard/mod.rs", "use super::net;"), 1);
    assert_eq!(broken("src/shard/mod.rs", "mod a { use super::super::net::Mesh; use super::net; }"), 1);
    assert_eq!(broken("src/shard/roster.rs", "use super::super::boot::run;"), 1);
    assert_eq!(broken("src/directory/mod.rs", "use super::{shard::Frame, cows::CowId};"), 1);
    assert_eq!(broken("src/limits.rs", "use crate::*;"), 1);
    assert_eq!(broken("src/main.rs", "use cowchat::net;"), 1);
    assert_eq!(broken("src/attic.rs", ""), 1, "a room that the table does not know");
}

#[test]
fn an_allowed_import_is_no_violation() {
    let broken = |path, text| broken(imports_only_what_it_may, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use crate::cows::{CowId, Herd};\nuse crate::shard::Frame;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "mod roster;\nuse roster::Roster;\npub use frame::Frame;"), 0);
    assert_eq!(broken("src/net/pump.rs", "use super::core::Core;\npub(super) fn run() {}\npub(crate) fn end() {}"), 0);
    assert_eq!(broken("src/cows/art.rs", "use super::bubble;\nuse self::inner::Ink;"), 0);
    assert_eq!(broken("src/cows/art.rs", "//! [`crate::net`]\n/* crate::net */ const A: &str = \"crate::net\";"), 0);
    assert_eq!(broken("src/cows/art.rs", "#[cfg(test)]\nmod tests {\n    use crate::protocol::text;\n}"), 0);
    assert_eq!(broken("src/cows/art.rs", "#[cfg(test)]\nmod tests {}\nuse crate::protocol::text;"), 1);
}

#[test]
fn a_circle_of_files_is_found() {
    const PAIR: &[&str] = &["src/net/core.rs", "src/net/terms.rs"];
    let circles = |core, terms| {
        let module = ("src/net/mod.rs", "mod core;\nmod terms;\npub use terms::Terms;\npub struct Net;");
        let project = Project::of(&[("src/lib.rs", "pub mod net;"), module, (PAIR[0], core), (PAIR[1], terms)]);
        project.circles().into_iter().map(|circle| circle.join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(circles("use super::terms::Terms;", "use crate::net::core::Core;"), [PAIR.join(" ")]);
    assert_eq!(circles("use crate::net::Terms;", "use super::core;\nfn f() { core::run() }"), [PAIR.join(" ")]);
    assert_eq!(circles("use super::terms;\nfn f() { assert!(terms::hold()); }", "use super::core::*;").len(), 1);
    assert_eq!(circles("use super::terms::Terms;", "use super::Net;"), [""; 0], "`mod` and `pub use` are no imports");
    assert_eq!(
        circles("use super::terms::Terms;", "#[cfg(test)]\nmod tests { use super::super::core::Core; }"),
        [""; 0]
    );
}

#[test]
fn a_crate_outside_its_room_is_seen() {
    let broken = |path, text| broken(names_only_its_own_crates, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use flume::Sender;\nuse glommio::timer;"), 2);
    assert_eq!(broken("src/net/mesh.rs", "use flume::Sender;\nuse glommio::timer;\nuse charasay::Chara;"), 2);
    assert_eq!(broken("src/boot/server.rs", "fn f() { charasay::BUILTIN_CHARA[0]; }"), 1);
    assert_eq!(broken("src/limits.rs", "//! Why glommio needs this.\nconst WHY: &str = \"glommio\";"), 0);
}

#[test]
fn a_clock_in_a_pure_room_is_seen() {
    let broken = |path, text| broken(is_pure_where_it_should_be, path, text);
    assert_eq!(broken("src/shard/mod.rs", "use std::time::Instant;"), 1);
    assert_eq!(broken("src/shard/mod.rs", "use std::time;\nfn f() { time::Instant::now() }"), 1);
    assert_eq!(broken("src/cows/art.rs", "use std::{fs,\nnet::TcpStream};"), 2);
    assert_eq!(broken("src/directory/mod.rs", "fn f() { std::thread::current(); }"), 1);
    assert_eq!(broken("src/protocol/line.rs", "async fn next() {\nread().await }"), 2);
    assert_eq!(broken("src/policy/idle.rs", "use std::net::{IpAddr, ToSocketAddrs};"), 1);
    assert_eq!(broken("src/policy/idle.rs", "fn f() { rustix::time::clock_gettime(id); }"), 1);
    assert_eq!(broken("src/shard/mod.rs", "fn f() { unsafe { libc::getpid() } }"), 1);
    assert_eq!(broken("src/policy/liveness.rs", "use socket2::SockRef;"), 1);
    assert_eq!(broken("src/ids.rs", "use io_uring::IoUring;"), 1);
    assert_eq!(broken("src/shard/mod.rs", "fn f() -> glommio::Task<()> {}"), 1);
    assert_eq!(broken("src/directory/mod.rs", "use flume::Sender;"), 1);
    assert_eq!(broken("src/net/core.rs", "use std::time::Instant;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "use std::time::Duration;\nuse std::io::Write;"), 0);
    assert_eq!(broken("src/shard/mod.rs", "#[cfg(test)]\nmod tests { use std::thread; }"), 0);
}

#[test]
fn the_other_rules_can_fail_too() {
    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "use std::fs;"), 1);
    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "//! A thing.\n"), 0);
    assert_eq!(broken(opens_by_saying_what_it_owns, "src/a.rs", "#![doc = include_str!(\"A.md\")]\n"), 0);

    assert_eq!(broken(has_no_ignored_test, "tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"), 1);

    let lines = |count| "const A: u8 = 0;\n// Why.\n\n".repeat(count);
    assert_eq!(broken(is_short_enough, "src/a.rs", &lines(CODE_LINES_MAX)), 0);
    assert_eq!(broken(is_short_enough, "src/a.rs", &lines(CODE_LINES_MAX + 1)), 1);

    let test = |length| format!("proptest! {{\n    #[test]\n    fn {}(a in 0..1) {{}}\n}}", "a".repeat(length));
    assert_eq!(broken(names_its_tests_briefly, "src/a.rs", &test(TEST_NAME_MAX)), 0);
    assert_eq!(broken(names_its_tests_briefly, "src/a.rs", &test(TEST_NAME_MAX + 1)), 1);
}
