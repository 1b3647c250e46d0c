//! What those who send requests are told, over NATS and with the typed client.

pub mod audit;
pub mod client;
pub mod hostile;
pub mod messages;
pub mod openapi;
pub mod service_api;
