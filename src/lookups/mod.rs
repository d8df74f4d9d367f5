//! The `ds_lookups` input: Docusign's users, accounts, organizations, permission profiles and groups become the rows
//! that name the IDs in events.
//!
//! Settings and key are those of a `ds_monitor` input, read from splunkd: nothing is typed twice, and that input's
//! secrets never move. A part of the directory that the user may not read leaves its lookup as it is, with a warning
//! that says what opens it; any other failure leaves everything as it is.

mod commands;
mod refresh;
mod rows;
mod settings;
pub mod table;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::docusign::client::Client;
use crate::docusign::directory_api::DirectoryApi;
use crate::failures;
use crate::monitor::configure::Configured;
use crate::monitor::position_store::Place;
use crate::monitor::settings::DS_MONITOR;
use crate::params::iso;
use crate::splunk::command_line::Command;
use crate::splunk::input_definition::InputDefinition;
use crate::splunk::log::{Failure, Level};
use crate::splunk::scheme::Scheme;
use crate::splunk::{ModularInput, Session};
use refresh::Refresh;
use rows::{CsvRows, EventRows, Rows};
use settings::{LookupSettings, Output};
use turn::Turn;

pub use rows::{ACCOUNTS, PROFILES, USERS};
pub use settings::DS_LOOKUPS;

/// Longest wait for Docusign's calls to be renewed, which happens once per hour: a refresh may take its time.
const LONGEST_BUDGET_WAIT: Duration = Duration::from_secs(3600);

/// The modular input `ds_lookups`.
pub struct DsLookups;

impl ModularInput for DsLookups {
    fn scheme(&self) -> &'static Scheme {
        &DS_LOOKUPS
    }

    fn validate(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        let InputDefinition {
            splunkd, stanza, ..
        } = definition;
        let settings = LookupSettings::of(&stanza, &splunkd)?;
        settings.monitor(&splunkd, session.clock.now()).map(|_| ())
    }

    fn commands(&self) -> &'static [Command] {
        commands::COMMANDS
    }

    fn run(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        let InputDefinition {
            splunkd,
            checkpoint_dir,
            stanza,
        } = definition;
        let failure = |error: anyhow::Error| Failure::of_configuration(&error);
        let now = session.clock.now();
        let input = DS_LOOKUPS.input(&stanza.name);
        let log = session.log.for_input(&input);
        let settings = LookupSettings::of(&stanza, &splunkd).map_err(failure)?;
        let Configured {
            settings: monitor,
            key,
            ..
        } = settings.monitor(&splunkd, now).map_err(failure)?;
        let store = monitor.position_store;
        let place = Place::of(store, &splunkd, &checkpoint_dir, &input).map_err(failure)?;
        let turn = Turn::take(&place, &input, &splunkd, session, &log);
        let Some(turn) = turn.map_err(failure)? else {
            return Ok(());
        };

        let mut network = monitor.network;
        network.patience.budget = LONGEST_BUDGET_WAIT;
        let client = Client::new(
            network,
            Arc::clone(&session.clock),
            failures::docusign_remedy,
            failures::log_trouble(log.clone()),
        )
        .map_err(failure)?;
        let identity = settings.identity(monitor.identity);
        let parts = settings.parts();
        let directory = DirectoryApi::new(client, &identity, key, monitor.admin_url, &parts);

        let monitor_input = DS_MONITOR.input(&settings.monitor_input);
        let rows: Box<dyn Rows> = match settings.output {
            Output::Csv => Box::new(CsvRows::new(
                checkpoint_dir,
                &monitor_input,
                &iso(now),
                &session.clock,
            )?),
            Output::Index => Box::new(EventRows::new(
                session.event_writer()?,
                monitor_input,
                &stanza.name,
                now,
            )),
        };
        let refreshed = Refresh::new(directory, rows, log.clone()).run(&settings);
        let refreshed = turn.end(refreshed, &log);
        match refreshed.map_err(|error| error.downcast::<Failure>()) {
            // Not the end of anything: the tables stay as they are until the next refresh.
            Err(Ok(put_off)) if put_off.level == Level::Info => {
                log.info(&put_off.fields, &put_off.sentence);
                Ok(())
            }
            Err(Ok(failure)) => Err(failure.into()),
            Err(Err(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }
}
