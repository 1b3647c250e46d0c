//! Judges a run of the service by what it left behind: streams, records, what was heard and what was said.
//!
//! The same for a run in a simulated world and one over real servers. It knows neither: it is a function over
//! [`Evidence`], without a clock and without a connection. What must hold has a function of its own each.

#![allow(dead_code, unused_imports, reason = "each program that uses it uses a part of it")]

mod evidence;
mod ledger;
mod summary;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nats_scheduler::execution::ExecutionStatus;
use nats_scheduler::names;
use uuid::Uuid;

pub use evidence::{Answer, Asked, Evidence, Fault, FaultKind, Heard, Wish};
use ledger::Ledger;
pub use summary::{Lateness, Summary};

/// Judges a run: what there was in it, or all that is wrong with it, for people.
pub fn check(evidence: &Evidence) -> Result<Summary, Vec<String>> {
    let mut found = Vec::new();
    let ledger = Ledger::read(evidence, &mut found);
    for rule in [nothing_twice_in_a_stream, nothing_early, what_succeeded_was_sent] {
        rule(evidence, &ledger, &mut found);
    }
    if found.is_empty() { Ok(Summary::of(evidence, &ledger)) } else { Err(found) }
}

/// No message id is twice in a target's stream: of a command the execution's, of a dead letter its own.
fn nothing_twice_in_a_stream(evidence: &Evidence, _: &Ledger, found: &mut Vec<String>) {
    let mut stored: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for entry in &evidence.commands {
        let Some(id) = entry.headers.get(names::MESSAGE_ID) else { continue };
        if let Some(first) = stored.insert(id.as_str(), entry.stored_at) {
            let at = entry.stored_at;
            found.push(format!("{id} is twice in its stream: stored at {first} and at {at}"));
        }
    }
}

/// Nothing is stored or heard before it is due.
fn nothing_early(evidence: &Evidence, ledger: &Ledger, found: &mut Vec<String>) {
    for sent in &ledger.sent {
        let Some(end) = ledger.ends.get(&sent.execution) else { continue };
        let due = end.timings.due_at.unwrap_or(end.scheduled_for);
        if sent.at + evidence.tolerance < due {
            let (id, at) = (sent.execution, sent.at);
            found.push(format!("{id} of {} was sent at {at}, due at {due}", end.schedule_id));
        }
    }
}

/// What succeeded was stored, or heard.
fn what_succeeded_was_sent(_: &Evidence, ledger: &Ledger, found: &mut Vec<String>) {
    let sent: std::collections::BTreeSet<Uuid> =
        ledger.sent.iter().map(|sent| sent.execution).collect();
    for end in ledger.ends.values() {
        if end.status == ExecutionStatus::Success && !sent.contains(&end.id) {
            found.push(format!("{} of {} succeeded, and nobody has it", end.id, end.schedule_id));
        }
    }
}
