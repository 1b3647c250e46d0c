//! Clients that hold connections: slow, silent, or too many. They cost others nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::StatusCode;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::harness::{DEADLINE, Nats, Service, wait_for};
use crate::http::{Http, client};

/// Longer than anybody may keep the service waiting, on a machine that is busy.
const END: Duration = Duration::from_secs(60);
/// Requests for far more than sockets hold.
const FOR_MUCH: &str = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// So many of them that who reads half a MiB a second is done well before [`END`], also when the document grows.
const MUCH: usize = 40;

/// A way to keep a server waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    /// Says nothing.
    Silent,
    /// Sends its head a byte at a time.
    Head,
    /// Sends the head of its second request so.
    SecondHead,
    /// Sends its body so.
    Body,
    /// Reads no answer.
    Reader,
}

async fn connect(address: SocketAddr, slow: Slow) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if slow == Slow::Reader {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.connect(address).await.unwrap()
}

/// Keeps a server waiting until it is thrown out; how long that took, and what it was told.
async fn dawdle(mut stream: TcpStream, slow: Slow) -> (Duration, String) {
    let started = Instant::now();
    let live = "GET /live HTTP/1.1\r\nHost: localhost\r\n";
    let first = match slow {
        Slow::Silent => String::new(),
        Slow::Head => format!("{live}X-A: "),
        Slow::SecondHead => format!("{live}\r\n"),
        Slow::Body => "POST /api/v1/schedules HTTP/1.1\r\nHost: localhost\r\n\
                       Content-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
            .to_owned(),
        Slow::Reader => FOR_MUCH.repeat(MUCH),
    };
    let _ = stream.write_all(first.as_bytes()).await;
    let mut told = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        tokio::select! {
            read = stream.read(&mut chunk), if slow != Slow::Reader => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => told.extend_from_slice(&chunk[..length]),
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if slow != Slow::Silent && stream.write_all(b"x").await.is_err() {
                    break;
                }
            }
        }
    }
    (started.elapsed(), String::from_utf8_lossy(&told).into_owned())
}

/// Lets this process have as many sockets as the test needs.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(8192), |most| Some(most.min(8192)));
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(not(unix))]
fn allow_many_files() {}

/// How many files a process has open, where the system says so.
fn open_files(service: &Service) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", service.pid()));
    files.map_or(0, |files| files.count())
}

/// How many connections were cut for a reason.
pub async fn cut(http: &Http, reason: &str) -> u64 {
    let metrics = http.get("/metrics").await.body;
    let name = format!("http_connections_cut_total{{reason=\"{reason}\"}} ");
    let line = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_cost_others_nothing() {
    allow_many_files();
    let nats = Nats::start().await;
    let service = nats.service().await;
    let address = service.http().await;
    let http = Http::new(&service).await;
    let beat = nats.create_beats(1, "cmd.example.beat").await.remove(0);
    nats.wait_executions(json!({ "schedule_id": beat }), 1).await;

    let started = Instant::now();
    let mut slow = JoinSet::new();
    // So many at a moment: for who says nothing and is never accepted there is no end that he hears of.
    let connecting = Arc::new(Semaphore::new(100));
    for n in 0..2000 {
        let way = [Slow::Silent, Slow::Head, Slow::Body, Slow::Reader][n % 4];
        let connecting = Arc::clone(&connecting);
        slow.spawn(async move {
            let turn = connecting.acquire_owned().await.unwrap();
            let stream = connect(address, way).await;
            drop(turn);
            dawdle(stream, way).await
        });
    }
    let (mut ended, mut slowest, mut most_files) = (0, Duration::ZERO, 0);
    let fresh = Http { client: client(None), ..http.clone() };
    while ended < 2000 {
        let asked = Instant::now();
        let fresh = Http { client: client(None), ..fresh.clone() };
        let (probe, list) = tokio::join!(fresh.get("/live"), http.get("/api/v1/schedules"));
        assert_eq!((probe.status, list.status), (StatusCode::OK, StatusCode::OK));
        slowest = slowest.max(asked.elapsed());
        most_files = most_files.max(open_files(&service));
        assert!(started.elapsed() < END, "{ended} of 2000 were thrown out");
        let pause = tokio::time::sleep(Duration::from_millis(200));
        tokio::pin!(pause);
        while let Some(done) = tokio::select! {
            () = &mut pause => None,
            done = slow.join_next(), if !slow.is_empty() => done,
        } {
            done.unwrap();
            ended += 1;
        }
    }
    assert!(slowest < Duration::from_secs(5), "an answer took {slowest:?}");
    // Those that are cut are closed when there is a processor for it.
    assert!(most_files < 2 * 1024 + 500, "{most_files} files were open");
    let seconds = started.elapsed().as_secs();
    let filter = json!({ "schedule_id": beat, "status": "success" });
    let beats = nats.wait_executions(filter, seconds.saturating_sub(3)).await;
    assert!(!beats.is_empty(), "it fired all the time");
    for reason in ["slow_head", "slow_reader", "crowded"] {
        assert!(cut(&http, reason).await > 0, "{reason}");
    }
}

#[tokio::test]
async fn who_is_slow_is_cut_and_who_is_steady_is_not() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let address = service.http().await;
    let steady = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let last = FOR_MUCH.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let requests = FOR_MUCH.repeat(MUCH - 1) + &last;
        stream.write_all(requests.as_bytes()).await.unwrap();
        let (mut chunk, mut whole) = (vec![0; 64 << 10], Vec::new());
        let started = Instant::now();
        loop {
            let length = stream.read(&mut chunk).await.unwrap();
            if length == 0 {
                break;
            }
            whole.extend_from_slice(&chunk[..length]);
            // 512 KiB a second.
            let due = Duration::from_millis(u64::try_from(whole.len() >> 9).unwrap());
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
        String::from_utf8(whole).unwrap().matches("HTTP/1.1 200").count()
    };
    let all = futures::future::join_all(
        [Slow::Silent, Slow::Head, Slow::SecondHead, Slow::Body, Slow::Reader]
            .map(|slow| async move { (slow, dawdle(connect(address, slow).await, slow).await) }),
    );
    let (slow, steady) = tokio::time::timeout(END, async { tokio::join!(all, steady) })
        .await
        .expect("some were not cut");
    assert_eq!(steady, MUCH, "all answers of who reads at his own pace");
    for (slow, (took, told)) in slow {
        let (least, most) = match slow {
            Slow::Silent | Slow::Head | Slow::SecondHead => (9, 20),
            Slow::Body | Slow::Reader => (19, 40),
        };
        assert!((least..most).contains(&took.as_secs()), "{slow:?} took {took:?}");
        match slow {
            Slow::SecondHead => assert!(told.contains("200 OK"), "{told}"),
            Slow::Body => assert!(told.contains("408 ") && told.contains("64 KiB"), "{told}"),
            _ => assert_eq!(told, "", "{slow:?}"),
        }
    }
}

