//! The `ds_monitor` input: Docusign's records become Splunk's events, a cursor becomes a checkpoint.
//!
//! A run reads like this: `configure` opens the stanza, `position` says where to start, `delivery` is the path from
//! pages to the checkpoint. `validation` is the test on saving, `commands` are for a person.

pub(crate) mod checks;
mod commands;
pub mod configure;
mod delivery;
mod pages;
pub mod position;
pub mod position_store;
mod proxy;
pub mod settings;
pub mod start_from;
pub(crate) mod validation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};

use crate::docusign::client::Client;
use crate::docusign::jwt_grant::JwtGrant;
use crate::docusign::monitor_api::{End, MonitorApi, Record, Stream};
use crate::failures;
use crate::splunk::checkpoint::{CheckpointStore, Opened};
use crate::splunk::command_line::Command;
use crate::splunk::event::EventSink;
use crate::splunk::hec::{Collector, HecWriter, RefusedEvent};
use crate::splunk::input_definition::InputDefinition;
use crate::splunk::lease::Loss;
use crate::splunk::log::{Failure, Fields, Level, Log};
use crate::splunk::progress::Reached;
use crate::splunk::rest::{Rest, RestError};
use crate::splunk::scheme::Scheme;
use crate::splunk::status::Status;
use crate::splunk::stdout::require_standard_output;
use crate::splunk::{Input, ModularInput, Open, Session};
use configure::{Configured, KeySource, Pasted, configure};
use delivery::{Delivery, Summary, drain};
use pages::Pages;
use position::{Resumed, resume};
use position_store::{NotSaved, Opening, Place};
use settings::{DS_MONITOR, HEC_URL, PRIVATE_KEY_PATH};

/// How long another process may hold the lock of an input without saving anything.
const MAX_IDLE: TimeDelta = TimeDelta::hours(1);

/// The modular input `ds_monitor`.
pub struct DsMonitor;

impl ModularInput for DsMonitor {
    fn scheme(&self) -> &'static Scheme {
        &DS_MONITOR
    }

    fn validate(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        validation::validate(definition, session)
    }

    fn runs_alone(&self) -> Option<Open> {
        Some(|definition, session| Ok(Box::new(Collection::open(definition, session)?)))
    }

    fn commands(&self) -> &'static [Command] {
        commands::COMMANDS
    }

    fn run(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        Collection::open(definition, session)?.run(session)
    }
}

/// An input that is ready to collect. Its connections and its token serve all its runs.
struct Collection {
    input: String,
    splunkd: Rest,
    checkpoint_dir: PathBuf,
    configured: Configured,
    client: Client,
    grant: JwtGrant,
    /// Where the events go; without one, to the standard output.
    collector: Option<Collector>,
}

impl Collection {
    fn open(definition: InputDefinition, session: &Session) -> Result<Self> {
        let InputDefinition {
            splunkd,
            checkpoint_dir,
            stanza,
        } = definition;
        let input = DS_MONITOR.input(&stanza.name);
        let configured = configure(stanza, &splunkd, session.clock.now())
            .map_err(|reason| Failure::of_configuration(&reason.into()))?;
        let Configured { settings, key, .. } = &configured;
        let client = Client::new(
            settings.network.clone(),
            Arc::clone(&session.clock),
            failures::docusign_remedy,
            failures::log_trouble(session.log.for_input(&input)),
        )
        .map_err(|error| Failure::of_configuration(&error))?;
        let grant = JwtGrant::new(client.clone(), settings.identity.clone(), key.clone());
        let collector = settings.hec.as_ref().map(Collector::new).transpose();
        let collector = collector.map_err(|error| Failure::of_configuration(&error))?;
        Ok(Self {
            input,
            splunkd,
            checkpoint_dir,
            configured,
            client,
            grant,
            collector,
        })
    }
}

