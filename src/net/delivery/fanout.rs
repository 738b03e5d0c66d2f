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
use crate::shard::{Delivery, Payload};

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
            turn.mark_large(self.is_over);
        }
    }
}

#[derive(Default)]
pub(crate) struct Outflow {
    delivered: Delivered,
    /// Receivers that could not take it, and end for that.
    ends: Vec<(Rc<Connection>, Close)>,
}

/// Queues a delivery for every receiver.
pub(crate) fn queue_to_all(core: &Core, delivery: &Delivery<'_>) -> Outflow {
    let mut outflow = Outflow::default();
    let (connections, now) = (core.connections(), core.now());
    for to in delivery.receivers() {
        // A session ends before its connection is forgotten.
        let receiver = &connections[to.connection.index()];
        let payload = delivery.payload(to.rendering);
        if delivery.author == Some(to.connection) {
            receiver.push_echo(payload.clone());
        } else {
            match push_or_make_room(core, receiver, payload, now) {
                Ok(Fit::Within) => {}
                Ok(Fit::Over) => {
                    outflow.delivered.is_over = true;
                    if !receiver.is_listed_as_over.replace(true) {
                        core.over_limit.borrow_mut().push(Rc::clone(receiver));
                    }
                }
                Err(close) => {
                    outflow.ends.push((Rc::clone(receiver), close));
                    continue;
                }
            }
        }
        outflow.delivered.receivers += 1;
        core.dirty.add(receiver);
        faults::at(Point::Deliver, payload);
    }
    outflow
}

/// Counts what was delivered, and ends the receivers that could not take it.
pub(crate) fn settle_outflow(core: &Core, outflow: Outflow) -> Delivered {
    core.metrics.add(Counter::Deliveries, outflow.delivered.receivers);
    for (receiver, close) in outflow.ends {
        core.end(&receiver, close);
    }
    outflow.delivered
}

/// Queues a message; if the queue is full, after a write of what the socket takes by now. The error: the receiver takes
/// nothing, or is broken, and ends.
fn push_or_make_room(core: &Core, receiver: &Connection, payload: &Payload, now: Duration) -> Result<Fit, Close> {
    let bytes_max = core.limits.sendq_bytes_max;
    receiver.push_delivery(payload.clone(), bytes_max, now).or_else(|QueueFull| {
        // The kernel says what is wrong only once.
        receiver.write_again().map_err(Close::of_write)?;
        receiver.push_delivery(payload.clone(), bytes_max, now).map_err(|QueueFull| CloseReason::SlowConsumer.into())
    })
}
