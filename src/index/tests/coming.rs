//! Checks what comes against a model that looks at every occurrence of every schedule.

use chrono::Duration;
use serde_json::{Value, json};

use super::*;
use crate::index::later::Later;
use crate::index::{Ahead, Coming, read_record};

const NOW: &str = "2026-03-28T12:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A schedule with this timing and next time.
fn entry(id: u128, timing: Value, next: DateTime<Utc>, more: Value) -> Entry {
    let (schedule, _) = base();
    let mut record = serde_json::to_value(&schedule).unwrap();
    record["id"] = json!(Uuid::from_u128(id));
    record["next_run_at"] = json!(next);
    record["spec"]["timing"] = json!({ "timezone": "Europe/Berlin" });
    for (into, fields) in [("/spec/timing", timing), ("", more)] {
        let into = record.pointer_mut(into).unwrap().as_object_mut().unwrap();
        into.extend(fields.as_object().unwrap().clone());
    }
    let (schedule, trigger) = read_record(None, record.to_string().as_bytes()).unwrap();
    Entry { revision: 1, schedule: Arc::new(schedule), trigger }
}

fn cron(expression: &str) -> Value {
    json!({ "schedule_type": "cron", "cron_expression": expression })
}

fn every(seconds: u32) -> Value {
    json!({ "schedule_type": "interval", "interval_seconds": seconds, "start_at": NOW })
}

fn index(entries: impl IntoIterator<Item = Entry>) -> Arc<Index> {
    let (index, _) = Index::new();
    for entry in entries {
        index.insert(entry);
    }
    index
}

type Listed = Vec<(DateTime<Utc>, Uuid)>;

fn ids(ahead: &[Ahead]) -> Listed {
    ahead.iter().map(|one| (one.occurrence.at, one.entry.schedule.id)).collect()
}

/// All parts of a list, each with so many occurrences.
fn parts(
    index: &Index,
    filter: &ScheduleFilter,
    from: Option<&str>,
    to: &str,
    limit: usize,
) -> Listed {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let from = from.map(at).filter(|_| after.is_none());
        let asked = Coming { filter, now: at(NOW), from, to: at(to), after, limit };
        let (ahead, more) = index.coming(&asked);
        assert!(ahead.len() == limit || !more, "{} of {limit}", ahead.len());
        listed.extend(ids(&ahead));
        if !more {
            return listed;
        }
        after = listed.last().copied();
    }
}

/// The same, one by one.
fn model(index: &Index, filter: &ScheduleFilter, from: Option<&str>, to: &str) -> Listed {
    let now = at(NOW);
    let mut listed = Vec::new();
    for entry in index.all().iter().filter(|entry| matches(filter, &entry.schedule)) {
        let schedule = &entry.schedule;
        let Some(next) = schedule.next_run_at.filter(|_| schedule.fires()) else { continue };
        let left = schedule.spec.timing.max_runs.map_or(usize::MAX, |most| {
            usize::try_from(most - schedule.occurrence_count.get()).unwrap()
        });
        // It is promised, also where a record was written by hand.
        let times = entry.trigger.occurrences_after(next).map(|one| one.at);
        let times = std::iter::once(next).chain(times).take(left);
        listed.extend(
            times
                .take_while(|time| *time <= at(to))
                .filter(|time| !schedule.acted_ahead.contains(time))
                .filter(|time| match from {
                    Some(from) => *time >= at(from),
                    None => schedule.due(*time) > now || *time == now,
                })
                .map(|time| (time, schedule.id)),
        );
    }
    listed.sort_unstable();
    listed
}

