//! One cow, one user: which connection holds a name, from when, until when, and what that entitles it to.
//!
//! Owns the promises about claims as clients see them, always across two cores: of many logins one gets the cow; it is
//! free again once its user has quit, closed or reset; a guest neither sends nor receives. The last test compares long
//! random conversations with a small model of all that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{
    Client, HELP, NO_USERS, Server, all_cows, ask_at_once, connect_narrow, count_of, message, numbered, wait_until,
};

/// `count` new clients, every other one on each core.
fn crowd(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|n| server.connect_on(n % 2)).collect()
}

/// `who`'s answer when these are registered.
fn registered<'a>(cows: impl IntoIterator<Item = &'a str>) -> String {
    let mut cows: Vec<&str> = cows.into_iter().collect();
    cows.sort_unstable();
    if cows.is_empty() { NO_USERS.to_owned() } else { format!("Registered users: {}", cows.join(", ")) }
}

/// `cows`' answer when these are registered.
fn available(taken: &[&str]) -> String {
    let free: Vec<&str> = all_cows().into_iter().filter(|cow| !taken.contains(cow)).collect();
    if free.is_empty() {
        "Available cow names: (none)".to_owned()
    } else {
        format!("Available cow names: {}", free.join(", "))
    }
}

// Of many logins, one gets the cow.

#[test]
fn one_winner_per_contested_cow() {
    let server = Server::start();
    let mut clients = crowd(&server, 200);
    let on_core_0 = clients.iter().filter(|client| server.core_of(client) == 0).count();
    assert_eq!(on_core_0, 100, "and 100 on the other");
    for round in 0..5 {
        let answers = ask_at_once(&mut clients, |_| "login tux".to_owned());
        let winners: Vec<usize> = (0..answers.len()).filter(|&n| answers[n] == "Logged in as tux").collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let refused = answers.iter().filter(|&answer| answer == "error: cow tux is already taken").count();
        assert_eq!(refused, 199, "round {round}");
        let mut winner = clients.swap_remove(winners[0]);
        assert_eq!(winner.ask("quit"), "Goodbye.");
        clients.push(server.connect_on(round % 2));
    }
}

/// `COWCHAT_RACERS` says how many clients there are (default 200).
#[test]
fn one_winner_for_each_cow_of_a_large_herd() {
    const FOR_EACH: usize = 40;
    let racers = count_of("COWCHAT_RACERS", 200);
    let cows = racers / FOR_EACH;
    let server = Server::with(&["--herd", &cows.to_string()]);
    let names: Vec<String> = (1..=cows).map(|n| numbered("tux", n)).collect();
    // The kernel gives each connection to a core.
    let mut clients: Vec<Client> = (0..cows * FOR_EACH).map(|_| server.connect()).collect();
    let answers = ask_at_once(&mut clients, |n| format!("login {}", names[n % cows]));
    for (first, name) in names.iter().enumerate() {
        let told = || answers.iter().skip(first).step_by(cows);
        let (won, lost) = (format!("Logged in as {name}"), format!("error: cow {name} is already taken"));
        assert_eq!(told().filter(|&answer| *answer == won).count(), 1, "{name}");
        assert_eq!(told().filter(|&answer| *answer == lost).count(), FOR_EACH - 1, "{name}");
        assert_eq!(server.connect().ask(&format!("login {name}")), lost, "the winner is still there");
    }
    println!("figure: {racers} clients at the same moment, one winner for each of {cows} cows");
}

#[test]
fn both_cores_list_the_same_users() {
    let server = Server::start();
    let mut witnesses = [server.connect_on(0), server.connect_on(1)];
    let mut agree = |taken: &[&str]| {
        for witness in &mut witnesses {
            assert_eq!(witness.ask("who"), registered(taken.iter().copied()));
            assert_eq!(witness.ask("cows"), available(taken));
        }
    };
    agree(&[]);
    let mut users = Vec::new();
    let mut taken = Vec::new();
    for (n, cow) in all_cows().into_iter().rev().enumerate() {
        users.push(server.login_on(n % 2, cow));
        taken.push(cow);
        agree(&taken);
    }
    for mut user in users {
        assert_eq!(user.ask("quit"), "Goodbye.");
        taken.remove(0);
        agree(&taken);
    }
}

