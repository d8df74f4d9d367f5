//! The one declaration of every argument, and the way from a stanza's text to checked settings.
//!
//! Splunk's scheme, `README/inputs.conf.spec` and the messages below all come from [`DS_MONITOR`]. Whatever
//! reaches [`Settings`] has been checked; every error names the parameter and the form that is accepted.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::Certificate;

use crate::docusign::jwt_grant::{Identity, PrivateKey, SCOPE_IMPERSONATION};
use crate::docusign::monitor_api::{MAX_LIMIT, StreamSettings};
use crate::docusign::{BaseUrl, Environment, Generation, is_guid};
use crate::durable;
use crate::failures;
use crate::http::{self, Network, PlainHttp, ProxySettings, UrlProblem, is_loopback};
use crate::retry::Patience;
use crate::secret::Secret;
use crate::splunk::hec::{self, HecSettings, SettingNames};
use crate::splunk::input_definition::{MASK, Stanza};
use crate::splunk::scheme::{Argument, DataType, Field, Scheme};

/// Files named in the configuration are keys and certificate bundles.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A cursor of Docusign's has some 50 characters.
const MAX_CURSOR_CHARS: usize = 1024;

/// Docusign's own default when no cursor is sent.
const DEFAULT_START: TimeDelta = TimeDelta::days(7);

/// Docusign's first data.
const EARLIEST: &str = "2021-01-01T00:00:00Z";

/// How we introduce ourselves to every server.
pub const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The address that the README has administrators register for the integration key. Nothing listens there: the
/// browser's "cannot be reached" after the consent is the good end.
pub const CONSENT_REDIRECT: &str = "https://localhost/ds_monitor";

/// The groups of the form.
const DOCUSIGN_APP: &str = "Docusign app";
const KEY: &str = "Key";
const COLLECT: &str = "What to collect";
const NETWORK: &str = "Network";
const DELIVERY: &str = "Delivery";

