//! When to look at which schedule, and in which order those whose time has come.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Entries of a queue that may be void, beside as many as are not.
const MANY: usize = 1024;

/// Which bound a piece of work counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Work that takes as long as NATS takes.
    Fast,
    /// Work that waits for a reply.
    Request,
}

/// Work whose time has come; the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    priority: u8,
    /// Earlier goes first within a priority.
    due: std::cmp::Reverse<DateTime<Utc>>,
    id: Uuid,
}

/// Timers, and the two queues of work whose time has come.
#[derive(Default)]
pub(crate) struct Queue {
    timers: BTreeSet<(DateTime<Utc>, Uuid)>,
    due: HashMap<Uuid, DateTime<Utc>>,
    fast: BinaryHeap<Ready>,
    request: BinaryHeap<Ready>,
    waiting: HashMap<Uuid, Ready>,
}

impl Queue {
    /// Sets, moves or removes the timer of a schedule.
    pub(crate) fn set(&mut self, id: Uuid, due: Option<DateTime<Utc>>) {
        let old = match due {
            Some(due) => self.due.insert(id, due),
            None => self.due.remove(&id),
        };
        if old != due {
            if let Some(old) = old {
                self.timers.remove(&(old, id));
            }
            if let Some(due) = due {
                self.timers.insert((due, id));
            }
        }
    }

    /// How many timers are set.
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// How many schedules wait whose time has come.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes the next schedule whose timer is due.
    pub(crate) fn pop_due(&mut self, now: DateTime<Utc>) -> Option<(Uuid, DateTime<Utc>)> {
        let &(due, id) = self.timers.first().filter(|(due, _)| *due <= now)?;
        self.timers.pop_first();
        self.due.remove(&id);
        Some((id, due))
    }

    /// Queues work. A schedule waits once: what is more urgent replaces what is less.
    pub(crate) fn push(&mut self, lane: Lane, id: Uuid, priority: u8, due: DateTime<Utc>) {
        let ready = Ready { priority, due: std::cmp::Reverse(due), id };
        if self.waiting.get(&id).is_some_and(|waiting| *waiting >= ready) {
            return;
        }
        self.waiting.insert(id, ready);
        let (waiting, queue) = match lane {
            Lane::Fast => (&self.waiting, &mut self.fast),
            Lane::Request => (&self.waiting, &mut self.request),
        };
        queue.push(ready);
        // What was replaced or taken out stays in its queue until it is popped, which may be long.
        if queue.len() > 2 * waiting.len() + MANY {
            queue.retain(|ready| waiting.get(&ready.id) == Some(ready));
        }
    }

    /// Takes a schedule out of those whose time has come.
    pub(crate) fn unqueue(&mut self, id: Uuid) {
        self.waiting.remove(&id);
    }

    /// Takes the work to do next in a lane, with its priority.
    pub(crate) fn pop(&mut self, lane: Lane) -> Option<(Uuid, u8)> {
        loop {
            let ready = match lane {
                Lane::Fast => self.fast.pop(),
                Lane::Request => self.request.pop(),
            }?;
            // What was replaced is left in its queue until here.
            if self.waiting.get(&ready.id) == Some(&ready) {
                self.waiting.remove(&ready.id);
                return Some((ready.id, ready.priority));
            }
        }
    }

    /// Whether work waits in a lane.
    pub(crate) fn has(&self, lane: Lane) -> bool {
        match lane {
            Lane::Fast => !self.fast.is_empty(),
            Lane::Request => !self.request.is_empty(),
        }
    }

    /// Drops all work that has not begun.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn timers_come_in_order_and_once() {
        let mut queue = Queue::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        queue.set(a, Some(at(5)));
        queue.set(b, Some(at(3)));
        queue.set(a, Some(at(2)));
        assert_eq!(queue.next(), Some(at(2)));
        assert_eq!(queue.pop_due(at(10)), Some((a, at(2))));
        queue.set(b, None);
        assert_eq!(queue.pop_due(at(10)), None);
    }

    #[test]
    fn what_is_more_urgent_replaces_what_is_less() {
        let mut queue = Queue::default();
        let id = Uuid::from_u128(1);
        queue.push(Lane::Fast, id, 0, at(1));
        queue.push(Lane::Request, id, 5, at(2));
        queue.push(Lane::Fast, id, 0, at(3));
        assert_eq!(queue.pop(Lane::Fast), None);
        assert_eq!(queue.pop(Lane::Request), Some((id, 5)));
        assert_eq!(queue.pop(Lane::Request), None);
    }

    #[test]
    fn priority_goes_before_age_and_age_before_nothing() {
        let mut queue = Queue::default();
        for (n, (priority, due)) in [(5, 1), (10, 3), (10, 2), (1, 0)].into_iter().enumerate() {
            queue.push(Lane::Fast, Uuid::from_u128(n as u128), priority, at(due));
        }
        let order: Vec<_> =
            std::iter::from_fn(|| queue.pop(Lane::Fast)).map(|(id, _)| id.as_u128()).collect();
        assert_eq!(order, [2, 1, 0, 3]);
    }

    #[test]
    fn what_is_taken_out_waits_no_more_and_does_not_pile_up() {
        let mut queue = Queue::default();
        let stays = Uuid::from_u128(1);
        queue.push(Lane::Request, stays, 5, at(10));
        queue.push(Lane::Fast, Uuid::from_u128(2), 5, DateTime::UNIX_EPOCH);
        for n in 0..10_000 {
            let id = Uuid::from_u128(100 + n);
            queue.push(Lane::Request, id, 5, at(1));
            queue.unqueue(id);
        }
        assert_eq!(queue.waiting(), 2);
        assert!(queue.request.len() <= 2 * 3 + MANY, "{}", queue.request.len());
        assert_eq!(queue.pop(Lane::Request), Some((stays, 5)));
        assert_eq!(queue.pop(Lane::Request), None);
    }
}