#[test]
fn a_login_never_renames() {
    let server = Server::start();
    let mut tux = server.connect_on(0);
    let mut ferris = server.login_on(1, "ferris");
    tux.send_raw(b"login tux\nlogin mew\nlogin tux\nlogin ferris\nlogin nosuch\nlogin\n");
    assert_eq!(tux.read_line(), "Logged in as tux");
    for _ in 0..5 {
        assert_eq!(tux.read_line(), "error: you are already logged in as tux");
    }
    assert_eq!(ferris.ask("who"), "Registered users: ferris, tux");
    assert_eq!(ferris.ask("say mew hi"), "error: cow mew is not logged in");
    assert_eq!(tux.ask("say ferris hi"), "Sent to ferris");
    ferris.expect_message("tux", true, "hi");
    assert_eq!(ferris.ask("say tux hi"), "Sent to tux");
    tux.expect_message("ferris", true, "hi");
}

// And it is free again.

#[test]
fn a_cow_is_free_when_its_user_has_read_goodbye() {
    let server = Server::start();
    let mut others = crowd(&server, 60);
    let mut tux = server.login_on(1, "tux");
    while let Some(mut next) = others.pop() {
        tux.send("quit");
        assert_eq!(tux.read_line(), "Goodbye.");
        assert_eq!(next.ask("login tux"), "Logged in as tux");
        assert_eq!(tux.read_to_end(), "");
        tux = next;
    }
}

#[test]
fn a_cow_is_free_when_its_user_has_read_the_end() {
    let server = Server::start();
    let mut others = crowd(&server, 30);
    let mut tux = server.login_on(1, "tux");
    while let Some(mut next) = others.pop() {
        tux.send_raw(b"who");
        tux.half_close();
        assert_eq!(tux.read_to_end(), "Registered users: tux\n");
        assert_eq!(next.ask("login tux"), "Logged in as tux");
        tux = next;
    }
}

