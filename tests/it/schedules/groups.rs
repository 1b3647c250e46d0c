//! Concurrency groups: no more executions of their schedules are under way at once than they allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};
use crate::http::{Http, answer};
use crate::requests::audit::events;

/// How many run at once, and how many did at most.
#[derive(Clone, Default)]
pub struct Running(Arc<(AtomicUsize, AtomicUsize)>);

impl Running {
    fn begin(&self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// Answers requests after a while.
async fn slow(nats: &Nats, subject: &'static str, takes: Duration) -> Running {
    let (client, running) = (nats.client.clone(), Running::default());
    let mut requests = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let counts = running.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let (client, counts) = (client.clone(), counts.clone());
            tokio::spawn(async move {
                counts.begin();
                tokio::time::sleep(takes).await;
                counts.end();
                if let Some(reply) = request.reply {
                    client.publish(reply, "{}".into()).await.unwrap();
                }
            });
        }
    });
    running
}

/// Does the jobs that come, and reports each after a while.
pub async fn work(nats: &Nats, takes: Duration) -> Running {
    let (client, running) = (nats.client.clone(), Running::default());
    let mut commands = client.subscribe("cmd.report.>").await.unwrap();
    client.flush().await.unwrap();
    let counts = running.clone();
    tokio::spawn(async move {
        while let Some(command) = commands.next().await {
            let (client, counts) = (client.clone(), counts.clone());
            tokio::spawn(async move {
                counts.begin();
                tokio::time::sleep(takes).await;
                counts.end();
                let header = |name: &str| {
                    command.headers.as_ref().unwrap().get(name).unwrap().as_str().to_owned()
                };
                let done = json!({ "execution_id": header("Scheduler-Execution-Id"),
                                   "token": header("Scheduler-Token") });
                let body = serde_json::to_vec(&done).unwrap();
                client.request("cmd.scheduler.execution.complete", body.into()).await.unwrap();
            });
        }
    });
    running
}

