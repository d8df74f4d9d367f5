//! Files that survive a crash: written whole or not at all, and locked while somebody works with them.
//!
//! Everything that is written goes through a [`Folder`] that is held open. Files are created anew and for their owner
//! alone, links are never followed, and what root creates belongs to the owner of the folder. Every step names the
//! file in its error, and nothing here knows what the bytes mean.

use std::fs::{File, Metadata, TryLockError};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};

/// How long a pipe that is named instead of a file may stay silent.
const PIPE_PATIENCE: Duration = Duration::from_secs(5);

/// How often a file is opened again because somebody removed it in between.
const MAX_ATTEMPTS: usize = 5;

/// A folder that is held open, so that its files stay the same ones whatever becomes of its path.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    handle: Arc<File>,
}

/// One step of [`Folder::replace_keeping`]. After a crash between two steps, or a power cut that loses whatever was
/// not synced yet, either the new or the old content is at the name or at the name of the previous copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes the new content under a temporary name.
    WriteTemporary,
    /// Makes the content under the temporary name durable.
    SyncTemporary,
    /// Keeps the old file as the previous copy; until the next step nothing is at the name.
    KeepPrevious,
    /// Moves the new file to the name.
    Replace,
    /// Makes the two moves durable.
    SyncFolder,
}

/// The steps in their order.
pub const STEPS: [Step; 5] = [
    Step::WriteTemporary,
    Step::SyncTemporary,
    Step::KeepPrevious,
    Step::Replace,
    Step::SyncFolder,
];

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// It does not exist, or may not be opened.
    pub fn open(path: &Path) -> Result<Self> {
        // An empty path is the current folder's for the file system, and nobody's for us.
        let handle = match path.as_os_str().is_empty() {
            true => Err(ErrorKind::NotFound.into()),
            false => File::open(path),
        };
        let handle =
            handle.with_context(|| format!("could not open the folder {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            handle: Arc::new(handle),
        })
    }

    /// The path of the file `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes of the file `name`, or `None` when there is none.
    ///
    /// # Errors
    /// There is one, but it cannot be read, is no regular file, or is longer than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        read_to_limit(file, limit, &self.path(name)).map(Some)
    }

    /// The file `name`, open for reading, or `None` when there is none.
    ///
    /// # Errors
    /// There is one, but it cannot be opened or is no regular file.
    pub fn open_file(&self, name: &str) -> Result<Option<File>> {
        let path = self.path(name);
        let file = match system::open_existing(&self.handle, &path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| could_not("open", &path)),
        };
        require_regular(&file, &path)?;
        Ok(Some(file))
    }

    /// When the file `name` was last written, or `None` when there is none.
    ///
    /// # Errors
    /// The folder may not be looked into.
    pub fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        modified
            .map(Some)
            .with_context(|| could_not("look at", &self.path(name)))
    }

    /// Puts `bytes` at `name`, so that after a crash at any moment either the old or the new file is there, whole.
    ///
    /// The file that was there before is kept at `previous`. Between two of the [`STEPS`] only that one exists, so
    /// readers must look there when nothing is at `name`.
    ///
    /// # Errors
    /// Any step that the file system refuses; `name` then has the content it had, or `previous` does.
    pub fn replace_keeping(&self, name: &str, previous: &str, bytes: &[u8]) -> Result<()> {
        let mut replacement = self.replace(name)?;
        for step in STEPS {
            match step {
                Step::WriteTemporary => replacement
                    .write_all(bytes)
                    .and_then(|()| replacement.flush())
                    .with_context(|| could_not("write", &self.path(&replacement.temporary)))?,
                Step::SyncTemporary => replacement.sync()?,
                Step::KeepPrevious => match self.rename(name, previous) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    other => other.with_context(|| could_not("rename", &self.path(name)))?,
                },
                Step::Replace => replacement.put_in_place()?,
                Step::SyncFolder => self.sync()?,
            }
        }
        Ok(())
    }

    /// Puts `bytes` at `name`, whole or not at all, and keeps nothing of what was there.
    ///
    /// # Errors
    /// The file system refuses; `name` then has the content it had.
    pub fn replace_with(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut replacement = self.replace(name)?;
        replacement
            .write_all(bytes)
            .with_context(|| could_not("write", &self.path(name)))?;
        replacement.commit()
    }

    /// Begins to write what shall be at `name`, beside it.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn replace(&self, name: &str) -> Result<Replacement> {
        let temporary = format!("{name}.tmp");
        // One that a crash has left, or a link that somebody has put there, is not what we write to.
        match system::remove(&self.handle, &self.path(&temporary)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.with_context(|| could_not("remove", &self.path(&temporary)))?,
        }
        let file = self
            .create(&temporary)
            .with_context(|| could_not("create", &self.path(&temporary)))?;
        Ok(Replacement {
            folder: self.clone(),
            file: BufWriter::new(file),
            temporary,
            name: name.to_owned(),
            is_synced: false,
            is_in_place: false,
        })
    }

    /// Puts a copy of the file `from` of the folder `source` at `name`, whole or not at all.
    ///
    /// # Errors
    /// Either file cannot be used; `name` then has the content it had.
    pub fn copy(&self, source: &Folder, from: &str, name: &str) -> Result<()> {
        let mut file = source
            .open_file(from)?
            .with_context(|| format!("{} does not exist", source.path(from).display()))?;
        let mut replacement = self.replace(name)?;
        std::io::copy(&mut file, &mut replacement)
            .with_context(|| could_not("write", &self.path(name)))?;
        replacement.commit()
    }

    /// Locks the file `name`, which is created if need be and stays. `None` when another process has it.
    ///
    /// # Errors
    /// The file cannot be created or locked at all.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let path = self.path(name);
        for _ in 0..MAX_ATTEMPTS {
            let file = match self.create(name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    system::open_existing(&self.handle, &path)
                }
                created => created,
            };
            let file = match file {
                // Somebody removed it between the two calls.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.with_context(|| could_not("create the lock file", &path))?,
            };
            require_regular(&file, &path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| could_not("lock", &path));
                }
            }
            // A file that was removed before it was locked locks nobody out.
            if self.is_file(name, &file) {
                system::keep_private(&file);
                return Ok(Some(Lock { file }));
            }
        }
        bail!(
            "the lock file {} is removed again and again by another process",
            path.display()
        )
    }

    /// Whether `lock` still is the lock file `name`: removed and created again, it locks nobody out any more.
    #[must_use]
    pub fn is_locked_by(&self, lock: &Lock, name: &str) -> bool {
        self.is_file(name, &lock.file)
    }

    fn is_file(&self, name: &str, file: &File) -> bool {
        system::is_same(&self.handle, &self.path(name), file)
    }

    /// A new file, which only its owner may read: what root creates belongs to the owner of the folder, because what
    /// root makes by hand in a folder must stay usable for its owner.
    fn create(&self, name: &str) -> std::io::Result<File> {
        let file = system::create(&self.handle, &self.path(name))?;
        system::give_to_owner_of(&self.handle, &file);
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        system::rename(&self.handle, &self.path(from), &self.path(to))
    }

    /// Makes the renames in the folder survive a power cut.
    fn sync(&self) -> Result<()> {
        system::sync_folder(&self.handle)
            .with_context(|| format!("could not sync the folder {}", self.path.display()))
    }
}

