//! The command line: what a program is asked to do, by splunkd or by a person.
//!
//! No argument is ever repeated in a message, because it may be a secret that somebody put there; only the name of an
//! option is. Everything that can be checked without the configuration is checked before it is read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use chrono::{DateTime, Utc};
use lexopt::{Arg, Parser};

use super::conf_file::{self, Selection};
use super::input_definition::InputDefinition;
use super::log::{Failure, sentence};
use super::status::Status;
use super::{ModularInput, Session};

/// A command for a person.
pub struct Command {
    /// The first argument.
    pub name: &'static str,
    /// What it does, for the help.
    pub summary: &'static str,
    /// What it is good for, and the options that do it.
    pub examples: &'static [(&'static str, &'static str)],
    /// Its own options, besides those that name the configuration.
    pub options: &'static [&'static CommandOption],
    /// Whether it looks at the folder that keeps the positions.
    pub uses_folder: bool,
    /// Carries it out, and returns how the program ends.
    pub carry_out: fn(&Given, InputDefinition, &Session) -> Result<Status>,
}

/// An option of a command.
pub struct CommandOption {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What its value is called in the help; a switch has none.
    pub value: Option<&'static str>,
    /// What it is for, for the help.
    pub summary: &'static str,
    /// Checks a value at a time; an error is a whole sentence that names the option and repeats no value.
    pub check: fn(&str, DateTime<Utc>) -> Result<()>,
    /// Whether it may be given more than once.
    pub repeats: bool,
}

impl CommandOption {
    /// A switch. A declaration spreads it and names only what differs.
    pub const SWITCH: Self = Self {
        name: "",
        value: None,
        summary: "",
        check: |_, _| Ok(()),
        repeats: false,
    };
}

/// Prints one JSON object instead of lines.
pub const JSON: CommandOption = CommandOption {
    name: "json",
    summary: "print one JSON object instead of lines",
    ..CommandOption::SWITCH
};

