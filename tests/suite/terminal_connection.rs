//! A client at a terminal and its server: how they begin, lose each other and part, and servers that are none.

use std::net::TcpListener;

use crate::support::{Key, Listener, Scratch, Screen, Server, Terminal, wait_until};

/// A window in which no line of these tests wraps.
const WIDE: (u16, u16) = (200, 24);

/// A server whose address no other test uses, so that another one can take its place.
fn start_at(address: &str) -> Server {
    Server::try_with(address, &[]).unwrap_or_else(|said| panic!("the server did not start: {said}"))
}

type Leave = fn(&mut Terminal);

/// Ways to leave.
const WAYS: [(&str, Leave); 6] = [
    ("quit", |terminal| terminal.enter("quit")),
    ("/exit", |terminal| terminal.enter("/EXIT")),
    ("Ctrl-D", |terminal| terminal.press(Key::Ctrl('d'))),
    ("SIGTERM", |terminal| terminal.signal("TERM")),
    ("SIGINT", |terminal| terminal.signal("INT")),
    ("SIGHUP", |terminal| terminal.signal("HUP")),
];

#[test]
fn each_way_to_leave_leaves_the_terminal_as_it_was() {
    let server = Server::start();
    for (way, leave) in WAYS {
        let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
        leave(&mut terminal);
        let screen = terminal.expect_end(0);
        assert_eq!((screen.typed().as_str(), screen.cursor().1), ("", 0), "{way}: the shell's prompt comes here");
    }
}

#[test]
fn it_ends_with_its_terminal_also_without_a_signal() {
    let server = Server::start();
    let mut client = Terminal::at(&server, &[]).logged_in("tux").hang_up();
    assert_eq!(client.wait(), Some(1));
    wait_until(|| server.connect().ask("who") == "Registered users: (none)", "it has left");
}

#[test]
fn it_comes_back_as_the_same_cow_to_a_restarted_server() {
    let server = start_at("127.0.18.2:0");
    let address = server.address.to_string();
    let mut terminal = Terminal::start(server.address, &[], WIDE).connected().logged_in("tux");
    terminal.type_in("half typed");
    terminal.press(Key::Left);
    drop(server);
    let screen = terminal.wait_for(|screen| {
        screen.has(&format!("- {address} has gone away: ")) && screen.typed() == "tux (offline)> half typed"
    });
    assert_eq!(screen.cursor().1, 24);
    let server = start_at(&address);
    let screen = terminal.wait_for_typed("tux> half typed");
    assert_eq!(screen.cursor().1, 14);
    assert_eq!(screen.count("has gone away"), 1, "it is said once");
    let mut ferris = server.login("ferris");
    assert_eq!(ferris.ask("art off"), "Art is off");
    terminal.press(Key::Enter);
    assert_eq!(ferris.read_line(), "tux says: half typed");
}

#[test]
fn it_says_so_if_its_cow_is_taken_meanwhile_and_lists_free_ones() {
    let server = start_at("127.0.18.3:0");
    let address = server.address.to_string();
    let mut terminal = Terminal::start(server.address, &[], WIDE).connected().logged_in("tux");
    drop(server);
    terminal.type_in("half typed");
    terminal.wait_for_typed("tux (offline)> half typed");
    terminal.signal("STOP");
    let server = start_at(&address);
    let _tux = server.login("tux");
    terminal.signal("CONT");
    let screen =
        terminal.wait_for(|screen| screen.has("error: cow tux is already taken") && screen.has("- free: aya, "));
    assert_eq!(screen.typed(), "> half typed");
    terminal.press(Key::Ctrl('u'));
    terminal.logged_in("kirby");
}

#[test]
fn lines_typed_without_a_server_are_sent_after_the_next_login() {
    let server = start_at("127.0.18.4:0");
    let address = server.address.to_string();
    let mut terminal = Terminal::start(server.address, &[], WIDE).connected().logged_in("tux");
    drop(server);
    terminal.wait_for_typed("tux (offline)> ");
    terminal.enter("hello");
    let is_unsent = |screen: &Screen, unsent: &str| screen.typed() == format!("tux (offline) ({unsent}");
    terminal.wait_for(|screen| screen.has("wait for the next login") && is_unsent(screen, "1 unsent)> "));
    terminal.paste("one\ntwo\nthree");
    terminal.wait_for(|screen| is_unsent(screen, "3 unsent)> three"));
    terminal.signal("STOP");
    let server = start_at(&address);
    let mut ferris = server.login("ferris");
    assert_eq!(ferris.ask("art off"), "Art is off");
    terminal.signal("CONT");
    for text in ["hello", "one", "two"] {
        assert_eq!(ferris.read_line(), format!("tux says: {text}"));
    }
    terminal.wait_for_typed("tux> three");
}

