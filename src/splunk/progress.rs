//! How far a run is, for a person at a terminal: one line on the standard error, redrawn in place of log lines.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use chrono::DateTime;

/// Columns where the terminal does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// Goes to the first column and clears the line.
pub(super) const CLEAR: &str = "\r\x1b[K";

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Events so far.
    pub events: usize,
    /// Pages so far.
    pub pages: usize,
    /// Time of the newest event, in seconds since the epoch.
    pub newest: Option<i64>,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Whether the run is complete.
    pub complete: bool,
}

/// The line, and what it is about.
pub(super) struct ProgressLine {
    inputs: BTreeMap<String, Reached>,
    /// Whether it may be redrawn: not where events appear on the same screen.
    redraws: bool,
    /// Whether it is on the screen now.
    pub(super) is_shown: bool,
}

impl ProgressLine {
    /// The line for the standard error, if that is a terminal that can redraw one.
    pub(super) fn for_stderr() -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        (std::io::stderr().is_terminal() && !dumb).then(|| Self {
            inputs: BTreeMap::new(),
            redraws: !std::io::stdout().is_terminal(),
            is_shown: false,
        })
    }

    /// Takes in how far `input` is; the text to draw, if there is any now.
    pub(super) fn take_in(&mut self, input: &str, reached: Reached) -> Option<String> {
        self.inputs.insert(input.to_owned(), reached);
        if !self.redraws && !reached.complete {
            return None;
        }
        self.is_shown = true;
        Some(self.text(width()))
    }

    /// The line, cut to `width` columns, because one that wraps cannot be redrawn.
    fn text(&self, width: usize) -> String {
        let all = || self.inputs.values();
        let name = match self.inputs.first_key_value() {
            Some((name, _)) if self.inputs.len() == 1 => name.clone(),
            _ => format!("{} inputs", self.inputs.len()),
        };
        // Side by side, all have come as far as the one that is behind.
        let newest = all().filter_map(|reached| reached.newest).min();
        let newest = newest.and_then(|newest| DateTime::from_timestamp(newest, 0));
        let newest = newest.map(|newest| newest.format("  %Y-%m-%d %H:%M:%S").to_string());
        let events: usize = all().map(|reached| reached.events).sum();
        let pages: usize = all().map(|reached| reached.pages).sum();
        let rate: u64 = all().map(rate).sum();
        let end = match all().all(|reached| reached.complete) {
            true => "  complete",
            false => "",
        };
        let line = format!(
            "{name}{}  {} events  {} per second  {} pages{end}",
            newest.unwrap_or_default(),
            thousands(events as u64),
            thousands(rate),
            thousands(pages as u64),
        );
        line.chars().take(width.saturating_sub(1)).collect()
    }
}

fn rate(reached: &Reached) -> u64 {
    let milliseconds = reached.elapsed.as_millis().max(1);
    let rate = reached.events as u128 * 1000 / milliseconds;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A number with a comma between thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(unix)]
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    match columns {
        0 => USUAL_WIDTH,
        columns => columns,
    }
}

#[cfg(not(unix))]
fn width() -> usize {
    USUAL_WIDTH
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{ProgressLine, Reached};

    fn line(inputs: &[(&str, Reached)]) -> ProgressLine {
        let inputs = inputs
            .iter()
            .map(|(name, reached)| ((*name).to_owned(), *reached));
        ProgressLine {
            inputs: BTreeMap::from_iter(inputs),
            redraws: true,
            is_shown: false,
        }
    }

    #[test]
    fn the_line_names_the_date_the_events_their_rate_and_the_pages() {
        let one = Reached {
            events: 20_000,
            pages: 10,
            newest: Some(1_767_225_600),
            elapsed: Duration::from_secs(8),
            complete: false,
        };
        let text = line(&[("ds_monitor://prod", one)]).text(100);
        assert_eq!(
            text,
            "ds_monitor://prod  2026-01-01 00:00:00  20,000 events  2,500 per second  10 pages"
        );
        let other = Reached {
            events: 1000,
            newest: Some(1_767_225_601),
            complete: true,
            ..one
        };
        let two = line(&[("a", one), ("b", other)]);
        assert_eq!(
            two.text(100),
            "2 inputs  2026-01-01 00:00:00  21,000 events  2,625 per second  20 pages"
        );
        assert_eq!(two.text(20), "2 inputs  2026-01-0");
        let nothing = Reached {
            complete: true,
            ..Reached::default()
        };
        assert_eq!(
            line(&[("a", nothing)]).text(80),
            "a  0 events  0 per second  0 pages  complete"
        );
    }
}
