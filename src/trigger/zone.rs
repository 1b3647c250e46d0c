//! Offsets of a time zone, laid out as segments in which local time and UTC run in step.
//!
//! `chrono-tz` answers "which offset holds at this instant?" but does not list when it changes. Scheduling
//! across clock changes needs the list, so it is computed once per zone by sampling, and kept for the life of
//! the process: at most one small table for each of the zones that `chrono-tz` knows.

use std::sync::OnceLock;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

/// Seconds in a day.
const DAY: i64 = 86_400;

/// Two days before 1970 and after 2199 in UTC: whatever the offset, the local years 1970-2199 lie
/// between.
const SCAN_FROM: i64 = -2 * DAY;
const SCAN_UNTIL: i64 = 7_258_118_400 + 2 * DAY;

/// The sampling distance. An offset that came and went between two samples would be overlooked, but
/// a scan by hours of all zones from 1970 to 2199 finds no change that this one misses.
const STEP: i64 = DAY;

/// Sentinel for the end of the last segment and the start of the first: beyond any year that cron looks at,
/// and far enough from the limits of `i64` that adding an offset cannot overflow.
const FOREVER: i64 = i64::MAX / 4;

/// A span of time in which the zone's offset from UTC does not change. All values are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First instant, in UTC.
    pub start: i64,
    /// First instant after it, in UTC.
    pub end: i64,
    /// Local time less UTC.
    pub offset: i64,
    /// How far the local clock had come, at its furthest, before this segment (local time,
    /// exclusive).
    ///
    /// Less than [`Segment::local_start`]: the local times in between were skipped. Greater: the
    /// local times up to here have been shown before. One mark serves both, whatever the number of
    /// changes.
    pub seen_until: i64,
}

impl Segment {
    /// What the local clock shows at `start`.
    pub fn local_start(&self) -> i64 {
        self.start + self.offset
    }

    /// What the local clock would show at `end`, had it not been changed.
    pub fn local_end(&self) -> i64 {
        self.end + self.offset
    }
}

/// The segments of `zone`, in order, without holes, from before 1970 to after 2199.
///
/// The first call for a zone looks at every day of 230 years (a few milliseconds); later calls cost
/// an atomic load.
pub(super) fn segments(zone: Tz) -> &'static [Segment] {
    static TABLES: [OnceLock<Box<[Segment]>>; TZ_VARIANTS.len()] =
        [const { OnceLock::new() }; TZ_VARIANTS.len()];
    TABLES[zone as usize].get_or_init(|| build(|instant| offset_at(zone, instant)))
}

/// The index of the segment in which the UTC second `instant` lies.
pub(super) fn index_at(segments: &[Segment], instant: i64) -> usize {
    segments.partition_point(|segment| segment.start <= instant).saturating_sub(1)
}

fn build(offset_at: impl Fn(i64) -> i64) -> Box<[Segment]> {
    let mut offset = offset_at(SCAN_FROM);
    let mut open = Segment { start: -FOREVER, end: FOREVER, offset, seen_until: offset - FOREVER };
    let mut segments = Vec::new();
    let mut at = SCAN_FROM;
    while at < SCAN_UNTIL {
        let next = at + STEP;
        if offset_at(next) == offset {
            at = next;
            continue;
        }
        // Go on from the change itself, not from the sample, in case another follows before the
        // sample.
        at = first_change(&offset_at, at, next);
        offset = offset_at(at);
        open.end = at;
        segments.push(open);
        let seen_until = open.seen_until.max(open.local_end());
        open = Segment { start: at, end: FOREVER, offset, seen_until };
    }
    segments.push(open);
    segments.into_boxed_slice()
}

/// The first second in `(same, other]` at which the offset is not what it is at `same`.
fn first_change(offset_at: impl Fn(i64) -> i64, mut same: i64, mut other: i64) -> i64 {
    let offset = offset_at(same);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if offset_at(middle) == offset {
            same = middle;
        } else {
            other = middle;
        }
    }
    other
}

fn offset_at(zone: Tz, instant: i64) -> i64 {
    let naive = DateTime::from_timestamp(instant, 0).unwrap_or_default().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&naive).fix().local_minus_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn every_zone_has_its_own_slot() {
        for (index, zone) in TZ_VARIANTS.iter().enumerate() {
            assert_eq!(*zone as usize, index, "{zone}");
        }
    }

    #[test]
    fn utc_is_one_segment() {
        assert_eq!(segments(Tz::UTC).len(), 1);
    }

    #[test]
    fn the_table_agrees_with_an_hourly_scan_in_zones_with_odd_histories() {
        for zone in [
            Tz::Africa__Casablanca,
            Tz::Antarctica__Troll,
            Tz::Australia__Lord_Howe,
            Tz::Asia__Gaza,
            Tz::Pacific__Apia,
            Tz::America__Sao_Paulo,
        ] {
            let table = segments(zone);
            let mut index = 0;
            for at in (SCAN_FROM..SCAN_UNTIL).step_by(HOUR as usize) {
                while table[index].end <= at {
                    index += 1;
                }
                assert_eq!(table[index].offset, offset_at(zone, at), "{zone} at {at}");
            }
        }
    }

    #[test]
    fn segments_adjoin() {
        for zone in TZ_VARIANTS.iter().step_by(20) {
            for pair in segments(*zone).windows(2) {
                assert_eq!(pair[0].end, pair[1].start, "{zone}");
                assert_ne!(pair[0].offset, pair[1].offset, "{zone}");
            }
        }
    }

    #[test]
    fn changes_close_to_each_other_are_all_found_and_the_furthest_local_time_is_kept() {
        // At noon back by three hours, at one by another, and two hours later forward by two.
        let offset_at = |instant: i64| match instant {
            ..43_200 => 0,
            43_200..46_800 => -3 * HOUR,
            46_800..54_000 => -4 * HOUR,
            _ => -2 * HOUR,
        };
        let table = build(offset_at);
        let starts: Vec<i64> = table.iter().map(|segment| segment.start).collect();
        assert_eq!(starts, [-FOREVER, 12 * HOUR, 13 * HOUR, 15 * HOUR]);
        // The clock showed noon before it was first put back, and has not got there again by three.
        let seen: Vec<i64> = table.iter().skip(1).map(|segment| segment.seen_until).collect();
        assert_eq!(seen, [12 * HOUR; 3]);
    }

    #[test]
    fn samoa_skips_a_whole_day() {
        let skipped = segments(Tz::Pacific__Apia)
            .iter()
            .map(|segment| segment.local_start() - segment.seen_until)
            .max();
        assert_eq!(skipped, Some(DAY));
    }
}
