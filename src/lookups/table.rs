//! A CSV lookup that grows with every refresh: rows of other inputs stay, and so do rows that a refresh no longer
//! finds, with the time they were last seen.
//!
//! The master is in the checkpoint directory and the app's file is its copy, because an upgrade of the app unpacks
//! the shipped, empty file over the app's. Rows wait in a spool until the refresh is complete, so that one that fails
//! changes nothing; the lock is held from reading the old table to the renames. Memory holds a key and a time per row,
//! never the rows. Format: RFC 4180, UTF-8, header first.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use csv::{ByteRecord, ReaderBuilder, Terminator, Writer, WriterBuilder};
use sha2::{Digest, Sha256};

use crate::base::clock::Clock;
use crate::base::durable::{Folder, Lock, Replacement};

/// How long another input may hold a table; it does so only while it merges.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// How often the lock is tried.
const LOCK_TICK: Duration = Duration::from_millis(100);

/// The columns that every table ends with: whose row it is, and when it was seen.
pub const LAST_COLUMNS: [&str; 3] = ["monitor_input", "first_seen", "last_seen"];

/// What a table looks like.
#[derive(Debug)]
pub struct Table {
    /// Its name in `transforms.conf`, and that of its file without `.csv`.
    pub name: &'static str,
    /// The columns before [`LAST_COLUMNS`].
    pub columns: &'static [&'static str],
    /// How many of the first columns are the key of a row.
    pub key_columns: usize,
    /// Rows with this value in this column come first, so that they match first.
    pub first: Option<(&'static str, &'static str)>,
}

impl Table {
    /// All columns, in order.
    pub fn header(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().copied().chain(LAST_COLUMNS)
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.csv", self.name)
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.header().position(|column| column == name)
    }

    fn is_first(&self, row: &ByteRecord) -> bool {
        self.first.is_none_or(|(column, value)| {
            let index = self.column(column);
            index.and_then(|index| row.get(index)) == Some(value.as_bytes())
        })
    }

    /// The key of a row, from its values.
    pub fn key<'a>(&self, row: impl IntoIterator<Item = &'a [u8]>) -> Key {
        let mut hash = Sha256::new();
        for field in row.into_iter().take(self.key_columns) {
            hash.update(field.to_ascii_lowercase());
            hash.update([0]);
        }
        let mut key = [0; 16];
        key.iter_mut()
            .zip(hash.finalize())
            .for_each(|(to, from)| *to = from);
        u128::from_ne_bytes(key)
    }
}

/// A hash of a row's key; GUIDs are compared without regard to case.
pub type Key = u128;

/// The rows that a refresh has found so far.
pub struct Update {
    table: &'static Table,
    input: String,
    now: String,
    seen: HashSet<Key>,
    first: Spool,
    rest: Spool,
    row: ByteRecord,
}

/// Rows that wait for the end of the refresh, in a file without a name.
type Spool = Writer<BufWriter<File>>;

