//! Where spans go.

use axum::http::Uri;

use super::faults::Faults;
use super::forms::{Optional, optional};
use super::setting::{Described, Setting, settings};

const URL: &str = "a URL, as in `http://localhost:4318`";

settings! {
    /// Where spans of executions go, in builds with the feature `otlp`
    OTEL_EXPORTER_OTLP_ENDPOINT: Optional<String> = optional(URL, endpoint);
}

fn endpoint(text: &str, faults: &mut Faults<'_>) -> Option<String> {
    let url = text.trim();
    let uri = url.parse::<Uri>().ok();
    if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
        faults.must_be(URL, text);
    }
    Some(url.to_owned())
}
