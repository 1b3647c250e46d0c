//! When a schedule fires: the stored form of its timing fields, and their check.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::after::{After, AfterFields};
use super::calendar::{Calendars, MAX_CALENDARS};
use super::declared::timing_fields;
use super::keyed::not_a_name;
use super::{FieldFault, Rules, ScheduleType, instant};
use crate::stored::{Few, Kept, Unknown, keeps_unknown};
use crate::trigger::{CronTrigger, DstGap, DstOverlap, IntervalTrigger, Trigger};

/// Longest interval: 365 days.
pub const MAX_INTERVAL_SECONDS: u32 = 31_536_000;

/// Longest jitter, in seconds.
pub const MAX_JITTER_SECONDS: u64 = 3600;
/// Number of occurrences between which the jitter must fit.
const JITTER_LOOK: usize = 100;

fn is_zero(number: &u32) -> bool {
    *number == 0
}

timing_fields! { after_field request {
    /// The timing fields of a request, unchecked.
    #[derive(PartialEq)]
    pub struct TimingFields {}
} }

/// When a schedule fires, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Timing {
    /// How the schedule yields its times.
    pub schedule_type: ScheduleType,
    /// Set for `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron_expression: Option<String>,
    /// Set for `interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// Set for `one_time`, and for `immediate`, where it is the time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<DateTime<Utc>>,
    /// IANA time zone.
    pub timezone: chrono_tz::Tz,
    /// The anchor of an interval; for a cron schedule, the time before which it has no occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<DateTime<Utc>>,
    /// The time after which it has no occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<DateTime<Utc>>,
    /// Maximum number of occurrences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
    /// Maximum delay in seconds from the nominal time of an occurrence until it is due.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_seconds: u32,
    /// The schedule whose occurrences a dependent schedule follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Kept<After>>,
    /// What happens to skipped local times.
    #[serde(default)]
    pub dst_gap: DstGap,
    /// What happens to repeated local times.
    #[serde(default)]
    pub dst_overlap: DstOverlap,
    /// Calendars whose times have no occurrence.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub exclude: Few<String>,
    /// Calendars outside of whose times there is no occurrence.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub only: Few<String>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Timing);

impl Timing {
    /// The schedule whose occurrences it follows.
    pub fn follows(&self) -> Option<After> {
        self.after.as_deref().copied()
    }

    /// The calendars that it names.
    pub fn calendars(&self) -> impl Iterator<Item = &str> {
        self.exclude.iter().chain(&self.only).map(String::as_str)
    }

    /// Whether it names calendars.
    pub fn has_calendars(&self) -> bool {
        !self.exclude.is_empty() || !self.only.is_empty()
    }

    /// Compiles the timing of schedule `id`, restricted by the calendars that it names.
    ///
    /// # Errors
    /// The fault of the field that cannot be used; possible only in a record that was not written by
    /// [`TimingFields::check`].
    pub fn trigger(&self, id: Uuid, calendars: &Calendars) -> Result<Trigger, FieldFault> {
        let trigger = self.plain_trigger(id)?;
        Ok(calendars.restrict(self, &trigger).into_owned())
    }

    /// The same without calendars.
    ///
    /// # Errors
    /// See [`Timing::trigger`].
    pub fn plain_trigger(&self, id: Uuid) -> Result<Trigger, FieldFault> {
        let trigger = self.unbounded(id)?;
        let start = self.start_at.filter(|_| self.schedule_type == ScheduleType::Cron);
        Ok(trigger.within(start, self.end_at))
    }

    fn unbounded(&self, id: Uuid) -> Result<Trigger, FieldFault> {
        let missing = |field: &str| FieldFault::new(field, "is missing");
        match self.schedule_type {
            ScheduleType::Dependent => Ok(Trigger::Never),
            ScheduleType::Cron => {
                let expression =
                    self.cron_expression.as_deref().ok_or_else(|| missing("cron_expression"))?;
                let seed = id.as_u64_pair().1;
                CronTrigger::new(expression, self.timezone, self.dst_gap, self.dst_overlap, seed)
                    .map(Trigger::from)
                    .map_err(|error| FieldFault::new("cron_expression", error.to_string()))
            }
            ScheduleType::Interval => Ok(Trigger::Interval(IntervalTrigger {
                start: self.start_at.ok_or_else(|| missing("start_at"))?,
                every_seconds: self.interval_seconds.ok_or_else(|| missing("interval_seconds"))?,
            })),
            ScheduleType::OneTime | ScheduleType::Immediate => {
                self.scheduled_at.map(Trigger::Once).ok_or_else(|| missing("scheduled_at"))
            }
        }
    }
}

