//! Latency of queries to a full history.
//!
//! `cargo bench --bench history` writes a million executions of 2,000 schedules into the stream, starts the service,
//! and asks for lists under every kind of filter, single executions, executions by their correlation id, and
//! statistics, one request at a time and then eight at once. The bar: 99 of 100 within 20 ms. Then it asks who changed
//! what, of a million changes, and why schedules did or did not run. The bar of that is 50 ms. `-- get` measures only the
//! questions whose names contain `get`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "bare_reader.rs"]
mod bare_reader;
#[path = "executions.rs"]
mod executions;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use executions::{CHAIN, IN_FLIGHT};
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, stream};
use harness::{Nats, Service, wait_within};
use nats_scheduler::names;
use nats_scheduler::schedule::execution_id;
use serde_json::{Value, json};
use uuid::Uuid;

const EXECUTIONS: usize = 1_000_000;
const SCHEDULES: usize = 2_000;
const REQUESTS: usize = 400;
const CHANGES: usize = 1_000_000;
const BAR: Duration = Duration::from_millis(20);
/// For what is put together from the history, the audit and the record.
const WIDE_BAR: Duration = Duration::from_millis(50);
const TIMES_BARE: f64 = 2.0;
const BYTES: u32 = 120;
/// Time after which the server has dropped a block that is not read.
const FORGOTTEN: Duration = Duration::from_secs(13);

#[tokio::main]
async fn main() {
    println!("8 MiB of fresh memory written in {:.2?}", fresh_memory());
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service_with(&[]).await.stop().await;
    fill::fill(&nats, SCHEDULES).await;
    let mut service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let schedules = schedules(&nats).await;
    let before = resident(&service);
    service.stop().await;

    let started = Instant::now();
    let now = Utc::now().trunc_subsecs(3);
    executions::fill(&nats, &schedules, EXECUTIONS, now).await;
    let rate = EXECUTIONS as f64 / started.elapsed().as_secs_f64();
    println!("{EXECUTIONS} executions written at {rate:.0}/s");

    let all = DeliverPolicy::All;
    let (_, bare) = bare_reader::read(&nats, names::EXECUTIONS_STREAM, all, true, |_| true).await;
    let started = Instant::now();
    let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    wait_within(Duration::from_secs(300), "the history to be read", || async {
        service.log().contains("history read").then_some(())
    })
    .await;
    let loaded = started.elapsed().as_secs_f64();
    let after = resident(&service);
    let each = after.saturating_sub(before) as f64 * 1024.0 / EXECUTIONS as f64;
    println!(
        "read {loaded:.1} s after the start, {:.2} of a bare reader's {bare:.1} s (goal: {TIMES_BARE:.2} or less); {} MiB resident, {} MiB without history: {each:.0} bytes \
         an execution (goal: {BYTES} or less)",
        loaded / bare,
        after / 1024,
        before / 1024
    );
    fill_audit(&nats, &schedules, now).await;
    wait_within(Duration::from_secs(300), "the changes to be read", || async {
        let reply = nats.request("audit.list", &json!({ "limit": 1 })).await;
        (reply["pagination"]["total"] == CHANGES).then_some(())
    })
    .await;
    let each = resident(&service).saturating_sub(after) as f64 * 1024.0 / CHANGES as f64;
    println!("{CHANGES} changes, shown as they were written: {each:.0} bytes a change");
    let all = nats.request("execution.list", &json!({ "limit": 1 })).await;
    assert_eq!(all["pagination"]["total"], EXECUTIONS);
    let stats = nats.ask("execution.stats", json!({})).await;
    println!("statistics of all: {stats}");

    let (mut worst, mut widest) = (Duration::ZERO, Duration::ZERO);
    println!("{:40} {:>10} {:>10}   8 at once: {:>10} {:>10}", "", "p50", "p99", "p50", "p99");
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (what, operation, request) in questions(&schedules, now) {
        if !wanted.is_empty() && !wanted.iter().any(|part| what.contains(part.as_str())) {
            continue;
        }
        if what.contains("cold") {
            tokio::time::sleep(FORGOTTEN).await;
        }
        let (p50, p99) = measure(&nats, operation, &*request, 1).await;
        let (p50_8, p99_8) = measure(&nats, operation, &*request, 8).await;
        println!("{what:40} {p50:>10.2?} {p99:>10.2?}              {p50_8:>10.2?} {p99_8:>10.2?}");
        let is_wide = ["schedule.explain", "audit.list"].contains(&operation);
        let worst = if is_wide { &mut widest } else { &mut worst };
        *worst = p99.max(*worst);
    }
    let (p50, p99) = raw(&nats).await;
    println!(
        "one message by nats-server's direct get, its blocks cold: p50 {p50:.2?}, p99 {p99:.2?}"
    );
    let ratio = worst.as_secs_f64() / BAR.as_secs_f64();
    println!("worst p99, one request at a time: {worst:.2?}; of the bar of {BAR:?}: {ratio:.2}");
    let ratio = widest.as_secs_f64() / WIDE_BAR.as_secs_f64();
    println!("of explanations and changes: {widest:.2?}; of the bar of {WIDE_BAR:?}: {ratio:.2}");
    println!("{} MiB resident in the end", resident(&service) / 1024);
}

