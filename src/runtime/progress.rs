//! Counts how often the tasks of a core run.
//!
//! The driver sees by it that no task ran since its last turn, and the watchdog that the core works. An overloaded core
//! still makes progress.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crossbeam_utils::CachePadded;
use pin_project_lite::pin_project;

/// The count of one core. Any thread may read it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<CachePadded<AtomicU64>>);

impl Progress {
    /// How often a task has run so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// `task`, counted whenever it runs.
    pub(super) fn track<F: Future>(&self, task: F) -> Tracked<F> {
        Tracked { task, progress: self.clone() }
    }
}

pin_project! {
    /// See [`Progress::track`].
    pub(super) struct Tracked<F> {
        #[pin]
        task: F,
        progress: Progress,
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Only the core's own thread writes it: a load and a store are enough.
        this.progress.0.store(this.progress.count() + 1, Ordering::Relaxed);
        this.task.poll(cx)
    }
}
