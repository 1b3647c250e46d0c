//! Sessions: a token turned into a cookie that ends.
//!
//! The cookie holds when it ends, a number drawn at random, and a keyed hash of the two. The key is the hash of the
//! token, which every instance knows that accepts the token. So every instance accepts the cookie, none has to remember
//! it, taking the token away ends it, and who steals it has no token and has it only until it ends.
//!
//! The same key makes the session's form token, which a page of another site cannot know.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::api::http::Rights;
use crate::config::tokens::Tokens;

/// How long a session lasts, in seconds.
pub(super) const LIFETIME: i64 = 12 * 3600;

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// What the token permits.
    pub(super) rights: Rights,
    /// What each form of the session must show.
    pub(super) form_token: String,
}

/// The cookie for a token, if it is one of `tokens`.
pub(super) fn issue(tokens: &Tokens, token: &[u8], now: i64) -> Option<String> {
    let hash = crate::config::content::digest_of(token);
    let mut is_known = subtle::Choice::from(0);
    for (known, _) in tokens.hashes() {
        is_known |= known.ct_eq(&hash);
    }
    let ends = now.saturating_add(LIFETIME);
    let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let claim = format!("{ends}.{nonce}");
    let mac = mac(&hash, "session", &claim);
    bool::from(is_known).then(|| format!("{claim}.{mac}"))
}

/// The session of a cookie, if one of `tokens` made it and it has not ended. Takes the same time whichever did.
pub(super) fn read(tokens: &Tokens, cookie: &str, now: i64) -> Option<Session> {
    let (claim, shown) = cookie.rsplit_once('.')?;
    let ends: i64 = claim.split_once('.')?.0.parse().ok()?;
    let (mut roles, mut form_token) = (Vec::new(), None);
    for (hash, role) in tokens.hashes() {
        let expected = mac(hash, "session", claim);
        if bool::from(expected.as_bytes().ct_eq(shown.as_bytes())) {
            roles.push(role);
            form_token = Some(mac(hash, "form", claim));
        }
    }
    let rights = Rights::of(roles.into_iter());
    form_token.filter(|_| now < ends).map(|form_token| Session { rights, form_token })
}

/// Whether a form shows the token that it must.
pub(super) fn is_same(shown: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(shown.as_bytes().ct_eq(expected.as_bytes()))
}

fn mac(key: &[u8; 32], purpose: &str, claim: &str) -> String {
    // A key may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(b"nats-scheduler dashboard ");
    mac.update(purpose.as_bytes());
    mac.update(b" ");
    mac.update(claim.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::Access;
    use crate::config::tokens::Role;

    #[test]
    fn a_cookie_counts_until_it_ends_or_its_token_goes() {
        let mut tokens = Tokens::default();
        tokens.add("writer", Role::Full);
        tokens.add("reader", Role::Read);
        assert_eq!(issue(&tokens, b"stranger", 0), None);
        let cookie = issue(&tokens, b"reader", 1000).unwrap();
        assert!(!cookie.contains("reader"));
        let session = read(&tokens, &cookie, 1000 + LIFETIME - 1).unwrap();
        assert!(session.rights.permit(Access::Read) && !session.rights.permit(Access::Write));
        assert_eq!(read(&tokens, &cookie, 1000 + LIFETIME), None, "it has ended");
        // Every instance accepts it that knows the token, in whatever order.
        let mut others = Tokens::default();
        others.add("reader", Role::Read);
        assert_eq!(read(&others, &cookie, 1000), Some(session.clone()));
        let mut without = Tokens::default();
        without.add("writer", Role::Full);
        assert_eq!(read(&without, &cookie, 1000), None, "the token is gone");
        let other = issue(&tokens, b"reader", 1000).unwrap();
        let other = read(&tokens, &other, 1000).unwrap();
        assert_ne!(session.form_token, other.form_token, "each session has its own");
    }

    #[test]
    fn nobody_can_change_a_cookie() {
        let mut tokens = Tokens::default();
        tokens.add("reader", Role::Read);
        let cookie = issue(&tokens, b"reader", 0).unwrap();
        let (ends, rest) = cookie.split_once('.').unwrap();
        let (nonce, mac) = rest.split_once('.').unwrap();
        let longer: i64 = ends.parse::<i64>().unwrap() + 1;
        for forged in [
            format!("{longer}.{nonce}.{mac}"),
            format!("{ends}.x{nonce}.{mac}"),
            format!("{ends}.{nonce}.{}", &mac[1..]),
            format!("{ends}.{nonce}."),
            format!("{ends}.{nonce}"),
            "..".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&tokens, &forged, 0), None, "{forged}");
        }
        assert!(!is_same("", "") && is_same("a", "a") && !is_same("a", "b"));
    }
}