fn job(name: &str, at: &str, more: Value) -> Value {
    let mut fields = json!({
        "name": name, "schedule_type": "one_time", "scheduled_at": at, "group": "g",
        "target_command": "cmd.report.x", "delivery": { "mode": "job", "timeout_seconds": 60 },
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

async fn put(nats: &Nats, limit: u64) -> Value {
    nats.ask("group.put", json!({ "name": "g", "limit": limit })).await
}

async fn group(nats: &Nats) -> Value {
    nats.ask("group.get", json!({ "name": "g" })).await
}

/// Waits until nothing has a slot and nothing waits.
async fn wait_idle(nats: &Nats) {
    wait_for("free slots", || async {
        let group = group(nats).await;
        (group["running"] == 0 && group["waiting"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn jobs_of_a_group_run_so_many_at_once_on_all_instances_together() {
    let nats = Nats::start().await;
    let instances = [nats.service().await, nats.service().await, nats.service().await];
    let running = work(&nats, Duration::from_millis(250)).await;
    assert_eq!(put(&nats, 2).await["outcome"], "created");
    let at = in_ms(2500);
    for n in 0..12 {
        nats.create(job(&format!("j{n}"), &at, json!({ "priority": 1 + n % 3 }))).await;
    }
    wait_for("some that wait", || async {
        let group = group(&nats).await;
        let (running, waiting) = (group["running"].as_u64()?, group["waiting"].as_u64()?);
        assert!(running <= 2, "{group}");
        let slots = group["slots"].as_array()?;
        (running == 2 && waiting >= 6 && slots[0]["schedule_name"].is_string()).then_some(())
    })
    .await;
    nats.wait_executions(json!({ "status": "success" }), 12).await;
    assert_eq!(running.most(), 2, "as many as it allows, and no more");
    wait_idle(&nats).await;
    // The higher priority goes first. Who is told of a free slot later than others may be passed.
    let order: Vec<u64> = {
        let sent = nats.messages("COMMANDS").await;
        let name = |headers: &async_nats::HeaderMap| {
            headers.get("Scheduler-Schedule-Name").unwrap().as_str()[1..].parse::<u64>().unwrap()
        };
        sent.iter().map(|command| 1 + name(&command.headers) % 3).collect()
    };
    assert!(order[..4].iter().sum::<u64>() > order[8..].iter().sum::<u64>(), "{order:?}");
    // Waiting for a slot is not being late: it was due when there was room.
    let shown = nats.ask("execution.list", json!({ "limit": 100 })).await;
    let late = shown.as_array().unwrap().iter().map(|one| one["lateness_ms"].as_i64().unwrap_or(0));
    assert!(late.max().unwrap() < 1500, "{shown}");

    // A bound that is raised lets more begin at once, and one of 0 holds them.
    let at = in_ms(1000);
    assert_eq!(put(&nats, 0).await["group"]["limit"], 0);
    for n in 0..8 {
        nats.create(job(&format!("k{n}"), &at, json!({}))).await;
    }
    wait_for("all to wait", || async { (group(&nats).await["waiting"] == 8).then_some(()) }).await;
    assert_eq!(nats.count("COMMANDS").await, 12);
    for instance in &instances {
        wait_for("its metrics", || async {
            let (_, text) = instance.probe("/metrics").await?;
            let says = |line: &str| text.lines().any(|one| one == line);
            let limit = says("scheduler_group_limit{group=\"g\"} 0");
            let running = says("scheduler_group_running{group=\"g\"} 0");
            (limit && running && says("scheduler_group_waiting_schedules{group=\"g\"} 8"))
                .then_some(())
        })
        .await;
    }
    put(&nats, 8).await;
    nats.wait_executions(json!({ "status": "success" }), 20).await;
    assert!(running.most() > 4, "{}", running.most());
    wait_idle(&nats).await;
}

#[tokio::test]
async fn of_jobs_that_are_due_at_once_the_higher_priority_gets_the_slot() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let _running = work(&nats, Duration::from_millis(50)).await;
    put(&nats, 1).await;
    let at = in_ms(2000);
    for priority in [1, 7, 4, 10, 2, 8, 5] {
        nats.create(job(&priority.to_string(), &at, json!({ "priority": priority }))).await;
    }
    nats.wait_executions(json!({ "status": "success" }), 7).await;
    let name = |headers: &async_nats::HeaderMap| {
        headers.get("Scheduler-Schedule-Name").unwrap().as_str().parse::<u64>().unwrap()
    };
    let sent = nats.messages("COMMANDS").await;
    let order: Vec<_> = sent.iter().map(|command| name(&command.headers)).collect();
    assert_eq!(order, [10, 8, 7, 5, 4, 2, 1]);
}

#[tokio::test]
async fn requests_of_a_group_take_turns_and_policies_apply_while_they_wait() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let running = slow(&nats, "cmd.service.slow", Duration::from_millis(1300)).await;
    put(&nats, 1).await;
    for (name, overlap) in [("a", "skip"), ("b", "buffer_one"), ("c", "allow")] {
        nats.create(json!({
            "name": name, "schedule_type": "interval", "interval_seconds": 1, "group": "g",
            "target_command": "cmd.service.slow", "overlap": overlap, "misfire_grace_seconds": 60,
            "delivery": { "mode": "request", "timeout_seconds": 20 },
        }))
        .await;
    }
    nats.wait_executions(json!({ "status": "success" }), 6).await;
    assert_eq!(running.most(), 1);
    // Each had its turn, and what came while one waited was skipped, by the policy of its schedule.
    for name in ["a", "b", "c"] {
        let of = json!({ "schedule_name": name, "creator": "unknown", "status": "skipped" });
        let skipped = nats.wait_executions(of, 1).await;
        let is_overlap = |one: &Value| one["skipped"]["cause"] == "overlap";
        assert!(skipped.iter().all(is_overlap), "{name}: {skipped:?}");
    }
    // A run by hand waits for its slot too.
    let run = json!({ "schedule_name": "a", "creator": "unknown", "wait_ms": 20_000 });
    let ran = nats.ask("schedule.trigger", run).await;
    assert_eq!(ran["execution"]["status"], "success", "{ran}");
    assert_eq!(running.most(), 1);
    // Who leaves the group waits for nobody.
    let leave = json!({ "schedule_name": "a", "creator": "unknown", "group": "" });
    assert!(nats.ask("schedule.update", leave).await.get("group").is_none());
    wait_for("two at once", || async { (running.most() == 2).then_some(()) }).await;
}

/// An instance dies at a failpoint, and another one finishes what it has begun and gives its slot back.
async fn dies_at(point: &str) {
    let nats = Nats::start().await;
    let setup = nats.service().await;
    put(&nats, 1).await;
    nats.create(job("first", &in_ms(4000), json!({}))).await;
    nats.create(job("second", &in_ms(4000), json!({}))).await;
    drop(setup);
    let running = work(&nats, Duration::from_millis(200)).await;
    let mut dying = nats.spawn(&[("NATS_SCHEDULER_FAILPOINT", point)]);
    // What it died in the middle of may be reported to nobody: a worker reports again.
    dying.exited().await;
    let _last = nats.service().await;
    nats.wait_executions(json!({ "status": "success" }), 2).await;
    assert_eq!(running.most(), 1, "{point}");
    wait_idle(&nats).await;
    assert_eq!(nats.count("COMMANDS").await, 2, "{point}");
}

#[tokio::test]
async fn dying_with_a_slot_that_nothing_uses_leaves_it_to_others() {
    dies_at("after_slot").await;
}

/// Some seven seconds after its last heartbeat an instance is gone; the lease of a slot alone would be 35.
const FREED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn what_a_dead_instance_has_taken_is_free_again_seconds_later() {
    const JOBS: usize = 20;
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "after_slot")]).await;
    let _living = nats.service().await;
    nats.ask("group.put", json!({ "name": "g", "limit": JOBS })).await;
    let running = work(&nats, Duration::from_millis(100)).await;
    let at = in_ms(3000);
    for n in 0..JOBS {
        // Of so many some are the dying one's to begin.
        nats.create(job(&format!("j{n}"), &at, json!({}))).await;
    }
    dying.exited().await;
    let died = Instant::now();
    nats.forgets_the_dead().await;
    nats.wait_executions(json!({ "status": "success" }), JOBS as u64).await;
    wait_idle(&nats).await;
    let took = died.elapsed();
    assert!(took < FREED_WITHIN, "{took:?}");
    assert_eq!(nats.count("COMMANDS").await, JOBS as u64);
    assert!(running.most() <= JOBS);
}

#[tokio::test]
async fn dying_with_a_claim_keeps_its_slot() {
    dies_at("after_claim").await;
}

#[tokio::test]
async fn dying_before_a_slot_is_freed_leaves_it_to_others() {
    dies_at("before_free").await;
}

#[tokio::test]
async fn a_group_is_created_changed_listed_and_deleted() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let by = [("X-Updated-By", "alice"), ("X-Correlation-ID", "put-1")];
    let request = json!({ "name": "g", "limit": 2, "description": "the warehouse" });
    let (_, made) = nats.request_with_headers("group.put", &by, request.clone()).await;
    assert_eq!(
        (&made["data"]["outcome"], &made["data"]["group"]["revision"]),
        (&json!("created"), &json!(1)),
        "{made}"
    );
    assert_eq!(nats.ask("group.put", request).await["outcome"], "unchanged");
    for (request, code) in [
        (json!({ "name": "g", "limit": 3, "expected_revision": 7 }), "conflict"),
        (json!({ "name": "new", "limit": 3, "expected_revision": 1 }), "conflict"),
        (json!({ "name": "g" }), "invalid"),
        (json!({ "name": "g", "limit": 1001 }), "invalid"),
        (json!({ "name": "g", "limit": -1 }), "invalid"),
        (json!({ "limit": 1 }), "invalid"),
        (json!({ "name": "g", "limit": 1, "slots": [] }), "invalid"),
    ] {
        let refused = nats.refused("group.put", request.clone()).await;
        assert_eq!(refused["code"], code, "{request}: {refused}");
    }
    // Schedules name groups that are there, in modes in which something stays under way.
    let far = in_ms(3_600_000);
    for (more, reason) in [
        (json!({ "group": "x" }), "group: is no group; group.list has all"),
        (json!({ "delivery": { "mode": "publish" } }), "group: is for the modes request and job"),
    ] {
        let refused = nats.refused("schedule.create", job("a", &far, more)).await;
        let details = refused["details"].to_string();
        let (field, reason) = reason.split_once(": ").unwrap();
        assert!(details.contains(field) && details.contains(reason), "{refused}");
    }
    let made = nats.request("schedule.create", &job("a", &far, json!({}))).await;
    assert_eq!(made["data"]["group"], "g", "{made}");
    let used = nats.refused("group.delete", json!({ "name": "g" })).await;
    assert_eq!(used["code"], "conflict", "{used}");
    assert!(used["message"].as_str().unwrap().contains("1 schedule uses the group \"g\": \"a\""));

    let http = Http::new(&service).await;
    let got = http.get("/api/v1/groups/g").await.body;
    assert_eq!((&got["data"]["used_by"], &got["data"]["slots"]), (&json!(1), &json!([])), "{got}");
    let body = json!({ "limit": 5 });
    let put = answer(http.ask(Method::PUT, "/api/v1/groups/a%2Fb").json(&body)).await;
    assert_eq!(
        (put.status.as_u16(), &put.body["data"]["group"]["name"]),
        (200, &json!("a/b")),
        "{put:?}"
    );
    let listed = nats.request("group.list", &json!({ "limit": 1, "page": 2 })).await;
    assert_eq!(
        (&listed["data"][0]["name"], &listed["pagination"]["total"]),
        (&json!("g"), &json!(2))
    );
    assert!(listed["data"][0].get("slots").is_none());
    let gone = nats.ask("group.delete", json!({ "name": "a/b", "expected_revision": 1 })).await;
    let again = nats.refused("group.delete", json!({ "name": "a/b" })).await;
    assert_eq!(again["code"], "not_found", "{again}");
    let told = events(&nats, gone["group_id"].as_str().unwrap(), 2).await;
    assert_eq!(
        (&told[0]["event"], &told[0]["limit"], &told[1]["event"]),
        (&json!("group_put"), &json!(5), &json!("group_deleted"))
    );
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the key to go", || async {
        bucket.get("group.YS9i").await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_under_way_when_its_schedule_comes_to_a_group_has_a_slot_there() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    put(&nats, 1).await;
    // Nobody reports: the first runs until it is cancelled.
    let first = nats.create(job("first", &in_ms(1000), json!({ "group": "" }))).await;
    nats.wait_count("COMMANDS", 1).await;
    wait_for("the job to run", || async {
        let running = nats.ask("execution.running", json!({})).await;
        (running[0]["status"] == "running").then_some(())
    })
    .await;
    nats.ask("schedule.update", json!({ "schedule_id": first, "group": "g" })).await;
    let seated = group(&nats).await;
    assert_eq!(
        (&seated["running"], &seated["slots"][0]["schedule_name"]),
        (&json!(1), &json!("first"))
    );
    let second = nats.create(job("second", &in_ms(1000), json!({}))).await;
    wait_for("the second to wait", || async { (group(&nats).await["waiting"] == 1).then_some(()) })
        .await;
    // Its schedule leaves the group again, and is deleted; the slot stays as long as the job.
    nats.ask("schedule.update", json!({ "schedule_id": first, "group": "" })).await;
    nats.ask("schedule.update", json!({ "schedule_id": second, "group": "" })).await;
    nats.wait_count("COMMANDS", 2).await;
    let refused = nats.refused("group.delete", json!({ "name": "g" })).await;
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!("conflict"), &json!("an execution still has a slot of it"))
    );
    let running = seated["slots"][0]["execution_id"].clone();
    nats.ask("execution.cancel", json!({ "execution_id": running })).await;
    wait_for("the group to go", || async {
        nats.request("group.delete", &json!({ "name": "g" })).await.get("data").cloned()
    })
    .await;
}

