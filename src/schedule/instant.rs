//! Instants as users write them, and as records hold them.
//!
//! One rule for all instants that users write, in requests, filters and queries: RFC 3339, and an accepted
//! instant is shown as text that is accepted again and means the same instant. So second 60, which RFC 3339
//! has for leap seconds, is read as what follows it on clocks without leap seconds: second 0 of the next
//! minute. Instants in records and events written by hand, or by earlier versions, are mended when they are
//! read.

use std::fmt;

use chrono::{
    DateTime, Datelike as _, Duration, SecondsFormat, SubsecRound as _, Timelike as _, Utc,
};
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serialize as _, Serializer};

use crate::moment::Moment as _;

/// Years that RFC 3339 can write.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// Reason for an instant outside of these years.
pub(super) const RANGE: &str = "must lie in the years 0000 to 9999, by UTC";

/// Reads an instant: RFC 3339, in the years 0000 to 9999 by UTC. A space may replace the `T`.
///
/// # Errors
/// What the text must be, for people.
pub fn parse(text: &str) -> Result<DateTime<Utc>, &'static str> {
    const FORM: &str = "must be an RFC 3339 instant, such as 2026-01-31T09:00:00Z";
    // chrono accepts the typographic minus sign too.
    let given = text.is_ascii().then(|| DateTime::parse_from_rfc3339(text).ok()).flatten();
    let at = real(given.ok_or(FORM)?.to_utc());
    // chrono drops fractions of a nanosecond; no instant here is earlier than it was written.
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let mut cut = digits.bytes().take_while(u8::is_ascii_digit).skip(9);
    let at = if cut.any(|digit| digit != b'0') { at.later(Duration::nanoseconds(1)) } else { at };
    if YEARS.contains(&at.year()) { Ok(at) } else { Err(RANGE) }
}

/// Reads an optional instant.
///
/// # Errors
/// What the text must be: RFC 3339, in the years 0000 to 9999 by UTC.
pub fn field<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    struct Instant;
    impl<'de> Visitor<'de> for Instant {
        type Value = Option<DateTime<Utc>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an RFC 3339 instant, such as \"2026-01-31T09:00:00Z\"")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Self::Value, D::Error> {
            some.deserialize_str(self)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            parse(text).map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_option(Instant)
}

/// Writes an instant, or that there is none, as chrono does: RFC 3339 by UTC, with as many digits as it takes, in
/// threes. A firing writes eighteen; chrono goes through the general formatter, which was 5 % of what it costs.
///
/// # Errors
/// Those of the serializer.
pub fn write<S: Serializer>(
    at: &(impl Copy + Into<Option<DateTime<Utc>>>),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(at) = (*at).into() else { return serializer.serialize_none() };
    let Some((text, length)) = text(at) else { return at.serialize(serializer) };
    serializer.serialize_str(str::from_utf8(&text[..length]).unwrap_or_default())
}

/// The text of an instant and its length; `None` if it has no such text.
fn text(at: DateTime<Utc>) -> Option<([u8; 30], usize)> {
    let year = u32::try_from(at.year()).ok().filter(|year| *year <= 9999)?;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |place: std::ops::Range<usize>, mut number: u32| {
        for digit in text[place].iter_mut().rev() {
            *digit = b"0123456789"[(number % 10) as usize];
            number /= 10;
        }
    };
    put(0..4, year);
    put(5..7, at.month());
    put(8..10, at.day());
    put(11..13, at.hour());
    put(14..16, at.minute());
    put(17..19, at.second());
    let nanos = at.timestamp_subsec_nanos();
    put(20..29, nanos);
    let length = match nanos {
        0 => 20,
        1_000_000_000.. => return None,
        nanos if nanos % 1_000_000 == 0 => 24,
        nanos if nanos % 1_000 == 0 => 27,
        _ => 30,
    };
    text[length - 1] = b'Z';
    Some((text, length))
}

/// Whether it lies in the years that RFC 3339 can write.
pub(super) fn has_text(at: DateTime<Utc>) -> bool {
    YEARS.contains(&real(at).year())
}

/// Replaces second 60, which chrono keeps as such, by the second that follows it.
pub(super) fn real(at: DateTime<Utc>) -> DateTime<Utc> {
    const SECOND: u32 = 1_000_000_000;
    match at.timestamp_subsec_nanos() {
        nanos if nanos < SECOND => at,
        nanos => DateTime::from_timestamp(at.timestamp() + 1, nanos - SECOND).unwrap_or(at),
    }
}

/// Makes a stored instant one that can be shown and calculated with.
pub fn mend(at: &mut DateTime<Utc>) {
    *at = real(*at);
    if !YEARS.contains(&at.year()) {
        *at = (*at).clamp(first(), last());
    }
}

/// Rounds up to milliseconds, the precision of all times here, so that nothing is early.
pub(super) fn whole_milliseconds(at: DateTime<Utc>) -> DateTime<Utc> {
    let cut = at.trunc_subsecs(3);
    if cut < at { cut.later(Duration::milliseconds(1)).min(last()) } else { cut }
}

/// Why an instant that must be in the future is refused at `now`, for people.
pub(super) fn past(at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    (at <= now).then(|| {
        format!(
            "must be in the future; it is now {}",
            now.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        )
    })
}

