//! The items that all fields share: `*`, numbers and names, ranges, steps and `H`.

use super::error::{CronError, CronField};

/// `H` in day of month keeps to the days that every month has.
const LAST_HASHED_DAY: u16 = 28;

/// Reads the items of one field.
#[derive(Clone, Copy)]
pub(super) struct Items {
    field: CronField,
    /// The seed of `H`; differs from field to field, so that `H H * * *` is not a diagonal.
    hash: u64,
}

impl Items {
    pub fn new(field: CronField, hash_seed: u64) -> Items {
        Items { field, hash: mix(hash_seed ^ mix(field as u64 + 1)) }
    }

    /// The values an item such as `*/15`, `MON-FRI` or `H(0-29)/10` stands for, ascending.
    ///
    /// All limits are checked before the first value is produced.
    pub fn expand(&self, item: &str) -> Result<impl Iterator<Item = u16> + use<>, CronError> {
        let (start, end, step) = self.bounds(item).map_err(|error| match error {
            // A part makes little sense in a message without the rest of the item.
            CronError::NotUnderstood { .. } | CronError::EmptyItem { .. } => {
                self.not_understood(item)
            }
            other => other,
        })?;
        Ok((start..=end).step_by(usize::from(step)))
    }

    fn bounds(&self, item: &str) -> Result<(u16, u16, u16), CronError> {
        let (base, step) = match item.split_once('/') {
            Some((base, step)) => (base, Some(self.step(step)?)),
            None => (item, None),
        };
        let (start, end) = if let Some(limits) = base.strip_prefix('H') {
            self.hashed(limits, step)?
        } else if base == "*" {
            self.whole()
        } else if let Some((start, end)) = base.split_once('-') {
            self.range(start, end)?
        } else {
            let start = self.value(base)?;
            let (first, last) = self.whole();
            match step {
                // A number with a step runs to the end: `5/15` is `5-59/15`. Sunday as 7 is the
                // first day.
                Some(_) if start > last => (first, last),
                Some(_) => (start, last),
                None => (start, start),
            }
        };
        Ok((start, end, step.unwrap_or(1)))
    }

    /// A number or a name of the field.
    pub fn value(&self, text: &str) -> Result<u16, CronError> {
        let (min, max) = self.field.limits();
        if let Some(index) = self.field.names().iter().position(|name| *name == text) {
            return Ok(min + index as u16);
        }
        self.number(text, min, max)
    }

