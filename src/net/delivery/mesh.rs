//! The channels between cores: one bounded mailbox per core, a sender to each on every core.
//!
//! A mailbox is first in, first out, and a connection forwards one frame at a time: so one sender's messages stay in order
//! across cores. Cores wake each other for a new frame and for new room. A frame without room waits on its own core
//! (`outbox`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flume::{Receiver, Sender, TrySendError};

use crate::ids::ShardId;
use crate::runtime::remote_waker::RemoteWaker;
use crate::shard::Frame;

/// The receiving end of one core's mailbox.
pub type Inbox = Receiver<Frame>;

/// One core's senders to all cores.
#[derive(Debug, Clone)]
pub struct Mesh {
    me: ShardId,
    mailboxes: Arc<[Mailbox]>,
}

/// One core's mailbox, from outside.
#[derive(Debug)]
struct Mailbox {
    sender: Sender<Frame>,
    remote_waker: Arc<RemoteWaker>,
    /// By core: it found the mailbox full, and waits for room.
    wants_room: Box<[AtomicBool]>,
}

impl Mesh {
    /// A mailbox of `frames` for each of `cores`, and the senders to them.
    ///
    /// # Errors
    /// When there is no descriptor left for a remote waker.
    pub fn build(cores: usize, frames: usize) -> io::Result<Vec<(Mesh, Inbox)>> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| flume::bounded(frames)).unzip();
        let mailbox = |sender| {
            let wants_room = (0..cores).map(|_| AtomicBool::new(false)).collect();
            Ok(Mailbox { sender, remote_waker: Arc::new(RemoteWaker::new()?), wants_room })
        };
        let mailboxes: Arc<[Mailbox]> = senders.into_iter().map(mailbox).collect::<io::Result<_>>()?;
        let mesh = |me| Mesh { me: ShardId::new(me), mailboxes: Arc::clone(&mailboxes) };
        Ok(inboxes.into_iter().enumerate().map(|(me, inbox)| (mesh(me), inbox)).collect())
    }

    /// All cores but this one.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.me;
        (0..self.mailboxes.len()).map(ShardId::new).filter(move |shard| *shard != me)
    }

    /// What wakes this core.
    pub fn remote_waker(&self) -> &Arc<RemoteWaker> {
        &self.mailboxes[self.me.index()].remote_waker
    }

    /// Frames in this core's mailbox.
    pub(crate) fn waiting(&self) -> usize {
        self.mailboxes[self.me.index()].sender.len()
    }

    /// Whether half of this core's mailbox is taken, or more.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_half_full(&self) -> bool {
        let sender = &self.mailboxes[self.me.index()].sender;
        2 * sender.len() >= sender.capacity().unwrap_or(usize::MAX)
    }

    /// Hands `frame` to a core if its mailbox has room.
    ///
    /// # Errors
    /// The frame, when there is none. A core that is gone takes every frame: the sender is about to end, too.
    pub fn try_forward(&self, to: ShardId, frame: Frame) -> Result<(), Frame> {
        let mailbox = &self.mailboxes[to.index()];
        match mailbox.sender.try_send(frame) {
            Ok(()) => {
                mailbox.remote_waker.wake();
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(frame)) => Err(frame),
        }
    }

    /// The same; without room, this core is woken when there is.
    pub(crate) fn forward_or_want_room(&self, to: ShardId, frame: Frame) -> Result<(), Frame> {
        // Before the try: a core that makes room after it sees the wish.
        self.mailboxes[to.index()].wants_room[self.me.index()].store(true, Ordering::SeqCst);
        self.try_forward(to, frame)
    }

    /// Frames have been taken out of this core's mailbox: wakes the cores that wait for that.
    pub(crate) fn announce_room(&self) {
        for (mailbox, wants) in self.mailboxes.iter().zip(&self.mailboxes[self.me.index()].wants_room) {
            if wants.load(Ordering::SeqCst) && wants.swap(false, Ordering::SeqCst) {
                mailbox.remote_waker.wake();
            }
        }
    }
}
