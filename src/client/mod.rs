//! Client of the scheduler: one method per operation, with typed requests, replies and errors.
//!
//! Requests and replies are the same types that the service reads and writes. They are re-exported here, so this module
//! is all that a caller needs. `docs/api.md` explains what they mean.
//!
//! ```no_run
//! use nats_scheduler::client::{Client, Code, CreateSchedule};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nats = async_nats::connect("nats://localhost:4222").await?;
//! let scheduler = Client::new(nats).actor("alice");
//!
//! let nightly = CreateSchedule::cron("nightly", "0 2 * * MON-FRI", "cmd.report.build")
//!     .timezone("Europe/Berlin")
//!     .payload(&json!({ "kind": "daily" }))?
//!     .tags(["reports"]);
//! match scheduler.create(&nightly).await {
//!     Ok(reply) => println!("{}: next at {:?}", reply.data.id, reply.data.next_run_at),
//!     Err(error) if error.code() == Some(Code::AlreadyExists) => println!("it is there"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Retries
//!
//! The client repeats nothing by itself. Reads may be repeated. Among the writes, those can safely be sent again
//! whose request has an `idempotency_key`; for all others see [`ClientError::may_have_been_done`]. A change that
//! must not undo somebody else's takes an `expected_revision`, and is refused with [`Code::Conflict`] if the schedule
//! has changed: read and decide again.

mod calendars;
mod error;
mod executions;
mod groups;
mod reruns;
mod schedules;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Request};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::api::audit::{AuditEvent, ListAudit};
pub use crate::api::calendars::{
    CalendarDeleted, CalendarPut, CalendarView, DeleteCalendar, GetCalendar, ListCalendars,
};
pub use crate::api::error::{ApiError, Code};
pub use crate::api::execute::ExecuteImmediate;
pub use crate::api::executions::{
    BulkRetried, BulkRetry, CancelRerun, ExecutionFilter, ExecutionStory, GetRerun,
    ListByCorrelation, ListExecutions, ListReruns, ListRunning, OpenStatus, PayloadSource,
    RerunStatus, RerunView, Retried, RetriedItem, RetryExecution, RetryPayload, RunningExecution,
};
pub use crate::api::groups::{
    DeleteGroup, GetGroup, GroupDeleted, GroupPut, GroupView, ListGroups, SlotView,
};
pub use crate::api::keyed::{PutOutcome, UsingSchedule};
pub use crate::api::reply::{
    ApplyOutcome, Difference, Pagination, Preview, RecentExecution, Reply, ScheduleSummary,
    ScheduleView, Warning,
};
pub use crate::api::reports::{
    CancelExecution, CompleteExecution, FailExecution, HeartbeatExecution, Reported,
};
pub use crate::api::schedules::{
    AllPaused, AppliedItem, ApplySchedule, BackfillSchedule, Backfilled, BulkAction, BulkApplied,
    BulkApply, BulkCreated, BulkItem, BulkOperated, BulkOperation, BusyMinute, DeleteSchedule,
    Deleted, ExplainSchedule, Explained, GetSchedule, ItemRefused, ItemResult, Lane, Lanes,
    ListSchedules, ListUpcoming, Minutes, NameUnknown, PauseAll, PauseSchedule, PreviewSchedule,
    Prune, RestoreSchedule, ResumeSchedule, ScheduleFilter, Sort, TagsMatch, TriggerSchedule,
    Triggered, Upcoming, UpcomingOccurrence,
};
pub use crate::api::statistics::{
    CommonError, ExecutionStatistics, GetStatistics, LastError, LastExecution, NextExecution,
    StatisticsBucket,
};
pub use crate::api::status::{
    GetStatus, LeftToNewer, MemberStatus, ServiceStatus, SettingInForce, StreamStatus,
};
pub use crate::execution::{ErrorType, Execution, ExecutionStatus, Refusal};
pub use crate::explain::{Became, CausingChange, Downtime, ExplainedTime};
pub use crate::schedule::{
    ChangeEvent, CreateSchedule, Days, Delivery, DeliveryMode, Ending, FieldFault, Payload,
    PutCalendar, PutGroup, ScheduleType, Span, Status, UpdateSchedule,
};
pub use error::ClientError;

use crate::api::reply::ErrorReply;
use crate::names;

/// Header that names the actor, for every endpoint but those that declare schedules of others.
const ACTOR: &str = "X-Created-By";
/// Longer than the service pursues a single write. A creation whose name is contested may take 12 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, beside the timeout, the reply may take to a change that concerns all schedules: a pause of all, a calendar, a
/// group. The service waits until every instance goes by it.
const FOR_ALL_MS: u64 = 20_000;

/// A client of the scheduler over one NATS connection. Clones share the connection and are cheap: use one for each user
/// that acts, or for each request that is traced.
#[derive(Clone, Debug)]
pub struct Client {
    nats: async_nats::Client,
    actor: Option<Arc<str>>,
    correlation_id: Option<Arc<str>>,
    timeout: Duration,
}

impl Client {
    /// Creates a client for a connection, with no actor and a timeout of 10 seconds.
    pub fn new(nats: async_nats::Client) -> Self {
        Self { nats, actor: None, correlation_id: None, timeout: DEFAULT_TIMEOUT }
    }

