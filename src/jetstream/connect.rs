//! Connects to NATS.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, error, info, warn};

use super::reminder::Reminder;
use crate::config::nats::NatsConfig;
use crate::names;
use crate::port::answers::Answers;
use crate::port::{Permission, Refusal};

/// Why no connection could be made, if trying the same again will not help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials file cannot be used.
    #[error("credentials file {path}: {source}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
}

/// Why a connection that is made only once could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] ConnectError),
    /// NATS is out of reach, or refuses us.
    #[error(transparent)]
    Nats(#[from] async_nats::ConnectError),
}

/// Pause between attempts to connect at start.
const RETRY: Duration = Duration::from_secs(1);
/// Most refusals that wait to be read.
const MAX_REFUSALS: usize = 256;

/// A connection, and what its client does not report.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its client.
    pub client: Client,
    refusals: broadcast::Sender<Refusal>,
    gone: CancellationToken,
}

impl Connection {
    /// The refusals from now on.
    pub fn refusals(&self) -> broadcast::Receiver<Refusal> {
        self.refusals.subscribe()
    }

    /// Waits until the connection is gone and will not come back. The client repairs a lost connection; but if the
    /// client's task panics, nothing can be sent or heard any more, while [`Client::connection_state`] goes on showing
    /// its last state.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// Connects; waits for NATS as long as it takes, and logs what is wrong meanwhile. The server knows the connection by
/// `name`. `answers` is told which subjects we may not publish to.
///
/// # Errors
/// Only what waiting cannot mend: an unusable credentials file.
pub async fn connect(
    config: &NatsConfig,
    name: &str,
    answers: &Answers,
) -> Result<Connection, ConnectError> {
    let mut said = Reminder::default();
    loop {
        let (refusals, _) = broadcast::channel(MAX_REFUSALS);
        let gone = CancellationToken::new();
        let ear = Ear {
            connection: name.to_owned(),
            refusals: refusals.clone(),
            answers: answers.clone(),
            broken: None,
            _gone: gone.clone().drop_guard(),
        };
        let options = ear.listen(options(config, name).await?);
        match options.connect(config.servers.as_slice()).await {
            Ok(client) => return Ok(Connection { client, refusals, gone }),
            Err(error) => {
                let error = error.to_string();
                if said.is_due(&error, Instant::now()) {
                    let servers = config.shown_servers();
                    warn!(url = servers, error, "cannot connect to NATS; will retry");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Connects once. The client never reconnects, so nothing that it was given before a break is sent after it. `broken`
/// is cancelled when the connection is lost; the client's tasks then wait for ever, so drop them together with the
/// runtime that this was called on.
///
/// # Errors
/// If this attempt fails.
pub(crate) async fn connect_once(
    config: &NatsConfig,
    name: &str,
    answers: &Answers,
    broken: &CancellationToken,
) -> Result<Client, OnceError> {
    let ear = Ear {
        connection: name.to_owned(),
        refusals: broadcast::channel(1).0,
        answers: answers.clone(),
        broken: Some(broken.clone()),
        _gone: broken.clone().drop_guard(),
    };
    // The client asks where to connect before every attempt; only the first one gets an answer.
    let tried = AtomicBool::new(false);
    let options = options(config, name).await?.reconnect_to_server_callback(move |_, _| {
        let again = tried.swap(true, Ordering::Relaxed);
        async move { if again { std::future::pending().await } else { None } }
    });
    Ok(ear.listen(options).connect(config.servers.as_slice()).await?)
}

/// How to connect with these settings. The server knows the connection by `name`.
///
/// # Errors
/// An unusable credentials file.
pub async fn options(config: &NatsConfig, name: &str) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(name)
        // Half-open connections are noticed within two pings.
        .ping_interval(Duration::from_secs(5))
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .client_capacity(16_384);
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &config.token {
        options = options.token(token.clone());
    }
    if let Some(seed) = &config.nkey_seed {
        options = options.nkey(seed.clone());
    }
    if let Some(path) = &config.credentials_file {
        options = options
            .credentials_file(path)
            .await
            .map_err(|source| ConnectError::Credentials { path: path.clone(), source })?;
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if config.tls_first {
        options = options.tls_first();
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options.require_tls(config.tls_required))
}

/// Listener for the events of one connection. The client keeps it exactly as long as the connection.
struct Ear {
    connection: String,
    refusals: broadcast::Sender<Refusal>,
    answers: Answers,
    /// For a connection that is not made again: cancelled when it is lost.
    broken: Option<CancellationToken>,
    _gone: DropGuard,
}

impl Ear {
    fn listen(self, options: ConnectOptions) -> ConnectOptions {
        let ear = Arc::new(self);
        options.event_callback(move |event| {
            let ear = Arc::clone(&ear);
            async move { ear.hear(&event) }
        })
    }

    fn hear(&self, event: &Event) {
        let connection = self.connection.as_str();
        match event {
            Event::Connected => info!(connection, "connected to NATS"),
            Event::Disconnected => {
                warn!(connection, "connection to NATS lost; reconnecting");
                if let Some(broken) = &self.broken {
                    broken.cancel();
                }
            }
            Event::LameDuckMode => warn!(connection, "NATS server is about to shut down"),
            Event::SlowConsumer(sid) => {
                error!(connection, sid, "messages dropped: a subscription is too slow");
            }
            Event::ServerError(error) => match refusal(error) {
                Some(refusal) => self.refused(refusal),
                None => error!(connection, %error, "NATS server refused something"),
            },
            other => info!(connection, event = %other, "NATS connection"),
        }
    }

    /// Reports a refused permission; what was refused gets no answer of its own.
    fn refused(&self, refusal: Refusal) {
        let (operation, subject) = (refusal.operation.as_str(), refusal.subject.as_str());
        if subject.starts_with(names::INSTANCE_PREFIX) {
            // It is tried again and again; the sender of heartbeats logs the consequence, once.
            debug!(operation, subject, "NATS refused a heartbeat");
        } else {
            error!(
                operation,
                subject,
                "NATS refused a permission: the user of this service may not {operation} to this \
                 subject; see docs/nats-permissions.md"
            );
        }
        if refusal.operation == Permission::Publish {
            self.answers.denied(subject);
        }
        // Fails if nobody listens.
        let _ = self.refusals.send(refusal);
    }
}

/// The operation and the subject that a server says we are not permitted; `None` if it says something else.
///
/// Neither the protocol nor the client has a kind for it, so this parses the server's text: `Permissions Violation for
/// Publish to "subject"` and `… for Subscription to "subject"`, which may go on, for instance with ` using queue
/// "name"`.
fn refusal(error: &ServerError) -> Option<Refusal> {
    let ServerError::Other(text) = error else {
        return None;
    };
    let refused = text.strip_prefix("Permissions Violation for ")?;
    let (operation, quoted) = match refused.split_once(" to \"")? {
        ("Publish", quoted) => (Permission::Publish, quoted),
        ("Subscription", quoted) => (Permission::Subscribe, quoted),
        _ => return None,
    };
    let (subject, _) = quoted.split_once('"')?;
    Some(Refusal { operation, subject: subject.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_permissions_are_told_from_other_errors() {
        for (text, expected) in [
            (
                r#"Permissions Violation for Publish to "$KV.scheduler_schedules.schedule.1""#,
                Some((Permission::Publish, "$KV.scheduler_schedules.schedule.1")),
            ),
            (
                r#"Permissions Violation for Subscription to "cmd.scheduler.>""#,
                Some((Permission::Subscribe, "cmd.scheduler.>")),
            ),
            (
                r#"Permissions Violation for Subscription to "cmd.scheduler.status" using queue "q""#,
                Some((Permission::Subscribe, "cmd.scheduler.status")),
            ),
            // After the server has reloaded a configuration that permits less.
            (
                r#"Permissions Violation for Subscription to "evt.scheduler.instance.*" (sid "3")"#,
                Some((Permission::Subscribe, "evt.scheduler.instance.*")),
            ),
            (r#"Permissions Violation for Publish with Reply of "_R_.x""#, None),
            (r#"Permissions Violation for Publish to "a.b"#, None),
            ("Permissions Violation for Publish to a.b", None),
            ("Permissions Violation for ", None),
            ("Permissions Violation", None),
            ("Maximum Payload Violation", None),
            ("", None),
        ] {
            let expected = expected.map(|(operation, subject): (_, &str)| Refusal {
                operation,
                subject: subject.to_owned(),
            });
            assert_eq!(refusal(&ServerError::Other(text.to_owned())), expected, "{text}");
        }
        assert_eq!(refusal(&ServerError::AuthorizationViolation), None);
        assert_eq!(refusal(&ServerError::SlowConsumer(1)), None);
    }
}
