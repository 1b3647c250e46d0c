use super::*;

fn file(events: &[&str]) -> String {
    let events = events.iter().map(|event| format!("BEGIN:VEVENT\r\n{event}\r\nEND:VEVENT\r\n"));
    let events: String = events.collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{events}END:VCALENDAR\r\n")
}

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn read_one(event: &str) -> Result<Read, String> {
    read(&file(&[event]), start())
}

fn days(event: &str) -> Vec<String> {
    let read = read_one(event).unwrap();
    read.days.iter().map(ToString::to_string).collect()
}

fn spans(event: &str) -> Vec<String> {
    let read = read_one(event).unwrap();
    let shown = |at: DateTime<Utc>| at.format("%m-%dT%H:%M").to_string();
    read.spans.iter().map(|span| [shown(span.start), shown(span.end)].join("/")).collect()
}

#[test]
fn whole_days_are_the_days_of_whoever_uses_them() {
    assert_eq!(days("DTSTART;VALUE=DATE:20261225"), ["2026-12-25"]);
    assert_eq!(
        days("SUMMARY:a\\, b\r\nDTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261227"),
        ["2026-12-24/2026-12-26"]
    );
    assert_eq!(days("DTSTART;VALUE=DATE:20261224\r\nDURATION:P2D"), ["2026-12-24/2026-12-25"]);
}

#[test]
fn times_have_a_zone() {
    assert_eq!(
        spans("DTSTART:20260301T120000Z\r\nDTEND:20260301T133000Z"),
        ["03-01T12:00/03-01T13:30"]
    );
    // Over the change to summer time, the local time stays.
    assert_eq!(
        spans(
            "DTSTART;TZID=Europe/Berlin:20260328T090000\r\nDURATION:PT1H30M\r\n\
             RRULE:FREQ=DAILY;COUNT=2"
        ),
        ["03-28T08:00/03-28T09:30", "03-29T07:00/03-29T08:30"]
    );
}

#[test]
fn rules_are_expanded_with_what_is_added_and_left_out() {
    assert_eq!(
        days(
            "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=YEARLY;UNTIL=20290101\r\n\
             RDATE;VALUE=DATE:20260606\r\nEXDATE;VALUE=DATE:20270101"
        ),
        ["2026-01-01", "2026-06-06", "2028-01-01", "2029-01-01"]
    );
    // An event that was ended before it began has none.
    let ended = "DTSTART;VALUE=DATE:20260105\r\nRRULE:FREQ=DAILY;UNTIL=20260104";
    let beside = format!("{ended}\r\nRDATE;VALUE=DATE:20400606");
    assert_eq!(days(&beside), ["2040-06-06"]);
    let both = read(&file(&[ended, "DTSTART;VALUE=DATE:20261225"]), start()).unwrap();
    assert_eq!(both.days.len(), 1);
    // Rules are expanded for ten years; dates that are named are taken however far ahead.
    let far = days(
        "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=YEARLY;COUNT=2\r\n\
         RDATE;VALUE=DATE:20400606,20400607\r\nEXDATE;VALUE=DATE:20400607",
    );
    assert_eq!(far, ["2026-01-01", "2027-01-01", "2040-06-06"]);
    let endless = read_one("DTSTART;VALUE=DATE:20251225\r\nRRULE:FREQ=YEARLY").unwrap();
    assert_eq!(endless.days.len(), 11);
    assert_eq!(endless.known_until.unwrap().to_string(), "2036-01-09");
    let fourth = "DTSTART;VALUE=DATE:20261126\r\nRRULE:FREQ=YEARLY;COUNT=2;BYMONTH=11;BYDAY=4TH";
    assert_eq!(days(fourth), ["2026-11-26", "2027-11-25"]);
}

