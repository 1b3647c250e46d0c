//! Commands that only read.

pub mod audit;
pub mod executions;
pub mod explain;
pub mod get;
pub mod list;
pub mod logs;
pub mod next;
pub mod running;
pub mod stats;
pub mod status;
pub mod watch;

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{Pagination, Reply};

use super::failure::{Exit, Failure};
use super::moment;
use super::output::table::{Cell, Tone};
use super::output::{Listed, Output};
use super::text::note;

/// The page of a list.
#[derive(Args, Clone, Copy, Debug)]
pub struct Page {
    /// Rows per page, 1 to 100.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20)]
    pub limit: u64,
    /// The number of the page, from 1.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub page: u64,
}

/// Shows a page of a list, and says how much of it is elsewhere; `none` if there is nothing.
///
/// # Errors
/// Those of the output.
pub fn show_page<T: Listed>(
    reply: &Reply<Vec<T>>,
    none: &str,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let elsewhere = reply.pagination.as_ref().and_then(elsewhere);
    let is_beyond = reply.data.is_empty() && elsewhere.is_some();
    out.list(&reply.data, elsewhere.as_deref().filter(|_| is_beyond).unwrap_or(none))?;
    out.flush()?;
    if let Some(elsewhere) = elsewhere.filter(|_| out.format.is_table() && !is_beyond) {
        note(&elsewhere);
    }
    Ok(Exit::Done)
}

/// Says which page of how many it is, if further ones have something or it is beyond the last.
fn elsewhere(pagination: &Pagination) -> Option<String> {
    let Pagination { page, limit, total, .. } = pagination;
    let pages = total.div_ceil((*limit).max(1) as u64);
    let is_last = *page as u64 == pages || *total == 0;
    (!is_last).then(|| format!("page {page} of {pages}, {total} in all"))
}

/// A time, as far as it is from now.
pub fn when(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Cell {
    Cell::of(at.map(|at| moment::relative(at, now)))
}

/// A time as such.
pub fn at(at: Option<DateTime<Utc>>) -> Cell {
    Cell::of(at.map(moment::absolute))
}

/// A word that says how something stands or ended.
pub fn state(word: &str) -> Cell {
    Cell::new(word).tone(tone_of(word))
}

/// The tone of such a word.
pub fn tone_of(word: &str) -> Tone {
    match word {
        "success" | "completed" | "active" | "ok" | "created" | "recovered" => Tone::Good,
        "failed" | "failing" | "degraded" | "deleted" => Tone::Bad,
        "paused" | "skipped" | "overdue" | "cancelled" | "corrected" | "updated" => Tone::Warning,
        _ => Tone::Plain,
    }
}
