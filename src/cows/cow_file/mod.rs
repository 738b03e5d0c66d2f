//! Cow files: `.cow`, of the Perl program, and `.chara`, of charasay. Both assign one picture to a variable, in a small part
//! of Perl (`perl.rs`).
//!
//! A file is drawn to the byte as cowsay 3.8 draws it, which takes files for UTF-8, or refused with a line and a reason.
//! There are two differences: a tab becomes the blanks that a terminal would leave, and a picture with colours ends without
//! them. A picture holds characters and colours, nothing that moves a cursor.

mod identifier;
mod interpolation;
mod perl;
mod problem;
mod source;

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

use super::half::halve;
use super::plain::shade;
use super::sgr::{Token, tokens};
use perl::{Value, value_of};
use problem::ProblemAt;
pub use problem::{CowFileError, Problem};

/// The original's defaults.
const EYES: &str = "oo";
const TONGUE: &str = "  ";

/// charasay's variable `$x`: the terminal's own background.
const NO_BACKGROUND: &str = "\x1b[49m  ";

/// The end of all colours.
const RESET: &str = "\x1b[0m";

/// The columns between a terminal's tab stops.
const TAB_COLUMNS: usize = 8;

/// The two kinds of cow files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of the Perl program.
    Classic,
    /// Of charasay.
    Chara,
}

impl Kind {
    /// The kind of a file by its extension.
    pub fn of_extension(extension: &str) -> Option<Kind> {
        match extension {
            "cow" => Some(Kind::Classic),
            "chara" => Some(Kind::Chara),
            _ => None,
        }
    }

    /// The variable that the picture is assigned to.
    fn variable(self) -> &'static str {
        match self {
            Kind::Classic => "the_cow",
            Kind::Chara => "the_chara",
        }
    }
}

/// What a cow file draws, without an LF at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// As the file says, with its colours.
    pub colour: String,
    /// That at half its width and height.
    pub half: String,
    /// Without colours: what these paint in ASCII characters.
    pub plain: String,
}

/// What a cow file draws, with the usual eyes and tongue. `thoughts` leads from the bubble to the cow: `\` if it speaks.
///
/// # Errors
/// When Perl might draw it otherwise, or it would do more to a terminal than colour it.
pub fn parse(source: &str, kind: Kind, thoughts: &str) -> Result<Picture, CowFileError> {
    // A byte-order mark adds nothing, and Perl reads CR LF as LF.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let source = if source.contains("\r\n") { Cow::Owned(source.replace("\r\n", "\n")) } else { Cow::Borrowed(source) };
    let lines = source.lines().count().max(1);
    let line_of = |at: usize| (1 + memchr::memchr_iter(b'\n', &source.as_bytes()[..at]).count()).min(lines);
    let error = |at, problem| CowFileError { line: line_of(at), problem };

    let pointer = format!("{thoughts} ");
    let mut presets = vec![("thoughts", thoughts), ("eyes", EYES), ("tongue", TONGUE)];
    if kind == Kind::Chara {
        presets.extend([("x", NO_BACKGROUND), ("t", &pointer)]);
    }
    let value = value_of(&source, kind.variable(), &presets).map_err(|ProblemAt { at, problem }| error(at, problem))?;
    let no_picture = || error(source.len(), Problem::NoPicture(kind.variable()));
    let Value { text, from } = value.ok_or_else(no_picture)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let colour = drawn(text).map_err(|(row, control)| {
        // Each line of a heredoc is a row.
        CowFileError { line: (line_of(from) + row).min(lines), problem: Problem::Control(control.into()) }
    })?;
    let plain = if colour.contains('\x1b') { shade(&colour) } else { colour.clone() };
    if plain.trim().is_empty() {
        return Err(error(from, Problem::Blank));
    }
    let half = halve(&colour);
    Ok(Picture { colour, half, plain })
}

