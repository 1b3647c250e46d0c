//! Who may do what: bearer tokens.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::super::operations::Access;

/// The tokens that are accepted, by their hashes. Without any, everybody may do everything.
#[derive(Clone, Default)]
pub struct Tokens(Vec<([u8; 32], Access)>);

/// They are secrets.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// What it asks for.
    Granted,
    /// Nothing: it shows no token that is known.
    Unknown,
    /// Only look.
    ReadOnly,
}

impl Tokens {
    /// Accepts a token.
    pub fn add(&mut self, token: &str, access: Access) {
        self.0.push((Sha256::digest(token.as_bytes()).into(), access));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request may do what needs `access`. Takes the same time whatever the token is.
    pub(super) fn grant(&self, headers: &HeaderMap, access: Access) -> Grant {
        if self.is_empty() {
            return Grant::Granted;
        }
        let shown =
            headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        let token = match shown {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
            _ => return Grant::Unknown,
        };
        let hash: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        // 0: unknown, 1: read, 2: write. Of a token that is listed twice, the most.
        let mut level = 0_u8;
        for (known, access) in &self.0 {
            let gives = match access {
                Access::Read => 1,
                Access::Write => 2,
            };
            level.conditional_assign(&gives.max(level), known.ct_eq(&hash));
        }
        match (level, access) {
            (0, _) => Grant::Unknown,
            (1, Access::Write) => Grant::ReadOnly,
            _ => Grant::Granted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_grant_what_they_were_given_for() {
        let mut tokens = Tokens::default();
        let ask = |tokens: &Tokens, header: &str, access| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, header.parse().unwrap());
            tokens.grant(&headers, access)
        };
        assert_eq!(tokens.grant(&HeaderMap::new(), Access::Write), Grant::Granted, "no tokens");
        tokens.add("reader", Access::Read);
        tokens.add("writer", Access::Write);
        tokens.add("both", Access::Write);
        tokens.add("both", Access::Read);
        for (header, read, write) in [
            ("Bearer writer", Grant::Granted, Grant::Granted),
            ("bearer writer", Grant::Granted, Grant::Granted),
            ("Bearer both", Grant::Granted, Grant::Granted),
            ("Bearer reader", Grant::Granted, Grant::ReadOnly),
            ("Bearer reade", Grant::Unknown, Grant::Unknown),
            ("Bearer ", Grant::Unknown, Grant::Unknown),
            ("Basic writer", Grant::Unknown, Grant::Unknown),
            ("writer", Grant::Unknown, Grant::Unknown),
        ] {
            assert_eq!(ask(&tokens, header, Access::Read), read, "{header}");
            assert_eq!(ask(&tokens, header, Access::Write), write, "{header}");
        }
        assert_eq!(tokens.grant(&HeaderMap::new(), Access::Read), Grant::Unknown);
        assert!(!format!("{tokens:?}").contains("writer"));
    }
}
