//! One chat without sockets and terminal: lines in, effects out.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A conversation, and the time.
struct Chat {
    conversation: Conversation,
    now: Duration,
}

impl Chat {
    fn new(cow: Option<&str>) -> Self {
        Chat {
            conversation: Conversation::new("here".to_owned(), cow.map(str::to_owned), false, 0),
            now: Duration::ZERO,
        }
    }

    /// Logged in as tux, on a server that answers ids.
    fn as_tux() -> Self {
        let mut chat = Chat::new(Some("tux"));
        assert_eq!(chat.connect(), ["> 1 art off"]);
        assert_eq!(chat.receive("1 Art is off"), ["> 2 cows", "> 3 login tux"]);
        let welcome = "| - here: 2 cows are free, /help";
        assert_eq!(chat.receive("2 Available cow names: aya, tux"), [welcome]);
        let logged_in = ["> 4 notify on", "> 5 history 20", "| Logged in as tux"];
        assert_eq!(chat.receive("3 Logged in as tux"), logged_in);
        assert_eq!(chat.receive("4 Notices are on"), [""; 0]);
        assert_eq!(chat.receive("5 error: history is off"), [""; 0]);
        assert_eq!(chat.conversation.prompt(), "tux> ");
        chat
    }

    fn connect(&mut self) -> Vec<String> {
        self.conversation.connected(self.now);
        self.effects()
    }

    fn receive(&mut self, line: &str) -> Vec<String> {
        self.conversation.on_line(line.as_bytes(), self.now);
        self.effects()
    }

    fn type_in(&mut self, line: &str) -> Vec<String> {
        self.conversation.on_typed(line, self.now);
        self.effects()
    }

    fn lose(&mut self) -> Vec<String> {
        self.conversation.disconnected("it closed the connection", self.now);
        self.effects()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.conversation.on_time(self.now);
        self.effects()
    }

    fn effects(&mut self) -> Vec<String> {
        let written = |effect| match effect {
            Effect::Show(item) => {
                let drawn = matches!(item, Item::Message { picture: Some(_), .. } | Item::Cow { .. });
                format!("|{} {}", if drawn { "^" } else { "" }, item.transcript())
            }
            Effect::Send(line) => format!("> {line}"),
            other => format!("{other:?}"),
        };
        self.conversation.take_effects().into_iter().map(written).collect()
    }
}

#[test]
fn a_message_waits_for_its_picture_and_all_keep_their_order() {
    let mut chat = Chat::as_tux();
    assert_eq!(chat.receive("0 ferris says: one"), ["> 6 show ferris color"]);
    assert_eq!(chat.receive("0 ferris#2 says: two"), [""; 0]);
    assert_eq!(chat.receive("0 * aya has joined"), [""; 0]);
    assert_eq!(chat.receive("6 ferris: 2 lines"), [""; 0]);
    assert_eq!(chat.receive("\x1b[41m  \x1b[m"), [""; 0]);
    let all = ["|^ ferris says: one", "|^ ferris#2 says: two", "| * aya has joined"];
    assert_eq!(chat.receive("0 ferris says to you: part of the picture"), all);
    assert_eq!(chat.receive("0 ferris says: three"), ["|^ ferris says: three"], "it is asked for once");
}

#[test]
fn a_message_waits_for_a_second_at_most() {
    let mut chat = Chat::as_tux();
    chat.receive("0 ferris says: one");
    assert_eq!(chat.conversation.deadline(), Some(gallery::PICTURE_WAIT_MAX));
    assert_eq!(chat.wait(gallery::PICTURE_WAIT_MAX / 2), [""; 0]);
    assert_eq!(chat.wait(gallery::PICTURE_WAIT_MAX / 2), ["| ferris says: one"]);
    assert_eq!(chat.conversation.deadline(), None);
    assert_eq!(chat.receive("6 error: unknown command show (try help)"), [""; 0]);
    assert_eq!(chat.receive("0 ferris says: two"), ["| ferris says: two"], "there is no picture");
}

