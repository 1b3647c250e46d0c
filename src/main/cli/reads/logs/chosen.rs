//! Whose events are shown.

use std::collections::HashSet;

use futures::TryStreamExt as _;
use nats_scheduler::client::{GetSchedule, ListSchedules};
use uuid::Uuid;

use super::event::Event;
use crate::cli::failure::Failure;
use crate::cli::node::Node;
use crate::cli::session::{Session, about};

/// Changes after which a schedule may match that did not before.
const MATCHES_ANEW: [&str; 7] =
    ["created", "updated", "restored", "paused", "resumed", "failing", "overdue"];

/// Whose events are shown.
pub(super) enum Chosen {
    All,
    One(Uuid),
    /// Those that a filter selects: of so many only the ids are kept.
    Some(HashSet<Uuid>, Box<ListSchedules>),
}

impl Chosen {
    /// The schedule of a name, those of a filter, or all.
    ///
    /// # Errors
    /// Those of the requests: the name is nobody's.
    pub(super) async fn new(
        name: Option<&str>,
        filter: ListSchedules,
        session: &Session,
    ) -> Result<Self, Failure> {
        if let Some(name) = name {
            let request = about!(GetSchedule {}, session.which(name));
            return Ok(Self::One(session.client.get_with(&request).await?.data.id));
        }
        if Node::of(&filter)? == Node::of(&ListSchedules::default())? {
            return Ok(Self::All);
        }
        let all = session.client.all_schedules(filter.clone());
        let ids = all.map_ok(|schedule| schedule.id).try_collect().await?;
        Ok(Self::Some(ids, Box::new(filter)))
    }

    /// The schedule, if it is one.
    pub(super) fn one(&self) -> Option<Uuid> {
        match self {
            Self::One(id) => Some(*id),
            Self::All | Self::Some(..) => None,
        }
    }

    pub(super) fn has(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::One(id) => *id == event.schedule(),
            Self::Some(ids, _) => ids.contains(&event.schedule()),
        }
    }

    /// Looks whether a schedule that has changed matches now.
    ///
    /// # Errors
    /// Those of the request.
    pub(super) async fn learn(&mut self, event: &Event, session: &Session) -> Result<(), Failure> {
        let (Self::Some(ids, filter), Event::Change(change)) = (self, event) else { return Ok(()) };
        let is_named = filter.name_prefix.as_ref().is_none_or(|it| change.name.starts_with(it));
        let is_new = !ids.contains(&change.schedule_id);
        if is_new && is_named && MATCHES_ANEW.contains(&change.event.as_str()) {
            let request =
                ListSchedules { name_prefix: Some(change.name.clone()), ..*filter.clone() };
            let mut all = session.client.all_schedules(request);
            while let Some(schedule) = all.try_next().await? {
                ids.insert(schedule.id);
            }
        }
        Ok(())
    }
}
