//! What comes: the occurrences of many schedules in one order, by nominal time and then by id.
//!
//! A schedule enters the merge when the merge has come to its next time, and the index keeps schedules in the order of
//! their next times. So a list from now on looks at no more schedules than it shows, however many there are; only those
//! that do not fire, or are late, are looked at for nothing.
//!
//! A list from later on, or from a cursor, would look at every schedule that has times before that. Where these are many, a
//! schedule enters when the merge has come to where its rhythm ([`super::rhythms`]) goes on after that, which is worked out
//! once for each rhythm; what the schedules add of their own, such as calendars and ends, can only put it off.
//!
//! Schedules may change between two looks, so the list is a hint like everything here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::filter::ScheduleFilter;
use super::later::{Begins, Later, Onset};
use super::page::Listing;
use super::place::{Place, Sort};
use super::{Entry, Index};
use crate::moment::Moment as _;
use crate::schedule::{MAX_JITTER_SECONDS, Status};
use crate::trigger::{Occurrence, Trigger};

/// Maximum number of schedules looked up first; each time it is twice as many.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 1024 };
/// Number of schedules with earlier times up to which a walk along the order passes them sooner than a look at all rows.
const FEW: usize = if cfg!(test) { 4 } else { 4096 };

const NANOSECOND: Duration = Duration::nanoseconds(1);

/// The occurrences to list.
pub struct Coming<'a> {
    /// Conditions that their schedules meet. Only those that fire are listed.
    pub filter: &'a ScheduleFilter,
    /// The time now.
    pub now: DateTime<Utc>,
    /// The first nominal time; `None` for all that are not due yet.
    pub from: Option<DateTime<Utc>>,
    /// The last nominal time.
    pub to: DateTime<Utc>,
    /// Only occurrences after this one.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// Maximum number of occurrences.
    pub limit: usize,
}

/// An occurrence that lies ahead.
pub struct Ahead {
    /// Its schedule.
    pub entry: Arc<Entry>,
    /// Its nominal time.
    pub occurrence: Occurrence,
    /// How many occurrences the schedule may still have, this one included.
    pub left: u64,
}

/// A schedule in the merge: its next occurrence that is not listed yet.
struct Next {
    entry: Arc<Entry>,
    occurrence: Occurrence,
    /// How many occurrences it may still have, this one included.
    left: u64,
}

/// Schedules in the order of their next times.
struct Source<'a> {
    index: &'a Index,
    /// Looked up and not taken yet, each with the time at which it enters the merge.
    ready: VecDeque<Begins>,
    /// How to look for more; `None` if there are no more.
    way: Option<Way>,
    /// How many to look up next.
    at_once: usize,
    /// Those that were taken: one that fires meanwhile moves ahead of the walk, and comes again.
    taken: HashSet<Uuid>,
}

/// How schedules are looked up.
enum Way {
    /// In the order of their next times, behind a place.
    Next(ScheduleFilter, Place),
    /// In the order in which they go on after a moment, behind one of them.
    Later(Later, Option<Onset>),
}

impl Index {
    /// Occurrences that lie ahead, in order, and whether more follow.
    pub fn coming(&self, asked: &Coming<'_>) -> (Vec<Ahead>, bool) {
        self.merged(asked, false)
    }

    /// The first of each schedule, in order, and whether others have any.
    pub fn first_of_each(&self, asked: &Coming<'_>) -> (Vec<Ahead>, bool) {
        self.merged(asked, true)
    }

    fn merged(&self, asked: &Coming<'_>, is_once: bool) -> (Vec<Ahead>, bool) {
        let mut source = Source::new(self, asked);
        let mut merge = BinaryHeap::new();
        // Many schedules share their cron trigger, and all of them are asked for the same time.
        let mut known = HashMap::new();
        let mut found = Vec::with_capacity(asked.limit.min(AT_ONCE));
        loop {
            let first = merge.peek().map(|Reverse(next): &Reverse<Next>| next.key());
            if let Some(entry) = source.take_before(first.unwrap_or((asked.to, Uuid::max()))) {
                merge.extend(Next::first(entry, asked, &mut known).map(Reverse));
                continue;
            }
            let Some(Reverse(next)) = merge.pop() else { return (found, false) };
            if found.len() == asked.limit {
                return (found, true);
            }
            let Next { entry, occurrence, left } = &next;
            found.push(Ahead { entry: Arc::clone(entry), occurrence: *occurrence, left: *left });
            if !is_once {
                merge.extend(next.following(asked.to).map(Reverse));
            }
        }
    }
}

impl<'a> Source<'a> {
    fn new(index: &'a Index, asked: &Coming<'_>) -> Self {
        let Coming { filter, now, from, to, after, limit } = *asked;
        let fires = filter.status.is_none_or(|status| status == Status::Active)
            && filter.is_active.unwrap_or(true);
        // What is behind by more than its jitter is late, and what is paused may be behind by years.
        let first = from.map_or(now, |from| from.min(now));
        let first = first.earlier(Duration::seconds(MAX_JITTER_SECONDS.cast_signed()));
        let since = after.map(|(at, _)| at).max(from);
        let names_more = names_more(filter);
        let is_far = |since: &DateTime<Utc>| names_more || index.due_in(first, *since) > FEW;
        let firing = || ScheduleFilter {
            status: Some(Status::Active),
            is_active: Some(true),
            due_before: filter.due_before.into_iter().chain([to.later(NANOSECOND)]).min(),
            ..filter.clone()
        };
        let way = || match since.filter(is_far) {
            Some(since) => {
                let filter =
                    ScheduleFilter { due_after: filter.due_after.max(Some(first)), ..firing() };
                let passed = after.filter(|(at, _)| *at == since).map(|(_, id)| id);
                Way::Later(Later { filter, since, passed, until: to }, None)
            }
            None => {
                // A walk along the order, which no filter may interrupt.
                let filter = if names_more { firing() } else { ScheduleFilter::default() };
                Way::Next(filter, Place::due(first, Uuid::nil()))
            }
        };
        Self {
            index,
            ready: VecDeque::new(),
            way: fires.then(way),
            // One behind the list says that more follow, and one behind that that it is the next.
            at_once: limit.saturating_add(2).min(AT_ONCE),
            taken: HashSet::new(),
        }
    }

