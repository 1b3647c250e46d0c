//! The REST facade: routes, headers, statuses, refusals, tokens, TLS, probes, metrics, stopping.

pub mod limits;
mod service;
mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Nats, Service, in_ms, wait_for};

/// Somebody who asks over HTTP.
#[derive(Clone)]
pub struct Http {
    pub client: reqwest::Client,
    pub base: String,
    pub token: Option<&'static str>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// Asserts that it is a refusal of the right shape.
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["error"]["code"], code, "{self:?}");
        assert!(!self.body["error"]["message"].as_str().unwrap().is_empty());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.body["request_id"], self.header("x-request-id"));
        assert_eq!(self.body["correlation_id"], self.header("x-correlation-id"));
        &self.body["error"]
    }
}

impl Http {
    pub async fn new(service: &Service) -> Self {
        let base = format!("http://{}", service.http().await);
        Self { client: client(None), base, token: None }
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub fn get(&self, path: &str) -> BoxFuture<'static, Answer> {
        answer(self.ask(Method::GET, path))
    }

    /// Why a path is refused.
    pub async fn error(&self, path: &str) -> Value {
        self.get(path).await.body["error"].clone()
    }

    pub fn post(&self, path: &str, body: Value) -> BoxFuture<'static, Answer> {
        answer(self.ask(Method::POST, path).json(&body))
    }
}

pub fn client(root: Option<&str>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match root {
        Some(pem) => {
            let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
            builder.tls_certs_only([root])
        }
        None => builder.tls_certs_only([]),
    };
    builder.build().unwrap()
}

pub fn answer(request: RequestBuilder) -> BoxFuture<'static, Answer> {
    async move {
        let response = request.timeout(Duration::from_secs(30)).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }
    .boxed()
}

pub fn schedule(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "cron", "cron_expression": "0 0 1 1 *",
            "target_command": "cmd.example.http" })
}

