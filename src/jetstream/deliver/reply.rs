//! Reads the reply to a `request`: from a worker, an error of a service, or from a stream that answered before any
//! worker.

use async_nats::{HeaderMap, HeaderValue, Message, jetstream};

use crate::execution::{ErrorType, Outcome, Response};
use crate::names;
use crate::text::short;

/// The outcome that a reply to a request means.
pub(super) fn replied(subject: &str, reply: &Message) -> Outcome {
    let response = Some(Response::keep(&reply.payload));
    if let Some(message) = service_error(reply.headers.as_ref()) {
        let error_type = ErrorType::ServiceError;
        return Outcome::Failed { error_type, message, response, uncertain: false };
    }
    match stream_answer(&reply.payload) {
        None => {
            Outcome::Success { response_event: Some(short(reply.subject.to_string())), response }
        }
        Some(refusal) => {
            let what = refusal.map_or_else(
                || "answered".to_owned(),
                |error| format!("refused the command ({error})"),
            );
            let message =
                short(format!("a stream captures {subject} and {what} before any worker"));
            let error_type = ErrorType::Captured;
            Outcome::Failed { error_type, message, response, uncertain: true }
        }
    }
}

/// The error that a service of the NATS Services API replies with. Either of its two headers marks one.
fn service_error(headers: Option<&HeaderMap>) -> Option<String> {
    let value = |name| headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
    let (code, text) = (value(names::SERVICE_ERROR_CODE), value(names::SERVICE_ERROR));
    if code.is_none() && text.is_none() {
        return None;
    }
    let error = format!("{} {}", code.unwrap_or_default(), text.unwrap_or_default());
    Some(short(error.trim().to_owned()))
}

/// Whether a reply comes from a stream, not a worker: it has nothing but a stream's fields. If so, also why the stream
/// refused the message, if it did.
fn stream_answer(body: &[u8]) -> Option<Option<jetstream::Error>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the shape matters")]
    struct Answer {
        stream: String,
        seq: u64,
        domain: Option<String>,
        duplicate: Option<bool>,
        val: Option<String>,
        error: Option<jetstream::Error>,
    }
    Some(serde_json::from_slice::<Answer>(body).ok()?.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_answer_of_a_stream_is_taken_for_one() {
        let refused = |body: &str| stream_answer(body.as_bytes()).map(|error| error.is_some());
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},
                       "stream":"FULL","seq":0}"#;
        assert_eq!(refused(full), Some(true));
        assert_eq!(refused(r#"{"stream":"COMMANDS","seq":11}"#), Some(false));
        let acknowledged = r#"{"stream":"C","seq":1,"domain":"hub","duplicate":true}"#;
        assert_eq!(refused(acknowledged), Some(false));
        assert_eq!(refused(r#"{"stream":"COMMANDS","seq":11,"rows":3}"#), None);
        assert_eq!(refused(r#"{"error":"out of paper","stream":"C","seq":0}"#), None);
        assert_eq!(refused(r#"{"ok":true}"#), None);
        assert_eq!(refused(""), None);
    }

    #[test]
    fn either_header_of_a_service_error_is_one() {
        let with = |names: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in names {
                headers.insert(*name, *value);
            }
            service_error(Some(&headers))
        };
        let (text, code) = ("Nats-Service-Error", "Nats-Service-Error-Code");
        assert_eq!(with(&[(code, "507"), (text, "no paper")]).as_deref(), Some("507 no paper"));
        assert_eq!(with(&[(code, "500")]).as_deref(), Some("500"));
        assert_eq!(with(&[(text, "no paper")]).as_deref(), Some("no paper"));
        assert_eq!(with(&[("Other", "1")]), None);
        assert_eq!(service_error(None), None);
    }
}
