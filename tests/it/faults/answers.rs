//! Where an answer comes from, and what happens when NATS does not answer.
//!
//! | heard after a command was sent | outcome |
//! |---|---|
//! | an error, `ok` or forged acknowledgement of a listener on a stream's target | the stream's: one message per occurrence |
//! | the same where no stream captures the target, or nothing | `no_stream`, final after one send: somebody has it |
//! | an acknowledgement where only a mapping or an import leads to a stream | success, verified if it can be |
//! | a refusal of a stream, or a service's error code, as the reply to a `request` | failed |
//! | that we may not publish | `not_allowed` at once, in every mode |
//!
//! If the instance dies after the send, and is taken over once the stream has forgotten the id, the message is found
//! under the subject that the stream stores it by, even if that is transformed or mapped, and is not sent again. The
//! same goes for a dead letter.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, HeaderMap, Message};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::harness::{Nats, Service, configured, in_ms, wait_for};

/// How long a stream of these tests remembers ids: less than it takes until an instance counts as gone.
const WINDOW: u64 = 1_000_000_000;

/// A server with a configuration, which may say who may do what. The test is `user`.
async fn start(config: &str, user: &str) -> Nats {
    let dir = TempDir::new().unwrap();
    let server = configured(dir.path(), config).await;
    let client = connected(&server.url(), user).await;
    let js = jetstream::new(client.clone());
    Nats::of(server, client, js, dir)
}

async fn connected(url: &str, user: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), "secret".to_owned());
    options.connect(url).await.unwrap()
}

async fn service_of(nats: &Nats, user: &str, failpoint: &str) -> Service {
    nats.service_with(&[
        ("NATS_INBOX_PREFIX", &format!("_INBOX_{user}")),
        ("NATS_USER", user),
        ("NATS_PASSWORD", "secret"),
        ("NATS_SCHEDULER_FAILPOINT", failpoint),
    ])
    .await
}

async fn stream(js: &jetstream::Context, name: &str, subject: &str, more: Value) {
    let mut config = json!({ "name": name, "subjects": [subject], "retention": "limits",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
        "storage": "file", "discard": "old", "num_replicas": 1, "duplicate_window": WINDOW });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: jetstream::stream::Config = serde_json::from_value(config).unwrap();
    js.create_stream(config).await.unwrap();
}

/// A command to be sent at once, once, unless it is to be tried again.
fn at_once(target: &str, mode: &str) -> Value {
    json!({ "name": format!("{mode} {target}"), "schedule_type": "immediate", "target_command": target,
            "delivery": { "mode": mode, "timeout_seconds": 20 }, "max_retries": 3,
            "retry_delay_seconds": 0 })
}

async fn ended(nats: &Nats, id: &str, status: &str) -> Value {
    let filter = json!({ "schedule_id": id, "status": status });
    nats.wait_executions(filter, 1).await.remove(0)
}

/// Waits until a schedule has ended for good, so that nothing more is sent for it.
async fn settled(nats: &Nats, id: &str, status: &str) {
    wait_for(&format!("the schedule to be {status}"), || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == status).then_some(())
    })
    .await;
}

/// Answers every message to a subject; hands on what came.
async fn responder(
    client: &Client,
    subject: &'static str,
    answer: fn(&str) -> Option<&'static str>,
) -> UnboundedReceiver<Message> {
    let mut messages = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let (client, (sender, heard)) = (client.clone(), unbounded_channel());
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let (reply, answer) = (message.reply.clone(), answer(&message.subject));
            let _ = sender.send(message);
            if let (Some(reply), Some(answer)) = (reply, answer) {
                client.publish(reply, answer.into()).await.unwrap();
            }
        }
    });
    heard
}

fn count(heard: &mut UnboundedReceiver<Message>) -> usize {
    std::iter::from_fn(|| heard.recv().now_or_never().flatten()).count()
}

