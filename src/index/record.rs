//! Reading a stored record: one to act on, one for newer versions, or one that cannot be read.

use chrono::Datelike as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::schedule::{
    CatchUp, DeliveryMode, Ending, On, Overlap, PhaseName, Schedule, ScheduleType, Status, Target,
};
use crate::stored::damage::Damage;
use crate::stored::format;
use crate::trigger::{DstGap, DstOverlap, Trigger};

/// Years in which a next occurrence may lie.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// Why a stored record is not acted on.
#[derive(Clone, Debug, PartialEq)]
pub enum Unreadable {
    /// It needs a newer version, and is left to it.
    Newer(Box<Newer>),
    /// It was written by hand, or is damaged.
    Broken(Damage),
}

/// A record that needs a newer version, as far as this version understands it.
#[derive(Clone, Debug, PartialEq)]
pub struct Newer {
    /// Id of the schedule.
    pub id: Uuid,
    /// The lowest format that may act on it.
    pub needs: u16,
    /// Why this version does not act on it, for people.
    pub reason: String,
    /// Its creator. The name stays taken, and the schedule counts against the creator's limit.
    pub created_by: String,
    /// Its name.
    pub name: String,
    /// Whether it is neither deleted nor about to be removed.
    pub is_live: bool,
    /// The schedule that it follows, and which of its ends.
    pub follows: Option<(Uuid, On)>,
}

impl Newer {
    /// The schedule that it follows, as long as this one is live, and itself.
    pub(super) fn following(&self) -> Option<(Uuid, (Uuid, On))> {
        let (upstream, on) = self.follows.filter(|_| self.is_live)?;
        Some((upstream, (self.id, on)))
    }
}

/// Fields that all formats have in common.
#[derive(Deserialize)]
struct Glimpse {
    id: Uuid,
    #[serde(default)]
    format: u16,
    #[serde(default)]
    needs: u16,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    purge: bool,
    #[serde(default)]
    spec: Value,
}

/// Reads a stored record and compiles its timing.
///
/// # Errors
/// See [`Unreadable`].
pub fn read_record(id: Option<Uuid>, value: &[u8]) -> Result<(Schedule, Trigger), Unreadable> {
    let schedule = match Schedule::read(value) {
        Ok(schedule) => schedule,
        Err(error) => {
            let newer = glimpse(id, value).map(Unreadable::Newer);
            return Err(newer.unwrap_or_else(|| Unreadable::Broken(error.into())));
        }
    };
    if id.is_some_and(|id| id != schedule.id) {
        let reason = format!("the record says id {}", schedule.id);
        return Err(Unreadable::Broken(reason.into()));
    }
    if schedule.needs > format::supported()
        && let Some(newer) = glimpse(id, value)
    {
        return Err(Unreadable::Newer(newer));
    }
    let trigger = check(&schedule).map_err(|reason| Unreadable::Broken(reason.into()))?;
    Ok((schedule, trigger))
}

fn check(schedule: &Schedule) -> Result<Trigger, String> {
    if schedule.next_run_at.is_some_and(|at| !YEARS.contains(&at.year())) {
        return Err("next_run_at: must lie between 1970 and 2200".to_owned());
    }
    let dead_letter =
        schedule.spec.dead_letter.as_deref().into_iter().map(|target| ("dead_letter", target));
    // The target that an attempt was claimed with comes before the schedule's.
    let pinned = schedule.attempts.iter().filter_map(|attempt| attempt.pinned.as_ref());
    let pinned = pinned.filter_map(|pinned| pinned.target_command.as_ref());
    let pinned = pinned.map(|target| ("attempts.pinned.target_command", target));
    let target = ("target_command", &schedule.spec.target_command);
    for (field, target) in dead_letter.chain(pinned).chain([target]) {
        if let Err(reason) = Target::parse(target.as_str()) {
            return Err(format!("{field}: {reason}"));
        }
    }
    schedule.spec.timing.plain_trigger(schedule.id).map_err(|fault| fault.to_string())
}

