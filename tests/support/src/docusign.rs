//! The stand-in Docusign: account server, both Monitor streams, userinfo, eSignature users and the Admin API.
//!
//! All of it listens under one address, so `auth_url` and `monitor_url` are [`Docusign::url`], `admin_url` is that
//! plus `/management`. It is stricter than the real one where that finds mistakes: an assertion must be right in
//! every claim, a token opens only what its scopes allow, a bare date is no cursor, and closed users come only
//! when asked for. Every reply can be replaced or spoiled by its number.

#![expect(
    clippy::disallowed_methods,
    reason = "a stand-in is slow on purpose, and waits by the machine's own clock"
)]

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode};
use serde_json::{Map, Value, json};

use super::http::{Reply, Request, Server};

pub const INTEGRATION_KEY: &str = "7c2b8a10-5d3e-4f61-9a07-1e0f5b6c7d80";
pub const USER_ID: &str = "3f9d1c52-8b47-4e0a-a6c3-90d2e4f7b815";
pub const ORGANIZATION_ID: &str = "e15a7b3c-2f60-4d98-b1c4-6a8093d5f7e2";
pub const ACCOUNT_ID: &str = "a4d80c6e-71f2-4b39-8e5d-0c9b2a1f6378";
/// The account of [`Directory::sample`] in which the service user is no member.
pub const OTHER_ACCOUNT_ID: &str = "d96e2f01-4c8b-4a57-93b0-f5e7182c6da4";

/// The private key in the form Docusign hands out.
pub const PRIVATE_KEY: &str = include_str!("../../fixtures/test_only_rsa_pkcs1.pem");
/// The file that it is in, readable for its owner alone, which no checkout keeps.
pub fn private_key_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let path = fs::canonicalize(fixtures.join("test_only_rsa_pkcs1.pem")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.into_os_string().into_string().unwrap()
    });
    &PATH
}
/// The same key as PKCS#8.
pub const PRIVATE_KEY_PKCS8: &str = include_str!("../../fixtures/test_only_rsa_pkcs8.pem");
/// The same key under a password, as PKCS#8.
pub const ENCRYPTED_KEY: &str = include_str!("../../fixtures/test_only_rsa_encrypted.pem");
/// The same key under a password, in the older form whose first line is that of an open key.
pub const ENCRYPTED_KEY_PKCS1: &str =
    include_str!("../../fixtures/test_only_rsa_encrypted_pkcs1.pem");
/// A sound key that the stand-in does not know.
pub const OTHER_PRIVATE_KEY: &str = include_str!("../../fixtures/test_only_other_rsa_pkcs1.pem");
/// What the stand-in verifies assertions with.
pub const PUBLIC_KEY: &str = include_str!("../../fixtures/test_only_rsa_public.pem");

/// How every access token begins, so that a test can prove that none leaks.
pub const ACCESS_TOKEN_MARK: &str = "stand-in-access-token";

const CURSOR_PREFIX: &str = "aa_638553500560000000_638553500560000000_";
const SCOPES: &str =
    "signature impersonation organization_read user_read permission_read group_read";
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 2000;

/// The cursor that stands before record number `position`, and after all records when that is their number.
pub fn cursor_at(position: usize) -> String {
    format!("{CURSOR_PREFIX}{position}")
}

/// The places that answer, each with a count of its own for the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    Token,
    Stream,
    UserInfo,
    Organizations,
    /// The users of eSignature and those of the Admin API together.
    Users,
    /// Permission profiles and groups together.
    Profiles,
    /// Any other method or path.
    Elsewhere,
}

/// A handle of the running stand-in, which stops with its last clone. Every method that changes the script holds
/// from the next request on and returns the handle, so the same words serve before the first run and between two.
#[derive(Clone)]
pub struct Docusign {
    script: Arc<Mutex<Script>>,
    server: Arc<Server>,
}

/// The handle under the name it has while a script is put together.
pub type DocusignBuilder = Docusign;

/// What a door has to say: the `Err` is a reply too, a refusal.
type Answer<T> = Result<T, Reply>;

type Spoil = Box<dyn FnOnce(Reply) -> Reply + Send>;

struct Script {
    records: Vec<String>,
    page_size: usize,
    pages: HashMap<String, Page>,
    prerendered: HashMap<usize, Reply>,
    gzip: bool,
    budget: Option<Budget>,
    latency: Duration,
    service_users: Vec<String>,
    consented: Vec<String>,
    token_lifetime: Duration,
    tokens: HashMap<String, Token>,
    directory: Directory,
    account_statuses: HashMap<String, u16>,
    faults: HashMap<(Door, usize), Spoil>,
    received: HashMap<Door, usize>,
    cursors: Vec<String>,
    assertions: Vec<Value>,
}

enum Page {
    Rows(String, Vec<String>),
    Raw(String),
}

/// Calls that Docusign allows an account per hour.
const CALLS_PER_HOUR: u64 = 3000;

struct Budget {
    left: u64,
    renewed_at: SystemTime,
    least: u64,
}

