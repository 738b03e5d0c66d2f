//! The typed line of a client at a terminal: its cursor, its keys, completion, history and pastes.

use std::fs;

use crate::support::{Client, Key, Listener, Scratch, Server, Terminal};

/// A window in which no line of these tests wraps.
const WIDE: (u16, u16) = (200, 24);

/// A user whose cow is ferris, and who reads messages as lines.
fn reader(server: &Server) -> Client {
    let mut reader = server.login("ferris");
    assert_eq!(reader.ask("art off"), "Art is off");
    reader
}

#[test]
fn a_message_leaves_the_typed_line_and_its_cursor_alone() {
    let server = Server::start();
    let mut ferris = server.login("ferris");
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    let letters: Vec<char> = "привет 世界 👋 hello".chars().collect();
    let width = |letter: &char| if "世界👋".contains(*letter) { 2 } else { 1 };
    terminal.type_in(&String::from_iter(&letters));
    for at in (0..=letters.len()).rev() {
        let line = |typed: &str| {
            let (before, after) = letters.split_at(at);
            format!("tux> {}{typed}{}", String::from_iter(before), String::from_iter(after))
        };
        let column = 5 + letters[..at].iter().map(width).sum::<u16>();
        let is_so = |typed: &str, column| {
            let line = line(typed);
            terminal.wait_for(|screen| screen.typed() == line && screen.cursor().1 == column);
        };
        is_so("", column);
        assert_eq!(ferris.ask(&format!("say tux moo {at}.")), "Sent to tux");
        let screen = terminal.wait_for_text(&format!("  moo {at}.  >"));
        assert_eq!((screen.typed(), screen.cursor().1), (line(""), column));
        assert_eq!(screen.rows().iter().filter(|row| row.contains("привет")).count(), 1, "one typed line");
        // The next letter goes where the cursor is.
        terminal.type_in("ж");
        let is_so = |typed: &str, column| {
            let line = line(typed);
            terminal.wait_for(|screen| screen.typed() == line && screen.cursor().1 == column);
        };
        is_so("ж", column + 1);
        terminal.press(Key::Backspace);
        terminal.press(Key::Left);
    }
}

#[test]
fn login_completes_to_the_free_cows() {
    let server = Server::start();
    let mut terminal = Terminal::at(&server, &[]);
    terminal.type_in("login t");
    terminal.press(Key::Tab);
    terminal.wait_for(|screen| screen.has("- togepi  tux") && screen.typed() == "> login t");
    terminal.type_in("u");
    terminal.press(Key::Tab);
    terminal.wait_for_typed("> login tux ");
    terminal.press(Key::Enter);
    terminal.wait_for_typed("tux> ");
    // It is no longer free.
    terminal.type_in("login t");
    terminal.press_until(Key::Tab, |screen| screen.typed().starts_with("tux> login togepi "));
}

#[test]
fn enter_right_after_tab_waits_for_the_names() {
    let listener = Listener::new();
    let mut terminal = Terminal::start(listener.address(), &[], WIDE);
    let mut peer = listener.accept_chat();
    terminal.wait_for_text("1 cow is free");
    terminal.type_in("say fe\t\r");
    assert_eq!(peer.read_command(), "who fe");
    peer.reply("Registered users: ferris");
    assert_eq!(peer.read_command().trim_end(), "say ferris");
    peer.reply("error: login first");
    // A key behind it does not wait, and is lost as little as Enter.
    terminal.type_in("say ay\t\rhello");
    assert_eq!(peer.read_command(), "who ay");
    assert_eq!(peer.read_command(), "say ay");
    terminal.wait_for_typed("> hello");
}

