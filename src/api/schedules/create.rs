//! Creating a schedule.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Links, Reply, ScheduleView, Warning};
use super::super::{Api, Caller, Checked};
use crate::clock;
use crate::index::Entry;
use crate::jetstream::deliver;
use crate::schedule::{
    Change, ChangeKind, CreateSchedule, DeliveryMode, FieldFault, Schedule, new_schedule,
};

impl Checked for CreateSchedule {
    fn faults(&self, api: &Api) -> Vec<FieldFault> {
        let (id, now) = (Uuid::now_v7(), clock::now());
        new_schedule(self, &api.rules, id, now, "unknown", "", api.writer())
            .err()
            .unwrap_or_default()
    }
}

impl Api {
    /// Creates a schedule. Once the reply is sent the schedule survives everything that JetStream
    /// survives.
    ///
    /// # Errors
    /// `invalid`, `already_exists`, `limit_exceeded`, `conflict`, `unavailable`.
    pub async fn create_schedule(
        &self,
        request: CreateSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let created_by = caller
            .actor
            .clone()
            .or_else(|| request.created_by.clone())
            .unwrap_or_else(|| "unknown".to_owned());
        let (schedule, trigger) = new_schedule(
            &request,
            &self.rules,
            Uuid::now_v7(),
            clock::now(),
            &created_by,
            &caller.correlation_id,
            self.writer(),
        )?;
        self.check_limit(&created_by)?;
        let mut schedule = schedule;
        let details = json!({
            "schedule_type": schedule.spec.timing.schedule_type,
            "target_command": schedule.spec.target_command,
            "next_run_at": schedule.next_run_at,
            "created_by": created_by,
            "created_at": schedule.created_at,
        });
        let (author, now) = (caller.author(&created_by), schedule.created_at);
        let created =
            Change::new(Uuid::now_v7(), ChangeKind::Created, &schedule, author, now, details);
        schedule.events.push(created);
        let (schedule, revision) = self.store_new(schedule).await?;
        tracing::info!(
            schedule_id = %schedule.id,
            name = schedule.spec.name,
            created_by,
            correlation_id = caller.correlation_id,
            "schedule created"
        );
        let mut reply =
            Reply::new(ScheduleView::new(&schedule), caller).links(Links::schedule(schedule.id));
        reply.warnings.extend(self.target_warning(&schedule).await);
        let (schedule, trigger) = (Arc::new(schedule), Arc::new(trigger));
        self.index.insert(Entry { revision, schedule, trigger });
        Ok(reply)
    }

    fn check_limit(&self, creator: &str) -> Result<(), ApiError> {
        let limit = self.rules.limits.schedules_per_creator;
        if self.index.count_of(creator) < limit {
            return Ok(());
        }
        let message = format!(
            "{creator} has {limit} schedules, which is the limit (MAX_SCHEDULES_PER_CREATOR)"
        );
        Err(ApiError::new(Code::LimitExceeded, message))
    }

    /// A stream may be added or changed later, so a target that cannot work now is allowed, and said.
    async fn target_warning(&self, schedule: &Schedule) -> Option<Warning> {
        let target = schedule.spec.target_command.as_str();
        let captured = deliver::captured(&self.js, target).await?;
        let (code, message) = match (schedule.spec.delivery.mode, captured) {
            (DeliveryMode::Publish, false) => (
                "no_stream",
                format!(
                    "no stream captures {target}, so its executions will fail with no_stream: add \
                     the subject to a stream (nats stream add or edit), or use delivery mode \
                     request or core"
                ),
            ),
            (DeliveryMode::Request, true) => (
                "captured",
                format!(
                    "a stream captures {target} and will answer each request before any worker, so \
                     its executions will fail with captured: use another subject, take this one \
                     out of the stream, or use delivery mode publish"
                ),
            ),
            _ => return None,
        };
        let (code, field) = (code.to_owned(), "target_command".to_owned());
        Some(Warning { code, field, message })
    }
}