/// The options of a command as they were given.
#[derive(Debug, Default)]
pub struct Given(BTreeMap<&'static str, Vec<OsString>>);

impl Given {
    /// Whether the option is there.
    #[must_use]
    pub fn has(&self, option: &CommandOption) -> bool {
        self.0.contains_key(option.name)
    }

    /// The value of an option. An empty one counts as absent, as in a script whose variable is not set.
    #[must_use]
    pub fn value(&self, option: &CommandOption) -> Option<&OsStr> {
        self.values(option).next()
    }

    /// [`Given::value`] of an option that is text.
    #[must_use]
    pub fn text(&self, option: &CommandOption) -> Option<&str> {
        self.value(option).and_then(OsStr::to_str)
    }

    /// The values of an option that may be repeated.
    pub fn values(&self, option: &CommandOption) -> impl Iterator<Item = &OsStr> {
        let values = self.0.get(option.name).into_iter().flatten();
        values
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }
}

/// The command that collects without splunkd.
pub(super) const RUN: &str = "run";

/// How often `run` repeats.
pub(super) const EVERY: CommandOption = CommandOption {
    name: "every",
    value: Some("TIME"),
    summary: "keep running: one run after another on this beat, such as 60s or 5m",
    check: |value, _| every(value).map(|_| ()),
    ..CommandOption::SWITCH
};

/// The options of `run`.
pub(super) const RUN_OPTIONS: [&CommandOption; 5] = [
    &conf_file::CONF,
    &conf_file::INPUT,
    &conf_file::ALL,
    &conf_file::CHECKPOINT_DIR,
    &EVERY,
];

/// The longest beat: a position that is saved once a day is old enough.
const MAX_EVERY: Duration = Duration::from_secs(86_400);

/// What a program is asked to do.
pub(super) enum Mode {
    /// Describe the input to splunkd.
    Scheme,
    /// Check the arguments of an input, for splunkd.
    ValidateArguments,
    /// Make one run, for splunkd.
    Run,
    /// Run without splunkd, once or on a beat.
    RunAlone(Selection, Option<Duration>),
    /// Carry out a command. Without a selection, the configuration comes on the standard input.
    Command(&'static Command, Given, Option<Selection>),
    /// Show the help, of all or of one command.
    Help(Topic),
    /// Show the version.
    Version,
}

/// What a help is about.
pub(super) enum Topic {
    All,
    Run,
    Command(&'static Command),
}

impl Mode {
    /// Reads the arguments of a program; `by_hand` says whether a person started it.
    ///
    /// # Errors
    /// They are wrong: a [`Failure`] that says how.
    pub(super) fn of(
        arguments: impl IntoIterator<Item = OsString, IntoIter: 'static>,
        input: &dyn ModularInput,
        by_hand: bool,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let read = || -> Result<Self> {
            let mut parser = Parser::from_args(arguments);
            let Some(first) = parser.next().map_err(|error| described(&error))? else {
                return Ok(match by_hand {
                    true => Self::Help(Topic::All),
                    false => Self::Run,
                });
            };
            let (mode, name) = match first {
                Arg::Long("scheme") => (Self::Scheme, "--scheme"),
                Arg::Long("validate-arguments") => {
                    (Self::ValidateArguments, "--validate-arguments")
                }
                Arg::Long("help") | Arg::Short('h') => (Self::Help(Topic::All), "--help"),
                Arg::Long("version") | Arg::Short('V') => (Self::Version, "--version"),
                Arg::Value(name) => {
                    let name = name.to_str().unwrap_or_default().to_owned();
                    return Self::of_command(&name, &mut parser, input, now);
                }
                Arg::Long(name) => {
                    let known = ["scheme", "validate-arguments", "help", "version"];
                    bail!(
                        "{} is unknown{}",
                        described_option(name),
                        did_you_mean(name, known, "--")
                    );
                }
                Arg::Short(_) => bail!("an option is unknown"),
            };
            match parser.next().map_err(|error| described(&error))? {
                Some(extra) => bail!("unexpected after {name}: {}", described_argument(&extra)),
                None => Ok(mode),
            }
        };
        read().map_err(|error| {
            let problem = sentence(&format!("{error:#}"));
            Failure::of_usage(format!("{problem} See --help")).into()
        })
    }

    fn of_command(
        name: &str,
        parser: &mut Parser,
        input: &dyn ModularInput,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let scheme = input.scheme();
        let alone = input.runs_alone().is_some();
        if name == RUN && alone {
            let Some(given) = given(parser, RUN, &RUN_OPTIONS, now)? else {
                return Ok(Self::Help(Topic::Run));
            };
            let every = given.text(&EVERY).map(every).transpose()?;
            let selection = Selection::of(&given, scheme, true)?
                .ok_or_else(|| anyhow!("the command {RUN} requires {}", Selection::USAGE))?;
            return Ok(Self::RunAlone(selection, every));
        }
        let Some(command) = input.commands().iter().find(|it| it.name == name) else {
            let known = input.commands().iter().map(|command| command.name);
            let known = known.chain(alone.then_some(RUN));
            bail!("the command is unknown{}", did_you_mean(name, known, ""));
        };
        let Some(given) = given(parser, name, &options_of(command, alone), now)? else {
            return Ok(Self::Help(Topic::Command(command)));
        };
        if let Some(missing) = command.options.iter().find(|option| {
            let is_there = given.value(option).is_some();
            option.value.is_some() && !is_there
        }) {
            let value = missing.value.unwrap_or_default();
            bail!(
                "the command {name} requires --{} {value}: {}",
                missing.name,
                missing.summary
            );
        }
        let selection = match alone {
            true => Selection::of(&given, scheme, command.uses_folder)?,
            false => None,
        };
        Ok(Self::Command(command, given, selection))
    }
}

/// All options of a command; `alone` says whether the configuration may come from a file.
pub(super) fn options_of(command: &Command, alone: bool) -> Vec<&'static CommandOption> {
    let mut options = command.options.to_vec();
    if alone {
        options.extend([&conf_file::CONF, &conf_file::INPUT]);
        if command.uses_folder {
            options.push(&conf_file::CHECKPOINT_DIR);
        }
    }
    options
}

/// Reads the options of a command; `None` if its help is asked for.
fn given(
    parser: &mut Parser,
    command: &str,
    known: &[&'static CommandOption],
    now: DateTime<Utc>,
) -> Result<Option<Given>> {
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(|error| described(&error))? {
        let name = match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            Arg::Long(name) => name.to_owned(),
            other => bail!("unexpected after {command}: {}", described_argument(&other)),
        };
        let Some(option) = known.iter().find(|option| option.name == name) else {
            let names = known.iter().map(|option| option.name);
            bail!(
                "{} is unknown to the command {command}{}",
                described_option(&name),
                did_you_mean(&name, names, "--")
            );
        };
        let values = given.0.entry(option.name).or_default();
        if !values.is_empty() && !option.repeats {
            bail!("--{name} may be given only once");
        }
        values.push(match option.value {
            None => OsString::new(),
            Some(_) => value(parser, option, known, now)?,
        });
    }
    Ok(Some(given))
}

fn value(
    parser: &mut Parser,
    option: &CommandOption,
    known: &[&'static CommandOption],
    now: DateTime<Utc>,
) -> Result<OsString> {
    let CommandOption { name, check, .. } = option;
    let value = parser
        .value()
        .map_err(|_| anyhow!("--{name} requires a value"))?;
    let text = value.to_str();
    let is_option = |text: &str| {
        let text = text.strip_prefix("--");
        text.is_some_and(|text| known.iter().any(|option| option.name == text))
    };
    match text {
        Some(text) if is_option(text) => bail!("--{name} requires a value"),
        Some("") => {}
        Some(text) => check(text, now)?,
        // Paths need not be text.
        None if [conf_file::CONF.name, conf_file::CHECKPOINT_DIR.name].contains(name) => {}
        None => bail!("the value of --{name} is not UTF-8 text"),
    }
    Ok(value)
}

/// What is wrong with an argument. The library's own words repeat it.
fn described(error: &lexopt::Error) -> anyhow::Error {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => {
            let name = option.trim_start_matches('-');
            anyhow!("{} takes no value", described_option(name))
        }
        _ => anyhow!("an argument cannot be understood"),
    }
}

fn described_argument(argument: &Arg<'_>) -> String {
    match argument {
        Arg::Long(name) => described_option(name),
        Arg::Short(_) => "an option".to_owned(),
        Arg::Value(_) => "an argument".to_owned(),
    }
}

/// The longest name of an option that a message repeats.
const MAX_OPTION_CHARS: usize = 32;

/// An option as a message names it. What does not look like a name may be a secret: a key in PEM starts with dashes, too.
fn described_option(name: &str) -> String {
    let is_name = name.len() <= MAX_OPTION_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    match is_name {
        true => format!("the option --{name}"),
        false => "an option".to_owned(),
    }
}

fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, prefix: &str) -> String {
    nearest(word, known).map_or(String::new(), |meant| {
        format!(". Did you mean {prefix}{meant}?")
    })
}

/// Letters that may be wrong, missing or swapped in a word.
const MAX_TYPOS: usize = 3;

/// The known word that `word` may be a misspelling of: at most three letters differ, and at most half of them.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = MAX_TYPOS.min(word.chars().count() / 2);
    let distances = known
        .into_iter()
        .map(|known| (strsim::osa_distance(&word, known), known));
    let (distance, nearest) = distances.min()?;
    (distance <= most).then_some(nearest)
}

