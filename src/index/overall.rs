//! What holds for all schedules, as the watch last showed it: the pauses of all, and the calendars; and by which of it every
//! decision under way goes.
//!
//! Whoever decides what to claim holds what it goes by until its claim is written. So once nobody holds anything older,
//! nothing more is claimed against the latest, and the instance may say so. It is taken in only in the order of the watch:
//! then what is known of one revision includes all before.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use tokio::sync::watch;

use super::{Entry, Index, Shown};
use crate::schedule::{Calendar, Calendars, PausesOfAll};
use crate::stored::damage::Damage;

/// What holds for all schedules at one revision.
#[derive(Clone, Debug, Default)]
pub struct Overall {
    /// The latest revision of the bucket that changed any of it; 0 if there is none.
    pub revision: u64,
    /// The pauses of all schedules.
    pub pauses: Arc<PausesOfAll>,
    pauses_revision: u64,
    /// The calendars.
    pub calendars: Arc<Calendars>,
}

#[derive(Default)]
pub(super) struct Latest {
    overall: RwLock<Arc<Overall>>,
    /// Those before, which somebody may still hold.
    older: Mutex<Vec<Weak<Overall>>>,
    changed: watch::Sender<()>,
}

impl Index {
    /// What holds for all schedules. Hold it until what is decided by it is written.
    pub fn overall(&self) -> Arc<Overall> {
        Arc::clone(&self.latest.overall.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether changes of any of it, or of groups and reruns, wait to be announced.
    pub fn has_news(&self) -> bool {
        let overall = self.overall();
        !overall.pauses.events.is_empty()
            || overall.calendars.with_news().next().is_some()
            || self.groups().with_news().next().is_some()
            || self.reruns().with_news().next().is_some()
    }

    /// The pauses of all schedules.
    pub fn pauses(&self) -> Arc<PausesOfAll> {
        Arc::clone(&self.overall().pauses)
    }

    /// The calendars.
    pub fn calendars(&self) -> Arc<Calendars> {
        Arc::clone(&self.overall().calendars)
    }

    /// The oldest revision that a decision or a write under way may still go by.
    pub fn honoured(&self) -> u64 {
        let mut older = self.latest.older.lock().unwrap_or_else(PoisonError::into_inner);
        older.retain(|held| held.strong_count() > 0);
        let held = older.iter().filter_map(Weak::upgrade).map(|held| held.revision);
        // Read under the lock: who takes it meanwhile takes the latest.
        held.chain([self.overall().revision]).min().unwrap_or_default()
    }

    /// Tells when any of it changes.
    pub fn overall_changed(&self) -> watch::Receiver<()> {
        self.latest.changed.subscribe()
    }

    /// Takes in what the key of the pauses of all holds, unless something newer is known.
    pub(super) fn take_in_held_pauses(
        &self,
        key: &str,
        revision: u64,
        held: Result<PausesOfAll, Damage>,
    ) {
        let pauses = held.unwrap_or_else(|damage| {
            damage.tell(key, revision, "pauses of all cannot be read; all schedules are paused");
            PausesOfAll::unread(&damage)
        });
        self.take_in_pauses(revision, pauses);
    }

    /// Takes in the pauses of all schedules, unless newer ones are known.
    fn take_in_pauses(&self, revision: u64, pauses: PausesOfAll) {
        self.replace(|known| {
            (known.pauses_revision < revision).then(|| Overall {
                revision: known.revision.max(revision),
                pauses: Arc::new(pauses),
                pauses_revision: revision,
                ..known.clone()
            })
        });
    }

    /// Takes in what the key of a calendar holds, unless something newer is known.
    pub(super) fn take_in_calendar(
        &self,
        key: &str,
        revision: u64,
        held: Option<Result<Calendar, Damage>>,
    ) {
        if let Some(Err(damage)) = &held {
            damage.tell(key, revision, "calendar cannot be read; its schedules are held");
        }
        let is_news = self.replace(|known| {
            let mut calendars = Calendars::clone(&known.calendars);
            calendars.take_in(key, revision, held).then(|| Overall {
                revision: known.revision.max(revision),
                calendars: Arc::new(calendars),
                ..known.clone()
            })
        });
        if is_news {
            self.restrict_anew();
        }
    }

    /// Notes that something was changed that is kept elsewhere.
    pub(super) fn note_revision(&self, revision: u64) {
        self.replace(|known| {
            (known.revision < revision).then(|| Overall { revision, ..known.clone() })
        });
    }

    /// Forgets what is not newer than a revision and was not shown: it is not in the bucket any more.
    pub(super) fn forget_overall(&self, shown: &Shown, revision: u64) {
        let is_news = self.replace(|known| {
            let forgets = !shown.has_pauses() && (1..=revision).contains(&known.pauses_revision);
            let mut calendars = Calendars::clone(&known.calendars);
            let is_news = calendars.retain(revision, |key| shown.has_named(key));
            (forgets || is_news).then(|| Overall {
                revision: known.revision,
                pauses: if forgets { Arc::default() } else { Arc::clone(&known.pauses) },
                pauses_revision: if forgets { 0 } else { known.pauses_revision },
                calendars: Arc::new(calendars),
            })
        });
        if is_news {
            self.restrict_anew();
        }
    }

    /// Forgets everything, because the bucket is a different one.
    pub(super) fn clear_overall(&self) {
        self.replace(|_| Some(Overall::default()));
    }

    /// Replaces what is known, if there is something new; returns whether there was.
    fn replace(&self, by: impl FnOnce(&Overall) -> Option<Overall>) -> bool {
        let mut older = self.latest.older.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = self.latest.overall.write().unwrap_or_else(PoisonError::into_inner);
        let Some(by) = by(&latest) else { return false };
        older.retain(|held| held.strong_count() > 0);
        older.push(Arc::downgrade(&latest));
        *latest = Arc::new(by);
        drop((latest, older));
        self.latest.changed.send_replace(());
        true
    }

    /// Renews the triggers of schedules whose calendars have changed, and has the engine look at them.
    fn restrict_anew(&self) {
        let calendars = self.calendars();
        let users = self.tied(|schedule| schedule.spec.timing.has_calendars());
        for known in users {
            let timing = &known.schedule.spec.timing;
            if calendars.versions(timing) == known.trigger.versions() {
                continue;
            }
            let trigger = calendars.restrict(timing, &known.trigger).into_owned();
            let schedule = Arc::clone(&known.schedule);
            let entry = Arc::new(Entry { revision: known.revision, schedule, trigger });
            self.write(|state| {
                let shows = state.entries.get(entry.schedule.id);
                if shows.is_some_and(|shows| Arc::ptr_eq(shows, &known)) {
                    state.entries.insert(entry);
                }
            });
            let _ = self.changes.send(known.schedule.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Group;
    use crate::schedule::keyed::Keyed as _;

    #[test]
    fn what_is_taken_in_is_honoured_once_nothing_is_decided_by_anything_older() {
        let (index, _changes) = Index::new();
        assert_eq!(index.honoured(), 0);
        let before = index.overall();
        index.take_in_pauses(7, PausesOfAll::default());
        assert_eq!((index.overall().revision, index.honoured()), (7, 0));
        let between = index.overall();
        index.take_in_calendar("calendar.YQ", 9, Some(Err("junk".to_owned().into())));
        index.take_in_pauses(6, PausesOfAll::default());
        drop(before);
        assert_eq!((index.overall().revision, index.honoured()), (9, 7));
        drop(between);
        assert_eq!(index.honoured(), 9);
        assert_eq!(index.calendars().unreadable("a"), Some("junk"));
        index.forget_overall(&Shown::default(), 8);
        assert!(index.calendars().unreadable("a").is_some(), "newer than the replay");
        index.forget_overall(&Shown::default(), 9);
        assert!(index.calendars().unreadable("a").is_none());
        assert_eq!(index.honoured(), 9, "it does not go back");
        let changed = index.overall_changed();
        index.clear();
        assert_eq!((index.overall().revision, index.honoured()), (0, 0));
        assert!(changed.has_changed().unwrap());
    }

    #[test]
    fn a_group_is_honoured_anew_in_another_bucket_and_after_it_was_gone() {
        let (index, _changes) = Index::new();
        let group = || Some(Ok(Group { name: "a".to_owned(), revision: 1, ..Group::default() }));
        let key = Group::key("a");
        index.take_in_group(&key, 9, group());
        assert_eq!(index.honoured(), 9);
        // What the engine changes does not count.
        index.take_in_group(&key, 10, group());
        assert_eq!(index.honoured(), 9);
        index.forget_groups(&Shown::default(), 10);
        index.take_in_group(&key, 12, group());
        assert_eq!(index.honoured(), 12);
        index.clear();
        index.take_in_group(&key, 3, group());
        assert_eq!(index.honoured(), 3);
    }
}
