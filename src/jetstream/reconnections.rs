//! Noticing that the connection has been made anew.

use std::time::Duration;

use crate::port::Nats;

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for new connections, one after the other.
pub struct Reconnections<N> {
    nats: N,
    known: u64,
}

impl<N: Nats> Reconnections<N> {
    /// Those that come after the present one.
    pub fn of(nats: N) -> Self {
        Self { known: nats.connects(), nats }
    }

    /// Waits until the connection has been made anew since this was said last. Nothing is lost by not waiting for it
    /// to the end.
    pub async fn reconnected(&mut self) {
        loop {
            let connects = self.nats.connects();
            if std::mem::replace(&mut self.known, connects) != connects {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