    /// A plain number from `min` to `max`.
    pub fn number(&self, text: &str, min: u16, max: u16) -> Result<u16, CronError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.not_understood(text));
        }
        // Digits that do not fit a u16 are out of range too.
        text.parse().ok().filter(|value| (min..=max).contains(value)).ok_or_else(|| {
            CronError::OutOfRange { field: self.field, value: text.to_owned(), min, max }
        })
    }

    pub fn not_understood(&self, item: &str) -> CronError {
        if item.is_empty() {
            return CronError::EmptyItem { field: self.field };
        }
        CronError::NotUnderstood { field: self.field, item: item.to_owned() }
    }

    /// The range of `*`. Sunday counts once, as 0.
    fn whole(&self) -> (u16, u16) {
        match self.field {
            CronField::DayOfWeek => (0, 6),
            field => field.limits(),
        }
    }

    fn range(&self, start: &str, end: &str) -> Result<(u16, u16), CronError> {
        let (mut first, mut last) = (self.value(start)?, self.value(end)?);
        if self.field == CronField::DayOfWeek {
            // Sunday is at both ends of the week: FRI-SUN ends with it, 7-1 starts with it.
            if end == "SUN" && first > 0 {
                last = 7;
            } else if first == 7 && last < 7 {
                first = 0;
            }
        }
        self.ascending(start, end, (first, last))
    }

    /// `H`, `H(a-b)`, either with a step: a value that is always the same for one schedule and
    /// spreads many schedules over the range. With a step, the start is spread over the first step.
    fn hashed(&self, limits: &str, step: Option<u16>) -> Result<(u16, u16), CronError> {
        if self.field == CronField::Year {
            return Err(self.not_understood(limits));
        }
        let (min, max) = match self.whole() {
            (min, _) if self.field == CronField::DayOfMonth => (min, LAST_HASHED_DAY),
            whole => whole,
        };
        let (start, end) = if limits.is_empty() {
            (min, max)
        } else {
            let (start, end) = limits
                .strip_prefix('(')
                .and_then(|limits| limits.strip_suffix(')'))
                .and_then(|limits| limits.split_once('-'))
                .ok_or_else(|| self.not_understood(limits))?;
            let bounds = (self.number(start, min, max)?, self.number(end, min, max)?);
            self.ascending(start, end, bounds)?
        };
        let length = end - start + 1;
        // The remainder is below `over`, a u16.
        let spread = |over: u16| start + (self.hash % u64::from(over)) as u16;
        Ok(match step {
            Some(step) => (spread(step.min(length)), end),
            None => (spread(length), spread(length)),
        })
    }

    fn ascending(
        &self,
        start: &str,
        end: &str,
        bounds: (u16, u16),
    ) -> Result<(u16, u16), CronError> {
        if bounds.0 > bounds.1 {
            return Err(CronError::Descending {
                field: self.field,
                range: format!("{start}-{end}"),
            });
        }
        Ok(bounds)
    }

    fn step(&self, text: &str) -> Result<u16, CronError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.not_understood(text));
        }
        let max = self.field.largest_step();
        text.parse().ok().filter(|step| (1..=max).contains(step)).ok_or_else(|| CronError::Step {
            field: self.field,
            step: text.to_owned(),
            max,
        })
    }
}

/// Spreads the bits of a number (the finaliser of SplitMix64). Changing it would move every `H`
/// schedule.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn values(field: CronField, item: &str) -> Vec<u16> {
        Items::new(field, 42).expand(item).expect(item).collect()
    }

    #[test]
    fn items_expand_to_the_values_they_stand_for() {
        for (field, item, expected) in [
            (CronField::Hour, "5", vec![5]),
            (CronField::Hour, "*/8", vec![0, 8, 16]),
            (CronField::Minute, "10-20/5", vec![10, 15, 20]),
            (CronField::Minute, "50/5", vec![50, 55]),
            (CronField::Month, "OCT-DEC", vec![10, 11, 12]),
            (CronField::DayOfWeek, "FRI-SUN", vec![5, 6, 7]),
            (CronField::DayOfWeek, "SUN-SUN", vec![0]),
            (CronField::DayOfWeek, "7-1", vec![0, 1]),
            (CronField::DayOfWeek, "MON/2", vec![1, 3, 5]),
            (CronField::DayOfWeek, "7/3", vec![0, 3, 6]),
        ] {
            assert_eq!(values(field, item), expected, "{item}");
        }
    }

    #[test]
    fn a_hashed_item_stays_where_it_is() {
        // A change of these values would move the schedules of everyone who wrote an `H`.
        assert_eq!(values(CronField::Minute, "H"), [8]);
        assert_eq!(values(CronField::Hour, "H"), [2]);
        assert_eq!(values(CronField::Minute, "H/15"), [8, 23, 38, 53]);
    }

    #[test]
    fn hashed_items_keep_to_their_limits_and_spread_over_them() {
        let days = |seed| Items::new(CronField::DayOfMonth, seed).expand("H").expect("H").next();
        let seen: BTreeSet<_> = (0..1_000).filter_map(days).collect();
        assert!(seen.iter().eq(&(1..=28).collect::<Vec<_>>()), "{seen:?}");
        let minutes =
            |seed| Items::new(CronField::Minute, seed).expand("H(10-20)/7").expect("H").next();
        let seen: BTreeSet<_> = (0..1_000).filter_map(minutes).collect();
        assert!(seen.iter().eq(&(10..=16).collect::<Vec<_>>()), "{seen:?}");
    }
}
