//! What becomes of occurrences: commands, outcomes, the history, and running them again.

pub mod dry_retries;
pub mod firing;
pub mod header_values;
pub mod history;
pub mod immediate;
pub mod jobs;
pub mod ledger;
pub mod long_texts;
pub mod malformed;
pub mod policies;
pub mod reruns;
pub mod retries;
pub mod sending;
pub mod statistics;
pub mod waiting;
pub mod workers;
