//! Flood control: how soon a connection's next line may be executed. Arithmetic only; the clock is told.
//!
//! A bucket holds lines. One may run while the bucket is above zero, and may drive it below: whoever yields
//! to thousands has to wait for as long as that is worth. It fills up again all the time. A full bucket is a
//! moment in the past, so one word says it all, and nothing has to be done while time passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{FLOOD_BYTES, FLOOD_DEBT_MAX, FLOOD_RECEIVERS, FLOOD_REPLY_BYTES};

/// What a bucket is charged, in parts of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(u64);

impl Price {
    /// Parts of one line: each receiver and each byte that is in no line is a whole number of them.
    const LINE: u64 = FLOOD_RECEIVERS * FLOOD_BYTES;

    /// Of a line of `bytes`, answered by `reply_bytes`, that reaches `receivers` others.
    pub fn of_line(bytes: usize, receivers: usize, reply_bytes: usize) -> Self {
        let lines = 1 + bytes as u64 / FLOOD_BYTES + reply_bytes as u64 / FLOOD_REPLY_BYTES;
        let receivers = (receivers as u64).saturating_mul(Self::LINE / FLOOD_RECEIVERS);
        Price(lines.saturating_mul(Self::LINE).saturating_add(receivers))
    }

    /// Of bytes that are in no line.
    pub fn of_waste(bytes: usize) -> Self {
        Price((bytes as u64).saturating_mul(Self::LINE / FLOOD_BYTES))
    }

    /// Of a message of so many bytes, in a bucket of bytes.
    pub fn of_message(bytes: usize) -> Self {
        Price((bytes as u64).saturating_mul(Self::LINE))
    }

    /// How many lines it is as much as.
    pub fn in_lines(self) -> f64 {
        self.0 as f64 / Self::LINE as f64
    }
}

/// How many lines a connection may have executed, or how many bytes of messages an address may send: in both the unit of
/// the bucket is called a line here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds that an empty bucket takes to fill up.
    whole: u64,
    lines: u64,
    /// Microseconds in which it gets so many lines.
    per: u64,
}

impl Rate {
    /// `burst` lines at once, then so many in a time; all are at least 1, the time in microseconds.
    pub fn new(burst: u32, lines: u32, per: Duration) -> Self {
        let (lines, per) = (u64::from(lines.max(1)), micros(per).max(1));
        Rate { whole: (u64::from(burst.max(1)).saturating_mul(per) / lines).max(1), lines, per }
    }

    /// The microseconds that something of this price is worth.
    fn cost(self, price: Price) -> u64 {
        // Rounded up: whoever sends for a year gets no line too many.
        price.0.saturating_mul(self.per).div_ceil(Price::LINE * self.lines)
    }
}

/// When a connection's next line may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Now.
    Now,
    /// After this long.
    After(Duration),
    /// After so long that its sender should rather be told.
    TooSoon,
}

/// One connection's bucket: when it will be full, in microseconds of its core's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(u64);

impl Bucket {
    /// One that is full.
    pub const FULL: Bucket = Bucket(0);

    /// One that never empties.
    pub const EXEMPT: Bucket = Bucket(u64::MAX);

    /// One that will be full in so much of its core's time after `now`.
    pub fn with_debt(now: Duration, debt: Duration) -> Self {
        if debt.is_zero() { Bucket::FULL } else { Bucket(micros(now).saturating_add(micros(debt)).min(u64::MAX - 1)) }
    }

    /// How long it takes until it is full; an exempt one always is.
    pub fn debt(self, now: Duration) -> Duration {
        if self.is_exempt() { Duration::ZERO } else { Duration::from_micros(self.0.saturating_sub(micros(now))) }
    }

    /// Whether it never empties.
    pub fn is_exempt(self) -> bool {
        self == Bucket::EXEMPT
    }

    /// What becomes of the next line at `now`.
    pub fn pace(self, now: Duration, rate: Rate) -> Pace {
        match self.wait(now, rate) {
            Duration::ZERO => Pace::Now,
            wait if wait > FLOOD_DEBT_MAX => Pace::TooSoon,
            wait => Pace::After(wait),
        }
    }

