//! The typed client and the examples.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::stream;
use chrono::{TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use nats_scheduler::client::{
    BulkAction, BulkOperation, Client, ClientError, Code, CreateSchedule, DeleteSchedule, Delivery,
    DeliveryMode, ErrorType, ExecuteImmediate, ExecutionStatus, ListExecutions, ListSchedules,
    PauseAll, PauseSchedule, Payload, PreviewSchedule, PutCalendar, PutGroup, RestoreSchedule,
    ResumeSchedule, ScheduleFilter, ScheduleType, Sort, Status, TriggerSchedule, UpdateSchedule,
};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{DEADLINE, Nats, wait_for};

fn client(nats: &Nats) -> Client {
    Client::new(nats.client.clone()).actor("alice")
}

fn far(name: &str) -> CreateSchedule {
    CreateSchedule::one_time(name, Utc::now() + TimeDelta::hours(1), "cmd.example.client")
}

/// Every field that the builder knows.
fn full() -> CreateSchedule {
    CreateSchedule::cron("full", "0 2 * * MON-FRI", "cmd.example.client")
        .description("all of it")
        .timezone("Europe/Berlin")
        .payload(&json!({ "n": 1 }))
        .unwrap()
        .tags(["a", "b"])
        .priority(8)
        .retries(2, 7)
        .delivery(Delivery { mode: DeliveryMode::Core, timeout_seconds: 9, ..Delivery::default() })
        .misfire_grace_seconds(60)
        .idempotency_key("full-1")
}

#[tokio::test]
async fn what_is_built_is_what_is_stored_and_a_repeated_creation_creates_nothing_more() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats).correlation_id("order-7");
    let created = client.create(&full()).await.unwrap();
    assert_eq!(created.correlation_id, "order-7");
    assert!(created.warnings.is_empty(), "{:?}", created.warnings);
    let schedule = client.get(created.data.id).await.unwrap().data;
    assert_eq!(schedule.schedule_type, ScheduleType::Cron);
    assert_eq!(schedule.cron_expression.as_deref(), Some("0 2 * * MON-FRI"));
    assert_eq!(schedule.timezone, "Europe/Berlin");
    assert_eq!(schedule.description.as_deref(), Some("all of it"));
    assert_eq!(schedule.command_payload.as_str(), r#"{"n":1}"#);
    assert_eq!(schedule.tags, ["a", "b"]);
    assert_eq!((schedule.priority, schedule.misfire_grace_seconds), (8, 60));
    assert_eq!((schedule.max_retries, schedule.retry_delay_seconds), (2, 7));
    assert_eq!(
        schedule.delivery,
        Delivery { mode: DeliveryMode::Core, timeout_seconds: 9, ..Delivery::default() }
    );
    assert_eq!((schedule.created_by.as_str(), schedule.revision), ("alice", 1));
    let again = client.create(&full()).await.unwrap();
    assert_eq!(again.data.id, schedule.id);
    assert_eq!(again.warnings[0].code, "repeated");

    let start = Utc::now() + TimeDelta::hours(2);
    let interval = CreateSchedule::interval("every", 60, "cmd.nowhere.client").start_at(start);
    let interval = client.create(&interval).await.unwrap();
    assert_eq!(interval.data.interval_seconds, Some(60));
    assert_eq!(interval.warnings[0].code, "no_stream");
    let immediate = CreateSchedule::immediate("now", "cmd.example.client");
    let immediate = client.create(&immediate).await.unwrap().data;
    assert_eq!(immediate.schedule_type, ScheduleType::Immediate);
}