impl Update {
    /// A refresh of `table` by `input` at the time `now`, an ISO 8601 date-time; it spools in `folder`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn new(table: &'static Table, folder: &Path, input: &str, now: &str) -> Result<Self> {
        let spool = || -> Result<Spool> {
            let file = tempfile::tempfile_in(folder)
                .with_context(|| format!("could not create a file in {}", folder.display()))?;
            Ok(writer(BufWriter::new(file)))
        };
        Ok(Self {
            table,
            input: input.to_owned(),
            now: now.to_owned(),
            seen: HashSet::new(),
            first: spool()?,
            rest: spool()?,
            row: ByteRecord::new(),
        })
    }

    /// Adds a row, the values of the table's own columns. One that was added before is passed over, and false is
    /// returned.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, values: &[&str]) -> Result<bool> {
        self.row.clear();
        for value in values {
            self.row.push_field(value.as_bytes());
        }
        if !self.seen.insert(self.table.key(&self.row)) {
            return Ok(false);
        }
        let spool = if self.table.is_first(&self.row) {
            &mut self.first
        } else {
            &mut self.rest
        };
        spool
            .write_byte_record(&self.row)
            .context("could not spool a row")?;
        Ok(true)
    }

    /// Merges the rows with those of the master in `master_folder`. `was_looked_for` says whether
    /// the refresh would have found an old row of this input; a row that it could not find keeps its place.
    ///
    /// # Errors
    /// The old table cannot be read, or the new one not be written.
    pub fn merge(
        self,
        master_folder: &Path,
        clock: &dyn Clock,
        was_looked_for: impl Fn(&dyn Fn(&str) -> String) -> bool,
    ) -> Result<Merged> {
        let Self {
            table,
            input,
            now,
            seen,
            first,
            rest,
            ..
        } = self;
        let masters = Folder::open(master_folder)?;
        let lock = lock(&masters, table, clock)?;
        let mut first_seen: HashMap<Key, Vec<u8>> = HashMap::new();
        each_old_row(table, &masters, |row| {
            let time = table.column("first_seen").and_then(|index| row.get(index));
            first_seen.insert(table.key(row), time.unwrap_or_default().to_owned());
            Ok(())
        })?;
        let stays_first = |row: &ByteRecord| {
            let value = |name: &str| {
                let field = table.column(name).and_then(|index| row.get(index));
                String::from_utf8_lossy(field.unwrap_or_default()).into_owned()
            };
            let is_lost = value("monitor_input") == input && was_looked_for(&value);
            table.is_first(row) && !is_lost
        };

        let mut merged = writer(masters.replace(&table.file())?);
        merged.write_record(table.header())?;
        for (spool, is_first) in [(first, true), (rest, false)] {
            each_row(rewind(spool)?, |row| {
                let since = first_seen.get(&table.key(&*row));
                let since = since.filter(|since| !since.is_empty());
                row.push_field(input.as_bytes());
                row.push_field(since.map_or(now.as_bytes(), Vec::as_slice));
                row.push_field(now.as_bytes());
                Ok(merged.write_byte_record(row)?)
            })?;
            each_old_row(table, &masters, |row| {
                if seen.contains(&table.key(row)) || stays_first(row) != is_first {
                    return Ok(());
                }
                Ok(merged.write_byte_record(row)?)
            })?;
        }
        let merged = merged.into_inner().map_err(|error| error.into_error());
        Ok(Merged {
            file: merged.with_context(|| {
                format!("could not write {}", masters.path(&table.file()).display())
            })?,
            table,
            masters,
            _lock: lock,
        })
    }
}

/// A merged table that is written but not in its place yet; the table is locked as long as this exists.
pub struct Merged {
    file: Replacement,
    table: &'static Table,
    masters: Folder,
    _lock: Lock,
}

impl Merged {
    /// Replaces the master, and then the app's file by a copy of it.
    ///
    /// # Errors
    /// The file system refuses; what could not be replaced is as it was.
    pub fn put_in_place(self, app_folder: &Path) -> Result<()> {
        self.file.commit()?;
        let file = self.table.file();
        Folder::open(app_folder)?.copy(&self.masters, &file, &file)
    }
}

fn writer<W: Write>(out: W) -> Writer<W> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .flexible(true)
        .from_writer(out)
}

fn lock(masters: &Folder, table: &Table, clock: &dyn Clock) -> Result<Lock> {
    let name = format!("{}.lock", table.file());
    let start = clock.elapsed();
    loop {
        if let Some(lock) = masters.try_lock(&name)? {
            return Ok(lock);
        }
        if clock.elapsed().saturating_sub(start) > LOCK_PATIENCE {
            bail!(
                "another input has held {} for {} seconds",
                masters.path(&name).display(),
                LOCK_PATIENCE.as_secs()
            );
        }
        clock.sleep(LOCK_TICK);
    }
}

fn rewind(spool: Spool) -> Result<File> {
    let buffered = spool
        .into_inner()
        .map_err(|error| error.into_error())
        .context("could not spool a row")?;
    let mut file = buffered
        .into_inner()
        .map_err(|error| error.into_error())
        .context("could not spool a row")?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn each_row(file: File, mut visit: impl FnMut(&mut ByteRecord) -> Result<()>) -> Result<()> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .from_reader(BufReader::new(file));
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row)? {
        visit(&mut row)?;
    }
    Ok(())
}

