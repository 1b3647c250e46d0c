//! How a process is told to end: a first signal asks it to, a second one insists.

use std::io;

use tokio_util::sync::CancellationToken;

/// What signals say. A signal is SIGINT, which is Ctrl-C, or SIGTERM.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cancelled by the first: finish what has been begun, then end.
    pub asked: CancellationToken,
    /// Cancelled by the second: end at once.
    pub forced: CancellationToken,
}

impl Stop {
    /// Listens for signals from now on; they do not end the process by themselves any more.
    ///
    /// # Errors
    /// If the system has no way to listen for them.
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
