//! Classic `.cow` files: small Perl programs that assign one heredoc to `$the_cow`.
//!
//! They are parsed and never evaluated. What the parser does not know for certain it refuses with a line
//! and a reason: a cow is drawn as the Perl original draws it where the locale is UTF-8, or not at all.
//! (perlop: "Quote and Quote-like Operators", heredocs and "Gory details of parsing quoted constructs".)

/// The eyes and the tongue when nobody has asked for others.
const EYES: &str = "oo";
const TONGUE: &str = "  ";

/// Statements that say how characters beyond ASCII are read and written; the first is the one that matters.
const USE_UTF8: &str = "use utf8;";
const OUTPUT_LAYERS: [&str; 4] = [
    "binmode STDOUT, \":utf8\";",
    "binmode STDOUT, ':utf8';",
    "binmode(STDOUT, \":utf8\");",
    "binmode(STDOUT, ':utf8');",
];

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
    #[error("Perl draws a character beyond ASCII as two or more, unless a line {USE_UTF8} stands before the heredoc")]
    Encoding,
    #[error("nothing is drawn")]
    Blank,
}

impl Problem {
    fn at(self, line: usize) -> ClassicError {
        ClassicError { line, problem: self }
    }
}

/// The body that a cow file draws, with the usual eyes and tongue, without an LF at its end. `thoughts` is
/// what leads from the bubble to the cow: `\` where it speaks.
///
/// # Errors
/// When anything in it is not certain to be drawn as Perl would.
pub fn parse(source: &str, thoughts: &str) -> Result<String, ClassicError> {
    // Perl skips a byte-order mark, but does not always take it for what `use utf8;` says.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut lines = source.lines().enumerate().map(|(at, line)| (at + 1, line));
    let mut is_utf8 = false;
    let mut last = 1;
    let heredoc = loop {
        let (line, text) = lines.next().ok_or(Problem::NoCow.at(last))?;
        last = line;
        let statement = words(text);
        if statement == USE_UTF8 {
            is_utf8 = true;
        } else if !is_idle(text) && !OUTPUT_LAYERS.contains(&statement.as_str()) {
            break heredoc(text).map_err(|problem| problem.at(line))?;
        }
    };
    let mut body = String::new();
    let mut is_ended = false;
    for (line, text) in lines.by_ref() {
        last = line;
        if text == heredoc.mark {
            is_ended = true;
            break;
        }
        let appended = check_characters(text, is_utf8).and_then(|()| heredoc.append(text, thoughts, &mut body));
        appended.map_err(|problem| problem.at(line))?;
    }
    if !is_ended {
        return Err(Problem::NoEnd(heredoc.mark.to_owned()).at(last));
    }
    let is_end = |text| is_idle(text) || heredoc.is_terminated && words(text) == "1;";
    if let Some((line, _)) = lines.find(|(_, text)| !is_end(text)) {
        return Err(Problem::Statement.at(line));
    }
    body.pop();
    if body.trim().is_empty() {
        return Err(Problem::Blank.at(last));
    }
    Ok(body)
}

/// What Perl skips, without the characters with which it does other things.
fn is_idle(text: &str) -> bool {
    let text = text.trim_start_matches(BLANKS);
    text.is_empty() || text.starts_with('#') && !text.contains(|c: char| c.is_control() && c != '\t')
}

/// A statement with its blanks evened out.
fn words(text: &str) -> String {
    text.split(BLANKS).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What is certain to separate words: Perl knows a few more, but not those that Unicode does.
const BLANKS: [char; 2] = [' ', '\t'];

/// The beginning of a heredoc.
struct Heredoc<'a> {
    /// The line at which it ends.
    mark: &'a str,
    /// Whether Perl looks for variables and escapes in it.
    interpolates: bool,
    /// Whether its statement has a semicolon, so that another may follow.
    is_terminated: bool,
}

impl Heredoc<'_> {
    fn append(&self, text: &str, thoughts: &str, body: &mut String) -> Result<(), Problem> {
        if self.interpolates {
            interpolate(text, thoughts, body)?;
        } else {
            body.push_str(text);
        }
        body.push('\n');
        Ok(())
    }
}

