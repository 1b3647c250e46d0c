//! Streams of events: each tells a browser that something has changed.
//!
//! A stream holds the latest number and nothing else, so who does not read costs nothing. Each ends after a time, and the
//! browser comes back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::state::Dashboard;
use super::visit::Visitor;
use crate::api::http::Pulse;

/// Least time between two events of a stream.
const PAUSE: Duration = Duration::from_millis(500);
/// Interval between signs of life on a stream of events.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a stream lasts.
const LIFETIME: Duration = Duration::from_secs(600);

/// A stream of events.
struct Events {
    _place: OwnedSemaphorePermit,
    pulses: watch::Receiver<Pulse>,
    ends: Instant,
    is_first: bool,
}

impl Events {
    /// The text of the next event; nothing once the stream ends.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if !std::mem::replace(&mut self.is_first, false) {
            tokio::time::sleep(PAUSE).await;
        }
        if self.pulses.borrow().is_stopping || Instant::now() >= self.ends {
            return None;
        }
        let text = match tokio::time::timeout(ALIVE, self.pulses.changed()).await {
            Ok(Ok(())) => {
                let version = self.pulses.borrow_and_update().version;
                format!("event: change\ndata: {version:016x}\n\n")
            }
            Ok(Err(_)) => return None,
            Err(_) => ": still here\n\n".to_owned(),
        };
        Some((Ok(text), self))
    }
}

/// Answers with a stream of events.
pub(super) async fn events(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = Visitor::of(&dashboard, &parts) {
        return refusal.bare();
    }
    let Some((place, pulses)) = dashboard.feed.join() else {
        let mut response = Response::new("too many streams of events".into());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let events = Events { _place: place, pulses, ends: Instant::now() + LIFETIME, is_first: true };
    let mut response = Response::new(Body::from_stream(unfold(events, Events::next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A proxy that collects an answer before it passes it on would hold every event back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
