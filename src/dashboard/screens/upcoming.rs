//! Upcoming: the next 24 hours, by minute and by schedule, and what would spread what falls together.

use axum::response::Response;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure, refusal};
use crate::dashboard::parts::{filters, nothing, relative, schedule_link, search, time, when_read};
use crate::dashboard::plot::axis;
use crate::dashboard::visit::{Read, Visitor};

/// Lanes that are drawn.
const LANES: u64 = 30;
const MINUTES: usize = 24 * 60;
/// Occurrences of a minute that are worth a hot colour, as for the proposal.
const MANY: u64 = 100;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let to = visitor.now + TimeDelta::hours(24);
    let asked = |minutes: bool, lanes: u64| {
        json!({
            "to": to.to_rfc3339_opts(SecondsFormat::Secs, true),
            "minutes": minutes,
            "lanes": lanes,
            "limit": 1,
            "name_contains": visitor.query("name_contains"),
            "creator": visitor.query("creator"),
            "target_prefix": visitor.query("target_prefix"),
            "group": visitor.query("group"),
            "calendar": visitor.query("calendar"),
        })
    };
    let (listed, counted) = tokio::join!(
        visitor.read("schedule.upcoming", asked(false, LANES)),
        // All schedules are counted when somebody asks first.
        visitor.soon("schedule.upcoming", asked(true, 0)),
    );
    let reply = match listed {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/upcoming")).await,
    };
    let data = &reply["data"];
    let comes = !data["lanes"].items("schedules").is_empty();
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
            (when_read(visitor, counted.as_ref(), |counted| by_minute(visitor, counted, comes)))
        }
        section #lanes data-live {
            h2 { "By schedule" }
            (lanes(visitor, &data["lanes"]))
        }
    };
    page::show(visitor, "Upcoming", body).await
}

/// What was counted, and when that was: what has come since is in the lanes alone.
fn by_minute(visitor: &Visitor<'_>, counted: &Read, comes: bool) -> Markup {
    let minutes = match counted {
        Ok(reply) => &reply["data"]["minutes"],
        Err(error) => return refusal(error),
    };
    let of = if minutes.is("filtered") { "those that match" } else { "all schedules" };
    html! {
        h2 { "By minute, " (of) }
        (heat(minutes, comes))
        @if minutes["as_of"].is_string() { p.dim { "Counted " (relative(minutes.instant("as_of"), visitor.now)) } }
        (busiest(visitor, minutes))
    }
}

