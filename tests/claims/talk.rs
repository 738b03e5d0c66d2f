//! Two cores send messages to one cow, which comes and goes on both: the real shards, each run by a thread,
//! with a channel as each core's inbox.
//!
//! A message may reach a session only if the session's login began before the `say` ended. It must reach the session if the
//! `say` began after the login and the session stays.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use rooms::cows::{CowId, Herd};
use rooms::ids::{ConnectionId, ShardId};
use rooms::metrics::{CoreMetrics, Counter, Metrics};
use rooms::protocol::art::Art;
use rooms::shard::{Effects, Forward, Frame, Rules, Shard, ShardContext};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread;

use crate::{herd, promise};

/// Lines, and looks into the inbox, of each core.
const TURNS: usize = 7;

/// One connection sends messages, the other comes and goes.
const AUTHOR: ConnectionPlace = 0;
const VISITOR: ConnectionPlace = 1;
type ConnectionPlace = usize;

/// What a frame between cores names as its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// The receiver's claim, as it should.
    Claim,
    /// The cow, so the holder at the arrival: the mistake that the exploration must notice.
    Cow,
}

/// All that has happened, in one order.
#[derive(Default)]
struct Past {
    now: usize,
    /// Of tux.
    sessions: Vec<Session>,
    says: Vec<Say>,
}

struct Session {
    /// From the line to its reply.
    login: RangeInclusive<usize>,
    left: Option<usize>,
    received: Vec<usize>,
}

struct Say {
    core: usize,
    /// From the line to its reply.
    call: RangeInclusive<usize>,
    accepted: bool,
}

impl Past {
    fn tick(&mut self) -> usize {
        self.now += 1;
        self.now
    }

    /// A session reads a message.
    fn receive(&mut self, session: usize, message: usize) {
        let (says, session) = (&self.says, &mut self.sessions[session]);
        let say = &says[message];
        let is_later = session.login.start() < say.call.end();
        promise("I6", is_later, format_args!("{message} was said before its receiver came"));
        for &before in session.received.iter().filter(|&&before| says[before].core == say.core) {
            promise("I5", before != message, format_args!("{message} arrives twice"));
            promise("I4", before < message, format_args!("{message} arrives after {before}"));
        }
        session.received.push(message);
    }

    /// Everything is said and delivered.
    fn check(&self) {
        for session in &self.sessions {
            let after_login = |say: &Say| session.login.end() < say.call.start();
            for (message, say) in self.says.iter().enumerate().filter(|(_, say)| after_login(say)) {
                let stays = session.left.is_none_or(|left| *say.call.end() < left);
                promise("I6", say.accepted || !stays, format_args!("{message} was refused, and tux was there"));
                let due = say.accepted && session.left.is_none();
                let is_lost = due && !session.received.contains(&message);
                promise("I6", !is_lost, format_args!("{message} was acknowledged and is lost"));
            }
        }
    }
}

struct Core {
    id: usize,
    shard: Shard,
    context: ShardContext,
    tux: CowId,
    inbox: Receiver<Frame>,
    other: Sender<Frame>,
    address: Address,
    past: Arc<Mutex<Past>>,
    /// The visitor's, while it is tux.
    session: Option<usize>,
    other_has_ended: bool,
}

impl Core {
    fn past<T>(&self, look: impl FnOnce(&mut Past) -> T) -> T {
        look(&mut self.past.lock().expect("no thread fails while holding it"))
    }

    fn line(&mut self, connection: ConnectionPlace, line: &str) -> (String, Effects) {
        let effects = self.shard.on_line(ConnectionId::new(connection), line.as_bytes().into());
        (String::from_utf8(effects.reply.clone()).expect("replies are UTF-8"), effects)
    }

    fn live(mut self) {
        let mut random = thread_rng();
        for _ in 0..TURNS {
            match random.gen_range(0..8) {
                0..3 => self.say(),
                3..6 if self.session.is_some() => self.quit(),
                3..6 => self.login(),
                _ => {
                    let frame = self.inbox.try_recv();
                    frame.into_iter().for_each(|frame| self.deliver(frame));
                }
            }
        }
        // As in a drain: no more lines from here, and everything that was sent here is delivered.
        self.other.send(Frame::End).expect("the other core waits for it");
        while !self.other_has_ended {
            let frame = self.inbox.recv().expect("the other core says when it ends");
            self.deliver(frame);
        }
    }

