//! The `dev` command as a newcomer runs it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Nats, SERVICE, binary, wait_for};

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn dev(port: u16, dir: &Path, log: &Path) -> Child {
    let output = std::fs::File::create(log).unwrap();
    Command::new(SERVICE)
        .args(["dev", "--port", &port.to_string(), "--data-dir"])
        .arg(dir.join("data"))
        .env("NATS_SERVER", binary().path)
        .env("API_PORT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .unwrap()
}

async fn ended(child: &mut Child) -> bool {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    wait_for("dev to end", || {
        let status = child.try_wait().unwrap();
        async move { status.map(|status| status.success()) }
    })
    .await
}

async fn ask(port: u16, operation: &str, body: Value) -> Option<Value> {
    let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await.ok()?;
    let subject = format!("cmd.scheduler.{operation}");
    let reply = client.request(subject, body.to_string().into()).await.ok()?;
    serde_json::from_slice(&reply.payload).ok()
}

#[tokio::test]
async fn it_brings_its_server_keeps_its_data_and_stops_both() {
    let dir = tempfile::TempDir::new().unwrap();
    let log = dir.path().join("dev.log");
    let port = free_port();
    for round in 0..2 {
        let mut running = dev(port, dir.path(), &log);
        wait_for("the banner", || async {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("Ctrl-C stops").then_some(())
        })
        .await;
        if round == 0 {
            let request = json!({ "name": "kept", "schedule_type": "interval", "interval_seconds": 1,
                                  "target_command": "cmd.example.kept" });
            let created = ask(port, "schedule.create", request).await.unwrap();
            assert!(created.get("warnings").is_none(), "the example stream captures it: {created}");
        }
        let list = wait_for("the schedule", || ask(port, "schedule.list", json!({}))).await;
        assert_eq!(list["data"][0]["name"], "kept", "round {round}");
        assert!(ended(&mut running).await, "{}", std::fs::read_to_string(&log).unwrap());
        let free = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(free.is_err(), "the server is gone too");
    }
}

#[tokio::test]
async fn it_uses_the_nats_that_is_there_and_leaves_it_running() {
    let nats = Nats::bare().await;
    let dir = tempfile::TempDir::new().unwrap();
    let log = dir.path().join("dev.log");
    let mut running = dev(nats.server.port(), dir.path(), &log);
    wait_for("the banner", || async {
        std::fs::read_to_string(&log).unwrap().contains("already running").then_some(())
    })
    .await;
    assert_eq!(nats.request("status", &json!({})).await["data"]["status"], "ok");
    assert!(ended(&mut running).await);
    assert!(nats.js.query_account().await.is_ok(), "it was not ours to stop");
}
