//! Takes and frees the slots of concurrency groups.
//!
//! A slot is taken by a conditional write of the group's key, before the claim of its execution is written, and names the
//! revision of the record that the claim is written at. It is freed once the record has a later revision and does not have
//! the execution under way ([`SlotState`]). So there are never more executions under way than the bound allows: each of
//! them has had a slot since before its claim, and a slot goes only after its execution, or when the claim can never be
//! stored any more.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the slot is taken | nothing | another instance takes one |
//! | after it, before the claim | a slot that nothing uses | once the instance is gone another one writes the record anew, which refuses the claim, and frees the slot |
//! | after the claim | a claimed attempt with its slot | it is taken over, under the same id and with the same slot |
//! | after settling, before the slot is freed | a slot whose execution is over | any instance frees it after two seconds |
//!
//! While a group's key is being written, further requests of this instance to the group are collected; the next write
//! carries them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Shared;
use super::core::Outlook as _;
use super::rewrite::{catch_up, fence};
use crate::failpoint::failpoint;
use crate::guards::Guard;
use crate::jetstream::WriteError;
use crate::names;
use crate::plan::View as _;
use crate::port::Nats;
use crate::schedule::Schedule;
use crate::schedule::keyed::Keyed as _;
use crate::schedule::{Group, Slot, SlotState, Taken};
use crate::stored::Unknown;

/// Time for which a slot is waited for while NATS does not say what became of the write.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Time for which freeing a slot is pursued; then it is left over.
const FREED_WITHIN: Duration = Duration::from_secs(2);
/// Interval between looks for slots that are left over.
const LOOK: Duration = Duration::from_secs(1);
/// How long a slot may be over before others free it.
const OVER: Duration = Duration::from_secs(2);
/// How long a claim may be on its way: longer than its write is pursued.
const PENDING: Duration = Duration::from_secs(35);
/// Most writes of a group's key that lose to others before it is left for later.
const TRIES: usize = 50;

/// What a group answers; `None` if NATS is out of reach or refuses.
pub(crate) type Answer = Option<Taken>;

/// A request to a group.
enum Wish {
    Take(Slot),
    Free(Slot),
}

/// The requests to each group that are not written yet.
#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<String, Arc<Line>>>);

/// The wishes for one group. Whoever holds `writing` writes all that have come by then.
#[derive(Default)]
struct Line {
    wishes: Mutex<Vec<(Wish, oneshot::Sender<Answer>)>>,
    writing: tokio::sync::Mutex<()>,
}

impl Slots {
    fn line(&self, group: &str) -> Arc<Line> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(group.to_owned()).or_default())
    }

    /// Lets go of the line of a group, and forgets it if nobody else has it.
    fn leave(&self, group: &str, line: Arc<Line>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(line);
        if lines.get(group).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(group);
        }
    }
}

/// Takes a slot for an execution whose claim is to be written at a revision of its schedule's record.
pub(crate) async fn take(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    execution: Uuid,
    revision: u64,
) -> Answer {
    let slot = Slot {
        execution_id: execution,
        schedule_id: schedule.id,
        revision,
        by: shared.members.me(),
        at: shared.clock.now(),
        unknown: Unknown::default(),
    };
    let group = schedule.spec.group.as_deref().map_or("", String::as_str);
    if !shared.holds(Guard::Slot) {
        return Some(Taken::Yes);
    }
    let taken = ask(shared, group, Wish::Take(slot), TAKEN_WITHIN).await;
    failpoint("after_slot");
    taken
}

/// Frees the slots of executions of a schedule that are over, by the record that this instance knows. Those of a group that
/// the schedule has left meanwhile are left over.
pub(crate) async fn free(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    executions: impl Iterator<Item = Uuid>,
) {
    let groups = shared.index.groups();
    let Some(group) = schedule.spec.group.as_ref().and_then(|name| groups.get(name)) else {
        return;
    };
    for slot in executions.filter_map(|execution| group.slot(execution).cloned()) {
        if state(shared, &slot) == Some(SlotState::Over) {
            failpoint("before_free");
            ask(shared, &group.name, Wish::Free(slot), FREED_WITHIN).await;
        }
    }
}

/// What the record of a slot says of it, as this instance knows it; `None` if it knows none.
fn state(shared: &Shared<impl Nats>, slot: &Slot) -> Option<SlotState> {
    let entry = shared.index.get(slot.schedule_id)?;
    Some(slot.state(Some((&entry.schedule, entry.revision))))
}

async fn ask(shared: &Shared<impl Nats>, group: &str, wish: Wish, within: Duration) -> Answer {
    let line = shared.slots.line(group);
    let got = ask_in_line(shared, group, &line, wish, within).await;
    shared.slots.leave(group, line);
    got
}

async fn ask_in_line(
    shared: &Shared<impl Nats>,
    group: &str,
    line: &Line,
    wish: Wish,
    within: Duration,
) -> Answer {
    let (answer, mut answered) = oneshot::channel();
    line.wishes.lock().unwrap_or_else(PoisonError::into_inner).push((wish, answer));
    let writing = line.writing.lock().await;
    // Whoever wrote before us may have written ours too.
    if let Ok(got) = answered.try_recv() {
        return got;
    }
    let wishes = std::mem::take(&mut *line.wishes.lock().unwrap_or_else(PoisonError::into_inner));
    let (wishes, answers): (Vec<_>, Vec<_>) = wishes.into_iter().unzip();
    let got = write(shared, group, &wishes, within).await;
    drop(writing);
    for (answer, got) in answers.into_iter().zip(got) {
        // Nobody may wait for it any more.
        let _ = answer.send(got);
    }
    answered.try_recv().ok().flatten()
}