/// The `ds_monitor` input as Splunk and its administrators know it.
pub const DS_MONITOR: Scheme = Scheme {
    kind: "ds_monitor",
    title: "Docusign Monitor",
    description: "Collects the events of Docusign Monitor: who did what on an organization's agreements.",
    arguments: &[
        Argument {
            name: "environment",
            title: "Environment",
            description: "production or demo. Integration keys, users and consent belong to one of the two.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("production"),
            group: DOCUSIGN_APP,
            field: Field::Select(&[
                ("production", "Production"),
                ("demo", "Demo (developer accounts)"),
            ]),
        },
        Argument {
            name: "integration_key",
            title: "Integration key",
            description: "GUID of the app in Docusign's Apps and Keys.",
            data_type: DataType::String,
            required: true,
            secret: false,
            default: None,
            group: DOCUSIGN_APP,
            field: Field::Text,
        },
        Argument {
            name: "user_id",
            title: "User ID",
            description: "GUID of the user the app acts for (User ID or API Username), an administrator of exactly one organization.",
            data_type: DataType::String,
            required: true,
            secret: false,
            default: None,
            group: DOCUSIGN_APP,
            field: Field::Text,
        },
        Argument {
            name: "private_key",
            title: "RSA private key",
            description: "The private key that Docusign showed when the key pair was generated, from BEGIN to END. Line breaks may get lost. Set this or private_key_path.",
            data_type: DataType::String,
            required: false,
            secret: true,
            default: None,
            group: KEY,
            field: Field::TextArea,
        },
        Argument {
            name: "private_key_path",
            title: "Private key file",
            description: "File with the private key in PEM form, readable by the user that Splunk runs as, for those who manage secrets on disk.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: KEY,
            field: Field::Text,
        },
        Argument {
            name: "organization_id",
            title: "Organization ID",
            description: "GUID of the organization; when set, Docusign's newer endpoint, the stream of an organization, is used.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: COLLECT,
            field: Field::Text,
        },
        Argument {
            name: "start_from",
            title: "Start from",
            description: "Where the first run begins: a date (2026-01-31), an ISO 8601 date-time, earliest, or a cursor taken from another collector. Ignored once a position is saved.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("7 days ago"),
            group: COLLECT,
            field: Field::Text,
        },
        Argument {
            name: "limit",
            title: "Records a page",
            description: "How many records are asked for at once, 1 to 2000.",
            data_type: DataType::Number,
            required: false,
            secret: false,
            default: Some("2000"),
            group: COLLECT,
            field: Field::Text,
        },
        Argument {
            name: "proxy_url",
            title: "Proxy",
            description: "http://host:port or https://host:port for the calls to Docusign, never for those to splunkd. When empty, HTTPS_PROXY and NO_PROXY of splunkd's environment apply.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: NETWORK,
            field: Field::Text,
        },
        Argument {
            name: "proxy_user",
            title: "Proxy user",
            description: "User name for the proxy, if it wants one.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: NETWORK,
            field: Field::Text,
        },
        Argument {
            name: "proxy_password",
            title: "Proxy password",
            description: "Password for the proxy user.",
            data_type: DataType::String,
            required: false,
            secret: true,
            default: None,
            group: NETWORK,
            field: Field::Password,
        },
        Argument {
            name: "ca_file",
            title: "CA file",
            description: "PEM file with certificates to trust beside the system's, for example of a proxy that inspects TLS.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: NETWORK,
            field: Field::Text,
        },
        Argument {
            name: "hec_url",
            title: "HTTP Event Collector",
            description: "Base address of an HTTP Event Collector, for example https://splunk.example.com:8088. When set, the events go there and not through this instance's own queues, and a position is saved when they are safe there.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: None,
            group: DELIVERY,
            field: Field::Text,
        },
        Argument {
            name: "hec_token",
            title: "HTTP Event Collector token",
            description: "Token of the HTTP Event Collector. With indexer acknowledgement switched on for it, a position is saved when the indexers have the events.",
            data_type: DataType::String,
            required: false,
            secret: true,
            default: None,
            group: DELIVERY,
            field: Field::Password,
        },
        Argument {
            name: "auth_url",
            title: "Account server",
            description: "Replaces the base address of Docusign's account server. Only Docusign's domains and loopback are accepted.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("https://account.docusign.com, in demo https://account-d.docusign.com"),
            group: NETWORK,
            field: Field::Text,
        },
        Argument {
            name: "monitor_url",
            title: "Monitor server",
            description: "Replaces the base address of the Monitor API. Only Docusign's domains and loopback are accepted.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some(
                "https://lens.docusign.net, with organization_id https://api.docusign.com; in demo lens-d and api-d",
            ),
            group: NETWORK,
            field: Field::Text,
        },
        Argument {
            name: "admin_url",
            title: "Admin server",
            description: "Replaces the base address of the Admin API. Only Docusign's domains and loopback are accepted.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some(
                "https://api.docusign.net/management, in demo https://api-d.docusign.net/management",
            ),
            group: NETWORK,
            field: Field::Text,
        },
    ],
};

/// The `ds_lookups` input as Splunk and its administrators know it.
pub const DS_LOOKUPS: Scheme = Scheme {
    kind: "ds_lookups",
    title: "Docusign Monitor lookups",
    description: "Refreshes the lookups that name the users and accounts in the events of Docusign Monitor.",
    arguments: &[
        Argument {
            name: "monitor_input",
            title: "Monitor input",
            description: "Name of the Docusign Monitor input whose settings and key are used. It may be disabled.",
            data_type: DataType::String,
            required: true,
            secret: false,
            default: None,
            group: DOCUSIGN_APP,
            field: Field::SelectFrom("/data/inputs/ds_monitor"),
        },
        Argument {
            name: "user_id",
            title: "User ID",
            description: "GUID of another user the app acts for, when the one of the Monitor input may not list users.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("the user of the Monitor input"),
            group: DOCUSIGN_APP,
            field: Field::Text,
        },
        Argument {
            name: "kinds",
            title: "Kinds",
            description: "What to refresh: users, accounts or both, separated by a comma.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("users,accounts"),
            group: COLLECT,
            field: Field::Text,
        },
        Argument {
            name: "output",
            title: "Output",
            description: "csv writes the app's lookup files and is for a single Splunk instance. index sends every row as an event, for the scheduled searches of the app to make the lookups on the search heads: for forwarders, clusters and Splunk Cloud.",
            data_type: DataType::String,
            required: false,
            secret: false,
            default: Some("csv"),
            group: COLLECT,
            field: Field::Select(&[
                ("csv", "csv: lookup files on this instance"),
                ("index", "index: events for the search heads"),
            ]),
        },
    ],
};