/// A time between two runs: a whole number of seconds, minutes or hours.
fn every(text: &str) -> Result<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(unit).unwrap_or_default();
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let time = number
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs);
    time.filter(|time| (Duration::from_secs(1)..=MAX_EVERY).contains(time))
        .ok_or_else(|| anyhow!("--every must be a time from 1s to 24h, such as 60s or 5m"))
}

#[cfg(test)]
mod tests {
    use super::{every, nearest};

    #[test]
    fn a_beat_is_a_whole_number_of_seconds_minutes_or_hours_within_a_day() {
        let seconds = |text| every(text).ok().map(|time| time.as_secs());
        for (text, expected) in [
            ("60s", 60),
            ("60", 60),
            ("5m", 300),
            ("24h", 86_400),
            ("1s", 1),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "-5s",
            "25h",
            "1d",
            "1.5m",
            "60 s",
            "99999999999999999999h",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelt_word_is_recognised_and_another_is_not() {
        let known = ["check", "show", "reset", "run", "conf", "checkpoint-dir"];
        for (word, expected) in [
            ("chekc", Some("check")),
            ("Shwo", Some("show")),
            ("config", Some("conf")),
            ("checkpoint_dir", Some("checkpoint-dir")),
            ("rn", Some("run")),
            ("more", None),
            ("x", None),
            ("", None),
            ("s3cret-on-the-line", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