impl TimingFields {
    /// The timing that the fields say, unchecked. What begins at once begins at `now`.
    fn timing(&self, now: DateTime<Utc>, timezone: chrono_tz::Tz) -> Timing {
        let schedule_type = self.schedule_type.unwrap_or(ScheduleType::Immediate);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Timing {
            schedule_type,
            cron_expression: self.cron_expression.clone(),
            interval_seconds: self.interval_seconds.map(small),
            scheduled_at: match schedule_type {
                ScheduleType::Immediate => Some(now),
                _ => self.scheduled_at.map(instant::whole_milliseconds),
            },
            timezone,
            start_at: match schedule_type {
                ScheduleType::Interval => {
                    Some(self.start_at.map_or(now, instant::whole_milliseconds))
                }
                _ => self.start_at.map(instant::whole_milliseconds),
            },
            end_at: self.end_at.map(instant::whole_milliseconds),
            max_runs: self.max_runs.filter(|most| *most > 0),
            jitter_seconds: small(self.jitter_seconds.unwrap_or(0)),
            after: self.after.as_ref().and_then(AfterFields::after).map(Kept::from),
            dst_gap: self.dst_gap.unwrap_or_default(),
            dst_overlap: self.dst_overlap.unwrap_or_default(),
            exclude: self.exclude.clone().unwrap_or_default().into(),
            only: self.only.clone().unwrap_or_default().into(),
            unknown: Unknown::default(),
        }
    }

    /// A timing as the fields say it, if its times are those that it has: what began at once still did, and only a cron
    /// expression is another one in another zone. `zone` is the default time zone.
    pub(crate) fn kept(&self, timing: &Timing, zone: chrono_tz::Tz) -> Option<Timing> {
        let zone = self.timezone.as_deref().map_or(Some(zone), |zone| zone.parse().ok())?;
        let began = timing.scheduled_at.or(timing.start_at).unwrap_or_default();
        let said = Timing { unknown: timing.unknown.clone(), ..self.timing(began, zone) };
        let is_cron = timing.schedule_type == ScheduleType::Cron;
        let zone = if is_cron { timing.timezone } else { zone };
        let is_same = said == Timing { timezone: zone, ..timing.clone() };
        (is_same && self.schedule_type.is_some()).then_some(said)
    }

    /// Checks the fields of schedule `id` at `now` and adds what is wrong to `faults`.
    ///
    /// Returns the timing if nothing is wrong with it.
    pub fn check(
        &self,
        id: Uuid,
        now: DateTime<Utc>,
        rules: &Rules,
        faults: &mut Vec<FieldFault>,
    ) -> Option<(Timing, Trigger)> {
        let before = faults.len();
        let Some(schedule_type) = self.schedule_type else {
            let reason = "is required: cron, interval, one_time, immediate or dependent";
            faults.push(FieldFault::new("schedule_type", reason));
            return None;
        };
        self.check_fields_of(schedule_type, faults);
        self.check_bounds(now, rules.limits.lookahead, faults);
        self.check_calendars(&rules.calendars, faults);
        let zone = self.check_zone(rules.timezone, faults);
        // Even if something else is wrong, report what is wrong with the expression.
        if faults.len() > before {
            let expression =
                self.cron_expression.as_deref().filter(|text| text.chars().count() <= 255);
            if let (ScheduleType::Cron, Some(expression)) = (schedule_type, expression) {
                let zone = zone.unwrap_or(chrono_tz::UTC);
                let (gap, overlap) = (DstGap::default(), DstOverlap::default());
                if let Err(error) = CronTrigger::new(expression, zone, gap, overlap, 0) {
                    faults.push(FieldFault::new("cron_expression", error.to_string()));
                }
            }
            return None;
        }
        let timing = self.timing(now, zone?);
        match timing.trigger(id, &rules.calendars) {
            Ok(trigger) => {
                let jitter = Duration::seconds(i64::from(timing.jitter_seconds));
                if jitter > shortest_gap(trigger.without_calendars(), now) {
                    let reason = "must be no longer than the time between two occurrences";
                    faults.push(FieldFault::new("jitter_seconds", reason));
                    return None;
                }
                Some((timing, trigger))
            }
            Err(found) => {
                faults.push(found);
                None
            }
        }
    }

