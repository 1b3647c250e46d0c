//! Preview of the times of a schedule.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{LeftOut, Moved, Preview, Reply};
use super::super::{Api, Caller};
use crate::moment::Moment;
use crate::port::Nats;
use crate::schedule::declared::{timing_fields, which_fields};
use crate::schedule::{
    FieldFault, On, Schedule, ScheduleType, Timing, TimingFields, instant_field, jitter,
    last_instant,
};
use crate::trigger::{Trigger, Within};

/// How far ahead is looked for what calendars leave out, where they leave little open.
const FAR: TimeDelta = TimeDelta::days(366);

which_fields! { timing_fields request {
    /// A request for the times of a schedule: of an existing one, or timing fields as in
    /// a request to create one. Stores nothing.
    pub struct PreviewSchedule {
        /// Nominal times later than this; default now, and for an existing schedule all that are not due yet.
        #[serde(deserialize_with = "instant_field")]
        pub after: Option<DateTime<Utc>>,
        /// How many times: 1 to 1000, default 10.
        #[schemars(range(min = 1, max = 1000))]
        pub count: Option<u64>,
    }
} }

impl<N: Nats> Api<N> {
    /// Returns the times at which a schedule would fire.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn preview_schedule(
        &self,
        request: PreviewSchedule,
        caller: &Caller,
    ) -> Result<Reply<Preview>, ApiError> {
        let mut faults = Vec::new();
        let count = request.count.unwrap_or(10);
        if !(1..=1000).contains(&count) {
            faults.push(FieldFault::new("count", "must be 1 to 1000"));
        }
        let fields = timing_fields! { taken { request => TimingFields { after: None } } };
        let now = self.clock.now();
        let (timing, trigger, had, from) = match request.schedule_id {
            Some(id) if fields == TimingFields::default() => self.timing_of(id, now).await?,
            Some(_) => {
                faults.push(FieldFault::new("schedule_id", "cannot stand beside timing fields"));
                return Err(faults.into());
            }
            None => match fields.check(Uuid::nil(), now, &self.rules(), &mut faults) {
                Some((timing, trigger)) if faults.is_empty() => (timing, trigger, 0, now),
                _ => return Err(faults.into()),
            },
        };
        if !faults.is_empty() {
            return Err(faults.into());
        }
        // The id of a schedule that does not exist yet is unknown.
        let id = request.schedule_id.unwrap_or_default();
        let count = timing.max_runs.map_or(count, |most| most.saturating_sub(had).min(count));
        let preview = preview(&timing, &trigger, id, request.after.unwrap_or(from), count);
        Ok(Reply::new(preview, caller))
    }

    /// The next times of a schedule under its timing, at most `count`; `as_of` is how it is now. Nothing for a timing that
    /// cannot be used.
    pub(super) fn coming(
        &self,
        schedule: &Schedule,
        as_of: &Schedule,
        count: u64,
    ) -> Option<Preview> {
        let (now, timing) = (self.clock.now(), &schedule.spec.timing);
        let trigger = timing.trigger(schedule.id, &self.index.calendars()).ok()?;
        let had = as_of.occurrence_count.get();
        let count = timing.max_runs.map_or(count, |most| most.saturating_sub(had).min(count));
        let from = as_of.in_jitter(now).unwrap_or(now).just_before();
        Some(preview(timing, &trigger, schedule.id, from, count))
    }

    /// The timing of a schedule, how many occurrences it has had, and the time after which others lie ahead. An
    /// occurrence that is within its jitter lies ahead too.
    async fn timing_of(
        &self,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<(Timing, Trigger, u64, DateTime<Utc>), ApiError> {
        let (schedule, _) = self.read_schedule(id).await?;
        let timing = Timing::clone(&schedule.spec.timing);
        let trigger = timing.trigger(id, &self.index.calendars()).map_err(|fault| vec![fault])?;
        let from = schedule.in_jitter(now).map_or(now, Moment::just_before);
        Ok((timing, trigger, schedule.occurrence_count.get(), from))
    }
}

/// At most `count` times of a timing after `from`.
pub(super) fn preview(
    timing: &Timing,
    trigger: &Trigger,
    id: Uuid,
    from: DateTime<Utc>,
    count: u64,
) -> Preview {
    let description = describe(timing, trigger);
    let mut preview = Preview {
        occurrences: Vec::new(),
        due: Vec::new(),
        moved: Vec::new(),
        left_out: None,
        description,
    };
    let most = usize::try_from(count).unwrap_or(1000);
    for occurrence in trigger.occurrences_after(from).take(most) {
        let due = occurrence.at.later(jitter(timing.jitter_seconds, id, occurrence.at));
        if due > last_instant() {
            break;
        }
        preview.occurrences.push(occurrence.at);
        if timing.jitter_seconds > 0 {
            preview.due.push(due);
        }
        if let Some(cause) = occurrence.moved {
            preview.moved.push(Moved { at: occurrence.at, cause });
        }
    }
    preview.left_out = left_out(trigger, from, &preview.occurrences, most);
    preview
}

