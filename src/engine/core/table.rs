//! The schedules that the engine knows something of, by id and by when to look at each.
//!
//! Of a million schedules nearly all only wait for their time, so what a waiting schedule takes up decides what a
//! schedule costs: a row of 32 bytes in one allocation, its number in a table by id, and its number and time in an
//! order.

use std::hash::{BuildHasher as _, RandomState};

use chrono::{DateTime, Utc};
use hashbrown::HashTable;
use uuid::Uuid;

use super::state::State;
use crate::index::{Order, nanos, number, reserve};

/// The time in a row without a timer.
const NEVER: i64 = i64::MAX;

/// What the engine keeps of one schedule.
struct Row {
    id: Uuid,
    /// When to look at it, in nanoseconds.
    timer: i64,
    /// What goes on with the schedule, if anything.
    state: Option<Box<State>>,
}

/// Position of a timer among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(i64, u32);

impl Position {
    /// The position before all timers.
    pub(super) const START: Self = Self(i64::MIN, 0);

    /// The position behind all timers that are due at a time.
    pub(super) fn behind(time: DateTime<Utc>) -> Self {
        Self(nanos(time), u32::MAX)
    }

    /// When the timer is due.
    pub(super) fn due(self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0)
    }
}

/// All schedules that the engine knows something of.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// Table without a schedule.
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    timers: Order,
}

impl Table {
    /// What goes on with a schedule, if anything.
    pub(super) fn get(&self, id: Uuid) -> Option<&State> {
        self.rows[self.find(id)? as usize].state.as_deref()
    }

    /// What goes on with a schedule, mutable.
    pub(super) fn get_mut(&mut self, id: Uuid) -> Option<&mut State> {
        let row = self.find(id)?;
        self.rows[row as usize].state.as_deref_mut()
    }

    /// What goes on with a schedule, mutable; empty if the schedule was not known.
    pub(super) fn state(&mut self, id: Uuid) -> &mut State {
        let row = self.row(id);
        self.rows[row as usize].state.get_or_insert_default()
    }

    /// Whether a schedule's record is being written.
    pub(super) fn is_busy(&self, id: Uuid) -> bool {
        self.get(id).is_some_and(|state| state.is_busy)
    }

    /// Sets when to look at a schedule.
    pub(super) fn set_timer(&mut self, id: Uuid, at: Option<DateTime<Utc>>) {
        let row = match at {
            Some(_) => self.row(id),
            None => match self.find(id) {
                Some(row) => row,
                None => return,
            },
        };
        let timer = at.map_or(NEVER, nanos);
        let old = std::mem::replace(&mut self.rows[row as usize].timer, timer);
        if old == timer {
            return;
        }
        if old != NEVER {
            self.timers.remove(row, |at, other| (at, other) < (old, row));
        }
        if timer != NEVER {
            self.timers.insert(timer, row, |at, other| (at, other) < (timer, row));
        }
    }

    /// Sets when to look at a schedule, unless that is earlier already.
    pub(super) fn hasten(&mut self, id: Uuid, at: DateTime<Utc>) {
        let timer = self.find(id).map_or(NEVER, |row| self.rows[row as usize].timer);
        if nanos(at) < timer {
            self.set_timer(id, Some(at));
        }
    }

    /// Takes the first timer that is due.
    pub(super) fn pop_timer(&mut self, now: DateTime<Utc>) -> Option<(Uuid, DateTime<Utc>)> {
        let due = self.next_due().filter(|due| *due <= now)?;
        let (_, row) = self.timers.from(|_, _| false).next()?;
        let id = self.rows[row as usize].id;
        self.set_timer(id, None);
        Some((id, due))
    }

