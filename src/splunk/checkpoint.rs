//! One checkpoint per stanza: a small JSON file in the folder that splunkd gives us, and the lock that goes with it.
//!
//! It is replaced whole or not at all, the previous copy is kept, and nothing that cannot be read is ever taken for
//! "nothing there". What a checkpoint contains, and what to do when it is lost, is the caller's to say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::durable::{Folder, Lock};

/// The version that is written, and the newest that is understood.
pub(super) const VERSION: u32 = 1;

/// A checkpoint is under 2 kB; cursors are short.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Characters of a stanza's name that its file name keeps; the hash distinguishes longer ones.
const MAX_NAME_CHARS: usize = 64;

/// Whether the last run may have left something to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A run is at work, or was cut off while it was.
    Open,
    /// Nothing before the position can be lost any more.
    Closed,
}

/// The checkpoint of one stanza, locked for this process.
#[derive(Debug)]
pub struct CheckpointStore {
    files: Files,
    lock: Lock,
}

/// What came of asking for the lock of a stanza.
#[derive(Debug)]
pub enum Opened {
    /// It is this process's now.
    Locked(CheckpointStore),
    /// Another process has it, and has saved nothing since this time.
    Busy(Option<DateTime<Utc>>),
}

/// The files of a stanza's checkpoint, by their names in the folder.
#[derive(Debug)]
struct Files {
    folder: Folder,
    name: String,
    previous: String,
    lock: String,
    input: String,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// No checkpoint: the first run of this stanza.
    None,
    /// The newest one.
    Newest(Saved<T>),
    /// The previous one, because the newest cannot be used; the text says why.
    Previous(Saved<T>, String),
}

impl<T> Loaded<T> {
    /// The checkpoint that can be used, if there is one.
    #[must_use]
    pub fn saved(self) -> Option<Saved<T>> {
        match self {
            Self::None => None,
            Self::Newest(saved) | Self::Previous(saved, _) => Some(saved),
        }
    }
}

/// A checkpoint as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved<T> {
    /// When it was saved, in UTC.
    pub at: DateTime<Utc>,
    /// What was saved.
    pub checkpoint: T,
}

/// The file. Its form is a promise: an older program must refuse a newer file, not misread it.
#[derive(Serialize, Deserialize)]
struct Document<T> {
    version: u32,
    input: String,
    saved_at: String,
    #[serde(flatten)]
    checkpoint: T,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Header {
    version: u32,
    input: String,
}

impl CheckpointStore {
    /// Takes the lock of the input with this full name, `<kind>://<name>`, in `folder` at the time `now`.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn try_open(folder: &Path, input: &str, now: DateTime<Utc>) -> Result<Opened> {
        let files = Files::of(folder, input)?;
        let Some(lock) = files.folder.try_lock(&files.lock)? else {
            let times = [
                files.folder.modified(&files.lock)?,
                files.folder.modified(&files.name)?,
            ];
            let newest = times.into_iter().flatten().max();
            return Ok(Opened::Busy(newest.map(DateTime::from)));
        };
        lock.note_time(now.into());
        Ok(Opened::Locked(Self { files, lock }))
    }

    /// Reads a checkpoint without taking its lock, only to show it.
    ///
    /// # Errors
    /// As those of [`CheckpointStore::load`].
    pub fn peek<T: DeserializeOwned>(
        folder: &Path,
        input: &str,
        remedy: &str,
    ) -> Result<(PathBuf, Loaded<T>)> {
        let files = Files::of(folder, input)?;
        let loaded = files.load(remedy)?;
        Ok((files.path(), loaded))
    }

