//! The part of Perl in which cow files are written: assignments of strings, and little else.
//!
//! A file's assignments are followed; nothing is ever run. What does not certainly mean here what it means to Perl is refused
//! with its line (perldata: "Scalar value constructors").

use std::collections::HashMap;

use super::interpolation::value_of_string;
use super::problem::{Parsed, Problem};
use super::source::{Quoted, Source};
use crate::limits::{COW_FILE_DEPTH_MAX, COW_FILE_VALUES_BYTES_MAX};

/// The value of a variable after the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    /// The byte of the source at which its heredoc begins, or else the assignment.
    pub(super) from: usize,
}

/// The value that `source`, whose lines end in LF, gives to the variable `wanted`; `None` if it assigns none. `presets` are
/// the values of other variables before.
///
/// # Errors
/// The first thing that is not understood.
pub(super) fn value_of(source: &str, wanted: &str, presets: &[(&str, &str)]) -> Parsed<Option<Value>> {
    let presets = presets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut script = Script {
        source: Source::new(source),
        variables: presets.collect(),
        wanted,
        from: None,
        heredoc: None,
        is_live: true,
        depth: 0,
        budget: COW_FILE_VALUES_BYTES_MAX,
    };
    while script.source.peek().is_some() {
        script.statement()?;
    }
    let text = script.variables.remove(wanted);
    Ok(script.from.zip(text).map(|(from, text)| Value { text, from }))
}

struct Script<'a> {
    source: Source<'a>,
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

/// What a statement does once it is known that it is executed: first it chops, then it assigns.
#[derive(Debug, Default)]
struct Action<'a> {
    /// The variable that loses its last character.
    chopped: Option<&'a str>,
    assignment: Option<Assignment<'a>>,
}

#[derive(Debug)]
struct Assignment<'a> {
    name: &'a str,
    value: String,
    /// By `.=`.
    appends: bool,
    /// By `my`.
    is_own: bool,
    /// See [`Value::from`].
    from: usize,
}

impl<'a> Script<'a> {
    fn statement(&mut self) -> Parsed<()> {
        if let Some(wanted) = self.guard() {
            return self.conditional(wanted);
        }
        let action = self.action()?;
        let is_executed = match self.guard() {
            None => true,
            // Whether Perl makes the variable does not depend on the condition.
            Some(_) if action.assignment.as_ref().is_some_and(|assignment| assignment.is_own) => return self.refuse(),
            Some(wanted) => is_true(&self.expression()?) == wanted,
        };
        if self.is_live && is_executed {
            self.execute(action);
        }
        match self.source.peek() {
            None => Ok(()),
            Some(b'}') if self.depth > 0 => Ok(()),
            Some(_) => self.source.expect(";"),
        }
    }

    /// Reads `if` or `unless`, if one comes next: whether what it guards is executed if the condition is true, or false.
    fn guard(&mut self) -> Option<bool> {
        if self.source.eat_word("if") {
            return Some(true);
        }
        self.source.eat_word("unless").then_some(false)
    }

    /// What follows `if` or `unless`.
    fn conditional(&mut self, wanted: bool) -> Parsed<()> {
        if self.source.peek() != Some(b'(') {
            return self.refuse();
        }
        let holds = is_true(&self.primary()?) == wanted;
        self.block(holds)?;
        if self.source.eat_word("else") { self.block(!holds) } else { Ok(()) }
    }

    fn block(&mut self, is_executed: bool) -> Parsed<()> {
        self.source.expect("{")?;
        let was_live = self.is_live;
        self.is_live &= is_executed;
        while !matches!(self.source.peek(), None | Some(b'}')) {
            self.nested(Self::statement)?;
        }
        self.is_live = was_live;
        self.source.expect("}")
    }