fn heredoc(text: &str) -> Result<Heredoc<'_>, Problem> {
    let assigned = text.trim_start_matches(BLANKS).strip_prefix("$the_cow").map(|rest| rest.trim_start_matches(BLANKS));
    let value = assigned.and_then(|rest| rest.strip_prefix('=')).ok_or(Problem::Statement)?;
    let value = value.trim_start_matches(BLANKS).strip_prefix("<<").ok_or(Problem::Statement)?;
    // Before a quoted mark Perl allows blanks.
    let quoted = value.trim_start_matches(BLANKS);
    let (mark, after, interpolates) = match quoted.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (mark, after) = quoted[1..].split_once(quote).ok_or(Problem::Mark)?;
            (mark, after, quote == '"')
        }
        _ => match identifier(value) {
            "" => return Err(Problem::Mark),
            mark => (mark, &value[mark.len()..], true),
        },
    };
    if mark.contains(|c: char| c == '\\' || c.is_control()) {
        return Err(Problem::Mark);
    }
    let rest = after.trim_start_matches([' ', '\t', ';']);
    if is_idle(rest) {
        let is_terminated = after[..after.len() - rest.len()].contains(';');
        Ok(Heredoc { mark, interpolates, is_terminated })
    } else {
        Err(Problem::Statement)
    }
}

