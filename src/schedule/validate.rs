//! Turns an unchecked request into a valid schedule.

mod checks;
mod edges;
mod spec;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use checks::{check_delivery, check_number, check_tags, check_target, required_text};
use edges::check_tag_edges;
pub(crate) use edges::{check_edges, check_id};
use spec::check_spec;

use super::length::check_length;
use super::timing::MAX_INTERVAL_SECONDS;
use super::{
    CreateSchedule, Delivery, DeliveryMode, FieldFault, Guarded, MAX_PAYLOAD_BYTES, MAX_TAGS,
    NotNow, Rules, Schedule, ScheduleEvent, ScheduleType, Spec, Status, Target, TargetPattern,
    Timing, UpdateSchedule, Writer, template,
};
use crate::moment::Moment as _;
use crate::stored::{Count, Few, Kept, Pooled, Unknown};
use crate::trigger::Trigger;

/// Checks a request to create schedule `id` at `now` and makes its record.
///
/// # Errors
/// Every fault of every field.
pub fn new_schedule(
    request: &CreateSchedule,
    rules: &Rules,
    id: Uuid,
    now: DateTime<Utc>,
    created_by: &str,
    correlation_id: &str,
    writer: Writer,
) -> Result<(Schedule, Trigger), Vec<FieldFault>> {
    let mut faults = Vec::new();
    let key = request.idempotency_key.as_deref();
    for (field, text) in [("created_by", Some(created_by)), ("idempotency_key", key)] {
        check_id(field, text, &mut faults);
    }
    check_edges("name", request.name.as_deref(), &mut faults);
    check_edges("owner", request.owner.as_deref(), &mut faults);
    check_tag_edges(request.tags.as_deref().unwrap_or_default(), &[], &mut faults);
    if request.schedule_type == Some(ScheduleType::Immediate) && request.is_active == Some(false) {
        let reason = "an immediate schedule runs when it is created, and so cannot be created off";
        faults.push(FieldFault::new("is_active", reason));
    }
    let checked = check_spec(request, rules, id, now, None);
    let (spec, trigger) = match checked {
        Ok(checked) if faults.is_empty() => checked,
        Ok(_) => return Err(faults),
        Err(found) => return Err(faults.into_iter().chain(found).collect()),
    };
    // A first occurrence exactly at `now` counts: `immediate` schedules and intervals start with it.
    let next_run_at = trigger.next_after(now.just_before());
    let comes = next_run_at.is_some() || has_times(&trigger, now);
    if !comes && spec.timing.schedule_type != ScheduleType::Dependent {
        return Err(vec![no_time_left(&spec.timing, id, now)]);
    }
    let mut schedule = Schedule {
        id,
        format: 0,
        needs: 0,
        spec: Arc::new(spec),
        revision: 1,
        status: Guarded::first(Status::Active),
        is_active: request.is_active.unwrap_or(true),
        pause_reason: None,
        resumption: None,
        next_run_at,
        planned_with: trigger.versions().to_vec().into(),
        last_scheduled_for: None,
        acted_ahead: Few::new(),
        last_run_at: None,
        run_count: Count::default(),
        success_count: Count::default(),
        failure_count: Count::default(),
        occurrence_count: Count::default(),
        consecutive_failures: 0,
        standing: None,
        created_at: now,
        updated_at: now,
        created_by: created_by.into(),
        updated_by: None,
        deleted_at: None,
        deleted_by: None,
        deleted_from: None,
        correlation_id: correlation_id.into(),
        trace: None,
        attempts: Few::new(),
        backfill: None,
        ended: Few::new(),
        last_change: None,
        recent: None,
        events: Few::new(),
        purge: false,
        writer,
        unknown: Unknown::default(),
    };
    schedule.sign(writer);
    Ok((schedule, trigger))
}

