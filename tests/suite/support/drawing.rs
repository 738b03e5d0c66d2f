//! What messages look like, as charasay draws them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use charasay::bubbles::BubbleType;
use charasay::{Chara, format_character};
use cowchat::cows::Herd;
use cowchat::cows::bubble::Bubble;
use cowchat::cows::herd::Cow;

/// Names of all cows, sorted.
pub fn all_cows() -> Vec<&'static str> {
    charasay::BUILTIN_CHARA.to_vec()
}

/// A built-in cow with its pictures.
pub fn builtin(cow: &str) -> &'static Cow {
    static COWS: LazyLock<Vec<Cow>> = LazyLock::new(|| Herd::builtin(&Bubble::default()).expect("charasay's cows"));
    COWS.iter().find(|known| known.name == cow).expect("a built-in cow")
}

/// The name of a breed's cow of this number.
pub fn numbered(breed: &str, number: usize) -> String {
    if number == 1 { breed.to_owned() } else { format!("{breed}#{number}") }
}

/// A message as it is delivered with the header on.
pub fn message(from: &str, private: bool, text: &str) -> String {
    let header = if private { "says to you" } else { "says" };
    format!("{from} {header}:\n{}", picture(from, text))
}

/// `text` in lines as a server fills them, joined by LF: for texts without wide characters, whose words stand one blank
/// apart. Lines that it has already stay.
pub fn filled(text: &str, columns: usize) -> String {
    let width = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        for (at, word) in line.split(' ').enumerate() {
            match lines.last_mut().filter(|last| at > 0 && width(last) + 1 + width(word) <= columns) {
                Some(last) => *last += &format!(" {word}"),
                None if word.is_empty() => lines.push(String::new()),
                None => {
                    let characters: Vec<char> = word.chars().collect();
                    lines.extend(characters.chunks(columns).map(String::from_iter));
                }
            }
        }
    }
    lines.join("\n")
}

/// What charasay itself draws around the text in its lines, and the LF after it.
pub fn picture(cow: &str, text: &str) -> String {
    static DRAWN: LazyLock<Mutex<HashMap<(String, String), String>>> = LazyLock::new(Mutex::default);
    let mut drawn = DRAWN.lock().expect("no panic");
    let entry = drawn.entry((cow.to_owned(), text.to_owned()));
    entry
        .or_insert_with(|| {
            let chara = Chara::Builtin(cow.to_owned());
            format_character(&filled(text, 40), &chara, 40, BubbleType::Cowsay).expect("charasay draws") + "\n"
        })
        .clone()
}
