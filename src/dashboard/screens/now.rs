//! Now: whether all is well, what runs, what comes, what failed lately.

use axum::response::Response;
use chrono::{SecondsFormat, TimeDelta};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::create::create_form;
use crate::dashboard::form::Form;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, refusal};
use crate::dashboard::parts::{
    badge, execution_path, millis, nothing, relative, schedule_link, time,
};
use crate::dashboard::plot::{Column, columns, outcomes};
use crate::dashboard::visit::{Read, Visitor};

/// Days within which the next occurrences are looked for; the operation takes no more than 31.
const DAYS: i64 = 30;
/// Most executions under way that are listed.
pub(super) const RUNNING: u64 = 20;
/// Executions whose lateness is plotted.
const LATELY: u64 = 60;

const FIRST_REQUEST: &str = r#"nats req cmd.scheduler.schedule.create '{"name":"hello","schedule_type":"interval",
    "interval_seconds":10,"target_command":"cmd.example.hello","command_payload":{"text":"hello"}}'"#;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let ago =
        |hours| (visitor.now - TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let (status, running, coming, failed, statistics, lately) = tokio::join!(
        visitor.read("status", json!({})),
        visitor.read("execution.running", json!({ "limit": RUNNING })),
        visitor.read("schedule.upcoming", json!({ "limit": 20, "to": ago(-24 * DAYS) })),
        visitor.read(
            "execution.list",
            json!({ "status": "failed", "started_after": ago(1), "limit": 10 })
        ),
        visitor.read("execution.stats", json!({ "time_window_hours": 1, "bucket_seconds": 60 })),
        visitor.read(
            "execution.list",
            json!({ "statuses": ["success", "failed", "running"], "limit": LATELY })
        ),
    );
    let is_empty = status.as_ref().is_ok_and(|reply| {
        reply["data"]["schedules"].as_object().is_some_and(serde_json::Map::is_empty)
    });
    let body = html! {
        h1 { "Now" }
        section #state data-live { (state(&status, &failed)) }
        @if is_empty { (first(visitor)) }
        div.beside {
            section #throughput data-live { h2 { "The last hour" } (throughput(&statistics)) }
            section #lateness data-live { h2 { "Lateness" } (lateness(&lately)) }
        }
        section #running data-live {
            h2 { "Running" }
            (running_table(visitor, &running, "/executions?status=running"))
        }
        div.beside {
            section #next data-live { h2 { "Next" } (next(visitor, &coming)) }
            section #failed data-live { h2 { "Failed in the last hour" } (failures(visitor, &failed)) }
        }
    };
    page::show(visitor, "Now", body).await
}

