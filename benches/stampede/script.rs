//! What a crowd does: `fanout`, `say`, `mix`, `slow` and `flood` differ in these numbers alone.

use std::time::Duration;

/// A conversation, before it is held.
#[derive(Debug, Clone)]
pub struct Script {
    /// Clients that are registered and read.
    pub clients: usize,
    /// The first of them, as many as this, speak.
    pub senders: usize,
    /// Messages that a sender has in flight.
    pub window: usize,
    /// Instead, a sender's messages are due at this interval, whether or not the last ones have arrived.
    pub pace: Option<Duration>,
    /// Clients 2i and 2i+1 talk to each other.
    pub paired: bool,
    /// In pairs, the receiver says the next message.
    pub answer: bool,
    /// Lines in a hundred that are yields.
    pub yields: u32,
    /// Other registered clients, each of which may be absent at any moment.
    pub others: usize,
    /// Names after those of `clients` and apart from the crowd, which may yield anything at any time.
    pub strangers: usize,
}

impl Script {
    /// `senders` clients yield one message at a time, and no other client listens.
    pub fn to_all(senders: usize) -> Script {
        Script {
            clients: senders,
            senders,
            window: 1,
            pace: None,
            paired: false,
            answer: false,
            yields: 100,
            others: 0,
            strangers: 0,
        }
    }

    /// Each client talks to its partner.
    pub fn pairs(clients: usize, yields: u32) -> Script {
        Script { paired: true, yields, ..Script::to_all(clients) }
    }

    /// Lanes of the ledger: one for what each client gets from its partner, then those of [`Script::yield_lane`].
    pub fn lanes(&self) -> usize {
        self.clients + if self.yields > 0 { self.clients * self.senders } else { 0 }
    }

    /// The lane of what `receiver` gets of the yields of `sender`.
    pub fn yield_lane(&self, receiver: usize, sender: usize) -> usize {
        self.clients + receiver * self.senders + sender
    }

    /// Deliveries of one yield.
    pub fn audience(&self) -> usize {
        self.clients - 1
    }

    /// Whether the sender of this name is no client of the crowd.
    pub fn is_stranger(&self, sender: usize) -> bool {
        (self.clients..self.clients + self.strangers).contains(&sender)
    }
}
