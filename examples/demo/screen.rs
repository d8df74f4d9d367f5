//! The standard output, fitted to the terminal.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, ensure};

use support::input::LogLine;

use crate::records::short;

/// Columns of the widest line of the story, and of a table that would fall apart where there is more room.
pub(crate) const WIDTH: usize = 120;

/// Columns of the narrowest and the widest terminal that the one screen is fitted to.
pub(crate) const LEAST_WIDTH: usize = 60;
pub(crate) const GREATEST_WIDTH: usize = 200;

/// Columns where nothing says how wide the terminal is.
pub(crate) const USUAL_WIDTH: usize = 80;

/// Columns of a paragraph, which is read more easily when it is narrower.
pub(crate) const TEXT_WIDTH: usize = 104;

/// Columns of what stands behind a bar.
pub(crate) const QUOTE_WIDTH: usize = WIDTH - 4;

/// Columns of the time of an event to the minute, `Nov 26 20:34`, and of its status.
const EVENT_TIME: usize = 12;
const EVENT_STATUS: usize = 7;

/// Columns of its place, and the width from which on the country is part of it.
const CITY: usize = 6;
const CITY_AND_COUNTRY: usize = 18;
const COUNTRY_FROM: usize = 100;

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One screen.
    Brief,
    /// Every step.
    Full,
}

/// Columns of the terminal.
pub(crate) fn terminal_width(out: &io::Stdout) -> usize {
    let columns = std::env::var("COLUMNS").ok();
    let columns = columns.and_then(|columns| columns.parse().ok());
    let size = rustix::termios::tcgetwinsize(out).ok();
    let of_terminal = size
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0);
    columns
        .or(of_terminal)
        .unwrap_or(USUAL_WIDTH)
        .clamp(LEAST_WIDTH, GREATEST_WIDTH)
}

#[derive(Clone, Copy)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// A cell of a table.
pub(crate) type Cell = (String, Style);

/// What stands together on the screen; a blank line separates it from what is of another kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Heading,
    Paragraph,
    Quote,
    Table,
    Terms,
    Ticks,
}

/// The standard output, with colours where a person looks at it.
pub(crate) struct Screen {
    pub(crate) out: io::Stdout,
    pub(crate) colour: bool,
    pub(crate) headings: usize,
    pub(crate) block: Block,
    pub(crate) detail: Detail,
    /// For the one screen.
    pub(crate) width: usize,
    /// Claims that have been found true.
    pub(crate) checks: usize,
}

