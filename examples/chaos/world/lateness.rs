//! How late commands were: in calm, and while things went wrong.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use chrono::{DateTime, TimeDelta, Utc};

use super::faults::{AFTER, Fault, Kind};

/// By how much the clocks of servers may seem to differ, though they are one: each is asked over a network.
pub const TOLERANCE: TimeDelta = TimeDelta::milliseconds(5);

/// A command that came somewhere.
pub struct Came {
    pub mode: &'static str,
    pub due_at: DateTime<Utc>,
    pub came_at: DateTime<Utc>,
}

/// Lateness by what went wrong and by mode, in milliseconds.
pub struct Lateness {
    rows: BTreeMap<(Row, &'static str), Vec<i64>>,
    began: BTreeMap<Kind, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    /// Nothing went wrong, nor had lately.
    Calm,
    /// One kind of fault and no other.
    Alone(Kind),
    /// A kind of fault, whatever else.
    Any(Kind),
}

impl Lateness {
    /// Sorts commands by the faults in whose time they were due: from its begin until it is no longer felt.
    pub fn of(came: &[Came], faults: &[Fault]) -> Self {
        let mut lateness = Self { rows: BTreeMap::new(), began: BTreeMap::new() };
        for fault in faults {
            *lateness.began.entry(fault.kind).or_default() += 1;
        }
        for one in came {
            let is_felt =
                |fault: &&Fault| (fault.began_at..=fault.ended_at + AFTER).contains(&one.due_at);
            let mut kinds: Vec<_> = faults.iter().filter(is_felt).map(|fault| fault.kind).collect();
            kinds.sort();
            kinds.dedup();
            let late_ms = (one.came_at - one.due_at).num_milliseconds();
            match kinds[..] {
                [] => lateness.add(Row::Calm, one.mode, late_ms),
                [kind] => lateness.add(Row::Alone(kind), one.mode, late_ms),
                _ => {}
            }
            for kind in kinds {
                lateness.add(Row::Any(kind), one.mode, late_ms);
            }
        }
        lateness.rows.values_mut().for_each(|all| all.sort_unstable());
        lateness
    }

    fn add(&mut self, row: Row, mode: &'static str, late_ms: i64) {
        self.rows.entry((row, mode)).or_default().push(late_ms);
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, row: Row, name: &str, mode: &str) -> fmt::Result {
        let Some((_, all)) = self.rows.iter().find(|((one, of), _)| *one == row && *of == mode)
        else {
            return Ok(());
        };
        let at = |part: usize| all[(all.len() - 1) * part / 100];
        let (count, median, p99, worst) = (all.len(), at(50), at(99), at(100));
        writeln!(f, "  {name:<34} {count:>7} {median:>8} {p99:>8} {worst:>8}")
    }
}

impl Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mode in ["publish", "job", "request", "core"] {
            writeln!(f, "{mode:<36} {:>7} {:>8} {:>8} {:>8}", "n", "median", "p99", "worst ms")?;
            self.line(f, Row::Calm, "calm", mode)?;
            for kind in Kind::ALL {
                self.line(f, Row::Alone(kind), &format!("{}, alone", kind.name()), mode)?;
                self.line(f, Row::Any(kind), kind.name(), mode)?;
            }
        }
        writeln!(f, "faults")?;
        for (kind, count) in &self.began {
            writeln!(f, "  {:<34} {count:>7}", kind.name())?;
        }
        Ok(())
    }
}