#[tokio::test]
async fn a_schedule_is_led_through_its_whole_life() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (client, bob) = (client(&nats), client(&nats).actor("bob"));
    let id = client.create(&far("life")).await.unwrap().data.id;

    let list = ListSchedules { creator: Some("alice".to_owned()), ..ListSchedules::default() };
    let page = client.list(&list).await.unwrap();
    assert_eq!((page.data[0].id, page.pagination.unwrap().total), (id, 1));

    let update = UpdateSchedule {
        schedule_id: Some(id),
        expected_revision: Some(1),
        priority: Some(9),
        ..UpdateSchedule::default()
    };
    let updated = bob.update(&update).await.unwrap().data;
    assert_eq!((updated.priority, updated.updated_by.as_deref()), (9, Some("bob")));
    assert_eq!(client.update(&update).await.unwrap_err().code(), Some(Code::Conflict));

    let paused = client.pause(id, Some("maintenance")).await.unwrap().data;
    assert_eq!(paused.pause_reason.as_deref(), Some("maintenance"));
    let later = chrono::Utc::now() + chrono::Duration::hours(1);
    let paused = client.pause_until(id, later, None).await.unwrap().data;
    assert!(paused.resume_at.is_some_and(|at| at >= later), "{paused:?}");
    let old = ResumeSchedule {
        schedule_id: Some(id),
        expected_revision: Some(1),
        ..ResumeSchedule::default()
    };
    assert_eq!(client.resume_with(&old).await.unwrap_err().code(), Some(Code::Conflict));
    assert_eq!(client.resume(id).await.unwrap().data.status, Status::Active);
    assert_eq!(client.resume(id).await.unwrap_err().code(), Some(Code::NotAllowed));
    let old =
        PauseSchedule { schedule_id: Some(id), expected_revision: Some(1), ..Default::default() };
    assert_eq!(client.pause_with(&old).await.unwrap_err().code(), Some(Code::Conflict));

    let run = client.trigger(id).await.unwrap().data;
    assert!(run.execution.is_none());
    let outcome = client.wait_for_outcome(run.execution_id, DEADLINE).await.unwrap().unwrap();
    assert_eq!(outcome.status, ExecutionStatus::Success);
    let request = TriggerSchedule {
        schedule_id: Some(id),
        override_payload: Some(Payload::from_object(&json!({ "n": 2 })).unwrap()),
        wait_ms: Some(20_000),
        ..TriggerSchedule::default()
    };
    // The wait comes on top of the timeout.
    let brief = bob.clone().timeout(Duration::from_secs(5));
    let second = brief.trigger_with(&request).await.unwrap().data.execution.unwrap();
    assert_eq!(second.triggered_by.as_deref(), Some("bob"));
    assert_eq!(second.command_payload.unwrap().as_str(), r#"{"n":2}"#);

    let mine = ListExecutions { schedule_id: Some(id), ..ListExecutions::default() };
    wait_for("both in the list", || async {
        let executions = client.executions(&mine).await.unwrap();
        (executions.data.len() == 2).then_some(())
    })
    .await;
    assert_eq!(client.execution(second.id).await.unwrap().data.execution.id, second.id);

    let deleted = client.delete(id).await.unwrap().data;
    assert!(!deleted.hard_delete && deleted.purge_at.is_some());
    let old = RestoreSchedule {
        schedule_id: Some(id),
        expected_revision: Some(1),
        ..RestoreSchedule::default()
    };
    assert_eq!(client.restore_with(&old).await.unwrap_err().code(), Some(Code::Conflict));
    assert_eq!(client.restore(id).await.unwrap().data.status, Status::Active);
    let for_good = DeleteSchedule {
        schedule_id: Some(id),
        hard_delete: Some(true),
        ..DeleteSchedule::default()
    };
    assert!(client.delete_with(&for_good).await.unwrap().data.hard_delete);
    assert_eq!(client.get(id).await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn bulk_requests_previews_commands_at_once_and_the_status_are_typed_too() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats);
    let broken = CreateSchedule::cron("broken", "61 * * * *", "cmd.example.client");
    let created = client.bulk_create(&[far("one"), broken, far("two")]).await.unwrap().data;
    assert_eq!((created.created, created.failed), (2, 1));
    assert_eq!(created.results[1].error.as_ref().unwrap().details[0].field, "cron_expression");

    let filter = ScheduleFilter { creator: Some("alice".to_owned()), ..Default::default() };
    let pause = |dry_run| BulkOperation {
        operation: Some(BulkAction::Pause),
        filter: Some(filter.clone()),
        dry_run: Some(dry_run),
        ..BulkOperation::default()
    };
    assert_eq!(client.bulk_operation(&pause(true)).await.unwrap().data.succeeded, 2);
    let paused = client.bulk_operation(&pause(false)).await.unwrap().data;
    assert_eq!((paused.succeeded, paused.refused, paused.dry_run), (2, 0, false));

    let preview = PreviewSchedule {
        schedule_type: Some(ScheduleType::Cron),
        cron_expression: Some("0 12 * * *".to_owned()),
        count: Some(3),
        ..PreviewSchedule::default()
    };
    assert_eq!(client.preview(&preview).await.unwrap().data.occurrences.len(), 3);

    let command = ExecuteImmediate {
        target_command: Some("cmd.nobody.listens".to_owned()),
        delivery: Some(Delivery {
            mode: DeliveryMode::Request,
            timeout_seconds: 1,
            ..Delivery::default()
        }),
        max_retries: Some(0),
        wait_ms: Some(20_000),
        ..ExecuteImmediate::default()
    };
    let sent = client.execute(&command).await.unwrap().data.execution.unwrap();
    assert_eq!(sent.error_type, Some(ErrorType::NoResponders));
    assert_eq!(client.status().await.unwrap().data.schedules["paused"], 2);
    assert!(client.status_with_settings().await.unwrap().data.settings.is_some());
}

