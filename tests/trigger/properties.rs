//! Laws that hold for every trigger, whatever its expression, zone, options and reference instant.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use nats_scheduler::trigger::{CronTrigger, DstGap, DstOverlap, IntervalTrigger, Trigger};
use proptest::prelude::*;

use crate::expressions::{self, Syntax};

/// How many occurrences are listed to compare the directions of search.
const LISTED: usize = 12;

/// Checks all laws for one trigger at one instant.
fn check(trigger: &Trigger, at: DateTime<Utc>) -> Result<(), TestCaseError> {
    let next = trigger.next_after(at);
    let latest = trigger.latest_at_or_before(at);
    if let Some(next) = next {
        prop_assert!(next > at);
        prop_assert_eq!(trigger.latest_at_or_before(next), Some(next));
        // Nothing lies in between.
        prop_assert_eq!(trigger.latest_at_or_before(next - TimeDelta::nanoseconds(1)), latest);
        prop_assert_eq!(trigger.count_in(at, next), 1);
    }
    if let Some(latest) = latest {
        prop_assert!(latest <= at);
        prop_assert_eq!(trigger.next_after(latest), next);
        prop_assert_eq!(trigger.next_after(latest - TimeDelta::nanoseconds(1)), Some(latest));
    }

    let forward: Vec<_> =
        trigger.occurrences_after(at).take(LISTED).map(|occurrence| occurrence.at).collect();
    prop_assert!(forward.is_sorted_by(|a, b| a < b));
    let Some(last) = forward.last() else {
        return Ok(());
    };
    prop_assert_eq!(trigger.count_in(at, *last), forward.len() as u64);
    let before = |instant: &DateTime<Utc>| {
        trigger
            .latest_at_or_before(*instant - TimeDelta::nanoseconds(1))
            .filter(|found| *found > at)
    };
    let mut backward: Vec<_> = std::iter::successors(Some(*last), before).collect();
    backward.reverse();
    prop_assert_eq!(forward, backward);
    Ok(())
}

proptest! {
    #![proptest_config(expressions::config(3_000))]

    #[test]
    fn cron_triggers_obey_the_laws(
        expression in expressions::expressions(Syntax::Full),
        zone in expressions::zones(),
        policies in expressions::policies(),
        (fraction, near_change) in (0.0..1.0, any::<bool>()),
        nanos in prop_oneof![Just(0), 0..1_000_000_000_u32],
    ) {
        if let Some(trigger) = expressions::trigger(&expression, zone, policies) {
            check(&trigger, expressions::instant(zone, fraction, nanos, near_change))?;
        }
    }

    #[test]
    fn counting_a_span_equals_counting_its_parts(
        expression in expressions::expressions(Syntax::Full),
        zone in expressions::zones(),
        policies in expressions::policies(),
        instants in (0.0..1.0, 0.0..1.0, 0.0..1.0),
    ) {
        let instant = |fraction| expressions::instant(zone, fraction, 0, true);
        let mut at = [instant(instants.0), instant(instants.1), instant(instants.2)];
        at.sort();
        if let Some(trigger) = expressions::trigger(&expression, zone, policies) {
            let parts = trigger.count_in(at[0], at[1]) + trigger.count_in(at[1], at[2]);
            prop_assert_eq!(trigger.count_in(at[0], at[2]), parts);
            prop_assert_eq!(trigger.count_in(at[2], at[0]), 0);
        }
    }

    #[test]
    fn descriptions_are_never_empty_and_name_the_zone(
        expression in expressions::expressions(Syntax::Full),
        zone in expressions::zones(),
    ) {
        let policies = Default::default();
        if let Some(Trigger::Cron(cron)) = expressions::trigger(&expression, zone, policies) {
            let description = cron.description();
            prop_assert!(description.ends_with(&format!(" ({zone})")), "{}", description);
            prop_assert!(!description.contains('`'), "{}: {}", expression, description);
        }
    }

    #[test]
    fn arbitrary_text_is_refused_or_obeys_the_laws(text in "[-0-9*?/,#LWH()+@a-z ]{0,40}") {
        let zone = Tz::Europe__Berlin;
        if let Ok(cron) = CronTrigger::new(&text, zone, DstGap::Skip, DstOverlap::Both, 0) {
            prop_assert!(!cron.description().is_empty());
            check(&Trigger::from(cron), DateTime::UNIX_EPOCH)?;
        }
    }

    #[test]
    fn intervals_obey_the_laws(
        start in 0..4_000_000_000_i64,
        nanos in 0..1_000_000_000_u32,
        every_seconds in 1..100_000_000_u32,
        at in 0..5_000_000_000_i64,
    ) {
        let instant = |seconds, nanos| DateTime::from_timestamp(seconds, nanos).expect("in range");
        let start = instant(start, nanos);
        let trigger = Trigger::Interval(IntervalTrigger { start, every_seconds });
        check(&trigger, instant(at, 0))?;
        check(&trigger, start)?;
    }

    #[test]
    fn one_time_triggers_obey_the_laws(once in 0..4_000_000_000_i64, at in 0..4_000_000_000_i64) {
        let instant = |seconds| DateTime::from_timestamp(seconds, 0).expect("in range");
        let trigger = Trigger::Once(instant(once));
        check(&trigger, instant(at))?;
        check(&trigger, instant(once))?;
    }
}
