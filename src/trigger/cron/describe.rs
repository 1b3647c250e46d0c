//! An expression in plain English.
//!
//! The sentences are croner's. It is given a canonical expression written from the parsed sets, not
//! the user's text, since its grammar is not ours: what `H` stands for is spelled out, and so is a
//! step that does not run through the whole field. Days of month it has no words for are described
//! here.

use std::fmt::Write;

use croner::parser::{CronParser, Seconds, Year};

use super::bits;
use super::calendar::Calendar;
use super::dates::{FIRST_YEAR, LAST_YEAR, Years};
use super::days::{DayRule, DaysOfMonth, DaysOfWeek};

/// A field without restriction.
const STAR: &str = "*";

/// Describes the local times of `calendar`, without the zone and without a full stop.
pub(super) fn describe(calendar: &Calendar) -> String {
    let days = &calendar.dates.days;
    let time = time(calendar);
    let months = months(calendar.dates.months);
    let years = years(&calendar.dates.years);
    let (of_month, of_week) =
        match (days.rule, day_of_month(&days.of_month), day_of_week(&days.of_week)) {
            // `1-31` or a weekday: that is every day.
            (DayRule::Either, month, week) if month == STAR || week == STAR => {
                (STAR.into(), STAR.into())
            }
            (_, month, week) => (month, week),
        };
    let own_words = days.of_month.from_last > 1 || days.of_month.nearest_from_last != 0;
    if of_month != STAR && own_words {
        let mut text = sentence(&format!("{time} * {months} * {years}"));
        let _ = write!(text, ", on {}", days_in_own_words(&days.of_month));
        text.push_str(&weekdays_after_own_words(&of_week, days.rule));
        return text;
    }
    let both = days.rule == DayRule::Both && of_month != STAR && of_week != STAR;
    let plus = if both { "+" } else { "" };
    let mut text = sentence(&format!("{time} {of_month} {months} {plus}{of_week} {years}"));
    let any_date = [&of_month, &of_week, &months, &years].iter().all(|field| *field == STAR);
    let through_the_day = hours(calendar).starts_with(STAR);
    if any_date && !through_the_day {
        text.push_str(", every day");
    }
    text
}

/// What a restricted day of week adds to days of month in our own words.
fn weekdays_after_own_words(of_week: &str, rule: DayRule) -> String {
    if of_week == STAR {
        return String::new();
    }
    // "Every second, on Friday"
    let text = sentence(&format!("* * * * * {of_week} *"));
    let weekdays = text.split_once(", on ").map_or(of_week, |(_, weekdays)| weekdays);
    match rule {
        DayRule::Both => format!(" (if it is also {weekdays})"),
        DayRule::Either => format!(" or {weekdays}"),
    }
}

/// croner's words for an expression of seven fields, or the expression itself should it refuse it.
fn sentence(expression: &str) -> String {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
    match parser.parse(expression) {
        Ok(cron) => cron.describe().trim_end_matches('.').to_owned(),
        Err(_) => format!("At `{expression}`"),
    }
}

fn time(calendar: &Calendar) -> String {
    let (seconds, minutes) = (calendar.times.seconds, calendar.times.minutes);
    format!("{} {} {}", field(seconds, 0, 59), field(minutes, 0, 59), hours(calendar))
}

fn hours(calendar: &Calendar) -> String {
    field(calendar.times.hours, 0, 23)
}

/// A set as an item: a star, a step through the whole field, or a list.
fn field(set: u64, min: u32, max: u32) -> String {
    let members: Vec<u32> = bits::members(set).collect();
    let whole = |step: u32| (min..=max).step_by(step as usize).eq(members.iter().copied());
    match members.as_slice() {
        _ if whole(1) => STAR.to_owned(),
        [first, second, _, ..] if whole(second - first) => format!("*/{}", second - first),
        _ => list(members),
    }
}

/// croner would say "in every 3 months"; the names of the months are clearer.
fn months(set: u64) -> String {
    if set.count_ones() == 12 { STAR.to_owned() } else { list(bits::members(set)) }
}

