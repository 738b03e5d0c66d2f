//! `cowchat generate`: a man page for each subcommand, and completions that name each flag.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use cowchat::cli::Cli;

use crate::support::{Scratch, cowchat};

/// What it prints; it must exit 0.
fn generated(arguments: &[&str]) -> String {
    let output = cowchat().arg("generate").args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The pages that a command and its visible subcommands have, each with its flags.
fn pages(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<String>)>) {
    let flags = command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned);
    pages.push((name.to_owned(), flags.collect()));
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    for sub in shown {
        self::pages(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}

fn all_pages() -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    pages(&Cli::command(), "cowchat", &mut all);
    assert!(all.iter().any(|(name, flags)| name == "cowchat-serve" && flags.contains(&"herd".to_owned())));
    all
}

#[test]
fn each_subcommand_has_a_man_page_with_every_flag() {
    let files = Scratch::new();
    assert_eq!(generated(&["man", files.path()]), "");
    let all = all_pages();
    for (name, flags) in &all {
        let page = fs::read_to_string(files.join(format!("{name}.1"))).expect(name);
        let page = page.replace("\\-", "-");
        let lacking: Vec<_> = flags.iter().filter(|flag| !page.contains(&format!("\n\\fB--{flag}\\fR"))).collect();
        assert!(lacking.is_empty(), "{name} lacks {lacking:?}");
    }
    assert_eq!(fs::read_dir(files.path()).expect("a directory").count(), all.len(), "no page of anything else");
    let serve = fs::read_to_string(files.join("cowchat-serve.1")).expect("a page");
    assert!(serve.contains("COWCHAT_SENDQ_STALL"), "it names the variables, too");
}

#[test]
fn completions_of_each_shell_name_every_flag() {
    for (shell, prefix) in [("bash", "--"), ("zsh", "--"), ("fish", "-l ")] {
        let script = generated(&["completions", shell]);
        for (name, flags) in all_pages() {
            let flags = flags.iter().map(|flag| format!("{prefix}{flag}"));
            let lacking: Vec<_> = flags.filter(|flag| !script.contains(flag)).collect();
            assert!(lacking.is_empty(), "{shell}: {name} lacks {lacking:?}");
        }
    }
}

#[test]
fn bash_completes_a_flag_of_serve() {
    let asks =
        "COMP_WORDS=(cowchat serve --her); COMP_CWORD=2\n_cowchat cowchat --her serve\necho \"${COMPREPLY[*]}\"\n";
    let script = generated(&["completions", "bash"]) + asks;
    let mut bash = Command::new("bash");
    let mut bash = bash.arg("--norc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
    bash.stdin.take().expect("piped").write_all(script.as_bytes()).expect("it reads");
    let output = bash.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--herd\n");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let files = Scratch::new();
    let missing = files.join("missing");
    let output = cowchat().args(["generate", "man"]).arg(&missing).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(missing.to_str().expect("UTF-8")) && said.lines().count() == 1, "{said}");
}
