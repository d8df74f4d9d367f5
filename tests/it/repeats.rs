//! Streams that repeat themselves, and pages with records that are no JSON: neither stops the feed nor fills the index.

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{Docusign, sample_records};
use support::hec::Hec;
use support::input::{Input, LogLine, Outcome};

/// The stand-in's name for the first page, whatever date is asked for.
const START: &str = "";

fn data(run: &Outcome) -> Vec<String> {
    run.events().into_iter().map(|event| event.data).collect()
}

/// The lines about what was noticed.
fn warnings(run: &Outcome) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.level == "WARN");
    lines
}

/// A run that delivers `expected` and warns with `action`, or of nothing.
#[track_caller]
fn assert_run(input: &Input, expected: &[&str], action: Option<&str>) {
    let run = input.run(ds_monitor());
    run.assert_exit(0).whole();
    assert_eq!(data(&run), expected, "{}", run.report());
    let mut actions: Vec<_> = warnings(&run)
        .iter()
        .map(|line| line.field("action").to_owned())
        .collect();
    actions.dedup();
    let expected: Vec<_> = action.into_iter().collect();
    assert_eq!(actions, expected, "{}", run.report());
}

#[test]
fn a_last_page_that_comes_again_with_every_run_is_delivered_once_and_new_records_after_it() {
    let records = sample_records(0..7);
    let r: Vec<&str> = records.iter().map(String::as_str).collect();
    let docusign = Docusign::new().page(START, "c1", &r[..2]);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    docusign.page("c1", "c1", &r[2..4]);
    assert_run(&input, &r[..4], None);
    assert_run(&input, &[], Some("skip_repeated"));
    docusign.page("c1", "c1", &r[2..5]);
    assert_run(&input, &r[4..5], Some("skip_repeated"));
    docusign.page("c1", "c2", &r[2..6]).page("c2", "c2", &[]);
    assert_run(&input, &r[5..6], Some("skip_repeated"));
    docusign.page("c2", "c3", &r[6..]).page("c3", "c3", &[]);
    assert_run(&input, &r[6..], None);
}

#[test]
fn a_last_record_that_comes_again_under_ever_new_cursors_is_delivered_once() {
    let records = sample_records(0..3);
    let r: Vec<&str> = records.iter().map(String::as_str).collect();
    let docusign = Docusign::new().page(START, "c0", &r[..2]);
    for n in 0..9 {
        docusign.page(&format!("c{n}"), &format!("c{}", n + 1), &r[1..2]);
    }
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    for expected in [&r[..2], &[], &[]] {
        let run = input.run(ds_monitor());
        run.assert_exit(0).whole();
        assert_eq!(data(&run), expected, "{}", run.report());
        let actions = warnings(&run);
        let actions: Vec<_> = actions.iter().map(|line| line.field("action")).collect();
        let noticed = [
            "skip_repeated",
            "skip_repeated",
            "skip_repeated",
            "leave_rest",
        ];
        assert_eq!(actions, noticed, "{}", run.report());
    }
    docusign.page("c9", "c10", &r[1..]).page("c10", "c10", &[]);
    assert_run(&input, &r[2..], Some("skip_repeated"));
}

/// What was read before a cut may never have been indexed.
#[test]
fn after_a_cut_off_run_nothing_counts_as_repeated() {
    let records = sample_records(0..2);
    let r: Vec<&str> = records.iter().map(String::as_str).collect();
    let docusign = Docusign::new().page(START, "c1", &[]).page("c1", "c1", &r);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    assert_run(&input, &r, None);
    for (path, saved) in input.checkpoint_files() {
        if path.extension().is_some_and(|it| it == "json") {
            let saved = String::from_utf8(saved).unwrap();
            let open = saved.replace("\"closed\"", "\"open\"");
            assert_ne!(saved, open);
            std::fs::write(path, open).unwrap();
        }
    }
    assert_run(&input, &r, None);
    assert_run(&input, &[], Some("skip_repeated"));
}

