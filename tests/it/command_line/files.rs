//! Schedules as files: planned, applied, exported.

use futures::future::join;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{at_terminal, cli, fed, file, plain, program, terminal, without};
use crate::harness::{DEADLINE, Nats, in_ms, wait_for};

/// Schedules of all kinds, with payloads that a careless reader would change.
pub fn of_all_kinds() -> Vec<Value> {
    let create = |name: &str, fields: Value| {
        let mut request =
            json!({ "name": name, "target_command": "cmd.example.x", "created_by": "anna" });
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        request
    };
    vec![
        create(
            "cron",
            json!({ "schedule_type": "cron", "cron_expression": "H 2 * * MON-FRI", "timezone": "Europe/Berlin",
            "dst_gap": "skip", "dst_overlap": "both", "jitter_seconds": 60, "end_at": "2099-01-01T00:00:00Z", "max_runs": 9,
            "owner": "git", "tags": ["a: b", "true", "1"], "description": "two\nlines # no comment" }),
        ),
        create(
            "interval",
            json!({ "schedule_type": "interval", "interval_seconds": 3600, "priority": 9, "overlap": "allow",
            "start_at": "2026-01-01T00:00:00.5Z", "max_retries": 0, "retry": { "initial_seconds": 7, "non_retryable": ["Bad"] },
            "dead_letter": "cmd.example.dead", "pause_on_failure": 5, "failing_after": 2, "expect_success_within_seconds": 60 }),
        ),
        create(
            "once",
            json!({ "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000), "payload_template": true,
            "command_payload": { "id": "${execution_id}" }, "catch_up": "none", "misfire_grace_seconds": 7 }),
        ),
        create("immediate", json!({ "schedule_type": "immediate", "retry_delay_seconds": 5 })),
        create(
            "follows",
            json!({ "schedule_type": "dependent", "after": { "schedule_name": "cron", "on": "completion" },
            "delivery": { "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 9 } }),
        ),
        create(
            "yes: [no] # ~",
            json!({ "schedule_type": "cron", "cron_expression": "@daily", "created_by": "bob's" }),
        ),
        create(
            "東京 \u{202e}abc",
            json!({ "schedule_type": "cron", "cron_expression": "@hourly", "owner": "其他" }),
        ),
    ]
}

/// Files say what is off, and a pause is no part of them.
#[tokio::test]
async fn what_is_off_is_exported_and_what_is_paused_is_said() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create = |name: &'static str, more: &'static [&'static str]| {
        let create = ["create", name, "--cron", "@yearly", "-t", "cmd.example.x"];
        cli(&nats, &[&create[..], more].concat())
    };
    create("off", &["--set", "is_active=false"]).await.done();
    create("on", &[]).await.done();
    for n in ["p1", "p2", "p3", "p4", "p5", "p6"] {
        create(n, &[]).await.done();
        cli(&nats, &["pause", n]).await.done();
    }
    let exported = cli(&nats, &["export", "off", "on"]).await;
    assert_eq!((exported.code, exported.err.as_str()), (0, ""));
    assert_eq!(exported.out.matches("is_active: false\n").count(), 1, "{}", exported.out);
    assert!(!exported.out.contains("is_active: true"), "{}", exported.out);
    cli(&nats, &["rm", "off", "--hard", "--yes"]).await.done();
    let apply = ["apply", "-f", "-", "--yes"];
    let applied = fed(&nats, exported.out.clone(), &apply).await.done();
    assert_eq!(applied, "1 created, 0 updated, 0 deleted, 1 unchanged\n");
    assert_eq!(cli(&nats, &["ls", "--off", "-o", "name"]).await.done(), "off\n");
    let on = exported.out.replace("is_active: false", "is_active: true");
    let plan = fed(&nats, on, &["plan", "-f", "-"]).await.done();
    assert!(plan.starts_with("~ off of anna\n    is_active: false -> true\n"), "{plan}");
    let all = cli(&nats, &["export"]).await;
    assert_eq!(all.err, "6 are paused, which files do not say: p1, p2, p3, p4, p5 and 1 more\n");
    let plan = fed(&nats, all.out, &["plan", "-f", "-"]).await.done();
    assert!(plan.ends_with(", 8 unchanged.\n"), "{plan}");
}

/// Each part of a set is a request of its own, which knows nothing of the others.
#[tokio::test]
async fn a_plan_knows_the_limit_of_a_creator_over_all_its_parts() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "12")]).await;
    cli(&nats, &["create", "there", "--cron", "@yearly", "-t", "cmd.example.x"]).await.done();
    let path = file(&nats, "large.jsonl", &large(40));
    for owned in [&[][..], &["--owner", "o"]] {
        let plan = [&["plan", "-f", &path, "--part", "10"][..], owned].concat();
        let planned = cli(&nats, &plan).await;
        let end = "Plan: 11 to create, 0 to update, 0 to delete, 0 unchanged, 29 refused.\n";
        assert!(planned.code == 1 && planned.out.ends_with(end), "{planned:?}");
        assert!(planned.out.contains("MAX_SCHEDULES_PER_CREATOR"), "{planned:?}");
    }
    let apply = ["apply", "-f", &path, "--part", "10", "--yes"];
    let applied = cli(&nats, &apply).await;
    assert_eq!(applied.code, 1);
    assert_eq!(applied.out, "11 created, 0 updated, 0 deleted, 0 unchanged, 29 refused\n");
    assert!(applied.err.ends_with("and 9 more were refused\n"), "{}", applied.err);
    let one = ["create", "over", "--cron", "@yearly", "-t", "cmd.example.x", "--dry-run"];
    let (code, said) = cli(&nats, &one).await.failed();
    assert!(code == 1 && said.contains("which is the limit"), "{said}");
}

