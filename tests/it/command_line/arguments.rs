//! Arguments that would have no effect are refused, before anything is asked; and what they mean otherwise.

use serde_json::json;

use super::{cli, fed, finish, program};
use crate::harness::{Nats, wait_for};

/// The filters, each with a value.
const FILTERS: [&[&str]; 15] = [
    &["--tag", "x"],
    &["--tag", "x", "--all-tags"],
    &["--status", "paused"],
    &["--type", "cron"],
    &["--owned-by", "git"],
    &["--group", "g"],
    &["--calendar", "c"],
    &["--failing"],
    &["--overdue"],
    &["--off"],
    &["--last-outcome", "success"],
    &["--target", "cmd.x"],
    &["--prefix", "x"],
    &["--contains", "x"],
    &["--due-after", "1h", "--due-before", "2h"],
];

#[tokio::test]
async fn names_and_filters_do_not_go_together() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for name in ["nightly", "weekly"] {
        cli(&nats, &["create", name, "--cron", "0 0 1 1 *", "-t", "cmd.example.x"]).await.done();
    }
    let filters =
        FILTERS.iter().map(|filter| (["rm", "nightly", "weekly", "--hard"].as_slice(), *filter));
    let others =
        [&["pause", "nightly"][..], &["resume", "nightly"], &["rm", "nightly", "--dry-run"]];
    let reads = [&["export", "nightly"][..], &["next", "nightly"], &["logs", "nightly"]];
    let commands = others.into_iter().chain(reads).map(|command| (command, FILTERS[2]));
    for (command, filter) in filters.chain(commands) {
        let arguments = [command, filter].concat();
        let (code, said) = cli(&nats, &arguments).await.failed();
        assert!(code == 2 && said.contains("cannot be used with"), "{arguments:?}: {code} {said}");
        assert!(said.contains(filter[0]), "it says which: {said}");
    }
    assert_eq!(
        cli(&nats, &["ls", "-o", "name", "--sort", "name"]).await.done(),
        "nightly\nweekly\n"
    );
}

#[tokio::test]
async fn options_without_effect_are_refused() {
    let nats = Nats::bare().await;
    let id = uuid::Uuid::now_v7().to_string();
    for arguments in [
        &["rm", "one", "--dry-run", "--revision", "1"][..],
        &["pause", "one", "--dry-run", "--revision", "1"],
        &["resume", "one", "--dry-run", "--revision", "1"],
        &["history", "--execution", &id, "--status", "failed"],
        &["history", "--execution", &id, "-n", "5"],
        &["retry", &id, "--limit", "5"],
        &["retry", &id, "--dry-run", "--wait"],
        &["retry", &id, "--schedule", "one"],
        &["rm", "--tag", "x", "--yes", "--revision", "1"],
        &["pause", "--all", "--yes", "--revision", "1"],
        &["resume", "--all", "--yes", "--revision", "1"],
        &["next", "one", "--to", "2h"],
        &["create", "x", "--now", "--on", "failure", "-t", "cmd.a.b"],
        &["import", "kubernetes", "-", "-t", "cmd.a.b", "--system"],
        &["import", "crontab", "-", "-t", "cmd.a.b", "--subjects", "a.>"],
        &["create", "x", "--now", "-t", "cmd.a.b", "--set", "created_by=ops"],
        &["create", "x", "--now", "-t", "cmd.a.b", "--creator", "ops", "--key", "k"],
        &["history", "--creator", "ops"],
        &["history", "--execution", &id, "--creator", "ops"],
        &["running", "--creator", "ops"],
        &["stats", "--creator", "ops"],
        &["audit", "--creator", "ops"],
        &["watch", "--creator", "ops"],
        &["cancel", &id, "--creator", "ops"],
        &["retry", &id, "--creator", "ops"],
        &["retry", "--failed", "--yes", "--creator", "ops"],
        &["retry", "--failed", "--yes", "--status", "running"],
        &["calendar", "ls", "--creator", "ops"],
        &["rm", ""],
        &["rm", "one", "", "--hard"],
        &["pause", "", "--tag", "x", "--yes"],
        &["restore", ""],
        &["history", ""],
        &["retry", "--failed", "--yes", "--schedule", ""],
        &["retry", &id, "--yes"],
        &["ls", "-s", ""],
        &["ls", "--actor", ""],
        &["ls", "--creator", ""],
        &["ls", "--context", ""],
        &["schema", "-o", "yaml"],
        &["schema", "--actor", "ops"],
        &["completion", "bash", "-o", "json"],
        &["completion", "bash", "--context", "prod"],
        &["import", "crontab", "-", "-t", "cmd.a.b", "-s", "nats://a"],
        &["import", "kubernetes", "-", "-t", "cmd.a.b", "--timeout", "1s"],
        &["serve", "-s", "nats://a"],
        &["-o", "json", "healthcheck"],
    ] {
        // Nobody answers here: what asks ends with 5.
        let (code, said) = fed(&nats, String::new(), arguments).await.failed();
        assert_eq!(code, 2, "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn spans_are_what_the_service_can_keep() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (arguments, fault) in [
        (&["pause", "x", "--for", "99999999w"][..], "is too long"),
        (&["create", "x", "--every", "1500ms", "-t", "cmd.a.b"], "a whole number of seconds"),
        (&["create", "x", "--every", "1m500ms", "-t", "cmd.a.b"], "a whole number of seconds"),
    ] {
        let (code, said) = cli(&nats, arguments).await.failed();
        assert!(code == 2 && said.contains(fault), "{arguments:?}: {code} {said}");
    }
    let create = ["create", "x", "--every", "60000ms", "-t", "cmd.example.x", "-o", "json"];
    assert_eq!(cli(&nats, &create).await.json()["interval_seconds"], 60);
    let (code, _) =
        cli(&nats, &["ls", "--timeout", "99999999w", "-s", "nats://127.0.0.1:1"]).await.failed();
    assert_eq!(code, 5);
}

#[tokio::test]
async fn a_schedule_is_created_for_the_creator_that_is_given() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create = ["create", "x", "--cron", "0 0 1 1 *", "-t", "cmd.example.x", "--creator", "ops"];
    let dry = cli(&nats, &[&create[..], &["--dry-run", "-o", "json"]].concat()).await.json();
    assert_eq!(
        (&dry["created_by"], &dry["difference"]["outcome"]),
        (&json!("ops"), &json!("created")),
        "{dry}"
    );
    let created = cli(&nats, &[&create[..], &["-o", "json"]].concat()).await.json();
    assert_eq!(created["created_by"], "ops");
    let events = wait_for("the event", || async {
        let events = nats.ask("audit.list", json!({ "event": "created" })).await;
        events.as_array().filter(|events| !events.is_empty()).cloned()
    })
    .await;
    assert_eq!((&events[0]["actor"], events.len()), (&json!("anna"), 1));
    let (code, said) = cli(&nats, &create).await.failed();
    assert_eq!(
        (code, said.as_str()),
        (4, "error: creator \"ops\" already has a schedule named \"x\"\n")
    );
    let own = ["create", "x", "--cron", "0 0 1 1 *", "-t", "cmd.example.x", "-o", "json"];
    assert_eq!(cli(&nats, &own).await.json()["created_by"], "anna");
    let same = ["create", "y", "--every", "1h", "-t", "cmd.example.x", "-o", "name"];
    let same = [&same[..], &["--creator", "ops", "--actor", "ops", "--key", "k"]].concat();
    let first = cli(&nats, &same).await.done();
    assert_eq!(cli(&nats, &same).await.done(), first, "a key of one's own is one");
}

