//! Requests that are done once, however often they are sent: creations, runs by hand, and single commands.
//!
//! A request with an idempotency key is remembered for a day under the user who sent it and that key:
//!
//! 1. the memo is written by a compare-and-swap. It holds the id of what the request will make, a schedule or an
//!    execution, and a hash of the request;
//! 2. that is made under this id: a schedule as `reservations` says, an execution as `run` does, a command as
//!    `execute` does;
//! 3. the memo is marked as done, and the reply is sent.
//!
//! A request that finds a memo which is done, or whose work is there, returns it. Otherwise it continues with step 2
//! under the same id, whether the memo's author died, never learned of its success, or is still working. That is safe
//! because step 2 makes one thing under one id, whoever does it and however often ([`Deed::make`]). A refused request
//! removes its memo, so that the same key can be used when the reason is gone.
//!
//! | crash | what is left | what happens when the request is sent again |
//! |---|---|---|
//! | after step 1 | a memo that is not done | step 2, under the same id |
//! | after step 2 | a memo that is not done, and the schedule or the run | that is found, and the memo marked as done |
//! | after step 3 | a memo that is done | it is the answer, even if the history no longer has the execution |

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::Warning;
use super::super::{Api, Caller};
use super::reservations::{NAME_WITHIN, PAUSE};
use crate::failpoint::failpoint;
use crate::index::At;
use crate::jetstream::WriteError;
use crate::jetstream::schedules::Condition;
use crate::names::once_key;
use crate::port::Nats;
use crate::schedule::FieldFault;
use crate::stored::{Unknown, keeps_unknown};

/// How long a request is remembered.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// A request that may be repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(in crate::api) struct Memo {
    /// The schedule that it makes, or runs.
    pub(in crate::api) schedule_id: Uuid,
    /// The execution that it makes, if it makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::api) execution_id: Option<Uuid>,
    /// SHA-256 of the request.
    request: String,
    /// Whether it was made.
    done: bool,
    /// Fields added by a newer version.
    #[serde(skip)]
    unknown: Unknown,
}

keeps_unknown!(Memo);

/// Identity of a request, by which it is recognised when it is sent again.
#[derive(Clone, Debug)]
pub(in crate::api) struct Key {
    /// Who sends it.
    pub(in crate::api) user: String,
    /// The key that the user gave it.
    pub(in crate::api) text: String,
    /// Hash of what it asks for, see [`hash`].
    pub(in crate::api) request: String,
}

impl Caller {
    /// Identity of this caller's request, if it has one; `asked` is the hash of what it asks for.
    pub(in crate::api) fn key(&self, given: Option<&String>, asked: String) -> Option<Key> {
        let text = given.or(self.message_id.as_ref())?.clone();
        Some(Key { user: self.actor(), text, request: asked })
    }
}

/// What makes the thing that a request asks for.
pub(in crate::api) trait Deed: Sync {
    /// What is known of a request that nobody has sent before.
    type Draft: Send;
    /// What was made.
    type Made: Send;

    /// The schedule, and the execution if it makes one, given the id of what is made.
    fn ids(&self, id: Uuid) -> (Uuid, Option<Uuid>);

    /// Checks the request, before a memo is written. A request that is refused here leaves none.
    fn prepare(&self, id: Uuid) -> impl Future<Output = Result<Self::Draft, ApiError>> + Send;

    /// Makes it under its id, or finds that it is made.
    fn make(
        &self,
        id: Uuid,
        request: Found<Self::Draft>,
    ) -> impl Future<Output = Result<Self::Made, Unmade>> + Send;
}

/// Whether a request was sent before.
pub(in crate::api) enum Found<T> {
    /// Nobody had sent it when this was prepared.
    New(T),
    /// It was sent before.
    Before {
        /// Whether it is known to have been done.
        done: bool,
    },
}

/// Why nothing was made.
pub(in crate::api) enum Unmade {
    /// It is refused, so the request is forgotten.
    Refused(ApiError),
    /// The request stays remembered.
    Kept(ApiError),
}

