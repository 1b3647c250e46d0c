//! Creates the streams that are missing; never deletes one, and never changes one.
//!
//! Their configurations are `streams/*.json`, the same files that `nats stream add --config` takes.

use async_nats::jetstream;
use async_nats::jetstream::context::{
    AccountError, AccountErrorKind, CreateStreamErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{Config, Info};
use futures::TryStreamExt as _;
use serde_json::Value;
use tracing::{info, warn};

use super::refusal::{Class, class};
use crate::config::streams::StreamOptions;
use crate::names;

/// The configurations, by stream name.
pub const STREAMS: [(&str, &str); 3] = [
    (names::SCHEDULES_STREAM, include_str!("../../streams/KV_scheduler_schedules.json")),
    (names::EXECUTIONS_STREAM, include_str!("../../streams/SCHEDULER_EXECUTIONS.json")),
    (names::AUDIT_STREAM, include_str!("../../streams/SCHEDULER_AUDIT.json")),
];

/// The example stream of `dev`.
pub const EXAMPLE: (&str, &str) =
    (names::COMMANDS_STREAM, include_str!("../../streams/COMMANDS.json"));

/// Why the streams cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// NATS has no JetStream for us. Try again: somebody may switch it on.
    #[error(
        "{0}: the scheduler keeps everything in JetStream. Switch it on, with -js or a jetstream block \
         in the configuration of nats-server"
    )]
    NoJetStream(&'static str),
    /// JetStream does not answer: it is starting, or we may not use it. Try again.
    #[error("JetStream does not answer: {0}")]
    Unavailable(String),
    /// A stream would swallow our requests.
    #[error(
        "stream {stream} captures subjects of cmd.scheduler.>: it would answer every request with \
         its own acknowledgement. Change its subjects, then start again"
    )]
    CapturesRequests {
        /// The stream.
        stream: String,
    },
    /// A stream cannot be created.
    #[error("stream {stream} cannot be created: {reason}")]
    Create {
        /// The stream.
        stream: String,
        /// The server's reason.
        reason: String,
    },
}

impl ProvisionError {
    /// Whether another try may succeed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NoJetStream(_) | Self::Unavailable(_))
    }
}

/// Checks that requests reach us, creates the streams that are missing, and reports drift.
///
/// # Errors
/// See [`ProvisionError`], and [`ProvisionError::may_pass`].
pub async fn provision(
    js: &jetstream::Context,
    options: StreamOptions,
    with_example: bool,
) -> Result<(), ProvisionError> {
    refuse_captured_requests(js).await?;
    for (name, json) in STREAMS.into_iter().chain(with_example.then_some(EXAMPLE)) {
        let config = config(json, options)?;
        let drift = match js.get_stream(name).await {
            Ok(stream) => drift(&config, &stream.cached_info().config),
            Err(error) if not_found(error.kind()) => {
                create(js, config).await?;
                info!(stream = name, "stream created");
                Vec::new()
            }
            Err(error) => return Err(ProvisionError::Unavailable(error.to_string())),
        };
        if !drift.is_empty() {
            warn!(stream = name, drift = drift.join("; "), "stream differs from our configuration");
        }
    }
    Ok(())
}

/// Creates a stream. Only what the server says about the configuration is final: after a timeout, while a cluster is
/// forming, or when another instance creates it too, another try is worth it.
async fn create(js: &jetstream::Context, config: Config) -> Result<(), ProvisionError> {
    let stream = config.name.clone();
    let Err(error) = js.create_stream(config).await else {
        return Ok(());
    };
    let reason = error.to_string();
    match error.kind() {
        CreateStreamErrorKind::JetStream(error)
            if class(&error) == Class::Final
                && error.error_code() != jetstream::ErrorCode::STREAM_NAME_EXIST =>
        {
            Err(ProvisionError::Create { stream, reason })
        }
        _ => Err(ProvisionError::Unavailable(format!("stream {stream}: {reason}"))),
    }
}

