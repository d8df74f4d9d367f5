//! The only writer of the standard error, which splunkd copies into its own log, one record per line.
//!
//! A line is `LEVEL key=value … Sentence.`; splunkd takes the level from the first word and logs anything else as an
//! ERROR. INFO is for what went as planned, WARN for what is odd but cost nothing, ERROR for what an administrator
//! must act on, FATAL for a defect of this program.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::retry::Retry;

/// The levels of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What went as planned.
    Info,
    /// Odd, but nothing was lost and the run went on.
    Warn,
    /// An administrator must act.
    Error,
    /// A defect of this program.
    Fatal,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Writes log lines; clones write to the same place.
#[derive(Clone)]
pub struct Log {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    always: Fields,
}

impl Log {
    /// A log that writes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            always: Fields::new(),
        }
    }

    /// The same log, with the input's full name in every line.
    #[must_use]
    pub fn for_input(&self, input: &str) -> Self {
        Self {
            out: Arc::clone(&self.out),
            always: Fields::new().with("input", input),
        }
    }

    /// Writes one line. A log that cannot be written is no reason to stop collecting, so failures are ignored.
    pub fn write(&self, level: Level, fields: &Fields, sentence: &str) {
        let line = line(level, &self.always.clone().and(fields), sentence);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// [`Log::write`] at INFO.
    pub fn info(&self, fields: &Fields, sentence: &str) {
        self.write(Level::Info, fields, sentence);
    }

    /// [`Log::write`] at WARN.
    pub fn warn(&self, fields: &Fields, sentence: &str) {
        self.write(Level::Warn, fields, sentence);
    }

    /// Warns of a request that failed and will be repeated.
    pub fn warn_of_retry(&self, fields: Fields, retry: Retry, problem: &str) {
        let fields = fields
            .with("attempt", retry.attempt)
            .with("retry_in_ms", retry.wait.as_millis());
        let problem = sentence(problem);
        self.warn(&fields, &format!("{problem} The request will be repeated."));
    }
}

/// The `key=value` part of a line, in order. Units belong in the key: `request_ms`.
#[derive(Clone, Debug, Default)]
pub struct Fields(String);

impl Fields {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field. A value with white space, quotes or nothing in it is quoted, as Splunk's own search reads it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        let plain = !value.is_empty()
            && !value
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\'));
        if plain {
            self.0.push_str(&value);
        } else {
            let escaped = one_line(&value).replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(self.0, "\"{escaped}\"");
        }
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds all fields of `other`.
    #[must_use]
    pub fn and(mut self, other: &Fields) -> Self {
        self.0.push_str(&other.0);
        self
    }
}

/// A failure as an administrator reads it: the fields and the sentence of one log line.
#[derive(Debug)]
pub struct Failure {
    /// ERROR, or WARN for what nobody has to act on.
    pub level: Level,
    /// What a search can find it by.
    pub fields: Fields,
    /// What failed and what to do now.
    pub sentence: String,
}

impl Failure {
    /// An ERROR about `action`.
    #[must_use]
    pub fn of(action: &str, error: &anyhow::Error) -> Self {
        Self {
            level: Level::Error,
            fields: Fields::new().with("action", action),
            sentence: format!("{error:#}"),
        }
    }

    /// An ERROR that the next run may not meet again.
    #[must_use]
    pub fn temporary(fields: Fields, problem: &str) -> Self {
        Self {
            level: Level::Error,
            fields,
            sentence: format!(
                "{} Nothing is lost: the next run tries again.",
                sentence(problem)
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// Puts a text on one line, with a capital letter and a full stop.
#[must_use]
pub fn sentence(text: &str) -> String {
    let text = one_line(text);
    let mut characters = text.chars();
    let mut sentence: String = match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => return text,
    };
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

fn line(level: Level, fields: &Fields, text: &str) -> String {
    format!("{}{} {}\n", level.name(), fields.0, sentence(text))
}

/// Control characters, line breaks among them, would split or corrupt a record of splunkd's log.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Fields, Level, line};

    #[test]
    fn a_line_has_a_level_fields_and_a_sentence() {
        let fields = Fields::new()
            .with("input", "ds_monitor://prod")
            .with("n_events", 2000)
            .with_some("lag_s", None::<i64>);
        assert_eq!(
            line(Level::Info, &fields, "all is well"),
            "INFO input=ds_monitor://prod n_events=2000 All is well.\n"
        );
    }

    #[test]
    fn nothing_breaks_the_line_or_a_field() {
        let fields = Fields::new()
            .with("a", "two words")
            .with("b", "")
            .with("c", "q\"\\\nx");
        assert_eq!(
            line(Level::Warn, &fields, "first\r\nsecond!"),
            "WARN a=\"two words\" b=\"\" c=\"q\\\"\\\\ x\" First  second!\n"
        );
    }
}
