//! Delivery: `apply` carries out what the shard decides. `mesh`, `outbox` and `pump` take frames between cores; `fanout` and
//! `presence` queue for the receivers of this core; `dirty`, `flush` and `batch` write what is queued.

pub(crate) mod apply;
pub(crate) mod batch;
pub(crate) mod dirty;
pub(crate) mod fanout;
pub(crate) mod flush;
pub mod mesh;
pub(crate) mod outbox;
pub(crate) mod presence;
pub(crate) mod pump;
