//! How a schedule stands: how its latest runs ended, and whether it is failing or overdue.
//!
//! A schedule *is failing* and *is overdue* from the event that says so until the event that says that it has recovered.
//! Both lie in its record, and change by the write that adds the event. So each change of state is announced once, by
//! whichever instance it is noticed, and a listener that remembers nothing can pass the events on.

use std::num::NonZeroU32;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use super::{Ending, Schedule, write_instant};
use crate::moment::Moment as _;
use crate::stored::{Unknown, keeps_unknown};

/// How the latest runs of a schedule ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Standing {
    /// How the latest run ended: after its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<Ending>,
    /// Whether the only occurrence of a schedule that does not recur succeeded, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_succeeded: Option<bool>,
    /// When a run last succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_instant")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// What was announced of it, and what is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Box<Alerts>>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// What was announced of a schedule that does not run as it should.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Alerts {
    /// Since when it is failing, if that was announced and it has not recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<DateTime<Utc>>,
    /// Since when it is overdue, if that was announced and it has not recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_since: Option<DateTime<Utc>>,
    /// When a success was first expected of it, or again: it was resumed, restored, or switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_since: Option<DateTime<Utc>>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Standing, Alerts);

impl Standing {
    /// Changes each instant.
    pub(crate) fn each_instant(&mut self, mut change: impl FnMut(&mut DateTime<Utc>)) {
        self.last_success_at.iter_mut().for_each(&mut change);
        if let Some(alerts) = &mut self.alerts {
            let Alerts { failing_since, overdue_since, expected_since, .. } = &mut **alerts;
            [failing_since, overdue_since, expected_since].into_iter().flatten().for_each(change);
        }
    }
}

impl Schedule {
    /// How its latest run ended.
    pub fn last_outcome(&self) -> Option<Ending> {
        self.standing.as_ref()?.last_outcome
    }

    /// When a run of it last succeeded.
    pub fn last_success_at(&self) -> Option<DateTime<Utc>> {
        self.standing.as_ref()?.last_success_at
    }

    /// Since when it is failing, if it is.
    pub fn failing_since(&self) -> Option<DateTime<Utc>> {
        self.alerts()?.failing_since
    }

    /// Since when it is overdue, if it is: never while nothing is expected of it.
    pub fn overdue_since(&self) -> Option<DateTime<Utc>> {
        self.alerts()?.overdue_since.filter(|_| self.expects_success())
    }

    /// What was announced of it.
    pub(crate) fn alerts(&self) -> Option<&Alerts> {
        self.standing.as_ref()?.alerts.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn alerts_mut(&mut self) -> &mut Alerts {
        self.standing.get_or_insert_default().alerts.get_or_insert_default()
    }

    /// Whether a success is expected of it: only while its occurrences are acted on.
    pub fn expects_success(&self) -> bool {
        self.within().is_some()
    }

    /// By when a success is expected of it. Counts from the latest of these: its creation, when it was last resumed,
    /// restored or switched on, when the expectation was set, when it begins, and its last success.
    pub fn success_expected_by(&self) -> Option<DateTime<Utc>> {
        let within = self.within()?;
        let timing = &self.spec.timing;
        let expected_since = self.alerts().and_then(|alerts| alerts.expected_since);
        let begins = [timing.start_at, timing.scheduled_at];
        let since = begins.into_iter().chain([expected_since, self.last_success_at()]).flatten();
        let since = since.fold(self.created_at, DateTime::max);
        Some(since.later(Duration::seconds(i64::from(within.get()))))
    }

    /// Notes that nothing was expected before a time, if a success is expected now.
    pub(crate) fn expect_from(&mut self, at: DateTime<Utc>) {
        if self.expects_success() {
            self.alerts_mut().expected_since = Some(at);
        }
    }

    fn within(&self) -> Option<NonZeroU32> {
        self.spec.expect_success_within_seconds.filter(|_| self.fires())
    }
}
