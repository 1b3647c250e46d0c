//! The style and the script of all pages. Their paths name their content, so that browsers may keep them for good.

use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use crate::config::content::digest_of;

const STYLE: &str = include_str!("assets/dashboard.css");
const SCRIPT: &str = include_str!("assets/dashboard.js");
const ICON: &str = include_str!("assets/icon.svg");

static HASH: LazyLock<String> = LazyLock::new(|| {
    let hash = digest_of([STYLE, SCRIPT, ICON].concat().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
});

/// The path of a file.
pub(super) fn path(file: &str) -> String {
    format!("/assets/{}/{file}", *HASH)
}

/// Serves a file.
pub(super) async fn asset(Path((hash, file)): Path<(String, String)>, _: Request) -> Response {
    let found = match file.as_str() {
        "dashboard.css" => Some((STYLE, "text/css; charset=utf-8")),
        "dashboard.js" => Some((SCRIPT, "text/javascript; charset=utf-8")),
        "icon.svg" => Some((ICON, "image/svg+xml")),
        _ => None,
    };
    let Some((content, content_type)) = found.filter(|_| hash == *HASH) else {
        let mut response = Response::new("no such file".into());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(content.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let forever = "public, max-age=31536000, immutable";
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(forever));
    response
}
