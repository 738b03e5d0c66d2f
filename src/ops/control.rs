//! The server's side of the control socket: a thread that accepts, and one for each client.
//!
//! A client that sends nothing or does not read holds one of a few places for a few seconds, and no core.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use serde_json::{Value, json};

use super::requests::Handles;
use super::socket::{self, ControlError};
use crate::cli::ControlCommand;

/// Clients at once.
const CLIENTS_MAX: usize = 8;

/// How long a client may take to send its request, or to read the reply.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a request at most.
const REQUEST_BYTES_MAX: u64 = 16 << 10;

/// Between two tries to accept, when descriptors are lacking.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The control socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
}

impl Control {
    /// Opens the socket.
    ///
    /// # Errors
    /// When another server has it, or the path cannot be used.
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        Ok(Control { path: path.to_owned(), listener: socket::open(path)? })
    }

    /// Serves clients from now on, on threads of their own.
    ///
    /// # Errors
    /// When there is no thread or no descriptor.
    pub fn serve(&self, handles: Handles) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let serve = move || accept_clients(&listener, &Arc::new(handles));
        std::thread::Builder::new().name("control".to_owned()).spawn(serve).map(drop)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // First the file: once the listener is shut down, the next server may put its own there. If it is gone already,
        // that is as well. Then the thread ends.
        let _ = std::fs::remove_file(&self.path);
        let _ = shutdown(&self.listener, Shutdown::Both);
    }
}

fn accept_clients(listener: &UnixListener, handles: &Arc<Handles>) {
    let places = Arc::new(AtomicUsize::new(CLIENTS_MAX));
    for client in listener.incoming() {
        let client = match client {
            Ok(client) => client,
            // The server has ended.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(_) => {
                std::thread::park_timeout(ACCEPT_BACKOFF);
                continue;
            }
        };
        let Some(place) = Place::take(&places) else {
            // A few bytes fit into an empty socket.
            let _ = reply(&client, &json!({ "error": "too many clients of the control socket: try again" }));
            continue;
        };
        let handles = Arc::clone(handles);
        let serve = move || {
            let _place = place;
            // A client that has gone needs no reply.
            let _ = serve_client(&client, &handles);
        };
        // Without a thread the client sees its connection closed.
        let _ = std::thread::Builder::new().name("control-client".to_owned()).spawn(serve);
    }
}

fn serve_client(client: &UnixStream, handles: &Handles) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(client.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str::<ControlCommand>(&line) {
        Ok(command) => handles.answer(command),
        Err(error) => Err(format!("no such request: {error}")),
    };
    reply(client, &answer.map_or_else(|error| json!({ "error": error }), |value| json!({ "ok": value })))
}

fn reply(mut client: &UnixStream, value: &Value) -> io::Result<()> {
    client.write_all(format!("{value}\n").as_bytes())
}

/// One of the places for clients.
struct Place(Arc<AtomicUsize>);

impl Place {
    /// Only the thread that accepts takes places.
    fn take(places: &Arc<AtomicUsize>) -> Option<Place> {
        if places.load(Ordering::Acquire) == 0 {
            return None;
        }
        places.fetch_sub(1, Ordering::AcqRel);
        Some(Place(Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
