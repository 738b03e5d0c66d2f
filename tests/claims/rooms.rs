//! The rooms of `src/` that a claim goes through, and those that they import: what `src/lib.rs` has of them, under
//! `cfg(shuttle)`.

/// Stands for the server's allocator, which the explorer does not need.
pub mod allocator {
    /// Runs `act`.
    pub fn may_fail<T>(act: impl FnOnce() -> T) -> T {
        act()
    }
}
#[path = "../../src/close_reason.rs"]
pub mod close_reason;
#[path = "../../src/cows/mod.rs"]
pub mod cows;
#[path = "../../src/directory/mod.rs"]
pub mod directory;
pub mod explored;
#[path = "../../src/faults.rs"]
pub mod faults;
#[path = "../../src/held_bytes.rs"]
pub mod held_bytes;
#[path = "../../src/ids.rs"]
pub mod ids;
#[path = "../../src/limits.rs"]
pub mod limits;
#[path = "../../src/metrics.rs"]
pub mod metrics;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/shard/mod.rs"]
pub mod shard;
