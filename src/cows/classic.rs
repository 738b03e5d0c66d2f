//! Classic `.cow` files: small Perl programs that assign one heredoc to `$the_cow`.
//!
//! They are parsed and never evaluated. What the parser does not know for certain it refuses with a line
//! and a reason: a cow is drawn as the Perl original draws it, or not at all. (perlop: "Quote and
//! Quote-like Operators", heredocs and "Gory details of parsing quoted constructs".)

/// What stands for the line from bubble to cow, the eyes and the tongue when nobody has asked for others.
const THOUGHTS: &str = "\\";
const EYES: &str = "oo";
const TONGUE: &str = "  ";

/// Why a file is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ClassicError {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub problem: Problem,
}

/// What a cow file may not contain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts are the documentation")]
pub enum Problem {
    #[error("a statement other than $the_cow = <<EOC; would have to be run")]
    Statement,
    #[error("the heredoc's mark can not be read")]
    Mark,
    #[error("the heredoc does not end with {0}")]
    NoEnd(String),
    #[error("there is no $the_cow in it")]
    NoCow,
    #[error("the variable {0} is none of $thoughts, $eyes and $tongue")]
    Variable(String),
    #[error("a bare $ or @ means something to Perl: write \\$ or \\@")]
    Sigil,
    #[error("the escape \\{0} is not known")]
    Escape(char),
    #[error("the control character U+{0:04X}")]
    Control(u32),
    #[error("nothing is drawn")]
    Blank,
}

/// The body that a cow file draws, with the usual eyes and tongue, without an LF at its end.
///
/// # Errors
/// When anything in it is not certain to be drawn as Perl would.
pub fn parse(source: &str) -> Result<String, ClassicError> {
    let mut lines = source.lines().enumerate().map(|(at, line)| (at + 1, line));
    let (mark, interpolates) = loop {
        let Some((line, text)) = lines.next() else {
            return Err(ClassicError { line: source.lines().count().max(1), problem: Problem::NoCow });
        };
        if is_idle(text) {
            continue;
        }
        break heredoc_mark(text).map_err(|problem| ClassicError { line, problem })?;
    };
    let mut body = String::new();
    let mut ended = false;
    let mut last = 0;
    for (line, text) in lines.by_ref() {
        last = line;
        if text == mark {
            ended = true;
            break;
        }
        let located = |problem| ClassicError { line, problem };
        if interpolates {
            interpolate(text, &mut body).map_err(located)?;
        } else {
            body.push_str(text);
        }
        body.push('\n');
        if let Some(control) = body.chars().find(|character| character.is_control() && *character != '\n') {
            return Err(located(Problem::Control(control.into())));
        }
    }
    if !ended {
        return Err(ClassicError { line: last, problem: Problem::NoEnd(mark.to_owned()) });
    }
    if let Some((line, _)) = lines.find(|(_, text)| !is_idle(text) && text.trim() != "1;") {
        return Err(ClassicError { line, problem: Problem::Statement });
    }
    body.pop();
    if body.trim().is_empty() {
        return Err(ClassicError { line: last, problem: Problem::Blank });
    }
    Ok(body)
}

/// Nothing but blanks or a comment.
fn is_idle(text: &str) -> bool {
    let text = text.trim_start();
    text.is_empty() || text.starts_with('#')
}

/// The mark at which the heredoc ends, and whether Perl looks for variables and escapes in it.
fn heredoc_mark(text: &str) -> Result<(&str, bool), Problem> {
    let assigned = text.trim().strip_prefix("$the_cow").map(str::trim_start);
    let value = assigned.and_then(|rest| rest.strip_prefix('=')).ok_or(Problem::Statement)?;
    let mark = value.trim_start().strip_prefix("<<").ok_or(Problem::Statement)?;
    let mark = mark.trim_end().trim_end_matches(';').trim_end();
    // Before a quoted mark Perl allows blanks.
    let quoted = mark.trim_start();
    let between = |quote| quoted.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(mark) = between('"').filter(|mark| !mark.contains('"')) {
        Ok((mark, true))
    } else if let Some(mark) = between('\'').filter(|mark| !mark.contains('\'')) {
        Ok((mark, false))
    } else if is_identifier(mark) {
        Ok((mark, true))
    } else {
        Err(Problem::Mark)
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text == identifier(text)
}

/// The identifier that `text` begins with; empty if it begins with none.
fn identifier(text: &str) -> &str {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Appends one line of a heredoc as Perl interpolates it.
fn interpolate(text: &str, body: &mut String) -> Result<(), Problem> {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$', '@']) {
        body.push_str(&rest[..at]);
        let sigil = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match sigil {
            b'\\' => rest = escape(rest, body)?,
            b'$' => rest = variable(rest, body)?,
            _ => {
                // Perl takes these for the beginning of an array.
                if rest.starts_with(|next: char| next.is_alphanumeric() || "_:'{$+-".contains(next)) {
                    return Err(Problem::Sigil);
                }
                body.push('@');
            }
        }
    }
    body.push_str(rest);
    Ok(())
}

/// What follows a backslash; returns the rest of the line.
fn escape<'a>(rest: &'a str, body: &mut String) -> Result<&'a str, Problem> {
    match rest.chars().next() {
        // At the end of a line it stands before the LF, which stays.
        None => Ok(rest),
        Some(letter) if letter.is_alphanumeric() => Err(Problem::Escape(letter)),
        Some(other) => {
            body.push(other);
            Ok(&rest[other.len_utf8()..])
        }
    }
}

