//! Checks of single fields.

use super::*;

pub(super) fn check_delivery(delivery: &Delivery, faults: &mut Vec<FieldFault>) {
    let is_job = delivery.mode == DeliveryMode::Job;
    let (most, timeout) = (if is_job { 86_400 } else { 3600 }, delivery.timeout_seconds);
    check_number("delivery.timeout_seconds", Some(timeout.into()), 1, most, 30, faults);
    let heartbeat = delivery.heartbeat_seconds.map(u64::from);
    check_number("delivery.heartbeat_seconds", heartbeat, 1, 3600, 1, faults);
    if heartbeat.is_some() && !is_job {
        faults.push(FieldFault::new("delivery.heartbeat_seconds", "belongs to mode job"));
    }
}

pub(super) fn required_text(
    field: &str,
    text: Option<&str>,
    most: usize,
    faults: &mut Vec<FieldFault>,
) -> Option<String> {
    if text.is_none() {
        faults.push(FieldFault::new(field, "is required"));
    }
    check_length(field, text, 1, most, faults);
    text.map(str::to_owned)
}

pub(super) fn check_number(
    field: &str,
    value: Option<u64>,
    least: u32,
    most: u32,
    default: u32,
    faults: &mut Vec<FieldFault>,
) -> u32 {
    let Some(value) = value else { return default };
    match u32::try_from(value) {
        Ok(value) if (least..=most).contains(&value) => value,
        _ => {
            faults.push(FieldFault::new(field, format!("must be {least} to {most}")));
            default
        }
    }
}

pub(super) fn check_target(
    field: &str,
    text: Option<&str>,
    rules: &Rules,
    faults: &mut Vec<FieldFault>,
) -> Option<Target> {
    let Some(text) = text else {
        faults.push(FieldFault::new(field, "is required"));
        return None;
    };
    match Target::parse(text) {
        Err(reason) => {
            faults.push(FieldFault::new(field, reason));
            None
        }
        Ok(target) if !TargetPattern::any_allows(&rules.allowed_targets, &target) => {
            let patterns: Vec<_> =
                rules.allowed_targets.iter().map(TargetPattern::as_str).collect();
            let reason = format!(
                "is not in the allow-list (ALLOWED_TARGET_COMMANDS): {}",
                patterns.join(", ")
            );
            faults.push(FieldFault::new(field, reason));
            None
        }
        Ok(target) => Some(target),
    }
}

pub(super) fn check_tags(tags: Vec<String>, faults: &mut Vec<FieldFault>) -> Vec<String> {
    if tags.len() > MAX_TAGS {
        faults.push(FieldFault::new("tags", format!("must have at most {MAX_TAGS} items")));
        return tags;
    }
    for (index, tag) in tags.iter().enumerate() {
        check_length(&format!("tags[{index}]"), Some(tag), 1, 100, faults);
        if tags[..index].contains(tag) {
            faults.push(FieldFault::new(format!("tags[{index}]"), "is given twice"));
        }
    }
    tags
}
