//! From what a line or a frame decides to bytes in a socket.

pub(crate) mod apply;
pub(crate) mod batch;
pub(crate) mod dirty;
pub(crate) mod fanout;
pub(crate) mod flush;
pub mod mesh;
pub(crate) mod outbox;
pub(crate) mod presence;
pub(crate) mod pump;
