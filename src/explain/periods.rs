//! What a schedule was over time: worked out from its record as it is now, and from its changes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::Known;
use crate::moment::Moment as _;
use crate::schedule::{CatchUp, ChangeEvent, Schedule, Status, Timing, jitter};
use crate::trigger::{Moved, Trigger};

/// Whether the times of a schedule were acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It had no times: it was not there, or had had its last.
    None,
    /// They were.
    Active,
    /// It was paused.
    Paused,
    /// It was switched off.
    Off,
}

/// What a schedule was, where that decides what became of a time.
#[derive(Debug, PartialEq)]
pub(super) struct Then {
    pub(super) timing: Timing,
    pub(super) misfire_grace_seconds: u64,
    pub(super) catch_up: CatchUp,
}

/// A time in which a schedule did not change. It lasts until the next one begins.
#[derive(Clone, Debug)]
pub(super) struct Period<'a> {
    pub(super) from: DateTime<Utc>,
    pub(super) standing: Standing,
    /// The change that made its standing what it is: the pause, or the switching off.
    pub(super) change: Option<&'a ChangeEvent>,
    /// The change with which it began.
    pub(super) begun: Option<&'a ChangeEvent>,
    /// Its times; `None` if they are not known any more.
    pub(super) trigger: Option<Arc<Trigger>>,
    /// The times that calendars leave out.
    pub(super) closed: Option<Arc<Trigger>>,
    /// What it was; `None` if that is not known any more.
    pub(super) then: Option<Arc<Then>>,
    /// The largest jitter of its times, in seconds.
    pub(super) jitter_seconds: u32,
    /// Whether `max_runs` limits it, so that it may have had its last occurrence before its end.
    pub(super) is_bounded: bool,
}

impl Period<'_> {
    /// Whether a later one takes on its times that are not due yet when it begins.
    pub(super) fn goes_on_in(&self, later: &Self) -> bool {
        let same = match (&self.trigger, &later.trigger) {
            (Some(trigger), Some(later)) => Arc::ptr_eq(trigger, later),
            (trigger, later) => trigger.is_none() && later.is_none(),
        };
        same && later.standing != Standing::None
    }

    /// The last instant up to `ends` whose times are due before `over` begins, the first that does not take them on.
    pub(super) fn due_until(
        &self,
        ends: DateTime<Utc>,
        over: Option<&Self>,
        schedule: &Schedule,
    ) -> DateTime<Utc> {
        let Some((trigger, over)) = self.trigger.as_deref().zip(over) else { return ends };
        let due = |at: DateTime<Utc>| at.later(jitter(self.jitter_seconds, schedule.id, at));
        let mut until = ends;
        while let Some(at) = trigger.latest_at_or_before(until).filter(|at| due(*at) > over.from) {
            until = at.just_before();
        }
        until
    }

    /// How a clock change moved one of its times.
    pub(super) fn moved(&self, at: DateTime<Utc>) -> Option<Moved> {
        let mut times = self.trigger.as_deref()?.occurrences_after(at.just_before());
        times.next().filter(|time| time.at == at)?.moved
    }
}

/// The times that a schedule had, and whether it was switched on.
#[derive(Clone)]
struct Form {
    then: Option<Arc<Then>>,
    trigger: Option<Arc<Trigger>>,
    closed: Option<Arc<Trigger>>,
    jitter_seconds: u32,
    is_bounded: bool,
    is_active: bool,
}

