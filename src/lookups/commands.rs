//! The command for a person: `check`.

use anyhow::Result;

use super::rows::app_folder;
use super::settings::{DS_LOOKUPS, LookupSettings, Output};
use crate::docusign::directory_api::{DirectoryApi, Part, scopes};
use crate::docusign::jwt_grant::JwtGrant;
use crate::monitor::checks::{organizations, profiles, step_of, token, users};
use crate::monitor::configure::configure;
use crate::monitor::validation::client;
use crate::splunk::Session;
use crate::splunk::command_line::{Command, Given, JSON};
use crate::splunk::input_definition::InputDefinition;
use crate::splunk::screen::{Finding, Screen};
use crate::splunk::status::Status;

/// The commands for a person.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "check",
    summary: "test everything the refresh needs, step by step",
    examples: &[
        ("In Splunk, test an input", ""),
        ("The same for a program", "--json"),
    ],
    options: &[&JSON],
    uses_folder: false,
    carry_out: check,
}];

/// Walks through everything the refresh needs.
fn check(given: &Given, definition: InputDefinition, session: &Session) -> Result<Status> {
    let input = DS_LOOKUPS.input(&definition.stanza.name);
    Screen::new(given.has(&JSON))?.check(&input, |screen| check_steps(definition, session, screen))
}

/// The steps, to the first one without which the next makes no sense.
fn check_steps(definition: InputDefinition, session: &Session, screen: &mut Screen) -> Result<()> {
    let InputDefinition {
        splunkd, stanza, ..
    } = definition;
    let wrong =
        |error: anyhow::Error| Finding::Problem(Status::Configuration, format!("{error:#}"));
    let settings = match LookupSettings::of(&stanza, &splunkd) {
        Ok(settings) => settings,
        Err(error) => return screen.step("Configuration", &wrong(error)),
    };
    let kinds: Vec<_> = [
        (settings.users, "users"),
        (settings.accounts, "accounts"),
        (settings.profiles, "profiles"),
    ]
    .into_iter()
    .filter_map(|(wanted, kind)| wanted.then_some(kind))
    .collect();
    let output = match settings.output {
        Output::Csv => match app_folder() {
            Ok(folder) => format!("lookup files in {}", folder.display()),
            Err(error) => return screen.step("Configuration", &wrong(error)),
        },
        Output::Index => "events for the search heads".to_owned(),
    };
    screen.step(
        "Configuration",
        &Finding::Ok(format!("{}, as {output}", kinds.join(", "))),
    )?;

    let name = &settings.monitor_input;
    let monitor = match settings.monitor_stanza(&splunkd) {
        Ok(monitor) => monitor,
        Err(error) => return screen.step("Monitor input", &wrong(error)),
    };
    screen.step("Monitor input", &Finding::Ok(name.clone()))?;
    let monitor = match configure(monitor, &splunkd, session.clock.now()) {
        Ok(monitor) => monitor,
        Err(reason) => {
            let (step, status) = step_of(&reason);
            let problem = format!("the Monitor input {name} cannot be used: {reason}");
            return screen.step(step, &Finding::Problem(status, problem));
        }
    };
    let client = client(&monitor.settings, &session.clock)?;
    let identity = settings.identity(monitor.settings.identity);
    let (parts, needed) = (settings.parts(), settings.needed_parts());
    let identity = identity.with_scopes(&scopes(&needed), &scopes(&parts));
    let mut grant = JwtGrant::new(client.clone(), identity.clone(), monitor.key.clone());
    if !token(&mut grant, &identity, screen)? {
        return Ok(());
    }
    let admin_url = monitor.settings.admin_url;
    let key = monitor.key;
    let mut directory = DirectoryApi::new(client, &identity, key, admin_url, &parts);
    if settings.users {
        screen.step("Users", &users(&mut directory))?;
    }
    // Without them, users of the accounts that the service user is a member of can still be refreshed.
    let organizations = match organizations(&mut directory) {
        Finding::Problem(_, text) if !settings.accounts => Finding::Note(text),
        finding => finding,
    };
    screen.step("Organizations", &organizations)?;
    if settings.profiles && matches!(organizations, Finding::Ok(_)) {
        let profiles = match profiles(&mut directory) {
            Finding::Problem(_, text) if !needed.contains(&Part::Profiles) => {
                Finding::Note(format!("The lookup ds_profiles stays as it is. {text}"))
            }
            finding => finding,
        };
        screen.step("Profiles", &profiles)?;
    }
    Ok(())
}
