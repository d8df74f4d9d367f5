//! An event collector as a server: requests, what an answer means, and what to do about one that is not good.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context, Result};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use super::batch::Packed;
use super::{HecSettings, SettingNames};
use crate::base::http::{Answer, NetworkProblem, exchange, server_text};
use crate::base::retry::Patience;
use crate::splunk::event::Undelivered;
use crate::splunk::log::{Failure, Fields};

/// Longest answer: it holds a few numbers, at most one for each batch of a channel.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

const CHANNEL: &str = "X-Splunk-Request-Channel";

/// Where Splunk Web keeps the tokens.
const TOKENS: &str = "Settings > Data inputs > HTTP Event Collector";

/// Asks the event collector whether it is there and accepts the token, without sending it anything. Returns what it
/// said, as the end of a sentence that begins with its address.
///
/// # Errors
/// What is wrong and what to do about it.
pub fn probe(settings: &HecSettings) -> Result<String, HecError> {
    let collector =
        Collector::new(settings).map_err(|error| HecError::without_answer(format!("{error:#}")))?;
    match collector.ask(collector.request("event", Uuid::new_v4()).body("")) {
        Ok(answer) => match (answer.status, answer.reply.code) {
            _ if answer.verdict() == Verdict::Accepted => Ok("accepts the token".to_owned()),
            // The token is checked before the body is.
            (400, Some(NO_DATA)) => Ok("accepts the token".to_owned()),
            // Fluent Bit before 4.0.10 objects to the empty body in words of its own.
            (400, None) => Ok(format!(
                "did not refuse the token; it answered an empty request with {}",
                answer.in_full()
            )),
            _ => Err(collector.error(&answer)),
        },
        Err(problem) => Err(collector.unreachable(&problem)),
    }
}

/// Why an event collector does not take events.
#[derive(Debug)]
pub struct HecError {
    /// Whether Splunk itself refused, so that only a change of configuration helps.
    pub definite: bool,
    pub(super) status: Option<u16>,
    pub(super) code: Option<u32>,
    /// What failed and what to do now.
    pub sentence: String,
}

impl HecError {
    pub(super) fn without_answer(sentence: String) -> Self {
        Self {
            definite: false,
            status: None,
            code: None,
            sentence,
        }
    }

    pub(super) fn fields(&self, action: &str) -> Fields {
        Fields::new()
            .with("action", action)
            .with_some("status", self.status)
            .with_some("code", self.code)
    }

    /// The end of the run that did `action`.
    pub(super) fn into_undelivered(self, action: &str) -> Undelivered {
        let fields = self.fields(action);
        Undelivered::Refused(match self.definite {
            true => Failure::definite(fields, self.sentence),
            false => Failure::temporary(fields, &self.sentence),
        })
    }
}

/// The codes of an event collector that say more than the status.
const TOKEN_DISABLED: u32 = 1;
const TOKEN_MISSING: u32 = 2;
const AUTHORIZATION_INVALID: u32 = 3;
const TOKEN_UNKNOWN: u32 = 4;
const NO_DATA: u32 = 5;
const BAD_EVENTS: [u32; 4] = [6, 12, 13, 15];
const INDEX_REFUSED: u32 = 7;
const CHANNEL_MISSING: u32 = 10;
const CHANNEL_UNKNOWN: u32 = 11;
const ACKNOWLEDGEMENT_DISABLED: u32 = 14;

/// The body of an answer. A value that is not what it should be counts as absent, so that it hides none of the others.
#[derive(Default)]
struct Reply {
    text: String,
    code: Option<u32>,
    ack: Ack,
    invalid_event: Option<usize>,
    /// Whether a batch is acknowledged, by its id as text.
    acks: Option<HashMap<String, bool>>,
}

/// What an answer says about the acknowledgement to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ack {
    /// The token does not acknowledge.
    #[default]
    None,
    /// Its id.
    Id(u64),
    /// There will be one, but its id is no number that can be asked for.
    Unusable,
}

