//! Times in which this machine did not get round to running us: then it does not get round to instances either, and
//! what is late or taken over then is no fault of theirs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::strike::{Fault, Kind};

/// Interval of the checks, and the delay from which one counts as a stall.
const LOOK: Duration = Duration::from_millis(50);
const STALL: Duration = Duration::from_millis(500);

/// Watches for stalls until it is dropped.
pub struct Stalls {
    seen: Arc<Mutex<Vec<Fault>>>,
    _task: JoinSet<()>,
}

impl Stalls {
    /// Starts watching.
    pub fn watch() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut task, note) = (JoinSet::new(), Arc::clone(&seen));
        task.spawn(async move {
            loop {
                let (began_at, began) = (Utc::now(), Instant::now());
                sleep(LOOK).await;
                if began.elapsed() > STALL {
                    note.lock().unwrap().push(stall(began_at));
                }
            }
        });
        Self { seen, _task: task }
    }

    /// The stalls that were seen.
    pub fn seen(&self) -> Vec<Fault> {
        self.seen.lock().unwrap().clone()
    }
}

fn stall(began_at: DateTime<Utc>) -> Fault {
    let what = "by others on it".to_owned();
    Fault { kind: Kind::Stall, instance: None, what, began_at, ended_at: Utc::now() }
}
