//! `audit`: who changed which schedule, when and how.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{AuditEvent, ChangeEvent, ListAudit};

use super::{Page, at, show_page, state};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::table::{Cell, Column, column, text, wide};
use crate::cli::output::{Listed, Output};
use crate::cli::session::{Session, about};
use crate::cli::words::one_of;

#[derive(Args, Debug)]
pub struct Audit {
    /// The schedule: its name or id [default: all].
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    pub schedule: Option<String>,
    /// Only this event.
    #[arg(long, value_parser = one_of::<AuditEvent>())]
    event: Option<AuditEvent>,
    /// Only changes by this user; `scheduler` is the service itself.
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// Made at this time or later.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    since: Option<DateTime<Utc>>,
    /// Made at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    page: Page,
}

impl Audit {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = about!(
            ListAudit {
                event: self.event,
                actor: self.by.clone(),
                since: self.since,
                until: self.until,
                page: Some(self.page.page),
                limit: Some(self.page.limit),
            },
            session.which_if(self.schedule.as_deref())
        );
        let reply = session.client.audit(&request).await?;
        show_page(&reply, "no changes", out)
    }
}

impl Listed for ChangeEvent {
    const COLUMNS: &'static [Column] = &[
        column("TIME"),
        text("NAME"),
        column("EVENT"),
        text("ACTOR"),
        text("CHANGES"),
        wide("REVISION"),
        wide("ID"),
    ];

    fn cells(&self, _now: DateTime<Utc>) -> Vec<Cell> {
        let fields: Vec<_> = self.changes.iter().map(|change| change.field.as_str()).collect();
        let fields = (!fields.is_empty()).then(|| fields.join(", "));
        vec![
            at(Some(self.time)),
            Cell::new(&self.name),
            state(&self.event),
            Cell::new(&self.actor),
            Cell::of(fields.or_else(|| self.reason.clone())),
            Cell::new(self.revision.to_string()),
            Cell::new(self.schedule_id.to_string()),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.event_id.to_string()
    }
}
