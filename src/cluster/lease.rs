//! This node's own lease. It ends here before it ends for others, counted from when its renewal was sent.

use std::time::Duration;

use super::records::{Instance, Revision};
use crate::limits::{CLUSTER_RETRY, CLUSTER_TTL_MARGIN_PART};

/// How long leases last, and how often they are renewed.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From a renewal to the end.
    pub ttl: Duration,
    /// From a renewal to the next.
    pub renew: Duration,
}

/// The lease of one instance.
#[derive(Debug)]
pub(super) struct Lease {
    times: Times,
    pub(super) instance: Instance,
    /// Of its last renewal; `None` before the first.
    pub(super) revision: Option<Revision>,
    until: Option<Duration>,
    /// When the write under way was sent.
    sent: Option<Duration>,
    /// A write was under way when the store was asked to tell what it has.
    may_be_newer: bool,
    /// It is read from the store.
    is_read: bool,
    next: Duration,
}

impl Lease {
    pub(super) fn new(instance: Instance, times: Times) -> Self {
        Lease {
            times,
            instance,
            revision: None,
            until: None,
            sent: None,
            may_be_newer: false,
            is_read: false,
            next: Duration::ZERO,
        }
    }

    /// Until when it holds; `None` before the first renewal is confirmed.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }

    pub(super) fn is_live(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn has_lapsed(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether to write it now; then a write is under way.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.sent.is_none() && now >= self.next;
        if is_due {
            self.sent = Some(now);
        }
        is_due
    }

    /// A write has ended, at this revision; `true` if it is the first.
    pub(super) fn written(&mut self, revision: Revision) -> bool {
        let Some(sent) = self.sent.take() else { return false };
        self.until = Some(sent + self.times.ttl - self.times.ttl / CLUSTER_TTL_MARGIN_PART);
        self.next = sent + self.times.renew;
        self.revision.replace(revision).is_none()
    }

    /// A write has failed, or may have.
    pub(super) fn failed(&mut self, now: Duration) {
        self.sent = None;
        self.next = now + CLUSTER_RETRY;
    }

    /// The store may have been set back, and is to tell what it has.
    pub(super) fn forget_revision(&mut self) {
        if let Some(known) = &mut self.revision {
            self.may_be_newer = self.sent.is_some();
            (*known, self.sent, self.next, self.is_read) = (0, None, Duration::ZERO, false);
        }
    }

    /// Whether the store has not told of this lease since then.
    pub(super) fn is_missing(&self) -> bool {
        self.revision == Some(0)
    }

    /// Whether the store, which has told all, has nothing of it.
    pub(super) fn is_gone(&self) -> bool {
        self.is_missing() && !self.may_be_newer
    }

    /// Whether to read it now; then a read is under way.
    pub(super) fn wants_reading(&mut self, now: Duration) -> bool {
        let wants_reading = self.is_missing() && !self.is_read && now >= self.next;
        self.is_read |= wants_reading;
        wants_reading
    }

    /// A read has ended: with nothing that is known here, or what it has was taken in.
    pub(super) fn read(&mut self, now: Duration) {
        self.is_read = false;
        if self.is_missing() {
            self.next = now + CLUSTER_RETRY;
        }
    }

    /// The store has this renewal of its own, whose write had no answer.
    pub(super) fn found(&mut self, revision: Revision) {
        if self.revision.is_some_and(|known| revision > known) {
            self.revision = Some(revision);
        }
    }
}
