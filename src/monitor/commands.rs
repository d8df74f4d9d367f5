//! The commands for a person: `check`, `show` and `reset`.

use std::fmt;
use std::io::{IsTerminal, Write};

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};

use super::configure::{Configured, NotConfigured, configure};
use super::position::{POSITION_LOST, Position, State};
use super::settings::DS_MONITOR;
use super::start_from::StartFrom;
use super::validation::{client, monitor_api, probe};
use crate::base::clock::Timestamp;
use crate::base::secret::redact;
use crate::docusign::BaseUrl;
use crate::docusign::client::ApiError;
use crate::docusign::directory_api::{DirectoryApi, Part};
use crate::docusign::jwt_grant::{CONSENT_REQUIRED, JwtGrant};
use crate::splunk::checkpoint::{CheckpointStore, Loaded, Opened};
use crate::splunk::input_definition::InputDefinition;
use crate::splunk::log::{one_line, sentence};
use crate::splunk::{Command, Session, stdout};

/// The commands for a person.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        arguments: "",
        summary: "test everything the input needs, step by step",
    },
    Command {
        name: "show",
        arguments: "",
        summary: "show the saved position",
    },
    Command {
        name: "reset",
        arguments: "--to <cursor|date|start>",
        summary: "set the position, and keep a backup of the old one",
    },
];

/// Carries out a command; true if all is well.
///
/// # Errors
/// Why it could not be carried out.
pub(super) fn command(
    name: &str,
    arguments: &[String],
    definition: InputDefinition,
    session: &Session,
) -> Result<bool> {
    let out = stdout::standard_output().context("could not open the standard output")?;
    let mut screen = Screen {
        colour: out.is_terminal(),
        out: Box::new(out),
    };
    match (name, arguments) {
        ("check", []) => check(definition, session, &mut screen),
        ("show", []) => show(definition, session, &mut screen),
        ("reset", [option, value]) if option == "--to" => {
            reset(value, definition, session, &mut screen)
        }
        ("reset", _) => bail!("reset requires --to and a cursor, a date, or start"),
        _ => bail!("{name} takes no arguments"),
    }
}

/// Where a command prints what it found.
struct Screen {
    colour: bool,
    out: Box<dyn Write>,
}

/// The result of a step of `check`.
enum Finding {
    Ok(String),
    /// The input does not work without it.
    Problem(String),
    /// The input works, something beside it does not.
    Note(String),
}

impl Screen {
    fn line(&mut self, label: &str, text: impl fmt::Display) -> Result<()> {
        let text = text.to_string();
        writeln!(self.out, "{label:<15}{}", one_line(&redact(&text)))
            .context("could not write to the standard output")
    }

    fn step(&mut self, name: &str, finding: &Finding) -> Result<()> {
        let (word, colour, text) = match finding {
            Finding::Ok(text) => ("OK", 32, text.clone()),
            Finding::Problem(text) => ("TO DO", 31, sentence(text)),
            Finding::Note(text) => ("NOTE", 33, sentence(text)),
        };
        let word = if self.colour {
            format!("\x1b[{colour}m{word:<6}\x1b[0m")
        } else {
            format!("{word:<6}")
        };
        self.line(name, format!("{word} {text}"))
    }
}

