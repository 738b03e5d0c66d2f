//! The configuration, read again while the server runs.
//!
//! It is read from the arguments, the environment and the files of this process, and checked as at the start, before
//! anything changes. That may wait for a disk, so it has a thread of its own: the supervisor must not be late for its
//! watchdog.

use std::io;
use std::sync::Arc;

use super::settings::{ReloadError, Settings, restart_needed};
use crate::cli::ServeArgs;
use crate::events::Event;
use crate::log::Log;
use crate::net::core::CoreContext;
use crate::net::worker::CoreThread;
use crate::policy::addresses::Addresses;
use crate::policy::memory_budget::Budget;

/// What a reload has read.
pub(super) type Read = Result<Settings, ReloadError>;

/// Reads settings again, one reload after the other, and gives them to all that need them.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) settings: Settings,
    /// Those of the start: what needs a restart is still as they say.
    started_with: ServeArgs,
    cores: usize,
    cows: usize,
    histories: u64,
    addresses: Arc<Addresses>,
    budget: Arc<Budget>,
    /// A reload is wanted. Several that are asked for meanwhile are one.
    pub(super) is_asked: bool,
    is_reading: bool,
}

impl Reloader {
    /// That of a server with this many cores and cows, and this much room for histories.
    pub(super) fn new(settings: Settings, cores: usize, cows: usize, histories: u64, context: &CoreContext) -> Self {
        Reloader {
            started_with: settings.args.clone(),
            settings,
            cores,
            cows,
            histories,
            addresses: Arc::clone(&context.addresses),
            budget: Arc::clone(&context.budget),
            is_asked: false,
            is_reading: false,
        }
    }

    /// Starts to read if that is asked for and not under way: `tell` gets the result. Returns whether it has.
    pub(super) fn start(&mut self, tell: impl Fn(Read) + Clone + Send + 'static) -> bool {
        if !self.is_asked || self.is_reading {
            return false;
        }
        (self.is_asked, self.is_reading) = (false, true);
        let (cores, cows, tell_later) = (self.cores, self.cows, tell.clone());
        let read = move || {
            let read = std::panic::catch_unwind(|| Settings::read_again(cores, cows));
            tell_later(read.unwrap_or_else(|_| Err(io::Error::other("reading it panicked").into())));
        };
        if let Err(error) = std::thread::Builder::new().name("reload".to_owned()).spawn(read) {
            tell(Err(error.into()));
        }
        true
    }

    /// Has `read` hold from now on, for new connections and old ones, or logs why nothing changes.
    pub(super) fn end(&mut self, read: Read, cores: &[CoreThread], log: &Log) {
        self.is_reading = false;
        let new = match read {
            Ok(new) => new,
            Err(error) => return log.emit(Event::ReloadFailed { error: error.to_string() }),
        };
        let limits = &new.limits;
        let exempt = limits.address_exempt.clone();
        self.addresses.set_limits(limits.connections_per_address, exempt, limits.connect_rate);
        self.budget.set_bytes_max(limits.queues_bytes_total.saturating_add(self.histories));
        for core in cores {
            let (limits, motd) = (Arc::clone(limits), new.motd.clone());
            core.handle().ask(move |core| core.reload(limits, motd));
        }
        // Whichever level shows more shows this.
        log.set_level(self.settings.args.log.max(new.args.log));
        log.emit(Event::Reloaded { changed: self.settings.changed(&new).join(",") });
        let flags = restart_needed(&self.started_with, &new.args).join(",");
        if !flags.is_empty() {
            log.emit(Event::RestartNeeded { flags });
        }
        log.set_level(new.args.log);
        self.settings = new;
    }
}
