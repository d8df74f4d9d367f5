//! Access to splunkd's REST interface, with the session key that comes with the configuration.
//!
//! [`Rest`] always exists; where there is no splunkd, every call answers [`RestError::NoSplunkd`]. It connects
//! directly, never through a proxy. The certificate must be the one in Splunk's own folder. Where that cannot be read,
//! it is verified as any other, except on loopback, where splunkd's is self-signed by default. Format: Splunk's REST
//! API reference, `output_mode=json`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::{Certificate, Method, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::certificate::accept_only_splunkds;
use crate::base::durable;
use crate::base::http::{
    NetworkProblem, PlainHttp, ProblemKind, base_url, exchange, is_loopback, server_text,
};
use crate::base::secret::Secret;

/// splunkd is on this machine or next to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest time without a byte of the answer.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for an edit, which splunkd lets our own external validation judge first.
const EDIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Far more than the requested entries have.
const MAX_BODY_BYTES: u64 = 16 * 1024 * 1024;

/// Characters that a path segment may contain as they are.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The entries of the inputs of all apps and users.
const INPUTS: [&str; 5] = ["servicesNS", "-", "-", "data", "inputs"];

/// The splunkd that started this process, or the knowledge that there is none. Clones share the connection.
#[derive(Clone)]
pub struct Rest(Arc<Result<Connection, NoConnection>>);

struct Connection {
    http: Client,
    base: Url,
    session_key: Secret,
}

/// Why there is no connection, from the start.
#[derive(Clone)]
enum NoConnection {
    Standalone,
    AddressMissing,
    TlsFailed(String),
}

/// One entry of an answer.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// The entry's name: of an input, the bare one.
    pub name: String,
    /// The keys of the entry.
    #[serde(default)]
    pub content: Map<String, Value>,
}

impl Entry {
    /// A key's text; numbers and booleans are printed.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        match self.content.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}

#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Messages {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

/// What `server/info` says this instance is.
#[derive(Debug, Default)]
pub struct Instance {
    roles: Vec<String>,
    is_cloud: bool,
    guid: Option<String>,
}

impl Instance {
    /// The name by which Splunk itself tells instances apart.
    #[must_use]
    pub fn guid(&self) -> Option<&str> {
        self.guid.as_deref()
    }

    /// Whether it belongs to Splunk Cloud.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        self.is_cloud
    }

    /// Whether it is a member of a search head cluster, where every member starts every input.
    #[must_use]
    pub fn is_cluster_member(&self) -> bool {
        self.roles.iter().any(|role| role.starts_with("shc_"))
    }

    /// The role for which a lookup file written here does not reach all searches, if it has one: a forwarder's, an
    /// indexer's in a cluster, or a cluster member's.
    #[must_use]
    pub fn role_without_lookups(&self) -> Option<&str> {
        let mut roles = self.roles.iter().map(String::as_str);
        roles.find(|role| {
            role.ends_with("forwarder")
                || role.starts_with("shc_")
                || matches!(*role, "cluster_slave" | "cluster_peer")
        })
    }
}

/// Why splunkd did not do it.
#[derive(Debug)]
pub enum RestError {
    /// The input runs without splunkd.
    NoSplunkd,
    /// Nothing takes connections at splunkd's address, as on a forwarder whose REST interface is off; the text says why.
    NotListening(String),
    /// splunkd cannot be asked, or its answer makes no sense; the text says why.
    Unusable(String),
    /// splunkd says no.
    Refused {
        /// The status of the answer.
        status: u16,
        /// splunkd's own message.
        text: String,
    },
}

impl RestError {
    /// The status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoSplunkd | Self::NotListening(_) | Self::Unusable(_) => None,
        }
    }
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSplunkd => f.write_str("there is no splunkd here"),
            Self::NotListening(text) | Self::Unusable(text) => f.write_str(text),
            Self::Refused { status, text } => write!(f, "splunkd answered {status} ({text})"),
        }
    }
}

impl std::error::Error for RestError {}

impl From<&NoConnection> for RestError {
    fn from(none: &NoConnection) -> Self {
        match none {
            NoConnection::Standalone => Self::NoSplunkd,
            NoConnection::AddressMissing => {
                Self::Unusable("Splunk's configuration names no server_uri".to_owned())
            }
            NoConnection::TlsFailed(error) => {
                Self::Unusable(format!("could not set up TLS towards splunkd: {error}"))
            }
        }
    }
}

impl Rest {
    /// The splunkd at `server_uri`, for example `https://127.0.0.1:8089`, opened by `session_key`.
    #[must_use]
    pub fn new(server_uri: &str, session_key: Secret) -> Self {
        Self(Arc::new(Connection::new(server_uri, session_key)))
    }

