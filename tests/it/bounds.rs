use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ds_monitor::base::durable;
use ds_monitor::base::secret::Secret;
use ds_monitor::docusign::monitor_api::Page;
use ds_monitor::monitor::position::Position;
use ds_monitor::monitor::settings::DS_MONITOR;
use ds_monitor::params;
use ds_monitor::splunk::checkpoint::{CheckpointStore, file_stem};
use ds_monitor::splunk::conf_file::Selection;
use ds_monitor::splunk::input_definition::InputDefinition;
use ds_monitor::splunk::log::Log;
use ds_monitor::splunk::rest::Rest;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::tempdir;

use crate::ds_monitor;
use crate::tidy::{read, root, rust_files};
use support::docusign::{Docusign, Door};
use support::hec::{Fault, Hec};
use support::http::{Reply, Server};
use support::input::{Input, Outcome};

const MIB: usize = 1024 * 1024;

/// Constants whose names look like bounds, but which no number from outside is held to.
const OWN: [(&str, &str, &str); 18] = [
    (
        "src/splunk/command_line.rs",
        "MAX_EVERY",
        "an argument of a person's",
    ),
    (
        "src/splunk/command_line.rs",
        "MAX_OPTION_CHARS",
        "how an argument is shown",
    ),
    (
        "src/splunk/command_line.rs",
        "MAX_TYPOS",
        "how a typing error is recognised",
    ),
    (
        "src/docusign/monitor_api.rs",
        "MAX_DAMAGED_BYTES",
        "memory that is kept, not taken",
    ),
    (
        "src/monitor/delivery.rs",
        "MAX_NAMED_RECORDS",
        "how much a line names",
    ),
    (
        "src/base/durable.rs",
        "MAX_ATTEMPTS",
        "another process of ours",
    ),
    (
        "src/base/secret.rs",
        "MAX_NAME_BYTES",
        "how an escape is read",
    ),
    ("src/base/secret.rs", "MAX_NESTING", "how an escape is read"),
    (
        "src/docusign/monitor_api.rs",
        "MAX_SPARE_BYTES",
        "memory that is kept, not taken",
    ),
    (
        "src/monitor/delivery.rs",
        "LONGEST_TAKEN_TICK",
        "how often we look",
    ),
    (
        "src/splunk/hec/courier.rs",
        "SMALLEST_LIMIT",
        "how small we cut",
    ),
    (
        "src/splunk/hec/courier.rs",
        "LONGEST_EXPECTATION",
        "how soon we ask",
    ),
    (
        "src/monitor/delivery.rs",
        "MAX_PAGES_UNDER_WAY",
        "how far we read ahead",
    ),
    (
        "src/splunk/hec/channels.rs",
        "MAX_BATCHES",
        "how we use a channel",
    ),
    (
        "src/splunk/hec/courier.rs",
        "LONGEST_PAUSE",
        "how often we ask",
    ),
    (
        "src/splunk/hec/sink.rs",
        "MAX_BYTES_UNDER_WAY",
        "how far we send ahead",
    ),
    (
        "src/splunk/rest.rs",
        "CONNECT_TIMEOUT",
        "no loopback keeps a connection waiting",
    ),
    (
        "src/splunk/rest.rs",
        "EDIT_TIMEOUT",
        "as PROGRESS_TIMEOUT, but half a minute",
    ),
];

/// The constants of the program, tests left out, by the path of their file, with their values as they are written.
fn constants() -> Vec<(String, String, String)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    let mut constants = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        for line in text.lines() {
            let Some((_, declared)) = line.split_once("const ") else {
                continue;
            };
            let Some((name, rest)) = declared.split_once(": ") else {
                continue;
            };
            if let Some((_, value)) = rest.trim_end_matches(';').split_once(" = ") {
                constants.push((path.to_owned(), name.to_owned(), value.to_owned()));
            }
        }
    }
    constants
}

/// The rows of the table of bounds, each with its six cells.
fn table() -> Vec<[String; 6]> {
    let text = read("docs/bounds.md");
    let rows = text.lines().filter(|line| line.contains("| `src/"));
    rows.map(|row| {
        let row = row.trim().trim_matches('|');
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect();
        cells
            .try_into()
            .unwrap_or_else(|_| panic!("not six cells: {row}"))
    })
    .collect()
}

#[test]
fn the_table_of_bounds_says_what_the_source_says() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests/it"), &mut files);
    let read_file = |file: &PathBuf| fs::read_to_string(file).unwrap();
    let everything: String = files.iter().map(read_file).collect();
    let constants = constants();
    let table = table();
    assert!(!table.is_empty());
    for [_, constant, value, file, _, test] in &table {
        let declared = (file.clone(), constant.clone(), value.clone());
        assert!(
            constants.contains(&declared),
            "{declared:?} is not in the source"
        );
        assert!(
            everything.contains(&format!("fn {test}()")),
            "no test {test}"
        );
    }
}

