//! Who and what the IDs in the records are: userinfo, eSignature's users, the Admin API's organizations, users,
//! permission profiles and groups.
//!
//! The same thing is a string in one API and a number in the other, and most fields can be missing: everything is
//! read leniently into text. Formats: Docusign's eSignature v2.1 and Admin v2.1 descriptions; userinfo is described
//! with the account server.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use reqwest::header::ACCEPT;
use reqwest::{Method, Url};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::BaseUrl;
use super::client::{ApiError, BudgetSpent, Client, Refusal, Suspect};
use super::jwt_grant::{Applicant, CONSENT_REQUIRED, JwtGrant};
use super::rsa_key::PrivateKey;

/// Rows per page of eSignature's Users:list; Docusign's maximum.
pub const USERS_PER_PAGE: usize = 100;

/// Rows per page of the Admin API's users; Docusign's maximum.
const ADMIN_USERS_PER_PAGE: usize = 250;

/// Rows per page of the Admin API's groups. Docusign documents no maximum, and a shorter page is no end.
const GROUPS_PER_PAGE: usize = 100;

/// Longest answer, unpacked. A page of users is some 100 kB, a large organization a few MB.
const MAX_ANSWER_BYTES: u64 = 32 * 1024 * 1024;

/// Most rows of one answer, all its lists together: far more than the pages that are asked for have, and than an
/// organization has accounts.
const MAX_ROWS: usize = 10_000;

/// Longest text of a row, in bytes; longer ones are cut. Docusign's own limits are some hundred characters.
const MAX_CELL_BYTES: usize = 4096;

/// The statuses of eSignature's users that are listed; closed ones too, because old records name them.
const ALL_STATUSES: &str = "ActivationRequired,ActivationSent,Active,Closed,Disabled";

/// The parts of the directory, each with its own scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The accounts in which the service user is a member.
    Accounts,
    /// Users of the accounts in which the service user is a member.
    Users,
    /// Organizations and their accounts.
    Organizations,
    /// Users of the organization's other accounts.
    OrganizationUsers,
    /// Permission profiles and groups of the organization's accounts.
    Profiles,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 5] = [
        Self::Accounts,
        Self::Users,
        Self::Organizations,
        Self::OrganizationUsers,
        Self::Profiles,
    ];

    /// The scopes that Docusign requires for it.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Accounts => "impersonation",
            Self::Users => "impersonation signature",
            Self::Organizations => "impersonation organization_read",
            Self::OrganizationUsers => "impersonation user_read",
            Self::Profiles => "impersonation permission_read group_read",
        }
    }

    /// The `action` of log lines about it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Accounts => "list_accounts",
            Self::Users => "list_users",
            Self::Organizations => "list_organizations",
            Self::OrganizationUsers => "list_organization_users",
            Self::Profiles => "list_profiles",
        }
    }
}

/// The scopes that Docusign requires for all of `parts`, each once.
#[must_use]
pub fn scopes(parts: &[Part]) -> String {
    let mut scopes: Vec<&str> = Vec::new();
    for scope in parts.iter().flat_map(|part| part.scope().split(' ')) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes.join(" ")
}

/// The service user and the accounts that he or she is a member of.
#[derive(Debug, Deserialize)]
pub struct UserInfo {
    /// The accounts.
    #[serde(default, deserialize_with = "list")]
    pub accounts: Vec<MemberAccount>,
}

/// An account in userinfo.
#[derive(Debug, Deserialize)]
pub struct MemberAccount {
    /// GUID of the account.
    #[serde(default, deserialize_with = "text")]
    pub account_id: String,
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub account_name: String,
    /// `true` or `false`: whether it is the user's default account.
    #[serde(default, deserialize_with = "text")]
    pub is_default: String,
    /// Where the account's eSignature API is, without `/restapi`.
    #[serde(default, deserialize_with = "text")]
    pub base_uri: String,
    /// The organization that the account is linked to.
    #[serde(default)]
    pub organization: Option<OrganizationLink>,
}

