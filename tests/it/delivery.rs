use std::fs;
use std::io::Read;
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::base::http::Network;
use ds_monitor::base::retry::Patience;
use ds_monitor::docusign::BaseUrl;
use ds_monitor::docusign::client::{ApiError, Client};
use ds_monitor::docusign::jwt_grant::{Applicant, JwtGrant, SCOPE_IMPERSONATION};
use ds_monitor::docusign::monitor_api::{
    End, MonitorApi, Next, Page, Stream, StreamSettings, Trail,
};
use ds_monitor::docusign::rsa_key::PrivateKey;
use ds_monitor::monitor::settings::USER_AGENT;
use ds_monitor::splunk::checkpoint::file_stem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::ds_monitor;
use crate::properties::{Random, with_random};
use support::docusign::{
    Docusign, INTEGRATION_KEY, PRIVATE_KEY, USER_ID, sample_record, sample_timestamp,
};
use support::http::Reply;
use support::input::{DEADLINE, Input, Outcome, Running};

/// What a pipe holds.
const PIPE: usize = 64 * 1024;

const HEAD: &[u8] = b"<stream>\n";
const TAIL: &[u8] = b"</stream>\n";

/// A record of about 150 bytes and its time.
pub(crate) fn short(n: usize) -> (String, String) {
    let digits = format!("{:07}", n % 10_000_000);
    let record = format!(
        r#"{{"timestamp":"2026-01-05T08:00:00.{digits}Z","eventId":"e-{n:09}","object":"Envelope","action":"Sent","source":"Web","userId":"u-{:06}","n":{n}}}"#,
        n * 7 % 1000
    );
    (record, format!("1767600000.{digits}"))
}

/// A record of about 1 kB and its time.
pub(crate) fn long(n: usize) -> (String, String) {
    (sample_record(n), sample_timestamp(n))
}

/// What Splunk must read, byte for byte: a line for every record.
struct Tape {
    make: fn(usize) -> (String, String),
    bytes: Vec<u8>,
    /// Where each line begins, and where the last one ends.
    marks: Vec<usize>,
}

impl Tape {
    /// The next records of the stream.
    fn grow(&mut self, count: usize) -> Vec<String> {
        let numbers = self.len()..self.len() + count;
        let records: Vec<_> = numbers.map(self.make).collect();
        for (record, time) in &records {
            let data = record.replace('&', "&amp;");
            let data = data.replace('<', "&lt;").replace('>', "&gt;");
            let line = format!(
                "<event unbroken=\"1\"><time>{time}</time><data>{data}</data><done/></event>\n"
            );
            self.bytes.extend(line.bytes());
            self.marks.push(self.bytes.len());
        }
        records.into_iter().map(|(record, _)| record).collect()
    }

    /// Number of records.
    fn len(&self) -> usize {
        self.marks.len() - 1
    }

    /// What a run that begins with record `first` has written when it has written up to record `end`.
    fn size(&self, records: Range<usize>) -> usize {
        HEAD.len() + self.marks[records.end] - self.marks[records.start]
    }

    /// The record with which a run began.
    fn find(&self, read: &[u8]) -> usize {
        let line = read[HEAD.len()..].split_inclusive(|byte| *byte == b'\n');
        let line = line.take(1).collect::<Vec<_>>().concat();
        let mut marks = self.marks.iter();
        marks
            .position(|mark| self.bytes[*mark..].starts_with(&line))
            .unwrap()
    }

    /// How many whole records from `first` on were read; panics if anything else was.
    #[track_caller]
    fn whole(&self, first: usize, read: &[u8]) -> usize {
        let from = self.marks[first];
        let end = from + read.len().saturating_sub(HEAD.len());
        let whole = self.marks.partition_point(|mark| *mark <= end) - 1 - first;
        let (lines, next) = self.bytes[from..].split_at(self.marks[first + whole] - from);
        let written = [HEAD, lines].concat();
        let rest = read.get(written.len()..).unwrap_or_default();
        let is_right = written.starts_with(read) || read.starts_with(&written);
        if !is_right || !(next.starts_with(rest) || TAIL.starts_with(rest)) {
            let expected = [&written, next].concat();
            let mut pairs = read.iter().zip(&expected);
            let at = pairs.position(|(a, b)| a != b).unwrap_or(expected.len());
            let near = |bytes: &[u8]| {
                let piece = bytes.iter().skip(at.saturating_sub(99)).take(198);
                String::from_utf8_lossy(&piece.copied().collect::<Vec<_>>()).into_owned()
            };
            let (read, expected) = (near(read), near(&expected));
            panic!("from record {first} on, byte {at} is wrong:\n{read}\nexpected:\n{expected}");
        }
        whole
    }
}

