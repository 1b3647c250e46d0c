//! Settings of the streams that the service creates.

use super::forms::{Number, OneOf, number, one_of};
use super::reader::Reader;
use super::setting::{Described, Setting, settings};

settings! {
    /// Copies of each stream that the service creates
    STREAM_REPLICAS: OneOf<usize> = one_of(1, &[("1", 1), ("3", 3), ("5", 5)]);
    /// Days that executions are kept, for a history stream that the service creates
    EXECUTION_HISTORY_RETENTION_DAYS: Number<u32> = number(30, 1..=3650);
}

/// What an operator may choose about the service's streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Days that executions are kept.
    pub history_days: u32,
}

impl StreamOptions {
    pub(super) fn read(read: &mut Reader<'_>) -> Self {
        Self {
            replicas: read.get(&STREAM_REPLICAS),
            history_days: read.get(&EXECUTION_HISTORY_RETENTION_DAYS),
        }
    }
}
