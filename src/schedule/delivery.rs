//! How commands are sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a command is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryMode {
    /// As a message in a JetStream stream; success is the stream's acknowledgement.
    #[default]
    Publish,
    /// As a request; success is a reply within the timeout that is not a service error.
    Request,
    /// As a message in a JetStream stream; success is what a worker reports within the timeout.
    Job,
    /// As a core NATS message; success is having sent it.
    Core,
}

/// How a command is sent, and how long its outcome may take.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// How the command is sent.
    #[serde(default)]
    pub mode: DeliveryMode,
    /// For `request`: seconds to wait for the reply, 1 to 3600. For `job`: seconds to wait for the worker's
    /// report, 1 to 86400. Default 30.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
    /// For `job`: seconds after which a worker that reports nothing counts as lost, 1 to 3600; default: none,
    /// so only the timeout counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub heartbeat_seconds: Option<u32>,
}

impl DeliveryMode {
    /// Whether an execution takes time during which later ones may have to wait.
    pub fn takes_time(self) -> bool {
        matches!(self, Self::Request | Self::Job)
    }
}

fn default_timeout_seconds() -> u32 {
    30
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            mode: DeliveryMode::default(),
            timeout_seconds: default_timeout_seconds(),
            heartbeat_seconds: None,
        }
    }
}
