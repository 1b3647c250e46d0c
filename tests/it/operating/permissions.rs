//! `deploy/nats-permissions.conf`, unmodified: what each user needs works, everything else is refused.

use std::process::Stdio;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerError, Subscriber};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::command_line::program;
use crate::harness::{DEADLINE, Nats, Service, configured, in_ms, wait_for};
use crate::proxy::Proxy;

const USERS: [&str; 5] = ["scheduler", "operator", "admin", "viewer", "worker"];

/// Operations that change nothing: for `admin` and `viewer`.
const READS: [&str; 18] = [
    "schedule.get",
    "schedule.list",
    "schedule.preview",
    "schedule.explain",
    "schedule.upcoming",
    "calendar.get",
    "calendar.list",
    "group.get",
    "group.list",
    "rerun.get",
    "rerun.list",
    "execution.get",
    "execution.list",
    "execution.running",
    "execution.stats",
    "execution.by_correlation",
    "audit.list",
    "status",
];
/// Operations by which workers report: for `admin` and `worker`.
const REPORTS: [&str; 3] = ["execution.complete", "execution.fail", "execution.heartbeat"];
/// All others: for `admin`.
const CHANGES: [&str; 23] = [
    "schedule.create",
    "schedule.apply",
    "schedule.update",
    "schedule.delete",
    "schedule.restore",
    "schedule.pause",
    "schedule.resume",
    "schedule.pause_all",
    "schedule.resume_all",
    "schedule.trigger",
    "schedule.backfill",
    "bulk.apply",
    "bulk.create",
    "bulk.operation",
    "execute.immediate",
    "execution.cancel",
    "execution.retry",
    "bulk.retry",
    "calendar.put",
    "calendar.delete",
    "group.put",
    "group.delete",
    "rerun.cancel",
];

/// How the service runs with this file.
const SCHEDULER: [(&str, &str); 4] = [
    ("NATS_USER", "scheduler"),
    ("NATS_PASSWORD", "password of scheduler"),
    ("NATS_INBOX_PREFIX", "_INBOX_scheduler"),
    ("ALLOWED_TARGET_COMMANDS", "cmd.notification.>,cmd.billing.>"),
];
/// The same, but the service allows targets that its user may not send to.
const TOO_MANY_TARGETS: [(&str, &str); 3] = [SCHEDULER[0], SCHEDULER[1], SCHEDULER[2]];

const COMMANDS: &str = include_str!("../../../streams/COMMANDS.json");
const RECORD: &str = "$KV.scheduler_schedules.schedule.01a20c7c-19f9-7255-ac26-0cea6f8605b4";

fn password(user: &str) -> String {
    format!("password of {user}")
}

/// The file, with the passwords of its users before it: a server's own variables go before those
/// of the environment.
fn config() -> String {
    let passwords = USERS
        .map(|user| format!("{}_PASSWORD: {:?}\n", user.to_ascii_uppercase(), password(user)))
        .concat();
    passwords + include_str!("../../../deploy/nats-permissions.conf")
}

/// A server with a configuration. The requests of the returned [`Nats`] are `admin`'s, what it does
/// with streams is `operator`'s.
async fn server(config: &str) -> Nats {
    let dir = TempDir::new().unwrap();
    let server = configured(dir.path(), config).await;
    let admin = User::connect(&server.url(), "admin").await;
    let operator = User::connect(&server.url(), "operator").await;
    Nats::of(server, admin.client, jetstream::new(operator.client), dir)
}

/// The same, with the stream of commands and `worker`'s consumer.
async fn deployed() -> Nats {
    let nats = server(&config()).await;
    let durable_name = Some("worker".to_owned());
    let consumer = pull::Config { durable_name, ..Default::default() };
    nats.add_stream(COMMANDS).await.create_consumer(consumer).await.unwrap();
    nats
}

