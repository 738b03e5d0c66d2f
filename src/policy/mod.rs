//! Decisions, arithmetic only: how much an address and a connection may do, and when. Time is told, or is a clock that
//! all cores share; nothing here waits.

pub(crate) mod addresses;
pub(crate) mod admission;
pub mod flood;
pub mod idle;
pub mod limits;
pub(crate) mod liveness;
pub mod memory_budget;
pub mod networks;
pub mod upkeep;
