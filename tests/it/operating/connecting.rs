//! Every way to authenticate, against servers that require it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nats_scheduler::dev::server::RunningServer;

use serde_json::{Value, json};

use crate::harness::{Service, configured};

/// A server with a configuration of its own; JetStream is on.
async fn server(dir: &Path, config: &str) -> RunningServer {
    configured(dir, &format!("jetstream {{ store_dir: $NATS_STORE_DIR }}\n{config}")).await
}

/// The service gets in with the right settings and says why it does not without them.
async fn gets_in(config: &str, settings: &[(&str, &str)]) {
    let dir = tempfile::TempDir::new().unwrap();
    let server = server(dir.path(), config).await;
    let outside = Service::spawn(&server.url(), dir.path(), &[]);
    outside.wait_log("cannot connect to NATS").await;
    let inside = Service::spawn(&server.url(), dir.path(), settings);
    inside.ready().await;
}

#[tokio::test]
async fn with_user_and_password() {
    gets_in(
        r#"authorization { user: "sam", password: "secret" }"#,
        &[("NATS_USER", "sam"), ("NATS_PASSWORD", "secret")],
    )
    .await;
}

#[tokio::test]
async fn with_a_token() {
    gets_in(r#"authorization { token: "s3cr3t" }"#, &[("NATS_TOKEN", "s3cr3t")]).await;
}

#[tokio::test]
async fn with_an_nkey() {
    let user = nkeys::KeyPair::new_user();
    gets_in(
        &format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key()),
        &[("NATS_NKEY_SEED", &user.seed().unwrap())],
    )
    .await;
}

/// A JWT as NATS signs them: the claims of `kind` for `subject`, by `issuer`.
fn jwt(issuer: &nkeys::KeyPair, subject: &nkeys::KeyPair, kind: &str, limits: Value) -> String {
    let mut nats = limits;
    nats["type"] = json!(kind);
    nats["version"] = json!(2);
    let claims = json!({ "jti": subject.public_key(), "iat": 1_700_000_000, "name": kind,
                         "iss": issuer.public_key(), "sub": subject.public_key(), "nats": nats });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let signature = encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn with_a_credentials_file() {
    let (operator, system) = (nkeys::KeyPair::new_operator(), nkeys::KeyPair::new_account());
    let (account, user) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_user());
    let all = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": -1, "leaf": -1 });
    let mut stored = all.clone();
    for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
        stored[limit] = json!(-1);
    }
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        jwt(&operator, &operator, "operator", json!({})),
        system.public_key(),
        system.public_key(),
        jwt(&operator, &system, "account", json!({ "limits": all })),
        account.public_key(),
        jwt(&operator, &account, "account", json!({ "limits": stored })),
    );
    let token = jwt(&account, &user, "user", json!({ "subs": -1, "data": -1, "payload": -1 }));
    let seed = user.seed().unwrap();
    let credentials = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(credentials.path(), text).unwrap();
    gets_in(&config, &[("NATS_CREDS", credentials.path().to_str().unwrap())]).await;
}

#[tokio::test]
async fn with_a_credentials_file_that_is_not_there_it_says_so_and_ends() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut service =
        Service::spawn("nats://127.0.0.1:1", dir.path(), &[("NATS_CREDS", "/nowhere/x.creds")]);
    assert!(!service.exited().await.success());
    assert!(service.log().contains("/nowhere/x.creds"), "{}", service.log());
}

#[tokio::test]
async fn over_tls_with_a_client_certificate() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    std::fs::write(path("ca.pem"), authority_pem).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for name in ["server", "client"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let server = server(dir.path(), &config).await;
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let untrusting = Service::spawn(&server.url(), dir.path(), &[]);
    untrusting.wait_log("cannot connect to NATS").await;
    let settings = [
        ("NATS_TLS_CA", ca.as_str()),
        ("NATS_TLS_CERT", &cert),
        ("NATS_TLS_KEY", &key),
        ("NATS_TLS_REQUIRED", "true"),
    ];
    let service = Service::spawn(&server.url(), dir.path(), &settings);
    service.ready().await;
}

#[tokio::test]
async fn with_an_inbox_prefix_of_its_own() {
    gets_in(
        r#"authorization { users: [ { user: sam, password: secret, permissions: {
            publish: ">", subscribe: ["_INBOX_sched.>", "cmd.scheduler.>", "evt.scheduler.>", "$SRV.>"] } } ] }"#,
        &[("NATS_USER", "sam"), ("NATS_PASSWORD", "secret"), ("NATS_INBOX_PREFIX", "_INBOX_sched")],
    )
    .await;
}
