//! Policies for what is late, slow or failing.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, far, in_ms, wait_for};

fn beat(name: &str, more: Value) -> Value {
    let mut request = json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
                              "target_command": "cmd.example.beat" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Answers requests after a while, as many at once as come; notes how many were under way.
async fn slow_worker(
    nats: &Nats,
    subject: &str,
    takes: Duration,
) -> tokio::sync::watch::Receiver<usize> {
    let mut requests = nats.client.subscribe(subject.to_owned()).await.unwrap();
    nats.client.flush().await.unwrap();
    let client = nats.client.clone();
    let (most, seen) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let under_way = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        while let Some(request) = requests.next().await {
            let (client, under_way) = (client.clone(), under_way.clone());
            let now = under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            most.send_if_modified(|most| {
                let more = now > *most;
                *most = now.max(*most);
                more
            });
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                let _ = client.publish(request.reply.unwrap(), "{}".into()).await;
            });
        }
    });
    seen
}

/// Each second of a schedule that fires every second is in the history once, none left out.
async fn check_times(nats: &Nats, id: &str) {
    wait_for("the schedule to be completed", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == "completed").then_some(())
    })
    .await;
    let mut found = Vec::new();
    for page in 1.. {
        let list = json!({ "schedule_id": id, "limit": 100, "page": page });
        let executions = nats.ask("execution.list", list).await;
        let executions = executions.as_array().unwrap();
        if executions.is_empty() {
            break;
        }
        for execution in executions.iter().filter(|e| e["attempt_number"] == 1) {
            let at: DateTime<Utc> = execution["scheduled_for"].as_str().unwrap().parse().unwrap();
            found.push((at, execution["skipped"]["count"].as_i64().unwrap_or(1)));
        }
    }
    found.sort_unstable();
    for pair in found.windows(2) {
        let ((at, count), (next, _)) = (pair[0], pair[1]);
        assert_eq!(next - at, chrono::Duration::seconds(count), "{found:?}");
    }
    assert!(found.len() > 2, "{found:?}");
}

#[tokio::test]
async fn overlapping_requests_are_allowed_up_to_a_number_or_wait() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let most = slow_worker(&nats, "cmd.slow.allow", Duration::from_millis(3500)).await;
    let one = slow_worker(&nats, "cmd.slow.buffer", Duration::from_millis(1500)).await;
    let request = json!({ "mode": "request", "timeout_seconds": 30 });
    let allow = json!({ "target_command": "cmd.slow.allow", "delivery": request, "overlap": "allow", "max_instances": 2, "max_runs": 4 });
    let allowed = nats.create(beat("allow", allow)).await;
    let buffer = json!({ "target_command": "cmd.slow.buffer", "delivery": request, "overlap": "buffer_one", "max_runs": 4 });
    let buffered = nats.create(beat("buffer", buffer)).await;
    nats.wait_executions(json!({ "schedule_id": allowed, "status": "success" }), 3).await;
    nats.wait_executions(json!({ "schedule_id": buffered, "status": "success" }), 3).await;
    let skipped =
        nats.wait_executions(json!({ "schedule_id": allowed, "status": "skipped" }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "overlap");
    assert_eq!(*most.borrow(), 2, "two at once, never three");
    assert_eq!(*one.borrow(), 1, "one after the other");
    for id in [&allowed, &buffered] {
        check_times(&nats, id).await;
    }
    let too_many = beat("too many", json!({ "max_instances": 4 }));
    let error = nats.refused("schedule.create", too_many).await;
    assert!(error["message"].as_str().unwrap().contains("1 to 3"), "{error}");
}

#[tokio::test]
async fn the_next_occurrence_cancels_a_request_that_is_under_way() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let _worker = slow_worker(&nats, "cmd.slow.cancel", Duration::from_secs(60)).await;
    let more = json!({ "target_command": "cmd.slow.cancel", "overlap": "cancel_other",
                       "delivery": { "mode": "request", "timeout_seconds": 30 } });
    let id = nats.create(beat("cancel", more)).await;
    let cancelled =
        nats.wait_executions(json!({ "schedule_id": id, "status": "cancelled" }), 2).await;
    assert_eq!(cancelled[0]["cancelled_by"], "scheduler");
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
}

