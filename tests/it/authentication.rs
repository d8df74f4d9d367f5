use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{
    ACCESS_TOKEN_MARK, Docusign, INTEGRATION_KEY, OTHER_PRIVATE_KEY, PRIVATE_KEY,
    PRIVATE_KEY_PKCS8, USER_ID, sample_records,
};
use support::http::Reply;
use support::input::{Input, LogLine};
use support::splunkd::SESSION_KEY;

/// The one ERROR line of a run that must fail.
fn error(input: &Input) -> LogLine {
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    run.assert_no_secret(&[PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK]);
    assert!(run.events().is_empty(), "{}", run.report());
    let errors: Vec<_> = run
        .log_lines()
        .into_iter()
        .filter(|line| line.level == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{}", run.report());
    assert_eq!(errors[0].field("input"), "ds_monitor://prod");
    errors[0].clone()
}

#[test]
fn the_assertion_says_who_asks_for_whom_and_for_how_long() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    Input::for_docusign("prod", &docusign, folder.path())
        .run(ds_monitor())
        .assert_exit(0);
    let assertions = docusign.assertions();
    let claims = &assertions[0];
    assert_eq!(claims["iss"], INTEGRATION_KEY);
    assert_eq!(claims["sub"], USER_ID);
    assert_eq!(claims["aud"], "127.0.0.1");
    assert_eq!(claims["scope"], "impersonation");
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=3600).contains(&lifetime), "{lifetime}");
    let form = docusign
        .requests()
        .into_iter()
        .find(|request| request.path == "/oauth/token")
        .unwrap();
    assert_eq!(
        form.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
}

#[test]
fn a_key_works_in_every_form_it_survives_pasting_in() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    for key in [
        PRIVATE_KEY.to_owned(),
        PRIVATE_KEY_PKCS8.to_owned(),
        PRIVATE_KEY.replace('\n', " "),
        PRIVATE_KEY.replace('\n', ""),
        PRIVATE_KEY.replace('\n', "\\n"),
        PRIVATE_KEY.replace('\n', "\r\n"),
        format!("\"{PRIVATE_KEY}\""),
    ] {
        let run = input.clone().pasted_key(&key).run(ds_monitor());
        run.assert_exit(0);
    }
    input.run(ds_monitor()).assert_exit(0);
}

#[test]
fn a_run_whose_token_expires_gets_a_new_one_and_loses_nothing() {
    let records = sample_records(0..450);
    let docusign = Docusign::new().records(records.clone()).page_size(150);
    docusign.spoil(2, {
        let docusign = docusign.clone();
        move |_| {
            // Answering for the script while it answers: the tokens are cleared from another thread.
            std::thread::spawn(move || docusign.expire_tokens());
            Reply::json(401, r#"{"error":"token expired"}"#)
        }
    });
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
    run.assert_exit(0);
    let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
    assert_eq!(data, records);
    assert!(docusign.token_requests() >= 2);
}

#[test]
fn a_token_that_is_refused_twice_ends_the_run() {
    let docusign = Docusign::new()
        .fault(1, Reply::json(401, "{}"))
        .fault(2, Reply::json(401, "{}"));
    let folder = tempdir().unwrap();
    let line = error(&Input::for_docusign("prod", &docusign, folder.path()));
    assert_eq!(line.field("status"), "401");
    assert_eq!(docusign.token_requests(), 2);
    assert_eq!(docusign.stream_cursors().len(), 2);
}

#[test]
fn every_reason_for_getting_no_token_has_its_own_remedy() {
    let folder = tempdir().unwrap();
    let docusign = Docusign::new();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let other = "11111111-2222-3333-4444-555555555555";

    let line = error(&input.clone().pasted_key(OTHER_PRIVATE_KEY));
    assert!(line.sentence.contains("does not belong to"), "{}", line.raw);
    let line = error(&input.clone().param("integration_key", other));
    assert!(line.sentence.contains("Go-Live"), "{}", line.raw);
    let line = error(&input.clone().param("user_id", other));
    assert!(line.sentence.contains("User ID"), "{}", line.raw);

    docusign.consented_scopes(&["signature"]);
    let line = error(&input);
    assert_eq!(line.field("code"), "consent_required");
    assert_eq!(line.field("action"), "authenticate");
    let url = format!(
        "{}/oauth/auth?response_type=code&scope=impersonation&client_id={INTEGRATION_KEY}&redirect_uri=https://localhost/ds_monitor",
        docusign.url()
    );
    assert!(line.sentence.contains(&url), "{}", line.raw);
    // One request each: a refusal is not repeated.
    assert_eq!(docusign.token_requests(), 4);
}

#[test]
fn a_clock_that_is_wrong_is_named_where_it_can_be_the_reason() {
    let docusign = Docusign::new().fault_on_token(
        1,
        Reply::json(
            400,
            r#"{"error":"invalid_grant","error_description":"no_valid_keys_or_signatures"}"#,
        )
        .header("Date", "Sun, 13 Sep 2020 12:26:49 GMT"),
    );
    let folder = tempdir().unwrap();
    let line = error(&Input::for_docusign("prod", &docusign, folder.path()));
    assert!(line.sentence.contains("clock"), "{}", line.raw);
}
