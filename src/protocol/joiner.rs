//! Invisible characters that change how their neighbours look, and where they do so.
//!
//! A zero-width non-joiner separates letters that would join, which Persian needs within words. After a virama in the scripts
//! of India both joiners choose among forms (RFC 5892 A.1 and A.2). Between emoji a joiner makes one picture of two, and
//! tag characters make the flag of a region. Elsewhere all of them are only invisible.

use std::ops::RangeInclusive;

use unicode_joining_type::{JoiningType, get_joining_type};
use unicode_normalization::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use super::character::joins_its_base;
use crate::limits::COMBINING_MARKS_MAX;

/// Zero-width non-joiner.
pub(super) const ZWNJ: char = '\u{200c}';
/// Zero-width joiner.
pub(super) const ZWJ: char = '\u{200d}';

/// The combining class of viramas, which take the vowel from a consonant.
const VIRAMA: u8 = 9;

/// The flag that tags make the flag of a region, the tags that name it, and the one that ends them (UTS 51, ED-14a).
pub(super) const FLAG: char = '\u{1f3f4}';
const TAG_DIGITS: RangeInclusive<char> = '\u{e0030}'..='\u{e0039}';
const TAG_LETTERS: RangeInclusive<char> = '\u{e0061}'..='\u{e007a}';
const TAG_END: char = '\u{e007f}';

/// Emoji modifiers, which give an emoji a skin colour.
const COLOURS: RangeInclusive<char> = '\u{1f3fb}'..='\u{1f3ff}';

/// How many tags name a region: two for a country, and one to four for a part of it.
const TAGS: RangeInclusive<usize> = 3..=6;

/// Whether a joiner changes how its neighbours look. `before` yields the characters before it, the last one first.
pub(super) fn has_meaning(joiner: char, mut before: impl Iterator<Item = char> + Clone, after: &str) -> bool {
    let follows_virama = before.clone().next().is_some_and(|last| canonical_combining_class(last) == VIRAMA);
    follows_virama
        || match joiner {
            ZWNJ => {
                use JoiningType::{DualJoining, LeftJoining, RightJoining, Transparent};
                let solid = |character: &char| get_joining_type(*character) != Transparent;
                let (left, right) = (before.find(solid), after.chars().find(solid));
                matches!(left.map(get_joining_type), Some(LeftJoining | DualJoining))
                    && matches!(right.map(get_joining_type), Some(RightJoining | DualJoining))
            }
            _ => joins_emoji(before, after),
        }
}

/// Whether a joiner makes one grapheme of what stands around it, other than by a mark after it.
fn joins_emoji(before: impl Iterator<Item = char>, after: &str) -> bool {
    let Some(next) = after.chars().next().filter(|next| !joins_its_base(*next)) else { return false };
    // The base before it, with its marks and its colour.
    let mut base: Vec<char> = Vec::new();
    for character in before.take(COMBINING_MARKS_MAX + 2) {
        base.push(character);
        if !joins_its_base(character) && !COLOURS.contains(&character) {
            break;
        }
    }
    let joined: String = base.into_iter().rev().chain([ZWJ, next]).collect();
    joined.graphemes(true).count() == 1
}

/// The length in bytes of the flag of a region with which `text` begins.
pub(super) fn region_flag_bytes(text: &str) -> Option<usize> {
    let tags = text.strip_prefix(FLAG)?;
    let end = tags.find(|tag| !TAG_DIGITS.contains(&tag) && !TAG_LETTERS.contains(&tag))?;
    let is_region = TAGS.contains(&tags[..end].chars().count()) && tags[end..].starts_with(TAG_END);
    is_region.then_some(FLAG.len_utf8() + end + TAG_END.len_utf8())
}
