//! Cost of deciding: the searches that run for every firing and for every schedule at start-up, and the decision after
//! downtime.
//!
//! `cargo bench --bench trigger`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::hint::black_box;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use criterion::{Criterion, criterion_group, criterion_main};
use nats_scheduler::plan::{View, plan};
use nats_scheduler::schedule::{CatchUp, CreateSchedule, Rules, Writer, new_schedule};
use nats_scheduler::trigger::{CronTrigger, DstGap, DstOverlap, Trigger};
use uuid::Uuid;

fn cron(expression: &str, zone: Tz) -> Trigger {
    let cron = CronTrigger::new(expression, zone, DstGap::default(), DstOverlap::default(), 0);
    Trigger::from(cron.expect(expression))
}

/// Half an hour before the clocks go back in Europe, in the first pass of the overlap.
fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_761_438_600, 0).expect("26 October 2025")
}

fn searches(criterion: &mut Criterion) {
    let triggers = [
        ("every second", cron("* * * * * *", Tz::UTC)),
        ("every second, Berlin", cron("* * * * * *", Tz::Europe__Berlin)),
        ("02:30 daily, Berlin", cron("30 2 * * *", Tz::Europe__Berlin)),
        ("29 February", cron("0 2 29 2 *", Tz::UTC)),
        ("Monday 29 February, Berlin", cron("0 0 29 2 +MON", Tz::Europe__Berlin)),
    ];
    for (name, trigger) in &triggers {
        criterion.bench_function(&format!("next_after/{name}"), |bencher| {
            bencher.iter(|| trigger.next_after(black_box(start())));
        });
        criterion.bench_function(&format!("latest_at_or_before/{name}"), |bencher| {
            bencher.iter(|| trigger.latest_at_or_before(black_box(start())));
        });
    }
}

/// Catching up after downtime: the latest due occurrence and the number missed, over growing gaps.
fn catching_up(criterion: &mut Criterion) {
    let trigger = cron("* * * * * *", Tz::Europe__Berlin);
    let gaps = [
        ("minute", TimeDelta::minutes(1)),
        ("day", TimeDelta::days(1)),
        ("year", TimeDelta::days(365)),
    ];
    for (name, gap) in gaps {
        let until = start() + gap;
        criterion.bench_function(&format!("catch up after a {name}/latest"), |bencher| {
            bencher.iter(|| trigger.latest_at_or_before(black_box(until)));
        });
        criterion.bench_function(&format!("catch up after a {name}/count"), |bencher| {
            bencher.iter(|| trigger.count_in(black_box(start()), black_box(until)));
        });
    }
}

/// An instance that is alone.
struct Alone;

impl View for Alone {
    fn me(&self) -> Uuid {
        Uuid::from_u128(1)
    }
    fn is_running(&self, _: Uuid) -> bool {
        false
    }
    fn is_gone(&self, _: Uuid) -> bool {
        false
    }
    fn lead(&self) -> TimeDelta {
        TimeDelta::zero()
    }
    fn listening_since(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
    fn deleted_retention(&self) -> TimeDelta {
        TimeDelta::days(30)
    }
}

/// The whole decision after downtime, for a schedule that is due every second.
fn deciding(criterion: &mut Criterion) {
    for catch_up in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
        for (name, gap) in [("minute", TimeDelta::minutes(1)), ("year", TimeDelta::days(365))] {
            let request = CreateSchedule {
                catch_up: Some(catch_up),
                misfire_grace_seconds: Some(86_400),
                ..CreateSchedule::interval("beat", 1, "cmd.example.beat")
            };
            let (id, writer) = (Uuid::from_u128(2), Writer { instance: Uuid::nil(), token: 0 });
            let rules = Rules::default();
            let (schedule, trigger) =
                new_schedule(&request, &rules, id, start(), "bench", "c", writer).expect("sound");
            let (now, lease) = (start() + gap, TimeDelta::seconds(300));
            criterion.bench_function(&format!("decide after a {name}/{catch_up:?}"), |bencher| {
                bencher.iter(|| plan(&schedule, &trigger, black_box(now), &Alone, lease));
            });
        }
    }
}

fn parsing(criterion: &mut Criterion) {
    criterion.bench_function("parse/30 2 * * MON-FRI", |bencher| {
        bencher.iter(|| cron(black_box("30 2 * * MON-FRI"), Tz::Europe__Berlin));
    });
}

criterion_group!(benches, searches, catching_up, deciding, parsing);
criterion_main!(benches);