#[tokio::test]
async fn a_schedule_lives_over_http() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let create = http.ask(Method::POST, "/api/v1/schedules").json(&schedule("whole"));
    let created = answer(
        create
            .header("X-Created-By", "anna")
            .header("X-Correlation-ID", "c-1")
            .header("X-Request-ID", "r-1"),
    )
    .await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.body["data"]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/schedules/{id}");
    assert_eq!(created.header("location"), path);
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(created.header("x-correlation-id"), "c-1");
    assert_eq!(created.header("x-request-id"), "r-1");
    assert_eq!(created.body["correlation_id"], "c-1");
    assert_eq!(created.body["data"]["created_by"], "anna");
    assert_eq!(created.body["links"]["self"], path);
    let over_nats = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    let got = http.get(&path).await;
    assert_eq!(got.body["data"], over_nats, "the same over both");

    // Changes, each by whoever its header says, and only of the revision that is expected.
    let change = |revision: &str, body: Value| {
        let request = http.ask(Method::PUT, &path).header("If-Match", revision);
        answer(request.header("X-Updated-By", "ben").json(&body))
    };
    let changed = change("\"1\"", json!({ "priority": 9 })).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""));
    assert_eq!(changed.body["data"]["updated_by"], "ben");
    let stale = change("\"1\"", json!({ "priority": 8 })).await;
    stale.refused(409, "conflict");
    change("three", json!({})).await.refused(400, "invalid");
    change("*", json!({ "priority": 7 })).await;
    assert_eq!(http.get(&path).await.body["data"]["priority"], 7);
    let patched = answer(http.ask(Method::PATCH, &path).json(&json!({ "tags": ["a,b"] }))).await;
    assert_eq!(patched.body["data"]["priority"], 7, "only given fields change: {patched:?}");

    let paused = answer(
        http.ask(Method::POST, &format!("{path}/pause?reason=too%20loud"))
            .header("X-Paused-By", "cora"),
    )
    .await;
    assert_eq!(paused.body["data"]["pause_reason"], "too loud");
    assert_eq!(paused.body["data"]["updated_by"], "cora");
    for at in ["2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let refused = http.post(&format!("{path}/pause?resume_at={at}"), json!({})).await;
        assert_eq!(refused.body["error"]["details"][0]["field"], "resume_at", "{refused:?}");
        refused.refused(400, "invalid");
    }
    let at = in_ms(3_600_000).replace("+00:00", "Z");
    for (query, body) in
        [(format!("?resume_at={at}"), json!({})), (String::new(), json!({ "resume_at": at }))]
    {
        let paused = http.post(&format!("{path}/pause{query}"), body).await;
        assert!(paused.body["data"]["resume_at"].is_string(), "{paused:?}");
    }
    let resumed = answer(http.ask(Method::POST, &format!("{path}/resume"))).await;
    assert_eq!(resumed.body["data"]["status"], "active", "{resumed:?}");
    assert_eq!(resumed.body["data"]["resume_at"], json!(null), "{resumed:?}");
    answer(http.ask(Method::POST, &format!("{path}/resume"))).await.refused(422, "not_allowed");
    let body = json!({ "override_payload": { "by": "hand" } });
    let triggered = http.post(&format!("{path}/trigger?wait_ms=5000"), body).await;
    let execution = triggered.body["data"]["execution_id"].as_str().unwrap();
    assert_eq!(triggered.body["data"]["execution"]["command_payload"]["by"], "hand");

    let one = http.get(&format!("/api/v1/executions/{execution}")).await;
    assert_eq!(one.body["data"]["status"], "success", "{one:?}");
    let executions = http.get(&format!("{path}/executions?status=success&limit=5")).await;
    assert_eq!(executions.body["pagination"]["total"], 1, "{executions:?}");
    let correlation = triggered.body["correlation_id"].as_str().unwrap();
    let found = http.get(&format!("/api/v1/executions/by-correlation/{correlation}")).await;
    assert_eq!(found.body["data"][0]["id"], execution);
    let stats = http.get(&format!("/api/v1/executions/stats/{id}?time_window_hours=1")).await;
    assert_eq!(stats.body["data"]["successful"], 1, "{stats:?}");
    let all = http.get("/api/v1/executions/stats").await;
    assert_eq!(all.body["data"]["total_executions"], 1);
    assert_eq!(http.get("/api/v1/executions/running").await.body["data"], json!([]));

    // A condition in a body that nobody reads would be none.
    let body = json!({ "expected_revision": 1 });
    let ignored = answer(http.ask(Method::DELETE, &path).json(&body)).await;
    assert_eq!(ignored.refused(400, "invalid")["details"][0]["field"], "body");
    let deleted = answer(http.ask(Method::DELETE, &format!("{path}?hard_delete=false"))).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body), (204, &json!("")));
    let restored = answer(http.ask(Method::POST, &format!("{path}/restore"))).await;
    assert_eq!(restored.status, 200, "{restored:?}");
    let deleted = answer(http.ask(Method::DELETE, &format!("{path}?hard_delete=true"))).await;
    assert_eq!(deleted.status, 204);
    http.get(&path).await.refused(404, "not_found");
    let again = answer(http.ask(Method::DELETE, &path)).await;
    again.refused(404, "not_found");
}

