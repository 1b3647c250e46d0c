//! Header values arrive as they were sent, whatever they are.

use futures::StreamExt as _;
use nats_scheduler::names::plain_text;
use serde_json::{Value, json};

use crate::harness::{Nats, far, wait_for};

/// Waits for a message of the example stream; the header of that name of the last on a subject.
async fn last_header(nats: &Nats, subject: &str, name: &str) -> String {
    wait_for(&format!("a message on {subject}"), || async {
        let stream = nats.js.get_stream("COMMANDS").await.ok()?;
        let message = stream.get_last_raw_message_by_subject(subject).await.ok()?;
        Some(message.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_string())
    })
    .await
}

fn on(name: &str, subject: &str) -> Value {
    json!({ "name": name, "schedule_type": "immediate", "target_command": subject })
}

#[tokio::test]
async fn odd_names_arrive_whole() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let names = [
        "plain name",
        "50 % größer",
        "%20",
        "a  b",
        "tab\tinside",
        "two\r\nlines",
        "名前 😀",
        "nbsp\u{a0}inside",
        "a:b,c;d=\"e\"",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let subject = format!("cmd.example.name{n}");
        nats.create(on(name, &subject)).await;
        let header = last_header(&nats, &subject, "Scheduler-Schedule-Name").await;
        assert_eq!(plain_text(&header), name);
    }
    let header = last_header(&nats, "cmd.example.name0", "Scheduler-Schedule-Name").await;
    assert_eq!(header, "plain name", "what is plain stays readable");
}

#[tokio::test]
async fn names_of_older_records_with_white_space_at_the_ends_go_on() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    for (n, odd) in [" first", "last ", "   ", "\u{a0}x\u{2003}", "\tx\n"].into_iter().enumerate() {
        let subject = format!("cmd.example.old{n}");
        let mut request = far(&format!("old {n}"));
        request["target_command"] = json!(subject);
        let id = nats.create(request).await;
        let key = format!("schedule.{id}");
        let mut record: Value =
            serde_json::from_slice(&bucket.get(&key).await.unwrap().unwrap()).unwrap();
        record["spec"]["name"] = json!(odd);
        record["spec"]["tags"] = json!([" a tag "]);
        bucket.put(&key, record.to_string().into()).await.unwrap();

        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
        let header = last_header(&nats, &subject, "Scheduler-Schedule-Name").await;
        assert_eq!(plain_text(&header), odd, "{header:?}");

        // It can be changed, deleted and restored; a new name must be sound.
        let changed = json!({ "schedule_id": id, "description": "d", "tags": [" a tag ", "b"] });
        assert_eq!(nats.ask("schedule.update", changed).await["name"], odd);
        let same = json!({ "schedule_id": id, "name": odd });
        assert_eq!(nats.ask("schedule.update", same).await["name"], odd);
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
        assert_eq!(nats.ask("schedule.restore", json!({ "schedule_id": id })).await["name"], odd);
        let other = json!({ "schedule_id": id, "name": format!("{odd} ") });
        assert_eq!(nats.refused("schedule.update", other).await["details"][0]["field"], "name");
        let sound = json!({ "schedule_id": id, "name": format!("new {n}") });
        nats.ask("schedule.update", sound).await;
    }
}

#[tokio::test]
async fn white_space_at_the_ends_is_refused_where_names_come_in() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let ends = "must not begin or end with white space";
    let only = "must not be white space only";
    for (field, value, reason) in [
        ("name", json!(" x"), ends),
        ("name", json!("x\n"), ends),
        ("name", json!("\u{2003}x"), ends),
        ("name", json!("   "), only),
        ("name", json!("\u{a0}"), only),
        ("created_by", json!("anna "), ends),
        ("idempotency_key", json!(" k"), ends),
        ("tags", json!(["a", " b"]), ends),
        ("tags", json!(["a", " "]), only),
    ] {
        let mut request = far("edges");
        request[field] = value;
        let named = if field == "tags" { "tags[1]" } else { field };
        let fault = json!([{ "field": named, "reason": reason }]);
        let error = nats.refused("schedule.create", request.clone()).await;
        assert_eq!(error["details"], fault, "{request}");
        let many = nats.ask("bulk.create", json!({ "schedules": [request] })).await;
        assert_eq!(many["results"][0]["error"]["details"], fault, "{request}");
    }
    let id = nats.create(far("edges")).await;
    let renamed = json!({ "schedule_id": id, "name": "edges ", "tags": [" t"] });
    let error = nats.refused("schedule.update", renamed).await;
    assert_eq!(error["message"], format!("name: {ends}; tags[0]: {ends}"));
    let deleted = json!({ "schedule_id": id, "deleted_by": " anna" });
    assert_eq!(nats.refused("schedule.delete", deleted).await["details"][0]["reason"], ends);
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await["name"], "edges");
}

