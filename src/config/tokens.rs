//! Bearer tokens, and the role of each.
//!
//! Only hashes are kept. HTTP decides what a role may do.

use std::path::{Path, PathBuf};

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::content::{Digest, digest, digest_of};
use crate::every::every;

/// Role of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything.
    Full,
    /// May only read.
    Read,
    /// May send the reports of workers.
    Worker,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = every!(Role: Full, Read, Worker);

    /// Its name in the file of tokens and in the description of the facade.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
            Self::Worker => "worker",
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles(u8);

impl Roles {
    fn of(role: Role) -> Self {
        Self(match role {
            Role::Full => 1,
            Role::Read => 2,
            Role::Worker => 4,
        })
    }

    /// The roles in the set.
    pub(crate) fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & Self::of(*role).0 != 0)
    }
}

/// The accepted tokens, by their hashes. If there are none, everybody may do everything.
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
    read: Digest,
    known: Vec<Known>,
}

/// Shows no tokens: they are secrets.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

impl Tokens {
    /// Accepts a token.
    pub fn add(&mut self, token: &str, role: Role) {
        self.given.push(Known::new(token, role));
    }

    /// Also accepts the tokens of a file: one per line, after the name of its role.
    ///
    /// # Errors
    /// What is wrong with the file, without showing a token. A file without tokens is a fault.
    pub fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let content =
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let known = parse(&content).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let read = digest(&[content]);
        self.file = Some(File { path: path.to_owned(), read, known });
        Ok(())
    }

    /// The file that some of the tokens are from, and the digest of its content when it was first read.
    pub(crate) fn file(&self) -> Option<(&Path, Digest)> {
        self.file.as_ref().map(|file| (&*file.path, file.read))
    }

    /// The same tokens, with those of the file replaced by its new content.
    pub(crate) fn with_file(&self, content: &[u8]) -> Result<Self, String> {
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

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.known().count()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.known().next().is_none()
    }

    /// The hash of each token, which only who knows the token or its settings can make, and its role.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = (&[u8; 32], Role)> {
        self.known().map(|known| (&known.hash, known.role))
    }

    /// Roles of a token: one that is listed twice has both. Takes the same time whatever the token is.
    pub(crate) fn roles(&self, token: &[u8]) -> Roles {
        let hash = digest_of(token);
        let mut roles = 0_u8;
        for known in self.known() {
            let is_it = known.hash.ct_eq(&hash);
            roles |= u8::conditional_select(&0, &Roles::of(known.role).0, is_it);
        }
        Roles(roles)
    }
}

impl Known {
    fn new(token: &str, role: Role) -> Self {
        Self { hash: digest_of(token.as_bytes()), role }
    }
}

/// Parses the content of a token file.
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

    fn roles(tokens: &Tokens, token: &str) -> Vec<Role> {
        tokens.roles(token.as_bytes()).iter().collect()
    }

    #[test]
    fn a_token_that_is_listed_twice_is_for_both() {
        let mut tokens = Tokens::default();
        tokens.add("both", Role::Worker);
        tokens.add("one", Role::Full);
        tokens.add("both", Role::Read);
        assert_eq!(roles(&tokens, "both"), [Role::Read, Role::Worker]);
        assert_eq!(roles(&tokens, "one"), [Role::Full]);
        assert!(roles(&tokens, "bot").is_empty());
        assert_eq!(format!("{tokens:?}"), "Tokens(3)");
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# people\nfull one\n\n  read\ttwo  \r\nworker three").unwrap();
        let mut tokens = Tokens::default();
        tokens.add("given", Role::Full);
        tokens.add_file(&path).unwrap();
        for (token, role) in [
            ("given", Role::Full),
            ("one", Role::Full),
            ("two", Role::Read),
            ("three", Role::Worker),
        ] {
            assert_eq!(roles(&tokens, token), [role], "{token}");
        }
        let changed = tokens.with_file(b"full four\n").unwrap();
        for (token, is_known) in [("given", true), ("one", false), ("four", true)] {
            assert_eq!(!roles(&changed, token).is_empty(), is_known, "{token}");
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
