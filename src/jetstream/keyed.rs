//! Reads and writes calendars, groups and reruns, each of which is a key of the bucket.

use bytes::Bytes;
use tokio::time::Instant;

use super::WriteError;
use super::schedules::{Condition, Store};
use crate::index::At;
use crate::port::Nats;
use crate::schedule::Room;
use crate::schedule::keyed::Keyed;

impl<N: Nats> Store<N> {
    /// Reads one from the stream's leader, if there is one that can be read, with the revision at which it may be written.
    ///
    /// # Errors
    /// The leader does not answer; a newer version wrote it.
    pub async fn read_keyed<T: Keyed>(&self, name: &str) -> Result<(Option<T>, At), WriteError> {
        let sight = self.sight();
        let stored = self.read(&T::key(name)).await?;
        let at = sight.at(stored.as_ref().map_or(0, |stored| stored.revision));
        let Some(value) = stored.and_then(|stored| stored.value) else { return Ok((None, at)) };
        match T::read(&value) {
            Ok(read) => Ok((Some(read), at)),
            Err(damage) if T::is_newer(&value) => {
                Err(WriteError::Newer(format!("{} {name:?}: {}", T::KIND, damage.reason)))
            }
            // Whatever is there, it is none of ours.
            Err(_) => Ok((None, at)),
        }
    }

    /// Writes one at the revision at which it was read, and settles an unknown outcome by its token. Returns the new
    /// revision.
    ///
    /// # Errors
    /// See [`Store::write_key`]; it is too large.
    pub async fn write_keyed<T: Keyed>(
        &self,
        one: &T,
        at: At,
        deadline: Instant,
    ) -> Result<u64, WriteError> {
        let value = |room: Room| {
            let encoded = serde_json::to_vec(one);
            let encoded = encoded.map_err(|error| WriteError::Refused(error.to_string()))?;
            room.admits_value(T::KIND, encoded.len())?;
            Ok(Bytes::from(encoded))
        };
        let token = one.head().token;
        let is_ours =
            |stored: &[u8]| T::read(stored).is_ok_and(|stored| stored.head().token == token);
        let key = T::key(one.head().name);
        let place = Condition { key: &key, at, ttl: None };
        Ok(self.write_key(place, value, is_ours, deadline).await?.revision)
    }
}
