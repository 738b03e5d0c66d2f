//! The other nodes: which instances hold their lease, and which messages of theirs count.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::envelope::{Envelope, To};
use super::records::{Instance, NodeRecord, Revision};
use crate::limits::{CLUSTER_GONE_KEPT, CLUSTER_LAST_MESSAGES, CLUSTER_STRANGER_MESSAGES, CLUSTER_STRANGER_WAIT};

/// Another node's instance.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) record: NodeRecord,
    /// Of its last renewal that was seen here, and when.
    pub(super) revision: Revision,
    seen: Duration,
    /// When the store was asked to take its lease out.
    asked: Option<Duration>,
    is_gone: bool,
    /// When it has left in order, if it has: its last messages may still be on their way.
    pub(super) left: Option<Duration>,
    /// It has joined since this node looks, or renewed twice: a record may be of one that has crashed, and its last renewal, too.
    pub(super) is_alive: bool,
    has_renewed: bool,
    /// The number of its last message to all; `None` before the first, if there may have been others.
    yields: Option<u64>,
    /// Of its last message to this instance of this node alone.
    says: u64,
    /// Of the last message to it alone.
    said: u64,
    /// Messages that have not come, and were not told.
    missed: u64,
}

impl Peer {
    /// Its lease has run out, as far as it was seen here.
    fn is_overdue(&self, now: Duration) -> bool {
        now.saturating_sub(self.seen) >= self.record.ttl()
    }
}

/// What is seen of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Its instance is new.
    New,
    /// Its instance lives.
    Renewed,
    /// It was seen before.
    Seen,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Deliver it; `missed` messages before it are lost.
    Deliver { missed: u64 },
    /// The lease of its instance has run out, or the message was here before.
    Drop,
    /// Its instance is not known yet.
    Keep,
}

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_instance: BTreeMap<Instance, Peer>,
    /// Gone, oldest first.
    gone: VecDeque<Instance>,
    /// Messages of instances that are not known yet, and since when they wait.
    strangers: VecDeque<(Duration, Envelope)>,
}

impl Peers {
    pub(super) fn get(&self, instance: Instance) -> Option<&Peer> {
        self.by_instance.get(&instance)
    }

    /// Whether it was heard of.
    pub(super) fn knows(&self, instance: Instance) -> bool {
        self.by_instance.contains_key(&instance)
    }

