//! Executions, newest first.

use axum::response::Response;
use maud::html;
use serde_json::json;

use super::schedule::execution_rows;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{choice, nothing, pager, search};
use crate::dashboard::visit::Visitor;

const STATUSES: [&str; 6] = ["running", "success", "failed", "skipped", "cancelled", "corrected"];
/// Rows of a page.
const ROWS: u64 = 50;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let reply = match visitor.query("correlation_id") {
        Some(id) => {
            let fields = json!({ "correlation_id": id, "page": visitor.page(), "limit": ROWS });
            visitor.read("execution.by_correlation", fields).await
        }
        None => {
            let fields = json!({
                "schedule_id": visitor.query("schedule_id"),
                "status": visitor.query("status"),
                "error_type": visitor.query("error_type"),
                "tag": visitor.query("tag"),
                "target_command": visitor.query("target_command"),
                "started_after": visitor.query("started_after"),
                "page": visitor.page(),
                "limit": ROWS,
            });
            visitor.read("execution.list", fields).await
        }
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/executions")).await,
    };
    let body = html! {
        h1 { "Executions" }
        form.filters action="/executions" {
            (choice(visitor, "status", "Outcome", &STATUSES))
            (search(visitor, "error_type", "Error type"))
            (search(visitor, "target_command", "Target"))
            (search(visitor, "tag", "Tag"))
            details {
                summary { "More" }
                (search(visitor, "schedule_id", "Schedule (id)"))
                (search(visitor, "started_after", "Started after (RFC 3339)"))
                (search(visitor, "correlation_id", "Correlation id (alone)"))
            }
            button type="submit" { "Filter" }
            a href="/executions" { "Clear" }
        }
        section #rows data-live {
            @if reply.items("data").is_empty() { (nothing("No execution matches.")) }
            @else { (execution_rows(visitor, reply.items("data"), None)) }
            (pager(visitor, &reply["pagination"]))
        }
    };
    page::show(visitor, "Executions", body).await
}
