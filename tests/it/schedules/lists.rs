//! Lists of schedules, and commands that have none.

use std::collections::BTreeSet;
use std::future::ready;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::Http;

/// Schedules of two creators, with tags, types and times of many kinds.
async fn some(nats: &Nats) {
    for n in 0..24_i64 {
        let kind = ["cron", "interval", "one_time"][usize::try_from(n % 3).unwrap()];
        let mut request = json!({ "name": format!("Job {n:02}"), "schedule_type": kind,
            "created_by": if n % 2 == 0 { "alice" } else { "bob" },
            "target_command": if n % 4 == 0 { "cmd.report.x" } else { "cmd.example.x" },
            "tags": [format!("t{}", n % 3), format!("u{}", n % 4)] });
        match kind {
            "cron" => request["cron_expression"] = json!("0 3 * * *"),
            "interval" => {
                request["interval_seconds"] = json!(3600);
                request["start_at"] = json!(in_ms(3_600_000 + n * 1000));
            }
            _ => request["scheduled_at"] = json!(in_ms(7_200_000 - n * 1000)),
        }
        nats.create(request).await;
    }
}

async fn names(nats: &Nats, filter: Value) -> Vec<String> {
    let mut filter = filter;
    filter["limit"] = json!(100);
    let reply = nats.request("schedule.list", &filter).await;
    let names: Vec<_> = reply["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{filter}: {reply}"))
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reply["pagination"]["total"], names.len(), "{filter}");
    names
}

/// The names on a page of those that bob created, and the next cursor.
async fn listed(nats: &Nats, request: &Value) -> (Vec<String>, Value) {
    let reply = nats.request("schedule.list", request).await;
    assert_eq!(reply["pagination"]["total"], 12, "{request} {reply}");
    let list = reply["data"].as_array().unwrap();
    let names = list.iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect();
    (names, reply["pagination"]["next_cursor"].clone())
}

#[tokio::test]
async fn filters_find_what_they_say_and_combine() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    some(&nats).await;
    let all = nats.ask("schedule.list", json!({ "limit": 100 })).await;
    let paused = all[5]["id"].clone();
    nats.ask("schedule.pause", json!({ "schedule_id": paused })).await;
    nats.ask("schedule.update", json!({ "schedule_id": all[6]["id"], "is_active": false })).await;
    let expected = |keep: &dyn Fn(usize) -> bool| {
        (0..24).filter(|n| keep(*n)).map(|n| format!("Job {n:02}")).collect::<Vec<_>>()
    };
    for (filter, wanted) in [
        (json!({}), expected(&|_| true)),
        (json!({ "creator": "alice" }), expected(&|n| n % 2 == 0)),
        (json!({ "tags": ["t0", "u0"] }), expected(&|n| n % 3 == 0 || n % 4 == 0)),
        (
            json!({ "tags": ["t0", "u0"], "tags_match": "all" }),
            expected(&|n| n % 3 == 0 && n % 4 == 0),
        ),
        (json!({ "status": "paused" }), expected(&|n| n == 5)),
        (json!({ "schedule_type": "interval" }), expected(&|n| n % 3 == 1)),
        (json!({ "is_active": false }), expected(&|n| n == 6)),
        (json!({ "target_prefix": "cmd.report." }), expected(&|n| n % 4 == 0)),
        (json!({ "name_contains": "JOB 1" }), expected(&|n| (10..20).contains(&n))),
        (
            json!({ "schedule_type": "one_time", "due_before": in_ms(7_200_000 - 11_500) }),
            expected(&|n| n % 3 == 2 && n >= 12),
        ),
        (
            json!({ "creator": "bob", "schedule_type": "interval", "name_contains": "0" }),
            expected(&|n| n % 2 == 1 && n % 3 == 1 && n < 10),
        ),
        (
            json!({ "creator": "alice", "tags": ["u0", "t1"], "tags_match": "any", "is_active": true,
                "status": "active", "target_prefix": "cmd.", "name_prefix": "Job ",
                "name_contains": "b 0", "due_after": in_ms(0) }),
            expected(&|n| n < 10 && n % 2 == 0 && (n % 4 == 0 || n % 3 == 1)),
        ),
        (json!({ "tags": ["t0", "unknown"] }), expected(&|n| n % 3 == 0)),
        (json!({ "tags": ["t0", "unknown"], "tags_match": "all" }), Vec::new()),
        (json!({ "tags": [] }), Vec::new()),
        (json!({ "tags": [], "tags_match": "all" }), expected(&|_| true)),
        (json!({ "name_prefix": "job" }), Vec::new()),
        (json!({ "name_prefix": "", "target_prefix": "" }), expected(&|_| true)),
        (json!({ "target_prefix": "cmd.other" }), Vec::new()),
        (json!({ "creator": "nobody" }), Vec::new()),
    ] {
        assert_eq!(names(&nats, filter.clone()).await, wanted, "{filter}");
    }
}

