//! Values that each setting refuses, and the words of the refusal.

use std::collections::HashSet;

use super::super::settings;
use super::read;

/// A setting, a value that it refuses, and the words that say so.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[
    (
        "NATS_URL",
        "xyz://",
        r#"NATS_URL: must be addresses of NATS, as in nats://localhost:4222, not "xyz://""#,
    ),
    (
        "NATS_URL",
        "a,tls://me:secret@:1",
        r#"NATS_URL: must be addresses of NATS, as in nats://localhost:4222, not "tls://:1""#,
    ),
    ("NATS_USER", "me", "NATS_PASSWORD: must be set, since NATS_USER is"),
    ("NATS_PASSWORD", "secret", "NATS_USER: must be set, since NATS_PASSWORD is"),
    (
        "NATS_NKEY_SEED",
        "secret",
        "NATS_NKEY_SEED: must be the seed of a user, which begins with SU",
    ),
    ("NATS_CREDS", "/nowhere/x", "NATS_CREDS: /nowhere/x: No such file or directory (os error 2)"),
    (
        "NATS_TLS_CA",
        "/nowhere/x",
        "NATS_TLS_CA: /nowhere/x: No such file or directory (os error 2)",
    ),
    ("NATS_TLS_CERT", "Cargo.toml", "NATS_TLS_KEY: must be set, since NATS_TLS_CERT is"),
    ("NATS_TLS_KEY", "Cargo.toml", "NATS_TLS_CERT: must be set, since NATS_TLS_KEY is"),
    ("NATS_TLS_REQUIRED", "yes", r#"NATS_TLS_REQUIRED: must be true or false, not "yes""#),
    ("NATS_TLS_FIRST", "1", r#"NATS_TLS_FIRST: must be true or false, not "1""#),
    (
        "NATS_INBOX_PREFIX",
        "_INBOX.>",
        r#"NATS_INBOX_PREFIX: must be tokens without wildcards, as in _INBOX_scheduler, not "_INBOX.>""#,
    ),
    ("STREAM_REPLICAS", "2", r#"STREAM_REPLICAS: must be 1, 3 or 5, not "2""#),
    ("STREAM_REPLICAS", "many", r#"STREAM_REPLICAS: must be 1, 3 or 5, not "many""#),
    (
        "ALLOWED_TARGET_COMMANDS",
        ",",
        r#"ALLOWED_TARGET_COMMANDS: must be patterns separated by commas, not ",""#,
    ),
    (
        "ALLOWED_TARGET_COMMANDS",
        "cmd.a.>, evt.>",
        r#"ALLOWED_TARGET_COMMANDS: "evt.>" must start with "cmd.""#,
    ),
    (
        "ALLOWED_TARGET_COMMANDS",
        "cmd.scheduler.>",
        r#"ALLOWED_TARGET_COMMANDS: "cmd.scheduler.>" allows no target that a schedule may have"#,
    ),
    (
        "ALLOWED_TARGET_COMMANDS",
        "cmd.Mail.*",
        r#"ALLOWED_TARGET_COMMANDS: "cmd.Mail.*" allows no target that a schedule may have"#,
    ),
    (
        "MAX_SCHEDULES_PER_CREATOR",
        "0",
        r#"MAX_SCHEDULES_PER_CREATOR: must be 1 to 10000000, not "0""#,
    ),
    ("MAX_BULK_OPERATIONS", "1001", r#"MAX_BULK_OPERATIONS: must be 1 to 1000, not "1001""#),
    (
        "DELETED_RETENTION_SECONDS",
        "-1",
        r#"DELETED_RETENTION_SECONDS: must be 1 to 315360000, not "-1""#,
    ),
    (
        "MAX_SCHEDULE_LOOKAHEAD_DAYS",
        "1y",
        r#"MAX_SCHEDULE_LOOKAHEAD_DAYS: must be 1 to 36500, not "1y""#,
    ),
    ("DEFAULT_MAX_RETRIES", "many", r#"DEFAULT_MAX_RETRIES: must be 0 to 10, not "many""#),
    ("DEFAULT_RETRY_DELAY", "3601", r#"DEFAULT_RETRY_DELAY: must be 0 to 3600, not "3601""#),
    (
        "SCHEDULER_TIMEZONE",
        "Berlin",
        r#"SCHEDULER_TIMEZONE: must be an IANA time zone, such as Europe/Berlin, not "Berlin""#,
    ),
    (
        "SCHEDULER_MISFIRE_GRACE_TIME",
        "0",
        r#"SCHEDULER_MISFIRE_GRACE_TIME: must be 1 to 31536000, not "0""#,
    ),
    ("SCHEDULER_COALESCE", "on", r#"SCHEDULER_COALESCE: must be true or false, not "on""#),
    (
        "SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES",
        "17",
        r#"SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES: must be 1 to 16, not "17""#,
    ),
    (
        "SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES",
        "4",
        "SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES: must not be more than SCHEDULER_MAX_INSTANCES, which is 3",
    ),
    ("SCHEDULER_MAX_INSTANCES", "17", r#"SCHEDULER_MAX_INSTANCES: must be 1 to 16, not "17""#),
    (
        "TARGET_RATE_LIMITS",
        "cmd.a.>=0",
        r#"TARGET_RATE_LIMITS: "cmd.a.>=0" must be pattern=rate, with 0.001 to 1000000 commands a second"#,
    ),
    (
        "SCHEDULER_EXECUTOR_POOL_SIZE",
        "0",
        r#"SCHEDULER_EXECUTOR_POOL_SIZE: must be 1 to 100000, not "0""#,
    ),
    ("SCHEDULER_MAX_IN_FLIGHT", "0", r#"SCHEDULER_MAX_IN_FLIGHT: must be 1 to 100000, not "0""#),
    ("LOCK_TIMEOUT_SECONDS", "299", r#"LOCK_TIMEOUT_SECONDS: must be 300 to 86400, not "299""#),
    ("SHUTDOWN_GRACE_SECONDS", "30s", r#"SHUTDOWN_GRACE_SECONDS: must be 0 to 3600, not "30s""#),
    (
        "EXECUTION_HISTORY_RETENTION_DAYS",
        "0",
        r#"EXECUTION_HISTORY_RETENTION_DAYS: must be 1 to 3650, not "0""#,
    ),
    ("API_HOST", "here", r#"API_HOST: must be an IP address or localhost, not "here""#),
    (
        "API_HOST",
        "0.0.0.0",
        "API_HOST: 0.0.0.0 can be reached from elsewhere: set API_TOKENS, or say --insecure-http if \
         everybody there may do everything",
    ),
    ("API_PORT", "65536", r#"API_PORT: must be 0 to 65535, or off, not "65536""#),
    ("API_URL_FILE", "one\ntwo", "API_URL_FILE: must be the path of a file, not what is in it"),
    ("API_TOKENS", ",", "API_TOKENS: has no token"),
    ("API_READ_TOKENS", ",", "API_READ_TOKENS: has no token"),
    ("API_WORKER_TOKENS", ",", "API_WORKER_TOKENS: has no token"),
    ("API_MAX_CONNECTIONS", "1", r#"API_MAX_CONNECTIONS: must be 2 to 1000000, not "1""#),
    (
        "API_MAX_CONNECTIONS",
        "512",
        "API_MAX_CONNECTIONS: must be more than API_MAX_CONCURRENT, 512, so that probes are answered \
         while so many requests are under way",
    ),
    (
        "API_TOKENS_FILE",
        "/nowhere/x",
        "API_TOKENS_FILE: /nowhere/x: No such file or directory (os error 2)",
    ),
    ("API_TLS_CERT", "Cargo.toml", "API_TLS_KEY: must be set, since API_TLS_CERT is"),
    ("API_TLS_KEY", "Cargo.toml", "API_TLS_CERT: must be set, since API_TLS_KEY is"),
    ("API_INSECURE", "yes", r#"API_INSECURE: must be true or false, not "yes""#),
    ("API_MAX_BODY_BYTES", "1MB", r#"API_MAX_BODY_BYTES: must be 1024 to 67108864, not "1MB""#),
    ("API_TIMEOUT_SECONDS", "0", r#"API_TIMEOUT_SECONDS: must be 1 to 3600, not "0""#),
    ("API_MAX_CONCURRENT", "0", r#"API_MAX_CONCURRENT: must be 1 to 100000, not "0""#),
    ("DASHBOARD", "true", r#"DASHBOARD: must be on or off, not "true""#),
    ("DASHBOARD_PAYLOADS", "off", r#"DASHBOARD_PAYLOADS: must be show or hide, not "off""#),
    ("DASHBOARD_MAX_STREAMS", "many", r#"DASHBOARD_MAX_STREAMS: must be 0 to 100000, not "many""#),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "localhost:4318",
        r#"OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL, as in http://localhost:4318, not "localhost:4318""#,
    ),
    (
        "LOG_LEVEL",
        "loud",
        r#"LOG_LEVEL: must be ERROR, WARN, INFO, DEBUG, TRACE or OFF, or such levels per target, as in info,async_nats=debug, not "loud""#,
    ),
    ("LOG_FORMAT", "xml", r#"LOG_FORMAT: must be json or text, not "xml""#),
];

/// Settings that accept any text.
const ANY_TEXT: [&str; 2] = ["SERVICE_NAME", "NATS_TOKEN"];

#[test]
fn every_setting_says_what_it_must_be() {
    for (name, value, message) in REFUSED {
        let faults = read(&[(name, value)]).expect_err(name);
        // A value that is wrong in one way is one fault, and its message shows no secret.
        let of_files = ["No such file"].iter().any(|words| message.contains(words));
        match (of_files, faults.as_slice()) {
            (true, [first, ..]) | (false, [first]) => assert_eq!(first, message),
            _ => panic!("{name}={value}: {faults:?}"),
        }
    }
    let tried: HashSet<_> = REFUSED.iter().map(|(name, ..)| *name).chain(ANY_TEXT).collect();
    for setting in settings() {
        assert!(tried.contains(setting.name()), "no row for {}", setting.name());
    }
}