#[tokio::test]
async fn all_that_was_missed_within_its_grace_is_made_up_for() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats.create(beat("all", json!({ "catch_up": "all" }))).await;
    nats.wait_count("COMMANDS", 1).await;
    service.kill();
    let down = Utc::now();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let _next = nats.service().await;
    nats.wait_count("COMMANDS", 7).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    let mut times: Vec<DateTime<Utc>> = Vec::new();
    for message in nats.messages("COMMANDS").await {
        let time = message.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        times.push(time.parse().unwrap());
    }
    times.sort_unstable();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == chrono::Duration::seconds(1)),
        "{times:?}"
    );
    assert!(times.iter().any(|at| *at > down && *at < down + chrono::Duration::seconds(3)));
    check_ledgers(&nats, &[id]).await;
}

#[tokio::test]
async fn a_span_of_the_past_is_run_once_each() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let mut request = json!({ "name": "past", "schedule_type": "cron", "cron_expression": "0 * * * *",
                              "target_command": "cmd.example.past", "start_at": "2026-01-01T00:00:00Z" });
    request["cron_expression"] = json!("0 3 * * *");
    let id = nats.create(request).await;
    let span =
        json!({ "schedule_id": id, "from": "2026-03-01T00:00:00Z", "to": "2026-03-25T23:00:00Z" });
    let mut dry = span.clone();
    dry["dry_run"] = json!(true);
    let would = nats.ask("schedule.backfill", dry).await;
    assert_eq!(would["count"], 25);
    assert_eq!(would["occurrences"][0], "2026-03-01T03:00:00Z");
    assert_eq!(nats.count("COMMANDS").await, 0);
    let by = [("X-Triggered-By", "frank")];
    let (_, reply) = nats.request_with_headers("schedule.backfill", &by, span.clone()).await;
    assert_eq!(reply["data"]["count"], 25, "{reply}");
    nats.wait_count("COMMANDS", 25).await;
    let list = json!({ "schedule_id": id, "status": "success", "limit": 100 });
    let executions = nats.wait_executions(list, 25).await;
    assert_eq!(executions[0]["triggered_by"], "frank");
    let mut times: Vec<_> =
        executions.iter().map(|e| e["scheduled_for"].as_str().unwrap()).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 25, "each time once");
    for (bad, code) in [
        (json!({ "schedule_id": id, "to": "2026-03-01T00:00:00Z" }), "invalid"),
        (
            json!({ "schedule_id": id, "from": "2026-03-01T00:00:00Z", "to": in_ms(60_000) }),
            "invalid",
        ),
        (
            json!({ "schedule_id": id, "from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z" }),
            "invalid",
        ),
        (
            json!({ "schedule_id": uuid::Uuid::new_v4(), "from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z" }),
            "not_found",
        ),
    ] {
        assert_eq!(nats.refused("schedule.backfill", bad).await["code"], code);
    }
    let beats = nats.create(beat("many", json!({ "start_at": "2026-01-01T00:00:00Z" }))).await;
    let span = json!({ "schedule_id": beats, "from": "2026-03-01T00:00:00Z", "to": "2026-03-01T01:00:00Z" });
    assert_eq!(nats.refused("schedule.backfill", span).await["code"], "limit_exceeded");
    // A span without an end ends now.
    let open = json!({ "schedule_id": id, "from": "2026-03-01T00:00:00Z", "dry_run": true });
    let until_now = nats.ask("schedule.backfill", open).await;
    assert!(until_now["count"].as_u64().unwrap() > 200, "{until_now}");
}

