//! Tokens and certificates: what each allows, and that they are read again while the service runs.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, wait_for};
use crate::http::{Http, answer, client, healthcheck};

/// The same client with another token.
fn with(http: &Http, token: &'static str) -> Http {
    Http { token: Some(token), ..http.clone() }
}

/// What the service says is the matter with its files.
async fn problem(http: &Http) -> Option<String> {
    let health = http.get("/health/detailed").await;
    let problems = health.body["data"]["problems"].as_array()?.clone();
    let named = problems.iter().filter_map(Value::as_str).find(|problem| problem.contains("API_T"));
    named.map(str::to_owned)
}

async fn wait_problem(http: &Http, words: &[&str]) {
    wait_for(&format!("a problem with {words:?}"), || async {
        let problem = problem(http).await?;
        words.iter().all(|word| problem.contains(word)).then_some(())
    })
    .await;
}

async fn wait_status(http: &Http, status: u16) {
    wait_for(&format!("{status} for {:?}", http.token), || async {
        (http.get("/api/v1/schedules").await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_token_may_do_what_the_description_says_and_nothing_else() {
    let nats = Nats::start().await;
    let file = nats.dir().join("tokens");
    std::fs::write(&file, "worker worker-of-the-file\n").unwrap();
    let service = nats
        .service_with(&[
            ("API_TOKENS", "token-full"),
            ("API_READ_TOKENS", "token-read"),
            ("API_WORKER_TOKENS", "token-worker"),
            ("API_TOKENS_FILE", file.to_str().unwrap()),
        ])
        .await;
    let http = Http::new(&service).await;
    let document = http.get("/openapi.json").await.body;
    let mut reports = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let named = operation["security"].as_array().unwrap();
            let allowed: Vec<_> =
                named.iter().map(|one| one["token"][0].as_str().unwrap()).collect();
            if allowed == ["full", "worker"] {
                reports.push(path.rsplit('/').next().unwrap().to_owned());
            }
            let id = uuid::Uuid::new_v4().to_string();
            let path: String =
                path.split('/').map(|part| if part.starts_with('{') { &id } else { part }).fold(
                    String::new(),
                    |path, part| {
                        if part.is_empty() { path } else { format!("{path}/{part}") }
                    },
                );
            for (role, token) in [
                ("full", "token-full"),
                ("read", "token-read"),
                ("worker", "token-worker"),
                ("worker", "worker-of-the-file"),
                ("none", "token-unknown"),
            ] {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                let mut request = with(&http, token).ask(method.clone(), &path);
                if method != Method::GET && method != Method::DELETE {
                    request = request.json(&json!({}));
                }
                let answered = answer(request).await;
                let expected = match role {
                    _ if allowed.is_empty() || allowed.contains(&role) => None,
                    "none" => Some(401),
                    _ => Some(403),
                };
                let refused = [401, 403].into_iter().find(|status| answered.status == *status);
                assert_eq!(refused, expected, "{method} {path} as {role}: {answered:?}");
            }
        }
    }
    reports.sort();
    assert_eq!(reports, ["complete", "fail", "heartbeat"]);
    let refused = with(&http, "token-worker").get("/api/v1/schedules").await;
    let message = refused.refused(403, "forbidden")["message"].as_str().unwrap();
    assert!(message.contains("heartbeat, complete and fail"), "it says what it may do: {message}");
}

#[tokio::test]
async fn a_file_of_tokens_is_read_again_and_a_broken_one_keeps_the_old() {
    let nats = Nats::start().await;
    let file = nats.dir().join("tokens");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("full ops-1\nworker worker-1\n");
    let setting = ("API_TOKENS_FILE", file.to_str().unwrap());
    let service = nats.service_with(&[setting]).await;
    let http = Http::new(&service).await;
    let port = service.http().await.port().to_string();
    wait_status(&with(&http, "ops-1"), 200).await;

    write("full ops-2\nread reader-1\n");
    wait_status(&with(&http, "ops-2"), 200).await;
    for (token, status) in [("ops-1", 401), ("worker-1", 401), ("reader-1", 200)] {
        let answered = with(&http, token).get("/api/v1/schedules").await;
        assert_eq!(answered.status, status, "{token}");
    }

    let ops = with(&http, "ops-2");
    write("full ops-3\nsecret-without-a-role\n");
    wait_problem(&ops, &["API_TOKENS_FILE", "line 2", "stays in force"]).await;
    assert_eq!(http.get("/health").await.body["status"], "degraded");
    assert_eq!(with(&http, "ops-3").get("/api/v1/schedules").await.status, 401, "whole or not");
    write("");
    wait_problem(&ops, &["API_TOKENS_FILE", "has no token"]).await;
    std::fs::remove_file(&file).unwrap();
    wait_problem(&ops, &["API_TOKENS_FILE", file.to_str().unwrap()]).await;
    let asked = healthcheck(&[setting, ("API_PORT", &port)]);
    assert!(asked.status.success(), "it works all the same: {asked:?}");

    write("full ops-4\n");
    wait_status(&with(&http, "ops-4"), 200).await;
    wait_status(&ops, 401).await;
    assert_eq!(problem(&with(&http, "ops-4")).await, None);
    let log = service.log();
    for secret in ["ops-", "reader-", "worker-1", "secret-without"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn sighup_reads_again_at_once_and_ends_nothing() {
    let nats = Nats::start().await;
    let file = nats.dir().join("tokens");
    std::fs::write(&file, "full ops-1\n").unwrap();
    let mut service = nats.service_with(&[("API_TOKENS_FILE", file.to_str().unwrap())]).await;
    let http = Http::new(&service).await;
    service.signal("-HUP");
    service.wait_log("accepted now: 1").await;
    std::fs::write(&file, "full ops-1\nfull ops-2\n").unwrap();
    service.signal("-HUP");
    service.wait_log("accepted now: 2").await;
    assert_eq!(with(&http, "ops-2").get("/api/v1/schedules").await.status, 200);
    assert!(service.stop().await.success());

    let without = nats.service().await;
    without.signal("-HUP");
    without.wait_log("no files of tokens or certificates").await;
    assert_eq!(Http::new(&without).await.get("/live").await.status, 200);
}

/// Makes `folder/name` as Kubernetes mounts a secret: links that a new version swaps at once.
#[cfg(unix)]
fn mount(folder: &Path, version: &str, name: &str, content: &str) {
    use std::os::unix::fs::symlink;
    std::fs::create_dir_all(folder.join(version)).unwrap();
    std::fs::write(folder.join(version).join(name), content).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    let _ = symlink(Path::new("..data").join(name), folder.join(name));
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_that_kubernetes_swaps_is_read_again() {
    let nats = Nats::start().await;
    let folder = nats.dir().join("mounted");
    mount(&folder, "..2026_11_26", "api-tokens", "full ops-1\n");
    let file = folder.join("api-tokens");
    let service = nats.service_with(&[("API_TOKENS_FILE", file.to_str().unwrap())]).await;
    let http = Http::new(&service).await;
    wait_status(&with(&http, "ops-1"), 200).await;
    mount(&folder, "..2026_11_27", "api-tokens", "full ops-2\n");
    wait_status(&with(&http, "ops-2"), 200).await;
    wait_status(&with(&http, "ops-1"), 401).await;
}

/// A certificate of its own for this machine, and its key.
fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_is_read_again_for_new_connections() {
    let nats = Nats::start().await;
    let (cert_file, key_file) = (nats.dir().join("http.pem"), nats.dir().join("http.key"));
    let write = |(chain, key): (&str, &str)| {
        std::fs::write(&cert_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
    };
    let ((old, old_key), (new, new_key)) = (pair(), pair());
    write((&old, &old_key));
    let service = nats
        .service_with(&[
            ("API_TLS_CERT", cert_file.to_str().unwrap()),
            ("API_TLS_KEY", key_file.to_str().unwrap()),
        ])
        .await;
    let base = format!("https://{}", service.http().await);
    let trusting =
        |root: &str| Http { client: client(Some(root)), base: base.clone(), token: None };
    let is_trusted = async |root: &str| {
        let live = trusting(root).client.get(format!("{base}/live")).send().await;
        live.is_ok_and(|live| live.status() == 200)
    };
    let kept = trusting(&old);
    assert_eq!(kept.get("/live").await.status, 200);

    write((&new, &new_key));
    wait_for("the new certificate", || async { is_trusted(&new).await.then_some(()) }).await;
    assert!(!is_trusted(&old).await, "the old one is gone");
    assert_eq!(kept.get("/live").await.status, 200, "a connection goes on as it began");

    let http = trusting(&new);
    for (files, words) in [
        ((&*new, &*old_key), ["API_TLS_KEY", "is not the key"]),
        (("no certificate", &*new_key), ["API_TLS_CERT", "has no certificate"]),
        ((&*new, ""), ["API_TLS_KEY", "no private key"]),
    ] {
        write(files);
        wait_problem(&http, &words).await;
        assert!(is_trusted(&new).await, "what was there before still counts");
    }
    write((&old, &old_key));
    wait_for("the old certificate", || async { is_trusted(&old).await.then_some(()) }).await;
    assert_eq!(problem(&trusting(&old)).await, None);
}
