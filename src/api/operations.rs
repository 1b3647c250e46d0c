//! Table of operations: one function each, for every transport.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::reply::{PageLinks, Reply};
use super::{Api, Caller, Checked};
use crate::schedule::parse_fields_with;

/// Bytes that suffice for most replies.
const USUAL_REPLY: usize = 2048;

/// A request as a transport hands it over.
#[derive(Debug, Default)]
pub struct Input {
    /// Fields from outside the body: names, and values as JSON.
    pub given: Vec<(String, Box<RawValue>)>,
    /// A JSON object with the other fields, or nothing.
    pub body: Bytes,
}

/// Answer of an operation.
#[derive(Debug)]
pub struct Answer {
    /// The reply as JSON.
    pub body: Bytes,
    /// Where the requested or created thing is found: a path of the REST facade.
    pub location: Option<String>,
    /// The revision of the schedule in the reply.
    pub revision: Option<u64>,
}

/// Kind of access that an operation needs, as permissions distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read,
    /// A worker reports on the job that it has.
    Report,
    /// It changes something else.
    Write,
}

impl Access {
    /// Whether the operation may change anything.
    pub fn changes(self) -> bool {
        self != Self::Read
    }
}

type Handler = Box<
    dyn Fn(Arc<Api>, Arc<Caller>, Input) -> BoxFuture<'static, Result<Answer, ApiError>>
        + Send
        + Sync,
>;

/// One operation.
pub struct Operation {
    /// `noun.verb`: the end of its subject.
    pub name: &'static str,
    /// Whether it reads, reports or changes.
    pub access: Access,
    /// Header that names who acts.
    pub actor_header: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Schema of a request.
    pub request_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of a reply.
    pub reply_schema: fn(&mut SchemaGenerator) -> Schema,
    handler: Handler,
}

impl Operation {
    /// Runs the operation for a request.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn run(
        &self,
        api: &Arc<Api>,
        caller: &Arc<Caller>,
        input: Input,
    ) -> BoxFuture<'static, Result<Answer, ApiError>> {
        let (api, caller, name) = (Arc::clone(api), Arc::clone(caller), self.name);
        let running = (self.handler)(Arc::clone(&api), Arc::clone(&caller), input);
        Box::pin(async move {
            let ended = AssertUnwindSafe(running).catch_unwind().await;
            let answer = ended.unwrap_or_else(|panic| Err(ApiError::internal(panicked(&*panic))));
            answer.map_err(|error| error.told(name, &caller, &api.complaints))
        })
    }
}

/// Message of a panic.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("of an unknown kind"))
}

