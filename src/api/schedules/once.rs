//! Creating a schedule once, however often the request is sent.
//!
//! A request with an idempotency key is remembered for a day under the creator and that key:
//!
//! 1. the memo is written by a compare-and-swap. It holds the id that the schedule will have and a hash
//!    of the request;
//! 2. the schedule is created under that id, see [`super::names`];
//! 3. the memo is marked as done, and the reply is sent.
//!
//! Whoever finds a memo that is done returns its schedule. Whoever finds one that is not goes on with
//! step 2 under the same id, whether its author died, failed to hear of its success, or is still
//! at it: reserving the name of a schedule again fences all who did before, so of several who
//! create the same schedule one writes its record and the others find it. A creation that is
//! refused takes its memo with it, so that the same key can be used when the reason is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::Api;
use super::super::error::{ApiError, Code};
use super::names::{PATIENCE, PAUSE};
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::jetstream::names::once_key;
use crate::schedule::{CreateSchedule, FieldFault, Schedule};

/// How long a request is remembered.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// A request that may be repeated.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    schedule_id: Uuid,
    /// SHA-256 of what was asked for.
    request: String,
    /// Whether the schedule was created.
    done: bool,
}

/// A schedule as it is stored, and whether an earlier request created it.
pub(super) struct Once {
    pub(super) schedule: Schedule,
    pub(super) revision: u64,
    pub(super) repeated: bool,
}

impl Api {
    /// Creates the schedule that `make` makes of an id, unless a request with the same `key` did.
    pub(super) async fn store_once(
        &self,
        creator: &str,
        key: &str,
        request: &CreateSchedule,
        make: impl Fn(Uuid) -> Result<Schedule, ApiError>,
    ) -> Result<Once, ApiError> {
        let (memo_key, mine, hash) = (once_key(creator, key), Uuid::now_v7(), hash(request));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stored = self.store.read(&memo_key).await?;
            let mut revision = stored.as_ref().map_or(0, |stored| stored.revision);
            let memo = stored.and_then(|stored| stored.value);
            let memo = match memo.and_then(|memo| serde_json::from_slice::<Memo>(&memo).ok()) {
                Some(memo) => memo,
                None => {
                    let memo = Memo { schedule_id: mine, request: hash.clone(), done: false };
                    match self.store.put_for(&memo_key, encode(&memo)?, revision, REMEMBERED).await
                    {
                        Ok(written) => revision = written,
                        Err(error @ WriteError::Refused(_)) => return Err(error.into()),
                        Err(error) if Instant::now() >= deadline => return Err(error.into()),
                        // Another was first, or ours is stored and we did not hear of it: look.
                        Err(_) => {
                            tokio::time::sleep(PAUSE).await;
                            continue;
                        }
                    }
                    failpoint("after_memo");
                    memo
                }
            };
            if memo.request != hash {
                return Err(used_otherwise(key));
            }
            let repeated = memo.schedule_id != mine;
            let found = if repeated { self.live_record(memo.schedule_id).await? } else { None };
            let error = match found {
                Some((schedule, _)) if schedule.purge => return Err(gone(memo.schedule_id)),
                Some((schedule, revision)) => {
                    return Ok(Once { schedule, revision, repeated });
                }
                None if memo.done => return Err(gone(memo.schedule_id)),
                None => match self.store_new(make(memo.schedule_id)?).await {
                    Ok((schedule, written)) => {
                        failpoint("before_memo_done");
                        let memo = encode(&Memo { done: true, ..memo })?;
                        // Best effort: a memo that is not done leads to the same schedule.
                        let _ = self.store.put_for(&memo_key, memo, revision, REMEMBERED).await;
                        return Ok(Once { schedule, revision: written, repeated });
                    }
                    Err(error) => error,
                },
            };
            match error.code {
                // Somebody repeats this very request.
                Code::Conflict if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Code::Conflict | Code::Unavailable => return Err(error),
                _ => {
                    let _ = self.store.delete(&memo_key, revision).await;
                    return Err(error);
                }
            }
        }
    }
}

fn encode(memo: &Memo) -> Result<Bytes, ApiError> {
    let encoded = serde_json::to_vec(memo).map(Bytes::from);
    encoded.map_err(|error| ApiError::new(Code::Internal, error.to_string()))
}

/// What a request asks for, whoever sends it under which key.
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