/// Somebody who speaks HTTP/2, asks for something, and never has room for the answer.
async fn keep_answer_waiting(address: SocketAddr, connector: TlsConnector) -> Duration {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS: INITIAL_WINDOW_SIZE is 0.
    request.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // HEADERS, which end them and the stream: GET, https, the path, the authority.
    let mut head = vec![0x82, 0x87, 4, 5];
    head.extend(b"/docs");
    head.extend([1, 9]);
    head.extend(b"127.0.0.1");
    request.extend([0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    request.extend(head);
    stream.write_all(&request).await.unwrap();
    let (started, mut chunk) = (Instant::now(), [0; 1024]);
    while stream.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
    started.elapsed()
}

#[tokio::test]
async fn over_tls_a_handshake_and_an_answer_over_http2_have_an_end_too() {
    let nats = Nats::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (cert_file, key_file) = (nats.dir().join("http.pem"), nats.dir().join("http.key"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let service = nats
        .service_with(&[
            ("API_TLS_CERT", cert_file.to_str().unwrap()),
            ("API_TLS_KEY", key_file.to_str().unwrap()),
        ])
        .await;
    let address = service.http().await;
    let http = Http {
        client: client(Some(&certificate.pem())),
        base: format!("https://{address}"),
        token: None,
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let waiting = keep_answer_waiting(address, TlsConnector::from(Arc::new(tls)));
    let whole = async {
        let document = http.get("/openapi.json").await;
        assert!(document.body["paths"].is_object(), "in many pieces, and whole");
    };
    let (silent, waited, ()) = tokio::time::timeout(END, async {
        let silent = connect(address, Slow::Silent).await;
        tokio::join!(dawdle(silent, Slow::Silent), waiting, whole)
    })
    .await
    .expect("they were not cut");
    assert!(silent.0 < Duration::from_secs(20), "{silent:?}");
    assert!(waited >= Duration::from_secs(19), "{waited:?}");
    assert_eq!(cut(&http, "slow_reader").await, 1);
}

#[tokio::test]
async fn one_more_takes_the_place_of_the_idlest_and_not_of_one_that_is_worked_on() {
    let nats = Nats::bare().await;
    let settings = [("API_MAX_CONNECTIONS", "8"), ("API_MAX_CONCURRENT", "3")];
    let service = nats.service_with(&settings).await;
    let address = service.http().await;
    let http = Http::new(&service).await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let body = json!({ "target_command": "cmd.slow.job", "wait_ms": 30000,
                       "delivery": { "mode": "request", "timeout_seconds": 30 } });
    let mut working = JoinSet::new();
    let mut replies = Vec::new();
    // Three that are worked on, and as many that wait as leave a connection that does neither.
    for _ in 0..7 {
        let (http, body) = (http.clone(), body.clone());
        working.spawn(async move { http.post("/api/v1/executions", body).await });
        replies.push(requests.next().await.unwrap().reply.unwrap());
    }
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    for _ in 0..5 {
        let fresh = Http { client: client(None), ..http.clone() };
        assert_eq!(fresh.get("/live").await.status, 200, "probes while all are busy");
        fresh.get("/api/v1/schedules").await.refused(503, "unavailable");
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, idle.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it made room");
    for reply in replies {
        nats.client.publish(reply, "{}".into()).await.unwrap();
    }
    while let Some(done) = working.join_next().await {
        let done = done.unwrap();
        assert_eq!(done.body["data"]["execution"]["status"], "success", "{done:?}");
    }
    let fresh = Http { client: client(None), ..http.clone() };
    assert!(cut(&fresh, "crowded").await >= 1);
    wait_for("it to be said", || async {
        service.log().contains("API_MAX_CONNECTIONS").then_some(())
    })
    .await;
}
