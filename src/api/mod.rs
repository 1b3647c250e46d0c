//! What users can ask: one function per operation, the same whatever carries the request.
//!
//! The transports only translate: [`nats`] is the NATS service, [`http`] the REST facade; both answer the
//! [`operations`]. Operations read the index, write
//! the bucket by compare-and-swap, and never speak to the engine: the bucket is where they meet.

mod change;
pub mod error;
pub mod execute;
pub mod executions;
pub mod http;
pub mod nats;
pub mod operations;
pub mod permit;
pub mod reply;
pub mod reports;
pub mod schedules;
pub mod statistics;
pub mod status;
mod waiting;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use self::error::Complaints;
use self::permit::Permit;
use self::schedules::RecentlyShown;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::health::Health;
use crate::index::Index;
use crate::jetstream::adapter::JetStream;
use crate::jetstream::deliver::Delivery;
use crate::jetstream::history::History;
use crate::jetstream::schedules::Store;
use crate::metrics::Metrics;
use crate::names;
use crate::port::Nats;
use crate::schedule::{Author, FieldFault, Rules, Writer};
use crate::trace_context::TraceContext;

/// Longest correlation or request id, and actor, in a header.
const MAX_HEADER: usize = 255;
/// Who acts, where the operation's own header does not say.
const CREATED_BY: &str = "X-Created-By";
/// Makes a request safe to repeat, as `Nats-Msg-Id` does over NATS.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// How often a change that lost to another is tried again from the new record.
const CHANGE_TRIES: u32 = 50;
/// How long a write whose outcome is unknown is pursued before the caller is told so.
const WRITE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

/// Everything that operations need.
pub struct Api<N: Nats = JetStream> {
    /// For questions to NATS itself.
    pub nats: N,
    /// Where commands go, for questions about targets.
    pub delivery: Delivery<N>,
    /// The bucket.
    pub store: Store<N>,
    /// The history.
    pub history: History<N>,
    /// The schedules in memory.
    pub index: Arc<Index>,
    /// What requests are checked against.
    pub rules: Arc<Rules>,
    /// What time it is.
    pub clock: Clock,
    /// What is drawn.
    pub chance: Chance,
    /// This instance.
    pub instance: Uuid,
    /// Since when it runs.
    pub started_at: DateTime<Utc>,
    /// How it is.
    pub health: Arc<Health<N>>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What the log has been told lately of requests that were not done.
    pub complaints: Complaints,
    /// How schedules are shown that were asked for lately.
    pub recent: RecentlyShown,
}

impl<N: Nats> Api<N> {
    fn writer(&self) -> Writer {
        Writer { instance: self.instance, token: self.chance.number() }
    }
}

/// Who asks, and how the request is found again.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who acts, by header: `X-Created-By` and the like.
    pub actor: Option<String>,
    /// The request's `X-Correlation-ID`, or one drawn for it.
    pub correlation_id: String,
    /// The request's `X-Request-ID`, or one drawn for it.
    pub request_id: String,
    /// The request's `Nats-Msg-Id`, or its `Idempotency-Key`: a repeated one is the same request.
    pub message_id: Option<String>,
    /// The request's `traceparent`.
    pub trace: Option<TraceContext>,
    /// Under which the request is worked on.
    pub permit: Permit,
}

impl Caller {
    /// Who asks, by the headers of a request, which `get` finds. White space around a value is none of it.
    ///
    /// # Errors
    /// Headers that are too long or have control characters, which do not survive in other headers, and
    /// what `get` finds wrong with one.
    pub fn from_headers<'a>(
        actor_header: &str,
        get: impl Fn(&str) -> Option<Result<&'a str, &'static str>>,
    ) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut header = |name: &str| {
            let reason = match get(name)?.map(str::trim) {
                Ok("") => return None,
                Ok(text) if text.len() > MAX_HEADER => {
                    format!("must have at most {MAX_HEADER} bytes")
                }
                Ok(text) if text.contains(char::is_control) => {
                    "must not contain control characters".to_owned()
                }
                Ok(text) => return Some(text.to_owned()),
                Err(reason) => reason.to_owned(),
            };
            faults.push(FieldFault::new(name, reason));
            None
        };
        let caller = Self {
            actor: match header(actor_header) {
                None if actor_header != CREATED_BY => header(CREATED_BY),
                actor => actor,
            },
            correlation_id: header(names::CORRELATION_ID).unwrap_or_else(fresh_id),
            request_id: header(names::REQUEST_ID).unwrap_or_else(fresh_id),
            message_id: header(names::MESSAGE_ID).or_else(|| header(IDEMPOTENCY_KEY)),
            trace: get(names::TRACEPARENT).and_then(Result::ok).and_then(TraceContext::parse),
            permit: Permit::default(),
        };
        if faults.is_empty() { Ok(caller) } else { Err(faults) }
    }

    /// Somebody of whom nothing is known.
    pub fn anonymous() -> Self {
        Self {
            actor: None,
            correlation_id: fresh_id(),
            request_id: fresh_id(),
            message_id: None,
            trace: None,
            permit: Permit::default(),
        }
    }

    /// Who acts; `unknown` where nobody says.
    pub fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(|| "unknown".to_owned())
    }

    /// The author of a change that this caller asked for, in the name of `actor`.
    pub(crate) fn author<'a>(&'a self, actor: &'a str) -> Author<'a> {
        Author { actor, correlation_id: &self.correlation_id }
    }
}

/// An id for a request that has none. Its only purpose is to be told from others: a random number that need
/// not be fetched from the system each time.
fn fresh_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A request whose fields can be checked before anything is done.
pub(crate) trait Checked {
    /// What is wrong with the fields; for requests whose check is a part of the operation itself,
    /// so that faults of form and of content are reported together.
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        let _ = api;
        Vec::new()
    }
}

impl Checked for schedules::GetSchedule {}
impl Checked for schedules::ListSchedules {}
impl Checked for schedules::DeleteSchedule {}
impl Checked for schedules::PreviewSchedule {}
impl Checked for schedules::BackfillSchedule {}
impl Checked for reports::CompleteExecution {}
impl Checked for reports::FailExecution {}
impl Checked for reports::HeartbeatExecution {}
impl Checked for reports::CancelExecution {}
impl Checked for schedules::RestoreSchedule {}
impl Checked for schedules::BulkCreate {}
impl Checked for schedules::BulkOperation {}
impl Checked for schedules::PauseSchedule {}
impl Checked for schedules::ResumeSchedule {}
impl Checked for schedules::TriggerSchedule {}
impl Checked for executions::GetExecution {}
impl Checked for executions::ListExecutions {}
impl Checked for executions::ListRunning {}
impl Checked for executions::ListByCorrelation {}
impl Checked for statistics::GetStatistics {}
impl Checked for status::Nothing {}
