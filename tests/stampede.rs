//! The load generator's judgement: it finds a delivery that is lost, repeated, reordered or broken; and each kind of flood
//! is one.
//!
//! Owns the pure parts of `benches/stampede`. `cargo bench --bench stampede -- self-test` shows the same over sockets, with
//! a floor that misbehaves on purpose. Of the workloads only `flood` runs here, for a moment.

#[path = "../benches/stampede/main.rs"]
#[allow(dead_code, reason = "the bench uses all of it")]
mod stampede;

use clap::{Parser, ValueEnum};

use stampede::cli::{self, Cli, FloodKind, Workload};
use stampede::figures::Figures;
use stampede::flood;
use stampede::ledger::{Faults, Ledger};
use stampede::report::Report;
use stampede::texts::Texts;
use stampede::token::{TOKEN_BYTES, Token};
use stampede::wire::{Gallery, Garbled, Item};

/// What the ledger says when these numbers came on one lane and 4 were sent.
fn faults(came: &[u32]) -> Faults {
    let mut ledger = Ledger::new(1);
    for &number in came {
        ledger.record(0, number);
    }
    ledger.faults(|_| 4)
}

#[test]
fn what_came_once_and_in_order_is_clean() {
    assert!(faults(&[1, 2, 3, 4]).is_clean());
    assert!(Ledger::new(3).faults(|_| 0).is_clean(), "nothing sent, nothing came");
}

#[test]
fn a_lost_delivery_is_found_wherever_it_stood() {
    for came in [&[2, 3, 4][..], &[1, 3, 4], &[1, 2, 3]] {
        assert_eq!(faults(came), Faults { lost: 1, ..Faults::default() }, "{came:?}");
    }
    assert_eq!(faults(&[]).lost, 4);
}

#[test]
fn a_repeated_delivery_is_found_wherever_it_stood() {
    for came in [&[1, 1, 2, 3, 4][..], &[1, 2, 3, 4, 4], &[1, 2, 3, 4, 2]] {
        assert_eq!(faults(came), Faults { repeated: 1, ..Faults::default() }, "{came:?}");
    }
}

#[test]
fn a_reordered_delivery_is_neither_lost_nor_repeated() {
    for came in [&[2, 1, 3, 4][..], &[1, 2, 4, 3], &[1, 3, 4, 2]] {
        assert_eq!(faults(came), Faults { reordered: 1, ..Faults::default() }, "{came:?}");
    }
    assert_eq!(faults(&[2, 1, 1, 4]), Faults { lost: 1, repeated: 1, reordered: 1, broken: 0 });
}

#[test]
fn lanes_are_kept_apart() {
    let mut ledger = Ledger::new(2);
    assert!(ledger.record(0, 1) && ledger.record(1, 1) && ledger.record(0, 2) && !ledger.record(1, 1));
    assert_eq!(ledger.faults(|lane| [2, 1][lane]), Faults { repeated: 1, ..Faults::default() });
}

#[test]
fn a_token_reads_as_it_was_written() {
    for token in [(0, 1, 0), (23, 999_999_999, 1), (999_999, 10, 1_000)] {
        let token = Token { sender: token.0, number: token.1, yielded: token.2 };
        assert_eq!(Token::parse(&token.bytes()), Some(token));
    }
    assert_eq!(Token::parse(b"@000001.000000001.00000000"), None, "too short");
    assert_eq!(Token::parse(b"@000001.00000x001.000000000"), None);
}

const TOKEN: Token = Token { sender: 1, number: 7, yielded: 3 };

/// Two clients, `cow` and `tux`, whose messages are a text in three lines, with a header or without.
fn gallery(texts: Texts, header: bool) -> Gallery {
    let names = ["cow", "tux"];
    let token = Token { sender: 0, number: 1, yielded: 0 };
    let of_first: Vec<_> = (0..texts.count()).map(|text| block("cow", token, texts.rest(text), header)).collect();
    let of_others = [block("tux", token, texts.rest(0), header)];
    Gallery::learn(names.map(str::to_owned).to_vec(), texts, &of_first, &of_others).expect("messages with tokens")
}

