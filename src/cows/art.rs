//! The pictures that charasay brings.
//!
//! `charasay::format_character` takes about a millisecond: each call compiles a regular expression and reads an asset. It
//! draws a bubble and then a body that does not depend on the message, so each body is drawn once and kept: 24 are 96 KB.

use charasay::{BUILTIN_CHARA, Chara, format_character};

use super::bubble::Bubble;

/// Names of the built-in cows, sorted.
pub const BUILTIN_NAMES: [&str; 24] = BUILTIN_CHARA;

/// The message with which bodies are drawn; any would do.
const SAMPLE: &str = "moo";

/// The body of a cow of [`BUILTIN_NAMES`] in colour: all that stands below this bubble, without an LF at its end. charasay
/// panics on another name.
///
/// `None` if charasay does not draw it as a bubble and a body.
pub(super) fn builtin_body(name: &str, bubble: &Bubble) -> Option<String> {
    body(&Chara::Builtin(name.to_owned()), bubble)
}

fn body(chara: &Chara, bubble: &Bubble) -> Option<String> {
    let whole = format_character(SAMPLE, chara, bubble.columns, bubble.kind).ok()?;
    whole.strip_prefix(&bubble.draw(SAMPLE)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cows::bubble::BubbleKind;
    use crate::cows::cow_file::{self, Kind};

    #[test]
    fn bubble_and_body_are_what_charasay_draws() {
        for (name, columns) in [("cowsay", 40), ("ascii", 30), ("round", 100), ("unicode", 40), ("think", 40)] {
            let bubble = Bubble::new(BubbleKind::from_name(name).expect("a kind"), columns);
            // All cows in one kind, two in each other kind: kind and cow do not depend on each other.
            let cows = if name == "cowsay" { &BUILTIN_NAMES[..] } else { &["tux", "cow"] };
            for cow in cows {
                let body = builtin_body(cow, &bubble).expect("a built-in cow has a body");
                for text in
                    ["hi", "a longer message that has to be wrapped at forty columns", "привет, 世界 😀", "  x  y", "-"]
                {
                    let whole = format_character(text, &Chara::Builtin((*cow).to_owned()), columns, bubble.kind);
                    assert_eq!(bubble.draw(text) + &body, whole.expect("charasay draws"), "{cow} {name}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_chara_file_is_what_charasay_draws_and_a_reset() {
        let source = "# moo\n$x = \"\\e[49m  \"; #reset\n$t = \"$thoughts \";\n$a = \"\\e[48;5;16m  \";\n$aB=\"\\e[48;2;1;2;3m  \";\n\n\
                      $the_chara = <<EOC\n  $t\n   $t $a$aB$x\n      $a moo\\e[0m $a$x.\nEOC\n";
        for (name, thoughts) in [("cowsay", "\\"), ("think", "o")] {
            let bubble = Bubble::new(BubbleKind::from_name(name).expect("a kind"), 40);
            let drawn = body(&Chara::Raw(source.to_owned()), &bubble).expect("charasay draws");
            let read = cow_file::parse(source, Kind::Chara, thoughts).expect("it is read");
            assert_eq!(read.colour, drawn + "\x1b[0m");
        }
    }
}
