//! How many schedules a creator may have, exactly, whoever creates them where.
//!
//! Counting what an instance knows and then writing would let two instances fill the last place
//! twice. So who creates or restores a schedule first takes a place in an order that is the same for
//! all: the revision at which its name was reserved. It then waits until the watch has shown
//! everything up to that revision, and counts the creator's schedules and the reservations before its
//! own. Only if that leaves room is the record written.
//!
//! Of two that create at once the later one counts the earlier one, by its reservation or by its
//! record, so together they never exceed the limit. A crash leaves a reservation that counts
//! until it is [`ORPHAN_AFTER`] old. Whoever meets the limit then removes it, which also refuses the
//! record of a creator that was only slow; should that record be there already, its name is put back.

use std::time::Instant;

use super::super::Api;
use super::super::error::{ApiError, Code};
use super::names::{ORPHAN_AFTER, PATIENCE, PAUSE, Reserved};
use crate::jetstream::WriteError;
use crate::jetstream::names::name_key;
use crate::schedule::Schedule;

impl Api {
    /// Refuses a schedule whose name is reserved, if its creator has no room for it; the
    /// reservation is then given up.
    pub(super) async fn admit(
        &self,
        schedule: &Schedule,
        reserved: Reserved,
    ) -> Result<(), ApiError> {
        let refused = match self.has_room(&schedule.created_by, reserved).await {
            Ok(true) => return Ok(()),
            Ok(false) => self.limit_exceeded(&schedule.created_by),
            Err(error) => error,
        };
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        // Best effort: what stays is taken over by the next who wants the name.
        let _ = self.store.delete(&key, reserved.revision).await;
        Err(refused)
    }

    async fn has_room(&self, creator: &str, reserved: Reserved) -> Result<bool, ApiError> {
        let deadline = Instant::now() + PATIENCE;
        let seen = tokio::time::timeout(PATIENCE, self.index.until_seen(reserved.revision));
        seen.await.map_err(|_| {
            let message = "this instance does not see new schedules in time; try again";
            ApiError::new(Code::Unavailable, message)
        })?;
        let limit = self.rules.limits.schedules_per_creator;
        loop {
            let (count, coming) = self.index.occupied(creator, reserved.first);
            if count < limit {
                return Ok(true);
            }
            let Some(orphan) = coming.iter().find(|r| r.since.elapsed() > ORPHAN_AFTER) else {
                return Ok(false);
            };
            match self.store.delete(&orphan.key, orphan.revision).await {
                Ok(revision) => {
                    if self.has_name(orphan.schedule, None).await? {
                        self.write_name(&orphan.key, orphan.schedule, revision, None).await?;
                    } else {
                        self.index.apply(&orphan.key, revision, None);
                    }
                }
                // It moved: the watch is about to show how.
                Err(WriteError::Conflict) if Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn limit_exceeded(&self, creator: &str) -> ApiError {
        let limit = self.rules.limits.schedules_per_creator;
        let message = format!(
            "{creator} has {limit} schedules, which is the limit (MAX_SCHEDULES_PER_CREATOR)"
        );
        ApiError::new(Code::LimitExceeded, message)
    }
}