/// The parts that can be understood of a record that this version may not act on; `None` if no newer version
/// wrote it.
fn glimpse(id: Option<Uuid>, value: &[u8]) -> Option<Box<Newer>> {
    let all: Value = serde_json::from_slice(value).ok()?;
    let found = Glimpse::deserialize(&all).ok()?;
    if id.is_some_and(|id| id != found.id) {
        return None;
    }
    let (needs, here) = (found.needs, format::supported());
    let reason = if needs > here {
        format!("it needs format {needs}, and this version knows {here}")
    } else if let Some((place, word)) = unknown_word(&all) {
        format!("this version does not know {place} {word:?}")
    } else if found.format > here {
        format!("it is of format {}, and this version knows {here}", found.format)
    } else {
        return None;
    };
    let after = &found.spec["timing"]["after"];
    let follows = read::<Uuid>(&after["schedule_id"])
        .map(|upstream| (upstream, read(&after["on"]).unwrap_or_default()));
    Some(Box::new(Newer {
        id: found.id,
        needs,
        reason,
        created_by: found.created_by,
        name: found.spec["name"].as_str().unwrap_or_default().to_owned(),
        is_live: found.status != Status::Deleted.as_str() && !found.purge,
        follows,
    }))
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// An unknown word of an enumeration that must be understood to act on the record.
fn unknown_word(record: &Value) -> Option<(String, String)> {
    fn is_new<T: DeserializeOwned>(value: &Value) -> bool {
        value.is_string() && read::<T>(value).is_none()
    }
    type Check = fn(&Value) -> bool;
    let words: [(&str, Check); 10] = [
        ("/status", is_new::<Status>),
        ("/standing/last_outcome", is_new::<Ending>),
        ("/deleted_from", is_new::<Status>),
        ("/spec/overlap", is_new::<Overlap>),
        ("/spec/catch_up", is_new::<CatchUp>),
        ("/spec/delivery/mode", is_new::<DeliveryMode>),
        ("/spec/timing/schedule_type", is_new::<ScheduleType>),
        ("/spec/timing/after/on", is_new::<On>),
        ("/spec/timing/dst_gap", is_new::<DstGap>),
        ("/spec/timing/dst_overlap", is_new::<DstOverlap>),
    ];
    let in_attempts: [(&str, Check); 3] = [
        ("/phase", is_new::<PhaseName>),
        ("/report/ending", is_new::<Ending>),
        ("/pinned/delivery/mode", is_new::<DeliveryMode>),
    ];
    let find = |value: &Value, base: &str, words: &[(&str, Check)]| {
        words.iter().find_map(|(place, is_new)| {
            let word = value.pointer(place).filter(|word| is_new(word))?.as_str()?;
            Some((format!("{base}{}", place[1..].replace('/', ".")), word.to_owned()))
        })
    };
    let attempts = record["attempts"].as_array().into_iter().flatten();
    find(record, "", &words)
        .or_else(|| attempts.into_iter().find_map(|one| find(one, "attempts.", &in_attempts)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        let (schedule, _) = crate::index::tests::samples::base();
        serde_json::to_value(&schedule).unwrap()
    }

    fn read_value(record: &Value) -> Result<(Schedule, Trigger), Unreadable> {
        read_record(None, record.to_string().as_bytes())
    }

    #[test]
    fn a_record_that_needs_a_newer_version_is_left_to_it() {
        let mut record = record();
        record["format"] = json!(8);
        assert!(read_value(&record).is_ok(), "newer, and ours to act on");
        record["needs"] = json!(8);
        record["spec"]["timing"]["after"] = json!({"schedule_id": Uuid::from_u128(9), "on": "x"});
        let Err(Unreadable::Newer(newer)) = read_value(&record) else { panic!() };
        assert_eq!((newer.needs, newer.is_live), (8, true));
        assert_eq!(newer.follows, Some((Uuid::from_u128(9), On::Success)));
        record["spec"] = json!("something else");
        assert!(matches!(read_value(&record), Err(Unreadable::Newer(_))));
    }

    #[test]
    fn a_word_that_must_be_understood_and_is_not_leaves_the_record_to_newer_versions() {
        for place in [
            "/status",
            "/spec/overlap",
            "/spec/catch_up",
            "/spec/delivery/mode",
            "/spec/timing/schedule_type",
            "/spec/timing/dst_gap",
            "/spec/timing/dst_overlap",
        ] {
            let mut record = record();
            *record.pointer_mut(place).unwrap() = json!("from_the_future");
            let Err(Unreadable::Newer(newer)) = read_value(&record) else { panic!("{place}") };
            assert!(newer.reason.contains("from_the_future"), "{}", newer.reason);
        }
        let mut broken = record();
        broken["spec"]["overlap"] = json!(7);
        assert!(matches!(read_value(&broken), Err(Unreadable::Broken(_))));
    }

    #[test]
    fn what_an_attempt_was_claimed_with_is_read_as_strictly_as_what_the_schedule_says() {
        let with = |pinned: Value| {
            let at = "2026-01-01T00:00:00Z";
            let mut record = record();
            record["attempts"] = json!([{ "execution_id": Uuid::nil(), "scheduled_for": at, "number": 1,
                "phase": "claimed", "by": Uuid::nil(), "at": at, "until": at, "pinned": pinned }]);
            read_value(&record)
        };
        assert!(with(json!({ "target_command": "cmd.b" })).is_ok());
        for odd in ["cmd.scheduler.schedule.delete", "cmd.a\r\nPUB x 0", "$JS.API.INFO"] {
            let Err(Unreadable::Broken(Damage { reason, .. })) =
                with(json!({ "target_command": odd }))
            else {
                panic!("{odd}")
            };
            assert!(reason.starts_with("attempts.pinned.target_command: must"), "{reason}");
        }
        let newer = json!({ "delivery": { "mode": "from_the_future", "timeout_seconds": 1 } });
        assert!(matches!(with(newer), Err(Unreadable::Newer(_))));
    }
}