/// How a run is ended by others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Kill,
    Terminate,
    /// The reader closes the pipe.
    Leave,
}

/// A run that is being read.
struct Reading {
    run: Running,
    read: Vec<u8>,
}

/// A run that has ended.
struct Ended {
    read: Vec<u8>,
    status: ExitStatus,
    cut: Option<Cut>,
}

impl Reading {
    /// One read of at most so many bytes; 0 at the end of the stream.
    #[track_caller]
    fn read(&mut self, at_most: usize) -> usize {
        let stdout = self.run.stdout.as_mut().unwrap();
        let deadline = Timespec {
            tv_sec: DEADLINE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&deadline)).unwrap();
        assert!(ready > 0, "nothing to read within {DEADLINE:?}");
        let mut piece = vec![0; at_most];
        let count = stdout.read(&mut piece).unwrap();
        self.read.extend_from_slice(&piece[..count]);
        count
    }

    /// Reads until so many bytes have been read, or the stream ends.
    fn read_to(&mut self, size: usize) {
        while self.read.len() < size && self.read(size - self.read.len()) > 0 {}
    }

    /// Reads so many bytes, or to the end, as one reads who has other things to do. False at the end.
    fn read_irregularly(&mut self, size: usize, random: &mut Random) -> bool {
        while self.read.len() < size {
            let most = *random.pick(&[100, 4096, PIPE, 1 << 20]);
            let piece = 1 + random.below(most);
            if self.read(piece.min(size - self.read.len())) == 0 {
                return false;
            }
            if random.chance(5) {
                pass_time(random);
            }
        }
        true
    }

    /// Waits until there is something to read, and says how much.
    fn unread(&mut self) -> u64 {
        eventually("something to read", || {
            let stdout = self.run.stdout.as_ref().unwrap();
            Some(rustix::io::ioctl_fionread(stdout).unwrap()).filter(|unread| *unread > 0)
        })
    }

    /// Halts the process where it is, so that nothing happens any more.
    fn stop(&self) {
        self.run.signal("STOP");
        let stat = format!("/proc/{}/stat", self.run.child.id());
        eventually("halt", || {
            fs::read_to_string(&stat)
                .unwrap()
                .contains(") T ")
                .then_some(())
        });
    }

    /// Ends the run; what is left in the pipe is thrown away.
    #[track_caller]
    fn cut(mut self, cut: Cut) -> Ended {
        match cut {
            Cut::Kill => self.run.child.kill().unwrap(),
            Cut::Terminate => self.run.terminate(),
            Cut::Leave => drop(self.run.stdout.take()),
        }
        Ended {
            status: self.run.wait(DEADLINE),
            read: self.read,
            cut: Some(cut),
        }
    }

    /// Reads to the end.
    #[track_caller]
    fn finish(mut self) -> Ended {
        while self.read(1 << 20) > 0 {}
        Ended {
            status: self.run.wait(DEADLINE),
            read: self.read,
            cut: None,
        }
    }
}

/// What a checkpoint says, in numbers of records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Saved {
    cursor: usize,
    before: usize,
    open: bool,
    /// Whether it notes a start_from that is ignored.
    ignores_start: bool,
}

impl Saved {
    /// Where the next run begins.
    fn start(self) -> usize {
        if self.open { self.before } else { self.cursor }
    }
}

/// A reader's own account of a stream, beside which every run is held.
struct Ledger {
    docusign: Docusign,
    input: Input,
    folder: TempDir,
    tape: Tape,
    page: usize,
    /// Records that were read whole.
    read: usize,
    saved: Saved,
    /// The stream has grown since the run began, so that its pages are not known.
    grown: bool,
}

impl Ledger {
    fn new(make: fn(usize) -> (String, String), records: usize, page: usize) -> Self {
        let docusign = Docusign::new().page_size(page);
        let folder = tempdir().unwrap();
        let tape = Tape {
            make,
            bytes: vec![],
            marks: vec![0],
        };
        let mut ledger = Self {
            input: Input::for_docusign("prod", &docusign, folder.path()),
            docusign,
            folder,
            tape,
            page,
            read: 0,
            saved: Saved::default(),
            grown: false,
        };
        ledger.grow(records);
        ledger
    }

    fn grow(&mut self, count: usize) {
        self.docusign.push_records(self.tape.grow(count));
        self.grown = true;
    }

