//! The operations over HTTP, with probes, metrics and an OpenAPI description.
//!
//! A route names an operation and where its fields come from: path, query and body form one JSON object, which is read
//! and checked like a request over NATS. The replies are the same too.
//!
//! The listener is up before NATS is reached and until everything in flight has ended, so that probes always get a true
//! answer. A change continues when its client hangs up or its time is over: it is done or not done, never half done.
//!
//! From the outside in: `server` listens; `door` gives each connection a place among the `connections`, which cut any
//! client that takes longer than its `turn` allows; `auth` decides who may do what, based on files that `reread`
//! watches; then a route answers.

mod auth;
mod connections;
mod docs;
mod door;
mod files;
mod inside;
mod openapi;
mod probe_client;
mod probes;
mod request;
mod reread;
mod respond;
mod routes;
mod server;
mod turn;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::error::{ApiError, Code, Complaints};
use super::operations::{Access, Operation};
use super::{Api, Caller};
use crate::config::http::HttpConfig;
use crate::config::tokens::Tokens;
use crate::health::{Health, Stage};
use crate::metrics::Metrics;
use auth::Grant;
pub(crate) use auth::Rights;
use connections::Connection;
pub(crate) use inside::Pulse;
pub use probe_client::{ProbeError, ask_live};
pub(crate) use request::{Kind, host, is_same_origin, kinds, whole_body};
use respond::{failure, success};
use routes::{NO_IDS, routes};

/// A facade that is listening.
pub struct Listening {
    /// Its URL with the actual port, as in `http://127.0.0.1:8008`.
    pub url: String,
    /// Ends when the server ends.
    pub serving: JoinHandle<std::io::Result<()>>,
}

/// Why HTTP could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address could not be bound.
    #[error("HTTP cannot listen on {address}: {}", why_not(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        error: std::io::Error,
    },
}

/// The HTTP facade of one instance.
pub struct Http {
    config: HttpConfig,
    tokens: RwLock<Arc<Tokens>>,
    /// Kinds of the fields of each route.
    query_kinds: Vec<HashMap<String, request::Kind>>,
    openapi: openapi::Documents,
    permits: Arc<Semaphore>,
    /// Places for waiting requests, each of which keeps a connection from making room for a probe.
    waiting: Arc<Semaphore>,
    /// Unanswered requests, whether they are worked on or wait.
    under_way: TaskTracker,
    api: OnceLock<Arc<Api>>,
    complaints: Complaints,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    started_at: DateTime<Utc>,
}

