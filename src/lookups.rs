//! The `ds_lookups` input: Docusign's users, accounts and organizations become the rows that name the GUIDs in events.
//!
//! Settings and key are those of a `ds_monitor` input, read from splunkd; nothing is typed twice, and that input's
//! secrets are never moved. Rows go into lookup files (`csv`) or out as events (`index`), one at a time. A part of
//! the directory that the user may not read leaves its lookup as it is, with a warning that says what opens it; any
//! other failure leaves everything as it is.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::docusign::client::{ApiError, Client};
use crate::docusign::directory_api::{DirectoryApi, Organization, Part, User, UserInfo, UserPage};
use crate::docusign::jwt_grant::{CONSENT_REQUIRED, PrivateKey};
use crate::docusign::{BaseUrl, is_guid};
use crate::failures;
use crate::settings::{self, DS_LOOKUPS, DS_MONITOR, LookupSettings, Output, Settings, iso};
use crate::splunk::credentials;
use crate::splunk::event::{Event, EventSink, EventWriter};
use crate::splunk::input_definition::{InputDefinition, Stanza};
use crate::splunk::log::{Failure, Fields, Log};
use crate::splunk::lookup_table::{Key, Refresh, Table};
use crate::splunk::rest::Rest;
use crate::splunk::scheme::Scheme;
use crate::splunk::{ModularInput, Session};

/// After so many users there is a line in the log.
const PROGRESS_USERS: usize = 5_000;

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

/// The modular input `ds_lookups`.
pub struct DsLookups;

impl ModularInput for DsLookups {
    fn scheme(&self) -> &'static Scheme {
        &DS_LOOKUPS
    }

    fn validate(&self, definition: InputDefinition, _: &Session) -> Result<()> {
        let settings = LookupSettings::of(&definition.stanza)?;
        let rest = Rest::new(&definition)?;
        refuse_csv_where_it_is_lost(&settings, &rest)?;
        monitor_stanza(&rest, &settings.monitor_input).map(|_| ())
    }

    fn run(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        let configure = |error: anyhow::Error| Failure::of("configure", &error);
        let input = DS_LOOKUPS.input(&definition.stanza.name);
        let log = session.log.for_input(&input);
        let settings = LookupSettings::of(&definition.stanza).map_err(configure)?;
        let rest = Rest::new(&definition);
        let (monitor, key) = monitor_settings(&rest, &settings, session).map_err(configure)?;

        let client = Client::new(
            monitor.network.clone(),
            Arc::clone(&session.clock),
            failures::docusign_remedy,
            failures::log_retries(log.clone()),
        )
        .map_err(configure)?;
        let mut identity = monitor.identity;
        if let Some(user_id) = &settings.user_id {
            identity.user_id.clone_from(user_id);
        }
        let parts: &[Part] = if settings.users {
            &Part::ALL
        } else {
            &[Part::Accounts, Part::Organizations]
        };
        let directory = DirectoryApi::new(client, &identity, key, monitor.admin_url, parts);

        let now = session.clock.now();
        let rows: Box<dyn Rows> = match settings.output {
            Output::Csv => {
                let monitor_input = DS_MONITOR.input(&settings.monitor_input);
                let folder = definition.checkpoint_dir.clone();
                Box::new(CsvRows::new(
                    folder,
                    &monitor_input,
                    &iso(now),
                    &session.clock,
                )?)
            }
            Output::Index => Box::new(EventRows {
                events: session.event_writer()?,
                seen: HashSet::new(),
                n_users: 0,
                n_accounts: 0,
                // The time tells refreshes apart, and the input those of the same second.
                refresh_id: format!("{}-{}", now.timestamp_millis(), definition.stanza.name),
                monitor_input: DS_MONITOR.input(&settings.monitor_input),
                time: iso(now),
            }),
        };
        let collector = Collector {
            directory,
            rows,
            log,
            users: 0,
            accounts: 0,
            read_accounts: HashSet::new(),
            passed_over: false,
            without_consent: Vec::new(),
        };
        collector.refresh(&settings)
    }
}