impl Input for Collection {
    fn run(&mut self, session: &Session) -> Result<()> {
        let log = session.log.for_input(&self.input);
        let now = session.clock.now();
        if self.collector.is_none() {
            require_standard_output().map_err(|error| Failure::of_configuration(&error))?;
        }
        let opened = CheckpointStore::try_open(&self.checkpoint_dir, &self.input, now)
            .map_err(|error| Failure::of("load_checkpoint", &error))?;
        let file = match opened {
            Opened::Locked(file) => file,
            Opened::Busy(since) => return skip(since, now, &log),
        };
        // Once is enough where runs follow one another.
        for note in std::mem::take(&mut self.configured.notes) {
            log.warn(&Fields::new().with("action", "configure"), &note);
        }
        secure(&self.configured, &self.splunkd, &log);
        let settings = &self.configured.settings;
        let (input, splunkd) = (&self.input, &self.splunkd);
        let not_loaded = |error| Failure::of("load_checkpoint", &error);
        let place = Place::of(
            settings.position_store,
            splunkd,
            &self.checkpoint_dir,
            input,
        )
        .map_err(not_loaded)?;
        let opening = position_store::open(file, &place, input, splunkd, session, &log);
        let mut store = match opening.map_err(not_loaded)? {
            Opening::Ours(store) => store,
            Opening::Elsewhere(holder) => {
                return position_store::leave(Loss::Taken(Some(holder)), &log);
            }
        };
        let mut grant = self.grant.clone();
        let mut signed_in = Ok(());
        let skew = || {
            signed_in = grant.token().map(drop);
            self.client.skew()
        };
        let resumed = resume(&mut *store, settings, &log, &*session.clock, skew);
        // A refusal explains more than a position that could not be set after it.
        signed_in.map_err(failures::failure)?;
        let started = session.clock.elapsed();
        let position = match resumed {
            Ok(Resumed::Begun(position)) => *position,
            Ok(Resumed::Paused(pause)) => {
                log.info(
                    &Fields::new()
                        .with("action", "wait_for_budget")
                        .with("renewed_in_s", pause.num_seconds()),
                    "Docusign's calls are left to the account's other integrations until they are renewed.",
                );
                report(input, &place, &Summary::default(), false, session, started);
                return Ok(());
            }
            Err(NotSaved::Lost(loss)) => return position_store::leave(loss, &log),
            Err(NotSaved::Failed(error)) => return Err(not_loaded(error).into()),
        };

        // Up to here a signal ends the process at once, which costs nothing.
        session.stop_on_signals()?;
        let api = MonitorApi::new(self.client.clone(), grant, settings.stream.clone());
        let events = sink(self.collector.as_ref(), session, &log)?;
        let stream = Stream::after(api, position.cursor.clone(), position.trail.clone());
        let pages = Pages::fetch(stream)?;
        let clock = Arc::clone(&session.clock);
        let mut delivery = Delivery::new(events, store, position, clock, log.clone());
        let end = match drain(&pages, &mut delivery) {
            Ok(end) => end,
            Err(stop) => return delivery.give_up(stop),
        };

        let (summary, position) = delivery.finish();
        warn_of_end(end, &position.cursor, &log);
        report(
            input,
            &place,
            &summary,
            end.is_caught_up(),
            session,
            started,
        );
        Ok(())
    }
}

/// Leaves the work to the process that is at it, unless that one has been stuck for too long.
fn skip(since: Option<DateTime<Utc>>, now: DateTime<Utc>, log: &Log) -> Result<()> {
    let fields = Fields::new().with("action", "skip");
    match since.map(|since| now - since) {
        Some(idle) if idle > MAX_IDLE => Err(Failure {
            status: Status::Failed,
            level: Level::Error,
            fields: fields.with("idle_s", idle.num_seconds()),
            sentence: "Another process holds the lock of this input and has saved nothing for over an hour. Find out why it is stuck, or end it; the next run continues from the saved position".to_owned(),
        }
        .into()),
        _ => {
            log.warn(
                &fields,
                "Another process is still collecting for this input; this one exits.",
            );
            Ok(())
        }
    }
}

