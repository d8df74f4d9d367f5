//! Where the rows of a refresh go: into the app's lookup files, or out as events.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::settings::OUTPUT;
use super::table::{Key, Table, Update};
use crate::base::clock::{Clock, Timestamp};
use crate::monitor::settings::APP;
use crate::params::iso;
use crate::splunk;
use crate::splunk::event::{Event, EventSink};
use crate::splunk::stdout::EventWriter;

/// Names and more by `userId`.
pub static USERS: Table = Table {
    name: "ds_users",
    columns: &[
        "userId",
        "accountId",
        "user_name",
        "user_email",
        "first_name",
        "last_name",
        "user_status",
        "user_type",
        "is_admin",
        "permission_profile",
        "job_title",
        "company",
        "user_created",
        "last_login",
    ],
    key_columns: 2,
    first: Some(("user_status", "Active")),
};

/// Names and more by `accountId`.
pub static ACCOUNTS: Table = Table {
    name: "ds_accounts",
    columns: &[
        "accountId",
        "account_name",
        "external_account_id",
        "site_id",
        "organizationId",
        "organization_name",
        "base_uri",
        "is_default",
    ],
    key_columns: 1,
    first: None,
};

/// Names of permission profiles and groups. Docusign numbers them per account.
pub static PROFILES: Table = Table {
    name: "ds_profiles",
    columns: &["kind", "id", "accountId", "name"],
    key_columns: 3,
    first: None,
};

/// Where rows go.
pub(super) trait Rows {
    /// A user's row, the values of [`USERS`]' columns; true if it is new in this refresh.
    fn user(&mut self, values: &[&str]) -> Result<bool>;
    /// An account's row, the values of [`ACCOUNTS`]' columns.
    fn account(&mut self, values: &[&str]) -> Result<()>;
    /// The row of a permission profile or group, the values of [`PROFILES`]' columns; true if it is new in this
    /// refresh.
    fn profile(&mut self, values: &[&str]) -> Result<bool>;
    /// The end of a refresh in which all that is `complete` was read.
    fn finish(self: Box<Self>, complete: &Coverage) -> Result<()>;
}

/// What a refresh has read to the end.
pub(super) struct Coverage {
    pub(super) users: bool,
    pub(super) accounts: bool,
    pub(super) profiles: bool,
    /// Accounts whose users were read to the end, in lower case.
    pub(super) read_accounts: HashSet<String>,
    /// Whether all accounts there are were looked at, so that one that is not among them is gone.
    pub(super) all_accounts: bool,
}

/// The app's folder with the lookup files.
///
/// # Errors
/// It is unknown.
pub(super) fn app_folder() -> Result<PathBuf> {
    let home = splunk::home().with_context(|| {
        format!(
            "SPLUNK_HOME is not set, so the app's lookups folder is unknown: {} must be index",
            OUTPUT.name
        )
    })?;
    Ok(home.join("etc/apps").join(APP).join("lookups"))
}

/// Rows for the app's lookup files.
pub(super) struct CsvRows {
    users: Update,
    accounts: Update,
    profiles: Update,
    master_folder: PathBuf,
    app_folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl CsvRows {
    /// Rows of `monitor_input` that are seen at the time `now`; the masters lie in `master_folder`.
    ///
    /// # Errors
    /// The app's folder is unknown, or the master folder cannot be written to.
    pub(super) fn new(
        master_folder: PathBuf,
        monitor_input: &str,
        now: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let app_folder = app_folder()?;
        let update = |table| Update::new(table, &master_folder, monitor_input, now);
        Ok(Self {
            users: update(&USERS)?,
            accounts: update(&ACCOUNTS)?,
            profiles: update(&PROFILES)?,
            master_folder,
            app_folder,
            clock: Arc::clone(clock),
        })
    }
}

impl Rows for CsvRows {
    fn user(&mut self, values: &[&str]) -> Result<bool> {
        self.users.add(values)
    }

    fn account(&mut self, values: &[&str]) -> Result<()> {
        self.accounts.add(values).map(|_| ())
    }

