//! Tables of how a cron trigger acts around clock changes, and of what it refuses.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

fn berlin(expression: &str, gap: DstGap, overlap: DstOverlap) -> CronTrigger {
    CronTrigger::new(expression, Tz::Europe__Berlin, gap, overlap, 0).expect(expression)
}

/// Hour, minute and second of the occurrences in `(after, until]`, in UTC, with their marks.
fn listed(cron: &CronTrigger, after: &str, until: &str) -> Vec<(String, Option<Moved>)> {
    let until = at(until);
    std::iter::successors(cron.next_after(at(after)), |last| cron.next_after(last.at))
        .take_while(|occurrence| occurrence.at <= until)
        .map(|occurrence| (occurrence.at.format("%T").to_string(), occurrence.moved))
        .collect()
}

fn plain(times: &[&str]) -> Vec<(String, Option<Moved>)> {
    times.iter().map(|time| ((*time).to_owned(), None)).collect()
}

/// In Berlin the clock goes from 02:00 to 03:00 on 30 March 2025, at 01:00 UTC.
const GAP: (&str, &str) = ("2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z");

/// In Berlin the clock goes from 03:00 to 02:00 on 26 October 2025, at 01:00 UTC.
const OVERLAP: (&str, &str) = ("2025-10-25T23:59:59Z", "2025-10-26T02:00:00Z");

#[test]
fn a_fixed_time_in_a_gap_runs_once_after_it_or_not_at_all() {
    for (expression, expected) in [
        ("30 2 * * *", vec![("01:00:00".to_owned(), Some(Moved::DstGap))]),
        // Both skipped times become one run.
        ("0,30 2 * * *", vec![("01:00:00".to_owned(), Some(Moved::DstGap))]),
        // 03:00 is due in its own right and makes up for 02:00 as well.
        ("0 2,3 * * *", plain(&["01:00:00"])),
        ("59 59 1 * * *", plain(&["00:59:59"])),
    ] {
        let cron = berlin(expression, DstGap::NextValid, DstOverlap::First);
        assert_eq!(listed(&cron, GAP.0, GAP.1), expected, "{expression}");
    }
    assert_eq!(listed(&berlin("30 2 * * *", DstGap::Skip, DstOverlap::First), GAP.0, GAP.1), []);
}

#[test]
fn a_fixed_time_in_an_overlap_runs_in_the_first_pass_or_in_both() {
    let first = berlin("30 2 * * *", DstGap::NextValid, DstOverlap::First);
    assert_eq!(listed(&first, OVERLAP.0, OVERLAP.1), plain(&["00:30:00"]));
    let both = berlin("30 2 * * *", DstGap::NextValid, DstOverlap::Both);
    let again = ("01:30:00".to_owned(), Some(Moved::DstOverlap));
    assert_eq!(listed(&both, OVERLAP.0, OVERLAP.1), [("00:30:00".to_owned(), None), again]);
}

#[test]
fn a_wildcard_follows_real_time_whatever_the_options() {
    for (gap, overlap) in [(DstGap::NextValid, DstOverlap::First), (DstGap::Skip, DstOverlap::Both)]
    {
        let cron = berlin("*/30 2 * * *", gap, overlap);
        assert_eq!(listed(&cron, GAP.0, GAP.1), []);
        let passes = plain(&["00:00:00", "00:30:00", "01:00:00", "01:30:00"]);
        assert_eq!(listed(&cron, OVERLAP.0, OVERLAP.1), passes);
    }
}

#[test]
fn a_day_that_never_was_is_made_up_for_at_its_end() {
    let samoa = |gap| {
        let cron = CronTrigger::new("0 9 30 12 *", Tz::Pacific__Apia, gap, DstOverlap::First, 0);
        cron.expect("valid").next_after(at("2011-01-01T00:00:00Z")).map(|next| next.at)
    };
    assert_eq!(samoa(DstGap::NextValid), Some(at("2011-12-30T10:00:00Z")));
    assert_eq!(samoa(DstGap::Skip), Some(at("2012-12-29T19:00:00Z")));
}

#[test]
fn the_start_of_a_span_is_exclusive_to_the_nanosecond() {
    let cron = berlin("0 0 * * * *", DstGap::NextValid, DstOverlap::First);
    let next = |text| cron.next_after(at(text)).map(|next| next.at);
    assert_eq!(next("2025-01-01T00:59:59.999999999Z"), Some(at("2025-01-01T01:00:00Z")));
    assert_eq!(next("2025-01-01T01:00:00Z"), Some(at("2025-01-01T02:00:00Z")));
    assert_eq!(next("2025-01-01T01:00:00.000000001Z"), Some(at("2025-01-01T02:00:00Z")));
}

#[test]
fn the_years_end_where_the_syntax_does() {
    let cron = berlin("* * * * * *", DstGap::NextValid, DstOverlap::First);
    assert_eq!(cron.next_after(at("2199-12-31T22:59:59Z")), None);
    assert_eq!(cron.latest_at_or_before(at("1969-12-31T22:59:59Z")), None);
    assert_eq!(
        cron.next_after(DateTime::<Utc>::MIN_UTC).map(|next| next.at.timestamp()),
        Some(-3_600)
    );
    let latest = cron.latest_at_or_before(DateTime::<Utc>::MAX_UTC).map(|latest| latest.at);
    assert_eq!(latest, Some(at("2199-12-31T22:59:59Z")));
    let all = cron.count_in(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    assert_eq!(all, 84_006 * 86_400);
}

#[test]
fn messages_begin_with_the_field_at_fault() {
    for (expression, expected) in [
        ("61 * * * *", "minute: 61 is out of range 0-59"),
        ("0-99999999 * * * *", "minute: 99999999 is out of range 0-59"),
        ("0 */24 * * *", "hour: step 24 is not between 1 and 23"),
        ("0 0 * * FRI-TUE", "day of week: the range FRI-TUE ends before it starts"),
        ("0 0 * * MON#6", "day of week: `MON#6` is not understood"),
        ("/5 * * * *", "minute: `/5` is not understood"),
        ("1-2-3 * * * *", "minute: `1-2-3` is not understood"),
        ("0 0 1,,3 * *", "day of month: an item of the list is empty"),
        ("0 0 H(1-30) * *", "day of month: 30 is out of range 1-28"),
        ("0 0 1,2W * *", "day of month: write `2W` before the plain days of the list"),
        ("0 0 30 FEB *", "day of month: there is no such date from 1970 to 2199"),
        ("0 0 0 1 1 * 1969", "year: 1969 is out of range 1970-2199"),
        ("0 0 0 1 1 * H", "year: `H` is not understood"),
    ] {
        let result = CronTrigger::new(expression, Tz::UTC, DstGap::Skip, DstOverlap::First, 0);
        assert_eq!(result.expect_err(expression).to_string(), expected);
    }
}

#[test]
fn a_hundred_thousand_triggers_fit_in_ten_megabytes() {
    assert!(size_of::<CronTrigger>() <= 104, "{}", size_of::<CronTrigger>());
}
