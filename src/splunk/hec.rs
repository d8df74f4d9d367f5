//! The HTTP Event Collector (HEC): the way in that answers.
//!
//! [`HecWriter`] takes events like the standard output does, sends them in batches from a thread of its own, and
//! counts a batch as taken when Splunk has confirmed it: where the token acknowledges, when the indexers have the
//! events; elsewhere, as in Splunk Cloud, when the collector has accepted them. What is not confirmed in time is sent
//! again. A single event that Splunk refuses is left out and told of; never a whole batch. Format: Splunk's manual
//! "Getting data in", "Format events for HTTP Event Collector", "HTTP Event Collector indexer acknowledgment" and
//! "Troubleshoot HTTP Event Collector" for the codes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event::{CHECK_INTERVAL, Event, EventSink, Stall, Undelivered};
use super::log::{Failure, Fields, Level, Log};
use crate::clock::Clock;
use crate::http::{Network, NetworkProblem, is_loopback, read_body, send};
use crate::retry::{Patience, Schedule, asked_wait};
use crate::secret::Secret;

/// Bytes of a batch before it is compressed: Splunk Cloud wants less than 1 MB.
const BATCH_BYTES: usize = 900_000;

/// Bytes that may be on their way at once, which bounds the memory they take.
const MAX_BYTES_UNDER_WAY: u64 = 8 * BATCH_BYTES as u64;

/// Upper bound of what one event adds to its data, beside the fields that are the same for all.
const ENVELOPE_BYTES: usize = 64;

/// How long the indexers may take to acknowledge a batch before it is sent again.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(300);

/// First and longest pause between two questions for acknowledgements.
const ACKNOWLEDGE_PAUSES: (Duration, Duration) =
    (Duration::from_millis(25), Duration::from_secs(10));

/// How long a batch that comes in between such questions may have to wait.
const TICK: Duration = Duration::from_millis(10);

/// How often in a row batches are sent again because their acknowledgements are lost.
const MAX_RESENDS: u32 = 3;

/// So many refusals in a row, with no event accepted between them, are not the fault of the events.
const MAX_REFUSALS: u32 = 20;

/// An answer holds a few numbers.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;

/// The longest text of an answer that is passed on.
const MAX_TEXT_CHARS: usize = 200;

const CHANNEL: &str = "X-Splunk-Request-Channel";

/// An event collector and what is told to it of every event.
#[derive(Clone, Debug)]
pub struct HecSettings {
    /// Base address; `/services/collector/event` is appended.
    pub url: Url,
    /// The token.
    pub token: Secret,
    /// The way to it.
    pub network: Network,
    /// `source` of every event: the input's full name.
    pub source: String,
    /// `sourcetype` of every event that names none.
    pub sourcetype: &'static str,
    /// `host` of every event; without one Splunk takes its own.
    pub host: Option<String>,
    /// `index` of every event; without one the token's default holds.
    pub index: Option<String>,
}

/// Reads the base address of an event collector.
///
/// # Errors
/// The form that is accepted, as the end of a sentence that begins with the name of the parameter.
pub fn base_url(text: &str) -> Result<Url> {
    const FORM: &str = "must be the base address of an HTTP Event Collector, for example https://splunk.example.com:8088";
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .context(FORM)?;
    if !url.username().is_empty() || url.password().is_some() {
        bail!("{FORM}, without credentials");
    }
    if url.path().contains("/services/") || url.query().is_some() || url.fragment().is_some() {
        bail!("{FORM}, without /services/collector");
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        bail!("must begin with https://: the token would be readable on the way");
    }
    Ok(url)
}

/// Who is told of an event that Splunk refuses.
pub type OnRefused = Arc<dyn Fn(&RefusedEvent) + Send + Sync>;

/// An event that Splunk refuses, and why.
pub struct RefusedEvent {
    /// The text of the event.
    pub data: String,
    /// The status of the answer.
    pub status: u16,
    /// The collector's code, if it gave one.
    pub code: Option<u32>,
    /// The answer in words.
    pub answer: String,
}

/// The events of a request.
struct Batch {
    /// A channel of its own, so that an acknowledgement can only be that of this batch: indexers count from 0 again
    /// after a restart, and each counts for itself.
    channel: Uuid,
    body: Vec<u8>,
    /// Where each event ends in the body.
    ends: Vec<usize>,
    /// The position of the sink after the last of them.
    position: u64,
}

