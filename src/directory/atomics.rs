//! The atomics that claims are made of: the standard library's.
//!
//! Under the feature `shuttle`, which is for tests only, they are those of `explored`, so that an
//! explorer of schedules comes between any two of their steps (`tests/claims/`).

#[cfg(feature = "shuttle")]
pub(super) use super::explored::{AtomicU64, AtomicUsize, zeros};
#[cfg(not(feature = "shuttle"))]
pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize};

/// So many zeros, which take no memory until they are touched.
#[cfg(not(feature = "shuttle"))]
pub(super) fn zeros(count: usize) -> Box<[AtomicU64]> {
    bytemuck::zeroed_slice_box(count)
}
