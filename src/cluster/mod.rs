//! What a server makes of the other servers of its cluster. Pure, as the shard is: the simulation runs several nodes with a
//! store that delays, loses and repeats. What is walked is in order, so that a seed always runs the same.
//!
//! - `node`: what it makes of what cores ask and of time; `store_events`: of records; `doubts`: of what is not sure; `membership`: of
//!   its own lease; `messages`: of frames and messages; `peers`, `cows`, `lease`, `remote`: its parts
//! - `figures`: what it counts
//! - `records`: what the cluster's store has of nodes and cows; `envelope`: what one node sends others; `lanes`:
//!   their order
//!
//! A node holds a lease, and its cows belong to its *instance*, which is one stretch of that lease. No other node takes them
//! before the lease has run out, and the node gives them up before that, by its own clock. So a cow has one user in the whole
//! cluster, whatever is lost, late or stopped:
//!
//! - A lease runs from when its renewal was *sent*, here, and from when that was *seen*, elsewhere, which is later. Here it
//!   is shorter by a tenth.
//! - Before another node takes a lease for ended, it takes it out of the store: a renewal under way then comes too late.
//! - A record changes only if it is still at the revision that the writer has seen, so of two writers one wins.
//! - What a broker says may be old: one that leads no longer may answer, and a copy that is behind may tell. So of a read that says
//!   less than is known nothing is believed that would free a cow of a node whose time is not over.
//! - An instance is never used again, and the messages of one that has ended are dropped.

mod cows;
mod doubts;
pub mod envelope;
pub mod figures;
pub mod lanes;
pub mod lease;
mod membership;
mod messages;
pub mod node;
mod peers;
pub mod records;
mod remote;
mod store_events;
