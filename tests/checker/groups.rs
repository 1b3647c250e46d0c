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

/// What is under way of the schedules of a group has a slot of it, and slots are given out only below the bound.
pub fn no_more_is_under_way_than_groups_allow(evidence: &Evidence, found: &mut Vec<String>) {
    for name in &evidence.groups {
        follow(name, &evidence.written, found);
    }
}

/// Follows a group through all that was written; says of each write what is wrong after it.
pub fn follow(name: &str, written: &[Entry], found: &mut Vec<String>) -> Left {
    let mut group = Group::default();
    // Of each schedule, and whether it belongs to the group.
    let mut under_way: BTreeMap<String, (bool, BTreeSet<Uuid>)> = BTreeMap::new();
    for entry in written {
        let key = names::subject_key(&entry.subject);
        if key == names::group_key(name) {
            let next: Group = serde_json::from_slice(&entry.body).unwrap();
            // What comes to the group while it is under way has its slot whatever the bound is.
            let is_running = |id| under_way.values().any(|(_, ids)| ids.contains(&id));
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
                    // One that waited, and was cancelled before it began, has never had a slot.
                    let before = under_way.get(key).map(|(_, ids)| ids.clone()).unwrap_or_default();
                    let is_there = |attempt: &&Attempt| match &*attempt.phase {
                        Phase::Claimed { .. } | Phase::Running { .. } => true,
                        Phase::Reported { .. } => before.contains(&attempt.execution_id),
                        _ => false,
                    };
                    let ids = schedule.attempts.iter().filter(is_there);
                    let ids = ids.map(|attempt| attempt.execution_id).collect();
                    let of = schedule.spec.group.as_ref().map(|group| group.as_str());
                    under_way.insert(key.to_owned(), (of == Some(name), ids));
                }
                // It was deleted for good.
                Err(_) => drop(under_way.remove(key)),
            }
        }
        let members = under_way.values().filter(|(is_member, _)| *is_member);
        let without = members.flat_map(|(_, ids)| ids).filter(|id| group.slot(**id).is_none());
        let sequence = entry.sequence;
        found.extend(without.map(|id| format!("{sequence}: {id} has no slot of group {name:?}")));
    }
    let under_way = under_way.into_values().flat_map(|(_, ids)| ids).collect();
    Left { group, under_way }
}
