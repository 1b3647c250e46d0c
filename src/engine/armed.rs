//! Claims made ahead of their time, waiting for it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::execute::Prepared;
use super::work::Accepted;
use crate::schedule::Attempt;

/// An attempt under an accepted claim that is not due yet.
pub(crate) struct Armed {
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) attempt: Attempt,
    pub(crate) prepared: Prepared,
    /// Whether others may have acted on it.
    pub(crate) recovered: bool,
}

/// Armed attempts by due time; of those due at once the higher priority comes first.
#[derive(Default)]
pub(crate) struct Armory {
    waiting: BTreeMap<(DateTime<Utc>, Reverse<u8>, Uuid), Armed>,
}

impl Armory {
    /// Adds an attempt.
    pub(crate) fn add(&mut self, armed: Armed) {
        let priority = armed.accepted.schedule.spec.priority;
        let due = armed.accepted.due_at(&armed.attempt);
        let id = armed.attempt.execution_id;
        self.waiting.insert((due, Reverse(priority), id), armed);
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.waiting.first_key_value().map(|((due, ..), _)| *due)
    }

    /// Takes the next one that is due.
    pub(crate) fn pop_due(&mut self, now: DateTime<Utc>) -> Option<Armed> {
        self.next().filter(|due| *due <= now)?;
        self.waiting.pop_first().map(|(_, armed)| armed)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
