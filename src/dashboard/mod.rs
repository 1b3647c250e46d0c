//! The dashboard: pages to see what is due, what runs, what failed and why, and to act on it.
//!
//! It is one more client of the table of operations, in the same process: a page asks operations with the rights of its
//! visitor, within the bounds of requests, and writes their replies as HTML. Whatever it shows, a request over NATS can
//! get. It keeps nothing: who is signed in is in a cookie that every instance can check.
//!
//! From the outside in: `access` says who asks and refuses what pages of other sites send; `visit` asks operations;
//! `screens` write pages, of `parts`, `controls` and `plot`s, within the frame of `page`; `act` does what a form asks for, which
//! `command` can also say as a request and `command_line` as a command of ours, and `run_many` runs several schedules;
//! `cookies` are what browsers keep; `feed` notices that something has changed, and `events` tell browsers.

mod access;
mod act;
mod assets;
mod command;
mod command_line;
mod controls;
mod cookies;
mod events;
mod feed;
mod form;
mod json;
mod outcome;
mod page;
mod parts;
mod plot;
mod run_many;
mod screens;
mod session;
mod shell;
mod state;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::api::http::Http;
use crate::config::http::DashboardConfig;
use state::Dashboard;

/// The pages of the dashboard, over the operations of `http`.
pub(crate) fn pages(http: &Arc<Http>, config: DashboardConfig) -> Router<Arc<Http>> {
    let dashboard = Arc::new(Dashboard::new(Arc::clone(http), config));
    Router::new()
        .route("/", get(screens::now))
        .route("/schedules", get(screens::schedules))
        .route("/schedules/new", get(screens::new_schedule))
        .route("/schedules/{schedule_id}", get(screens::schedule))
        .route("/schedules/{schedule_id}/edit", get(screens::edit))
        .route("/schedules/{schedule_id}/why", get(screens::why))
        .route("/executions", get(screens::executions))
        .route("/executions/{execution_id}", get(screens::execution))
        .route("/failures", get(screens::failures))
        .route("/reruns", get(screens::reruns))
        .route("/reruns/{rerun_id}", get(screens::rerun))
        .route("/upcoming", get(screens::upcoming))
        .route("/calendars", get(screens::calendars))
        .route("/groups", get(screens::groups))
        .route("/changes", get(screens::changes))
        .route("/system", get(screens::system))
        .route("/act/{operation}", get(access::only_forms).post(act::act))
        .route("/command/{operation}", get(access::only_forms).post(act::command))
        .route("/run", get(access::only_forms).post(run_many::run_many))
        .route("/command/run", get(access::only_forms).post(run_many::commands))
        .route("/sign-in", get(access::sign_in_page).post(access::sign_in))
        .route("/sign-out", get(access::only_forms).post(access::sign_out))
        .route("/name", get(access::only_forms).post(access::name))
        .route("/events", get(events::events))
        .route("/assets/{hash}/{file}", get(assets::asset))
        .route("/{*page}", any(access::no_page))
        .with_state(dashboard)
}
