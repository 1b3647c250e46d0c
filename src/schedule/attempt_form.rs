//! The stored form of an attempt: one flat object, the fields of its phase beside its own.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Attempt, Cancel, Guarded, Manual, Phase, Pinned, Report, SkipCause, SkippedRange};
use crate::stored::{Capture, Unknown};

/// Names of the phases of an attempt.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "see Phase")]
pub enum PhaseName {
    Waiting,
    Claimed,
    Running,
    Reported,
    Corrected,
    Skipped,
}

/// All fields of all phases, read in one go. Reading the phase as an enumeration of its own would mean
/// buffering the whole object until its name is known, and losing unknown fields.
#[derive(Deserialize)]
struct Form {
    execution_id: Uuid,
    scheduled_for: DateTime<Utc>,
    number: u32,
    phase: PhaseName,
    due_at: Option<DateTime<Utc>>,
    by: Option<Uuid>,
    at: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    heartbeat_seconds: Option<u32>,
    heard_at: Option<DateTime<Utc>>,
    progress: Option<u8>,
    report: Option<Box<Report>>,
    cause: Option<SkipCause>,
    last: Option<DateTime<Utc>>,
    count: Option<u64>,
    manual: Option<Box<Manual>>,
    token: Option<String>,
    cancel: Option<Box<Cancel>>,
    pinned: Option<Box<Pinned>>,
}

impl Form {
    /// Returns the phase, or the name of the field that it lacks.
    fn phase(&mut self) -> Result<Phase, &'static str> {
        Ok(match self.phase {
            PhaseName::Waiting => Phase::Waiting { due_at: self.due_at.ok_or("due_at")? },
            PhaseName::Claimed => Phase::Claimed {
                by: self.by.ok_or("by")?,
                at: self.at.ok_or("at")?,
                until: self.until.ok_or("until")?,
            },
            PhaseName::Running => Phase::Running {
                since: self.since.ok_or("since")?,
                deadline: self.deadline.ok_or("deadline")?,
                heartbeat_seconds: self.heartbeat_seconds,
                heard_at: self.heard_at,
                progress: self.progress,
            },
            PhaseName::Reported => Phase::Reported {
                by: self.by.ok_or("by")?,
                since: self.since.ok_or("since")?,
                report: self.report.take().ok_or("report")?,
            },
            PhaseName::Corrected => {
                Phase::Corrected { by: self.by.ok_or("by")?, range: self.range()? }
            }
            PhaseName::Skipped => Phase::Skipped { by: self.by.ok_or("by")?, range: self.range()? },
        })
    }

    fn range(&self) -> Result<SkippedRange, &'static str> {
        Ok(SkippedRange {
            cause: self.cause.ok_or("cause")?,
            last: self.last.ok_or("last")?,
            count: self.count.ok_or("count")?,
        })
    }
}

impl<'de> Deserialize<'de> for Attempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unknown = Unknown::default();
        let mut form = Form::deserialize(Capture::new(deserializer, &mut unknown))?;
        let phase = form.phase().map_err(D::Error::missing_field)?;
        let Form { execution_id, scheduled_for, number, manual, token, cancel, pinned, .. } = form;
        Ok(Self {
            execution_id,
            scheduled_for,
            number,
            phase: Guarded::first(phase),
            manual,
            token,
            cancel,
            pinned,
            unknown,
        })
    }
}

impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Serializes field by field, so it needs no `Form`.
        struct Known<'a>(&'a Attempt);
        impl Serialize for Known<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Attempt::serialize(self.0, serializer)
            }
        }
        if self.unknown.is_empty() {
            return Self::serialize(self, serializer);
        }
        self.unknown.write_behind(&Known(self), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_read_back_as_written_in_every_phase() {
        let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let by = Uuid::from_u128(7);
        let range = SkippedRange { cause: SkipCause::Missed, last: at, count: 3 };
        let report = Box::new(Cancel::new("ops".into(), None).report(at));
        for phase in [
            Phase::Waiting { due_at: at },
            Phase::Claimed { by, at, until: at },
            Phase::Running {
                since: at,
                deadline: at,
                heartbeat_seconds: Some(3),
                heard_at: None,
                progress: Some(5),
            },
            Phase::Reported { by, since: at, report },
            Phase::Corrected { by, range },
            Phase::Skipped { by, range },
        ] {
            let attempt = Attempt::new(by, at, 1, phase);
            let json = serde_json::to_string(&attempt).unwrap();
            assert_eq!(serde_json::from_str::<Attempt>(&json).unwrap(), attempt, "{json}");
            let newer = json.replacen('{', r#"{"zone":{"a":1},"#, 1);
            let read: Attempt = serde_json::from_str(&newer).unwrap();
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(written, format!("{},\"zone\":{{\"a\":1}}}}", &json[..json.len() - 1]));
        }
    }

    #[test]
    fn a_phase_without_a_field_of_its_own_cannot_be_read() {
        let json = r#"{"execution_id":"00000000-0000-0000-0000-000000000001","scheduled_for":"2026-01-01T00:00:00Z","number":1,"phase":"waiting"}"#;
        let error = serde_json::from_str::<Attempt>(json).unwrap_err().to_string();
        assert!(error.contains("due_at"), "{error}");
    }
}