/// Tells a JetStream that does not exist from one that does not answer.
fn unavailable(error: AccountError) -> ProvisionError {
    use jetstream::ErrorCode;
    match error.kind() {
        // Nobody listens on the subjects of JetStream.
        AccountErrorKind::JetStreamUnavailable => {
            ProvisionError::NoJetStream("NATS runs without JetStream")
        }
        AccountErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED =>
        {
            ProvisionError::NoJetStream("NATS runs without JetStream")
        }
        AccountErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT =>
        {
            ProvisionError::NoJetStream("our account in NATS has no JetStream")
        }
        _ => ProvisionError::Unavailable(error.to_string()),
    }
}

/// Fails if a stream overlaps `cmd.scheduler.>`: with one, callers would see success for every request.
async fn refuse_captured_requests(js: &jetstream::Context) -> Result<(), ProvisionError> {
    js.query_account().await.map_err(unavailable)?;
    let streams: Vec<Info> = js
        .streams()
        .try_collect()
        .await
        .map_err(|error| ProvisionError::Unavailable(error.to_string()))?;
    for stream in streams {
        if stream.config.subjects.iter().any(|subject| overlaps(subject, names::COMMAND_WILDCARD)) {
            return Err(ProvisionError::CapturesRequests { stream: stream.config.name });
        }
    }
    Ok(())
}

/// Whether two subject patterns have a subject in common.
fn overlaps(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}

fn config(json: &str, options: StreamOptions) -> Result<Config, ProvisionError> {
    let mut config: Config = serde_json::from_str(json).map_err(|error| {
        ProvisionError::Create { stream: "(embedded)".to_owned(), reason: error.to_string() }
    })?;
    config.num_replicas = options.replicas;
    if config.name == names::EXECUTIONS_STREAM {
        config.max_age = std::time::Duration::from_secs(u64::from(options.history_days) * 86_400);
    }
    Ok(config)
}

fn not_found(kind: GetStreamErrorKind) -> bool {
    match kind {
        GetStreamErrorKind::JetStream(error) => {
            error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
        }
        _ => false,
    }
}

/// Our settings, given as JSON, that a stream does not have.
pub(super) fn differences(json: &str, options: StreamOptions, found: &Config) -> Vec<String> {
    config(json, options).map(|config| drift(&config, found)).unwrap_or_default()
}

/// Our settings that the stream does not have.
fn drift(expected: &Config, found: &Config) -> Vec<String> {
    let as_map = |config: &Config| match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let found = as_map(found);
    as_map(expected)
        .into_iter()
        // Descriptions, and where the stream is placed, are up to the operator.
        .filter(|(key, _)| !matches!(key.as_str(), "description" | "metadata" | "placement"))
        .filter_map(|(key, value)| {
            let is = found.get(&key).cloned().unwrap_or(Value::Null);
            (is != value).then(|| format!("{key}: is {is}, expected {value}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_patterns_are_found() {
        for (a, b, expected) in [
            ("cmd.>", "cmd.scheduler.>", true),
            ("cmd.scheduler.schedule.create", "cmd.scheduler.>", true),
            ("cmd.*.*", "cmd.scheduler.>", true),
            (">", "cmd.scheduler.>", true),
            ("cmd.notification.>", "cmd.scheduler.>", false),
            ("cmd.scheduler", "cmd.scheduler.>", false),
            ("*.scheduler.x", "cmd.scheduler.>", true),
        ] {
            assert_eq!(overlaps(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_embedded_configurations_parse_and_none_captures_requests() {
        let options = StreamOptions { replicas: 3, history_days: 7 };
        for (name, json) in STREAMS.into_iter().chain([EXAMPLE]) {
            let config = config(json, options).unwrap();
            assert_eq!(config.name, name);
            assert_eq!(config.num_replicas, 3);
            assert!(config.description.is_some());
            assert!(!config.subjects.iter().any(|s| overlaps(s, names::COMMAND_WILDCARD)));
        }
    }
}
