//! The control socket's file: only its owner may connect, a dead server's is replaced, and a clean end removes it.
//!
//! Of servers that start at the same time on a dead server's socket, one gets it: a lock file beside it covers all from
//! the look at the old socket to the moment when the new one takes clients. It exists only for that time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, fchmod, fcntl_lock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

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
    let _lock = Lock::take(path).map_err(failed)?;
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
    match try_connect(path) {
        // A server whose queue of clients is full is alive, too.
        Ok(()) => Err(ControlError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ControlError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn try_connect(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// No other process opens a socket at this path meanwhile.
struct Lock {
    path: PathBuf,
    /// Closing it ends the lock.
    _file: File,
}

impl Lock {
    /// Waits while another server has it, which is for some system calls.
    fn take(socket: &Path) -> io::Result<Lock> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            // Not flock(2), which a unit of an earlier version forbids.
            fcntl_lock(&file, FlockOperation::LockExclusive)?;
            // The server that had it has removed the file: the next one locks another.
            let (mine, now) = (file.metadata()?, fs::metadata(&path));
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (mine.dev(), mine.ino())) {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked. One that stays harms nothing.
        let _ = fs::remove_file(&self.path);
    }
}
