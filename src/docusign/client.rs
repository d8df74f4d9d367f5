//! HTTP as Docusign needs it: bounded in time and size, repeated when that can help, and never redirected.
//!
//! A call answers with a value, or with what went wrong; what to do about it is said by the API's own
//! file, which knows what was asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::blocking::RequestBuilder;
use reqwest::header::{DATE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, Proxy, Url};
use serde::Deserialize;

use super::retry::{Schedule, Verdict, asked_wait};
use crate::clock::Clock;
use crate::http::{NetworkProblem, ProblemKind, read_body};
use crate::secret::Secret;

pub use super::retry::Patience;

/// The longest answer, unpacked. A page of 2000 records is 1 to 4 MB.
const MAX_BODY_BYTES: u64 = 256 * 1024 * 1024;

/// The answer of a proxy, not of Docusign.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// The longest error text of a server that is passed on.
const MAX_DESCRIPTION_CHARS: usize = 300;

/// A clock that is further from the server's than this is worth a word.
const TOLERATED_SKEW: TimeDelta = TimeDelta::seconds(60);

/// How the client gets to Docusign.
#[derive(Clone, Debug)]
pub struct Network {
    /// The proxy for every call; without one the environment's `HTTPS_PROXY` and `NO_PROXY` apply.
    pub proxy: Option<ProxySettings>,
    /// Certificates that are trusted beside the system's.
    pub ca_certificates: Vec<Certificate>,
    /// Whether the proxy of the environment applies where none is given.
    pub environment_proxy: bool,
    /// Whether any connection is encrypted: otherwise the system's trust roots need not be read.
    pub tls: bool,
    /// How long to wait and how often to try.
    pub patience: Patience,
}

/// A proxy and the credentials for it.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// `http(s)://host:port`.
    pub url: Url,
    /// User name and password, if the proxy wants them.
    pub credentials: Option<(String, Secret)>,
}

/// Tells that a call will be made again.
#[derive(Debug)]
pub struct RetryNotice<'a> {
    /// What is being done: the `action` of log lines.
    pub action: &'a str,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Which attempt failed, from 1.
    pub attempt: u32,
    /// The wait before the next one.
    pub wait: Duration,
    /// What happened.
    pub problem: String,
}

/// Who is told of retries.
pub type OnRetry = Arc<dyn Fn(&RetryNotice<'_>) + Send + Sync>;

/// Makes calls. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::blocking::Client,
    /// The configured proxy, which may be to blame when there is no connection.
    through: Option<String>,
    patience: Patience,
    clock: Arc<dyn Clock>,
    on_retry: OnRetry,
}

/// An answer with a whole body.
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    /// The body, unpacked.
    pub(super) body: Vec<u8>,
}

/// Why a call failed for good.
#[derive(Debug)]
pub(super) enum CallError {
    /// Docusign said no.
    Refused(Refusal),
    /// There was no answer.
    Unreachable(String),
    /// There were answers, but not with what was asked for.
    Malformed(String),
}

/// A no, with all that the server said about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `error` or `errorCode` of the body.
    pub(super) code: Option<String>,
    /// `error_description` or `message` of the body.
    pub(super) description: Option<String>,
    /// Docusign's support asks for it.
    pub(super) trace_token: Option<String>,
    /// How far the server's clock is ahead of ours, if that is too far.
    pub(super) skew: Option<TimeDelta>,
    /// Whether patience ended before the server's objection.
    pub(super) exhausted: bool,
}

