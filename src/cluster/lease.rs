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
    /// When its next renewal is due.
    next: Duration,
    /// Not to be written before.
    retry_at: Duration,
}

impl Lease {
    pub(super) fn new(instance: Instance, times: Times) -> Self {
        let (next, retry_at) = (Duration::ZERO, Duration::ZERO);
        Lease { times, instance, revision: None, until: None, sent: None, next, retry_at }
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

    /// Whether to write it now, because it is time or `at_once`; then a write is under way.
    pub(super) fn is_due(&mut self, at_once: bool, now: Duration) -> bool {
        let is_due = self.sent.is_none() && now >= self.retry_at && (at_once || now >= self.next);
        if is_due {
            self.sent = Some(now);
        }
        is_due
    }

    /// The write under way has ended, at this revision; `true` if it is the first.
    pub(super) fn written(&mut self, revision: Revision) -> bool {
        let Some(sent) = self.sent.take() else { return false };
        if self.is_missing() {
            // That may have been before the store was set back.
            return false;
        }
        self.until = Some(sent + self.times.ttl - self.times.ttl / CLUSTER_TTL_MARGIN_PART);
        self.next = sent + self.times.renew;
        self.revision.replace(revision).is_none()
    }

    /// The write under way has failed, or may have.
    pub(super) fn failed(&mut self, now: Duration) {
        self.sent = None;
        self.retry_at = now + CLUSTER_RETRY;
    }

    /// The store may have been set back, and is to tell what it has.
    pub(super) fn forget_revision(&mut self) {
        if let Some(known) = &mut self.revision {
            (*known, self.next) = (0, Duration::ZERO);
        }
    }

    /// Whether the store has not told of it since [`Lease::forget_revision`].
    pub(super) fn is_missing(&self) -> bool {
        self.revision == Some(0)
    }

    /// The store has this renewal of it.
    pub(super) fn found(&mut self, revision: Revision) {
        self.revision = self.revision.map(|_| revision);
    }
}
