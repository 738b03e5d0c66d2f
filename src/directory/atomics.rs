//! The atomics that claims are made of: the standard library's.
//!
//! Under `cfg(shuttle)`, which only the package `tests/claims/` sets, they are those of `explored`, so that an explorer of
//! schedules comes between any two of their steps.

#[cfg(shuttle)]
pub(super) use super::explored::{AtomicU64, AtomicUsize, zeros};
#[cfg(not(shuttle))]
pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize};

/// So many zeros, which take no memory until they are touched.
#[cfg(not(shuttle))]
pub(super) fn zeros(count: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(count)
}
