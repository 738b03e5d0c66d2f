//! How the values of flags are written: whole numbers, sizes, times, rates.
//!
//! A parser checks its bounds. Its error is one line that says what to write instead. The `show_` functions write defaults
//! and bounds, as a user would.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cows::bubble::BubbleKind;
use crate::events::Level;
use crate::limits;
use crate::log::Format;
use crate::policy::networks::Network;
use crate::protocol::art::Art;

/// The longest time that a flag takes.
pub(super) const DAY: Duration = Duration::from_hours(24);

// The bounds that only a flag has; `limits` has those that something else relies on.
pub(super) const LINE_BYTES_ALLOWED: RangeInclusive<usize> = 16..=64 * 1024;
pub(super) const SENDQ_BYTES_ALLOWED: RangeInclusive<usize> = limits::SENDQ_BYTES_MIN..=1 << 30;
pub(super) const CONNECTIONS_PER_ADDRESS_ALLOWED: RangeInclusive<usize> = 1..=1 << 20;
pub(super) const MAILBOX_FRAMES_ALLOWED: RangeInclusive<usize> = 1..=1 << 20;
pub(super) const DRAIN_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// At least one line in a second or a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRate {
    /// At least one.
    pub lines: u32,
    /// A second or a minute.
    pub per: Duration,
}

/// What clap takes as the parser of a `T`.
pub(super) trait Parse<T>: Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {}

impl<T, F: Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static> Parse<T> for F {}

pub(super) fn whole<T: TryFrom<usize>>(range: RangeInclusive<usize>) -> impl Parse<T> {
    number(range, "whole number", |text| text.parse().ok(), |number| number.to_string())
}

/// A number of bytes, with or without a unit.
pub(super) fn bytes<T: TryFrom<usize>>(range: RangeInclusive<usize>) -> impl Parse<T> {
    let read = |text: &str| {
        // bytesize reads a size that is too large as the largest.
        let size = || text.parse::<ByteSize>().ok()?.as_u64().try_into().ok().filter(|&size| size < usize::MAX);
        text.parse().ok().or_else(size)
    };
    number(range, "number of bytes such as 262144 or 256KiB,", read, show_bytes)
}

fn number<T: TryFrom<usize>>(
    range: RangeInclusive<usize>,
    what: &'static str,
    read: fn(&str) -> Option<usize>,
    show: fn(usize) -> String,
) -> impl Parse<T> {
    move |text: &str| {
        let number = read(text).filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| match range.clone().into_inner() {
            (least, usize::MAX) => format!("use a {what} from {}", show(least)),
            (least, most) => format!("use a {what} from {} to {}", show(least), show(most)),
        })
    }
}

/// A time, such as 500ms, 10s, 2m or 1h.
pub(super) fn time(least: Duration) -> impl Parse<Duration> {
    move |text: &str| {
        let time = humantime::parse_duration(text).ok().filter(|time| (least..=DAY).contains(time));
        time.ok_or_else(|| {
            format!("use a number and a unit such as 10s or 2m, from {} to {}", show_time(least), show_time(DAY))
        })
    }
}

/// Whole seconds, which users are told of or the kernel takes, or `off`.
pub(super) fn seconds_or_off(most: Duration) -> impl Parse<Option<Duration>> {
    or_off(seconds(most))
}

/// How long a ban may last: a year of 365.25 days at most.
pub(super) fn ban_time() -> impl Parse<Duration> {
    seconds(Duration::from_secs(31_557_600))
}

fn seconds(most: Duration) -> impl Parse<Duration> {
    move |text: &str| {
        let time = humantime::parse_duration(text).ok();
        let time = time.filter(|time| (Duration::from_secs(1)..=most).contains(time) && time.subsec_nanos() == 0);
        time.ok_or_else(|| format!("use whole seconds such as 90s or 10m, from 1s to {}", show_time(most)))
    }
}

/// A network as the server writes it.
pub(super) fn network(text: &str) -> Result<String, String> {
    text.parse::<Network>().map(|network| network.to_string()).map_err(|error| error.to_string())
}

/// What `parse` takes, or `off`.
pub(super) fn or_off<T>(parse: impl Parse<T>) -> impl Parse<Option<T>> {
    move |text: &str| match text {
        "off" => Ok(None),
        _ => parse(text).map(Some).map_err(|advice| advice + ", or off"),
    }
}

pub(super) fn rate(text: &str) -> Result<LineRate, String> {
    let per = match text.split_once('/') {
        Some((lines, "s")) => Some((lines, Duration::from_secs(1))),
        Some((lines, "m")) => Some((lines, Duration::from_mins(1))),
        _ => None,
    };
    let rate = per.and_then(|(lines, per)| {
        let lines = lines.parse().ok().filter(|lines| (1..=limits::FLOOD_LINES_MAX).contains(lines))?;
        Some(LineRate { lines: lines as u32, per })
    });
    rate.ok_or_else(|| "use a whole number a second or a minute, such as 5/s or 30/m (1/m to 1000000/s)".to_owned())
}

/// The variable of a flag without a value.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("use 1 or 0, true or false, yes or no, on or off".to_owned()),
    }
}

pub(super) fn art() -> impl TypedValueParser<Value = Art> {
    let names = PossibleValuesParser::new(Art::ALL.map(Art::name));
    names.map(|name| Art::from_name(&name).unwrap_or_default())
}

/// One word, as cows' names are.
pub(super) fn cow(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_word { Ok(text.to_owned()) } else { Err("use a cow's name, such as tux or tux#2".to_owned()) }
}

