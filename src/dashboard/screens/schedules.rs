//! Schedules: search, filters, pages, and changes of many at once.

use axum::response::Response;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    self, badge, choice, hidden, more, nothing, pager, relative, schedule_link, search,
    submit_form, time_in,
};
use crate::dashboard::plot::strip;
use crate::dashboard::visit::Visitor;

/// Rows of a page.
const ROWS: u64 = 25;
/// Outcomes of a strip.
const OUTCOMES: u64 = 20;
/// Filters that are passed on as they are.
const FILTERS: [&str; 11] = [
    "name_contains",
    "creator",
    "owner",
    "group",
    "calendar",
    "status",
    "schedule_type",
    "last_outcome",
    "target_prefix",
    "tags",
    "sort",
];
/// Filters that are true or false.
const SWITCHES: [&str; 2] = ["is_failing", "is_overdue"];

/// Filters that are folded away until they are asked for.
const MORE: [&str; 7] =
    ["schedule_type", "tags", "target_prefix", "owner", "group", "calendar", "sort"];

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let filter = filter(visitor);
    let mut fields = filter.clone();
    fields.insert("page".to_owned(), visitor.page().into());
    fields.insert("limit".to_owned(), ROWS.into());
    fields.insert("recent_executions".to_owned(), OUTCOMES.into());
    let listed = match visitor.read("schedule.list", fields.clone().into()).await {
        // The history is still being read, or cannot be: the schedules are there all the same.
        Err(_) => {
            fields.remove("recent_executions");
            visitor.read("schedule.list", fields.into()).await
        }
        listed => listed,
    };
    let reply = match listed {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/schedules")).await,
    };
    let words = join_all(reply.items("data").iter().map(|one| in_words(visitor, one))).await;
    let body = html! {
        h1 { "Schedules" }
        @if visitor.may_act() { p { a.button href="/schedules/new" { "New schedule" } } }
        (filters(visitor))
        @if reply.items("data").is_empty() {
            section #rows data-live { (nothing("No schedule matches.")) }
        } @else if visitor.may_act() {
            // Which command it would be is known only once a button is pressed: the dry run says it.
            (submit_form(visitor, "/act/bulk.operation", &visitor.here(), html! {
                section #rows data-live { (table(visitor, &reply, &words)) }
                (changes_of_many(&filter, reply["pagination"].count("total")))
            }))
        } @else {
            section #rows data-live { (table(visitor, &reply, &words)) }
        }
        div #pages data-live { (pager(visitor, &reply["pagination"])) }
    };
    page::show(visitor, "Schedules", body).await
}

/// The filters of the address.
fn filter(visitor: &Visitor<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    for name in FILTERS {
        let Some(text) = visitor.query(name) else { continue };
        let value = match name {
            "tags" => {
                let tags: Vec<&str> =
                    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
                json!(tags)
            }
            _ => text.into(),
        };
        fields.insert(name.to_owned(), value);
    }
    for name in SWITCHES {
        if let Some(text) = visitor.query(name) {
            fields.insert(name.to_owned(), (text == "true").into());
        }
    }
    fields
}

/// When a schedule fires, in words.
async fn in_words(visitor: &Visitor<'_>, one: &Value) -> String {
    let fields = json!({ "schedule_id": one.text("id"), "count": 1 });
    match visitor.read("schedule.preview", fields).await {
        Ok(reply) => reply["data"].text("description").to_owned(),
        Err(_) => one.text("cron_expression").to_owned(),
    }
}

fn filters(visitor: &Visitor<'_>) -> Markup {
    let sorts = ["created_at", "-created_at", "name", "-name", "next_run_at", "-next_run_at"];
    html! {
        (parts::filters("/schedules", html! {
            (search(visitor, "name_contains", "Name contains"))
            (choice(visitor, "status", "Status", &["active", "paused", "completed", "failed", "deleted"]))
            (choice(visitor, "last_outcome", "Last outcome", &["success", "failed", "cancelled"]))
            (choice(visitor, "is_failing", "Failing", &["true", "false"]))
            (choice(visitor, "is_overdue", "Overdue", &["true", "false"]))
            (search(visitor, "creator", "Creator"))
            (more(visitor, &MORE, html! {
                (choice(visitor, "schedule_type", "Type", &["cron", "interval", "one_time", "immediate", "dependent"]))
                (search(visitor, "tags", "Any of these tags"))
                (search(visitor, "target_prefix", "Target begins with"))
                (search(visitor, "owner", "Owner"))
                (search(visitor, "group", "Concurrency group"))
                (search(visitor, "calendar", "Calendar"))
                (choice(visitor, "sort", "Order", &sorts))
            }))
        }))
    }
}

fn table(visitor: &Visitor<'_>, reply: &Value, words: &[String]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                @if visitor.may_act() { th scope="col" { span.unseen { "Select" } } }
                th scope="col" { "Schedule" } th scope="col" { "Status" } th scope="col" { "When" }
                th scope="col" { "Next" } th scope="col" { "Latest" }
            } }
            tbody {
                @for (one, words) in reply.items("data").iter().zip(words) {
                    tr {
                        @if visitor.may_act() {
                            td {
                                @let label = format!("Select {}", one.text("name"));
                                input type="checkbox" name="schedule_ids" value=(one.text("id")) aria-label=(label);
                            }
                        }
                        td {
                            (schedule_link(one.text("id"), one.text("name")))
                            div.dim { bdi { (one.text("target_command")) } }
                        }
                        td { (standing(one)) }
                        td { (words) }
                        td {
                            @let next = next(one);
                            (time_in(next, one.text("timezone")))
                            @if next.is_some() { div { (relative(next, visitor.now)) } }
                            @else if one["resume_at"].is_string() {
                                div.dim { "resumed " (relative(one.instant("resume_at"), visitor.now)) }
                            }
                        }
                        td { (strip(one.items("recent_executions"))) }
                    }
                }
            }
        } }
    }
}

/// The status of a schedule, and what is the matter with it.
pub(in crate::dashboard) fn standing(one: &Value) -> Markup {
    html! {
        (badge(one.text("status")))
        @if one["is_active"] == false { " " (badge("switched_off")) }
        @if one.is("is_failing") { " " (badge("failing")) }
        @if one.is("is_overdue") { " " (badge("overdue")) }
    }
}

/// Its next time, if it fires: one that is paused, switched off or deleted keeps the time at which it would.
pub(super) fn next(one: &Value) -> Option<DateTime<Utc>> {
    let fires = one.text("status") == "active" && one["is_active"] != false && !one.is("is_paused");
    one.instant("next_run_at").filter(|_| fires)
}

/// Buttons for those that are ticked, or for all that match the filters of the address, of which there are `total`.
fn changes_of_many(filter: &Map<String, Value>, total: u64) -> Markup {
    let mut filter = filter.clone();
    filter.remove("sort");
    html! {
        fieldset.many {
            legend { "Those that are ticked" }
            (hidden("dry_run", "true"))
            @if filter.is_empty() {
                span.dim { "with a filter: all that match, too" }
            } @else {
                label.inline {
                    input type="checkbox" name="filter" value=(Value::from(filter));
                    " all " span #matching data-live { (total) } " that match, on other pages too"
                }
            }
            label { "Reason of a pause" input type="text" name="reason" maxlength="500"; }
            @for (operation, name) in [("pause", "Pause …"), ("resume", "Resume …"), ("delete", "Delete …")] {
                button type="submit" name="operation" value=(operation) { (name) }
            }
            button type="submit" formaction="/run" { "Run …" }
            span.dim { "shows first what would happen" }
        }
    }
}