#[tokio::test]
async fn schedules_are_found_by_the_group_and_the_calendar_that_they_name() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    for name in ["db", "mail"] {
        nats.ask("group.put", json!({ "name": name, "limit": 1 })).await;
        nats.ask("calendar.put", json!({ "name": name, "days": ["2099-01-01"] })).await;
    }
    let mut ids = Vec::new();
    for (name, more) in [
        ("a", json!({ "group": "db" })),
        ("b", json!({ "group": "db", "exclude": ["db"] })),
        ("c", json!({ "group": "mail", "exclude": ["db", "mail"] })),
        ("d", json!({})),
    ] {
        let mut request = json!({ "name": name, "schedule_type": "interval", "interval_seconds": 600,
            "start_at": in_ms(600_000), "target_command": "cmd.example.x", "delivery": { "mode": "job" } });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ids.push(nats.create(request).await);
    }
    for (filter, expected) in [
        (json!({ "group": "db" }), &["a", "b"][..]),
        (json!({ "group": "mail" }), &["c"]),
        (json!({ "group": "none" }), &[]),
        (json!({ "calendar": "db" }), &["b", "c"]),
        (json!({ "calendar": "mail" }), &["c"]),
        (json!({ "group": "db", "calendar": "db" }), &["b"]),
        (json!({ "group": "mail", "calendar": "db", "name_prefix": "x" }), &[]),
    ] {
        assert_eq!(names(&nats, filter.clone()).await, expected, "{filter}");
        let coming = nats.ask("schedule.upcoming", filter.clone()).await;
        let coming = coming["occurrences"].as_array().unwrap();
        let coming: BTreeSet<_> =
            coming.iter().map(|one| one["schedule_name"].as_str().unwrap()).collect();
        assert_eq!(coming, expected.iter().copied().collect(), "{filter}");
    }
    let http = Http::new(&service).await;
    let found = http.get("/api/v1/schedules?group=db&calendar=db").await;
    assert_eq!(
        (&found.body["pagination"]["total"], &found.body["data"][0]["name"]),
        (&json!(1), &json!("b"))
    );
    let found = http.get("/api/v1/schedules/upcoming?group=mail&limit=1").await;
    assert_eq!(found.body["data"]["occurrences"][0]["schedule_name"], "c");

    // It follows what schedules come to name.
    nats.ask("schedule.update", json!({ "schedule_id": ids[0], "group": "mail" })).await;
    nats.ask("schedule.update", json!({ "schedule_id": ids[3], "only": ["mail"] })).await;
    let pause = json!({ "operation": "pause", "filter": { "group": "db" } });
    assert_eq!(nats.ask("bulk.operation", pause).await["success"], json!([ids[1]]));
    assert_eq!(names(&nats, json!({ "calendar": "mail" })).await, ["c", "d"]);
    nats.ask("schedule.delete", json!({ "schedule_id": ids[2] })).await;
    assert_eq!(names(&nats, json!({ "group": "mail" })).await, ["a"]);
    assert_eq!(names(&nats, json!({ "group": "mail", "status": "deleted" })).await, ["c"]);

    for (operation, request, field) in [
        ("schedule.list", json!({ "group": "" }), "group"),
        ("schedule.list", json!({ "calendar": " x" }), "calendar"),
        ("schedule.upcoming", json!({ "calendar": "x".repeat(101) }), "calendar"),
        (
            "bulk.operation",
            json!({ "operation": "pause", "filter": { "group": "a\u{7}" } }),
            "filter.group",
        ),
    ] {
        let refused = nats.request(operation, &request).await;
        assert_eq!(refused["error"]["details"][0]["field"], field, "{request}: {refused}");
    }
    let refused = http.get("/api/v1/schedules?group=").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["error"]["details"][0]["field"]),
        (400, &json!("group"))
    );
}

