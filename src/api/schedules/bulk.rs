//! Many schedules in one request. Each item stands for itself: one that is refused stops no other, and
//! a crash in between leaves each done or not done. Sending the request again does the rest.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Reply, ScheduleView, Warning};
use super::super::{Api, Caller};
use super::filter::ScheduleFilter;
use super::lifecycle::{check_reason, pause};
use super::limit::SEEN_WITHIN;
use crate::index::Entry;
use crate::port::Nats;
use crate::schedule::{CreateSchedule, FieldFault, Schedule, Status, object_field, parse_fields};

/// Schedules created at once.
const CREATES: usize = 32;
/// Schedules changed at once.
const CHANGES: usize = 256;
/// Ids that a reply lists: with those refused it must fit a NATS message.
const MAX_LISTED: usize = 10_000;
/// Refused ids, with their errors, that a reply lists.
const MAX_REFUSED: usize = 500;
/// How often a long operation is logged.
const PROGRESS: usize = 5_000;

/// A request to create many schedules.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkCreate {
    /// Required: 1 to `MAX_BULK_OPERATIONS` requests as for one schedule.
    pub schedules: Option<Vec<BulkItem>>,
    /// Who creates those that do not say, where no header says so.
    pub created_by: Option<String>,
}

/// One request of many; it is read when its turn comes, so that its faults are its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BulkItem(Box<RawValue>);

impl From<&CreateSchedule> for BulkItem {
    fn from(request: &CreateSchedule) -> Self {
        Self(serde_json::value::to_raw_value(request).unwrap_or_default())
    }
}

/// A request to create one schedule; whatever else it is fails by itself.
impl JsonSchema for BulkItem {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BulkItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "anyOf": [generator.subschema_for::<CreateSchedule>(), true] })
    }
}

/// What became of a request to create many schedules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkCreated {
    /// How many were created.
    pub created: usize,
    /// How many were not.
    pub failed: usize,
    /// Ids of those that were created.
    pub schedule_ids: Vec<Uuid>,
    /// What became of each, in the order of the request.
    pub results: Vec<ItemResult>,
}

/// What became of one request of many: an id or an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ItemResult {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The schedule that was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<Uuid>,
    /// Why none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// What the caller should know although it was created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What is done to many schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Pause them.
    Pause,
    /// Resume them.
    Resume,
    /// Delete them.
    Delete,
}

/// A request to change many schedules: by their ids, or by what they have in common.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkOperation {
    /// Required.
    pub operation: Option<BulkAction>,
    /// 1 to `MAX_BULK_OPERATIONS` schedules; else `filter`.
    pub schedule_ids: Option<Vec<Uuid>>,
    /// However many match. Without `status` only those that the operation can change: `pause` takes
    /// active ones, `resume` paused ones, `delete` all that are not deleted.
    #[serde(deserialize_with = "object_field")]
    pub filter: Option<ScheduleFilter>,
    /// For `pause`: why, for people; at most 500 characters.
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
    /// For `delete`: whether their records go too; default false.
    pub hard_delete: Option<bool>,
    /// Only say what would be done; default false.
    pub dry_run: Option<bool>,
}

/// What became of a request to change many schedules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkOperated {
    /// What was done.
    pub operation: BulkAction,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// How many schedules were meant.
    pub matched: usize,
    /// How many were changed.
    pub succeeded: usize,
    /// How many were not.
    pub refused: usize,
    /// Those that were changed; the first 10,000 of them.
    pub success: Vec<Uuid>,
    /// Those that were not, and why; the first 500 of them.
    pub failed: Vec<ItemRefused>,
}

/// A schedule that was not changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ItemRefused {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Why.
    pub error: ApiError,
}

impl<N: Nats> Api<N> {
    /// Creates many schedules; each by itself, in no order but that of equal names.
    ///
    /// # Errors
    /// `invalid` for the request as a whole. What is wrong with an item is said with the item.
    pub async fn bulk_create(
        &self,
        request: BulkCreate,
        caller: &Caller,
    ) -> Result<Reply<BulkCreated>, ApiError> {
        let items = request.schedules.unwrap_or_default();
        self.check_count("schedules", items.len())?;
        let (mut results, mut requests, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            match self.read_item(item, request.created_by.as_ref()) {
                Ok(item) if names.insert((creator(&item, caller), item.name.clone())) => {
                    requests.push((index, item));
                }
                // The name may be free all the same, if the first with it is refused.
                Ok(item) => again.push((index, item)),
                Err(error) => results.push(self.refused_item(index, error, caller)),
            }
        }
        let create = |(index, item): (usize, CreateSchedule)| async move {
            // Each item of a request that is repeated is a repeated request.
            let message_id = caller.message_id.as_ref().map(|id| format!("{id}/{index}"));
            let of_item = Caller { message_id, ..caller.clone() };
            match self.create_schedule(item, &of_item).await {
                Ok(reply) => ItemResult::created(index, reply),
                Err(error) => self.refused_item(index, error, caller),
            }
        };
        let created = stream::iter(requests).map(create).buffer_unordered(CREATES);
        results.extend(created.collect::<Vec<_>>().await);
        for item in again {
            results.push(create(item).await);
        }
        results.sort_unstable_by_key(|result| result.index);
        let schedule_ids: Vec<_> = results.iter().filter_map(|r| r.schedule_id).collect();
        let (created, failed) = (schedule_ids.len(), results.len() - schedule_ids.len());
        Ok(Reply::new(BulkCreated { created, failed, schedule_ids, results }, caller))
    }

