//! A request for a page: who asks, what they may do, and the operations that are asked for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{COOKIE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::session;
use super::state::Dashboard;
use crate::api::Caller;
use crate::api::error::{ApiError, Code};
use crate::api::http::Rights;
use crate::api::operations::{Access, Input, Operation, operations};

/// Cookie of who is signed in.
pub(super) const SESSION: &str = "nats-scheduler-session";
/// Cookie that forms must match where nobody has to sign in.
pub(super) const FORM: &str = "nats-scheduler-form";
/// Cookie with the name under which changes are made.
pub(super) const NAME: &str = "nats-scheduler-name";
/// Who acts, if nobody has said.
const NOBODY: &str = "dashboard";
/// Longest name, as in a header.
pub(super) const LONGEST_NAME: usize = 255;
/// Time that one part of a page has to be read: longer than a list waits for NATS before it shows what is in memory. A
/// page without a part is better than none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that a page waits for a part that it can do without at first.
const SOON: Duration = Duration::from_millis(50);
/// Parameter of an address whose page waits for all of its parts.
pub(super) const WHOLE: &str = "whole";
/// Parameters of an address that say how a page is shown once, and not which.
pub(super) const ONCE: [&str; 2] = ["done", WHOLE];

/// Somebody who asks for a page.
pub(super) struct Visitor<'a> {
    pub(super) dashboard: &'a Arc<Dashboard>,
    pub(super) parts: &'a Parts,
    pub(super) rights: Rights,
    /// What forms must show.
    pub(super) form_token: String,
    /// Whether the browser does not have the form token's cookie yet.
    pub(super) is_new: bool,
    /// Under whose name changes are made.
    pub(super) actor: String,
    /// Whether nobody has to sign in.
    pub(super) is_open: bool,
    /// The present time.
    pub(super) now: DateTime<Utc>,
    pub(super) started: Instant,
}

/// A reply, or why there is none.
pub(super) type Read = Result<Value, ApiError>;

/// Fields byte for byte.
pub(super) type Exact = BTreeMap<String, Box<RawValue>>;

/// A reply whose data is an object.
#[derive(Deserialize)]
struct Whole {
    data: Exact,
}

/// Why somebody gets no page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// They have to sign in first.
    SignIn {
        /// What they asked for.
        next: String,
    },
    /// The host name is not this machine's.
    Host(ApiError),
}

impl<'a> Visitor<'a> {
    /// Finds out who asks.
    pub(super) fn of(dashboard: &'a Arc<Dashboard>, parts: &'a Parts) -> Result<Self, Refusal> {
        let http = &dashboard.http;
        http.check_host(&parts.uri, &parts.headers).map_err(Refusal::Host)?;
        let tokens = http.accepted();
        let now = http.now();
        let shown = |name| cookie(&parts.headers, name);
        let (rights, form_token, is_new) = if tokens.is_empty() {
            match shown(FORM).filter(|token| !token.is_empty()) {
                Some(token) => (Rights::ALL, token.to_owned(), false),
                None => (Rights::ALL, drawn(), true),
            }
        } else {
            let session = shown(SESSION).and_then(|value| session::read(&tokens, value, now));
            let session = session.filter(|session| session.rights.permit(Access::Read));
            let next = || parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let session = session.ok_or_else(|| Refusal::SignIn { next: next() })?;
            (session.rights, session.form_token, false)
        };
        Ok(Self {
            dashboard,
            parts,
            rights,
            form_token,
            is_new,
            actor: shown(NAME).and_then(named).unwrap_or_else(|| NOBODY.to_owned()),
            is_open: tokens.is_empty(),
            now: DateTime::from_timestamp(now, 0).unwrap_or_default(),
            started: Instant::now(),
        })
    }

    /// Whether they may change anything.
    pub(super) fn may_act(&self) -> bool {
        self.rights.permit(Access::Write)
    }

    /// Refuses whoever may only read.
    pub(super) fn check_may_act(&self) -> Result<(), ApiError> {
        match self.may_act() {
            true => Ok(()),
            false => Err(ApiError::new(Code::Forbidden, self.rights.refusal())),
        }
    }

    /// Whether they may see payloads and replies.
    pub(super) fn sees_payloads(&self) -> bool {
        self.dashboard.config.shows_payloads
    }

    /// Runs an operation; its whole reply.
    pub(super) async fn run(
        &self,
        operation: &'static Operation,
        input: Input,
    ) -> Result<Value, ApiError> {
        let body = self.answer(operation, input).await?;
        serde_json::from_slice(&body).map_err(ApiError::internal)
    }

    /// Reads something for a page; the whole reply.
    pub(super) async fn read(&self, operation: &str, fields: Value) -> Read {
        let body = self.read_body(operation, fields).await?;
        serde_json::from_slice(&body).map_err(ApiError::internal)
    }

    /// Reads something, also with the fields of its data byte for byte: a number may have more digits than fit.
    pub(super) async fn read_whole(
        &self,
        operation: &str,
        fields: Value,
    ) -> Result<(Value, Exact), ApiError> {
        let body = self.read_body(operation, fields).await?;
        let reply = serde_json::from_slice(&body).map_err(ApiError::internal)?;
        let exact: Whole = serde_json::from_slice(&body).map_err(ApiError::internal)?;
        Ok((reply, exact.data))
    }

