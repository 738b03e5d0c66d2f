//! A connection's output: what is queued for it, and writing it as far as the socket takes it.

use std::cell::Ref;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::send_queue::{Fit, QueueFull, SendQueue};
use super::{Close, Connection};
use crate::limits::SENDQ_OWN_BYTES;
use crate::metrics::Counter;
use crate::runtime::socket::Socket;
use crate::shard::Payload;

impl Connection {
    pub(crate) fn push_reply(&self, bytes: Vec<u8>) {
        self.queue.borrow_mut().push_reply(bytes);
    }

    pub(crate) fn push_echo(&self, payload: Payload) {
        self.queue.borrow_mut().push_echo(payload);
    }

    pub(crate) fn push_delivery(&self, payload: Payload, bytes_max: usize, now: Duration) -> Result<Fit, QueueFull> {
        let mut queue = self.queue.borrow_mut();
        let pushed = queue.push_delivery(payload, bytes_max, now);
        self.mark_backlog(&queue);
        pushed
    }

    /// Tells senders when much waits for the connection, and when that is over.
    fn mark_backlog(&self, queue: &SendQueue) {
        // Its cow may have another holder by now.
        if self.close.get().is_some() {
            return;
        }
        let is_behind = queue.others_bytes() > self.context.backlog_bytes.get();
        if self.is_behind.get() != is_behind
            && let Some(cow) = self.cow.get()
        {
            self.is_behind.set(is_behind);
            self.context.backlogs.set(cow, is_behind);
        }
    }

    /// Since when messages from others, or the connection's own end, have waited for a peer that takes nothing.
    ///
    /// A socket takes more only when a third of its buffer is free, for which a slow reader needs long: that it has read
    /// something shows in what is unacknowledged. To be called at intervals; the first call says nothing.
    pub(crate) fn stalled_since(&self) -> Option<Duration> {
        let mut queue = self.queue.borrow_mut();
        let matters = queue.holds_others() || self.close.get().is_some();
        if !matters || queue.blocked_since().is_none() {
            self.unacknowledged.set(u32::MAX);
            return None;
        }
        let unacknowledged = self.socket.unacknowledged_bytes();
        if unacknowledged < self.unacknowledged.replace(unacknowledged) {
            queue.restart_stall(self.now());
        }
        queue.blocked_since()
    }

    pub(crate) fn is_over_for(&self, time: Duration) -> bool {
        self.queue.borrow().is_over_for(time, self.now())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.queue.borrow().is_over()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.borrow().bytes()
    }

    /// Writes what is queued, as far as the socket takes it now. The connection's own task writes the rest.
    pub(crate) fn write_now(&self) -> io::Result<()> {
        if self.queue.borrow().blocked_since().is_some() {
            return Ok(());
        }
        self.write_again()
    }

    /// The same, also if the socket was full at the last try.
    pub(crate) fn write_again(&self) -> io::Result<()> {
        let was_over = self.queued_bytes() > SENDQ_OWN_BYTES;
        let is_full = self.write_queued(|slices| self.socket.send(slices))?;
        self.wake_writer(is_full, was_over);
        Ok(())
    }

    /// Writes what is queued for the last time: it leaves with the FIN if the socket takes all of it.
    pub(crate) fn write_last(&self) -> io::Result<()> {
        if self.queue.borrow().blocked_since().is_none() {
            self.write_queued(|slices| self.socket.send_last(slices))?;
        }
        Ok(())
    }

    /// Whether the socket is full after that.
    fn write_queued(&self, send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        let mut queue = self.queue.borrow_mut();
        let before = queue.bytes();
        let is_full = queue.write_by(self.now(), send)?;
        self.count_written_bytes(before - queue.bytes());
        self.mark_written(&queue, is_full);
        Ok(is_full)
    }

    /// What a batch of sends needs: the queue and the socket, if something waits and the socket may take it.
    pub(crate) fn offer(&self) -> Option<(Ref<'_, SendQueue>, &Socket)> {
        let queue = self.queue.borrow();
        let is_ready = !queue.is_empty() && queue.blocked_since().is_none();
        is_ready.then_some((queue, &self.socket))
    }

    /// A batch has offered the first `offered` bytes of the queue to the socket, with this result.
    pub(crate) fn record_sent(&self, offered: usize, sent: io::Result<usize>) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        let before = queue.bytes();
        let was_over = before > SENDQ_OWN_BYTES;
        let is_full = queue.record_sent(offered, sent, self.now())?;
        self.count_written_bytes(before - queue.bytes());
        self.mark_written(&queue, is_full);
        let is_left = !queue.is_empty();
        drop(queue);
        self.wake_writer(is_full, was_over);
        // What the batch did not offer.
        if is_left && !is_full { self.write_again() } else { Ok(()) }
    }

    fn count_written_bytes(&self, bytes: usize) {
        self.context.metrics.add(Counter::BytesWritten, bytes as u64);
    }

    fn mark_written(&self, queue: &SendQueue, is_full: bool) {
        self.mark_backlog(queue);
        if is_full {
            self.socket.watch.clear_writable();
        }
    }

    /// Wakes the connection's task: it has to wait for the socket now, or it waits for the room that there is now.
    fn wake_writer(&self, is_full: bool, was_over: bool) {
        if is_full || was_over {
            self.wake();
        }
    }

    /// After the socket was full: writes on as it takes more.
    pub(super) fn poll_write(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.queued_bytes() > 0 {
            ready!(self.socket.watch.poll_writable(cx));
            self.write_queued(|slices| self.socket.send(slices))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until at most `bytes_max` wait to be written. The caller has flushed what it queued.
    pub(crate) async fn has_room(&self, bytes_max: usize) -> Result<(), Close> {
        let room = poll_fn(|_| if self.queued_bytes() <= bytes_max { Poll::Ready(()) } else { Poll::Pending });
        self.until_closed_or(room).await
    }

    /// Waits until all that is queued is written, or discarded.
    pub(crate) async fn is_written(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let written = self.poll_write(cx);
            if written.is_pending() {
                self.store_waker(cx);
            }
            written
        })
        .await
    }
}
