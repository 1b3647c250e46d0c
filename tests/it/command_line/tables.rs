//! Commands that read: tables, formats, and what is done with them.

use std::process::Stdio;

use futures::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{cli, finish, narrow, plain, program, words};
use crate::harness::{DEADLINE, Nats, wait_for};

const DAY: i64 = 86_400_000;

/// Three schedules that show the same times whenever they are looked at.
async fn samples(nats: &Nats) {
    let first = crate::harness::in_ms(10 * DAY + 60_000);
    nats.ask(
        "schedule.create",
        json!({ "name": "nightly", "schedule_type": "interval", "interval_seconds": 86_400, "start_at": first,
                "target_command": "cmd.report.build", "tags": ["reports", "eu"], "created_by": "anna" }),
    )
    .await;
    nats.ask(
        "schedule.create",
        json!({ "name": "cleanup of what nobody needs any more", "schedule_type": "cron", "owner": "git",
                "cron_expression": "0 3 * * *", "start_at": crate::harness::in_ms(20 * DAY), "timezone": "Europe/Berlin",
                "target_command": "cmd.analytics.cleanup", "created_by": "anna" }),
    )
    .await;
    nats.ask(
        "schedule.create",
        json!({ "name": "夜間 größer", "schedule_type": "interval", "interval_seconds": 90, "start_at": first,
                "target_command": "cmd.example.beat", "created_by": "bob" }),
    )
    .await;
    let paused = json!({ "schedule_name": "nightly", "creator": "anna", "reason": "maintenance" });
    nats.ask("schedule.pause", paused).await;
}

/// How far the sample is whose time depends on that of the day.
async fn days(nats: &Nats) -> String {
    let listed = cli(nats, &["ls", "-o", "json", "--type", "cron"]).await.json();
    let next: chrono::DateTime<chrono::Utc> =
        listed[0]["next_run_at"].as_str().unwrap().parse().unwrap();
    format!("in {}d", (next - chrono::Utc::now()).num_days())
}

#[tokio::test]
async fn a_table_fits_where_it_is_shown_and_other_formats_are_whole() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULE_LOOKAHEAD_DAYS", "3650")]).await;
    samples(&nats).await;
    let days = days(&nats).await;
    let wide = "\
NAME                                   TIMING                   STATUS  NEXT    LAST  TARGET
nightly                                every 1d                 paused  in 10d  -     cmd.report.build
cleanup of what nobody needs any more  0 3 * * * Europe/Berlin  active  DAYS  -     cmd.analytics.cleanup
夜間 größer                            every 90s                active  in 10d  -     cmd.example.beat
";
    let found = cli(&nats, &["ls"]).await.done();
    assert_eq!(found, wide.replace("DAYS", &days), "{found}");
    let cut = "\
NAME                 TIMING               STATUS  NEXT    LAST  TARGET
nightly              every 1d             paused  in 10d  -     cmd.report.build
cleanup of what no…  0 3 * * * Europe/B…  active  DAYS  -     cmd.analytics.cle…
夜間 größer          every 90s            active  in 10d  -     cmd.example.beat
";
    let found = narrow(&nats, 82, &["ls"]).await.done();
    assert_eq!(found, cut.replace("DAYS", &days), "{found}");
    let found = narrow(&nats, 20, &["ls"]).await;
    assert_eq!(found.out.lines().count(), 4, "one line each");
    let left_out = "no room for STATUS, NEXT, LAST, TARGET: -o wide shows all\n";
    assert_eq!((found.code, found.err.as_str()), (0, left_out));

    let wide = cli(&nats, &["ls", "-o", "wide", "--creator", "bob"]).await.done();
    assert!(
        plain(&wide).ends_with("cmd.example.beat  bob      -      -     0     0       <id>\n"),
        "{wide}"
    );
    let coloured = cli(&nats, &["ls", "--color", "always"]).await.done();
    assert!(
        coloured.contains("\u{1b}[38;5;11mpaused") && coloured.starts_with("\u{1b}[1mNAME"),
        "{coloured:?}"
    );
    let mut colourless = program(&nats.url());
    colourless.args(["ls"]).env("NO_COLOR", "1");
    assert!(!finish(colourless).await.done().contains('\u{1b}'));

    let listed = cli(&nats, &["ls", "-o", "json", "--tag", "reports"]).await.json();
    assert_eq!((&listed[0]["name"], listed.as_array().unwrap().len()), (&json!("nightly"), 1));
    assert_eq!(cli(&nats, &["ls", "-o", "json", "--failing"]).await.json(), json!([]));
    let names = cli(&nats, &["ls", "-o", "name", "--sort", "-name"]).await.done();
    assert_eq!(
        plain(&names),
        "<id>\nnightly\ncleanup of what nobody needs any more\n",
        "of the name of another creator's one the actor has none"
    );
    let yaml = cli(&nats, &["ls", "-o", "yaml", "--status", "paused"]).await.done();
    assert!(
        yaml.starts_with("- id: \"") && yaml.contains("\n  tags: [\"reports\", \"eu\"]\n"),
        "{yaml}"
    );
    assert_eq!(cli(&nats, &["ls", "--group", "db"]).await.err, "no schedules\n");
    let page = cli(&nats, &["ls", "-n", "2"]).await;
    assert_eq!((page.err.as_str(), page.out.lines().count()), ("page 1 of 2, 3 in all\n", 3));
    let page = cli(&nats, &["ls", "-n", "2", "--page", "9"]).await;
    assert_eq!((page.err.as_str(), page.out.as_str()), ("page 9 of 2, 3 in all\n", ""));
    let page = cli(&nats, &["audit", "--event", "created", "--page", "9"]).await;
    assert_eq!(page.err, "page 9 of 1, 3 in all\n");
    assert_eq!(cli(&nats, &["ls", "-n", "3"]).await.err, "");
    assert_eq!(cli(&nats, &["ls", "--owned-by", "nobody"]).await.err, "no schedules\n");
}

