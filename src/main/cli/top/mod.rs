//! `top`: what is due, running, late and failing, on a whole screen.
//!
//! The screen is a function of a [`State`]. Keys and answers change the state; a few requests of bounded size, however
//! many schedules there are, bring it up to date.

mod draw;
mod gather;
mod overlay;
mod screen;
mod state;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io::IsTerminal as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use futures::FutureExt as _;
use nats_scheduler::client::Client;
use nats_scheduler::failpoint::panic_at;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::failure::{Exit, Failure};
use super::options::Options;
use super::output::is_coloured;
use super::session::Session;
use gather::Gathered;
use screen::{Input, Screen};
use state::{Action, State};

/// Interval at which the screen is drawn, and the shortest at which it is brought up to date.
const TICK: Duration = Duration::from_secs(1);
/// Answers that take long are asked for seldom: the pause is at least so many times as long.
const SHARE: u32 = 5;

#[derive(Args, Debug)]
pub struct Top {}

/// What the loop waits for, beside the clock.
enum News {
    Input(Input),
    Gathered(Box<Result<Gathered, String>>),
    Details(Uuid, Result<Vec<String>, String>),
    /// What was to bring news has panicked.
    Panicked(Box<dyn Any + Send>),
}

impl Top {
    /// Whether there is a terminal to show it at.
    ///
    /// # Errors
    /// `Usage`: there is none.
    pub fn check(&self) -> Result<(), Failure> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            return Ok(());
        }
        let hint = "`status`, `next --all`, `running` and `ls --failing` answer anywhere";
        Err(Failure::usage("top needs a terminal").hint(hint))
    }

    /// Shows it until somebody leaves.
    ///
    /// # Errors
    /// Those of the terminal.
    pub async fn run(&self, session: &Session, common: &Options) -> Result<Exit, Failure> {
        let (tell, mut news) = mpsc::unbounded_channel();
        let heard = tell.clone();
        let mut screen = Screen::open(move |input| heard.send(News::Input(input)).is_ok())?;
        let mut live = Live {
            state: State::new(is_coloured(common)),
            client: session.client.clone(),
            tell,
            asked_at: None,
            next_at: Instant::now(),
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = pin!(screen::told_to_end());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(news) = news.recv() => {
                    if let Some(exit) = live.take(news) {
                        return Ok(exit);
                    }
                }
                exit = &mut end => return Ok(exit),
            }
            live.ask();
            live.state.now = live.state.service_time(Utc::now());
            panic_at("top_draws");
            screen.draw(&live.state)?;
        }
    }
}

/// The state, and what brings it up to date.
struct Live {
    state: State,
    client: Client,
    tell: mpsc::UnboundedSender<News>,
    /// When the requests under way began.
    asked_at: Option<Instant>,
    next_at: Instant,
}

impl Live {
    /// Takes what has come; how the command ends, if it does.
    fn take(&mut self, news: News) -> Option<Exit> {
        match news {
            News::Input(Input::Resized) => {}
            News::Input(Input::Ended) => return Some(Exit::Done),
            News::Input(Input::Key(key)) => match self.state.press(key) {
                Action::None => {}
                Action::Leave => return Some(Exit::Done),
                Action::Refresh => self.next_at = Instant::now(),
                Action::Explain(id) => self.explain(id),
            },
            News::Gathered(gathered) => {
                let took = self.asked_at.take().map(|at| at.elapsed()).unwrap_or_default();
                self.next_at = Instant::now() + TICK.max(took * SHARE) - TICK / 10;
                self.state.gathered(*gathered, Utc::now());
            }
            News::Details(id, lines) => self.state.explained(id, lines),
            // The terminal is given back already: to go on would be to draw over what was said.
            News::Panicked(panic) => resume_unwind(panic),
        }
        None
    }

    /// Asks for what is to be shown, unless it was asked for a moment ago.
    fn ask(&mut self) {
        let is_due = Instant::now() >= self.next_at;
        if self.state.is_paused || self.asked_at.is_some() || !is_due {
            return;
        }
        self.asked_at = Some(Instant::now());
        let client = self.client.clone();
        let now = self.state.service_time(Utc::now());
        self.bring(async move {
            panic_at("top_asks");
            let gathered = gather::gather(&client, now).await.map_err(|error| error.to_string());
            News::Gathered(Box::new(gathered))
        });
    }

    fn explain(&self, id: Uuid) {
        let client = self.client.clone();
        self.bring(async move {
            let lines = gather::details(&client, id).await.map_err(|error| error.to_string());
            News::Details(id, lines)
        });
    }

    /// Works out news, while the screen goes on.
    fn bring(&self, news: impl Future<Output = News> + Send + 'static) {
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let news = AssertUnwindSafe(news).catch_unwind().await;
            // Who has left needs it no more.
            let _ = tell.send(news.unwrap_or_else(News::Panicked));
        });
    }
}
