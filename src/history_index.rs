//! Which executions the history holds, in memory: enough to filter, count and order them.
//!
//! An execution is listed once, at the place of its latest event. Events are dropped in the order
//! in which the stream drops them, so that what is listed can be fetched.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use uuid::Uuid;

use crate::execution::ExecutionStatus;

/// One event, as the index needs it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its place in the stream.
    pub sequence: u64,
    /// The execution.
    pub execution: Uuid,
    /// The schedule.
    pub schedule: Uuid,
    /// The status that it reports.
    pub status: ExecutionStatus,
    /// When the execution was claimed, in Unix milliseconds.
    pub started_at_ms: i64,
}

/// Which executions to list; `None` matches all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this schedule.
    pub schedule: Option<Uuid>,
    /// With this status.
    pub status: Option<ExecutionStatus>,
    /// Started later than this, in Unix milliseconds.
    pub started_after_ms: Option<i64>,
    /// Started before this, in Unix milliseconds.
    pub started_before_ms: Option<i64>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How many to leave out.
    pub offset: usize,
    /// How many to return at most.
    pub limit: usize,
}

/// The executions of the history.
#[derive(Debug)]
pub struct HistoryIndex {
    /// Events a subject may have in the stream.
    per_subject: usize,
    /// Latest event of each execution, by place in the stream.
    rows: BTreeMap<u64, Event>,
    latest: HashMap<Uuid, u64>,
    by_schedule: HashMap<Uuid, BTreeSet<u64>>,
    /// Places of all events of each subject, oldest first.
    subjects: HashMap<(Uuid, ExecutionStatus), VecDeque<u64>>,
    seen: u64,
}

impl HistoryIndex {
    /// An empty index of a stream that keeps `per_subject` events of each subject.
    pub fn new(per_subject: usize) -> Self {
        Self {
            per_subject,
            rows: BTreeMap::new(),
            latest: HashMap::new(),
            by_schedule: HashMap::new(),
            subjects: HashMap::new(),
            seen: 0,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.per_subject);
    }

    /// The highest place in the stream that was looked at.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many executions there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The place of an execution's latest event.
    pub fn latest(&self, execution: Uuid) -> Option<u64> {
        self.latest.get(&execution).copied()
    }

    /// Takes in an event. Events come in the order of the stream; one seen before is ignored.
    pub fn apply(&mut self, event: Event) {
        if event.sequence <= self.seen {
            return;
        }
        self.seen = event.sequence;
        let subject = self.subjects.entry((event.schedule, event.status)).or_default();
        subject.push_back(event.sequence);
        let dropped = (subject.len() > self.per_subject).then(|| subject.pop_front()).flatten();
        if let Some(sequence) = dropped {
            self.remove(sequence);
        }
        if let Some(&known) = self.latest.get(&event.execution) {
            // A claim that was taken over may report its start after the outcome.
            let is_final = self.rows.get(&known).is_some_and(|row| row.status.is_final());
            if is_final && !event.status.is_final() {
                return;
            }
            self.remove(known);
        }
        self.latest.insert(event.execution, event.sequence);
        self.by_schedule.entry(event.schedule).or_default().insert(event.sequence);
        self.rows.insert(event.sequence, event);
    }

    /// Notes an entry of the stream that is no event.
    pub fn skip(&mut self, sequence: u64) {
        self.seen = self.seen.max(sequence);
    }

    /// Forgets events before the stream's first.
    pub fn forget_before(&mut self, first: u64) {
        self.seen = self.seen.max(first.saturating_sub(1));
        while let Some((&sequence, _)) = self.rows.first_key_value()
            && sequence < first
        {
            self.remove(sequence);
        }
        self.subjects.retain(|_, places| {
            while places.front().is_some_and(|&sequence| sequence < first) {
                places.pop_front();
            }
            !places.is_empty()
        });
    }