/// The organization of an account in userinfo.
#[derive(Debug, Deserialize)]
pub struct OrganizationLink {
    /// GUID of the organization.
    #[serde(default, deserialize_with = "text")]
    pub organization_id: String,
}

/// An organization that the service user administers.
#[derive(Debug, Deserialize)]
pub struct Organization {
    /// GUID of the organization.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Its accounts.
    #[serde(default, deserialize_with = "list")]
    pub accounts: Vec<OrganizationAccount>,
}

/// An account of an organization.
#[derive(Debug, Deserialize)]
pub struct OrganizationAccount {
    /// GUID of the account.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// The account number that Docusign's pages show.
    #[serde(default, deserialize_with = "text")]
    pub external_account_id: String,
    /// The data centre.
    #[serde(default, deserialize_with = "text")]
    pub site_id: String,
}

/// A user of an account, from either API; what an API leaves out is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// GUID of the user.
    #[serde(deserialize_with = "text", alias = "id")]
    pub user_id: String,
    /// Full name.
    #[serde(deserialize_with = "text", alias = "user_name")]
    pub user_name: String,
    /// E-mail address; several users can have the same.
    #[serde(deserialize_with = "text")]
    pub email: String,
    /// Given name.
    #[serde(deserialize_with = "text", alias = "first_name")]
    pub first_name: String,
    /// Family name.
    #[serde(deserialize_with = "text", alias = "last_name")]
    pub last_name: String,
    /// `Active`, `Closed` and so on; the Admin API writes them in lower case.
    #[serde(deserialize_with = "text", alias = "membership_status")]
    pub user_status: String,
    /// For example `CompanyUser`.
    #[serde(deserialize_with = "text")]
    pub user_type: String,
    /// `True` or `False`.
    #[serde(deserialize_with = "text")]
    pub is_admin: String,
    /// Name of the permission profile.
    #[serde(deserialize_with = "text")]
    pub permission_profile_name: String,
    /// Job title.
    #[serde(deserialize_with = "text")]
    pub job_title: String,
    /// Company.
    #[serde(deserialize_with = "text")]
    pub company: String,
    /// When the user was created.
    #[serde(deserialize_with = "text", alias = "created_on")]
    pub created_date_time: String,
    /// When the user last logged in.
    #[serde(deserialize_with = "text")]
    pub last_login: String,
}

/// A permission profile or a group. Its number is unique in its account only.
#[derive(Debug, Deserialize)]
pub struct Profile {
    /// The number that records have.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
}

/// A page of a list.
#[derive(Debug)]
pub struct DirectoryPage<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins, if there may be one.
    pub next: Option<usize>,
    /// How many rows there are altogether, if the answer says so.
    pub total: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EsignatureUsers {
    #[serde(default, deserialize_with = "list")]
    users: Vec<User>,
    #[serde(default, deserialize_with = "text")]
    total_set_size: String,
}

#[derive(Deserialize)]
struct AdminUsers {
    #[serde(default, deserialize_with = "list")]
    users: Vec<User>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize)]
struct PermissionProfiles {
    #[serde(default, deserialize_with = "list")]
    permissions: Vec<Profile>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default, deserialize_with = "list")]
    groups: Vec<Profile>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Default, Deserialize)]
struct Paging {
    #[serde(default, deserialize_with = "text")]
    total_set_size: String,
}

#[derive(Deserialize)]
struct Organizations<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    organizations: Vec<&'a RawValue>,
}

/// Reads any value as text of at most [`MAX_CELL_BYTES`]: strings stay, numbers and booleans are printed, null is
/// empty. Half a surrogate pair, which is no character, becomes U+FFFD: it must not cost the rest of the directory.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = Box::<RawValue>::deserialize(deserializer)?;
    let value = value.get();
    let mut text = match value {
        "null" => String::new(),
        quoted if quoted.starts_with('"') => lossy_string(quoted),
        other => other.to_owned(),
    };
    text.truncate(text.floor_char_boundary(MAX_CELL_BYTES));
    Ok(text)
}

