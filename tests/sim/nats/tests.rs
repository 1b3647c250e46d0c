//! Tests of the faults that can be caused.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use bytes::Bytes;
use chrono::TimeDelta;
use futures::{FutureExt as _, StreamExt as _};
use nats_scheduler::port::answers::Answers;
use nats_scheduler::port::{
    Append, Appended, Entry, Nats as _, Outgoing, Permission, Reading, Refusal, Start, Unanswered,
    Unstored, Wire as _,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    HostClock, Server, Simulated, Trouble, Way, full, no_resources, no_storage, too_many_requests,
};

const SECOND: Duration = Duration::from_secs(1);

/// A server with a bucket and a log, and a connection to it.
fn begin() -> (Server, Simulated) {
    let server = Server::start(1);
    let named = |name: &str, subject: &str| Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..Config::default()
    };
    server.create_stream(Config { max_messages_per_subject: 1, ..named("B", "b.>") });
    server.create_stream(named("L", "l.>"));
    server.create_stream(Config { retention: RetentionPolicy::WorkQueue, ..named("Q", "q.>") });
    let nats = server.connect();
    (server, nats)
}

fn message(subject: &str, body: &str) -> Append {
    Append::new(subject.to_owned(), Bytes::copy_from_slice(body.as_bytes()))
}

fn all() -> Reading {
    Reading { from: Start::First, filter: String::new(), headers_only: false }
}

async fn stored(nats: &Simulated, subject: &str, body: &str) -> u64 {
    nats.append(message(subject, body)).await.unwrap().sequence
}

