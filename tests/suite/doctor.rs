//! `cowchat doctor`, with the real binary on this machine.

use std::process::Command;

use crate::support::*;

fn doctor(flags: &[&str]) -> Command {
    let mut command = cowchat();
    command.arg("doctor").args(flags);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_machine_on_which_the_suite_runs_is_fit() {
    let (code, text, error) = run(&mut doctor(&["--connections", "100"]));
    assert_eq!((code, error.as_str()), (Some(0), ""), "{text}");
    let words = text.lines().map(|line| line.split_whitespace().next().unwrap_or_default());
    assert!(words.clone().all(|word| ["ok", "warn"].contains(&word)) && words.count() > 10, "{text}");
}

#[test]
fn too_many_connections_fail_with_what_mends_it() {
    let (code, text, error) = run(&mut doctor(&["--connections", "4000000000"]));
    assert_eq!(code, Some(1));
    assert!(error.starts_with("cowchat: ") && error.lines().count() == 1, "{error}");
    let line = text.lines().find(|line| line.contains(" descriptors ")).expect("a line for descriptors");
    assert!(line.starts_with("FAIL  ") && line.contains("ulimit -n 4000000064"), "{line}");
}

#[test]
fn json_says_the_same_as_the_text() {
    let (_, text, _) = run(&mut doctor(&["--connections", "100"]));
    let (code, json, _) = run(&mut doctor(&["--connections", "100", "--json"]));
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["ok"], true);
    let names = json["checks"].as_array().expect("a list").iter().map(|check| check["name"].as_str().expect("a name"));
    assert!(names.zip(text.lines()).all(|(name, line)| line[6..].starts_with(name)), "{text}");
}

#[test]
fn a_wrong_number_of_connections_is_a_wrong_flag() {
    let (code, _, error) = run(&mut doctor(&["--connections", "0"]));
    assert!(code == Some(2) && error.contains("--connections"), "{error}");
}
