//! The load generator's judgement: that it sees a delivery which is lost, repeated, reordered or broken.
//!
//! Owns the pure parts of `benches/stampede`; `cargo bench --bench stampede -- self-test` shows the same over
//! sockets, with a server that misbehaves on purpose.

#[path = "../benches/stampede/ledger.rs"]
#[allow(dead_code, reason = "the bench uses all of it")]
mod ledger;
#[path = "../benches/stampede/wire.rs"]
#[allow(dead_code, reason = "the bench uses all of it")]
mod wire;

use ledger::{Faults, Ledger};
use wire::{Gallery, Garbled, Item, Token, padding};

/// What the ledger says when these numbers came on one lane and 4 were sent.
fn faults(came: &[u32]) -> Faults {
    let mut ledger = Ledger::new(1);
    for &number in came {
        ledger.note(0, number);
    }
    ledger.settle(|_| 4)
}

#[test]
fn what_came_once_and_in_order_is_clean() {
    assert!(faults(&[1, 2, 3, 4]).is_clean());
    assert!(Ledger::new(3).settle(|_| 0).is_clean(), "nothing sent, nothing came");
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
    assert!(ledger.note(0, 1) && ledger.note(1, 1) && ledger.note(0, 2) && !ledger.note(1, 1));
    assert_eq!(ledger.settle(|lane| [2, 1][lane]), Faults { repeated: 1, ..Faults::default() });
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

/// Two clients, `cow` and `tux`, whose messages are a token in three lines, with a header or without.
fn gallery(header: bool) -> Gallery {
    let mut gallery = Gallery::new(vec!["cow".to_owned(), "tux".to_owned()]);
    for name in ["cow", "tux"] {
        gallery.learn(name, &block(name, Token { sender: 0, number: 1, yielded: 0 }, header)).expect("a token");
    }
    gallery
}

fn block(name: &str, token: Token, header: bool) -> Vec<u8> {
    let says = if token.yielded > 0 { "says" } else { "says to you" };
    let header = if header { format!("{name} {says}:\n") } else { String::new() };
    let token = String::from_utf8(token.bytes().to_vec()).expect("ASCII");
    format!("{header} ____\n<  {token}  >\n----\n\x1b[31m({name})\n\n").into_bytes()
}

#[test]
fn messages_and_replies_are_told_apart_however_they_are_split() {
    for header in [true, false] {
        let gallery = gallery(header);
        let private = Token { yielded: 0, ..TOKEN };
        let mut input = b"Sent to 20 cows\nSent to tux\n".to_vec();
        input.extend(block("tux", TOKEN, header));
        input.extend(b"error: login first\n");
        input.extend(block("tux", private, header));
        let mut items = Vec::new();
        let mut from = 0;
        for to in 0..=input.len() {
            while let Some((item, length)) = gallery.next(&input[from..to]).expect("nothing is wrong with it") {
                items.push(item);
                from += length;
            }
        }
        let expected = [Item::Heard(20), Item::Reply, Item::Delivery(TOKEN), Item::Refused, Item::Delivery(private)];
        assert_eq!((&items[..], from), (&expected[..], input.len()));
    }
}

#[test]
fn a_block_with_one_wrong_byte_is_garbled() {
    let gallery = gallery(true);
    let whole = block("tux", TOKEN, true);
    assert_eq!(gallery.next(&whole), Ok(Some((Item::Delivery(TOKEN), whole.len()))));
    let token_at = whole.windows(1).position(|byte| byte == b"@").expect("a token");
    for at in (0..whole.len()).filter(|at| !(token_at..token_at + wire::TOKEN_BYTES).contains(at)) {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        // A wrong first byte may make it wait for a line that never ends; it is never taken for a message.
        assert!(matches!(gallery.next(&broken), Err(Garbled) | Ok(None)), "byte {at}");
    }
    let private = block("tux", Token { yielded: 0, ..TOKEN }, true);
    assert!(gallery.next(&[&private[..], &whole].concat()).is_ok());
    assert_eq!(gallery.next(&block("cow", TOKEN, true)), Err(Garbled), "tux's token from cow");
}

#[test]
fn the_gallery_draws_what_it_has_learnt() {
    for (sender, name) in [(0, "cow"), (1, "tux")] {
        let (mut drawn, at) = gallery(true).block(sender, true);
        let token = Token { sender, ..TOKEN };
        drawn[at..at + wire::TOKEN_BYTES].copy_from_slice(&token.bytes());
        assert_eq!(drawn, block(name, token, true));
    }
}

#[test]
fn a_text_has_the_length_asked_for_and_does_not_end_in_a_blank() {
    for bytes in [27, 28, 29, 36, 250] {
        let padding = padding(bytes);
        assert_eq!(padding.len(), bytes - wire::TOKEN_BYTES);
        assert!(!padding.ends_with(b" "));
    }
}
