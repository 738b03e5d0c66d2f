//! What is sent, in the rendering of each connection: pictures by `art`, request ids, bubbles.
//!
//! Owns the promises about how things look to a client: each receiver gets the same message in its own rendering, on
//! whichever core it is, from the reply to its request on; a connection that has never sent an id sees none.

use std::collections::BTreeSet;

use crate::support::{Client, HELP, LAST_LINE, NO_USERS, Server, all_cows, builtin, filled, message, picture};
use charasay::bubbles::BubbleType;
use charasay::{Chara, format_character};
use cowchat::cows::small;

const ARTS: [&str; 5] = ["color", "half", "plain", "small", "off"];

/// A one-line message as it is delivered in this art with the header on.
fn message_in(art: &str, from: &str, private: bool, text: &str) -> String {
    let whole = message(from, private, text);
    // The header and three lines of bubble, then the body.
    let body_at = whole.match_indices('\n').nth(3).expect("four lines").0 + 1;
    let bubble = &whole[..body_at];
    match art {
        "color" => whole,
        "half" => format!("{bubble}{}\n", builtin(from).half),
        "plain" => format!("{bubble}{}\n", builtin(from).plain),
        "small" => format!("{bubble}{}\n", small::BODY),
        _ => format!("{} {text}\n", whole.lines().next().expect("a header")),
    }
}

/// What a message to oneself looks like: the block alone.
fn own_block(client: &mut Client, cow: &str, text: &str) -> String {
    client.send(&format!("say {cow} {text}\nnosuch"));
    assert_eq!(client.read_line(), format!("Sent to {cow}"));
    let mut block = String::new();
    loop {
        match client.read_line() {
            end if end == "error: unknown command nosuch (try help)" => return block,
            line => block += &(line + "\n"),
        }
    }
}

/// Chooses an art, by a line with a reply.
fn choose(client: &mut Client, art: &str) {
    assert_eq!(client.ask(&format!("art {art}")), format!("Art is {art}"));
}

// Art.

#[test]
fn each_art_is_what_it_is_called_for_every_cow() {
    let server = Server::start();
    let mut bodies = BTreeSet::new();
    for (n, cow) in all_cows().into_iter().enumerate() {
        let mut client = server.login_on(n % 2, cow);
        let blocks = ARTS.map(|art| {
            choose(&mut client, art);
            own_block(&mut client, cow, "hi")
        });
        let [color, half, plain, small, off] = &blocks;
        assert_eq!(*color, message(cow, true, "hi"), "byte for byte what charasay draws");
        assert_eq!(*off, format!("{cow} says to you: hi\n"));
        assert_eq!(*half, message_in("half", cow, true, "hi"));
        assert!(half.len() * 100 < color.len() * 65, "{cow}: {} of {} bytes", half.len(), color.len());
        for block in [plain, small, off] {
            let printable = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
            assert!(block.bytes().all(printable), "{cow}: {block}");
        }
        let bubble = format!("{cow} says to you:\n ______ \n<  hi  >\n ------ \n");
        let body = plain.strip_prefix(&bubble).unwrap_or_else(|| panic!("not so: {plain}"));
        assert_eq!(body.lines().count(), picture(cow, "hi").trim_end().lines().count() - 3, "{cow} has all its rows");
        assert!(bodies.insert(body.to_owned()), "{cow} looks like another: {body}");
        assert!(small.starts_with(&bubble) && small.lines().count() <= 9, "{small}");
        // Back again.
        choose(&mut client, "color");
        assert_eq!(own_block(&mut client, cow, "hi"), *color);
    }
    assert_eq!(bodies.len(), 24);
}

#[test]
fn each_receiver_gets_a_yield_in_its_own_art_on_each_core() {
    let server = Server::start();
    let cows = ["aya", "cow", "eevee", "ferris", "kirby", "mew", "nemo", "pikachu"];
    let mut receivers: Vec<(Client, &str)> = Vec::new();
    for (n, cow) in cows.into_iter().enumerate() {
        let art = ARTS[n / 2];
        let mut client = server.connect_on(n % 2);
        // Some choose before they log in, some afterwards.
        if n < 4 {
            choose(&mut client, art);
            client = client.logged_in(cow);
        } else {
            client = client.logged_in(cow);
            choose(&mut client, art);
        }
        receivers.push((client, art));
    }
    for core in [0, 1] {
        let mut tux = server.login_on(core, "tux");
        for shift in 0..ARTS.len() {
            assert_eq!(tux.ask("yield moo"), "Sent to 8 cows");
            for (n, (client, art)) in receivers.iter_mut().enumerate() {
                client.expect(&message_in(art, "tux", false, "moo"));
                assert_eq!(tux.ask(&format!("say {} hi", cows[n])), format!("Sent to {}", cows[n]));
                client.expect(&message_in(art, "tux", true, "hi"));
                *art = ARTS[(n / 2 + shift + 1) % ARTS.len()];
                choose(client, art);
            }
        }
        assert_eq!(tux.ask("quit"), "Goodbye.");
        tux.read_to_end();
    }
}

