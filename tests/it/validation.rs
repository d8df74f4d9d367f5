use std::collections::BTreeMap;
use std::path::Path;

use crate::ds_monitor;
use ds_monitor::splunk::checkpoint::file_stem;
use support::docusign::{
    Docusign, ENCRYPTED_KEY, ENCRYPTED_KEY_PKCS1, INTEGRATION_KEY, OTHER_PRIVATE_KEY, PRIVATE_KEY,
    PUBLIC_KEY,
};
use support::hec::Hec;
use support::input::Input;
use support::proxy::Proxy;
use support::splunkd::Splunkd;

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
fn good_arguments_pass_without_a_word_after_one_record_was_asked_for() {
    let docusign = Docusign::new();
    for input in [
        input(&docusign),
        input(&docusign).keep_stdin_open(),
        input(&docusign).pasted_key(PRIVATE_KEY),
        input(&docusign).param("organization_id", ""),
    ] {
        let before = docusign.stream_cursors().len();
        let outcome = input.validate(ds_monitor());
        outcome.assert_exit(0);
        assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        assert_eq!(docusign.stream_cursors().len(), before + 1);
        let requests = docusign.requests();
        assert_eq!(requests.last().unwrap().query("limit"), Some("1"));
    }
}

#[test]
fn a_bad_value_is_refused_with_the_name_of_its_parameter() {
    let docusign = Docusign::new();
    for (param, value, expected) in [
        ("environment", "test", "production or demo"),
        ("integration_key", "abc", "GUID"),
        ("user_id", "", "missing"),
        ("private_key_path", "", "missing"),
        ("private_key", PRIVATE_KEY, "both set"),
        ("limit", "5000", "1 to 2000"),
        ("start_from", "last week", "2026-01-31"),
        ("start_from", "2999-01-01", "future"),
        ("auth_url", "https://example.com", "Docusign"),
        ("monitor_url", "http://lens.docusign.net", "https://"),
        ("private_key_path", "/does/not/exist", "does not exist"),
        ("ca_file", "/does/not/exist", "does not exist"),
    ] {
        let message = refusal(&input(&docusign).param(param, value));
        assert!(
            message.contains(param.trim_end_matches("_path")) && message.contains(expected),
            "{param}={value}: {message}"
        );
    }
    assert!(docusign.requests().is_empty());
}

#[test]
fn a_key_that_cannot_sign_is_refused_without_being_shown() {
    let docusign = Docusign::new();
    let damaged = PRIVATE_KEY.replace('\n', "").replace("MII", "MIM");
    for (key, expected) in [
        (ENCRYPTED_KEY, "passphrase"),
        (ENCRYPTED_KEY_PKCS1, "passphrase"),
        (PUBLIC_KEY, "public key"),
        (&damaged, "damaged"),
        (&PRIVATE_KEY[..600], "damaged"),
    ] {
        let message = refusal(&input(&docusign).pasted_key(key));
        assert!(message.contains(expected), "{message}");
    }
    assert!(docusign.requests().is_empty());
}

#[test]
fn what_docusign_refuses_refuses_the_save_with_the_remedy() {
    let docusign = Docusign::new();
    let other = "11111111-2222-3333-4444-555555555555";
    for (input, expected) in [
        (
            input(&docusign).pasted_key(OTHER_PRIVATE_KEY),
            "does not belong to",
        ),
        (input(&docusign).param("user_id", other), "User ID"),
        (
            input(&docusign).param("organization_id", other),
            "entitlement",
        ),
        (
            input(&docusign).param("start_from", "aa_9_9_9x"),
            "cursor=aa_9_9_9x",
        ),
    ] {
        let message = refusal(&input);
        assert!(message.contains(expected), "{message}");
    }
    docusign.consented_scopes(&[]);
    let message = refusal(&input(&docusign));
    let url = format!(
        "{}/oauth/auth?response_type=code&amp;scope=impersonation&amp;client_id={INTEGRATION_KEY}&amp;redirect_uri=https://localhost/ds_monitor",
        docusign.url()
    );
    assert!(message.contains(&url), "{message}");
}

/// A stand-in splunkd that has moved the key of the input `prod` to secure storage already.
fn splunkd_after_a_run(docusign: &Docusign) -> (Splunkd, Input) {
    let splunkd = Splunkd::start();
    let folder = tempfile::tempdir().unwrap();
    let input = Input::for_docusign("prod", docusign, folder.path())
        .pasted_key(PRIVATE_KEY)
        .saved_in(&splunkd);
    input.run(ds_monitor()).assert_exit(0);
    let input = input.read_from(&splunkd);
    (splunkd, input)
}

#[test]
fn an_edit_with_the_mask_is_tested_with_the_stored_key() {
    let docusign = Docusign::new();
    let (splunkd, input) = splunkd_after_a_run(&docusign);
    let before = docusign.token_requests();
    input.validate(ds_monitor()).assert_exit(0);
    assert_eq!(docusign.token_requests(), before + 1);
    docusign.consented_scopes(&[]);
    assert!(refusal(&input).contains("Consent is missing"));

    let copy = input.param("index", "security");
    for (realm, user, _) in splunkd.secrets() {
        splunkd.set_secret(&realm, &user, None);
    }
    assert!(refusal(&copy).contains("paste the key again for the input prod"));
}

