//! The commands for a person: `check`, `show`, `reset` and `consent`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::checks::{organizations, problem, status, step_of, token, users};
use super::configure::{Configured, configure};
use super::position::{Identity, Position};
use super::position_store::{self, Look, Place};
use super::settings::{self, DS_MONITOR, StoreChoice};
use super::start_from::StartFrom;
use super::validation::{client, monitor_api, probe};
use crate::base::clock::Timestamp;
use crate::docusign::directory_api::{DirectoryApi, Part, scopes};
use crate::docusign::jwt_grant::JwtGrant;
use crate::splunk::Session;
use crate::splunk::checkpoint::{CheckpointStore, Opened, State};
use crate::splunk::command_line::{Command, CommandOption, Given, JSON};
use crate::splunk::input_definition::InputDefinition;
use crate::splunk::log::{Failure, sentence};
use crate::splunk::screen::{Finding, Screen};
use crate::splunk::status::Status;

/// The place that `reset` copies the position from, for an input that is to keep it in a file.
const KV_STORE: &str = "kvstore";

/// Where `reset` sets the position.
const TO: CommandOption = CommandOption {
    name: "to",
    value: Some("PLACE"),
    summary: "a past date such as 2026-01-31, a date-time, earliest, a cursor of Docusign Monitor, start, which is the input's start_from, or kvstore, which copies the position from the KV store",
    check: |place, now| match place {
        "start" | KV_STORE => Ok(()),
        _ => parse_place(place, now).map(|_| ()),
    },
    ..CommandOption::SWITCH
};

/// The commands for a person.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        summary: "test everything the input needs, step by step",
        examples: &[
            ("In Splunk, test an input", ""),
            ("The same for a program", "--json"),
        ],
        options: &[&JSON],
        uses_folder: true,
        carry_out: check,
    },
    Command {
        name: "show",
        summary: "show the saved position",
        examples: &[
            ("In Splunk, show the position of an input", ""),
            ("The same for a program", "--json"),
        ],
        options: &[&JSON],
        uses_folder: true,
        carry_out: show,
    },
    Command {
        name: "reset",
        summary: "set the position, and keep a backup of the old one",
        examples: &[
            ("In Splunk, collect again from a day on", "--to 2026-01-31"),
            ("As for a new input", "--to start"),
            ("From the KV store back to a file", "--to kvstore"),
        ],
        options: &[&TO],
        uses_folder: true,
        carry_out: reset,
    },
    Command {
        name: "consent",
        summary: "print the addresses where the service user grants the scopes",
        examples: &[("In Splunk, print the addresses for an input", "")],
        options: &[],
        uses_folder: false,
        carry_out: consent,
    },
];

/// Walks through everything the input needs. What only the lookups need is a note, not a problem of this input.
fn check(given: &Given, definition: InputDefinition, session: &Session) -> Result<Status> {
    let input = DS_MONITOR.input(&definition.stanza.name);
    Screen::new(given.has(&JSON))?.check(&input, |screen| check_steps(definition, session, screen))
}

