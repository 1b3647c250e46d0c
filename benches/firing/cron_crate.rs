//! The crate `tokio-cron-scheduler`: jobs in the memory of one process, which publish messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, SubsecRound as _, Utc};
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::ground::{late, payload, whole_second};
use crate::harness::Nats;
use crate::lateness::Lateness;

/// Lateness of `count` commands that are due at one instant.
pub async fn burst(count: usize) -> Lateness {
    let nats = Nats::start().await;
    let mut scheduler = JobScheduler::new_with_channel_size(2 * count).await.unwrap();
    let due = whole_second(10 + (count / 2_000) as i64);
    let at = Instant::now() + (due - Utc::now()).to_std().unwrap();
    let body: bytes::Bytes = payload().to_string().into();
    for _ in 0..count {
        let (js, body) = (nats.js.clone(), body.clone());
        let job = Job::new_one_shot_at_instant_async(at, move |_, _| {
            let (js, body) = (js.clone(), body.clone());
            Box::pin(async move { publish(&js, body, due).await })
        });
        scheduler.add(job.unwrap()).await.unwrap();
    }
    scheduler.start().await.unwrap();
    assert!(Utc::now() < due, "creating took too long");
    let late = late(&nats, "COMMANDS", "cmd.example.>", count, |_| due).await;
    scheduler.shutdown().await.unwrap();
    late
}

/// Lateness of commands when `rate` of them are due at every second, and how many there were.
pub async fn steady(rate: usize, seconds: usize) -> Lateness {
    let nats = Nats::start().await;
    let mut scheduler = JobScheduler::new_with_channel_size(4 * rate).await.unwrap();
    let (body, sent) = (bytes::Bytes::from(payload().to_string()), Arc::<AtomicUsize>::default());
    for _ in 0..rate {
        let (js, body, sent) = (nats.js.clone(), body.clone(), Arc::clone(&sent));
        let job = Job::new_async("* * * * * *", move |_, _| {
            let (js, body, sent) = (js.clone(), body.clone(), Arc::clone(&sent));
            Box::pin(async move {
                // The crate does not name the due time: at best it is the second of the call.
                publish(&js, body, Utc::now().trunc_subsecs(0)).await;
                sent.fetch_add(1, Ordering::Relaxed);
            })
        });
        scheduler.add(job.unwrap()).await.unwrap();
    }
    scheduler.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    scheduler.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = sent.load(Ordering::Relaxed);
    late(&nats, "COMMANDS", "cmd.example.>", count, |_| unreachable!("all have a header")).await
}

async fn publish(js: &async_nats::jetstream::Context, body: bytes::Bytes, due: DateTime<Utc>) {
    let message = PublishMessage::build()
        .payload(body)
        .header("Scheduler-Scheduled-For", due.to_rfc3339().as_str());
    js.send_publish("cmd.example.cron", message).await.unwrap().await.unwrap();
}
