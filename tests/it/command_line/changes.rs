//! Commands that change schedules and executions, and the exit codes of all.

use serde_json::{Value, json};

use super::{cli, fed, file, finish, plain, program, words};
use crate::harness::{DEADLINE, Nats, wait_for};

#[tokio::test]
async fn a_schedule_is_created_as_it_was_asked_for() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let arguments = [
        "create",
        "nightly",
        "--cron",
        "0 2 1 1 *",
        "-z",
        "Europe/Berlin",
        "-t",
        "cmd.report.build",
        "-p",
        r#"{"z":1.10,"a":[]}"#,
        "--tag",
        "a",
        "--tag",
        "b",
        "--owner",
        "git",
        "--mode",
        "job",
        "--set",
        "overlap=allow",
        "--set",
        r#"retry={"multiplier":3}"#,
        "--set",
        "max_runs=7",
        "-d",
        "each night",
    ];
    let dry = cli(&nats, &[&arguments[..], &["--dry-run"]].concat()).await.done();
    assert!(plain(&dry).starts_with("would create nightly (<id>), next at <time> (in "), "{dry}");
    assert_eq!(cli(&nats, &["ls"]).await.err, "no schedules\n");
    let created = cli(&nats, &[&arguments[..], &["-o", "json"]].concat()).await;
    assert!(created.out.contains("1.10"), "{created:?}");
    let created = created.json();
    for (field, value) in [
        ("cron_expression", json!("0 2 1 1 *")),
        ("timezone", json!("Europe/Berlin")),
        ("tags", json!(["a", "b"])),
        ("owner", json!("git")),
        ("overlap", json!("allow")),
        ("max_runs", json!(7)),
        ("description", json!("each night")),
        ("created_by", json!("anna")),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    assert_eq!(
        (&created["retry"]["multiplier"], &created["delivery"]["mode"]),
        (&json!(3.0), &json!("job"))
    );
    let (code, said) = cli(&nats, &arguments).await.failed();
    assert!(code == 4 && said.contains("already"), "{said}");
    let (code, _) = cli(&nats, &[&arguments[..], &["--dry-run"]].concat()).await.failed();
    assert_eq!(code, 4, "a dry run sees it too");

    let body = file(&nats, "body.json", "{\"n\": 1}\n");
    let target = ["-t", "cmd.example.x", "-o", "json"];
    for (name, more, field, value) in [
        (
            "often",
            &["--every", "1h30m", "-p", &format!("@{body}")][..],
            "interval_seconds",
            json!(5400),
        ),
        ("once", &["--at", "in 2h"], "schedule_type", json!("one_time")),
        ("now", &["--now"], "schedule_type", json!("immediate")),
        ("then", &["--after", "nightly", "--on", "failure"], "schedule_type", json!("dependent")),
    ] {
        let created = cli(&nats, &[&["create", name], more, &target[..]].concat()).await.json();
        assert_eq!(created[field], value, "{created}");
    }
    let from_stdin = ["create", "fed", "--now", "-p", "-", "-t", "cmd.example.x", "-o", "json"];
    let fed =
        fed(&nats, "{\"big\":123456789012345678901234567890}".to_owned(), &from_stdin).await.done();
    assert!(fed.contains("123456789012345678901234567890"), "{fed}");
    let lost = cli(&nats, &["create", "lost", "--now", "-t", "cmd.billing.charge"]).await;
    assert!(lost.code == 0 && lost.err.starts_with("warning: no stream captures"), "{lost:?}");
}

