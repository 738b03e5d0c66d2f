//! What one core sends another: references to messages, addressed to claims.

use std::sync::Arc;

use super::{InFlight, Message, Presence};
use crate::directory::Owner;

/// What one core tells another.
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
    /// The sending core is shutting down and sends nothing more.
    End,
}
