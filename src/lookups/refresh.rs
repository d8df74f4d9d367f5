//! One refresh: reads Docusign's directory and hands the rows on, one at a time.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, anyhow, bail};

use super::rows::{Coverage, Rows};
use super::settings::LookupSettings;
use crate::base::http::server_text;
use crate::docusign::client::ApiError;
use crate::docusign::directory_api::{
    DirectoryApi, DirectoryPage, Organization, Part, User, UserInfo,
};
use crate::docusign::jwt_grant::CONSENT_REQUIRED;
use crate::docusign::{BaseUrl, is_guid};
use crate::failures;
use crate::splunk::log::{Failure, Fields, Level, Log};

/// A line in the log after this many users.
const PROGRESS_USERS: usize = 5_000;

/// Most rows of one list that are asked for: ten times the users of the largest known account. A list that grows with
/// every page would never end.
const MAX_ROWS_PER_LIST: usize = 1_000_000;

/// So many pages in a row without a row that is new end the list: the server ignores where a page is to begin.
const MAX_PAGES_WITHOUT_NEWS: usize = 10;

/// A refresh in progress.
pub(super) struct Refresh {
    directory: DirectoryApi,
    rows: Box<dyn Rows>,
    log: Log,
    users: usize,
    accounts: usize,
    profiles: usize,
    /// Lists of permission profiles or groups that were read.
    profile_lists: usize,
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
    /// Whether it is in an organization that the service user administers.
    administered: bool,
}

/// A list of an account, as far as it is read.
struct Listing {
    part: Part,
    /// What the list holds, in the plural.
    of: &'static str,
    received: usize,
    total: usize,
    pages_without_news: usize,
}

impl Listing {
    fn new(part: Part, of: &'static str) -> Self {
        Self {
            part,
            of,
            received: 0,
            total: 0,
            pages_without_news: 0,
        }
    }

    /// Counts a page of which `news` rows are new, and says where the next one begins.
    ///
    /// # Errors
    /// The list does not end.
    fn count<T>(
        &mut self,
        page: &DirectoryPage<T>,
        news: usize,
        account: &str,
    ) -> Result<Option<usize>> {
        self.received += page.rows.len();
        self.total = self.total.max(page.total.unwrap_or_default());
        self.pages_without_news = match news {
            0 => self.pages_without_news + 1,
            _ => 0,
        };
        let (received, without_news) = (self.received, self.pages_without_news);
        if received > MAX_ROWS_PER_LIST || without_news >= MAX_PAGES_WITHOUT_NEWS {
            let error = anyhow!(
                "Docusign's list of the {} of account {account} does not end: {received} rows so far, and the last {without_news} pages brought no others. All lookups stay as they are; Docusign's support can find the reason",
                self.of
            );
            return Err(Failure::of(self.part.action(), &error).into());
        }
        Ok(page.next)
    }

    /// What is wrong with a list that has ended.
    fn shortfall(&self) -> Option<String> {
        (self.received < self.total).then(|| {
            format!(
                "list of {} ends after {} of {}, so nothing in it counts as gone",
                self.of, self.received, self.total
            )
        })
    }
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
            profiles: 0,
            profile_lists: 0,
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
        if settings.profiles && has_organizations {
            for account in accounts.iter().filter(|account| account.administered) {
                self.read_profiles_of(account, settings)?;
            }
        }
        let users_complete = settings.users && !self.without_consent.contains(&Part::Users);
        let profiles_complete = self.profile_lists > 0;
        if !accounts_complete && !users_complete && !profiles_complete {
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
            profiles: profiles_complete,
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
            .with_some("n_accounts", accounts_complete.then_some(self.accounts))
            .with_some("n_profiles", profiles_complete.then_some(self.profiles));
        let read: Vec<_> = [
            (users_complete, "users"),
            (accounts_complete, "accounts"),
            (profiles_complete, "profiles"),
        ]
        .into_iter()
        .filter_map(|(complete, what)| complete.then_some(what))
        .collect();
        let sentence = format!("The refresh of {} is complete.", read.join(", "));
        self.log.info(&fields, &sentence);
        Ok(())
    }