fn block(name: &str, token: Token, rest: &[u8], header: bool) -> Vec<u8> {
    let says = if token.yielded > 0 { "says" } else { "says to you" };
    let header = if header { format!("{name} {says}:\n") } else { String::new() };
    let text = [&token.bytes()[..], rest].concat();
    let text = String::from_utf8(text).expect("a text");
    format!("{header} ____\n<  {text}  >\n----\n\x1b[31m({name})\n\n").into_bytes()
}

/// A text that is a token and nothing else.
fn token_alone() -> Texts {
    Texts::of_bytes(TOKEN_BYTES)
}

#[test]
fn messages_and_replies_are_told_apart_however_they_are_split() {
    for header in [true, false] {
        let gallery = gallery(token_alone(), header);
        let private = Token { yielded: 0, ..TOKEN };
        let mut input = b"Sent to 20 cows\nSent to tux\n".to_vec();
        input.extend(block("tux", TOKEN, b"", header));
        input.extend(b"error: login first\n");
        input.extend(block("tux", private, b"", header));
        let mut items = Vec::new();
        let mut from = 0;
        for to in 0..=input.len() {
            while let Some((item, length)) = gallery.next(&input[from..to]).expect("nothing is wrong with it") {
                items.push(item);
                from += length;
            }
        }
        let expected = [Item::Sent(20), Item::Reply, Item::Delivery(TOKEN), Item::Refused, Item::Delivery(private)];
        assert_eq!((&items[..], from), (&expected[..], input.len()));
    }
}

#[test]
fn a_block_with_one_wrong_byte_is_garbled() {
    let gallery = gallery(token_alone(), true);
    let whole = block("tux", TOKEN, b"", true);
    assert_eq!(gallery.next(&whole), Ok(Some((Item::Delivery(TOKEN), whole.len()))));
    let token_at = whole.windows(1).position(|byte| byte == b"@").expect("a token");
    for at in (0..whole.len()).filter(|at| !(token_at..token_at + TOKEN_BYTES).contains(at)) {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        // A wrong first byte may make it wait for a line that never ends; it is never taken for a message.
        assert!(matches!(gallery.next(&broken), Err(Garbled) | Ok(None)), "byte {at}");
    }
    let private = block("tux", Token { yielded: 0, ..TOKEN }, b"", true);
    assert!(gallery.next(&[&private[..], &whole].concat()).is_ok());
    assert_eq!(gallery.next(&block("cow", TOKEN, b"", true)), Err(Garbled), "tux's token from cow");
}

#[test]
fn the_gallery_knows_each_text_of_each_cow() {
    let texts = Texts::of_a_chat();
    for header in [true, false] {
        let gallery = gallery(texts.clone(), header);
        for (sender, name) in [(0, "cow"), (1, "tux")] {
            for number in 0..texts.count() as u32 {
                for yielded in [0, number] {
                    let token = Token { sender, number, yielded };
                    let whole = block(name, token, texts.rest(texts.index(token)), header);
                    let (before, after) = gallery.pieces(token);
                    assert_eq!([before.concat(), token.bytes().to_vec(), after.concat()].concat(), whole);
                    assert_eq!(gallery.next(&whole), Ok(Some((Item::Delivery(token), whole.len()))));
                    let other = Token { number: number + 1, ..token };
                    let other = block(name, other, texts.rest(texts.index(token)), header);
                    assert!(!matches!(gallery.next(&other), Ok(Some(_))), "the text of another token");
                }
            }
        }
    }
}

