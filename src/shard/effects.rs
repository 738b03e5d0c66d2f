//! What to do about one line. The shard decides it, and `net::delivery::apply` does it.

use super::frame::Frame;
use crate::cows::CowId;
use crate::ids::ShardId;

/// What to do about one line, in the order of the fields.
#[derive(Debug, Default)]
pub struct Effects {
    /// The receiver of a `say`: while it is far behind, everything else may wait.
    pub receiver: Option<CowId>,
    /// A frame for other cores. This may wait for room.
    pub forward: Forward,
    /// For the sender: one line, LF included, and after `History:` its blocks.
    pub reply: Vec<u8>,
    /// For the receivers on this core, by [`super::Shard::on_frame`].
    pub local: Option<Frame>,
    /// What has become of the sender.
    pub outcome: Outcome,
    /// How many others a `yield` is for: flood control charges for them.
    pub receivers: usize,
    /// Bytes that each receiver gets, at most.
    pub message_bytes: usize,
}

/// Where a frame goes beyond its own core.
#[derive(Debug, Default)]
pub enum Forward {
    /// Nowhere.
    #[default]
    Nowhere,
    /// To the core of one receiver.
    To(ShardId, Frame),
    /// To each other core.
    ToOthers(Frame),
}

/// What a line has made of its sender.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same as before.
    #[default]
    Unchanged,
    /// Registered as this cow.
    LoggedIn(CowId),
    /// Gone; its cow, if it had one, is free.
    Quit(Option<CowId>),
    /// A client of another protocol. It has been told so, and its connection ends.
    Foreign,
}