/// Where the events go: to the event collector, if the input names one, else to the standard output.
fn sink(hec: Option<&Collector>, session: &Session, log: &Log) -> Result<Box<dyn EventSink>> {
    let Some(hec) = hec else {
        return Ok(Box::new(session.event_writer()?));
    };
    let on_refused = {
        let log = log.clone();
        move |refused: &RefusedEvent| {
            let record = Record {
                json: &refused.data,
                is_json: true,
            };
            let fields = Fields::new()
                .with("action", "refuse_event")
                .with("status", refused.status)
                .with_some("code", refused.code)
                .with_some("event_id", record.event_id())
                .with_some("time", record.timestamp());
            let sentence = format!(
                "The event collector refuses this record with {}, so it is left out. An input without {} that starts before it would collect it",
                refused.answer, HEC_URL.name
            );
            log.write(Level::Error, &fields, &sentence);
        }
    };
    let writer = HecWriter::new(
        hec,
        Arc::clone(&session.stop),
        Arc::clone(&session.clock),
        log.clone(),
        Arc::new(on_refused),
    )
    .map_err(|error| Failure::of_configuration(&error))?;
    Ok(Box::new(writer))
}

/// Warns of a stream that ended otherwise than by being caught up.
fn warn_of_end(end: End, cursor: &str, log: &Log) {
    let fields = |action| Fields::new().with("action", action).with("cursor", cursor);
    match end {
        // A budget is told where it is noticed.
        End::CaughtUp | End::BudgetSpent { .. } => {}
        End::NoCursor => log.warn(
            &fields("keep_cursor"),
            "Docusign answered without records and without a cursor, which counts as the end of the stream; the position stays.",
        ),
        End::OnlyEmptyPages => log.warn(
            &fields("leave_rest"),
            "Docusign sent only empty pages for a while; the next run continues from here.",
        ),
        End::OnlyRepeatedPages => log.warn(
            &fields("leave_rest"),
            "Docusign sent only records that had been delivered just before; the next run continues from here.",
        ),
        End::LeadsBack => log.warn(
            &fields("keep_cursor"),
            "Docusign's next cursor leads back to an earlier page, so it is not followed: everything would come again. The position stays until Docusign names another cursor; tell Docusign's support if it does not.",
        ),
    }
}

/// The run's last line. A silent feed is one without it, so it is written for a run without events too.
fn report(
    input: &str,
    place: &Place,
    run: &Summary,
    is_caught_up: bool,
    session: &Session,
    started: Duration,
) {
    let now = session.clock.now();
    let refused = usize::try_from(run.refused).unwrap_or_default();
    let line = Fields::new()
        .with("action", "events_ingested")
        .with("modular_input_name", input)
        .with("sourcetype_ingested", DS_MONITOR.kind)
        .with_some("member", place.member.as_ref())
        .with("n_events", run.events.saturating_sub(refused))
        .with_some("n_refused", (refused > 0).then_some(refused))
        .with("pages", run.pages)
        .with("caught_up", is_caught_up)
        .with_some("lag_s", run.newest.map(|newest| now.timestamp() - newest))
        .with(
            "duration_ms",
            session.clock.elapsed().saturating_sub(started).as_millis(),
        );
    session.log.info(&line, "The run is complete.");
    session.log.for_input(input).reached(Reached {
        events: run.events,
        pages: run.pages,
        newest: run.newest,
        elapsed: session.clock.elapsed().saturating_sub(started),
        complete: true,
    });
}

/// Moves pasted secrets to secure storage. Collecting continues if that fails, because a key in clear text is no
/// reason to lose records.
fn secure(configured: &Configured, splunkd: &Rest, log: &Log) {
    let pasted: &Pasted = &configured.pasted;
    if pasted.is_empty() {
        return;
    }
    let fields = Fields::new().with("action", "secure_secrets");
    let error = match pasted.move_to_storage(splunkd) {
        Ok(()) => {
            return log.info(
                &fields,
                "The pasted secrets are in Splunk's secure storage now, and masked in inputs.conf.",
            );
        }
        Err(error) => error,
    };
    if matches!(error.downcast_ref(), Some(RestError::NoSplunkd)) {
        return;
    }
    let remedy = match configured.key_source {
        KeySource::Pasted => format!(
            "; a key in a file, named by {}, needs no secure storage",
            PRIVATE_KEY_PATH.name
        ),
        KeySource::Stored | KeySource::File => String::new(),
    };
    log.warn(
        &fields,
        &format!(
            "A secret is still in clear text in inputs.conf: {error:#}. The next run tries again{remedy}"
        ),
    );
}