type Question = (&'static str, &'static str, Box<dyn Fn(usize) -> Value>);

/// The n-th request of each kind.
fn questions(schedules: &[Uuid], now: DateTime<Utc>) -> Vec<Question> {
    let ids = schedules.to_vec();
    // The n-th execution among those that were tried twice, or among the others.
    let execution = {
        let ids = ids.clone();
        move |n: usize, is_retried: bool| {
            let kind = if is_retried { 11 } else { 5 };
            let place = n * 23 % (EXECUTIONS / CHAIN) * CHAIN + kind;
            execution_id(ids[place % ids.len()], scheduled_for(place, now), 1)
        }
    };
    let schedule = move |n: usize| ids[n * 7 % ids.len()];
    let days_ago = move |days: i64| now - TimeDelta::days(days);
    let list = "execution.list";
    let (a, b, c, d, e) =
        (schedule.clone(), schedule.clone(), schedule.clone(), schedule.clone(), schedule.clone());
    let (f, g, h) = (schedule.clone(), schedule.clone(), schedule);
    let (once, again) = (execution.clone(), execution.clone());
    let (twice, chain) = (execution.clone(), execution);
    vec![
        ("list, first page", list, Box::new(|_| json!({ "limit": 20 }))),
        ("list, page of 100", list, Box::new(|_| json!({ "limit": 100 }))),
        (
            "list, somewhere in the middle",
            list,
            Box::new(|n| json!({ "limit": 20, "page": 10_000 + n })),
        ),
        ("list, last page", list, Box::new(|_| json!({ "limit": 20, "page": EXECUTIONS / 20 }))),
        ("list by schedule", list, Box::new(move |n| json!({ "schedule_id": a(n) }))),
        (
            "list by schedule and status",
            list,
            Box::new(move |n| json!({ "schedule_id": b(n), "status": "failed" })),
        ),
        (
            "list by schedule, status and time",
            list,
            Box::new(move |n| {
                json!({ "schedule_id": c(n), "status": "success", "started_after": days_ago(20),
                        "started_before": days_ago(10) })
            }),
        ),
        ("list by status", list, Box::new(|_| json!({ "status": "failed" }))),
        ("list by a rare status", list, Box::new(|_| json!({ "status": "running" }))),
        ("list started after", list, Box::new(move |_| json!({ "started_after": days_ago(15) }))),
        ("list started before", list, Box::new(move |_| json!({ "started_before": days_ago(15) }))),
        (
            "list by status and time",
            list,
            Box::new(move |n| {
                let from = days_ago(20) + TimeDelta::minutes(i64::try_from(n).unwrap());
                json!({ "status": "failed", "started_after": from, "started_before": days_ago(5) })
            }),
        ),
        (
            "list by status and time, page 500",
            list,
            Box::new(
                move |_| json!({ "status": "failed", "started_after": days_ago(29), "page": 500 }),
            ),
        ),
        ("get", "execution.get", Box::new(move |n| json!({ "execution_id": once(n, false) }))),
        (
            "get, with two attempts",
            "execution.get",
            Box::new(move |n| json!({ "execution_id": twice(n, true) })),
        ),
        (
            "get, its blocks cold again",
            "execution.get",
            Box::new(move |n| json!({ "execution_id": again(n + 7_000, false) })),
        ),
        (
            "by correlation, two executions",
            "execution.by_correlation",
            Box::new(move |n| json!({ "correlation_id": chain(n, true) })),
        ),
        (
            "by correlation, 10,000, page 250",
            "execution.by_correlation",
            Box::new(|_| json!({ "correlation_id": "chain", "page": 250 })),
        ),
        (
            "statistics of a schedule",
            "execution.stats",
            Box::new(move |n| json!({ "schedule_id": d(n) })),
        ),
        (
            "statistics of a schedule, a day",
            "execution.stats",
            Box::new(move |n| json!({ "schedule_id": e(n), "time_window_hours": 24 })),
        ),
        ("statistics of all", "execution.stats", Box::new(|_| json!({}))),
        (
            "statistics of all, a window",
            "execution.stats",
            Box::new(|n| json!({ "time_window_hours": 1 + n })),
        ),
        ("list by error type", list, Box::new(|_| json!({ "error_type": "timeout" }))),
        (
            "list by tag and statuses",
            list,
            Box::new(|_| json!({ "tag": "bench", "statuses": ["failed", "skipped"] })),
        ),
        (
            "statistics of all, a week by hours",
            "execution.stats",
            Box::new(|_| json!({ "time_window_hours": 168, "bucket_seconds": 3600 })),
        ),
        ("explain a day", "schedule.explain", Box::new(move |n| json!({ "schedule_id": f(n) }))),
        (
            "explain 30 days",
            "schedule.explain",
            Box::new(move |n| json!({ "schedule_id": g(n), "from": days_ago(30) })),
        ),
        ("changes, first page", "audit.list", Box::new(|_| json!({}))),
        (
            "changes, somewhere in the middle",
            "audit.list",
            Box::new(|n| json!({ "page": 10_000 + n })),
        ),
        ("changes of a schedule", "audit.list", Box::new(move |n| json!({ "schedule_id": h(n) }))),
        (
            "changes by user, event and time",
            "audit.list",
            Box::new(
                move |n| json!({ "actor": format!("user {}", n % 50), "event": "paused", "since": days_ago(20) }),
            ),
        ),
        ("under way", "execution.running", Box::new(|_| json!({ "include_pending": true }))),
    ]
}

