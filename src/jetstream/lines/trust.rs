//! Waits that last no longer than the trust in a claim.

use std::time::Duration;

/// Interval between checks of the trust in a claim, while something is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a claim is no longer trusted.
pub(crate) async fn lost(trusted: &(impl Fn() -> bool + Sync)) {
    while trusted() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for something while a claim is trusted; `None` if the trust ends first. The wait may have used up the trust,
/// so check again before acting on the result.
pub(crate) async fn while_trusted<T>(
    trusted: &(impl Fn() -> bool + Sync),
    something: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = something => Some(done),
        () = lost(trusted) => None,
    }
}
