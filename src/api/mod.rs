//! The operations that users can request: one function each, the same for every transport.
//!
//! The transports only translate: [`nats`] is the NATS service, [`http`] the REST facade; both answer the
//! [`operations`]. Operations read the index and write the bucket by compare-and-swap. They never talk to the engine:
//! the bucket is where the two meet.

pub(crate) mod audit;
pub mod calendars;
mod change;
mod cursor;
pub mod error;
pub(crate) mod execute;
pub(crate) mod executions;
pub mod groups;
mod honoured;
pub mod http;
pub mod keyed;
pub mod nats;
pub mod operations;
pub mod permit;
pub mod reply;
pub mod reports;
pub mod route;
pub mod schedules;
pub(crate) mod statistics;
pub(crate) mod status;
mod waiting;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use self::error::Complaints;
use self::permit::Permit;
use self::schedules::{MinuteCounts, Named, RecentlyShown};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::in_force::SettingInForce;
use crate::health::Health;
use crate::index::Index;
use crate::jetstream::adapter::JetStream;
use crate::jetstream::deliver::CommandSender;
use crate::jetstream::history::History;
use crate::jetstream::schedules::Store;
use crate::load::Instances;
use crate::metrics::Metrics;
use crate::names;
use crate::port::Nats;
use crate::schedule::PutGroup;
use crate::schedule::{Author, FieldFault, PutCalendar, Rules, Writer};
use crate::trace_context::TraceContext;

/// Maximum length of a correlation id, request id or actor in a header.
const MAX_HEADER: usize = 255;
/// Header that names the actor, where the operation's own header is absent.
const CREATED_BY: &str = "X-Created-By";
/// Header that makes a request safe to repeat, as `Nats-Msg-Id` does over NATS.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// How often a change that lost to another is tried again from the new record.
const CHANGE_TRIES: u32 = 50;
/// How long a write with an unknown outcome is pursued before the caller is told so.
const WRITE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

/// Tells which instances are heard, and what each says of itself.
pub(crate) type Members = Box<dyn Fn() -> Instances + Send + Sync>;

/// Everything that operations need.
pub struct Api<N: Nats = JetStream> {
    /// Connection for questions to NATS itself.
    pub(crate) nats: N,
    /// The sender of commands, which is asked about targets.
    pub(crate) sender: CommandSender<N>,
    /// The bucket.
    pub(crate) store: Store<N>,
    /// The history.
    pub(crate) history: History<N>,
    /// The schedules in memory.
    pub index: Arc<Index>,
    /// Rules that requests are checked against.
    pub(crate) rules: Arc<Rules>,
    /// The time of NATS.
    pub(crate) clock: Clock,
    /// Source of randomness.
    pub chance: Chance,
    /// The instances that are heard.
    pub(crate) members: Members,
    /// Id of this instance.
    pub instance: Uuid,
    /// When this instance started.
    pub(crate) started_at: DateTime<Utc>,
    /// Health of this instance.
    pub health: Arc<Health<N>>,
    /// Metrics of this instance.
    pub metrics: Arc<Metrics>,
    /// Errors of requests that were logged lately.
    pub(crate) complaints: Complaints,
    /// Rendered forms of schedules requested lately.
    pub(crate) recent: RecentlyShown,
    /// Occurrences that come, by minute.
    pub(crate) minutes: Arc<MinuteCounts>,
    /// The settings of this instance, as they may be shown.
    pub(crate) settings: Vec<SettingInForce>,
}

impl<N: Nats> Api<N> {
    /// The rules that requests are checked against, with the calendars and groups that there are.
    pub(crate) fn rules(&self) -> Rules {
        let (calendars, groups) = (self.index.calendars(), self.index.groups());
        Rules { calendars, groups, ..Rules::clone(&self.rules) }
    }

    /// Differs from an earlier one once something has changed that operations show.
    pub(crate) fn version(&self) -> [u64; 4] {
        let running = self.health.load.executions.load(std::sync::atomic::Ordering::Relaxed);
        let (history, changes) = (self.history.shown(), self.history.audit().shown());
        [self.index.seen(), history, changes, running as u64]
    }

    fn writer(&self) -> Writer {
        Writer { instance: self.instance, token: self.chance.number() }
    }
}