#[tokio::test]
async fn dependent_schedules_run_once_when_the_other_has_ended_so() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let mut first = far("first");
    first["max_retries"] = json!(0);
    let upstream = nats.create(first).await;
    let follow = |name: &str, on: &str| {
        json!({ "name": name, "schedule_type": "dependent", "target_command": format!("cmd.example.{on}"),
                "after": { "schedule_id": upstream, "on": on } })
    };
    let success = nats.create(follow("s", "success")).await;
    nats.create(follow("f", "failure")).await;
    nats.create(follow("c", "completion")).await;
    let paused = nats.create(follow("p", "success")).await;
    nats.ask("schedule.pause", json!({ "schedule_id": paused })).await;
    let run =
        nats.ask("schedule.trigger", json!({ "schedule_id": upstream, "wait_ms": 5000 })).await;
    nats.wait_count("COMMANDS", 3).await;
    let skipped = nats.wait_executions(json!({ "schedule_id": paused }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    let executions =
        nats.wait_executions(json!({ "schedule_id": success, "status": "success" }), 1).await;
    assert_eq!(executions[0]["triggered_by"], format!("schedule {upstream}"));
    assert_eq!(executions[0]["correlation_id"], run["execution"]["correlation_id"]);
    let subjects: Vec<_> =
        nats.messages("COMMANDS").await.iter().map(|m| m.subject.to_string()).collect();
    assert!(!subjects.contains(&"cmd.example.failure".to_owned()), "{subjects:?}");
    // Now it fails.
    let update = json!({ "schedule_id": upstream, "target_command": "cmd.nobody.listens", "delivery": { "mode": "request" } });
    nats.ask("schedule.update", update).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": upstream })).await;
    nats.wait_count("COMMANDS", 5).await;
    let count = async |subject: &str| {
        let messages = nats.messages("COMMANDS").await;
        messages.iter().filter(|message| message.subject.as_str() == subject).count()
    };
    assert_eq!(count("cmd.example.failure").await, 1);
    assert_eq!(count("cmd.example.completion").await, 2);
    assert_eq!(count("cmd.example.success").await, 1);
    let circle = json!({ "schedule_id": upstream, "schedule_type": "dependent", "after": { "schedule_id": success } });
    let error = nats.refused("schedule.update", circle).await;
    assert!(error["message"].as_str().unwrap().contains("circle"), "{error}");
    let mut nobody = follow("n", "success");
    nobody["after"]["schedule_id"] = json!(uuid::Uuid::new_v4());
    assert_eq!(nats.refused("schedule.create", nobody).await["code"], "invalid");
}

#[tokio::test]
async fn dying_while_telling_those_that_follow_tells_them_once() {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "after_follow")]).await;
    let upstream = nats.create(far("upstream")).await;
    let follow = json!({ "name": "follower", "schedule_type": "dependent", "target_command": "cmd.report.follow",
                         "after": { "schedule_id": upstream } });
    let follower = nats.create(follow).await;
    let trigger = json!({ "schedule_id": upstream }).to_string();
    let _ = nats.client.request("cmd.scheduler.schedule.trigger", trigger.into()).await;
    dying.exited().await;
    let _instances = (nats.service().await, nats.service().await);
    nats.wait_executions(json!({ "schedule_id": follower, "status": "success" }), 1).await;
    // A second run proves that the first was told of once.
    nats.ask("schedule.trigger", json!({ "schedule_id": upstream })).await;
    nats.wait_executions(json!({ "schedule_id": follower, "status": "success" }), 2).await;
    let messages = nats.messages("COMMANDS").await;
    assert_eq!(messages.iter().filter(|m| m.subject.as_str() == "cmd.report.follow").count(), 2);
}

#[tokio::test]
async fn a_schedule_that_keeps_failing_is_paused_and_says_so() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let more = json!({ "target_command": "cmd.nobody.listens", "delivery": { "mode": "request" },
                       "max_retries": 0, "pause_on_failure": 2 });
    let id = nats.create(beat("failing", more)).await;
    let paused = wait_for("the pause", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == "paused").then_some(schedule)
    })
    .await;
    assert_eq!(paused["pause_reason"], "2 occurrences failed in a row");
    assert_eq!(paused["consecutive_failures"], 2);
    assert_eq!(paused["updated_by"], "scheduler");
    nats.wait_count("SCHEDULER_AUDIT", 3).await;
    let messages = nats.messages("SCHEDULER_AUDIT").await;
    let event: Value = serde_json::from_slice(&messages[2].payload).unwrap();
    assert_eq!((&event["event"], &event["actor"]), (&json!("paused"), &json!("scheduler")));
    let resumed = nats.ask("schedule.resume", json!({ "schedule_id": id })).await;
    assert_eq!(resumed["consecutive_failures"], 0);
}

