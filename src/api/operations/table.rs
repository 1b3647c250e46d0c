//! Table of operations: the name, access, texts and routes of each, and the function that carries it out.
//!
//! Everything else follows from an entry: its endpoint over NATS, its description in OpenAPI, its labels in metrics and
//! logs. Tests ask for its client method and its documentation.

use std::sync::LazyLock;

use super::super::route::{delete, get, patch, post, put};
use super::{Access, Entry, Operation};

/// An operation: its name, access, header of the actor, method of `Api`, description and routes.
macro_rules! operation {
    ($name:literal, $access:ident, $actor:literal, $method:ident, $about:literal, [$($route:expr),+]) => {
        Entry {
            name: $name,
            access: Access::$access,
            actor_header: $actor,
            description: $about,
            routes: vec![$($route),+],
        }
        .run(|api, request, caller| async move { api.$method(request, &caller).await })
    };
}

static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    [schedules(), bulk(), reruns(), calendars(), groups(), executions(), reports(), service()]
        .into_iter()
        .flatten()
        .collect()
});

/// All operations.
pub fn operations() -> &'static [Operation] {
    &OPERATIONS
}

#[rustfmt::skip]
fn schedules() -> Vec<Operation> {
    vec![
        operation!("schedule.create", Write, "X-Created-By", create_schedule, "Create a schedule", [
            post("/api/v1/schedules").creates()
        ]),
        operation!("schedule.apply", Write, "X-Applied-By", apply_schedule, "Create a schedule, or make the one of that name what is given", [
            post("/api/v1/schedules/apply")
        ]).declares(),
        operation!("schedule.get", Read, "X-Created-By", get_schedule, "One schedule with all its fields", [
            get("/api/v1/schedules/{schedule_id}").query(&[])
        ]),
        operation!("schedule.list", Read, "X-Created-By", list_schedules, "Schedules that match, in order, page by page", [
            get("/api/v1/schedules")
        ]),
        operation!("schedule.update", Write, "X-Updated-By", update_schedule, "Change the fields that are given", [
            put("/api/v1/schedules/{schedule_id}"),
            patch("/api/v1/schedules/{schedule_id}").variant("patch").summary("The same as PUT")
        ]),
        operation!("schedule.delete", Write, "X-Deleted-By", delete_schedule, "Delete a schedule; its name is free again", [
            delete("/api/v1/schedules/{schedule_id}").query(&["hard_delete", "expected_revision"])
        ]),
        operation!("schedule.restore", Write, "X-Restored-By", restore_schedule, "Restore a schedule that was deleted softly", [
            post("/api/v1/schedules/{schedule_id}/restore")
        ]),
        operation!("schedule.pause", Write, "X-Paused-By", pause_schedule, "Pause a schedule, until it is resumed or until a time", [
            post("/api/v1/schedules/{schedule_id}/pause").query(&["reason", "resume_at"])
        ]),
        operation!("schedule.resume", Write, "X-Resumed-By", resume_schedule, "Resume a paused schedule", [
            post("/api/v1/schedules/{schedule_id}/resume")
        ]),
        operation!("schedule.pause_all", Write, "X-Paused-By", pause_all, "Pause all schedules at once, also those created later", [
            post("/api/v1/schedules/pause-all").summary("Pause all schedules at once")
        ]),
        operation!("schedule.resume_all", Write, "X-Resumed-By", resume_all, "Lift the pause of all schedules", [
            post("/api/v1/schedules/resume-all").summary("Lift the pause of all schedules")
        ]),
        operation!("schedule.trigger", Write, "X-Triggered-By", trigger_schedule, "Run a schedule now, beside its own times", [
            post("/api/v1/schedules/{schedule_id}/trigger").query(&["wait_ms"])
        ]),
        operation!("schedule.preview", Read, "X-Created-By", preview_schedule, "When a schedule would fire; stores nothing", [
            post("/api/v1/schedules/preview").summary("When a schedule that is not stored would fire"),
            get("/api/v1/schedules/{schedule_id}/preview").query(&["after", "count"]).variant("of_schedule").summary("When a schedule will fire")
        ]),
        operation!("schedule.backfill", Write, "X-Triggered-By", backfill_schedule, "Run the occurrences of a span of the past", [
            post("/api/v1/schedules/{schedule_id}/backfill")
        ]),
        operation!("schedule.explain", Read, "X-Created-By", explain_schedule, "What became of each nominal time of a schedule, and why", [
            get("/api/v1/schedules/{schedule_id}/explain").summary("What became of each nominal time, and why")
        ]),
        operation!("schedule.upcoming", Read, "X-Created-By", upcoming, "What comes in a span, over all schedules that match", [
            get("/api/v1/schedules/upcoming").summary("What comes in a span")
        ]),
    ]
}

#[rustfmt::skip]
fn bulk() -> Vec<Operation> {
    vec![
        operation!("bulk.apply", Write, "X-Performed-By", bulk_apply, "Create many schedules of one owner, or make those of their names what is given", [
            post("/api/v1/schedules/bulk/apply")
        ]).declares(),
        operation!("bulk.create", Write, "X-Performed-By", bulk_create, "Create many schedules", [
            post("/api/v1/schedules/bulk/create")
        ]),
        operation!("bulk.operation", Write, "X-Performed-By", bulk_operation, "Pause, resume or delete many schedules, by ids or by filter", [
            post("/api/v1/schedules/bulk/operation").summary("Pause, resume or delete many schedules")
        ]),
        operation!("bulk.retry", Write, "X-Triggered-By", bulk_retry, "Run ended executions that match a filter again", [
            post("/api/v1/executions/bulk/retry")
        ]),
    ]
}

