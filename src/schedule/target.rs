//! Target commands: the subjects that schedules may send to.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names;

/// A subject that a schedule may send to: `cmd.` and one or more further tokens of
/// `a-z 0-9 _ -`, outside `cmd.scheduler`, at most 255 characters, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Target(Arc<str>);

impl Target {
    /// Checks a subject; the error is the reason for refusing it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > 255 {
            return Err("must have 1 to 255 characters");
        }
        if text.contains(['*', '>']) {
            return Err("must not contain a wildcard");
        }
        let Some(rest) = text.strip_prefix("cmd.") else {
            return Err("must start with \"cmd.\", such as cmd.notification.send");
        };
        let token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        };
        if !rest.split('.').all(token) {
            return Err("must be tokens of a-z 0-9 _ - separated by single dots");
        }
        if rest == "scheduler" || rest.starts_with("scheduler.") {
            return Err("must not be a command of the scheduler itself");
        }
        Ok(Self(text.into()))
    }

    /// The subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text of the subject.
    pub(crate) fn text(&mut self) -> &mut Arc<str> {
        &mut self.0
    }
}

/// One entry of the allow-list: a subject, with NATS wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPattern(String);

impl TargetPattern {
    /// Checks a pattern; the error is the reason for refusing it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let tokens: Vec<&str> = text.split('.').collect();
        if tokens.first() != Some(&"cmd") || tokens.len() < 2 {
            return Err("must start with \"cmd.\"");
        }
        for (index, token) in tokens.iter().enumerate() {
            let last = index + 1 == tokens.len();
            match *token {
                "" => return Err("must not have empty tokens"),
                ">" if last => {}
                "*" => {}
                token if token.contains(['*', '>', ' ']) => {
                    return Err("wildcards stand alone: `*` for one token, `>` only at the end");
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Whether the pattern allows a target.
    pub fn allows(&self, target: &Target) -> bool {
        names::covers(&self.0, target.as_str())
    }

    /// Whether any of the patterns of an allow-list allows a target.
    pub fn any_allows(patterns: &[Self], target: &Target) -> bool {
        patterns.iter().any(|pattern| pattern.allows(target))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_plain_commands_outside_the_scheduler() {
        for good in ["cmd.a", "cmd.notification.send-email", "cmd.scheduler2.x", "cmd.a_1.b.c"] {
            assert!(Target::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "cmd",
            "cmd.",
            "cmd..a",
            "cmd.a.",
            "cmd.A",
            "evt.a",
            "cmd.*",
            "cmd.>",
            "cmd.a b",
            "cmd.scheduler",
            "cmd.scheduler.execute",
            "$JS.API.INFO",
            "cmd.é",
            "cmd.a\r\nPUB x",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_follow_nats_wildcards() {
        let target = Target::parse("cmd.notification.send.email").unwrap();
        for (pattern, allowed) in [
            ("cmd.>", true),
            ("cmd.notification.>", true),
            ("cmd.*.send.*", true),
            ("cmd.notification", false),
            ("cmd.analytics.>", false),
        ] {
            assert_eq!(
                TargetPattern::parse(pattern).unwrap().allows(&target),
                allowed,
                "{pattern}"
            );
        }
        for bad in ["", ">", "evt.>", "cmd.>.a", "cmd.a*", "cmd..a", "cmd"] {
            assert!(TargetPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