#[tokio::test]
async fn all_pages_of_a_list_are_one_stream() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats);
    let names: Vec<_> = (0..7).map(|n| format!("schedule {n}")).collect();
    let requests: Vec<_> = names.iter().map(|name| far(name)).collect();
    assert_eq!(client.bulk_create(&requests).await.unwrap().data.created, 7);
    let by_name = |limit| ListSchedules {
        sort: Some(Sort::Name),
        limit: Some(limit),
        page: Some(5),
        ..ListSchedules::default()
    };
    for limit in [1, 3, 7, 100] {
        let all: Vec<_> = client
            .all_schedules(by_name(limit))
            .map_ok(|schedule| schedule.name)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(all, names, "in pages of {limit}");
    }
    let none = ListSchedules { creator: Some("nobody".to_owned()), ..by_name(3) };
    assert!(client.all_schedules(none).next().await.is_none());
    let mut refused = client.all_schedules(by_name(0));
    let error = refused.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::Invalid));
    assert!(refused.next().await.is_none(), "an error ends it");
}

#[tokio::test]
async fn refusals_carry_codes_and_the_faults_of_all_fields() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats);
    let id = client.create(&far("taken")).await.unwrap().data.id;
    match client.create(&far("taken")).await.unwrap_err() {
        ClientError::Refused(error) => {
            assert_eq!(error.code, Code::AlreadyExists);
            let holder = error.details.iter().find(|fault| fault.field == "schedule_id").unwrap();
            assert_eq!(holder.reason, id.to_string());
        }
        other => panic!("{other}"),
    }
    let wrong = CreateSchedule::interval("", 0, "nowhere").priority(11);
    match client.create(&wrong).await.unwrap_err() {
        ClientError::Refused(error) => {
            assert_eq!(error.code, Code::Invalid);
            assert_eq!(error.details.len(), 4, "{error}");
        }
        other => panic!("{other}"),
    }
    let nothing = client.execution(Uuid::now_v7()).await.unwrap_err();
    assert_eq!(nothing.code(), Some(Code::NotFound));
    assert!(!nothing.may_have_been_done());
    let in_vain = client.wait_for_outcome(Uuid::now_v7(), Duration::from_millis(300)).await;
    assert!(in_vain.unwrap().is_none());
    // What no header can hold is refused like anything else that is wrong.
    let two_lines = client.actor("alice\r\nbob").status().await.unwrap_err();
    match &two_lines {
        ClientError::Refused(error) => assert_eq!(error.details[0].field, "X-Created-By"),
        other => panic!("{other}"),
    }
    let large = far("large").description("x".repeat(2 << 20));
    let error = Client::new(nats.client.clone()).create(&large).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_change_that_concerns_all_schedules_is_waited_for_longer() {
    let nats = Nats::bare().await;
    let client = client(&nats).timeout(Duration::from_millis(300));
    let mut requests = nats.client.subscribe("cmd.scheduler.>").await.unwrap();
    let answering = nats.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            // As long as it takes until every instance goes by it.
            tokio::time::sleep(Duration::from_millis(900)).await;
            let refused =
                json!({ "error": { "code": "conflict", "message": "somebody was first" } });
            let refused = refused.to_string().into();
            answering.publish(request.reply.unwrap(), refused).await.unwrap();
        }
    });
    for answered in [
        client.pause_all(&PauseAll::default()).await.map(|_| ()),
        client.put_calendar(&PutCalendar::default()).await.map(|_| ()),
        client.put_group(&PutGroup::default()).await.map(|_| ()),
    ] {
        assert!(matches!(answered, Err(ClientError::Refused(_))), "{answered:?}");
    }
    let usual = client.resume_all().await.map(|_| ());
    assert!(matches!(usual, Err(ClientError::Timeout { .. })), "{usual:?}");
}

