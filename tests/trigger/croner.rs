//! Comparison with croner: in UTC no clock ever changes, so both searches must agree where the syntax does.

use chrono::Datelike as _;
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use proptest::prelude::*;

use crate::expressions::{self, Syntax};

proptest! {
    #![proptest_config(expressions::config(10_000))]

    #[test]
    fn croner_finds_the_same_times(
        expression in expressions::expressions(Syntax::Common),
        fraction in 0.0..1.0,
    ) {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
        let Ok(croner) = parser.parse(&expression) else {
            return Err(TestCaseError::fail(format!("croner refuses {expression}")));
        };
        let Some(trigger) = expressions::trigger(&expression, Tz::UTC, Default::default()) else {
            return Ok(());
        };
        let mut at = expressions::instant(Tz::UTC, fraction, 0, false);
        for _ in 0..4 {
            // croner gives up on dates too far away; ours may still find them.
            let Ok(expected) = croner.find_next_occurrence(&at, false) else { break };
            // And on others than ours, which are those after 2199.
            if expected.year() > 2199 {
                break;
            }
            prop_assert_eq!(trigger.next_after(at), Some(expected), "{}", expression);
            at = expected;
        }
    }
}
