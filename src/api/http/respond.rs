//! Turns the answer of an operation into a response over HTTP.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;

use super::super::Caller;
use super::super::error::{ApiError, Code};
use super::super::operations::Answer;
use super::super::reply::ErrorReply;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `Retry-After` for a limit: others have to make room first.
const AFTER_LIMIT: HeaderValue = HeaderValue::from_static("60");
/// `Retry-After` while NATS is unreachable or the service is starting, stopping or overloaded.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// Headers that room is made for at once.
const ROOM_FOR_HEADERS: usize = 10;

/// A success.
pub(super) fn success(status: StatusCode, answer: Answer, caller: &Caller) -> Response {
    let is_empty = status == StatusCode::NO_CONTENT;
    let mut response =
        whole(status, if is_empty { Body::empty() } else { answer.body.into() }, caller);
    let headers = response.headers_mut();
    if is_empty {
        headers.remove(CONTENT_TYPE);
    }
    if let Some(revision) = answer.revision {
        insert(headers, ETAG, &format!("\"{revision}\""));
    }
    if let Some(location) = answer.location.filter(|_| status == StatusCode::CREATED) {
        insert(headers, LOCATION, &location);
    }
    response
}

/// A refusal.
pub(super) fn failure(error: ApiError, caller: &Caller) -> Response {
    let code = error.code;
    let reply = ErrorReply {
        error,
        request_id: caller.request_id.clone(),
        correlation_id: caller.correlation_id.clone(),
    };
    let body = serde_json::to_vec(&reply).unwrap_or_default();
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = whole(status, body.into(), caller);
    let headers = response.headers_mut();
    match code {
        Code::LimitExceeded => drop(headers.insert(RETRY_AFTER, AFTER_LIMIT)),
        Code::Unavailable => drop(headers.insert(RETRY_AFTER, SOON)),
        Code::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

fn whole(status: StatusCode, body: Body, caller: &Caller) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().reserve(ROOM_FOR_HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    marked(response, caller)
}

/// Adds the headers that all responses have.
pub(super) fn marked(mut response: Response, caller: &Caller) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    insert(headers, HeaderName::from_static("x-correlation-id"), &caller.correlation_id);
    insert(headers, HeaderName::from_static("x-request-id"), &caller.request_id);
    response
}

fn insert(headers: &mut axum::http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// Name of a method for the metrics; bounded in number, whatever clients send.
pub(super) fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
