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
use nats_scheduler::client::Pagination;

use super::moment;
use super::output::table::{Cell, Tone};
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

/// Says how much of a list a page leaves out.
pub fn tell_rest(pagination: Option<&Pagination>) {
    let Some(Pagination { page, limit, total, .. }) = pagination else { return };
    let shown = (*page as u64).saturating_mul(*limit as u64);
    if *total > shown {
        note(&format!("page {page} of {}, {total} in all", total.div_ceil((*limit).max(1) as u64)));
    }
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