/// A row for each hour, a cell for each minute.
fn heat(minutes: &Value, comes: bool) -> Markup {
    let counts: Vec<u64> = minutes
        .items("counts")
        .iter()
        .take(MINUTES)
        .map(|n| n.as_u64().unwrap_or_default())
        .collect();
    let (top, sum) = (counts.iter().copied().max().unwrap_or(0), counts.iter().sum::<u64>());
    let from = minutes.instant("from");
    if sum == 0 {
        return nothing(match comes {
            true => "What comes is not counted yet.",
            false => "Nothing comes within the next 24 hours.",
        });
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

/// What the schedules that come next have ahead, as far as they are drawn.
fn lanes(visitor: &Visitor<'_>, lanes: &Value) -> Markup {
    if lanes.items("schedules").is_empty() {
        return nothing("Nothing comes.");
    }
    let part = TimeDelta::milliseconds(lanes["part_ms"].as_i64().unwrap_or_default());
    html! {
        div.scroll { table {
            thead {
                tr {
                    th scope="col" { "Schedule" } th scope="col" { "Next" }
                    th scope="col" { "Within 24 hours (UTC)" (axis(&hours(visitor.now))) }
                }
            }
            tbody {
                @for lane in lanes.items("schedules") {
                    tr {
                        td { (schedule_link(lane.text("schedule_id"), lane.text("schedule_name"))) }
                        td {
                            (time(lane.instant("due_at"))) " " (relative(lane.instant("due_at"), visitor.now))
                            @if lane["moved"].is_string() { " " span.badge.warn { "moved by a clock change" } } }
                        td { (cells(lane, visitor.now, part)) }
                    }
                }
            }
        } }
        @if lanes.is("more") { p.dim { "Schedules that come later than these are not drawn." } }
    }
}

/// Every sixth hour of a day that begins now.
fn hours(now: DateTime<Utc>) -> Vec<String> {
    let at = |n: i64| (now + TimeDelta::hours(n)).format("%H:%M").to_string();
    [0, 6, 12, 18, 24].map(at).into()
}

/// The parts of a day in which a schedule has occurrences; those in a row that look alike are one.
fn cells(lane: &Value, from: DateTime<Utc>, part: TimeDelta) -> Markup {
    let counts: Vec<u64> =
        lane.items("counts").iter().map(|count| count.as_u64().unwrap_or_default()).collect();
    let (sum, width) = (counts.iter().sum::<u64>(), 600.0 / counts.len().max(1) as f64);
    let says = format!("{sum} {}", if sum == 1 { "occurrence" } else { "occurrences" });
    let at = |n: usize| (from + part * i32::try_from(n).unwrap_or_default()).format("%H:%M");
    let mut place = 0;
    let alike = counts.chunk_by(|one, other| depth(*one) == depth(*other)).filter_map(|alike| {
        let begin = place;
        place += alike.len();
        Some((begin, alike, depth(alike[0])?))
    });
    html! {
        svg.lane viewBox="0 0 600 14" preserveAspectRatio="none" role="img" aria-label=(says) {
            rect.ground x="0" y="0" width="600" height="14" {}
            @for (begin, alike, depth) in alike {
                rect.(depth) x=(begin as f64 * width) y="2" width=(alike.len() as f64 * width) height="10" {
                    title {
                        (at(begin)) " to " (at(begin + alike.len())) " UTC: " (how_many(alike))
                        @if alike.len() > 1 { " in each part" }
                    }
                }
            }
        }
    }
}

/// How many occurrences parts have.
fn how_many(parts: &[u64]) -> String {
    let (least, most) = parts
        .iter()
        .fold((u64::MAX, 0), |(least, most), count| (least.min(*count), most.max(*count)));
    if least >= most { most.to_string() } else { format!("{least} to {most}") }
}

/// How dark a part of a lane is, if it has any: single occurrences can still be told from a row of them.
fn depth(count: u64) -> Option<&'static str> {
    match count {
        0 => None,
        1 => Some("heat2"),
        2..=15 => Some("heat3"),
        _ => Some("busy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_look_alike_are_one_mark() {
        let drawn = |counts: &[u64]| {
            let part = TimeDelta::seconds(900);
            cells(&json!({ "counts": counts }), DateTime::UNIX_EPOCH, part).into_string()
        };
        let alike = drawn(&[0, 900, 899, 900, 0, 1, 1]);
        assert_eq!(alike.matches("<rect class=\"busy\"").count(), 1);
        assert!(alike.contains("00:15 to 01:00 UTC: 899 to 900 in each part"), "{alike}");
        assert!(alike.contains("01:15 to 01:45 UTC: 1 in each part"), "{alike}");
        assert_eq!(drawn(&[2]).matches("in each part").count(), 0);
    }

    #[test]
    fn what_comes_and_was_not_counted_is_not_said_not_to_come() {
        let none = |comes| heat(&json!({ "counts": [0, 0] }), comes).into_string();
        assert!(none(true).contains("not counted yet") && !none(true).contains("Nothing"));
        assert!(none(false).contains("Nothing comes"));
    }

    #[test]
    fn heat_grows_with_the_count() {
        assert_eq!((level(1, 1), level(1, 1_000_000), level(1_000_000, 1_000_000)), (1, 1, 5));
        assert!(level(100, 10_000) < level(5_000, 10_000));
    }
}
