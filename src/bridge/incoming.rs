//! Messages of other nodes, from the broker: its two subjects, in one order.

use std::future::poll_fn;
use std::task::{Context, Poll};

use async_nats::{Client, Subscriber};
use futures_lite::StreamExt;

use super::store;
use crate::cluster::envelope::Envelope;
use crate::cluster::lanes::Lanes;

/// Where messages of other nodes come in.
pub(super) struct Incoming {
    subscribers: [Subscriber; 2],
    lanes: Lanes,
}

impl Incoming {
    /// Subscribes to what is for all nodes, and to what is for this one.
    pub(super) async fn subscribe(client: &Client, node: &str) -> Result<Incoming, async_nats::Error> {
        let subscribers = [client.subscribe(store::SUBJECT).await?, client.subscribe(store::subject_of(node)).await?];
        // Before any other node can know of this one.
        client.flush().await?;
        Ok(Incoming { subscribers, lanes: Lanes::default() })
    }

    /// The next message; waits until there is one.
    pub(super) async fn next(&mut self) -> Envelope {
        // A task that has done much is told that nothing is there; then something of one subject would be missing.
        tokio::task::unconstrained(poll_fn(|cx| self.poll_next(cx))).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Envelope> {
        if let Some(envelope) = self.lanes.pop() {
            return Poll::Ready(envelope);
        }
        // The client runs on this thread, so nothing arrives between the two.
        for subscriber in &mut self.subscribers {
            while let Poll::Ready(Some(message)) = subscriber.poll_next(cx) {
                // What cannot be read is of another version.
                serde_json::from_slice(&message.payload).into_iter().for_each(|envelope| self.lanes.push(envelope));
            }
        }
        self.lanes.pop().map_or(Poll::Pending, Poll::Ready)
    }
}