    fn say(&mut self) {
        let (core, begun) = (self.id, self.past(Past::tick));
        let message = self.past(|past| {
            past.says.push(Say { core, call: begun..=usize::MAX, accepted: false });
            past.says.len() - 1
        });
        let (reply, effects) = self.line(AUTHOR, &format!("say tux {message}"));
        self.past(|past| {
            let say = Say { core, call: begun..=past.tick(), accepted: reply == "Sent to tux\n" };
            assert!(say.accepted || reply == "error: cow tux is not logged in\n", "{reply}");
            past.says[message] = say;
        });
        if let Forward::To(_, frame) = effects.forward {
            self.other.send(frame).expect("the other core waits for the end");
        }
        if let Some(frame) = effects.local {
            self.deliver(frame);
        }
    }

    fn login(&mut self) {
        let begun = self.past(Past::tick);
        let (reply, _) = self.line(VISITOR, "login tux");
        if reply == "Logged in as tux\n" {
            self.session = Some(self.past(|past| {
                let login = begun..=past.tick();
                past.sessions.push(Session { login, left: None, received: Vec::new() });
                past.sessions.len() - 1
            }));
        } else {
            assert_eq!(reply, "error: cow tux is already taken\n");
        }
    }

    fn quit(&mut self) {
        let session = self.session.take().expect("the visitor is tux");
        self.past(|past| past.sessions[session].left = Some(past.tick()));
        assert_eq!(self.line(VISITOR, "quit").0, "Goodbye.\n");
    }

    fn deliver(&mut self, frame: Frame) {
        self.other_has_ended |= matches!(frame, Frame::End);
        let frame = match (self.address, frame) {
            (Address::Cow, Frame::Say { message, author, to, .. }) => {
                let to = self.context.directory.owner(self.tux).unwrap_or(to);
                Frame::Say { message, author, to, in_flight: None }
            }
            (_, frame) => frame,
        };
        let Some(delivery) = self.shard.on_frame(frame, Duration::ZERO) else { return };
        let received = |to: rooms::shard::Receiver| {
            (to.connection.index(), String::from_utf8(delivery.payload(to.rendering).to_vec()).expect("UTF-8"))
        };
        let received: Vec<_> = delivery.receivers().map(received).collect();
        for (connection, text) in received {
            assert_eq!(connection, VISITOR, "an author gets no message");
            promise("I8", self.session.is_some(), format_args!("a guest receives {text}"));
            let session = self.session.expect("asserted");
            let message = text.trim_end().rsplit(' ').next().and_then(|number| number.parse().ok());
            self.past(|past| past.receive(session, message.expect("every text is a number")));
        }
    }
}

/// Returns how many messages were dropped since their claim had ended.
pub fn about_tux(address: Address) -> usize {
    static HERD: LazyLock<Arc<Herd>> = LazyLock::new(|| Arc::new(herd(&["author0", "author1", "tux"], 1)));
    let context = ShardContext::new(Arc::clone(&HERD), 2, Rules { art: Art::Off, ..Rules::default() }).expect("memory");
    let metrics = Metrics::new(2);
    let past: Arc<Mutex<Past>> = Arc::default();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| channel()).unzip();
    let threads: Vec<_> = inboxes
        .into_iter()
        .enumerate()
        .map(|(id, inbox)| {
            let shard_id = ShardId::new(id);
            let mut core = Core {
                id,
                shard: Shard::new(shard_id, context.clone(), CoreMetrics::new(Arc::clone(&metrics), shard_id)),
                context: context.clone(),
                tux: HERD.find("tux", 1).expect("a cow of the herd"),
                inbox,
                other: senders[1 - id].clone(),
                address,
                past: Arc::clone(&past),
                session: None,
                other_has_ended: false,
            };
            assert_eq!(core.line(AUTHOR, &format!("login author{id}")).0, format!("Logged in as author{id}\n"));
            thread::spawn(move || core.live())
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    past.lock().expect("no thread fails while holding it").check();
    metrics.total(Counter::StaleFrames) as usize
}