/// As in the tests around, but the next client asks until it gets the cow. How long that takes is printed, and fails
/// nothing. `COWCHAT_RELEASES` says how often a user leaves in each way (default 10).
#[test]
fn a_cow_is_free_again_whichever_way_its_user_leaves() {
    type Way = (&'static str, fn(Client));
    const WAYS: [Way; 4] = [
        ("quit", |mut user| user.send("quit")),
        ("FIN", |user| drop(user)),
        ("RST", Client::reset),
        ("half a line and RST", |mut user| {
            user.send_raw(b"say t");
            user.reset();
        }),
    ];
    let times = count_of("COWCHAT_RELEASES", 10);
    let server = Server::start();
    let mut slowest = Duration::ZERO;
    for (way, leave) in WAYS {
        for time in 0..times {
            let mut next = server.connect_on(time % 2);
            let user = server.login_on(1 - time % 2, "tux");
            let began = Instant::now();
            leave(user);
            wait_until(|| next.ask("login tux") == "Logged in as tux", &format!("after {way} it is never free"));
            slowest = slowest.max(began.elapsed());
            next.quit();
        }
    }
    let (count, slowest) = (times * WAYS.len(), slowest.as_secs_f64() * 1e3);
    println!("figure: {count} users gone in {} ways, another had the cow after {slowest:.1} ms at most", WAYS.len());
}

#[test]
fn a_cow_is_free_before_what_its_user_does_not_read_is_written() {
    let server = Server::with(&["--sendq-stall", "10m"]);
    let mut tux = connect_narrow(server.address).logged_in("tux");
    let name = server.name_of(&tux);
    // On the same core, so that what it says is queued for tux when it reads the reply.
    let mut mew = server.login_on(server.core_of(&tux), "mew");
    // Below --sendq-bytes-max, above what the kernel holds for one connection.
    let block = message("mew", false, "moo");
    let count = 240_000 / block.len();
    for _ in 0..count {
        assert_eq!(mew.ask("yield moo"), "Sent to 1 cow");
    }
    tux.half_close();
    let closed = server.log_event("closed", &[("connection", &name)]);
    assert!(closed.is("closed", &[("cow", "tux"), ("reason", "end_of_input")]), "{closed:?}");
    assert_eq!(mew.ask("who"), "Registered users: mew");
    let mut next = server.login("tux");
    assert_eq!(mew.ask("say tux hi"), "Sent to tux");
    next.expect_message("mew", true, "hi");
    // What was sent to the old user before it closed, and nothing that was sent to the new one.
    assert_eq!(tux.read_to_end(), block.repeat(count));
}

#[test]
fn a_cow_is_free_when_the_log_tells_of_its_users_reset() {
    let server = Server::start();
    let mut others = crowd(&server, 20);
    let mut tux = server.login_on(1, "tux");
    while let Some(mut next) = others.pop() {
        let name = server.name_of(&tux);
        tux.reset();
        let closed = server.log_event("closed", &[("connection", &name)]);
        assert!(closed.is("closed", &[("cow", "tux"), ("reason", "read_failed")]), "{closed:?}");
        assert_eq!(next.ask("login tux"), "Logged in as tux");
        tux = next;
    }
}

#[test]
fn a_cow_is_free_when_the_log_tells_of_a_failed_write() {
    let server = Server::start();
    let mut next = server.connect_on(1);
    let mut tux = connect_narrow(server.address).logged_in("tux");
    let name = server.name_of(&tux);
    // Far more than the kernel holds: the server stops reading, and only writing can find the reset.
    tux.send_raw(&b"say tux moo\n".repeat(1000));
    tux.expect("Sent to tux\n");
    tux.reset();
    let closed = server.log_event("closed", &[("connection", &name)]);
    assert!(closed.is("closed", &[("cow", "tux"), ("reason", "write_failed")]), "{closed:?}");
    assert_eq!(next.ask("login tux"), "Logged in as tux");
    assert_eq!(next.ask("who"), "Registered users: tux");
}

#[test]
fn lines_left_behind_by_a_reset_log_no_user_in() {
    let server = Server::start();
    let mut witnesses = [server.connect_on(0), server.connect_on(1)];
    let left_behind = [b"who\n".repeat(200), b"login tux\n".to_vec()].concat();
    for round in 0..40 {
        let mut client = server.connect();
        let name = server.name_of(&client);
        client.send_raw(&left_behind);
        client.reset();
        server.log_event("closed", &[("connection", &name)]);
        let witness = &mut witnesses[round % 2];
        assert_eq!(witness.ask("who"), "Registered users: (none)", "round {round}: its user is gone");
    }
    // A connection that gets a place in the server that such a client had is a guest.
    for mut client in crowd(&server, 40) {
        assert_eq!(client.ask("say tux hi"), "error: login first");
    }
    let _tux = server.login("tux");
}

// What the name entitles to.

#[test]
fn what_was_said_to_the_old_owner_never_reaches_the_new_one() {
    // The new owner reads only when all is said: room for that.
    let server = Server::with(&["--no-header", "--sendq-bytes-max", "4194304"]);
    let mut mew = server.login_on(0, "mew");
    for round in 0..20 {
        let mut old = server.login_on(round / 2 % 2, "tux");
        let mut new = server.connect_on(round % 2);
        let said: String = (0..100).map(|n| format!("say tux n{n}\n")).collect();
        mew.send_raw(said.as_bytes());
        old.send("quit");
        let old_got = numbers(&old.read_to_end());
        assert_eq!(new.ask("login tux"), "Logged in as tux");
        let replies: Vec<String> = (0..100).map(|_| mew.read_line()).collect();
        // The new one is there now, so this reaches it, and after all that went before.
        assert_eq!(mew.ask("say tux n100"), "Sent to tux");
        let mut new_got = Vec::new();
        while new_got.last() != Some(&100) {
            new_got.extend(numbers(&new.read_line()));
        }
        new.send("quit");
        let rest = new.read_to_end();
        assert!(numbers(&rest).is_empty() && rest.ends_with("Goodbye.\n"), "round {round}: {rest}");

        let mut sent: Vec<usize> = (0..100).filter(|&n| replies[n] == "Sent to tux").collect();
        sent.push(100);
        assert!(sent.starts_with(&old_got), "round {round}: {old_got:?} of {sent:?}");
        assert!(sent.ends_with(&new_got), "round {round}: {new_got:?} of {sent:?}");
        assert!(old_got.len() + new_got.len() <= sent.len(), "round {round}: {old_got:?}, {new_got:?}");
        let last_refused = (0..100).rev().find(|&n| replies[n] == "error: cow tux is not logged in");
        assert!(
            last_refused.is_none_or(|refused| refused < new_got[0]),
            "round {round}: {last_refused:?}, {new_got:?}"
        );
    }
}

/// The numbers in messages of the form `n17`, in their order.
fn numbers(output: &str) -> Vec<usize> {
    let texts = output.lines().filter_map(|line| line.strip_prefix("<  n")?.strip_suffix("  >"));
    texts.map(|text| text.parse().expect("a number")).collect()
}

#[test]
fn a_guest_gets_no_messages() {
    let server = Server::start();
    let mut guests = [server.connect_on(0), server.connect_on(1)];
    let mut users = [server.login_on(0, "tux"), server.login_on(1, "ferris")];
    let [tux, ferris] = &mut users;
    for n in 0..100 {
        assert_eq!(tux.ask(&format!("say ferris {n}")), "Sent to ferris");
        ferris.expect_message("tux", true, &n.to_string());
        assert_eq!(ferris.ask(&format!("yield {n}")), "Sent to 1 cow");
        tux.expect_message("ferris", false, &n.to_string());
    }
    for guest in &mut guests {
        assert_eq!(guest.ask("who"), "Registered users: ferris, tux", "the first that it reads is its own");
        for line in ["say ferris hi", "yield hi", "say", "yield", "say nosuch hi"] {
            assert_eq!(guest.ask(line), "error: login first");
        }
    }
    for mut user in users {
        assert_eq!(user.ask("quit"), "Goodbye.");
        assert_eq!(user.read_to_end(), "", "and nothing of what the guests tried to say");
    }
}

#[test]
fn after_quit_nothing_more_arrives() {
    let server = Server::with(&["--no-header"]);
    let mut tux = server.login_on(0, "tux");
    for (round, core) in [0, 1].repeat(10).into_iter().enumerate() {
        let mut ferris = server.login_on(core, "ferris");
        let said: String = (50 * round..50 * round + 50).map(|n| format!("yield n{n}\n")).collect();
        tux.send_raw(said.as_bytes());
        ferris.send_raw(b"quit\nwho\nlogin mew\n");
        let output = ferris.read_to_end();
        assert!(output.ends_with("Goodbye.\n"), "round {round}: {}", &output[output.len().saturating_sub(200)..]);
        // A user that logs in while the last round's messages are under way may get those, too.
        let got = numbers(&output);
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "round {round}: without a gap: {got:?}");
        for _ in 0..50 {
            assert!(tux.read_line().starts_with("Sent to "));
        }
    }
    assert_eq!(tux.ask("who"), "Registered users: tux");
}