#[tokio::test]
async fn a_group_that_is_lost_or_holds_everything_is_the_reason_why_nothing_runs() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    put(&nats, 0).await;
    let id = nats.create(job("a", &in_ms(500), json!({}))).await;
    let explain = || async {
        let told = nats.ask("schedule.explain", json!({ "schedule_id": id })).await;
        (told["no_next"].as_str().unwrap_or_default().to_owned(), told["times"][0].clone())
    };
    let (reason, told) = wait_for("it to wait", || async {
        let (reason, told) = explain().await;
        (told["outcome"] == "waiting").then_some((reason, told))
    })
    .await;
    assert_eq!(reason, "the group g holds everything: its limit is 0");
    assert_eq!(told["reason"], "waits, because the group g holds everything: its limit is 0");
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    bucket.put("group.Zw", "junk".into()).await.unwrap();
    wait_for("the junk", || async {
        explain().await.0.starts_with("the group g cannot be read: ").then_some(())
    })
    .await;
    bucket.delete("group.Zw").await.unwrap();
    wait_for("the loss", || async { (explain().await.0 == "there is no group g").then_some(()) })
        .await;
    assert_eq!(nats.count("COMMANDS").await, 0);
    put(&nats, 1).await;
    nats.wait_count("COMMANDS", 1).await;
    // A deleted schedule is restored only where its group is.
    let running = nats.ask("execution.running", json!({})).await[0]["execution_id"].clone();
    nats.ask("execution.cancel", json!({ "execution_id": running })).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    wait_for("the group to go", || async {
        nats.request("group.delete", &json!({ "name": "g" })).await.get("data").cloned()
    })
    .await;
    let refused = nats.refused("schedule.restore", json!({ "schedule_id": id })).await;
    assert_eq!(refused["code"], "conflict", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("its group \"g\" is gone"), "{refused}");
}