    /// Copies the checkpoint to a file beside it whose name contains the time; `None` when there is none.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn back_up(&self, now: DateTime<Utc>) -> Result<Option<PathBuf>> {
        let Files { folder, name, .. } = &self.files;
        if folder.modified(name)?.is_none() {
            return Ok(None);
        }
        let backup = format!("{name}.backup-{}", now.format("%Y%m%dT%H%M%S%.3fZ"));
        folder
            .copy(folder, name, &backup)
            .context("could not write the backup")?;
        Ok(Some(folder.path(&backup)))
    }

    /// Where the checkpoint is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.files.path()
    }

    /// Reads the newest checkpoint that can be used.
    ///
    /// # Errors
    /// There is one, but it is another input's or of a newer version, or neither copy can be read; then the error ends
    /// with `remedy`.
    pub fn load<T: DeserializeOwned>(&self, remedy: &str) -> Result<Loaded<T>> {
        self.files.load(remedy)
    }

    /// Saves `checkpoint`, so that it survives a crash and a power cut from the moment of the return. The one before it
    /// is kept as the previous copy, unless it is damaged: then the previous copy is the only one that can be read.
    ///
    /// # Errors
    /// The file system refuses; the previous checkpoint is then still there.
    pub fn save<T: Serialize + DeserializeOwned>(
        &self,
        checkpoint: &T,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let document = Document {
            version: VERSION,
            input: self.files.input.clone(),
            saved_at: saved_at(now),
            checkpoint,
        };
        let mut bytes = serde_json::to_vec_pretty(&document).context("could not print JSON")?;
        bytes.push(b'\n');
        let Files {
            folder,
            name,
            previous,
            lock,
            ..
        } = &self.files;
        // Without its lock file another process may be writing to the same checkpoint by now.
        if !folder.is_locked_by(&self.lock, lock) {
            bail!(
                "the lock file {} was removed while this process was running, so another one may be running too: let the next run continue, and remove no lock files",
                folder.path(lock).display()
            );
        }
        let saved = match self.files.read::<T>(name) {
            Err(Unusable::Damaged(_)) => folder.replace_with(name, &bytes),
            _ => folder.replace_keeping(name, previous, &bytes),
        };
        saved.context("could not save the checkpoint")
    }
}

