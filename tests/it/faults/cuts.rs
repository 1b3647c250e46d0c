//! Commands over a network that is cut: those that are sent once, `core` and `request`, and those that a stream knows by
//! their ids for a time.
//!
//! | cut | what is heard |
//! |---|---|
//! | of one of two instances, for longer than it takes to be given up | each occurrence once |
//! | between the last look at the claim and the socket | what was handed over is not sent when the network is back |
//! | in one direction, while a claim is held | nothing of it when the bytes go on: its successor has sent it |
//! | before a request has arrived | it is uncertain at once, not only after its timeout |
//! | while a reply is awaited | the reply, over the next connection |
//! | a restart of NATS | commands again, over a new connection |

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message};
use chrono::Utc;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, Service, in_ms, wait_for, wait_within};
use crate::proxy::Proxy;

/// Longer than the silence after which an instance counts as gone.
const CUT: Duration = Duration::from_secs(9);

/// What was heard of commands: schedule, nominal time and execution.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    occurrence: (String, String),
    execution: String,
}

impl Heard {
    fn of(message: &Message) -> Self {
        let headers = message.headers.as_ref().unwrap();
        let value = |name: &str| headers.get(name).unwrap().to_string();
        let occurrence = (value("Scheduler-Schedule-Id"), value("Scheduler-Scheduled-For"));
        Self { occurrence, execution: value("Scheduler-Execution-Id") }
    }
}

/// Everything that was heard on subjects, answered where a reply is asked for.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Heard>>>);

impl Ears {
    async fn on(client: &Client, subject: &'static str) -> Self {
        let ears = Self::default();
        let mut messages = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        let (client, heard) = (client.clone(), ears.clone());
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                heard.0.lock().unwrap().push(Heard::of(&message));
                if let Some(reply) = message.reply {
                    client.publish(reply, "{}".into()).await.unwrap();
                }
            }
        });
        ears
    }

    fn all(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    async fn wait_count(&self, count: usize) {
        wait_for(&format!("{count} commands"), || async { (self.count() >= count).then_some(()) })
            .await;
    }

    /// That no execution and no occurrence was heard twice.
    fn check_once(&self) {
        let mut executions = HashMap::<_, Vec<_>>::new();
        let mut occurrences = HashMap::<_, Vec<_>>::new();
        for heard in self.all() {
            executions.entry(heard.execution.clone()).or_default().push(heard.clone());
            occurrences.entry(heard.occurrence.clone()).or_default().push(heard);
        }
        for heard in executions.values().chain(occurrences.values()) {
            assert_eq!(heard.len(), 1, "heard more than once: {heard:?}");
        }
    }
}

/// A failpoint at which an instance stands still until told to go on.
struct Halt(PathBuf);

impl Halt {
    fn new(nats: &Nats) -> Self {
        Self(nats.dir().join("go-on"))
    }

    fn spawn(&self, point: &str, url: &str, nats: &Nats) -> Service {
        let settings = [
            ("NATS_SCHEDULER_FAILPOINT", point),
            ("NATS_SCHEDULER_FAILPOINT_UNTIL", self.0.to_str().unwrap()),
        ];
        Service::spawn(url, nats.dir(), &settings)
    }

    fn go_on(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

/// A schedule that is due soon.
fn soon(name: &str, target: &str, mode: &str) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(700),
            "target_command": target, "max_retries": 0,
            "delivery": { "mode": mode, "timeout_seconds": 20 } })
}

