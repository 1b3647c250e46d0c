//! Times and spans, as people write and read them.

use std::time::Duration;

use chrono::{
    DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, TimeZone as _,
    Utc,
};

/// What a time must be, for people.
const TIME: &str = "must be a time such as 2026-11-28T02:00:00Z, \"2026-11-28 02:00\" (local), 2026-11-28, now, 2h, \
                    -2h, \"2h ago\" or \"in 2h\"";
/// What a span must be.
const SPAN: &str = "must be a span such as 30s, 5m, 1h30m, 2d or 1w";

/// Where a span without a sign lies.
#[derive(Clone, Copy)]
enum Side {
    Past,
    Future,
}

/// A time, of which a bare span lies in the past.
///
/// # Errors
/// What it must be.
pub fn past(text: &str) -> Result<DateTime<Utc>, String> {
    parse(text, Side::Past, Utc::now()).ok_or_else(|| TIME.to_owned())
}

/// A time, of which a bare span lies in the future.
///
/// # Errors
/// What it must be.
pub fn ahead(text: &str) -> Result<DateTime<Utc>, String> {
    parse(text, Side::Future, Utc::now()).ok_or_else(|| TIME.to_owned())
}

/// A span of time.
///
/// # Errors
/// What it must be.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = span(text).and_then(|span| span.to_std().ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| SPAN.to_owned())
}

/// A number of whole seconds, written as a span.
///
/// # Errors
/// What it must be.
pub fn seconds(text: &str) -> Result<u64, String> {
    let span = duration(text)?;
    match span.subsec_nanos() {
        0 => Ok(span.as_secs()),
        _ => Err("must be a whole number of seconds, such as 30s, 5m or 1h30m".to_owned()),
    }
}

/// The time at which a span ends that begins now.
///
/// # Errors
/// What it must be; a span that no calendar has room for.
pub fn from_now(text: &str) -> Result<DateTime<Utc>, String> {
    let span = TimeDelta::from_std(duration(text)?).ok();
    let end = span.and_then(|span| Utc::now().checked_add_signed(span));
    end.ok_or_else(|| "is too long".to_owned())
}

fn parse(text: &str, side: Side, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if text == "now" {
        return Some(now);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    if let Some(local) = local(text) {
        return Local.from_local_datetime(&local).earliest().map(|at| at.to_utc());
    }
    let (side, text) = if let Some(rest) = text.strip_prefix("in ").or(text.strip_prefix('+')) {
        (Side::Future, rest)
    } else if let Some(rest) = text.strip_suffix(" ago").or(text.strip_prefix('-')) {
        (Side::Past, rest)
    } else {
        (side, text)
    };
    let span = span(text.trim())?;
    match side {
        Side::Past => now.checked_sub_signed(span),
        Side::Future => now.checked_add_signed(span),
    }
}

/// A time on the local clock, or the beginning of a day.
fn local(text: &str) -> Option<NaiveDateTime> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    day.map(|day| day.and_time(NaiveTime::MIN)).or_else(|| {
        ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    })
}

/// Numbers with units, each added to those before: `1h30m`.
fn span(text: &str) -> Option<TimeDelta> {
    let mut rest = text;
    let mut total = TimeDelta::zero();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        let letters = &rest[digits..];
        let end = letters.find(|c: char| c.is_ascii_digit()).unwrap_or(letters.len());
        let one = match letters[..end].trim() {
            "ms" => TimeDelta::milliseconds(1),
            "s" => TimeDelta::seconds(1),
            "m" => TimeDelta::minutes(1),
            "h" => TimeDelta::hours(1),
            "d" => TimeDelta::days(1),
            "w" => TimeDelta::weeks(1),
            _ => return None,
        };
        total = total.checked_add(&one.checked_mul(i32::try_from(count).ok()?)?)?;
        rest = &letters[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// A time as replies have it, with all its digits.
pub fn exact(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time as replies show it, to the second.
pub fn absolute(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How far a time is from now, in its largest unit: `in 5m`, `3h ago`.
pub fn relative(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let span = at.signed_duration_since(now);
    let text = largest(span.abs());
    if span > TimeDelta::zero() { format!("in {text}") } else { format!("{text} ago") }
}

fn largest(span: TimeDelta) -> String {
    match span.num_seconds() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number of milliseconds: `2ms`, `1.5s`, `3m20s`, `2h5m`.
pub fn span_ms(ms: i64) -> String {
    match ms {
        ..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{}h{}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A number of seconds in the largest units that are whole: `90s`, `5m`, `1d`.
pub fn every(seconds: u64) -> String {
    for (unit, length) in [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: DateTime<Utc> = "2026-11-28T12:00:00Z".parse().unwrap();
        for (text, past, ahead) in [
            ("now", "2026-11-28T12:00:00Z", "2026-11-28T12:00:00Z"),
            ("2h", "2026-11-28T10:00:00Z", "2026-11-28T14:00:00Z"),
            ("-1h30m", "2026-11-28T10:30:00Z", "2026-11-28T10:30:00Z"),
            ("+1d", "2026-11-29T12:00:00Z", "2026-11-29T12:00:00Z"),
            ("in 90s", "2026-11-28T12:01:30Z", "2026-11-28T12:01:30Z"),
            ("1w ago", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z"),
            ("2026-11-28T02:00:00+02:00", "2026-11-28T00:00:00Z", "2026-11-28T00:00:00Z"),
        ] {
            let read = |side| absolute(parse(text, side, now).unwrap());
            assert_eq!(
                (read(Side::Past).as_str(), read(Side::Future).as_str()),
                (past, ahead),
                "{text}"
            );
        }
        for text in
            ["", "2", "h", "2x", "2h ago ago", "99999999999999999999s", "2026-13-01", "99999999w"]
        {
            assert!(parse(text, Side::Past, now).is_none(), "{text}");
        }
        assert!(parse("2026-11-28", Side::Past, now).is_some());
    }

    #[test]
    fn times_are_shown_in_their_largest_unit() {
        let now: DateTime<Utc> = "2026-11-28T12:00:00Z".parse().unwrap();
        for (seconds, text) in
            [(30, "in 30s"), (90, "in 1m"), (-7200, "2h ago"), (259_200, "in 3d"), (0, "0s ago")]
        {
            assert_eq!(relative(now + TimeDelta::seconds(seconds), now), text);
        }
        for (ms, text) in [(2, "2ms"), (1540, "1.5s"), (200_000, "3m20s"), (7_500_000, "2h5m")] {
            assert_eq!(span_ms(ms), text);
        }
        for (seconds, text) in [(90, "90s"), (300, "5m"), (86_400, "1d"), (1_209_600, "2w")] {
            assert_eq!(every(seconds), text);
        }
    }
}
