//! Calendars: days and spans that schedules leave out, or keep to.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use nats_scheduler::client::{Client, PutOutcome};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Nats, in_ms, wait_for};
use crate::http::{Http, answer};
use crate::requests::audit::events;

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The nominal times of the commands, in the order in which they were stored.
async fn sent(nats: &Nats) -> Vec<DateTime<Utc>> {
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let all = nats.messages("COMMANDS").await;
    all.iter()
        .map(|command| time(command.headers.get("Scheduler-Scheduled-For").unwrap().as_str()))
        .collect()
}

fn beat(name: &str, more: Value) -> Value {
    let mut fields = json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
                             "target_command": "cmd.example.beat" });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

#[tokio::test]
async fn nothing_is_due_by_what_a_calendar_said_before_once_it_was_put() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    let by = [("X-Updated-By", "alice"), ("X-Correlation-ID", "put-1")];
    let empty = json!({ "name": "freeze", "description": "no deploys" });
    let (_, put) = nats.request_with_headers("calendar.put", &by, empty.clone()).await;
    assert_eq!(
        (&put["data"]["outcome"], &put["data"]["calendar"]["revision"]),
        (&json!("created"), &json!(1)),
        "{put}"
    );
    assert!(put.get("warnings").is_none(), "{put}");
    let calendar = put["data"]["calendar"]["calendar_id"].as_str().unwrap().to_owned();
    for n in 0..30 {
        nats.create(beat(&format!("b{n}"), json!({ "exclude": ["freeze"] }))).await;
    }
    nats.wait_count("COMMANDS", 60).await;

    // From now on for four seconds.
    let (start, end) = (Utc::now(), Utc::now() + Duration::seconds(4));
    let frozen = json!({ "name": "freeze", "spans": [{ "start": shown(start - Duration::minutes(1)), "end": shown(end) }] });
    let put = nats.ask("calendar.put", frozen.clone()).await;
    let replied = Utc::now();
    assert_eq!(
        (&put["outcome"], &put["calendar"]["used_by"]),
        (&json!("changed"), &json!(30)),
        "{put}"
    );
    assert_eq!((&put["not_planned"], &put["unconfirmed"]), (&json!(0), &json!([])));
    let again = nats.ask("calendar.put", frozen).await;
    assert_eq!(
        (&again["outcome"], &again["calendar"]["revision"]),
        (&json!("unchanged"), &json!(2))
    );
    wait_for("commands after the span", || async {
        let after =
            sent(&nats).await.into_iter().filter(|at| *at > end + Duration::seconds(1)).count();
        (after >= 60).then_some(())
    })
    .await;
    let inside: Vec<_> =
        sent(&nats).await.into_iter().filter(|at| *at > replied && *at < end).collect();
    assert!(inside.is_empty(), "{inside:?} between {replied} and {end}");
    // What was never due is no entry of the history, and explained all the same.
    let skipped = nats.ask("execution.list", json!({ "status": "skipped" })).await;
    assert_eq!(skipped, json!([]));
    let explained =
        nats.ask("schedule.explain", json!({ "schedule_name": "b0", "creator": "unknown" })).await;
    let times = explained["times"].as_array().unwrap();
    let excluded = times.iter().find(|time| time["outcome"] == "excluded");
    let excluded = excluded.unwrap_or_else(|| panic!("{explained:#}"));
    assert_eq!(excluded["reason"], "left out by the calendar freeze");
    assert!(excluded["count"].as_u64().unwrap() >= 2, "{excluded}");
    assert!(times.iter().all(|time| time["outcome"] != "forgotten"), "{explained:#}");

    let events = events(&nats, &calendar, 2).await;
    assert_eq!(
        (&events[0]["event"], &events[0]["actor"], &events[0]["correlation_id"]),
        (&json!("calendar_put"), &json!("alice"), &json!("put-1"))
    );
    assert_eq!(
        (&events[1]["spans"], &events[1]["former_spans"], &events[1]["name"]),
        (&json!(1), &json!(0), &json!("freeze"))
    );
    let used = nats.refused("calendar.delete", json!({ "name": "freeze" })).await;
    assert_eq!(used["code"], "conflict", "{used}");
    assert!(
        used["message"]
            .as_str()
            .unwrap()
            .contains("30 schedules use the calendar \"freeze\": \"b0\""),
        "{used}"
    );
}