fn body(entry: Option<Entry>) -> String {
    String::from_utf8(entry.unwrap().body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_may_be_lost_or_late() {
    let (server, nats) = begin();
    server.lose_acks(1.0, SECOND);
    let lost = nats.append(message("l.x", "1")).await;
    assert!(matches!(lost, Err(Unstored::Unknown(_))), "{lost:?}");
    assert_eq!(server.messages("L").len(), 1);
    server.delay_acks(20 * SECOND, 60 * SECOND);
    let (mut late, mut lost) = (0, 0);
    for n in 0..20 {
        let asked = Instant::now();
        match nats.append(message("l.x", &n.to_string())).await {
            Ok(_) if asked.elapsed() > SECOND => late += 1,
            Ok(_) => {}
            Err(_) => lost += 1,
        }
    }
    assert!(late > 0 && lost > 0, "{late} {lost}");
    assert_eq!(server.messages("L").len(), 21, "all are stored");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stands_still_serves_all_of_it_later() {
    let (server, nats) = begin();
    server.stall(3 * SECOND);
    let asked = Instant::now();
    stored(&nats, "l.x", "1").await;
    assert!(asked.elapsed() >= 3 * SECOND);
    assert_eq!(nats.connects(), 1);
    server.stall(60 * SECOND);
    let lost = nats.append(message("l.x", "2")).await;
    assert!(matches!(lost, Err(Unstored::Unknown(_))), "{lost:?}");
    sleep(20 * SECOND).await;
    assert!(!nats.is_connected(), "its pings have no answer");
    let line = nats.line("", Answers::default(), CancellationToken::new()).await;
    assert!(line.is_err());
    sleep(40 * SECOND).await;
    assert_eq!((nats.is_connected(), nats.connects()), (true, 2));
    assert_eq!(server.messages("L").len(), 2, "what it was sent is in its buffers");
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_what_was_not_on_the_disk() {
    let (server, nats) = begin();
    server.remember("B");
    stored(&nats, "b.x", "1").await;
    stored(&nats, "l.x", "1").await;
    sleep(3 * SECOND).await;
    let (mut entries, _) = nats.read("B", all()).await.unwrap();
    assert_eq!(stored(&nats, "b.x", "2").await, 2);
    assert_eq!(stored(&nats, "b.y", "2").await, 3);
    stored(&nats, "l.x", "2").await;
    for _ in 0..3 {
        entries.next().await.unwrap().unwrap();
    }
    server.restart(SECOND, 2 * SECOND, Some("B"));
    assert!(!nats.is_connected());
    nats.reconnected(1).await;
    assert_eq!(nats.info("B").await.unwrap().state.last_sequence, 1, "sequences went back");
    assert_eq!(body(nats.last("B", "b.x").await.unwrap()), "1");
    assert_eq!(nats.info("L").await.unwrap().state.last_sequence, 2, "another stream did not");
    let remembered = server.remembered("B");
    assert_eq!(remembered.len(), 3);
    assert_eq!(stored(&nats, "b.z", "3").await, 2);
    let missed = entries.next().await.unwrap().unwrap_err();
    assert!(missed.contains("heartbeat"), "{missed}");
    assert!(timeout(60 * SECOND, entries.next()).await.is_err(), "it has seen more already");
    stored(&nats, "b.z", "4").await;
    stored(&nats, "b.z", "5").await;
    assert_eq!(entries.next().await.unwrap().unwrap().sequence, 4);
}

#[tokio::test(start_paused = true)]
async fn who_reads_may_fall_silent_until_it_reads_anew() {
    let (server, nats) = begin();
    let (mut entries, _) = nats.read("L", all()).await.unwrap();
    stored(&nats, "l.x", "1").await;
    entries.next().await.unwrap().unwrap();
    server.silence_readers("L");
    stored(&nats, "l.x", "2").await;
    nats.cut();
    nats.reconnect();
    assert!(timeout(600 * SECOND, entries.next()).await.is_err());
    let (mut entries, pending) = nats.read("L", all()).await.unwrap();
    assert_eq!(pending, 2);
    entries.next().await.unwrap().unwrap();
    nats.silence();
    stored(&nats, "l.x", "3").await;
    entries.next().await.unwrap().unwrap();
    assert!(timeout(600 * SECOND, entries.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn replicas_may_be_behind_and_the_leader_is_not() {
    let (server, nats) = begin();
    server.lag(10 * SECOND);
    stored(&nats, "l.x", "1").await;
    let mut stale = 0;
    for _ in 0..20 {
        assert!(nats.message("L", 1).await.unwrap().is_some());
        stale += usize::from(nats.message_of_any("L", 1).await.unwrap().is_none());
    }
    assert!((5..20).contains(&stale), "{stale}");
    sleep(10 * SECOND).await;
    assert!(nats.message_of_any("L", 1).await.unwrap().is_some());
    stored(&nats, "q.x", "1").await;
    sleep(10 * SECOND).await;
    server.acknowledge("Q", 1);
    let mut still = 0;
    for _ in 0..20 {
        still += usize::from(nats.message_of_any("Q", 1).await.unwrap().is_some());
    }
    assert!((1..20).contains(&still), "{still}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_refuse_for_a_while() {
    let (server, nats) = begin();
    for (trouble, code) in [
        (full(), 10077),
        (no_storage(), 10047),
        (no_resources(), 10023),
        (too_many_requests(), 10167),
    ] {
        server.trouble(Some("L"), trouble, SECOND);
        match nats.append(message("l.x", "1")).await {
            Err(Unstored::Refused(error)) => assert_eq!(error.error_code().0, code),
            other => panic!("{other:?}"),
        }
        stored(&nats, "b.x", "1").await;
        nats.info("L").await.unwrap();
        sleep(SECOND).await;
        stored(&nats, "l.x", "1").await;
    }
    server.trouble(None, Trouble::NoLeader, SECOND);
    assert!(matches!(nats.append(message("l.x", "1")).await, Err(Unstored::NoStream)));
    assert!(matches!(nats.last("B", "b.x").await, Err(Unanswered::Refused(_))));
    assert!(nats.read("B", all()).await.is_err());
    sleep(SECOND).await;
    server.trouble(None, Trouble::Silent, SECOND);
    let before = server.messages("L").len();
    assert!(matches!(nats.append(message("l.x", "1")).await, Err(Unstored::Unknown(_))));
    assert_eq!(server.messages("L").len(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_refused_and_said() {
    let (_, nats) = begin();
    let mut refusals = nats.refusals();
    nats.forbid(Permission::Publish, "l.*", SECOND);
    nats.forbid(Permission::Subscribe, "s.*", SECOND);
    let lost = nats.append(message("l.x", "1")).await;
    assert!(matches!(lost, Err(Unstored::Unknown(_))), "{lost:?}");
    let said = |operation, subject: &str| Refusal { operation, subject: subject.to_owned() };
    assert_eq!(refusals.recv().await.unwrap(), said(Permission::Publish, "l.x"));
    assert_eq!(stored(&nats, "l.x", "1").await, 1, "it is over");
    nats.forbid(Permission::Subscribe, "s.*", SECOND);
    let mut heard = nats.subscribe("s.x".to_owned()).await.unwrap();
    assert_eq!(refusals.recv().await.unwrap(), said(Permission::Subscribe, "s.x"));
    let to = || Outgoing { subject: "s.x".to_owned(), ..Outgoing::default() };
    nats.publish(to()).await.unwrap();
    assert!(timeout(SECOND, heard.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clocks_are_off_and_step() {
    let (server, nats) = begin();
    let host = HostClock::off_by(&server, TimeDelta::seconds(-3));
    assert_eq!(server.now() - host.now(), TimeDelta::seconds(3));
    host.step(TimeDelta::seconds(5));
    assert_eq!(host.now() - server.now(), TimeDelta::seconds(2));
    server.step_clock(TimeDelta::seconds(60));
    assert_eq!(server.now() - server.true_time(), TimeDelta::seconds(60));
    assert_eq!(host.now() - server.true_time(), TimeDelta::seconds(2));
    stored(&nats, "l.x", "1").await;
    let ahead = server.messages("L")[0].stored_at - server.true_time();
    assert!(ahead > TimeDelta::seconds(59), "{ahead}");
    assert!(nats.info("L").await.unwrap().said_at.unwrap() > server.true_time());
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_process_break_alone_or_together() {
    let (_, nats) = begin();
    let open = || async {
        let broken = CancellationToken::new();
        let line = nats.line("", Answers::default(), broken.clone()).await?;
        Ok::<_, String>((line, broken))
    };
    let (line, broken) = open().await.unwrap();
    nats.cut_main();
    assert_eq!((nats.is_connected(), line.is_connected()), (false, true));
    nats.reconnect();
    nats.cut_lines(SECOND);
    broken.cancelled().await;
    assert_eq!((nats.is_connected(), line.is_connected()), (true, false));
    assert!(open().await.is_err(), "none can be made for a while");
    sleep(SECOND).await;
    let (line, broken) = open().await.unwrap();
    nats.hold_lines(Way::There, SECOND);
    let mut heard = nats.subscribe("h".to_owned()).await.unwrap();
    stored(&nats, "l.x", "1").await;
    let to = || Outgoing { subject: "h".to_owned(), ..Outgoing::default() };
    let asked = Instant::now();
    line.publish(to()).await.unwrap();
    heard.next().await.unwrap();
    assert!(asked.elapsed() > SECOND / 2, "it was held up");
    nats.cut();
    broken.cancelled().await;
    assert!(open().await.is_err(), "nothing gets through");
    nats.reconnect();
    assert!(open().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_over_a_connection_that_broke_is_lost_and_what_waits_is_sent() {
    let (server, nats) = begin();
    assert!(nats.append(message("l.x", "1")).now_or_never().is_none());
    nats.cut();
    let waits = nats.append(message("l.x", "2"));
    assert!(timeout(SECOND, waits).await.is_err());
    nats.reconnect();
    assert_eq!(
        nats.append(message("l.x", "3")).await.unwrap(),
        Appended { sequence: 2, duplicate: false }
    );
    let messages = server.messages("L");
    assert_eq!(messages.iter().map(|one| &*one.body).collect::<Vec<_>>(), [b"2", b"3"]);
}

#[tokio::test(start_paused = true)]
async fn a_replicated_stream_looks_at_ids_first_and_has_two_words_for_a_rival() {
    let (server, nats) = begin();
    let config = Config {
        name: "R".to_owned(),
        subjects: vec!["r.>".to_owned()],
        num_replicas: 3,
        ..Config::default()
    };
    server.create_stream(config);
    let send = |id: &str| message("r.x", "1").expecting(0).header("Nats-Msg-Id", id);
    let both = futures::join!(nats.append(send("one")), nats.append(send("other")));
    assert!(both.0.is_ok(), "{both:?}");
    let code = |stored| match stored {
        Err(Unstored::Refused(error)) => error.error_code().0,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(both.1), 10164);
    assert!(nats.append(send("one")).await.unwrap().duplicate);
    sleep(SECOND).await;
    assert_eq!(code(nats.append(send("other")).await), 10071);
}