impl Files {
    fn of(folder: &Path, input: &str) -> Result<Self> {
        if folder.as_os_str().is_empty() {
            bail!("Splunk's configuration names no checkpoint_dir");
        }
        let name = format!("{}.json", file_stem(input));
        Ok(Self {
            folder: Folder::open(folder)?,
            previous: format!("{name}.previous"),
            lock: format!("{name}.lock"),
            name,
            input: input.to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path(&self.name)
    }

    fn load<T: DeserializeOwned>(&self, remedy: &str) -> Result<Loaded<T>> {
        let (is_there, problem) = match self.read(&self.name) {
            Ok(Some(saved)) => return Ok(Loaded::Newest(saved)),
            Ok(None) => (false, format!("{} is missing", self.path().display())),
            Err(Unusable::Foreign(error) | Unusable::Unread(error)) => return Err(error),
            Err(Unusable::Damaged(error)) => (true, format!("{error:#}")),
        };
        match self.read(&self.previous) {
            Ok(Some(saved)) => Ok(Loaded::Previous(saved, problem)),
            Ok(None) if !is_there => Ok(Loaded::None),
            Ok(None) => bail!("{problem}, and there is no previous copy. {remedy}"),
            Err(Unusable::Foreign(error) | Unusable::Unread(error)) => Err(error),
            Err(Unusable::Damaged(error)) => bail!("{problem}, and {error:#}. {remedy}"),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Saved<T>>, Unusable> {
        let read = self.folder.read(name, MAX_FILE_BYTES);
        let Some(bytes) = read.map_err(Unusable::Unread)? else {
            return Ok(None);
        };
        let path = self.folder.path(name);
        let damaged = || format!("the checkpoint {} is damaged", path.display());
        let header: Header = serde_json::from_slice(&bytes)
            .with_context(damaged)
            .map_err(Unusable::Damaged)?;
        if header.version > VERSION {
            return Err(Unusable::Foreign(anyhow::anyhow!(
                "the checkpoint {} has version {}, and this program knows versions up to {VERSION}: install the newer version again",
                path.display(),
                header.version,
            )));
        }
        if header.input != self.input {
            return Err(Unusable::Foreign(anyhow::anyhow!(
                "the checkpoint {} belongs to the input {}, not to {}: move it away",
                path.display(),
                header.input,
                self.input,
            )));
        }
        let document: Document<T> = serde_json::from_slice(&bytes)
            .with_context(damaged)
            .map_err(Unusable::Damaged)?;
        let at = DateTime::parse_from_rfc3339(&document.saved_at)
            .with_context(damaged)
            .map_err(Unusable::Damaged)?;
        Ok(Some(Saved {
            at: at.to_utc(),
            checkpoint: document.checkpoint,
        }))
    }
}

/// A time as a checkpoint holds it.
pub(super) fn saved_at(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Why a file is not a usable checkpoint; only a damaged one may be replaced by the previous copy.
enum Unusable {
    Damaged(anyhow::Error),
    Foreign(anyhow::Error),
    /// Nobody knows what is in it, because the machine does not let it be read.
    Unread(anyhow::Error),
}

/// `<name with odd characters as _>-<8 hex digits of SHA-256 of the full name>`: a different name for every input
/// in files and in secure storage, although inputs' names may differ in case only or hold any character.
#[must_use]
pub fn file_stem(input: &str) -> String {
    let name = input.split_once("://").map_or(input, |(_, name)| name);
    let name: String = name
        .chars()
        .take(MAX_NAME_CHARS)
        .map(|c| match c {
            '_' | '-' => c,
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .collect();
    let hash = Sha256::digest(input.as_bytes());
    let hex: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name}-{hex}")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use chrono::{DateTime, TimeDelta, Utc};
    use serde::{Deserialize, Serialize};

    use super::{CheckpointStore, Loaded, Opened, file_stem};
    use crate::base::durable::{STEPS, Step};

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Place {
        cursor: String,
    }

    fn place(cursor: &str) -> Place {
        Place {
            cursor: cursor.to_owned(),
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_600_000_000_123).unwrap()
    }

    fn open(folder: &Path) -> CheckpointStore {
        match CheckpointStore::try_open(folder, "ds_monitor://prod", now()).unwrap() {
            Opened::Locked(store) => store,
            Opened::Busy(_) => panic!("somebody has the lock"),
        }
    }

    fn cursor(loaded: Loaded<Place>) -> String {
        match loaded {
            Loaded::None => "none".to_owned(),
            Loaded::Newest(saved) => format!("newest {}", saved.checkpoint.cursor),
            Loaded::Previous(saved, _) => format!("previous {}", saved.checkpoint.cursor),
        }
    }

    #[test]
    fn the_stored_form_does_not_change_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(&place("c1"), now()).unwrap();
        assert_eq!(
            fs::read_to_string(store.path()).unwrap(),
            "{\n  \"version\": 1,\n  \"input\": \"ds_monitor://prod\",\n  \"saved_at\": \"2020-09-13T12:26:40.123Z\",\n  \"cursor\": \"c1\"\n}\n"
        );
        assert_eq!(
            store.path().file_name().unwrap().to_str().unwrap(),
            "prod-7d7c5622.json"
        );
    }

    #[test]
    fn the_newest_is_read_then_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        assert_eq!(cursor(store.load("").unwrap()), "none");
        store.save(&place("c1"), now()).unwrap();
        store.save(&place("c2"), now()).unwrap();
        assert_eq!(cursor(store.load("").unwrap()), "newest c2");
        for damage in ["", "{", "{\"version\":1,\"input\":\"ds_monitor://prod\"}"] {
            fs::write(store.path(), damage).unwrap();
            assert_eq!(cursor(store.load("").unwrap()), "previous c1", "{damage}");
        }
        fs::remove_file(store.path()).unwrap();
        assert_eq!(cursor(store.load("").unwrap()), "previous c1");
    }

    /// The state of a disk: what is at the names of the three files.
    type Disk = BTreeMap<&'static str, Vec<u8>>;

    /// Every state in which a crash or a power cut can leave a folder while `new` is saved over `before`, and whether
    /// the save may have returned by then.
    ///
    /// A model of a disk that keeps its promises only: content that was not synced may be absent, torn or whole, and
    /// what has happened to names since the folder was last synced may be there or not, each for itself.
    fn crash_states(before: &Disk, new: &[u8], steps: &[Step]) -> BTreeSet<(Disk, bool)> {
        let torn = [&new[..0], &new[..new.len() / 2], new];
        let mut states = BTreeSet::from([(before.clone(), false)]);
        for done in 0..=steps.len() {
            let is_whole = steps[..done].contains(&Step::SyncTemporary);
            let contents = if is_whole { &[new][..] } else { &torn };
            // Removing what an earlier crash has left, creating the file, and the moves.
            let mut changes = vec![None, Some(Step::WriteTemporary)];
            let mut durable = 0;
            for step in &steps[..done] {
                match step {
                    Step::KeepPrevious | Step::Replace => changes.push(Some(*step)),
                    Step::SyncFolder => durable = changes.len(),
                    Step::WriteTemporary | Step::SyncTemporary => {}
                }
            }
            for (made, content) in (0..1_usize << changes.len())
                .flat_map(|made| contents.iter().map(move |content| (made, content)))
            {
                let mut disk = before.clone();
                // The file itself is one thing, whichever of its names is on the disk.
                for (n, change) in changes.iter().enumerate() {
                    if n >= durable && made & (1 << n) == 0 {
                        continue;
                    }
                    match change {
                        None => drop(disk.remove("tmp")),
                        Some(Step::KeepPrevious) => {
                            if let Some(newest) = disk.remove("newest") {
                                disk.insert("previous", newest);
                            }
                        }
                        Some(Step::Replace) => {
                            disk.remove("tmp");
                            disk.insert("newest", content.to_vec());
                        }
                        Some(_) => drop(disk.insert("tmp", content.to_vec())),
                    }
                }
                states.insert((disk, done == steps.len()));
            }
        }
        states
    }

    /// A folder with these files.
    fn folder_of(disk: &Disk) -> (tempfile::TempDir, CheckpointStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for (name, content) in disk {
            let suffix = match *name {
                "newest" => String::new(),
                other => format!(".{other}"),
            };
            let file = format!("{}{suffix}", store.files.name);
            fs::write(folder.path().join(file), content).unwrap();
        }
        (folder, store)
    }

    /// The cursor that a run continues from, or why it cannot.
    fn position(disk: &Disk) -> String {
        let (_folder, store) = folder_of(disk);
        match store.load::<Place>("") {
            Ok(Loaded::None) => "none".to_owned(),
            Ok(Loaded::Newest(saved) | Loaded::Previous(saved, _)) => saved.checkpoint.cursor,
            Err(error) => format!("{error:#}"),
        }
    }

    /// Saves again and again with a crash each time, from every state that the crash before has left. Returns the last
    /// states, or the first one from which a run would not continue at the old or the new position.
    fn crash_after_crash(steps: &[Step]) -> Result<BTreeSet<Disk>, String> {
        let written = |cursor: &str| {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path());
            store.save(&place(cursor), now()).unwrap();
            fs::read(store.path()).unwrap()
        };
        let damaged = Disk::from([("newest", b"damaged".to_vec()), ("previous", written("c0"))]);
        let mut states = BTreeSet::from([Disk::new(), damaged]);
        for cursor in ["c1", "c2", "c3"] {
            let mut next = BTreeSet::new();
            for before in &states {
                let old = position(before);
                let is_damaged = before.get("newest").is_some_and(|it| it == b"damaged");
                let keeps = |step: &&Step| **step != Step::KeepPrevious || !is_damaged;
                let steps: Vec<_> = steps.iter().filter(keeps).copied().collect();
                for (disk, is_saved) in crash_states(before, &written(cursor), &steps) {
                    let found = position(&disk);
                    if found != cursor && (is_saved || found != old) {
                        return Err(format!("{found} after {old}, saving {cursor}: {disk:?}"));
                    }
                    next.insert(disk);
                }
            }
            states = next;
        }
        Ok(states)
    }

    #[test]
    fn no_crash_and_no_power_cut_loses_the_position_or_puts_it_ahead() {
        for disk in crash_after_crash(&STEPS).unwrap() {
            // And the next save works, whatever is left.
            let (_folder, store) = folder_of(&disk);
            store.save(&place("c4"), now()).unwrap();
            assert_eq!(cursor(store.load("").unwrap()), "newest c4");
        }
    }

    #[test]
    fn each_step_of_a_save_and_its_place_are_needed() {
        let [write, sync, keep, replace, sync_folder] = STEPS;
        for steps in [
            &[write, keep, replace, sync_folder][..],
            &[write, sync, keep, replace],
            &[write, keep, replace, sync, sync_folder],
            &[write, sync, sync_folder, keep, replace],
            &[write, keep, sync_folder, sync, replace],
        ] {
            assert!(crash_after_crash(steps).is_err(), "{steps:?}");
        }
    }

    #[test]
    fn a_damaged_checkpoint_does_not_take_the_place_of_the_good_copy() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(&place("c1"), now()).unwrap();
        store.save(&place("c2"), now()).unwrap();
        for damage in ["torn", "{\"version\":1,\"input\":\"ds_monitor://prod\"}"] {
            fs::write(store.path(), damage).unwrap();
            store.save(&place("c3"), now()).unwrap();
            assert_eq!(cursor(store.load("").unwrap()), "newest c3");
            fs::remove_file(store.path()).unwrap();
            assert_eq!(cursor(store.load("").unwrap()), "previous c1", "{damage}");
        }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_looked_at_is_neither_absent_nor_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(&place("c1"), now()).unwrap();
        store.save(&place("c2"), now()).unwrap();
        fs::remove_file(store.path()).unwrap();
        fs::create_dir(store.path()).unwrap();
        let error = store.load::<Place>("").unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        fs::remove_dir(store.path()).unwrap();
        std::os::unix::fs::symlink("loop", store.path()).unwrap();
        let error = format!("{:#}", store.load::<Place>("").unwrap_err());
        assert!(error.contains("symbolic link"), "{error}");
        assert!(!error.contains("damaged"), "{error}");
    }

    #[test]
    fn nothing_is_saved_once_the_lock_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(&place("c1"), now()).unwrap();
        fs::remove_file(folder.path().join(&store.files.lock)).unwrap();
        let other = open(folder.path());
        other.save(&place("c2"), now()).unwrap();
        let error = store.save(&place("c3"), now()).unwrap_err().to_string();
        assert!(error.contains("lock file"), "{error}");
        assert_eq!(cursor(other.load("").unwrap()), "newest c2");
    }

    #[test]
    fn a_busy_store_says_since_when_nothing_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let busy = |at| match CheckpointStore::try_open(folder.path(), "ds_monitor://prod", at) {
            Ok(Opened::Busy(since)) => since.unwrap(),
            other => panic!("{other:?}"),
        };
        let store = open(folder.path());
        assert_eq!(busy(now() + TimeDelta::hours(2)), now());
        store.save(&place("c1"), now()).unwrap();
        assert!(busy(now()) > now());
    }