/// The periods of a schedule, oldest first.
pub(super) fn periods<'a>(known: &Known<'a>) -> Vec<Period<'a>> {
    let (schedule, changes) = (known.schedule, known.changes);
    let forms = forms(known);
    let mut periods = vec![Period::without_times(DateTime::<Utc>::MIN_UTC)];
    // Where the creation is no longer known, it begins with what the first known change ended.
    let first = changes.first().map(|change| change.event.as_str());
    if first != Some("created") {
        let (standing, form) = match first {
            Some("resumed") => (Standing::Paused, &forms[0]),
            Some("restored") => (Standing::None, &forms[0]),
            _ => (Standing::Active, &forms[0]),
        };
        // Changes before that may be known no longer. Without any, the record says when the last of them was.
        let is_first =
            changes.first().map_or(schedule.revision, |change| change.revision.saturating_sub(1))
                <= 1;
        let then = form.then.clone().filter(|_| is_first);
        periods.push(Period { then, ..form.period(schedule.created_at, standing) });
        if changes.is_empty() && !is_first {
            periods.push(form.period(schedule.updated_at, standing));
        }
    }
    let (mut paused, mut switched): (Option<&ChangeEvent>, Option<&ChangeEvent>) = (None, None);
    let mut standing = periods.last().map_or(Standing::None, |period| period.standing);
    let mut deleted_from = Standing::Active;
    for (change, form) in changes.iter().zip(&forms[1..]) {
        match change.event.as_str() {
            "created" | "resumed" => standing = Standing::Active,
            // As it was before it was deleted.
            "restored" => standing = deleted_from,
            "paused" => (standing, paused) = (Standing::Paused, Some(change)),
            "deleted" => (deleted_from, standing) = (standing, Standing::None),
            "updated" if change.changes.iter().any(|field| field.field == "is_active") => {
                switched = Some(change);
            }
            _ => {}
        }
        let now = form.standing(standing);
        let cause = match now {
            Standing::Paused => paused,
            Standing::Off => switched,
            Standing::None | Standing::Active => None,
        };
        let begun = Some(change);
        periods.push(Period { change: cause, begun, ..form.period(change.time, standing) });
    }
    correct(&mut periods, schedule);
    without_former_calendars(periods)
}

/// Leaves out times from before the latest change of the calendars: what these said then is not kept.
fn without_former_calendars(periods: Vec<Period<'_>>) -> Vec<Period<'_>> {
    let mut all: Vec<Period<'_>> = Vec::with_capacity(periods.len());
    let ends: Vec<_> = periods.iter().skip(1).map(|next| next.from).collect();
    for (n, period) in periods.into_iter().enumerate() {
        let since = period.trigger.as_deref().and_then(Trigger::calendars_since);
        let Some(since) = since.filter(|since| *since > period.from) else {
            all.push(period);
            continue;
        };
        let before = Period { trigger: None, closed: None, ..period.clone() };
        all.push(before);
        if ends.get(n).is_none_or(|ends| *ends > since) {
            all.push(Period { from: since, begun: None, ..period });
        }
    }
    all
}

/// Corrects the last period by what the record says now.
fn correct(periods: &mut [Period<'_>], schedule: &Schedule) {
    let Some(last) = periods.last_mut() else { return };
    match *schedule.status {
        Status::Paused if last.standing != Standing::Paused => {
            (last.standing, last.change) = (Standing::Paused, None);
        }
        Status::Deleted => last.standing = Standing::None,
        Status::Active | Status::Paused | Status::Completed | Status::Failed => {}
    }
}

/// The last time that the schedule has, if it has had it; that may be under way.
pub(super) fn last_time(schedule: &Schedule) -> Option<DateTime<Utc>> {
    let is_over = match *schedule.status {
        Status::Active => {
            let timing = &schedule.spec.timing;
            let may_come = timing.follows().is_some() || timing.has_calendars();
            schedule.next_run_at.is_none() && !may_come
        }
        Status::Completed | Status::Failed => true,
        Status::Paused => schedule.next_run_at.is_none() && schedule.has_had_all(),
        Status::Deleted => false,
    };
    is_over.then(|| schedule.last_scheduled_for.unwrap_or(schedule.created_at))
}

impl Period<'_> {
    fn without_times(from: DateTime<Utc>) -> Self {
        Self {
            from,
            standing: Standing::None,
            change: None,
            begun: None,
            trigger: None,
            closed: None,
            then: None,
            jitter_seconds: 0,
            is_bounded: false,
        }
    }
}

impl Form {
    /// A period that begins at `from`, in which the schedule is as it stands.
    fn period<'a>(&self, from: DateTime<Utc>, standing: Standing) -> Period<'a> {
        let Self { then, trigger, closed, jitter_seconds, is_bounded, .. } = self.clone();
        let standing = self.standing(standing);
        let (change, begun) = (None, None);
        Period { from, standing, change, begun, trigger, closed, then, jitter_seconds, is_bounded }
    }

    fn standing(&self, standing: Standing) -> Standing {
        if standing == Standing::Active && !self.is_active { Standing::Off } else { standing }
    }
}

/// The form before the first change, and that after each.
fn forms(known: &Known<'_>) -> Vec<Form> {
    let (schedule, changes) = (known.schedule, known.changes);
    let trigger = |timing: &Timing| timing.trigger(schedule.id, known.calendars).ok().map(Arc::new);
    let closed = |trigger: &Option<Arc<Trigger>>| trigger.as_deref()?.closed().map(Arc::new);
    let mut fields = fields(schedule);
    let mut form = Form {
        then: fields.as_ref().and_then(then),
        trigger: trigger(&schedule.spec.timing),
        closed: None,
        jitter_seconds: schedule.spec.timing.jitter_seconds,
        is_bounded: schedule.spec.timing.max_runs.is_some(),
        is_active: schedule.is_active,
    };
    form.closed = closed(&form.trigger);
    let mut forms = vec![form.clone()];
    for change in changes.iter().rev() {
        if change.event == "updated" {
            let undone = undo(&mut fields, &mut form.is_active, change);
            if undone != Undone::Nothing {
                form.then = fields.as_ref().and_then(then);
            }
            if undone == Undone::Timing {
                let timing = form.then.as_deref().map(|then| &then.timing);
                form.trigger = timing.and_then(trigger);
                form.closed = closed(&form.trigger);
                form.is_bounded = timing.is_some_and(|timing| timing.max_runs.is_some());
                form.jitter_seconds = timing.map_or(0, |timing| timing.jitter_seconds);
            }
        }
        forms.push(form.clone());
    }
    forms.reverse();
    forms
}

/// The fields of a schedule that [`Then`] is made of.
fn fields(schedule: &Schedule) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&*schedule.spec.timing) else {
        return None;
    };
    let catch_up = serde_json::to_value(schedule.spec.catch_up).ok()?;
    fields.insert(GRACE.to_owned(), schedule.spec.misfire_grace_seconds.into());
    fields.insert(CATCH_UP.to_owned(), catch_up);
    Some(fields)
}

