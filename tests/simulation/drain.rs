//! The end of a simulated world: each core is told to end at a moment of its own, with everything in flight,
//! and goes through what `net::drain` does. Everything acknowledged has arrived by the last line.

use std::collections::{BTreeSet, VecDeque};

use cowchat::ids::ConnectionId;
use cowchat::protocol::reply::SHUTTING_DOWN;
use cowchat::shard::Frame;

use crate::wire::Appetite;
use crate::world::World;

/// Steps within which a world ends, with room to spare: a few hundred are usual.
const STEPS_MAX: usize = 100_000;

/// Steps before the end in which no core takes any frames.
const RUSH_STEPS: usize = 100;

/// How far a core is on its way out.
#[derive(Default)]
pub struct Drain {
    phase: Phase,
    /// Other cores that have said that they will send nothing more.
    ended: BTreeSet<usize>,
}

#[derive(Default, Clone, Copy)]
enum Phase {
    #[default]
    Running,
    /// No more lines are executed; those that wait for a mailbox finish.
    Finishing,
    /// So many other cores know that nothing more will come from here.
    Telling(usize),
    /// All others are to say the same.
    Told,
    /// Every connection has the last line.
    Over,
}

impl Drain {
    pub fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Running)
    }

    /// A frame has come from another core: nothing does after its end.
    pub fn record_frame(&mut self, from: usize, frame: &Frame) {
        assert!(!self.ended.contains(&from), "I15: core {from} sends something after its end");
        if matches!(frame, Frame::End) {
            self.ended.insert(from);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }
}

impl World {
    /// Ends the world, core by core, while what is under way goes on.
    pub fn end(&mut self) {
        // No core takes anything for a while: mailboxes fill up, and lines wait.
        self.pump_percent = 0;
        (0..RUSH_STEPS).for_each(|_| self.step());
        self.some_leave = self.random.bool();
        self.tally.in_flight = self.mailboxes.iter().map(VecDeque::len).sum::<usize>()
            + self.connections.values().filter(|connection| connection.waiting.is_some()).count();
        self.pump_percent = self.random.u8(5..40);
        let mut running: Vec<usize> = (0..self.shards.len()).collect();
        self.random.shuffle(&mut running);
        for _ in 0..STEPS_MAX {
            if self.random.u8(..20) == 0
                && let Some(core) = running.pop()
            {
                self.drains[core].phase = Phase::Finishing;
            }
            self.step();
            if self.drains.iter().all(Drain::is_over) {
                return self.check_end();
            }
        }
        panic!("I20: a core waits forever");
    }

    /// A core goes on with its drain if it can.
    pub fn drain_on(&mut self, core: usize) {
        let others = self.shards.len() - 1;
        let next = match self.drains[core].phase {
            Phase::Finishing => {
                let mut here = self.connections.iter().filter(|((at, _), _)| *at == core);
                here.all(|(_, connection)| connection.waiting.is_none()).then_some(Phase::Telling(0))
            }
            Phase::Telling(told) if told == others => Some(Phase::Told),
            Phase::Telling(told) => {
                let other = (core + 1 + told) % self.shards.len();
                self.try_forward(core, other, Frame::End).is_ok().then_some(Phase::Telling(told + 1))
            }
            Phase::Told if self.drains[core].ended.len() == others => {
                self.say_last_line(core);
                Some(Phase::Over)
            }
            Phase::Running | Phase::Told | Phase::Over => None,
        };
        if let Some(next) = next {
            self.drains[core].phase = next;
        }
    }

    fn say_last_line(&mut self, core: usize) {
        assert!(self.mailboxes[core].is_empty(), "I15: something comes after the end");
        let here: Vec<_> = self.connections.keys().copied().filter(|(at, _)| *at == core).collect();
        for place in here {
            let connection = self.connections.get_mut(&place).expect("it is one of them");
            if connection.wire.is_closing() {
                continue;
            }
            let id = ConnectionId::new(place.1);
            let last_line = self.shards[core].server_line(id, SHUTTING_DOWN);
            connection.wire.push_reply(last_line.as_bytes());
            connection.wire.end();
            if let Some(session) = connection.session {
                self.sessions[session].stayed = true;
                self.tally.stayed += 1;
            }
            self.shards[core].on_close(id);
            self.end_session(place);
        }
    }

    /// Nothing is under way any more, and what was acknowledged has arrived.
    fn check_end(&mut self) {
        assert!(self.mailboxes.iter().all(VecDeque::is_empty), "I20: something is never taken");
        assert!(self.live.is_empty(), "every session has the last line");
        for (token, receivers) in &self.acknowledged {
            let stayed: BTreeSet<_> = receivers.iter().filter(|&&receiver| self.sessions[receiver].stayed).collect();
            for &receiver in stayed {
                let arrived = self.delivered.contains(&(*token, receiver));
                assert!(arrived, "I6: {token:?} was acknowledged and is lost");
            }
        }
        for connection in self.connections.values_mut() {
            while connection.wire.appetite != Appetite::None && !connection.wire.is_done() {
                connection.wire.flush(usize::MAX, self.now);
            }
        }
    }
}
