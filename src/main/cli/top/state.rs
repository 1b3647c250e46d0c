//! What the screen shows, and what keys do to it. No clock, no terminal, no network.

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use uuid::Uuid;

use super::gather::{Gathered, Health, Row};

/// The lists of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Due,
    Running,
    Late,
    Failing,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Due, Self::Running, Self::Late, Self::Failing];
}

/// What lies over the lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Details { schedule: Uuid, name: String, lines: Option<Vec<String>>, scroll: u16 },
}

/// What a key asks for beside a change of the state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Leave,
    Refresh,
    Explain(Uuid),
}

#[derive(Debug)]
pub(super) struct State {
    /// The time of the service.
    pub(super) now: DateTime<Utc>,
    /// How far the service's clock is ahead of ours.
    ahead: TimeDelta,
    pub(super) health: Option<Health>,
    /// When that was so.
    pub(super) as_of: Option<DateTime<Utc>>,
    /// Why it is not brought up to date.
    pub(super) problem: Option<String>,
    rows: [Vec<Row>; 4],
    selected: [usize; 4],
    pub(super) pane: Pane,
    pub(super) overlay: Option<Overlay>,
    pub(super) is_paused: bool,
    pub(super) is_coloured: bool,
}

impl State {
    pub(super) fn new(is_coloured: bool) -> Self {
        Self {
            now: DateTime::UNIX_EPOCH,
            ahead: TimeDelta::zero(),
            health: None,
            as_of: None,
            problem: None,
            rows: Default::default(),
            selected: [0; 4],
            pane: Pane::Due,
            overlay: None,
            is_paused: false,
            is_coloured,
        }
    }

    /// What time it is for the service.
    pub(super) fn service_time(&self, ours: DateTime<Utc>) -> DateTime<Utc> {
        ours.checked_add_signed(self.ahead).unwrap_or(ours)
    }

    pub(super) fn rows(&self, pane: Pane) -> &[Row] {
        &self.rows[pane as usize]
    }

    /// The place of the selected row; it is the last one if there are fewer now.
    pub(super) fn selected(&self, pane: Pane) -> usize {
        self.selected[pane as usize].min(self.rows(pane).len().saturating_sub(1))
    }

    /// Takes what was asked for, at a time of ours.
    pub(super) fn gathered(&mut self, gathered: Result<Gathered, String>, ours: DateTime<Utc>) {
        match gathered {
            Ok(gathered) => {
                self.ahead = gathered.now.signed_duration_since(ours);
                self.as_of = Some(gathered.now);
                self.problem = None;
                self.health = Some(gathered.health);
                for (pane, rows) in Pane::ALL.into_iter().zip(gathered.rows) {
                    self.keep_selected(pane, rows);
                }
            }
            // What was known stays on the screen, with its age.
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// Who has selected something keeps it selected, wherever it stands now.
    fn keep_selected(&mut self, pane: Pane, rows: Vec<Row>) {
        let place = self.selected(pane);
        let id = self.rows(pane).get(place).filter(|_| place > 0).map(|row| row.schedule);
        let found = id.and_then(|id| rows.iter().position(|row| row.schedule == id));
        self.selected[pane as usize] = found.unwrap_or(place);
        self.rows[pane as usize] = rows;
    }

    /// Takes what a schedule's details are, if somebody still looks at them.
    pub(super) fn explained(&mut self, id: Uuid, found: Result<Vec<String>, String>) {
        if let Some(Overlay::Details { schedule, lines, .. }) = &mut self.overlay
            && *schedule == id
        {
            *lines = Some(found.unwrap_or_else(|problem| vec![problem]));
        }
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Action {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, &mut self.overlay) {
            (KeyCode::Char('c'), _) if is_control => return Action::Leave,
            (KeyCode::Char('q'), _) => return Action::Leave,
            (KeyCode::Esc, None) => return Action::Leave,
            (KeyCode::Esc | KeyCode::Enter, Some(_)) => self.overlay = None,
            (KeyCode::Char('?'), Some(Overlay::Help)) => self.overlay = None,
            (KeyCode::Char('?'), _) => self.overlay = Some(Overlay::Help),
            (KeyCode::Char('p'), _) => {
                self.is_paused = !self.is_paused;
                return if self.is_paused { Action::None } else { Action::Refresh };
            }
            (KeyCode::Down, Some(Overlay::Details { lines, scroll, .. })) => {
                let most = lines.as_ref().map_or(0, Vec::len).saturating_sub(1);
                *scroll = scroll.saturating_add(1).min(u16::try_from(most).unwrap_or(u16::MAX));
            }
            (KeyCode::Up, Some(Overlay::Details { scroll, .. })) => {
                *scroll = scroll.saturating_sub(1);
            }
            (_, Some(_)) => {}
            (KeyCode::Tab | KeyCode::Right, None) => self.turn(1),
            (KeyCode::BackTab | KeyCode::Left, None) => self.turn(Pane::ALL.len() - 1),
            (KeyCode::Down, None) => self.select(self.selected(self.pane).saturating_add(1)),
            (KeyCode::Up, None) => self.select(self.selected(self.pane).saturating_sub(1)),
            (KeyCode::Enter, None) => return self.open(),
            _ => {}
        }
        Action::None
    }

    fn turn(&mut self, by: usize) {
        self.pane = Pane::ALL[(self.pane as usize + by) % Pane::ALL.len()];
    }

    fn select(&mut self, place: usize) {
        let last = self.rows(self.pane).len().saturating_sub(1);
        self.selected[self.pane as usize] = place.min(last);
    }

    fn open(&mut self) -> Action {
        let Some(row) = self.rows(self.pane).get(self.selected(self.pane)) else {
            return Action::None;
        };
        let (schedule, name) = (row.schedule, row.name.clone());
        self.overlay = Some(Overlay::Details { schedule, name, lines: None, scroll: 0 });
        Action::Explain(schedule)
    }
}