#[tokio::test]
async fn every_refusal_is_json_and_names_the_field() {
    let nats = Nats::start().await;
    let service = nats
        .service_with(&[("API_MAX_BODY_BYTES", "2000"), ("MAX_SCHEDULES_PER_CREATOR", "1")])
        .await;
    let http = Http::new(&service).await;
    let faults = |answer: &Answer| {
        let details = answer.refused(400, "invalid")["details"].clone();
        let fields = details.as_array().unwrap().iter();
        fields.map(|fault| fault["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let wrong =
        http.post("/api/v1/schedules", json!({ "name": 5, "nme": "x", "priority": 11 })).await;
    assert_eq!(faults(&wrong).len(), 5, "all at once: {wrong:?}");
    for (path, field) in [
        ("/api/v1/schedules?limit=many", "limit"),
        ("/api/v1/schedules?limit=0", "limit"),
        ("/api/v1/schedules?status=odd", "status"),
        ("/api/v1/schedules?is_active=maybe", "is_active"),
        ("/api/v1/schedules?colour=red", "colour"),
        ("/api/v1/schedules?page=1&page=2", "page"),
        ("/api/v1/schedules/running", "schedule_id"),
        ("/api/v1/executions/1", "execution_id"),
        ("/api/v1/executions?started_after=yesterday", "started_after"),
        ("/api/v1/executions/stats/x", "schedule_id"),
    ] {
        assert_eq!(faults(&http.get(path).await), [field], "{path}");
    }
    let id = uuid::Uuid::new_v4();
    let odd =
        answer(http.ask(Method::POST, &format!("/api/v1/schedules/{id}/resume?reason=x"))).await;
    assert_eq!(faults(&odd), ["reason"]);
    let both =
        http.post(&format!("/api/v1/schedules/{id}/pause"), json!({ "schedule_id": id })).await;
    assert_eq!(faults(&both), ["schedule_id"], "an id is given once");
    let text = http
        .ask(Method::POST, "/api/v1/schedules")
        .body("{")
        .header("Content-Type", "application/json");
    assert_eq!(faults(&answer(text).await), ["body"], "and nothing else");
    let long =
        http.ask(Method::GET, "/api/v1/schedules").header("X-Correlation-ID", "x".repeat(300));
    assert_eq!(faults(&answer(long).await), ["X-Correlation-ID"]);

    let form = http
        .ask(Method::POST, "/api/v1/schedules")
        .body("name=x")
        .header("Content-Type", "text/plain");
    answer(form).await.refused(415, "unsupported_media_type");
    let mut large = schedule("large");
    large["description"] = json!("x".repeat(3000));
    http.post("/api/v1/schedules", large).await.refused(413, "too_large");
    // Not only by what the head says.
    let chunks = futures::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>("x".repeat(500))));
    let chunked = http
        .ask(Method::POST, "/api/v1/schedules")
        .header("Content-Type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    answer(chunked).await.refused(413, "too_large");

    assert_eq!(http.post("/api/v1/schedules", schedule("first")).await.status, 201);
    http.post("/api/v1/schedules", schedule("first")).await.refused(409, "already_exists");
    let limited = http.post("/api/v1/schedules", schedule("second")).await;
    let message = limited.refused(429, "limit_exceeded")["message"].as_str().unwrap();
    assert!(message.contains('1'), "the limit: {message}");
    assert!(limited.header("retry-after").parse::<u32>().unwrap() > 0);

    for path in [
        "/nothing",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/executions/by-correlation",
        "/api/v1/schedules/bulk",
        "/docs/nothing",
    ] {
        http.get(path).await.refused(404, "not_found");
    }
    let wrong = answer(http.ask(Method::DELETE, "/api/v1/schedules")).await;
    wrong.refused(405, "method_not_allowed");
    assert!(wrong.header("allow").contains("POST"), "{wrong:?}");
    answer(http.ask(Method::POST, "/ready")).await.refused(405, "method_not_allowed");
    answer(http.ask(Method::GET, "/api/v1/schedules/bulk/create"))
        .await
        .refused(405, "method_not_allowed");
}

#[tokio::test]
async fn lists_page_by_links_and_filter() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let items: Vec<_> = (0..7)
        .map(|n| {
            let mut item = schedule(&format!("n {n}"));
            item["tags"] = json!([if n % 2 == 0 { "even" } else { "odd" }, "all"]);
            item
        })
        .collect();
    let created = http.post("/api/v1/schedules/bulk/create", json!({ "schedules": items })).await;
    assert_eq!((created.status.as_u16(), &created.body["data"]["created"]), (200, &json!(7)));

    let mut seen = Vec::new();
    let mut next =
        Some("/api/v1/schedules?tags=even,odd&tags=none&limit=3&sort=name&page=1".to_owned());
    let mut back = Vec::new();
    while let Some(path) = next {
        let page = http.get(&path).await;
        assert_eq!(page.body["pagination"]["total"], 7, "{page:?}");
        let names = page.body["data"].as_array().unwrap();
        seen.extend(names.iter().map(|s| s["name"].as_str().unwrap().to_owned()));
        let link = |side: &str| page.body["pagination"]["links"][side].as_str().map(str::to_owned);
        back.extend(link("previous"));
        next = link("next");
    }
    assert_eq!(seen, (0..7).map(|n| format!("n {n}")).collect::<Vec<_>>());
    let first = http.get(&back[0]).await;
    assert_eq!(first.body["data"][0]["name"], "n 0", "{back:?}");
    for name in ["a", "b"] {
        let day = json!({ "name": name, "days": ["2026-12-25"] });
        nats.ask("calendar.put", day).await;
        nats.ask("group.put", json!({ "name": name, "limit": 1 })).await;
    }
    for list in ["calendars", "groups", "audit"] {
        let first = http.get(&format!("/api/v1/{list}?limit=1")).await.body;
        let next = first["pagination"]["links"]["next"].as_str().map(str::to_owned);
        let next = next.unwrap_or_else(|| panic!("{first}"));
        let second = http.get(&next).await.body;
        assert!(second["data"][0].is_object() && second["data"] != first["data"], "{second}");
    }
    for (query, field, reason) in [
        ("name_contains=%ff", "name_contains", "must be percent-encoded UTF-8"),
        ("name_contains=50%", "name_contains", "must be percent-encoded UTF-8"),
        ("name_contains=%zz", "name_contains", "must be percent-encoded UTF-8"),
        ("tags=", "tags", "has an empty item"),
        ("tags=even,,odd", "tags", "has an empty item"),
        (
            "due_after=2026-11-25T09:00:00+01:00",
            "due_after",
            "must have %2B in place of +, which stands for a blank in a query",
        ),
    ] {
        let answer = http.get(&format!("/api/v1/schedules?{query}")).await;
        let fault = json!([{ "field": field, "reason": reason }]);
        assert_eq!(answer.refused(400, "invalid")["details"], fault, "{query}");
    }
    for query in
        ["due_after=2026-11-25%2009:00:00Z", "due_after=2026-11-25T09:00:00%2B01:00", "&&limit=1&"]
    {
        let answer = http.get(&format!("/api/v1/schedules?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
    }
    let both = http.get("/api/v1/schedules?tags=even,all&tags_match=all&is_active=true").await;
    assert_eq!(both.body["pagination"]["total"], 4);
    // An encoded comma is one of the tag, also in the links to other pages.
    for n in 0..2 {
        let mut tagged = crate::harness::far(&format!("comma {n}"));
        (tagged["tags"], tagged["created_by"]) = (json!(["a,b", "c d"]), json!("comma"));
        nats.create(tagged).await;
    }
    for (query, total) in [
        ("tags=a%2Cb", 2),
        ("tags=a,b", 0),
        ("tags=x,a%2cb", 2),
        ("tags=x&tags=%20a%2Cb", 2),
        ("tags=c+d,x", 2),
        ("tags=c%20d", 2),
    ] {
        let found = http.get(&format!("/api/v1/schedules?creator=comma&limit=1&{query}")).await;
        assert_eq!(found.body["pagination"]["total"], total, "{query}: {found:?}");
        if let Some(next) = found.body["pagination"]["links"]["next"].as_str() {
            let next = http.get(next).await;
            assert_eq!(next.body["pagination"]["total"], total, "{query}: {next:?}");
        }
    }
    let by_cursor = http.get("/api/v1/schedules?limit=3&sort=name&name_prefix=n+").await;
    let cursor = by_cursor.body["pagination"]["next_cursor"].as_str().unwrap();
    let more = http.get(&format!("/api/v1/schedules?limit=3&sort=name&cursor={cursor}")).await;
    assert_eq!(more.body["data"][0]["name"], "n 3", "{more:?}");
    let next = more.body["pagination"]["links"]["next"].as_str().unwrap();
    assert_eq!(http.get(next).await.body["data"][0]["name"], "n 6", "{next}");

    let operation = json!({ "operation": "pause", "filter": { "tags": ["odd"] }, "reason": "odd" });
    let paused = http.post("/api/v1/schedules/bulk/operation", operation).await;
    assert_eq!(paused.body["data"]["succeeded"], 3, "{paused:?}");
    let paused = http.get("/api/v1/schedules?status=paused").await;
    assert_eq!(paused.body["pagination"]["total"], 3);
    let preview = http.post(
        "/api/v1/schedules/preview",
        json!({ "schedule_type": "cron", "cron_expression": "0 12 * * *", "count": 2 }),
    );
    assert_eq!(preview.await.body["data"]["occurrences"].as_array().unwrap().len(), 2);
    let id = created.body["data"]["schedule_ids"][0].as_str().unwrap();
    let preview = http.get(&format!("/api/v1/schedules/{id}/preview?count=3")).await;
    assert_eq!(preview.body["data"]["occurrences"].as_array().unwrap().len(), 3, "{preview:?}");
}

#[tokio::test]
async fn tokens_say_who_may_do_what() {
    let nats = Nats::start().await;
    let file = nats.dir().join("tokens");
    std::fs::write(&file, "# people\nfull file-token-of-ops\nread  file-token-of-a-dashboard\n")
        .unwrap();
    let service = nats
        .service_with(&[
            ("API_TOKENS", "token-one, token-two"),
            ("API_READ_TOKENS", "token-reader"),
            ("API_TOKENS_FILE", file.to_str().unwrap()),
        ])
        .await;
    let http = Http::new(&service).await;
    for path in [
        "/live",
        "/ready",
        "/health",
        "/openapi.json",
        "/openapi-3.0.json",
        "/docs",
        "/docs/docs.js",
    ] {
        assert_eq!(http.get(path).await.status, 200, "{path} needs none");
    }
    for path in ["/api/v1/schedules", "/api/v1/executions", "/health/detailed", "/metrics"] {
        let refused = http.get(path).await;
        assert_eq!(refused.status, 401, "{path}");
        refused.refused(401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let unknown = Http { token: Some("token-three"), ..http.clone() };
        assert_eq!(unknown.get(path).await.status, 401, "{path}");
        for reader in
            ["token-reader", "file-token-of-a-dashboard", "token-two", "file-token-of-ops"]
        {
            let http = Http { token: Some(reader), ..http.clone() };
            assert_eq!(http.get(path).await.status, 200, "{path} {reader}");
        }
    }
    let reader = Http { token: Some("token-reader"), ..http.clone() };
    reader.post("/api/v1/schedules", schedule("a")).await.refused(403, "forbidden");
    let preview = json!({ "schedule_type": "cron", "cron_expression": "0 0 * * *" });
    assert_eq!(
        reader.post("/api/v1/schedules/preview", preview).await.status,
        200,
        "it only looks"
    );
    for (n, writer) in ["token-one", "token-two", "file-token-of-ops"].into_iter().enumerate() {
        let http = Http { token: Some(writer), ..http.clone() };
        assert_eq!(http.post("/api/v1/schedules", schedule(&n.to_string())).await.status, 201);
    }
    let log = service.log();
    // A page of another site cannot send a token, so who has one may come from anywhere.
    let from_page = Http { token: Some("token-one"), ..http.clone() };
    let from_page =
        from_page.ask(Method::POST, "/api/v1/schedules").header("Origin", "https://ui.example");
    assert_eq!(answer(from_page.json(&schedule("page"))).await.status, 201);
    for secret in ["token-one", "token-two", "token-reader", "file-token"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn public_addresses_need_a_token_or_an_explicit_word() {
    let nats = Nats::start().await;
    let public = ("API_HOST", "0.0.0.0");
    let mut refused = nats.spawn(&[public]);
    assert!(!refused.exited().await.success());
    let log = refused.log();
    assert!(log.contains("API_HOST") && log.contains("--insecure-http"), "{log}");
    for settings in [&[public, ("API_TOKENS", "a-token")][..], &[public, ("API_INSECURE", "true")]]
    {
        let service = nats.service_with(settings).await;
        let address = SocketAddr::new([127, 0, 0, 1].into(), service.http().await.port());
        let live = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let live = live.get(format!("http://{address}/live")).send().await.unwrap();
        assert_eq!(live.status(), 200);
    }
    let file = nats.dir().join("odd-tokens");
    std::fs::write(&file, "my-secret-token\n").unwrap();
    let mut odd = nats.spawn(&[("API_TOKENS_FILE", file.to_str().unwrap())]);
    assert!(!odd.exited().await.success());
    let log = odd.log();
    assert!(
        log.contains("API_TOKENS_FILE") && log.contains("line 1") && !log.contains("my-secret"),
        "{log}"
    );
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let of = |origin: &str| {
        answer(
            http.ask(Method::POST, "/api/v1/schedules")
                .header("Origin", origin)
                .json(&schedule(origin)),
        )
    };
    of("https://elsewhere.example").await.refused(403, "forbidden");
    of("null").await.refused(403, "forbidden");
    let own = of(&http.base).await;
    assert_eq!(own.status, 201, "{own:?}");
    // A name that somebody made point here.
    let rebound =
        http.ask(Method::GET, "/api/v1/schedules").header("Host", "elsewhere.example:8008");
    answer(rebound).await.refused(403, "forbidden");
    for host in ["localhost:8008", "LOCALHOST", "localhost.:8008", "a.LocalHost."] {
        let named = http.ask(Method::GET, "/api/v1/schedules").header("Host", host);
        assert_eq!(answer(named).await.status, 200, "{host}");
    }
    let upper = http.ask(Method::POST, "/api/v1/schedules").header("Host", "LocalHost:8008");
    let upper = upper.header("Origin", "http://localhost:8008").json(&schedule("upper"));
    assert_eq!(answer(upper).await.status, 201);
}

#[tokio::test]
async fn tls_is_spoken_where_there_is_a_certificate() {
    let nats = Nats::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (cert_file, key_file) = (nats.dir().join("http.pem"), nats.dir().join("http.key"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = [
        ("API_TLS_CERT", cert_file.to_str().unwrap()),
        ("API_TLS_KEY", key_file.to_str().unwrap()),
    ];
    let service = nats.service_with(&tls).await;
    let address = service.http().await;
    let http = Http {
        client: client(Some(&certificate.pem())),
        base: format!("https://{address}"),
        token: None,
    };
    assert_eq!(http.post("/api/v1/schedules", schedule("secret")).await.status, 201);
    let port = address.port().to_string();
    let asked = healthcheck(&[&tls[..], &[("API_PORT", &port)]].concat());
    assert!(asked.status.success(), "{asked:?}");
    let mut odd = nats.spawn(&[tls[0], ("API_TLS_KEY", tls[0].1)]);
    assert!(!odd.exited().await.success());
    assert!(odd.log().contains("API_TLS_KEY"), "{}", odd.log());
}

#[tokio::test]
async fn token_settings_without_a_token_are_no_open_door() {
    let nats = Nats::start().await;
    let file = nats.dir().join("no-tokens");
    std::fs::write(&file, "# to be filled in\n").unwrap();
    for (name, value) in [("API_TOKENS_FILE", file.to_str().unwrap()), ("API_TOKENS", " , ")] {
        let mut service = nats.spawn(&[(name, value)]);
        assert!(!service.exited().await.success());
        assert!(service.log().contains(name), "{}", service.log());
    }
}

pub fn healthcheck(settings: &[(&str, &str)]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_nats-scheduler"))
        .arg("healthcheck")
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_read_shows_every_change_that_was_answered() {
    let nats = Nats::start().await;
    let (writer, reader) = (nats.service().await, nats.service().await);
    let (writer, reader) = (Http::new(&writer).await, Http::new(&reader).await);
    for n in 0..100 {
        let created = writer.post("/api/v1/schedules", schedule(&n.to_string())).await;
        let path = created.header("location");
        assert_eq!(reader.get(path).await.header("etag"), "\"1\"", "created");
        let change = writer.ask(Method::PUT, path).json(&json!({ "priority": 9 }));
        assert_eq!(answer(change).await.status, 200);
        assert_eq!(reader.get(path).await.header("etag"), "\"2\"", "changed");
        assert_eq!(
            answer(writer.ask(Method::DELETE, &format!("{path}?hard_delete=true"))).await.status,
            204
        );
        reader.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn workers_report_and_users_cancel_and_backfill() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let mut commands = nats.client.subscribe("cmd.example.job").await.unwrap();
    let body = json!({ "target_command": "cmd.example.job", "max_retries": 0,
                       "delivery": { "mode": "job", "timeout_seconds": 60 } });
    let mut begin = async || {
        let sent = http.post("/api/v1/executions", body.clone()).await;
        assert_eq!(sent.status, 201, "{sent:?}");
        let headers = commands.next().await.unwrap().headers.unwrap();
        let token = headers.get("Scheduler-Token").unwrap().to_string();
        (sent.body["data"]["execution_id"].as_str().unwrap().to_owned(), token)
    };
    let ends = async |id: &str, status: &str| {
        wait_for(status, || async {
            let one = http.get(&format!("/api/v1/executions/{id}")).await;
            (one.body["data"]["status"] == status).then_some(one)
        })
        .await
    };
    let (id, token) = begin().await;
    let path = format!("/api/v1/executions/{id}");
    // Once the record says that a worker has it.
    wait_for("the heartbeat to be taken", || async {
        let beat = json!({ "token": token, "progress": 40 });
        let beat = http.post(&format!("{path}/heartbeat"), beat).await;
        (beat.status == 200).then_some(())
    })
    .await;
    let running = http.get("/api/v1/executions/running").await;
    assert_eq!(running.body["data"][0]["progress"], 40, "{running:?}");
    let forged = json!({ "token": format!("{token}0") });
    let forged = http.post(&format!("{path}/complete"), forged).await;
    assert!(forged.status.is_client_error(), "{forged:?}");
    let complete = json!({ "token": token, "response": { "rows": 3 } });
    assert_eq!(http.post(&format!("{path}/complete"), complete).await.status, 200);
    let done = ends(&id, "success").await;
    assert_eq!(done.body["data"]["response_payload"]["rows"], 3, "{done:?}");

    let (id, token) = begin().await;
    let fail = json!({ "token": token, "error_type": "odd", "error_message": "it was odd" });
    wait_for("the failure to be taken", || async {
        let failed = http.post(&format!("/api/v1/executions/{id}/fail"), fail.clone()).await;
        (failed.status == 200).then_some(())
    })
    .await;
    assert_eq!(ends(&id, "failed").await.body["data"]["error_type"], "odd");

    let (id, _) = begin().await;
    wait_for("the cancellation to be taken", || async {
        let path = format!("/api/v1/executions/{id}/cancel");
        let cancel = http.ask(Method::POST, &path).header("X-Cancelled-By", "dora");
        (answer(cancel.json(&json!({ "reason": "enough" }))).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ends(&id, "cancelled").await.body["data"]["cancelled_by"], "dora");

    let created = http.post("/api/v1/schedules", schedule("yearly")).await;
    let path = format!("{}/backfill", created.header("location"));
    let span =
        json!({ "from": "2020-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z", "dry_run": true });
    let planned = http.post(&path, span).await;
    assert_eq!(
        (planned.status.as_u16(), &planned.body["data"]["count"]),
        (200, &json!(4)),
        "{planned:?}"
    );
}
