//! The latest executions of some schedules, for lists of these.

use uuid::Uuid;

use super::HistoryIndex;
use super::chunk::NO_SCHEDULE;
use crate::execution::ExecutionStatus;

/// An execution that has ended, or a range that was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent {
    /// The execution.
    pub execution: Uuid,
    /// How it ended.
    pub status: ExecutionStatus,
    /// The nominal time, or that of the first that was skipped, in Unix milliseconds.
    pub scheduled_for_ms: i64,
    /// For skipped occurrences their number, otherwise the milliseconds from start to outcome.
    pub measure: i64,
}

/// What is still to be found of a schedule.
struct Search {
    /// How many of its events lie further back.
    events: u64,
    found: Vec<Recent>,
}

impl HistoryIndex {
    /// The latest executions of each of these schedules that have ended, `most` at most, newest first. Walks back only as
    /// far as there is something of them.
    pub fn recent(&self, schedules: &[Uuid], most: usize) -> Vec<Vec<Recent>> {
        let numbers: Vec<_> = schedules.iter().map(|id| self.schedules.number(*id)).collect();
        let events =
            |number: &Option<u32>| number.map_or(0, |number| self.schedules.events(number));
        let mut searches: Vec<_> = numbers
            .iter()
            .map(|number| Search { events: events(number), found: Vec::new() })
            .collect();
        // One look for each event: most belong to others. A list has few schedules, so a place is a small number.
        let mut places = vec![u16::MAX; self.schedules.len()];
        for (place, number) in (0..).zip(&numbers) {
            if let Some(number) = number {
                places[*number as usize] = place;
            }
        }
        let mut open = searches.iter().filter(|search| search.is_open(most)).count();
        for chunk in self.chunks.iter().rev() {
            for at in (0..chunk.len()).rev() {
                if open == 0 {
                    return searches.into_iter().map(|search| search.found).collect();
                }
                let number = chunk.schedules[at];
                if number == NO_SCHEDULE || chunk.status(at).is_none() {
                    continue;
                }
                let place = usize::from(places[number as usize]);
                let Some(search) = searches.get_mut(place) else { continue };
                let was_open = search.is_open(most);
                search.events -= 1;
                let status = chunk.latest_status(at).filter(|status| status.is_final());
                if let Some(status) = status.filter(|_| search.found.len() < most) {
                    search.found.push(Recent {
                        execution: chunk.executions[at],
                        status,
                        scheduled_for_ms: chunk.scheduled_for[at],
                        measure: chunk.measures[at],
                    });
                }
                open -= usize::from(was_open && !search.is_open(most));
            }
        }
        searches.into_iter().map(|search| search.found).collect()
    }
}

impl Search {
    fn is_open(&self, most: usize) -> bool {
        self.events > 0 && self.found.len() < most
    }
}