#[test]
fn the_gallery_knows_a_text_that_only_one_cow_says() {
    for header in [true, false] {
        let mut gallery = gallery(token_alone(), header);
        let token = Token { sender: 1, number: 1, yielded: 1 };
        let private = Token { yielded: 0, ..token };
        let rest = b" of its own";
        let learned = block("tux", private, rest, header);
        gallery.learn_own(1, rest.to_vec(), &learned).expect("a message with a token");
        for token in [token, private] {
            let whole = block("tux", token, rest, header);
            assert_eq!(gallery.next(&whole), Ok(Some((Item::Delivery(token), whole.len()))));
            assert_eq!((gallery.rest(token), gallery.block_bytes(token)), (&rest[..], whole.len()));
            assert!(!matches!(gallery.next(&block("tux", token, b"", header)), Ok(Some(_))), "the text of others");
        }
        let other = Token { sender: 0, ..token };
        let whole = block("cow", other, b"", header);
        assert_eq!(gallery.next(&whole), Ok(Some((Item::Delivery(other), whole.len()))));
        assert_eq!((gallery.rest(other), gallery.block_bytes(other)), (&b""[..], whole.len()));
    }
}

#[test]
fn every_kind_of_flood_is_executed_and_reaches_talkers_whole() {
    for kind in FloodKind::value_variants() {
        // At the default rate of connects 64 of them need half a minute, and a long line may come after the run.
        let server_args = match kind {
            FloodKind::Many | FloodKind::Burst | FloodKind::All => "--connect-rate 1000/s --art off",
            FloodKind::Lines | FloodKind::Reconnect | FloodKind::Expensive => "--connect-rate 1000/s --flood-rate 50/s",
        };
        let arguments = ["stampede", "flood", "--kind", &cli::name(kind), "--pairs-of-cows", "2", "--pairs", "1"];
        let common = ["--seconds", "0.5", "--json", "--server-args", server_args];
        let Cli { workload, common } = Cli::parse_from(arguments.into_iter().chain(common));
        let Some(Workload::Flood { kind, pairs_of_cows, rate }) = workload else { panic!("{workload:?}") };
        let mut report = Report::new(&common).expect("no file to write");
        let runs = flood::run(&mut report, &common, kind, pairs_of_cows, rate).expect("a flood");
        let complaint = runs.iter().flatten().find_map(|figures| figures.complaint.as_ref());
        assert!(report.faults.is_clean(), "{kind:?}: {:?}, {complaint:?}", report.faults);
        let [flooded, calm] = &runs[0][..] else { panic!("{runs:?}") };
        let of = |figures: &Figures, key: &str| figures.more[key].as_f64().expect("a number");
        assert!(of(flooded, "flooder_executed") > 0.0, "{kind:?}: {:?}", flooded.more);
        assert_eq!(of(flooded, "bytes_to_each_talker") > 0.0, kind != FloodKind::Lines, "{kind:?}: {:?}", flooded.more);
        assert_eq!(of(flooded, "flooder_cut"), 0.0, "{kind:?}");
        assert_eq!((of(calm, "flooder_executed"), of(calm, "bytes_to_each_talker")), (0.0, 0.0), "{kind:?}");
        assert!(flooded.events > 0 && calm.events > 0, "{kind:?}: the talkers said nothing");
    }
}

#[test]
fn a_text_has_the_length_asked_for_and_does_not_end_in_a_blank() {
    for bytes in [27, 28, 29, 36, 250] {
        let texts = Texts::of_bytes(bytes);
        assert_eq!((texts.count(), texts.rest(0).len()), (1, bytes - TOKEN_BYTES));
        assert!(!texts.rest(0).ends_with(b" "));
    }
}

#[test]
fn a_chat_is_as_long_and_as_foreign_as_it_says() {
    let texts = Texts::of_a_chat();
    let mut bytes: Vec<usize> = (0..texts.count()).map(|text| TOKEN_BYTES + texts.rest(text).len()).collect();
    bytes.sort_unstable();
    let count = |length| bytes.iter().filter(|bytes| **bytes == length).count();
    assert_eq!((count(500), count(150)), (texts.count() / 100, texts.count() / 10));
    assert!((38..=42).contains(&bytes[texts.count() / 2]), "{bytes:?}");
    let foreign = (0..texts.count()).filter(|text| !texts.rest(*text).is_ascii()).count();
    assert_eq!(foreign, texts.count() / 20);
    assert!((0..texts.count()).all(|text| std::str::from_utf8(texts.rest(text)).is_ok()));
}
