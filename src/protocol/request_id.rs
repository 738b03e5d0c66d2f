//! Request ids: 1 to [`ID_DIGITS_MAX`] digits as the first word of a line, which its reply begins with.

use super::refusal::Refusal;
use crate::limits::ID_DIGITS_MAX;

/// Most bytes of a line that do not count towards its length: an id and the blank after it.
pub(super) const ID_BYTES_MAX: usize = ID_DIGITS_MAX + 1;

/// How many bytes at the beginning of `line`, as it arrived, do not count towards its length.
pub(super) fn id_bytes(line: &[u8]) -> usize {
    let line = line.trim_ascii_start();
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match line.get(digits) {
        Some(b' ' | b'\t') if (1..=ID_DIGITS_MAX).contains(&digits) => digits + 1,
        _ => 0,
    }
}

/// A sanitized line as its id, if it has one, and the rest.
///
/// # Errors
/// When the first word has more digits than an id may have.
pub fn split_id(line: &str) -> Result<(Option<&str>, &str), Refusal<'_>> {
    let line = line.trim_matches(' ');
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((None, line));
    }
    if word.len() > ID_DIGITS_MAX { Err(Refusal::IdTooLong) } else { Ok((Some(word), rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_whole_first_word_of_ascii_digits() {
        assert_eq!(split_id("  007  say a b "), Ok((Some("007"), " say a b")));
        for none in ["12x who", "١ who", "who 12"] {
            assert_eq!(split_id(none), Ok((None, none)), "{none}");
        }
    }
}
