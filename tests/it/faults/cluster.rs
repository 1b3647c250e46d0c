//! Three nats-servers with three replicas: the shape of production.

use std::time::Duration;

use serde_json::json;

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, wait_for};

#[tokio::test]
async fn losing_any_server_loses_and_doubles_nothing() {
    let mut nats = Nats::cluster().await;
    let (one, two) = (nats.spawn(&[]), nats.spawn(&[]));
    one.ready().await;
    two.ready().await;
    let bucket = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
    assert_eq!(bucket.cached_info().config.num_replicas, 3);
    let ids = nats.create_beats(20, "cmd.example.cluster").await;
    for victim in [None, Some(0), Some(1)] {
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 60).await;
        let server = victim.map_or(&mut nats.server, |n: usize| &mut nats.others[n]);
        server.kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.restart().await.unwrap();
        wait_for("the cluster to answer", || async {
            let stream = nats.js.get_stream("COMMANDS").await.ok()?;
            let cluster = stream.cached_info().cluster.clone()?;
            (cluster.leader.is_some() && cluster.replicas.iter().all(|r| r.current)).then_some(())
        })
        .await;
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_name_is_taken_once_on_replicated_streams() {
    let nats = Nats::cluster().await;
    let (one, two) = (nats.spawn(&[]), nats.spawn(&[]));
    one.ready().await;
    two.ready().await;
    for round in 0..5 {
        let request = json!({ "name": format!("n{round}"), "schedule_type": "interval",
            "interval_seconds": 3600, "target_command": "cmd.example.x" });
        let tries = (0..8).map(|_| nats.request("schedule.create", &request));
        let replies = futures::future::join_all(tries).await;
        let created = replies.iter().filter(|reply| reply.get("error").is_none()).count();
        assert_eq!(created, 1, "{replies:?}");
    }
}
