//! A cow file as Perl's words, numbers and strings; blanks, comments and heredocs that were read are skipped.
//!
//! (perlop: "Quote and Quote-like Operators", "Gory details of parsing quoted constructs".)

use super::identifier::{identifier, subscript};
use super::problem::{Parsed, Problem, ProblemAt};

/// Digits of numbers that Perl keeps exactly.
const NUMBER_DIGITS_MAX: usize = 15;

/// A file, and how far it is read.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    /// How many bytes have been read.
    pub(super) at: usize,
    /// Where reading goes on after this line, if heredocs begin in it.
    after_heredocs: Option<usize>,
}

/// A string of the file, before anything in it is replaced.
#[derive(Debug)]
pub(super) struct Quoted<'a> {
    pub(super) text: &'a str,
    /// The byte of the file at which `text` begins.
    pub(super) from: usize,
    pub(super) quoting: Quoting,
}

/// What a backslash, `$` and `@` mean in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Escapes and variables.
    Double,
    /// Nothing, but `\\` and `\'` are one character.
    Single,
    /// Nothing: a heredoc whose mark stands between single quotes.
    Verbatim,
}

impl<'a> Source<'a> {
    /// `text` with lines that end in LF.
    pub(super) fn new(text: &'a str) -> Self {
        Source { text, at: 0, after_heredocs: None }
    }

    /// The next byte that is not skipped; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest().bytes().next() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\n') => self.at = self.after_heredocs.take().unwrap_or(self.at + 1),
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                next => return next,
            }
        }
    }

    /// The word that comes next, empty if none does.
    pub(super) fn word(&mut self) -> &'a str {
        self.peek();
        identifier(self.rest())
    }

    /// What has not been read, from the last peek on.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Reads `token` if it comes next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.peek();
        let comes_next = self.rest().starts_with(token);
        self.at += if comes_next { token.len() } else { 0 };
        comes_next
    }

    /// Reads `word` if it is the next one.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.word() == word && self.eat(word)
    }

    pub(super) fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err(self.problem(Problem::Statement)) }
    }

    /// A problem here.
    pub(super) fn problem(&self, problem: Problem) -> ProblemAt {
        ProblemAt { at: self.at, problem }
    }

    /// A whole number as it stands. 007 is octal, 1.5 and 1e3 are others, and Perl rounds long ones.
    pub(super) fn number(&mut self) -> Parsed<&'a str> {
        let rest = self.rest();
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let is_plain = (1..=NUMBER_DIGITS_MAX).contains(&digits.len()) && (digits == "0" || !digits.starts_with('0'));
        if !is_plain || after.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '.') {
            return Err(self.problem(Problem::Statement));
        }
        self.at += digits.len();
        Ok(digits)
    }

    /// The name of the variable that stands here.
    pub(super) fn variable_name(&mut self) -> Parsed<&'a str> {
        let after = self.rest().strip_prefix('$').ok_or_else(|| self.problem(Problem::Statement))?;
        let name = identifier(after);
        if name.is_empty() || subscript(&after[name.len()..]).is_some() {
            return Err(self.problem(Problem::Statement));
        }
        self.at += "$".len() + name.len();
        Ok(name)
    }

    /// The string that stands here between two quotes.
    pub(super) fn string(&mut self) -> Parsed<Quoted<'a>> {
        let (from, quote) = (self.at + 1, self.text.as_bytes()[self.at]);
        let mut is_escaped = false;
        let length = self.text[from..].bytes().position(|byte| {
            let is_end = byte == quote && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let text = length.map(|length| &self.text[from..from + length]);
        // A heredoc that began in the same line would stand between its lines.
        let text = text.filter(|text| self.after_heredocs.is_none() || !text.contains('\n'));
        let text = text.ok_or_else(|| self.problem(Problem::OpenString))?;
        self.at = from + text.len() + 1;
        Ok(Quoted { text, from, quoting: if quote == b'"' { Quoting::Double } else { Quoting::Single } })
    }

    /// The heredoc whose `<<` stands here.
    pub(super) fn heredoc(&mut self) -> Parsed<Quoted<'a>> {
        let no_mark = || self.problem(Problem::Mark);
        let bare = &self.rest()["<<".len()..];
        // Perl allows blanks before a mark only if it is quoted.
        let quoted = bare.trim_start_matches([' ', '\t']);
        let ((mark, after), quoting) = match quoted.bytes().next() {
            Some(b'"') => (quoted[1..].split_once('"').ok_or_else(no_mark)?, Quoting::Double),
            Some(b'\'') => (quoted[1..].split_once('\'').ok_or_else(no_mark)?, Quoting::Verbatim),
            _ if identifier(bare).is_empty() => return Err(no_mark()),
            _ => (bare.split_at(identifier(bare).len()), Quoting::Double),
        };
        if mark.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(no_mark());
        }
        let text = self.text;
        let no_end = || ProblemAt { at: text.len(), problem: Problem::NoEnd(mark.to_owned()) };
        self.at = text.len() - after.len();
        let from = match self.after_heredocs {
            Some(from) => from,
            None => self.at + after.find('\n').ok_or_else(no_end)? + 1,
        };
        let mut end = from;
        for line in text[from..].split_inclusive('\n') {
            if line.strip_suffix('\n').unwrap_or(line) == mark {
                self.after_heredocs = Some(end + line.len());
                return Ok(Quoted { text: &text[from..end], from, quoting });
            }
            end += line.len();
        }
        Err(no_end())
    }
}
