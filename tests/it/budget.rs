//! Docusign allows an account a number of calls per hour, for all its integrations together. We leave some of them.

use std::time::Duration;

use tempfile::tempdir;

use crate::{ds_lookups, ds_monitor};
use support::docusign::{Docusign, sample_records};
use support::input::{Input, Outcome};
use support::splunkd::Splunkd;

/// Calls that must be left to others.
const RESERVED: u64 = 30;

#[track_caller]
fn assert_noticed(run: &Outcome) {
    let lines = run.log_lines();
    let noticed = lines
        .iter()
        .find(|line| line.field("action") == "wait_for_budget");
    assert!(
        noticed.is_some_and(|line| line.level == "INFO"),
        "{}",
        run.report()
    );
}

#[test]
fn a_backfill_slows_down_and_goes_on_when_the_budget_is_renewed() {
    let records = sample_records(0..6_000);
    let docusign = Docusign::new().records(records.clone()).page_size(100);
    docusign.budget(45, Duration::from_secs(2));
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
    run.assert_exit(0).whole();
    let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
    assert!(data == records, "{}", run.report());
    assert!(docusign.least_budget() >= RESERVED);
}

#[test]
fn where_the_budget_is_renewed_too_late_the_run_ends_in_good_order_and_the_next_ones_ask_nothing() {
    let records = sample_records(0..600);
    let docusign = Docusign::new().records(records.clone()).page_size(100);
    docusign.budget(RESERVED + 3, Duration::from_secs(3000));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let first = input.run(ds_monitor());
    first.assert_exit(0).whole();
    assert_noticed(&first);
    let delivered = first.events().len();
    assert!((1..600).contains(&delivered), "{}", first.report());
    let asked = docusign.requests().len();
    for _ in 0..3 {
        let run = input.run(ds_monitor());
        run.assert_exit(0);
        assert!(run.events().is_empty());
        assert_noticed(&run);
        let lines = run.log_lines();
        let last = lines.last().unwrap();
        assert_eq!(
            last.field("action"),
            "events_ingested",
            "a run that is alive says so"
        );
        assert_eq!(last.field("caught_up"), "false");
    }
    assert_eq!(docusign.requests().len(), asked);
    assert!(docusign.least_budget() >= RESERVED);

    // An hour later.
    docusign.budget(3000, Duration::from_secs(3000));
    for (path, saved) in input.checkpoint_files() {
        if path.extension().is_some_and(|it| it == "json") {
            let mut saved: serde_json::Value = serde_json::from_slice(&saved).unwrap();
            saved["paused_until"] = "2026-01-01T00:00:00Z".into();
            std::fs::write(path, saved.to_string()).unwrap();
        }
    }
    let run = input.run(ds_monitor());
    run.assert_exit(0).whole();
    let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
    assert!(data == records[delivered..], "{}", run.report());
}

#[test]
fn a_refresh_of_the_lookups_leaves_the_reserve_too() {
    let docusign = Docusign::new();
    docusign.budget(RESERVED + 2, Duration::from_secs(2));
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    Input::for_docusign("prod", &docusign, folder.path())
        .saved_in(&splunkd)
        .run(ds_monitor())
        .assert_exit(0);
    docusign.budget(RESERVED + 2, Duration::from_secs(2));
    let refresh = Input::ds_lookups("daily")
        .param("monitor_input", "prod")
        .param("output", "index")
        .checkpoint_dir(folder.path())
        .splunkd(&splunkd);
    let run = refresh.run(ds_lookups());
    run.assert_exit(0);
    assert!(!run.events().is_empty(), "{}", run.report());
    assert!(docusign.least_budget() >= RESERVED);
}
