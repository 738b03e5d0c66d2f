//! An epoll instance whose events are numbers: of clients, slots, or a floor's connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

/// Level-triggered readiness of sockets.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// A new one, with room for this many events at a time.
    pub fn new(events: usize) -> io::Result<Poll> {
        Ok(Poll { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(events) })
    }

    /// Watches `source` under `number`.
    pub fn add(&self, source: &impl AsFd, number: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(number as u64), flags)?)
    }

    /// Watches `source` for other events.
    pub fn modify(&self, source: &impl AsFd, number: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, source, EventData::new_u64(number as u64), flags)?)
    }

    /// Watches `source` no longer; it stays open.
    pub fn delete(&self, source: &impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for at most `timeout`, or without end, and puts into `ready` what happened to which number.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<(usize, EventFlags)>) -> io::Result<()> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        ready.clear();
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let number = |event: &epoll::Event| (usize::try_from(event.data.u64()).unwrap_or(usize::MAX), event.flags);
        ready.extend(self.events.iter().map(number));
        Ok(())
    }
}
