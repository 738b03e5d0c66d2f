//! Accepting: each new connection is admitted, or refused by a line.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use socket2::Socket as RawSocket;

use super::connection::serve;
use super::core::Core;
use super::refuse::{refuse, refuse_at_once, refuse_waiting};
use super::turn::Turn;
use crate::close_reason::CloseReason;
use crate::events::Event;
use crate::limits::{ACCEPT_BACKOFF, BACKLOG, TURN_ACCEPTS};
use crate::metrics::Counter;
use crate::policy::admission::admit;
use crate::runtime::listener::{Listening, concerns_one_connection};
use crate::runtime::socket::Socket;

/// Accepts until the server drains, which then empties the listener.
pub(crate) async fn accept_loop(core: Rc<Core>, listener: Rc<Listening>) {
    let mut is_failing = false;
    let mut turn = Turn::of(TURN_ACCEPTS);
    while !core.is_draining() {
        match listener.accept() {
            Ok((socket, peer)) if core.metrics.all().lacks_descriptors() && !listener.has_free_fd() => {
                // There was a descriptor only because a core has let go of its reserve one: give that back.
                refuse_at_once(&core, socket, peer, CloseReason::ServerFull);
                listener.refill_reserve();
                core.reactor.sleep(ACCEPT_BACKOFF).await;
            }
            Ok((socket, peer)) => {
                if std::mem::take(&mut is_failing) {
                    core.metrics.add(Counter::AcceptRecoveries, 1);
                    core.log.emit(Event::AcceptRecovered { shard: core.id });
                    listener.refill_reserve();
                }
                take_in(&core, socket, peer);
                if turn.step() {
                    core.reactor.yield_now().await;
                    turn = Turn::of(TURN_ACCEPTS);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.wait_for_connection().await;
                turn = Turn::of(TURN_ACCEPTS);
            }
            Err(error) if concerns_one_connection(&error) => {
                // A security module may refuse each of them, and take none out of the queue.
                if turn.step() {
                    core.reactor.sleep(ACCEPT_BACKOFF).await;
                    turn = Turn::of(TURN_ACCEPTS);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    core.metrics.add(Counter::AcceptFailures, 1);
                    core.log.emit(Event::AcceptFailed { shard: core.id, error: error.to_string() });
                }
                // Out of descriptors, most likely: the reserve is for telling the connections that wait.
                listener.release_reserve();
                refuse_waiting(&core, &listener);
                listener.refill_reserve();
                core.reactor.sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Takes a new connection in, or refuses it.
fn take_in(core: &Rc<Core>, socket: RawSocket, peer: Option<SocketAddr>) {
    let (open, now) = (core.metrics.all().open(), core.server_time());
    let admitted = match admit(&core.limits(), &core.addresses, open, peer.map(|peer| peer.ip()), now) {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(core, socket, peer, &refused),
    };
    let wait = admitted.wait;
    let connection = core.open(Socket::new(&core.reactor, socket), peer, admitted);
    if wait.is_zero() {
        core.reactor.spawn(serve::run(Rc::clone(core), connection));
    } else {
        core.reactor.spawn(serve::run_later(Rc::clone(core), connection, wait));
    }
}

/// Accepts all that wait, then ends the listener: the kernel refuses new connections. Without descriptors, each that waits
/// gets its last line on the reserve. Returns whether the listener has ended; if not, there was no reserve for one that
/// waits, and this has to be called again.
pub(super) fn empty_and_end(listener: &Listening, core: &Rc<Core>) -> bool {
    // The kernel's queue holds one more than it was asked for, and handshakes come to their end meanwhile.
    for _ in 0..2 * BACKLOG {
        match listener.accept() {
            Ok((socket, peer)) if listener.has_reserve() => take_in(core, socket, peer),
            Ok((socket, peer)) => refuse_at_once(core, socket, peer, CloseReason::Shutdown),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) if listener.release_reserve() => {}
            Err(_) if listener.has_connection() => return false,
            Err(_) => break,
        }
    }
    listener.shut_down();
    true
}
