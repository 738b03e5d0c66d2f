//! Escape sequences (ECMA-48), as they are taken out of a line.

use std::ops::RangeInclusive;
use std::str::CharIndices;

const ESC: char = '\x1b';
const BEL: char = '\x07';

/// ST, the end of a control string, as one C1 character; in seven bits it is ESC `\`.
const STRING_TERMINATOR: char = '\u{9c}';

/// Whether a sequence may begin with `character`: ESC, or the eight-bit form of DCS, SOS, CSI, OSC, PM or APC.
pub(super) fn is_introducer(character: char) -> bool {
    character == ESC || eight_bit_kind(character).is_some()
}

/// The character that stands after ESC in the seven-bit form of a C1 introducer.
fn eight_bit_kind(character: char) -> Option<char> {
    match character {
        '\u{90}' => Some('P'),
        '\u{98}' => Some('X'),
        '\u{9b}' => Some('['),
        '\u{9d}' => Some(']'),
        '\u{9e}' => Some('^'),
        '\u{9f}' => Some('_'),
        _ => None,
    }
}

/// The length in bytes of the escape sequence that `text` begins with; `None` if it is incomplete.
pub(super) fn sequence_bytes(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, introducer) = characters.next()?;
    let kind = match eight_bit_kind(introducer) {
        Some(kind) => kind,
        None => characters.next()?.1,
    };
    match kind {
        '[' => end_of(characters, '\x20'..='\x3f', '\x40'..='\x7e'),
        '\x20'..='\x2f' => end_of(characters, '\x20'..='\x2f', '\x30'..='\x7e'),
        // A control string runs to its terminator; any other control character but TAB spoils it.
        ']' | 'P' | 'X' | '^' | '_' => loop {
            let (at, character) = characters.next()?;
            match character {
                STRING_TERMINATOR => return Some(at + character.len_utf8()),
                BEL if kind == ']' => return Some(at + 1),
                ESC => {
                    let (at, end) = characters.next()?;
                    return (end == '\\').then_some(at + 1);
                }
                '\t' => {}
                _ if character.is_control() => return None,
                _ => {}
            }
        },
        '\x30'..='\x7e' => Some(2),
        _ => None,
    }
}

/// Where a sequence ends that has any number of characters of `middle` and one of `last`.
fn end_of(mut characters: CharIndices<'_>, middle: RangeInclusive<char>, last: RangeInclusive<char>) -> Option<usize> {
    let (at, character) = characters.find(|(_, character)| !middle.contains(character))?;
    last.contains(&character).then_some(at + 1)
}
