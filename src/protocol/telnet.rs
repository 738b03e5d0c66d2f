//! Telnet commands (RFC 854, 855, 860): what a peer asks for, and the server's answers.
//!
//! The server has no options. It refuses each option once and answers no refusal, so there is no loop. It answers each timing
//! mark: after an interrupt (Ctrl-C, and some letters that are not ASCII) GNU telnet discards all output until that answer.
//! A peer that sends no command receives none.

use std::collections::VecDeque;

use smallvec::SmallVec;

/// "Interpret as command", and the commands known here (RFC 854).
pub(super) const IAC: u8 = 0xff;
const SE: u8 = 0xf0;
const AYT: u8 = 0xf6;
const EC: u8 = 0xf7;
const EL: u8 = 0xf8;
const SB: u8 = 0xfa;
const WILL: u8 = 0xfb;
const WONT: u8 = 0xfc;
const DO: u8 = 0xfd;
const DONT: u8 = 0xfe;

/// The option that asks for an answer once all input before it is processed (RFC 860).
const TIMING_MARK: u8 = 6;

/// The place of the next byte in a telnet sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Outside.
    Data,
    /// After IAC.
    Command,
    /// After IAC and this command, one of WILL, WONT, DO and DONT: an option byte follows.
    Option(u8),
    /// Between IAC SB and IAC SE.
    Subnegotiation,
    /// After an IAC in a subnegotiation.
    SubnegotiationCommand,
}

/// The meaning of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// An inner byte of a command.
    None,
    /// A byte of a line.
    Data,
    /// The end of a command.
    Asked(Request),
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Nothing.
    Nothing,
    /// To erase the last character of the line.
    EraseCharacter,
    /// To erase the line.
    EraseLine,
    /// A sign that the server is there.
    AreYouThere,
    /// That the server uses this option.
    Do(u8),
    /// That the peer may use this option.
    Will(u8),
}

impl State {
    /// The state after `byte`, which is not LF, and its meaning.
    pub(super) fn after(self, byte: u8) -> (State, Event) {
        match (self, byte) {
            (State::Data, IAC) => (State::Command, Event::None),
            (State::Command, SB) => (State::Subnegotiation, Event::None),
            (State::Command, WILL..=DONT) => (State::Option(byte), Event::None),
            (State::Command, EC) => (State::Data, Event::Asked(Request::EraseCharacter)),
            (State::Command, EL) => (State::Data, Event::Asked(Request::EraseLine)),
            (State::Command, AYT) => (State::Data, Event::Asked(Request::AreYouThere)),
            (State::Command, SE..SB) => (State::Data, Event::Asked(Request::Nothing)),
            (State::Option(DO), option) => (State::Data, Event::Asked(Request::Do(option))),
            (State::Option(WILL), option) => (State::Data, Event::Asked(Request::Will(option))),
            (State::Option(_), _) => (State::Data, Event::Asked(Request::Nothing)),
            (State::Subnegotiation, IAC) => (State::SubnegotiationCommand, Event::None),
            (State::SubnegotiationCommand, SE) => (State::Data, Event::Asked(Request::Nothing)),
            (State::Subnegotiation | State::SubnegotiationCommand, _) => (State::Subnegotiation, Event::None),
            // A doubled IAC is one byte 0xFF; before a byte below 0xF0 only the IAC goes.
            (State::Data | State::Command, _) => (State::Data, Event::Data),
        }
    }
}

/// Bytes of an answer that need no heap memory: most have two or three.
const ANSWER_BYTES: usize = 16;

/// The answer to the commands at one place in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer(SmallVec<[u8; ANSWER_BYTES]>);

impl Answer {
    /// Its bytes, with `here` as the line that answers AYT.
    pub fn bytes(&self, here: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = &self.0[..];
        while let [_, command, ..] = rest {
            let is_ayt = *command == AYT;
            let (answer, after) = rest.split_at(if is_ayt { 2 } else { rest.len().min(3) });
            bytes.extend_from_slice(if is_ayt { here.as_bytes() } else { answer });
            rest = after;
        }
        bytes
    }
}

/// The answers that wait for their turn, and what a peer was refused.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    /// In order; each is due when this many bytes of the input are taken.
    pending: VecDeque<(usize, Answer)>,
    /// One bit for each option that the server refused to use, and for each that it refused the peer.
    refused: [[u64; 4]; 2],
    /// AYT was answered, and only commands have arrived since.
    answered_ayt: bool,
}

impl Telnet {
    /// Queues the answer to a request, due when `due` bytes of the input are taken.
    pub(super) fn answer(&mut self, request: Request, due: usize) {
        let command = match request {
            Request::Nothing | Request::EraseCharacter | Request::EraseLine => return,
            Request::Do(TIMING_MARK) => &[IAC, WONT, TIMING_MARK][..],
            Request::Do(option) if self.refuse(0, option) => &[IAC, WONT, option],
            Request::Will(option) if self.refuse(1, option) => &[IAC, DONT, option],
            Request::Do(_) | Request::Will(_) => return,
            Request::AreYouThere if std::mem::replace(&mut self.answered_ayt, true) => return,
            Request::AreYouThere => &[IAC, AYT],
        };
        // One for each place, so there are at most as many answers as lines.
        match self.pending.back_mut() {
            Some((at, Answer(answer))) if *at == due => answer.extend_from_slice(command),
            _ => self.pending.push_back((due, Answer(command.into()))),
        }
    }

    /// The peer has sent something other than commands.
    pub(super) fn mark_data(&mut self) {
        self.answered_ayt = false;
    }

    /// Records a refusal; `false` if it was made before.
    fn refuse(&mut self, side: usize, option: u8) -> bool {
        let (word, bit) = (&mut self.refused[side][usize::from(option / 64)], 1 << (option % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether an answer is due when `taken` bytes of the input are taken.
    pub(super) fn is_due(&self, taken: usize) -> bool {
        self.pending.front().is_some_and(|(due, _)| *due <= taken)
    }

    /// The next answer, if it is due.
    pub(super) fn next(&mut self, taken: usize) -> Option<Answer> {
        if self.is_due(taken) { self.pending.pop_front().map(|(_, answer)| answer) } else { None }
    }

    /// The heap bytes of the answers that wait.
    pub(super) fn capacity_bytes(&self) -> usize {
        let spilled = |(_, Answer(answer)): &(_, _)| if answer.spilled() { answer.capacity() } else { 0 };
        self.pending.capacity() * size_of::<(usize, Answer)>() + self.pending.iter().map(spilled).sum::<usize>()
    }

    /// The input forgets its first `taken` bytes.
    pub(super) fn forget(&mut self, taken: usize) {
        self.pending.iter_mut().for_each(|(due, _)| *due = due.saturating_sub(taken));
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }
}
