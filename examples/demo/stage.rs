//! Everything that plays a part: stand-ins, inputs and their runs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use chrono::DateTime;
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::lookups::table::Table;
use ds_monitor::lookups::{ACCOUNTS, USERS};
use ds_monitor::splunk::input_definition::MASK;
use tempfile::TempDir;

use support::docusign::{ACCESS_TOKEN_MARK, Docusign, PRIVATE_KEY, sample_record};
use support::hec;
use support::input::{DEADLINE, Event, Input, LogLine, Outcome, Running};
use support::splunkd::{SESSION_KEY, Splunkd};

use crate::program;
use crate::records::{Row, member, sample_time, texts};

/// Records a page. Docusign's pages hold up to 2000; small ones show more of what happens.
pub(crate) const PAGE: usize = 5;

/// Events that happen before the first run, the second, the one that is cut off, and the one without consent.
pub(crate) const FIRST: usize = 10;
pub(crate) const NEW: usize = 3;
pub(crate) const CUT: usize = 10;
pub(crate) const WAITING: usize = 2;
pub(crate) const TOTAL: usize = FIRST + NEW + CUT + WAITING;

/// Events that splunkd has read whole when a run is cut off: a page, and half of the next.
pub(crate) const READ_BEFORE_THE_CUT: usize = PAGE + 3;

/// What must not leave the programs, nor lie in a checkpoint directory.
pub(crate) const SECRETS: [&str; 4] = [PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK, hec::TOKEN];

/// City, state, country, latitude and longitude of the users; the sample records all come from the first of them.
const PLACES: [[&str; 5]; 4] = [
    ["köln", "nordrhein-westfalen", "germany", "50.9300", "6.95"],
    ["lyon", "auvergne-rhône-alpes", "france", "45.7600", "4.84"],
    ["oslo", "oslo", "norway", "59.9100", "10.75"],
    ["faro", "faro", "portugal", "37.0200", "-7.93"],
];

/// Everything that plays a part.
pub(crate) struct Stage {
    pub(crate) docusign: Docusign,
    pub(crate) splunkd: Splunkd,
    pub(crate) input: Input,
    pub(crate) lookups: Input,
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
    /// By how many seconds the sample records are moved, so that they happened in the last minutes.
    pub(crate) shift: i64,
    /// Every record that Docusign has, in order.
    pub(crate) happened: Vec<String>,
    /// The text of every event that Splunk has read, in order.
    pub(crate) indexed: Vec<String>,
    /// Every log line of the runs that reached their end.
    pub(crate) log: Vec<LogLine>,
    pub(crate) splunk_home: TempDir,
}

/// Where the app's lookups are, below `SPLUNK_HOME`.
pub(crate) const LOOKUPS_FOLDER: &str = "etc/apps/ds_monitor/lookups";

impl Stage {
    pub(crate) fn set(programs: PathBuf) -> Result<Self> {
        let splunk_home = TempDir::new().context("there is no room for temporary files")?;
        let folder = |path: &str| -> Result<PathBuf> {
            let folder = splunk_home.path().join(path);
            fs::create_dir_all(&folder).context("there is no room for temporary files")?;
            Ok(folder)
        };
        let app_folder = folder(LOOKUPS_FOLDER)?;
        for table in [&USERS, &ACCOUNTS] {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("lookups")
                .join(table.file());
            fs::copy(&shipped, app_folder.join(table.file()))
                .with_context(|| format!("{} cannot be copied", shipped.display()))?;
        }
        let (docusign, splunkd) = (Docusign::new(), Splunkd::start());
        let checkpoint_dir = folder("var/lib/splunk/modinputs/ds_monitor")?;
        let input = Input::for_docusign("demo", &docusign, &checkpoint_dir)
            .pasted_key(PRIVATE_KEY)
            .app("ds_monitor")
            .without("start_from")
            .param("environment", "production")
            .param("limit", PAGE.to_string())
            .saved_in(&splunkd)
            .read_from(&splunkd);
        let lookups = Input::ds_lookups("demo")
            .checkpoint_dir(&folder("var/lib/splunk/modinputs/ds_lookups")?)
            .env("SPLUNK_HOME", splunk_home.path().to_string_lossy())
            .app("ds_monitor")
            .param("monitor_input", "demo")
            .param("output", "csv")
            .saved_in(&splunkd);
        let (newest, _) = sample_time(TOTAL)?;
        Ok(Self {
            docusign,
            splunkd,
            input,
            lookups,
            programs,
            shift: SystemClock::new().now().timestamp() - newest,
            happened: vec![],
            indexed: vec![],
            log: vec![],
            splunk_home,
        })
    }

    /// Lets `count` things happen at Docusign.
    pub(crate) fn happen(&mut self, count: usize) -> Result<Vec<String>> {
        let next = self.happened.len();
        let records = (next..next + count)
            .map(|n| self.record(n))
            .collect::<Result<Vec<_>>>()?;
        self.docusign.push_records(&records);
        self.happened.extend_from_slice(&records);
        Ok(records)
    }

    /// Sample record `n`, moved to the last minutes, and to where its user lives.
    pub(crate) fn record(&self, n: usize) -> Result<String> {
        let (seconds, fraction) = sample_time(n)?;
        let time =
            DateTime::from_timestamp(seconds + self.shift, 0).context("a time is out of range")?;
        let sample = sample_record(n);
        let (_, rest) = sample
            .split_once("Z\"")
            .context("a sample record has no timestamp")?;
        let [home, ..] = PLACES;
        let place = PLACES.get(n / 3 % PLACES.len()).unwrap_or(&home);
        let moves = home.into_iter().zip(*place);
        let rest = moves.fold(rest.to_owned(), |rest, (from, to)| rest.replace(from, to));
        let time = time.format("%Y-%m-%dT%H:%M:%S");
        Ok(format!("{{\"timestamp\":\"{time}{fraction}Z\"{rest}"))
    }