/// A checked `ds_lookups` input.
#[derive(Debug)]
pub struct LookupSettings {
    /// Name of the `ds_monitor` input whose settings are used.
    pub monitor_input: String,
    /// Another service user.
    pub user_id: Option<String>,
    /// Whether users are refreshed.
    pub users: bool,
    /// Whether accounts are refreshed.
    pub accounts: bool,
    /// Where the rows go.
    pub output: Output,
}

/// Where the rows of a refresh go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the lookup files of the app.
    Csv,
    /// Into an index, a row an event.
    Index,
}

impl LookupSettings {
    /// Checks all parameters of a `ds_lookups` stanza.
    ///
    /// # Errors
    /// The first parameter that is wrong, and the form that is accepted.
    pub fn of(stanza: &Stanza) -> Result<Self> {
        let monitor_input = stanza.get("monitor_input").context(
            "the parameter monitor_input is missing: enter the name of a Docusign Monitor input",
        )?;
        let prefix = format!("{}://", DS_MONITOR.kind);
        let (mut users, mut accounts) = (false, false);
        for kind in stanza.get("kinds").unwrap_or("users,accounts").split(',') {
            match kind.trim() {
                "users" => users = true,
                "accounts" => accounts = true,
                _ => bail!("the parameter kinds must be users, accounts, or users,accounts"),
            }
        }
        Ok(Self {
            monitor_input: monitor_input
                .strip_prefix(&prefix)
                .unwrap_or(monitor_input)
                .to_owned(),
            user_id: optional_guid(stanza, "user_id")?,
            users,
            accounts,
            output: match stanza.get("output").unwrap_or("csv") {
                "csv" => Output::Csv,
                "index" => Output::Index,
                _ => bail!("the parameter output must be csv or index"),
            },
        })
    }
}

/// A checked `ds_monitor` input.
#[derive(Debug)]
pub struct Settings {
    /// Chooses every host that is not given.
    pub environment: Environment,
    /// Who asks for tokens.
    pub identity: Identity,
    /// Which stream is read.
    pub stream: StreamSettings,
    /// Where the first run begins.
    pub start_from: StartFrom,
    /// The way to Docusign.
    pub network: Network,
    /// Base address of the Admin API.
    pub admin_url: BaseUrl,
    /// The event collector that the events go to; without one, the standard output.
    pub hec: Option<HecSettings>,
}

/// Where the first run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// Seven days before the first run.
    SevenDaysAgo,
    /// At this moment, an ISO 8601 date-time.
    Time(String),
    /// After this cursor of Docusign's.
    Cursor(String),
}

