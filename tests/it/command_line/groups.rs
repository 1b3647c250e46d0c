//! Concurrency groups from the command line.

use serde_json::json;

use super::{cli, words};
use crate::harness::{Nats, wait_for};

#[tokio::test]
async fn groups_are_kept_shown_and_deleted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    assert_eq!(cli(&nats, &["group", "ls"]).await.err, "no groups\n");
    let put = |limit: &'static str, more: &'static [&'static str]| {
        cli(&nats, &[&["group", "put", "db", "--limit", limit][..], more].concat())
    };
    let made = put("1", &["--description", "the database", "--expect", "0"]).await.done();
    assert_eq!(made, "group db created: limit 1, 0 running, used by 0\n");
    let (code, said) = put("2", &["--expect", "0"]).await.failed();
    assert!(code == 4 && said.contains("has been changed") || said.contains("revision"), "{said}");
    let same = put("1", &["--description", "the database", "-o", "json"]).await.json();
    assert_eq!((&same["outcome"], &same["group"]["limit"]), (&json!("unchanged"), &json!(1)));
    for name in ["one", "other"] {
        let create =
            ["create", name, "--cron", "@yearly", "-t", "cmd.example.work", "--mode", "job"];
        cli(&nats, &[&create[..], &["--set", "group=db"]].concat()).await.done();
        cli(&nats, &["run", name]).await.done();
    }
    let got = wait_for("one to run and the other to wait", || async {
        let got = cli(&nats, &["group", "get", "db"]).await.done();
        (got.contains("running:      1") && got.contains("waiting:      1")).then_some(got)
    })
    .await;
    let got = words(&got);
    let slot = got.lines().find(|line| line.starts_with("slots:")).unwrap();
    assert!(slot.contains(" (<id>) since <time>"), "{got}");
    let rest: Vec<_> = got.lines().filter(|line| !line.starts_with("slots:")).collect();
    assert_eq!(
        rest,
        [
            "name: | db",
            "description: | the database",
            "limit: | 1",
            "running: | 1",
            "waiting: | 1",
            "used by: | 2",
            "revision: | 1",
            "updated: | <time>",
            "updated by: | anna",
        ]
    );
    let listed = words(&cli(&nats, &["group", "ls"]).await.done());
    assert_eq!(
        listed,
        "NAME | LIMIT | RUNNING | WAITING | USED BY | UPDATED | BY\ndb | 1 | 1 | 1 | 2 | <time> | anna"
    );
    let wide = words(&cli(&nats, &["group", "ls", "-o", "wide"]).await.done());
    assert!(
        wide.ends_with(
            "| BY | REVISION | DESCRIPTION\ndb | 1 | 1 | 1 | 2 | <time> | anna | 1 | the database"
        ),
        "{wide}"
    );
    assert_eq!(cli(&nats, &["group", "ls", "-o", "name"]).await.done(), "db\n");
    let changed = put("2", &[]).await.done();
    assert!(changed.starts_with("group db changed: limit 2, "), "{changed}");
    let (code, said) = cli(&nats, &["group", "rm", "db"]).await.failed();
    assert!(code != 0 && said.contains("2 schedules use the group \"db\""), "{said}");
    for execution in cli(&nats, &["running", "--pending", "-o", "name"]).await.done().lines() {
        cli(&nats, &["cancel", execution]).await.done();
    }
    cli(&nats, &["rm", "one", "other"]).await.done();
    let gone = wait_for("its slots to be free", || async {
        let gone = cli(&nats, &["group", "rm", "db", "none"]).await;
        (gone.code == 3).then_some(gone)
    })
    .await;
    assert_eq!(gone.out, "group db deleted\n", "one that is missing keeps no other");
    assert_eq!(cli(&nats, &["group", "get", "db"]).await.code, 3);
}
