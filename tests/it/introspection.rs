use std::process::{Command, Stdio};

use crate::ds_monitor;
use support::input::Input;

fn output(argument: &str) -> (bool, String, String) {
    let output = Command::new(ds_monitor())
        .arg(argument)
        .stdin(Stdio::null())
        .env_clear()
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_scheme_declares_every_argument_with_both_requirements() {
    let (success, scheme, stderr) = output("--scheme");
    assert!(success && stderr.is_empty(), "{stderr}");
    for text in [
        "<use_external_validation>true</use_external_validation>",
        "<use_single_instance>false</use_single_instance>",
        "<streaming_mode>xml</streaming_mode>",
    ] {
        assert!(scheme.contains(text), "{scheme}");
    }
    let names: Vec<_> = scheme
        .split("<arg name=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "environment",
            "integration_key",
            "user_id",
            "private_key",
            "private_key_path",
            "organization_id",
            "start_from",
            "limit",
            "proxy_url",
            "proxy_user",
            "proxy_password",
            "ca_file",
            "position_store",
            "hec_url",
            "hec_token",
            "auth_url",
            "monitor_url",
            "admin_url"
        ]
    );
    for requirement in ["<required_on_create>", "<required_on_edit>"] {
        assert_eq!(scheme.matches(requirement).count(), names.len());
    }
}

#[test]
fn help_says_what_the_program_is_and_an_unknown_argument_is_refused() {
    let (success, help, _) = output("--help");
    assert!(success && help.contains("modular input") && help.contains("print-modinput-config"));
    let (success, stdout, stderr) = output("--frobnicate");
    assert!(!success && stdout.is_empty());
    assert!(
        stderr.starts_with("ERROR ") && stderr.contains("--frobnicate"),
        "{stderr}"
    );
}

#[test]
fn a_configuration_that_is_no_xml_is_one_error_line() {
    for (stdin, expected) in [
        ("", "ended before"),
        ("private_key = s3cret", "XML"),
        ("<input><configuration/></input>", "one <stanza>"),
    ] {
        let run = Input::ds_monitor("prod")
            .start(ds_monitor(), &[], stdin.to_owned())
            .finish();
        run.assert_exit(1).assert_no_secret(&["s3cret"]);
        let lines = run.log_lines();
        assert_eq!(lines.len(), 1, "{}", run.report());
        assert_eq!(lines[0].level, "ERROR");
        assert!(lines[0].sentence.contains(expected), "{}", run.report());
        assert!(run.stdout.is_empty());
    }
}
