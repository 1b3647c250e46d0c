//! What a claimed attempt sends that the schedule no longer says: see [`pin`](super::pin).

use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::{Delivery, Payload, Target};
use crate::stored::{Kept, Unknown, keeps_unknown};
use crate::trace_context::TraceContext;

/// What the schedule said when an attempt was claimed and no longer says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Pinned {
    /// The schedule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Target of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_command: Option<Target>,
    /// How the command is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Kept<Delivery>>,
    /// Body of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_payload: Option<Payload>,
    /// Only in stored form: the attempt in the same record that holds the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_of: Option<Uuid>,
    /// Whether the body was a different one that is not kept here because a worker had it already.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other_payload: bool,
    /// Whether the body has placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_template: Option<bool>,
    /// Time zone of the placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Tz>,
    /// Maximum delay from the nominal time of an occurrence until it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<u32>,
    /// The trace of the request that made the schedule what it was, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub trace: Option<Option<TraceContext>>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Pinned);

/// Reads a field that is present, even if only to say that there was nothing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