    /// Pauses, resumes or deletes many schedules. After the reply no occurrence of those that
    /// succeeded is claimed under the old state.
    ///
    /// # Errors
    /// `invalid` for the request as a whole. Why a schedule was not changed is said with the schedule.
    pub async fn bulk_operation(
        &self,
        request: BulkOperation,
        caller: &Caller,
    ) -> Result<Reply<BulkOperated>, ApiError> {
        let operation = self.check_operation(&request)?;
        let chosen = self.chosen(operation, &request).await?;
        let (matched, dry_run) = (chosen.len(), request.dry_run.unwrap_or(false));
        let actor = caller.actor();
        tracing::info!(?operation, matched, dry_run, performed_by = actor, "bulk operation");
        let (request, performed_by) = (&request, &actor);
        let mut done = stream::iter(chosen)
            .map(|(id, known)| async move {
                (id, self.operate(id, known, operation, request, performed_by, caller).await)
            })
            .buffered(CHANGES);
        let mut result = BulkOperated {
            operation,
            dry_run,
            matched,
            succeeded: 0,
            refused: 0,
            success: Vec::new(),
            failed: Vec::new(),
        };
        let mut claimed_until = None;
        while let Some((schedule_id, outcome)) = done.next().await {
            match outcome {
                Ok(claimed) => {
                    claimed_until = claimed_until.max(claimed);
                    result.succeeded += 1;
                    if result.success.len() < MAX_LISTED {
                        result.success.push(schedule_id);
                    }
                }
                Err(error) => {
                    result.refused += 1;
                    if result.failed.len() < MAX_REFUSED {
                        let error = error.told("bulk.operation", caller, &self.complaints);
                        result.failed.push(ItemRefused { schedule_id, error });
                    }
                }
            }
            let so_far = result.succeeded + result.refused;
            if so_far.is_multiple_of(PROGRESS) {
                tracing::info!(?operation, so_far, matched, "bulk operation under way");
            }
        }
        let waits = operation != BulkAction::Resume && !dry_run;
        let waited_ms = if waits {
            caller.permit.waits();
            Some(self.let_pass(claimed_until).await)
        } else {
            None
        };
        let (succeeded, refused) = (result.succeeded, result.refused);
        tracing::info!(?operation, succeeded, refused, dry_run, "bulk operation done");
        Ok(Reply { waited_ms, ..Reply::new(result, caller) })
    }

    fn refused_item(&self, index: usize, error: ApiError, caller: &Caller) -> ItemResult {
        let error = Some(error.told("bulk.create", caller, &self.complaints));
        ItemResult { index, schedule_id: None, error, warnings: Vec::new() }
    }

    fn check_count(&self, field: &str, count: usize) -> Result<(), ApiError> {
        let most = self.rules.limits.bulk_operations;
        if (1..=most).contains(&count) {
            return Ok(());
        }
        let reason = format!("must have 1 to {most} items (MAX_BULK_OPERATIONS), not {count}");
        Err(vec![FieldFault::new(field, reason)].into())
    }

    fn read_item(
        &self,
        item: &BulkItem,
        created_by: Option<&String>,
    ) -> Result<CreateSchedule, ApiError> {
        let mut request = parse_fields::<CreateSchedule>(item.0.get().as_bytes())
            .map_err(|unread| ApiError::unread(self, unread))?;
        request.created_by = request.created_by.or_else(|| created_by.cloned());
        Ok(request)
    }

