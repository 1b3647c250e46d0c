//! Clocks that show any time they are told to.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use super::Server;

/// The clock of a host, which may be off and may be set. Clones are the same one.
///
/// For [`Clock::of`](nats_scheduler::clock::Clock::of): `let told = clock.clone(); Clock::of(chance, move ||
/// told.now())`.
#[derive(Clone)]
pub struct HostClock {
    server: Server,
    is_off: Arc<Mutex<TimeDelta>>,
}

impl HostClock {
    /// One that is off by so much.
    pub fn off_by(server: &Server, is_off: TimeDelta) -> Self {
        Self { server: server.clone(), is_off: Arc::new(Mutex::new(is_off)) }
    }

    /// What it tells.
    pub fn now(&self) -> DateTime<Utc> {
        self.server.true_time() + *self.is_off.lock().unwrap()
    }

    /// Sets it, by so much.
    pub fn step(&self, by: TimeDelta) {
        *self.is_off.lock().unwrap() += by;
    }
}
