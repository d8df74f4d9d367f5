use std::path::Path;

use crate::ds_monitor;
use crate::support::docusign::{
    Docusign, ENCRYPTED_KEY, ENCRYPTED_KEY_PKCS1, PRIVATE_KEY, PUBLIC_KEY,
};
use crate::support::input::Input;

fn input(docusign: &Docusign) -> Input {
    Input::for_docusign("prod", docusign, Path::new("/no/checkpoint"))
}

/// The message in `<error><message>`, for a validation that must fail.
fn refusal(input: &Input) -> String {
    let outcome = input.validate(ds_monitor());
    outcome.assert_exit(1).assert_no_secret(&[PRIVATE_KEY]);
    let stdout = String::from_utf8(outcome.stdout.clone()).unwrap();
    let message = stdout
        .strip_prefix("<error><message>")
        .and_then(|rest| rest.strip_suffix("</message></error>\n"));
    message
        .unwrap_or_else(|| panic!("no message: {}", outcome.report()))
        .to_owned()
}

#[test]
fn good_arguments_pass_without_a_word() {
    let docusign = Docusign::new();
    for input in [
        input(&docusign),
        input(&docusign).keep_stdin_open(),
        input(&docusign).param("private_key", "******"),
        input(&docusign).param("organization_id", ""),
    ] {
        let outcome = input.validate(ds_monitor());
        outcome.assert_exit(0);
        assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
    }
}

#[test]
fn a_bad_value_is_refused_with_the_name_of_its_parameter() {
    let docusign = Docusign::new();
    for (param, value, expected) in [
        ("environment", "test", "production or demo"),
        ("integration_key", "abc", "GUID"),
        ("user_id", "", "missing"),
        ("private_key", "", "missing"),
        ("limit", "5000", "1 to 2000"),
        ("start_from", "last week", "2026-01-31"),
        ("start_from", "2999-01-01", "future"),
        ("auth_url", "https://example.com", "Docusign"),
        ("monitor_url", "http://lens.docusign.net", "https://"),
        ("private_key_path", "/does/not/exist", "both set"),
        ("ca_file", "/does/not/exist", "does not exist"),
    ] {
        let message = refusal(&input(&docusign).param(param, value));
        assert!(
            message.contains(param) && message.contains(expected),
            "{param}={value}: {message}"
        );
    }
}

#[test]
fn a_key_that_cannot_sign_is_refused_without_being_shown() {
    let docusign = Docusign::new();
    let damaged = PRIVATE_KEY.replace("\n", "").replace("MII", "MIM");
    for (key, expected) in [
        (ENCRYPTED_KEY, "passphrase"),
        (ENCRYPTED_KEY_PKCS1, "passphrase"),
        (PUBLIC_KEY, "public key"),
        (&damaged, "damaged"),
        (&PRIVATE_KEY[..600], "damaged"),
    ] {
        let message = refusal(&input(&docusign).param("private_key", key));
        assert!(message.contains(expected), "{message}");
    }
    assert!(docusign.requests().is_empty());
}
