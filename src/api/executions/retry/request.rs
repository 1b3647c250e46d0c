//! The request to run many ended executions again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::super::Checked;
use super::super::super::schedules::Named;
use super::{ExecutionFilter, RetryPayload};
use crate::schedule::object_field;

/// A request to run many ended executions again, oldest first.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkRetry {
    /// Required: at least one condition.
    #[serde(deserialize_with = "object_field")]
    pub filter: Option<ExecutionFilter>,
    /// Which payload is sent; default `own`.
    pub payload: Option<RetryPayload>,
    /// How many executions to take up or refuse: 1 to 1000, default 100; with `in_background` up to 1000000, which is the
    /// default.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: Option<u64>,
    /// `next_cursor` of an earlier reply, with the same filter: goes on where that one ended.
    pub cursor: Option<String>,
    /// Only report what would be done, with the first 1000; default false.
    pub dry_run: Option<bool>,
    /// Store the request and reply at once: the service takes the executions up as their schedules have room, and
    /// `rerun.get` shows how far it has come. Default false.
    pub in_background: Option<bool>,
    /// Makes the request safe to repeat: within a day the same key of the same user runs each execution once, and
    /// with `in_background` it finds the same rerun until a week after its end. The header `Nats-Msg-Id` does the same.
    #[schemars(length(min = 1, max = 255))]
    pub idempotency_key: Option<String>,
}

impl Checked for BulkRetry {
    fn named(&mut self) -> Vec<Named<'_>> {
        let Some(filter) = &mut self.filter else { return Vec::new() };
        let ExecutionFilter { schedule_id, schedule_name, creator, .. } = filter;
        vec![Named::live(schedule_id, schedule_name, creator).within("filter.")]
    }
}
