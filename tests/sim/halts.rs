//! Pauses of all schedules, while an instance cannot hear of it, or nobody hears of an instance.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::api::schedules::{PauseAll, ResumeAll};
use nats_scheduler::guards::Guard;
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::guards::without;
use crate::instance::{self, Instance};
use crate::nats::{Server, Way};

/// How many commands are sent for times between the reply to a pause of all and its end, while one of two instances
/// gets no answers for a while.
async fn sent_against_the_reply(seed: u64) -> usize {
    let server = Server::with_streams(seed);
    let instances = instance::start(&server, 2).await;
    let ((one, _), (_other, nats)) = (&instances[0], &instances[1]);
    for n in 0..20 {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
            "target_command": "cmd.example.s",
        }))
        .unwrap();
        one.api.create_schedule(request, &one.caller()).await.unwrap();
    }
    // What is due next is claimed half a second before: its claims are on their way now.
    sleep(Duration::from_millis(4450)).await;
    nats.hold(Way::Here, Duration::from_millis(2000));
    sleep(Duration::from_millis(100)).await;
    one.api.pause_all(PauseAll::default(), &one.caller()).await.unwrap();
    let replied = server.now();
    sleep(Duration::from_secs(10)).await;
    let lifted = server.now();
    one.api.resume_all(ResumeAll::default(), &one.caller()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let commands = server.messages("COMMANDS");
    let due = commands.iter().map(|command| {
        let header = command.headers.get("Scheduler-Scheduled-For").expect("a nominal time");
        header.as_str().parse::<DateTime<Utc>>().expect("a time")
    });
    let due: Vec<_> = due.collect();
    assert!(due.iter().filter(|at| **at > lifted).count() >= 20, "they fire again");
    due.iter().filter(|at| **at > replied && **at < lifted).count()
}

#[test]
fn a_pause_of_all_is_answered_once_every_instance_claims_by_it() {
    let run = |guard| {
        let run = |seed| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().start_paused(true).build().unwrap();
            without(guard, || runtime.block_on(sent_against_the_reply(seed)))
        };
        (1..6).map(run).collect::<Vec<_>>()
    };
    assert_eq!(run(None), [0; 5]);
    let missed = run(Some(Guard::Honoured));
    assert!(missed.iter().any(|sent| *sent > 0), "and this is what would miss it: {missed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_just_started_waits_for_those_of_whom_it_cannot_have_heard() {
    let server = Server::with_streams(3);
    let instances = instance::start(&server, 1).await;
    let (_, nats) = &instances[0];
    nats.suspend(Duration::from_secs(4));
    sleep(Duration::from_secs(1)).await;
    let new = Instance::start(&server, 9).await;
    let asked = Instant::now();
    let paused = new.api.pause_all(PauseAll::default(), &new.caller()).await.unwrap().data;
    // It comes back within the five seconds after which it would have been gone.
    assert!(asked.elapsed() >= Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(paused.unconfirmed.is_empty(), "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_shown_nothing_is_named() {
    let server = Server::with_streams(4);
    let instances = instance::start(&server, 2).await;
    let ((one, _), (other, nats)) = (&instances[0], &instances[1]);
    sleep(Duration::from_secs(6)).await;
    nats.silence();
    let paused = one.api.pause_all(PauseAll::default(), &one.caller()).await.unwrap();
    assert_eq!(paused.data.unconfirmed, [other.api.instance]);
    assert_eq!(paused.warnings[0].code, "unconfirmed");
    // It is noticed in the end.
    let again = async {
        while !one
            .api
            .pause_all(PauseAll::default(), &one.caller())
            .await
            .unwrap()
            .warnings
            .is_empty()
        {}
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("all honour it");
}