#[tokio::test]
async fn what_ran_and_what_comes_is_shown() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULE_LOOKAHEAD_DAYS", "3650")]).await;
    samples(&nats).await;
    cli(&nats, &["run", "nightly", "--wait"]).await.done();
    wait_for("the run in the history", || async {
        let history = cli(&nats, &["history", "nightly", "-o", "name"]).await.done();
        (history.lines().count() == 1).then_some(())
    })
    .await;
    for (arguments, expected) in [
        (
            &["next", "nightly", "-n", "2"][..],
            "SCHEDULED FOR | NEXT | MOVED BY\n<time> | <span> | -\n<time> | <span> | -",
        ),
        (
            &["next", "-a", "--from", "9d", "--to", "in 11d", "-n", "1"],
            "SCHEDULED FOR | NEXT | NAME\n<time> | <span> | 夜間 größer",
        ),
        (
            &["history"],
            "SCHEDULED FOR | NAME | STATUS | TOOK | ATTEMPT | ENDED | ERROR\n\
             <time> | nightly | success | <span> | 1 | <span> | -",
        ),
        (
            &["why", "nightly"],
            "nightly: every day from <time>\nSCHEDULED FOR | COUNT | OUTCOME | REASON\n\
             <time> | 1 | success | ran; run by anna",
        ),
        (
            &["audit", "nightly"],
            "TIME | NAME | EVENT | ACTOR | CHANGES\n<time> | nightly | triggered | anna | -\n\
             <time> | nightly | paused | unknown | maintenance\n<time> | nightly | created | anna | -",
        ),
    ] {
        let found = words(&cli(&nats, arguments).await.done());
        assert!(found.starts_with(expected), "{arguments:?}\n{found}");
    }
    assert_eq!(cli(&nats, &["running"]).await.err, "nothing is under way\n");
    let stats = cli(&nats, &["stats", "nightly"]).await.done();
    assert!(
        stats.starts_with(
            "executions:            1\nsuccessful:            1\nfailed:                0\n"
        ),
        "{stats}"
    );
    let status = cli(&nats, &["status"]).await.done();
    assert!(
        status.starts_with("status:       ok\n") && status.contains("2 active, 1 paused\n"),
        "{status}"
    );
    let got = cli(&nats, &["get", "nightly"]).await.done();
    assert!(
        got.contains("pause_reason:           maintenance\n")
            && got.contains("tags:                   [\"reports\",\"eu\"]\n"),
        "{got}"
    );
    let hourly = ["create", "hourly", "--cron", "0 * * * *", "-t", "cmd.example.x"];
    cli(&nats, &hourly).await.done();
    let first = cli(&nats, &["why", "hourly", "-n", "1"]).await;
    assert_eq!(plain(&first.err), "there is more: --from <time>\n");
    cli(&nats, &["pause", "--all", "--for", "1h", "--yes"]).await.done();
    let halted = ["create", "halted", "--cron", "@yearly", "-t", "cmd.example.x"];
    let halted = cli(&nats, &halted).await;
    assert!(plain(&halted.err).contains("nothing fires until <time>\n"), "{halted:?}");
    cli(&nats, &["resume", "--all", "--yes"]).await.done();
    let story = cli(&nats, &["history", "-o", "name"]).await.done();
    let story = cli(&nats, &["history", "--execution", story.trim(), "-o", "json"]).await.json();
    assert_eq!(story["attempts"][0]["status"], "success");
}

