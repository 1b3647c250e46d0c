//! The operations as a NATS service named `scheduler`, visible to `nats micro ls|info|stats`.

mod endpoints;
mod micro;
mod requests;

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{debug, error};

use super::error::{ApiError, Code};
use super::operations::Input;
use super::reply::ErrorReply;
use super::{Api, Caller};
use crate::names;
use crate::port::headers::Headers;
use crate::schedule::FieldFault;
pub use endpoints::{Endpoint, endpoints};
pub use requests::Requests;

/// Queue group of the endpoints: one instance answers each request.
pub(crate) const QUEUE_GROUP: &str = "q";

/// Runs the requested operation and sends the reply.
async fn answer(
    api: &Arc<Api>,
    client: &Client,
    endpoint: &Endpoint,
    stats: &micro::Counters,
    permit: OwnedSemaphorePermit,
    message: Message,
) {
    let started = Instant::now();
    let caller = caller(endpoint, message.headers.as_ref());
    let (caller, result) = match caller {
        Ok(caller) => {
            caller.permit.hold(permit, None);
            let caller = Arc::new(caller);
            let input = Input { given: Vec::new(), body: message.payload };
            let answer = endpoint.operation.run(api, &caller, input).await;
            let limit = client.max_payload();
            (caller, answer.and_then(|answer| within(limit, answer.body)))
        }
        Err(faults) => (Arc::new(Caller::anonymous()), Err(faults.into())),
    };
    let error =
        result.as_ref().err().map(|error| format!("{} {}", error.code.status(), error.message));
    let status = result.as_ref().map_or_else(|error| error.code.status(), |_| 200);
    api.metrics.nats_request(endpoint.operation.name, status, started.elapsed());
    stats.count(started.elapsed(), error);
    let Some(reply) = message.reply else { return };
    if !names::may_be_answered(&reply) {
        debug!(%reply, endpoint = endpoint.name, "no answer to a subject that is no inbox");
        return;
    }
    let (headers, body) = encode(result, &caller);
    if let Err(error) = client.publish_with_headers(reply, headers, body).await {
        error!(endpoint = endpoint.name, %error, "reply not sent");
    }
}

fn encode(result: Result<Bytes, ApiError>, caller: &Caller) -> (HeaderMap, Bytes) {
    let mut headers = Headers::default();
    headers.line(names::CORRELATION_ID, &caller.correlation_id);
    headers.line(names::REQUEST_ID, &caller.request_id);
    match result {
        Ok(body) => (headers.into(), body),
        Err(error) => {
            debug!(code = ?error.code, error = error.message, request_id = caller.request_id, "request refused");
            // A header is one line of text; the body has the whole message.
            let text = error.message.replace(char::is_control, " ");
            headers.line(names::SERVICE_ERROR, text.trim());
            headers.line(names::SERVICE_ERROR_CODE, &error.code.status().to_string());
            let reply = ErrorReply {
                error,
                request_id: caller.request_id.clone(),
                correlation_id: caller.correlation_id.clone(),
            };
            (headers.into(), serde_json::to_vec(&reply).unwrap_or_default().into())
        }
    }
}

fn caller(endpoint: &Endpoint, headers: Option<&HeaderMap>) -> Result<Caller, Vec<FieldFault>> {
    Caller::from_headers(endpoint.operation.actor_header, |name| {
        Some(Ok(headers?.get(name)?.as_str()))
    })
}

/// Bytes reserved for the headers of a reply.
const HEADERS: usize = 1024;

/// Refuses a reply that is too large for NATS.
fn within(limit: usize, body: Bytes) -> Result<Bytes, ApiError> {
    if body.len() + HEADERS <= limit {
        return Ok(body);
    }
    let message =
        format!("the reply has {} bytes, more than NATS takes: ask for fewer items", body.len());
    Err(ApiError::new(Code::TooLarge, message))
}
