//! The position of an input in Docusign's stream, and where its next run starts.
//!
//! A position belongs to one stream: it is never used for another, and never taken for absent because it cannot be
//! read. [`Position`] is what is kept, and [`super::position_store`] keeps it.

use std::fmt;

use anyhow::{Result, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::position_store::{NotSaved, PositionStore};
use super::settings::Settings;
use crate::base::clock::Clock;
use crate::docusign::monitor_api::Trail;
use crate::params::iso;
use crate::splunk::checkpoint::{Loaded, Saved, State};
use crate::splunk::log::{Fields, Log};

/// How far a run steps back when the generation of the endpoint has changed.
const GENERATION_OVERLAP: TimeDelta = TimeDelta::hours(1);

/// Docusign renews its hourly budget of calls within this time.
const LONGEST_PAUSE: TimeDelta = TimeDelta::hours(1);

/// What an administrator does about a position that is lost; only a person can say where to start.
pub const POSITION_LOST: &str = "Set the position with the command reset, or create a new input that starts shortly before the newest event in Splunk";

/// The position of a stanza in Docusign's stream: the content of its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Everything before this cursor of Docusign's has been read by Splunk.
    pub cursor: String,
    /// The cursor that was sent for the last page that held records.
    pub cursor_before_last_records: String,
    /// Open while a run sends records: a run that finds it open knows that the previous one was cut off.
    pub state: State,
    /// Whose stream the cursor belongs to.
    pub identity: Identity,
    /// The service user of the last run.
    pub user_id: String,
    /// What Docusign may send again after the cursor.
    #[serde(default, skip_serializing_if = "Trail::is_empty")]
    pub trail: Trail,
    /// Until then Docusign's calls are left to others, an ISO 8601 date-time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<String>,
    /// The `start_from` that was logged as ignored: once is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_start_from: Option<String>,
}

/// What makes a cursor meaningless elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `production` or `demo`.
    pub environment: String,
    /// Host of the Monitor API.
    pub host: String,
    /// Generation of the endpoint.
    pub generation: String,
    /// The organization, where the endpoint names one.
    pub organization_id: Option<String>,
}

impl Position {
    /// The position of an input that has read nothing: the next run starts at `cursor`.
    #[must_use]
    pub fn first(cursor: String, settings: &Settings) -> Self {
        Self {
            cursor_before_last_records: cursor.clone(),
            cursor,
            state: State::Closed,
            identity: Identity::of(settings),
            user_id: settings.identity.user_id.clone(),
            trail: Trail::default(),
            paused_until: None,
            ignored_start_from: None,
        }
    }

    /// How long Docusign's calls are left to others. A moment that is too far away comes from another clock.
    #[must_use]
    pub fn pause(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let until = DateTime::parse_from_rfc3339(self.paused_until.as_ref()?).ok()?;
        let pause = until.to_utc() - now;
        (pause > TimeDelta::zero() && pause <= LONGEST_PAUSE).then_some(pause)
    }

    /// The cursor that a run starts with.
    #[must_use]
    pub fn start(&self) -> &str {
        match self.state {
            State::Open => &self.cursor_before_last_records,
            State::Closed => &self.cursor,
        }
    }
}

impl Identity {
    /// The stream that the settings lead to.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            environment: settings.environment.name().to_owned(),
            host: settings.stream.monitor_url.host().to_owned(),
            generation: settings.stream.generation().name().to_owned(),
            organization_id: settings.stream.organization_id.clone(),
        }
    }
}

/// What a run that resumes finds.
pub enum Resumed {
    /// The position from which it collects; it has begun.
    Begun(Box<Position>),
    /// For this time Docusign's calls are left to others.
    Paused(TimeDelta),
}

/// Finds the position to continue from, or the first one, and begins the run there before the first request to
/// Docusign. `skew` makes that request, and says how far Docusign's clock is ahead of ours; it is called while the
/// position is still a date.
///
/// # Errors
/// There is a position, but it cannot be used, or the first one cannot be saved, or another member has begun.
pub fn resume(
    store: &mut dyn PositionStore,
    settings: &Settings,
    log: &Log,
    clock: &dyn Clock,
    skew: impl FnOnce() -> TimeDelta,
) -> Result<Resumed, NotSaved> {
    let action = |action| Fields::new().with("action", action);
    let saved = match store.load()? {
        Loaded::None => {
            let mut position = Position::first(settings.start_from.cursor(clock.now()), settings);
            store.begin(&position, true)?;
            let fields = action("first_run").with("cursor", &position.cursor);
            log.info(&fields, "No position is saved yet; collecting starts here.");
            follow_docusigns_clock(&mut position, true, store, settings, log, clock, skew)?;
            return Ok(Resumed::Begun(Box::new(position)));
        }
        Loaded::Newest(saved) => saved,
        Loaded::Previous(saved, problem) => {
            let fields = action("load_checkpoint").with("cursor", saved.checkpoint.start());
            let sentence = format!(
                "{problem}. Using the previous copy of the checkpoint; some records may arrive twice"
            );
            log.warn(&fields, &sentence);
            saved
        }
    };
    let mut position = adopt(saved, &store.name(), settings, log)?;
    if let Some(pause) = position.pause(clock.now()) {
        return Ok(Resumed::Paused(pause));
    }
    position.paused_until = None;
    let is_new = note_ignored_start(&mut position, settings, log);
    if position.state == State::Open {
        let fields = action("resume_after_cut_off")
            .with("cursor", position.start())
            .with("cursor_saved", &position.cursor);
        log.info(
            &fields,
            "The previous run was cut off. This one starts before its last page with records, which may arrive twice.",
        );
        position.cursor = position.start().to_owned();
        // What has been read before the cut may be lost, so nothing counts as delivered.
        position.trail = Trail::default();
    }
    store.begin(&position, is_new)?;
    follow_docusigns_clock(&mut position, false, store, settings, log, clock, skew)?;
    Ok(Resumed::Begun(Box::new(position)))
}

