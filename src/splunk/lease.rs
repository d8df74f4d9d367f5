//! One checkpoint that several instances share, of which one at a time may change it.
//!
//! It is an append-only log in a [`Collection`]: the newest document is the checkpoint, and says which member's run
//! holds the lease, and until when. Each document has the next number in its key, and a key can be inserted once: of
//! two runs that append at the same time one is told so and stops. That is the fence; the lease only keeps runs from
//! starting in vain. A run saves nothing after the end of its own lease by a clock that also counts while the run is
//! frozen, and nobody takes a lease over before [`TOLERANCE`] past its end, so that clocks may differ by some seconds.
//!
//! [`SharedLog`] is the log, [`Keeper`] the thread that appends for a run.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::checkpoint::{Saved, State, VERSION, file_stem, saved_at};
use super::kv_store::{Collection, Document, Inserted, KvError};
use crate::base::clock::Clock;
use crate::base::http::server_text;

/// How long a lease lasts from the moment its document was sent.
pub const LEASE: Duration = Duration::from_secs(60);

/// How long after its end a lease is taken over: more than the clocks of the members differ by.
pub const TOLERANCE: TimeDelta = TimeDelta::seconds(15);

/// What is saved is appended once the newest document is this old: what a takeover repeats at most.
pub const APPEND_EVERY: Duration = Duration::from_secs(10);

/// A lease is renewed at this age although nothing was saved; the rest of it is time for other attempts.
const RENEW_AFTER: Duration = Duration::from_secs(30);

/// The pause between two attempts to append.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// The keeper looks this often at whether there is something to do.
const TICK: Duration = Duration::from_millis(500);

/// How often somebody who waits for the keeper looks at whether the process is to stop.
const STOP_TICK: Duration = Duration::from_millis(20);

/// A run that was asked to stop waits this long for its lease to be given up.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Documents of ended leases are deleted at this age. A number must not become free while a frozen run could still
/// insert it.
const KEEP: TimeDelta = TimeDelta::hours(1);

/// So many of the newest documents are never deleted.
const KEEP_NEWEST: u64 = 3;

/// A log that was read longer ago than this is read again before it is appended to: numbers may have become free.
const LONGEST_READ_AGE: Duration = Duration::from_secs(30 * 60);

/// Who holds a lease, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The GUID of the instance.
    pub member: String,
    /// The one run of that instance.
    pub run: String,
    /// The end of the lease by that member's clock.
    pub until: DateTime<Utc>,
}

/// The newest document of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest<T> {
    /// Its checkpoint, and when it was saved.
    pub saved: Saved<T>,
    /// Whether the run has ended in good order.
    pub state: State,
    /// Whose it is.
    pub holder: Holder,
}

/// What a lease means for a run that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The last run has ended in good order.
    Free,
    /// Another run is at work.
    Held,
    /// The last run was cut off, and its lease has ended.
    CutOff,
}

impl<T> Newest<T> {
    /// What the lease means for a run of `member` that has the local lock of the input.
    #[must_use]
    pub fn standing(&self, member: &str, now: DateTime<Utc>) -> Standing {
        match self.state {
            State::Closed => Standing::Free,
            // The local lock says that the process is gone.
            State::Open if self.holder.member == member => Standing::CutOff,
            State::Open if now > self.holder.until + TOLERANCE => Standing::CutOff,
            State::Open => Standing::Held,
        }
    }
}

/// Why a run may save nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another run has appended; who, if that is known.
    Taken(Option<Holder>),
    /// The lease ended before it could be renewed: the process or the machine was frozen.
    Expired,
    /// The KV store did not take the document, and the lease has ended or no attempt makes sense.
    Unanswered(KvError),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(Some(holder)) => write!(f, "member {} has taken over", holder.member),
            Self::Taken(None) => f.write_str("another member has taken over"),
            Self::Expired => f.write_str("this run was frozen until its lease had ended"),
            Self::Unanswered(error) => error.fmt(f),
        }
    }
}

