//! What a shard asks of the cluster, if its server shares its herd with others.
//!
//! The cluster is one more shard of the mesh: it owns the cows of all other servers, and takes frames for them. Only a login
//! differs: the claim is made here at once, and entered in the cluster before it counts.

use std::fmt::Debug;
use std::sync::Arc;

use crate::cows::{Breed, CowId};
use crate::directory::{Claim, CowPermit, Owner};
use crate::ids::ShardId;

/// Whether the other servers can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// They can.
    Open,
    /// They can, but too much waits for them.
    Full,
    /// They cannot.
    Gone,
}

/// The other servers, as a shard knows them. Calls come from all cores, and none waits.
pub trait Cluster: Debug + Send + Sync {
    /// The shard that owns their cows.
    fn shard(&self) -> ShardId;

    /// Whether they can be reached now.
    fn reach(&self) -> Reach;

    /// A number that grows when the cluster may have given this server's cows to others: no session of before may go on.
    fn epoch(&self) -> u64;

    /// Asks to enter a claim of this server. [`super::Shard::on_entered`] is told what comes of it.
    fn enter(&self, cow: CowId, owner: Owner);

    /// Takes back what `enter` has asked. Calls for one cow are done in their order.
    fn release(&self, cow: CowId, owner: Owner);
}

/// What has come of a claim that was to be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The cow is this server's.
    Yes,
    /// It is another server's.
    Taken,
    /// The cluster did not answer in time.
    OutOfReach,
}

/// A claim as the cluster knows it, taken back when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    cluster: Arc<dyn Cluster>,
    cow: CowId,
    owner: Owner,
}

impl Entry {
    pub(super) fn new(cluster: Arc<dyn Cluster>, claim: &Claim) -> Box<Self> {
        let entry = Entry { cluster, cow: claim.cow(), owner: claim.owner() };
        entry.cluster.enter(entry.cow, entry.owner);
        Box::new(entry)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.cluster.release(self.cow, self.owner);
    }
}

/// What a session holds of its cow. Fields are dropped in this order: the cluster is told before another connection can
/// claim the cow here.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) entry: Option<Box<Entry>>,
    pub(super) claim: Claim,
    pub(super) permit: Option<CowPermit>,
}

/// A login that waits for the cluster.
#[derive(Debug)]
pub struct PendingLogin {
    pub(super) holding: Holding,
    /// If any cow of this breed will do.
    pub(super) any: Option<Breed>,
    /// Of its reply.
    pub(super) id: Option<Box<str>>,
    pub(super) crlf: bool,
}

impl PendingLogin {
    /// The claim that it asks to enter.
    pub fn owner(&self) -> Owner {
        self.holding.claim.owner()
    }
}
