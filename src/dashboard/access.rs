//! Signing in and out, and refusing what pages of other sites send.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use maud::html;

use super::cookies::{KEPT, set_cookie};
use super::form::{Form, safe_path};
use super::page;
use super::parts::query_path;
use super::session;
use super::state::Dashboard;
use super::visit::{NAME, Refusal, SESSION, Visitor, is_name, is_secure, redirect};
use crate::api::error::{ApiError, Code};
use crate::api::http::{host, is_same_origin, no_route};
use crate::api::operations::Access;

/// Where the form to sign out is sent.
const SIGN_OUT: &str = "/sign-out";
/// Parameter that says that a form came too late.
const LOST: &str = "lost";
const WAS_LOST: &str =
    "You are no longer signed in, so what you sent was not done. Sign in, and send it again.";

/// Refuses what a page of another site sends. Browsers say of each request where it comes from; who is no browser sends
/// no cookie by itself.
pub(super) fn check_origin(parts: &Parts) -> Result<(), ApiError> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let is_ours = match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => is_same_origin(origin, host(&parts.uri, &parts.headers)),
        (None, None) => true,
    };
    let message = "a page of another site may not change anything here";
    if is_ours { Ok(()) } else { Err(ApiError::new(Code::Forbidden, message)) }
}

/// Refuses a form that does not come from one of our pages.
fn check_form(visitor: &Visitor<'_>, form: &Form) -> Result<(), ApiError> {
    check_origin(visitor.parts)?;
    if !visitor.is_new && session::is_same(form.control("_form"), &visitor.form_token) {
        return Ok(());
    }
    let message =
        "the form is too old, or does not come from here: go back, load the page again, and repeat";
    Err(ApiError::new(Code::Forbidden, message))
}

/// The page to sign in.
pub(super) async fn sign_in_page(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let next = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "next");
    let next = next.map_or_else(|| "/".to_owned(), |(_, next)| safe_path(&next).to_owned());
    let is_lost = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == LOST);
    match Visitor::of(&dashboard, &parts) {
        Ok(_) => redirect(&next),
        Err(Refusal::SignIn { .. }) => {
            asks_for_token(&next, is_lost.then_some((StatusCode::OK, WAS_LOST)))
        }
        Err(refusal) => refusal.bare(),
    }
}

/// Turns a token into a cookie.
pub(super) async fn sign_in(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (http, headers) = (&dashboard.http, &parts.headers);
    let checked = http.check_host(&parts.uri, headers).and_then(|()| check_origin(&parts));
    if let Err(error) = checked {
        return Refusal::Host(error).bare();
    }
    let form = match Form::read(http, body).await {
        Ok(form) => form,
        Err(error) => return asks_for_token("/", Some((StatusCode::BAD_REQUEST, &error.message))),
    };
    let (tokens, now, next) = (http.accepted(), http.now(), form.next());
    let token = form.control("_token").trim();
    let cookie = session::issue(&tokens, token.as_bytes(), now);
    let session = cookie.as_deref().and_then(|cookie| session::read(&tokens, cookie, now));
    let refused = match session {
        Some(session) if session.rights.permit(Access::Read) => None,
        Some(_) => Some("This token is a worker's: it may only report on jobs."),
        None => Some("This token is not known."),
    };
    if let Some(reason) = refused {
        return asks_for_token(next, Some((StatusCode::FORBIDDEN, reason)));
    }
    let is_secure = is_secure(&dashboard, headers);
    let mut response = redirect(next);
    set_cookie(&mut response, SESSION, &cookie.unwrap_or_default(), session::LIFETIME, is_secure);
    let name = form.control("_name");
    if is_name(name) {
        set_cookie(&mut response, NAME, &escaped(name.trim()), KEPT, is_secure);
    }
    response
}