impl From<KvError> for Loss {
    fn from(error: KvError) -> Self {
        Self::Unanswered(error)
    }
}

/// The log of one input, as one run of one member uses it.
pub struct SharedLog {
    collection: Collection,
    input: String,
    stem: String,
    member: String,
    run: String,
    clock: Arc<dyn Clock>,
    /// The number of the newest known document.
    number: u64,
    /// [`Clock::uptime`] when the log was read.
    read_at: Duration,
    /// [`Clock::uptime`] at the end of the own lease, if there is one.
    lease_end: Option<Duration>,
    /// [`Clock::uptime`] at the first attempt to insert the next number, if nobody knows what came of it.
    unclear_since: Option<Duration>,
}

/// How long the lease of a document lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// For [`LEASE`].
    Lease,
    /// It ends with the document.
    Ended,
}

impl SharedLog {
    /// The log of the input with this full name in `collection`, for a run of the instance with the GUID `member`.
    #[must_use]
    pub fn new(collection: Collection, input: &str, member: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            collection,
            input: input.to_owned(),
            stem: file_stem(input),
            member: member.to_owned(),
            run: uuid::Uuid::new_v4().to_string(),
            read_at: clock.uptime(),
            clock,
            number: 0,
            lease_end: None,
            unclear_since: None,
        }
    }

    /// The instance that this run belongs to.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Reads the newest document. What it says can be old already; appending finds out.
    ///
    /// # Errors
    /// The KV store does not answer. Or the document is not one that this program understands, and the error ends with
    /// `remedy`.
    pub fn read<T: DeserializeOwned>(&mut self, remedy: &str) -> Result<Option<Newest<T>>> {
        self.read_at = self.clock.uptime();
        let (from, before) = self.keys();
        let Some(document) = self.collection.newest(&from, &before)? else {
            return Ok(None);
        };
        let key = text(&document, "_key").unwrap_or_default();
        let number = key
            .strip_prefix(&from)
            .and_then(|number| number.parse().ok());
        self.number = number.with_context(|| self.not_understood("its key", remedy))?;
        self.parse(document, remedy).map(Some)
    }

    fn parse<T: DeserializeOwned>(&self, document: Document, remedy: &str) -> Result<Newest<T>> {
        let number = |name| document.get(name).and_then(Value::as_f64);
        let version = number("version").with_context(|| self.not_understood("version", remedy))?;
        if version > f64::from(VERSION) {
            bail!(
                "the newest position of this input in the KV store has version {version}, and this program knows versions up to {VERSION}: install the newer version on this instance, too"
            );
        }
        if text(&document, "input") != Some(&self.input) {
            return Err(anyhow!(self.not_understood("input", remedy)));
        }
        let state = document.get("state").cloned().unwrap_or_default();
        let state = serde_json::from_value(state)
            .map_err(|_| anyhow!(self.not_understood("state", remedy)))?;
        let holder =
            holder(&document).with_context(|| self.not_understood("member or until", remedy))?;
        let at = text(&document, "saved_at").and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        let at = at.with_context(|| self.not_understood("saved_at", remedy))?;
        let checkpoint = serde_json::from_value(Value::Object(document))
            .with_context(|| self.not_understood("the position itself", remedy))?;
        Ok(Newest {
            saved: Saved {
                at: at.to_utc(),
                checkpoint,
            },
            state,
            holder,
        })
    }

    fn not_understood(&self, what: &str, remedy: &str) -> String {
        format!(
            "the newest document of this input in the collection {} of the KV store cannot be understood ({what}). {remedy}",
            self.collection.name()
        )
    }

    /// Takes the lease with a first document; `checkpoint` says open.
    ///
    /// # Errors
    /// Another run was quicker, or the KV store does not answer.
    pub fn begin(&mut self, checkpoint: &impl Serialize) -> Result<(), Loss> {
        if self.clock.uptime().saturating_sub(self.read_at) > LONGEST_READ_AGE {
            return Err(Loss::Expired);
        }
        self.append_for(checkpoint, Term::Lease)
    }

    /// Appends a document, which renews the lease; `checkpoint` says open.
    ///
    /// # Errors
    /// The lease is lost, or this one attempt was in vain: see [`SharedLog::holds`].
    pub fn append(&mut self, checkpoint: &impl Serialize) -> Result<(), Loss> {
        self.require_lease()?;
        self.append_for(checkpoint, Term::Lease)
    }

    /// Appends a last document, with which the lease ends.
    ///
    /// # Errors
    /// As those of [`SharedLog::append`].
    pub fn end(&mut self, checkpoint: &impl Serialize) -> Result<(), Loss> {
        self.require_lease()?;
        self.append_for(checkpoint, Term::Ended)?;
        self.prune();
        Ok(())
    }

    /// Appends a document outside a run, without taking the lease; `checkpoint` says closed.
    ///
    /// # Errors
    /// Another run was quicker, or the KV store does not answer.
    pub fn set(&mut self, checkpoint: &impl Serialize) -> Result<(), Loss> {
        self.append_for(checkpoint, Term::Ended)
    }

    /// Whether the own lease has not ended yet.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.require_lease().is_ok()
    }

    /// [`Clock::uptime`] at the end of the own lease.
    fn lease_end(&self) -> Duration {
        self.lease_end.unwrap_or_default()
    }

    /// The number that would be inserted may have been used and deleted while this process was frozen, so that the
    /// fence alone is not enough.
    fn require_lease(&self) -> Result<(), Loss> {
        match self.clock.uptime() < self.lease_end() {
            true => Ok(()),
            false => Err(Loss::Expired),
        }
    }

    fn append_for(&mut self, checkpoint: &impl Serialize, term: Term) -> Result<(), Loss> {
        loop {
            // Before the document says until when, so that the lease ends no later for us than for others.
            let sent_at = self.clock.uptime();
            let number = self.number + 1;
            let document = self.document(checkpoint, term)?;
            match self.collection.insert(&self.key(number), document) {
                Ok(Inserted::Yes) => {
                    self.take_note(number, sent_at);
                    return Ok(());
                }
                // Perhaps by an earlier attempt of our own whose answer was lost. It may say less than this one would.
                Ok(Inserted::KeyExists) => {
                    let since = self.unclear_since;
                    let found = self.collection.get(&self.key(number));
                    let Some(since) = since else {
                        return Err(Loss::Taken(found.ok().flatten().as_ref().and_then(holder)));
                    };
                    match found?.as_ref().and_then(holder) {
                        Some(holder) if holder.run == self.run => {
                            self.take_note(number, since);
                            self.require_lease()?;
                        }
                        Some(holder) => return Err(Loss::Taken(Some(holder))),
                        None => {
                            return Err(KvError::Down(
                                "it refuses a document that is there, and does not show it"
                                    .to_owned(),
                            )
                            .into());
                        }
                    }
                }
                Err(error) => {
                    self.unclear_since.get_or_insert(sent_at);
                    return Err(error.into());
                }
            }
        }
    }

    fn take_note(&mut self, number: u64, sent_at: Duration) {
        self.number = number;
        self.lease_end = Some(sent_at + LEASE);
        self.unclear_since = None;
    }

    fn document(&self, checkpoint: &impl Serialize, term: Term) -> Result<Document, Loss> {
        let now = self.clock.now();
        let until = match term {
            Term::Lease => now + LEASE,
            Term::Ended => now,
        };
        let Ok(Value::Object(mut document)) = serde_json::to_value(checkpoint) else {
            return Err(KvError::Refused("the position is no JSON object".to_owned()).into());
        };
        for (name, value) in [
            ("version", json!(VERSION)),
            ("input", json!(self.input)),
            ("saved_at", json!(saved_at(now))),
            ("member", json!(self.member)),
            ("run", json!(self.run)),
            ("until", json!(until.timestamp())),
        ] {
            document.insert(name.to_owned(), value);
        }
        Ok(document)
    }

    /// Deletes what nobody needs any more. What stays because of an error, the next run deletes.
    fn prune(&self) {
        let (from, _) = self.keys();
        let before = self.key((self.number + 1).saturating_sub(KEEP_NEWEST));
        let limit = (self.clock.now() - KEEP).timestamp();
        let _ = self.collection.delete(&from, &before, "until", limit);
    }

    /// Between these two are all keys of the log.
    fn keys(&self) -> (String, String) {
        // A colon is what follows the digits.
        (format!("{}#", self.stem), format!("{}#:", self.stem))
    }

    fn key(&self, number: u64) -> String {
        format!("{}#{number:010}", self.stem)
    }
}

