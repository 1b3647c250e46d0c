//! Warnings about schedules that are accepted, and that their users may not want.

use std::num::NonZeroU32;

use chrono::{SecondsFormat, TimeDelta};

use uuid::Uuid;

use super::super::Api;
use super::super::reply::Warning;
use crate::jetstream::deliver::KeptByStream;
use crate::port::Nats;
use crate::schedule::{Attempt, DeliveryMode, Schedule, SkipCause};

/// Coming occurrences of which the gaps are compared with what is expected.
const LOOKED_AT: u64 = 32;
/// Most schedules of a request that warnings are about.
const MAX_WARNINGS: usize = 100;

impl<N: Nats> Api<N> {
    /// Warning about a target that cannot work now. It is allowed, since a stream may be added or changed later.
    pub(crate) async fn target_warning(&self, schedule: &Schedule) -> Option<Warning> {
        let target = schedule.spec.target_command.as_str();
        let kept = self.sender.kept(target).await;
        let (code, message) = match (schedule.spec.delivery.mode, kept) {
            (DeliveryMode::Publish | DeliveryMode::Job, KeptByStream::No) => (
                "no_stream",
                format!(
                    "no stream captures {target}, so its executions will fail with no_stream: add \
                     the subject to a stream (nats stream add or edit), or use delivery mode \
                     request or core"
                ),
            ),
            (DeliveryMode::Request, KeptByStream::Yes) => (
                "captured",
                format!(
                    "a stream captures {target} and will answer each request before any worker, so \
                     its executions will fail with captured: use another subject, take this one \
                     out of the stream, or use delivery mode publish"
                ),
            ),
            _ => return None,
        };
        let (code, field) = (code.to_owned(), "target_command".to_owned());
        Some(Warning { code, field, message })
    }

    /// Warnings about when a schedule fires, and how long its workers may take.
    pub(super) fn timing_warnings(&self, schedule: &Schedule) -> impl Iterator<Item = Warning> {
        let too_soon = self.expects_too_soon(schedule);
        [nothing_open(schedule), too_soon, heartbeat_too_long(schedule)].into_iter().flatten()
    }

    /// A warning that a schedule will be overdue between two of its occurrences, if so.
    fn expects_too_soon(&self, schedule: &Schedule) -> Option<Warning> {
        let within = schedule.spec.expect_success_within_seconds.map(NonZeroU32::get)?;
        let coming = self.coming(schedule, schedule, LOOKED_AT)?;
        let gaps = coming.occurrences.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (gap, from) = gaps.max_by_key(|(gap, from)| (*gap, std::cmp::Reverse(*from)))?;
        // One day the second is due as late as its jitter allows, and the first at its nominal time.
        let gap = gap + TimeDelta::seconds(schedule.spec.timing.jitter_seconds.into());
        (gap > TimeDelta::seconds(within.into())).then(|| Warning {
            code: "expected_too_soon".to_owned(),
            field: "expect_success_within_seconds".to_owned(),
            message: format!(
                "after {} it does not fire for {} s, so it will be overdue: expect a success within more than that",
                from.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                gap.num_seconds()
            ),
        })
    }
}

/// A warning that the deadline of a job comes before its worker can count as lost, if so.
fn heartbeat_too_long(schedule: &Schedule) -> Option<Warning> {
    let delivery = &schedule.spec.delivery;
    let timeout = delivery.timeout_seconds;
    delivery.heartbeat_seconds.filter(|heartbeat| *heartbeat >= timeout).map(|heartbeat| Warning {
        code: "heartbeat_too_long".to_owned(),
        field: "delivery.heartbeat_seconds".to_owned(),
        message: format!(
            "a worker may be silent for {heartbeat} s, and must have reported after {timeout} s, so none is found lost \
             before its deadline: a silence of less than timeout_seconds is noticed"
        ),
    })
}

/// A warning that the only time of a schedule that was just resumed or switched on has passed meanwhile, if so. What is
/// skipped is still to be written to the history; its status says so once it is.
pub(super) fn time_over(schedule: &Schedule) -> Option<Warning> {
    let kind = schedule.spec.timing.schedule_type;
    let skipped = |attempt: &&Attempt| {
        attempt.phase.range().is_some_and(|range| range.cause == SkipCause::Paused)
    };
    let skipped = schedule.attempts.iter().find(skipped);
    let skipped = skipped.filter(|_| !kind.recurs() && schedule.next_run_at.is_none())?;
    Some(Warning {
        code: "time_over".to_owned(),
        field: "scheduled_at".to_owned(),
        message: format!(
            "its time, {}, passed while it was paused or switched off: it will not run and is marked failed; run it by hand, or \
             give it another time",
            skipped.scheduled_for.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        ),
    })
}

/// Warnings about some of many schedules.
#[derive(Default)]
pub(super) struct OfMany {
    warnings: Vec<Warning>,
    more: usize,
}

impl OfMany {
    pub(super) fn add(&mut self, schedule: Uuid, warning: Option<Warning>) {
        let Some(warning) = warning else { return };
        if self.warnings.len() == MAX_WARNINGS {
            self.more += 1;
            return;
        }
        let message = format!("schedule {schedule}: {}", warning.message);
        self.warnings.push(Warning { message, ..warning });
    }

    pub(super) fn told(mut self) -> Vec<Warning> {
        if self.more > 0
            && let Some(last) = self.warnings.last_mut()
        {
            last.message += &format!("; the same applies to {} more", self.more);
        }
        self.warnings
    }
}

/// A warning that the calendars of a schedule leave no time open, if so.
fn nothing_open(schedule: &Schedule) -> Option<Warning> {
    let is_shut = schedule.spec.timing.has_calendars() && schedule.next_run_at.is_none();
    is_shut.then(|| Warning {
        code: "nothing_open".to_owned(),
        field: "next_run_at".to_owned(),
        message: "its calendars leave no time open: it fires once one of them is changed"
            .to_owned(),
    })
}