#[test]
fn one_line_at_a_time_waits_for_its_reply() {
    let mut chat = Chat::as_tux();
    assert_eq!(chat.type_in("one"), ["| > one", "> 6 yield one"]);
    assert_eq!(chat.type_in("say aya two"), [""; 0]);
    assert_eq!(chat.type_in("'three'"), [""; 0]);
    assert_eq!(chat.receive("6 Sent to 1 cow"), ["| Sent to 1 cow", "| > say aya two", "> 7 say aya two"]);
    let next = ["| error: cow aya is not logged in", "| > 'three'", "> 8 yield \"'three'\""];
    assert_eq!(chat.receive("7 error: cow aya is not logged in"), next);
    assert_eq!(chat.type_in("four"), [""; 0]);
    assert_eq!(chat.conversation.drop_typed(), 1);
    assert_eq!(chat.receive("8 Sent to 1 cow"), ["| Sent to 1 cow"]);
}

#[test]
fn private_messages_and_the_own_name_ring() {
    let mut chat = Chat::as_tux();
    chat.conversation.art = Some(Art::Small);
    assert_eq!(chat.type_in("/r hi"), ["| > /r hi", "| - no cow has written to you alone yet"]);
    assert_eq!(chat.receive("0 aya says to you: hi"), ["Bell", "| aya says to you: hi"]);
    assert_eq!(chat.receive("0 aya says: hey, Tux!"), ["Bell", "| aya says: hey, Tux!"]);
    assert_eq!(chat.receive("0 aya says: hello tux."), ["Bell", "| aya says: hello tux."]);
    for text in ["tuxedo", "tux#2", "hello", "tux.2"] {
        assert_eq!(chat.receive(&format!("0 mew says: {text}")), [format!("| mew says: {text}")]);
    }
    assert_eq!(chat.type_in("/r \"yes\""), ["| > /r \"yes\"", "> 6 say aya '\"yes\"'"]);
}

#[test]
fn messages_from_before_are_neither_drawn_nor_ring() {
    let mut chat = Chat::as_tux();
    chat.type_in("history 2");
    assert_eq!(chat.receive("6 History: 2 messages"), [""; 0]);
    assert_eq!(chat.receive("0 aya says: tux"), [""; 0]);
    assert_eq!(chat.receive("0 aya says: two"), ["| aya said: tux", "| aya said: two"]);
    assert_eq!(chat.receive("0 aya says: three"), ["> 7 show aya color"]);
}

#[test]
fn a_guest_is_told_to_log_in() {
    let mut chat = Chat::new(None);
    chat.connect();
    assert_eq!(chat.receive("1 Art is off"), ["> 2 cows"]);
    assert_eq!(chat.type_in("who"), ["| > who", "> 3 who"]);
    let told = chat.type_in("hello");
    assert_eq!(told, [""; 0], "the line before is not answered yet");
    let told = chat.receive("3 Registered users: (none)");
    assert!(matches!(&told[..], [_, typed, advice] if typed == "| > hello" && advice.contains("login")), "{told:?}");
}

#[test]
fn after_a_lost_connection_the_same_cow_logs_in() {
    let mut chat = Chat::as_tux();
    let gone = "| - here has gone away: it closed the connection. Connecting again";
    assert_eq!(chat.lose(), [gone, "ConnectAfter(500ms)"]);
    assert_eq!(chat.conversation.prompt(), "tux (offline)> ");
    assert_eq!(chat.lose(), ["ConnectAfter(1s)"], "a connection that fails is told once");
    assert_eq!(chat.type_in(""), ["ConnectAfter(0ns)"]);
    chat.connect();
    assert_eq!(chat.receive("6 Art is off"), ["| - here is back", "> 7 login tux"]);
    // The connection may break before the login is answered.
    assert_eq!(chat.lose(), [gone, "ConnectAfter(2s)"]);
    chat.connect();
    assert_eq!(chat.receive("8 Art is off"), ["| - here is back", "> 9 login tux"]);
    assert_eq!(chat.receive("9 error: cow tux is already taken"), ["| error: cow tux is already taken", "> 10 cows"]);
    assert_eq!(chat.receive("10 Available cow names: aya"), ["| - free: aya"]);
    assert_eq!(chat.conversation.prompt(), "> ");
    for pause in ["4s", "8s", "16s", "30s", "30s"] {
        assert_eq!(chat.lose().last(), Some(&format!("ConnectAfter({pause})")));
    }
    chat.connect();
    chat.now += PAUSE_MAX;
    assert_eq!(chat.lose().last().map(String::as_str), Some("ConnectAfter(500ms)"), "it has lasted");
}

