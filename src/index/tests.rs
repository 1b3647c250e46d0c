//! Checks lists against a model that looks at every schedule and sorts all matches.

mod coming;
pub(in crate::index) mod samples;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index as Any, select};
use uuid::Uuid;

use super::{Counts, Entry, Index, Listing, Place, ScheduleFilter, Sort, TagsMatch};
use crate::names::schedule_key;
use crate::schedule::{Schedule, Spec, Status};
use samples::{SORTS, Step, TARGETS, base, change, filter, schedule, step};

fn matches(filter: &ScheduleFilter, schedule: &Schedule) -> bool {
    let spec = &schedule.spec;
    let status = match filter.status {
        Some(status) => status == *schedule.status,
        None => schedule.status != Status::Deleted,
    };
    let tags = filter.tags.as_ref().is_none_or(|tags| {
        let has = |tag: &String| spec.tags.contains(tag);
        match filter.tags_match.unwrap_or_default() {
            TagsMatch::Any => tags.iter().any(has),
            TagsMatch::All => tags.iter().all(has),
        }
    });
    let begins =
        |text: &str, prefix: &Option<String>| prefix.iter().all(|prefix| text.starts_with(prefix));
    let contains = |text: &String| spec.name.to_lowercase().contains(&text.to_lowercase());
    !schedule.purge
        && status
        && tags
        && filter.creator.as_ref().is_none_or(|creator| **creator == *schedule.created_by)
        && filter
            .owner
            .as_ref()
            .is_none_or(|owner| spec.owner.as_deref().map_or("", String::as_str) == owner)
        && filter.group.as_ref().is_none_or(|group| spec.group.as_deref() == Some(group))
        && filter.calendar.iter().all(|name| spec.timing.calendars().any(|used| used == name))
        && filter.schedule_type.is_none_or(|kind| kind == spec.timing.schedule_type)
        && filter.is_active.is_none_or(|active| active == schedule.is_active)
        && filter.is_failing.is_none_or(|failing| failing == schedule.failing_since().is_some())
        && filter.is_overdue.is_none_or(|overdue| overdue == schedule.overdue_since().is_some())
        && filter.last_outcome.is_none_or(|outcome| schedule.last_outcome() == Some(outcome))
        && begins(spec.target_command.as_str(), &filter.target_prefix)
        && begins(&spec.name, &filter.name_prefix)
        && filter.name_contains.iter().all(contains)
        && filter.due_after.is_none_or(|after| schedule.next_run_at.is_some_and(|at| at >= after))
        && filter.due_before.is_none_or(|before| schedule.next_run_at.is_some_and(|at| at < before))
}

fn compare(a: &Schedule, b: &Schedule, sort: Sort) -> Ordering {
    let due = |schedule: &Schedule| schedule.next_run_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    let by_key = match sort {
        Sort::Created | Sort::CreatedDown => a.created_at.cmp(&b.created_at),
        Sort::Name | Sort::NameDown => a.spec.name.cmp(&b.spec.name),
        Sort::NextRun | Sort::NextRunDown => due(a).cmp(&due(b)),
    };
    let order = by_key.then_with(|| a.id.cmp(&b.id));
    if sort.is_down() { order.reverse() } else { order }
}

/// An index after some steps, and its expected contents.
fn fill(steps: Vec<Step>) -> (Arc<Index>, BTreeMap<Uuid, Schedule>) {
    let (index, _) = Index::new();
    let trigger = base().1;
    let mut model: BTreeMap<Uuid, Schedule> = BTreeMap::new();
    for (step, revision) in steps.into_iter().zip(1..) {
        let known = |at: Any| model.values().nth(at.index(model.len().max(1))).cloned();
        let schedule = match step {
            Step::Put(schedule) => *schedule,
            Step::Change(at, field, other) => {
                let Some(schedule) = known(at) else { continue };
                change(schedule, field, *other)
            }
            Step::Remove(at) => {
                let Some(schedule) = known(at) else { continue };
                index.apply(&schedule_key(schedule.id), revision, None);
                model.remove(&schedule.id);
                continue;
            }
        };
        model.insert(schedule.id, schedule.clone());
        let (schedule, trigger) = (Arc::new(schedule), trigger.clone());
        index.insert(Entry { revision, schedule, trigger });
    }
    (index, model)
}

