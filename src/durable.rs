//! Files that survive a crash: written whole or not at all, and locked while somebody works with them.
//!
//! Every step names the file in its error, and nothing here knows what the bytes mean.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Puts `bytes` at `path`, so that after a crash at any moment either the old or the new file is there, whole.
///
/// The file that was there before is kept at `previous`. Between the two renames only `previous` exists, so
/// readers must look there when `path` is absent.
///
/// # Errors
/// Any step that the file system refuses; `path` then holds what it held, or `previous` does.
pub fn replace_keeping(path: &Path, previous: &Path, bytes: &[u8]) -> Result<()> {
    let mut replacement = Replacement::of(path)?;
    replacement
        .write_all(bytes)
        .with_context(|| format!("could not write {}", replacement.temporary.display()))?;
    replacement.sync()?;
    match rename(path, previous) {
        Err(error) if is_not_found(&error) => {}
        other => other?,
    }
    replacement.commit()
}

/// A file that is being written to take the place of another, all at once; dropped before that, it is gone.
pub struct Replacement {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    is_synced: bool,
    is_in_place: bool,
}

impl Replacement {
    /// Begins to write what shall stand at `path`, beside it.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn of(path: &Path) -> Result<Self> {
        let temporary = sibling(path, ".tmp")?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&temporary)
            .with_context(|| format!("could not create {}", temporary.display()))?;
        belong_to_folder(&temporary);
        Ok(Self {
            file: BufWriter::new(file),
            temporary,
            path: path.to_owned(),
            is_synced: false,
            is_in_place: false,
        })
    }

    fn sync(&mut self) -> Result<()> {
        if self.is_synced {
            return Ok(());
        }
        self.is_synced = true;
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .with_context(|| format!("could not write {}", self.temporary.display()))
    }

    /// Puts the file in its place, durably.
    ///
    /// # Errors
    /// The file system refuses; the old file is then still there.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        rename(&self.temporary, &self.path)?;
        self.is_in_place = true;
        sync_folder(&self.path)
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.is_synced = false;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_in_place {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Puts a copy of the file `from` at `to`, whole or not at all.
///
/// # Errors
/// Either file cannot be used; `to` then holds what it held.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut replacement = Replacement::of(to)?;
    File::open(from)
        .and_then(|mut file| std::io::copy(&mut file, &mut replacement))
        .with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
    replacement.commit()
}

/// The bytes of the file at `path`, or `None` when there is none.
///
/// # Errors
/// A file that exists but cannot be read, or is longer than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("could not open {}", path.display()));
        }
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("could not read {}", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is longer than {limit} bytes", path.display());
    }
    Ok(Some(bytes))
}

/// Holds the lock on a file; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks the file at `path`, which is created if need be and stays. `None` when another process has it.
    ///
    /// # Errors
    /// The file cannot be created or locked at all.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("could not create the lock file {}", path.display()))?;
        belong_to_folder(path);
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("could not lock {}", path.display()))
            }
        }
    }
}

/// `path` with `suffix` added to its file name.
///
/// # Errors
/// A path without a file name.
pub fn sibling(path: &Path, suffix: &str) -> Result<PathBuf> {
    let name = path
        .file_name()
        .with_context(|| format!("{} names no file", path.display()))?;
    let mut name = name.to_owned();
    name.push(suffix);
    Ok(path.with_file_name(name))
}

/// Gives a file to the owner of its folder: what root makes by hand in Splunk's folder must stay usable for Splunk.
/// Only root can do so, and for anybody else the file is their own already.
fn belong_to_folder(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = path.parent().map(std::fs::metadata);
        if let Some(Ok(folder)) = folder {
            let _ = chown(path, Some(folder.uid()), Some(folder.gid()));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that renames files"
)]
fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("could not rename {} to {}", from.display(), to.display()))
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Makes the renames in the folder of `path` survive a power cut. Only Unix lets a folder be opened for that.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("could not sync the folder {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Lock, read, replace_keeping};

    #[test]
    fn the_file_that_was_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, previous) = (folder.path().join("a"), folder.path().join("a.previous"));
        replace_keeping(&path, &previous, b"one").unwrap();
        assert_eq!(read(&path, 9).unwrap().unwrap(), b"one");
        assert_eq!(read(&previous, 9).unwrap(), None);
        replace_keeping(&path, &previous, b"two").unwrap();
        assert_eq!(read(&path, 9).unwrap().unwrap(), b"two");
        assert_eq!(read(&previous, 9).unwrap().unwrap(), b"one");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("a");
        let error = replace_keeping(&path, &path, b"one").unwrap_err();
        assert!(error.to_string().contains("missing"), "{error:#}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace_keeping(&path, &folder.path().join("b"), b"four").unwrap();
        assert!(read(&path, 3).is_err());
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
