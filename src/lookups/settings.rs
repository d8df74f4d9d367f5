//! The declaration of every argument of `ds_lookups`, and its checked settings.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};

use crate::docusign::directory_api::Part;
use crate::docusign::jwt_grant::Applicant;
use crate::monitor::configure::{Configured, configure};
use crate::monitor::settings::{APP, COLLECT, DOCUSIGN_APP, DS_MONITOR};
use crate::params;
use crate::splunk::input_definition::Stanza;
use crate::splunk::rest::{Entry, Rest};
use crate::splunk::scheme::{Argument, Field, Scheme};

const MONITOR_INPUT: Argument = Argument {
    name: "monitor_input",
    title: "Monitor input",
    description: "Name of the Docusign Monitor input whose settings and key are used. It may be disabled.",
    required: true,
    group: DOCUSIGN_APP,
    field: Field::SelectFrom("/data/inputs/ds_monitor"),
    ..Argument::OPTIONAL_TEXT
};

const USER_ID: Argument = Argument {
    name: "user_id",
    title: "User ID",
    description: "GUID of another user the app acts for, if the one of the Monitor input may not list users.",
    default: Some("the user of the Monitor input"),
    group: DOCUSIGN_APP,
    ..Argument::OPTIONAL_TEXT
};

const KINDS: Argument = Argument {
    name: "kinds",
    title: "Kinds",
    description: "What to refresh: users, accounts, profiles (permission profiles and groups), separated by commas.",
    default: Some("users,accounts,profiles"),
    group: COLLECT,
    ..Argument::OPTIONAL_TEXT
};

/// Where the rows go.
pub(super) const OUTPUT: Argument = Argument {
    name: "output",
    title: "Output",
    description: "csv writes the app's lookup files, for a single Splunk instance. index sends each row as an event, from which scheduled searches of the app make the lookups on the search heads: for forwarders, clusters and Splunk Cloud.",
    default: Some("csv"),
    group: COLLECT,
    field: Field::Select(&[
        ("csv", "csv: lookup files on this instance"),
        ("index", "index: events for the search heads"),
    ]),
    ..Argument::OPTIONAL_TEXT
};

/// The `ds_lookups` input as Splunk and its administrators know it.
pub const DS_LOOKUPS: Scheme = Scheme {
    app: APP,
    kind: "ds_lookups",
    title: "Docusign Monitor lookups",
    description: "Refreshes the lookups that name the users, accounts, permission profiles and groups in the events of Docusign Monitor.",
    arguments: &[MONITOR_INPUT, USER_ID, KINDS, OUTPUT],
};

/// The checked arguments of a `ds_lookups` input.
#[derive(Debug)]
pub(super) struct LookupSettings {
    /// Name of the `ds_monitor` input whose settings are used.
    pub(super) monitor_input: String,
    /// Another service user.
    pub(super) user_id: Option<String>,
    /// Whether users are refreshed.
    pub(super) users: bool,
    /// Whether accounts are refreshed.
    pub(super) accounts: bool,
    /// Whether permission profiles and groups are refreshed.
    pub(super) profiles: bool,
    /// Where the rows go.
    pub(super) output: Output,
}

/// Where the rows of a refresh go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Into the lookup files of the app.
    Csv,
    /// Into an index, one event per row.
    Index,
}

impl LookupSettings {
    /// Checks the arguments, and that this instance suits the output.
    ///
    /// # Errors
    /// The first argument that is wrong, and the form that is accepted.
    pub(super) fn of(stanza: &Stanza, splunkd: &Rest) -> Result<Self> {
        let prefix = DS_MONITOR.input("");
        let monitor_input = stanza
            .get(&MONITOR_INPUT)
            .map(|name| name.strip_prefix(&prefix).unwrap_or(name))
            .filter(|name| !name.is_empty())
            .with_context(|| {
                format!(
                    "the parameter {} is missing: enter the name of a Docusign Monitor input",
                    MONITOR_INPUT.name
                )
            })?;
        let (mut users, mut accounts, mut profiles) = (false, false, false);
        for kind in stanza.get_or_default(&KINDS).split(',') {
            match kind.trim() {
                "users" => users = true,
                "accounts" => accounts = true,
                "profiles" => profiles = true,
                _ => bail!(
                    "the parameter {} must be users, accounts and profiles, or some of them, separated by commas",
                    KINDS.name
                ),
            }
        }
        let settings = Self {
            monitor_input: monitor_input.to_owned(),
            user_id: params::optional_guid(stanza, &USER_ID)?,
            users,
            accounts,
            profiles,
            output: match stanza.get_or_default(&OUTPUT) {
                "csv" => Output::Csv,
                "index" => Output::Index,
                _ => bail!("the parameter {} must be csv or index", OUTPUT.name),
            },
        };
        settings.refuse_csv_where_it_is_lost(splunkd)?;
        Ok(settings)
    }

