use std::sync::{Arc, Mutex};

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{Docusign, Door, sample_records};
use support::http::{Reply, Server};
use support::input::Input;

/// One page goes wrong in one way; the run must deliver everything once all the same.
#[test]
fn each_fault_of_docusigns_alone_costs_nothing() {
    type Spoil = fn(Reply) -> Reply;
    let faults: [(&str, Spoil); 17] = [
        ("500", |_| Reply::json(500, "{}").header("Retry-After", "0")),
        ("503 HTML", |_| {
            Reply::text(503, "text/html", "<html>maintenance</html>").header("Retry-After", "0")
        }),
        ("429", |_| Reply::json(429, "{}").header("Retry-After", "0")),
        ("429 with a reset time", |_| {
            Reply::json(429, "").header("X-RateLimit-Reset", "1600000000")
        }),
        ("444", |_| {
            Reply::text(444, "text/plain", "").header("Retry-After", "0")
        }),
        ("408", |_| {
            Reply::text(408, "text/plain", "").header("Retry-After", "0")
        }),
        ("400 hourly limit", |_| {
            Reply::json(
                400,
                r#"{"errorCode":"HOURLY_APIINVOCATION_LIMIT_EXCEEDED","message":"x"}"#,
            )
            .header("Retry-After", "0")
        }),
        ("a gateway's page", |_| {
            Reply::text(200, "text/html", "<html>log in</html>")
        }),
        ("an empty body", |_| {
            Reply::text(200, "application/json", "")
        }),
        ("a cut body", |page| page.cut_after(1000)),
        ("a cut body of unknown length", |page| {
            page.chunked().cut_after(1000)
        }),
        ("a body longer than announced", |page| {
            page.wrong_length(1000)
        }),
        ("a reset", |_| Reply::reset()),
        ("records without a cursor", |_| {
            Reply::json(200, r#"{"data":[{"a":1}],"endCursor":null}"#)
        }),
        ("another shape", |_| {
            Reply::json(200, r#"{"data":{"a":1},"endCursor":"c"}"#)
        }),
        ("a cursor that leads back", |_| {
            Reply::json(
                200,
                r#"{"data":[{"a":1}],"endCursor":"2021-01-01T00:00:00Z"}"#,
            )
        }),
        ("no UTF-8", |_| {
            Reply::text(
                200,
                "application/json",
                b"{\"endCursor\":\"\xff\"}".to_vec(),
            )
        }),
    ];
    let records = sample_records(0..320);
    std::thread::scope(|scope| {
        for (name, spoil) in faults {
            let records = &records;
            scope.spawn(move || {
                let docusign = Docusign::new().records(records.clone()).page_size(160);
                docusign.spoil(2, spoil);
                let folder = tempdir().unwrap();
                let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
                run.assert_exit(0);
                let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
                assert!(data == *records, "{name}: {}", run.report());
                let lines = run.log_lines();
                let warnings = lines.iter().filter(|line| line.level == "WARN");
                assert_eq!(warnings.count(), 1, "{name}: {}", run.report());
            });
        }
    });
}

/// Each of these is a right answer by HTTP's own rules, from every door, and must cost no second request.
#[test]
fn a_right_answer_is_read_however_it_is_wrapped() {
    type Wrap = fn(Reply) -> Reply;
    let wrappings: [(&str, Wrap); 5] = [
        ("members", |reply| reply.gzip_in_two_members("gzip")),
        ("old name", |reply| reply.gzip_in_two_members("x-gzip")),
        ("capitals", |reply| reply.gzip_in_two_members("GZIP")),
        ("mark", Reply::with_byte_order_mark),
        ("mark within", |reply| {
            reply.with_byte_order_mark().gzip_in_two_members("gzip")
        }),
    ];
    for (name, wrap) in wrappings {
        let records = sample_records(0..40);
        let docusign = Docusign::new().records(records.clone());
        docusign.spoil_at(Door::Token, 1, wrap).spoil(1, wrap);
        let folder = tempdir().unwrap();
        let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
        run.assert_exit(0);
        let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
        assert!(data == records, "{name}: {}", run.report());
        let lines = run.log_lines();
        assert!(
            lines.iter().all(|line| line.level == "INFO"),
            "{name}: {}",
            run.report()
        );
    }
}

#[test]
fn a_refusal_ends_the_run_at_once_with_what_to_do() {
    for (status, body, expected) in [
        (400, r#"{"errorCode":"INVALID_CURSOR"}"#, "start_from"),
        (403, "", "Security Reports Administrator"),
        (
            403,
            r#"{"error": "Organization does not have Monitor entitlement"}"#,
            "does not have Monitor entitlement",
        ),
        (404, "<html></html>", "monitor_url"),
    ] {
        let reply = Reply::text(status, "application/json", body)
            .header("X-DocuSign-TraceToken", "trace-1");
        let docusign = Docusign::new().fault(1, reply);
        let folder = tempdir().unwrap();
        let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
        run.assert_exit(1);
        let lines = run.log_lines();
        let last = lines.last().unwrap();
        assert_eq!(last.level, "ERROR");
        assert_eq!(last.field("status"), status.to_string());
        assert_eq!(last.field("trace_token"), "trace-1");
        assert!(last.sentence.contains(expected), "{}", last.raw);
        assert_eq!(docusign.stream_cursors().len(), 1);
    }
}

#[test]
fn what_goes_on_failing_ends_the_run_after_what_came_before_is_saved() {
    let records = sample_records(0..300);
    let docusign = Docusign::new().records(records.clone()).page_size(150);
    for nth in 2..20 {
        docusign.fault(nth, Reply::json(503, "{}").header("Retry-After", "0"));
    }
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let run = input.run(ds_monitor());
    run.assert_exit(1);
    assert_eq!(run.events().len(), 150);
    let lines = run.log_lines();
    let warnings = lines.iter().filter(|line| line.level == "WARN");
    assert_eq!(warnings.count(), 5);
    assert_eq!(lines.last().unwrap().level, "ERROR");
    assert_eq!(docusign.stream_cursors().len(), 1 + 6);

    for nth in 8..20 {
        docusign.spoil(nth, |page| page);
    }
    let run = input.run(ds_monitor());
    run.assert_exit(0);
    let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
    assert_eq!(data, records[150..]);
}

#[test]
fn a_docusign_that_is_not_there_is_named() {
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("auth_url", address)
        .run(ds_monitor());
    run.assert_exit(1);
    let lines = run.log_lines();
    let last = lines.last().unwrap();
    assert!(last.sentence.contains("cannot be reached"), "{}", last.raw);
}

/// Taken for an empty page, each would be "caught up": exit 0 while every event is missing.
#[test]
fn what_is_no_page_is_no_end_of_the_stream_whatever_its_status_says() {
    for (body, expected) in [
        (
            r#"{"errorCode":"INTERNAL_TROUBLE","message":"x n_events=7"}"#,
            "INTERNAL_TROUBLE",
        ),
        (r#"{"error":"Organization is away"}"#, "is away"),
    ] {
        let docusign = Docusign::new().fault(1, Reply::json(200, body));
        let folder = tempdir().unwrap();
        let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
        run.assert_exit(1);
        let lines = run.log_lines();
        let last = lines.last().unwrap();
        assert_eq!(last.level, "ERROR", "{}", run.report());
        assert!(last.sentence.contains(expected), "{}", last.raw);
        assert!(!last.raw.contains("n_events="), "{}", last.raw);
    }
}

/// An answer that holds what it was sent must not carry a token or an assertion into Splunk's index.
#[test]
fn a_docusign_that_echoes_what_it_got_has_no_secret_logged() {
    const TOKEN: &str = "eyJ0eXAiOiJNVCJ9.zQ4xVb81LkwPf.0aZ-s7Tq";
    for status in [401, 403] {
        let docusign = Docusign::new();
        for nth in 1..=2 {
            let token = format!(r#"{{"access_token":"{TOKEN}","expires_in":3600}}"#);
            docusign.fault_on_token(nth, Reply::json(200, token));
            let body = format!(r#"{{"errorCode":"{TOKEN}","message":"Bearer {TOKEN}"}}"#);
            let reply = Reply::json(status, body);
            docusign.fault(nth, reply.header("X-DocuSign-TraceToken", TOKEN));
        }
        let folder = tempdir().unwrap();
        let run = Input::for_docusign("prod", &docusign, folder.path()).run(ds_monitor());
        run.assert_exit(1)
            .assert_no_secret(&[TOKEN, "zQ4xVb81LkwPf"]);
        let lines = run.log_lines();
        let last = lines.last().unwrap();
        assert_eq!(last.field("status"), status.to_string());
        assert!(last.raw.contains("******"), "{}", last.raw);
    }
    let assertions = Arc::new(Mutex::new(vec![]));
    let server = Server::start({
        let assertions = assertions.clone();
        move |request| {
            let form = request.form();
            let assertion = form.iter().find(|(name, _)| name == "assertion");
            let assertion = assertion.map(|(_, value)| value.clone()).unwrap();
            assertions.lock().unwrap().push(assertion.clone());
            let body = format!(r#"{{"error":"invalid_grant","error_description":"{assertion}"}}"#);
            Reply::json(400, body)
        }
    });
    let docusign = Docusign::new();
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("auth_url", server.url())
        .run(ds_monitor());
    run.assert_exit(1);
    let assertions = assertions.lock().unwrap();
    let start = &assertions[0][..40];
    run.assert_no_secret(&[start]);
    assert!(run.report().contains("******"), "{}", run.report());
}

/// 237 kB as they travelled became 1.5 GB, because every empty object got a place of its own in memory.
#[test]
fn a_hostile_answer_takes_little_more_memory_than_its_text() {
    const BYTES: usize = 24 * 1024 * 1024;
    const ABOVE_KIB: usize = 64 * 1024;
    let filled = |before: &str, part: &str, after: &str| {
        let parts = part.repeat(BYTES / part.len());
        Reply::json(200, [before, parts.trim_end_matches(','), after].concat()).gzip()
    };
    let answers = [
        (
            "rows",
            Door::Stream,
            filled(r#"{"endCursor":"c","data":["#, "{},", "]}"),
        ),
        (
            "an unknown member",
            Door::Stream,
            filled(r#"{"endCursor":"c","data":[],"more":["#, "[0],", "]}"),
        ),
        (
            "a cursor",
            Door::Stream,
            filled(r#"{"data":[],"endCursor":""#, "c", "\"}"),
        ),
        (
            "a token",
            Door::Token,
            filled(r#"{"access_token":""#, "t", "\"}"),
        ),
        (
            "the life of a token",
            Door::Token,
            filled(r#"{"access_token":"t","expires_in":["#, "{},", "]}"),
        ),
        (
            "an error",
            Door::Stream,
            filled(r#"{"errorCode":""#, "e", "\"}"),
        ),
    ];
    std::thread::scope(|scope| {
        for (name, door, reply) in answers {
            scope.spawn(move || {
                let docusign = Docusign::new().fault_at(door, 1, reply);
                let folder = tempdir().unwrap();
                let input = Input::for_docusign("prod", &docusign, folder.path());
                let mut run = input.spawn(ds_monitor());
                let peak = run.peak_kib();
                run.finish();
                let bound = BYTES / 1024 + ABOVE_KIB;
                assert!((1..bound).contains(&peak), "{name}: {peak} KiB");
            });
        }
    });
}
