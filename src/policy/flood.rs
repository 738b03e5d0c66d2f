//! Flood control: how long a connection's next line waits. Arithmetic only; time is told.
//!
//! A bucket holds lines and refills all the time. A line may run while the bucket is above zero, and may take it below:
//! after a yield to thousands its sender waits for as long as that is worth. A bucket is kept as the moment at which it
//! will be full, so it is one word, and nothing runs while time passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{FLOOD_BYTES, FLOOD_DEBT_MAX, FLOOD_RECEIVERS, FLOOD_REPLY_BYTES};

/// What a bucket is charged, in parts of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(u64);

impl Price {
    /// Parts of one line. A receiver, and a byte outside of lines, is a whole number of them.
    const LINE: u64 = FLOOD_RECEIVERS * FLOOD_BYTES;

    /// A line of `bytes` that reaches `receivers` others and is answered by `reply_bytes`.
    pub fn of_line(bytes: usize, receivers: usize, reply_bytes: usize) -> Self {
        let lines = 1 + bytes as u64 / FLOOD_BYTES + reply_bytes as u64 / FLOOD_REPLY_BYTES;
        let receivers = (receivers as u64).saturating_mul(Self::LINE / FLOOD_RECEIVERS);
        Price(lines.saturating_mul(Self::LINE).saturating_add(receivers))
    }

    /// Bytes that are in no line.
    pub fn of_waste(bytes: usize) -> Self {
        Price((bytes as u64).saturating_mul(Self::LINE / FLOOD_BYTES))
    }

    /// A message of `bytes`, for a [`SharedBucket`].
    pub(crate) fn of_message(bytes: usize) -> Self {
        Price((bytes as u64).saturating_mul(Self::LINE))
    }

    /// The same in lines.
    pub fn in_lines(self) -> f64 {
        self.0 as f64 / Self::LINE as f64
    }
}

/// How fast a bucket refills and how much it holds: lines of a connection, or bytes of messages of an address. This file
/// calls either unit a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds in which an empty bucket fills up.
    whole: u64,
    lines: u64,
    /// Microseconds in which it gets that many lines.
    per: u64,
}

impl Rate {
    /// `burst` lines at once, then `lines` in each `per`; all are at least 1, the time in microseconds.
    pub fn new(burst: u32, lines: u32, per: Duration) -> Self {
        let (lines, per) = (u64::from(lines.max(1)), micros(per).max(1));
        Rate { whole: (u64::from(burst.max(1)).saturating_mul(per) / lines).max(1), lines, per }
    }

    /// The microseconds that `price` is worth, rounded up: a sender gains no line in a year.
    fn cost(self, price: Price) -> u64 {
        price.0.saturating_mul(self.per).div_ceil(Price::LINE * self.lines)
    }
}

/// When a connection's next line may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Now,
    After(Duration),
    /// After more than [`FLOOD_DEBT_MAX`]: it is refused instead.
    TooSoon,
}

/// One connection's bucket: when it will be full, in microseconds of the server's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket(u64);

impl Bucket {
    pub const FULL: Bucket = Bucket(0);

    /// One that never empties.
    pub const EXEMPT: Bucket = Bucket(u64::MAX);

    /// One that will be full `debt` after `now`.
    pub fn with_debt(now: Duration, debt: Duration) -> Self {
        if debt.is_zero() { Bucket::FULL } else { Bucket(micros(now).saturating_add(micros(debt)).min(u64::MAX - 1)) }
    }

    /// How long it takes until it is full; zero if it is exempt.
    pub fn debt(self, now: Duration) -> Duration {
        if self.is_exempt() { Duration::ZERO } else { Duration::from_micros(self.0.saturating_sub(micros(now))) }
    }

    pub fn is_exempt(self) -> bool {
        self == Bucket::EXEMPT
    }

    pub fn pace(self, now: Duration, rate: Rate) -> Pace {
        match self.wait(now, rate) {
            Duration::ZERO => Pace::Now,
            wait if wait > FLOOD_DEBT_MAX => Pace::TooSoon,
            wait => Pace::After(wait),
        }
    }

    /// How long the next line waits at `now`; zero if it may run.
    pub fn wait(self, now: Duration, rate: Rate) -> Duration {
        let debt = micros(self.debt(now));
        // At zero it waits a microsecond: a line needs a bucket above zero.
        Duration::from_micros((debt + 1).saturating_sub(rate.whole))
    }

