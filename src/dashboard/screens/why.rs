//! Why: what became of each nominal time of a schedule, and how to mend it.

use axum::response::Response;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::form::instant;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, address, badge, execution_path, hidden, millis, nothing, relative, schedule_link,
    time_in, tone,
};
use crate::dashboard::plot::axis;
use crate::dashboard::visit::{Visitor, drawn};

/// Lines of a page, about.
const LINES: u64 = 200;
/// Width of a strip, and of a mark that stands for one time.
const WIDTH: f64 = 1000.0;
const MARK: f64 = 4.0;
/// Parts of its axis.
const TICKS: i32 = 4;

/// A span of time, from its start to its end.
type Span = (DateTime<Utc>, DateTime<Utc>);

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let id = visitor.segment(1);
    let from = visitor.query("from").or_else(|| {
        let days = match visitor.query("span").as_deref() {
            Some("week") => 7,
            _ => 1,
        };
        Some((visitor.now - TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true))
    });
    let fields = json!({
        "schedule_id": id,
        "from": from.map(|from| instant(&from)),
        "to": visitor.query("to").map(|to| instant(&to)),
        "limit": LINES,
    });
    let whole = json!({ "schedule_id": id });
    let (explained, schedule) =
        tokio::join!(visitor.read("schedule.explain", fields), visitor.read("schedule.get", whole));
    let reply = match explained {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some(&format!("/schedules/{id}"))).await,
    };
    let data = &reply["data"];
    let zone = schedule.as_ref().map_or("UTC", |reply| reply["data"].text("timezone"));
    let at = |name: &str| data.instant(name).unwrap_or(visitor.now);
    let span = (at("from"), at("to"));
    // Of a long list the page has only a part.
    let shown = (span.0, data.instant("next_from").unwrap_or(span.1));
    let body = html! {
        h1 { "Why: " (schedule_link(id, data.text("name"))) }
        p.lead {
            (data.text("description"))
            @if !data.text("no_next").is_empty() { ". No next time: " (data.text("no_next")) }
        }
        form.filters action=(format!("/schedules/{id}/why")) {
            a href="?span=day" { "The last day" } a href="?span=week" { "The last week" }
            label { "From (UTC)" input type="datetime-local" name="from" step="any"; }
            label { "To (UTC)" input type="datetime-local" name="to" step="any"; }
            button type="submit" { "Show" }
        }
        @for warning in reply.items("warnings") { p.box.warn { (warning.text("message")) } }
        section #times data-live {
            p.dim { "From " (time_in(data.instant("from"), zone)) " to " (time_in(data.instant("to"), zone)) }
            @if data.items("times").is_empty() { (nothing(data.text("no_times"))) }
            @else { (strip(data.items("times"), shown, zone)) (lines(visitor, id, data.items("times"), zone)) }
            @if data["next_from"].is_string() {
                p { a href=(address(visitor, "from", data.text("next_from"))) { "Go on" } }
            }
            (beside(visitor, span))
        }
    };
    page::show(visitor, &format!("Why: {}", data.text("name")), body).await
}

/// What became of the times, each where it lies in the span; those that are told together are one mark from the first to
/// the last.
fn strip(times: &[Value], (from, to): Span, zone: &str) -> Markup {
    let width = (to - from).num_milliseconds().max(1) as f64;
    let place = |at: Option<DateTime<Utc>>| {
        let at = at.unwrap_or(from);
        ((at - from).num_milliseconds() as f64 / width * WIDTH).clamp(0.0, WIDTH)
    };
    html! {
        svg.times viewBox=(format!("0 0 {} 24", WIDTH + MARK)) preserveAspectRatio="none" role="group" aria-label="What became of each time" {
            rect.ground x="0" y="0" width=(WIDTH + MARK) height="24" {}
            @for (n, one) in times.iter().enumerate() {
                @let begin = place(one.instant("scheduled_for"));
                @let end = place(one.instant("last").or(one.instant("scheduled_for")));
                a href=(format!("#t{n}")) aria-label=(says(one, zone)) {
                    title { (says(one, zone)) }
                    rect.(tone(one.text("outcome"))) x=(begin) y="2" width=(end - begin + MARK) height="20" {}
                }
            }
        }
        (axis(&ticks((from, to), zone)))
    }
}

fn says(one: &Value, zone: &str) -> String {
    let at = |name: &str| one.instant(name).map(|at| clock(at, zone)).unwrap_or_default();
    let outcome = one.text("outcome").replace('_', " ");
    match one.count("count") {
        0 | 1 => format!("{}: {outcome}", at("scheduled_for")),
        count => format!("{} to {}: {count} {outcome}", at("scheduled_for"), at("last")),
    }
}

/// What clocks of a zone show at even distances in a span.
fn ticks((from, to): Span, zone: &str) -> Vec<String> {
    (0..=TICKS).map(|n| clock(from + (to - from) / TICKS * n, zone)).collect()
}

