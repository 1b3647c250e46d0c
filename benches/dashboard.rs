//! Latency of the dashboard's pages, and what open browsers cost.
//!
//! `cargo bench --bench dashboard` asks a service that holds 10,000 schedules and 100,000 executions for each page, one
//! request at a time. The bar: 99 of 100 within 100 ms. Then 100 browsers are open at a service in which nothing happens.
//! The bar of that is 2 % of a processor more than without them. `-- --schedules 1000000 --executions 1000000` does it
//! with a million of each; `--requests` and `--seconds` say how often each page is asked for, and for how long the
//! browsers are watched.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "executions.rs"]
mod executions;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use chrono::{SubsecRound as _, Utc};
use harness::{Nats, Service, wait_within};
use nats_scheduler::schedule::execution_id;
use reqwest::header::COOKIE;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use usage::Usage;
use uuid::Uuid;

const BAR: Duration = Duration::from_millis(100);
/// Most percent of a processor that all browsers cost.
const MOST_PERCENT: f64 = 2.0;
const BROWSERS: usize = 100;
/// Schedules that have executions.
const RAN: usize = 2_000;
/// Time to read everything at the start.
const LOADED_WITHIN: Duration = Duration::from_secs(600);
/// A browser that has been there before: its pages have forms.
const COOKIES: &str = "nats-scheduler-form=benchmark";

#[tokio::main]
async fn main() {
    let count = args::number("--schedules", 10_000);
    let executions = args::number("--executions", 100_000);
    let requests = args::number("--requests", 200);
    let span = Duration::from_secs(args::number("--seconds", 30) as u64);
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service_with(&[]).await.stop().await;
    fill::fill(&nats, count).await;
    let mut service = started(&nats).await;
    let schedules = schedules(&nats, count.min(RAN)).await;
    service.stop().await;
    let now = Utc::now().trunc_subsecs(3);
    executions::fill(&nats, &schedules, executions, now).await;
    let service = started(&nats).await;
    wait_within(LOADED_WITHIN, "the history to be read", || async {
        service.log().contains("history read").then_some(())
    })
    .await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let base = format!("http://{}", service.http().await);

    println!("{count} schedules, {executions} executions, {requests} requests for each page");
    println!("{:45} {:>10} {:>10} {:>10} {:>10}", "", "first", "p50", "p99", "whole p99");
    let mut worst = Duration::ZERO;
    let place = executions / 2 / executions::CHAIN * executions::CHAIN + 5;
    let at = executions::scheduled_for(place, executions, now);
    let execution = execution_id(schedules[place % schedules.len()], at, 1);
    let rerun = named(&nats).await;
    for path in paths(schedules[0], execution, &rerun) {
        worst = worst.max(page(&client, &base, &path, requests).await);
    }
    worst = worst.max(dry_run(&client, &base, requests).await);
    let ratio = worst.as_secs_f64() / BAR.as_secs_f64();
    println!("worst p99: {worst:.2?}; of the bar of {BAR:?}: {ratio:.2}");
    browsers(&client, &base, &service, span).await;
}

async fn started(nats: &Nats) -> Service {
    let service = nats.spawn(&[("LOG_LEVEL", "info")]);
    service.ready_within(LOADED_WITHIN).await;
    service
}

/// Makes a calendar, a group and a rerun that have pages; returns the id of the last.
async fn named(nats: &Nats) -> String {
    nats.ask("calendar.put", json!({ "name": "bench", "days": ["2030-01-01"] })).await;
    nats.ask("group.put", json!({ "name": "bench", "limit": 1 })).await;
    let none = json!({ "filter": { "error_type": "none of all" }, "in_background": true });
    nats.ask("bulk.retry", none).await["rerun_id"].as_str().unwrap().to_owned()
}

fn paths(schedule: Uuid, execution: Uuid, rerun: &str) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/",
        "/schedules",
        "/schedules?name_contains=99",
        "/schedules?tags=bench&sort=name",
        "/schedules?sort=-next_run_at&page=100",
        "/executions",
        "/executions?status=failed",
        "/executions?correlation_id=chain",
        "/failures?hours=1",
        "/failures?hours=720",
        "/upcoming",
        "/upcoming?name_contains=99",
        "/schedules/new",
        "/executions?tag=bench",
        "/executions?target_command=cmd.example.daily",
        "/executions?command_sent=cmd.example.daily",
        "/reruns",
        "/calendars",
        "/calendars?name=bench",
        "/groups",
        "/groups?name=bench",
        "/changes",
        "/system",
        "/docs",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(["", "/edit", "/why"].map(|part| format!("/schedules/{schedule}{part}")));
    paths.push(format!("/executions?schedule_id={schedule}"));
    paths.push(format!("/executions/{execution}"));
    paths.push(format!("/reruns/{rerun}"));
    paths
}