#[test]
fn a_login_that_a_cluster_cannot_decide_is_tried_again() {
    let mut chat = Chat::as_tux();
    let lost = "* lost the cluster, please log in again".to_owned();
    assert_eq!(chat.receive(&format!("0 {lost}")), [format!("| {lost}"), "> 6 login tux".to_owned()]);
    assert_eq!(chat.conversation.prompt(), "> ");
    let told = chat.receive("6 error: the cluster is out of reach, try again");
    assert!(matches!(&told[..], [refusal, _] if refusal.contains("out of reach")), "{told:?}");
    assert_eq!(chat.type_in("one"), [""; 0]);
    assert_eq!(chat.conversation.prompt(), "(1 unsent)> ");
    let at = chat.conversation.deadline().expect("it tries again");
    assert_eq!(chat.wait(at - chat.now), ["> 7 login tux"]);
    assert_eq!(chat.receive("7 error: the cluster is out of reach, try again"), [""; 0], "it is told once");
    assert_eq!(chat.wait(LOGIN_AGAIN), ["> 8 login tux"]);
    assert_eq!(chat.receive("8 Logged in as tux"), ["> 9 notify on", "> 10 history 20", "| Logged in as tux"]);
    assert_eq!(chat.receive("10 error: history is off"), ["| > one", "> 11 yield one"]);
    assert_eq!(chat.conversation.deadline(), None);
    // The user may choose another cow meanwhile.
    chat.receive("11 Sent to 1 cow");
    chat.receive(&format!("0 {lost}"));
    chat.receive("12 error: the cluster is out of reach, try again");
    assert_eq!(chat.type_in("login aya"), ["| > login aya", "> 13 login aya"]);
    assert_eq!(chat.conversation.deadline(), None);
}

#[test]
fn lines_wait_for_the_next_login_that_succeeds() {
    let mut chat = Chat::as_tux();
    chat.type_in("one");
    chat.type_in("two");
    let lost = chat.lose();
    assert!(lost.iter().any(|line| line.contains("not answered")), "{lost:?}");
    assert!(lost.iter().any(|line| line.contains("Ctrl-C")), "{lost:?}");
    assert_eq!(chat.type_in("three"), [""; 0]);
    assert_eq!(chat.conversation.prompt(), "tux (offline) (2 unsent)> ");
    chat.connect();
    assert_eq!(chat.receive("7 Art is off"), ["| - here is back", "> 8 login tux"]);
    chat.receive("8 error: cow tux is already taken");
    assert_eq!(chat.type_in("login aya"), ["| > login aya", "> 10 login aya"]);
    assert_eq!(chat.receive("10 Logged in as aya"), ["> 11 notify on", "> 12 history 20", "| Logged in as aya"]);
    assert_eq!(chat.receive("12 error: history is off"), ["| > two", "> 13 yield two"]);
    assert_eq!(chat.receive("13 Sent to 1 cow"), ["| Sent to 1 cow", "| > three", "> 14 yield three"]);
    chat.lose();
    chat.type_in("four");
    assert_eq!(chat.conversation.drop_typed(), 1);
    chat.type_in("login mew");
    chat.connect();
    assert_eq!(chat.receive("15 Art is off"), ["| - here is back", "> 16 login mew"]);
}

