//! Answers of the index, by examples.

mod model;

use super::*;
use ExecutionStatus::{Cancelled, Failed, Running, Skipped, Success};

const NO_LIMITS: Limits = Limits { messages: usize::MAX, per_subject: usize::MAX };
const ALL: Page = Page { offset: 0, limit: 100 };

fn event(
    sequence: u64,
    execution: u128,
    schedule: u128,
    status: ExecutionStatus,
) -> Event<'static> {
    let started_at_ms = i64::try_from(sequence).unwrap();
    Event {
        sequence,
        execution: Uuid::from_u128(execution),
        schedule: Uuid::from_u128(schedule),
        status,
        correlation: "c",
        scheduled_for_ms: 0,
        started_at_ms,
        duration_ms: 0,
        error: None,
        command: None,
        skipped: 0,
    }
}

/// An index that has seen these events; places count from 1.
fn index(limits: Limits, events: impl IntoIterator<Item = Event<'static>>) -> HistoryIndex {
    let mut index = HistoryIndex::new(limits);
    for (event, sequence) in events.into_iter().zip(1..) {
        index.apply(Event { sequence, ..event });
    }
    index
}

fn places(index: &HistoryIndex, filter: Filter) -> Vec<u64> {
    let (places, total) = index.list(&filter, ALL);
    assert_eq!(places.len() as u64, total);
    places
}

#[test]
fn an_execution_is_listed_once_at_its_latest_event() {
    let mut index = HistoryIndex::new(NO_LIMITS);
    for e in [event(1, 1, 1, Running), event(2, 2, 1, Running), event(3, 1, 1, Success)] {
        index.apply(e);
    }
    assert_eq!(places(&index, Filter::default()), [3, 2]);
    assert_eq!(places(&index, Filter { statuses: vec![Running], ..Filter::default() }), [2]);
    assert_eq!(index.latest(Uuid::from_u128(1)), Some(3));
    assert_eq!((index.len(), index.entries()), (2, Some(3)));
    let ended = [1, 2, 9].map(|execution| index.has_ended(Uuid::from_u128(execution)));
    assert_eq!(ended, [true, false, false]);
}

#[test]
fn a_late_start_does_not_undo_an_outcome() {
    let mut index = HistoryIndex::new(NO_LIMITS);
    index.apply(event(1, 1, 1, Success));
    index.apply(event(2, 1, 1, Running));
    assert_eq!(places(&index, Filter::default()), [1]);
}

#[test]
fn its_schedules_are_told_if_they_are_few() {
    let index = index(NO_LIMITS, [event(0, 1, 1, Success), event(0, 2, 2, Success)]);
    let few = index.schedules(2).map(|mut ids| {
        ids.sort();
        ids
    });
    assert_eq!(few, Some(vec![Uuid::from_u128(1), Uuid::from_u128(2)]));
    assert_eq!(index.schedules(1), None);
}

#[test]
fn totals_count_all_pages() {
    let events = (1..=100).map(|n| event(n, u128::from(n), u128::from(n % 2), Success));
    let index = index(NO_LIMITS, events);
    let odd = Filter { schedule: Some(Uuid::from_u128(1)), ..Filter::default() };
    assert_eq!(index.list(&odd, Page { offset: 2, limit: 2 }), (vec![95, 93], 50));
    assert_eq!(index.list(&odd, Page { offset: 49, limit: 2 }), (vec![1], 50));
    assert_eq!(index.list(&odd, Page { offset: 50, limit: 2 }), (vec![], 50));
    let late = Filter { started_from_ms: Some(99), ..Filter::default() };
    assert_eq!(places(&index, late), [100, 99]);
    let early = Filter { started_to_ms: Some(2), ..Filter::default() };
    assert_eq!(places(&index, early), [2, 1]);
    let unknown = Filter { schedule: Some(Uuid::from_u128(9)), ..Filter::default() };
    assert_eq!(index.list(&unknown, ALL), (vec![], 0));
}