/// What `-o name` prints is taken back, whatever the schedules are called and whosever they are.
#[tokio::test]
async fn names_for_scripts_mean_the_schedules_that_they_are_of() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = uuid::Uuid::now_v7().to_string();
    let names = ["plain", "with words", "evil\u{202e}name", "two\nlines", "-x", &id, "größer"];
    for (name, creator) in names.map(|name| (name, "anna")).into_iter().chain([("plain", "bob")]) {
        let mut request = crate::harness::far(name);
        request["created_by"] = json!(creator);
        nats.create(request).await;
    }
    for list in [&["ls", "--all"][..], &["next", "--all", "--to", "in 2h", "-n", "20"], &["export"]]
    {
        let listed = cli(&nats, &[list, &["-o", "name"]].concat()).await.done();
        let lines: Vec<_> = listed.lines().collect();
        assert_eq!(lines.len(), 8, "{list:?}: {listed}");
        for name in ["plain", "with words", "größer"] {
            assert_eq!(lines.iter().filter(|line| **line == name).count(), 1, "{listed}");
        }
        let mut found: Vec<_> = Vec::new();
        for line in lines {
            found.push(cli(&nats, &["get", line, "-o", "json"]).await.json()["id"].to_string());
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 8, "each is another one");
    }
    // One that is missing hides no other.
    for command in ["get", "export", "describe"] {
        let some = cli(&nats, &[command, "nosuch", "plain", "-o", "name"]).await;
        assert_eq!((some.code, some.out.as_str()), (3, "plain\n"), "{some:?}");
        assert!(some.err.starts_with("error: nosuch: "), "{some:?}");
    }
    let theirs = cli(&nats, &["get", "plain", "--creator", "bob", "-o", "name"]).await.done();
    assert_eq!(theirs, "plain\n");
}

/// Times, words and ids that are cut say nothing; the texts beside them give way, and then the last columns.
#[tokio::test]
async fn narrow_tables_keep_what_cannot_be_cut() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let name = "report-of-the-night-of-all-regions-1";
    let create =
        ["create", name, "--cron", "@yearly", "-t", "cmd.example.ask", "--mode", "request"];
    cli(&nats, &[&create[..], &["--set", "max_retries=0"]].concat()).await.done();
    let (code, _) = cli(&nats, &["run", name, "--wait"]).await.failed();
    assert_eq!(code, 1, "nobody answers");
    let job = [
        "create",
        "שלום עולם 12 of a long name",
        "--cron",
        "@yearly",
        "-t",
        "cmd.example.work",
        "--mode",
        "job",
    ];
    cli(&nats, &job).await.done();
    cli(&nats, &["run", job[1]]).await.done();
    nats.wait_executions(json!({ "status": "running" }), 1).await;
    nats.wait_executions(json!({ "status": "failed" }), 1).await;
    let next = "SCHEDULED FOR | NEXT | MOVED BY\n<time> | <span> | -";
    for (arguments, at_80, at_40) in [
        (
            &["history", name][..],
            "SCHEDULED FOR | NAME | STATUS | TOOK | ATTEMPT | ENDED | ERROR\n\
             <time> | <cut> | failed | <span> | 1 | <span> | <cut>",
            "SCHEDULED FOR | NAME | STATUS\n<time> | <cut> | failed",
        ),
        (
            &["audit", name],
            "TIME | NAME | EVENT | ACTOR | CHANGES\n<time> | <cut> | triggered | anna | -\n\
             <time> | <cut> | created | anna | -",
            "TIME | NAME | EVENT\n<time> | <cut> | triggered\n<time> | <cut> | created",
        ),
        (&["next", name, "-n", "1"], next, next),
        (
            &["running"],
            "NAME | STATUS | SINCE | UNTIL | ATTEMPT | PROGRESS\n\
             שלום עולם 12 of a long name | running | <span> | <span> | 1 | -",
            "NAME | STATUS | SINCE | UNTIL",
        ),
        (
            &["why", name],
            "SCHEDULED FOR | COUNT | OUTCOME | REASON\n<time> | 1 | failed | <cut>\n\
             <time> | 1 | coming | lies ahead",
            "SCHEDULED FOR | COUNT | OUTCOME\n<time> | 1 | failed\n<time> | 1 | coming",
        ),
    ] {
        // What is said of the schedule before the table is a sentence, and not cut.
        let table = |shown: String| match arguments[0] {
            "why" => shown.split_once('\n').unwrap().1.to_owned(),
            _ => shown,
        };
        for (width, expected) in [(80, at_80), (40, at_40)] {
            let shown = table(narrow(&nats, width, arguments).await.done());
            let cell = |cell: &str| {
                if cell.ends_with('…') { "<cut>".to_owned() } else { cell.to_owned() }
            };
            let line = |line: &str| line.split(" | ").map(cell).collect::<Vec<_>>().join(" | ");
            let found: Vec<_> = words(&shown).lines().map(line).collect();
            assert!(found.join("\n").starts_with(expected), "{arguments:?} at {width}: {shown}");
        }
        for width in [20, 30, 50, 60, 70, 100] {
            for line in table(narrow(&nats, width, arguments).await.done()).lines() {
                let wide = unicode_width::UnicodeWidthStr::width(line);
                assert!(wide <= usize::from(width), "{arguments:?} at {width}: {line:?}");
            }
        }
    }
}

