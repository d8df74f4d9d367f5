use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ds_monitor::base::clock::{Clock, SystemClock};
use serde_json::Value;
use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{Docusign, Door, ORGANIZATION_ID, cursor_at, sample_records};
use support::http::Reply;
use support::input::{DEADLINE, Event, Input, Outcome};

/// A run that is told to stop must be gone by then.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

fn checkpoint_path(folder: &Path) -> PathBuf {
    let mut paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
    let path = paths.next().unwrap();
    assert_eq!(paths.next(), None);
    path
}

fn checkpoint(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(checkpoint_path(folder)).unwrap()).unwrap()
}

fn data(outcome: &Outcome) -> Vec<String> {
    outcome
        .events()
        .into_iter()
        .map(|event| event.data)
        .collect()
}

fn has_line(outcome: &Outcome, level: &str, action: &str) -> bool {
    outcome
        .log_lines()
        .iter()
        .any(|line| line.level == level && line.field("action") == action)
}

/// Seven days before now by a clock that is years ahead lies in the future: nothing would come until then.
#[test]
fn the_first_position_follows_docusigns_clock_where_the_own_one_is_wrong() {
    const DATE: &str = "Tue, 01 Mar 2022 12:00:00 GMT";
    let refused = Reply::json(
        400,
        r#"{"error":"invalid_grant","error_description":"exp"}"#,
    );
    for (token, start_from, exit, expected) in [
        (None, "", 0, Some("2022-02-22T12:00:00Z")),
        (Some(refused), "", 1, Some("2022-02-22T12:00:00Z")),
        (None, "2022-03-02", 1, None),
        (None, "2022-02-28", 0, Some("2022-02-28T00:00:00Z")),
    ] {
        let docusign = Docusign::new();
        docusign.spoil_at(Door::Token, 1, move |good| {
            token.unwrap_or(good).header("Date", DATE)
        });
        let folder = tempdir().unwrap();
        let run = Input::for_docusign("prod", &docusign, folder.path())
            .param("start_from", start_from)
            .run(ds_monitor());
        run.assert_exit(exit);
        let lines = run.log_lines();
        let warning = lines
            .iter()
            .find(|line| line.field("action") == "check_clock");
        let cursor = warning.map(|line| line.field("cursor"));
        assert_eq!(cursor, expected, "{}", run.report());
        let asked = docusign.stream_cursors();
        assert_eq!(
            asked.first().map(String::as_str),
            expected.filter(|_| exit == 0)
        );
    }
}

/// Nobody had asked Docusign by the time the first position was saved.
#[test]
fn a_first_position_in_the_future_is_set_again_as_soon_as_docusign_answers() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path()).param("start_from", "");
    docusign.fault_on_token(1, Reply::json(400, "{}"));
    input.run(ds_monitor()).assert_exit(1);
    docusign.spoil_at(Door::Token, 2, |good| {
        good.header("Date", "Tue, 01 Mar 2022 12:00:00 GMT")
    });
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    assert!(has_line(&run, "WARN", "check_clock"), "{}", run.report());
    assert_eq!(docusign.stream_cursors()[0], "2022-02-22T12:00:00Z");
}

#[test]
fn a_second_run_goes_on_after_the_first() {
    let records = sample_records(0..350);
    let docusign = Docusign::new().records(records[..200].to_vec());
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let first = input.run(ds_monitor());
    assert_eq!(data(first.assert_exit(0)), records[..200]);
    assert!(has_line(&first, "INFO", "first_run"));
    let saved = checkpoint(folder.path());
    assert_eq!(saved["version"], 1);
    assert_eq!(saved["input"], "ds_monitor://prod");
    assert_eq!(saved["cursor"], cursor_at(200).as_str());
    assert_eq!(saved["state"], "closed");
    assert_eq!(saved["identity"]["host"], "127.0.0.1");

    docusign.push_records(records[200..].to_vec());
    let second = input.run(ds_monitor());
    assert_eq!(data(second.assert_exit(0)), records[200..]);
    assert!(has_line(&second, "INFO", "ignore_start_from"));
    let third = input.run(ds_monitor());
    assert!(
        !has_line(&third, "INFO", "ignore_start_from"),
        "once is enough"
    );
}

