//! Waiting no longer than a claim is trusted.

use std::time::Duration;

/// Pause between looks at the trust in a claim, while something is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a claim is trusted no more.
pub(crate) async fn lost(trusted: &(impl Fn() -> bool + Sync)) {
    while trusted() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for something while a claim is trusted; `None` if the trust ended first. What was waited for
/// may have taken all of the trust: look again before acting on it.
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
