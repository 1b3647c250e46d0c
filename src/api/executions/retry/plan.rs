//! The check of a request to run many executions again.

use serde::{Deserialize, Serialize};

use super::super::super::error::ApiError;
use super::super::super::schedules::{check_limit, check_run};
use super::super::super::{Caller, cursor};
use super::super::{check_statuses, check_texts, statuses};
use super::{BulkRetry, ExecutionFilter, Retry};
use crate::execution::ExecutionStatus;
use crate::schedule::FieldFault;

/// Executions taken up by default, before the reply.
pub(crate) const RETRIED_BY_DEFAULT: u64 = 100;
/// Maximum number of executions taken up before the reply.
pub(super) const MAX_AT_ONCE: u64 = 1000;
/// Maximum number of executions taken up in the background, and the default there.
const MAX_IN_BACKGROUND: u64 = 1_000_000;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The last place of the history that was looked at.
    pub(super) after: u64,
    /// The last place that it is about: what the retries add comes later.
    pub(super) until: u64,
}

/// A checked request.
pub(super) struct Plan<'a> {
    pub(super) filter: &'a ExecutionFilter,
    pub(super) retry: Retry<'a>,
    pub(super) limit: u64,
    pub(super) dry_run: bool,
    pub(super) in_background: bool,
    pub(super) key: Option<&'a String>,
}

pub(super) fn check<'a>(
    request: &'a BulkRetry,
    caller: &'a Caller,
) -> Result<(Plan<'a>, Option<Cursor>), ApiError> {
    let mut faults = check_run(None, None, request.idempotency_key.as_deref());
    match &request.filter {
        None => faults.push(FieldFault::new("filter", "is required")),
        Some(filter) => faults.extend(filter.faults()),
    }
    let in_background = request.in_background.unwrap_or(false);
    let (default, max) = match in_background {
        true => (MAX_IN_BACKGROUND, MAX_IN_BACKGROUND),
        false => (RETRIED_BY_DEFAULT, MAX_AT_ONCE),
    };
    let limit = check_limit(request.limit, default, max, &mut faults);
    let cursor = request.cursor.as_deref().map(cursor::read::<Cursor>);
    if cursor == Some(None) {
        faults.push(FieldFault::new("cursor", "is not one that a reply gave"));
    }
    if in_background && request.cursor.is_some() && request.dry_run != Some(true) {
        faults.push(FieldFault::new("cursor", "cannot stand beside in_background"));
    }
    let Some(filter) = request.filter.as_ref().filter(|_| faults.is_empty()) else {
        return Err(faults.into());
    };
    let plan = Plan {
        filter,
        retry: Retry { payload: request.payload.unwrap_or_default(), override_payload: None },
        limit: limit as u64,
        in_background,
        dry_run: request.dry_run.unwrap_or(false),
        key: request.idempotency_key.as_ref().or(caller.message_id.as_ref()),
    };
    Ok((plan, cursor.flatten()))
}

impl ExecutionFilter {
    /// The statuses that are looked for.
    pub(super) fn statuses(&self) -> Vec<ExecutionStatus> {
        match statuses(self.status, self.statuses.as_deref()) {
            none if none.is_empty() => vec![ExecutionStatus::Failed],
            named => named,
        }
    }

    fn faults(&self) -> Vec<FieldFault> {
        let texts = [
            ("filter.error_type", &self.error_type),
            ("filter.command_sent", &self.command_sent),
            ("filter.tag", &self.tag),
            ("filter.target_command", &self.target_command),
        ];
        let mut faults = check_texts(&texts);
        let several = self.statuses.as_deref();
        for (field, named) in [
            ("filter.status", statuses(self.status, None)),
            ("filter.statuses", statuses(None, several)),
        ] {
            if named.contains(&ExecutionStatus::Running) {
                faults.push(FieldFault::new(field, "must be that of an ended execution"));
            }
        }
        faults.extend(check_statuses(self.status, several, "filter.statuses"));
        for (field, from, to, last) in [
            ("filter.from", self.from, self.to, "to"),
            ("filter.scheduled_from", self.scheduled_from, self.scheduled_to, "scheduled_to"),
        ] {
            if from.zip(to).is_some_and(|(from, to)| from > to) {
                faults.push(FieldFault::new(field, format!("must not be later than {last}")));
            }
        }
        let named = !statuses(self.status, several).is_empty() || self.schedule_id.is_some();
        let times = [self.from, self.to, self.scheduled_from, self.scheduled_to];
        let named = named || times.iter().any(Option::is_some);
        if !named && texts.iter().all(|(_, text)| text.is_none()) {
            let reason = "must name something that the executions have in common";
            faults.push(FieldFault::new("filter", reason));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fields_at_fault(request: &Value) -> Vec<String> {
        let request: BulkRetry = serde_json::from_value(request.clone()).unwrap();
        match check(&request, &Caller::anonymous()) {
            Ok(_) => Vec::new(),
            Err(error) => error.details.into_iter().map(|fault| fault.field).collect(),
        }
    }

    #[test]
    fn each_fault_of_a_request_for_many_is_named() {
        for (request, fields) in [
            (json!({}), &["filter"][..]),
            (json!({ "filter": {} }), &["filter"]),
            (json!({ "filter": { "status": "failed" } }), &[]),
            (json!({ "filter": { "status": "running" } }), &["filter.status"]),
            (json!({ "filter": { "statuses": ["failed", "cancelled"] } }), &[]),
            (json!({ "filter": { "statuses": [] } }), &["filter"]),
            (
                json!({ "filter": { "status": "failed", "statuses": ["failed", "running"] } }),
                &["filter.statuses", "filter.statuses"],
            ),
            (json!({ "filter": { "error_type": "" } }), &[]),
            (json!({ "filter": { "error_type": "x".repeat(256) } }), &["filter.error_type"]),
            (json!({ "filter": { "command_sent": "" } }), &["filter.command_sent"]),
            (json!({ "filter": { "scheduled_to": "2026-01-02T00:00:00Z" } }), &[]),
            (
                json!({ "filter": { "scheduled_from": "2026-01-02T00:00:00Z",
                                    "scheduled_to": "2026-01-01T00:00:00Z" } }),
                &["filter.scheduled_from"],
            ),
            (json!({ "filter": { "tag": "x".repeat(256) } }), &["filter.tag"]),
            (
                json!({ "filter": { "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" } }),
                &["filter.from"],
            ),
            (
                json!({ "filter": { "target_command": "cmd.a" }, "limit": 1001, "cursor": "x",
                        "idempotency_key": " " }),
                &["idempotency_key", "limit", "cursor"],
            ),
            (
                json!({ "filter": { "tag": "a" }, "in_background": true, "limit": 1_000_001 }),
                &["limit"],
            ),
        ] {
            assert_eq!(fields_at_fault(&request), fields, "{request}");
        }
    }

    #[test]
    fn a_cursor_is_read_back() {
        let cursor = Cursor { after: 7, until: u64::MAX };
        assert_eq!(cursor::read(&cursor::text(&cursor)), Some(cursor));
        assert_eq!(cursor::read::<Cursor>("e30"), None);
    }
}
