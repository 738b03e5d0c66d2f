//! What the node is not sure of, and reads: what a list lacks, and whether the holder of a cow is there.

use std::time::Duration;

use super::cows::Known;
use super::node::Node;
use super::records::{CowRecord, Instance, Key};
use crate::cows::CowId;
use crate::limits::CLUSTER_UNSURE_AGAIN;

impl Node {
    /// Whether the store has told, or was asked, of all that is known here.
    pub fn is_sure(&self) -> bool {
        self.unsure.is_empty()
    }

    /// Whether the list lacked a cow of this node, or its claim, and no read has told of it yet.
    pub(super) fn is_unsure_of_its_cows(&self) -> bool {
        let is_its = |cow| self.known(cow).record.is_some_and(|record| record.instance == self.lease.instance);
        self.unsure.iter().any(|key| matches!(key, Key::Cow(cow) if is_its(*cow) || self.is_lost(*cow)))
    }

    /// Whether a session of this node has the cow, and the store has not its claim, as far as is known.
    pub(super) fn is_lost(&self, cow: CowId) -> bool {
        self.own.is_lost(cow, &self.known(cow), self.lease.instance)
    }

    /// Reads what the list lacked, again and again until there is an answer.
    pub(super) fn ask_unsure(&mut self, now: Duration) {
        if self.unsure_asked.is_none_or(|asked| now.saturating_sub(asked) >= CLUSTER_UNSURE_AGAIN) {
            self.unsure_asked = Some(now);
            let unsure: Vec<_> = self.unsure.iter().cloned().collect();
            unsure.into_iter().for_each(|key| self.read(key, None));
        }
    }

    /// Whether the cow may be another instance's of which nothing is known yet: the store may tell of a cow before the lease, which
    /// has been renewed since. Then it is asked.
    pub(super) fn doubts_holder(&mut self, known: &Known, now: Duration) -> bool {
        let Some(record) = &known.record else { return false };
        let CowRecord { node, instance, .. } = record;
        let is_known = *instance == self.lease.instance || self.past.contains(instance) || self.peers.knows(*instance);
        if is_known || node.is_empty() || self.dead.contains(instance) {
            return false;
        }
        if !self.doubts.contains_key(instance) {
            self.doubts.insert(*instance, now);
            self.read(Key::Node(node.clone()), Some(*instance));
        }
        true
    }

    /// The record of an instance's node was read.
    pub(super) fn on_confirmed(&mut self, instance: Instance, now: Duration) {
        if self.doubts.remove(&instance).is_none() {
            return;
        }
        if !self.peers.knows(instance) {
            self.dead.insert(instance);
        }
        self.cows_of(instance).into_iter().for_each(|cow| self.step(cow, now));
    }

    /// Asks again where no answer came.
    pub(super) fn ask_doubted(&mut self, now: Duration) {
        let is_late = |asked: &Duration| now.saturating_sub(*asked) >= CLUSTER_UNSURE_AGAIN;
        let late: Vec<_> =
            self.doubts.extract_if(.., |_, asked| is_late(asked)).map(|(instance, _)| instance).collect();
        for instance in late {
            self.cows_of(instance).into_iter().for_each(|cow| self.step(cow, now));
        }
    }
}