proptest! {
    #[test]
    fn lists_are_what_a_model_finds_and_sorts(
        steps in vec(step(), 0..120),
        listings in vec((filter(), select(&SORTS[..]), 0..12_usize, 1..12_usize), 8),
        places in vec(weighted(0.4, any::<Any>()), 8),
        gone in schedule(),
    ) {
        let (index, model) = fill(steps);
        let shown: Vec<_> = model.values().filter(|schedule| !schedule.purge).collect();
        let tags: BTreeSet<_> = shown.iter().flat_map(|schedule| &*schedule.spec.tags).collect();
        let creators: BTreeSet<_> = shown.iter().map(|schedule| schedule.created_by.as_str()).collect();
        let targets: BTreeSet<_> =
            shown.iter().map(|schedule| schedule.spec.target_command.as_str()).collect();
        let owners: BTreeSet<_> = shown.iter().map(|schedule| &schedule.spec.owner).map(|owner| owner.as_deref()).collect();
        let groups: BTreeSet<_> = shown.iter().filter_map(|schedule| schedule.spec.group.as_deref()).collect();
        let calendars: BTreeSet<_> = shown.iter().flat_map(|schedule| schedule.spec.timing.calendars()).collect();
        let ties = groups.len() + calendars.len();
        // All have the same trigger, and next times that are none of its.
        let rhythms: BTreeSet<_> = shown.iter().map(|schedule| schedule.next_run_at.is_some()).collect();
        let counts = [shown.len(), creators.len(), owners.len(), targets.len(), tags.len(), ties, rhythms.len()];
        prop_assert_eq!(index.read(|state| state.listed.rows.counts()), counts);
        let mut counts = Counts::default();
        for schedule in &shown {
            *counts.schedules.entry((schedule.spec.timing.schedule_type, *schedule.status)).or_default() += 1;
            let is_there = *schedule.status != Status::Deleted;
            counts.failing += usize::from(is_there && schedule.failing_since().is_some());
            counts.overdue += usize::from(is_there && schedule.overdue_since().is_some());
        }
        prop_assert_eq!(index.counts(), counts);
        let busy: Vec<_> = index.busy().iter().map(|entry| entry.schedule.id).collect();
        let tied: Vec<_> = index.tied(|_| true).iter().map(|entry| entry.schedule.id).collect();
        let is_tied = |s: &&Schedule| s.spec.group.is_some() || s.spec.timing.has_calendars();
        prop_assert_eq!(tied, model.values().filter(is_tied).map(|s| s.id).collect::<Vec<_>>());
        let has_attempts = model.values().filter(|schedule| !schedule.attempts.is_empty());
        prop_assert_eq!(busy, has_attempts.map(|schedule| schedule.id).collect::<Vec<_>>());
        for ((filter, sort, offset, limit), place) in listings.into_iter().zip(places) {
            let mut wanted: Vec<_> = model.values().filter(|s| matches(&filter, s)).collect();
            let found: Vec<_> = index.select(&filter).iter().map(|e| e.schedule.id).collect();
            prop_assert_eq!(found, wanted.iter().map(|s| s.id).collect::<Vec<_>>());
            let statuses: BTreeMap<_, _> = index.select_statuses(&filter).into_iter().collect();
            prop_assert_eq!(statuses.len(), wanted.len());
            prop_assert!(wanted.iter().all(|s| statuses.get(&s.id) == Some(&*s.status)));
            for target in TARGETS.into_iter().chain(["cmd.a", "cmd", "cmd.b.x", ""]) {
                let found = index.select_ids(&filter, Some(target));
                let found: BTreeSet<_> = found.into_iter().collect();
                let aimed = wanted.iter().filter(|s| s.spec.target_command.as_str() == target);
                prop_assert_eq!(&found, &aimed.map(|s| s.id).collect(), "{:?} {}", &filter, target);
                let mut kept: Vec<_> = model.keys().copied().chain([Uuid::max()]).collect();
                index.retain_matching(&mut kept, &filter, Some(target));
                prop_assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), found);
            }
            wanted.sort_by(|a, b| compare(a, b, sort));
            let total = wanted.len();
            // A cursor may belong to a schedule that is gone, or that the filter does not find.
            let last = place.map(|at| model.values().nth(at.index(model.len() + 1)).unwrap_or(&gone));
            wanted.retain(|schedule| last.is_none_or(|last| compare(schedule, last, sort).is_gt()));
            let after = last.map(|last| Place::of(last, sort));
            let listing = Listing { filter: &filter, sort, after: after.as_ref(), offset, limit };
            let found = index.list(&listing);
            let page: Vec<_> = wanted.iter().skip(offset).take(limit).map(|s| s.id).collect();
            let ids: Vec<_> = found.entries.iter().map(|entry| entry.schedule.id).collect();
            prop_assert_eq!(ids, page, "{:?} {:?}", &filter, sort);
            prop_assert_eq!(found.total, total);
            prop_assert_eq!(found.more, wanted.len() > offset + limit);
        }
    }
}