    fn profile(&mut self, values: &[&str]) -> Result<bool> {
        self.profiles.add(values)
    }

    fn finish(self: Box<Self>, complete: &Coverage) -> Result<()> {
        let (folder, clock) = (&self.master_folder, &*self.clock);
        let mut tables = Vec::new();
        if complete.users {
            tables.push(self.users.merge(folder, clock, |value| {
                let account = value("accountId").to_ascii_lowercase();
                complete.all_accounts || complete.read_accounts.contains(&account)
            })?);
        }
        if complete.accounts {
            tables.push(self.accounts.merge(folder, clock, |_| true)?);
        }
        if complete.profiles {
            tables.push(self.profiles.merge(folder, clock, |_| true)?);
        }
        // Only when all of them are written does the first take its place.
        for table in tables {
            table.put_in_place(&self.app_folder)?;
        }
        Ok(())
    }
}

/// Rows as events, each with the refresh it belongs to, and at the end one that counts them.
pub(super) struct EventRows {
    events: EventWriter,
    seen: HashSet<Key>,
    n_users: usize,
    n_accounts: usize,
    n_profiles: usize,
    refresh_id: String,
    monitor_input: String,
    time: String,
}

impl EventRows {
    /// Rows of `monitor_input` that the input `name` sends at the time `now`.
    pub(super) fn new(
        events: EventWriter,
        monitor_input: String,
        name: &str,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            events,
            seen: HashSet::new(),
            n_users: 0,
            n_accounts: 0,
            n_profiles: 0,
            // The time distinguishes refreshes, and the name those of the same moment.
            refresh_id: format!("{}-{name}", now.timestamp_millis()),
            monitor_input,
            time: iso(now),
        }
    }

    /// Whether a row is none that came before. One that moves to another page while pages are read comes twice.
    fn is_new(&mut self, table: &Table, values: &[&str]) -> bool {
        let key = table.key(values.iter().map(|value| value.as_bytes()));
        self.seen.insert(key)
    }

    fn write(&mut self, sourcetype: &'static str, mut row: Map<String, Value>) -> Result<()> {
        row.insert(
            "monitor_input".to_owned(),
            self.monitor_input.clone().into(),
        );
        row.insert("last_seen".to_owned(), self.time.clone().into());
        row.insert("refresh_id".to_owned(), self.refresh_id.clone().into());
        let data = serde_json::to_string(&row)?;
        let event = Event {
            time: Timestamp::parse(&self.time),
            sourcetype: Some(sourcetype),
            data: &data,
            is_json: true,
        };
        Ok(self.events.write(&event)?)
    }
}

fn object(table: &Table, values: &[&str]) -> Map<String, Value> {
    let values = values.iter().map(|value| Value::from(*value));
    let columns = table.columns.iter().map(|column| (*column).to_owned());
    columns.zip(values).collect()
}

impl Rows for EventRows {
    fn user(&mut self, values: &[&str]) -> Result<bool> {
        if !self.is_new(&USERS, values) {
            return Ok(false);
        }
        self.write("ds_monitor:user", object(&USERS, values))?;
        self.n_users += 1;
        Ok(true)
    }

    fn account(&mut self, values: &[&str]) -> Result<()> {
        self.n_accounts += 1;
        self.write("ds_monitor:account", object(&ACCOUNTS, values))
    }

    fn profile(&mut self, values: &[&str]) -> Result<bool> {
        if !self.is_new(&PROFILES, values) {
            return Ok(false);
        }
        self.write("ds_monitor:profile", object(&PROFILES, values))?;
        self.n_profiles += 1;
        Ok(true)
    }

    fn finish(mut self: Box<Self>, complete: &Coverage) -> Result<()> {
        let mut counts = Map::new();
        if complete.users {
            counts.insert("n_users".to_owned(), self.n_users.into());
        }
        if complete.accounts {
            counts.insert("n_accounts".to_owned(), self.n_accounts.into());
        }
        if complete.profiles {
            counts.insert("n_profiles".to_owned(), self.n_profiles.into());
        }
        self.write("ds_monitor:refresh", counts)?;
        Ok(self.events.finish()?)
    }
}