#[test]
fn what_comes_is_merged_by_time_whatever_the_schedules_are() {
    let none = || json!({});
    let index = index([
        entry(1, cron("0 * * * *"), at("2026-03-28T13:00:00Z"), none()),
        entry(2, cron("0 * * * *"), at("2026-03-28T13:00:00Z"), none()),
        entry(3, cron("0 * * * *"), at("2026-03-28T13:00:00Z"), json!({ "status": "paused" })),
        entry(4, cron("30 2 * * *"), at("2026-03-29T01:00:00Z"), none()),
        entry(5, every(1800), at(NOW), none()),
        entry(6, every(1800), at("2026-03-28T14:00:00Z"), json!({ "is_active": false })),
        // In its jitter, and late by more than that.
        entry(
            7,
            json!({ "schedule_type": "interval", "interval_seconds": 7200, "jitter_seconds": 3600,
                    "start_at": "2026-03-28T11:59:59Z" }),
            at("2026-03-28T11:59:59Z"),
            none(),
        ),
        entry(8, every(600), at("2026-03-28T11:20:00Z"), none()),
        entry(
            9,
            json!({ "schedule_type": "interval", "interval_seconds": 3600, "start_at": NOW,
                    "max_runs": 5 }),
            at("2026-03-28T14:00:00Z"),
            json!({ "occurrence_count": 2 }),
        ),
        entry(
            10,
            every(900),
            at("2026-03-28T12:15:00Z"),
            json!({ "acted_ahead": ["2026-03-28T12:30:00Z"] }),
        ),
        entry(11, every(60), at("2026-03-28T12:01:00Z"), json!({ "status": "deleted" })),
    ]);
    let all = ScheduleFilter::default();
    let active = ScheduleFilter { status: Some(Status::Active), ..ScheduleFilter::default() };
    let some = ScheduleFilter { name_prefix: Some("a".to_owned()), ..ScheduleFilter::default() };
    let paused = ScheduleFilter { status: Some(Status::Paused), ..ScheduleFilter::default() };
    let to = "2026-03-30T00:00:00Z";
    for from in [None, Some("2026-03-28T13:00:00Z"), Some("2026-03-29T00:30:01Z")] {
        let expected = model(&index, &all, from, to);
        assert!(expected.len() > 100, "{}", expected.len());
        for filter in [&all, &active, &some] {
            for limit in [1, 2, 7, 1000] {
                assert_eq!(parts(&index, filter, from, to, limit), expected, "{from:?} {limit}");
            }
        }
        assert_eq!(parts(&index, &paused, from, to, 7), []);
    }
    let of_nine = model(&index, &all, None, to).iter().filter(|(_, id)| id.as_u128() == 9).count();
    assert_eq!(of_nine, 3);
}

#[test]
fn a_clock_change_shows() {
    // Clocks in Berlin skip from 02:00 to 03:00.
    let index = index([entry(4, cron("30 2 * * *"), at("2026-03-29T01:00:00Z"), json!({}))]);
    let filter = ScheduleFilter::default();
    let to = at("2026-03-30T12:00:00Z");
    let asked = Coming { filter: &filter, now: at(NOW), from: None, to, after: None, limit: 9 };
    let (ahead, more) = index.coming(&asked);
    let moved: Vec<_> = ahead.iter().map(|one| one.occurrence.moved).collect();
    assert_eq!(moved, [Some(crate::trigger::Moved::DstGap), None]);
    assert!(!more);
}

#[test]
fn a_list_from_now_on_looks_at_no_more_schedules_than_it_shows() {
    let paused = (0..50)
        .map(|n| entry(n, every(60), at("2025-01-01T00:00:00Z"), json!({ "status": "paused" })));
    let daily =
        (100..400).map(|n| entry(n, cron("0 0 * * *"), at("2026-03-28T23:00:00Z"), json!({})));
    let index = index(paused.chain(daily));
    let filter = ScheduleFilter::default();
    let to = at("2026-03-29T00:00:00Z");
    let asked = Coming { filter: &filter, now: at(NOW), from: None, to, after: None, limit: 5 };
    let (ahead, more) = index.coming(&asked);
    let first = (100..105).map(|n| (at("2026-03-28T23:00:00Z"), Uuid::from_u128(n)));
    assert_eq!((ids(&ahead), more), (first.collect(), true));
}

/// A schedule that has one of a few rhythms, within bounds of its own.
fn one() -> impl Strategy<Value = Entry> {
    let rhythm = prop_oneof![
        select(vec!["0 * * * *", "*/20 * * * *", "30 2 * * *", "0 12 1 * *", "59 1-3 * * 0"])
            .prop_map(cron),
        (select(vec![600, 1800, 7200, 86_400]), select(vec![0, 250, 61_001])).prop_map(
            |(seconds, ms)| {
                let start = at(NOW) - Duration::hours(3) + Duration::milliseconds(ms);
                json!({ "schedule_type": "interval", "interval_seconds": seconds, "start_at": start })
            }
        ),
        Just(json!({ "schedule_type": "one_time", "scheduled_at": "2026-03-29T01:00:00Z" })),
    ];
    let bounds = (weighted(0.2, 0..400_i64), weighted(0.2, 1..6_u64));
    let state = (weighted(0.1, Just("paused")), weighted(0.1, Just(false)), any::<[bool; 3]>());
    (0..24_u128, rhythm, bounds, -1..300_i64, state).prop_map(
        |(id, mut timing, (end, runs), since, (status, is_active, [some, more, odd]))| {
            let since = at(NOW) + Duration::minutes(since * 37);
            if let Some(end) = end {
                timing["end_at"] = json!(at(NOW) + Duration::minutes(end * 29));
            }
            let is_odd = some && more && odd;
            if let Some(runs) = runs.filter(|_| since > at(NOW) && !is_odd) {
                timing["max_runs"] = json!(runs);
            }
            let plain = entry(id, timing.clone(), since, json!({}));
            let times: Vec<_> = plain.trigger.occurrences_after(since).take(3).collect();
            let next = times.first().map_or(since, |next| next.at);
            let next = if is_odd { next + Duration::seconds(7) } else { next };
            let has_acted = some && !more && timing["max_runs"].is_null();
            let acted: Vec<_> =
                times.iter().skip(1).filter(|_| has_acted).map(|it| it.at).collect();
            let mut state = json!({ "acted_ahead": acted });
            if let Some(status) = status {
                state["status"] = json!(status);
            }
            if let Some(is_active) = is_active {
                state["is_active"] = json!(is_active);
            }
            entry(id, timing, next, state)
        },
    )
}

