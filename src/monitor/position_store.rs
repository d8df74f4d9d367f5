//! Where the position of an input is kept: in a file of this instance, or in Splunk's KV store, which the members of a
//! search head cluster share and which outlives an instance of Splunk Cloud.
//!
//! The promise is one for both: what [`PositionStore::save`] has accepted is where the next run continues. In the KV
//! store that next run may be another member's, and it may repeat what was saved since the newest document there, at
//! most [`APPEND_EVERY`](crate::splunk::lease::APPEND_EVERY) of pages.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::position::{POSITION_LOST, Position};
use super::settings::{APP, POSITION_STORE, StoreChoice};
use crate::base::clock::Clock;
use crate::splunk::Session;
use crate::splunk::checkpoint::{CheckpointStore, Loaded, Saved, State};
use crate::splunk::kv_store::{Collection, Document, Inserted};
use crate::splunk::lease::{Holder, Keeper, Loss, Newest, SharedLog, Standing};
use crate::splunk::log::{Failure, Fields, Log, sentence};
use crate::splunk::rest::{Rest, RestError};

/// The collection of `default/collections.conf`.
pub const COLLECTION: &str = "ds_monitor_positions";

/// Keeps the position of an input, for the one run that has it.
pub trait PositionStore {
    /// The saved position.
    ///
    /// # Errors
    /// There is one, but it cannot be used.
    fn load(&self) -> Result<Loaded<Position>>;

    /// Begins a run at `position`, before the first request for a page; `is_new` says that it is not saved yet.
    ///
    /// # Errors
    /// It cannot be saved, or another member has begun.
    fn begin(&mut self, position: &Position, is_new: bool) -> Result<(), NotSaved>;

    /// Saves the position of what has been read or confirmed by now.
    ///
    /// # Errors
    /// It cannot be saved, or the lease of the run is lost.
    fn save(&mut self, position: &Position) -> Result<(), NotSaved>;

    /// Whether the run may still save.
    ///
    /// # Errors
    /// Its lease is lost.
    fn check(&self) -> Result<(), NotSaved>;

    /// Ends a run that has closed `position`. Dropping the store ends a run that was cut off.
    ///
    /// # Errors
    /// As those of [`PositionStore::save`].
    fn end(&mut self, position: &Position) -> Result<(), NotSaved>;

    /// What a message calls the saved position.
    fn name(&self) -> String;
}

/// Why a position was not saved.
#[derive(Debug)]
pub enum NotSaved {
    /// The run may save nothing more.
    Lost(Loss),
    /// The file system refuses.
    Failed(anyhow::Error),
}

impl From<Loss> for NotSaved {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

impl From<anyhow::Error> for NotSaved {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Where positions are kept on this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether that is the KV store.
    pub is_shared: bool,
    /// The GUID of the instance, where it is known.
    pub member: Option<String>,
}

impl Place {
    /// What `choice` means for an input on the instance of `splunkd`, with its files in `checkpoint_dir`.
    ///
    /// # Errors
    /// The instance cannot be asked, and the position may be in its KV store.
    pub fn of(
        choice: StoreChoice,
        splunkd: &Rest,
        checkpoint_dir: &Path,
        input: &str,
    ) -> Result<Self> {
        let instance = splunkd.instance();
        let is_shared = match (choice, &instance) {
            (StoreChoice::File, _) => false,
            (StoreChoice::KvStore, _) => true,
            (StoreChoice::Auto, Ok(instance)) => {
                instance.is_cluster_member() || instance.is_cloud()
            }
            (StoreChoice::Auto, Err(error)) => may_be_shared(error, checkpoint_dir, input),
        };
        let member = match &instance {
            Ok(instance) => instance.guid().map(str::to_owned),
            Err(error) if is_shared => bail!(
                "the position of this input may be in Splunk's KV store, and splunkd cannot be asked: {error}. Nothing is collected until it can, or until {} is file",
                POSITION_STORE.name
            ),
            Err(_) => None,
        };
        if is_shared && member.is_none() {
            bail!(
                "splunkd does not say the GUID of this instance, by which members tell their runs apart in the KV store"
            );
        }
        Ok(Self { is_shared, member })
    }

