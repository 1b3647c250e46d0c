//! Operations on schedules. A method that takes only an id has a sibling `…_with` that takes the whole request.

use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::{
    AllPaused, ApplySchedule, BulkApplied, BulkApply, BulkCreated, BulkOperated, BulkOperation,
    Client, ClientError, CreateSchedule, DeleteSchedule, Deleted, ExplainSchedule, Explained,
    FOR_ALL_MS, GetSchedule, ListSchedules, ListUpcoming, PauseAll, PauseSchedule, Preview,
    PreviewSchedule, Reply, RestoreSchedule, ResumeSchedule, ScheduleSummary, ScheduleView,
    TriggerSchedule, Triggered, Upcoming, UpdateSchedule,
};
use crate::api::schedules::{BulkCreate, BulkItem, ResumeAll};

/// Maximum number of items per page.
const MAX_LIMIT: u64 = 100;

impl Client {
    /// Creates a schedule. Look at the `warnings` of the reply: a target that cannot work now is accepted and reported
    /// there.
    ///
    /// A request with an `idempotency_key` may be sent again after any error, for a day: at most one schedule is
    /// created. The reply shows it, with the warning `repeated` if it already existed.
    ///
    /// # Errors
    /// See [`ClientError`]; refused as `invalid`, `already_exists` (its `details` name the
    /// `schedule_id`), `limit_exceeded`, `not_allowed` (the key was used for another request).
    pub async fn create(
        &self,
        request: &CreateSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.create", request).await
    }

