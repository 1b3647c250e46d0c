//! The terminal as a whole screen, which is given back on every way out.

use std::io::{self, Stdout};
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

use super::draw::draw;
use super::state::State;
use crate::cli::failure::Exit;

/// What comes from the terminal.
pub(super) enum Input {
    Key(KeyEvent),
    Resized,
    /// There is no terminal any more.
    Ended,
}

/// The screen. When it goes, also by an error or a panic, the terminal is as it was.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal, and hears what comes from it until `hear` says no.
    ///
    /// # Errors
    /// The terminal cannot do it.
    pub(super) fn open(hear: impl Fn(Input) -> bool + Send + 'static) -> io::Result<Self> {
        // This also gives the terminal back when something panics, before the panic is told.
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        // Reading waits without end: the thread ends with the program.
        thread::spawn(move || {
            let mut is_heard = true;
            while is_heard {
                let input = read();
                let is_end = matches!(input, Input::Ended);
                is_heard = hear(input) && !is_end;
            }
        });
        Ok(Self { terminal })
    }

    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, state)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has given it back before it was told; once more would move the cursor over that.
        if thread::panicking() {
            return;
        }
        // Where the terminal is gone there is nothing to give back.
        let _ = ratatui::try_restore();
    }
}

fn read() -> Input {
    loop {
        match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => return Input::Key(key),
            Ok(Event::Resize(..)) => return Input::Resized,
            Ok(_) => {}
            Err(_) => return Input::Ended,
        }
    }
}

/// Waits until somebody ends the program from outside. Ctrl-C at the terminal is a key.
#[cfg(unix)]
pub(super) async fn told_to_end() -> Exit {
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let waits = signals.into_iter().map(|mut it| Box::pin(async move { it.recv().await }));
    futures::future::select_all(waits).await;
    Exit::Interrupted
}

/// Waits until somebody ends the program from outside. Ctrl-C at the terminal is a key.
#[cfg(not(unix))]
pub(super) async fn told_to_end() -> Exit {
    let _ = tokio::signal::ctrl_c().await;
    Exit::Interrupted
}
