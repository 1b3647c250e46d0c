//! Reads the days and spans of an iCalendar file (RFC 5545): each event covers the time that it takes.
//!
//! Events that take whole days mean the days of whoever uses the calendar; others have a zone or are in UTC. `RRULE`,
//! `RDATE` and `EXDATE` are expanded. What cannot be kept truly is refused, with the line: times without a zone, zones
//! that are not IANA's, periods, and changed occurrences of a recurring event (`RECURRENCE-ID`).

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use icalendar::parser::{Component, Property, read_calendar, unfold};
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated};

use super::{Days, MAX_SPANS, Span};
use crate::moment::Moment as _;
use crate::schedule::instant;

/// How far ahead rules are expanded, however long they go on.
const HORIZON: Duration = Duration::days(366 * 10);
/// How long ago an event that recurs may have begun: all times since then are gone through.
const OLDEST: Duration = Duration::days(366 * 100);
/// Most events that recur.
const MAX_RULES: usize = 200;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    pub(super) days: Vec<Days>,
    pub(super) spans: Vec<Span>,
    /// The day up to which rules were expanded, if one goes on longer.
    pub(super) known_until: Option<NaiveDate>,
}

/// A date, or a time in a zone.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Date(NaiveDate),
    Time(NaiveDateTime, chrono_tz::Tz),
}

/// Reads a file at `now`.
///
/// # Errors
/// The line and the reason.
pub(super) fn read(text: &str, now: DateTime<Utc>) -> Result<Read, String> {
    let unfolded = unfold(text);
    let calendar = read_calendar(&unfolded).map_err(|error| not_ics(&error))?;
    let events = calendar.components.iter().filter(|component| component.name == "VEVENT");
    let mut found = Read::default();
    let mut rules = 0;
    for (n, event) in events.enumerate() {
        let at = |property: &str, reason: &str| {
            let line = line_of(text, n, property);
            format!("line {line}: {property} {reason}")
        };
        rules += usize::from(event.find_prop("RRULE").is_some());
        if rules > MAX_RULES {
            return Err(at("RRULE", &format!("is one of more than {MAX_RULES}")));
        }
        if event.find_prop("STATUS").is_some_and(|status| status.val == "CANCELLED") {
            continue;
        }
        take_in(&mut found, event, now).map_err(|(property, reason)| at(property, &reason))?;
        if found.days.len() + found.spans.len() > MAX_SPANS {
            let reason = format!("brings the calendar to more than {MAX_SPANS} days and spans");
            return Err(at("DTSTART", &reason));
        }
    }
    if found.days.is_empty() && found.spans.is_empty() {
        return Err("has no event that takes time".to_owned());
    }
    Ok(found)
}

fn not_ics(error: &str) -> String {
    let first = error.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    format!("is not an iCalendar file: {}", first.trim())
}

/// The line of a property of the `n`th event, or that of the event.
fn line_of(text: &str, n: usize, property: &str) -> usize {
    let mut events = 0;
    let mut begins = 1;
    for (line, content) in text.lines().enumerate() {
        let content = content.trim_end().to_ascii_uppercase();
        if content == "BEGIN:VEVENT" {
            events += 1;
            if events == n + 1 {
                begins = line + 1;
            }
        }
        let rest = content.strip_prefix(property);
        if events == n + 1 && rest.is_some_and(|rest| rest.starts_with([':', ';'])) {
            return line + 1;
        }
        if events > n + 1 {
            break;
        }
    }
    begins
}

type Fault = (&'static str, String);

/// Takes in all occurrences of an event.
fn take_in(found: &mut Read, event: &Component<'_>, now: DateTime<Utc>) -> Result<(), Fault> {
    for refused in ["RECURRENCE-ID", "EXRULE"] {
        if event.find_prop(refused).is_some() {
            return Err((refused, "is not supported".to_owned()));
        }
    }
    let all = |name: &'static str| {
        let of_name = event.properties.iter().filter(move |property| property.name == name);
        of_name.map(move |property| values(property).map_err(|reason| (name, reason)))
    };
    let one = |name| -> Result<Option<When>, Fault> {
        Ok(all(name).next().transpose()?.and_then(|values| values.first().copied()))
    };
    let start = one("DTSTART")?.ok_or(("DTSTART", "is required".to_owned()))?;
    let length = length(event, start, one("DTEND")?)?;
    let (mut more, mut without) = (Vec::new(), Vec::new());
    for (into, name) in [(&mut more, "RDATE"), (&mut without, "EXDATE")] {
        for values in all(name) {
            let same =
                |when: &When| matches!(when, When::Date(_)) == matches!(start, When::Date(_));
            let values = values?;
            if !values.iter().all(same) {
                return Err((name, "must be of the same kind as DTSTART".to_owned()));
            }
            into.extend(values);
        }
    }
    let starts = occurrences(found, event, start, &more, &without, now)?;
    for at in starts {
        match start {
            When::Date(_) => {
                let first = at.date_naive();
                let last = first.checked_add_signed(length).and_then(|end| end.pred_opt());
                let last = last.unwrap_or(NaiveDate::MAX);
                found.days.push(Days { first, last });
            }
            When::Time(..) => {
                let start = at.with_timezone(&Utc);
                found.spans.push(Span { start, end: start.later(length) });
            }
        }
    }
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let is_late = |days: &Days| !instant::has_text(midnight(days.last));
    if found.days.iter().any(is_late) || found.spans.iter().any(|span| !span.has_text()) {
        return Err(("DTSTART", format!("brings times that {}", instant::RANGE)));
    }
    Ok(())
}