/// Walks through everything the input needs. What only the lookups need is a note, not a problem of this input.
fn check(definition: InputDefinition, session: &Session, screen: &mut Screen) -> Result<bool> {
    let InputDefinition {
        splunkd, stanza, ..
    } = definition;
    let input = DS_MONITOR.input(&stanza.name);
    screen.line("Input", &input)?;
    let Configured {
        settings,
        key,
        notes,
        ..
    } = match configure(stanza, &splunkd, session.clock.now()) {
        Ok(configured) => configured,
        Err(reason) => {
            let step = match reason {
                NotConfigured::Argument(_) => "Configuration",
                NotConfigured::NoSecret(_) | NotConfigured::Storage(_) => "Secrets",
                NotConfigured::Key(_) => "Private key",
            };
            screen.step(step, &Finding::Problem(reason.to_string()))?;
            return Ok(false);
        }
    };
    let host = settings.stream.monitor_url.host();
    let found = format!(
        "{} environment, stream of {host}",
        settings.environment.name()
    );
    screen.step("Configuration", &Finding::Ok(found))?;
    screen.step(
        "Private key",
        &Finding::Ok("an RSA key that can sign".to_owned()),
    )?;
    for note in notes {
        screen.step("", &Finding::Note(note))?;
    }

    let client = client(&settings, &session.clock)?;
    let mut grant = JwtGrant::new(client.clone(), settings.identity.clone(), key.clone());
    let host = settings.identity.auth_url.host();
    match grant.token() {
        Ok(_) => {
            screen.step("Token", &Finding::Ok(format!("{host} issued a token")))?;
            let scope = &settings.identity.scope;
            screen.step("Consent", &Finding::Ok(format!("given for {scope}")))?;
        }
        Err(error) if error.code.as_deref() == Some(CONSENT_REQUIRED) => {
            screen.step(
                "Token",
                &Finding::Ok(format!("{host} knows the key and the user")),
            )?;
            screen.step("Consent", &Finding::Problem(error.sentence))?;
            return Ok(false);
        }
        Err(error) => {
            screen.step("Token", &Finding::Problem(error.sentence))?;
            return Ok(false);
        }
    }

    let now = session.clock.now();
    let asked = monitor_api(client.clone(), &settings, key.clone())
        .get_stream(&StartFrom::SevenDaysAgo.cursor(now));
    let mut well = asked.is_ok();
    let finding = match asked {
        Ok(page) if page.is_empty() => {
            Finding::Ok("the stream answers; it has no record of the last 7 days".to_owned())
        }
        Ok(_) => Finding::Ok("the stream answers with records".to_owned()),
        Err(error) => Finding::Problem(error.sentence),
    };
    screen.step("Monitor", &finding)?;
    if let Some(hec) = settings.hec {
        let url = hec.url.clone();
        let finding = match probe(hec) {
            Ok(said) => Finding::Ok(format!("{url} {said}")),
            Err(error) => Finding::Problem(error.sentence),
        };
        well &= matches!(finding, Finding::Ok(_));
        screen.step("Collector", &finding)?;
    }

    let mut directory = DirectoryApi::new(
        client,
        &settings.identity,
        key,
        settings.admin_url,
        &Part::ALL,
    );
    screen.step("Users", &for_lookups(users(&mut directory)))?;
    let organizations = directory.organizations().map(|organizations| {
        let names: Vec<_> = organizations.into_iter().map(|found| found.name).collect();
        format!(
            "{} can be read: {}",
            count(names.len(), "organization"),
            names.join(", ")
        )
    });
    screen.step("Organizations", &for_lookups(organizations))?;
    Ok(well)
}

fn users(directory: &mut DirectoryApi) -> Result<String, ApiError> {
    let accounts = directory.userinfo()?.accounts;
    let mut readable = 0;
    for account in &accounts {
        if let Ok(base_uri) = BaseUrl::parse(&account.base_uri) {
            directory.users(&base_uri, &account.account_id, 0)?;
            readable += 1;
        }
    }
    Ok(format!(
        "users of {} can be listed",
        count(readable, "account")
    ))
}

