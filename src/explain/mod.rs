//! Why a schedule did or did not run: each nominal time of a span, what became of it, and why.
//!
//! Pure: it is worked out from the ledger of executions, the announced changes, the record, and the times in which no
//! instance ran. The ledger has one outcome for each nominal time that was acted on or skipped; what it lacks is
//! explained by what the schedule was then. Times are never walked one by one, so a span may hold any number of them.

mod cause;
mod not_due;
mod periods;
mod reason;
mod teller;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::execution::{Execution, ExecutionStatus};
use crate::moment::Moment as _;
use crate::schedule::{
    Attempt, Calendars, ChangeEvent, ChangeKind, Group, PauseOfAll, PausesOfAll, Schedule,
    SkipCause,
};
use crate::trigger::Moved;
use teller::Teller;

/// Number of lines of the same kind from which on they are one line.
const ALIKE: usize = 4;
/// Lateness in milliseconds from which on it is worth saying, and asking why.
pub(crate) const LATE_MS: i64 = 1000;

/// What became of a nominal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It ran and succeeded.
    Success,
    /// It ran, and its last attempt failed.
    Failed,
    /// It is under way.
    Running,
    /// It waits, for a retry or for an execution before it.
    Waiting,
    /// It was skipped.
    Skipped,
    /// It was cancelled.
    Cancelled,
    /// It was taken for due, by a clock that was ahead, and was not.
    Corrected,
    /// Its calendars leave it out: it was never due.
    Excluded,
    /// The schedule is paused: it is skipped once the schedule is resumed.
    Paused,
    /// The schedule is switched off.
    SwitchedOff,
    /// It is due, and nothing has been done about it yet.
    Due,
    /// It lies ahead.
    Coming,
    /// It is outside `start_at` and `end_at`, the schedule was not there, or had had as many as it may.
    NotDue,
    /// It was acted on, and the history no longer says how.
    Forgotten,
}

/// A change that is the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CausingChange {
    /// What was done.
    pub event: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub time: DateTime<Utc>,
    /// The reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A nominal time, or several in a row to which the same happened.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTime {
    /// The nominal time, or the first of several.
    pub scheduled_for: DateTime<Utc>,
    /// The last of several.
    #[serde(default)]
    pub last: Option<DateTime<Utc>>,
    /// How many they are.
    pub count: u64,
    /// What became of it.
    pub outcome: Became,
    /// Why it was skipped.
    #[serde(default)]
    pub cause: Option<SkipCause>,
    /// All of this in a sentence.
    pub reason: String,
    /// Its last execution.
    #[serde(default)]
    pub execution_id: Option<Uuid>,
    /// Number of attempts.
    #[serde(default)]
    pub attempts: Option<u32>,
    /// How late its first command was sent, in milliseconds; of several the largest.
    #[serde(default)]
    pub late_ms: Option<i64>,
    /// The kind of the last failure.
    #[serde(default)]
    pub error_type: Option<String>,
    /// Who ran it beside the schedule's own times.
    #[serde(default)]
    pub triggered_by: Option<String>,
    /// Set if a clock change moved or added it.
    #[serde(default)]
    pub moved: Option<Moved>,
    /// The change that is the cause.
    #[serde(default)]
    pub change: Option<CausingChange>,
    /// The execution that was in its way.
    #[serde(default)]
    pub blocked_by: Option<Uuid>,
    /// The calendars that leave it out: those of `exclude` that have it, and those of `only` if none of them has.
    #[serde(default)]
    pub calendars: Option<Vec<String>>,
    /// The time in which no instance ran, if that is the cause.
    #[serde(default)]
    pub down: Option<Downtime>,
}

/// A time in which no instance ran, as far as instances have noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Downtime {
    /// The last sign of life before it.
    pub from: DateTime<Utc>,
    /// The start of the next instance.
    pub to: DateTime<Utc>,
}