#[tokio::test]
async fn what_a_stranger_answers_beside_the_stream_decides_nothing() {
    // The stream answers after it has synced, so strangers are nearly always first.
    let config = "jetstream { store_dir: $NATS_STORE_DIR, sync_interval: always }";
    let nats = start(config, "nobody").await;
    stream(&nats.js, "SHARED", "cmd.shared.*", json!({})).await;
    let _service = nats.service().await;
    let mut heard = responder(&nats.client, "cmd.shared.*", |subject| {
        Some(match subject.rsplit('.').next()? {
            "error" => r#"{"error":{"code":500,"description":"out of paper"}}"#,
            "ok" => "ok",
            "acknowledged" => r#"{"stream":"ELSEWHERE","seq":1}"#,
            "refused" => {
                r#"{"error":{"code":400,"err_code":10071,"description":"no"},"stream":"ELSEWHERE","seq":0}"#
            }
            _ => return None,
        })
    })
    .await;
    let targets = ["error", "ok", "acknowledged", "refused", "silent"];
    let mut ids = Vec::new();
    for target in targets {
        let id = nats
            .create(json!({ "name": target, "schedule_type": "interval", "interval_seconds": 1,
                            "target_command": format!("cmd.shared.{target}"), "max_runs": 4 }))
            .await;
        ids.push(id);
    }
    for id in &ids {
        settled(&nats, id, "completed").await;
        let filter = json!({ "schedule_id": id, "status": "success" });
        let found = nats.wait_executions(filter, 4).await;
        for execution in found {
            let timings = &execution["timings"];
            let time = |name: &str| -> chrono::DateTime<chrono::Utc> {
                timings[name].as_str().unwrap().parse().unwrap()
            };
            let took = time("acknowledged_at") - time("sent_at");
            assert!(took < chrono::Duration::seconds(5), "waited for in vain: {execution}");
        }
        let all = nats.request("execution.list", &json!({ "schedule_id": id })).await;
        assert_eq!(all["pagination"]["total"], 4, "{all}");
    }
    assert_eq!(nats.count("SHARED").await, 4 * targets.len() as u64);
    assert_eq!(count(&mut heard), 4 * targets.len(), "each was sent once");
}

