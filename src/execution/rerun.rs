//! Stored requests to run many ended executions again.
//!
//! A rerun is one key of the bucket: which executions, how far it has come, and what became of them so far. An instance takes
//! them up part by part, as their schedules have room, and writes how far it has come behind each part.

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::ExecutionStatus;
use crate::names::rerun_key;
use crate::schedule::declared::which_fields;
use crate::schedule::keyed::{Keyed as _, keyed};
use crate::schedule::{Author, Change, ChangeKind, instant_field};
use crate::stored::{Unknown, keeps_unknown};
use crate::text::short;

/// The lowest format whose instances carry out reruns.
pub const RERUNS_NEED: u16 = 6;
/// The lowest format whose instances carry out those that go by what was sent, by nominal times or by several statuses.
const NEWER_CONDITIONS_NEED: u16 = 7;
/// How long one is shown after its end.
pub const RERUN_KEPT: Duration = Duration::days(7);
/// Most refusals that are kept, the latest ones.
const MOST_REFUSALS: usize = 10;

/// Which payload a retry sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryPayload {
    /// What the execution sent, byte for byte; its placeholders stay replaced as they were.
    #[default]
    Own,
    /// What the schedule sends now.
    Current,
}

which_fields! { kind_fields request {
    /// Ended executions by what they have in common: all given conditions must hold.
    #[derive(PartialEq)]
    pub struct ExecutionFilter {
        /// With this status: `failed` (default), `success`, `skipped`, `cancelled` or `corrected`.
        pub status: Option<ExecutionStatus>,
        /// With one of these statuses, in place of `status`.
        pub statuses: Option<Vec<ExecutionStatus>>,
        /// Started at this time or later.
        #[serde(deserialize_with = "instant_field")]
        pub from: Option<DateTime<Utc>>,
        /// Started at this time or earlier.
        #[serde(deserialize_with = "instant_field")]
        pub to: Option<DateTime<Utc>>,
    }
} }

/// A stored request to run many ended executions again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Rerun {
    /// The format of the version that wrote it.
    pub format: u16,
    /// The lowest format that may carry it out.
    pub needs: u16,
    /// Its id, which its events carry.
    pub id: Uuid,
    /// Its id as a text.
    pub name: String,
    /// How often it was changed, its end included.
    pub revision: u64,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// Which executions.
    pub filter: ExecutionFilter,
    /// Which payload is sent.
    pub payload: RetryPayload,
    /// Most executions that are taken up or refused.
    pub limit: u64,
    /// The last place of the history that it is about: what it adds itself comes later.
    pub until: u64,
    /// How far it has come.
    pub progress: Progress,
    /// When it was requested.
    pub created_at: DateTime<Utc>,
    /// Who requested it.
    pub created_by: String,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When a user last changed it.
    pub updated_at: DateTime<Utc>,
    /// Who last changed it.
    pub updated_by: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// Who ended it before all were taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// Whether it is forgotten; then the key stays only until its events are announced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_deleted: bool,
    /// Ids of the latest changes: they tell one whose acknowledgement was lost that it was made.
    #[serde(default)]
    pub recent: Vec<Uuid>,
    /// Changes that are not yet known to be in the audit stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Change>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// How far a rerun has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Progress {
    /// The place of the history up to which all were taken up, refused or passed over.
    pub after: u64,
    /// Places behind that of which the same is true: one in between waits for room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<u64>,
    /// Number of executions that match.
    pub matched: u64,
    /// Number of executions that were taken up.
    pub retried: u64,
    /// Number of executions that were refused.
    pub refused: u64,
    /// Number of executions that were passed over, because another attempt followed or the history has dropped them.
    pub passed_over: u64,
    /// The latest refusals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// What it waits for, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// Why an execution was not taken up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// Why.
    pub reason: String,
}

impl ExecutionFilter {
    /// The lowest format whose instances know all of its conditions: others would take up more, or cannot read it.
    fn needs(&self) -> u16 {
        // Others would take an empty one for a type that nothing has.
        if self.error_type.as_deref() == Some("") {
            return NEWER_CONDITIONS_NEED;
        }
        let times = self.scheduled_from.or(self.scheduled_to);
        let is_newer = self.command_sent.is_some() || self.statuses.is_some() || times.is_some();
        match is_newer {
            true => NEWER_CONDITIONS_NEED,
            false => RERUNS_NEED,
        }
    }
}

keeps_unknown!(Rerun, Progress);
keyed!(Rerun, "rerun", needs RERUNS_NEED, key rerun_key);

/// What became of one place of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is run again.
    Retried,
    /// It cannot be.
    Refused(Refusal),
    /// It stands for nothing that could be.
    PassedOver,
}

impl Progress {
    /// Number of executions that count against the limit.
    pub fn counted(&self) -> u64 {
        self.retried + self.refused
    }

