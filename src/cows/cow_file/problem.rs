//! Why a cow file is not loaded: each text names the mend.

/// Why a file is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct CowFileError {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub problem: Problem,
}

/// What a cow file may not contain, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Problem {
    #[error("this would have to be run, and only assignments of strings are read: write what it gives instead")]
    Statement,
    #[error("the heredoc's mark cannot be read: write <<EOC;")]
    Mark,
    #[error("the heredoc does not end: write a line with nothing but {0}")]
    NoEnd(String),
    #[error("the string does not end in this line: close it, or write a backslash before each quote in it")]
    OpenString,
    #[error("there is no picture: write ${0} = <<EOC; before it and EOC after it")]
    NoPicture(&'static str),
    #[error("a bare $ or @ means something to Perl: write \\$ or \\@")]
    Sigil,
    #[error("{0} means more to Perl than a variable: write a backslash before what follows the name")]
    Subscript(String),
    #[error("{0} has a value of Perl's own: use another name, or write a backslash before it")]
    Name(String),
    #[error("the escape \\{0} is not read: write the character, or its number as in \\x{{2584}}")]
    Escape(char),
    #[error("the control character U+{0:04X} is no colour (\\e[...m): take it out")]
    Control(u32),
    #[error("its strings are longer together than a picture may be: make them shorter")]
    TooLong,
    #[error("the picture is blank: draw something")]
    Blank,
}

/// A problem and the byte at which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProblemAt {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

/// What is read, or why not.
pub(super) type Parsed<T> = Result<T, ProblemAt>;
