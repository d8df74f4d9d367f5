//! The stand-in HTTP Event Collector: events, acknowledgements and health, for one token.
//!
//! It is stricter than Splunk's where that finds mistakes: batches come compressed and hold at most [`MAX_BATCH`]
//! bytes, an event has no keys but those that are agreed on, and a channel is a GUID. As with Splunk's, an
//! acknowledgement that was given once is forgotten, ids begin at 0 in every channel of every indexer, and a batch
//! that is refused because of one event has been taken up to that event. Every request can be answered otherwise by
//! its number.

#![expect(
    clippy::disallowed_methods,
    reason = "acknowledgements that take their time"
)]

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value, json};

use super::http::{Reply, Request, Server};

/// The only token that is let in.
pub const TOKEN: &str = "5e1f7c0a-9b64-4d2e-8a3f-c06d7b91e254";

/// The most bytes of a batch that holds more than one event.
pub const MAX_BATCH: usize = 900_000;

/// The cookie by which a balancer knows its clients again.
const COOKIE: &str = "stand-in-balancer";

/// A handle of the running stand-in, which stops with its last clone. Every method that changes the script holds
/// from the next request on and returns the handle.
#[derive(Clone)]
pub struct Hec {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<Script>,
    changed: Condvar,
}

/// What becomes of one request instead of the right thing.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is reset before anything was read.
    HangUp,
    /// Nothing is taken, and this is the answer.
    Instead(Reply),
    /// The right thing is done, and this is the answer.
    After(Reply),
    /// The right thing is done, and so many bytes of the right answer are sent.
    Cut(usize),
}

impl Fault {
    /// The server is too busy to take anything now, and names no long wait.
    pub fn busy() -> Self {
        Self::Instead(refusal(9, None).header("Retry-After", 0))
    }

    /// What was sent is taken, and the connection is reset.
    pub fn lost_reply() -> Self {
        Self::After(Reply::reset())
    }

    /// What was sent is taken, and nothing is answered.
    pub fn silence() -> Self {
        Self::After(Reply::stall())
    }

    /// Whether the client learns what became of what it sent.
    fn tells(&self) -> bool {
        matches!(self, Self::HangUp | Self::Instead(_))
    }
}

/// An event as it was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The very bytes that stood for `event`.
    pub event: String,
    /// The very digits that stood for `time`.
    pub time: Option<String>,
    pub source: String,
    pub sourcetype: String,
    pub host: Option<String>,
    pub index: Option<String>,
    /// The number of its batch in [`Hec::batches`].
    pub batch: usize,
}

/// A batch of which at least one event was taken.
#[derive(Clone, Debug)]
pub struct Batch {
    pub channel: String,
    pub bytes: usize,
    /// Events that were sent, of which fewer may have been taken.
    pub sent: usize,
    /// The client was told that its events are safe: by the reply, or with acknowledgements by one of those.
    pub confirmed: bool,
}

#[derive(Default)]
struct Script {
    acknowledges: bool,
    polls_before_ack: usize,
    ack_after: Duration,
    withheld_from: Option<usize>,
    only_counts: bool,
    /// None is one indexer without a balancer.
    balancer: Option<Balancer>,
    indexers: Vec<HashMap<String, Channel>>,
    event_faults: HashMap<usize, Fault>,
    ack_faults: HashMap<usize, Fault>,
    event_refusal: Option<u64>,
    ack_refusal: Option<u64>,
    poisons: Vec<Poison>,
    takes_none_before_a_refusal: bool,
    numbers_from: usize,
    max_content: Option<usize>,
    hangs_up_beyond: Option<usize>,
    refused_posts: Range<usize>,
    /// When each request was taken that was only counted.
    counted: Vec<Instant>,
    indexes: Option<Vec<String>>,
    posts: usize,
    polls: usize,
    batches: Vec<Batch>,
    taken: Vec<Taken>,
}

struct Balancer {
    sticky: bool,
    turns: Vec<usize>,
    turn: usize,
}

/// What an indexer knows of a channel.
#[derive(Default)]
struct Channel {
    next_id: u64,
    pending: HashMap<u64, Pending>,
}

/// A batch that is not acknowledged.
struct Pending {
    batch: usize,
    polls_left: usize,
    since: Instant,
}

struct Poison {
    mark: String,
    code: u64,
    tells_number: bool,
    /// How often it is refused alone before it is accepted.
    patience: usize,
}