    /// Sets the actor: who creates, updates, pauses and so on. One line of at most 255 bytes; surrounding white space is
    /// ignored.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Ties requests, and the commands and events that follow from them, to what the caller does. One line of at most
    /// 255 bytes; by default each request gets a random one.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets how long to wait for a reply, in addition to the `wait_ms` of a request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<Reply<T>, ClientError> {
        self.ask_and_wait(operation, request, None).await
    }

    /// Sends a request whose actor is named by another header than usual.
    async fn ask_as<T: DeserializeOwned>(
        &self,
        header: &'static str,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<Reply<T>, ClientError> {
        self.ask_with(header, operation, request, None).await
    }

    /// Sends a request for which the service itself waits, up to `wait_ms`.
    async fn ask_and_wait<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
        wait_ms: Option<u64>,
    ) -> Result<Reply<T>, ClientError> {
        self.ask_with(ACTOR, operation, request, wait_ms).await
    }

    async fn ask_with<T: DeserializeOwned>(
        &self,
        header: &'static str,
        operation: &str,
        request: &impl Serialize,
        wait_ms: Option<u64>,
    ) -> Result<Reply<T>, ClientError> {
        let subject = format!("{}.{operation}", names::COMMAND_PREFIX);
        let body =
            serde_json::to_vec(request).map_err(|error| invalid("body", &error.to_string()))?;
        let reply = self.send(header, subject.clone(), body, wait_ms.unwrap_or(0)).await?;
        read(subject, &reply)
    }

    /// Sends a request and waits for its reply. It is boxed, so that it is compiled here, once for all operations.
    fn send(
        &self,
        header: &'static str,
        subject: String,
        body: Vec<u8>,
        wait_ms: u64,
    ) -> BoxFuture<'_, Result<Bytes, ClientError>> {
        Box::pin(self.send_and_wait(header, subject, body, wait_ms))
    }

    async fn send_and_wait(
        &self,
        header: &'static str,
        subject: String,
        body: Vec<u8>,
        wait_ms: u64,
    ) -> Result<Bytes, ClientError> {
        // The deadline covers everything, including a full queue of a connection that is down.
        let headers = self.headers(header)?;
        let request = Request::new().headers(headers).payload(body.into()).timeout(None);
        let within = self.timeout.saturating_add(Duration::from_millis(wait_ms));
        match tokio::time::timeout(within, self.nats.send_request(subject.clone(), request)).await {
            Ok(Ok(reply)) => Ok(reply.payload),
            Ok(Err(error)) => Err(ClientError::unanswered(subject, within, error)),
            Err(_) => Err(ClientError::Timeout { subject, within }),
        }
    }

    fn headers(&self, actor: &'static str) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, text) in [(actor, &self.actor), (names::CORRELATION_ID, &self.correlation_id)] {
            let Some(text) = text else { continue };
            let value: HeaderValue = text.parse().map_err(|_| invalid(name, "must be one line"))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// Refuses a request that cannot even be sent.
fn invalid(field: &str, reason: &str) -> ClientError {
    ClientError::Refused(ApiError::invalid(vec![FieldFault::new(field, reason)]))
}

/// Parses a reply.
fn read<T: DeserializeOwned>(subject: String, body: &[u8]) -> Result<Reply<T>, ClientError> {
    serde_json::from_slice(body).map_err(|fault| unread(subject, body, fault))
}

/// What a reply is that is not the one of its operation.
fn unread(subject: String, body: &[u8], fault: serde_json::Error) -> ClientError {
    /// A stream's answer to a captured message, stored or not.
    #[derive(serde::Deserialize)]
    struct Acknowledgement {
        stream: String,
        #[serde(rename = "seq")]
        _seq: u64,
    }

    if let Ok(refusal) = serde_json::from_slice::<ErrorReply>(body) {
        return ClientError::Refused(refusal.error);
    }
    match serde_json::from_slice::<Acknowledgement>(body) {
        Ok(ack) => ClientError::Captured { subject, stream: ack.stream },
        Err(_) => ClientError::Malformed { subject, fault },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_list(body: &str) -> Result<Reply<Vec<u8>>, ClientError> {
        read("cmd.scheduler.x".to_owned(), body.as_bytes())
    }

    #[test]
    fn replies_are_told_apart_by_their_shape() {
        assert_eq!(read_list(r#"{"data":[1,2]}"#).unwrap().data, [1, 2]);
        let error = read_list(r#"{"error":{"code":"not_found","message":"m"}}"#).unwrap_err();
        assert_eq!(error.code(), Some(Code::NotFound));
        for ack in [
            r#"{"stream":"ALL","seq":7}"#,
            r#"{"stream":"ALL","seq":7,"domain":"hub","duplicate":true}"#,
            r#"{"error":{"code":503,"err_code":10077,"description":"d"},"stream":"ALL","seq":0}"#,
        ] {
            let error = read_list(ack).unwrap_err();
            assert!(
                matches!(&error, ClientError::Captured { stream, .. } if stream == "ALL"),
                "{error}"
            );
        }
        for other in ["", "hello", "{}", r#"{"data":"x"}"#, r#"{"error":{"code":"new"}}"#] {
            let error = read_list(other).unwrap_err();
            assert!(matches!(error, ClientError::Malformed { .. }), "{other}: {error}");
            assert!(error.may_have_been_done());
        }
    }
}
