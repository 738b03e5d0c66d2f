//! The atomics that claims are made of: the standard library's.
//!
//! Under `cfg(shuttle)`, which only the package `tests/claims/` sets, they are those of `explored`, so that an explorer of
//! schedules comes between any two of their steps.

#[cfg(shuttle)]
pub(super) use super::explored::{AtomicU64, AtomicUsize, zeros};
#[cfg(not(shuttle))]
pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Zeros, which take no memory until they are touched. `None` if the allocation fails all the same.
#[cfg(not(shuttle))]
pub(super) fn zeros(count: usize) -> Option<Box<[AtomicU64]>> {
    bytemuck::try_zeroed_slice_box(count).ok()
}