/// Whether an error makes the run end, and what to say: the sentence has the remedy in it.
#[derive(Debug)]
pub struct ApiError {
    /// What was being done: the `action` of log lines.
    pub action: &'static str,
    /// Whether Docusign itself said no, so that only a change of configuration helps.
    pub definite: bool,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Docusign's own code for the error.
    pub code: Option<String>,
    /// Docusign's trace token of the answer.
    pub trace_token: Option<String>,
    /// What failed and what to do now.
    pub sentence: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// Turns a failed call into an error; `explain` finds the words for a refusal.
    pub(super) fn new(
        action: &'static str,
        host: &str,
        error: CallError,
        explain: impl FnOnce(&Refusal) -> String,
    ) -> Self {
        let blank = Self {
            action,
            definite: false,
            status: None,
            code: None,
            trace_token: None,
            sentence: String::new(),
        };
        match error {
            CallError::Refused(refusal) => Self {
                sentence: if refusal.exhausted {
                    format!(
                        "Docusign ({host}) kept answering {refusal}. If that goes on, see status.docusign.com"
                    )
                } else {
                    explain(&refusal)
                },
                definite: !refusal.exhausted,
                status: Some(refusal.status),
                code: refusal.code,
                trace_token: refusal.trace_token,
                ..blank
            },
            CallError::Unreachable(problem) => Self {
                sentence: format!("Docusign ({host}) {problem}"),
                ..blank
            },
            CallError::Malformed(problem) => Self {
                sentence: format!(
                    "Docusign ({host}) did not answer with what was asked for: {problem}. A proxy or gateway may have answered in its place"
                ),
                ..blank
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(description) = &self.description {
            write!(f, " ({description})")?;
        }
        Ok(())
    }
}

impl Client {
    /// A client for `network`. `on_retry` hears of every repeated call.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn new(network: Network, clock: Arc<dyn Clock>, on_retry: OnRetry) -> Result<Self> {
        let patience = network.patience;
        let mut builder = reqwest::blocking::Client::builder()
            .user_agent(concat!("ds_monitor/", env!("CARGO_PKG_VERSION")))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience.connect)
            // For the blocking client this bounds each wait for the answer's next bytes, not the whole call.
            .timeout(patience.progress);
        let through = network
            .proxy
            .as_ref()
            .map(|proxy| proxy.url.as_str().trim_end_matches('/').to_owned());
        if let Some(proxy) = network.proxy {
            let mut through = Proxy::all(proxy.url).context("proxy_url cannot be used")?;
            if let Some((user, password)) = proxy.credentials {
                // The library's own basic_auth takes the way through a URL, which changes special characters.
                let credentials = STANDARD.encode(format!("{user}:{}", password.expose()));
                let mut header = HeaderValue::try_from(format!("Basic {credentials}"))
                    .context("the proxy credentials cannot be used")?;
                header.set_sensitive(true);
                through = through.custom_http_auth(header);
            }
            builder = builder.proxy(through);
        } else if !network.environment_proxy {
            builder = builder.no_proxy();
        }
        builder = if network.tls {
            builder.tls_certs_merge(network.ca_certificates)
        } else {
            builder.tls_certs_only([])
        };
        let http = builder.build().context(
            "could not set up TLS: are the system's certificates (ca-certificates) installed?",
        )?;
        Ok(Self {
            http,
            through,
            patience,
            clock,
            on_retry,
        })
    }

    /// A request to `url`, to be finished and given to [`Client::call`].
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// The time that tokens and pauses go by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Makes a call until `read` accepts its answer, Docusign refuses it for good, or patience ends.
    pub(super) fn call<T>(
        &self,
        action: &'static str,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(Vec<u8>) -> Result<T, String>,
    ) -> Result<T, CallError> {
        self.call_into(Vec::new(), action, request, read)
    }

