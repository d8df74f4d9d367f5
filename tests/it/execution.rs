use std::collections::HashSet;
use std::path::Path;

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{
    ACCESS_TOKEN_MARK, Docusign, ORGANIZATION_ID, PRIVATE_KEY, sample_records, sample_timestamp,
};
use support::http::Reply;
use support::input::{DEADLINE, Input, Outcome};
use support::splunkd::SESSION_KEY;

fn data(outcome: &Outcome) -> Vec<String> {
    outcome
        .events()
        .into_iter()
        .map(|event| event.data)
        .collect()
}

fn last_line(outcome: &Outcome, field: &str) -> String {
    let lines = outcome.log_lines();
    let last = lines.last().unwrap();
    assert_eq!(last.field("action"), "events_ingested", "{}", last.raw);
    last.field(field).to_owned()
}

#[test]
fn nine_thousand_and_one_records_arrive_once_each_in_order_byte_for_byte_at_their_own_time() {
    let records = sample_records(0..9_001);
    let docusign = Docusign::new().records(records.clone());
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());

    let first = input.run(ds_monitor());
    first.assert_exit(0).whole();
    let events = first.events();
    assert_eq!(events.len(), records.len());
    for (n, (event, record)) in events.iter().zip(&records).enumerate() {
        assert_eq!(event.data, *record);
        assert_eq!(event.time.as_deref(), Some(sample_timestamp(n).as_str()));
        assert_eq!((&event.host, &event.index), (&None, &None));
        assert_eq!((&event.source, &event.sourcetype), (&None, &None));
        assert!(event.done);
    }
    // Five full pages, and the question whether there is more.
    assert_eq!(docusign.stream_cursors().len(), 1 + 5);
    assert_eq!(docusign.token_requests(), 1);
    assert_eq!(last_line(&first, "n_events"), "9001");
    assert_eq!(last_line(&first, "caught_up"), "true");
    first.assert_no_secret(&[PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK]);

    let second = input.run(ds_monitor());
    second.assert_exit(0).whole();
    assert_eq!(second.events().len(), 0);
    assert_eq!(last_line(&second, "n_events"), "0");
    assert_eq!(last_line(&second, "lag_s"), "");

    let other = Input::for_docusign("other", &docusign, folder.path()).run(ds_monitor());
    other.assert_exit(0);
    assert_eq!(data(&other), records);
}

#[test]
fn the_pages_in_the_log_form_a_chain_from_the_first_cursor_to_the_last() {
    let docusign = Docusign::new()
        .records(sample_records(0..700))
        .page_size(300);
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("limit", "250")
        .run(ds_monitor());
    let lines = run.log_lines();
    let pages: Vec<_> = lines
        .iter()
        .filter(|line| line.field("action") == "page_ingested")
        .collect();
    let counts: Vec<_> = pages.iter().map(|page| page.field("n_events")).collect();
    assert_eq!(counts, ["250", "250", "200"]);
    for pair in pages.windows(2) {
        assert_eq!(pair[0].field("cursor_to"), pair[1].field("cursor_from"));
    }
    assert_eq!(pages[0].field("cursor_from"), docusign.stream_cursors()[0]);
    assert_eq!(pages[0].field("input"), "ds_monitor://prod");
    let events = run.events();
    assert!(events[0].data.contains(pages[0].field("first_event_id")));
    assert!(events[249].data.contains(pages[0].field("last_event_id")));
    assert!(!pages[0].field("bytes").is_empty() && !pages[0].field("request_ms").is_empty());
}

#[test]
fn the_organization_stream_is_read_with_its_other_names() {
    let records = sample_records(0..150);
    let docusign = Docusign::new().records(records.clone());
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("organization_id", ORGANIZATION_ID)
        .run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(data(&run), records);
    let paths: HashSet<_> = docusign.requests().into_iter().map(|r| r.path).collect();
    assert!(paths.contains(&format!("/v1/organizations/{ORGANIZATION_ID}/stream")));
}

#[test]
fn a_compressed_page_is_unpacked() {
    let records = sample_records(0..300);
    let docusign = Docusign::new().records(records.clone()).gzip(true);
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
    assert_eq!(data(run.assert_exit(0)), records);
}