fn check_characters(text: &str, is_utf8: bool) -> Result<(), Problem> {
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        return Err(Problem::Control(control.into()));
    }
    if is_utf8 || text.is_ascii() { Ok(()) } else { Err(Problem::Encoding) }
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
fn interpolate(text: &str, thoughts: &str, body: &mut String) -> Result<(), Problem> {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$', '@']) {
        body.push_str(&rest[..at]);
        let sigil = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match sigil {
            b'\\' => rest = escape(rest, body)?,
            b'$' => rest = variable(rest, thoughts, body)?,
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
fn variable<'a>(rest: &'a str, thoughts: &str, body: &mut String) -> Result<&'a str, Problem> {
    let (name, after) = match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or(Problem::Sigil)?,
        None => rest.split_at(identifier(rest).len()),
    };
    if name.is_empty() {
        return Err(Problem::Sigil);
    }
    body.push_str(match name {
        "thoughts" => thoughts,
        "eyes" => EYES,
        "tongue" => TONGUE,
        _ => return Err(Problem::Variable(format!("${name}"))),
    });
    // An element of an array or hash of that name, a package's variable, a longer name: not what it looks like.
    if ["[", "{", "->[", "->{", "::", "'"].iter().any(|subscript| after.starts_with(subscript))
        || after.starts_with(|next: char| !next.is_ascii())
    {
        return Err(Problem::Variable(format!("${name}{}", after.chars().next().unwrap_or_default())));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(source: &str) -> (usize, Problem) {
        let error = parse(source, "\\").expect_err("refused");
        (error.line, error.problem)
    }

    #[test]
    fn a_heredoc_is_the_body() {
        let cow = "##\n## A cow\n##\n$the_cow = <<\"EOC\";\n  $thoughts\n   $thoughts (${eyes})\n  $tongue \\\\ \\@ \\$ \\/\nEOC\n";
        assert_eq!(parse(cow, "\\").as_deref(), Ok("  \\\n   \\ (oo)\n     \\ @ $ /"));
    }

    #[test]
    fn what_leads_to_the_cow_is_given() {
        assert_eq!(parse("$the_cow = <<EOC;\n$thoughts ${thoughts}\nEOC\n", "o").as_deref(), Ok("o o"));
    }

    #[test]
    fn its_mark_may_be_bare_quoted_or_without_a_semicolon() {
        for mark in ["<<EOC;", "<<EOC", "<<\"EOC\";", "<< \"EOC\" ;", "<<\"EOC\"", "<<EOC; # moo", "<<EOC # moo;"] {
            assert_eq!(parse(&format!("$the_cow = {mark}\n$eyes\nEOC\n"), "\\").as_deref(), Ok("oo"), "{mark}");
            assert_eq!(parse(&format!("$the_cow={mark}\n$eyes\nEOC"), "\\").as_deref(), Ok("oo"), "{mark}");
        }
    }

    #[test]
    fn between_single_quotes_nothing_is_interpolated() {
        assert_eq!(parse("$the_cow = <<'EOC';\n$eyes \\\\ @foo\nEOC\n", "\\").as_deref(), Ok("$eyes \\\\ @foo"));
    }

    #[test]
    fn a_quoted_mark_may_be_anything_even_nothing() {
        assert_eq!(parse("$the_cow = <<\"E O;C\";\nEOC\nE O;C\n", "\\").as_deref(), Ok("EOC"));
        assert_eq!(parse("$the_cow = <<'';\n$eyes\n\n", "\\").as_deref(), Ok("$eyes"));
        for bad in ["<<", "<< EOC", "<<~EOC", "<<\\EOC", "<<1EOC", "<<\"EOC", "<<\"E\\\"C\"", "<<`EOC`"] {
            assert_eq!(refusal(&format!("$the_cow = {bad};\nmoo\nEOC\n")), (1, Problem::Mark), "{bad}");
        }
    }

    #[test]
    fn line_ends_of_windows_and_a_final_true_are_fine() {
        assert_eq!(parse("# cow\r\n$the_cow = <<EOC;\r\n$eyes\r\nEOC\r\n1;\r\n", "\\").as_deref(), Ok("oo"));
        assert_eq!(refusal("$the_cow = <<EOC\n$eyes\nEOC\n1;\n"), (4, Problem::Statement), "a syntax error to Perl");
    }

    #[test]
    fn characters_beyond_ascii_need_the_statement_that_announces_them() {
        let cow = "$the_cow = <<EOC;\n▀ é\nEOC\n";
        assert_eq!(refusal(cow), (2, Problem::Encoding));
        assert_eq!(refusal(&format!("\u{feff}{cow}")), (2, Problem::Encoding));
        assert_eq!(refusal(&format!("binmode STDOUT, ':utf8';\n{cow}")), (3, Problem::Encoding));
        assert_eq!(parse(&format!("use utf8;\n{cow}"), "\\").as_deref(), Ok("▀ é"));
        assert_eq!(parse(&format!("use  utf8;\nbinmode(STDOUT, \":utf8\");\n{cow}"), "\\").as_deref(), Ok("▀ é"));
        assert_eq!(parse("# by Gürkan\n$the_cow = <<EOC;\nmoo\nEOC\n", "\\").as_deref(), Ok("moo"));
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_goes_and_an_at_sign_alone_stays() {
        assert_eq!(parse("$the_cow = <<EOC;\n/@  \\\n@\nEOC\n", "\\").as_deref(), Ok("/@  \n@"));
    }

    #[test]
    fn what_would_have_to_be_run_is_refused_with_its_line() {
        assert_eq!(
            refusal("# three eyes\n$extra = chop($eyes);\n$the_cow = <<EOC;\nx\nEOC\n"),
            (2, Problem::Statement)
        );
        assert_eq!(refusal("$the_cow = <<EOC;\nx\nEOC\nsystem('ls');\n"), (4, Problem::Statement));
        assert_eq!(refusal("$the_cow = <<EOC . `id`;\nx\nEOC\n"), (1, Problem::Statement));
        assert_eq!(refusal("my $the_cow = <<EOC;\nx\nEOC\n"), (1, Problem::Statement));
        assert_eq!(refusal("$the_cow .= <<EOC;\nx\nEOC\n"), (1, Problem::Statement));
        assert_eq!(refusal("# moo\r$eyes = 'x';\n$the_cow = <<EOC;\nx\nEOC\n"), (1, Problem::Statement));
        assert_eq!(refusal("$the_cow = `id`;\n"), (1, Problem::Statement));
    }

    #[test]
    fn what_perl_would_take_for_something_else_is_refused() {
        let cow = |line: &str| format!("$the_cow = <<EOC;\nmoo\n{line}\nEOC\n");
        for (line, problem) in [
            ("$udder", Problem::Variable("$udder".to_owned())),
            ("$eyes[0]", Problem::Variable("$eyes[".to_owned())),
            ("${eyes}{a}", Problem::Variable("$eyes{".to_owned())),
            ("$eyes'", Problem::Variable("$eyes'".to_owned())),
            ("$eyes::", Problem::Variable("$eyes:".to_owned())),
            ("$eyes->[0]", Problem::Variable("$eyes-".to_owned())),
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
        assert_eq!(refusal("$the_cow = <<EOC;"), (1, Problem::NoEnd("EOC".to_owned())));
        assert_eq!(refusal("$the_cow = <<EOC;\n  \nEOC\n"), (3, Problem::Blank));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_can_be_drawn(
            opener in r#"(|use utf8;\n)(\$the_cow = <<("EOC"|'EOC'|EOC)|\PC{0,12});?(\r?\n)"#,
            lines in r#"([ -~é▀\t\r]|\$(thoughts|eyes|\{tongue\})|\\[\\@$]|\n){0,80}"#,
            end in "(\nEOC(\n(1;)?)?)?",
        ) {
            if let Ok(body) = parse(&(opener + &lines + &end), "\\") {
                prop_assert!(!body.trim().is_empty() && !body.contains(|c: char| c.is_control() && c != '\n'), "{}", body);
            }
        }
    }
}
