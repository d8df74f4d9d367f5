//! HTTP as Docusign needs it: bounded in time and size, repeated when that can help, and never redirected.
//!
//! A call returns a value or what went wrong. The API's own file puts a refusal into words, because it knows the
//! question. Where the remedy is a change of configuration, the caller of this library says so, in [`Remedy`]: only the
//! caller knows what its settings are called.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::blocking::RequestBuilder;
use reqwest::header::DATE;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::budget::Budget;
use crate::base::clock::Clock;
use crate::base::http::{Answer, Network, exchange, server_text};
use crate::base::retry::{Failed, Retry, asked_wait, http_date, repeat};

/// The longest answer that is looked at as an error; Docusign's are a few hundred bytes long.
const MAX_ERROR_BYTES: usize = 64 * 1024;

const ACTION_BUDGET: &str = "wait_for_budget";

/// A clock that differs more than this from the server's is mentioned.
const TOLERATED_SKEW: TimeDelta = TimeDelta::seconds(60);

/// What happens to a call that takes longer than it should.
#[derive(Debug)]
pub enum Trouble<'a> {
    /// It failed and will be made again.
    Retry {
        /// What is being done: the `action` of log lines.
        action: &'a str,
        /// The status of the answer, if there was one.
        status: Option<u16>,
        /// Which attempt failed, and the wait before the next one.
        retry: Retry,
        /// What happened.
        problem: String,
    },
    /// The calls that Docusign allows are nearly used up.
    ScarceBudget {
        /// What is left.
        budget: Budget,
        /// The wait before the next call, or none if that would be too long.
        wait: Option<Duration>,
    },
    /// Its answer arrives slowly.
    SlowAnswer {
        /// What is being done: the `action` of log lines.
        action: &'a str,
        /// How much has arrived, in bytes as they travel.
        bytes: usize,
    },
}

/// Called while there is trouble, before it is over.
pub type OnTrouble = Arc<dyn Fn(&Trouble<'_>) + Send + Sync>;

/// The part of the configuration that a refusal points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// The cursor, which may be too old or damaged.
    Cursor,
    /// The page after the cursor, which cannot be delivered.
    Page,
    /// The hosts: the account server and the API that refuses its token belong to different environments.
    Hosts,
    /// The address of the stream: its host, or the organization in it.
    Stream,
    /// The integration key, the user, the private key, or the environment that they belong to.
    Credentials,
    /// The address of the account server, which issues tokens.
    AccountServer,
    /// The address of the Admin API.
    AdminServer,
    /// The address of the account server, or the proxy on the way to it.
    WayToAccountServer,
    /// The address of the Monitor API, or the proxy on the way to it.
    WayToMonitorServer,
}

/// What to change when a refusal points at a part of the configuration: a phrase that begins with a verb.
pub type Remedy = fn(Suspect) -> &'static str;

/// Makes calls. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::blocking::Client,
    network: Network,
    clock: Arc<dyn Clock>,
    remedy: Remedy,
    on_trouble: OnTrouble,
    /// How far the server's clock is ahead of ours by its latest answer, in seconds.
    ahead_s: Arc<AtomicI64>,
    /// The budget by the latest answer that named one, and when that came.
    budget: Arc<Mutex<Option<(Budget, Duration)>>>,
}

/// The calls that Docusign allows are used up, except for those that are left to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSpent {
    /// When there will be more.
    pub renewed_in: Duration,
}

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The body answers the call.
    Done,
    /// The same call may succeed later.
    Retry,
    /// The token is not accepted, or no longer.
    NewToken,
    /// Only a change of configuration helps.
    Permanent,
}

impl Outcome {
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

/// Why a call failed for good.
#[derive(Debug)]
pub(super) enum CallError {
    /// Docusign refused the call.
    Refused(Box<Refusal>),
    /// Docusign could not serve the call until patience ran out.
    NotServed(Box<Refusal>),
    /// There was no answer; the text is the predicate of a sentence about the host.
    Unreachable(String),
    /// The answer was not the expected one.
    Malformed(String),
    /// The answer was Docusign's own, and cannot be used.
    Unusable(String),
}

/// Why an answer with status 200 is not the expected one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It may have been damaged or replaced on the way: another attempt may bring a good one.
    OnTheWay(String),
    /// Docusign itself has answered, and would answer the same again.
    ByDocusign(String),
}

impl From<String> for Unreadable {
    fn from(problem: String) -> Self {
        Self::OnTheWay(problem)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnTheWay(problem) | Self::ByDocusign(problem) => f.write_str(problem),
        }
    }
}

/// A refusal, with all that the server said about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `error` or `errorCode` of the body.
    pub(super) code: Option<String>,
    /// `error_description` or `message` of the body.
    pub(super) description: Option<String>,
    /// Docusign's support needs it.
    pub(super) trace_token: Option<String>,
    /// How far the server's clock is ahead of ours, if that is too far.
    pub(super) skew: Option<TimeDelta>,
}

