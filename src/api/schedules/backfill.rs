//! Running occurrences of the past.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Links, Reply};
use super::super::{Api, Caller};
use crate::moment::Moment;
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{
    Backfill, Calendars, ChangeKind, FieldFault, Schedule, ScheduleType, instant_field,
};
use crate::stored::Unknown;

/// Maximum number of occurrences that one request may run.
const MAX_OCCURRENCES: u64 = 1000;

which_fields! { request {
    /// A request to run the occurrences that a schedule had, or would have had, in a span of the past.
    pub struct BackfillSchedule {
        /// Required: the first instant of the span.
        #[serde(deserialize_with = "instant_field")]
        pub from: Option<DateTime<Utc>>,
        /// The last instant of the span, not in the future; default now.
        #[serde(deserialize_with = "instant_field")]
        pub to: Option<DateTime<Utc>>,
        /// Only report what would be run; default false.
        pub dry_run: Option<bool>,
    }
} }

/// Result of a backfill.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Backfilled {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Number of occurrences in the span.
    pub count: u64,
    /// Their nominal times.
    pub occurrences: Vec<DateTime<Utc>>,
}

impl<N: Nats> Api<N> {
    /// Runs the occurrences of a span of the past, oldest first, as many at once as the schedule's overlap policy
    /// allows. Each is an execution of its own, whether or not its time was acted on before, and survives whatever an
    /// occurrence survives.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it does not fire, has no times, or is being backfilled),
    /// `limit_exceeded` (more than 1000 occurrences), `conflict`, `unavailable`.
    pub async fn backfill_schedule(
        &self,
        request: BackfillSchedule,
        caller: &Caller,
    ) -> Result<Reply<Backfilled>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (from, to) = check_span(&request, self.clock.now())?;
        let dry_run = request.dry_run.unwrap_or(false);
        let (schedule, _) = self.read_schedule(id).await?;
        let occurrences =
            occurrences(&schedule, &self.index.calendars(), from, to, self.clock.now())?;
        let (first, last) = (occurrences.first().copied(), occurrences.last().copied());
        if let (Some(next), Some(until), false) = (first, last, dry_run) {
            let actor = caller.actor();
            let backfill = Backfill {
                id: self.clock.new_id(),
                next,
                until,
                by: actor.clone(),
                trace: caller.trace,
                correlation_id: caller.correlation_id.clone(),
                unknown: Unknown::default(),
            };
            let (count, timing) = (occurrences.len(), &schedule.spec.timing);
            let change = |schedule: &mut Schedule, now: DateTime<Utc>| {
                may_backfill(schedule)?;
                if schedule.spec.timing != *timing {
                    let message = "the times of the schedule have changed meanwhile: ask again";
                    return Err(ApiError::new(Code::Conflict, message));
                }
                schedule.backfill = Some(Box::new(backfill.clone()));
                let details = json!({
                    "from": from, "to": to, "count": count,
                    "backfilled_by": actor, "backfilled_at": now,
                });
                Ok((ChangeKind::Backfilled, details))
            };
            self.change(id, None, caller.author(&actor), None, change).await?;
            tracing::info!(schedule_id = %id, count, backfilled_by = actor, "schedule backfilled");
        }
        let count = occurrences.len() as u64;
        let data = Backfilled { schedule_id: id, dry_run, count, occurrences };
        Ok(Reply::new(data, caller).links(Links::schedule(id)))
    }
}

fn check_span(
    request: &BackfillSchedule,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), ApiError> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, reason: &str| faults.push(FieldFault::new(field, reason));
    let to = request.to.unwrap_or(now);
    let from = request.from.unwrap_or_else(|| {
        fault("from", "is required");
        to
    });
    if to > now {
        fault("to", "must not be in the future");
    }
    if from > to {
        fault("from", "must not be later than to");
    }
    if faults.is_empty() { Ok((from, to)) } else { Err(faults.into()) }
}

/// The occurrences of a schedule in a span.
fn occurrences(
    schedule: &Schedule,
    calendars: &Calendars,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, ApiError> {
    may_backfill(schedule)?;
    let trigger =
        schedule.spec.timing.trigger(schedule.id, calendars).map_err(|fault| vec![fault])?;
    // What is not due yet does not belong to the past: it will run by itself.
    let ahead = schedule.in_jitter(now).map(Moment::just_before);
    let to = ahead.map_or(to, |ahead| ahead.min(to));
    let before = from.just_before();
    let count = trigger.count_in(before, to);
    if count > MAX_OCCURRENCES {
        let message = format!(
            "{count} occurrences lie in that span; one request runs at most {MAX_OCCURRENCES}"
        );
        return Err(ApiError::new(Code::LimitExceeded, message));
    }
    let times = trigger.occurrences_after(before).map(|occurrence| occurrence.at);
    Ok(times.take_while(|at| *at <= to).collect())
}

fn may_backfill(schedule: &Schedule) -> Result<(), ApiError> {
    let id = schedule.id;
    let refuse =
        |reason: &str| Err(ApiError::new(Code::NotAllowed, format!("schedule {id} {reason}")));
    if !schedule.fires() {
        let status = schedule.status.as_str();
        return refuse(&format!(
            "does not fire: its status is {status}, its is_active {}",
            schedule.is_active
        ));
    }
    if schedule.spec.timing.schedule_type == ScheduleType::Dependent {
        return refuse("has no times of its own");
    }
    if schedule.backfill.is_some() {
        return refuse("is being backfilled already");
    }
    Ok(())
}