#[test]
fn after_a_lost_connection_only_new_messages_are_shown() {
    let mut chat = Chat::as_tux();
    chat.conversation.art = Some(Art::Off);
    chat.receive("0 aya says: one");
    chat.receive("0 aya says: again");
    chat.type_in("mine");
    chat.receive("6 Sent to 1 cow");
    chat.type_in("yield 'mine, too'");
    chat.receive("7 Sent to 1 cow");
    chat.type_in("refused");
    chat.receive("8 error: slow down");
    chat.type_in("lost");
    chat.lose();
    chat.type_in("waiting");
    chat.connect();
    chat.receive("10 Art is off");
    assert_eq!(chat.receive("11 Logged in as tux"), ["> 12 notify on", "> 13 history 20", "| Logged in as tux"]);
    chat.receive("13 History: 8 messages");
    for seen in ["mew says: zero", "tux says: mine", "aya says: one", "aya says: again", "aya says: again"] {
        assert_eq!(chat.receive(&format!("0 {seen}")), [""; 0]);
    }
    for last in ["tux says: mine, too", "aya says: two"] {
        chat.receive(&format!("0 {last}"));
    }
    let shown = chat.receive("0 tux says: refused");
    let new = ["| mew said: zero", "| aya said: again", "| aya said: two", "| tux said: refused"];
    assert_eq!(shown, [&new[..], &["| > waiting", "> 14 yield waiting"]].concat());
}

#[test]
fn a_session_that_was_closed_begins_again_with_the_next_line() {
    for typed in ["hello", "", "login aya"] {
        let mut chat = Chat::as_tux();
        chat.receive("0 * closed: idle");
        chat.lose();
        assert!(chat.type_in(typed).contains(&"ConnectAfter(0ns)".to_owned()), "{typed}");
        assert!(chat.lose().contains(&"ConnectAfter(500ms)".to_owned()), "and again, if that fails");
    }
}

#[test]
fn a_picture_that_never_comes_holds_up_one_message() {
    let mut chat = Chat::as_tux();
    chat.receive("0 ferris says: one");
    assert_eq!(chat.wait(gallery::PICTURE_WAIT_MAX), ["| ferris says: one"]);
    assert_eq!(chat.receive("0 ferris says: two"), ["| ferris says: two"]);
    chat.receive("6 ferris: 1 line");
    chat.receive("\x1b[41m  \x1b[m");
    assert_eq!(chat.receive("0 ferris says: three"), ["|^ ferris says: three"], "late, but it has come");
}

#[test]
fn a_picture_on_its_way_is_asked_for_again() {
    let mut chat = Chat::as_tux();
    chat.receive("0 ferris says: one");
    let lost = chat.lose();
    assert_eq!(lost[0], "| ferris says: one");
    chat.connect();
    chat.receive("7 Art is off");
    chat.receive("8 Logged in as tux");
    assert_eq!(chat.receive("0 ferris says: two"), ["> 11 show ferris color"]);
    // A reply that skips it: it does not come any more.
    chat.receive("10 error: history is off");
    chat.type_in("who");
    assert_eq!(chat.receive("12 Registered users: tux"), ["| ferris says: two", "| > who", "| Registered users: tux"]);
    assert_eq!(chat.receive("0 ferris says: three"), ["> 13 show ferris color"]);
}

#[test]
fn a_greeting_may_begin_with_a_number_or_an_error() {
    let mut chat = Chat::new(None);
    chat.connect();
    assert_eq!(chat.receive("errors? write to us"), [""; 0]);
    assert_eq!(chat.receive("7 rules"), [""; 0]);
    assert_eq!(chat.receive("1 Art is off"), ["| errors? write to us", "| 7 rules", "> 2 cows"]);
    let welcome = "| - here: more than 4 cows are free. login COW to join (Tab lists them), /help";
    assert_eq!(chat.receive("2 Available cow names: aya, tux#2-4, tux#..."), [welcome]);
}

#[test]
fn absurd_counts_swallow_nothing() {
    let mut chat = Chat::as_tux();
    chat.type_in("show aya");
    let absurd = format!("aya: {} lines", usize::MAX);
    assert_eq!(chat.receive(&format!("6 {absurd}")), [format!("| {absurd}")]);
    chat.type_in("history");
    let absurd = format!("History: {} messages", usize::MAX);
    assert_eq!(chat.receive(&format!("7 {absurd}")), [format!("| {absurd}")]);
    chat.conversation.art = Some(Art::Off);
    assert_eq!(chat.receive("0 aya says: hi"), ["| aya says: hi"]);
}

