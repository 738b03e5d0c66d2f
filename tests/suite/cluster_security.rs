//! How servers come to a NATS server that they must know, and that must know them: TLS, passwords, tokens, credentials.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::cluster::Broker;
use crate::service_unit::as_in_the_unit;
use crate::support::*;

/// What no output may have.
const PASSWORD: &str = "s,e@c/r:et";

/// The same in a URL.
const IN_URL: &str = "s%2Ce%40c%2Fr:et";

fn openssl(files: &Scratch, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(files.path()).output();
    let output = output.expect("install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An issuer, `ca.pem`, and what it has signed for brokers at these addresses, `server.pem` with `server.key`.
pub fn certificates(addresses: &[Ipv4Addr]) -> Scratch {
    const NEW: &str = "req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
    let files = Scratch::new();
    openssl(&files, &format!("{NEW} -subj /CN=issuer -keyout ca.key -out ca.pem"));
    let addresses: String = addresses.iter().map(|address| format!(",IP:{address}")).collect();
    let names = format!("subjectAltName=DNS:localhost{addresses} -addext basicConstraints=critical,CA:FALSE");
    let signed = "-CA ca.pem -CAkey ca.key -subj /CN=server -keyout server.key -out server.pem";
    openssl(&files, &format!("{NEW} {signed} -addext {names}"));
    files
}

fn tls_broker(files: &Scratch, more: &[&str]) -> Broker {
    let [certificate, key] = ["server.pem", "server.key"].map(|name| format!("{}/{name}", files.path()));
    Broker::with(&[&["--tls", "--tlscert", &certificate, "--tlskey", &key][..], more].concat())
}

/// The flags of a node that uses this URL.
fn flags<'a>(node: &'a str, url: &'a str) -> Vec<&'a str> {
    vec!["--cluster", url, "--node", node, "--art", "off"]
}

fn joined(node: &str, url: &str, more: &[&str]) -> Server {
    let server = Server::with(&[&flags(node, url), more].concat());
    server.log_event("cluster_reached", &[("node", node)]);
    server
}

/// That users of both hear each other.
fn expect_talk(servers: &[Server; 2]) {
    let (mut tux, mut nemo) = (servers[0].login("tux"), servers[1].login("nemo"));
    wait_until(|| tux.ask("who") == "Registered users: nemo, tux", "they are apart");
    assert_eq!(tux.ask("say nemo hi"), "Sent to nemo");
    assert_eq!(nemo.read_line(), "tux says to you: hi");
    assert_eq!(nemo.ask("login tux"), "error: you are already logged in as nemo");
}

/// That a server with these flags stays apart, and says why in one line.
fn expect_apart(url: &str, more: &[&str], error: &str) {
    let server = Server::with(&[&flags("a", url), more].concat());
    // It has tried several times before.
    server.log_event("cluster_unreached", &[("error", "not joined yet: no login succeeds before")]);
    server.log_event("cluster_unreached", &[("error", error)]);
    assert_eq!(server.log_events("cluster_unreached", &[]).len(), 2, "{:?}", server.log());
    assert_eq!(server.connect().ask("login tux"), "error: the cluster is out of reach, try again");
    assert!(!server.log().join("\n").contains("secret"), "{:?}", server.log());
}

/// What a server says that does not start with these flags.
fn refused(flags: &[&str]) -> String {
    let said = Server::try_with("127.0.0.1:0", flags).err().expect("it does not start");
    assert!(said.ends_with("(exit status: 2)") && said.lines().count() == 1, "{said}");
    said
}

#[test]
fn servers_meet_over_tls() {
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let ca = format!("{}/ca.pem", files.path());
    let broker = tls_broker(&files, &[]);
    let by_address = format!("tls://127.0.0.1:{}", broker.port);
    let by_name = format!("nats://localhost:{}", broker.port);
    let ca = ["--cluster-ca", ca.as_str()];
    expect_talk(&[joined("a", &by_address, &ca), joined("b", &by_name, &ca)]);
}

#[test]
fn a_cluster_needs_no_call_that_the_unit_forbids() {
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let ca = format!("{}/ca.pem", files.path());
    let broker = tls_broker(&files, &["--user", "moo", "--pass", "moo"]);
    let url = format!("tls://moo:moo@localhost:{}", broker.port);
    let mut servers = ["a", "b"].map(|node| {
        let mut command = serve(&["--cores", "2", "--art", "off", "--node", node, "--cluster-ca", &ca]);
        as_in_the_unit(command.env("COWCHAT_CLUSTER", &url));
        let server = Server::started(command);
        server.log_event("cluster_reached", &[("node", node)]);
        server
    });
    expect_talk(&servers);
    for server in &mut servers {
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0), "{:?}", server.log());
    }
}

