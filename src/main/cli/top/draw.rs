//! The screen of a state.

use chrono::{DateTime, Utc};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::gather::{Health, Row};
use super::overlay;
use super::state::{Pane, State};
use crate::cli::moment;
use crate::cli::output::table::{Tone, cut};
use crate::cli::text::safe;

/// From this width on two lists stand beside each other.
const WIDE: u16 = 100;
/// A list is this high at least; where there is less room only the selected one is shown.
const LOWEST: u16 = 4;
/// Room for how far a time is.
const TIME: usize = 9;

/// Draws a state.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let lines = [1, 1].map(Constraint::Length);
    let areas = [lines[0], lines[1], Constraint::Min(0), Constraint::Length(1)];
    let [top, second, middle, bottom] = Layout::vertical(areas).areas(frame.area());
    frame.render_widget(head(state), top);
    frame.render_widget(notice(state), second);
    for (pane, area) in panes(state, middle) {
        frame.render_widget(list(state, pane, area), area);
    }
    let keys = "q quit  p pause  Tab/arrows select  Enter why  ? help";
    frame.render_widget(Line::styled(keys, style(state, Tone::Faint)), bottom);
    overlay::draw(frame, state);
}

/// The style of a tone; only colours need colours.
pub(super) fn style(state: &State, tone: Tone) -> Style {
    let coloured = |color| if state.is_coloured { Style::new().fg(color) } else { Style::new() };
    match tone {
        Tone::Plain => Style::new(),
        Tone::Title => Style::new().add_modifier(Modifier::BOLD),
        Tone::Good => coloured(Color::Green),
        Tone::Warning => coloured(Color::Yellow),
        Tone::Bad => coloured(Color::Red),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
    }
}

/// The first line: the state of the service.
fn head(state: &State) -> Line<'static> {
    let name = Span::styled("nats-scheduler  ", style(state, Tone::Title));
    let Some(health) = &state.health else { return Line::from(name) };
    let tone = if health.is_ok { Tone::Good } else { Tone::Bad };
    let status = Span::styled(health.status.clone(), style(state, tone));
    Line::from(vec![name, status, Span::raw(format!("  {}", figures(health)))])
}

fn figures(health: &Health) -> String {
    let schedules: Vec<_> =
        health.schedules.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let instances = match health.instances {
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    };
    let (ended, failed) = health.last_hour;
    let mut said = vec![
        format!("{}/min", health.last_minute),
        format!("last hour {ended}, {failed} failed"),
        instances,
    ];
    if !schedules.is_empty() {
        said.push(schedules.join(", "));
    }
    said.push(format!("lag {}", moment::span_ms(i64::try_from(health.lag_ms).unwrap_or(i64::MAX))));
    said.join("  ")
}

/// Why the screen may not show what is, or what is wrong.
fn notice(state: &State) -> Line<'static> {
    let age = state.as_of.map(|at| moment::span_ms((state.now - at).num_milliseconds().max(0)));
    let age = age.map(|age| format!("{age} old")).unwrap_or_else(|| "nothing known yet".to_owned());
    let (text, tone) = match (&state.problem, &state.health) {
        _ if state.is_paused => (format!("paused, {age}: p goes on"), Tone::Warning),
        (Some(problem), _) => (format!("NO ANSWER, {age}: {}", safe(problem)), Tone::Bad),
        (None, None) => ("asking the service …".to_owned(), Tone::Faint),
        (None, Some(health)) => (health.problems.join("; "), Tone::Bad),
    };
    Line::styled(text, style(state, tone))
}

/// Which lists are shown, and where.
fn panes(state: &State, area: Rect) -> Vec<(Pane, Rect)> {
    if area.width >= WIDE && area.height >= 2 * LOWEST {
        let rows: [Rect; 2] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
        let cells = rows.into_iter().flat_map(|row| {
            let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(row);
            [left, right]
        });
        return Pane::ALL.into_iter().zip(cells).collect();
    }
    if area.height >= 4 * LOWEST {
        let cells: [Rect; 4] = Layout::vertical([Constraint::Fill(1); 4]).areas(area);
        return Pane::ALL.into_iter().zip(cells).collect();
    }
    vec![(state.pane, area)]
}

fn list(state: &State, pane: Pane, area: Rect) -> Paragraph<'static> {
    let is_selected = pane == state.pane;
    // Without colours too it is to be seen which list the keys act on.
    let border = if is_selected { BorderType::Thick } else { BorderType::Plain };
    let title = Span::styled(title(state, pane), style(state, Tone::Title));
    let block = Block::bordered().border_type(border).title(title);
    let inner = block.inner(area);
    let (rows, selected) = (state.rows(pane), state.selected(pane));
    let height = usize::from(inner.height);
    let first = (selected + 1).saturating_sub(height);
    let widest = rows.iter().map(|row| row.name.width()).max().unwrap_or_default();
    let room = usize::from(inner.width).saturating_sub(TIME + 4);
    let width = widest.min(room * 2 / 3).max(1);
    let lines = rows.iter().enumerate().skip(first).take(height).map(|(n, row)| {
        let is_marked = is_selected && n == selected;
        line(state, pane, row, width, is_marked)
    });
    let lines: Vec<_> = lines.collect();
    let empty = if state.health.is_some() { vec![Line::raw(empty(pane))] } else { Vec::new() };
    Paragraph::new(if lines.is_empty() { empty } else { lines }).block(block)
}

fn title(state: &State, pane: Pane) -> String {
    let of = |count: Option<u64>| count.map(|it| format!(": {it}")).unwrap_or_default();
    let health = state.health.as_ref();
    match pane {
        Pane::Due => " due next ".to_owned(),
        Pane::Running => format!(" running{} ", of(health.map(|it| it.running))),
        Pane::Late => format!(" late or overdue{} ", of(health.map(|it| it.overdue as u64))),
        Pane::Failing => format!(" failing{} ", of(health.map(|it| it.failing as u64))),
    }
}

fn empty(pane: Pane) -> &'static str {
    match pane {
        Pane::Due => "nothing in the next hour",
        Pane::Running => "nothing is under way",
        Pane::Late => "nothing is late",
        Pane::Failing => "nothing is failing",
    }
}

fn line(state: &State, pane: Pane, row: &Row, width: usize, is_marked: bool) -> Line<'static> {
    let time = row.at.map(|at| time(pane, at, state.now)).unwrap_or_default();
    let name = cut(&row.name, width);
    let padding = " ".repeat(width.saturating_sub(name.width()));
    let tone = match pane {
        Pane::Due | Pane::Running => Tone::Plain,
        Pane::Late => Tone::Warning,
        Pane::Failing => Tone::Bad,
    };
    let mark = if is_marked { ">" } else { " " };
    let line = Line::from(vec![
        Span::raw(format!("{mark}{time:>TIME$} ")),
        Span::styled(name, style(state, tone)),
        Span::raw(format!("{padding}  {}", row.note)),
    ]);
    if is_marked { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

/// How far a time is, to the second where that can be followed.
fn time(pane: Pane, at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (at - now).num_seconds();
    match (pane, seconds) {
        (Pane::Due, ..=0) => "now".to_owned(),
        (Pane::Due, 60..3600) => format!("in {}m{:02}s", seconds / 60, seconds % 60),
        (Pane::Running, _) => moment::relative(at.min(now), now).replace(" ago", ""),
        _ => moment::relative(at, now),
    }
}
