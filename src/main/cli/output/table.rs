//! Tables: a line for each row, as wide as the terminal at most.

use comfy_table::{
    Attribute, Cell as Shown, Color, ColumnConstraint, ContentArrangement, Table, Width,
};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::super::text::safe;

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
    Title,
    Good,
    Warning,
    Bad,
    Faint,
}

/// A cell, whose text is safe.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: safe(text.as_ref()), tone: Tone::Plain }
    }

    /// A text if there is one, or else a dash.
    pub fn of(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self::new("-").tone(Tone::Faint), Self::new)
    }

    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// The cell, cut to a width.
    fn shown(&self, width: usize) -> Shown {
        let cell = Shown::new_owned(cut(&self.text, width));
        match self.tone {
            Tone::Plain => cell,
            Tone::Title => cell.add_attribute(Attribute::Bold),
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
    widths: Option<Vec<usize>>,
}

impl Parts {
    pub fn new(look: Look, columns: &'static [Column]) -> Self {
        Self { look, columns, widths: None }
    }

    /// The lines of the next part, the first with a header.
    pub fn lines(&mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let is_shown = |column: &Column| self.look.is_wide || !column.is_wide;
        let shown: Vec<bool> = self.columns.iter().map(is_shown).collect();
        let mut rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| kept(row, &shown)).collect();
        if self.widths.is_none() {
            let titles = self.columns.iter().map(|it| Cell::new(it.title).tone(Tone::Title));
            rows.insert(0, kept(titles.collect(), &shown));
        }
        let widths = self.widths.get_or_insert_with(|| fit(&content(&rows), self.look.width));
        let mut table = bare(self.look);
        for row in &rows {
            let cells = row.iter().zip(widths.iter());
            table.add_row(cells.map(|(cell, width)| {
                let cut = if self.look.width.is_some() { *width } else { usize::MAX };
                cell.shown(cut)
            }));
        }
        table.set_constraints(widths.iter().map(|width| {
            let width = u16::try_from(*width).unwrap_or(u16::MAX).saturating_add(GAP);
            ColumnConstraint::LowerBoundary(Width::Fixed(width))
        }));
        finish(&mut table)
    }
}

/// The cells of the columns that are shown.
fn kept(row: Vec<Cell>, shown: &[bool]) -> Vec<Cell> {
    row.into_iter().zip(shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell).collect()
}

/// How wide the widest cell of each column is.
fn content(rows: &[Vec<Cell>]) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    widths
}

/// Names and values below each other.
pub fn pairs(look: Look, pairs: &[(&str, Cell)]) -> String {
    if look.width.is_none() && !look.is_styled {
        // A table breaks what is longer than 65,535 characters, and payloads may be.
        let widest = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
        let lines = pairs.iter().map(|(name, cell)| {
            let name = format!("{name}:");
            format!("{name:<widest$}  {}\n", cell.text)
        });
        return lines.collect();
    }
    let mut table = bare(look);
    for (name, cell) in pairs {
        let name = Cell::new(format!("{name}:")).tone(Tone::Title);
        table.add_row(vec![name.shown(usize::MAX), cell.shown(usize::MAX)]);
    }
    if let Some(width) = look.width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    finish(&mut table)
}

/// Characters between two columns.
const GAP: u16 = 2;
/// A column is not made narrower than this.
const NARROWEST: usize = 6;

/// Widths of columns with this content: the widest give way until all fit.
fn fit(content: &[usize], width: Option<u16>) -> Vec<usize> {
    let mut widths = content.to_vec();
    let Some(width) = width else { return widths };
    let gaps = usize::from(GAP) * widths.len().saturating_sub(1);
    let room = usize::from(width).saturating_sub(gaps);
    while widths.iter().sum::<usize>() > room {
        // Of equal ones the last: what says most comes first.
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > NARROWEST) else {
            break;
        };
        *widest -= 1;
    }
    widths
}

/// A text of at most this width on a terminal; a longer one ends with `…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        // One is for the mark.
        if used >= width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

fn bare(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if look.is_styled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.style_text_only();
    table
}

/// The lines, without white space at their ends.
fn finish(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
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

    #[test]
    fn texts_are_cut_by_their_width() {
        for (text, width, shown) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("東京都庁", 6, "東京…"),
            ("東京", 3, "東…"),
        ] {
            assert_eq!(cut(text, width), shown);
        }
    }
}