// Everything together, against a model.

/// What the server should know: a map of names.
#[derive(Default)]
struct Model {
    /// Cow to the number of the client that it belongs to.
    owners: BTreeMap<&'static str, usize>,
}

/// What one line should bring: its reply, and a message with its receivers in the order of their numbers.
struct Expected {
    reply: String,
    to: Vec<usize>,
    message: String,
}

impl Model {
    fn cow_of(&self, client: usize) -> Option<&'static str> {
        self.owners.iter().find_map(|(&cow, &owner)| (owner == client).then_some(cow))
    }

    fn execute(&mut self, client: usize, line: &str) -> Expected {
        let mut expected = Expected { reply: String::new(), to: Vec::new(), message: String::new() };
        let me = self.cow_of(client);
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let known = |name: &str| all_cows().into_iter().find(|&cow| cow == name);
        expected.reply = match (words.as_slice(), me) {
            ([] | ["help", ..], _) => HELP.to_owned(),
            (["who"], _) => registered(self.owners.keys().copied()),
            (["who", prefix], _) => registered(self.owners.keys().copied().filter(|cow| cow.starts_with(prefix))),
            (["who", ..], _) => "error: usage: who [PREFIX]".to_owned(),
            (["cows", ..], _) => available(&self.owners.keys().copied().collect::<Vec<_>>()),
            (["quit", ..], _) => {
                self.owners.retain(|_, owner| *owner != client);
                "Goodbye.".to_owned()
            }
            (["login", ..], Some(me)) => format!("error: you are already logged in as {me}"),
            (["login", name], None) => match known(name) {
                None => format!("error: no cow named {name} (try cows)"),
                Some(cow) if self.owners.contains_key(cow) => format!("error: cow {cow} is already taken"),
                Some(cow) => {
                    self.owners.insert(cow, client);
                    format!("Logged in as {cow}")
                }
            },
            (["login", ..], None) => "error: usage: login COW".to_owned(),
            (["say" | "yield", ..], None) => "error: login first".to_owned(),
            (["say", name, _, ..], Some(me)) => {
                let text = line.splitn(3, ' ').nth(2).expect("a third word");
                match known(name).map(|cow| (cow, self.owners.get(cow))) {
                    None => format!("error: no cow named {name} (try cows)"),
                    Some((cow, None)) => format!("error: cow {cow} is not logged in"),
                    Some((cow, Some(&owner))) => {
                        (expected.to, expected.message) = (vec![owner], message(me, true, text));
                        format!("Sent to {cow}")
                    }
                }
            }
            (["say", ..], Some(_)) => "error: usage: say COW TEXT".to_owned(),
            (["yield", _, ..], Some(me)) => {
                let text = line.split_once(' ').expect("a second word").1;
                expected.to = self.owners.values().copied().filter(|&owner| owner != client).collect();
                expected.to.sort_unstable();
                expected.message = message(me, false, text);
                format!("Sent to {} {}", expected.to.len(), if expected.to.len() == 1 { "cow" } else { "cows" })
            }
            (["yield"], Some(_)) => "error: usage: yield TEXT".to_owned(),
            ([word, ..], _) => format!("error: unknown command {word} (try help)"),
        };
        expected
    }
}