#[test]
fn the_default_art_holds_until_another_is_chosen() {
    for art in ARTS {
        let server = Server::with(&["--art", art]);
        for core in [0, 1] {
            let mut client = server.login_on(core, "mew");
            assert_eq!(own_block(&mut client, "mew", "hi"), message_in(art, "mew", true, "hi"));
            for bad in ["art", "art colour", "art Plain", "art plain off"] {
                assert_eq!(client.ask(bad), "error: usage: art color|half|plain|small|off");
            }
            assert_eq!(own_block(&mut client, "mew", "hi"), message_in(art, "mew", true, "hi"));
            let other = if art == "small" { "off" } else { "small" };
            choose(&mut client, other);
            assert_eq!(own_block(&mut client, "mew", "hi"), message_in(other, "mew", true, "hi"));
            assert_eq!(client.ask("quit"), "Goodbye.");
            client.read_to_end();
        }
    }
}

#[test]
fn without_headers_only_a_line_without_picture_names_its_sender() {
    let server = Server::with(&["--no-header"]);
    let mut client = server.login("tux");
    for art in ARTS {
        choose(&mut client, art);
        let with_header = message_in(art, "tux", true, "hi");
        let expected = match art {
            "off" => "tux says to you: hi\n",
            _ => with_header.strip_prefix("tux says to you:\n").expect("a header"),
        };
        assert_eq!(own_block(&mut client, "tux", "hi"), expected, "{art}");
    }
    // Once its connection is tagged, every art names the sender.
    assert_eq!(client.ask("1 who"), "1 Registered users: tux");
    for art in ARTS {
        choose(&mut client, art);
        assert_eq!(own_block(&mut client, "tux", "hi"), "0 ".to_owned() + &message_in(art, "tux", true, "hi"));
    }
}

// Request ids.

#[test]
fn every_reply_begins_with_the_id_of_its_line() {
    let server = Server::start();
    for core in [0, 1] {
        let mut client = server.connect_on(core);
        client.send_raw(b"1 who\n2 say tux hi\n3 login tux\n4 nosuch\n5 say\n6 yield hi\n007 who\n  8   who  \n");
        client.send_raw(b"9\n10 \n\t11\twho\r\n0 who\n13 14 who\n15 LOGIN mew\nwho\n123456789012345678 quit");
        client.half_close();
        let expected = format!(
            "1 Registered users: (none)\n2 error: login first\n3 Logged in as tux\n\
             4 error: unknown command nosuch (try help)\n5 error: usage: say COW TEXT\n6 Sent to 0 cows\n\
             007 Registered users: tux\n8 Registered users: tux\n9 {HELP}\n10 {HELP}\n11 Registered users: tux\r\n\
             0 Registered users: tux\n13 error: unknown command 14 (try help)\n\
             15 error: you are already logged in as tux\nRegistered users: tux\n123456789012345678 Goodbye.\n"
        );
        assert_eq!(client.read_to_end(), expected);
    }
}

#[test]
fn an_id_has_18_digits_at_most_and_a_wrong_one_changes_nothing() {
    let server = Server::start();
    let mut tux = server.login("tux");
    for digits in [19, 20, 100, 3996] {
        for rest in ["", " who"] {
            assert_eq!(tux.ask(&("9".repeat(digits) + rest)), "error: id too long");
        }
    }
    assert_eq!(tux.ask(&"9".repeat(4001)), "error: line too long (max 4000 bytes)");
    for (line, word) in [("12x who", "12x"), ("-1 who", "-1"), ("+1 who", "+1"), ("1.5", "1.5"), ("#1 who", "#1")] {
        assert_eq!(tux.ask(line), format!("error: unknown command {word} (try help)"));
    }
    assert_eq!(tux.ask("who 12"), NO_USERS);
    assert_eq!(own_block(&mut tux, "tux", "hi"), message("tux", true, "hi"), "still not tagged");
    let id = "9".repeat(18);
    assert_eq!(tux.ask(&format!("{id} who")), format!("{id} Registered users: tux"));
    assert_eq!(own_block(&mut tux, "tux", "hi"), "0 ".to_owned() + &message("tux", true, "hi"));
}

