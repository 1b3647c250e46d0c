//! Recent changes by users that a record remembers, so that a writer that lost an acknowledgement can ask.
//!
//! A change is identified by its id. A record keeps the ids of its latest changes, the service's own among
//! them, each with the revision that it made, which follows from its place. So there is always an answer. A
//! writer that decided a change from revision `since` finds its id among those behind it; or it finds all of
//! them without its own; or it finds that some are forgotten, and then nobody may say that the change was not
//! made. No clock decides that. Time only keeps records small: the next change drops ids that are older than
//! any writer keeps trying.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Schedule;
use crate::stored::{Unknown, keeps_unknown};

/// Ids that a record keeps: more changes than one schedule sees while a writer waits for an acknowledgement.
const MAX_KEPT: usize = 32;
/// JSON bytes of one id, and of the rest that the first change adds to a record.
const ID: usize = 39;
const FIELD: usize = 256;
/// How much older than the latest change the others may be: longer than a writer keeps trying.
const KEPT_MS: u64 = 15 * 60 * 1000;

/// The latest changes of a schedule, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct RecentChanges {
    /// The revision that the last change made.
    pub revision: u64,
    /// Ids of the changes, oldest first.
    pub ids: Vec<Uuid>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(RecentChanges);

/// What a record says about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was made.
    Made,
    /// It was not made.
    NotMade,
    /// It may have been made: the record does not remember that far back.
    Forgotten,
}

impl Schedule {
    /// Bytes by which the record grows until it remembers as many changes as it may.
    pub(super) fn recent_growth(&self) -> usize {
        let kept = self.recent.as_ref().map_or(0, |recent| recent.ids.len());
        (MAX_KEPT - kept.min(MAX_KEPT)) * ID + if kept == 0 { FIELD } else { 0 }
    }

    /// Notes a change that is about to be written.
    pub fn note_change(&mut self, id: Uuid) {
        let mut recent = self.recent.take().unwrap_or_default();
        if recent.revision != self.revision {
            // An older version made changes; it notes only the last one.
            if recent.revision + 1 != self.revision {
                recent.ids.clear();
            }
            recent.ids.extend(self.noted_last());
        }
        self.revision += 1;
        self.last_change = Some(Box::new(id));
        recent.revision = self.revision;
        recent.ids.push(id);
        let too_many = recent.ids.len().saturating_sub(MAX_KEPT);
        let is_old = |old: &Uuid| made_at_ms(id).saturating_sub(made_at_ms(*old)) > KEPT_MS;
        let old = recent.ids.iter().take_while(|old| is_old(old)).count();
        recent.ids.drain(..too_many.max(old));
        self.recent = Some(recent);
    }

    /// Whether a change was made whose first write was decided from revision `since`.
    pub fn fate_of(&self, id: Uuid, since: u64) -> Fate {
        let ids = self.recent.as_ref().map_or(&[][..], |recent| &recent.ids);
        let waits = self.events.iter().any(|event| event.event_id == id);
        if self.last_change.as_deref() == Some(&id) || waits || ids.contains(&id) {
            return Fate::Made;
        }
        match since + self.remembered() >= self.revision {
            true => Fate::NotMade,
            false => Fate::Forgotten,
        }
    }

    /// The event of the latest change, if there was one.
    fn noted_last(&self) -> Option<Uuid> {
        self.last_change.as_deref().copied()
    }

    /// How many of the latest changes are known without a gap.
    fn remembered(&self) -> u64 {
        let last = u64::from(self.noted_last().is_some());
        let Some(recent) = &self.recent else { return last };
        let ids = recent.ids.len() as u64;
        match self.revision.checked_sub(recent.revision) {
            Some(0) => ids,
            // The latest change was made by an older version.
            Some(1) => ids + last,
            _ => last,
        }
    }
}

/// When a change was made: its id begins with the time, whether random or computed.
fn made_at_ms(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{
        CreateSchedule, Rules, TargetPattern, Writer, new_schedule, parse_fields,
    };

    fn record() -> Schedule {
        let request: CreateSchedule = parse_fields(
            br#"{"name":"n","schedule_type":"cron","cron_expression":"@daily","target_command":"cmd.a.b"}"#,
        )
        .unwrap();
        let allowed_targets = vec![TargetPattern::parse("cmd.a.>").unwrap()];
        let rules = Rules { allowed_targets, ..Rules::default() };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let writer = Writer { instance: Uuid::nil(), token: 1 };
        new_schedule(&request, &rules, Uuid::nil(), now, "me", "c", writer).unwrap().0
    }

    /// The id of a change at some second.
    fn id(second: u64, number: u128) -> Uuid {
        Uuid::from_u128((u128::from(second * 1000) << 80) | number)
    }

    #[test]
    fn a_change_is_known_until_others_have_pushed_it_out_and_then_nobody_says_that_it_was_not_made()
    {
        let (mine, never) = (id(1, 1), id(1, 2));
        let mut record = record();
        let since = record.revision;
        assert_eq!(record.fate_of(mine, since), Fate::NotMade);
        record.note_change(mine);
        for other in 0..40_u128 {
            let kept = other < MAX_KEPT as u128;
            let (mine, never) = (record.fate_of(mine, since), record.fate_of(never, since));
            assert_eq!(mine, if kept { Fate::Made } else { Fate::Forgotten }, "{other}");
            assert_eq!(never, if kept { Fate::NotMade } else { Fate::Forgotten }, "{other}");
            record.note_change(id(2, 100 + other));
        }
        let latest = record.revision - MAX_KEPT as u64;
        assert_eq!(record.fate_of(never, latest), Fate::NotMade);
        assert_eq!(record.fate_of(never, latest - 1), Fate::Forgotten);
        assert_eq!(record.recent.unwrap().ids.len(), MAX_KEPT);
    }

    #[test]
    fn what_is_older_than_anybody_tries_is_dropped() {
        let mut record = record();
        record.note_change(id(0, 1));
        record.note_change(id(100, 2));
        record.note_change(id(1000, 3));
        assert_eq!(record.recent.as_ref().unwrap().ids, [id(100, 2), id(1000, 3)]);
        assert_eq!(record.fate_of(id(1, 9), 1), Fate::Forgotten);
        assert_eq!(record.fate_of(id(1, 9), 2), Fate::NotMade);
    }

    #[test]
    fn a_change_by_a_version_that_notes_only_the_last_leaves_no_gap_unseen() {
        let older = |record: &mut Schedule, change: Uuid| {
            record.revision += 1;
            record.last_change = Some(Box::new(change));
        };
        let (mine, other) = (id(1, 1), id(1, 2));
        let mut record = record();
        older(&mut record, id(1, 10));
        assert_eq!(
            (record.fate_of(id(1, 10), 1), record.fate_of(other, 1)),
            (Fate::Made, Fate::NotMade)
        );
        record.note_change(mine);
        older(&mut record, id(1, 11));
        assert_eq!(
            (record.fate_of(mine, 2), record.fate_of(other, 2)),
            (Fate::Made, Fate::NotMade)
        );
        older(&mut record, id(1, 12));
        assert_eq!(record.fate_of(other, 2), Fate::Forgotten);
        record.note_change(id(1, 13));
        assert_eq!(
            (record.fate_of(mine, 2), record.fate_of(other, 2)),
            (Fate::Forgotten, Fate::Forgotten)
        );
        assert_eq!(record.fate_of(other, record.revision - 2), Fate::NotMade);
    }
}