fn text<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    document.get(name).and_then(Value::as_str)
}

fn holder(document: &Document) -> Option<Holder> {
    let until = document.get("until").and_then(Value::as_f64)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second does not matter, and a number beyond all times is no time"
    )]
    let until = DateTime::from_timestamp(until as i64, 0)?;
    Some(Holder {
        member: server_text(text(document, "member")?),
        run: text(document, "run")?.to_owned(),
        until,
    })
}

/// Keeps the lease of a run and appends what it saves, in a thread of its own: a reader that does not read and a KV
/// store that does not answer hold up neither each other nor the end of the process.
pub struct Keeper<T> {
    shared: Arc<Shared<T>>,
    stop: Arc<AtomicBool>,
}

struct Shared<T> {
    kept: Mutex<Kept<T>>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
}

struct Kept<T> {
    /// What the next document says.
    checkpoint: T,
    /// How often something was saved.
    saves: u64,
    /// How many of the saves the newest document has.
    appended: u64,
    /// [`Clock::uptime`] at the end of the lease that the newest document began.
    lease_end: Duration,
    /// Why the last attempt to append failed, if it did.
    trouble: Option<KvError>,
    /// Whether the next document is the last one.
    is_last: bool,
    /// How it has ended, if it has.
    ended: Option<Result<(), Loss>>,
}