#[test]
fn closed_for_its_silence_it_comes_back_when_the_user_does() {
    let server = Server::with(&["--idle-timeout", "1s"]);
    let mut terminal = Terminal::start(server.address, &["--quiet"], WIDE).connected().logged_in("tux");
    let is_offline = |typed: &str| typed == "tux (offline)> ";
    let screen = terminal.wait_for(|screen| screen.has("Enter connects again") && is_offline(&screen.typed()));
    assert!(screen.has("* closed: idle"), "why");
    terminal.press(Key::Enter);
    terminal.wait_for(|screen| screen.count("Logged in as tux") == 2);
}

#[test]
fn after_a_stop_from_outside_keys_arrive_at_once() {
    let server = Server::start();
    let mut terminal = Terminal::at(&server, &[]).logged_in("tux");
    terminal.signal("STOP");
    // A shell gives the terminal its own mode meanwhile.
    terminal.reset_mode();
    terminal.signal("CONT");
    terminal.wait_for(|screen| screen.brackets_pastes());
    wait_until(|| !terminal.is_cooked(), "the client's mode");
    terminal.type_in("half");
    terminal.wait_for_typed("tux> half");
}

#[test]
fn a_greeting_may_begin_with_a_number_or_an_error() {
    let scratch = Scratch::new();
    let greeting = scratch.join("motd");
    std::fs::write(&greeting, "1 Be kind\nerrors? write to us\nerror: none\n").expect("a file of the test's own");
    let server = Server::with(&["--motd", &greeting.to_string_lossy()]);
    let terminal = Terminal::at(&server, &[]).logged_in("tux");
    let screen = terminal.screen();
    assert!(screen.has("1 Be kind") && screen.has("error: none") && screen.has("free"), "{:#?}", screen.rows());
}

#[test]
fn a_server_that_floods_and_does_not_answer_is_shown_and_left() {
    let listener = Listener::new();
    let mut terminal = Terminal::start(listener.address(), &[], WIDE);
    let mut peer = listener.accept_chat();
    terminal.wait_for_text("1 cow is free");
    // Its picture never comes, and messages never end.
    for n in 1..=3000 {
        peer.client.send(&format!("0 ferris says: {n}."));
    }
    terminal.wait_for_text("3000.");
    terminal.press(Key::Ctrl('d'));
    terminal.expect_end(0);
}

#[test]
fn the_cow_of_the_command_line_is_logged_in_at_once() {
    let server = Server::start();
    let terminal = Terminal::start(server.address, &["--cow", "tux"], WIDE).connected();
    terminal.wait_for_typed("tux> ");
    let second = Terminal::start(server.address, &["--cow", "tux"], WIDE);
    second.wait_for(|screen| screen.has("error: cow tux is already taken") && screen.has("- free: aya, "));
    second.wait_for_typed("> ");
}

/// The only row that a client leaves, which must end with this code.
fn last_words(terminal: &mut Terminal, code: i32) -> String {
    terminal.wait_for(|screen| screen.has("cowchat: ") && screen.cursor() == (1, 0));
    let screen = terminal.expect_end(code);
    let mut rows: Vec<String> = screen.all_rows().into_iter().filter(|row| !row.trim().is_empty()).collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    rows.remove(0)
}

#[test]
fn a_server_that_is_no_chat_is_named_by_what_it_said() {
    for (said, named) in [
        ("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "it said \"HTTP/1.1 400 Bad Request\""),
        ("SSH-2.0-x\r\n", "it said \"SSH-2.0-x\""),
        ("\x15\x03\x01\x1b[2J\x07\u{9b}1;1H no line", "it said \""),
        ("", "does not answer as a cow chat does"),
    ] {
        let listener = Listener::new();
        let mut terminal = Terminal::start(listener.address(), &[], WIDE);
        let mut peer = listener.accept();
        peer.client.send_raw(said.as_bytes());
        drop(peer);
        let words = last_words(&mut terminal, 1);
        assert!(words.starts_with(&format!("cowchat: {} ", listener.address())) && words.contains(named), "{words}");
        assert_eq!(terminal.screen().bells, 0);
    }
}