#[tokio::test]
async fn commands_to_a_limited_target_keep_its_rate() {
    let nats = Nats::start().await;
    let rate = [("TARGET_RATE_LIMITS", "cmd.example.limited=10")];
    let _instances = (nats.service_with(&rate).await, nats.service_with(&rate).await);
    let started = Instant::now();
    let request = |n: u32, target: &str| json!({ "name": format!("{target} {n}"), "schedule_type": "immediate", "target_command": target });
    for n in 0..30 {
        nats.create(request(n, "cmd.example.limited")).await;
    }
    nats.create(request(0, "cmd.example.free")).await;
    nats.wait_count("COMMANDS", 31).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1800), "30 at 10 a second, 10 of them at once: {took:?}");
    let mut times = Vec::new();
    for message in nats.messages("COMMANDS").await {
        if message.subject.as_str() == "cmd.example.limited" {
            times.push(message.time.timestamp_millis());
        }
    }
    let busiest = times
        .iter()
        .map(|from| times.iter().filter(|at| (*from..from + 1000).contains(*at)).count())
        .max();
    assert!(busiest.unwrap() <= 22, "{busiest:?} in a second");
}

#[tokio::test]
async fn payloads_with_placeholders_are_rendered_for_each_command() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let payload = json!({ "id": "${schedule.id}", "name": "<${schedule.name}>", "n": 1.0, "try": "${attempt}",
                          "day": "${scheduled_for:%Y-%m-%d}", "literal": "$${attempt}", "run": "${execution_id}" });
    let mut request = json!({ "name": "say \"hi\"", "schedule_type": "immediate", "target_command": "cmd.example.t",
                              "timezone": "Asia/Tokyo", "command_payload": payload, "payload_template": true });
    let id = nats.create(request.clone()).await;
    nats.wait_count("COMMANDS", 1).await;
    let message = nats.messages("COMMANDS").await.remove(0);
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(body["id"], json!(id));
    assert_eq!(body["name"], "<say \"hi\">");
    assert_eq!(body["try"], "1");
    assert_eq!(body["literal"], "${attempt}");
    assert_eq!(body["run"], message.headers.get("Scheduler-Execution-Id").unwrap().as_str());
    let at: DateTime<Utc> =
        message.headers.get("Scheduler-Scheduled-For").unwrap().as_str().parse().unwrap();
    let tokyo = at.with_timezone(&chrono_tz::Asia::Tokyo);
    assert_eq!(body["day"], tokyo.format("%Y-%m-%d").to_string());
    let executions = nats.wait_executions(json!({ "schedule_id": id }), 1).await;
    assert_eq!(executions[0]["command_payload"]["try"], "1", "the history shows what was sent");
    let trigger = json!({ "schedule_id": id, "override_payload": { "x": "${nonsense}" } });
    assert_eq!(nats.refused("schedule.trigger", trigger).await["code"], "invalid");
    request["name"] = json!("other");
    request["command_payload"]["bad"] = json!("${nonsense}");
    let error = nats.refused("schedule.create", request.clone()).await;
    assert_eq!(error["details"][0]["field"], "command_payload");
    request["payload_template"] = json!(false);
    nats.create(request).await;
}

