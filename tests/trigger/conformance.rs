//! The test tables of other schedulers, each row under our equivalent options.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use nats_scheduler::trigger::{
    CronError, CronField, CronTrigger, DstGap, DstOverlap, IntervalTrigger, Trigger,
};
use serde::Deserialize;
use serde_json::Value;

const CASES: &str = include_str!("../cron/cases.jsonl");
const REJECTS: &str = include_str!("../cron/rejects.jsonl");

#[derive(Deserialize)]
struct Case {
    expr: String,
    tz: String,
    from: DateTime<Utc>,
    expect: Vec<DateTime<Utc>>,
    kind: String,
    /// `"all"` or a list of policies.
    policies: Value,
    dom_dow: Option<String>,
}

#[derive(Deserialize)]
struct Reject {
    expr: String,
    #[serde(default)]
    bad_field: String,
}

impl Case {
    fn zone(&self) -> Tz {
        self.tz.parse().expect("an IANA name")
    }

    fn holds_under(&self, policy: &str) -> bool {
        match &self.policies {
            Value::String(all) => all == "all",
            list => list.as_array().is_some_and(|list| list.iter().any(|name| name == policy)),
        }
    }

    /// Whether no field of the time of day starts with a star.
    fn is_fixed(&self) -> bool {
        let fields: Vec<&str> = self.expr.split_whitespace().collect();
        let times = if fields.len() == 5 { 2 } else { 3 };
        fields.iter().take(times).all(|field| !field.starts_with('*'))
    }

    /// The expression in our syntax: `+` asks for both day fields.
    fn expression(&self) -> String {
        if self.dom_dow.as_deref() != Some("and") {
            return self.expr.clone();
        }
        let mut fields: Vec<String> = self.expr.split_whitespace().map(str::to_owned).collect();
        let day_of_week = if fields.len() == 5 { 4 } else { 5 };
        fields[day_of_week].insert(0, '+');
        fields.join(" ")
    }

    fn parse(&self, gap: DstGap, overlap: DstOverlap) -> Result<CronTrigger, CronError> {
        CronTrigger::new(&self.expression(), self.zone(), gap, overlap, 0)
    }

    /// The options under which this row must hold; empty where it shows a policy we do not offer.
    fn options(&self) -> Vec<(DstGap, DstOverlap)> {
        let mut options = Vec::new();
        if self.holds_under("vixie") {
            options.push((DstGap::NextValid, DstOverlap::First));
        }
        if self.holds_under("wallclock") {
            options.push((DstGap::Skip, DstOverlap::Both));
        }
        if self.holds_under("skip-first") && self.is_fixed() {
            options.push((DstGap::Skip, DstOverlap::First));
        }
        options
    }

    fn check(&self, line: usize, trigger: &Trigger) {
        let row = format!("line {line}: {} in {}", self.expr, self.tz);
        let count = self.expect.len();
        let found: Vec<_> =
            trigger.occurrences_after(self.from).take(count).map(|next| next.at).collect();
        assert_eq!(found, self.expect, "{row}");
        let last = *self.expect.last().expect("a row that expects something");
        assert_eq!(trigger.count_in(self.from, last), count as u64, "{row}");
        assert_eq!(trigger.latest_at_or_before(last), Some(last), "{row}");
    }
}

/// Rows (by line) that take `*/5` in day of month for a restriction like any other, so that either
/// day field will do. The rest of the star-step rows follow cronie, and so do we: both must match.
const OTHER_STAR_STEP: [usize; 2] = [14, 60];