    #[test]
    fn two_damaged_copies_are_an_error_and_never_a_first_run() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fs::write(store.path(), "torn").unwrap();
        assert!(store.load::<Place>("").is_err());
        fs::write(store.files.folder.path(&store.files.previous), "torn too").unwrap();
        assert!(store.load::<Place>("").is_err());
        fs::remove_file(store.path()).unwrap();
        assert!(store.load::<Place>("").is_err());
    }

    #[test]
    fn a_newer_version_and_another_input_are_errors_even_with_a_good_copy_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(&place("c1"), now()).unwrap();
        store.save(&place("c2"), now()).unwrap();
        let good = fs::read_to_string(store.path()).unwrap();
        for (from, to) in [("\"version\": 1", "\"version\": 2"), ("//prod", "//other")] {
            fs::write(store.path(), good.replace(from, to)).unwrap();
            assert!(store.load::<Place>("").is_err(), "{to}");
        }
    }

    #[test]
    fn names_that_differ_only_in_odd_characters_or_case_have_files_of_their_own() {
        let names = ["ds_monitor://a/b", "ds_monitor://a:b", "ds_monitor://A:B"].map(file_stem);
        for name in &names {
            assert!(!name.contains(['/', ':']), "{name}");
        }
        let hashes = names.map(|name| name.split_once('-').unwrap().1.to_owned());
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[1], hashes[2]);
    }
}
