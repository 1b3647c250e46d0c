//! The limit on open files: connections are files, and so is the one to NATS.

use tracing::warn;

/// Files needed beside the connections: those to NATS, of the runtime and of the log, and connections that have no
/// place yet when many connect at the same moment.
const OTHERS: u64 = 512;

/// Asks the system for room for `wanted` connections; returns how many fit.
#[cfg(unix)]
pub(super) fn room(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = raised(current, maximum, wanted);
    if raised != current && setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }).is_ok()
    {
        return said(wanted, raised);
    }
    said(wanted, current)
}

/// There is no such limit on this platform.
#[cfg(not(unix))]
pub(super) fn room(wanted: usize) -> usize {
    said(wanted, None)
}

fn said(wanted: usize, files: Option<u64>) -> usize {
    let room = within(files, wanted);
    if room < wanted {
        warn!(files, wanted, room, "too few files may be open (ulimit -n) for API_MAX_CONNECTIONS");
    }
    room
}

/// The limit that is sufficient, as far as the maximum allows.
fn raised(current: Option<u64>, maximum: Option<u64>, wanted: usize) -> Option<u64> {
    // Just as many may be cut but not yet closed.
    let enough = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OTHERS);
    let may_be = maximum.unwrap_or(u64::MAX);
    current.map(|current| current.max(enough.min(may_be)))
}

/// How many connections fit; half the files where there are few.
fn within(files: Option<u64>, wanted: usize) -> usize {
    let Some(files) = files else { return wanted };
    let room = files.saturating_sub(OTHERS).max(files / 2);
    usize::try_from(room).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_enough_and_no_further() {
        for (current, maximum, expected, room) in [
            (Some(1024), None, Some(2512), 1000),
            (Some(1024), Some(4096), Some(2512), 1000),
            (Some(256), Some(1300), Some(1300), 788),
            (Some(256), Some(1024), Some(1024), 512),
            (Some(256), Some(256), Some(256), 128),
            (Some(65_536), Some(65_536), Some(65_536), 1000),
            (Some(2), Some(2), Some(2), 1),
            (None, None, None, 1000),
        ] {
            let raised = raised(current, maximum, 1000);
            assert_eq!(raised, expected, "{current:?} {maximum:?}");
            assert_eq!(within(raised, 1000), room, "{current:?} {maximum:?}");
        }
    }
}