#[test]
fn say_completes_to_the_registered_cows_a_second_old() {
    let server = Server::start();
    let mut terminal = Terminal::at(&server, &["--quiet"]).logged_in("tux");
    terminal.type_in("say ");
    terminal.press(Key::Tab);
    terminal.wait_for_typed("tux> say tux ");
    terminal.press(Key::Ctrl('u'));
    let _kirby = server.login("kirby");
    terminal.type_in("say k");
    terminal.press_until(Key::Tab, |screen| screen.typed() == "tux> say kirby ");
    // In the middle of a line, too.
    terminal.press(Key::Ctrl('u'));
    terminal.type_in("say  hello");
    (0..6).for_each(|_| terminal.press(Key::Left));
    terminal.type_in("k");
    let screen = terminal.press_until(Key::Tab, |screen| screen.typed() == "tux> say kirby  hello");
    assert_eq!(screen.cursor().1, 15);
}

#[test]
fn keys_edit_the_line() {
    let server = Server::start();
    let mut terminal = Terminal::at(&server, &[]);
    terminal.type_in("b世d");
    terminal.press(Key::Home);
    terminal.type_in("a");
    terminal.wait_for(|screen| screen.typed() == "> ab世d" && screen.cursor().1 == 3);
    terminal.press(Key::Delete);
    terminal.press(Key::Delete);
    terminal.wait_for_typed("> ad");
    terminal.press(Key::End);
    terminal.press(Key::Backspace);
    terminal.wait_for(|screen| screen.typed() == "> a" && screen.cursor().1 == 3);
    terminal.press(Key::Ctrl('c'));
    terminal.wait_for_typed("> ");
    assert!(!terminal.screen().has("Ctrl-D or /quit leaves"));
    terminal.press(Key::Ctrl('c'));
    terminal.wait_for(|screen| screen.has("Ctrl-D or /quit leaves") && screen.typed() == "> ");
}

#[test]
fn a_line_wider_than_the_window_stays_in_one_row() {
    let server = Server::start();
    let mut terminal = Terminal::start(server.address, &[], (30, 10)).connected();
    let text = "0123456789привет👋".repeat(10);
    terminal.type_in(&text);
    let screen = terminal.wait_for(|screen| screen.typed().ends_with('👋'));
    assert!(screen.cursor().1 < 30 && screen.typed().starts_with("> "), "{:?}", screen.typed());
    terminal.press(Key::Home);
    terminal.wait_for(|screen| screen.typed().starts_with("> 0123456789привет") && screen.cursor().1 == 2);
    terminal.type_in("x");
    let screen = terminal.wait_for(|screen| screen.typed().starts_with("> x0123456789") && screen.cursor().1 == 3);
    assert_eq!(screen.count("6789"), 1, "one row");
}

#[test]
fn up_recalls_lines_and_the_file_has_no_private_ones() {
    let server = Server::start();
    let mut ferris = reader(&server);
    let state = Scratch::new();
    let env = [("XDG_STATE_HOME", state.path())];
    let start = || Terminal::with_env(server.address, &["--quiet"], WIDE, &env).connected();
    let mut terminal = start().logged_in("tux");
    assert_eq!(ferris.ask("say tux hi"), "Sent to tux");
    terminal.wait_for_text("says to you:");
    for line in ["hello all", "say ferris secret", "/r secret too", "/say ferris secret three", "who"] {
        terminal.enter(line);
    }
    terminal.wait_for_text("Registered users: ferris, tux");
    terminal.type_in("half");
    for line in ["who", "/say ferris secret three", "/r secret too", "say ferris secret", "hello all", "login tux"] {
        terminal.press(Key::Up);
        terminal.wait_for_typed(&format!("tux> {line}"));
    }
    for line in ["hello all", "say ferris secret", "/r secret too", "/say ferris secret three", "who", "half"] {
        terminal.press(Key::Down);
        terminal.wait_for_typed(&format!("tux> {line}"));
    }
    terminal.press(Key::Ctrl('c'));
    terminal.press(Key::Ctrl('d'));
    terminal.expect_end(0);
    let file = fs::read_to_string(state.join("cowchat/history")).expect("it has been written");
    assert!(!file.contains("secret"), "{file}");
    let mut terminal = start();
    for line in ["who", "hello all", "login tux"] {
        terminal.press(Key::Up);
        terminal.wait_for_typed(&format!("> {line}"));
    }
}

