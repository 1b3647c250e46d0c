//! What happens while a set is applied: a key, an answer that takes its time, others who change something.

use futures::future::join;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{at_terminal, cli, file, plain, program, terminal};
use crate::harness::{DEADLINE, Nats, wait_for};

/// A set that takes many requests.
pub fn large(count: usize) -> String {
    let line = |n| {
        format!(
            "{{\"name\":\"n{n}\",\"schedule_type\":\"cron\",\"cron_expression\":\"@yearly\",\"target_command\":\"cmd.example.x\"}}\n"
        )
    };
    (0..count).map(line).collect()
}

#[tokio::test]
async fn what_ctrl_c_leaves_undone_the_next_apply_does() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let gone = ["create", "gone", "--cron", "@yearly", "-t", "cmd.example.x", "--owner", "o"];
    cli(&nats, &gone).await.done();
    let path = file(&nats, "large.jsonl", &large(600));
    let apply = ["apply", "-f", &path, "--owner", "o", "--prune", "--yes", "--part", "10"];
    let mut command = program(&nats.url());
    let child = command.args(apply).spawn().unwrap();
    wait_for("the first parts", || async {
        (nats.count("SCHEDULER_AUDIT").await > 50).then_some(())
    })
    .await;
    let signal = ["-INT", &child.id().unwrap().to_string()];
    assert!(Command::new("kill").args(signal).status().await.unwrap().success());
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(said, "interrupted: apply again to do the rest\n");
    assert!(
        cli(&nats, &["get", "gone"]).await.code == 0,
        "nothing is deleted before all is applied"
    );
    let rest = cli(&nats, &apply).await.done();
    assert!(rest.contains(", 0 updated, 1 deleted, ") && !rest.starts_with("600"), "{rest}");
    let plan = ["plan", "-f", &path, "--owner", "o", "--prune", "--detailed-exitcode"];
    assert_eq!(
        cli(&nats, &plan).await.done(),
        "Plan: 0 to create, 0 to update, 0 to delete, 600 unchanged.\n"
    );
}

#[tokio::test]
async fn what_was_applied_before_ctrl_c_is_counted_one_by_one() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // Nobody owns them, so each is a request of its own, and Ctrl-C comes in the middle of a part.
    let path = file(&nats, "large.jsonl", &large(400));
    let mut command = program(&nats.url());
    let child = command.args(["apply", "-f", &path, "--yes"]).spawn().unwrap();
    wait_for("the first schedules", || async {
        (nats.count("SCHEDULER_AUDIT").await > 20).then_some(())
    })
    .await;
    let signal = ["-INT", &child.id().unwrap().to_string()];
    assert!(Command::new("kill").args(signal).status().await.unwrap().success());
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stdout).unwrap();
    let created: u64 = said.split(' ').next().unwrap().parse().unwrap();
    let there = nats.count("SCHEDULER_AUDIT").await;
    assert!(created > 0 && created <= there, "{said} of {there}");
}

