//! System: the instances, the streams, the clocks, the settings, and what is set aside.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{action, badge, count, millis, nothing, relative, rest, time};
use crate::dashboard::visit::Visitor;

/// Records that are listed.
const SET_ASIDE: usize = 100;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let reply = match visitor.read("status", json!({ "include_settings": true })).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, None).await,
    };
    let status = &reply["data"];
    let body = html! {
        h1 { "System" }
        section #state data-live {
            p.lead { (badge(status.text("status"))) " nats-scheduler " (status.text("version")) }
            (facts(visitor, status))
        }
        section #instances data-live { h2 { "Instances" } (instances(visitor, status)) }
        section #streams data-live { h2 { "Streams" } (streams(status)) }
        section #aside data-live { h2 { "Records that are not acted on" } (set_aside(status)) }
        section #pause { h2 { "All schedules" } (pause_all(visitor, status)) }
        section #settings { h2 { "Settings of this instance" } (settings(status)) }
    };
    page::show(visitor, "System", body).await
}

fn facts(visitor: &Visitor<'_>, status: &Value) -> Markup {
    html! {
        dl.facts {
            dt { "NATS" }
            dd {
                (status.text("nats_server")) " "
                @if status.is("nats_connected") {
                    (badge("ok")) " connected"
                } @else {
                    (badge("failed")) " not connected"
                }
            }
            dt { "Round trip" } dd { (millis(status.number("nats_round_trip_ms"))) }
            @if !status.text("jetstream_error").is_empty() {
                dt { "JetStream" } dd { (status.text("jetstream_error")) }
            }
            dt { "Clock of this host ahead of NATS" } dd { (millis(status.number("clock_offset_ms"))) }
            dt { "Changes not seen yet" }
            dd { (count(&status["watch_lag"])) }
            dt { "Longest overdue" } dd { (millis(status.number("timer_lag_ms"))) }
            dt { "This instance" }
            dd { code.id { (status.text("instance")) } ", since " (time(status.instant("started_at"))) }
            @for (word, count) in status["schedules"].as_object().into_iter().flatten() {
                dt { "Schedules " (word) } dd { (count) }
            }
            @if status["vanished"].is_object() {
                dt { "Schedules that vanished" }
                dd {
                    (status["vanished"].count("schedules")) " "
                    (relative(status["vanished"].instant("at"), visitor.now))
                }
            }
            @if status["left_to_newer"].count("count") > 0 {
                dt { "Left to a newer version" } dd { (status["left_to_newer"].count("count")) }
            }
        }
    }
}

fn instances(visitor: &Visitor<'_>, status: &Value) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            thead {
                tr {
                    th scope="col" { "Instance" } th scope="col" { "Version" } th scope="col" { "Started" }
                    th scope="col" { "Schedules" }
                    th scope="col" { "In flight" }
                }
            }
            tbody {
                @for one in status.items("members") {
                    tr {
                        th scope="row" {
                            code.id { (one.text("instance")) }
                            @if one["instance"] == status["instance"] { " (this one)" }
                        }
                        td { (one.text("version")) }
                        td { (relative(one.instant("started_at"), visitor.now)) }
                        td { (count(&one["schedules"])) }
                        td { (count(&one["in_flight"])) }
                    }
                }
            }
        } }
    }
}

fn streams(status: &Value) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            thead {
                tr {
                    th scope="col" { "Stream" } th scope="col" { "State" }
                    th scope="col" { "Differs from what is wanted" }
                    th scope="col" { "Writes" }
                }
            }
            tbody {
                @for one in status.items("streams") {
                    tr {
                        th scope="row" { code { (one.text("name")) } }
                        td {
                            @match one["exists"].as_bool() {
                                Some(true) => (badge("ok")),
                                Some(false) => { (badge("failed")) " missing" },
                                None => span.dim { "not known" },
                            }
                        }
                        td { @for drift in one.items("drift") { div { (drift.as_str().unwrap_or_default()) } } }
                        td { @if one.text("write_error").is_empty() { "ok" } @else { (one.text("write_error")) } }
                    }
                }
            }
        } }
    }
}

fn set_aside(status: &Value) -> Markup {
    let all = status.items("set_aside");
    html! {
        @if all.is_empty() { p.dim { "None." } } @else {
            div.scroll tabindex="0" { table {
                thead { tr { th scope="col" { "Key" } th scope="col" { "Revision" } th scope="col" { "Why" } } }
                tbody {
                    @for one in all.iter().take(SET_ASIDE) {
                        tr {
                            th scope="row" { code { bdi { (one.text("key")) } } }
                            td { (one.count("revision")) }
                            td { bdi { (one.text("reason")) } }
                        }
                    }
                }
            } }
            (rest(all.len(), SET_ASIDE))
        }
    }
}

fn settings(status: &Value) -> Markup {
    let (set, usual): (Vec<&Value>, Vec<&Value>) =
        status.items("settings").iter().partition(|one| one.is("is_set"));
    html! {
        @if set.is_empty() { (nothing("All have their defaults.")) } @else { (settings_table(&set)) }
        details #defaults {
            summary { (usual.len()) " have their defaults" }
            (settings_table(&usual))
        }
    }
}

fn settings_table(settings: &[&Value]) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } } }
            tbody {
                @for one in settings {
                    tr {
                        th scope="row" { code { (one.text("name")) } }
                        td {
                            @if one.is("is_secret") {
                                span.dim { @if one.is("is_set") { "set, and secret" } @else { "not set" } }
                            } @else if one["value"].is_string() {
                                code { bdi { (one.text("value")) } }
                            } @else {
                                span.dim { "none" }
                            }
                        }
                    }
                }
            }
        } }
    }
}

fn pause_all(visitor: &Visitor<'_>, status: &Value) -> Markup {
    let pause = &status["all_paused"];
    html! {
        @if pause.is("is_paused") {
            p { "Paused by " bdi { (pause.text("paused_by")) } " " (relative(pause.instant("since"), visitor.now))
                @if !pause.text("reason").is_empty() { ": " bdi { (pause.text("reason")) } }
                @if pause["resume_at"].is_string() { "; resumed by itself at " (time(pause.instant("resume_at"))) } }
            (action(visitor, "schedule.resume_all", "/system", html! {
                button.primary type="submit" { "Lift the pause" }
            }))
        } @else {
            p {
                "Nothing is paused as a whole. Such a pause holds every schedule of every creator, "
                "and those created meanwhile."
            }
            @if visitor.may_act() {
                details {
                    summary { "Pause all schedules" }
                    (action(visitor, "schedule.pause_all", "/system", html! {
                        label { "Reason" input type="text" name="reason" maxlength="500"; }
                        label {
                            "Until (UTC; empty: until it is lifted)"
                            input type="datetime-local" name="resume_at" step="any";
                        }
                        button.danger type="submit" { "Pause all schedules" }
                    }))
                }
            }
        }
    }
}
