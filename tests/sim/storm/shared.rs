//! A calendar and a group that some schedules of a storm share. They are made before all else, and stay as they are.
//!
//! What they add is drawn aside, so that all else of a storm is drawn as it is without them.

use std::sync::Arc;

use chrono::TimeDelta;
use nats_scheduler::api::Api;
use nats_scheduler::names;
use nats_scheduler::schedule::{Calendar, CreateSchedule, DeliveryMode, PutCalendar, PutGroup};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::evidence::Book;
use super::{Storm, schedules, source};
use crate::checker::Evidence;
use crate::nats::Simulated;

/// In which part of all storms they are there.
const SHARE: f64 = 0.5;
/// The span of a storm that the calendar's spans lie in.
const SPREAD_MS: i64 = 40_000;
const CALENDAR: &str = "tides";
const GROUP: &str = "narrow";

fn aside(seed: u64, of: &str) -> StdRng {
    let of = of.bytes().fold(0_usize, |sum, byte| sum * 31 + usize::from(byte));
    source(seed, usize::MAX / 5 + of)
}

/// Whether they are there in the storm of a seed.
pub fn are_in(seed: u64) -> bool {
    aside(seed, CALENDAR).random_bool(SHARE)
}

impl Storm {
    /// Makes the calendar and the group.
    pub async fn make_shared(&self, api: &Arc<Api<Simulated>>) {
        self.server.remember(names::SCHEDULES_STREAM);
        let (mut chance, now) = (aside(self.seed, GROUP), self.server.now());
        let mut spans = Vec::new();
        for _ in 0..chance.random_range(3..7) {
            let start = now + schedules::ms(chance.random_range(0..SPREAD_MS));
            let end = start + schedules::ms(chance.random_range(500..4_000));
            spans.push(json!({ "start": start, "end": end }));
        }
        // Who keeps to it always has a next time.
        let start = now + TimeDelta::days(2);
        spans.push(json!({ "start": start, "end": start + TimeDelta::hours(1) }));
        let calendar = json!({ "name": CALENDAR, "spans": spans });
        let calendar: PutCalendar = serde_json::from_value(calendar).unwrap();
        api.put_calendar(calendar, &Book::caller(&mut chance)).await.unwrap();
        let group = json!({ "name": GROUP, "limit": chance.random_range(1..3) });
        let group: PutGroup = serde_json::from_value(group).unwrap();
        api.put_group(group, &Book::caller(&mut chance)).await.unwrap();
    }

    /// The same schedule, which perhaps goes by the calendar and belongs to the group.
    pub fn sharing(&self, mut request: CreateSchedule) -> CreateSchedule {
        if !self.size.has_shared {
            return request;
        }
        let mut chance = aside(self.seed, request.name.as_deref().unwrap_or_default());
        let recurs = request.interval_seconds.is_some() || request.cron_expression.is_some();
        let names = Some(vec![CALENDAR.to_owned()]);
        match chance.random_range(0..6) {
            0 | 1 if recurs => request.exclude = names,
            2 if recurs => request.only = names,
            _ => {}
        }
        let mode = request.delivery.as_ref().map(|delivery| delivery.mode);
        let takes_time = matches!(mode, Some(DeliveryMode::Request | DeliveryMode::Job));
        request.group = (takes_time && chance.random_bool(0.7)).then(|| GROUP.to_owned());
        request
    }

    /// Adds what there is to know of them.
    pub fn add_shared(&self, evidence: &mut Evidence) {
        let key = names::calendar_key(CALENDAR);
        let entry = self.server.last(names::SCHEDULES_STREAM, &names::key_subject(&key));
        let entry = entry.unwrap();
        let calendar: Calendar = serde_json::from_slice(&entry.body).unwrap();
        evidence.calendars.take_in(&key, entry.sequence, Some(Ok(calendar)));
        evidence.groups = vec![GROUP.to_owned()];
        evidence.written = self.server.remembered(names::SCHEDULES_STREAM);
    }
}
