//! The control socket's file: only its owner may connect, a dead server's is replaced, and a clean end removes it.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

/// Clients that may wait until they are accepted.
const BACKLOG: i32 = 16;

/// Why there is no control socket; each says what to change.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ControlError {
    #[error("cannot open the socket of --control, {}: another server has it (choose another path)", .0.display())]
    Taken(PathBuf),
    #[error("cannot open the socket of --control, {}: a file is there that is no socket (choose another path)", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot open the socket of --control, {}: its directory does not exist (make it, or choose another path)", .0.display())]
    NoDirectory(PathBuf),
    #[error("cannot open the socket of --control, {path}: {error}", path = .path.display())]
    Failed { path: PathBuf, error: io::Error },
}

/// A socket that clients of this user may connect to.
pub(super) fn open(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ControlError::NoDirectory(path.to_owned()),
        _ => ControlError::Failed { path: path.to_owned(), error },
    };
    match try_open(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_dead(path)?;
            try_open(path).map_err(failed)
        }
        opened => opened.map_err(failed),
    }
}

fn try_open(path: &Path) -> io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Before it has a name: no other user can connect in between.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes the socket of a server that is dead.
fn remove_dead(path: &Path) -> Result<(), ControlError> {
    let failed = |error| ControlError::Failed { path: path.to_owned(), error };
    if !fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
        return Err(ControlError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}
