//! Operations, as every transport sees them. [`operations`] is the table of all.

mod examples;
mod table;

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
use super::route::Route;
use super::{Api, Caller, Checked};
use crate::schedule::parse_fields_with;
pub(crate) use examples::{example, replies};
pub use table::operations;

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
    /// Header that names the actor.
    pub actor_header: &'static str,
    /// Whether it declares schedules, whose creator may be another than the actor.
    pub declares: bool,
    /// What it does.
    pub description: &'static str,
    /// Where it is reached over HTTP.
    pub routes: Vec<Route>,
    /// Schema of a request.
    pub request_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of a reply.
    pub reply_schema: fn(&mut SchemaGenerator) -> Schema,
    handler: Handler,
}

impl Operation {
    /// The same, of an operation that declares schedules.
    fn declares(self) -> Self {
        Self { declares: true, ..self }
    }

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

/// Text of an operation, before it has its handler and its schemas.
struct Entry {
    name: &'static str,
    access: Access,
    actor_header: &'static str,
    description: &'static str,
    routes: Vec<Route>,
}

impl Entry {
    /// The operation that `run` carries out.
    fn run<Request, Data, F, Fut>(self, run: F) -> Operation
    where
        Request: Checked + DeserializeOwned + Default + JsonSchema + Serialize + Send + 'static,
        Data: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<Api>, Request, Arc<Caller>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<Data>, ApiError>> + Send + 'static,
    {
        let Self { name, access, actor_header, description, routes } = self;
        let schema = SchemaGenerator::default().into_root_schema_for::<Request>();
        let has_pages = schema.get("properties").is_some_and(|fields| fields.get("page").is_some());
        let list =
            routes.first().filter(|_| has_pages).map(|route| Arc::<str>::from(route.path.as_str()));
        let handler: Handler = Box::new(move |api, caller, input| {
            let (run, list) = (run.clone(), list.clone());
            Box::pin(async move {
                let mut request = parse_fields_with::<Request>(&input.given, &input.body)
                    .map_err(|unread| ApiError::unread(&api, unread))?;
                api.find_named(&mut request, &caller).await?;
                let pages = list.as_deref().and_then(|path| PageLinks::of(path, &request));
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
            declares: false,
            description,
            routes,
            request_schema: |generator| generator.subschema_for::<Request>(),
            reply_schema: |generator| generator.subschema_for::<Reply<Data>>(),
            handler,
        }
    }
}
