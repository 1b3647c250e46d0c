//! A page to read what the facade offers, and to try it.
//!
//! It looks like the dashboard, whose style it has, and is there without it. Its script reads `/openapi.json` and sends
//! requests as anybody might: what they may do is decided where they arrive.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

use super::{Http, no_route};

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/docs.js");
const STYLE: &str = include_str!("../../dashboard/assets/dashboard.css");

/// Nothing but our own files is loaded, nothing inline runs, and nobody shows this page inside theirs.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'none'";
/// The way to the dashboard, where there is one.
const DASHBOARD: &str = "<li><a href=\"/\">Now</a></li><li><a href=\"/schedules\">Schedules</a></li>\
                         <li><a href=\"/executions\">Executions</a></li><li><a href=\"/failures\">Failures</a></li>\
                         <li><a href=\"/upcoming\">Upcoming</a></li>";

/// Serves the page.
pub(super) async fn page(State(http): State<Arc<Http>>, request: Request) -> Response {
    let dashboard = if http.config.dashboard.is_some() { DASHBOARD } else { "" };
    let text = || PAGE.replace("{dashboard}", dashboard).into();
    let mut response = http.page(&request, "/docs", "text/html; charset=utf-8", None, text);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    protected(response)
}

/// Serves a file of the page.
pub(super) async fn file(
    State(http): State<Arc<Http>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (content, content_type) = match name.as_str() {
        "style.css" => (STYLE, "text/css; charset=utf-8"),
        "docs.js" => (SCRIPT, "text/javascript; charset=utf-8"),
        _ => return no_route(State(http), request).await,
    };
    protected(http.page(&request, "/docs/{file}", content_type, None, || content.into()))
}

/// What a browser must not guess, and must ask for again: another version of the service may say something else.
fn protected(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