    /// The organizations, unless the user may not read them.
    fn organizations(&mut self, settings: &LookupSettings) -> Result<Option<Vec<Organization>>> {
        let error = match self.directory.organizations() {
            Ok(organizations) => return Ok(Some(organizations)),
            Err(error) => error,
        };
        let kept: Vec<_> = [
            (settings.accounts, "the lookup ds_accounts"),
            (
                settings.users,
                "users of accounts that only the organization knows",
            ),
            (settings.profiles, "the lookup ds_profiles"),
        ]
        .into_iter()
        .filter_map(|(wanted, what)| wanted.then_some(what))
        .collect();
        let kept = format!("What stays as it is: {}", kept.join(", "));
        self.pass_over(error, &kept, Level::Warn)?;
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
                    self.leave_out_users(part, account, &problem);
                    return Ok(());
                }
            },
            // It goes into a path.
            _ if !is_guid(&account.organization_id) => {
                self.leave_out_users(part, account, "organization's id is no GUID");
                return Ok(());
            }
            _ => None,
        };
        let mut listing = Listing::new(part, "users");
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
                    self.pass_over(
                        error,
                        &format!("Users {whose} keep their rows"),
                        Level::Warn,
                    )?;
                    self.passed_over = true;
                    if consent {
                        self.without_consent.push(part);
                    }
                    return Ok(());
                }
            };
            let before = self.users;
            for user in &page.rows {
                let row = user_row(user, &account.id);
                if !self.rows.user(&row.each_ref().map(String::as_str))? {
                    continue;
                }
                self.users += 1;
                if self.users.is_multiple_of(PROGRESS_USERS) {
                    let fields = Fields::new()
                        .with("action", "users_read")
                        .with("n_users", self.users);
                    self.log.info(&fields, "Reading continues.");
                }
            }
            next = listing.count(&page, self.users - before, &account.id)?;
        }
        if let Some(problem) = listing.shortfall() {
            self.leave_out_users(part, account, &problem);
            return Ok(());
        }
        self.read_accounts.insert(account.id.to_ascii_lowercase());
        Ok(())
    }

    /// Reads the permission profiles and groups of an account, unless the service user may not.
    fn read_profiles_of(&mut self, account: &Account, settings: &LookupSettings) -> Result<()> {
        let part = Part::Profiles;
        if self.without_consent.contains(&part) {
            return Ok(());
        }
        // It goes into a path.
        if !is_guid(&account.organization_id) {
            self.leave_out(
                part,
                "profiles and groups",
                account,
                "organization's id is no GUID",
            );
            return Ok(());
        }
        for (kind, of, and_those_after) in [
            (
                "permission_profile",
                "permission profiles",
                "permission profiles and groups",
            ),
            ("group", "groups", "groups"),
        ] {
            let mut listing = Listing::new(part, of);
            let mut next = Some(0);
            while let Some(start) = next {
                let (organization, id) = (&account.organization_id, &account.id);
                let asked = match kind {
                    "group" => self.directory.groups(organization, id, start),
                    _ => self.directory.permission_profiles(organization, id),
                };
                let page = match asked {
                    Ok(page) => page,
                    Err(error) if error.code.as_deref() == Some(CONSENT_REQUIRED) => {
                        let is_needed = settings.needed_parts().contains(&part);
                        let level = if is_needed { Level::Warn } else { Level::Info };
                        self.pass_over(error, "The lookup ds_profiles stays as it is", level)?;
                        self.without_consent.push(part);
                        return Ok(());
                    }
                    Err(error) => {
                        // Whoever may not read the one list may not read the other: one warning is enough.
                        let kept = format!("The {and_those_after} of account {id} keep their rows");
                        return self.pass_over(error, &kept, Level::Warn);
                    }
                };
                let before = self.profiles;
                for profile in &page.rows {
                    let row = [kind, &profile.id, id, &profile.name];
                    self.profiles += usize::from(self.rows.profile(&row)?);
                }
                next = listing.count(&page, self.profiles - before, id)?;
                if next.is_none() {
                    self.profile_lists += 1;
                }
            }
            if let Some(problem) = listing.shortfall() {
                self.leave_out(part, of, account, &problem);
            }
        }
        Ok(())
    }

    /// Logs at `level` that a part may not be read, or ends the refresh if it is something else.
    fn pass_over(&self, error: ApiError, kept: &str, level: Level) -> Result<()> {
        let consent = error.code.as_deref() == Some(CONSENT_REQUIRED);
        if !consent && !matches!(error.status, Some(401 | 403 | 404)) {
            return Err(failures::failure(error).into());
        }
        let sentence = format!("{}. {kept}", error.sentence);
        self.log.write(level, &failures::fields(&error), &sentence);
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
                account.administered = true;
                account.organization_id.clone_from(&organization.id);
                account.organization_name.clone_from(&organization.name);
            }
        }
        // An id that is none could lead a request elsewhere.
        let (accounts, others): (Vec<_>, Vec<_>) = accounts
            .into_values()
            .partition(|account| is_guid(&account.id));
        for account in others {
            self.leave_out_users(Part::Accounts, &account, "id is no GUID");
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
    fn leave_out_users(&mut self, part: Part, account: &Account, problem: &str) {
        self.passed_over = true;
        self.leave_out(part, "users", account, problem);
    }

    /// Warns of an account of which `what` cannot be read completely.
    fn leave_out(&self, part: Part, what: &str, account: &Account, problem: &str) {
        let sentence = format!(
            "The {what} of account {} keep their rows: its {problem}",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ever_new_users_is_an_error_after_a_million() {
        let mut listing = Listing::new(Part::Users, "users");
        let page = DirectoryPage {
            rows: vec![(); 10_000],
            next: Some(1),
            total: None,
        };
        for _ in 0..100 {
            assert_eq!(listing.count(&page, 1, "an account").unwrap(), Some(1));
        }
        let error = listing.count(&page, 1, "an account").unwrap_err();
        assert!(
            error.to_string().contains("does not end: 1010000 rows"),
            "{error}"
        );
    }
}
