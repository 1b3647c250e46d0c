//! Declaring many schedules in one request: a part of a set that an owner keeps.
//!
//! A set may be larger than a request, so a schedule that a part lacks may be in another one. What the set no longer has
//! is therefore named one by one, at the revision at which it was found, when all parts have been applied.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::super::error::{ApiError, Code};
use super::super::super::reply::{ApplyOutcome, Difference, Reply, ScheduleView, Warning};
use super::super::super::{Api, Caller};
use super::super::apply::ApplySchedule;
use super::super::check_expected;
use super::super::coming::Coming;
use super::super::named::is_key;
use super::super::update::check_owner;
use super::item::{BulkItem, read_item};
use super::{CHANGES, ItemRefused};
use crate::port::Nats;
use crate::schedule::{FieldFault, Status};

/// Schedules declared at once.
const APPLIES: usize = 32;

/// A request that declares schedules of one owner: a whole set, or a part of it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkApply {
    /// Required: the owner of the set. Schedules of other owners are not touched.
    #[schemars(length(min = 1, max = 255))]
    pub owner: Option<String>,
    /// Required, unless there is something to `prune`: 1 to `MAX_BULK_OPERATIONS` requests as for one schedule.
    pub schedules: Option<Vec<BulkItem<ApplySchedule>>>,
    /// Schedules of the owner that the set no longer has: they are deleted softly, once everything else has been applied.
    pub prune: Option<Vec<Prune>>,
    /// Whether schedules of these names that have no owner become schedules of this one; default false.
    pub adopt: Option<bool>,
    /// Only report what would change; default false.
    pub dry_run: Option<bool>,
    /// How many coming times to show where they change: 0 to 100, default 0.
    #[schemars(range(max = 100))]
    pub count: Option<u64>,
    /// The creator of those that name none, where the header `X-Created-By` names none; default: the actor.
    pub created_by: Option<String>,
}

/// A schedule to delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// The schedule.
    pub schedule_id: Uuid,
    /// The revision that it must have.
    pub expected_revision: u64,
}

/// What became of a set of schedules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkApplied {
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Number of schedules that were created.
    pub created: usize,
    /// Number of schedules that were changed.
    pub updated: usize,
    /// Number of schedules that were what the request says already.
    pub unchanged: usize,
    /// Number of schedules that were refused.
    pub failed: usize,
    /// Result of each item, in the order of the request.
    pub results: Vec<AppliedItem>,
    /// Schedules of `prune` that were deleted.
    pub pruned: Vec<Uuid>,
    /// Schedules of `prune` that were not deleted, and why.
    pub not_pruned: Vec<ItemRefused>,
}

