//! Table of routes: the operation of each one, and where its fields come from.

use axum::http::{Method, StatusCode};

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    /// Its path; names in braces are fields of the request.
    pub(super) path: &'static str,
    /// The operation.
    pub(super) operation: &'static str,
    /// Which fields may stand in the query.
    pub(super) query: Query,
    /// Whether the body is a JSON object with the remaining fields.
    pub(super) has_body: bool,
    /// Status of a successful response.
    pub(super) status: StatusCode,
    /// Short summary for the documentation.
    pub(super) summary: &'static str,
}

/// Fields of a request that may be sent in the query.
#[derive(Clone, Copy)]
pub(super) enum Query {
    /// All except those in the path.
    All,
    /// These.
    Only(&'static [&'static str]),
}

/// Paths that have routes below them but are none themselves, and would otherwise be taken for an id.
pub(super) const NO_IDS: [&str; 3] =
    ["/api/v1/schedules/bulk", "/api/v1/schedules/preview", "/api/v1/executions/by-correlation"];

/// All routes to operations.
pub(super) fn routes() -> Vec<Route> {
    use Query::{All, Only};
    const NONE: Query = Only(&[]);
    let created = |route: Route| Route { status: StatusCode::CREATED, ..route };
    vec![
        created(post("/api/v1/schedules", "schedule.create", NONE, "Create a schedule")),
        get("/api/v1/schedules", "schedule.list", All, "Schedules that match"),
        post("/api/v1/schedules/bulk/create", "bulk.create", NONE, "Create many schedules"),
        post(
            "/api/v1/schedules/bulk/operation",
            "bulk.operation",
            NONE,
            "Pause, resume or delete many schedules",
        ),
        post(
            "/api/v1/schedules/preview",
            "schedule.preview",
            NONE,
            "When a schedule that is not stored would fire",
        ),
        get("/api/v1/schedules/{schedule_id}", "schedule.get", NONE, "One schedule"),
        with_body(
            Method::PUT,
            "/api/v1/schedules/{schedule_id}",
            "schedule.update",
            NONE,
            "Change the fields that are given",
        ),
        with_body(
            Method::PATCH,
            "/api/v1/schedules/{schedule_id}",
            "schedule.update",
            NONE,
            "The same as PUT",
        ),
        Route {
            status: StatusCode::NO_CONTENT,
            ..without_body(
                Method::DELETE,
                "/api/v1/schedules/{schedule_id}",
                "schedule.delete",
                Only(&["hard_delete", "expected_revision"]),
                "Delete a schedule",
            )
        },
        post(
            "/api/v1/schedules/{schedule_id}/pause",
            "schedule.pause",
            Only(&["reason"]),
            "Pause a schedule",
        ),
        post(
            "/api/v1/schedules/{schedule_id}/resume",
            "schedule.resume",
            NONE,
            "Resume a paused schedule",
        ),
        post(
            "/api/v1/schedules/{schedule_id}/trigger",
            "schedule.trigger",
            Only(&["wait_ms"]),
            "Run a schedule now",
        ),
        post(
            "/api/v1/schedules/{schedule_id}/restore",
            "schedule.restore",
            NONE,
            "Restore a schedule that was deleted softly",
        ),
        post(
            "/api/v1/schedules/{schedule_id}/backfill",
            "schedule.backfill",
            NONE,
            "Run the occurrences of a span of the past",
        ),
        get(
            "/api/v1/schedules/{schedule_id}/preview",
            "schedule.preview",
            Only(&["after", "count"]),
            "When a schedule will fire",
        ),
        get(
            "/api/v1/schedules/{schedule_id}/executions",
            "execution.list",
            All,
            "Executions of a schedule, newest first",
        ),
        get("/api/v1/executions", "execution.list", All, "Executions, newest first"),
        created(post(
            "/api/v1/executions",
            "execute.immediate",
            NONE,
            "Send one command at once, without a schedule",
        )),
        get("/api/v1/executions/running", "execution.running", All, "Executions under way"),
        get("/api/v1/executions/stats", "execution.stats", All, "Statistics of all executions"),
        get(
            "/api/v1/executions/stats/{schedule_id}",
            "execution.stats",
            All,
            "Statistics of the executions of a schedule",
        ),
        get(
            "/api/v1/executions/by-correlation/{correlation_id}",
            "execution.by_correlation",
            All,
            "Executions with a correlation id",
        ),
        get(
            "/api/v1/executions/{execution_id}",
            "execution.get",
            NONE,
            "One execution, with all attempts at its occurrence",
        ),
        post(
            "/api/v1/executions/{execution_id}/cancel",
            "execution.cancel",
            NONE,
            "Stop an execution that is under way or waits",
        ),
        post(
            "/api/v1/executions/{execution_id}/complete",
            "execution.complete",
            NONE,
            "A worker has done what a job command asked for",
        ),
        post(
            "/api/v1/executions/{execution_id}/fail",
            "execution.fail",
            NONE,
            "A worker has not done what a job command asked for",
        ),
        post(
            "/api/v1/executions/{execution_id}/heartbeat",
            "execution.heartbeat",
            NONE,
            "A worker is still at it",
        ),
        get("/health/detailed", "status", NONE, "How the service is, with each of its parts"),
    ]
}

fn get(path: &'static str, operation: &'static str, query: Query, summary: &'static str) -> Route {
    without_body(Method::GET, path, operation, query, summary)
}

fn post(path: &'static str, operation: &'static str, query: Query, summary: &'static str) -> Route {
    with_body(Method::POST, path, operation, query, summary)
}

fn with_body(
    method: Method,
    path: &'static str,
    operation: &'static str,
    query: Query,
    summary: &'static str,
) -> Route {
    Route { has_body: true, ..without_body(method, path, operation, query, summary) }
}

fn without_body(
    method: Method,
    path: &'static str,
    operation: &'static str,
    query: Query,
    summary: &'static str,
) -> Route {
    let (has_body, status) = (false, StatusCode::OK);
    Route { method, path, operation, query, has_body, status, summary }
}

impl Route {
    /// Fields in its path.
    pub(super) fn path_fields(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::operations;

    #[test]
    fn every_operation_has_a_route_and_no_route_shadows_another() {
        let routes = routes();
        for operation in operations() {
            assert!(
                routes.iter().any(|route| route.operation == operation.name),
                "{}",
                operation.name
            );
        }
        let mut seen = std::collections::HashSet::new();
        for route in &routes {
            assert!(seen.insert((route.method.clone(), route.path)), "{} twice", route.path);
            let words = route.path.split('/').filter(|part| !part.starts_with('{'));
            for word in words {
                assert!(uuid::Uuid::try_parse(word).is_err(), "{word} could be an id");
            }
        }
        // A word in the place of an id is either a path of its own or refused.
        let is_known = |path: &str| NO_IDS.contains(&path) || routes.iter().any(|r| r.path == path);
        for route in &routes {
            let Some((head, _)) = route.path.split_once("/{") else { continue };
            for other in routes.iter().map(|other| other.path) {
                let rest = other.strip_prefix(head).and_then(|rest| rest.strip_prefix('/'));
                let word = rest.and_then(|rest| rest.split('/').next());
                if let Some(word) = word.filter(|word| !word.starts_with('{')) {
                    assert!(is_known(&format!("{head}/{word}")), "{head}/{word}");
                }
            }
        }
    }
}