#[test]
fn servers_show_their_certificate() {
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let ca = format!("{}/ca.pem", files.path());
    let broker = tls_broker(&files, &["--tlsverify", "--tlscacert", &ca]);
    let url = format!("nats://127.0.0.1:{}", broker.port);
    let own = ["server.key", "server.pem"].map(|name| fs::read_to_string(files.join(name)).expect("openssl wrote it"));
    let own = files.put("own.pem", own.concat());
    let flags_of_tls = ["--cluster-ca", &ca, "--cluster-certificate", &own];
    expect_talk(&["a", "b"].map(|node| joined(node, &url, &flags_of_tls)));
    let server = Server::with(&[&flags("c", &url), &flags_of_tls[..2]].concat());
    let wrong = "it does not take this server's certificate, or wants one: give that by --cluster-certificate";
    server.log_event("cluster_unreached", &[("error", &format!("{url}: {wrong}"))]);
}

#[test]
fn a_broker_that_is_not_trusted_is_not_joined() {
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let broker = tls_broker(&files, &[]);
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://127.0.0.1:{}", broker.port);
        let told = format!("{url}: its certificate is not trusted: give that of its issuer by --cluster-ca");
        expect_apart(&url, &[], &told);
    }
}

/// What a server sends a broker that says it has no TLS.
fn sent_to_a_broker_without_tls(scheme: &str, more: &[&str]) -> (Vec<u8>, LogLine) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("{scheme}://moo:secret@{}", listener.local_addr().expect("it is bound"));
    let server = std::thread::scope(|scope| {
        let serve = || Server::with(&[&flags("a", &url), more].concat());
        let starting = scope.spawn(serve);
        let mut sent = Vec::new();
        // Its first attempts.
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().expect("it connects");
            stream.write_all(b"INFO {\"server_id\":\"x\",\"max_payload\":9999}\r\n").expect("it reads");
            let mut part = [0; 4096];
            let count = stream.read(&mut part).expect("it asks for something");
            stream.write_all(b"-ERR 'Unknown Protocol Operation'\r\n").expect("it reads");
            sent.extend(&part[..count]);
            // It ends the connection, by a reset perhaps.
            let _ = stream.read_to_end(&mut sent);
        }
        drop(listener);
        (sent, starting.join().expect("it starts"))
    });
    let (sent, server) = server;
    let line = server.log_line(|line| line.field("error").contains("it has no TLS"));
    (sent, line.expect("it says why"))
}

#[test]
fn brokers_that_cannot_keep_the_store_are_told_apart() {
    let files = Scratch::new();
    let account = "accounts { A { users: [ { user: moo, password: secret } ] } }\n";
    let account = files.put("nats.conf", account);
    let none = "the NATS server has no JetStream: start it with -js, or enable it for this server's account";
    let one = "one NATS server keeps one copy: leave out --cluster-replicas, or give it a cluster of NATS servers";
    for (broker, login, more, told) in [
        (&["-js=false"][..], "", &[][..], none),
        (&["-c", &account], "moo:secret@", &[], none),
        (&[], "", &["--cluster-replicas", "3"], one),
    ] {
        let broker = Broker::with(broker);
        expect_apart(&format!("nats://{login}127.0.0.1:{}", broker.port), more, told);
    }
}

#[test]
fn nothing_goes_in_clear_where_tls_is_asked_for() {
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let ca = format!("{}/ca.pem", files.path());
    for (scheme, more) in [("tls", vec![]), ("nats", vec!["--cluster-ca", &ca])] {
        let (sent, line) = sent_to_a_broker_without_tls(scheme, &more);
        // A record of a handshake.
        assert_eq!(sent[0], 0x16, "{sent:?}");
        let text = String::from_utf8_lossy(&sent);
        assert!(!text.contains("CONNECT") && !text.contains("secret"), "{text}");
        assert!(line.text.contains("it has no TLS, which tls:// and --cluster-ca ask for"), "{}", line.text);
        assert!(!line.text.contains("secret"), "{}", line.text);
    }
}

#[test]
fn a_file_that_does_not_fit_its_flag_ends_the_start() {
    let files = Scratch::new();
    let [missing, empty, moo] = [format!("{}/x", files.path()), files.put("empty", ""), files.put("moo", "moo\n")];
    for (flag, nothing) in [
        ("cluster-ca", "has no certificates: "),
        ("cluster-certificate", "has no certificate with its key: "),
        ("cluster-credentials", "has no NATS credentials: "),
    ] {
        for (file, wrong) in [(&missing, "cannot be read: No such file"), (&empty, nothing), (&moo, nothing)] {
            let name = format!("--{flag}");
            let said = refused(&[&flags("a", "tls://127.0.0.1:1")[..], &[&name, file]].concat());
            assert!(said.contains(&format!("the file of {name}, {file}, {wrong}")), "{said}");
        }
        let said = refused(&[&format!("--{flag}"), &moo]);
        assert!(said.contains(&format!("--{flag} is given without --cluster: give both")), "{said}");
    }
}