#[test]
fn every_bound_of_the_source_is_in_the_table_or_is_none_of_outside() {
    let table = table();
    let looks_like_bound = |name: &str| {
        name.starts_with("MAX_")
            || name.starts_with("LONGEST_")
            || ["LIMIT", "_TIMEOUT", "_PATIENCE"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    let mut own = OWN.to_vec();
    for (file, name, value) in constants() {
        // The argument limit is one of our parameters.
        if !looks_like_bound(&name) || value.starts_with("Argument") {
            continue;
        }
        let is_listed = table
            .iter()
            .any(|[_, constant, _, path, ..]| *constant == name && *path == file);
        let is_own = own
            .iter()
            .position(|(path, own, _)| *path == file && *own == name);
        match is_own {
            Some(at) => drop(own.swap_remove(at)),
            None => assert!(is_listed, "docs/bounds.md has no row for {name} of {file}"),
        }
    }
    assert!(own.is_empty(), "not in the source: {own:?}");
}

/// The text with blanks behind it.
fn padded(text: &str, length: usize) -> String {
    text.to_owned() + &" ".repeat(length - text.len())
}

fn assert_too_long<T>(result: anyhow::Result<T>, bytes: usize) {
    let error = format!("{:#}", result.err().unwrap());
    assert!(
        error.contains(&format!("longer than {bytes} bytes")),
        "{error}"
    );
}

#[test]
fn a_document_of_splunkds_that_is_too_long_is_refused_as_such() {
    const MOST: usize = 8 * MIB;
    let read = |length: usize| {
        let (head, tail) = (
            "<input><!--",
            "--><configuration><stanza name=\"ds_monitor://prod\"/></configuration></input>",
        );
        let padding = "x".repeat(length - head.len() - tail.len());
        InputDefinition::read_run("ds_monitor", format!("{head}{padding}{tail}").as_bytes())
    };
    assert!(read(MOST).is_ok());
    assert_too_long(read(MOST + 1), MOST);
}

#[test]
fn a_checkpoint_that_is_too_long_is_not_taken_for_none() {
    let folder = tempdir().unwrap();
    let input = "ds_monitor://prod";
    let path = folder.path().join(format!("{}.json", file_stem(input)));
    let checkpoint = read("fuzz/seeds/checkpoint/open");
    let load = |length: usize| {
        fs::write(&path, padded(&checkpoint, length)).unwrap();
        CheckpointStore::peek::<Position>(folder.path(), input, "")
    };
    assert!(load(MIB).is_ok());
    assert_too_long(load(MIB + 1), MIB);
}

#[test]
fn a_file_that_a_parameter_names_and_a_conf_file_have_a_longest_length() {
    const MOST: usize = 4 * MIB;
    let folder = tempdir().unwrap();
    let path = folder.path().join("file");
    let name = path.to_str().unwrap();
    let mut arguments = DS_MONITOR.arguments.iter();
    let argument = arguments.find(|it| it.name == "ca_file").unwrap();
    let conf = || {
        let selection = Selection::single(path.clone(), "prod", folder.path().to_owned());
        selection.read(&DS_MONITOR, &Log::new(Box::new(std::io::sink())))
    };
    let write = |length: usize| {
        let stanza = "[ds_monitor://prod]\n#";
        fs::write(&path, padded(stanza, length)).unwrap();
    };
    write(MOST);
    assert!(params::file(argument, name).is_ok() && conf().is_ok());
    write(MOST + 1);
    assert_too_long(params::file(argument, name), MOST);
    assert_too_long(conf(), MOST);
}

#[test]
fn a_key_of_a_conf_file_that_is_too_long_to_be_one_is_not_repeated() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("inputs.conf");
    for (length, is_named) in [(32, true), (33, false)] {
        let key = "k".repeat(length);
        fs::write(&path, format!("[ds_monitor://prod]\n{key} = 1\n")).unwrap();
        let selection = Selection::single(path.clone(), "prod", folder.path().to_owned());
        let lines = Lines::default();
        let log = Log::new(Box::new(lines.clone()));
        selection.read(&DS_MONITOR, &log).ok().unwrap();
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(lines.contains(&key), is_named, "{lines}");
    }
}

#[test]
fn the_name_of_an_input_may_be_longer_than_that_of_a_file() {
    let stem = |length: usize| file_stem(&format!("ds_monitor://{}", "n".repeat(length)));
    let hash = "-01234567".len();
    assert_eq!(stem(64).len(), 64 + hash);
    assert_eq!(stem(65).len(), 64 + hash);
    assert_ne!(stem(65), stem(66));
}

#[test]
fn a_pipe_whose_writer_is_silent_is_not_waited_for_for_ever() {
    let (ours, theirs) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", ours.as_raw_fd());
    let error = durable::read(Path::new(&path), 9).unwrap_err().to_string();
    assert!(error.contains("silent for 5 seconds"), "{error}");
    drop(theirs);
}

#[test]
fn an_answer_of_splunkds_that_is_too_long_too_slow_or_announced_beyond_all_measure_is_refused() {
    const MOST: usize = 16 * MIB;
    let answer = |length: usize| {
        let body = r#"{"entry":[]}"#;
        Reply::json(200, padded(body, length))
    };
    let get = |reply: Reply| {
        let server = Server::start(move |_| reply.clone());
        let rest = Rest::new(
            &server.url(),
            Secret::new("session-key-of-bounds".to_owned()),
        );
        rest.get(&["services"]).map_err(|error| error.to_string())
    };
    assert!(get(answer(MOST)).is_ok());
    let error = get(answer(MOST + 1)).unwrap_err();
    assert!(
        error.contains(&format!("longer than {MOST} bytes")),
        "{error}"
    );
    // More than any machine could reserve.
    let error = get(answer(100).wrong_length(1 << 60)).unwrap_err();
    assert!(error.contains("broke off"), "{error}");
    let error = get(Reply::stall()).unwrap_err();
    assert!(error.contains("no answer in time"), "{error}");
}

#[test]
fn an_answer_whose_head_is_too_long_is_none() {
    let get = |lines: usize| {
        let reply = Reply::json(200, r#"{"entry":[]}"#);
        let reply = (0..lines).fold(reply, |reply, n| reply.header(&format!("X-{n}"), n));
        let server = Server::start(move |_| reply.clone());
        let rest = Rest::new(
            &server.url(),
            Secret::new("session-key-of-bounds".to_owned()),
        );
        rest.get(&["services"]).map_err(|error| error.to_string())
    };
    assert!(get(90).is_ok());
    let error = get(101).unwrap_err();
    assert!(error.contains("no answer"), "{error}");
}

#[test]
fn the_name_of_a_member_that_a_page_should_not_have_is_cut() {
    let body = format!(r#"{{"{}":[{{"a":1}}],"endCursor":"c"}}"#, "m".repeat(41));
    let error = Page::parse(body.into_bytes(), "c").unwrap_err().to_string();
    assert!(error.contains(&"m".repeat(40)), "{error}");
    assert!(!error.contains(&"m".repeat(41)), "{error}");
}

fn run(docusign: &Docusign) -> Outcome {
    let folder = tempdir().unwrap();
    Input::for_docusign("prod", docusign, folder.path()).run(ds_monitor())
}

#[test]
fn a_page_that_is_longer_than_any_is_refused_at_once_however_short_it_is_on_the_way() {
    const MOST: usize = 256 * MIB;
    let mut body = GzEncoder::new(Vec::new(), Compression::fast());
    let blank = vec![b' '; MIB];
    for _ in 0..MOST / MIB {
        body.write_all(&blank).unwrap();
    }
    body.write_all(b" ").unwrap();
    let body = body.finish().unwrap();
    let reply = Reply::text(200, "application/json", body).header("Content-Encoding", "gzip");
    let docusign = Docusign::new().fault(1, reply);
    let run = run(&docusign);
    run.assert_exit(1);
    let lines = run.log_lines();
    let line = lines.last().unwrap();
    let text = format!("longer than {MOST} bytes");
    assert!(line.sentence.contains(&text), "{}", line.raw);
    assert!(line.sentence.contains("lower limit"), "{}", line.raw);
    assert_eq!(docusign.stream_cursors().len(), 1);
}

#[test]
fn an_answer_with_a_token_that_is_too_long_is_refused_at_once() {
    const MOST: usize = 64 * 1024;
    let docusign = Docusign::new();
    docusign.fault_on_token(1, Reply::json(200, padded("{}", MOST + 1)));
    let run = run(&docusign);
    run.assert_exit(1);
    let lines = run.log_lines();
    let text = format!("longer than {MOST} bytes");
    assert!(
        lines.last().unwrap().sentence.contains(&text),
        "{}",
        run.report()
    );
    assert_eq!(docusign.token_requests(), 1);
}

#[test]
fn a_long_answer_is_not_read_as_an_error_but_is_no_page_all_the_same() {
    const MOST: usize = 64 * 1024;
    for (length, expected) in [(MOST, "SOME_CODE"), (MOST + 1, "error member")] {
        let (head, tail) = (
            r#"{"errorCode":"SOME_CODE","message":""#,
            r#"","endCursor":"c"}"#,
        );
        let text = "x".repeat(length - head.len() - tail.len());
        let docusign = Docusign::new().fault(1, Reply::json(200, format!("{head}{text}{tail}")));
        let folder = tempdir().unwrap();
        let input = Input::for_docusign("prod", &docusign, folder.path());
        let outcome = input.validate(ds_monitor());
        outcome.assert_exit(1);
        let message = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert!(message.contains(expected), "{length}: {message}");
    }
}

#[test]
fn saving_is_not_held_up_by_servers_that_are_slow_one_after_the_other() {
    let late = |reply: Reply| reply.delay(Duration::from_millis(2_700));
    let (docusign, hec) = (Docusign::new(), Hec::new());
    docusign.spoil_at(Door::Token, 1, late);
    docusign.spoil_at(Door::Stream, 1, late);
    hec.fault(1, Fault::silence());
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path()).delivers_to(&hec);
    let outcome = input.validate(ds_monitor());
    let message = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(
        message.contains("did not end within 8 seconds"),
        "{message}"
    );
}