fn then(fields: &Map<String, Value>) -> Option<Arc<Then>> {
    let mut fields = fields.clone();
    let misfire_grace_seconds = fields.remove(GRACE)?.as_u64()?;
    let catch_up = serde_json::from_value(fields.remove(CATCH_UP)?).ok()?;
    let timing = serde_json::from_value(Value::Object(fields)).ok()?;
    Some(Arc::new(Then { timing, misfire_grace_seconds, catch_up }))
}

/// What differs once a change was taken back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Undone {
    Nothing,
    Policy,
    Timing,
}

/// Takes a change back. If the event does not say what was changed, nothing is known of what was before.
fn undo(
    fields: &mut Option<Map<String, Value>>,
    is_active: &mut bool,
    change: &ChangeEvent,
) -> Undone {
    if change.changes.is_empty() && change.unknown.names().any(|name| name == "truncated") {
        *fields = None;
        return Undone::Timing;
    }
    let mut undone = Undone::Nothing;
    for field in &change.changes {
        if field.field == "is_active" {
            *is_active = field.old != Some(Value::Bool(false));
            continue;
        }
        let differs = match &*field.field {
            GRACE | CATCH_UP => Undone::Policy,
            name if IN_TIMING.contains(&name) => Undone::Timing,
            _ => continue,
        };
        undone = undone.max(differs);
        let Some(fields) = fields.as_mut() else { continue };
        match &field.old {
            Some(old) => fields.insert(field.field.clone(), old.clone()),
            None => fields.remove(&field.field),
        };
    }
    undone
}

const GRACE: &str = "misfire_grace_seconds";
const CATCH_UP: &str = "catch_up";

/// The fields of a schedule that its times depend on.
pub(super) const IN_TIMING: [&str; 14] = [
    "schedule_type",
    "cron_expression",
    "interval_seconds",
    "scheduled_at",
    "timezone",
    "start_at",
    "end_at",
    "max_runs",
    "jitter_seconds",
    "after",
    "dst_gap",
    "dst_overlap",
    "exclude",
    "only",
];