#[test]
fn a_session_that_ends_for_its_silence_is_not_begun_again() {
    let mut chat = Chat::as_tux();
    assert_eq!(chat.receive("0 * closed: idle"), ["| * closed: idle"]);
    assert_eq!(chat.lose(), ["| - here has ended the session. Enter connects again"]);
    assert_eq!(chat.type_in(""), ["ConnectAfter(0ns)"]);
}

#[test]
fn to_leave_is_to_quit_and_the_second_time_at_once() {
    let mut chat = Chat::as_tux();
    assert_eq!(chat.type_in("/exit"), ["| > /exit", "> 6 quit"]);
    assert_eq!(chat.receive("6 Goodbye."), ["| Goodbye."]);
    assert_eq!(chat.lose(), ["Exit"]);
    let mut chat = Chat::as_tux();
    chat.conversation.leave(chat.now);
    assert_eq!(chat.effects(), ["> 6 quit"]);
    assert_eq!(chat.wait(LEAVE_WAIT_MAX), ["Exit"], "the server does not answer");
    let mut chat = Chat::as_tux();
    chat.conversation.leave(chat.now);
    chat.conversation.leave(chat.now);
    assert_eq!(chat.effects(), ["> 6 quit", "Exit"]);
    let mut chat = Chat::as_tux();
    chat.lose();
    chat.type_in("one");
    assert_eq!(chat.type_in("quit"), ["| - 1 line not sent", "Exit"]);
}

#[test]
fn to_quit_waits_for_the_lines_before() {
    let mut chat = Chat::as_tux();
    chat.type_in("one");
    chat.type_in("two");
    chat.type_in("quit");
    chat.receive("6 Sent to 1 cow");
    assert_eq!(chat.receive("7 Sent to 1 cow"), ["| Sent to 1 cow", "| > quit", "> 8 quit"]);
    let mut chat = Chat::as_tux();
    chat.type_in("one");
    chat.type_in("two");
    chat.conversation.leave(chat.now);
    assert_eq!(chat.effects(), ["| - 1 line not sent", "> 7 quit"]);
}

#[test]
fn a_second_quit_does_not_wait_for_the_lines_before() {
    let mut chat = Chat::as_tux();
    ["one", "two", "quit"].into_iter().for_each(|line| drop(chat.type_in(line)));
    assert_eq!(chat.conversation.prompt(), "tux (2 unsent)> ");
    assert_eq!(chat.type_in("quit"), ["| - 2 lines not sent", "> 7 quit"]);
}

#[test]
fn a_block_that_does_not_end_is_given_up() {
    let mut chat = Chat::as_tux();
    chat.type_in("show aya");
    chat.receive("6 aya: 3 lines");
    chat.receive("\x1b[41m  \x1b[m");
    assert_eq!(chat.wait(BLOCK_WAIT_MAX), ["|^ (aya)"]);
    chat.type_in("history 9");
    chat.receive("7 History: 9 messages");
    chat.receive("0 mew says: one");
    assert_eq!(chat.wait(BLOCK_WAIT_MAX), ["| mew said: one"]);
    chat.conversation.art = Some(Art::Off);
    assert_eq!(chat.receive("0 mew says: two"), ["| mew says: two"]);
}

#[test]
fn a_usage_error_says_how_to_send_the_line_as_text() {
    let mut chat = Chat::as_tux();
    chat.type_in("who am i");
    let told = chat.receive("6 error: usage: who [PREFIX]");
    assert!(told.len() == 2 && told[1].contains("a blank before it"), "{told:?}");
}

