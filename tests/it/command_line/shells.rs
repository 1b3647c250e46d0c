//! Completion in a shell, and what the help says.

use tokio::process::Command;

use super::{cli, finish, program};
use crate::harness::{Nats, SERVICE};

/// What bash offers for a line.
async fn offered(nats: &Nats, words: &[&str]) -> Vec<String> {
    let bin = std::path::Path::new(SERVICE).parent().unwrap();
    let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "PATH={}:$PATH; source <(nats-scheduler completion bash); COMP_WORDS=(nats-scheduler {}); COMP_CWORD={}; \
         COMP_TYPE=9; $(complete -p nats-scheduler | sed 's/.* -F \\([^ ]*\\) .*/\\1/') nats-scheduler {}; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        bin.display(),
        words.join(" "),
        words.len(),
        words.last().unwrap(),
    );
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &script]).env("NATS_URL", nats.url()).env("USER", "anna");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let answer = finish(command).await;
    assert_eq!(answer.err, "", "{answer:?}");
    answer.done().lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn bash_completes_commands_options_and_names() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for name in ["hello", "hell o", "other"] {
        cli(&nats, &["create", name, "--cron", "@yearly", "-t", "cmd.example.x"]).await.done();
    }
    assert_eq!(offered(&nats, &["hist"]).await, ["history"]);
    assert_eq!(offered(&nats, &["ls", "--name"]).await, [""; 1]);
    assert_eq!(offered(&nats, &["ls", "--stat"]).await, ["--status"]);
    assert_eq!(offered(&nats, &["ls", "--status", "pau"]).await, ["paused"]);
    assert_eq!(offered(&nats, &["get", "hell"]).await, ["hello"]);
    assert_eq!(offered(&nats, &["pause", "hello", "o"]).await, ["other"]);
    // Of whoever the line says, as the command will take it.
    for name in ["hops", "h'x"] {
        let create = ["create", name, "--cron", "@yearly", "-t", "cmd.example.x"];
        cli(&nats, &[&create[..], &["--creator", "ops"]].concat()).await.done();
    }
    assert_eq!(offered(&nats, &["get", "--creator", "ops", "h"]).await, ["hops"]);
    assert_eq!(offered(&nats, &["get", "--actor", "ops", "h"]).await, ["hops"]);
    let elsewhere = Nats::bare().await;
    let there = nats.url();
    assert_eq!(offered(&elsewhere, &["get", "-s", &there, "hell"]).await, ["hello"]);
    cli(&nats, &["rm", "other"]).await.done();
    cli(&nats, &["group", "put", "database", "--limit", "1"]).await.done();
    cli(&nats, &["calendar", "put", "holidays", "--day", "2099-12-25"]).await.done();
    let job = ["create", "job", "--cron", "@yearly", "-t", "cmd.example.job", "--mode", "job"];
    cli(&nats, &job).await.done();
    let ran = cli(&nats, &["run", "job", "-o", "name"]).await.done();
    nats.wait_executions(serde_json::json!({ "status": "running" }), 1).await;
    for (line, meant) in [
        (&["restore", "o"][..], "other"),
        (&["group", "get", "d"], "database"),
        (&["ls", "--group", "da"], "database"),
        (&["calendar", "rm", "h"], "holidays"),
        (&["ls", "--calendar", "h"], "holidays"),
        (&["cancel", &ran[..8]], ran.trim()),
    ] {
        assert_eq!(offered(&nats, line).await, [meant], "{line:?}");
    }
    assert_eq!(offered(&Nats::bare().await, &["get", "hell"]).await, [""; 1], "without a service");
}

/// Subcommands that the help shows.
async fn commands() -> Vec<String> {
    let mut command = program("nats://127.0.0.1:1");
    command.arg("--help");
    let help = finish(command).await.done();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_command_of_a_client_has_examples() {
    let commands = commands().await;
    assert!(commands.len() > 25, "{commands:?}");
    for name in commands {
        if ["serve", "dev", "healthcheck", "help"].contains(&name.as_str()) {
            continue;
        }
        let mut command = program("nats://127.0.0.1:1");
        command.args([&name, "--help"]);
        let help = finish(command).await.done();
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("nats-scheduler {name}")), "{help}");
    }
}

#[tokio::test]
async fn the_document_and_the_pages_of_the_manual_are_the_help() {
    let mut command = program("nats://127.0.0.1:1");
    command.arg("reference");
    let reference = finish(command).await.done();
    let path = crate::house::structure::root().join("docs/cli.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let listed = document.split("<!-- reference -->\n").nth(1).unwrap();
    let first = reference.lines().zip(listed.lines()).find(|(line, other)| line != other);
    assert!(
        listed == reference,
        "docs/cli.md is another reference than the code, first at {first:?}. Write it again with `nats-scheduler reference`"
    );
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = program("nats://127.0.0.1:1");
    command.arg("man").arg(folder.path());
    finish(command).await.done();
    let page = std::fs::read_to_string(folder.path().join("nats-scheduler-apply.1")).unwrap();
    assert!(page.contains(".SH NAME") && page.contains("\\-\\-prune"), "{page}");
}