#[test]
fn without_a_server_it_says_so_in_one_line() {
    let listener = TcpListener::bind("127.0.18.5:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let mut terminal = Terminal::start(address, &[], WIDE);
    let words = last_words(&mut terminal, 1);
    assert!(words.starts_with(&format!("cowchat: cannot connect to {address}: ")), "{words}");
}

#[test]
fn a_server_without_ids_is_shown_as_it_is_and_gets_bare_lines() {
    let listener = Listener::new();
    let mut terminal = Terminal::start(listener.address(), &[], WIDE);
    let mut peer = listener.accept_without_ids();
    terminal.wait_for_text("knows no request ids");
    terminal.enter("login tux");
    assert_eq!(peer.read_line(), "login tux");
    peer.send("Logged in as tux");
    terminal.wait_for_typed("tux> ");
    for (typed, sent) in [("hello", "yield hello"), ("who", "who"), ("say ferris hi", "say ferris hi")] {
        terminal.enter(typed);
        assert_eq!(peer.read_line(), sent);
    }
    terminal.type_in("half typed");
    peer.send_raw(b"1 Sent to 1 cow\nferris says: hi\n  any line\n* whatever\n");
    let screen = terminal.wait_for(|screen| screen.has("* whatever") && screen.typed() == "tux> half typed");
    let rows = screen.rows();
    let first = screen.row_of("1 Sent").expect("as it came");
    assert_eq!(rows[first..first + 4], ["1 Sent to 1 cow", "ferris says: hi", "  any line", "* whatever"]);
}

/// Lines that would move the cursor, clear the screen, ring the bell, set a title or a mode.
const EVIL: [&str; 10] = [
    "1.\x1b[2J\x1b[H",
    "2.\x1b[1;1Hx",
    "3.\x07\x07",
    "4.\rx",
    "5.\x1b]0;title\x07\x1b]52;c;eA==\x1b\\",
    "6.\u{9b}1;1Hx\u{9b}2J",
    "7.\x1b[?2004l\x1b[?25l\x1b[?1049h\x1bc",
    "\x08\x0b\x0c\x1bM\x1b[5A\tx8.",
    "9.\x1b[",
    "10.\x1bP+q\x1b\\\x1b[38;5;1",
];

/// Each evil line must be one row below the other, and nothing else changed.
fn expect_harmless(terminal: &Terminal, typed: &str) {
    let screen = terminal.wait_for(|screen| screen.has("10.") && screen.typed() == typed);
    let first = screen.row_of("1.").expect("on the screen");
    for (row, evil) in screen.rows()[first..].iter().zip(EVIL) {
        let mark = evil.find('.').map(|end| &evil[end - 1..=end]).expect("each has a number");
        assert!(row.contains(mark), "{row:?} for {evil:?}\n{:#?}", screen.rows());
    }
    assert!(screen.has("free") || screen.has("no request ids"), "what was there before");
    assert_eq!(screen.bells, 0);
    assert!(screen.brackets_pastes());
}

#[test]
fn no_line_of_a_server_without_ids_moves_the_cursor() {
    let listener = Listener::new();
    let mut terminal = Terminal::start(listener.address(), &[], WIDE);
    let mut peer = listener.accept_without_ids();
    terminal.wait_for_text("knows no request ids");
    terminal.type_in("half typed");
    peer.send_raw(EVIL.map(|line| format!("{line}\n")).concat().as_bytes());
    expect_harmless(&terminal, "> half typed");
}

#[test]
fn no_line_of_a_chat_moves_the_cursor() {
    let kinds: [fn(&str) -> String; 4] = [
        |line| format!("0 * {line}\n"),
        |line| format!("0 {line}\n"),
        |line| format!("{line}\n"),
        |line| format!("99 {line}\n"),
    ];
    for wrap in kinds {
        let listener = Listener::new();
        let mut terminal = Terminal::start(listener.address(), &["--no-time"], WIDE);
        let mut peer = listener.accept_chat();
        terminal.wait_for_text("1 cow is free");
        terminal.type_in("half typed");
        peer.client.send_raw(EVIL.map(wrap).concat().as_bytes());
        expect_harmless(&terminal, "> half typed");
        // A message is drawn with a cow, so only its text is looked for.
        peer.client.send(&format!("0 ferris says: {}", EVIL[..9].concat()));
        let screen = terminal.wait_for(|screen| screen.has("9.") && screen.has("ferris says:"));
        assert_eq!((screen.typed().as_str(), screen.bells), ("> half typed", 0));
        assert!(screen.brackets_pastes() && screen.count("1 cow is free") == 1);
    }
}