impl Reply {
    fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Self::default();
        };
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let code = number("code").and_then(|code| u32::try_from(code).ok());
        let invalid_event = number("invalid-event-number").and_then(|it| usize::try_from(it).ok());
        let ack = match (fields.get("ackId"), number("ackId")) {
            (None | Some(Value::Null), _) => Ack::None,
            (_, Some(id)) => Ack::Id(id),
            (_, None) => Ack::Unusable,
        };
        let text = match fields.remove("text") {
            Some(Value::String(text)) => server_text(&text),
            _ => String::new(),
        };
        let acks = match fields.remove("acks") {
            Some(Value::Object(acks)) => {
                let is_true = |(id, value)| (id, value == Value::Bool(true));
                Some(acks.into_iter().map(is_true).collect())
            }
            _ => None,
        };
        Self {
            text,
            code,
            ack,
            invalid_event,
            acks,
        }
    }
}

/// An answer of the event collector, or of what is in front of it.
pub struct HecAnswer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    reply: Reply,
    /// Its beginning, for answers that are not an event collector's.
    beginning: String,
}

/// What to do after events have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The events have been accepted.
    Accepted,
    /// The same request may succeed later.
    Later,
    /// An event is not acceptable, this one if the event collector says which.
    BadEvent(Option<usize>),
    /// The request is too large.
    TooLarge,
    /// A success in other words than an event collector's: the events may have been accepted or not.
    Unclear,
    /// Only a change of configuration helps.
    Refused,
}

/// The answer to the question which batches of a channel are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckVerdict {
    /// It says it of every batch: [`HecAnswer::acknowledges`].
    Told,
    /// The token does not acknowledge any more.
    Disabled,
    /// The channel is not known, so that nothing on it will ever be acknowledged.
    Forgotten,
    /// Only a change of configuration helps.
    Refused,
    /// The answer says nothing about it.
    Unclear,
}

impl HecAnswer {
    /// Reads an answer.
    #[must_use]
    pub fn of(answer: Answer) -> Self {
        Self {
            status: answer.status,
            headers: answer.headers,
            reply: Reply::read(&answer.body),
            // Now, because the line is perhaps written when nobody knows the token any more.
            beginning: server_text(&String::from_utf8_lossy(&answer.body)),
        }
    }

    /// The one table.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.status, self.reply.code) {
            (200..=299, Some(0)) if self.reply.ack != Ack::Unusable => Verdict::Accepted,
            (400, Some(code)) if BAD_EVENTS.contains(&code) => {
                Verdict::BadEvent(self.reply.invalid_event)
            }
            (413, _) => Verdict::TooLarge,
            // Every request has data, so this one lost it on the way.
            (400, Some(NO_DATA)) => Verdict::Later,
            (408 | 429 | 500.., _) => Verdict::Later,
            (200..=299, _) => Verdict::Unclear,
            _ => Verdict::Refused,
        }
    }

    /// Whether nothing of the request can have been accepted: the server did not look at it.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.status, 413 | 429 | 503)
    }

    /// What it says about acknowledgements.
    #[must_use]
    pub fn ack_verdict(&self) -> AckVerdict {
        match (self.status, self.reply.code, &self.reply.acks) {
            (200..=299, _, Some(_)) => AckVerdict::Told,
            (_, Some(ACKNOWLEDGEMENT_DISABLED), _) => AckVerdict::Disabled,
            (_, Some(CHANNEL_UNKNOWN), _) => AckVerdict::Forgotten,
            _ if self.verdict() == Verdict::Refused => AckVerdict::Refused,
            _ => AckVerdict::Unclear,
        }
    }

    /// Whether it says that the batch with the id `ack` is acknowledged.
    #[must_use]
    pub fn acknowledges(&self, ack: u64) -> bool {
        let acks = self.reply.acks.as_ref();
        acks.and_then(|acks| acks.get(&ack.to_string())) == Some(&true)
    }

    /// The id under which the batch will be acknowledged, if the token acknowledges.
    #[must_use]
    pub fn ack_id(&self) -> Option<u64> {
        match self.reply.ack {
            Ack::Id(id) => Some(id),
            Ack::None | Ack::Unusable => None,
        }
    }

    /// The status and the beginning of the body, for an answer that is not an event collector's.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self.beginning.is_empty() {
            true => format!("{} and no text", self.status),
            false => format!("{} and the text \"{}\"", self.status, self.beginning),
        }
    }

    pub(super) fn code(&self) -> Option<u32> {
        self.reply.code
    }
}