#[tokio::test]
async fn a_schedule_has_a_beginning_an_end_a_number_of_runs_and_a_spread() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let twice = nats.create(beat("twice", json!({ "max_runs": 2 }))).await;
    wait_for("the end", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": twice })).await;
        (schedule["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(nats.count("COMMANDS").await, 2);
    let update = json!({ "schedule_id": twice, "interval_seconds": 1 });
    let error = nats.refused("schedule.update", update).await;
    assert_eq!(error["details"][0]["field"], "max_runs", "{error}");
    nats.ask("schedule.update", json!({ "schedule_id": twice, "max_runs": 3 })).await;
    nats.wait_count("COMMANDS", 3).await;
    let timing = json!({ "schedule_type": "cron", "cron_expression": "0 * * * *", "count": 10,
                         "start_at": "2027-01-01T00:30:00Z", "end_at": "2027-01-01T03:00:00Z" });
    let preview = nats.ask("schedule.preview", timing).await;
    let expected = json!(["2027-01-01T01:00:00Z", "2027-01-01T02:00:00Z", "2027-01-01T03:00:00Z"]);
    assert_eq!(preview["occurrences"], expected);
    let spread = json!({ "name": "spread", "schedule_type": "cron", "cron_expression": "0 * * * *",
                         "jitter_seconds": 600, "target_command": "cmd.example.spread" });
    let id = nats.create(spread.clone()).await;
    let preview = nats.ask("schedule.preview", json!({ "schedule_id": id, "count": 24 })).await;
    let (nominal, due) = (&preview["occurrences"], &preview["due"]);
    let mut delays = std::collections::BTreeSet::new();
    for n in 0..24 {
        let time = |list: &Value| list[n].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        let delay = time(due) - time(nominal);
        assert!(delay >= chrono::Duration::zero() && delay < chrono::Duration::seconds(600));
        delays.insert(delay);
    }
    assert!(delays.len() > 12, "{delays:?}");
    let mut too_wide = spread;
    too_wide["name"] = json!("too wide");
    too_wide["cron_expression"] = json!("*/5 * * * *");
    let error = nats.refused("schedule.create", too_wide).await;
    assert_eq!(error["details"][0]["field"], "jitter_seconds");
}

#[tokio::test]
async fn a_follower_that_is_too_slow_holds_up_nobody() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let upstream = nats.create(far("busy")).await;
    let follow = |name: &str, more: Value| {
        let mut request = json!({ "name": name, "schedule_type": "dependent", "after": { "schedule_id": upstream } });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let job = json!({ "target_command": "cmd.example.slow", "delivery": { "mode": "job" } });
    let slow = nats.create(follow("slow", job)).await;
    let quick = nats.create(follow("quick", json!({ "target_command": "cmd.report.quick" }))).await;
    for _ in 0..20 {
        nats.ask("schedule.trigger", json!({ "schedule_id": upstream })).await;
    }
    nats.wait_executions(json!({ "schedule_id": quick, "status": "success" }), 20).await;
    let skipped =
        nats.wait_executions(json!({ "schedule_id": slow, "status": "skipped" }), 19).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "overlap");
    wait_for("the notes to leave the record", || async {
        let key = format!("$KV.scheduler_schedules.schedule.{upstream}");
        let bucket = nats.js.get_stream("KV_scheduler_schedules").await.ok()?;
        let record = bucket.get_last_raw_message_by_subject(&key).await.ok()?;
        let record: Value = serde_json::from_slice(&record.payload).ok()?;
        record.get("ended").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_backfill_goes_on_after_a_pause() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let _worker = slow_worker(&nats, "cmd.slow.backfill", Duration::from_millis(300)).await;
    let request = json!({ "name": "backfill", "schedule_type": "cron", "cron_expression": "0 3 * * *", "max_runs": 100,
                          "target_command": "cmd.slow.backfill", "delivery": { "mode": "request" } });
    let id = nats.create(request).await;
    let by_id = json!({ "schedule_id": id });
    let span =
        json!({ "schedule_id": id, "from": "2026-03-01T00:00:00Z", "to": "2026-03-08T23:00:00Z" });
    nats.ask("schedule.backfill", span.clone()).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 2).await;
    nats.ask("schedule.pause", by_id.clone()).await;
    assert_eq!(nats.refused("schedule.backfill", span.clone()).await["code"], "not_allowed");
    nats.ask("schedule.resume", by_id.clone()).await;
    assert_eq!(
        nats.refused("schedule.backfill", span).await["code"],
        "not_allowed",
        "one at a time"
    );
    let timing = json!({ "schedule_id": id, "cron_expression": "* * * * *" });
    assert_eq!(nats.refused("schedule.update", timing).await["code"], "not_allowed");
    let done = nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 8).await;
    assert_eq!(done.len(), 8);
}

#[tokio::test]
async fn the_pool_bounds_requests_and_delays_nothing_else() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("SCHEDULER_EXECUTOR_POOL_SIZE", "2")]).await;
    let most = slow_worker(&nats, "cmd.slow.pool", Duration::from_millis(1500)).await;
    let immediate = |name: String, target: &str, mode: &str| {
        json!({ "name": name, "schedule_type": "immediate", "target_command": target,
                "delivery": { "mode": mode } })
    };
    for n in 0..6 {
        nats.create(immediate(format!("slow {n}"), "cmd.slow.pool", "request")).await;
    }
    for n in 0..10 {
        nats.create(immediate(format!("quick {n}"), "cmd.example.quick", "publish")).await;
    }
    nats.wait_count("COMMANDS", 10).await;
    // Six at two a time take three rounds.
    let requests = json!({ "status": "completed", "target_prefix": "cmd.slow." });
    let done = nats.request("schedule.list", &requests).await["pagination"]["total"].clone();
    assert!(done.as_u64().unwrap() < 6, "{done} requests went before");
    wait_for("the requests", || async {
        let reply = nats.request("schedule.list", &requests).await;
        (reply["pagination"]["total"] == 6).then_some(())
    })
    .await;
    assert_eq!(*most.borrow(), 2);
}
