//! Who changed which schedule, when and how.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::executions::millis_up;
use super::reply::{Pagination, Reply, Warning};
use super::schedules::page;
use super::{Api, Caller};
use crate::jetstream::audit::{Asked, Found};
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{ChangeEvent, ChangeKind, FieldFault, instant_field};

which_fields! { request {
    /// A request for changes of schedules, newest first; absent filters match all.
    pub struct ListAudit {
        /// With this event: `created`, `updated`, `deleted`, `restored`, `paused`, `resumed`, `triggered` or `backfilled`.
        pub event: Option<String>,
        /// Made by this user; `scheduler` is the service itself.
        pub actor: Option<String>,
        /// Made at this time or later.
        #[serde(deserialize_with = "instant_field")]
        pub since: Option<DateTime<Utc>>,
        /// Made at this time or earlier.
        #[serde(deserialize_with = "instant_field")]
        pub until: Option<DateTime<Utc>>,
        /// From 1, which is the default.
        #[schemars(range(min = 1, max = 1_000_000_000), example = 2)]
        pub page: Option<u64>,
        /// Changes per page: 1 to 100, default 20.
        #[schemars(range(min = 1, max = 100), example = 20)]
        pub limit: Option<u64>,
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
        let events = request.event.as_deref().map(known_event).transpose();
        let paged = page(request.page, request.limit);
        let (events, (number, page)) = match (events, paged) {
            (Ok(events), Ok(paged)) => (events, paged),
            (events, paged) => {
                let mut faults: Vec<_> = events.err().into_iter().collect();
                faults.extend(paged.err().into_iter().flat_map(|error| error.details));
                return Err(faults.into());
            }
        };
        let asked = Asked {
            schedule: request.schedule_id,
            events: events.map(|event| vec![event]),
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

fn known_event(event: &str) -> Result<String, FieldFault> {
    if ChangeKind::KNOWN.iter().any(|kind| kind.event() == event) {
        return Ok(event.to_owned());
    }
    let known: Vec<_> = ChangeKind::KNOWN.iter().map(|kind| kind.event()).collect();
    Err(FieldFault::new("event", format!("must be one of {}", known.join(", "))))
}

fn older() -> Warning {
    Warning {
        code: "older_not_searched".to_owned(),
        field: "since".to_owned(),
        message: "only the newest 1,000,000 changes are searched; the stream SCHEDULER_AUDIT has older ones"
            .to_owned(),
    }
}
