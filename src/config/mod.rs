//! Settings, from environment variables.
//!
//! Here they become plain data for the parts that they are for; nothing here knows those parts. Read
//! through a lookup of strings, so tests pass a map. All faults are reported together, and a
//! service with a faulty setting does not start.

pub(crate) mod certificate;
pub(crate) mod content;
pub mod engine;
pub mod http;
mod log_filter;
pub mod nats;
mod reader;
pub mod streams;
mod targets;
pub mod tokens;

use std::time::Duration;

use axum::http::Uri;
use tracing_subscriber::filter::Targets;

use crate::schedule::{CatchUp, FieldFault, Limits, Rules};
use engine::EngineConfig;
use http::HttpConfig;
use nats::NatsConfig;
use reader::Reader;
use streams::StreamOptions;

/// Settings of parts that are gone in this implementation; named in a warning where they are set.
const OBSOLETE: [&str; 8] = [
    "REDIS_URL",
    "DATABASE_URL",
    "POSTGRES_HOST",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
    "LOCK_RETRY_DELAY",
    "LOCK_MAX_RETRIES",
];

/// One setting as the help and the documentation show it.
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Its default, as written.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    setting("SERVICE_NAME", "nats-scheduler", "Name of this service in NATS connections and logs"),
    setting("NATS_URL", "nats://localhost:4222", "NATS servers, separated by commas"),
    setting("NATS_USER", "", "User name, with NATS_PASSWORD"),
    setting("NATS_PASSWORD", "", "Password, with NATS_USER"),
    setting("NATS_TOKEN", "", "Token"),
    setting("NATS_NKEY_SEED", "", "NKey seed"),
    setting("NATS_CREDS", "", "Credentials file (JWT and seed)"),
    setting("NATS_TLS_CA", "", "Root certificates to trust beside the system's (PEM file)"),
    setting("NATS_TLS_CERT", "", "Client certificate (PEM file), with NATS_TLS_KEY"),
    setting("NATS_TLS_KEY", "", "Key of the client certificate (PEM file)"),
    setting("NATS_TLS_REQUIRED", "false", "Refuse connections without TLS"),
    setting("NATS_TLS_FIRST", "false", "Start TLS before the server speaks"),
    setting("NATS_INBOX_PREFIX", "_INBOX", "First tokens of our reply subjects"),
    setting("STREAM_REPLICAS", "1", "Copies of each stream that is created: 1, 3 or 5"),
    setting(
        "ALLOWED_TARGET_COMMANDS",
        "cmd.>",
        "Targets that schedules may have: patterns separated by commas, wildcards allowed; cmd.scheduler.> never",
    ),
    setting("MAX_SCHEDULES_PER_CREATOR", "1000", "Schedules a creator may have"),
    setting("MAX_BULK_OPERATIONS", "100", "Items of a bulk request; a filter may match more"),
    setting(
        "DELETED_RETENTION_SECONDS",
        "2592000",
        "How long a softly deleted schedule can be restored, before its record is removed",
    ),
    setting("MAX_SCHEDULE_LOOKAHEAD_DAYS", "365", "How far ahead a one_time may lie"),
    setting("DEFAULT_MAX_RETRIES", "3", "max_retries of schedules that say none (0 to 10)"),
    setting(
        "DEFAULT_RETRY_DELAY",
        "300",
        "retry_delay_seconds of schedules that say none (0 to 3600)",
    ),
    setting("SCHEDULER_TIMEZONE", "UTC", "Time zone of schedules that name none"),
    setting(
        "SCHEDULER_MISFIRE_GRACE_TIME",
        "300",
        "misfire_grace_seconds of schedules that say none",
    ),
    setting(
        "SCHEDULER_COALESCE",
        "true",
        "catch_up of schedules that say none: latest where true, all where false",
    ),
    setting(
        "SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES",
        "1",
        "max_instances of schedules that say none",
    ),
    setting("SCHEDULER_MAX_INSTANCES", "3", "The largest max_instances of a schedule: 1 to 16"),
    setting(
        "TARGET_RATE_LIMITS",
        "",
        "Commands a second to targets, by pattern, as in cmd.mail.>=10,cmd.sms.send=0.5",
    ),
    setting(
        "SCHEDULER_EXECUTOR_POOL_SIZE",
        "10",
        "request executions under way at once, on this instance",
    ),
    setting(
        "SCHEDULER_MAX_IN_FLIGHT",
        "2048",
        "Other executions under way at once, on this instance",
    ),
    setting(
        "LOCK_TIMEOUT_SECONDS",
        "300",
        "Least time that a claim holds against instances that are alive",
    ),
    setting(
        "SHUTDOWN_GRACE_SECONDS",
        "30",
        "How long a stopping instance waits for what is in flight",
    ),
    setting(
        "EXECUTION_HISTORY_RETENTION_DAYS",
        "30",
        "Days that executions are kept, for a history stream that is created",
    ),
    setting("API_HOST", "127.0.0.1", "Address that HTTP listens on"),
    setting("API_PORT", "8008", "Port that HTTP listens on; 0 for any, off for no HTTP"),
    setting(
        "API_TOKENS",
        "",
        "Bearer tokens that may do everything, separated by commas; with none at all everybody may",
    ),
    setting("API_READ_TOKENS", "", "Bearer tokens that may only look, separated by commas"),
    setting(
        "API_WORKER_TOKENS",
        "",
        "Bearer tokens that may only send heartbeats and reports of jobs, separated by commas",
    ),
    setting(
        "API_TOKENS_FILE",
        "",
        "File with a token a line, as in full SECRET, read SECRET or worker SECRET; # begins a comment; read again when it changes",
    ),
    setting(
        "API_TLS_CERT",
        "",
        "Certificate chain of HTTP (PEM file), with API_TLS_KEY; both are read again when they change",
    ),
    setting("API_TLS_KEY", "", "Key of that certificate (PEM file)"),
    setting(
        "API_INSECURE",
        "false",
        "Listen on an address other than this machine's without any token, as --insecure-http does",
    ),
    setting(
        "API_MAX_CONNECTIONS",
        "1024",
        "HTTP connections at once; one more takes the place of the idlest",
    ),
    setting("API_MAX_BODY_BYTES", "1048576", "Longest body of a request over HTTP"),
    setting(
        "API_TIMEOUT_SECONDS",
        "65",
        "How long a request over HTTP may take; a change goes on after it",
    ),
    setting(
        "API_MAX_CONCURRENT",
        "512",
        "Requests over HTTP worked on at once, without those that only wait",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Where spans of executions go, in builds with the feature otlp, as in http://localhost:4318",
    ),
    setting(
        "LOG_LEVEL",
        "INFO",
        "ERROR, WARN, INFO, DEBUG, TRACE or OFF; or per target, as in info,async_nats=debug",
    ),
    setting("LOG_FORMAT", "json", "json or text"),
];

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, about }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this service in NATS connections.
    pub service_name: String,
    /// How to reach NATS.
    pub nats: NatsConfig,
    /// What requests are checked against.
    pub rules: Rules,
    /// Bounds of the engine.
    pub engine: EngineConfig,
    /// How streams are created.
    pub streams: StreamOptions,
    /// The HTTP facade, unless it is off.
    pub http: Option<HttpConfig>,
    /// Where spans go.
    pub otlp_endpoint: Option<String>,
    /// Which lines of the log are written.
    pub log_filter: Targets,
    /// Form of logs.
    pub log_format: LogFormat,
    /// Settings that are set and mean nothing here.
    pub obsolete: Vec<&'static str>,
}