#[tokio::test]
async fn without_a_stream_one_send_is_enough_to_know_it() {
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let mut heard = responder(&nats.client, "cmd.lonely.*", |subject| match subject {
        "cmd.lonely.ok" => Some("ok"),
        "cmd.lonely.error" => Some(r#"{"error":{"code":500,"description":"no"}}"#),
        "cmd.lonely.forged" => Some(r#"{"stream":"KV_scheduler_schedules","seq":1}"#),
        _ => None,
    })
    .await;
    for (target, seconds) in [("ok", 4), ("error", 4), ("forged", 4), ("silent", 20)] {
        let began = Instant::now();
        let id = nats.create(at_once(&format!("cmd.lonely.{target}"), "publish")).await;
        let failed = ended(&nats, &id, "failed").await;
        assert!(began.elapsed() < Duration::from_secs(seconds), "{target}: {failed}");
        assert_eq!(failed["error_type"], "no_stream", "{failed}");
        // Somebody has it: another attempt would be another command.
        assert_eq!(failed["uncertain"], true, "{failed}");
        assert_ne!(failed["will_retry"], true, "{failed}");
        settled(&nats, &id, "failed").await;
        assert_eq!(count(&mut heard), 1, "{target}");
    }
    // Nobody at all: the next attempt can find a stream.
    let id = nats.create(at_once("cmd.nobody.there", "publish")).await;
    let failed = ended(&nats, &id, "failed").await;
    assert_eq!(failed["error_type"], "no_stream");
    assert_ne!(failed["uncertain"], true, "{failed}");
}

#[tokio::test]
async fn a_refusal_of_a_stream_and_an_error_code_alone_are_no_replies() {
    let nats = Nats::bare().await;
    let full = json!({ "max_msgs": 1, "discard": "new" });
    stream(&nats.js, "FULL", "cmd.full.*", full).await;
    nats.js.publish("cmd.full.first", "{}".into()).await.unwrap().await.unwrap();
    let _service = nats.service().await;
    let id = nats.create(at_once("cmd.full.second", "request")).await;
    let failed = ended(&nats, &id, "failed").await;
    assert_eq!(failed["error_type"], "captured", "{failed}");
    assert_eq!(failed["uncertain"], true, "a worker may have heard it");
    assert!(failed["error_message"].as_str().unwrap().contains("maximum messages"), "{failed}");
    let id = nats.create(at_once("cmd.full.third", "publish")).await;
    let failed = ended(&nats, &id, "failed").await;
    assert_eq!(failed["error_type"], "refused", "{failed}");
    assert_eq!(failed["will_retry"], true, "{failed}");

    let mut requests = nats.client.subscribe("cmd.worker.coded").await.unwrap();
    let id = nats.create(at_once("cmd.worker.coded", "request")).await;
    let request = requests.next().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error-Code", "500");
    let reply = request.reply.unwrap();
    nats.client.publish_with_headers(reply, headers, "{}".into()).await.unwrap();
    let failed = ended(&nats, &id, "failed").await;
    assert_eq!(failed["error_type"], "service_error", "{failed}");
    assert_eq!(failed["error_message"], "500");
}

/// Dies after the command was sent; what is taken over finds it, though the stream has forgotten its
/// id and keeps it under another subject.
async fn found_again(nats: &Nats, user: &str, target: &str, stream: &str, stored: &str) {
    let mut dying = service_of(nats, user, "after_deliver").await;
    let due = json!({ "name": target, "schedule_type": "one_time", "scheduled_at": in_ms(600),
                      "target_command": target });
    let id = nats.create(due).await;
    dying.exited().await;
    let kept = nats.messages(stream).await;
    assert_eq!(kept.last().unwrap().subject.as_str(), stored);
    let _service = service_of(nats, user, "").await;
    ended(nats, &id, "success").await;
    assert_eq!(nats.count(stream).await, kept.len() as u64);
}

#[tokio::test]
async fn a_command_is_found_under_the_subject_that_its_stream_gave_it() {
    let nats = Nats::bare().await;
    let transform = json!({ "subject_transform":
        { "src": "cmd.given.*", "dest": "kept.{{wildcard(1)}}.here" } });
    stream(&nats.js, "TRANSFORMED", "cmd.given.*", transform).await;
    found_again(&nats, "nobody", "cmd.given.one", "TRANSFORMED", "kept.one.here").await;
}

#[tokio::test]
async fn a_dead_letter_is_not_sent_again_after_its_stream_forgot_the_id() {
    let nats = Nats::bare().await;
    stream(&nats.js, "DEAD", "cmd.dead.*", json!({})).await;
    let mut dying = service_of(&nats, "nobody", "before_settle").await;
    let mut request = at_once("cmd.nobody.there", "request");
    request["dead_letter"] = json!("cmd.dead.letters");
    request["max_retries"] = json!(0);
    let id = nats.create(request).await;
    dying.exited().await;
    assert_eq!(nats.count("DEAD").await, 1);
    let _service = nats.service().await;
    settled(&nats, &id, "failed").await;
    assert_eq!(nats.count("DEAD").await, 1);
}

const ACCOUNTS: &str = r#"
    jetstream { store_dir: $NATS_STORE_DIR }
    accounts {
      OURS {
        jetstream: enabled
        users: [
          { user: ours, password: secret }
          # May trace nothing, since reports would come to its inbox.
          { user: reads, password: secret, permissions: { publish: { deny: ["_INBOX_reads.>"] } } }
          { user: blind, password: secret, permissions: {
              publish: { deny: ["_INBOX_blind.>", "$JS.API.STREAM.MSG.GET.KEPT"] } } }
        ]
        mappings: { "cmd.mapped.run": "kept.run", "cmd.mapped.lost": "nowhere.run" }
        imports: [ { service: { account: THEIRS, subject: "theirs.>" }, to: "cmd.theirs.>" } ]
      }
      THEIRS {
        jetstream: enabled
        users: [ { user: theirs, password: secret } ]
        exports: [ { service: "theirs.>" } ]
      }
    }"#;

#[tokio::test]
async fn an_acknowledgement_counts_where_a_mapping_or_an_import_leads_to_a_stream() {
    let nats = start(ACCOUNTS, "ours").await;
    stream(&nats.js, "KEPT", "kept.*", json!({})).await;
    let theirs = connected(&nats.url(), "theirs").await;
    stream(&jetstream::new(theirs), "THEIRS", "theirs.*", json!({})).await;
    let service = service_of(&nats, "ours", "").await;
    for target in ["cmd.mapped.run", "cmd.theirs.run"] {
        let created = nats.request("schedule.create", &at_once(target, "publish")).await;
        assert!(created.get("warnings").is_none(), "{created}");
        let id = created["data"]["id"].as_str().unwrap();
        settled(&nats, id, "completed").await;
        ended(&nats, id, "success").await;
        let unverified = service.log().contains("count unverified");
        assert_eq!(unverified, target == "cmd.theirs.run", "{target}");
    }
    // A worker there may answer before the stream.
    let mut heard = responder(&nats.client, "kept.run", |_| Some(r#"{"error":"no"}"#)).await;
    nats.ask("execute.immediate", json!({ "target_command": "cmd.mapped.run", "wait_ms": 20_000 }))
        .await;
    assert_eq!(count(&mut heard), 1);
    assert_eq!(nats.count("KEPT").await, 2);
    let lost = nats.request("schedule.create", &at_once("cmd.mapped.lost", "publish")).await;
    assert_eq!(lost["warnings"][0]["code"], "no_stream", "{lost}");
    ended(&nats, lost["data"]["id"].as_str().unwrap(), "failed").await;
}

#[tokio::test]
async fn an_acknowledgement_of_a_stream_that_nobody_names_is_verified_where_it_can_be_read() {
    let nats = start(ACCOUNTS, "ours").await;
    stream(&nats.js, "KEPT", "kept.*", json!({})).await;
    for (user, verified) in [("reads", true), ("blind", false)] {
        let mut service = service_of(&nats, user, "").await;
        let mut request = at_once("cmd.mapped.run", "publish");
        request["name"] = json!(user);
        let id = nats.create(request).await;
        ended(&nats, &id, "success").await;
        assert_eq!(service.log().contains("count unverified"), !verified, "{user}");
        service.stop().await;
    }
    assert_eq!(nats.count("KEPT").await, 2);
}

#[tokio::test]
async fn a_mapped_command_is_found_where_the_mapping_led_it() {
    let nats = start(ACCOUNTS, "ours").await;
    stream(&nats.js, "KEPT", "kept.*", json!({})).await;
    found_again(&nats, "ours", "cmd.mapped.run", "KEPT", "kept.run").await;
}

const DENIED: &str = r#"
    jetstream { store_dir: $NATS_STORE_DIR }
    accounts {
      OURS {
        jetstream: enabled
        users: [
          { user: test, password: secret }
          { user: ours, password: secret, permissions: { publish: { deny: ["cmd.denied.>"] } } }
          { user: mute, password: secret, permissions: {
              publish: { deny: ["cmd.denied.>", "_INBOX_mute.>"] } } }
        ]
        mappings: { "cmd.alias.run": "cmd.denied.run" }
      }
    }"#;

#[tokio::test]
async fn what_the_service_may_not_publish_fails_at_once_in_every_mode() {
    let nats = start(DENIED, "test").await;
    stream(&nats.js, "COMMANDS", "cmd.denied.*", json!({})).await;
    let mut heard = nats.client.subscribe("cmd.denied.run").await.unwrap();
    nats.client.flush().await.unwrap();
    for user in ["ours", "mute"] {
        let mut service = service_of(&nats, user, "").await;
        for mode in ["publish", "job", "request", "core"] {
            let began = Instant::now();
            let mut request = at_once("cmd.denied.run", mode);
            request["name"] = json!(format!("{user} {mode}"));
            request["dead_letter"] = json!("cmd.denied.dead");
            let id = nats.create(request).await;
            let failed = ended(&nats, &id, "failed").await;
            assert_eq!(failed["error_type"], "not_allowed", "{failed}");
            assert_ne!(failed["uncertain"], true, "NATS has dropped it: {failed}");
            assert_ne!(failed["will_retry"], true, "{failed}");
            assert!(failed["error_message"].as_str().unwrap().contains("cmd.denied.run"));
            // Its dead letter may not be sent either, and holds up nothing.
            settled(&nats, &id, "failed").await;
            assert!(began.elapsed() < Duration::from_secs(15), "{user} {mode}");
        }
        assert!(service.log().contains("dead letter not sent"));
        service.stop().await;
    }
    assert_eq!(nats.count("COMMANDS").await, 0);
    assert!(heard.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_subject_that_is_denied_behind_a_mapping_is_no_success() {
    let nats = start(DENIED, "test").await;
    stream(&nats.js, "COMMANDS", "cmd.denied.*", json!({})).await;
    let _service = service_of(&nats, "ours", "").await;
    for mode in ["publish", "request", "core"] {
        let mut request = at_once("cmd.alias.run", mode);
        request["delivery"]["timeout_seconds"] = json!(1);
        let id = nats.create(request).await;
        let failed = ended(&nats, &id, "failed").await;
        assert_eq!(failed["error_type"], "not_allowed", "{failed}");
    }
    assert_eq!(nats.count("COMMANDS").await, 0);
}
