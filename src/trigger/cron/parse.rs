//! Parses the text of an expression into a calendar of local times.

use super::calendar::Calendar;
use super::dates::{Dates, Years};
use super::days::{DayRule, Days, DaysOfMonth, DaysOfWeek};
use super::error::{CronError, CronField};
use super::items::Items;
use super::times::Times;

/// The longest expression that is read, in bytes. Bounds the work a hostile request can cause.
const MAX_LENGTH: usize = 255;

/// Reads an expression; `hash_seed` decides what `H` stands for.
///
/// # Errors
/// The first fault found; whether any date matches is not checked.
pub(super) fn parse(expression: &str, hash_seed: u64) -> Result<Calendar, CronError> {
    if expression.len() > MAX_LENGTH {
        return Err(CronError::TooLong { max: MAX_LENGTH });
    }
    let expression = match expression.trim() {
        nickname if nickname.starts_with('@') => named(nickname)?,
        fields => fields,
    };
    let upper = expression.to_ascii_uppercase();
    let fields: Vec<&str> = upper.split_whitespace().collect();
    let [second, minute, hour, day_of_month, month, day_of_week, year] = match *fields {
        [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday, "*"],
        [second, minute, hour, day, month, weekday] => {
            [second, minute, hour, day, month, weekday, "*"]
        }
        [second, minute, hour, day, month, weekday, year] => {
            [second, minute, hour, day, month, weekday, year]
        }
        _ => {
            let found = fields.len();
            return Err(CronError::FieldCount { found });
        }
    };

    let times = Times {
        seconds: set(CronField::Second, second, hash_seed)?,
        minutes: set(CronField::Minute, minute, hash_seed)?,
        hours: set(CronField::Hour, hour, hash_seed)?,
    };
    let of_month = days_of_month(day_of_month, hash_seed)?;
    let months = set(CronField::Month, month, hash_seed)?;
    let (both, day_of_week) = match day_of_week.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, day_of_week),
    };
    let of_week = days_of_week(day_of_week, hash_seed)?;
    // A field that starts with a star counts as one for this rule even if a step restricts it, as
    // in cronie.
    let rule = if both || is_star(day_of_month) || is_star(day_of_week) {
        DayRule::Both
    } else {
        DayRule::Either
    };
    let dates =
        Dates { years: years(year, hash_seed)?, months, days: Days { of_month, of_week, rule } };
    let wildcard = is_star(second) || is_star(minute) || is_star(hour);
    Ok(Calendar { dates, times, wildcard })
}

fn named(nickname: &str) -> Result<&'static str, CronError> {
    Ok(match nickname {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(CronError::UnknownNickname),
    })
}

fn is_star(field: &str) -> bool {
    field.starts_with(['*', '?'])
}

fn set(field: CronField, text: &str, hash_seed: u64) -> Result<u64, CronError> {
    let items = Items::new(field, hash_seed);
    let mut set = 0;
    for item in text.split(',') {
        items.expand(item)?.for_each(|value| set |= 1 << value);
    }
    Ok(set)
}

fn years(text: &str, hash_seed: u64) -> Result<Years, CronError> {
    let items = Items::new(CronField::Year, hash_seed);
    let mut years = Years::default();
    for item in text.split(',') {
        items.expand(item)?.for_each(|year| years.insert(year.into()));
    }
    Ok(years)
}

/// The day-of-month field: the common items, `?`, `L`, `L-n`, `nW`, `LW` and `L-nW`.
fn days_of_month(text: &str, hash_seed: u64) -> Result<DaysOfMonth, CronError> {
    let items = Items::new(CronField::DayOfMonth, hash_seed);
    let mut days = DaysOfMonth::default();
    let text = if text == "?" { "*" } else { text };
    for item in text.split(',') {
        let (day, nearest) = match item.strip_suffix('W') {
            Some(day) => (day, true),
            None => (item, false),
        };
        if let Some(back) = day.strip_prefix('L') {
            let back = match back.strip_prefix('-') {
                Some(number) => items.number(number, 0, 30)?,
                None if back.is_empty() => 0,
                None => return Err(items.not_understood(item)),
            };
            let set = if nearest { &mut days.nearest_from_last } else { &mut days.from_last };
            *set |= 1 << back;
        } else if nearest {
            if day.is_empty() || day.contains(['-', '/', '*', 'H']) {
                return Err(items.not_understood(item));
            }
            let day = items.value(day)?;
            if days.plain != 0 {
                return Err(CronError::NearestAfterPlain { item: item.to_owned() });
            }
            days.nearest |= 1 << day;
        } else {
            items.expand(item)?.for_each(|day| days.plain |= 1 << day);
        }
    }
    Ok(days)
}

/// The day-of-week field: the common items, `?`, `FRIL` (also `FRI#L`) and `FRI#n`.
fn days_of_week(text: &str, hash_seed: u64) -> Result<DaysOfWeek, CronError> {
    let items = Items::new(CronField::DayOfWeek, hash_seed);
    let mut days = DaysOfWeek::default();
    let text = if text == "?" { "*" } else { text };
    // 7 is Sunday too.
    let bit = |weekday: u16| 1_u8 << (weekday % 7);
    for item in text.split(',') {
        if let Some(weekday) = item.strip_suffix("#L").or_else(|| item.strip_suffix('L')) {
            if weekday.is_empty() {
                return Err(items.not_understood(item));
            }
            days.last |= bit(items.value(weekday)?);
        } else if let Some((weekday, week)) = item.split_once('#') {
            let weekday = bit(items.value(weekday)?);
            let week = match week.as_bytes() {
                [digit @ b'1'..=b'5'] => usize::from(digit - b'1'),
                _ => return Err(items.not_understood(item)),
            };
            days.nth[week] |= weekday;
        } else {
            items.expand(item)?.for_each(|weekday| days.every |= bit(weekday));
        }
    }
    Ok(days)
}