/// The caller of a request, and the ids by which the request is found again.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The actor, from the operation's own header, or else from `X-Created-By`.
    pub actor: Option<String>,
    /// Whom `X-Created-By` names.
    pub creator: Option<String>,
    /// The request's `X-Correlation-ID`, or a generated one.
    pub correlation_id: String,
    /// The request's `X-Request-ID`, or a generated one.
    pub request_id: String,
    /// The request's `Nats-Msg-Id` or `Idempotency-Key`: if repeated, it is the same request.
    pub message_id: Option<String>,
    /// The request's `traceparent`.
    pub trace: Option<TraceContext>,
    /// Permit under which the request is worked on.
    pub permit: Permit,
}

impl Caller {
    /// The caller according to a request's headers, which `get` looks up. White space around a value is ignored.
    ///
    /// # Errors
    /// Headers that are too long or contain control characters, which cannot be passed on in other headers, and the
    /// faults that `get` reports.
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
        let creator = header(CREATED_BY);
        let actor = if actor_header == CREATED_BY { None } else { header(actor_header) };
        let caller = Self {
            actor: actor.or_else(|| creator.clone()),
            creator,
            correlation_id: header(names::CORRELATION_ID).unwrap_or_else(fresh_id),
            request_id: header(names::REQUEST_ID).unwrap_or_else(fresh_id),
            message_id: header(names::MESSAGE_ID).or_else(|| header(IDEMPOTENCY_KEY)),
            trace: get(names::TRACEPARENT).and_then(Result::ok).and_then(TraceContext::parse),
            permit: Permit::default(),
        };
        if faults.is_empty() { Ok(caller) } else { Err(faults) }
    }

    /// A caller of whom nothing is known.
    pub fn anonymous() -> Self {
        Self {
            actor: None,
            creator: None,
            correlation_id: fresh_id(),
            request_id: fresh_id(),
            message_id: None,
            trace: None,
            permit: Permit::default(),
        }
    }

    /// The actor; `unknown` if no header says.
    pub fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(|| "unknown".to_owned())
    }

    /// The author of a change that this caller requested, in the name of `actor`.
    pub(crate) fn author<'a>(&'a self, actor: &'a str) -> Author<'a> {
        Author { actor, correlation_id: &self.correlation_id }
    }
}

/// An id for a request that has none. It only has to differ from others, so a random number that needs no system call
/// each time is enough.
fn fresh_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A request that is read before its operation runs.
pub(crate) trait Checked {
    /// Faults of the fields. Requests that are checked as part of their operation implement this so that faults of form
    /// and of content are reported together.
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        let _ = api;
        Vec::new()
    }

    /// The fields that name schedules.
    fn named(&mut self) -> Vec<Named<'_>> {
        Vec::new()
    }
}

/// Implements [`Checked`] for requests that name a schedule by its id, or by its name and creator.
macro_rules! names_a_schedule {
    ($($request:ty),* $(,)?) => { $(
        impl Checked for $request {
            fn named(&mut self) -> Vec<Named<'_>> {
                vec![Named::live(&mut self.schedule_id, &mut self.schedule_name, &mut self.creator)]
            }
        }
    )* };
}

names_a_schedule! {
    audit::ListAudit,
    schedules::ExplainSchedule,
    executions::ListExecutions,
    executions::ListRunning,
    reports::CancelExecution,
    schedules::BackfillSchedule,
    schedules::DeleteSchedule,
    schedules::GetSchedule,
    schedules::PauseSchedule,
    schedules::PreviewSchedule,
    schedules::ResumeSchedule,
    schedules::TriggerSchedule,
    statistics::GetStatistics,
}

impl Checked for calendars::DeleteCalendar {}
impl Checked for calendars::GetCalendar {}
impl Checked for calendars::ListCalendars {}
impl Checked for PutCalendar {}
impl Checked for groups::DeleteGroup {}
impl Checked for groups::GetGroup {}
impl Checked for groups::ListGroups {}
impl Checked for PutGroup {}
impl Checked for executions::CancelRerun {}
impl Checked for executions::GetRerun {}
impl Checked for executions::ListReruns {}
impl Checked for executions::GetExecution {}
impl Checked for executions::ListByCorrelation {}
impl Checked for executions::RetryExecution {}
impl Checked for reports::CompleteExecution {}
impl Checked for reports::FailExecution {}
impl Checked for reports::HeartbeatExecution {}
impl Checked for schedules::BulkApply {}
impl Checked for schedules::BulkCreate {}
impl Checked for schedules::BulkOperation {}
impl Checked for schedules::ListSchedules {}
impl Checked for schedules::ListUpcoming {}
impl Checked for schedules::PauseAll {}
impl Checked for schedules::ResumeAll {}
impl Checked for status::GetStatus {}
