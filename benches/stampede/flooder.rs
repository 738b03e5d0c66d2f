//! The flooder of `flood` as the run sees it: started, ready, counted, stopped. [`super::flood_thread`] is what it does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cowchat::limits::CONNECT_WAIT_MAX;
use serde_json::{Value, json};

use super::cli::FloodKind;
use super::flood_thread::{Shared, flood};
use super::procfs::thread_cpu_ns;
use super::wire::Gallery;

/// The longest wait until all standing connections are logged in. The server serves them at `--connect-rate`: 64 in 22 s,
/// or in 32 s after a run before.
const READY_MAX: Duration = CONNECT_WAIT_MAX.saturating_mul(3);

/// What the flooder has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    executed: u64,
    refused: u64,
    opened: u64,
    cut: u64,
    cpu_ns: u64,
}

impl Counts {
    /// What was done since `earlier`, for the JSON.
    pub fn json_since(self, earlier: Counts) -> Value {
        json!({
            "flooder_executed": self.executed - earlier.executed,
            "flooder_refused": self.refused - earlier.refused,
            "flooder_opened": self.opened - earlier.opened,
            "flooder_cut": self.cut - earlier.cut,
            "flooder_cpu_seconds": self.cpu_ns.saturating_sub(earlier.cpu_ns) as f64 / 1e9,
        })
    }
}

/// A flood under way, until this is dropped.
pub struct Flooder {
    shared: Arc<Shared>,
    started: Instant,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Flooder {
    /// Opens the connections, with names from `first_name` on. Each floods once it is logged in, or, in a burst, all of
    /// them on [`Flooder::begin`].
    pub fn start(server: SocketAddr, kind: FloodKind, gallery: &Gallery, first_name: usize) -> Flooder {
        let shared = Arc::new(Shared::default());
        shared.may_flood.store(kind != FloodKind::Burst, Ordering::Relaxed);
        let thread = std::thread::spawn({
            let (shared, gallery) = (Arc::clone(&shared), gallery.clone());
            move || flood(server, kind, gallery, first_name, shared)
        });
        Flooder { shared, started: Instant::now(), thread: Some(thread) }
    }

    /// Whether all standing connections were logged in at the same time.
    ///
    /// # Errors
    /// When the thread has failed, or after [`READY_MAX`].
    pub fn is_ready(&mut self) -> anyhow::Result<bool> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        let is_ready = self.shared.is_ready.load(Ordering::Relaxed);
        if !is_ready && self.started.elapsed() > READY_MAX {
            bail!("not all its connections are logged in after {READY_MAX:?}");
        }
        Ok(is_ready)
    }

    /// Lets the connections of a burst flood.
    pub fn begin(&self) {
        self.shared.may_flood.store(true, Ordering::Relaxed);
    }

    /// What it has done.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        let Shared { executed, refused, opened, cut, thread, .. } = &*self.shared;
        let [executed, refused, opened, cut] = [executed, refused, opened, cut].map(|n| n.load(Ordering::Relaxed));
        let cpu_ns = thread_cpu_ns(thread.load(Ordering::Relaxed)).context("its thread has ended")?;
        Ok(Counts { executed, refused, opened, cut, cpu_ns })
    }

    /// Resets all connections.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| bail!("panicked")))
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}
