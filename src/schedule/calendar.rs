//! Calendars: named sets of days and spans that schedules leave out, or keep to.
//!
//! A calendar is one key of the bucket. A schedule names calendars; what they say is put into its trigger when that is
//! needed, from the calendars that this instance has seen. Each content of a calendar has a version, and the record holds
//! the versions that its next time was planned with. A record whose versions are not those of the calendars is planned
//! again before anything else is done with it. The watch shows a calendar before any record that was planned with it.
//!
//! A calendar that is missing, or cannot be read, leaves no time open: somebody wanted that something does not run, and
//! nobody knows when.

mod days;
mod ics;
mod known;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::keyed::{Keyed as _, keyed, not_a_name};
use super::length::check_description;
use super::{Author, Change, ChangeKind, FieldFault, instant};
use crate::names::calendar_key;
use crate::stored::{Unknown, keeps_unknown};
use crate::trigger::Spans;

pub use days::{Days, Span};
pub use known::Calendars;

/// The lowest format whose instances go by calendars.
pub const CALENDARS_NEED: u16 = 5;
/// Most days and spans of a calendar.
pub const MAX_SPANS: usize = 10_000;
/// Largest calendar as it is stored, and largest file, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most calendars of a schedule.
pub const MAX_CALENDARS: usize = 10;

/// The value of a calendar's key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Calendar {
    /// The format of the version that wrote it.
    pub format: u16,
    /// The lowest format that may go by it.
    pub needs: u16,
    /// Its id, which its events carry.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// New for each content.
    pub version: Uuid,
    /// How often it was changed.
    pub revision: u64,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Days, in the time zone of each schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Days>,
    /// Spans of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// The day up to which rules were expanded, if a file has rules that go on longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_until: Option<NaiveDate>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Who last changed it.
    pub updated_by: String,
    /// Whether it was deleted; then the key stays only until its events are announced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_deleted: bool,
    /// Ids of the latest changes: they tell one whose acknowledgement was lost that it was made.
    #[serde(default)]
    pub recent: Vec<Uuid>,
    /// Changes that are not yet known to be in the audit stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Change>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Calendar);
keyed!(Calendar, "calendar", needs CALENDARS_NEED, key calendar_key);

/// What a calendar is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// For people.
    pub description: Option<String>,
    /// Days, sorted.
    pub days: Vec<Days>,
    /// Spans of time, sorted.
    pub spans: Vec<Span>,
    /// The day up to which rules were expanded, if one goes on longer.
    pub known_until: Option<NaiveDate>,
}

/// What a request says of a calendar: lists, a file, or both.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PutCalendar {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// For people.
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// Days such as `2026-12-25`, or from one to another, both included: `2026-12-24/2026-12-26`. They are those of the
    /// schedule's time zone.
    #[schemars(length(max = 10_000))]
    pub days: Option<Vec<Days>>,
    /// Spans of time.
    #[schemars(length(max = 10_000))]
    pub spans: Option<Vec<Span>>,
    /// An iCalendar file, whose events are added to `days` and `spans`; at most 256 KiB.
    pub ics: Option<String>,
    /// The revision that is to be replaced; 0 if there must be none.
    pub expected_revision: Option<u64>,
}

impl PutCalendar {
    /// What the calendar is to be.
    ///
    /// # Errors
    /// Every fault of every field.
    pub fn content(&self, now: DateTime<Utc>) -> Result<Content, Vec<FieldFault>> {
        let mut faults = Vec::new();
        check_description(self.description.as_deref(), &mut faults);
        let mut fault = |field: &str, reason: String| faults.push(FieldFault::new(field, reason));
        if let Some(reason) =
            self.name.as_deref().map_or(Some("is required".to_owned()), not_a_name)
        {
            fault("name", reason);
        }
        for (n, span) in self.spans.iter().flatten().enumerate() {
            for (name, at) in [("start", span.start), ("end", span.end)] {
                if !instant::has_text(at) {
                    fault(&format!("spans[{n}].{name}"), instant::RANGE.to_owned());
                }
            }
            let whole = span.whole();
            if whole.end <= whole.start {
                fault(&format!("spans[{n}].end"), "must be later than start".to_owned());
            }
        }
        let mut days = self.days.clone().unwrap_or_default();
        let mut spans: Vec<Span> = self.spans.iter().flatten().copied().map(Span::whole).collect();
        let mut known_until = None;
        match self.ics.as_deref() {
            Some(text) if text.len() > MAX_BYTES => {
                fault("ics", format!("must have at most {MAX_BYTES} bytes"));
            }
            Some(text) => match ics::read(text, now) {
                Ok(read) => {
                    days.extend(read.days);
                    spans.extend(read.spans.into_iter().map(Span::whole));
                    known_until = read.known_until;
                }
                Err(reason) => fault("ics", reason),
            },
            None => {}
        }
        if days.len() + spans.len() > MAX_SPANS {
            fault("days", format!("and spans must be at most {MAX_SPANS} together"));
        }
        days.sort_unstable();
        days.dedup();
        spans.sort_unstable();
        spans.dedup();
        let description = self.description.clone().filter(|text| !text.is_empty());
        match faults.is_empty() {
            true => Ok(Content { description, days, spans, known_until }),
            false => Err(faults),
        }
    }
}

impl Calendar {
    /// The times that it covers in a time zone.
    pub fn covers(&self, zone: chrono_tz::Tz) -> Spans {
        let days = self.days.iter().map(|days| days.in_zone(zone));
        Spans::merged(days.chain(self.spans.iter().map(|span| (span.start, span.end))))
    }