    /// Notes what became of the places behind the one that it has come to, in their order; `None` for one that waits, and so
    /// stays where it is.
    pub fn note(&mut self, places: impl IntoIterator<Item = (u64, Option<Done>)>) {
        let mut all_before = true;
        for (place, done) in places {
            let done = if self.done.contains(&place) { Some(None) } else { done.map(Some) };
            match done {
                None => {
                    all_before = false;
                    continue;
                }
                // Done before.
                Some(None) => {}
                Some(Some(Done::Retried)) => self.retried += 1,
                Some(Some(Done::PassedOver)) => self.passed_over += 1,
                Some(Some(Done::Refused(refusal))) => {
                    self.refused += 1;
                    let reason = short(refusal.reason);
                    self.refusals.push(Refusal { reason, ..refusal });
                    let beyond = self.refusals.len().saturating_sub(MOST_REFUSALS);
                    self.refusals.drain(..beyond);
                }
            }
            match all_before {
                true => self.after = self.after.max(place),
                false if !self.done.contains(&place) => self.done.push(place),
                false => {}
            }
        }
        // What this part did not come to stays noted.
        let after = self.after;
        self.done.retain(|place| *place > after);
    }
}

impl Rerun {
    /// Whether it still takes up executions.
    pub fn is_under_way(&self) -> bool {
        self.ended_at.is_none() && !self.is_deleted
    }

    /// Whether it asks for the same as another one.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.filter == other.filter && self.payload == other.payload && self.limit == other.limit
    }

    /// Notes that it was requested.
    pub fn request(&mut self, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>) {
        (self.created_at, self.created_by) = (now, author.actor.to_owned());
        self.needs = self.needs.max(self.filter.needs());
        author.correlation_id.clone_into(&mut self.correlation_id);
        let details = json!({
            "filter": self.filter, "payload": self.payload, "limit": self.limit,
            "matched": self.progress.matched,
        });
        self.note(event_id, ChangeKind::RerunRequested, now, author, details);
    }

    /// Ends it: all were taken up, or somebody wants no more.
    pub fn end(&mut self, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>, cancels: bool) {
        self.ended_at = Some(now);
        self.cancelled_by = cancels.then(|| author.actor.to_owned());
        self.progress.waits_for = None;
        let Progress { matched, retried, refused, passed_over, .. } = self.progress;
        let details = json!({
            "matched": matched, "retried": retried, "refused": refused, "passed_over": passed_over,
        });
        let kind = if cancels { ChangeKind::RerunCancelled } else { ChangeKind::RerunEnded };
        self.note(event_id, kind, now, author, details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(n: u128) -> Option<Done> {
        let id = Uuid::from_u128(n);
        Some(Done::Refused(Refusal { execution_id: id, schedule_id: id, reason: n.to_string() }))
    }

    #[test]
    fn what_waits_holds_the_place_and_what_is_done_behind_it_counts_once() {
        let mut progress = Progress::default();
        progress.note([(3, Some(Done::Retried)), (5, None), (8, Some(Done::Retried)), (9, None)]);
        assert_eq!((progress.after, progress.retried, &progress.done[..]), (3, 2, &[8][..]));
        // The same part once more: what was done is not done again.
        progress.note([(5, Some(Done::PassedOver)), (8, Some(Done::Retried)), (9, None)]);
        assert_eq!((progress.retried, progress.passed_over, progress.counted()), (2, 1, 2));
        assert_eq!((progress.after, progress.done.len()), (8, 0));
        progress.note([(9, refused(9))]);
        // Others have come to match in between, so that the part ends before what was done behind it.
        progress.note([(20, None), (30, Some(Done::Retried))]);
        progress.note([(20, None), (25, None)]);
        assert_eq!((progress.retried, &progress.done[..]), (3, &[30][..]));
        progress.note([(20, Some(Done::PassedOver)), (25, Some(Done::PassedOver)), (30, None)]);
        assert_eq!((progress.retried, progress.after, progress.done.len()), (3, 30, 0));
        assert_eq!((progress.after, progress.done.len(), progress.counted()), (30, 0, 4));
    }

    #[test]
    fn those_without_an_error_type_are_left_to_instances_that_know_what_is_meant() {
        let needs = |error_type: &str| {
            let error_type = Some(error_type.to_owned());
            ExecutionFilter { error_type, ..ExecutionFilter::default() }.needs()
        };
        assert_eq!((needs("timeout"), needs("")), (RERUNS_NEED, NEWER_CONDITIONS_NEED));
    }

    #[test]
    fn the_latest_refusals_are_kept() {
        let mut progress = Progress::default();
        progress.note((1..=12).map(|n| (n, refused(n.into()))));
        assert_eq!((progress.refused, progress.refusals.len()), (12, MOST_REFUSALS));
        assert_eq!(progress.refusals[9].reason, "12");
    }
}