/// One object of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<'a> {
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    source: String,
    sourcetype: String,
    host: Option<String>,
    index: Option<String>,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    acks: Vec<u64>,
}

impl Hec {
    /// A collector for [`TOKEN`], which acknowledges nothing.
    pub fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let (gate, handler) = (shared.clone(), shared.clone());
        let server = Server::guarded(
            move |line| gate.lets_in(line),
            move |request| handler.answer(request),
        );
        let hec = Self {
            shared,
            server: Arc::new(server),
        };
        hec.with(|script| script.indexers = vec![HashMap::new()])
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    fn with(&self, change: impl FnOnce(&mut Script)) -> Self {
        change(&mut self.script());
        self.clone()
    }

    /// Whether batches are acknowledged: the token's `useACK`.
    pub fn acknowledge(&self, acknowledges: bool) -> Self {
        self.with(|script| script.acknowledges = acknowledges)
    }

    /// How often is asked in vain for the acknowledgement of a batch that is sent from now on; 0 at first.
    pub fn polls_before_ack(&self, polls: usize) -> Self {
        self.with(|script| script.polls_before_ack = polls)
    }

    /// How long the indexers take to acknowledge a batch; not at all at first.
    pub fn ack_after(&self, time: Duration) -> Self {
        self.with(|script| script.ack_after = time)
    }

    /// Acknowledges no batch from number `from` in [`Hec::batches`] on, until `None` lifts it.
    pub fn withhold_acks(&self, from: impl Into<Option<usize>>) -> Self {
        self.with(|script| script.withheld_from = from.into())
    }

    /// Several indexers behind one address, each with channels of its own, which get the requests in these turns, again
    /// and again. A `sticky` balancer keeps a client, which it knows by its cookie, at the one that it came to first.
    pub fn indexers(&self, turns: &[usize], sticky: bool) -> Self {
        self.with(|script| {
            let count = turns.iter().max().map_or(0, |most| most + 1);
            script.indexers = (0..count).map(|_| HashMap::new()).collect();
            script.balancer = Some(Balancer {
                sticky,
                turns: turns.to_vec(),
                turn: 0,
            });
        })
    }

    /// Never acknowledges what it has not acknowledged by now, although it knows the channels.
    pub fn forget_acks(&self) -> Self {
        self.with(|script| {
            let channels = script.indexers.iter_mut().flat_map(HashMap::values_mut);
            channels.for_each(|channel| channel.pending.clear());
        })
    }

    /// Knows no channel any more, as after a restart.
    pub fn restart(&self) -> Self {
        self.with(|script| script.indexers.iter_mut().for_each(HashMap::clear))
    }

    /// What becomes of the `nth` request with events, counted from 1 since the start.
    pub fn fault(&self, nth: usize, fault: Fault) -> Self {
        self.with(|script| drop(script.event_faults.insert(nth, fault)))
    }

    /// [`Hec::fault`] for questions about acknowledgements.
    pub fn fault_on_ack(&self, nth: usize, fault: Fault) -> Self {
        self.with(|script| drop(script.ack_faults.insert(nth, fault)))
    }

    /// Refuses every request with events with this code; `None` lifts it.
    pub fn refuse(&self, code: impl Into<Option<u64>>) -> Self {
        self.with(|script| script.event_refusal = code.into())
    }

    /// [`Hec::refuse`] for questions about acknowledgements.
    pub fn refuse_acks(&self, code: impl Into<Option<u64>>) -> Self {
        self.with(|script| script.ack_refusal = code.into())
    }

    /// Refuses events that contain `mark` with this code, and if it `tells_number` says which of the batch it was.
    pub fn poison(&self, mark: &str, code: u64, tells_number: bool) -> Self {
        let mark = mark.to_owned();
        self.with(|script| {
            script.poisons.push(Poison {
                mark,
                code,
                tells_number,
                patience: usize::MAX,
            });
        })
    }

    /// Accepts an event that is refused because of [`Hec::poison`] and `mark` after it was refused alone so often.
    pub fn pardon_after(&self, mark: &str, refusals: usize) -> Self {
        self.with(|script| {
            let mut poisons = script.poisons.iter_mut();
            poisons.find(|it| it.mark == mark).unwrap().patience = refusals;
        })
    }

