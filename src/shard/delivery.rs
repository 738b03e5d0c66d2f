//! What arrives for the sessions of this core, from another core or from here, and which sessions get it.
//!
//! A `say` and a `yield` pass [`Shard::on_frame`] wherever they come from. This is the one delivery lane: a connection
//! that is not registered when a message passes gets nothing of it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::effects::Frame;
use super::message::{Drawing, Message, Payload, name};
use super::presence::Presence;
use super::rendering::Rendering;
use super::roster::Receiver;
use crate::ids::ConnectionId;
use crate::metrics::Counter;
use crate::protocol::reply::Notice;

/// A message or a notice, and the sessions of this core that get it.
#[derive(Debug)]
pub struct Delivery<'a> {
    content: Content,
    /// The sender, if it is a connection of this core.
    pub author: Option<ConnectionId>,
    candidates: &'a [Receiver],
    audience: Audience,
    drawing: Drawing<'a>,
    /// This core's references, by rendering.
    payloads: [OnceCell<Payload>; Rendering::COUNT],
}

#[derive(Debug)]
enum Content {
    Message(Arc<Message>),
    /// A notice, without its LF.
    Notice(String),
}

/// Which of the candidates get a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// All, also the author.
    All,
    AllButAuthor,
    Subscribers,
}

impl Delivery<'_> {
    /// Each receiver, once.
    pub fn receivers(&self) -> impl Iterator<Item = Receiver> {
        let receives = move |receiver: &Receiver| match self.audience {
            Audience::All => true,
            Audience::AllButAuthor => Some(receiver.connection) != self.author,
            Audience::Subscribers => receiver.subscribed,
        };
        self.candidates.iter().copied().filter(receives)
    }

    /// What the receivers with this rendering get.
    pub fn payload(&self, rendering: Rendering) -> &Payload {
        self.payloads[rendering.index()].get_or_init(|| match &self.content {
            Content::Message(message) => message.payload(self.drawing, rendering),
            Content::Notice(line) => rendering.server_line(&format!("{line}\n")).into(),
        })
    }
}

impl Shard {
    /// Decides which sessions of this core get what a frame brings at `now`, a time that only grows.
    ///
    /// A `say` whose claim has ended is dropped and counted: the cow may have another holder by now. One to a login that waits
    /// comes again by [`Shard::take_early`].
    pub fn on_frame(&mut self, frame: Frame, now: Duration) -> Option<Delivery<'_>> {
        let (message, author, to) = match frame {
            Frame::Say { to, .. } if self.roster.holder(to).is_none() => {
                if !self.roster.early.keep(to, frame) {
                    self.metrics.add(Counter::StaleFrames, 1);
                }
                return None;
            }
            Frame::Say { message, author, to, .. } => (message, author, Some(to)),
            Frame::Yield { message, author } => (message, author, None),
            Frame::Presence(presence) => return self.on_presence(self.as_seen_late(presence), now),
            Frame::Entered(..) | Frame::End => return None,
        };
        let (candidates, audience) = match to {
            Some(to) => (self.roster.holder(to)?, Audience::All),
            None => {
                self.history.record(message.body());
                (self.roster.registered(), Audience::AllButAuthor)
            }
        };
        let author = (author.shard() == self.id).then(|| author.connection());
        Some(self.delivery(Content::Message(message), author, candidates, audience))
    }

    /// Decides which sessions of this core get a notice at `now`. What happens on this core must come in its order.
    pub fn on_presence(&mut self, presence: Presence, now: Duration) -> Option<Delivery<'_>> {
        if !self.context.demand.has_subscribers(self.id) {
            self.notices.forget();
            return None;
        }
        let presence = self.notices.take_in(presence, now)?;
        Some(self.notice(presence))
    }

    /// The notice that had to wait, if it is due. Call this from time to time.
    pub fn on_tick(&mut self, now: Duration) -> Option<Delivery<'_>> {
        let presence = self.notices.due(now)?;
        Some(self.notice(presence))
    }

    /// What another core tells, as it may be said here. If the cow of a leaver is taken again, the notice of its next holder
    /// may have come first, from a quicker core. The last notice of a taken cow must not say that it left, so such a leaver
    /// only counts.
    fn as_seen_late(&self, presence: Presence) -> Presence {
        match presence {
            Presence::Left(cow) if self.context.directory.owner(cow).is_some() => {
                Presence::Several { joined: 0, left: 1 }
            }
            presence => presence,
        }
    }

    fn notice(&self, presence: Presence) -> Delivery<'_> {
        let herd = &self.context.herd;
        let notice = match presence {
            Presence::Joined(cow) => Notice::Joined(name(herd, cow)),
            Presence::Left(cow) => Notice::Left(name(herd, cow)),
            Presence::Several { joined, left } => Notice::Several { joined, left },
        };
        self.delivery(Content::Notice(notice.to_string()), None, self.roster.registered(), Audience::Subscribers)
    }

    fn delivery<'a>(
        &'a self,
        content: Content,
        author: Option<ConnectionId>,
        candidates: &'a [Receiver],
        audience: Audience,
    ) -> Delivery<'a> {
        let drawing = self.context.drawing();
        Delivery { content, author, candidates, audience, drawing, payloads: Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::metrics::{CoreMetrics, Metrics};
    use crate::shard::{Outcome, Rules, ShardContext, herd_of};

    #[test]
    fn a_leave_whose_cow_is_taken_again_is_only_counted() {
        let context = ShardContext::new(Arc::new(herd_of(&["tux", "aya"], 1)), 2, Rules::default()).expect("memory");
        let metrics = Metrics::new(2);
        let shard = |id| Shard::new(id, context.clone(), CoreMetrics::new(Arc::clone(&metrics), id));
        let [mut near, mut far] = [0, 1].map(ShardId::new).map(shard);
        let [subscriber, user] = [0, 1].map(ConnectionId::new);
        let text = |delivery: Option<Delivery<'_>>| {
            let delivery = delivery.expect("a session has subscribed");
            let receiver = delivery.receivers().next().expect("the subscriber");
            String::from_utf8(delivery.payload(receiver.rendering).to_vec()).expect("ASCII")
        };
        let told = |far: &mut Shard, presence| text(far.on_frame(Frame::Presence(presence), Duration::ZERO));
        for line in [b"login aya".as_slice(), b"notify on"] {
            far.on_line(subscriber, line.into());
        }
        let Outcome::LoggedIn(tux) = near.on_line(user, (&b"login tux"[..]).into()).outcome else { panic!("free") };
        assert_eq!(near.on_close(user), Some(tux));
        assert_eq!(told(&mut far, Presence::Left(tux)), "* tux has left\n");
        // Before the next notice arrives tux logs in on the far core.
        far.on_line(user, (&b"login tux"[..]).into());
        assert_eq!(told(&mut far, Presence::Joined(tux)), "* tux has joined\n");
        assert_eq!(told(&mut far, Presence::Left(tux)), "* 0 more joined, 1 more left\n");
        // On the leaver's own core nothing comes between.
        assert_eq!(text(far.on_presence(Presence::Left(tux), Duration::ZERO)), "* tux has left\n");
    }
}
