//! Checks the index against a model of the stream that is too simple to be wrong.

use proptest::prelude::*;

use crate::history_index::query::MAX_ATTEMPTS;
use crate::history_index::*;

/// Statuses, by number.
const STATUSES: [ExecutionStatus; 6] = ExecutionStatus::ALL;
const CORRELATIONS: [&str; 3] = ["a", "b", "c"];
const ERRORS: [&str; 3] = ["timeout", "refused", "no_stream"];
/// What commands were sent to; one in three does not say.
const COMMANDS: [&str; 2] = ["cmd.a", "cmd.b"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Event {
        event: Event<'static>,
    },
    Foreign,
    /// Forget a part of the entries, in percent.
    Before(u64),
    Forget(u64),
}

/// All entries that the stream holds.
struct Model {
    limits: Limits,
    entries: Vec<(u64, Option<Event<'static>>)>,
    latest: HashMap<Uuid, u64>,
}

impl Model {
    fn apply(&mut self, sequence: u64, event: Option<Event<'static>>) {
        self.entries.push((sequence, event));
        if let Some(event) = event {
            let known = self.latest.get(&event.execution).and_then(|known| self.event(*known));
            if event.status.is_final() || known.is_none_or(|known| !known.status.is_final()) {
                self.latest.insert(event.execution, sequence);
            }
            let subject = (event.schedule, event.status);
            let same = self.entries.iter().filter(|(_, known)| {
                known.is_some_and(|known| (known.schedule, known.status) == subject)
            });
            let same: Vec<u64> = same.map(|(sequence, _)| *sequence).collect();
            if same.len() > self.limits.per_subject {
                self.remove(|sequence| sequence == same[0]);
            }
        }
        if self.entries.len() > self.limits.messages {
            let first = self.entries[0].0;
            self.remove(|sequence| sequence == first);
        }
    }

    fn event(&self, sequence: u64) -> Option<Event<'static>> {
        self.entries.iter().find(|(known, _)| *known == sequence).and_then(|(_, event)| *event)
    }

    fn remove(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.entries.retain(|(sequence, _)| !is_gone(*sequence));
        self.latest.retain(|_, sequence| !is_gone(*sequence));
    }

