//! Schedules as files: planned and applied.

use serde_json::json;

use super::meanwhile::{answered, large};
use super::{cli, fed, file, without};
use crate::harness::{Nats, wait_for};

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
    will no longer fire; its next run was 2030-02-01T06:00:00Z
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

/// A payload may be large, and two of its keys the same.
#[tokio::test]
async fn a_plan_of_a_large_payload_has_an_end() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let set = |items: std::ops::Range<u32>| {
        let items: Vec<_> = items.collect();
        let line = json!({ "name": "a", "schedule_type": "cron", "cron_expression": "@yearly",
                           "target_command": "cmd.example.x",
                           "command_payload": { "items": items, "text": "x".repeat(items.len()) } });
        file(&nats, "large.json", &line.to_string())
    };
    let path = set(0..1000);
    cli(&nats, &["apply", "-f", &path, "-y"]).await.done();
    let plan = cli(&nats, &["plan", "-f", &set(1..1002)]).await.done();
    assert_eq!(plan.lines().count(), 23, "{plan}");
    assert!(plan.contains("    and 982 more differences of command_payload\n"), "{plan}");
    assert!(plan.lines().all(|line| line.len() < 600), "{plan}");
}

/// What follows a new schedule may itself be there: it is changed at the revision that it has.
#[tokio::test]
async fn one_that_is_made_to_follow_a_new_one_is_changed() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let old = "- {name: b, schedule_type: cron, cron_expression: '@yearly', target_command: cmd.example.x}\n";
    cli(&nats, &["apply", "-f", &file(&nats, "old.yaml", old), "-y"]).await.done();
    let new = "- {name: a, schedule_type: cron, cron_expression: '@yearly', target_command: cmd.example.x}\n\
               - {name: b, schedule_type: dependent, after: {schedule_name: a}, target_command: cmd.example.x}\n";
    let path = file(&nats, "new.yaml", new);
    let plan = cli(&nats, &["plan", "-f", &path]).await.done();
    assert!(
        plan.ends_with("Plan: 1 to create, 1 to update, 0 to delete, 0 unchanged.\n"),
        "{plan}"
    );
    let (code, said) = answered(&nats, &["apply", "-f", &path], async {}).await;
    assert!(code == 0 && said.contains("1 created, 1 updated"), "{code} {said}");
}

/// Whoever applies files is told what a single change would tell.
#[tokio::test]
async fn warnings_of_what_is_applied_are_said() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let set = "- {name: a, schedule_type: cron, cron_expression: '@yearly', target_command: cmd.nowhere.x}\n";
    let path = file(&nats, "set.yaml", set);
    let warning = "no stream captures cmd.nowhere.x";
    let plan = cli(&nats, &["plan", "-f", &path]).await.done();
    assert!(plan.contains(&format!("    warning: {warning}")), "{plan}");
    let applied = cli(&nats, &["apply", "-f", &path, "-y"]).await;
    assert!(applied.err.contains(&format!("warning: a: {warning}")), "{applied:?}");
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
    let prune = ["apply", "-f", "-", "--owner", "git", "--prune", "--yes"];
    let (code, said) = fed(&nats, "", &prune).await.failed();
    assert!(code == 2 && said.contains("hint: `rm --owned-by git` deletes"), "{said}");
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