fn lossy_string(quoted: &str) -> String {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    // As bytes, half a surrogate pair passes: in three bytes, of which no character consists.
    let bytes = serde_json::Deserializer::from_str(quoted).deserialize_bytes(Bytes);
    let mut bytes = bytes.unwrap_or_default();
    let mut rest = bytes.as_mut_slice();
    while let [first, following @ ..] = rest {
        if let (0xED, [second @ 0xA0..=0xFF, third, ..]) = (*first, &mut *following) {
            [*first, *second, *third] = [0xEF, 0xBF, 0xBD];
        }
        rest = following;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A list of at most [`MAX_ROWS`], for which null means empty. The rows are read one by one, so that no more memory
/// is used for a longer one.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut rows = Vec::new();
            while let Some(row) = list.next_element()? {
                if rows.len() == MAX_ROWS {
                    return Err(serde::de::Error::custom(format_args!(
                        "more than {MAX_ROWS} rows"
                    )));
                }
                rows.push(row);
            }
            Ok(rows)
        }
    }

    deserializer.deserialize_any(List(PhantomData))
}

/// The directory, with one token for all its parts where the user has consented to all of them.
pub struct DirectoryApi {
    client: Client,
    admin_url: BaseUrl,
    identity: Applicant,
    key: PrivateKey,
    /// For all parts together, until Docusign says that a consent is missing.
    together: Option<JwtGrant>,
    /// For each part alone.
    apart: BTreeMap<Part, JwtGrant>,
}

impl DirectoryApi {
    /// The `parts` of the directory as `identity` may see them; its scope is replaced by those that they need.
    #[must_use]
    pub fn new(
        client: Client,
        identity: &Applicant,
        key: PrivateKey,
        admin_url: BaseUrl,
        parts: &[Part],
    ) -> Self {
        let all = scopes(parts);
        Self {
            together: Some(JwtGrant::new(
                client.clone(),
                identity.with_scopes(&all, &all),
                key.clone(),
            )),
            apart: BTreeMap::new(),
            identity: identity.with_scopes(&all, &all),
            client,
            admin_url,
            key,
        }
    }

    /// Whether the account server is on this machine, as in a trial.
    #[must_use]
    pub fn is_on_loopback(&self) -> bool {
        self.identity.auth_url.is_loopback()
    }

    /// The accounts of the service user.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn userinfo(&mut self) -> Result<UserInfo, ApiError> {
        let url = self.identity.auth_url.join("/oauth/userinfo");
        self.get(Part::Accounts, &url, UserInfo::parse)
    }

    /// A page of the users of an account, from `start` on.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn users(
        &mut self,
        base_uri: &BaseUrl,
        account_id: &str,
        start: usize,
    ) -> Result<DirectoryPage<User>, ApiError> {
        let mut url = base_uri.join(&format!("/restapi/v2.1/accounts/{account_id}/users"));
        url.query_pairs_mut()
            .append_pair("count", &USERS_PER_PAGE.to_string())
            .append_pair("start_position", &start.to_string())
            .append_pair("status", ALL_STATUSES)
            .append_pair("additional_info", "true");
        self.get(Part::Users, &url, |body| {
            DirectoryPage::of_esignature(body, start)
        })
    }

    /// The organizations that the service user administers.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn organizations(&mut self) -> Result<Vec<Organization>, ApiError> {
        let url = self.admin_url.join("/v2/organizations");
        self.get(Part::Organizations, &url, Organization::list)
    }

    /// A page of the users of an account that belongs to an organization, from `start` on.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn organization_users(
        &mut self,
        organization_id: &str,
        account_id: &str,
        start: usize,
    ) -> Result<DirectoryPage<User>, ApiError> {
        let mut url = self
            .admin_url
            .join(&format!("/v2/organizations/{organization_id}/users"));
        url.query_pairs_mut()
            .append_pair("account_id", account_id)
            .append_pair("start", &start.to_string())
            .append_pair("take", &ADMIN_USERS_PER_PAGE.to_string());
        self.get(Part::OrganizationUsers, &url, |body| {
            DirectoryPage::of_admin(body, start)
        })
    }

    /// The permission profiles of an account that belongs to an organization.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn permission_profiles(
        &mut self,
        organization_id: &str,
        account_id: &str,
    ) -> Result<DirectoryPage<Profile>, ApiError> {
        let url = self.url_of_account(organization_id, account_id, "permissions");
        self.get(Part::Profiles, &url, DirectoryPage::of_permission_profiles)
    }

    /// A page of the groups of an account that belongs to an organization, from `start` on.
    ///
    /// # Errors
    /// Docusign refuses or cannot be reached; the error says what to do.
    pub fn groups(
        &mut self,
        organization_id: &str,
        account_id: &str,
        start: usize,
    ) -> Result<DirectoryPage<Profile>, ApiError> {
        let mut url = self.url_of_account(organization_id, account_id, "groups");
        url.query_pairs_mut()
            .append_pair("start", &start.to_string())
            .append_pair("take", &GROUPS_PER_PAGE.to_string());
        self.get(Part::Profiles, &url, |body| {
            DirectoryPage::of_groups(body, start)
        })
    }

    fn url_of_account(&self, organization_id: &str, account_id: &str, list: &str) -> Url {
        self.admin_url.join(&format!(
            "/v2/organizations/{organization_id}/accounts/{account_id}/{list}"
        ))
    }

    fn get<T>(
        &mut self,
        part: Part,
        url: &Url,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, ApiError> {
        if let Some(grant) = &mut self.together {
            match get(&self.client, grant, part, url, &read) {
                Err(error) if error.code.as_deref() == Some(CONSENT_REQUIRED) => {
                    self.together = None;
                }
                other => return other,
            }
        }
        let grant = self.apart.entry(part).or_insert_with(|| {
            let identity = self
                .identity
                .with_scopes(part.scope(), &self.identity.consent_scope);
            JwtGrant::new(self.client.clone(), identity, self.key.clone())
        });
        get(&self.client, grant, part, url, &read)
    }
}

