//! What is told of the streams that the service creates.

/// What an operator may choose about our streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Days that executions are kept.
    pub history_days: u32,
}
