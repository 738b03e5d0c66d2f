//! `serve --config` and `cowchat config`: where a value comes from, and what a wrong file is told.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::support::*;

fn config(arguments: &[&str]) -> Command {
    let mut command = cowchat();
    command.arg("config").args(arguments);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_flag_wins_over_a_variable_that_over_a_file() {
    let files = Scratch::new();
    let file = files.put("precedence.toml", "herd = 2\nwidth = 50\nhistory = 7\n");
    let mut command = config(&["--config", &file, "--herd", "4"]);
    let (code, page, error) = run(command.env("COWCHAT_HERD", "3").env("COWCHAT_WIDTH", "60"));
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let source = |flag: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("{flag} = "))).expect(flag);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(source("herd"), "herd = 4 # --herd");
    assert_eq!(source("width"), "width = 60 # COWCHAT_WIDTH");
    assert_eq!(source("history"), format!("history = 7 # {file}:3"));
    assert_eq!(source("flood-rate"), "flood-rate = \"5/s\" # default");
}

#[test]
fn what_config_prints_is_a_file_that_says_the_same() {
    let values = |page: &str| {
        let lines = page.lines().map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    let flags = ["--herd", "4", "--no-header", "--cow-dir", "/a", "--cow-dir", "/b", "--flood-rate", "30/m"];
    let (_, page, _) = run(&mut config(&flags));
    let files = Scratch::new();
    let file = files.put("round-trip.toml", &page);
    let (code, again, error) = run(&mut config(&["--config", &file]));
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(values(&again), values(&page));
}

#[test]
fn control_characters_are_printed_as_escapes() {
    let files = Scratch::new();
    let file = files.put("\u{1b}[2J\n.toml", "herd = 2\n");
    let (code, said, _) = run(&mut config(&["--check", &file]));
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said:?}");
    let (code, page, _) = run(&mut config(&["--config", &file, "--motd", "/\u{9b}a\nb", "--cow-dir", "/c\nd"]));
    assert_eq!(code, Some(0));
    for text in [said, page] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("\\u{1b}[2J\\n.toml"), "{text:?}");
    }
}

#[test]
fn a_value_that_no_file_can_hold_is_shown_and_left_out() {
    let mut command = config(&["--motd", "007", "--control"]);
    command.arg(OsStr::from_bytes(b"/a\xffb"));
    let (code, page, error) = run(&mut command);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(page.lines().any(|line| line.starts_with("motd = \"007\" ")), "{page}");
    let control = page.lines().find(|line| line.contains("control")).expect("a line for each flag");
    assert!(control.starts_with("# control = [\"/a\\xFFb\"] "), "{control}");
    assert!(control.ends_with("  # --control: not UTF-8, so a file cannot set it"), "{control}");
}

#[test]
fn what_is_not_utf8_is_named() {
    let odd = OsStr::from_bytes(b"4\xff");
    for (command, told) in [
        (config(&[]).env("COWCHAT_HERD", odd), "COWCHAT_HERD"),
        (config(&["--herd"]).arg(odd), "\"4\\xFF\""),
        (cowchat().args(["serve", "--motd", "/moo", "--herd"]).arg(odd), "\"4\\xFF\""),
    ] {
        let (code, _, error) = run(command);
        assert_eq!((code, error), (Some(2), format!("cowchat: only a path may be other than UTF-8: change {told}\n")));
    }
}

#[test]
fn help_behind_flags_of_serve_is_help() {
    for flags in [&["--herd", "4", "--help"][..], &["--herd", "4", "-h"], &["--help"]] {
        let (code, help, error) = run(&mut config(flags));
        assert_eq!((code, error.as_str()), (Some(0), ""), "{flags:?}");
        assert!(help.contains("Usage: cowchat "), "{flags:?}: {help}");
    }
}

#[test]
fn a_wrong_variable_makes_no_file_wrong() {
    let files = Scratch::new();
    let good = files.put("good.toml", "herd = 2\n");
    let (code, said, error) = run(config(&["--check", &good]).env("COWCHAT_WIDTH", "x"));
    assert_eq!((code, said, error.as_str()), (Some(0), format!("{}: ok\n", &good), ""));
    let wrong = files.put("wrong.toml", "herd = 0\n");
    let told = format!("cowchat: {}:1:8: invalid value '0' for 'herd': use a whole number from 1 to 1048576\n", &wrong);
    for arguments in [["config", "--check"], ["serve", "--config"], ["config", "--config"]] {
        let (code, _, error) = run(cowchat().args(arguments).arg(&wrong).env("COWCHAT_HERD", "3"));
        assert_eq!((code, error.as_str()), (Some(2), told.as_str()), "{arguments:?}");
    }
}