/// The stanza of the `ds_monitor` input whose settings are used, as splunkd has it.
fn monitor_stanza(rest: &Rest, name: &str) -> Result<Stanza> {
    let entry = rest
        .input(DS_MONITOR.kind, name)
        .context("the settings of the Monitor input cannot be read")?;
    let Some(entry) = entry else {
        let others = rest
            .get(&["servicesNS", "-", "-", "data", "inputs", DS_MONITOR.kind])
            .context("the Monitor inputs cannot be listed")?;
        let names: Vec<_> = others.into_iter().map(|entry| entry.name).collect();
        let existing = match names.as_slice() {
            [] => "there is none yet".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        bail!(
            "the parameter monitor_input names no Docusign Monitor input: \"{name}\"; {existing}"
        );
    };
    let params: BTreeMap<String, String> = DS_MONITOR
        .arguments
        .iter()
        .filter_map(|argument| Some((argument.name.to_owned(), entry.text(argument.name)?)))
        .collect();
    Ok(Stanza::new(name.to_owned(), None, params))
}

/// The settings and the key of the `ds_monitor` input.
fn monitor_settings(
    rest: &Result<Rest>,
    settings: &LookupSettings,
    session: &Session,
) -> Result<(Settings, PrivateKey)> {
    let splunkd = rest.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    refuse_csv_where_it_is_lost(settings, splunkd)?;
    let mut stanza = monitor_stanza(splunkd, &settings.monitor_input)?;
    settings::prefer_key_file(&mut stanza);
    credentials::unmask(rest, &DS_MONITOR, &mut stanza)?;
    let checked = settings::require_unmasked(&stanza)
        .and_then(|()| settings::private_key(&stanza))
        .and_then(|key| Ok((Settings::of(&stanza, session.clock.now())?, key)));
    checked.with_context(|| format!("the Monitor input {} cannot be used", stanza.name))
}

/// A file written on a forwarder or on one member of a cluster is seen by no search, or by one member's.
fn refuse_csv_where_it_is_lost(settings: &LookupSettings, rest: &Rest) -> Result<()> {
    if settings.output == Output::Index {
        return Ok(());
    }
    let roles = rest.server_roles().unwrap_or_default();
    let role = roles.iter().find(|role| {
        role.ends_with("forwarder")
            || role.starts_with("shc_")
            || matches!(role.as_str(), "cluster_slave" | "cluster_peer")
    });
    match role {
        Some(role) => bail!(
            "the parameter output must be index on this instance ({role}): lookup files written here would not reach the searches"
        ),
        None => Ok(()),
    }
}

/// Where rows go.
trait Rows {
    /// A user's row, the values of [`USERS`]' columns; tells whether it is new in this refresh.
    fn user(&mut self, values: &[&str]) -> Result<bool>;
    /// An account's row, the values of [`ACCOUNTS`]' columns.
    fn account(&mut self, values: &[&str]) -> Result<()>;
    /// The end of a refresh in which all that is `complete` was read.
    fn finish(self: Box<Self>, complete: &Complete) -> Result<()>;
}

/// What a refresh has read to the end.
struct Complete {
    users: bool,
    accounts: bool,
    /// Accounts whose users were read to the end, in lower case.
    read_accounts: HashSet<String>,
    /// Whether all accounts there are were looked at, so that one that is not among them is gone.
    all_accounts: bool,
}

/// Reads the directory and hands the rows on.
struct Collector {
    directory: DirectoryApi,
    rows: Box<dyn Rows>,
    log: Log,
    users: usize,
    accounts: usize,
    read_accounts: HashSet<String>,
    /// Whether the users of some account could not be read.
    passed_over: bool,
    /// Parts that the user has not consented to; each is asked for once.
    without_consent: Vec<Part>,
}

/// An account as far as it is known from both sources.
#[derive(Default)]
struct Account {
    id: String,
    name: String,
    external_id: String,
    site_id: String,
    organization_id: String,
    organization_name: String,
    base_uri: String,
    is_default: String,
    /// Whether the service user is a member, so that eSignature lists the users.
    member: bool,
}

impl Collector {
    fn refresh(mut self, settings: &LookupSettings) -> Result<()> {
        let userinfo = self.directory.userinfo().map_err(failures::failure)?;
        let organizations = match self.directory.organizations() {
            Ok(organizations) => Some(organizations),
            Err(error) => {
                let kept = match (settings.accounts, settings.users) {
                    (true, false) => "The lookup ds_accounts stays as it is",
                    (false, _) => {
                        "Users of accounts that only the organization knows keep their rows"
                    }
                    (true, true) => {
                        "The lookup ds_accounts stays as it is, and users of accounts that only the organization knows keep their rows"
                    }
                };
                self.pass_over(error, kept)?;
                None
            }
        };
        let has_organizations = organizations.is_some();
        let accounts = merge(userinfo, organizations.unwrap_or_default());

        let accounts_complete = settings.accounts && has_organizations;
        if accounts_complete {
            for account in &accounts {
                self.rows.account(&account.row())?;
                self.accounts += 1;
            }
        }
        let mut users_complete = settings.users;
        if settings.users {
            for account in &accounts {
                users_complete &= self.users_of(account)?;
            }
        }
        if !accounts_complete && !users_complete {
            bail!(Failure::of(
                "refresh",
                &anyhow!(
                    "nothing of the directory could be read; the warnings before say what opens it"
                ),
            ));
        }
        let complete = Complete {
            users: users_complete,
            accounts: accounts_complete,
            read_accounts: std::mem::take(&mut self.read_accounts),
            all_accounts: has_organizations && !self.passed_over,
        };
        self.rows
            .finish(&complete)
            .map_err(|error| match error.downcast::<Failure>() {
                Ok(failure) => anyhow!(failure),
                Err(error) => Failure::of("refresh", &error).into(),
            })?;
        let fields = Fields::new()
            .with("action", "lookups_refreshed")
            .with_some("n_users", users_complete.then_some(self.users))
            .with_some("n_accounts", accounts_complete.then_some(self.accounts));
        let sentence = match (users_complete, accounts_complete) {
            (false, true) => "The refresh of the accounts is complete.",
            (true, false) => "The refresh of the users is complete.",
            _ => "The refresh is complete.",
        };
        self.log.info(&fields, sentence);
        Ok(())
    }

    /// Reads all users of an account, and tells whether the consent for the users of members is there at all.
    fn users_of(&mut self, account: &Account) -> Result<bool> {
        let part = if account.member {
            Part::Users
        } else {
            Part::OrganizationUsers
        };
        if self.without_consent.contains(&part) {
            self.passed_over = true;
            return Ok(part != Part::Users);
        }
        let base_uri = match part {
            Part::Users => Some(BaseUrl::parse(&account.base_uri).map_err(|problem| {
                let error = anyhow!(
                    "the base_uri of account {}, \"{}\", {problem}",
                    account.id,
                    account.base_uri
                );
                Failure::of(Part::Users.action(), &error)
            })?),
            _ => None,
        };
        let mut next = Some(0);
        while let Some(start) = next {
            let asked = match &base_uri {
                Some(base_uri) => self.directory.users(base_uri, &account.id, start),
                None => {
                    self.directory
                        .organization_users(&account.organization_id, &account.id, start)
                }
            };
            let page = match asked {
                Ok(page) => page,
                Err(error) => {
                    let consent = error.code.as_deref() == Some(CONSENT_REQUIRED);
                    let whose = match (consent, part) {
                        (false, _) => format!("of account {}", account.id),
                        (true, Part::Users) => {
                            "of all accounts that the service user is a member of".to_owned()
                        }
                        (true, _) => "of accounts that only the organization knows".to_owned(),
                    };
                    self.pass_over(error, &format!("Users {whose} keep their rows"))?;
                    self.passed_over = true;
                    if consent {
                        self.without_consent.push(part);
                    }
                    return Ok(!consent || part != Part::Users);
                }
            };
            let UserPage { users, next: more } = page;
            for user in &users {
                let row = user_row(user, &account.id);
                if !self.rows.user(&row.each_ref().map(String::as_str))? {
                    continue;
                }
                self.users += 1;
                if self.users.is_multiple_of(PROGRESS_USERS) {
                    let fields = Fields::new()
                        .with("action", "users_read")
                        .with("n_users", self.users);
                    self.log.info(&fields, "Reading goes on.");
                }
            }
            next = more;
        }
        self.read_accounts.insert(account.id.to_ascii_lowercase());
        Ok(true)
    }

    /// Warns of a part that may not be read, or ends the refresh if it is something else.
    fn pass_over(&self, error: ApiError, kept: &str) -> Result<()> {
        let consent = error.code.as_deref() == Some(CONSENT_REQUIRED);
        if !consent && !matches!(error.status, Some(401 | 403 | 404)) {
            return Err(failures::failure(error).into());
        }
        let sentence = format!("{}. {kept}", error.sentence);
        self.log.warn(&failures::fields(&error), &sentence);
        Ok(())
    }
}

/// The accounts of both sources, each once, in the order of their ids.
fn merge(userinfo: UserInfo, organizations: Vec<Organization>) -> Vec<Account> {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for member in userinfo.accounts {
        let organization = member.organization.map(|link| link.organization_id);
        let account = Account {
            id: member.account_id,
            name: member.account_name,
            organization_id: organization.unwrap_or_default(),
            base_uri: member.base_uri,
            is_default: member.is_default,
            member: true,
            ..Account::default()
        };
        accounts.insert(account.id.to_ascii_lowercase(), account);
    }
    for organization in organizations {
        for found in organization.accounts {
            let account = accounts.entry(found.id.to_ascii_lowercase()).or_default();
            if !account.member {
                account.id = found.id;
                account.name = found.name;
            }
            account.external_id = found.external_account_id;
            account.site_id = found.site_id;
            account.organization_id.clone_from(&organization.id);
            account.organization_name.clone_from(&organization.name);
        }
    }
    // An id that is none could lead a request elsewhere.
    accounts.retain(|_, account| is_guid(&account.id));
    accounts.into_values().collect()
}

impl Account {
    fn row(&self) -> [&str; 8] {
        [
            &self.id,
            &self.name,
            &self.external_id,
            &self.site_id,
            &self.organization_id,
            &self.organization_name,
            &self.base_uri,
            boolean(&self.is_default),
        ]
    }
}

fn user_row(user: &User, account_id: &str) -> [String; 14] {
    [
        user.user_id.clone(),
        account_id.to_owned(),
        user.user_name.clone(),
        user.email.clone(),
        user.first_name.clone(),
        user.last_name.clone(),
        capitalised(&user.user_status),
        user.user_type.clone(),
        boolean(&user.is_admin).to_owned(),
        user.permission_profile_name.clone(),
        user.job_title.clone(),
        user.company.clone(),
        user.created_date_time.clone(),
        user.last_login.clone(),
    ]
}

/// `true` or `false`, which eSignature writes `True` and `False`; what is neither is unknown.
fn boolean(text: &str) -> &'static str {
    match text {
        "True" | "true" => "true",
        "False" | "false" => "false",
        _ => "",
    }
}

