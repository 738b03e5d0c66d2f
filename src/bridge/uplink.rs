//! What the cores see of the bridge: whether the cluster is in reach, and the way to ask for claims.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::cluster::figures::Figures;
use crate::cows::CowId;
use crate::directory::Owner;
use crate::ids::ShardId;
use crate::net::delivery::mesh::Mesh;
use crate::shard::{Cluster, Reach};

/// A time that nothing reaches.
const NEVER: u64 = u64::MAX;

/// What cores and the supervisor ask of the bridge.
#[derive(Debug)]
pub(super) enum Asked {
    Enter(CowId, Owner),
    Release(CowId, Owner),
    /// Every core has ended: give back what is left, and leave.
    Leave,
}

/// The bridge, as the cores see it.
#[derive(Debug)]
pub struct Uplink {
    shard: ShardId,
    /// The bridge's own end.
    mesh: Mesh,
    asks: Sender<Asked>,
    is_in_reach: AtomicBool,
    /// In nanoseconds of [`now`]: from then on no session may go on.
    lost_at: AtomicU64,
    epoch: AtomicU64,
    figures: Mutex<Figures>,
}

impl Uplink {
    /// That of the bridge that has `mesh`; what cores ask goes to `asks`.
    pub(super) fn new(shard: ShardId, mesh: Mesh, asks: Sender<Asked>) -> Arc<Self> {
        let (is_in_reach, lost_at, epoch) = (AtomicBool::new(false), AtomicU64::new(NEVER), AtomicU64::new(0));
        Arc::new(Uplink { shard, mesh, asks, is_in_reach, lost_at, epoch, figures: Mutex::default() })
    }

    pub(super) fn ask(&self, asked: Asked) {
        // A bridge that has ended has left the cluster.
        let _ = self.asks.send(asked);
        self.mesh.remote_waker().wake();
    }

    /// What the node has counted, for a scrape.
    pub fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds from now on.
    pub(super) fn set(&self, figures: Figures, lost_at: Option<Duration>) {
        let is_in_reach = figures.is_in_reach;
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
        self.lost_at.store(lost_at.map_or(NEVER, nanoseconds), Ordering::SeqCst);
        self.is_in_reach.store(is_in_reach, Ordering::SeqCst);
    }

    /// The lease is over: no session of before may go on. Returns how often that was so.
    pub(super) fn end_epoch(&self) -> u64 {
        self.is_in_reach.store(false, Ordering::SeqCst);
        self.lost_at.store(NEVER, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How often the lease was over, as cores know it.
    pub(super) fn epochs(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

impl Cluster for Uplink {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn reach(&self) -> Reach {
        match self.is_in_reach.load(Ordering::Relaxed) {
            false => Reach::Gone,
            // Cores that refuse from here on never fill the rest.
            true if self.mesh.is_half_full() => Reach::Full,
            true => Reach::Open,
        }
    }

    fn epoch(&self) -> u64 {
        let lost_at = self.lost_at.load(Ordering::SeqCst);
        if lost_at != NEVER
            && nanoseconds(now()) >= lost_at
            && self.lost_at.compare_exchange(lost_at, NEVER, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            self.is_in_reach.store(false, Ordering::SeqCst);
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.epoch.load(Ordering::SeqCst)
    }

    fn enter(&self, cow: CowId, owner: Owner) {
        self.ask(Asked::Enter(cow, owner));
    }

    fn release(&self, cow: CowId, owner: Owner) {
        self.ask(Asked::Release(cow, owner));
    }
}

/// A clock that goes on while the process is stopped, and while the machine sleeps.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}
