//! The client in a pipe, which is like netcat: stdin goes to the server, the server's output goes to stdout, byte for byte.
//!
//! One blocking thread for each direction.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::address::Address;
use super::error::ClientError;

/// Bytes of one read, in either direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Talks to the server until it closes the connection. At the end of stdin it half-closes the connection, and waits for
/// the last replies.
///
/// # Errors
/// When the server does not answer, the connection breaks, or stdout takes no more. A closed pipe on stdout is no error.
pub(super) fn run(address: &Address) -> Result<(), ClientError> {
    let stream = address.connect()?;
    let broken = |error| ClientError::Broken { address: address.to_string(), error };
    let sender = stream.try_clone().map_err(broken)?;
    // Not joined: it may wait for a line that is never typed.
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || send_stdin(sender)).map_err(broken)?;
    receive(stream, broken)
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
