//! Options that select schedules by what they have in common.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{Ending, ScheduleType, Status};

use super::completion::Name;
use super::words::one_of;
use super::{moment, session::Session};

/// Heading of these options in the help.
const HEADING: &str = "Filters";
/// All of them. Who names schedules has said which: beside names a filter would be an option without effect.
pub const FILTERS: [&str; 16] = [
    "tags",
    "all_tags",
    "status",
    "schedule_type",
    "owned_by",
    "group",
    "calendar",
    "failing",
    "overdue",
    "off",
    "last_outcome",
    "target",
    "prefix",
    "contains",
    "due_after",
    "due_before",
];

#[derive(Args, Debug, Default)]
pub struct Filter {
    /// With this tag; several: with any of them.
    #[arg(long = "tag", value_name = "TAG", help_heading = HEADING)]
    pub tags: Vec<String>,
    /// With all the tags.
    #[arg(long, requires = "tags", help_heading = HEADING)]
    pub all_tags: bool,
    /// With this status [default: all but deleted].
    #[arg(long, value_parser = one_of::<Status>(), help_heading = HEADING)]
    pub status: Option<Status>,
    /// Of this type.
    #[arg(long = "type", value_name = "TYPE", value_parser = one_of::<ScheduleType>(), help_heading = HEADING)]
    pub schedule_type: Option<ScheduleType>,
    /// Of this owner; empty: without an owner.
    #[arg(long, value_name = "OWNER", help_heading = HEADING)]
    pub owned_by: Option<String>,
    /// In this concurrency group.
    #[arg(long, value_name = "GROUP", add = Name::Group.completer(), help_heading = HEADING)]
    pub group: Option<String>,
    /// That keep to this calendar, or leave it out.
    #[arg(long, value_name = "CALENDAR", add = Name::Calendar.completer(), help_heading = HEADING)]
    pub calendar: Option<String>,
    /// That are failing.
    #[arg(long, help_heading = HEADING)]
    pub failing: bool,
    /// That are overdue.
    #[arg(long, help_heading = HEADING)]
    pub overdue: bool,
    /// That are switched off.
    #[arg(long, help_heading = HEADING)]
    pub off: bool,
    /// Whose latest run ended this way.
    #[arg(long, value_name = "OUTCOME", value_parser = one_of::<Ending>(), help_heading = HEADING)]
    pub last_outcome: Option<Ending>,
    /// Whose target command begins with this.
    #[arg(long, value_name = "PREFIX", help_heading = HEADING)]
    pub target: Option<String>,
    /// Whose name begins with this.
    #[arg(long, value_name = "PREFIX", help_heading = HEADING)]
    pub prefix: Option<String>,
    /// Whose name contains this, in upper or lower case.
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    pub contains: Option<String>,
    /// That are next due at this time or later.
    #[arg(long, value_name = "TIME", value_parser = moment::ahead, allow_hyphen_values = true, help_heading = HEADING)]
    pub due_after: Option<DateTime<Utc>>,
    /// That are next due before this time.
    #[arg(long, value_name = "TIME", value_parser = moment::ahead, allow_hyphen_values = true, help_heading = HEADING)]
    pub due_before: Option<DateTime<Utc>>,
}

/// Whose schedules a list shows: those of all, unless `--creator` says so.
pub fn listed_creator(session: &Session, is_given: bool) -> Option<String> {
    session.creator.clone().filter(|_| is_given)
}

/// A request with a filter, and further fields.
macro_rules! filtered {
    ($request:ident { $($field:ident: $value:expr),* $(,)? }, $filter:expr, $creator:expr) => {{
        let filter: &$crate::cli::filter::Filter = $filter;
        let tags = &filter.tags;
        let mut request = $request::default();
        request.creator = $creator;
        request.owner = filter.owned_by.clone();
        request.group = filter.group.clone();
        request.calendar = filter.calendar.clone();
        request.tags = (!tags.is_empty()).then(|| tags.clone());
        request.tags_match = filter.all_tags.then_some(nats_scheduler::client::TagsMatch::All);
        request.status = filter.status;
        request.schedule_type = filter.schedule_type;
        request.is_active = filter.off.then_some(false);
        request.is_failing = filter.failing.then_some(true);
        request.is_overdue = filter.overdue.then_some(true);
        request.last_outcome = filter.last_outcome;
        request.target_prefix = filter.target.clone();
        request.name_prefix = filter.prefix.clone();
        request.name_contains = filter.contains.clone();
        request.due_after = filter.due_after;
        request.due_before = filter.due_before;
        $(request.$field = $value;)*
        request
    }};
}
pub(super) use filtered;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_are_listed() {
        let command = Filter::augment_args(clap::Command::new("x"));
        let ids: Vec<_> = command.get_arguments().map(|it| it.get_id().as_str()).collect();
        assert_eq!(ids, FILTERS);
    }
}
