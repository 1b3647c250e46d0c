//! Creation of many schedules in one request.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::super::error::ApiError;
use super::super::super::reply::{Reply, ScheduleView, Warning};
use super::super::super::{Api, Caller};
use super::item::{BulkItem, read_item};
use crate::port::Nats;
use crate::schedule::CreateSchedule;

/// Schedules created at once.
const CREATES: usize = 32;

/// A request to create many schedules.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkCreate {
    /// Required: 1 to `MAX_BULK_OPERATIONS` requests as for one schedule.
    pub schedules: Option<Vec<BulkItem<CreateSchedule>>>,
    /// The creator of those that name none, where no header does.
    pub created_by: Option<String>,
}

/// Result of a request to create many schedules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkCreated {
    /// Number of schedules that were created.
    pub created: usize,
    /// Number of schedules that were not created.
    pub failed: usize,
    /// Ids of the created schedules.
    pub schedule_ids: Vec<Uuid>,
    /// Result of each item, in the order of the request.
    pub results: Vec<ItemResult>,
}

/// Result of one item: an id or an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ItemResult {
    /// Position in the request, from 0.
    pub index: usize,
    /// The schedule that was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<Uuid>,
    /// Why none was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// What the caller should know although it was created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl<N: Nats> Api<N> {
    /// Creates many schedules independently, in no order except among equal names.
    ///
    /// # Errors
    /// `invalid` for the request as a whole. The faults of an item are listed with that item.
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
                // The name may still be free, if the first item with it is refused.
                Ok(item) => again.push((index, item)),
                Err(error) => results.push(self.refused_item(index, error, caller)),
            }
        }
        let create = |(index, item): (usize, CreateSchedule)| async move {
            // When a request is repeated, so is each of its items.
            let message_id = caller.message_id.as_ref().map(|id| format!("{id}/{index}"));
            let of_item = Caller { message_id, ..caller.clone() };
            let created = async {
                let mut item = item;
                self.find_named(&mut item, &of_item).await?;
                self.create_schedule(item, &of_item).await
            };
            match created.await {
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

    fn refused_item(&self, index: usize, error: ApiError, caller: &Caller) -> ItemResult {
        let error = Some(error.told("bulk.create", caller, &self.complaints));
        ItemResult { index, schedule_id: None, error, warnings: Vec::new() }
    }

    fn read_item(
        &self,
        item: &BulkItem<CreateSchedule>,
        created_by: Option<&String>,
    ) -> Result<CreateSchedule, ApiError> {
        let mut request = read_item(self, item)?;
        request.created_by = request.created_by.or_else(|| created_by.cloned());
        Ok(request)
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