/// A file that is being written to take the place of another, all at once; dropped before that, it is gone.
pub struct Replacement {
    folder: Folder,
    file: BufWriter<File>,
    temporary: String,
    name: String,
    is_synced: bool,
    is_in_place: bool,
}

impl Replacement {
    /// Puts the file in its place, durably.
    ///
    /// # Errors
    /// The file system refuses; the old file is then still there.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        self.put_in_place()?;
        self.folder.sync()
    }

    fn sync(&mut self) -> Result<()> {
        if !self.is_synced {
            self.file
                .flush()
                .and_then(|()| self.file.get_ref().sync_all())
                .with_context(|| could_not("write", &self.folder.path(&self.temporary)))?;
            self.is_synced = true;
        }
        Ok(())
    }

    fn put_in_place(&mut self) -> Result<()> {
        self.folder
            .rename(&self.temporary, &self.name)
            .with_context(|| could_not("rename", &self.folder.path(&self.temporary)))?;
        self.is_in_place = true;
        Ok(())
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
            let temporary = self.folder.path(&self.temporary);
            let _ = system::remove(&self.folder.handle, &temporary);
        }
    }
}

/// Holds the lock on a file; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Notes in the lock file's own time that it was taken at `now`, for whoever finds it taken.
    pub fn note_time(&self, now: SystemTime) {
        // Without it only the finder's patience is shorter.
        let _ = self.file.set_modified(now);
    }
}

/// The bytes of the file at `path`, a file that a person has named, or `None` when there is none. It may be a link, or
/// a pipe that somebody writes to.
///
/// # Errors
/// It exists but cannot be read, is something else, or is longer than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match system::open_any(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| could_not("open", path)),
    };
    let metadata = file
        .metadata()
        .with_context(|| could_not("look at", path))?;
    if system::is_pipe(&metadata) {
        return read_pipe(&file, limit, path).map(Some);
    }
    require_regular(&file, path)?;
    read_to_limit(file, limit, path).map(Some)
}

