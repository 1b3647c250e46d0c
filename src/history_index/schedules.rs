//! Numbers for schedules, and counts of the events that the stream holds of each of their subjects.

use std::collections::HashMap;

use uuid::Uuid;

use super::chunk::STATUSES;

#[derive(Debug)]
struct Schedule {
    id: Uuid,
    events: [u32; STATUSES],
}

/// The schedules that the stream holds events of.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    numbers: HashMap<Uuid, u32>,
    rows: Vec<Schedule>,
    /// Numbers to be reused.
    free: Vec<u32>,
}

impl Schedules {
    pub(super) fn number(&self, id: Uuid) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// How many numbers have been given.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Their ids, in no order.
    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = Uuid> {
        self.numbers.keys().copied()
    }

    /// How many events the stream holds of a schedule.
    pub(super) fn events(&self, number: u32) -> u64 {
        let row = self.rows.get(number as usize);
        row.map_or(0, |row| row.events.iter().copied().map(u64::from).sum())
    }

    pub(super) fn id(&self, number: u32) -> Uuid {
        self.rows.get(number as usize).map_or(Uuid::nil(), |row| row.id)
    }

    /// Counts an event; returns the schedule's number, and how many events its subject has now.
    pub(super) fn enter(&mut self, id: Uuid, status: u8) -> (u32, usize) {
        let Self { numbers, rows, free } = self;
        let number = *numbers.entry(id).or_insert_with(|| {
            let row = Schedule { id, events: [0; STATUSES] };
            if let Some(number) = free.pop() {
                rows[number as usize] = row;
                return number;
            }
            rows.push(row);
            // There are fewer schedules than events, and not four billion of these.
            u32::try_from(rows.len() - 1).unwrap_or(super::chunk::NO_SCHEDULE)
        });
        let events = &mut rows[number as usize].events[usize::from(status)];
        *events += 1;
        (number, *events as usize)
    }

    /// Uncounts an event; returns whether it was the schedule's last.
    pub(super) fn leave(&mut self, number: u32, status: u8) -> bool {
        let Some(row) = self.rows.get_mut(number as usize) else { return false };
        row.events[usize::from(status)] -= 1;
        let is_last = row.events.iter().all(|events| *events == 0);
        if is_last {
            self.numbers.remove(&row.id);
            self.free.push(number);
        }
        is_last
    }
}
