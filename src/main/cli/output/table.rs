//! Tables: a line for each row, as wide as the terminal at most.

use comfy_table::{
    Attribute, Cell as Shown, Color, ColumnConstraint, ContentArrangement, Row, Table, Width,
};

use super::text::safe;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    /// Shown only with `-o wide`.
    pub is_wide: bool,
}

/// A column of every table.
pub const fn column(title: &'static str) -> Column {
    Column { title, is_wide: false }
}

/// A column of wide tables.
pub const fn wide(title: &'static str) -> Column {
    Column { title, is_wide: true }
}

/// What a cell says beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

/// A cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A text if there is one, or else a dash.
    pub fn of(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(|| Self::new("-").tone(Tone::Faint), Self::new)
    }

    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    fn shown(&self) -> Shown {
        let cell = Shown::new_owned(safe(&self.text));
        match self.tone {
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Warning => cell.fg(Color::Yellow),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// How tables look where they are shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub is_styled: bool,
    pub is_wide: bool,
    /// Number of characters that fit into a line; none if lines may have any length.
    pub width: Option<u16>,
}

/// A table in parts. The first part decides how wide the columns are, so that the parts of a long list need not be held
/// together in memory.
pub struct Parts {
    look: Look,
    columns: &'static [Column],
    widths: Option<Vec<u16>>,
}

impl Parts {
    pub fn new(look: Look, columns: &'static [Column]) -> Self {
        Self { look, columns, widths: None }
    }

    /// The lines of the next part, the first with a header.
    pub fn lines(&mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let is_shown = |column: &Column| self.look.is_wide || !column.is_wide;
        let shown: Vec<bool> = self.columns.iter().map(is_shown).collect();
        let mut table = bare(self.look);
        if self.widths.is_none() {
            let titles = self.columns.iter().filter(|column| is_shown(column));
            let titles: Vec<_> =
                titles.map(|it| Shown::new(it.title).add_attribute(Attribute::Bold)).collect();
            table.add_row(one_line(titles));
        }
        for row in rows {
            let cells = row.iter().zip(&shown).filter(|(_, shown)| **shown);
            table.add_row(one_line(cells.map(|(cell, _)| cell.shown()).collect()));
        }
        self.align(&mut table);
        finish(&table)
    }

    fn align(&mut self, table: &mut Table) {
        let content = table.column_max_content_widths();
        let widths = self.widths.get_or_insert_with(|| fit(&content, self.look.width));
        let constraints = widths.iter().map(|width| match self.look.width {
            Some(_) => ColumnConstraint::Absolute(Width::Fixed(width + GAP)),
            None => ColumnConstraint::LowerBoundary(Width::Fixed(width + GAP)),
        });
        table.set_constraints(constraints);
    }
}

/// Names and values below each other.
pub fn pairs(look: Look, pairs: &[(&str, Cell)]) -> String {
    let mut table = bare(look);
    for (name, cell) in pairs {
        let name = Shown::new(format!("{name}:")).add_attribute(Attribute::Bold);
        table.add_row(vec![name, cell.shown()]);
    }
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    finish(&table)
}

/// Characters between two columns.
const GAP: u16 = 2;
/// A column is not made narrower than this.
const NARROWEST: u16 = 6;

/// Widths of columns with this content: the widest give way until all fit.
fn fit(content: &[u16], width: Option<u16>) -> Vec<u16> {
    let mut widths = content.to_vec();
    let Some(width) = width else { return widths };
    let room = width.saturating_sub(GAP * widths.len().saturating_sub(1) as u16);
    while widths.iter().sum::<u16>() > room {
        // Of equal ones the last: what says most comes first.
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else { break };
        if *widest <= NARROWEST {
            break;
        }
        *widest -= 1;
    }
    widths
}

fn bare(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_truncation_indicator("…");
    table.set_content_arrangement(ContentArrangement::Disabled);
    if look.is_styled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.style_text_only();
    table
}

fn one_line(cells: Vec<Shown>) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

/// The lines without white space at their ends, and with a gap between columns only.
fn finish(table: &Table) -> String {
    let mut table = table.clone();
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_give_way() {
        assert_eq!(fit(&[10, 40, 30], None), [10, 40, 30]);
        assert_eq!(fit(&[10, 40, 30], Some(64)), [10, 25, 25]);
        assert_eq!(fit(&[10, 10], Some(4)), [6, 6]);
    }
}
