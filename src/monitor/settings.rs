//! The declaration of every argument of `ds_monitor`, and its checked settings.
//!
//! Splunk's scheme, `README/inputs.conf.spec`, the form in Splunk Web and the messages all come from [`DS_MONITOR`].
//! [`Settings`] come from the one door, [`super::configure::configure`].

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Certificate;

use chrono::{DateTime, Utc};

use super::configure::Complete;
use super::proxy;
use super::start_from::StartFrom;
use crate::base::http::{Network, ProxySettings, is_loopback};
use crate::base::retry::Patience;
use crate::base::secret::Secret;
use crate::docusign::jwt_grant::{Applicant, SCOPE_IMPERSONATION};
use crate::docusign::monitor_api::{MAX_LIMIT, StreamSettings};
use crate::docusign::{BaseUrl, Environment, Generation};
use crate::failures;
use crate::params;
use crate::splunk::hec::{self, HecSettings, SettingNames};
use crate::splunk::input_definition::Stanza;
use crate::splunk::scheme::{Argument, DataType, Field, Scheme};

/// The app that holds both inputs.
pub(crate) const APP: &str = "ds_monitor";

/// The name by which servers know the program.
pub const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The address that the README has administrators register for the integration key. Nothing listens there: the
/// browser's "cannot be reached" after the consent is the good end.
pub const CONSENT_REDIRECT: &str = "https://localhost/ds_monitor";

/// The groups of the form.
pub(crate) const DOCUSIGN_APP: &str = "Docusign app";
const KEY: &str = "Key";
pub(crate) const COLLECT: &str = "What to collect";
const NETWORK: &str = "Network";
const DELIVERY: &str = "Delivery";