fn years(years: &Years) -> String {
    let members: Vec<i32> = (FIRST_YEAR..=LAST_YEAR).filter(|year| years.has(*year)).collect();
    if members.len() as i32 == LAST_YEAR - FIRST_YEAR + 1 { STAR.to_owned() } else { list(members) }
}

fn day_of_month(days: &DaysOfMonth) -> String {
    if bits::below(32) & !1 == u64::from(days.plain) {
        return STAR.to_owned();
    }
    let last = (days.from_last & 1 == 1).then(|| "L".to_owned());
    let nearest = bits::members(days.nearest.into()).map(|day| format!("{day}W"));
    list(bits::members(days.plain.into()).map(|day| day.to_string()).chain(last).chain(nearest))
}

fn day_of_week(days: &DaysOfWeek) -> String {
    if days.every == 0x7f {
        return STAR.to_owned();
    }
    let every = bits::members(days.every.into()).map(|day| day.to_string());
    let nth = days.nth.iter().enumerate().flat_map(|(week, set)| {
        bits::members((*set).into()).map(move |day| format!("{day}#{}", week + 1))
    });
    let last = bits::members(days.last.into()).map(|day| format!("{day}#L"));
    list(every.chain(nth).chain(last))
}

/// Words for a day-of-month field with `L-n`, `LW` or `L-nW` in it.
fn days_in_own_words(days: &DaysOfMonth) -> String {
    let plain = bits::members(days.plain.into()).map(|day| format!("day {day}"));
    let nearest =
        bits::members(days.nearest.into()).map(|day| format!("the weekday nearest day {day}"));
    let last = bits::members(days.from_last.into()).map(from_last);
    let nearest_from_last = bits::members(days.nearest_from_last.into()).map(|back| match back {
        0 => "the last weekday of the month".to_owned(),
        _ => format!("the weekday nearest {}", from_last(back)),
    });
    let mut words: Vec<String> =
        plain.chain(nearest).chain(last).chain(nearest_from_last).collect();
    let end = words.pop().unwrap_or_default();
    if words.is_empty() { end } else { format!("{} and {end}", words.join(", ")) }
}

fn from_last(back: u32) -> String {
    match back {
        0 => "the last day of the month".to_owned(),
        1 => "the day before the last of the month".to_owned(),
        _ => format!("the day {back} days before the last of the month"),
    }
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn descriptions_say_what_the_expression_does() {
        for (expression, expected) in [
            ("30 2 * * *", "At 02:30, every day"),
            ("@hourly", "At minute 0 past every hour"),
            ("*/15 * * * *", "At every 15 minutes"),
            ("0/15 * * * *", "At every 15 minutes"),
            ("0-10/5 * * * *", "At minute 0, 5, and 10 past every hour"),
            ("0 */2 * * *", "At minute 0, of every 2 hours"),
            ("*/10 * * * * *", "At every 10 seconds"),
            ("30 0 14 * * * 2030", "At 14:00:30, in year 2030"),
            ("0 0 1 */3 *", "At 00:00, on day 1, in January, April, July, and October"),
            ("0 0 1,15 * MON", "At 00:00, on day 1 and 15 or Monday"),
            ("0 0 1-31 * MON", "At 00:00, every day"),
            ("0 0 1,15 * +MON", "At 00:00, on day 1 and 15 (if it is also Monday)"),
            ("0 12 * * FRI#2", "At 12:00, on the 2nd Friday of the month"),
            ("0 12 * * 5L", "At 12:00, on the last Friday of the month"),
            ("0 12 L * *", "At 12:00, on the last day of the month"),
            ("0 12 LW * *", "At 12:00, on the last weekday of the month"),
            (
                "0 12 L-2W JAN FRI",
                "At 12:00, in January, on the weekday nearest the day 2 days before the last of the \
                 month or Friday",
            ),
        ] {
            let calendar = parse::parse(expression, 0).expect(expression);
            assert_eq!(describe(&calendar), expected, "{expression}");
        }
    }
}
