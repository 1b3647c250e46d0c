//! Schedules of others, taken over: of nats-server itself, of cron and of Kubernetes.

use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, Datelike as _, Timelike as _, Utc, Weekday};
use serde_json::json;

use super::{Answer, cli, fed};
use crate::harness::{Nats, in_ms};

const STREAM: &str = r#"{"name":"ORDERS","subjects":["orders.>","cmd.orders.>"],"retention":"limits","storage":"file",
    "max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1,"discard":"old","max_msgs_per_subject":-1,
    "max_msg_size":-1,"allow_msg_schedules":true,"allow_msg_ttl":true}"#;

/// Stores a message with a schedule.
async fn schedule(nats: &Nats, subject: &str, body: &str, headers: &[(&str, &str)]) {
    let mut message = PublishMessage::build().payload(body.to_owned().into());
    for (name, value) in headers {
        message = message.header(*name, *value);
    }
    let subject = format!("orders.schedule.{subject}");
    nats.js.send_publish(subject, message).await.unwrap().await.unwrap();
}

/// Schedules of all kinds, of which some cannot be taken over.
async fn samples(nats: &Nats, once: &str) {
    const TARGET: &str = "Nats-Schedule-Target";
    let at = format!("@at {once}");
    let due = ("Nats-Schedule", at.as_str());
    let cron = ("Nats-Schedule", "0 30 2 */2 * MON");
    let hourly = ("Nats-Schedule", "@hourly");
    let target = (TARGET, "cmd.orders.run");
    let zone = ("Nats-Schedule-Time-Zone", "Europe/Berlin");
    schedule(nats, "nightly", r#"{"old":true}"#, &[hourly, target]).await;
    schedule(nats, "nightly", r#"{"z":1.10,"a":[]}"#, &[cron, target, zone]).await;
    let beat = ("Nats-Schedule", "@every 1m30s");
    let kept = ("Nats-Schedule-TTL", "5m");
    let traced = ("X-Region", "eu");
    schedule(nats, "beat", "", &[beat, target, kept, traced]).await;
    schedule(nats, "once", r#"{"n":1}"#, &[due, target]).await;
    schedule(nats, "hourly", "{}", &[hourly, target, ("Nats-TTL", "3600")]).await;
    let last = ("Nats-Schedule-Rollup", "sub");
    schedule(nats, "latest", "{}", &[hourly, target, last]).await;
    let sampled = ("Nats-Schedule-Source", "orders.raw");
    schedule(nats, "sample", "{}", &[hourly, target, sampled]).await;
    schedule(nats, "text", "hello", &[hourly, target]).await;
    schedule(nats, "odd", "{}", &[("Nats-Schedule", "@every 1500ms"), target]).await;
    schedule(nats, "elsewhere", "{}", &[hourly, (TARGET, "orders.Run")]).await;
    nats.js.publish("orders.raw", "1".into()).await.unwrap().await.unwrap();
}

/// The declaration of one of them.
fn declared<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let name = format!("name: orders.schedule.{name}\n");
    answer.out.split("---\n").find(|document| document.contains(&name)).unwrap_or_default()
}

#[tokio::test]
async fn what_cannot_be_taken_over_from_a_stream_is_said() {
    let nats = Nats::bare().await;
    nats.add_stream(STREAM).await;
    let once = in_ms(3_600_000);
    samples(&nats, &once).await;
    let imported = cli(&nats, &["import", "nats", "ORDERS"]).await;
    assert_eq!(imported.code, 1, "some are left out: {imported:?}");
    let every = declared(&imported, "beat");
    let first = every.split("start_at: ").nth(1).unwrap().lines().next().unwrap();
    let said = imported.err.replace(first.trim_matches('"'), "<first>");
    assert_eq!(
        said,
        "orders.schedule.beat: orders.schedule.beat
orders.schedule.beat: note: counts from <first>: the server counts anew after it was away
orders.schedule.beat: note: its body is empty: {} is sent
orders.schedule.beat: note: its messages were kept for 5m: commands are kept as their stream says
orders.schedule.beat: note: commands do not have its headers: X-Region
orders.schedule.elsewhere: left out: its target \"orders.Run\" must start with \"cmd.\", such as cmd.notification.send; --target says another
orders.schedule.hourly: orders.schedule.hourly
orders.schedule.latest: orders.schedule.latest
orders.schedule.latest: note: each message replaced the one before (rollup): commands do not
orders.schedule.nightly: orders.schedule.nightly
orders.schedule.odd: left out: \"@every 1500ms\" is no whole number of seconds
orders.schedule.once: orders.schedule.once
orders.schedule.sample: left out: sends what orders.raw holds by then: commands have their own payload
orders.schedule.text: left out: its body is no JSON object, as the payload of a command is
"
    );
    assert_eq!(
        declared(&imported, "nightly"),
        "name: orders.schedule.nightly
schedule_type: cron
cron_expression: \"0 30 2 1-31/2 * MON\"
timezone: Europe/Berlin
dst_gap: skip
dst_overlap: both
target_command: cmd.orders.run
command_payload: {\"z\": 1.10, \"a\": []}
"
    );
    assert!(every.contains("\nschedule_type: interval\ninterval_seconds: 90\n"), "{every}");
    let one_time = declared(&imported, "once");
    let at: DateTime<Utc> = once.parse().unwrap();
    let shown = one_time.split("scheduled_at: ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(shown.trim_matches('"').parse::<DateTime<Utc>>().unwrap(), at);
    assert!(declared(&imported, "hourly").contains("\ntimezone: UTC\nend_at: "), "{imported:?}");

    let moved = ["import", "nats", "ORDERS", "--subjects", "*.*.elsewhere", "-t", "cmd.j.{name}"];
    let moved = cli(&nats, &moved).await.done();
    assert!(moved.contains("\ntarget_command: cmd.j.orders-schedule-elsewhere\n"), "{moved}");
    let nothing = cli(&nats, &["import", "nats", "ORDERS", "--subjects", "orders.raw"]).await;
    assert_eq!((nothing.code, nothing.err.as_str()), (0, "no message of ORDERS has a schedule\n"));
    let (code, said) = cli(&nats, &["import", "nats", "OTHERS"]).await.failed();
    assert_eq!((code, said.as_str()), (3, "error: there is no stream \"OTHERS\"\n"));
    assert_eq!(cli(&nats, &["import", "crontab", "-"]).await.code, 2, "it has no targets");
}

#[tokio::test]
async fn what_is_taken_over_from_a_stream_fires_as_it_did() {
    let nats = Nats::bare().await;
    nats.add_stream(STREAM).await;
    let due = in_ms(5000);
    let at = format!("@at {due}");
    let due: DateTime<Utc> = due.parse().unwrap();
    let once = [("Nats-Schedule", at.as_str()), ("Nats-Schedule-Target", "cmd.orders.once")];
    schedule(&nats, "once", r#"{"n":1}"#, &once).await;
    let beat = [("Nats-Schedule", "@every 2s"), ("Nats-Schedule-Target", "cmd.orders.beat")];
    schedule(&nats, "beat", r#"{"n":2}"#, &beat).await;
    let _service = nats.service().await;
    let imported = cli(&nats, &["import", "nats", "ORDERS"]).await.done();
    // Else both would send.
    let stream = nats.js.get_stream("ORDERS").await.unwrap();
    stream.purge().filter("orders.schedule.>").await.unwrap();
    let planned = fed(&nats, imported.clone(), &["plan", "-f", "-", "--detailed-exitcode"]).await;
    assert_eq!(planned.code, 6, "{planned:?}");
    let applied = fed(&nats, imported.clone(), &["apply", "-f", "-", "--yes"]).await.done();
    assert_eq!(applied, "2 created, 0 updated, 0 deleted, 0 unchanged\n");
    let unchanged = fed(&nats, imported.clone(), &["plan", "-f", "-", "--detailed-exitcode"]);
    assert_eq!(unchanged.await.code, 0);

    let filter = serde_json::json!({ "statuses": ["success"] });
    let ran = nats.wait_executions(filter, 4).await;
    let first = imported.split("start_at: \"").nth(1).unwrap().split('"').next().unwrap();
    let parity = first.parse::<DateTime<Utc>>().unwrap().second() % 2;
    for execution in ran {
        let at: DateTime<Utc> = execution["scheduled_for"].as_str().unwrap().parse().unwrap();
        match execution["command_sent"].as_str().unwrap() {
            // Rounded up to milliseconds.
            "cmd.orders.once" => {
                assert!((0..1_000_000).contains(&(at - due).num_nanoseconds().unwrap()))
            }
            _ => assert_eq!((at.second() % 2, at.timestamp_subsec_millis()), (parity, 0)),
        }
    }
    let sent = nats.messages("ORDERS").await;
    let of_us = sent.iter().filter(|it| it.headers.get("Nats-Scheduler").is_none());
    assert!(of_us.clone().count() >= 4);
    assert!(of_us.clone().any(|it| it.subject.as_str() == "cmd.orders.once"));
}

const CRONJOBS: &str = "\
kind: List
items:
- {kind: CronJob, metadata: {namespace: a, name: report}, spec: {schedule: \"0 0 */2 * MON\", timeZone: Europe/Berlin}}
- kind: CronJob
  metadata: {namespace: b, name: report}
  spec:
    schedule: \"@every 1h\"
    startingDeadlineSeconds: 0
    concurrencyPolicy: Forbid
    jobTemplate: {spec: {backoffLimit: 20, activeDeadlineSeconds: 7200}}
- {kind: CronJob, metadata: {namespace: b, name: odd}, spec: {schedule: \"60 * * * *\"}}
";

/// What is printed is taken by the service as it is: no entry is refused only then.
#[tokio::test]
async fn what_is_taken_over_from_files_is_accepted_by_the_service() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let import = ["import", "kubernetes", "-", "-t", "cmd.example.{name}"];
    let imported = fed(&nats, CRONJOBS.to_owned(), &import).await;
    assert_eq!(imported.code, 1, "one is left out");
    assert!(imported.err.contains("b/odd: left out: \"60 * * * *\": minute: 60"), "{imported:?}");
    let apply = ["apply", "-f", "-", "--yes"];
    let applied = fed(&nats, imported.out, &apply).await.done();
    assert_eq!(applied, "2 created, 0 updated, 0 deleted, 0 unchanged\n");
    let one = cli(&nats, &["get", "a/report", "-o", "json"]).await.json();
    let preview = ["next", "a/report", "-n", "1000", "-o", "name"];
    let days = cli(&nats, &preview).await.done();
    let berlin = |line: &str| {
        line.parse::<DateTime<Utc>>().unwrap().with_timezone(&chrono_tz::Europe::Berlin)
    };
    // Each odd day, and each Monday.
    assert!(days.lines().map(berlin).all(|at| at.day() % 2 == 1 || at.weekday() == Weekday::Mon));
    assert!(days.lines().map(berlin).any(|at| at.day() % 2 == 1 && at.weekday() != Weekday::Mon));
    assert_eq!((&one["overlap"], &one["max_instances"]), (&json!("allow"), &json!(3)));
    assert_eq!(one["delivery"]["timeout_seconds"], 86_400);
    let other = cli(&nats, &["get", "b/report", "-o", "json"]).await.json();
    assert_eq!((&other["interval_seconds"], &other["max_retries"]), (&json!(3600), &json!(10)));

    let crontab = "TZ=Asia/Tokyo\n0 2 * * * /bin/backup\n0 3 * * * backup\n0 4 * * * backup-2 +\\%F\n0~59 * * * * x\n";
    let import = ["import", "crontab", "-", "-t", "cmd.example.{name}"];
    let imported = fed(&nats, crontab.to_owned(), &import).await;
    assert_eq!(imported.code, 1);
    assert_eq!(
        imported.err,
        "line 1: left out: TZ is a variable: commands get no environment, and the time zone of lines is CRON_TZ
line 2: backup
line 2: note: the zone is that of the service
line 3: backup-2
line 3: note: the zone is that of the service
line 4: backup-2-2
line 4: note: the zone is that of the service
line 5: left out: \"0~59 * * * *\": minute: `0~59` is not understood
"
    );
    assert!(imported.out.contains("{\"command\": \"backup-2 +%F\"}"), "{}", imported.out);
    let applied = fed(&nats, imported.out, &apply).await.done();
    assert_eq!(applied, "3 created, 0 updated, 0 deleted, 0 unchanged\n");
}
