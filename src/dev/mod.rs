//! `nats-scheduler dev`: a nats-server and the service, to try things on one machine.

mod binary;
mod ensure;
mod find;
mod guard;
mod info;
mod install;
mod lock;
mod options;
mod ports;
mod said;
pub mod server;
mod session;
#[cfg(test)]
mod tests;
mod wheels;

pub use ensure::EnsureError;
pub use session::{DevError, DevOptions, run};