fn get<T>(
    client: &Client,
    grant: &mut JwtGrant,
    part: Part,
    url: &Url,
    read: &impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, ApiError> {
    client
        .wait_for_budget()
        .map_err(|BudgetSpent { renewed_in }| ApiError::of_budget(renewed_in))?;
    grant.with_token(|token| {
        client
            .call(
                part.action(),
                MAX_ANSWER_BYTES,
                || {
                    client
                        .request(Method::GET, url.clone())
                        .bearer_auth(token.expose())
                        .header(ACCEPT, "application/json")
                },
                |body| Ok(read(&body)?),
            )
            .map_err(|error| {
                let host = url.host_str().unwrap_or_default();
                ApiError::new(part.action(), host, error, |refusal| {
                    explain(client, part, url, refusal)
                })
            })
    })
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| "the body is not the expected JSON".to_owned())
}

impl UserInfo {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        json(body)
    }
}

impl Organization {
    /// Reads the organizations in the body of an answer.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn list(body: &[u8]) -> Result<Vec<Self>, String> {
        let answer: Organizations<'_> = json(body)?;
        let (mut organizations, mut rows) = (Vec::new(), 0);
        // One by one, because each of them has a list of its own.
        for organization in answer.organizations {
            let organization: Self = json(organization.get().as_bytes())?;
            rows += 1 + organization.accounts.len();
            if rows > MAX_ROWS {
                return Err(format!("the body has more than {MAX_ROWS} rows"));
            }
            organizations.push(organization);
        }
        Ok(organizations)
    }
}

/// Puts a refusal into words.
fn explain(client: &Client, part: Part, url: &Url, refusal: &Refusal) -> String {
    let host = url.host_str().unwrap_or_default();
    let remedy = match (part, refusal.status) {
        (Part::Accounts, _) => client.remedy(Suspect::AccountServer),
        (Part::Users, 401 | 403) => {
            "The service user must be an administrator of the account to list its users"
        }
        (_, 401 | 403) => "The service user must be an Organization Administrator",
        (Part::Users | Part::OrganizationUsers | Part::Profiles, 404) => {
            "Check that the account still exists"
        }
        (Part::Users | Part::OrganizationUsers | Part::Profiles, _) => {
            "Docusign's support can find the reason by the trace token"
        }
        _ => client.remedy(Suspect::AdminServer),
    };
    format!(
        "Docusign ({host}) refuses {}: {refusal}. {remedy}",
        url.path()
    )
}

