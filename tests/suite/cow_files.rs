//! Cows from files: what `--cow-dir` loads, what it skips and says about it, and that the classic ones look
//! as the original draws them.
//!
//! Servers are real; each test has its own directory, removed with it. The original is Debian's `cowsay`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Client, SENDQ_BYTES_MIN, Scratch, Server, count_of, serve};
use charasay::bubbles::{BubbleType, SpeechBubble};
use cowchat::cows::cow_file::{self, Kind};
use cowchat::cows::half::halve;
use cowchat::limits::{COW_BODY_BYTES_MAX, COW_FILE_BYTES_MAX, COW_FILES_MAX};
use unicode_width::UnicodeWidthChar;

/// Where Debian's package puts the original and its cows.
const ORIGINAL: &str = "/usr/games/cowsay";
const ORIGINAL_COWS: &str = "/usr/share/cowsay/cows";

const MOO: &str = "$the_cow = <<EOC;\n$thoughts moo\nEOC\n";

/// A directory of cow files.
struct Cows(Scratch);

impl Cows {
    fn new(files: &[(&str, &str)]) -> Cows {
        let cows = Cows(Scratch::new());
        for (file, text) in files {
            cows.put(file, text);
        }
        cows
    }

    fn put(&self, file: impl AsRef<OsStr>, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(file.as_ref()), text).expect("a file can be written");
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    /// A server that has these cows.
    fn serve(&self) -> Server {
        Server::with(&["--cow-dir", self.path()])
    }

    /// Asserts that the log says of each file what is said here, and of no other file anything.
    fn are_skipped(&self, server: &Server, skipped: &[(&str, &str)]) {
        for (file, reason) in skipped {
            let path = format!("{}/{file}", self.path());
            let line = server.log_event("cow_skipped", &[("level", "WARN"), ("path", &path)]);
            assert_eq!(line.field("error"), *reason, "{file}");
        }
        // What is logged of a connection stands after all that was logged at the start.
        server.core_of(&server.connect());
        let all = server.log_events("cow_skipped", &[]);
        assert_eq!(all.len(), skipped.len(), "{all:?}");
    }
}

/// Has `cow` say hi, which must be delivered as a bubble and this body.
fn looks(server: &Server, cow: &str, body: &str) {
    let mut tux = server.login("tux");
    is_seen(server, &mut tux, cow, body);
    assert_eq!(tux.ask("quit"), "Goodbye.");
    assert_eq!(tux.read_to_end(), "", "nothing stands below {cow}");
}

fn is_seen(server: &Server, receiver: &mut Client, cow: &str, body: &str) {
    says_and_leaves(server, cow, "say tux hi", "Sent to tux");
    let bubble = SpeechBubble::new(BubbleType::Cowsay).create("hi", &40).expect("charasay draws");
    receiver.expect(&format!("{cow} says to you:\n{bubble}{body}\n"));
}

/// One line from this cow, which is free again afterwards.
fn says_and_leaves(server: &Server, cow: &str, line: &str, reply: &str) {
    let mut client = server.login(cow);
    assert_eq!(client.ask(line), reply);
    assert_eq!(client.ask("quit"), "Goodbye.");
}

fn has_cows(server: &Server, count: usize) {
    assert!(server.announcement.contains(&format!(" {count} cows, ")), "{}", server.announcement);
}

#[test]
fn each_kind_of_classic_file_looks_as_it_is_drawn() {
    let cows = Cows::new(&[
        ("bare.cow", "$the_cow = <<EOC;\n $thoughts\n  ($eyes) $tongue|\nEOC\n"),
        ("double.cow", "## a\n\n$the_cow = <<\"E O C\";\n ${thoughts} ${eyes}\nE O C\n1;\n"),
        ("single.cow", "$the_cow = <<'EOC';\n $thoughts \\\\ @moo\nEOC\n"),
        ("no-semicolon.cow", "$the_cow =<<EOC\n\\\\ \\@ \\$ \\/ @\nEOC"),
        ("windows.cow", "# moo\r\n$the_cow = <<EOC;\r\n moo  \r\n\r\nEOC\r\n"),
        ("utf8.cow", "$the_cow = <<EOC;\n▄▀é\nEOC\n"),
        ("tabs.cow", "$the_cow = <<EOC;\n\tmoo\t$eyes\nEOC\n"),
        ("eye.cow", "$eye = chop($eyes);\nunless ($x) { $x = \"<$eye>\"; }\n$the_cow = <<EOC;\n$x $y me@home\nEOC\n"),
        ("A_b.C-9.cow", MOO),
    ]);
    let server = cows.serve();
    has_cows(&server, 24 + 9);
    for (cow, body) in [
        ("bare", " \\\n  (oo)   |"),
        ("double", " \\ oo"),
        ("single", " $thoughts \\\\ @moo"),
        ("no-semicolon", "\\ @ $ / @"),
        ("windows", " moo  \n"),
        ("utf8", "▄▀é"),
        ("tabs", "        moo     oo"),
        ("eye", "<o>  me"),
        ("A_b.C-9", "\\ moo"),
    ] {
        looks(&server, cow, body);
    }
    cows.are_skipped(&server, &[]);
}

