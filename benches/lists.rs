//! Latency of a page of the list when there are many schedules.
//!
//! `cargo bench --bench lists` asks a service that holds 100,000 schedules for pages, by every order, with filters, by
//! page number and by cursor, one request at a time and then eight at once. The bar: 99 of 100 within 20 ms. Then it asks
//! what comes, over all of them, from now on, from later on and by a cursor; `-- --schedules 1000000` does all of it with a
//! million. The bar of that is 50 ms with a million.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use chrono::Utc;
use futures::{StreamExt as _, stream};
use harness::Nats;
use serde_json::{Value, json};

const REQUESTS: usize = 400;

#[tokio::main]
async fn main() {
    let count = args::number("--schedules", 100_000);
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service_with(&[]).await.stop().await;
    fill::fill(&nats, count).await;
    let _service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let mut worst = Duration::ZERO;
    for (what, request) in [
        ("first page", json!({ "limit": 100 })),
        ("newest first", json!({ "sort": "-created_at", "limit": 100 })),
        ("by name", json!({ "sort": "name", "limit": 100 })),
        ("by next run", json!({ "sort": "next_run_at", "limit": 100 })),
        ("page 500 by name", json!({ "sort": "name", "page": 500, "limit": 100 })),
        ("one tag", json!({ "tags": ["bench"], "limit": 20 })),
        ("name contains", json!({ "name_contains": "99", "limit": 20 })),
        ("due before", json!({ "due_before": "2100-01-01T00:00:00Z", "limit": 20 })),
        ("target prefix", json!({ "target_prefix": "cmd.example.d", "limit": 20 })),
        ("name lacks", json!({ "name_contains": "weekly", "limit": 20 })),
        ("name begins", json!({ "name_prefix": "daily 9", "sort": "-name", "limit": 100 })),
        ("tag, newest first", json!({ "tags": ["bench"], "sort": "-created_at", "limit": 100 })),
        ("tag, page 500", json!({ "tags": ["bench"], "sort": "name", "page": 500, "limit": 100 })),
        ("tag and name", json!({ "tags": ["bench"], "name_contains": "99", "sort": "name" })),
        (
            "all filters",
            json!({ "creator": "bench", "tags": ["bench", "x"], "status": "active",
                "schedule_type": "cron", "is_active": true, "target_prefix": "cmd.example.",
                "name_prefix": "daily", "name_contains": "7", "due_after": "2020-01-01T00:00:00Z",
                "due_before": "2100-01-01T00:00:00Z", "sort": "-next_run_at", "limit": 100 }),
        ),
        ("nothing", json!({ "creator": "nobody" })),
        ("what is failing", json!({ "is_failing": true })),
        ("with executions", json!({ "recent_executions": 20, "limit": 100 })),
    ] {
        worst = worst.max(show(&nats, what, "schedule.list", &request).await);
    }
    let reply = nats.request("schedule.list", &json!({ "sort": "name", "limit": 100 })).await;
    assert_eq!(reply["pagination"]["total"], count);
    let (mut cursor, mut times) = (reply["pagination"]["next_cursor"].clone(), Vec::new());
    while cursor.is_string() && times.len() < REQUESTS {
        let request = json!({ "sort": "name", "limit": 100, "cursor": cursor });
        let started = Instant::now();
        let reply = nats.request("schedule.list", &request).await;
        times.push(started.elapsed());
        cursor = reply["pagination"]["next_cursor"].clone();
    }
    let (p50, p99) = quantiles(times);
    println!("{:18} p50 {p50:>8.2?} p99 {p99:>8.2?}", "by cursor");
    worst = worst.max(p99);
    let bar = Duration::from_millis(20);
    let ratio = worst.as_secs_f64() / bar.as_secs_f64();
    println!("worst p99, one request at a time: {worst:.2?}; of the bar of {bar:?}: {ratio:.2}");
    upcoming(&nats).await;
}

/// What comes within a month, over all schedules.
async fn upcoming(nats: &Nats) {
    // Asked once, so that a span is no longer than it may be; and the clock of NATS may be a little behind.
    let now = Utc::now();
    let at = |days: i64| (now + chrono::Duration::hours(days * 24 - 1)).to_rfc3339();
    let counted = json!({ "minutes": true, "limit": 1 });
    let started = Instant::now();
    let reply = nats.request("schedule.upcoming", &counted).await;
    assert_eq!(reply["data"]["minutes"]["exact"], true, "{reply}");
    println!("its minutes, counted at first: {:.2?}", started.elapsed());
    let mut worst = Duration::ZERO;
    for (what, request) in [
        ("by the minute", counted),
        ("what comes", json!({ "to": at(31) })),
        ("1000 of it", json!({ "to": at(31), "limit": 1000 })),
        ("of one tag", json!({ "to": at(31), "tags": ["bench"] })),
        ("of few names", json!({ "to": at(31), "name_contains": "999" })),
    ] {
        worst = worst.max(show(nats, what, "schedule.upcoming", &request).await);
    }
    let bar = Duration::from_millis(50);
    let ratio = worst.as_secs_f64() / bar.as_secs_f64();
    println!("worst p99 of what comes: {worst:.2?}; of the bar of {bar:?}: {ratio:.2}");
    // Nearly all schedules have times before that. The goal is the same.
    let late_part = json!({ "limit": 1000, "cursor": cursor_of_part(nats, 60, &at(31)).await });
    let mut worst = Duration::ZERO;
    for (what, request) in [
        ("in an hour", json!({ "from": (now + chrono::Duration::hours(1)).to_rfc3339() })),
        ("in 40 days", json!({ "from": at(40), "to": at(71) })),
        ("60th part of 1000", late_part),
    ] {
        worst = worst.max(show(nats, what, "schedule.upcoming", &request).await);
    }
    let ratio = worst.as_secs_f64() / bar.as_secs_f64();
    println!("worst p99 of what comes later: {worst:.2?}; of the bar of {bar:?}: {ratio:.2}");
}

/// The cursor of a part of 1000 of what comes.
async fn cursor_of_part(nats: &Nats, part: usize, to: &str) -> Value {
    let mut request = json!({ "limit": 1000, "to": to });
    for _ in 1..part {
        let reply = nats.request("schedule.upcoming", &request).await;
        let cursor = reply["data"]["next_cursor"].clone();
        assert!(cursor.is_string(), "{reply}");
        request = json!({ "limit": 1000, "cursor": cursor });
    }
    request["cursor"].clone()
}

/// Shows how long requests take, and returns the p99 of one at a time.
async fn show(nats: &Nats, what: &str, operation: &str, request: &Value) -> Duration {
    let (p50, p99) = measure(nats, operation, request, 1).await;
    let (p50_8, p99_8) = measure(nats, operation, request, 8).await;
    println!(
        "{what:18} p50 {p50:>8.2?} p99 {p99:>8.2?}   8 at once: p50 {p50_8:>8.2?} p99 {p99_8:>8.2?}"
    );
    p99
}

async fn measure(
    nats: &Nats,
    operation: &str,
    request: &Value,
    at_once: usize,
) -> (Duration, Duration) {
    let times = stream::iter(0..REQUESTS)
        .map(|_| async {
            let started = Instant::now();
            let reply = nats.request(operation, request).await;
            assert!(reply.get("error").is_none(), "{reply}");
            started.elapsed()
        })
        .buffer_unordered(at_once);
    quantiles(times.collect().await)
}

fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
