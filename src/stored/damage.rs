//! Why something stored cannot be read.

use serde_json::error::Category;

/// Why something stored cannot be read: somebody wrote it by hand, or it is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// For people, in words of ours.
    pub reason: String,
    /// What the library said that reads it, for the log.
    pub cause: Option<String>,
}

impl Damage {
    /// Logs that the value of a key cannot be read, and what follows from that.
    pub(crate) fn tell(&self, key: &str, revision: u64, follows: &str) {
        let Self { reason, cause } = self;
        tracing::error!(key, revision, reason, cause, "{follows}");
    }
}

impl From<serde_json::Error> for Damage {
    fn from(error: serde_json::Error) -> Self {
        Self { reason: place(&error), cause: Some(error.to_string()) }
    }
}

impl From<String> for Damage {
    fn from(reason: String) -> Self {
        Self { reason, cause: None }
    }
}

/// What is wrong with a text, and where.
pub(crate) fn place(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => "it is not complete".to_owned(),
        Category::Syntax | Category::Io => {
            format!("it is not JSON at line {line}, column {column}")
        }
        Category::Data => {
            format!(
                "it lacks a field, or has a value that cannot be, at line {line}, column {column}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct One {
        #[serde(rename = "n")]
        _n: u8,
    }

    #[test]
    fn the_library_speaks_to_the_log_only() {
        for (text, expected) in [
            ("{\"n\":", "it is not complete"),
            ("junk", "it is not JSON at line 1, column 1"),
            (
                "{\"n\":\"x\"}",
                "it lacks a field, or has a value that cannot be, at line 1, column 8",
            ),
            ("{}", "it lacks a field, or has a value that cannot be, at line 1, column 2"),
        ] {
            let error = serde_json::from_str::<One>(text).err().unwrap();
            let Damage { reason, cause } = error.into();
            assert_eq!(reason, expected, "{text}");
            assert!(cause.is_some_and(|cause| cause != reason), "{text}");
        }
    }
}
