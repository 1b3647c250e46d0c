//! `calendar`: named sets of days and spans that schedules leave out or keep to.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use nats_scheduler::client::{
    CalendarView, Days, DeleteCalendar, ListCalendars, PutCalendar, Span,
};
use std::path::PathBuf;

use super::changes::tell_warnings;
use super::completion::Name;
use super::failure::{Exit, Failure};
use super::input;
use super::keyed::subcommands;
use super::moment::exact;
use super::options::{Options, With};
use super::output::table::{Cell, Column, column, text, wide};
use super::output::{Listed, Output};
use super::reads::{Page, at, show_page};
use super::session::Session;
use super::text::counted;
use super::{examples, keyed};

#[derive(Subcommand, Debug)]
pub enum Calendar {
    /// List calendars.
    #[command(after_help = examples::CALENDAR_LS)]
    Ls(With<List>),
    /// Show a calendar with all its days and spans.
    #[command(after_help = examples::CALENDAR_GET)]
    Get(With<Get>),
    /// Create a calendar, or replace what it says.
    #[command(after_help = examples::CALENDAR_PUT)]
    Put(With<Put>),
    /// Delete calendars that no schedule uses.
    #[command(after_help = examples::CALENDAR_RM)]
    Rm(With<Remove>),
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    page: Page,
}

#[derive(Args, Debug)]
pub struct Get {
    /// The calendar.
    #[arg(add = Name::Calendar.completer())]
    name: String,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The calendar.
    #[arg(add = Name::Calendar.completer())]
    name: String,
    /// An iCalendar file, or - for standard input, whose events are added to the days and spans that are given.
    #[arg(long, value_name = "FILE")]
    ics: Option<PathBuf>,
    /// A day such as 2026-12-25, or days from one to another: 2026-12-24/2026-12-26. It can be given several times.
    #[arg(long = "day", value_name = "DAYS")]
    days: Vec<Days>,
    /// A span of time, from its start to its end: 2026-12-31T12:00:00Z/2027-01-01T00:00:00Z. It can be given several
    /// times.
    #[arg(long = "span", value_name = "SPAN", value_parser = span)]
    spans: Vec<Span>,
    /// A description for people.
    #[arg(long, short)]
    description: Option<String>,
    /// Only if this is its revision; 0 if there must be none.
    #[arg(long, value_name = "REVISION")]
    expect: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Remove {
    /// The calendars.
    #[arg(required = true, value_name = "NAME", add = Name::Calendar.completer())]
    names: Vec<String>,
}

subcommands!(Calendar: while_read Ls | Get, to_the_end Put | Rm);

impl List {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let Page { page, limit } = self.page;
        let request = ListCalendars { page: Some(page), limit: Some(limit) };
        show_page(&session.client.list_calendars(&request).await?, "no calendars", out)
    }
}

impl Get {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let calendar = session.client.get_calendar(self.name.as_str()).await?.data;
        let days: Vec<_> = calendar.days.iter().flatten().map(ToString::to_string).collect();
        let spans = calendar
            .spans
            .iter()
            .flatten()
            .map(|span| format!("{}/{}", exact(span.start), exact(span.end)));
        let spans: Vec<_> = spans.collect();
        let pairs = [
            ("name", Cell::new(&calendar.name)),
            ("description", Cell::of(calendar.description.clone())),
            ("days", Cell::of(Some(days.join(", ")))),
            ("spans", Cell::of(Some(spans.join(", ")))),
            ("known until", Cell::of(calendar.known_until.map(|day| day.to_string()))),
            ("used by", Cell::new(calendar.used_by.to_string())),
            ("revision", Cell::new(calendar.revision.to_string())),
            ("updated", at(Some(calendar.updated_at))),
            ("updated by", Cell::new(&calendar.updated_by)),
        ];
        out.thing(&calendar, &calendar.name, &pairs)?;
        Ok(Exit::Done)
    }
}

impl Put {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = PutCalendar {
            name: Some(self.name.clone()),
            description: self.description.clone(),
            days: Some(self.days.clone()),
            spans: Some(self.spans.clone()),
            ics: self.ics.as_deref().map(input::file_or_stdin).transpose()?,
            expected_revision: self.expect,
        };
        let reply = session.client.put_calendar(&request).await?;
        tell_warnings(&reply.warnings);
        let put = reply.data;
        if !out.format.is_table() {
            out.thing(&put, &put.calendar.name, &[])?;
            return Ok(Exit::Done);
        }
        let outcome = keyed::word(put.outcome);
        let CalendarView { name, day_count, span_count, used_by, .. } = &put.calendar;
        let days = counted(*day_count as u64, "date entry", "date entries");
        let spans = counted(*span_count as u64, "span", "spans");
        out.line(&format!("calendar {name} {outcome}: {days}, {spans}, used by {used_by}"))?;
        Ok(Exit::Done)
    }
}

impl Remove {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let act = |name: String| {
            let request = DeleteCalendar { name: Some(name), ..DeleteCalendar::default() };
            async move { session.client.delete_calendar(&request).await }
        };
        keyed::remove("calendar", &self.names, out, act, |deleted| &deleted.name).await
    }
}

fn span(text: &str) -> Result<Span, String> {
    let wrong = || "is no span such as 2026-12-31T12:00:00Z/2027-01-01T00:00:00Z".to_owned();
    let (start, end) = text.split_once('/').ok_or_else(wrong)?;
    let time = |text: &str| text.parse::<DateTime<Utc>>().map_err(|_| wrong());
    Ok(Span { start: time(start)?, end: time(end)? })
}

impl Listed for CalendarView {
    const COLUMNS: &'static [Column] = &[
        text("NAME"),
        column("DAYS"),
        column("SPANS"),
        column("USED BY"),
        column("UPDATED"),
        text("BY"),
        wide("KNOWN UNTIL"),
        wide("REVISION"),
        wide("DESCRIPTION"),
    ];

    fn cells(&self, _now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            Cell::new(&self.name),
            Cell::new(self.day_count.to_string()),
            Cell::new(self.span_count.to_string()),
            Cell::new(self.used_by.to_string()),
            at(Some(self.updated_at)),
            Cell::new(&self.updated_by),
            Cell::of(self.known_until.map(|day| day.to_string())),
            Cell::new(self.revision.to_string()),
            Cell::of(self.description.clone()),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.name.clone()
    }
}
