//! `ls`: schedules that match.

use chrono::{DateTime, Utc};
use clap::Args;
use futures::TryStreamExt as _;
use nats_scheduler::client::{ListSchedules, ScheduleSummary, ScheduleType, Sort, Status};

use super::{Page, show_page, state, when};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::{Filter, filtered, listed_creator};
use crate::cli::moment;
use crate::cli::options::Options;
use crate::cli::output::table::{Cell, Column, Tone, column, text, wide};
use crate::cli::output::{Listed, Output, schedule_name};
use crate::cli::session::Session;
use crate::cli::words::{one_of, word};

/// Rows that are fetched at once with `--all`.
const PART: usize = 100;

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    page: Page,
    /// All pages, one after the other.
    #[arg(long, short, conflicts_with_all = ["page", "limit"])]
    all: bool,
    /// The order.
    #[arg(long, default_value = "created_at", value_parser = one_of::<Sort>(), allow_hyphen_values = true)]
    sort: Sort,
}

impl List {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let creator = listed_creator(session, common.creator.is_some());
        let request = filtered!(ListSchedules { sort: Some(self.sort) }, &self.filter, creator);
        if self.all {
            return self.stream(session, request, out).await;
        }
        let Page { page, limit } = self.page;
        let request = ListSchedules { page: Some(page), limit: Some(limit), ..request };
        let reply = session.client.list(&request).await?;
        show_page(&reply, "no schedules", out)
    }

    /// Shows all pages, of which no more than one is in memory.
    async fn stream(
        &self,
        session: &Session,
        request: ListSchedules,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let mut list = out.parts::<ScheduleSummary>();
        let mut parts = session.client.all_schedules(request).try_chunks(PART);
        loop {
            match parts.try_next().await {
                Ok(Some(part)) => list.part(out, &part)?,
                Ok(None) => break,
                Err(error) => return Err(error.1.into()),
            }
            // Somebody may be reading along.
            out.flush()?;
        }
        list.end(out, "no schedules")?;
        Ok(Exit::Done)
    }
}

impl Listed for ScheduleSummary {
    const COLUMNS: &'static [Column] = &[
        text("NAME"),
        text("TIMING"),
        column("STATUS"),
        column("NEXT"),
        column("LAST"),
        text("TARGET"),
        wide("CREATOR"),
        wide("OWNER"),
        wide("TAGS"),
        wide("RUNS"),
        wide("FAILED"),
        wide("ID"),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell> {
        let is_over = matches!(self.status, Status::Paused | Status::Deleted) || !self.is_active;
        let next = when(self.next_run_at, now);
        vec![
            Cell::new(&self.name),
            Cell::new(timing(self)),
            standing(self),
            if is_over { next.tone(Tone::Faint) } else { next },
            last(self, now),
            Cell::new(&self.target_command),
            Cell::new(&self.created_by),
            Cell::of(self.owner.clone()),
            Cell::of((!self.tags.is_empty()).then(|| self.tags.join(","))),
            Cell::new(self.run_count.to_string()),
            Cell::new(self.failure_count.to_string()),
            Cell::new(self.id.to_string()),
        ]
    }

    fn name(&self, whose: &str) -> String {
        schedule_name(&self.name, self.id, &self.created_by, whose)
    }
}

fn timing(schedule: &ScheduleSummary) -> String {
    match schedule.schedule_type {
        ScheduleType::Cron => {
            let expression = schedule.cron_expression.as_deref().unwrap_or("?");
            match schedule.timezone.as_str() {
                "UTC" => expression.to_owned(),
                zone => format!("{expression} {zone}"),
            }
        }
        ScheduleType::Interval => {
            let seconds = schedule.interval_seconds.unwrap_or_default();
            format!("every {}", moment::every(u64::from(seconds)))
        }
        ScheduleType::OneTime => {
            let at = schedule.scheduled_at.map(moment::absolute);
            format!("once {}", at.unwrap_or_default())
        }
        ScheduleType::Immediate => "at once".to_owned(),
        ScheduleType::Dependent => "after another".to_owned(),
    }
}

/// The status; or, where that is not all, what is wrong.
fn standing(schedule: &ScheduleSummary) -> Cell {
    match schedule.status {
        Status::Active if !schedule.is_active => Cell::new("off").tone(Tone::Warning),
        Status::Active if schedule.is_failing => state("failing"),
        Status::Active if schedule.is_overdue => state("overdue"),
        status => state(&word(&status)),
    }
}

fn last(schedule: &ScheduleSummary, now: DateTime<Utc>) -> Cell {
    let Some(at) = schedule.last_run_at else { return Cell::of(None::<String>) };
    let ago = moment::relative(at, now);
    match schedule.last_outcome {
        Some(outcome) => {
            let tone = if word(&outcome) == "success" { Tone::Plain } else { Tone::Bad };
            Cell::new(format!("{} {ago}", word(&outcome))).tone(tone)
        }
        None => Cell::new(ago),
    }
}
