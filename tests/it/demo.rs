//! The demo keeps to one screen, however wide that is.

use std::process::{Command, Output};

/// Lines that every terminal has room for.
const SCREEN: usize = 40;

fn demo(width: usize, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--locked", "--example", "demo", "--"])
        .args(arguments)
        .env("COLUMNS", width.to_string());
    command.output().unwrap()
}

#[test]
fn the_demo_fits_on_one_screen_of_any_usual_width() {
    for width in [60, 80, 120, 200] {
        let run = demo(width, &[]);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success(), "{text}");
        assert!(text.lines().count() <= SCREEN, "{width}: {text}");
        for line in text.lines() {
            // An address has no place to break at.
            let is_address = line.contains("://");
            assert!(
                is_address || line.chars().count() <= width,
                "{width}: {line}"
            );
        }
        for part in [
            "0 lost",
            "leaves 25 of 25",
            "Consent is missing",
            "checks held",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn the_demo_explains_itself_and_refuses_what_it_does_not_know() {
    let help = demo(80, &["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("--full"));
    for arguments in [
        &["--fulll"][..],
        &["--full", "x"],
        &["--serve", "x"],
        &["x"],
    ] {
        let refused = demo(80, arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    }
}
