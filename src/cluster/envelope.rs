//! What one node sends all others: the text travels, and each node draws.

use serde::{Deserialize, Serialize};

use super::records::Instance;

/// A message on its way between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The instance that sends it.
    pub from: Instance,
    /// Its number among all that the instance sends, from 1: a gap is a loss.
    pub number: u64,
    /// The sender's place in the herd.
    pub sender: u32,
    /// For whom it is.
    pub to: To,
    /// What is said, made safe.
    pub text: String,
}

/// For whom a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// All users of all other nodes.
    All,
    /// The user with this claim on the node with this instance.
    Claim(Instance, u64),
}