/// Result of one item: what became of the schedule, or an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedItem {
    /// Position in the request, from 0.
    pub index: usize,
    /// The schedule; of a dry run only if there is one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<Uuid>,
    /// Its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ApplyOutcome>,
    /// Of a dry run: what would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Box<Difference>>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// What the caller should know although it was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl<N: Nats> Api<N> {
    /// Declares schedules of one owner, each by itself: a refused one stops no other, except that nothing is pruned then.
    /// One that follows another of the request comes after it. A crash in between leaves each done or not done, and the
    /// same request again does the rest.
    ///
    /// # Errors
    /// `invalid` for the request as a whole. The faults of an item are listed with that item.
    pub async fn bulk_apply(
        &self,
        request: BulkApply,
        caller: &Caller,
    ) -> Result<Reply<BulkApplied>, ApiError> {
        let owner = self.check_set(&request)?;
        let (dry_run, mut results) = (request.dry_run == Some(true), Vec::new());
        let mut declared = Vec::new();
        for (index, item) in request.schedules.iter().flatten().enumerate() {
            match self.read_declaration(item, &owner, &request) {
                Ok(item) => declared.push((index, item)),
                Err(error) => results.push(self.refused_declaration(index, error, caller)),
            }
        }
        let (mut coming, mut claimed_until) = (Coming::default(), None);
        for wave in waves(declared, caller) {
            let apply = |(index, item): (usize, ApplySchedule)| {
                let coming = &coming;
                async move { (index, self.apply_named(item, coming, caller).await) }
            };
            let applied = stream::iter(wave).map(apply).buffer_unordered(APPLIES);
            for (index, applied) in applied.collect::<Vec<_>>().await {
                results.push(match applied {
                    Ok(applied) => {
                        coming.note(&applied.reply);
                        claimed_until = claimed_until.max(applied.claimed_until);
                        AppliedItem::new(index, applied.reply, dry_run)
                    }
                    Err(error) => self.refused_declaration(index, error, caller),
                });
            }
        }
        results.sort_unstable_by_key(|result| result.index);
        let count = |outcome| results.iter().filter(|r| r.outcome == Some(outcome)).count();
        let failed = results.iter().filter(|result| result.error.is_some()).count();
        let mut data = BulkApplied {
            dry_run,
            created: count(ApplyOutcome::Created),
            updated: count(ApplyOutcome::Updated),
            unchanged: count(ApplyOutcome::Unchanged),
            failed,
            results,
            pruned: Vec::new(),
            not_pruned: Vec::new(),
        };
        claimed_until = claimed_until.max(self.prune(&request, &owner, &mut data, caller).await);
        let waits = !dry_run && data.updated + data.pruned.len() > 0;
        let waited_ms = if waits {
            caller.permit.waits();
            Some(self.let_pass(claimed_until).await)
        } else {
            None
        };
        let BulkApplied { created, updated, unchanged, .. } = data;
        let pruned = data.pruned.len();
        tracing::info!(
            owner,
            created,
            updated,
            unchanged,
            failed,
            pruned,
            dry_run,
            "set of schedules applied"
        );
        Ok(Reply { waited_ms, ..Reply::new(data, caller) })
    }

    fn check_set(&self, request: &BulkApply) -> Result<String, ApiError> {
        let mut faults = Vec::new();
        let owner = request.owner.clone().unwrap_or_default();
        if !is_key(&owner) {
            faults.push(FieldFault::new("owner", "is required: 1 to 255 characters"));
        }
        let items = request.schedules.as_ref().map(Vec::len);
        let prunes = request.prune.as_ref().map(Vec::len);
        if items.is_none() && prunes.is_none() {
            faults.push(FieldFault::new("schedules", "is required, or prune"));
        }
        for (field, count) in [("schedules", items), ("prune", prunes)] {
            let checked = count.map_or(Ok(()), |count| self.check_count(field, count));
            faults.extend(checked.err().into_iter().flat_map(|error| error.details));
        }
        if request.count.is_some_and(|count| count > 100) {
            faults.push(FieldFault::new("count", "must be 0 to 100"));
        }
        if faults.is_empty() { Ok(owner) } else { Err(faults.into()) }
    }

    fn read_declaration(
        &self,
        item: &BulkItem<ApplySchedule>,
        owner: &str,
        of: &BulkApply,
    ) -> Result<ApplySchedule, ApiError> {
        let item = read_item(self, item)?;
        let set = "is that of the whole request";
        let given = [
            ("owner", item.owner.as_ref().is_some_and(|own| own != owner)),
            ("adopt", item.adopt.is_some()),
            ("dry_run", item.dry_run.is_some()),
            ("count", item.count.is_some()),
        ];
        let faults: Vec<_> = given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(field, _)| FieldFault::new(field, set))
            .collect();
        if !faults.is_empty() {
            return Err(faults.into());
        }
        Ok(ApplySchedule {
            owner: Some(owner.to_owned()),
            adopt: of.adopt,
            dry_run: of.dry_run,
            count: Some(of.count.unwrap_or(0)),
            created_by: item.created_by.clone().or_else(|| of.created_by.clone()),
            ..item
        })
    }

    fn refused_declaration(&self, index: usize, error: ApiError, caller: &Caller) -> AppliedItem {
        let error = Some(error.told("bulk.apply", caller, &self.complaints));
        AppliedItem {
            index,
            schedule_id: None,
            revision: None,
            outcome: None,
            difference: None,
            error,
            warnings: Vec::new(),
        }
    }

    /// Deletes what the set no longer has; returns the time until which occurrences of it are claimed.
    async fn prune(
        &self,
        request: &BulkApply,
        owner: &str,
        data: &mut BulkApplied,
        caller: &Caller,
    ) -> Option<DateTime<Utc>> {
        let (failed, dry_run) = (data.failed, data.dry_run);
        let prune = |prune: &Prune| {
            let Prune { schedule_id: id, expected_revision: expected } = *prune;
            async move {
                if failed > 0 {
                    let message = format!(
                        "schedule {id} is kept, since {failed} others of the request were refused"
                    );
                    return (id, Err(ApiError::new(Code::Conflict, message)));
                }
                (id, self.prune_one(id, expected, owner, dry_run, caller).await)
            }
        };
        let mut claimed_until = None;
        let mut done = stream::iter(request.prune.iter().flatten()).map(prune).buffered(CHANGES);
        while let Some((schedule_id, pruned)) = done.next().await {
            match pruned {
                Ok(claimed) => {
                    claimed_until = claimed_until.max(claimed);
                    data.pruned.push(schedule_id);
                }
                Err(error) => {
                    let error = error.told("bulk.apply", caller, &self.complaints);
                    data.not_pruned.push(ItemRefused { schedule_id, error });
                }
            }
        }
        claimed_until
    }

    /// Deletes one schedule of an owner; returns the time until which occurrences of it are claimed. Its owner is as
    /// certain as its revision, which a change of the owner moves.
    async fn prune_one(
        &self,
        id: Uuid,
        expected: u64,
        owner: &str,
        dry_run: bool,
        caller: &Caller,
    ) -> Result<Option<DateTime<Utc>>, ApiError> {
        let (schedule, _) = self.read_schedule(id).await?;
        if schedule.status == Status::Deleted {
            return Err(ApiError::no_schedule(id));
        }
        check_expected(Some(expected), &schedule)?;
        check_owner(&schedule, owner, false)?;
        if dry_run {
            return Ok(None);
        }
        let actor = caller.actor();
        let deleted = self.delete(id, false, Some(expected), caller.author(&actor), None).await?;
        Ok(deleted.and_then(|schedule| schedule.claimed_until()))
    }
}