/// Sets a first position again that a wrong clock of this machine has put into the future, where it would wait for
/// years. A position `is_new` if this run has made it; another one stays where it is unless it lies ahead.
fn follow_docusigns_clock(
    position: &mut Position,
    is_new: bool,
    store: &mut dyn PositionStore,
    settings: &Settings,
    log: &Log,
    clock: &dyn Clock,
    skew: impl FnOnce() -> TimeDelta,
) -> Result<(), NotSaved> {
    let Ok(date) = DateTime::parse_from_rfc3339(&position.cursor) else {
        // Docusign's own cursors have nothing to do with clocks.
        return Ok(());
    };
    let skew = skew();
    if skew.is_zero() {
        return Ok(());
    }
    let now = clock.now() + skew;
    if is_new || date > now {
        settings.start_from.require_past(now)?;
        let cursor = settings.start_from.cursor(now);
        *position = Position::first(cursor, settings);
        store.save(position)?;
    }
    let fields = Fields::new()
        .with("action", "check_clock")
        .with("skew_s", skew.num_seconds())
        .with("cursor", &position.cursor);
    log.warn(
        &fields,
        "This machine's clock differs from Docusign's. The first position follows Docusign's clock; set this machine's right.",
    );
    Ok(())
}

/// Logs once, not every minute, that a position makes `start_from` meaningless; true if the position notes it now.
fn note_ignored_start(position: &mut Position, settings: &Settings, log: &Log) -> bool {
    let ignored = settings.start_from.text();
    let is_new = ignored.is_some() && position.ignored_start_from != ignored;
    if is_new {
        let fields = Fields::new()
            .with("action", "ignore_start_from")
            .with("cursor", position.start());
        log.info(
            &fields,
            "A position is saved, so start_from is ignored; the command reset --to start would apply it.",
        );
        position.ignored_start_from = ignored;
    }
    is_new
}

/// Checks that a saved position belongs to the stream of the settings.
fn adopt(saved: Saved<Position>, name: &str, settings: &Settings, log: &Log) -> Result<Position> {
    let Saved { at, checkpoint } = saved;
    let mut position = checkpoint;
    let identity = Identity::of(settings);
    let same_place = Identity {
        environment: position.identity.environment.clone(),
        ..identity.clone()
    };
    if position.identity != same_place {
        let new_generation = position.identity.generation != identity.generation;
        if !new_generation || position.identity.environment != identity.environment {
            return Err(anyhow!(
                "{name} belongs to {}, but the settings now lead to {}. Put the settings back, or set the position of this input with the command reset, or create a new input with start_from",
                position.identity,
                identity,
            ));
        }
        let cursor = iso(at - GENERATION_OVERLAP);
        let fields = Fields::new()
            .with("action", "change_generation")
            .with("generation_from", &position.identity.generation)
            .with("generation_to", &identity.generation)
            .with("cursor", &cursor);
        log.warn(
            &fields,
            "The other Monitor endpoint is used now, and its cursors are different. Collecting continues from an hour before the last save; records from that hour arrive twice.",
        );
        position = Position::first(cursor, settings);
    }
    let user_id = &settings.identity.user_id;
    if position.user_id != *user_id {
        let fields = Fields::new()
            .with("action", "change_user")
            .with("user_id_from", &position.user_id)
            .with("user_id_to", user_id);
        log.info(&fields, "The service user has changed; the position stays.");
        position.user_id.clone_from(user_id);
    }
    position.identity = identity;
    Ok(position)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.host, self.environment)?;
        if let Some(id) = &self.organization_id {
            write!(f, ", organization {id}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::{Identity, Position, State, Trail};
    use crate::params::iso;

    /// A clock that was years ahead would otherwise stop the feed for years.
    #[test]
    fn a_pause_that_ends_too_late_is_not_kept() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let pause = |seconds: i64| {
            let position = Position {
                cursor: String::new(),
                cursor_before_last_records: String::new(),
                state: State::Closed,
                identity: Identity {
                    environment: String::new(),
                    host: String::new(),
                    generation: String::new(),
                    organization_id: None,
                },
                user_id: String::new(),
                trail: Trail::default(),
                paused_until: Some(iso(now + TimeDelta::seconds(seconds))),
                ignored_start_from: None,
            };
            position.pause(now).map(|pause| pause.num_seconds())
        };
        assert_eq!(pause(3600), Some(3600));
        assert_eq!(pause(3601), None);
        assert_eq!(pause(0), None);
        assert_eq!(pause(-5), None);
    }
}
