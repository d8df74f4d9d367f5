//! HTTP as Docusign needs it: bounded in time and size, repeated when that can help, and never redirected.
//!
//! A call answers with a value, or with what went wrong; what to do about it is said by the API's own
//! file, which knows what was asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::blocking::RequestBuilder;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::clock::Clock;
use crate::http::{Network, NetworkProblem, read_body, send};
use crate::retry::{Patience, Schedule, asked_wait};

/// The longest answer, unpacked. A page of 2000 records is 1 to 4 MB.
const MAX_BODY_BYTES: u64 = 256 * 1024 * 1024;

/// The longest error text of a server that is passed on.
const MAX_DESCRIPTION_CHARS: usize = 300;

/// A clock that is further from the server's than this is worth a word.
const TOLERATED_SKEW: TimeDelta = TimeDelta::seconds(60);

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

/// What an answer's status asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The body is what was asked for.
    Done,
    /// The same call may succeed later.
    Retry,
    /// The token is not accepted (any more).
    NewToken,
    /// Only a change of configuration helps.
    Permanent,
}

impl Verdict {
    /// The one table. `code` is the `errorCode` or `error` of the body: Docusign's rate limits were answered with
    /// 400 before they became 429, and the old answer is still met.
    fn of(status: u16, code: Option<&str>) -> Self {
        match status {
            200 => Self::Done,
            400 if code.is_some_and(|code| code.ends_with("_APIINVOCATION_LIMIT_EXCEEDED")) => {
                Self::Retry
            }
            401 => Self::NewToken,
            // 444 is Docusign's traffic management.
            408 | 429 | 444 | 500.. => Self::Retry,
            _ => Self::Permanent,
        }
    }
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
        let through = network.through();
        let http = network.client(|builder| builder)?;
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
                    return Err(CallError::Unreachable(
                        problem.describe(self.through.as_deref()),
                    ));
                }
                Err(problem) => (
                    CallError::Unreachable(problem.describe(self.through.as_deref())),
                    None,
                ),
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

    fn once(&self, request: RequestBuilder, buffer: Vec<u8>) -> Result<Answer, NetworkProblem> {
        let response = send(request)?;
        let status = response.status().as_u16();
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

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn the_status_decides_and_for_400_the_code() {
        let limit = Some("HOURLY_APIINVOCATION_LIMIT_EXCEEDED");
        let burst = Some("BURST_APIINVOCATION_LIMIT_EXCEEDED");
        for (status, code, expected) in [
            (200, None, Verdict::Done),
            (204, None, Verdict::Permanent),
            (301, None, Verdict::Permanent),
            (400, None, Verdict::Permanent),
            (400, Some("consent_required"), Verdict::Permanent),
            (400, limit, Verdict::Retry),
            (400, burst, Verdict::Retry),
            (401, None, Verdict::NewToken),
            (403, None, Verdict::Permanent),
            (403, limit, Verdict::Permanent),
            (404, None, Verdict::Permanent),
            (408, None, Verdict::Retry),
            (429, None, Verdict::Retry),
            (429, limit, Verdict::Retry),
            (444, None, Verdict::Retry),
            (500, None, Verdict::Retry),
            (503, None, Verdict::Retry),
            (599, None, Verdict::Retry),
        ] {
            assert_eq!(Verdict::of(status, code), expected, "{status} {code:?}");
        }
    }
}
