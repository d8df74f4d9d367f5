//! One refresh: reads Docusign's directory and hands the rows on, one at a time.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, anyhow, bail};

use super::rows::{Coverage, Rows};
use super::settings::LookupSettings;
use crate::base::http::server_text;
use crate::docusign::client::ApiError;
use crate::docusign::directory_api::{DirectoryApi, Organization, Part, User, UserInfo, UserPage};
use crate::docusign::jwt_grant::CONSENT_REQUIRED;
use crate::docusign::{BaseUrl, is_guid};
use crate::failures;
use crate::splunk::log::{Failure, Fields, Log};

/// A line in the log after this many users.
const PROGRESS_USERS: usize = 5_000;

/// Most users of one account that are asked for: ten times the largest known. A list that grows with every page would
/// never end.
const MAX_USERS_PER_ACCOUNT: usize = 1_000_000;

/// So many pages in a row without a user that is new end the list: the server ignores where a page is to begin.
const MAX_PAGES_WITHOUT_NEWS: usize = 10;

/// A refresh in progress.
pub(super) struct Refresh {
    directory: DirectoryApi,
    rows: Box<dyn Rows>,
    log: Log,
    users: usize,
    accounts: usize,
    read_accounts: HashSet<String>,
    /// Whether the users of some account could not be read.
    passed_over: bool,
    /// Parts that the user has not consented to; each is requested once.
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

impl Refresh {
    /// A refresh of `rows` from `directory`.
    pub(super) fn new(directory: DirectoryApi, rows: Box<dyn Rows>, log: Log) -> Self {
        Self {
            directory,
            rows,
            log,
            users: 0,
            accounts: 0,
            read_accounts: HashSet::new(),
            passed_over: false,
            without_consent: Vec::new(),
        }
    }

    /// Reads everything and hands it on.
    ///
    /// # Errors
    /// Nothing can be read, or something fails; the rows then stay as they are.
    pub(super) fn run(mut self, settings: &LookupSettings) -> Result<()> {
        let userinfo = self.directory.userinfo().map_err(failures::failure)?;
        let organizations = self.organizations(settings)?;
        let has_organizations = organizations.is_some();
        let accounts = self.merge(userinfo, organizations.unwrap_or_default());

        let accounts_complete = settings.accounts && has_organizations;
        if accounts_complete {
            for account in &accounts {
                self.rows.account(&account.row())?;
                self.accounts += 1;
            }
        }
        if settings.users {
            for account in &accounts {
                self.read_users_of(account)?;
            }
        }
        let users_complete = settings.users && !self.without_consent.contains(&Part::Users);
        if !accounts_complete && !users_complete {
            bail!(Failure::of(
                "refresh",
                &anyhow!(
                    "nothing of the directory could be read; the warnings before say what opens it"
                ),
            ));
        }
        let complete = Coverage {
            users: users_complete,
            accounts: accounts_complete,
            all_accounts: has_organizations && !self.passed_over,
            read_accounts: self.read_accounts,
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

    /// The organizations, unless the user may not read them.
    fn organizations(&mut self, settings: &LookupSettings) -> Result<Option<Vec<Organization>>> {
        let error = match self.directory.organizations() {
            Ok(organizations) => return Ok(Some(organizations)),
            Err(error) => error,
        };
        let kept = match (settings.accounts, settings.users) {
            (true, false) => "The lookup ds_accounts stays as it is",
            (false, _) => "Users of accounts that only the organization knows keep their rows",
            (true, true) => {
                "The lookup ds_accounts stays as it is, and users of accounts that only the organization knows keep their rows"
            }
        };
        self.pass_over(error, kept)?;
        Ok(None)
    }

    /// Reads all users of an account, unless the service user may not.
    fn read_users_of(&mut self, account: &Account) -> Result<()> {
        let part = if account.member {
            Part::Users
        } else {
            Part::OrganizationUsers
        };
        if self.without_consent.contains(&part) {
            self.passed_over = true;
            return Ok(());
        }
        let base_uri = match part {
            Part::Users => match self.base_uri(account) {
                Ok(base_uri) => Some(base_uri),
                Err(problem) => {
                    let problem =
                        format!("base_uri \"{}\" {problem}", server_text(&account.base_uri));
                    self.leave_out(part, account, &problem);
                    return Ok(());
                }
            },
            // It goes into a path.
            _ if !is_guid(&account.organization_id) => {
                self.leave_out(part, account, "organization's id is no GUID");
                return Ok(());
            }
            _ => None,
        };
        let (mut received, mut total, mut without_news) = (0, 0, 0);
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
                    return Ok(());
                }
            };
            let UserPage {
                users,
                next: more,
                total: named,
            } = page;
            received += users.len();
            total = total.max(named.unwrap_or_default());
            without_news += 1;
            for user in &users {
                let row = user_row(user, &account.id);
                if !self.rows.user(&row.each_ref().map(String::as_str))? {
                    continue;
                }
                without_news = 0;
                self.users += 1;
                if self.users.is_multiple_of(PROGRESS_USERS) {
                    let fields = Fields::new()
                        .with("action", "users_read")
                        .with("n_users", self.users);
                    self.log.info(&fields, "Reading continues.");
                }
            }
            if received > MAX_USERS_PER_ACCOUNT || without_news >= MAX_PAGES_WITHOUT_NEWS {
                let error = anyhow!(
                    "Docusign's list of the users of account {} does not end: {received} rows so far, and the last {without_news} pages brought no other users. All lookups stay as they are; Docusign's support can find the reason",
                    account.id
                );
                return Err(Failure::of(part.action(), &error).into());
            }
            next = more;
        }
        if received < total {
            let problem = format!(
                "list of users ends after {received} of {total}, so nobody in it counts as gone"
            );
            self.leave_out(part, account, &problem);
            return Ok(());
        }
        self.read_accounts.insert(account.id.to_ascii_lowercase());
        Ok(())
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

    /// The accounts of both sources, each once, in the order of their ids.
    fn merge(&mut self, userinfo: UserInfo, organizations: Vec<Organization>) -> Vec<Account> {
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
        let (accounts, others): (Vec<_>, Vec<_>) = accounts
            .into_values()
            .partition(|account| is_guid(&account.id));
        for account in others {
            self.leave_out(Part::Accounts, &account, "id is no GUID");
        }
        accounts
    }

    /// Where the account's eSignature API is. On loopback only where the input itself is: in production another
    /// program on this machine would get the token.
    fn base_uri(&self, account: &Account) -> Result<BaseUrl, String> {
        let base_uri = BaseUrl::parse(&account.base_uri).map_err(|problem| problem.to_string())?;
        match base_uri.is_loopback() && !self.directory.is_on_loopback() {
            true => Err("leads to this machine, and not to Docusign".to_owned()),
            false => Ok(base_uri),
        }
    }

    /// Warns of an account of which not all users can be read.
    fn leave_out(&mut self, part: Part, account: &Account, problem: &str) {
        self.passed_over = true;
        let sentence = format!(
            "The users of account {} keep their rows: its {problem}",
            server_text(&account.id)
        );
        self.log
            .warn(&Fields::new().with("action", part.action()), &sentence);
    }
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