    pub fn charge(&mut self, now: Duration, rate: Rate, price: Price) {
        if !self.is_exempt() {
            self.0 = self.0.max(micros(now)).saturating_add(rate.cost(price)).min(u64::MAX - 1);
        }
    }
}

/// The bucket of one address, shared by its connections on all cores; its unit is a byte of messages.
///
/// What a message costs is known when it is drawn: an estimate is taken before that, and the difference settled after.
#[derive(Debug, Default)]
pub(crate) struct SharedBucket(AtomicU64);

impl SharedBucket {
    pub fn load(&self) -> Bucket {
        Bucket(self.0.load(Ordering::Relaxed))
    }

    /// Takes `price` if a message may go at `now`. Of several cores that ask at the same moment one goes first.
    #[must_use]
    pub fn try_take(&self, now: Duration, rate: Rate, price: Price) -> bool {
        let taken = |full_at| {
            let mut bucket = Bucket(full_at);
            let may_go = bucket.wait(now, rate).is_zero();
            bucket.charge(now, rate, price);
            may_go.then_some(bucket.0)
        };
        // Nothing else is published with the word, so no order is needed.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Replaces the `estimate` that was taken by the `price`.
    pub fn settle(&self, rate: Rate, estimate: Price, price: Price) {
        let (taken, cost) = (rate.cost(estimate), rate.cost(price));
        let settled = |full_at: u64| Some(full_at.saturating_add(cost).saturating_sub(taken));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, settled);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MICROSECOND: Duration = Duration::from_micros(1);

    /// A short line for this many receivers.
    fn to(receivers: usize) -> Price {
        Price::of_line(40, receivers, 20)
    }

    /// A bucket that was full and is charged `price` at second 1.
    fn charged(rate: Rate, price: Price) -> Bucket {
        let mut bucket = Bucket::FULL;
        bucket.charge(SECOND, rate, price);
        bucket
    }

    /// How many lines without receivers run at `now`, one after the other.
    fn lines(bucket: &mut Bucket, now: Duration, rate: Rate) -> usize {
        let mut count = 0;
        while bucket.wait(now, rate).is_zero() {
            bucket.charge(now, rate, to(0));
            count += 1;
        }
        count
    }

    #[test]
    fn after_a_burst_the_rate_applies() {
        let rate = Rate::new(10, 5, SECOND);
        let mut bucket = Bucket::FULL;
        assert_eq!(lines(&mut bucket, SECOND, rate), 10);
        assert_eq!(bucket.wait(SECOND, rate), MICROSECOND, "zero is not above zero");
        assert_eq!(lines(&mut bucket, SECOND + MICROSECOND, rate), 1);
        let wait = bucket.wait(SECOND, rate);
        assert_eq!(wait, Duration::from_micros(200_001));
        assert_eq!(bucket.wait(SECOND + wait - MICROSECOND, rate), MICROSECOND);
        assert!(bucket.wait(SECOND + wait, rate).is_zero());
        assert_eq!(lines(&mut bucket, 4 * SECOND, rate), 10);
        assert_eq!(lines(&mut bucket, 1000 * SECOND, rate), 10, "a bucket is never more than full");
    }

    #[test]
    fn long_lines_long_replies_and_waste_cost_more() {
        let lines = |bytes, reply_bytes| Price::of_line(bytes, 0, reply_bytes).in_lines();
        assert_eq!([lines(0, 0), lines(511, 16_383), lines(512, 0), lines(0, 16_384)], [1.0, 1.0, 2.0, 2.0]);
        assert_eq!([lines(4096, 0), lines(4096, 131_072)], [9.0, 17.0]);
        assert_eq!([Price::of_waste(512).in_lines(), Price::of_waste(128).in_lines()], [1.0, 0.25]);
        let rate = Rate::new(1, 5, SECOND);
        let mut bucket = Bucket::FULL;
        (0..1024).for_each(|_| bucket.charge(SECOND, rate, Price::of_waste(1)));
        assert_eq!(bucket.wait(SECOND, rate), Duration::from_micros(1024 * 391 - 200_000 + 1));
    }

    #[test]
    fn a_line_waits_half_a_minute_at_most() {
        let rate = Rate::new(10, 5, SECOND);
        let after = |micros| Pace::After(Duration::from_micros(micros));
        // A hundred receivers cost as much as a line.
        for (receivers, pace) in [
            (0, Pace::Now),
            (899, Pace::Now),
            (900, after(1)),
            (1400, after(1_000_001)),
            (15_899, after(29_998_001)),
            (15_900, Pace::TooSoon),
            (usize::MAX, Pace::TooSoon),
        ] {
            assert_eq!(charged(rate, to(receivers)).pace(SECOND, rate), pace, "{receivers} receivers");
        }
    }

    #[test]
    fn an_exempt_bucket_never_empties() {
        let (rate, all) = (Rate::new(1, 1, SECOND), to(usize::MAX));
        let mut bucket = Bucket::EXEMPT;
        bucket.charge(SECOND, rate, all);
        assert!(bucket.wait(SECOND, rate).is_zero());
        let bucket = charged(rate, all);
        assert_ne!(bucket, Bucket::EXEMPT);
        assert!(!bucket.wait(Duration::from_hours(1 << 16), rate).is_zero());
    }

    #[test]
    fn an_address_has_a_burst_and_a_rate_of_bytes() {
        let rate = Rate::new(1000, 500, SECOND);
        let (bucket, at) = (SharedBucket::default(), Duration::from_millis);
        let send = |now, bytes| bucket.try_take(now, rate, Price::of_message(bytes));
        assert!(send(at(7000), 600));
        assert!(bucket.load().wait(at(7000), rate).is_zero());
        assert!(send(at(7000), 600));
        assert!(!send(at(7000), 1), "the bucket is 200 bytes below zero");
        assert_eq!(bucket.load().wait(at(7000), rate), at(400) + MICROSECOND);
        assert!(send(at(7401), 0));
        assert_eq!([9000, 9401].map(|millis| bucket.load().debt(at(millis)).is_zero()), [false, true]);
    }

    #[test]
    fn settling_returns_what_an_estimate_took_too_much() {
        let (rate, now) = (Rate::new(1000, 1000, SECOND), 7 * SECOND);
        let [bucket, exact] = [SharedBucket::default(), SharedBucket::default()];
        for (estimate, bytes) in [(5000, 300), (0, 400)] {
            assert!(bucket.try_take(now, rate, Price::of_message(estimate)));
            bucket.settle(rate, Price::of_message(estimate), Price::of_message(bytes));
            assert!(exact.try_take(now, rate, Price::of_message(bytes)));
            assert_eq!(bucket.load(), exact.load());
        }
    }

    #[test]
    fn one_core_takes_the_last_byte() {
        let (rate, bucket) = (Rate::new(1000, 1, SECOND), SharedBucket::default());
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while bucket.try_take(7 * SECOND, rate, Price::of_message(300)) {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 4, "three stay above zero, and one goes below");
    }

    proptest! {
        #[test]
        fn burst_and_rate_bound_whatever_is_sent(
            burst in 1..1000_u32,
            lines_a_second in 1..1000_u32,
            tries in proptest::collection::vec((0..2_000_000_u64, 0..3000_usize, 0..9000_usize, 0..99_000_usize), 1..200),
        ) {
            let rate = Rate::new(burst, lines_a_second, SECOND);
            let mut bucket = Bucket::FULL;
            let (mut now, mut worth, mut last) = (0_u64, 0.0_f64, 0.0_f64);
            for (pause, receivers, bytes, reply_bytes) in tries {
                now += pause;
                let time = Duration::from_micros(now);
                let wait = bucket.wait(time, rate);
                if wait.is_zero() {
                    let price = Price::of_line(bytes, receivers, reply_bytes);
                    bucket.charge(time, rate, price);
                    last = price.in_lines();
                    worth += last;
                } else {
                    prop_assert!(bucket.wait(time + wait, rate).is_zero());
                    prop_assert_eq!(bucket.wait(time + wait - MICROSECOND, rate), MICROSECOND);
                }
                // Only the last line may take the bucket below zero.
                let allowed = f64::from(burst) + f64::from(lines_a_second) * now as f64 / 1e6;
                prop_assert!(worth - last <= allowed, "{worth} - {last} of {allowed}");
            }
        }

        #[test]
        fn a_sender_within_the_rate_never_waits(lines_a_second in 1..1000_u32, count in 1..1000_u64) {
            let rate = Rate::new(1, lines_a_second, SECOND);
            let mut bucket = Bucket::FULL;
            for n in 0..count {
                let now = Duration::from_micros((n * 1_000_001).div_ceil(u64::from(lines_a_second)) + 2 * n);
                prop_assert!(bucket.wait(now, rate).is_zero(), "line {n}");
                bucket.charge(now, rate, to(0));
            }
        }
    }
}
