//! Instances die while a record whose times lie ahead is planned again: another one, or the next start, repairs it, and
//! the history is told once of each range that was skipped too early.
//!
//! | death | left behind | repaired by |
//! |---|---|---|
//! | before the record is written | the record as it was | the next start, or another instance |
//! | after it is written | attempts in the phase `corrected` | the next start |
//! | before the history is told | the same | another instance, once it misses the dead one |
//! | after the history is told | the same, and the history has it | the next start, which tells it nothing twice |

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::faults::clocks::foretell;
use crate::harness::{Nats, Service, wait_for};

/// How many of the hourly occurrences in the first range have really been due.
const DUE: i64 = 4;
const SKIPPED: [&str; 2] =
    ["018f0000-0000-8000-8000-00000000000a", "018f0000-0000-8000-8000-00000000000b"];

/// A schedule that an instance with a fast clock has skipped ahead by forty days, in two ranges.
struct Ahead {
    nats: Nats,
    id: String,
}

impl Ahead {
    async fn new() -> Self {
        let nats = Nats::start().await;
        let mut service = nats.service().await;
        // Far from its next occurrence, for as long as a test may take.
        let start = Utc::now().trunc_subsecs(3) - TimeDelta::minutes(DUE * 60 - 30);
        let at = |hours: i64| text(start + TimeDelta::hours(hours));
        let id = nats
            .create(json!({ "name": "ahead", "schedule_type": "interval", "interval_seconds": 3600,
                            "start_at": at(0), "target_command": "cmd.example.ahead" }))
            .await;
        nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 20_000 })).await;
        assert!(service.stop().await.success());
        let history = nats.messages("SCHEDULER_EXECUTIONS").await;
        let template: Value = serde_json::from_slice(&history[0].payload).unwrap();
        let (middle, far) = (20 * 24, 40 * 24);
        for (skipped, (first, last)) in SKIPPED.into_iter().zip([(0, middle), (middle + 1, far)]) {
            let event = json!({ "id": skipped, "event_id": format!("{skipped}.outcome"),
                                "status": "skipped", "scheduled_for": at(first), "started_at": null,
                                "triggered_by": null,
                                "skipped": { "cause": "coalesced", "last": at(last),
                                             "count": last - first + 1 } });
            foretell(&nats, &template, "skipped", &event, &at(far)).await;
        }
        let ahead = Self { nats, id };
        let bucket = ahead.nats.js.get_key_value("scheduler_schedules").await.unwrap();
        let entry = bucket.entry(ahead.key()).await.unwrap().unwrap();
        let mut record: Value = serde_json::from_slice(&entry.value).unwrap();
        record["last_scheduled_for"] = json!(at(far));
        record["next_run_at"] = json!(at(far + 1));
        bucket.update(ahead.key(), record.to_string().into(), entry.revision).await.unwrap();
        ahead
    }

    fn key(&self) -> String {
        format!("schedule.{}", self.id)
    }

    /// An instance that dies at a point, or stands still there until told to go on.
    fn spawn(&self, point: &str) -> Service {
        let gate = self.gate();
        self.nats.spawn(&[
            ("NATS_SCHEDULER_FAILPOINT", point),
            ("NATS_SCHEDULER_FAILPOINT_UNTIL", gate.to_str().unwrap()),
        ])
    }

    fn gate(&self) -> std::path::PathBuf {
        self.nats.dir().join("go-on")
    }

    async fn record(&self) -> Value {
        let bucket = self.nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
        let key = format!("$KV.scheduler_schedules.{}", self.key());
        let record = bucket.get_last_raw_message_by_subject(&key).await.unwrap();
        serde_json::from_slice(&record.payload).unwrap()
    }

    /// The attempts of the record that are to tell the history.
    async fn untold(&self) -> usize {
        let record = self.record().await;
        let attempts = record["attempts"].as_array().cloned().unwrap_or_default();
        attempts.iter().filter(|attempt| attempt["phase"] == "corrected").count()
    }

    /// Which ranges the history says are corrected, in order.
    async fn told(&self) -> Vec<Value> {
        let subject = format!("evt.scheduler.execution.corrected.{}", self.id);
        let messages = self.nats.messages("SCHEDULER_EXECUTIONS").await;
        messages
            .iter()
            .filter(|message| message.subject.as_str() == subject)
            .map(|message| serde_json::from_slice(&message.payload).unwrap())
            .collect()
    }

    /// That all is made good, and nothing is said twice.
    async fn check(&self) {
        wait_for("the record to be settled", || async {
            let record = self.record().await;
            let next: DateTime<Utc> = record["next_run_at"].as_str()?.parse().ok()?;
            let is_near = next <= Utc::now() + TimeDelta::hours(1);
            (is_near && record.get("attempts").is_none()).then_some(())
        })
        .await;
        let told = self.told().await;
        for (skipped, count) in SKIPPED.into_iter().zip([DUE, 0]) {
            let of: Vec<_> = told.iter().filter(|told| told["id"] == skipped).collect();
            assert_eq!(of.len(), 1, "{told:?}");
            assert_eq!(of[0]["skipped"]["count"], count, "{told:?}");
        }
        assert_eq!(told.len(), SKIPPED.len(), "{told:?}");
        let of = json!({ "schedule_id": self.id });
        let statistics = wait_for("the history to be read", || async {
            let statistics = self.nats.ask("execution.stats", of.clone()).await;
            (statistics["skipped"] == DUE).then_some(statistics)
        })
        .await;
        assert_eq!(statistics["successful"], 1, "{statistics}");
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[tokio::test]
async fn dying_before_a_record_is_corrected_leaves_it_to_the_next_start() {
    let ahead = Ahead::new().await;
    let mut dying = ahead.spawn("before_correcting");
    dying.wait_log("standing still").await;
    dying.kill();
    assert_eq!((ahead.untold().await, ahead.told().await.len()), (0, 0));
    let next = ahead.nats.service().await;
    ahead.check().await;
    assert!(next.log().contains("planned again from now"));
}

#[tokio::test]
async fn a_correction_that_comes_too_late_changes_nothing() {
    let ahead = Ahead::new().await;
    let late = ahead.spawn("before_correcting");
    late.wait_log("standing still").await;
    let other = ahead.nats.service().await;
    other.wait_log("planned again from now").await;
    ahead.check().await;
    let revision = ahead.nats.record_revision(&ahead.id).await;
    std::fs::write(ahead.gate(), "").unwrap();
    late.wait_log("another write came first; looking again").await;
    ahead.check().await;
    assert_eq!(ahead.nats.record_revision(&ahead.id).await, revision);
    assert!(!late.log().contains("planned again from now"));
}

#[tokio::test]
async fn dying_after_a_record_is_corrected_leaves_the_history_to_the_next_start() {
    let ahead = Ahead::new().await;
    let mut dying = ahead.spawn("after_correcting");
    dying.exited().await;
    let _next = ahead.nats.service().await;
    ahead.check().await;
}

#[tokio::test]
async fn dying_before_the_history_is_told_of_a_correction_leaves_that_to_another_instance() {
    let ahead = Ahead::new().await;
    let mut dying = ahead.spawn("before_corrected");
    dying.wait_log("standing still").await;
    let other = ahead.nats.service().await;
    other.wait_log("another instance").await;
    // What a living one has begun is its own.
    assert_eq!((ahead.untold().await, ahead.told().await.len()), (2, 0));
    dying.kill();
    ahead.check().await;
    assert!(!other.log().contains("planned again from now"));
}

#[tokio::test]
async fn dying_after_the_history_is_told_of_a_correction_says_nothing_twice() {
    let ahead = Ahead::new().await;
    let mut dying = ahead.spawn("after_corrected");
    dying.exited().await;
    assert_eq!(ahead.untold().await, 2);
    assert!(!ahead.told().await.is_empty());
    let _next = ahead.nats.service().await;
    ahead.check().await;
}