/// What is known of a schedule.
pub(crate) struct Known<'a> {
    /// Its record.
    pub(crate) schedule: &'a Schedule,
    /// Its changes, oldest first, as far back as they are kept; without runs by hand.
    pub(crate) changes: &'a [ChangeEvent],
    /// Its executions, by nominal time and start; those too that began before the span and were under way in it.
    pub(crate) ledger: Vec<Acted>,
    /// When no instance ran, oldest first.
    pub(crate) downtimes: &'a [Downtime],
    /// When all schedules were paused.
    pub(crate) pauses: &'a PausesOfAll,
    /// The calendars.
    pub(crate) calendars: &'a Calendars,
    /// The concurrency group that it names, if that is there.
    pub(crate) group: Option<&'a Group>,
    /// The present time.
    pub(crate) now: DateTime<Utc>,
}

/// An entry of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Acted {
    /// The execution.
    pub(crate) execution: Uuid,
    /// The same for all attempts at one occurrence.
    pub(crate) occurrence: u64,
    /// The nominal time, or the first one of a range.
    pub(crate) scheduled_for: DateTime<Utc>,
    /// Its status.
    pub(crate) status: ExecutionStatus,
    /// When it began.
    pub(crate) started_at: DateTime<Utc>,
    /// When its outcome was known.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// The whole event, if it was fetched.
    pub(crate) event: Option<Execution>,
}

/// The attempts at one occurrence, or one range.
struct Occurred<'a> {
    first: &'a Acted,
    latest: &'a Acted,
    attempts: u32,
}

/// What is known of some nominal times: by the ledger, or by the record only.
enum Item<'a> {
    Occurred(Occurred<'a>),
    Open(&'a Attempt),
}

/// Explains the nominal times from `from` to `to`, in order.
pub(crate) fn explain(
    known: &Known<'_>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Vec<ExplainedTime> {
    let is_open = |attempt: &&Attempt| {
        let execution = attempt.execution_id;
        attempt.number == 1 && !known.ledger.iter().any(|acted| acted.execution == execution)
    };
    let open = known.schedule.attempts.iter().filter(is_open).map(Item::Open);
    let mut items: Vec<Item<'_>> =
        occurrences(&known.ledger).into_iter().map(Item::Occurred).chain(open).collect();
    items.sort_by_key(|item| item.span().0);
    let mut teller = Teller::new(known);
    let mut at = from;
    for item in &items {
        let (first, last) = item.span();
        if last < from || first > to {
            continue;
        }
        teller.tell_between(at, first.just_before());
        match item {
            Item::Occurred(occurred) => teller.tell(occurred),
            Item::Open(attempt) => teller.tell_open(attempt),
        }
        at = at.max(last.later(TimeDelta::milliseconds(1)));
    }
    teller.tell_between(at, to);
    merged(teller.told)
}

/// One line for many in a row to which the same happened.
fn merged(told: Vec<ExplainedTime>) -> Vec<ExplainedTime> {
    let mut merged = Vec::with_capacity(told.len());
    for alike in told.chunk_by(ExplainedTime::is_like) {
        if alike.len() < ALIKE {
            merged.extend_from_slice(alike);
        } else if let [first, .., last] = alike {
            merged.push(ExplainedTime {
                last: Some(last.last.unwrap_or(last.scheduled_for)),
                count: alike.iter().map(|time| time.count).sum(),
                late_ms: alike.iter().filter_map(|time| time.late_ms).max(),
                execution_id: None,
                ..first.clone()
            });
        }
    }
    merged
}

impl ExplainedTime {
    fn new(scheduled_for: DateTime<Utc>, outcome: Became) -> Self {
        Self {
            scheduled_for,
            last: None,
            count: 1,
            outcome,
            cause: None,
            reason: String::new(),
            execution_id: None,
            attempts: None,
            late_ms: None,
            error_type: None,
            triggered_by: None,
            moved: None,
            change: None,
            blocked_by: None,
            calendars: None,
            down: None,
        }
    }

    /// Whether the same happened to another time, so that one line may tell both.
    fn is_like(&self, other: &Self) -> bool {
        let what = |time: &Self| (time.outcome, time.cause, time.attempts, time.moved, time.down);
        self.reason == other.reason
            && what(self) == what(other)
            && (&self.error_type, &self.triggered_by) == (&other.error_type, &other.triggered_by)
            && self.change == other.change
            && (self.blocked_by, &self.calendars) == (other.blocked_by, &other.calendars)
    }
}

fn causing(change: &ChangeEvent) -> CausingChange {
    CausingChange {
        event: change.event.clone(),
        actor: change.actor.clone(),
        time: change.time,
        reason: change.reason.clone(),
    }
}

impl From<&PauseOfAll> for CausingChange {
    fn from(pause: &PauseOfAll) -> Self {
        Self {
            event: ChangeKind::PausedAll.event().to_owned(),
            actor: pause.paused_by.clone(),
            time: pause.from,
            reason: pause.reason.clone(),
        }
    }
}

impl Item<'_> {
    /// The first and the last nominal time.
    fn span(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        match self {
            Self::Occurred(occurred) => (occurred.first.scheduled_for, occurred.last()),
            Self::Open(attempt) => {
                let range = attempt.phase.range();
                let last = range.map_or(attempt.scheduled_for, |range| range.last);
                (attempt.scheduled_for, last.max(attempt.scheduled_for))
            }
        }
    }
}

