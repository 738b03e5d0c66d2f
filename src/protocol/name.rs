//! Names as users type and read them: `tux` is the first cow of its breed, `tux#2` the second.
//!
//! Every name has exactly one spelling: `tux#1`, `tux#02` and `tux#` are not names. Which breeds exist and how many cows each
//! has, the herd knows.

use std::fmt;
use std::ops::RangeInclusive;

/// Separates a breed from a number.
const MARK: char = '#';

/// The name of a cow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// Its breed, as `tux`.
    pub breed: &'a str,
    /// Its number within the breed, from 1.
    pub number: u32,
}

impl<'a> Name<'a> {
    /// Reads a name; `None` if no cow can have it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let Some((breed, digits)) = text.split_once(MARK) else {
            return Some(Name { breed: text, number: 1 });
        };
        let number = decimal(digits)?.parse().ok().filter(|&number| number > 1)?;
        Some(Name { breed, number })
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => f.write_str(self.breed),
            number => write!(f, "{}{MARK}{number}", self.breed),
        }
    }
}

/// The breed of which `tux#` asks for any free cow.
pub fn any_of(text: &str) -> Option<&str> {
    text.strip_suffix(MARK)
}

/// `digits` if they are a number in its one spelling: no sign, no leading 0.
fn decimal(digits: &str) -> Option<&str> {
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')).then_some(digits)
}

/// The beginning of a name, as `who` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix<'a> {
    breed: &'a str,
    /// The text after the mark, if there is one.
    digits: Option<&'a str>,
}

impl<'a> Prefix<'a> {
    /// Any text; the empty one matches every name.
    pub fn new(text: &'a str) -> Self {
        match text.split_once(MARK) {
            Some((breed, digits)) => Prefix { breed, digits: Some(digits) },
            None => Prefix { breed: text, digits: None },
        }
    }

    /// The numbers from 1 to `size` of this breed's cows whose names match: ascending ranges.
    pub fn numbers_of(self, breed: &str, size: u32) -> impl Iterator<Item = RangeInclusive<u32>> + use<> {
        let size = u64::from(size);
        // Numbers that are the digits; then those with one more digit, two more, and so on. Only the name of the first cow has
        // no mark.
        let (least, range) = match self.digits {
            None => (1, breed.starts_with(self.breed).then_some((1, size))),
            Some("") => (2, (breed == self.breed).then_some((2, size))),
            Some(digits) => {
                let number = decimal(digits).and_then(|digits| digits.parse::<u32>().ok());
                (2, number.filter(|_| breed == self.breed).map(|number| (number.into(), number.into())))
            }
        };
        let grows = self.digits.is_some_and(|digits| !digits.is_empty());
        std::iter::successors(range, move |&(first, last)| grows.then_some((first * 10, last * 10 + 9)))
            .take_while(move |&(first, _)| first <= size)
            .map(move |(first, last)| first.max(least) as u32..=last.min(size) as u32)
            .filter(|range| !range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(Name::parse("tux"), Some(Name { breed: "tux", number: 1 }));
        assert_eq!(Name::parse("tux#2"), Some(Name { breed: "tux", number: 2 }));
        assert_eq!(Name::parse("tux#4294967295"), Some(Name { breed: "tux", number: u32::MAX }));
        for none in ["tux#2x", "tux#+2", "tux#-2", "tux#2#3", "tux#4294967296", "tux#٢"] {
            assert_eq!(Name::parse(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_matches_the_names_that_begin_with_it(prefix in "(t|tu|tux|tux#)?[0-9#x]{0,3}", size in 1u32..1500) {
            let matching: Vec<u32> = Prefix::new(&prefix).numbers_of("tux", size).flatten().collect();
            let expected: Vec<u32> = (1..=size)
                .filter(|&number| Name { breed: "tux", number }.to_string().starts_with(&prefix))
                .collect();
            prop_assert_eq!(matching, expected);
        }

        #[test]
        fn what_is_shown_is_read_again(breed in "[a-z]{1,5}", number in 1u32..) {
            let name = Name { breed: &breed, number };
            let shown = name.to_string();
            prop_assert_eq!(Name::parse(&shown), Some(name));
        }
    }
}