proptest! {
    /// What few rhythms say of many schedules is what each of them says.
    #[test]
    fn what_comes_later_is_what_a_model_finds(
        entries in vec(one(), 0..60),
        gone in vec(0..24_u128, 0..4),
        lists in vec((weighted(0.8, 0..500_i64), 0..3000_i64, 1..9_usize, any::<bool>()), 4),
    ) {
        let index = index(entries.into_iter().zip(1..).map(|(entry, revision)| Entry { revision, ..entry }));
        for id in gone {
            index.apply(&schedule_key(Uuid::from_u128(id)), 1000, None);
        }
        for (from, minutes, limit, is_filtered) in lists {
            let begin = at(NOW) + Duration::minutes(from.unwrap_or(0) * 41);
            let to = (begin + Duration::minutes(minutes)).to_rfc3339();
            let from = from.map(|_| begin.to_rfc3339());
            let filter = ScheduleFilter {
                name_prefix: is_filtered.then(|| "a".to_owned()),
                ..ScheduleFilter::default()
            };
            let expected = model(&index, &filter, from.as_deref(), &to);
            let found = parts(&index, &filter, from.as_deref(), &to, limit);
            prop_assert_eq!(found, expected, "{:?} {} {}", from, to, limit);
        }
        for id in 0..24 {
            index.apply(&schedule_key(Uuid::from_u128(id)), 2000, None);
        }
        prop_assert_eq!(index.read(|state| state.listed.rows.counts()), [0; 7]);
    }
}

/// Each is where the merge comes to it, and no sooner.
#[test]
fn a_list_from_later_on_looks_at_no_more_schedules_than_it_shows() {
    let hourly =
        (0..400).map(|n| entry(n, cron("30 * * * *"), at("2026-03-28T12:30:00Z"), json!({})));
    let often = (400..800).map(|n| entry(n, every(60), at("2026-03-28T12:01:00Z"), json!({})));
    let index = index(hourly.chain(often));
    let filter = ScheduleFilter::default();
    let early = at("2026-04-28T12:29:30Z");
    let later = |since, passed, limit| {
        let filter = ScheduleFilter { status: Some(Status::Active), ..ScheduleFilter::default() };
        let until = at("2026-04-29T00:00:00Z");
        let (found, more) = index.later(&Later { filter, since, passed, until }, None, limit);
        let found = found.iter().map(|(at, entry)| (*at, entry.schedule.id.as_u128()));
        (found.collect::<Vec<_>>(), more.is_some())
    };
    let half_past = at("2026-04-28T12:30:00Z");
    assert_eq!(later(early, None, 3), ((0..3).map(|n| (half_past, n)).collect(), true));
    let (all, more) = later(early, None, 1000);
    assert_eq!((all.len(), more), (800, false));
    assert!(all.iter().all(|(at, _)| *at == half_past));
    let asked = Coming {
        filter: &filter,
        now: at(NOW),
        from: Some(early),
        to: at("2026-04-29T00:00:00Z"),
        after: None,
        limit: 5,
    };
    let (ahead, more) = index.coming(&asked);
    assert_eq!(
        (ids(&ahead), more),
        ((0..5).map(|n| (half_past, Uuid::from_u128(n))).collect(), true)
    );
    // A part that begins amid those of one time goes on with the others of it.
    let amid = later(half_past, Some(Uuid::from_u128(399)), 3);
    assert_eq!(amid, ((400..403).map(|n| (half_past, n)).collect(), true));
    let after = Some((half_past, Uuid::from_u128(399)));
    let (ahead, _) = index.coming(&Coming { from: None, after, ..asked });
    assert_eq!(
        ids(&ahead),
        (400..405).map(|n| (half_past, Uuid::from_u128(n))).collect::<Vec<_>>()
    );
}