impl Batch {
    fn new() -> Self {
        Self {
            channel: Uuid::new_v4(),
            body: Vec::new(),
            ends: Vec::new(),
            position: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn event(&self, number: usize) -> &[u8] {
        let end = self.ends.get(number).copied().unwrap_or_default();
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        self.body
            .get(start.copied().unwrap_or_default()..end)
            .unwrap_or_default()
    }

    /// The events with these numbers, in a batch that ends at `position`.
    fn part(&self, numbers: Range<usize>, position: u64) -> Self {
        let mut part = Self {
            position,
            ..Self::new()
        };
        for number in numbers {
            part.body.extend_from_slice(self.event(number));
            part.ends.push(part.body.len());
        }
        part
    }

    /// The batch in parts, one of which is the event that is said to be bad, or in halves. Only the last one has the
    /// batch's position: only all of them together are the batch.
    fn parts(&self, bad: Option<usize>, before: u64) -> Vec<Self> {
        let count = self.ends.len();
        let cuts = match bad.filter(|bad| *bad < count) {
            Some(bad) => vec![0, bad, bad + 1, count],
            None => vec![0, count / 2, count],
        };
        let ranges = cuts.iter().zip(cuts.iter().skip(1));
        let ranges = ranges.filter(|(from, to)| from < to);
        let position = |to| if to == count { self.position } else { before };
        ranges
            .map(|(&from, &to)| self.part(from..to, position(to)))
            .collect()
    }
}

/// Sends events to an event collector, and knows which of them are safe there.
pub struct HecWriter {
    /// What follows the time in every event, up to its data.
    envelope: String,
    sourcetype: &'static str,
    batch: Batch,
    position: u64,
    batches: Sender<Batch>,
    /// Something has been taken, or the sending thread has ended with an error.
    news: Receiver<Result<(), Undelivered>>,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    acknowledged: Arc<AtomicBool>,
    stall: Stall,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl HecWriter {
    /// A writer to the collector of `settings`, which `stop` ends.
    ///
    /// # Errors
    /// The proxy, the certificates or the token cannot be used, or the system has no thread to give.
    pub fn new(
        settings: HecSettings,
        stop: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
        log: Log,
        on_refused: OnRefused,
    ) -> Result<Self> {
        let envelope = envelope(&settings)?;
        let sourcetype = settings.sourcetype;
        let (batches, to_send) = channel();
        let (tell, news) = channel();
        let taken = Arc::new(AtomicU64::new(0));
        let refused = Arc::new(AtomicU64::new(0));
        let acknowledged = Arc::new(AtomicBool::new(false));
        let courier = Courier {
            patience: settings.network.patience,
            collector: Collector::new(settings)?,
            announced: false,
            under_way: VecDeque::new(),
            asked: (Duration::ZERO, Duration::ZERO),
            unanswered: None,
            resends: 0,
            accepts: false,
            refusals: 0,
            taken: Arc::clone(&taken),
            refused: Arc::clone(&refused),
            acknowledged: Arc::clone(&acknowledged),
            tell,
            clock: Arc::clone(&clock),
            log: log.clone(),
            on_refused,
        };
        std::thread::Builder::new()
            .name("hec".to_owned())
            .spawn(move || courier.work(&to_send))
            .context("could not start a thread")?;
        Ok(Self {
            envelope,
            sourcetype,
            batch: Batch::new(),
            position: 0,
            batches,
            news,
            taken,
            refused,
            acknowledged,
            stall: Stall::new(clock.elapsed()),
            stop,
            clock,
            log,
        })
    }

    fn append(&mut self, event: &Event<'_>) {
        let body = &mut self.batch.body;
        body.push(b'{');
        if let Some(time) = event.time {
            body.extend_from_slice(b"\"time\":");
            time.append_to(body);
            body.push(b',');
        }
        body.extend_from_slice(b"\"sourcetype\":\"");
        body.extend_from_slice(event.sourcetype.unwrap_or(self.sourcetype).as_bytes());
        body.extend_from_slice(b"\",");
        body.extend_from_slice(self.envelope.as_bytes());
        body.extend_from_slice(event.data.as_bytes());
        body.extend_from_slice(b"}\n");
        self.batch.ends.push(body.len());
    }

    /// Waits for news of the sending thread, but not longer than `at_most`.
    fn wait(&mut self, at_most: Duration) -> Result<(), Undelivered> {
        match self.news.recv_timeout(at_most) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => self.check(),
            // The thread ends only after it has told why.
            Err(RecvTimeoutError::Disconnected) => Err(Undelivered::Stopped),
        }
    }
}

impl EventSink for HecWriter {
    fn write(&mut self, event: &Event<'_>) -> Result<(), Undelivered> {
        let size = event.data.len() + self.envelope.len() + ENVELOPE_BYTES;
        if self.batch.body.len() + size > BATCH_BYTES {
            self.flush()?;
        }
        self.append(event);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Undelivered> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while self.position - self.taken() >= MAX_BYTES_UNDER_WAY {
            self.wait(CHECK_INTERVAL)?;
        }
        let mut batch = std::mem::replace(&mut self.batch, Batch::new());
        self.position += batch.body.len() as u64;
        batch.position = self.position;
        // The thread ends only after it has reported an error, which the next check finds.
        let _ = self.batches.send(batch);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// One batch may be on its way.
    fn has_room(&self, unsaved: u64, events: usize, data_bytes: usize) -> bool {
        let envelopes = events * (self.envelope.len() + ENVELOPE_BYTES);
        unsaved + (data_bytes + envelopes) as u64 <= BATCH_BYTES as u64
    }

    fn check(&mut self) -> Result<(), Undelivered> {
        while let Ok(news) = self.news.try_recv() {
            news?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Undelivered::Stopped);
        }
        let taken = self.taken();
        if self
            .stall
            .is_due(taken, self.position, self.clock.elapsed())
        {
            let fields = Fields::new()
                .with("action", "wait_for_splunk")
                .with("unconfirmed_bytes", self.position - taken);
            self.log.warn(
                &fields,
                "The event collector has confirmed nothing for a minute; its queues may be full. The input waits and loses nothing.",
            );
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    fn takes_for_good(&self) -> bool {
        true
    }

    fn receipt(&self) -> &'static str {
        if self.acknowledged.load(Ordering::Relaxed) {
            "The indexers have acknowledged this page."
        } else {
            "The event collector has accepted this page."
        }
    }

    fn finish(&mut self) -> Result<(), Undelivered> {
        self.flush()
    }
}

/// The part of every event that is the same for all, with the comma before and the name of the data after it.
fn envelope(settings: &HecSettings) -> Result<String> {
    let mut envelope = String::new();
    let fields = [
        ("source", Some(&settings.source)),
        ("host", settings.host.as_ref()),
        ("index", settings.index.as_ref()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            envelope += &format!("\"{name}\":{},", serde_json::to_string(value)?);
        }
    }
    Ok(envelope + "\"event\":")
}

/// Asks the collector whether it is there and knows the token, without sending it anything.
///
/// # Errors
/// What is wrong and what to do about it.
pub fn probe(settings: HecSettings) -> Result<(), HecError> {
    let collector = Collector::new(settings).map_err(|error| HecError {
        definite: false,
        status: None,
        code: None,
        sentence: format!("{error:#}"),
    })?;
    let request = collector.request("event", Uuid::new_v4());
    match collector.exchange(request.body("")) {
        Ok(answer) => match answer.verdict() {
            // The token is looked at before the body is.
            Verdict::Done => Ok(()),
            _ if answer.reply.code == Some(NO_DATA) => Ok(()),
            _ => Err(collector.error(&answer)),
        },
        Err(problem) => Err(collector.unreachable(&problem)),
    }
}

/// Why a collector does not take events.
#[derive(Debug)]
pub struct HecError {
    /// Whether Splunk itself said no, so that only a change of configuration helps.
    pub definite: bool,
    status: Option<u16>,
    code: Option<u32>,
    /// What failed and what to do now.
    pub sentence: String,
}

impl HecError {
    fn into_undelivered(self, action: &str) -> Undelivered {
        let sentence = if self.definite {
            self.sentence
        } else {
            format!(
                "{}. Nothing is lost: the next run tries again",
                self.sentence
            )
        };
        Undelivered::Refused(Failure {
            level: Level::Error,
            fields: Fields::new()
                .with("action", action)
                .with_some("status", self.status)
                .with_some("code", self.code),
            sentence,
        })
    }
}

/// The collector's codes that are more than their status.
const NO_DATA: u32 = 5;
const BAD_EVENTS: [u32; 4] = [6, 12, 13, 15];
const ACKNOWLEDGEMENT_DISABLED: u32 = 14;
const UNKNOWN_CHANNEL: u32 = 11;

/// What the collector answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    text: String,
    code: Option<u32>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid_event: Option<usize>,
    /// Of a question for acknowledgements: by id, in text.
    acks: Option<HashMap<String, bool>>,
}

/// An answer of the collector, or of what stands before it.
struct Answer {
    status: u16,
    headers: HeaderMap,
    reply: Reply,
}

/// What an answer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The events have been accepted.
    Done,
    /// The same request may succeed later.
    Later,
    /// One event is not acceptable, if the collector tells, which.
    Event(Option<usize>),
    /// The request is too large.
    TooLarge,
    /// Only a change of configuration helps.
    No,
}

impl Answer {
    /// The one table.
    fn verdict(&self) -> Verdict {
        match (self.status, self.reply.code) {
            (200, Some(0)) => Verdict::Done,
            (400, Some(code)) if BAD_EVENTS.contains(&code) => {
                Verdict::Event(self.reply.invalid_event)
            }
            (413, _) => Verdict::TooLarge,
            // There is data in every request, so that it got lost on the way.
            (400, Some(NO_DATA)) => Verdict::Later,
            // A gateway's page has the status of success, but not the collector's words.
            (200 | 408 | 429 | 500.., _) => Verdict::Later,
            _ => Verdict::No,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.reply.text.is_empty() {
            return Ok(());
        }
        let text: String = self.reply.text.chars().take(MAX_TEXT_CHARS).collect();
        match self.reply.code {
            Some(code) => write!(f, " (code {code}, {text})"),
            None => write!(f, " ({text})"),
        }
    }
}

/// The collector as a server.
struct Collector {
    http: Client,
    base: String,
    authorization: HeaderValue,
    through: Option<String>,
    index: Option<String>,
}

impl Collector {
    fn new(settings: HecSettings) -> Result<Self> {
        let mut authorization =
            HeaderValue::try_from(format!("Splunk {}", settings.token.expose()))
                .context("the parameter hec_token holds characters that no token has")?;
        authorization.set_sensitive(true);
        let through = settings.network.through();
        Ok(Self {
            // Acknowledgements are known to one indexer; a load balancer tells by a cookie to which.
            http: settings
                .network
                .client(|builder| builder.cookie_store(true))?,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            authorization,
            through,
            index: settings.index,
        })
    }

