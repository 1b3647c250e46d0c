//! What goes on with one schedule, besides its record.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::groups::Waits;
use super::lanes::Ready;
use super::rate_places::RatePlace;
use crate::execution::Execution;

/// What goes on with a schedule.
#[derive(Default)]
pub(super) struct State {
    /// Its record is being written: we never have two writes under way.
    pub(super) is_busy: bool,
    /// Whether that write is to do what is due, and does not only settle.
    pub(super) has_turn: bool,
    /// Whether the work that is ready is to renew claims, and sends nothing.
    pub(super) renews: bool,
    /// Its changes are being announced.
    pub(super) is_announcing: bool,
    /// The schedules that follow it are being told of ends.
    pub(super) is_telling: bool,
    /// It is being planned again, because its times lay ahead.
    pub(super) is_correcting: bool,
    /// What has been done and is not yet folded into its record.
    pub(super) done: Done,
    /// When `done` is settled at the latest.
    pub(super) settle_at: Option<DateTime<Utc>>,
    /// Nothing that is due is done before this time.
    pub(super) not_before: Option<DateTime<Utc>>,
    /// Its place in the order of schedules with rate-limited targets.
    pub(super) rate_place: Option<RatePlace>,
    /// Since when something has been due and not acted on.
    pub(super) overdue_since: Option<DateTime<Utc>>,
    /// Work that was already due when it was first seen.
    pub(super) visible: Option<Visible>,
    /// Its place in the line for a slot of its group.
    pub(super) waits: Option<Box<Waits>>,
    /// Its place among the work whose time has come.
    pub(super) ready: Option<Ready>,
}

/// Work that was already due when it was first seen: its turn counts from then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visible {
    /// The work: since when it is due, and by which revision of the record.
    pub(super) work: (DateTime<Utc>, u64),
    /// When it was first seen.
    pub(super) at: DateTime<Utc>,
}

/// What has been done and is not yet folded into a schedule's record.
#[derive(Default)]
pub(crate) struct Done {
    /// Executions whose outcome is in the history.
    pub(crate) ended: Vec<Execution>,
    /// Events that are in the audit stream.
    pub(crate) announced: Vec<Uuid>,
    /// Executions whose end the schedules that follow have been told of.
    pub(crate) told: Vec<Uuid>,
}

impl Done {
    pub(crate) fn merge(&mut self, other: Self) {
        self.ended.extend(other.ended);
        self.announced.extend(other.announced);
        self.told.extend(other.told);
    }

    pub(crate) fn executions(&self) -> impl Iterator<Item = Uuid> {
        self.ended.iter().map(|execution| execution.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.announced.is_empty() && self.told.is_empty()
    }
}

impl State {
    /// Whether nothing goes on.
    pub(super) fn is_idle(&self) -> bool {
        // Without `..`, so that a new field is thought of here.
        let Self {
            is_busy,
            has_turn: _,
            renews: _,
            is_announcing,
            is_telling,
            is_correcting,
            done,
            settle_at,
            not_before,
            rate_place,
            overdue_since,
            visible,
            waits,
            ready,
        } = self;
        let goes_on = *is_busy || *is_announcing || *is_telling || *is_correcting;
        let times = [settle_at, not_before, overdue_since];
        let has_place = rate_place.is_some() || waits.is_some() || ready.is_some();
        !goes_on
            && times.iter().all(|time| time.is_none())
            && visible.is_none()
            && !has_place
            && done.is_empty()
    }
}
