//! One execution: what was sent, what came back, and all attempts at its occurrence.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::api::error::{ApiError, Code};
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, badge, execution_path, hidden, millis, payload, query_path, relative, schedule_link,
    time,
};
use crate::dashboard::visit::{Exact, Visitor, drawn};

/// The steps of an attempt, each with its words.
const STEPS: [(&str, &str); 4] = [
    ("due_at", "due"),
    ("claimed_at", "claimed"),
    ("sent_at", "sent"),
    ("acknowledged_at", "acknowledged"),
];

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let id = visitor.segment(1);
    match visitor.read_whole("execution.get", json!({ "execution_id": id })).await {
        Ok((reply, exact)) => {
            let body = one(visitor, &reply["data"], &exact);
            page::show(visitor, "Execution", body).await
        }
        Err(error) if error.code == Code::NotFound => waits(visitor, id, &error).await,
        Err(error) => failure(visitor, &error, Some("/executions")).await,
    }
}

/// An execution that has no outcome: it waits, or is being sent.
async fn waits(visitor: &Visitor<'_>, id: &str, error: &ApiError) -> Response {
    let under_way = visitor.read("execution.running", json!({ "execution_id": id })).await;
    let found = under_way.iter().flat_map(|reply| reply.items("data")).next();
    // Just after a run is accepted it is in the record alone.
    let is_new = visitor.query("done").is_some();
    if found.is_none() && !is_new {
        return failure(visitor, error, Some("/executions")).await;
    }
    let body = html! {
        h1 { "Execution" }
        section #state data-live {
            p.lead {
                (badge(found.map_or("pending", |one| one.text("status"))))
                @if let Some(one) = found { " of " (schedule_link(one.text("schedule_id"), one.text("schedule_name"))) }
                " "
                @if let Some(due) = found.and_then(|one| one.instant("due_at")) {
                    (relative(Some(due), visitor.now))
                }
            }
            @if let Some(one) = found { (facts_of_waiting(id, one)) }
        }
        section #actions data-live { (cancel(visitor, id)) }
    };
    page::show(visitor, "Execution", body).await
}

/// What the record says of it; attempts before it are in the history, with the same correlation id.
fn facts_of_waiting(id: &str, one: &Value) -> Markup {
    html! {
        dl.facts {
            dt { "For" } dd { (time(one.instant("scheduled_for"))) }
            @if one["due_at"].is_string() { dt { "Due" } dd { (time(one.instant("due_at"))) } }
            dt { "Attempt" } dd { (one.count("attempt_number")) }
            dt { "Goes to" } dd { code { bdi { (one.text("target_command")) } } }
            dt { "Id" } dd { bdi { (id) } }
            (correlation(one))
        }
    }
}

fn correlation(one: &Value) -> Markup {
    let id = one.text("correlation_id");
    html! {
        dt { "Correlation id" }
        dd { a href=(query_path("/executions", "correlation_id", id)) { bdi { (id) } } }
    }
}

fn one(visitor: &Visitor<'_>, data: &Value, exact: &Exact) -> Markup {
    let id = data.text("id");
    let is_ended = !matches!(data.text("status"), "running" | "pending");
    html! {
        h1 { "Execution" }
        section #state data-live {
            p.lead {
                (badge(data.text("status")))
                " of " (schedule_link(data.text("schedule_id"), data.text("schedule_name")))
                " for " (time(data.instant("scheduled_for")))
                @if let Some(ms) = data.number("duration_ms") { ", took " (millis(Some(ms))) }
            }
            @if data["skipped"].is_object() {
                p {
                    "Skipped, because: " (badge(data["skipped"].text("cause"))) " "
                    (data["skipped"].count("count")) " in all, the last for "
                    (time(data["skipped"].instant("last")))
                }
            }
            @if !data.text("error_message").is_empty() || !data.text("error_type").is_empty() {
                div.box.bad {
                    code { bdi { (data.text("error_type")) } } p.text { bdi { (data.text("error_message")) } }
                }
            }
            @if data.is("uncertain") { p.box.warn { "The command may have got through all the same." } }
            @if data.is("will_retry") {
                p { "Another attempt follows " (relative(data.instant("retry_at"), visitor.now)) }
            }
        }
        section #actions data-live {
            @if is_ended {
                @if data.text("status") != "corrected" { (retry(visitor, data)) }
            } @else { (cancel(visitor, id)) }
        }
        section #attempts data-live { h2 { "Attempts" } (attempts(data)) }
        div.beside {
            section {
                h2 { "Payload" }
                @if data.is("truncated") { p.dim { "What was too large is left out." } }
                (payload(visitor, exact, "command_payload"))
            }
            section #reply data-live { h2 { "Reply" } (payload(visitor, exact, "response_payload")) }
        }
        section { h2 { "Facts" } (facts(data)) }
    }
}

