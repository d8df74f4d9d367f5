//! What an administrator sees of an input: the test when it is saved, and the commands `check`, `show` and `reset`.
//!
//! The test asks Docusign for a token and one record, and an event collector whether it knows its token, within the
//! time that a form may take. A definite no refuses the save. Where somebody cannot be reached, a new input or a new key
//! is refused, but no edit of an input whose key is known: an outage must not keep anybody from changing an index.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::clock::{Clock, Timestamp};
use crate::docusign::BaseUrl;
use crate::docusign::client::{ApiError, Client};
use crate::docusign::directory_api::{DirectoryApi, Part};
use crate::docusign::jwt_grant::{CONSENT_REQUIRED, JwtGrant, PrivateKey};
use crate::docusign::monitor_api::{MonitorApi, StreamSettings};
use crate::failures;
use crate::position::{POSITION_LOST, Position, State};
use crate::retry::Patience;
use crate::settings::{self, DS_MONITOR, Settings, StartFrom};
use crate::splunk::checkpoint::{CheckpointStore, Loaded};
use crate::splunk::credentials;
use crate::splunk::event;
use crate::splunk::hec::{self, HecError, HecSettings};
use crate::splunk::input_definition::{InputDefinition, MASK, Stanza};
use crate::splunk::log::{Fields, sentence};
use crate::splunk::rest::{Entry, Rest};
use crate::splunk::{Command, Session};

/// How long a test on saving may take altogether; splunkd's form waits for it.
const VALIDATION_LIMIT: Duration = Duration::from_secs(8);

/// Checks an input before Splunk saves it: first by itself, then against Docusign.
///
/// # Errors
/// The message for the form: what is wrong and what to do.
pub fn validate(mut definition: InputDefinition, session: &Session) -> Result<()> {
    let now = session.clock.now();
    let settings = Settings::of(&definition.stanza, now)?;
    settings::prefer_key_file(&mut definition.stanza);
    let masked = definition.stanza.get("private_key") == Some(MASK);
    if !masked {
        // Bad keys are found before anybody is asked.
        settings::private_key(&definition.stanza)?;
    }
    let rest = Rest::new(&definition);
    let saved = saved_input(&rest, &definition.stanza.name);
    if saved
        .as_ref()
        .is_some_and(|saved| only_masks(saved, &definition.stanza))
    {
        // This edit puts the mask in the place of a secret that has just been stored. It is our own.
        return Ok(());
    }
    if let Err(error) = credentials::unmask(&rest, &DS_MONITOR, &mut definition.stanza) {
        warn_untested(session, &definition.stanza, &format!("{error:#}"));
        return Ok(());
    }
    settings::require_unmasked(&definition.stanza)?;
    let key = settings::private_key(&definition.stanza)?;
    let settings = Settings::of(&definition.stanza, now).unwrap_or(settings);

    let by_file = definition.stanza.get("private_key_path").is_some();
    let key_is_known = masked || (by_file && saved.is_some());
    // An input that exists has its position; only a new one will begin at start_from.
    let cursor = match saved {
        Some(_) => StartFrom::SevenDaysAgo.cursor(now),
        None => settings.start_from.cursor(now),
    };
    match test_connections(settings, key, cursor, &session.clock) {
        Ok(()) => Ok(()),
        Err(Untested { problem, definite }) if key_is_known && !definite => {
            warn_untested(session, &definition.stanza, &problem);
            Ok(())
        }
        Err(Untested { problem, definite }) => {
            let hint = if definite {
                ""
            } else {
                ". The input was not saved, because it could not be tested"
            };
            Err(anyhow!("{problem}{hint}"))
        }
    }
}

/// Why a test did not go well.
struct Untested {
    problem: String,
    /// Docusign or the event collector itself said no.
    definite: bool,
}

/// Gets a token, asks Monitor for one record and an event collector for nothing, within [`VALIDATION_LIMIT`].
fn test_connections(
    settings: Settings,
    key: PrivateKey,
    cursor: String,
    clock: &Arc<dyn Clock>,
) -> Result<(), Untested> {
    let (answer, answered) = channel();
    let clock = Arc::clone(clock);
    // A thread of its own, because resolving a name, for one, cannot be told how long it may take.
    std::thread::spawn(move || {
        let asked = client(&settings, &clock)
            .map_err(|error| Untested {
                problem: format!("{error:#}"),
                definite: false,
            })
            .and_then(|client| {
                monitor_api(client, &settings, key)
                    .get_stream(&cursor)
                    .map_err(|error| Untested {
                        definite: error.definite,
                        problem: error.sentence,
                    })
            })
            .and_then(|_| match settings.hec {
                Some(hec) => probe(hec).map_err(|error| Untested {
                    definite: error.definite,
                    problem: error.sentence,
                }),
                None => Ok(()),
            });
        let _ = answer.send(asked);
    });
    answered.recv_timeout(VALIDATION_LIMIT).unwrap_or_else(|_| {
        Err(Untested {
            problem: format!(
                "the test of the connections did not end within {} seconds",
                VALIDATION_LIMIT.as_secs()
            ),
            definite: false,
        })
    })
}

