//! What a message between servers costs at least: a round trip over the broker of two bare clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::ensure;
use hdrhistogram::Histogram;

use super::crowd::connect;
use super::figures::histogram;

/// Round trips that are counted.
const ROUNDS: usize = 2_000;

/// A client of the broker.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// One that gets what is sent to `subject`.
    fn subscribed(broker: SocketAddr, subject: &str) -> anyhow::Result<Client> {
        let stream = connect(broker)?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut client = Client { stream, reader };
        client.line()?;
        let hello = format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n");
        client.stream.write_all(hello.as_bytes())?;
        let answer = client.line()?;
        ensure!(answer == "PONG", "the broker says {answer}");
        Ok(client)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn send(&mut self, subject: &str, text: &str) -> anyhow::Result<()> {
        let message = format!("PUB {subject} {}\r\n{text}\r\n", text.len());
        Ok(self.stream.write_all(message.as_bytes())?)
    }

    /// Waits for a message: its head, and its text.
    fn receive(&mut self) -> anyhow::Result<String> {
        let head = self.line()?;
        ensure!(head.starts_with("MSG "), "the broker says {head}");
        self.line()
    }
}

/// Round trips, in nanoseconds.
pub fn round_trips(broker: SocketAddr) -> anyhow::Result<Histogram<u64>> {
    let (mut near, mut far) = (Client::subscribed(broker, "near")?, Client::subscribed(broker, "far")?);
    let (text, mut taken) = ("x".repeat(36), histogram());
    for round in 0..ROUNDS + ROUNDS / 10 {
        let began = Instant::now();
        near.send("far", &text)?;
        far.receive()?;
        far.send("near", &text)?;
        near.receive()?;
        if round >= ROUNDS / 10 {
            taken.record(began.elapsed().as_nanos() as u64)?;
        }
    }
    Ok(taken)
}
