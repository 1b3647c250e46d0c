//! A plan: what applying a set would change, as people read it, and as JSON.

use chrono::{DateTime, Utc};
use nats_scheduler::client::{ApiError, ApplyOutcome, Difference, ScheduleSummary, Warning};
use serde::Serialize;

use super::payload::{self, PathChange};
use super::send::{Became, PAYLOAD};
use super::set::Declared;
use crate::cli::coming::{coming, left_out};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::node::Node;
use crate::cli::options::Format;
use crate::cli::output::Output;
use crate::cli::output::table::Tone;

/// Most values of a payload that are shown where they differ.
const MOST_PATHS: usize = 20;
/// Most characters of a value that are shown.
const MOST_SHOWN: usize = 200;

/// What would become of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Create,
    Update,
    Unchanged,
    Delete,
    Refused,
}

/// One line of a plan, in JSON.
#[derive(Serialize)]
struct Step<'a> {
    action: Action,
    name: &'a str,
    creator: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<&'a Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [Warning],
    /// The name of the schedule that it follows. What the service says of it has an id, which of one that would be
    /// created means nothing.
    #[serde(skip)]
    follows: Option<&'a str>,
    /// What is declared.
    #[serde(skip)]
    declared: Option<&'a Node>,
    /// The payload that is replaced, if it may be shown.
    #[serde(skip)]
    payload: Option<&'a Node>,
    /// The time at which one that would be deleted would have fired next.
    #[serde(skip)]
    next: Option<DateTime<Utc>>,
}

/// Counts of a plan, or of what was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub created: usize,
    pub updated: usize,
    pub unchanged: usize,
    pub deleted: usize,
    pub refused: usize,
    /// Exit code of the first that was refused.
    #[serde(skip)]
    refusal: Option<Exit>,
}

impl Counts {
    pub fn add(&mut self, became: &Became) {
        match (became.outcome, &became.error) {
            (_, Some(error)) => self.refuse(error),
            (Some(ApplyOutcome::Created), _) => self.created += 1,
            (Some(ApplyOutcome::Updated), _) => self.updated += 1,
            _ => self.unchanged += 1,
        }
    }

    pub fn refuse(&mut self, error: &ApiError) {
        self.refused += 1;
        self.refusal.get_or_insert(Failure::from(error.clone()).exit());
    }

    pub fn changes(&self) -> usize {
        self.created + self.updated + self.deleted
    }

    /// How a command ends that has met these.
    pub fn exit(&self) -> Exit {
        self.refusal.unwrap_or(Exit::Done)
    }
}

/// A plan that is being shown.
pub struct Plan<'a> {
    out: &'a mut Output,
    shown: usize,
    pub counts: Counts,
}

impl<'a> Plan<'a> {
    pub fn new(out: &'a mut Output) -> Self {
        Self { out, shown: 0, counts: Counts::default() }
    }

    /// Shows what would become of a declared schedule.
    pub fn add(&mut self, one: &Declared, became: &Became) -> Result<(), Failure> {
        self.counts.add(became);
        let action = match (became.outcome, &became.error) {
            (_, Some(_)) => Action::Refused,
            (Some(ApplyOutcome::Created), _) => Action::Create,
            (Some(ApplyOutcome::Updated), _) => Action::Update,
            _ => Action::Unchanged,
        };
        let (difference, error) = (became.difference.as_deref(), became.error.as_ref());
        let creator = one.creator.as_str();
        let follows = one.node.get("after").and_then(|after| after.text("schedule_name"));
        let (declared, payload) = (Some(&one.node), became.payload.as_ref());
        let name = &one.name;
        let next = None;
        let step = Step {
            action,
            name,
            creator,
            difference,
            error,
            warnings: &became.warnings,
            follows,
            declared,
            payload,
            next,
        };
        self.step(&step, Some(&one.place))
    }

    /// Shows a schedule that would be deleted.
    pub fn delete(&mut self, schedule: &ScheduleSummary) -> Result<(), Failure> {
        self.counts.deleted += 1;
        let step = Step {
            action: Action::Delete,
            name: &schedule.name,
            creator: &schedule.created_by,
            difference: None,
            error: None,
            warnings: &[],
            follows: None,
            declared: None,
            payload: None,
            next: schedule.next_run_at.filter(|_| schedule.is_active && !schedule.is_paused),
        };
        self.step(&step, None)
    }

