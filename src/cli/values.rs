//! How the values of flags are written: whole numbers, sizes, times, rates.
//!
//! A parser checks its bounds. Its error is one line that says what to write instead. The `show_` functions write defaults
//! and bounds, as a user would.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::limits;
use crate::protocol::art::Art;

/// The longest time that a flag takes.
pub(super) const DAY: Duration = Duration::from_hours(24);

/// Lines in a time.
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

/// A whole number.
pub(super) fn whole<T: TryFrom<usize>>(range: RangeInclusive<usize>) -> impl Parse<T> {
    number(range, "whole number", |text| text.parse().ok(), |number| number.to_string())
}

/// A number of bytes, with or without a unit.
pub(super) fn bytes<T: TryFrom<usize>>(range: RangeInclusive<usize>) -> impl Parse<T> {
    let read = |text: &str| text.parse::<ByteSize>().ok()?.as_u64().try_into().ok();
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
    let seconds = move |text: &str| {
        let time = humantime::parse_duration(text).ok();
        let time = time.filter(|time| (Duration::from_secs(1)..=most).contains(time) && time.subsec_nanos() == 0);
        time.ok_or_else(|| format!("use whole seconds such as 90s or 10m, from 1s to {}", show_time(most)))
    };
    or_off(seconds)
}

/// What `parse` takes, or `off`.
pub(super) fn or_off<T>(parse: impl Parse<T>) -> impl Parse<Option<T>> {
    move |text: &str| match text {
        "off" => Ok(None),
        _ => parse(text).map(Some).map_err(|advice| advice + ", or off"),
    }
}

/// Lines a second or a minute.
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
    use super::*;

    #[test]
    fn a_number_is_whole_and_within_its_bounds() {
        let parse = whole::<u32>(1..=10);
        assert_eq!(["1", "10"].map(&parse), [Ok(1), Ok(10)]);
        for bad in ["", "0", "11", "-1", "5x", "5 ", "0x5", "1.0", "99999999999999999999"] {
            assert_eq!(parse(bad), Err("use a whole number from 1 to 10".to_owned()), "{bad}");
        }
        assert_eq!(whole::<u64>(1..=usize::MAX)("0"), Err("use a whole number from 1".to_owned()));
    }

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        let parse = bytes::<usize>(57_344..=1 << 30);
        for (text, size) in [("57344", 57_344), ("56KiB", 57_344), ("1GiB", 1 << 30), ("1GB", 1_000_000_000)] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        assert_eq!((parse("256kib"), parse("0.25 MiB")), (Ok(1 << 18), Ok(1 << 18)));
        let advice = "use a number of bytes such as 262144 or 256KiB, from 56KiB to 1GiB";
        for bad in ["", "57343", "55KiB", "2GB", "12x", "KiB", "-1", "1e9", "99999999999999999999"] {
            assert_eq!(parse(bad), Err(advice.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        let parse = time(Duration::from_millis(1));
        for (text, millis) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h 30m", 5_400_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1440m"), Ok(DAY));
        let advice = "use a number and a unit such as 10s or 2m, from 1ms to 1day";
        for bad in ["", "10", "s", "-1s", "0s", "1441m", "99999999999s", "10é", "off"] {
            assert_eq!(parse(bad), Err(advice.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_off_or_whole_seconds() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        let parse = seconds_or_off(limits::KEEPALIVE_MAX);
        assert_eq!(["off", "1s", "2000ms"].map(&parse), [Ok(None), seconds(1), seconds(2)]);
        assert_eq!(parse("32767s"), seconds(32_767));
        let advice = "use whole seconds such as 90s or 10m, from 1s to 9h6m7s, or off";
        for bad in ["", "Off", "0", "0s", "1500ms", "1", "32768s"] {
            assert_eq!(parse(bad), Err(advice.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_lines_a_second_or_a_minute() {
        let a_rate = |lines, seconds| Ok(LineRate { lines, per: Duration::from_secs(seconds) });
        assert_eq!(["5/s", "1/m", "1000000/s"].map(rate), [a_rate(5, 1), a_rate(1, 60), a_rate(1_000_000, 1)]);
        for bad in ["", "5", "/s", "0/s", "5/h", "5/", "1000001/s", "-1/s", "5 /s", "5/s/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(or_off(rate)("off"), Ok(None));
    }

    #[test]
    fn a_switch_is_set_by_any_usual_word() {
        assert!(["1", "true", "TRUE", "yes", "on"].iter().all(|word| switch(word) == Ok(true)));
        assert!(["", "0", "false", "No", "off"].iter().all(|word| switch(word) == Ok(false)));
        assert!(["2", "maybe", " 1"].iter().all(|word| switch(word).is_err()));
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for size in [1, 1023, 1024, 4000, 57_344, 1 << 18, 1 << 20, (1 << 30) + 1, 1 << 40] {
            assert_eq!(bytes::<usize>(1..=usize::MAX)(&show_bytes(size)), Ok(size));
        }
        for seconds in [1, 30, 60, 600, 3600, 32_767] {
            let seconds = Duration::from_secs(seconds);
            assert_eq!(time(seconds)(&show_time(seconds)), Ok(seconds));
        }
    }
}
