//! The table of endpoints.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::error::ApiError;
use super::super::reply::Reply;
use super::super::{Api, Caller, Checked};
use super::to_json;
use crate::jetstream::names::COMMAND_PREFIX;
use crate::schedule::parse_fields;

/// What an endpoint does with a request's body.
type Handler =
    Box<dyn Fn(Api, Caller, Bytes) -> BoxFuture<'static, Result<Bytes, ApiError>> + Send + Sync>;

/// One endpoint of the service.
pub struct Endpoint {
    /// Its name in `nats micro`: noun and verb.
    pub name: String,
    /// Where it listens.
    pub subject: String,
    /// `description`, `request_schema`, `response_schema`.
    pub metadata: BTreeMap<String, String>,
    /// The header that says who acts.
    pub(super) actor_header: &'static str,
    pub(super) handler: Handler,
}

/// All endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "schedule.create",
            "X-Created-By",
            "Create a schedule",
            |api, request, caller| async move { api.create_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.get",
            "X-Created-By",
            "One schedule with all its fields",
            |api, request, caller| async move { api.get_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.list",
            "X-Created-By",
            "Schedules that match, in order, page by page",
            |api, request, caller| async move { api.list_schedules(request, &caller).await },
        ),
        endpoint(
            "schedule.update",
            "X-Updated-By",
            "Change the fields that are given",
            |api, request, caller| async move { api.update_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.delete",
            "X-Deleted-By",
            "Delete a schedule; its name is free again",
            |api, request, caller| async move { api.delete_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.restore",
            "X-Restored-By",
            "Restore a schedule that was deleted softly",
            |api, request, caller| async move { api.restore_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.pause",
            "X-Paused-By",
            "Pause a schedule until it is resumed",
            |api, request, caller| async move { api.pause_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.resume",
            "X-Resumed-By",
            "Resume a paused schedule",
            |api, request, caller| async move { api.resume_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.trigger",
            "X-Triggered-By",
            "Run a schedule now, beside its own times",
            |api, request, caller| async move { api.trigger_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.preview",
            "X-Created-By",
            "When a schedule would fire; stores nothing",
            |api, request, caller| async move { api.preview_schedule(request, &caller).await },
        ),
        endpoint(
            "schedule.backfill",
            "X-Triggered-By",
            "Run the occurrences of a span of the past",
            |api, request, caller| async move { api.backfill_schedule(request, &caller).await },
        ),
        endpoint(
            "execution.complete",
            "X-Created-By",
            "A worker has done what a job command asked for",
            |api, request, caller| async move { api.complete_execution(request, &caller).await },
        ),
        endpoint(
            "execution.fail",
            "X-Created-By",
            "A worker has not done what a job command asked for",
            |api, request, caller| async move { api.fail_execution(request, &caller).await },
        ),
        endpoint(
            "execution.heartbeat",
            "X-Created-By",
            "A worker is still at it",
            |api, request, caller| async move { api.heartbeat_execution(request, &caller).await },
        ),
        endpoint(
            "execution.cancel",
            "X-Cancelled-By",
            "Stop an execution that is under way or waits",
            |api, request, caller| async move { api.cancel_execution(request, &caller).await },
        ),
        endpoint(
            "bulk.create",
            "X-Performed-By",
            "Create many schedules",
            |api, request, caller| async move { api.bulk_create(request, &caller).await },
        ),
        endpoint(
            "bulk.operation",
            "X-Performed-By",
            "Pause, resume or delete many schedules, by ids or by filter",
            |api, request, caller| async move { api.bulk_operation(request, &caller).await },
        ),
        endpoint(
            "execute.immediate",
            "X-Created-By",
            "Send one command at once, without a schedule",
            |api, request, caller| async move { api.execute_immediate(request, &caller).await },
        ),
        endpoint(
            "execution.get",
            "X-Created-By",
            "One execution, with all attempts at its occurrence",
            |api, request, caller| async move { api.get_execution(request, &caller).await },
        ),
        endpoint(
            "execution.list",
            "X-Created-By",
            "Executions, newest first",
            |api, request, caller| async move { api.list_executions(request, &caller).await },
        ),
        endpoint(
            "execution.running",
            "X-Created-By",
            "Executions that are under way now",
            |api, request, caller| async move { api.running_executions(request, &caller).await },
        ),
        endpoint(
            "execution.by_correlation",
            "X-Created-By",
            "Executions with a correlation id, newest first",
            |api, request, caller| async move { api.executions_by_correlation(request, &caller).await },
        ),
        endpoint(
            "execution.stats",
            "X-Created-By",
            "Statistics of the executions of one schedule, or of all",
            |api, request, caller| async move { api.execution_statistics(request, &caller).await },
        ),
        endpoint(
            "status",
            "X-Created-By",
            "How the service is",
            |api, request, caller| async move { api.status(request, &caller).await },
        ),
    ]
}

fn endpoint<Request, Data, F, Fut>(
    operation: &str,
    actor_header: &'static str,
    description: &str,
    run: F,
) -> Endpoint
where
    Request: Checked + DeserializeOwned + Default + JsonSchema + Send + 'static,
    Data: Serialize + JsonSchema + Send + 'static,
    F: Fn(Api, Request, Caller) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply<Data>, ApiError>> + Send + 'static,
{
    let schema = |schema: schemars::Schema| schema.to_value().to_string();
    let handler: Handler = Box::new(move |api, caller, body| {
        let run = run.clone();
        Box::pin(async move {
            let limit = api.js.client().max_payload();
            let request = parse_fields::<Request>(&body)
                .map_err(|(rest, faults)| ApiError::all_faults(&api, faults, &rest))?;
            to_json(&run(api, request, caller).await?, limit)
        })
    });
    Endpoint {
        name: operation.replace('.', "-"),
        subject: format!("{COMMAND_PREFIX}.{operation}"),
        metadata: BTreeMap::from([
            ("description".to_owned(), description.to_owned()),
            ("request_schema".to_owned(), schema(schema_for!(Request))),
            ("response_schema".to_owned(), schema(schema_for!(Reply<Data>))),
        ]),
        actor_header,
        handler,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_describes_itself() {
        let endpoints = endpoints();
        let mut names: Vec<_> = endpoints.iter().map(|endpoint| &endpoint.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), endpoints.len(), "names are unique");
        for endpoint in &endpoints {
            for (key, text) in &endpoint.metadata {
                assert!(!text.is_empty(), "{} {key}", endpoint.name);
                if key.ends_with("schema") {
                    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
                    assert_eq!(schema["type"], "object", "{} {key}", endpoint.name);
                }
            }
        }
    }
}
