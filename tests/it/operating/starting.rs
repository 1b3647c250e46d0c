//! Output of `serve` when it starts and stops, and when something is in the way.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Nats, Service, binary, wait_for};

#[tokio::test]
async fn faulty_settings_are_named_together() {
    let dir = TempDir::new().unwrap();
    let settings = [
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "yaml"),
        ("NATS_CREDS", "/nowhere/x.creds"),
        ("SCHEDULER_TIMEZONE", "Berlin"),
    ];
    let mut service = Service::spawn("xyz://", dir.path(), &settings);
    assert_eq!(service.exited().await.code(), Some(2));
    let log = service.log();
    for (name, _) in settings.iter().chain(&[("NATS_URL", "")]) {
        assert_eq!(log.matches(&format!("error: {name}: ")).count(), 1, "{name}: {log}");
    }
    assert!(log.contains("ERROR, WARN, INFO, DEBUG, TRACE or OFF"), "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_setting_that_is_no_text_is_not_taken_for_unset() {
    use std::os::unix::ffi::OsStrExt as _;
    let value = std::ffi::OsStr::from_bytes(b"secret\xff");
    let output = Command::new(crate::harness::SERVICE)
        .arg("serve")
        .env_clear()
        .env("NATS_PASSWORD", value)
        .env("STREAM_REPLICAS", "2")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("NATS_PASSWORD: is not UTF-8"), "{said}");
    assert!(said.contains("STREAM_REPLICAS") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_port_of_http_that_is_taken_is_an_error_before_it_is_ready() {
    let nats = Nats::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut service = nats.spawn(&[("API_PORT", &port)]);
    assert_eq!(service.exited().await.code(), Some(1));
    let log = service.log();
    assert!(log.contains(&format!("127.0.0.1:{port}: another program does")), "{log}");
    assert!(log.contains("API_PORT") && !log.contains("answering requests"), "{log}");
}

#[tokio::test]
async fn a_file_says_where_http_listens_while_it_does() {
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let (address, file) = (service.http().await, service.url_file.clone());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("http://{address}\n"));
    assert!(service.stop().await.success());
    assert!(!file.exists());
    let mut without = nats.spawn(&[("API_URL_FILE", "/nowhere/url")]);
    assert_eq!(without.exited().await.code(), Some(1));
    let log = without.log();
    assert!(log.contains("error: API_URL_FILE: /nowhere/url: No such file"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_it_without_waiting() {
    let nats = Nats::start().await;
    let mut silent = nats.client.subscribe("cmd.silent.work").await.unwrap();
    let mut service = nats.service_with(&[("SHUTDOWN_GRACE_SECONDS", "3000")]).await;
    nats.create(json!({ "name": "silent", "schedule_type": "immediate", "max_retries": 0,
                        "target_command": "cmd.silent.work",
                        "delivery": { "mode": "request", "timeout_seconds": 3000 } }))
        .await;
    silent.next().await.unwrap();
    service.signal("-TERM");
    service.wait_log("another signal ends it at once executions=1 grace_seconds=3000").await;
    service.signal("-INT");
    assert_eq!(service.exited().await.code(), Some(130));
}

#[tokio::test]
async fn healthcheck_names_the_address_that_it_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    for (port, message) in [
        (port.as_str(), format!("error: http://127.0.0.1:{port}/live: ")),
        ("0", "error: API_PORT is 0".to_owned()),
        ("off", "error: there is no HTTP to ask: API_PORT is off".to_owned()),
    ] {
        let output = Command::new(crate::harness::SERVICE)
            .arg("healthcheck")
            .env_clear()
            .env("API_PORT", port)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&message), "{said}");
    }
}

/// A nats-server without JetStream, killed when dropped.
struct Plain(Child, String);

impl Plain {
    async fn start(dir: &Path) -> Self {
        let child = Command::new(binary().path)
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = wait_for("its port", || async {
            let entry = std::fs::read_dir(dir).unwrap().find_map(|entry| {
                let path = entry.unwrap().path();
                path.extension().is_some_and(|ending| ending == "ports").then_some(path)
            })?;
            let ports: serde_json::Value =
                serde_json::from_slice(&std::fs::read(entry).ok()?).ok()?;
            ports["nats"][0].as_str().map(str::to_owned)
        })
        .await;
        Self(child, url)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn without_jetstream_it_says_so_once_and_not_at_each_try() {
    let dir = TempDir::new().unwrap();
    let plain = Plain::start(dir.path()).await;
    let service = Service::spawn(&plain.1, dir.path(), &[]);
    service.wait_log("NATS runs without JetStream").await;
    // Its further tries are answered as those of an account without JetStream, so that they can be counted.
    let client = async_nats::connect(&plain.1).await.unwrap();
    let mut tries = client.subscribe("$JS.API.INFO").await.unwrap();
    for _ in 0..4 {
        let request = tries.next().await.unwrap();
        let refusal = json!({ "type": "io.nats.jetstream.api.v1.account_info_response",
            "error": { "code": 503, "err_code": 10039,
                       "description": "jetstream not enabled for account" } });
        client.publish(request.reply.unwrap(), refusal.to_string().into()).await.unwrap();
    }
    let log = service.log();
    assert!(log.contains("our account in NATS has no JetStream"), "{log}");
    assert_eq!(log.matches("waiting for JetStream").count(), 2, "each reason once: {log}");
}
