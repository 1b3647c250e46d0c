//! Three nats-servers in a cluster on this machine, with everything on three replicas.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};
use nats_scheduler::dev::server::{RunningServer, ServerBinary, ServerOptions};
use rand::seq::SliceRandom as _;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Number of servers.
pub const SERVERS: usize = 3;
/// Ports below the range that the system assigns to outgoing connections: nothing may take a server's port while it is
/// down. The clusters of other tests have those from 20,000 on.
const PORTS: std::ops::Range<u16> = 28_000..32_000;
/// Maximum time for a server to start: others are busy too.
const START: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

/// The cluster. Its servers end with it.
pub struct Cluster {
    servers: Vec<Mutex<RunningServer>>,
    ports: Vec<u16>,
    /// A connection to any of the servers, for users, workers and checks.
    pub client: Client,
    /// The same as an operator of the servers.
    operator: Client,
}

impl Cluster {
    /// Starts the servers, with their stores and logs in `folder`.
    pub async fn start(binary: &ServerBinary, folder: &Path) -> Self {
        let ports = free_ports(2 * SERVERS);
        let (ports, routes) = ports.split_at(SERVERS);
        let mut servers = Vec::new();
        for (n, port) in ports.iter().enumerate() {
            let config = folder.join(format!("server-{n}.conf"));
            std::fs::write(&config, configuration(n, routes)).unwrap();
            let mut options = ServerOptions::new(folder.join(format!("server-{n}")));
            options.config = Some(config);
            options.log_file = Some(folder.join(format!("server-{n}.log")));
            (options.port, options.start_deadline) = (Some(*port), START);
            servers.push(Mutex::new(RunningServer::start(binary, options).await.unwrap()));
        }
        let urls: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let client = options().connect(&urls).await.unwrap();
        let operator = options().user_and_password("operator".into(), "operator".into());
        let operator = operator.connect(&urls).await.unwrap();
        let cluster = Self { servers, ports: ports.to_vec(), client, operator };
        cluster.add_stream().await;
        cluster
    }

    /// Creates the stream that commands go to.
    async fn add_stream(&self) {
        let text = include_str!("../../../streams/COMMANDS.json");
        let mut config: stream::Config = serde_json::from_str(text).unwrap();
        config.num_replicas = SERVERS;
        let streams = jetstream::new(self.client.clone());
        let started = Instant::now();
        // The servers first have to find each other.
        while let Err(error) = streams.get_or_create_stream(config.clone()).await {
            assert!(started.elapsed() < PATIENCE, "the cluster takes no stream: {error}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The ports for clients.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// One connection to each of the servers.
    pub async fn client_of_each(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for url in self.urls().split(',') {
            clients.push(options().connect(url).await.unwrap());
        }
        clients
    }

    /// URLs for clients that bypass all proxies.
    pub fn urls(&self) -> String {
        let urls = self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}"));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Kills a server, and restarts it after a while.
    pub async fn kill(&self, which: usize, away: Duration) {
        let mut server = self.servers[which].lock().await;
        server.kill();
        sleep(away).await;
        server.restart().await.unwrap();
    }

    /// Freezes a server for a while.
    pub async fn freeze(&self, which: usize, time: Duration) {
        let server = self.servers[which].lock().await;
        server.freeze().unwrap();
        sleep(time).await;
        server.thaw().unwrap();
    }

    /// Makes another server lead a stream.
    pub async fn step_down(&self, stream: &str) {
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        // The stream may have no leader at the moment.
        let _ = self.client.request(subject, "".into()).await;
    }

    /// Makes another server lead the cluster.
    pub async fn step_down_meta(&self) {
        let _ = self.operator.request("$JS.API.META.LEADER.STEPDOWN", "".into()).await;
    }

    /// Waits until every stream has a leader and all replicas are up to date.
    pub async fn heals(&self, streams: &[&str]) {
        let started = Instant::now();
        for stream in streams {
            while !self.note_whole(stream).await {
                assert!(started.elapsed() < PATIENCE, "{stream} does not become whole again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn note_whole(&self, stream: &str) -> bool {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let Ok(info) = self.client.request(subject, "".into()).await else { return false };
        let info: Value = serde_json::from_slice(&info.payload).unwrap_or_default();
        let replicas = info["cluster"]["replicas"].as_array();
        info["cluster"]["leader"].is_string()
            && replicas.is_some_and(|all| all.iter().all(|one| one["current"] == true))
    }
}

/// Options that detect broken connections soon, so that the service is what is measured.
fn options() -> ConnectOptions {
    ConnectOptions::new().ping_interval(Duration::from_secs(2))
}

fn configuration(n: usize, routes: &[u16]) -> String {
    let route = |port: &u16| format!("\"nats://127.0.0.1:{port}\"");
    let urls = routes.iter().map(route).collect::<Vec<_>>().join(", ");
    let port = routes[n];
    // Servers that tell clients about each other would lead instances past their proxies.
    format!(
        r#"server_name: server-{n}
jetstream {{ store_dir: $NATS_STORE_DIR }}
accounts {{
  $SYS {{ users: [ {{ user: operator, password: operator }} ] }}
  APP {{ jetstream: enabled, users: [ {{ user: app, password: app }} ] }}
}}
no_auth_user: app
cluster {{ name: chaos, listen: "127.0.0.1:{port}", routes: [ {urls} ], no_advertise: true }}
"#
    )
}

/// Ports that are currently free.
fn free_ports(count: usize) -> Vec<u16> {
    let mut ports: Vec<u16> = PORTS.collect();
    // Not drawn from the seed: another run with the same seed may be under way.
    ports.shuffle(&mut rand::rng());
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.into_iter().filter(is_free).take(count).collect()
}
