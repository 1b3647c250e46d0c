//! Does what a form asks for, or says it as commands.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use serde_json::Value;

use super::access::with_form;
use super::command::Commands;
use super::form::{Field, Form, input};
use super::json::Look as _;
use super::outcome;
use super::page;
use super::parts::{calendar_path, group_path, path_part};
use super::screens;
use super::state::Dashboard;
use super::visit::{Visitor, named_operation, redirect};
use crate::api::error::{ApiError, Code};
use crate::api::operations::{Access, Operation};

/// A form that comes from one of our pages, as a request for an operation.
struct Asked {
    operation: &'static Operation,
    form: Form,
}

/// Does what a form asks for.
pub(super) async fn act(
    State(dashboard): State<Arc<Dashboard>>,
    Path(operation): Path<String>,
    request: Request,
) -> Response {
    with_form(&dashboard, request, async |visitor, form| {
        let asked = Asked::of(visitor, &operation, form)?;
        Ok(match asked.done(visitor).await {
            Ok(response) => response,
            Err(error) => refused(visitor, &asked, &error).await,
        })
    })
    .await
}

/// Says as commands what a form asks for.
pub(super) async fn command(
    State(dashboard): State<Arc<Dashboard>>,
    Path(operation): Path<String>,
    request: Request,
) -> Response {
    with_form(&dashboard, request, async |visitor, form| {
        let Asked { operation, form } = Asked::of(visitor, &operation, form)?;
        let fields = fields(visitor, operation, &form).await?;
        let commands = Commands::of(visitor, operation, &fields);
        Ok(outcome::commands(visitor, &commands, form.next()).await)
    })
    .await
}

impl Asked {
    /// What a form asks for, if its sender may change anything.
    fn of(visitor: &Visitor<'_>, operation: &str, form: Form) -> Result<Self, ApiError> {
        let operation = named_operation(operation)?;
        if operation.access != Access::Write {
            return Err(ApiError::new(Code::NotFound, "there is no such action"));
        }
        visitor.check_may_act()?;
        Ok(Self { operation, form })
    }

    /// Does it.
    async fn done(&self, visitor: &Visitor<'_>) -> Result<Response, ApiError> {
        let Self { operation, form } = self;
        let fields = fields(visitor, operation, form).await?;
        let reply = visitor.run(operation, input(&fields)).await?;
        Ok(done(visitor, operation, &fields, &reply, form.next()).await)
    }
}

/// The fields of the operation: of a form to edit a schedule only those that differ from what it is.
async fn fields(
    visitor: &Visitor<'_>,
    operation: &Operation,
    form: &Form,
) -> Result<Vec<Field>, ApiError> {
    if operation.name == "schedule.update" {
        return screens::changed_fields(visitor, operation, form).await;
    }
    let mut fields = form.fields(operation)?;
    let is_any = |name: &str| matches!(name, "schedule_ids" | "filter");
    if operation.name == "bulk.operation" && !fields.iter().any(|(name, _)| is_any(name)) {
        let message = "tick the schedules that are meant, or all that match a filter";
        return Err(ApiError::new(Code::Invalid, message));
    }
    // Those that match in place of those that are ticked.
    if fields.iter().any(|(name, _)| name == "filter") {
        fields.retain(|(name, _)| name != "schedule_ids");
    }
    Ok(fields)
}

/// What to show once it is done.
async fn done(
    visitor: &Visitor<'_>,
    operation: &'static Operation,
    fields: &[Field],
    reply: &Value,
    next: &str,
) -> Response {
    let data = &reply["data"];
    let is_dry = fields.iter().any(|(name, value)| name == "dry_run" && value.get() == "true");
    let of = |kind: &str, id: &str| {
        format!("/{kind}/{}?done={}", path_part(data.text(id)), operation.name)
    };
    match operation.name {
        _ if is_dry => outcome::dry_run(visitor, operation, fields, reply, next).await,
        "bulk.retry" if data["rerun_id"].is_string() => redirect(&of("reruns", "rerun_id")),
        "bulk.operation" | "bulk.retry" | "schedule.backfill" => {
            outcome::many(visitor, operation, reply, next).await
        }
        "schedule.trigger" | "execution.retry" | "execute.immediate" => {
            redirect(&of("executions", "execution_id"))
        }
        "schedule.create" => redirect(&of("schedules", "id")),
        "calendar.put" | "group.put" if !reply.items("warnings").is_empty() => {
            outcome::many(visitor, operation, reply, next).await
        }
        "calendar.put" => {
            redirect(&with_done(&calendar_path(data["calendar"].text("name")), operation.name))
        }
        "group.put" => {
            redirect(&with_done(&group_path(data["group"].text("name")), operation.name))
        }
        name => redirect(&with_done(next, name)),
    }
}

/// An address that says what was done.
fn with_done(address: &str, operation: &str) -> String {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != "done");
    let mut made = form_urlencoded::Serializer::new(String::new());
    made.extend_pairs(kept).append_pair("done", operation);
    format!("{path}?{}", made.finish())
}

/// What to show if it is refused. A form that took a while to fill in comes back as it was.
async fn refused(visitor: &Visitor<'_>, asked: &Asked, error: &ApiError) -> Response {
    let Asked { operation, form } = asked;
    let status =
        StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let again = form.clone().refused(error);
    let form = match operation.name {
        "schedule.create" => screens::create_form(visitor, &again, Some(error)),
        "schedule.update" => screens::edit_again(visitor, &again, error).await,
        "calendar.put" => {
            let again = screens::renewed(visitor, "calendar.get", again, error).await;
            screens::calendar_form(visitor, &again, Some(error))
        }
        "group.put" => {
            let again = screens::renewed(visitor, "group.get", again, error).await;
            screens::group_form(visitor, &again, Some(error))
        }
        _ => return page::failure(visitor, error, Some(form.next())).await,
    };
    let body = html! { h1 { "Not done" } (form) };
    page::with_status(visitor, "Not done", status, body).await
}
