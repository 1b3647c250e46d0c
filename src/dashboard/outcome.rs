//! What an action did or would do: dry runs, changes of many, and actions as commands.

use std::collections::{BTreeMap, HashMap};

use axum::response::Response;
use futures::future::join_all;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::command::Commands;
use super::form::Field;
use super::json::Look as _;
use super::page;
use super::parts::{action, field, hidden, left_out, rest, schedule_link, short, time_in};
use super::visit::Visitor;
use crate::api::operations::Operation;

/// Rows of a list that are shown; a reply may have thousands.
const SHOWN: usize = 50;

/// What would be done, with a form to do it.
pub(super) async fn dry_run(
    visitor: &Visitor<'_>,
    operation: &Operation,
    fields: &[Field],
    reply: &Value,
    next: &str,
) -> Response {
    let is_nothing = reply["difference"].text("outcome") == "unchanged"
        || ["count", "matched", "succeeded"].iter().any(|of| reply["data"][of].as_u64() == Some(0));
    let names = names(visitor, &reply["data"]).await;
    let body = html! {
        h1 { "Nothing is done yet" }
        p { "This is what would happen." }
        @if let Some(filter) = filter_of(fields) { p { "All that match " code { bdi { (filter) } } "." } }
        (told(visitor, reply, &names))
        @if is_nothing {
            p { "There is nothing to do. " a href=(next) { "Back" } }
        } @else {
            (action(visitor, operation.name, next, html! {
                @for (name, value) in fields.iter().filter(|(name, _)| name != "dry_run") {
                    (again(name, value.get()))
                }
                button.primary type="submit" { (button(operation.name, &reply["data"])) }
                @if let Some(all) = beyond(operation, fields, reply) {
                    button type="submit" name="in_background" value="true" { "Run all " (all) " again in the background" }
                }
            }))
            p { a href=(next) { "Cancel" } }
        }
    };
    page::show(visitor, "What would happen", body).await
}

/// How many match, if that is more than one request runs again, and it is not asked for in the background.
fn beyond(operation: &Operation, fields: &[Field], reply: &Value) -> Option<u64> {
    let is_stored =
        fields.iter().any(|(name, value)| name == "in_background" && value.get() == "true");
    let has_more = operation.name == "bulk.retry" && reply["data"]["next_cursor"].is_string();
    (has_more && !is_stored).then(|| reply["data"].count("matched"))
}

/// What was done to many.
pub(super) async fn many(
    visitor: &Visitor<'_>,
    operation: &Operation,
    reply: &Value,
    next: &str,
) -> Response {
    let names = names(visitor, &reply["data"]).await;
    let body = html! {
        h1 { (verb(operation.name, &reply["data"])) ": done" }
        (told(visitor, reply, &names))
        p { a href=(next) { "Back" } }
    };
    page::show(visitor, "Done", body).await
}

/// The same action as commands.
pub(super) async fn commands(visitor: &Visitor<'_>, commands: &Commands, next: &str) -> Response {
    let one = |title: &str, text: &str| {
        html! {
            section.copy {
                h2 { (title) }
                pre tabindex="0" { (text) }
                button type="button" data-copy hidden { "Copy" }
            }
        }
    };
    let body = html! {
        div #commands-page {
            h1 { "As a command" }
            (one("nats", &commands.nats))
            (one("curl", &commands.curl))
            @if let Some(cli) = &commands.cli { (one("nats-scheduler", cli)) }
        }
        p { a href=(next) { "Back" } }
    };
    page::show(visitor, "As a command", body).await
}

/// The fields of a form that asks for the same without a dry run.
fn again(name: &str, json: &str) -> Markup {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    html! {
        @match &value {
            // What empties a field is sent as nothing.
            Value::Array(items) if items.is_empty() => (hidden(name, "")),
            Value::Array(items) => @for item in items { (hidden(name, &short(item))) },
            Value::Object(parts) if !matches!(name, "command_payload" | "override_payload" | "filter") => {
                @for (part, value) in parts { (hidden(&format!("{name}.{part}"), &short(value))) }
            }
            Value::Object(_) => (hidden(name, json)),
            other => (hidden(name, &short(other))),
        }
    }
}

/// What is done, in a word or two.
fn verb(operation: &str, data: &Value) -> &'static str {
    match operation {
        "schedule.update" => "Save",
        "schedule.create" => "Create",
        "schedule.backfill" => "Backfill",
        "bulk.retry" | "execution.retry" => "Run again",
        "bulk.operation" => match data.text("operation") {
            "pause" => "Pause",
            "resume" => "Resume",
            _ => "Delete",
        },
        "calendar.put" | "group.put" => "Put",
        _ => "Change",
    }
}

/// The same, with the number of schedules if it is about many.
fn button(operation: &str, data: &Value) -> String {
    let verb = verb(operation, data);
    match data["succeeded"].as_u64() {
        None => verb.to_owned(),
        Some(1) => format!("{verb} 1 schedule"),
        Some(many) => format!("{verb} {many} schedules"),
    }
}

/// The filter of a form, as it is asked for.
fn filter_of(fields: &[Field]) -> Option<&str> {
    let (_, filter) = fields.iter().find(|(name, _)| name == "filter")?;
    Some(filter.get())
}

