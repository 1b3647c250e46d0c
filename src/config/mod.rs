//! Settings, from environment variables.
//!
//! Each setting is a constant in the file of its subject, and is read through that constant. This module turns them
//! into plain data for the parts of the service, without depending on those parts. All faults are reported together,
//! and a service with a faulty setting does not start.

pub(crate) mod content;
pub mod engine;
pub(crate) mod faults;
pub(crate) mod forms;
pub mod http;
pub(crate) mod in_force;
mod log_filter;
pub mod logs;
pub mod nats;
mod reader;
mod rules;
pub mod setting;
pub mod streams;
pub(crate) mod tokens;
mod traces;

use tracing_subscriber::filter::Targets;

use crate::schedule::{FieldFault, Rules};
use engine::EngineConfig;
use http::HttpConfig;
use in_force::{SettingInForce, in_force};
use logs::LogFormat;
use nats::NatsConfig;
use reader::Reader;
use setting::Described;
use streams::StreamOptions;

/// Settings of parts that this implementation does not have; a warning names those that are set.
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

/// Every setting, in the order of the documentation.
pub fn settings() -> impl Iterator<Item = &'static dyn Described> {
    let parts = [
        nats::SETTINGS,
        streams::SETTINGS,
        rules::SETTINGS,
        engine::SETTINGS,
        http::SETTINGS,
        traces::SETTINGS,
        logs::SETTINGS,
    ];
    parts.into_iter().flatten().copied()
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this service in NATS connections.
    pub service_name: String,
    /// How to reach NATS.
    pub nats: NatsConfig,
    /// How streams are created.
    pub streams: StreamOptions,
    /// Rules that requests are checked against.
    pub rules: Rules,
    /// Limits of the engine.
    pub engine: EngineConfig,
    /// The HTTP facade, unless it is off.
    pub http: Option<HttpConfig>,
    /// Where spans are sent.
    pub otlp_endpoint: Option<String>,
    /// Filter of log lines.
    pub log_filter: Targets,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// All settings as they may be shown.
    pub in_force: Vec<SettingInForce>,
    /// Obsolete settings that are set.
    pub obsolete: Vec<&'static str>,
}

impl Config {
    /// Reads settings through `lookup`; an empty value counts as unset.
    ///
    /// # Errors
    /// All faults, each with the setting's name. None shows a secret.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<FieldFault>> {
        let mut read = Reader::new(&lookup);
        let service_name = read.get(&nats::SERVICE_NAME);
        let nats = NatsConfig::read(&mut read);
        let streams = StreamOptions::read(&mut read);
        let rules = rules::rules(&mut read);
        let config = Self {
            service_name,
            nats,
            streams,
            engine: EngineConfig::read(&mut read, &rules),
            rules,
            http: HttpConfig::read(&mut read),
            otlp_endpoint: read.get(&traces::OTEL_EXPORTER_OTLP_ENDPOINT),
            log_filter: read.get(&logs::LOG_LEVEL),
            log_format: read.get(&logs::LOG_FORMAT),
            in_force: in_force(&lookup),
            obsolete: OBSOLETE.into_iter().filter(|name| read.is_set(name)).collect(),
        };
        read.done(config)
    }

    /// Shows the address of the NATS that was chosen since; `alone` if no other setting of NATS holds for it.
    #[cfg(feature = "dev")]
    pub(crate) fn note_nats(&mut self, alone: bool) {
        let servers = self.nats.shown_servers();
        for setting in self.in_force.iter_mut().filter(|one| one.name.starts_with("NATS_")) {
            if setting.name == nats::NATS_URL.name() {
                setting.value = Some(servers.clone());
            } else if alone {
                (setting.value, setting.is_set) = (None, false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