#[test]
fn records_without_an_event_id_may_be_alike() {
    let docusign = Docusign::new()
        .page(START, "c1", &[r#"{"a":1}"#])
        .page("c1", "c2", &[r#"{"a":1}"#])
        .page("c2", "c2", &[]);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(data(&run).len(), 2, "{}", run.report());
}

/// Every run would deliver the whole ring once more.
#[test]
fn a_ring_of_pages_is_delivered_once_and_left_when_it_opens() {
    const PAGES: usize = 70;
    const PAGE: usize = 100;
    let records = sample_records(0..PAGES * PAGE + 1);
    let r: Vec<&str> = records.iter().map(String::as_str).collect();
    let docusign = Docusign::new().page(START, "c0", &[]);
    for (n, page) in r[..PAGES * PAGE].chunks(PAGE).enumerate() {
        let next = (n + 1) % PAGES;
        docusign.page(&format!("c{n}"), &format!("c{next}"), page);
    }
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    run.assert_exit(0).whole();
    assert!(data(&run) == r[..PAGES * PAGE], "{}", run.report());
    let last = warnings(&run).pop().unwrap();
    assert_eq!(last.field("action"), "keep_cursor", "{}", run.report());

    let run = input.run(ds_monitor());
    run.assert_exit(0).whole();
    assert!(run.events().is_empty(), "{}", run.report());
    let ring = format!("c{}", PAGES - 1);
    docusign
        .page(&ring, "new", &r[(PAGES - 1) * PAGE..])
        .page("new", "new", &[]);
    assert_run(&input, &r[PAGES * PAGE..], Some("skip_repeated"));
}

/// Refused at every run, one such record would have stopped the feed for ever.
#[test]
fn a_record_that_is_no_json_does_not_stop_the_feed() {
    let records = sample_records(20..24);
    let damage = |from: &str, to: &str| records[1].replacen(from, to, 1);
    let kinds = [
        (
            "line break",
            damage("\"eventId\":\"", "\"note\":\"a\nb\",\"eventId\":\""),
        ),
        (
            "bare word",
            damage("\"eventId\":\"", "\"note\":NaN,\"eventId\":\""),
        ),
        (
            "open quote",
            damage("\"eventId\":\"", "\"note\":\"x,\"eventId\":\""),
        ),
    ];
    std::thread::scope(|scope| {
        for (name, damaged) in &kinds {
            for to_hec in [false, true] {
                let records = &records;
                scope.spawn(move || {
                    let rows = [&records[0], damaged, &records[2]].map(String::as_str);
                    let body = format!(r#"{{"data":[{}],"endCursor":"c1"}}"#, rows.join(","));
                    let docusign =
                        Docusign::new()
                            .raw_page(START, body)
                            .page("c1", "c1", &[&records[3]]);
                    let folder = tempdir().unwrap();
                    let hec = Hec::new();
                    let mut input = Input::for_docusign("prod", &docusign, folder.path());
                    if to_hec {
                        input = input.delivers_to(&hec);
                    }
                    let run = input.run(ds_monitor());
                    run.assert_exit(0);
                    let came = match to_hec {
                        true => hec.events(),
                        false => data(&run),
                    };
                    let [first, second, third, fourth] = came.as_slice() else {
                        panic!("{name}: {}", run.report());
                    };
                    assert_eq!(
                        [first, third, fourth],
                        [&records[0], &records[2], &records[3]]
                    );
                    let id = records[1]
                        .split('"')
                        .skip_while(|word| *word != "eventId")
                        .nth(2);
                    let id = id.unwrap();
                    assert!(second.contains(id), "{name}: {second}");
                    let warning = warnings(&run).pop().unwrap();
                    assert_eq!(
                        warning.field("action"),
                        "deliver_damaged",
                        "{}",
                        run.report()
                    );
                    assert_eq!(warning.field("n_events"), "1");
                    assert!(warning.field("records").contains(id), "{}", warning.raw);
                });
            }
        }
    });
}

#[test]
fn a_page_whose_records_cannot_be_told_apart_stays_an_error_that_says_how_to_go_on() {
    // One record with a quote too few, or two?
    let body = r#"{"data":[{"a":"x},{"b":1}],"endCursor":"c1"}"#;
    let docusign = Docusign::new().raw_page(START, body);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    assert!(run.events().is_empty());
    let last = run.log_lines().pop().unwrap();
    assert!(last.sentence.contains("command reset"), "{}", last.raw);
}
