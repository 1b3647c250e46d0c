//! Instances that join while others fire.

use std::time::Duration;

use nats_scheduler::metrics::{Format, Gauges};
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;

use crate::instance::Instance;
use crate::nats::Server;

/// Claims of an instance that another one's came before.
fn refused(instance: &Instance) -> u64 {
    let text = instance.api.metrics.encode(&Gauges::default(), Format::OpenMetrics);
    let count = text.lines().find_map(|l| l.strip_prefix("scheduler_claim_conflicts_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_comes_knows_the_others_before_it_claims() {
    let server = Server::with_streams(5);
    let one = Instance::start(&server, 1).await;
    for n in 0..50 {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
            "target_command": format!("cmd.example.{n}"),
        }))
        .unwrap();
        one.api.create_schedule(request, &one.caller()).await.unwrap();
    }
    let mut others = Vec::new();
    for n in 2..5 {
        // At some other time between the heartbeats of those who are there.
        tokio::time::sleep(Duration::from_millis(4200)).await;
        others.push(Instance::start(&server, n).await);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let refused: Vec<_> = others.iter().chain([&one]).map(refused).collect();
    let sent = server.messages("COMMANDS").len() as u64;
    // What one who was there settles may still come before a claim of one who has come.
    assert!(refused.iter().sum::<u64>() < sent / 50, "{refused:?} refused of {sent}");
}