/// How long each occurrence takes.
fn length(event: &Component<'_>, start: When, end: Option<When>) -> Result<Duration, Fault> {
    let given = event.find_prop("DURATION").map(|property| property.val.as_str());
    let (name, length) = match (given, start, end) {
        (Some(text), ..) => {
            let length = duration(text).ok_or(("DURATION", format!("is not one: {text:?}")))?;
            ("DURATION", length)
        }
        (None, When::Date(start), Some(When::Date(end))) => ("DTEND", end - start),
        (None, When::Time(start, zone), Some(When::Time(end, end_zone))) => {
            let instant = |at, zone| instant(at, zone).map_err(|reason| ("DTEND", reason));
            ("DTEND", instant(end, end_zone)? - instant(start, zone)?)
        }
        (None, _, Some(_)) => {
            return Err(("DTEND", "must be of the same kind as DTSTART".to_owned()));
        }
        (None, When::Date(_), None) => ("DTSTART", Duration::days(1)),
        (None, When::Time(..), None) => {
            return Err(("DTSTART", "has neither DTEND nor DURATION".to_owned()));
        }
    };
    let whole = matches!(start, When::Time(..)) || length.num_seconds() % 86_400 == 0;
    let range = Duration::zero() < length && length <= Duration::days(3660);
    match whole && range {
        true => Ok(length),
        false => Err((
            name,
            "must be more than nothing, at most 3660 days, and whole days if it has dates"
                .to_owned(),
        )),
    }
}

/// The starts of all occurrences; those of whole days in UTC.
fn occurrences(
    found: &mut Read,
    event: &Component<'_>,
    start: When,
    more: &[When],
    without: &[When],
    now: DateTime<Utc>,
) -> Result<Vec<DateTime<Tz>>, Fault> {
    let zoned = |when: &When| match when {
        When::Date(date) => Ok(Tz::UTC.from_utc_datetime(&date.and_time(NaiveTime::MIN))),
        When::Time(at, zone) => Ok(instant(*at, *zone)?.with_timezone(&Tz::Tz(*zone))),
    };
    let first = zoned(&start).map_err(|reason| ("DTSTART", reason))?;
    let rule = match event.properties.iter().filter(|property| property.name == "RRULE").count() {
        0 => None,
        1 => event.find_prop("RRULE").map(|property| rule(property.val.as_str(), start)),
        _ => return Err(("RRULE", "is there twice".to_owned())),
    };
    let rule = rule.transpose().map_err(|reason| ("RRULE", reason))?;
    let mut set = RRuleSet::new(first);
    let horizon = now.later(HORIZON).with_timezone(&Tz::UTC);
    let is_ruled = rule.is_some();
    // What is left of an event that was ended before it began.
    let rule = rule.filter(|rule| rule.get_until().is_none_or(|until| *until >= first));
    let is_expanded = rule.is_some();
    if let Some(rule) = rule {
        if first < now.earlier(OLDEST) {
            return Err((
                "DTSTART",
                "of an event that recurs is more than 100 years ago".to_owned(),
            ));
        }
        let rule = rule.validate(first).map_err(|error| ("RRULE", error.to_string()))?;
        set = set.rrule(rule);
        if !set.clone().after(horizon).all(1).dates.is_empty() {
            found.known_until = Some(horizon.date_naive());
        } else if set.clone().all(1).dates.is_empty() {
            return Err(("RRULE", "never comes true".to_owned()));
        }
        set = set.before(horizon);
    } else if !is_ruled {
        set = set.rdate(first);
    }
    let zoned_all = |all: &[When], name| {
        let all = all.iter().map(|when| zoned(when).map_err(|reason| (name, reason)));
        all.collect::<Result<Vec<_>, Fault>>()
    };
    let (more, without) = (zoned_all(more, "RDATE")?, zoned_all(without, "EXDATE")?);
    // Only the rule ends at the horizon.
    let beyond = more.iter().filter(|at| is_expanded && **at > horizon && !without.contains(at));
    let beyond: Vec<_> = beyond.copied().collect();
    set = more.into_iter().fold(set, RRuleSet::rdate);
    set = without.into_iter().fold(set, RRuleSet::exdate);
    let mut all = set.all(u16::try_from(MAX_SPANS + 1).unwrap_or(u16::MAX)).dates;
    all.extend(beyond);
    match all.len() > MAX_SPANS {
        true => Err(("RRULE", format!("has more than {MAX_SPANS} occurrences"))),
        false => Ok(all),
    }
}