/// A call that failed, as an administrator reads it.
#[derive(Debug)]
pub struct ApiError {
    /// What was being done: the `action` of log lines.
    pub action: &'static str,
    /// Whether Docusign itself refused the call, so that only a change of configuration helps.
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
                definite: true,
                ..Self::answered(action, explain(&refusal), *refusal)
            },
            CallError::NotServed(refusal) => {
                let sentence = format!(
                    "Docusign ({host}) kept answering {refusal}. If this continues, see status.docusign.com"
                );
                Self::answered(action, sentence, *refusal)
            }
            CallError::Unreachable(problem) => Self {
                sentence: format!("Docusign ({host}) {problem}"),
                ..blank
            },
            CallError::Unusable(problem) => Self {
                definite: true,
                sentence: format!(
                    "Docusign ({host}) gave an answer that cannot be used: {problem}"
                ),
                ..blank
            },
            CallError::Malformed(problem) => Self {
                sentence: format!(
                    "Docusign ({host}) gave an unexpected answer: {problem}. A proxy or gateway may have answered instead"
                ),
                ..blank
            },
        }
    }

    /// The calls that Docusign allows are used up.
    pub(super) fn of_budget(renewed_in: Duration) -> Self {
        Self {
            action: ACTION_BUDGET,
            definite: false,
            status: None,
            code: None,
            trace_token: None,
            sentence: format!(
                "Few of the calls are left that Docusign allows this account; they are renewed in {} seconds",
                renewed_in.as_secs()
            ),
        }
    }

    /// Whether the call was not made because the calls that Docusign allows are used up.
    #[must_use]
    pub fn is_of_budget(&self) -> bool {
        self.action == ACTION_BUDGET
    }

    fn answered(action: &'static str, sentence: String, refusal: Refusal) -> Self {
        Self {
            action,
            definite: false,
            status: Some(refusal.status),
            code: refusal.code,
            trace_token: refusal.trace_token,
            sentence,
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
    /// A client for `network`. `remedy` says what to change, and `on_trouble` learns of what takes long.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn new(
        network: Network,
        clock: Arc<dyn Clock>,
        remedy: Remedy,
        on_trouble: OnTrouble,
    ) -> Result<Self> {
        Ok(Self {
            http: network.client(|builder| builder)?,
            network,
            clock,
            remedy,
            on_trouble,
            ahead_s: Arc::default(),
            budget: Arc::default(),
        })
    }

    /// A request to `url`, to be completed and passed to [`Client::call`].
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// The clock of tokens and pauses.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// How far the server's clock is ahead of ours by its latest answer. Zero before the first answer, and for what a
    /// request's way and a clock's drift explain.
    #[must_use]
    pub fn skew(&self) -> TimeDelta {
        let skew = TimeDelta::seconds(self.ahead_s.load(Ordering::Relaxed));
        match skew.abs() > TOLERATED_SKEW {
            true => skew,
            false => TimeDelta::zero(),
        }
    }

    /// Waits as long as the account's budget of calls requires before the next one.
    ///
    /// # Errors
    /// The wait would be longer than [`Patience::budget`](crate::base::retry::Patience::budget).
    pub(super) fn wait_for_budget(&self) -> Result<(), BudgetSpent> {
        let latest = self
            .budget
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((budget, at)) = latest else {
            return Ok(());
        };
        let since = self.clock.elapsed().saturating_sub(at);
        let wait = budget.pause().saturating_sub(since);
        if wait.is_zero() {
            return Ok(());
        }
        let is_bearable = wait <= self.network.patience.budget;
        (self.on_trouble)(&Trouble::ScarceBudget {
            budget,
            wait: is_bearable.then_some(wait),
        });
        if !is_bearable {
            let renewed_in = budget.renewed_in.saturating_sub(since);
            return Err(BudgetSpent { renewed_in });
        }
        self.clock.sleep(wait);
        Ok(())
    }

    /// What to change when a refusal points at `suspect`.
    pub(super) fn remedy(&self, suspect: Suspect) -> &'static str {
        (self.remedy)(suspect)
    }

    /// Makes a call until `read` accepts its answer, which is at most `max_bytes` long when unpacked, Docusign refuses
    /// it, or patience runs out.
    pub(super) fn call<T>(
        &self,
        action: &'static str,
        max_bytes: u64,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(Vec<u8>) -> Result<T, Unreadable>,
    ) -> Result<T, CallError> {
        self.call_into(Vec::new(), action, max_bytes, request, read)
    }

    /// [`Client::call`], reading the answer into the memory of `buffer`.
    pub(super) fn call_into<T>(
        &self,
        mut buffer: Vec<u8>,
        action: &'static str,
        max_bytes: u64,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(Vec<u8>) -> Result<T, Unreadable>,
    ) -> Result<T, CallError> {
        repeat(
            self.network.patience,
            &*self.clock,
            || {
                let buffer = std::mem::take(&mut buffer);
                let on_slow = |bytes| (self.on_trouble)(&Trouble::SlowAnswer { action, bytes });
                let answer =
                    exchange(request(), max_bytes, buffer, on_slow).map_err(|problem| {
                        let error = CallError::Unreachable(self.network.describe(&problem));
                        match problem.kind.is_permanent() {
                            true => Failed::ForGood(error),
                            false => Failed::for_now(error),
                        }
                    })?;
                self.judge(answer, &read)
            },
            |error, retry| {
                (self.on_trouble)(&Trouble::Retry {
                    action,
                    status: error.status(),
                    retry,
                    problem: error.problem(),
                });
            },
        )
    }

    /// Reads an answer, or says whether another attempt may help.
    fn judge<T>(
        &self,
        answer: Answer,
        read: impl Fn(Vec<u8>) -> Result<T, Unreadable>,
    ) -> Result<T, Failed<CallError>> {
        let now = self.clock.now();
        if let Some(ahead) = skew(&answer, now) {
            self.ahead_s.store(ahead.num_seconds(), Ordering::Relaxed);
        }
        let date = now + skew(&answer, now).unwrap_or_default();
        if let Some(budget) = Budget::of(&answer.headers, date) {
            let mut latest = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            *latest = Some((budget, self.clock.elapsed()));
        }
        let body = ErrorBody::of(&answer);
        match Outcome::of(answer.status, body.code()) {
            // An error under the wrong status: read as an answer, it would pass for one that is empty.
            Outcome::Done if body.is_error() => Err(Failed::ForGood(CallError::Refused(Box::new(
                Refusal::new(&answer, body, now),
            )))),
            Outcome::Done => read(answer.body).map_err(|unreadable| match unreadable {
                Unreadable::OnTheWay(problem) => Failed::for_now(CallError::Malformed(problem)),
                Unreadable::ByDocusign(problem) => Failed::ForGood(CallError::Unusable(problem)),
            }),
            Outcome::Retry => Err(Failed::ForNow {
                error: CallError::NotServed(Box::new(Refusal::new(&answer, body, now))),
                asked: asked_wait(&answer.headers, now),
            }),
            Outcome::NewToken | Outcome::Permanent => Err(Failed::ForGood(CallError::Refused(
                Box::new(Refusal::new(&answer, body, now)),
            ))),
        }
    }
}