/// A payload whose digits and keys are in an order of their own.
const PAYLOAD: &str = r#"{"z":1.10,"a":123456789012345678901234567890,"e":1E400,"y":"on","n":"\u0000\u202e\"","deep":{"b":[1.0,[]]}}"#;

#[tokio::test]
async fn what_is_exported_is_what_there_is() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for request in of_all_kinds() {
        nats.create(request).await;
    }
    cli(&nats, &["create", "digits", "--cron", "@yearly", "-t", "cmd.example.x", "-p", PAYLOAD])
        .await
        .done();
    let yaml = cli(&nats, &["export"]).await.done();
    assert_eq!(yaml.matches("---\n").count(), 7);
    let digits = r#"command_payload: {"z": 1.10, "a": 123456789012345678901234567890, "e": 1E400, "y": "on","#;
    assert!(yaml.contains(digits), "{yaml}");
    assert!(
        yaml.contains("after:\n  schedule_name: cron\n  creator: anna\n  \"on\": completion\n"),
        "{yaml}"
    );
    let json = cli(&nats, &["export", "-o", "json"]).await.done();
    let lines: Vec<Value> = serde_json::from_str(&json.replace("1E400", "1")).unwrap();
    assert_eq!(lines.len(), 8);
    for (exported, what) in [(yaml.clone(), "YAML"), (json, "JSON")] {
        let plan = fed(&nats, exported, &["plan", "-f", "-", "--detailed-exitcode"]).await;
        assert_eq!(
            plan.out, "Plan: 0 to create, 0 to update, 0 to delete, 8 unchanged.\n",
            "{what}: {}",
            plan.err
        );
        assert_eq!(plan.code, 0);
    }
    // Somewhere else the same files make the same schedules.
    let other = Nats::start().await;
    let _other = other.service().await;
    let applied = fed(&other, yaml.clone(), &["apply", "-f", "-", "--yes"]).await.done();
    assert_eq!(applied, "8 created, 0 updated, 0 deleted, 0 unchanged\n");
    assert_eq!(cli(&other, &["export"]).await.done(), yaml);
    let payload = cli(&other, &["get", "digits", "-o", "json"]).await.done();
    assert!(payload.contains("\"e\": 1E400,\n    \"y\": \"on\""), "{payload}");
}

const SET: &str = "\
# Schedules of the reports
- name: rollup
  schedule_type: cron
  cron_expression: 0 3 1 1 *
  start_at: \"2030-01-01T00:00:00Z\"
  target_command: cmd.report.build
