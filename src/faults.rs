//! Faults on purpose: tests use them to see that a bug in one session leaves the others alone.
//!
//! Only builds with debug assertions have them; in a release build [`at`] does nothing. `COWCHAT_FAULTS` arms them: a
//! comma-separated list of `POINT`, `POINT:WORD` or `POINT:WORD@ADDRESS`. When the server reaches the point with a text that
//! contains the word, or any text without a word, it panics. With an address its thread connects there instead, and blocks
//! until the peer closes.

/// Where a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// These bytes were read from a connection.
    Read,
    /// This line is about to be executed, and the shard is borrowed.
    Line,
    /// This text is about to be drawn.
    Draw,
    /// A session has left one of its two places in the roster; the text is empty.
    Leave,
    /// This message is queued for one of its receivers.
    Deliver,
    /// These bytes are about to be written to a connection.
    Write,
    /// An operator's notice is about to be queued for a connection.
    Notice,
}

/// Panics or stalls if a fault is armed for `text` at `point`.
#[inline(always)]
pub fn at(point: Point, text: &[u8]) {
    #[cfg(debug_assertions)]
    armed::at(point, text);
    #[cfg(not(debug_assertions))]
    let _ = (point, text);
}

#[cfg(debug_assertions)]
mod armed {
    use std::env;
    use std::io::Read;
    use std::net::TcpStream;
    use std::sync::LazyLock;

    use crate::faults::Point;

    struct Fault {
        point: String,
        word: String,
        stalls: Option<String>,
    }

    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let list = env::var("COWCHAT_FAULTS").unwrap_or_default();
        let fault = |text: &str| {
            let (text, stalls) = text.split_once('@').map_or((text, None), |(text, to)| (text, Some(to.to_owned())));
            let (point, word) = text.split_once(':').unwrap_or((text, ""));
            Fault { point: point.to_owned(), word: word.to_owned(), stalls }
        };
        list.split(',').filter(|text| !text.is_empty()).map(fault).collect()
    });

    pub(super) fn at(point: Point, text: &[u8]) {
        let strikes = |fault: &&Fault| {
            let word = fault.word.as_bytes();
            let has_word = word.is_empty() || text.windows(word.len()).any(|part| part == word);
            has_word && fault.point == format!("{point:?}").to_lowercase()
        };
        match FAULTS.iter().find(strikes) {
            None => {}
            Some(Fault { stalls: Some(address), .. }) => stall(address),
            // Quotes the text, as the panics of `str` do: the log must not show it.
            Some(_) if point == Point::Draw => {
                panic!("a fault on purpose at drawing {}", String::from_utf8_lossy(text))
            }
            Some(_) => panic!("a fault on purpose at an armed point"),
        }
    }

    /// The test that listens there knows that the thread is blocked, and frees it by closing.
    fn stall(address: &str) {
        let mut other = TcpStream::connect(address).expect("the test that arms a stall listens");
        let _ = other.read(&mut [0]);
    }
}