    /// Ends the plan with a summary.
    pub fn end(self) -> Result<Counts, Failure> {
        let Counts { created, updated, unchanged, deleted, refused, .. } = self.counts;
        match (self.out.format, self.shown) {
            (Format::Table | Format::Wide, _) => {
                let refused =
                    if refused > 0 { format!(", {refused} refused") } else { String::new() };
                self.out.line(&format!(
                    "Plan: {created} to create, {updated} to update, {deleted} to delete, {unchanged} unchanged{refused}."
                ))?;
            }
            (Format::Json, 0) => self.out.raw("[]\n")?,
            (Format::Json, _) => self.out.raw("\n]\n")?,
            (Format::Yaml, 0) => self.out.raw("[]\n")?,
            _ => {}
        }
        self.out.flush()?;
        Ok(self.counts)
    }

    fn step(&mut self, step: &Step<'_>, place: Option<&str>) -> Result<(), Failure> {
        let is_change = step.action != Action::Unchanged;
        match self.out.format {
            Format::Table | Format::Wide if is_change => self.describe(step, place)?,
            Format::Name if is_change => self.out.line(step.name)?,
            Format::Json => {
                self.out.raw(if self.shown == 0 { "[\n" } else { ",\n" })?;
                self.out.raw(&Node::of(step)?.pretty())?;
                self.shown += 1;
            }
            Format::Yaml => {
                self.out.raw(&Node::List(vec![Node::of(step)?]).yaml())?;
                self.shown += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn describe(&mut self, step: &Step<'_>, place: Option<&str>) -> Result<(), Failure> {
        let (mark, tone) = match step.action {
            Action::Create => ("+", Tone::Good),
            Action::Update => ("~", Tone::Warning),
            Action::Delete => ("-", Tone::Bad),
            Action::Refused => ("!", Tone::Bad),
            Action::Unchanged => (" ", Tone::Plain),
        };
        let head = format!("{mark} {} of {}", step.name, step.creator);
        let head = self.out.toned(&head, tone);
        self.out.raw(&(head + "\n"))?;
        if let Some(error) = step.error {
            let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
            self.out.line(&format!("    {place}{}", error.message))?;
        }
        if let Some(next) = step.next {
            self.out.line(&format!(
                "    will no longer fire; its next run was {}",
                moment::absolute(next)
            ))?;
        }
        let target = step.declared.and_then(|declared| declared.text("target_command"));
        if let Some(target) = target.filter(|_| step.action == Action::Create) {
            self.out.line(&format!("    sends {target}"))?;
        }
        if let Some(difference) = step.difference {
            self.changes(step, difference)?;
            self.times(step, difference)?;
        }
        for warning in step.warnings {
            self.out.line(&format!("    warning: {}", warning.message))?;
        }
        Ok(())
    }

    fn changes(&mut self, step: &Step<'_>, difference: &Difference) -> Result<(), Failure> {
        for change in &difference.changes {
            let (old, new) = (change.old.as_ref(), change.new.as_ref());
            let (old, new) = (old.map(Node::of).transpose()?, new.map(Node::of).transpose()?);
            let (old, new) = (old.as_ref(), new.as_ref());
            let nothing = Node::Map(Vec::new());
            let after = step.declared.and_then(|one| one.get(PAYLOAD));
            let after = after.filter(|payload| **payload != Node::Null).unwrap_or(&nothing);
            let paths = step.payload.filter(|_| change.field == PAYLOAD);
            let paths = paths.map(|before| payload::changes(PAYLOAD, before, after));
            // A key that is there twice can make payloads differ where no path does: their hashes say so.
            let lines = paths
                .filter(|paths| !paths.is_empty())
                .unwrap_or_else(|| vec![PathChange { path: change.field.clone(), old, new }]);
            for PathChange { path, old, new } in lines.iter().take(MOST_PATHS) {
                self.out.line(&format!("    {path}: {} -> {}", shown(*old), shown(*new)))?;
            }
            if lines.len() > MOST_PATHS {
                let more = lines.len() - MOST_PATHS;
                self.out.line(&format!("    and {more} more differences of {}", change.field))?;
            }
        }
        Ok(())
    }

    fn times(&mut self, step: &Step<'_>, difference: &Difference) -> Result<(), Failure> {
        if let Some(upstream) = step.follows {
            self.out.line(&format!("    follows {upstream}"))?;
        } else if let Some(times) = &difference.occurrences {
            if let Some(before) = &times.before {
                self.out.line(&format!("    fired {}", coming(before)))?;
            }
            let verb = if times.before.is_some() { "fires now" } else { "fires" };
            self.out.line(&format!("    {verb} {}", coming(&times.after)))?;
            if let Some(left_out) = left_out(&times.after) {
                self.out.line(&format!("    {left_out}"))?;
            }
        }
        Ok(())
    }
}

/// A value, as far as it can be reviewed.
fn shown(node: Option<&Node>) -> String {
    let text = node.map_or("nothing".to_owned(), Node::to_string);
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