/// Whether users other than its owner and group may read the file at `path`.
#[must_use]
pub fn can_be_read_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| system::is_readable_by_others(&metadata))
}

fn read_to_limit(mut from: impl Read, limit: u64, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| could_not("read", path))?;
    if bytes.len() as u64 > limit {
        bail!("{} is longer than {limit} bytes", path.display());
    }
    Ok(bytes)
}

/// Reads what a writer has to say. A pipe without one never says anything, so it is not waited for.
fn read_pipe(pipe: &File, limit: u64, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match read_to_limit_from_pipe(pipe, &mut bytes, limit) {
            Ok(()) if bytes.is_empty() => {
                bail!("{} is a pipe that nobody writes to", path.display())
            }
            Ok(()) if bytes.len() as u64 > limit => {
                bail!("{} is longer than {limit} bytes", path.display())
            }
            Ok(()) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !system::wait_for_input(pipe, PIPE_PATIENCE) {
                    bail!(
                        "{} is a pipe that stayed silent for {} seconds",
                        path.display(),
                        PIPE_PATIENCE.as_secs()
                    );
                }
            }
            Err(error) => return Err(error).with_context(|| could_not("read", path)),
        }
    }
}

fn read_to_limit_from_pipe(
    mut pipe: &File,
    bytes: &mut Vec<u8>,
    limit: u64,
) -> std::io::Result<()> {
    let rest = (limit + 1).saturating_sub(bytes.len() as u64);
    Read::by_ref(&mut pipe)
        .take(rest)
        .read_to_end(bytes)
        .map(drop)
}

fn require_regular(file: &File, path: &Path) -> Result<()> {
    let metadata: Metadata = file
        .metadata()
        .with_context(|| could_not("look at", path))?;
    if !metadata.is_file() {
        return Err(anyhow!("{} is not a regular file", path.display()));
    }
    Ok(())
}

fn could_not(what: &str, path: &Path) -> String {
    format!("could not {what} {}", path.display())
}

/// The system calls, which know files by their folder and never follow a link.
#[cfg(unix)]
mod system {
    use std::fs::{File, Metadata, OpenOptions, Permissions};
    use std::io::{Error, ErrorKind, Result};
    use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{AtFlags, Mode, OFlags};

    fn name(path: &Path) -> Result<&std::ffi::OsStr> {
        path.file_name()
            .ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    pub(super) fn create(folder: &File, path: &Path) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        open(folder, path, flags)
    }

