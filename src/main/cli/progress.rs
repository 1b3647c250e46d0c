//! Progress of a long command: one line on standard error, at a terminal only, below all other output.
//!
//! Whatever else is written erases the line first, and the next step draws it again.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Least time between two redraws of the line.
const REDRAWN: Duration = Duration::from_millis(100);
/// Interval at which the line of a slow request is drawn.
const TICK: Duration = Duration::from_secs(1);
/// Width of a terminal that does not say how wide it is.
const COLUMNS: usize = 80;
/// The bar takes this much at most; one that would be shorter than the least says nothing.
const BAR: std::ops::RangeInclusive<usize> = 8..=40;

/// Whether the line is there.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Erases the line, if there is one, so that something else can be written in its place.
pub fn erase() {
    if IS_DRAWN.swap(false, Ordering::Relaxed) {
        // A terminal that is gone needs no line.
        let _ = write!(io::stderr(), "\r\u{1b}[K");
    }
}

/// The progress of work in many steps.
pub struct Progress {
    what: &'static str,
    /// The number of steps, if it is known.
    total: Option<usize>,
    done: usize,
    began: Instant,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Shown only if standard error is a terminal.
    pub fn new(what: &'static str, total: Option<usize>) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { what, total, done: 0, began: Instant::now(), drawn: None, is_shown }
    }

    /// The same for what goes to standard output as it comes: at a terminal that shows how far it is by itself.
    pub fn beside_output(what: &'static str) -> Self {
        let new = Self::new(what, None);
        Self { is_shown: new.is_shown && !io::stdout().is_terminal(), ..new }
    }

    /// Notes further steps.
    pub fn add(&mut self, count: usize) {
        self.done += count;
        let is_over = self.total.is_some_and(|total| self.done >= total);
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAWN);
        if self.is_shown && !is_over && is_due {
            draw(&line(self.what, self.done, self.total, self.began.elapsed(), columns()));
            self.drawn = Some(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            erase();
        }
    }
}

/// Waits for a request that may take long, and says for how long it has.
pub async fn waiting<T>(what: &str, request: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            biased;
            done = &mut request => {
                erase();
                return done;
            }
            _ = ticks.tick() => if io::stderr().is_terminal() {
                draw(&format!("{what}: {} s", began.elapsed().as_secs()));
            },
        }
    }
}

fn draw(line: &str) {
    let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
    IS_DRAWN.store(true, Ordering::Relaxed);
}

fn columns() -> usize {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(COLUMNS, |(width, _)| usize::from(width.0)).max(1)
}

/// The line, no wider than the terminal.
fn line(
    what: &str,
    done: usize,
    total: Option<usize>,
    elapsed: Duration,
    columns: usize,
) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = match total {
        Some(total) => format!("{what} {done} of {total}"),
        None => format!("{what} {done}"),
    };
    let mut end = format!(", {rate:.0}/s");
    if let Some(total) = total {
        let left = total.saturating_sub(done) as f64 / rate.max(0.001);
        let _ = write!(end, ", {left:.0} s left");
        // The last column stays free: some terminals go to the next line once it is used.
        let room = columns.saturating_sub(line.len() + end.len() + 4);
        if room >= *BAR.start() {
            let width = room.min(*BAR.end());
            let full = (width * done).checked_div(total).unwrap_or(0).min(width);
            let _ = write!(line, " [{:<width$}]", "=".repeat(full));
        }
    }
    line += &end;
    line.truncate(columns - 1);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_whatever_the_terminal() {
        let second = Duration::from_secs(1);
        let of = |total, columns| line("planned", 500, total, second, columns);
        assert_eq!(of(None, 80), "planned 500, 500/s");
        assert_eq!(
            of(Some(2000), 60),
            "planned 500 of 2000 [=====               ], 500/s, 3 s left"
        );
        assert_eq!(of(Some(2000), 44), "planned 500 of 2000, 500/s, 3 s left");
        assert_eq!(of(Some(2000), 12), "planned 500");
        for columns in 1..200 {
            assert!(of(Some(2000), columns).len() < columns.max(1) + usize::from(columns == 0));
        }
        assert_eq!(
            line("planned", 0, Some(0), Duration::ZERO, 40),
            "planned 0 of 0, 0/s, 0 s left"
        );
    }
}
