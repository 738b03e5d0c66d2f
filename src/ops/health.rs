//! Whether the server is ready, and which cores make progress: what its supervisor knows, for other threads to read.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ids::ShardId;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// The state of a server. The supervisor writes it.
#[derive(Debug)]
pub struct Health {
    began: Instant,
    stage: AtomicU8,
    has_stalled_core: AtomicBool,
    /// By core: when its progress was last seen to change, in milliseconds since `began`.
    progress: Box<[AtomicU64]>,
    /// Connections that may be open at once; a reload may change it.
    connections_max: AtomicU64,
}

impl Health {
    /// Of a server that starts, with this many cores.
    pub fn new(cores: usize, connections_max: u64) -> Self {
        Health {
            began: Instant::now(),
            stage: AtomicU8::new(STARTING),
            has_stalled_core: AtomicBool::new(false),
            progress: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            connections_max: AtomicU64::new(connections_max),
        }
    }

    /// This many connections may be open at once from now on.
    pub fn set_connections_max(&self, most: u64) {
        self.connections_max.store(most, Ordering::Relaxed);
    }

    /// How many connections may be open at once.
    pub fn connections_max(&self) -> u64 {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Every core accepts.
    pub fn set_ready(&self) {
        self.stage.store(READY, Ordering::Release);
        (0..self.progress.len()).for_each(|core| self.record_progress(ShardId::new(core), Instant::now()));
    }

    /// The server drains.
    pub fn set_draining(&self) {
        self.stage.store(DRAINING, Ordering::Release);
    }

    /// Whether a core is stalled.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.has_stalled_core.store(is_stalled, Ordering::Release);
    }

    /// A core's progress was last seen to change at `at`.
    pub fn record_progress(&self, core: ShardId, at: Instant) {
        let millis = at.saturating_duration_since(self.began).as_millis();
        self.progress[core.index()].store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether every core accepts and no drain has begun.
    pub fn is_ready(&self) -> bool {
        self.stage.load(Ordering::Acquire) == READY
    }

    /// Whether the server drains.
    pub fn is_draining(&self) -> bool {
        self.stage.load(Ordering::Acquire) == DRAINING
    }

    /// Whether no core is stalled.
    pub fn is_alive(&self) -> bool {
        !self.has_stalled_core.load(Ordering::Acquire)
    }

    /// By core: the time since its progress was last seen to change.
    pub fn progress_ages(&self) -> impl Iterator<Item = Duration> {
        let now = self.began.elapsed();
        self.progress.iter().map(move |at| now.saturating_sub(Duration::from_millis(at.load(Ordering::Acquire))))
    }
}