#[rustfmt::skip]
fn reruns() -> Vec<Operation> {
    vec![
        operation!("rerun.get", Read, "X-Created-By", get_rerun, "One stored request to run many executions again, and how far it has come", [
            get("/api/v1/reruns/{rerun_id}").query(&[])
        ]),
        operation!("rerun.list", Read, "X-Created-By", list_reruns, "All stored requests to run executions again, newest first", [
            get("/api/v1/reruns")
        ]),
        operation!("rerun.cancel", Write, "X-Cancelled-By", cancel_rerun, "End a stored request to run executions again", [
            post("/api/v1/reruns/{rerun_id}/cancel")
        ]),
    ]
}

#[rustfmt::skip]
fn calendars() -> Vec<Operation> {
    vec![
        operation!("calendar.put", Write, "X-Updated-By", put_calendar, "Create a calendar, or replace what it says", [
            put("/api/v1/calendars/{name}")
        ]),
        operation!("calendar.get", Read, "X-Created-By", get_calendar, "One calendar with all its days and spans", [
            get("/api/v1/calendars/{name}").query(&[])
        ]),
        operation!("calendar.list", Read, "X-Created-By", list_calendars, "All calendars, page by page", [
            get("/api/v1/calendars")
        ]),
        operation!("calendar.delete", Write, "X-Deleted-By", delete_calendar, "Delete a calendar that no schedule uses", [
            delete("/api/v1/calendars/{name}").query(&["expected_revision"])
        ]),
    ]
}

#[rustfmt::skip]
fn groups() -> Vec<Operation> {
    vec![
        operation!("group.put", Write, "X-Updated-By", put_group, "Create a concurrency group, or change its bound", [
            put("/api/v1/groups/{name}")
        ]),
        operation!("group.get", Read, "X-Created-By", get_group, "One concurrency group with the executions that have its slots", [
            get("/api/v1/groups/{name}").query(&[])
        ]),
        operation!("group.list", Read, "X-Created-By", list_groups, "All concurrency groups, page by page", [
            get("/api/v1/groups")
        ]),
        operation!("group.delete", Write, "X-Deleted-By", delete_group, "Delete a concurrency group that no schedule names", [
            delete("/api/v1/groups/{name}").query(&["expected_revision"])
        ]),
    ]
}

#[rustfmt::skip]
fn executions() -> Vec<Operation> {
    vec![
        operation!("execute.immediate", Write, "X-Created-By", execute_immediate, "Send one command at once, without a schedule", [
            post("/api/v1/executions").creates()
        ]),
        operation!("execution.get", Read, "X-Created-By", get_execution, "One execution, with all attempts at its occurrence", [
            get("/api/v1/executions/{execution_id}").query(&[])
        ]),
        operation!("execution.list", Read, "X-Created-By", list_executions, "Executions, newest first", [
            get("/api/v1/executions"),
            get("/api/v1/schedules/{schedule_id}/executions").variant("of_schedule").summary("Executions of a schedule, newest first")
        ]),
        operation!("execution.running", Read, "X-Created-By", running_executions, "Executions that are under way now", [
            get("/api/v1/executions/running").summary("Executions under way")
        ]),
        operation!("execution.by_correlation", Read, "X-Created-By", executions_by_correlation, "Executions with a correlation id, newest first", [
            get("/api/v1/executions/by-correlation/{correlation_id}").summary("Executions with a correlation id")
        ]),
        operation!("execution.stats", Read, "X-Created-By", execution_statistics, "Statistics of the executions of one schedule, or of all", [
            get("/api/v1/executions/stats").summary("Statistics of all executions"),
            get("/api/v1/executions/stats/{schedule_id}").variant("of_schedule").summary("Statistics of the executions of a schedule")
        ]),
        operation!("execution.cancel", Write, "X-Cancelled-By", cancel_execution, "Stop an execution that is under way or waits", [
            post("/api/v1/executions/{execution_id}/cancel")
        ]),
        operation!("execution.retry", Write, "X-Triggered-By", retry_execution, "Run an ended execution again", [
            post("/api/v1/executions/{execution_id}/retry").query(&["wait_ms"])
        ]),
    ]
}

#[rustfmt::skip]
fn reports() -> Vec<Operation> {
    vec![
        operation!("execution.complete", Report, "X-Created-By", complete_execution, "Report that a job is done", [
            post("/api/v1/executions/{execution_id}/complete")
        ]),
        operation!("execution.fail", Report, "X-Created-By", fail_execution, "Report that a job has failed", [
            post("/api/v1/executions/{execution_id}/fail")
        ]),
        operation!("execution.heartbeat", Report, "X-Created-By", heartbeat_execution, "Report that a job is still under way", [
            post("/api/v1/executions/{execution_id}/heartbeat")
        ]),
    ]
}

#[rustfmt::skip]
fn service() -> Vec<Operation> {
    vec![
        operation!("audit.list", Read, "X-Created-By", list_audit, "Who changed which schedule, when and how, newest first", [
            get("/api/v1/audit").summary("Changes of schedules, newest first"),
            get("/api/v1/schedules/{schedule_id}/audit").variant("of_schedule").summary("Changes of a schedule, newest first")
        ]),
        operation!("status", Read, "X-Created-By", status, "Status of the service", [
            get("/health/detailed").query(&["include_settings"]).summary("Status of the service and each of its parts")
        ]),
    ]
}
