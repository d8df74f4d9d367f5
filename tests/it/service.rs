use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use ds_monitor::splunk::checkpoint::file_stem;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::ds_monitor;
use support::docusign::{Docusign, Door, cursor_at, sample_records};
use support::http::Reply;
use support::input::{DEADLINE, Input, LogLine, Outcome, Running};

/// A service that is told to stop must be gone by then.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Inputs that one service must carry.
const MANY: usize = 50;

/// A conf file and a folder for positions.
struct Scene {
    docusign: Docusign,
    folder: TempDir,
    /// Who starts the processes; its stanza does not count.
    starter: Input,
}

impl Scene {
    fn new(records: &[String]) -> Self {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("positions")).unwrap();
        Self {
            docusign: Docusign::new().records(records.to_vec()).page_size(100),
            starter: Input::ds_monitor("starter"),
            folder,
        }
    }

    fn input(&self, name: &str) -> Input {
        Input::for_docusign(name, &self.docusign, &self.positions())
    }

    fn positions(&self) -> PathBuf {
        self.folder.path().join("positions")
    }

    fn write(&self, inputs: &[Input]) {
        let conf: String = inputs.iter().map(Input::conf).collect();
        fs::write(self.folder.path().join("inputs.conf"), conf).unwrap();
    }

    /// Starts `ds_monitor run --conf … --checkpoint-dir … OPTIONS`.
    fn start(&self, options: &[&str]) -> Running {
        let conf = self.folder.path().join("inputs.conf");
        let positions = self.positions();
        let own = [
            "run",
            "--conf",
            conf.to_str().unwrap(),
            "--checkpoint-dir",
            positions.to_str().unwrap(),
        ];
        let arguments = [&own, options].concat();
        self.starter.start(ds_monitor(), &arguments, String::new())
    }

    fn checkpoint(&self, name: &str) -> Value {
        let stem = file_stem(&format!("ds_monitor://{name}"));
        let path = self.positions().join(format!("{stem}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

/// Reads what a process writes, as long as it lives.
fn read_on(run: &mut Running) -> JoinHandle<Vec<u8>> {
    let mut stdout = run.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut read = vec![];
        stdout.read_to_end(&mut read).unwrap();
        read
    })
}

/// How often each line is on the standard output.
fn lines(stdout: &[u8]) -> BTreeMap<String, usize> {
    let text = std::str::from_utf8(stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    lines
}

fn of_action(run: &Outcome, action: &str) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.field("action") == action);
    lines
}