impl DirectoryPage<User> {
    /// Reads the body of eSignature's answer to the question for the users from `start` on.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn of_esignature(body: &[u8], start: usize) -> Result<Self, String> {
        let page: EsignatureUsers = json(body)?;
        let total = &page.total_set_size;
        Ok(Self::new(page.users, start, total, USERS_PER_PAGE))
    }

    /// Reads the body of the Admin API's answer to the question for the users from `start` on.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn of_admin(body: &[u8], start: usize) -> Result<Self, String> {
        let page: AdminUsers = json(body)?;
        let total = &page.paging.total_set_size;
        Ok(Self::new(page.users, start, total, ADMIN_USERS_PER_PAGE))
    }
}

impl DirectoryPage<Profile> {
    /// Reads the body of the Admin API's answer to the question for the permission profiles: all of them.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn of_permission_profiles(body: &[u8]) -> Result<Self, String> {
        let PermissionProfiles { permissions } = json(body)?;
        Ok(Self {
            rows: permissions,
            next: None,
            total: None,
        })
    }

    /// Reads the body of the Admin API's answer to the question for the groups from `start` on.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn of_groups(body: &[u8], start: usize) -> Result<Self, String> {
        let page: Groups = json(body)?;
        let total = &page.paging.total_set_size;
        Ok(Self::new(page.groups, start, total, GROUPS_PER_PAGE))
    }
}

