//! Claims: conditional writes of records, which take the place of locks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::declare::{Buckets, Histograms, family, metric};
use crate::every::every;

const HOLD_SECONDS: Buckets = Buckets(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
]);

/// Purpose of a conditional write of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The right to make an attempt.
    Claim,
    /// The right to make an attempt that another instance, or this one earlier, had claimed.
    Takeover,
    /// The name of a schedule.
    Name,
}

impl Lock {
    const ALL: [Self; 3] = every!(Lock: Claim, Takeover, Name);

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Takeover => "takeover",
            Self::Name => "name",
        }
    }
}

/// Why a claim was not obtained, or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockFailure {
    /// Another write came first.
    Conflict,
    /// NATS did not answer, or refused.
    Unavailable,
    /// It was obtained, but was too old to be trusted by the time of its use.
    Expired,
}

impl LockFailure {
    const ALL: [Self; 3] = every!(LockFailure: Conflict, Unavailable, Expired);

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Expired => "expired",
        }
    }
}

pub(super) struct Claims {
    acquired: Family<ByLock, Counter>,
    failed: Family<Failed, Counter>,
    hold_seconds: Histograms<ByLock>,
    conflicts: Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLock {
    lock_type: Lock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    lock_type: Lock,
    reason: LockFailure,
}

impl Claims {
    pub(super) fn new(to: &mut Registry) -> Self {
        let locks = Lock::ALL.map(|lock_type| ByLock { lock_type });
        let failures = Lock::ALL
            .into_iter()
            .flat_map(|lock_type| LockFailure::ALL.map(|reason| Failed { lock_type, reason }));
        Self {
            acquired: family(
                to,
                "distributed_locks_acquired",
                "Claims that were accepted",
                Family::default(),
                locks,
            ),
            failed: family(
                to,
                "distributed_locks_failed",
                "Claims that were not had, or not kept",
                Family::default(),
                failures,
            ),
            hold_seconds: family(
                to,
                "distributed_lock_hold_duration_seconds",
                "How long claims were held",
                HOLD_SECONDS.histograms(),
                locks,
            ),
            conflicts: metric(
                to,
                "scheduler_claim_conflicts",
                "Claims of attempts that lost against another write",
                Counter::default(),
            ),
        }
    }
}

impl Metrics {
    /// Counts an accepted claim.
    pub fn claimed(&self, lock: Lock) {
        self.claims.acquired.get_or_create(&ByLock { lock_type: lock }).inc();
    }

    /// Counts a claim that was not obtained, or not kept.
    pub fn claim_failed(&self, lock: Lock, reason: LockFailure) {
        self.claims.failed.get_or_create(&Failed { lock_type: lock, reason }).inc();
        if reason == LockFailure::Conflict && lock != Lock::Name {
            self.claims.conflicts.inc();
        }
    }

    /// Records how long a claim was held, once it no longer is.
    pub fn claim_held(&self, lock: Lock, held: Duration) {
        let labels = ByLock { lock_type: lock };
        self.claims.hold_seconds.get_or_create(&labels).observe(held.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::now;
    use super::*;

    #[test]
    fn lost_claims_are_conflicts_and_lost_names_are_not() {
        let metrics = Metrics::new();
        metrics.claim_failed(Lock::Claim, LockFailure::Conflict);
        metrics.claim_failed(Lock::Takeover, LockFailure::Conflict);
        metrics.claim_failed(Lock::Name, LockFailure::Conflict);
        metrics.claim_failed(Lock::Claim, LockFailure::Unavailable);
        metrics.claimed(Lock::Claim);
        metrics.claim_held(Lock::Claim, Duration::from_millis(20));
        for sample in [
            r#"distributed_locks_failed_total{lock_type="name",reason="conflict"}"#,
            r#"distributed_locks_failed_total{lock_type="claim",reason="unavailable"}"#,
            r#"distributed_locks_acquired_total{lock_type="claim"}"#,
            r#"distributed_lock_hold_duration_seconds_count{lock_type="claim"}"#,
        ] {
            assert_eq!(now(&metrics, sample), Some(1.0), "{sample}");
        }
        assert_eq!(now(&metrics, "scheduler_claim_conflicts_total"), Some(2.0));
    }
}
