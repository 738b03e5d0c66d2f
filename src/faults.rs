//! Faults on purpose, so that tests can see what a fault of the server's own does to everybody else.
//!
//! Only builds with debug assertions have them; in a release build [`at`] is nothing. `COWCHAT_FAULTS` arms
//! them, a list with commas of `POINT`, `POINT:WORD` or `POINT:WORD@ADDRESS`. Where the server comes to the
//! point with a text that contains the word (with any text if there is none), it panics. With an address it
//! stalls instead: its thread connects there, and does nothing until the other side closes.

/// Where a fault can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// These bytes were read from a connection.
    Read,
    /// This line is about to be executed, the shard being borrowed.
    Line,
    /// This text is about to be drawn.
    Draw,
    /// A session, whatever it is called, has left one of its two places in the roster.
    Leave,
    /// This message was queued for one of its receivers.
    Deliver,
    /// These bytes are about to be written to a connection.
    Write,
}

/// Goes on, unless a fault is armed for `text` at `point`.
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
            Some(_) => strike(point, text),
        }
    }

    /// The messages are literals, which is what a log tells; but for one that quotes the text, as `str`'s own panics do.
    fn strike(point: Point, text: &[u8]) -> ! {
        match point {
            Point::Read => panic!("a fault on purpose at what was read"),
            Point::Line => panic!("a fault on purpose at a line"),
            Point::Draw => panic!("a fault on purpose at drawing {}", String::from_utf8_lossy(text)),
            Point::Leave => panic!("a fault on purpose at leaving"),
            Point::Deliver => panic!("a fault on purpose at a delivery"),
            Point::Write => panic!("a fault on purpose at a write"),
        }
    }

    /// Whoever listens there knows that the thread stands still, and lets it go on by closing.
    fn stall(address: &str) {
        let mut other = TcpStream::connect(address).expect("who has armed a stall waits for it");
        let _ = other.read(&mut [0]);
    }
}