fn count(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

fn for_lookups(asked: Result<String, ApiError>) -> Finding {
    match asked {
        Ok(text) => Finding::Ok(text),
        Err(error) => Finding::Note(format!("Only the lookups need this. {}", error.sentence)),
    }
}

/// Shows the saved position, and whether the configuration fits it.
fn show(definition: InputDefinition, session: &Session, screen: &mut Screen) -> Result<bool> {
    let InputDefinition {
        splunkd,
        checkpoint_dir,
        stanza,
    } = definition;
    let input = DS_MONITOR.input(&stanza.name);
    screen.line("Input", &input)?;
    // A position can be shown whatever the configuration looks like.
    if let Err(reason) = configure(stanza, &splunkd, session.clock.now()) {
        screen.line("Attention", sentence(&reason.to_string()))?;
    }
    let saved = match CheckpointStore::peek(&checkpoint_dir, &input, POSITION_LOST)? {
        (path, Loaded::None) => {
            screen.line("Position", "none yet: the first run starts at start_from")?;
            screen.line("File", path.display())?;
            return Ok(true);
        }
        (path, Loaded::Newest(saved)) => {
            screen.line("File", path.display())?;
            saved
        }
        (path, Loaded::Previous(saved, problem)) => {
            screen.line("File", path.display())?;
            screen.line(
                "Attention",
                sentence(&format!("{problem}. Using the previous copy")),
            )?;
            saved
        }
    };
    let now = session.clock.now();
    let position: Position = saved.checkpoint;
    let time = saved.at.to_rfc3339_opts(SecondsFormat::Secs, true);
    screen.line(
        "Stream",
        format!("{}, {}", position.identity, position.identity.generation),
    )?;
    screen.line(
        "Saved",
        format!("{time}, {} ago", Span::between(saved.at, now)),
    )?;
    screen.line("Position", &position.cursor)?;
    match cursor_time(&position.cursor) {
        Some(time) => screen.line("Age", format!("about {}", Span::between(time, now)))?,
        None => screen.line("Age", "unknown: the cursor contains no timestamp")?,
    }
    match position.state {
        State::Closed => screen.line("Last run", "complete"),
        State::Open => screen.line("Last run", "in progress, or cut off"),
    }?;
    screen.line("Next run", format!("starts after {}", position.start()))?;
    Ok(true)
}

/// Sets the position of an input that is not running.
fn reset(
    to: &str,
    definition: InputDefinition,
    session: &Session,
    screen: &mut Screen,
) -> Result<bool> {
    let InputDefinition {
        splunkd,
        checkpoint_dir,
        stanza,
    } = definition;
    let now = session.clock.now();
    let input = DS_MONITOR.input(&stanza.name);
    let Configured { settings, .. } = configure(stanza, &splunkd, now)?;
    let start = match to {
        "start" => settings.start_from.clone(),
        text => StartFrom::parse(Some(text), now).map_err(|_| {
            anyhow!("--to must be a past date such as 2026-01-31, a date-time, earliest, a cursor of Docusign Monitor, or start")
        })?,
    };
    let Opened::Locked(store) = CheckpointStore::try_open(&checkpoint_dir, &input, now)? else {
        bail!(
            "the input is running: stop it first, in Splunk by disabling it, and start it again after the reset"
        );
    };
    let backup = store.back_up(now)?;
    let mut position = Position::first(start.cursor(now), &settings);
    position.ignored_start_from = settings.start_from.text();
    store.save(&position, now)?;
    screen.line("Input", &input)?;
    screen.line("Next run", format!("starts after {}", position.cursor))?;
    match backup {
        Some(path) => screen.line("Backup", path.display())?,
        None => screen.line("Backup", "none: there was no position")?,
    }
    Ok(true)
}

/// When a cursor's records were taken in, if it says so: a date-time does, and those of Docusign have had .NET ticks
/// as their second part (`aa_<ticks>_<ticks>_<n>`).
fn cursor_time(cursor: &str) -> Option<DateTime<Utc>> {
    const TICKS_A_SECOND: i64 = 10_000_000;
    const SECONDS_FROM_YEAR_1_TO_1970: i64 = 62_135_596_800;
    if let Some(time) = Timestamp::parse(cursor) {
        return DateTime::from_timestamp(time.seconds(), 0);
    }
    let ticks: i64 = cursor.split('_').nth(1)?.parse().ok()?;
    let seconds = ticks / TICKS_A_SECOND - SECONDS_FROM_YEAR_1_TO_1970;
    DateTime::from_timestamp(seconds, 0).filter(|time| time.timestamp() > 0)
}

/// A length of time as a person says it.
struct Span(i64);

impl Span {
    fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self((to - from).num_seconds().max(0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ ..120 => write!(f, "{seconds} seconds"),
            seconds @ ..7200 => write!(f, "{} minutes", seconds / 60),
            seconds @ ..172_800 => write!(f, "{} hours", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, cursor_time};

    #[test]
    fn a_cursor_tells_its_time_if_it_is_a_date_or_holds_ticks() {
        let time = |cursor| cursor_time(cursor).map(|time| time.timestamp());
        assert_eq!(time("2026-01-01T00:00:00Z"), Some(1_767_225_600));
        assert_eq!(
            time("aa_637218935854425652_637218935412032088_12"),
            Some(1_586_296_785)
        );
        for cursor in ["", "c1", "aa_5_5_0", "aa_x_1_0"] {
            assert_eq!(time(cursor), None, "{cursor}");
        }
    }

    #[test]
    fn a_span_is_said_in_its_largest_fitting_unit() {
        let spans = [5, 119, 120, 7199, 7200, 172_800].map(|seconds| Span(seconds).to_string());
        assert_eq!(
            spans,
            [
                "5 seconds",
                "119 seconds",
                "2 minutes",
                "119 minutes",
                "2 hours",
                "2 days"
            ]
        );
    }
}