impl Budget {
    /// Counts a call, and says in the answer what is left.
    fn count(&mut self, reply: Reply) -> Reply {
        if SystemTime::now() >= self.renewed_at {
            self.left = CALLS_PER_HOUR;
            self.renewed_at += Duration::from_secs(3600);
        }
        let reply = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.least = self.least.min(left);
                reply
            }
            None => Reply::json(
                429,
                json!({"errorCode": "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"}),
            ),
        };
        let renewed_at = self.renewed_at.duration_since(UNIX_EPOCH).unwrap();
        reply
            .header("X-RateLimit-Limit", CALLS_PER_HOUR)
            .header("X-RateLimit-Remaining", self.left)
            // A moment within this second would look over.
            .header("X-RateLimit-Reset", renewed_at.as_secs() + 1)
    }
}

struct Token {
    user_id: String,
    scopes: String,
    valid_until: Instant,
}

impl Docusign {
    /// A stand-in with no records, every scope consented and [`Directory::sample`].
    pub fn new() -> DocusignBuilder {
        let script = Arc::new(Mutex::new(Script {
            records: vec![],
            page_size: MAX_LIMIT,
            pages: HashMap::new(),
            prerendered: HashMap::new(),
            gzip: false,
            budget: None,
            latency: Duration::ZERO,
            service_users: vec![USER_ID.to_owned()],
            consented: SCOPES.split(' ').map(str::to_owned).collect(),
            token_lifetime: Duration::from_secs(3600),
            tokens: HashMap::new(),
            directory: Directory::sample(),
            account_statuses: HashMap::new(),
            faults: HashMap::new(),
            received: HashMap::new(),
            cursors: vec![],
            assertions: vec![],
        }));
        let server = Arc::new(Server::start({
            let script = script.clone();
            move |request| script.lock().unwrap().answer(request)
        }));
        Self { script, server }
    }

    /// Ends a script; the stand-in has been listening since [`Docusign::new`].
    pub fn start(self) -> Self {
        self
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn with(&self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.script());
        self.clone()
    }

    /// The stream's records, each as raw JSON text, served by position: see [`cursor_at`].
    pub fn records(&self, records: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.script().records.clear();
        self.push_records(records)
    }

    /// Appends to the stream, as time does between two runs.
    pub fn push_records(&self, records: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(|script| {
            script.records.extend(records.into_iter().map(Into::into));
            script.prerendered.clear();
        })
    }

    /// A ceiling for pages below the `limit` that a client asks for.
    pub fn page_size(&self, n: usize) -> Self {
        self.with(|script| script.page_size = n)
    }

    /// Builds all pages of `n` records of the v2.0 stream now, compressed if [`Docusign::gzip`] was said before, so
    /// that a request for one costs nothing.
    pub fn prerender(&self, n: usize) -> Self {
        self.with(|script| {
            script.page_size = n;
            let pages = (0..script.records.len()).step_by(n);
            script.prerendered = pages
                .map(|from| {
                    let page = script.page_at(from, n, false);
                    (from, if script.gzip { page.gzip() } else { page })
                })
                .collect();
        })
    }

    /// The exact page for a cursor, before any positions. `""` is the first request, with a date or without a
    /// cursor; equal cursors are the end of the stream.
    pub fn page(&self, cursor: &str, end_cursor: &str, records: &[&str]) -> Self {
        let rows = records.iter().map(|&record| record.to_owned()).collect();
        let page = Page::Rows(end_cursor.to_owned(), rows);
        self.with(|script| script.pages.extend([(cursor.to_owned(), page)]))
    }

    /// The exact body for a cursor.
    pub fn raw_page(&self, cursor: &str, body: impl Into<String>) -> Self {
        let page = Page::Raw(body.into());
        self.with(|script| script.pages.extend([(cursor.to_owned(), page)]))
    }

    /// Answers the `nth` stream request since the start, counted from 1, with `reply`; a retry gets the real page.
    pub fn fault(&self, nth: usize, reply: Reply) -> Self {
        self.fault_at(Door::Stream, nth, reply)
    }

    /// Applies `spoil` to the correct reply of the `nth` stream request, to cut or stall the right body. It runs
    /// while the script is locked, so it must not use a handle of the stand-in.
    pub fn spoil(&self, nth: usize, spoil: impl FnOnce(Reply) -> Reply + Send + 'static) -> Self {
        self.spoil_at(Door::Stream, nth, spoil)
    }

    /// [`Docusign::fault`] for token requests.
    pub fn fault_on_token(&self, nth: usize, reply: Reply) -> Self {
        self.fault_at(Door::Token, nth, reply)
    }

    /// [`Docusign::fault`] for pages of users, from either API.
    pub fn fault_on_users(&self, nth: usize, reply: Reply) -> Self {
        self.fault_at(Door::Users, nth, reply)
    }

    /// [`Docusign::fault`] for any door.
    pub fn fault_at(&self, door: Door, nth: usize, reply: Reply) -> Self {
        self.spoil_at(door, nth, |_| reply)
    }