    /// Whether the instance holds its lease, as far as is known here.
    pub(super) fn is_live(&self, instance: Instance) -> bool {
        self.by_instance.get(&instance).is_some_and(|peer| !peer.is_gone)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (Instance, &Peer)> {
        self.by_instance.iter().filter(|(_, peer)| !peer.is_gone).map(|(&instance, peer)| (instance, peer))
    }

    /// The instance has joined since this node looks.
    pub(super) fn has_joined(&mut self, instance: Instance) {
        self.by_instance.get_mut(&instance).into_iter().for_each(|peer| peer.is_alive = true);
    }

    /// The live instance of this name.
    pub(super) fn named(&self, name: &str) -> Option<Instance> {
        self.live().find(|(_, peer)| peer.name == name).map(|(instance, _)| instance)
    }

    /// The live instances of this name that are gone if the store has the instance `by`, or none, at this revision. Of one that has
    /// renewed later that is true only of news, and when its time is over, too: a copy of the store may be behind.
    pub(super) fn replaced(
        &self,
        name: &str,
        by: Option<Instance>,
        revision: Revision,
        is_news: bool,
        now: Duration,
    ) -> Vec<Instance> {
        let of_name = self.live().filter(|(instance, peer)| peer.name == name && Some(*instance) != by);
        // Another lease at the same revision: the store was set back.
        let is_over = |peer: &Peer| revision >= peer.revision || is_news && peer.is_overdue(now);
        of_name.filter(|(_, peer)| is_over(peer)).map(|(instance, _)| instance).collect()
    }

    /// Whether a node of this name has renewed its lease after this revision, and its time is not over.
    pub(super) fn has_renewed_after(&self, name: &str, revision: Revision, now: Duration) -> bool {
        self.live().any(|(_, peer)| peer.name == name && peer.revision > revision && !peer.is_overdue(now))
    }

    /// What this record says of a lease. `first`: the first message of a new instance is still to come, so that a loss shows.
    /// `is_news`: the store tells what changes, not what it has.
    pub(super) fn renew(
        &mut self,
        name: &str,
        record: &NodeRecord,
        revision: Revision,
        first: bool,
        is_news: bool,
        now: Duration,
    ) -> Renewal {
        if let Some(peer) = self.by_instance.get_mut(&record.instance) {
            let was_gone = std::mem::take(&mut peer.is_gone);
            if revision == peer.revision && !was_gone {
                return Renewal::Seen;
            }
            // Less than before: the store was set back.
            let is_later = revision > peer.revision;
            (peer.revision, peer.seen, peer.asked) = (revision, now, None);
            if was_gone {
                // To when it had this lease.
                peer.left = None;
                self.gone.retain(|&gone| gone != record.instance);
                return Renewal::New;
            }
            let is_renewed = is_later && is_news;
            peer.is_alive |= is_renewed && std::mem::replace(&mut peer.has_renewed, true);
            return if is_renewed && peer.is_alive { Renewal::Renewed } else { Renewal::Seen };
        }
        let (name, record) = (name.to_owned(), record.clone());
        let instance = record.instance;
        let peer = Peer {
            name,
            record,
            revision,
            seen: now,
            asked: None,
            is_gone: false,
            left: None,
            is_alive: false,
            has_renewed: false,
            yields: first.then_some(0),
            says: 0,
            said: 0,
            missed: 0,
        };
        self.by_instance.insert(instance, peer);
        Renewal::New
    }

    /// The nodes that have not renewed in time, with the revisions of their leases: the caller takes them out of the store.
    pub(super) fn overdue(&mut self, retry: Duration, now: Duration) -> Vec<(String, Revision)> {
        let mut names = Vec::new();
        for peer in self.by_instance.values_mut().filter(|peer| !peer.is_gone) {
            let is_due = peer.asked.is_none_or(|asked| now.saturating_sub(asked) >= retry);
            if peer.is_overdue(now) && is_due {
                peer.asked = Some(now);
                names.push((peer.name.clone(), peer.revision));
            }
        }
        names
    }

    /// The instance has given its lease back.
    pub(super) fn sign_off(&mut self, instance: Instance, now: Duration) {
        if let Some(peer) = self.by_instance.get_mut(&instance) {
            peer.left.get_or_insert(now);
        }
    }

    /// The instance has no lease any more; `false` if that was known.
    pub(super) fn remove(&mut self, instance: Instance) -> bool {
        let Some(peer) = self.by_instance.get_mut(&instance) else { return false };
        if std::mem::replace(&mut peer.is_gone, true) {
            return false;
        }
        // Remembered, so that its late messages are dropped.
        self.gone.push_back(instance);
        if self.gone.len() > CLUSTER_GONE_KEPT
            && let Some(oldest) = self.gone.pop_front()
        {
            self.by_instance.remove(&oldest);
        }
        true
    }

    /// The number of the next message to this instance alone; 0 if it is not known.
    pub(super) fn count_say(&mut self, instance: Instance) -> u64 {
        let Some(peer) = self.by_instance.get_mut(&instance) else { return 0 };
        peer.said += 1;
        peer.said
    }

    /// This node is another instance from now on: nothing was said to it yet, and it has said nothing.
    pub(super) fn begin_links(&mut self) {
        self.by_instance.values_mut().for_each(|peer| (peer.says, peer.said) = (0, 0));
    }

    /// Decides about a message; what is kept comes again from [`Peers::introduced`].
    pub(super) fn judge(&mut self, envelope: &Envelope, now: Duration) -> Verdict {
        let Some(peer) = self.by_instance.get_mut(&envelope.from) else { return Verdict::Keep };
        // Where a connection has ended, what was sent on it may come after what was sent on the next one.
        let (last, yields) = match envelope.to {
            To::All => (peer.yields, envelope.number),
            To::Claim(..) => (Some(peer.says), envelope.yields),
        };
        let is_late = last.is_some_and(|last| envelope.number <= last) || peer.yields.is_some_and(|last| yields < last);
        let counts = !peer.is_gone || peer.left.is_some_and(|left| now < left + CLUSTER_LAST_MESSAGES);
        if !counts || is_late {
            return Verdict::Drop;
        }
        // Also yields which have not come before a say that was sent after them.
        let mut missed = peer.yields.map_or(0, |last| yields - last);
        match envelope.to {
            To::All => missed = missed.saturating_sub(1),
            To::Claim(..) => {
                missed = missed.saturating_add(envelope.number - peer.says - 1);
                peer.says = envelope.number;
            }
        }
        peer.yields = Some(yields);
        peer.missed = peer.missed.saturating_add(missed);
        Verdict::Deliver { missed }
    }

    /// The nodes of which messages are missed since the last call, and how many.
    pub(super) fn take_missed(&mut self) -> Vec<(String, u64)> {
        let peers = self.by_instance.values_mut().filter(|peer| peer.missed > 0);
        peers.map(|peer| (peer.name.clone(), std::mem::take(&mut peer.missed))).collect()
    }

    /// Keeps the message of an instance that is not known yet; `false` if there is no room.
    pub(super) fn keep(&mut self, envelope: Envelope, now: Duration) -> bool {
        let has_room = self.strangers.len() < CLUSTER_STRANGER_MESSAGES;
        if has_room {
            self.strangers.push_back((now, envelope));
        }
        has_room
    }

    /// The messages that were kept for an instance, in their order.
    pub(super) fn introduced(&mut self, instance: Instance) -> Vec<Envelope> {
        let (its, others) = self.strangers.drain(..).partition(|(_, envelope)| envelope.from == instance);
        self.strangers = others;
        let its: VecDeque<_> = its;
        its.into_iter().map(|(_, envelope)| envelope).collect()
    }

    /// Drops what has waited too long for its instance; returns how many.
    pub(super) fn forget_strangers(&mut self, now: Duration) -> u64 {
        let before = self.strangers.len();
        self.strangers.retain(|(since, _)| now.saturating_sub(*since) < CLUSTER_STRANGER_WAIT);
        (before - self.strangers.len()) as u64
    }
}
