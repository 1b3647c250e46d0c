//! Who changed which schedule, when and how.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::executions::millis_up;
use super::reply::{Pagination, Reply, Warning};
use super::schedules::page;
use super::{Api, Caller};
use crate::every::every;
use crate::jetstream::audit::{Asked, Found};
use crate::port::Nats;
use crate::schedule::declared::page_fields;
use crate::schedule::{ChangeEvent, ChangeKind, instant_field};

/// What was done to a schedule, or has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the events")]
pub enum AuditEvent {
    Created,
    Updated,
    Deleted,
    Restored,
    Paused,
    Resumed,
    Triggered,
    Backfilled,
    Failing,
    Overdue,
    Recovered,
    PausedAll,
    ResumedAll,
    CalendarPut,
    CalendarDeleted,
    GroupPut,
    GroupDeleted,
    RerunRequested,
    RerunCancelled,
    RerunEnded,
}

impl AuditEvent {
    /// Every event.
    pub(crate) const ALL: [Self; 20] = every!(
        AuditEvent: Created, Updated, Deleted, Restored, Paused, Resumed, Triggered, Backfilled,
        Failing, Overdue, Recovered, PausedAll, ResumedAll, CalendarPut, CalendarDeleted,
        GroupPut, GroupDeleted, RerunRequested, RerunCancelled, RerunEnded
    );

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.kind().event()
    }

    fn kind(self) -> ChangeKind {
        match self {
            Self::Created => ChangeKind::Created,
            Self::Updated => ChangeKind::Updated,
            Self::Deleted => ChangeKind::Deleted,
            Self::Restored => ChangeKind::Restored,
            Self::Paused => ChangeKind::Paused,
            Self::Resumed => ChangeKind::Resumed,
            Self::Triggered => ChangeKind::Triggered,
            Self::Backfilled => ChangeKind::Backfilled,
            Self::Failing => ChangeKind::Failing,
            Self::Overdue => ChangeKind::Overdue,
            Self::Recovered => ChangeKind::Recovered,
            Self::PausedAll => ChangeKind::PausedAll,
            Self::ResumedAll => ChangeKind::ResumedAll,
            Self::CalendarPut => ChangeKind::CalendarPut,
            Self::CalendarDeleted => ChangeKind::CalendarDeleted,
            Self::GroupPut => ChangeKind::GroupPut,
            Self::GroupDeleted => ChangeKind::GroupDeleted,
            Self::RerunRequested => ChangeKind::RerunRequested,
            Self::RerunCancelled => ChangeKind::RerunCancelled,
            Self::RerunEnded => ChangeKind::RerunEnded,
        }
    }
}

page_fields! { which_fields request {
    /// A request for changes of schedules, newest first; absent filters match all.
    pub struct ListAudit {
        /// With this event.
        pub event: Option<AuditEvent>,
        /// Made by this user; `scheduler` is the service itself.
        pub actor: Option<String>,
        /// Made at this time or later.
        #[serde(deserialize_with = "instant_field")]
        pub since: Option<DateTime<Utc>>,
        /// Made at this time or earlier.
        #[serde(deserialize_with = "instant_field")]
        pub until: Option<DateTime<Utc>>,
    }
} }

impl<N: Nats> Api<N> {
    /// Lists the newest changes of schedules that match, also of schedules that are gone. One that was answered shows
    /// up as soon as it has been announced, mostly within milliseconds.
    ///
    /// # Errors
    /// `invalid`, `unavailable`.
    pub async fn list_audit(
        &self,
        request: ListAudit,
        caller: &Caller,
    ) -> Result<Reply<Vec<ChangeEvent>>, ApiError> {
        let (number, page) = page(request.page, request.limit)?;
        let asked = Asked {
            schedule: request.schedule_id,
            events: request.event.map(|event| vec![event.kind().event().to_owned()]),
            actor: request.actor,
            at_ms: request.since.map_or(i64::MIN, millis_up)
                ..=request.until.map_or(i64::MAX, |until| until.timestamp_millis()),
        };
        let found = self.history.audit().list(&asked, page.offset, page.limit).await?;
        let Found { changes, total, is_cut } = found;
        let mut reply = Reply::new(changes, caller);
        reply.pagination = Some(Pagination::new(number, page.limit, total));
        reply.warnings.extend(is_cut.then(older));
        Ok(reply)
    }
}

fn older() -> Warning {
    Warning {
        code: "older_not_searched".to_owned(),
        field: "since".to_owned(),
        message: "only the newest 1,000,000 changes are searched; the stream SCHEDULER_AUDIT has older ones"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event by which a kind of change is asked for.
    fn event(kind: ChangeKind) -> Option<AuditEvent> {
        Some(match kind {
            ChangeKind::Created => AuditEvent::Created,
            ChangeKind::Updated => AuditEvent::Updated,
            ChangeKind::Deleted => AuditEvent::Deleted,
            ChangeKind::Restored => AuditEvent::Restored,
            ChangeKind::Paused => AuditEvent::Paused,
            ChangeKind::Resumed => AuditEvent::Resumed,
            ChangeKind::Triggered => AuditEvent::Triggered,
            ChangeKind::Backfilled => AuditEvent::Backfilled,
            ChangeKind::Failing => AuditEvent::Failing,
            ChangeKind::Overdue => AuditEvent::Overdue,
            ChangeKind::Recovered => AuditEvent::Recovered,
            ChangeKind::PausedAll => AuditEvent::PausedAll,
            ChangeKind::ResumedAll => AuditEvent::ResumedAll,
            ChangeKind::CalendarPut => AuditEvent::CalendarPut,
            ChangeKind::CalendarDeleted => AuditEvent::CalendarDeleted,
            ChangeKind::GroupPut => AuditEvent::GroupPut,
            ChangeKind::GroupDeleted => AuditEvent::GroupDeleted,
            ChangeKind::RerunRequested => AuditEvent::RerunRequested,
            ChangeKind::RerunCancelled => AuditEvent::RerunCancelled,
            ChangeKind::RerunEnded => AuditEvent::RerunEnded,
            ChangeKind::Other(_) => return None,
        })
    }

    #[test]
    fn events_are_asked_for_by_the_names_that_they_have() {
        let schema = schemars::schema_for!(AuditEvent);
        let words = serde_json::json!(AuditEvent::ALL.map(AuditEvent::name));
        assert_eq!(schema.get("enum"), Some(&words), "these are all");
        for asked in AuditEvent::ALL {
            assert_eq!(event(asked.kind()), Some(asked));
            assert_eq!(serde_json::to_value(asked).unwrap(), asked.name());
        }
    }
}