#[tokio::test]
async fn what_a_worker_says_of_its_failure_arrives_with_the_dead_letter() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (kind, message) = (" ümlaut ", "  two\r\nlines \u{1b}[31m ");
    let mut request = on("dies", "cmd.example.work");
    request["delivery"] = json!({ "mode": "job", "timeout_seconds": 60 });
    request["dead_letter"] = json!("cmd.example.dead");
    nats.create(request).await;
    let token = last_header(&nats, "cmd.example.work", "Scheduler-Token").await;
    let execution = last_header(&nats, "cmd.example.work", "Scheduler-Execution-Id").await;
    let failed = json!({ "execution_id": execution, "token": token, "error_type": kind,
        "error_message": message, "retryable": false });
    nats.ask("execution.fail", failed).await;
    let header = last_header(&nats, "cmd.example.dead", "Scheduler-Error-Type").await;
    assert_eq!(plain_text(&header), kind);
    let header = last_header(&nats, "cmd.example.dead", "Scheduler-Error-Message").await;
    assert_eq!(plain_text(&header), message);
    // The history says it in a header too.
    let filter = json!({ "status": "failed" });
    let executions = nats.wait_executions(filter, 1).await;
    assert_eq!(executions[0]["error_type"], kind);
    let statistics = nats.ask("execution.stats", json!({})).await;
    assert_eq!(statistics["most_common_error"]["error_type"], kind, "{statistics}");
}

#[tokio::test]
async fn ids_and_actors_come_back_without_the_white_space_around_them() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (n, (sent, kept)) in [
        (" a b ", "a b"),
        ("café \u{1f600}", "café \u{1f600}"),
        ("\u{a0}x\u{a0}", "x"),
        ("50%20", "50%20"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("cmd.example.ids{n}");
        let headers = [("X-Correlation-ID", sent), ("X-Request-ID", sent), ("X-Created-By", sent)];
        let mut body = far(&format!("ids {n}"));
        body["target_command"] = json!(subject);
        let (answered, reply) = nats.request_with_headers("schedule.create", &headers, body).await;
        assert_eq!(reply["data"]["created_by"], kept, "{reply}");
        assert_eq!((&reply["correlation_id"], &reply["request_id"]), (&json!(kept), &json!(kept)));
        assert_eq!(answered.get("X-Correlation-ID").unwrap().as_str(), kept);
        let id = reply["data"]["id"].clone();
        let by_hand = json!({ "schedule_id": id, "wait_ms": 20_000 });
        let (_, run) = nats.request_with_headers("schedule.trigger", &headers, by_hand).await;
        assert_eq!(run["data"]["execution"]["correlation_id"], kept, "{run}");
        assert_eq!(last_header(&nats, &subject, "X-Correlation-ID").await, kept);
        let found =
            nats.request("execution.by_correlation", &json!({ "correlation_id": kept })).await;
        assert!(found["pagination"]["total"].as_u64() >= Some(1), "{found}");
    }
    for name in ["X-Correlation-ID", "X-Request-ID", "X-Created-By", "Nats-Msg-Id"] {
        let (_, reply) =
            nats.request_with_headers("schedule.create", &[(name, "a\u{1}b")], far("odd")).await;
        let fault = json!([{ "field": name, "reason": "must not contain control characters" }]);
        assert_eq!(reply["error"]["details"], fault, "{reply}");
    }
}