fn clock(at: DateTime<Utc>, zone: &str) -> String {
    let zone: Tz = zone.parse().unwrap_or(Tz::UTC);
    at.with_timezone(&zone).format("%m-%d %H:%M %:z").to_string()
}

/// The spans before and behind this one, as links.
fn beside(visitor: &Visitor<'_>, (from, to): Span) -> Markup {
    let link = |from: DateTime<Utc>, to: DateTime<Utc>| {
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &text(from)).append_pair("to", &text(to));
        format!("{}?{}", visitor.parts.uri.path(), query.finish())
    };
    html! {
        p.pager {
            a rel="prev" href=(link(from - (to - from), from)) { "Earlier" }
            @if to < visitor.now { " " a rel="next" href=(link(to, to + (to - from))) { "Later" } }
        }
    }
}

fn lines(visitor: &Visitor<'_>, id: &str, times: &[Value], zone: &str) -> Markup {
    html! {
        div.scroll { table {
            thead {
                tr {
                    th scope="col" { "Nominal time" }
                    th scope="col" { "Outcome" } th scope="col" { "Why" } th scope="col" { "What helps" }
                }
            }
            tbody {
                @for (n, one) in times.iter().enumerate() {
                    tr #{ "t" (n) } {
                        td {
                            (time_in(one.instant("scheduled_for"), zone))
                            @if one.count("count") > 1 {
                                " to " (time_in(one.instant("last"), zone)) " (" (one.count("count")) ")"
                            }
                            @if one["moved"].is_string() { " " span.badge.warn { "moved by a clock change" } }
                        }
                        td {
                            (badge(one.text("outcome")))
                            @if let Some(late) = one.number("late_ms").filter(|late| *late >= 1000.0) {
                                " " (millis(Some(late))) " late"
                            }
                        }
                        td {
                            bdi { (one.text("reason")) }
                            @if !one.text("error_type").is_empty() { " " code { bdi { (one.text("error_type")) } } }
                            @if one["blocked_by"].is_string() {
                                " " a href=(execution_path(one.text("blocked_by"))) { "that one" }
                            }
                            @if one["execution_id"].is_string() {
                                " "
                                a.row href=(execution_path(one.text("execution_id"))) {
                                    "execution"
                                }
                            } @else if let Some(filter) = alike(id, one) {
                                " " a.row href=(listed(&filter)) { "executions" }
                            }
                            @if one.text("outcome") == "coming" {
                                " " (relative(one.instant("scheduled_for"), visitor.now))
                            }
                        }
                        td { (mend(visitor, id, one)) }
                    }
                }
            }
        } }
    }
}

/// Which executions a line is about that tells of several.
fn alike(id: &str, one: &Value) -> Option<Value> {
    let outcome = one.text("outcome");
    let is_of_many =
        one.count("count") > 1 && ["success", "failed", "cancelled"].contains(&outcome);
    let mut filter = json!({
        "schedule_id": id, "status": outcome,
        "scheduled_from": one["scheduled_for"], "scheduled_to": one["last"],
    });
    if one["error_type"].is_string() {
        filter["error_type"] = one["error_type"].clone();
    }
    is_of_many.then_some(filter)
}

/// The list of what a filter is about.
fn listed(filter: &Value) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in filter.as_object().into_iter().flatten() {
        query.append_pair(name, value.as_str().unwrap_or_default());
    }
    format!("/executions?{}", query.finish())
}

/// What mends it, if something does.
fn mend(visitor: &Visitor<'_>, id: &str, one: &Value) -> Markup {
    let here = visitor.here();
    let me = hidden("schedule_id", id);
    match one.text("outcome") {
        "failed" | "cancelled" if one["execution_id"].is_string() => action(
            visitor,
            "execution.retry",
            &here,
            html! {
                (hidden("execution_id", one.text("execution_id"))) (hidden("idempotency_key", &drawn()))
                button type="submit" { "Run again" }
            },
        ),
        "failed" | "cancelled" => {
            let Some(filter) = alike(id, one) else { return html! {} };
            action(
                visitor,
                "bulk.retry",
                &here,
                html! {
                    (hidden("filter", &filter.to_string()))
                    (hidden("idempotency_key", &drawn()))
                    (hidden("dry_run", "true"))
                    button type="submit" { "Run these again …" }
                },
            )
        }
        "skipped" | "forgotten" => {
            let from = one.text("scheduled_for");
            let to = if one["last"].is_string() { one.text("last") } else { from };
            action(
                visitor,
                "schedule.backfill",
                &here,
                html! {
                    (me) (hidden("from", from)) (hidden("to", to)) (hidden("dry_run", "true"))
                    button type="submit" { "Run it now …" }
                },
            )
        }
        "paused" => action(
            visitor,
            "schedule.resume",
            &here,
            html! { (me) button type="submit" { "Resume" } },
        ),
        "switched_off" => {
            html! { a href=(format!("/schedules/{id}/edit")) { "Edit" } }
        }
        _ => html! {},
    }
}
