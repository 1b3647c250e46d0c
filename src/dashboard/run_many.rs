//! Runs the schedules that are ticked in a list.
//!
//! There is no operation that runs many, since a run of a schedule is a thing of its own: it has an execution id, and is
//! refused for reasons of its own. So this asks `schedule.trigger` for each, one after the other, and only for those that
//! are ticked one by one: a page has few. The form has a key, and each run one made of it and of its schedule: a form that
//! is sent twice, or again after half of it was done, runs each once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::access::with_form;
use super::command::Commands;
use super::form::{Field, Form, input, raw};
use super::json::Look as _;
use super::outcome;
use super::page;
use super::parts::{badge, execution_path, hidden, schedule_link, submit_form};
use super::screens::standing;
use super::state::Dashboard;
use super::visit::{Visitor, drawn, named_operation};
use crate::api::error::{ApiError, Code};

/// Most schedules of a form; a page of the list has fewer.
const MOST: usize = 100;
const TRIGGER: &str = "schedule.trigger";

/// Shows what would run, or runs it if the form has a key.
pub(super) async fn run_many(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Response {
    with_form(&dashboard, request, async |visitor, form| {
        let ids = match ticked(visitor, &form) {
            Ok(ids) => ids,
            Err(error) => return Ok(page::failure(visitor, &error, Some(form.next())).await),
        };
        Ok(match form.control("_key") {
            "" => dry_run(visitor, &ids, form.next()).await,
            key => run(visitor, &ids, key, form.next()).await,
        })
    })
    .await
}

/// Says as commands what the form asks for.
pub(super) async fn commands(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Response {
    with_form(&dashboard, request, async |visitor, form| {
        let operation = named_operation(TRIGGER)?;
        let each = ticked(visitor, &form)?.into_iter().map(|id| {
            let fields = [("schedule_id".to_owned(), raw(id))];
            Commands::of(visitor, operation, &fields)
        });
        let all = Commands::one_after_the_other(each);
        Ok(outcome::commands(visitor, &all, form.next()).await)
    })
    .await
}

/// The schedules of a form that may be acted on.
fn ticked<'a>(visitor: &Visitor<'_>, form: &'a Form) -> Result<Vec<&'a str>, ApiError> {
    visitor.check_may_act()?;
    let refused = |message: String| Err(ApiError::new(Code::Invalid, message));
    if form.texts().any(|(name, _)| name == "filter") {
        return refused("all that match cannot be run together: tick those that are to run".into());
    }
    let of_form = form.texts().filter(|(name, _)| *name == "schedule_ids");
    let ids: Vec<&str> = of_form.map(|(_, id)| id).collect();
    if ids.is_empty() || ids.len() > MOST {
        return refused(format!("tick the schedules that are to run: 1 to {MOST}"));
    }
    Ok(ids)
}

async fn dry_run(visitor: &Visitor<'_>, ids: &[&str], next: &str) -> Response {
    let mut rows = Vec::new();
    for id in ids {
        rows.push((*id, visitor.read("schedule.get", json!({ "schedule_id": id })).await));
    }
    let body = html! {
        h1 { "Nothing is done yet" }
        p { "These would run now, beside their own times, each with its own payload." }
        (table(&rows, |reply| {
            let one = &reply["data"];
            html! { (standing(one)) " sends to " code { bdi { (one.text("target_command")) } } }
        }))
        (submit_form(visitor, "/run", next, html! {
            (hidden("_key", &drawn()))
            @for id in ids { (hidden("schedule_ids", id)) }
            button.primary type="submit" { "Run them" }
            button.link type="submit" formaction="/command/run" data-command { "as a command" }
        }))
        p { a href=(next) { "Cancel" } }
    };
    page::show(visitor, "What would happen", body).await
}

async fn run(visitor: &Visitor<'_>, ids: &[&str], key: &str, next: &str) -> Response {
    let mut rows = Vec::new();
    for id in ids {
        let reply = match named_operation(TRIGGER) {
            Ok(operation) => visitor.run(operation, input(&fields(id, key))).await,
            Err(error) => Err(error),
        };
        rows.push((*id, reply));
    }
    let accepted = rows.iter().filter(|(_, reply)| reply.is_ok()).count();
    let body = html! {
        h1 { (accepted) " of " (rows.len()) " runs are accepted" }
        (table(&rows, |reply| {
            let id = reply["data"].text("execution_id");
            html! { (badge("accepted")) " " a href=(execution_path(id)) { "execution" } }
        }))
        p { a href=(next) { "Back" } }
    };
    page::show(visitor, "Done", body).await
}

fn fields(id: &str, key: &str) -> Vec<Field> {
    vec![
        ("schedule_id".to_owned(), raw(id)),
        ("idempotency_key".to_owned(), raw(&format!("{key}.{id}"))),
    ]
}

/// What became of each.
fn table(rows: &[(&str, Result<Value, ApiError>)], told: impl Fn(&Value) -> Markup) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "Schedule" } th scope="col" { "What" } } }
            tbody {
                @for (id, reply) in rows {
                    tr {
                        @let name = reply.as_ref().map_or("", |reply| reply["data"].text("name"));
                        td { (schedule_link(id, name)) }
                        td {
                            @match reply {
                                Ok(reply) => (told(reply)),
                                Err(error) => { (badge("failed")) " " (error.message) },
                            }
                        }
                    }
                }
            }
        } }
    }
}
