//! What to do about one line, and what one core sends another. The shard decides it, and `net::delivery::apply` does it.

use std::sync::Arc;
use std::time::Duration;

use super::{Entered, InFlight, Message, PendingLogin, Presence};
use crate::cows::CowId;
use crate::directory::Owner;
use crate::ids::ShardId;

/// What to do about one line, in the order of the fields.
#[derive(Debug, Default)]
pub struct Effects {
    /// The receiver of a `say`: while it is far behind, everything else may wait.
    pub receiver: Option<CowId>,
    /// A frame for other cores. This may wait for room.
    pub forward: Forward,
    /// For the sender: one line, LF included, and what follows the reply to `history` or `show`.
    pub reply: Vec<u8>,
    /// For the receivers on this core, by [`super::Shard::on_frame`].
    pub local: Option<Frame>,
    /// What has become of the sender.
    pub outcome: Outcome,
    /// A login that waits for the cluster: the rest, its reply too, comes from [`super::Shard::on_entered`].
    pub pending: Option<Box<PendingLogin>>,
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
    /// To each other core, but not to this one.
    ToOthers(Frame, Option<ShardId>),
}

/// What one core tells another: references to messages, addressed to claims.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A private message for the claim `to`.
    Say {
        /// What is said.
        message: Arc<Message>,
        /// The sender's claim.
        author: Owner,
        /// The claim that the receiver had when the message was sent.
        to: Owner,
        /// Counts the message while it is on its way from another core.
        in_flight: Option<InFlight>,
    },
    /// A message for all sessions but the author's.
    Yield {
        /// What is said.
        message: Arc<Message>,
        /// The sender's claim.
        author: Owner,
    },
    /// A user has joined or left, for the sessions that have subscribed.
    Presence(Presence),
    /// From the cluster: what has come of the claim that a login has asked to enter.
    Entered(Owner, Entered),
    /// The sending core is shutting down and sends nothing more.
    End,
}

impl Frame {
    /// When the line of its message was read, by the server's time, if the message is timed.
    pub fn read_at(&self) -> Option<Duration> {
        match self {
            Frame::Say { message, .. } | Frame::Yield { message, .. } => message.read_at(),
            Frame::Presence(_) | Frame::Entered(..) | Frame::End => None,
        }
    }
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
