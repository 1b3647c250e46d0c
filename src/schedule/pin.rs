//! Pins: what a claimed attempt sends, whatever happens to the schedule meanwhile.
//!
//! An attempt sends what the schedule said when the attempt was claimed. Nothing is stored for that as long
//! as the schedule still says it. A write that changes it first copies the old values into the claimed
//! attempts ([`Schedule::pin`]), so an instance that takes one over sends the same command to the same place,
//! and looks for it there. A retry is a new attempt, and sends what the schedule says by then.
//!
//! Attempts that were claimed under the same payload share one copy: the stored record has it at the first of
//! them, and the others name that one ([`attempts`]).
//!
//! Versions that do not know pins keep them, and send what the schedule says, as they always did. That is no
//! reason to make them leave the record alone: it could then rest for as long as only such versions run.

use chrono_tz::Tz;

use super::{Attempt, Delivery, Payload, Phase, Pinned, Schedule, Target};
use crate::stored::Kept;
use crate::trace_context::TraceContext;

/// Stores the attempts of a record with each pinned payload once.
pub(super) mod attempts {
    use serde::ser::SerializeSeq as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use uuid::Uuid;

    use super::{Attempt, Payload};
    use crate::stored::Few;

    fn payload(attempt: &Attempt) -> Option<&Payload> {
        attempt.pinned.as_ref()?.command_payload.as_ref()
    }

    pub(in crate::schedule) fn serialize<S: Serializer>(
        attempts: &[Attempt],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if attempts.iter().filter_map(payload).nth(1).is_none() {
            return attempts.serialize(to);
        }
        let mut stored: Vec<(&Payload, Uuid)> = Vec::new();
        let mut list = to.serialize_seq(Some(attempts.len()))?;
        for attempt in attempts {
            let own = payload(attempt);
            let first = stored.iter().find(|(known, _)| Some(*known) == own);
            match (own, first) {
                (Some(_), Some((_, first))) => {
                    let mut lesser = attempt.clone();
                    if let Some(pinned) = &mut lesser.pinned {
                        (pinned.command_payload, pinned.payload_of) = (None, Some(*first));
                    }
                    list.serialize_element(&lesser)?;
                }
                (own, _) => {
                    stored.extend(own.map(|own| (own, attempt.execution_id)));
                    list.serialize_element(attempt)?;
                }
            }
        }
        list.end()
    }

    pub(in crate::schedule) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Few<Attempt>, D::Error> {
        let mut attempts = Vec::<Attempt>::deserialize(from)?;
        for at in 0..attempts.len() {
            let of = attempts[at].pinned.as_mut().and_then(|pinned| pinned.payload_of.take());
            let Some(of) = of else { continue };
            let first = attempts.iter().find(|attempt| attempt.execution_id == of);
            let kept = first.and_then(payload).cloned();
            if let Some(pinned) = &mut attempts[at].pinned
                && pinned.command_payload.is_none()
            {
                // A version that does not know the reference may have dropped the attempt that held the
                // payload.
                pinned.other_payload |= kept.is_none();
                pinned.command_payload = kept;
            }
        }
        Ok(attempts.into())
    }
}

/// The command that an attempt sends, its target, and how.
#[derive(Clone, Copy, Debug)]
pub struct Sends<'a> {
    /// The schedule's name.
    pub name: &'a str,
    /// Target of the command.
    pub target: &'a Target,
    /// How the command is sent.
    pub delivery: &'a Delivery,
    /// Body of the command, before placeholders are replaced.
    pub payload: &'a Payload,
    /// Whether `payload` is the body that was sent. Otherwise only the history knows it.
    pub is_payload_known: bool,
    /// Whether the body has placeholders.
    pub is_template: bool,
    /// Time zone of the placeholders.
    pub zone: Tz,
    /// Maximum delay from the nominal time of an occurrence until it is due.
    pub jitter_seconds: u32,
    /// The trace of the request behind the schedule.
    pub trace: Option<TraceContext>,
}

/// What an update adds to a record for the attempts that are about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pins {
    /// Nothing.
    None,
    /// Short fields.
    Fields,
    /// A payload.
    Payload,
}

