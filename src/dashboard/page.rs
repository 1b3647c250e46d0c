//! The frame of all pages: head, navigation, how the service is, and what was just done.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};

use super::assets::path;
use super::cookies::set_form_cookie;
use super::json::Look as _;
use super::parts::{hidden, submit_form};
use super::visit::Visitor;
use crate::api::error::ApiError;
use crate::shown::safe;

/// Nothing but our own files is loaded, nothing inline runs, and nobody shows these pages inside theirs.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The screens in the navigation that people look at most.
const SCREENS: [(&str, &str); 5] = [
    ("/", "Now"),
    ("/schedules", "Schedules"),
    ("/executions", "Executions"),
    ("/failures", "Failures"),
    ("/upcoming", "Upcoming"),
];
/// The others, which open behind a word: a row of all would take two lines, and four on a phone.
const MORE: [(&str, &str); 6] = [
    ("/reruns", "Reruns"),
    ("/calendars", "Calendars"),
    ("/groups", "Groups"),
    ("/changes", "Changes"),
    ("/system", "System"),
    ("/docs", "API"),
];

/// What was done, in words, by the operation that did it.
const DONE: [(&str, &str); 18] = [
    ("schedule.create", "The schedule is created."),
    ("schedule.update", "The schedule is changed."),
    ("schedule.pause", "The schedule is paused."),
    ("schedule.resume", "The schedule is resumed."),
    ("schedule.delete", "The schedule is deleted."),
    ("schedule.restore", "The schedule is restored."),
    ("schedule.trigger", "The run is accepted."),
    ("schedule.pause_all", "All schedules are paused."),
    ("schedule.resume_all", "The pause of all schedules is lifted."),
    ("execution.cancel", "The execution is cancelled, or will be in a moment."),
    ("execution.retry", "The execution is run again: this is the new one."),
    ("bulk.retry", "The request is stored. It is carried out from now on, as there is room."),
    ("rerun.cancel", "The rerun is cancelled. What it has taken up goes on."),
    ("execute.immediate", "The command is sent."),
    ("calendar.put", "The calendar is as you said."),
    ("calendar.delete", "The calendar is deleted."),
    ("group.put", "The group is as you said."),
    ("group.delete", "The group is deleted."),
];

/// A page of the dashboard.
pub(super) async fn show(visitor: &Visitor<'_>, title: &str, body: Markup) -> Response {
    with_status(visitor, title, StatusCode::OK, body).await
}

/// The same with a status.
pub(super) async fn with_status(
    visitor: &Visitor<'_>,
    title: &str,
    status: StatusCode,
    body: Markup,
) -> Response {
    let health = visitor.read("status", json!({})).await;
    let done = visitor.query("done");
    let done = DONE.iter().find(|(operation, _)| done.as_deref() == Some(*operation));
    // What a form was answered with cannot be asked for again.
    let is_live = visitor.parts.method == Method::GET;
    let frame = html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            (navigation(visitor.parts.uri.path()))
            form.search role="search" action="/schedules" {
                label.unseen for="search" { "Search schedules by name" }
                input #search type="search" name="name_contains" placeholder="Search  /" maxlength="255";
            }
            button #clock.link type="button" hidden {}
            (account(visitor))
        }
        p #lost.box.bad hidden role="alert" {
            "The service does not answer. This page shows what was known at " span #lost-since {}
            "; it goes on by itself."
        }
        p #unread.box.warn hidden role="status" {
            "What cannot be read now stays as it was at " span #unread-since {} ": " span #unread-why {}
        }
        main #main tabindex="-1" {
            @if let Some((_, text)) = done { p.box.good role="status" { (text) } }
            div #health data-live[is_live] { (banner(&health)) }
            (body)
        }
        (help())
    };
    let mut response = document(title, frame, status);
    set_form_cookie(visitor, &mut response);
    let method = &visitor.parts.method;
    visitor.dashboard.http.count_page(method, "dashboard", status, visitor.started);
    response
}

/// A page that says why something was not done.
pub(super) async fn failure(
    visitor: &Visitor<'_>,
    error: &ApiError,
    back: Option<&str>,
) -> Response {
    let status =
        StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = html! {
        h1 { "Not done" }
        (refusal(error))
        p { a href=(back.unwrap_or("/")) { "Back" } }
    };
    with_status(visitor, "Not done", status, body).await
}

