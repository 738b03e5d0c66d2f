//! What one step of a message's path costs, room by room:
//!
//! - `line`: bytes to lines; `command`: a line to a command; `sanitize`: making a line safe
//! - `draw`: a picture, as charasay alone draws it and as the herd does; `scripts`: texts that are not ASCII, or odd
//! - `directory`: claiming and looking up a cow
//! - `shard`: the commands that walk all cows, `who` and `cows`
//! - `hop`: from one core to another and back over the mesh, one frame alone and 256 at once
//!
//! `cargo bench --bench micro` runs all (under a minute), `cargo bench --bench micro -- draw` one room. Times of a shared
//! machine mean little: compare two rows of one run, or the same row before and after a change, run in turns.

#![allow(missing_docs, reason = "criterion_group! makes a public function and gives it no comment")]

mod hop;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use charasay::bubbles::BubbleType;
use charasay::{Chara, format_character};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use cowchat::cows::bubble::{Bubble, BubbleKind};
use cowchat::cows::{CowId, Herd};
use cowchat::directory::{Claims, Directory};
use cowchat::ids::{ConnectionId, ShardId};
use cowchat::limits::{BUBBLE_COLUMNS, BUBBLE_COLUMNS_ALLOWED, LINE_BYTES_MAX, READ_BYTES, TURN_FRAMES};
use cowchat::metrics::{CoreMetrics, Metrics};
use cowchat::protocol::art::Art;
use cowchat::protocol::command::{Command, Standing};
use cowchat::protocol::line::LineBuffer;
use cowchat::protocol::name::Name;
use cowchat::protocol::text::sanitize;
use cowchat::shard::{Drawing, Frame, Message, Rendering, Rules, Shard, ShardContext, name};

/// A sentence, a paragraph, a page, the longest line.
const TEXT_BYTES: [usize; 4] = [36, 250, 1000, LINE_BYTES_MAX];

/// Texts of other scripts, and those that cost most.
const SCRIPTS: [(&str, &str); 15] = [
    ("cyrillic", "Вчера забор у реки опять упал, и половина из нас пошла посмотреть, как там. "),
    ("cjk", "昨日川のそばの柵がまた倒れて私たちの半分は向こう側を見に行きました。"),
    ("hangul", "어제 강가의 울타리가 또 쓰러져서 우리 절반은 건너편을 보러 갔다. "),
    ("emoji", "🐄🌾🐮🥛😀🎉"),
    ("emoji and words", "moo 🐄 yes 🌾 hay 👍🏽 ok ❤\u{fe0f} "),
    ("families", "👩\u{200d}👩\u{200d}👧\u{200d}👦"),
    ("flags", "🇩🇪🇫🇷🇯🇵"),
    ("marks", "e\u{301}\u{302}\u{303}\u{304}"),
    ("arabic ligatures", "لا"),
    ("variants", "\u{627}\u{fe0f}"),
    ("devanagari conjuncts", "क\u{94d}"),
    ("wide, one word", "世"),
    ("blanks between two", "a                                                                              "),
    ("no blanks", "x"),
    ("one byte and a blank", "x "),
];

/// Texts of 2, 36, 120 and 250 bytes: a greeting, a sentence, three of them, a paragraph.
const TEXTS: [&str; 4] = [
    "hi",
    "the grass is greener on this meadow.",
    "the grass is greener on this meadow, and the water of the brook is colder, too. nobody knows why that is so, ask the cow",
    "Last night the fence by the river fell again, and half of us went to see what the other side is like. \
     It is wetter. The clover is good, though, and nobody minds if you stand in the shade all day, so we \
     stayed until the farmer came with the young dog.",
];

/// The scripts that cost most on wide lines.
const WORST_WIDE: [&str; 3] = ["families", "arabic ligatures", "variants"];

fn line(c: &mut Criterion) {
    let mut group = c.benchmark_group("line");
    let short = b"say tux hi there\n".to_vec();
    let glued = short.repeat(READ_BYTES / short.len());
    // What a telnet client sends: options, CR NUL as the end of a line, a doubled IAC.
    let from_telnet = b"\xff\xfb\x1f\xff\xfd\x01say tux \xff\xff hi\xff\xf1 there\r\0".to_vec();
    let telnet = from_telnet.repeat(READ_BYTES / from_telnet.len());
    for (name, input) in [("one short", &short), ("16 KiB glued", &glued), ("16 KiB telnet", &telnet)] {
        let mut buffer = LineBuffer::new(LINE_BYTES_MAX);
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                buffer.feed(black_box(input));
                while let Some(line) = buffer.next_line() {
                    let _ = black_box(line);
                }
            });
        });
    }
    group.finish();
}