impl<T: Serialize + Clone + Send + 'static> Keeper<T> {
    /// Keeps the lease that `log` has begun with `checkpoint`. When it is lost, `stop` is set, which ends whatever the
    /// run waits for.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(log: SharedLog, checkpoint: T, stop: Arc<AtomicBool>) -> Result<Self> {
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept {
                checkpoint,
                saves: 0,
                appended: 0,
                lease_end: log.lease_end(),
                trouble: None,
                is_last: false,
                ended: None,
            }),
            changed: Condvar::new(),
            clock: Arc::clone(&log.clock),
        });
        let thread = std::thread::Builder::new().name("lease".to_owned());
        let (keeping, stopping) = (Arc::clone(&shared), Arc::clone(&stop));
        thread
            .spawn(move || keeping.keep(log, &stopping))
            .context("could not start a thread")?;
        Ok(Self { shared, stop })
    }

    /// Whether the run may still save.
    ///
    /// # Errors
    /// The lease is lost.
    pub fn check(&self) -> Result<(), Loss> {
        self.shared.check(&self.shared.lock())
    }

    /// Has `checkpoint` appended in time. Waits where that is overdue, so that a takeover never repeats more.
    ///
    /// # Errors
    /// The lease is lost.
    pub fn save(&self, checkpoint: T) -> Result<(), Loss> {
        let mut kept = self.shared.lock();
        self.shared.check(&kept)?;
        kept.checkpoint = checkpoint;
        kept.saves += 1;
        while kept.appended < kept.saves && self.shared.age(&kept) >= APPEND_EVERY {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.shared.changed.notify_all();
            kept = self.shared.wait(kept, STOP_TICK);
            self.shared.check(&kept)?;
        }
        Ok(())
    }

    /// Appends `checkpoint` as the last document, with which the lease ends.
    ///
    /// # Errors
    /// The lease is lost, or the KV store does not take it in time.
    pub fn end(self, checkpoint: T) -> Result<(), Loss> {
        let mut kept = self.shared.lock();
        self.shared.check(&kept)?;
        kept.checkpoint = checkpoint;
        drop(kept);
        self.shared
            .end(|stopped_for| self.stop.load(Ordering::Relaxed) && stopped_for >= STOP_PATIENCE)
    }
}

