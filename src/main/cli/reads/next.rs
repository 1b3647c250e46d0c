//! `next`: what comes, of a schedule or of all.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{ListUpcoming, PreviewSchedule, UpcomingOccurrence};
use serde::Serialize;

use super::{at, when};
use crate::cli::coming::left_out;
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::{FILTERS, Filter, filtered, listed_creator};
use crate::cli::moment;
use crate::cli::options::Options;
use crate::cli::output::table::{Cell, Column, column, text, wide};
use crate::cli::output::{Listed, Output, schedule_name};
use crate::cli::session::{Session, about};
use crate::cli::text::note;
use crate::cli::words::word;

/// Occurrences of all schedules that are shown, unless told otherwise.
const DEFAULT_COUNT: u64 = 100;
/// Occurrences of a request.
const PART: u64 = 1000;

#[derive(Args, Debug)]
pub struct Next {
    /// The schedule: its name or id.
    #[arg(required_unless_present = "all", required_unless_present_any = FILTERS, conflicts_with = "all", conflicts_with_all = FILTERS,
        value_parser = some_name, add = Name::Schedule.completer())]
    schedule: Option<String>,
    /// The coming times of all schedules; filters alone mean all that they select.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// How many occurrences [default: 10; of several schedules 100].
    #[arg(long, short = 'n', value_name = "NUMBER")]
    count: Option<u64>,
    /// Only what comes after this [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment::ahead, allow_hyphen_values = true)]
    from: Option<DateTime<Utc>>,
    /// With --all or filters: the end [default: an hour after the start].
    #[arg(long, value_name = "TIME", value_parser = moment::ahead, conflicts_with = "schedule", allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
}

impl Next {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        match &self.schedule {
            Some(schedule) => self.of(schedule, session, out).await,
            None => self.of_all(session, common, out).await,
        }
    }

    async fn of(&self, name: &str, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request =
            about!(PreviewSchedule { count: self.count, after: self.from }, session.which(name));
        let preview = session.client.preview(&request).await?.data;
        let moved = |time| preview.moved.iter().find(|moved| moved.at == time);
        let occurrences = preview.occurrences.iter().enumerate().map(|(n, time)| Occurrence {
            scheduled_for: *time,
            due_at: preview.due.get(n).copied(),
            moved: moved(*time).map(|moved| word(&moved.cause)),
        });
        let occurrences: Vec<_> = occurrences.collect();
        if out.format.is_table() {
            note(&preview.description);
            if let Some(left_out) = left_out(&preview) {
                note(&left_out);
            }
        }
        out.list(&occurrences, "no occurrences")?;
        Ok(Exit::Done)
    }

    async fn of_all(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let creator = listed_creator(session, common.creator.is_some());
        let request =
            filtered!(ListUpcoming { from: self.from, to: self.to }, &self.filter, creator);
        let mut left = self.count.unwrap_or(DEFAULT_COUNT);
        let mut list = out.parts::<UpcomingOccurrence>();
        let mut cursor = None;
        // No more than one part is in memory.
        let (span, is_more) = loop {
            let (limit, after) = (Some(left.min(PART)), cursor.take());
            let request = ListUpcoming { limit, cursor: after, ..request.clone() };
            let upcoming = session.client.upcoming(&request).await?.data;
            list.part(out, &upcoming.occurrences)?;
            out.flush()?;
            left = left.saturating_sub(upcoming.occurrences.len() as u64);
            cursor = upcoming.next_cursor;
            if left == 0 || cursor.is_none() {
                let (from, to) = (moment::absolute(upcoming.from), moment::absolute(upcoming.to));
                break (format!("{from} to {to}"), cursor.is_some());
            }
        };
        list.end(out, &format!("nothing from {span}"))?;
        out.flush()?;
        if out.format.is_table() && is_more {
            note(&format!("there are more times from {span}: --count shows more"));
        }
        Ok(Exit::Done)
    }
}

/// An occurrence of one schedule.
#[derive(Serialize)]
struct Occurrence {
    scheduled_for: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved: Option<String>,
}

impl Listed for Occurrence {
    const COLUMNS: &'static [Column] =
        &[column("SCHEDULED FOR"), column("NEXT"), wide("DUE"), column("MOVED BY")];

    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            at(Some(self.scheduled_for)),
            when(Some(self.scheduled_for), now),
            at(self.due_at.or(Some(self.scheduled_for))),
            Cell::of(self.moved.clone()),
        ]
    }

    fn name(&self, _: &str) -> String {
        moment::absolute(self.scheduled_for)
    }
}

impl Listed for UpcomingOccurrence {
    const COLUMNS: &'static [Column] = &[
        column("SCHEDULED FOR"),
        column("NEXT"),
        text("NAME"),
        wide("DUE"),
        wide("CREATOR"),
        wide("MOVED BY"),
        wide("ID"),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            at(Some(self.scheduled_for)),
            when(Some(self.scheduled_for), now),
            Cell::new(&self.schedule_name),
            at(Some(self.due_at)),
            Cell::new(&self.created_by),
            Cell::of(self.moved.as_ref().map(word)),
            Cell::new(self.schedule_id.to_string()),
        ]
    }

    fn name(&self, whose: &str) -> String {
        schedule_name(&self.schedule_name, self.schedule_id, &self.created_by, whose)
    }
}
