//! Who may do what: bearer tokens.

use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::super::operations::Access;
use super::reread::{Digest as ContentDigest, digest};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Full,
    /// To look.
    Read,
    /// The reports of workers.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Read, Self::Worker];

    /// Its word, in the file of tokens and in the description of the facade.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
            Self::Worker => "worker",
        }
    }

    /// Whether it may do what needs `access`.
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

/// The tokens that are accepted, by their hashes. Without any, everybody may do everything.
#[derive(Clone, Default)]
pub struct Tokens {
    given: Vec<Known>,
    file: Option<File>,
}

#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    role: Role,
}

#[derive(Clone)]
struct File {
    path: PathBuf,
    read: ContentDigest,
    known: Vec<Known>,
}

/// They are secrets.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// What it asks for.
    Granted,
    /// Nothing: it shows no token that is known.
    Unknown,
    /// Something else; what, in words.
    Refused(&'static str),
}

impl Tokens {
    /// Accepts a token.
    pub fn add(&mut self, token: &str, role: Role) {
        self.given.push(Known::new(token, role));
    }

    /// Accepts those of a file too: one a line, after the word of its role.
    ///
    /// # Errors
    /// What is wrong with the file, which never shows a token. One without any token is wrong.
    pub fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let content =
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let known = parse(&content).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let read = digest(&[content]);
        self.file = Some(File { path: path.to_owned(), read, known });
        Ok(())
    }

    /// The file that some of them are from, and what it had when it was first read.
    pub(super) fn file(&self) -> Option<(&Path, ContentDigest)> {
        self.file.as_ref().map(|file| (&*file.path, file.read))
    }

    /// The same with what the file has now.
    pub(super) fn with_file(&self, content: &[u8]) -> Result<Self, String> {
        let mut tokens = self.clone();
        if let Some(file) = &mut tokens.file {
            file.known =
                parse(content).map_err(|reason| format!("{}: {reason}", file.path.display()))?;
        }
        Ok(tokens)
    }

    fn known(&self) -> impl Iterator<Item = &Known> {
        self.given.iter().chain(self.file.iter().flat_map(|file| &file.known))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known().next().is_none()
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
        // Of a token that is listed twice, both roles.
        let mut rights = 0_u8;
        for known in self.known() {
            rights |= u8::conditional_select(&0, &known.role.rights(), known.hash.ct_eq(&hash));
        }
        match rights {
            0 => Grant::Unknown,
            _ if rights & right(access) != 0 => Grant::Granted,
            READ => Grant::Refused("the token is for reading only"),
            REPORT => Grant::Refused(
                "the token is a worker's: it may only report, with heartbeat, complete and fail of an \
                 execution",
            ),
            _ => Grant::Refused("the token is for reading and for the reports of workers only"),
        }
    }
}

impl Known {
    fn new(token: &str, role: Role) -> Self {
        Self { hash: Sha256::digest(token.as_bytes()).into(), role }
    }
}

/// The tokens of a file.
fn parse(content: &[u8]) -> Result<Vec<Known>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "is not UTF-8".to_owned())?;
    let mut known = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, token) = line.split_once(char::is_whitespace).unwrap_or_default();
        let role = Role::ALL.into_iter().find(|role| role.word() == word);
        let role = role.ok_or_else(|| {
            format!("line {number} must be full, read or worker, a space, and a token")
        })?;
        known.push(Known::new(token.trim(), role));
    }
    if known.is_empty() { Err("has no token".to_owned()) } else { Ok(known) }
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

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# people\nfull one\n\n  read\ttwo  \r\nworker three").unwrap();
        let mut tokens = Tokens::default();
        tokens.add("given", Role::Full);
        tokens.add_file(&path).unwrap();
        for token in ["given", "one", "two", "three"] {
            assert_ne!(ask(&tokens, &format!("Bearer {token}"), Access::Read), Grant::Unknown);
        }
        let changed = tokens.with_file(b"full four\n").unwrap();
        for (token, is_known) in [("given", true), ("one", false), ("four", true)] {
            let grant = ask(&changed, &format!("Bearer {token}"), Access::Read);
            assert_eq!(grant == Grant::Granted, is_known, "{token}");
        }
        for (content, reason) in [
            (&b""[..], "has no token"),
            (b"# full one\n", "has no token"),
            (b"full one\nsecret\n", "line 2 must be"),
            (b"full one\nfull\n", "line 2 must be"),
            (b"admin secret\n", "line 1 must be"),
            (b"full \xff\n", "is not UTF-8"),
        ] {
            let error = tokens.with_file(content).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }
}
