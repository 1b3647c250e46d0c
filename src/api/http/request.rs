//! Turns a request over HTTP into the fields of an operation.

use std::collections::HashMap;
use std::time::Instant;

use axum::RequestExt as _;
use axum::body::HttpBody as _;
use axum::extract::{RawPathParams, Request};
use axum::http::header::{CONTENT_TYPE, HOST, IF_MATCH, ORIGIN};
use axum::http::{HeaderMap, Uri};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use schemars::SchemaGenerator;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::super::Caller;
use super::super::error::{ApiError, Code};
use super::super::operations::{Access, Input, Operation};
use super::super::route::{Query, Route};
use super::turn::{BYTES_A_SECOND, PATIENCE, Pace};
use crate::schedule::{FieldFault, MAX_FAULTS, parse_instant, unknown_name};

/// What error messages call a name in a query: singular and plural.
const PARAMETER: (&str, &str) = ("parameter of this route", "parameters");
/// Reason for a parameter that is no text.
const GARBLED: &str = "must be percent-encoded UTF-8";
/// Reason for a time with an offset whose `+` was not encoded.
const BLANK: &str = "must have %2B in place of +, which stands for a blank in a query";
/// Bytes of an oversized body that are read and discarded.
const MAX_IGNORED: usize = 8 << 20;

/// How the text of a query parameter becomes a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A time in RFC 3339.
    Instant,
    Number,
    Bool,
    /// A list of texts: repeated, or separated by commas.
    List,
}

/// Kinds of an operation's fields, from its schema.
pub(crate) fn kinds(operation: &Operation) -> HashMap<String, Kind> {
    let mut generator = SchemaGenerator::default();
    let properties = properties(&mut generator, operation.request_schema);
    properties.into_iter().map(|(name, schema)| (name, kind(&schema))).collect()
}

/// Fields of a request, with their schemas.
pub(super) fn properties(
    generator: &mut SchemaGenerator,
    of: fn(&mut SchemaGenerator) -> schemars::Schema,
) -> serde_json::Map<String, Value> {
    let schema = of(generator).to_value();
    let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
    let whole = match name.and_then(|name| generator.definitions().get(name)) {
        Some(definition) => definition.clone(),
        None => schema,
    };
    whole["properties"].as_object().cloned().unwrap_or_default()
}

fn kind(schema: &Value) -> Kind {
    let is = |name: &str| match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(any) => any.iter().any(|one| one == name),
        _ => false,
    };
    match () {
        () if is("integer") || is("number") => Kind::Number,
        () if is("boolean") => Kind::Bool,
        () if is("array") => Kind::List,
        () if schema["format"] == "date-time" => Kind::Instant,
        () => Kind::Text,
    }
}

/// Identifies the caller by the headers.
pub(super) fn caller(actor_header: &str, headers: &HeaderMap) -> Result<Caller, Vec<FieldFault>> {
    Caller::from_headers(actor_header, |name| {
        // Requests have few headers: a scan is faster than a lookup.
        let (_, value) =
            headers.iter().find(|(have, _)| have.as_str().eq_ignore_ascii_case(name))?;
        Some(std::str::from_utf8(value.as_bytes()).map_err(|_| "must be UTF-8"))
    })
}

/// The caller of what answers in any case: one whose headers are faulty is nobody.
pub(super) fn caller_or_anonymous(headers: &HeaderMap) -> Caller {
    caller("X-Created-By", headers).unwrap_or_else(|_| Caller::anonymous())
}

