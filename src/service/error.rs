//! Why the service cannot run, or does not run any more.

use std::io;

use tokio::task::JoinError;

use crate::api::http::HttpError;
use crate::instance::OpenError;
use crate::jetstream::connect::ConnectError;
use crate::jetstream::provision::ProvisionError;
use crate::port::Deaf;
use crate::url_file::Unwritten;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No connection is possible with these settings.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// HTTP cannot be offered.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Nobody can be told where HTTP listens.
    #[error(transparent)]
    UrlFile(#[from] Unwritten),
    /// Spans cannot be sent.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Spans(#[from] crate::otlp::OtlpError),
    /// The streams cannot be used.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// A part of the service could not begin.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A part ended that should run as long as the service does.
    #[error("the {part} ended by itself: {reason}")]
    Ended {
        /// The part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// The client's task panicked over something it received: nothing can be sent or heard over the connection any
    /// more.
    #[error("the connection to NATS is gone for good")]
    ConnectionGone,
}

pub(super) fn facade_ended(done: Result<io::Result<()>, JoinError>) -> ServeError {
    let reason = match done {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    ServeError::Ended { part: "HTTP server", reason }
}

impl From<Deaf> for ServeError {
    fn from(deaf: Deaf) -> Self {
        Self::Open(deaf.into())
    }
}

impl ServeError {
    pub(super) fn ended(part: &'static str, error: Option<JoinError>) -> Self {
        Self::Ended {
            part,
            reason: error.map_or_else(|| "it returned".to_owned(), |e| e.to_string()),
        }
    }
}
