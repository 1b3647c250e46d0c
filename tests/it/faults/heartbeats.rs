//! Heartbeats: their subject and body, beside instances that know only the old subject, and where NATS refuses the
//! present one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Message, Subscriber, jetstream};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{DEADLINE, Nats, Service, configured, far, wait_for, wait_within};

const PRESENT: &str = "scheduler.instance.*";
const OLD: &str = "evt.scheduler.instance.*";
/// Within this a subject that was refused has been tried again.
const GRANTED: Duration = Duration::from_secs(60);

async fn next(beats: &mut Subscriber) -> Message {
    timeout(DEADLINE, beats.next()).await.expect("a heartbeat").unwrap()
}

fn body(beat: &Message) -> Value {
    serde_json::from_slice(&beat.payload).unwrap()
}

/// The next beats of so many instances, several of each.
async fn beats_of(beats: &mut Subscriber, instances: usize, each: usize) -> Vec<Message> {
    let mut heard: Vec<Message> = Vec::new();
    loop {
        heard.push(next(beats).await);
        let ids: HashSet<_> = heard.iter().map(|beat| beat.subject.as_str()).collect();
        let count = |id: &str| heard.iter().filter(|beat| beat.subject.as_str() == id).count();
        if ids.len() >= instances && ids.iter().all(|id| count(id) >= each) {
            return heard;
        }
    }
}

/// Waits until every one of so many instances hears so many, itself included; what the last of them said of itself.
async fn all_hear(nats: &Nats, instances: usize, heard: usize) -> Vec<Value> {
    wait_for(&format!("{instances} instances to hear {heard}"), || async {
        let mut seen: Vec<Value> = Vec::new();
        for _ in 0..instances * 8 {
            let status = nats.ask("status", json!({})).await;
            if !seen.iter().any(|known| known["instance"] == status["instance"]) {
                seen.push(status);
            }
        }
        let agreed = seen.iter().all(|status| {
            let members = status["members"].as_array().unwrap();
            let own = members.iter().find(|one| one["instance"] == status["instance"]).unwrap();
            assert_eq!(own["started_at"], status["started_at"], "{status}");
            assert_eq!(own["version"], env!("CARGO_PKG_VERSION"), "{status}");
            status["instances"] == heard && members.len() == heard
        });
        (seen.len() == instances && agreed).then_some(seen)
    })
    .await
}

/// An instance of a version that knows only the old subject: its heartbeats, and what it hears.
struct EarlierInstance {
    client: Client,
    subject: String,
    heard: Subscriber,
}

impl EarlierInstance {
    async fn start(nats: &Nats) -> Self {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let heard = client.subscribe(OLD).await.unwrap();
        client.flush().await.unwrap();
        Self { client, subject: format!("evt.scheduler.instance.{}", Uuid::new_v4()), heard }
    }

