//! Operations on reruns: stored requests to run many ended executions again, which an instance carries out as there is room.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the request is stored | nothing | the caller asks again |
//! | after that, before the reply | the rerun | it is carried out; the same request with the same key finds it |

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::super::error::{ApiError, Code};
use super::super::super::reply::{Pagination, Reply};
use super::super::super::schedules::{page, repeated, used_otherwise};
use super::super::super::{Api, Caller};
use super::many::BulkRetried;
use super::plan::Plan;
use super::{ExecutionFilter, RetryPayload};
use crate::execution::{Progress, Refusal, Rerun};
use crate::port::Nats;
use crate::schedule::FieldFault;
use crate::schedule::declared::page_fields;
use crate::schedule::keyed::Keyed as _;

/// Most reruns that are under way at once.
const MOST_UNDER_WAY: usize = 20;
/// Most that are kept, those that have ended included.
const MOST: usize = 1000;

macro_rules! by_id {
    ($(#[$about:meta] $name:ident)*) => { $(
        #[$about]
        #[serde_with::skip_serializing_none]
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Required.
            pub rerun_id: Option<Uuid>,
        }
    )* };
}

by_id! {
    /// A request for one rerun.
    GetRerun
    /// A request to end a rerun.
    CancelRerun
}

page_fields! { request {
    /// A request for all reruns, newest first.
    pub struct ListReruns {}
} }

/// Status of a rerun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerunStatus {
    /// Executions are being taken up.
    Running,
    /// All were taken up or refused, or as many as the limit says.
    Done,
    /// A user has ended it.
    Cancelled,
}

/// A stored request to run many ended executions again.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RerunView {
    /// Its id, which its events carry.
    pub rerun_id: Uuid,
    /// How it stands.
    pub status: RerunStatus,
    /// Which executions.
    pub filter: ExecutionFilter,
    /// Which payload is sent.
    pub payload: RetryPayload,
    /// Most executions that are taken up or refused.
    pub limit: u64,
    /// Number of executions that match.
    pub matched: u64,
    /// Number of executions that were taken up.
    pub retried: u64,
    /// Number of executions that were refused.
    pub refused: u64,
    /// Number of executions that were passed over, because another attempt followed or the history has dropped them.
    pub passed_over: u64,
    /// The latest refusals, at most 10.
    pub refusals: Vec<Refusal>,
    /// What it waits for, if it does.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// When it was requested.
    pub created_at: DateTime<Utc>,
    /// Who requested it.
    pub created_by: String,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
    /// Who ended it, if not all were taken up.
    #[serde(default)]
    pub cancelled_by: Option<String>,
}

impl<N: Nats> Api<N> {
    /// Stores a request, which is carried out from then on, even if every instance is killed immediately afterwards.
    pub(super) async fn store_rerun(
        &self,
        plan: &Plan<'_>,
        caller: &Caller,
    ) -> Result<Reply<BulkRetried>, ApiError> {
        let until = self.history.catch_up().await?;
        let choice = self.choice(plan.filter).await?;
        let matched = self.history.chosen(&choice, until, 0, 0).await?.0.total;
        let actor = caller.actor();
        let id = plan.key.map_or_else(|| self.chance.id(), |key| id_of(&actor, key));
        let asked = Rerun {
            id,
            name: id.to_string(),
            filter: plan.filter.clone(),
            payload: plan.retry.payload,
            limit: plan.limit,
            until,
            progress: Progress { matched, ..Progress::default() },
            ..Rerun::default()
        };
        let (mut is_known, now) = (false, self.clock.now());
        let (rerun, revision) = self
            .change_keyed(&asked.name, None, |known: Option<Rerun>, event_id| {
                if let Some(known) = known {
                    is_known = true;
                    return match known.asks_the_same(&asked) {
                        true => Ok(Err(known)),
                        false => Err(used_otherwise(plan.key.map_or("", String::as_str))),
                    };
                }
                self.check_room_for_rerun()?;
                let mut rerun = asked.clone();
                rerun.request(event_id, now, caller.author(&actor));
                Ok(Ok(rerun))
            })
            .await?;
        if !is_known {
            let (filter, limit) = (&rerun.filter, rerun.limit);
            tracing::info!(rerun = %id, matched, limit, ?filter, triggered_by = actor, "rerun stored");
        }
        let matched = rerun.progress.matched;
        self.index.know_rerun(rerun, revision);
        let done = BulkRetried { matched, rerun_id: Some(id), ..BulkRetried::default() };
        let mut reply = Reply::new(done, caller);
        reply.warnings.extend(is_known.then(|| repeated("stored the rerun")));
        Ok(reply)
    }