#[tokio::test]
async fn every_order_holds_over_pages_and_cursors() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    some(&nats).await;
    for sort in ["created_at", "-created_at", "name", "-name", "next_run_at", "-next_run_at"] {
        let whole = names(&nats, json!({ "sort": sort })).await;
        assert_eq!(whole.len(), 24);
        let key = sort.trim_start_matches('-');
        let list = nats.ask("schedule.list", json!({ "sort": sort, "limit": 100 })).await;
        // A time in a whole second has no fraction, so times are not in order as texts.
        let in_order = |text: &str| match text.parse::<DateTime<Utc>>() {
            Ok(time) => time.to_rfc3339_opts(SecondsFormat::Nanos, true),
            Err(_) => text.to_owned(),
        };
        let keys: Vec<_> =
            list.as_array().unwrap().iter().map(|s| in_order(s[key].as_str().unwrap())).collect();
        let down = sort.starts_with('-');
        assert!(keys.is_sorted_by(|a, b| if down { a >= b } else { a <= b }), "{sort}: {keys:?}");
        let (mut by_page, mut by_cursor, mut cursor) = (Vec::new(), Vec::new(), Value::Null);
        for page in 1..=4 {
            let request = json!({ "sort": sort, "limit": 7, "page": page });
            let reply = nats.request("schedule.list", &request).await;
            by_page.extend(reply["data"].as_array().unwrap().clone());
            let mut request = json!({ "sort": sort, "limit": 7 });
            if page > 1 {
                request["cursor"] = cursor;
            }
            let reply = nats.request("schedule.list", &request).await;
            assert_eq!(reply["pagination"]["total"], 24);
            by_cursor.extend(reply["data"].as_array().unwrap().clone());
            cursor = reply["pagination"]["next_cursor"].clone();
        }
        assert_eq!(cursor, Value::Null, "the last page has no next");
        let named = |list: Vec<Value>| {
            list.iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(by_page), whole, "{sort}");
        assert_eq!(named(by_cursor), whole, "{sort}");
    }
    // The same with a filter: what is found is what the whole list has of it.
    let filter = json!({ "creator": "bob", "limit": 5 });
    for sort in ["created_at", "-created_at", "name", "-name", "next_run_at", "-next_run_at"] {
        let odd = |name: &String| name.as_bytes().last().unwrap() % 2 == 1;
        let mut whole = names(&nats, json!({ "sort": sort })).await;
        whole.retain(odd);
        let (mut by_page, mut by_cursor, mut cursor) = (Vec::new(), Vec::new(), Value::Null);
        for page in 1..=3 {
            let mut request = filter.clone();
            (request["sort"], request["page"]) = (json!(sort), json!(page));
            by_page.extend(listed(&nats, &request).await.0);
            request["page"] = Value::Null;
            request["cursor"] = cursor;
            let (part, next) = listed(&nats, &request).await;
            by_cursor.extend(part);
            cursor = next;
        }
        assert_eq!(cursor, Value::Null, "the last page has no next");
        assert_eq!((&by_page, &by_cursor), (&whole, &whole), "{sort}");
    }
    for bad in [
        json!({ "cursor": "nonsense" }),
        json!({ "cursor": "e30", "page": 1 }),
        json!({ "sort": "x" }),
    ] {
        assert_eq!(nats.refused("schedule.list", bad).await["code"], "invalid");
    }
}

#[tokio::test]
async fn a_cursor_neither_repeats_nor_misses_what_was_there_all_along() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    some(&nats).await;
    let first = nats.request("schedule.list", &json!({ "sort": "name", "limit": 10 })).await;
    let gone = first["data"][0]["id"].clone();
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;
    nats.create(
        json!({ "name": "A new one", "schedule_type": "interval", "interval_seconds": 3600,
                        "start_at": in_ms(3_600_000), "target_command": "cmd.example.x" }),
    )
    .await;
    let mut seen: Vec<_> = first["data"].as_array().unwrap().clone();
    let mut cursor = first["pagination"]["next_cursor"].clone();
    while cursor.is_string() {
        let request = json!({ "sort": "name", "limit": 10, "cursor": cursor });
        let reply = nats.request("schedule.list", &request).await;
        seen.extend(reply["data"].as_array().unwrap().clone());
        cursor = reply["pagination"]["next_cursor"].clone();
    }
    let names: Vec<_> = seen.iter().map(|s| s["name"].as_str().unwrap()).collect();
    let once: BTreeSet<_> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "none twice: {names:?}");
    for n in 0..24 {
        assert!(names.contains(&format!("Job {n:02}").as_str()), "{n} is missing: {names:?}");
    }
}

