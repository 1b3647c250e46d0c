//! What calendars leave open of a timing.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::{Calendars, MAX_READY, Together};
use crate::schedule::Timing;
use crate::trigger::{CalendarsUsed, Spans, Trigger};

impl Calendars {
    /// The versions of the calendars of a timing; nil for one that is not there.
    pub fn versions(&self, timing: &Timing) -> Vec<Uuid> {
        timing.calendars().map(|name| self.version(name)).collect()
    }

    /// The first calendar of a timing that is not there.
    pub fn missing<'a>(&self, timing: &'a Timing) -> Option<&'a str> {
        timing.calendars().find(|name| self.get(name).is_none())
    }

    fn version(&self, name: &str) -> Uuid {
        self.get(name).map_or(Uuid::nil(), |calendar| calendar.version)
    }

    /// What is left of the trigger of a timing.
    pub fn restrict<'a>(&self, timing: &Timing, trigger: &'a Trigger) -> Cow<'a, Trigger> {
        if !timing.has_calendars() {
            return Cow::Borrowed(trigger);
        }
        let trigger = trigger.without_calendars().clone();
        let changed = |name| self.get(name).map(|calendar| calendar.updated_at);
        let since: Option<Vec<_>> = timing.calendars().map(changed).collect();
        let since = since.and_then(|all| all.into_iter().max());
        let used = CalendarsUsed { versions: self.versions(timing), since };
        Cow::Owned(trigger.open(self.open(timing), used))
    }

    /// The times that the calendars of a timing leave open.
    fn open(&self, timing: &Timing) -> Arc<Spans> {
        if self.missing(timing).is_some() {
            return Arc::default();
        }
        let versions = |names: &[String]| names.iter().map(|name| self.version(name)).collect();
        let (excluded, only) = (versions(&timing.exclude), versions(&timing.only));
        let together = Together { zone: timing.timezone, excluded, only };
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spans) = ready.get(&together) {
            return Arc::clone(spans);
        }
        if ready.len() >= MAX_READY {
            ready.clear();
        }
        let spans = Arc::new(self.left_open(timing));
        ready.insert(together, Arc::clone(&spans));
        spans
    }

    fn left_open(&self, timing: &Timing) -> Spans {
        let covered = |names: &[String]| {
            let all = names.iter().filter_map(|name| self.get(name));
            Spans::of_all(all.map(|calendar| calendar.covers(timing.timezone)))
        };
        let open = if timing.only.is_empty() { Spans::always() } else { covered(&timing.only) };
        open.without(&covered(&timing.exclude))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::{Value, json};

    use super::*;
    use crate::names::calendar_key;
    use crate::schedule::{Author, Calendar};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn calendar(name: &str, version: u128, days: Value) -> Calendar {
        let put = serde_json::from_value::<crate::schedule::PutCalendar>(
            json!({ "name": name, "days": days }),
        );
        let now = at("2026-01-01T00:00:00Z");
        let content = put.unwrap().content(now).unwrap();
        let mut calendar = Calendar { name: name.to_owned(), ..Calendar::default() };
        let author = Author { actor: "anna", correlation_id: "c" };
        calendar.put(content, Uuid::from_u128(version), Uuid::nil(), now, author);
        calendar
    }

    fn calendars(all: Vec<Calendar>) -> Calendars {
        let mut calendars = Calendars::default();
        for (revision, calendar) in (1..).zip(all) {
            let key = calendar_key(&calendar.name);
            calendars.take_in(&key, revision, Some(Ok(calendar)));
        }
        calendars
    }

    fn daily(more: Value) -> Timing {
        let mut timing = json!({
            "schedule_type": "cron", "cron_expression": "0 12 * * *", "timezone": "Asia/Tokyo",
        });
        timing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(timing).unwrap()
    }

    fn days(calendars: &Calendars, timing: &Timing) -> Vec<String> {
        let trigger = timing.trigger(Uuid::nil(), calendars).unwrap();
        let times = trigger.occurrences_after(at("2026-01-01T00:00:00Z")).take(3);
        times.map(|next| next.at.format("%m-%d").to_string()).collect()
    }

    #[test]
    fn days_are_left_out_and_kept_to_in_the_schedules_zone() {
        let calendars = calendars(vec![
            calendar("holidays", 1, json!(["2026-01-02", "2026-01-04/2026-01-06"])),
            calendar("quarter", 2, json!(["2026-01-05/2026-01-08"])),
        ]);
        let holidays = daily(json!({ "exclude": ["holidays"] }));
        assert_eq!(days(&calendars, &holidays), ["01-01", "01-03", "01-07"]);
        assert_eq!(
            days(&calendars, &daily(json!({ "only": ["quarter"] }))),
            ["01-05", "01-06", "01-07"]
        );
        let both = daily(json!({ "only": ["quarter"], "exclude": ["holidays"] }));
        assert_eq!(days(&calendars, &both), ["01-07", "01-08"]);
        let two = daily(json!({ "only": ["quarter", "holidays"] }));
        assert_eq!(days(&calendars, &two), ["01-02", "01-04", "01-05"]);
        let trigger = both.trigger(Uuid::nil(), &calendars).unwrap();
        assert_eq!(trigger.versions(), [Uuid::from_u128(1), Uuid::from_u128(2)]);
    }

    #[test]
    fn a_calendar_that_is_missing_or_unreadable_leaves_nothing_open() {
        let mut calendars = calendars(vec![calendar("holidays", 1, json!(["2026-01-02"]))]);
        for timing in [
            daily(json!({ "exclude": ["holidays", "unknown"] })),
            daily(json!({ "only": ["unknown", "holidays"] })),
        ] {
            assert_eq!(days(&calendars, &timing), Vec::<String>::new());
            assert_eq!(calendars.missing(&timing), Some("unknown"));
        }
        let timing = daily(json!({ "exclude": ["holidays"] }));
        let key = calendar_key("holidays");
        assert!(calendars.take_in(&key, 7, Some(Err("junk".to_owned().into()))));
        assert_eq!(
            (days(&calendars, &timing), calendars.unreadable("holidays")),
            (vec![], Some("junk"))
        );
        assert!(!calendars.take_in(&key, 6, Some(Ok(calendar("holidays", 3, json!([]))))), "older");
        assert!(calendars.take_in(&key, 8, Some(Ok(calendar("other", 3, json!([]))))));
        assert!(calendars.unreadable("holidays").is_some(), "it says another name");
        assert!(calendars.take_in(&key, 9, Some(Ok(calendar("holidays", 4, json!([]))))));
        assert_eq!(days(&calendars, &timing), ["01-01", "01-02", "01-03"]);
        assert!(calendars.retain(8, |_| false).not() && calendars.retain(9, |_| false));
        assert_eq!(calendars.versions(&timing), [Uuid::nil()]);
    }

    use std::ops::Not as _;
}