    /// [`Docusign::spoil`] for any door.
    pub fn spoil_at(
        &self,
        door: Door,
        nth: usize,
        spoil: impl FnOnce(Reply) -> Reply + Send + 'static,
    ) -> Self {
        self.with(|script| drop(script.faults.insert((door, nth), Box::new(spoil))))
    }

    /// Whether replies are compressed for a client that accepts it; off at first.
    pub fn gzip(&self, gzip: bool) -> Self {
        self.with(|script| script.gzip = gzip)
    }

    /// Allows `left` of 3000 calls, tokens not counted, until the budget is renewed after `period`, as every answer says.
    pub fn budget(&self, left: u64, period: Duration) -> Self {
        let renewed_at = SystemTime::now() + period;
        self.with(|script| {
            script.budget = Some(Budget {
                left,
                renewed_at,
                least: left,
            })
        })
    }

    /// The fewest calls that were ever left of the budget.
    pub fn least_budget(&self) -> u64 {
        self.script()
            .budget
            .as_ref()
            .map_or(CALLS_PER_HOUR, |budget| budget.least)
    }

    /// Makes every token issued so far invalid.
    pub fn expire_tokens(&self) -> Self {
        self.with(|script| script.tokens.clear())
    }

    /// A token without an assertion, for a client that has no key.
    pub fn issue_token(&self) -> String {
        self.script().issue(USER_ID, "impersonation")
    }

    /// How long every answer of the stream takes before its first byte; nothing at first.
    pub fn latency(&self, latency: Duration) -> Self {
        self.with(|script| script.latency = latency)
    }

    /// How long tokens issued from now on are announced to live, and do live.
    pub fn token_lifetime(&self, seconds: u64) -> Self {
        self.with(|script| script.token_lifetime = Duration::from_secs(seconds))
    }

    /// The scopes that the service users consented to; an assertion with any other is refused.
    pub fn consented_scopes(&self, scopes: &[&str]) -> Self {
        self.with(|script| script.consented = scopes.iter().map(|&s| s.to_owned()).collect())
    }

    /// The users that may be impersonated, [`USER_ID`] alone at first.
    pub fn service_users(&self, ids: &[&str]) -> Self {
        self.with(|script| script.service_users = ids.iter().map(|&id| id.to_owned()).collect())
    }

    /// Organizations, accounts and users.
    pub fn directory(&self, directory: Directory) -> Self {
        self.with(|script| script.directory = directory)
    }

    /// Answers with `status` when the users of this account are asked for; 200 lifts it.
    pub fn account_status(&self, account_id: &str, status: u16) -> Self {
        let status = [(account_id.to_owned(), status)];
        self.with(|script| script.account_statuses.extend(status))
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every request so far, refused and spoiled ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    #[track_caller]
    pub fn wait_for_requests(&self, n: usize, deadline: Duration) {
        self.server.wait_for_requests(n, deadline);
    }

    /// The cursor of every stream request so far, as it was sent; empty for none.
    pub fn stream_cursors(&self) -> Vec<String> {
        self.script().cursors.clone()
    }

    pub fn token_requests(&self) -> usize {
        self.count(Door::Token)
    }

    /// How many requests a door has received.
    pub fn count(&self, door: Door) -> usize {
        let script = self.script();
        script.received.get(&door).copied().unwrap_or_default()
    }

    /// The claims of every assertion so far, accepted or not.
    pub fn assertions(&self) -> Vec<Value> {
        self.script().assertions.clone()
    }
}

impl Script {
    fn answer(&mut self, request: &Request) -> Reply {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (door, answer) = match (request.method.as_str(), path.as_slice()) {
            ("POST", ["oauth", "token"]) => (Door::Token, Ok(self.token(request))),
            ("GET", ["oauth", "auth"]) => (Door::Elsewhere, Ok(self.consent(request))),
            ("GET", ["oauth", "userinfo"]) => (Door::UserInfo, self.userinfo(request)),
            ("GET", ["api", "v2.0", "datasets", "monitor", "stream"]) => {
                (Door::Stream, self.stream(request, None))
            }
            ("GET", ["v1", "organizations", id, "stream"]) => {
                (Door::Stream, self.stream(request, Some(id)))
            }
            ("GET", ["restapi", "v2.1", "accounts", id, "users"]) => {
                (Door::Users, self.esignature_users(request, id))
            }
            ("GET", ["management", "v2", "organizations"]) => {
                (Door::Organizations, self.organizations(request))
            }
            ("GET", ["management", "v2", "organizations", id, "users"]) => {
                (Door::Users, self.admin_users(request, id))
            }
            (
                "GET",
                [
                    "management",
                    "v2",
                    "organizations",
                    organization,
                    "accounts",
                    account,
                    list @ ("permissions" | "groups"),
                ],
            ) => (
                Door::Profiles,
                self.profiles(request, organization, account, list),
            ),
            _ => (
                Door::Elsewhere,
                Err(Reply::text(404, "text/html", "<html>Not found</html>")),
            ),
        };
        let mut reply = answer.unwrap_or_else(|refusal| refusal);
        if door == Door::Stream {
            reply = reply.delay(self.latency);
        }
        if self.gzip && accepts_gzip(request) {
            reply = reply.gzip();
        }
        if let Some(budget) = self.budget.as_mut().filter(|_| door != Door::Token) {
            reply = budget.count(reply);
        }
        let nth = self.received.entry(door).or_default();
        *nth += 1;
        if let Some(spoil) = self.faults.remove(&(door, *nth)) {
            reply = spoil(reply);
        }
        reply.header("X-DocuSign-TraceToken", guid(0x7ac0 + door as u16, *nth))
    }