    /// The next schedule, if it enters the merge no later than at this time, with this id.
    fn take_before(&mut self, last: (DateTime<Utc>, Uuid)) -> Option<Arc<Entry>> {
        loop {
            if self.ready.is_empty() {
                self.look_on();
            }
            let first = self.ready.front().map(|(at, entry)| (*at, entry.schedule.id));
            if first.is_none_or(|first| first > last) {
                return None;
            }
            let (_, entry) = self.ready.pop_front()?;
            if self.taken.insert(entry.schedule.id) {
                return Some(entry);
            }
        }
    }

    fn look_on(&mut self) {
        let (found, way) = match self.way.take() {
            None => return,
            Some(Way::Next(filter, behind)) => self.next(filter, &behind),
            Some(Way::Later(later, behind)) => {
                let (found, last) = self.index.later(&later, behind, self.at_once);
                (found, last.map(|last| Way::Later(later, Some(last))))
            }
        };
        self.ready.extend(found);
        self.way = way;
        // A filter looks at every schedule each time.
        self.at_once = self.at_once.saturating_mul(2);
    }

    /// The schedules behind a place, and how to go on.
    fn next(&self, filter: ScheduleFilter, behind: &Place) -> (Vec<Begins>, Option<Way>) {
        let found = self.index.list(&Listing {
            filter: &filter,
            sort: Sort::NextRun,
            after: Some(behind),
            offset: 0,
            limit: self.at_once,
        });
        let last = found.entries.last().filter(|_| found.more);
        // Those that are never due come last.
        let last = last.filter(|last| last.schedule.next_run_at.is_some());
        let behind = last.map(|last| Place::of(&last.schedule, Sort::NextRun));
        let way = behind.map(|behind| Way::Next(filter, behind));
        let entries = found.entries.into_iter();
        let due = entries.filter_map(|entry| Some((entry.schedule.next_run_at?, entry)));
        (due.collect(), way)
    }
}

impl Next {
    /// The first occurrence of a schedule to be listed.
    fn first(
        entry: Arc<Entry>,
        asked: &Coming<'_>,
        known: &mut HashMap<usize, Option<Occurrence>>,
    ) -> Option<Self> {
        let (schedule, trigger) = (&entry.schedule, &entry.trigger);
        let promised = schedule.next_run_at.filter(|_| schedule.fires())?;
        let since = match asked.from {
            Some(from) => from.max(promised),
            None if schedule.due(promised) > asked.now || promised == asked.now => promised,
            None => schedule.first_not_due(trigger, promised, asked.now)?,
        };
        let after = asked.after.filter(|(at, _)| *at >= since);
        let since = after.map_or(since, |(at, _)| at);
        let common = asked.after.map(|(at, _)| at).max(asked.from);
        let first = || trigger.occurrences_after(since.just_before()).next();
        let first = match trigger {
            // The rules of a zone may have changed since the time was promised, and it counts all the same.
            _ if since == promised => {
                let plain = Occurrence { at: promised, moved: None };
                first().filter(|first| first.at == promised).unwrap_or(plain)
            }
            Trigger::Cron(cron) if Some(since) == common => {
                (*known.entry(Arc::as_ptr(cron).addr()).or_insert_with(first))?
            }
            _ => first()?,
        };
        let is_listed = |next: &Occurrence| {
            after.is_none_or(|after| (next.at, schedule.id) > after)
                && !schedule.acted_ahead.contains(&next.at)
        };
        let occurrence = match is_listed(&first) {
            true => first,
            false => trigger.occurrences_after(first.at).find(is_listed)?,
        };
        let most = schedule.spec.timing.max_runs;
        let left = most.map_or(u64::MAX, |most| {
            let before = trigger.count_in(promised.just_before(), occurrence.at.just_before());
            most.saturating_sub(schedule.occurrence_count.get()).saturating_sub(before)
        });
        let next = Self { entry, occurrence, left };
        (next.left > 0 && next.occurrence.at <= asked.to).then_some(next)
    }

    /// The one after it, up to a time.
    fn following(self, to: DateTime<Utc>) -> Option<Self> {
        let Self { entry, occurrence, left } = self;
        let left = left.checked_sub(1).filter(|left| *left > 0)?;
        let mut times = entry.trigger.occurrences_after(occurrence.at);
        let next = times.find(|next| !entry.schedule.acted_ahead.contains(&next.at))?;
        drop(times);
        (next.at <= to).then_some(Self { entry, occurrence: next, left })
    }

    fn key(&self) -> (DateTime<Utc>, Uuid) {
        (self.occurrence.at, self.entry.schedule.id)
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Whether a filter names more than that the schedules fire.
fn names_more(filter: &ScheduleFilter) -> bool {
    let firing = ScheduleFilter {
        status: filter.status.filter(|status| *status == Status::Active),
        is_active: filter.is_active.filter(|active| *active),
        ..ScheduleFilter::default()
    };
    *filter != firing
}
