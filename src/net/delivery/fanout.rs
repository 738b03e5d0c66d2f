//! One message into the queues of everybody on this core who gets it.
//!
//! Queueing to all is one step that nothing can come between; writing happens afterwards (`flush`).

use std::rc::Rc;

use crate::close_reason::CloseReason;
use crate::faults::{self, Point};
use crate::metrics::Counter;
use crate::net::connection::send_queue::{Fill, Overflow};
use crate::net::connection::{Connection, Ending};
use crate::net::core::Core;
use crate::shard::{Delivery, Payload};

/// What came of a delivery on one core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivered {
    pub(crate) receivers: u64,
    /// For somebody more waits now than should.
    pub(crate) is_too_much: bool,
}

/// What became of a delivery.
#[derive(Default)]
pub(crate) struct Outflow {
    delivered: Delivered,
    /// Who could not be given it, and ends for that.
    ends: Vec<(Rc<Connection>, Ending)>,
}

/// Queues a delivery for every receiver.
pub(crate) fn queue_to_all(core: &Core, delivery: &Delivery<'_>) -> Outflow {
    let mut outflow = Outflow::default();
    let connections = core.connections();
    for to in delivery.receivers() {
        // A session ends before its connection is forgotten.
        let receiver = &connections[to.connection.index()];
        let payload = delivery.payload(to.form);
        if delivery.author == Some(to.connection) {
            receiver.push_own_message(payload.clone());
        } else {
            match push_or_make_room(core, receiver, payload) {
                Ok(Fill::Within) => {}
                Ok(Fill::Over) => {
                    outflow.delivered.is_too_much = true;
                    if !receiver.is_listed_as_over.replace(true) {
                        core.over_limit.borrow_mut().push(Rc::clone(receiver));
                    }
                }
                Err(ending) => {
                    outflow.ends.push((Rc::clone(receiver), ending));
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

/// Counts what was delivered, and ends those that could not be given it.
pub(crate) fn note_outflow(core: &Core, outflow: Outflow) -> Delivered {
    core.metrics.add(Counter::Deliveries, outflow.delivered.receivers);
    for (receiver, ending) in outflow.ends {
        core.end(&receiver, ending);
    }
    outflow.delivered
}

/// Queues a message; when the queue is full, sees first what the socket takes by now.
///
/// # Errors
/// Why the receiver's connection ends: it takes nothing, or is broken.
fn push_or_make_room(core: &Core, receiver: &Connection, payload: &Payload) -> Result<Fill, Ending> {
    let bytes_max = core.limits.sendq_bytes_max;
    receiver.push_message(payload.clone(), bytes_max).or_else(|Overflow| {
        // The kernel says what is wrong only once.
        receiver.write_again().map_err(Ending::of_write)?;
        receiver.push_message(payload.clone(), bytes_max).map_err(|Overflow| CloseReason::SlowConsumer.into())
    })
}