    /// [`Client::call`], whose answer is read into the memory of `buffer`.
    pub(super) fn call_into<T>(
        &self,
        mut buffer: Vec<u8>,
        action: &'static str,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(Vec<u8>) -> Result<T, String>,
    ) -> Result<T, CallError> {
        let mut schedule = Schedule::new(self.patience);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (error, asked) = match self.once(request(), std::mem::take(&mut buffer)) {
                Err(problem) if problem.kind.is_permanent() => {
                    return Err(CallError::Unreachable(self.describe(&problem)));
                }
                Err(problem) => (CallError::Unreachable(self.describe(&problem)), None),
                Ok(answer) => {
                    let now = self.clock.now();
                    let body = ErrorBody::of(&answer);
                    match Verdict::of(answer.status, body.code()) {
                        Verdict::Done => match read(answer.body) {
                            Ok(value) => return Ok(value),
                            Err(problem) => (CallError::Malformed(problem), None),
                        },
                        Verdict::Retry => {
                            let asked = asked_wait(&answer.headers, now);
                            let refusal = Refusal::new(&answer, body, now);
                            let exhausted = Refusal {
                                exhausted: true,
                                ..refusal
                            };
                            (CallError::Refused(exhausted), asked)
                        }
                        Verdict::NewToken | Verdict::Permanent => {
                            return Err(CallError::Refused(Refusal::new(&answer, body, now)));
                        }
                    }
                }
            };
            let Some(wait) = schedule.next(asked) else {
                return Err(error);
            };
            (self.on_retry)(&RetryNotice {
                action,
                status: error.status(),
                attempt,
                wait,
                problem: error.problem(),
            });
            self.clock.sleep(wait);
        }
    }

    /// Who is not reached which way, why, and what to do: the end of a sentence that begins with the host.
    fn describe(&self, problem: &NetworkProblem) -> String {
        let way = match &self.through {
            Some(proxy) => format!(" through the proxy {proxy}"),
            None => String::new(),
        };
        let remedy = match problem.kind {
            ProblemKind::Name => "Check name resolution on this machine, or set proxy_url",
            ProblemKind::Certificate => {
                "Set ca_file to the certificate of the CA that signed it, for example that of a proxy that inspects TLS"
            }
            ProblemKind::NotTls => "Should the address, or that of the proxy, begin with http://?",
            ProblemKind::ProxyCredentials => "Check proxy_user and proxy_password",
            ProblemKind::Tunnel => "Check that the proxy allows connections to it",
            ProblemKind::TooLong => "Set a lower limit, so that pages are smaller",
            ProblemKind::Connection => "Check the firewall and proxy_url",
        };
        format!("cannot be reached{way}: {}. {remedy}", problem.text)
    }

    fn once(&self, request: RequestBuilder, buffer: Vec<u8>) -> Result<Answer, NetworkProblem> {
        let response = request.send().map_err(|error| NetworkProblem::of(&error))?;
        let status = response.status().as_u16();
        if status == PROXY_AUTHENTICATION_REQUIRED {
            return Err(NetworkProblem::proxy_credentials());
        }
        let headers = response.headers().clone();
        let body = read_body(response, MAX_BODY_BYTES, buffer)?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

impl CallError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Unreachable(_) => None,
            Self::Malformed(_) => Some(200),
        }
    }

    fn problem(&self) -> String {
        match self {
            Self::Refused(refusal) => format!("Docusign answered {refusal}"),
            Self::Unreachable(problem) => format!("Docusign {problem}"),
            Self::Malformed(problem) => {
                format!("Docusign did not answer with what was asked for: {problem}")
            }
        }
    }
}

impl Refusal {
    fn new(answer: &Answer, body: ErrorBody, now: DateTime<Utc>) -> Self {
        let header = |name: &str| answer.headers.get(name)?.to_str().ok();
        let skew = header(DATE.as_str())
            .and_then(|date| DateTime::parse_from_rfc2822(date).ok())
            .map(|date| date.to_utc() - now)
            .filter(|skew| skew.abs() > TOLERATED_SKEW);
        Self {
            status: answer.status,
            trace_token: header("x-docusign-tracetoken").map(shorten),
            code: body.code().map(shorten),
            description: body.description().map(shorten),
            skew,
            exhausted: false,
        }
    }
}

/// A server's text, as much of it as fits a line.
fn shorten(text: &str) -> String {
    text.chars().take(MAX_DESCRIPTION_CHARS).collect()
}

/// Docusign's three error shapes in one: `{error, error_description}` of the account server and the Admin API,
/// `{errorCode, message}` of eSignature, `{error: text}` of Monitor. The body can also be HTML or empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case", default)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
    #[serde(rename = "errorCode")]
    error_code: Option<String>,
    message: Option<String>,
}

impl ErrorBody {
    fn of(answer: &Answer) -> Self {
        if answer.status == 200 {
            return Self::default();
        }
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Codes are one word; Monitor's `error` is a sentence.
    fn code(&self) -> Option<&str> {
        let code = self.error_code.as_deref().or(self.error.as_deref());
        code.filter(|code| !code.contains(' '))
    }

    fn description(&self) -> Option<&str> {
        let sentence = self.error.as_deref().filter(|error| error.contains(' '));
        self.error_description
            .as_deref()
            .or(self.message.as_deref())
            .or(sentence)
    }
}