impl StartFrom {
    /// The text that the administrator chose, if any.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::SevenDaysAgo => None,
            Self::Time(text) | Self::Cursor(text) => Some(text.clone()),
        }
    }

    /// What is sent as the first cursor.
    #[must_use]
    pub fn cursor(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::SevenDaysAgo => iso(now - DEFAULT_START),
            Self::Time(text) | Self::Cursor(text) => text.clone(),
        }
    }
    /// Reads `start_from`. What begins like a date must be one, so that a misspelt date is not sent as a cursor.
    ///
    /// # Errors
    /// It is none of the accepted forms, or lies in the future.
    pub fn parse(text: Option<&str>, now: DateTime<Utc>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::SevenDaysAgo);
        };
        if text.eq_ignore_ascii_case("earliest") {
            return Ok(Self::Time(EARLIEST.to_owned()));
        }
        if let Some(time) = date_or_time(text) {
            if time > now {
                bail!(
                    "the parameter start_from lies in the future ({}): enter a past date, or leave it empty for 7 days ago",
                    iso(time)
                );
            }
            return Ok(Self::Time(iso(time)));
        }
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        if printable && has_no_look_of_a_date(text) && text.len() <= MAX_CURSOR_CHARS {
            return Ok(Self::Cursor(text.to_owned()));
        }
        bail!(
            "the parameter start_from must be a date such as 2026-01-31, a date-time such as 2026-01-31T08:00:00Z, earliest, or a cursor of Docusign Monitor"
        )
    }
}

/// The date-time form that Docusign takes as a cursor, for example `2026-01-31T00:00:00Z`.
#[must_use]
pub fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Settings {
    /// Checks all parameters of a `ds_monitor` stanza but the private key, which [`private_key`] reads.
    ///
    /// # Errors
    /// The first parameter that is wrong, and the form that is accepted. Secrets are never quoted.
    pub fn of(stanza: &Stanza, now: DateTime<Utc>) -> Result<Self> {
        let environment = environment(stanza)?;
        let organization_id = optional_guid(stanza, "organization_id")?;
        let generation = match organization_id {
            Some(_) => Generation::Organization,
            None => Generation::Dataset,
        };
        let auth_url = base_url(stanza, "auth_url", environment.auth_url())?;
        let monitor_url = base_url(stanza, "monitor_url", environment.monitor_url(generation))?;
        let admin_url = base_url(stanza, "admin_url", environment.admin_url())?;
        let integration_key = guid(stanza, "integration_key")?;
        let user_id = guid(stanza, "user_id")?;
        let start_from = StartFrom::parse(stanza.get("start_from"), now)?;
        let limit = limit(stanza.get("limit"))?;
        let bases = [&auth_url, &monitor_url, &admin_url];
        let proxy = proxy(stanza)?;
        let tls_proxy = proxy
            .as_ref()
            .is_some_and(|proxy| proxy.url.scheme() == "https");
        let network = Network {
            user_agent: USER_AGENT,
            remedy: failures::docusign_network_remedy,
            environment_proxy: !bases.iter().all(|url| url.is_loopback()),
            no_proxy: false,
            tls: tls_proxy || bases.iter().any(|url| url.is_https()),
            proxy,
            ca_certificates: ca_certificates(stanza)?,
            patience: Patience::RUN,
        };
        let hec = hec(stanza, &network)?;
        Ok(Self {
            environment,
            identity: Identity {
                auth_url,
                integration_key,
                user_id,
                scope: SCOPE_IMPERSONATION.to_owned(),
                consent_scope: SCOPE_IMPERSONATION.to_owned(),
                consent_redirect: CONSENT_REDIRECT,
            },
            stream: StreamSettings {
                monitor_url,
                organization_id,
                limit,
            },
            start_from,
            network,
            admin_url,
            hec,
        })
    }
}

fn environment(stanza: &Stanza) -> Result<Environment> {
    let name = stanza.get("environment").unwrap_or("production");
    Environment::named(&name.to_ascii_lowercase())
        .context("the parameter environment must be production or demo")
}

fn guid(stanza: &Stanza, param: &'static str) -> Result<String> {
    optional_guid(stanza, param)?.with_context(|| {
        format!(
            "the parameter {param} is missing: enter the GUID, for example 1b2c3d4e-0000-4abc-8def-0123456789ab"
        )
    })
}