/// The steps, to the first one without which the next makes no sense.
fn check_steps(definition: InputDefinition, session: &Session, screen: &mut Screen) -> Result<()> {
    let InputDefinition {
        splunkd,
        checkpoint_dir,
        stanza,
    } = definition;
    let input = DS_MONITOR.input(&stanza.name);
    let Configured {
        settings,
        key,
        notes,
        ..
    } = match configure(stanza, &splunkd, session.clock.now()) {
        Ok(configured) => configured,
        Err(reason) => {
            let (step, status) = step_of(&reason);
            return screen.step(step, &Finding::Problem(status, reason.to_string()));
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
    let place = Place::of(settings.position_store, &splunkd, &checkpoint_dir, &input);
    let kept = match place.and_then(|place| position_store::check(&place, &splunkd)) {
        Ok(text) => Finding::Ok(text),
        Err(error) => Finding::Problem(Status::TryAgain, format!("{error:#}")),
    };
    screen.step("Position", &kept)?;

    let client = client(&settings, &session.clock)?;
    let mut grant = JwtGrant::new(client.clone(), settings.identity.clone(), key.clone());
    if !token(&mut grant, &settings.identity, screen)? {
        return Ok(());
    }

    let now = session.clock.now();
    let asked = monitor_api(client.clone(), &settings, key.clone())
        .get_stream(&StartFrom::SevenDaysAgo.cursor(now));
    let finding = match asked {
        Ok(page) if page.is_empty() => {
            Finding::Ok("the stream answers; it has no record of the last 7 days".to_owned())
        }
        Ok(_) => Finding::Ok("the stream answers with records".to_owned()),
        Err(error) => problem(error),
    };
    screen.step("Monitor", &finding)?;
    if let Some(hec) = settings.hec {
        let url = hec.url.clone();
        let finding = match probe(hec) {
            Ok(said) => Finding::Ok(format!("{url} {said}")),
            Err(error) => Finding::Problem(status(error.definite), error.sentence),
        };
        screen.step("Collector", &finding)?;
    }

    let mut directory = DirectoryApi::new(
        client,
        &settings.identity,
        key,
        settings.admin_url,
        &Part::ALL,
    );
    let only_for_lookups = |finding| match finding {
        Finding::Problem(_, text) => Finding::Note(format!("Only the lookups need this. {text}")),
        other => other,
    };
    screen.step("Users", &only_for_lookups(users(&mut directory)))?;
    screen.step(
        "Organizations",
        &only_for_lookups(organizations(&mut directory)),
    )
}

/// What `show` found, as JSON shows it. Absent is what is not known.
#[derive(Serialize)]
struct Shown {
    input: String,
    /// The file or collection that keeps the position.
    #[serde(flatten)]
    place: BTreeMap<String, String>,
    /// What is odd, in sentences.
    attention: Vec<String>,
    #[serde(flatten)]
    saved: Option<SavedPosition>,
}

#[derive(Serialize)]
struct SavedPosition {
    stream: Identity,
    saved_at: String,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_record_at: Option<String>,
    last_run_complete: bool,
    next_run_after: String,
}

/// Shows the saved position, and whether the configuration fits it.
fn show(given: &Given, definition: InputDefinition, session: &Session) -> Result<Status> {
    let InputDefinition {
        splunkd,
        checkpoint_dir,
        stanza,
    } = definition;
    let input = DS_MONITOR.input(&stanza.name);
    let mut attention = Vec::new();
    let choice = settings::position_store(&stanza).unwrap_or(StoreChoice::Auto);
    // A position can be shown whatever the configuration looks like.
    if let Err(reason) = configure(stanza, &splunkd, session.clock.now()) {
        attention.push(sentence(&reason.to_string()));
    }
    let Look {
        lines,
        attention: more,
        saved,
    } = position_store::look(&checkpoint_dir, &input, choice, &splunkd, &session.clock)?;
    attention.extend(more);
    let mut screen = Screen::new(given.has(&JSON))?;
    screen.line("Input", &input)?;
    for (label, text) in &lines {
        screen.line(label, text)?;
    }
    for text in &attention {
        screen.line("Attention", text)?;
    }
    let now = session.clock.now();
    let iso = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let moment = |time| format!("{}, {} ago", iso(time), Span::between(time, now));
    let mut shown = Shown {
        input,
        place: lines
            .into_iter()
            .map(|(label, text)| (label.to_ascii_lowercase(), text))
            .collect(),
        attention,
        saved: None,
    };
    if let Some(saved) = saved {
        let position: Position = saved.checkpoint;
        let Identity { generation, .. } = &position.identity;
        screen.line("Stream", format!("{}, {generation}", position.identity))?;
        screen.line("Saved", moment(saved.at))?;
        screen.line("Position", &position.cursor)?;
        let newest = newest_record(&position.cursor);
        match newest {
            Some(time) => screen.line("Newest record", moment(time))?,
            None if Timestamp::parse(&position.cursor).is_some() => {
                screen.line("Newest record", "none yet")?;
            }
            None => screen.line("Newest record", "unknown: the position does not say")?,
        }
        match position.state {
            State::Closed => screen.line("Last run", "complete"),
            State::Open => screen.line("Last run", "in progress, or cut off"),
        }?;
        screen.line("Next run", format!("starts after {}", position.start()))?;
        shown.saved = Some(SavedPosition {
            saved_at: iso(saved.at),
            newest_record_at: newest.map(iso),
            last_run_complete: position.state == State::Closed,
            next_run_after: position.start().to_owned(),
            position: position.cursor,
            stream: position.identity,
        });
    } else {
        screen.line("Position", "none yet: the first run starts at start_from")?;
    }
    screen.object(&shown)?;
    Ok(Status::Done)
}

/// Prints where the service user grants what the events need, and what the lookups need as well.
fn consent(_: &Given, definition: InputDefinition, session: &Session) -> Result<Status> {
    let InputDefinition {
        splunkd, stanza, ..
    } = definition;
    let mut screen = Screen::new(false)?;
    screen.line("Input", DS_MONITOR.input(&stanza.name))?;
    let Configured { settings, .. } = configure(stanza, &splunkd, session.clock.now())
        .map_err(|reason| Failure::of_configuration(&reason.into()))?;
    let identity = settings.identity;
    screen.line("Log in as", &identity.user_id)?;
    screen.line("Events", identity.consent_url())?;
    let scopes = scopes(&Part::ALL);
    let lookups = identity.with_scopes(&scopes, &scopes);
    screen.line("With lookups", lookups.consent_url())?;
    Ok(Status::Done)
}

/// Sets the position of an input that is not running.
fn reset(given: &Given, definition: InputDefinition, session: &Session) -> Result<Status> {
    let InputDefinition {
        splunkd,
        checkpoint_dir,
        stanza,
    } = definition;
    let mut screen = Screen::new(false)?;
    let now = session.clock.now();
    let input = DS_MONITOR.input(&stanza.name);
    let Configured { settings, .. } = configure(stanza, &splunkd, now)
        .map_err(|reason| Failure::of_configuration(&reason.into()))?;
    let start = match given.text(&TO).unwrap_or_default() {
        "start" => Some(settings.start_from.clone()),
        KV_STORE => None,
        place => Some(parse_place(place, now)?),
    };
    let Opened::Locked(file) = CheckpointStore::try_open(&checkpoint_dir, &input, now)? else {
        bail!(
            "the input is running: stop it first, in Splunk by disabling it, and start it again after the reset"
        );
    };
    let clock = &session.clock;
    let place = Place::of(settings.position_store, &splunkd, &checkpoint_dir, &input)?;
    let position = match start {
        Some(start) => Position {
            ignored_start_from: settings.start_from.text(),
            ..Position::first(start.cursor(now), &settings)
        },
        None => position_store::leave_kv_store(&place, &input, &splunkd, clock)?,
    };
    let backup = position_store::set(&file, &place, &input, &splunkd, clock, &position)?;
    screen.line("Input", &input)?;
    screen.line("Next run", format!("starts after {}", position.start()))?;
    match backup {
        Some(path) => screen.line("Backup", path.display())?,
        None => screen.line("Backup", "none: there was no position")?,
    }
    Ok(Status::Done)
}

fn parse_place(place: &str, now: DateTime<Utc>) -> Result<StartFrom> {
    StartFrom::parse(Some(place), now).map_err(|_| anyhow!("--to must be {}", TO.summary))
}

/// When the newest record before a cursor was taken in, if the cursor says so: those of Docusign have had .NET ticks as
/// their second part (`aa_<ticks>_<ticks>_<n>`).
fn newest_record(cursor: &str) -> Option<DateTime<Utc>> {
    const TICKS_A_SECOND: i64 = 10_000_000;
    const SECONDS_FROM_YEAR_1_TO_1970: i64 = 62_135_596_800;
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
    use super::{Span, newest_record};

    #[test]
    fn a_cursor_tells_the_time_of_its_newest_record_if_it_holds_ticks() {
        let time = |cursor| newest_record(cursor).map(|time| time.timestamp());
        assert_eq!(
            time("aa_637218935854425652_637218935412032088_12"),
            Some(1_586_296_785)
        );
        for cursor in ["", "c1", "aa_5_5_0", "aa_x_1_0", "2026-01-01T00:00:00Z"] {
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
