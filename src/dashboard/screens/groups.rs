//! Concurrency groups: all of them, and one with its slots and who names it.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::named::{DESCRIPTION, NAME, Words, changed, deletion, list, name, used_by, users};
use crate::api::error::ApiError;
use crate::dashboard::controls::{Control, Kind, refused};
use crate::dashboard::form::Form;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, execution_path, group_path, hidden, nothing, relative, rest, schedule_link,
};
use crate::dashboard::visit::Visitor;

/// Slots that are shown; a group may have a thousand.
const SHOWN: usize = 100;
const LIMIT: Control = Control::new(
    "limit",
    "Most under way at once",
    Kind::Number(Some(1000)),
    "0 holds all of them",
)
.required();

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    match visitor.query("name") {
        Some(name) => one(visitor, &name).await,
        None => all(visitor).await,
    }
}

async fn all(visitor: &Visitor<'_>) -> Response {
    let words = Words {
        operation: "group.list",
        path: "/groups",
        title: "Concurrency groups",
        about: "Of the schedules that name a group, no more executions are under way at once than it allows.",
        none: "There is no group.",
        new: "New group",
    };
    list(visitor, words, table, group_form).await
}

fn table(visitor: &Visitor<'_>, groups: &[Value]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Group" } th scope="col" { "Under way" } th scope="col" { "Waiting" }
                th scope="col" { "Used by" } th scope="col" { "Changed" }
            } }
            tbody {
                @for one in groups {
                    tr {
                        td { (name(one, &group_path(one.text("name")))) }
                        td { (taken(one)) }
                        td { (one.count("waiting")) }
                        td { (used_by(one, "group")) }
                        td { (changed(visitor, one)) }
                    }
                }
            }
        } }
    }
}

/// How much of the bound is taken.
fn taken(group: &Value) -> Markup {
    let (running, limit) = (group.count("running"), group.count("limit"));
    html! {
        @if limit > 0 {
            meter min="0" max=(limit) value=(running.min(limit)) aria-label="slots taken" {} " "
        }
        (running) " of " (limit)
        @if limit == 0 { ": all are held" }
    }
}

async fn one(visitor: &Visitor<'_>, name: &str) -> Response {
    let reply = match visitor.read("group.get", json!({ "name": name })).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/groups")).await,
    };
    let group = &reply["data"];
    let body = html! {
        h1 { "Group " bdi { (name) } }
        section #state data-live {
            p.lead { (taken(group)) " under way, " (group.count("waiting")) " waiting" }
            @if !group.text("description").is_empty() { p.text { bdi { (group.text("description")) } } }
            p { "Changed " (changed(visitor, group)) ", revision " (group.count("revision")) }
        }
        section #slots data-live { h2 { "Under way" } (slots(visitor, group)) }
        section #users data-live { h2 { "Schedules that name it" } (users(group, "group")) }
        @if visitor.may_act() {
            section.actions aria-label="Actions" {
                details #edit { summary { "Edit" } (group_form(visitor, &filled(group), None)) }
                (deletion(visitor, "group.delete", "/groups", group))
            }
        }
    };
    page::show(visitor, &format!("Group {name}"), body).await
}

fn slots(visitor: &Visitor<'_>, group: &Value) -> Markup {
    let all = group.items("slots");
    if all.is_empty() {
        return nothing("Nothing of it is under way.");
    }
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Schedule" } th scope="col" { "Since" } th scope="col" { "Execution" }
            } }
            tbody {
                @for one in all.iter().take(SHOWN) {
                    tr {
                        td { (schedule_link(one.text("schedule_id"), one.text("schedule_name"))) }
                        td { (relative(one.instant("since"), visitor.now)) }
                        td { a href=(execution_path(one.text("execution_id"))) { "open" } }
                    }
                }
            }
        } }
        (rest(all.len(), SHOWN))
    }
}

/// The form of a group as it is.
fn filled(group: &Value) -> Form {
    Form::of(&[
        ("name", group.text("name")),
        ("limit", &group.count("limit").to_string()),
        ("description", group.text("description")),
        ("expected_revision", &group.count("revision").to_string()),
    ])
}

/// The form, with what was entered and why that was refused.
pub(in crate::dashboard) fn group_form(
    visitor: &Visitor<'_>,
    form: &Form,
    error: Option<&ApiError>,
) -> Markup {
    let is_new = form.control("expected_revision") == "0";
    let fields = html! {
        @if is_new { (NAME.shown(form)) } @else { (hidden("name", form.control("name"))) }
        (LIMIT.shown(form))
        (DESCRIPTION.shown(form))
    };
    html! {
        (refused(form, &fields, error))
        div.editor {
            (action(visitor, "group.put", "/groups", html! {
                (hidden("expected_revision", form.control("expected_revision")))
                (fields)
                button.primary type="submit" { @if is_new { "Create" } @else { "Save" } }
            }))
        }
    }
}
