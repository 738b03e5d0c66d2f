//! What a service manager such as systemd is told: the server is ready, reloads, is alive, stops.
//!
//! Nothing happens unless `NOTIFY_SOCKET` names a socket. `sd_notify` spells the messages. The socket is our own, since that
//! crate opens one for each message and waits for room in it: this one is open from the start, so that a server without
//! free descriptors still counts as alive, and a message without room is dropped.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager that started this process, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    alive: Option<AliveTimer>,
}

impl ServiceManager {
    /// The manager that the environment names. If its socket does not open, it misses `READY=1` and says so itself.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name).ok());
        let alive = sd_notify::watchdog_enabled().map(|timeout| AliveTimer { timeout, last: None });
        ServiceManager { socket, alive }
    }

    /// The server accepts; `status` is shown beside its state.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The server reads its configuration again, until the next [`ServiceManager::ready`].
    pub(super) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// Every core makes progress. Called often; sends no more than the manager asks for.
    pub(super) fn alive(&mut self, now: Instant) {
        if self.alive.as_mut().is_some_and(|alive| alive.is_due(now)) {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// The server drains. The manager expects no more of [`ServiceManager::alive`].
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some((socket, address)) = &self.socket {
            let text: String = states.iter().map(|state| format!("{state}\n")).collect();
            // The server serves whether the manager listens or not.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

/// A socket that never waits, and where to send. An `@` in front stands for the NUL of an abstract name (sd_notify(3)).
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// When `WATCHDOG=1` is due: at half of the manager's timeout, as sd_watchdog_enabled(3) advises.
#[derive(Debug)]
struct AliveTimer {
    timeout: Duration,
    last: Option<Instant>,
}

impl AliveTimer {
    /// Whether it is due; if so, it counts as sent.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.timeout / 2);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_is_due_at_once_and_then_at_half_of_the_timeout() {
        let began = Instant::now();
        let mut timer = AliveTimer { timeout: Duration::from_secs(10), last: None };
        let due = [0, 1, 4_999, 5_000, 5_001, 9_999, 10_000, 30_000, 30_001];
        let sent = due.into_iter().filter(|&at| timer.is_due(began + Duration::from_millis(at)));
        assert_eq!(sent.collect::<Vec<_>>(), [0, 5_000, 10_000, 30_000]);
    }
}