    /// Declares a schedule: it is created, or made what the request says, or left alone because it is that already; the
    /// `difference` of the reply says which. Safe to repeat, after any error and whenever the declaration may have
    /// changed. With `dry_run` it only says what would change, coming times included. It is a schedule of the request's
    /// `created_by`, or of the actor if that names nobody.
    ///
    /// # Errors
    /// See [`ClientError`]; refused as `invalid`, `limit_exceeded`, `conflict` (it does not have the
    /// `expected_revision`).
    pub async fn apply(&self, request: &ApplySchedule) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask_as("X-Applied-By", "schedule.apply", request).await
    }

    /// Declares many schedules of one owner, a whole set or a part of it, and deletes those of `prune`. Each stands alone:
    /// the `results` of the reply show which were refused. They are schedules of their `created_by`, or of the actor if that
    /// names nobody.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid` if there are none or too many.
    pub async fn bulk_apply(&self, request: &BulkApply) -> Result<Reply<BulkApplied>, ClientError> {
        self.ask_as("X-Performed-By", "bulk.apply", request).await
    }

    /// Creates many schedules, at most the service's `MAX_BULK_OPERATIONS`. Each stands alone: the `results` of the
    /// reply show which were refused.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid` if there are none or too many.
    pub async fn bulk_create<'a>(
        &self,
        requests: impl IntoIterator<Item = &'a CreateSchedule>,
    ) -> Result<Reply<BulkCreated>, ClientError> {
        let schedules = requests.into_iter().map(BulkItem::from).collect();
        let request = BulkCreate { schedules: Some(schedules), ..BulkCreate::default() };
        self.ask("bulk.create", &request).await
    }

    /// Fetches one schedule with all its fields, even if it is softly deleted.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn get(&self, id: Uuid) -> Result<Reply<ScheduleView>, ClientError> {
        self.get_with(&GetSchedule { schedule_id: Some(id), ..GetSchedule::default() }).await
    }

    /// Like [`Client::get`], with the whole request: it can name the schedule by `schedule_name` and `creator`. The
    /// requests of the other methods can too.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn get_with(
        &self,
        request: &GetSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.get", request).await
    }

    /// Fetches one page of the schedules that match. [`Client::all_schedules`] covers all pages.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn list(
        &self,
        request: &ListSchedules,
    ) -> Result<Reply<Vec<ScheduleSummary>>, ClientError> {
        self.ask("schedule.list", request).await
    }

    /// Streams all schedules that match, fetching page by page as they are consumed. `limit` is the size of a page
    /// (here 100 by default), and `page` is ignored. A schedule that keeps its place is neither left out nor shown
    /// twice, even if others come and go meanwhile.
    ///
    /// An error ends the stream.
    pub fn all_schedules(
        &self,
        request: ListSchedules,
    ) -> BoxStream<'static, Result<ScheduleSummary, ClientError>> {
        let client = self.clone();
        let limit = request.limit.or(Some(MAX_LIMIT));
        let first = ListSchedules { page: None, limit, ..request };
        let pages = stream::try_unfold(Some(first), move |next| {
            let client = client.clone();
            async move {
                let Some(request) = next else { return Ok(None) };
                let reply = client.list(&request).await?;
                let cursor = reply.pagination.and_then(|pagination| pagination.next_cursor);
                let next = cursor.map(|cursor| ListSchedules { cursor: Some(cursor), ..request });
                let page = stream::iter(reply.data.into_iter().map(Ok::<_, ClientError>));
                Ok::<_, ClientError>(Some((page, next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// Changes the given fields and no others. With the last seen `revision` as `expected_revision`, it undoes nobody
    /// else's change.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `not_found`, `already_exists`, `conflict`.
    pub async fn update(
        &self,
        request: &UpdateSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.update", request).await
    }

    /// Deletes a schedule softly: its name becomes free, and it can be restored for a while.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn delete(&self, id: Uuid) -> Result<Reply<Deleted>, ClientError> {
        let request = DeleteSchedule { schedule_id: Some(id), ..DeleteSchedule::default() };
        self.delete_with(&request).await
    }

    /// Like [`Client::delete`], with the whole request: it can delete for good, or expect a revision.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `conflict`.
    pub async fn delete_with(
        &self,
        request: &DeleteSchedule,
    ) -> Result<Reply<Deleted>, ClientError> {
        self.ask("schedule.delete", request).await
    }

    /// Restores a softly deleted schedule.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `not_allowed` (it is not deleted), `already_exists` (its
    /// name is taken), `limit_exceeded`.
    pub async fn restore(&self, id: Uuid) -> Result<Reply<ScheduleView>, ClientError> {
        let request = RestoreSchedule { schedule_id: Some(id), ..RestoreSchedule::default() };
        self.restore_with(&request).await
    }

    /// Like [`Client::restore`], if the schedule still has the expected revision.
    ///
    /// # Errors
    /// Those of [`Client::restore`], and `conflict`.
    pub async fn restore_with(
        &self,
        request: &RestoreSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.restore", request).await
    }

    /// Pauses a schedule, for a reason shown to people. After the reply it does not fire.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `not_allowed` (it has ended).
    pub async fn pause(
        &self,
        id: Uuid,
        reason: Option<&str>,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        let request = PauseSchedule {
            schedule_id: Some(id),
            reason: reason.map(str::to_owned),
            ..PauseSchedule::default()
        };
        self.pause_with(&request).await
    }

    /// Pauses a schedule, for a reason shown to people, until a time at which it is resumed by itself.
    ///
    /// # Errors
    /// Those of [`Client::pause`], and `invalid` (the time is not in the future, or too far ahead).
    pub async fn pause_until(
        &self,
        id: Uuid,
        resume_at: DateTime<Utc>,
        reason: Option<&str>,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        let request = PauseSchedule {
            schedule_id: Some(id),
            reason: reason.map(str::to_owned),
            resume_at: Some(resume_at),
            ..PauseSchedule::default()
        };
        self.pause_with(&request).await
    }

    /// Like [`Client::pause`], if the schedule still has the expected revision.
    ///
    /// # Errors
    /// Those of [`Client::pause`], and `conflict`.
    pub async fn pause_with(
        &self,
        request: &PauseSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.pause", request).await
    }

    /// Resumes a paused schedule.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `not_allowed` (it is not paused).
    pub async fn resume(&self, id: Uuid) -> Result<Reply<ScheduleView>, ClientError> {
        let request = ResumeSchedule { schedule_id: Some(id), ..ResumeSchedule::default() };
        self.resume_with(&request).await
    }

    /// Like [`Client::resume`], if the schedule still has the expected revision.
    ///
    /// # Errors
    /// Those of [`Client::resume`], and `conflict`.
    pub async fn resume_with(
        &self,
        request: &ResumeSchedule,
    ) -> Result<Reply<ScheduleView>, ClientError> {
        self.ask("schedule.resume", request).await
    }

    /// Pauses all schedules at once, also those that are created later. Look at the `warnings` of the reply: an instance
    /// that did not confirm it in time may still send something.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_allowed` (an instance runs that does not know such pauses).
    pub async fn pause_all(&self, request: &PauseAll) -> Result<Reply<AllPaused>, ClientError> {
        self.ask_and_wait("schedule.pause_all", request, Some(FOR_ALL_MS)).await
    }

    /// Lifts the pause of all schedules. Those that are paused themselves stay so.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_allowed` (no pause of all schedules is on).
    pub async fn resume_all(&self) -> Result<Reply<AllPaused>, ClientError> {
        self.ask("schedule.resume_all", &ResumeAll::default()).await
    }

    /// Runs a schedule now, beside its own times. Each request results in a run of its own.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `limit_exceeded` (too many runs are waiting).
    pub async fn trigger(&self, id: Uuid) -> Result<Reply<Triggered>, ClientError> {
        let request = TriggerSchedule { schedule_id: Some(id), ..TriggerSchedule::default() };
        self.trigger_with(&request).await
    }

    /// Like [`Client::trigger`], with another payload or waiting for the outcome: `wait_ms` is added to the client's
    /// timeout.
    ///
    /// # Errors
    /// Those of [`Client::trigger`], and `invalid`.
    pub async fn trigger_with(
        &self,
        request: &TriggerSchedule,
    ) -> Result<Reply<Triggered>, ClientError> {
        self.ask_and_wait("schedule.trigger", request, request.wait_ms).await
    }

    /// Previews when a schedule fires, or would fire if it were created this way. Stores nothing.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `not_found`.
    pub async fn preview(&self, request: &PreviewSchedule) -> Result<Reply<Preview>, ClientError> {
        self.ask("schedule.preview", request).await
    }

    /// Explains what became of each nominal time of a schedule, and why.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `not_found`.
    pub async fn explain(
        &self,
        request: &ExplainSchedule,
    ) -> Result<Reply<Explained>, ClientError> {
        self.ask("schedule.explain", request).await
    }

    /// Lists what comes in a span, over all schedules that match, in the order of nominal times.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn upcoming(&self, request: &ListUpcoming) -> Result<Reply<Upcoming>, ClientError> {
        self.ask("schedule.upcoming", request).await
    }

    /// Pauses, resumes or deletes many schedules, by ids or by filter; with `dry_run` it only reports what it would do.
    /// Thousands take seconds: give the client a longer timeout for them.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid` for the request as a whole. The reply says why a schedule was not changed.
    pub async fn bulk_operation(
        &self,
        request: &BulkOperation,
    ) -> Result<Reply<BulkOperated>, ClientError> {
        self.ask("bulk.operation", request).await
    }
}
