//! Telnet's commands (RFC 854, 855, 860): what a peer asks for by them, and what it is answered.
//!
//! The server has no options. It refuses each that a peer offers or asks for, once, and answers no refusal, so there is no
//! loop. A timing mark is answered each time: GNU telnet discards all output from an interrupt (Ctrl-C, and some letters
//! that are not ASCII) until that answer. A peer that sends no command is sent none.

use std::collections::VecDeque;

use smallvec::SmallVec;

/// "Interpret as command", and the commands that this server knows (RFC 854).
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

/// The option that asks for an answer when all before it is processed (RFC 860).
const TIMING_MARK: u8 = 6;

/// Where in a telnet sequence the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not in one.
    Data,
    /// After IAC.
    Command,
    /// After IAC and this command, which is one of WILL, WONT, DO and DONT: one option byte follows.
    Option(u8),
    /// Between IAC SB and IAC SE.
    Subnegotiation,
    /// After an IAC in a subnegotiation.
    SubnegotiationCommand,
}

/// What a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Part of a command, and nothing to be done.
    None,
    /// A byte of a line.
    Data,
    /// The end of a command.
    Asked(Request),
}

/// What a peer asks for by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Nothing.
    Nothing,
    /// That the last character of the line be erased.
    EraseCharacter,
    /// That the line be erased.
    EraseLine,
    /// Whether anybody is there.
    AreYouThere,
    /// That the server does what this option says.
    Do(u8),
    /// To do it itself.
    Will(u8),
}

impl State {
    /// What `byte`, which is no LF, is in this state, and the state after it.
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
            // A doubled IAC is one byte 0xFF; before any byte below 0xF0 the IAC alone goes.
            (State::Data | State::Command, _) => (State::Data, Event::Data),
        }
    }
}

/// What is sent to a peer that has sent commands, at one place in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer(SmallVec<[u8; ANSWER_BYTES]>);

/// An answer of so many bytes is kept in place: most have two or three.
const ANSWER_BYTES: usize = 16;

impl Answer {
    /// Its bytes, with `here` as the line that shows that somebody is there.
    pub fn bytes(&self, here: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = &self.0[..];
        while let [iac, command, after @ ..] = rest {
            if *command == AYT {
                bytes.extend_from_slice(here.as_bytes());
                rest = after;
            } else {
                let (option, after) = after.split_at(after.len().min(1));
                bytes.extend_from_slice(&[*iac, *command]);
                bytes.extend_from_slice(option);
                rest = after;
            }
        }
        bytes
    }
}

/// What a peer has asked for and was not yet answered, and what it was refused.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    /// In order, each with how much of the input has to be taken before it.
    pending: VecDeque<(usize, Answer)>,
    /// Bits of the options that it was told not to use, and of those that the server does not.
    refused: [[u64; 4]; 2],
    /// It was told that somebody is there, and has sent nothing but commands since.
    is_here_told: bool,
}

impl Telnet {
    /// A peer has asked for something when that much of its input stood before it.
    pub(super) fn note(&mut self, request: Request, due: usize) {
        let command = match request {
            Request::Nothing | Request::EraseCharacter | Request::EraseLine => return,
            Request::Do(TIMING_MARK) => &[IAC, WONT, TIMING_MARK][..],
            Request::Do(option) if self.refuse(0, option) => &[IAC, WONT, option],
            Request::Will(option) if self.refuse(1, option) => &[IAC, DONT, option],
            Request::Do(_) | Request::Will(_) => return,
            // Once is enough, until the peer has said something else.
            Request::AreYouThere if std::mem::replace(&mut self.is_here_told, true) => return,
            Request::AreYouThere => &[IAC, AYT],
        };
        // One for each place, so that there are no more than lines.
        match self.pending.back_mut() {
            Some((at, Answer(answer))) if *at == due => answer.extend_from_slice(command),
            _ => self.pending.push_back((due, Answer(command.into()))),
        }
    }

    /// The peer has sent something else than commands.
    pub(super) fn note_data(&mut self) {
        self.is_here_told = false;
    }

    /// Notes a refusal; `false` if it was made before.
    fn refuse(&mut self, side: usize, option: u8) -> bool {
        let (word, bit) = (&mut self.refused[side][usize::from(option / 64)], 1 << (option % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether an answer is due when that much of the input is taken.
    pub(super) fn is_due(&self, taken: usize) -> bool {
        self.pending.front().is_some_and(|(due, _)| *due <= taken)
    }

    /// The next answer that is due.
    pub(super) fn next(&mut self, taken: usize) -> Option<Answer> {
        if self.is_due(taken) { self.pending.pop_front().map(|(_, answer)| answer) } else { None }
    }

    /// Memory of what is not answered yet, in bytes.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<(usize, Answer)>()
    }

    /// That much of the input, all of it taken, is forgotten.
    pub(super) fn forget(&mut self, taken: usize) {
        self.pending.iter_mut().for_each(|(due, _)| *due = due.saturating_sub(taken));
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }
}
