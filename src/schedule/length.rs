//! Checks how long the texts are that users write.

use super::FieldFault;

/// Checks a description for people.
pub(super) fn check_description(text: Option<&str>, faults: &mut Vec<FieldFault>) {
    check_length("description", text, 0, 1000, faults);
}

/// Checks a text, if it is given: its length in characters, and that it has none that control a terminal.
pub(super) fn check_length(
    field: &str,
    text: Option<&str>,
    least: usize,
    most: usize,
    faults: &mut Vec<FieldFault>,
) {
    let Some(text) = text else { return };
    if !(least..=most).contains(&text.chars().count()) {
        faults.push(FieldFault::new(field, format!("must have {least} to {most} characters")));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        faults.push(FieldFault::new(field, "must not contain control characters"));
    }
}