async fn measure(
    nats: &Nats,
    operation: &str,
    request: &dyn Fn(usize) -> Value,
    at_once: usize,
) -> (Duration, Duration) {
    let times = stream::iter(0..REQUESTS)
        .map(|n| {
            let request = request(n);
            async move {
                let started = Instant::now();
                let reply = nats.request(operation, &request).await;
                let elapsed = started.elapsed();
                assert!(reply.get("error").is_none(), "{operation} {request}: {reply}");
                elapsed
            }
        })
        .buffer_unordered(at_once);
    let mut times: Vec<Duration> = times.collect().await;
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Time to touch 8 MiB of fresh memory, which is what the server reads a block into. A virtual machine may get its
/// memory from the host page by page when it is first written, and return it when it is free. Then this is most of the
/// time for a block that is read into memory that the server did not use before.
fn fresh_memory() -> Duration {
    const BLOCK: usize = 8 << 20;
    let mut blocks = Vec::new();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            blocks.push(std::hint::black_box(vec![1_u8; BLOCK]));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Time that the server takes for one message of a block that is not in memory.
async fn raw(nats: &Nats) -> (Duration, Duration) {
    tokio::time::sleep(FORGOTTEN).await;
    let stream = nats.js.get_stream(names::EXECUTIONS_STREAM).await.unwrap();
    let mut times = Vec::new();
    for n in 0..REQUESTS {
        let sequence = 1 + (n * 23 * CHAIN) % EXECUTIONS;
        let started = Instant::now();
        stream.direct_get(u64::try_from(sequence).unwrap()).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// The ids of all schedules.
async fn schedules(nats: &Nats) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for page in 1..=SCHEDULES / 100 {
        let listed = nats.ask("schedule.list", json!({ "page": page, "limit": 100 })).await;
        let listed = listed.as_array().unwrap().iter();
        ids.extend(listed.map(|s| s["id"].as_str().unwrap().parse::<Uuid>().unwrap()));
    }
    assert_eq!(ids.len(), SCHEDULES);
    ids
}

/// Time of the n-th execution.
fn scheduled_for(n: usize, now: DateTime<Utc>) -> DateTime<Utc> {
    executions::scheduled_for(n, EXECUTIONS, now)
}

/// Writes changes into the stream, without the service: each schedule is paused and resumed again and again.
async fn fill_audit(nats: &Nats, schedules: &[Uuid], now: DateTime<Utc>) {
    let mut acks = FuturesUnordered::new();
    for n in 0..CHANGES {
        let (id, actor) = (schedules[n % schedules.len()], format!("user {}", n % 50));
        let kind = if (n / schedules.len()).is_multiple_of(2) { "paused" } else { "resumed" };
        let time = scheduled_for(n * (EXECUTIONS / CHANGES), now);
        let event = json!({
            "event_id": Uuid::now_v7(), "event": kind, "time": time, "schedule_id": id,
            "name": format!("daily {}", n % schedules.len()), "revision": n, "actor": actor,
            "correlation_id": Uuid::now_v7(), "reason": "bench",
        });
        let mut headers = HeaderMap::new();
        headers.insert(names::ACTOR, actor.as_str());
        headers.insert(names::CHANGED_AT, time.to_rfc3339_opts(SecondsFormat::Millis, true));
        let body = event.to_string().into();
        let message = PublishMessage::build().payload(body).headers(headers);
        let subject = names::schedule_subject(kind, id);
        acks.push(nats.js.send_publish(subject, message).await.unwrap().into_future());
        while acks.len() >= IN_FLIGHT {
            acks.next().await.unwrap().unwrap();
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
}

/// Resident memory of the service in KiB; 0 where the system does not report it this way.
fn resident(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}