    /// No splunkd: the input runs from a plain file.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Err(NoConnection::Standalone)))
    }

    fn connection(&self) -> Result<&Connection, RestError> {
        Ok(self.0.as_ref().as_ref()?)
    }

    /// Reads the entries below a path; `count=-1` makes that all of them.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn get(&self, path: &[&str]) -> Result<Vec<Entry>, RestError> {
        let connection = self.connection()?;
        let mut url = connection.url(path);
        url.set_query(Some("output_mode=json&count=-1"));
        let body = connection.send(connection.http.request(Method::GET, url))?;
        serde_json::from_slice::<Entries>(&body)
            .map(|entries| entries.entry)
            .map_err(|_| RestError::Unusable("splunkd did not answer with JSON".to_owned()))
    }

    /// [`Rest::get`] of a single entry; `None` when there is none.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn get_one(&self, path: &[&str]) -> Result<Option<Entry>, RestError> {
        match self.get(path) {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates or edits what a path names.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn post(&self, path: &[&str], form: &[(&str, &str)]) -> Result<(), RestError> {
        let connection = self.connection()?;
        let mut url = connection.url(path);
        url.set_query(Some("output_mode=json"));
        let request = connection.http.request(Method::POST, url);
        connection
            .send(request.timeout(EDIT_TIMEOUT).form(form))
            .map(|_| ())
    }

    /// Calls an endpoint that takes and answers plain JSON, within `limit`, and returns the body of its answer.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub(super) fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        json: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Vec<u8>, RestError> {
        let connection = self.connection()?;
        let mut request = connection
            .http
            .request(method, connection.url(path))
            .query(query)
            .timeout(limit);
        if let Some(json) = json {
            request = request
                .header("Content-Type", "application/json")
                .body(json);
        }
        connection.send(request)
    }

    /// What this instance is.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn instance(&self) -> Result<Instance, RestError> {
        let Some(info) = self.get_one(&["services", "server", "info"])? else {
            return Ok(Instance::default());
        };
        let roles = info.content.get("server_roles").cloned();
        let roles = roles.and_then(|roles| serde_json::from_value(roles).ok());
        Ok(Instance {
            roles: roles.unwrap_or_default(),
            // The word by which Splunk's own library for add-ons tells Splunk Cloud.
            is_cloud: info.text("instance_type").as_deref() == Some("cloud"),
            guid: info.text("guid").map(|guid| server_text(&guid)),
        })
    }

    /// The stanza of an input as it is saved, whichever app it is in.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn input(&self, kind: &str, name: &str) -> Result<Option<Entry>, RestError> {
        // In an address these would lead to another place, and splunkd has no input of such a name.
        if matches!(name, "" | "." | "..") {
            return Ok(None);
        }
        let [a, b, c, d, e] = INPUTS;
        self.get_one(&[a, b, c, d, e, kind, name])
    }

    /// The saved inputs of a kind.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn inputs(&self, kind: &str) -> Result<Vec<Entry>, RestError> {
        let [a, b, c, d, e] = INPUTS;
        self.get(&[a, b, c, d, e, kind])
    }
}

impl Connection {
    fn new(server_uri: &str, session_key: Secret) -> Result<Self, NoConnection> {
        let base =
            base_url(server_uri, PlainHttp::Anywhere).map_err(|_| NoConnection::AddressMissing)?;
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(PROGRESS_TIMEOUT);
        let pinned = super::home().and_then(|home| accept_only_splunkds(&home));
        builder = match (base.scheme(), pinned) {
            ("http", _) => builder.tls_certs_only([]),
            (_, Some(pinned)) => builder.tls_backend_preconfigured(pinned),
            _ if is_loopback(&base) => builder
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true),
            _ => builder.tls_certs_merge(splunks_certificates()),
        };
        let http = builder
            .build()
            .map_err(|error| NoConnection::TlsFailed(error.to_string()))?;
        Ok(Self {
            http,
            base,
            session_key,
        })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        let encoded: Vec<_> = path
            .iter()
            .map(|segment| utf8_percent_encode(segment, SEGMENT).to_string())
            .collect();
        url.set_path(&encoded.join("/"));
        url
    }

    fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, RestError> {
        let unreachable = |problem: NetworkProblem| {
            let text = format!(
                "splunkd's REST interface cannot be reached: {}",
                problem.text
            );
            match problem.kind {
                ProblemKind::Connection => RestError::NotListening(text),
                _ => RestError::Unusable(text),
            }
        };
        let authorization = format!("Splunk {}", self.session_key.expose());
        let request = request.header("Authorization", authorization);
        // splunkd is near and its answers are short: a slow one needs no line of its own.
        let answer = exchange(request, MAX_BODY_BYTES, Vec::new(), |_| {}).map_err(unreachable)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let messages = serde_json::from_slice::<Messages>(&answer.body).ok();
        let text = messages
            .and_then(|messages| messages.messages.into_iter().next())
            .map_or_else(|| "without a message".to_owned(), |message| message.text);
        Err(RestError::Refused {
            status: answer.status,
            text: server_text(&text),
        })
    }
}

/// The authority that Splunk's own certificates are signed by, if this machine has it.
fn splunks_certificates() -> Vec<Certificate> {
    let Some(home) = super::home() else {
        return Vec::new();
    };
    let path = home.join("etc/auth/cacert.pem");
    let pem = durable::read(&path, MAX_BODY_BYTES).ok().flatten();
    pem.and_then(|pem| Certificate::from_pem_bundle(&pem).ok())
        .unwrap_or_default()
}