impl Screen {
    pub(crate) fn new(detail: Detail) -> Self {
        let out = io::stdout();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: out.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            width: terminal_width(&out),
            out,
            headings: 0,
            block: Block::Heading,
            detail,
            checks: 0,
        }
    }

    /// A heading of the one screen.
    pub(crate) fn brief_title(&mut self, text: &str) -> Result<()> {
        self.print("")?;
        for line in wrapped(text, self.width) {
            self.print(&self.paint(Style::Bold, &line))?;
        }
        Ok(())
    }

    /// A paragraph of the one screen.
    pub(crate) fn brief(&mut self, text: &str, style: Style) -> Result<()> {
        for line in wrapped(text, self.width - 2) {
            self.print(&format!("  {}", self.paint(style, &line)))?;
        }
        Ok(())
    }

    /// A row of the one screen: a time, and three cells that share what is left.
    pub(crate) fn brief_row(&mut self, [time, event, actor, affected]: [&str; 4]) -> Result<()> {
        let rest = self.width - columns(time) - 8;
        let cells = [
            (time, Style::Plain, columns(time)),
            (event, Style::Bold, rest * 2 / 5),
            (actor, Style::Green, rest * 3 / 10),
            (affected, Style::Green, rest * 3 / 10),
        ];
        self.fitted_row(&cells)
    }

    /// A row of what inputs bring: time, who, what, where, status.
    pub(crate) fn event_row(&mut self, cells: [(&str, Style); 5]) -> Result<()> {
        let place = match self.is_narrow() {
            true => CITY,
            false => CITY_AND_COUNTRY,
        };
        let rest = self.width.min(WIDTH) - EVENT_TIME - place - EVENT_STATUS - 10;
        let who = rest * 2 / 5;
        let widths = [EVENT_TIME, who, rest - who, place, EVENT_STATUS];
        let cells: Vec<_> = cells
            .into_iter()
            .zip(widths)
            .map(|((text, style), width)| (text, style, width))
            .collect();
        self.fitted_row(&cells)
    }

    /// Whether there is no room for a country beside its city.
    pub(crate) fn is_narrow(&self) -> bool {
        self.width < COUNTRY_FROM
    }

    /// Cells of a fixed width.
    fn fitted_row(&mut self, cells: &[(&str, Style, usize)]) -> Result<()> {
        let mut line = String::new();
        for (text, style, width) in cells {
            line += "  ";
            line += &self.paint(*style, &fitted(text, *width));
        }
        self.print(&line)
    }

    pub(crate) fn title(&mut self, text: &str) -> Result<()> {
        let rule = "═".repeat(columns(text));
        self.line("")?;
        self.line(&self.paint(Style::Bold, text))?;
        self.line(&self.paint(Style::Cyan, &rule))
    }

    pub(crate) fn heading(&mut self, text: &str) -> Result<()> {
        self.headings += 1;
        let text = format!("{}  {text} ", self.headings);
        let rule = "─".repeat(TEXT_WIDTH.saturating_sub(columns(&text)));
        let heading = self.paint(Style::Bold, &text) + &self.paint(Style::Cyan, &rule);
        self.line("")?;
        self.begin(Block::Heading)?;
        self.line(&heading)
    }

    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.begin(Block::Paragraph)?;
        for line in wrapped(text, TEXT_WIDTH) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// A line that is not the demo's own.
    pub(crate) fn quote(&mut self, text: &str) -> Result<()> {
        self.begin(Block::Quote)?;
        let bar = self.paint(Style::Cyan, "│");
        self.line(&format!("  {bar} {text}"))
    }

    /// Such a line as far as it fits.
    pub(crate) fn quote_start(&mut self, text: &str) -> Result<()> {
        let start: String = text.chars().take(QUOTE_WIDTH - 2).collect();
        self.quote(&format!("{start} …"))
    }

    /// Log lines without the fields that are `left_out`.
    pub(crate) fn log(&mut self, lines: &[LogLine], left_out: &[&str]) -> Result<()> {
        for line in lines {
            self.log_line(line, left_out)?;
        }
        Ok(())
    }

    pub(crate) fn log_line(&mut self, line: &LogLine, left_out: &[&str]) -> Result<()> {
        let style = match line.level.as_str() {
            "INFO" => Style::Green,
            "WARN" => Style::Yellow,
            _ => Style::Red,
        };
        let fields = line.raw.strip_prefix(&line.level).unwrap_or_default();
        let fields = fields.strip_suffix(&line.sentence).unwrap_or_default();
        let fields: Vec<_> = fields
            .split_whitespace()
            .filter(|field| !left_out.iter().any(|key| field.starts_with(key)))
            .map(short_field)
            .collect();
        let text = format!("{} {}", fields.join(" "), line.sentence);

        let mut margin = self.paint(style, &format!("{:<6}", line.level));
        let mut fields = fields.len();
        for text in wrapped(&text, QUOTE_WIDTH - 6) {
            let words: Vec<_> = text.split(' ').collect();
            let (dim, plain) = words.split_at(fields.min(words.len()));
            fields -= dim.len();
            let dim = self.paint(Style::Dim, &dim.join(" "));
            let text = [dim, plain.join(" ")].join(" ");
            self.quote(&format!("{margin}{}", text.trim_start()))?;
            margin = " ".repeat(6);
        }
        Ok(())
    }

    pub(crate) fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: &[[Cell; N]],
    ) -> Result<()> {
        let mut widths = header.map(columns);
        for row in rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = columns(text).max(*width);
            }
        }
        let header = header.map(|text| (text.to_owned(), Style::Dim));
        let rule = widths.map(|width| ("─".repeat(width), Style::Cyan));
        self.begin(Block::Table)?;
        for row in [&header, &rule].into_iter().chain(rows) {
            let mut line = String::new();
            for ((text, style), width) in row.iter().zip(widths) {
                line += "  ";
                line += &self.paint(*style, &format!("{text:width$}"));
            }
            self.line(&line)?;
        }
        Ok(())
    }

    /// Terms and what they mean.
    pub(crate) fn terms(&mut self, terms: &[(&str, &str)]) -> Result<()> {
        let width = terms
            .iter()
            .map(|(term, _)| columns(term))
            .max()
            .unwrap_or_default();
        self.begin(Block::Terms)?;
        for (term, meaning) in terms {
            let term = self.paint(Style::Bold, &format!("{term:width$}"));
            self.line(&format!("  {term}  {meaning}"))?;
        }
        Ok(())
    }

    /// Says what has been found true, or ends the demo.
    pub(crate) fn check(&mut self, holds: bool, claim: &str) -> Result<()> {
        ensure!(holds, "this should be so, and is not: {claim}");
        self.checks += 1;
        self.begin(Block::Ticks)?;
        let tick = self.paint(Style::Green, "✓");
        self.line(&format!("  {tick} {claim}"))
    }

    pub(crate) fn begin(&mut self, block: Block) -> Result<()> {
        if block != self.block || block == Block::Paragraph {
            self.line("")?;
        }
        self.block = block;
        Ok(())
    }

    /// A line of the story.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        match self.detail {
            Detail::Brief => Ok(()),
            Detail::Full => self.print(text),
        }
    }

    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{}", text.trim_end()).context("the standard output cannot be written")
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Cyan => 36,
        };
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `key=value` with a short value.
pub(crate) fn short_field(field: &str) -> String {
    match field.split_once('=') {
        Some((key, value)) => format!("{key}={}", short(value)),
        None => field.to_owned(),
    }
}

/// `text` in lines of at most `width` columns. An address, which can be longer than that, also breaks after an `&`.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for piece in text.split_inclusive([' ', '&']) {
        if !line.is_empty() && columns(&line) + columns(piece.trim_end()) > width {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line += piece;
    }
    lines.push(line);
    lines
}

/// `text` in exactly `width` columns; what is too long ends with an ellipsis.
fn fitted(text: &str, width: usize) -> String {
    match columns(text) > width {
        true => text.chars().take(width - 1).chain(['…']).collect(),
        false => format!("{text:width$}"),
    }
}

pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}
