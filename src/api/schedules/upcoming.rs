//! What comes in a span, over all schedules.

mod lanes;
mod minutes;

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::cursor;
use super::super::error::ApiError;
use super::super::reply::Reply;
use super::super::{Api, Caller};
use super::check_limit;
use super::filter::ScheduleFilter;
use crate::index::{Ahead, Coming, filter_fields};
use crate::moment::Moment as _;
use crate::port::Nats;
use crate::schedule::{FieldFault, instant_field, last_instant};
use crate::trigger::Moved;
use lanes::MOST_LANES;
pub use lanes::{Lane, Lanes};
pub(crate) use minutes::MinuteCounts;
pub use minutes::{BusyMinute, Minutes};

/// Length of a span by default.
const DEFAULT_SPAN: Duration = Duration::hours(1);
/// Longest span.
const MAX_SPAN: Duration = Duration::days(31);
/// Occurrences per part by default.
const DEFAULT_LIMIT: u64 = 100;
/// Maximum number of occurrences per part.
const MAX_LIMIT: u64 = 1000;

filter_fields! { request {
    /// A request for the occurrences that lie ahead, over all schedules that match and fire, in the order of their
    /// nominal times.
    pub struct ListUpcoming {
        /// The first nominal time; default now, and all occurrences that are not due yet.
        #[serde(deserialize_with = "instant_field")]
        pub from: Option<DateTime<Utc>>,
        /// The last nominal time; default one hour after `from`, at most 31 days after it.
        #[serde(deserialize_with = "instant_field")]
        pub to: Option<DateTime<Utc>>,
        /// Occurrences per part: 1 to 1000, default 100.
        #[schemars(range(min = 1, max = 1000), example = 100)]
        pub limit: Option<u64>,
        /// `next_cursor` of the previous part, with the same filters; it knows `from` and `to`.
        pub cursor: Option<String>,
        /// Whether to count the occurrences of each minute too, of those that match if they are a thousand schedules or
        /// fewer, and of all otherwise; default false.
        pub minutes: Option<bool>,
        /// Of how many schedules to count the occurrences in each part of the span, those that come next: 0 to 50, default
        /// 0.
        #[schemars(range(max = 50), example = 30)]
        pub lanes: Option<u64>,
    }
} }

/// Occurrences that lie ahead.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Upcoming {
    /// Begin of the span.
    pub from: DateTime<Utc>,
    /// End of the span.
    pub to: DateTime<Utc>,
    /// The occurrences, by nominal time; those of the same time by the id of their schedule.
    pub occurrences: Vec<UpcomingOccurrence>,
    /// Where the next part begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many occurrences each minute has, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<Minutes>,
    /// What the schedules that come next have in each part of the span, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
}

/// An occurrence that lies ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpcomingOccurrence {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Its name.
    pub schedule_name: String,
    /// Its creator.
    pub created_by: String,
    /// The nominal time.
    pub scheduled_for: DateTime<Utc>,
    /// When it is due: the nominal time plus the schedule's jitter.
    pub due_at: DateTime<Utc>,
    /// Set if a clock change moved or added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// The end of a part, and the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    at: DateTime<Utc>,
    id: Uuid,
}

/// A checked request.
struct Asked {
    /// The first nominal time; `None` for all that are not due yet.
    first: Option<DateTime<Utc>>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: usize,
}

impl<N: Nats> Api<N> {
    /// Returns the occurrences of a span that lie ahead, in parts. It reflects every change that was answered before, or
    /// the last known state while the bucket's leader does not answer.
    ///
    /// # Errors
    /// `invalid`; `unavailable` if minutes are asked for and counting them takes too long.
    pub async fn upcoming(
        &self,
        request: ListUpcoming,
        caller: &Caller,
    ) -> Result<Reply<Upcoming>, ApiError> {
        let filter = request.filter();
        let now = self.clock.now();
        let asked = check(&request, &filter, now)?;
        self.catch_up().await;
        let Asked { first, from, to, after, limit } = asked;
        let halt = self.index.pauses().halt();
        // What is due while all are paused is skipped.
        let first = match halt.is_on(now) {
            true => Some(first.map_or(halt.until, |first| first.max(halt.until))),
            false => first,
        };
        let coming = Coming { filter: &filter, now, from: first, to, after, limit };
        // A filter scans every schedule, and so does a list from later on.
        let (ahead, more) = block_in_place(|| self.index.coming(&coming));
        let next = ahead.last().filter(|_| more);
        let next_cursor = next.map(|last| {
            cursor::text(&Cursor { from, to, at: last.occurrence.at, id: last.entry.schedule.id })
        });
        let occurrences = ahead.iter().map(UpcomingOccurrence::new).collect();
        let minutes = match request.minutes.unwrap_or(false) {
            true => Some(self.counted(&filter, from, to, caller).await?),
            false => None,
        };
        let lanes = request.lanes.filter(|lanes| *lanes > 0).map(|lanes| {
            let limit = usize::try_from(lanes).unwrap_or(usize::MAX);
            self.lanes(&Coming { after: None, limit, ..coming }, from)
        });
        let upcoming = Upcoming { from, to, occurrences, next_cursor, minutes, lanes };
        let mut reply = Reply::new(upcoming, caller);
        reply.warnings.extend(self.all_paused_warning());
        Ok(reply)
    }
}