fn command(c: &mut Criterion) {
    let mut group = c.benchmark_group("command");
    let tux = Standing::Registered(Name { breed: "tux", number: 1 });
    for (name, line) in [("who", "who"), ("say", "say ferris \"hi there\""), ("unknown", "moo to all of you")] {
        group.bench_function(name, |b| b.iter(|| black_box(Command::parse(black_box(line), tux)).is_ok()));
    }
    group.finish();
}

fn sanitizing(c: &mut Criterion) {
    let mut group = c.benchmark_group("sanitize");
    let ascii = TEXTS[3].as_bytes().to_vec();
    // Colours, a title, an escape with no end, a bidi override, a zero-width blank, and invalid UTF-8.
    let hostile = b"\x1b[31mmoo\x1b]0;owned\x07 \x1b[999 \xe2\x80\xae\xe2\x80\x8b\xff\xc3\x00moo\x1bP".repeat(7);
    // Letters of two, three and four bytes, and more marks on one letter than are kept.
    let wide = "привет, 世界 😀 e\u{301}\u{302}\u{303}\u{304}\u{305} ".repeat(6).into_bytes();
    for (name, input) in [("ascii", &ascii), ("hostile", &hostile), ("wide and combining", &wide)] {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(name, |b| b.iter(|| sanitize(black_box(input)).len()));
    }
    group.finish();
}

/// A message as it is sent, in one rendering: bubble and body around the text.
fn draw(c: &mut Criterion) {
    let mut group = c.benchmark_group("draw");
    let herd = builtin();
    let [tux, _] = two_cows(&herd);
    let drawing = Drawing { herd: &herd, header: true };
    for text in TEXTS {
        group.bench_with_input(BenchmarkId::new("charasay, color", text.len()), text, |b, text| {
            let chara = Chara::Builtin("tux".to_owned());
            b.iter(|| format_character(black_box(text), &chara, BUBBLE_COLUMNS, BubbleType::Cowsay).map(|s| s.len()));
        });
    }
    for art in [Art::Color, Art::Half, Art::Small] {
        let rendering = Rendering::of(art);
        for bytes in TEXT_BYTES {
            let text = repeated(TEXTS[3], bytes);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_with_input(BenchmarkId::new(art.name(), text.len()), &text, |b, text| {
                b.iter(|| Message::new(tux, black_box(text), false, None).draw(drawing, rendering).len());
            });
        }
    }
    group.finish();
}

/// Texts of other scripts, and those that cost most: the time must grow with their length and not faster.
fn scripts(c: &mut Criterion) {
    let mut group = c.benchmark_group("scripts");
    let rendering = Rendering::of(Art::Small);
    let usual =
        SCRIPTS.into_iter().flat_map(|script| [256, 1024, LINE_BYTES_MAX].map(|bytes| (script, bytes, BUBBLE_COLUMNS)));
    let wide = SCRIPTS.into_iter().filter(|(name, _)| WORST_WIDE.contains(name));
    let wide = wide.map(|script| (script, LINE_BYTES_MAX, *BUBBLE_COLUMNS_ALLOWED.end()));
    for ((name, piece), bytes, columns) in usual.chain(wide) {
        let bubble = Bubble::new(BubbleKind::default(), columns);
        let cows = Herd::builtin(&bubble).expect("charasay's cows are a bubble and a body");
        let herd = Herd::new(cows, 1, bubble).expect("24 names");
        let [tux, _] = two_cows(&herd);
        let drawing = Drawing { herd: &herd, header: true };
        let text = repeated(piece, bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new(name, format!("{bytes}, {columns} columns")), &text, |b, text| {
            b.iter(|| Message::new(tux, black_box(text), false, None).draw(drawing, rendering).len());
        });
    }
    group.finish();
}

/// Whole characters of `piece`, repeated, as many as fit into `bytes`.
fn repeated(piece: &str, bytes: usize) -> String {
    let mut text: String = piece.chars().cycle().take(bytes).collect();
    text.truncate(text.floor_char_boundary(bytes));
    text
}