#[test]
fn the_first_position_is_saved_before_the_first_request() {
    let docusign = Docusign::new().fault_on_token(
        1,
        support::http::Reply::json(400, r#"{"error":"consent_required"}"#),
    );
    let folder = tempdir().unwrap();
    Input::for_docusign("prod", &docusign, folder.path())
        .param("start_from", "2026-02-03")
        .run(ds_monitor())
        .assert_exit(1);
    let saved = checkpoint(folder.path());
    assert_eq!(saved["cursor"], "2026-02-03T00:00:00Z");
    assert_eq!(saved["state"], "closed");
}

#[test]
fn a_page_that_nobody_has_read_is_not_saved_and_a_killed_run_steps_back_one_page() {
    let records = sample_records(0..900);
    let docusign = Docusign::new().records(records.clone()).page_size(300);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());

    // The reader takes the first page and a little of the second, then everything ends.
    let mut run = input.spawn(ds_monitor());
    let mut read = Vec::new();
    let stdout = run.stdout.as_mut().unwrap();
    while Event::parse_all(&read).0.len() <= 320 {
        let mut chunk = [0; 4096];
        let n = stdout.read(&mut chunk).unwrap();
        assert!(n > 0);
        read.extend_from_slice(&chunk[..n]);
    }
    run.wait_for_stderr("action=page_ingested", DEADLINE);
    let saved = checkpoint(folder.path());
    assert_eq!(saved["cursor"], cursor_at(300).as_str());
    assert_eq!(saved["state"], "open");
    run.kill();
    run.wait(DEADLINE);
    drop(run);

    let rest = input.run(ds_monitor());
    rest.assert_exit(0);
    assert!(has_line(&rest, "INFO", "resume_after_cut_off"));
    assert_eq!(data(&rest), records);
    assert_eq!(checkpoint(folder.path())["state"], "closed");
    assert_eq!(data(input.run(ds_monitor()).assert_exit(0)), [""; 0]);
}

#[test]
fn a_checkpoint_is_open_before_the_first_byte_goes_out() {
    let docusign = Docusign::new().records(sample_records(0..100));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let mut run = input.spawn(ds_monitor());
    let mut byte = [0];
    run.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(checkpoint(folder.path())["state"], "open");
    run.finish().assert_exit(0);
    assert_eq!(checkpoint(folder.path())["state"], "closed");
}

#[test]
fn a_reader_that_leaves_ends_the_run_without_an_advance() {
    let docusign = Docusign::new().records(sample_records(0..2000));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let mut run = input.spawn(ds_monitor());
    let mut some = [0; 1000];
    run.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(run.stdout.take());
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
    let saved = checkpoint(folder.path());
    assert_eq!(saved["cursor"], "2021-01-01T00:00:00Z");
    assert_eq!(saved["state"], "open");
    let stderr = run.wait_for_stderr("action=stop", DEADLINE);
    assert!(
        stderr.contains("nobody reads") || stderr.contains("Nobody reads"),
        "{stderr}"
    );
}

#[test]
fn a_signal_ends_a_run_whose_reader_does_not_read() {
    for signal in ["TERM", "INT"] {
        let docusign = Docusign::new()
            .records(sample_records(0..2000))
            .page_size(500);
        let folder = tempdir().unwrap();
        let input = Input::for_docusign("prod", &docusign, folder.path());
        let mut run = input.spawn(ds_monitor());
        // Two pages have been asked for when the first one waits in the pipe.
        docusign.wait_for_requests(3, DEADLINE);
        run.signal(signal);
        assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
        assert_eq!(checkpoint(folder.path())["cursor"], "2021-01-01T00:00:00Z");
        assert_eq!(data(&input.run(ds_monitor())).len(), 2000);
    }
}

