//! Outcomes that wait: for a history that takes little or nothing, and for nothing else.

use std::time::Duration;

use futures::StreamExt as _;
use nats_scheduler::names;
use nats_scheduler::port::{Outgoing, Wire as _};
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::instance::{Instance, start};
use crate::nats::{Server, Simulated, Trouble, full};

/// Answers each command to `subject`, and counts them.
async fn count(server: &Server, subject: &str) -> impl Fn() -> usize + use<> {
    let nats = server.connect();
    let mut commands = nats.subscribe(subject.to_owned()).await.unwrap();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(command) = commands.next().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Some(reply) = command.reply {
                let answer = Outgoing { subject: reply.to_string(), ..Outgoing::default() };
                nats.publish(answer).await.unwrap();
            }
        }
    });
    move || count.load(std::sync::atomic::Ordering::Relaxed)
}

/// Fires `count` schedules of a mode once, shared out to the instances.
async fn fire(instances: &[(Instance, Simulated)], mode: &str, target: &str, count: usize) {
    for n in 0..count {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("{mode} {n}"), "created_by": format!("{mode} {}", n % 8),
            "schedule_type": "immediate", "target_command": target, "delivery": { "mode": mode },
        }))
        .unwrap();
        let one = &instances[n % instances.len()].0;
        one.api.create_schedule(request, &one.caller()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_succeeded_is_not_sent_again_while_the_history_takes_little_or_nothing() {
    for (seed, trouble, share, told_at_once, seconds) in [
        (1, full(), 1.0, 60, 700),
        (2, Trouble::NoLeader, 1.0, 60, 700),
        // More than are recorded at once.
        (3, Trouble::Silent, 1.0, 2_400, 700),
        // Each instance records some every second, and the last of them later than a claim lasts.
        (4, full(), 0.999, 3_600, 400),
    ] {
        const ASKED: usize = 60;
        let server = Server::with_streams(seed);
        let asked = count(&server, "cmd.asked").await;
        let told = count(&server, "cmd.told").await;
        let instances = start(&server, 2).await;
        let time = Duration::from_secs(seconds);
        server.trouble_mostly(Some(names::EXECUTIONS_STREAM), trouble, share, time);
        fire(&instances, "request", "cmd.asked", ASKED).await;
        fire(&instances, "core", "cmd.told", told_at_once).await;
        // Longer than a lease, or two.
        sleep(Duration::from_secs(seconds - 50)).await;
        assert_eq!((asked(), told()), (ASKED, told_at_once), "{seed}: while it takes nothing");
        sleep(Duration::from_secs(150)).await;
        assert_eq!((asked(), told()), (ASKED, told_at_once), "{seed}: afterwards");
        let events = server.messages(names::EXECUTIONS_STREAM);
        let ended = events.iter().filter(|event| event.subject.contains(".completed."));
        assert_eq!(ended.count(), ASKED + told_at_once, "{seed}: not all are recorded");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_does_not_wait_for_replies_to_others() {
    let server = Server::with_streams(5);
    let _silent = server.connect().subscribe("cmd.slow".to_owned()).await.unwrap();
    let instances = start(&server, 1).await;
    fire(&instances, "request", "cmd.slow", 80).await;
    sleep(Duration::from_secs(3)).await;
    fire(&instances, "publish", "cmd.example.x", 1).await;
    let ended = || {
        let events = server.messages(names::EXECUTIONS_STREAM).into_iter();
        events.filter(|event| event.subject.contains(".completed.")).count()
    };
    let fired = Instant::now();
    while ended() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(fired.elapsed() < Duration::from_secs(1), "{:?}", fired.elapsed());
}
