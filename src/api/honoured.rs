//! Waits until every instance goes by a change that concerns all schedules: a pause of all, a calendar, a group.
//!
//! An instance says in its heartbeats by which revision of such keys everything is claimed that it claims, and until when it
//! has claimed ahead.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Api;
use super::reply::Warning;
use crate::guards::{Guard, Guards as _};
use crate::load::{About, Instances};
use crate::port::Nats;

/// How long to wait for other instances: longer than it takes until one that is silent counts as gone.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(7);
/// Interval between looks at what they say.
const LOOK: Duration = Duration::from_millis(20);

impl<N: Nats> Api<N> {
    /// Waits until every instance that is heard, and knows a format, claims by this revision or a later one; returns those
    /// that do not say so in time.
    pub(in crate::api) async fn honoured_by_all(&self, revision: u64, knows: u16) -> Vec<Uuid> {
        let deadline = Instant::now() + CONFIRMED_WITHIN;
        loop {
            let Instances { all, is_settled } = (self.members)();
            // One that does not know all instances answers for those that it does not hear.
            let late = |instance, about: &About| {
                about.honours < revision || (instance == self.instance && !is_settled)
            };
            let late = all
                .into_iter()
                .filter(|(instance, about)| about.acts_on >= knows && late(*instance, about));
            let late: Vec<Uuid> = late.map(|(instance, _)| instance).collect();
            let is_over = late.is_empty() || Instant::now() >= deadline;
            if is_over || !N::Guards::hold(Guard::Honoured) {
                return late;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until what instances have claimed ahead is due.
    pub(in crate::api) async fn let_armed_pass(&self) {
        let armed_until = (self.members)().all.into_values().filter_map(|about| about.armed_until);
        self.let_pass(armed_until.max()).await;
    }
}

/// A warning for each instance that has not confirmed a change in time.
pub(super) fn warnings<'a>(
    instances: &'a [Uuid],
    not_yet: &'a str,
) -> impl Iterator<Item = Warning> + 'a {
    instances.iter().map(move |instance| Warning {
        code: "unconfirmed".to_owned(),
        field: String::new(),
        message: format!("instance {instance} has not confirmed yet that {not_yet}"),
    })
}