    /// When the first timer is due.
    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.timers.from(|_, _| false).next().map(|(due, _)| DateTime::from_timestamp_nanos(due))
    }

    /// How many timers there are.
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// The timers behind a position, in order.
    pub(super) fn timers_behind(&self, place: Position) -> impl Iterator<Item = (Position, Uuid)> {
        let behind = self.timers.from(move |at, row| Position(at, row) <= place);
        behind.map(|(at, row)| (Position(at, row), self.rows[row as usize].id))
    }

    /// Drops a schedule's state if it is idle, and its row if it has no timer either.
    pub(super) fn tidy(&mut self, id: Uuid) {
        let Some(row) = self.find(id) else { return };
        let Row { timer, state, .. } = &mut self.rows[row as usize];
        *state = state.take().filter(|state| !state.is_idle());
        if state.is_none() && *timer == NEVER {
            let hash = self.hasher.hash_one(id);
            if let Ok(found) = self.by_id.find_entry(hash, |found| *found == row) {
                found.remove();
            }
            self.free.push(row);
        }
    }

    /// Drops all timers.
    pub(super) fn clear_timers(&mut self) {
        self.timers = Order::default();
        self.rows.iter_mut().for_each(|row| row.timer = NEVER);
    }

    /// What goes on with all schedules, in no particular order.
    pub(super) fn states_mut(&mut self) -> impl Iterator<Item = (Uuid, &mut State)> {
        let rows = self.rows.iter_mut();
        rows.filter_map(|row| Some((row.id, row.state.as_deref_mut()?)))
    }

    fn find(&self, id: Uuid) -> Option<u32> {
        let is_it = |row: &u32| self.rows[*row as usize].id == id;
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The row of a schedule; gives it one if it has none.
    fn row(&mut self, id: Uuid) -> u32 {
        if let Some(row) = self.find(id) {
            return row;
        }
        let new = Row { id, timer: NEVER, state: None };
        let row = if let Some(row) = self.free.pop() {
            self.rows[row as usize] = new;
            row
        } else {
            reserve(&mut self.rows, 1);
            self.rows.push(new);
            number(self.rows.len() - 1)
        };
        let rehash = |row: &u32| self.hasher.hash_one(self.rows[*row as usize].id);
        self.by_id.insert_unique(self.hasher.hash_one(id), row, rehash);
        row
    }

    /// Whether no schedule is known.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.timers.len() == 0 && self.free.len() == self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(n: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(n, 0).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, Option<i64>),
        Note(u8, bool),
        Pop(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<u8>(), prop::option::weighted(0.8, 0..40_i64)).prop_map(|(id, at)| Step::Set(id, at)),
            1 => (any::<u8>(), any::<bool>()).prop_map(|(id, busy)| Step::Note(id, busy)),
            1 => (0..40_i64).prop_map(Step::Pop),
        ]
    }

    proptest! {
        /// Compares with a map of ids to times.
        #[test]
        fn timers_come_in_order_and_nothing_is_left_of_what_says_nothing(
            steps in prop::collection::vec(step(), 1..300)
        ) {
            let mut rows = Table::default();
            let mut timers = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(id, Some(due)) => {
                        rows.set_timer(Uuid::from_u128(id.into()), Some(at(due)));
                        timers.insert(id, due);
                    }
                    Step::Set(id, None) => {
                        rows.set_timer(Uuid::from_u128(id.into()), None);
                        timers.remove(&id);
                    }
                    Step::Note(id, busy) => rows.state(Uuid::from_u128(id.into())).is_busy = busy,
                    Step::Pop(now) => {
                        let popped = rows.pop_timer(at(now));
                        let least = timers.values().copied().min().filter(|due| *due <= now);
                        prop_assert_eq!(popped.map(|(_, due)| due), least.map(at));
                        if let Some((id, due)) = popped {
                            let id = u8::try_from(id.as_u128()).unwrap();
                            prop_assert_eq!(timers.remove(&id).map(at), Some(due));
                        }
                    }
                }
                for id in 0..=u8::MAX {
                    rows.tidy(Uuid::from_u128(id.into()));
                }
                let behind = rows.timers_behind(Position::behind(at(9)));
                let due: Vec<_> = behind.map(|(place, _)| place.due()).collect();
                let mut wanted: Vec<_> = timers.values().copied().filter(|due| *due > 9).collect();
                wanted.sort_unstable();
                prop_assert_eq!(due, wanted.into_iter().map(at).collect::<Vec<_>>());
                prop_assert_eq!(rows.timers(), timers.len());
                let walked: Vec<_> = rows.timers_behind(Position::START).map(|(place, _)| place).collect();
                prop_assert!(walked.is_sorted());
                prop_assert_eq!(walked.len(), timers.len());
            }
            for id in 0..=u8::MAX {
                let id = Uuid::from_u128(id.into());
                rows.state(id).is_busy = false;
                rows.set_timer(id, None);
                rows.tidy(id);
            }
            prop_assert!(rows.is_empty());
        }
    }
}