#[tokio::test]
async fn schedules_are_paused_run_and_deleted_by_their_names() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for name in ["one", "two", "three"] {
        let arguments =
            ["create", name, "--cron", "0 0 1 1 *", "-t", "cmd.example.x", "--tag", name];
        cli(&nats, &arguments).await.done();
    }
    let ran = cli(&nats, &["run", "one", "two", "--wait"]).await.done();
    let lines: Vec<_> = ran.lines().collect();
    assert!(lines[0].starts_with("one: execution ") && lines[0].contains(" success in "), "{ran}");
    assert!(lines[1].starts_with("two: ") && lines.len() == 2, "{ran}");
    let paused =
        cli(&nats, &["pause", "one", "nothing", "two", "--reason", "release", "--for", "2h"]).await;
    assert_eq!(plain(&paused.out), "paused one (<id>)\npaused two (<id>)\n");
    assert_eq!(paused.code, 3);
    assert!(
        paused
            .err
            .starts_with("error: nothing: creator \"anna\" has no schedule named \"nothing\""),
        "{}",
        paused.err
    );
    let dry = cli(&nats, &["resume", "one", "two", "three", "--dry-run"]).await;
    assert_eq!((dry.code, dry.out.as_str()), (1, "2 of 3 schedules would be resumed\n"));
    assert_eq!(
        cli(&nats, &["resume", "--tag", "one", "--yes"]).await.done(),
        "1 of 1 schedules resumed\n"
    );
    let (code, said) = cli(&nats, &["resume", "one"]).await.failed();
    assert!(code == 1 && said.contains("is not paused"), "{said}");
    let (code, said) = cli(&nats, &["rm", "one", "--revision", "1"]).await.failed();
    assert!(code == 4 && said.contains("hint: look at what it is now"), "{said}");

    let removed = cli(&nats, &["rm", "one", "two"]).await.done();
    assert_eq!(
        plain(&removed),
        "deleted one, can be restored until <time>\ndeleted two, can be restored until <time>\n"
    );
    assert!(
        plain(&cli(&nats, &["restore", "one"]).await.done())
            .starts_with("restored one (<id>), next at <time>")
    );
    assert_eq!(cli(&nats, &["rm", "--hard", "three"]).await.done(), "deleted three for good\n");
    let (code, said) = cli(&nats, &["rm", "--prefix", "o"]).await.failed();
    assert!(
        code == 2
            && said.starts_with("error: cannot ask \"delete 1 schedule?\": standard input is not a terminal\nhint: --yes"),
        "{said}"
    );
    let (code, said) = cli(&nats, &["rm"]).await.failed();
    assert!(code == 2 && said.contains("nothing says which schedules"), "{said}");
    let bob = ["pause", "one", "--creator", "bob", "--actor", "carla"];
    let (code, said) = cli(&nats, &bob).await.failed();
    assert!(
        code == 3 && said.contains("hint: \"anna\" has one of that name: --creator says whose"),
        "{said}"
    );
}

/// Waits until a rerun has ended.
async fn ended(nats: &Nats, rerun: &str) {
    wait_for("the end of the rerun", || async {
        let shown = cli(nats, &["rerun", "get", rerun]).await.done();
        shown.contains("done").then_some(())
    })
    .await;
}