impl CallError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) | Self::NotServed(refusal) => Some(refusal.status),
            Self::Unreachable(_) => None,
            Self::Malformed(_) | Self::Unusable(_) => Some(200),
        }
    }

    fn problem(&self) -> String {
        match self {
            Self::Refused(refusal) | Self::NotServed(refusal) => {
                format!("Docusign answered {refusal}")
            }
            Self::Unreachable(problem) => format!("Docusign {problem}"),
            Self::Malformed(problem) | Self::Unusable(problem) => {
                format!("Docusign gave an unexpected answer: {problem}")
            }
        }
    }
}

/// How far the server's clock is ahead of `now`, if its answer says what time it is.
fn skew(answer: &Answer, now: DateTime<Utc>) -> Option<TimeDelta> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    Some(http_date(date)? - now)
}

impl Refusal {
    fn new(answer: &Answer, body: ErrorBody, now: DateTime<Utc>) -> Self {
        let header = |name: &str| answer.headers.get(name)?.to_str().ok();
        let skew = skew(answer, now).filter(|skew| skew.abs() > TOLERATED_SKEW);
        Self {
            status: answer.status,
            trace_token: header("x-docusign-tracetoken").map(server_text),
            code: body.code().map(server_text),
            description: body.description().map(server_text),
            skew,
        }
    }
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
        if answer.body.len() > MAX_ERROR_BYTES {
            return Self::default();
        }
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Whether this names an error; a `message` alone may be part of a good answer.
    fn is_error(&self) -> bool {
        let named = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        named(&self.error_code) || named(&self.error)
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
    use super::Outcome;

    #[test]
    fn the_status_decides_and_for_400_the_code() {
        let limit = Some("HOURLY_APIINVOCATION_LIMIT_EXCEEDED");
        let burst = Some("BURST_APIINVOCATION_LIMIT_EXCEEDED");
        for (status, code, expected) in [
            (200, None, Outcome::Done),
            (204, None, Outcome::Permanent),
            (301, None, Outcome::Permanent),
            (400, None, Outcome::Permanent),
            (400, Some("consent_required"), Outcome::Permanent),
            (400, limit, Outcome::Retry),
            (400, burst, Outcome::Retry),
            (401, None, Outcome::NewToken),
            (403, None, Outcome::Permanent),
            (403, limit, Outcome::Permanent),
            (404, None, Outcome::Permanent),
            (408, None, Outcome::Retry),
            (429, None, Outcome::Retry),
            (429, limit, Outcome::Retry),
            (444, None, Outcome::Retry),
            (500, None, Outcome::Retry),
            (503, None, Outcome::Retry),
            (599, None, Outcome::Retry),
        ] {
            assert_eq!(Outcome::of(status, code), expected, "{status} {code:?}");
        }
    }
}
