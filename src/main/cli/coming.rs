//! The coming times of a schedule, in a line.

use nats_scheduler::client::Preview;

use super::moment;

/// Most times that are shown of those that calendars leave out.
const SHOWN: usize = 3;

/// When a schedule fires, in words and by its next times.
pub fn coming(preview: &Preview) -> String {
    let times: Vec<_> = preview.occurrences.iter().map(|at| moment::absolute(*at)).collect();
    match times.is_empty() {
        true => preview.description.clone(),
        false => format!("{}: {}", preview.description, times.join(", ")),
    }
}

/// What calendars leave out meanwhile, if they do.
pub fn left_out(preview: &Preview) -> Option<String> {
    let left_out = preview.left_out.as_ref()?;
    let times = left_out.occurrences.iter().take(SHOWN);
    let mut times: Vec<_> = times.map(|at| moment::absolute(*at)).collect();
    if left_out.count > times.len() as u64 {
        times.push("…".to_owned());
    }
    let (count, until) = (left_out.count, moment::absolute(left_out.until));
    Some(format!("calendars leave out {count} until {until}: {}", times.join(", ")))
}