#[test]
fn what_the_stream_drops_is_dropped() {
    let mut index = HistoryIndex::new(Limits { messages: 4, per_subject: 2 });
    for n in 1..=5 {
        index.apply(event(n, u128::from(n), 1, Success));
    }
    index.apply(event(6, 6, 1, Failed));
    assert_eq!(places(&index, Filter::default()), [6, 5, 4]);
    index.apply_foreign(7);
    assert_eq!((index.seen(), index.entries()), (7, None));
    index.apply(event(8, 8, 2, Failed));
    assert_eq!(places(&index, Filter::default()), [8, 6, 5], "the oldest of all went");
    index.forget_before(6);
    assert_eq!(places(&index, Filter::default()), [8, 6]);
    assert_eq!(index.latest(Uuid::from_u128(5)), None);
    index.forget(6);
    index.forget(6);
    index.forget_before(8);
    assert_eq!(places(&index, Filter::default()), [8]);
    assert_eq!(index.entries(), Some(1));
    index.restart(index.limits(), 20);
    index.apply(event(20, 1, 1, Success));
    assert_eq!(index.len(), 0, "seen before");
}

#[test]
fn executions_are_found_by_correlation_and_attempts_by_occurrence() {
    let of = |n: u128, schedule, scheduled_for_ms, correlation| Event {
        scheduled_for_ms,
        correlation,
        ..event(0, n, schedule, Failed)
    };
    let index = index(
        NO_LIMITS,
        [of(1, 1, 5, "a"), of(2, 1, 5, "b"), of(3, 1, 6, "a"), of(4, 2, 5, "a"), of(5, 1, 5, "a")],
    );
    assert_eq!(index.by_correlation("a", Page { offset: 1, limit: 2 }), (vec![4, 3], 4));
    assert_eq!(index.by_correlation("z", ALL), (vec![], 0));
    assert_eq!(index.attempts(Uuid::from_u128(1), 5, "a"), [1, 5]);
    assert!(index.attempts(Uuid::from_u128(3), 5, "a").is_empty());
}

#[test]
fn what_is_to_be_acted_on_comes_oldest_first_and_in_parts() {
    let of = |n: u8, schedule, status, error| Event {
        error,
        started_at_ms: n.into(),
        ..event(0, n.into(), schedule, status)
    };
    let index = index(
        NO_LIMITS,
        [
            of(1, 1, Failed, Some("timeout")),
            of(2, 2, Failed, Some("refused")),
            of(3, 1, Success, None),
            of(4, 1, Failed, Some("timeout")),
            of(5, 1, Running, None),
            of(5, 1, Failed, Some("timeout")),
            of(6, 1, Failed, Some("timeout")),
        ],
    );
    let failed = Filter { statuses: vec![Failed], ..Filter::default() };
    let chosen = |filter: &Filter, until, after, limit| {
        let Chosen { places, left, total } = index.choose(filter, until, after, limit);
        (places, left, total)
    };
    assert_eq!(chosen(&failed, 6, 0, 2), (vec![1, 2], 2, 4));
    assert_eq!(chosen(&failed, 6, 2, 2), (vec![4, 6], 0, 4));
    let with = |error: &str| Filter { error: Some(error.to_owned()), ..failed.clone() };
    assert_eq!(chosen(&with("timeout"), 6, 0, 9), (vec![1, 4, 6], 0, 3));
    assert_eq!(chosen(&with("unheard of"), 6, 0, 9), (vec![], 0, 0));
    let early = Filter { started_from_ms: Some(2), started_to_ms: Some(4), ..failed };
    assert_eq!(chosen(&early, 6, 0, 9), (vec![2, 4], 0, 2));
    let of = |ids: &[u128]| Filter {
        schedules: Some(ids.iter().copied().map(Uuid::from_u128).collect()),
        ..early.clone()
    };
    assert_eq!(chosen(&of(&[1, 9]), 6, 0, 9), (vec![4], 0, 1));
    assert_eq!(chosen(&of(&[]), u64::MAX, 0, 9), (vec![], 0, 0));
}

