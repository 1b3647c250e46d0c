//! A form to create a schedule.

use axum::response::Response;
use maud::{Markup, html};

use super::fields::fields;
use crate::api::error::ApiError;
use crate::dashboard::controls::refused;
use crate::dashboard::form::Form;
use crate::dashboard::page;
use crate::dashboard::parts::{action, hidden, nothing};
use crate::dashboard::visit::{Visitor, drawn};

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let body = html! {
        h1 { "New schedule" }
        @if visitor.may_act() { (create_form(visitor, &Form::default(), None)) }
        @else { (nothing("Your token is for reading only.")) }
    };
    page::show(visitor, "New schedule", body).await
}

/// The form, with what was entered and why that was refused.
pub(in crate::dashboard) fn create_form(
    visitor: &Visitor<'_>,
    form: &Form,
    error: Option<&ApiError>,
) -> Markup {
    let key = match form.control("idempotency_key") {
        "" => drawn(),
        // What was refused has not used up its key.
        key => key.to_owned(),
    };
    let fields = fields(visitor, form, true);
    html! {
        (refused(form, &fields, error))
        div.editor {
            (action(visitor, "schedule.create", "/schedules", html! {
                (hidden("idempotency_key", &key))
                (fields)
                button.primary type="submit" { "Create" }
            }))
        }
    }
}
