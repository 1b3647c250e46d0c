//! Operations on many schedules in one request. Each item stands alone: a refused one stops no other, and a crash in
//! between leaves each done or not done. Sending the request again does the rest.

mod apply;
mod create;
mod dry_run;
mod item;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, Warning};
use super::super::{Api, Caller};
use super::advice::{OfMany, time_over};
use super::filter::ScheduleFilter;
use super::lifecycle::Pausing;
use super::named::Named;
use crate::index::Entry;
use crate::port::Nats;
use crate::schedule::{FieldFault, Schedule, Status, object_field};
pub use apply::{AppliedItem, BulkApplied, BulkApply, Prune};
pub use create::{BulkCreate, BulkCreated, ItemResult};
pub use item::BulkItem;

/// Schedules changed at once.
const CHANGES: usize = 256;
/// Maximum number of ids listed in a reply, which must fit into a NATS message together with the refused ones.
const MAX_LISTED: usize = 10_000;
/// Maximum number of refused ids, with their errors, listed in a reply.
const MAX_REFUSED: usize = 500;
/// Number of items between progress lines in the log.
const PROGRESS: usize = 5_000;

/// What to do to many schedules.
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

/// A request to change many schedules: by their ids, or by a filter.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkOperation {
    /// Required.
    pub operation: Option<BulkAction>,
    /// 1 to `MAX_BULK_OPERATIONS` schedules; otherwise give `schedule_names` or `filter`.
    pub schedule_ids: Option<Vec<Uuid>>,
    /// The same by their names, all of one creator.
    pub schedule_names: Option<Vec<String>>,
    /// With `schedule_names`: the creator of those schedules; default: who asks, by the header.
    #[schemars(length(min = 1, max = 255))]
    pub creator: Option<String>,
    /// Selects schedules, however many match. Without `status` only those that the operation can change: `pause` takes
    /// active ones, `resume` paused ones, `delete` all that are not deleted.
    #[serde(deserialize_with = "object_field")]
    pub filter: Option<ScheduleFilter>,
    /// For `pause`: the reason, for people; at most 500 characters.
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
    /// For `pause`: when they are resumed by themselves; default: never.
    #[serde(deserialize_with = "crate::schedule::instant_field")]
    pub resume_at: Option<DateTime<Utc>>,
    /// For `delete`: whether their records are removed too; default false.
    pub hard_delete: Option<bool>,
    /// Only report what would be done; default false.
    pub dry_run: Option<bool>,
}

/// Result of a request to change many schedules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkOperated {
    /// What was done.
    pub operation: BulkAction,
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Number of schedules that were selected, and of names that no schedule has.
    pub matched: usize,
    /// Number of schedules that were changed.
    pub succeeded: usize,
    /// Number of schedules that were not changed, and of names that no schedule has.
    pub refused: usize,
    /// The changed schedules; the first 10,000 of them.
    pub success: Vec<Uuid>,
    /// The schedules that were not changed, and why; the first 500 of them.
    pub failed: Vec<ItemRefused>,
    /// The names of the request that no schedule has; the first 500 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<NameUnknown>,
}

/// A schedule that was not changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ItemRefused {
    /// The schedule.
    pub schedule_id: Uuid,
    /// The reason.
    pub error: ApiError,
}

/// A name of a request that no schedule has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NameUnknown {
    /// The name.
    pub schedule_name: String,
    /// What is said of it, with similar names.
    pub error: ApiError,
}

/// The schedules that a request selects.
struct Chosen {
    /// Each with its entry, where that is known.
    schedules: Vec<(Uuid, Option<Arc<Entry>>)>,
    /// Names that nothing has.
    unknown: Vec<NameUnknown>,
}

impl Chosen {
    fn new(schedules: Vec<(Uuid, Option<Arc<Entry>>)>) -> Self {
        Self { schedules, unknown: Vec::new() }
    }
}

