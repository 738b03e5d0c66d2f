//! What a string of Perl stands for: what a backslash, a dollar sign and an at sign mean in it.
//!
//! What Perl would take for more than a variable or a character is refused.

use std::collections::HashMap;

use super::identifier::{identifier, subscript};
use super::problem::{Parsed, Problem, ProblemAt};
use super::source::{Quoted, Quoting};

/// Names that have a value in Perl, or in the program that runs the file.
#[rustfmt::skip]
const TAKEN_NAMES: [&str; 15] = [
    "_", "ARGV", "ENV", "INC", "STDERR", "STDIN", "STDOUT",
    "balloon_lines", "columns", "cowpath", "message", "opts", "pathsep", "progname", "version",
];

/// What a string stands for. One of more than `bytes_max` bytes may come unfinished.
pub(super) fn value_of_string(
    &Quoted { text, from, quoting }: &Quoted<'_>,
    variables: &HashMap<String, String>,
    bytes_max: usize,
) -> Parsed<String> {
    match quoting {
        Quoting::Verbatim => return Ok(text.to_owned()),
        Quoting::Single => return Ok(unescaped(text)),
        Quoting::Double => {}
    }
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$', '@']) {
        value.push_str(&rest[..at]);
        let here = from + text.len() - rest.len() + at;
        let (sigil, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        let replaced = match sigil {
            b'\\' => escape(after, &mut value),
            b'$' => variable(after, variables, &mut value),
            _ => array(after, &mut value),
        };
        rest = replaced.map_err(|problem| ProblemAt { at: here, problem })?;
        // A value may be long where its name is short.
        if value.len() > bytes_max {
            break;
        }
    }
    value.push_str(rest);
    Ok(value)
}

/// `text` from between single quotes: a backslash before another one or a quote goes.
fn unescaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('\\' | '\'')) => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    value
}

/// Appends the variable whose dollar sign precedes `rest`; returns what follows it.
fn variable<'t>(rest: &'t str, variables: &HashMap<String, String>, text: &mut String) -> Result<&'t str, Problem> {
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
        None if TAKEN_NAMES.contains(&name) => return Err(Problem::Name(format!("${name}"))),
        None => {}
    }
    Ok(after)
}

/// Appends what an at sign before `rest` stands for; returns what follows. With a name it is an array, and all arrays are empty.
fn array<'t>(rest: &'t str, text: &mut String) -> Result<&'t str, Problem> {
    let name = identifier(rest);
    let after = &rest[name.len()..];
    match subscript(after) {
        Some(next) if !name.is_empty() => Err(Problem::Subscript(format!("@{name}{next}"))),
        _ if TAKEN_NAMES.contains(&name) => Err(Problem::Name(format!("@{name}"))),
        _ if !name.is_empty() => Ok(after),
        _ if rest.starts_with(|next: char| next.is_alphanumeric() || ":'{$+-".contains(next)) => Err(Problem::Sigil),
        _ => {
            text.push('@');
            Ok(rest)
        }
    }
}

/// Appends the character whose backslash precedes `rest`; returns what follows it.
fn escape<'t>(rest: &'t str, text: &mut String) -> Result<&'t str, Problem> {
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
            text.push(number(digits, 8, letter)?);
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
            text.push(number(digits, 16, letter)?);
            return Ok(after);
        }
        'c' | 'l' | 'o' | 'u' | 'E' | 'F' | 'L' | 'Q' | 'U' => return Err(Problem::Escape(letter)),
        // Any other letter stands for itself.
        other => other,
    });
    Ok(after)
}

/// The leading characters of `text` that are of this ASCII kind, at most `most`.
fn leading(text: &str, most: usize, is_one: impl Fn(char) -> bool) -> &str {
    &text[..text.chars().take(most).take_while(|c| is_one(*c)).count()]
}

/// The character of this number; `letter` is the escape's.
fn number(digits: &str, radix: u32, letter: char) -> Result<char, Problem> {
    let is_number = !digits.starts_with('+');
    let character = u32::from_str_radix(digits, radix).ok().filter(|_| is_number).and_then(char::from_u32);
    character.ok_or(Problem::Escape(letter))
}