    /// The log of an input in the KV store; `None` where positions are kept in files.
    #[must_use]
    pub fn shared_log(
        &self,
        input: &str,
        splunkd: &Rest,
        clock: &Arc<dyn Clock>,
    ) -> Option<SharedLog> {
        let member = self.member.as_ref().filter(|_| self.is_shared)?;
        Some(SharedLog::new(
            collection(splunkd),
            input,
            member,
            Arc::clone(clock),
        ))
    }
}

/// Whether an input may have its position in the KV store although its instance does not say what it is. Collecting
/// from a file would then be collecting blindly.
fn may_be_shared(error: &RestError, checkpoint_dir: &Path, input: &str) -> bool {
    let loaded = CheckpointStore::peek::<InFile>(checkpoint_dir, input, POSITION_LOST);
    match loaded.ok().and_then(|(_, loaded)| loaded.saved()) {
        Some(saved) => saved.checkpoint.copy_of.is_some(),
        // A universal forwarder whose REST interface is off has no KV store.
        None => !matches!(error, RestError::NoSplunkd | RestError::NotListening(_)),
    }
}

fn collection(splunkd: &Rest) -> Collection {
    Collection::new(splunkd.clone(), APP, COLLECTION)
}

/// Whose turn it is.
pub enum Opening {
    /// This run's.
    Ours(Box<dyn PositionStore>),
    /// Another run is at work.
    Elsewhere(Holder),
}

/// Opens the store of an input whose local lock this process has.
///
/// # Errors
/// The KV store does not answer, or its newest document cannot be understood.
pub fn open(
    file: CheckpointStore,
    place: &Place,
    input: &str,
    splunkd: &Rest,
    session: &Session,
    log: &Log,
) -> Result<Opening> {
    let clock = Arc::clone(&session.clock);
    let Some(mut shared) = place.shared_log(input, splunkd, &clock) else {
        return Ok(Opening::Ours(Box::new(FileStore { file, clock })));
    };
    let newest = shared.read::<Position>(POSITION_LOST)?;
    if let Some(newest) = &newest {
        match newest.standing(shared.member(), clock.now()) {
            Standing::Held => return Ok(Opening::Elsewhere(newest.holder.clone())),
            Standing::CutOff if newest.holder.member != shared.member() => {
                let fields = Fields::new()
                    .with("action", "take_over")
                    .with("member_from", &newest.holder.member)
                    .with("until", time(newest.holder.until));
                log.info(
                    &fields,
                    "The run of another member was cut off, and its lease has ended. This member takes over.",
                );
            }
            Standing::CutOff | Standing::Free => {}
        }
    }
    Ok(Opening::Ours(Box::new(KvStore {
        file,
        clock,
        log: log.clone(),
        stop: Arc::clone(&session.stop),
        state: Run::Before(shared),
        newest,
    })))
}

/// Leaves the work to another run, which is at it.
///
/// # Errors
/// It is not that, but the KV store does not answer.
pub fn leave(loss: Loss, log: &Log) -> Result<()> {
    let holder = match loss {
        Loss::Taken(holder) => holder,
        Loss::Expired => None,
        Loss::Unanswered(error) => {
            return Err(Failure::of("load_checkpoint", &error.into()).into());
        }
    };
    let fields = Fields::new()
        .with("action", "skip")
        .with_some("member", holder.as_ref().map(|holder| &holder.member))
        .with_some("until", holder.as_ref().map(|holder| time(holder.until)));
    log.info(
        &fields,
        "Another member is at work for this input; this one exits.",
    );
    Ok(())
}

/// What the file of an instance holds: the position, and whether it is a copy of the one in the KV store.
#[derive(Serialize, Deserialize)]
struct InFile {
    #[serde(flatten)]
    position: Position,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copy_of: Option<CopyOf>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CopyOf {
    KvStore,
}

impl InFile {
    fn save(
        file: &CheckpointStore,
        position: &Position,
        copy_of: Option<CopyOf>,
        clock: &dyn Clock,
    ) -> Result<()> {
        let position = position.clone();
        file.save(&Self { position, copy_of }, clock.now())
    }
}

fn position(saved: Saved<InFile>) -> Saved<Position> {
    Saved {
        at: saved.at,
        checkpoint: saved.checkpoint.position,
    }
}

/// The position is in the KV store, and its copy here may be old.
fn refuse_copy(found: &InFile) -> Result<()> {
    match found.copy_of {
        None => Ok(()),
        Some(CopyOf::KvStore) => bail!(
            "the position of this input is in the KV store, and other members may have collected since this instance did. Copy it to this instance with the command reset --to kvstore, or set {} to kvstore",
            POSITION_STORE.name
        ),
    }
}

/// A file of this instance.
struct FileStore {
    file: CheckpointStore,
    clock: Arc<dyn Clock>,
}

impl PositionStore for FileStore {
    fn load(&self) -> Result<Loaded<Position>> {
        Ok(match self.file.load::<InFile>(POSITION_LOST)? {
            Loaded::None => Loaded::None,
            Loaded::Newest(saved) => {
                refuse_copy(&saved.checkpoint)?;
                Loaded::Newest(position(saved))
            }
            Loaded::Previous(saved, problem) => {
                refuse_copy(&saved.checkpoint)?;
                Loaded::Previous(position(saved), problem)
            }
        })
    }