- name: mail
  schedule_type: dependent
  after: {schedule_name: rollup}
  target_command: cmd.notification.mail
- name: weekly
  schedule_type: cron
  cron_expression: 0 6 1 2 *
  start_at: \"2030-01-01T00:00:00Z\"
  target_command: cmd.report.build
";

#[tokio::test]
async fn a_plan_says_what_applying_does() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULE_LOOKAHEAD_DAYS", "3650")]).await;
    let set = file(&nats, "set/reports.yaml", SET);
    let folder = nats.dir().join("set").display().to_string();
    let owned = ["--owner", "git", "--prune"];
    let plan = |more: &'static [&'static str]| {
        [&["plan", "-f", folder.as_str()], &owned[..], more].concat()
    };
    let first = cli(&nats, &plan(&["--detailed-exitcode", "--times", "1"])).await;
    assert_eq!(first.code, 6, "{}", first.err);
    assert_eq!(
        first.out,
        "+ rollup of anna
    sends cmd.report.build
    fires at 03:00 on the 1st of January (UTC), from 2030-01-01T00:00:00Z: 2030-01-01T03:00:00Z
+ mail of anna
    sends cmd.notification.mail
    follows rollup
+ weekly of anna
    sends cmd.report.build
    fires at 06:00 on the 1st of February (UTC), from 2030-01-01T00:00:00Z: 2030-02-01T06:00:00Z
Plan: 3 to create, 0 to update, 0 to delete, 0 unchanged.
"
    );
    let (code, said) = cli(&nats, &["apply", "-f", &folder]).await.failed();
    assert!(code == 2 && said.contains("hint: look at `plan`, and apply with --yes"), "{said}");
    let apply = [&["apply", "-f", folder.as_str(), "--yes"], &owned[..]].concat();
    assert_eq!(cli(&nats, &apply).await.done(), "3 created, 0 updated, 0 deleted, 0 unchanged\n");
    let nothing = cli(&nats, &plan(&["--detailed-exitcode"])).await.done();
    assert_eq!(nothing, "Plan: 0 to create, 0 to update, 0 to delete, 3 unchanged.\n");

    // One is gone, one is new, one is changed and one cannot be.
    let changed = SET.replace("0 3 1 1 *", "30 2 1 1 *").replace("name: weekly", "name: yearly");
    file(&nats, "set/reports.yaml", &(changed.clone() + "  priority: 11\n"));
    let refused = cli(&nats, &plan(&["--times", "1"])).await;
    assert_eq!(refused.code, 1);
    assert_eq!(
        without(&refused.out, nats.dir()),
        "~ rollup of anna
    cron_expression: \"0 3 1 1 *\" -> \"30 2 1 1 *\"
    fired at 03:00 on the 1st of January (UTC), from 2030-01-01T00:00:00Z: 2030-01-01T03:00:00Z
    fires now at 02:30 on the 1st of January (UTC), from 2030-01-01T00:00:00Z: 2030-01-01T02:30:00Z
! yearly of anna
    set/reports.yaml:11: priority: must be 1 to 10
- weekly of anna
    fires no more; next was 2030-02-01T06:00:00Z
Plan: 0 to create, 1 to update, 1 to delete, 1 unchanged, 1 refused.
"
    );
    let kept = cli(&nats, &apply).await;
    assert_eq!(
        (kept.code, kept.out.as_str()),
        (1, "0 created, 1 updated, 0 deleted, 1 unchanged, 1 refused\n")
    );
    assert!(
        kept.err.ends_with("nothing was deleted, since not everything could be applied\n"),
        "{}",
        kept.err
    );
    file(&nats, "set/reports.yaml", &changed);
    assert_eq!(cli(&nats, &apply).await.done(), "1 created, 0 updated, 1 deleted, 2 unchanged\n");
    let steps = cli(&nats, &plan(&["-o", "json"])).await.json();
    assert_eq!(steps[0]["action"], "unchanged");

    let theirs = cli(&nats, &["plan", "-f", &set, "--owner", "others"]).await;
    assert!(theirs.code == 4 && theirs.out.contains("belongs to owner \"git\""), "{theirs:?}");
}

