//! A small reader of Splunk's search language, for this app's searches.
//!
//! It promises three things. A search that it accepts is written by the grammar of its commands: `parse`. Every field
//! that a command reads can exist there: `flow`. And what the searches find in given events is what Splunk's manual
//! says of each command: `run`. Whatever it does not know is an error that names it; nothing is skipped.
//!
//! What it cannot know: whether an event really has a field that its kind can have, how long a search takes, Splunk's
//! limits on rows and memory, the time zone of a search head (UTC here), and the regular expressions, which it passes
//! on unread until it has to compute one. `chart`, `timechart`, `rest`, `rex` and data models are read but not run.

mod commands;
mod cursor;
mod eval;
mod filter;
mod flow;
mod parse;
mod regex;
mod run;
mod time;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

pub use cursor::Result;
pub use eval::{Expression, Value, parse as parse_eval};
pub use filter::matches;
pub use flow::{Flow, Knowledge};
pub use run::lookup_row;
pub use time::{relative as relative_time, span};

/// An event or a row: the values of each field. A field without a value is not there; an empty text is a value.
pub type Row = BTreeMap<String, Vec<String>>;

/// The macros by their names in macros.conf, such as `name(2)`.
pub type Macros = BTreeMap<String, Macro>;

#[derive(Clone, Debug)]
pub struct Macro {
    pub arguments: Vec<String>,
    pub definition: String,
}

/// A parsed pipeline.
#[derive(Clone, Debug)]
pub struct Search {
    commands: Vec<commands::Command>,
    /// The macros that it names, and those that these name.
    macros: BTreeSet<String>,
}

/// What a search runs on.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The time of the search, in seconds since 1970.
    pub now: i64,
    /// With `_time` in seconds since 1970, in any order.
    pub events: Vec<Row>,
    pub lookups: BTreeMap<String, Vec<Row>>,
    /// The lookups of which an event takes every row that fits, and not the first one.
    pub multiple: BTreeSet<String>,
    /// The lookups in the KV store, which compare with case.
    pub exact: BTreeSet<String>,
    /// `-60m@m`, `now`: only events between these two are found. Empty: no bound.
    pub earliest: String,
    pub latest: String,
    /// The same for the time at which an event was indexed.
    pub index_earliest: String,
    pub index_latest: String,
    /// What outputlookup has written: the lookup and the row, of which a lookup in the KV store keeps its columns.
    pub written: RefCell<Vec<(String, Row)>>,
}

impl Search {
    /// Parses a search, with its macros put in their places.
    pub fn parse(text: &str, macros: &Macros) -> Result<Self> {
        let mut used = BTreeSet::new();
        let text = expand(text, macros, &mut used, 0)?;
        Ok(Self {
            commands: parse::pipeline(text.trim(), true)?,
            macros: used,
        })
    }

    pub fn macros(&self) -> &BTreeSet<String> {
        &self.macros
    }

    /// The fields that leave the pipeline, in order; none if they are those of raw events, whatever these have.
    /// `*` stands for columns that are named by values, as in `timechart count BY user`.
    pub fn output(&self) -> Option<Vec<String>> {
        self.flow(None).ok()?.output()
    }

    /// Every field that is read before the search itself has made it.
    pub fn reads(&self) -> Result<BTreeSet<String>> {
        Ok(self.flow(None)?.reads)
    }

    /// Follows the fields through the commands. Without knowledge every field may exist in raw events and lookups.
    pub fn flow(&self, knowledge: Option<&Knowledge>) -> Result<Flow> {
        flow::follow(&self.commands, knowledge)
    }

    /// Runs it.
    pub fn run(&self, world: &World) -> Result<Vec<Row>> {
        run::run(&self.commands, world)
    }
}

/// Puts the macros' definitions in the place of their names between backticks.
fn expand(
    text: &str,
    macros: &Macros,
    used: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String> {
    if depth > 10 {
        return Err("a macro contains itself".to_owned());
    }
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return Err("a backtick is not closed".to_owned());
    }
    let mut expanded = String::new();
    for (at, part) in parts.into_iter().enumerate() {
        if at.is_multiple_of(2) {
            expanded.push_str(part);
            continue;
        }
        let (name, arguments) = match part.split_once('(') {
            None => (part, vec![]),
            Some((name, rest)) => {
                let inner = rest
                    .strip_suffix(')')
                    .ok_or_else(|| format!("the macro {part}: a parenthesis is not closed"))?;
                (name, macro_arguments(inner)?)
            }
        };
        let key = match arguments.len() {
            0 => name.to_owned(),
            count => format!("{name}({count})"),
        };
        let found = macros
            .get(&key)
            .ok_or_else(|| format!("the macro {key} is not known"))?;
        let mut definition = found.definition.clone();
        for (name, value) in found.arguments.iter().zip(&arguments) {
            definition = definition.replace(&format!("${name}$"), value);
        }
        used.insert(key);
        expanded.push_str(&expand(&definition, macros, used, depth + 1)?);
    }
    Ok(expanded)
}

/// Splunk takes the quotes of a macro's argument away.
fn macro_arguments(text: &str) -> Result<Vec<String>> {
    let mut arguments = vec![];
    let mut rest = text;
    loop {
        let length = cursor::length_until(rest, |sign, _| sign == ',')?;
        let argument = rest[..length.unwrap_or(rest.len())].trim();
        let inner = argument
            .strip_prefix('"')
            .and_then(|inner| inner.strip_suffix('"'));
        let argument = inner.unwrap_or(argument);
        if argument.is_empty() {
            return Err(format!("an argument of a macro is empty: {text}"));
        }
        arguments.push(argument.to_owned());
        match length {
            Some(length) => rest = &rest[length + 1..],
            None => return Ok(arguments),
        }
    }
}
