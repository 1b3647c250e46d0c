//! Operations on calendars.
//!
//! A change is one conditional write of the calendar's key. Instances learn of it by their watch, and each says in its
//! heartbeats by which revision everything is claimed that it claims. Schedules that use the calendar are planned again by
//! the engines, each by a write to its record. The reply waits for both, and for what was claimed ahead; what it could not
//! wait for it names.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the write | nothing | the caller asks again |
//! | after the write | a calendar whose schedules are outdated, and a change to announce | any instance plans and announces |
//! | after a deletion, before it is announced | a key that says so | any instance announces it and removes the key |
//!
//! Of a deletion and a creation of a schedule that uses the calendar, at the same time, both may succeed: then the schedule
//! waits, and says for what.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ApiError;
use super::honoured;
use super::keyed::{
    PutOutcome, UsingSchedule, check_count, check_unused, listed, required_name, shown,
};
use super::reply::{Reply, Warning};
use super::schedules::page;
use super::{Api, Caller};
use crate::index::Entry;
use crate::port::Nats;
use crate::schedule::declared::page_fields;
use crate::schedule::{
    CALENDARS_NEED, Calendar, Days, FieldFault, MAX_CALENDAR_BYTES, PutCalendar, Schedule, Span,
};

/// How long to wait until all schedules that use a calendar are planned again.
const PLANNED_WITHIN: Duration = Duration::from_secs(10);
/// Interval between looks.
const LOOK: Duration = Duration::from_millis(20);

/// A request for a calendar.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetCalendar {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
}

/// A request to delete a calendar.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteCalendar {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// The revision that it must have.
    pub expected_revision: Option<u64>,
}

page_fields! { request {
    /// A request for all calendars, in the order of their names.
    pub struct ListCalendars {}
} }

/// A calendar.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarView {
    /// Its id, which its events carry.
    pub calendar_id: Uuid,
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// How often it was changed: 1 when it is created.
    pub revision: u64,
    /// Number of its entries of days.
    pub day_count: usize,
    /// Number of its spans.
    pub span_count: usize,
    /// Its days; not in lists.
    #[serde(default)]
    pub days: Option<Vec<Days>>,
    /// Its spans; not in lists.
    #[serde(default)]
    pub spans: Option<Vec<Span>>,
    /// A file had rules without an end, and they were expanded until this day. Put it again before then.
    #[serde(default)]
    pub known_until: Option<NaiveDate>,
    /// Number of schedules that use it, without deleted ones.
    pub used_by: usize,
    /// The first 100 of them, by name; not in lists.
    #[serde(default)]
    pub schedules: Option<Vec<UsingSchedule>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Who last changed it.
    pub updated_by: String,
}

/// A calendar that was put.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarPut {
    /// What was done.
    pub outcome: PutOutcome,
    /// The calendar, without its days and spans.
    pub calendar: CalendarView,
    /// Number of schedules that use it and were not planned again in time; they are, a little later.
    pub not_planned: usize,
    /// Instances that have not said in time that they go by it.
    pub unconfirmed: Vec<Uuid>,
}

/// A calendar that was deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarDeleted {
    /// Its id.
    pub calendar_id: Uuid,
    /// Its name.
    pub name: String,
    /// When.
    pub deleted_at: DateTime<Utc>,
}

impl CalendarView {
    fn of(calendar: &Calendar, used_by: usize, whole: bool) -> Self {
        Self {
            calendar_id: calendar.id,
            name: calendar.name.clone(),
            description: calendar.description.clone(),
            revision: calendar.revision,
            day_count: calendar.days.len(),
            span_count: calendar.spans.len(),
            days: whole.then(|| calendar.days.clone()),
            spans: whole.then(|| calendar.spans.clone()),
            known_until: calendar.known_until,
            used_by,
            schedules: None,
            created_at: calendar.created_at,
            created_by: calendar.created_by.clone(),
            updated_at: calendar.updated_at,
            updated_by: calendar.updated_by.clone(),
        }
    }
}

impl<N: Nats> Api<N> {
    /// Creates a calendar, or replaces what it says. After the reply nothing is due by what it said before. The same content
    /// changes nothing.
    ///
    /// # Errors
    /// `invalid`, `conflict` (`expected_revision`), `limit_exceeded`, `unavailable`.
    pub async fn put_calendar(
        &self,
        request: PutCalendar,
        caller: &Caller,
    ) -> Result<Reply<CalendarPut>, ApiError> {
        // Rules of a file may take seconds to expand.
        let now = self.clock.now();
        let read = move || (request.content(now), request);
        let read = tokio::task::spawn_blocking(read).await;
        let (content, request) = read.map_err(|error| ApiError::internal(&error))?;
        let content = content?;
        let name = request.name.clone().unwrap_or_default();
        let actor = caller.actor();
        let (mut outcome, version) = (PutOutcome::Unchanged, self.chance.id());
        let (calendar, revision) = self
            .change_keyed(&name, request.expected_revision, |calendar, event_id| {
                if calendar.is_none() {
                    check_count::<Calendar>(self.index.calendars().iter().count())?;
                }
                let is_new =
                    calendar.as_ref().is_none_or(|calendar: &Calendar| calendar.is_deleted);
                let mut calendar = calendar.unwrap_or_else(|| Calendar {
                    id: self.chance.id(),
                    name: name.clone(),
                    ..Calendar::default()
                });
                outcome = match is_new {
                    true => PutOutcome::Created,
                    false if calendar.says(&content) => return Ok(Err(calendar)),
                    false => PutOutcome::Changed,
                };
                let author = caller.author(&actor);
                calendar.put(content.clone(), version, event_id, self.clock.now(), author);
                check_size(&calendar)?;
                Ok(Ok(calendar))
            })
            .await?;
        caller.permit.waits();
        let asked = Instant::now();
        let unconfirmed = self.honoured_by_those_who_know(revision).await;
        let not_planned = self.planned_by(&name).await;
        if outcome != PutOutcome::Unchanged {
            self.let_armed_pass().await;
            tracing::info!(calendar = name, updated_by = actor, ?outcome, "calendar put");
        }
        let waited_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let calendar = CalendarView::of(&calendar, self.users_of(&name).len(), false);
        let mut warnings = Vec::new();
        if not_planned > 0 {
            let message = format!(
                "schedules that are still to be planned by the calendar as it is now: {not_planned}"
            );
            warnings.push(Warning {
                code: "not_planned".to_owned(),
                field: String::new(),
                message,
            });
        }
        warnings.extend(honoured::warnings(&unconfirmed, "it uses the calendar as it is now"));
        let data = CalendarPut { outcome, calendar, not_planned, unconfirmed };
        let mut reply = Reply::new(data, caller).waited(waited_ms);
        reply.warnings = warnings;
        Ok(reply)
    }