/// Shows how long a page takes, and returns its p99. The first request counts too: somebody waits for it. Parts that
/// take long are left out at first; how long the page takes with all of them, as its script asks for it, stands beside.
async fn page(client: &Client, base: &str, path: &str, requests: usize) -> Duration {
    let get = || client.get(format!("{base}{path}"));
    let soon = asked(path, requests, get).await;
    let whole = asked(path, requests, || get().header("prefer", "wait")).await;
    told(path, &soon, Some(&whole))
}

/// What would become of all schedules that match a filter.
async fn dry_run(client: &Client, base: &str, requests: usize) -> Duration {
    let fields = [
        ("_form", "benchmark"),
        ("filter", r#"{"name_contains":"99"}"#),
        ("operation", "pause"),
        ("dry_run", "true"),
    ];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let path = "/act/bulk.operation";
    let post = || {
        let request = client.post(format!("{base}{path}")).header("origin", base);
        request.header("content-type", "application/x-www-form-urlencoded").body(body.clone())
    };
    told(path, &asked(path, requests, post).await, None)
}

/// How long answers take: the first, and all in order.
async fn asked(
    path: &str,
    requests: usize,
    request: impl Fn() -> RequestBuilder,
) -> (Duration, Vec<Duration>) {
    let mut times = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        let answer = request().header(COOKIE, COOKIES).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap();
        times.push(began.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    (first, times)
}

fn told(
    path: &str,
    (first, times): &(Duration, Vec<Duration>),
    whole: Option<&(Duration, Vec<Duration>)>,
) -> Duration {
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    let is_id = |part: &&str| part.parse::<Uuid>().is_ok();
    let shown = path.split('/').map(|part| Some(part).filter(is_id).map_or(part, |id| &id[..8]));
    let shown = shown.collect::<Vec<_>>().join("/");
    let whole = whole.map(|(_, times)| format!("{:.2?}", p99(times))).unwrap_or_default();
    let (p50, p99) = (times[times.len() / 2], p99(times));
    println!("{shown:45} {first:>10.2?} {p50:>10.2?} {p99:>10.2?} {whole:>10}");
    p99
}

/// What browsers cost that only wait for something to happen.
async fn browsers(client: &Client, base: &str, service: &Service, span: Duration) {
    let alone = percent(service, span).await;
    let mut open = Vec::new();
    for _ in 0..BROWSERS {
        let request = client.get(format!("{base}/events")).header(COOKIE, COOKIES);
        let mut events = request.send().await.unwrap();
        assert_eq!(events.status(), 200);
        // The first event comes at once.
        events.chunk().await.unwrap();
        open.push(tokio::spawn(async move { while let Ok(Some(_)) = events.chunk().await {} }));
    }
    let watched = percent(service, span).await;
    assert!(open.iter().all(|browser| !browser.is_finished()), "a stream has ended");
    open.iter().for_each(tokio::task::JoinHandle::abort);
    let ratio = (watched - alone) / MOST_PERCENT;
    println!(
        "idle: {alone:.2} % of a processor; with {BROWSERS} open browsers: {watched:.2} %; the difference of the bar of \
         {MOST_PERCENT} %: {ratio:.2}"
    );
}

/// Percent of a processor that the service uses.
async fn percent(service: &Service, span: Duration) -> f64 {
    let (began, before) = (Instant::now(), Usage::of(service.pid()).processor);
    tokio::time::sleep(span).await;
    (Usage::of(service.pid()).processor - before) / began.elapsed().as_secs_f64() * 100.0
}

/// The ids of the first schedules.
async fn schedules(nats: &Nats, count: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for page in 1..=count.div_ceil(100) {
        let listed = nats.ask("schedule.list", json!({ "page": page, "limit": 100 })).await;
        let listed = listed.as_array().unwrap().iter();
        ids.extend(listed.map(|one| one["id"].as_str().unwrap().parse::<Uuid>().unwrap()));
    }
    ids.truncate(count);
    ids
}