#[test]
fn a_server_without_ids_is_shown_as_it_is() {
    let mut chat = Chat::new(Some("tux"));
    chat.connect();
    assert_eq!(chat.receive("welcome"), [""; 0]);
    let known = chat.receive("error: unknown command 1 (try help)");
    assert_eq!(known.first().map(String::as_str), Some("| welcome"));
    assert_eq!(known.last().map(String::as_str), Some("> login tux"));
    assert_eq!(chat.receive("Logged in as tux"), ["| Logged in as tux"]);
    assert_eq!(chat.conversation.prompt(), "tux> ");
    assert_eq!(chat.receive("\x1b[2J\x1b[31ma\rb\x07"), ["| a b"], "nothing moves the cursor");
    assert_eq!(chat.type_in("hello"), ["| > hello", "> yield hello"]);
    assert_eq!(chat.type_in("who"), ["| > who", "> who"], "nothing waits");
}

#[test]
fn what_is_no_chat_is_told() {
    let mut chat = Chat::new(None);
    chat.connect();
    chat.receive("HTTP/1.1 400 Bad Request\r");
    chat.receive("Connection: close\r");
    assert_eq!(chat.lose(), ["Fail(NoChat(\"HTTP/1.1 400 Bad Request\"))"]);
    let mut chat = Chat::new(None);
    chat.connect();
    assert_eq!(chat.conversation.deadline(), Some(GREETING_WAIT_MAX));
    assert_eq!(chat.wait(GREETING_WAIT_MAX), ["Fail(Silent)"]);
    let mut chat = Chat::new(None);
    chat.connect();
    chat.receive("error: what?");
    let settled = chat.wait(GREETING_WAIT_MAX);
    assert_eq!(settled[0], "| error: what?", "it refuses without repeating: {settled:?}");
    let mut chat = Chat::new(None);
    chat.connect();
    chat.receive("error: server is full");
    assert_eq!(chat.lose(), ["Fail(TurnedAway(\"server is full\"))"]);
    // Later it may be a restart.
    let mut chat = Chat::as_tux();
    chat.lose();
    chat.connect();
    chat.receive("error: server is full");
    assert_eq!(chat.lose(), ["ConnectAfter(1s)"], "that the server has gone away is told once");
    chat.connect();
    assert_eq!(chat.wait(GREETING_WAIT_MAX), ["Close"]);
}

#[test]
fn names_are_asked_for_once_a_second() {
    let mut chat = Chat::as_tux();
    chat.now += SECOND;
    assert_eq!(chat.conversation.complete("show a", chat.now), None);
    assert_eq!(chat.effects(), ["> 6 cows", "> 7 who a"]);
    assert_eq!(chat.conversation.complete("show a", chat.now), None, "they are on their way");
    assert_eq!(chat.receive("6 Available cow names: aya"), [""; 0]);
    assert_eq!(chat.receive("7 Registered users: abe"), ["Complete"]);
    let found = Some((5, vec!["abe".to_owned(), "aya".to_owned()]));
    assert_eq!(chat.conversation.complete("show a", chat.now), found);
    chat.now += SECOND;
    assert_eq!(chat.conversation.complete("login ", chat.now), None);
    assert_eq!(chat.effects(), ["> 8 cows"]);
    assert_eq!(chat.receive("8 error: slow down"), ["Complete"]);
    assert_eq!(chat.conversation.complete("login ", chat.now), Some((6, vec!["aya".to_owned()])));
}

#[test]
fn show_draws_the_picture_that_it_fetches() {
    let mut chat = Chat::as_tux();
    assert_eq!(chat.type_in("show aya"), ["| > show aya", "> 6 show aya color"]);
    chat.receive("6 aya: 1 line");
    assert_eq!(chat.receive("\x1b[41m  \x1b[m"), ["|^ (aya)"]);
    assert_eq!(chat.receive("0 aya says: hi"), ["|^ aya says: hi"], "it is known now");
    assert_eq!(chat.type_in("show nosuch"), ["| > show nosuch", "> 7 show nosuch color"]);
    let refused = "no cow named nosuch (try cows)";
    assert_eq!(chat.receive(&format!("7 error: {refused}")), [format!("| error: {refused}")]);
}