#[tokio::test]
async fn executions_are_awaited_run_again_and_cancelled() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let request =
        ["create", "ask", "--cron", "0 0 1 1 *", "-t", "cmd.nobody.listens", "--mode", "request"];
    cli(
        &nats,
        &[&request[..], &["--set", "max_retries=1", "--set", "retry_delay_seconds=0"]].concat(),
    )
    .await
    .done();
    let (code, _) = cli(&nats, &["run", "ask", "--wait=20s"]).await.failed();
    assert_eq!(code, 1, "it failed, with all its retries");
    let failed = nats.wait_executions(json!({ "status": "failed" }), 2).await;
    let (last, first) = (failed[0]["id"].as_str().unwrap(), failed[1]["id"].as_str().unwrap());
    let (code, said) = cli(&nats, &["retry", first]).await.failed();
    assert!(code == 1 && said.contains("another attempt"), "{said}");
    let dry = cli(&nats, &["retry", last, "--dry-run"]).await.done();
    assert_eq!(
        plain(&dry),
        "<id>: would run ask again, to cmd.nobody.listens, with the payload that it sent\n"
    );
    let dry = ["retry", last, "--dry-run", "--current", "-o", "json"];
    let dry = cli(&nats, &dry).await.json();
    assert_eq!(
        (&dry["dry_run"], &dry["payload"], &dry["execution_id"]),
        (&json!(true), &json!("current"), &Value::Null),
        "{dry}"
    );
    let (code, said) = cli(&nats, &["retry", first, "--dry-run"]).await.failed();
    assert!(code == 1 && said.contains("another attempt"), "{said}");
    let open = nats.ask("execution.running", json!({ "include_pending": true })).await;
    assert_eq!(open, json!([]), "nothing was run");
    let again = cli(&nats, &["retry", last]).await.done();
    assert!(plain(&again).starts_with("<id>: requested execution <id>\n"), "{again}");
    let many = cli(&nats, &["retry", "--failed", "--schedule", "ask", "--dry-run"]).await.done();
    assert!(many.contains(" executions would be run again\n"), "{many}");
    // Those that failed are the only ones.
    let several = ["retry", "--failed", "--status", "skipped,cancelled", "--dry-run"];
    let several = cli(&nats, &several).await.done();
    assert_eq!(several, "0 of 0 executions would be run again\n");
    let several = ["retry", "--failed", "--status", "failed", "--status", "cancelled", "--dry-run"];
    let several = cli(&nats, &several).await.done();
    assert!(
        several.contains(" executions would be run again\n") && !several.starts_with('0'),
        "{several}"
    );
    for more in [&[][..], &["--in-background"]] {
        let retry =
            [&["retry", "--failed", "--schedule", "ask", "--creator", "anna"], more].concat();
        let (code, said) = cli(&nats, &retry).await.failed();
        assert!(code == 2 && said.contains("cannot ask \"run "), "{said}");
    }
    // Two or more match: the first, and the one that was run again.
    let one = ["retry", "--failed", "--schedule", "ask", "--in-background", "--yes", "-n", "1"];
    let one = cli(&nats, &one).await.done();
    let said = plain(&one);
    assert!(said.starts_with("up to 1 of ") && said.ends_with(" again: rerun <id>\n"), "{said}");
    ended(&nats, one.trim().rsplit(' ').next().unwrap()).await;
    let stored =
        ["retry", "--failed", "--schedule", "ask", "--in-background", "--yes", "-o", "name"];
    let rerun = cli(&nats, &stored).await.done();
    ended(&nats, rerun.trim()).await;
    let shown = cli(&nats, &["rerun", "ls", "-o", "name", "-n", "1"]).await.done();
    assert_eq!(shown, rerun);
    // How many had failed by then depends on how fast a machine is.
    let rerun_of =
        async |command: &[&str]| words(&cli(&nats, &[&["rerun"], command].concat()).await.done());
    let count = cli(&nats, &["rerun", "get", rerun.trim(), "-o", "json"]).await.json();
    let (matched, again) = (&count["matched"], &count["retried"]);
    assert_eq!(
        rerun_of(&["ls", "-n", "1"])
            .await
            .replace(&format!(" | {matched} | {again} | "), " | N | N | "),
        "RERUN | STATUS | MATCHED | RUN AGAIN | REFUSED | REQUESTED | BY\n<id> | done | N | N | 0 | <time> | anna"
    );
    let got = rerun_of(&["get", rerun.trim()]).await;
    let passed_over = &count["passed_over"];
    assert_eq!(
        got,
        format!(
            "rerun: | <id>\nstatus: | done\nmatched: | {matched}\nrun again: | {again}\nrefused: | 0\n\
             passed over: | {passed_over}\nwaits for: | -\nrefusals: | -\nrequested: | <time>\nrequested by: | anna\n\
             ended: | <time>\ncancelled by: | -"
        )
    );
    let (code, said) = cli(&nats, &["rerun", "cancel", rerun.trim()]).await.failed();
    assert!(code == 1 && said.contains("has ended"), "{said}");

    let job = ["create", "work", "--cron", "0 0 1 1 *", "-t", "cmd.example.work", "--mode", "job"];
    cli(&nats, &job).await.done();
    let ran = cli(&nats, &["run", "work", "-o", "name"]).await.done();
    nats.wait_executions(json!({ "status": "running" }), 1).await;
    let running = cli(&nats, &["running", "work", "-o", "name"]).await.done();
    assert_eq!(running, ran);
    let running = words(&cli(&nats, &["running", "work"]).await.done());
    assert_eq!(
        running,
        "NAME | STATUS | SINCE | UNTIL | ATTEMPT | PROGRESS | ID\nwork | running | <span> | <span> | 1 | - | <id>"
    );
    let cancelled = cli(&nats, &["cancel", ran.trim(), "--reason", "no need"]).await.done();
    assert_eq!(plain(&cancelled), "execution <id>: cancelled\n");
    let (code, said) = cli(&nats, &["cancel", &uuid::Uuid::now_v7().to_string()]).await.failed();
    assert_eq!(code, 3, "{said}");

    let every = ["create", "past", "--cron", "0 * * * *", "-t", "cmd.example.past"];
    cli(&nats, &every).await.done();
    let span =
        ["backfill", "past", "--from", "2026-01-01T00:30:00Z", "--to", "2026-01-01T02:30:00Z"];
    let dry = cli(&nats, &[&span[..], &["--dry-run"]].concat()).await.done();
    assert_eq!(dry, "2 occurrences would be run\n  2026-01-01T01:00:00Z\n  2026-01-01T02:00:00Z\n");
    cli(&nats, &span).await.done();
    nats.wait_executions(json!({ "schedule_name": "past", "creator": "anna" }), 2).await;
}