    /// The places of one page, newest first, and how many match in all.
    pub fn list(&self, filter: &Filter, page: Page) -> (Vec<u64>, u64) {
        let places: Box<dyn Iterator<Item = &Event>> = match filter.schedule {
            None => Box::new(self.rows.values().rev()),
            Some(schedule) => match self.by_schedule.get(&schedule) {
                None => return (Vec::new(), 0),
                Some(places) => {
                    Box::new(places.iter().rev().filter_map(|place| self.rows.get(place)))
                }
            },
        };
        let (mut found, mut total) = (Vec::new(), 0);
        for event in places.filter(|event| filter.matches(event)) {
            if total >= page.offset && found.len() < page.limit {
                found.push(event.sequence);
            }
            total += 1;
        }
        (found, total as u64)
    }

    fn remove(&mut self, sequence: u64) {
        let Some(event) = self.rows.remove(&sequence) else {
            return;
        };
        self.latest.remove(&event.execution);
        if let Some(places) = self.by_schedule.get_mut(&event.schedule) {
            places.remove(&sequence);
            if places.is_empty() {
                self.by_schedule.remove(&event.schedule);
            }
        }
    }
}

impl Filter {
    fn matches(&self, event: &Event) -> bool {
        self.status.is_none_or(|status| status == event.status)
            && self.started_after_ms.is_none_or(|after| event.started_at_ms > after)
            && self.started_before_ms.is_none_or(|before| event.started_at_ms < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionStatus::{Failed, Running, Success};

    fn event(sequence: u64, execution: u128, schedule: u128, status: ExecutionStatus) -> Event {
        let started_at_ms = i64::try_from(sequence).unwrap();
        let (execution, schedule) = (Uuid::from_u128(execution), Uuid::from_u128(schedule));
        Event { sequence, execution, schedule, status, started_at_ms }
    }

    const ALL: Page = Page { offset: 0, limit: 100 };

    #[test]
    fn an_execution_is_listed_once_at_its_latest_event() {
        let mut index = HistoryIndex::new(100);
        for e in [event(1, 1, 1, Running), event(2, 2, 1, Running), event(3, 1, 1, Success)] {
            index.apply(e);
        }
        assert_eq!(index.list(&Filter::default(), ALL), (vec![3, 2], 2));
        let running = Filter { status: Some(Running), ..Filter::default() };
        assert_eq!(index.list(&running, ALL), (vec![2], 1));
        assert_eq!(index.latest(Uuid::from_u128(1)), Some(3));
    }

    #[test]
    fn a_late_start_does_not_undo_an_outcome() {
        let mut index = HistoryIndex::new(100);
        index.apply(event(1, 1, 1, Success));
        index.apply(event(2, 1, 1, Running));
        assert_eq!(index.list(&Filter::default(), ALL), (vec![1], 1));
    }

    #[test]
    fn totals_count_all_pages() {
        let mut index = HistoryIndex::new(100);
        for n in 1..=10 {
            index.apply(event(n, u128::from(n), u128::from(n % 2), Success));
        }
        let odd = Filter { schedule: Some(Uuid::from_u128(1)), ..Filter::default() };
        assert_eq!(index.list(&odd, Page { offset: 2, limit: 2 }), (vec![5, 3], 5));
        let late = Filter { started_after_ms: Some(8), ..Filter::default() };
        assert_eq!(index.list(&late, ALL), (vec![10, 9], 2));
    }

    #[test]
    fn what_the_stream_drops_is_dropped() {
        let mut index = HistoryIndex::new(2);
        for n in 1..=5 {
            index.apply(event(n, u128::from(n), 1, Success));
        }
        index.apply(event(6, 6, 1, Failed));
        assert_eq!(index.list(&Filter::default(), ALL), (vec![6, 5, 4], 3));
        index.forget_before(6);
        assert_eq!(index.list(&Filter::default(), ALL), (vec![6], 1));
        assert_eq!(index.latest(Uuid::from_u128(5)), None);
    }
}
