//! The two lanes of messages from other nodes, put together again: a `yield` goes to all nodes at once, a `say` only to the node
//! of its receiver, and what one sender sends must be delivered in its order.
//!
//! A broker keeps the order of what one node sends on one connection. What was sent on the one before may come later, and is then
//! dropped: the node counts.

use std::collections::VecDeque;

use super::envelope::{Envelope, To};

/// Messages that have arrived and are not delivered yet.
#[derive(Debug, Default)]
pub struct Lanes {
    yields: VecDeque<Envelope>,
    says: VecDeque<Envelope>,
}

impl Lanes {
    /// Takes in a message. All that have arrived so far on both lanes must be taken in before [`Lanes::pop`] is called.
    pub fn push(&mut self, envelope: Envelope) {
        match envelope.to {
            To::All => self.yields.push_back(envelope),
            To::Claim(..) => self.says.push_back(envelope),
        }
    }

    /// The next message, so that those of each sender come in its order.
    pub fn pop(&mut self) -> Option<Envelope> {
        match self.says.front() {
            // The first yield arrived before the one that this waits for, and what was sent before it stood before this.
            Some(say) if self.yields.iter().any(|earlier| is_before(earlier, say)) => self.yields.pop_front(),
            Some(_) => self.says.pop_front(),
            None => self.yields.pop_front(),
        }
    }
}

/// Whether this yield was sent before this say.
fn is_before(earlier: &Envelope, say: &Envelope) -> bool {
    earlier.from == say.from && earlier.number <= say.yields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Three senders send; some of it is lost, and the rest is looked at now and then.
        #[test]
        fn each_sender_is_heard_in_its_order(
            sent in prop::collection::vec((0..3_u64, any::<bool>(), 0..10_u8, any::<bool>()), 0..200),
        ) {
            let (mut lanes, mut heard) = (Lanes::default(), Vec::new());
            let (mut yields, mut says, mut expected) = ([0; 3], [0; 3], 0);
            for (at, (from, is_yield, fate, is_looked_at)) in sent.into_iter().enumerate() {
                let sender = from as usize;
                let counted = if is_yield { &mut yields[sender] } else { &mut says[sender] };
                *counted += 1;
                let (number, to) = (*counted, if is_yield { To::All } else { To::Claim(1, 1) });
                if fate > 0 {
                    lanes.push(Envelope { from, number, yields: yields[sender], sender: 0, to, text: at.to_string() });
                    expected += 1;
                }
                if is_looked_at {
                    heard.extend(std::iter::from_fn(|| lanes.pop()));
                }
            }
            heard.extend(std::iter::from_fn(|| lanes.pop()));
            prop_assert_eq!(heard.len(), expected);
            for sender in 0..3 {
                let of_it = heard.iter().filter(|envelope| envelope.from == sender);
                let times: Vec<usize> = of_it.filter_map(|envelope| envelope.text.parse().ok()).collect();
                prop_assert!(times.is_sorted(), "{sender}: {times:?}");
            }
        }
    }
}