impl Schedule {
    /// What an attempt sends: what the schedule says, or said when the attempt was claimed.
    pub fn sends<'a>(&'a self, attempt: &'a Attempt) -> Sends<'a> {
        let (spec, pinned) = (&*self.spec, attempt.pinned.as_deref());
        let own = attempt.manual.as_ref().and_then(|manual| manual.payload.as_ref());
        let kept = own.or_else(|| pinned?.command_payload.as_ref());
        Sends {
            name: pinned.and_then(|pinned| pinned.name.as_deref()).unwrap_or(&spec.name),
            target: pinned
                .and_then(|pinned| pinned.target_command.as_ref())
                .unwrap_or(&spec.target_command),
            delivery: pinned.and_then(|pinned| pinned.delivery.as_ref()).unwrap_or(&spec.delivery),
            payload: kept.unwrap_or(&spec.command_payload),
            is_payload_known: kept.is_some() || !pinned.is_some_and(|pinned| pinned.other_payload),
            is_template: pinned
                .and_then(|pinned| pinned.payload_template)
                .unwrap_or(spec.payload_template),
            zone: pinned.and_then(|pinned| pinned.timezone).unwrap_or(spec.timing.timezone),
            jitter_seconds: pinned
                .and_then(|pinned| pinned.jitter_seconds)
                .unwrap_or(spec.timing.jitter_seconds),
            trace: pinned
                .and_then(|pinned| pinned.trace)
                .unwrap_or_else(|| self.trace.as_deref().copied()),
        }
    }

    /// Makes the attempts that are claimed, or with a worker, send what `old`, which this replaces, said.
    /// Returns what that adds to the record.
    pub fn pin(&mut self, old: &Self) -> Pins {
        let changed = Pinned::changed(old, self);
        let mut pins = Pins::None;
        if changed == Pinned::default() {
            return pins;
        }
        for attempt in &mut self.attempts {
            let is_claimed = matches!(*attempt.phase, Phase::Claimed { .. });
            let was_sent = matches!(*attempt.phase, Phase::Running { .. } | Phase::Reported { .. });
            if is_claimed || was_sent {
                let own = attempt.manual.as_ref().is_some_and(|manual| manual.payload.is_some());
                let pinned = attempt.pinned.get_or_insert_default();
                pins = pins.max(pinned.fill(&changed, is_claimed && !own));
            }
        }
        pins
    }
}

impl Attempt {
    /// Drops the payload: the command is with a worker and in the history, so it is not needed here any more.
    pub fn unpin_payload(&mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.other_payload |= pinned.command_payload.take().is_some();
        }
    }
}

impl Pinned {
    /// What `old` says and `new` does not.
    fn changed(old: &Schedule, new: &Schedule) -> Self {
        let (before, after) = (&*old.spec, &*new.spec);
        let (zone, jitter) = (before.timing.timezone, before.timing.jitter_seconds);
        Self {
            name: (before.name != after.name).then(|| before.name.to_string()),
            target_command: (before.target_command != after.target_command)
                .then(|| before.target_command.clone()),
            delivery: (before.delivery != after.delivery).then(|| Kept::clone(&before.delivery)),
            command_payload: (before.command_payload != after.command_payload)
                .then(|| before.command_payload.clone()),
            payload_template: (before.payload_template != after.payload_template)
                .then_some(before.payload_template),
            timezone: (zone != after.timing.timezone).then_some(zone),
            jitter_seconds: (jitter != after.timing.jitter_seconds).then_some(jitter),
            trace: (old.trace != new.trace).then(|| old.trace.as_deref().copied()),
            ..Self::default()
        }
    }

    /// Fills in the values that are still missing.
    fn fill(&mut self, changed: &Self, keeps_payload: bool) -> Pins {
        fn lack<T: Clone>(field: &mut Option<T>, value: &Option<T>) -> bool {
            let lacks = field.is_none() && value.is_some();
            if lacks {
                field.clone_from(value);
            }
            lacks
        }
        let mut adds = lack(&mut self.name, &changed.name);
        adds |= lack(&mut self.target_command, &changed.target_command);
        adds |= lack(&mut self.delivery, &changed.delivery);
        adds |= lack(&mut self.payload_template, &changed.payload_template);
        adds |= lack(&mut self.timezone, &changed.timezone);
        adds |= lack(&mut self.jitter_seconds, &changed.jitter_seconds);
        adds |= lack(&mut self.trace, &changed.trace);
        let known = self.command_payload.is_some() || self.other_payload;
        if changed.command_payload.is_some() && !known {
            if keeps_payload {
                self.command_payload.clone_from(&changed.command_payload);
                return Pins::Payload;
            }
            (self.other_payload, adds) = (true, true);
        }
        if adds { Pins::Fields } else { Pins::None }
    }
}
