//! The part of Perl in which cow files are written: assignments of strings, and little else.
//!
//! A file's assignments are followed and nothing is ever run. What is not certain to mean here what it means to Perl is
//! refused with its line. (perlop: "Quote and Quote-like Operators", "Gory details of parsing quoted constructs";
//! perldata: "Scalar value constructors".)

use std::collections::HashMap;

use super::cow_file::Problem;
use super::interpolation::{array, escape, identifier, subscript, variable};
use crate::limits::{COW_FILE_DEPTH_MAX, COW_FILE_VALUES_BYTES_MAX};

/// What is wrong, and the byte at which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub problem: Problem,
}

/// The value of a variable when the whole file has been followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub text: String,
    /// The byte of the source at which its heredoc begins, or else the assignment.
    pub from: usize,
}

/// The value that `source`, whose lines end in LF, gives to the variable `wanted`; `None` if it assigns none. `presets` are
/// the values of other variables before.
///
/// # Errors
/// The first that is not understood.
pub(super) fn value_of(source: &str, wanted: &str, presets: &[(&str, &str)]) -> Result<Option<Value>, Fault> {
    let presets = presets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut script = Script {
        source,
        at: 0,
        after_heredocs: None,
        variables: presets.collect(),
        wanted,
        from: None,
        heredoc: None,
        is_live: true,
        depth: 0,
        budget: COW_FILE_VALUES_BYTES_MAX,
    };
    while !script.is_at_end() {
        script.statement()?;
    }
    let text = script.variables.remove(wanted);
    Ok(script.from.zip(text).map(|(from, text)| Value { text, from }))
}

type Parsed<T> = Result<T, Fault>;

/// Digits of numbers that Perl keeps exactly.
const NUMBER_DIGITS_MAX: usize = 15;

/// A place to go on reading at: [`Script::at`] and [`Script::after_heredocs`].
type Place = (usize, Option<usize>);

struct Script<'a> {
    source: &'a str,
    at: usize,
    /// Where reading goes on behind this line, if heredocs begin in it.
    after_heredocs: Option<usize>,
    variables: HashMap<String, String>,
    wanted: &'a str,
    /// See [`Value::from`].
    from: Option<usize>,
    /// Where the last heredoc of this statement begins.
    heredoc: Option<usize>,
    /// Whether assignments are made, or only read.
    is_live: bool,
    /// Parentheses and blocks around this place.
    depth: usize,
    /// Bytes that values may still have.
    budget: usize,
}

