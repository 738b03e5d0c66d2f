//! What a client at a terminal shows: messages that fit the window, colours, times, the bell.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Key, Scratch, Server, Terminal};

/// A window that shows all that one of these tests says.
const LARGE: (u16, u16) = (200, 60);

type Flags<'a> = &'a [&'a str];

type Env<'a> = &'a [(&'a str, &'a str)];

/// Words that are all different.
fn words(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("w{n}.")).collect()
}

#[test]
fn after_a_resize_messages_are_drawn_for_the_new_width() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    terminal.type_in("half typed");
    terminal.press(Key::Left);
    for (round, columns) in [80, 40, 120, 30].into_iter().enumerate() {
        terminal.resize((columns, 24));
        let text = words(60).join(" ");
        assert_eq!(ferris.ask(&format!("yield round {round}. {text}")), "Sent to 1 cow");
        let screen =
            terminal.wait_for(|screen| screen.has(&format!("round {round}.")) && screen.typed() == "tux> half typed");
        assert_eq!(screen.cursor().1, 14);
        let rows = screen.rows();
        let first = screen.row_of(&format!("round {round}.")).expect("on the screen");
        let widest = rows[first - 1..].iter().map(|row| row.trim_end().chars().count()).max();
        let columns = usize::from(columns);
        assert!(widest.is_some_and(|widest| widest > columns * 3 / 4 && widest <= columns), "{widest:?} {rows:#?}");
        assert!((first - 2..rows.len()).all(|row| !screen.is_wrapped(row)), "{rows:#?}");
        assert_eq!(screen.count("half typed"), 1, "one typed line");
    }
}

#[test]
fn a_narrower_window_costs_no_row_above_the_typed_line() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let mut terminal = Terminal::at(&server, &["--no-time"]).logged_in("tux");
    terminal.enter("who");
    terminal.wait_for_text("Registered users");
    // It takes three rows of the new width, and the cursor is in the first one.
    terminal.type_in(&"0123456789".repeat(6));
    terminal.press(Key::Home);
    let before = terminal.wait_for(|screen| screen.typed().ends_with('9') && screen.cursor().1 == 5);
    terminal.resize((30, 24));
    assert_eq!(ferris.ask("yield moo"), "Sent to 1 cow");
    let screen = terminal.wait_for_text("  moo  ");
    let first = screen.row_of("ferris says:").expect("on the screen");
    assert_eq!(first, usize::from(before.cursor().0), "below what was above the typed line");
    assert_eq!(screen.count("tux> 0123"), 1, "one typed line");
}

#[test]
fn no_window_is_too_small() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    let line = "tux> привет 世界 👋 hello";
    terminal.type_in(&line[5..]);
    for (round, size) in
        [(1, 1), (2, 2), (3, 1), (5, 2), (8, 3), (16, 2), (17, 5), (400, 2), (1, 30)].iter().enumerate()
    {
        terminal.resize(*size);
        assert_eq!(ferris.ask(&format!("yield small {round}.")), "Sent to 1 cow");
        terminal.press_and_wait(Key::Left);
        terminal.resize((80, 24));
        assert_eq!(ferris.ask(&format!("yield large {round}.")), "Sent to 1 cow");
        terminal.wait_for(|screen| screen.has(&format!("large {round}.")) && screen.typed() == line);
    }
}

#[test]
fn without_colour_no_cell_has_one_and_messages_still_differ() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let no_color = [("NO_COLOR", "1")];
    let cases: [(Flags, Env); 2] = [(&[], &no_color), (&["--color", "never"], &[])];
    for (flags, env) in cases {
        let flags = [flags, &["--no-time"]].concat();
        let terminal = Terminal::with_env(server.address, &flags, LARGE, env).connected();
        let mut terminal = terminal.logged_in("tux");
        assert_eq!(ferris.ask("yield to all"), "Sent to 1 cow");
        assert_eq!(ferris.ask("say tux to you"), "Sent to tux");
        terminal.enter("login tux#9");
        terminal.wait_for_text("error: ");
        let screen = terminal.wait_for(|screen| screen.has("  to all  ") && screen.has("  to you  "));
        assert_eq!(screen.coloured_cells(), 0);
        let rows = screen.all_rows();
        for line in ["Logged in as tux", "ferris says:", "ferris says to you:"] {
            assert!(rows.iter().any(|row| row == line), "{line} {rows:#?}");
        }
        terminal.enter("quit");
        terminal.expect_end(0);
    }
}

#[test]
fn with_colour_replies_public_and_private_messages_differ_by_it() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let set = [("NO_COLOR", "1")];
    let empty = [("NO_COLOR", "")];
    let cases: [(Flags, Env); 3] = [(&[], &[]), (&[], &empty), (&["--color", "always"], &set)];
    for (flags, env) in cases {
        let terminal = Terminal::with_env(server.address, flags, LARGE, env).connected();
        let mut terminal = terminal.logged_in("tux");
        assert_eq!(ferris.ask("yield to all"), "Sent to 1 cow");
        assert_eq!(ferris.ask("say tux to you"), "Sent to tux");
        let screen = terminal.wait_for(|screen| screen.has("  to all  ") && screen.has("  to you  "));
        let colours =
            ["Logged in as tux", "ferris says:", "ferris says to you:"].map(|text| screen.cell_of(text).fgcolor());
        assert!(!colours.contains(&vt100::Color::Default), "{colours:?}");
        assert!(colours[0] != colours[1] && colours[1] != colours[2] && colours[2] != colours[0], "{colours:?}");
        terminal.enter("quit");
        terminal.expect_end(0);
    }
}