    fn check_operation(&self, request: &BulkOperation) -> Result<BulkAction, ApiError> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, reason: &str| faults.push(FieldFault::new(field, reason));
        if request.operation.is_none() {
            fault("operation", "is required: pause, resume or delete");
        }
        match (&request.schedule_ids, &request.filter) {
            (Some(_), Some(_)) => fault("filter", "cannot stand beside schedule_ids"),
            (None, None) => fault("schedule_ids", "is required, or filter"),
            (None, Some(filter)) if !filter.names_something() => {
                fault("filter", "must name something that the schedules have in common");
            }
            (None, Some(filter)) => faults.extend(
                filter
                    .faults()
                    .map(|fault| FieldFault::new(format!("filter.{}", fault.field), fault.reason)),
            ),
            _ => {}
        }
        let mut fault = |field: &str, reason: &str| faults.push(FieldFault::new(field, reason));
        let operation = request.operation;
        if request.reason.is_some() && operation.is_some_and(|o| o != BulkAction::Pause) {
            fault("reason", "belongs to operation pause");
        }
        if request.hard_delete.is_some() && operation.is_some_and(|o| o != BulkAction::Delete) {
            fault("hard_delete", "belongs to operation delete");
        }
        let checks = [
            check_reason(request.reason.as_deref()),
            request
                .schedule_ids
                .as_ref()
                .map_or(Ok(()), |ids| self.check_count("schedule_ids", ids.len())),
        ];
        for error in checks.into_iter().filter_map(Result::err) {
            faults.extend(error.details);
        }
        operation.filter(|_| faults.is_empty()).ok_or_else(|| ApiError::invalid(faults))
    }

    /// The schedules that are meant, each once, with what is known of those that a filter found: by every
    /// change that was answered before.
    async fn chosen(
        &self,
        operation: BulkAction,
        request: &BulkOperation,
    ) -> Result<Vec<(Uuid, Option<Arc<Entry>>)>, ApiError> {
        if let Some(ids) = &request.schedule_ids {
            let mut seen = HashSet::new();
            return Ok(ids.iter().filter(|id| seen.insert(**id)).map(|id| (*id, None)).collect());
        }
        if !self.has_caught_up(SEEN_WITHIN).await? {
            return Err(ApiError::behind());
        }
        let mut filter = request.filter.clone().unwrap_or_default();
        filter.status = filter.status.or(match operation {
            BulkAction::Pause => Some(Status::Active),
            BulkAction::Resume => Some(Status::Paused),
            BulkAction::Delete => None,
        });
        // A filter looks at every schedule, in which time this thread does nothing else.
        let mut found = block_in_place(|| self.index.select(&filter));
        found.sort_unstable_by_key(|entry| entry.schedule.id);
        Ok(found.into_iter().map(|entry| (entry.schedule.id, Some(entry))).collect())
    }

    /// Changes one schedule; returns until when occurrences of it are claimed.
    async fn operate(
        &self,
        id: Uuid,
        known: Option<Arc<Entry>>,
        operation: BulkAction,
        request: &BulkOperation,
        actor: &str,
        caller: &Caller,
    ) -> Result<Option<DateTime<Utc>>, ApiError> {
        let (author, reason) = (caller.author(actor), request.reason.as_deref());
        let hard_delete = request.hard_delete.unwrap_or(false);
        if request.dry_run.unwrap_or(false) {
            let mut schedule = match known {
                Some(entry) => Schedule::clone(&entry.schedule),
                None => self.read_schedule(id).await?.0,
            };
            if schedule.status == Status::Deleted && !hard_delete {
                return Err(ApiError::no_schedule(id));
            }
            match operation {
                BulkAction::Pause => drop(pause(&mut schedule, self.clock.now(), reason, actor)?),
                BulkAction::Resume => drop(self.resume(&mut schedule, self.clock.now(), actor)?),
                BulkAction::Delete => {}
            }
            return Ok(None);
        }
        let changed = match operation {
            BulkAction::Pause => {
                let change = |schedule: &mut Schedule, now| pause(schedule, now, reason, actor);
                Some(self.change(id, None, author, known, change).await?)
            }
            BulkAction::Resume => {
                let change = |schedule: &mut Schedule, now| self.resume(schedule, now, actor);
                Some(self.change(id, None, author, known, change).await?)
            }
            BulkAction::Delete => self.delete(id, hard_delete, None, author, known).await?,
        };
        Ok(changed.filter(|_| operation != BulkAction::Resume).and_then(|s| s.claimed_until()))
    }
}

fn creator(item: &CreateSchedule, caller: &Caller) -> Option<String> {
    caller.actor.clone().or_else(|| item.created_by.clone())
}

impl ItemResult {
    fn created(index: usize, reply: Reply<ScheduleView>) -> Self {
        let (schedule_id, warnings) = (Some(reply.data.id), reply.warnings);
        Self { index, schedule_id, error: None, warnings }
    }
}