/// The latest nominal time of each schedule's commands, by its name.
async fn latest(nats: &Nats) -> BTreeMap<String, DateTime<Utc>> {
    let mut latest = BTreeMap::new();
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().to_string();
        let at: DateTime<Utc> = header("Scheduler-Scheduled-For").parse().unwrap();
        let known = latest.entry(header("Scheduler-Schedule-Name")).or_insert(at);
        *known = at.max(*known);
    }
    latest
}

/// How many schedules are planned with something else than before.
async fn replanned(nats: &Nats, ids: &[String], before: &Value) -> usize {
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let mut count = 0;
    for id in ids {
        let record = bucket.get(format!("schedule.{id}")).await.unwrap().unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        count += usize::from(record["planned_with"] != *before);
    }
    count
}

/// An instance dies while it plans the users of a calendar again. Those that are left, or start then, go on, and what
/// the reply to the same request says is true.
async fn dies_while_it_plans(point: &str, is_alone: bool) {
    const USERS: usize = 30;
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let other = if is_alone { None } else { Some(nats.service().await) };
    nats.ask("calendar.put", json!({ "name": "freeze" })).await;
    // One that no calendar stops shows that time passes.
    nats.create(beat("free", json!({}))).await;
    let mut ids = Vec::new();
    for n in 0..USERS {
        ids.push(nats.create(beat(&format!("b{n}"), json!({ "exclude": ["freeze"] }))).await);
    }
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let record = bucket.get(format!("schedule.{}", ids[0])).await.unwrap().unwrap();
    let before = serde_json::from_slice::<Value>(&record).unwrap()["planned_with"].clone();
    wait_for("all to fire", || async { (latest(&nats).await.len() == USERS + 1).then_some(()) })
        .await;

    let span = json!({ "start": in_ms(-60_000), "end": in_ms(3_600_000) });
    let frozen = json!({ "name": "freeze", "spans": [span] });
    nats.ask_the_dying("calendar.put", &frozen).await;
    dying.exited().await;
    if is_alone && point.starts_with("before") {
        assert!(replanned(&nats, &ids, &before).await < USERS, "{point}: it died in the middle");
    }
    let _living = match other {
        Some(other) => other,
        None => nats.service().await,
    };
    nats.forgets_the_dead().await;
    // It waits until the dead one is not heard any more.
    let client = Client::new(nats.client.clone()).timeout(DEADLINE);
    let put = client.put_calendar(&serde_json::from_value(frozen).unwrap()).await.unwrap().data;
    let replied = Utc::now();
    assert_eq!((put.outcome, put.not_planned), (PutOutcome::Unchanged, 0), "{put:?}");
    assert_eq!(replanned(&nats, &ids, &before).await, USERS, "{point}");
    wait_for("time to pass", || async {
        (latest(&nats).await["free"] > replied + Duration::seconds(3)).then_some(())
    })
    .await;
    let mut latest_now = latest(&nats).await;
    latest_now.remove("free");
    assert!(latest_now.values().all(|at| *at <= replied), "{point}: {replied}, {latest_now:?}");

    // They are not lost either.
    nats.ask("calendar.put", json!({ "name": "freeze" })).await;
    let thawed = Utc::now();
    wait_for("all to fire again", || async {
        latest(&nats).await.values().all(|at| *at > thawed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dying_before_a_user_of_a_calendar_is_planned_leaves_it_to_the_next_instance() {
    dies_while_it_plans("before_replan:10", true).await;
}

#[tokio::test]
async fn dying_after_some_users_of_a_calendar_are_planned_leaves_the_rest_to_the_next_instance() {
    dies_while_it_plans("after_replan:10", true).await;
}

#[tokio::test]
async fn dying_while_users_of_a_calendar_are_planned_leaves_the_rest_to_those_who_live() {
    dies_while_it_plans("before_replan:3", false).await;
}

#[tokio::test]
async fn a_deleted_schedule_is_restored_only_where_its_calendars_are() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.ask("calendar.put", json!({ "name": "open", "days": ["2026-12-25/2100-12-25"] })).await;
    let id = nats
        .create(json!({ "name": "kept", "schedule_type": "cron", "cron_expression": "@hourly",
                        "only": ["open"], "target_command": "cmd.example.x" }))
        .await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    wait_for("the calendar to go", || async {
        nats.request("calendar.delete", &json!({ "name": "open" })).await.get("data").cloned()
    })
    .await;
    let refused = nats.refused("schedule.restore", json!({ "schedule_id": id })).await;
    assert_eq!(refused["code"], "conflict", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("its calendar \"open\" is gone"), "{refused}");
    nats.ask("calendar.put", json!({ "name": "open", "days": ["2026-12-25/2100-12-25"] })).await;
    let restored = nats.ask("schedule.restore", json!({ "schedule_id": id })).await;
    assert!(restored["next_run_at"].is_string(), "{restored}");
}

#[tokio::test]
async fn a_calendar_is_created_changed_listed_and_deleted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let days = ["2026-12-24/2026-12-26", "2027-01-01"];
    nats.ask("calendar.put", json!({ "name": "holidays", "days": days })).await;
    let got = nats.ask("calendar.get", json!({ "name": "holidays" })).await;
    assert_eq!(
        (&got["days"], &got["spans"], &got["used_by"]),
        (&json!(days), &json!([]), &json!(0)),
        "{got}"
    );
    for (request, code) in [
        (json!({ "name": "holidays", "expected_revision": 7 }), "conflict"),
        (json!({ "name": "new", "expected_revision": 1 }), "conflict"),
        (json!({ "name": "holidays", "days": ["2026-02-30"] }), "invalid"),
        (json!({ "name": " a" }), "invalid"),
        (json!({}), "invalid"),
        (json!({ "name": "a", "ics": "x" }), "invalid"),
    ] {
        let refused = nats.refused("calendar.put", request.clone()).await;
        assert_eq!(refused["code"], code, "{request}: {refused}");
        let revision = if request["name"] == "new" { "0" } else { "1" };
        let current = json!([{ "field": "revision", "reason": revision }]);
        assert!(code != "conflict" || refused["details"] == current, "{refused}");
    }
    let same = nats.ask("calendar.get", json!({ "name": "holidays" })).await;
    assert_eq!(same, got, "a refusal changes nothing");

    let ics = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20260101\r\n\
               RRULE:FREQ=YEARLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let put = nats.ask("calendar.put", json!({ "name": "new years", "ics": ics })).await;
    assert!(put["calendar"]["day_count"].as_u64().unwrap() >= 10, "{put}");
    assert!(put["calendar"]["known_until"].is_string(), "{put}");
    let listed = nats.request("calendar.list", &json!({ "limit": 1, "page": 2 })).await;
    assert_eq!(
        (&listed["data"][0]["name"], &listed["pagination"]["total"]),
        (&json!("new years"), &json!(2)),
        "{listed}"
    );
    assert!(listed["data"][0].get("days").is_none());

    let gone =
        nats.ask("calendar.delete", json!({ "name": "new years", "expected_revision": 1 })).await;
    assert_eq!(gone["name"], "new years");
    let again = nats.refused("calendar.delete", json!({ "name": "new years" })).await;
    assert_eq!(again["code"], "not_found", "{again}");
    let unknown = nats.refused("calendar.get", json!({ "name": "new years" })).await;
    assert_eq!(unknown["code"], "not_found", "{unknown}");
    events(&nats, gone["calendar_id"].as_str().unwrap(), 2).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the key to go", || async {
        bucket.get("calendar.bmV3IHllYXJz").await.unwrap().is_none().then_some(())
    })
    .await;
    // Its name is free, and what comes is another one.
    let anew = nats.ask("calendar.put", json!({ "name": "new years" })).await;
    assert_eq!((&anew["outcome"], &anew["calendar"]["revision"]), (&json!("created"), &json!(1)));
    assert_ne!(anew["calendar"]["calendar_id"], gone["calendar_id"]);
}