#[tokio::test]
async fn faults_of_fields_are_listed_and_faults_of_arguments_are_found_before() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let wrong = ["create", "x", "--every", "1s", "-t", "nowhere", "--set", "priority=11"];
    let (code, said) = cli(&nats, &wrong).await.failed();
    assert_eq!(code, 1);
    assert!(said.starts_with("error: the service refuses these fields\n  "), "{said}");
    assert!(
        said.contains("\n  priority: must be 1 to 10") && said.contains("  target_command: "),
        "{said}"
    );
    for (arguments, fault) in [
        (&["create", "x", "-t", "cmd.a.b"][..], "--cron"),
        (&["create", "x", "-t", "cmd.a.b", "--every", "soon"], "must be a span such as 30s"),
        (&["create", "x", "-t", "cmd.a.b", "--now", "-p", "[1]"], "the payload: "),
        (
            &["create", "x", "-t", "cmd.a.b", "--now", "--set", "colour=red"],
            "error: colour: is not a field of a schedule; the fields are ",
        ),
        (&["ls", "--status", "Active"], "possible values: active, paused"),
        (&["history", "--since", "yesterday"], "must be a time such as"),
        (&["retry", "first"], "must be the id of an execution"),
    ] {
        let (code, said) = cli(&nats, arguments).await.failed();
        assert!(code == 2 && said.contains(fault), "{arguments:?}: {code} {said}");
    }
}

#[tokio::test]
async fn fields_are_set_without_an_editor_and_executions_are_found_by_what_was_sent() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = crate::executions::reruns::failures(&nats, "nightly", 2).await;
    let set = ["edit", &id, "--set", "priority=7", "--set", "description=now and then"];
    let dry = cli(&nats, &[&set[..], &["--dry-run"]].concat()).await.done();
    assert!(dry.contains("would update nightly") && dry.contains("priority: 5 -> 7"), "{dry}");
    let dry = cli(&nats, &[&set[..], &["--dry-run", "-o", "json"]].concat()).await.json();
    let changes = &dry["difference"]["changes"];
    assert_eq!(
        (&changes[1]["field"], &changes[1]["new"]),
        (&json!("priority"), &json!(7)),
        "{dry}"
    );
    assert_eq!((&dry["priority"], &dry["name"]), (&json!(7), &json!("nightly")), "{dry}");
    let get = async || nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(get().await["priority"], 5, "nothing is done");
    let done = cli(&nats, &set).await.done();
    assert!(done.starts_with("updated nightly"), "{done}");
    let target = "target_command=cmd.example.a";
    cli(&nats, &["edit", "nightly", "--creator", "unknown", "--set", target]).await.done();
    let now = get().await;
    assert_eq!(
        (&now["priority"], &now["description"], &now["target_command"]),
        (&json!(7), &json!("now and then"), &json!("cmd.example.a"))
    );
    let nothing = cli(&nats, &["edit", &id, "--set", "priority=7", "--dry-run"]).await.done();
    assert!(nothing.starts_with("would change nothing of nightly"), "{nothing}");
    for (set, fault) in [
        ("colour=red", "colour: is not a field"),
        ("priority=x", "priority: must be"),
        ("dry_run=true", "dry_run: is said by an argument"),
        ("created_by=x", "created_by: is not a field"),
    ] {
        let (code, said) = cli(&nats, &["edit", &id, "--set", set]).await.failed();
        assert!(code == 2 && said.contains(fault) && !said.contains("line 1"), "{code} {said}");
    }

    // What was sent, and not the target of now.
    for (option, command, found) in [
        ("--sent-to", "cmd.nowhere.a", 2),
        ("--sent-to", "cmd.example.a", 0),
        ("--target", "cmd.example.a", 2),
        ("--target", "cmd.nowhere.a", 0),
        ("--scheduled-from", "1h", 2),
        ("--scheduled-to", "1h", 0),
    ] {
        let dry = cli(&nats, &["retry", "--failed", option, command, "--dry-run"]).await.done();
        assert!(dry.starts_with(&format!("{found} of {found} ")), "{option} {command}: {dry}");
        let listed = cli(&nats, &["history", option, command, "-o", "name"]).await.done();
        assert_eq!(listed.lines().count(), found, "{option} {command}: {listed}");
    }
}

