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

use crate::durable::{self, Lock};

/// The version that is written, and the newest that is understood.
const VERSION: u32 = 1;

/// A checkpoint is under 2 kB; cursors are short.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Characters of a stanza's name that its file name keeps; the hash distinguishes longer ones.
const MAX_NAME_CHARS: usize = 64;

/// The checkpoint of one stanza, locked for this process.
#[derive(Debug)]
pub struct CheckpointStore {
    files: Files,
    _lock: Lock,
}

/// The two copies of a stanza's checkpoint.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    previous: PathBuf,
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

/// A checkpoint as it was saved.
#[derive(Debug, PartialEq, Eq)]
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
    /// Takes the lock of the input with this full name, `<kind>://<name>`, in `folder`; `None` when another
    /// process has it.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn try_open(folder: &Path, input: &str) -> Result<Option<Self>> {
        let files = Files::of(folder, input)?;
        let lock = Lock::try_take(&durable::sibling(&files.path, ".lock")?)?;
        Ok(lock.map(|lock| Self { files, _lock: lock }))
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
        Ok((files.path, loaded))
    }

    /// Copies the checkpoint to a file beside it whose name contains the time; `None` when there is none.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn back_up(&self, now: DateTime<Utc>) -> Result<Option<PathBuf>> {
        if !self.files.path.exists() {
            return Ok(None);
        }
        let suffix = format!(".backup-{}", now.format("%Y%m%dT%H%M%S%.3fZ"));
        let backup = durable::sibling(&self.files.path, &suffix)?;
        durable::copy(&self.files.path, &backup).context("could not write the backup")?;
        Ok(Some(backup))
    }

    /// Where the checkpoint is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// Reads the newest checkpoint that can be used.
    ///
    /// # Errors
    /// There is one, but it is another input's or of a newer version, or neither copy can be read; then the error ends
    /// with `remedy`.
    pub fn load<T: DeserializeOwned>(&self, remedy: &str) -> Result<Loaded<T>> {
        self.files.load(remedy)
    }

    /// Saves `checkpoint`, so that it survives a crash and a power cut from the moment of the return.
    ///
    /// # Errors
    /// The file system refuses; the previous checkpoint is then still there.
    pub fn save<T: Serialize>(&self, checkpoint: T, now: DateTime<Utc>) -> Result<()> {
        let document = Document {
            version: VERSION,
            input: self.files.input.clone(),
            saved_at: now.to_rfc3339_opts(SecondsFormat::Millis, true),
            checkpoint,
        };
        let mut bytes = serde_json::to_vec_pretty(&document).context("could not print JSON")?;
        bytes.push(b'\n');
        durable::replace_keeping(&self.files.path, &self.files.previous, &bytes)
            .context("could not save the checkpoint")
    }
}

impl Files {
    fn of(folder: &Path, input: &str) -> Result<Self> {
        if folder.as_os_str().is_empty() {
            bail!("Splunk's configuration names no checkpoint_dir");
        }
        let path = folder.join(format!("{}.json", file_stem(input)));
        Ok(Self {
            previous: durable::sibling(&path, ".previous")?,
            path,
            input: input.to_owned(),
        })
    }

    fn load<T: DeserializeOwned>(&self, remedy: &str) -> Result<Loaded<T>> {
        let newest = self.read(&self.path);
        let problem = match newest {
            Ok(Some(saved)) => return Ok(Loaded::Newest(saved)),
            Ok(None) => format!("{} is missing", self.path.display()),
            Err(Unusable::Foreign(error)) => return Err(error),
            Err(Unusable::Damaged(error)) => format!("{error:#}"),
        };
        match self.read(&self.previous) {
            Ok(Some(saved)) => Ok(Loaded::Previous(saved, problem)),
            Ok(None) if !self.path.exists() => Ok(Loaded::None),
            Ok(None) => {
                bail!("{problem}, and there is no previous copy. {remedy}")
            }
            Err(Unusable::Foreign(error)) => Err(error),
            Err(Unusable::Damaged(error)) => bail!("{problem}, and {error:#}. {remedy}"),
        }
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<Saved<T>>, Unusable> {
        let Some(bytes) = durable::read(path, MAX_FILE_BYTES).map_err(Unusable::Damaged)? else {
            return Ok(None);
        };
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

/// Why a file is not a usable checkpoint; only a damaged one may be replaced by the previous copy.
enum Unusable {
    Damaged(anyhow::Error),
    Foreign(anyhow::Error),
}

/// `<name with odd characters as _>-<8 hex digits of SHA-256 of the full name>`: a name of its own for every input
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
    use std::fs;
    use std::path::Path;

    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Serialize};

    use super::{CheckpointStore, Loaded, file_stem};

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
        CheckpointStore::try_open(folder, "ds_monitor://prod")
            .unwrap()
            .unwrap()
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
        store.save(place("c1"), now()).unwrap();
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
        store.save(place("c1"), now()).unwrap();
        store.save(place("c2"), now()).unwrap();
        assert_eq!(cursor(store.load("").unwrap()), "newest c2");
        for damage in ["", "{", "{\"version\":1,\"input\":\"ds_monitor://prod\"}"] {
            fs::write(store.path(), damage).unwrap();
            assert_eq!(cursor(store.load("").unwrap()), "previous c1", "{damage}");
        }
        fs::remove_file(store.path()).unwrap();
        assert_eq!(cursor(store.load("").unwrap()), "previous c1");
    }

    #[test]
    fn two_damaged_copies_are_an_error_and_never_a_first_run() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fs::write(store.path(), "torn").unwrap();
        assert!(store.load::<Place>("").is_err());
        fs::write(&store.files.previous, "torn too").unwrap();
        assert!(store.load::<Place>("").is_err());
        fs::remove_file(store.path()).unwrap();
        assert!(store.load::<Place>("").is_err());
    }

    #[test]
    fn a_newer_version_and_another_input_are_errors_even_with_a_good_copy_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.save(place("c1"), now()).unwrap();
        store.save(place("c2"), now()).unwrap();
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