/// The value is not repeated in the message: it could be a secret in the wrong field.
fn optional_guid(stanza: &Stanza, param: &'static str) -> Result<Option<String>> {
    match stanza.get(param) {
        Some(text) if !is_guid(text) => bail!(
            "the parameter {param} must be a GUID, for example 1b2c3d4e-0000-4abc-8def-0123456789ab"
        ),
        text => Ok(text.map(str::to_ascii_lowercase)),
    }
}

fn base_url(stanza: &Stanza, param: &'static str, default: &'static str) -> Result<BaseUrl> {
    let text = stanza.get(param).unwrap_or(default);
    BaseUrl::parse(text).map_err(|problem| anyhow!("the parameter {param} {problem}"))
}

/// The private key of a `ds_monitor` stanza, from `private_key` or from the file at `private_key_path`.
///
/// # Errors
/// There is none, it cannot be read, or it is still masked because none is stored.
pub fn private_key(stanza: &Stanza) -> Result<PrivateKey> {
    match (stanza.get("private_key"), stanza.get("private_key_path")) {
        (None, Some(path)) => key_file(Path::new(path)),
        (Some(MASK), None) => bail!("{}", masked("private_key", "the key", stanza)),
        (Some(text), None) => PrivateKey::parse(text)
            .map_err(|problem| anyhow!("the parameter private_key {problem}")),
        (Some(_), Some(_)) => {
            bail!("the parameters private_key and private_key_path are both set: clear one of them")
        }
        (None, None) => bail!(
            "the parameter private_key is missing: paste the RSA private key of the integration key, or set private_key_path"
        ),
    }
}

/// Drops the mask of a key that was stored before a file took its place. Asked for before masks are replaced by what
/// is stored, so that the file counts.
pub fn prefer_key_file(stanza: &mut Stanza) {
    if stanza.get("private_key") == Some(MASK) && stanza.get("private_key_path").is_some() {
        stanza.set("private_key", "");
    }
}

/// Checks that the other secrets of a stanza are not masked any more, once the stored ones are in place.
///
/// # Errors
/// One is: the input is a copy of another, or its secrets were deleted.
pub fn require_unmasked(stanza: &Stanza) -> Result<()> {
    match stanza
        .masked(&DS_MONITOR)
        .iter()
        .find(|param| **param != "private_key")
    {
        Some(param) => bail!("{}", masked(param, "it", stanza)),
        None => Ok(()),
    }
}

fn masked(param: &str, thing: &str, stanza: &Stanza) -> String {
    format!(
        "the parameter {param} is masked, but none is stored: paste {thing} again for the input {}",
        stanza.name
    )
}

fn key_file(path: &Path) -> Result<PrivateKey> {
    let text = named_file("private_key_path", path)?;
    PrivateKey::parse(&text).map_err(|problem| {
        anyhow!(
            "the file {}, named by private_key_path, {problem}",
            path.display()
        )
    })
}

/// The text of a file that a parameter names.
fn named_file(param: &str, path: &Path) -> Result<String> {
    if !path.is_absolute() {
        bail!(
            "the parameter {param} must be an absolute path: Splunk does not say in which folder it starts inputs"
        );
    }
    let bytes = durable::read(path, MAX_FILE_BYTES)
        .with_context(|| {
            format!("the file named by {param} cannot be used by the user that Splunk runs as")
        })?
        .with_context(|| {
            format!(
                "the parameter {param} names {}, which does not exist",
                path.display()
            )
        })?;
    String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("the file {}, named by {param}, is not text", path.display()))
}

fn limit(text: Option<&str>) -> Result<u32> {
    let Some(text) = text else {
        return Ok(MAX_LIMIT);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .with_context(|| {
            format!("the parameter limit must be a whole number from 1 to {MAX_LIMIT}")
        })
}

fn date_or_time(text: &str) -> Option<DateTime<Utc>> {
    let strict_date = text.len() == 10;
    if let Some(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| strict_date)
    {
        return date.and_hms_opt(0, 0, 0).map(|time| time.and_utc());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let without_offset = text.trim_end_matches('Z');
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(without_offset, form).ok())
        .map(|time| time.and_utc())
}

/// Cursors are opaque, but those seen have digits (`aa_637218935854425652_637218935412032088_12`) and do not
/// begin with one.
fn has_no_look_of_a_date(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
        && !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '@'))
}