impl<'a> Script<'a> {
    fn statement(&mut self) -> Parsed<()> {
        self.skip();
        if let word @ ("if" | "unless") = self.word() {
            self.at += word.len();
            return self.conditional(word == "if");
        }
        // What stands behind a statement decides whether it is executed, so it is read first.
        let begin = self.place();
        let is_live = std::mem::replace(&mut self.is_live, false);
        let read = self.simple();
        self.is_live = is_live;
        read?;
        self.skip();
        // A variable of one's own is there, or not, whatever the condition.
        if self.source[begin.0..].starts_with("my ") && matches!(self.word(), "if" | "unless") {
            return Err(self.fault(Problem::Statement));
        }
        let is_executed = self.modifier()?;
        if is_live && is_executed {
            let end = self.place();
            (self.at, self.after_heredocs) = begin;
            self.simple()?;
            (self.at, self.after_heredocs) = end;
        }
        self.skip();
        match self.rest().bytes().next() {
            None => Ok(()),
            Some(b'}') if self.depth > 0 => Ok(()),
            Some(b';') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.fault(Problem::Statement)),
        }
    }

    /// `if` or `unless` and what follows.
    fn conditional(&mut self, wanted: bool) -> Parsed<()> {
        self.skip();
        if !self.rest().starts_with('(') {
            return Err(self.fault(Problem::Statement));
        }
        let holds = is_true(&self.primary()?) == wanted;
        self.block(holds)?;
        self.skip();
        if self.eat_word("else") { self.block(!holds) } else { Ok(()) }
    }

    fn block(&mut self, is_executed: bool) -> Parsed<()> {
        self.expect("{")?;
        self.enter()?;
        let was_live = self.is_live;
        self.is_live &= is_executed;
        while !self.eat("}") {
            if self.is_at_end() {
                return Err(self.fault(Problem::Statement));
            }
            self.statement()?;
        }
        self.is_live = was_live;
        self.depth -= 1;
        Ok(())
    }

    /// Whether the condition behind a statement, if there is one, lets it be executed.
    fn modifier(&mut self) -> Parsed<bool> {
        self.skip();
        let wanted = match self.word() {
            "if" => true,
            "unless" => false,
            _ => return Ok(true),
        };
        self.at += self.word().len();
        Ok(is_true(&self.expression()?) == wanted)
    }

    /// An assignment, or one of the few other statements that cow files have.
    fn simple(&mut self) -> Parsed<()> {
        self.heredoc = None;
        let begin = self.at;
        match self.word() {
            "use" => {
                self.at += "use".len();
                self.skip();
                return if self.eat_word("utf8") { Ok(()) } else { Err(self.fault(Problem::Statement)) };
            }
            "binmode" => return self.binmode(),
            "chop" => {
                self.at += "chop".len();
                return self.chop().map(|_| ());
            }
            // In a block it would be another variable of the same name.
            "my" if self.depth == 0 => self.at += "my".len(),
            _ => {}
        }
        let is_own = self.at > begin;
        self.skip();
        match self.rest().bytes().next() {
            Some(b';') => return Ok(()),
            Some(b'0'..=b'9') => return self.primary().map(|_| ()),
            Some(b'$') => {}
            _ => return Err(self.fault(Problem::Statement)),
        }
        let name = self.variable_name()?;
        // And so would be the picture's.
        if is_own && name == self.wanted {
            return Err(self.fault(Problem::Statement));
        }
        self.skip();
        let appends = !is_own && self.eat(".=");
        if !appends && !self.eat("=") || self.rest().starts_with(['=', '~']) {
            return Err(self.fault(Problem::Statement));
        }
        self.skip();
        // Beside others it would change what was read before it.
        let value = if self.eat_word("chop") { self.chop()? } else { self.expression()? };
        if self.is_live {
            if name == self.wanted {
                self.from = Some(self.heredoc.unwrap_or(begin));
            }
            let variable = self.variables.entry(name.to_owned()).or_default();
            if !appends {
                variable.clear();
            }
            variable.push_str(&value);
        }
        Ok(())
    }

    /// `binmode STDOUT, ":utf8"`, which says how characters are written: the server writes UTF-8.
    fn binmode(&mut self) -> Parsed<()> {
        self.at += "binmode".len();
        let has_parenthesis = self.eat("(");
        self.skip();
        if !self.eat_word("STDOUT") {
            return Err(self.fault(Problem::Statement));
        }
        self.expect(",")?;
        if !matches!(self.primary()?.as_str(), ":utf8" | ":encoding(UTF-8)") {
            return Err(self.fault(Problem::Statement));
        }
        if has_parenthesis { self.expect(")") } else { Ok(()) }
    }

    /// Two values compared, or one.
    fn expression(&mut self) -> Parsed<String> {
        let left = self.concatenation()?;
        self.skip();
        let wanted = match self.word() {
            "eq" => true,
            "ne" => false,
            _ => return Ok(left),
        };
        self.at += "eq".len();
        let right = self.concatenation()?;
        Ok(truth((left == right) == wanted))
    }

    fn concatenation(&mut self) -> Parsed<String> {
        let mut value = self.repetition()?;
        loop {
            self.skip();
            if !self.rest().starts_with('.') || self.rest().starts_with("..") {
                return Ok(value);
            }
            self.at += 1;
            let more = self.repetition()?;
            self.charge(value.len())?;
            value.push_str(&more);
        }
    }

    fn repetition(&mut self) -> Parsed<String> {
        let value = self.primary()?;
        self.skip();
        if !self.eat_word("x") {
            return Ok(value);
        }
        self.skip();
        let Ok(times) = self.number()?.parse::<usize>() else { return Err(self.fault(Problem::Statement)) };
        self.charge(value.len().saturating_mul(times))?;
        Ok(value.repeat(times))
    }

    fn primary(&mut self) -> Parsed<String> {
        self.skip();
        match self.rest().bytes().next() {
            Some(b'"') => self.string(b'"'),
            Some(b'\'') => self.string(b'\''),
            Some(b'<') if self.rest().starts_with("<<") => self.heredoc(),
            Some(b'$') => {
                let name = self.variable_name()?;
                let value = self.variables.get(name).cloned().unwrap_or_default();
                self.charge(value.len())?;
                Ok(value)
            }
            Some(b'0'..=b'9') => self.number().map(str::to_owned),
            Some(b'(') => {
                self.at += 1;
                self.enter()?;
                let value = self.expression()?;
                self.depth -= 1;
                self.expect(")")?;
                Ok(value)
            }
            Some(b'!') => {
                self.at += 1;
                self.enter()?;
                let value = self.primary()?;
                self.depth -= 1;
                Ok(truth(!is_true(&value)))
            }
            _ => Err(self.fault(Problem::Statement)),
        }
    }

    /// Takes the last character from a variable.
    fn chop(&mut self) -> Parsed<String> {
        let has_parenthesis = self.eat("(");
        self.skip();
        if !self.rest().starts_with('$') {
            return Err(self.fault(Problem::Statement));
        }
        let name = self.variable_name()?;
        if has_parenthesis {
            self.expect(")")?;
        }
        let taken = self.variables.get_mut(name).filter(|_| self.is_live).and_then(String::pop);
        Ok(taken.map(String::from).unwrap_or_default())
    }

    /// A string between two of these quotes.
    fn string(&mut self, quote: u8) -> Parsed<String> {
        let begin = self.at + 1;
        let mut bytes = self.source.as_bytes()[begin..].iter().enumerate();
        let length = loop {
            match bytes.next() {
                None => return Err(self.fault(Problem::OpenString)),
                Some((length, byte)) if *byte == quote => break length,
                Some((_, b'\\')) => {
                    bytes.next();
                }
                Some(_) => {}
            }
        };
        let text = &self.source[begin..begin + length];
        // A heredoc that began in the same line would stand between its lines.
        if self.after_heredocs.is_some() && text.contains('\n') {
            return Err(self.fault(Problem::OpenString));
        }
        self.at = begin + length + 1;
        if quote == b'"' {
            return self.interpolated(begin, begin + length);
        }
        self.charge(length)?;
        // Between single quotes a backslash means something before these two only.
        let mut plain = String::with_capacity(length);
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            rest = if after[1..].starts_with(['\\', '\'']) { &after[1..] } else { after };
            plain.push_str(&rest[..1]);
            rest = &rest[1..];
        }
        plain.push_str(rest);
        Ok(plain)
    }

    fn heredoc(&mut self) -> Parsed<String> {
        self.at += "<<".len();
        // Before a quoted mark Perl allows blanks.
        let quoted = self.rest().trim_start_matches([' ', '\t']);
        let (mark, after, interpolates) = match quoted.bytes().next() {
            Some(quote @ (b'"' | b'\'')) => {
                let (mark, after) =
                    quoted[1..].split_once(char::from(quote)).ok_or_else(|| self.fault(Problem::Mark))?;
                (mark, after, quote == b'"')
            }
            _ => {
                let mark = identifier(self.rest());
                (mark, &self.rest()[mark.len()..], true)
            }
        };
        let is_quoted = after.len() + mark.len() < self.rest().len();
        if mark.is_empty() && !is_quoted || mark.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(self.fault(Problem::Mark));
        }
        self.at = self.source.len() - after.len();
        let no_end = || Fault { at: self.source.len(), problem: Problem::NoEnd(mark.to_owned()) };
        let begin = match self.after_heredocs {
            Some(begin) => begin,
            None => self.at + self.rest().find('\n').ok_or_else(no_end)? + 1,
        };
        let mut end = begin;
        loop {
            let line = self.source[end..].split_inclusive('\n').next().ok_or_else(no_end)?;
            if line.strip_suffix('\n').unwrap_or(line) == mark {
                self.after_heredocs = Some(end + line.len());
                break;
            }
            end += line.len();
        }
        self.heredoc = Some(begin);
        if interpolates {
            return self.interpolated(begin, end);
        }
        self.charge(end - begin)?;
        Ok(self.source[begin..end].to_owned())
    }

    /// These bytes of the source with escapes and variables replaced, as between double quotes.
    fn interpolated(&mut self, begin: usize, end: usize) -> Parsed<String> {
        let mut text = String::with_capacity(end - begin);
        let mut rest = &self.source[begin..end];
        while let Some(at) = rest.find(['\\', '$', '@']) {
            text.push_str(&rest[..at]);
            let here = end - rest.len() + at;
            let (sigil, after) = (rest.as_bytes()[at], &rest[at + 1..]);
            let replaced = match sigil {
                b'\\' => escape(after, &mut text),
                b'$' => variable(after, &self.variables, &mut text),
                _ => array(after, &mut text),
            };
            rest = replaced.map_err(|problem| Fault { at: here, problem })?;
            // A value may be long where its name is short.
            if text.len() > self.budget {
                break;
            }
        }
        text.push_str(rest);
        self.charge(text.len())?;
        Ok(text)
    }

    /// Reads a variable where a value or an assignment begins.
    fn variable_name(&mut self) -> Parsed<&'a str> {
        let name = identifier(&self.rest()[1..]);
        let after = &self.rest()[1 + name.len()..];
        if name.is_empty() || subscript(after).is_some() {
            return Err(self.fault(Problem::Statement));
        }
        self.at += 1 + name.len();
        Ok(name)
    }

    /// Skips blanks, line ends, comments and the heredocs of a line that ends.
    fn skip(&mut self) {
        loop {
            match self.rest().bytes().next() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\n') => self.at = self.after_heredocs.take().unwrap_or(self.at + 1),
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// The word that begins here.
    fn word(&self) -> &'a str {
        identifier(self.rest())
    }

    /// A whole number as it stands. 007 is octal, 1.5 and 1e3 are others, and long ones are rounded.
    fn number(&mut self) -> Parsed<&'a str> {
        let rest = self.rest();
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let is_plain = (1..=NUMBER_DIGITS_MAX).contains(&digits.len()) && (digits == "0" || !digits.starts_with('0'));
        if !is_plain || after.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '.') {
            return Err(self.fault(Problem::Statement));
        }
        self.at += digits.len();
        Ok(digits)
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let is_there = self.rest().starts_with(token);
        self.at += if is_there { token.len() } else { 0 };
        is_there
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.word() == word && self.eat(word)
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err(self.fault(Problem::Statement)) }
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > COW_FILE_DEPTH_MAX { Err(self.fault(Problem::Statement)) } else { Ok(()) }
    }

    fn charge(&mut self, bytes: usize) -> Parsed<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| self.fault(Problem::TooLong))?;
        Ok(())
    }

    fn place(&self) -> Place {
        (self.at, self.after_heredocs)
    }

    fn fault(&self, problem: Problem) -> Fault {
        Fault { at: self.at, problem }
    }
}

fn is_true(value: &str) -> bool {
    !matches!(value, "" | "0")
}

fn truth(is_true: bool) -> String {
    if is_true { "1".to_owned() } else { String::new() }
}