    fn start(&mut self) -> Reading {
        self.grown = false;
        Reading {
            run: self.input.spawn(ds_monitor()),
            read: vec![],
        }
    }

    fn checkpoint_path(&self) -> PathBuf {
        let name = format!("{}.json", file_stem("ds_monitor://prod"));
        self.folder.path().join(name)
    }

    /// The checkpoint as the next run will find it.
    fn load(&self) -> Saved {
        let path = self.checkpoint_path();
        let Ok(bytes) = fs::read(&path).or_else(|_| fs::read(beside(&path, ".previous"))) else {
            return Saved::default();
        };
        let saved: Value = serde_json::from_slice(&bytes).unwrap();
        Saved {
            cursor: position(&saved["cursor"]),
            before: position(&saved["cursor_before_last_records"]),
            open: saved["state"] == "open",
            ignores_start: saved["ignored_start_from"].is_string(),
        }
    }

    /// Whether a page does not fit the pipe, so that no two are on their way at once.
    fn page_exceeds_pipe(&self) -> bool {
        self.tape.size(0..self.page.min(self.tape.len())) > HEAD.len() + PIPE
    }

    /// The most records that may come twice after a cut-off.
    fn most_twice(&self) -> usize {
        let shortest = self.tape.marks.windows(2).map(|pair| pair[1] - pair[0]);
        match self.page_exceeds_pipe() {
            true => 2 * self.page,
            false => self.page + PIPE / shortest.min().unwrap(),
        }
    }

    /// Enters what a run that began with record `start` gave; the number of the record after the last whole one.
    #[track_caller]
    fn enter(&mut self, start: usize, read: &[u8], most_twice: usize) -> usize {
        assert!(start <= self.read, "lost: {start} after {}", self.read);
        let twice = self.read - start;
        assert!(twice <= most_twice, "{twice} records twice");
        let end = start + self.tape.whole(start, read);
        self.read = self.read.max(end);
        end
    }

    /// Holds a run beside the account: it began where it should, gave what it should, and saved what it should.
    #[track_caller]
    fn book(&mut self, ended: &Ended) {
        let before = self.saved;
        let start = before.start();
        let most_twice = if before.open { self.most_twice() } else { 0 };
        let end = self.enter(start, &ended.read, most_twice);
        let all = end == self.tape.len();
        let came_to_its_end = ended.status.code() == Some(0);
        match (ended.cut, ended.status.code()) {
            (_, Some(0)) => assert!(all || self.grown, "the run left records behind"),
            (Some(Cut::Kill), None) | (Some(Cut::Terminate | Cut::Leave), Some(1)) => {}
            // A signal that comes before there is anything to tidy up.
            (Some(Cut::Terminate), None) => assert_eq!(ended.read.len(), 0),
            other => panic!("a run ended with {other:?}"),
        }

        let found = self.load();
        let began = match self.grown {
            true => end > start,
            false => !ended.read.is_empty() && start < self.tape.len(),
        };
        let may_be_closed = match came_to_its_end || ((all || self.grown) && end > start) {
            true => found.cursor == end,
            false => !began && !before.open,
        };
        let state_is_right = match found.open {
            true => !came_to_its_end && (before.open || start < self.tape.len()),
            false => may_be_closed,
        };
        assert!(state_is_right, "{before:?}, read {start}..{end}: {found:?}");
        let cursors = |saved: Saved| (saved.cursor, saved.before);
        let is_expected = if self.grown {
            let in_order = (start..=found.cursor).contains(&found.before);
            cursors(found) == cursors(before) || (found.cursor <= end && in_order)
        } else {
            self.expected_cursors(ended, start..end)
                .contains(&cursors(found))
        };
        assert!(is_expected, "{before:?}, read {start}..{end}: {found:?}");
        self.saved = found;
    }

    /// The cursors that may be saved when these records have been read.
    fn expected_cursors(&self, ended: &Ended, read: Range<usize>) -> Vec<(usize, usize)> {
        let begins = (read.start..self.tape.len()).step_by(self.page);
        let pages: Vec<_> = begins
            .map(|from| (from, self.tape.len().min(from + self.page)))
            .take_while(|(_, end)| *end <= read.end)
            .collect();
        let unsure = match pages.last() {
            _ if !self.page_exceeds_pipe() => pages.len(),
            // The end can come between the reading of a page's last byte and the saving, but the first byte of the
            // next page goes out after the saving.
            Some((_, end)) if ended.cut.is_some() => {
                usize::from(ended.read.len() == self.tape.size(read.start..*end))
            }
            _ => 0,
        };
        let saved_before = (self.saved.before, self.saved.cursor);
        let pages = iter::once(saved_before).chain(pages);
        let mut likely: Vec<_> = pages.rev().take(1 + unsure).collect();
        // A run that is the first to ignore start_from saves that, with the position that it begins at.
        if self.saved.open && !self.saved.ignores_start && likely.contains(&saved_before) {
            likely.push((read.start, read.start));
        }
        likely
            .into_iter()
            .map(|(before, cursor)| (cursor, before))
            .collect()
    }
}

