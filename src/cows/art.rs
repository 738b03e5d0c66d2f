//! The built-in pictures, as charasay draws them.
//!
//! `charasay::format_character` takes about a millisecond a call: it compiles a regular expression and
//! reads its asset anew. Its result is a bubble followed by a body that does not depend on the message,
//! so each body is asked for once and kept: 24 bodies are 96 KB.

use charasay::{BUILTIN_CHARA, Chara, format_character};

use super::bubble::Bubble;

/// Names of the built-in cows, sorted.
pub const BUILTIN_NAMES: [&str; 24] = BUILTIN_CHARA;

/// The message that bodies are asked for with; any would do.
const SAMPLE: &str = "moo";

/// The body of a built-in cow in colour: everything below such a bubble, without an LF at its end.
///
/// `None` if there is no such cow, or charasay draws it other than as a bubble and a body.
pub fn builtin_body(name: &str, bubble: Bubble) -> Option<String> {
    // charasay panics on a name that it does not have.
    if !BUILTIN_NAMES.contains(&name) {
        return None;
    }
    let whole = format_character(SAMPLE, &Chara::Builtin(name.to_owned()), bubble.columns(), bubble.kind()).ok()?;
    whole.strip_prefix(&bubble.draw(SAMPLE)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bubble_and_body_are_what_charasay_draws() {
        for (name, columns) in [("cowsay", 40), ("ascii", 30), ("round", 100), ("unicode", 40), ("think", 40)] {
            let bubble = Bubble::new(name, columns).expect("a kind");
            // One kind with all cows: they have no more in common than that.
            let cows = if name == "cowsay" { &BUILTIN_NAMES[..] } else { &["tux", "cow"] };
            for cow in cows {
                let body = builtin_body(cow, bubble).expect("a built-in cow has a body");
                for text in
                    ["hi", "a longer message that has to be wrapped at forty columns", "привет, 世界 😀", "  x  y", "-"]
                {
                    let whole = format_character(text, &Chara::Builtin((*cow).to_owned()), columns, bubble.kind());
                    assert_eq!(bubble.draw(text) + &body, whole.expect("charasay draws"), "{cow} {name}: {text}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_name_has_no_body() {
        assert_eq!(builtin_body("nosuch", Bubble::default()), None);
    }
}