#[tokio::test]
async fn a_missing_a_silent_and_a_false_scheduler_are_told_apart() {
    let nats = Nats::bare().await;
    let client = client(&nats).timeout(Duration::from_millis(300));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::NoService { .. }), "{error}");
    assert!(!error.may_have_been_done());
    let waited = client.wait_for_outcome(Uuid::now_v7(), Duration::from_millis(300)).await;
    assert!(matches!(waited, Err(ClientError::NoService { .. })), "still away in the end");

    let mut requests = nats.client.subscribe("cmd.scheduler.status").await.unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(error.may_have_been_done());
    requests.next().await.unwrap();

    let answering = nats.client.clone();
    let answer = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            answering.publish(request.reply.unwrap(), "hello".into()).await.unwrap();
        }
    });
    let patient = client.clone().timeout(DEADLINE);
    let error = patient.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
    answer.abort();
    let _ = answer.await;

    let config = stream::Config {
        name: "GREEDY".to_owned(),
        subjects: vec!["cmd.>".to_owned()],
        ..stream::Config::default()
    };
    nats.js.create_stream(config).await.unwrap();
    match patient.create(&far("captured")).await.unwrap_err() {
        ClientError::Captured { subject, stream } => {
            assert_eq!(
                (subject.as_str(), stream.as_str()),
                ("cmd.scheduler.schedule.create", "GREEDY")
            );
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_closed_connection_is_an_error_of_its_own() {
    let nats = Nats::bare().await;
    let closed = async_nats::connect(nats.url()).await.unwrap();
    closed.drain().await.unwrap();
    let client = Client::new(closed).timeout(Duration::from_secs(1));
    wait_for("the connection to be closed", || async {
        matches!(client.status().await, Err(ClientError::Connection(_))).then_some(())
    })
    .await;
}

/// An example, as `cargo test` builds it.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "no {}: cargo build --examples", path.display());
    path
}

/// Runs an example twice, so that it must leave nothing in its own way; what it said the second
/// time.
async fn run(nats: &Nats, name: &str) -> String {
    let mut said = String::new();
    for round in 0..2 {
        let output = tokio::process::Command::new(example(name))
            .env("NATS_URL", nats.url())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(DEADLINE, output).await.unwrap().unwrap();
        said = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, round {round}: {complaint}\n{said}");
    }
    let left = client(nats).list(&ListSchedules::default()).await.unwrap();
    assert_eq!(left.pagination.unwrap().total, 0, "{name} leaves no schedule");
    said
}

#[tokio::test]
async fn the_quickstart_receives_commands_and_shows_what_became_of_them() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let said = run(&nats, "quickstart").await;
    assert_eq!(said.matches(r#"received {"text":"hi"}"#).count(), 3, "{said}");
    assert!(said.contains("deleted it"), "{said}");
}

#[tokio::test]
async fn the_management_example_sees_the_change_of_another_before_it_pauses() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let said = run(&nats, "manage").await;
    assert!(said.contains("changed by example-manage-bob meanwhile"), "{said}");
    assert!(
        said.contains("2 would be paused\n2 are paused\n3 are resumed\n3 are active"),
        "{said}"
    );
    assert!(said.ends_with("3 are deleted\n"), "{said}");
}

#[tokio::test]
async fn the_worker_example_does_a_command_once() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let said = run(&nats, "worker").await;
    assert_eq!(said.matches("worker: doing").count(), 1, "{said}");
    assert_eq!(said.matches("hello Ada").count(), 2, "{said}");
}