/// The number of the record before which a cursor stands; a date stands before all.
pub(crate) fn position(cursor: &Value) -> usize {
    let cursor = cursor.as_str().unwrap();
    let number = cursor.rsplit_once('_').map(|(_, number)| number);
    number.map_or(0, |number| number.parse().unwrap())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Looks until there is what is waited for.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}");
        clock.sleep(Duration::from_millis(1));
    }
}

/// A reader's irregularity, and what makes a kill come at any moment; nothing is waited for.
pub(crate) fn pass_time(random: &mut Random) {
    let most = *random.pick(&[1, 300, 3000]);
    SystemClock::new().sleep(Duration::from_micros(random.below(most) as u64));
}

/// Cuts one run off after the other, until one comes to its end.
fn everything_arrives(mut ledger: Ledger, cut: Cut, random: &mut Random) {
    let (records, page) = (ledger.tape.len(), ledger.tape.size(0..ledger.page));
    // So few that chance cannot bring everything in fewer than six runs.
    let most_pages = records / ledger.page / 6;
    let mut runs = 0;
    loop {
        runs += 1;
        let mut reading = ledger.start();
        let size = match random.below(10) {
            0 => 0,
            1 => random.below(2 * HEAD.len()),
            // Exactly to the end of a page.
            2..5 => {
                let start = ledger.saved.start();
                let end = start + ledger.page * (1 + random.below(most_pages));
                ledger.tape.size(start..end.min(records))
            }
            _ => random.below(page * most_pages),
        };
        let ended = match reading.read_irregularly(size, random) {
            true => {
                pass_time(random);
                reading.cut(cut)
            }
            false => reading.finish(),
        };
        ledger.book(&ended);
        if ended.status.code() == Some(0) {
            break;
        }
    }
    assert!(runs > 5, "only {runs} runs");
    assert_eq!(ledger.read, records);
    let again = ledger.start().finish();
    ledger.book(&again);
    assert_eq!(again.read, [HEAD, TAIL].concat());
}

#[test]
fn whatever_kills_do_every_record_is_read_and_two_pages_at_the_most_come_twice() {
    with_random(|random| everything_arrives(Ledger::new(short, 20_000, 500), Cut::Kill, random));
}

#[test]
fn stops_lose_nothing_and_two_pages_at_the_most_come_twice() {
    with_random(|random| {
        everything_arrives(Ledger::new(short, 20_000, 500), Cut::Terminate, random);
    });
}

#[test]
fn kills_lose_nothing_when_pages_are_many_times_a_pipe() {
    with_random(|random| everything_arrives(Ledger::new(long, 10_000, 500), Cut::Kill, random));
}

#[test]
fn kills_lose_nothing_when_several_pages_are_in_the_pipe_at_once() {
    with_random(|random| everything_arrives(Ledger::new(short, 6_000, 110), Cut::Kill, random));
}

#[test]
fn kills_at_the_edges_of_a_page_cost_what_the_checkpoint_says() {
    let new = || Ledger::new(short, 2_000, 500);
    let saved = |cursor, before| Saved {
        cursor,
        before,
        open: true,
        ignores_start: false,
    };
    let cut_and_go_on = |mut ledger: Ledger, reading: Reading, expected: Saved| {
        ledger.book(&reading.cut(Cut::Kill));
        assert_eq!(ledger.saved, expected);
        let rest = ledger.start().finish();
        ledger.book(&rest);
        assert_eq!(ledger.read, 2_000);
    };

    // Before any byte is read.
    let mut ledger = new();
    let mut reading = ledger.start();
    reading.unread();
    cut_and_go_on(ledger, reading, saved(0, 0));

    // After the first byte of a page.
    let mut ledger = new();
    let mut reading = ledger.start();
    reading.read_to(ledger.tape.size(0..1_000) + 1);
    cut_and_go_on(ledger, reading, saved(1_000, 500));

    // After the last byte of a page, before it is saved: the most that can come twice.
    let mut ledger = new();
    let mut reading = ledger.start();
    reading.read_to(ledger.tape.size(0..1_000) - 1);
    reading.unread();
    reading.stop();
    assert_eq!(reading.read(1), 1);
    cut_and_go_on(ledger, reading, saved(500, 0));

    // After the last byte of a page, as soon as it is saved.
    let mut ledger = new();
    let mut reading = ledger.start();
    reading.read_to(ledger.tape.size(0..1_000));
    eventually("save", || (ledger.load().cursor == 1_000).then_some(()));
    cut_and_go_on(ledger, reading, saved(1_000, 500));
}

