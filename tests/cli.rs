//! Tests that drive the service with the real `nats` command-line client, as the documents show it.
//!
//! `NATS_CLI` names the client; the default is `nats` on the `PATH`. Only these tests need it, so they are behind the
//! feature `cli-tests`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "it/harness.rs"]
mod harness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use harness::{Nats, wait_for};
use serde_json::Value;

/// Runs the client against a server; its output, which must be that of success.
fn nats_cli(nats: &Nats, arguments: &[&str]) -> String {
    let output = run(nats, arguments);
    let text = text(&output);
    assert!(output.status.success(), "nats {arguments:?}: {text}");
    text
}

fn run(nats: &Nats, arguments: &[&str]) -> Output {
    let client = std::env::var("NATS_CLI").unwrap_or_else(|_| "nats".to_owned());
    Command::new(&client)
        .args(["--server", &nats.url(), "--no-context"])
        .args(arguments)
        .env("XDG_CONFIG_HOME", nats.dir())
        .output()
        .unwrap_or_else(|error| panic!("{client}: {error}; install the nats CLI or set NATS_CLI"))
}

fn text(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// Sends a request with `nats req`; the reply's JSON.
fn req(nats: &Nats, operation: &str, body: &str, headers: &[&str]) -> Value {
    let subject = format!("cmd.scheduler.{operation}");
    let mut arguments = vec!["req", &subject, body, "--raw"];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    let output = run(nats, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn every_stream_configuration_is_one_that_the_client_takes() {
    let nats = Nats::bare().await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("streams")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        nats_cli(&nats, &["stream", "add", &name, "--config", path.to_str().unwrap()]);
        names.push(name);
    }
    assert_eq!(names.len(), 4);
    // What the client made is what the service wants.
    let _service = nats.service().await;
    let status = req(&nats, "status", "", &[]);
    assert_eq!(status["data"]["status"], "ok", "{status}");
}

#[tokio::test]
async fn a_schedule_lives_through_the_client() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let created = req(
        &nats,
        "schedule.create",
        r#"{"name":"hello","schedule_type":"interval","interval_seconds":1,"target_command":"cmd.example.hello","command_payload":{"text":"hi"}}"#,
        &["X-Created-By:alice"],
    );
    assert_eq!(created["data"]["created_by"], "alice");
    let id = created["data"]["id"].as_str().unwrap().to_owned();
    let by_id = format!(r#"{{"schedule_id":"{id}"}}"#);
    assert_eq!(req(&nats, "schedule.get", &by_id, &[])["data"]["name"], "hello");
    assert_eq!(req(&nats, "schedule.list", "", &[])["pagination"]["total"], 1);
    wait_for("executions", || async {
        let reply = req(&nats, "execution.list", &by_id, &[]);
        (reply["pagination"]["total"].as_u64()? >= 2).then_some(())
    })
    .await;
    let shown =
        nats_cli(&nats, &["kv", "get", "scheduler_schedules", &format!("schedule.{id}"), "--raw"]);
    assert!(shown.contains("cmd.example.hello"), "{shown}");
    assert!(nats_cli(&nats, &["kv", "ls", "scheduler_schedules"]).contains(&id));
    let stored = nats_cli(&nats, &["stream", "get", "COMMANDS", "1"]);
    assert!(stored.contains("Scheduler-Execution-Id"), "{stored}");
    req(&nats, "schedule.delete", &by_id, &[]);
    assert_eq!(req(&nats, "schedule.get", &by_id, &[])["data"]["status"], "deleted");
    let error = req(&nats, "schedule.create", r#"{"nam":"x"}"#, &[]);
    assert_eq!(error["error"]["code"], "invalid");
}

#[tokio::test]
async fn micro_shows_the_service_and_asks_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    assert!(nats_cli(&nats, &["micro", "ls"]).contains("scheduler"));
    let info = nats_cli(&nats, &["micro", "info", "scheduler"]);
    assert!(
        info.contains("schedule-create") && info.contains("cmd.scheduler.schedule.create"),
        "{info}"
    );
    let preview = nats_cli(
        &nats,
        &[
            "micro",
            "request",
            "scheduler",
            "schedule-preview",
            r#"{"schedule_type":"cron","cron_expression":"@daily","count":2}"#,
        ],
    );
    assert!(preview.contains("occurrences"), "{preview}");
    let stats = nats_cli(&nats, &["micro", "stats", "scheduler"]);
    assert!(stats.contains("schedule-preview"), "{stats}");
}

/// The README and all that is in `docs/`, as paths from the root.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                folders.push(name);
            } else if name.ends_with(".md") {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// Sets a variable of the shell, as in `me='…'`.
fn is_assignment(line: &str) -> bool {
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase());
    line.split_once("='").is_some_and(|(name, _)| is_name(name))
}

/// The `nats req` commands of a document, joined where they go over several lines. Before each
/// stand the variables that its block of code sets.
fn documented_requests(document: &str) -> Vec<String> {
    let (mut found, mut variables) = (Vec::new(), String::new());
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let line = line.trim().trim_start_matches("$ ");
        if line.starts_with("```") {
            variables.clear();
        } else if is_assignment(line) {
            variables += &format!("{line}\n");
        }
        if !line.starts_with("nats req ") || !line.contains("cmd.scheduler.") {
            continue;
        }
        let mut command = line.to_owned();
        while command.ends_with('\\') || command.matches('\'').count() % 2 == 1 {
            let next = lines.next().expect("a command that ends").trim();
            command = format!("{} {next}", command.trim_end_matches('\\'));
        }
        found.push(format!("{variables}{command}"));
    }
    found
}

/// Every request that the documents show is one that the service takes, or refuses for a reason of
/// its own such as an id that is not there; never one that is malformed, unless it shows that.
#[tokio::test]
async fn the_requests_of_the_documents_are_well_formed() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut tried = BTreeMap::new();
    for file in documents() {
        let document = std::fs::read_to_string(root().join(&file)).unwrap();
        for command in documented_requests(&document) {
            // The whole reply, not what a document picks from it.
            let request = command.replacen(" --raw", "", 1);
            let request = request.split(" | jq ").next().unwrap();
            let script =
                request.replacen("nats req", "\"$NATS_CLI\" --server \"$URL\" req --raw", 1);
            let client = std::env::var("NATS_CLI").unwrap_or_else(|_| "nats".to_owned());
            let output = Command::new("sh")
                .args(["-c", &script])
                .envs([("NATS_CLI", client), ("URL", nats.url())])
                .env("XDG_CONFIG_HOME", nats.dir())
                .output()
                .unwrap();
            let reply: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{file}: {command}\n{}", text(&output)));
            // One that shows an error is there for it.
            let is_malformed = command.contains(" | jq .error");
            assert_eq!(
                reply["error"]["code"] == "invalid",
                is_malformed,
                "{file}: {command}\n{reply}"
            );
            *tried.entry(file.clone()).or_insert(0) += 1;
        }
    }
    let all: usize = tried.values().sum();
    assert!(all >= 50, "{all} requests found: {tried:?}");
    for file in
        ["README.md", "docs/api.md", "docs/concepts.md", "docs/first-steps.md", "docs/workers.md"]
    {
        assert!(tried.contains_key(file), "no requests found in {file}");
    }
}