/// A rule of an event with this start. A last day without a time means the whole day, where the event is.
fn rule(text: &str, start: When) -> Result<RRule<Unvalidated>, String> {
    let zone = match start {
        When::Date(_) => chrono_tz::UTC,
        When::Time(_, zone) => zone,
    };
    let part = |part: &str| match part.split_once('=') {
        Some((name, last)) if name.eq_ignore_ascii_case("UNTIL") => {
            let last = value(last, Some(zone)).map_err(|reason| format!("UNTIL {reason}"))?;
            let last = match last {
                When::Date(date) => end_of_day(date, zone),
                When::Time(at, zone) => instant(at, zone)?,
            };
            Ok(format!("UNTIL={}", last.format("%Y%m%dT%H%M%SZ")))
        }
        _ => Ok(part.to_owned()),
    };
    let text = text.split(';').map(part).collect::<Result<Vec<_>, String>>()?.join(";");
    let rule: RRule<Unvalidated> = text.parse().map_err(|error| format!("{error}"))?;
    match rule.get_freq() {
        Frequency::Yearly | Frequency::Monthly | Frequency::Weekly | Frequency::Daily => Ok(rule),
        _ => Err("recurs more than once a day; give DAILY or longer".to_owned()),
    }
}

/// The dates or times of a property.
fn values(property: &Property<'_>) -> Result<Vec<When>, String> {
    let parameter = |name: &str| {
        let mut all = property.params.iter();
        all.find(|parameter| parameter.key == name)
            .and_then(|parameter| parameter.val.as_ref().map(|value| value.as_str()))
    };
    if parameter("VALUE") == Some("PERIOD") {
        return Err("has periods, which are not supported".to_owned());
    }
    let zone = parameter("TZID").map(|name| {
        let zone = name.parse::<chrono_tz::Tz>();
        zone.map_err(|_| format!("has TZID {name:?}, which is no IANA time zone"))
    });
    let zone = zone.transpose()?;
    let each = property.val.as_str().split(',').map(|text| value(text.trim(), zone));
    each.collect()
}

fn value(text: &str, zone: Option<chrono_tz::Tz>) -> Result<When, String> {
    let wrong = || format!("is neither a date nor a time: {text:?}");
    if text.len() == 8 {
        let date = NaiveDate::parse_from_str(text, "%Y%m%d").map_err(|_| wrong())?;
        return Ok(When::Date(date));
    }
    let (local, is_utc) = text.strip_suffix('Z').map_or((text, false), |local| (local, true));
    let at = NaiveDateTime::parse_from_str(local, "%Y%m%dT%H%M%S").map_err(|_| wrong())?;
    match (is_utc, zone) {
        (true, _) => Ok(When::Time(at, chrono_tz::UTC)),
        (false, Some(zone)) => Ok(When::Time(at, zone)),
        (false, None) => Err("is a time without a zone; add TZID or Z".to_owned()),
    }
}

/// The last second of a day in a zone.
fn end_of_day(date: NaiveDate, zone: chrono_tz::Tz) -> DateTime<Utc> {
    let next = date.succ_opt().unwrap_or(NaiveDate::MAX).and_time(NaiveTime::MIN);
    // Where a clock change skips midnight, the day ends with that change: the hour after it exists.
    let starts = (0..=3).find_map(|hours| {
        let later = next.checked_add_signed(Duration::hours(hours))?;
        zone.from_local_datetime(&later).earliest()
    });
    let starts = starts.map_or_else(|| next.and_utc(), |at| at.with_timezone(&Utc));
    starts.earlier(Duration::seconds(1))
}

/// A local time, the first if the clock shows it twice.
fn instant(at: NaiveDateTime, zone: chrono_tz::Tz) -> Result<DateTime<Utc>, String> {
    let found = zone.from_local_datetime(&at).earliest();
    let found = found.map(|at| at.with_timezone(&Utc));
    found.ok_or_else(|| format!("is {at} in {zone}, which a clock change skips"))
}

/// A duration such as `P1D` or `PT1H30M`.
fn duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('+').unwrap_or(text).strip_prefix('P')?;
    let (mut seconds, mut number, mut is_time) = (0_i64, None::<i64>, false);
    for letter in rest.chars() {
        let unit = match (letter, is_time) {
            ('0'..='9', _) => {
                let digit = i64::from(letter.to_digit(10)?);
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                continue;
            }
            ('T', false) => {
                is_time = true;
                continue;
            }
            ('W', false) => 604_800,
            ('D', false) => 86_400,
            ('H', true) => 3600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then(|| Duration::try_seconds(seconds)).flatten()
}

#[cfg(test)]
mod tests;