/// A plan is there to be reviewed, and the service says of a payload only that it changes.
#[tokio::test]
async fn a_changed_payload_is_shown_by_its_paths() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let set = |payload: &str| {
        let text = format!(
            "- name: a\n  schedule_type: cron\n  cron_expression: '@yearly'\n  target_command: cmd.example.x\n  \
             command_payload: {payload}\n"
        );
        file(&nats, "set.yaml", &text)
    };
    for owned in [&[][..], &["--owner", "git", "--adopt"]] {
        let path = set(r#"{"limit": 1.10, "to": [{"mail": "a@b.c"}], "gone": true}"#);
        cli(&nats, &[&["apply", "-f", &path, "--yes"][..], owned].concat()).await.done();
        set(r#"{"to": [{"mail": "x\u202e"}, {"key.with": null}], "limit": 1.20}"#);
        let plan = [&["plan", "-f", &path][..], owned].concat();
        assert_eq!(
            cli(&nats, &plan).await.done(),
            r#"~ a of anna
    command_payload.to[0].mail: "a@b.c" -> "x\u202e"
    command_payload.to[1]: nothing -> {"key.with":null}
    command_payload.limit: 1.10 -> 1.20
    command_payload.gone: true -> nothing
Plan: 0 to create, 1 to update, 0 to delete, 0 unchanged.
"#
        );
        let hidden = cli(&nats, &[&plan[..], &["--hide-payloads"]].concat()).await.done();
        assert!(hidden.contains("    command_payload: \"sha256:"), "{hidden}");
        assert!(!hidden.contains("a@b.c") && !hidden.contains("1.20"), "{hidden}");
    }
}

#[tokio::test]
async fn files_may_be_json_lines_and_their_faults_have_places() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let lines: String = (0..120)
        .map(|n| format!("{{\"name\":\"n{n}\",\"schedule_type\":\"cron\",\"cron_expression\":\"@yearly\",\"target_command\":\"cmd.example.x\"}}\n"))
        .collect();
    let path = file(&nats, "many.jsonl", &lines);
    let applied =
        cli(&nats, &["apply", "-f", &path, "--owner", "o", "-y", "--part", "50"]).await.done();
    assert_eq!(applied, "120 created, 0 updated, 0 deleted, 0 unchanged\n");
    let again =
        cli(&nats, &["apply", "-f", &path, "--owner", "o", "-y", "-o", "json"]).await.json();
    assert_eq!(
        again,
        json!({ "created": 0, "updated": 0, "unchanged": 120, "deleted": 0, "refused": 0 })
    );
    let plan = cli(&nats, &["plan", "-f", &path, "--owner", "o", "-o", "name"]).await.done();
    assert_eq!(plan, "", "only what changes has a name");
    for (name, text, fault) in [
        ("a.yaml", "name: a\nname: b\n", "a.yaml: line 2: the key \"name\" is there twice"),
        (
            "b.yaml",
            "- name: a\n  priority: 0x5\n",
            "b.yaml: line 2: 0x5 is no number that JSON has",
        ),
        ("c.json", "{\"name\":\"a\"}\n{", "c.json: EOF while parsing"),
        ("d.yaml", "- name: a\n- name: a\n", "d.yaml:2: \"a\" is in"),
        ("e.yaml", "owner: git\n", "e.yaml:1: name: is required"),
        ("f.yaml", "# nothing\n", "there are no schedules in these files"),
    ] {
        let path = file(&nats, name, text);
        let (code, said) = cli(&nats, &["plan", "-f", &path]).await.failed();
        assert!(code == 2 && said.contains(fault), "{name}: {said}");
    }
    let schema = cli(&nats, &["schema"]).await.json();
    let fields = &schema["$defs"]["CreateSchedule"];
    assert_eq!(fields["required"], json!(["name", "schedule_type", "target_command"]));
    assert_eq!(fields["additionalProperties"], false);
    assert!(fields["properties"]["delivery"].is_object(), "{fields}");
}

