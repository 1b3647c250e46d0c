//! One schedule: its times, its history, its changes, and what can be done with it.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::now::{RUNNING, lateness, running_table};
use super::schedules::{next, standing};
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure, refusal};
use crate::dashboard::parts::{
    action, badge, calendar_path, execution_path, field, group_path, hidden, left_out, millis,
    nothing, payload, relative, short, time, time_in, when_read,
};
use crate::dashboard::plot::{Column, columns, outcomes, strip};
use crate::dashboard::visit::{Exact, Read, Visitor, drawn};

/// Executions of the history that are shown, and whose lateness is plotted.
const ROWS: u64 = 20;
/// Fields that stand elsewhere on the page, or say nothing to people.
const ELSEWHERE: [&str; 12] = [
    "id",
    "name",
    "description",
    "status",
    "command_payload",
    "is_failing",
    "is_overdue",
    "is_active",
    "is_paused",
    "next_run_at",
    "target_command",
    "pause_reason",
];

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let id = visitor.segment(1);
    let of = |more: Value| {
        let mut fields = json!({ "schedule_id": id });
        for (name, value) in more.as_object().into_iter().flatten() {
            fields[name] = value.clone();
        }
        fields
    };
    let (schedule, coming, executions, running, statistics, changes) = tokio::join!(
        visitor.read_whole("schedule.get", of(json!({}))),
        visitor.read("schedule.preview", of(json!({ "count": 10 }))),
        // Those of one schedule lie apart, each in another file of the server.
        visitor.soon("execution.list", of(json!({ "limit": ROWS }))),
        visitor.read("execution.running", of(json!({ "include_pending": true, "limit": RUNNING }))),
        visitor.read(
            "execution.stats",
            of(json!({ "time_window_hours": 24, "bucket_seconds": 1800 }))
        ),
        visitor.soon("audit.list", of(json!({ "limit": 10 }))),
    );
    let (reply, exact) = match schedule {
        Ok(found) => found,
        Err(error) => return failure(visitor, &error, Some("/schedules")).await,
    };
    let schedule = &reply["data"];
    let zone = schedule.text("timezone");
    let body = html! {
        h1 { bdi { (schedule.text("name")) } }
        section #state data-live {
            p.lead {
                (standing(schedule))
                @if let Ok(coming) = &coming { " " (coming["data"].text("description")) }
                @if let Some(next) = next(schedule) {
                    "; next " (time_in(Some(next), zone)) " " (relative(Some(next), visitor.now))
                }
            }
            (paused(schedule))
            @if !schedule.text("description").is_empty() { p.text { bdi { (schedule.text("description")) } } }
            p { "Sends to " code { bdi { (schedule.text("target_command")) } } }
        }
        p { a.button href=(format!("/schedules/{id}/why")) { "Why did it run, or not?" } }
        (actions(visitor, schedule, &exact))
        div.beside {
            section #times data-live { h2 { (title_of_times(schedule)) } (times(visitor, &coming, zone)) }
            section #lately data-live {
                h2 { "The last 24 hours" } (last_day(&statistics))
                h2 { "Lateness" } (when_read(visitor, executions.as_ref(), lateness))
            }
        }
        section #running data-live { h2 { "Under way" } (running_table(visitor, &running, &format!("/executions?schedule_id={id}&status=running"))) }
        section #history data-live {
            h2 { "History" }
            (when_read(visitor, executions.as_ref(), |executions| history(visitor, executions, zone)))
            p { a href=(format!("/executions?schedule_id={id}")) { "All executions" } }
        }
        section #audit data-live {
            h2 { "Changes" } (when_read(visitor, changes.as_ref(), |changes| trail(visitor, changes)))
            p { a href=(format!("/changes?schedule_id={id}")) { "All changes" } }
        }
        div.beside {
            section { h2 { "Payload" } (payload(visitor, &exact, "command_payload")) }
            section { h2 { "All fields" } (facts(schedule)) }
        }
    };
    page::show(visitor, schedule.text("name"), body).await
}

fn paused(schedule: &Value) -> Markup {
    html! {
        @if schedule.is("is_paused") {
            p.box.warn {
                "Paused"
                @if !schedule.text("updated_by").is_empty() { " by " bdi { (schedule.text("updated_by")) } }
                @if !schedule.text("pause_reason").is_empty() { ": " bdi { (schedule.text("pause_reason")) } }
                @if schedule["resume_at"].is_string() {
                    "; resumed by itself at " (time(schedule.instant("resume_at")))
                }
            }
        }
    }
}

