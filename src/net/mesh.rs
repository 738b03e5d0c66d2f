//! The channels between cores: one bounded mailbox per core, a sender to each on every core.
//!
//! A mailbox is first in, first out, and a connection forwards one frame at a time: that is what keeps
//! one sender's messages in order across cores.

use flume::{Receiver, Sender, TrySendError};

use crate::directory::ShardId;
use crate::shard::Frame;

/// The receiving end of one core's mailbox.
pub type Inbox = Receiver<Frame>;

/// One core's senders to all cores.
#[derive(Debug, Clone)]
pub struct Mesh {
    me: ShardId,
    senders: Vec<Sender<Frame>>,
}

impl Mesh {
    /// A mailbox of `frames` for each of `cores`, and the senders to them.
    pub fn build(cores: usize, frames: usize) -> Vec<(Mesh, Inbox)> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| flume::bounded(frames)).unzip();
        let mesh = |me| Mesh { me: ShardId::new(me), senders: senders.clone() };
        inboxes.into_iter().enumerate().map(|(me, inbox)| (mesh(me), inbox)).collect()
    }

    /// All cores but this one.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.me;
        (0..self.senders.len()).map(ShardId::new).filter(move |shard| *shard != me)
    }

    /// Hands `frame` to a core if its mailbox has room.
    ///
    /// # Errors
    /// The frame, when there is none. A core that is gone takes everything: who sent it is about to end too.
    pub fn try_forward(&self, to: ShardId, frame: Frame) -> Result<(), Frame> {
        match self.senders[to.index()].try_send(frame) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(frame)) => Err(frame),
        }
    }

    /// Hands `frame` to a core as soon as its mailbox has room. Dropped while waiting, it may still have been
    /// sent: flume takes it as soon as there is room.
    pub async fn forward(&self, to: ShardId, frame: Frame) {
        // Disconnected: as above.
        let _ = self.senders[to.index()].send_async(frame).await;
    }
}