#[test]
fn the_last_day_of_a_rule_is_a_day_where_its_event_is() {
    let last = |zone: &str, until: &str| {
        let event = format!(
            "DTSTART;TZID={zone}:20260108T200000\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;UNTIL={until}"
        );
        spans(&event).last().unwrap().clone()
    };
    // In UTC that evening is on the next day.
    assert_eq!(last("America/New_York", "20260110"), "01-11T01:00/01-11T02:00");
    assert_eq!(last("America/New_York", "20260110T200000"), "01-11T01:00/01-11T02:00");
    assert_eq!(last("America/New_York", "20260110T195959"), "01-10T01:00/01-10T02:00");
    assert_eq!(last("America/New_York", "20260111T010000Z"), "01-11T01:00/01-11T02:00");
    assert_eq!(last("Asia/Tokyo", "20260110"), "01-10T11:00/01-10T12:00");
    let early = "DTSTART;TZID=Asia/Tokyo:20260108T070000\r\nDURATION:PT1H\r\n\
                 RRULE:FREQ=DAILY;UNTIL=20260110";
    assert_eq!(spans(early).last().unwrap(), "01-09T22:00/01-09T23:00");
    assert_eq!(
        end_of_day("2026-09-05".parse().unwrap(), chrono_tz::America::Santiago).to_string(),
        "2026-09-06 03:59:59 UTC",
        "its clocks skip the midnight after"
    );
}

#[test]
fn folded_lines_and_cancelled_events() {
    let folded = "DTSTART;VALUE=DA\r\n TE:20261225\r\nDESCRIPTION:a\r\n b";
    let cancelled = "DTSTART;VALUE=DATE:20260101\r\nSTATUS:CANCELLED";
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let read = read(&file(&[folded, cancelled]), now).unwrap();
    assert_eq!(read.days.len(), 1);
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_line() {
    let day = "SUMMARY:x\r\nDTSTART;VALUE=DATE:20260101";
    for (event, reason) in [
        ("SUMMARY:x", "line 4: DTSTART is required"),
        ("DTSTART:20260101T000000\r\nDTEND:20260101T010000", "line 5: DTSTART is a time without"),
        ("DTSTART;TZID=Mars:20260101T000000", "line 5: DTSTART has TZID \"Mars\""),
        ("DTSTART:20260101T000000Z", "line 5: DTSTART has neither"),
        ("DTSTART:20260101T000000Z\r\nDTEND:20260101T000000Z", "line 6: DTEND must be more"),
        ("DTSTART:2026", "line 5: DTSTART is neither"),
        (&format!("{day}\r\nDTEND:20260102T000000Z"), "line 7: DTEND must be of the same"),
        (&format!("{day}\r\nRRULE:FREQ=HOURLY"), "line 7: RRULE recurs more than once"),
        (&format!("{day}\r\nRRULE:FREQ=NEVER"), "line 7: RRULE "),
        (&format!("{day}\r\nRECURRENCE-ID;VALUE=DATE:20260101"), "line 7: RECURRENCE-ID"),
        (
            &format!("{day}\r\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
            "line 7: RRULE never comes true",
        ),
        (
            "DTSTART;VALUE=DATE:19000101\r\nRRULE:FREQ=DAILY",
            "line 5: DTSTART of an event that recurs is more than",
        ),
        (
            &format!("{day}\r\nRDATE;VALUE=PERIOD:20260101T000000Z/PT1H"),
            "line 7: RDATE has periods",
        ),
        (&format!("{day}\r\nDURATION:PT1H"), "line 7: DURATION must be"),
        (&format!("{day}\r\nDURATION:P99999999999999999999D"), "line 7: DURATION is not one"),
    ] {
        let error = read_one(event).unwrap_err();
        assert!(error.starts_with(reason), "{event}: {error}");
    }
    let daily = "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=DAILY;COUNT=20000";
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let cut = read(&file(&[daily]), now).unwrap();
    assert_eq!(cut.known_until, NaiveDate::from_ymd_opt(2036, 1, 9));
    let error = read(&file(&[daily, daily, daily]), now).unwrap_err();
    assert!(error.starts_with("line 13: DTSTART brings the calendar to more"), "{error}");
    for text in ["", "hello", "BEGIN:VCALENDAR", "BEGIN:VCALENDAR\nEND:VCALENDAR", "\u{0}\u{ffff}"]
    {
        let error = read(text, DateTime::UNIX_EPOCH).unwrap_err();
        assert!(
            error.starts_with("is not an iCal") || error.starts_with("has no event"),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,60}", property in "(DTSTART|DTEND|RRULE|RDATE|EXDATE|DURATION)[;:]\\PC{0,30}") {
        let _ = read(&text, DateTime::UNIX_EPOCH);
        let _ = read_one(&format!("DTSTART;VALUE=DATE:20260101\r\n{property}"));
        let _ = read_one(&property);
    }
}