    /// Latest events that match, newest first.
    fn matching(&self, wanted: impl Fn(&Event<'_>) -> bool) -> Vec<Event<'static>> {
        let latest = self.entries.iter().rev().filter_map(|(_, event)| *event);
        let latest = latest.filter(|e| self.latest.get(&e.execution) == Some(&e.sequence));
        latest.filter(|event| wanted(event)).collect()
    }

    fn buckets(&self, schedule: Option<Uuid>, buckets: Buckets) -> Vec<Bucket> {
        use ExecutionStatus::{Cancelled, Corrected, Failed, Running, Skipped, Success};
        let Buckets { from_ms, to_ms, width_ms } = buckets;
        let done = |event: &Event<'_>| match event.status {
            Skipped | Corrected => event.started_at_ms,
            _ => event.started_at_ms + event.duration_ms,
        };
        let mut counted = Vec::new();
        let mut begin = from_ms - from_ms.rem_euclid(width_ms);
        while begin <= to_ms {
            let own = self.matching(|event| {
                let at = done(event);
                schedule.is_none_or(|schedule| schedule == event.schedule)
                    && event.status != Running
                    && (begin.max(from_ms)..begin + width_ms).contains(&at)
                    && at <= to_ms
            });
            let of = |status| own.iter().filter(move |event| event.status == status);
            let timed = of(Success).chain(of(Failed)).map(|event| event.duration_ms);
            counted.push(Bucket {
                from_ms: begin,
                successful: of(Success).count() as u64,
                failed: of(Failed).count() as u64,
                cancelled: of(Cancelled).count() as u64,
                skipped: of(Skipped).chain(of(Corrected)).map(|event| event.skipped).sum(),
                duration_sum_ms: timed.clone().map(i128::from).sum(),
                duration_max_ms: timed.max(),
            });
            begin += width_ms;
        }
        counted
    }

    fn statistics(&self, schedule: Option<Uuid>, now: i64, window: Option<i64>) -> Statistics {
        use ExecutionStatus::{Cancelled, Corrected, Failed, Skipped, Success};
        let own = self.matching(|event| schedule.is_none_or(|s| s == event.schedule));
        let done = |event: &Event<'_>| match event.status {
            Skipped | Corrected => event.started_at_ms,
            _ => event.started_at_ms + event.duration_ms,
        };
        let recent = |e: &Event<'_>| window.is_none_or(|window| done(e) >= now - window);
        let ended: Vec<_> = own
            .iter()
            .filter(|event| matches!(event.status, Success | Failed | Cancelled))
            .collect();
        let count = |status| {
            ended.iter().filter(|event| event.status == status && recent(event)).count() as u64
        };
        let times = ended.iter().filter(|event| event.status != Cancelled && recent(event));
        let times: Vec<i64> = times.map(|event| event.duration_ms).collect();
        let errors: Vec<&str> = ended
            .iter()
            .filter(|event| event.status == Failed && recent(event))
            .filter_map(|event| event.error)
            .collect();
        let how_often = |error: &str| errors.iter().filter(|known| **known == error).count();
        let common =
            errors.iter().max_by_key(|error| (how_often(error), std::cmp::Reverse(**error)));
        let since = |ms| ended.iter().filter(|event| now - done(event) <= ms).count() as u64;
        let describe = |event: &&Event<'_>| Ended {
            sequence: event.sequence,
            execution: event.execution,
            schedule: event.schedule,
            status: event.status,
            completed_at_ms: done(event),
        };
        let failed = ended.iter().find(|event| event.status == Failed);
        Statistics {
            successful: count(Success),
            failed: count(Failed),
            cancelled: count(Cancelled),
            skipped: own
                .iter()
                .filter(|event| matches!(event.status, Skipped | Corrected) && recent(event))
                .map(|event| event.skipped)
                .sum(),
            duration_sum_ms: times.iter().map(|time| i128::from(*time)).sum(),
            duration_min_ms: times.iter().min().copied(),
            duration_max_ms: times.iter().max().copied(),
            most_common_error: common.map(|e| ((*e).to_owned(), how_often(e) as u64)),
            last_hour: since(3_600_000),
            last_day: since(24 * 3_600_000),
            last_week: since(7 * 24 * 3_600_000),
            consecutive_failures: ended
                .iter()
                .take_while(|event| event.status != Success)
                .filter(|event| event.status == Failed)
                .count() as u64,
            last: ended.first().map(describe),
            last_failed: failed.map(describe),
            last_error: failed.and_then(|event| event.error).map(str::to_owned),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let hours = prop_oneof![-3..3_i64, -200..200_i64];
    let event = (
        0..40_u128,
        0..4_u128,
        0..6_usize,
        0..3_usize,
        0..4_usize,
        hours,
        prop_oneof![Just(0), 0..90_i64],
    );
    let event = event.prop_map(|(execution, schedule, status, text, error, hours, minutes)| {
        let status = STATUSES[status];
        let is_failed = status == ExecutionStatus::Failed;
        Step::Event {
            event: Event {
                sequence: 0,
                execution: Uuid::from_u128(execution),
                schedule: Uuid::from_u128(schedule),
                status,
                correlation: CORRELATIONS[text],
                scheduled_for_ms: minutes % 3,
                started_at_ms: hours * 3_600_000,
                duration_ms: minutes * 60_000,
                error: ERRORS.get(error).copied().filter(|_| is_failed),
                command: COMMANDS.get(text).copied(),
                skipped: u64::from(hours.unsigned_abs() % 7 == 0) + 1,
            },
        }
    });
    let step = prop_oneof![
        40 => event,
        1 => Just(Step::Foreign),
        1 => (0..100_u64).prop_map(Step::Before),
        2 => (0..100_u64).prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 0..300)
}

fn limits() -> impl Strategy<Value = Limits> {
    let messages = prop_oneof![Just(usize::MAX), 1..120_usize];
    let per_subject = prop_oneof![Just(usize::MAX), 1..12_usize];
    (messages, per_subject).prop_map(|(messages, per_subject)| Limits { messages, per_subject })
}

/// Filters of all kinds.
fn filters(schedule: Option<Uuid>) -> Vec<Filter> {
    let bounds = [None, Some(-3_600_000 * 2), Some(0), Some(3_600_000 * 50)];
    let statuses = [
        vec![],
        vec![ExecutionStatus::Success],
        vec![ExecutionStatus::Running],
        vec![ExecutionStatus::Failed, ExecutionStatus::Cancelled],
    ];
    let errors = [None, Some(ERRORS[0].to_owned()), Some(String::new())];
    let mut filters = Vec::new();
    for (statuses, error) in statuses.iter().flat_map(|s| errors.iter().map(move |e| (s, e))) {
        for (started_from_ms, started_to_ms) in
            bounds.into_iter().flat_map(|from| bounds.map(|to| (from, to)))
        {
            let (statuses, error) = (statuses.clone(), error.clone());
            let schedules = None;
            filters.push(Filter {
                schedule,
                schedules,
                statuses,
                error,
                started_from_ms,
                started_to_ms,
                ..Filter::default()
            });
        }
    }
    for (from, to) in [(None, None), (Some(1), None), (Some(1), Some(1)), (None, Some(0))] {
        filters.extend([None, Some(COMMANDS[0].to_owned())].map(|command| Filter {
            schedule,
            command,
            scheduled_from_ms: from,
            scheduled_to_ms: to,
            ..Filter::default()
        }));
    }
    filters
}

/// Checks that every answer of the index is that of the model.
fn agree(index: &HistoryIndex, model: &Model) {
    assert_eq!(index.len(), model.latest.len());
    let foreign = model.entries.iter().any(|(_, event)| event.is_none());
    assert_eq!(index.entries(), (!foreign).then_some(model.entries.len()));
    let schedules = [None, Some(Uuid::from_u128(0)), Some(Uuid::from_u128(3))];
    let places = |events: &[Event<'_>]| events.iter().map(|e| e.sequence).collect::<Vec<_>>();
    for schedule in schedules {
        for filter in filters(schedule) {
            let Filter { statuses, error, command, .. } = &filter;
            let (from, to) = (filter.started_from_ms, filter.started_to_ms);
            let (first, last) = (filter.scheduled_from_ms, filter.scheduled_to_ms);
            // What an event does not say is found out from its body.
            let may_have_sent = |sent: Option<&str>| {
                command.is_none() || sent.is_none() || sent == command.as_deref()
            };
            let expected = places(&model.matching(|event| {
                schedule.is_none_or(|schedule| schedule == event.schedule)
                    && (statuses.is_empty() || statuses.contains(&event.status))
                    && error.as_deref().is_none_or(|error| event.error.unwrap_or_default() == error)
                    && may_have_sent(event.command)
                    && first.is_none_or(|first| event.scheduled_for_ms >= first)
                    && last.is_none_or(|last| event.scheduled_for_ms <= last)
                    && from.is_none_or(|from| event.started_at_ms >= from)
                    && to.is_none_or(|to| event.started_at_ms <= to)
            }));
            for (offset, limit) in [(0, 1000), (3, 5)] {
                let page = expected.iter().copied().skip(offset).take(limit).collect();
                let found = index.list(&filter, Page { offset, limit });
                assert_eq!(found, (page, expected.len() as u64), "{filter:?}");
            }
            let some = Filter {
                schedule: None,
                schedules: schedule.map(|id| [id, Uuid::from_u128(77)].into()),
                ..filter
            };
            let found = index.list(&some, Page { offset: 0, limit: 1000 });
            assert_eq!(found.0, expected, "{some:?}");
        }
        let (from_ms, width_ms) = (-3_600_000 * 20 - 17, 3_600_000 * 7);
        let buckets = Buckets { from_ms, to_ms: 3_600_000 * 60, width_ms };
        assert_eq!(index.buckets(schedule, buckets), model.buckets(schedule, buckets));
        for window in [None, Some(3_600_000), Some(3 * 3_600_000)] {
            let expected = model.statistics(schedule, 3_600_000, window);
            match index.statistics(schedule, 3_600_000, window) {
                Some(found) => assert_eq!(found, expected, "{schedule:?} {window:?}"),
                None => assert_eq!(expected, Statistics::default()),
            }
        }
    }
    let ids: Vec<_> = [2, 0, 77, 3].map(Uuid::from_u128).into();
    for most in [0, 1, 3, 1000] {
        let of = |id: &Uuid| -> Vec<_> {
            let own = model.matching(|event| event.schedule == *id && event.status.is_final());
            own.iter().take(most).map(|event| (event.execution, event.status)).collect()
        };
        let found = index.recent(&ids, most);
        let found: Vec<Vec<_>> = found
            .iter()
            .map(|of| of.iter().map(|one| (one.execution, one.status)).collect())
            .collect();
        assert_eq!(found, ids.iter().map(of).collect::<Vec<_>>(), "{most}");
    }
    for correlation in CORRELATIONS {
        let expected = places(&model.matching(|event| event.correlation == correlation));
        let page = Page { offset: 1, limit: 4 };
        let part = expected.iter().copied().skip(1).take(4).collect();
        assert_eq!(index.by_correlation(correlation, page), (part, expected.len() as u64));
        let mut attempts = places(&model.matching(|event| {
            event.correlation == correlation
                && event.schedule.is_nil()
                && event.scheduled_for_ms == 1
        }));
        attempts.truncate(MAX_ATTEMPTS);
        attempts.reverse();
        assert_eq!(index.attempts(Uuid::nil(), 1, correlation), attempts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_the_stream_would(limits in limits(), steps in steps()) {
        let mut index = HistoryIndex::new(limits);
        let mut model = Model { limits, entries: Vec::new(), latest: HashMap::new() };
        let mut sequence = 0;
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Event { event } => {
                    sequence += 1 + u64::from(n % 5 == 0);
                    let event = Event { sequence, ..event };
                    index.apply(event);
                    model.apply(sequence, Some(event));
                }
                Step::Foreign => {
                    sequence += 1;
                    index.apply_foreign(sequence);
                    model.apply(sequence, None);
                }
                Step::Before(percent) => {
                    let at = model.entries.len() * usize::try_from(percent).unwrap() / 400;
                    let Some((first, _)) = model.entries.get(at).copied() else { continue };
                    index.forget_before(first);
                    model.remove(|sequence| sequence < first);
                }
                Step::Forget(percent) => {
                    let at = model.entries.len() * usize::try_from(percent).unwrap() / 100;
                    let Some((lost, _)) = model.entries.get(at).copied() else { continue };
                    index.forget(lost);
                    model.remove(|sequence| sequence == lost);
                }
            }
            if n % 40 == 39 {
                agree(&index, &model);
            }
        }
        agree(&index, &model);
        index.forget_before(sequence + 1);
        assert_eq!((index.entries(), index.len(), index.chunks.len()), (Some(0), 0, 0));
    }
}
