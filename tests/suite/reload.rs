//! SIGHUP without a terminal: the configuration is read again, all or nothing, and no connection ends.

use crate::support::{LAST_LINE, ROOMY, Scratch, Server, serve, wait_until, without_terminal};

/// A server without a terminal that greets with this file.
fn greeting_with(motd: &str) -> Server {
    let mut command = serve(&["--cores", "2", "--motd", motd, "--sendq-bytes-max", ROOMY]);
    without_terminal(&mut command);
    Server::started(command)
}

fn assert_greeted(server: &Server, text: &str) {
    for core in 0..2 {
        server.connect_on(core).expect(text);
    }
}

#[test]
fn a_hangup_without_a_terminal_reads_the_greeting_again() {
    let files = Scratch::new();
    let mut server = greeting_with(&files.put("motd", "Moo!\n"));
    let mut before = server.connect_on(0);
    before.expect("Moo!\n");
    let mut before = before.logged_in("tux");
    files.put("motd", "Moo twice!\n");
    server.signal("HUP");
    server.log_event("reloaded", &[("changed", "motd"), ("level", "INFO")]);
    // A request to a core may come after its next connection.
    wait_until(
        || (0..2).all(|core| server.connect_on(core).read_line() == "Moo twice!"),
        "a core greets with the old text",
    );
    assert_eq!(before.ask("yield hi"), "Sent to 0 cows");
    server.signal("TERM");
    assert!(before.read_to_end().ends_with(LAST_LINE));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let files = Scratch::new();
    let path = files.put("motd", "Moo!\n");
    let server = greeting_with(&path);
    std::fs::remove_file(&path).expect("a file of the test's own");
    server.signal("HUP");
    let failed = server.log_event("reload_failed", &[("level", "ERROR")]);
    let error = format!("the file of --motd, {path}, cannot be read: ");
    assert!(failed.field("error").starts_with(&error), "{failed:?}");
    assert_greeted(&server, "Moo!\n");
    assert!(server.log_events("reloaded", &[]).is_empty());
    files.put("motd", "Moo again!\n");
    server.signal("HUP");
    server.log_event("reloaded", &[("changed", "motd")]);
}

#[test]
fn no_connection_ends_in_a_hundred_reloads_under_load() {
    const RELOADS: usize = 100;
    let files = Scratch::new();
    let mut server = greeting_with(&files.put("motd", "Moo!\n"));
    let login = |core, cow: &str| {
        let mut client = server.connect_on(core);
        client.expect("Moo!\n");
        client.logged_in(cow)
    };
    let (mut tux, mut ferris) = (login(0, "tux"), login(1, "ferris"));
    for reload in 0..RELOADS {
        files.put("motd", format!("Moo {reload}\n"));
        server.signal("HUP");
        assert_eq!(tux.ask("yield hi"), "Sent to 1 cow");
        wait_until(|| server.log_events("reloaded", &[]).len() > reload, "a reload does not end");
    }
    assert_eq!(server.log_events("reloaded", &[]).len(), RELOADS);
    assert!(server.log_events("reload_failed", &[]).is_empty());
    // Others close on their way to the core that a test asks for.
    let ended = server.log_events("closed", &[]);
    assert!(ended.iter().all(|event| event.field("cow").is_empty()), "{ended:?}");
    server.signal("TERM");
    for client in [&mut tux, &mut ferris] {
        assert!(client.read_to_end().ends_with(LAST_LINE));
    }
    assert_eq!(server.wait().code(), Some(0));
}