#[test]
fn without_history_no_file_is_written() {
    let server = Server::start();
    let mut terminal = Terminal::at(&server, &["--no-history"]).logged_in("tux");
    terminal.press(Key::Up);
    terminal.wait_for_typed("tux> login tux");
    terminal.press(Key::Ctrl('c'));
    terminal.enter("quit");
    terminal.expect_end(0);
    assert_eq!(fs::read_dir(terminal.home.path()).expect("a folder").count(), 0);
}

#[test]
fn an_unreadable_history_is_one_line_and_the_chat_goes_on() {
    let server = Server::start();
    let state = Scratch::new();
    fs::create_dir_all(state.join("cowchat/history")).expect("a folder of the test's own");
    let env = [("XDG_STATE_HOME", state.path())];
    let terminal = Terminal::with_env(server.address, &[], (200, 24), &env).connected();
    let mut terminal = terminal.logged_in("tux");
    terminal.enter("who");
    let screen = terminal.wait_for_text("Registered users: tux");
    assert_eq!(screen.count("no history is kept: "), 1);
    assert_eq!(screen.count("--no-history"), 1, "in one row");
    terminal.press(Key::Up);
    terminal.wait_for_typed("tux> who");
}

#[test]
fn a_hostile_history_moves_nothing() {
    let server = Server::start();
    let state = Scratch::new();
    fs::create_dir_all(state.join("cowchat")).expect("a folder of the test's own");
    let lines = ["#V2", "hello\\nquit", "evil \x1b[2J\x1b[1;1H\x1b]0;t\x07", &"x".repeat(100_000)].join("\n");
    fs::write(state.join("cowchat/history"), lines).expect("a file of the test's own");
    let env = [("XDG_STATE_HOME", state.path())];
    let mut terminal = Terminal::with_env(server.address, &["--cow", "tux"], (200, 24), &env);
    terminal.wait_for_typed("tux> ");
    terminal.press(Key::Up);
    terminal.wait_for(|screen| screen.typed().ends_with("xxx"));
    terminal.press(Key::Up);
    let screen = terminal.wait_for(|screen| screen.typed().starts_with("tux> evil"));
    assert!(screen.has("cows are free") && screen.bells == 0, "nothing is cleared");
    terminal.press(Key::Up);
    terminal.wait_for_typed("tux> hello quit");
}

#[test]
fn a_long_line_shows_what_stands_before_the_cursor() {
    let server = Server::start();
    let mut terminal = Terminal::start(server.address, &[], (80, 24)).connected().logged_in("tux");
    let line: String = (0..60).map(|n| format!("{n:03}.")).collect();
    terminal.type_in(&line);
    terminal.wait_for(|screen| screen.typed().ends_with("059."));
    for _ in 0..80 {
        terminal.press(Key::Backspace);
    }
    let screen = terminal.wait_for(|screen| screen.typed().ends_with("039."));
    assert!(screen.typed().chars().count() > 70, "{:?}", screen.typed());
    terminal.press(Key::Home);
    terminal.wait_for(|screen| screen.typed().starts_with("tux> 000.001.") && screen.cursor().1 == 5);
}

#[test]
fn a_pasted_text_goes_out_line_by_line_at_the_allowed_rate() {
    let server = Server::with(&["--flood-exempt", "none", "--flood-rate", "100/s"]);
    let mut ferris = reader(&server);
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    let lines: Vec<String> = (1..=40).map(|n| format!("line {n}")).collect();
    terminal.type_in("first ");
    terminal.paste(&(lines.join("\n") + "\nthe rest"));
    assert_eq!(ferris.read_line(), "tux says: first line 1");
    for line in &lines[1..] {
        assert_eq!(ferris.read_line(), format!("tux says: {line}"));
    }
    terminal.wait_for_typed("tux> the rest");
    ferris.expect_silence();
}

