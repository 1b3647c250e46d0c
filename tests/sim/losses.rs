//! A server that loses power, and with it what it had acknowledged last.

use std::time::Duration;

use nats_scheduler::client::PauseSchedule;
use nats_scheduler::guards::Guard;
use nats_scheduler::names;
use nats_scheduler::port::{Append, Nats as _};
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;
use tokio::time::sleep;

use crate::guards::without;
use crate::instance;
use crate::nats::Server;

/// Whether a schedule fires again whose pause the server has lost: the bucket has it as it was before. Others write so
/// much, before the instance is back, that revisions alone do not show it.
async fn fires_again(seed: u64) -> bool {
    let server = Server::with_streams(seed);
    let other = server.connect();
    let instances = instance::start(&server, 1).await;
    let (one, nats) = &instances[0];
    let request: CreateSchedule = serde_json::from_value(json!({
        "name": "s", "schedule_type": "interval", "interval_seconds": 1,
        "target_command": "cmd.example.s",
    }))
    .unwrap();
    let id = one.api.create_schedule(request, &one.caller()).await.unwrap().data.id;
    sleep(Duration::from_millis(3300)).await;
    let pause = PauseSchedule { schedule_id: Some(id), ..PauseSchedule::default() };
    one.api.pause_schedule(pause, &one.caller()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    nats.cut();
    server.restart(Duration::from_millis(100), Duration::from_millis(900), None);
    sleep(Duration::from_secs(2)).await;
    for n in 0..50 {
        let subject = names::key_subject(&format!("other.{n}"));
        other.append(Append::new(subject, "{}".into())).await.unwrap();
    }
    let before = server.messages("COMMANDS").len();
    nats.reconnect();
    sleep(Duration::from_secs(20)).await;
    server.messages("COMMANDS").len() > before + 5
}

#[test]
fn what_a_server_has_lost_is_noticed_and_forgotten() {
    let run = |guard| {
        let run = |seed| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().start_paused(true).build().unwrap();
            without(guard, || runtime.block_on(fires_again(seed)))
        };
        (1..5).map(run).collect::<Vec<_>>()
    };
    assert_eq!(run(None), [true; 4]);
    assert_eq!(run(Some(Guard::Kept)), [false; 4], "and this is what would miss it");
}