    /// Returns a calendar with all that it says, as the bucket's leader has it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn get_calendar(
        &self,
        request: GetCalendar,
        caller: &Caller,
    ) -> Result<Reply<CalendarView>, ApiError> {
        let name = required_name(request.name)?;
        let calendar: Calendar = self.read_named(&name).await?;
        self.catch_up().await;
        let users = self.users_of(&name);
        let schedules = Some(shown(&users, |_| 0));
        let view = CalendarView { schedules, ..CalendarView::of(&calendar, users.len(), true) };
        Ok(Reply::new(view, caller))
    }

    /// Returns all calendars, page by page, without their days and spans.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn list_calendars(
        &self,
        request: ListCalendars,
        caller: &Caller,
    ) -> Result<Reply<Vec<CalendarView>>, ApiError> {
        let page = page(request.page, request.limit)?;
        self.catch_up().await;
        let users = self.index.tied(is_user);
        let used_by = |name: &str| users.iter().filter(|user| uses(&user.schedule, name)).count();
        let view = |calendar: &Calendar| CalendarView::of(calendar, used_by(&calendar.name), false);
        Ok(listed(&self.index.calendars(), page, view, caller))
    }

    /// Deletes a calendar that no schedule uses.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `conflict` (schedules use it; `expected_revision`), `unavailable`.
    pub async fn delete_calendar(
        &self,
        request: DeleteCalendar,
        caller: &Caller,
    ) -> Result<Reply<CalendarDeleted>, ApiError> {
        let name = required_name(request.name)?;
        let actor = caller.actor();
        let now = self.clock.now();
        let delete = |calendar: &mut Calendar, event_id| {
            check_unused::<Calendar>(&name, &self.users_of(&name))?;
            calendar.delete(event_id, now, caller.author(&actor));
            Ok(())
        };
        let calendar = self.delete_keyed(&name, request.expected_revision, delete).await?;
        tracing::info!(calendar = name, deleted_by = actor, "calendar deleted");
        let data = CalendarDeleted { calendar_id: calendar.id, name, deleted_at: now };
        Ok(Reply::new(data, caller))
    }

    /// The schedules that use a calendar, without deleted ones.
    fn users_of(&self, name: &str) -> Vec<Arc<Entry>> {
        self.index.tied(|schedule| uses(schedule, name))
    }

    /// Waits until every instance that knows calendars goes by this revision; returns those that do not say so in time.
    async fn honoured_by_those_who_know(&self, revision: u64) -> Vec<Uuid> {
        // Others leave schedules with calendars alone.
        let unconfirmed = self.honoured_by_all(revision, CALENDARS_NEED).await;
        // Then a request that comes next finds it.
        self.wait_until_seen(revision).await;
        unconfirmed
    }

    /// Waits until all schedules that use a calendar are planned by it; returns how many are not in time.
    async fn planned_by(&self, name: &str) -> usize {
        let deadline = Instant::now() + PLANNED_WITHIN;
        loop {
            let calendars = self.index.calendars();
            let is_behind =
                |schedule: &Schedule| uses(schedule, name) && schedule.is_outdated(&calendars);
            let behind = self.index.tied(is_behind).len();
            if behind == 0 || Instant::now() >= deadline {
                return behind;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a schedule that is not deleted uses calendars.
fn is_user(schedule: &Schedule) -> bool {
    schedule.spec.timing.has_calendars() && schedule.is_live()
}

fn uses(schedule: &Schedule, name: &str) -> bool {
    is_user(schedule) && schedule.spec.timing.calendars().any(|used| used == name)
}

fn check_size(calendar: &Calendar) -> Result<(), ApiError> {
    let bytes = serde_json::to_vec(&calendar).map_or(0, |encoded| encoded.len());
    match bytes <= MAX_CALENDAR_BYTES {
        true => Ok(()),
        false => {
            let reason = format!(
                "and spans take {bytes} bytes with what belongs to them; at most {MAX_CALENDAR_BYTES} are allowed"
            );
            Err(vec![FieldFault::new("days", reason)].into())
        }
    }
}