#[test]
fn ctrl_c_drops_what_is_left_of_a_paste() {
    let listener = Listener::new();
    let mut terminal = Terminal::start(listener.address(), &[], WIDE);
    let mut peer = listener.accept_chat();
    terminal.wait_for_text("1 cow is free");
    terminal.enter("login tux");
    assert_eq!(peer.read_command(), "login tux");
    peer.reply("Logged in as tux");
    assert_eq!(peer.read_command(), "notify on");
    peer.reply("Notices are on");
    assert_eq!(peer.read_command(), "history 20");
    peer.reply("error: no history");
    terminal.paste(&(1..=40).map(|n| format!("line {n}\n")).collect::<String>());
    // The second waits for the reply to the first.
    assert_eq!(peer.read_command(), "yield line 1");
    terminal.wait_for(|screen| screen.typed() == "tux (39 unsent)> " && screen.has("tux> line 1"));
    terminal.press(Key::Ctrl('c'));
    terminal.wait_for_text("- 39 lines not sent");
    peer.reply("Sent to 1 cow");
    terminal.enter("hello");
    assert_eq!(peer.read_command(), "yield hello");
}

#[test]
fn text_before_login_is_answered_by_the_client() {
    let server = Server::start();
    let mut ferris = reader(&server);
    let mut terminal = Terminal::at(&server, &[]);
    terminal.enter("hello?");
    terminal.wait_for(|screen| screen.has("- no cow hears you yet: type login") && screen.has("> hello?"));
    let mut terminal = terminal.logged_in("tux");
    terminal.enter("hello!");
    assert_eq!(ferris.read_line(), "tux says: hello!");
}

#[test]
fn text_arrives_as_it_was_typed() {
    let server = Server::start();
    let mut ferris = reader(&server);
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    for (typed, arrives) in [
        ("привет 世界 👋", "привет 世界 👋"),
        (" who is there", "who is there"),
        (" /quit", "/quit"),
        ("\"hi\"", "\"hi\""),
        ("'hi'", "'hi'"),
        ("\"hi\" 'hi'", "\"hi\" 'hi'"),
        ("7 who", "7 who"),
    ] {
        terminal.enter(typed);
        assert_eq!(ferris.read_line(), format!("tux says: {arrives}"));
    }
    assert_eq!(ferris.ask("say tux moo"), "Sent to tux");
    terminal.wait_for_text("says to you");
    terminal.enter("/r \"yes\"");
    assert_eq!(ferris.read_line(), "tux says to you: \"yes\"");
    terminal.enter("/foo");
    terminal.wait_for_text("- no command /foo");
}

#[test]
fn with_a_pipe_or_a_dumb_terminal_it_is_the_plain_client() {
    let server = Server::start();
    let address = server.address.to_string();
    let piped = "\"$0\" connect \"$1\" | cat";
    let arguments = ["-c", piped, env!("CARGO_BIN_EXE_cowchat"), &address];
    let path = std::env::var("PATH").expect("where cat is");
    let dumb = Terminal::with_env(server.address, &[], (80, 24), &[("TERM", "dumb")]);
    for mut terminal in [Terminal::run("/bin/sh", &arguments, (80, 24), &[("PATH", &path)]), dumb] {
        // The terminal echoes it.
        terminal.enter("who");
        let screen = terminal.wait_for_text("Registered users: (none)");
        assert!(!screen.brackets_pastes());
        terminal.press(Key::Ctrl('d'));
        let rows = terminal.expect_end(0).rows();
        let rows: Vec<&str> = rows.iter().map(String::as_str).filter(|row| !row.is_empty()).collect();
        assert_eq!(rows, ["who", "Registered users: (none)"]);
    }
}