/// Collects the fields of a request from path, query and body.
pub(super) async fn input(
    route: &Route,
    kinds: &HashMap<String, Kind>,
    max_body: usize,
    mut request: Request,
) -> Result<Input, ApiError> {
    let params = request
        .extract_parts::<RawPathParams>()
        .await
        .map_err(|_| ApiError::invalid(vec![FieldFault::new("path", "must be UTF-8")]))?;
    let mut given: Vec<_> =
        params.iter().map(|(name, value)| (name.to_owned(), raw(value))).collect();
    let mut faults = query(route, kinds, request.uri(), &mut given);
    match if_match(request.headers()) {
        Ok(None) => {}
        Ok(Some(revision)) if kinds.contains_key("expected_revision") => {
            given.push(("expected_revision".to_owned(), raw(&revision)));
        }
        Ok(Some(_)) => faults.push(FieldFault::new("If-Match", "has no meaning for this route")),
        Err(fault) => faults.push(fault),
    }
    // What stands in it, such as a revision, would be ignored.
    if !route.has_body && !request.body().is_end_stream() {
        faults.push(FieldFault::new("body", "this route takes none; use the query"));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let body = if route.has_body { body(request, max_body).await? } else { Bytes::new() };
    Ok(Input { given, body })
}

fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The items of a list as it is written in a query: a comma that is encoded belongs to its item.
fn items(written: &str) -> Vec<String> {
    let (_, list) = written.split_once('=').unwrap_or_default();
    let decoded = |item: &str| {
        let whole = format!("={item}");
        let value = form_urlencoded::parse(whole.as_bytes()).next().map(|(_, value)| value);
        value.unwrap_or_default().trim().to_owned()
    };
    list.split(',').map(decoded).collect()
}

/// Reads the query into `given`; returns its faults.
fn query(
    route: &Route,
    kinds: &HashMap<String, Kind>,
    uri: &Uri,
    given: &mut Vec<(String, Box<RawValue>)>,
) -> Vec<FieldFault> {
    let (mut faults, mut listed) = (Vec::new(), false);
    let mut lists: Vec<(String, Vec<String>)> = Vec::new();
    let text = uri.query().unwrap_or_default();
    let written = text.split('&').filter(|part| !part.is_empty());
    for (written, (name, text)) in written.zip(form_urlencoded::parse(text.as_bytes())) {
        if faults.len() == MAX_FAULTS {
            break;
        }
        if is_garbled(written) {
            faults.push(FieldFault::new(name, GARBLED));
            continue;
        }
        if let Query::Only(names) = route.query
            && !names.contains(&&*name)
        {
            let all = !std::mem::replace(&mut listed, true);
            let reason = unknown_name(&name, PARAMETER, names.iter().copied(), all);
            faults.push(FieldFault::new(name, reason));
            continue;
        }
        match kinds.get(&*name).copied().unwrap_or(Kind::Text) {
            Kind::Instant if is_with_blank(&text) => faults.push(FieldFault::new(name, BLANK)),
            Kind::List => {
                let items = items(written);
                if items.iter().any(String::is_empty) {
                    faults.push(FieldFault::new(name, "has an empty item"));
                    continue;
                }
                match lists.iter_mut().find(|(list, _)| *list == name) {
                    Some((_, list)) => list.extend(items),
                    None => lists.push((name.into_owned(), items)),
                }
            }
            // A value that is not a number stays a text: the operation reports the fault.
            Kind::Number if text.parse::<u64>().is_ok() => {
                given.push((name.into_owned(), raw(&text.parse::<u64>().ok())));
            }
            Kind::Bool if matches!(&*text, "true" | "1") => {
                given.push((name.into_owned(), raw(&true)))
            }
            Kind::Bool if matches!(&*text, "false" | "0") => {
                given.push((name.into_owned(), raw(&false)));
            }
            Kind::Text | Kind::Instant | Kind::Number | Kind::Bool => {
                given.push((name.into_owned(), raw(&*text)))
            }
        }
    }
    given.extend(lists.into_iter().map(|(name, items)| (name, raw(&items))));
    faults
}

/// Whether a part of a query stands for no text: a `%` without two hexadecimal digits, or bytes that are no UTF-8.
fn is_garbled(part: &str) -> bool {
    let mut bytes = part.bytes();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(match byte {
            b'%' => match digit().zip(digit()) {
                Some((high, low)) => (high * 16 + low) as u8,
                None => return true,
            },
            byte => byte,
        });
    }
    std::str::from_utf8(&decoded).is_err()
}

/// Whether a text would be a time if its last blank were the `+` that it was written as.
fn is_with_blank(text: &str) -> bool {
    let Some((time, offset)) = text.rsplit_once(' ') else { return false };
    let is_time = |text: &str| parse_instant(text).is_ok();
    !is_time(text) && is_time(&format!("{time}+{offset}"))
}