/// How a time looks, as in strftime(3).
pub(super) fn time_format() -> impl Parse<String> {
    |text: &str| match jiff::fmt::strtime::format(text, &jiff::ZonedDateTime::now()) {
        Ok(time) if time.contains(char::is_control) => Err("use a format without control characters".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error} (use conversions of strftime(3), such as %H:%M)")),
    }
}

pub(super) fn bubble() -> impl TypedValueParser<Value = BubbleKind> {
    let names = PossibleValuesParser::new(BubbleKind::NAMES);
    names.map(|name| BubbleKind::from_name(&name).unwrap_or_default())
}

pub(super) fn log_format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::NAMES).map(|name| Format::from_name(&name).unwrap_or_default())
}

pub(super) fn level() -> impl TypedValueParser<Value = Level> {
    PossibleValuesParser::new(["error", "warn", "info"]).map(|name| match name.as_str() {
        "error" => Level::Error,
        "warn" => Level::Warn,
        _ => Level::Info,
    })
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse()
        .map_err(|_| "use an IP address and a port, such as 127.0.0.1:1337, 0.0.0.0:1337 or [::1]:1337".to_owned())?;
    match address {
        // It means another machine on each interface and does not say which (RFC 4007).
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(
            "a link-local address needs its interface's number, as in [fe80::1%2]:1337 (`ip link` shows the numbers)"
                .to_owned(),
        ),
        _ => Ok(address),
    }
}

/// With the largest unit that needs no fraction.
pub(super) fn show_bytes(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// In one word, which a shell takes without quotes.
pub(super) fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

pub(super) fn show_rate(lines_a_second: u32) -> String {
    format!("{lines_a_second}/s")
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    /// Reads each of `good` as it is meant, and answers each of `bad` with `advice`.
    fn check<T: PartialEq + Debug>(parse: impl Parse<T>, good: &[(&str, T)], bad: &[&str], advice: &str) {
        for (text, value) in good {
            assert_eq!(parse(text).as_ref(), Ok(value), "{text}");
        }
        for text in bad {
            assert_eq!(parse(text).err().as_deref(), Some(advice), "{text}");
        }
    }

    #[test]
    fn a_number_is_whole_and_within_its_bounds() {
        let bad = ["", "0", "11", "-1", "5x", "5 ", "0x5", "1.0", "99999999999999999999"];
        check(whole::<u32>(1..=10), &[("1", 1), ("10", 10)], &bad, "use a whole number from 1 to 10");
        check(whole::<u64>(1..=usize::MAX), &[], &["0"], "use a whole number from 1");
    }

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        let good = [
            ("57344", 57_344),
            ("56KiB", 57_344),
            ("256kib", 1 << 18),
            ("0.25 MiB", 1 << 18),
            ("1GB", 1_000_000_000),
            ("1GiB", 1 << 30),
        ];
        let bad = ["", "57343", "55KiB", "2GB", "12x", "KiB", "-1", "1e9", "99999999999999999999"];
        let advice = "use a number of bytes such as 262144 or 256KiB, from 56KiB to 1GiB";
        check(bytes::<usize>(57_344..=1 << 30), &good, &bad, advice);
        let good = [("18446744073709551615", u64::MAX), ("15EiB", 15 << 60)];
        let bad = ["16EiB", "15.9999999999999999EiB", "18446744073709551616", "18446744073709551616B", "1e30", "99EB"];
        let advice = "use a number of bytes such as 262144 or 256KiB, from 1";
        check(bytes::<u64>(1..=usize::MAX), &good, &bad, advice);
    }

    #[test]
    fn a_time_has_a_unit() {
        let good = [("500ms", 500), ("10s", 10_000), ("1h 30m", 5_400_000), ("1440m", 86_400_000)];
        let bad = ["", "10", "s", "-1s", "0s", "1441m", "99999999999s", "10é", "off"];
        let advice = "use a number and a unit such as 10s or 2m, from 1ms to 1day";
        let good = good.map(|(text, millis)| (text, Duration::from_millis(millis)));
        check(time(Duration::from_millis(1)), &good, &bad, advice);
    }

    #[test]
    fn a_timeout_is_off_or_whole_seconds() {
        let good = [("off", None), ("1s", Some(1)), ("2000ms", Some(2)), ("32767s", Some(32_767))];
        let bad = ["", "Off", "0", "0s", "1500ms", "1", "32768s"];
        let advice = "use whole seconds such as 90s or 10m, from 1s to 9h6m7s, or off";
        let good = good.map(|(text, seconds)| (text, seconds.map(Duration::from_secs)));
        check(seconds_or_off(limits::KEEPALIVE_MAX), &good, &bad, advice);
    }

    #[test]
    fn a_rate_is_lines_a_second_or_a_minute() {
        let good = [("5/s", 5, 1), ("1/m", 1, 60), ("1000000/s", 1_000_000, 1)];
        let bad = ["", "5", "/s", "0/s", "5/h", "5/", "1000001/s", "-1/s", "5 /s", "5/s/s"];
        let advice = "use a whole number a second or a minute, such as 5/s or 30/m (1/m to 1000000/s)";
        let good = good.map(|(text, lines, seconds)| (text, LineRate { lines, per: Duration::from_secs(seconds) }));
        check(rate, &good, &bad, advice);
        check(or_off(rate), &[("off", None)], &[""], &format!("{advice}, or off"));
    }

    #[test]
    fn a_switch_is_set_by_any_usual_word() {
        assert!(["1", "true", "TRUE", "yes", "on"].iter().all(|word| switch(word) == Ok(true)));
        assert!(["", "0", "false", "No", "off"].iter().all(|word| switch(word) == Ok(false)));
        assert!(["2", "maybe", " 1"].iter().all(|word| switch(word).is_err()));
    }
}