    /// What `<time>` must say for each record so far.
    pub(crate) fn times(&self) -> Result<Vec<String>> {
        let time = |n| {
            let (seconds, fraction) = sample_time(n)?;
            Ok(format!("{}{fraction}", seconds + self.shift))
        };
        (0..self.happened.len()).map(time).collect()
    }

    /// Starts a run with the parameters that splunkd has now.
    pub(crate) fn start(&mut self) -> Running {
        self.input = self.input.clone().read_from(&self.splunkd);
        self.input.spawn(&program(&self.programs, "ds_monitor"))
    }

    /// A run without splunkd, with its stanza in a file in `folder`.
    pub(crate) fn alone(&self, input: &Input, folder: &Path) -> Result<Outcome> {
        fs::write(folder.join("inputs.conf"), input.conf())?;
        fs::create_dir(folder.join("positions"))?;
        let arguments = run_alone(folder);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let run = input.start(
            &program(&self.programs, "ds_monitor"),
            &arguments,
            String::new(),
        );
        let outcome = ended_well(run.finish())?;
        outcome.assert_no_secret(&SECRETS);
        Ok(outcome)
    }

    /// A run that must end well; Splunk reads all of it.
    pub(crate) fn run(&mut self) -> Result<Outcome> {
        let outcome = ended_well(self.start().finish())?;
        self.indexed.extend(texts(&outcome.whole().events()));
        self.log.extend(outcome.log_lines());
        Ok(outcome)
    }

    /// A run that is killed while splunkd reads an event of its second page. The rest in the pipe is nobody's.
    pub(crate) fn run_until_cut(&mut self) -> Result<()> {
        let mut run = self.start();
        let mut pipe = run
            .stdout
            .take()
            .context("the run has no standard output")?;
        let mut read = Vec::new();
        let events = loop {
            let mut piece = [0; 256];
            let length = pipe.read(&mut piece)?;
            ensure!(length > 0, "a run ended before it could be cut off");
            read.extend(piece.iter().take(length));
            let (events, next) = Event::parse_all(&read);
            if events.len() == READ_BEFORE_THE_CUT && !next.is_empty() {
                break events;
            }
        };
        // Without this wait the first page would be saved in some demonstrations, and not yet in others.
        run.wait_for_stderr("action=page_ingested", DEADLINE);
        run.kill();
        drop(pipe);
        run.finish();
        self.indexed.extend(texts(&events));
        Ok(())
    }

    /// Name and text of the checkpoint; the copy before it and the lock end in other words.
    pub(crate) fn checkpoint(&self) -> Result<(String, String)> {
        for (path, bytes) in self.input.checkpoint_files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".json") {
                return Ok((name.into_owned(), String::from_utf8(bytes)?));
            }
        }
        bail!("there is no checkpoint in the checkpoint directory")
    }

    /// Whether the key is in secure storage, and in its place in the stanza the mask.
    pub(crate) fn has_moved_the_key(&self) -> bool {
        let params = self.splunkd.input("ds_monitor", "demo").unwrap_or_default();
        let is_key = |secret: &str| member(secret, "/private_key").trim() == PRIVATE_KEY.trim();
        let secrets = self.splunkd.secrets();
        params.get("private_key").map(String::as_str) == Some(MASK)
            && secrets.iter().any(|(_, _, secret)| is_key(secret))
    }

    /// A run of `ds_lookups` that must end well.
    pub(crate) fn refresh(&self) -> Result<Outcome> {
        ended_well(self.lookups.run(&program(&self.programs, "ds_lookups")))
    }

    /// The rows of a lookup of the app.
    pub(crate) fn lookup(&self, table: &Table) -> Result<Vec<Row>> {
        let path = self
            .splunk_home
            .path()
            .join(LOOKUPS_FOLDER)
            .join(table.file());
        let rows: csv::Result<_> =
            csv::Reader::from_path(&path).and_then(|reader| reader.into_deserialize().collect());
        rows.with_context(|| format!("{} cannot be read", path.display()))
    }

    /// Whether a lookup of the app is the same, byte for byte, as the master that it is made from.
    pub(crate) fn master_is_in_app(&self, table: &Table) -> Result<bool> {
        let of_app = self
            .splunk_home
            .path()
            .join(LOOKUPS_FOLDER)
            .join(table.file());
        let mut masters = self.lookups.checkpoint_files().into_iter();
        let master = masters.find(|(path, _)| path.file_name() == of_app.file_name());
        Ok(master.map(|(_, bytes)| bytes) == Some(fs::read(of_app)?))
    }

    /// How often Splunk has read a record.
    pub(crate) fn copies(&self, record: &str) -> usize {
        let id = member(record, "/eventId");
        let is_it = |text: &&String| member(text, "/eventId") == id;
        self.indexed.iter().filter(is_it).count()
    }
}

pub(crate) fn ended_well(run: Outcome) -> Result<Outcome> {
    let (status, report) = (run.status, run.report());
    ensure!(status.success(), "a run ended with {status}\n{report}");
    Ok(run)
}

/// The arguments of a run without splunkd.
pub(crate) fn run_alone(folder: &Path) -> [String; 7] {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    [
        "run".to_owned(),
        "--conf".to_owned(),
        path("inputs.conf"),
        "--input".to_owned(),
        "demo".to_owned(),
        "--checkpoint-dir".to_owned(),
        path("positions"),
    ]
}
