//! The layer between the listener and HTTP: gives each connection a place and reports what happens on it to its
//! [`Turn`](super::turn::Turn).
//!
//! The wrapped stream sits below TLS, so one mechanism serves both.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Request, Version};
use axum::response::Response;
use axum_server::accept::Accept;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower_service::Service;

use super::connections::{Connection, Connections, Seat};

/// Size of the pieces in which an answer over HTTP/2 is handed over. A piece is requested once there is room for the
/// previous one, so requests for pieces show that the client reads.
const PIECE: usize = 16 << 10;

/// Acceptor that gives each connection a place.
#[derive(Clone)]
pub(super) struct Door(pub(super) Arc<Connections>);

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Held;
    type Service = Asked<S>;
    type Future = std::future::Ready<io::Result<(Held, Asked<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let full = || io::Error::new(io::ErrorKind::ConnectionRefused, "no room");
        let held = self.0.admit(stream.peer_addr().ok()).ok_or_else(full).map(|place| {
            let asked = Asked { service, connection: Arc::clone(place.connection()) };
            (Held { stream, is_cut: Box::pin(place.is_cut().cancelled_owned()), place }, asked)
        });
        std::future::ready(held)
    }
}

/// Stream of a connection that has a place.
pub(super) struct Held {
    stream: TcpStream,
    place: Seat,
    is_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Held {
    /// Fails once the connection is cut; until then it registers the task to be woken when that happens.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.is_cut.as_mut().poll(cx) {
            Poll::Ready(()) => {
                if self.place.connection().turn().is_blocked() {
                    // What the client has not read is discarded, and the system does not keep it.
                    let _ = self.stream.set_zero_linger();
                }
                Err(io::Error::new(io::ErrorKind::TimedOut, "cut"))
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Reports the result of a write to the turn.
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut turn = self.place.connection().turn();
        match &polled {
            Poll::Ready(Ok(bytes)) => turn.sent(Instant::now(), *bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => turn.blocked(Instant::now()),
        }
        polled
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.place.connection().turn().received(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once everything has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.place.connection().turn().flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Service that tells a connection about its requests, and the requests about their connection.
#[derive(Clone)]
pub(super) struct Asked<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S, B> Service<Request<B>> for Asked<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let is_http2 = request.version() == Version::HTTP_2;
        let connection = Arc::clone(&self.connection);
        let unanswered = Unanswered::new(&connection, is_http2);
        request.extensions_mut().insert(Arc::clone(&connection));
        let answering = self.service.call(request);
        Box::pin(async move {
            let response = answering.await?;
            drop(unanswered);
            Ok(match is_stream(&response) {
                true => streamed(response, connection),
                false if is_http2 => paced(response, connection),
                false => response,
            })
        })
    }
}

/// A request without an answer; ends when dropped.
struct Unanswered(Arc<Connection>);

impl Unanswered {
    fn new(connection: &Arc<Connection>, is_http2: bool) -> Self {
        connection.turn().asked(Instant::now(), is_http2);
        Self(Arc::clone(connection))
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.turn().answered(Instant::now());
    }
}

/// An answer over HTTP/2 that is being read; ends when dropped.
struct Reading {
    answer: u64,
    connection: Arc<Connection>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.connection.turn().has_answered(Instant::now(), self.answer);
    }
}

fn is_stream(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Tells the connection of each event that its client takes.
fn streamed(response: Response, connection: Arc<Connection>) -> Response {
    response.map(|body| {
        let events = body.into_data_stream();
        Body::from_stream(events.inspect(move |_| connection.turn().streamed(Instant::now())))
    })
}

/// Hands the same response over in pieces.
fn paced(response: Response, connection: Arc<Connection>) -> Response {
    let (mut parts, body) = response.into_parts();
    if body.is_end_stream() {
        return Response::from_parts(parts, body);
    }
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    let answer = connection.turn().answers(Instant::now());
    let reading = Reading { answer, connection };
    let pieces = unfold((body.into_data_stream(), Bytes::new()), |(mut chunks, mut rest)| async {
        while rest.is_empty() {
            match chunks.next().await? {
                Ok(chunk) => rest = chunk,
                Err(error) => return Some((Err(error), (chunks, rest))),
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok(piece), (chunks, rest)))
    });
    let taken = pieces.inspect(move |piece| {
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        reading.connection.turn().took(reading.answer, bytes);
    });
    Response::from_parts(parts, Body::from_stream(taken))
}