#[test]
fn every_row_of_the_case_tables_holds_under_the_options_that_mean_its_policy() {
    let (mut rows, mut runs, mut intervals, mut foreign) = (0, 0, 0, 0);
    let mut never = Vec::new();
    for (index, row) in CASES.lines().enumerate() {
        let line = index + 1;
        let case: Case = serde_json::from_str(row).expect(row);
        rows += 1;
        if case.kind == "interval" {
            intervals += 1;
            case.check(line, &every(&case));
        } else if case.expect.is_empty() {
            // Where others list nothing we refuse the expression.
            let refusal = case.parse(DstGap::Skip, DstOverlap::Both);
            assert_eq!(refusal, Err(CronError::NeverMatches), "line {line}");
            never.push(line);
        } else if OTHER_STAR_STEP.contains(&line) {
            assert_eq!(case.dom_dow.as_deref(), Some("star-step"), "line {line}");
        } else {
            let options = case.options();
            foreign += usize::from(options.is_empty());
            for (gap, overlap) in options {
                let cron =
                    case.parse(gap, overlap).unwrap_or_else(|error| panic!("{row}: {error}"));
                case.check(line, &Trigger::from(cron));
                runs += 1;
            }
        }
    }
    // The counts are part of the test: a row must not drop out unnoticed. The foreign rows show
    // policies we do not offer: a gap that shifts its jobs by its length, and jobs that start with
    // a star but are treated as fixed.
    assert_eq!((rows, runs, intervals, foreign), (594, 1367, 2, 16));
    assert_eq!(never, [40, 41, 159, 545]);
}

/// `@every 90m` counts from the epoch, with an optional phase: `@every 90m/5m44s`.
fn every(case: &Case) -> Trigger {
    let start = match case.expr.as_str() {
        "@every 90m" => TimeDelta::zero(),
        "@every 90m/5m44s" => TimeDelta::seconds(5 * 60 + 44),
        other => panic!("unknown interval {other}"),
    };
    Trigger::Interval(IntervalTrigger {
        start: DateTime::UNIX_EPOCH + start,
        every_seconds: 90 * 60,
    })
}

/// Rows of the reject tables that we accept, and why.
const ACCEPTED: [(&str, &str); 6] = [
    (
        "* * * * * * *",
        "refused by the source as a 5-field expression; with 7 fields we take a year",
    ),
    ("0/10 * * * *", "a number with a step: nearly all peers read it as `0-59/10`"),
    ("30/10 * * * *", "a number with a step: nearly all peers read it as `30-59/10`"),
    ("0 0 4-6/3 * *", "a step beyond the range leaves its start, as in the cron daemons"),
    ("0 0 * * * *", "only Quartz demands a `?` in one of the day fields"),
    ("0 0 * 4 * *", "only Quartz demands a `?` in one of the day fields"),
];

/// Rows where the source names a field but the fault is the number of fields.
const TOO_FEW_FIELDS: [&str; 2] = ["* * *", "* * * *"];

#[test]
fn every_row_of_the_reject_tables_is_refused_and_the_field_at_fault_is_named() {
    let (mut rows, mut named, mut accepted) = (0, 0, 0);
    for row in REJECTS.lines() {
        let reject: Reject = serde_json::from_str(row).expect(row);
        rows += 1;
        let result =
            CronTrigger::new(&reject.expr, Tz::UTC, DstGap::default(), DstOverlap::default(), 0);
        if ACCEPTED.iter().any(|(expr, _)| *expr == reject.expr) {
            assert!(result.is_ok(), "{row}");
            accepted += 1;
            continue;
        }
        let error = result.expect_err(row);
        let expected = match reject.bad_field.as_str() {
            "Seconds" => Some(CronField::Second),
            "Minutes" => Some(CronField::Minute),
            "Hours" => Some(CronField::Hour),
            "Days of month" => Some(CronField::DayOfMonth),
            "Months" => Some(CronField::Month),
            "Days of week" => Some(CronField::DayOfWeek),
            // The source's message for a step of 60 minutes.
            "between 1 and 59" => {
                assert!(error.to_string().contains("between 1 and 59"), "{row}: {error}");
                Some(CronField::Minute)
            }
            "" => continue,
            other => panic!("unknown field {other}"),
        };
        if TOO_FEW_FIELDS.contains(&reject.expr.as_str()) {
            assert_eq!(error.field(), None, "{row}");
            continue;
        }
        assert_eq!(error.field(), expected, "{row}: {error}");
        named += 1;
    }
    assert_eq!((rows, named, accepted), (355, 280, 6));
}