/// What can be done with it now.
fn actions(visitor: &Visitor<'_>, schedule: &Value, exact: &Exact) -> Markup {
    if !visitor.may_act() {
        return html! {};
    }
    let id = schedule.text("id");
    let here = format!("/schedules/{id}");
    let me = hidden("schedule_id", id);
    if schedule.text("status") == "deleted" {
        return html! {
            section.actions aria-label="Actions" {
                (action(visitor, "schedule.restore", &here, html! { (me) button.primary type="submit" { "Restore" } }))
                details {
                    summary { "Delete for good" }
                    (action(visitor, "schedule.delete", "/schedules", html! {
                        (me) (hidden("hard_delete", "true"))
                        p { "It cannot be restored then. Its executions stay in the history." }
                        button.danger type="submit" { "Delete for good" }
                    }))
                }
            }
        };
    }
    html! {
        section.actions aria-label="Actions" {
            (run(visitor, id, &here, exact))
            @if schedule.is("is_paused") {
                (action(visitor, "schedule.resume", &here, html! { (me) button type="submit" { "Resume" } }))
            }
            @if matches!(schedule.text("status"), "active" | "paused") {
                details #pause {
                    summary { @if schedule.is("is_paused") { "Pause otherwise" } @else { "Pause" } }
                    (action(visitor, "schedule.pause", &here, html! {
                        (me)
                        label { "Reason" input type="text" name="reason" maxlength="500"; }
                        label {
                            "Until (UTC; empty: until it is resumed)"
                            input type="datetime-local" name="resume_at";
                        }
                        button type="submit" { "Pause" }
                    }))
                }
            }
            a.button href=(format!("{here}/edit")) { "Edit" }
            (backfill(visitor, id, &here))
            details #delete {
                summary { "Delete" }
                (action(visitor, "schedule.delete", &here, html! {
                    (me)
                    p { "It can be restored for a time." }
                    button.danger type="submit" { "Delete" }
                }))
            }
        }
    }
}

fn run(visitor: &Visitor<'_>, id: &str, here: &str, exact: &Exact) -> Markup {
    let fields = html! { (hidden("schedule_id", id)) (hidden("idempotency_key", &drawn())) };
    let own = exact.get("command_payload").filter(|_| visitor.sees_payloads());
    html! {
        (action(visitor, "schedule.trigger", here, html! { (fields) button.primary type="submit" { "Run now" } }))
        details #run {
            summary { "Run with another payload" }
            (action(visitor, "schedule.trigger", here, html! {
                (fields)
                label { "Payload of this run"
                    textarea name="override_payload" rows="6" spellcheck="false" {
                        (own.map_or_else(|| "{}".to_owned(), |own| crate::dashboard::json::indented(own.get())))
                    }
                }
                button type="submit" { "Run with this payload" }
            }))
        }
    }
}

fn backfill(visitor: &Visitor<'_>, id: &str, here: &str) -> Markup {
    html! {
        details #backfill {
            summary { "Backfill" }
            (action(visitor, "schedule.backfill", here, html! {
                (hidden("schedule_id", id)) (hidden("dry_run", "true"))
                p { "Runs the occurrences of a span of the past, by its timing as it is now." }
                label { "From (UTC)" input type="datetime-local" name="from" step="any" required; }
                label { "To (UTC)" input type="datetime-local" name="to" step="any" required; }
                button type="submit" { "Show what would run" }
            }))
        }
    }
}

/// Whether the times that would come do come.
fn title_of_times(schedule: &Value) -> &'static str {
    match schedule.text("status") {
        "deleted" => "Times if it were restored",
        _ if schedule["is_active"] == false => "Times if it were switched on",
        _ if schedule.is("is_paused") && schedule["resume_at"].is_string() => {
            "Times, but for the pause"
        }
        _ if schedule.is("is_paused") => "Times if it were resumed",
        _ => "Next times",
    }
}

