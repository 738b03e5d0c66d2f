//! What one node sends others: the text travels, and each node draws.

use serde::{Deserialize, Serialize};

use super::records::Instance;

/// A message on its way between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The instance that sends it.
    pub from: Instance,
    /// Its number, from 1, among what the instance sends to all, or among what it says to users of that node: a gap is a loss.
    pub number: u64,
    /// Messages that the instance has sent to all so far.
    pub yields: u64,
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