    /// How long the next line has to wait at `now`, which only grows; zero if it may run.
    pub fn wait(self, now: Duration, rate: Rate) -> Duration {
        if self.is_exempt() {
            return Duration::ZERO;
        }
        let until_full = self.0.saturating_sub(micros(now));
        // At zero it has to wait until it is above.
        let wait = if until_full < rate.whole { 0 } else { until_full - rate.whole + 1 };
        Duration::from_micros(wait)
    }

    /// Something of this price was done at `now`.
    pub fn charge(&mut self, now: Duration, rate: Rate, price: Price) {
        if !self.is_exempt() {
            self.0 = self.0.max(micros(now)).saturating_add(rate.cost(price)).min(u64::MAX - 1);
        }
    }
}

/// The bucket of one address, which its connections on all cores share; its unit is the byte of a message. Times are those
/// of a clock that all cores share.
///
/// What a message costs shows when it is drawn: an estimate is taken before that, and what was too much given back.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// How long the next message has to wait at `now`; zero if it may go.
    pub fn wait(&self, now: Duration, rate: Rate) -> Duration {
        self.bucket().wait(now, rate)
    }

    /// Whether it is full.
    pub fn is_full(&self, now: Duration) -> bool {
        self.bucket().debt(now).is_zero()
    }

    /// Takes `price` at `now`, if a message may go: of any number of cores that ask at the same moment, one goes first.
    ///
    /// # Errors
    /// How long to wait before the next try.
    pub fn take(&self, now: Duration, rate: Rate, price: Price) -> Result<(), Duration> {
        let taken = |full_at| {
            let mut bucket = Bucket(full_at);
            if !bucket.wait(now, rate).is_zero() {
                return None;
            }
            bucket.charge(now, rate, price);
            Some(bucket.0)
        };
        // The value is all that is shared, so no order is needed.
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        before.map(drop).map_err(|full_at| Bucket(full_at).wait(now, rate))
    }

    /// What was taken for `estimate` has cost `price`.
    pub fn settle(&self, rate: Rate, estimate: Price, price: Price) {
        let (taken, cost) = (rate.cost(estimate), rate.cost(price));
        let settled = |full_at: u64| Some(full_at.saturating_add(cost).saturating_sub(taken));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, settled);
    }

    fn bucket(&self) -> Bucket {
        Bucket(self.0.load(Ordering::Relaxed))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_sends_so_many_bytes_at_once_and_so_many_a_second() {
        let rate = Rate::new(1000, 500, Duration::from_secs(1));
        let (bucket, at) = (SharedBucket::default(), Duration::from_millis);
        let send = |now, bytes| bucket.take(now, rate, Price::of_message(bytes));
        assert_eq!(send(at(7000), 600), Ok(()));
        assert_eq!(bucket.wait(at(7000), rate), Duration::ZERO);
        assert_eq!(send(at(7000), 600), Ok(()));
        let wait = send(at(7000), 1).expect_err("it is 200 bytes below zero");
        assert!((at(400)..=at(401)).contains(&wait) && wait == bucket.wait(at(7000), rate), "{wait:?}");
        assert_eq!(send(at(7401), 0), Ok(()));
        assert!(!bucket.is_full(at(9000)) && bucket.is_full(at(9401)));
    }

    #[test]
    fn what_an_estimate_took_too_much_is_given_back() {
        let rate = Rate::new(1000, 1000, Duration::from_secs(1));
        let [bucket, exact] = [SharedBucket::default(), SharedBucket::default()];
        let now = Duration::from_secs(7);
        for (estimate, bytes) in [(5000, 300), (0, 400)] {
            assert_eq!(bucket.take(now, rate, Price::of_message(estimate)), Ok(()));
            bucket.settle(rate, Price::of_message(estimate), Price::of_message(bytes));
            assert_eq!(exact.take(now, rate, Price::of_message(bytes)), Ok(()));
            assert_eq!(bucket.bucket(), exact.bucket());
        }
    }

    #[test]
    fn of_many_cores_that_ask_at_the_same_moment_no_two_see_the_last_byte() {
        let rate = Rate::new(1000, 1, Duration::from_secs(1));
        let bucket = SharedBucket::default();
        let now = Duration::from_secs(7);
        let taken = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while bucket.take(now, rate, Price::of_message(300)).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 4, "three of them stay above zero, and one goes below");
    }

    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A short line for this many receivers.
    fn to(receivers: usize) -> Price {
        Price::of_line(40, receivers, 20)
    }

    /// Lines without receivers that run at `now`, one after the other.
    fn lines(bucket: &mut Bucket, now: Duration, rate: Rate) -> usize {
        let mut count = 0;
        while bucket.wait(now, rate).is_zero() {
            bucket.charge(now, rate, to(0));
            count += 1;
        }
        count
    }

    #[test]
    fn a_burst_runs_at_once_and_then_the_rate_counts() {
        let rate = Rate::new(10, 5, SECOND);
        let mut bucket = Bucket::FULL;
        assert_eq!(lines(&mut bucket, SECOND, rate), 10);
        assert_eq!(bucket.wait(SECOND, rate), Duration::from_micros(1), "at zero, which is not above");
        assert_eq!(lines(&mut bucket, SECOND + Duration::from_micros(1), rate), 1);
        let wait = bucket.wait(SECOND, rate);
        assert_eq!(wait, Duration::from_micros(200_001));
        assert!(!bucket.wait(SECOND + wait - Duration::from_micros(1), rate).is_zero());
        assert!(bucket.wait(SECOND + wait, rate).is_zero());
        assert_eq!(lines(&mut bucket, 4 * SECOND, rate), 10);
        assert_eq!(lines(&mut bucket, 1000 * SECOND, rate), 10, "it is never more than full");
    }

    #[test]
    fn a_yield_costs_a_line_and_another_for_each_hundred_receivers() {
        let rate = Rate::new(10, 5, SECOND);
        for (receivers, wait) in [(0, 0), (100, 0), (899, 0), (900, 1), (1400, 1_000_001), (100_000, 198_200_001)] {
            let mut bucket = Bucket::FULL;
            bucket.charge(SECOND, rate, to(receivers));
            assert_eq!(bucket.wait(SECOND, rate), Duration::from_micros(wait), "{receivers} receivers");
        }
    }

    #[test]
    fn a_long_line_and_a_long_reply_cost_more_and_each_byte_that_is_in_no_line_its_part() {
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
    fn a_line_waits_for_half_a_minute_at_most() {
        let rate = Rate::new(10, 5, SECOND);
        let pace = |receivers| {
            let mut bucket = Bucket::FULL;
            bucket.charge(SECOND, rate, to(receivers));
            bucket.pace(SECOND, rate)
        };
        assert_eq!(pace(0), Pace::Now);
        assert_eq!(pace(900), Pace::After(Duration::from_micros(1)));
        assert_eq!(pace(15_899), Pace::After(Duration::from_micros(29_998_001)));
        assert_eq!(pace(15_900), Pace::TooSoon);
        assert_eq!(pace(usize::MAX), Pace::TooSoon);
    }

    #[test]
    fn an_exempt_bucket_never_empties() {
        let mut bucket = Bucket::EXEMPT;
        bucket.charge(SECOND, Rate::new(1, 1, SECOND), to(usize::MAX));
        assert!(bucket.wait(SECOND, Rate::new(1, 1, SECOND)).is_zero());
        let mut bucket = Bucket::FULL;
        bucket.charge(SECOND, Rate::new(1, 1, SECOND), to(usize::MAX));
        assert!(
            bucket != Bucket::EXEMPT && !bucket.wait(Duration::from_hours(1 << 16), Rate::new(1, 1, SECOND)).is_zero()
        );
    }

    proptest! {
        #[test]
        fn however_lines_come_their_worth_is_bounded_by_burst_and_rate(
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
                    // It waits exactly as long as it has to.
                    prop_assert!(bucket.wait(time + wait, rate).is_zero());
                    prop_assert!(!bucket.wait(time + wait - Duration::from_micros(1), rate).is_zero());
                }
                // Only the last one may have gone below zero.
                let allowed = f64::from(burst) + f64::from(lines_a_second) * now as f64 / 1e6;
                prop_assert!(worth - last <= allowed, "{worth} - {last} of {allowed}");
            }
        }

        #[test]
        fn who_keeps_to_the_rate_never_waits(lines_a_second in 1..1000_u32, count in 1..1000_u64) {
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