#[test]
fn an_id_does_not_count_towards_the_length_of_its_line() {
    let server = Server::start();
    let longest_id = "1".repeat(18) + " ";
    for (id, counted) in
        [("", ""), ("12 ", ""), ("12\t", ""), ("007 ", ""), (longest_id.as_str(), ""), ("12 ", " "), ("12 ", "13 ")]
    {
        let mut client = server.connect();
        let reply_id = id.replace('\t', " ");
        let line = |bytes: usize| format!("{id}{counted}{}", "x".repeat(bytes - counted.len()));
        let unknown = match counted {
            "13 " => format!("{reply_id}error: unknown command 13 (try help)"),
            // The echo of a word is cut.
            _ => format!("{reply_id}error: unknown command {}", "x".repeat(64)),
        };
        let too_long = format!("{reply_id}error: line too long (max 4000 bytes)");
        for _ in 0..2 {
            let reply = client.ask(&line(4000));
            assert!(reply.starts_with(&unknown), "{id:?} {counted:?}: {reply}");
            assert_eq!(client.ask(&line(4001)), too_long, "{id:?} {counted:?}");
            assert_eq!(client.ask(&line(100_000)), too_long, "{id:?} {counted:?}");
        }
        // In pieces, and ended by the end of input.
        for piece in [line(4001), "\n".to_owned(), line(4000)].concat().as_bytes().chunks(1000) {
            client.send_raw(piece);
        }
        client.half_close();
        assert_eq!(client.read_line(), too_long);
        assert!(client.read_to_end().starts_with(&unknown), "{id:?} {counted:?}");
    }
}

#[test]
fn a_line_too_long_with_an_id_tags_its_connection_too() {
    let server = Server::start();
    let mut tux = server.login("tux");
    assert_eq!(tux.ask(&format!("12 {}", "x".repeat(5000))), "12 error: line too long (max 4000 bytes)");
    assert_eq!(own_block(&mut tux, "tux", "hi"), "0 ".to_owned() + &message("tux", true, "hi"));
}

#[test]
fn messages_begin_with_zero_and_a_header_from_the_first_id_on() {
    let server = Server::with(&["--no-header"]);
    let mut tux = server.login_on(0, "tux");
    for core in [0, 1] {
        let mut witness = server.login_on(core, "kirby");
        let mut mew = server.login_on(core, "mew");
        assert_eq!(tux.ask("say mew hi"), "Sent to mew");
        mew.expect(&picture("tux", "hi"));
        assert_eq!(mew.ask("1"), format!("1 {HELP}"));
        for _ in 0..2 {
            assert_eq!(tux.ask("say mew hi"), "Sent to mew");
            assert_eq!(tux.ask("yield hi"), "Sent to 2 cows");
            // Before the first line only.
            mew.expect(&format!("0 {}0 {}", message("tux", true, "hi"), message("tux", false, "hi")));
            witness.expect(&picture("tux", "hi"));
            // A line without an id is answered without one, and changes nothing for what comes by itself.
            assert_eq!(own_block(&mut mew, "mew", "own"), format!("0 {}", message("mew", true, "own")));
        }
        assert_eq!(mew.ask("2 say mew own"), "2 Sent to mew");
        mew.expect(&format!("0 {}", message("mew", true, "own")));
        for mut client in [mew, witness] {
            assert_eq!(client.ask("quit"), "Goodbye.");
            client.read_to_end();
        }
    }
}

#[test]
fn last_lines_begin_with_zero_after_an_id_for_guests_too() {
    let mut server = Server::start();
    let mut plain = Vec::new();
    let mut tagged = Vec::new();
    for (core, cow) in [(0, "tux"), (1, "mew")] {
        plain.extend([server.connect_on(core), server.login_on(core, cow)]);
        for line in ["1 who", "2 nosuch"] {
            let mut guest = server.connect_on(core);
            assert_eq!(guest.ask(line)[..2], line[..2]);
            tagged.push(guest);
        }
    }
    let mut user = server.connect();
    assert_eq!(user.ask("1 login cow"), "1 Logged in as cow");
    tagged.push(user);
    server.signal("TERM");
    for mut client in plain {
        assert_eq!(client.read_to_end(), LAST_LINE);
    }
    for mut client in tagged {
        assert_eq!(client.read_to_end(), format!("0 {LAST_LINE}"));
    }
    assert_eq!(server.wait().code(), Some(0));
}

/// A line sent as Windows does, and its reply without the line end that it must have.
fn ask_windows(client: &mut Client, line: &str) -> String {
    client.send_raw(format!("{line}\r\n").as_bytes());
    let reply = client.read_line();
    reply.strip_suffix('\r').unwrap_or_else(|| panic!("{line} is answered by {reply:?}")).to_owned()
}

