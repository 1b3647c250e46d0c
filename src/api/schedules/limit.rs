//! The exact limit on schedules per creator, even when several instances create at once.
//!
//! If instances counted what they know and then wrote, two of them could fill the last place twice. So creating or
//! restoring a schedule first takes a place in an order that is the same for all: the revision at which its name was
//! reserved. It then waits until the watch has shown everything up to that revision, and counts the creator's schedules
//! and the reservations before its own. The record is written only if that leaves room.
//!
//! When two create at once, the later one counts the earlier one, by its reservation or by its record, so together they
//! never exceed the limit. A crash leaves behind a reservation that counts until it is [`ORPHAN_AFTER`] old. The next
//! request that meets the limit then fences and removes it, as [`super::reservations`] describes.

use std::time::Duration;

use super::super::Api;
use super::super::error::{ApiError, Code};
use super::coming::Coming;
use super::reservations::{ORPHAN_AFTER, Reserved};
use crate::index::{ReservedName, Sight};
use crate::jetstream::WriteError;
use crate::names::name_key;
use crate::port::Nats;
use crate::schedule::Schedule;

/// How long to wait for the watch, which normally lags by milliseconds.
pub(super) const SEEN_WITHIN: Duration = Duration::from_secs(4);

impl<N: Nats> Api<N> {
    /// Refuses a schedule whose name is reserved if its creator has no room for it; the reservation is then given up.
    ///
    /// # Errors
    /// `limit_exceeded`, `unavailable`; `conflict` if another request has already created the schedule.
    pub(super) async fn admit(
        &self,
        schedule: &Schedule,
        reserved: &Reserved,
    ) -> Result<(), ApiError> {
        let refused = match self.has_room(schedule, reserved).await {
            Ok(true) => return Ok(()),
            Ok(false) => self.limit_exceeded(&schedule.created_by),
            Err(error) => error,
        };
        if self.has_name(schedule.id, None).await? {
            return Err(WriteError::Conflict.into());
        }
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        // Best effort: a reservation that stays is taken over by the next request for the name.
        let _ = self.store.delete(&key, reserved.at).await;
        Err(refused)
    }

    /// How many more schedules the creator of one may have, which a dry run would create beside those that are `coming`.
    ///
    /// # Errors
    /// `limit_exceeded`.
    pub(super) fn room_for(&self, schedule: &Schedule, coming: &Coming) -> Result<usize, ApiError> {
        let creator = schedule.created_by.as_str();
        let (count, reserved) = self.index.occupied(creator, schedule.id, u64::MAX);
        // What was left behind makes room for who asks for it.
        let orphans = reserved.iter().filter(|it| it.since.elapsed() > ORPHAN_AFTER).count();
        let room = self.rules.limits.schedules_per_creator.saturating_sub(count - orphans);
        match coming.takes_place(creator, room) {
            true => Ok(room),
            false if room == 0 => Err(self.limit_exceeded(creator)),
            false => Err(ApiError::beyond_room(creator, room)),
        }
    }

    async fn has_room(&self, schedule: &Schedule, reserved: &Reserved) -> Result<bool, ApiError> {
        if !self.index.sees(reserved.at.revision, SEEN_WITHIN).await {
            return Err(ApiError::behind());
        }
        let limit = self.rules.limits.schedules_per_creator;
        loop {
            let sight = self.store.sight();
            let (count, names) =
                self.index.occupied(&schedule.created_by, schedule.id, reserved.first);
            if count < limit {
                return Ok(true);
            }
            let mut removed = false;
            for orphan in names.iter().filter(|name| name.since.elapsed() > ORPHAN_AFTER) {
                removed |= self.remove_orphan(orphan, sight).await?;
            }
            if !removed {
                return Ok(false);
            }
        }
    }

    /// Removes a reservation that seems to be left behind; returns whether this changed the index.
    async fn remove_orphan(&self, orphan: &ReservedName, sight: Sight) -> Result<bool, ApiError> {
        let key = &orphan.key;
        let ReservedName { revision, first, ref unknown, .. } = *orphan;
        let reserved = Reserved { at: sight.at(revision), first, unknown: unknown.clone() };
        let at = match self.fence(key, orphan.schedule, &reserved, None).await {
            Ok(Some(at)) => at,
            Ok(None) => return Ok(false),
            // It has moved or is gone, and the watch has not shown that yet.
            Err(error) if error.code == Code::Conflict => {
                match self.store.read(key).await? {
                    Some(now) => self.index.apply(key, now.revision, now.value.as_deref()),
                    None => self.index.apply(key, orphan.revision + 1, None),
                }
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        match self.store.delete(key, at).await {
            Ok(revision) => self.index.apply(key, revision, None),
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn limit_exceeded(&self, creator: &str) -> ApiError {
        let limit = self.rules.limits.schedules_per_creator;
        let message = format!(
            "{creator} has {limit} schedules, which is the limit (MAX_SCHEDULES_PER_CREATOR)"
        );
        ApiError::new(Code::LimitExceeded, message)
    }
}