    /// The parties to a token for the directory, made of those of the Monitor input.
    pub(super) fn identity(&self, monitor: Applicant) -> Applicant {
        match &self.user_id {
            Some(user_id) => Applicant {
                user_id: user_id.clone(),
                ..monitor
            },
            None => monitor,
        }
    }

    /// The parts of the directory that are read.
    pub(super) fn parts(&self) -> Vec<Part> {
        let is_read = |part: &Part| match part {
            Part::Accounts | Part::Organizations => true,
            Part::Users | Part::OrganizationUsers => self.users,
            Part::Profiles => self.profiles,
        };
        Part::ALL.into_iter().filter(is_read).collect()
    }

    /// The parts without which a refresh is not what was asked for. Names of profiles are a bonus beside the others,
    /// because inputs that are older than they are have no consent for them.
    pub(super) fn needed_parts(&self) -> Vec<Part> {
        let mut parts = self.parts();
        if self.users || self.accounts {
            parts.retain(|part| *part != Part::Profiles);
        }
        parts
    }

    /// A file written on a forwarder or on one member of a cluster is seen by no search, or by one member's.
    fn refuse_csv_where_it_is_lost(&self, splunkd: &Rest) -> Result<()> {
        if self.output == Output::Index {
            return Ok(());
        }
        let instance = splunkd.instance().ok();
        match instance.as_ref().and_then(|it| it.role_without_lookups()) {
            Some(role) => bail!(
                "the parameter {} must be index on this instance ({role}): lookup files written here would not reach the searches",
                OUTPUT.name
            ),
            None => Ok(()),
        }
    }

    /// The `ds_monitor` input whose settings are used, ready for use.
    ///
    /// # Errors
    /// There is no such input, or it cannot be used.
    pub(super) fn monitor(&self, splunkd: &Rest, now: DateTime<Utc>) -> Result<Configured> {
        let stanza = self.monitor_stanza(splunkd)?;
        configure(stanza, splunkd, now).map_err(|reason| {
            anyhow!(
                "the Monitor input {} cannot be used: {reason}",
                self.monitor_input
            )
        })
    }

    /// The stanza of that input, as splunkd has it.
    ///
    /// # Errors
    /// There is no such input, or splunkd cannot be asked.
    pub(super) fn monitor_stanza(&self, splunkd: &Rest) -> Result<Stanza> {
        let name = &self.monitor_input;
        let entry = splunkd
            .input(DS_MONITOR.kind, name)
            .context("the settings of the Monitor input cannot be read")?;
        let Some(entry) = entry else {
            let others = splunkd
                .inputs(DS_MONITOR.kind)
                .context("the Monitor inputs cannot be listed")?;
            bail!(
                "the parameter {} names no Docusign Monitor input: \"{name}\"; {}",
                MONITOR_INPUT.name,
                existing(others)
            );
        };
        let params: BTreeMap<String, String> = DS_MONITOR
            .arguments
            .iter()
            .filter_map(|argument| Some((argument.name.to_owned(), entry.text(argument.name)?)))
            .collect();
        Ok(Stanza::new(name.clone(), None, params))
    }
}

fn existing(inputs: Vec<Entry>) -> String {
    let names: Vec<_> = inputs.into_iter().map(|input| input.name).collect();
    match names.as_slice() {
        [] => "there is none yet".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    }
}