    fn token(&mut self, request: &Request) -> Reply {
        match self.grant(request) {
            Ok(token) => Reply::json(200, token),
            Err([error, ""]) => Reply::json(400, json!({ "error": error })),
            Err([error, description]) => Reply::json(
                400,
                json!({"error": error, "error_description": description}),
            ),
        }
    }

    /// The page on which the user accepts: whoever opens it here has done so.
    fn consent(&mut self, request: &Request) -> Reply {
        let scopes = request.query("scope").unwrap_or_default().split(' ');
        self.consented.extend(scopes.map(str::to_owned));
        let said = "The stand-in Docusign has noted the consent. The real one asks, and then leads to the redirect URI.";
        Reply::text(200, "text/plain; charset=utf-8", said)
    }

    fn issue(&mut self, user_id: &str, scopes: &str) -> String {
        let number = self.assertions.len() + self.tokens.len();
        let token = format!("{ACCESS_TOKEN_MARK}.{}", guid(0x70ce, number));
        let grant = Token {
            user_id: user_id.to_owned(),
            scopes: scopes.to_owned(),
            valid_until: Instant::now() + self.token_lifetime,
        };
        self.tokens.insert(token.clone(), grant);
        token
    }

    /// An access token, or what is wrong with the request: error and description.
    fn grant(&mut self, request: &Request) -> Result<Value, [&'static str; 2]> {
        let form = request.form();
        let field = |name| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let content_type = request.header("content-type").unwrap_or_default();
        if !content_type.starts_with("application/x-www-form-urlencoded")
            || field("grant_type") != Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
        {
            return Err(["unsupported_grant_type", ""]);
        }
        let assertion = field("assertion").unwrap_or_default();
        let claims: Value = dangerous::insecure_decode_claims(assertion)
            .map_err(|_| ["invalid_request", "The assertion is not a JWT."])?;
        self.assertions.push(claims.clone());

        let text = |claim: &str| claims[claim].as_str().unwrap_or_default().to_owned();
        if text("iss") != INTEGRATION_KEY {
            return Err(["invalid_grant", "issuer_not_found"]);
        }
        if !self.service_users.contains(&text("sub")) {
            return Err(["invalid_grant", "user_not_found"]);
        }
        let (issued, expires) = (claims["iat"].as_u64(), claims["exp"].as_u64());
        let (Some(issued), Some(expires)) = (issued, expires) else {
            return Err(["invalid_grant", ""]);
        };
        let now = jsonwebtoken::get_current_timestamp();
        // Docusign has no message of its own for a clock that is wrong.
        if !is_signed(assertion) || issued > now + 60 || expires <= now {
            return Err(["invalid_grant", "no_valid_keys_or_signatures"]);
        }
        if text("aud") != "127.0.0.1" || expires > issued + 3600 {
            return Err(["invalid_grant", ""]);
        }
        let scope = text("scope");
        let mut scopes = scope.split(' ');
        if !scopes.clone().any(|scope| scope == "impersonation") {
            return Err(["invalid_scope", ""]);
        }
        if !scopes.all(|scope| self.consented.iter().any(|consented| consented == scope)) {
            return Err(["consent_required", ""]);
        }

        let token = self.issue(&text("sub"), &scope);
        Ok(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.token_lifetime.as_secs(),
            "scope": scope,
        }))
    }

    /// The token of a request, if it lives and has the scope.
    fn authorize(&self, request: &Request, scope: &str) -> Answer<&Token> {
        let bearer = request.header("authorization").unwrap_or_default();
        let token = self.tokens.get(bearer.trim_start_matches("Bearer "));
        let Some(token) = token.filter(|token| Instant::now() < token.valid_until) else {
            let message = "The access token provided is expired, revoked or malformed.";
            return refuse(401, "AUTHORIZATION_INVALID_TOKEN", message);
        };
        if token.scopes.split(' ').any(|granted| granted == scope) {
            return Ok(token);
        }
        refuse(
            403,
            "INSUFFICIENT_SCOPE",
            &format!("The token lacks the scope {scope}."),
        )
    }

    fn stream(&mut self, request: &Request, organization: Option<&str>) -> Answer<Reply> {
        let cursor = request.query("cursor").unwrap_or_default();
        self.cursors.push(cursor.to_owned());
        self.authorize(request, "impersonation")?;
        if organization.is_some_and(|id| id != ORGANIZATION_ID) {
            let error = "Organization does not have Monitor entitlement";
            return Err(Reply::json(403, json!({ "error": error })));
        }
        let Some(limit @ 1..) = number(request, "limit", DEFAULT_LIMIT) else {
            return refuse(400, "INVALID_LIMIT", "The limit is not a positive number.");
        };
        let is_first = cursor.is_empty() || is_date_time(cursor);
        match self.pages.get(if is_first { "" } else { cursor }) {
            Some(Page::Raw(body)) => return Ok(Reply::json(200, body)),
            Some(Page::Rows(end_cursor, rows)) => {
                return Ok(Reply::json(
                    200,
                    render(organization.is_some(), end_cursor, rows),
                ));
            }
            None => {}
        }
        let position = match cursor.strip_prefix(CURSOR_PREFIX) {
            Some(position) => position.parse().ok(),
            None => is_first.then_some(0),
        };
        let Some(position) = position.filter(|&position| position <= self.records.len()) else {
            return refuse(
                400,
                "INVALID_CURSOR",
                "The cursor is not one of this stream.",
            );
        };
        let fits = organization.is_none() && limit >= self.page_size;
        let prerendered = self.prerendered.get(&position);
        match prerendered.filter(|_| fits && (!self.gzip || accepts_gzip(request))) {
            Some(page) => Ok(page.clone()),
            None => Ok(self.page_at(position, limit, organization.is_some())),
        }
    }

    fn page_at(&self, from: usize, limit: usize, is_organization: bool) -> Reply {
        let rows = limit.min(MAX_LIMIT).min(self.page_size);
        let to = (from + rows).min(self.records.len());
        Reply::json(
            200,
            render(is_organization, &cursor_at(to), &self.records[from..to]),
        )
    }

    fn userinfo(&self, request: &Request) -> Answer<Reply> {
        let token = self.authorize(request, "impersonation")?;
        let mut accounts: Vec<Value> = vec![];
        for account in self
            .directory
            .accounts
            .iter()
            .filter(|account| account.member)
        {
            accounts.push(json!({
                "account_id": account.id,
                "account_name": account.name,
                "is_default": accounts.is_empty(),
                "base_uri": account.base_uri.clone().unwrap_or_else(|| own_address(request)),
                "organization": {"organization_id": account.organization_id, "links": []},
            }));
        }
        let (name, email) = ("Monitor Service", "monitor@example.com");
        let user =
            json!({"sub": token.user_id, "name": name, "email": email, "accounts": accounts});
        Ok(Reply::json(200, user))
    }

    fn organizations(&self, request: &Request) -> Answer<Reply> {
        self.authorize(request, "organization_read")?;
        let mut organizations: Vec<Value> = vec![];
        for organization in &self.directory.organizations {
            let mut accounts: Vec<Value> = vec![];
            for account in &self.directory.accounts {
                if account.organization_id == organization.id {
                    accounts.push(json!({
                        "id": account.id,
                        "name": account.name,
                        "external_account_id": account.external_id,
                        "site_id": account.site,
                    }));
                }
            }
            let (id, name) = (&organization.id, &organization.name);
            organizations.push(json!({"id": id, "name": name, "accounts": accounts}));
        }
        Ok(Reply::json(200, json!({ "organizations": organizations })))
    }

    fn esignature_users(&self, request: &Request, account_id: &str) -> Answer<Reply> {
        self.authorize(request, "signature")?;
        let account = self.account(account_id)?;
        if !account.member {
            let message = "The caller is no member of the specified account.";
            return refuse(401, "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT", message);
        }
        let start = number(request, "start_position", 0);
        let (Some(count @ 1..=100), Some(start)) = (number(request, "count", 50), start) else {
            let message = "The count is from 1 to 100, the start position a number.";
            return refuse(400, "INVALID_REQUEST_PARAMETER", message);
        };
        let wanted = request.query("status");
        let is_wanted = |user: &&Map<String, Value>| {
            let status = user
                .get("userStatus")
                .and_then(Value::as_str)
                .unwrap_or_default();
            wanted.map_or(status != "Closed", |wanted| {
                wanted.split(',').any(|one| one == status)
            })
        };
        let users = account.users.iter().filter(is_wanted);
        let (total, users) = (users.clone().count(), users.skip(start).take(count));
        let users: Vec<_> = users.collect();
        let end = start + users.len();
        let mut body = json!({
            "resultSetSize": users.len().to_string(),
            "totalSetSize": total.to_string(),
            "startPosition": start.to_string(),
            "endPosition": end.saturating_sub(1).to_string(),
            "users": users,
        });
        if end < total {
            let status = wanted
                .map(|status| format!("&status={status}"))
                .unwrap_or_default();
            let query = format!("count={count}&start_position={end}{status}");
            body["nextUri"] = format!("/accounts/{account_id}/users?{query}").into();
        }
        Ok(Reply::json(200, body))
    }

    fn admin_users(&self, request: &Request, organization_id: &str) -> Answer<Reply> {
        self.authorize(request, "user_read")?;
        let account_id = request.query("account_id").unwrap_or_default();
        let account = self.account_of(organization_id, account_id)?;
        let query = format!("account_id={}&", account.id);
        let (rows, paging) = admin_page(request, &account.users, &query)?;
        let users: Vec<Value> = rows.iter().map(as_admin_user).collect();
        Ok(Reply::json(200, json!({"users": users, "paging": paging})))
    }

    /// The permission profiles of an account, or a page of its groups.
    fn profiles(
        &self,
        request: &Request,
        organization_id: &str,
        account_id: &str,
        list: &str,
    ) -> Answer<Reply> {
        let is_groups = list == "groups";
        self.authorize(
            request,
            if is_groups {
                "group_read"
            } else {
                "permission_read"
            },
        )?;
        let account = self.account_of(organization_id, account_id)?;
        if !is_groups {
            let named = |(id, name): &(i64, String)| json!({"id": id, "name": name});
            let permissions: Vec<_> = account.permission_profiles.iter().map(named).collect();
            return Ok(Reply::json(200, json!({ "permissions": permissions })));
        }
        let (rows, paging) = admin_page(request, &account.groups, "")?;
        let group =
            |(id, name): &(i64, String)| json!({"id": id, "name": name, "type": "custom_group"});
        let groups: Vec<_> = rows.iter().map(group).collect();
        Ok(Reply::json(
            200,
            json!({"groups": groups, "paging": paging}),
        ))
    }

    /// An account that is in an organization.
    fn account_of(&self, organization_id: &str, account_id: &str) -> Answer<&Account> {
        let account = self.account(account_id)?;
        match account.organization_id == organization_id {
            true => Ok(account),
            false => refuse(404, "not_found", "The account is of another organization."),
        }
    }

    /// An account by its GUID or its number, unless the script has it refused.
    fn account(&self, id: &str) -> Answer<&Account> {
        let is_it = |account: &&Account| account.id == id || account.external_id.to_string() == id;
        let Some(account) = self.directory.accounts.iter().find(is_it) else {
            return refuse(404, "ACCOUNT_NOT_FOUND", "There is no such account.");
        };
        match self.account_statuses.get(&account.id) {
            None | Some(200) => Ok(account),
            Some(&status) => refuse(status, "SCRIPTED_REFUSAL", "The script says so."),
        }
    }
}

