//! Prometheus itself scrapes two instances at which everything happens, and every query of the dashboard has data.
//!
//! `PROMETHEUS` names the program, else it is `prometheus` on the `PATH`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Nats, Service, far, in_ms, wait_for, wait_within};

/// Queries that have no data even where everything has happened, each with the reason.
const WITHOUT_DATA: [(&str, &str); 0] = [];
/// The interval that stands for Grafana's, some scrapes long.
const RATE_INTERVAL: &str = "15s";
/// Grace of what is missed while no instance runs.
const GRACE: Duration = Duration::from_secs(1);

/// A running Prometheus; gone when dropped.
struct Prometheus {
    process: Child,
    client: reqwest::Client,
    base: String,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Starts one that scrapes these instances.
    async fn start(services: &[Service]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let mut targets = Vec::new();
        for service in services {
            targets.push(format!("\"{}\"", service.http().await));
        }
        let mut config = String::from("global: { scrape_interval: 1s }\nscrape_configs:\n");
        let _ = writeln!(
            config,
            "- job_name: scheduler\n  static_configs: [{{ targets: [{}] }}]",
            targets.join(", ")
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let program = std::env::var("PROMETHEUS").unwrap_or_else(|_| "prometheus".to_owned());
        let path = |name: &str| Path::new(dir.path()).join(name).display().to_string();
        let process = Command::new(&program)
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; install it or set PROMETHEUS"));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { process, client, base: format!("http://{address}"), _dir: dir }
    }

    /// What a query returns; nothing while it is not answered.
    async fn query(&self, expr: &str) -> Option<Vec<Value>> {
        let query: String = form_urlencoded::byte_serialize(expr.as_bytes()).collect();
        let url = format!("{}/api/v1/query?query={query}", self.base);
        let answer: Value = self.client.get(url).send().await.ok()?.json().await.ok()?;
        assert_ne!(answer["status"], "error", "{expr}: {answer}");
        Some(answer["data"]["result"].as_array()?.clone())
    }
}

/// Has everything happen that the metrics count.
async fn eventful(nats: &Nats) -> Vec<Service> {
    let first = nats.service().await;
    // What nobody is there for is missed.
    let missed = nats
        .create(json!({ "name": "missed", "schedule_type": "one_time", "scheduled_at": in_ms(2_000),
                        "misfire_grace_seconds": GRACE.as_secs(), "target_command": "cmd.example.missed" }))
        .await;
    drop(first);
    let over = tokio::time::Instant::now() + Duration::from_secs(2) + 2 * GRACE;
    tokio::time::sleep_until(over).await;
    let services = vec![nats.service().await, nats.service().await];
    nats.wait_executions(json!({ "schedule_id": missed, "status": "skipped" }), 1).await;

    nats.create_beats(10, "cmd.example.beat").await;
    nats.create(json!({ "name": "lost", "schedule_type": "interval", "interval_seconds": 2,
                        "max_retries": 1, "retry_delay_seconds": 0, "target_command": "cmd.nowhere.lost" }))
        .await;
    nats.ask("group.put", json!({ "name": "one at a time", "limit": 1 })).await;
    for name in ["job", "another job"] {
        nats.create(json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
                            "delivery": { "mode": "job", "timeout_seconds": 60 }, "group": "one at a time",
                            "target_command": "cmd.example.job" }))
            .await;
    }
    let gone = nats.create(far("gone")).await;
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;
    services
}

/// The queries of the dashboard, each with its panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&super::read("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets
            .into_iter()
            .map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    panels.flat_map(of).collect()
}

fn concrete(expr: &str) -> String {
    let expr = expr.replace("$__rate_interval", RATE_INTERVAL);
    expr.replace("$job", "scheduler").replace("$instance", ".*")
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_data_when_everything_has_happened() {
    let nats = Nats::start().await;
    let services = eventful(&nats).await;
    let prometheus = Prometheus::start(&services).await;
    wait_for("both instances to be scraped", || async {
        let up = prometheus.query("up == 1").await?;
        (up.len() == services.len()).then_some(())
    })
    .await;
    let mut open = queries();
    assert!(open.len() > 40, "{}", open.len());
    for (expr, reason) in WITHOUT_DATA {
        assert!(open.iter().any(|(_, known)| known == expr), "{expr} ({reason}) is no query");
    }
    open.retain(|(_, expr)| !WITHOUT_DATA.iter().any(|(without, _)| without == expr));
    // Some of it goes on, so that rates have something to count; the rest is seen once it has been scraped twice.
    let missing = std::sync::Mutex::new(open);
    let within = Duration::from_secs(60);
    let all = async {
        wait_within(within, "data of every query", || async {
            nats.request("schedule.get", &json!({ "schedule_id": uuid::Uuid::nil() })).await;
            let asked = missing.lock().unwrap().clone();
            let mut left = Vec::new();
            for (panel, expr) in asked {
                let found = prometheus.query(&concrete(&expr)).await.unwrap_or_default();
                if found.is_empty() {
                    left.push((panel, expr));
                }
            }
            missing.lock().unwrap().clone_from(&left);
            left.is_empty().then_some(())
        })
        .await;
    };
    let seen = tokio::time::timeout(within - Duration::from_secs(5), all).await;
    assert!(seen.is_ok(), "no data: {:#?}", missing.lock().unwrap());
}
