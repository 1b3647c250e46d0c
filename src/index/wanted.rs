//! A filter prepared for looking at rows: texts are numbers, a status is a bit.

use super::filter::{ScheduleFilter, TagsMatch};
use super::intern::Numbers;
use super::place::{NEVER, nanos};
use super::rows::{
    Row, Rows, active_bit, failing_bit, outcome_bit, overdue_bit, status_bit, type_bit,
};
use crate::schedule::Status;

/// Length of a name that is looked for from which on the standard library finds it fast, unless the text is short.
const LONG: usize = 48;
/// Length of a text that is looked for up to which that holds.
const FAST: usize = 32;

/// Conditions on a row.
pub(super) struct Wanted<'a> {
    /// Bits that the kind of the row must not have.
    excluded: u32,
    /// A bit that it must have, if any.
    required: u32,
    /// When the schedule is due: from the first to the second, both included.
    due: (i64, i64),
    creator: Option<u32>,
    owner: Option<u32>,
    targets: Option<Numbers>,
    /// The group and the calendar that it must name.
    pub(super) ties: Vec<u32>,
    /// A set of tags, and how many of them the row must have at least.
    tags: Option<(Numbers, usize)>,
    name_prefix: Option<&'a [u8]>,
    /// Text in lower case.
    name_contains: Option<String>,
}

impl<'a> Wanted<'a> {
    /// Prepares a filter; `None` if nothing can match.
    pub fn new(filter: &'a ScheduleFilter, rows: &Rows) -> Option<Self> {
        let creator = match &filter.creator {
            Some(creator) => Some(rows.creators.number(creator)?),
            None => None,
        };
        let owner = match &filter.owner {
            Some(owner) => Some(rows.owners.number(owner)?),
            None => None,
        };
        let ties = rows.ties.wanted(filter)?;
        let targets = given(&filter.target_prefix).map(|prefix| rows.targets.beginning(prefix));
        if targets.as_ref().is_some_and(|targets| targets.len() == 0) {
            return None;
        }
        let tags = match &filter.tags {
            Some(tags) => {
                let all = filter.tags_match == Some(TagsMatch::All);
                let mut numbers = rows.tags.none();
                for tag in tags {
                    match rows.tags.number(tag) {
                        Some(number) => numbers.add(number),
                        None if all => return None,
                        None => {}
                    }
                }
                let least = if all { numbers.len() } else { 1 };
                Some((numbers, least))
            }
            None => None,
        };
        let name_contains = given(&filter.name_contains).map(str::to_lowercase);
        Some(Self {
            excluded: excluded(filter),
            required: filter.last_outcome.map_or(0, outcome_bit),
            due: due(filter),
            creator,
            owner,
            targets,
            ties,
            tags,
            name_prefix: given(&filter.name_prefix).map(str::as_bytes),
            name_contains,
        })
    }

    /// The same; with a target for schedules that have it.
    pub fn with(filter: &'a ScheduleFilter, target: Option<&str>, rows: &Rows) -> Option<Self> {
        let wanted = Self::new(filter, rows)?;
        let Some(target) = target else { return Some(wanted) };
        let number = rows.targets.number(target)?;
        if wanted.targets.as_ref().is_some_and(|targets| !targets.has(number)) {
            return None;
        }
        let mut only = rows.targets.none();
        only.add(number);
        Some(Self { targets: Some(only), ..wanted })
    }

    /// Whether a row meets the conditions.
    pub fn matches(&self, row: &Row, rows: &Rows) -> bool {
        let has_tags = |(tags, least): &(Numbers, usize)| {
            rows.tags(row).iter().filter(|tag| tags.has(**tag)).count() >= *least
        };
        row.kind & self.excluded == 0
            && row.kind & self.required == self.required
            && (self.due.0..=self.due.1).contains(&row.next_run_at)
            && self.creator.is_none_or(|creator| creator == row.creator)
            && self.owner.is_none_or(|owner| owner == row.owner)
            && self.targets.as_ref().is_none_or(|targets| targets.has(row.target))
            && self.ties.iter().all(|tie| rows.ties(row).contains(tie))
            && self.tags.as_ref().is_none_or(has_tags)
            && self.name_prefix.is_none_or(|prefix| rows.name(row).starts_with(prefix))
            && self.name_contains.as_ref().is_none_or(|text| contains(rows.lower_name(row), text))
    }
}

/// A text, unless it is empty.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn excluded(filter: &ScheduleFilter) -> u32 {
    let statuses = match filter.status {
        Some(status) => !status_bit(status) & 0xff,
        None => status_bit(Status::Deleted),
    };
    let types = filter.schedule_type.map_or(0, |kind| !type_bit(kind) & 0xff00);
    let failing = filter.is_failing.map_or(0, |failing| failing_bit(!failing));
    let overdue = filter.is_overdue.map_or(0, |overdue| overdue_bit(!overdue));
    let active = filter.is_active.map_or(0, |active| active_bit(!active));
    statuses | types | failing | overdue | active
}

/// The first and the last time; a schedule that is never due has none if either is given.
fn due(filter: &ScheduleFilter) -> (i64, i64) {
    let last = match (filter.due_after, filter.due_before) {
        (None, None) => NEVER,
        (_, None) => NEVER - 1,
        (_, Some(before)) => nanos(before) - 1,
    };
    (filter.due_after.map_or(i64::MIN, nanos), last)
}

/// Whether a name contains a text.
fn contains(name: &[u8], text: &str) -> bool {
    if name.len() >= LONG && text.len() <= FAST {
        return str::from_utf8(name).is_ok_and(|name| name.contains(text));
    }
    if text.len() > FAST {
        // Few names that lack the text contain both its ends.
        let (_, end) = text.split_at(text.ceil_char_boundary(text.len() - FAST));
        let (start, _) = text.split_at(text.floor_char_boundary(FAST));
        if name.len() < text.len() || !contains(name, end) || !contains(name, start) {
            return false;
        }
    }
    let bytes = text.as_bytes();
    let Some((first, rest)) = bytes.split_first() else { return true };
    let Some(last) = name.len().checked_sub(bytes.len()) else { return false };
    let mut starts = name[..=last].iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.any(|(at, _)| name[at + 1..].starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn names_contain_texts() {
        let long = format!("{} größe {}", "x".repeat(60), "y".repeat(60));
        for (name, text, expected) in [
            ("nightly report", "ly rep", true),
            ("nightly", "nightly", true),
            ("nightly", "nightly!", false),
            ("nightly", "y", true),
            ("nightly", "yy", false),
            ("aab", "ab", true),
            ("nightly", "", true),
            ("", "", true),
            ("", "x", false),
            ("größe ändern", "ändern", true),
            ("abc", "ä", false),
            (&long, "größe y", true),
            (&long, "größe x", false),
            (&long, "xy", false),
            (&long, "y", true),
            (&long, &long, true),
            (&long, &long[20..100], true),
            (&long, &format!("{}z{}", &long[20..60], &long[60..100]), false),
            (&long, &format!("{} größer {}", "x".repeat(40), "y".repeat(40)), false),
        ] {
            assert_eq!(contains(name.as_bytes(), text), expected, "{name} {text}");
        }
    }
}
