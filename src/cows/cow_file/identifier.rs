//! Names as Perl reads them: where one ends, and whether more than a variable is meant.

use unicode_normalization::char::is_combining_mark;

/// The identifier that `text` begins with; empty if it begins with none.
pub(super) fn identifier(text: &str) -> &str {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What follows a name and makes more of it than a variable: an element of an array or hash, a package's name, a longer
/// name.
pub(super) fn subscript(after: &str) -> Option<&str> {
    if let Some(next) = ["[", "{", "->[", "->{", "::"].into_iter().find(|next| after.starts_with(next)) {
        return Some(next);
    }
    let first = after.chars().next()?;
    let is_package = || {
        let name = &after[first.len_utf8()..];
        !identifier(name).is_empty() || name.starts_with(goes_on_in_unicode)
    };
    let is_more = goes_on_in_unicode(first) || first == '\'' && is_package();
    is_more.then(|| &after[..first.len_utf8()])
}

/// Whether a character beyond ASCII makes a name longer: letters, digits, marks and what connects words (XID_Continue).
fn goes_on_in_unicode(next: char) -> bool {
    let connects = matches!(
        next,
        '\u{203f}' | '\u{2040}' | '\u{2054}' | '\u{fe33}' | '\u{fe34}' | '\u{fe4d}'..='\u{fe4f}' | '\u{ff3f}'
    );
    !next.is_ascii() && (next.is_alphanumeric() || is_combining_mark(next) || connects)
}