/// All operations.
pub fn operations() -> Vec<Operation> {
    vec![
        operation(
            "schedule.create",
            Access::Write,
            "X-Created-By",
            "Create a schedule",
            |api, request, caller| async move { api.create_schedule(request, &caller).await },
        ),
        operation(
            "schedule.get",
            Access::Read,
            "X-Created-By",
            "One schedule with all its fields",
            |api, request, caller| async move { api.get_schedule(request, &caller).await },
        ),
        operation(
            "schedule.list",
            Access::Read,
            "X-Created-By",
            "Schedules that match, in order, page by page",
            |api, request, caller| async move { api.list_schedules(request, &caller).await },
        ),
        operation(
            "schedule.update",
            Access::Write,
            "X-Updated-By",
            "Change the fields that are given",
            |api, request, caller| async move { api.update_schedule(request, &caller).await },
        ),
        operation(
            "schedule.delete",
            Access::Write,
            "X-Deleted-By",
            "Delete a schedule; its name is free again",
            |api, request, caller| async move { api.delete_schedule(request, &caller).await },
        ),
        operation(
            "schedule.restore",
            Access::Write,
            "X-Restored-By",
            "Restore a schedule that was deleted softly",
            |api, request, caller| async move { api.restore_schedule(request, &caller).await },
        ),
        operation(
            "schedule.pause",
            Access::Write,
            "X-Paused-By",
            "Pause a schedule until it is resumed",
            |api, request, caller| async move { api.pause_schedule(request, &caller).await },
        ),
        operation(
            "schedule.resume",
            Access::Write,
            "X-Resumed-By",
            "Resume a paused schedule",
            |api, request, caller| async move { api.resume_schedule(request, &caller).await },
        ),
        operation(
            "schedule.trigger",
            Access::Write,
            "X-Triggered-By",
            "Run a schedule now, beside its own times",
            |api, request, caller| async move { api.trigger_schedule(request, &caller).await },
        ),
        operation(
            "schedule.preview",
            Access::Read,
            "X-Created-By",
            "When a schedule would fire; stores nothing",
            |api, request, caller| async move { api.preview_schedule(request, &caller).await },
        ),
        operation(
            "schedule.backfill",
            Access::Write,
            "X-Triggered-By",
            "Run the occurrences of a span of the past",
            |api, request, caller| async move { api.backfill_schedule(request, &caller).await },
        ),
        operation(
            "execution.complete",
            Access::Report,
            "X-Created-By",
            "A worker has done what a job command asked for",
            |api, request, caller| async move { api.complete_execution(request, &caller).await },
        ),
        operation(
            "execution.fail",
            Access::Report,
            "X-Created-By",
            "A worker has not done what a job command asked for",
            |api, request, caller| async move { api.fail_execution(request, &caller).await },
        ),
        operation(
            "execution.heartbeat",
            Access::Report,
            "X-Created-By",
            "A worker is still at it",
            |api, request, caller| async move { api.heartbeat_execution(request, &caller).await },
        ),
        operation(
            "execution.cancel",
            Access::Write,
            "X-Cancelled-By",
            "Stop an execution that is under way or waits",
            |api, request, caller| async move { api.cancel_execution(request, &caller).await },
        ),
        operation(
            "bulk.create",
            Access::Write,
            "X-Performed-By",
            "Create many schedules",
            |api, request, caller| async move { api.bulk_create(request, &caller).await },
        ),
        operation(
            "bulk.operation",
            Access::Write,
            "X-Performed-By",
            "Pause, resume or delete many schedules, by ids or by filter",
            |api, request, caller| async move { api.bulk_operation(request, &caller).await },
        ),
        operation(
            "execute.immediate",
            Access::Write,
            "X-Created-By",
            "Send one command at once, without a schedule",
            |api, request, caller| async move { api.execute_immediate(request, &caller).await },
        ),
        operation(
            "execution.get",
            Access::Read,
            "X-Created-By",
            "One execution, with all attempts at its occurrence",
            |api, request, caller| async move { api.get_execution(request, &caller).await },
        ),
        operation(
            "execution.list",
            Access::Read,
            "X-Created-By",
            "Executions, newest first",
            |api, request, caller| async move { api.list_executions(request, &caller).await },
        ),
        operation(
            "execution.running",
            Access::Read,
            "X-Created-By",
            "Executions that are under way now",
            |api, request, caller| async move { api.running_executions(request, &caller).await },
        ),
        operation(
            "execution.by_correlation",
            Access::Read,
            "X-Created-By",
            "Executions with a correlation id, newest first",
            |api, request, caller| async move { api.executions_by_correlation(request, &caller).await },
        ),
        operation(
            "execution.stats",
            Access::Read,
            "X-Created-By",
            "Statistics of the executions of one schedule, or of all",
            |api, request, caller| async move { api.execution_statistics(request, &caller).await },
        ),
        operation(
            "status",
            Access::Read,
            "X-Created-By",
            "How the service is",
            |api, request, caller| async move { api.status(request, &caller).await },
        ),
    ]
}

fn operation<Request, Data, F, Fut>(
    name: &'static str,
    access: Access,
    actor_header: &'static str,
    description: &'static str,
    run: F,
) -> Operation
where
    Request: Checked + DeserializeOwned + Default + JsonSchema + Serialize + Send + 'static,
    Data: Serialize + JsonSchema + Send + 'static,
    F: Fn(Arc<Api>, Request, Arc<Caller>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply<Data>, ApiError>> + Send + 'static,
{
    let handler: Handler = Box::new(move |api, caller, input| {
        let run = run.clone();
        Box::pin(async move {
            let request = parse_fields_with::<Request>(&input.given, &input.body)
                .map_err(|unread| ApiError::unread(&api, unread))?;
            let pages = PageLinks::of(name, &request);
            let mut reply = run(api, request, caller).await?;
            if let (Some(pages), Some(pagination)) = (pages, &mut reply.pagination) {
                pages.link(pagination);
            }
            let mut body = Vec::with_capacity(USUAL_REPLY);
            serde_json::to_writer(&mut body, &reply).map_err(ApiError::internal)?;
            let Reply { links, revision, .. } = reply;
            Ok(Answer { body: body.into(), location: links.itself, revision })
        })
    });
    Operation {
        name,
        access,
        actor_header,
        description,
        request_schema: |generator| generator.subschema_for::<Request>(),
        reply_schema: |generator| generator.subschema_for::<Reply<Data>>(),
        handler,
    }
}
