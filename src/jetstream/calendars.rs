//! Reads and writes calendars, each of which is a key of the bucket.

use bytes::Bytes;
use tokio::time::Instant;

use super::WriteError;
use super::schedules::{Condition, Store};
use crate::index::At;
use crate::names::calendar_key;
use crate::port::Nats;
use crate::schedule::{Calendar, Room};

impl<N: Nats> Store<N> {
    /// Reads a calendar from the stream's leader, if there is one that can be read, with the revision at which it may be
    /// written.
    ///
    /// # Errors
    /// The leader does not answer; a newer version wrote it.
    pub async fn read_calendar(&self, name: &str) -> Result<(Option<Calendar>, At), WriteError> {
        let sight = self.sight();
        let stored = self.read(&calendar_key(name)).await?;
        let at = sight.at(stored.as_ref().map_or(0, |stored| stored.revision));
        let Some(value) = stored.and_then(|stored| stored.value) else { return Ok((None, at)) };
        match Calendar::read(&value) {
            Ok(calendar) => Ok((Some(calendar), at)),
            Err(reason) if Calendar::is_newer(&value) => Err(WriteError::Refused(reason)),
            // Whatever is there, it is no calendar.
            Err(_) => Ok((None, at)),
        }
    }

    /// Writes a calendar at the revision at which it was read, and settles an unknown outcome by its token. Returns the
    /// new revision.
    ///
    /// # Errors
    /// See [`Store::write_key`]; it is too large.
    pub async fn write_calendar(
        &self,
        calendar: &Calendar,
        at: At,
        deadline: Instant,
    ) -> Result<u64, WriteError> {
        let value = |room: Room| {
            let encoded = serde_json::to_vec(calendar);
            let encoded = encoded.map_err(|error| WriteError::Refused(error.to_string()))?;
            room.admits_calendar(encoded.len())?;
            Ok(Bytes::from(encoded))
        };
        let is_ours = |stored: &[u8]| {
            let token = Calendar::read(stored).map(|stored| stored.token);
            token.is_ok_and(|token| token == calendar.token)
        };
        let key = calendar_key(&calendar.name);
        let place = Condition { key: &key, at, ttl: None };
        Ok(self.write_key(place, value, is_ours, deadline).await?.revision)
    }
}
