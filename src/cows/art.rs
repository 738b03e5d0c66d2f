//! Pictures as charasay draws them: its own, and those of `.chara` files.
//!
//! `charasay::format_character` takes about a millisecond a call: it compiles a regular expression and
//! reads its asset anew. Its result is a bubble followed by a body that does not depend on the message,
//! so each body is asked for once and kept: 24 bodies are 96 KB.

use charasay::{BUILTIN_CHARA, Chara, format_character};

use super::bubble::Bubble;
use super::chara::{self, CharaError, Problem};
use super::plain::{is_colour_only, shade};

/// Names of the built-in cows, sorted.
pub const BUILTIN_NAMES: [&str; 24] = BUILTIN_CHARA;

/// The message that bodies are asked for with; any would do.
const SAMPLE: &str = "moo";

/// The body of a built-in cow in colour: everything below such a bubble, without an LF at its end.
///
/// `None` if there is no such cow, or charasay draws it other than as a bubble and a body.
pub fn builtin_body(name: &str, bubble: &Bubble) -> Option<String> {
    // charasay panics on a name that it does not have.
    if !BUILTIN_NAMES.contains(&name) {
        return None;
    }
    body(&Chara::Builtin(name.to_owned()), bubble)
}

/// The body that a `.chara` file of this text has, in colour, as [`builtin_body`] gives it.
///
/// # Errors
/// When charasay would not draw all of it, or draw more than text and colours.
pub fn chara_body(source: &str, bubble: &Bubble) -> Result<String, CharaError> {
    chara::check(source)?;
    // Only the variants of `Chara` that read files can panic. A CR would be drawn.
    let body = body(&Chara::Raw(source.replace("\r\n", "\n")), bubble);
    let body = body.filter(|body| is_colour_only(body)).ok_or(CharaError { line: None, problem: Problem::NotDrawn })?;
    if shade(&body).trim().is_empty() {
        return Err(CharaError { line: None, problem: Problem::Blank });
    }
    Ok(body)
}

fn body(chara: &Chara, bubble: &Bubble) -> Option<String> {
    let whole = format_character(SAMPLE, chara, bubble.columns(), bubble.kind()).ok()?;
    whole.strip_prefix(&bubble.draw(SAMPLE)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bubble_and_body_are_what_charasay_draws() {
        for (name, columns) in [("cowsay", 40), ("ascii", 30), ("round", 100), ("unicode", 40), ("think", 40)] {
            let bubble = Bubble::new(name, columns).expect("a kind");
            // One kind with all cows: they have no more in common than that.
            let cows = if name == "cowsay" { &BUILTIN_NAMES[..] } else { &["tux", "cow"] };
            for cow in cows {
                let body = builtin_body(cow, &bubble).expect("a built-in cow has a body");
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
        assert_eq!(builtin_body("nosuch", &Bubble::default()), None);
    }

    /// A file of charasay's form that draws this picture.
    fn file(picture: &str) -> String {
        format!("# moo\n$t = \"$thoughts\";\n$a = \"\\e[48;5;16m  \";\n\n$the_chara = <<EOC\n{picture}\nEOC\n")
    }

    #[test]
    fn a_file_is_drawn_as_charasay_draws_it() {
        let source = file("  $t\n    $a$x moo");
        let drawn = "  \\ \n    \u{1b}[48;5;16m  \u{1b}[49m   moo";
        let bubble = Bubble::default();
        assert_eq!(chara_body(&source, &bubble).as_deref(), Ok(drawn));
        assert_eq!(chara_body(&source.replace('\n', "\r\n"), &bubble).as_deref(), Ok(drawn));
        let think = Bubble::new("think", 40).expect("a kind");
        assert_eq!(chara_body(&source, &think), Ok(drawn.replace('\\', "o")));
        let whole = format_character("hi", &Chara::Raw(source), bubble.columns(), bubble.kind());
        assert_eq!(bubble.draw("hi") + drawn, whole.expect("charasay draws"));
    }

    #[test]
    fn a_file_that_draws_nothing_is_refused() {
        for source in ["", "\n", "# moo\n", &file(""), &file("  "), &file("\\e[31m  ")] {
            let refused = chara_body(source, &Bubble::default());
            assert_eq!(refused, Err(CharaError { line: None, problem: Problem::Blank }), "{source}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_file_makes_charasay_panic_or_write_to_a_terminal_what_is_no_colour(
            lines in prop::collection::vec(
                r#"\$[abxt]{1,2} ?= ?"\\e\[[0-9;]{0,5}m? {0,3}";?|([ -~é]|\$[abxt]|\\e\[[0-9;]{0,3}[mJ]){0,12}|\PC{0,8}|EOC"#,
                0..8,
            ),
        ) {
            if let Ok(body) = chara_body(&lines.join("\n"), &Bubble::default()) {
                prop_assert!(is_colour_only(&body), "{:?}", body);
            }
        }
    }
}