    fn begin(&mut self, position: &Position, is_new: bool) -> Result<(), NotSaved> {
        match is_new {
            true => self.save(position),
            false => Ok(()),
        }
    }

    fn save(&mut self, position: &Position) -> Result<(), NotSaved> {
        Ok(InFile::save(&self.file, position, None, &*self.clock)?)
    }

    fn check(&self) -> Result<(), NotSaved> {
        Ok(())
    }

    fn end(&mut self, _: &Position) -> Result<(), NotSaved> {
        Ok(())
    }

    fn name(&self) -> String {
        format!("the checkpoint {}", self.file.path().display())
    }
}

/// Splunk's KV store, and a copy in a file of this instance.
struct KvStore {
    file: CheckpointStore,
    clock: Arc<dyn Clock>,
    log: Log,
    stop: Arc<AtomicBool>,
    newest: Option<Newest<Position>>,
    state: Run,
}

/// How far a run is.
enum Run {
    Before(SharedLog),
    Leased(Keeper<Position>),
    Over,
}

impl KvStore {
    fn save_copy(&self, position: &Position) -> Result<()> {
        InFile::save(&self.file, position, Some(CopyOf::KvStore), &*self.clock)
    }
}

/// The position as it is kept while a run holds the lease: open, whatever there is to repeat.
fn leased(position: &Position) -> Position {
    Position {
        state: State::Open,
        cursor_before_last_records: position.start().to_owned(),
        ..position.clone()
    }
}

impl PositionStore for KvStore {
    fn load(&self) -> Result<Loaded<Position>> {
        if let Some(newest) = &self.newest {
            return Ok(Loaded::Newest(newest.saved.clone()));
        }
        let loaded = match self.file.load::<InFile>(POSITION_LOST)? {
            Loaded::None => return Ok(Loaded::None),
            Loaded::Newest(saved) => Loaded::Newest(position(saved)),
            Loaded::Previous(saved, problem) => Loaded::Previous(position(saved), problem),
        };
        self.log.info(
            &Fields::new().with("action", "adopt_position"),
            "The KV store has no position of this input yet; the one in the file of this instance moves there.",
        );
        Ok(loaded)
    }

    fn begin(&mut self, position: &Position, _: bool) -> Result<(), NotSaved> {
        let Run::Before(mut shared) = std::mem::replace(&mut self.state, Run::Over) else {
            return Err(anyhow!("a run begins once").into());
        };
        let position = leased(position);
        shared.begin(&position)?;
        self.save_copy(&position)?;
        let keeper = Keeper::start(shared, position, Arc::clone(&self.stop))?;
        self.state = Run::Leased(keeper);
        Ok(())
    }