fn proxy(stanza: &Stanza) -> Result<Option<ProxySettings>> {
    let Some(text) = stanza.get("proxy_url") else {
        return Ok(None);
    };
    let url = http::base_url(text, PlainHttp::Anywhere).map_err(|problem| match problem {
        UrlProblem::Form => anyhow!(
            "the parameter proxy_url must have the form http://host:port or https://host:port"
        ),
        UrlProblem::Credentials => anyhow!(
            "the parameter proxy_url must not contain credentials: use proxy_user and proxy_password"
        ),
        problem => anyhow!("the parameter proxy_url {problem}"),
    })?;
    let password = stanza.get("proxy_password").unwrap_or_default();
    let credentials = stanza
        .get("proxy_user")
        .map(|user| (user.to_owned(), Secret::new(password.to_owned())));
    Ok(Some(ProxySettings { url, credentials }))
}

fn ca_certificates(stanza: &Stanza) -> Result<Vec<Certificate>> {
    let Some(path) = stanza.get("ca_file") else {
        return Ok(Vec::new());
    };
    let text = named_file("ca_file", Path::new(path))?;
    let certificates = Certificate::from_pem_bundle(text.as_bytes()).unwrap_or_default();
    if certificates.is_empty() {
        bail!("the file {path}, named by ca_file, holds no PEM certificate");
    }
    Ok(certificates)
}

