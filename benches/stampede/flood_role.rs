//! The roles of a flooder's connections: which there are in each kind of flood, and what each sends.

use cowchat::limits::{CONNECTIONS_PER_ADDRESS, LINE_BYTES_MAX};

use super::cli::FloodKind;
use super::texts::DEAREST;
use super::token::{TOKEN_BYTES, Token};
use super::wire::Gallery;

/// Names for standing connections, and after them those that reconnecting ones take in turns: a name may stay taken for a
/// moment after a reset.
const STANDING_NAMES: usize = CONNECTIONS_PER_ADDRESS;
const RECONNECTING_NAMES: usize = 16;

/// Names that the flooder needs.
pub const NAMES: usize = STANDING_NAMES + RECONNECTING_NAMES;

/// Yields of a reconnecting connection. With the login they would be a burst if there were no receivers.
const RECONNECTING_YIELDS: usize = 9;

/// Bytes of lines that a standing connection offers its socket at a time.
const OFFER_BYTES: usize = 16 * 1024;

/// What a standing connection, or a series of reconnecting ones, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Says short lines to itself.
    Lines,
    /// Yields the longest lines of the dearest text.
    Expensive,
    /// Yields texts like those of the talkers.
    Yields,
    /// Logs in, yields, quits, and again.
    Reconnecting,
}

impl Role {
    /// The roles of a kind of flood: as many as one address may have connections, at most.
    pub fn of_kind(kind: FloodKind) -> Vec<Role> {
        use Role::{Expensive, Lines, Reconnecting, Yields};
        match kind {
            FloodKind::Lines => vec![Lines],
            FloodKind::Reconnect => vec![Reconnecting],
            FloodKind::Expensive => vec![Expensive],
            FloodKind::Many | FloodKind::Burst => vec![Yields; CONNECTIONS_PER_ADDRESS],
            FloodKind::All => {
                // One less: the server may not have seen yet that the last reconnecting one is gone.
                let mut roles = vec![Yields; CONNECTIONS_PER_ADDRESS - 1];
                roles[..3].copy_from_slice(&[Lines, Expensive, Reconnecting]);
                roles
            }
        }
    }

    /// Whether its connection stays.
    pub fn is_standing(self) -> bool {
        self != Role::Reconnecting
    }

    /// The index among the flooder's names of the connection that takes `slot` for the `round`th time.
    pub fn name(self, slot: usize, round: usize) -> usize {
        if self.is_standing() { slot } else { STANDING_NAMES + round % RECONNECTING_NAMES }
    }

    /// What the connection of this name sends at once, and after its login again and again.
    pub fn sends(self, gallery: &Gallery, name: usize) -> (Vec<u8>, Vec<u8>) {
        let cow = &gallery.names()[name];
        let login = format!("login {cow}\n").into_bytes();
        let line = match self {
            Role::Lines => format!("say {cow} moo\n").into_bytes(),
            _ => [b"yield ", &token(name).bytes()[..], gallery.rest(token(name)), b"\n"].concat(),
        };
        if self.is_standing() {
            (login, line.repeat(OFFER_BYTES.div_ceil(line.len())))
        } else {
            ([&login[..], &line.repeat(RECONNECTING_YIELDS), b"quit\n"].concat(), Vec::new())
        }
    }
}

/// The token of all that the flooder of this name yields.
pub fn token(name: usize) -> Token {
    Token { sender: name, number: 1, yielded: 1 }
}

/// The flooder's name that yields the dearest text, if this kind of flood has one, and what follows the token in it.
pub fn expensive(kind: FloodKind, gallery: &Gallery, first_name: usize) -> Option<(usize, Vec<u8>)> {
    let slot = Role::of_kind(kind).iter().position(|&role| role == Role::Expensive)?;
    let name = &gallery.names()[first_name + slot];
    // It must fit into a `say` to itself, too, from which the gallery learns it.
    let room = LINE_BYTES_MAX - "say  ".len() - name.len() - TOKEN_BYTES - 1;
    let rest = [b" ", &DEAREST.repeat(room / DEAREST.len())[..]].concat();
    Some((first_name + slot, rest))
}
