//! The words of the service's lists, as values of options.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::node::Node;

pub const STATUSES: [&str; 5] = ["active", "paused", "completed", "failed", "deleted"];
pub const TYPES: [&str; 5] = ["cron", "interval", "one_time", "immediate", "dependent"];
pub const ENDINGS: [&str; 3] = ["success", "failed", "cancelled"];
pub const SORTS: [&str; 6] =
    ["created_at", "-created_at", "name", "-name", "next_run_at", "-next_run_at"];
pub const OUTCOMES: [&str; 6] =
    ["running", "success", "failed", "skipped", "cancelled", "corrected"];
pub const CHANGES: [&str; 11] = [
    "created",
    "updated",
    "deleted",
    "restored",
    "paused",
    "resumed",
    "triggered",
    "backfilled",
    "failing",
    "overdue",
    "recovered",
];
pub const MODES: [&str; 4] = ["publish", "request", "job", "core"];

/// Takes one of these words, as the value that it stands for in requests.
pub fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value::<T>(serde_json::Value::String(word)))
}

/// The word that a value stands for in replies.
pub fn word(value: &impl Serialize) -> String {
    match Node::of(value) {
        Ok(Node::Text(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use nats_scheduler::client::{
        AuditEvent, DeliveryMode, Ending, ExecutionStatus, ScheduleType, Sort, Status,
    };

    use super::*;

    fn check<T: DeserializeOwned + Serialize>(words: &[&str]) {
        for word in words {
            let value: T = serde_json::from_value((*word).into()).unwrap();
            assert_eq!(super::word(&value), *word);
        }
    }

    #[test]
    fn the_service_knows_these_words() {
        check::<Status>(&STATUSES);
        check::<ScheduleType>(&TYPES);
        check::<Ending>(&ENDINGS);
        check::<Sort>(&SORTS);
        check::<ExecutionStatus>(&OUTCOMES);
        check::<AuditEvent>(&CHANGES);
        check::<DeliveryMode>(&MODES);
    }
}
