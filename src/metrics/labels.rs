//! Values of labels: the same names as in JSON and logs.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use super::claims::{Lock, LockFailure};
use crate::every::every;
use crate::execution::ExecutionStatus;
use crate::schedule::{ScheduleType, SkipCause, Status};

pub(super) const TYPES: [ScheduleType; 5] =
    every!(ScheduleType: Cron, Interval, OneTime, Immediate, Dependent);

/// The library's own derive would write the names of the variants.
macro_rules! written_by_name {
    ($($kind:ty),+ $(,)?) => {$(
        impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    )+};
}

written_by_name!(ScheduleType, Status, ExecutionStatus, SkipCause, Lock, LockFailure);
