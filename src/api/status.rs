//! How the service is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ApiError;
use super::reply::Reply;
use super::{Api, Caller};
use crate::index::SetAside;

/// A request without fields.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nothing {}

/// How the service is, as the instance that answers sees it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// `ok`, or `degraded` where something needs an operator.
    pub status: String,
    /// The version of the service.
    pub version: String,
    /// The instance that answers.
    pub instance: Uuid,
    /// Since when it runs.
    pub started_at: DateTime<Utc>,
    /// The server that it is connected to.
    pub nats_server: String,
    /// Schedules by status.
    pub schedules: BTreeMap<String, usize>,
    /// Our streams.
    pub streams: Vec<StreamStatus>,
    /// Records that cannot be read: they are not acted on and harm nothing else.
    pub set_aside: Vec<SetAside>,
}

/// One of our streams.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Settings that differ from ours.
    pub drift: Vec<String>,
}

impl Api {
    /// How the service is.
    ///
    /// # Errors
    /// None; the type is that of all operations.
    pub async fn status(
        &self,
        _: Nothing,
        caller: &Caller,
    ) -> Result<Reply<ServiceStatus>, ApiError> {
        let mut schedules: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.index.all().iter().filter(|entry| !entry.schedule.purge) {
            *schedules.entry(entry.schedule.status.as_str().to_owned()).or_default() += 1;
        }
        let streams: Vec<_> = self
            .streams
            .iter()
            .map(|stream| StreamStatus {
                name: stream.name.to_owned(),
                drift: stream.drift.clone(),
            })
            .collect();
        let set_aside = self.index.set_aside();
        let healthy = set_aside.is_empty() && streams.iter().all(|stream| stream.drift.is_empty());
        let server = self.js.client().server_info();
        let status = ServiceStatus {
            status: if healthy { "ok" } else { "degraded" }.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance,
            started_at: self.started_at,
            nats_server: format!("{} {}", server.server_name, server.version),
            schedules,
            streams,
            set_aside,
        };
        Ok(Reply::new(status, caller))
    }
}
