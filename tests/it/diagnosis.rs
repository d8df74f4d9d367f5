use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{Docusign, PRIVATE_KEY, cursor_at, sample_records};
use support::input::{Input, Outcome};

fn command(input: &Input, arguments: &[&str]) -> (Outcome, String) {
    let outcome = input
        .start(ds_monitor(), arguments, input.input_xml())
        .finish();
    let stdout = String::from_utf8(outcome.stdout.clone()).unwrap();
    outcome.assert_no_secret(&[PRIVATE_KEY]);
    (outcome, stdout)
}

/// The text of the line that begins with `label`.
fn line<'a>(text: &'a str, label: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap_or_else(|| panic!("no line {label} in\n{text}"))
        .trim()
}

#[test]
fn check_walks_through_all_that_the_input_needs() {
    let docusign = Docusign::new().records(sample_records(0..5));
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    let (outcome, text) = command(&input, &["check"]);
    outcome.assert_exit(0);
    for step in [
        "Configuration",
        "Private key",
        "Token",
        "Consent",
        "Monitor",
        "Users",
        "Organizations",
    ] {
        assert!(line(&text, step).starts_with("OK"), "{text}");
    }
    assert!(text.ends_with("\nReady.\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colour outside a terminal");
}

#[test]
fn check_says_at_which_step_what_is_to_do() {
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    for (input, step) in [
        (input.clone().param("limit", "0"), "Configuration"),
        (input.clone().pasted_key("nonsense"), "Private key"),
        (
            input
                .clone()
                .param("user_id", "11111111-2222-3333-4444-555555555555"),
            "Token",
        ),
        (
            input
                .clone()
                .param("organization_id", "11111111-2222-3333-4444-555555555555"),
            "Monitor",
        ),
    ] {
        let (outcome, text) = command(&input, &["check"]);
        outcome.assert_exit(78);
        assert!(line(&text, step).starts_with("TO DO"), "{text}");
        assert!(text.ends_with("\n1 thing to do.\n"), "{text}");
    }
    docusign.consented_scopes(&["signature"]);
    let (outcome, text) = command(&input, &["check"]);
    outcome.assert_exit(78);
    assert!(line(&text, "Token").starts_with("OK"), "{text}");
    assert!(line(&text, "Consent").contains("/oauth/auth?"), "{text}");
}

#[test]
fn what_only_the_lookups_need_is_no_problem_of_the_input() {
    let docusign = Docusign::new().consented_scopes(&["impersonation"]);
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    let (outcome, text) = command(&input, &["check"]);
    outcome.assert_exit(0);
    assert!(line(&text, "Users").starts_with("NOTE"), "{text}");
    assert!(
        line(&text, "Users").contains("scope=impersonation%20signature"),
        "{text}"
    );
    assert!(
        line(&text, "Organizations").contains("organization_read"),
        "{text}"
    );
}

#[test]
fn show_tells_the_position_and_how_far_it_is_behind() {
    let docusign = Docusign::new().records(sample_records(0..120));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let (outcome, text) = command(&input, &["show"]);
    outcome.assert_exit(0);
    assert!(line(&text, "Position").starts_with("none yet"), "{text}");

    input.run(ds_monitor()).assert_exit(0);
    let (outcome, text) = command(&input, &["show"]);
    outcome.assert_exit(0);
    assert_eq!(line(&text, "Position"), cursor_at(120));
    assert!(line(&text, "Saved").contains("seconds ago"), "{text}");
    assert!(line(&text, "Newest record").contains("days ago"), "{text}");
    assert_eq!(line(&text, "Last run"), "complete");
    assert!(line(&text, "Stream").contains("127.0.0.1"), "{text}");
    assert!(Path::new(line(&text, "File")).exists());
}

#[test]
fn reset_sets_the_position_and_keeps_a_backup() {
    let records = sample_records(0..120);
    let docusign = Docusign::new().records(records.clone());
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    for (to, expected, events) in [
        (cursor_at(100), cursor_at(100), 20),
        (
            "2026-01-31".to_owned(),
            "2026-01-31T00:00:00Z".to_owned(),
            120,
        ),
        ("start".to_owned(), "2021-01-01T00:00:00Z".to_owned(), 120),
    ] {
        let (outcome, text) = command(&input, &["reset", "--to", &to]);
        outcome.assert_exit(0);
        assert!(line(&text, "Next run").ends_with(&expected), "{text}");
        let backup = fs::read_to_string(line(&text, "Backup")).unwrap();
        assert!(backup.contains(&cursor_at(120)), "{backup}");
        let run = input.run(ds_monitor());
        assert_eq!(run.assert_exit(0).events().len(), events);
    }
}

#[test]
fn reset_mends_what_a_run_refuses() {
    let docusign = Docusign::new().records(sample_records(0..120));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    input.run(ds_monitor()).assert_exit(0);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension != "lock")
        {
            fs::write(path, "torn").unwrap();
        }
    }
    input.run(ds_monitor()).assert_exit(1);
    command(&input, &["show"]).0.assert_exit(1);
    command(&input, &["reset", "--to", "earliest"])
        .0
        .assert_exit(0);
    assert_eq!(input.run(ds_monitor()).assert_exit(0).events().len(), 120);
}

#[test]
fn reset_refuses_a_running_input_and_a_place_that_is_none() {
    let docusign = Docusign::new().records(sample_records(0..2000));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let running = input.spawn(ds_monitor());
    docusign.wait_for_requests(1, support::input::DEADLINE);
    let (outcome, _) = command(&input, &["reset", "--to", "start"]);
    outcome.assert_exit(1);
    assert!(
        outcome.stderr.contains("stop it first"),
        "{}",
        outcome.report()
    );
    running.finish().assert_exit(0);
    for arguments in [
        &["reset"][..],
        &["reset", "--to"],
        &["reset", "--to", "yesterday"],
        &["reset", "--to", "2999-01-01"],
        &["check", "more"],
    ] {
        command(&input, arguments).0.assert_exit(2);
    }
}
