//! What an address and a connection may do, and when. Decisions and arithmetic only: each function gets the time.
//! Nothing here waits, but for the mutexes of [`addresses`] and [`bans`].

pub(crate) mod addresses;
pub(crate) mod admission;
pub(crate) mod bans;
pub mod flood;
pub mod idle;
pub mod limits;
pub(crate) mod liveness;
pub mod memory_budget;
pub mod networks;
pub mod upkeep;
