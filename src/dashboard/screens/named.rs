//! What the screens of calendars and of concurrency groups have in common: each is there by a name.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::api::error::{ApiError, Code};
use crate::dashboard::controls::{Control, Kind};
use crate::dashboard::form::Form;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, hidden, nothing, pager, query_path, relative, schedule_link,
};
use crate::dashboard::visit::Visitor;

/// Rows of a page.
const ROWS: u64 = 50;

pub(super) const NAME: Control = Control::new("name", "Name", Kind::Line(Some(100)), "").required();
pub(super) const DESCRIPTION: Control =
    Control::new("description", "Description", Kind::Area(2, Some(1000)), "");

/// The words of a list.
pub(super) struct Words {
    pub(super) operation: &'static str,
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) none: &'static str,
    pub(super) new: &'static str,
}

/// The list of all, with a form for one more.
pub(super) async fn list(
    visitor: &Visitor<'_>,
    words: Words,
    table: fn(&Visitor<'_>, &[Value]) -> Markup,
    form: fn(&Visitor<'_>, &Form, Option<&ApiError>) -> Markup,
) -> Response {
    let fields = json!({ "page": visitor.page(), "limit": ROWS });
    let reply = match visitor.read(words.operation, fields).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some(words.path)).await,
    };
    let body = html! {
        h1 { (words.title) }
        p { (words.about) }
        section #rows data-live {
            @if reply.items("data").is_empty() { (nothing(words.none)) }
            @else { (table(visitor, reply.items("data"))) (pager(visitor, &reply["pagination"])) }
        }
        @if visitor.may_act() {
            details #new {
                summary { (words.new) }
                (form(visitor, &Form::of(&[("expected_revision", "0")]), None))
            }
        }
    };
    page::show(visitor, words.title, body).await
}

/// A form that was refused; after a conflict it is meant for the revision that is there now. A new one stays new.
pub(in crate::dashboard) async fn renewed(
    visitor: &Visitor<'_>,
    read: &str,
    form: Form,
    error: &ApiError,
) -> Form {
    let is_new = form.control("expected_revision") == "0";
    if error.code != Code::Conflict || is_new {
        return form;
    }
    match visitor.read(read, json!({ "name": form.control("name") })).await {
        Ok(reply) => form.with("expected_revision", reply["data"].count("revision").to_string()),
        Err(_) => form,
    }
}

/// The name of one, which leads to its page, and what it is for.
pub(super) fn name(one: &Value, path: &str) -> Markup {
    html! {
        a.row href=(path) { bdi { (one.text("name")) } }
        @if !one.text("description").is_empty() { div.dim { bdi { (one.text("description")) } } }
    }
}

/// When one was changed, and by whom.
pub(super) fn changed(visitor: &Visitor<'_>, one: &Value) -> Markup {
    html! { (relative(one.instant("updated_at"), visitor.now)) " by " bdi { (one.text("updated_by")) } }
}

/// Schedules that use a calendar or name a group, of which a reply has the first; `filter` is what finds all of them.
pub(super) fn users(of: &Value, filter: &str) -> Markup {
    let (all, shown) = (of.count("used_by"), of.items("schedules"));
    let found = |path: &str| query_path(path, filter, of.text("name"));
    html! {
        @if shown.is_empty() { (nothing("None.")) }
        ul {
            @for one in shown {
                li {
                    (schedule_link(one.text("schedule_id"), one.text("schedule_name")))
                    @if one.count("waiting") > 0 { " " span.badge.busy { (one.count("waiting")) " waiting" } }
                }
            }
        }
        @if all > shown.len() as u64 { p.dim { "and " (all - shown.len() as u64) " more" } }
        @if all > 0 {
            p { a href=(found("/schedules")) { "In the list" } " · " a href=(found("/upcoming")) { "What comes" } }
        }
    }
}

/// How many schedules use a calendar or name a group, with the way to them.
pub(super) fn used_by(of: &Value, filter: &str) -> Markup {
    let all = of.count("used_by");
    html! {
        @if all > 0 { a href=(query_path("/schedules", filter, of.text("name"))) { (all) } } @else { "0" }
    }
}

/// The form to delete a calendar or a group. One that is used is refused, so that it says so beforehand.
pub(super) fn deletion(visitor: &Visitor<'_>, operation: &str, next: &str, of: &Value) -> Markup {
    html! {
        details #delete {
            summary { "Delete" }
            @if of.count("used_by") > 0 { p { "Schedules use it. While they do, it cannot be deleted." } }
            (action(visitor, operation, next, html! {
                (hidden("name", of.text("name")))
                (hidden("expected_revision", &of.count("revision").to_string()))
                button.danger type="submit" { "Delete" }
            }))
        }
    }
}