/// The entries of the ledger by occurrence.
fn occurrences(ledger: &[Acted]) -> Vec<Occurred<'_>> {
    let mut occurrences: Vec<Occurred<'_>> = Vec::new();
    for acted in ledger {
        let is_range = acted.is_range();
        let same = |of: &Occurred<'_>| {
            !is_range
                && !of.latest.is_range()
                && of.latest.scheduled_for == acted.scheduled_for
                && of.latest.occurrence == acted.occurrence
        };
        match occurrences.iter_mut().rev().take(16).find(|of| same(of)) {
            Some(of) => (of.latest, of.attempts) = (acted, of.attempts + 1),
            None => occurrences.push(Occurred { first: acted, latest: acted, attempts: 1 }),
        }
    }
    occurrences
}

impl Acted {
    fn is_range(&self) -> bool {
        matches!(self.status, ExecutionStatus::Skipped | ExecutionStatus::Corrected)
    }

    /// Whether it was under way at a time: it was claimed, and had not ended.
    fn was_under_way(&self, at: DateTime<Utc>) -> bool {
        let claimed_at = self.event.as_ref().and_then(|event| event.timings.claimed_at);
        let since = claimed_at.map_or(self.started_at, |claimed| claimed.min(self.started_at));
        since <= at && self.goes_on_at(at)
    }

    /// Whether it had not ended by a time.
    fn goes_on_at(&self, at: DateTime<Utc>) -> bool {
        !self.is_range() && self.ended_at.is_none_or(|ended| ended >= at)
    }
}

impl Occurred<'_> {
    /// The last nominal time.
    fn last(&self) -> DateTime<Utc> {
        let range = self.latest.event.as_ref().and_then(|event| event.skipped);
        range.map_or(self.latest.scheduled_for, |range| range.last.max(self.latest.scheduled_for))
    }

    fn count(&self) -> u64 {
        let range = self.latest.event.as_ref().and_then(|event| event.skipped);
        range.map_or(1, |range| range.count.max(1))
    }

    /// When the first attempt was due, and how late its command was, in milliseconds. `None` if it was cancelled before it
    /// was sent.
    fn lateness(
        &self,
        due: impl Fn(DateTime<Utc>) -> DateTime<Utc>,
    ) -> Option<(DateTime<Utc>, i64)> {
        let timings = self.first.event.as_ref().map(|event| *event.timings);
        let sent_at = timings.and_then(|timings| timings.sent_at);
        if self.first.status == ExecutionStatus::Cancelled && sent_at.is_none() {
            return None;
        }
        let due_at = timings.and_then(|timings| timings.due_at);
        let due = due_at.unwrap_or_else(|| due(self.first.scheduled_for));
        let sent = sent_at.unwrap_or(self.first.started_at);
        Some((due, (sent - due).num_milliseconds().max(0)))
    }
}
