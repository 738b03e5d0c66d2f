//! Bytes from a socket to lines, however they were split into reads.
//!
//! [`LineBuffer`] owns the input that has arrived and was not yet executed. It takes telnet commands out and keeps their answers
//! (`telnet.rs`), and ends lines at LF or telnet's CR NUL. It keeps at most one byte more than a line with a request id may
//! have, so memory stays flat under an endless line. It knows nothing of commands or characters.

use memchr::{memchr, memchr3};

use super::request_id::{ID_BYTES_MAX, id_bytes};
use super::telnet::{self, Answer, Request, Telnet};
use super::text::{ERASE_CHARACTER, ERASE_LINE};

const LF: u8 = b'\n';
const CR: u8 = b'\r';
const NUL: u8 = 0;

/// A CR that ends no line is kept as the blank that it becomes anyway: a kept CR marks how a line ended.
const CR_IN_LINE: &[u8] = b" ";

/// The beginning of a TLS handshake (RFC 8446 5.1): the type of its record, and the major version of all TLS.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// A line had more bytes than allowed; they were discarded as they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong<'a> {
    /// Its beginning: enough for a request id.
    pub start: &'a [u8],
}

/// A complete line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes.
    pub bytes: Result<&'a [u8], LineTooLong<'a>>,
    /// The peer ends lines with CR LF, and expects them back.
    pub crlf: bool,
}

impl<'a> From<&'a [u8]> for Line<'a> {
    /// A line that ended in LF alone.
    fn from(bytes: &'a [u8]) -> Self {
        Line { bytes: Ok(bytes), crlf: false }
    }
}

impl<'a> Line<'a> {
    /// Its bytes, or the beginning of a line that is too long.
    pub fn start(&self) -> &'a [u8] {
        self.bytes.unwrap_or_else(|LineTooLong { start }| start)
    }

    /// Whether this is the beginning of a TLS handshake.
    pub fn is_tls(&self) -> bool {
        self.start().starts_with(&TLS_HANDSHAKE)
    }
}

/// The input of one connection, cut into lines.
///
/// Feed it what was read, then take answers and lines until there is neither. The same bytes give the same lines however they
/// were split. Between lines it holds no memory, and a hundred bytes for a peer that speaks telnet.
#[derive(Debug)]
pub struct LineBuffer {
    /// Ended lines, each with its LF, then the unfinished one. A data byte is never LF or CR. A CR before the LF marks that the
    /// peer ends lines with CR LF.
    bytes: Vec<u8>,
    /// How many of `bytes` were handed out.
    taken: usize,
    /// Where the unfinished line begins in `bytes`.
    unfinished: usize,
    line_bytes_max: usize,
    state: telnet::State,
    /// The last byte was a CR: with an LF or NUL it ends the line, else it is a byte of it.
    carriage_return: bool,
    /// Once the peer has sent a telnet command.
    telnet: Option<Box<Telnet>>,
}

impl LineBuffer {
    /// An empty buffer for lines of at most `line_bytes_max` bytes.
    pub fn new(line_bytes_max: usize) -> Self {
        LineBuffer {
            bytes: Vec::new(),
            taken: 0,
            unfinished: 0,
            line_bytes_max,
            state: telnet::State::Data,
            carriage_return: false,
            telnet: None,
        }
    }