#[test]
fn fifty_inputs_run_side_by_side_and_neither_their_events_nor_their_positions_mix() {
    // Of different lengths, so that lines end anywhere in a write.
    let records: Vec<_> = (0..300)
        .map(|n| {
            format!(
                "{{\"eventId\":\"{n}\",\"filler\":\"{}\"}}",
                "x".repeat(n * 7)
            )
        })
        .collect();
    let scene = Scene::new(&records);
    let name = |n: usize| format!("tenant {n}");
    let mut inputs: Vec<_> = (0..MANY).map(|n| scene.input(&name(n))).collect();
    inputs.push(scene.input("switched off").param("disabled", "1"));
    inputs.push(scene.input("broken").param("limit", "0"));
    scene.write(&inputs);
    let run = scene.start(&["--all"]).finish();
    // The one that cannot run decides how the process ends, and stops no other.
    run.assert_exit(78);
    let lines = lines(&run.stdout);
    assert_eq!(lines.len(), records.len(), "{}", run.report());
    for record in &records {
        assert_eq!(lines.get(record), Some(&MANY), "{record}");
    }
    for n in 0..MANY {
        let checkpoint = scene.checkpoint(&name(n));
        assert_eq!(checkpoint["cursor"], cursor_at(300).as_str());
        assert_eq!(checkpoint["state"], "closed");
        let input = format!("ds_monitor://{}", name(n));
        let pages = of_action(&run, "page_ingested");
        let own = pages.iter().filter(|line| line.field("input") == input);
        assert_eq!(own.count(), 3, "{input}");
    }
    assert_eq!(of_action(&run, "events_ingested").len(), MANY);
    let errors: Vec<_> = run
        .log_lines()
        .into_iter()
        .filter(|line| line.level == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{}", run.report());
    assert_eq!(errors[0].field("input"), "ds_monitor://broken");
    assert!(!run.stderr.contains("switched off"), "{}", run.report());
}

#[test]
fn runs_follow_one_another_with_one_token_until_a_signal() {
    let scene = Scene::new(&sample_records(0..120));
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1s"]);
    let stdout = read_on(&mut run);
    run.wait_for_stderr("n_events=120", DEADLINE);
    scene.docusign.push_records(sample_records(120..130));
    run.wait_for_stderr("n_events=10 pages", DEADLINE);
    run.wait_for_stderr("n_events=0 pages", DEADLINE);
    run.signal("TERM");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    assert_eq!(lines(&stdout.join().unwrap()).len(), 130);
    assert_eq!(scene.checkpoint("prod")["state"], "closed");
    assert_eq!(scene.docusign.token_requests(), 1);
}

#[test]
fn a_signal_ends_a_run_of_a_service_whose_reader_does_not_read() {
    let scene = Scene::new(&sample_records(0..2_000));
    scene.docusign.page_size(2_000);
    scene.write(&[scene.input("a"), scene.input("b")]);
    let mut run = scene.start(&["--all", "--every", "60s"]);
    scene.docusign.wait_for_requests(4, DEADLINE);
    run.signal("TERM");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    let run = run.finish();
    assert_eq!(of_action(&run, "stop").len(), 2, "{}", run.report());
    for name in ["a", "b"] {
        assert_eq!(scene.checkpoint(name)["cursor"], "2021-01-01T00:00:00Z");
    }
}

#[test]
fn a_run_that_fails_is_logged_and_the_next_one_comes() {
    let scene = Scene::new(&sample_records(0..5));
    scene.docusign.consented_scopes(&[]);
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1s"]);
    let stdout = read_on(&mut run);
    run.wait_for_stderr_that(|it| it.matches("consent_required").count() > 1, DEADLINE);
    scene.docusign.consented_scopes(&["impersonation"]);
    run.wait_for_stderr("action=events_ingested", DEADLINE);
    run.signal("INT");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    assert_eq!(lines(&stdout.join().unwrap()).len(), 5);
}

#[test]
fn a_service_ends_with_its_reader_although_nothing_is_to_be_written() {
    let records = sample_records(0..5);
    let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
    let scene = Scene::new(&records);
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1h"]);
    let mut stdout = run.stdout.take().unwrap();
    let mut piece = [0; 4096];
    let mut read = 0;
    while read < bytes {
        read += stdout.read(&mut piece).unwrap();
    }
    run.wait_for_stderr("action=events_ingested", DEADLINE);
    drop(stdout);
    assert_eq!(run.wait(DEADLINE).code(), Some(1));
    let run = run.finish();
    assert_eq!(of_action(&run, "stop").len(), 1, "{}", run.report());
}

#[test]
fn an_input_that_another_process_collects_is_left_to_it() {
    let scene = Scene::new(&sample_records(0..2_000));
    scene.docusign.page_size(2_000);
    scene.write(&[scene.input("a"), scene.input("b")]);
    let first = scene.start(&["--input", "a"]);
    scene.docusign.wait_for_requests(1, DEADLINE);
    let both = scene
        .start(&["--input", "ds_monitor://b", "--input=a"])
        .finish();
    both.assert_exit(0);
    let skipped = of_action(&both, "skip");
    assert_eq!(skipped.len(), 1, "{}", both.report());
    assert_eq!(skipped[0].field("input"), "ds_monitor://a");
    assert_eq!(lines(&both.stdout).len(), 2_000);
    let first = first.finish();
    assert_eq!(lines(&first.assert_exit(0).stdout).len(), 2_000);
}

#[test]
fn a_server_that_is_busy_is_worth_another_try_later() {
    let scene = Scene::new(&sample_records(0..5));
    scene.write(&[scene.input("prod")]);
    for nth in 1..=6 {
        let busy = Reply::json(503, "{}").header("Retry-After", "0");
        scene.docusign.fault_at(Door::Stream, nth, busy);
    }
    let run = scene.start(&["--input", "prod"]).finish();
    run.assert_exit(75);
}
