//! What happened, in one list, and what happens.

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::{cli, plain, program};
use crate::harness::{DEADLINE, Nats, wait_for};
use crate::proxy::Proxy;

/// Runs a schedule, and waits until the history has the run, and the audit the wish for it, in whatever order.
async fn run(nats: &Nats, name: &str) {
    let before = (count(nats, "history").await, count(nats, "audit").await);
    cli(nats, &["run", name, "--wait"]).await.done();
    wait_for("the run in the history and in the audit", || async {
        let now = (count(nats, "history").await, count(nats, "audit").await);
        (now.0 > before.0 && now.1 > before.1).then_some(())
    })
    .await;
}

async fn count(nats: &Nats, list: &str) -> usize {
    cli(nats, &[list, "-n", "100", "-o", "name"]).await.done().lines().count()
}

async fn create(nats: &Nats, name: &str, more: &[&str]) {
    let common = ["create", name, "--cron", "@yearly", "-t", "cmd.example.x"];
    cli(nats, &[&common[..], more].concat()).await.done();
}

/// Lines without their times, spans of runs and padding.
fn told(lines: &str) -> Vec<String> {
    let bare = |line: &str| {
        let words = plain(line).replace("<time>  ", "");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        match words.split_once(" in ") {
            Some((before, after)) => {
                let rest = after.find([',', ':']).map_or("", |at| &after[at..]);
                format!("{before} in <span>{rest}")
            }
            None => words,
        }
    };
    lines.lines().map(bare).collect()
}

#[tokio::test]
async fn runs_and_changes_are_one_story() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    create(&nats, "nightly", &["--tag", "reports"]).await;
    create(&nats, "evil\u{202e}", &[]).await;
    run(&nats, "nightly").await;
    cli(&nats, &["pause", "nightly", "--reason", "main\u{202e}tenance"]).await.done();
    wait_for("the pause in the audit", || async {
        cli(&nats, &["audit"]).await.done().contains("paused").then_some(())
    })
    .await;
    let all = cli(&nats, &["logs"]).await;
    assert_eq!(
        told(&all.out),
        [
            "created nightly by anna",
            r"created evil\u{202e} by anna",
            "triggered nightly by anna",
            "completed nightly in <span>, by anna",
            r"paused nightly by anna: main\u{202e}tenance",
        ],
        "{}",
        all.out
    );
    assert_eq!(all.err, "");
    for line in all.out.lines() {
        assert!(line.starts_with("20") && line.contains("Z  "), "{line}");
    }
    let one = cli(&nats, &["events", "nightly", "-n", "2"]).await;
    assert_eq!(told(&one.out)[0], "completed nightly in <span>, by anna");
    assert_eq!(one.err, "there are earlier events: --last shows more\n");
    let tagged = cli(&nats, &["logs", "--tag", "reports", "--since", "1h"]).await.done();
    assert_eq!(tagged.lines().count(), 4, "{tagged}");
    let nothing = cli(&nats, &["logs", "--tag", "nobody's"]).await;
    assert_eq!((nothing.out.as_str(), nothing.err.as_str()), ("", "no events\n"));
    assert_eq!(cli(&nats, &["logs", "--since", "in 1h"]).await.err, "no events\n");
    assert_eq!(cli(&nats, &["logs", "nobody"]).await.code, 3);

    let json = cli(&nats, &["logs", "-o", "json"]).await.done();
    assert!(!json.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}'), "{json:?}");
    let events: Vec<Value> = json.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(events.len(), 5);
    assert_eq!((&events[0]["kind"], &events[0]["event"]), (&json!("change"), &json!("created")));
    assert_eq!(
        (&events[3]["kind"], &events[3]["status"]),
        (&json!("execution"), &json!("success"))
    );
}