#[tokio::test]
async fn a_schedule_waits_while_its_calendars_leave_nothing_open_or_are_not_there() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let unknown = beat("a", json!({ "exclude": ["holidays"], "only": ["x"] }));
    let refused = nats.refused("schedule.create", unknown).await;
    let text = refused.to_string();
    assert!(
        text.contains("exclude[0]") && text.contains("only[0]") && text.contains("is no calendar"),
        "{text}"
    );
    let once = json!({ "name": "o", "schedule_type": "immediate", "target_command": "cmd.example.a", "only": ["x"] });
    let refused = nats.refused("schedule.create", once).await;
    assert!(refused.to_string().contains("belongs to schedule_type cron or interval"), "{refused}");

    nats.ask("calendar.put", json!({ "name": "window" })).await;
    let created = nats.request("schedule.create", &beat("a", json!({ "only": ["window"] }))).await;
    assert_eq!(
        (&created["data"]["next_run_at"], &created["data"]["status"]),
        (&Value::Null, &json!("active")),
        "{created}"
    );
    assert_eq!(created["warnings"][0]["code"], "nothing_open", "{created}");
    let explain =
        || nats.ask("schedule.explain", json!({ "schedule_name": "a", "creator": "unknown" }));
    assert_eq!(explain().await["no_next"], "its calendars leave no time open");
    let preview =
        json!({ "schedule_type": "interval", "interval_seconds": 60, "only": ["window"] });
    let preview = nats.ask("schedule.preview", preview).await;
    assert_eq!(preview["occurrences"], json!([]), "{preview}");
    let description = preview["description"].as_str().unwrap();
    assert!(description.ends_with(", only in window"), "{description}");
    // A run by hand is made, and does not end it.
    let run = json!({ "schedule_name": "a", "creator": "unknown", "wait_ms": 5000 });
    assert_eq!(nats.ask("schedule.trigger", run).await["execution"]["status"], "success");
    // The key is lost, and found again by whoever puts it.
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    bucket.delete("calendar.d2luZG93").await.unwrap();
    wait_for("the loss", || async {
        (explain().await["no_next"] == "there is no calendar window").then_some(())
    })
    .await;
    let open = json!({ "name": "window", "spans": [{ "start": shown(Utc::now()), "end": in_ms(3_600_000) }] });
    nats.ask("calendar.put", open).await;
    nats.wait_count("COMMANDS", 3).await;
    let got = nats.ask("schedule.get", json!({ "schedule_name": "a", "creator": "unknown" })).await;
    assert!(got["next_run_at"].is_string(), "{got}");
    assert_eq!(got["only"], json!(["window"]));
    // Junk in its place holds the schedule, and says so.
    bucket.put("calendar.d2luZG93", "junk".into()).await.unwrap();
    wait_for("the junk", || async {
        let reason = explain().await["no_next"].as_str().unwrap_or_default().to_owned();
        reason.starts_with("the calendar window cannot be read: ").then_some(())
    })
    .await;
    let cleared = json!({ "schedule_name": "a", "creator": "unknown", "only": [] });
    let cleared = nats.ask("schedule.update", cleared).await;
    assert!(cleared["next_run_at"].is_string(), "{cleared}");
    nats.ask("calendar.put", json!({ "name": "never" })).await;
    let shut = json!({ "schedule_name": "a", "creator": "unknown", "only": ["never"] });
    let shut = nats.request("schedule.update", &shut).await;
    assert_eq!(shut["warnings"][0]["code"], "nothing_open", "{shut}");
}

#[tokio::test]
async fn calendars_are_reached_over_http() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let path = "/api/v1/calendars/a%2Fb%20%C3%BC";
    let send = |method: Method, path: &str| http.ask(method, path);
    let put = answer(send(Method::PUT, path).json(&json!({ "days": ["2026-12-25"] }))).await;
    assert_eq!(
        (put.status.as_u16(), &put.body["data"]["calendar"]["name"]),
        (200, &json!("a/b ü")),
        "{put:?}"
    );
    assert_eq!(http.get(path).await.body["data"]["days"], json!(["2026-12-25"]));
    let listed = http.get("/api/v1/calendars?limit=10").await;
    assert_eq!(listed.body["pagination"]["total"], 1, "{listed:?}");
    let gone = answer(send(Method::DELETE, &format!("{path}?expected_revision=1"))).await;
    assert_eq!(gone.status.as_u16(), 204, "{gone:?}");
    http.get(path).await.refused(404, "not_found");
}
