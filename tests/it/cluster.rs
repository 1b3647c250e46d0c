//! Three nats-servers with three replicas: the shape of production.

use std::time::Duration;

use async_nats::jetstream;
use nats_scheduler::dev::server::{RunningServer, ServerOptions};
use serde_json::json;
use tempfile::TempDir;

use crate::crashes::check_ledgers;
use crate::harness::{Nats, Service, binary, wait_for};

/// Starts a cluster; the first server is the one that the returned [`Nats`] speaks of.
async fn start() -> (Nats, Vec<RunningServer>) {
    let dir = TempDir::new().unwrap();
    let ports: Vec<u16> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .map(|listener| listener.local_addr().unwrap().port())
        .collect();
    let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut servers = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        let mut options = ServerOptions::new(dir.path().join(format!("store-{n}")));
        options.name = Some(format!("n{n}"));
        let listen = format!("nats://127.0.0.1:{port}");
        let arguments =
            ["--cluster_name", "c", "--cluster", &listen, "--routes", &routes.join(",")];
        options.extra_args = arguments.iter().map(Into::into).collect();
        servers.push(RunningServer::start(&binary(), options).await.unwrap());
    }
    let urls: Vec<_> = servers.iter().map(RunningServer::url).collect();
    let client = async_nats::connect(urls).await.unwrap();
    let js = jetstream::new(client.clone());
    let nats = Nats::of(servers.remove(0), client, js, dir);
    let config = include_str!("../../streams/COMMANDS.json")
        .replace("\"num_replicas\": 1", "\"num_replicas\": 3");
    wait_for("the cluster to take a stream", || async {
        let config: jetstream::stream::Config = serde_json::from_str(&config).unwrap();
        nats.js.get_or_create_stream(config).await.ok().map(|_| ())
    })
    .await;
    (nats, servers)
}

fn service(nats: &Nats, servers: &[RunningServer]) -> Service {
    let mut urls: Vec<_> = servers.iter().map(RunningServer::url).collect();
    urls.push(nats.url());
    Service::spawn(&urls.join(","), nats.dir(), &[("STREAM_REPLICAS", "3")])
}

#[tokio::test]
async fn losing_any_server_loses_and_doubles_nothing() {
    let (mut nats, mut servers) = start().await;
    let (one, two) = (service(&nats, &servers), service(&nats, &servers));
    one.ready().await;
    two.ready().await;
    let bucket = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
    assert_eq!(bucket.cached_info().config.num_replicas, 3);
    let ids = nats.create_beats(20, "cmd.example.cluster").await;
    for victim in [None, Some(0), Some(1)] {
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 60).await;
        let server = victim.map_or(&mut nats.server, |n: usize| &mut servers[n]);
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
    let (nats, servers) = start().await;
    let (one, two) = (service(&nats, &servers), service(&nats, &servers));
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