    fn check_room_for_rerun(&self) -> Result<(), ApiError> {
        let reruns = self.index.reruns();
        let under_way = reruns.iter().filter(|rerun| rerun.is_under_way()).count();
        let message = match () {
            () if under_way >= MOST_UNDER_WAY => format!("{under_way} reruns are under way"),
            () if reruns.iter().count() >= MOST => format!("{MOST} reruns are kept"),
            () => return Ok(()),
        };
        Err(ApiError::new(Code::LimitExceeded, message + ", which is the limit"))
    }

    /// Returns a rerun and how far it has come, as the bucket's leader has it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn get_rerun(
        &self,
        request: GetRerun,
        caller: &Caller,
    ) -> Result<Reply<RerunView>, ApiError> {
        let id = required(request.rerun_id)?;
        let (rerun, _) = self.store.read_keyed::<Rerun>(&id.to_string()).await?;
        let rerun = rerun.filter(|rerun| !rerun.is_deleted).ok_or_else(|| no_rerun(id))?;
        Ok(Reply::new(view(&rerun), caller))
    }

    /// Returns all reruns, newest first, page by page.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn list_reruns(
        &self,
        request: ListReruns,
        caller: &Caller,
    ) -> Result<Reply<Vec<RerunView>>, ApiError> {
        let (number, page) = page(request.page, request.limit)?;
        self.catch_up().await;
        let reruns = self.index.reruns();
        let mut all: Vec<_> = reruns.iter().collect();
        all.sort_unstable_by_key(|rerun| (std::cmp::Reverse(rerun.created_at), rerun.id));
        let shown = all.iter().skip(page.offset).take(page.limit);
        let mut reply = Reply::new(shown.map(|rerun| view(rerun)).collect(), caller);
        reply.pagination = Some(Pagination::new(number, page.limit, all.len() as u64));
        Ok(reply)
    }

    /// Ends a rerun. What it has taken up goes on. The instance that carries it out stops once it has seen this, within the
    /// part that it is at.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it has ended), `unavailable`.
    pub async fn cancel_rerun(
        &self,
        request: CancelRerun,
        caller: &Caller,
    ) -> Result<Reply<RerunView>, ApiError> {
        let id = required(request.rerun_id)?;
        let (actor, now) = (caller.actor(), self.clock.now());
        let (rerun, revision) = self
            .change_keyed(&id.to_string(), None, |known: Option<Rerun>, event_id| {
                let known = known.filter(|rerun| !rerun.is_deleted);
                let mut rerun = known.ok_or_else(|| no_rerun(id))?;
                if !rerun.is_under_way() {
                    let message = format!("rerun {id} has ended");
                    return Err(ApiError::new(Code::NotAllowed, message));
                }
                rerun.end(event_id, now, caller.author(&actor), true);
                Ok(Ok(rerun))
            })
            .await?;
        tracing::info!(rerun = %id, cancelled_by = actor, "rerun cancelled");
        let shown = view(&rerun);
        self.index.know_rerun(rerun, revision);
        Ok(Reply::new(shown, caller))
    }
}

fn view(rerun: &Rerun) -> RerunView {
    let Progress { matched, retried, refused, passed_over, .. } = rerun.progress;
    RerunView {
        rerun_id: rerun.id,
        status: match (&rerun.ended_at, &rerun.cancelled_by) {
            (None, _) => RerunStatus::Running,
            (Some(_), None) => RerunStatus::Done,
            (Some(_), Some(_)) => RerunStatus::Cancelled,
        },
        filter: rerun.filter.clone(),
        payload: rerun.payload,
        limit: rerun.limit,
        matched,
        retried,
        refused,
        passed_over,
        refusals: rerun.progress.refusals.clone(),
        waits_for: rerun.progress.waits_for.clone(),
        created_at: rerun.created_at,
        created_by: rerun.created_by.clone(),
        ended_at: rerun.ended_at,
        cancelled_by: rerun.cancelled_by.clone(),
    }
}

fn required(id: Option<Uuid>) -> Result<Uuid, ApiError> {
    id.ok_or_else(|| vec![FieldFault::new("rerun_id", "is required")].into())
}

fn no_rerun(id: Uuid) -> ApiError {
    let message = format!("there is no {} {id}; those that ended go after a week", Rerun::KIND);
    ApiError::new(Code::NotFound, message)
}

/// The id of the rerun that a user asks for with a key.
fn id_of(actor: &str, key: &str) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(actor.len().to_be_bytes());
    hash.update(actor);
    hash.update(key);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Uuid::new_v8(bytes)
}