fn directory(c: &mut Criterion) {
    let mut group = c.benchmark_group("directory");
    let herd = builtin();
    let directory = Directory::new(herd.breeds().len(), 4200, 1).expect("memory");
    let mut claims = Claims::new(Arc::clone(&directory), ShardId::new(0));
    let [taken, free] = two_cows(&herd);
    let connection = ConnectionId::new(0);
    let _claim = claims.claim(taken, connection).expect("no other claim");
    group.bench_function("claim and release", |b| b.iter(|| claims.claim(black_box(free), connection).is_some()));
    group.bench_function("claim of a taken cow", |b| b.iter(|| claims.claim(black_box(taken), connection).is_some()));
    for size in [4200, 65_536] {
        let directory = Directory::new(herd.breeds().len(), size, 1).expect("memory");
        let mut claims = Claims::new(directory, ShardId::new(0));
        let mut any = || claims.claim_any(black_box(free.breed()), connection);
        group.bench_function(format!("claim of any of {size}, all free"), |b| b.iter(|| any().is_some()));
        let _held: Vec<_> = (1..size).filter_map(|_| any()).collect();
        group.bench_function(format!("claim of any of {size}, the last"), |b| b.iter(|| any().is_some()));
    }
    group.bench_function("owner", |b| b.iter(|| directory.owner(black_box(taken))));
    group.finish();
}

fn shard(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    for size in [1, 4200] {
        for (how, every) in [("every second", 2), ("every", 1)] {
            let herd = herd_of(size);
            let cows = herd.len();
            let mut shard = registered(herd, every);
            let asking = ConnectionId::new(cows);
            for line in ["who", "who tux#42", "cows"] {
                group.bench_function(BenchmarkId::new(line, format!("{cows} cows, {how} registered")), |b| {
                    b.iter(|| shard.on_line(asking, black_box(line.as_bytes()).into()).reply.len());
                });
            }
        }
    }
    group.finish();
}

/// A shard on which every first, second ... cow of `herd` is registered.
fn registered(herd: Herd, every: usize) -> Shard {
    let context = ShardContext::new(Arc::new(herd), 1, Rules::default()).expect("memory");
    let id = ShardId::new(0);
    let herd = Arc::clone(&context.herd);
    let mut shard = Shard::new(id, context, CoreMetrics::new(Metrics::new(1), id));
    let of = |breed| (1..=herd.size()).map(move |number| (breed, number));
    let named = herd.breeds().flat_map(of).filter_map(|(breed, number)| herd.find(herd.name(breed), number));
    let cows: Vec<CowId> = named.step_by(every).collect();
    for (place, &cow) in cows.iter().enumerate() {
        let login = format!("login {}", name(&herd, cow));
        shard.on_line(ConnectionId::new(place), login.as_bytes().into());
    }
    assert_eq!(shard.registered().len(), cows.len());
    shard
}

/// There and back between two executors, each of which parks while the other works.
fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    let cores = hop::Cores::start(a_yield());
    for (name, frames) in [("one frame and back", 1), ("256 frames and one back", TURN_FRAMES)] {
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |b| b.iter_custom(|rounds| cores.measure(rounds, frames)));
    }
    group.finish();
}

/// A frame as `yield hi` makes it.
fn a_yield() -> Frame {
    let herd = builtin();
    let [cow, _] = two_cows(&herd);
    let mut claims = Claims::new(Directory::new(herd.len(), 1, 1).expect("memory"), ShardId::new(0));
    let claim = claims.claim(cow, ConnectionId::new(0)).expect("no other claim");
    Frame::Yield { message: Message::new(cow, "hi", false, None), author: claim.owner() }
}

fn builtin() -> Herd {
    herd_of(1)
}

/// charasay's breeds, with `size` cows each.
fn herd_of(size: u32) -> Herd {
    let cows = Herd::builtin(&Bubble::default()).expect("charasay's cows are a bubble and a body");
    Herd::new(cows, size, Bubble::default()).expect("24 names")
}

fn two_cows(herd: &Herd) -> [CowId; 2] {
    ["tux", "cow"].map(|name| herd.find(name, 1).expect("charasay has both"))
}

/// About a second and a half for each row: more samples add nothing on a shared machine.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .nresamples(5_000)
}

criterion_group! {
    name = rooms;
    config = short();
    targets = line, command, sanitizing, draw, scripts, directory, shard, hop
}
criterion_main!(rooms);