#[test]
fn what_former_versions_sent_is_learnt_once_it_was_read() {
    let told = Event { command: Some("cmd.a"), ..event(1, 1, 1, Failed) };
    let mut index = index(NO_LIMITS, [told, event(2, 2, 1, Failed), event(3, 3, 1, Failed)]);
    let sent = |command: &str| Filter { command: Some(command.to_owned()), ..Filter::default() };
    assert_eq!(places(&index, sent("cmd.a")), [3, 2, 1], "as far as is known");
    assert_eq!(index.untold(&sent("cmd.a"), 1), [3]);
    index.learn(3, "cmd.b");
    index.learn(2, "");
    assert_eq!(places(&index, sent("cmd.a")), [1]);
    assert_eq!(places(&index, sent("cmd.b")), [3]);
    assert_eq!(index.untold(&sent("cmd.a"), 9), [0; 0]);
}

#[test]
fn error_types_beyond_those_that_are_told_apart_may_be_any() {
    let mut errors = Errors::default();
    assert_eq!((errors.code("a"), errors.find("a"), errors.find("b")), (1, Some(1), None));
    for n in 1..u32::from(u16::MAX) + 5 {
        errors.code(&n.to_string());
    }
    assert_eq!((errors.find("a"), errors.find("b")), (Some(1), Some(0)));
}

#[test]
fn statistics_count_outcomes_and_skipped_occurrences() {
    let of = |n: u128, status, started_at_ms, duration_ms, error| Event {
        started_at_ms,
        duration_ms,
        error,
        skipped: 500,
        ..event(0, n, 1, status)
    };
    let index = index(
        NO_LIMITS,
        [
            of(1, Failed, 0, 7, Some("timeout")),
            of(2, Success, HOUR, 10, None),
            of(3, Failed, 2 * HOUR, 40, Some("timeout")),
            of(4, Skipped, 2 * HOUR, 0, None),
            of(5, Failed, 3 * HOUR, 4, Some("refused")),
            of(6, Cancelled, 3 * HOUR, 1_000, None),
            of(7, Running, 3 * HOUR, 0, None),
        ],
    );
    const HOUR: i64 = 3_600_000;
    let schedule = Some(Uuid::from_u128(1));
    let all = index.statistics(schedule, 3 * HOUR + 4, None).unwrap();
    assert_eq!((all.successful, all.failed, all.cancelled, all.skipped), (1, 3, 1, 500));
    assert_eq!(all.duration_sum_ms, 61, "of those that succeeded or failed");
    assert_eq!((all.duration_min_ms, all.duration_max_ms), (Some(4), Some(40)));
    assert_eq!(all.most_common_error, Some(("timeout".to_owned(), 2)));
    assert_eq!((all.last_hour, all.last_day, all.last_week), (3, 5, 5));
    assert_eq!(all.consecutive_failures, 2);
    let last = all.last.unwrap();
    assert_eq!((last.sequence, last.status, last.completed_at_ms), (6, Cancelled, 3 * HOUR + 1000));
    assert_eq!(last.schedule, Uuid::from_u128(1));
    assert_eq!(all.last_failed.unwrap().execution, Uuid::from_u128(5));
    assert_eq!(all.last_error.as_deref(), Some("refused"));

    let hour = index.statistics(schedule, 3 * HOUR + 40, Some(HOUR)).unwrap();
    assert_eq!((hour.successful, hour.failed, hour.cancelled, hour.skipped), (0, 2, 1, 0));
    assert_eq!(hour.most_common_error, Some(("refused".to_owned(), 1)), "the first of two by name");
    assert_eq!(hour.last_day, 5, "whatever the window");
    assert_eq!(index.statistics(None, 3 * HOUR + 4, None).unwrap(), all);
    assert_eq!(index.statistics(Some(Uuid::from_u128(2)), 0, None), None);
}