#[test]
fn a_second_process_that_comes_while_the_first_is_killed_loses_nothing() {
    with_random(|random| {
        let mut ledger = Ledger::new(short, 0, 500);
        let mut took_over = 0;
        for round in 0..10 {
            ledger.grow(1_500);
            let mut first = ledger.start();
            let start = ledger.saved.start();
            let size = ledger.tape.size(start..ledger.tape.len()) - 1;
            first.read_irregularly(1 + random.below(size), random);
            let second = ledger.start();
            if round > 0 {
                let most = *random.pick(&[1, 10_000, 60_000]);
                SystemClock::new().sleep(Duration::from_micros(random.below(most) as u64));
            }
            let (first, second) = (first.cut(Cut::Kill), second.finish());
            assert_eq!(second.status.code(), Some(0));
            if second.read.is_empty() {
                ledger.book(&first);
                continue;
            }
            took_over += 1;
            let most_twice = ledger.most_twice();
            ledger.enter(start, &first.read, most_twice);
            let start = ledger.tape.find(&second.read);
            ledger.enter(start, &second.read, most_twice);
            assert_eq!(ledger.read, ledger.tape.len());
            ledger.saved = ledger.load();
            assert!(!ledger.saved.open);
        }
        assert!(took_over > 0);
        let rest = ledger.start().finish();
        ledger.book(&rest);
        assert_eq!(ledger.read, ledger.tape.len());
    });
}

#[test]
fn a_checkpoint_that_cannot_be_saved_ends_the_run_and_nothing_advances() {
    let mut ledger = Ledger::new(short, 1_000, 500);
    let path = ledger.checkpoint_path();
    let obstacle = beside(&path, ".tmp");
    let names_the_file = |run: &Outcome| {
        run.assert_exit(1);
        let errors: Vec<_> = run.log_lines();
        let errors: Vec<_> = errors.iter().filter(|line| line.level != "INFO").collect();
        assert_eq!(errors.len(), 1, "{}", run.report());
        assert_eq!(errors[0].level, "ERROR", "{}", run.report());
        let sentence = &errors[0].sentence;
        assert!(sentence.contains(path.to_str().unwrap()), "{sentence}");
    };

    // The first position.
    fs::create_dir(&obstacle).unwrap();
    names_the_file(&ledger.input.run(ds_monitor()));
    assert_eq!(ledger.docusign.requests().len(), 0);

    // The mark before the first page.
    fs::remove_dir(&obstacle).unwrap();
    ledger.docusign.fault(1, Reply::json(400, "{}"));
    ledger.input.run(ds_monitor()).assert_exit(1);
    let saved = fs::read(&path).unwrap();
    fs::create_dir(&obstacle).unwrap();
    let run = ledger.input.run(ds_monitor());
    names_the_file(&run);
    assert_eq!(run.stdout, b"");
    assert_eq!(fs::read(&path).unwrap(), saved);

    // A page that has been read.
    fs::remove_dir(&obstacle).unwrap();
    let mut reading = ledger.start();
    reading.read_to(1);
    let saved = fs::read(&path).unwrap();
    fs::create_dir(&obstacle).unwrap();
    reading.read_to(ledger.tape.size(0..500));
    let run = reading.run.finish();
    names_the_file(&run);
    assert_eq!(run.stdout, b"");
    assert_eq!(fs::read(&path).unwrap(), saved);

    fs::remove_dir(&obstacle).unwrap();
    ledger.read = 500;
    ledger.saved = ledger.load();
    let rest = ledger.start().finish();
    ledger.book(&rest);
    assert_eq!(ledger.read, 1_000);
}

