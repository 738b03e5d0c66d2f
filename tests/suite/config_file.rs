//! `serve --config` and `cowchat config`: where a value comes from, and what a wrong file is told.

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
    for (path, told) in
        [("/nosuch", "cannot be read: "), ("/tmp", "is no regular file: "), ("/proc/version", "is a file of /proc: ")]
    {
        let (code, _, error) = run(&mut config(&["--check", path]));
        assert_eq!((code, error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.starts_with(&format!("cowchat: the file of --config, {path}, {told}")), "{error}");
    }
}

#[test]
fn a_right_file_and_the_defaults_are_accepted() {
    let (code, defaults, _) = run(&mut config(&["--defaults"]));
    assert_eq!(code, Some(0));
    let set: Vec<String> = defaults
        .lines()
        .filter(|line| line.starts_with('#') && !line.starts_with("# ") && !line.ends_with("= "))
        .map(|line| line[1..].to_owned())
        .collect();
    let files = Scratch::new();
    let file = files.put("defaults.toml", set.join("\n"));
    let (code, said, error) = run(&mut config(&["--check", &file]));
    assert_eq!((code, said, error.as_str()), (Some(0), format!("{}: ok\n", &file), ""));
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
    assert_eq!(tux.ask("who"), "Registered users: tux");
}