    /// Reads something that may take longer than a page should: it waits in the server's files, or is still to be counted.
    /// `None` if it has not come soon; the page is shown without, and asked for again by its script, which waits.
    pub(super) async fn soon(&self, operation: &str, fields: Value) -> Option<Read> {
        let reading = self.read(operation, fields);
        match self.waits_for_all() {
            true => Some(reading.await),
            false => tokio::time::timeout(SOON, reading).await.ok(),
        }
    }

    /// Whether the page is to be whole, however long that takes.
    fn waits_for_all(&self) -> bool {
        let preferred = self.parts.headers.get("prefer").and_then(|value| value.to_str().ok());
        preferred.is_some_and(|preferred| preferred.starts_with("wait"))
            || self.query(WHOLE).is_some()
    }

    async fn read_body(&self, operation: &str, fields: Value) -> Result<Bytes, ApiError> {
        let operation = named_operation(operation)?;
        let mut given = Vec::new();
        if let Value::Object(fields) = fields {
            for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                given.push((name, to_raw_value(&value).map_err(ApiError::internal)?));
            }
        }
        let asked = self.answer(operation, Input { given, ..Input::default() });
        let late = |_| {
            let seconds = PATIENCE.as_secs();
            let message = format!("{} was not answered within {seconds} s", operation.name);
            Err(ApiError::new(Code::Unavailable, message))
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(late)
    }

    async fn answer(&self, operation: &'static Operation, input: Input) -> Result<Bytes, ApiError> {
        let caller = Caller { actor: Some(self.actor.clone()), ..Caller::anonymous() };
        let (http, caller) = (&self.dashboard.http, Arc::new(caller));
        let extensions = &self.parts.extensions;
        Ok(http.ask(self.rights, extensions, &caller, operation, input).await?.body)
    }

    /// A part of the path, from 0, as it was sent.
    pub(super) fn segment(&self, n: usize) -> &str {
        self.parts.uri.path().split('/').nth(n + 1).unwrap_or_default()
    }

    /// The address of this page, without what says how it is shown once.
    pub(super) fn here(&self) -> String {
        let (path, query) = (self.parts.uri.path(), self.parts.uri.query().unwrap_or_default());
        let kept = form_urlencoded::parse(query.as_bytes());
        let kept = kept.filter(|(key, _)| !ONCE.contains(&&**key));
        let mut made = form_urlencoded::Serializer::new(String::new());
        match made.extend_pairs(kept).finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// A parameter of the address, if it is there and not empty.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let found = pairs.find(|(key, _)| key == name).map(|(_, value)| value.trim().to_owned());
        found.filter(|value| !value.is_empty())
    }

    /// The number of the page of a list that the address asks for.
    pub(super) fn page(&self) -> u64 {
        self.query("page").and_then(|page| page.parse().ok()).filter(|page| *page > 0).unwrap_or(1)
    }

    /// Whether cookies must not go over plain HTTP: there is TLS here, or at the proxy before us.
    pub(super) fn is_secure(&self) -> bool {
        is_secure(self.dashboard, &self.parts.headers)
    }

    /// Where the service is reached, as the browser sees it.
    pub(super) fn base(&self) -> String {
        let host = crate::api::http::host(&self.parts.uri, &self.parts.headers);
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://{}", host.unwrap_or("localhost:8008"))
    }
}

impl Refusal {
    /// The refusal as a page: who has to sign in is led there.
    pub(super) fn page(self) -> Response {
        let Self::SignIn { next } = self else { return self.bare() };
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        redirect(&format!("/sign-in?next={next}"))
    }

    /// The refusal as a line of text.
    pub(super) fn bare(self) -> Response {
        let (status, message) = match self {
            Self::SignIn { .. } => (StatusCode::UNAUTHORIZED, "sign in first".to_owned()),
            Self::Host(error) => (StatusCode::FORBIDDEN, error.message),
        };
        let mut response = Response::new(Body::from(message));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(axum::http::header::CONTENT_TYPE, text);
        response
    }
}

/// An operation by its name.
pub(super) fn named_operation(name: &str) -> Result<&'static Operation, ApiError> {
    let found = operations().iter().find(|operation| operation.name == name);
    found.ok_or_else(|| ApiError::new(Code::NotFound, "there is no such operation"))
}

/// Leads the browser to another page, with a GET.
pub(super) fn redirect(to: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// Whether the browser talks TLS, with us or with a proxy before us.
pub(super) fn is_secure(dashboard: &Dashboard, headers: &HeaderMap) -> bool {
    let proxy = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    dashboard.http.is_over_tls() || proxy.is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
}

/// A number drawn at random, as text.
pub(super) fn drawn() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// The name in a cookie, if it is one.
fn named(value: &str) -> Option<String> {
    let (name, _) = form_urlencoded::parse(value.as_bytes()).next()?;
    is_name(&name).then(|| name.trim().to_owned())
}

/// Whether a text may name who acts.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.trim();
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}
