//! Upcoming: the next 24 hours, by minute and by schedule, and what would spread what falls together.

use axum::response::Response;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure, refusal};
use crate::dashboard::parts::{filters, nothing, relative, schedule_link, search, time, when_read};
use crate::dashboard::visit::{Read, Visitor};

/// Occurrences that are laid out in lanes.
const OCCURRENCES: u64 = 500;
/// Lanes that are drawn.
const LANES: usize = 30;
const MINUTES: usize = 24 * 60;
/// Occurrences of a minute that are worth a hot colour, as for the proposal.
const MANY: u64 = 100;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let to = visitor.now + TimeDelta::hours(24);
    let asked = |minutes: bool, limit: u64| {
        json!({
            "to": to.to_rfc3339_opts(SecondsFormat::Secs, true),
            "minutes": minutes,
            "limit": limit,
            "name_contains": visitor.query("name_contains"),
            "creator": visitor.query("creator"),
            "target_prefix": visitor.query("target_prefix"),
            "group": visitor.query("group"),
            "calendar": visitor.query("calendar"),
        })
    };
    let (listed, counted) = tokio::join!(
        visitor.read("schedule.upcoming", asked(false, OCCURRENCES)),
        // All schedules are counted when somebody asks first.
        visitor.soon("schedule.upcoming", asked(true, 1)),
    );
    let reply = match listed {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/upcoming")).await,
    };
    let data = &reply["data"];
    let body = html! {
        h1 { "The next 24 hours" }
        @for warning in reply.items("warnings") { p.box.warn { (warning.text("message")) } }
        (filters("/upcoming", html! {
            (search(visitor, "name_contains", "Name contains"))
            (search(visitor, "creator", "Creator"))
            (search(visitor, "target_prefix", "Target begins with"))
            (search(visitor, "group", "Concurrency group"))
            (search(visitor, "calendar", "Calendar"))
        }))
        section #load data-live {
            (when_read(visitor, counted.as_ref(), |counted| by_minute(visitor, counted)))
        }
        section #lanes data-live {
            h2 { "By schedule" }
            (lanes(visitor, data.items("occurrences"), to))
            @if data["next_cursor"].is_string() {
                p.dim { "Only the next " (data.items("occurrences").len()) " occurrences are drawn." }
            }
        }
    };
    page::show(visitor, "Upcoming", body).await
}

fn by_minute(visitor: &Visitor<'_>, counted: &Read) -> Markup {
    let minutes = match counted {
        Ok(reply) => &reply["data"]["minutes"],
        Err(error) => return refusal(error),
    };
    let of = if minutes.is("filtered") { "those that match" } else { "all schedules" };
    html! { h2 { "By minute, " (of) } (heat(minutes)) (busiest(visitor, minutes)) }
}

/// A row for each hour, a cell for each minute.
fn heat(minutes: &Value) -> Markup {
    let counts: Vec<u64> = minutes
        .items("counts")
        .iter()
        .take(MINUTES)
        .map(|n| n.as_u64().unwrap_or_default())
        .collect();
    let (top, sum) = (counts.iter().copied().max().unwrap_or(0), counts.iter().sum::<u64>());
    let from = minutes.instant("from");
    if sum == 0 {
        return nothing("Nothing comes within the next 24 hours.");
    }
    let hours = counts.len().div_ceil(60);
    let summary = format!(
        "{sum} occurrences, {top} in the busiest minute; each row is an hour, each cell a minute"
    );
    html! {
        figure.plot.heat {
            svg viewBox=(format!("0 0 660 {}", hours * 12)) role="img" aria-label=(summary) {
                @for hour in 0..hours {
                    text x="0" y=(hour * 12 + 9) {
                        (clock(from, hour * 60))
                    }
                }
                @for (n, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    rect.{ "heat" (level(*count, top)) } x=(60 + n % 60 * 10) y=(n / 60 * 12) width="9" height="11" {
                        title {
                            (clock(from, n)) " UTC"
                            ": " (count)
                        }
                    }
                }
            }
            figcaption { (summary) @if minutes["exact"] == false { "; more were not counted" } " (UTC)" }
        }
    }
}

/// What a clock shows so many minutes after an instant.
fn clock(from: Option<DateTime<Utc>>, minutes: usize) -> String {
    let minutes = i64::try_from(minutes).unwrap_or_default();
    let at = from.map(|from| from + TimeDelta::minutes(minutes));
    at.map(|at| at.format("%H:%M").to_string()).unwrap_or_default()
}

/// How hot a cell is, from 1 to 5: each step stands for several times as many.
fn level(count: u64, top: u64) -> u32 {
    let share = (count as f64).ln_1p() / (top.max(MANY) as f64).ln_1p();
    (share * 5.0).ceil().clamp(1.0, 5.0) as u32
}

fn busiest(visitor: &Visitor<'_>, minutes: &Value) -> Markup {
    html! {
        @for one in minutes.items("busiest").iter().filter(|one| one["proposal"].is_string()) {
            p.box.warn {
                (time(one.instant("at"))) " " (relative(one.instant("at"), visitor.now)) ": "
                (one.text("proposal"))
            }
        }
    }
}

/// What one schedule has ahead.
struct Lane<'a> {
    first: &'a Value,
    times: Vec<DateTime<Utc>>,
}

fn lanes(visitor: &Visitor<'_>, occurrences: &[Value], to: DateTime<Utc>) -> Markup {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    let mut left_out = 0;
    for one in occurrences {
        let Some(at) = one.instant("scheduled_for") else { continue };
        let known = lanes.iter().position(|lane| lane.first["schedule_id"] == one["schedule_id"]);
        match known {
            Some(known) => lanes[known].times.push(at),
            None if lanes.len() < LANES => lanes.push(Lane { first: one, times: vec![at] }),
            None => left_out += 1,
        }
    }
    if lanes.is_empty() {
        return nothing("Nothing comes.");
    }
    let span = (to - visitor.now).num_seconds().max(1) as f64;
    let place = |at: &DateTime<Utc>| {
        ((*at - visitor.now).num_seconds() as f64 / span * 600.0).clamp(0.0, 600.0)
    };
    html! {
        div.scroll { table {
            thead {
                tr {
                    th scope="col" { "Schedule" } th scope="col" { "Next" }
                    th scope="col" { "Within 24 hours" }
                }
            }
            tbody {
                @for lane in &lanes {
                    tr {
                        td { (schedule_link(lane.first.text("schedule_id"), lane.first.text("schedule_name"))) }
                        td {
                            (time(lane.first.instant("due_at"))) " " (relative(lane.first.instant("due_at"), visitor.now))
                            @if lane.first["moved"].is_string() { " " span.badge.warn { "moved by a clock change" } } }
                        td {
                            @let says = format!("{} occurrences", lane.times.len());
                            svg.lane viewBox="0 0 602 14" preserveAspectRatio="none" role="img" aria-label=(says) {
                                rect.ground x="0" y="0" width="602" height="14" {}
                                @for at in &lane.times {
                                    rect.busy x=(place(at)) y="2" width="2" height="10" {
                                        title { (at.to_rfc3339()) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        } }
        @if left_out > 0 { p.dim { (left_out) " occurrences of further schedules are not drawn." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_grows_with_the_count() {
        assert_eq!((level(1, 1), level(1, 1_000_000), level(1_000_000, 1_000_000)), (1, 1, 5));
        assert!(level(100, 10_000) < level(5_000, 10_000));
    }
}
