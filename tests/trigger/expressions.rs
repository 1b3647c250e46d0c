//! Random cron expressions that use all of the syntax, random zones and instants near clock changes.

use std::sync::OnceLock;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use nats_scheduler::trigger::{CronError, CronTrigger, DstGap, DstOverlap, Trigger};
use proptest::prelude::*;
use proptest::strategy::Union;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "may", "JUN", "JUL", "Aug", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "mon", "TUE", "WED", "Thu", "FRI", "SAT"];

/// The syntax a test can cope with.
#[derive(Clone, Copy, PartialEq)]
pub enum Syntax {
    /// Everything.
    Full,
    /// No `H`, no days counted back from the last, no `+` and no stars with a step in the day
    /// fields.
    Common,
}

/// A number of cases, all new in every run: failures are turned into tests, not into files of seeds.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The four combinations of options.
pub fn policies() -> impl Strategy<Value = (DstGap, DstOverlap)> {
    (
        prop_oneof![Just(DstGap::NextValid), Just(DstGap::Skip)],
        prop_oneof![Just(DstOverlap::First), Just(DstOverlap::Both)],
    )
}

/// Any zone `chrono-tz` knows.
pub fn zones() -> impl Strategy<Value = Tz> {
    (0..TZ_VARIANTS.len()).prop_map(|index| TZ_VARIANTS[index])
}

/// An instant from 1970 to 2150; every other one lies within two days of a clock change of `zone`.
pub fn instant(zone: Tz, fraction: f64, nanos: u32, near_change: bool) -> DateTime<Utc> {
    const END: f64 = 5_680_281_600.0;
    let changes = if near_change { changes(zone) } else { &[] };
    let seconds = if changes.is_empty() {
        fraction * END
    } else {
        let place = fraction * changes.len() as f64;
        // The fraction that is left after picking the change says where around it.
        (changes[place as usize] as f64) + (place.fract() - 0.5) * 4.0 * 86_400.0
    };
    DateTime::from_timestamp(seconds as i64, nanos).expect("a year before 2150")
}

/// The instants from 1970 to 2100 at which the offset of `zone` changes, found by asking for each
/// day.
pub fn changes(zone: Tz) -> &'static [i64] {
    static CHANGES: [OnceLock<Vec<i64>>; TZ_VARIANTS.len()] =
        [const { OnceLock::new() }; TZ_VARIANTS.len()];
    CHANGES[zone as usize].get_or_init(|| find_changes(zone))
}

fn find_changes(zone: Tz) -> Vec<i64> {
    const DAY: i64 = 86_400;
    let mut changes = Vec::new();
    for day in 0..47_500 {
        let (mut before, mut after) = (day * DAY, (day + 1) * DAY);
        let old = offset(zone, before);
        if old == offset(zone, after) {
            continue;
        }
        while after - before > 1 {
            let middle = (before + after) / 2;
            if offset(zone, middle) == old { before = middle } else { after = middle }
        }
        changes.push(after);
    }
    changes
}

/// Local time less UTC, in seconds.
pub fn offset(zone: Tz, instant: i64) -> i64 {
    let utc = DateTime::from_timestamp(instant, 0).expect("a sensible instant").naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The trigger, or `None` if no date matches: the one fault a generated expression may have.
pub fn trigger(
    expression: &str,
    zone: Tz,
    (gap, overlap): (DstGap, DstOverlap),
) -> Option<Trigger> {
    match CronTrigger::new(expression, zone, gap, overlap, 7) {
        Ok(cron) => Some(Trigger::from(cron)),
        Err(CronError::NeverMatches) => None,
        Err(error) => panic!("{expression}: {error}"),
    }
}

/// An expression of 5 to 7 fields, or a nickname.
pub fn expressions(syntax: Syntax) -> BoxedStrategy<String> {
    let five = (
        numbers(syntax, 0, 59, &[]),
        numbers(syntax, 0, 23, &[]),
        days_of_month(syntax),
        prop_oneof![3 => Just("*".to_owned()), 2 => numbers(syntax, 1, 12, &MONTHS)],
        days_of_week(syntax),
    )
        .prop_map(|(minute, hour, day, month, weekday)| {
            format!("{minute} {hour} {day} {month} {weekday}")
        })
        .boxed();
    let six = (numbers(syntax, 0, 59, &[]), five.clone())
        .prop_map(|(second, rest)| format!("{second} {rest}"))
        .boxed();
    let year = prop_oneof![Just("*".to_owned()), years()];
    let seven = (six.clone(), year).prop_map(|(six, year)| format!("{six} {year}"));
    let nickname = prop::sample::select(vec![
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@hourly",
    ]);
    prop_oneof![8 => five, 6 => six, 3 => seven, 1 => nickname.prop_map(str::to_owned)].boxed()
}

fn years() -> impl Strategy<Value = String> {
    (1970..=2199_u32, 0..=40_u32, 1..=9_u32)
        .prop_map(|(start, length, step)| format!("{start}-{}/{step}", (start + length).min(2199)))
}

/// A list of items of a plain field.
fn numbers(
    syntax: Syntax,
    min: u32,
    max: u32,
    names: &'static [&'static str],
) -> BoxedStrategy<String> {
    let item = item(syntax, min, max, names);
    let list = prop::collection::vec(item.clone(), 2..4).prop_map(|items| items.join(","));
    let star = (2..=max / 2).prop_map(|step| format!("*/{step}"));
    prop_oneof![2 => Just("*".to_owned()), 1 => star, 4 => item, 2 => list].boxed()
}