#[test]
fn an_empty_page_with_a_new_cursor_is_followed_and_rows_on_the_last_page_are_emitted() {
    let docusign = Docusign::new()
        .page("", "c1", &[])
        .page("c1", "c2", &[r#"{"n":1}"#])
        .page("c2", "c2", &[r#"{"n":2}"#]);
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
    assert_eq!(data(run.assert_exit(0)), [r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(docusign.stream_cursors()[1..], ["c1", "c2"]);
}

#[test]
fn an_empty_page_without_a_cursor_ends_the_run_and_keeps_the_position() {
    let docusign = Docusign::new()
        .page("", "c1", &[r#"{"n":1}"#])
        .raw_page("c1", r#"{"data":null,"endCursor":null}"#);
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    assert!(run.log_lines().iter().any(|line| line.level == "WARN"));
    docusign.page("c1", "c1", &[r#"{"n":2}"#]);
    assert_eq!(data(input.run(ds_monitor()).assert_exit(0)), [r#"{"n":2}"#]);
}

#[test]
fn odd_records_are_delivered_as_they_are() {
    let records = [
        "{\n  \"timestamp\": \"2026-01-01T00:00:00.10Z\",\r\n  \"n\": 1.0e0 }",
        r#"{"eventId":"no time"}"#,
        r#"{"timestamp":"not a time"}"#,
        r#"{"timestamp":12}"#,
        "{\"a\":\"\u{FFFE}\u{FFFF}\u{10FFFF}\",\"b\":\"\\u0000 ]]> <&>\"}",
        "[]",
    ];
    let docusign = Docusign::new()
        .page("", "c1", &records)
        .page("c1", "c1", &[]);
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(
        data(&run),
        [
            "{   \"timestamp\": \"2026-01-01T00:00:00.10Z\",    \"n\": 1.0e0 }",
            records[1],
            records[2],
            records[3],
            "{\"a\":\"\\ufffe\\uffff\u{10FFFF}\",\"b\":\"\\u0000 ]]> <&>\"}",
            "[]",
        ]
    );
    let times: Vec<_> = run.events().into_iter().map(|event| event.time).collect();
    assert_eq!(times[0].as_deref(), Some("1767225600.10"));
    assert!(times[1..].iter().all(Option::is_none));
    let lines = run.log_lines();
    let warnings: Vec<_> = lines.iter().filter(|line| line.level == "WARN").collect();
    assert_eq!(warnings.len(), 1, "{}", run.report());
    assert_eq!(warnings[0].field("n_events"), "5");
}

#[test]
fn requests_name_the_program_and_ask_for_full_pages() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    Input::for_docusign("prod", &docusign, folder.path())
        .run(ds_monitor())
        .assert_exit(0);
    for request in docusign.requests() {
        assert_eq!(
            request.header("user-agent"),
            Some(concat!("ds_monitor/", env!("CARGO_PKG_VERSION")))
        );
        if request.path.ends_with("/stream") {
            assert_eq!(request.query("limit"), Some("2000"));
        }
    }
}

#[test]
fn the_first_cursor_is_what_start_from_says() {
    for (start_from, expected) in [
        ("earliest", "2021-01-01T00:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("aa_5_5_0", "aa_5_5_0"),
    ] {
        let docusign = Docusign::new()
            .page("", "", &[])
            .page("aa_5_5_0", "aa_5_5_0", &[]);
        let folder = tempdir().unwrap();
        Input::for_docusign("prod", &docusign, folder.path())
            .param("start_from", start_from)
            .run(ds_monitor())
            .assert_exit(0);
        assert_eq!(docusign.stream_cursors()[0], expected);
    }
}

#[test]
fn no_address_outside_docusign_is_ever_called() {
    let elsewhere = support::http::Server::start(|_| Reply::json(200, "{}"));
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    for (param, value) in [
        ("auth_url", "http://192.0.2.1"),
        ("auth_url", "https://account.docusign.com.example.com"),
        ("monitor_url", "https://example.com"),
        ("admin_url", "http://api.docusign.net/management"),
    ] {
        let run = input.clone().param(param, value).run(ds_monitor());
        run.assert_exit(1);
        assert!(run.log_lines()[0].sentence.contains(param));
    }
    assert!(docusign.requests().is_empty());

    let redirect = Reply::text(302, "text/plain", "").header("Location", elsewhere.url());
    docusign.fault(1, redirect);
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    assert!(run.stderr.contains("redirect"), "{}", run.report());
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn where_events_would_be_lost_nothing_is_collected_and_no_position_is_saved() {
    let docusign = Docusign::new().records(sample_records(0..5));
    for device in ["/dev/null", "/dev/zero"] {
        let folder = tempdir().unwrap();
        let input = Input::for_docusign("prod", &docusign, folder.path());
        let mut child = std::process::Command::new(ds_monitor())
            .stdin(std::process::Stdio::piped())
            .stdout(std::fs::File::options().write(true).open(device).unwrap())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input.input_xml().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("null device"), "{stderr}");
        assert!(docusign.requests().is_empty());
        assert!(folder.path().read_dir().unwrap().next().is_none());
    }
}

#[test]
fn an_output_that_does_not_block_is_waited_for_like_any_slow_reader() {
    let docusign = Docusign::new().records(sample_records(0..400));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let (mut ours, theirs) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&theirs).unwrap();
    rustix::fs::fcntl_setfl(&theirs, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut child = std::process::Command::new(ds_monitor())
        .stdin(std::process::Stdio::piped())
        .stdout(theirs)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, input.input_xml().as_bytes()).unwrap();
    drop(stdin);
    // The pipe is full before anybody reads.
    docusign.wait_for_requests(2, DEADLINE);
    let mut stream = vec![];
    std::io::Read::read_to_end(&mut ours, &mut stream).unwrap();
    assert!(child.wait().unwrap().success());
    let (events, rest) = support::input::Event::parse_all(&stream);
    assert_eq!((events.len(), rest.as_str()), (400, ""));
}

/// The library would say that the system's certificates are missing, because it cannot open their file.
#[test]
fn a_limit_of_open_files_that_is_too_low_is_named() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    for limit in [8, 12, 20] {
        let input = Input::for_docusign("prod", &docusign, folder.path());
        let script = format!("ulimit -n {limit} && exec \"$0\"");
        let arguments = ["-c", &script, ds_monitor().to_str().unwrap()];
        let shell = Path::new("/bin/sh");
        let run = input.start(shell, &arguments, input.input_xml()).finish();
        run.assert_exit(1);
        let lines = run.log_lines();
        let error = lines.iter().find(|line| line.level == "ERROR").unwrap();
        assert!(
            error.sentence.contains(&format!("only {limit} files"))
                && error.sentence.contains("ulimit -n"),
            "{}",
            run.report()
        );
    }
}