/// Waits until the clock stands within a second where nothing is being sent, and what is due next has
/// been claimed.
async fn wait_for_the_lull() {
    wait_for("the end of a second", || async {
        (750..900).contains(&Utc::now().timestamp_subsec_millis()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_is_cut_off_for_a_while_doubles_no_command_that_is_sent_once() {
    let nats = Nats::bare().await;
    let ears = Ears::on(&nats.client, "cmd.once.*").await;
    let proxy = Proxy::start(nats.server.port()).await;
    let cut_off = Service::spawn(&proxy.url(), nats.dir(), &[]);
    cut_off.ready().await;
    let other = nats.service().await;
    for n in 0..40 {
        let mode = if n % 4 == 0 { "request" } else { "core" };
        let request = json!({ "name": n.to_string(), "schedule_type": "cron",
                              "cron_expression": "* * * * * *",
                              "target_command": format!("cmd.once.{mode}"),
                              "delivery": { "mode": mode, "timeout_seconds": 20 } });
        nats.create(request).await;
    }
    // Twice, since what is claimed and what is queued when the network goes is never the same.
    for round in 1..=2 {
        ears.wait_count(ears.count() + 120).await;
        wait_for_the_lull().await;
        let cut = Instant::now();
        proxy.cut();
        wait_for("the cut to be long enough", || async { (cut.elapsed() >= CUT).then_some(()) })
            .await;
        proxy.restore();
        wait_for("its connections, and that the other one hears it", || async {
            let is_back = cut_off.log().matches("connected to NATS").count() >= 3 + 3 * round;
            let is_heard = other.log().matches("another instance").count() > round;
            (is_back && is_heard).then_some(())
        })
        .await;
    }
    ears.wait_count(ears.count() + 200).await;
    ears.check_once();
}

/// An instance loses its claim between the last look and the socket, and is taken over from.
async fn cut_between_look_and_socket(mode: &str) {
    let nats = Nats::bare().await;
    let ears = Ears::on(&nats.client, "cmd.once.*").await;
    let proxy = Proxy::start(nats.server.port()).await;
    let halt = Halt::new(&nats);
    let cut_off = halt.spawn("look_and_hand_over", &proxy.url(), &nats);
    cut_off.ready().await;
    nats.create(soon(mode, "cmd.once.cut", mode)).await;
    cut_off.wait_log("standing still").await;
    let lost = cut_off.log().matches("connection to NATS lost").count();
    proxy.cut();
    cut_off.wait_log("connection to NATS lost").await;
    let _other = nats.service().await;
    ears.wait_count(1).await;
    halt.go_on();
    wait_for("the claim to be let go", || async {
        let log = cut_off.log();
        (log.contains("claiming again") || log.contains("execution failed")).then_some(())
    })
    .await;
    assert_eq!(lost, 0);
    proxy.restore();
    // Whatever it kept would go out with the next command of its own, or before it.
    wait_for("its connections", || async {
        (cut_off.log().matches("connected to NATS").count() >= 6).then_some(())
    })
    .await;
    for n in 0..4 {
        let id = nats.create(soon(&format!("next {n}"), "cmd.once.next", mode)).await;
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    }
    ears.wait_count(5).await;
    ears.check_once();
}

#[tokio::test]
async fn a_core_command_that_was_handed_over_as_the_network_went_is_not_sent_later() {
    cut_between_look_and_socket("core").await;
}

#[tokio::test]
async fn a_request_that_was_handed_over_as_the_network_went_is_not_sent_later() {
    cut_between_look_and_socket("request").await;
}

/// The stream forgets ids long before the network is back.
#[tokio::test]
async fn a_publish_that_was_handed_over_as_the_network_went_is_not_sent_later() {
    let nats = Nats::bare().await;
    let stream = json!({ "name": "COMMANDS", "subjects": ["cmd.example.>"], "retention": "limits",
                         "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
                         "max_msg_size": -1, "storage": "file", "discard": "old", "num_replicas": 1,
                         "duplicate_window": 200_000_000 });
    nats.add_stream(&stream.to_string()).await;
    let proxy = Proxy::start(nats.server.port()).await;
    let halt = Halt::new(&nats);
    // What is published first says that the schedule was created.
    let cut_off = halt.spawn("look_and_publish:2", &proxy.url(), &nats);
    cut_off.ready().await;
    nats.create(soon("publish", "cmd.example.cut", "publish")).await;
    cut_off.wait_log("standing still").await;
    proxy.cut();
    cut_off.wait_log("connection to NATS lost").await;
    let _other = nats.service().await;
    nats.wait_count("COMMANDS", 1).await;
    let probe = || async {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "probe");
        let sent = nats.js.publish_with_headers("cmd.example.probe", headers, "".into()).await;
        !sent.unwrap().await.unwrap().duplicate
    };
    assert!(probe().await);
    wait_for("the ids to be forgotten", || async { probe().await.then_some(()) }).await;
    halt.go_on();
    cut_off.wait_log("claiming again").await;
    proxy.restore();
    wait_for("its connections", || async {
        (cut_off.log().matches("connected to NATS").count() >= 6).then_some(())
    })
    .await;
    for n in 0..4 {
        let id = nats.create(soon(&format!("next {n}"), "cmd.example.next", "publish")).await;
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    }
    let sent = nats.messages("COMMANDS").await;
    let sent = sent.iter().filter(|message| message.subject.as_str() == "cmd.example.cut");
    assert_eq!(sent.count(), 1);
}

/// Its first connection is up, as where the number of connections is bounded.
#[tokio::test]
async fn an_instance_without_a_connection_for_commands_leaves_its_work_to_the_other() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let mute = Service::spawn(&proxy.url(), nats.dir(), &[]);
    mute.ready().await;
    let _other = nats.service().await;
    let ids = nats.create_beats(20, "cmd.example.mute").await;
    nats.wait_count("COMMANDS", 40).await;
    proxy.take_commands(false);
    let is_mute = || async {
        let (_, body) = mute.probe("/health/detailed").await?;
        Some(body.contains("no connection for commands"))
    };
    wait_for("it to say so", || async { is_mute().await.filter(|mute| *mute) }).await;
    // As many in a second as if nothing were wrong, once its claims are taken over.
    wait_for("the other to do its work", || async {
        let before = nats.count("COMMANDS").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (nats.count("COMMANDS").await >= before + 18).then_some(())
    })
    .await;
    assert_eq!(is_mute().await, Some(true));
    proxy.take_commands(true);
    wait_for("it to be well again", || async { is_mute().await.filter(|mute| !mute) }).await;
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_line_that_carries_nothing_is_given_nothing() {
    let nats = Nats::bare().await;
    let ears = Ears::on(&nats.client, "cmd.once.*").await;
    let proxy = Proxy::start(nats.server.port()).await;
    let halt = Halt::new(&nats);
    let deaf = halt.spawn("before_line", &proxy.url(), &nats);
    deaf.ready().await;
    nats.create(soon("held", "cmd.once.held", "core")).await;
    deaf.wait_log("standing still").await;
    proxy.hold();
    // Nothing was ever heard over its line, which was not used yet: it has to ask.
    halt.go_on();
    deaf.wait_log("claiming again").await;
    let _other = nats.service().await;
    ears.wait_count(1).await;
    proxy.release();
    let id = nats.create(soon("next", "cmd.once.next", "core")).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    ears.wait_count(2).await;
    ears.check_once();
}

/// A request whose worker is slow.
fn slow(target: &str) -> Value {
    let mut request = soon("slow", target, "request");
    request["delivery"]["timeout_seconds"] = json!(600);
    request["max_retries"] = json!(3);
    request
}

#[tokio::test]
async fn a_request_that_is_lost_with_its_connection_is_uncertain_at_once() {
    let nats = Nats::bare().await;
    let ears = Ears::on(&nats.client, "cmd.once.*").await;
    let proxy = Proxy::start(nats.server.port()).await;
    let halt = Halt::new(&nats);
    let service = halt.spawn("look_and_hand_over", &proxy.url(), &nats);
    service.ready().await;
    let id = nats.create(slow("cmd.once.slow")).await;
    service.wait_log("standing still").await;
    proxy.hold();
    halt.go_on();
    wait_for("the request to be on its way", || async {
        proxy.holds("cmd.once.slow").then_some(())
    })
    .await;
    proxy.cut();
    service.wait_log("connection to NATS lost").await;
    proxy.release();
    proxy.restore();
    // Somebody to ask while the first comes back; alive, the first keeps its request.
    let _other = nats.service().await;
    let failed = json!({ "schedule_id": id, "status": "failed" });
    let failed = nats.wait_executions(failed, 1).await.remove(0);
    assert_eq!(failed["error_type"], "connection", "{failed}");
    assert_eq!(failed["uncertain"], true, "{failed}");
    assert_ne!(failed["will_retry"], true, "{failed}");
    assert_eq!(ears.count(), 0);
}

#[tokio::test]
async fn the_reply_to_a_request_that_has_arrived_may_come_over_the_next_connection() {
    let nats = Nats::bare().await;
    let mut requests = nats.client.subscribe("cmd.once.slow").await.unwrap();
    nats.client.flush().await.unwrap();
    let proxy = Proxy::start(nats.server.port()).await;
    let service = Service::spawn(&proxy.url(), nats.dir(), &[]);
    service.ready().await;
    let id = nats.create(slow("cmd.once.slow")).await;
    let request = requests.next().await.unwrap();
    let _other = nats.service().await;
    service.wait_log("NATS has the request").await;
    proxy.cut();
    service.wait_log("connection to NATS lost").await;
    proxy.restore();
    wait_for("its connections", || async {
        (service.log().matches("connected to NATS").count() >= 6).then_some(())
    })
    .await;
    // Its subscriptions go out with the connection; the first reply that is heard counts.
    let reply = request.reply.unwrap();
    wait_for("the outcome", || async {
        nats.client.publish(reply.clone(), r#"{"late":true}"#.into()).await.unwrap();
        let success = json!({ "schedule_id": id, "status": "success" });
        let found = nats.request("execution.list", &success).await;
        (found["pagination"]["total"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn commands_flow_again_after_a_restart_of_nats() {
    let mut nats = Nats::bare().await;
    let service = nats.service().await;
    for mode in ["core", "request"] {
        nats.create(json!({ "name": mode, "schedule_type": "interval", "interval_seconds": 1,
                            "target_command": format!("cmd.once.{mode}"),
                            "delivery": { "mode": mode, "timeout_seconds": 20 } }))
            .await;
    }
    let ears = Ears::on(&nats.client, "cmd.once.*").await;
    ears.wait_count(4).await;
    nats.server.restart().await.unwrap();
    let back = wait_within(Duration::from_secs(20), "both modes", || async {
        let heard = ears.all();
        let lately = heard.iter().rev().take(4).map(|heard| heard.occurrence.0.clone());
        let modes: std::collections::HashSet<_> = lately.collect();
        (heard.len() >= 12 && modes.len() == 2).then_some(heard)
    })
    .await;
    assert!(service.log().matches("connected to NATS").count() >= 6, "{}", back.len());
    ears.check_once();
}

#[tokio::test]
async fn the_connection_for_commands_has_a_name_of_its_own() {
    let nats = Nats::bare().await;
    let service = nats.service_with(&[("SERVICE_NAME", "clockwork")]).await;
    for name in ["clockwork", "clockwork requests", "clockwork commands"] {
        let said = format!("connection=\"{name}\"");
        assert!(service.log().contains(&said), "{said}");
    }
}
