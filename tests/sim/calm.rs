//! Several instances on a NATS where nothing goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::names;
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;

use crate::instance::Instance;
use crate::nats::Server;

/// Creates schedules, lets three instances fire them for a while, and says what was stored of commands.
async fn run(seed: u64, minutes: u64) -> Vec<(String, String, DateTime<Utc>)> {
    let server = Server::with_streams(seed);
    let mut instances = Vec::new();
    for n in 0..3 {
        instances.push(Instance::start(&server, seed * 1000 + n).await);
    }
    for n in 1..=20 {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval",
            "interval_seconds": 1 + n % 7, "target_command": format!("cmd.example.{n}"),
        }))
        .unwrap();
        let one = &instances[n % 3];
        one.api.create_schedule(request, &one.caller()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
    for instance in instances {
        instance.stop().await;
    }
    let commands = server.messages("COMMANDS").into_iter();
    commands
        .map(|entry| {
            let due = entry.headers.get(names::SCHEDULED_FOR).unwrap().as_str().to_owned();
            (entry.subject, due, entry.stored_at)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_occurrence_is_sent_once_and_none_early() {
    let sent = run(7, 10).await;
    let mut times: BTreeMap<String, BTreeSet<DateTime<Utc>>> = BTreeMap::new();
    for (target, due, stored_at) in sent {
        let due: DateTime<Utc> = due.parse().unwrap();
        assert!(stored_at >= due, "{target} at {due} was stored at {stored_at}");
        assert!(
            stored_at - due < chrono::Duration::milliseconds(100),
            "{target} {due} {stored_at}"
        );
        assert!(times.entry(target.clone()).or_default().insert(due), "{target} at {due} twice");
    }
    assert_eq!(times.len(), 20);
    for (target, times) in times {
        let n: i64 = target.rsplit('.').next().unwrap().parse().unwrap();
        let interval = chrono::Duration::seconds(1 + n % 7);
        let times: Vec<_> = times.into_iter().collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == interval), "{target} {times:?}");
        assert!(times.len() as i64 >= 595 / interval.num_seconds(), "{target}: {}", times.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let once = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(run(3, 2))
    };
    let (one, other) = (once(), once());
    assert!(one.len() > 100);
    assert_eq!(one, other);
}