#[test]
fn a_chara_file_is_drawn_as_by_charasay_and_ends_uncoloured() {
    let source = "# moo\n$x = \"\\e[49m  \";\n$t = \"$thoughts \";\n$a = \"\\e[48;5;16m  \";\n\n\
                  $the_chara = <<EOC\n  $t\n   $t $a$a$x\n      $a moo\nEOC\n";
    let cows = Cows::new(&[("night.chara", source)]);
    let server = cows.serve();
    has_cows(&server, 24 + 1);
    looks(
        &server,
        "night",
        "  \\ \n   \\  \u{1b}[48;5;16m  \u{1b}[48;5;16m  \u{1b}[49m  \n      \u{1b}[48;5;16m   moo\u{1b}[0m",
    );
    cows.are_skipped(&server, &[]);
}

#[test]
fn a_thinking_cow_has_its_pointer_in_each_art() {
    let chara = "$a = \"\\e[48;5;16m  \";\n$the_chara = <<EOC\n  $t\n $a$x moo\nEOC\n";
    let cows = Cows::new(&[("moo.cow", "$the_cow = <<EOC;\n$thoughts moo \nEOC\n"), ("night.chara", chara)]);
    let server = Server::with(&["--cow-dir", cows.path(), "--bubble", "think"]);
    let mut tux = server.login("tux");
    let bubble = SpeechBubble::new(BubbleType::Think).create("hi", &40).expect("charasay draws");
    for (art, cow, body) in [
        ("color", "moo", "o moo "),
        ("color", "night", "  o \n \u{1b}[48;5;16m  \u{1b}[49m   moo\u{1b}[0m"),
        ("half", "moo", "o moo "),
        ("half", "night", "\x1b[38;5;16m▄▄ \x1b[mmo"),
        ("plain", "moo", "o moo "),
        ("plain", "night", "  o\n ##   moo"),
    ] {
        assert_eq!(tux.ask(&format!("art {art}")), format!("Art is {art}"));
        let mut sender = server.login(cow);
        assert_eq!(sender.ask("say tux hi"), "Sent to tux");
        tux.expect(&format!("{cow} says to you:\n{bubble}{body}\n"));
        sender.quit();
    }
}

