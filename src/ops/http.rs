//! `--metrics`: one thread with an event loop of its own answers `/metrics`, `/healthz` and `/readyz` over HTTP/1.1.
//!
//! The number of its connections is bounded, and so is the time that each may take: a client that sends or reads nothing
//! keeps its place for that long.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::exposition::{Exposition, Source};
use super::health::Health;
use crate::limits::{ACCEPT_BACKOFF, SCRAPE_TIME_MAX, SCRAPES_AT_ONCE};

/// The exposition format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A listener for scrapes, which nothing answers yet.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
    /// With the port that the kernel chose for port 0.
    pub address: SocketAddr,
}

impl MetricsListener {
    /// Takes the port.
    ///
    /// # Errors
    /// When the kernel refuses the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(MetricsListener { listener, address })
    }

    /// Answers from a thread of its own until the process ends.
    ///
    /// # Errors
    /// When the thread or its event loop cannot be set up.
    pub fn serve(self, source: Source) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = Arc::new(Answers { health: Arc::clone(&source.health), exposition: Exposition::new(source) });
        let serve = move || {
            let served = LocalSet::new().block_on(&runtime, accept(self.listener, answers));
            // Only a listener that the event loop does not take ends it.
            debug_assert!(served.is_ok(), "{served:?}");
        };
        std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map(drop)
    }
}

struct Answers {
    health: Arc<Health>,
    exposition: Exposition,
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(SCRAPES_AT_ONCE));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((socket, _)) = listener.accept().await else {
            // No descriptor is free, most likely.
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let answers = Arc::clone(&answers);
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answers.answer(&request))));
            let mut http = http1::Builder::new();
            let connection =
                http.keep_alive(false).timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), answer);
            // A client that breaks off concerns no other.
            let _ = tokio::time::timeout(SCRAPE_TIME_MAX, connection).await;
            drop(place);
        });
    }
}

impl Answers {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let (status, text) = match path {
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned())
            }
            "/metrics" => (StatusCode::OK, self.exposition.text()),
            "/healthz" if self.health.is_alive() => (StatusCode::OK, "ok\n".to_owned()),
            "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, "a core is stalled\n".to_owned()),
            "/readyz" if self.health.is_ready() => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if self.health.is_draining() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = if path == "/metrics" { PROMETHEUS_TEXT } else { "text/plain; charset=utf-8" };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}