#[tokio::test]
async fn lists_show_the_latest_executions_of_each_schedule_if_they_are_asked_to() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let beat = |name: &str, more: Value| {
        let mut request = json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
                                  "target_command": "cmd.example.beat", "tags": ["x"], "max_retries": 0 });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let beats = nats.create(beat("beats", json!({ "max_runs": 4 }))).await;
    let absent = json!({ "target_command": "cmd.worker.absent", "delivery": { "mode": "request" }, "max_runs": 1 });
    let fails = nats.create(beat("fails", absent)).await;
    nats.create(far("waits")).await;
    nats.wait_executions(json!({ "schedule_id": beats, "status": "success" }), 4).await;
    nats.wait_executions(json!({ "schedule_id": fails, "status": "failed" }), 1).await;
    let http = Http::new(&service).await;
    let by_http = http.get("/api/v1/schedules?recent_executions=3&sort=name").await.body;
    let asked = json!({ "recent_executions": 3, "sort": "name" });
    let listed = nats.ask("schedule.list", asked).await;
    assert_eq!(by_http["data"], listed);
    let of =
        |n: usize| listed[n]["recent_executions"].as_array().unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((of(0).len(), of(1).len(), of(2).len()), (3, 1, 0));
    let times: Vec<_> = of(0).iter().map(|one| one["scheduled_for"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|later, earlier| later > earlier), "newest first: {times:?}");
    for one in of(0).iter().chain(of(1)) {
        let id = json!({ "execution_id": one["execution_id"] });
        let execution = nats.ask("execution.get", id).await;
        for field in ["status", "scheduled_for", "duration_ms"] {
            assert_eq!(one[field], execution[field], "{field}");
        }
    }
    assert_eq!(
        (&listed[0]["tags"], &listed[0]["last_outcome"]),
        (&json!(["x"]), &json!("success"))
    );
    let plain = nats.ask("schedule.list", json!({ "limit": 1 })).await;
    assert!(plain[0].get("recent_executions").is_none(), "{plain}");
    let error = nats.refused("schedule.list", json!({ "recent_executions": 21 })).await;
    assert_eq!(error["details"][0]["field"], "recent_executions", "{error}");
}

#[tokio::test]
async fn a_command_without_a_schedule_is_recorded_like_any_and_leaves_nothing() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let headers = [("X-Created-By", "carol"), ("X-Correlation-ID", "order-9")];
    let request = json!({ "target_command": "cmd.example.now", "command_payload": { "n": 1 }, "wait_ms": 10_000 });
    let (_, reply) = nats.request_with_headers("execute.immediate", &headers, request).await;
    let execution = &reply["data"]["execution"];
    assert_eq!(execution["status"], "success", "{reply}");
    assert_eq!(execution["correlation_id"], "order-9");
    assert_eq!(execution["created_by"], "carol");
    assert_eq!(&nats.messages("COMMANDS").await[0].payload[..], br#"{"n":1}"#);
    let id = json!({ "execution_id": reply["data"]["execution_id"] });
    assert_eq!(nats.ask("execution.get", id).await["status"], "success");
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 0);
    let key = format!("schedule.{}", reply["data"]["schedule_id"].as_str().unwrap());
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("its record to be gone", || async {
        bucket.get(key.clone()).await.unwrap().is_none().then_some(())
    })
    .await;
    let error =
        nats.refused("execute.immediate", json!({ "wait_ms": 60_001, "priority": "x" })).await;
    let fields: BTreeSet<_> =
        error["details"].as_array().unwrap().iter().map(|d| d["field"].as_str().unwrap()).collect();
    assert_eq!(fields, BTreeSet::from(["priority", "target_command", "wait_ms"]), "{error}");
}

#[tokio::test]
async fn a_command_without_a_schedule_survives_the_death_of_every_instance() {
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let request = json!({ "target_command": "cmd.example.now", "retry_delay_seconds": 1 });
    let run = nats.ask("execute.immediate", request).await;
    service.kill();
    nats.add_stream(include_str!("../../../streams/COMMANDS.json")).await;
    let _next = nats.service().await;
    let filter = json!({ "schedule_id": run["schedule_id"], "status": "success" });
    nats.wait_executions(filter, 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn a_list_has_what_any_instance_has_answered() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let create_and_list = |n: usize| {
        let nats = &nats;
        async move {
            let name = format!("one {n} of many");
            nats.create(far(&name)).await;
            let list = nats.request("schedule.list", &json!({ "name_prefix": name })).await;
            list["pagination"]["total"] == 1
        }
    };
    // Many at once: an instance reads what it is asked before it has read what it is shown.
    let shown = stream::iter(0..1000).map(create_and_list).buffered(50);
    let missed = shown.filter(|is_shown| ready(!is_shown)).count().await;
    assert_eq!(missed, 0, "of 1,000");
}