#[test]
fn a_bad_cow_file_is_skipped_and_the_log_says_where_and_why() {
    let cows = Cows::new(&[
        ("run.cow", "# moo\n$extra = `date`;\n$the_cow = <<EOC;\n$extra\nEOC\n"),
        ("sigil.cow", "$the_cow = <<EOC;\nmoo\nUS$ 5\nEOC\n"),
        ("endless.cow", "$the_cow = <<EOC;\nmoo\n"),
        ("empty.cow", ""),
        ("escape.cow", "$the_cow = <<EOC;\n\u{1b}[2J\nEOC\n"),
        ("latin1.cow", MOO),
        ("screen.chara", "$the_chara = <<EOC\nmoo\n\\e[2J\nEOC\n"),
        ("none.chara", "moo\n"),
        ("blank.chara", "$the_chara = <<EOC\n\nEOC\n"),
        ("two words.cow", MOO),
        (".hidden.cow", MOO),
        ("GOOD.chara", "$the_chara = <<EOC\nmoo\nEOC\n"),
        ("Ferris.cow", MOO),
        ("readme.txt", "not a cow"),
        ("COPYING", "not a cow"),
        ("good.cow", MOO),
    ]);
    cows.put("latin1.cow", b"# moo\n# G\xfcrkan\n$the_cow = <<EOC;\nmoo\nEOC\n");
    let longest = format!("{}.cow", "x".repeat(33));
    cows.put(&longest, MOO);
    cows.put(OsStr::from_bytes(b"esc\x1b[2J\n.cow"), MOO);
    let server = cows.serve();
    has_cows(&server, 24 + 1);
    looks(&server, "GOOD", "moo");
    let name =
        "its name cannot be a cow's: rename it to 1 to 32 of A-Z a-z 0-9 . _ - before the extension, and no dot first";
    let other = format!("{}/GOOD.chara has that name but for its case: rename one to have both", cows.path());
    cows.are_skipped(
        &server,
        &[
            (
                "run.cow",
                "line 2: this would have to be run, and only assignments of strings are read: write what it gives instead",
            ),
            ("sigil.cow", "line 3: a bare $ or @ means something to Perl: write \\$ or \\@"),
            ("endless.cow", "line 2: the heredoc does not end: write a line with nothing but EOC"),
            ("empty.cow", "line 1: there is no picture: write $the_cow = <<EOC; before it and EOC after it"),
            ("escape.cow", "line 2: the control character U+001B is no colour (\\e[...m): take it out"),
            ("latin1.cow", "line 2: it is not UTF-8 (iconv can turn Latin-1 into that)"),
            ("screen.chara", "line 3: the control character U+001B is no colour (\\e[...m): take it out"),
            (
                "none.chara",
                "line 1: this would have to be run, and only assignments of strings are read: write what it gives instead",
            ),
            ("blank.chara", "line 2: the picture is blank: draw something"),
            ("two words.cow", name),
            (".hidden.cow", name),
            ("good.cow", &other),
            ("Ferris.cow", "the built-in ferris stays: rename the file to have both"),
            (&longest, name),
            ("esc\x1b[2J\n.cow", name),
        ],
    );
}

#[test]
fn only_regular_files_are_opened() {
    let cows = Cows::new(&[("good.cow", MOO)]);
    let fifo = Command::new("mkfifo").arg(cows.0.join("fifo.cow")).status().expect("mkfifo runs");
    assert!(fifo.success());
    fs::create_dir(cows.0.join("folder.cow")).expect("a directory");
    fs::create_dir(cows.0.join("more")).expect("a directory");
    cows.put("more/deep.cow", MOO);
    let links = [
        ("good.cow", "linked.cow"),
        ("nosuch", "dangling.cow"),
        ("fifo.cow", "piped.chara"),
        ("/proc/self/status", "status.cow"),
        ("/proc/self/mem", "memory.cow"),
        ("/proc/self/fd/0", "input.cow"),
    ];
    for (to, link) in links {
        std::os::unix::fs::symlink(to, cows.0.join(link)).expect("a link");
    }
    let server = cows.serve();
    has_cows(&server, 24 + 2);
    looks(&server, "linked", "\\ moo");
    assert_eq!(server.connect().ask("login deep"), "error: no cow named deep (try cows)");
    let no_file = "it is no regular file: give one, or a link to one";
    let of_proc = "it is a file of /proc: give one that is stored somewhere";
    cows.are_skipped(
        &server,
        &[
            ("fifo.cow", no_file),
            ("folder.cow", no_file),
            ("piped.chara", no_file),
            ("status.cow", of_proc),
            ("memory.cow", of_proc),
            ("input.cow", no_file),
            ("dangling.cow", "it cannot be read: No such file or directory (os error 2)"),
        ],
    );
}

