//! English phrases for descriptions.

/// "every minute", "every 5 minutes".
pub(super) fn every(count: u32, unit: &str) -> String {
    if count == 1 { format!("every {unit}") } else { format!("every {count} {unit}s") }
}

/// "a", "a and b", "a, b and c".
pub(super) fn and(items: &[String]) -> String {
    join(items, "and")
}

/// "a", "a or b", "a, b or c".
pub(super) fn or(items: &[String]) -> String {
    join(items, "or")
}

fn join(items: &[String], word: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

/// "1st", "2nd", "11th".
pub(super) fn ordinal(number: u32) -> String {
    let end = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// The members of a sorted list as runs of neighbours: first and last of each.
pub(super) fn runs(members: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &member in members {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == member => *last = member,
            _ => runs.push((member, member)),
        }
    }
    runs
}

/// A sorted list in which runs of at least `shortest` are written as "3 to 7".
pub(super) fn ranges(members: &[u32], shortest: u32, name: impl Fn(u32) -> String) -> Vec<String> {
    let mut items = Vec::new();
    for (first, last) in runs(members) {
        if last - first + 1 >= shortest {
            items.push(format!("{} to {}", name(first), name(last)));
        } else {
            items.extend((first..=last).map(&name));
        }
    }
    items
}

/// The distance between the members of a sorted list, if it is always the same and there are at least
/// `fewest`.
pub(super) fn step(members: &[u32], fewest: usize) -> Option<u32> {
    let step = members.get(1)?.checked_sub(members[0])?;
    let even = members.windows(2).all(|pair| pair[1] - pair[0] == step);
    (even && members.len() >= fewest).then_some(step)
}