/// Answers one question of a command at a terminal, once somebody has done something in the meantime.
pub async fn answered(
    nats: &Nats,
    arguments: &[&str],
    meanwhile: impl Future<Output = ()>,
) -> (i32, String) {
    let mut child = terminal(nats, arguments).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = Vec::new();
    let asked = async {
        while !String::from_utf8_lossy(&said).contains("[y/N]") {
            assert!(stdout.read_buf(&mut said).await.unwrap() > 0, "it asks before it ends");
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.unwrap();
    meanwhile.await;
    stdin.write_all(b"y\n").await.unwrap();
    tokio::time::timeout(DEADLINE, stdout.read_to_end(&mut said)).await.unwrap().unwrap();
    let code = child.wait().await.unwrap().code().unwrap();
    (code, String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn only_what_the_plan_showed_is_deleted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let owned = async |name: &str| {
        let create = ["create", name, "--cron", "@yearly", "-t", "cmd.example.x", "--owner", "o"];
        cli(&nats, &create).await.done();
    };
    owned("gone").await;
    let path = file(&nats, "one.jsonl", &large(1));
    let apply = ["apply", "-f", &path, "--owner", "o", "--prune"];
    let (code, said) = answered(&nats, &apply, owned("later")).await;
    assert!(code == 0 && said.contains("1 created, 0 updated, 1 deleted, 0 unchanged"), "{said}");
    assert_eq!(cli(&nats, &["get", "gone", "-o", "name"]).await.code, 3);
    assert_eq!(cli(&nats, &["get", "later", "-o", "name"]).await.code, 0);
}

/// A line of progress stands below what is said, and is gone when there is something else to say.
#[tokio::test]
async fn what_takes_long_says_how_far_it_is() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let more = "{\"name\":\"odd\",\"schedule_type\":\"cron\",\"cron_expression\":\"@never\",\"target_command\":\"cmd.example.x\"}\n";
    // What is refused comes last, when the line is there.
    let path = file(&nats, "large.jsonl", &(large(120) + more));
    let is_erased = |shown: &str| {
        let drawn = shown.split("\r").filter(|part| part.contains(" of 121 ["));
        drawn.clone().all(|part| part.ends_with("\u{1b}[K")) && drawn.count() > 0
    };
    let at = async |arguments: &[&str]| at_terminal(terminal(&nats, arguments)).await;
    for (owned, first) in [(&[][..], true), (&["--owner", "o", "--adopt"], false)] {
        let plan = [&["plan", "-f", &path, "--part", "40"][..], owned].concat();
        let (code, shown) = at(&plan).await;
        assert!(code == 1 && shown.contains("\rplanned 40 of 121 ["), "{shown:?}");
        assert!(is_erased(&shown), "{shown:?}");
        let apply = [&["apply", "-f", &path, "--part", "40", "--yes"][..], owned].concat();
        let (_, shown) = at(&apply).await;
        assert!(
            shown.contains("\rapplied 80 of 121 [") || shown.contains("\rapplied 40 of 121 ["),
            "{shown:?}"
        );
        assert!(shown.contains("error: ") && is_erased(&shown), "{shown:?}");
        let end = if first { "\n120 created" } else { "\n0 created, 120 updated" };
        assert!(shown.contains(end) || shown.contains(&end.replace('\n', "\u{1b}[K")), "{shown:?}");
    }
    let one = file(&nats, "one.jsonl", &large(1));
    let prune = ["apply", "-f", &one, "--owner", "o", "--prune", "--yes", "--part", "40"];
    let (code, shown) = at(&prune).await;
    assert!(code == 0 && shown.contains("\rdeleted 40 of 119 ["), "{shown:?}");
    // At a terminal an export shows itself how far it is, and in a pipe nothing is drawn.
    assert!(!at(&["export"]).await.1.contains("exported"));
    let piped = cli(&nats, &["plan", "-f", &path, "--part", "40"]).await;
    assert!(!piped.err.contains("planned"), "{}", piped.err);
}

/// Whoever answers has seen the plan, and nothing else.
#[tokio::test]
async fn what_has_changed_since_the_plan_is_not_overwritten() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for owned in [&[][..], &["--owner", "git"]] {
        let name = owned.get(1).copied().unwrap_or("none");
        let line = |n: &str, priority: u32| {
            format!(
                "- {{name: {name}-{n}, schedule_type: cron, cron_expression: '@yearly', priority: {priority}, target_command: cmd.example.x}}\n"
            )
        };
        let path = file(&nats, "set.yaml", &(line("fixed", 5) + &line("same", 5)));
        let apply = [&["apply", "-f", &path][..], owned].concat();
        cli(&nats, &[&apply[..], &["--yes"]].concat()).await.done();
        let text = line("fixed", 7) + &line("same", 5) + &line("new", 5) + &line("fine", 5);
        file(&nats, "set.yaml", &text);
        let meanwhile = async {
            for n in ["fixed", "same"] {
                let name = format!("{name}-{n}");
                let fix =
                    json!({ "schedule_name": name, "creator": "anna", "description": "hot fix" });
                nats.ask("schedule.update", fix).await;
            }
            let new = [&["create", &format!("{name}-new"), "--now", "-t", "cmd.example.y"], owned];
            cli(&nats, &new.concat()).await.done();
        };
        let (code, said) = answered(&nats, &apply, meanwhile).await;
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("1 created, 0 updated, 0 deleted, 0 unchanged, 3 refused"), "{said}");
        assert!(said.contains("hint: look at what it is now, and decide again"), "{said}");
        for (n, field, is) in [
            ("fixed", "description", "\"hot fix\""),
            ("fixed", "priority", "5"),
            ("same", "description", "\"hot fix\""),
            ("new", "schedule_type", "\"immediate\""),
            ("fine", "priority", "5"),
        ] {
            let name = format!("{name}-{n}");
            let asked = json!({ "schedule_name": name, "creator": "anna" });
            let schedule = nats.ask("schedule.get", asked).await;
            assert_eq!(schedule[field].to_string(), is, "{name}: {schedule}");
        }
        // Looked at again, it is applied.
        let again = [&apply[..], &["--yes"]].concat();
        assert!(cli(&nats, &again).await.done().contains(", 3 updated, "));
    }
}

#[tokio::test]
async fn two_may_apply_the_same_files_at_once() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    cli(&nats, &["create", "gone", "--now", "-t", "cmd.example.x", "--owner", "o"]).await.done();
    let path = file(&nats, "large.jsonl", &large(150));
    let apply = ["apply", "-f", &path, "--owner", "o", "--prune", "--yes", "--part", "20"];
    let (one, other) = join(cli(&nats, &apply), cli(&nats, &apply)).await;
    for answer in [&one, &other] {
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{answer:?}");
    }
    let listed = cli(&nats, &["ls", "--all", "--owned-by", "o", "-o", "name"]).await.done();
    assert_eq!(listed.lines().count(), 150, "{}", plain(&listed));
}
