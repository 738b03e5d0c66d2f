//! A netcat-like client: lines from stdin go to the server, whatever the server says goes to stdout.
//!
//! Plain blocking threads, one for each direction; it knows nothing of the server's rooms.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes moved at once, either way.
const BUFFER_BYTES: usize = 16 * 1024;

/// Why the conversation could not begin, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("cannot find {address}: {error} (give host and port, such as 127.0.0.1:1337)")]
    Resolve {
        /// What was asked for.
        address: String,
        /// Why it is none.
        error: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {address}: {error} (is a server running there? `cowchat serve` starts one)")]
    Connect {
        /// What was asked for.
        address: String,
        /// The kernel's word.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {error}")]
    Broken {
        /// What was asked for.
        address: String,
        /// The kernel's word.
        error: io::Error,
    },
    /// Stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
}

/// Talks to the server at `address` until it closes the connection. At the end of stdin the server is told
/// that no more lines will come, and its last replies are still waited for.
///
/// # Errors
/// When the server cannot be reached, the connection breaks, or stdout cannot be written. A reader of
/// stdout that has seen enough is no error.
pub fn run(address: &str) -> Result<(), ClientError> {
    let stream = connect(address)?;
    let broken = |error| ClientError::Broken { address: address.to_owned(), error };
    let sender = stream.try_clone().map_err(broken)?;
    // Not joined: when the server is done, nobody waits for a line that is never typed.
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || send_stdin(sender)).map_err(broken)?;
    receive(stream, broken)
}

fn connect(address: &str) -> Result<TcpStream, ClientError> {
    let resolve = |error| ClientError::Resolve { address: address.to_owned(), error };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
    for candidate in address.to_socket_addrs().map_err(resolve)? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(ClientError::Connect { address: address.to_owned(), error: failure })
}

/// Sends stdin until its end, and then the end.
fn send_stdin(mut stream: TcpStream) {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            // That the connection is gone, the other direction says.
            Ok(count) if stream.write_all(&buffer[..count]).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// Shows what the server says, at once, until it has no more to say.
fn receive(mut stream: TcpStream, broken: impl Fn(io::Error) -> ClientError) -> Result<(), ClientError> {
    let mut stdout = io::stdout().lock();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        match stdout.write_all(&buffer[..count]).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(ClientError::Stdout(error)),
        }
    }
}
