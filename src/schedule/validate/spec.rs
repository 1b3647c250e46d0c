//! Checks what a user wrote, and fills in the defaults.

use super::*;
use crate::schedule::keyed::not_a_name;
use crate::schedule::length::check_description;
use crate::schedule::{Payload, RetryPolicy};

/// How a command is made and sent.
struct CommandFields {
    target: Option<Target>,
    payload: Payload,
    is_template: bool,
    delivery: Delivery,
    priority: u32,
    max_retries: u32,
    retry_delay_seconds: u32,
}

/// How occurrences are treated.
struct Policies {
    tags: Vec<String>,
    misfire_grace_seconds: u32,
    max_instances: u32,
    retry: RetryPolicy,
    dead_letter: Option<Target>,
    expect_success_within_seconds: u32,
    failing_after: u32,
    pause_on_failure: u32,
}

/// Checks all fields of a schedule; `kept` is its timing if that need not be checked again.
pub(super) fn check_spec(
    request: &CreateSchedule,
    rules: &Rules,
    id: Uuid,
    now: DateTime<Utc>,
    kept: Option<(Pooled<Timing>, Trigger)>,
) -> Result<(Spec, Trigger), Vec<FieldFault>> {
    let mut faults = Vec::new();
    let name = required_text("name", request.name.as_deref(), 255, &mut faults);
    check_description(request.description.as_deref(), &mut faults);
    check_length("owner", request.owner.as_deref(), 0, 255, &mut faults);
    let command = check_command(request, rules, &mut faults);
    let policies = check_policies(request, rules, command.retry_delay_seconds, &mut faults);
    check_group(given(request.group.as_deref()), command.delivery.mode, rules, &mut faults);
    let timing = kept.or_else(|| {
        let (timing, trigger) = request.timing().check(id, now, rules, &mut faults)?;
        Some((timing.into(), trigger))
    });
    let (Some(name), Some(target_command), Some((timing, trigger)), true) =
        (name, command.target, timing, faults.is_empty())
    else {
        return Err(faults);
    };
    let spec = Spec {
        name: name.into(),
        description: given(request.description.as_deref()).map(Into::into),
        timing,
        target_command,
        command_payload: command.payload,
        tags: policies.tags.into(),
        priority: u8::try_from(command.priority).unwrap_or(5),
        max_retries: u8::try_from(command.max_retries).unwrap_or(3),
        retry_delay_seconds: command.retry_delay_seconds,
        delivery: Kept::from(command.delivery).into(),
        misfire_grace_seconds: policies.misfire_grace_seconds,
        catch_up: request.catch_up.unwrap_or(rules.catch_up),
        overlap: request.overlap.unwrap_or_default(),
        max_instances: u8::try_from(policies.max_instances).unwrap_or(1),
        group: given(request.group.as_deref()).map(Into::into),
        retry: Kept::from(policies.retry).into(),
        dead_letter: policies.dead_letter.map(Box::new),
        expect_success_within_seconds: NonZeroU32::new(policies.expect_success_within_seconds),
        failing_after: few(policies.failing_after).unwrap_or(NonZeroU16::MIN),
        pause_on_failure: few(policies.pause_on_failure),
        owner: given(request.owner.as_deref()).map(Into::into),
        payload_template: command.is_template,
        unknown: Unknown::default(),
    };
    Ok((spec, trigger))
}

fn check_command(
    request: &CreateSchedule,
    rules: &Rules,
    faults: &mut Vec<FieldFault>,
) -> CommandFields {
    let target = check_target("target_command", request.target_command.as_deref(), rules, faults);
    let payload = request.command_payload.clone().unwrap_or_default();
    if payload.as_str().len() > MAX_PAYLOAD_BYTES {
        let reason = format!("must have at most {MAX_PAYLOAD_BYTES} bytes");
        faults.push(FieldFault::new("command_payload", reason));
    }
    let is_template = request.payload_template.unwrap_or(false);
    if is_template && let Err(reason) = template::check(&payload) {
        faults.push(FieldFault::new("command_payload", reason));
    }
    let delivery = request.delivery.clone().unwrap_or_default();
    check_delivery(&delivery, faults);
    let mut number =
        |field, value, most, default| check_number(field, value, 0, most, default, faults);
    let (retries, delay) = (u32::from(rules.max_retries), rules.retry_delay_seconds);
    let max_retries = number("max_retries", request.max_retries, 10, retries);
    let retry_delay_seconds =
        number("retry_delay_seconds", request.retry_delay_seconds, 3600, delay);
    let priority = check_number("priority", request.priority, 1, 10, 5, faults);
    CommandFields {
        target,
        payload,
        is_template,
        delivery,
        priority,
        max_retries,
        retry_delay_seconds,
    }
}

fn check_policies(
    request: &CreateSchedule,
    rules: &Rules,
    retry_delay_seconds: u32,
    faults: &mut Vec<FieldFault>,
) -> Policies {
    let dead_letter = given(request.dead_letter.as_deref());
    let dead_letter =
        dead_letter.and_then(|text| check_target("dead_letter", Some(text), rules, faults));
    let tags = check_tags(request.tags.clone().unwrap_or_default(), faults);
    let retry = request.retry.clone().unwrap_or_default().check(retry_delay_seconds, faults);
    let mut number = |field, value, least, most, default| {
        check_number(field, value, least, most, default, faults)
    };
    let (grace, year) = (rules.misfire_grace_seconds, MAX_INTERVAL_SECONDS);
    let (instances, most) = (rules.max_instances, rules.most_instances);
    let expected = request.expect_success_within_seconds;
    Policies {
        misfire_grace_seconds: number(
            "misfire_grace_seconds",
            request.misfire_grace_seconds,
            1,
            year,
            grace,
        ),
        max_instances: number("max_instances", request.max_instances, 1, most, instances),
        pause_on_failure: number("pause_on_failure", request.pause_on_failure, 0, 1000, 0),
        failing_after: number("failing_after", request.failing_after, 1, 1000, 1),
        expect_success_within_seconds: number(
            "expect_success_within_seconds",
            expected,
            0,
            year,
            0,
        ),
        tags,
        retry,
        dead_letter,
    }
}

/// Checks that a group exists, and that executions take time at all.
fn check_group(
    group: Option<&str>,
    mode: DeliveryMode,
    rules: &Rules,
    faults: &mut Vec<FieldFault>,
) {
    let Some(name) = group else { return };
    let unknown = || "is no group; group.list has all".to_owned();
    let none = || (rules.groups.get(name).is_none()).then(unknown);
    let reason = match mode.takes_time() {
        true => not_a_name(name).or_else(none),
        false => {
            Some("is for the modes request and job: in others nothing stays under way".to_owned())
        }
    };
    faults.extend(reason.map(|reason| FieldFault::new("group", reason)));
}

/// A text, unless it is empty.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// A number that is checked to be small, unless it is 0.
fn few(number: u32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}
