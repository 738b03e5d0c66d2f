//! Why each flag of `cowchat serve` has the default that it has, for operators: `cowchat config --defaults` prints it.
//!
//! A flag that is not set by default has an example, as TOML. [`crate::limits`] has the arithmetic of the server's own
//! numbers.

/// The reason of a default.
#[derive(Debug)]
pub struct Reason {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// The end of a sentence: the default is this, since ...
    pub text: &'static str,
    /// A value of TOML, if the flag has no default.
    pub example: Option<&'static str>,
}

const fn set(flag: &'static str, text: &'static str) -> Reason {
    Reason { flag, text, example: None }
}

const fn unset(flag: &'static str, example: &'static str, text: &'static str) -> Reason {
    Reason { flag, text, example: Some(example) }
}

/// One for each flag that a file may set, in the order of the help.
pub const REASONS: &[Reason] = &[
    set("listen", "there are no passwords: other machines connect only if an operator has decided so"),
    unset("cores", "2", "a core never blocks: more of them than CPUs only take turns"),
    set(
        "pin",
        "a core that stays on its CPU keeps its caches, but cannot leave it to another program: so only if the server has all \
         CPUs",
    ),
    set("no-header", "the line says which cow speaks, and two cows of one breed have the same picture"),
    set("art", "most terminals show colours; where one does not, its user types `art plain`"),
    set("bubble", "it is ASCII, and users of cowsay know it"),
    set("width", "cowsay has the same"),
    set("herd", "with one of each no name needs a number"),
    set("history", "the server keeps nothing of what users say unless an operator asks for it"),
    unset("motd", "\"/etc/cowchat/motd\"", "a server that says nothing first suits programs"),
    unset("cow-dir", "[\"/usr/share/cowsay/cows\"]", "the 24 cows of the program need no files"),
    set("line-bytes-max", "a terminal hands over 4,095 bytes of a line at most"),
    set("sendq-bytes-max", "a message in colour has 1.7 to 8.7 KB, so this is 30 to 150 messages behind"),
    set("sendq-stall", "in this time the kernel sends a lost packet again five times on most networks"),
    unset(
        "queues-bytes-total",
        "\"1GiB\"",
        "the rest of the memory is for the connections, 2 KiB each and up to 256 KiB in the kernel",
    ),
    set("login-timeout", "a guest holds a descriptor and a kilobyte but no name, so it may look around"),
    set("login-exempt", "programs of the server's own machine may wait as long as they like"),
    set("idle-timeout", "a user that only reads may stay, and --keepalive finds peers that are gone"),
    set("scarce-idle", "one word an hour keeps a cow"),
    set("flood-burst", "a login, a look around and a few pasted lines are not a flood"),
    set("flood-rate", "no user types as fast, and a core executes tens of thousands"),
    set("flood-exempt", "programs of the server's own machine need room, and could harm it otherwise, too"),
    unset("connections-max", "1000", "each connection takes one"),
    unset(
        "connections-per-address",
        "64",
        "a household or a class shares an address; 64 times 64 KiB of replies are 4 MB",
    ),
    unset("cows-per-address", "12", "two households or a small class find room"),
    set(
        "connect-rate",
        "with a burst of lines for each, an address gets 20 lines a second beyond the rates of its connections",
    ),
    set("address-exempt", "programs of this machine share one address, and so do all clients behind a proxy on it"),
    set("keepalive", "this finds a peer that is gone after 90 s, for one question a minute"),
    set("user-timeout", "that is about seven retransmissions; the kernel alone tries for 15 minutes"),
    set("mailbox-frames", "a full mailbox takes 40 MB at most, or 170 MB of longest lines"),
    unset(
        "control",
        "\"/run/cowchat/control.sock\"",
        "what can close connections exists only if an operator asks for it",
    ),
    set("drain-timeout", "a quarter of it is enough for the last lines of 5,000 connections"),
    unset("metrics", "\"127.0.0.1:9337\"", "the address has no access control"),
    set("log", "it has each login and each end of a connection, and no message"),
    set("log-format", "people read it, and programs can, too"),
    #[cfg(feature = "cluster")]
    unset("cluster", "[\"nats://127.0.0.1:4222\"]", "one machine needs no others"),
    #[cfg(feature = "cluster")]
    unset("node", "\"a\"", "only an operator knows which names are taken"),
    #[cfg(feature = "cluster")]
    unset("cluster-credentials", "\"/etc/cowchat/nats.creds\"", "a NATS server of one's own may need none"),
    #[cfg(feature = "cluster")]
    unset("cluster-ca", "\"/etc/cowchat/nats.pem\"", "the system's suffice for public certificates"),
    #[cfg(feature = "cluster")]
    unset("cluster-certificate", "\"/etc/cowchat/server.pem\"", "most NATS servers ask for none"),
    #[cfg(feature = "cluster")]
    set(
        "cluster-ttl",
        "a NATS server that starts again needs some seconds, and users of a dead server wait for this long",
    ),
    #[cfg(feature = "cluster")]
    set("cluster-renew", "of six signs of life five may be lost"),
    #[cfg(feature = "cluster")]
    set("cluster-replicas", "one NATS server can keep one copy"),
];
