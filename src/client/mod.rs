//! A client like netcat: stdin goes to the server, the server's output goes to stdout.
//!
//! One blocking thread for each direction. It knows nothing of the rest of the program.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a connection to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one read, in either direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Why there is no conversation, or no more of it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ClientError {
    #[error("cannot find {address}: {error} (give host and port, such as 127.0.0.1:1337)")]
    Resolve { address: String, error: io::Error },
    #[error("cannot connect to {address}: {error} (is a server running there? `cowchat serve` starts one)")]
    Connect { address: String, error: io::Error },
    #[error("the connection to {address} broke: {error}")]
    Broken { address: String, error: io::Error },
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
}

/// Talks to the server at `address` until the server closes the connection. At the end of stdin it half-closes the
/// connection, and waits for the last replies.
///
/// # Errors
/// When the server does not answer, the connection breaks, or stdout takes no more. A closed pipe on stdout is no error.
pub fn run(address: &str) -> Result<(), ClientError> {
    let stream = connect(address)?;
    let broken = |error| ClientError::Broken { address: address.to_owned(), error };
    let sender = stream.try_clone().map_err(broken)?;
    // Not joined: it may wait for a line that is never typed.
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

/// Sends stdin, and then its end.
fn send_stdin(mut stream: TcpStream) {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            // The other direction says that the connection is gone.
            Ok(count) if stream.write_all(&buffer[..count]).is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// Shows the output of the server as it comes, until its end.
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