/// As much of a message as tells it from others.
fn head(message: &str) -> String {
    message.lines().take(3).collect::<Vec<_>>().join(" | ")
}

/// Prints the seed of a failure.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with: OWNERSHIP_SEED={}", self.0);
        }
    }
}

/// One random line; few names, so that they meet.
fn random_line(random: &mut fastrand::Rng) -> String {
    let cow = random.choice(["tux", "ferris", "mew", "kirby", "nosuch", "Tux"]).expect("some");
    let text = random.choice(["moo", "hi there", "it's ok", "a b c"]).expect("some");
    match random.u32(..20) {
        0..5 => format!("login {cow}"),
        5..10 => format!("say {cow} {text}"),
        10..13 => format!("yield {text}"),
        13 => "who".to_owned(),
        14 => format!("who {}", random.choice(["t", "f", "m", "x", "tux", "a b"]).expect("some")),
        15 => "cows".to_owned(),
        16 => random.choice(["login", "login a b", "say", "say tux", "yield", "say nosuch"]).expect("some").to_owned(),
        17 => random.choice(["", "help", "foo", "foo bar"]).expect("some").to_owned(),
        _ => "quit".to_owned(),
    }
}

#[test]
fn long_random_conversations_go_as_a_small_model_says() {
    const STEPS: usize = 800;
    const TALKERS: usize = 3;
    let again = std::env::var("OWNERSHIP_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = Seed(again.unwrap_or_else(|| fastrand::u64(..)));
    let mut random = fastrand::Rng::with_seed(seed.0);
    let server = Server::start();
    let mut model = Model::default();
    let mut clients = crowd(&server, TALKERS);
    // One on each core only reads: once both have read a yield, no later login can get it.
    for (core, cow) in [(0, "aya"), (1, "cow")] {
        model.execute(clients.len(), &format!("login {cow}"));
        clients.push(server.login_on(core, cow));
    }
    for step in 0..STEPS {
        let (n, line) = (random.usize(..TALKERS), random_line(&mut random));
        // Now and then one closes without `quit`, and another takes its place.
        match random.u32(..50) {
            0 => {
                clients[n].half_close();
                assert_eq!(clients[n].read_to_end(), "", "step {step}: client {n} ended");
                model.execute(n, "quit");
                clients[n] = server.connect_on(random.usize(..2));
            }
            1 => {
                let name = server.name_of(&clients[n]);
                std::mem::replace(&mut clients[n], server.connect_on(random.usize(..2))).reset();
                server.log_event("closed", &[("connection", &name)]);
                model.execute(n, "quit");
            }
            _ => {
                let expected = model.execute(n, &line);
                assert_eq!(clients[n].ask(&line), expected.reply, "step {step}: client {n} sends {line:?}");
                for receiver in expected.to {
                    let got = clients[receiver].read_bytes(expected.message.len());
                    let heads = (head(&String::from_utf8_lossy(&got)), head(&expected.message));
                    assert!(got == expected.message.as_bytes(), "step {step}: {n} sent {line:?}: {heads:?}");
                }
                if line == "quit" {
                    assert_eq!(clients[n].read_to_end(), "", "step {step}: client {n} quit");
                    clients[n] = server.connect_on(random.usize(..2));
                }
            }
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask("who"), registered(model.owners.keys().copied()), "client {n} got nothing else");
    }
}
