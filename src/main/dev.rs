//! The command `dev`: its arguments, and the settings that are others with it.

use std::path::PathBuf;

use clap::Args;
use nats_scheduler::config::Config;
use nats_scheduler::config::http::API_PORT;
use nats_scheduler::config::logs::{LOG_FORMAT, LOG_LEVEL};
use nats_scheduler::config::nats::NATS_URL;
use nats_scheduler::config::setting::{Described as _, plain};
use nats_scheduler::dev::{self, DevError, DevOptions};
use tokio_util::sync::CancellationToken;

use super::HttpArguments;

#[derive(Args)]
pub struct DevArguments {
    /// Port of NATS on this machine; 0 for any that is free.
    #[arg(long, default_value_t = 4222)]
    pub port: u16,
    /// Where the server keeps its data; it survives restarts. One `dev` at a time.
    #[arg(long, default_value = ".nats-scheduler-dev")]
    pub data_dir: PathBuf,
    /// Port of HTTP; 0 for any that is free, off for no HTTP. Without it API_PORT counts, or
    /// else 8008.
    #[arg(long, value_name = "PORT", value_parser = http_port)]
    pub http_port: Option<String>,
    #[command(flatten)]
    pub http: HttpArguments,
}

/// The settings that are others with `dev`: its default, or none where an option of it has taken its place.
pub const SETTINGS: [(&str, Option<&str>); 4] = [
    (NATS_URL.name(), None),
    (API_PORT.name(), None),
    // At a terminal, people read the log.
    (LOG_LEVEL.name(), Some("warn")),
    (LOG_FORMAT.name(), Some("text")),
];

/// A setting as `dev` has it, by what it is set to.
pub fn setting(name: &str, set: Option<String>) -> Option<String> {
    if name == NATS_URL.name() {
        return None;
    }
    set.or_else(|| {
        let (_, default) = SETTINGS.iter().find(|(other, _)| *other == name)?;
        default.map(str::to_owned)
    })
}

fn http_port(text: &str) -> Result<String, String> {
    if API_PORT.refuses(text).is_empty() {
        return Ok(text.to_owned());
    }
    Err(format!("must be {}", plain(&API_PORT.expected())))
}

impl DevArguments {
    pub async fn run(&self, config: Config, asked: CancellationToken) -> Result<(), DevError> {
        let options = DevOptions { port: self.port, data_dir: self.data_dir.clone() };
        dev::run(config, options, asked).await
    }
}