/// A connected user, and what the server has refused it.
struct User {
    name: &'static str,
    client: Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl User {
    async fn connect(url: &str, name: &'static str) -> Self {
        let (sender, refused) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(name.to_owned(), password(name))
            .custom_inbox_prefix(format!("_INBOX_{name}"))
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(text)) = event {
                    let _ = sender.send(text);
                }
                async {}
            })
            .connect(url)
            .await
            .unwrap();
        Self { name, client, refused }
    }

    /// Asks, and must be allowed to; `None` where the service has no such operation yet.
    async fn may_ask(&self, operation: &str) -> Option<Value> {
        let subject = format!("cmd.scheduler.{operation}");
        match self.client.request(subject, "{}".into()).await {
            Ok(reply) => Some(serde_json::from_slice(&reply.payload).unwrap()),
            // The server says this only to those who may ask.
            Err(error) if error.kind() == RequestErrorKind::NoResponders => None,
            Err(error) => panic!("{}, {operation}: {error}", self.name),
        }
    }

    async fn may_not_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        self.refused(&format!("Permissions Violation for Publish to {subject:?}")).await;
    }

    async fn may_not_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.refused(&format!("Permissions Violation for Subscription to {subject:?}")).await;
    }

    /// Asks, and names subjects for the answer that this user may not publish to.
    async fn has_answers_sent_to(
        &self,
        subjects: &[&'static str],
        asked: &'static str,
        body: &'static str,
    ) {
        for subject in subjects {
            self.client.publish_with_reply(asked, *subject, body.into()).await.unwrap();
        }
    }

    /// Waits until the server has refused just this.
    async fn refused(&mut self, expected: &str) {
        let said = timeout(DEADLINE, self.refused.recv()).await;
        let said = said.unwrap_or_else(|_| panic!("{}: nobody said {expected}", self.name));
        assert_eq!(said.as_deref(), Some(expected), "{}", self.name);
    }

    /// All that was tried since was allowed.
    fn refused_nothing(&mut self) {
        assert_eq!(self.refused.try_recv().ok(), None, "{}", self.name);
    }

    /// Waits until as many instances answer a discovery subject.
    async fn discovers(&self, subject: &str, count: usize) {
        let inbox = self.client.new_inbox();
        let replies = self.client.subscribe(inbox.clone()).await.unwrap();
        self.client.publish_with_reply(subject.to_owned(), inbox, "".into()).await.unwrap();
        let answers = timeout(DEADLINE, replies.take(count).count()).await;
        assert_eq!(answers.ok(), Some(count), "{}, {subject}", self.name);
    }
}

/// Answers commands, as a worker does.
fn answer(client: Client, mut commands: Subscriber) {
    tokio::spawn(async move {
        while let Some(command) = commands.next().await {
            let reply = command.reply.expect("a request");
            client.publish(reply, r#"{"charged":true}"#.into()).await.unwrap();
        }
    });
}

/// A schedule that fires every second.
fn beat(name: &str, target: &str, mode: &str) -> Value {
    json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
            "target_command": target, "delivery": { "mode": mode } })
}

