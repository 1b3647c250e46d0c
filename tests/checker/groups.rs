//! Check of concurrency groups, by all that was written into the bucket.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{Attempt, Group, Phase, Schedule};
use uuid::Uuid;

use super::evidence::Evidence;

/// A group as it was in the end, and what was under way of all schedules.
pub struct Left {
    pub group: Group,
    pub under_way: HashSet<Uuid>,
}

/// The executions of a schedule.
struct Of {
    is_member: bool,
    /// Those that have a slot when the schedule comes to a group.
    under_way: BTreeSet<Uuid>,
    /// Those of them that need one: what waited, and was cancelled before it began, has never had one.
    begun: BTreeSet<Uuid>,
}

/// What is under way of the schedules of a group has a slot of it, and slots are given out only below the bound.
pub fn no_more_is_under_way_than_groups_allow(evidence: &Evidence, found: &mut Vec<String>) {
    for name in &evidence.groups {
        follow(name, &evidence.written, found);
    }
}

/// Follows a group through all that was written; says of each write what is wrong after it.
pub fn follow(name: &str, written: &[Entry], found: &mut Vec<String>) -> Left {
    let mut group = Group::default();
    let mut schedules: BTreeMap<String, Of> = BTreeMap::new();
    for entry in written {
        let key = names::subject_key(&entry.subject);
        if key == names::group_key(name) {
            let next: Group = serde_json::from_slice(&entry.body).unwrap();
            // What comes to the group while it is under way has its slot whatever the bound is.
            let is_running = |id| schedules.values().any(|of| of.under_way.contains(&id));
            let new = next.slots.iter().map(|slot| slot.execution_id);
            let new = new.filter(|id| group.slot(*id).is_none() && !is_running(*id));
            if new.count() > 0 && next.slots.len() > usize::from(next.limit) {
                let (sequence, slots) = (entry.sequence, next.slots.len());
                found.push(format!("{sequence}: {slots} slots of group {name:?}"));
            }
            group = next;
        } else if key.starts_with(names::SCHEDULE_KEY_PREFIX) {
            match serde_json::from_slice::<Schedule>(&entry.body) {
                Ok(schedule) => {
                    let before = schedules.get(key).map(|of| of.begun.clone()).unwrap_or_default();
                    let has_begun = |attempt: &&Attempt| match &*attempt.phase {
                        Phase::Claimed { .. } | Phase::Running { .. } => true,
                        Phase::Reported { .. } => before.contains(&attempt.execution_id),
                        _ => false,
                    };
                    let id = |attempt: &Attempt| attempt.execution_id;
                    let begun = schedule.attempts.iter().filter(has_begun).map(id).collect();
                    let under_way = schedule.attempts.iter().map(id);
                    let under_way = under_way.filter(|id| schedule.has_under_way(*id)).collect();
                    let group = schedule.spec.group.as_ref().map(|group| group.as_str());
                    let of = Of { is_member: group == Some(name), under_way, begun };
                    schedules.insert(key.to_owned(), of);
                }
                // It was deleted for good.
                Err(_) => drop(schedules.remove(key)),
            }
        }
        let members = schedules.values().filter(|of| of.is_member);
        let without = members.flat_map(|of| &of.begun).filter(|id| group.slot(**id).is_none());
        let sequence = entry.sequence;
        found.extend(without.map(|id| format!("{sequence}: {id} has no slot of group {name:?}")));
    }
    let under_way = schedules.into_values().flat_map(|of| of.under_way).collect();
    Left { group, under_way }
}
