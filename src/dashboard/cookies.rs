//! Cookies that browsers keep for us.

use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::Response;

use super::visit::{FORM, Visitor};

/// Seconds that a name and a form's cookie are kept: a year.
pub(super) const KEPT: i64 = 31_536_000;

/// Has the browser keep a cookie that it sends to us alone, and that no script reads.
pub(super) fn set_cookie(
    response: &mut Response,
    name: &str,
    value: &str,
    seconds: i64,
    is_secure: bool,
) {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Gives a browser that has none the cookie that its forms must match.
pub(super) fn set_form_cookie(visitor: &Visitor<'_>, response: &mut Response) {
    if visitor.is_new {
        set_cookie(response, FORM, &visitor.form_token, KEPT, visitor.is_secure());
    }
}
