use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{ds_lookups, ds_monitor};
use support::docusign::{Docusign, PRIVATE_KEY, cursor_at, sample_records, sample_timestamp};
use support::input::{DEADLINE, Input, Outcome};
use support::terminal::Terminal;

const USAGE: i32 = 2;

/// A process without anything on its standard input, and hardly any environment.
fn call(program: &Path, arguments: &[&str]) -> Outcome {
    Input::ds_monitor("prod")
        .start(program, arguments, String::new())
        .finish()
}

fn stdout(outcome: &Outcome) -> &str {
    std::str::from_utf8(&outcome.stdout).unwrap()
}

#[test]
fn every_command_has_a_help_that_begins_with_examples_and_fits_80_columns() {
    let ours: &[&[&str]] = &[
        &["--help"],
        &["-h"],
        &["run", "--help"],
        &["check", "--help"],
        &["show", "--help"],
        &["reset", "-h"],
        &["reset", "--to", "start", "--help"],
        &["consent", "--help"],
    ];
    let lookups: &[&[&str]] = &[&["--help"], &["check", "--help"]];
    for (program, calls) in [(ds_monitor(), ours), (ds_lookups(), lookups)] {
        for arguments in calls {
            let help = call(program, arguments);
            help.assert_exit(0);
            assert!(help.stderr.is_empty(), "{}", help.report());
            let text = stdout(&help);
            let examples = text.find("\nExamples:\n").unwrap();
            for later in ["\nOptions:\n", "\nCommands:\n"] {
                assert!(text.find(later).is_none_or(|at| at > examples), "{text}");
            }
            for code in ["  0 ", "  1 ", "  2 ", "  75 ", "  78 "] {
                assert!(text.contains(&format!("\n{code}")), "{text}");
            }
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}

#[test]
fn the_examples_of_the_help_are_understood() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    fs::write(folder.path().join("inputs.conf"), input.conf()).unwrap();
    let mut tried = 0;
    for command in ["run", "check", "show", "reset", "consent"] {
        let help = call(ds_monitor(), &[command, "--help"]);
        let text = stdout(&help).replace(" \\\n     ", "");
        let lines = text.lines().map(str::trim);
        for example in lines.filter_map(|line| line.strip_prefix("ds_monitor ")) {
            if !example.contains("inputs.conf --") || example.contains("--every") {
                continue;
            }
            let run = Command::new(ds_monitor())
                .args(example.split_whitespace())
                .current_dir(folder.path())
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(run.status.success(), "{example}: {run:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
}

#[test]
fn what_is_misspelt_is_recognised_and_never_repeated() {
    for (program, arguments, expected) in [
        (ds_monitor(), &["chekc"][..], "Did you mean check?"),
        (ds_monitor(), &["Show"], "Did you mean show?"),
        (
            ds_monitor(),
            &["run", "--config", "x"],
            "Did you mean --conf?",
        ),
        (ds_monitor(), &["--hlep"], "Did you mean --help?"),
        (ds_monitor(), &["check", "--jsno"], "Did you mean --json?"),
        (ds_lookups(), &["chek"], "Did you mean check?"),
    ] {
        let run = call(program, arguments);
        run.assert_exit(USAGE);
        assert!(run.stderr.contains(expected), "{}", run.report());
    }
    for arguments in [&["s3cret"][..], &["check", "s3cret"], &["run", "s3cret"]] {
        let run = call(ds_monitor(), arguments);
        run.assert_exit(USAGE).assert_no_secret(&["s3cret"]);
        assert!(!run.stderr.contains("Did you mean"), "{}", run.report());
    }
}

#[test]
fn an_option_takes_its_value_after_a_blank_or_an_equals_sign() {
    let folder = tempdir().unwrap();
    let docusign = Docusign::new().records(sample_records(0..3));
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let conf = folder.path().join("inputs.conf");
    fs::write(&conf, input.conf()).unwrap();
    let conf = format!("--conf={}", conf.display());
    let positions = format!("--checkpoint-dir={}", folder.path().display());
    let run = call(ds_monitor(), &["run", &conf, "--input=prod", &positions]);
    assert_eq!(stdout(run.assert_exit(0)).lines().count(), 3);
    let show = call(
        ds_monitor(),
        &["show", &positions, &conf, "--input", "prod"],
    );
    assert!(stdout(show.assert_exit(0)).contains(&cursor_at(3)));
}

#[test]
fn arguments_are_checked_before_anything_is_read() {
    for (arguments, expected) in [
        (&["reset"][..], "--to"),
        (&["reset", "--to"], "--to requires a value"),
        (&["reset", "--to", "yesterday"], "--to must be a past date"),
        (&["reset", "--to=2999-01-01"], "--to must be a past date"),
        (&["reset", "--to", "start", "--to", "start"], "only once"),
        (&["check", "--json=yes"], "--json takes no value"),
        (
            &["check", "--conf", "--input", "prod"],
            "--conf requires a value",
        ),
        (&["run"], "--conf"),
    ] {
        let run = call(ds_monitor(), arguments);
        run.assert_exit(USAGE);
        assert!(run.stderr.contains(expected), "{}", run.report());
        assert!(!run.stderr.contains("XML"), "{}", run.report());
    }
}

#[test]
fn a_file_without_the_name_of_an_input_is_answered_with_the_inputs_that_it_has() {
    let folder = tempdir().unwrap();
    let conf = folder.path().join("inputs.conf");
    fs::write(
        &conf,
        "[ds_monitor://a b]\n[ds_lookups://x]\n[ds_monitor://c]\n",
    )
    .unwrap();
    let run = call(ds_monitor(), &["run", "--conf", conf.to_str().unwrap()]);
    run.assert_exit(USAGE);
    assert!(
        run.stderr.contains("[ds_monitor://a b], [ds_monitor://c]"),
        "{}",
        run.report()
    );
}

#[test]
fn a_command_at_a_terminal_says_what_it_needs_instead_of_waiting_for_it() {
    for (program, arguments) in [
        (ds_monitor(), &["check"][..]),
        (ds_monitor(), &["show", "--json"]),
        (ds_monitor(), &["reset", "--to", "start"]),
        (ds_monitor(), &["consent"]),
        (ds_lookups(), &["check"]),
    ] {
        let terminal = Terminal::new(80);
        let run = Command::new(program)
            .args(arguments)
            .stdin(terminal.stdio())
            .output()
            .unwrap();
        let stderr = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(USAGE), "{arguments:?}: {stderr}");
        assert!(stderr.contains("print-modinput-config"), "{stderr}");
        assert!(!stderr.contains("XML"), "{stderr}");
        let alone = program == ds_monitor();
        assert_eq!(stderr.contains("--conf FILE"), alone, "{stderr}");
    }
    // Nothing at all is no configuration either.
    let run = call(ds_monitor(), &["check"]);
    run.assert_exit(USAGE);
    assert!(
        run.stderr.contains("print-modinput-config"),
        "{}",
        run.report()
    );
}

/// What `check` shows at a terminal.
fn check_at_terminal(input: &Input, environment: &[(&str, &str)]) -> String {
    let folder = tempdir().unwrap();
    let conf = folder.path().join("inputs.conf");
    fs::write(&conf, input.conf()).unwrap();
    let terminal = Terminal::new(80);
    let check = Command::new(ds_monitor())
        .args(["check", "--input", "prod"])
        .args(["--conf", conf.to_str().unwrap()])
        .args(["--checkpoint-dir", folder.path().to_str().unwrap()])
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(terminal.stdio())
        .status()
        .unwrap();
    assert!(check.success());
    terminal.shown()
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    let shown = check_at_terminal(&input, &[("TERM", "xterm")]);
    assert!(shown.contains("\x1b[32mOK"), "{shown}");
    for environment in [
        &[("TERM", "xterm"), ("NO_COLOR", "1")][..],
        &[("TERM", "dumb")],
        &[],
    ] {
        let shown = check_at_terminal(&input, environment);
        assert!(shown.contains("OK") && !shown.contains('\x1b'), "{shown}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    for arguments in [&["check"][..], &["--help"]] {
        let mut run = input.start(ds_monitor(), arguments, input.input_xml());
        drop(run.stdout.take());
        run.wait(DEADLINE);
        let run = run.finish();
        assert_eq!(run.assert_exit(0).stderr, "", "{}", run.report());
    }
}

/// What a run shows on a terminal that is its standard error, and what it writes to the standard output.
fn run_at_terminal(columns: u16, term: &str, scene: &Input, positions: &Path) -> (String, String) {
    let conf = positions.join("inputs.conf");
    fs::write(&conf, scene.conf()).unwrap();
    let terminal = Terminal::new(columns);
    let run = Command::new(ds_monitor())
        .args(["run", "--input", "prod"])
        .args(["--conf", conf.to_str().unwrap()])
        .args(["--checkpoint-dir", positions.to_str().unwrap()])
        .env_clear()
        .env("TERM", term)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(terminal.stdio())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert!(run.status.success());
    (terminal.shown(), String::from_utf8(run.stdout).unwrap())
}

#[test]
fn a_person_at_a_terminal_sees_one_line_that_is_redrawn() {
    let docusign = Docusign::new()
        .records(sample_records(0..2_000))
        .page_size(100);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let (shown, events) = run_at_terminal(90, "xterm", &input, folder.path());
    assert_eq!(events.lines().count(), 2_000);
    assert!(!shown.contains("INFO"), "{shown}");
    let drawn: Vec<_> = shown.split("\r\x1b[K").collect();
    assert!(drawn.len() > 2, "{shown}");
    assert!(drawn[0].is_empty(), "{shown}");
    let last = drawn.last().unwrap();
    assert!(last.ends_with("\r\n"), "{shown}");
    for part in [
        "ds_monitor://prod",
        "2026-01-05",
        "2,000 events",
        "per second",
    ] {
        assert!(last.contains(part), "{part}: {last}");
    }
    for line in &drawn {
        assert!(line.trim_end().chars().count() < 90, "{line}");
    }

    // What needs attention stays on the screen, on a line of its own.
    fs::remove_dir_all(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    let odd = docusign.raw_page(&cursor_at(2_000), r#"{"data":[]}"#);
    let input = Input::for_docusign("prod", &odd, folder.path());
    let (shown, _) = run_at_terminal(120, "xterm", &input, folder.path());
    assert!(
        shown.contains("\r\x1b[KWARN input=ds_monitor://prod action=keep_cursor"),
        "{shown}"
    );
    assert!(shown.contains("complete\r\n"), "{shown}");
}

#[test]
fn where_a_line_cannot_be_redrawn_and_under_splunk_there_are_log_lines() {
    let docusign = Docusign::new().records(sample_records(0..5));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let (shown, _) = run_at_terminal(80, "dumb", &input, folder.path());
    assert!(shown.contains("INFO action=events_ingested"), "{shown}");

    let terminal = Terminal::new(80);
    let xml = folder.path().join("input.xml");
    fs::write(&xml, input.input_xml()).unwrap();
    let run = Command::new(ds_monitor())
        .env("TERM", "xterm")
        .stdin(fs::File::open(xml).unwrap())
        .stdout(Stdio::piped())
        .stderr(terminal.stdio())
        .spawn()
        .unwrap();
    assert!(run.wait_with_output().unwrap().status.success());
    let shown = terminal.shown();
    assert!(shown.contains("INFO action=events_ingested"), "{shown}");
}

#[test]
fn check_and_show_can_be_read_by_programs() {
    let docusign = Docusign::new().records(sample_records(0..120));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let ask = |input: &Input, command: &str| -> (Option<i32>, Value) {
        let run = input
            .start(ds_monitor(), &[command, "--json"], input.input_xml())
            .finish();
        run.assert_no_secret(&[PRIVATE_KEY]);
        let text = stdout(&run);
        assert_eq!(text.lines().count(), 1, "{}", run.report());
        (run.status.code(), serde_json::from_str(text).unwrap())
    };
    let (code, check) = ask(&input, "check");
    assert_eq!(code, Some(0));
    assert_eq!(check["input"], "ds_monitor://prod");
    assert_eq!(
        (&check["ready"], &check["to_do"]),
        (&json!(true), &json!(0))
    );
    let steps: Vec<_> = check["steps"].as_array().unwrap().iter().collect();
    let names: Vec<_> = steps
        .iter()
        .map(|it| it["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "configuration",
            "private_key",
            "position",
            "token",
            "consent",
            "monitor",
            "users",
            "organizations"
        ]
    );
    assert!(steps.iter().all(|step| step["result"] == "ok"), "{check}");
    let (code, check) = ask(&input.clone().param("limit", "0"), "check");
    assert_eq!(code, Some(78));
    assert_eq!(
        (&check["ready"], &check["to_do"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(check["steps"][0]["result"], "to_do");
    let unreachable = input.clone().param("auth_url", "http://127.0.0.1:1");
    assert_eq!(ask(&unreachable, "check").0, Some(75));

    let (code, show) = ask(&input, "show");
    assert_eq!(code, Some(0));
    assert_eq!(show["input"], "ds_monitor://prod");
    assert_eq!(show["position"], Value::Null);
    input.run(ds_monitor()).assert_exit(0);
    let (_, show) = ask(&input, "show");
    assert_eq!(show["position"], cursor_at(120).as_str());
    assert_eq!(show["next_run_after"], cursor_at(120).as_str());
    assert_eq!(show["last_run_complete"], true);
    assert_eq!(show["stream"]["host"], "127.0.0.1");
    assert!(Path::new(show["file"].as_str().unwrap()).exists());
    for time in ["saved_at", "newest_record_at"] {
        let time = show[time].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }
}

#[test]
fn consent_prints_the_addresses_for_the_events_and_for_the_lookups() {
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, Path::new("/no/checkpoint"));
    let run = input
        .start(ds_monitor(), &["consent"], input.input_xml())
        .finish();
    let text = stdout(run.assert_exit(0));
    let address = |label: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(label))
            .unwrap()
            .trim()
    };
    let start = format!(
        "{}/oauth/auth?response_type=code&scope=impersonation",
        docusign.url()
    );
    assert!(
        address("Events").starts_with(&format!("{start}&client_id=")),
        "{text}"
    );
    assert!(
        address("With lookups").starts_with(&format!("{start}%20signature")),
        "{text}"
    );
    assert!(
        address("With lookups").contains("organization_read"),
        "{text}"
    );
    assert!(docusign.requests().is_empty());
}

#[test]
fn how_far_a_run_is_stands_in_the_line_of_each_page() {
    let docusign = Docusign::new()
        .records(sample_records(0..200))
        .page_size(100);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    let mut lines = run.assert_exit(0).log_lines();
    lines.retain(|line| line.field("action") == "page_ingested");
    let newest: Vec<_> = lines.iter().map(|line| line.field("newest")).collect();
    let time = |n| {
        let time = sample_timestamp(n);
        let seconds = time.split('.').next().unwrap().parse().unwrap();
        let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    assert_eq!(newest, [time(99), time(199)]);
}