fn saved_input(rest: &Result<Rest>, name: &str) -> Option<Entry> {
    let rest = rest.as_ref().ok()?;
    rest.input(DS_MONITOR.kind, name).ok().flatten()
}

/// Whether a secret of the saved input is in clear text and masked by the edit, which nobody does by hand.
fn only_masks(saved: &Entry, edited: &Stanza) -> bool {
    let masked = edited.masked(&DS_MONITOR);
    let mut secrets = masked.iter().filter_map(|param| saved.text(param));
    secrets.any(|secret| !secret.is_empty() && secret != MASK)
}

fn warn_untested(session: &Session, stanza: &Stanza, problem: &str) {
    session.log.for_input(&DS_MONITOR.input(&stanza.name)).warn(
        &Fields::new().with("action", "validate"),
        &format!("The edit is accepted without a test of the connection: {problem}"),
    );
}

fn client(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Client> {
    let mut network = settings.network.clone();
    network.patience = Patience::INTERACTIVE;
    Client::new(
        network,
        Arc::clone(clock),
        failures::docusign_remedy,
        Arc::new(|_| {}),
    )
}

fn probe(mut hec: HecSettings) -> Result<(), HecError> {
    hec.network.patience = Patience::INTERACTIVE;
    hec::probe(&hec)
}

fn monitor_api(client: Client, settings: &Settings, key: PrivateKey) -> MonitorApi {
    let grant = JwtGrant::new(client.clone(), settings.identity.clone(), key);
    let one_record = StreamSettings {
        limit: 1,
        ..settings.stream.clone()
    };
    MonitorApi::new(client, grant, one_record)
}

/// The commands for a person.
pub const COMMANDS: &[Command] = &[
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

/// Carries out a command and tells whether all is well.
///
/// # Errors
/// Why it could not be carried out.
pub fn command(
    name: &str,
    arguments: &[String],
    definition: InputDefinition,
    session: &Session,
) -> Result<bool> {
    let out = event::standard_output().context("could not open the standard output")?;
    let mut screen = Screen {
        colour: out.is_terminal(),
        out: Box::new(out),
    };
    match (name, arguments) {
        ("check", []) => check(definition, session, &mut screen),
        ("show", []) => show(&definition, session, &mut screen),
        ("reset", [option, value]) if option == "--to" => {
            reset(value, &definition, session, &mut screen)
        }
        ("reset", _) => bail!("reset wants --to and a cursor, a date, or start"),
        _ => bail!("{name} takes no arguments"),
    }
}

/// Where a command tells what it found.
struct Screen {
    colour: bool,
    out: Box<dyn Write>,
}

/// What a step of `check` came to.
enum Verdict {
    Ok(String),
    /// The input does not work without it.
    Problem(String),
    /// The input works, something beside it does not.
    Note(String),
}

impl Screen {
    fn line(&mut self, label: &str, text: impl fmt::Display) -> Result<()> {
        writeln!(self.out, "{label:<15}{text}").context("could not write to the standard output")
    }

    fn step(&mut self, name: &str, verdict: &Verdict) -> Result<()> {
        let (word, colour, text) = match verdict {
            Verdict::Ok(text) => ("OK", 32, text.clone()),
            Verdict::Problem(text) => ("TO DO", 31, sentence(text)),
            Verdict::Note(text) => ("NOTE", 33, sentence(text)),
        };
        let word = if self.colour {
            format!("\x1b[{colour}m{word:<6}\x1b[0m")
        } else {
            format!("{word:<6}")
        };
        self.line(name, format!("{word} {text}"))
    }
}

/// Walks through all that the input needs. What only the lookups need is told, but is no problem of this input.
fn check(mut definition: InputDefinition, session: &Session, screen: &mut Screen) -> Result<bool> {
    let input = DS_MONITOR.input(&definition.stanza.name);
    screen.line("Input", &input)?;
    settings::prefer_key_file(&mut definition.stanza);
    let rest = Rest::new(&definition);
    let secrets = credentials::unmask_input(&rest, &DS_MONITOR, &mut definition);
    let stanza = &definition.stanza;
    let settings = match Settings::of(stanza, session.clock.now()) {
        Ok(settings) => settings,
        Err(error) => {
            screen.step("Configuration", &Verdict::Problem(format!("{error:#}")))?;
            return Ok(false);
        }
    };
    let host = settings.stream.monitor_url.host();
    let found = format!(
        "{} environment, stream of {host}",
        settings.environment.name()
    );
    screen.step("Configuration", &Verdict::Ok(found))?;

    if let Err(error) = secrets.and_then(|()| settings::require_unmasked(stanza)) {
        screen.step("Secrets", &Verdict::Problem(format!("{error:#}")))?;
        return Ok(false);
    }
    let key = match settings::private_key(stanza) {
        Ok(key) => key,
        Err(error) => {
            screen.step("Private key", &Verdict::Problem(format!("{error:#}")))?;
            return Ok(false);
        }
    };
    screen.step(
        "Private key",
        &Verdict::Ok("an RSA key that can sign".to_owned()),
    )?;

    let client = client(&settings, &session.clock)?;
    let mut grant = JwtGrant::new(client.clone(), settings.identity.clone(), key.clone());
    let host = settings.identity.auth_url.host();
    match grant.token() {
        Ok(_) => {
            screen.step("Token", &Verdict::Ok(format!("{host} gives one")))?;
            let scope = &settings.identity.scope;
            screen.step("Consent", &Verdict::Ok(format!("given for {scope}")))?;
        }
        Err(error) if error.code.as_deref() == Some(CONSENT_REQUIRED) => {
            screen.step(
                "Token",
                &Verdict::Ok(format!("{host} knows the key and the user")),
            )?;
            screen.step("Consent", &Verdict::Problem(error.sentence))?;
            return Ok(false);
        }
        Err(error) => {
            screen.step("Token", &Verdict::Problem(error.sentence))?;
            return Ok(false);
        }
    }

    let now = session.clock.now();
    let asked = monitor_api(client.clone(), &settings, key.clone())
        .get_stream(&StartFrom::SevenDaysAgo.cursor(now));
    let mut well = asked.is_ok();
    let verdict = match asked {
        Ok(page) if page.is_empty() => {
            Verdict::Ok("the stream answers; it has no record of the last 7 days".to_owned())
        }
        Ok(_) => Verdict::Ok("the stream answers with records".to_owned()),
        Err(error) => Verdict::Problem(error.sentence),
    };
    screen.step("Monitor", &verdict)?;
    if let Some(hec) = settings.hec {
        let url = hec.url.clone();
        let verdict = match probe(hec) {
            Ok(()) => Verdict::Ok(format!("{url} knows the token")),
            Err(error) => Verdict::Problem(error.sentence),
        };
        well &= matches!(verdict, Verdict::Ok(_));
        screen.step("Collector", &verdict)?;
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
            counted(names.len(), "organization"),
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
        counted(readable, "account")
    ))
}

fn counted(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

fn for_lookups(asked: Result<String, ApiError>) -> Verdict {
    match asked {
        Ok(text) => Verdict::Ok(text),
        Err(error) => Verdict::Note(format!("Only lookups need this. {}", error.sentence)),
    }
}

/// Shows where the input stands.
fn show(definition: &InputDefinition, session: &Session, screen: &mut Screen) -> Result<bool> {
    let input = DS_MONITOR.input(&definition.stanza.name);
    screen.line("Input", &input)?;
    let saved = match CheckpointStore::peek(&definition.checkpoint_dir, &input, POSITION_LOST)? {
        (path, Loaded::None) => {
            screen.line("Position", "none yet: the first run begins at start_from")?;
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
                sentence(&format!("{problem}. This is the copy before")),
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
        None => screen.line("Age", "unknown: the cursor does not tell its time")?,
    }
    match position.state {
        State::Closed => screen.line("Last run", "left nothing to repeat"),
        State::Open => screen.line("Last run", "is going on, or was cut off"),
    }?;
    screen.line("Next run", format!("begins after {}", position.start()))?;
    Ok(true)
}

/// Sets the position of an input that is not running.
fn reset(
    to: &str,
    definition: &InputDefinition,
    session: &Session,
    screen: &mut Screen,
) -> Result<bool> {
    let now = session.clock.now();
    let settings = Settings::of(&definition.stanza, now)?;
    let start = match to {
        "start" => settings.start_from.clone(),
        text => StartFrom::parse(Some(text), now).map_err(|_| {
            anyhow!("--to must be a past date such as 2026-01-31, a date-time, earliest, a cursor of Docusign Monitor, or start")
        })?,
    };
    let input = DS_MONITOR.input(&definition.stanza.name);
    let store = CheckpointStore::try_open(&definition.checkpoint_dir, &input)?
        .context("the input is running: stop it first, in Splunk by disabling it, and start it again after the reset")?;
    let backup = store.back_up(now)?;
    let mut position = Position::first(start.cursor(now), &settings);
    position.ignored_start_from = settings.start_from.text();
    store.save(&position, now)?;
    screen.line("Input", &input)?;
    screen.line("Next run", format!("begins after {}", position.cursor))?;
    match backup {
        Some(path) => screen.line("Backup", path.display())?,
        None => screen.line("Backup", "none: there was no position")?,
    }
    Ok(true)
}

/// When a cursor's records were taken in, if it tells: a date-time does, and Docusign's own have shown .NET ticks
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
