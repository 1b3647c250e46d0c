//! Where answers go: one writer for standard output, in the format that was asked for.

pub mod table;

use std::env;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};

use chrono::{DateTime, Utc};
use nats_scheduler::client::ScheduleView;
use serde::Serialize;
use uuid::Uuid;

use super::failure::Failure;
use super::node::Node;
use super::options::{Color, Format, Options};
use super::progress;
use super::session::as_id;
use super::text::{note, safe};
use table::{Cell, Column, Look, Parts};

/// Something that lists show.
pub trait Listed: Serialize {
    /// The columns of a table.
    const COLUMNS: &'static [Column];
    /// A cell for each column.
    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell>;
    /// The name or id by which other commands take it, if names are those of this creator's schedules.
    fn name(&self, whose: &str) -> String;
}

/// What commands take for a schedule: its name, or its id where the name means another one, or is not one word as it is.
pub fn schedule_name(name: &str, id: Uuid, creator: &str, whose: &str) -> String {
    let is_plain = safe(name) == name && !name.starts_with('-') && as_id(name).is_none();
    if is_plain && creator == whose { name.to_owned() } else { id.to_string() }
}

/// Standard output. Nothing else writes to it.
pub struct Output {
    out: BufWriter<Stdout>,
    pub format: Format,
    look: Look,
    /// Whose schedules are meant by names.
    whose: String,
    /// One now for all that is shown, so that times can be compared.
    pub now: DateTime<Utc>,
}

impl Output {
    /// Output of a command that has nothing to do when nobody reads it any more: writing fails then.
    pub fn new(options: &Options) -> Self {
        Self::open(options, false)
    }

    /// Output of a command that changes or judges something: it goes on when its output cannot be written, as in
    /// `pause … | head -1`, and its exit code says what happened.
    pub fn best_effort(options: &Options) -> Self {
        Self::open(options, true)
    }

    fn open(options: &Options, is_best_effort: bool) -> Self {
        let stdout = io::stdout();
        let is_styled = is_coloured(options);
        let is_wide = options.output == Format::Wide;
        // `-o wide` cuts nothing.
        let (is_terminal, width) = (stdout.is_terminal(), width().filter(|_| !is_wide));
        let look = Look { is_styled, is_wide, width, is_terminal };
        let out = BufWriter::new(Stdout { stdout: stdout.lock(), is_best_effort, failure: None });
        Self { out, format: options.output, look, whose: options.whose(), now: Utc::now() }
    }

    /// Writes a line for people, made safe.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.raw(&(safe(text) + "\n"))
    }

    /// Writes text as it is: it must be safe already.
    pub fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        // At a terminal lines appear as they are written, so that a line of progress is not drawn into one.
        match self.look.is_terminal && text.ends_with('\n') {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes a schedule like [`Output::thing`].
    pub fn schedule(&mut self, view: &ScheduleView, pairs: &[(&str, Cell)]) -> Result<(), Failure> {
        let name = schedule_name(&view.name, view.id, &view.created_by, &self.whose);
        self.thing(view, &name, pairs)
    }

    /// Text in a colour, where there are colours.
    pub fn toned(&self, text: &str, tone: table::Tone) -> String {
        let code = match tone {
            _ if !self.look.is_styled => return safe(text),
            table::Tone::Plain => return safe(text),
            table::Tone::Title => 1,
            table::Tone::Good => 32,
            table::Tone::Warning => 33,
            table::Tone::Bad => 31,
            table::Tone::Faint => 2,
        };
        format!("\u{1b}[{code}m{}\u{1b}[0m", safe(text))
    }

    /// Hands over what has been written so far.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Ends the output.
    ///
    /// # Errors
    /// It could not be written. That nobody reads it any more is no failure where the command went on.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        let failure = self.out.get_mut().failure.take();
        let failure = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Writes one thing: as names and values in a table, and as a whole in JSON and YAML.
    pub fn thing(
        &mut self,
        thing: &impl Serialize,
        name: &str,
        pairs: &[(&str, Cell)],
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => self.raw(&table::pairs(self.look, pairs)),
            Format::Name => self.line(name),
            Format::Json => self.raw(&(Node::of(thing)?.pretty() + "\n")),
            Format::Yaml => self.raw(&Node::of(thing)?.yaml()),
        }
    }

    /// Writes a list that is at hand.
    pub fn list<T: Listed>(&mut self, items: &[T], empty: &str) -> Result<(), Failure> {
        let mut list = self.parts::<T>();
        list.part(self, items)?;
        list.end(self, empty)
    }

    /// A list that comes in parts.
    pub fn parts<T: Listed>(&self) -> List {
        List { table: Parts::new(self.look, T::COLUMNS), count: 0 }
    }
}

/// Standard output; each write first erases the line of progress.
struct Stdout {
    stdout: StdoutLock<'static>,
    /// Whether a failure to write is kept for the end, and what follows is dropped.
    is_best_effort: bool,
    /// That failure.
    failure: Option<io::Error>,
}

impl Stdout {
    fn try_to<T>(
        &mut self,
        write: impl FnOnce(&mut StdoutLock<'static>) -> io::Result<T>,
        otherwise: T,
    ) -> io::Result<T> {
        if self.failure.is_some() {
            return Ok(otherwise);
        }
        match write(&mut self.stdout) {
            Err(error) if self.is_best_effort => {
                self.failure = Some(error);
                Ok(otherwise)
            }
            written => written,
        }
    }
}

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::erase();
        self.try_to(|stdout| stdout.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.try_to(|stdout| stdout.flush(), ())
    }
}

/// A list under way.
pub struct List {
    table: Parts,
    count: usize,
}

impl List {
    /// Writes the next part.
    pub fn part<T: Listed>(&mut self, out: &mut Output, items: &[T]) -> Result<(), Failure> {
        let begins = self.count == 0;
        self.count += items.len();
        if items.is_empty() {
            return Ok(());
        }
        match out.format {
            Format::Table | Format::Wide => {
                let rows: Vec<_> = items.iter().map(|item| item.cells(out.now)).collect();
                out.raw(&self.table.lines(rows))?;
            }
            Format::Name => {
                for item in items {
                    out.line(&item.name(&out.whose))?;
                }
            }
            Format::Json => {
                for (n, item) in items.iter().enumerate() {
                    out.raw(if begins && n == 0 { "[\n" } else { ",\n" })?;
                    out.raw(&Node::of(item)?.pretty())?;
                }
            }
            Format::Yaml => {
                for item in items {
                    out.raw(&Node::List(vec![Node::of(item)?]).yaml())?;
                }
            }
        }
        Ok(())
    }

    /// Ends the list. A table without rows is the word `empty`, on standard error.
    pub fn end(self, out: &mut Output, empty: &str) -> Result<(), Failure> {
        match (out.format, self.count) {
            (Format::Table | Format::Wide, 0) => note(empty),
            (Format::Table, _) => {
                let left_out = self.table.left_out();
                if !left_out.is_empty() {
                    out.flush()?;
                    note(&format!("no room for {}: -o wide shows all", left_out.join(", ")));
                }
            }
            (Format::Json | Format::Yaml, 0) => out.raw("[]\n")?,
            (Format::Json, _) => out.raw("\n]\n")?,
            _ => {}
        }
        Ok(())
    }
}

/// Whether answers have colours.
pub fn is_coloured(options: &Options) -> bool {
    let is_colourless = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match options.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && !is_colourless,
    }
}

/// How many characters fit into a line; none in a pipe or file.
fn width() -> Option<u16> {
    let set = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    set.or_else(|| terminal().map(|(width, _)| width.0)).filter(|width| *width > 0)
}
