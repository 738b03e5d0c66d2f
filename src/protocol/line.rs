//! Bytes from a socket to lines, however they were cut into reads.
//!
//! [`LineBuffer`] owns what has arrived and was not yet executed. It skips telnet commands, ends lines
//! at LF or telnet's CR NUL, and keeps at most one byte more than a line with a request id may have, so that
//! memory stays flat under an endless line. It knows nothing of commands or characters.

use memchr::{memchr, memchr3};

use crate::limits::ID_DIGITS_MAX;

const LF: u8 = b'\n';
const CR: u8 = b'\r';
const NUL: u8 = 0;

/// Telnet's "interpret as command" (RFC 854) and those of its commands that carry more bytes.
const IAC: u8 = 0xFF;
const SB: u8 = 0xFA;
const SE: u8 = 0xF0;
const WILL: u8 = 0xFB;
const DONT: u8 = 0xFE;

/// A line had more bytes than allowed; they were discarded as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong<'a> {
    /// How it began: enough for a request id.
    pub start: &'a [u8],
}

/// A request id and the blank after it, which do not count towards a line's length.
const ID_BYTES_MAX: usize = ID_DIGITS_MAX + 1;

/// Bytes of `line` that do not count: a request id as its first word and the blank after it.
fn id_bytes(line: &[u8]) -> usize {
    let line = line.trim_ascii_start();
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match line.get(digits) {
        Some(b' ' | b'\t') if (1..=ID_DIGITS_MAX).contains(&digits) => digits + 1,
        _ => 0,
    }
}

/// Where in a telnet sequence the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telnet {
    /// Not in one.
    Data,
    /// After IAC.
    Command,
    /// After IAC WILL, WONT, DO or DONT: one option byte follows.
    Option,
    /// Between IAC SB and IAC SE.
    Subnegotiation,
    /// After an IAC in a subnegotiation.
    SubnegotiationCommand,
}

/// The input of one connection, cut into lines.
///
/// Feed it what was read, then take lines until there is none. The same bytes give the same lines
/// however they were split. Between lines it holds no memory.
#[derive(Debug)]
pub struct LineBuffer {
    /// Ended lines, each with its LF, then the unfinished one. A data byte is never LF.
    bytes: Vec<u8>,
    /// Bytes of `bytes` already handed out.
    taken: usize,
    /// Where the unfinished line begins in `bytes`.
    unfinished: usize,
    line_bytes_max: usize,
    telnet: Telnet,
    /// A CR came last: dropped if the line ends here, an ordinary byte of it otherwise.
    carriage_return: bool,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `line_bytes_max` bytes.
    pub fn new(line_bytes_max: usize) -> Self {
        LineBuffer {
            bytes: Vec::new(),
            taken: 0,
            unfinished: 0,
            line_bytes_max,
            telnet: Telnet::Data,
            carriage_return: false,
        }
    }

    /// Takes in what one read brought. Returns how many of these bytes are in no line: telnet commands, and what a line has
    /// too much.
    pub fn feed(&mut self, mut input: &[u8]) -> usize {
        self.forget_taken();
        let (read, before) = (input.len(), self.bytes.len());
        while let Some(&first) = input.first() {
            if self.telnet == Telnet::Data && !self.carriage_return {
                let run = memchr3(LF, CR, IAC, input).unwrap_or(input.len());
                self.keep(&input[..run]);
                input = &input[run..];
                if let Some((&special, rest)) = input.split_first() {
                    self.byte(special);
                    input = rest;
                }
            } else {
                self.byte(first);
                input = &input[1..];
            }
        }
        read.saturating_sub(self.bytes.len() - before)
    }

    /// The peer will send no more: what is left counts as a line, unless nothing is left.
    pub fn finish(&mut self) {
        self.telnet = Telnet::Data;
        if self.bytes.len() > self.unfinished {
            self.end_line();
        }
    }

    /// Whether a complete line waits. If none does, nothing is held but an unfinished one.
    pub fn has_line(&mut self) -> bool {
        if self.taken == self.unfinished {
            self.forget_taken();
        }
        self.taken < self.unfinished
    }

