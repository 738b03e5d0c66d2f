//! New connections that are not served: each gets a last line that says why.

use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use socket2::Socket as RawSocket;

use super::connection::close;
use super::core::Core;
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::{REFUSED_LINGERING_MAX, TURN_ACCEPTS};
use crate::policy::admission::Refused;
use crate::runtime::listener::Listening;
use crate::runtime::socket::Socket;

/// Reads of at most 4 KiB for what a refused connection has sent before.
const REFUSED_READS_MAX: usize = 16;

/// Tells connections that wait, one after the other on the same descriptor, that the server is full.
pub(super) fn refuse_waiting(core: &Core, listener: &Listening) {
    for _ in 0..TURN_ACCEPTS {
        let Ok((socket, peer)) = listener.accept() else { return };
        refuse_at_once(core, socket, peer, CloseReason::ServerFull);
    }
}

/// Refuses a connection and closes it at once: the next needs its descriptor.
pub(super) fn refuse_at_once(core: &Core, socket: RawSocket, peer: Option<SocketAddr>, reason: CloseReason) {
    send_refusal(core, &socket, peer, &Refused { reason, is_logged: true });
}

/// Tells a new connection why it is refused, and the log and the counters, too. Waits for nothing.
fn send_refusal(core: &Core, socket: &RawSocket, peer: Option<SocketAddr>, refused: &Refused) {
    let &Refused { reason, is_logged } = refused;
    core.metrics.add_ended(reason);
    if is_logged {
        core.log.emit(Event::Refused { shard: core.id, peer, reason });
    }
    let last_line = core.last_line(reason).unwrap_or_default();
    // A new socket's buffer is empty: it takes one line, or the peer is gone.
    let _ = socket.set_nonblocking(true);
    let _ = socket.send(last_line.as_bytes());
    let _ = socket.shutdown(Shutdown::Write);
    // What it has already sent must not turn the close into a reset that loses the line.
    let mut input = [std::mem::MaybeUninit::uninit(); 4096];
    for _ in 0..REFUSED_READS_MAX {
        if !matches!(socket.recv(&mut input), Ok(1..)) {
            break;
        }
    }
}

/// Refuses a new connection, and lingers so that its last line arrives; for [`REFUSED_LINGERING_MAX`] at once only, since
/// descriptors are scarce.
pub(super) fn refuse(core: &Rc<Core>, socket: RawSocket, peer: Option<SocketAddr>, refused: &Refused) {
    send_refusal(core, &socket, peer, refused);
    if core.refusing.get() < REFUSED_LINGERING_MAX {
        let lingering = Lingering::new(Rc::clone(core));
        core.reactor.spawn(async move {
            let core = &lingering.0;
            close::linger(core, &Socket::new(&core.reactor, socket)).await;
        });
    }
}

/// Counts a refused connection that lingers.
struct Lingering(Rc<Core>);

impl Lingering {
    fn new(core: Rc<Core>) -> Self {
        core.refusing.set(core.refusing.get() + 1);
        Lingering(core)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.refusing.set(self.0.refusing.get() - 1);
    }
}