#[test]
fn servers_give_the_user_and_the_password_of_the_url() {
    let broker = Broker::with(&["--user", "moo", "--pass", PASSWORD]);
    let place = format!("127.0.0.1:{}", broker.port);
    let url = format!("nats://moo:{IN_URL}@{place}");
    let servers = ["a", "b"].map(|node| joined(node, &url, &[]));
    expect_talk(&servers);
    assert!(servers.iter().all(|server| !server.log().join("\n").contains("e@c")));
    let wrong = "it refuses the user, password, token or credentials, or wants some";
    expect_apart(&format!("nats://moo:secret@{place}"), &[], &format!("nats://{place}: {wrong}"));
    expect_apart(&format!("nats://{place}"), &[], &format!("nats://{place}: {wrong}"));
}

#[test]
fn servers_give_the_token_of_the_url() {
    let broker = Broker::with(&["--auth", PASSWORD]);
    let place = format!("127.0.0.1:{}", broker.port);
    // Without the colon it would be a user and a password.
    let url = format!("nats://{}@{place}", IN_URL.replace(':', "%3A"));
    expect_talk(&["a", "b"].map(|node| joined(node, &url, &[])));
    let wrong = "it refuses the user, password, token or credentials, or wants some";
    expect_apart(&format!("nats://secret@{place}"), &[], &format!("nats://{place}: {wrong}"));
}

#[test]
fn brokers_are_given_one_login() {
    let files = Scratch::new();
    let said = refused(&flags("a", "nats://u:secret@127.0.0.1:1,nats://127.0.0.1:2"));
    assert!(said.contains("the URLs of --cluster have different users, passwords or tokens: give one"), "{said}");
    let file = files.put("a.creds", "");
    let said = refused(&[&flags("a", "nats://u:secret@127.0.0.1:1")[..], &["--cluster-credentials", &file]].concat());
    assert!(said.contains("and --cluster-credentials: give one of them"), "{said}");
}

#[test]
fn no_output_shows_a_password() {
    let files = Scratch::new();
    let url = "nats://moo:secret@127.0.0.1:1";
    let file = files.put("good.toml", format!("node = \"a\"\ncluster = \"{url}\"\n"));
    let bad = files.put("bad.toml", "node = \"a\"\ncluster = \"natz://moo:secret@127.0.0.1:1\"\n");
    let all = |arguments: &[&str], variable: &str| {
        let mut command = cowchat();
        let output = command.args(arguments).env("COWCHAT_CLUSTER", variable).output().expect("the binary runs");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        assert!(!said.contains("secret"), "{arguments:?}: {said}");
        said
    };
    let shown = "# cluster =";
    let said = all(&["config", "--config", &file], "");
    let line = said.lines().find(|line| line.starts_with(shown)).expect("a line for each flag");
    assert!(line.ends_with(&format!("# {file}:2: with a user or a token, and not shown for that")), "{line}");
    assert!(all(&["config", "--node", "a"], url).contains(shown));
    assert!(all(&["config", "--node", "a", "--cluster", "nats://secret@h"], "").contains(shown));
    all(&["serve", "--help"], url);
    assert!(
        all(&["config", "--check", &bad], "").contains("invalid value 'natz://...' for 'cluster': use nats://HOST")
    );
    for wrong in ["natz://u:secret@h", "nats://u:secret,x@h", "nats://u:1,secret@h", "nats://u:secret/@h", "u:secret@h"]
    {
        for (flag, variable) in [(&["--cluster", wrong][..], ""), (&[][..], wrong)] {
            let said = all(&[&["serve", "--node", "a"], flag].concat(), variable);
            assert!(said.contains("invalid value '") && said.contains("use nats://HOST:PORT"), "{said}");
        }
    }
    assert!(all(&["serve", "--node", "a", url], "").contains("unexpected argument 'nats://...'"));
}