/// Checks an update of a schedule at `now` and applies it to the record: given fields change, all else stays,
/// counters and history included. A new timing takes effect at once: from `now` on, or from an occurrence in
/// its jitter if the new timing has that occurrence too.
///
/// # Errors
/// Every fault of every field.
pub fn apply_update(
    update: &UpdateSchedule,
    schedule: &mut Schedule,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Result<(), Vec<FieldFault>> {
    let wish = Wish {
        request: update.over(&schedule.spec),
        kept: (!update.changes_timing()).then(|| schedule.spec.timing.clone()),
        is_active: update.is_active,
    };
    wish.apply(schedule, rules, now)
}

/// Checks a declaration of a whole schedule at `now` and applies it to the record of the schedule that has its name. What
/// it leaves out takes its default; only the anchor of an interval and `is_active` stay. Everything that is no field of the request
/// stays: whether it is paused, counters, history. Returns whether anything changes: not if the schedule is that
/// already, whatever has become of its times since.
///
/// # Errors
/// Every fault of every field.
pub fn apply_declaration(
    declared: &CreateSchedule,
    schedule: &mut Schedule,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Result<bool, Vec<FieldFault>> {
    let (old, was_active) = (Arc::clone(&schedule.spec), schedule.is_active);
    let mut request = declared.clone();
    let both = |kind| (request.schedule_type, old.timing.schedule_type) == (Some(kind), kind);
    if both(ScheduleType::Interval) && request.start_at.is_none() {
        request.start_at = old.timing.start_at;
    }
    let payload = request.command_payload.get_or_insert_default();
    if payload.says_the_same(&old.command_payload) {
        *payload = old.command_payload.clone();
    }
    let kept = request.timing().kept(&old.timing, rules.timezone).map(Into::into);
    let is_active = request.is_active;
    Wish { request, kept, is_active }.apply(schedule, rules, now)?;
    let differs = *schedule.spec != *old;
    if !differs {
        schedule.spec = old;
    }
    Ok(differs || schedule.is_active != was_active)
}

/// What a schedule is to be.
struct Wish {
    request: CreateSchedule,
    /// Its timing, if its times stay.
    kept: Option<Pooled<Timing>>,
    is_active: Option<bool>,
}

impl Wish {
    fn apply(
        self,
        schedule: &mut Schedule,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<(), Vec<FieldFault>> {
        let (request, old) = (&self.request, &schedule.spec);
        // A value that was once allowed stays until it is changed.
        let same = request.max_instances == Some(u64::from(old.max_instances));
        let kept_instances = if same { u32::from(old.max_instances) } else { 0 };
        let most_instances = rules.most_instances.max(kept_instances);
        let rules = &Rules { most_instances, ..rules.clone() };
        let former = old.timing.plain_trigger(schedule.id);
        let is_planned = self.kept.is_some();
        let kept = match self.kept {
            Some(timing) => {
                let trigger = timing.trigger(schedule.id, &rules.calendars);
                Some((timing, trigger.map_err(|fault| vec![fault])?))
            }
            None => None,
        };
        let mut faults = Vec::new();
        let name = request.name.as_deref().filter(|name| **name != *old.name);
        check_edges("name", name, &mut faults);
        let owner = request.owner.as_deref();
        let owner = owner.filter(|owner| old.owner.as_ref().is_none_or(|old| **old != **owner));
        check_edges("owner", owner, &mut faults);
        check_tag_edges(request.tags.as_deref().unwrap_or_default(), &old.tags, &mut faults);
        let (mut spec, trigger) = match check_spec(request, rules, schedule.id, now, kept) {
            Ok(checked) if faults.is_empty() => checked,
            checked => {
                return Err(faults.into_iter().chain(checked.err().unwrap_or_default()).collect());
            }
        };
        spec.keep_unknown(&schedule.spec);
        let expected = schedule.expects_success();
        // By the former jitter: an occurrence that is not due yet lies ahead, and stays if the new timing has it
        // too.
        let has = |at: &DateTime<Utc>| trigger.latest_at_or_before(*at) == Some(*at);
        let from = schedule.in_jitter(now).filter(has).unwrap_or(now);
        schedule.spec = Arc::new(spec);
        if !is_planned {
            plan_anew(schedule, former.ok().as_ref(), &trigger, from)?;
        }
        let is_active = self.is_active.unwrap_or(schedule.is_active);
        if is_active && !schedule.is_active {
            schedule.let_go(now);
        }
        schedule.is_active = is_active;
        if !expected {
            schedule.expect_from(now);
        }
        Ok(())
    }
}

/// Sets the next time by a new timing: the first from `from` on that was not acted on.
fn plan_anew(
    schedule: &mut Schedule,
    former: Option<&Trigger>,
    trigger: &Trigger,
    from: DateTime<Utc>,
) -> Result<(), Vec<FieldFault>> {
    if schedule.has_had_all() {
        let count = schedule.occurrence_count.get();
        let reason = format!("is reached: there were {count} occurrences");
        return Err(vec![FieldFault::new("max_runs", reason)]);
    }
    schedule.plan_from(former, trigger, from);
    schedule.note_only(false);
    let dependent = schedule.spec.timing.schedule_type == ScheduleType::Dependent;
    let comes = schedule.next_run_at.is_some() || has_times(trigger, from);
    if !comes && !dependent {
        return Err(vec![no_time_left(&schedule.spec.timing, schedule.id, from)]);
    }
    // A deleted schedule is planned when it is restored.
    let _ = schedule.on(ScheduleEvent::Plan);
    Ok(())
}

/// Makes a deleted schedule what it was before. Its next time is the first that is not due by `now`; without
/// one it has ended.
///
/// # Errors
/// The schedule is not deleted; nothing has changed.
pub fn restore(
    schedule: &mut Schedule,
    trigger: &Trigger,
    now: DateTime<Utc>,
) -> Result<(), NotNow> {
    // A record that was written by hand may not say what it was.
    let before = schedule.deleted_from.filter(|status| *status != Status::Deleted);
    let before = before.unwrap_or(Status::Active);
    schedule.status.after(ScheduleEvent::Restore { to: before, finish: None })?;
    (schedule.deleted_at, schedule.deleted_by) = (None, None);
    let mut finish = None;
    if matches!(before, Status::Active | Status::Paused) {
        schedule.next_run_at = schedule
            .first_not_due(trigger, schedule.created_at, now)
            .and_then(|from| first_free(schedule, Some(trigger), trigger, from))
            .filter(|_| !schedule.has_had_all());
        schedule.planned_with = trigger.versions().to_vec().into();
        finish = schedule.finish(now);
    }
    schedule.on(ScheduleEvent::Restore { to: before, finish })?;
    schedule.expect_from(now);
    Ok(())
}

impl Schedule {
    /// Sets the next time by a trigger: the first from `from` on that was not acted on. `former` is the trigger that it
    /// had, without calendars.
    pub(crate) fn plan_from(
        &mut self,
        former: Option<&Trigger>,
        trigger: &Trigger,
        from: DateTime<Utc>,
    ) {
        self.next_run_at = first_free(self, former, trigger, from);
        self.planned_with = trigger.versions().to_vec().into();
    }
}

/// Whether a trigger has times that calendars may leave open one day.
fn has_times(trigger: &Trigger, from: DateTime<Utc>) -> bool {
    let plain = trigger.without_calendars();
    !trigger.versions().is_empty() && plain.next_after(from.just_before()).is_some()
}

/// Maximum number of times acted on ahead of now that are looked at one by one.
const MAX_STEPS: u32 = 10_000;

/// The first time of a trigger from `from` on that was not acted on yet. Ids of executions are derived from
/// nominal times, so a time that the former timing had in common is not used again. Such times may lie ahead:
/// the next one, claimed ahead of its time, or all that were acted on by an instance whose clock was fast.
fn first_free(
    schedule: &Schedule,
    former: Option<&Trigger>,
    trigger: &Trigger,
    from: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let used = |at: DateTime<Utc>| {
        let was_due = || former.is_some_and(|former| former.latest_at_or_before(at) == Some(at));
        let is_past = schedule.last_scheduled_for.is_some_and(|last| at < last && was_due());
        let attempts = &schedule.attempts;
        is_past
            || schedule.last_scheduled_for == Some(at)
            || schedule.acted_ahead.contains(&at)
            || attempts.iter().any(|attempt| attempt.scheduled_for == at)
    };
    let mut next = trigger.next_after(from.just_before());
    let mut steps = 0;
    while let Some(at) = next.filter(|at| used(*at)) {
        // Beyond the latest there is no other. A clock may have been fast by years.
        let far = schedule.last_scheduled_for.filter(|last| steps == MAX_STEPS && *last > at);
        next = trigger.next_after(far.unwrap_or(at));
        steps += 1;
    }
    next
}

/// The fault of a timing that has no time from `from` on, of the field that is the cause.
fn no_time_left(timing: &Timing, id: Uuid, from: DateTime<Utc>) -> FieldFault {
    let endless = Timing { end_at: None, ..timing.clone() }.plain_trigger(id).ok();
    let next = endless.and_then(|endless| endless.next_after(from.just_before()));
    if let (Some(next), Some(_)) = (next, timing.end_at) {
        let next = next.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        return FieldFault::new("end_at", format!("is before the next time, which is {next}"));
    }
    let field = match timing.schedule_type {
        ScheduleType::Cron => "cron_expression",
        ScheduleType::Interval => "start_at",
        ScheduleType::OneTime | ScheduleType::Immediate => "scheduled_at",
        ScheduleType::Dependent => "after",
    };
    FieldFault::new(field, "has no time in the future")
}

#[cfg(test)]
mod tests;
