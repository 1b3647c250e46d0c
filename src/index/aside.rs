//! Contents of the bucket that cannot be shown as schedules, and schedules that are no longer there.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Index, schedule_id};
use crate::names::{
    CALENDAR_KEY_PREFIX, GROUP_KEY_PREFIX, PAUSE_ALL_KEY, RERUN_KEY_PREFIX, SCHEDULE_KEY_PREFIX,
};
use crate::stored::damage::Damage;

/// A record that could not be read: it was written by hand, or is damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetAside {
    /// Its key in the bucket.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Why it could not be read.
    pub reason: String,
}

/// Schedules that are no longer in the bucket although nobody deleted them: the bucket was purged or
/// replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vanished {
    /// Number of schedules since the instance started.
    pub schedules: usize,
    /// When this was last noticed.
    pub at: DateTime<Utc>,
}

/// First tokens of the keys of calendars, groups and reruns.
const NAMED: [&str; 3] = [CALENDAR_KEY_PREFIX, GROUP_KEY_PREFIX, RERUN_KEY_PREFIX];

/// Keys that a replay of the bucket has shown.
#[derive(Debug, Default)]
pub struct Shown {
    ids: HashSet<Uuid>,
    /// Keys with the prefix of schedules that contain no id.
    strange: HashSet<String>,
    /// Whether the pauses of all schedules are among them.
    pauses: bool,
    /// The keys of calendars, groups and reruns.
    named: HashSet<String>,
}

impl Shown {
    /// Adds a key.
    pub fn add(&mut self, key: &str) {
        if let Some(id) = schedule_id(key) {
            self.ids.insert(id);
        } else if key.starts_with(SCHEDULE_KEY_PREFIX) {
            self.strange.insert(key.to_owned());
        } else if NAMED.iter().any(|prefix| key.starts_with(prefix)) {
            self.named.insert(key.to_owned());
        }
        self.pauses |= key == PAUSE_ALL_KEY;
    }

    /// Whether the pauses of all schedules were shown.
    pub(super) fn has_pauses(&self) -> bool {
        self.pauses
    }

    /// Whether the key of a calendar, a group or a rerun was shown.
    pub(super) fn has_named(&self, key: &str) -> bool {
        self.named.contains(key)
    }

    /// Whether the record of a schedule was shown.
    pub fn has(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a key that was set aside was shown.
    pub(super) fn has_aside(&self, key: &str) -> bool {
        schedule_id(key).map_or_else(|| self.strange.contains(key), |id| self.has(id))
    }
}

impl Index {
    /// Records that could not be read.
    pub fn set_aside(&self) -> Vec<SetAside> {
        self.read(|state| state.set_aside.values().cloned().collect())
    }

    /// Sets a record aside: it is shown to operators and not acted on.
    pub(super) fn refuse(&self, id: Option<Uuid>, key: &str, revision: u64, damage: Damage) {
        damage.tell(key, revision, "record set aside: it cannot be read");
        if let Some(id) = id {
            self.remove(id, revision);
        }
        let aside = SetAside { key: key.to_owned(), revision, reason: damage.reason };
        self.write(|state| state.set_aside.insert(key.to_owned(), aside));
    }

    /// Forgets a record that was set aside, because its key was deleted at a revision.
    pub(super) fn forget_aside(&self, key: &str, revision: u64) {
        self.write(|state| {
            if state.set_aside.get(key).is_some_and(|aside| aside.revision <= revision) {
                state.set_aside.remove(key);
            }
        });
    }

    /// Notes that schedules vanished from the bucket.
    pub fn note_vanished(&self, schedules: usize, at: DateTime<Utc>) {
        self.write(|state| {
            let before = state.vanished.map_or(0, |vanished| vanished.schedules);
            state.vanished = Some(Vanished { schedules: before + schedules, at });
        });
    }

    /// Schedules that vanished from the bucket, if any did.
    pub fn vanished(&self) -> Option<Vanished> {
        self.read(|state| state.vanished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::schedule_key;

    fn aside(index: &Index) -> Vec<String> {
        index.set_aside().into_iter().map(|aside| aside.key).collect()
    }

    #[test]
    fn a_key_that_is_no_schedule_s_clears_when_it_is_deleted() {
        let (index, _) = Index::new();
        index.apply("schedule.nonsense", 5, Some(b"x"));
        index.apply("schedule.other", 6, Some(b"x"));
        index.apply("schedule.nonsense", 4, None);
        assert_eq!(aside(&index), ["schedule.nonsense", "schedule.other"], "an older marker");
        index.apply("schedule.nonsense", 7, None);
        assert_eq!(aside(&index), ["schedule.other"]);
    }

    #[test]
    fn what_a_replay_does_not_show_again_clears() {
        let (index, _) = Index::new();
        let keys = [1, 2].map(|n| schedule_key(Uuid::from_u128(n)));
        let [first, second] = keys.each_ref().map(String::as_str);
        for (key, revision) in [
            ("schedule.gone", 1),
            ("schedule.stays", 2),
            ("schedule.new", 9),
            (first, 3),
            (second, 4),
        ] {
            index.apply(key, revision, Some(b"x"));
        }
        let mut shown = Shown::default();
        index.begin_replay();
        for key in ["schedule.stays", second] {
            shown.add(key);
            index.apply(key, 8, Some(b"x"));
        }
        index.retain(&shown, 8);
        assert_eq!(aside(&index), [second, "schedule.new", "schedule.stays"]);
    }

    #[test]
    fn an_id_in_another_spelling_is_another_key() {
        let id = Uuid::from_u128(0xabc);
        assert_eq!(schedule_id(&schedule_key(id)), Some(id));
        let upper = format!("schedule.{}", id.to_string().to_uppercase());
        for key in [upper, format!("schedule.{}", id.simple()), format!("schedule.{{{id}}}")] {
            assert_eq!(schedule_id(&key), None, "{key}");
        }
    }
}