#[test]
fn files_and_pictures_have_a_largest_size() {
    let cow = |body: &str| format!("$the_cow = <<EOC;\n{body}\nEOC\n");
    let wide = "x".repeat(COW_BODY_BYTES_MAX + 1);
    // Each half of a cell is a mixture, which only 24 bits can name.
    let [upper, lower] = [[1, 2, 3, 4], [5, 6, 1, 4]].map(|row| row.map(|colour| format!("\x1b[4{colour}m ")).concat());
    let mixed = format!("{}\n{}", upper.repeat(500), lower.repeat(500));
    let mixed_bytes = halve(&format!("{mixed}\x1b[0m")).len();
    assert!(mixed.len() < COW_BODY_BYTES_MAX && mixed_bytes > COW_BODY_BYTES_MAX, "{mixed_bytes}");
    let cows = Cows::new(&[
        ("most.cow", &cow(&wide[1..])),
        ("wide.cow", &cow(&wide)),
        ("mixed.cow", &cow(&mixed)),
        ("good.cow", MOO),
    ]);
    let comment = |bytes: usize| format!("{MOO}#{}", "x".repeat(bytes - MOO.len() - 1));
    cows.put("long.cow", comment(COW_FILE_BYTES_MAX));
    cows.put("longer.cow", comment(COW_FILE_BYTES_MAX + 1));
    let server = cows.serve();
    has_cows(&server, 24 + 3);
    looks(&server, "most", &"x".repeat(COW_BODY_BYTES_MAX));
    looks(&server, "long", "\\ moo");
    cows.are_skipped(
        &server,
        &[
            ("wide.cow", "its picture has 32769 bytes, 32768 are the most: draw it smaller or with fewer colours"),
            ("longer.cow", "it is larger than 65536 bytes: make it smaller"),
            (
                "mixed.cow",
                &format!(
                    "its picture has {mixed_bytes} bytes, 32768 are the most: draw it smaller or with fewer colours"
                ),
            ),
        ],
    );
}

#[test]
fn the_largest_cow_fits_into_the_smallest_send_queue() {
    let cow = format!("$the_cow = <<EOC;\n{}\nEOC\n", "x".repeat(COW_BODY_BYTES_MAX));
    let cows = Cows::new(&[("large.cow", &cow)]);
    let server = Server::with(&["--cow-dir", cows.path(), "--sendq-bytes-max", SENDQ_BYTES_MIN, "--sendq-stall", "1m"]);
    let mut tux = server.login("tux");
    // Words of 21 columns do not share a line of 40: as many lines as a text of 4000 bytes can have.
    let line = format!("say tux {}", "moomoomoomoomoomoomoo ".repeat(4000 / 22 + 1));
    assert_eq!(server.login("large").ask(&line[..4000]), "Sent to tux");
    assert_eq!(tux.read_line(), "large says to you:");
    while tux.read_line() != "x".repeat(COW_BODY_BYTES_MAX) {}
    assert_eq!(tux.ask("who tux"), "Registered users: tux");
}

#[test]
fn a_built_in_cow_stays_and_of_two_files_the_first() {
    let first =
        Cows::new(&[("tux.cow", MOO), ("moo.cow", MOO), ("both.cow", MOO), ("both.chara", "$the_chara = 'chara';")]);
    let second = Cows::new(&[("mew.chara", "moo"), ("moo.cow", "$the_cow = <<EOC;\nsecond\nEOC\n")]);
    first.put("repaired.chara", "broken");
    first.put("repaired.cow", MOO);
    let server = Server::with(&["--cow-dir", first.path(), "--cow-dir", second.path()]);
    has_cows(&server, 24 + 3);
    let mut ferris = server.login("ferris");
    says_and_leaves(&server, "tux", "say ferris hi", "Sent to ferris");
    ferris.expect_message("tux", true, "hi");
    looks(&server, "moo", "\\ moo");
    looks(&server, "both", "chara");
    looks(&server, "repaired", "\\ moo");
    let error = |cows: &Cows, file: &str| {
        let path = format!("{}/{file}", cows.path());
        server.log_event("cow_skipped", &[("path", &path)]).field("error").to_owned()
    };
    assert_eq!(error(&first, "tux.cow"), "the built-in tux stays: rename the file to have both");
    assert_eq!(error(&second, "mew.chara"), "the built-in mew stays: rename the file to have both");
    let stays = |file: &str| format!("{}/{file} is the cow of that name: rename one to have both", first.path());
    assert_eq!(error(&first, "both.cow"), stays("both.chara"));
    assert_eq!(error(&second, "moo.cow"), stays("moo.cow"));
    assert!(error(&first, "repaired.chara").starts_with("line 1: "));
}