#[tokio::test]
async fn common_options_may_come_before_the_command() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let server = nats.url();
    let elsewhere = "nats://127.0.0.1:1";
    for (place, arguments) in [
        ("before", ["-s", &server, "-o", "json", "calendar", "ls"]),
        ("between", ["calendar", "-o", "json", "-s", &server, "ls"]),
        ("both", ["-s", &server, "calendar", "ls", "-o", "json"]),
    ] {
        let mut command = program(elsewhere);
        command.args(arguments);
        assert_eq!(finish(command).await.done(), "[]\n", "{place}");
    }
    // What is nearer to the command counts.
    let twice = cli(&nats, &["-o", "yaml", "-s", elsewhere, "ls", "-s", &server, "-o", "json"]);
    assert_eq!(twice.await.done(), "[]\n");
    let mut command = program(&server);
    command.args(["ls"]).env("NATS_CONTEXT", "");
    assert_eq!(finish(command).await.err, "no schedules\n", "an empty setting names no context");
}

#[tokio::test]
async fn filters_that_select_nothing_are_nothing_to_ask_about() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for command in ["pause", "resume", "rm"] {
        let none = cli(&nats, &[command, "--prefix", "zzz"]).await;
        assert_eq!((none.code, none.err.as_str()), (0, "no schedule matches\n"), "{command}");
    }
    for more in [&[][..], &["--in-background"]] {
        let none = cli(&nats, &[&["retry", "--failed"], more].concat()).await;
        assert_eq!((none.code, none.err.as_str()), (0, "no execution matches\n"), "{more:?}");
    }
}

#[tokio::test]
async fn what_is_no_text_and_no_id_is_named() {
    let nats = Nats::bare().await;
    for arguments in [
        &["plan", "-f", "-"][..],
        &["import", "crontab", "-", "-t", "cmd.a.b"],
        &["create", "x", "--now", "-t", "cmd.a.b", "-p", "-"],
        &["run", "x", "-p", "-"],
        &["calendar", "put", "x", "--ics", "-"],
    ] {
        let (code, said) = fed(&nats, b"name: caf\xe9\n", arguments).await.failed();
        let fault = "error: standard input: is not UTF-8\n";
        assert_eq!((code, said.as_str()), (2, fault), "{arguments:?}");
    }
    for (arguments, kind) in [
        (&["history", "--execution", "nope"][..], "an execution"),
        (&["running", "--execution", "nope"], "an execution"),
        (&["retry", "nope"], "an execution"),
        (&["cancel", "nope"], "an execution"),
        (&["rerun", "get", "nope"], "a rerun"),
        (&["rerun", "cancel", "nope"], "a rerun"),
    ] {
        let (code, said) = cli(&nats, arguments).await.failed();
        assert!(code == 2 && said.contains(&format!("must be the id of {kind}\n")), "{said}");
    }
}