fn item(
    syntax: Syntax,
    min: u32,
    max: u32,
    names: &'static [&'static str],
) -> BoxedStrategy<String> {
    let name = move |value: u32| match names.get((value - min) as usize) {
        Some(name) if value.is_multiple_of(2) => (*name).to_owned(),
        _ => value.to_string(),
    };
    let value = (min..=max).prop_map(name);
    let range = (min..=max, min..=max, 1..=max.min(20)).prop_map(move |(a, b, step)| {
        let (start, end) = (a.min(b), a.max(b));
        let range = match syntax {
            Syntax::Full => format!("{}-{}", name(start), name(end)),
            // croner takes SUN-SUN for the whole week.
            Syntax::Common => format!("{start}-{end}"),
        };
        if step > 10 { range } else { format!("{range}/{step}") }
    });
    let mut items = vec![value.clone().boxed(), value.boxed(), range.boxed()];
    if syntax == Syntax::Full {
        items.push((min..=max, 1..=max).prop_map(|(a, step)| format!("{a}/{step}")).boxed());
        let last = if max == 31 { 28 } else { max.min(max - max % 2).max(min) };
        items.push(Just("H".to_owned()).boxed());
        items.push((2..=max / 2).prop_map(|step| format!("H/{step}")).boxed());
        items.push((min..=last).prop_map(move |end| format!("H({min}-{end})")).boxed());
    }
    Union::new(items).boxed()
}

fn days_of_month(syntax: Syntax) -> BoxedStrategy<String> {
    let mut days = vec![
        (6, Just("*".to_owned()).boxed()),
        (1, Just("?".to_owned()).boxed()),
        (4, numbers_without_star_step(syntax, 1, 31, &[])),
        (1, Just("L".to_owned()).boxed()),
        (1, Just("LW".to_owned()).boxed()),
        (1, (1..=31).prop_map(|day| format!("{day}W")).boxed()),
    ];
    if syntax == Syntax::Full {
        days.push((1, (0..=30).prop_map(|back| format!("L-{back}")).boxed()));
        days.push((1, (0..=30, 1..=31).prop_map(|(back, day)| format!("L-{back}W,{day}")).boxed()));
        days.push((1, (1..=31, 1..=31).prop_map(|(near, day)| format!("{near}W,{day},L")).boxed()));
        days.push((1, (2..=15).prop_map(|step| format!("*/{step}")).boxed()));
    }
    Union::new_weighted(days).boxed()
}

fn days_of_week(syntax: Syntax) -> BoxedStrategy<String> {
    let weekday = || prop::sample::select(WEEKDAYS.to_vec());
    let mut days = vec![
        (6, Just("*".to_owned()).boxed()),
        (1, Just("?".to_owned()).boxed()),
        (3, numbers_without_star_step(syntax, 0, 6, &WEEKDAYS)),
        (1, (weekday(), 1..=5).prop_map(|(day, week)| format!("{day}#{week}")).boxed()),
        (1, weekday().prop_map(|day| format!("{day}L")).boxed()),
        (1, weekday().prop_map(|day| format!("{day}#L")).boxed()),
    ];
    if syntax == Syntax::Full {
        days.push((1, Just("FRI-SUN".to_owned()).boxed()));
        days.push((1, Just("7-1".to_owned()).boxed()));
        days.push((1, Just("*/2".to_owned()).boxed()));
        days.push((2, weekday().prop_map(|day| format!("+{day},{day}#2")).boxed()));
    }
    Union::new_weighted(days).boxed()
}

fn numbers_without_star_step(
    syntax: Syntax,
    min: u32,
    max: u32,
    names: &'static [&'static str],
) -> BoxedStrategy<String> {
    let item = item(syntax, min, max, names);
    let list = prop::collection::vec(item.clone(), 2..4).prop_map(|items| items.join(","));
    prop_oneof![2 => item, 1 => list].boxed()
}