    /// Checks that the fields are those of the type.
    fn check_fields_of(&self, schedule_type: ScheduleType, faults: &mut Vec<FieldFault>) {
        let mut fault = |field: &str, reason: String| faults.push(FieldFault::new(field, reason));
        let mut belongs = |field: &str, given: bool, to: ScheduleType| {
            if given && schedule_type != to {
                let (to, kind) = (to.as_str(), schedule_type.as_str());
                fault(field, format!("belongs to schedule_type {to}, not {kind}"));
            } else if !given
                && schedule_type == to
                && field != "start_at"
                && !field.starts_with("dst")
            {
                fault(field, format!("is required for schedule_type {}", to.as_str()));
            }
        };
        belongs("cron_expression", self.cron_expression.is_some(), ScheduleType::Cron);
        belongs("interval_seconds", self.interval_seconds.is_some(), ScheduleType::Interval);
        belongs("scheduled_at", self.scheduled_at.is_some(), ScheduleType::OneTime);
        belongs("after", self.after.is_some(), ScheduleType::Dependent);
        belongs("dst_gap", self.dst_gap.is_some(), ScheduleType::Cron);
        belongs("dst_overlap", self.dst_overlap.is_some(), ScheduleType::Cron);

        if self.after.as_ref().is_some_and(|after| after.schedule_id.is_none()) {
            let reason = "is required, unless after.schedule_name is given";
            fault("after.schedule_id", reason.to_owned());
        }
        let timed = matches!(schedule_type, ScheduleType::Cron | ScheduleType::Interval);
        for (field, given) in [
            ("start_at", self.start_at.is_some()),
            ("end_at", self.end_at.is_some()),
            ("jitter_seconds", self.jitter_seconds.is_some_and(|seconds| seconds > 0)),
            ("exclude", self.exclude.as_ref().is_some_and(|names| !names.is_empty())),
            ("only", self.only.as_ref().is_some_and(|names| !names.is_empty())),
        ] {
            if given && !timed {
                let kind = schedule_type.as_str();
                fault(field, format!("belongs to schedule_type cron or interval, not {kind}"));
            }
        }
        if self.max_runs.is_some_and(|most| most > 0) && !schedule_type.recurs() {
            let kind = schedule_type.as_str();
            fault("max_runs", format!("belongs to schedules that recur, not to {kind}"));
        }
    }

    /// Checks each field by itself.
    fn check_bounds(&self, now: DateTime<Utc>, lookahead: Duration, faults: &mut Vec<FieldFault>) {
        let mut fault = |field: &str, reason: String| faults.push(FieldFault::new(field, reason));
        if self.jitter_seconds.is_some_and(|seconds| seconds > MAX_JITTER_SECONDS) {
            fault("jitter_seconds", format!("must be at most {MAX_JITTER_SECONDS}"));
        }
        // As they will be kept, so that what is accepted once is accepted again.
        let [start, end] =
            [self.start_at, self.end_at].map(|at| at.map(instant::whole_milliseconds));
        if let Some(end) = end
            && end <= start.unwrap_or(now).max(now)
        {
            fault("end_at", "must be in the future, and later than start_at".to_owned());
        }
        if self.cron_expression.as_ref().is_some_and(|text| text.chars().count() > 255) {
            fault("cron_expression", "must have at most 255 characters".to_owned());
        }
        if let Some(seconds) = self.interval_seconds
            && !(1..=u64::from(MAX_INTERVAL_SECONDS)).contains(&seconds)
        {
            fault("interval_seconds", format!("must be 1 to {MAX_INTERVAL_SECONDS}"));
        }
        for (field, at) in [("scheduled_at", self.scheduled_at), ("start_at", self.start_at)] {
            let Some(at) = at else { continue };
            let past = instant::past(at, now).filter(|_| field == "scheduled_at");
            for reason in past.into_iter().chain(instant::too_far(at, now, lookahead)) {
                fault(field, reason);
            }
        }
    }

    /// Checks that the calendars exist, and are few.
    fn check_calendars(&self, calendars: &Calendars, faults: &mut Vec<FieldFault>) {
        let mut count = 0;
        for (field, names) in [("exclude", &self.exclude), ("only", &self.only)] {
            let names = names.as_deref().unwrap_or_default();
            count += names.len();
            for (n, name) in names.iter().take(MAX_CALENDARS).enumerate() {
                let is_there = || calendars.get(name).is_some();
                let unknown = || "is no calendar; calendar.list has all".to_owned();
                let twice = names[..n].contains(name).then(|| "is there twice".to_owned());
                let reason = not_a_name(name).or(twice);
                if let Some(reason) = reason.or_else(|| (!is_there()).then(unknown)) {
                    faults.push(FieldFault::new(format!("{field}[{n}]"), reason));
                }
            }
        }
        if count > MAX_CALENDARS {
            let reason = format!("and only must name at most {MAX_CALENDARS} calendars together");
            faults.push(FieldFault::new("exclude", reason));
        }
    }

    /// The time zone, `default` unless it is given.
    fn check_zone(
        &self,
        default: chrono_tz::Tz,
        faults: &mut Vec<FieldFault>,
    ) -> Option<chrono_tz::Tz> {
        let Some(text) = self.timezone.as_deref() else { return Some(default) };
        let known = (text.len() <= 50).then(|| text.parse().ok()).flatten();
        if known.is_none() {
            let reason = "is not an IANA time zone, such as Europe/Berlin";
            faults.push(FieldFault::new("timezone", reason));
        }
        known
    }
}

/// Shortest time between the next occurrences: jitter must not put one behind the next.
fn shortest_gap(trigger: &Trigger, now: DateTime<Utc>) -> Duration {
    let times: Vec<_> = trigger.occurrences_after(now).take(JITTER_LOOK).map(|o| o.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
