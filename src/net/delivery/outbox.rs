//! Frames of one core that found no room in another core's mailbox: they wait here in order, and later frames for that
//! core wait behind them.
//!
//! A core that has made room wakes the cores that wait for it. Then as many frames go as fit, and only their tasks wake.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::ids::ShardId;
use crate::net::delivery::mesh::Mesh;
use crate::shard::Frame;

/// The frames of one core that wait, by the core that they are for.
#[derive(Debug)]
pub(crate) struct Outbox {
    mesh: Mesh,
    queues: RefCell<Vec<VecDeque<Rc<Waiting>>>>,
}

/// A frame that waits, has gone, or is withdrawn.
#[derive(Debug)]
struct Waiting {
    frame: RefCell<Option<Frame>>,
    is_sent: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Withdraws the frame when its sender stops waiting.
struct Withdrawn<'w>(&'w Waiting);

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        self.0.frame.take();
    }
}

impl Outbox {
    pub(crate) fn new(mesh: Mesh) -> Self {
        Outbox { mesh, queues: RefCell::default() }
    }

    /// Hands `frame` to a core if its mailbox has room and nothing waits for that; returns it if it has to wait.
    pub(crate) fn try_forward(&self, to: ShardId, frame: Frame) -> Result<(), Frame> {
        let is_first = self.queues.borrow().get(to.index()).is_none_or(VecDeque::is_empty);
        if is_first { self.mesh.try_forward(to, frame) } else { Err(frame) }
    }

    /// Hands `frame` to a core after all frames that wait for that core, when there is room. Dropped before, it is not sent.
    pub(crate) async fn forward(&self, to: ShardId, frame: Frame) {
        let waiting =
            Rc::new(Waiting { frame: RefCell::new(Some(frame)), is_sent: Cell::new(false), waker: RefCell::default() });
        {
            let mut queues = self.queues.borrow_mut();
            if queues.len() <= to.index() {
                queues.resize_with(to.index() + 1, VecDeque::new);
            }
            queues[to.index()].push_back(Rc::clone(&waiting));
        }
        let _withdrawn = Withdrawn(&waiting);
        self.send(to);
        poll_fn(|cx| {
            if waiting.is_sent.get() {
                return Poll::Ready(());
            }
            waiting.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Sends what waits and has room by now. To be called whenever the core was woken.
    pub(crate) fn send_all(&self) {
        let targets = self.queues.borrow().len();
        (0..targets).map(ShardId::new).for_each(|to| self.send(to));
    }

    /// Sends what waits for one core, in order, until there is no room.
    fn send(&self, to: ShardId) {
        let queue = &mut self.queues.borrow_mut()[to.index()];
        while let Some(first) = queue.front() {
            let frame = first.frame.take();
            if let Some(frame) = frame {
                if let Err(frame) = self.mesh.forward_or_want_room(to, frame) {
                    first.frame.replace(Some(frame));
                    return;
                }
                first.is_sent.set(true);
                first.waker.take().into_iter().for_each(Waker::wake);
            }
            queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    /// A core's outbox, and the mailboxes of three cores with room for this many frames each.
    fn outbox(frames: usize) -> (Outbox, Vec<crate::net::delivery::mesh::Inbox>) {
        let (meshes, inboxes): (Vec<_>, Vec<_>) = Mesh::build(3, frames).expect("descriptors").into_iter().unzip();
        (Outbox::new(meshes[0].clone()), inboxes)
    }

    /// Polls once; whether it is done.
    fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_comes_later_waits_behind_what_waits_already() {
        let (outbox, inboxes) = outbox(1);
        let [one, two] = [1, 2].map(ShardId::new);
        outbox.try_forward(one, Frame::End).expect("there is room");
        let mut first = pin!(outbox.forward(one, Frame::End));
        assert!(!poll(first.as_mut()));
        inboxes[1].recv().expect("the first frame");
        // There is room again, but not for a frame that comes now.
        assert!(outbox.try_forward(one, Frame::End).is_err());
        let mut second = pin!(outbox.forward(one, Frame::End));
        assert!(!poll(second.as_mut()) && poll(first.as_mut()), "the first one goes first");
        // Another core's mailbox has nothing to do with that.
        outbox.try_forward(two, Frame::End).expect("there is room");
        inboxes[1].recv().expect("the second frame");
        outbox.send_all();
        assert!(poll(second.as_mut()));
        inboxes[1].recv().expect("the third frame");
        outbox.try_forward(one, Frame::End).expect("nothing waits any more");
    }

    #[test]
    fn a_frame_whose_sender_has_gone_is_not_sent() {
        let (outbox, inboxes) = outbox(1);
        let one = ShardId::new(1);
        outbox.try_forward(one, Frame::End).expect("there is room");
        {
            let mut gone = pin!(outbox.forward(one, Frame::End));
            assert!(!poll(gone.as_mut()));
        }
        let mut next = pin!(outbox.forward(one, Frame::End));
        assert!(!poll(next.as_mut()));
        inboxes[1].recv().expect("the first frame");
        outbox.send_all();
        assert!(poll(next.as_mut()));
        assert_eq!(inboxes[1].drain().count(), 1, "and nothing of what has gone");
    }
}
