//! How this node joins, renews its lease, gives it back, and loses it.

use std::time::Duration;

use super::lease::Lease;
use super::node::{Action, Node};
use super::records::{Key, NodeRecord, Revision, VERSION, Value};
use crate::events::Event;
use crate::limits::CLUSTER_GONE_KEPT;
use crate::shard::Entered;

impl Node {
    /// Ends what belongs to the lease if its time is over.
    pub(super) fn check_lease(&mut self, now: Duration) {
        if self.lease.has_lapsed(now) && !self.has_left {
            self.lose(now);
        }
    }

    /// The sessions of this server have ended, as if its lease were over.
    pub fn on_ended(&mut self, now: Duration) {
        if !self.has_left {
            self.lose(now);
        }
    }

    /// The lease is over, or is another's: its cows may be given to others.
    pub(super) fn lose(&mut self, now: Duration) {
        self.forget_own_cows();
        self.begin_instance();
        self.figures.lost += 1;
        let sessions = self.sessions();
        self.actions.push(Action::LogOutAll);
        self.actions.push(Action::Log(Event::ClusterLost { sessions }));
        self.step_lease(now);
    }

    pub(super) fn forget_own_cows(&mut self) {
        let waiting = self.own.clear();
        self.actions.extend(waiting.into_iter().map(|owner| Action::Answer(owner, Entered::OutOfReach)));
    }

    /// From here on it is another instance, without a lease.
    pub(super) fn begin_instance(&mut self) {
        self.past.push_back(self.lease.instance);
        if self.past.len() > CLUSTER_GONE_KEPT {
            self.past.pop_front();
        }
        self.lease = Lease::new(self.instances.next(), self.config.times);
        self.yields = 0;
        self.peers.begin_links();
    }

    /// Joins, or renews its lease, if that is due and may be.
    pub(super) fn step_lease(&mut self, now: Duration) {
        if !self.is_connected || !self.is_synced || self.is_leaving && self.lease.revision.is_none() || self.has_left {
            return;
        }
        let expected = match self.lease.revision {
            // Also for its own: the store may have been set back to before it.
            _ if self.listed.is_some() || self.lease.is_missing() => return,
            // Others may take a cow that the store has lost, and this node is to know before its lease goes on.
            Some(_) if !self.is_signing_off && self.is_unsure_of_its_cows() => return,
            Some(revision) => revision,
            None => {
                if self.peers.live().any(|(_, peer)| !peer.record.fits(&self.print)) {
                    // Until it is gone, if it does not live.
                    self.check_herds();
                    return;
                }
                if self.peers.named(&self.config.name).is_some() {
                    // Until it is gone.
                    return;
                }
                self.node_revisions.get(&self.config.name).copied().unwrap_or_default()
            }
        };
        if self.lease.is_due(self.is_signing_off, now) {
            self.write_lease(expected);
        }
    }

    fn write_lease(&mut self, expected: Revision) {
        let has_left = self.is_signing_off;
        let ttl = self.config.times.ttl.as_millis() as u64;
        let (instance, herd) = (self.lease.instance, self.print.clone());
        let record = NodeRecord { version: VERSION, instance, ttl, herd, has_left };
        let (key, value) = (Key::Node(self.config.name.clone()), Value::Node(record));
        self.actions.push(Action::Write { key, value, expected });
    }
}