    /// The next complete line without its end, or `None` until more is fed.
    pub fn next_line(&mut self) -> Option<Result<&[u8], LineTooLong<'_>>> {
        if !self.has_line() {
            return None;
        }
        let length = memchr(LF, &self.bytes[self.taken..self.unfinished])?;
        let line = self.taken..self.taken + length;
        self.taken = line.end + 1;
        let line = &self.bytes[line];
        let is_too_long = length > self.line_bytes_max && length - id_bytes(line) > self.line_bytes_max;
        Some(if is_too_long { Err(LineTooLong { start: line }) } else { Ok(line) })
    }

    /// What [`LineBuffer::next_line`] would give, if that is a line that is not too long.
    pub fn peek(&self) -> Option<&[u8]> {
        let length = memchr(LF, &self.bytes[self.taken..self.unfinished])?;
        (length <= self.line_bytes_max).then(|| &self.bytes[self.taken..self.taken + length])
    }

    /// Heap bytes held; 0 between lines.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// One byte that may mean something: in a telnet sequence, after a CR, or LF, CR or IAC itself.
    fn byte(&mut self, byte: u8) {
        use Telnet::*;
        if byte == LF {
            self.telnet = Data;
            return self.end_line();
        }
        self.telnet = match (self.telnet, byte) {
            (Data, IAC) => Command,
            (Command, SB) => Subnegotiation,
            (Command, WILL..=DONT) => Option,
            (Subnegotiation, IAC) => SubnegotiationCommand,
            (Subnegotiation, _) => Subnegotiation,
            (SubnegotiationCommand, SE) => Data,
            (SubnegotiationCommand, _) => Subnegotiation,
            (Option, _) => Data,
            (Command, SE..=0xF9) => Data,
            // A doubled IAC is one byte 0xFF; before any byte below 0xF0 the IAC alone goes.
            (Data | Command, _) => {
                self.data(byte);
                Data
            }
        };
    }

    /// One byte of a line, other than LF.
    fn data(&mut self, byte: u8) {
        match byte {
            NUL if self.carriage_return => self.end_line(),
            CR => {
                if self.carriage_return {
                    self.keep(&[CR]);
                }
                self.carriage_return = true;
            }
            _ => {
                if std::mem::take(&mut self.carriage_return) {
                    self.keep(&[CR]);
                }
                self.keep(&[byte]);
            }
        }
    }

    fn end_line(&mut self) {
        self.carriage_return = false;
        self.bytes.push(LF);
        self.unfinished = self.bytes.len();
    }

    /// Appends to the unfinished line; one byte over what it may have is kept as the mark of a line too long.
    fn keep(&mut self, run: &[u8]) {
        let room = self.line_bytes_max + ID_BYTES_MAX + 1 - (self.bytes.len() - self.unfinished);
        let run = &run[..run.len().min(room)];
        // And for its LF, which mostly follows.
        self.bytes.reserve(run.len() + 1);
        self.bytes.extend_from_slice(run);
    }

    fn forget_taken(&mut self) {
        if self.taken == self.bytes.len() {
            self.bytes = Vec::new();
        } else if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.bytes.shrink_to_fit();
        }
        self.unfinished -= self.taken;
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a connection sees of `chunks` and the end of the stream: each line as text.
    fn lines_of(chunks: &[&[u8]], line_bytes_max: usize) -> Vec<String> {
        let mut buffer = LineBuffer::new(line_bytes_max);
        let mut lines = Vec::new();
        let mut take = |buffer: &mut LineBuffer| {
            while let Some(line) = buffer.next_line() {
                lines.push(match line {
                    Ok(bytes) => bytes.escape_ascii().to_string(),
                    Err(LineTooLong { .. }) => "TOO LONG".to_owned(),
                });
            }
        };
        for chunk in chunks {
            buffer.feed(chunk);
            take(&mut buffer);
        }
        buffer.finish();
        take(&mut buffer);
        assert_eq!(buffer.capacity_bytes(), 0, "an ended stream holds no memory");
        lines
    }

    fn lines(input: &[u8]) -> Vec<String> {
        lines_of(&[input], 64)
    }

    #[test]
    fn lf_ends_a_line_and_a_cr_before_it_is_dropped() {
        assert_eq!(lines(b"who\ncows\r\n\n \n"), ["who", "cows", "", " "]);
        assert_eq!(lines(b"a\rb\r\r\n"), ["a\\rb\\r"]);
    }

    #[test]
    fn cr_nul_ends_a_line_too() {
        assert_eq!(lines(b"who\r\0cows\r\0"), ["who", "cows"]);
        assert_eq!(lines(b"w\0ho\n"), ["w\\x00ho"]);
    }

    #[test]
    fn what_is_left_at_the_end_is_a_line() {
        assert_eq!(lines(b"who"), ["who"]);
        assert_eq!(lines(b"who\r"), ["who"]);
        assert_eq!(lines(b"who\n"), ["who"]);
        assert_eq!(lines(b"who\n\r"), ["who"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"\xff\xfb"), [""; 0]);
    }

    #[test]
    fn telnet_sequences_are_skipped() {
        assert_eq!(lines(b"\xff\xfb\x01w\xff\xfd\x1fho\xff\xf1\n"), ["who"]);
        assert_eq!(lines(b"\xff\xfa\x1f\0\x50\r\0\xff\xff\x18\xff\xf0who\n"), ["who"]);
        assert_eq!(lines(b"a\xff\xffb\n"), ["a\\xffb"]);
        assert_eq!(lines(b"a\xffb\n"), ["ab"]);
        assert_eq!(lines(b"who\r\xff\xf1\n"), ["who"]);
    }

    #[test]
    fn lf_ends_a_telnet_sequence() {
        assert_eq!(lines(b"a\xff\nb\n"), ["a", "b"]);
        assert_eq!(lines(b"a\xff\xfb\nb\n"), ["a", "b"]);
        assert_eq!(lines(b"a\xff\xfa unterminated\nb\n"), ["a", "b"]);
        assert_eq!(lines(b"a\xff\xfa unterminated\xff\nb\n"), ["a", "b"]);
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_more_byte_does_not() {
        assert_eq!(lines_of(&[b"12345678\r\n123456789\nwho\n"], 8), ["12345678", "TOO LONG", "who"]);
        assert_eq!(lines_of(&[b"1234\xff\xf15678\n"], 8), ["12345678"]);
        assert_eq!(lines_of(&[b"123456789"], 8), ["TOO LONG"]);
    }

    #[test]
    fn a_request_id_and_its_blank_do_not_count() {
        for id in ["1 ", "123456789012345678 ", "007\t"] {
            let line = |text: &str| lines_of(&[id.as_bytes(), text.as_bytes()], 8);
            assert_eq!(line("abcdefgh"), [format!("{id}abcdefgh").escape_default().to_string()]);
            assert_eq!(line("abcdefghi"), ["TOO LONG"], "{id}");
        }
        assert_eq!(lines_of(&[b"1234567890123456789 a"], 8), ["TOO LONG"], "too long for an id");
        assert_eq!(lines_of(&[b"1x abcdefgh"], 8), ["TOO LONG"]);
        assert_eq!(lines_of(&[b" 1 abcdefg"], 8), [" 1 abcdefg"]);
        assert_eq!(lines_of(&[b" 1 abcdefgh"], 8), ["TOO LONG"], "blanks before it do count");
    }

    #[test]
    fn a_line_too_long_shows_how_it_began() {
        let mut buffer = LineBuffer::new(8);
        buffer.feed(b"12 ");
        buffer.feed(&[b'x'; 100]);
        buffer.feed(b"\n");
        let Some(Err(LineTooLong { start })) = buffer.next_line() else { panic!("too long") };
        assert!(start.starts_with(b"12 xxx"));
    }

    #[test]
    fn a_peek_leaves_the_line_where_it_is() {
        let mut buffer = LineBuffer::new(8);
        assert_eq!(buffer.peek(), None);
        buffer.feed(b"who\n123456789\ncows");
        assert_eq!(buffer.peek(), Some(&b"who"[..]));
        assert_eq!(buffer.next_line(), Some(Ok(&b"who"[..])));
        assert_eq!(buffer.peek(), None, "too long");
        assert!(matches!(buffer.next_line(), Some(Err(LineTooLong { .. }))));
        assert_eq!(buffer.peek(), None, "not ended");
        buffer.finish();
        assert_eq!(buffer.peek(), Some(&b"cows"[..]));
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_long_one() {
        let mut buffer = LineBuffer::new(64);
        for _ in 0..10_000 {
            buffer.feed(&[b'x'; 1000]);
            assert!(buffer.capacity_bytes() <= 2 * (65 + ID_BYTES_MAX));
        }
        buffer.feed(b"\nwho\n");
        assert!(matches!(buffer.next_line(), Some(Err(LineTooLong { .. }))));
        assert_eq!(buffer.next_line(), Some(Ok(&b"who"[..])));
        assert_eq!(buffer.next_line(), None);
        assert_eq!(buffer.capacity_bytes(), 0);
    }

    #[test]
    fn bytes_that_are_in_no_line_are_counted() {
        let mut buffer = LineBuffer::new(8);
        assert_eq!(buffer.feed(b"who\ncows"), 0);
        assert_eq!(buffer.feed(b"\xff\xf1\xff\xfb\x01\r\n"), 6, "two telnet commands and a CR");
        assert_eq!(buffer.feed(&[b'x'; 1000]), 1000 - (8 + ID_BYTES_MAX + 1));
        assert_eq!(buffer.feed(&[b'x'; 1000]), 1000);
        assert_eq!(buffer.feed(b"\xff\xff\n"), 2);
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_the_same_lines(
            input in proptest::collection::vec(
                prop_oneof![3 => any::<u8>(), 1 => Just(LF), 1 => Just(CR), 1 => Just(IAC), 1 => Just(SB), 1 => Just(0),
                    2 => b'0'..=b'9', 1 => Just(b' ')],
                0..200),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(input.len());
            let mut from = 0;
            let chunks: Vec<&[u8]> = cuts.iter().map(|&to| &input[std::mem::replace(&mut from, to)..to]).collect();
            let single: Vec<&[u8]> = input.chunks(1).collect();
            let whole = lines_of(&[&input], 16);
            prop_assert_eq!(&lines_of(&chunks, 16), &whole);
            prop_assert_eq!(&lines_of(&single, 16), &whole);
        }
    }
}