#[test]
fn a_signal_ends_a_run_that_waits_for_docusign() {
    let docusign = Docusign::new()
        .records(sample_records(0..300))
        .page_size(150)
        .fault(2, support::http::Reply::stall());
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let mut run = input.spawn(ds_monitor());
    let reader = std::thread::spawn({
        let mut stdout = run.stdout.take().unwrap();
        move || {
            let mut read = Vec::new();
            stdout.read_to_end(&mut read).unwrap();
            Event::parse_all(&read).0.len()
        }
    });
    run.wait_for_stderr("action=page_ingested", DEADLINE);
    run.terminate();
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
    assert_eq!(reader.join().unwrap(), 150);
    let saved = checkpoint(folder.path());
    assert_eq!(saved["cursor"], cursor_at(150).as_str());
    assert_eq!(saved["state"], "open");
}

#[test]
fn small_pages_wait_in_the_pipe_together_and_none_is_saved_before_it_is_read() {
    let records = sample_records(0..12);
    let docusign = Docusign::new().records(records.clone()).page_size(4);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.spawn(ds_monitor());
    // All pages and the question after the last one, although nothing has been read.
    docusign.wait_for_requests(1 + 4, DEADLINE);
    assert_eq!(checkpoint(folder.path())["cursor"], "2021-01-01T00:00:00Z");
    let run = run.finish();
    assert_eq!(data(run.assert_exit(0)), records);
    assert_eq!(checkpoint(folder.path())["cursor"], cursor_at(12).as_str());
}

#[test]
fn where_the_output_is_no_pipe_a_flush_confirms() {
    let docusign = Docusign::new().records(sample_records(0..250));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let file = folder.path().join("out.xml");
    let mut child = std::process::Command::new(ds_monitor())
        .stdin(std::process::Stdio::piped())
        .stdout(fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        input.input_xml().as_bytes(),
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(Event::parse_all(&fs::read(file).unwrap()).0.len(), 250);
    assert_eq!(checkpoint(folder.path())["cursor"], cursor_at(250).as_str());
}

#[test]
fn a_second_process_for_the_same_stanza_leaves_at_once() {
    let docusign = Docusign::new().records(sample_records(0..2000));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let first = input.spawn(ds_monitor());
    docusign.wait_for_requests(1, DEADLINE);
    let second = input.run(ds_monitor());
    second.assert_exit(0);
    assert!(has_line(&second, "WARN", "skip"), "{}", second.report());
    assert!(second.events().is_empty());
    first.finish().assert_exit(0);
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_copy_before_and_two_are_an_error() {
    let records = sample_records(0..400);
    let docusign = Docusign::new().records(records.clone()).page_size(200);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    let path = checkpoint_path(folder.path());
    let good = fs::read(&path).unwrap();

    for torn in [&good[..good.len() / 2], &[], b"null", &[0; 300]] {
        fs::write(&path, torn).unwrap();
        let run = input.run(ds_monitor());
        run.assert_exit(0);
        assert!(
            has_line(&run, "WARN", "load_checkpoint"),
            "{}",
            run.report()
        );
        // The copy before is the one of the last page, which was still marked open.
        assert!(run.events().len() <= 400, "{}", run.report());
        assert_eq!(checkpoint(folder.path())["cursor"], cursor_at(400).as_str());
        fs::write(&path, &good).unwrap();
        input.run(ds_monitor()).assert_exit(0);
    }

    let mut previous = path.clone().into_os_string();
    previous.push(".previous");
    fs::write(&path, "torn").unwrap();
    fs::write(&previous, "torn").unwrap();
    let before = docusign.requests().len();
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    let lines = run.log_lines();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].sentence.contains(path.to_str().unwrap()));
    assert_eq!(docusign.requests().len(), before);
}