    /// Takes in what one read brought. Returns how many of these bytes are in no line: telnet commands, and the excess of a line
    /// that is too long.
    pub fn feed(&mut self, mut input: &[u8]) -> usize {
        self.forget_taken();
        let (read, before) = (input.len(), self.bytes.len());
        while let Some(&first) = input.first() {
            if self.state == telnet::State::Data && !self.carriage_return {
                let run = memchr3(LF, CR, telnet::IAC, input).unwrap_or(input.len());
                if run > 0 {
                    self.mark_data();
                }
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

    /// The peer will send no more: what is left, if anything, is a line.
    pub fn finish(&mut self) {
        self.state = telnet::State::Data;
        if self.bytes.len() > self.unfinished {
            self.end_line(false);
        }
    }

    /// Whether a complete line waits.
    pub fn has_line(&self) -> bool {
        self.taken < self.unfinished
    }

    /// Whether a complete line waits, or an answer that is due before one. Releases memory that is not needed if neither does.
    pub fn has_more(&mut self) -> bool {
        if self.taken == self.unfinished {
            self.forget_taken();
        }
        self.has_line() || self.telnet.as_ref().is_some_and(|telnet| telnet.is_due(self.taken))
    }

    /// The answer to telnet commands that arrived before the end of the next line; it precedes that line's reply.
    pub fn next_answer(&mut self) -> Option<Answer> {
        self.telnet.as_mut()?.next(self.taken)
    }

    /// The next complete line, or `None` until more is fed.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let length = self.next_length()?;
        let from = self.taken;
        self.taken += length + 1;
        Some(self.line(&self.bytes[from..from + length]))
    }

    /// What [`LineBuffer::next_line`] would return.
    pub fn peek(&self) -> Option<Line<'_>> {
        let length = self.next_length()?;
        Some(self.line(&self.bytes[self.taken..self.taken + length]))
    }

    /// The bytes of the next complete line, with its CR.
    fn next_length(&self) -> Option<usize> {
        memchr(LF, &self.bytes[self.taken..self.unfinished])
    }

    fn line<'a>(&self, line: &'a [u8]) -> Line<'a> {
        let (line, crlf) = line.strip_suffix(&[CR]).map_or((line, false), |line| (line, true));
        let is_too_long = line.len() > self.line_bytes_max && line.len() - id_bytes(line) > self.line_bytes_max;
        let bytes = if is_too_long { Err(LineTooLong { start: line }) } else { Ok(line) };
        Line { bytes, crlf }
    }

    /// Whether the next line, which need not be complete, begins like a TLS handshake.
    pub fn begins_like_tls(&self) -> bool {
        self.bytes[self.taken..].starts_with(&TLS_HANDSHAKE)
    }

    /// Heap bytes held for lines and for answers; 0 between lines.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.telnet.as_ref().map_or(0, |telnet| telnet.capacity_bytes())
    }

    /// A byte in a telnet sequence or after a CR; or an LF, CR or IAC.
    fn byte(&mut self, byte: u8) {
        use telnet::State;
        if byte == LF {
            self.mark_data();
            self.state = State::Data;
            return self.end_line(self.carriage_return);
        }
        let (state, event) = self.state.after(byte);
        self.state = state;
        match event {
            telnet::Event::None => {}
            telnet::Event::Data => self.data(byte),
            telnet::Event::Asked(request) => {
                let due = self.unfinished;
                self.telnet.get_or_insert_default().answer(request, due);
                match request {
                    Request::EraseCharacter => self.data(ERASE_CHARACTER),
                    Request::EraseLine => self.data(ERASE_LINE),
                    _ => {}
                }
            }
        }
    }

    fn mark_data(&mut self) {
        if let Some(telnet) = &mut self.telnet {
            telnet.mark_data();
        }
    }

    /// A byte of a line, other than LF.
    fn data(&mut self, byte: u8) {
        self.mark_data();
        match byte {
            NUL if self.carriage_return => self.end_line(true),
            CR => {
                if self.carriage_return {
                    self.keep(CR_IN_LINE);
                }
                self.carriage_return = true;
            }
            _ => {
                if std::mem::take(&mut self.carriage_return) {
                    self.keep(CR_IN_LINE);
                }
                self.keep(&[byte]);
            }
        }
    }

    fn end_line(&mut self, by_cr: bool) {
        self.carriage_return = false;
        if by_cr || self.telnet.is_some() {
            self.bytes.push(CR);
        }
        self.bytes.push(LF);
        self.unfinished = self.bytes.len();
    }

    /// Appends to the unfinished line. One byte more than it may have is kept, which marks it as too long.
    fn keep(&mut self, run: &[u8]) {
        let room = self.line_bytes_max + ID_BYTES_MAX + 1 - (self.bytes.len() - self.unfinished);
        let run = &run[..run.len().min(room)];
        // Two more for the line's end, which mostly follows.
        self.bytes.reserve(run.len() + 2);
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
        if let Some(telnet) = &mut self.telnet {
            telnet.forget(self.taken);
        }
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a connection sees of `chunks` and the end of the stream: each line as text, with a `~` after it if the peer ends
    /// lines with CR LF, and the answers to telnet commands between lines.
    fn input_of(chunks: &[&[u8]], line_bytes_max: usize) -> Vec<String> {
        let mut buffer = LineBuffer::new(line_bytes_max);
        let mut input = Vec::new();
        let mut take = |buffer: &mut LineBuffer| {
            while buffer.has_more() {
                if let Some(answer) = buffer.next_answer() {
                    let bytes = answer.bytes("here");
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let (first, after) = rest.split_at(if rest.starts_with(b"here") { 4 } else { 3 });
                        input.push(format!("<{}>", first.escape_ascii()));
                        rest = after;
                    }
                    continue;
                }
                let own = |line: Line<'_>| (line.bytes.map(<[u8]>::to_vec).ok(), line.crlf);
                let peeked = buffer.peek().map(own);
                let line = buffer.next_line().expect("if there is no answer there is a line");
                assert_eq!(peeked, Some(own(line)), "a peek shows the next line");
                let text = line.bytes.map_or("TOO LONG".to_owned(), |bytes| bytes.escape_ascii().to_string());
                input.push(text + if line.crlf { "~" } else { "" });
            }
        };
        for chunk in chunks {
            buffer.feed(chunk);
            take(&mut buffer);
        }
        buffer.finish();
        take(&mut buffer);
        assert_eq!(buffer.capacity_bytes(), 0, "an ended stream holds no memory");
        input
    }

    fn input(bytes: &[u8]) -> Vec<String> {
        input_of(&[bytes], 64)
    }

    #[test]
    fn answers_that_wait_count_as_memory() {
        let mut buffer = LineBuffer::new(64);
        buffer.feed(&b"\xff\xf6\n".repeat(1000));
        assert!(buffer.capacity_bytes() >= 1000 * (1 + size_of::<(usize, Answer)>()), "{}", buffer.capacity_bytes());
        // One answer of 15,000 bytes.
        let mut buffer = LineBuffer::new(64);
        buffer.feed(&[b"who\n", &b"\xff\xfd\x06".repeat(5000)[..]].concat());
        assert!((15_000..=33_000).contains(&buffer.capacity_bytes()), "{}", buffer.capacity_bytes());
    }

    #[test]
    fn telnet_sequences_are_skipped() {
        assert_eq!(input(b"\xff\xfa\x1f\0\x50\r\0\xff\xff\x18\xff\xf0who\n"), ["who~"]);
        assert_eq!(input(b"who\r\xff\xf1\n"), ["who~"]);
        assert_eq!(input(b"\xff\xfb"), [""; 0]);
    }

    #[test]
    fn a_line_tells_whether_the_peer_ends_lines_with_cr_lf() {
        assert_eq!(input(b"a\nb\r\nc\nd\r\0e\n"), ["a", "b~", "c", "d~", "e"]);
        assert_eq!(input(b"a\n\r\n\n\r\r\nb\r"), ["a", "~", "", " ~", "b"]);
        assert_eq!(input(b"who\n\r"), ["who"]);
        // A peer that speaks telnet does, however it ends lines; a byte 0xFF alone is not telnet.
        assert_eq!(input(b"a\n\xff\xf1b\nc\n"), ["a", "b~", "c~"]);
        assert_eq!(input(b"a\xffb\nc\xff\xffd\n"), ["ab", "c\\xffd"]);
    }

    #[test]
    fn telnet_commands_are_answered_in_their_place() {
        // GNU telnet, when its user types Ctrl-C.
        assert_eq!(input(b"who\n\xff\xf4\xff\xfd\x06who\n"), ["who", "<\\xff\\xfc\\x06>", "who~"]);
        assert_eq!(input(b"a\xff\xfd\x06b\n\xff\xfd\x06"), ["<\\xff\\xfc\\x06>", "ab~", "<\\xff\\xfc\\x06>"]);
        // Each option is refused once, on each side, and a refusal is not answered.
        let commands = b"\xff\xfd\x01\xff\xfb\x01\xff\xfd\x01\xff\xfe\x01\xff\xfc\x01\xff\xfb\x01\xff\xfb\x1f";
        assert_eq!(input(commands), ["<\\xff\\xfc\\x01>", "<\\xff\\xfe\\x01>", "<\\xff\\xfe\\x1f>"]);
        // AYT is answered once until a byte of a line arrives.
        let commands = b"a\n\xff\xf6\xff\xfd\x06\xff\xf6b\xff\xf6\n";
        assert_eq!(input(commands), ["a", "<here>", "<\\xff\\xfc\\x06>", "<here>", "b~"]);
        assert_eq!(input(b"\xff\xfa\x1f\xff\xf0\xff\xf1\xff\xf4"), [""; 0], "nothing is asked for");
    }

    #[test]
    fn a_cr_at_the_limit_is_a_byte_like_any_other() {
        for length in 7..=8 + ID_BYTES_MAX + 2 {
            let line = [&vec![b'x'; length][..], b"\ry\n"].concat();
            let expected = if length + 2 <= 8 { "x".repeat(length) + " y" } else { "TOO LONG".to_owned() };
            assert_eq!(input_of(&[&line], 8), [expected], "{length}");
        }
    }

    #[test]
    fn a_request_id_and_its_blank_do_not_count() {
        for id in ["1 ", "123456789012345678 ", "007\t"] {
            let line = |text: &str| input_of(&[id.as_bytes(), text.as_bytes()], 8);
            assert_eq!(line("abcdefgh"), [format!("{id}abcdefgh").escape_default().to_string()]);
            assert_eq!(line("abcdefghi"), ["TOO LONG"], "{id}");
        }
        assert_eq!(input_of(&[b"1234567890123456789 a"], 8), ["TOO LONG"], "too long for an id");
        assert_eq!(input_of(&[b"1x abcdefgh"], 8), ["TOO LONG"]);
        assert_eq!(input_of(&[b" 1 abcdefg"], 8), [" 1 abcdefg"]);
        assert_eq!(input_of(&[b" 1 abcdefgh"], 8), ["TOO LONG"], "blanks before it do count");
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_long_one() {
        let mut buffer = LineBuffer::new(64);
        for _ in 0..10_000 {
            buffer.feed(&[b'x'; 1000]);
            assert!(buffer.capacity_bytes() <= 2 * (65 + ID_BYTES_MAX));
        }
        buffer.feed(b"\nwho\n");
        assert!(buffer.next_line().is_some_and(|line| line.bytes.is_err()));
        assert_eq!(buffer.next_line().map(|line| line.bytes), Some(Ok(&b"who"[..])));
        assert!(!buffer.has_more() && buffer.next_line().is_none());
        assert_eq!(buffer.capacity_bytes(), 0);
    }

    #[test]
    fn bytes_that_are_in_no_line_are_counted() {
        let mut buffer = LineBuffer::new(8);
        assert_eq!(buffer.feed(b"who\ncows"), 0);
        assert_eq!(buffer.feed(b"\xff\xf1\xff\xfb\x01\r\n"), 5, "two telnet commands");
        assert_eq!(buffer.feed(&[b'x'; 1000]), 1000 - (8 + ID_BYTES_MAX + 1));
        assert_eq!(buffer.feed(&[b'x'; 1000]), 1000);
        assert_eq!(buffer.feed(b"\xff\xff\r\n"), 2);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines_and_answers(
            input in proptest::collection::vec(
                prop_oneof![3 => any::<u8>(), 1 => Just(LF), 1 => Just(CR), 2 => Just(telnet::IAC), 2 => 0xf0..=0xfe_u8,
                    1 => Just(0), 1 => Just(6), 2 => b'0'..=b'9', 1 => Just(b' ')],
                0..200),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(input.len());
            let mut from = 0;
            let chunks: Vec<&[u8]> = cuts.iter().map(|&to| &input[std::mem::replace(&mut from, to)..to]).collect();
            let single: Vec<&[u8]> = input.chunks(1).collect();
            let whole = input_of(&[&input], 16);
            prop_assert_eq!(&input_of(&chunks, 16), &whole);
            prop_assert_eq!(&input_of(&single, 16), &whole);
        }
    }
}