/// An error with the members of both families: eSignature's `errorCode` and the account server's `error`.
fn refuse<T>(status: u16, code: &str, message: &str) -> Answer<T> {
    let body = json!({"errorCode": code, "message": message, "error": code});
    Err(Reply::json(status, body))
}

/// The rows that the Admin API's `start` and `take` ask for, and its `paging` member.
fn admin_page<'a, T>(request: &Request, rows: &'a [T], query: &str) -> Answer<(&'a [T], Value)> {
    let (start, take) = (number(request, "start", 0), number(request, "take", 20));
    let (Some(start), Some(take @ 1..)) = (start, take) else {
        return refuse(400, "invalid_request", "start and take are numbers.");
    };
    let total = rows.len();
    let start = start.min(total);
    let end = (start + take).min(total);
    let next = format!("{}?{query}start={end}&take={take}", request.path);
    let paging = json!({
        "result_set_size": end - start,
        "result_set_start_position": start,
        "result_set_end_position": end.saturating_sub(1),
        "total_set_size": total,
        "next": (end < total).then(|| own_address(request) + &next),
    });
    Ok((&rows[start..end], paging))
}

fn own_address(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap_or_default())
}

fn accepts_gzip(request: &Request) -> bool {
    let encodings = request.header("accept-encoding");
    encodings.is_some_and(|encodings| encodings.contains("gzip"))
}