/// What no library lets anybody write into a header, and what it would do there.
const ODD: &str =
    "a\r\nNats-Rollup: all\r\nX-Extra: 1\u{0}\u{1b}\n\r\nPUB cmd.example.stolen 0\r\n\r\n";

/// Changes the record of a schedule by hand, as `nats kv put` does.
async fn edit(nats: &Nats, id: &str, change: impl FnOnce(&mut Value)) {
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let key = format!("schedule.{id}");
    let mut record: Value =
        serde_json::from_slice(&bucket.get(&key).await.unwrap().unwrap()).unwrap();
    change(&mut record);
    bucket.put(&key, record.to_string().into()).await.unwrap();
}

/// A run by hand as the record has it, of which all texts are odd.
fn odd_run(correlation_id: &str) -> Value {
    let at = crate::harness::in_ms(0);
    json!({ "execution_id": uuid::Uuid::new_v4(), "scheduled_for": at, "number": 1,
            "phase": "waiting", "due_at": at, "token": ODD,
            "manual": { "correlation_id": correlation_id, "by": ODD } })
}

#[tokio::test]
async fn what_a_record_says_that_was_written_by_hand_is_no_header_of_its_own() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let mut core = nats.client.subscribe("cmd.odd.core").await.unwrap();
    let mut asked = nats.client.subscribe("cmd.odd.request").await.unwrap();
    let long = ODD.repeat(1000);
    for (n, (mode, id)) in ["publish", "job", "core", "request"]
        .into_iter()
        .flat_map(|mode| [(mode, ODD), (mode, long.as_str())])
        .enumerate()
    {
        let target = match mode {
            "publish" | "job" => format!("cmd.example.odd{n}"),
            _ => format!("cmd.odd.{mode}"),
        };
        let mut request = far(&format!("odd {n}"));
        request["target_command"] = json!(target);
        request["delivery"] = json!({ "mode": mode, "timeout_seconds": 1 });
        request["max_retries"] = json!(0);
        request["dead_letter"] = json!(format!("cmd.example.dead{n}"));
        let schedule = nats.create(request).await;
        edit(&nats, &schedule, |record| {
            record["spec"]["name"] = json!(id);
            record["correlation_id"] = json!(id);
            record["attempts"] = json!([odd_run(id)]);
        })
        .await;
        let headers = match mode {
            "core" => core.next().await.unwrap().headers.unwrap(),
            "request" => {
                let message = asked.next().await.unwrap();
                let reply = message.reply.unwrap();
                nats.client.publish(reply, "{}".into()).await.unwrap();
                message.headers.unwrap()
            }
            _ => {
                last_header(&nats, &target, "X-Correlation-ID").await;
                let stream = nats.js.get_stream("COMMANDS").await.unwrap();
                stream.get_last_raw_message_by_subject(&target).await.unwrap().headers
            }
        };
        for (name, values) in headers.iter() {
            let value = values[0].as_str();
            assert!(!value.contains(char::is_control), "{mode} {name}: {value:.200?}");
            assert!(value.len() <= 4096, "{mode} {name}");
        }
        assert_eq!(headers.get("X-Extra"), None);
        if mode == "job" {
            // A worker that has the odd token is not known; the time of the job ends.
            let dead = format!("cmd.example.dead{n}");
            assert_eq!(last_header(&nats, &dead, "Scheduler-Error-Type").await, "timeout");
        }
        let status = if mode == "job" { "failed" } else { "success" };
        let filter = json!({ "schedule_id": schedule, "status": status });
        let ended = nats.wait_executions(filter, 1).await;
        let said = ended[0]["correlation_id"].as_str().unwrap();
        assert_eq!(said, headers.get("X-Correlation-ID").unwrap().as_str(), "{mode}");
        if said.len() <= 255 {
            let found = json!({ "correlation_id": said });
            let found = nats.request("execution.by_correlation", &found).await;
            assert!(found["pagination"]["total"].as_u64() >= Some(1), "{mode}: {found}");
        }
    }
    assert!(!service.log().contains("panicked"), "{}", service.log());
}