#[test]
fn a_reader_that_does_not_read_holds_up_docusign_and_costs_no_memory() {
    // Many small pages in the pipe; one page that exceeds it; one that exceeds it and all buffers.
    for (make, page) in [(short as fn(usize) -> _, 110), (short, 500), (long, 500)] {
        let mut ledger = Ledger::new(make, 12 * page, page);
        let body: usize = (0..page).map(|n| make(n).0.len() + 1).sum();
        // What is reserved for a record beside its own bytes is under 100.
        let fit_the_pipe = PIPE / (body + 100 * page);
        let most = fit_the_pipe.max(1) + 2;

        let mut reading = ledger.start();
        let id = reading.run.child.id();
        let asked = || ledger.docusign.stream_cursors().len();
        let looks = || from_proc(id, "voluntary_ctxt_switches:");
        // The process looks after its reader all the time, so every look was a chance to ask for more.
        let look_again = || {
            let before = looks();
            eventually("look at the reader", || {
                (looks() > before + 8).then_some(())
            });
        };
        eventually("request", || (asked() > fit_the_pipe.max(1)).then_some(()));
        look_again();
        let memory = from_proc(id, "VmRSS:");
        look_again();
        assert!(asked() <= most, "{} requests, {most} expected", asked());
        // The last of them may have come in between.
        let page_kib = body as u64 / 1024 + 1;
        assert!(from_proc(id, "VmRSS:") < memory + page_kib + 200);

        // Nor does it grow while everything is read.
        reading.read_to(ledger.tape.size(0..11 * page) + 1);
        assert!(from_proc(id, "VmHWM:") < memory + 4 * page_kib + 1000);
        let ended = reading.finish();
        ledger.book(&ended);
        assert_eq!(ledger.read, 12 * page);
    }
}

/// A number of the kernel's about a process.
fn from_proc(id: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn whatever_happens_to_a_stream_its_reader_and_its_runs_agrees_with_the_account() {
    with_random(|random| {
        for (make, page) in [(short as fn(usize) -> _, 500), (short, 120), (long, 110)] {
            let mut ledger = Ledger::new(make, 1, page);
            let mut reading = None;
            for _ in 0..150 {
                reading = step(&mut ledger, reading, random);
            }
            if let Some(reading) = reading {
                ledger.book(&reading.finish());
            }
            let rest = ledger.start().finish();
            ledger.book(&rest);
            assert_eq!(ledger.read, ledger.tape.len());
        }
    });
}

/// Lets one thing happen.
fn step(ledger: &mut Ledger, reading: Option<Reading>, random: &mut Random) -> Option<Reading> {
    let page = ledger.page;
    let Some(mut reading) = reading else {
        if random.chance(40) {
            ledger.grow(random.below(4 * page));
            return None;
        }
        return Some(ledger.start());
    };
    let start = ledger.saved.start();
    let (seen, end) = (reading.read.len(), ledger.tape.len());
    let size = match random.below(14) {
        0 => seen + 1,
        1..5 => seen + random.below(3 * ledger.tape.size(0..page.min(end))),
        5..8 => {
            let pages = (start..=end).step_by(page);
            let mut ends = pages.map(|end| ledger.tape.size(start..end));
            ends.find(|end| *end > seen).unwrap_or(seen)
        }
        8 => {
            ledger.grow(page * (1 + random.below(3)));
            return Some(reading);
        }
        // Who comes while a run goes on gives way.
        9 if seen > 0 && start < end && seen < ledger.tape.size(start..end) && !ledger.grown => {
            let other = ledger.input.run(ds_monitor());
            assert_eq!((other.status.code(), other.stdout.len()), (Some(0), 0));
            return Some(reading);
        }
        9 | 10 => {
            ledger.book(&reading.finish());
            return None;
        }
        _ => {
            let cut = *random.pick(&[Cut::Kill, Cut::Kill, Cut::Terminate, Cut::Leave]);
            pass_time(random);
            ledger.book(&reading.cut(cut));
            return None;
        }
    };
    if reading.read_irregularly(size, random) {
        return Some(reading);
    }
    ledger.book(&reading.finish());
    None
}

/// The machine's clock, but a pause takes no time and is kept in mind.
#[derive(Default)]
struct Pauses {
    machine: SystemClock,
    taken: Mutex<Vec<Duration>>,
}

impl Pauses {
    /// The pauses since the last question.
    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.taken.lock().unwrap())
    }
}

impl Clock for Pauses {
    fn now(&self) -> DateTime<Utc> {
        self.machine.now()
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.taken.lock().unwrap().push(duration);
    }
}