/// Whoever applies the files of an owner, the schedules stay those that they are.
#[tokio::test]
async fn a_set_is_the_same_whoever_applies_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let set = "- {name: a, schedule_type: cron, cron_expression: '@yearly', target_command: cmd.example.x}\n\
               - {name: b, schedule_type: dependent, after: {schedule_name: a}, target_command: cmd.example.x}\n";
    let path = file(&nats, "set.yaml", set);
    let apply = |actor: &'static str| {
        ["apply", "-f", &path, "--owner", "git", "--prune", "--yes", "--actor", actor]
            .map(str::to_owned)
    };
    let applied = async |actor| {
        let arguments = apply(actor);
        cli(&nats, &arguments.each_ref().map(String::as_str)).await
    };
    assert_eq!(applied("bob").await.done(), "2 created, 0 updated, 0 deleted, 0 unchanged\n");
    assert_eq!(applied("eve").await.done(), "0 created, 0 updated, 0 deleted, 2 unchanged\n");
    let more = format!(
        "{set}- {{name: c, schedule_type: cron, cron_expression: '@yearly', target_command: cmd.example.x}}\n"
    );
    file(&nats, "set.yaml", &more);
    assert_eq!(applied("eve").await.done(), "1 created, 0 updated, 0 deleted, 2 unchanged\n");
    let listed = cli(&nats, &["ls", "--creator", "eve", "-o", "name"]).await.done();
    assert_eq!(listed, "c\n");
    // What says whose it is means that one.
    let theirs = ["plan", "-f", &path, "--owner", "git", "--creator", "eve", "-o", "name"];
    assert_eq!(cli(&nats, &theirs).await.done(), "a\nb\n");
    let mine = more.replace("{name: a,", "{name: a, created_by: eve,");
    let mine = file(&nats, "mine.yaml", &mine);
    let both = ["apply", "-f", &mine, "--owner", "git", "--yes"];
    assert!(cli(&nats, &both).await.done().starts_with("1 created"));
    let unclear = cli(&nats, &["plan", "-f", &path, "--owner", "git"]).await;
    assert_eq!(unclear.code, 2, "{unclear:?}");
    assert!(unclear.err.contains("git has \"a\" of several creators: "), "{unclear:?}");
    assert!(unclear.err.contains("bob") && unclear.err.contains("eve"), "{unclear:?}");
}