#[test]
fn a_checkpoint_of_elsewhere_is_an_error() {
    let docusign = Docusign::new().records(sample_records(0..100));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    let path = checkpoint_path(folder.path());
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        ("127.0.0.1", "lens.docusign.net", "lens.docusign.net"),
        ("\"version\": 1", "\"version\": 7", "version 7"),
        (
            "ds_monitor://prod",
            "ds_monitor://other",
            "ds_monitor://other",
        ),
    ] {
        let foreign = good.replace(from, to);
        assert_ne!(foreign, good);
        fs::write(&path, foreign).unwrap();
        let before = docusign.requests().len();
        let run = input.run(ds_monitor());
        run.assert_exit(1);
        let lines = run.log_lines();
        assert_eq!(lines.len(), 1, "{}", run.report());
        assert!(lines[0].sentence.contains(expected), "{}", run.report());
        assert_eq!(docusign.requests().len(), before);
    }
}

#[test]
fn another_generation_goes_on_from_an_hour_before_the_last_save() {
    let docusign = Docusign::new().records(sample_records(0..100));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    let path = checkpoint_path(folder.path());
    let mut saved = checkpoint(folder.path());
    saved["saved_at"] = "2026-03-04T05:06:07.890Z".into();
    fs::write(&path, saved.to_string()).unwrap();
    let asked = docusign.stream_cursors().len();
    let run = input
        .param("organization_id", ORGANIZATION_ID)
        .run(ds_monitor());
    run.assert_exit(0);
    assert!(
        has_line(&run, "WARN", "change_generation"),
        "{}",
        run.report()
    );
    assert_eq!(docusign.stream_cursors()[asked], "2026-03-04T04:06:07Z");
    assert_eq!(checkpoint(folder.path())["identity"]["generation"], "v1");
}

#[test]
fn another_service_user_goes_on_where_the_first_one_was() {
    let other = "11111111-2222-3333-4444-555555555555";
    let docusign = Docusign::new()
        .records(sample_records(0..100))
        .service_users(&[support::docusign::USER_ID, other]);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    let run = input.param("user_id", other).run(ds_monitor());
    run.assert_exit(0);
    assert!(has_line(&run, "INFO", "change_user"), "{}", run.report());
    assert!(run.events().is_empty());
}

#[test]
fn a_checkpoint_folder_that_cannot_be_used_is_an_error_before_any_request() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let missing = folder.path().join("missing");
    let run = Input::for_docusign("prod", &docusign, &missing).run(ds_monitor());
    run.assert_exit(1);
    assert!(
        run.stderr.contains(missing.to_str().unwrap()),
        "{}",
        run.report()
    );
    assert!(docusign.requests().is_empty());
}

#[test]
fn names_that_no_file_could_have_get_checkpoints_of_their_own() {
    let docusign = Docusign::new().records(sample_records(0..100));
    let folder = tempdir().unwrap();
    let mut events = HashMap::new();
    for name in ["a/b", "a:b", "A:B", "ümlaut & <more>", "../../x"] {
        let run = Input::for_docusign(name, &docusign, folder.path()).run(ds_monitor());
        events.insert(name, run.assert_exit(0).events().len());
    }
    assert!(events.values().all(|&count| count == 100), "{events:?}");
    // A checkpoint, its copy and its lock for each of the five.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 15);
}

#[test]
fn a_process_that_holds_the_lock_and_saves_nothing_for_an_hour_is_an_error() {
    let docusign = Docusign::new().records(sample_records(0..3));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    let files = fs::read_dir(folder.path()).unwrap();
    let paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    let lock = paths
        .iter()
        .find(|path| path.extension().is_some_and(|it| it == "lock"));
    let lock = fs::File::open(lock.unwrap()).unwrap();
    lock.try_lock().unwrap();
    let before = docusign.requests().len();
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(run.log_lines()[0].level, "WARN");

    let two_hours_ago = SystemClock::new().now() - chrono::TimeDelta::hours(2);
    for path in &paths {
        fs::File::open(path)
            .unwrap()
            .set_modified(two_hours_ago.into())
            .unwrap();
    }
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    let line = &run.log_lines()[0];
    assert_eq!(
        (line.level.as_str(), line.field("action")),
        ("ERROR", "skip")
    );
    assert!(run.stderr.contains("Find out why"), "{}", run.report());
    assert_eq!(docusign.requests().len(), before);
}
