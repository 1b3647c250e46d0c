//! White space at the ends of texts that identify things.

use super::super::{FieldFault, MAX_TAGS};
use crate::schedule::length::check_length;

/// Refuses white space at the ends of a text, and texts of white space alone: it is invisible, some clients
/// cut it off, and then two names look the same. Records that have it go on as they are.
pub(crate) fn check_edges(field: &str, text: Option<&str>, faults: &mut Vec<FieldFault>) {
    let Some(text) = text.filter(|text| text.trim() != *text) else { return };
    let reason = match text.trim() {
        "" => "must not be white space only",
        _ => "must not begin or end with white space",
    };
    faults.push(FieldFault::new(field, reason));
}

/// Checks a name of somebody, or a key: 1 to 255 characters on one line.
pub(crate) fn check_id(field: &str, text: Option<&str>, faults: &mut Vec<FieldFault>) {
    check_length(field, text, 1, 255, faults);
    check_edges(field, text, faults);
}

/// Refuses white space at the ends of new tags.
pub(super) fn check_tag_edges(tags: &[String], old: &[String], faults: &mut Vec<FieldFault>) {
    for (index, tag) in tags.iter().take(MAX_TAGS).enumerate().filter(|(_, t)| !old.contains(t)) {
        check_edges(&format!("tags[{index}]"), Some(tag), faults);
    }
}