/// What calendars leave out among the times after `from`, given the first `most` that they leave open.
fn left_out(
    trigger: &Trigger,
    from: DateTime<Utc>,
    open: &[DateTime<Utc>],
    most: usize,
) -> Option<LeftOut> {
    let closed = trigger.closed().filter(|_| most > 0)?;
    let last = open.last().copied();
    let until = last.filter(|_| open.len() >= most);
    let until = until.unwrap_or_else(|| last.unwrap_or(from).max(from.later(FAR)));
    let count = closed.count_in(from, until);
    let times = closed.occurrences_after(from).map(|next| next.at).take_while(|at| *at <= until);
    let occurrences: Vec<_> = times.take(most).collect();
    (count > 0).then_some(LeftOut { count, occurrences, until })
}

pub(super) fn describe(timing: &Timing, trigger: &Trigger) -> String {
    match trigger {
        Trigger::Cron(cron) => cron.description(),
        Trigger::Interval(interval) => interval.description(),
        Trigger::Once(_) if timing.schedule_type == ScheduleType::Immediate => {
            "once, at once".to_owned()
        }
        Trigger::Once(at) => format!("once, at {}", shown(*at)),
        Trigger::Within(within) => {
            let Within { inner, start, end } = &**within;
            let start = start.map(|start| format!(", from {}", shown(start))).unwrap_or_default();
            let end = end.map(|end| format!(", until {}", shown(end))).unwrap_or_default();
            format!("{}{start}{end}", describe(timing, inner))
        }
        Trigger::Open(open) => {
            let named = |word: &str, names: &[String]| match names {
                [] => String::new(),
                names => format!(", {word} {}", names.join(", ")),
            };
            let (only, without) =
                (named("only in", &timing.only), named("not in", &timing.exclude));
            format!("{}{only}{without}", describe(timing, &open.inner))
        }
        Trigger::Never => match &timing.after {
            Some(after) => {
                let ends = match after.on {
                    On::Success => "has succeeded",
                    On::Failure => "has failed",
                    On::Completion => "has succeeded or failed",
                };
                format!("when an occurrence of schedule {} {ends}", after.schedule_id)
            }
            None => "never".to_owned(),
        },
    }
}

/// A time as replies have it.
pub(super) fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schedule::Rules;
    use crate::trigger::{CalendarsUsed, Spans};

    #[test]
    fn what_calendars_leave_out_is_shown_beside_what_they_leave_open() {
        let at = |hour: u32| -> DateTime<Utc> {
            format!("2026-01-01T{hour:02}:00:00Z").parse().unwrap()
        };
        let fields = r#"{"schedule_type":"interval","interval_seconds":3600}"#;
        let fields: TimingFields = serde_json::from_str(fields).unwrap();
        let checked = fields.check(Uuid::nil(), at(0), &Rules::default(), &mut Vec::new());
        let (timing, trigger) = checked.unwrap();
        let plain = preview(&timing, &trigger, Uuid::nil(), at(0), 2);
        assert_eq!(plain.left_out, None);
        let open = |spans: Spans| trigger.clone().open(Arc::new(spans), CalendarsUsed::default());
        let some = open(Spans::merged([(at(5), at(7))]));
        let shown = preview(&timing, &some, Uuid::nil(), at(0), 2);
        assert_eq!(shown.occurrences, [at(5), at(6)]);
        let left_out = LeftOut { count: 4, occurrences: vec![at(1), at(2)], until: at(6) };
        assert_eq!(shown.left_out, Some(left_out));
        // Beyond what is left open, some way ahead.
        let shown = preview(&timing, &some, Uuid::nil(), at(0), 3);
        let left_out = shown.left_out.unwrap();
        assert_eq!((left_out.count, left_out.until), (366 * 24 - 2, at(0) + FAR));
        let none = preview(&timing, &open(Spans::default()), Uuid::nil(), at(0), 3);
        let times = [at(1), at(2), at(3)];
        assert!(none.left_out.is_some_and(|all| all.count == 366 * 24 && all.occurrences == times));
    }

    #[test]
    fn timings_are_described_as_people_say_them() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for (fields, expected) in [
            (
                r#"{"schedule_type":"interval","interval_seconds":604800,"start_at":"2026-01-05T08:00:00+01:00"}"#,
                "every week from 2026-01-05T07:00:00Z",
            ),
            (
                r#"{"schedule_type":"interval","interval_seconds":300,"end_at":"2026-02-01T00:00:00Z"}"#,
                "every 5 minutes from 2026-01-01T00:00:00Z, until 2026-02-01T00:00:00Z",
            ),
            (
                r#"{"schedule_type":"cron","cron_expression":"0 2,14 * * *","start_at":"2026-02-01T00:00:00Z"}"#,
                "at 02:00 and 14:00 every day (UTC), from 2026-02-01T00:00:00Z",
            ),
            (
                r#"{"schedule_type":"one_time","scheduled_at":"2026-02-01T00:00:00.5Z"}"#,
                "once, at 2026-02-01T00:00:00.500Z",
            ),
            (r#"{"schedule_type":"immediate"}"#, "once, at once"),
            (
                r#"{"schedule_type":"dependent","after":{"schedule_id":"00000000-0000-0000-0000-000000000000","on":"failure"}}"#,
                "when an occurrence of schedule 00000000-0000-0000-0000-000000000000 has failed",
            ),
        ] {
            let fields: TimingFields = serde_json::from_str(fields).unwrap();
            let (timing, trigger) =
                fields.check(Uuid::nil(), now, &Rules::default(), &mut Vec::new()).unwrap();
            assert_eq!(describe(&timing, &trigger), expected);
        }
    }
}
