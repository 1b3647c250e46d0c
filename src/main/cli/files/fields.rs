//! Fields of a schedule as people write them, checked before a request is made of them.

use std::sync::LazyLock;

use nats_scheduler::client::{CreateSchedule, FieldFault};
use nats_scheduler::schedule::{parse_fields, unknown_name};

use crate::cli::node::Node;

/// Singular and plural by which messages call fields. The service's words differ: its requests have more fields.
const FIELD: (&str, &str) = ("field of a schedule", "fields");
/// A field of requests to create one.
const OF_REQUESTS: &str = "idempotency_key";

/// The fields that a file may have.
static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = schemars::schema_for!(CreateSchedule);
    let fields = schema.get("properties").and_then(|fields| fields.as_object());
    let names = fields.into_iter().flat_map(|fields| fields.keys().cloned());
    names.filter(|name| name != OF_REQUESTS).collect()
});

/// What is wrong with the form of a schedule's fields, each with its reason.
pub fn faults(schedule: &Node) -> Vec<FieldFault> {
    let Err(unread) = parse_fields::<CreateSchedule>(schedule.to_string().as_bytes()) else {
        return Vec::new();
    };
    let mut listed = false;
    let own = |fault: FieldFault| {
        let whole = fault.field.split(['.', '[']).next().unwrap_or_default();
        if KNOWN.iter().any(|name| name == whole) || whole == OF_REQUESTS || whole == "body" {
            return fault;
        }
        let all = !std::mem::replace(&mut listed, true);
        let reason = unknown_name(&fault.field, FIELD, KNOWN.iter().map(String::as_str), all);
        FieldFault::new(fault.field, reason)
    };
    unread.faults.into_iter().map(own).collect()
}