#[tokio::test]
async fn a_payload_that_yaml_cannot_say_is_left_out_alone() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create = |name: &'static str, payload: &'static str| {
        cli(&nats, &["create", name, "--cron", "@yearly", "-t", "cmd.example.x", "-p", payload])
    };
    create("fine", r#"{"a":1}"#).await.done();
    create("twice", r#"{"deep":[{"a":1,"a":2}]}"#).await.done();
    let yaml = cli(&nats, &["export"]).await;
    assert_eq!(yaml.code, 1, "{yaml:?}");
    let said = "error: twice of anna: left out: it has the key \"a\" twice in one object";
    assert!(yaml.err.starts_with(said), "{yaml:?}");
    let plan = fed(&nats, yaml.out, &["plan", "-f", "-"]).await.done();
    assert_eq!(plan, "Plan: 0 to create, 0 to update, 0 to delete, 1 unchanged.\n");
    let json = cli(&nats, &["export", "-o", "json"]).await.done();
    let plan = fed(&nats, json, &["plan", "-f", "-"]).await.done();
    assert_eq!(plan, "Plan: 0 to create, 0 to update, 0 to delete, 2 unchanged.\n");
    let edited = cli(&nats, &["edit", "twice", "--yes"]).await;
    assert_eq!(edited.code, 2, "no editor can help: {edited:?}");
    assert!(edited.err.contains("the key \"a\" twice"), "{edited:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_not_by_its_place_in_a_request() {
    let nats = Nats::bare().await;
    let create = ["create", "x", "--cron", "@yearly", "-t", "cmd.a.b", "--set"];
    let path = file(&nats, "a.yaml", "name: a\ncron_expresion: '@yearly'\npriority: high\n");
    let missing = nats.dir().join("none").display().to_string();
    for (arguments, said) in [
        ([&create[..], &["priority=high"]].concat(), "error: priority: must be a whole number"),
        ([&create[..], &["overlap=never"]].concat(), "error: overlap: must be one of skip, "),
        (
            [&create[..], &["max_run=3"]].concat(),
            "max_run: is not a field of a schedule; did you mean max_runs?",
        ),
        ([&create[..], &["name=y"]].concat(), "error: name: is given more than once"),
        (
            vec!["plan", "-f", &path],
            "a.yaml:1: cron_expresion: is not a field of a schedule; did you mean cron_expression?",
        ),
        (vec!["plan", "-f", &path], "; priority: must be a whole number from 1 to 10"),
        (vec!["man", &missing], &missing),
    ] {
        let (code, err) = cli(&nats, &arguments).await.failed();
        assert!(code == 2 && err.contains(said), "{arguments:?}: {code} {err}");
        assert!(!err.contains("column"), "{err}");
    }
}

/// A set that takes many requests.
fn large(count: usize) -> String {
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

/// Answers one question of a command at a terminal, once somebody has done something in the meantime.
async fn answered(
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

#[tokio::test]
async fn a_crontab_becomes_files_that_can_be_applied() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let crontab =
        "CRON_TZ=Europe/Berlin\n0 2 * * 1-5 /usr/bin/backup --all\n@reboot start\n".to_owned();
    let imported =
        fed(&nats, crontab, &["import", "crontab", "-", "-t", "cmd.example.{name}"]).await;
    assert_eq!(imported.code, 1, "one is left out");
    assert_eq!(imported.err, "line 2: backup\nline 3: left out: @reboot is no time\n");
    let yaml = "name: backup\nschedule_type: cron\ncron_expression: \"0 2 * * 1-5\"\ntimezone: Europe/Berlin\n\
                target_command: cmd.example.backup\ncommand_payload: {\"command\": \"/usr/bin/backup --all\"}\n";
    assert_eq!(imported.out, yaml);
    let applied = fed(&nats, imported.out, &["apply", "-f", "-", "--yes"]).await.done();
    assert_eq!(applied, "1 created, 0 updated, 0 deleted, 0 unchanged\n");
}

/// A pipeline applies what others created: theirs it stays, and the audit shows the pipeline.
#[tokio::test]
async fn who_applies_is_who_acts_and_files_say_whose_schedules_they_are() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let file_of = |owner: &str, priority: u32| {
        let text = format!(
            "name: nightly {owner}\ncreated_by: bob\nschedule_type: cron\ncron_expression: \"@yearly\"\n\
             target_command: cmd.example.x\npriority: {priority}\n"
        );
        file(&nats, "one.yaml", &text)
    };
    // One by one, and as a set of an owner.
    for more in [&[][..], &["--owner", "git", "--prune"]] {
        let owner = more.get(1).copied().unwrap_or_default();
        for priority in [1, 2] {
            let path = file_of(owner, priority);
            let apply = [&["apply", "-f", &path, "--yes", "--actor", "ci"][..], more].concat();
            cli(&nats, &apply).await.done();
        }
        let name = format!("nightly {owner}").trim().to_owned();
        let get = ["get", &name, "--creator", "bob", "-o", "json"];
        let schedule = cli(&nats, &get).await.json();
        assert_eq!(
            (&schedule["created_by"], &schedule["updated_by"], &schedule["priority"]),
            (&json!("bob"), &json!("ci"), &json!(2)),
            "{schedule}"
        );
    }
    // A pruned one is deleted by who prunes it.
    let empty = file(
        &nats,
        "empty.yaml",
        "name: another\nschedule_type: cron\ncron_expression: \"@yearly\"\ntarget_command: cmd.example.x\n",
    );
    let prune = ["apply", "-f", &empty, "--yes", "--actor", "ci", "--owner", "git", "--prune"];
    cli(&nats, &prune).await.done();
    let events = wait_for("all events", || async {
        let events = nats.ask("audit.list", json!({ "actor": "ci" })).await;
        (events.as_array().unwrap().len() == 6).then_some(events)
    })
    .await;
    assert_eq!(
        events.as_array().unwrap().iter().filter(|it| it["event"] == "deleted").count(),
        1,
        "{events}"
    );
    assert_eq!(nats.ask("audit.list", json!({ "actor": "bob" })).await, json!([]));
}