/// The Admin API writes `active` where eSignature writes `Active`.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

/// Rows for the app's lookup files.
struct CsvRows {
    users: Refresh,
    accounts: Refresh,
    master_folder: PathBuf,
    app_folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl CsvRows {
    fn new(
        master_folder: PathBuf,
        monitor_input: &str,
        now: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let home = std::env::var_os("SPLUNK_HOME").context(
            "SPLUNK_HOME is not set, so the app's lookups folder is unknown: output must be index",
        )?;
        let app_folder = Path::new(&home).join("etc/apps/ds_monitor/lookups");
        let refresh = |table| Refresh::new(table, &master_folder, monitor_input, now);
        Ok(Self {
            users: refresh(&USERS)?,
            accounts: refresh(&ACCOUNTS)?,
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

    fn finish(self: Box<Self>, complete: &Complete) -> Result<()> {
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
        // Only when all of them are written does the first take its place.
        for table in tables {
            table.put_in_place(&self.app_folder)?;
        }
        Ok(())
    }
}

/// Rows as events, each with the refresh that it belongs to, closed by one that tells how many there are.
struct EventRows {
    events: EventWriter,
    seen: HashSet<Key>,
    n_users: usize,
    n_accounts: usize,
    refresh_id: String,
    monitor_input: String,
    time: String,
}

impl EventRows {
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
        // A user who moves to another page while pages are read comes twice.
        if !self
            .seen
            .insert(USERS.key(values.iter().map(|value| value.as_bytes())))
        {
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

    fn finish(mut self: Box<Self>, complete: &Complete) -> Result<()> {
        let mut counts = Map::new();
        if complete.users {
            counts.insert("n_users".to_owned(), self.n_users.into());
        }
        if complete.accounts {
            counts.insert("n_accounts".to_owned(), self.n_accounts.into());
        }
        self.write("ds_monitor:refresh", counts)?;
        Ok(self.events.finish()?)
    }
}
