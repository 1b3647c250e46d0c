//! What users can ask: one function per operation, the same whatever carries the request.
//!
//! The transports only translate: [`nats`] is the NATS service. Operations read the index, write
//! the bucket by compare-and-swap, and never speak to the engine: the bucket is where they meet.

pub mod error;
pub mod execute;
pub mod executions;
pub mod nats;
pub mod reply;
pub mod reports;
pub mod schedules;
pub mod statistics;
pub mod status;

use std::sync::Arc;

use async_nats::jetstream;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::index::Index;
use crate::jetstream::history::History;
use crate::jetstream::provision::Provisioned;
use crate::jetstream::schedules::Store;
use crate::schedule::{Author, FieldFault, Rules, Writer};

/// How often a change that lost to another is tried again from the new record.
const CHANGE_TRIES: u32 = 50;
/// How long a write whose outcome is unknown is pursued before the caller is told so.
const WRITE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

/// Everything that operations need.
#[derive(Clone)]
pub struct Api {
    /// For questions to JetStream itself.
    pub js: jetstream::Context,
    /// The bucket.
    pub store: Store,
    /// The history.
    pub history: History,
    /// The schedules in memory.
    pub index: Arc<Index>,
    /// What requests are checked against.
    pub rules: Arc<Rules>,
    /// The streams as they were found at start.
    pub streams: Arc<Vec<Provisioned>>,
    /// This instance.
    pub instance: Uuid,
    /// Since when it runs.
    pub started_at: DateTime<Utc>,
}

impl Api {
    fn writer(&self) -> Writer {
        Writer { instance: self.instance, token: rand::random() }
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
    /// The request's `Nats-Msg-Id`: a repeated one is the same request.
    pub message_id: Option<String>,
}

impl Caller {
    /// Who acts; `unknown` where nobody says.
    pub fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(|| "unknown".to_owned())
    }

    /// The author of a change that this caller asked for, in the name of `actor`.
    pub(crate) fn author<'a>(&'a self, actor: &'a str) -> Author<'a> {
        Author { actor, correlation_id: &self.correlation_id }
    }
}

/// A request whose fields can be checked before anything is done.
pub(crate) trait Checked {
    /// What is wrong with the fields; for requests whose check is a part of the operation itself,
    /// so that faults of form and of content are reported together.
    fn faults(&self, api: &Api) -> Vec<FieldFault> {
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