impl<T> DirectoryPage<T> {
    /// Paging goes by what has been received, never by addresses that an answer names.
    fn new(rows: Vec<T>, start: usize, total: &str, page_size: usize) -> Self {
        let end = start + rows.len();
        let total = total.parse::<usize>().ok();
        // Only a page that is not full and ends at the total is the last one without a doubt. Any other total may be
        // wrong, and rows would be missing without a word.
        let is_last = rows.is_empty() || (rows.len() < page_size && total == Some(end));
        Self {
            next: (!is_last).then_some(end),
            rows,
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AdminUsers, DirectoryPage, MAX_CELL_BYTES, MAX_ROWS, Organization, User, UserInfo,
    };

    #[test]
    fn users_of_both_apis_are_read_into_the_same_fields() {
        let esignature = r#"{"userId":"u1","userName":"Ann Ö","email":"a@example.com","userStatus":"Active","isAdmin":"True","permissionProfileId":1,"createdDateTime":"2020-01-01T00:00:00Z","company":null}"#;
        let user: User = serde_json::from_str(esignature).unwrap();
        assert_eq!(
            (user.user_id.as_str(), user.user_name.as_str()),
            ("u1", "Ann Ö")
        );
        assert_eq!(
            (user.is_admin.as_str(), user.company.as_str()),
            ("True", "")
        );
        let admin = r#"{"id":"u2","user_name":"Bob","first_name":"B","user_status":"active","membership_status":"closed","created_on":"2020","is_managed_by_scim":true}"#;
        let user: User = serde_json::from_str(admin).unwrap();
        assert_eq!(
            (user.user_id.as_str(), user.first_name.as_str()),
            ("u2", "B")
        );
        assert_eq!(
            (user.user_status.as_str(), user.created_date_time.as_str()),
            ("closed", "2020")
        );
    }

    #[test]
    fn numbers_booleans_and_nulls_become_text() {
        let userinfo = r#"{"sub":"x","accounts":[{"account_id":"a","is_default":true,"base_uri":"https://na3.docusign.net"},{"account_name":7}]}"#;
        let userinfo: UserInfo = serde_json::from_str(userinfo).unwrap();
        assert_eq!(userinfo.accounts[0].is_default, "true");
        assert_eq!(userinfo.accounts[1].account_name, "7");
        let organizations = r#"{"organizations":[{"id":"o","accounts":[{"id":"a","external_account_id":123,"site_id":4}]},{"accounts":null}]}"#;
        let organizations = Organization::list(organizations.as_bytes()).unwrap();
        assert_eq!(organizations[0].accounts[0].external_account_id, "123");
        assert!(organizations[1].accounts.is_empty());
    }

    #[test]
    fn the_next_page_begins_where_the_rows_end() {
        let page = |count: usize, start, total| {
            let users = (0..count).map(|_| User::default()).collect();
            DirectoryPage::<User>::new(users, start, total, 100).next
        };
        assert_eq!(page(100, 0, "234"), Some(100));
        assert_eq!(page(34, 200, "234"), None);
        assert_eq!(page(50, 0, "234"), Some(50));
        assert_eq!(page(0, 100, "234"), None);
        assert_eq!(page(100, 0, ""), Some(100));
        // Totals that are too small, none, or the page's own would end the list early.
        for total in ["", "0", "7", "100", "x", "-1"] {
            assert_eq!(page(100, 0, total), Some(100), "{total}");
        }
        assert_eq!(page(99, 0, ""), Some(99));
        assert_eq!(page(50, 50, "50"), Some(100));
    }

    /// One such name ended every refresh of all lookups.
    #[test]
    fn half_a_surrogate_pair_costs_one_character_of_one_cell() {
        let json = r#"{"userId":"u1","userName":"a\ud800b\udc00","email":"\ud83d\ude00ä\u00ed"}"#;
        let user: User = serde_json::from_str(json).unwrap();
        assert_eq!(user.user_name, "a\u{fffd}b\u{fffd}");
        assert_eq!(user.email, "\u{1f600}äí");
    }

    #[test]
    fn rows_and_cells_are_bounded() {
        let users = |n: usize| {
            let json = format!(r#"{{"users":[{}]}}"#, vec!["{}"; n].join(","));
            serde_json::from_str::<AdminUsers>(&json).map(|page| page.users.len())
        };
        assert_eq!(users(MAX_ROWS).unwrap(), MAX_ROWS);
        assert!(users(MAX_ROWS + 1).is_err());
        let name = format!("{}ä", "x".repeat(MAX_CELL_BYTES - 1));
        let user: User = serde_json::from_str(&format!(r#"{{"email":"{name}"}}"#)).unwrap();
        assert_eq!(user.email, name[..MAX_CELL_BYTES - 1]);
    }

    /// 100 organizations of 10,000 accounts each are 3 MB that become gigabytes.
    #[test]
    fn the_accounts_of_all_organizations_together_are_bounded() {
        let read = |accounts: usize| {
            let organization = format!(r#"{{"accounts":[{}]}}"#, vec!["{}"; accounts].join(","));
            let body = format!(r#"{{"organizations":[{{}},{organization},{organization}]}}"#);
            Organization::list(body.as_bytes())
        };
        let half = (MAX_ROWS - 3) / 2;
        assert_eq!(read(half).unwrap().len(), 3);
        assert!(read(half + 1).unwrap_err().contains("10000 rows"));
    }

    #[test]
    fn permission_profiles_are_one_list_and_groups_come_by_the_page() {
        let body = br#"{"permissions":[{"id":8042104,"name":"Account Administrator"},{"id":"7"}]}"#;
        let page = DirectoryPage::of_permission_profiles(body).unwrap();
        let cells = |page: &DirectoryPage<super::Profile>| {
            let rows = page.rows.iter();
            rows.map(|row| format!("{}={}", row.id, row.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(cells(&page), ["8042104=Account Administrator", "7="]);
        assert_eq!(page.next, None);
        let body = br#"{"groups":[{"id":9223372036854775807,"name":"Everyone","type":"everyone_group"}],"paging":{"total_set_size":2}}"#;
        let page = DirectoryPage::of_groups(body, 0).unwrap();
        assert_eq!(cells(&page), ["9223372036854775807=Everyone"]);
        assert_eq!((page.next, page.total), (Some(1), Some(2)));
        assert_eq!(DirectoryPage::of_groups(body, 1).unwrap().next, None);
    }

    #[test]
    fn null_is_an_empty_list() {
        let userinfo: UserInfo = serde_json::from_str(r#"{"accounts":null}"#).unwrap();
        assert!(userinfo.accounts.is_empty());
    }
}
