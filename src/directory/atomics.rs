//! The atomics of claims: the standard library's, or, in the package `tests/claims/` alone, those of an explorer of schedules.

#[cfg(shuttle)]
pub(super) use crate::explored::{AtomicU64, zeros};
#[cfg(not(shuttle))]
pub(super) use std::sync::atomic::AtomicU64;

/// Zeros, which take no memory until they are written. `None` if the allocation fails.
#[cfg(not(shuttle))]
pub(super) fn zeros(count: usize) -> Option<Box<[AtomicU64]>> {
    bytemuck::try_zeroed_slice_box(count).ok()
}
