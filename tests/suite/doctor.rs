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

fn line_of<'t>(text: &'t str, name: &str) -> &'t str {
    let is_of = |line: &&str| line.get(6..).is_some_and(|rest| rest.starts_with(&format!("{name:19}  ")));
    text.lines().find(is_of).unwrap_or_else(|| panic!("no line for {name}: {text}"))
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
    assert_eq!((code, error.as_str()), (Some(1), ""), "the lines say it");
    let line = line_of(&text, "descriptors");
    assert!(line.starts_with("FAIL  ") && line.contains("sudo prlimit --pid $$ --nofile=4000000064 "), "{line}");
}

#[test]
fn a_server_is_refused_with_the_text_of_the_doctor() {
    let forbidden = |mut command: Command| {
        forbid(&mut command, libc::SYS_io_uring_setup, libc::EPERM);
        command
    };
    let few = |command: Command| under("-n 80", &command);
    for (name, change) in [("io_uring", &forbidden as &dyn Fn(Command) -> Command), ("descriptors", &few)] {
        let (code, text, error) = run(&mut change(doctor(&[])));
        assert_eq!((code, error.as_str()), (Some(1), ""), "{text}");
        let (code, _, error) = run(&mut change(serve(&[])));
        assert_eq!(code, Some(2), "{error}");
        let said = error.trim_end().strip_prefix("cowchat: ").expect("one line");
        let line = line_of(&text, name);
        assert!(line.starts_with("FAIL  ") && line.ends_with(said), "{line}\n{error}");
    }
}

#[test]
fn limits_are_shown_as_they_were_found() {
    let limits = "-n 1000 && ulimit -Sn 99 && ulimit -l 700 && ulimit -Sl 600";
    let (code, text, _) = run(&mut under(limits, &doctor(&["--connections", "100"])));
    assert_eq!(code, Some(0), "{text}");
    assert!(line_of(&text, "descriptors").contains(" 99 soft, 1000 hard"), "{text}");
    assert!(line_of(&text, "locked memory").contains(" 600 soft, 700 hard KiB"), "{text}");
}

#[test]
fn a_server_logs_what_the_doctor_warns_of() {
    let (_, text, _) = run(&mut doctor(&["--connections", "10000"]));
    let warned = |name: &str| text.lines().any(|line| line.starts_with("warn  ") && line[6..].starts_with(name));
    let server = Server::started(serve(&["--connections-max", "10000"]));
    let logged = server.log_events("machine_warning", &[]);
    for event in &logged {
        assert!(warned(event.field("check")) && text.contains(event.field("fix")), "{event:?}\n{text}");
    }
    let of_server =
        |line: &&str| line.starts_with("warn  ") && !["ports", "locked"].iter().any(|word| line[6..].starts_with(word));
    assert_eq!(logged.len(), text.lines().filter(of_server).count(), "{text}");
}

#[test]
fn json_says_the_same_as_the_text() {
    let (_, text, _) = run(&mut doctor(&["--connections", "100"]));
    let (code, json, _) = run(&mut doctor(&["--connections", "100", "--json"]));
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["ok"], true);
    for check in json["checks"].as_array().expect("a list") {
        let [fix, found, name, status] =
            ["fix", "found", "name", "status"].map(|key| check[key].as_str().expect("text"));
        assert!(["ok", "warn", "fail"].contains(&status) && fix.is_empty() == (status == "ok"), "{check}");
        assert!(
            !found.is_empty() && !name.is_empty() && check.as_object().is_some_and(|keys| keys.len() == 4),
            "{check}"
        );
    }
    let names = json["checks"].as_array().expect("a list").iter().map(|check| check["name"].as_str().expect("a name"));
    assert!(names.zip(text.lines()).all(|(name, line)| line[6..].starts_with(name)), "{text}");
}

#[test]
fn a_wrong_number_of_connections_is_a_wrong_flag() {
    let (code, _, error) = run(&mut doctor(&["--connections", "0"]));
    assert!(code == Some(2) && error.contains("--connections"), "{error}");
}