    fn request(&self, endpoint: &str, channel: Uuid) -> RequestBuilder {
        self.http
            .post(format!("{}/services/collector/{endpoint}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CHANNEL, channel.to_string())
            .header(CONTENT_TYPE, "application/json")
    }

    fn exchange(&self, request: RequestBuilder) -> Result<Answer, NetworkProblem> {
        let response = send(request)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = read_body(response, MAX_ANSWER_BYTES, Vec::new())?;
        Ok(Answer {
            status,
            headers,
            reply: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

    fn unreachable(&self, problem: &NetworkProblem) -> HecError {
        HecError {
            definite: false,
            status: None,
            code: None,
            sentence: format!(
                "The event collector ({}) {}",
                self.base,
                problem.describe(self.through.as_deref())
            ),
        }
    }

    /// An answer that is not what was hoped for, with the remedy.
    fn error(&self, answer: &Answer) -> HecError {
        let verdict = answer.verdict();
        let remedy = match (answer.status, answer.reply.code) {
            (_, Some(NO_DATA)) => "There was data: look for a proxy or gateway that changes requests on the way".to_owned(),
            _ if verdict == Verdict::Later && answer.status == 200 => {
                "That is not a collector's answer: a proxy or gateway may have answered in its place".to_owned()
            }
            _ if verdict == Verdict::Later => "If that goes on, look at the queues of the Splunk instance that receives".to_owned(),
            (_, Some(1)) => "The token is disabled: enable it in Splunk under Settings > Data inputs > HTTP Event Collector".to_owned(),
            (_, Some(2 | 3)) => "The token did not arrive: a proxy in between may remove the Authorization header".to_owned(),
            (_, Some(4)) | (401 | 403, None) => "Splunk does not know the token: check hec_token, and that hec_url leads to the Splunk that issued it".to_owned(),
            (_, Some(7)) => match &self.index {
                Some(index) => format!("The index {index} does not exist there, or the token may not write to it: change the index of the input, or the indexes that the token allows"),
                None => "The default index of the token does not exist or is not allowed: change the token, or set the index of the input".to_owned(),
            },
            (_, Some(10 | UNKNOWN_CHANNEL)) => "The channel did not arrive whole: a proxy in between may change the header X-Splunk-Request-Channel".to_owned(),
            (404 | 405, _) => "There is no event collector at this address: hec_url leads to port 8088 by default, in Splunk Cloud to https://http-inputs-NAME.splunkcloud.com:443".to_owned(),
            (300..=399, _) => "A redirection is not followed, because it would take the token along: set hec_url to the address that it leads to".to_owned(),
            _ => "Check hec_url and the token in Splunk under Settings > Data inputs > HTTP Event Collector".to_owned(),
        };
        HecError {
            definite: verdict != Verdict::Later,
            status: Some(answer.status),
            code: answer.reply.code,
            sentence: format!(
                "The event collector ({}) answered {answer}. {remedy}",
                self.base
            ),
        }
    }
}

/// A batch that has been sent.
struct Sent {
    batch: Batch,
    proof: Proof,
}

/// What is known of a batch that has been sent.
enum Proof {
    /// It is safe.
    Done,
    /// The indexers have yet to acknowledge it, under this id, since then.
    Awaited { ack: u64, since: Duration },
}

/// The thread that sends: batches in order, each until it is taken.
struct Courier {
    collector: Collector,
    patience: Patience,
    announced: bool,
    under_way: VecDeque<Sent>,
    /// When acknowledgements are asked for next, and the pause after that.
    asked: (Duration, Duration),
    /// Why the last question for acknowledgements had no answer.
    unanswered: Option<String>,
    resends: u32,
    /// Whether any event of this run has been accepted.
    accepts: bool,
    /// Events that were refused since one was accepted.
    refusals: u32,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    acknowledged: Arc<AtomicBool>,
    tell: Sender<Result<(), Undelivered>>,
    clock: Arc<dyn Clock>,
    log: Log,
    on_refused: OnRefused,
}

impl Courier {
    /// Sends what comes, and asks for acknowledgements, until the first error or the end of the run.
    fn work(mut self, batches: &Receiver<Batch>) {
        loop {
            let next = if self.under_way.is_empty() {
                batches.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                batches.try_recv()
            };
            let done = match next {
                Ok(batch) => self.deliver(batch),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let (due, _) = self.asked;
                    if self.clock.elapsed() < due {
                        self.clock.sleep(TICK);
                        continue;
                    }
                    self.look_for_acknowledgements()
                }
            };
            if let Err(undelivered) = done {
                // Nobody listens any more when the run has been stopped.
                let _ = self.tell.send(Err(undelivered));
                return;
            }
        }
    }

    /// Sends a batch, without those of its events that the collector refuses. An event is left out only when it was
    /// refused alone: the number in a refusal, and what it says of the events before, is only where to cut.
    fn deliver(&mut self, batch: Batch) -> Result<(), Undelivered> {
        let mut refused = Vec::new();
        let mut batches = vec![batch];
        while let Some(batch) = batches.pop() {
            let answer = self.post(&batch)?;
            match answer.verdict() {
                Verdict::Event(_) | Verdict::TooLarge if batch.ends.len() == 1 => {
                    refused.push(self.refuse(&batch.body, &answer)?);
                    self.sent(batch, Proof::Done);
                }
                Verdict::Event(bad) => {
                    let parts = batch.parts(bad, self.position_before());
                    batches.extend(parts.into_iter().rev());
                }
                Verdict::TooLarge => {
                    let parts = batch.parts(None, self.position_before());
                    batches.extend(parts.into_iter().rev());
                }
                _ => self.accepted(batch, answer.reply.ack_id),
            }
        }
        for event in &refused {
            if !self.accepts {
                return Err(self.refuses_all(event.status, event.code, &event.answer));
            }
            (self.on_refused)(event);
            self.refused.fetch_add(1, Ordering::Release);
        }
        self.settle();
        Ok(())
    }

    /// The position up to which everything has been sent.
    fn position_before(&self) -> u64 {
        match self.under_way.back() {
            Some(sent) => sent.batch.position,
            None => self.taken.load(Ordering::Acquire),
        }
    }

    /// Makes a request until the collector takes it, objects to its contents, or patience ends.
    fn post(&self, batch: &Batch) -> Result<Answer, Undelivered> {
        const ACTION: &str = "send";
        let packed = gzip(&batch.body).map_err(|error| {
            Undelivered::Refused(Failure::of(ACTION, &anyhow::Error::new(error)))
        })?;
        let mut schedule = Schedule::new(self.patience);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let request = self
                .collector
                .request("event", batch.channel)
                .header(CONTENT_ENCODING, "gzip")
                .body(packed.clone());
            let (error, asked) = match self.collector.exchange(request) {
                Ok(answer) => match answer.verdict() {
                    Verdict::Later => (
                        self.collector.error(&answer),
                        asked_wait(&answer.headers, self.clock.now()),
                    ),
                    Verdict::No => {
                        return Err(self.collector.error(&answer).into_undelivered(ACTION));
                    }
                    Verdict::Done | Verdict::Event(_) | Verdict::TooLarge => return Ok(answer),
                },
                Err(problem) => {
                    let error = self.collector.unreachable(&problem);
                    if problem.kind.is_permanent() {
                        return Err(error.into_undelivered(ACTION));
                    }
                    (error, None)
                }
            };
            let Some(wait) = schedule.next(asked) else {
                return Err(error.into_undelivered(ACTION));
            };
            let fields = Fields::new()
                .with("action", ACTION)
                .with_some("status", error.status)
                .with_some("code", error.code)
                .with("attempt", attempt)
                .with("retry_in_ms", wait.as_millis());
            let sentence = format!("{}. The request will be repeated", error.sentence);
            self.log.warn(&fields, &sentence);
            self.clock.sleep(wait);
        }
    }

    /// An event that is to be left out, unless it goes on like this.
    fn refuse(&mut self, event: &[u8], answer: &Answer) -> Result<RefusedEvent, Undelivered> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            event: &'a RawValue,
        }
        let envelope: Option<Envelope<'_>> = serde_json::from_slice(event).ok();
        let data = envelope.map_or("", |envelope| envelope.event.get());
        let refused = RefusedEvent {
            data: data.to_owned(),
            status: answer.status,
            code: answer.reply.code,
            answer: answer.to_string(),
        };
        self.refusals += 1;
        if self.refusals > MAX_REFUSALS {
            return Err(self.refuses_all(refused.status, refused.code, &refused.answer));
        }
        Ok(refused)
    }

    /// Where no event is accepted, none is left out.
    fn refuses_all(&self, status: u16, code: Option<u32>, answer: &str) -> Undelivered {
        let error = HecError {
            definite: false,
            status: Some(status),
            code,
            sentence: format!(
                "The event collector ({}) refuses every event, at last with {answer}. It can hardly be the events: look for a proxy or gateway that changes requests on the way",
                self.collector.base
            ),
        };
        error.into_undelivered("send")
    }

    fn accepted(&mut self, batch: Batch, ack: Option<u64>) {
        self.accepts = true;
        self.refusals = 0;
        if !self.announced {
            self.announced = true;
            self.announce(ack.is_some());
        }
        let proof = match ack {
            None => Proof::Done,
            Some(ack) => {
                let since = self.clock.elapsed();
                if self.under_way.is_empty() {
                    self.ask_soon(since);
                }
                Proof::Awaited { ack, since }
            }
        };
        self.sent(batch, proof);
    }

    fn ask_soon(&mut self, now: Duration) {
        let (first, _) = ACKNOWLEDGE_PAUSES;
        self.asked = (now + first, first);
    }

    fn announce(&self, acknowledged: bool) {
        self.acknowledged.store(acknowledged, Ordering::Relaxed);
        let fields = Fields::new()
            .with("action", "hec_delivery")
            .with("acknowledged", acknowledged);
        let sentence = if acknowledged {
            "The token acknowledges: a page counts as safe when the indexers have acknowledged it."
        } else {
            "The token does not acknowledge: a page counts as safe when the event collector has accepted it."
        };
        self.log.info(&fields, sentence);
    }

    fn sent(&mut self, batch: Batch, proof: Proof) {
        self.under_way.push_back(Sent { batch, proof });
    }

    /// Tells how far everything is safe.
    fn settle(&mut self) {
        while let Some(safe) = self
            .under_way
            .pop_front_if(|sent| matches!(sent.proof, Proof::Done))
        {
            self.taken.store(safe.batch.position, Ordering::Release);
            let _ = self.tell.send(Ok(()));
        }
    }

    /// Asks for the acknowledgement of the oldest batch, which all others have to wait for.
    fn look_for_acknowledgements(&mut self) -> Result<(), Undelivered> {
        const ACTION: &str = "acknowledge";
        let now = self.clock.elapsed();
        let (_, pause) = self.asked;
        let Some(Sent {
            batch: Batch { channel, .. },
            proof: Proof::Awaited { ack, since },
        }) = self.under_way.front()
        else {
            return Ok(());
        };
        let (channel, ack, since) = (*channel, *ack, *since);
        let (_, longest) = ACKNOWLEDGE_PAUSES;
        self.asked = (now + pause, longest.min(pause * 2));
        let request = self
            .collector
            .request("ack", channel)
            .query(&[("channel", channel.to_string())])
            .body(serde_json::json!({ "acks": [ack] }).to_string());
        self.unanswered = match self.collector.exchange(request) {
            Ok(Answer {
                status: 200,
                reply: Reply {
                    acks: Some(acks), ..
                },
                ..
            }) => {
                if acks.get(&ack.to_string()) == Some(&true) {
                    self.acknowledge(now, |other| other == channel);
                }
                None
            }
            Ok(answer) if answer.reply.code == Some(ACKNOWLEDGEMENT_DISABLED) => {
                // The events have been accepted, and more there is not to be had any more.
                if self.acknowledged.load(Ordering::Relaxed) {
                    self.announce(false);
                }
                self.acknowledge(now, |_| true);
                None
            }
            Ok(answer) if answer.reply.code == Some(UNKNOWN_CHANNEL) => {
                return self.resend("it does not know the channel any more");
            }
            Ok(answer) if answer.verdict() == Verdict::No => {
                return Err(self.collector.error(&answer).into_undelivered(ACTION));
            }
            Ok(answer) => Some(format!("it answered {answer}")),
            Err(problem) if problem.kind.is_permanent() => {
                return Err(self
                    .collector
                    .unreachable(&problem)
                    .into_undelivered(ACTION));
            }
            Err(problem) => Some(format!("it cannot be asked: {}", problem.text)),
        };
        self.settle();
        if now.saturating_sub(since) >= ACKNOWLEDGE_LIMIT && !self.under_way.is_empty() {
            let reason = self.unanswered.take();
            return self.resend(
                reason
                    .as_deref()
                    .unwrap_or("it has not acknowledged them within 5 minutes"),
            );
        }
        Ok(())
    }

    fn acknowledge(&mut self, now: Duration, is_safe: impl Fn(Uuid) -> bool) {
        for sent in &mut self.under_way {
            if is_safe(sent.batch.channel) {
                sent.proof = Proof::Done;
            }
        }
        self.resends = 0;
        self.asked = (now, ACKNOWLEDGE_PAUSES.0);
    }

    /// Sends everything again that is not acknowledged, over new channels.
    fn resend(&mut self, reason: &str) -> Result<(), Undelivered> {
        self.resends += 1;
        let base = &self.collector.base;
        let sentence = format!(
            "The event collector ({base}) confirms no events: {reason}. A load balancer before several indexers needs sticky sessions by cookie"
        );
        if self.resends > MAX_RESENDS {
            let error = HecError {
                definite: false,
                status: None,
                code: None,
                sentence,
            };
            return Err(error.into_undelivered("acknowledge"));
        }
        let fields = Fields::new()
            .with("action", "resend")
            .with("batches", self.under_way.len());
        self.log
            .warn(&fields, &format!("{sentence}. The events are sent again"));
        for Sent { mut batch, proof } in std::mem::take(&mut self.under_way) {
            match proof {
                Proof::Done => self.sent(batch, Proof::Done),
                Proof::Awaited { .. } => {
                    batch.channel = Uuid::new_v4();
                    self.deliver(batch)?;
                }
            }
        }
        Ok(())
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
