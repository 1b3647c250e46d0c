//! Log of a run, in virtual time.

use std::fmt;
use std::sync::OnceLock;

use tokio::time::Instant;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The time since the first line.
struct Virtual;

static BEGAN: OnceLock<Instant> = OnceLock::new();

impl FormatTime for Virtual {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = Instant::now();
        write!(
            writer,
            "{:.3}",
            now.saturating_duration_since(*BEGAN.get_or_init(|| now)).as_secs_f64()
        )
    }
}

/// Logs all that instances do, to stderr. It makes sense with one seed.
pub fn open() {
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    // A second one changes nothing.
    let _ = log.with_writer(std::io::stderr).with_timer(Virtual).try_init();
}