/// Visits the rows of the master, brought into the columns of today by their names. No master means no rows.
fn each_old_row(
    table: &Table,
    masters: &Folder,
    mut visit: impl FnMut(&ByteRecord) -> Result<()>,
) -> Result<()> {
    let Some(file) = masters.open_file(&table.file())? else {
        return Ok(());
    };
    let master = masters.path(&table.file());
    let damaged = || {
        format!(
            "{} is damaged: move it away, and the next refresh makes a new one",
            master.display()
        )
    };
    let mut reader = ReaderBuilder::new().from_reader(BufReader::new(file));
    let header = reader.byte_headers().with_context(damaged)?.clone();
    let places: Vec<_> = table
        .header()
        .map(|column| header.iter().position(|name| name == column.as_bytes()))
        .collect();
    let keys = places.iter().take(table.key_columns);
    if keys.into_iter().any(Option::is_none) {
        bail!("{}", damaged());
    }
    let (mut stored, mut row) = (ByteRecord::new(), ByteRecord::new());
    while reader.read_byte_record(&mut stored).with_context(damaged)? {
        row.clear();
        for place in &places {
            row.push_field(
                place
                    .and_then(|place| stored.get(place))
                    .unwrap_or_default(),
            );
        }
        visit(&row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Folder, LOCK_PATIENCE, Table, Update, lock};
    use crate::base::clock::{Clock, SystemClock};

    static TABLE: Table = Table {
        name: "t",
        columns: &["id", "status", "name"],
        key_columns: 1,
        first: Some(("status", "Active")),
    };

    fn refresh(folder: &Path, input: &str, now: &str, rows: &[[&str; 3]]) -> String {
        let mut refresh = Update::new(&TABLE, folder, input, now).unwrap();
        for row in rows {
            refresh.add(row).unwrap();
        }
        let app = folder.join("app");
        fs::create_dir_all(&app).unwrap();
        refresh
            .merge(folder, &SystemClock::new(), |_| true)
            .unwrap()
            .put_in_place(&app)
            .unwrap();
        let master = fs::read_to_string(folder.join("t.csv")).unwrap();
        assert_eq!(fs::read_to_string(app.join("t.csv")).unwrap(), master);
        master
    }

    #[test]
    fn a_refresh_keeps_who_left_and_who_belongs_to_others_and_puts_active_rows_first() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = refresh(
            folder,
            "one",
            "T1",
            &[
                ["a", "Closed", "A"],
                ["b", "Active", "B, \"b\"\nä"],
                ["B", "Active", "again"],
            ],
        );
        assert_eq!(
            first,
            "id,status,name,monitor_input,first_seen,last_seen\r\nb,Active,\"B, \"\"b\"\"\nä\",one,T1,T1\r\na,Closed,A,one,T1,T1\r\n"
        );
        refresh(
            folder,
            "two",
            "T2",
            &[["c", "Active", "C"], ["d", "Closed", "D"]],
        );
        let third = refresh(folder, "one", "T3", &[["a", "Active", "A"]]);
        assert_eq!(
            third,
            "id,status,name,monitor_input,first_seen,last_seen\r\n\
             a,Active,A,one,T1,T3\r\n\
             c,Active,C,two,T2,T2\r\n\
             b,Active,\"B, \"\"b\"\"\nä\",one,T1,T1\r\n\
             d,Closed,D,two,T2,T2\r\n"
        );
    }

    #[test]
    fn a_damaged_master_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("t.csv");
        for damage in ["", "x,y\r\n1,2\r\n", "id,status,name\r\n1,2\r\n"] {
            fs::write(&master, damage).unwrap();
            let refresh = Update::new(&TABLE, folder.path(), "one", "T1").unwrap();
            let error = refresh
                .merge(folder.path(), &SystemClock::new(), |_| true)
                .err()
                .unwrap();
            assert!(format!("{error:#}").contains("t.csv"), "{error:#}");
            assert_eq!(fs::read_to_string(&master).unwrap(), damage);
        }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("t.csv"),
            "last_seen,name,id,old\nT0,N,n,x\n",
        )
        .unwrap();
        let table = refresh(folder.path(), "one", "T1", &[["m", "Active", "M"]]);
        assert!(
            table.ends_with("m,Active,M,one,T1,T1\r\nn,,N,,,T0\r\n"),
            "{table}"
        );
    }

    /// A clock that only counts what is slept.
    #[derive(Default)]
    struct Slept(std::sync::Mutex<std::time::Duration>);

    impl Clock for Slept {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            chrono::DateTime::UNIX_EPOCH
        }

        fn elapsed(&self) -> std::time::Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, duration: std::time::Duration) {
            *self.0.lock().unwrap() += duration;
        }
    }

    #[test]
    fn a_table_that_another_input_does_not_let_go_of_is_waited_for_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let masters = Folder::open(folder.path()).unwrap();
        let clock = Slept::default();
        let held = lock(&masters, &TABLE, &clock).unwrap();
        let error = lock(&masters, &TABLE, &clock).err().unwrap().to_string();
        assert!(error.contains("60 seconds"), "{error}");
        assert!(clock.elapsed() > LOCK_PATIENCE && clock.elapsed() < 2 * LOCK_PATIENCE);
        drop(held);
        assert!(lock(&masters, &TABLE, &clock).is_ok());
    }
}
