//! Days in words.

use crate::trigger::cron::bits;
use crate::trigger::cron::dates::{Dates, FIRST_YEAR, LAST_YEAR, Years};
use crate::trigger::cron::days::{DayRule, DaysOfMonth, DaysOfWeek};
use crate::trigger::words::{and, every, or, ordinal, ranges, step};

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const NTH: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// The days, in words that follow the times.
pub(super) struct Days {
    /// Whether these are all days of the months and years in question.
    pub is_any: bool,
    pub text: String,
}

/// Describes dates.
pub(super) fn describe(dates: &Dates) -> Days {
    let months = months(dates.months);
    let of_month = of_month(&dates.days.of_month, months.as_deref());
    let of_week = Week::of(&dates.days.of_week);
    let rule = dates.days.rule;
    let in_months = months.as_ref().map(|months| format!(" in {months}")).unwrap_or_default();
    let (is_any, text) = match (of_month, of_week) {
        (Some(of_month), Some(of_week)) => match rule {
            DayRule::Both => (false, format!(" {of_month} if it is {}", of_week.condition())),
            DayRule::Either => {
                (false, format!(" {of_month}, and {}", of_week.text(months.as_deref())))
            }
        },
        // Every day satisfies one of the two fields.
        (Some(_), None) | (None, Some(_)) if rule == DayRule::Either => (true, in_months),
        (Some(of_month), None) => (false, format!(" {of_month}")),
        (None, Some(of_week)) => {
            let text = of_week.text(months.as_deref());
            (false, if of_week.is_range() { format!(", {text}") } else { format!(" {text}") })
        }
        (None, None) => (true, in_months),
    };
    Days { is_any, text: text + &years(&dates.years) }
}

/// "on the 1st and 15th of every month"; `None` for every day.
fn of_month(days: &DaysOfMonth, months: Option<&str>) -> Option<String> {
    if bits::below(32) & !1 == u64::from(days.plain) {
        return None;
    }
    let plain: Vec<_> = bits::members(days.plain.into()).collect();
    let mut items = ranges(&plain, 3, |day| format!("the {}", ordinal(day)));
    let nearest = bits::members(days.nearest.into());
    items.extend(nearest.map(|day| format!("the weekday nearest the {}", ordinal(day))));
    items.extend(bits::members(days.from_last.into()).map(from_last));
    items.extend(bits::members(days.nearest_from_last.into()).map(|back| match back {
        0 => "the last weekday".to_owned(),
        _ => format!("the weekday nearest {}", from_last(back)),
    }));
    Some(format!("on {} of {}", and(&items), months.unwrap_or("every month")))
}

fn from_last(back: u32) -> String {
    match back {
        0 => "the last day".to_owned(),
        1 => "the day before the last".to_owned(),
        _ => format!("the day {back} days before the last"),
    }
}

/// Days of the week.
struct Week {
    /// Those that count in every week.
    every: Vec<u32>,
    /// Those of the month: "the second Friday".
    nth: Vec<String>,
}

impl Week {
    /// `None` for every day.
    fn of(days: &DaysOfWeek) -> Option<Self> {
        if days.every == 0x7f {
            return None;
        }
        let mut nth = Vec::new();
        for (word, set) in NTH.iter().zip(days.nth).chain([(&"last", days.last)]) {
            // From Monday.
            let days = (1..=7).filter(|day| set & 1 << (day % 7) != 0);
            nth.extend(days.map(|day| format!("the {word} {}", WEEKDAYS[day % 7])));
        }
        Some(Self { every: from_monday(days.every), nth })
    }

    /// "Monday to Friday", "on Mondays and Thursdays", "on the second Friday of every month".
    fn text(&self, months: Option<&str>) -> String {
        let nth = || {
            let months = months.unwrap_or("every month");
            format!("on {} of {months}", and(&self.nth))
        };
        if self.every.is_empty() {
            return nth();
        }
        let mut text = if self.is_range() {
            and(&ranges(&self.every, 3, name))
        } else {
            let days: Vec<_> = self.every.iter().map(|day| format!("{}s", name(*day))).collect();
            format!("on {}", and(&days))
        };
        if let Some(months) = months {
            text.push_str(&format!(" in {months}"));
        }
        if !self.nth.is_empty() {
            text.push_str(&format!(", and {}", nth()));
        }
        text
    }

    /// "a Monday or the second Friday".
    fn condition(&self) -> String {
        let every = self.every.iter().map(|day| format!("a {}", name(*day)));
        or(&every.chain(self.nth.iter().cloned()).collect::<Vec<_>>())
    }

    /// Whether there are three days in a row.
    fn is_range(&self) -> bool {
        self.every.windows(3).any(|days| days[0] + 2 == days[2])
    }
}

/// The weekdays of a set from Monday on, or from the first after one that is missing where the set goes on
/// from Sunday to Monday: more than 6 is one of the next week.
fn from_monday(set: u8) -> Vec<u32> {
    let has = |day: u32| set & 1 << (day % 7) != 0;
    let start =
        if has(0) && has(1) { (2..=7).rev().find(|day| !has(*day)).unwrap_or(0) } else { 0 };
    (start + 1..=start + 7).filter(|day| has(*day)).collect()
}

fn name(day: u32) -> String {
    WEEKDAYS[day as usize % 7].to_owned()
}

/// "January and July"; `None` for every month.
fn months(set: u64) -> Option<String> {
    let months: Vec<_> = bits::members(set).collect();
    let name = |month: u32| MONTHS.get(month as usize - 1).map_or("", |name| name).to_owned();
    (months.len() < 12).then(|| and(&ranges(&months, 4, name)))
}

/// ", in 2030"; nothing for every year.
fn years(years: &Years) -> String {
    let all = FIRST_YEAR..=LAST_YEAR;
    let members: Vec<_> =
        all.clone().filter(|year| years.has(*year)).map(i32::unsigned_abs).collect();
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        return String::new();
    };
    match step(&members, 3) {
        Some(1) if members.len() == all.count() => String::new(),
        Some(1) => format!(", from {first} to {last}"),
        Some(distance) if members.len() > 3 => {
            format!(", {} from {first} to {last}", every(distance, "year"))
        }
        _ => format!(", in {}", and(&ranges(&members, 4, |year| year.to_string()))),
    }
}
