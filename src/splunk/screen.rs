//! What a command shows: labelled lines for a person, or one JSON object for a program.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use super::log::{one_line, sentence};
use super::status::Status;
use super::stdout::standard_output;
use crate::base::secret::redact;

/// The reader of the standard output has left, as `head` does when it has seen enough. No failure, but the end.
#[derive(Debug)]
pub(super) struct ReaderLeft;

impl fmt::Display for ReaderLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the standard output any more")
    }
}

impl std::error::Error for ReaderLeft {}

/// Writes an answer that is no event.
pub(super) fn write_answer(out: &mut File, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderLeft.into()),
        written => written.context("could not write to the standard output"),
    }
}

/// Where a command shows what it found.
pub struct Screen {
    out: File,
    json: bool,
    colour: bool,
    /// The steps so far.
    steps: Vec<Step>,
    status: Status,
}

/// The result of a step of a check.
#[derive(Debug)]
pub enum Finding {
    /// It is as it should be.
    Ok(String),
    /// The input does not work without it; and what kind of problem that is.
    Problem(Status, String),
    /// The input works, something beside it does not.
    Note(String),
}

/// A step of a check, as JSON shows it.
#[derive(Serialize)]
struct Step {
    step: String,
    result: &'static str,
    text: String,
}

impl Screen {
    /// The standard output, for lines or for one object of JSON.
    ///
    /// # Errors
    /// There is none.
    pub fn new(json: bool) -> Result<Self> {
        let out = standard_output().context("could not open the standard output")?;
        Ok(Self {
            colour: out.is_terminal() && wants_colour(),
            out,
            json,
            steps: Vec::new(),
            status: Status::Done,
        })
    }

    /// Whether a program reads it.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a line, for a person only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn line(&mut self, label: &str, text: impl fmt::Display) -> Result<()> {
        if self.json {
            return Ok(());
        }
        self.write_line(label, "", &text.to_string())
    }

    /// Shows an object, for a program only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn object(&mut self, object: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(object).context("could not print JSON")?;
        write_answer(&mut self.out, &format!("{}\n", redact(&text)))
    }

    /// Shows the result of a step of a check; one without a name belongs to the step before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn step(&mut self, name: &str, finding: &Finding) -> Result<()> {
        let (result, word, colour, text) = match finding {
            Finding::Ok(text) => ("ok", "OK", 32, text.clone()),
            Finding::Problem(_, text) => ("to_do", "TO DO", 31, sentence(text)),
            Finding::Note(text) => ("note", "NOTE", 33, sentence(text)),
        };
        if let Finding::Problem(status, _) = finding {
            self.status = self.status.max(*status);
        }
        let step = match (name, self.steps.last()) {
            ("", Some(last)) => last.step.clone(),
            (name, _) => name.to_lowercase().replace(' ', "_"),
        };
        self.steps.push(Step {
            step,
            result,
            text: one_line(&text),
        });
        if self.json {
            return Ok(());
        }
        let word = match self.colour {
            true => format!("\x1b[{colour}m{word:<6}\x1b[0m "),
            false => format!("{word:<6} "),
        };
        self.write_line(name, &word, &text)
    }

    /// Writes a line whose first word may have a colour.
    fn write_line(&mut self, label: &str, word: &str, text: &str) -> Result<()> {
        let line = format!("{label:<15}{word}{}\n", one_line(&redact(text)));
        write_answer(&mut self.out, &line)
    }

    /// Shows a check of `input`: its name, the `steps`, and the line that counts. Returns how the program ends.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn check(
        mut self,
        input: &str,
        steps: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Status> {
        #[derive(Serialize)]
        struct Report<'a> {
            input: &'a str,
            ready: bool,
            to_do: usize,
            steps: &'a [Step],
        }
        self.line("Input", input)?;
        steps(&mut self)?;
        let steps = std::mem::take(&mut self.steps);
        let to_do = steps.iter().filter(|step| step.result == "to_do").count();
        self.object(&Report {
            input,
            ready: to_do == 0,
            to_do,
            steps: &steps,
        })?;
        let closing = match to_do {
            0 => "Ready.".to_owned(),
            1 => "1 thing to do.".to_owned(),
            to_do => format!("{to_do} things to do."),
        };
        if !self.json {
            write_answer(&mut self.out, &format!("\n{closing}\n"))?;
        }
        Ok(self.status)
    }
}

/// Whether colours are welcome, by <https://no-color.org> and by the kind of terminal.
fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    !refused && !dumb
}