/// Ends the session in this browser.
pub(super) async fn sign_out(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Response {
    with_form(&dashboard, request, async |visitor, _| {
        let mut response = redirect("/sign-in");
        set_cookie(&mut response, SESSION, "", 0, visitor.is_secure());
        Ok(response)
    })
    .await
}

/// Takes the name under which changes are made from now on.
pub(super) async fn name(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    with_form(&dashboard, request, async |visitor, form| {
        let mut response = redirect(form.next());
        let name = form.control("_name").trim();
        let (name, kept) = if is_name(name) { (name, KEPT) } else { ("", 0) };
        set_cookie(&mut response, NAME, &escaped(name), kept, visitor.is_secure());
        Ok(response)
    })
    .await
}

/// Tells whoever opens the address of a form that there is nothing to see: what was sent is not kept.
pub(super) async fn only_forms(
    State(dashboard): State<Arc<Dashboard>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    match Visitor::of(&dashboard, &parts) {
        Ok(visitor) => {
            let message = "This is the address of a form. Nothing was sent, and nothing was done.";
            let error = ApiError::new(Code::MethodNotAllowed, message);
            page::failure(&visitor, &error, None).await
        }
        Err(refusal) => refusal.page(),
    }
}

/// Answers a browser that asks for a page that is not there. Everybody else gets the API's error.
pub(super) async fn no_page(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let path = request.uri().path();
    if !is_browser || !request.method().is_safe() || path.starts_with("/api/") {
        return no_route(State(Arc::clone(&dashboard.http)), request).await;
    }
    let (parts, _) = request.into_parts();
    match Visitor::of(&dashboard, &parts) {
        Ok(visitor) => {
            let body = html! {
                h1 { "Not found" }
                p { "There is no page " code { (parts.uri.path()) } "." }
                p { a href="/" { "See what is due now" } }
            };
            page::with_status(&visitor, "Not found", StatusCode::NOT_FOUND, body).await
        }
        Err(refusal) => refusal.page(),
    }
}

/// Answers a form that comes from one of our pages, or says why not.
pub(super) async fn with_form(
    dashboard: &Arc<Dashboard>,
    request: Request,
    answer: impl AsyncFnOnce(&Visitor<'_>, Form) -> Result<Response, ApiError>,
) -> Response {
    let (parts, body) = request.into_parts();
    let visitor = match Visitor::of(dashboard, &parts) {
        Ok(visitor) => visitor,
        // A form cannot be asked for again: it leads to where one would have come.
        Err(Refusal::SignIn { .. }) if parts.uri.path() != SIGN_OUT => {
            let form = Form::read(&dashboard.http, body).await.unwrap_or_default();
            let sign_in = query_path("/sign-in", "next", form.next());
            return redirect(&format!("{sign_in}&{LOST}=true"));
        }
        Err(Refusal::SignIn { .. }) => return redirect("/sign-in"),
        Err(refusal) => return refusal.page(),
    };
    let answered = async {
        let form = Form::read(&dashboard.http, body).await?;
        check_form(&visitor, &form)?;
        answer(&visitor, form).await
    };
    match answered.await {
        Ok(response) => response,
        Err(error) => page::failure(&visitor, &error, None).await,
    }
}

fn escaped(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

fn asks_for_token(next: &str, refused: Option<(StatusCode, &str)>) -> Response {
    let body = html! {
        main.narrow {
            h1 { "nats-scheduler" }
            @if let Some((_, reason)) = refused {
                p.box.bad role="alert" { (reason) }
            }
            form method="post" action="/sign-in" {
                input type="hidden" name="_next" value=(next);
                label {
                    "Token"
                    input type="password" name="_token" required autofocus autocomplete="current-password";
                }
                label {
                    "Your name, for the record of changes (optional)"
                    input type="text" name="_name" maxlength="255" autocomplete="username";
                }
                button.primary type="submit" { "Sign in" }
            }
            p.dim { "The tokens are those of the API. With a token for reading you see everything and change nothing." }
        }
    };
    let status = refused.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = page::document("Sign in", body, status);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        let check = |headers: &[(&str, &str)]| {
            let mut request = axum::http::Request::post("/act/schedule.pause");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check_origin(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        let host = ("host", "localhost:8008");
        assert!(check(&[host]), "no browser");
        assert!(check(&[host, ("origin", "http://localhost:8008")]));
        assert!(!check(&[host, ("origin", "http://localhost:3000")]), "another port");
        assert!(!check(&[host, ("origin", "null")]));
        assert!(check(&[
            host,
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://behind.proxy")
        ]));
        for site in ["same-site", "cross-site"] {
            assert!(!check(&[host, ("sec-fetch-site", site), ("origin", "http://localhost:8008")]));
        }
    }
}