/// The names of the schedules that are shown of a reply, which has but their ids.
async fn names(visitor: &Visitor<'_>, data: &Value) -> HashMap<String, String> {
    let changed = data.items("success").iter().take(SHOWN).filter_map(Value::as_str);
    let refused = refused(data).take(SHOWN).map(|one| one.text("schedule_id"));
    let named = changed.chain(refused).map(async |id| {
        let found = visitor.read("schedule.get", json!({ "schedule_id": id })).await.ok()?;
        Some((id.to_owned(), found["data"].text("name").to_owned()))
    });
    join_all(named).await.into_iter().flatten().collect()
}

/// A reply in words and tables.
fn told(visitor: &Visitor<'_>, reply: &Value, names: &HashMap<String, String>) -> Markup {
    let (data, difference) = (&reply["data"], &reply["difference"]);
    html! {
        @for warning in reply.items("warnings") { p.box.warn { (warning.text("message")) } }
        (counts(data))
        @if data["retry_of"].is_string() && data["target_command"].is_string() { (one_again(data)) }
        @if data["next_cursor"].is_string() {
            p.dim { "More match than one request takes up." }
        }
        @if difference.is_object() { (changes(difference, data.text("timezone"))) }
        (destinations(data))
        @if !data.items("failed").is_empty() || !data.items("results").is_empty() { (refusals(data, names)) }
        @if !data.items("success").is_empty() {
            h2 { "Schedules" }
            ul {
                @for id in data.items("success").iter().take(SHOWN) {
                    @let id = id.as_str().unwrap_or_default();
                    li { (schedule_link(id, names.get(id).map_or("", String::as_str))) }
                }
            }
            (rest(data.items("success").len(), SHOWN))
        }
        @if !data.items("occurrences").is_empty() {
            h2 { "Occurrences" }
            ul {
                @for at in data.items("occurrences").iter().take(SHOWN) {
                    li { (time_in(at.as_str().and_then(|at| at.parse().ok()), "UTC")) }
                }
            }
            (rest(data.items("occurrences").len(), SHOWN))
        }
        @if data["command_payload"].is_object() && !visitor.sees_payloads() { p.dim { "Payloads are hidden." } }
    }
}

/// What would be run again, where it would go, and with what.
fn one_again(data: &Value) -> Markup {
    let payload = match data.text("payload") {
        "current" => "the payload that its schedule has now",
        "override" => "the payload given here",
        _ => "the payload that it sent",
    };
    html! {
        p {
            bdi { (data.text("schedule_name")) } " is run again, to "
            code { bdi { (data.text("target_command")) } } ", with " (payload) "."
        }
    }
}

/// Where commands would go, and how many of those that are listed.
fn destinations(data: &Value) -> Markup {
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for target in data.items("results").iter().filter_map(|one| one["target_command"].as_str()) {
        *all.entry(target).or_default() += 1;
    }
    html! {
        @if !all.is_empty() {
            h2 { "Where they go" }
            ul {
                @for (target, count) in all.iter().take(SHOWN) {
                    li { code { bdi { (target) } } ": " (count) }
                }
            }
            (rest(all.len(), SHOWN))
        }
    }
}

fn counts(data: &Value) -> Markup {
    let named = [
        ("count", "Occurrences"),
        ("matched", "Matched"),
        ("succeeded", "Changed, or would be"),
        ("retried", "Run again, or would be"),
        ("refused", "Refused"),
        ("passed_over", "Left alone"),
    ];
    html! {
        dl.facts {
            @for (field, name) in named {
                @if let Some(number) = data[field].as_u64() { dt { (name) } dd { (number) } }
            }
        }
    }
}

/// What differs, field by field and in the times.
fn changes(difference: &Value, zone: &str) -> Markup {
    let times = &difference["occurrences"];
    html! {
        @if !difference.items("changes").is_empty() {
            div.scroll { table {
                caption { "What changes" }
                thead { tr { th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } } }
                tbody {
                    @for change in difference.items("changes") {
                        tr {
                            th scope="row" { code { (change.text("field")) } }
                            td { (field(change.text("field"), &change["old"], zone)) }
                            td { (field(change.text("field"), &change["new"], zone)) }
                        }
                    }
                }
            } }
        } @else { p { "No field changes." } }
        @if times.is_object() {
            div.beside {
                @for (title, preview) in [("Now", &times["before"]), ("Then", &times["after"])] {
                    @if preview.is_object() {
                        section {
                            h2 { (title) }
                            p { (preview.text("description")) }
                            ol {
                                @for at in preview.items("occurrences") {
                                    li { (time_in(at.as_str().and_then(|at| at.parse().ok()), zone)) }
                                }
                            }
                            (left_out(preview, zone))
                        }
                    }
                }
            }
        }
    }
}

/// What was refused, each with its error.
fn refused(data: &Value) -> impl Iterator<Item = &Value> {
    let all = data.items("failed").iter().chain(data.items("results"));
    all.filter(|one| one["error"].is_object())
}

fn refusals(data: &Value, names: &HashMap<String, String>) -> Markup {
    let refused: Vec<&Value> = refused(data).collect();
    html! {
        @if !refused.is_empty() {
            h2 { "Refused" }
            ul {
                @for one in refused.iter().take(SHOWN) {
                    @let id = one.text("schedule_id");
                    li { (schedule_link(id, names.get(id).map_or("", String::as_str))) ": " bdi { (one["error"].text("message")) } }
                }
            }
            (rest(refused.len(), SHOWN))
        }
    }
}