/// The expected revision from `If-Match`, which holds an `ETag`. `*` expects only that the schedule exists.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, FieldFault> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" && more.is_none() {
        return Ok(None);
    }
    // A proxy that compresses weakens the tag; the revision stays the same.
    let text = text.strip_prefix("W/").unwrap_or(text);
    let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match tag.parse() {
        Ok(revision) if more.is_none() => Ok(Some(revision)),
        _ => Err(FieldFault::new("If-Match", "must be the ETag of a schedule, such as \"3\"")),
    }
}

async fn body(request: Request, max_body: usize) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let body = whole_body(request, max_body).await?;
    // A page of another site can send other types without asking first.
    let essence = content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if body.is_empty() || is_json {
        return Ok(body);
    }
    let message = "the body must have the Content-Type application/json";
    Err(ApiError::new(Code::UnsupportedMediaType, message))
}

/// Reads a body of any type, unless it is too long or too slow.
pub(crate) async fn whole_body(request: Request, max_body: usize) -> Result<Bytes, ApiError> {
    let mut chunks = request.into_body().into_data_stream();
    let (mut body, mut length, mut pace) = (BytesMut::new(), 0, Pace::new(Instant::now()));
    // An oversized body is read a little further: a client does not look for an answer while it is still sending.
    while length <= max_body + MAX_IGNORED
        && let Some(chunk) = tokio::time::timeout_at(pace.deadline().into(), chunks.next())
            .await
            .map_err(|_| too_slow())?
    {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "the body of a request broke off");
            ApiError::invalid(vec![FieldFault::new("body", "broke off before it was complete")])
        })?;
        length += chunk.len();
        pace.moved(chunk.len());
        if length <= max_body {
            body.extend_from_slice(&chunk);
        }
    }
    if length > max_body {
        let message = format!("the body has more than {max_body} bytes (API_MAX_BODY_BYTES)");
        return Err(ApiError::new(Code::TooLarge, message));
    }
    Ok(body.freeze())
}

fn too_slow() -> ApiError {
    let message = format!(
        "the body came too slowly: it has {} s, and one more for each {} KiB of it",
        PATIENCE.as_secs(),
        BYTES_A_SECOND >> 10
    );
    ApiError::new(Code::Timeout, message)
}

/// Refuses requests that a browser sends on behalf of a page of another site: changes from another origin and, where
/// everybody on this machine may do everything, any request under a host name that is not this machine's, which is how
/// such a page evades the same-origin policy.
pub(super) fn check_browser(
    request: &Request,
    access: Access,
    local_only: bool,
) -> Result<(), ApiError> {
    let text = |name| {
        request.headers().get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    let host = host(request.uri(), request.headers());
    if let Some(origin) = text(ORIGIN)
        && access.changes()
        && !is_same_origin(origin, host)
    {
        let message = format!("a page of {origin} may not change anything here");
        return Err(ApiError::new(Code::Forbidden, message));
    }
    if local_only { check_host(host) } else { Ok(()) }
}

/// Whether a page of this origin was sent from the host that a request is for.
pub(crate) fn is_same_origin(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.zip(host).is_some_and(|(from, to)| from.eq_ignore_ascii_case(to))
}

/// The host that a request is for.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(|host| host.as_str());
    authority.or_else(|| headers.get(HOST).and_then(|value| value.to_str().ok()))
}

/// Refuses a host name that is not this machine's.
pub(super) fn check_host(host: Option<&str>) -> Result<(), ApiError> {
    if let Some(host) = host {
        let name = host.parse::<axum::http::uri::Authority>();
        let name = name.as_ref().map_or(host, |authority| authority.host());
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        let whole = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        if !is_address && whole != "localhost" && !whole.ends_with(".localhost") {
            let message =
                format!("{name} is not a name of this machine: set API_TOKENS to be asked by it");
            return Err(ApiError::new(Code::Forbidden, message));
        }
    }
    Ok(())
}
