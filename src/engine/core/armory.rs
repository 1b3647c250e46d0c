//! Claims made ahead of their time, waiting for it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Most claims that wait for their time at once; beyond it nothing is claimed ahead.
pub(crate) const MAX_ARMED: usize = 50_000;

/// An attempt under an accepted claim that is not due yet, with its due time.
pub(crate) struct Armed<A> {
    /// When its command may go out.
    pub(crate) due: DateTime<Utc>,
    /// Among attempts due at once, the higher goes first.
    pub(crate) priority: u8,
    pub(crate) execution: Uuid,
    /// What is needed to make it.
    pub(crate) attempt: A,
}

/// Armed attempts by due time; among those due at once the higher priority comes first. (Ids are compared as numbers: as bytes
/// they would be compared by a call, and in a burst only the ids differ.)
pub(super) struct Armory<A> {
    waiting: BTreeMap<(DateTime<Utc>, Reverse<u8>, u128), A>,
}

impl<A> Armory<A> {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, armed: Armed<A>) {
        let Armed { due, priority, execution, attempt } = armed;
        self.waiting.insert((due, Reverse(priority), execution.as_u128()), attempt);
    }

    /// When the next attempt is due.
    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        self.waiting.first_key_value().map(|((due, ..), _)| *due)
    }

    /// Whether more than `many` attempts are due at one time, by `until`.
    pub(super) fn is_crowded(&self, until: DateTime<Utc>, many: usize) -> bool {
        let soon = self.waiting.keys().map(|(due, ..)| *due).take_while(|due| *due <= until);
        let (mut at, mut count) = (DateTime::UNIX_EPOCH, 0);
        for due in soon {
            count = if due == at { count + 1 } else { 1 };
            at = due;
            if count > many {
                return true;
            }
        }
        false
    }

    /// Whether an attempt is due.
    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.next().is_some_and(|due| due <= now)
    }

    /// Takes the next attempt that is due.
    pub(super) fn pop_due(&mut self, now: DateTime<Utc>) -> Option<A> {
        if !self.is_due(now) {
            return None;
        }
        self.waiting.pop_first().map(|(_, armed)| armed)
    }

    /// How many attempts wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
