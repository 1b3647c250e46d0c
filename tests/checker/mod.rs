//! Judge of a run of the service by what it left behind: streams, records, what was heard and what was said.
//!
//! It serves both runs in a simulated world and runs over real servers, and knows neither: it is a function over
//! [`Evidence`], without a clock and without a connection. Each promise has a function of its own.

#![allow(dead_code, unused_imports, reason = "each program that uses it uses a part of it")]

mod alerts;
mod changes;
mod endings;
mod evidence;
mod explained;
pub mod groups;
mod halts;
mod lateness;
mod ledger;
mod pauses;
mod sending;
mod story;
mod summary;
mod times;

use chrono::{DateTime, Utc};

pub use endings::what_is_left;
pub use evidence::{Answer, Asked, Evidence, Fault, FaultKind, Heard, Wish};
pub use explained::Explanations;
use ledger::Ledger;
use story::{Story, stories};
pub use summary::{Lateness, Summary};

/// Judges a run: what there was in it, or all that is wrong with it, for people.
///
/// # Errors
/// What is wrong, each with its schedule and execution.
pub fn check(evidence: &Evidence) -> Result<Summary, Vec<String>> {
    let mut found = Vec::new();
    let ledger = Ledger::read(evidence, &mut found);
    let stories = stories(evidence, &ledger, &mut found);
    match evidence.whole_from() {
        None => check_all(evidence, &ledger, &stories, &mut found),
        Some(whole_from) => {
            found.clear();
            check_since(whole_from, evidence, &ledger, &stories, &mut found);
        }
    }
    if found.is_empty() { Ok(Summary::of(evidence, &ledger)) } else { Err(found) }
}

fn check_all(evidence: &Evidence, ledger: &Ledger, stories: &[Story<'_>], found: &mut Vec<String>) {
    for story in stories {
        let told = times::each_time_has_one_outcome(story, ledger, found);
        let explained = evidence.explained.get(&story.id);
        explained::times_are_explained_truly(story, explained, &told, ledger, found);
        sending::due_times_are_true(story, found);
        changes::changes_are_announced_once_and_in_order(story, found);
        changes::updates_are_not_undone(story, found);
        alerts::alerts_are_true_and_said_once(story, evidence, ledger, found);
        pauses::pauses_end_when_they_are_to_end(story, evidence, found);
        endings::attempts_follow_each_other(story, ledger, found);
        endings::ids_are_worked_out(story, found);
        endings::counters_equal_the_history(story, ledger, found);
        endings::all_is_settled(story, evidence.now, found);
    }
    sending::nothing_is_twice_in_a_stream(evidence, found);
    sending::nothing_is_heard_again_without_reason(evidence, ledger, found);
    sending::nothing_is_sent_that_is_over(evidence, found);
    sending::nothing_is_early(evidence, ledger, found);
    lateness::nothing_is_late_without_reason(evidence, ledger, found);
    sending::outcomes_are_true(stories, evidence, ledger, found);
    sending::nothing_is_sent_under_an_old_state(stories, evidence, ledger, found);
    halts::nothing_due_in_a_pause_of_all_is_sent(stories, evidence, ledger, found);
    changes::acknowledged_changes_are_made_and_refused_ones_not(stories, evidence, found);
    changes::promised_runs_are_made(evidence, ledger, found);
    changes::reports_count(evidence, ledger, found);
    changes::a_name_is_given_once(stories, evidence, found);
    changes::no_two_have_one_name(evidence, found);
    endings::dependents_follow_each_end(stories, evidence, ledger, found);
    groups::no_more_is_under_way_than_groups_allow(evidence, found);
    sending::nothing_is_sent_that_a_calendar_leaves_out(stories, ledger, found);
}

/// What NATS has acknowledged and lost nobody can make good. All goes on from what is left of it, and is whole again
/// from then on.
fn check_since(
    whole_from: DateTime<Utc>,
    evidence: &Evidence,
    ledger: &Ledger,
    stories: &[Story<'_>],
    found: &mut Vec<String>,
) {
    for story in stories {
        endings::ids_are_worked_out(story, found);
        endings::all_is_settled(story, evidence.now, found);
    }
    sending::nothing_is_early(evidence, ledger, found);
    lateness::nothing_is_late_without_reason(evidence, ledger, found);
    changes::no_two_have_one_name(evidence, found);
    let asked = evidence.asked.iter().filter(|asked| asked.at >= whole_from);
    let later = Evidence { asked: asked.cloned().collect(), ..Evidence::default() };
    changes::acknowledged_changes_are_made_and_refused_ones_not(stories, &later, found);
    changes::promised_runs_are_made(&later, ledger, found);
    changes::reports_count(&later, ledger, found);
}