#[test]
fn what_only_a_start_finds_wrong_names_the_line_of_the_file() {
    let files = Scratch::new();
    let file = files.put("start.toml", "herd = 2\nmotd = \"/nosuch\"\n");
    let serve = || {
        let mut command = cowchat();
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", &file]);
        command
    };
    let (code, _, error) = run(&mut serve());
    let told = format!("cowchat: {}:2: the file of motd, /nosuch, cannot be read: ", &file);
    assert!(code == Some(2) && error.starts_with(&told), "{error}");
    let (_, _, error) = run(serve().env("COWCHAT_MOTD", "/moo"));
    assert!(error.starts_with("cowchat: the file of COWCHAT_MOTD, /moo, cannot be read: "), "{error}");
}

#[test]
fn a_server_runs_as_its_file_says() {
    let files = Scratch::new();
    let file = files.put("serve.toml", "herd = 3\ncores = 2\nlisten = \"127.0.0.1:0\"\n");
    let mut command = cowchat();
    command.args(["serve", "--config", &file]);
    let server = Server::started(command);
    assert!(server.announcement.contains("(2 cores, 72 cows, 3 of each, "), "{}", server.announcement);
}

#[test]
fn a_wrong_file_is_refused_in_one_line() {
    let files = Scratch::new();
    let file = files.put("wrong.toml", "herd = 3\nflod-rate = \"5/s\"\n");
    let told = format!("cowchat: {}:2:1: unknown key \"flod-rate\": did you mean \"flood-rate\"?\n", &file);
    for arguments in [["config", "--check"], ["serve", "--config"], ["config", "--config"]] {
        let (code, out, error) = run(cowchat().args(arguments).arg(&file));
        assert_eq!((code, out.as_str(), error.as_str()), (Some(2), "", told.as_str()), "{arguments:?}");
    }
    let sparse = files.put("sparse.toml", "");
    File::options().write(true).open(&sparse).and_then(|file| file.set_len(1 << 30)).expect("a file of the test's own");
    for (path, told) in [
        ("/nosuch", "cannot be read: No such file"),
        ("/tmp", "is no regular file: "),
        ("/dev/zero", "is no regular file: "),
        ("/proc/version", "is a file of /proc: "),
        (&sparse, "is larger than 65536 bytes: make it smaller"),
    ] {
        let (code, _, error) = run(&mut config(&["--check", path]));
        assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.starts_with(&format!("cowchat: the configuration file {path} {told}")), "{error}");
    }
}

#[test]
fn a_right_file_and_the_defaults_are_accepted() {
    let (code, defaults, _) = run(&mut config(&["--defaults"]));
    assert_eq!(code, Some(0));
    let set = defaults.lines().filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')));
    let set: Vec<&str> = set.collect();
    assert_eq!(defaults.matches("\n# Default: ").count(), set.len(), "{defaults}");
    let files = Scratch::new();
    for (name, text) in [("comments.toml", defaults.as_str()), ("defaults.toml", &set.join("\n"))] {
        let file = files.put(name, text);
        let (code, said, error) = run(&mut config(&["--check", &file]));
        assert_eq!((code, said, error.as_str()), (Some(0), format!("{}: ok\n", &file), ""));
    }
}

#[test]
fn a_reload_reads_the_file_again_or_changes_nothing() {
    let files = Scratch::new();
    let file = files.put("reload.toml", "log = \"info\"\n");
    let mut command = cowchat();
    command.args(["serve", "--listen", "127.0.0.1:0", "--cores", "2", "--config", &file]);
    without_terminal(&mut command);
    let server = Server::started(command);
    let mut tux = server.login("tux");
    files.put("reload.toml", "flood-exempt = \"none\"\nflood-burst = 3\nherd = 9\n");
    server.signal("HUP");
    let reloaded = server.log_event("reloaded", &[]);
    assert_eq!(reloaded.field("changed"), "flood-burst,flood-exempt");
    assert_eq!(server.log_event("restart_needed", &[]).field("flags"), "herd");
    files.put("reload.toml", "flood-burst = 0\n");
    server.signal("HUP");
    let failed = server.log_event("reload_failed", &[]);
    assert!(failed.field("error").starts_with(&format!("{}:1:15: ", &file)), "{}", failed.text);
    files.put("reload.toml", "herd = 9\nqueues-bytes-total = 1\n");
    server.signal("HUP");
    let told = ":2: queues-bytes-total 1 is less than --sendq-bytes-max 262144, which one connection may have: ask for at \
                least that";
    server.log_event("reload_failed", &[("error", &format!("{file}{told}"))]);
    assert_eq!(tux.ask("who"), "Registered users: tux");
}
