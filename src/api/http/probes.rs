//! Probes and metrics, which answer whatever state NATS is in.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::ApiError;
use super::super::operations::{Access, Answer};
use super::respond::{failure, marked, success};
use super::{Http, request};
use crate::jetstream::writes::OurStream;
use crate::load::Load;
use crate::metrics::{Format, Gauges, GroupGauges, StreamGauges};
use crate::schedule::Group;
use crate::schedule::keyed::Known;

/// Body of a probe's answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Probe {
    /// `ok`, `degraded` if something needs an operator, or `unavailable`.
    #[schemars(extend("enum" = ["ok", "degraded", "unavailable"]))]
    pub(super) status: &'static str,
    /// Problems, described for people.
    pub(super) problems: Vec<String>,
    /// The version of the service.
    pub(super) version: &'static str,
}

/// Liveness: any answer shows that the process works.
pub(super) async fn live(State(http): State<Arc<Http>>, request: Request) -> Response {
    answer(&http, &request, "/live", StatusCode::OK, "ok", Vec::new())
}

/// Readiness: fails while the instance loads, stops, or cannot follow the schedules in NATS.
pub(super) async fn ready(State(http): State<Arc<Http>>, request: Request) -> Response {
    match http.health.not_ready() {
        None => answer(&http, &request, "/ready", StatusCode::OK, "ok", Vec::new()),
        Some(reason) => unavailable(&http, &request, "/ready", reason),
    }
}

/// Health: whether the instance has any problems.
pub(super) async fn health(State(http): State<Arc<Http>>, request: Request) -> Response {
    if let Some(reason) = http.health.not_ready() {
        return unavailable(&http, &request, "/health", reason);
    }
    let problems = http.api.get().map_or_else(|| http.health.problems(), |api| api.problems());
    // The problems themselves are only for those allowed to see /health/detailed.
    let status = if problems.is_empty() { "ok" } else { "degraded" };
    answer(&http, &request, "/health", StatusCode::OK, status, Vec::new())
}

fn unavailable(http: &Http, request: &Request, route: &'static str, reason: &str) -> Response {
    let problems = vec![reason.to_owned()];
    answer(http, request, route, StatusCode::SERVICE_UNAVAILABLE, "unavailable", problems)
}

fn answer(
    http: &Http,
    request: &Request,
    route: &'static str,
    code: StatusCode,
    status: &'static str,
    problems: Vec<String>,
) -> Response {
    let started = Instant::now();
    let caller = request::caller_or_anonymous(request.headers());
    let probe = Probe { status, problems, version: env!("CARGO_PKG_VERSION") };
    let body = serde_json::to_vec(&probe).unwrap_or_default().into();
    let response = success(code, Answer { body, location: None, revision: None }, &caller);
    http.count(request.method(), route, code, started);
    response
}

/// Metrics for Prometheus, in the format that it asks for.
pub(super) async fn metrics(State(http): State<Arc<Http>>, request: Request) -> Response {
    let refused = http.admit(&request, Access::Read).err();
    let accept = request.headers().get_all(ACCEPT).iter();
    let format = Format::accepted(accept.filter_map(|header| header.to_str().ok()));
    let text = || http.metrics.encode(&http.gauges(), format).into();
    let mut response = http.page(&request, "/metrics", format.content_type(), refused, text);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

impl Http {
    /// Answers with a text, unless it is `refused`.
    pub(super) fn page(
        &self,
        request: &Request,
        route: &'static str,
        content_type: &'static str,
        refused: Option<ApiError>,
        text: impl FnOnce() -> Body,
    ) -> Response {
        let started = Instant::now();
        let caller = request::caller_or_anonymous(request.headers());
        let response = match refused {
            Some(error) => failure(error, &caller),
            None => {
                let mut response = Response::new(text());
                let content_type = HeaderValue::from_static(content_type);
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                marked(response, &caller)
            }
        };
        self.count(request.method(), route, response.status(), started);
        response
    }

    /// Values measured at the moment of a scrape.
    fn gauges(&self) -> Gauges {
        use std::sync::atomic::Ordering::Relaxed;

        let (health, load) = (&self.health, &self.health.load);
        let (seen, api) = (health.seen(), self.api.get());
        let stream = |stream: &crate::jetstream::observe::Stream| StreamGauges {
            name: stream.name.to_owned(),
            exists: stream.exists == Some(true),
            drift: stream.drift.len(),
            writes_fail: OurStream::ALL.into_iter().any(|place| {
                place.stream() == stream.name && health.writes.trouble(place).is_some()
            }),
        };
        Gauges {
            counts: api.map(|api| api.index.counts()).unwrap_or_default(),
            all_paused: api.is_some_and(|api| api.all_paused_now().is_some()),
            queue_depth: load.waiting.load(Relaxed),
            timers: load.timers.load(Relaxed),
            timer_lag: load.timer_lag(health.clock.now()),
            armed: load.armed.load(Relaxed),
            active_executions: load.executions.load(Relaxed),
            in_flight: load.stages(),
            watch_lag: seen.watch_lag,
            clock_offset: health.clock.host_offset().map(|(offset, _)| offset.as_seconds_f64()),
            nats_rtt: seen.nats.round_trip.map(|time| time.as_secs_f64()),
            nats_connected: health.is_connected(),
            ready: health.not_ready().is_none(),
            set_aside: api.map_or(0, |api| api.index.set_aside().len()),
            left_to_newer: api.map_or(0, |api| api.index.left_to_newer().0),
            vanished: api.and_then(|api| api.index.vanished()).map_or(0, |one| one.schedules),
            history_entries: api.map_or(0, |api| api.history.len()),
            instances: load.instances.load(Relaxed),
            groups: api.map(|api| groups(&api.index.groups(), load)).unwrap_or_default(),
            streams: seen.nats.streams.iter().map(stream).collect(),
            started_at: self.started_at,
        }
    }
}

fn groups(known: &Known<Group>, load: &Load) -> Vec<GroupGauges> {
    let gauges = known.iter().map(|group| GroupGauges {
        name: group.name.clone(),
        limit: usize::from(group.limit),
        running: group.slots.len(),
        waiting: load.waiting_for_slot(&group.name),
    });
    gauges.collect()
}
