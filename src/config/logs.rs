//! Settings of the log: which lines are written, and how.

use tracing_subscriber::filter::Targets;

use super::faults::Faults;
use super::forms::{OneOf, Written, one_of, written};
use super::log_filter::parse;
use super::setting::{Described, Setting, settings};

const LEVELS: &str = "`ERROR`, `WARN`, `INFO`, `DEBUG`, `TRACE` or `OFF`, or such levels per target, as in \
     `info,async_nats=debug`";

settings! {
    /// Which lines of the log are written. A level without a target is for all others, and need not be said.
    /// What the client says of each try to connect is left out unless `async_nats` is named. `dev` has `warn`
    LOG_LEVEL: Written<Targets> = written("INFO", LEVELS, filter);
    /// How lines of the log are written. `dev` has `text`
    LOG_FORMAT: OneOf<LogFormat> =
        one_of(LogFormat::Json, &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Readable text.
    Text,
}

fn filter(text: &str, faults: &mut Faults<'_>) -> Targets {
    parse(text).unwrap_or_else(|| {
        faults.must_be(LEVELS, text);
        Targets::new()
    })
}