#[test]
fn private_messages_and_the_own_name_ring_the_bell_once() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let terminal = Terminal::at(&server, &[]).logged_in("tux");
    for (line, bells) in [
        ("yield moo 1.", 0),
        ("say tux moo 2.", 1),
        ("yield moo 3. for Tux!", 2),
        ("yield moo 4. for a tuxedo, tux#2 and tux-2", 2),
        ("say tux moo 5. for tux", 3),
        ("yield moo 6. for tux and tux", 4),
        ("yield moo 7.", 4),
    ] {
        assert!(ferris.ask(line).starts_with("Sent to "));
        let text = &line[line.find("moo").expect("each has it")..][..6];
        assert_eq!(terminal.wait_for_text(text).bells, bells, "{line}");
    }
}

#[test]
fn with_no_bell_nothing_rings() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let terminal = Terminal::at(&server, &["--no-bell"]).logged_in("tux");
    assert_eq!(ferris.ask("say tux moo 1."), "Sent to tux");
    assert_eq!(ferris.ask("yield moo 2. for tux"), "Sent to 1 cow");
    let screen = terminal.wait_for_text("moo 2.");
    assert!(screen.has("moo 1."));
    assert_eq!(screen.bells, 0);
}

#[test]
fn each_message_has_its_time_as_the_user_wants_it() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let cases: [(Flags, &str); 3] = [
        (&[], "00:00 ferris says:"),
        (&["--time", "at noon"], "at noon ferris says:"),
        (&["--no-time"], "ferris says:"),
    ];
    // Each digit as 0.
    let shape = |row: &str| row.replace(|it: char| it.is_ascii_digit(), "0");
    for (flags, header) in cases {
        let mut terminal = Terminal::at(&server, flags).logged_in("tux");
        assert_eq!(ferris.ask("yield moo"), "Sent to 1 cow");
        let screen = terminal.wait_for_text("  moo  ");
        assert!(screen.all_rows().iter().any(|row| shape(row) == header), "{flags:?} {:#?}", screen.rows());
        terminal.enter("quit");
        terminal.expect_end(0);
    }
}

#[test]
fn joins_and_leaves_are_dim_and_quiet_hides_them() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    for is_quiet in [false, true] {
        let flags: &[&str] = if is_quiet { &["--quiet"] } else { &[] };
        let mut terminal = Terminal::start(server.address, flags, LARGE).connected().logged_in("tux");
        // The notices are on when the client has the answer to what it asked for before.
        terminal.enter("who");
        terminal.wait_for_text("Registered users: ferris, tux");
        server.login("kirby").quit();
        assert_eq!(ferris.ask("yield moo"), "Sent to 1 cow");
        let screen = terminal.wait_for_text("  moo  ");
        assert_eq!([screen.has("* kirby has joined"), screen.has("* kirby has left")], [!is_quiet; 2]);
        if !is_quiet {
            assert!(screen.cell_of("* kirby has joined").dim());
        }
        terminal.enter("quit");
        terminal.expect_end(0);
    }
}

#[test]
fn the_transcript_has_all_that_is_shown_without_pictures() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let scratch = Scratch::new();
    let path = scratch.join("chat.log");
    let path = path.to_str().expect("UTF-8");
    for _ in 0..2 {
        let mut terminal = Terminal::at(&server, &["--log", path, "--quiet"]).logged_in("tux");
        assert_eq!(ferris.ask("yield to all"), "Sent to 1 cow");
        assert_eq!(ferris.ask("say tux to you"), "Sent to tux");
        terminal.wait_for(|screen| screen.has("  to all  ") && screen.has("  to you  "));
        terminal.enter("quit");
        terminal.expect_end(0);
    }
    let mode = fs::metadata(path).expect("it has been written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let file = fs::read_to_string(path).expect("it has been written");
    let (times, lines): (Vec<&str>, Vec<&str>) = file.lines().map(|line| line.split_at(20)).unzip();
    let is_time =
        |time: &&str| time.chars().zip("2026-11-27 06:25:54 ".chars()).all(|(a, b)| a == b || a.is_ascii_digit());
    assert!(times.iter().all(is_time), "{file}");
    let session =
        ["> login tux", "Logged in as tux", "ferris says: to all", "ferris says to you: to you", "> quit", "Goodbye."];
    let (first, again) = lines.split_at(lines.len() / 2);
    for lines in [first, again] {
        assert!(lines[0].ends_with("/help"), "{file}");
        assert_eq!(lines[1..], session, "{file}");
    }
}

#[test]
fn a_transcript_that_cannot_be_written_is_one_line() {
    let server = Server::start();
    let mut terminal = Terminal::start(server.address, &["--log", "/"], (200, 24));
    let screen = terminal.wait_for_text("cowchat: cannot write /: ");
    assert_eq!(screen.all_rows().iter().filter(|row| !row.is_empty()).count(), 1);
    terminal.expect_end(1);
}