fn retry(visitor: &Visitor<'_>, data: &Value) -> Markup {
    let id = data.text("id");
    let is_skipped = data.text("status") == "skipped";
    action(
        visitor,
        "execution.retry",
        &execution_path(id),
        html! {
            (hidden("execution_id", id))
            (hidden("idempotency_key", &drawn()))
            @if is_skipped { (hidden("payload", "current")) }
            @else {
                label.inline {
                    input type="checkbox" name="payload" value="current";
                    " with the payload that the schedule has now"
                }
            }
            button.primary type="submit" { "Run again" }
            " "
            button type="submit" name="dry_run" value="true" { "Show what would run" }
        },
    )
}

fn cancel(visitor: &Visitor<'_>, id: &str) -> Markup {
    action(
        visitor,
        "execution.cancel",
        &execution_path(id),
        html! {
            (hidden("execution_id", id))
            label { "Reason" input type="text" name="reason" maxlength="500"; }
            button.danger type="submit" { "Cancel it" }
        },
    )
}

/// All attempts, each with its steps.
fn attempts(data: &Value) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Attempt" } th scope="col" { "Outcome" }
                @for (_, name) in STEPS { th scope="col" { (name) } }
                th scope="col" { "ended" } th scope="col" { "Instance" } th scope="col" { "Error" }
            } }
            tbody {
                @for one in data.items("attempts") {
                    tr {
                        th scope="row" {
                            a.row href=(execution_path(one.text("id"))) {
                                (one.count("attempt_number"))
                            }
                        }
                        td { (badge(one.text("status"))) }
                        td { (time(one["timings"].instant("due_at"))) }
                        @for (step, _) in &STEPS[1..] { td { (since_due(one, one["timings"].instant(step))) } }
                        td { (since_due(one, one.instant("completed_at"))) }
                        td { code.id { (one["lock_id"].text("instance")) } }
                        td { code { bdi { (one.text("error_type")) } } }
                    }
                }
            }
        } }
        p.dim { "Steps after the first are told by how long after it they came." }
    }
}

/// A step of an attempt, from when it was due.
fn since_due(one: &Value, at: Option<chrono::DateTime<chrono::Utc>>) -> Markup {
    let due = one["timings"].instant("due_at");
    html! {
        @match (at, due) {
            (Some(at), Some(due)) => {
                @let ms = (at - due).num_microseconds().unwrap_or(i64::MAX) as f64 / 1_000.0;
                span title=(at.to_rfc3339()) { (if ms < 0.0 { "−" } else { "+" }) (millis(Some(ms.abs()))) }
            },
            (at, _) => (time(at)),
        }
    }
}

fn facts(data: &Value) -> Markup {
    let texts = [
        ("Id", "id"),
        ("Sent to", "command_sent"),
        ("Trace", "traceparent"),
        ("Run by", "triggered_by"),
        ("Cancelled by", "cancelled_by"),
        ("Creator", "created_by"),
    ];
    html! {
        dl.facts {
            @for (name, field) in texts {
                @if !data.text(field).is_empty() { dt { (name) } dd { bdi { (data.text(field)) } } }
            }
            (correlation(data))
            @if data["retry_of"].is_string() {
                dt { "Runs again" }
                dd { a href=(execution_path(data.text("retry_of"))) { (data.text("retry_of")) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_when_it_was_due_even_the_same_moment() {
        let at = "2026-11-30T08:00:00Z";
        let timings =
            json!({ "due_at": at, "claimed_at": at, "sent_at": "2026-11-30T08:00:00.005Z" });
        let one = json!({ "attempt_number": 1, "status": "running", "timings": timings });
        let shown = attempts(&json!({ "attempts": [one] })).into_string();
        assert_eq!(shown.matches("2026-11-30 08:00:00 UTC").count(), 1, "{shown}");
        assert!(shown.contains(">+0 ms<") && shown.contains(">+5 ms<"), "{shown}");
    }
}
