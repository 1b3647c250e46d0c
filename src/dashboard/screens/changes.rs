//! Changes: who changed which schedule, when, and from what to what.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::api::audit::AuditEvent;
use crate::dashboard::form::instant;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    badge, calendar_path, choice, execution_path, field, filters, group_path, nothing, pager,
    relative, schedule_link, search, short, time,
};
use crate::dashboard::visit::Visitor;

/// Rows of a page.
const ROWS: u64 = 50;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let at = |name: &str| visitor.query(name).map(|at| instant(&at));
    let fields = json!({
        "schedule_id": visitor.query("schedule_id"),
        "event": visitor.query("event"),
        "actor": visitor.query("actor"),
        "since": at("since"),
        "until": at("until"),
        "page": visitor.page(),
        "limit": ROWS,
    });
    let reply = match visitor.read("audit.list", fields).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/changes")).await,
    };
    let body = html! {
        h1 { "Changes" }
        (filters("/changes", html! {
            (choice(visitor, "event", "Event", &AuditEvent::ALL.map(AuditEvent::name)))
            (search(visitor, "actor", "By"))
            (search(visitor, "schedule_id", "Schedule (id)"))
            (search(visitor, "since", "From (UTC, or with an offset)"))
            (search(visitor, "until", "To"))
        }))
        @for warning in reply.items("warnings") { p.box.warn { (warning.text("message")) } }
        section #rows data-live {
            @if reply.items("data").is_empty() { (nothing("No change matches.")) }
            @else { (table(visitor, reply.items("data"), true)) }
            (pager(visitor, &reply["pagination"]))
        }
    };
    page::show(visitor, "Changes", body).await
}

/// Changes as a table.
pub(super) fn table(visitor: &Visitor<'_>, changes: &[Value], with_schedule: bool) -> Markup {
    if changes.is_empty() {
        return nothing("Nothing was changed that is still known.");
    }
    html! {
        div.scroll tabindex=[(!with_schedule).then_some("0")] { table {
            thead { tr {
                th scope="col" { "When" } th scope="col" { "Event" }
                @if with_schedule { th scope="col" { "Schedule" } }
                th scope="col" { "By" } th scope="col" { "What" }
            } }
            tbody {
                @for one in changes {
                    tr {
                        td { (time(one.instant("time"))) div { (relative(one.instant("time"), visitor.now)) } }
                        td { (badge(one.text("event"))) }
                        @if with_schedule {
                            td {
                                @if !one.text("name").is_empty() {
                                    (subject(one))
                                } @else {
                                    span.dim { "all" }
                                }
                            }
                        }
                        td { bdi { (one.text("actor")) } }
                        td { (what(one)) }
                    }
                }
            }
        } }
    }
}

/// What a change is of: a schedule, a calendar, a group or a rerun.
fn subject(one: &Value) -> Markup {
    let (event, name) = (one.text("event"), one.text("name"));
    let path = match event.split_once('_') {
        Some(("calendar", _)) => calendar_path(name),
        Some(("group", _)) => group_path(name),
        Some(("rerun", _)) => "/reruns".to_owned(),
        _ => return schedule_link(one.text("schedule_id"), name),
    };
    html! { a.row href=(path) { bdi { (name) } } }
}

/// What a change changed.
fn what(one: &Value) -> Markup {
    let told =
        ["reason", "resume_at", "from", "to", "count", "purge_at", "error_type", "error_message"];
    let counts = ["limit", "days", "spans"];
    html! {
        @for name in counts {
            @let (old, new) = (&one[format!("former_{name}")], &one[name]);
            @if new.is_u64() && old != new {
                div {
                    code { (name) } " "
                    @if !old.is_null() { del { bdi { (short(old)) } } " → " }
                    ins { bdi { (short(new)) } }
                }
            }
        }
        @for change in one.items("changes") {
            div {
                code { (change.text("field")) }
                " "
                del { (field(change.text("field"), &change["old"], "UTC")) }
                " → "
                ins { (field(change.text("field"), &change["new"], "UTC")) }
            }
        }
        @for name in told {
            @if !one[name].is_null() { div { (name.replace('_', " ")) ": " (field(name, &one[name], "UTC")) } }
        }
        @if one["execution_id"].is_string() {
            a href=(execution_path(one.text("execution_id"))) { "execution" }
        }
    }
}