/// Why something was not done, or cannot be shown.
pub(super) fn refusal(error: &ApiError) -> Markup {
    html! {
        // The script keeps what a page shows if this would come in its place.
        div.box.bad role="alert" data-failed {
            @if error.details.len() > 1 {
                ul { @for fault in &error.details { li { code { (fault.field) } ": " (fault.reason) } } }
            } @else {
                p { (error.message) }
            }
        }
    }
}

/// A whole document.
pub(super) fn document(title: &str, body: Markup, status: StatusCode) -> Response {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (safe(title)) " · nats-scheduler" }
                link rel="stylesheet" href=(path("dashboard.css"));
                link rel="icon" href=(path("icon.svg"));
                script src=(path("dashboard.js")) defer {}
            }
            body { (body) }
        }
    };
    let mut response = Response::new(Body::from(text.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn navigation(here: &str) -> Markup {
    let is_here = |path: &str| if path == "/" { here == path } else { here.starts_with(path) };
    let links = |screens: &[(&str, &str)]| {
        html! {
            @for (path, name) in screens {
                li { a href=(path) aria-current=[is_here(path).then_some("page")] { (name) } }
            }
        }
    };
    let behind = MORE.iter().find(|(path, _)| is_here(path));
    html! {
        nav aria-label="Screens" {
            ul {
                (links(&SCREENS))
                li {
                    details #more.menu {
                        summary.here[behind.is_some()] { (behind.map_or("More", |(_, name)| name)) }
                        ul { (links(&MORE)) }
                    }
                }
            }
        }
    }
}

/// Who acts, and the way out.
fn account(visitor: &Visitor<'_>) -> Markup {
    let here = visitor.here();
    html! {
        details #account.menu {
            summary { @if visitor.may_act() { (visitor.actor) } @else { "reading only" } }
            div {
                @if visitor.may_act() {
                    (submit_form(visitor, "/name", &here, html! {
                        label {
                            "Changes are made in the name of"
                            input type="text" name="_name" value=(visitor.actor) maxlength="255";
                        }
                        button type="submit" { "Use this name" }
                    }))
                }
                @if !visitor.is_open {
                    form method="post" action="/sign-out" {
                        (hidden("_form", &visitor.form_token))
                        button type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

/// The banner above a page that says what is wrong with the service, if something is.
fn banner(health: &Result<Value, ApiError>) -> Markup {
    let status = match health {
        Ok(reply) => &reply["data"],
        Err(error) => return refusal(error),
    };
    let pause = &status["all_paused"];
    html! {
        @if !status.items("problems").is_empty() {
            div.box.bad role="alert" {
                p { strong { "Something is wrong." } " " a href="/system" { "System" } " has the details." }
                ul { @for problem in status.items("problems") { li { (problem.as_str().unwrap_or_default()) } } }
            }
        }
        @if pause.is("is_paused") {
            p.box.warn {
                strong { "All schedules are paused" } " by " bdi { (pause.text("paused_by")) }
                @if !pause.text("reason").is_empty() { ": " bdi { (pause.text("reason")) } }
                ". " a href="/system#pause" { "Lift the pause" }
            }
        }
    }
}

fn help() -> Markup {
    html! {
        dialog #help aria-label="Keys" {
            h2 { "Keys" }
            dl {
                dt { kbd { "/" } } dd { "search" }
                dt { kbd { "j" } " " kbd { "k" } } dd { "next, previous row" }
                dt { kbd { "Enter" } } dd { "open the row" }
                dt { kbd { "g" } " then " kbd { "n" } " " kbd { "s" } " " kbd { "f" } " " kbd { "u" } }
                dd { "Now, Schedules, Failures, Upcoming" }
                dt { kbd { "?" } } dd { "this list" }
            }
            form method="dialog" { button { "Close" } }
        }
        dialog #commands aria-label="The same as a command" {
            div #commands-body {} form method="dialog" { button { "Close" } }
        }
        noscript {
            p.dim.pad { "Without JavaScript the pages do not refresh by themselves; everything else works." }
        }
    }
}
