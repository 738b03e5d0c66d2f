//! `.chara` files, charasay's own: read line by line before charasay draws them.
//!
//! charasay refuses nothing: it leaves out what it does not know, parts a picture at each `+`, and takes the
//! last colour of a line for all of it. Here such a file is refused with its line instead, and so is whatever
//! would reach a terminal as anything but text and colours. What passes, charasay draws in time and memory
//! that the file's size bounds: no variable's value names another one.

use std::collections::BTreeSet;

use super::plain::is_colour_only;
use crate::limits::CHARA_COLOR_BYTES_MAX;

/// Why a file is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct CharaError {
    /// Counted from 1; `None` if it is about the whole picture.
    pub line: Option<usize>,
    /// What stands there.
    pub problem: Problem,
}

/// What a chara file may not contain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Problem {
    #[error("a line with = is no picture to charasay: write $a = \"\\e[48;5;16m  \"; or take the = out")]
    Definition,
    #[error("charasay leaves this line out of the picture")]
    LeftOut,
    #[error("charasay parts pictures at a +, and a cow has one")]
    Plus,
    #[error("the variable {0} is not defined")]
    Variable(String),
    #[error("charasay takes {0} for a shorter name")]
    Shadowed(String),
    #[error("a control character, or an escape sequence that is no colour")]
    Control,
    #[error("nothing is drawn")]
    Blank,
    #[error("charasay does not draw it as text and colours")]
    NotDrawn,
}

/// What a line is to charasay.
enum Line<'a> {
    /// A comment, the heredoc's ends, the colour and the pointer that charasay sets itself.
    Frame,
    /// A variable with a colour.
    Definition(&'a str),
    /// A part of the picture.
    Picture(&'a str),
}

/// Whether charasay draws all of this file, and nothing but text and colours.
///
/// # Errors
/// The first line that it would draw wrong.
pub fn check(source: &str) -> Result<(), CharaError> {
    let mut defined = BTreeSet::from(["x", "t"]);
    let mut picture = Vec::new();
    for (at, text) in source.lines().enumerate() {
        let located = |problem| CharaError { line: Some(at + 1), problem };
        match line(text).map_err(located)? {
            Line::Frame => {}
            Line::Definition(name) => {
                // Both are replaced before all others.
                if name.starts_with(['x', 't']) {
                    return Err(located(Problem::Shadowed(format!("${name}"))));
                }
                defined.insert(name);
            }
            Line::Picture(text) => picture.push((at, text)),
        }
    }
    for (at, text) in picture {
        let used = text.split('$').skip(1).map(word);
        if let Some(name) = used.filter(|name| !name.is_empty()).find(|name| !defined.contains(name)) {
            return Err(CharaError { line: Some(at + 1), problem: Problem::Variable(format!("${name}")) });
        }
    }
    Ok(())
}

fn line(text: &str) -> Result<Line<'_>, Problem> {
    // charasay asks for these in the same order, and takes a # for a comment at the very beginning only.
    if text.is_empty() || text.starts_with('#') {
        return Ok(Line::Frame);
    }
    if !is_colour_only(&text.replace("\\e", "\u{1b}")) {
        return Err(Problem::Control);
    }
    if text.starts_with("$x") || text.contains("$thoughts") {
        return if text.contains('=') { Ok(Line::Frame) } else { Err(Problem::LeftOut) };
    }
    if text.contains('+') {
        return Err(Problem::Plus);
    }
    if let Some((name, value)) = text.split_once('=') {
        let name = name.trim_matches([' ', '\t']).strip_prefix('$').ok_or(Problem::Definition)?;
        let value = value.trim_start_matches([' ', '\t']);
        return match name.is_empty() || name != word(name) {
            true => Err(Problem::Definition),
            false if value.starts_with("<<") => Ok(Line::Frame),
            false if is_color(value) => Ok(Line::Definition(name)),
            false => Err(Problem::Definition),
        };
    }
    if text.contains("EOC") {
        let is_end = text.trim_end_matches([' ', ';']) == "EOC";
        return if is_end { Ok(Line::Frame) } else { Err(Problem::LeftOut) };
    }
    Ok(Line::Picture(text))
}