    /// Whether it is there and says this already.
    pub fn says(&self, content: &Content) -> bool {
        let Content { description, days, spans, known_until } = content;
        !self.is_deleted
            && self.description == *description
            && self.days == *days
            && self.spans == *spans
            && self.known_until == *known_until
    }

    /// Makes it say something, as `version`; it is created if it is not there.
    pub fn put(
        &mut self,
        content: Content,
        version: Uuid,
        event_id: Uuid,
        now: DateTime<Utc>,
        author: Author<'_>,
    ) {
        let is_new = self.revision == 0 || self.is_deleted;
        if is_new {
            (self.created_at, self.created_by) = (now, author.actor.to_owned());
        }
        let Content { description, days, spans, known_until } = content;
        let before = (self.days.len(), self.spans.len());
        (self.description, self.days, self.spans, self.known_until) =
            (description, days, spans, known_until);
        (self.version, self.is_deleted) = (version, false);
        let details = json!({
            "days": self.days.len(), "spans": self.spans.len(), "known_until": self.known_until,
            "former_days": before.0, "former_spans": before.1, "description": self.description,
        });
        self.note(event_id, ChangeKind::CalendarPut, now, author, details);
    }

    /// Deletes it. Its key goes once that is announced.
    pub fn delete(&mut self, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>) {
        (self.days, self.spans, self.description) = (Vec::new(), Vec::new(), None);
        (self.known_until, self.is_deleted) = (None, true);
        self.note(event_id, ChangeKind::CalendarDeleted, now, author, json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(json: &str) -> Result<Content, Vec<String>> {
        let request: PutCalendar = super::super::parse_fields(json.as_bytes()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        request.content(now).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_wrong_is_said_of_each_field() {
        let faults = put(
            r#"{"name":" a","spans":[{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}],"ics":"x"}"#,
        );
        let faults = faults.unwrap_err();
        let named: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(named, ["name", "spans[0].end", "ics"], "{faults:?}");
        assert!(put("{}").unwrap_err()[0].starts_with("name: is required"));
        let days: Vec<String> = (0..10_001).map(|n| format!("{:04}-01-01", n % 9000 + 1)).collect();
        let many = json!({ "name": "a", "days": days }).to_string();
        assert!(put(&many).unwrap_err()[0].starts_with("days: and spans must be at most 10000"));
    }

    #[test]
    fn spans_are_what_can_be_shown_and_given_again() {
        let body = |start: &str, end: &str| {
            json!({ "name": "a", "spans": [{ "start": start, "end": end }] }).to_string()
        };
        let late = put(&body("2026-01-01T00:00:00Z", "+10000-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(late, ["spans[0].end: must lie in the years 0000 to 9999, by UTC"]);
        let leap = put(&body("2026-01-01T00:00:00Z", "2026-01-01T00:00:60Z")).unwrap();
        assert_eq!(leap.spans[0].end.to_string(), "2026-01-01 00:01:00 UTC");
        // Nothing is left of it in whole milliseconds, or on clocks without leap seconds.
        for (start, end) in [
            ("2026-01-01T00:00:00.0001Z", "2026-01-01T00:00:00.0002Z"),
            ("2026-01-01T23:59:60Z", "2026-01-02T00:00:00Z"),
        ] {
            let empty = put(&body(start, end)).unwrap_err();
            assert_eq!(empty, ["spans[0].end: must be later than start"], "{start}");
        }
        let event = "BEGIN:VEVENT\nDTSTART;VALUE=DATE:99991231\nDURATION:P2D\nEND:VEVENT";
        let file = format!("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{event}\nEND:VCALENDAR\n");
        let late = put(&json!({ "name": "a", "ics": file }).to_string()).unwrap_err();
        assert!(late[0].starts_with("ics: line 5: DTSTART brings times that must lie"), "{late:?}");
    }

    #[test]
    fn a_faulty_day_is_named() {
        let body = br#"{"name":"a","days":["2026-12-25","2026-2-1",7,"2026-12-26/2026-12-25","2026-02-30"]}"#;
        let unread = super::super::parse_fields::<PutCalendar>(body).unwrap_err();
        let faults: Vec<_> = unread.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                r#"days[1]: "2026-2-1" is not a day such as 2026-12-25"#,
                r#"days[2]: must be a day as a text, such as "2030-12-25""#,
                r#"days[3]: "2026-12-26/2026-12-25" ends before it begins"#,
                r#"days[4]: "2026-02-30" is not a day such as 2026-12-25"#,
            ]
        );
    }

    #[test]
    fn the_same_in_another_order_is_the_same() {
        let one = put(r#"{"name":"a","days":["2026-12-25","2026-01-01","2026-12-25"]}"#).unwrap();
        let other =
            put(r#"{"name":"a","description":"","days":["2026-01-01","2026-12-25"]}"#).unwrap();
        assert_eq!(one, other);
        let mut calendar = Calendar::default();
        let author = Author { actor: "anna", correlation_id: "c" };
        assert!(!calendar.says(&Content::default()) || calendar.revision == 0);
        calendar.put(one, Uuid::from_u128(1), Uuid::from_u128(2), DateTime::UNIX_EPOCH, author);
        assert!(calendar.says(&other) && calendar.has_made(Uuid::from_u128(2)));
        calendar.delete(Uuid::from_u128(3), DateTime::UNIX_EPOCH, author);
        assert!(!calendar.says(&other) && !calendar.says(&Content::default()));
        assert_eq!((calendar.revision, calendar.events.len()), (2, 2));
        let stored = serde_json::to_vec(&calendar).unwrap();
        assert_eq!(Calendar::read(&stored).unwrap(), calendar);
        calendar.needs = 999;
        assert!(Calendar::read(&serde_json::to_vec(&calendar).unwrap()).is_err());
    }
}
