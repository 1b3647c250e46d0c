//! Reads and writes the pauses of all schedules, which are one key of the bucket.

use bytes::Bytes;
use tokio::time::Instant;

use super::WriteError;
use super::schedules::{Condition, Store};
use crate::index::At;
use crate::names::PAUSE_ALL_KEY;
use crate::port::Nats;
use crate::schedule::{PausesOfAll, Room};

impl<N: Nats> Store<N> {
    /// Reads the pauses of all schedules from the stream's leader, with the revision at which they may be written.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn read_pauses(&self) -> Result<(PausesOfAll, At), WriteError> {
        let sight = self.sight();
        let stored = self.read(PAUSE_ALL_KEY).await?;
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let value = stored.and_then(|stored| stored.value);
        Ok((value.as_deref().map(PausesOfAll::read).unwrap_or_default(), sight.at(revision)))
    }

    /// Writes the pauses of all schedules at the revision at which they were read, and settles an unknown outcome by
    /// their token. Returns the new revision.
    ///
    /// # Errors
    /// See [`Store::write_key`].
    pub async fn write_pauses(
        &self,
        pauses: &PausesOfAll,
        at: At,
        deadline: Instant,
    ) -> Result<u64, WriteError> {
        let value = |room: Room| {
            let value = pauses.encode(room.record());
            value.map(Bytes::from).map_err(|error| WriteError::Refused(error.to_string()))
        };
        let is_ours = |stored: &[u8]| PausesOfAll::read(stored).token == pauses.token;
        let place = Condition { key: PAUSE_ALL_KEY, at, ttl: None };
        Ok(self.write_key(place, value, is_ours, deadline).await?.revision)
    }
}
