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
    /// Whether it says something without its end. A time, a number or an id does not.
    is_text: bool,
}

/// A column of every table, whose cells are never cut.
pub const fn column(title: &'static str) -> Column {
    Column { title, is_wide: false, is_text: false }
}

/// A column of every table, whose texts give way where there is no room.
pub const fn text(title: &'static str) -> Column {
    Column { title, is_wide: false, is_text: true }
}

/// A column of wide tables.
pub const fn wide(title: &'static str) -> Column {
    Column { title, is_wide: true, is_text: false }
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
        text.filter(|text| !text.as_ref().is_empty())
            .map_or_else(|| Self::new("-").tone(Tone::Faint), Self::new)
    }

    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// The cell, cut to a width.
    fn shown(&self, width: usize, look: Look) -> Shown {
        let mut text = cut(&self.text, width);
        if look.is_terminal && is_right_to_left(&text) {
            text.push(LEFT_TO_RIGHT);
        }
        let cell = Shown::new_owned(text);
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
    pub is_terminal: bool,
}

/// A table in parts. The first part decides how wide the columns are, so that the parts of a long list need not be held
/// together in memory.
pub struct Parts {
    look: Look,
    columns: &'static [Column],
    /// Of the first columns: there may be no room for all.
    widths: Option<Vec<usize>>,
}

impl Parts {
    pub fn new(look: Look, columns: &'static [Column]) -> Self {
        Self { look, columns, widths: None }
    }

    fn shown(&self) -> Vec<Column> {
        let is_shown = |column: &&Column| self.look.is_wide || !column.is_wide;
        self.columns.iter().filter(is_shown).copied().collect()
    }

    /// The columns for which there was no room.
    pub fn left_out(&self) -> Vec<&'static str> {
        let count = self.widths.as_ref().map_or(usize::MAX, Vec::len);
        self.shown().iter().skip(count).map(|column| column.title).collect()
    }

    /// The lines of the next part, the first with a header.
    pub fn lines(&mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
        let columns = self.shown();
        let shown: Vec<_> =
            self.columns.iter().map(|it| self.look.is_wide || !it.is_wide).collect();
        let mut rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| kept(row, &shown)).collect();
        if self.widths.is_none() {
            let titles = columns.iter().map(|it| Cell::new(it.title).tone(Tone::Title));
            rows.insert(0, titles.collect());
        }
        let widths =
            self.widths.get_or_insert_with(|| fit(&columns, &content(&rows), self.look.width));
        let mut table = bare(self.look);
        for row in &rows {
            let cells = row.iter().zip(&columns).zip(widths.iter());
            table.add_row(cells.map(|((cell, column), width)| {
                let cut = self.look.width.is_some() && column.is_text;
                cell.shown(if cut { *width } else { usize::MAX }, self.look)
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
        table.add_row(vec![name.shown(usize::MAX, look), cell.shown(usize::MAX, look)]);
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

/// Widths of columns with this content. The widest texts give way until all fit; if that is not enough, the last columns
/// are left out.
fn fit(columns: &[Column], content: &[usize], width: Option<u16>) -> Vec<usize> {
    let Some(width) = width.map(usize::from) else { return content.to_vec() };
    let least = |(column, width): (&Column, &usize)| {
        if column.is_text { (*width).min(NARROWEST) } else { *width }
    };
    let least: Vec<usize> = columns.iter().zip(content).map(least).collect();
    let gaps = |count: usize| usize::from(GAP) * count.saturating_sub(1);
    let fits = |count: &usize| least[..*count].iter().sum::<usize>() + gaps(*count) <= width;
    let count = (1..=least.len()).rev().find(fits).unwrap_or(1).min(least.len());
    let mut widths = content[..count].to_vec();
    while widths.iter().sum::<usize>() + gaps(count) > width {
        // Of equal ones the last: what says most comes first.
        let may_give = widths.iter_mut().zip(&least).filter(|(width, least)| **width > **least);
        let Some((widest, _)) = may_give.max_by_key(|(width, _)| **width) else { break };
        *widest -= 1;
    }
    widths
}

/// A text of at most this width on a terminal; a longer one ends with `…`. What is shown as one character stays whole.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut before) = (0, None);
    // Characters without a width are few, unless somebody wants to keep us busy.
    for (place, c) in text.char_indices().take(width.saturating_mul(8)) {
        // One column is for the mark.
        if text[..place].width() >= width {
            break;
        }
        if c.width().unwrap_or(0) > 0 && before != Some(JOINER) {
            kept = place;
        }
        before = Some(c);
    }
    text[..kept].to_owned() + "…"
}

/// Makes one character of those beside it.
const JOINER: char = '\u{200d}';

/// Whether a text has letters that are written from right to left. A terminal that orders them would take the digits of
/// the next column along.
fn is_right_to_left(text: &str) -> bool {
    let is = |c: char| matches!(c as u32, 0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfeff | 0x10800..=0x10fff | 0x1e800..=0x1efff);
    text.chars().any(is)
}

/// Has no width, and ends what is written from right to left.
const LEFT_TO_RIGHT: char = '\u{200e}';

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
    fn texts_give_way_and_then_the_last_columns() {
        let columns = [column("A"), text("B"), text("C"), column("D")];
        let fit = |width| fit(&columns, &[10, 40, 30, 5], width);
        assert_eq!(fit(None), [10, 40, 30, 5]);
        assert_eq!(fit(Some(91)), [10, 40, 30, 5]);
        assert_eq!(fit(Some(71)), [10, 25, 25, 5]);
        assert_eq!(fit(Some(33)), [10, 6, 6, 5], "a time is never cut");
        assert_eq!(fit(Some(32)), [10, 9, 9]);
        assert_eq!(fit(Some(20)), [10, 8]);
        assert_eq!(fit(Some(12)), [10]);
        assert_eq!(fit(Some(4)), [10], "something is shown");
    }

    #[test]
    fn texts_are_cut_by_their_width() {
        for (text, width, shown) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("東京都庁", 6, "東京…"),
            ("東京", 3, "東…"),
            ("👩\u{200d}🚀👩\u{200d}🚀 go", 5, "👩\u{200d}🚀👩\u{200d}🚀…"),
            ("👩\u{200d}🚀👩\u{200d}🚀 go", 4, "👩\u{200d}🚀…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("a", 0, "…"),
        ] {
            assert_eq!(cut(text, width), shown);
        }
        let busy = "\u{301}".repeat(1_000_000);
        assert!(cut(&format!("{busy}ab"), 1).len() < 100);
    }

    #[test]
    fn what_is_written_from_right_to_left_ends_with_its_cell() {
        let look = Look { is_styled: false, is_wide: false, width: Some(40), is_terminal: true };
        let lines = |look| {
            const COLUMNS: &[Column] = &[text("NAME"), text("TIMING")];
            let row = vec![Cell::new("שלום עולם"), Cell::new("0 3 * * *")];
            Parts::new(look, COLUMNS).lines([row])
        };
        assert_eq!(lines(look), "NAME       TIMING\nשלום עולם\u{200e}  0 3 * * *\n");
        let piped = lines(Look { is_terminal: false, ..look });
        assert_eq!(piped, "NAME       TIMING\nשלום עולם  0 3 * * *\n");
    }
}
