//! Idempotent creation: one schedule, however often the request is sent.
//!
//! A request with an idempotency key is remembered for a day under the creator and that key:
//!
//! 1. the memo is written by a compare-and-swap. It holds the id that the schedule will have and a hash of the request;
//! 2. the schedule is created under that id, see [`super::names`];
//! 3. the memo is marked as done, and the reply is sent.
//!
//! A request that finds a memo whose schedule exists returns that schedule. If the schedule does not exist and the memo
//! is not done, the request continues with step 2 under the same id, whether the memo's author died, never learned of
//! its success, or is still working. This is safe because reserving a schedule's name again fences all earlier
//! reservations for it: of several requests that create the same schedule, one writes its record and the others find
//! it. A refused creation removes its memo, so that the same key can be used when the reason is gone.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::Api;
use super::super::error::{ApiError, Code};
use super::reservations::{PATIENCE, PAUSE};
use crate::failpoint::failpoint;
use crate::index::At;
use crate::jetstream::WriteError;
use crate::jetstream::schedules::Condition;
use crate::names::once_key;
use crate::port::Nats;
use crate::schedule::{CreateSchedule, FieldFault, Schedule};
use crate::stored::{Unknown, keeps_unknown};

/// How long a request is remembered.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// A request that may be repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Memo {
    schedule_id: Uuid,
    /// SHA-256 of the request.
    request: String,
    /// Whether the schedule was created.
    done: bool,
    /// Fields added by a newer version.
    #[serde(skip)]
    unknown: Unknown,
}

keeps_unknown!(Memo);

/// A schedule as it is stored, and whether an earlier request created it.
pub(super) struct Once {
    pub(super) schedule: Schedule,
    pub(super) revision: u64,
    pub(super) repeated: bool,
}

impl<N: Nats> Api<N> {
    /// Creates the schedule that `make` builds for an id, unless a request with the same `key` already did.
    pub(super) async fn store_once(
        &self,
        creator: &str,
        key: &str,
        request: &CreateSchedule,
        make: impl Fn(Uuid) -> Result<Schedule, ApiError>,
    ) -> Result<Once, ApiError> {
        let (memo_key, mine, hash) = (once_key(creator, key), self.clock.new_id(), hash(request));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sight = self.store.sight();
            let stored = self.store.read(&memo_key).await?;
            let mut at = sight.at(stored.as_ref().map_or(0, |stored| stored.revision));
            let known = stored.and_then(|stored| Memo::read(stored.value.as_deref()));
            let (memo, found, schedule) = match known {
                Some(memo) if memo.request != hash => return Err(used_otherwise(key)),
                Some(memo) => {
                    let found = self.record(memo.schedule_id).await?;
                    if memo.done && found.is_none() {
                        return Err(gone(memo.schedule_id));
                    }
                    let schedule =
                        if found.is_none() { Some(make(memo.schedule_id)) } else { None };
                    (memo, found, schedule)
                }
                None => {
                    // A request that cannot be created leaves no memo.
                    let schedule = make(mine)?;
                    self.check_after(&schedule).await?;
                    let (request, unknown) = (hash.clone(), Unknown::default());
                    let memo = Memo { schedule_id: mine, request, done: false, unknown };
                    match self.write_memo(&memo_key, &memo, at, deadline).await {
                        Ok(written) => at = written,
                        // Another request was first: look again.
                        Err(WriteError::Conflict) if Instant::now() < deadline => {
                            tokio::time::sleep(PAUSE).await;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    failpoint("after_memo");
                    (memo, None, Some(Ok(schedule)))
                }
            };
            let stored = match (found, schedule) {
                (Some(found), _) => Ok(found),
                (None, Some(Ok(schedule))) => self.store_new(schedule, true).await,
                (None, Some(Err(error))) => Err(error),
                (None, None) => Err(gone(memo.schedule_id)),
            };
            match stored {
                Ok((schedule, _)) if schedule.purge => return Err(gone(schedule.id)),
                Ok((schedule, written)) => {
                    failpoint("before_memo_done");
                    if !memo.done {
                        self.remember(&memo_key, &memo, at, deadline).await?;
                    }
                    let repeated = schedule.id != mine;
                    return Ok(Once { schedule, revision: written, repeated });
                }
                // Somebody is repeating this very request.
                Err(error) if error.code == Code::Conflict && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if matches!(error.code, Code::Conflict | Code::Unavailable) => {
                    return Err(error);
                }
                Err(error) => {
                    let _ = self.store.delete(&memo_key, at).await;
                    return Err(error);
                }
            }
        }
    }

    /// Marks a memo as done, even if others write it meanwhile, so that a schedule that was created and then deleted
    /// for good is not created again.
    async fn remember(
        &self,
        key: &str,
        memo: &Memo,
        mut at: At,
        deadline: Instant,
    ) -> Result<(), ApiError> {
        let done = Memo { done: true, ..memo.clone() };
        loop {
            match self.write_memo(key, &done, at, deadline).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict) if Instant::now() < deadline => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(PAUSE).await;
            let sight = self.store.sight();
            let stored = self.store.read(key).await?;
            at = sight.at(stored.as_ref().map_or(0, |stored| stored.revision));
            let now = stored.and_then(|stored| Memo::read(stored.value.as_deref()));
            if now.is_some_and(|now| now.done || now.schedule_id != memo.schedule_id) {
                return Ok(());
            }
        }
    }

    /// Writes a memo at an expected revision.
    async fn write_memo(
        &self,
        key: &str,
        memo: &Memo,
        at: At,
        deadline: Instant,
    ) -> Result<At, WriteError> {
        let value = memo.encode()?;
        // A write for the same schedule with the same `done` means the same, whoever made it.
        let is_ours = |stored: &[u8]| {
            Memo::read(Some(stored))
                .is_some_and(|now| (now.schedule_id, now.done) == (memo.schedule_id, memo.done))
        };
        let place = Condition { key, at, ttl: Some(REMEMBERED) };
        let written = self.store.write_key(place, |_| Ok(value.clone()), is_ours, deadline).await?;
        Ok(written.sight.at(written.revision))
    }
}

impl Memo {
    fn read(value: Option<&[u8]>) -> Option<Self> {
        serde_json::from_slice(value?).ok()
    }

    fn encode(&self) -> Result<Bytes, WriteError> {
        let encoded = serde_json::to_vec(self).map(Bytes::from);
        encoded.map_err(|error| WriteError::Refused(error.to_string()))
    }
}

/// Hash of a request's content, independent of its sender and key.
fn hash(request: &CreateSchedule) -> String {
    let asked = CreateSchedule {
        idempotency_key: None,
        created_by: None,
        ..CreateSchedule::clone(request)
    };
    let digest = Sha256::digest(serde_json::to_vec(&asked).unwrap_or_default());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn used_otherwise(key: &str) -> ApiError {
    let message = format!("idempotency_key {key:?} was used for another request within a day");
    let mut error = ApiError::new(Code::NotAllowed, message);
    error.details = vec![FieldFault::new("idempotency_key", "was used for another request")];
    error
}

fn gone(id: Uuid) -> ApiError {
    let message = format!("this request created schedule {id}, which has been deleted for good");
    let mut error = ApiError::new(Code::NotFound, message);
    error.details = vec![FieldFault::new("schedule_id", id.to_string())];
    error
}
