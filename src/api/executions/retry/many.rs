//! Running many ended executions again. Each stands alone: a refused one stops no other.
//!
//! They are taken up part by part; those of one schedule one after the other, since they change one record. A crash in
//! between leaves each taken up or not. With a key, each execution has a key of its own, derived from it: sending the
//! request again takes up only what is missing, see [`Api::run`].

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::super::error::ApiError;
use super::super::super::reply::Reply;
use super::super::super::schedules::Key;
use super::super::super::{Api, Caller, cursor};
use super::super::millis_up;
use super::plan::{Cursor, MAX_AT_ONCE, Plan, check};
use super::{BulkRetry, ExecutionFilter, TakenUp, asked};
use crate::execution::Execution;
use crate::history_index::Filter;
use crate::jetstream::history::{command_header, error_header};
use crate::port::Nats;

/// Executions looked at in one go; their payloads are in memory meanwhile.
const PART: usize = 64;

/// Result of a request to run many executions again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BulkRetried {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Number of executions that match.
    pub matched: u64,
    /// Number of executions that were taken up, or would be.
    pub retried: usize,
    /// Number of executions that were not taken up.
    pub refused: usize,
    /// Number of executions that were passed over, because another attempt followed or the history has dropped them.
    pub passed_over: usize,
    /// What became of each that was taken up or refused, oldest first.
    pub results: Vec<RetriedItem>,
    /// The stored request, if it was made `in_background`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_id: Option<Uuid>,
    /// Where to go on, if more match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What became of one execution.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RetriedItem {
    /// The execution that is run again.
    pub retry_of: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// The new execution, if it was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Uuid>,
    /// In a dry run: the subject that its command would be sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_command: Option<String>,
    /// Whether an earlier request with the same key took it up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Why it was not taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

impl<N: Nats> Api<N> {
    /// Runs executions that match a filter again, oldest first, up to a limit. What was taken up when the reply is sent
    /// runs, even if every instance is killed immediately afterwards.
    ///
    /// # Errors
    /// `invalid` for the request as a whole, `unavailable`. The reason why an execution was not taken up is listed with
    /// it.
    pub async fn bulk_retry(
        &self,
        request: BulkRetry,
        caller: &Caller,
    ) -> Result<Reply<BulkRetried>, ApiError> {
        let (plan, cursor) = check(&request, caller)?;
        if plan.in_background && !plan.dry_run {
            return self.store_rerun(&plan, caller).await;
        }
        let until = self.history.catch_up().await?;
        let mut cursor = cursor.unwrap_or(Cursor { after: 0, until });
        let choice = self.choice(plan.filter).await?;
        let mut result = BulkRetried { dry_run: plan.dry_run, ..BulkRetried::default() };
        let actor = caller.actor();
        let (filter, dry_run) = (plan.filter, plan.dry_run);
        let limit = usize::try_from(plan.limit.min(MAX_AT_ONCE)).unwrap_or(usize::MAX);
        tracing::info!(?filter, limit, dry_run, triggered_by = actor, "bulk retry");
        loop {
            let part = PART.min(limit - result.results.len());
            let (chosen, found) =
                self.history.chosen(&choice, cursor.until, cursor.after, part).await?;
            result.matched = chosen.total;
            cursor.after = chosen.places.last().copied().unwrap_or(cursor.until);
            let looked_at = found.len();
            let found: Vec<_> = found.into_iter().flatten().filter(|e| !e.will_retry).collect();
            result.passed_over += looked_at - found.len();
            result.results.extend(self.retry_part(found, &plan, caller).await);
            if chosen.left == 0 || result.results.len() >= limit {
                result.next_cursor = (chosen.left > 0).then(|| cursor::text(&cursor));
                break;
            }
        }
        result.refused = result.results.iter().filter(|item| item.error.is_some()).count();
        result.retried = result.results.len() - result.refused;
        let BulkRetried { matched, retried, refused, .. } = result;
        tracing::info!(matched, retried, refused, dry_run, "bulk retry done");
        Ok(Reply::new(result, caller))
    }

    /// What a filter means in the history.
    pub(super) async fn choice(&self, filter: &ExecutionFilter) -> Result<Filter, ApiError> {
        Ok(Filter {
            schedule: filter.schedule_id,
            schedules: self.of_kind(filter.tag.as_ref(), filter.target_command.as_ref()).await?,
            statuses: filter.statuses(),
            error: filter.error_type.as_deref().map(error_header),
            command: filter.command_sent.as_deref().map(command_header),
            scheduled_from_ms: filter.scheduled_from.map(|at| at.timestamp_millis()),
            scheduled_to_ms: filter.scheduled_to.map(|at| at.timestamp_millis()),
            started_from_ms: filter.from.map(millis_up),
            started_to_ms: filter.to.map(|to| to.timestamp_millis()),
        })
    }

    /// Takes up some executions: those of one schedule one after the other, the schedules at once.
    async fn retry_part(
        &self,
        executions: Vec<Execution>,
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> Vec<RetriedItem> {
        let schedules = by_schedule(executions.into_iter().enumerate());
        let done = stream::iter(schedules).map(|executions| async move {
            let mut done = Vec::with_capacity(executions.len());
            for (index, execution) in executions {
                done.push((index, self.retry_one(&execution, plan, caller).await));
            }
            done
        });
        let mut done = done.buffer_unordered(PART).collect::<Vec<_>>().await.concat();
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, item)| item).collect()
    }

    async fn retry_one(
        &self,
        execution: &Execution,
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> RetriedItem {
        let (retry_of, schedule_id) = (execution.id, execution.schedule_id);
        let mut item = RetriedItem {
            retry_of,
            schedule_id,
            execution_id: None,
            target_command: None,
            repeated: false,
            error: None,
        };
        let done = match plan.dry_run {
            true => self.check_retry(execution, &plan.retry, caller).await.map(|would| {
                item.target_command = Some(would.spec.target_command.as_str().to_owned());
            }),
            false => self.retry_in(execution, plan, caller).await.map(|taken| {
                item.execution_id = Some(taken.execution_id);
                item.repeated = taken.repeated;
            }),
        };
        let told = |error: ApiError| error.told("bulk.retry", caller, &self.complaints);
        item.error = done.err().map(told);
        item
    }

    async fn retry_in(
        &self,
        execution: &Execution,
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> Result<TakenUp, ApiError> {
        let key = plan.key.map(|key| Key {
            user: caller.actor(),
            text: format!("{key}/{}", execution.id),
            request: asked(execution.id, &plan.retry),
        });
        self.take_up(execution, &plan.retry, key, 0, caller).await
    }
}

/// Executions with their places, by schedule; not in the order of a hash map, so that a simulated run can be repeated.
pub(super) fn by_schedule(
    executions: impl IntoIterator<Item = (usize, Execution)>,
) -> impl Iterator<Item = Vec<(usize, Execution)>> {
    let mut schedules: BTreeMap<Uuid, Vec<(usize, Execution)>> = BTreeMap::new();
    for (index, execution) in executions {
        schedules.entry(execution.schedule_id).or_default().push((index, execution));
    }
    schedules.into_values()
}