/// Whether a value is one colour and blanks, which is all that charasay takes of it, and perhaps a comment.
fn is_color(value: &str) -> bool {
    let rest = value.strip_prefix('"').and_then(|rest| rest.strip_prefix("\\e[").or(rest.strip_prefix("\u{1b}[")));
    let Some((color, comment)) = rest.and_then(|rest| rest.split_once("\";")) else { return false };
    let blanks = color.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m');
    let comment = comment.trim_start_matches([' ', '\t']);
    color.len() <= CHARA_COLOR_BYTES_MAX
        && blanks.is_some_and(|blanks| blanks.bytes().all(|byte| byte == b' '))
        && (comment.is_empty() || comment.starts_with('#') && !comment.contains(['\u{1b}', '\\']))
}

/// The word that `text` begins with, as charasay's `\w+` sees it.
fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# moo\n$x = \"\\e[49m  \"; #reset color\n$t = \"$thoughts \";\n$a = \"\\e[48;5;16m  \";\n";

    fn refusal(lines: &str) -> Problem {
        let error = check(&format!("{HEAD}{lines}\n$the_chara = <<EOC\n $t\n  $a$x moo \\e[0m\nEOC\n"));
        let error = error.expect_err(lines);
        assert_eq!(error.line, Some(5), "{lines}");
        error.problem
    }

    #[test]
    fn what_charasays_own_files_are_like_passes() {
        assert_eq!(check(&format!("{HEAD}$the_chara = <<EOC\n $t\n  $a$x$$ 5\nEOC\n")), Ok(()));
        assert_eq!(check(&format!("{HEAD}$aB = \"\u{1b}[48;2;1;2;3m\";# B\n$the_chara = <<EOC\n $aB$a$\nEOC")), Ok(()));
    }

    #[test]
    fn what_charasay_would_leave_out_is_refused_with_its_line() {
        assert_eq!(refusal(" a = b"), Problem::Definition);
        assert_eq!(refusal("$a$a = <<EOC"), Problem::Definition);
        assert_eq!(refusal("$b = \"moo\";"), Problem::Definition);
        assert_eq!(refusal("$b = \"\\e[1m\\e[2m  \";"), Problem::Definition, "it takes the second alone");
        assert_eq!(refusal("$b = \"\\e[1m$a\";"), Problem::Definition, "a value that names another");
        assert_eq!(refusal("$b = \"\\e[1m  \"; # \\e[2m.;"), Problem::Definition);
        assert_eq!(refusal(&format!("$b = \"\\e[1m{}\";", " ".repeat(CHARA_COLOR_BYTES_MAX))), Problem::Definition);
        assert_eq!(refusal("$x$a"), Problem::LeftOut);
        assert_eq!(refusal(" $thoughts"), Problem::LeftOut);
        assert_eq!(refusal(" EOC"), Problem::LeftOut);
        assert_eq!(refusal("$a + $a"), Problem::Plus);
    }

    #[test]
    fn a_variable_that_would_not_be_replaced_is_refused_with_its_line() {
        assert_eq!(refusal("$a$b"), Problem::Variable("$b".to_owned()));
        assert_eq!(refusal("$a$ab"), Problem::Variable("$ab".to_owned()));
        assert_eq!(refusal("$a$tongue"), Problem::Variable("$tongue".to_owned()));
        assert_eq!(refusal("$tail = \"\\e[1m \";"), Problem::Shadowed("$tail".to_owned()));
    }

    #[test]
    fn no_control_character_passes_but_colours() {
        for line in ["\\e[2J", "\\e]0;moo", "a\tb", "\\e[1", "\u{9b}1m", "a\rb"] {
            assert_eq!(refusal(line), Problem::Control, "{line:?}");
        }
    }
}
