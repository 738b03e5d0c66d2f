//! One message into the queues of all its receivers on this core.
//!
//! Queueing to all is one step that nothing can come between; writing happens afterwards (`flush`).

use std::rc::Rc;
use std::time::Duration;

use crate::close_reason::CloseReason;
use crate::faults::{self, Point};
use crate::limits::RING_SENDS;
use crate::metrics::Counter;
use crate::net::connection::send_queue::{Fit, QueueFull};
use crate::net::connection::{Close, Connection};
use crate::net::core::Core;
use crate::net::turn::Turn;
use crate::shard::{Delivery, Payload, Shard};

/// What came of a delivery on one core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivered {
    pub(crate) receivers: u64,
    /// One of them is over its limit now.
    pub(crate) is_over: bool,
}

impl Delivered {
    /// Tells the turn that has delivered it if this was much: for as many connections as one batch writes to, or more
    /// than its limit for one.
    pub(crate) fn mark(self, turn: &mut Turn) {
        if self.receivers >= RING_SENDS as u64 || self.is_over {
            turn.mark_large();
        }
        if self.is_over {
            // So that the receiver can read first.
            turn.end_after_this_step();
        }
    }
}

/// Queues what `decide` has the shard deliver here, counts it, and ends the receivers that cannot take it. `None` if the
/// shard delivers nothing.
pub(crate) fn deliver(
    core: &Core,
    decide: impl for<'s> FnOnce(&'s mut Shard, Duration) -> Option<Delivery<'s>>,
) -> Option<Delivered> {
    let mut ends = Vec::new();
    let now = core.now();
    let delivered = core.with_shard(|shard| Some(queue_to_all(core, &decide(shard, now)?, now, &mut ends)))?;
    core.metrics.add(Counter::Deliveries, delivered.receivers);
    for (receiver, close) in ends {
        core.end(&receiver, close);
    }
    Some(delivered)
}

/// Queues a delivery for every receiver; those that cannot take it are added to `ends`.
fn queue_to_all(
    core: &Core,
    delivery: &Delivery<'_>,
    now: Duration,
    ends: &mut Vec<(Rc<Connection>, Close)>,
) -> Delivered {
    let mut delivered = Delivered::default();
    let connections = core.connections();
    let bytes_max = core.limits().sendq_bytes_max;
    for to in delivery.receivers() {
        // A session ends before its connection is forgotten.
        let receiver = &connections[to.connection.index()];
        let payload = delivery.payload(to.rendering);
        if delivery.author == Some(to.connection) {
            receiver.push_echo(payload.clone());
        } else {
            match push_or_make_room(receiver, payload, bytes_max, now) {
                Ok(Fit::Within) => {}
                Ok(Fit::Over) => {
                    delivered.is_over = true;
                    if !receiver.is_listed_as_over.replace(true) {
                        core.over_limit.borrow_mut().push(Rc::clone(receiver));
                    }
                }
                Err(close) => {
                    ends.push((Rc::clone(receiver), close));
                    continue;
                }
            }
        }
        delivered.receivers += 1;
        core.dirty.add(receiver);
        faults::at(Point::Deliver, payload);
    }
    delivered
}

/// Queues a message; if the queue is full, after a write of what the socket takes by now. The error: the receiver takes
/// nothing, or is broken, and ends.
fn push_or_make_room(receiver: &Connection, payload: &Payload, bytes_max: usize, now: Duration) -> Result<Fit, Close> {
    receiver.push_delivery(payload.clone(), bytes_max, now).or_else(|QueueFull| {
        // The kernel says what is wrong only once.
        receiver.write_again().map_err(Close::of_write)?;
        receiver.push_delivery(payload.clone(), bytes_max, now).map_err(|QueueFull| CloseReason::SlowConsumer.into())
    })
}
