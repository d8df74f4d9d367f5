//! splunkd's REST interface, with the session key that came with the configuration.
//!
//! Always called directly, never through a proxy. Its certificate is verified except on loopback, where splunkd's is
//! self-signed by default and nobody else can listen. Format: Splunk's REST API reference, `output_mode=json`.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::{Certificate, Method, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::input_definition::InputDefinition;
use crate::durable;
use crate::http::{NetworkProblem, PlainHttp, base_url, exchange, is_loopback};
use crate::secret::Secret;

/// splunkd is on this machine or next to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest time without a byte of the answer.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for an edit, which splunkd lets our own external validation judge first.
const EDIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Far more than the entries that are asked for.
const MAX_BODY_BYTES: u64 = 16 * 1024 * 1024;

/// The longest message of splunkd's that is passed on.
const MAX_MESSAGE_CHARS: usize = 300;

/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A connection to splunkd.
pub struct Rest {
    http: Client,
    base: Url,
    session_key: Secret,
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

/// Why splunkd did not do it.
#[derive(Debug)]
pub struct RestError {
    /// The status of the answer; none when there was no answer.
    pub status: Option<u16>,
    text: String,
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "splunkd answered {status} ({})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for RestError {}

impl RestError {
    /// A problem with what splunkd answered, or with getting an answer.
    pub(super) fn of(text: &str) -> Self {
        Self {
            status: None,
            text: text.to_owned(),
        }
    }
}

impl Rest {
    /// The splunkd that started this process.
    ///
    /// # Errors
    /// The configuration names none.
    pub fn new(definition: &InputDefinition) -> Result<Self> {
        if definition.standalone {
            bail!("there is no splunkd here");
        }
        let base = base_url(&definition.server_uri, PlainHttp::Anywhere)
            .ok()
            .context("Splunk's configuration names no server_uri")?;
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(PROGRESS_TIMEOUT);
        builder = match base.scheme() {
            "http" => builder.tls_certs_only([]),
            _ if is_loopback(&base) => builder
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true),
            _ => builder.tls_certs_merge(splunks_certificates()),
        };
        Ok(Self {
            http: builder
                .build()
                .context("could not set up TLS towards splunkd")?,
            base,
            session_key: definition.session_key.clone(),
        })
    }

    /// Reads the entries below a path; `count=-1` makes that all of them.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn get(&self, path: &[&str]) -> Result<Vec<Entry>, RestError> {
        let mut url = self.url(path);
        url.set_query(Some("output_mode=json&count=-1"));
        let body = self.send(self.http.request(Method::GET, url))?;
        serde_json::from_slice::<Entries>(&body)
            .map(|entries| entries.entry)
            .map_err(|_| RestError::of("splunkd did not answer with JSON"))
    }

    /// [`Rest::get`] of a single entry; `None` when there is none.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn get_one(&self, path: &[&str]) -> Result<Option<Entry>, RestError> {
        match self.get(path) {
            Ok(entries) => Ok(entries.into_iter().next()),
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates or edits what a path names.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn post(&self, path: &[&str], form: &[(&str, &str)]) -> Result<(), RestError> {
        let mut url = self.url(path);
        url.set_query(Some("output_mode=json"));
        let request = self.http.request(Method::POST, url).timeout(EDIT_TIMEOUT);
        self.send(request.form(form)).map(|_| ())
    }

    /// What `server/info` says this instance is, for example `shc_member`.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn server_roles(&self) -> Result<Vec<String>, RestError> {
        let info = self.get_one(&["services", "server", "info"])?;
        let roles = info.and_then(|mut info| info.content.remove("server_roles"));
        Ok(roles
            .and_then(|roles| serde_json::from_value(roles).ok())
            .unwrap_or_default())
    }

    /// The stanza of an input as it is saved, whichever app it is in.
    ///
    /// # Errors
    /// splunkd refuses or cannot be reached.
    pub fn input(&self, kind: &str, name: &str) -> Result<Option<Entry>, RestError> {
        self.get_one(&["servicesNS", "-", "-", "data", "inputs", kind, name])
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
            RestError::of(&format!(
                "splunkd's REST interface cannot be reached: {}",
                problem.text
            ))
        };
        let authorization = format!("Splunk {}", self.session_key.expose());
        let request = request.header("Authorization", authorization);
        let answer = exchange(request, MAX_BODY_BYTES, Vec::new()).map_err(unreachable)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let messages = serde_json::from_slice::<Messages>(&answer.body).ok();
        let text = messages
            .and_then(|messages| messages.messages.into_iter().next())
            .map_or_else(|| "without a message".to_owned(), |message| message.text);
        Err(RestError {
            status: Some(answer.status),
            text: text.chars().take(MAX_MESSAGE_CHARS).collect(),
        })
    }
}

/// The authority that Splunk's own certificates are signed by, if this machine has it.
fn splunks_certificates() -> Vec<Certificate> {
    let Some(home) = std::env::var_os("SPLUNK_HOME") else {
        return Vec::new();
    };
    let path = std::path::Path::new(&home).join("etc/auth/cacert.pem");
    let pem = durable::read(&path, MAX_BODY_BYTES).ok().flatten();
    pem.and_then(|pem| Certificate::from_pem_bundle(&pem).ok())
        .unwrap_or_default()
}
