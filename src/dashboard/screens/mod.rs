//! The screens, one in a file. Each asks operations for what it shows, and writes it.

mod calendars;
mod changes;
mod create;
mod edit;
mod execution;
mod executions;
mod failures;
mod fields;
mod groups;
mod named;
mod now;
mod reruns;
mod schedule;
mod schedules;
mod system;
mod upcoming;
mod why;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::state::Dashboard;
use super::visit::Visitor;
pub(super) use calendars::calendar_form;
pub(super) use create::create_form;
pub(super) use edit::{changed_fields, edit_again};
pub(super) use groups::group_form;
pub(super) use named::renewed;
pub(super) use schedules::standing;

/// A handler that lets a screen write for a visitor.
macro_rules! screens {
    ($($(#[doc = $about:literal])+ $name:ident: $write:path;)+) => { $(
        $(#[doc = $about])+
        pub(super) async fn $name(
            State(dashboard): State<Arc<Dashboard>>,
            request: Request,
        ) -> Response {
            let (parts, _) = request.into_parts();
            match Visitor::of(&dashboard, &parts) {
                Ok(visitor) => $write(&visitor).await,
                Err(refusal) => refusal.page(),
            }
        }
    )+ };
}

screens! {
    /// The overview: what runs, what comes, what failed.
    now: now::write;
    /// A list of schedules.
    schedules: schedules::write;
    /// A form to create one.
    new_schedule: create::write;
    /// One schedule.
    schedule: schedule::write;
    /// A form to change it.
    edit: edit::write;
    /// What became of its times, and why.
    why: why::write;
    /// A list of executions.
    executions: executions::write;
    /// One execution.
    execution: execution::write;
    /// What failed, by kind.
    failures: failures::write;
    /// Stored requests to run many executions again.
    reruns: reruns::all;
    /// One of them.
    rerun: reruns::one;
    /// What comes.
    upcoming: upcoming::write;
    /// Who changed what.
    changes: changes::write;
    /// Calendars, or one.
    calendars: calendars::write;
    /// Concurrency groups, or one.
    groups: groups::write;
    /// Status of the service.
    system: system::write;
}