/// `text` with blanks for its tabs, and no colour at its end; or the row and value of its first control character that is
/// no colour.
fn drawn(text: &str) -> Result<String, (usize, char)> {
    let mut drawn = String::with_capacity(text.len());
    let (mut row, mut column, mut is_coloured) = (0, 0, false);
    for token in tokens(text) {
        match token {
            Token::Character('\n') => {
                (row, column) = (row + 1, 0);
                drawn.push('\n');
            }
            Token::Character('\t') => {
                let blanks = TAB_COLUMNS - column % TAB_COLUMNS;
                column += blanks;
                drawn.extend(std::iter::repeat_n(' ', blanks));
            }
            Token::Character(control) if control.is_control() => return Err((row, control)),
            Token::Character(character) => {
                column += character.width().unwrap_or_default();
                drawn.push(character);
            }
            Token::Sgr(parameters) => {
                is_coloured = !matches!(parameters, "" | "0");
                drawn.extend(["\x1b[", parameters, "m"]);
            }
        }
    }
    if is_coloured {
        drawn.push_str(RESET);
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawing(source: &str) -> String {
        parse(source, Kind::Classic, "\\").unwrap_or_else(|error| panic!("{error}: {source}")).colour
    }

    fn refusal(source: &str) -> (usize, Problem) {
        let error = parse(source, Kind::Classic, "\\").expect_err(source);
        (error.line, error.problem)
    }

    /// A file whose picture is this line, the fourth.
    fn heredoc(line: &str) -> String {
        format!("$a = \"\\e[48;5;16m  \";\n$the_cow = <<EOC;\nmoo\n{line}\nEOC\n")
    }

    /// What that line draws.
    fn line(line: &str) -> String {
        drawing(&heredoc(line)).strip_prefix("moo\n").expect("the line before it").to_owned()
    }

    #[test]
    fn a_heredoc_is_the_picture() {
        let cow = "##\n## A cow\n##\n$the_cow = <<\"EOC\";\n  $thoughts\n   $thoughts (${eyes})\n  $tongue \\\\ \\@ \\$ \\/\nEOC\n";
        assert_eq!(drawing(cow), "  \\\n   \\ (oo)\n     \\ @ $ /");
        let think = parse("$the_cow = <<EOC;\n$thoughts ${thoughts}\nEOC\n", Kind::Classic, "o");
        assert_eq!(think.map(|picture| picture.colour).as_deref(), Ok("o o"));
    }

    #[test]
    fn its_mark_may_be_bare_quoted_or_without_a_semicolon() {
        for mark in ["<<EOC;", "<<EOC", "<<\"EOC\";", "<< \"EOC\" ;", "<<\"EOC\"", "<<EOC; # moo", "<<EOC # moo;"] {
            assert_eq!(drawing(&format!("$the_cow = {mark}\n$eyes\nEOC\n")), "oo", "{mark}");
            assert_eq!(drawing(&format!("$the_cow={mark}\n$eyes\nEOC")), "oo", "{mark}");
        }
        assert_eq!(drawing("$the_cow = <<\"E O;C\";\nEOC\nE O;C\n"), "EOC");
        assert_eq!(drawing("$the_cow = <<'';\n$eyes\n\n"), "$eyes");
        for bad in ["<<", "<< EOC", "<<~EOC", "<<\\EOC", "<<1EOC", "<<\"EOC", "<<\"E\\\"C\"", "<<`EOC`"] {
            assert_eq!(refusal(&format!("$the_cow = {bad};\nmoo\nEOC\n")), (1, Problem::Mark), "{bad}");
        }
    }

    #[test]
    fn between_single_quotes_nothing_is_replaced() {
        assert_eq!(drawing("$the_cow = <<'EOC';\n$eyes \\\\ @foo\nEOC\n"), "$eyes \\\\ @foo");
        assert_eq!(drawing("$the_cow = '$eyes \\\\ \\' \\n é';"), "$eyes \\ ' \\n é");
    }

    #[test]
    fn cr_lf_a_byte_order_mark_and_a_final_true_are_accepted() {
        assert_eq!(drawing("\u{feff}# cow\r\n$the_cow = <<EOC;\r\n$eyes\r\nEOC\r\n1;\r\n"), "oo");
        assert_eq!(refusal("$the_cow = <<EOC\n$eyes\nEOC\n1;\n"), (4, Problem::Statement), "a syntax error to Perl");
    }

    #[test]
    fn assignments_before_the_picture_are_followed() {
        for (before, picture, drawn) in [
            ("$a = \"<$thoughts>\"; my $b = '$a'; $c = $a . $b;", "$a ${b} $c", "<\\> $a <\\>$a"),
            ("$a = <<A . <<'B' . \"c\";\n1$eyes\nA\n2$eyes\nB\n", "$a", "1oo\n2$eyes\nc"),
            ("$a = \"x\" x 3; $a .= ($a x 2) . 7;", "$a", "xxxxxxxxx7"),
            ("$eye = chop($eyes);", "$eye $eyes", "o o"),
            ("$extra = chop $eyes; $eyes .= ($extra x 2);", "$eyes", "ooo"),
            ("chop($eyes); chop($eyes); chop($eyes); chop $nothing;", "<$eyes>", "<>"),
            ("$eyes = \"..\" unless ($eyes); $tongue = 'U ' if $eyes eq 'oo';", "$eyes $tongue|", "oo U |"),
            ("$eyes = '  ' unless ($eyes ne 'oo');", "<$eyes>", "<  >"),
            ("unless ($x) { $x = 'a'; $y = 'b' }", "$x$y", "ab"),
            ("if (!$x) { if ($eyes) { $x = 1; } else { $x = 2 } } else { $x = 3; }", "$x", "1"),
            ("if (0) { $eyes = '--'; chop($tongue); }", "$eyes$tongue|", "oo  |"),
            ("$a = 'a\nb';", "$a", "a\nb"),
            (";;", "$nothing.", "."),
            ("use utf8;\nbinmode STDOUT, ':utf8';", "▀ é", "▀ é"),
            ("use  utf8; binmode(STDOUT, \":utf8\");", "▀ é", "▀ é"),
        ] {
            assert_eq!(drawing(&format!("{before}\n$the_cow = <<EOC;\n{picture}\nEOC\n")), drawn, "{before}");
        }
        assert_eq!(drawing("$cow = <<EOC;\nmoo\nEOC\n$the_cow = $cow;\n$the_cow .= $cow; 1;"), "moo\nmoo");
    }

    #[test]
    fn escapes_are_those_of_perl() {
        for (source, drawn) in [
            ("\\e[1mx\\033[m\\x1b[1mx\\x{1b}[0m\u{1b}[1;31mx\\33[m", "\x1b[1mx\x1b[m\x1b[1mx\x1b[0m\x1b[1;31mx\x1b[m"),
            ("\\N{U+2584}\\x{2580}\\xe9\\x{e9}\\351\\x41\\101\\q\\_\\é", "▄▀éééAAq_é"),
            ("\\\"\\'\\`\\|\\(", "\"'`|("),
            ("x\\", "x"),
        ] {
            assert_eq!(line(source), drawn, "{source}");
        }
        assert_eq!(line("a\\nb"), "a\nb");
        for bad in "\\cA \\Ux \\LX\\E \\Q \\N{BULLET} \\N{U+} \\x{} \\x{g} \\x{d800} \\o{1} \\x".split(' ') {
            let escape = bad.chars().nth(1).expect("a letter");
            assert_eq!(refusal(&heredoc(bad)), (4, Problem::Escape(escape)), "{bad}");
        }
    }

    #[test]
    fn a_name_after_a_sigil_is_a_variable_or_nothing() {
        for (source, drawn) in [
            ("<$udder> <${udder}> <${ eyes }>", "<> <> <oo>"),
            ("me@home @ @", "me @ @"),
            ("$eyes' $eyes- $eyes>$eyes.▄", "oo' oo- oo>oo.▄"),
            ("$eyes▄$a\\[", "oo▄\x1b[48;5;16m  [\x1b[0m"),
        ] {
            assert_eq!(line(source), drawn, "{source}");
        }
        for bad in ["US$", "$ 5", "$5", "${eyes", "${}", "$$", "$)", "@{x}", "@$x", "@-", "@é"] {
            assert_eq!(refusal(&heredoc(bad)), (4, Problem::Sigil), "{bad}");
        }
        for bad in ["@INC", "$_", "@message", "${version}"] {
            let name = bad.replace(['{', '}'], "");
            assert_eq!(refusal(&heredoc(bad)), (4, Problem::Name(name)), "{bad}");
        }
        assert_eq!(drawing("$version = 'moo';\n$the_cow = \"$version\";"), "moo");
        for (bad, shown) in [
            ("$eyes[0]", "$eyes["),
            ("${eyes}{a}", "$eyes{"),
            ("$eyes'x", "$eyes'"),
            ("$eyes::", "$eyes::"),
            ("$eyes->[0]", "$eyes->["),
            ("$eyesé", "$eyesé"),
            ("$eyes\u{301}", "$eyes\u{301}"),
            ("$eyes\u{203f}", "$eyes\u{203f}"),
            ("$eyes'é", "$eyes'"),
            ("@a[0]", "@a["),
        ] {
            assert_eq!(refusal(&heredoc(bad)), (4, Problem::Subscript(shown.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_tab_goes_to_the_next_eighth_column() {
        assert_eq!(line("a\tb\\t\\e[1m\t▄世\tc"), "a       b       \x1b[1m        ▄世     c\x1b[0m");
    }

    #[test]
    fn what_would_do_more_to_a_terminal_is_refused_with_its_line() {
        for (bad, control) in [
            ("\\e[2J", 0x1b),
            ("\u{1b}]0;x", 0x1b),
            ("\\e[1", 0x1b),
            ("\\a", 7),
            ("\\b", 8),
            ("a\rb", 13),
            ("\\x9b31m", 0x9b),
            ("\\0", 0),
        ] {
            assert_eq!(refusal(&heredoc(bad)), (4, Problem::Control(control)), "{bad:?}");
        }
    }

    #[test]
    fn what_would_have_to_be_run_is_refused_with_its_line() {
        #[rustfmt::skip]
        let in_the_first = [
            "$the_cow = <<EOC . `id`;\nx\nEOC\n", "$the_cow = `id`;", "$the_cow == 1;", "$the_cow =~ 1;",
            "$the_cow << 1;", "$the_cow = 007;", "$the_cow = 1.5;", "$the_cow = 1e3;", "@a = (1);", "$a[0] = 1;",
            "if (1) { $a = 1;", "}", "print 'moo';", "$a = substr($eyes, 1);", "$a = 'm' x 010;", "$a = 'm' x 1.5;",
            "$a = 99999999999999999999;", "my $the_cow = 'moo';", "if (1) { my $a = 1; }", "my $a .= 'x';",
            "my $a = 'x' if 0;", "our $a = 'x';", "$a = $eyes . chop($eyes);", "$a = chop $eyes . 'b';",
            "binmode STDOUT, ':crlf';",
        ];
        let in_others = [("# moo\nsystem('ls');\n", 2), ("\n\nuse strict;", 3), ("$a = 1\n$b = 2;", 2)];
        for (source, line) in in_the_first.map(|source| (source, 1)).into_iter().chain(in_others) {
            assert_eq!(refusal(source), (line, Problem::Statement), "{source}");
        }
        let deep = |depth: usize| format!("$the_cow = {}1{};", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(drawing(&deep(10)), "1");
        assert_eq!(refusal(&deep(100_000)).1, Problem::Statement);
    }

    #[test]
    fn a_file_without_a_picture_is_refused() {
        let none = Problem::NoPicture("the_cow");
        assert_eq!(refusal(""), (1, none.clone()));
        assert_eq!(refusal("# nothing\n\n"), (2, none.clone()));
        assert_eq!(refusal("$the_cow = 'moo' if 0;"), (1, none.clone()));
        assert_eq!(refusal("$frogs = <<EOC;\nmoo\nEOC\n"), (3, none));
        assert_eq!(refusal("$the_cow = <<EOC;\nmoo\n"), (2, Problem::NoEnd("EOC".to_owned())));
        assert_eq!(refusal("$the_cow = <<EOC;"), (1, Problem::NoEnd("EOC".to_owned())));
        assert_eq!(refusal("$the_cow = <<EOC;\n  \nEOC\n"), (2, Problem::Blank));
        assert_eq!(refusal("$the_cow = \"moo;\n"), (1, Problem::OpenString));
        assert_eq!(refusal("$the_cow = <<EOC . 'a\nmoo\nEOC\nb';"), (1, Problem::OpenString));
    }

    #[test]
    fn what_a_file_makes_of_its_strings_is_bounded() {
        assert_eq!(refusal("$the_cow = 'moo' x 99999999;").1, Problem::TooLong);
        assert_eq!(refusal("$the_cow = 'moo' x 99999999999999999999;").1, Problem::Statement);
        let doubling = format!("$a = 'moo';\n{}", "$a .= $a . \"$a$a\";\n".repeat(60));
        assert_eq!(refusal(&doubling).1, Problem::TooLong);
        let nested = format!("$a = 'moo' x 9999;\n{}", "$b = \"$a$a$a$a\";\n".repeat(1000));
        assert_eq!(refusal(&nested).1, Problem::TooLong);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_can_be_drawn(
            opener in r#"(|use utf8;\n|\$a = ("\\e\[4[0-9]m "|'moo' x 9|chop\(\$eyes\)|[ -~]{0,8});\n?){0,3}(\$the_cow = <<("EOC"|'EOC'|EOC)|\PC{0,12});?(\r?\n)"#,
            lines in r#"([ -~é▀\t\r]|\$(thoughts|eyes|a|\{tongue\})|\\[\\@$etnxN0]|\x1b\[[0-9]?[mJ]|\n){0,80}"#,
            end in "(\nEOC(\n(1;)?)?)?",
        ) {
            if let Ok(picture) = parse(&(opener + &lines + &end), Kind::Classic, "\\") {
                prop_assert!(!picture.plain.trim().is_empty(), "{:?}", picture);
                prop_assert!(crate::cows::sgr::is_colour_only(&picture.colour), "{:?}", picture);
                prop_assert!(!picture.plain.contains(|c: char| c.is_control() && c != '\n'), "{:?}", picture);
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(source in r#"([$@\\"'<(){};.=!#\n]|EOC|chop|if|unless|else|use|my|x|eq|the_cow|a|[ -~]|é){0,60}"#) {
            let _ = parse(&source, Kind::Classic, "\\");
        }
    }
}
