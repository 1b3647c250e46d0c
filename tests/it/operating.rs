//! Running the service: starting, connecting, permissions, logs, upgrades.

pub mod connecting;
mod deploy;
pub mod dev;
pub mod formats;
pub mod logs;
mod monitoring;
pub mod newer;
pub mod permissions;
#[cfg(feature = "otlp")]
pub mod spans;
pub mod starting;