impl fmt::Display for HecAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.reply.text.is_empty() {
            return Ok(());
        }
        let text = &self.reply.text;
        match self.reply.code {
            Some(code) => write!(f, " (code {code}, {text})"),
            None => write!(f, " ({text})"),
        }
    }
}

/// A client of one event collector. Clones share its connections, and runs that follow one another a clone.
#[derive(Clone)]
pub struct Collector {
    http: Client,
    /// Its base address, as messages name it.
    pub(super) base: String,
    authorization: HeaderValue,
    /// Its token stays known as long as answers come that may repeat it.
    pub(super) settings: HecSettings,
}

impl Collector {
    /// The event collector of `settings`.
    ///
    /// # Errors
    /// The proxy, the certificates or the token cannot be used.
    pub fn new(settings: &HecSettings) -> Result<Self> {
        let names = settings.names;
        let mut authorization =
            HeaderValue::try_from(format!("Splunk {}", settings.token.expose()))
                .with_context(|| format!("{} holds characters that no token has", names.token))?;
        authorization.set_sensitive(true);
        Ok(Self {
            // Only one indexer knows an acknowledgement; a load balancer names it in a cookie.
            http: settings
                .network
                .client(|builder| builder.cookie_store(true))?,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            authorization,
            settings: settings.clone(),
        })
    }

    /// How often a request is repeated.
    pub(super) fn patience(&self) -> Patience {
        self.settings.network.patience
    }

    /// Sends a batch over `channel`, once.
    pub(super) fn send(&self, batch: &Packed, channel: Uuid) -> Result<HecAnswer, NetworkProblem> {
        let request = self.request("event", channel);
        let request = request.header(CONTENT_ENCODING, "gzip");
        self.ask(request.body(batch.body().to_vec()))
    }

    /// Asks which of the batches that were sent over `channel` are acknowledged.
    pub(super) fn ask_for_acks(
        &self,
        channel: Uuid,
        acks: &[u64],
    ) -> Result<HecAnswer, NetworkProblem> {
        let request = self.request("ack", channel);
        let request = request.query(&[("channel", channel.to_string())]);
        self.ask(request.body(serde_json::json!({ "acks": acks }).to_string()))
    }