#[test]
fn cows_past_the_thousandth_are_skipped() {
    let cows = Cows::new(&[]);
    for number in 0..=COW_FILES_MAX {
        cows.put(format!("moo{number:04}.cow"), MOO);
    }
    let server = cows.serve();
    has_cows(&server, 24 + COW_FILES_MAX);
    looks(&server, "moo0999", "\\ moo");
    cows.are_skipped(&server, &[("moo1000.cow", "1000 cows from files are the most: take others out")]);
}

#[test]
fn an_empty_directory_adds_nothing() {
    let cows = Cows::new(&[]);
    let server = cows.serve();
    has_cows(&server, 24);
    cows.are_skipped(&server, &[]);
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_at_the_start() {
    let cows = Cows::new(&[("good.cow", MOO)]);
    let nosuch = format!("{}/nosuch", cows.path());
    let file = format!("{}/good.cow", cows.path());
    for (path, reason) in
        [(&nosuch, "No such file or directory (os error 2)"), (&file, "Not a directory (os error 20)")]
    {
        let flags = ["--cow-dir", cows.path(), "--cow-dir", path];
        let Err(said) = Server::try_with("127.0.0.1:0", &flags) else { panic!("it starts") };
        let expected = format!(
            "cowchat: cannot read the directory of --cow-dir, {path}: {reason} (give a directory of .cow and .chara \
             files) (exit status: 2)"
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn the_environment_variable_holds_directories_between_colons() {
    let [first, second] = ["north", "south"].map(|name| Cows::new(&[(&format!("{name}.cow"), MOO)]));
    let mut command = serve(&["--cores", "2"]);
    command.env("COWCHAT_COW_DIR", format!("{}:{}", first.path(), second.path()));
    let server = Server::started(command);
    has_cows(&server, 24 + 2);
    looks(&server, "north", "\\ moo");
    looks(&server, "south", "\\ moo");
}

/// What the original draws for a file, with blanks for its tabs and no colours at its end, and no LF there.
fn original(file: &Path) -> String {
    // The eyes come from flags, the bubble of two letters is three lines.
    let drawn = Command::new(ORIGINAL).arg("-f").arg(file).arg("hi").env("LC_ALL", "C.UTF-8").output();
    let drawn = drawn.unwrap_or_else(|error| panic!("{ORIGINAL}: {error}: install Debian's package cowsay"));
    assert!(drawn.status.success(), "{}: {drawn:?}", file.display());
    let drawn = String::from_utf8(drawn.stdout).expect("the original writes UTF-8");
    let body = drawn.strip_prefix(" ____\n< hi >\n ----\n").and_then(|body| body.strip_suffix('\n'));
    let body = body.unwrap_or_else(|| panic!("no bubble and body: {drawn}"));
    let lines: Vec<String> = body.split('\n').map(without_tabs).collect();
    let last_colour = body.rsplit_once("\x1b[").map_or("m", |(_, colour)| colour);
    lines.join("\n") + if last_colour.starts_with('m') || last_colour.starts_with("0m") { "" } else { "\x1b[0m" }
}

/// A line as a terminal shows it.
fn without_tabs(line: &str) -> String {
    let (mut shown, mut column, mut is_colour) = (String::new(), 0, false);
    for character in line.chars() {
        is_colour |= character == '\x1b';
        match character {
            '\t' => {
                let blanks = 8 - column % 8;
                shown.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            _ => {
                shown.push(character);
                column += if is_colour { 0 } else { character.width().unwrap_or_default() };
            }
        }
        is_colour &= character != 'm';
    }
    shown
}

#[test]
fn the_originals_own_cows_look_as_the_original_draws_them() {
    let entries = fs::read_dir(ORIGINAL_COWS);
    let entries = entries.unwrap_or_else(|error| panic!("{ORIGINAL_COWS}: {error}: install Debian's package cowsay"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cow"));
    files.sort();
    assert!(files.len() >= 47, "Debian's package has 47 cows: {files:?}");

    let server = Server::with(&["--cow-dir", ORIGINAL_COWS]);
    let mut tux = server.login("tux");
    // One is there already, and in the other `@9` is an array or not, by how Perl reads the file.
    for file in files.iter().filter(|file| !file.ends_with("tux.cow") && !file.ends_with("calvin.cow")) {
        let cow = file.file_stem().and_then(OsStr::to_str).expect("a name in ASCII");
        is_seen(&server, &mut tux, cow, &original(file));
    }
    has_cows(&server, 24 + files.len() - 2);
    for (file, begin) in
        [("tux.cow", "the built-in tux stays"), ("calvin.cow", "line 33: a bare $ or @ means something to Perl")]
    {
        let skipped = server.log_event("cow_skipped", &[("path", &format!("{ORIGINAL_COWS}/{file}"))]);
        assert!(skipped.field("error").starts_with(begin), "{skipped:?}");
    }
}

/// A file of what published cow files are made of. Every seed gives another one.
fn generated(seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut one_of = |pieces: &[&str]| pieces[random.usize(..pieces.len())].to_owned();
    let mut source = String::new();
    const STATEMENTS: &[&str] = &[
        "# a comment; $a = \"not this\";",
        "",
        "binmode STDOUT, \":utf8\";",
        "$x = \"\\e[49m  \";                 #reset color",
        "$t = \"$thoughts \";",
        "$a = \"\\e[48;5;16m  \";",
        "$b = \"\\033[48;2;1;2;3m  \"; $c = \"\\x1b[0m\";",
        "my $d = 'single $a \\\\ \\' \\e';",
        "$a = \"$a|${b}\";",
        "$eye = chop($eyes);",
        "$extra = chop($eyes); $eyes .= ($extra x 2);",
        "$eyes .= \" $eye\";",
        "$eyes = \"..\" unless ($eyes);",
        "$tongue = 'U ' if ($eyes eq 'oo');",
        "$eyes = '  ' unless ($eyes ne 'oo');",
        "unless ($a) {\n  $a = 'a';\n  $b = \"b\" . $thoughts;\n}",
        "if ($tongue ne '  ') { $t = 1 } else { $t = \"x\" x 3; }",
        "$c = <<E . \"($a)\";\nof $eyes\nE",
        "$d = \"two\nlines\";",
    ];
    const PIECES: &[&str] = &[
        "$thoughts",
        "${thoughts}",
        "$eyes",
        "${eyes}",
        "$tongue",
        "$a",
        "$b",
        "$c ",
        "$d",
        "$x",
        "$t",
        "$eye ",
        "$nothing ",
        "${nothing}",
        "me@home ",
        "@ ",
        "\\@",
        "\\$",
        "\\\\",
        "\\/",
        "\\\"",
        "' ",
        "\\e[31m",
        "\\033[m",
        "\\x1b[1m",
        "\x1b[7m",
        "\\N{U+2584}",
        "\\x{2580}",
        " \\xe9",
        "\\351 ",
        "▄",
        " é ",
        " 世 ",
        "\t",
        "\\t",
        "  ",
        "(__)",
        ")\\\\/\\\\",
        "||----w |",
        "#",
        "%",
        "&",
        "*",
        ";",
        "\"",
        "`",
        "<",
        ">",
        "=",
        "~",
        ",",
        ".",
        "!",
        "?",
        "\\q",
        "\\_",
        "moo ",
        "\\\n",
        "\n",
        "\n",
        "\n",
    ];
    for _ in 0..6 {
        source += &(one_of(STATEMENTS) + "\n");
    }
    let (mark, end) =
        [("EOC;", "EOC"), ("\"EOC\";", "EOC"), (" \"E O C\"", "E O C"), ("'EOC';", "EOC"), ("EOF", "EOF")]
            [usize::try_from(seed % 5).expect("it is small")];
    source += &format!("$the_cow = <<{mark}\nmoo ");
    for _ in 0..30 {
        source += &one_of(PIECES);
    }
    source + &format!("\n{end}\n")
}

/// `COWCHAT_COW_FILES` is how many files are generated.
#[test]
fn generated_cow_files_look_as_the_original_draws_them() {
    let cows = Cows::new(&[]);
    let file = cows.0.join("moo.cow");
    for seed in 0..count_of("COWCHAT_COW_FILES", 100) as u64 {
        let source = generated(seed);
        let picture = cow_file::parse(&source, Kind::Classic, "\\");
        let picture = picture.unwrap_or_else(|error| panic!("seed {seed}: {error}:\n{source}"));
        // Debian's is 3.03, which takes a file for Latin-1 without this.
        fs::write(&file, format!("use utf8;\n{source}")).expect("a file can be written");
        assert_eq!(picture.colour, original(&file), "seed {seed}:\n{source}");
    }
}