/// Why an instant that may lie ahead by `lookahead` at most is refused at `now`, for people.
pub(super) fn too_far(
    at: DateTime<Utc>,
    now: DateTime<Utc>,
    lookahead: Duration,
) -> Option<String> {
    let days = lookahead.num_days();
    (at > now.later(lookahead))
        .then(|| format!("must be within {days} days (MAX_SCHEDULE_LOOKAHEAD_DAYS)"))
}

/// The first instant that can be shown.
pub(super) fn first() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(-62_167_219_200_000).unwrap_or_default()
}

/// The last instant that can be shown, in whole milliseconds.
pub fn last() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(253_402_300_799_999).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trigger::{IntervalTrigger, Trigger};

    fn shown(at: DateTime<Utc>) -> String {
        let json = serde_json::to_string(&at).unwrap();
        json.trim_matches('"').to_owned()
    }

    #[test]
    fn what_is_rfc_3339_is_read_and_shown_by_utc() {
        for (text, expected) in [
            ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
            ("2026-01-31t09:00:00.25z", "2026-01-31T09:00:00.250Z"),
            ("2026-01-31 09:00:00+01:30", "2026-01-31T07:30:00Z"),
            ("2026-01-31T09:00:00-00:00", "2026-01-31T09:00:00Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2026-11-25T23:59:60.5Z", "2026-11-26T00:00:00.500Z"),
            ("2026-11-25T10:29:60+05:30", "2026-11-25T05:00:00Z"),
            ("2026-01-31T09:00:00.0000000001Z", "2026-01-31T09:00:00.000000001Z"),
            ("2026-01-31T09:00:00.0000000000Z", "2026-01-31T09:00:00Z"),
            ("2026-01-31T09:00:00.9999999999Z", "2026-01-31T09:00:01Z"),
        ] {
            assert_eq!(parse(text).map(shown).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            " 2026-01-31T09:00:00Z",
            "2026-01-31T09:00:00Z ",
            "2026-01-31T09:00:00Z\n",
            "2026-01-31T09:00:00 Z",
            "2026-01-31T09:00:00+0100",
            "2026-01-31T09:00:00+01",
            "2026-01-31T09:00:00 +01:00",
            "2026-01-31T09:00:00\u{2212}01:00",
            "2026-01-31T09:00:00+24:00",
            "2026-01-31T09:00:00 UTC",
            "2026-01-31T09:00:00",
            "2026-01-31T09:00Z",
            "2026-01-31",
            "2026-1-31T9:00:00Z",
            "2026-01-31  09:00:00Z",
            "2026-02-29T09:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T09:00:61Z",
            "2026-01-31T09:00:00.Z",
            "+2026-01-31T09:00:00Z",
            "+10000-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
            "1767225600",
        ] {
            let reason = parse(text).unwrap_err();
            assert_eq!(
                reason, "must be an RFC 3339 instant, such as 2026-01-31T09:00:00Z",
                "{text:?}"
            );
        }
        for text in [
            "9999-12-31T23:59:59.999-23:59",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59.9999999999Z",
            "0000-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse(text), Err("must lie in the years 0000 to 9999, by UTC"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn instants_are_written_as_chrono_writes_them(
            seconds in prop_oneof![-100_000_000_000_i64..300_000_000_000, Just(1_483_228_799)],
            nanos in prop_oneof![
                Just(0), 0_u32..2_000_000_000, (0_u32..2_000).prop_map(|ms| ms * 1_000_000),
                (0_u32..2_000_000).prop_map(|us| us * 1_000),
            ],
        ) {
            let Some(at) = DateTime::from_timestamp(seconds, nanos) else { return Ok(()) };
            let written = |at: Option<DateTime<Utc>>| write(&at, serde_json::value::Serializer);
            prop_assert_eq!(written(Some(at)).unwrap(), serde_json::json!(at));
            prop_assert_eq!(write(&at, serde_json::value::Serializer).unwrap(), serde_json::json!(at));
            prop_assert!(written(None).unwrap().is_null());
        }

        /// What is accepted is shown as text that is accepted and means the same; it is never earlier than
        /// written; and intervals anchored at it go on.
        #[test]
        fn what_is_accepted_is_shown_as_what_is_accepted(
            (date, hour, minute) in ("(0000|1969|1970|2026|9999)-(01|06|12)-(01|30|31)", 0..24, 0..60),
            second in prop_oneof![0_i64..60, Just(60)],
            fraction in "(\\.[0-9]{1,12})?",
            offset in "(Z|z|[+-](00|01|13|23):(00|30|59))",
            every_seconds in prop_oneof![Just(1_u32), 1_u32..100_000],
        ) {
            let text = format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
            let Ok(at) = parse(&text) else { return Ok(()) };
            prop_assert_eq!(parse(&shown(at)), Ok(at), "{}", shown(at));
            let whole = format!("{date}T{hour:02}:{minute:02}:00{offset}");
            let seconds = (at - DateTime::parse_from_rfc3339(&whole).unwrap().to_utc()).num_seconds();
            prop_assert!(seconds == second || seconds == second + 1, "{} {}", text, shown(at));
            for trigger in [
                Trigger::Interval(IntervalTrigger { start: at, every_seconds }),
                Trigger::Once(at),
            ] {
                let before = at - Duration::milliseconds(1);
                let times: Vec<_> = trigger.occurrences_after(before).take(3).map(|o| o.at).collect();
                prop_assert_eq!(times[0], at);
                prop_assert!(times.is_sorted_by(|a, b| a < b), "{:?}", times);
            }
        }
    }
}
