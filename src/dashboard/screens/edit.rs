//! A form to change a schedule. What changes is shown before it is saved, with the times before and after.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::fields::fields;
use crate::api::error::{ApiError, Code};
use crate::api::operations::Operation;
use crate::dashboard::controls::refused;
use crate::dashboard::form::{Field, Form, raw};
use crate::dashboard::json::{Look as _, indented};
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{action, hidden, nothing};
use crate::dashboard::visit::{Exact, Visitor};

/// Fields that the form has as they are.
const PLAIN: [&str; 25] = [
    "name",
    "target_command",
    "description",
    "schedule_type",
    "cron_expression",
    "interval_seconds",
    "scheduled_at",
    "timezone",
    "start_at",
    "end_at",
    "max_runs",
    "jitter_seconds",
    "misfire_grace_seconds",
    "catch_up",
    "overlap",
    "group",
    "dst_gap",
    "dst_overlap",
    "priority",
    "max_retries",
    "retry_delay_seconds",
    "dead_letter",
    "pause_on_failure",
    "failing_after",
    "expect_success_within_seconds",
];
/// Fields that say which schedule is meant, and how to go about it.
const ABOUT: [&str; 3] = ["schedule_id", "expected_revision", "dry_run"];
/// Lists of texts, with commas between them.
const LISTS: [&str; 3] = ["tags", "exclude", "only"];
/// Numbers that remove a limit where they are 0.
const LIMITS: [&str; 4] =
    ["max_runs", "jitter_seconds", "pause_on_failure", "expect_success_within_seconds"];

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let id = visitor.segment(1);
    match visitor.read_whole("schedule.get", json!({ "schedule_id": id })).await {
        Ok((reply, exact)) => {
            let form = filled(visitor, &reply["data"], &exact);
            let name = reply["data"].text("name").to_owned();
            let body = html! {
                h1 { "Edit " bdi { (name) } }
                (edit_form(visitor, &form, None))
            };
            page::show(visitor, &format!("Edit {name}"), body).await
        }
        Err(error) => failure(visitor, &error, Some("/schedules")).await,
    }
}

/// The form, with what was entered and why that was refused.
fn edit_form(visitor: &Visitor<'_>, form: &Form, error: Option<&ApiError>) -> Markup {
    let id = form.control("schedule_id");
    let next = format!("/schedules/{id}");
    let fields = fields(visitor, form, false);
    html! {
        (refused(form, &fields, error))
        div.editor {
            (action(visitor, "schedule.update", &next, html! {
                (hidden("schedule_id", id))
                (hidden("expected_revision", form.control("expected_revision")))
                (hidden("dry_run", "true"))
                (fields)
                button.primary type="submit" { "Show what changes" }
            }))
        }
        @if !visitor.may_act() { (nothing("Your token is for reading only.")) }
        p { a href=(next) { @if visitor.may_act() { "Cancel" } @else { "Back" } } }
    }
}

/// The form again, with what was entered and why that was refused. What it lacks is as the schedule is now: the form of
/// what would happen has but what differs. Of a conflict it is meant for the present revision.
pub(in crate::dashboard) async fn edit_again(
    visitor: &Visitor<'_>,
    form: &Form,
    error: &ApiError,
) -> Markup {
    let id = json!({ "schedule_id": form.control("schedule_id") });
    let Ok((reply, exact)) = visitor.read_whole("schedule.get", id).await else {
        return edit_form(visitor, form, Some(error));
    };
    let mut all = filled(visitor, &reply["data"], &exact);
    let names: Vec<String> =
        all.texts().chain(form.texts()).map(|(name, _)| name.to_owned()).collect();
    let is_kept = |name: &str| error.code != Code::Conflict || name != "expected_revision";
    for name in names.iter().filter(|name| is_kept(name)) {
        if let Some(text) = form.joined(name) {
            all = all.with(name, text);
        }
    }
    edit_form(visitor, &all.refused(error), Some(error))
}

/// The form of a schedule as it is.
fn filled(visitor: &Visitor<'_>, schedule: &Value, exact: &Exact) -> Form {
    let mut made = vec![
        ("schedule_id".to_owned(), schedule.text("id").to_owned()),
        ("expected_revision".to_owned(), schedule["revision"].to_string()),
    ];
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    made.extend(PLAIN.iter().map(|name| ((*name).to_owned(), text(&schedule[*name]))));
    for name in LISTS {
        let texts: Vec<&str> = schedule.items(name).iter().filter_map(Value::as_str).collect();
        made.push((name.to_owned(), texts.join(", ")));
    }
    for (whole, part) in [
        ("delivery", "mode"),
        ("delivery", "timeout_seconds"),
        ("delivery", "heartbeat_seconds"),
        ("after", "schedule_id"),
        ("after", "on"),
    ] {
        made.push((format!("{whole}.{part}"), text(&schedule[whole][part])));
    }
    if let Some(payload) = exact.get("command_payload").filter(|_| visitor.sees_payloads()) {
        made.push(("command_payload".to_owned(), indented(payload.get())));
    }
    Form::new(made)
}

/// The fields of a form that differ from what the schedule is. One that is emptied is sent empty.
pub(in crate::dashboard) async fn changed_fields(
    visitor: &Visitor<'_>,
    operation: &Operation,
    form: &Form,
) -> Result<Vec<Field>, ApiError> {
    let id = json!({ "schedule_id": form.control("schedule_id") });
    let (reply, exact) = visitor.read_whole("schedule.get", id).await?;
    let before = filled(visitor, &reply["data"], &exact);
    let (entered, present) = (form.fields(operation)?, before.fields(operation)?);
    let is_about = |name: &str| ABOUT.contains(&name);
    let mut fields: Vec<Field> = entered
        .into_iter()
        .filter(|(name, value)| {
            let known = present.iter().find(|(known, _)| known == name);
            is_about(name) || known.is_none_or(|(_, known)| !is_same(known.get(), value.get()))
        })
        .collect();
    for (name, text) in
        form.texts().filter(|(name, text)| text.trim().is_empty() && !is_about(name))
    {
        let was = before.control(name);
        if was.is_empty() || name.contains('.') {
            continue;
        }
        let empty = match name {
            name if LISTS.contains(&name) => raw::<[&str]>(&[]),
            name if LIMITS.contains(&name) => raw(&0),
            "description" | "dead_letter" | "group" => raw(text.trim()),
            // What cannot be empty stays as it is.
            _ => continue,
        };
        fields.push((name.to_owned(), empty));
    }
    Ok(fields)
}

/// Whether two values are the same, whatever white space they have.
fn is_same(one: &str, other: &str) -> bool {
    one == other || indented(one) == indented(other)
}
