//! What lies over the lists: the help, and the details of a schedule.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::state::{Overlay, State};

const HELP: [&str; 9] = [
    "q, Ctrl-C     quit",
    "Esc           close this, or quit",
    "p             pause, and go on",
    "Tab, ←, →     select a list",
    "↑, ↓          select a schedule",
    "Enter         what became of it, and why",
    "",
    "Late is what is due and nobody acts on.",
    "Overdue has had no success for too long.",
];

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let whole = frame.area();
    let (title, lines, scroll, area) = match &state.overlay {
        None => return,
        Some(Overlay::Help) => {
            let lines: Vec<_> = HELP.iter().map(|line| Line::raw(*line)).collect();
            let area = whole.centered(Constraint::Length(46), Constraint::Length(11));
            (" help ".to_owned(), lines, 0, area)
        }
        Some(Overlay::Details { name, lines, scroll, .. }) => {
            let lines = lines.as_ref().map_or_else(
                || vec![Line::raw("asking the service …")],
                |lines| lines.iter().map(|line| Line::raw(line.clone())).collect(),
            );
            let area = whole.centered(Constraint::Percentage(90), Constraint::Percentage(80));
            (format!(" {name} "), lines, *scroll, area)
        }
    };
    let area: Rect = area.intersection(whole);
    frame.render_widget(Clear, area);
    let text = Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((scroll, 0));
    frame.render_widget(text.block(Block::bordered().title(title)), area);
}