/// The stand-in's stream from its beginning, through the library.
fn stream(docusign: &Docusign, clock: &Arc<Pauses>, patience: Patience) -> Stream {
    let network = Network {
        user_agent: USER_AGENT,
        remedy: |_| "",
        proxy: None,
        ca_certificates: vec![],
        no_proxy: false,
        tls: false,
        patience,
    };
    let client = Client::new(network, Arc::clone(clock) as _, |_| "", Arc::new(|_| ())).unwrap();
    let address = BaseUrl::parse(&docusign.url()).unwrap();
    let identity = Applicant {
        auth_url: address.clone(),
        integration_key: INTEGRATION_KEY.to_owned(),
        user_id: USER_ID.to_owned(),
        scope: SCOPE_IMPERSONATION.to_owned(),
        consent_scope: SCOPE_IMPERSONATION.to_owned(),
        consent_redirect: "https://localhost/ds_monitor",
    };
    let key = PrivateKey::parse(PRIVATE_KEY).unwrap();
    let grant = JwtGrant::new(client.clone(), identity, key);
    let settings = StreamSettings {
        monitor_url: address,
        organization_id: None,
        limit: 2000,
    };
    let api = MonitorApi::new(client, grant, settings);
    Stream::after(api, "2021-01-01T00:00:00Z".to_owned(), Trail::default())
}

/// A stream of pages with so many records, whose cursors are `p1`, `p2` and so on.
fn pages_of(sizes: &[usize]) -> Docusign {
    let docusign = Docusign::new();
    let mut cursor = String::new();
    for (number, size) in (1..).zip(sizes) {
        let next = format!("p{number}");
        docusign.page(&cursor, &next, &vec!["{}"; *size]);
        cursor = next;
    }
    docusign.page(&cursor, &cursor, &[])
}

fn end(next: Result<Next, ApiError>) -> End {
    match next.unwrap() {
        Next::End(end) => end,
        Next::Page(page) => panic!("no end, but {page:?}"),
    }
}

fn next_page(next: Result<Next, ApiError>) -> Page {
    match next.unwrap() {
        Next::Page(page) => *page,
        Next::End(end) => panic!("no page, but {end:?}"),
    }
}

#[test]
fn docusign_is_given_a_pause_after_an_empty_page_and_from_the_third_small_page_on() {
    let pages = [
        (150, false),
        (0, true),
        (150, false),
        (99, false),
        (99, false),
        (99, true),
        (1, true),
        (100, false),
        (5, false),
        (0, true),
        (5, true),
        (2000, false),
    ];
    let docusign = pages_of(&pages.map(|(size, _)| size));
    let clock = Arc::<Pauses>::default();
    let mut stream = stream(&docusign, &clock, Patience::RUN);
    let mut expected = vec![];
    for (size, pauses) in pages {
        assert_eq!(next_page(stream.next_page()).len(), size);
        assert_eq!(clock.take(), expected);
        expected = vec![Duration::from_secs(1); usize::from(pauses)];
    }
    assert!(next_page(stream.next_page()).is_empty());
    assert_eq!(end(stream.next_page()), End::CaughtUp);
    assert_eq!(clock.take(), [Duration::ZERO; 0]);
}

#[test]
fn after_sixty_empty_pages_in_a_row_the_rest_is_left_to_the_next_run() {
    let mut sizes = vec![0; 59];
    sizes.push(1);
    sizes.extend([0; 60]);
    sizes.push(1);
    let docusign = pages_of(&sizes);
    let clock = Arc::<Pauses>::default();
    let mut stream = stream(&docusign, &clock, Patience::RUN);
    for number in 1..=120 {
        let page = next_page(stream.next_page());
        assert_eq!(page.end_cursor, Some(format!("p{number}")));
    }
    assert_eq!(end(stream.next_page()), End::OnlyEmptyPages);
    assert_eq!(clock.take(), [Duration::from_secs(1); 119]);
    assert_eq!(docusign.stream_cursors().len(), 120);
}

