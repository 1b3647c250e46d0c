//! State machines of schedules and attempts: all changes of [`Schedule::status`] and of [`Attempt::phase`].
//!
//! Each is one table from state and event to state: [`Status::after`] and [`Phase::after`]. Engine and
//! service share them, in normal operation and in recovery. A pair that is not in the table is a typed
//! refusal and changes nothing; the caller decides what that means. No other code can set either field
//! ([`Guarded`]).
//!
//! A new attempt begins in the phase that it is made with. The state that a record was read with stands.

mod table;

use std::ops::Deref;

use serde::{Deserialize, Serialize};

pub use table::{AttemptEvent, Finish, NotNow, Refused, ScheduleEvent};

/// A state that all code reads and only this module sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Guarded<T>(T);

impl<T> Guarded<T> {
    /// The initial state, or the one that was read.
    pub(super) fn first(state: T) -> Self {
        Self(state)
    }

    /// Access for changes that leave the state itself alone: cutting texts, mending times of older versions.
    pub(super) fn within(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: PartialEq> PartialEq<T> for Guarded<T> {
    fn eq(&self, other: &T) -> bool {
        self.0 == *other
    }
}

/// Lets tests begin in the middle of a life.
#[cfg(test)]
impl<T> From<T> for Guarded<T> {
    fn from(state: T) -> Self {
        Self(state)
    }
}

#[cfg(test)]
impl<T> std::ops::DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