pub(crate) const ENVIRONMENT: Argument = Argument {
    name: "environment",
    title: "Environment",
    description: "production or demo. Integration keys, users and consent belong to one of the two.",
    default: Some("production"),
    group: DOCUSIGN_APP,
    field: Field::Select(&[
        ("production", "Production"),
        ("demo", "Demo (developer accounts)"),
    ]),
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const INTEGRATION_KEY: Argument = Argument {
    name: "integration_key",
    title: "Integration key",
    description: "GUID of the app under Apps and Keys in Docusign.",
    required: true,
    group: DOCUSIGN_APP,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const USER_ID: Argument = Argument {
    name: "user_id",
    title: "User ID",
    description: "GUID of the user the app acts for (User ID or API Username), an administrator of exactly one organization.",
    required: true,
    group: DOCUSIGN_APP,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const PRIVATE_KEY: Argument = Argument {
    name: "private_key",
    title: "RSA private key",
    description: "The private key that Docusign showed when you generated the key pair, from BEGIN to END. Lost line breaks do no harm. Fill in this field or the private key file, not both.",
    secret: true,
    group: KEY,
    field: Field::TextArea,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const PRIVATE_KEY_PATH: Argument = Argument {
    name: "private_key_path",
    title: "Private key file",
    description: "File with the private key in PEM form, readable by the user that Splunk runs as. For those who manage secrets on disk.",
    group: KEY,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const ORGANIZATION_ID: Argument = Argument {
    name: "organization_id",
    title: "Organization ID",
    description: "GUID of the organization. If set, Docusign's newer endpoint is used, the stream of one organization.",
    group: COLLECT,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const START_FROM: Argument = Argument {
    name: "start_from",
    title: "Start from",
    description: "Where the first run begins: a date (2026-01-31), an ISO 8601 date-time, earliest, or a cursor taken from another collector. Ignored once a position is saved.",
    default: Some("7 days ago"),
    group: COLLECT,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const LIMIT: Argument = Argument {
    name: "limit",
    title: "Records per page",
    description: "Number of records to request at a time, 1 to 2000.",
    data_type: DataType::Number,
    default: Some("2000"),
    group: COLLECT,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const PROXY_URL: Argument = Argument {
    name: "proxy_url",
    title: "Proxy",
    description: "http://host:port or https://host:port for calls to Docusign, never for those to splunkd. If empty, HTTPS_PROXY and NO_PROXY of splunkd's environment apply.",
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const PROXY_USER: Argument = Argument {
    name: "proxy_user",
    title: "Proxy user",
    description: "User name for the proxy, if it requires one.",
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const PROXY_PASSWORD: Argument = Argument {
    name: "proxy_password",
    title: "Proxy password",
    description: "Password of the proxy user.",
    secret: true,
    group: NETWORK,
    field: Field::Password,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const CA_FILE: Argument = Argument {
    name: "ca_file",
    title: "CA file",
    description: "PEM file with certificates to trust in addition to the system's, for example that of a proxy that inspects TLS.",
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const POSITION_STORE: Argument = Argument {
    name: "position_store",
    title: "Position store",
    description: "Where the position is kept. file: on this instance. kvstore: in Splunk's KV store, for instances that share the input or may be replaced. auto: kvstore on a member of a search head cluster and on Splunk Cloud, else file.",
    default: Some("auto"),
    group: DELIVERY,
    field: Field::Select(&[
        ("auto", "auto: as this instance needs it"),
        ("file", "file: on this instance"),
        ("kvstore", "kvstore: shared by the members of a cluster"),
    ]),
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const HEC_URL: Argument = Argument {
    name: "hec_url",
    title: "HTTP Event Collector",
    description: "Base address of an HTTP Event Collector, for example https://splunk.example.com:8088. If set, events go there and bypass this instance's own queues, and a position is saved once they are safe there.",
    group: DELIVERY,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const HEC_TOKEN: Argument = Argument {
    name: "hec_token",
    title: "HTTP Event Collector token",
    description: "Token of the HTTP Event Collector. If it uses indexer acknowledgment, a position is saved once the indexers have the events.",
    secret: true,
    group: DELIVERY,
    field: Field::Password,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const AUTH_URL: Argument = Argument {
    name: "auth_url",
    title: "Account server",
    description: "Replaces the base address of Docusign's account server. Only Docusign's domains and loopback are accepted.",
    default: Some("https://account.docusign.com, in demo https://account-d.docusign.com"),
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const MONITOR_URL: Argument = Argument {
    name: "monitor_url",
    title: "Monitor server",
    description: "Replaces the base address of the Monitor API. Only Docusign's domains and loopback are accepted.",
    default: Some(
        "https://lens.docusign.net, with an organization ID https://api.docusign.com; in demo lens-d and api-d",
    ),
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

pub(crate) const ADMIN_URL: Argument = Argument {
    name: "admin_url",
    title: "Admin server",
    description: "Replaces the base address of the Admin API. Only Docusign's domains and loopback are accepted.",
    default: Some(
        "https://api.docusign.net/management, in demo https://api-d.docusign.net/management",
    ),
    group: NETWORK,
    ..Argument::OPTIONAL_TEXT
};

/// The `ds_monitor` input as Splunk and its administrators know it.
pub const DS_MONITOR: Scheme = Scheme {
    app: APP,
    kind: "ds_monitor",
    title: "Docusign Monitor",
    description: "Collects the events of Docusign Monitor: who did what on an organization's agreements.",
    arguments: &[
        ENVIRONMENT,
        INTEGRATION_KEY,
        USER_ID,
        PRIVATE_KEY,
        PRIVATE_KEY_PATH,
        ORGANIZATION_ID,
        START_FROM,
        LIMIT,
        PROXY_URL,
        PROXY_USER,
        PROXY_PASSWORD,
        CA_FILE,
        POSITION_STORE,
        HEC_URL,
        HEC_TOKEN,
        AUTH_URL,
        MONITOR_URL,
        ADMIN_URL,
    ],
};

/// The checked arguments of a `ds_monitor` input.
#[derive(Debug)]
pub struct Settings {
    /// Chooses every host that is not given.
    pub environment: Environment,
    /// The parties to a token.
    pub identity: Applicant,
    /// Which stream is read.
    pub stream: StreamSettings,
    /// Where the first run begins.
    pub start_from: StartFrom,
    /// The way to Docusign.
    pub network: Network,
    /// Base address of the Admin API.
    pub admin_url: BaseUrl,
    /// Where the position is kept.
    pub position_store: StoreChoice,
    /// The event collector that the events go to; without one, the standard output.
    pub hec: Option<HecSettings>,
}

/// Where the position is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// As the instance needs it.
    Auto,
    /// In a file of the instance.
    File,
    /// In Splunk's KV store.
    KvStore,
}

impl Settings {
    /// Checks all arguments but the private key.
    ///
    /// # Errors
    /// The first argument that is wrong, and the form that is accepted. Secrets are never quoted.
    pub(super) fn of(stanza: &Complete, now: DateTime<Utc>) -> Result<Self> {
        let environment = environment(stanza)?;
        let organization_id = params::optional_guid(stanza, &ORGANIZATION_ID)?;
        let generation = match organization_id {
            Some(_) => Generation::Organization,
            None => Generation::Dataset,
        };
        let auth_url = params::docusign_server(stanza, &AUTH_URL, environment.auth_url())?;
        let monitor_default = environment.monitor_url(generation);
        let monitor_url = params::docusign_server(stanza, &MONITOR_URL, monitor_default)?;
        let admin_url = params::docusign_url(stanza, &ADMIN_URL, environment.admin_url())?;
        let integration_key = params::guid(stanza, &INTEGRATION_KEY)?;
        let user_id = params::guid(stanza, &USER_ID)?;
        let start_from = StartFrom::parse(stanza.get(&START_FROM), now)?;
        let limit = limit(stanza)?;
        let bases = [&auth_url, &monitor_url, &admin_url];
        let chosen = proxy::Chosen::of(stanza)?;
        let all_near = bases.iter().all(|url| url.is_loopback());
        // What listens on this machine is not behind the environment's proxy.
        let proxy = match &chosen {
            proxy::Chosen::Environment(_) if all_near => None,
            chosen => chosen.proxy().cloned(),
        };
        let network = Network {
            user_agent: USER_AGENT,
            remedy: failures::docusign_network_remedy,
            no_proxy: matches!(chosen, proxy::Chosen::Environment(_)),
            tls: is_encrypted(proxy.as_ref()) || bases.iter().any(|url| url.is_https()),
            proxy,
            ca_certificates: ca_certificates(stanza)?,
            patience: Patience::RUN,
        };
        let hec = hec(stanza, &network, chosen.proxy())?;
        Ok(Self {
            environment,
            identity: Applicant {
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
            position_store: position_store(stanza)?,
            hec,
        })
    }
}

fn environment(stanza: &Complete) -> Result<Environment> {
    let name = stanza.get_or_default(&ENVIRONMENT).to_ascii_lowercase();
    Environment::named(&name).with_context(|| {
        format!(
            "the parameter {} must be production or demo",
            ENVIRONMENT.name
        )
    })
}

/// Where the position of an input is to be kept; what `show` asks for before everything else is checked.
pub(super) fn position_store(stanza: &Stanza) -> Result<StoreChoice> {
    match stanza.get_or_default(&POSITION_STORE) {
        "auto" => Ok(StoreChoice::Auto),
        "file" => Ok(StoreChoice::File),
        "kvstore" => Ok(StoreChoice::KvStore),
        _ => bail!(
            "the parameter {} must be auto, file or kvstore",
            POSITION_STORE.name
        ),
    }
}

fn limit(stanza: &Complete) -> Result<u32> {
    let limit = stanza.get_or_default(&LIMIT).parse().ok();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .with_context(|| {
            format!(
                "the parameter {} must be a whole number from 1 to {MAX_LIMIT}",
                LIMIT.name
            )
        })
}

fn is_encrypted(proxy: Option<&ProxySettings>) -> bool {
    proxy.is_some_and(|proxy| proxy.url.scheme() == "https")
}

/// Reads PEM as tools write it: with a byte order mark, remarks in any encoding, and OpenSSL's TRUSTED CERTIFICATE.
fn ca_certificates(stanza: &Complete) -> Result<Vec<Certificate>> {
    let Some(path) = stanza.get(&CA_FILE) else {
        return Ok(Vec::new());
    };
    let bytes = params::file(&CA_FILE, path)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.replace("TRUSTED CERTIFICATE-----", "CERTIFICATE-----");
    let param = CA_FILE.name;
    let mut certificates = Vec::new();
    for (n, block) in text
        .split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .enumerate()
    {
        let body = block.split("-----END").next().unwrap_or_default();
        let certificate = certificate(body).with_context(|| {
            format!(
                "the file {path}, named by {param}, is damaged at its certificate number {}: export it again",
                n + 1
            )
        })?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        bail!("the file {path}, named by {param}, contains no PEM certificate");
    }
    Ok(certificates)
}

/// A certificate that the TLS library can use, from the base64 of a PEM block.
fn certificate(base64: &str) -> Result<Certificate> {
    let base64: String = base64.split_whitespace().collect();
    let der = STANDARD.decode(base64)?;
    // OpenSSL appends its own trust settings; the certificate itself is the first element.
    let certificate = first_element(&der).context("it is cut")?;
    let certificate = Certificate::from_der(certificate)?;
    // The library looks into a certificate only when it builds a client.
    reqwest::blocking::Client::builder()
        .tls_certs_only([certificate.clone()])
        .build()?;
    Ok(certificate)
}

/// The first element of DER, which says itself how long it is.
fn first_element(der: &[u8]) -> Option<&[u8]> {
    let (_, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (header, length) = match length {
        short @ ..0x80 => (2, usize::from(short)),
        long => {
            let bytes = rest.get(..usize::from(long & 0x7F))?;
            let length = bytes.iter().try_fold(0_usize, |sum, byte| {
                Some(sum.checked_mul(256)? + usize::from(*byte))
            })?;
            (2 + bytes.len(), length)
        }
    };
    der.get(..length.checked_add(header)?)
}

/// The event collector. It is reached the same way as Docusign, except for hosts that need no proxy.
fn hec(
    stanza: &Complete,
    network: &Network,
    proxy: Option<&ProxySettings>,
) -> Result<Option<HecSettings>> {
    let (url_name, token_name) = (HEC_URL.name, HEC_TOKEN.name);
    let (url, token) = match (stanza.get(&HEC_URL), stanza.get(&HEC_TOKEN)) {
        (None, None) => return Ok(None),
        (Some(url), Some(token)) => (url, token),
        (Some(_), None) => bail!(
            "the parameter {token_name} is missing: enter the token of the HTTP Event Collector, or clear {url_name}"
        ),
        (None, Some(_)) => bail!(
            "the parameter {url_name} is missing: enter the address of the HTTP Event Collector, or clear {token_name}, in the environment too"
        ),
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the parameter {token_name} contains characters that no token has: enter it again");
    }
    let url =
        hec::base_url(url).map_err(|problem| anyhow!("the parameter {url_name} {problem}"))?;
    let near = is_loopback(&url);
    let proxy = proxy.filter(|_| !near).cloned();
    let network = Network {
        no_proxy: true,
        remedy: failures::hec_network_remedy,
        tls: is_encrypted(proxy.as_ref()) || url.scheme() == "https",
        patience: Patience::DELIVERY,
        proxy,
        ..network.clone()
    };
    Ok(Some(HecSettings {
        url,
        token: Secret::new(token.to_owned()),
        names: SettingNames {
            url: url_name,
            token: token_name,
        },
        network,
        source: DS_MONITOR.input(&stanza.name),
        sourcetype: DS_MONITOR.kind,
        host: stanza.host().map(str::to_owned),
        index: stanza.index().map(str::to_owned),
    }))
}

#[cfg(test)]
mod tests {
    use super::{DS_MONITOR, Settings};
    use crate::monitor::configure::tests::{GUID, configured};
    use crate::monitor::start_from::StartFrom;

    fn settings(changes: &[(&str, &str)]) -> Result<Settings, String> {
        let configured = configured(changes).map_err(|reason| reason.to_string());
        configured.map(|configured| configured.settings)
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
        assert!(settings.network.tls);
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
            ("position_store", "s3cret"),
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
            ("auth_url", "https://account.docusign.com/oauth"),
            ("monitor_url", "https://lens.docusign.net/api/v2.0"),
            ("monitor_url", "https://lens.docusign.net.s3cret.com"),
            ("admin_url", "s3cret"),
        ] {
            let mut changes = vec![(param, value)];
            changes.extend((param == "hec_url").then_some(token));
            let url = ("hec_url", "https://splunk.example.com:8088");
            changes.extend((param == "hec_token").then_some(url));
            let message = settings(&changes).unwrap_err();
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
            let error = settings(&[one]).unwrap_err();
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
    fn a_password_for_the_proxy_requires_its_user() {
        let proxy = ("proxy_url", "http://proxy.example.com:3128");
        let error = settings(&[proxy, ("proxy_password", "s3cret")]).unwrap_err();
        assert!(error.contains("proxy_user is missing"), "{error}");
    }

    #[test]
    fn certificates_are_read_as_tools_write_them_and_a_broken_one_is_named() {
        const CA: &[u8] = include_bytes!("../../tests/fixtures/test_only_ca.pem");
        const OTHER: &[u8] = include_bytes!("../../tests/fixtures/test_only_certificate.pem");
        const TRUSTED: &[u8] = include_bytes!("../../tests/fixtures/test_only_trusted_ca.pem");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let path = file.to_str().unwrap();
        let read = |pem: &[u8]| {
            std::fs::write(&file, pem).unwrap();
            settings(&[("ca_file", path)]).map(|settings| settings.network.ca_certificates.len())
        };
        assert_eq!(read(&[b"\xEF\xBB\xBF", CA, OTHER].concat()), Ok(2));
        assert_eq!(read(&[b"Aussteller: M\xFCller\r\n", CA].concat()), Ok(1));
        assert_eq!(read(TRUSTED), Ok(1));
        let cut = &OTHER[..OTHER.len() / 2];
        let error = read(&[CA, cut].concat()).unwrap_err();
        assert!(
            error.contains(path) && error.contains("number 2"),
            "{error}"
        );
        assert!(
            read(b"no certificate")
                .unwrap_err()
                .contains("contains no PEM")
        );
    }

    #[test]
    fn a_guid_may_bring_characters_of_no_width_along() {
        let guid = format!("\u{feff}{GUID}\u{200b}");
        let settings = settings(&[("user_id", &guid)]).unwrap();
        assert_eq!(settings.identity.user_id, GUID.to_lowercase());
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