/// What the server has refused to anybody, in its own log.
fn violations(nats: &Nats) -> Vec<String> {
    let log = std::fs::read_to_string(nats.server.log_file()).unwrap();
    log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

/// Waits until the service has said in its log what it may not do.
async fn says(service: &Service, operation: &str, subject: &str) {
    let fields = format!("operation={operation:?} subject={subject:?}");
    let line = wait_for(&format!("{fields} in the log"), || async {
        service.log().lines().find(|line| line.contains(&fields)).map(str::to_owned)
    })
    .await;
    let words = format!("the user of this service may not {operation} to this subject");
    assert!(line.contains("ERROR") && line.contains(&words), "{line}");
    assert!(line.contains("docs/nats-permissions.md"), "{line}");
}

#[test]
fn every_operation_has_its_users() {
    for endpoint in nats_scheduler::api::nats::endpoints() {
        let operation = endpoint.subject.strip_prefix("cmd.scheduler.").unwrap();
        let mut known = READS.iter().chain(&REPORTS).chain(&CHANGES);
        assert!(known.any(|known| *known == operation), "who may ask for {operation}?");
    }
}

#[tokio::test]
async fn the_service_fires_records_announces_and_is_refused_nothing() {
    let nats = deployed().await;
    let worker = User::connect(&nats.url(), "worker").await;
    answer(worker.client.clone(), worker.client.subscribe("cmd.billing.>").await.unwrap());
    let mut events = nats.client.subscribe("evt.scheduler.schedule.created.*").await.unwrap();
    let proxy = Proxy::start(nats.server.port()).await;
    let first = Service::spawn(&proxy.url(), nats.dir(), &SCHEDULER);
    let mut second = nats.spawn(&SCHEDULER);
    first.ready().await;
    second.ready().await;

    let sent = nats.create(beat("sent", "cmd.notification.send", "publish")).await;
    let asked = nats.create(beat("asked", "cmd.billing.charge", "request")).await;
    for id in [&sent, &asked] {
        let success = json!({ "schedule_id": id, "status": "success" });
        let executions = nats.wait_executions(success, 2).await;
        if id == &asked {
            assert_eq!(executions[0]["response_payload"]["charged"], true);
        }
    }
    assert!(timeout(DEADLINE, events.next()).await.unwrap().is_some(), "admin sees the events");
    nats.wait_count("SCHEDULER_AUDIT", 2).await;

    // After a lost connection the client asks for what it follows in another way.
    proxy.cut();
    first.wait_log("connection to NATS lost").await;
    proxy.restore();
    wait_for("the first instance to be back", || async {
        // Each of its three connections, twice.
        (first.log().matches("connected to NATS").count() >= 6).then_some(())
    })
    .await;
    second.kill();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 3).await;
    let third = nats.service_with(&SCHEDULER).await;
    let due = json!({ "name": "late", "schedule_type": "one_time", "scheduled_at": in_ms(600),
                      "target_command": "cmd.notification.late" });
    let id = nats.create(due).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;

    for service in [&first, &second, &third] {
        assert!(!service.log().contains("NATS refused a permission"));
        assert!(!service.log().contains("Permissions Violation"));
    }
    assert_eq!(violations(&nats), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_crash_it_may_look_for_a_command_in_its_stream() {
    let nats = server(&config()).await;
    // The stream forgets ids before the dead instance counts as gone, so only a look can tell.
    let commands = COMMANDS.replace("120000000000", "1000000000");
    assert_ne!(commands, COMMANDS);
    nats.add_stream(&commands).await;
    let mut settings = SCHEDULER.to_vec();
    settings.push(("NATS_SCHEDULER_FAILPOINT", "after_deliver"));
    let mut dying = nats.service_with(&settings).await;
    let due = json!({ "name": "one", "schedule_type": "one_time", "scheduled_at": in_ms(600),
                      "target_command": "cmd.notification.one" });
    let id = nats.create(due).await;
    dying.exited().await;
    let _service = nats.service_with(&SCHEDULER).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
    assert_eq!(violations(&nats), Vec::<String>::new());
}

#[tokio::test]
async fn admin_may_do_everything_with_schedules() {
    let nats = deployed().await;
    let _service = nats.service_with(&SCHEDULER).await;
    let nightly = json!({ "name": "nightly", "schedule_type": "cron", "cron_expression": "@yearly",
                          "target_command": "cmd.notification.nightly" });
    let id = nats.create(nightly).await;
    let this = json!({ "schedule_id": id });
    nats.ask("schedule.get", this.clone()).await;
    nats.ask("schedule.list", json!({})).await;
    nats.ask("schedule.preview", this.clone()).await;
    nats.ask("schedule.update", json!({ "schedule_id": id, "priority": 7 })).await;
    nats.ask("schedule.pause", this.clone()).await;
    nats.ask("schedule.resume", this.clone()).await;
    nats.ask("schedule.trigger", this.clone()).await;
    let once = json!({ "target_command": "cmd.notification.once", "wait_ms": 5000 });
    nats.ask("execute.immediate", once).await;
    let executions = nats.wait_executions(json!({ "status": "success" }), 2).await;
    nats.ask("execution.get", json!({ "execution_id": executions[0]["id"] })).await;
    nats.ask("schedule.delete", this).await;
    nats.ask("status", json!({})).await;

    let mut admin = User::connect(&nats.url(), "admin").await;
    for operation in READS.iter().chain(&REPORTS).chain(&CHANGES) {
        admin.may_ask(operation).await;
    }
    for subject in ["$SRV.PING", "$SRV.INFO.scheduler", "$SRV.STATS.scheduler"] {
        admin.discovers(subject, 1).await;
    }
    admin.refused_nothing();
}

#[tokio::test]
async fn viewer_may_read_and_change_nothing() {
    let nats = deployed().await;
    let _services = (nats.service_with(&SCHEDULER).await, nats.service_with(&SCHEDULER).await);
    let mut viewer = User::connect(&nats.url(), "viewer").await;
    let mut events = viewer.client.subscribe("evt.scheduler.>").await.unwrap();
    nats.create(beat("seen", "cmd.notification.seen", "publish")).await;
    assert!(timeout(DEADLINE, events.next()).await.unwrap().is_some(), "it hears of changes");
    for operation in READS {
        viewer.may_ask(operation).await;
    }
    let list = viewer.may_ask("schedule.list").await.expect("schedule.list is there");
    assert!(list["data"].is_array(), "{list}");
    viewer.discovers("$SRV.PING", 2).await;
    viewer.discovers("$SRV.STATS.scheduler", 2).await;
    viewer.refused_nothing();
    for operation in CHANGES.iter().chain(&REPORTS) {
        viewer.may_not_publish(&format!("cmd.scheduler.{operation}")).await;
    }
}

/// What `viewer` may listen to in the file.
const VIEWER_HEARS: &str = r#"subscribe: ["_INBOX_viewer.>", "evt.scheduler.>"]"#;

/// Our command line, as `viewer`.
fn as_viewer(nats: &Nats, arguments: &[&str]) -> Command {
    let mut command = program(&nats.url());
    command.args(arguments).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs([
        ("NATS_USER", "viewer"),
        ("NATS_PASSWORD", "password of viewer"),
        ("NATS_INBOX_PREFIX", "_INBOX_viewer"),
    ]);
    command
}

/// The document names just these subjects.
#[tokio::test]
async fn who_follows_events_at_the_command_line_needs_to_hear_what_the_document_says() {
    for (command, subject) in
        [("logs", "evt.scheduler.*.*.*"), ("watch", "evt.scheduler.execution.*.*")]
    {
        let document = include_str!("../../../docs/nats-permissions.md");
        assert!(document.contains(&format!("`{subject}`")), "{subject}");
        let hears = format!(r#"subscribe: ["_INBOX_viewer.>", "{subject}"]"#);
        let config = config().replace(VIEWER_HEARS, &hears);
        assert!(config.contains(&hears));
        let nats = server(&config).await;
        nats.add_stream(COMMANDS).await;
        let _service = nats.service_with(&SCHEDULER).await;
        let arguments = match command {
            "logs" => &["logs", "-f", "-o", "json"][..],
            watch => &[watch, "-o", "json"],
        };
        let mut child = as_viewer(&nats, arguments).spawn().unwrap();
        let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
        nats.create(beat("seen", "cmd.notification.seen", "publish")).await;
        // Of every kind that it may show: a change too, for `logs`.
        let kinds =
            if command == "logs" { &["\"created\"", "\"success\""][..] } else { &["\"success\""] };
        for kind in kinds {
            let looking = async {
                loop {
                    let line = shown.next_line().await.unwrap().expect("it goes on");
                    if line.contains(kind) && line.contains("\"seen\"") {
                        break;
                    }
                }
            };
            timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{command}: no {kind}"));
        }
        child.kill().await.unwrap();
        assert_eq!(violations(&nats), Vec::<String>::new(), "{command}");
    }
}

#[tokio::test]
async fn who_may_not_hear_events_is_told_so_and_does_not_wait_for_them() {
    let deaf = config().replace(VIEWER_HEARS, r#"subscribe: ["_INBOX_viewer.>"]"#);
    let nats = server(&deaf).await;
    nats.add_stream(COMMANDS).await;
    let _service = nats.service_with(&SCHEDULER).await;
    for arguments in [&["logs", "-f"][..], &["watch"]] {
        let ended = timeout(DEADLINE, as_viewer(&nats, arguments).output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{arguments:?} waits")).unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("NATS refuses it: Permissions Violation for Subscription"), "{said}");
        assert!(said.contains("hint: docs/nats-permissions.md"), "{said}");
    }
    // What happened before can be read all the same.
    let ended = timeout(DEADLINE, as_viewer(&nats, &["logs"]).output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn worker_may_take_commands_answer_and_report_and_nothing_else() {
    let nats = deployed().await;
    let _service = nats.service_with(&SCHEDULER).await;
    let mut worker = User::connect(&nats.url(), "worker").await;
    answer(worker.client.clone(), worker.client.subscribe("cmd.billing.>").await.unwrap());
    let asked = nats.create(beat("asked", "cmd.billing.charge", "request")).await;
    nats.wait_executions(json!({ "schedule_id": asked, "status": "success" }), 1).await;

    nats.create(beat("sent", "cmd.notification.send", "publish")).await;
    let js = jetstream::with_domain(worker.client.clone(), "scheduler");
    let consumer: PullConsumer = js.get_consumer_from_stream("worker", "COMMANDS").await.unwrap();
    let mut commands = consumer.messages().await.unwrap();
    for _ in 0..2 {
        let command = timeout(DEADLINE, commands.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(command.subject.as_str(), "cmd.notification.send");
        command.ack_with(AckKind::Progress).await.unwrap();
        // With an answer of the server: the acknowledgement has arrived.
        timeout(DEADLINE, command.double_ack()).await.unwrap().unwrap();
    }
    for operation in REPORTS {
        worker.may_ask(operation).await;
    }
    worker.refused_nothing();
    for operation in CHANGES.iter().chain(&READS) {
        worker.may_not_publish(&format!("cmd.scheduler.{operation}")).await;
    }
    worker.may_not_publish("$SRV.PING").await;
    for subject in ["cmd.notification.>", "evt.scheduler.>", "evt.scheduler.execution.>"] {
        worker.may_not_subscribe(subject).await;
    }
}

#[tokio::test]
async fn nobody_but_the_service_writes_schedules_and_events_sends_commands_or_hears_requests() {
    let nats = deployed().await;
    for name in ["operator", "admin", "viewer", "worker"] {
        let mut user = User::connect(&nats.url(), name).await;
        for subject in [
            RECORD,
            "$KV.scheduler_schedules.name.dGVhbQ.am9i",
            "evt.scheduler.schedule.deleted.1",
            "evt.scheduler.execution.completed.1",
            "evt.scheduler.instance.1",
            "scheduler.instance.1",
            "cmd.notification.send",
            "cmd.billing.charge",
            "_INBOX_scheduler.1",
        ] {
            user.may_not_publish(subject).await;
        }
        for subject in
            ["cmd.scheduler.>", "cmd.scheduler.schedule.create", "$KV.>", ">", "_INBOX.>"]
        {
            user.may_not_subscribe(subject).await;
        }
        for other in USERS.into_iter().filter(|other| *other != name) {
            user.may_not_subscribe(&format!("_INBOX_{other}.>")).await;
        }
        let _requests =
            user.client.queue_subscribe("cmd.scheduler.>", "q".to_owned()).await.unwrap();
        let words =
            "Permissions Violation for Subscription to \"cmd.scheduler.>\" using queue \"q\"";
        user.refused(words).await;
    }
}

#[tokio::test]
async fn only_operator_may_manage_streams_and_consumers() {
    let nats = deployed().await;
    let _service = nats.service_with(&SCHEDULER).await;
    for name in ["scheduler", "admin", "viewer", "worker"] {
        let mut user = User::connect(&nats.url(), name).await;
        for stream in
            ["KV_scheduler_schedules", "SCHEDULER_EXECUTIONS", "SCHEDULER_AUDIT", "COMMANDS"]
        {
            for request in ["UPDATE", "DELETE", "PURGE", "MSG.DELETE"] {
                user.may_not_publish(&format!("$JS.API.STREAM.{request}.{stream}")).await;
            }
        }
        for subject in [
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.CONSUMER.DURABLE.CREATE.COMMANDS.mine",
            "$JS.API.DIRECT.GET.KV_scheduler_schedules",
        ] {
            user.may_not_publish(subject).await;
        }
        if name != "scheduler" {
            for subject in [
                "$JS.API.STREAM.MSG.GET.KV_scheduler_schedules",
                "$JS.API.CONSUMER.CREATE.KV_scheduler_schedules",
                "$JS.API.CONSUMER.CREATE.COMMANDS.mine.cmd.notification.>",
                "$JS.API.CONSUMER.DELETE.COMMANDS.worker",
            ] {
                user.may_not_publish(subject).await;
            }
        }
    }
    let mut operator = User::connect(&nats.url(), "operator").await;
    for operation in READS.iter().chain(&REPORTS).chain(&CHANGES) {
        operator.may_not_publish(&format!("cmd.scheduler.{operation}")).await;
    }
}

#[tokio::test]
async fn the_service_itself_may_do_no_more_than_it_needs() {
    let nats = deployed().await;
    let mut scheduler = User::connect(&nats.url(), "scheduler").await;
    for subject in ["cmd.analytics.daily", "cmd.other", "cmd.scheduler.schedule.create", "other"] {
        scheduler.may_not_publish(subject).await;
    }
    for subject in
        ["cmd.scheduler.>", "cmd.billing.>", "cmd.notification.>", "_INBOX_operator.>", ">"]
    {
        scheduler.may_not_subscribe(subject).await;
    }
}

/// A request names the subject of its answer, and permissions say nothing of that.
#[tokio::test]
async fn no_answer_can_be_had_sent_to_where_its_asker_may_not_publish() {
    let nats = deployed().await;
    let _service = nats.service_with(&SCHEDULER).await;
    let mut viewer = User::connect(&nats.url(), "viewer").await;
    let mut worker = User::connect(&nats.url(), "worker").await;
    let mut commands = worker.client.subscribe("cmd.billing.>").await.unwrap();
    let forged = [RECORD, "evt.scheduler.schedule.deleted.1", "cmd.billing.charge"];
    for _ in 0..50 {
        viewer.has_answers_sent_to(&forged, "cmd.scheduler.status", "").await;
        viewer.has_answers_sent_to(&forged, "$SRV.INFO.scheduler", "").await;
        let info = "$JS.scheduler.API.CONSUMER.INFO.COMMANDS.worker";
        worker.has_answers_sent_to(&forged[..2], info, "").await;
        let next = "$JS.scheduler.API.CONSUMER.MSG.NEXT.COMMANDS.worker";
        worker.has_answers_sent_to(&forged[..2], next, r#"{"batch":1,"no_wait":true}"#).await;
    }
    // Asked later on the same connections, and answered.
    for _ in 0..50 {
        viewer.may_ask("status").await.expect("status is there");
    }
    let js = jetstream::with_domain(worker.client.clone(), "scheduler");
    let _: PullConsumer = js.get_consumer_from_stream("worker", "COMMANDS").await.unwrap();
    assert_eq!(nats.stored().await, 0);
    assert_eq!(nats.count("SCHEDULER_AUDIT").await, 0);
    nats.create(beat("asked", "cmd.billing.charge", "request")).await;
    let command = timeout(DEADLINE, commands.next()).await.unwrap().unwrap();
    assert_eq!(&command.payload[..], b"{}", "the worker hears commands, no answers to viewer");
    viewer.refused_nothing();
    worker.refused_nothing();
}

#[tokio::test]
async fn a_service_that_may_not_send_to_a_target_says_so() {
    let nats = deployed().await;
    let service = nats.service_with(&TOO_MANY_TARGETS).await;
    nats.create(beat("beyond", "cmd.analytics.daily", "publish")).await;
    says(&service, "publish", "cmd.analytics.daily").await;
}

#[tokio::test]
async fn a_service_without_rights_to_jetstream_says_so() {
    let nats = deployed().await;
    let viewer = [
        ("NATS_USER", "viewer"),
        ("NATS_PASSWORD", "password of viewer"),
        ("NATS_INBOX_PREFIX", "_INBOX_viewer"),
    ];
    let service = nats.spawn(&viewer);
    says(&service, "publish", "$JS.API.INFO").await;
}

#[tokio::test]
async fn a_service_that_may_not_hear_requests_says_so() {
    let config = config();
    let deaf = config.replace("\"cmd.scheduler.> q\"", "");
    assert_ne!(deaf, config);
    let nats = server(&deaf).await;
    let service = nats.spawn(&SCHEDULER);
    says(&service, "subscribe", "cmd.scheduler.schedule.create").await;
}

#[tokio::test]
async fn streams_can_be_created_by_an_operator_instead() {
    let config = config();
    let lines = config.lines().filter(|line| !line.contains("\"$JS.API.STREAM.CREATE."));
    let without = lines.map(|line| format!("{line}\n")).collect::<String>();
    assert_ne!(without.lines().count(), config.lines().count());
    let nats = server(&without).await;
    nats.add_stream(COMMANDS).await;
    let service = nats.spawn(&SCHEDULER);
    says(&service, "publish", "$JS.API.STREAM.CREATE.KV_scheduler_schedules").await;
    for stream in [
        include_str!("../../../streams/KV_scheduler_schedules.json"),
        include_str!("../../../streams/SCHEDULER_EXECUTIONS.json"),
        include_str!("../../../streams/SCHEDULER_AUDIT.json"),
    ] {
        nats.add_stream(stream).await;
    }
    service.ready().await;
    assert_eq!(nats.ask("status", json!({})).await["status"], "ok");
    let id = nats.create(beat("sent", "cmd.notification.send", "publish")).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
}

#[tokio::test]
async fn a_service_that_may_not_read_changes_does_everything_else() {
    let config = config();
    let reads = ["MSG.GET", "DIRECT.GET", "CONSUMER.CREATE", "CONSUMER.DELETE"];
    let is_of_reading = |line: &&str| {
        line.contains("SCHEDULER_AUDIT") && reads.iter().any(|read| line.contains(read))
    };
    let lines = config.lines().filter(|line| !is_of_reading(line));
    let without = lines.map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(config.lines().count() - without.lines().count(), 5);
    let nats = server(&without).await;
    nats.add_stream(COMMANDS).await;
    let service = nats.service_with(&SCHEDULER).await;
    let id = nats.create(beat("sent", "cmd.notification.send", "publish")).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 2).await;
    says(&service, "publish", "$JS.API.CONSUMER.CREATE.SCHEDULER_AUDIT").await;
    let error = wait_for("the reason", || async {
        let error = nats.refused("audit.list", json!({})).await;
        let unread = "the audit cannot be read at present; the log says why";
        (error["message"] == unread).then_some(error)
    })
    .await;
    assert_eq!(error["code"], "unavailable");
    let reply = nats.request("schedule.explain", &json!({ "schedule_id": id })).await;
    assert_eq!(reply["warnings"][0]["code"], "no_changes", "{reply}");
    let warning = "causes may be missing: the audit cannot be read at present; the log says why";
    assert_eq!(reply["warnings"][0]["message"], warning);
    assert_eq!(reply["data"]["times"][0]["outcome"], "success", "{reply}");
}