impl Config {
    /// Reads settings through `lookup`; an empty value is as good as none.
    ///
    /// # Errors
    /// All faults, each with the setting's name.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<FieldFault>> {
        let mut read = Reader::new(lookup);
        let allowed_targets = read.targets();
        let replicas = read.checked("STREAM_REPLICAS", "must be 1, 3 or 5", |text| {
            text.parse().ok().filter(|replicas| matches!(replicas, 1 | 3 | 5))
        });
        let rates = read.rates();
        let (instances, most) = (
            read.number32("SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES", 1, 16),
            read.number32("SCHEDULER_MAX_INSTANCES", 1, 16),
        );
        if instances > most {
            let reason = format!("must not be more than SCHEDULER_MAX_INSTANCES, which is {most}");
            read.fault("SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES", reason);
        }
        let nats = read.nats();
        let http = read.http();
        let seconds = |n: u64| Duration::from_secs(n);
        let deleted_retention = chrono::Duration::seconds(i64::from(read.number32(
            "DELETED_RETENTION_SECONDS",
            1,
            315_360_000,
        )));
        let config = Self {
            service_name: read.text("SERVICE_NAME"),
            nats,
            rules: Rules {
                limits: Limits {
                    lookahead: chrono::Duration::days(
                        i64::try_from(read.number("MAX_SCHEDULE_LOOKAHEAD_DAYS", 1, 36_500))
                            .unwrap_or(365),
                    ),
                    schedules_per_creator: read.size("MAX_SCHEDULES_PER_CREATOR", 1, 10_000_000),
                    bulk_operations: read.size("MAX_BULK_OPERATIONS", 1, 1000),
                    deleted_retention,
                },
                allowed_targets: allowed_targets.clone(),
                timezone: read.parsed(
                    "SCHEDULER_TIMEZONE",
                    "must be an IANA time zone, such as Europe/Berlin",
                    chrono_tz::UTC,
                ),
                max_retries: u8::try_from(read.number("DEFAULT_MAX_RETRIES", 0, 10)).unwrap_or(3),
                retry_delay_seconds: read.number32("DEFAULT_RETRY_DELAY", 0, 3600),
                misfire_grace_seconds: read.number32("SCHEDULER_MISFIRE_GRACE_TIME", 1, 31_536_000),
                catch_up: if read.parsed("SCHEDULER_COALESCE", "must be true or false", true) {
                    CatchUp::Latest
                } else {
                    CatchUp::All
                },
                max_instances: instances,
                most_instances: most,
            },
            engine: EngineConfig {
                max_in_flight: read.size("SCHEDULER_MAX_IN_FLIGHT", 1, 100_000),
                request_pool: read.size("SCHEDULER_EXECUTOR_POOL_SIZE", 1, 100_000),
                lease: seconds(read.number("LOCK_TIMEOUT_SECONDS", 300, 86_400)),
                deleted_retention,
                rates,
                drain: seconds(read.number("SHUTDOWN_GRACE_SECONDS", 0, 3600)),
                allowed_targets,
            },
            streams: StreamOptions {
                replicas: replicas.unwrap_or(1),
                history_days: read.number32("EXECUTION_HISTORY_RETENTION_DAYS", 1, 3650),
            },
            http,
            otlp_endpoint: read.endpoint(),
            log_filter: read
                .checked("LOG_LEVEL", log_filter::EXPECTED, log_filter::parse)
                .unwrap_or_default(),
            log_format: read
                .checked("LOG_FORMAT", "must be json or text", |text| {
                    match text.to_ascii_lowercase().as_str() {
                        "json" => Some(LogFormat::Json),
                        "text" => Some(LogFormat::Text),
                        _ => None,
                    }
                })
                .unwrap_or(LogFormat::Json),
            obsolete: OBSOLETE.into_iter().filter(|name| read.optional(name).is_some()).collect(),
        };
        if read.faults.is_empty() { Ok(config) } else { Err(read.faults) }
    }
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn endpoint(&mut self) -> Option<String> {
        const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        self.optional(NAME)?;
        self.checked(NAME, "must be a URL, as in http://localhost:4318", |text| {
            let uri = text.parse::<Uri>().ok()?;
            let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
            is_http.then(|| text.to_owned())
        })
    }
}

#[cfg(test)]
mod tests;