/// The state of the service in one sentence.
fn state(status: &Read, failed: &Read) -> Markup {
    let status = match status {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    let schedules = &status["schedules"];
    let failures = failed.as_ref().map(|reply| reply["pagination"].count("total"));
    html! {
        p.lead {
            @if status.text("status") == "ok" {
                (badge("ok")) " The service is healthy"
            } @else {
                (badge("degraded")) " Something is wrong"
            }
            ": " (schedules.count("active")) " active"
            @if schedules.count("paused") > 0 { ", " (schedules.count("paused")) " paused" }
            @if status.count("failing") > 0 {
                ", " a href="/schedules?is_failing=true" { (status.count("failing")) " failing" }
            }
            @if status.count("overdue") > 0 {
                ", " a href="/schedules?is_overdue=true" { (status.count("overdue")) " overdue" }
            }
            "; " (status.count("instances")) @if status.count("instances") == 1 { " instance" } @else { " instances" }
            @if let Ok(count) = failures {
                ", "
                @if count == 0 {
                    "no failure"
                } @else {
                    a href="/failures" { (count) @if count == 1 { " failure" } @else { " failures" } }
                }
                " in the last hour"
            }
            "."
        }
    }
}

/// What a service without schedules shows.
fn first(visitor: &Visitor<'_>) -> Markup {
    html! {
        section.box {
            h2 { "A first schedule" }
            p { "There is no schedule yet. A schedule sends a command to a NATS subject at each of its times." }
            @if visitor.may_act() {
                p { "This form creates one that greets every ten seconds. The subject needs a stream that captures it; "
                    code { "nats-scheduler dev" } " has one for " code { "cmd.example.>" } "." }
                (create_form(visitor, &greeting(), None))
            }
            p { "From a terminal it is" }
            pre tabindex="0" {
                (FIRST_REQUEST)
            }
        }
    }
}

fn greeting() -> Form {
    let fields = [
        ("name", "hello"),
        ("schedule_type", "interval"),
        ("interval_seconds", "10"),
        ("target_command", "cmd.example.hello"),
        ("command_payload", "{\"text\": \"hello\"}"),
    ];
    Form::of(&fields)
}

fn throughput(statistics: &Read) -> Markup {
    let data = match statistics {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    let made = outcomes(data.items("buckets"));
    let summary = format!(
        "{} succeeded, {} failed, {} skipped; {} on average",
        data.count("successful"),
        data.count("failed"),
        data.count("skipped"),
        millis(data.number("average_duration_ms"))
    );
    columns(&summary, &made)
}

/// Plot of the lateness of commands, oldest first.
pub(super) fn lateness(lately: &Read) -> Markup {
    let reply = match lately {
        Ok(reply) => reply,
        Err(error) => return refusal(error),
    };
    let late = |one: &Value| {
        let timings = &one["timings"];
        let late = timings.instant("sent_at")? - timings.instant("due_at")?;
        Some((late.num_microseconds()? as f64 / 1_000.0).max(0.0))
    };
    let all: Vec<(&Value, f64)> =
        reply.items("data").iter().rev().filter_map(|one| Some((one, late(one)?))).collect();
    if all.is_empty() {
        return nothing("Nothing was sent yet.");
    }
    let worst = all.iter().map(|(_, late)| *late).fold(0.0, f64::max);
    let made: Vec<Column> = all
        .iter()
        .map(|(one, late)| Column {
            parts: vec![(if *late > 1_000.0 { "warn" } else { "busy" }, *late)],
            says: format!(
                "{} {}: {} late",
                one.text("schedule_name"),
                one.text("scheduled_for"),
                millis(Some(*late))
            ),
        })
        .collect();
    columns(&format!("the latest {}: {} late at most", all.len(), millis(Some(worst))), &made)
}

/// What runs, as a table.
pub(super) fn running_table(visitor: &Visitor<'_>, running: &Read, all: &str) -> Markup {
    let reply = match running {
        Ok(reply) => reply,
        Err(error) => return refusal(error),
    };
    if reply.items("data").is_empty() {
        return nothing("Nothing runs at this moment.");
    }
    html! {
        div.scroll { table {
            thead {
                tr {
                    th scope="col" { "Schedule" } th scope="col" { "Time" } th scope="col" { "State" }
                    th scope="col" { "Since" }
                    th scope="col" { "Progress" }
                    th scope="col" { "Execution" }
                }
            }
            tbody {
                @for one in reply.items("data") {
                    tr {
                        td { (schedule_link(one.text("schedule_id"), one.text("schedule_name"))) }
                        td { (time(one.instant("scheduled_for"))) }
                        td {
                            (badge(one.text("status")))
                            @if one.count("attempt_number") > 1 { " attempt " (one.count("attempt_number")) }
                        }
                        td { (relative(one.instant("since").or(one.instant("due_at")), visitor.now)) }
                        td {
                            @if let Some(percent) = one.number("progress") {
                                progress max="100" value=(percent) { (percent) " %" } " " (percent) " %"
                            } @else { span.dim { "–" } }
                        }
                        td { a href=(execution_path(one.text("execution_id"))) { "open" } }
                    }
                }
            }
        } }
        @if reply["pagination"].count("total") > RUNNING { p { a href=(all) { (reply["pagination"].count("total")) " in all" } } }
    }
}

fn next(visitor: &Visitor<'_>, coming: &Read) -> Markup {
    let data = match coming {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    if data.items("occurrences").is_empty() {
        return nothing("Nothing comes within the next 30 days.");
    }
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "Schedule" } th scope="col" { "Time" } th scope="col" { "Due" } } }
            tbody {
                @for one in data.items("occurrences") {
                    tr {
                        td { (schedule_link(one.text("schedule_id"), one.text("schedule_name"))) }
                        td { (time(one.instant("scheduled_for"))) }
                        td { (relative(one.instant("due_at"), visitor.now)) }
                    }
                }
            }
        } }
        p { a href="/upcoming" { "The next 24 hours" } }
    }
}

fn failures(visitor: &Visitor<'_>, failed: &Read) -> Markup {
    let reply = match failed {
        Ok(reply) => reply,
        Err(error) => return refusal(error),
    };
    if reply.items("data").is_empty() {
        return nothing("Nothing failed.");
    }
    html! {
        div.scroll { table {
            thead {
                tr {
                    th scope="col" { "Schedule" } th scope="col" { "When" } th scope="col" { "Error" }
                    th scope="col" { "Execution" }
                }
            }
            tbody {
                @for one in reply.items("data") {
                    tr {
                        td { (schedule_link(one.text("schedule_id"), one.text("schedule_name"))) }
                        td { (relative(one.instant("completed_at"), visitor.now)) }
                        td { code { bdi { (one.text("error_type")) } } }
                        td { a href=(execution_path(one.text("id"))) { "open" } }
                    }
                }
            }
        } }
        p { a href="/failures" { "All failures, by kind" } }
    }
}