    /// Takes nothing of a batch in which an event is refused. Splunk takes what stands before it.
    pub fn takes_none_before_a_refusal(&self) -> Self {
        self.with(|script| script.takes_none_before_a_refusal = true)
    }

    /// The number that a refusal gives the first event of a batch; 0 at first, as Splunk does.
    pub fn numbers_from(&self, first: usize) -> Self {
        self.with(|script| script.numbers_from = first)
    }

    /// The most bytes of a batch, beyond which the answer is 413.
    pub fn max_content(&self, bytes: usize) -> Self {
        self.with(|script| script.max_content = Some(bytes))
    }

    /// The most bytes of a batch, beyond which the connection is closed without an answer.
    pub fn hangs_up_beyond(&self, bytes: usize) -> Self {
        self.with(|script| script.hangs_up_beyond = Some(bytes))
    }

    /// Refuses the requests with these numbers, whatever they hold, in the words for a malformed event, as Fluent Bit
    /// does while it is overloaded.
    pub fn overloaded(&self, posts: Range<usize>) -> Self {
        self.with(|script| script.refused_posts = posts)
    }

    /// The indexes that the token may write to; an event that names no index goes to the default one.
    pub fn indexes(&self, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.with(|script| script.indexes = Some(names))
    }

    /// Takes batches as they come and looks at none of them, for a benchmark that must not measure the stand-in; see
    /// [`Hec::count`].
    pub fn only_count(&self) -> Self {
        self.with(|script| script.only_counts = true)
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every event that was taken, in order, as often as it was.
    pub fn taken(&self) -> Vec<Taken> {
        self.script().taken.clone()
    }

    /// The bytes of every event that was taken.
    pub fn events(&self) -> Vec<String> {
        let script = self.script();
        script.taken.iter().map(|it| it.event.clone()).collect()
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.script().batches.clone()
    }

    /// Events of all requests so far, taken or not.
    pub fn count(&self) -> usize {
        let requests = self.server.requests();
        let batches = requests.iter().filter(|it| !it.path.ends_with("/ack"));
        let count = |request: &Request| {
            let body = unzip(&request.body);
            Deserializer::from_slice(&body)
                .into_iter::<IgnoredAny>()
                .map(Result::unwrap)
                .count()
        };
        batches.map(count).sum()
    }

    /// How many requests with events there were, in whatever way they ended.
    pub fn posts(&self) -> usize {
        self.script().posts
    }

    /// How many questions about acknowledgements there were.
    pub fn polls(&self) -> usize {
        self.script().polls
    }

    /// Every request that was read, refused ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Returns as soon as there were `n` requests with events, each as far as it gets, and panics if there are not by
    /// the deadline.
    #[track_caller]
    pub fn wait_for_posts(&self, n: usize, deadline: Duration) {
        self.wait(&format!("{n} batches"), deadline, |it| it.posts >= n);
    }

    /// Likewise for questions about acknowledgements.
    #[track_caller]
    pub fn wait_for_polls(&self, n: usize, deadline: Duration) {
        self.wait(&format!("{n} polls"), deadline, |it| it.polls >= n);
    }

    #[track_caller]
    fn wait(&self, what: &str, deadline: Duration, enough: impl Fn(&Script) -> bool) {
        let more = |script: &mut Script| !enough(script);
        let changed = &self.shared.changed;
        let (script, timeout) = changed
            .wait_timeout_while(self.script(), deadline, more)
            .unwrap();
        let (posts, polls) = (script.posts, script.polls);
        drop(script);
        assert!(
            !timeout.timed_out(),
            "{what} expected within {deadline:?}, there are {posts} batches and {polls} polls"
        );
    }
}

/// What a path is for.
#[derive(Clone, Copy, PartialEq)]
enum Door {
    Event,
    Ack,
    Health,
}

impl Door {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/services/collector/event" | "/services/collector" => Some(Self::Event),
            "/services/collector/ack" => Some(Self::Ack),
            "/services/collector/health" => Some(Self::Health),
            _ => None,
        }
    }
}

impl Shared {
    /// Looks whether a request is to be read at all.
    fn lets_in(&self, line: &str) -> bool {
        let target = line.split(' ').nth(1).unwrap_or_default();
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let mut script = self.script.lock().unwrap();
        let hangs_up =
            |faults: &HashMap<usize, Fault>, nth| matches!(faults.get(&nth), Some(Fault::HangUp));
        let refused = match Door::of(path) {
            Some(Door::Event) if hangs_up(&script.event_faults, script.posts + 1) => {
                script.posts += 1;
                true
            }
            Some(Door::Ack) if hangs_up(&script.ack_faults, script.polls + 1) => {
                script.polls += 1;
                true
            }
            _ => false,
        };
        self.changed.notify_all();
        !refused
    }