/// A million entries are in memory; the allocator rounds up to these sizes, with the counts of an `Arc`.
#[test]
fn entries_take_no_more_memory_than_they_are_known_to() {
    const COUNTS: usize = 16;
    assert!(size_of::<Schedule>() + COUNTS <= 384, "{}", size_of::<Schedule>());
    assert!(size_of::<Spec>() + COUNTS <= 192, "{}", size_of::<Spec>());
    assert!(size_of::<Entry>() + COUNTS <= 64, "{}", size_of::<Entry>());
}

/// Every schedule has these, and memory comes in steps of a quarter of the next power of two.
#[test]
fn records_fit_into_what_is_allocated_for_them() {
    const COUNTS: usize = 2 * size_of::<usize>();
    assert!(size_of::<Schedule>() + COUNTS <= 320, "{} bytes", size_of::<Schedule>());
    assert!(size_of::<Spec>() + COUNTS <= 160, "{} bytes", size_of::<Spec>());
    assert!(size_of::<Entry>() + COUNTS <= 56);
    assert!(size_of::<crate::schedule::Standing>() <= 32, "of each that has run");
    assert!(size_of::<super::rows::Row>() <= 40, "{} bytes", size_of::<super::rows::Row>());
}

/// Only who writes records by hand can give them such names.
#[test]
fn names_that_are_too_long_are_listed_by_their_beginning_and_leave_nothing_behind() {
    let (index, _changes) = Index::new();
    let (base, _) = samples::base();
    // Longer in lower case.
    let names = ["İ".repeat(100_000), format!("{}b", "x".repeat(40_000)), "x".repeat(40_000)];
    for (n, name) in (1_u128..).zip(&names) {
        let mut schedule = base.clone();
        schedule.id = Uuid::from_u128(n);
        Arc::make_mut(&mut schedule.spec).name = name.as_str().into();
        let record = serde_json::to_vec(&schedule).unwrap();
        index.apply(&schedule_key(schedule.id), u64::try_from(n).unwrap(), Some(&record));
    }
    for sort in [Sort::Name, Sort::NameDown] {
        let mut after = None;
        let mut found = Vec::new();
        for _ in 0..4 {
            let filter = ScheduleFilter::default();
            let listing =
                Listing { filter: &filter, sort, after: after.as_ref(), offset: 0, limit: 1 };
            let page = index.list(&listing);
            let Some(last) = page.entries.last() else { break };
            found.push(last.schedule.id.as_u128());
            after = Some(Place::of(&last.schedule, sort));
        }
        assert_eq!(found, if sort == Sort::Name { [2, 3, 1] } else { [1, 3, 2] });
    }
    for n in 1..=3 {
        index.apply(&schedule_key(Uuid::from_u128(n)), 10 + u64::try_from(n).unwrap(), None);
    }
    assert_eq!(index.read(|state| state.listed.rows.counts()), [0; 7]);
}
