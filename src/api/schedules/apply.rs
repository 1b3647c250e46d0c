//! Declaring a schedule: it is created, or made what the request says, or left alone because it is that already.
//!
//! The creator and the name say which schedule it is, so the same request can be sent any number of times, by anybody.
//! It is one creation or one update: what either does at a crash holds here too. A request that loses to another, because
//! the name was taken or freed or the record changed meanwhile, looks again and decides anew.

use chrono::{DateTime, Utc};

use super::super::change::{Rewritten, Wish};
use super::super::error::{ApiError, Code};
use super::super::reply::{ApplyOutcome, ChangedTimes, Difference, Reply, ScheduleView};
use super::super::{Api, CHANGE_TRIES, Caller, Checked};
use super::Named;
use super::coming::Coming;
use super::named::is_key;
use super::update::{SHOWN, Wanted};
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::declared::label_fields;
use crate::schedule::{CreateSchedule, FieldFault, Schedule, differences};

label_fields! { timing_fields after_field command_fields policy_fields request {
    /// A request that declares a whole schedule: the one that its creator has under `name` becomes this. What is left out
    /// takes its default, except the anchor of an interval and `is_active`, which stay.
    pub struct ApplySchedule {
        /// The creator, unless the `X-Created-By` header names one; default: the actor.
        #[schemars(length(min = 1, max = 255))]
        pub created_by: Option<String>,
        /// False switches the schedule off, true on again; default: as it is, and on if it is new.
        pub is_active: Option<bool>,
        /// The revision that the schedule must have; 0: there must be none.
        pub expected_revision: Option<u64>,
        /// Whether a schedule of that name that has no owner becomes one of `owner`; default false.
        pub adopt: Option<bool>,
        /// Only report what would change; default false.
        pub dry_run: Option<bool>,
        /// How many coming times to show where they change: 0 to 100, default 5.
        #[schemars(range(max = 100))]
        pub count: Option<u64>,
    }
} }

impl ApplySchedule {
    /// The creator of the schedule that it is about. Whoever applies it may be somebody else, such as a pipeline.
    pub(super) fn creator(&self, caller: &Caller) -> String {
        let creator = caller.creator.clone().or_else(|| self.created_by.clone());
        creator.unwrap_or_else(|| caller.actor())
    }

    fn declared(&self) -> CreateSchedule {
        label_fields! { timing_fields after_field command_fields policy_fields taken {
            self => CreateSchedule {
                created_by: None, idempotency_key: None, is_active: self.is_active
            }
        } }
    }
}

impl Checked for ApplySchedule {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        self.declared().faults(api)
    }

    fn named(&mut self) -> Vec<Named<'_>> {
        let named = Named::upstream(&mut self.after, self.created_by.clone());
        named.map(Named::declared).into_iter().collect()
    }
}

/// What became of a declaration.
pub(super) struct Applied {
    pub(super) reply: Reply<ScheduleView>,
    /// Until when occurrences of the old state are claimed.
    pub(super) claimed_until: Option<DateTime<Utc>>,
}

impl Applied {
    fn new(
        reply: Reply<ScheduleView>,
        difference: Difference,
        claimed_until: Option<DateTime<Utc>>,
    ) -> Self {
        let difference = Some(Box::new(difference));
        Self { reply: Reply { difference, ..reply }, claimed_until }
    }
}

/// Most coming times that a difference may show.
const MOST_SHOWN: u64 = 100;

impl<N: Nats> Api<N> {
    /// Creates or updates the schedule that a creator has under a name, so that it is what the request says. Its pause,
    /// counters and history stay, and so does `is_active` unless the request gives it. The same content again writes
    /// nothing and runs nothing, even if its time has passed.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `limit_exceeded`, `conflict`, `unavailable`; `not_allowed` if its record cannot be read.
    pub async fn apply_schedule(
        &self,
        request: ApplySchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let Applied { reply, claimed_until } =
            self.apply_one(request, &Coming::default(), caller).await?;
        let writes = |difference: &Difference| {
            difference.outcome == ApplyOutcome::Updated && !difference.dry_run
        };
        if !reply.difference.as_deref().is_some_and(writes) {
            return Ok(reply);
        }
        caller.permit.waits();
        Ok(reply.waited(self.let_pass(claimed_until).await))
    }

    /// Like [`Api::apply_schedule`], for one of many: it may follow one that a dry run would create, and does not wait for
    /// claims.
    pub(super) async fn apply_named(
        &self,
        mut request: ApplySchedule,
        coming: &Coming,
        caller: &Caller,
    ) -> Result<Applied, ApiError> {
        let creator = request.creator(caller);
        if let Some(after) = &mut request.after
            && let Some(name) = &after.schedule_name
            && let of = after.creator.clone().unwrap_or(creator)
            && let Some(id) = coming.find(of, name.clone())
        {
            after.schedule_id = Some(id);
            (after.schedule_name, after.creator) = (None, None);
        }
        self.find_named(&mut request, caller).await?;
        self.apply_one(request, coming, caller).await
    }