    fn request(&self, endpoint: &str, channel: Uuid) -> RequestBuilder {
        self.http
            .post(format!("{}/services/collector/{endpoint}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CHANNEL, channel.to_string())
            .header(CONTENT_TYPE, "application/json")
    }

    fn ask(&self, request: RequestBuilder) -> Result<HecAnswer, NetworkProblem> {
        // Who waits for a confirmation says so once per minute, whatever the reason.
        exchange(request, MAX_ANSWER_BYTES, Vec::new(), |_| {}).map(HecAnswer::of)
    }

    pub(super) fn unreachable(&self, problem: &NetworkProblem) -> HecError {
        HecError::without_answer(format!(
            "The event collector ({}) {}",
            self.base,
            self.settings.network.describe(problem)
        ))
    }

    /// An answer that is not good, with the remedy.
    pub(super) fn error(&self, answer: &HecAnswer) -> HecError {
        match answer.verdict() {
            Verdict::Unclear => self.unclear(answer),
            Verdict::Later => self.bad(answer, false, &answer.to_string(), advice(answer)),
            _ => self.bad(answer, true, &answer.to_string(), &self.remedy(answer)),
        }
    }

    /// An answer that no event collector gives.
    pub(super) fn unclear(&self, answer: &HecAnswer) -> HecError {
        let remedy = format!(
            "No event collector answers like this, so whether it has the events is not known: a proxy or gateway may have answered instead. Check {}",
            self.settings.names.url
        );
        self.bad(answer, true, &answer.in_full(), &remedy)
    }

    fn bad(&self, answer: &HecAnswer, definite: bool, shown: &str, remedy: &str) -> HecError {
        HecError {
            definite,
            status: Some(answer.status),
            code: answer.reply.code,
            sentence: format!(
                "The event collector ({}) answered {shown}. {remedy}",
                self.base
            ),
        }
    }

    /// What to change, so that the event collector takes the events.
    fn remedy(&self, answer: &HecAnswer) -> String {
        let SettingNames { url, token } = self.settings.names;
        match (answer.status, answer.reply.code) {
            (_, Some(TOKEN_DISABLED)) => {
                format!("The token is disabled: enable it in Splunk under {TOKENS}")
            }
            (_, Some(TOKEN_MISSING)) => {
                "The token did not arrive: a proxy on the way may remove the Authorization header".to_owned()
            }
            (_, Some(AUTHORIZATION_INVALID)) => format!(
                "The token is wrong, or did not arrive intact: check {token}; a proxy on the way may change the Authorization header"
            ),
            (_, Some(TOKEN_UNKNOWN)) | (401 | 403, None) => format!(
                "Splunk does not know the token: check {token}, and that {url} leads to the Splunk that issued it"
            ),
            (_, Some(INDEX_REFUSED)) => match &self.settings.index {
                Some(index) => format!(
                    "The index {index} does not exist there, or the token may not write to it: change the index of the input, or the indexes that the token allows"
                ),
                None => "The token's default index does not exist or is not allowed: change the token, or set the index of the input".to_owned(),
            },
            (_, Some(CHANNEL_MISSING | CHANNEL_UNKNOWN)) => format!(
                "The channel did not arrive intact: a proxy on the way may change the header {CHANNEL}"
            ),
            (404 | 405, _) => format!(
                "There is no event collector at this address: {url} usually names port 8088, in Splunk Cloud https://http-inputs-NAME.splunkcloud.com:443"
            ),
            (300..=399, _) => format!(
                "The redirect is not followed, because it would take the token along: set {url} to the address that it leads to"
            ),
            _ => format!("Check {url}, and the token in Splunk under {TOKENS}"),
        }
    }
}

/// What to look at if an answer that may change does not.
fn advice(answer: &HecAnswer) -> &'static str {
    match (answer.status, answer.reply.code) {
        (_, Some(NO_DATA)) => {
            "The request had data: look for a proxy or gateway that changes requests on the way"
        }
        _ => "If this continues, check the queues of the Splunk instance that receives",
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::{AckVerdict, HecAnswer, Reply, Verdict};
    use crate::base::http::server_text;

    fn answer(status: u16, body: &str) -> HecAnswer {
        HecAnswer {
            status,
            headers: HeaderMap::new(),
            reply: Reply::read(body.as_bytes()),
            beginning: server_text(body),
        }
    }

    #[test]
    fn the_status_and_the_code_decide_what_becomes_of_the_events() {
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, Verdict::Accepted),
            (
                200,
                r#"{"text":"Success","code":0,"ackId":7}"#,
                Verdict::Accepted,
            ),
            (201, r#"{"text":"Success","code":0}"#, Verdict::Accepted),
            (200, r#"{"code":0,"ackId":null}"#, Verdict::Accepted),
            (
                200,
                r#"{"code":0,"ackId":18446744073709551615}"#,
                Verdict::Accepted,
            ),
            (
                200,
                r#"{"code":0,"ackId":18446744073709551616}"#,
                Verdict::Unclear,
            ),
            (200, r#"{"code":0,"ackId":-1}"#, Verdict::Unclear),
            (200, r#"{"code":0,"ackId":"7"}"#, Verdict::Unclear),
            (200, "<html>log in</html>", Verdict::Unclear),
            (200, "OK", Verdict::Unclear),
            (200, "", Verdict::Unclear),
            (201, "", Verdict::Unclear),
            (202, "{}", Verdict::Unclear),
            (204, "", Verdict::Unclear),
            (200, "{}", Verdict::Unclear),
            (200, r#"{"code":"0"}"#, Verdict::Unclear),
            (200, r#"{"code":9}"#, Verdict::Unclear),
            (200, r#"{"code":4294967296}"#, Verdict::Unclear),
            (
                400,
                r#"{"code":6,"invalid-event-number":18446744073709551616}"#,
                Verdict::BadEvent(None),
            ),
            (
                400,
                r#"{"code":6,"text":7,"ackId":{},"acks":5,"invalid-event-number":-1}"#,
                Verdict::BadEvent(None),
            ),
            (400, r#"{"code":5}"#, Verdict::Later),
            (
                400,
                r#"{"code":6,"invalid-event-number":3}"#,
                Verdict::BadEvent(Some(3)),
            ),
            (400, r#"{"code":6}"#, Verdict::BadEvent(None)),
            (
                400,
                r#"{"code":12,"invalid-event-number":0}"#,
                Verdict::BadEvent(Some(0)),
            ),
            (400, r#"{"code":13}"#, Verdict::BadEvent(None)),
            (400, r#"{"code":15}"#, Verdict::BadEvent(None)),
            (
                400,
                r#"{"code":7,"invalid-event-number":0}"#,
                Verdict::Refused,
            ),
            (400, r#"{"code":16}"#, Verdict::Refused),
            (400, "", Verdict::Refused),
            (302, "", Verdict::Refused),
            (401, r#"{"code":3}"#, Verdict::Refused),
            (403, r#"{"code":4}"#, Verdict::Refused),
            (404, "<html></html>", Verdict::Refused),
            (408, "", Verdict::Later),
            (413, "", Verdict::TooLarge),
            (413, r#"{"code":6}"#, Verdict::TooLarge),
            (429, "", Verdict::Later),
            (500, r#"{"code":8}"#, Verdict::Later),
            (503, r#"{"code":9}"#, Verdict::Later),
        ] {
            assert_eq!(answer(status, body).verdict(), expected, "{status} {body}");
        }
    }

    #[test]
    fn only_the_batch_that_is_named_as_true_is_acknowledged() {
        for (status, body, expected, acknowledged) in [
            (200, r#"{"acks":{"7":true}}"#, AckVerdict::Told, true),
            (200, r#"{"acks":{"7":false}}"#, AckVerdict::Told, false),
            (200, r#"{"acks":{"7":1,"8":true}}"#, AckVerdict::Told, false),
            (200, r#"{"acks":{}}"#, AckVerdict::Told, false),
            (200, r#"{"acks":[7]}"#, AckVerdict::Unclear, false),
            (200, "<html></html>", AckVerdict::Unclear, false),
            (
                200,
                r#"{"text":"Success","code":0}"#,
                AckVerdict::Unclear,
                false,
            ),
            (503, r#"{"acks":{"7":true}}"#, AckVerdict::Unclear, true),
            (400, r#"{"code":14}"#, AckVerdict::Disabled, false),
            (400, r#"{"code":11}"#, AckVerdict::Forgotten, false),
            (403, r#"{"code":4}"#, AckVerdict::Refused, false),
            (400, r#"{"code":10}"#, AckVerdict::Refused, false),
        ] {
            let answer = answer(status, body);
            let told = (answer.ack_verdict(), answer.acknowledges(7));
            assert_eq!(told, (expected, acknowledged), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_is_shown_with_its_code_and_no_more_text_than_fits_a_line() {
        let long = format!(r#"{{"code":9,"text":"{}"}}"#, "x".repeat(1_000));
        assert!(answer(503, &long).to_string().len() < 350);
        for (body, expected) in [
            (
                r#"{"text":"Server is busy","code":9}"#,
                "503 (code 9, Server is busy)",
            ),
            (r#"{"text":"busy"}"#, "503 (busy)"),
            ("<html>secret</html>", "503"),
        ] {
            assert_eq!(answer(503, body).to_string(), expected);
        }
    }
}
