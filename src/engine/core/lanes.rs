//! Work whose time has come, in the order in which it is started, and bounds on how much is under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::every::every;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Most entries of what a pause of all has skipped that are written at once: so few disturb nothing that is due.
pub(super) const MOST_SKIPS: usize = 64;
/// Void entries that a queue may hold, beyond as many as are valid.
const MANY: usize = 1024;

/// The bound that a piece of work counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Work that takes only as long as NATS does.
    Fast,
    /// Work that waits for a reply.
    Request,
    /// Writing what a pause of all has skipped: after its end there may be such an entry for every schedule.
    Skips,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = every!(Lane: Fast, Request, Skips);
}

/// Work whose time has come; the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    pub(super) priority: u8,
    /// Within a priority, earlier goes first.
    pub(super) due: Reverse<DateTime<Utc>>,
    pub(super) id: Uuid,
    pub(super) lane: Lane,
}

struct Bounded {
    queue: BinaryHeap<Ready>,
    /// Pieces of work under way.
    under_way: usize,
    most: usize,
}

/// The lanes. The schedule says which entry of a queue is valid; entries that it has replaced or taken back stay
/// until they are popped.
pub(super) struct Lanes([Bounded; 3]);

impl Lanes {
    /// Creates lanes with at most that many pieces of work under way.
    pub(super) fn new(fast: usize, request: usize) -> Self {
        let skips = MOST_SKIPS.min(fast);
        Self([fast, request, skips].map(|most| Bounded {
            queue: BinaryHeap::new(),
            under_way: 0,
            most,
        }))
    }

    /// Queues work. `stands` says whether an entry is still valid; `waiting` is the number of valid ones.
    pub(super) fn push(&mut self, ready: Ready, waiting: usize, stands: impl Fn(&Ready) -> bool) {
        let queue = &mut self.lane(ready.lane).queue;
        queue.push(ready);
        if queue.len() > 2 * waiting + MANY {
            queue.retain(stands);
        }
    }

    /// Takes the greatest entry of a lane, which may be void, if the lane has room.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<Ready> {
        let lane = self.lane(lane);
        (lane.under_way < lane.most).then(|| lane.queue.pop()).flatten()
    }

    /// Takes all entries of a lane whose time has not come, void ones among them.
    pub(super) fn take_later(&mut self, lane: Lane, now: DateTime<Utc>) -> Vec<Ready> {
        let queue = &mut self.lane(lane).queue;
        let all = std::mem::take(queue).into_iter();
        let (later, rest): (Vec<_>, Vec<_>) = all.partition(|one| one.due.0 > now);
        *queue = rest.into();
        later
    }

    /// Takes a permit of a lane.
    pub(super) fn begin(&mut self, lane: Lane) {
        self.lane(lane).under_way += 1;
    }

    /// Whether a lane has room for another piece of work.
    pub(super) fn has_room(&self, lane: Lane) -> bool {
        let lane = &self.0[lane as usize];
        lane.under_way < lane.most
    }

    /// Whether a lane has room for another piece of work besides what waits in it.
    pub(super) fn is_free(&self, lane: Lane) -> bool {
        let lane = &self.0[lane as usize];
        lane.under_way + lane.queue.len() < lane.most
    }

    /// Gives a permit back.
    pub(super) fn end(&mut self, lane: Lane) {
        let lane = self.lane(lane);
        lane.under_way = lane.under_way.saturating_sub(1);
    }

    /// Drops all work that has not begun.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(|lane| lane.queue.clear());
    }

    fn lane(&mut self, lane: Lane) -> &mut Bounded {
        &mut self.0[lane as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(lane: Lane, id: u128, priority: u8, due: i64) -> Ready {
        let due = Reverse(DateTime::from_timestamp(due, 0).unwrap());
        Ready { priority, due, id: Uuid::from_u128(id), lane }
    }

    #[test]
    fn priority_goes_before_age_and_age_before_nothing() {
        let mut lanes = Lanes::new(10, 1);
        for (n, (priority, due)) in [(5, 1), (10, 3), (10, 2), (1, 0)].into_iter().enumerate() {
            lanes.push(ready(Lane::Fast, n as u128, priority, due), 4, |_| true);
        }
        let order: Vec<_> =
            std::iter::from_fn(|| lanes.pop(Lane::Fast)).map(|ready| ready.id.as_u128()).collect();
        assert_eq!(order, [2, 1, 0, 3]);
    }

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let mut lanes = Lanes::new(1, 1);
        for n in 0..2 {
            lanes.push(ready(Lane::Request, n, 5, 0), 2, |_| true);
        }
        assert!(lanes.pop(Lane::Request).is_some());
        lanes.begin(Lane::Request);
        assert_eq!(lanes.pop(Lane::Request), None);
        assert!(lanes.has_room(Lane::Fast));
        lanes.end(Lane::Request);
        assert!(lanes.pop(Lane::Request).is_some());
    }

    #[test]
    fn void_entries_do_not_pile_up() {
        let mut lanes = Lanes::new(1, 1);
        let stays = ready(Lane::Fast, 1, 5, 10);
        lanes.push(stays, 1, |_| true);
        for n in 0..10_000 {
            lanes.push(ready(Lane::Fast, 100 + n, 5, 1), 1, |ready| ready.id == stays.id);
        }
        assert!(lanes.0[0].queue.len() <= 2 + MANY, "{}", lanes.0[0].queue.len());
    }
}