    fn answer(&self, request: &Request) -> Reply {
        let Some(door) = Door::of(&request.path) else {
            return Reply::json(
                404,
                json!({"text": "The requested URL was not found on this server.", "code": 404}),
            );
        };
        if door == Door::Health {
            return Reply::json(200, json!({"text": "HEC is healthy", "code": 17}));
        }
        assert_eq!(request.method, "POST");
        let agent = request.header("user-agent").unwrap_or_default();
        let is_ours = agent == concat!("ds_monitor/", env!("CARGO_PKG_VERSION"));
        assert!(is_ours, "user agent {agent}");
        let mut script = self.script.lock().unwrap();
        if script.only_counts {
            return script.count(door, request);
        }
        drop(script);
        // What is malformed panics here, where nothing is locked.
        let body = match door {
            Door::Event => unpack(request),
            _ => request.body.clone(),
        };
        let body = String::from_utf8(body).unwrap();
        let sent = match door {
            Door::Event => read_batch(&body),
            _ => vec![],
        };
        script = self.script.lock().unwrap();
        let reply = match door {
            Door::Event => script.receive(request, &sent, body.len()),
            _ => script.tell(request, &body),
        };
        drop(script);
        self.changed.notify_all();
        reply
    }
}

/// The body of a request with events, which is compressed unless it is empty.
fn unpack(request: &Request) -> Vec<u8> {
    if request.body.is_empty() {
        return vec![];
    }
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    unzip(&request.body)
}

fn unzip(body: &[u8]) -> Vec<u8> {
    let mut unzipped = Vec::new();
    GzDecoder::new(body).read_to_end(&mut unzipped).unwrap();
    unzipped
}

/// The objects of a batch, one after the other.
fn read_batch(body: &str) -> Vec<Sent<'_>> {
    let objects = Deserializer::from_str(body).into_iter::<Sent<'_>>();
    let sent: Vec<_> = objects.map(|object| object.unwrap()).collect();
    assert!(
        body.len() <= MAX_BATCH || sent.len() == 1,
        "{} events in {} bytes",
        sent.len(),
        body.len()
    );
    // Vector gives an event without a time the time of the one before it.
    let mixed = sent
        .windows(2)
        .any(|two| two[0].time.is_some() && two[1].time.is_none());
    assert!(!mixed, "an event without a time behind one with a time");
    for time in sent.iter().filter_map(|it| it.time) {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = time.get().split_once('.').unwrap_or((time.get(), "0"));
        assert!(
            !whole.is_empty() && !fraction.is_empty() && is_number(whole) && is_number(fraction),
            "{time} as a time"
        );
    }
    sent
}

/// Whether a client's credentials are right; otherwise the code.
fn authorize(request: &Request) -> Result<(), u64> {
    let header = request.header("authorization").ok_or(2_u64)?;
    let token = header.strip_prefix("Splunk ").ok_or(3_u64)?;
    if token == TOKEN { Ok(()) } else { Err(4) }
}

fn is_guid(text: &str) -> bool {
    let mut characters = text.char_indices();
    text.len() == 36
        && characters.all(|(at, character)| match at {
            8 | 13 | 18 | 23 => character == '-',
            _ => character.is_ascii_hexdigit(),
        })
}

/// A refusal as Splunk writes it.
pub fn refusal(code: u64, event: Option<usize>) -> Reply {
    let (status, text) = match code {
        1 => (403, "Token disabled"),
        2 => (401, "Token is required"),
        3 => (401, "Invalid authorization"),
        4 => (403, "Invalid token"),
        5 => (400, "No data"),
        6 => (400, "Invalid data format"),
        7 => (400, "Incorrect index"),
        8 => (500, "Internal server error"),
        9 => (503, "Server is busy"),
        10 => (400, "Data channel is missing"),
        11 => (400, "Invalid data channel"),
        12 => (400, "Event field is required"),
        13 => (400, "Event field cannot be blank"),
        14 => (400, "ACK is disabled"),
        15 => (400, "Error in handling indexed fields"),
        16 => (400, "Query string authorization is not enabled"),
        _ => panic!("there is no code {code}"),
    };
    let mut body = json!({"text": text, "code": code});
    if let Some(event) = event {
        body["invalid-event-number"] = event.into();
    }
    Reply::json(status, body)
}