/// A token of NATS, version 2 of its claims, which `issuer` signs.
fn token(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut claims: Value) -> String {
    claims["type"] = kind.into();
    claims["version"] = 2.into();
    let claims = json!({
        "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": kind, "nats": claims,
    });
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", part(json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(claims));
    let signature = issuer.sign(text.as_bytes()).expect("it has its seed");
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// A file of credentials as nsc writes it.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let (token, seed) = (token(account, &user, "user", claims), user.seed().expect("it has one"));
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n************************* IMPORTANT \
         *************************\nNKEY Seed printed below can be used to sign and prove identity.\n\n-----BEGIN USER NKEY \
         SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[test]
fn servers_show_their_credentials() {
    let files = Scratch::new();
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = |storage: i32| {
        let [subs, conn, leaf, imports, exports, data, payload] = [-1; 7];
        json!({"limits": {
            "subs": subs, "conn": conn, "leaf": leaf, "imports": imports, "exports": exports, "data": data,
            "payload": payload, "wildcards": true, "mem_storage": storage, "disk_storage": storage, "streams": storage,
            "consumer": storage,
        }})
    };
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}\n",
        token(&operator, &operator, "operator", json!({})),
        system.public_key(),
        system.public_key(),
        token(&operator, &system, "account", limits(0)),
        account.public_key(),
        token(&operator, &account, "account", limits(-1)),
    );
    let broker = Broker::with(&["-c", &files.put("nats.conf", config)]);
    let url = format!("nats://127.0.0.1:{}", broker.port);
    let good = files.put("good.creds", credentials(&account));
    expect_talk(&["a", "b"].map(|node| joined(node, &url, &["--cluster-credentials", &good])));
    // Of an account that the broker does not know.
    let bad = files.put("bad.creds", credentials(&KeyPair::new_account()));
    let server = Server::with(&[&flags("c", &url)[..], &["--cluster-credentials", &bad]].concat());
    let wrong = "it refuses the user, password, token or credentials, or wants some";
    server.log_event("cluster_unreached", &[("error", &format!("{url}: {wrong}"))]);
}

fn configuration_of_the_manual() -> &'static str {
    let page = include_str!("../../docs/OPERATING.md");
    let (_, config) =
        page.split_once("```text\njetstream { store_dir: /var/lib/nats }\n").expect("a configuration of nats-server");
    config.split_once("```").expect("its end").0
}

#[test]
fn the_configuration_of_the_manual_is_enough() {
    let config = configuration_of_the_manual();
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let file = files.put("nats.conf", config.replace("/etc/nats", files.path()));
    let broker = Broker::with(&["-D", "-l", &format!("{}/log", files.path()), "-c", &file]);
    let url = format!("tls://cowchat:change-me@localhost:{}", broker.port);
    let ca = format!("{}/ca.pem", files.path());
    let servers = ["a", "b"].map(|node| {
        let lines = format!("node = \"{node}\"\ncluster = \"{url}\"\ncluster-ca = \"{ca}\"\nart = \"off\"\n");
        let server = Server::with(&["--config", &files.put(&format!("{node}.toml"), lines)]);
        server.log_event("cluster_reached", &[("node", node)]);
        server
    });
    expect_talk(&servers);
    // Of many logins at once some are refused by the store, and those servers read it again.
    let mut clients: Vec<Client> = (0..40).map(|place| servers[place % 2].connect()).collect();
    let replies = ask_at_once(&mut clients, |place| format!("login {}", ["kirby", "aya"][place / 2 % 2]));
    assert_eq!(replies.iter().filter(|reply| reply.starts_with("Logged in")).count(), 2, "{replies:?}");
    let log = fs::read_to_string(files.join("log")).expect("the broker's");
    assert!(!log.to_lowercase().contains("violation"), "{log}");
}

#[test]
fn a_server_that_may_not_hear_the_others_stays_apart() {
    let all = r#"subscribe: [ "cowchat.messages", "cowchat.messages.>", "_INBOX.>" ]"#;
    let config = configuration_of_the_manual();
    assert!(config.contains(all), "{config}");
    let files = certificates(&[Ipv4Addr::LOCALHOST]);
    let file =
        files.put("nats.conf", config.replace("/etc/nats", files.path()).replace(all, r#"subscribe: [ "_INBOX.>" ]"#));
    let broker = Broker::with(&["-c", &file]);
    let url = format!("tls://cowchat:change-me@localhost:{}", broker.port);
    let ca = format!("{}/ca.pem", files.path());
    let server = Server::with(&[&flags("a", &url)[..], &["--cluster-ca", &ca]].concat());
    let is_forbidden = |line: &LogLine| {
        line.is("cluster_unreached", &[]) && line.field("error").contains("Subscription to \"cowchat.messages\"")
    };
    assert!(server.log_line(is_forbidden).is_some(), "{:?}", server.log());
    assert_eq!(server.connect().ask("login tux"), "error: the cluster is out of reach, try again");
}
