//! What a backslash, a dollar sign and an at sign mean within a string of Perl.
//!
//! Each function takes the rest of the string behind one of them, appends what it stands for, and returns what follows.
//! Whatever Perl would take for more than a variable or a character is refused.

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

use super::cow_file::Problem;

/// Names that have a value of Perl's own, or of the program that runs the file.
const OTHERS_NAMES: [&str; 15] = [
    "_",
    "ARGV",
    "ENV",
    "INC",
    "STDERR",
    "STDIN",
    "STDOUT",
    "balloon_lines",
    "columns",
    "cowpath",
    "message",
    "opts",
    "pathsep",
    "progname",
    "version",
];

/// What follows a dollar sign within a string.
pub(super) fn variable<'t>(
    rest: &'t str,
    variables: &HashMap<String, String>,
    text: &mut String,
) -> Result<&'t str, Problem> {
    let (name, after) = match rest.strip_prefix('{') {
        Some(braced) => {
            let (name, after) = braced.split_once('}').ok_or(Problem::Sigil)?;
            (name.trim_matches([' ', '\t']), after)
        }
        None => rest.split_at(identifier(rest).len()),
    };
    if name.is_empty() || identifier(name) != name {
        return Err(Problem::Sigil);
    }
    if let Some(next) = subscript(after) {
        return Err(Problem::Subscript(format!("${name}{next}")));
    }
    match variables.get(name) {
        Some(value) => text.push_str(value),
        None if OTHERS_NAMES.contains(&name) => return Err(Problem::Name(format!("${name}"))),
        None => {}
    }
    Ok(after)
}

/// The identifier that `text` begins with; empty if it begins with none.
pub(super) fn identifier(text: &str) -> &str {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What makes more of the name before it than a variable, if that follows: an element of an array or hash, a package's
/// name, a longer name.
pub(super) fn subscript(after: &str) -> Option<&str> {
    let next = ["[", "{", "->[", "->{", "::"].into_iter().find(|subscript| after.starts_with(subscript));
    let is_package = || {
        let name = after.strip_prefix('\'');
        name.is_some_and(|name| !identifier(name).is_empty() || name.starts_with(goes_on_in_unicode))
    };
    let is_longer = || after.starts_with(goes_on_in_unicode);
    next.or_else(|| is_package().then_some("'")).or_else(|| {
        let end = after.chars().next().map_or(0, char::len_utf8);
        is_longer().then_some(&after[..end])
    })
}

/// Whether a character beyond ASCII makes a name longer: letters, digits, marks and what connects words (XID_Continue).
fn goes_on_in_unicode(next: char) -> bool {
    let connects = matches!(
        next,
        '\u{203f}' | '\u{2040}' | '\u{2054}' | '\u{fe33}' | '\u{fe34}' | '\u{fe4d}'..='\u{fe4f}' | '\u{ff3f}'
    );
    !next.is_ascii() && (next.is_alphanumeric() || is_combining_mark(next) || connects)
}

/// What follows an at sign within a string. Perl takes a name there for an array, and a file has none that is not empty.
pub(super) fn array<'t>(rest: &'t str, text: &mut String) -> Result<&'t str, Problem> {
    let name = identifier(rest);
    let after = &rest[name.len()..];
    match subscript(after) {
        Some(next) if !name.is_empty() => Err(Problem::Subscript(format!("@{name}{next}"))),
        _ if OTHERS_NAMES.contains(&name) => Err(Problem::Name(format!("@{name}"))),
        _ if !name.is_empty() => Ok(after),
        _ if rest.starts_with(|next: char| next.is_alphanumeric() || ":'{$+-".contains(next)) => Err(Problem::Sigil),
        _ => {
            text.push('@');
            Ok(rest)
        }
    }
}

/// What follows a backslash within a string.
pub(super) fn escape<'t>(rest: &'t str, text: &mut String) -> Result<&'t str, Problem> {
    let Some(letter) = rest.chars().next() else {
        text.push('\\');
        return Ok(rest);
    };
    let after = &rest[letter.len_utf8()..];
    text.push(match letter {
        'e' => '\x1b',
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        '0'..='7' => {
            let digits = leading(rest, 3, |c| matches!(c, '0'..='7'));
            text.push(number(digits, 8, "")?);
            return Ok(&rest[digits.len()..]);
        }
        'x' | 'N' => {
            let (digits, after) = match (letter, after.strip_prefix('{').and_then(|braced| braced.split_once('}'))) {
                ('x', Some((digits, after))) => (digits, after),
                ('N', Some((name, after))) => (name.strip_prefix("U+").unwrap_or_default(), after),
                ('x', None) if !after.starts_with('{') => {
                    let digits = leading(after, 2, |c| c.is_ascii_hexdigit());
                    (digits, &after[digits.len()..])
                }
                _ => ("", after),
            };
            text.push(number(digits, 16, &rest[..1])?);
            return Ok(after);
        }
        'c' | 'l' | 'o' | 'u' | 'E' | 'F' | 'L' | 'Q' | 'U' => return Err(Problem::Escape(letter)),
        // Perl passes the other letters on.
        other => other,
    });
    Ok(after)
}

/// As many characters as `text` begins with of this kind, at most so many.
fn leading(text: &str, most: usize, is_one: impl Fn(char) -> bool) -> &str {
    &text[..text.chars().take(most).take_while(|c| is_one(*c)).count()]
}

/// The character of this number; `letter` is that of the escape.
fn number(digits: &str, radix: u32, letter: &str) -> Result<char, Problem> {
    let is_number = !digits.starts_with('+');
    let character = u32::from_str_radix(digits, radix).ok().filter(|_| is_number).and_then(char::from_u32);
    character.ok_or_else(|| Problem::Escape(letter.chars().next().unwrap_or_default()))
}