    pub(super) fn open_existing(folder: &File, path: &Path) -> Result<File> {
        // Without NONBLOCK the opening of a named pipe would wait for a writer.
        open(folder, path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    fn open(folder: &File, path: &Path, flags: OFlags) -> Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(folder, name(path)?, flags, mode) {
            Ok(file) => Ok(file.into()),
            Err(rustix::io::Errno::LOOP) => Err(Error::other(
                "it is a symbolic link, which is not followed: remove it",
            )),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn open_any(path: &Path) -> Result<File> {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(path)
    }

    pub(super) fn remove(folder: &File, path: &Path) -> Result<()> {
        Ok(rustix::fs::unlinkat(folder, name(path)?, AtFlags::empty())?)
    }

    pub(super) fn rename(folder: &File, from: &Path, to: &Path) -> Result<()> {
        Ok(rustix::fs::renameat(
            folder,
            name(from)?,
            folder,
            name(to)?,
        )?)
    }

    pub(super) fn sync_folder(folder: &File) -> Result<()> {
        folder.sync_all()
    }

    /// By descriptor, so that the owner of no other file changes. Only root can do so, and for anybody else the file is
    /// their own already.
    pub(super) fn give_to_owner_of(folder: &File, file: &File) {
        if let Ok(owner) = folder.metadata() {
            let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
        }
    }

    /// Another user who could read a lock file could hold its lock for ever.
    pub(super) fn keep_private(file: &File) {
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }

    pub(super) fn is_same(folder: &File, path: &Path, file: &File) -> bool {
        let there = name(path)
            .and_then(|name| Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?));
        let here = rustix::fs::fstat(file);
        matches!((there, here), (Ok(there), Ok(here))
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    }

    pub(super) fn is_pipe(metadata: &Metadata) -> bool {
        metadata.file_type().is_fifo()
    }

    pub(super) fn is_readable_by_others(metadata: &Metadata) -> bool {
        metadata.is_file() && metadata.permissions().mode() & 0o004 != 0
    }

    pub(super) fn wait_for_input(pipe: &File, at_most: Duration) -> bool {
        let timeout = Timespec::try_from(at_most).ok();
        let mut pipes = [PollFd::new(pipe, PollFlags::IN)];
        poll(&mut pipes, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

/// Elsewhere files are known by their paths, and folders need no sync.
#[cfg(not(unix))]
mod system {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io::Result;
    use std::path::Path;
    use std::time::Duration;

    pub(super) fn create(_: &File, path: &Path) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    }

    pub(super) fn open_existing(_: &File, path: &Path) -> Result<File> {
        File::open(path)
    }

    pub(super) fn open_any(path: &Path) -> Result<File> {
        File::open(path)
    }

    pub(super) fn remove(_: &File, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that renames files"
    )]
    pub(super) fn rename(_: &File, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }

    pub(super) fn sync_folder(_: &File) -> Result<()> {
        Ok(())
    }

    pub(super) fn give_to_owner_of(_: &File, _: &File) {}

    pub(super) fn keep_private(_: &File) {}

    pub(super) fn is_same(_: &File, path: &Path, _: &File) -> bool {
        path.exists()
    }

    pub(super) fn is_pipe(_: &Metadata) -> bool {
        false
    }

    pub(super) fn is_readable_by_others(_: &Metadata) -> bool {
        false
    }

    pub(super) fn wait_for_input(_: &File, _: Duration) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::{Folder, read};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_that_was_there_is_kept() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        folder.replace_keeping("a", "a.previous", b"one").unwrap();
        assert_eq!(folder.read("a", 9).unwrap().unwrap(), b"one");
        assert_eq!(folder.read("a.previous", 9).unwrap(), None);
        folder.replace_keeping("a", "a.previous", b"two").unwrap();
        assert_eq!(folder.read("a", 9).unwrap().unwrap(), b"two");
        assert_eq!(folder.read("a.previous", 9).unwrap().unwrap(), b"one");
        assert_eq!(path.path().read_dir().unwrap().count(), 2);
        assert_eq!(mode(&folder.path("a")), 0o600);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("missing"), "".into()] {
            let error = format!("{:#}", Folder::open(&path).unwrap_err());
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        folder.replace_keeping("a", "b", b"four").unwrap();
        assert!(folder.read("a", 3).is_err());
        assert!(read(&folder.path("a"), 3).is_err());
        assert_eq!(read(&folder.path("a"), 4).unwrap().unwrap(), b"four");
    }

    #[test]
    fn a_lock_has_one_holder() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        let held = folder.try_lock("lock").unwrap();
        assert!(held.is_some());
        assert!(folder.try_lock("lock").unwrap().is_none());
        drop(held);
        assert!(folder.try_lock("lock").unwrap().is_some());
        assert_eq!(mode(&folder.path("lock")), 0o600);
    }

    #[test]
    fn a_lock_file_that_is_removed_while_it_is_held_is_noticed() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        let held = folder.try_lock("lock").unwrap().unwrap();
        assert!(folder.is_locked_by(&held, "lock"));
        fs::remove_file(folder.path("lock")).unwrap();
        assert!(!folder.is_locked_by(&held, "lock"));
        let other = folder.try_lock("lock").unwrap().unwrap();
        assert!(folder.is_locked_by(&other, "lock"));
        assert!(!folder.is_locked_by(&held, "lock"));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_of_ours_is_never_followed() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        let target = folder.path("target");
        fs::write(&target, "theirs").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        for name in ["lock", "a", "a.tmp", "a.previous"] {
            symlink(&target, folder.path(name)).unwrap();
        }
        let error = format!("{:#}", folder.try_lock("lock").unwrap_err());
        assert!(error.contains("symbolic link"), "{error}");
        assert!(folder.read("a", 9).is_err());
        // Links at the names that are written are replaced themselves.
        folder.replace_keeping("a", "a.previous", b"ours").unwrap();
        assert_eq!(folder.read("a", 9).unwrap().unwrap(), b"ours");
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!(mode(&target), 0o644);
    }

    #[test]
    fn a_folder_or_a_device_is_no_file() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        fs::create_dir(folder.path("a")).unwrap();
        for error in [
            folder.read("a", 9).unwrap_err(),
            read(path.path(), 9).unwrap_err(),
            read(Path::new("/dev/zero"), 9).unwrap_err(),
        ] {
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_pipe_is_read_if_somebody_writes_to_it() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;

        let (ours, mut theirs) = std::io::pipe().unwrap();
        theirs.write_all(b"key").unwrap();
        drop(theirs);
        let path = format!("/proc/self/fd/{}", ours.as_raw_fd());
        assert_eq!(read(Path::new(&path), 9).unwrap().unwrap(), b"key");
        let error = read(Path::new(&path), 9).unwrap_err().to_string();
        assert!(error.contains("nobody writes to"), "{error}");
    }
}