fn number(request: &Request, name: &str, default: usize) -> Option<usize> {
    let text = request.query(name);
    text.map_or(Some(default), |text| text.parse().ok())
}

fn is_signed(assertion: &str) -> bool {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY.as_bytes()).unwrap();
    decode::<Value>(assertion, &key, &validation).is_ok()
}

/// Only the full form: that a bare date is understood is not documented.
fn is_date_time(cursor: &str) -> bool {
    let bytes = cursor.as_bytes();
    bytes.len() >= "2021-01-01T00:00:00Z".len() && bytes[4] == b'-' && bytes[10] == b'T'
}

/// A page in the shape of either generation, with the records' own text in it.
fn render(is_organization: bool, end_cursor: &str, rows: &[String]) -> String {
    let (rows, end_cursor) = (rows.join(","), Value::from(end_cursor));
    if is_organization {
        format!(r#"{{"resultData":[{rows}],"endCursor":{end_cursor}}}"#)
    } else {
        format!(r#"{{"endCursor":{end_cursor},"data":[{rows}]}}"#)
    }
}

/// Who and what is there, for the directory APIs.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub organizations: Vec<Organization>,
    pub accounts: Vec<Account>,
}

#[derive(Clone, Debug, Default)]
pub struct Organization {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub id: String,
    pub name: String,
    pub organization_id: String,
    /// Whether the service user belongs to it: userinfo and eSignature know no others.
    pub member: bool,
    /// Where userinfo says that its eSignature API is; the stand-in itself at first.
    pub base_uri: Option<String>,
    pub site: i32,
    pub external_id: i64,
    /// As eSignature writes them; the Admin API's form is made from them.
    pub users: Vec<Map<String, Value>>,
    /// Number and name.
    pub permission_profiles: Vec<(i64, String)>,
    /// Number and name.
    pub groups: Vec<(i64, String)>,
}

impl Directory {
    /// One organization with two accounts, the second without the service user. Everyone whom [`sample_record`]
    /// names is in the first.
    pub fn sample() -> Self {
        let account = |id: &str, name: &str, member, external_id, users: Range<usize>| Account {
            id: id.to_owned(),
            name: name.to_owned(),
            organization_id: ORGANIZATION_ID.to_owned(),
            member,
            base_uri: None,
            site: 1,
            external_id,
            users: users.map(sample_user).collect(),
            permission_profiles: sample_permission_profiles(),
            groups: sample_groups(),
        };
        Self {
            organizations: vec![Organization {
                id: ORGANIZATION_ID.to_owned(),
                name: "Example Group".to_owned(),
            }],
            accounts: vec![
                account(
                    ACCOUNT_ID,
                    "Example GmbH, Köln",
                    true,
                    10_001,
                    0..SAMPLE_USERS,
                ),
                account(
                    OTHER_ACCOUNT_ID,
                    "Example SARL",
                    false,
                    10_002,
                    SAMPLE_USERS..16,
                ),
            ],
        }
    }
}

/// The permission profiles that [`sample_user`] and records name.
pub fn sample_permission_profiles() -> Vec<(i64, String)> {
    [
        (7_000_000, "Account Administrator"),
        (7_000_001, "DocuSign Sender"),
        (7_000_002, "DocuSign Viewer"),
    ]
    .map(|(id, name)| (id, name.to_owned()))
    .into()
}

/// Some groups, as every account has them.
pub fn sample_groups() -> Vec<(i64, String)> {
    [(8_000_000, "Administrators"), (8_000_001, "Everyone")]
        .map(|(id, name)| (id, name.to_owned()))
        .into()
}

const SAMPLE_USERS: usize = 12;
const FIRST_NAMES: [&str; 6] = ["Anna", "Jürgen", "Zoë", "Mehmet", "Siân", "Luca"];
const LAST_NAMES: [&str; 7] = [
    "Müller", "O'Brien", "Nowak", "Yılmaz", "Smith", "Rossi", "Lee",
];

/// The `userId` of [`sample_user`].
pub fn sample_user_id(n: usize) -> String {
    guid(0x05e7, n)
}

/// User number `n` as eSignature's Users:list writes one; every fifth is closed.
pub fn sample_user(n: usize) -> Map<String, Value> {
    let (first, last) = (
        FIRST_NAMES[n % FIRST_NAMES.len()],
        LAST_NAMES[n % LAST_NAMES.len()],
    );
    let is_admin = n.is_multiple_of(4);
    let user = json!({
        "userId": sample_user_id(n),
        "userName": format!("{first} {last}"),
        "firstName": first,
        "lastName": last,
        "email": format!("user{n}@example.com"),
        "jobTitle": if is_admin { "Administrator" } else { "Clerk, \"Contracts\"" },
        "company": "Example",
        "userType": "CompanyUser",
        "userStatus": if n % 5 == 4 { "Closed" } else { "Active" },
        "isAdmin": if is_admin { "True" } else { "False" },
        "permissionProfileId": (7_000_000 + n % 3).to_string(),
        "permissionProfileName": if is_admin { "Account Administrator" } else { "DocuSign Sender" },
        "createdDateTime": "2022-05-04T09:30:00.0000000Z",
        "lastLogin": "2025-12-01T07:15:42.1230000Z",
    });
    user.as_object().unwrap().clone()
}

fn as_admin_user(user: &Map<String, Value>) -> Value {
    let status = match user.get("userStatus").and_then(Value::as_str) {
        Some("Closed") => "closed",
        Some("ActivationRequired" | "ActivationSent") => "created",
        _ => "active",
    };
    json!({
        "id": user.get("userId"),
        "user_name": user.get("userName"),
        "first_name": user.get("firstName"),
        "last_name": user.get("lastName"),
        "email": user.get("email"),
        "user_status": status,
        "membership_status": status,
        "created_on": user.get("createdDateTime"),
        "membership_created_on": user.get("createdDateTime"),
    })
}

/// Records number `numbers` of the sample stream.
pub fn sample_records(numbers: Range<usize>) -> Vec<String> {
    numbers.map(sample_record).collect()
}

/// A realistic record of about 1 kB, the same for the same `n`, with Docusign's order of keys, a timestamp of 0 to 9
/// fraction digits, and in some what XML and Latin-1 cannot take as it is. Every 17th happened 90 s earlier than
/// its place in the stream suggests.
pub fn sample_record(n: usize) -> String {
    let name = [
        r"Müller & Söhne <Rahmenvertrag>",
        r#"Q3 \"final\" offer 🖋️"#,
        r"O'Brien > Smith",
        r"契約書 \u00a77",
    ][n / 6 % 4];
    let target = sample_user_id((n + 5) % SAMPLE_USERS);
    let result = if n / 6 % 4 == 3 { "Failed" } else { "Success" };
    let (object, action, result, affected, data) = match n % 6 {
        0 => {
            let data = format!(
                r#"{{"EnvelopeId":"{}","EnvelopeName":"{name}"}}"#,
                guid(0xe7e1, n)
            );
            ("Envelope", "Created", "", "", data)
        }
        1 => (
            "User",
            "Login",
            result,
            "",
            r#"{"AuthenticationMethod":"Password"}"#.to_owned(),
        ),
        2 => {
            let profile = r#""PermissionProfileId":"7000001""#;
            let data = format!(r#"{{"AffectedUserId":"{target}",{profile}}}"#);
            ("Account", "UserAdded", "", target.as_str(), data)
        }
        3 => {
            let data = format!(
                r#"{{"TemplateId":"{}","TemplateName":"{name}"}}"#,
                guid(0x7e3b, n)
            );
            ("Template", "Created", "", "", data)
        }
        4 => {
            let events = [guid(0xe1d0, n - 1), guid(0xe1d0, n - 2)].join(r#"",""#);
            let data = format!(r#"{{"Severity":"High","Count":"6","EventIds":["{events}"]}}"#);
            ("Alert", "TooManyLoginFailures", "", "", data)
        }
        _ => (
            "Group",
            "Deleted",
            "",
            "",
            r#"{"GroupId":"48213"}"#.to_owned(),
        ),
    };
    let is_alert = object == "Alert";
    let (account, organization) = if is_alert {
        ("", ORGANIZATION_ID)
    } else {
        (ACCOUNT_ID, "")
    };
    let (agent, source) = if is_alert {
        ("", "Other")
    } else {
        (USER_AGENT, "Web")
    };
    let timestamp = format!("{}{}Z", iso_seconds(sample_seconds(n)), sample_fraction(n));
    let (event, user) = (guid(0xe1d0, n), sample_user_id(n / 3 % SAMPLE_USERS));
    let octet = n % 250;
    let lines = format!(
        r#"{{"timestamp":"{timestamp}","eventId":"{event}","site":"EU1","accountId":"{account}",
        "organizationId":"{organization}","userId":"{user}","integratorKey":"","userAgent":"{agent}",
        "ipAddress":"203.0.113.{octet}","ipAddressLocation":{{"latitude":50.9300,"longitude":6.95,
        "country":"germany","state":"nordrhein-westfalen","city":"köln"}},"object":"{object}",
        "action":"{action}","property":"","field":"","result":"{result}","source":"{source}",
        "data":{data},"referencedUserId":"","affectedUserId":"{affected}","isUserMemberOfDomain":true,
        "proxyStatus":"","proxyType":"","proxyLevel":"","latitude":50.9300,"longitude":6.95,
        "city":"köln","state":"nordrhein-westfalen","country":"germany","browser":"Chrome 126",
        "os":"Windows 10","device":"Other"}}"#
    );
    lines.lines().map(str::trim_start).collect()
}

const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/126.0.0.0 Safari/537.36";

/// What `<time>` must say for [`sample_record`]: the same digits, never through a floating point number.
pub fn sample_timestamp(n: usize) -> String {
    format!("{}{}", sample_seconds(n), sample_fraction(n))
}

/// Seconds since 1970: from 2026-01-05T08:00:00Z, one record every 7 s.
fn sample_seconds(n: usize) -> u64 {
    let late = if n % 17 == 16 { 90 } else { 0 };
    1_767_600_000 + 7 * n as u64 - late
}

/// The fraction with its point, or nothing.
fn sample_fraction(n: usize) -> String {
    let digits = format!(".{:09}", (n + 1) * 618_033_989 % 1_000_000_000);
    digits[..if n.is_multiple_of(10) { 0 } else { 1 + n % 10 }].to_owned()
}

/// `YYYY-MM-DDThh:mm:ss`, after Howard Hinnant's `civil_from_days`, whose years begin in March.
fn iso_seconds(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// A GUID that is the same for the same kind and number.
pub(crate) fn guid(kind: u16, n: usize) -> String {
    let mixed = ((u64::from(kind) << 32) + n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, middle, low) = (mixed >> 32, mixed >> 12 & 0xfff, mixed & 0xfff);
    format!("{high:08x}-{kind:04x}-4{middle:03x}-8{low:03x}-{n:012x}")
}
