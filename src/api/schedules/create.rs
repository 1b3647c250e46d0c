//! Creating a schedule.

use std::sync::Arc;

use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Links, Reply, ScheduleView, Warning};
use super::super::{Api, Caller};
use crate::clock;
use crate::index::Entry;
use crate::jetstream::deliver;
use crate::schedule::{CreateSchedule, DeliveryMode, Schedule, new_schedule};

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
        let revision = self.store_new(&schedule).await?;
        tracing::info!(
            schedule_id = %schedule.id,
            name = schedule.spec.name,
            created_by,
            correlation_id = caller.correlation_id,
            "schedule created"
        );
        let mut reply = Reply::new(ScheduleView::new(&schedule, revision), caller)
            .links(Links::schedule(schedule.id));
        reply
            .warnings
            .extend(self.no_stream_warning(&schedule).await);
        self.index.insert(Entry {
            revision,
            schedule,
            trigger: Arc::new(trigger),
        });
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

    /// A target that no stream captures is allowed, since the stream may come later; it is said.
    async fn no_stream_warning(&self, schedule: &Schedule) -> Option<Warning> {
        let target = schedule.spec.target_command.as_str();
        let publishes = schedule.spec.delivery.mode == DeliveryMode::Publish;
        if !publishes || deliver::captured(&self.js, target).await != Some(false) {
            return None;
        }
        Some(Warning {
            code: "no_stream".to_owned(),
            field: "target_command".to_owned(),
            message: format!(
                "no stream captures {target}, so its executions will fail with no_stream: add the \
                 subject to a stream (nats stream add or edit), or use delivery mode request or core"
            ),
        })
    }
}