#[test]
fn a_stored_secret_that_cannot_be_used_is_refused_and_the_mask_is_not_tested_in_its_place() {
    let docusign = Docusign::new();
    let (splunkd, input) = splunkd_after_a_run(&docusign);
    let hec = Hec::new();
    let [(realm, user, secrets)] = &splunkd.secrets()[..] else {
        panic!("one entry for the input");
    };
    let mut secrets: BTreeMap<String, String> = serde_json::from_str(secrets).unwrap();
    secrets.insert("hec_token".to_owned(), "two words".to_owned());
    let secrets = serde_json::to_string(&secrets).unwrap();
    splunkd.set_secret(realm, user, Some(&secrets));
    let input = input
        .param("hec_url", hec.url())
        .param("hec_token", "******")
        .saved_in(&splunkd);
    let before = docusign.requests().len();
    let message = refusal(&input);
    assert!(message.contains("hec_token"), "{message}");
    assert!(hec.requests().is_empty());
    assert_eq!(docusign.requests().len(), before);
}

#[test]
fn the_edit_that_puts_the_mask_in_the_place_of_the_key_passes_whatever_docusign_says() {
    let docusign = Docusign::new().consented_scopes(&[]);
    let splunkd = Splunkd::start();
    let input = input(&docusign).pasted_key(PRIVATE_KEY).saved_in(&splunkd);
    input
        .param("private_key", "******")
        .validate(ds_monitor())
        .assert_exit(0);
    assert!(docusign.requests().is_empty());
}

#[test]
fn an_outage_refuses_a_new_input_or_key_but_no_edit_with_a_known_key() {
    let docusign = Docusign::new();
    let (splunkd, masked) = splunkd_after_a_run(&docusign);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let masked = masked.param("auth_url", &nobody);
    let outcome = masked.validate(ds_monitor());
    outcome.assert_exit(0);
    assert!(outcome.stdout.is_empty());
    assert_eq!(outcome.log_lines()[0].level, "WARN");

    let new_key = masked.clone().param("private_key", PRIVATE_KEY);
    let message = refusal(&new_key);
    assert!(message.contains("cannot be reached"), "{message}");
    assert!(message.contains("was not saved"), "{message}");

    // A key in a file cannot be seen to be new; that the input exists is what counts.
    let by_file = input(&docusign)
        .param("auth_url", &nobody)
        .splunkd(&splunkd);
    by_file.validate(ds_monitor()).assert_exit(0);
    let new_input = Input::for_docusign("new", &docusign, Path::new("/no/checkpoint"))
        .param("auth_url", &nobody)
        .splunkd(&splunkd);
    assert!(refusal(&new_input).contains("cannot be reached"));

    // The set-up page stores a key before it writes the stanza, which therefore comes with the mask.
    let (_, _, secret) = splunkd.secrets().remove(0);
    splunkd.set_secret("ds_monitor", &file_stem("ds_monitor://new"), Some(&secret));
    let stored_first = new_input.pasted_key("******");
    assert!(refusal(&stored_first).contains("cannot be reached"));
}

#[test]
fn an_edit_with_the_mask_passes_where_splunkd_cannot_be_asked() {
    let docusign = Docusign::new();
    let outcome = input(&docusign).pasted_key("******").validate(ds_monitor());
    outcome.assert_exit(0);
    assert_eq!(outcome.log_lines()[0].level, "WARN");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_named_pipe_that_nobody_writes_to_is_no_key_and_no_certificate() {
    let docusign = Docusign::new();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for param in ["private_key_path", "ca_file"] {
        let message = refusal(&input(&docusign).param(param, pipe.to_str().unwrap()));
        assert!(message.contains("nobody writes to"), "{message}");
    }
}

#[test]
fn a_stored_secret_is_not_sent_to_another_address_than_it_was_entered_for() {
    let docusign = Docusign::new();
    let (splunkd, input) = splunkd_after_a_run(&docusign);
    let [(realm, user, secrets)] = &splunkd.secrets()[..] else {
        panic!("one entry for the input");
    };
    let mut secrets: BTreeMap<String, String> = serde_json::from_str(secrets).unwrap();
    for secret in ["hec_token", "proxy_password"] {
        secrets.insert(secret.to_owned(), "s3cret-of-this-input".to_owned());
    }
    let secrets = serde_json::to_string(&secrets).unwrap();
    splunkd.set_secret(realm, user, Some(&secrets));
    let (ours, theirs) = (Hec::new(), Hec::new());
    let proxy = Proxy::start();
    let saved = input
        .param("hec_url", ours.url())
        .param("hec_token", "******")
        .saved_in(&splunkd);
    for (param, value, secret) in [
        ("hec_url", theirs.url(), "hec_token"),
        ("proxy_url", proxy.url(), "proxy_password"),
    ] {
        let edited = saved
            .clone()
            .param("proxy_user", "u")
            .param("proxy_password", "******")
            .param(param, value);
        let message = refusal(&edited);
        assert!(
            message.contains(&format!("enter {secret} again")),
            "{message}"
        );
    }
    assert!(theirs.requests().is_empty() && proxy.seen().is_empty());
    // The set-up page stores the address beside the secret that was entered for it.
    let told = secrets.replacen('{', &format!("{{\"hec_url\":\"{}\",", theirs.url()), 1);
    splunkd.set_secret(realm, user, Some(&told));
    let entered = saved.clone().param("hec_url", theirs.url());
    let outcome = entered.validate(ds_monitor());
    assert!(!String::from_utf8_lossy(&outcome.stdout).contains("again"));
    assert!(!theirs.requests().is_empty());
    // The address itself may be written in another way.
    let slash = saved.param("hec_url", ours.url() + "/");
    let outcome = slash.validate(ds_monitor());
    assert!(!String::from_utf8_lossy(&outcome.stdout).contains("again"));
}