#[test]
fn all_output_has_the_line_ends_of_the_client() {
    let mut server = Server::with(&["--history", "9"]);
    for core in [0, 1] {
        let mut sender = server.login("cow");
        let mut unix = server.login_on(core, "tux");
        let mut windows = server.connect_on(core);
        assert_eq!(ask_windows(&mut windows, "login mew"), "Logged in as mew");
        assert_eq!(ask_windows(&mut windows, "notify on"), "Notices are on");
        for art in ARTS {
            choose(&mut unix, art);
            assert_eq!(ask_windows(&mut windows, &format!("art {art}")), format!("Art is {art}"));
            assert_eq!(sender.ask("yield two words"), "Sent to 2 cows");
            let block = message_in(art, "cow", false, "two words");
            unix.expect(&block);
            windows.expect(&block.replace('\n', "\r\n"));
        }
        assert_eq!(ask_windows(&mut windows, "history 1"), "History: 1 message");
        windows.expect("cow says: two words\r\n");
        assert_eq!(sender.ask("quit"), "Goodbye.");
        windows.expect("* cow has left\r\n");
        // The last line that it sent decides, and it may send one of the other kind.
        assert_eq!(windows.ask("notify off"), "Notices are off");
        assert_eq!(unix.ask("say mew hi"), "Sent to mew");
        windows.expect("tux says to you: hi\n");
        // After a telnet command all lines end so.
        windows.send_raw(b"\xff\xf1who mew\n");
        windows.expect("Registered users: mew\r\n");
        assert_eq!(unix.ask("say mew hi"), "Sent to mew");
        windows.expect("tux says to you: hi\r\n");
        windows.send("quit");
        windows.expect("Goodbye.\r\n");
        assert_eq!(unix.ask("quit"), "Goodbye.");
        unix.read_to_end();
        windows.read_to_end();
    }
    let mut last = server.connect();
    assert_eq!(ask_windows(&mut last, "who"), NO_USERS);
    server.signal("TERM");
    assert_eq!(last.read_to_end(), LAST_LINE.replace('\n', "\r\n"));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_next_connection_is_untagged_and_has_the_default_art() {
    let server = Server::start();
    for core in [0, 1] {
        for _ in 0..20 {
            let mut client = server.connect_on(core);
            assert_eq!(client.ask("1 art off"), "1 Art is off");
            assert_eq!(client.ask("2 quit"), "2 Goodbye.");
            assert_eq!(client.read_to_end(), "");
        }
        // More than there were before, so that the server uses their places again.
        let clients: Vec<Client> = (0..40).map(|_| server.connect_on(core)).collect();
        for client in clients {
            let mut client = client.logged_in("tux");
            assert_eq!(own_block(&mut client, "tux", "hi"), message("tux", true, "hi"));
            assert_eq!(client.ask("quit"), "Goodbye.");
            client.read_to_end();
        }
    }
}

// Bubbles.

/// The block that charasay draws around the text in its lines.
fn drawn(cow: &str, text: &str, columns: usize, kind: BubbleType) -> String {
    let drawn = format_character(&filled(text, columns), &Chara::Builtin(cow.to_owned()), columns, kind);
    format!("{cow} says to you:\n{}\n", drawn.expect("charasay draws"))
}

#[test]
fn bubble_and_width_are_those_of_the_flags() {
    use BubbleType::{Ascii, Cowsay, Round, Think, Unicode};
    let servers: [(&[&str], usize, BubbleType); 8] = [
        (&["--bubble", "cowsay"], 40, Cowsay),
        (&["--bubble", "ascii"], 40, Ascii),
        (&["--bubble", "round"], 40, Round),
        (&["--bubble", "unicode"], 40, Unicode),
        (&["--bubble", "think"], 40, Think),
        (&["--width", "10"], 10, Cowsay),
        (&["--width", "100", "--bubble", "round"], 100, Round),
        (&["--width", "400"], 400, Cowsay),
    ];
    for (flags, columns, kind) in servers {
        let server = Server::with(flags);
        for (core, cow) in [(0, "tux"), (1, "mew")] {
            let mut client = server.login_on(core, cow);
            for text in ["hi", &"some words that have to be wrapped sooner or later ".repeat(9), "世界 e\u{301} 😀"]
            {
                let text = text.trim_end();
                assert_eq!(own_block(&mut client, cow, text), drawn(cow, text, columns, kind), "{flags:?}");
            }
            // The little cow has the same bubble over it.
            choose(&mut client, "small");
            let whole = drawn(cow, "hi", columns, kind);
            let bubble = &whole[..whole.match_indices('\n').nth(3).expect("four lines").0];
            assert_eq!(own_block(&mut client, cow, "hi"), format!("{bubble}\n{}\n", small::BODY), "{flags:?}");
        }
    }
}