fn of<T: serde::de::DeserializeOwned>(request: serde_json::Value) -> T {
    serde_json::from_value(request).unwrap()
}

fn shown(data: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(data).unwrap()
}

#[tokio::test]
async fn calendars_and_groups_are_kept_by_methods_of_the_client() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats);
    let named = json!({ "name": "shared" });

    client.put_group(&of(json!({ "name": "shared", "limit": 2 }))).await.unwrap();
    let group = shown(&client.get_group("shared").await.unwrap().data);
    assert_eq!((&group["name"], &group["limit"]), (&json!("shared"), &json!(2)));
    let groups = client.list_groups(&of(json!({ "limit": 5 }))).await.unwrap();
    assert_eq!(shown(&groups.data)[0]["limit"], 2);
    client.delete_group(&of(named.clone())).await.unwrap();
    assert_eq!(client.get_group("shared").await.unwrap_err().code(), Some(Code::NotFound));

    client.put_calendar(&of(json!({ "name": "shared", "days": ["2027-01-01"] }))).await.unwrap();
    let calendar = shown(&client.get_calendar("shared").await.unwrap().data);
    assert_eq!(calendar["days"], json!(["2027-01-01"]));
    let calendars = client.list_calendars(&of(json!({}))).await.unwrap();
    assert_eq!(shown(&calendars.data)[0]["name"], "shared");
    client.delete_calendar(&of(named)).await.unwrap();
    assert_eq!(client.get_calendar("shared").await.unwrap_err().code(), Some(Code::NotFound));
    assert_eq!(client.cancel_rerun(Uuid::nil()).await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn a_job_is_found_and_stopped_by_methods_of_the_client() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = client(&nats);
    let job = CreateSchedule::immediate("job", "cmd.example.client")
        .delivery(Delivery { mode: DeliveryMode::Job, ..Delivery::default() });
    let id = client.create(&job).await.unwrap().data.id;
    let running = wait_for("the job", || async {
        let running = shown(&client.running(&of(json!({}))).await.unwrap().data);
        let found = running.as_array()?.iter().find(|one| one["schedule_id"] == id.to_string());
        found.filter(|one| one["status"] == "running").cloned()
    })
    .await;
    let stop = json!({ "execution_id": running["execution_id"], "reason": "no need" });
    client.cancel_with(&of(stop)).await.unwrap();
    wait_for("its end", || async {
        let of_order = json!({ "correlation_id": running["correlation_id"] });
        let found = shown(&client.by_correlation(&of(of_order)).await.unwrap().data);
        (found[0]["status"] == "cancelled" && found[0]["id"] == running["execution_id"])
            .then_some(())
    })
    .await;
    let statistics = client.statistics(&of(json!({ "schedule_id": id }))).await.unwrap();
    assert_eq!(shown(&statistics.data)["cancelled"], 1, "{:?}", statistics.data);
}