    fn save(&mut self, position: &Position) -> Result<(), NotSaved> {
        self.check()?;
        self.save_copy(position)?;
        if let Run::Leased(keeper) = &self.state {
            keeper.save(leased(position))?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), NotSaved> {
        match &self.state {
            Run::Leased(keeper) => Ok(keeper.check()?),
            Run::Before(_) | Run::Over => Ok(()),
        }
    }

    fn end(&mut self, position: &Position) -> Result<(), NotSaved> {
        match std::mem::replace(&mut self.state, Run::Over) {
            Run::Leased(keeper) => Ok(keeper.end(position.clone())?),
            Run::Before(_) | Run::Over => Ok(()),
        }
    }

    fn name(&self) -> String {
        "the position of this input in the KV store".to_owned()
    }
}

/// What a person sees of a store.
pub(super) struct Look {
    /// Labels and texts that say where it is.
    pub(super) lines: Vec<(&'static str, String)>,
    /// What is odd, in sentences.
    pub(super) attention: Vec<String>,
    /// The saved position, if there is one.
    pub(super) saved: Option<Saved<Position>>,
}

/// Looks at the position of an input without changing anything.
///
/// # Errors
/// There is one, but it cannot be read.
pub(super) fn look(
    checkpoint_dir: &Path,
    input: &str,
    choice: StoreChoice,
    splunkd: &Rest,
    clock: &Arc<dyn Clock>,
) -> Result<Look> {
    let place = Place::of(choice, splunkd, checkpoint_dir, input)?;
    let (mut lines, mut attention) = (Vec::new(), Vec::new());
    if let Some(mut shared) = place.shared_log(input, splunkd, clock) {
        lines.push(("Store", format!("the KV store, collection {COLLECTION}")));
        if let Some(newest) = shared.read::<Position>(POSITION_LOST)? {
            lines.push(("Lease", lease_of(&newest, shared.member(), clock.now())));
            return Ok(Look {
                lines,
                attention,
                saved: Some(newest.saved),
            });
        }
        lines.push((
            "Lease",
            "none yet: the first run moves the position of this file to the KV store".to_owned(),
        ));
    }
    let (path, loaded) = CheckpointStore::peek::<InFile>(checkpoint_dir, input, POSITION_LOST)?;
    lines.push(("File", path.display().to_string()));
    let saved = match loaded {
        Loaded::None => None,
        Loaded::Newest(saved) => Some(saved),
        Loaded::Previous(saved, problem) => {
            attention.push(sentence(&format!("{problem}. Using the previous copy")));
            Some(saved)
        }
    };
    if let Some(saved) = saved.as_ref().filter(|_| !place.is_shared)
        && let Err(problem) = refuse_copy(&saved.checkpoint)
    {
        attention.push(sentence(&problem.to_string()));
    }
    let saved = saved.map(position);
    Ok(Look {
        lines,
        attention,
        saved,
    })
}

fn lease_of(newest: &Newest<Position>, member: &str, now: DateTime<Utc>) -> String {
    let holder = &newest.holder;
    let whose = match holder.member == member {
        true => "this instance".to_owned(),
        false => format!("member {}", holder.member),
    };
    let until = time(holder.until);
    match (newest.state, holder.until > now) {
        (State::Closed, _) => format!("free; {whose} ended its run at {until}"),
        (State::Open, true) => format!("held by {whose} until {until}"),
        (State::Open, false) => format!("of {whose}, which was cut off; it ended at {until}"),
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Sets the position of an input that no run has, and returns where a backup of the old one is.
///
/// # Errors
/// A member is running the input, or the position cannot be saved.
pub(super) fn set(
    file: &CheckpointStore,
    place: &Place,
    input: &str,
    splunkd: &Rest,
    clock: &Arc<dyn Clock>,
    position: &Position,
) -> Result<Option<PathBuf>> {
    let now = clock.now();
    let Some(mut shared) = place.shared_log(input, splunkd, clock) else {
        let backup = file.back_up(now)?;
        InFile::save(file, position, None, &**clock)?;
        return Ok(backup);
    };
    // What cannot be understood is what a reset is for.
    let newest = shared.read::<serde_json::Value>(POSITION_LOST)?;
    if let Some(newest) = newest {
        require_idle(&newest, shared.member(), now)?;
        if let Ok(old) = serde_json::from_value(newest.saved.checkpoint) {
            InFile::save(file, &old, Some(CopyOf::KvStore), &**clock)?;
        }
    }
    let backup = file.back_up(now)?;
    shared
        .set(position)
        .map_err(|loss| anyhow!("the position was not set: {loss}"))?;
    InFile::save(file, position, Some(CopyOf::KvStore), &**clock)?;
    Ok(backup)
}

/// The position that the KV store has, for an input that is to keep it in a file from now on.
///
/// # Errors
/// A member is running the input, or there is no position.
pub(super) fn leave_kv_store(
    place: &Place,
    input: &str,
    splunkd: &Rest,
    clock: &Arc<dyn Clock>,
) -> Result<Position> {
    if place.is_shared {
        bail!(
            "the position of this input is kept in the KV store: first set {} to file",
            POSITION_STORE.name
        );
    }
    let shared = Place {
        is_shared: true,
        member: place.member.clone(),
    };
    let mut shared = shared
        .shared_log(input, splunkd, clock)
        .context("there is no splunkd here that could be asked for its KV store")?;
    let newest = shared
        .read::<Position>(POSITION_LOST)?
        .context("the KV store has no position of this input")?;
    require_idle(&newest, shared.member(), clock.now())?;
    Ok(newest.saved.checkpoint)
}

fn require_idle<T>(newest: &Newest<T>, member: &str, now: DateTime<Utc>) -> Result<()> {
    match newest.standing(member, now) {
        Standing::Free | Standing::CutOff => Ok(()),
        Standing::Held => bail!(
            "member {} is running the input, until {} at least: disable the input first, and enable it again afterwards",
            newest.holder.member,
            time(newest.holder.until)
        ),
    }
}

/// Tries everything that a run needs of its store, and says where it is.
///
/// # Errors
/// What does not work, and what to do.
pub(super) fn check(place: &Place, splunkd: &Rest) -> Result<String> {
    if !place.is_shared {
        return Ok("kept in a file of this instance".to_owned());
    }
    let collection = collection(splunkd);
    let key = format!("check#{}", uuid::Uuid::new_v4());
    collection.insert(&key, Document::new())?;
    let again = collection.insert(&key, Document::new());
    collection.remove(&key)?;
    match again? {
        Inserted::KeyExists => Ok(format!(
            "kept in the KV store; its collection {COLLECTION} can be written to, and takes a key only once"
        )),
        Inserted::Yes => bail!(
            "the collection {COLLECTION} of the KV store takes the same key twice, so members could not agree on who collects. Set {} to file, and enable the input on one instance only",
            POSITION_STORE.name
        ),
    }
}