fn check(
    request: &ListUpcoming,
    filter: &ScheduleFilter,
    now: DateTime<Utc>,
) -> Result<Asked, ApiError> {
    let mut faults: Vec<_> = filter.faults().collect();
    let limit = check_limit(request.limit, DEFAULT_LIMIT, MAX_LIMIT, &mut faults);
    if request.lanes.is_some_and(|lanes| lanes > MOST_LANES) {
        faults.push(FieldFault::new("lanes", format!("must be at most {MOST_LANES}")));
    }
    let cursor = request.cursor.as_deref().map(Cursor::read);
    if cursor == Some(None) {
        faults.push(FieldFault::new("cursor", "is not one that a reply gave"));
    }
    let cursor = cursor.flatten();
    let from = cursor.map(|cursor| cursor.from).or(request.from).unwrap_or(now);
    let to = cursor.map(|cursor| cursor.to).or(request.to);
    let to = to.unwrap_or_else(|| from.later(DEFAULT_SPAN).min(last_instant()));
    if to < from {
        faults.push(FieldFault::new("to", "must not be earlier than from"));
    } else if to - from > MAX_SPAN {
        let days = MAX_SPAN.num_days();
        faults.push(FieldFault::new("to", format!("must be at most {days} days after from")));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    // Times before now are over, but for those that are within their jitter.
    let first = Some(from).filter(|from| *from > now);
    Ok(Asked { first, from, to, after: cursor.map(|cursor| (cursor.at, cursor.id)), limit })
}

impl ListUpcoming {
    fn filter(&self) -> ScheduleFilter {
        filter_fields! { taken { self => ScheduleFilter {} } }
    }
}

impl UpcomingOccurrence {
    fn new(ahead: &Ahead) -> Self {
        let Ahead { entry, occurrence, .. } = ahead;
        let schedule = &entry.schedule;
        Self {
            schedule_id: schedule.id,
            schedule_name: schedule.spec.name.to_string(),
            created_by: schedule.created_by.to_string(),
            scheduled_for: occurrence.at,
            due_at: schedule.due(occurrence.at),
            moved: occurrence.moved,
        }
    }
}

impl Cursor {
    /// Reads a cursor; nothing if its span is not one that a request may have.
    fn read(text: &str) -> Option<Self> {
        let cursor: Self = cursor::read(text)?;
        let is_span = cursor.from <= cursor.to && cursor.to <= last_instant();
        Some(cursor).filter(|cursor| is_span && cursor.to - cursor.from <= MAX_SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(request: &Value) -> Result<Asked, Vec<String>> {
        let request: ListUpcoming = serde_json::from_value(request.clone()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let fields = |error: ApiError| error.details.into_iter().map(|fault| fault.field).collect();
        check(&request, &request.filter(), now).map_err(fields)
    }

    #[test]
    fn a_span_is_an_hour_from_now_unless_the_request_says_otherwise() {
        let span = |request: Value| {
            let Ok(Asked { first, from, to, .. }) = asked(&request) else { panic!("{request}") };
            (first.is_some(), from.to_rfc3339(), to.to_rfc3339())
        };
        for (request, later, from, to) in [
            (json!({}), false, "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"),
            (
                json!({ "from": "2026-01-02T00:00:00Z" }),
                true,
                "2026-01-02T00:00:00+00:00",
                "2026-01-02T01:00:00+00:00",
            ),
            (
                json!({ "from": "2025-12-31T00:00:00Z", "to": "2026-01-31T00:00:00Z" }),
                false,
                "2025-12-31T00:00:00+00:00",
                "2026-01-31T00:00:00+00:00",
            ),
        ] {
            assert_eq!(span(request.clone()), (later, from.to_owned(), to.to_owned()), "{request}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        for (request, fields) in [
            (json!({ "to": "2025-12-31T00:00:00Z" }), &["to"][..]),
            (json!({ "to": "2026-02-01T00:00:01Z" }), &["to"]),
            (json!({ "limit": 0 }), &["limit"]),
            (json!({ "lanes": 51 }), &["lanes"]),
            (json!({ "limit": 1001, "cursor": "e30" }), &["limit", "cursor"]),
        ] {
            let Err(found) = asked(&request) else { panic!("{request}") };
            assert_eq!(found, fields, "{request}");
        }
    }

    #[test]
    fn a_cursor_knows_its_span() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T02:00:00Z"));
        let cursor = Cursor { from, to, at: from, id: Uuid::max() };
        let request = json!({ "cursor": cursor::text(&cursor), "to": "2026-01-05T00:00:00Z" });
        let Ok(asked) = asked(&request) else { panic!("{request}") };
        assert_eq!((asked.to, asked.after), (to, Some((from, Uuid::max()))));
        let long = Cursor { to: at("2026-03-01T00:00:00Z"), ..cursor };
        assert_eq!(Cursor::read(&cursor::text(&long)), None);
    }
}
