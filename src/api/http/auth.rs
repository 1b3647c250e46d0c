//! Authorization: what each role of a token may do.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::super::operations::Access;
use crate::config::tokens::{Role, Tokens};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights(u8);

impl Rights {
    /// Everything: where there are no tokens.
    pub(crate) const ALL: Self = Self(READ | REPORT | right(Access::Write));

    /// Those of a token with these roles, together.
    pub(crate) fn of(roles: impl Iterator<Item = Role>) -> Self {
        Self(roles.fold(0, |rights, role| rights | role.rights()))
    }

    /// Whether they permit what needs `access`.
    pub(crate) fn permit(self, access: Access) -> bool {
        self.0 & right(access) != 0
    }

    /// The message of a refusal under these rights.
    pub(crate) fn refusal(self) -> &'static str {
        match self.0 {
            READ => "the token is for reading only",
            REPORT => {
                "the token is a worker's: it may only report, with heartbeat, complete and fail of an \
                 execution"
            }
            _ => "the token is for reading and for the reports of workers only",
        }
    }
}

impl Role {
    /// Whether this role may do what needs `access`.
    pub(super) fn may(self, access: Access) -> bool {
        self.rights() & right(access) != 0
    }

    fn rights(self) -> u8 {
        match self {
            Self::Full => right(Access::Read) | right(Access::Report) | right(Access::Write),
            Self::Read => right(Access::Read),
            Self::Worker => right(Access::Report),
        }
    }
}

/// A bit for each access.
const fn right(access: Access) -> u8 {
    match access {
        Access::Read => 1,
        Access::Report => 2,
        Access::Write => 4,
    }
}

const READ: u8 = right(Access::Read);
const REPORT: u8 = right(Access::Report);

/// Result of authorizing a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// The request may proceed.
    Granted,
    /// The request shows no known token.
    Unknown,
    /// The token is for something else, which this names.
    Refused(&'static str),
}

impl Tokens {
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
        let rights = Rights::of(self.roles(token.trim_ascii()).iter());
        match rights {
            Rights(0) => Grant::Unknown,
            _ if rights.permit(access) => Grant::Granted,
            _ => Grant::Refused(rights.refusal()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(tokens: &Tokens, header: &str, access: Access) -> Grant {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        tokens.grant(&headers, access)
    }

    #[test]
    fn tokens_grant_what_they_were_given_for() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.grant(&HeaderMap::new(), Access::Write), Grant::Granted, "no tokens");
        tokens.add("reader", Role::Read);
        tokens.add("worker", Role::Worker);
        tokens.add("writer", Role::Full);
        tokens.add("both", Role::Worker);
        tokens.add("both", Role::Read);
        for (header, may) in [
            ("Bearer writer", "read report write"),
            ("bearer writer", "read report write"),
            ("Bearer both", "read report"),
            ("Bearer reader", "read"),
            ("Bearer worker", "report"),
        ] {
            for (access, word) in
                [(Access::Read, "read"), (Access::Report, "report"), (Access::Write, "write")]
            {
                let grant = ask(&tokens, header, access);
                assert_eq!(grant == Grant::Granted, may.contains(word), "{header} {word}");
                assert_ne!(grant, Grant::Unknown, "{header}");
            }
        }
        for header in ["Bearer reade", "Bearer ", "Basic writer", "writer"] {
            assert_eq!(ask(&tokens, header, Access::Read), Grant::Unknown, "{header}");
        }
        assert_eq!(tokens.grant(&HeaderMap::new(), Access::Read), Grant::Unknown);
        assert!(!format!("{tokens:?}").contains("writer"));
    }
}
