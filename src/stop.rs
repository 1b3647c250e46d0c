//! Signals that end a process: the first asks it to, the second insists.

use std::io;

use tokio_util::sync::CancellationToken;

/// The state of the signals. A signal is SIGINT, which is Ctrl-C, or SIGTERM.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cancelled by the first signal: finish work under way, then end.
    pub asked: CancellationToken,
    /// Cancelled by the second signal: end at once.
    pub forced: CancellationToken,
}

impl Stop {
    /// Listens for signals from now on; they no longer end the process by themselves.
    ///
    /// # Errors
    /// The system has no way to listen for them.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let (asked, forced) = (stop.asked.clone(), stop.forced.clone());
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            signals.next().await;
            asked.cancel();
            signals.next().await;
            forced.cancel();
        });
        Ok(stop)
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}