/// Writes a group's key with what is wished of it, as far as there is room.
async fn write(
    shared: &Shared<impl Nats>,
    name: &str,
    wishes: &[Wish],
    within: Duration,
) -> Vec<Answer> {
    let deadline = Instant::now() + within;
    for _ in 0..TRIES {
        let sight = shared.store.sight();
        let groups = shared.index.groups();
        let Some((known, revision)) = groups.at(name) else {
            return wishes.iter().map(|_| Some(Taken::Full)).collect();
        };
        let mut group = Group::clone(known);
        let got = fulfil(&mut group, wishes, shared.clock.now());
        if group == **known {
            return got;
        }
        group.sign(shared.writer().token);
        match shared.store.write_keyed(&group, sight.at(revision), deadline).await {
            Ok(revision) => {
                shared.index.know_group(group, revision);
                return got;
            }
            Err(WriteError::Conflict) if read_anew(shared, name).await => {}
            Err(error) => {
                warn!(group = name, %error, "group not written; trying later");
                break;
            }
        }
    }
    wishes.iter().map(|_| None).collect()
}

fn fulfil(group: &mut Group, wishes: &[Wish], now: DateTime<Utc>) -> Vec<Answer> {
    // What is freed makes room for what is to be taken.
    for wish in wishes {
        if let Wish::Free(slot) = wish {
            group.free(slot, now);
        }
    }
    let fulfil = |wish: &Wish| match wish {
        Wish::Take(slot) => Some(group.take(slot)),
        Wish::Free(_) => Some(Taken::Yes),
    };
    wishes.iter().map(fulfil).collect()
}

/// Reads a group from the leader, after another write of it came first.
async fn read_anew(shared: &Shared<impl Nats>, name: &str) -> bool {
    match shared.store.read_keyed::<Group>(name).await {
        Ok((Some(group), at)) => {
            shared.index.know_group(group, at.revision);
            true
        }
        // It is gone, and the watch says so presently.
        Ok((None, _)) => false,
        Err(error) => {
            warn!(group = name, %error, "group not read; trying later");
            false
        }
    }
}

/// Frees slots that were left over, again and again.
pub(crate) async fn tend(shared: &Shared<impl Nats>) {
    let mut since: HashMap<(Uuid, u64), Instant> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        if !shared.members.hears() {
            continue;
        }
        let groups = shared.index.groups();
        let mut left = HashMap::new();
        for group in groups.iter() {
            for slot in &group.slots {
                let state = state(shared, slot);
                if state == Some(SlotState::Used) {
                    continue;
                }
                let key = (slot.execution_id, slot.revision);
                let first = since.get(&key).copied().unwrap_or_else(Instant::now);
                left.insert(key, first);
                if first.elapsed() >= patience(shared, slot, state) {
                    free_left_over(shared, &group.name, slot, state).await;
                }
            }
        }
        since = left;
    }
}

/// How long a slot is left to those who are to free it before this instance.
fn patience(shared: &Shared<impl Nats>, slot: &Slot, state: Option<SlotState>) -> Duration {
    let turn = shared.delay(slot.schedule_id, 0).to_std().unwrap_or_default();
    match state {
        Some(SlotState::Pending) if !shared.is_gone(slot.by) => PENDING + turn,
        _ => OVER + turn,
    }
}

/// Frees a slot after making sure that its claim can never be stored.
async fn free_left_over(
    shared: &Shared<impl Nats>,
    group: &str,
    slot: &Slot,
    state: Option<SlotState>,
) {
    let is_over = match state {
        Some(SlotState::Over) => true,
        Some(SlotState::Pending) => refuse_pending_claim(shared, slot).await,
        Some(SlotState::Used) => false,
        // Its record is gone, or was not shown yet.
        None => {
            let key = names::schedule_key(slot.schedule_id);
            let read = shared.store.read(&key).await;
            read.is_ok_and(|stored| stored.is_none_or(|stored| stored.value.is_none()))
        }
    };
    if is_over {
        debug!(group, execution_id = %slot.execution_id, "slot was left over");
        ask(shared, group, Wish::Free(slot.clone()), FREED_WITHIN).await;
    }
}

/// Writes the record anew, so that a claim that may still be on its way is refused; returns whether that is certain.
async fn refuse_pending_claim(shared: &Shared<impl Nats>, slot: &Slot) -> bool {
    if !shared.holds(Guard::SlotFence) {
        return true;
    }
    let sight = shared.store.sight();
    let Some(entry) = shared.index.get(slot.schedule_id) else { return false };
    if slot.state(Some((&entry.schedule, entry.revision))) != SlotState::Pending {
        return false;
    }
    match fence(shared, &entry, sight.at(entry.revision)).await {
        Ok(_) => true,
        Err(WriteError::Conflict) => {
            // Perhaps it was the claim.
            catch_up(shared, &entry).await;
            false
        }
        Err(error) => {
            warn!(schedule_id = %slot.schedule_id, %error, "slot not freed; trying later");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_nobody_is_in_is_forgotten() {
        let slots = Slots::default();
        let (one, other) = (slots.line("g"), slots.line("g"));
        slots.leave("g", one);
        assert!(Arc::ptr_eq(&other, &slots.line("g")), "others are still in it");
        slots.leave("g", other);
        assert!(slots.0.lock().unwrap().is_empty());
    }
}