impl<N: Nats> Api<N> {
    /// Pauses, resumes or deletes many schedules. After the reply, no occurrence of those that succeeded is claimed
    /// under the old state.
    ///
    /// # Errors
    /// `invalid` for the request as a whole. The reason why a schedule was not changed is listed with that schedule.
    pub async fn bulk_operation(
        &self,
        request: BulkOperation,
        caller: &Caller,
    ) -> Result<Reply<BulkOperated>, ApiError> {
        let actor = caller.actor();
        let (operation, pausing) = self.check_operation(&request, &actor, caller)?;
        if let Some(foreseen) = self.foreseen(operation, &request, caller).await? {
            return Ok(Reply::new(foreseen, caller));
        }
        let Chosen { schedules: chosen, unknown } =
            self.chosen(operation, &request, caller).await?;
        let matched = chosen.len() + unknown.len();
        let dry_run = request.dry_run.unwrap_or(false);
        tracing::info!(?operation, matched, dry_run, performed_by = actor, "bulk operation");
        let (request, pausing) = (&request, &pausing);
        let mut done = stream::iter(chosen)
            .map(|(id, known)| async move {
                (id, self.operate(id, known, operation, request, pausing, caller).await)
            })
            .buffered(CHANGES);
        let mut result = BulkOperated {
            operation,
            dry_run,
            matched,
            succeeded: 0,
            refused: unknown.len(),
            success: Vec::new(),
            failed: Vec::new(),
            unknown: unknown.into_iter().take(MAX_REFUSED).collect(),
        };
        let (mut claimed_until, mut warnings) = (None, OfMany::default());
        while let Some((schedule_id, outcome)) = done.next().await {
            match outcome {
                Ok((claimed, warning)) => {
                    claimed_until = claimed_until.max(claimed);
                    warnings.add(schedule_id, warning);
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
        Ok(Reply { waited_ms, warnings: warnings.told(), ..Reply::new(result, caller) })
    }

    pub(super) fn check_count(&self, field: &str, count: usize) -> Result<(), ApiError> {
        let most = self.rules.limits.bulk_operations;
        if (1..=most).contains(&count) {
            return Ok(());
        }
        let reason = format!("must have 1 to {most} items (MAX_BULK_OPERATIONS), not {count}");
        Err(vec![FieldFault::new(field, reason)].into())
    }

    fn check_operation<'a>(
        &self,
        request: &'a BulkOperation,
        actor: &'a str,
        caller: &Caller,
    ) -> Result<(BulkAction, Pausing<'a>), ApiError> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, reason: &str| faults.push(FieldFault::new(field, reason));
        if request.operation.is_none() {
            fault("operation", "is required: pause, resume or delete");
        }
        if request.creator.is_some() && request.schedule_names.is_none() {
            fault("creator", "says who created schedule_names, which are not given");
        }
        match (&request.schedule_ids, &request.schedule_names, &request.filter) {
            (Some(_), Some(_), _) => fault("schedule_names", "cannot stand beside schedule_ids"),
            (Some(_), _, Some(_)) => fault("filter", "cannot stand beside schedule_ids"),
            (_, Some(_), Some(_)) => fault("filter", "cannot stand beside schedule_names"),
            (None, None, None) => fault("schedule_ids", "is required, or schedule_names or filter"),
            (None, None, Some(filter)) if !filter.names_something() => {
                fault("filter", "must name something that the schedules have in common");
            }
            (None, None, Some(filter)) => faults.extend(
                filter
                    .faults()
                    .map(|fault| FieldFault::new(format!("filter.{}", fault.field), fault.reason)),
            ),
            _ => {}
        }
        let mut fault = |field: &str, reason: &str| faults.push(FieldFault::new(field, reason));
        let operation = request.operation;
        let pauses =
            [("reason", request.reason.is_some()), ("resume_at", request.resume_at.is_some())];
        for (field, is_given) in pauses {
            if is_given && operation.is_some_and(|o| o != BulkAction::Pause) {
                fault(field, "belongs to operation pause");
            }
        }
        if request.hard_delete.is_some() && operation.is_some_and(|o| o != BulkAction::Delete) {
            fault("hard_delete", "belongs to operation delete");
        }
        let pausing = self.check_pause(request.reason.as_deref(), request.resume_at, actor, caller);
        let ids = request.schedule_ids.as_ref().map(|ids| ("schedule_ids", ids.len()));
        let names = request.schedule_names.as_ref().map(|names| ("schedule_names", names.len()));
        let counted = ids.or(names);
        let count = counted.map_or(Ok(()), |(field, count)| self.check_count(field, count));
        let refusals = [pausing.as_ref().err(), count.as_ref().err()];
        faults.extend(refusals.into_iter().flatten().flat_map(|error| error.details.clone()));
        match (operation, pausing) {
            (Some(operation), Ok(pausing)) if faults.is_empty() => Ok((operation, pausing)),
            _ => Err(ApiError::invalid(faults)),
        }
    }

    /// The selected schedules without duplicates, with the known entries of those that a filter found, as of every
    /// change that was answered before.
    async fn chosen(
        &self,
        operation: BulkAction,
        request: &BulkOperation,
        caller: &Caller,
    ) -> Result<Chosen, ApiError> {
        let mut seen = HashSet::new();
        if let Some(ids) = &request.schedule_ids {
            let ids = ids.iter().filter(|id| seen.insert(**id));
            return Ok(Chosen::new(ids.map(|id| (*id, None)).collect()));
        }
        if let Some(names) = &request.schedule_names {
            return self.chosen_by_name(names, request.creator.as_ref(), caller).await;
        }
        let filter = self.asked_for(operation, request).await?;
        // A filter scans every schedule, and blocks this thread meanwhile.
        let found = block_in_place(|| self.index.select(&filter)).into_iter();
        Ok(Chosen::new(found.map(|entry| (entry.schedule.id, Some(entry))).collect()))
    }

    /// What a request's filter selects, as of every change that was answered before.
    async fn asked_for(
        &self,
        operation: BulkAction,
        request: &BulkOperation,
    ) -> Result<ScheduleFilter, ApiError> {
        self.must_catch_up().await?;
        let mut filter = request.filter.clone().unwrap_or_default();
        filter.status = filter.status.or(match operation {
            BulkAction::Pause => Some(Status::Active),
            BulkAction::Resume => Some(Status::Paused),
            BulkAction::Delete => None,
        });
        Ok(filter)
    }

    /// The schedules of a creator with these names, without duplicates, and the names that nothing has.
    async fn chosen_by_name(
        &self,
        names: &[String],
        creator: Option<&String>,
        caller: &Caller,
    ) -> Result<Chosen, ApiError> {
        let (mut seen, mut chosen) = (HashSet::new(), Chosen::new(Vec::new()));
        for schedule_name in names.iter().filter(|name| seen.insert(*name)) {
            let (mut id, mut creator) = (None, creator.cloned());
            let mut name = Some(schedule_name.clone());
            let named = Named::live(&mut id, &mut name, &mut creator);
            match self.find_one(named, caller).await {
                Ok(()) => chosen.schedules.extend(id.map(|id| (id, None))),
                Err(error) if error.code == Code::NotFound => {
                    let schedule_name = schedule_name.clone();
                    chosen.unknown.push(NameUnknown { schedule_name, error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(chosen)
    }

    /// Changes one schedule; returns the time until which occurrences of it are claimed, and what is to be known of it.
    async fn operate(
        &self,
        id: Uuid,
        known: Option<Arc<Entry>>,
        operation: BulkAction,
        request: &BulkOperation,
        pausing: &Pausing<'_>,
        caller: &Caller,
    ) -> Result<(Option<DateTime<Utc>>, Option<Warning>), ApiError> {
        let actor = pausing.actor;
        let author = caller.author(actor);
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
                BulkAction::Pause => drop(pausing.apply(&mut schedule, self.clock.now())?),
                BulkAction::Resume => {
                    self.resume(&mut schedule, self.clock.now(), actor)?;
                    return Ok((None, time_over(&schedule)));
                }
                BulkAction::Delete => {}
            }
            return Ok((None, None));
        }
        let changed = match operation {
            BulkAction::Pause => {
                let change = |schedule: &mut Schedule, now| pausing.apply(schedule, now);
                Some(self.change(id, None, author, known, change).await?)
            }
            BulkAction::Resume => {
                let change = |schedule: &mut Schedule, now| self.resume(schedule, now, actor);
                Some(self.change(id, None, author, known, change).await?)
            }
            BulkAction::Delete => self.delete(id, hard_delete, None, author, known).await?,
        };
        Ok(match (operation, changed) {
            (_, None) => (None, None),
            (BulkAction::Resume, Some(resumed)) => (None, time_over(&resumed)),
            (_, Some(changed)) => (changed.claimed_until(), None),
        })
    }
}