fn times(visitor: &Visitor<'_>, coming: &Read, zone: &str) -> Markup {
    let data = match coming {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    let (all, due) = (data.items("occurrences"), data.items("due"));
    if all.is_empty() {
        return html! { (nothing("No time comes.")) (left_out(data, zone)) };
    }
    let moved = |at: &Value| {
        data.items("moved")
            .iter()
            .find(|moved| moved["at"] == *at)
            .map(|moved| moved.text("cause").to_owned())
    };
    let instant = |at: &Value| at.as_str().and_then(|at| at.parse().ok());
    html! {
        ol {
            @for (n, at) in all.iter().enumerate() {
                li {
                    (time_in(instant(at), zone)) " " (relative(instant(at), visitor.now))
                    @if let Some(due) = due.get(n) { span.dim { ", due at " (time_in(instant(due), zone)) } }
                    @match moved(at).as_deref() {
                        Some("dst_gap") => { " " span.badge.warn { "moved: the clock skips this time" } },
                        Some(_) => { " " span.badge.warn { "again: the clock repeats this time" } },
                        None => {},
                    }
                }
            }
        }
        (left_out(data, zone))
    }
}

fn last_day(statistics: &Read) -> Markup {
    let data = match statistics {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    let ended = outcomes(data.items("buckets"));
    let durations: Vec<Column> = data
        .items("buckets")
        .iter()
        .map(|bucket| Column {
            parts: vec![("busy", bucket.number("average_duration_ms").unwrap_or_default())],
            says: format!(
                "{}: {} on average",
                bucket.text("from"),
                millis(bucket.number("average_duration_ms"))
            ),
        })
        .collect();
    let counts = format!(
        "{} succeeded, {} failed, {} skipped",
        data.count("successful"),
        data.count("failed"),
        data.count("skipped")
    );
    let took = format!(
        "took {} on average, {} at most",
        millis(data.number("average_duration_ms")),
        millis(data.number("max_duration_ms"))
    );
    html! { (columns(&counts, &ended)) (columns(&took, &durations)) }
}

fn history(visitor: &Visitor<'_>, executions: &Read, zone: &str) -> Markup {
    let reply = match executions {
        Ok(reply) => reply,
        Err(error) => return refusal(error),
    };
    if reply.items("data").is_empty() {
        return nothing("It has not run yet.");
    }
    let latest = reply.items("data");
    html! { (strip(latest)) (execution_rows(visitor, latest, Some(zone))) }
}

/// Executions as a table; of one schedule in its zone, otherwise with their schedules.
pub(super) fn execution_rows(
    visitor: &Visitor<'_>,
    executions: &[Value],
    zone: Option<&str>,
) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                @if zone.is_none() { th scope="col" { "Schedule" } }
                th scope="col" { "Time" } th scope="col" { "Outcome" } th scope="col" { "When" }
                th scope="col" { "Took" }
                th scope="col" { "Error" }
            } }
            tbody {
                @for one in executions {
                    tr {
                        @if zone.is_none() { td { bdi { (one.text("schedule_name")) } } }
                        td {
                            a.row href=(execution_path(one.text("id"))) {
                                (time_in(one.instant("scheduled_for"), zone.unwrap_or("UTC")))
                            }
                        }
                        td {
                            (badge(one.text("status")))
                            @if one["skipped"].is_object() {
                                " " (one["skipped"].text("cause")) " ×" (one["skipped"].count("count"))
                            }
                            @if one.is("will_retry") { " is tried again" }
                            @if !one.text("triggered_by").is_empty() { " by " bdi { (one.text("triggered_by")) } }
                        }
                        td {
                            @let ended = one.instant("completed_at").or(one.instant("started_at"));
                            (relative(ended.or(one.instant("time")), visitor.now))
                        }
                        td { (millis(one.number("duration_ms"))) }
                        td {
                            @if !one.text("error_type").is_empty() {
                                code { bdi { (one.text("error_type")) } }
                                " "
                                bdi.clip { (one.text("error_message")) }
                            }
                        }
                    }
                }
            }
        } }
    }
}

fn trail(visitor: &Visitor<'_>, changes: &Read) -> Markup {
    match changes {
        Ok(reply) => super::changes::table(visitor, reply.items("data"), false),
        Err(error) => refusal(error),
    }
}

/// The value of a field; the names of calendars and of a group lead to their pages.
fn fact(name: &str, value: &Value, zone: &str) -> Markup {
    let link = |path: String, name: &str| html! { a href=(path) { bdi { (name) } } };
    html! {
        @match name {
            "group" => (link(group_path(&short(value)), &short(value))),
            "exclude" | "only" => {
                @for (n, one) in value.as_array().into_iter().flatten().enumerate() {
                    @if n > 0 { ", " }
                    (link(calendar_path(&short(one)), &short(one)))
                }
            },
            _ => (field(name, value, zone)),
        }
    }
}

fn facts(schedule: &Value) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in schedule.as_object().into_iter().flatten() {
                @if !ELSEWHERE.contains(&name.as_str()) && !value.is_null() && *value != json!([]) {
                    dt { code { (name) } } dd { (fact(name, value, schedule.text("timezone"))) }
                }
            }
        }
    }
}