impl Http {
    /// Creates a facade that has no operations yet.
    pub fn new(config: HttpConfig, health: Arc<Health>, metrics: Arc<Metrics>) -> Arc<Self> {
        let query_kinds = routes().iter().map(|(_, operation)| request::kinds(operation)).collect();
        let openapi = openapi::Documents::new(routes(), !config.tokens.is_empty());
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(config.max_concurrent)),
            waiting: Arc::new(Semaphore::new(
                config.max_connections.saturating_sub(config.max_concurrent + 1),
            )),
            under_way: TaskTracker::new(),
            tokens: RwLock::new(Arc::new(config.tokens.clone())),
            config,
            query_kinds,
            openapi,
            api: OnceLock::new(),
            complaints: Complaints::default(),
            started_at: health.clock.now(),
            health,
            metrics,
        })
    }

    /// Starts answering operations.
    pub fn open(&self, api: Arc<Api>) {
        let _ = self.api.set(api);
    }

    /// The tokens that are currently accepted.
    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_tokens(&self, tokens: Tokens) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    /// Waits until no operation is under way.
    pub async fn idle(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    fn router(self: Arc<Self>, pages: Router<Arc<Self>>) -> Router {
        let mut paths: HashMap<&'static str, MethodRouter<Arc<Self>>> = HashMap::new();
        for (place, (route, _)) in routes().iter().enumerate() {
            let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
            let handler = move |State(http): State<Arc<Self>>, request: Request| async move {
                http.answer(place, request).await
            };
            let methods = paths.remove(&*route.path).unwrap_or_default();
            paths.insert(&route.path, methods.merge(on(filter, handler)));
        }
        let mut router = Router::new();
        for (path, methods) in paths {
            router = router.route(path, methods);
        }
        for path in NO_IDS {
            // Another method of the same path may be a route.
            if !routes().iter().any(|(route, _)| route.path == path) {
                router = router.route(path, axum::routing::any(no_route));
            }
        }
        router
            .route("/live", get(probes::live))
            .route("/ready", get(probes::ready))
            .route("/health", get(probes::health))
            .route("/metrics", get(probes::metrics))
            .route(openapi::PATH, get(openapi::json))
            .route(openapi::OLDER_PATH, get(openapi::older_json))
            .route("/docs", get(docs::page))
            .route("/docs/{file}", get(docs::file))
            .merge(pages)
            .fallback(no_route)
            .method_not_allowed_fallback(no_method)
            .with_state(self)
    }

    /// Answers a request to the route at `place` of the table.
    async fn answer(self: Arc<Self>, place: usize, request: Request) -> Response {
        let started = Instant::now();
        let _in_flight = self.metrics.http_in_flight();
        let (route, operation) = &routes()[place];
        let (caller, result) = match request::caller(operation.actor_header, request.headers()) {
            Ok(caller) => {
                let caller = Arc::new(caller);
                let result = self.run(place, &caller, operation, request).await;
                (caller, result)
            }
            Err(faults) => (Arc::new(Caller::anonymous()), Err(faults.into())),
        };
        let response = match result {
            Ok(answer) => success(route.status, answer, &caller),
            Err(error) => failure(error, &caller),
        };
        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        let method = respond::name(&route.method);
        self.metrics.http_request(method, &route.path, status, elapsed);
        debug!(
            method,
            route = route.path,
            status,
            elapsed_us = elapsed.as_micros(),
            request_id = caller.request_id,
            correlation_id = caller.correlation_id,
            "request answered"
        );
        response
    }

    async fn run(
        &self,
        place: usize,
        caller: &Arc<Caller>,
        operation: &Operation,
        request: Request,
    ) -> Result<super::operations::Answer, ApiError> {
        self.admit(&request, operation.access)?;
        let api = self.opened(caller, operation)?;
        let (route, _) = &routes()[place];
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let input =
            request::input(route, &self.query_kinds[place], self.config.max_body, request).await?;
        let _working = connection.map(|connection| connection.works());
        self.work(api, caller, operation, input).await
    }

    /// Runs an operation within the bounds of requests.
    async fn work(
        &self,
        api: &Arc<Api>,
        caller: &Arc<Caller>,
        operation: &Operation,
        input: super::operations::Input,
    ) -> Result<super::operations::Answer, ApiError> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let most = self.config.max_concurrent;
            let message = format!("{most} requests are under way, which is the limit");
            let error = ApiError::crowded(message);
            return Err(error.told(operation.name, caller, &self.complaints));
        };
        caller.permit.hold(permit, Some(Arc::clone(&self.waiting)));
        let under_way = self.under_way.token();
        // Shutdown announces the stop before it waits for the requests under way.
        if self.health.stage() == Stage::Stopping {
            return Err(self.unavailable(caller, operation, STOPPING));
        }
        let running = operation.run(api, caller, input);
        let answer = if operation.access.changes() {
            let permit = caller.permit.clone();
            let task = tokio::spawn(async move {
                let answer = running.await;
                permit.end();
                drop(under_way);
                answer
            });
            let answer = tokio::time::timeout(self.config.timeout, task).await;
            answer.map(|joined| {
                joined.unwrap_or_else(|error| {
                    let error = ApiError::internal(format!("the request broke off: {error}"));
                    Err(error.told(operation.name, caller, &api.complaints))
                })
            })
        } else {
            let answer = tokio::time::timeout(self.config.timeout, running).await;
            caller.permit.end();
            answer
        };
        answer.unwrap_or_else(|_| {
            let seconds = self.config.timeout.as_secs();
            let message = format!("not done within {seconds} s; it may or may not be done yet");
            Err(self.unavailable(caller, operation, message))
        })
    }

    /// The operations, while they are answered.
    fn opened(&self, caller: &Caller, operation: &Operation) -> Result<&Arc<Api>, ApiError> {
        if self.health.stage() == Stage::Stopping {
            return Err(self.unavailable(caller, operation, STOPPING));
        }
        let starting = || self.unavailable(caller, operation, "the service is starting");
        self.api.get().ok_or_else(starting)
    }

    /// `unavailable`, from before the operation or instead of its answer.
    fn unavailable(
        &self,
        caller: &Caller,
        operation: &Operation,
        message: impl Into<String>,
    ) -> ApiError {
        let error = ApiError::new(Code::Unavailable, message);
        error.told(operation.name, caller, &self.complaints)
    }

    /// Refuses a caller that may not do what needs `access`.
    fn admit(&self, request: &Request, access: Access) -> Result<(), ApiError> {
        let tokens = self.tokens();
        match tokens.grant(request.headers(), access) {
            Grant::Granted => {}
            Grant::Unknown => {
                let message = "a bearer token is required, and none that is known was sent";
                return Err(ApiError::new(Code::Unauthenticated, message));
            }
            Grant::Refused(what) => return Err(ApiError::new(Code::Forbidden, what)),
        }
        // A request with a token does not come from a page of another site, which cannot send one.
        if tokens.is_empty() {
            request::check_browser(request, access, self.config.host.is_loopback())?;
        }
        Ok(())
    }

    /// Counts a request to a path that is not an operation.
    fn count(&self, method: &Method, route: &'static str, status: StatusCode, started: Instant) {
        let method = respond::name(method);
        self.metrics.http_request(method, route, status.as_u16(), started.elapsed());
    }
}

/// Explains why an address cannot be bound, and what to do about it.
fn why_not(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => {
            "another program does. Stop it, or choose another port with API_PORT \
            (dev: --http-port), or no HTTP with `off`"
                .to_owned()
        }
        ErrorKind::AddrNotAvailable => {
            "it is not an address of this machine; see API_HOST".to_owned()
        }
        _ => format!("{error}; see API_HOST and API_PORT"),
    }
}

const STOPPING: &str = "the service is stopping";

/// Answers that there is no such route.
pub(crate) async fn no_route(State(http): State<Arc<Http>>, request: Request) -> Response {
    let message = format!("there is no {}: see /openapi.json", request.uri().path());
    refuse(&http, &request, ApiError::new(Code::NotFound, message))
}

async fn no_method(State(http): State<Arc<Http>>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let message = format!("{path} does not support {method}");
    refuse(&http, &request, ApiError::new(Code::MethodNotAllowed, message))
}

fn refuse(http: &Http, request: &Request, error: ApiError) -> Response {
    let started = Instant::now();
    let response = failure(error, &request::caller_or_anonymous(request.headers()));
    http.count(request.method(), "unmatched", response.status(), started);
    response
}