#[tokio::test]
async fn a_schedule_is_edited_unless_somebody_else_was_first() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create =
        ["create", "nightly", "--cron", "0 2 * * *", "-t", "cmd.example.x", "-p", r#"{"n":1.10}"#];
    cli(&nats, &create).await.done();
    let edit = async |editor: &str| {
        let script = file(&nats, "editor.sh", editor);
        let mut command = program(&nats.url());
        command.args(["edit", "nightly", "--yes", "--creator", "anna", "--actor", "ci"]);
        command.env("EDITOR", format!("sh {script}"));
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", nats.dir());
        command.env("CLI", crate::harness::SERVICE);
        finish(command).await
    };
    let drafts = || {
        let files = std::fs::read_dir(nats.dir()).unwrap().map(|it| it.unwrap().path());
        files.filter(|it| it.extension().is_some_and(|it| it == "yaml")).collect::<Vec<_>>()
    };
    let untouched = edit("true").await;
    assert_eq!((untouched.code, untouched.err.as_str()), (0, "nothing has changed\n"));
    let (code, said) = edit("exit 3").await.failed();
    assert!(code == 2 && said.contains("ended with exit status: 3"), "{said}");
    assert!(!said.contains("is kept"), "{said}");
    let done = edit("sed -i 's/0 2 /0 4 /' $1").await.done();
    assert!(
        done.starts_with(
            "~ nightly of anna\n    cron_expression: \"0 2 * * *\" -> \"0 4 * * *\"\n"
        ),
        "{done}"
    );
    assert!(plain(&done).contains("updated nightly (<id>), next at <time>"), "{done}");
    let done = edit("sed -i 's/1.10/1.20/' $1").await.done();
    assert!(done.contains("    command_payload.n: 1.10 -> 1.20\n"), "{done}");
    assert_eq!(drafts(), [""; 0].map(std::path::PathBuf::from), "nothing is left of them");
    let asked = json!({ "schedule_name": "nightly", "creator": "anna" });
    let schedule = nats.ask("schedule.get", asked).await;
    assert_eq!(schedule["updated_by"], "ci", "who edits is who acts: {schedule}");
    let (code, said) =
        edit("sed -i 's/0 4 /0 5 /' $1; $CLI pause nightly >/dev/null").await.failed();
    assert!(
        code == 4 && said.contains("has been changed") && said.contains("your text is kept in "),
        "{said}"
    );
    let (code, said) = edit("sed -i 's/name: nightly/name: other/' $1").await.failed();
    assert!(code == 2 && said.contains("and stay"), "{said}");
    let (code, said) = edit("echo '# mine' >> $1; exit 3").await.failed();
    assert!(code == 2 && said.contains("is kept in "), "{said}");
    assert_eq!(drafts().len(), 3, "each that says something else is kept");
    for draft in drafts() {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&draft.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "only its author reads it");
    }
    let kept = cli(&nats, &["get", "nightly", "-o", "json"]).await.done();
    assert!(kept.contains("0 4 * * *") && kept.contains("1.20"), "{kept}");
}

