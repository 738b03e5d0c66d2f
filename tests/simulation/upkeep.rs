//! What a simulated core does now and then: it cuts peers that are too slow, silent or in the way of others, as
//! `net::housekeeping` does, by the same decisions (`policy`). Each is held against what the model knows of the peer.

use std::time::Duration;

use cowchat::close_reason::CloseReason;
use cowchat::held_bytes;
use cowchat::ids::{ConnectionId, ShardId};
use cowchat::limits::{CONNECTION_CHECK_INTERVAL, DRAIN_TIMEOUT, QUEUE_CHECK_INTERVAL, SENDQ_GRACE};
use cowchat::policy::flood::Rate;
use cowchat::policy::idle::IdleTimer;
use cowchat::policy::limits::Limits;
use cowchat::policy::memory_budget::{Account, Budget};
use cowchat::policy::networks::Networks;
use cowchat::policy::upkeep::{Condition, Verdict, are_scarce, verdict};
use cowchat::shard::Presence;

use crate::wire::Appetite;
use crate::world::{COWS, Place, World};

/// Shorter than in life: a run lasts for about twenty seconds of its own time.
const SENDQ_STALL: Duration = Duration::from_secs(3);
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
const SCARCE_IDLE: Duration = Duration::from_secs(4);

/// An idle timer counts in tenths of a second: it is late by two of them at most, and never early.
const LATE: Duration = Duration::from_millis(200);

/// A connection's timers, and what the model knows of its lines.
pub struct Timers {
    idle: IdleTimer,
    quiet: IdleTimer,
    last_line: Duration,
    last_message: Duration,
    /// A line of it is being executed.
    has_line: bool,
    /// It sends no more lines after this time.
    falls_silent: Duration,
}

impl Timers {
    pub fn new(now: Duration, falls_silent: Duration) -> Self {
        let [idle, quiet] = [now; 2].map(IdleTimer::since);
        Timers { idle, quiet, last_line: now, last_message: now, has_line: false, falls_silent }
    }

    pub fn is_silent(&self, now: Duration) -> bool {
        now >= self.falls_silent
    }

    pub fn line_begins(&mut self) {
        self.idle.pause();
        self.has_line = true;
    }

    /// The line is executed, and was a message or not.
    pub fn line_ends(&mut self, now: Duration, is_message: bool) {
        self.idle.resume(now);
        (self.last_line, self.has_line) = (now, false);
        if is_message {
            self.message(now);
        }
    }

    /// It logs in, or sends a message.
    pub fn message(&mut self, now: Duration) {
        self.quiet.restart(now);
        self.last_message = now;
    }
}

/// One core's part of the upkeep.
pub struct Upkeep {
    account: Account,
    /// Bytes made on this core, less those dropped on it.
    pub held: i64,
    check_at: Duration,
    visit_at: Duration,
}

pub fn limits(sendq_bytes_max: usize, queues_bytes_total: u64) -> Limits {
    let rate = Rate::new(1, 1, DRAIN_TIMEOUT);
    Limits {
        sendq_bytes_max,
        sendq_stall: SENDQ_STALL,
        queues_bytes_total,
        login_timeout: Some(LOGIN_TIMEOUT),
        login_exempt: Networks::default(),
        idle_timeout: Some(IDLE_TIMEOUT),
        scarce_idle: Some(SCARCE_IDLE),
        cows_per_address: u32::MAX,
        flood: rate,
        flood_exempt: Networks::default(),
        message_rate: rate,
        connections_max: u64::MAX,
        connections_per_address: usize::MAX,
        connect_rate: None,
        address_exempt: Networks::default(),
        user_timeout: None,
        drain_timeout: DRAIN_TIMEOUT,
    }
}

pub fn of_cores(cores: usize, queues_bytes_total: u64) -> Vec<Upkeep> {
    let budget = Budget::new(queues_bytes_total, cores);
    let account = |core| Account::new(budget.clone(), ShardId::new(core));
    let upkeep = |core| Upkeep {
        account: account(core),
        held: 0,
        check_at: QUEUE_CHECK_INTERVAL,
        visit_at: CONNECTION_CHECK_INTERVAL,
    };
    (0..cores).map(upkeep).collect()
}

impl World {
    /// A core's check of its queues, and of its connections, if they are due.
    pub fn check_queues(&mut self, core: usize) {
        let now = self.now;
        if now < self.upkeep[core].check_at {
            return;
        }
        self.upkeep[core].check_at = now + QUEUE_CHECK_INTERVAL;
        self.cut_the_slow(core);
        self.keep_the_budget(core);
        if now >= self.upkeep[core].visit_at {
            self.upkeep[core].visit_at = now + CONNECTION_CHECK_INTERVAL;
            self.places_on(core).into_iter().for_each(|place| self.visit(place));
        }
    }