impl<T> Drop for Keeper<T> {
    /// Gives up the lease, so that another run need not wait for its end.
    fn drop(&mut self) {
        let _ = self.shared.end(|waited| waited >= STOP_PATIENCE);
    }
}

impl<T> Shared<T> {
    /// Has the last document appended and waits for it, until `enough` says that it was waited for long enough.
    fn end(&self, enough: impl Fn(Duration) -> bool) -> Result<(), Loss> {
        let since = self.clock.uptime();
        let mut kept = self.lock();
        kept.is_last = true;
        loop {
            if let Some(ended) = &kept.ended {
                return ended.clone();
            }
            if enough(self.clock.uptime().saturating_sub(since)) {
                return Ok(());
            }
            self.changed.notify_all();
            kept = self.wait(kept, STOP_TICK);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, kept: MutexGuard<'a, Kept<T>>, limit: Duration) -> MutexGuard<'a, Kept<T>> {
        let waited = self.changed.wait_timeout(kept, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl<T: Serialize + Clone> Shared<T> {
    fn check(&self, kept: &Kept<T>) -> Result<(), Loss> {
        match &kept.ended {
            Some(Err(loss)) => Err(loss.clone()),
            _ if self.clock.uptime() < kept.lease_end => Ok(()),
            _ => Err(kept.trouble.clone().map_or(Loss::Expired, Loss::from)),
        }
    }

    /// The age of the newest document.
    fn age(&self, kept: &Kept<T>) -> Duration {
        (self.clock.uptime() + LEASE).saturating_sub(kept.lease_end)
    }

    fn keep(&self, mut log: SharedLog, stop: &AtomicBool) {
        let ended = self.append_while_it_holds(&mut log);
        if ended.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        self.lock().ended = Some(ended);
        self.changed.notify_all();
    }

    /// Appends until the last document is there, or the lease is lost.
    fn append_while_it_holds(&self, log: &mut SharedLog) -> Result<(), Loss> {
        loop {
            let (checkpoint, saves, is_last) = self.next_document();
            let appended = match is_last {
                true => log.end(&checkpoint),
                false => log.append(&checkpoint),
            };
            match appended {
                Ok(()) if is_last => return Ok(()),
                Ok(()) => {
                    let mut kept = self.lock();
                    kept.appended = saves;
                    kept.trouble = None;
                    kept.lease_end = log.lease_end();
                    drop(kept);
                    self.changed.notify_all();
                }
                Err(Loss::Unanswered(error)) if error.is_temporary() => {
                    self.lock().trouble = Some(error.clone());
                    self.clock.sleep(ATTEMPT_PAUSE);
                    if !log.holds() {
                        return Err(error.into());
                    }
                }
                Err(loss) => return Err(loss),
            }
        }
    }

    /// Waits until a document is due. What the run saves meanwhile goes into the next one.
    fn next_document(&self) -> (T, u64, bool) {
        let mut kept = self.lock();
        loop {
            let age = self.age(&kept);
            let due = match kept.appended == kept.saves {
                true => RENEW_AFTER,
                false => APPEND_EVERY,
            };
            if kept.is_last || age >= due {
                return (kept.checkpoint.clone(), kept.saves, kept.is_last);
            }
            kept = self.wait(kept, TICK);
        }
    }
}