/// A follower, through a network of its own.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = program(url);
        let mut child = command.args(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        line.expect("a line in time").unwrap().unwrap()
    }

    /// Expects these lines and no others. A change may be announced later than what came of it.
    async fn hears(&mut self, expected: &[&str]) {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            heard.extend(told(&self.next().await));
        }
        let mut expected = expected.to_vec();
        heard.sort_unstable();
        expected.sort_unstable();
        assert_eq!(heard, expected);
    }

    /// The next lines, up to one that contains this.
    async fn until(&mut self, end: &str) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let line = self.next().await;
            found.extend(told(&line));
            if line.contains(end) {
                return found;
            }
        }
    }
}

#[tokio::test]
async fn a_follower_misses_nothing_and_hears_nothing_twice() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let proxy = Proxy::start(nats.server.port()).await;
    create(&nats, "one", &["--tag", "x"]).await;
    create(&nats, "other", &[]).await;
    run(&nats, "one").await;
    let mut all = Follower::start(&proxy.url(), &["logs", "-f"]);
    let mut tagged = Follower::start(&proxy.url(), &["logs", "-f", "-n", "1", "--tag", "x"]);
    let ran = ["triggered one by anna", "completed one in <span>, by anna"];
    all.hears(&[&["created one by anna", "created other by anna"][..], &ran].concat()).await;
    tagged.hears(&ran[1..]).await;
    // What matches only now is followed from now on.
    create(&nats, "later", &["--tag", "x"]).await;
    assert_eq!(tagged.until("created").await, ["created later by anna"]);
    run(&nats, "other").await;
    let other = ["triggered other by anna", "completed other in <span>, by anna"];
    all.hears(&[&["created later by anna"][..], &other].concat()).await;

    // While nobody listens, and after that.
    proxy.cut();
    run(&nats, "one").await;
    proxy.restore();
    all.hears(&ran).await;
    cli(&nats, &["pause", "other"]).await.done();
    run(&nats, "one").await;
    all.hears(&[&["paused other by anna"][..], &ran].concat()).await;
    let of_tagged = tagged.until("completed").await;
    assert!(of_tagged.iter().all(|it| !it.contains("other")), "{of_tagged:?}");
    all.child.kill().await.unwrap();
}

#[tokio::test]
async fn what_is_no_event_is_passed_over() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    create(&nats, "one", &[]).await;
    let mut follower = Follower::start(&nats.url(), &["logs", "-f"]);
    assert_eq!(told(&follower.next().await), ["created one by anna"]);
    let id = uuid::Uuid::now_v7();
    for subject in ["execution.completed", "schedule.created", "other.event"] {
        let subject = format!("evt.scheduler.{subject}.{id}");
        nats.client.publish(subject, "{\"event\":1}".into()).await.unwrap();
    }
    nats.client.flush().await.unwrap();
    run(&nats, "one").await;
    let ran = ["triggered one by anna", "completed one in <span>, by anna"];
    follower.hears(&ran).await;
    let mut events = nats.client.subscribe("evt.scheduler.*.*.*").await.unwrap();
    nats.client.flush().await.unwrap();
    run(&nats, "one").await;
    let event = loop {
        let event = tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap();
        if event.subject.contains(".triggered.") {
            break event;
        }
    };
    follower.hears(&ran).await;
    // The same message again is the same event, and one of a stranger reaches no terminal as it is.
    nats.client.publish(event.subject.clone(), event.payload.clone()).await.unwrap();
    let mut evil: Value = serde_json::from_slice(&event.payload).unwrap();
    evil["name"] = "a\u{1b}[2Jb\n\u{9b}31m".into();
    evil["event"] = "tri\u{1b}ggered".into();
    evil["event_id"] = json!(uuid::Uuid::now_v7());
    nats.client.publish(event.subject, evil.to_string().into()).await.unwrap();
    let again = follower.until("31m").await;
    assert_eq!(again.last().unwrap(), r"tri\u{1b}ggered a\u{1b}[2Jb\n\u{9b}31m by anna");
    assert!(again.iter().all(|it| !it.starts_with("triggered")), "{again:?}");
}