    fn places_on(&self, core: usize) -> Vec<Place> {
        self.connections.keys().copied().filter(|(at, _)| *at == core).collect()
    }

    /// Peers that stay over the limit of their queue for longer than the grace are cut, and no others.
    fn cut_the_slow(&mut self, core: usize) {
        let now = self.now;
        let mut slow = self.places_on(core);
        slow.retain(|place| {
            let wire = &mut self.connections.get_mut(place).expect("it is one of them").wire;
            if wire.is_over_for(SENDQ_GRACE, now) {
                wire.flush(usize::MAX, now);
            }
            wire.is_over_for(SENDQ_GRACE, now)
        });
        self.cut(slow);
    }

    /// While all cores together hold more than the budget, the largest loads are cut.
    fn keep_the_budget(&mut self, core: usize) {
        let now = self.now;
        let held = self.upkeep[core].held + held_bytes::balance() - self.balance;
        if !self.upkeep[core].account.publish(held) {
            return;
        }
        let places = self.places_on(core);
        let loads: Vec<_> = places.iter().map(|place| (*place, self.connections[place].wire.load())).collect();
        let mut cut = self.upkeep[core].account.to_cut(loads.clone(), now);
        for (place, load) in &loads {
            if cut.contains(place) {
                assert!(*load > 0, "I12: a connection is cut that holds nothing");
                let larger = loads.iter().filter(|(other, bytes)| bytes > load && !cut.contains(other));
                assert_eq!(larger.count(), 0, "I12: a larger one stays");
            }
        }
        cut.retain(|place| {
            let wire = &mut self.connections.get_mut(place).expect("it is one of them").wire;
            wire.flush(usize::MAX, now);
            wire.load() > 0
        });
        self.tally.over_budget += cut.len();
        self.cut(cut);
    }

    /// Checks one connection, and that the decision is right.
    fn visit(&mut self, place: Place) {
        let (now, limits) = (self.now, &self.limits);
        let is_full = self.context.directory.claimed() == COWS;
        let Some(connection) = self.connections.get(&place) else { return };
        let timers = &connection.timers;
        let condition = Condition {
            is_closing: connection.wire.is_closing(),
            is_draining: self.drains[place.0].has_begun(),
            is_registered: connection.session.is_some(),
            login_exempt: false,
            is_counted: true,
            idle: &timers.idle,
            quiet: &timers.quiet,
            stalled_since: connection.wire.stalled_since(),
            is_gone: false,
        };
        let verdict = verdict(limits, condition, now, || are_scarce(self.context.directory.claimed(), COWS));
        let timeout = if condition.is_registered { IDLE_TIMEOUT } else { LOGIN_TIMEOUT };
        let idle = if timers.has_line { Duration::ZERO } else { now - timers.last_line };
        let stalled = connection.wire.waits_in_vain_for(now);
        match verdict {
            Verdict::Keep => {
                assert!(condition.is_closing || stalled < SENDQ_STALL, "I14: a stalled peer stays");
                assert!(
                    condition.is_closing || condition.is_draining || idle < timeout + LATE,
                    "a silent connection stays"
                );
            }
            Verdict::Close(CloseReason::Stalled) => {
                assert!(stalled >= SENDQ_STALL, "a peer that takes something is cut");
                assert_ne!(connection.wire.appetite, Appetite::Full);
                self.tally.stalled += 1;
                self.close(place);
            }
            Verdict::Close(reason) => {
                match reason {
                    CloseReason::NotLoggedIn | CloseReason::Idle => assert!(idle >= timeout),
                    CloseReason::CowsScarce => assert!(is_full && now - timers.last_message >= SCARCE_IDLE),
                    _ => panic!("{reason:?} is not for this peer"),
                }
                assert!(!condition.is_draining, "the drain ends it, with all others");
                self.tally.silent += 1;
                self.end_with_last_line(place, reason);
            }
            Verdict::Discard => panic!("nothing here is given up"),
        }
    }

    fn end_with_last_line(&mut self, place: Place, reason: CloseReason) {
        let id = ConnectionId::new(place.1);
        let line = reason.last_line(LOGIN_TIMEOUT).expect("a connection that ends in order has a last line");
        let line = self.shards[place.0].server_line(id, &line);
        let left = self.shards[place.0].on_close(id);
        let connection = self.connections.get_mut(&place).expect("it was looked at");
        connection.waiting = None;
        connection.wire.push_reply(line.as_bytes());
        connection.wire.end();
        self.end_session(place);
        if let Some(cow) = left {
            self.tell(place.0, Presence::Left(cow));
        }
    }
}