#[tokio::test]
async fn all_pages_are_one_list_that_may_be_left_before_its_end() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for part in 0..3 {
        let items: Vec<_> =
            (0..100).map(|n| crate::harness::far(&format!("s{part}{n:02}"))).collect();
        nats.ask("bulk.create", json!({ "schedules": items })).await;
    }
    let all = cli(&nats, &["ls", "--all", "--sort", "name"]).await.done();
    assert_eq!(all.lines().count(), 301);
    assert!(all.lines().nth(300).unwrap().starts_with("s299  once "), "{all}");
    assert_eq!(
        cli(&nats, &["ls", "--all", "-o", "json"]).await.json().as_array().unwrap().len(),
        300
    );

    let mut command = program(&nats.url());
    command.args(["ls", "--all", "-o", "json"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("["));
    drop(lines);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(child.wait().await.unwrap().success() && said.is_empty(), "{said}");
}

/// Answers every request to an operation with this, as a service that cannot be trusted would.
async fn answer(nats: &Nats, operation: &str, reply: serde_json::Value) {
    let mut requests = nats.client.subscribe(format!("cmd.scheduler.{operation}")).await.unwrap();
    nats.client.flush().await.unwrap();
    let client = nats.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply = serde_json::to_vec(&reply).unwrap();
            client.publish(request.reply.unwrap(), reply.into()).await.unwrap();
        }
    });
}

#[tokio::test]
async fn what_others_wrote_reaches_no_terminal_as_it_is() {
    let nats = Nats::start().await;
    let evil = "a\u{1b}]0;title\u{7}\u{1b}[2Jb\nc\u{202e}d\u{9b}31m";
    let occurrence = json!({ "schedule_id": uuid::Uuid::now_v7(), "schedule_name": evil, "created_by": evil,
        "scheduled_for": "2030-01-01T00:00:00Z", "due_at": "2030-01-01T00:00:00Z" });
    answer(
        &nats,
        "schedule.upcoming",
        json!({ "data": { "from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z", "occurrences": [occurrence] } }),
    )
    .await;
    answer(&nats, "schedule.get", json!({ "error": { "code": "not_found", "message": evil } }))
        .await;
    let is_safe =
        |text: &str| !text.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}');
    for format in ["table", "wide", "name", "json", "yaml"] {
        let shown = cli(&nats, &["next", "--all", "-o", format]).await.done();
        assert!(is_safe(&shown), "{shown:?}");
    }
    let table = cli(&nats, &["next", "--all"]).await.done();
    assert!(table.contains(r"a\u{1b}]0;title\u{7}\u{1b}[2Jb\nc\u{202e}d\u{9b}31m"), "{table}");
    assert_eq!(table.lines().count(), 2);
    let json = cli(&nats, &["next", "--all", "-o", "json"]).await.json();
    assert_eq!(json[0]["schedule_name"], evil);
    let (code, said) = cli(&nats, &["get", "x"]).await.failed();
    assert!(code == 3 && is_safe(&said), "{said:?}");
}

#[tokio::test]
async fn executions_are_watched_as_they_end() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for name in ["one", "other"] {
        cli(&nats, &["create", name, "--cron", "@yearly", "-t", "cmd.example.x"]).await.done();
    }
    let mut command = program(&nats.url());
    command.args(["watch", "one", "-n", "2"]);
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(said.next_line().await.unwrap().as_deref(), Some("watching; Ctrl-C ends"));
    cli(&nats, &["run", "other", "one", "--wait"]).await.done();
    cli(&nats, &["run", "one"]).await.done();
    let mut shown = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let reading = tokio::time::timeout(DEADLINE, stdout.read_to_string(&mut shown));
    reading.await.unwrap().unwrap();
    assert!(child.wait().await.unwrap().success());
    let lines: Vec<_> = shown.lines().map(plain).collect();
    assert_eq!(lines.len(), 2, "{shown}");
    for line in lines {
        assert!(line.starts_with("<time>  success    one in "), "{line}");
    }
}
