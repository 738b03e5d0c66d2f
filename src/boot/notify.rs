//! What a service manager such as systemd is told: that the server is ready, that it lives, that it stops.
//!
//! Nothing happens unless `NOTIFY_SOCKET` names one. The words are sd-notify's, the socket is our own: the
//! crate opens one for each message and waits for room in it. This one is opened at the start, so that a
//! server out of descriptors is not taken for dead, and never waits: what finds no room is dropped.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Who started the server and wants to know how it is, if anybody does.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
}

impl Manager {
    /// The manager that the environment names. One whose socket cannot be had is as good as none: it misses
    /// `READY=1`, and says so.
    pub fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let socket = name.and_then(|name| open(&name).ok());
        Manager { socket, watchdog: sd_notify::watchdog_enabled().map(Watchdog::new) }
    }

    /// The server accepts; `status` is shown beside its state.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Every core works. To be called often: the manager hears of it as often as it has to.
    pub fn alive(&mut self, now: Instant) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.feed(now)) {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// The server drains. The manager expects no more signs of life.
    pub fn stopping(&self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some((socket, address)) = &self.socket {
            let text: String = states.iter().map(|state| format!("{state}\n")).collect();
            // A manager that does not listen is no reason not to serve.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

/// A socket that never waits, and where to send. As sd_notify(3) has it, an `@` in front stands for the NUL
/// of an abstract name.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// When a sign of life is due: at half of the manager's patience, as sd_watchdog_enabled(3) advises.
#[derive(Debug)]
struct Watchdog {
    pause: Duration,
    fed: Option<Instant>,
}

impl Watchdog {
    fn new(patience: Duration) -> Self {
        Watchdog { pause: patience / 2, fed: None }
    }

    /// Whether one is due; if so, it counts as given.
    fn feed(&mut self, now: Instant) -> bool {
        let due = self.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= self.pause);
        if due {
            self.fed = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_due_at_once_and_then_at_half_of_the_patience() {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        let due = [0, 1, 4_999, 5_000, 5_001, 9_999, 10_000, 30_000, 30_001];
        let fed = due.into_iter().filter(|&at| watchdog.feed(began + Duration::from_millis(at)));
        assert_eq!(fed.collect::<Vec<_>>(), [0, 5_000, 10_000, 30_000]);
    }
}
