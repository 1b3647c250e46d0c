//! One execution with all attempts at its occurrence.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::execution::Execution;
use crate::stored::write_behind;

/// Bytes of a reply reserved for everything around the executions.
const RESERVE: usize = 16 * 1024;
/// Field added to those of an execution.
const ATTEMPTS: &str = "attempts";

/// An execution, as its latest event shows it, and the attempts at the same occurrence.
#[derive(Clone, Debug, JsonSchema)]
pub struct ExecutionStory {
    /// The execution.
    #[serde(flatten)]
    pub execution: Execution,
    /// All attempts at its occurrence that the history holds, itself included, by number. Payloads and replies are left
    /// out if the reply would otherwise be too large.
    pub attempts: Vec<Execution>,
}

impl ExecutionStory {
    /// Builds a story that fits into a reply of `max_bytes`, provided that the execution itself does.
    pub(crate) fn new(
        execution: Execution,
        mut attempts: Vec<Execution>,
        max_bytes: usize,
    ) -> Self {
        let size = |e: &Execution| serde_json::to_vec(e).map_or(0, |json| json.len() + 1);
        let total: usize = size(&execution) + attempts.iter().map(size).sum::<usize>();
        if total + RESERVE > max_bytes {
            attempts = attempts.iter().map(Execution::without_bodies).collect();
        }
        Self { execution, attempts }
    }
}

// A derived implementation would buffer raw JSON as a value, and could neither read nor write it.
impl Serialize for ExecutionStory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attempts =
            serde_json::value::to_raw_value(&self.attempts).map_err(serde::ser::Error::custom)?;
        write_behind(&self.execution, std::iter::once((ATTEMPTS, &*attempts)), serializer)
    }
}

impl<'de> Deserialize<'de> for ExecutionStory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut execution: Execution = Deserialize::deserialize(deserializer)?;
        let attempts = match execution.unknown.take(ATTEMPTS) {
            Some(json) => serde_json::from_str(json.get()).map_err(serde::de::Error::custom)?,
            None => Vec::new(),
        };
        Ok(Self { execution, attempts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn execution(payload: &str) -> Execution {
        let id = "01a20c7c-d0f8-89bf-ad19-85b2b92dabb2";
        let execution = json!({
            "id": id, "event_id": "e", "time": "2026-01-01T00:00:00Z", "schedule_id": id,
            "schedule_name": "n", "created_by": "c", "scheduled_for": "2026-01-01T00:00:00Z",
            "status": "success", "attempt_number": 1, "correlation_id": "c", "command_sent": "cmd.a",
            "command_payload": { "text": payload }, "lock_id": { "instance": id, "revision": 1 },
        });
        serde_json::from_str(&execution.to_string()).unwrap()
    }

    #[test]
    fn a_story_is_flat_and_read_back() {
        let story = ExecutionStory::new(execution("x"), vec![execution("x")], 1_000_000);
        let text = serde_json::to_string(&story).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["status"], "success");
        assert_eq!(value["command_payload"], json!({ "text": "x" }));
        assert_eq!(value["attempts"][0]["id"], value["id"]);
        let read: ExecutionStory = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn attempts_lose_their_bodies_where_they_would_not_fit() {
        let long = "x".repeat(50_000);
        let story = ExecutionStory::new(execution(&long), vec![execution(&long)], 100_000);
        assert!(story.execution.command_payload.is_some());
        assert!(story.attempts[0].command_payload.is_none() && story.attempts[0].truncated);
    }
}