/// The event collector, which is reached the same way as Docusign, but for machines that need no proxy.
fn hec(stanza: &Stanza, network: &Network) -> Result<Option<HecSettings>> {
    let (url, token) = match (stanza.get("hec_url"), stanza.get("hec_token")) {
        (None, None) => return Ok(None),
        (Some(url), Some(token)) => (url, token),
        (Some(_), None) => bail!(
            "the parameter hec_token is missing: enter the token of the HTTP Event Collector, or clear hec_url"
        ),
        (None, Some(_)) => bail!(
            "the parameter hec_url is missing: enter the address of the HTTP Event Collector, or clear hec_token, in the environment too"
        ),
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the parameter hec_token holds characters that no token has: enter it again");
    }
    let url = hec::base_url(url).map_err(|problem| anyhow!("the parameter hec_url {problem}"))?;
    let near = is_loopback(&url);
    let proxy = network.proxy.clone().filter(|_| !near);
    let proxy_tls = proxy
        .as_ref()
        .is_some_and(|proxy| proxy.url.scheme() == "https");
    let network = Network {
        environment_proxy: !near,
        no_proxy: true,
        remedy: failures::hec_network_remedy,
        tls: proxy_tls || url.scheme() == "https",
        patience: Patience::DELIVERY,
        proxy,
        ..network.clone()
    };
    let named = |param, unnamed| {
        stanza
            .get(param)
            .filter(|value| *value != unnamed)
            .map(str::to_owned)
    };
    Ok(Some(HecSettings {
        url,
        token: Secret::new(token.to_owned()),
        names: SettingNames {
            url: "hec_url",
            token: "hec_token",
        },
        network,
        source: DS_MONITOR.input(&stanza.name),
        sourcetype: DS_MONITOR.kind,
        host: named("host", "$decideOnStartup"),
        index: named("index", "default"),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, Utc};

    use super::{DS_MONITOR, Settings, StartFrom, prefer_key_file, private_key};
    use crate::splunk::input_definition::Stanza;

    const KEY: &str = include_str!("../tests/fixtures/test_only_rsa_pkcs1.pem");
    const GUID: &str = "1B2C3D4E-0000-4abc-8def-0123456789ab";

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-23T10:00:00.5Z")
            .unwrap()
            .to_utc()
    }

    fn settings(changes: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let mut params = BTreeMap::from(
            [
                ("integration_key", GUID),
                ("user_id", GUID),
                ("private_key", KEY),
                ("unknown", "x"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for (key, value) in changes {
            params.insert((*key).to_owned(), (*value).to_owned());
        }
        let mut stanza = Stanza::new("prod".to_owned(), None, params);
        prefer_key_file(&mut stanza);
        private_key(&stanza)?;
        Settings::of(&stanza, now())
    }

    #[test]
    fn defaults_are_production_and_full_pages() {
        let settings = settings(&[("environment", ""), ("limit", " ")]).unwrap();
        assert_eq!(
            settings.identity.auth_url.to_string(),
            "https://account.docusign.com"
        );
        assert_eq!(
            settings.stream.monitor_url.to_string(),
            "https://lens.docusign.net"
        );
        assert_eq!(
            settings.admin_url.to_string(),
            "https://api.docusign.net/management"
        );
        assert_eq!(settings.stream.limit, 2000);
        assert_eq!(settings.start_from, StartFrom::SevenDaysAgo);
        assert_eq!(settings.identity.integration_key, GUID.to_lowercase());
        assert!(settings.network.environment_proxy && settings.network.tls);
    }

    #[test]
    fn the_environment_and_the_organization_choose_the_hosts() {
        for (environment, organization, monitor) in [
            ("production", "", "https://lens.docusign.net"),
            ("production", GUID, "https://api.docusign.com"),
            ("demo", "", "https://lens-d.docusign.net"),
            ("Demo", GUID, "https://api-d.docusign.com"),
        ] {
            let settings = settings(&[
                ("environment", environment),
                ("organization_id", organization),
            ])
            .unwrap();
            assert_eq!(settings.stream.monitor_url.to_string(), monitor);
        }
    }

    #[test]
    fn every_bad_value_is_refused_by_the_name_of_its_parameter_and_not_repeated() {
        let token = ("hec_token", "s3cret");
        for (param, value) in [
            ("environment", "s3cret"),
            ("integration_key", "s3cret"),
            ("integration_key", ""),
            ("user_id", "s3cret@example.com"),
            ("user_id", ""),
            ("private_key", "s3cret"),
            ("private_key", ""),
            ("private_key_path", "/etc/hostname"),
            ("organization_id", "s3cret"),
            ("start_from", "yesterday"),
            ("start_from", "2026/01/31"),
            ("start_from", "2026-02-30"),
            ("start_from", "31.01.2026"),
            ("start_from", "-7d@d"),
            ("start_from", "2026-11-24"),
            ("start_from", "2026-11-23T10:00:01Z"),
            ("start_from", "aa_1 aa_2"),
            ("limit", "0"),
            ("limit", "2001"),
            ("limit", "-1"),
            ("limit", "1.5"),
            ("limit", "s3cret"),
            ("proxy_url", "s3cret:3128"),
            ("proxy_url", "socks5://127.0.0.1:1"),
            ("proxy_url", "http://user:s3cret@127.0.0.1:1"),
            ("hec_token", "s3 cret"),
            ("hec_token", "s3\ncret"),
            ("ca_file", "relative.pem"),
            ("ca_file", "/does/not/exist.pem"),
            ("hec_url", "s3cret"),
            ("hec_url", "ftp://splunk.example.com:8088"),
            ("hec_url", "http://splunk.example.com:8088"),
            ("hec_url", "https://x:s3cret@splunk.example.com:8088"),
            (
                "hec_url",
                "https://splunk.example.com:8088/services/collector",
            ),
            (
                "hec_url",
                "https://splunk.example.com:8088/services/collector/event?token=s3cret",
            ),
            ("auth_url", "https://example.com"),
            ("auth_url", "http://account.docusign.com"),
            ("monitor_url", "https://lens.docusign.net.s3cret.com"),
            ("admin_url", "s3cret"),
        ] {
            let mut changes = vec![(param, value)];
            changes.extend((param == "hec_url").then_some(token));
            let url = ("hec_url", "https://splunk.example.com:8088");
            changes.extend((param == "hec_token").then_some(url));
            let error = settings(&changes).unwrap_err();
            let message = format!("{error:#}");
            assert!(message.contains(param), "{param}={value}: {message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn the_event_collector_wants_an_address_and_a_token_and_takes_what_the_stanza_says() {
        let both = [
            ("hec_url", "https://splunk.example.com:8088/"),
            ("hec_token", "s3cret"),
            ("proxy_url", "http://proxy.example.com:3128"),
        ];
        for (one, missing) in [(both[0], "hec_token"), (both[1], "hec_url")] {
            let error = settings(&[one]).unwrap_err().to_string();
            assert!(error.contains(&format!("{missing} is missing")), "{error}");
        }
        let plain = [("host", "$decideOnStartup"), ("index", "default")];
        let hec = settings(&[&both[..], &plain].concat())
            .unwrap()
            .hec
            .unwrap();
        assert_eq!((hec.host, hec.index), (None, None));
        assert_eq!(hec.source, "ds_monitor://prod");
        assert!(hec.network.tls && hec.network.no_proxy && hec.network.proxy.is_some());
        let real = [("host", "hf01"), ("index", "docusign")];
        let hec = settings(&[&both[..], &real].concat()).unwrap().hec.unwrap();
        assert_eq!(hec.host.as_deref(), Some("hf01"));
        assert_eq!(hec.index.as_deref(), Some("docusign"));
        let near = [("hec_url", "http://localhost:8088"), both[1], both[2]];
        let hec = settings(&near).unwrap().hec.unwrap();
        assert!(!hec.network.tls && hec.network.proxy.is_none());
        assert!(settings(&[]).unwrap().hec.is_none());
    }

    #[test]
    fn the_first_position_is_a_date_a_time_or_a_cursor() {
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T08:30:00Z", "2026-01-31T08:30:00Z"),
            ("2026-01-31T08:30:00.999+02:00", "2026-01-31T06:30:00Z"),
            ("2026-01-31T08:30:00", "2026-01-31T08:30:00Z"),
            ("2026-01-31T08:30Z", "2026-01-31T08:30:00Z"),
            ("earliest", "2021-01-01T00:00:00Z"),
            ("Earliest", "2021-01-01T00:00:00Z"),
            (
                "aa_637218935854425652_637218935412032088_12",
                "aa_637218935854425652_637218935412032088_12",
            ),
        ] {
            let start = StartFrom::parse(Some(text), now()).unwrap();
            assert_eq!(start.cursor(now()), expected);
        }
        let start = StartFrom::parse(None, now()).unwrap();
        assert_eq!(start.cursor(now()), "2026-11-16T10:00:00Z");
    }

    #[test]
    fn the_key_comes_from_the_field_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, KEY).unwrap();
        let path = file.to_str().unwrap();
        let by_file = [("private_key", ""), ("private_key_path", path)];
        assert!(settings(&by_file).is_ok());
        let moved = [("private_key", "******"), ("private_key_path", path)];
        assert!(settings(&moved).is_ok());
        let both = [("private_key_path", path)];
        assert!(settings(&both).is_err());
        let masked = settings(&[("private_key", "******")]).unwrap_err();
        assert!(
            masked
                .to_string()
                .contains("paste the key again for the input prod")
        );
        std::fs::write(&file, "no key").unwrap();
        let error = settings(&by_file).unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
    }

    #[test]
    fn no_argument_has_a_name_that_splunk_reserves() {
        let reserved = [
            "host",
            "index",
            "source",
            "sourcetype",
            "disabled",
            "interval",
            "name",
            "app",
            "owner",
            "sharing",
            "queue",
            "output_mode",
            "output_field",
            "persistentQueueSize",
            "queueSize",
            "start_by_shell",
            "crcSalt",
        ];
        for argument in DS_MONITOR.arguments {
            assert!(!reserved.contains(&argument.name), "{}", argument.name);
        }
    }
}