#[test]
fn pages_without_data_are_followed_to_those_with_data() {
    let docusign = Docusign::new()
        .raw_page("", r#"{"endCursor":"p1","data":null}"#)
        .raw_page("p1", r#"{"endCursor":"p2","resultData":null,"data":[]}"#)
        .raw_page("p2", r#"{"endCursor":"p3"}"#)
        .page("p3", "p4", &["{}"])
        .raw_page("p4", r#"{"endCursor":"p4","data":null}"#);
    let clock = Arc::<Pauses>::default();
    let mut stream = stream(&docusign, &clock, Patience::RUN);
    let sizes: Vec<_> = std::iter::from_fn(|| match stream.next_page().unwrap() {
        Next::Page(page) => Some(page),
        Next::End(_) => None,
    })
    .map(|page| page.len())
    .collect();
    assert_eq!(sizes, [0, 0, 0, 1, 0]);
    assert_eq!(end(stream.next_page()), End::CaughtUp);
}

#[test]
fn a_page_that_stalls_is_asked_for_again_and_one_that_only_crawls_is_not() {
    const PATIENCE: Patience = Patience {
        connect: Duration::from_secs(10),
        progress: Duration::from_millis(400),
        attempts: 3,
        waiting: Duration::from_secs(60),
        attempting: Duration::from_secs(60),
        budget: Duration::ZERO,
    };
    let records: Vec<_> = (0..400).map(|n| short(n).0).collect();
    let docusign = Docusign::new().records(records.clone()).page_size(200);
    let clock = Arc::<Pauses>::default();
    let mut stream = stream(&docusign, &clock, PATIENCE);
    docusign.spoil(1, |page| page.stall_after(10_000));
    docusign.fault(2, Reply::stall());
    stream.reuse(b"what was there before".repeat(5_000));
    let page = next_page(stream.next_page());
    assert!(page.records().map(|record| record.json).eq(&records[..200]));
    assert_eq!(clock.take().len(), 2);
    stream.reuse(page.into_buffer());

    // In all longer than what is waited for progress.
    docusign.spoil(4, |page| page.in_pieces(12, PATIENCE.progress / 10));
    let page = next_page(stream.next_page());
    assert!(page.records().map(|record| record.json).eq(&records[200..]));
    assert_eq!(clock.take(), [Duration::ZERO; 0]);

    for nth in 5..8 {
        docusign.spoil(nth, |page| page.stall_after(10));
    }
    let error = stream.next_page().unwrap_err();
    assert!(!error.definite);
    assert!(error.sentence.contains("broke off"), "{error}");
    assert_eq!(docusign.stream_cursors().len(), 7);
}

#[test]
fn a_stream_that_runs_in_circles_is_followed_once_at_the_most() {
    for (first, circle) in [(1, 2), (1, 3), (5, 40), (100, 65)] {
        let docusign = pages_of(&vec![100; first + circle]);
        // The last page leads back to the first of the circle.
        let (last, back) = (first + circle - 1, format!("p{first}"));
        docusign.page(&format!("p{last}"), &back, &["{}"; 100]);
        let clock = Arc::<Pauses>::default();
        let mut stream = stream(&docusign, &clock, Patience::RUN);
        for number in 1..=last {
            let page = next_page(stream.next_page());
            assert_eq!(page.end_cursor, Some(format!("p{number}")));
        }
        let page = next_page(stream.next_page());
        assert_eq!(page.leads_back, Some(back));
        assert_eq!(page.end_cursor, Some(page.cursor));
        assert_eq!(end(stream.next_page()), End::LeadsBack);
    }
}

#[test]
fn more_and_longer_records_than_expected_arrive_whole() {
    let record = |n: usize| {
        let text = "<&>ä€𝄞\\\" ".repeat(100_000 / 15);
        format!(r#"{{"timestamp":"2026-01-05T08:00:00Z","n":{n},"text":"{text}"}}"#)
    };
    let mut records: Vec<_> = (0..4_000).map(sample_record).collect();
    let page: Vec<_> = records.iter().map(String::as_str).collect();
    let docusign = Docusign::new().page("", "p1", &page);
    let more: Vec<_> = (0..25).map(record).collect();
    let page: Vec<_> = more.iter().map(String::as_str).collect();
    docusign.page("p1", "p2", &page).page("p2", "p2", &[]);
    records.extend(more);
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("limit", "100")
        .run(ds_monitor());
    run.assert_exit(0).whole();
    let events = run.events();
    let data: Vec<_> = events.iter().map(|event| &event.data).collect();
    assert!(data.iter().copied().eq(&records));
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_the_delivery_nor_the_end() {
    let pages = 220;
    let docusign = Docusign::new().records((0..100 * pages).map(|n| short(n).0));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path())
        .param("limit", "100")
        .leave_stderr_unread();
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(run.events().len(), 100 * pages);
    let lines = run.log_lines();
    assert!(lines.len() < pages, "the pipe held every line");
    assert!(
        lines
            .iter()
            .all(|line| line.field("action") != "skip_log_lines")
    );

    // A run whose log is full ends as soon as it is told to.
    let folder = tempdir().unwrap();
    let asked = docusign.requests().len();
    docusign.latency(Duration::from_millis(5));
    let mut running = input.checkpoint_dir(folder.path()).spawn(ds_monitor());
    let mut stdout = running.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    docusign.wait_for_requests(asked + 200, DEADLINE);
    running.terminate();
    running.wait(DEADLINE);
    assert!(reader.join().unwrap().unwrap() > 0);
    assert!(
        docusign.requests().len() < asked + pages,
        "it ended by itself"
    );
}