impl AppliedItem {
    fn new(index: usize, reply: Reply<ScheduleView>, dry_run: bool) -> Self {
        let outcome = reply.difference.as_ref().map(|difference| difference.outcome);
        let is_there = !dry_run || outcome != Some(ApplyOutcome::Created);
        Self {
            index,
            schedule_id: is_there.then_some(reply.data.id),
            revision: is_there.then_some(reply.data.revision),
            outcome,
            difference: reply.difference.filter(|_| dry_run),
            error: None,
            warnings: reply.warnings,
        }
    }
}

/// Splits declarations so that each comes after those of the same request that it follows, and after an earlier one of
/// the same name. What follows itself, by however many others, comes last and is refused there.
fn waves(
    declared: Vec<(usize, ApplySchedule)>,
    caller: &Caller,
) -> Vec<Vec<(usize, ApplySchedule)>> {
    let creator = |item: &ApplySchedule| item.creator(caller);
    let mut latest: HashMap<(String, String), usize> = HashMap::new();
    let mut first: HashMap<(String, String), usize> = HashMap::new();
    let mut earlier: Vec<Option<usize>> = Vec::new();
    for (place, (_, item)) in declared.iter().enumerate() {
        let key = (creator(item), item.name.clone().unwrap_or_default());
        earlier.push(latest.insert(key.clone(), place));
        first.entry(key).or_insert(place);
    }
    let upstream = |item: &ApplySchedule| {
        let after = item.after.as_ref()?;
        let of = after.creator.clone().unwrap_or_else(|| creator(item));
        first.get(&(of, after.schedule_name.clone()?)).copied()
    };
    let before: Vec<[Option<usize>; 2]> = declared
        .iter()
        .zip(earlier)
        .map(|((_, item), earlier)| [upstream(item), earlier])
        .collect();
    let mut wave_of = vec![0; declared.len()];
    // Each round moves an item behind what it waits for; a circle would go on for ever.
    for _ in 0..declared.len() {
        let mut moved = false;
        for (place, before) in before.iter().enumerate() {
            let wave =
                before.iter().flatten().map(|before| wave_of[*before] + 1).max().unwrap_or(0);
            if wave > wave_of[place] && wave < declared.len() {
                (wave_of[place], moved) = (wave, true);
            }
        }
        if !moved {
            break;
        }
    }
    let mut waves: Vec<Vec<_>> = Vec::new();
    for (item, wave) in declared.into_iter().zip(wave_of) {
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(item);
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

#[cfg(test)]
mod tests;