impl From<ApiError> for Unmade {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// What a request made, and whether an earlier one did.
pub(in crate::api) struct Once<T> {
    pub(in crate::api) made: T,
    pub(in crate::api) repeated: bool,
}

impl<N: Nats> Api<N> {
    /// Makes what `deed` makes under the id `mine`, unless a request with the same key already did.
    pub(in crate::api) async fn once<D: Deed>(
        &self,
        key: &Key,
        mine: Uuid,
        deed: &D,
    ) -> Result<Once<D::Made>, ApiError> {
        let memo_key = once_key(&key.user, &key.text);
        let deadline = Instant::now() + NAME_WITHIN;
        loop {
            let (known, mut at) = self.read_memo(&memo_key).await?;
            let (memo, found) = match known {
                Some(memo) if memo.request != key.request => {
                    return Err(used_otherwise(&key.text));
                }
                Some(memo) => {
                    let done = memo.done;
                    (memo, Found::Before { done })
                }
                None => {
                    let draft = deed.prepare(mine).await?;
                    let (schedule_id, execution_id) = deed.ids(mine);
                    let (request, unknown) = (key.request.clone(), Unknown::default());
                    let memo = Memo { schedule_id, execution_id, request, done: false, unknown };
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
                    (memo, Found::New(draft))
                }
            };
            match deed.make(memo.made(), found).await {
                Ok(made) => {
                    failpoint("before_memo_done");
                    if !memo.done {
                        self.remember(&memo_key, &memo, at, deadline).await?;
                    }
                    return Ok(Once { made, repeated: memo.made() != mine });
                }
                Err(Unmade::Kept(error)) => return Err(error),
                // Somebody is repeating this very request.
                Err(Unmade::Refused(error))
                    if error.code == Code::Conflict && Instant::now() < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Unmade::Refused(error))
                    if matches!(error.code, Code::Conflict | Code::Unavailable) =>
                {
                    return Err(error);
                }
                Err(Unmade::Refused(error)) => {
                    let _ = self.store.delete(&memo_key, at).await;
                    return Err(error);
                }
            }
        }
    }

    /// What an earlier request with this key is known to have made.
    ///
    /// # Errors
    /// `unavailable`; `not_allowed` if the key was used for another request.
    pub(in crate::api) async fn made_before(&self, key: &Key) -> Result<Option<Memo>, ApiError> {
        let (known, _) = self.read_memo(&once_key(&key.user, &key.text)).await?;
        match known {
            Some(memo) if memo.request != key.request => Err(used_otherwise(&key.text)),
            known => Ok(known.filter(|memo| memo.done)),
        }
    }

    /// A memo, and where it may be written.
    async fn read_memo(&self, key: &str) -> Result<(Option<Memo>, At), ApiError> {
        let sight = self.store.sight();
        let stored = self.store.read(key).await?;
        let at = sight.at(stored.as_ref().map_or(0, |stored| stored.revision));
        Ok((stored.and_then(|stored| Memo::read(stored.value.as_deref())), at))
    }

    /// Marks a memo as done, even if others write it meanwhile, so that what was made and has gone is not made again.
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
            let (now, place) = self.read_memo(key).await?;
            at = place;
            if now.is_some_and(|now| now.done || now.made() != memo.made()) {
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
        // A write for the same thing with the same `done` means the same, whoever made it.
        let is_ours = |stored: &[u8]| {
            Memo::read(Some(stored))
                .is_some_and(|now| (now.made(), now.done) == (memo.made(), memo.done))
        };
        let place = Condition { key, at, ttl: Some(REMEMBERED) };
        let written = self.store.write_key(place, |_| Ok(value.clone()), is_ours, deadline).await?;
        Ok(written.sight.at(written.revision))
    }
}

impl Memo {
    /// The id of what the request makes.
    fn made(&self) -> Uuid {
        self.execution_id.unwrap_or(self.schedule_id)
    }

    fn read(value: Option<&[u8]>) -> Option<Self> {
        serde_json::from_slice(value?).ok()
    }

    fn encode(&self) -> Result<Bytes, WriteError> {
        let encoded = serde_json::to_vec(self).map(Bytes::from);
        encoded.map_err(|error| WriteError::Refused(error.to_string()))
    }
}

/// Hash of what a request asks for, independent of its sender and key.
pub(in crate::api) fn hash(asked: &impl Serialize) -> String {
    let digest = Sha256::digest(serde_json::to_vec(asked).unwrap_or_default());
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Tells that an earlier request with the same key did it.
pub(in crate::api) fn repeated(what: &str) -> Warning {
    let (code, field) = ("repeated".to_owned(), "idempotency_key".to_owned());
    Warning { code, field, message: format!("an earlier request with this key {what}") }
}

/// Refuses a key that another request had.
pub(in crate::api) fn used_otherwise(key: &str) -> ApiError {
    let message = format!("idempotency_key {key:?} was already used for another request");
    let mut error = ApiError::new(Code::NotAllowed, message);
    error.details = vec![FieldFault::new("idempotency_key", "was used for another request")];
    error
}
