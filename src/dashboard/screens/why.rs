//! Why: what became of each nominal time of a schedule, and how to mend it.

use axum::response::Response;
use chrono::{SecondsFormat, TimeDelta};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::form::instant;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, address, badge, execution_path, hidden, millis, nothing, relative, schedule_link,
    time_in, tone,
};
use crate::dashboard::visit::{Visitor, drawn};

/// Lines of a page, about.
const LINES: u64 = 200;

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
            @if data.items("times").is_empty() { (nothing("It has no nominal time in this span.")) }
            @else { (strip(data.items("times"))) (lines(visitor, id, data.items("times"), zone)) }
            @if data["next_from"].is_string() {
                p { a href=(address(visitor, "from", data.text("next_from"))) { "Go on" } }
            }
        }
    };
    page::show(visitor, &format!("Why: {}", data.text("name")), body).await
}

/// What became of the times, one mark for each line.
fn strip(times: &[Value]) -> Markup {
    html! {
        ol.strip aria-label="What became of each time" {
            @for (n, one) in times.iter().enumerate() {
                @let says = format!("{} {}", one.text("scheduled_for"), one.text("outcome"));
                li.(tone(one.text("outcome"))) { a href=(format!("#t{n}")) title=(says) { span.unseen { (says) } } }
            }
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
