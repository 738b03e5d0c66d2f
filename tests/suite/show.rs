//! Pictures without a message: what `show` gives to any connection, line by line.
//!
//! Owns that the first line says exactly how many lines follow, and that these are what stands below the bubble of a message.

use std::io::Write;

use crate::support::{Client, HELP, Scratch, Server, all_cows, builtin, message};
use cowchat::cows::small;

const ARTS: [&str; 5] = ["color", "half", "plain", "small", "off"];

/// The picture of a built-in cow in this art.
fn picture_in(art: &str, cow: &str) -> String {
    let body = match art {
        "color" => {
            // The header and three lines of bubble, then the body, as charasay draws it.
            let whole = message(cow, false, "hi");
            return whole.splitn(5, '\n').nth(4).expect("four lines and more").to_owned();
        }
        "half" => &builtin(cow).half,
        "plain" => &builtin(cow).plain,
        "small" => small::BODY,
        _ => return String::new(),
    };
    format!("{body}\n")
}

/// What answers `show`: the line, and the picture.
fn reply(name: &str, picture: &str) -> String {
    let count = picture.lines().count();
    format!("{name}: {count} line{}\n{picture}", if count == 1 { "" } else { "s" })
}

/// Sends a line, and must get this and nothing after it.
fn expect_reply(client: &mut Client, line: &str, reply: &str) {
    client.send(&format!("{line}\n"));
    client.expect(reply);
    assert_eq!(client.read_line(), HELP, "after {line}");
}

#[test]
fn every_cow_is_shown_in_each_art_to_guests_and_sessions() {
    let server = Server::start();
    for core in [0, 1] {
        let mut session = server.login_on(core, "tux");
        let mut guest = server.connect_on(core);
        for art in ARTS {
            assert_eq!(session.ask(&format!("art {art}")), format!("Art is {art}"));
            for cow in all_cows() {
                let expected = reply(cow, &picture_in(art, cow));
                expect_reply(&mut session, &format!("show {cow}"), &expected);
                expect_reply(&mut guest, &format!("show {cow} {art}"), &expected);
            }
        }
        // A named art is for this picture only.
        expect_reply(&mut session, "show mew small", &reply("mew", &picture_in("small", "mew")));
        expect_reply(&mut session, "show mew", "mew: 0 lines\n");
        expect_reply(&mut guest, "show mew", &reply("mew", &picture_in("color", "mew")));
        session.quit();
    }
}

#[test]
fn what_is_shown_is_what_stands_below_a_bubble() {
    let server = Server::start();
    let mut tux = server.login("tux");
    for art in &ARTS[..4] {
        assert_eq!(tux.ask(&format!("art {art}")), format!("Art is {art}"));
        assert_eq!(tux.ask("say tux hi"), "Sent to tux");
        (0..4).for_each(|_| drop(tux.read_line()));
        let picture = picture_in(art, "tux");
        tux.expect(&picture);
        expect_reply(&mut tux, "show tux", &reply("tux", &picture));
    }
}

#[test]
fn only_the_first_line_has_the_id_and_all_end_as_the_clients() {
    let server = Server::with(&["--art", "off"]);
    for core in [0, 1] {
        let mut client = server.connect_on(core);
        expect_reply(
            &mut client,
            "007 show kirby half",
            &format!("007 {}", reply("kirby", &picture_in("half", "kirby"))),
        );
        expect_reply(&mut client, "show kirby", "kirby: 0 lines\n");
        for (line, picture) in [("8 show mew plain", picture_in("plain", "mew")), ("8 show mew", String::new())] {
            client.send_raw(format!("{line}\r\nwho\r\n").as_bytes());
            client.expect(&format!("8 {}", reply("mew", &picture)).replace('\n', "\r\n"));
            assert_eq!(client.read_line(), "Registered users: (none)\r");
        }
    }
}

#[test]
fn a_cow_of_a_herd_has_its_own_name_and_its_breeds_picture() {
    let server = Server::with(&["--herd", "2"]);
    let mut guest = server.connect();
    // Free or taken.
    let _taken = server.login("tux#2");
    for name in ["tux", "tux#2", "mew#2"] {
        let breed = name.trim_end_matches("#2");
        expect_reply(&mut guest, &format!("show {name} half"), &reply(name, &picture_in("half", breed)));
    }
    for name in ["tux#3", "tux#1", "tux#", "nosuch", "Tux", "\"tux\""] {
        assert_eq!(guest.ask(&format!("show {name} half")), format!("error: no cow named {name} (try cows)"));
    }
    for line in ["show", "show tux Half", "show tux blue", "show tux half half", "show nosuch blue"] {
        assert_eq!(guest.ask(line), "error: usage: show COW [color|half|plain|small|off]", "{line}");
    }
}

#[test]
fn of_a_cow_file_no_empty_lines_at_the_end_are_counted() {
    let cows = Scratch::new();
    for (file, picture) in [
        ("one.cow", "moo"),
        ("gap.cow", "moo\n\n\n  moo  \n\n"),
        ("below.cow", "\n\nmoo"),
        ("night.cow", "\\e[48;5;16m  \\e[m\n\n\n\\e[48;5;16m    \\e[m\n  moo\n"),
    ] {
        std::fs::write(cows.join(file), format!("$the_cow = <<EOC;\n{picture}\nEOC\n")).expect("a file can be written");
    }
    let server = Server::with(&["--cow-dir", cows.path()]);
    let mut guest = server.connect();
    let mut expect = |line: &str, reply: &str| expect_reply(&mut guest, line, reply);
    for art in ["color", "half", "plain"] {
        expect(&format!("show one {art}"), "one: 1 line\nmoo\n");
        expect(&format!("show below {art}"), "below: 3 lines\n\n\nmoo\n");
        expect(&format!("show gap {art}"), "gap: 4 lines\nmoo\n\n\n  moo  \n");
    }
    expect("show night", "night: 5 lines\n\x1b[48;5;16m  \x1b[m\n\n\n\x1b[48;5;16m    \x1b[m\n  moo\n");
    expect("show night half", "night: 3 lines\n\x1b[38;5;16m▀\x1b[m\n\x1b[38;5;16m▄▄\x1b[m\n mo\n");
    expect("show night plain", "night: 5 lines\n##\n\n\n####\n  moo\n");
}

#[test]
fn pictures_that_a_guest_does_not_read_take_little_memory() {
    const PICTURES: usize = 10_000;
    const GROWTH_MAX_KIB: u64 = 4096;
    let server = Server::start();
    let expected = reply("mew", &picture_in("color", "mew"));
    for core in [0, 1] {
        let mut guest = server.connect_narrow_on(core);
        expect_reply(&mut guest, "show mew", &expected);
        let before = server.kib_of("VmHWM");
        let mut asker = guest.writer();
        std::thread::scope(|scope| {
            scope
                .spawn(move || asker.write_all("show mew\n".repeat(PICTURES).as_bytes()).expect("the server reads on"));
            // Meanwhile the core serves others, again and again.
            let mut other = server.connect_on(core);
            (0..1000).for_each(|_| assert_eq!(other.ask("who"), "Registered users: (none)"));
            (0..PICTURES).for_each(|_| guest.expect(&expected));
        });
        let peak = server.kib_of("VmHWM");
        assert!(peak < before + GROWTH_MAX_KIB, "it grew from {before} to {peak} KiB");
    }
}