/// What follows a dollar sign; returns the rest of the line.
fn variable<'a>(rest: &'a str, body: &mut String) -> Result<&'a str, Problem> {
    let (name, after) = match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or(Problem::Sigil)?,
        None => rest.split_at(identifier(rest).len()),
    };
    if name.is_empty() {
        return Err(Problem::Sigil);
    }
    body.push_str(match name {
        "thoughts" => THOUGHTS,
        "eyes" => EYES,
        "tongue" => TONGUE,
        _ => return Err(Problem::Variable(format!("${name}"))),
    });
    // An element of an array or hash of that name, a package's variable: not what it looks like.
    if ["[", "{", "->[", "->{", "::", "'"].iter().any(|subscript| after.starts_with(subscript)) {
        return Err(Problem::Variable(format!("${name}{}", after.chars().next().unwrap_or_default())));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> (usize, Problem) {
        let error = parse(source).expect_err("refused");
        (error.line, error.problem)
    }

    #[test]
    fn a_heredoc_is_the_body() {
        let cow = "##\n## A cow\n##\n$the_cow = <<\"EOC\";\n  $thoughts\n   $thoughts (${eyes})\n  $tongue \\\\ \\@ \\$ \\/\nEOC\n";
        assert_eq!(parse(cow).as_deref(), Ok("  \\\n   \\ (oo)\n     \\ @ $ /"));
    }

    #[test]
    fn its_mark_may_be_bare_quoted_or_without_a_semicolon() {
        for mark in ["<<EOC;", "<<EOC", "<<\"EOC\";", "<< \"EOC\" ;", "<<\"EOC\""] {
            assert_eq!(parse(&format!("$the_cow = {mark}\n$eyes\nEOC\n")).as_deref(), Ok("oo"), "{mark}");
            assert_eq!(parse(&format!("$the_cow={mark}\n$eyes\nEOC")).as_deref(), Ok("oo"), "{mark}");
        }
    }

    #[test]
    fn between_single_quotes_nothing_is_interpolated() {
        assert_eq!(parse("$the_cow = <<'EOC';\n$eyes \\\\ @foo\nEOC\n").as_deref(), Ok("$eyes \\\\ @foo"));
    }

    #[test]
    fn line_ends_of_windows_and_a_final_true_are_fine() {
        assert_eq!(parse("# cow\r\n$the_cow = <<EOC;\r\n$eyes\r\nEOC\r\n1;\r\n").as_deref(), Ok("oo"));
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_goes_and_an_at_sign_alone_stays() {
        assert_eq!(parse("$the_cow = <<EOC;\n/@  \\\n@\nEOC\n").as_deref(), Ok("/@  \n@"));
    }

    #[test]
    fn what_would_have_to_be_run_is_refused_with_its_line() {
        assert_eq!(
            refusal("# three eyes\n$extra = chop($eyes);\n$the_cow = <<EOC;\nx\nEOC\n"),
            (2, Problem::Statement)
        );
        assert_eq!(refusal("$the_cow = <<EOC;\nx\nEOC\nsystem('ls');\n"), (4, Problem::Statement));
        assert_eq!(refusal("$the_cow = <<EOC . `id`;\nx\nEOC\n"), (1, Problem::Mark));
        assert_eq!(refusal("$the_cow = `id`;\n"), (1, Problem::Statement));
    }

    #[test]
    fn what_perl_would_take_for_something_else_is_refused() {
        let cow = |line: &str| format!("$the_cow = <<EOC;\nmoo\n{line}\nEOC\n");
        for (line, problem) in [
            ("$udder", Problem::Variable("$udder".to_owned())),
            ("$eyes[0]", Problem::Variable("$eyes[".to_owned())),
            ("${eyes}{a}", Problem::Variable("$eyes{".to_owned())),
            ("US$", Problem::Sigil),
            ("$ 5", Problem::Sigil),
            ("$5", Problem::Sigil),
            ("${eyes", Problem::Sigil),
            ("me@home", Problem::Sigil),
            ("@9", Problem::Sigil),
            ("\\e[31m", Problem::Escape('e')),
            ("\\x41", Problem::Escape('x')),
            ("\u{1b}[31m", Problem::Control(0x1b)),
            ("a\tb", Problem::Control(9)),
        ] {
            assert_eq!(refusal(&cow(line)), (3, problem), "{line}");
        }
    }

    #[test]
    fn a_file_without_a_cow_is_refused() {
        assert_eq!(refusal(""), (1, Problem::NoCow));
        assert_eq!(refusal("# nothing\n\n"), (2, Problem::NoCow));
        assert_eq!(refusal("$the_cow = <<EOC;\nmoo\n"), (2, Problem::NoEnd("EOC".to_owned())));
        assert_eq!(refusal("$the_cow = <<EOC;\n  \nEOC\n"), (3, Problem::Blank));
    }
}