    async fn apply_one(
        &self,
        request: ApplySchedule,
        coming: &Coming,
        caller: &Caller,
    ) -> Result<Applied, ApiError> {
        let count = request.count.unwrap_or(SHOWN);
        if count > MOST_SHOWN {
            let reason = format!("must be 0 to {MOST_SHOWN}");
            return Err(vec![FieldFault::new("count", reason)].into());
        }
        let creator = request.creator(caller);
        let actor = caller.actor.as_ref().unwrap_or(&creator);
        let declared = request.declared();
        let name = declared.name.as_deref().unwrap_or_default();
        if !is_key(name) || !is_key(&creator) {
            self.new_record(&declared, self.clock.new_id(), &creator, caller)?;
        }
        for _ in 0..CHANGE_TRIES {
            let applied = match self.look_up(&creator, name).await? {
                None => self.apply_to_none(&request, &declared, &creator, coming, caller).await,
                Some(id) => {
                    let wish =
                        Wish { id, author: caller.author(actor), known: None, removes: false };
                    self.apply_to(wish, &request, &declared, coming, caller).await
                }
            };
            match applied {
                // Somebody else created, renamed or deleted it in between.
                Err(error) if matches!(error.code, Code::AlreadyExists | Code::NotFound) => {}
                applied => return applied,
            }
        }
        Err(WriteError::Conflict.into())
    }

    async fn apply_to_none(
        &self,
        request: &ApplySchedule,
        declared: &CreateSchedule,
        creator: &str,
        coming: &Coming,
        caller: &Caller,
    ) -> Result<Applied, ApiError> {
        let dry_run = request.dry_run == Some(true);
        if let Some(expected) = request.expected_revision.filter(|revision| *revision > 0) {
            let name = declared.name.as_deref().unwrap_or_default();
            let message = format!(
                "creator {creator:?} has no schedule named {name:?}, so none of revision {expected}"
            );
            let mut error = ApiError::new(Code::Conflict, message);
            error.details = vec![FieldFault::new("revision", "0")];
            return Err(error);
        }
        let schedule = self.new_record(declared, self.clock.new_id(), creator, caller)?;
        if !coming.has(&schedule) {
            self.check_after(&schedule).await?;
        }
        let mut room = None;
        let schedule = if dry_run {
            room = Some(self.room_for(&schedule, coming)?);
            schedule
        } else {
            let (schedule, revision) = self.store_new(schedule, false).await?;
            let applied_by = &caller.actor;
            tracing::info!(schedule_id = %schedule.id, name = schedule.spec.name, created_by = creator, applied_by, "schedule created");
            self.show(schedule.clone(), revision);
            schedule
        };
        let after = self.coming(&schedule, &schedule, request.count.unwrap_or(SHOWN));
        let difference = Difference {
            outcome: ApplyOutcome::Created,
            dry_run,
            changes: Vec::new(),
            occurrences: after.map(|after| ChangedTimes { before: None, after }),
            room,
        };
        let mut reply = Reply::schedule(&schedule, caller);
        reply.warnings.extend(self.target_warning(&schedule).await);
        reply.warnings.extend(self.timing_warnings(&schedule));
        reply.warnings.extend(self.all_paused_warning());
        Ok(Applied::new(reply, difference, None))
    }

    async fn apply_to(
        &self,
        wish: Wish<'_>,
        request: &ApplySchedule,
        declared: &CreateSchedule,
        coming: &Coming,
        caller: &Caller,
    ) -> Result<Applied, ApiError> {
        let wanted = Wanted::Declared { declared, adopt: request.adopt == Some(true), coming };
        let (id, expected) = (wish.id, request.expected_revision);
        let count = request.count.unwrap_or(SHOWN);
        if request.dry_run == Some(true) {
            let reply = self.try_update(id, wanted, expected, count, caller).await?;
            return Ok(Applied { reply, claimed_until: None });
        }
        let actor = wish.author.actor;
        let updating = |old, _, now| self.decide_update(wanted, expected, old, now, actor, caller);
        let Rewritten { schedule, with: before } = self.change_by(wish, updating).await?;
        let schedule = schedule.ok_or_else(|| ApiError::no_schedule(id))?;
        let Some(before) = before else {
            let unchanged = self.difference(&schedule, &schedule, false, count);
            return Ok(Applied::new(Reply::schedule(&schedule, caller), unchanged, None));
        };
        let difference = self.difference(&before.old, &schedule, false, count);
        let reply = self.updated(&schedule, before, caller).await;
        Ok(Applied::new(reply, difference, schedule.claimed_until()))
    }

    /// What makes one schedule of another.
    pub(super) fn difference(
        &self,
        old: &Schedule,
        new: &Schedule,
        dry_run: bool,
        count: u64,
    ) -> Difference {
        let changes = differences(old, new);
        let times = (old.spec.timing != new.spec.timing)
            .then(|| Some((self.coming(old, old, count), self.coming(new, old, count)?)))
            .flatten();
        let outcome =
            if changes.is_empty() { ApplyOutcome::Unchanged } else { ApplyOutcome::Updated };
        let occurrences = times.map(|(before, after)| ChangedTimes { before, after });
        Difference { outcome, dry_run, changes, occurrences, room: None }
    }
}