/// Runs the program with nobody to read what it says.
async fn unread(nats: &Nats, arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program(&nats.url());
    let child = command.args(arguments).stdout(writer).spawn().unwrap();
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let ended = ended.unwrap().unwrap();
    (ended.status.code().unwrap(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn changes_are_made_and_judged_whether_or_not_somebody_reads_what_is_said() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let names: Vec<_> = (0..40).map(|n| format!("n{n}")).collect();
    for name in &names {
        cli(&nats, &["create", name, "--cron", "@yearly", "-t", "cmd.example.x"]).await.done();
    }
    // Each has more to say than the buffer holds, so that writing fails long before the last.
    let mut pause = vec!["pause", "-o", "json"];
    pause.extend(names[..20].iter().map(String::as_str));
    pause.push("missing");
    pause.extend(names[20..].iter().map(String::as_str));
    let (code, said) = unread(&nats, &pause).await;
    assert_eq!((code, said.contains("missing")), (3, true), "{said}");
    let paused =
        cli(&nats, &["ls", "--status", "paused", "-o", "name", "--limit", "100"]).await.done();
    assert_eq!(paused.lines().count(), 40);
    let path = file(
        &nats,
        "set.json",
        r#"{"name":"n0","schedule_type":"cron","cron_expression":"@daily","target_command":"cmd.example.x"}"#,
    );
    let plan = ["plan", "-f", &path, "--detailed-exitcode"];
    assert_eq!(unread(&nats, &plan).await, (6, String::new()));
    let wrong = file(
        &nats,
        "wrong.json",
        r#"{"name":"n0","schedule_type":"cron","cron_expression":"@daily","target_command":"*"}"#,
    );
    assert_eq!(unread(&nats, &["apply", "-f", &wrong, "--yes"]).await.0, 1);
    assert_eq!(unread(&nats, &["get", "missing", "n1"]).await.0, 3);
    // A full disk is another failure; what was to be done is done all the same.
    let mut resume = vec!["resume", "-o", "json"];
    resume.extend(names.iter().map(String::as_str));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = program(&nats.url());
    let child = command.args(&resume).stdout(full).spawn().unwrap();
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && said.contains("No space left"), "{said}");
    let paused = ["ls", "--status", "paused", "-o", "name", "--limit", "100"];
    assert_eq!(cli(&nats, &paused).await.done(), "");
    // What only reads has nothing left to do.
    assert_eq!(unread(&nats, &["ls"]).await, (0, String::new()));
}

#[tokio::test]
async fn everything_is_paused_at_once_and_goes_on() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (code, said) = cli(&nats, &["pause", "--all"]).await.failed();
    assert!(code == 2 && said.contains("cannot ask \"pause all schedules?\""), "{said}");
    let (code, said) = cli(&nats, &["pause", "--all", "--yes", "--tag", "x"]).await.failed();
    assert!(code == 2 && said.contains("--all means everything, and takes no filters"), "{said}");
    let (code, said) = cli(&nats, &["pause", "one", "--all"]).await.failed();
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
    let paused = cli(&nats, &["pause", "--all", "--yes", "--reason", "a leak"]).await.done();
    assert_eq!(paused, "all schedules are paused\n");
    let status = cli(&nats, &["status"]).await.done();
    assert!(status.contains("by anna: a leak"), "{status}");
    let create = ["create", "later", "--every", "1s", "-t", "cmd.example.x"];
    let created = cli(&nats, &create).await;
    assert!(created.err.contains("warning: all schedules have been paused by anna"), "{created:?}");
    let resumed = cli(&nats, &["resume", "--all", "--yes"]).await.done();
    assert_eq!(resumed, "all schedules run again, except those paused individually\n");
    let (code, said) = cli(&nats, &["resume", "--all", "--yes"]).await.failed();
    assert!(code == 1 && said.contains("no pause of all schedules is on"), "{said}");
}

/// In a container nobody is logged in.
#[tokio::test]
async fn who_says_no_name_finds_what_they_made() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for arguments in [
        &["create", "hello", "--every", "1h", "-t", "cmd.example.hello"][..],
        &["history", "hello"],
        &["pause", "hello"],
        &["rm", "hello"],
    ] {
        let mut command = program(&nats.url());
        command.env_remove("USER");
        command.args(arguments);
        finish(command).await.done();
    }
}
