//! Calendars: all of them, and one with what it says and who uses it.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::named::{DESCRIPTION, NAME, Words, changed, deletion, list, name, used_by, users};
use crate::api::error::ApiError;
use crate::dashboard::controls::{Control, Kind, refused};
use crate::dashboard::form::Form;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{action, calendar_path, hidden, nothing, rest, short, time};
use crate::dashboard::visit::Visitor;

/// Days and spans that are shown; a calendar may have thousands. All are in the form.
const SHOWN: usize = 100;
const CONTENT: [Control; 3] = [
    Control::new(
        "days",
        "Days",
        Kind::Code(5),
        "a line each: 2026-12-25, or 2026-12-24/2026-12-26",
    ),
    Control::new(
        "spans",
        "Spans of time",
        Kind::Code(5),
        "a line each: 2026-12-31T12:00:00Z/2027-01-01T00:00:00Z",
    ),
    Control::new("ics", "iCalendar", Kind::Code(5), "the text of a file, whose events are added"),
];

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    match visitor.query("name") {
        Some(name) => one(visitor, &name).await,
        None => all(visitor).await,
    }
}

async fn all(visitor: &Visitor<'_>) -> Response {
    let words = Words {
        operation: "calendar.list",
        path: "/calendars",
        title: "Calendars",
        about: "A calendar is a set of days and spans. Schedules name those that they leave out, and those that they keep to.",
        none: "There is no calendar.",
        new: "New calendar",
    };
    list(visitor, words, table, calendar_form).await
}

fn table(visitor: &Visitor<'_>, calendars: &[Value]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Calendar" } th scope="col" { "Days" } th scope="col" { "Spans" }
                th scope="col" { "Known until" } th scope="col" { "Used by" } th scope="col" { "Changed" }
            } }
            tbody {
                @for one in calendars {
                    tr {
                        td { (name(one, &calendar_path(one.text("name")))) }
                        td { (one.count("day_count")) }
                        td { (one.count("span_count")) }
                        td { (short(&one["known_until"])) }
                        td { (used_by(one, "calendar")) }
                        td { (changed(visitor, one)) }
                    }
                }
            }
        } }
    }
}

async fn one(visitor: &Visitor<'_>, name: &str) -> Response {
    let reply = match visitor.read("calendar.get", json!({ "name": name })).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/calendars")).await,
    };
    let calendar = &reply["data"];
    let body = html! {
        h1 { "Calendar " bdi { (name) } }
        section #state data-live {
            @if !calendar.text("description").is_empty() { p.text { bdi { (calendar.text("description")) } } }
            p { "Changed " (changed(visitor, calendar)) ", revision " (calendar.count("revision")) }
            @if calendar["known_until"].is_string() {
                p.box.warn {
                    "Rules without an end are expanded until " (calendar.text("known_until"))
                    ". Put the file again before then."
                }
            }
        }
        div.beside {
            section #days data-live { h2 { "Days" } (days(calendar)) }
            section #spans data-live { h2 { "Spans" } (spans(calendar)) }
        }
        section #users data-live { h2 { "Schedules that use it" } (users(calendar, "calendar")) }
        @if visitor.may_act() {
            section.actions aria-label="Actions" {
                details #edit { summary { "Edit" } (calendar_form(visitor, &filled(calendar), None)) }
                (deletion(visitor, "calendar.delete", "/calendars", calendar))
            }
        }
    };
    page::show(visitor, &format!("Calendar {name}"), body).await
}

fn days(calendar: &Value) -> Markup {
    let all = calendar.items("days");
    html! {
        @if all.is_empty() { (nothing("None.")) }
        @else { p.dim { "In the time zone of each schedule." } }
        ul { @for day in all.iter().take(SHOWN) { li { (short(day).replace('/', " to ")) } } }
        (rest(all.len(), SHOWN))
    }
}

fn spans(calendar: &Value) -> Markup {
    let all = calendar.items("spans");
    html! {
        @if all.is_empty() { (nothing("None.")) }
        ul {
            @for span in all.iter().take(SHOWN) {
                li { (time(span.instant("start"))) " to " (time(span.instant("end"))) }
            }
        }
        (rest(all.len(), SHOWN))
    }
}

/// The form of a calendar as it is.
fn filled(calendar: &Value) -> Form {
    let lines = |name: &str, line: fn(&Value) -> String| {
        calendar.items(name).iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let span = |span: &Value| format!("{}/{}", span.text("start"), span.text("end"));
    Form::of(&[
        ("name", calendar.text("name")),
        ("description", calendar.text("description")),
        ("days", &lines("days", short)),
        ("spans", &lines("spans", span)),
        ("expected_revision", &calendar.count("revision").to_string()),
    ])
}

/// The form, with what was entered and why that was refused.
pub(in crate::dashboard) fn calendar_form(
    visitor: &Visitor<'_>,
    form: &Form,
    error: Option<&ApiError>,
) -> Markup {
    let is_new = form.control("expected_revision") == "0";
    let fields = html! {
        @if is_new { (NAME.shown(form)) } @else { (hidden("name", form.control("name"))) }
        (DESCRIPTION.shown(form))
        @for one in CONTENT { (one.shown(form)) }
    };
    html! {
        (refused(form, &fields, error))
        div.editor {
            (action(visitor, "calendar.put", "/calendars", html! {
                (hidden("expected_revision", form.control("expected_revision")))
                (fields)
                button.primary type="submit" { @if is_new { "Create" } @else { "Save" } }
            }))
        }
    }
}
