//! Tests of the counts per minute.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::index::read_record;
use crate::trigger::{CalendarsUsed, Spans};

const MINUTES: usize = 24 * 60;

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn record(timing: &Value, next: Option<DateTime<Utc>>, more: &Value) -> Value {
    let (schedule, _) = crate::index::tests::samples::base();
    let mut record = serde_json::to_value(&schedule).unwrap();
    record["spec"]["timing"] = timing.clone();
    record["next_run_at"] = json!(next);
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

/// Spans that calendars leave open.
fn spans() -> Arc<Spans> {
    let open = [("11:00:00", "12:30:00"), ("14:00:00", "15:10:00"), ("20:00:00", "23:59:59")];
    Arc::new(Spans::merged(open.map(|(start, end)| (at(start), at(end)))))
}

fn restricted(trigger: Trigger, open: Option<&Arc<Spans>>) -> Trigger {
    match open {
        Some(spans) => trigger.open(Arc::clone(spans), CalendarsUsed::default()),
        None => trigger,
    }
}

/// Entries as the index keeps them: equal cron triggers are one.
fn entries(records: &[Value]) -> Vec<Arc<Entry>> {
    let all: Vec<_> = records.iter().map(|record| (record.clone(), None)).collect();
    entries_in(&all)
}

/// The same, of which some keep to spans.
fn entries_in(records: &[(Value, Option<Arc<Spans>>)]) -> Vec<Arc<Entry>> {
    let mut shares = crate::index::shares::Shares::default();
    let entry = |(record, open): &(Value, Option<Arc<Spans>>)| {
        let (schedule, trigger) = read_record(None, record.to_string().as_bytes()).unwrap();
        let trigger = restricted(trigger, open.as_ref());
        let mut entry = Entry { revision: 1, schedule: Arc::new(schedule), trigger };
        shares.share(&mut entry, None);
        Arc::new(entry)
    };
    records.iter().map(entry).collect()
}

/// The same, one occurrence after the other.
fn model(entries: &[Arc<Entry>], now: DateTime<Utc>) -> Vec<u64> {
    let mut counts = vec![0; MINUTES];
    let since = now.trunc_subsecs(0) + Duration::seconds(1);
    let from = now.timestamp() / 60;
    for entry in entries {
        let schedule = &entry.schedule;
        let Some(next) = schedule.next_run_at.filter(|_| schedule.fires()) else { continue };
        let most = schedule.spec.timing.max_runs.unwrap_or(u64::MAX);
        let mut left = most.saturating_sub(schedule.occurrence_count.get());
        for occurrence in entry.trigger.occurrences_after(next - Duration::milliseconds(1)) {
            let minute = usize::try_from(occurrence.at.timestamp() / 60 - from);
            if left == 0 || minute.is_ok_and(|minute| minute >= MINUTES) {
                break;
            }
            if schedule.acted_ahead.contains(&occurrence.at) {
                continue;
            }
            left -= 1;
            if occurrence.at >= since {
                counts[minute.unwrap()] += 1;
            }
        }
    }
    counts
}

fn timing() -> impl Strategy<Value = Value> {
    let seconds = prop_oneof![Just(60_u32), Just(3600), 30..100_000_u32];
    let interval = (seconds, -200_000_000..100_000_000_i64).prop_map(|(seconds, start_ms)| {
        json!({ "schedule_type": "interval", "interval_seconds": seconds, "timezone": "UTC",
                "start_at": at("12:00:00") + Duration::milliseconds(start_ms) })
    });
    let expression =
        prop::sample::select(vec!["0 * * * *", "*/7 3-9 * * *", "30 2 * * *", "15 30 4 * * *"]);
    let zone = prop::sample::select(vec!["UTC", "Asia/Kathmandu"]);
    let cron = (expression, zone).prop_map(|(expression, zone)| {
        json!({ "schedule_type": "cron", "cron_expression": expression, "timezone": zone })
    });
    let bounded = (interval.clone(), 0..30_u64).prop_map(|(mut timing, runs)| {
        timing["max_runs"] = json!(runs + 1);
        timing
    });
    let ended = cron.clone().prop_map(|mut timing| {
        timing["end_at"] = json!(at("18:00:00"));
        timing
    });
    let once = (0..100_000_i64).prop_map(|second| {
        json!({ "schedule_type": "one_time", "timezone": "UTC",
                "scheduled_at": at("12:00:00") + Duration::seconds(second) })
    });
    prop_oneof![4 => interval, 4 => cron, 1 => bounded, 1 => ended, 1 => once]
}

proptest! {
    #[test]
    fn counts_are_those_of_each_schedule_by_itself(
        timings in prop::collection::vec((timing(), -50_000..90_000_i64, 0..6_u8), 0..12),
        now_ms in 0..3_600_000_i64,
    ) {
        let now = at("12:00:00") + Duration::milliseconds(now_ms);
        let open = spans();
        let record = |(timing, second, kind): &(Value, i64, u8)| {
            let plain = record(timing, None, &json!({}));
            let (_, trigger) = read_record(None, plain.to_string().as_bytes()).unwrap();
            let open = (*kind >= 4).then(|| Arc::clone(&open));
            let trigger = restricted(trigger, open.as_ref());
            // What is late, what is next, and what goes on later.
            let next = trigger.next_after(now + Duration::seconds(*second * i64::from(*kind % 2)));
            let ahead = trigger.occurrences_after(now).nth(1).map(|next| next.at);
            let ahead = ahead.filter(|_| *kind == 3);
            let acted: Vec<_> = ahead.into_iter().collect();
            (record(timing, next, &json!({ "acted_ahead": acted })), open)
        };
        let records: Vec<_> = timings.iter().map(record).collect();
        // Twice, so that there is something to share.
        let entries = entries_in(&[records.clone(), records].concat());
        let found = by_minute(&entries, now, MINUTES);
        prop_assert!(found.is_exact);
        prop_assert_eq!((found.as_of, found.from), (now.trunc_subsecs(0), at("12:00:00") + Duration::minutes(now_ms / 60_000)));
        prop_assert_eq!(found.counts, model(&entries, now));
    }
}

#[test]
fn what_does_not_fire_or_comes_later_does_not_count() {
    let timing =
        json!({ "schedule_type": "cron", "cron_expression": "0 * * * *", "timezone": "UTC" });
    let (now, next) = (at("12:00:00"), Some(at("13:00:00")));
    let records = [
        record(&timing, next, &json!({ "status": "paused" })),
        record(&timing, next, &json!({ "is_active": false })),
        record(&timing, Some(at("12:00:00") + Duration::days(2)), &json!({})),
        record(&timing, None, &json!({})),
        record(&timing, next, &json!({})),
    ];
    let found = by_minute(&entries(&records), now, 90);
    assert_eq!((found.counts.iter().sum::<u64>(), found.counts[60]), (1, 1));
}

#[test]
fn many_that_are_alike_take_the_steps_of_one_and_too_many_others_are_cut() {
    let timing =
        json!({ "schedule_type": "cron", "cron_expression": "* * * * *", "timezone": "UTC" });
    let (now, next) = (at("12:00:00"), Some(at("12:01:00")));
    let alike = vec![record(&timing, next, &json!({})); 100];
    let found = by_minute(&entries(&alike), now, MINUTES);
    assert!(found.is_exact && found.counts[1..].iter().all(|count| *count == 100));
    // Calendars, beginnings and ends are shared too.
    let hourly = json!({ "schedule_type": "interval", "interval_seconds": 60, "timezone": "UTC",
                         "start_at": at("00:00:00") });
    let with = |timing: &Value, field: &str, time: &str| {
        let mut timing = timing.clone();
        timing[field] = json!(at(time));
        timing
    };
    let open = spans();
    for (timing, is_open) in [
        (timing.clone(), true),
        (hourly.clone(), true),
        (with(&timing, "end_at", "20:00:00"), false),
        (with(&timing, "end_at", "20:00:00"), true),
        (with(&timing, "start_at", "12:00:30"), false),
        (with(&hourly, "end_at", "20:00:00"), false),
    ] {
        let open = is_open.then(|| Arc::clone(&open));
        let many = entries_in(&vec![(record(&timing, next, &json!({})), open); 400]);
        let found = by_minute(&many, now, MINUTES);
        assert!(found.is_exact, "{timing} {is_open}");
        assert_eq!(found.counts[1..], model(&many, now)[1..], "{timing} {is_open}");
        assert_eq!(found.counts[3], 400);
    }
    let mut bounded = timing;
    bounded["max_runs"] = json!(1_000_000);
    let others = vec![record(&bounded, next, &json!({})); 200];
    let found = by_minute(&entries(&others), now, MINUTES);
    assert!(!found.is_exact && found.counts[1] > 0);
}
