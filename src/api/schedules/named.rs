//! Finding the schedule that a request names by its creator and name.
//!
//! Done once, for every request that has the fields, before its operation runs: the operation then has the id. The
//! answer is as fresh as that of `schedule.get`. A schedule that gets another name between that and the operation is
//! still the one that was meant.

use std::fmt::Write as _;

use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::{Api, Caller, Checked};
use super::read::CAUGHT_UP_WITHIN;
use crate::index::Reservation;
use crate::names::name_key;
use crate::port::Nats;
use crate::schedule::{AfterFields, FieldFault, Status};

/// Maximum number of suggestions for a name that nothing has.
const SUGGESTIONS: usize = 3;
/// Maximum number of deleted schedules of one name that an error names.
const NAMESAKES: usize = 20;

/// The fields of a request that name a schedule.
pub(crate) struct Named<'a> {
    id: &'a mut Option<Uuid>,
    name: &'a mut Option<String>,
    creator: &'a mut Option<String>,
    /// What stands before their names.
    within: &'static str,
    /// The creator where neither the request nor a header says.
    default: Option<String>,
    /// Whether that one goes before who asks, since others than the creator may ask.
    declared: bool,
    /// Whether it is one that was deleted softly.
    deleted: bool,
}

impl<'a> Named<'a> {
    /// The fields of a request for a schedule that is not deleted.
    pub(crate) fn live(
        id: &'a mut Option<Uuid>,
        name: &'a mut Option<String>,
        creator: &'a mut Option<String>,
    ) -> Self {
        Self { id, name, creator, within: "", default: None, declared: false, deleted: false }
    }

    /// The schedule that another one follows, whose creator is that of the other unless it is given.
    pub(super) fn upstream(
        after: &'a mut Option<AfterFields>,
        default: Option<String>,
    ) -> Option<Self> {
        let AfterFields { schedule_id: id, schedule_name: name, creator, .. } = after.as_mut()?;
        let within = "after.";
        Some(Self { id, name, creator, within, default, declared: false, deleted: false })
    }

    /// The same, of a request that declares a schedule of its creator.
    pub(super) fn declared(self) -> Self {
        Self { declared: true, ..self }
    }

    /// The same, in a part of the request with this name.
    pub(crate) fn within(self, within: &'static str) -> Self {
        Self { within, ..self }
    }

    /// The same, for one that was deleted softly.
    pub(super) fn deleted(self) -> Self {
        Self { deleted: true, ..self }
    }
}

/// Why a text is no name.
const NO_KEY: &str = "must have 1 to 255 characters";

/// Whether a text can be the name of a schedule or its creator, which are keys of the bucket.
pub(super) fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.chars().count())
}

impl<N: Nats> Api<N> {
    /// Replaces creator and name of each schedule that a request names by its id.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`; `conflict` if several deleted schedules have the name.
    pub(in crate::api) async fn find_named(
        &self,
        request: &mut impl Checked,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        for named in request.named() {
            self.find_one(named, caller).await?;
        }
        Ok(())
    }

    pub(super) async fn find_one(&self, named: Named<'_>, caller: &Caller) -> Result<(), ApiError> {
        let fault =
            |field: &str, reason: &str| FieldFault::new(format!("{}{field}", named.within), reason);
        let (name, creator) = (named.name.take(), named.creator.take());
        let Some(name) = name else {
            let stray = "says who created the schedule of schedule_name, which is not given";
            return creator.map_or(Ok(()), |_| Err(vec![fault("creator", stray)].into()));
        };
        let mut faults = Vec::new();
        if named.id.is_some() {
            faults.push(fault("schedule_name", "cannot stand beside schedule_id"));
        }
        let first = if named.declared { &caller.creator } else { &caller.actor };
        let by_header = [first, &named.default, &caller.actor].into_iter().flatten().next();
        let creator = creator.or_else(|| by_header.cloned());
        match &creator {
            None => {
                let reason = "is required with schedule_name, unless a header says who asks";
                faults.push(fault("creator", reason));
            }
            Some(creator) if !is_key(creator) => faults.push(fault("creator", NO_KEY)),
            Some(_) => {}
        }
        if !is_key(&name) {
            faults.push(fault("schedule_name", NO_KEY));
        }
        let Some(creator) = creator.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        *named.id = Some(match named.deleted {
            true => self.deleted_named(&creator, &name).await?,
            false => self.live_named(&creator, &name).await?,
        });
        Ok(())
    }

    async fn live_named(&self, creator: &str, name: &str) -> Result<Uuid, ApiError> {
        let found = self.look_up(creator, name).await?;
        found.ok_or_else(|| block_in_place(|| self.nothing_named(creator, name)))
    }

    /// The schedule of a creator with a name that is not deleted, as fresh as `schedule.get`.
    pub(super) async fn look_up(
        &self,
        creator: &str,
        name: &str,
    ) -> Result<Option<Uuid>, ApiError> {
        if self.has_caught_up(CAUGHT_UP_WITHIN).await?
            && let Some(id) = self.index.named(creator, name)
        {
            return Ok(Some(id));
        }
        // Memory is behind, or it does not have the record because this version cannot read it.
        let stored = self.store.read(&name_key(creator, name)).await?;
        let reserved = stored.and_then(|stored| Reservation::read(stored.value.as_deref()));
        if let Some(Reservation { schedule_id: id, .. }) = reserved
            && let Some((schedule, _)) = self.record(id).await?
            && schedule.status != Status::Deleted
            && !schedule.purge
            && *schedule.spec.name == *name
        {
            return Ok(Some(id));
        }
        Ok(None)
    }

    /// The only schedule of that name that was deleted softly.
    async fn deleted_named(&self, creator: &str, name: &str) -> Result<Uuid, ApiError> {
        if !self.has_caught_up(CAUGHT_UP_WITHIN).await? {
            return Err(ApiError::behind());
        }
        let mut found = block_in_place(|| self.index.deleted_named(creator, name, NAMESAKES + 1));
        let more = found.len() > NAMESAKES;
        found.truncate(NAMESAKES);
        match found.as_slice() {
            [] => {
                let message = format!("creator {creator:?} has no deleted schedule named {name:?}");
                Err(ApiError::new(Code::NotFound, message))
            }
            [id] => Ok(*id),
            several => {
                let count = several.len();
                let most = if more { "more than " } else { "" };
                let message = format!(
                    "{most}{count} deleted schedules of creator {creator:?} are named {name:?}: give the schedule_id"
                );
                let mut error = ApiError::new(Code::Conflict, message);
                let hint = |id: &Uuid| FieldFault::new("schedule_id", id.to_string());
                error.details = several.iter().map(hint).collect();
                Err(error)
            }
        }
    }

    /// `not_found`, with the names that were probably meant.
    fn nothing_named(&self, creator: &str, name: &str) -> ApiError {
        let mut message = format!("creator {creator:?} has no schedule named {name:?}");
        let near = self.index.near(creator, name, SUGGESTIONS);
        if let Some(nearest) = near.first() {
            let _ = write!(message, "; did you mean {nearest:?}?");
        }
        let others = self.index.creators_of(name, SUGGESTIONS);
        if let (None, Some(other)) = (near.first(), others.first()) {
            let _ = write!(message, "; creator {other:?} has one");
        }
        let mut error = ApiError::new(Code::NotFound, message);
        let names = near.into_iter().map(|name| FieldFault::new("schedule_name", name));
        let creators = others.into_iter().map(|creator| FieldFault::new("creator", creator));
        error.details = names.chain(creators).collect();
        error
    }
}