impl Script {
    /// The indexer that gets this request, and the cookie by which it gets the next one too.
    fn route(&mut self, request: &Request) -> (usize, Option<String>) {
        let Some(balancer) = &mut self.balancer else {
            return (0, None);
        };
        let cookies = request.header("cookie").unwrap_or_default();
        let mut cookies = cookies.split("; ").filter_map(|it| it.split_once('='));
        let known = cookies.find(|(name, _)| *name == COOKIE);
        match known.and_then(|(_, value)| value.parse().ok()) {
            Some(indexer) if balancer.sticky => (indexer, None),
            _ => {
                let indexer = balancer.turns[balancer.turn % balancer.turns.len()];
                balancer.turn += 1;
                let cookie = format!("{COOKIE}={indexer}; Path=/; HttpOnly");
                (indexer, balancer.sticky.then_some(cookie))
            }
        }
    }

    fn receive(&mut self, request: &Request, sent: &[Sent<'_>], bytes: usize) -> Reply {
        self.posts += 1;
        let fault = self.event_faults.remove(&self.posts);
        if let Some(Fault::Instead(reply)) = fault {
            return reply;
        }
        let (indexer, cookie) = self.route(request);
        let tells = fault.as_ref().is_none_or(Fault::tells);
        let reply = match self.take(request, indexer, sent, bytes, tells) {
            Ok(reply) => reply,
            Err(refusal) => refusal,
        };
        spoil(fault, with_cookie(reply, cookie))
    }

    fn take(
        &mut self,
        request: &Request,
        indexer: usize,
        sent: &[Sent<'_>],
        bytes: usize,
        tells: bool,
    ) -> Result<Reply, Reply> {
        let refuse = |code| refusal(code, None);
        authorize(request).map_err(refuse)?;
        if let Some(code) = self.event_refusal {
            return Err(refuse(code));
        }
        if self.refused_posts.contains(&self.posts) {
            return Err(refuse(6));
        }
        if self.hangs_up_beyond.is_some_and(|most| bytes > most) {
            return Err(Reply::reset());
        }
        if self.max_content.is_some_and(|most| bytes > most) {
            return Err(Reply::text(413, "text/html", "<html>Too large</html>"));
        }
        let channel = request.header("x-splunk-request-channel");
        if self.acknowledges && channel.is_none() {
            return Err(refuse(10));
        }
        let channel = channel.unwrap_or_default().to_owned();
        if !is_guid(&channel) {
            return Err(refuse(11));
        }
        if sent.is_empty() {
            return Err(refuse(5));
        }

        let batch = self.batches.len();
        let problem = sent.iter().enumerate().find_map(|(n, it)| {
            let (code, tells_number) = self.problem(it)?;
            Some((n, code, tells_number))
        });
        if sent.len() == 1 {
            let event = sent[0].event.get();
            let poisons = self.poisons.iter_mut();
            for poison in poisons.filter(|it| event.contains(&it.mark)) {
                poison.patience = poison.patience.saturating_sub(1);
            }
        }
        let before_refused = |n| {
            if self.takes_none_before_a_refusal {
                0
            } else {
                n
            }
        };
        let end = problem.map_or(sent.len(), |(n, ..)| before_refused(n));
        if end > 0 {
            self.batches.push(Batch {
                channel: channel.clone(),
                bytes,
                sent: sent.len(),
                confirmed: false,
            });
        }
        self.taken.extend(sent[..end].iter().map(|it| Taken {
            event: it.event.get().to_owned(),
            time: it.time.map(|time| time.get().to_owned()),
            source: it.source.clone(),
            sourcetype: it.sourcetype.clone(),
            host: it.host.clone(),
            index: it.index.clone(),
            batch,
        }));
        if let Some((n, code, tells_number)) = problem {
            // What stands before it may have been taken, but nothing says so.
            return Err(refusal(code, tells_number.then_some(n + self.numbers_from)));
        }
        let mut body = json!({"text": "Success", "code": 0});
        if self.acknowledges {
            let pending = Pending {
                batch,
                polls_left: self.polls_before_ack,
                since: Instant::now(),
            };
            let channel = self.indexers[indexer].entry(channel).or_default();
            channel.pending.insert(channel.next_id, pending);
            body["ackId"] = channel.next_id.into();
            channel.next_id += 1;
        } else {
            self.batches[batch].confirmed = tells;
        }
        Ok(Reply::json(200, body))
    }

    /// What is wrong with an event, and whether the answer tells its number.
    fn problem(&self, sent: &Sent<'_>) -> Option<(u64, bool)> {
        let event = sent.event.get();
        if event == "null" {
            return Some((12, true));
        }
        if event == "\"\"" {
            return Some((13, true));
        }
        if let (Some(index), Some(indexes)) = (&sent.index, &self.indexes)
            && !indexes.contains(index)
        {
            return Some((7, true));
        }
        let mut poisons = self.poisons.iter();
        let poison = poisons.find(|it| it.patience > 0 && event.contains(&it.mark))?;
        Some((poison.code, poison.tells_number))
    }

    /// Answers a question about acknowledgements.
    fn tell(&mut self, request: &Request, body: &str) -> Reply {
        self.polls += 1;
        let question: Question = serde_json::from_str(body).unwrap();
        assert!(!question.acks.is_empty(), "a question about nothing");
        let fault = self.ack_faults.remove(&self.polls);
        if let Some(Fault::Instead(reply)) = fault {
            return reply;
        }
        let (indexer, cookie) = self.route(request);
        let tells = fault.as_ref().is_none_or(Fault::tells);
        let reply = match self.acknowledgements(request, indexer, &question, tells) {
            Ok(acks) => Reply::json(200, json!({ "acks": acks })),
            Err(code) => refusal(code, None),
        };
        spoil(fault, with_cookie(reply, cookie))
    }

    fn acknowledgements(
        &mut self,
        request: &Request,
        indexer: usize,
        question: &Question,
        tells: bool,
    ) -> Result<Map<String, Value>, u64> {
        authorize(request)?;
        if let Some(code) = self.ack_refusal {
            return Err(code);
        }
        if !self.acknowledges {
            return Err(14);
        }
        let channel = request.query("channel");
        let channel = channel.or(request.header("x-splunk-request-channel"));
        let channel = self.indexers[indexer].get_mut(channel.ok_or(10_u64)?);
        let channel = channel.ok_or(11_u64)?;
        let mut acks = Map::new();
        let withheld_from = self.withheld_from.unwrap_or(usize::MAX);
        let ack_after = self.ack_after;
        for &id in &question.acks {
            let is_safe = match channel.pending.get_mut(&id) {
                Some(pending) if pending.batch >= withheld_from => false,
                Some(pending) if pending.since.elapsed() < ack_after => false,
                Some(pending) if pending.polls_left > 0 => {
                    pending.polls_left -= 1;
                    false
                }
                Some(pending) => {
                    self.batches[pending.batch].confirmed |= tells;
                    channel.pending.remove(&id);
                    true
                }
                None => false,
            };
            acks.insert(id.to_string(), is_safe.into());
        }
        Ok(acks)
    }

    /// The quick answers of [`Hec::only_count`].
    fn count(&mut self, door: Door, request: &Request) -> Reply {
        let mut body = json!({"text": "Success", "code": 0});
        if door == Door::Ack {
            self.polls += 1;
            let question: Question = serde_json::from_slice(&request.body).unwrap();
            let is_safe = |id: u64| self.counted[id as usize].elapsed() >= self.ack_after;
            let acks = question.acks.iter();
            let acks = acks.map(|id| (id.to_string(), is_safe(*id).into()));
            body = json!({ "acks": acks.collect::<Map<_, _>>() });
        } else {
            if self.acknowledges {
                body["ackId"] = self.posts.into();
            }
            self.posts += 1;
            self.counted.push(Instant::now());
        }
        Reply::json(200, body)
    }
}

fn with_cookie(reply: Reply, cookie: Option<String>) -> Reply {
    match cookie {
        Some(cookie) => reply.header("Set-Cookie", cookie),
        None => reply,
    }
}

fn spoil(fault: Option<Fault>, reply: Reply) -> Reply {
    match fault {
        None => reply,
        Some(Fault::Cut(n)) => reply.cut_after(n),
        Some(Fault::After(other) | Fault::Instead(other)) => other,
        Some(Fault::HangUp) => unreachable!("the request was not read"),
    }
}
