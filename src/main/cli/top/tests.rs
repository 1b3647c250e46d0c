//! Screens, held to files. `SCREENS_WRITE=1 cargo test --bin nats-scheduler top` writes them again.

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use uuid::Uuid;

use super::draw::draw;
use super::gather::{Gathered, Health, Row};
use super::state::{Action, Pane, State};

fn start() -> DateTime<Utc> {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn row(n: u128, name: &str, seconds: i64, note: &str) -> Row {
    let at = Some(start() + TimeDelta::seconds(seconds));
    Row { schedule: Uuid::from_u128(n), name: name.to_owned(), at, note: note.to_owned() }
}

fn gathered() -> Gathered {
    let health = Health {
        is_ok: false,
        status: "degraded".to_owned(),
        instances: 2,
        schedules: vec![("active".to_owned(), 1_000_000), ("paused".to_owned(), 3)],
        failing: 1,
        overdue: 1,
        running: 2,
        problems: vec!["the stream COMMANDS is full".to_owned()],
        last_hour: (4210, 7),
        last_minute: 70,
        lag_ms: 2500,
    };
    let due = vec![
        row(1, "beat", 5, ""),
        row(2, "夜間 größer", 245, "dst_gap"),
        row(3, "cleanup of what nobody needs any more and nobody ever needed", 3599, ""),
    ];
    let running = vec![
        row(4, "report", -75, "attempt 2, 40 %, cmd.report.build"),
        row(5, "import", 0, "cmd.import.run"),
    ];
    let late = vec![
        row(6, "mail", -12, "cmd.notification.mail"),
        row(7, "backup", -180_000, "overdue: no success in time"),
    ];
    let failing = vec![row(8, "charge", -60, "failed, 3 of 100 failed")];
    Gathered { now: start(), health, rows: [due, running, late, failing] }
}

fn state() -> State {
    let mut state = State::new(false);
    state.now = start();
    state.gathered(Ok(gathered()), start());
    state
}

fn press(state: &mut State, code: KeyCode) -> Action {
    state.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn screen(state: &State, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal
}

#[track_caller]
fn check(name: &str, state: &State, width: u16, height: u16) {
    let shown = screen(state, width, height).backend().to_string();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/main/cli/top/screens");
    let path = std::path::Path::new(folder).join(name).with_extension("txt");
    if std::env::var_os("SCREENS_WRITE").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == shown, "{} is another:\n{shown}", path.display());
}

#[test]
fn screens_are_what_was_looked_at() {
    let mut state = state();
    check("wide", &state, 120, 16);
    check("narrow", &state, 50, 24);
    check("low", &state, 50, 10);
    check("nothing", &State::new(false), 60, 8);
    press(&mut state, KeyCode::Char('?'));
    check("help", &state, 80, 20);
    press(&mut state, KeyCode::Esc);
    press(&mut state, KeyCode::Tab);
    press(&mut state, KeyCode::Down);
    assert_eq!(press(&mut state, KeyCode::Enter), Action::Explain(Uuid::from_u128(5)));
    check("asked", &state, 80, 12);
    let lines = vec!["every 5 seconds".to_owned(), "2026-11-28T12:00:00Z  success: ran".to_owned()];
    state.explained(Uuid::from_u128(9), Err("of another".to_owned()));
    state.explained(Uuid::from_u128(5), Ok(lines));
    check("details", &state, 80, 12);
    press(&mut state, KeyCode::Esc);
    state.now += TimeDelta::seconds(12);
    state.gathered(Err("no reply to \u{1b}[2J".to_owned()), start());
    check("no_answer", &state, 80, 10);
    press(&mut state, KeyCode::Char('p'));
    check("paused", &state, 80, 10);
    state.gathered(Ok(gathered()), start());
    assert!(state.problem.is_none(), "it has healed");
}

#[test]
fn every_size_can_be_drawn() {
    let mut state = state();
    for overlay in [None, Some(KeyCode::Char('?')), Some(KeyCode::Enter)] {
        overlay.map(|code| press(&mut state, code));
        for (width, height) in [(1, 1), (2, 3), (10, 4), (100, 3), (300, 100)] {
            screen(&state, width, height);
        }
        press(&mut state, KeyCode::Esc);
    }
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let has_colours = |state: &State| {
        let screen = screen(state, 120, 16);
        screen.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset)
    };
    let mut coloured = State::new(true);
    coloured.gathered(Ok(gathered()), start());
    assert!(has_colours(&coloured) && !has_colours(&state()));
}

#[test]
fn keys_select_and_leave() {
    let mut state = state();
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    assert_eq!(state.selected(Pane::Due), 2, "the last one");
    // What is selected stays selected when others before it are gone, and the list may become shorter.
    let mut next = gathered();
    next.rows[0].remove(0);
    state.gathered(Ok(next), start());
    assert_eq!(state.selected(Pane::Due), 1);
    let mut none = gathered();
    none.rows[0].clear();
    state.gathered(Ok(none), start());
    assert_eq!(press(&mut state, KeyCode::Enter), Action::None, "there is nothing to show");
    press(&mut state, KeyCode::BackTab);
    assert_eq!(state.pane, Pane::Failing);
    press(&mut state, KeyCode::Right);
    assert_eq!(state.pane, Pane::Due);
    assert_eq!(press(&mut state, KeyCode::Char('p')), Action::None);
    assert_eq!(press(&mut state, KeyCode::Char('p')), Action::Refresh);
    for (code, modifiers) in [
        (KeyCode::Esc, KeyModifiers::NONE),
        (KeyCode::Char('q'), KeyModifiers::NONE),
        (KeyCode::Char('c'), KeyModifiers::CONTROL),
    ] {
        assert_eq!(state.press(KeyEvent::new(code, modifiers)), Action::Leave);
    }
    press(&mut state, KeyCode::Char('?'));
    assert_eq!(press(&mut state, KeyCode::Esc), Action::None, "it closes the help first");
}