    async fn say(&self, body: &'static str) {
        self.client.publish(self.subject.clone(), body.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Listens for a while, with a beat every second or in silence; the longest time for which nobody else was heard.
    async fn listen(&mut self, time: Duration, silent: bool) -> Duration {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let (started, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        while started.elapsed() < time {
            tokio::select! {
                _ = tick.tick() => if !silent { self.say("").await },
                Some(beat) = self.heard.next() => if beat.subject.as_str() != self.subject {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                },
            }
        }
        longest.max(last.elapsed())
    }
}

#[tokio::test]
async fn heartbeats_are_short_json_beside_the_events_and_events_stay_quiet() {
    let nats = Nats::start().await;
    let (mut first, _second) = (nats.service().await, nats.service().await);
    let mut events = nats.client.subscribe("evt.scheduler.>").await.unwrap();
    let mut beats = nats.client.subscribe(PRESENT).await.unwrap();
    nats.create(far("counted")).await;
    let event = next(&mut events).await;
    assert!(event.subject.starts_with("evt.scheduler.schedule.created."), "{}", event.subject);
    for beat in &beats_of(&mut beats, 2, 4).await {
        assert!(Uuid::try_parse(beat.subject.rsplit('.').next().unwrap()).is_ok());
        let said = body(beat);
        assert_eq!(said["format"], 1);
        assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(said["leaving"], false);
        assert!(said["started_at"].is_string() && said["in_flight"].is_u64(), "{said}");
        assert!(said["old_subject_only"].is_null(), "{said}");
        assert!(beat.payload.len() < 256, "{said}");
    }
    let counted = wait_for("both to see the schedule", || async {
        let heard = beats_of(&mut nats.client.subscribe(PRESENT).await.unwrap(), 2, 1).await;
        heard.iter().all(|beat| body(beat)["schedules"] == 1).then_some(())
    });
    counted.await;
    first.stop().await;
    let goodbye = async {
        loop {
            let beat = next(&mut beats).await;
            if body(&beat)["leaving"] == true {
                return beat;
            }
        }
    };
    let gone = timeout(DEADLINE, goodbye).await.unwrap();
    assert_eq!(all_hear(&nats, 1, 1).await.len(), 1);
    let left = beats_of(&mut beats, 1, 3).await;
    assert!(left.iter().all(|beat| beat.subject != gone.subject));
    while let Ok(Some(event)) = timeout(Duration::from_millis(1), events.next()).await {
        assert!(!event.subject.starts_with("evt.scheduler.instance"), "{}", event.subject);
    }
}

#[tokio::test]
async fn an_earlier_instance_hears_of_a_later_one_before_it_claims_and_for_as_long_as_it_runs() {
    let nats = Nats::start().await;
    let mut earlier = EarlierInstance::start(&nats).await;
    let _later = nats.service().await;
    // Before it was ready, and without having heard anybody.
    let hello = timeout(Duration::from_secs(1), earlier.heard.next()).await.unwrap().unwrap();
    assert_ne!(&hello.payload[..], b"leaving");
    let mut beats = nats.client.subscribe(PRESENT).await.unwrap();
    let longest = earlier.listen(Duration::from_secs(4), false).await;
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    let both = all_hear(&nats, 1, 2).await;
    assert_eq!(both[0]["status"], "ok", "{}", both[0]);

    // Silence is no goodbye: it may be suspended, and then it must find us there.
    let longest = earlier.listen(Duration::from_secs(7), true).await;
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    all_hear(&nats, 1, 1).await;
    let longest = earlier.listen(Duration::from_secs(2), false).await;
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    all_hear(&nats, 1, 2).await;

    earlier.say("leaving").await;
    all_hear(&nats, 1, 1).await;
    let mut old = nats.client.subscribe(OLD).await.unwrap();
    // One may have been under way.
    beats_of(&mut beats, 1, 2).await;
    while timeout(Duration::from_millis(1), old.next()).await.is_ok() {}
    beats_of(&mut beats, 1, 3).await;
    assert!(timeout(Duration::from_millis(1), old.next()).await.is_err(), "nobody needs it");
}

#[tokio::test]
async fn a_later_instance_says_goodbye_to_an_earlier_one_as_that_understands_it() {
    let nats = Nats::start().await;
    let mut earlier = EarlierInstance::start(&nats).await;
    let mut later = nats.service().await;
    earlier.listen(Duration::from_secs(2), false).await;
    later.stop().await;
    while next(&mut earlier.heard).await.payload != "leaving" {}
}

/// A server with users, each with a password like its name, that may do all but what is `denied`.
pub struct Limited {
    pub nats: Nats,
}

const USERS: [&str; 2] = ["one", "two"];

fn users(denied: [&str; 2]) -> String {
    let mut config =
        "jetstream { store_dir: $NATS_STORE_DIR }\nauthorization { users: [\n".to_owned();
    config += "  { user: test, password: test }\n";
    for (user, denied) in USERS.into_iter().zip(denied) {
        config += &format!("  {{ user: {user}, password: {user}, permissions: {{ {denied} }} }}\n");
    }
    config + "] }\n"
}

impl Limited {
    pub async fn start(denied: [&str; 2]) -> Self {
        let dir = TempDir::new().unwrap();
        let server = configured(dir.path(), &users(denied)).await;
        let test = ConnectOptions::with_user_and_password("test".to_owned(), "test".to_owned());
        let client = test.connect(server.url()).await.unwrap();
        let nats = Nats::of(server, client.clone(), jetstream::new(client), dir);
        nats.add_stream(include_str!("../../../streams/COMMANDS.json")).await;
        Self { nats }
    }

    pub async fn service(&self, user: &str) -> Service {
        self.nats.service_with(&[("NATS_USER", user), ("NATS_PASSWORD", user)]).await
    }

    /// Has the server read other permissions.
    pub fn permit(&self, denied: [&str; 2]) {
        self.nats.reload(&users(denied));
    }
}

pub const NOTHING: &str = "publish: { deny: [] }";
const NO_PUBLISH: &str = r#"publish: { deny: ["scheduler.>"] }"#;
const NO_SUBSCRIBE: &str = r#"subscribe: { deny: ["scheduler.>"] }"#;
const NEITHER: &str = r#"publish: { deny: ["scheduler.>"] }, subscribe: { deny: ["scheduler.>"] }"#;

fn is_about_heartbeats(status: &Value) -> bool {
    let problems = status["problems"].as_array().unwrap();
    problems.iter().any(|problem| {
        let problem = problem.as_str().unwrap();
        problem.contains("NATS refuses heartbeats on scheduler.instance.*")
            && problem.contains("docs/nats-permissions.md")
    })
}

/// Two instances of a limited user and one that may do all hear each other, and go on to.
async fn hear_each_other(denied: &str) {
    let limited = Limited::start([denied, NOTHING]).await;
    let nats = &limited.nats;
    let services =
        [limited.service("one").await, limited.service("one").await, limited.service("two").await];
    all_hear(nats, 3, 3).await;
    let mut old = nats.client.subscribe(OLD).await.unwrap();
    // Longer than silence takes to count.
    beats_of(&mut old, 2, 7).await;
    let seen = all_hear(nats, 3, 3).await;
    assert_eq!(seen.iter().filter(|status| is_about_heartbeats(status)).count(), 2, "{seen:?}");
    for service in &services {
        assert!(!service.log().contains("instances silent"), "nobody was silent");
    }
    let said = services[0].log().matches("NATS refuses heartbeats on their subject").count();
    assert_eq!(said, 1, "it is said once");
    // And they share the work.
    nats.create_beats(3, "cmd.example.shared").await;
    nats.wait_count("COMMANDS", 6).await;
}

#[tokio::test]
async fn instances_hear_each_other_where_some_may_not_publish_heartbeats() {
    hear_each_other(NO_PUBLISH).await;
}

#[tokio::test]
async fn instances_hear_each_other_where_some_may_not_subscribe_to_heartbeats() {
    hear_each_other(NO_SUBSCRIBE).await;
}

#[tokio::test]
async fn instances_hear_each_other_where_some_may_do_neither() {
    hear_each_other(NEITHER).await;
}

#[tokio::test]
async fn permissions_that_come_later_are_used_and_those_that_go_are_missed_by_nobody() {
    let limited = Limited::start([NEITHER, NEITHER]).await;
    let nats = &limited.nats;
    let services = [limited.service("one").await, limited.service("two").await];
    assert!(all_hear(nats, 2, 2).await.iter().all(is_about_heartbeats));
    for granted in [[NOTHING, NEITHER], [NOTHING, NOTHING]] {
        limited.permit(granted);
        let refused = granted.iter().filter(|denied| **denied == NEITHER).count();
        wait_within(GRANTED, "the present subject to be used", || async {
            let seen = all_hear(nats, 2, 2).await;
            (seen.iter().filter(|status| is_about_heartbeats(status)).count() == refused)
                .then_some(())
        })
        .await;
    }
    let mut beats = nats.client.subscribe(PRESENT).await.unwrap();
    let mut old = nats.client.subscribe(OLD).await.unwrap();
    // What one needed last is over, after half a minute.
    let quiet = async {
        loop {
            while timeout(Duration::from_millis(1), old.next()).await.is_ok() {}
            beats_of(&mut beats, 2, 2).await;
            if timeout(Duration::from_millis(1), old.next()).await.is_err() {
                return;
            }
        }
    };
    timeout(GRANTED, quiet).await.expect("quiet");
    limited.permit([NEITHER, NEITHER]);
    beats_of(&mut old, 2, 7).await;
    assert!(all_hear(nats, 2, 2).await.iter().all(is_about_heartbeats));
    for service in &services {
        assert!(!service.log().contains("instances silent"), "nobody was silent");
    }
}

#[tokio::test]
async fn an_instance_that_hears_nobody_takes_nothing_for_gone_and_says_so() {
    let deaf = r#"subscribe: { deny: ["scheduler.>", "evt.scheduler.instance.*"] }"#;
    let limited = Limited::start([deaf, NOTHING]).await;
    let (deaf, _other) = (limited.service("one").await, limited.service("two").await);
    wait_for("the one to say that it is deaf", || async {
        let status = limited.nats.ask("status", json!({})).await;
        status["problems"].to_string().contains("its own heartbeats do not come back").then_some(())
    })
    .await;
    // The other hears it by the old subject all the same.
    wait_for("the other to hear it", || async {
        let status = limited.nats.ask("status", json!({})).await;
        (status["instances"] == 2).then_some(())
    })
    .await;
    assert!(!deaf.log().contains("instances silent"));
}
