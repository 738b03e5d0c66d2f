//! Cows of other nodes: in the directory they are claimed by the bridge's shard, so a login or a `say` here finds them as any other.

use super::node::{Action, Node, Remote};
use super::records::Instance;
use crate::cows::CowId;
use crate::ids::{ConnectionId, ShardId};
use crate::shard::{Frame, Presence};

impl Node {
    /// The live instance of another node that has `cow`.
    pub(super) fn holder(&self, cow: CowId) -> Option<Instance> {
        let instance = self.known.get(&cow)?.record.as_ref()?.instance;
        self.peers.is_live(instance).then_some(instance)
    }

    /// Makes the directory say of a cow what the store does.
    pub(super) fn apply(&mut self, cow: CowId) {
        self.blocked.remove(&cow);
        let record = self.known(cow).record.filter(|record| self.peers.is_live(record.instance));
        if self.remote.get(&cow).map(|remote| &remote.record) == record.as_ref() {
            return;
        }
        // Also for a new holder: what was said to the one before must not reach it.
        if let Some(Remote { claim, .. }) = self.remote.remove(&cow) {
            self.by_owner.remove(&claim.owner());
            drop(claim);
            self.announce(Presence::Left(cow));
        }
        let Some(record) = record else { return };
        match self.claims.claim(cow, ConnectionId::new(0)) {
            Some(claim) => {
                self.by_owner.insert(claim.owner(), cow);
                self.remote.insert(cow, Remote { claim, record });
                self.announce(Presence::Joined(cow));
            }
            // A login here claims it, in vain.
            None => _ = self.blocked.insert(cow),
        }
    }

    pub(super) fn unblock(&mut self, cow: CowId) {
        if self.blocked.contains(&cow) {
            self.apply(cow);
        }
    }

    /// Tells the users of this server that have subscribed.
    pub(super) fn announce(&mut self, presence: Presence) {
        if !self.is_synced {
            return;
        }
        for core in (0..self.config.cores).map(ShardId::new) {
            if self.context.demand.has_subscribers(core) {
                self.actions.push(Action::Deliver(core, Frame::Presence(presence)));
            }
        }
    }
}