    /// An assignment, or one of the few other statements that cow files have.
    fn action(&mut self) -> Parsed<Action<'a>> {
        self.heredoc = None;
        match self.source.word() {
            "use" => {
                self.source.expect("use")?;
                return if self.source.eat_word("utf8") { Ok(Action::default()) } else { self.refuse() };
            }
            "binmode" => return self.binmode(),
            "chop" => return Ok(Action { chopped: Some(self.chop()?), assignment: None }),
            _ => {}
        }
        let begin = self.source.at;
        // In a block it would be another variable of the same name.
        let is_own = self.depth == 0 && self.source.eat_word("my");
        match self.source.peek() {
            Some(b';') => return Ok(Action::default()),
            Some(b'0'..=b'9') => {
                self.primary()?;
                return Ok(Action::default());
            }
            _ => {}
        }
        let name = self.source.variable_name()?;
        // By `my` it would not be the picture's variable either.
        if is_own && name == self.wanted {
            return self.refuse();
        }
        let appends = !is_own && self.source.eat(".=");
        if !appends && !self.source.eat("=") || self.source.rest().starts_with(['=', '~']) {
            return self.refuse();
        }
        // Beside other values a `chop` would change what was read before it.
        let chopped = if self.source.word() == "chop" { Some(self.chop()?) } else { None };
        let value = match chopped {
            Some(chopped) => self.variables.get(chopped).and_then(|value| value.chars().next_back()).map(String::from),
            None => Some(self.expression()?),
        };
        let value = value.unwrap_or_default();
        let from = self.heredoc.unwrap_or(begin);
        Ok(Action { chopped, assignment: Some(Assignment { name, value, appends, is_own, from }) })
    }

    fn execute(&mut self, Action { chopped, assignment }: Action<'a>) {
        if let Some(value) = chopped.and_then(|name| self.variables.get_mut(name)) {
            value.pop();
        }
        let Some(Assignment { name, value, appends, from, .. }) = assignment else { return };
        if name == self.wanted {
            self.from = Some(from);
        }
        let variable = self.variables.entry(name.to_owned()).or_default();
        if appends {
            variable.push_str(&value);
        } else {
            *variable = value;
        }
    }

    /// `chop` and the variable that it takes the last character from.
    fn chop(&mut self) -> Parsed<&'a str> {
        self.source.expect("chop")?;
        let has_parenthesis = self.source.eat("(");
        self.source.peek();
        let name = self.source.variable_name()?;
        if has_parenthesis {
            self.source.expect(")")?;
        }
        Ok(name)
    }

    /// `binmode STDOUT, ":utf8"`, which says how characters are written: the server writes UTF-8.
    fn binmode(&mut self) -> Parsed<Action<'a>> {
        self.source.expect("binmode")?;
        let has_parenthesis = self.source.eat("(");
        if !self.source.eat_word("STDOUT") {
            return self.refuse();
        }
        self.source.expect(",")?;
        if !matches!(self.primary()?.as_str(), ":utf8" | ":encoding(UTF-8)") {
            return self.refuse();
        }
        if has_parenthesis {
            self.source.expect(")")?;
        }
        Ok(Action::default())
    }

    /// Two values compared, or one.
    fn expression(&mut self) -> Parsed<String> {
        let left = self.concatenation()?;
        let wanted = self.source.eat_word("eq");
        if !wanted && !self.source.eat_word("ne") {
            return Ok(left);
        }
        Ok(truth((left == self.concatenation()?) == wanted))
    }

    fn concatenation(&mut self) -> Parsed<String> {
        let mut value = self.repetition()?;
        while self.source.peek() == Some(b'.') && !self.source.rest().starts_with("..") {
            self.source.expect(".")?;
            let more = self.repetition()?;
            self.charge(value.len())?;
            value.push_str(&more);
        }
        Ok(value)
    }

    fn repetition(&mut self) -> Parsed<String> {
        let value = self.primary()?;
        if !self.source.eat_word("x") {
            return Ok(value);
        }
        self.source.peek();
        let Ok(times) = self.source.number()?.parse::<usize>() else { return self.refuse() };
        self.charge(value.len().saturating_mul(times))?;
        Ok(value.repeat(times))
    }

    fn primary(&mut self) -> Parsed<String> {
        match self.source.peek() {
            Some(b'"' | b'\'') => {
                let quoted = self.source.string()?;
                self.value(&quoted)
            }
            Some(b'<') if self.source.rest().starts_with("<<") => {
                let quoted = self.source.heredoc()?;
                self.heredoc = Some(quoted.from);
                self.value(&quoted)
            }
            Some(b'$') => {
                let name = self.source.variable_name()?;
                let value = self.variables.get(name).cloned().unwrap_or_default();
                self.charge(value.len())?;
                Ok(value)
            }
            Some(b'0'..=b'9') => self.source.number().map(str::to_owned),
            Some(b'(') => {
                self.source.expect("(")?;
                let value = self.nested(Self::expression)?;
                self.source.expect(")")?;
                Ok(value)
            }
            Some(b'!') => {
                self.source.expect("!")?;
                Ok(truth(!is_true(&self.nested(Self::primary)?)))
            }
            _ => self.refuse(),
        }
    }

    fn value(&mut self, quoted: &Quoted<'_>) -> Parsed<String> {
        let value = value_of_string(quoted, &self.variables, self.budget)?;
        self.charge(value.len())?;
        Ok(value)
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > COW_FILE_DEPTH_MAX {
            return self.refuse();
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn charge(&mut self, bytes: usize) -> Parsed<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| self.source.problem(Problem::TooLong))?;
        Ok(())
    }

    /// What stands here would have to be run.
    fn refuse<T>(&self) -> Parsed<T> {
        Err(self.source.problem(Problem::Statement))
    }
}

fn is_true(value: &str) -> bool {
    !matches!(value, "" | "0")
}

fn truth(is_true: bool) -> String {
    if is_true { "1".to_owned() } else { String::new() }
}
